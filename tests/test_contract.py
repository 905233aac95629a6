"""scikit-learn's contract: its own checks, and the tools an estimator is handed to."""

import functools
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io
import torch
from sklearn import config_context
from sklearn.base import TransformerMixin, clone, is_classifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    HalvingGridSearchCV,
    cross_val_score,
)
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    assert_all_finite,
    check_array,
    column_or_1d,
    validate_data,
)

from sksiamese import (
    FrozenTwinClassifier,
    MotorProgramClassifier,
    SiameseOneShotClassifier,
    SiameseVerifier,
)
from sksiamese.model_selection import make_one_shot_scorer

CONTRACT = Path(__file__).parents[1] / "benchmarks" / "contract.py"

# scikit-learn's own checks

# Why a check cannot pass, for a frozen classifier.
FROZEN_CANNOT_PASS = {
    "check_estimators_overwrite_params": (
        "It compares joblib.hash of the wrapped estimator and of a deep copy of it, which differ "
        "for every torch tensor. test_frozen.py tests that fit leaves the estimator unchanged."
    ),
}


def checks_of(estimator, cannot_pass=()):
    """Return scikit-learn's checks of an estimator as parameters of a test.

    Those of array API run where SCIPY_ARRAY_API is set: scipy reads it when it is imported.
    """
    params = []
    for _, check in estimator_checks_generator(estimator):
        name, marks = check.func.__name__, []
        if name in cannot_pass:
            marks = [pytest.mark.xfail(reason=cannot_pass[name], strict=True)]
        if "array_api" not in name or os.environ.get("SCIPY_ARRAY_API") == "1":
            params.append(pytest.param(check, id=name, marks=marks))
    return params


class Absent:
    """An attribute that is absent until it is set on the instance."""

    def __get__(self, instance, owner=None):
        raise AttributeError


class PairsOfRows(TransformerMixin, SiameseVerifier):
    """A verifier that scikit-learn's checks can use: its X is (n, d), its y has any two labels.

    A row x becomes the pair (x, 0), and the second label means "same". This class only translates
    X and y; it checks the labels, because a verifier has no labels of its own. The verifier checks
    the values, the dtype and the shape of X.
    """

    # Those of rows and of any labels, instead of the verifier's.
    classes_ = n_features_in_ = feature_names_in_ = Absent()

    def fit(self, X, y=None):
        pairs, classes = self.pairs(X), None
        if y is not None:
            y = column_or_1d(y, warn=True)
            assert_all_finite(y, input_name="y")
            check_classification_targets(y)
            classes = np.unique(y)
            if len(classes) > 2:
                raise ValueError(
                    "Only binary classification is supported. The type of the target is "
                    "multiclass."
                )
            y = np.isin(y, classes[-1:]).astype(int)
        super().fit(pairs, y)
        validate_data(self, X, skip_check_array=True)  # names and number of columns
        self.classes_ = classes
        return self

    def pairs(self, X, fitted=False):
        rows = np.asarray(X)
        if rows.ndim != 2:  # such as a sparse matrix, which is an object without axes
            check_array(X)  # raises: there are no pairs of such rows
        if fitted and "classes_" in vars(self):
            validate_data(self, X, reset=False, skip_check_array=True)
        return np.stack([rows, np.zeros_like(rows)], axis=1)

    def decision_function(self, X):
        return super().decision_function(self.pairs(X, fitted=True))

    def predict(self, X):
        same = super().predict(self.pairs(X, fitted=True)) == 1
        return self.classes_[same.astype(int)]

    def predict_proba(self, X):
        return super().predict_proba(self.pairs(X, fitted=True))

    def transform(self, X):
        return super().transform(self.pairs(X, fitted=True)[:, 0])

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        tags.input_tags.three_d_array = False
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("check", checks_of(SiameseOneShotClassifier()))
def test_check_estimator_passes_for_the_classifier(check):
    check(SiameseOneShotClassifier())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("check", checks_of(MotorProgramClassifier()))
def test_check_estimator_passes_for_motor_programs(check):
    """Rows are drawn as curves."""
    check(MotorProgramClassifier())


