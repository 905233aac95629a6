"""Batches: functions of (seed, epoch), pairs inside a group, no sample with itself."""

from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from training_runs import ArrayStore

from sksiamese.augmentation import Affine, Augmentation
from sksiamese.twin import reading
from sksiamese.twin.augmentation import turn
from sksiamese.twin.batches import ClassBatches, PairBatches


def numbered(n):
    """Return a store of flat rows that hold their own index."""
    return ArrayStore(torch.arange(n, dtype=torch.float32)[:, None])


def labels_of(n_groups, n_classes, n_drawings, seed=0):
    """Return shuffled classes and groups of n_groups x n_classes x n_drawings images."""
    classes = np.repeat(np.arange(n_groups * n_classes), n_drawings)
    classes = np.random.default_rng(seed).permutation(classes)
    return classes, classes // n_classes


def class_batches(
    classes,
    groups,
    batch_shape=(2, 3, 2),
    turns=(0,),
    augmentation=None,
    seed=0,
    store=None,
    scaling=torch.Tensor.float,
):
    store = numbered(len(classes)) if store is None else store
    return ClassBatches(store, scaling, classes, groups, batch_shape, turns, augmentation, seed)


def pair_batches(pairs, n_images, batch_size=4, augmentation=None, seed=0, store=None):
    store = numbered(n_images) if store is None else store
    return PairBatches(store, torch.Tensor.float, pairs, batch_size, augmentation, seed)


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
    """Return both kinds of batches, augmented, over the same 8x8 images."""
    images = torch.rand(24, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    classes, groups = labels_of(2, 3, 4)
    options = {"augmentation": Augmentation(), "seed": seed, "store": ArrayStore(images)}
    return {
        "classes": class_batches(classes, groups, turns=(0, 1, 2, 3), **options),
        "pairs": pair_batches(random_pairs(30, 24), 24, **options),
    }


@pytest.mark.parametrize("kind", ["classes", "pairs"])
def test_epoch_is_a_function_of_seed_and_number(kind):
    batches = kinds(seed=3)[kind]
    earlier = [list(batches.epoch(epoch)) for epoch in range(3)]
    assert equal_epochs(earlier[2], list(batches.epoch(2)))
    assert equal_epochs(earlier[2], list(kinds(seed=3)[kind].epoch(2)))  # without epochs 0 and 1


@pytest.mark.parametrize("kind", ["classes", "pairs"])
def test_epoch_differs_by_number_and_seed(kind):
    batches = kinds(seed=3)[kind]
    first = list(batches.epoch(0))
    assert not equal_epochs(first, list(batches.epoch(1)))
    assert not equal_epochs(first, list(kinds(seed=4)[kind].epoch(0)))


@pytest.mark.parametrize("kind", ["classes", "pairs"])
def test_epoch_augments_anew(kind):
    """All images are the same picture, so epochs differ by their augmentation alone."""
    image = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    options = {"augmentation": Augmentation(), "store": ArrayStore(image.expand(24, -1, -1, -1))}
    batches = {
        "classes": class_batches(*labels_of(2, 3, 4), **options),
        "pairs": pair_batches(np.array([[0, 1, 1], [2, 3, 0]]), 24, **options),
    }[kind]
    first, second = (next(batches.epoch(epoch))[0]["images"] for epoch in (0, 1))
    assert first.shape == second.shape
    assert not torch.equal(first, second)


@pytest.mark.parametrize("kind", ["classes", "pairs"])
def test_epoch_neither_reads_nor_moves_global_generators(kind):
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    first = list(kinds(seed=3)[kind].epoch(0))
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    assert equal_epochs(first, list(kinds(seed=3)[kind].epoch(0)))
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()  # noqa: NPY002


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("classes", 2),  # 24 images by 2 x 3 x 2, whatever their turns
        ("pairs", 8),  # 30 pairs by 4
    ],
)
def test_n_batches_is_the_number_of_batches(kind, expected):
    batches = kinds(seed=0)[kind]
    assert batches.n_batches == len(batches) == expected
    assert [len(list(batches.epoch(n))) for n in range(2)] == [expected] * 2


