"""What others got wrong, one regression test each (the rules of the design)."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from sksiamese import SiameseOneShotClassifier, SiameseVerifier
from sksiamese.augmentation import AUGMENTATIONS
from sksiamese.datasets import make_glyphs
from sksiamese.model_selection import EpisodeSplit, one_shot_score


class Constant(nn.Module):
    """An encoder that has collapsed: the same features for every image."""

    def forward(self, x):
        return torch.zeros(len(x), 4) * x.flatten(1)[:, :1]


def classifier(encoder="auto", **params):
    return SiameseOneShotClassifier(encoder, **{"max_iter": 1, "random_state": 0, **params})


@pytest.fixture
def clf(fitted, glyphs):
    """Ten training classes; six unseen ones, of which the support has one exemplar each."""
    X, y = glyphs
    new = np.flatnonzero(y >= 10)
    return copy.copy(fitted).set_support(X[new[::8]], y[new[::8]])


def unseen(glyphs):
    X, y = glyphs
    return X[y >= 10], y[y >= 10]


# 1. A constant scorer scores chance.


@pytest.mark.parametrize("groups", [None, np.repeat([0, 1], 64)])
@pytest.mark.filterwarnings("ignore::sksiamese.exceptions.CollapseWarning")
def test_one_shot_score_of_a_constant_scorer_is_chance(glyphs, groups):
    X, y = glyphs
    clf = classifier(Constant()).fit(X, y)
    score = one_shot_score(clf, X, y, groups=groups, n_way=5, n_episodes=10, random_state=0)
    assert score.accuracy == pytest.approx(1 / 5)


# 2. Query and support are different drawings, of distinct classes.


def test_episode_split_separates_query_and_support(glyphs):
    X, y = glyphs
    episodes = list(EpisodeSplit(6, 2, 3, n_episodes=50, random_state=0).split(X, y))
    for support, query in episodes:
        assert len(set(support)) == 12
        assert len(set(query)) == 18
        assert not set(support) & set(query)
        assert np.unique(y[support], return_counts=True)[1].tolist() == [2] * 6
        assert np.unique(y[query], return_counts=True)[1].tolist() == [3] * 6
        assert set(y[support]) == set(y[query])


# 3. Trials within groups and unstructured ones are different tasks.


def test_episode_split_stays_within_groups_if_groups_are_given(glyphs):
    X, y = glyphs
    groups = y // 4
    for support, query in EpisodeSplit(4, n_episodes=30, random_state=0).split(X, y, groups):
        assert len(set(groups[support]) | set(groups[query])) == 1
    mixed = EpisodeSplit(4, n_episodes=30, random_state=0).split(X, y)
    assert any(len(set(groups[support])) > 1 for support, _ in mixed)


def test_one_shot_score_names_its_protocol(clf, glyphs):
    X, y = glyphs
    within = one_shot_score(clf, X, y, groups=y // 4, n_way=4, n_episodes=5, random_state=0)
    unstructured = one_shot_score(clf, X, y, n_way=4, n_episodes=5, random_state=0)
    assert within.protocol == "within groups"
    assert unstructured.protocol == "unstructured"
    assert "within groups" in str(within)
    assert "unstructured" in str(unstructured)


# 4. Nothing is chosen on evaluation classes.


@pytest.mark.parametrize("groups", [None, np.repeat(np.arange(5), 8)])
def test_early_stopping_measures_classes_held_out_of_training(groups):
    """The images of a class have one grey level, so that it tells which class is trained on."""
    y = np.repeat(np.arange(10), 4)
    X = np.zeros((40, 8, 8), np.float32)
    X[:, 2:6, 2:6] = (y + 1)[:, None, None] / 10
    X[:, 7, 7] = 1  # as light as any gets
    trained = set()

    def note(images, generator):
        levels = images[:, 0, images.shape[2] // 2, images.shape[3] // 2]
        trained.update((levels * 10).round().int().sub(1).tolist())
        return images

    clf = classifier(augmentation=note, early_stopping=True, max_iter=5).fit(X, y, groups=groups)
    held = set(range(10)) - trained
    assert held == set(clf.held_out_classes_)
    assert len(held) == 2
    if groups is not None:
        assert len({label // 2 for label in held}) == 1  # a whole group
    assert all("one_shot_accuracy" in epoch for epoch in clf.history_[0])


# 5. Both images of a pair are augmented, independently; warps bring in background.


@pytest.mark.parametrize("name", sorted({*AUGMENTATIONS} - {"series"}))
def test_augmentations_change_every_image_of_a_batch_differently(name, glyphs):
    images = 1 - torch.from_numpy(glyphs[0][:1]).float().div(255).unsqueeze(1)
    images = images.repeat(32, 1, 1, 1)
    augmented = AUGMENTATIONS[name](images, torch.Generator().manual_seed(0))
    differences = torch.cdist(augmented.flatten(1), augmented.flatten(1))
    apart = (differences > 0.1).float().mean()
    assert apart > 0.8  # 15 in 16 copies are changed, and no two in the same way


@pytest.mark.parametrize("name", ["affine", "warp"])
def test_augmentation_changes_both_images_of_a_pair_differently(name, glyphs):
    """Pairs of an image with its copy, which only an augmentation tells apart."""
    images = np.repeat(glyphs[0][:16:8], 2, axis=0)
    X = np.stack([images, images], axis=1)
    seen = []

    def note(batch, generator):
        seen.append(AUGMENTATIONS[name](batch, generator))
        return seen[-1]

    verifier = SiameseVerifier(augmentation=note, resize=None, max_iter=20, random_state=0)
    verifier.fit(X, [0, 1, 0, 1])
    batch = torch.cat(seen).flatten(1)
    apart = (torch.cdist(batch, batch) > 0.1).float().mean()
    assert len(batch) == 20 * 8
    assert apart > 0.9


@pytest.mark.parametrize("foreground", [0, 255])
def test_warp_brings_in_background_of_either_polarity(glyphs, foreground):
    X, y = glyphs
    pixels = np.where(X < 128, foreground, 255 - foreground).astype(np.uint8)
    seen = []

    def note(images, generator):
        seen.append(AUGMENTATIONS["warp"](images, generator))
        return seen[-1]

    classifier(augmentation=note).fit(pixels, y)
    images = torch.cat(seen)
    assert images.min() >= 0
    assert images.max() == pytest.approx(1, abs=1e-3)
    corners = images[..., [0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners.abs() < 0.1).float().mean() > 0.95


# 6. A collapsed network warns: test_exceptions.py.

# 7. Every image is encoded once.


class Counting(nn.Module):
    """An encoder that counts the images that it has seen in evaluation mode."""

    seen = 0

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(256, 8)

    def forward(self, x):
        if not self.training:
            Counting.seen += len(x)
        return self.linear(x.flatten(1))


@pytest.fixture
def count():
    """Return how many images the call of a function encodes."""

    def count(function, *args, **kwargs):
        before = Counting.seen
        function(*args, **kwargs)
        return Counting.seen - before

    return count


def test_fit_and_predict_encode_every_image_once(glyphs, count):
    X, y = glyphs
    clf = classifier(Counting()).fit(X, y)
    assert count(clf.set_support, X[:20], np.arange(20)) == 20
    assert count(clf.add_support, X[20:25], np.arange(5)) == 5
    for method in (clf.predict, clf.predict_proba, clf.transform, clf.kneighbors):
        assert count(method, X[20:40]) == 20
    assert count(clf.similarity, X, X) == len(X)
    assert count(clf.pair_proba, X[:20], X[20:40]) == 40
    assert count(clf.calibrate, X, y) == len(X)


def test_one_shot_score_encodes_every_image_once(glyphs, count):
    X, y = glyphs
    clf = classifier(Counting()).fit(X, y)
    trials = {"n_way": 5, "n_episodes": 50, "random_state": 0}
    assert count(one_shot_score, clf, X, y, **trials) <= len(X)


def test_verifier_encodes_every_image_of_its_pairs_once(glyphs, count):
    X = glyphs[0]
    rows = np.array([[0, 1], [0, 2], [1, 2], [3, 0]])
    verifier = SiameseVerifier(Counting(), preprocessor=X, max_iter=1, random_state=0)
    verifier.fit(rows, [0, 1, 0, 1])
    assert count(verifier.predict, rows) == 4


# 8. An answer does not depend on the other rows.


def test_decision_function_does_not_depend_on_other_rows(clf, glyphs):
    X, _ = unseen(glyphs)
    together = clf.decision_function(X)
    alone = np.concatenate([clf.decision_function(X[i : i + 1]) for i in range(len(X))])
    noise = np.random.default_rng(0).integers(256, size=X.shape).astype(np.uint8)
    with_noise = clf.decision_function(np.concatenate([X, noise]))[: len(X)]
    np.testing.assert_allclose(alone, together, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(with_noise, together, rtol=1e-4, atol=1e-4)
    assert not any(module.training for module in clf.network_.modules())


# 9. One sample, one class, one exemplar: an answer, or an error that names the cause.


@pytest.mark.parametrize("n_samples", [1, 8])
def test_fit_raises_for_one_class(glyphs, n_samples):
    X, y = glyphs
    with pytest.raises(ValueError, match="y has only one class, 0"):
        classifier().fit(X[:n_samples], y[:n_samples])


def test_set_support_of_one_exemplar_gives_its_label(clf, glyphs):
    X, _ = unseen(glyphs)
    clf.set_support(X[:1], ["only"])
    assert set(clf.predict(X)) == {"only"}
    assert (clf.predict_proba(X) == 1).all()
    np.testing.assert_allclose(
        clf.decision_function(X), clf.similarity(X, X[:1]), rtol=1e-4, atol=1e-4
    )
    assert clf.kneighbors(X, 1, return_distance=False).tolist() == [[0]] * len(X)


def test_fit_learns_from_two_classes_of_few_drawings():
    X, y = make_glyphs(n_classes=2, n_samples=2, image_size=16, random_state=0)
    clf = classifier(max_iter=2).fit(X[:3], y[:3])
    np.testing.assert_array_equal(clf.predict(X[:3]), y[:3])
    assert np.isfinite(clf.decision_function(X)).all()


# 10. Images in other units or of other polarity are refused: test_exceptions.py.
