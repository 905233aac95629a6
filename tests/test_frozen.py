"""FrozenTwinClassifier: `fit` sets the support; nothing is trained or copied."""

import copy
import pickle

import numpy as np
import pytest
from sklearn.base import clone, is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score, learning_curve
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sksiamese import (
    FrozenTwinClassifier,
    MotorProgramClassifier,
    SiameseOneShotClassifier,
    SiameseVerifier,
    load_pretrained,
)
from sksiamese.model_selection import EpisodeSplit, one_shot_score


@pytest.fixture
def frozen(fitted):
    return FrozenTwinClassifier(fitted)


@pytest.fixture
def new(glyphs):
    X, y = glyphs
    return X[y >= 10], y[y >= 10]


def test_fit_sets_the_support_of_a_copy(fitted, frozen, new):
    X, y = new
    before = fitted.support_
    frozen.fit(X[::8], y[::8])
    twin = copy.copy(fitted).set_support(X[::8], y[::8])
    assert frozen.classes_.tolist() == [10, 11, 12, 13, 14, 15]
    assert fitted.support_ is before
    for method in ("predict", "predict_proba", "decision_function", "score_samples"):
        np.testing.assert_array_equal(getattr(frozen, method)(X), getattr(twin, method)(X))
    np.testing.assert_array_equal(frozen.kneighbors(X, 2), twin.kneighbors(X, 2))
    np.testing.assert_array_equal(
        frozen.kneighbors(X, 2, return_distance=False), twin.kneighbors(X, 2)[1]
    )
    np.testing.assert_array_equal(frozen.match(X[1::8]), twin.match(X[1::8]))
    assert frozen.score(X, y) == twin.score(X, y) > 0.5


def test_predict_returns_labels_and_logits(fitted, frozen, new):
    X, y = new
    twin = copy.copy(fitted).set_support(X[::8], y[::8])
    labels, logits = frozen.fit(X[::8], y[::8]).predict(X, return_logits=True)
    np.testing.assert_array_equal(labels, frozen.predict(X))
    np.testing.assert_array_equal(logits, twin.predict(X, return_logits=True)[1])
    np.testing.assert_array_equal(labels, frozen.classes_[logits.argmax(axis=1)])


def test_trial_function_scores_rows_without_a_support(fitted, frozen, new):
    X, y = new
    support, query = np.arange(0, 48, 8), np.arange(1, 48, 8)
    expected = copy.copy(fitted).set_support(X[support], y[support])
    logits, classes = frozen.trial_function(X)(support, query, y[support])
    np.testing.assert_array_equal(classes, expected.classes_)
    np.testing.assert_allclose(logits, expected.predict(X[query], True)[1], rtol=1e-4, atol=1e-4)
    assert not hasattr(frozen, "classifier_")


def test_clone_shares_the_network_and_no_support(fitted, frozen, new):
    X, y = new
    fits = [clone(frozen).fit(X[i::8], y[i::8]) for i in range(2)]
    assert all(one.classifier_.network_ is fitted.network_ for one in fits)
    assert not hasattr(clone(fits[0]), "classifier_")
    assert clone(frozen).estimator is fitted


def test_fit_changes_nothing_on_failure(frozen, new):
    X, y = new
    frozen.fit(X[::8], y[::8])
    before = frozen.predict(X)
    with pytest.raises(ValueError, match="y has 3 values"):
        frozen.fit(X[:4], y[:3])
    np.testing.assert_array_equal(frozen.predict(X), before)


def test_frozen_pipeline_applies_its_transformers(glyphs, new):
    X, y = glyphs
    rows = X.reshape(len(X), -1)
    known = y < 10
    pipeline = make_pipeline(
        StandardScaler(),
        SiameseOneShotClassifier(image_shape=(16, 16), max_iter=2, random_state=0),
    ).fit(rows[known], y[known])
    X, y = new[0].reshape(len(new[0]), -1), new[1]
    frozen = FrozenTwinClassifier(pipeline).fit(X[::8], y[::8])
    twin = copy.copy(pipeline[-1]).set_support(pipeline[:-1].transform(X[::8]), y[::8])
    for method in ("predict", "predict_proba", "decision_function", "score_samples"):
        expected = getattr(twin, method)(pipeline[:-1].transform(X))
        np.testing.assert_array_equal(getattr(frozen, method)(X), expected)
    assert pipeline.classes_.tolist() == list(range(10))


