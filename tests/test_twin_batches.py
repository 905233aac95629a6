"""Batches: functions of (seed, epoch), pairs inside a group, no drawing with itself."""

from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sksiamese.twin.batches import ClassBatches, PairBatches
from sksiamese.twin.distortions import Affine, Distortion, turn


class Store:
    """Images in memory that count how often each was taken."""

    def __init__(self, images):
        self.images = images
        self.taken = np.zeros(len(images), dtype=int)

    def __len__(self):
        return len(self.images)

    def take(self, indices):
        np.add.at(self.taken, indices, 1)
        return self.images[torch.as_tensor(indices)]


def numbered(n):
    """Flat rows that hold their own index."""
    return Store(torch.arange(n, dtype=torch.float32)[:, None])


def labels_of(n_groups, n_classes, n_drawings, seed=0):
    """Shuffled classes and groups of n_groups x n_classes x n_drawings images."""
    classes = np.repeat(np.arange(n_groups * n_classes), n_drawings)
    classes = np.random.default_rng(seed).permutation(classes)
    return classes, classes // n_classes


def class_batches(
    classes, groups, batch_shape=(2, 3, 2), turns=(0,), distortion=None, seed=0, store=None
):
    store = numbered(len(classes)) if store is None else store
    return ClassBatches(store, lambda x: x, classes, groups, batch_shape, turns, distortion, seed)


def pair_batches(pairs, n_images, batch_size=4, distortion=None, seed=0, store=None):
    store = numbered(n_images) if store is None else store
    return PairBatches(store, lambda x: x, pairs, batch_size, distortion, seed)


def random_pairs(n_pairs, n_images, seed=0):
    rng = np.random.default_rng(seed)
    i = rng.integers(n_images, size=n_pairs)
    j = (i + rng.integers(1, n_images, size=n_pairs)) % n_images
    return np.stack([i, j, rng.integers(2, size=n_pairs)], axis=1)


def equal_epochs(a, b):
    return len(a) == len(b) and all(
        x.keys() == y.keys()
        and torch.equal(same_x, same_y)
        and all(x[name].shape == y[name].shape and torch.equal(x[name], y[name]) for name in x)
        for (x, same_x), (y, same_y) in zip(a, b, strict=True)
    )


