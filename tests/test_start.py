"""weights: training starts from a pretrained network or a file, in clones too."""

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
from helpers import CLOSE, assert_same_network, classifier, unchanged, weights
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sksiamese import (
    MotorProgramClassifier,
    SiameseOneShotClassifier,
    SiameseVerifier,
    load_pretrained,
    recipes,
)
from sksiamese.datasets import make_glyphs
from sksiamese.model_selection import make_one_shot_scorer, make_pairs

X, y = make_glyphs(n_classes=6, n_samples=4, image_size=16, random_state=0)
PAIRS = make_pairs(y, n_pairs=40, random_state=0)
STILL = {"learning_rate": 1e-12, "weight_decay": 0.0, "precision": "float32"}
# A head that is trained by gradients alone; the whitened one is learned anew after training.
SMALL = {"encoder_params": {"width": 8}, "head": "weighted_l1"}


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The files of a trained classifier, of one of two networks, and of a verifier."""
    folder = tmp_path_factory.mktemp("weights")
    fits = {
        "one": classifier(**SMALL).fit(X, y),
        "two": classifier(**SMALL, n_estimators=2, random_state=1).fit(X, y),
        "verifier": SiameseVerifier(**SMALL, resize=None, max_iter=1, random_state=0).fit(
            X[PAIRS[:, :2]], PAIRS[:, 2]
        ),
        "table": classifier("mlp", head="weighted_l1").fit(
            X.reshape(len(X), -1)[:, :20].astype(float), y
        ),
    }
    for name, fit in fits.items():
        fit.save(folder / f"{name}.safetensors")
    return {name: (fit, folder / f"{name}.safetensors") for name, fit in fits.items()}


def assert_close_networks(a, b):
    """Assert that trainable weights are nearly the same; batch-norm's statistics may move."""
    for name, value in weights(a).items():
        if "running" not in name and "num_batches" not in name:
            np.testing.assert_allclose(value, weights(b)[name], err_msg=name, **CLOSE)


# What fit starts from


def test_weights_of_a_name_are_those_of_the_pretrained_network():
    clf = recipes.omniglot(random_state=0).set_params(weights="omniglot", max_iter=1, **STILL)
    assert_close_networks(clf.fit(X, y), load_pretrained("omniglot"))
    assert clf.n_iter_ == 1
    assert all(value.dtype == np.float32 for value in weights(clf).values() if value.ndim)


@pytest.mark.parametrize("as_given", [str, Path])
def test_weights_of_a_path_are_those_of_the_file(kept, as_given):
    saved, path = kept["one"]
    clf = classifier(**SMALL, **STILL, weights=as_given(path)).fit(X, y)
    assert_close_networks(clf, saved)


def test_weights_of_half_precision_are_trained_in_single_precision(kept, tmp_path):
    saved, _ = kept["one"]
    saved.save(tmp_path / "half", half=True)
    clf = classifier(**SMALL, **STILL, weights=tmp_path / "half").fit(X, y)
    for name, value in weights(saved).items():
        if "running" not in name and "num_batches" not in name:
            assert weights(clf)[name].dtype == value.dtype
            np.testing.assert_allclose(weights(clf)[name], value, rtol=2e-3, atol=1e-4)


def test_weights_start_each_fit_anew(kept):
    _, path = kept["one"]
    clf = classifier(**SMALL, weights=path).fit(X, y)
    first = copy.copy(clf)
    assert_same_network(clf.fit(X, y), first)
    assert clf.n_iter_ == 1
    assert not np.array_equal(clf.transform(X), kept["one"][0].transform(X))


def test_weights_start_clones_as_well():
    pretrained = load_pretrained("omniglot").set_params(max_iter=1)
    assert clone(pretrained).weights == "omniglot"
    assert_same_network(clone(pretrained).fit(X, y), pretrained.fit(X, y))


def test_weights_are_fine_tuned_by_cross_val_score_and_grid_search():
    groups = y // 3
    clf = load_pretrained("omniglot").set_params(max_iter=1, **STILL)
    scorer = make_one_shot_scorer(n_way=3, n_episodes=20)
    folds = [(np.flatnonzero(groups), np.flatnonzero(1 - groups))]
    scores = cross_val_score(clf, X, y, cv=folds, scoring=scorer)
    assert scores[0] > 0.9
    search = GridSearchCV(clf, {"learning_rate": [1e-12]}, cv=2, scoring=scorer).fit(X, y)
    assert_close_networks(search.best_estimator_, load_pretrained("omniglot"))


