"""FrozenTwinClassifier: fit sets a support, and nothing is trained or copied."""

import copy
import pickle
import time

import numpy as np
import pytest
from sklearn.base import clone
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


def test_fit_is_set_support_of_a_twin_of_its_own(fitted, frozen, new):
    X, y = new
    before = fitted.support_
    frozen.fit(X[::8], y[::8])
    twin = copy.copy(fitted).set_support(X[::8], y[::8])
    assert frozen.classes_.tolist() == [10, 11, 12, 13, 14, 15]
    assert fitted.support_ is before
    for method in ("predict", "predict_proba", "decision_function"):
        np.testing.assert_array_equal(getattr(frozen, method)(X), getattr(twin, method)(X))
    np.testing.assert_array_equal(frozen.kneighbors(X, 2), twin.kneighbors(X, 2))
    np.testing.assert_array_equal(frozen.match(X[1::8]), twin.match(X[1::8]))
    assert frozen.score(X, y) == twin.score(X, y) > 0.5


def test_clones_share_the_network(fitted, frozen, new):
    X, y = new
    fits = [clone(frozen).fit(X[i::8], y[i::8]) for i in range(2)]
    assert all(one.twin_.network_ is fitted.network_ for one in fits)
    assert not hasattr(clone(fits[0]), "twin_")
    assert clone(frozen).estimator is fitted


def test_a_twin_of_39_million_parameters_is_cloned_at_once():
    X = np.random.default_rng(0).random((4, 105, 105), dtype=np.float32)
    clf = SiameseOneShotClassifier("koch", image_size=None, batch_shape=(1, 2, 2), max_iter=1)
    frozen = FrozenTwinClassifier(clf.fit(X, [0, 0, 1, 1]))
    durations = []
    for _ in range(5):
        start = time.perf_counter()
        clone(frozen)
        durations.append(time.perf_counter() - start)
    start = time.perf_counter()
    copy.deepcopy(clf.network_)
    assert min(durations) < (time.perf_counter() - start) / 10


def test_a_failed_fit_changes_nothing(frozen, new):
    X, y = new
    frozen.fit(X[::8], y[::8])
    before = frozen.predict(X)
    with pytest.raises(ValueError, match="y has 3 values"):
        frozen.fit(X[:4], y[:3])
    np.testing.assert_array_equal(frozen.predict(X), before)


def test_through_a_pipeline_s_own_transformers(glyphs, new):
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
    expected = twin.predict(pipeline[:-1].transform(X))
    np.testing.assert_array_equal(frozen.predict(X), expected)
    assert pipeline.classes_.tolist() == list(range(10))
    alone = FrozenTwinClassifier(make_pipeline(twin)).fit(X[::8], y[::8])
    twin.set_support(X[::8], y[::8])
    np.testing.assert_array_equal(alone.predict(X), twin.predict(X))


def test_cross_validation_runs_over_support_sets(frozen, new):
    X, y = new
    trials = EpisodeSplit(n_way=5, n_episodes=4, random_state=0)
    scores = cross_val_score(frozen, X, y, cv=trials)
    score = one_shot_score(frozen, X, y, n_way=5, n_episodes=4, random_state=0)
    assert scores.mean() == pytest.approx(float(score))
    assert scores.mean() > 0.4


def test_learning_curve_over_shots(frozen, new):
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
    assert np.isfinite(scores).all()


def test_in_grid_search_calibration_voting_and_stacking(frozen, new):
    X, y = new
    search = GridSearchCV(frozen, {"aggregation": ["mean", "max", "prototype"]}, cv=2).fit(X, y)
    assert search.best_score_ > 0.5
    for meta in (
        CalibratedClassifierCV(frozen, cv=2),
        VotingClassifier([("a", frozen), ("b", clone(frozen))], voting="soft"),
        StackingClassifier([("a", frozen)], LogisticRegression(), cv=2),
        make_pipeline(FunctionTransformer(), frozen),
    ):
        assert meta.fit(X, y).score(X, y) > 0.5


