"""Closed form: the whitened head of features that are not trained, and what it says of pairs."""

import numpy as np
import pytest
import torch
from helpers import assert_same_network, classifier, cosine_nearest, make_features
from torch import nn

from sksiamese import SiameseVerifier
from sksiamese.model_selection import make_pairs, one_shot_score
from sksiamese.twin.whitening import whitening

OPTIONS = {"head": "whitened", "normalization": None}
X, Y = make_features()
NEW = make_features(n_classes=12, seed=1)


def whitened(**params):
    return classifier(nn.Identity(), **{**OPTIONS, **params})


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
    [np.repeat([0, 1], 6), np.r_[np.zeros(8, int), np.ones(4, int)]],
    ids=["two classes", "two unequal classes"],
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


def test_whitened_head_holds_out_what_is_calibrated_and_stopped_by():
    clf = whitened(unknown_label=-1, early_stopping=True).fit(X, Y)
    kept = ~np.isin(Y, clf.held_out_classes_)
    assert 0 < kept.sum() < len(Y)
    mean, _ = whitening(
        torch.from_numpy(X[kept]), torch.from_numpy(np.unique(Y[kept], return_inverse=True)[1])
    )
    torch.testing.assert_close(head_of(clf).mean, mean)
    assert np.isfinite(clf.rejection_threshold_)


def test_whitened_head_of_images_averages_the_cells_of_a_map(training, monkeypatch):
    monkeypatch.setattr("sksiamese.twin.heads.MOST_WHITENED", 100)
    torch.manual_seed(0)
    encoder = nn.Conv2d(1, 8, 4, stride=4).requires_grad_(False)
    clf = classifier(encoder, head="whitened").fit(*training)
    assert clf.transform(training[0][:3]).shape == (3, 8 * 3 * 3)
    assert clf.score(*training) > 0.9