def kinds(seed):
    """Both kinds of batches, distorted, over the same 8x8 images."""
    images = torch.rand(24, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    classes, groups = labels_of(2, 3, 4)
    return {
        "classes": class_batches(
            classes, groups, turns=(0, 1, 2, 3), distortion=Distortion(), seed=seed,
            store=Store(images),
        ),
        "pairs": pair_batches(
            random_pairs(30, 24), 24, distortion=Distortion(), seed=seed, store=Store(images)
        ),
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["classes", "pairs"])
def test_an_epoch_is_a_function_of_seed_and_epoch(kind):
    batches = kinds(seed=3)[kind]
    earlier = [list(batches.epoch(epoch)) for epoch in range(3)]
    assert equal_epochs(earlier[2], list(batches.epoch(2)))
    assert equal_epochs(earlier[2], list(kinds(seed=3)[kind].epoch(2)))  # without epochs 0 and 1


@pytest.mark.parametrize("kind", ["classes", "pairs"])
def test_epochs_and_seeds_differ(kind):
    batches = kinds(seed=3)[kind]
    first = list(batches.epoch(0))
    assert not equal_epochs(first, list(batches.epoch(1)))
    assert not equal_epochs(first, list(kinds(seed=4)[kind].epoch(0)))


@pytest.mark.parametrize("kind", ["classes", "pairs"])
def test_distortions_are_new_each_epoch(kind):
    """All images are the same picture, so epochs differ by their distortions alone."""
    batches = kinds(seed=3)[kind]
    batches.turns = (0,)
    batches.pairs = np.array([[0, 1, 1], [2, 3, 0]])
    batches.n_batches = 1
    batches.store = Store(batches.store.images[:1].expand(24, -1, -1, -1))
    first, second = (next(batches.epoch(epoch))[0]["images"] for epoch in (0, 1))
    assert first.shape == second.shape
    assert not torch.equal(first, second)


@pytest.mark.parametrize("kind", ["classes", "pairs"])
def test_no_global_generator_is_read_or_moved(kind):
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    first = list(kinds(seed=3)[kind].epoch(0))
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    assert equal_epochs(first, list(kinds(seed=3)[kind].epoch(0)))
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()  # noqa: NPY002


@pytest.mark.parametrize("kind", ["classes", "pairs"])
def test_batches_say_how_many_they_are(kind):
    batches = kinds(seed=0)[kind]
    assert batches.n_batches == len(list(batches.epoch(0))) == len(list(batches.epoch(1)))


def test_a_batch_is_groups_by_classes_by_drawings():
    classes, groups = labels_of(4, 5, 6)
    for inputs, _ in class_batches(classes, groups, (2, 3, 4)).epoch(0):
        indices = inputs["images"][:, 0].long().numpy()
        assert len(indices) == 2 * 3 * 4
        by_class = classes[indices].reshape(6, 4)
        assert (by_class == by_class[:, :1]).all()
        assert len(np.unique(indices)) == 24
        by_group = groups[indices].reshape(2, 12)
        assert (by_group == by_group[:, :1]).all()
        assert all(len(np.unique(row)) == 3 for row in by_class[:, 0].reshape(2, 3))


@settings(deadline=None, max_examples=15)
@given(
    n_groups=st.integers(1, 4),
    n_classes=st.integers(2, 5),
    n_drawings=st.integers(2, 4),
    batch_shape=st.tuples(st.integers(1, 3), st.integers(2, 6), st.integers(2, 5)),
    seed=st.integers(0, 2**31 - 2),
)
def test_targets_are_right_for_every_pair(n_groups, n_classes, n_drawings, batch_shape, seed):
    classes, groups = labels_of(n_groups, n_classes, n_drawings, seed)
    batches = class_batches(classes, groups, batch_shape, seed=seed)
    for inputs, same in batches.epoch(0):
        indices = inputs["images"][:, 0].long().numpy()
        n = len(indices)
        assert same.shape == (n, n)
        same_class = classes[indices][:, None] == classes[indices]
        same_group = groups[indices][:, None] == groups[indices]
        itself = indices[:, None] == indices
        same = same.numpy()
        assert (same[itself] == -1).all()  # a drawing is never paired with itself
        assert (same[~same_group] == -1).all()  # negatives only inside a group
        assert (same_class[same == 1]).all()
        assert (~same_class[same == 0]).all()
        if batch_shape[0] <= 1 or n_groups == 1:  # one group: all other pairs count
            assert ((same == 1) == (same_class & ~itself)).all()
            assert ((same == 0) == ~same_class).all()


def test_every_pair_inside_a_group_counts():
    classes, groups = labels_of(4, 5, 6)
    _, same = next(class_batches(classes, groups, (2, 3, 4)).epoch(0))
    assert (same == 1).sum() == 2 * 3 * 4 * 3
    assert (same == 0).sum() == 2 * 12 * 8
    assert (same == -1).sum() == 24 + 2 * 12 * 12


def test_a_group_drawn_twice_in_a_batch_is_two_groups():
    classes, groups = labels_of(2, 3, 2)
    for _, same in class_batches(classes, groups, (4, 3, 2)).epoch(0):
        assert len(same) == 24
        assert (same[:6, 6:] == -1).all() and (same[6:12, 12:] == -1).all()


def test_a_class_of_one_drawing_repeats_it_and_pairs_it_with_others_only():
    classes, groups = np.array([0, 1, 1, 1]), np.zeros(4, dtype=int)
    inputs, same = next(class_batches(classes, groups, (1, 2, 3)).epoch(0))
    indices = inputs["images"][:, 0].long()
    lone = indices == 0
    assert lone.sum() == 3
    assert (same[lone][:, lone] == -1).all()
    assert (same[lone][:, ~lone] == 0).all()
    assert (same[~lone][:, ~lone] == 1).sum() == 6


def test_groups_without_positives_or_negatives_are_left_out():
    classes = np.array([0, 0, 0, 1, 2, 3, 3, 4, 4])
    groups = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2])  # one class; lone drawings; fit to train on
    batches = class_batches(classes, groups, (2, 2, 2))
    for epoch in range(5):
        for inputs, same in batches.epoch(epoch):
            assert (groups[inputs["images"][:, 0].long().numpy()] == 2).all()
            assert (same == 1).any() and (same == 0).any()


def test_all_groups_come_equally_often():
    """As in the paper, whatever their sizes."""
    classes = np.repeat(np.arange(12), [2] * 4 + [6] * 8)
    groups = np.repeat([0, 1, 2, 3], [4, 4, 24, 24])
    batches = class_batches(classes, groups, (1, 2, 2))
    drawn = np.zeros(4, dtype=int)
    for inputs, _ in batches.epoch(0):
        drawn[groups[inputs["images"][:, 0].long().numpy()[0]]] += 1
    assert drawn.sum() == batches.n_batches == 14
    assert drawn.max() - drawn.min() <= 1


def test_every_image_is_drawn_about_once_an_epoch():
    classes, groups = labels_of(3, 8, 5)
    store = numbered(len(classes))
    batches = class_batches(classes, groups, (2, 4, 2), store=store)
    n_epochs = 60
    for epoch in range(n_epochs):
        assert sum(len(same) for _, same in batches.epoch(epoch)) in range(120, 120 + 16)
    per_epoch = store.taken / n_epochs
    assert per_epoch.mean() == pytest.approx(128 / 120)
    assert per_epoch.min() > 0.5 and per_epoch.max() < 1.7