def test_check_estimator_passes_for_the_classifier_with_array_api(tmp_path, record_property):
    """All checks, in a new interpreter in which SCIPY_ARRAY_API is set."""
    environment = {"SCIPY_ARRAY_API": "1", "SKSIAMESE_RESULTS": str(tmp_path)}
    subprocess.run([sys.executable, CONTRACT], env=os.environ | environment, check=True)
    record = json.loads((tmp_path / "contract.json").read_text())
    record_property("seconds", record["seconds"])
    assert record["not_passed"] == []
    assert record["checks"]["passed"] >= 55


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("check", checks_of(PairsOfRows()))
def test_check_estimator_passes_for_pairs_of_rows(check):
    check(PairsOfRows())


@functools.cache
def frozen(n_features):
    y = np.arange(90) % 3
    X = np.random.default_rng(0).normal(size=(90, n_features)) + 3 * y[:, None]
    # The checks have classes of two features, of which a cosine sees the direction only.
    clf = SiameseOneShotClassifier(head="weighted_l1", max_iter=10, random_state=0)
    return FrozenTwinClassifier(clf.fit(X, y))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "check", checks_of(FrozenTwinClassifier(SiameseOneShotClassifier()), FROZEN_CANNOT_PASS)
)
def test_check_estimator_passes_for_a_frozen_classifier_of_the_width_it_asks_for(check):
    """A frozen classifier takes the number of features that it was trained on."""
    failed = {}
    widths = (1, 2, 3, 4, 5, 10, 20)  # those that the checks use
    for n_features in widths:
        try:
            check(frozen(n_features))
        except Exception as error:
            failed[n_features] = f"{error} {error.__cause__ or error.__context__}"
    for n_features, message in failed.items():
        assert f"expecting {n_features} features" in message
    assert len(failed) < len(widths)


def weights(clf):
    return torch.cat([p.flatten() for p in clf.network_.parameters()])


def test_fit_takes_groups_through_a_pipeline_and_by_routing(data):
    X, y = data
    groups = y % 2
    plain, other = classifier().fit(X, y, groups=groups), classifier().fit(X, y)
    assert not torch.equal(weights(plain), weights(other))

    named = {"siameseoneshotclassifier__groups": groups}
    piped = make_pipeline(FunctionTransformer(), classifier()).fit(X, y, **named)
    assert torch.equal(weights(piped[-1]), weights(plain))

    with config_context(enable_metadata_routing=True):
        routed = make_pipeline(FunctionTransformer(), classifier().set_fit_request(groups=True))
        assert torch.equal(weights(routed.fit(X, y, groups=groups)[-1]), weights(plain))


@pytest.fixture(scope="module")
def data(glyphs):
    X, y = glyphs
    return X[y < 5], y[y < 5]


@pytest.fixture(scope="module")
def clf(data):
    """Fitted for one epoch on 40 drawings of five classes; not to be changed."""
    return classifier().fit(*data)


def classifier(**params):
    return SiameseOneShotClassifier(**{"max_iter": 1, "random_state": 0, **params})


# Model selection


def test_classifier_is_the_last_step_of_a_pipeline(data):
    X, y = data
    pipeline = make_pipeline(FunctionTransformer(np.sqrt), classifier()).fit(X, y)
    alone = classifier().fit(np.sqrt(X), y)
    np.testing.assert_array_equal(pipeline.predict_proba(X), alone.predict_proba(np.sqrt(X)))
    assert pipeline.score(X, y) == alone.score(np.sqrt(X), y)


def test_classifier_takes_scaled_flat_rows_in_a_pipeline(data):
    X, y = data
    rows = X.reshape(len(X), -1)
    pipeline = make_pipeline(StandardScaler(), classifier(image_shape=(16, 16))).fit(rows, y)
    assert pipeline[-1].input_shape_ == (1, 16, 16)
    scaled = StandardScaler().fit_transform(rows)
    expected = classifier().fit(scaled.reshape(-1, 16, 16), y).predict(scaled.reshape(-1, 16, 16))
    np.testing.assert_array_equal(pipeline.predict(rows), expected)


def test_classifier_is_a_transformer_in_a_pipeline(data):
    neighbours = KNeighborsClassifier(1, metric="manhattan")
    pipeline = make_pipeline(classifier(), neighbours).fit(*data)
    assert pipeline.score(*data) == 1.0