def test_weights_start_the_last_step_of_a_pipeline(kept):
    saved, path = kept["table"]
    rows = X.reshape(len(X), -1)[:, :20].astype(float)
    clf = make_pipeline(
        StandardScaler(), classifier("mlp", head="weighted_l1", weights=path, **STILL)
    ).fit(rows, y)
    assert_close_networks(clf[-1], saved)


def test_weights_of_a_classifier_start_a_verifier_and_the_reverse(kept):
    verifier = SiameseVerifier(
        **SMALL, **STILL, resize=None, max_iter=1, weights=kept["one"][1], random_state=0
    ).fit(X[PAIRS[:, :2]], PAIRS[:, 2])
    assert_close_networks(verifier, kept["one"][0])
    clf = classifier(**SMALL, **STILL, weights=kept["verifier"][1]).fit(X, y)
    assert_close_networks(clf, kept["verifier"][0])


def test_weights_start_training_on_pairs(kept):
    clf = classifier(**SMALL, **STILL, weights=kept["one"][1]).fit(X, PAIRS)
    assert_close_networks(clf, kept["one"][0])


def test_weights_are_passed_on_between_classifier_and_verifier(kept):
    _, path = kept["one"]
    clf = classifier(**SMALL, weights=path).fit(X, y)
    verifier = SiameseVerifier.from_classifier(clf)
    assert verifier.weights == verifier.to_classifier().weights == path


def test_weights_leave_random_state_to_decide(kept):
    _, path = kept["one"]
    a, b, c = (
        classifier(**SMALL, weights=path, random_state=seed).fit(X, y) for seed in (0, 0, 1)
    )
    assert_same_network(a, b)
    assert not np.array_equal(a.transform(X), c.transform(X))


# Input scaling


@pytest.mark.parametrize("change", [lambda X: 255 - X, lambda X: X / 255.0, lambda X: X[:, 2:]])
def test_weights_adapt_to_the_images_of_fit(kept, change):
    """To polarity, range and size; afterwards set_support expects the same."""
    images = change(X)
    clf = load_pretrained("omniglot").set_params(max_iter=1, **STILL).fit(images, y)
    assert clf.set_support(images[::4], y[::4]).score(images, y) > 0.8
    with pytest.raises(ValueError, match="Bring X to that shape"):
        clf.set_support(np.pad(images, ((0, 0), (0, 3), (0, 0)), mode="edge"), y)


def test_weights_of_a_path_learn_the_input_scaling_from_x(kept):
    saved, path = kept["one"]
    clf = classifier(**SMALL, weights=path, max_iter=0).fit(7 + X / 255.0, y)
    np.testing.assert_allclose(clf.transform(7 + X / 255.0), saved.transform(X), atol=1e-3)


# max_iter=0


def test_max_iter_0_sets_the_support_and_trains_nothing():
    clf = load_pretrained("omniglot").set_params(max_iter=0).fit(X[::2], y[::2])
    expected = load_pretrained("omniglot").set_support(X[::2], y[::2])
    np.testing.assert_array_equal(clf.predict_proba(X), expected.predict_proba(X))
    assert clf.rejection_threshold_ == expected.rejection_threshold_
    assert clf.n_iter_ == 0
    assert clf.history_ == [[]]


def test_max_iter_0_of_several_networks_is_one_network(kept):
    saved, path = kept["one"]
    clf = classifier(**SMALL, weights=path, max_iter=0, n_estimators=3).fit(X, y)
    np.testing.assert_allclose(clf.similarity(X, X), saved.similarity(X, X), **CLOSE)


def test_max_iter_0_of_several_networks_has_the_scores_of_one():
    clf = load_pretrained("omniglot").set_params(max_iter=0, n_estimators=2).fit(X[::2], y[::2])
    expected = load_pretrained("omniglot").set_support(X[::2], y[::2])
    np.testing.assert_allclose(clf.score_samples(X), expected.score_samples(X), atol=1e-3)
    assert clf.rejection_threshold_ == expected.rejection_threshold_