def test_class_batches_have_groups_by_classes_by_samples():
    classes, groups = labels_of(4, 5, 6)
    for inputs, _ in class_batches(classes, groups, (2, 3, 4)).epoch(0):
        rows = inputs["images"][:, 0].long().numpy()
        assert len(rows) == 2 * 3 * 4
        by_class = classes[rows].reshape(6, 4)
        assert (by_class == by_class[:, :1]).all()
        assert len(np.unique(rows)) == 24
        by_group = groups[rows].reshape(2, 12)
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
def test_class_batches_targets_are_right_for_every_pair(
    n_groups, n_classes, n_drawings, batch_shape, seed
):
    classes, groups = labels_of(n_groups, n_classes, n_drawings, seed)
    batches = class_batches(classes, groups, batch_shape, seed=seed)
    for inputs, same in batches.epoch(0):
        rows = inputs["images"][:, 0].long().numpy()
        same_class = classes[rows][:, None] == classes[rows]
        same_group = groups[rows][:, None] == groups[rows]
        itself = rows[:, None] == rows
        same = same.numpy()
        assert (same[itself] == -1).all()  # a sample is never paired with itself
        assert (same[~same_group] == -1).all()  # negatives only inside a group
        assert (same_class[same == 1]).all()
        assert (~same_class[same == 0]).all()
        if batch_shape[0] <= 1 or n_groups == 1:  # one group: all other pairs count
            assert ((same == 1) == (same_class & ~itself)).all()
            assert ((same == 0) == ~same_class).all()


def test_class_batches_compare_every_pair_inside_a_group():
    classes, groups = labels_of(4, 5, 6)
    _, same = next(class_batches(classes, groups, (2, 3, 4)).epoch(0))
    assert (same == 1).sum() == 2 * 3 * 4 * 3
    assert (same == 0).sum() == 2 * 12 * 8
    assert (same == -1).sum() == 24 + 2 * 12 * 12


def test_class_batches_separate_a_group_drawn_twice():
    classes, groups = labels_of(2, 3, 2)
    for _, same in class_batches(classes, groups, (4, 3, 2)).epoch(0):
        assert len(same) == 24
        assert (same[:6, 6:] == -1).all()
        assert (same[6:12, 12:] == -1).all()


def test_class_batches_repeat_a_single_sample_but_do_not_pair_it_with_itself():
    classes, groups = np.array([0, 1, 1, 1]), np.zeros(4, dtype=int)
    inputs, same = next(class_batches(classes, groups, (1, 2, 3)).epoch(0))
    rows = inputs["images"][:, 0].long()
    lone = rows == 0
    assert lone.sum() == 3
    assert (same[lone][:, lone] == -1).all()
    assert (same[lone][:, ~lone] == 0).all()
    assert (same[~lone][:, ~lone] == 1).sum() == 6


def test_class_batches_leave_out_groups_without_positives_or_negatives():
    classes = np.array([0, 0, 0, 1, 2, 3, 3, 4, 4])
    groups = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2])  # one class; single samples; both
    batches = class_batches(classes, groups, (2, 2, 2))
    for epoch in range(5):
        for inputs, same in batches.epoch(epoch):
            assert (groups[inputs["images"][:, 0].long().numpy()] == 2).all()
            assert (same == 1).any()
            assert (same == 0).any()


def test_class_batches_draw_all_groups_equally_often():
    """As in the paper (section 4.1), whatever their sizes."""
    classes = np.repeat(np.arange(12), [2] * 4 + [6] * 8)
    groups = np.repeat([0, 1, 2, 3], [4, 4, 24, 24])
    batches = class_batches(classes, groups, (1, 2, 2))
    for epoch in range(40):
        drawn = np.zeros(4, dtype=int)
        for rows, *_ in batches.plan(epoch):
            drawn[groups[rows[0]]] += 1
        assert drawn.sum() == batches.n_batches == 14
        assert drawn.max() - drawn.min() <= 1


def test_class_batches_take_every_image_about_once_an_epoch():
    classes, groups = labels_of(3, 8, 5)
    store = numbered(len(classes))
    batches = class_batches(classes, groups, (2, 4, 2), store=store)
    n_epochs = 60
    for epoch in range(n_epochs):
        assert sum(len(same) for _, same in batches.epoch(epoch)) in range(120, 120 + 16)
    per_epoch = store.taken / n_epochs
    assert per_epoch.mean() == pytest.approx(128 / 120)
    assert per_epoch.min() > 0.5
    assert per_epoch.max() < 1.7