@pytest.mark.parametrize(
    "grid",
    [
        {"encoder": ["conv", "mlp"]},
        {"loss": ["verification", "episodic", "both"]},
        {"aggregation": ["mean", "max", "prototype"]},
        {"optimizer": ["adamw", torch.optim.SGD]},
        {"batch_size": [(1, 5, 2), "auto"]},
        {"class_augmentation": [None, "rotate"]},
        {"siameseoneshotclassifier__head": ["weighted_l1", "signed_l1"]},
    ],
)
def test_grid_search_over_parameters(data, grid):
    estimator = classifier()
    if any("__" in name for name in grid):
        estimator = make_pipeline(FunctionTransformer(), estimator)
    search = GridSearchCV(estimator, grid, cv=2, error_score="raise").fit(*data)
    ((name, values),) = grid.items()
    assert search.best_params_[name] in values
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    refitted = clone(estimator).set_params(**search.best_params_).fit(*data)
    np.testing.assert_array_equal(search.predict(data[0]), refitted.predict(data[0]))


def test_halving_grid_search_over_encoders(data):
    X, y = np.repeat(data[0], 2, axis=0), np.repeat(data[1], 2)
    search = HalvingGridSearchCV(
        classifier(),
        {"encoder": ["conv", "mlp"], "augmentation": [None, "affine"]},
        cv=2,
        factor=2,
        min_resources=40,
        random_state=0,
    ).fit(X, y)
    assert search.n_iterations_ == 2
    assert search.n_candidates_ == [4, 2]
    assert search.best_score_ > 1 / 5


def test_cross_val_score_on_three_dimensional_images(data):
    scores = cross_val_score(classifier(max_iter=4), *data, cv=2)
    assert scores.mean() > 0.6  # chance is 0.2


def test_cross_val_score_over_unseen_classes(glyphs):
    X, y = glyphs
    scorer = make_one_shot_scorer(n_way=4, n_episodes=20)
    estimator = make_pipeline(FunctionTransformer(), classifier(max_iter=4))
    scores = cross_val_score(estimator, X, y, groups=y, cv=GroupKFold(2), scoring=scorer)
    assert (scores > 0.5).all()  # chance is 0.25


# Copies


def test_clone_is_unfitted_and_learns_the_same(clf, data):
    again = clone(clf)
    assert not hasattr(again, "network_")
    assert again.get_params() == clf.get_params()
    np.testing.assert_array_equal(again.fit(*data).transform(data[0]), clf.transform(data[0]))


@pytest.mark.parametrize("protocol", [2, pickle.HIGHEST_PROTOCOL])
def test_pickle_keeps_a_fitted_and_an_unfitted_classifier(clf, data, protocol):
    again = pickle.loads(pickle.dumps(clf, protocol))
    np.testing.assert_array_equal(again.predict_proba(data[0]), clf.predict_proba(data[0]))
    unfitted = pickle.loads(pickle.dumps(classifier(), protocol))
    np.testing.assert_array_equal(unfitted.fit(*data).transform(data[0]), clf.transform(data[0]))


def test_pickle_does_not_hold_the_training_images(clf, data):
    many = np.repeat(data[0], 20, axis=0)
    larger = classifier().fit(many, np.repeat(data[1], 20))
    embeddings = larger.support_.embeddings.nbytes - clf.support_.embeddings.nbytes
    growth = len(pickle.dumps(larger)) - len(pickle.dumps(clf))
    assert growth - embeddings < many.nbytes / 10


