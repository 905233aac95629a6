"""Closed form: the whitened head of features that are not trained, and what it says of pairs."""

import warnings

import numpy as np
import pytest
import torch
from helpers import assert_same_network, classifier, cosine_nearest, make_features
from skorch.callbacks import Callback
from torch import nn

from sksiamese import SiameseOneShotClassifier, SiameseVerifier
from sksiamese.exceptions import NoEffectWarning
from sksiamese.model_selection import make_pairs, one_shot_score
from sksiamese.twin.whitening import whitening

OPTIONS = {"head": "whitened", "normalization": None}
X, Y = make_features()
NEW = make_features(n_classes=12, seed=1)


def whitened(encoder=None, **params):
    encoder = nn.Identity() if encoder is None else encoder
    return classifier(encoder, **{**OPTIONS, **params})


@pytest.fixture(scope="module")
def fitted():
    return whitened().fit(X, Y)


def head_of(clf):
    return clf.network_.head


def assert_same_projection(a, b):
    assert_same_direction(head_of(a).projection, head_of(b).projection)


def assert_same_direction(a, b):
    """Of projections, whose scale does not matter."""
    torch.testing.assert_close(a / a.abs().max(), b / b.abs().max(), atol=1e-4, rtol=1e-4)


def test_whitened_head_is_the_whitening_of_the_training_classes(fitted):
    mean, projection = whitening(torch.from_numpy(X), torch.from_numpy(Y))
    torch.testing.assert_close(head_of(fitted).mean, mean)
    assert_same_direction(head_of(fitted).projection, projection)


def test_whitened_head_beats_cosine_on_new_classes(fitted):
    cosine = classifier(nn.Identity(), head="cosine", normalization=None, max_iter=1)
    white, plain = (
        one_shot_score(clf, *NEW, n_way=10, n_episodes=20, random_state=0)
        for clf in (fitted, cosine.fit(X, Y))
    )
    assert white.accuracy > plain.accuracy + 0.3


def test_whitened_head_has_the_probabilities_of_new_classes():
    fitted = whitened().fit(*make_features(n_classes=60))
    features, y = make_features(n_classes=60, seed=1)
    pairs = make_pairs(y, n_pairs=2000, random_state=0)
    p = fitted.pair_proba(features[pairs[:, 0]], features[pairs[:, 1]])
    assert p.mean() == pytest.approx(pairs[:, 2].mean(), abs=0.05)
    for low in (0.0, 0.5):
        part = (p >= low) & (p < low + 0.5)
        assert p[part].mean() == pytest.approx(pairs[part, 2].mean(), abs=0.1)


def test_whitened_head_learns_its_line_of_classes_that_it_leaves_out():
    """With many features, the classes of a whitening lie far nearer together than new ones."""
    features, y = make_features(n_classes=8, n_samples=6, n_features=40)
    clf = whitened().fit(features, y)
    new, of_new = make_features(n_classes=20, n_samples=6, n_features=40, seed=1)
    pairs = make_pairs(of_new, n_pairs=2000, random_state=0)
    p = clf.pair_proba(new[pairs[:, 0]], new[pairs[:, 1]])
    assert p.mean() == pytest.approx(0.5, abs=0.08)


def test_whitened_head_with_verification_pairs_is_that_of_labels(fitted):
    """Neighbours in a chain join all samples of a class."""
    order = np.arange(len(X))
    same = np.stack([order[:-1], order[1:], np.ones(len(X) - 1, int)], 1)[Y[:-1] == Y[1:]]
    different = np.stack([order, (order + 10) % len(X), np.zeros(len(X), int)], 1)
    pairs = np.concatenate([same, different])
    clf = whitened().fit(X, pairs)
    assert_same_projection(clf, fitted)
    verifier = SiameseVerifier(nn.Identity(), preprocessor=lambda rows: X[rows], **OPTIONS)
    assert_same_projection(verifier.fit(pairs[:, :2], pairs[:, 2]), fitted)


def test_whitened_head_of_a_verifier_of_pairs_of_rows():
    pairs, new = (make_pairs(y, n_pairs=1000, random_state=0) for y in (Y, NEW[1]))
    verifier = SiameseVerifier(nn.Identity(), **OPTIONS).fit(X[pairs[:, :2]], pairs[:, 2])
    assert verifier.score(NEW[0][new[:, :2]], new[:, 2]) > 0.8
    plain = SiameseVerifier(nn.Identity(), head="cosine", normalization=None)
    plain.fit(X[pairs[:, :2]], pairs[:, 2])
    assert plain.score(NEW[0][new[:, :2]], new[:, 2]) < 0.75


