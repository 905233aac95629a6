"""scikit-learn's contract: its own checks, and the tools an estimator is handed to."""

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
from sklearn.base import clone, is_classifier
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

from sksiamese import SiameseOneShotClassifier
from sksiamese.model_selection import make_one_shot_scorer

CONTRACT = Path(__file__).parents[1] / "benchmarks" / "contract.py"


def test_every_check_of_scikit_learn_passes(tmp_path, record_property):
    """SCIPY_ARRAY_API is read on import, so this runs in an interpreter of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "SKSIAMESE_RESULTS": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, CONTRACT], capture_output=True, text=True, env=environment, check=False
    )
    assert run.returncode == 0, run.stderr
    record = json.loads((tmp_path / "contract.json").read_text())
    record_property("seconds", record["seconds"])
    assert record["not_passed"] == []
    assert record["checks"]["passed"] >= 55


def weights(clf):
    return torch.cat([p.flatten() for p in clf.network_.parameters()])


def test_groups_reach_fit_through_a_pipeline_and_by_routing(data):
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


def test_it_is_the_last_step_of_a_pipeline(data):
    X, y = data
    pipeline = make_pipeline(FunctionTransformer(np.sqrt), classifier()).fit(X, y)
    alone = classifier().fit(np.sqrt(X), y)
    np.testing.assert_array_equal(pipeline.predict_proba(X), alone.predict_proba(np.sqrt(X)))
    assert pipeline.score(X, y) == alone.score(np.sqrt(X), y)


def test_it_takes_what_a_scaler_makes_of_flat_rows(data):
    X, y = data
    rows = X.reshape(len(X), -1)
    pipeline = make_pipeline(StandardScaler(), classifier(image_shape=(16, 16))).fit(rows, y)
    assert pipeline[-1].input_shape_ == (1, 16, 16)
    assert pipeline.predict(rows).shape == (40,)


def test_it_is_a_transformer_in_a_pipeline(data):
    neighbours = KNeighborsClassifier(1, metric="manhattan")
    pipeline = make_pipeline(classifier(), neighbours).fit(*data)
    assert pipeline.score(*data) == 1.0


@pytest.mark.parametrize(
    "grid",
    [
        {"encoder": ["conv", "mlp"]},
        {"loss": ["verification", "episodic", "both"]},
        {"aggregation": ["mean", "max", "prototype"]},
        {"net_params": [None, {"optimizer": torch.optim.SGD}]},
        {"siameseoneshotclassifier__head": ["weighted_l1", "signed_l1"]},
    ],
)
def test_a_grid_search_over_its_parameters(data, grid):
    estimator = classifier()
    if any("__" in name for name in grid):
        estimator = make_pipeline(FunctionTransformer(), estimator)
    search = GridSearchCV(estimator, grid, cv=2, error_score="raise").fit(*data)
    ((name, values),) = grid.items()
    assert search.best_params_[name] in values
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.predict(data[0]).shape == (40,)


def test_successive_halving_over_the_kind_of_network(data):
    X, y = np.repeat(data[0], 2, axis=0), np.repeat(data[1], 2)
    search = HalvingGridSearchCV(
        classifier(), {"encoder": ["conv", "mlp"], "distortion": [None, "affine"]}, cv=2,
        factor=2, min_resources=40, random_state=0,
    ).fit(X, y)  # fmt: skip
    assert search.n_iterations_ == 2
    assert search.n_candidates_ == [4, 2]
    assert search.predict(X).shape == y.shape


def test_workers_give_the_scores_of_the_main_process(data):
    scores = [
        GridSearchCV(classifier(), {"max_iter": [1, 2]}, cv=2, n_jobs=n_jobs)
        .fit(*data)
        .cv_results_["mean_test_score"]
        for n_jobs in (1, 2)
    ]
    np.testing.assert_array_equal(*scores)


def test_cross_validation_on_three_dimensional_images(data):
    scores = cross_val_score(classifier(max_iter=4), *data, cv=2)
    assert scores.shape == (2,)
    assert scores.mean() > 0.6  # chance is 0.2


def test_cross_validation_over_unseen_classes(glyphs):
    X, y = glyphs
    scorer = make_one_shot_scorer(n_way=4, n_episodes=20)
    estimator = make_pipeline(FunctionTransformer(), classifier(max_iter=4))
    scores = cross_val_score(estimator, X, y, groups=y, cv=GroupKFold(2), scoring=scorer)
    assert (scores > 0.5).all()  # chance is 0.25


# Copies


def test_a_clone_is_unfitted_and_learns_the_same(clf, data):
    twin = clone(clf)
    assert not hasattr(twin, "network_")
    assert twin.get_params() == clf.get_params()
    np.testing.assert_array_equal(twin.fit(*data).transform(data[0]), clf.transform(data[0]))


@pytest.mark.parametrize("protocol", [2, pickle.HIGHEST_PROTOCOL])
def test_it_pickles_fitted_and_unfitted(clf, data, protocol):
    again = pickle.loads(pickle.dumps(clf, protocol))
    np.testing.assert_array_equal(again.predict_proba(data[0]), clf.predict_proba(data[0]))
    unfitted = pickle.loads(pickle.dumps(classifier(), protocol))
    np.testing.assert_array_equal(unfitted.fit(*data).transform(data[0]), clf.transform(data[0]))


def test_its_pickle_does_not_hold_the_training_images(clf, data):
    many = np.repeat(data[0], 20, axis=0)
    larger = classifier().fit(many, np.repeat(data[1], 20))
    codes = larger.support_.codes.nbytes - clf.support_.codes.nbytes
    growth = len(pickle.dumps(larger)) - len(pickle.dumps(clf))
    assert growth - codes < many.nbytes / 10


@pytest.mark.parametrize("mmap_mode", [None, "r"])
@pytest.mark.filterwarnings("error")
def test_joblib_dumps_it(clf, data, tmp_path, mmap_mode):
    X, y = data
    joblib.dump(clf, tmp_path / "clf.joblib")
    again = joblib.load(tmp_path / "clf.joblib", mmap_mode=mmap_mode)
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))
    again.add_support(X[:2], [7, 8]).remove_support(0)
    assert again.classes_.tolist() == [1, 2, 3, 4, 7, 8]


def test_skops_holds_it_with_trust_in_its_class_alone():
    pipeline = make_pipeline(StandardScaler(), classifier(batch_shape=(1, 10, 2)))
    written = skops.io.dumps(pipeline)
    untrusted = skops.io.get_untrusted_types(data=written)
    assert untrusted == ["sksiamese._classifier.SiameseOneShotClassifier"]
    again = skops.io.loads(written, trusted=untrusted)
    assert again[-1].get_params() == pipeline[-1].get_params()


# What scikit-learn shows of it


def test_transform_as_pandas(data):
    clf = classifier().set_output(transform="pandas").fit(*data)
    frame = clf.transform(data[0])
    assert isinstance(frame, pd.DataFrame)
    assert frame.columns.tolist() == clf.get_feature_names_out().tolist()
    assert set(frame.dtypes) == {np.dtype("float32")}


def test_feature_names_out(clf, data):
    names = clf.get_feature_names_out()
    assert len(names) == clf.transform(data[0][:1]).shape[1]
    assert names[0] == "siameseoneshotclassifier0"


def test_repr_shows_what_differs_and_html_all(clf):
    assert repr(SiameseOneShotClassifier(max_iter=3)) == "SiameseOneShotClassifier(max_iter=3)"
    for estimator in (clf, classifier(), make_pipeline(classifier())):
        assert "SiameseOneShotClassifier" in estimator._repr_html_()


def test_it_is_a_classifier(clf):
    assert is_classifier(clf)


# Forms of X that only scikit-learn users have


def test_torch_tensors(clf, data):
    X, y = torch.from_numpy(data[0]), torch.from_numpy(data[1])
    again = classifier().fit(X, y)
    np.testing.assert_array_equal(again.predict(X), clf.predict(data[0]))
    np.testing.assert_array_equal(again.transform(X), clf.transform(data[0]))


def test_data_frames_have_their_columns_remembered(data):
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