@pytest.mark.parametrize("mmap_mode", [None, "r"])
@pytest.mark.filterwarnings("ignore:You are using `torch.load`:FutureWarning")  # torch before 2.6
@pytest.mark.filterwarnings("error")
def test_joblib_keeps_a_classifier(clf, data, tmp_path, mmap_mode):
    X, y = data
    joblib.dump(clf, tmp_path / "clf.joblib")
    again = joblib.load(tmp_path / "clf.joblib", mmap_mode=mmap_mode)
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))
    again.add_support(255 - X[:2] // 2, [7, 8]).remove_support(0)
    assert again.classes_.tolist() == [1, 2, 3, 4, 7, 8]


@pytest.mark.parametrize("mmap_mode", [None, "r"])
@pytest.mark.filterwarnings("ignore:You are using `torch.load`:FutureWarning")  # torch before 2.6
@pytest.mark.filterwarnings("error")
def test_joblib_keeps_motor_programs(data, tmp_path, mmap_mode):
    X, y = data[0][::8], data[1][::8]
    clf = MotorProgramClassifier(random_state=0).fit(X, y)
    joblib.dump(clf, tmp_path / "clf.joblib")
    again = joblib.load(tmp_path / "clf.joblib", mmap_mode=mmap_mode)
    np.testing.assert_array_equal(again.decision_function(X), clf.decision_function(X))
    again.add_support(X[:1], [7]).remove_support(0)
    assert again.classes_.tolist() == [1, 2, 3, 4, 7]


def test_motor_programs_remember_the_columns_of_a_data_frame(data):
    X, y = data[0][::8], data[1][::8]
    frame = pd.DataFrame(X.reshape(len(X), -1)).add_prefix("pixel")
    clf = MotorProgramClassifier(image_shape=(16, 16)).fit(frame, pd.Series(y).astype(str))
    assert clf.feature_names_in_[:2].tolist() == ["pixel0", "pixel1"]
    assert clf.predict(frame).tolist() == list("01234")
    with pytest.raises(ValueError, match="feature names"):
        clf.predict(frame.rename(columns={"pixel0": "other"}))


def test_skops_keeps_an_unfitted_classifier_that_is_trusted():
    pipeline = make_pipeline(StandardScaler(), classifier(batch_size=(1, 10, 2)))
    written = skops.io.dumps(pipeline)
    untrusted = skops.io.get_untrusted_types(data=written)
    assert untrusted == ["sksiamese._classifier.SiameseOneShotClassifier"]
    again = skops.io.loads(written, trusted=untrusted)
    assert again[-1].get_params() == pipeline[-1].get_params()


# What scikit-learn shows of it


def test_transform_returns_a_data_frame_with_set_output(data):
    clf = classifier().set_output(transform="pandas").fit(*data)
    frame = clf.transform(data[0])
    assert isinstance(frame, pd.DataFrame)
    assert frame.columns.tolist() == clf.get_feature_names_out().tolist()
    assert set(frame.dtypes) == {np.dtype("float32")}
    plain = classifier().fit(*data).transform(data[0])
    np.testing.assert_array_equal(frame.to_numpy(), plain)


def test_get_feature_names_out_names_every_feature(clf, data):
    names = clf.get_feature_names_out()
    assert len(names) == clf.transform(data[0][:1]).shape[1]
    assert names[0] == "siameseoneshotclassifier0"
    assert len(set(names)) == len(names)


def test_repr_shows_parameters_that_differ(clf):
    assert repr(SiameseOneShotClassifier(max_iter=3)) == "SiameseOneShotClassifier(max_iter=3)"
    for estimator in (clf, classifier(), make_pipeline(classifier())):
        assert "SiameseOneShotClassifier" in estimator._repr_html_()


def test_is_classifier_is_true(clf):
    assert is_classifier(clf)
    assert is_classifier(SiameseVerifier())
    assert is_classifier(MotorProgramClassifier())


# Forms of X that only scikit-learn users have


def test_fit_and_predict_accept_torch_tensors(clf, data):
    X, y = torch.from_numpy(data[0]), torch.from_numpy(data[1])
    again = classifier().fit(X, y)
    np.testing.assert_array_equal(again.predict(X), clf.predict(data[0]))
    np.testing.assert_array_equal(again.transform(X), clf.transform(data[0]))


def test_fit_remembers_the_columns_of_a_data_frame(data):
    X, y = data
    frame = pd.DataFrame(X.reshape(len(X), -1)).add_prefix("pixel")
    clf = classifier(image_shape=(16, 16)).fit(frame, pd.Series(y).astype(str))
    assert clf.feature_names_in_[:2].tolist() == ["pixel0", "pixel1"]
    assert clf.n_features_in_ == 256
    assert clf.predict(frame)[0] in set("01234")
    with pytest.raises(ValueError, match="feature names"):
        clf.predict(frame.rename(columns={"pixel0": "other"}))
    clf.fit(X, y)
    assert not hasattr(clf, "feature_names_in_")