def test_scores_and_threshold_of_what_is_unknown(fitted, new):
    X, y = new
    clf = copy.copy(fitted).set_params(unknown_label=-1)
    assert not hasattr(FrozenTwinClassifier(fitted).fit(X[::8], y[::8]), "threshold_")
    frozen = FrozenTwinClassifier(clf.calibrate(X, y)).fit(X[::8], y[::8])
    assert frozen.threshold_ == clf.threshold_
    scores = frozen.score_samples(X)
    np.testing.assert_array_equal(scores, frozen.twin_.score_samples(X))
    np.testing.assert_array_equal(frozen.predict(X) == -1, scores < frozen.threshold_)


def test_features_are_those_of_what_sees_x_first():
    X, y = load_iris(return_X_y=True, as_frame=True)
    clf = SiameseOneShotClassifier(max_iter=1, random_state=0)
    scaled = make_pipeline(StandardScaler(), clone(clf)).fit(X, y)
    for estimator in (clf.fit(X, y), scaled):
        frozen = FrozenTwinClassifier(estimator).fit(X[::10], y[::10])
        assert frozen.feature_names_in_.tolist() == X.columns.tolist()
        assert frozen.n_features_in_ == 4
    clf.fit(X.to_numpy(), y)
    assert not hasattr(FrozenTwinClassifier(clf).fit(X.to_numpy(), y), "feature_names_in_")


def test_a_twin_that_ships_has_the_features_of_its_support(new):
    X, y = new
    frozen = FrozenTwinClassifier(load_pretrained("omniglot")).fit(X[::8], y[::8])
    assert frozen.n_features_in_ == 256


def test_a_pickle_answers_alike(frozen, new):
    X, y = new
    frozen.fit(X[::8], y[::8])
    again = pickle.loads(pickle.dumps(frozen))
    np.testing.assert_array_equal(again.predict_proba(X), frozen.predict_proba(X))


def test_parameters_of_the_trained_twin_are_not_to_be_set(frozen):
    assert set(frozen.get_params()) == {"estimator", "aggregation"}
    with pytest.raises(ValueError, match="estimator__max_iter: parameters of a frozen"):
        frozen.set_params(estimator__max_iter=3)


@pytest.mark.parametrize(
    ("estimator", "error", "message"),
    [
        (SiameseOneShotClassifier(), NotFittedError, "has no trained twin: fit it before"),
        (make_pipeline(StandardScaler(), SiameseOneShotClassifier()), NotFittedError, "Pipeline"),
        (LogisticRegression(), TypeError, "expected a fitted SiameseOneShotClassifier"),
        (None, TypeError, "estimator=None; expected a fitted"),
        (SiameseOneShotClassifier, TypeError, "expected a fitted SiameseOneShotClassifier"),
        (SiameseVerifier(), TypeError, "of a SiameseVerifier take to_classifier"),
        (Pipeline([]), TypeError, "expected a fitted SiameseOneShotClassifier"),
    ],
)
def test_what_cannot_be_frozen_is_said(estimator, error, message):
    frozen, X, y = FrozenTwinClassifier(estimator), np.zeros((4, 4)), [0, 1, 0, 1]
    with pytest.raises(error, match=message):
        frozen.fit(X, y)
    with pytest.raises(error, match=message):
        cross_val_score(frozen, X, y, cv=2, error_score="raise")
    with pytest.raises(NotFittedError):
        frozen.predict(X)


def test_a_wrong_aggregation_is_said(fitted, new):
    with pytest.raises(ValueError, match="aggregation='median' is not known"):
        FrozenTwinClassifier(fitted, aggregation="median").fit(new[0][::8], new[1][::8])


def test_predicting_before_fit_is_said(frozen, new):
    with pytest.raises(NotFittedError):
        frozen.predict(new[0])
    for name in ("classes_", "threshold_", "feature_names_in_"):
        assert not hasattr(frozen, name)
