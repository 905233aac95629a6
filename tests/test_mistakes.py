"""What others got wrong, one regression test each (the nine rules of the design)."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from sksiamese import SiameseOneShotClassifier
from sksiamese.datasets import make_glyphs
from sksiamese.model_selection import EpisodeSplit, one_shot_score
from sksiamese.twin.distortions import DISTORTIONS
from sksiamese.twin.network import TwinNetwork
from sksiamese.twin.training import CollapseWarning


class Constant(nn.Module):
    """An encoder that has collapsed: the same features for every image."""

    def forward(self, x):
        return torch.zeros(len(x), 4) * x.flatten(1)[:, :1]


def classifier(encoder="auto", **params):
    return SiameseOneShotClassifier(encoder, **{"max_iter": 1, "random_state": 0, **params})


@pytest.fixture
def twin(fitted, glyphs):
    """Ten trained classes; six unseen ones, of which the support has one exemplar each."""
    X, y = glyphs
    new = np.flatnonzero(y >= 10)
    return copy.copy(fitted).set_support(X[new[::8]], y[new[::8]])


def unseen(glyphs):
    X, y = glyphs
    return X[y >= 10], y[y >= 10]


@pytest.mark.parametrize("groups", [None, np.repeat([0, 1], 64)])
@pytest.mark.filterwarnings("ignore::sksiamese.twin.training.CollapseWarning")
def test_mistake_1_a_constant_scorer_scores_chance(glyphs, groups):
    X, y = glyphs
    clf = classifier(Constant()).fit(X, y)
    score = one_shot_score(clf, X, y, groups=groups, n_way=5, n_episodes=10, random_state=0)
    assert score.accuracy == pytest.approx(1 / 5)


def test_mistake_2_query_and_support_are_different_drawings_of_distinct_classes(glyphs):
    X, y = glyphs
    episodes = list(EpisodeSplit(6, 2, 3, n_episodes=50, random_state=0).split(X, y))
    for support, query in episodes:
        assert len(set(support)) == 12
        assert len(set(query)) == 18
        assert not set(support) & set(query)
        assert np.unique(y[support], return_counts=True)[1].tolist() == [2] * 6
        assert np.unique(y[query], return_counts=True)[1].tolist() == [3] * 6
        assert set(y[support]) == set(y[query])


def test_mistake_3_trials_within_groups_and_unstructured_ones_are_kept_apart(twin, glyphs):
    X, y = glyphs
    groups = y // 4
    for support, query in EpisodeSplit(4, n_episodes=30, random_state=0).split(X, y, groups):
        assert len(set(groups[support]) | set(groups[query])) == 1
    mixed = EpisodeSplit(4, n_episodes=30, random_state=0).split(X, y)
    assert any(len(set(groups[support])) > 1 for support, _ in mixed)
    within = one_shot_score(twin, X, y, groups=groups, n_way=4, n_episodes=5, random_state=0)
    unstructured = one_shot_score(twin, X, y, n_way=4, n_episodes=5, random_state=0)
    assert within.protocol == "within groups"
    assert unstructured.protocol == "unstructured"
    assert "within groups" in str(within)
    assert "unstructured" in str(unstructured)


@pytest.mark.parametrize("groups", [None, np.repeat(np.arange(5), 8)])
def test_mistake_4_early_stopping_is_judged_on_classes_held_out_of_training(groups):
    """A class's images are of one grey, so that the greys that training meets name its classes."""
    y = np.repeat(np.arange(10), 4)
    X = np.zeros((40, 8, 8), np.float32)
    X[:, 2:6, 2:6] = (y + 1)[:, None, None] / 10
    X[:, 7, 7] = 1  # as light as any gets
    trained = set()

    def note(images, generator):
        levels = images[:, 0, images.shape[2] // 2, images.shape[3] // 2]
        trained.update((levels * 10).round().int().sub(1).tolist())
        return images

    clf = classifier(distortion=note, early_stopping=True, max_iter=5).fit(X, y, groups=groups)
    held = set(range(10)) - trained
    assert len(held) == 2
    if groups is not None:
        assert len({label // 2 for label in held}) == 1  # a whole group
    assert all("one_shot_accuracy" in epoch for epoch in clf.history_)


@pytest.mark.parametrize("name", DISTORTIONS)
def test_mistake_5_every_image_of_a_batch_is_distorted_by_itself(name, glyphs):
    images = torch.from_numpy(glyphs[0][:1]).unsqueeze(1).repeat(32, 1, 1, 1)
    distorted = DISTORTIONS[name](images, torch.Generator().manual_seed(0))
    differences = torch.cdist(distorted.flatten(1), distorted.flatten(1))
    apart = (differences > 0.1).float().mean()
    assert apart > 0.8  # 15 in 16 copies are changed, and no two in the same way


@pytest.mark.parametrize("ink", [0, 255])
def test_mistake_5_warps_bring_in_ground_which_is_zero_for_any_paper(glyphs, ink):
    X, y = glyphs
    pixels = np.where(X > 0.5, ink, 255 - ink).astype(np.uint8)
    seen = []

    def note(images, generator):
        seen.append(DISTORTIONS["warp"](images, generator))
        return seen[-1]

    classifier(distortion=note).fit(pixels, y)
    images = torch.cat(seen)
    assert images.min() >= 0
    assert images.max() == pytest.approx(1, abs=1e-3)
    corners = images[..., [0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners.abs() < 0.1).float().mean() > 0.95


def test_mistake_6_a_collapsed_network_warns_and_says_what_to_do(glyphs):
    with pytest.warns(CollapseWarning, match="same logit to every pair.*Lower learning_rate"):
        classifier(Constant()).fit(*glyphs)


def test_mistake_7_every_image_is_encoded_once(twin, glyphs, monkeypatch):
    X, _ = unseen(glyphs)
    encoded, codes = [], TwinNetwork.codes

    def count(network, images):
        encoded.append(len(images))
        return codes(network, images)

    monkeypatch.setattr(TwinNetwork, "codes", count)
    twin.set_support(X[:20], np.arange(20))
    twin.predict_proba(X[20:40])
    assert sum(encoded) == 40
    one_shot_score(twin, X, np.repeat(np.arange(6), 8), n_way=5, n_episodes=50, random_state=0)
    assert sum(encoded) <= 40 + len(X)
    encoded.clear()
    twin.similarity(X, X)
    assert sum(encoded) == len(X)


def test_mistake_8_an_answer_does_not_depend_on_the_other_rows(twin, glyphs):
    X, _ = unseen(glyphs)
    together = twin.decision_function(X)
    alone = np.concatenate([twin.decision_function(X[i : i + 1]) for i in range(len(X))])
    with_noise = twin.decision_function(np.concatenate([X, 100 * X]))[: len(X)]
    np.testing.assert_allclose(alone, together, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(with_noise, together, rtol=1e-4, atol=1e-4)
    assert not any(module.training for module in twin.network_.modules())


def test_mistake_9_one_training_sample_is_refused_by_its_cause(glyphs):
    X, y = glyphs
    with pytest.raises(ValueError, match="y has only one class, 0"):
        classifier().fit(X[:1], y[:1])


def test_mistake_9_one_training_class_is_refused_by_its_cause(glyphs):
    X, y = glyphs
    with pytest.raises(ValueError, match="y has only one class, 0"):
        classifier().fit(X[:8], y[:8])


def test_mistake_9_one_support_exemplar_gives_its_label(twin, glyphs):
    X, _ = unseen(glyphs)
    twin.set_support(X[:1], ["only"])
    assert set(twin.predict(X)) == {"only"}
    assert (twin.predict_proba(X) == 1).all()
    assert twin.decision_function(X).shape == (len(X), 1)
    assert twin.kneighbors(X, 1, return_distance=False).tolist() == [[0]] * len(X)


def test_mistake_9_two_classes_of_few_drawings_are_enough():
    X, y = make_glyphs(n_classes=2, n_samples=2, image_size=16, random_state=0)
    clf = classifier(max_iter=2).fit(X[:3], y[:3])
    assert clf.predict(X).shape == (4,)
    assert np.isfinite(clf.decision_function(X)).all()