def test_class_batches_fill_the_batch_with_the_classes_of_a_single_group():
    classes, groups = labels_of(1, 12, 3)
    inputs, same = next(class_batches(classes, groups, (2, 4, 2)).epoch(0))
    rows = inputs["images"][:, 0].long().numpy()
    assert len(np.unique(classes[rows])) == 8
    assert (same == -1).sum() == 16  # the diagonal alone


def test_class_batches_take_more_samples_of_few_classes():
    classes, groups = labels_of(3, 2, 4)
    inputs, _ = next(class_batches(classes, groups, (2, 10, 2)).epoch(0))
    rows = inputs["images"][:, 0].long().numpy()
    assert len(np.unique(classes[rows])) == 4
    assert len(np.unique(rows)) == len(rows) == 16  # all four samples, none twice


def test_class_batches_make_a_group_of_each_turn():
    classes, groups = labels_of(3, 4, 4)
    images = torch.zeros(48, 1, 5, 5)
    images[:, 0, 0, 0] = 1  # a corner of foreground tells the turn
    batches = class_batches(classes, groups, (2, 3, 2), range(4), store=ArrayStore(images))
    seen = set()
    for inputs, same in (batch for epoch in range(12) for batch in batches.epoch(epoch)):
        corners = [tuple(torch.nonzero(image[0])[0].tolist()) for image in inputs["images"]]
        for block in (corners[:6], corners[6:]):
            assert len(set(block)) == 1  # a group turns as one
            seen.add(block[0])
        assert (same[:6, 6:] == -1).all()
    assert seen == {(0, 0), (0, 4), (4, 0), (4, 4)}


@pytest.mark.parametrize("allowed", [(0, 5), (0, 1, 6)])
def test_class_batches_turn_images_as_planned(allowed):
    classes, groups = labels_of(3, 4, 4)
    images = torch.rand(48, 2, 5, 5, generator=torch.Generator().manual_seed(0))
    batches = class_batches(classes, groups, turns=allowed, store=ArrayStore(images))
    for (rows, turns, _, _), (inputs, _) in zip(batches.plan(0), batches.epoch(0), strict=True):
        assert set(turns.tolist()) <= set(allowed)
        assert torch.equal(inputs["images"], turn(images[torch.from_numpy(rows)], turns))


def test_class_batches_without_turns_leave_images_as_they_are():
    classes, groups = labels_of(2, 3, 4)
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(24, 1, 4, 6, generator=generator)  # oblong: a quarter turn would fail
    batches = class_batches(classes, groups, store=ArrayStore(images))
    rows, turns, _, _ = next(batches.plan(0))
    assert turns is None
    inputs, _ = next(batches.epoch(0))
    assert torch.equal(inputs["images"], images[torch.from_numpy(rows)])


def test_epoch_augments_both_twins_independently():
    """Mistake 5: all images are the same picture, so twins differ by their augmentation alone."""
    classes, groups = labels_of(2, 3, 4)
    image = torch.zeros(1, 12, 12)
    image[:, 3:9, 5:7] = 1
    store = ArrayStore(image.expand(24, -1, -1, -1))
    augmentation = Augmentation(Affine(p=1.0))
    inputs, same = next(
        class_batches(classes, groups, augmentation=augmentation, store=store).epoch(0)
    )
    i, j = torch.nonzero(same == 1).T
    apart = (inputs["images"][i] - inputs["images"][j]).abs().amax((1, 2, 3))
    assert (apart > 0.05).all()
    assert ((inputs["images"] - image).abs().amax((1, 2, 3)) > 0.05).all()  # neither is left alone

    inputs, _ = next(
        pair_batches(np.array([[0, 1, 1]]), 24, augmentation=augmentation, store=store).epoch(0)
    )
    first, second = inputs["images"]
    assert (first - second).abs().max() > 0.05
    assert (first - image).abs().max() > 0.05
    assert (second - image).abs().max() > 0.05


@settings(deadline=None, max_examples=15)
@given(
    n_pairs=st.integers(1, 40),
    n_images=st.integers(2, 12),
    batch_size=st.integers(2, 50),
    seed=st.integers(0, 2**31 - 2),
)
def test_pair_batches_take_every_pair_once_an_epoch(n_pairs, n_images, batch_size, seed):
    pairs = random_pairs(n_pairs, n_images, seed)
    came = []
    for inputs, same in pair_batches(pairs, n_images, batch_size, seed=seed).epoch(0):
        rows = inputs["images"][:, 0].long()
        assert len(rows.unique()) == len(rows)  # each distinct image is encoded once
        assert 1 <= len(same) <= batch_size
        used = torch.cat([inputs["i"], inputs["j"]])
        assert len(used.unique()) == len(rows)  # and none without a pair
        came.append(torch.stack([rows[inputs["i"]], rows[inputs["j"]], same], dim=1))
    came = torch.cat(came).numpy()
    assert sorted(map(tuple, came)) == sorted(map(tuple, pairs))