@pytest.mark.parametrize(
    "y",
    [
        np.repeat([0, 1], 6),
        np.r_[np.zeros(8, int), np.ones(4, int)],
        [0] * 5 + [1] * 4 + [2, 3, 4],
    ],
    ids=["two classes", "two unequal classes", "two classes and single samples"],
)
def test_whitened_head_of_two_classes_is_the_nearest_cosine(y):
    clf = whitened().fit(X[:: len(X) // 12][:12], y)
    features, of_new = NEW
    clf.set_support(features[::10], of_new[::10])
    expected = cosine_nearest(features[::10], of_new[::10], features)
    np.testing.assert_array_equal(clf.predict(features), expected)


def test_whitened_head_of_pairs_of_two_classes_is_the_nearest_cosine():
    pairs = np.array([[0, 1, 1], [1, 2, 1], [3, 4, 1], [0, 3, 0], [2, 4, 0]])
    clf = whitened().fit(X[[0, 1, 2, 10, 11]], pairs)
    features, of_new = NEW
    clf.set_support(features[::10], of_new[::10])
    expected = cosine_nearest(features[::10], of_new[::10], features)
    np.testing.assert_array_equal(clf.predict(features), expected)


@pytest.mark.parametrize("n_classes", [3, 4, 5, 6, 7])
def test_whitened_head_of_few_classes_has_finite_logits(n_classes):
    features, y = make_features(n_classes=n_classes, n_samples=4)
    clf = whitened().fit(features, y)
    logits = clf.similarity(features, features)
    assert np.isfinite(logits).all()
    assert logits[0, 1] > logits[0, -1]
    assert head_of(clf).gain > 0


def test_whitened_head_of_labels_without_sense_has_logits_that_rise_with_the_cosine():
    y = np.random.default_rng(0).permutation(np.repeat(np.arange(5), 8))
    features = np.random.default_rng(1).normal(size=(40, 30))
    clf = whitened().fit(features, y)
    embeddings = clf.transform(features)
    order = np.argsort((embeddings[:1] @ embeddings.T)[0])
    logits = clf.similarity(features[:1], features)[0]
    assert (np.diff(logits[order]) >= 0).all()
    assert np.isfinite(logits).all()


def test_whitened_head_of_groups_takes_pairs_inside_them():
    """A group of two classes may have one on each side of a fold."""
    clf = whitened().fit(X, Y, groups=Y // 2)
    assert head_of(clf).gain > 0
    assert_same_projection(clf, whitened().fit(X, Y))


def test_whitened_head_of_a_frozen_encoder_depends_on_no_random_state(fitted):
    assert_same_network(whitened(random_state=7, max_iter=3).fit(X, Y), fitted)


def test_whitened_head_of_a_trained_encoder_is_whitened_after_training():
    encoder = nn.Linear(X.shape[1], 12)
    clf = classifier(encoder, **OPTIONS, max_iter=2).fit(X, Y)
    assert len(clf.history_[0]) == 2
    with torch.no_grad():
        features = clf.network_.encoder(torch.from_numpy(X))
    mean, projection = whitening(features, torch.from_numpy(Y))
    torch.testing.assert_close(head_of(clf).mean, mean)
    assert_same_direction(head_of(clf).projection, projection)
    assert len(head_of(clf).log_weight.unique()) == 1


def test_whitened_head_of_a_trained_encoder_of_two_classes_is_the_cosine_that_was_trained():
    features, y = make_features(n_classes=2)
    encoder = nn.Linear(features.shape[1], 12)
    white, cosine = (
        whitened(encoder=encoder, head=head, max_iter=5, precision="float32").fit(features, y)
        for head in ("whitened", "cosine")
    )
    assert head_of(cosine).log_weight.std() > 0.01
    np.testing.assert_allclose(white.similarity(X, X), cosine.similarity(X, X), atol=1e-3)


@pytest.mark.parametrize("start", ["weights", "warm_start"])
def test_fit_goes_on_from_a_whitened_head(fitted, tmp_path, start):
    """As `weights` of many classes go on with few: what was known of scatter mostly remains."""
    features, y = make_features(n_classes=6, n_samples=5, seed=2)
    if start == "weights":
        fitted.save(tmp_path / "file")
        clf = whitened(weights=tmp_path / "file")
    else:
        clf = whitened(warm_start=True).fit(X, Y)
    again = clf.fit(features, y)
    known = head_of(fitted).projection
    mean, projection = whitening(torch.from_numpy(features), torch.from_numpy(y), known=known)
    torch.testing.assert_close(head_of(again).mean, mean)
    assert_same_direction(head_of(again).projection, projection)
    assert not torch.equal(head_of(again).log_gain, head_of(fitted).log_gain)
    before, after, anew = (
        one_shot_score(c, *NEW, n_way=10, n_episodes=20, random_state=0).accuracy
        for c in (fitted, again, whitened().fit(features, y))
    )
    assert after > before - 0.05
    assert after > anew + 0.05


def test_fit_goes_on_from_a_whitened_head_without_training(fitted, tmp_path):
    fitted.save(tmp_path / "file")
    clf = whitened(weights=tmp_path / "file", max_iter=0).fit(*make_features(seed=2))
    assert_same_network(clf, fitted)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_fit_goes_on_from_a_whitened_head_with_few_classes(fitted, tmp_path, n_classes):
    """Two say nothing of scatter, and of four none can be left out to learn gain and margin."""
    fitted.save(tmp_path / "file")
    clf = whitened(weights=tmp_path / "file").fit(*make_features(n_classes=n_classes, seed=2))
    assert torch.equal(head_of(clf).log_gain, head_of(fitted).log_gain)
    assert torch.equal(head_of(clf).margin, head_of(fitted).margin)
    same = np.allclose(clf.similarity(X, X), fitted.similarity(X, X), rtol=1e-3)
    assert same == (n_classes == 2)


def test_whitened_head_holds_out_what_is_calibrated_and_stopped_by():
    with pytest.warns(NoEffectWarning, match="^early_stopping: set, but"):
        clf = whitened(unknown_label=-1, early_stopping=True).fit(X, Y)
    kept = ~np.isin(Y, clf.held_out_classes_)
    assert 0 < kept.sum() < len(Y)
    mean, _ = whitening(
        torch.from_numpy(X[kept]), torch.from_numpy(np.unique(Y[kept], return_inverse=True)[1])
    )
    torch.testing.assert_close(head_of(clf).mean, mean)
    assert np.isfinite(clf.rejection_threshold_)


SET = {
    "augmentation": lambda rows, generator: rows,
    "class_augmentation": "rotate",
    "n_pairs": 50,
    "early_stopping": True,
    "callbacks": [Callback()],
    "net_params": {"callbacks__clip": None},
}


def test_whitened_head_of_a_frozen_encoder_warns_of_parameters_of_training():
    with pytest.warns(NoEffectWarning, match="head='cosine'") as caught:
        clf = whitened(**SET).fit(X, Y)
    (message,) = [str(w.message) for w in caught if w.category is NoEffectWarning]
    assert message.partition(":")[0].split(", ") == [*SET]
    assert clf.history_ == [[]]


@pytest.mark.parametrize(
    "params",
    [
        {"augmentation": None, "callbacks": [], "net_params": {}},
        {**SET, "head": "cosine", "max_iter": 1},
        {**SET, "encoder": nn.Linear(X.shape[1], 4), "max_iter": 1},
        {**SET, "encoder": (nn.Identity(), "mlp"), "max_iter": 1},
    ],
    ids=["not set", "trained head", "trained encoder", "one is trained"],
)
def test_fit_warns_of_parameters_of_training_only_if_nothing_is_trained(params):
    with warnings.catch_warnings():
        warnings.simplefilter("error", NoEffectWarning)
        whitened().set_params(**params).fit(X, Y)


def test_whitened_head_of_images_averages_the_cells_of_a_map(training, monkeypatch):
    monkeypatch.setattr("sksiamese.twin.heads.MOST_WHITENED", 100)
    torch.manual_seed(0)
    encoder = nn.Conv2d(1, 8, 4, stride=4).requires_grad_(False)
    clf = classifier(encoder, head="whitened").fit(*training)
    assert clf.transform(training[0][:3]).shape == (3, 8 * 3 * 3)
    assert clf.score(*training) > 0.9


# n_components


def test_n_components_are_the_length_of_an_embedding(fitted):
    clf = whitened(head_params={"n_components": 12}).fit(X, Y)
    assert clf.transform(X).shape == (len(X), 12)
    assert fitted.transform(X).shape == X.shape
    few, all_ = (
        one_shot_score(c, *NEW, n_way=10, n_episodes=20, random_state=0).accuracy
        for c in (clf, fitted)
    )
    assert few > all_ - 0.02  # classes differ in eight directions


@pytest.mark.parametrize("n_components", [64, 1000])
def test_all_components_are_the_head_without_them(fitted, n_components):
    clf = whitened(head_params={"n_components": n_components}).fit(X, Y)
    np.testing.assert_allclose(clf.similarity(X, X), fitted.similarity(X, X), rtol=1e-3, atol=1e-3)


def test_n_components_may_exceed_the_number_of_samples():
    features, y = make_features(n_classes=5, n_samples=3)
    clf, whole = (
        whitened(head_params=params).fit(features, y) for params in ({"n_components": 40}, None)
    )
    assert clf.transform(features).shape == (15, 40)
    # All samples lie in the directions that are kept.
    cosines = [c.transform(features) @ c.transform(features).T for c in (clf, whole)]
    np.testing.assert_allclose(*cosines, atol=1e-3)


@pytest.mark.parametrize("encoder", ["mlp", nn.Identity()], ids=["trained", "frozen"])
def test_n_components_are_saved_and_gone_on_from(tmp_path, encoder):
    params = {"encoder": encoder, "head_params": {"n_components": 10}, "warm_start": True}
    clf = whitened(**params).fit(X, Y)
    clf.save(tmp_path / "file")
    given = None if encoder == "mlp" else encoder
    for other in (
        SiameseOneShotClassifier.load(tmp_path / "file", encoder=given),
        whitened(**params, weights=tmp_path / "file", max_iter=0).fit(X, Y),
    ):
        np.testing.assert_allclose(other.transform(X), clf.transform(X), atol=1e-5)
    assert clf.fit(*NEW).transform(X).shape == (len(X), 10)


@pytest.mark.parametrize("n_components", [0, 1.5, True, "all"])
def test_fit_refuses_bad_n_components(n_components):
    clf = whitened(head_params={"n_components": n_components})
    with pytest.raises((ValueError, TypeError), match="head_params=.*n_components"):
        clf.fit(X, Y)