def test_frozen_pipeline_of_one_step_is_its_classifier(fitted, new):
    X, y = new
    frozen = FrozenTwinClassifier(make_pipeline(copy.copy(fitted))).fit(X[::8], y[::8])
    expected = FrozenTwinClassifier(fitted).fit(X[::8], y[::8])
    np.testing.assert_array_equal(frozen.predict_proba(X), expected.predict_proba(X))
    assert frozen.transformers_ is None


def test_cross_val_score_runs_over_support_sets(frozen, new):
    X, y = new
    trials = EpisodeSplit(n_way=5, n_episodes=4, random_state=0)
    scores = cross_val_score(frozen, X, y, cv=trials)
    score = one_shot_score(frozen, X, y, n_way=5, n_episodes=4, random_state=0)
    assert scores.mean() == pytest.approx(float(score))
    assert scores.mean() > 0.4


def test_learning_curve_runs_over_shots(frozen, new):
    X, y = new
    order = np.argsort(np.tile(np.arange(8), 6), kind="stable")  # a drawing of each class first
    sizes, _, scores = learning_curve(
        frozen,
        X[order],
        y[order],
        train_sizes=[6, 12, 24],
        cv=[(np.arange(36), np.arange(36, 48))],
    )
    assert sizes.tolist() == [6, 12, 24]
    assert scores.min() > 0.5  # chance is 1/6


def test_grid_search_over_aggregations(frozen, new):
    X, y = new
    search = GridSearchCV(frozen, {"aggregation": ["mean", "max", "prototype"]}, cv=2).fit(X, y)
    assert search.best_score_ > 0.5
    logits = {
        aggregation: clone(frozen).set_params(aggregation=aggregation).fit(X, y).predict_proba(X)
        for aggregation in ("prototype", "max", None)
    }
    np.testing.assert_array_equal(logits["prototype"], logits[None])
    assert not np.array_equal(logits["prototype"], logits["max"])


@pytest.mark.parametrize(
    "wrap",
    [
        lambda frozen: CalibratedClassifierCV(frozen, cv=2),
        lambda frozen: VotingClassifier([("a", frozen), ("b", clone(frozen))], voting="soft"),
        lambda frozen: StackingClassifier([("a", frozen)], LogisticRegression(), cv=2),
        lambda frozen: make_pipeline(FunctionTransformer(), frozen),
    ],
    ids=["calibration", "voting", "stacking", "pipeline"],
)
def test_frozen_twin_classifier_works_in_meta_estimators(frozen, new, wrap):
    X, y = new
    assert wrap(frozen).fit(X, y).score(X, y) > 0.5


def test_rejection_threshold_is_that_of_the_classifier(fitted, new):
    X, y = new
    clf = copy.copy(fitted).set_params(unknown_label=-1)
    assert not hasattr(FrozenTwinClassifier(fitted).fit(X[::8], y[::8]), "rejection_threshold_")
    frozen = FrozenTwinClassifier(clf.calibrate(X, y)).fit(X[:24:8], y[:24:8])
    assert frozen.rejection_threshold_ == clf.rejection_threshold_
    rejected = frozen.score_samples(X) < frozen.rejection_threshold_
    np.testing.assert_array_equal(frozen.predict(X) == -1, rejected)
    assert 0 < rejected.sum() < len(X)


def test_predict_set_is_that_of_the_classifier(fitted, new):
    X, y = new
    clf = copy.copy(fitted)
    with pytest.raises(NotFittedError, match="needs calibration"):
        FrozenTwinClassifier(fitted).fit(X[::8], y[::8]).predict_set(X)
    frozen = FrozenTwinClassifier(clf.calibrate(X, y)).fit(X[:24:8], y[:24:8])
    expected = clf.set_support(X[:24:8], y[:24:8]).predict_set(X, coverage=0.5)
    np.testing.assert_array_equal(frozen.predict_set(X, coverage=0.5), expected)