def test_pair_batches_have_a_new_order_each_epoch():
    batches = pair_batches(random_pairs(64, 20), 20, batch_size=64)
    (_, first), (_, second) = (next(islice(batches.epoch(e), 1)) for e in (0, 1))
    assert not torch.equal(first, second)
    assert first.sum() == second.sum()


def test_epoch_scales_the_images():
    classes, groups = labels_of(2, 3, 4)
    plain = class_batches(classes, groups)
    scaled = class_batches(classes, groups, scaling=lambda x: 10 * x + 1)
    for (inputs, _), (others, _) in zip(plain.epoch(0), scaled.epoch(0), strict=True):
        assert torch.equal(others["images"], 10 * inputs["images"] + 1)


def test_epoch_scales_large_images_a_few_at_a_time(monkeypatch):
    classes, groups = labels_of(2, 3, 4)
    whole = [inputs["images"] for inputs, _ in class_batches(classes, groups).epoch(0)]
    monkeypatch.setattr(reading, "READ_BYTES", 5 * whole[0][:1].nbytes)
    sizes = []

    def scaling(images):
        sizes.append(len(images))
        return images.float()

    batches = class_batches(classes, groups, scaling=scaling)
    parts = [inputs["images"] for inputs, _ in batches.epoch(0)]
    assert max(sizes) == 5
    assert len(sizes) > len(parts)
    assert all(torch.equal(a, b) for a, b in zip(whole, parts, strict=True))


@pytest.mark.parametrize(
    ("augmentation", "got"),
    [
        (
            lambda images, generator: images[:, :1, 1:],
            r"torch.Size\(\[12, 1, 7, 8\]\) of torch.float32",
        ),
        (
            lambda images, generator: images.double(),
            r"torch.Size\(\[12, 1, 8, 8\]\) of torch.float64",
        ),
        (lambda images, generator: images.numpy(), r"\(12, 1, 8, 8\) of float32"),
        (lambda images, generator: None, "NoneType of no dtype"),
        (lambda images, generator: [], "list of no dtype"),
    ],
)
def test_epoch_refuses_what_an_augmentation_may_not_return(augmentation, got):
    store = ArrayStore(torch.zeros(24, 1, 8, 8))
    batches = class_batches(*labels_of(2, 3, 4), augmentation=augmentation, store=store)
    message = (
        rf"^augmentation returned {got} for images of shape \(12, 1, 8, 8\); expected float32 "
        "images of that shape.$"
    )
    with pytest.raises(TypeError, match=message):
        next(batches.epoch(0))


@pytest.mark.parametrize("kind", ["classes", "pairs"])
def test_epoch_goes_on_from_any_batch_with_the_generator_as_it_was(kind):
    """What a checkpoint keeps: the number of batches done, and the state of the generator."""
    batches = kinds(seed=3)[kind]
    whole = list(batches.epoch(1))
    for done in range(len(whole) + 1):
        generator = batches.generator(1)
        assert equal_epochs(list(islice(batches.epoch(1, generator), done)), whole[:done])
        assert equal_epochs(list(batches.epoch(1, generator, first=done)), whole[done:])
        if 0 < done < len(whole):  # and not as it was at first
            assert not equal_epochs(list(batches.epoch(1, first=done)), whole[done:])


def test_class_batches_read_the_order_of_samples_inside_classes_alone():
    classes = np.repeat(np.arange(6), 50)
    mixed = np.random.default_rng(0).permutation(classes)
    rank = np.empty(len(mixed), dtype=int)  # of each sample among those of its class
    for c in range(6):
        rank[mixed == c] = np.arange(50)
    ours, others = (class_batches(labels, labels // 3).plan(0) for labels in (classes, mixed))
    for (rows, _, _, same), (other_rows, _, _, other_same) in zip(ours, others, strict=True):
        np.testing.assert_array_equal(rows, 50 * mixed[other_rows] + rank[other_rows])
        assert torch.equal(same, other_same)