def test_max_iter_0_of_a_verifier_keeps_its_threshold(kept, tmp_path):
    saved = copy.copy(kept["verifier"][0])
    saved.calibrate_threshold(X[PAIRS[:, :2]], PAIRS[:, 2])
    saved.save(tmp_path / "verifier")
    again = clone(saved).set_params(weights=tmp_path / "verifier", max_iter=0)
    again.fit(X[PAIRS[:, :2]], PAIRS[:, 2])
    assert again.decision_threshold_ == saved.decision_threshold_
    np.testing.assert_array_equal(again.predict(X[PAIRS[:, :2]]), saved.predict(X[PAIRS[:, :2]]))


def test_max_iter_0_without_weights_raises():
    with pytest.raises(ValueError, match="max_iter == 0, must be >= 1"):
        classifier(max_iter=0).fit(X, y)


# Several networks


def test_weights_of_one_network_start_several_that_differ(kept):
    saved, path = kept["one"]
    clf = classifier(**SMALL, weights=path, n_estimators=2).fit(X, y)
    one, two = (
        {name: value.numpy() for name, value in member.state_dict().items()}
        for member in clf.network_.members
    )
    assert any(not np.array_equal(one[name], two[name]) for name in one)
    clf.set_params(**STILL).fit(X, y)
    for member in clf.network_.members:
        for name, value in member.named_parameters():
            np.testing.assert_allclose(value.numpy(), weights(saved)[name], **CLOSE)


@pytest.mark.parametrize("n_estimators", [1, 2, 3])
def test_weights_of_several_networks_start_one_each(kept, n_estimators):
    saved, path = kept["two"]
    clf = classifier(**SMALL, **STILL, weights=path, n_estimators=n_estimators).fit(X, y)
    members = [clf.network_] if n_estimators == 1 else clf.network_.members
    assert len(members) == n_estimators
    for n, member in enumerate(members):
        theirs = dict(saved.network_.members[n % 2].named_parameters())
        for name, value in member.named_parameters():
            np.testing.assert_allclose(value.numpy(), theirs[name].numpy(), **CLOSE)


# warm_start


def test_warm_start_starts_from_the_weights_and_then_continues(kept):
    saved, path = kept["one"]
    clf = classifier(**SMALL, weights=path, warm_start=True)
    assert_same_network(clf.fit(X, y), classifier(**SMALL, weights=path).fit(X, y))
    before = copy.copy(clf)
    assert_close_networks(clf.set_params(**STILL).fit(X, y), before)
    assert clf.n_iter_ == 2


def test_warm_start_adds_networks_that_start_from_the_weights(kept):
    saved, path = kept["one"]
    clf = classifier(**SMALL, weights=path, warm_start=True).fit(X, y)
    first = copy.copy(clf)
    clf.set_params(n_estimators=2, **STILL).fit(X, y)
    for member, start in zip(clf.network_.members, (first, saved), strict=True):
        for name, value in member.named_parameters():
            np.testing.assert_allclose(value.numpy(), weights(start)[name], **CLOSE)


# Errors


@pytest.mark.parametrize(
    ("params", "difference"),
    [
        ({"encoder_params": {"width": 16}}, r"encoder_params=\{'width': 16\} instead of .*8"),
        ({"encoder_params": None}, "encoder_params=None instead of"),
        ({"encoder": "koch", "encoder_params": None}, "encoder='koch' instead of 'auto'"),
        ({"head": "signed_l1"}, "head='signed_l1' instead of 'weighted_l1'"),
        ({"head": "aligned", "head_params": {"window": 2}}, "head='aligned' .* head_params="),
    ],
)
def test_weights_of_another_architecture_raise_and_name_the_difference(kept, params, difference):
    clf = classifier(**{**SMALL, **params}, weights=kept["one"][1])
    with unchanged(clf), pytest.raises(ValueError, match=f"another architecture: .*{difference}"):
        clf.fit(X, y)


def test_weights_of_the_default_architecture_are_not_those_of_omniglot():
    with pytest.raises(ValueError, match=r"head='whitened' instead of 'aligned'.*load_pretr"):
        SiameseOneShotClassifier(weights="omniglot").fit(X, y)