def test_feature_names_are_those_of_the_first_step():
    X, y = load_iris(return_X_y=True, as_frame=True)
    clf = SiameseOneShotClassifier(max_iter=1, random_state=0)
    scaled = make_pipeline(StandardScaler(), clone(clf)).fit(X, y)
    for estimator in (clf.fit(X, y), scaled):
        frozen = FrozenTwinClassifier(estimator).fit(X[::10], y[::10])
        assert frozen.feature_names_in_.tolist() == X.columns.tolist()
        assert frozen.n_features_in_ == 4
    clf.fit(X.to_numpy(), y)
    assert not hasattr(FrozenTwinClassifier(clf).fit(X.to_numpy(), y), "feature_names_in_")


def test_n_features_in_of_a_pretrained_network_is_that_of_the_support(new):
    X, y = new
    frozen = FrozenTwinClassifier(load_pretrained("omniglot")).fit(X[::8], y[::8])
    assert frozen.n_features_in_ == 256


def test_fit_adapts_a_pretrained_network_to_each_support(new):
    X, y = new
    clf = load_pretrained("omniglot")
    expected = FrozenTwinClassifier(clf).fit(X[::8], y[::8]).predict(X)
    light = FrozenTwinClassifier(clf).fit(255 - X[::8], y[::8])
    np.testing.assert_array_equal(light.predict(255 - X), expected)
    assert not hasattr(clf, "support_")


@pytest.fixture(scope="module")
def motor_programs(glyphs):
    """A classifier by motor programs, fitted on one drawing of each of ten classes."""
    X, y = glyphs
    return MotorProgramClassifier(random_state=0).fit(X[y < 10][::8], y[y < 10][::8])


def test_frozen_motor_programs_set_the_support_of_a_copy(motor_programs, new):
    X, y = new
    before = motor_programs.support_
    frozen = FrozenTwinClassifier(motor_programs).fit(X[::8], y[::8])
    expected = copy.copy(motor_programs).set_support(X[::8], y[::8])
    queries = X[1::4]
    for method in ("predict", "predict_proba", "decision_function", "score_samples"):
        found = getattr(frozen, method)(queries)
        np.testing.assert_array_equal(found, getattr(expected, method)(queries))
    np.testing.assert_array_equal(frozen.kneighbors(queries, 2), expected.kneighbors(queries, 2))
    np.testing.assert_array_equal(frozen.match(X[1::8]), expected.match(X[1::8]))
    assert motor_programs.support_ is before
    assert frozen.classes_.tolist() == [10, 11, 12, 13, 14, 15]
    assert frozen.n_features_in_ == 256


def test_frozen_motor_programs_run_over_support_sets(motor_programs, new):
    X, y = new
    frozen = FrozenTwinClassifier(motor_programs)
    trials = EpisodeSplit(n_way=5, n_episodes=4, random_state=0)
    scores = cross_val_score(frozen, X, y, cv=trials)
    assert scores.mean() > 0.7  # chance is 0.2
    search = GridSearchCV(frozen, {"aggregation": ["mean", "max"]}, cv=2).fit(X[::2], y[::2])
    assert search.best_score_ > 0.7


def test_frozen_pipeline_ends_in_motor_programs(new):
    X, y = new
    rows = X.reshape(len(X), -1)
    motor_programs = MotorProgramClassifier(image_shape=(16, 16), random_state=0)
    pipeline = make_pipeline(FunctionTransformer(), motor_programs).fit(rows[::8], y[::8])
    frozen = FrozenTwinClassifier(pipeline).fit(rows[1::8], y[1::8])
    expected = clone(pipeline).fit(rows[1::8], y[1::8])
    np.testing.assert_array_equal(frozen.predict(rows[::3]), expected.predict(rows[::3]))


def test_voting_and_stacking_take_a_network_and_motor_programs(fitted, motor_programs, new):
    X, y = new
    both = [("network", fitted), ("programs", motor_programs)]
    both = [(name, FrozenTwinClassifier(estimator)) for name, estimator in both]
    few = np.arange(len(y)) % 8 < 2
    voting = VotingClassifier(both, voting="soft").fit(X[few], y[few])
    assert voting.score(X[3::8], y[3::8]) > 0.6  # chance is 1/6
    stacking = StackingClassifier(both, LogisticRegression(), cv=2).fit(X[few], y[few])
    assert stacking.score(X[3::8], y[3::8]) > 0.6