def test_a_single_group_fills_the_batch_with_its_classes():
    classes, groups = labels_of(1, 12, 3)
    inputs, same = next(class_batches(classes, groups, (2, 4, 2)).epoch(0))
    indices = inputs["images"][:, 0].long().numpy()
    assert len(np.unique(classes[indices])) == 8
    assert (same == -1).sum() == 16  # the diagonal alone


def test_small_groups_give_all_their_classes_and_more_drawings():
    classes, groups = labels_of(3, 2, 4)
    inputs, _ = next(class_batches(classes, groups, (2, 10, 2)).epoch(0))
    indices = inputs["images"][:, 0].long().numpy()
    assert len(np.unique(classes[indices])) == 4
    assert len(np.unique(indices)) == len(indices) == 16  # all four drawings, none twice


def test_turned_groups_are_groups_of_their_own():
    classes, groups = labels_of(3, 4, 4)
    images = torch.zeros(48, 1, 5, 5)
    images[:, 0, 0, 0] = 1  # a corner of ink tells the turn
    batches = class_batches(classes, groups, (2, 3, 2), range(4), store=Store(images))
    seen = set()
    for inputs, same in (batch for epoch in range(12) for batch in batches.epoch(epoch)):
        corners = [tuple(torch.nonzero(image[0])[0].tolist()) for image in inputs["images"]]
        for block in (corners[:6], corners[6:]):
            assert len(set(block)) == 1  # a group turns as one
            seen.add(block[0])
        assert (same[:6, 6:] == -1).all()
    assert seen == {(0, 0), (0, 4), (4, 0), (4, 4)}


def test_the_images_turned_are_those_of_the_plan():
    classes, groups = labels_of(3, 4, 4)
    images = torch.rand(48, 2, 5, 5)
    batches = class_batches(classes, groups, turns=(0, 1, 6), store=Store(images))
    for (indices, turns, _, _), (inputs, _) in zip(batches.plan(0), batches.epoch(0), strict=True):
        assert set(turns.tolist()) <= {0, 1, 6}
        assert torch.equal(inputs["images"], turn(images[torch.from_numpy(indices)], turns))


def test_without_turns_images_come_as_they_are():
    classes, groups = labels_of(2, 3, 4)
    images = torch.rand(24, 1, 4, 6)  # oblong: a quarter turn would fail
    batches = class_batches(classes, groups, store=Store(images))
    indices, turns, _, _ = next(batches.plan(0))
    assert turns is None
    inputs, _ = next(batches.epoch(0))
    assert torch.equal(inputs["images"], images[torch.from_numpy(indices)])


def test_both_twins_are_distorted_independently():
    """Mistake 5. All drawings of a class are the same picture, so only distortion tells twins
    apart."""
    classes, groups = labels_of(2, 3, 4)
    image = torch.zeros(1, 12, 12)
    image[:, 3:9, 5:7] = 1
    store = Store(image.expand(24, -1, -1, -1))
    distortion = Distortion(Affine(p=1.0))
    inputs, same = next(
        class_batches(classes, groups, distortion=distortion, store=store).epoch(0)
    )
    i, j = torch.nonzero(same == 1).T
    apart = (inputs["images"][i] - inputs["images"][j]).abs().amax((1, 2, 3))
    assert (apart > 0.05).all()
    assert ((inputs["images"] - image).abs().amax((1, 2, 3)) > 0.05).all()  # neither is left alone

    inputs, _ = next(
        pair_batches(np.array([[0, 1, 1]]), 24, distortion=distortion, store=store).epoch(0)
    )
    first, second = inputs["images"]
    assert (first - second).abs().max() > 0.05
    assert (first - image).abs().max() > 0.05 and (second - image).abs().max() > 0.05


@settings(deadline=None, max_examples=15)
@given(
    n_pairs=st.integers(1, 40),
    n_images=st.integers(2, 12),
    batch_size=st.integers(2, 50),
    seed=st.integers(0, 2**31 - 2),
)
def test_pairs_come_exactly_once_an_epoch(n_pairs, n_images, batch_size, seed):
    pairs = random_pairs(n_pairs, n_images, seed)
    came = []
    for inputs, same in pair_batches(pairs, n_images, batch_size, seed=seed).epoch(0):
        indices = inputs["images"][:, 0].long()
        assert len(indices.unique()) == len(indices)  # each distinct image is encoded once
        assert 1 <= len(same) <= batch_size
        used = torch.cat([inputs["i"], inputs["j"]])
        assert len(used.unique()) == len(indices)  # and none in vain
        came.append(torch.stack([indices[inputs["i"]], indices[inputs["j"]], same], dim=1))
    came = torch.cat(came).numpy()
    assert sorted(map(tuple, came)) == sorted(map(tuple, pairs))


def test_pairs_come_in_a_new_order_each_epoch():
    batches = pair_batches(random_pairs(64, 20), 20, batch_size=64)
    (_, first), (_, second) = (next(islice(batches.epoch(e), 1)) for e in (0, 1))
    assert not torch.equal(first, second)
    assert first.sum() == second.sum()