def test_weights_agree_where_parameters_mean_the_same(kept):
    same = {"encoder": "conv", "head_params": {}}
    assert classifier(**SMALL, **same, weights=kept["one"][1]).fit(X, y).n_iter_ == 1


def test_weights_that_the_size_of_images_does_not_fit_raise(tmp_path):
    params = {"head": "signed_l1", "encoder": "mlp", "resize": None}
    classifier(**params).fit(X, y).save(tmp_path / "mlp")
    clf = classifier(**params, weights=tmp_path / "mlp")
    with unchanged(clf), pytest.raises(ValueError, match="weights.* of another network"):
        clf.fit(X[:, :12], y)


@pytest.mark.parametrize(
    ("images", "has"),
    [
        (np.repeat(X[:, None], 3, axis=1), "images of 16x16 with 3 channels|3 channels"),
        (X.reshape(len(X), -1), "rows of 256 features|256"),
    ],
)
def test_weights_raise_for_samples_of_another_form(kept, images, has):
    clf = load_pretrained("omniglot").set_params(max_iter=1)
    with unchanged(clf), pytest.raises(ValueError, match=rf"({has}).*weights='omniglot'.*1 chan"):
        clf.fit(images, y)


def test_weights_of_tables_raise_for_other_columns(kept):
    rows = X.reshape(len(X), -1)[:, :19].astype(float)
    with pytest.raises(ValueError, match="19 .*weights=.* 20 features"):
        classifier("mlp", head="weighted_l1", weights=str(kept["table"][1])).fit(rows, y)


@pytest.mark.parametrize("estimator", [SiameseOneShotClassifier(), SiameseVerifier()])
def test_weights_raise_for_unknown_names(estimator):
    with pytest.raises(ValueError, match="weights='imagenet' is not known; expected one of 'omni"):
        estimator.set_params(weights="imagenet").fit(X[PAIRS[:, :2]], PAIRS[:, 2])


@pytest.mark.parametrize("path", ["gone.safetensors", "folder/gone", Path("omniglot")])
def test_weights_raise_for_a_path_without_a_file(path, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=str(path)):
        classifier(weights=path).fit(X, y)


def test_weights_raise_for_a_damaged_file(kept, tmp_path):
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(kept["one"][1].read_bytes()[:-100])
    with pytest.raises(OSError, match=r"damaged\.safetensors"):
        classifier(**SMALL, weights=damaged).fit(X, y)


def test_weights_raise_for_a_file_without_a_network(tmp_path):
    MotorProgramClassifier().fit(X[::4], y[::4]).save(tmp_path / "programs")
    with pytest.raises(ValueError, match="holds a MotorProgramClassifier, which has no network"):
        classifier(weights=tmp_path / "programs").fit(X, y)


@pytest.mark.parametrize("value", [3, True, ["omniglot"], b"omniglot"])
def test_weights_raise_for_other_types(value):
    with pytest.raises(TypeError, match="weights=.*name of a pretrained network, the path"):
        classifier(weights=value).fit(X, y)


def test_weights_that_fail_leave_a_random_state_as_it_was(kept):
    rng = np.random.RandomState(0)
    before = rng.get_state()[1].copy()
    with pytest.raises(ValueError, match="another architecture"):
        classifier(weights=kept["one"][1], random_state=rng).fit(X, y)
    np.testing.assert_array_equal(rng.get_state()[1], before)


# Files


@pytest.mark.parametrize("given", [str, Path])
def test_save_and_load_keep_weights_whose_file_is_gone(kept, tmp_path, given):
    path = tmp_path / "start.safetensors"
    path.write_bytes(kept["one"][1].read_bytes())
    clf = classifier(**SMALL, weights=given(path)).fit(X, y)
    clf.save(tmp_path / "tuned")
    path.unlink()
    again = SiameseOneShotClassifier.load(tmp_path / "tuned")
    assert again.weights == str(path)
    for other in (again, pickle.loads(pickle.dumps(clf))):  # noqa: S301
        np.testing.assert_array_equal(other.predict_proba(X), clf.predict_proba(X))
        other.set_support(X[::4], y[::4]).save(tmp_path / "again")
        with unchanged(other), pytest.raises(FileNotFoundError, match="start"):
            other.fit(X, y)