def test_frozen_motor_programs_keep_calibration_and_refuse_prototypes(new):
    y = np.arange(60) % 6
    rows = np.random.default_rng(0).normal(size=(60, 8)) / 3 + np.eye(6, 8)[y] * 3
    clf = MotorProgramClassifier(unknown_label=-1, random_state=0).fit(rows, y)
    frozen = FrozenTwinClassifier(clf).fit(rows[:3], y[:3])
    assert frozen.rejection_threshold_ == clf.rejection_threshold_
    rejected = frozen.score_samples(rows) < frozen.rejection_threshold_
    np.testing.assert_array_equal(frozen.predict(rows) == -1, rejected)
    assert 0 < rejected.sum() < 60
    frozen = FrozenTwinClassifier(clf, aggregation="prototype").fit(rows, y)
    with pytest.raises(ValueError, match="aggregation='prototype' needs the mean of embeddings"):
        frozen.predict(rows)


def test_pickle_gives_the_same_probabilities(frozen, new):
    X, y = new
    frozen.fit(X[::8], y[::8])
    again = pickle.loads(pickle.dumps(frozen))
    np.testing.assert_array_equal(again.predict_proba(X), frozen.predict_proba(X))


def test_frozen_twin_classifier_is_a_classifier(frozen):
    assert is_classifier(frozen)


def test_get_params_leaves_out_the_wrapped_estimator(frozen):
    assert set(frozen.get_params()) == {"estimator", "aggregation"}


def test_set_params_raises_for_parameters_of_the_wrapped_estimator(frozen):
    with pytest.raises(ValueError, match="estimator__max_iter cannot be set.*already trained"):
        frozen.set_params(estimator__max_iter=3)
    assert frozen.set_params(aggregation="max").aggregation == "max"


@pytest.mark.parametrize(
    ("estimator", "error", "message"),
    [
        (SiameseOneShotClassifier(), NotFittedError, "SiameseOneShotClassifier, is not fitted"),
        (
            make_pipeline(StandardScaler(), SiameseOneShotClassifier()),
            NotFittedError,
            "Pipeline, is not fitted",
        ),
        (MotorProgramClassifier(), NotFittedError, "MotorProgramClassifier, is not fitted"),
        (LogisticRegression(), TypeError, "expected a fitted SiameseOneShotClassifier or Motor"),
        (None, TypeError, "estimator=None; expected a fitted"),
        (SiameseOneShotClassifier, TypeError, "expected a fitted SiameseOneShotClassifier"),
        (SiameseVerifier(), TypeError, "For a SiameseVerifier, pass verifier.to_classifier"),
        (Pipeline([]), TypeError, "expected a fitted SiameseOneShotClassifier"),
    ],
)
def test_fit_raises_for_what_cannot_be_wrapped(estimator, error, message):
    frozen, X, y = FrozenTwinClassifier(estimator), np.zeros((4, 4)), [0, 1, 0, 1]
    with pytest.raises(error, match=message):
        frozen.fit(X, y)
    with pytest.raises(error, match=message):
        cross_val_score(frozen, X, y, cv=2, error_score="raise")
    with pytest.raises(NotFittedError):
        frozen.predict(X)


def test_fit_raises_for_an_unknown_aggregation(fitted, new):
    with pytest.raises(ValueError, match="aggregation='median' is not known"):
        FrozenTwinClassifier(fitted, aggregation="median").fit(new[0][::8], new[1][::8])


@pytest.mark.parametrize(
    "method",
    ["predict", "predict_proba", "decision_function", "score_samples", "kneighbors", "match"],
)
def test_frozen_twin_classifier_raises_before_fit(frozen, new, method):
    with pytest.raises(NotFittedError):
        getattr(frozen, method)(new[0])


@pytest.mark.parametrize(
    "name",
    ["classes_", "rejection_threshold_", "n_features_in_", "feature_names_in_", "classifier_"],
)
def test_frozen_twin_classifier_has_no_fitted_attributes_before_fit(frozen, name):
    assert not hasattr(frozen, name)
