"""make_pairs: which pairs are drawn, from what labels, by which generator."""

import math
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from sksiamese import SiameseOneShotClassifier
from sksiamese.model_selection import make_pairs, one_shot_score


def slow_pairs(y, groups, n_pairs, rng):
    """Same draws from the generator as `make_pairs`, turned into pairs by loops over lists."""
    rows_of = {}
    for row, key in enumerate(zip(groups, y, strict=True)):
        rows_of.setdefault(key, []).append(row)
    usable = []
    for group in sorted(set(groups)):
        classes = [rows_of[key] for key in sorted(rows_of) if key[0] == group]
        if len(classes) > 1 and max(map(len, classes)) > 1:
            usable.append(classes)
    sizes = [n_pairs // len(usable) + (k < n_pairs % len(usable)) for k in range(len(usable))]

    pairs = []
    for classes, n in zip(usable, rng.permutation(sizes), strict=True):
        remainder = rng.integers(2)
        several = [k for k, rows in enumerate(classes) if len(rows) > 1]
        a_same, a_different = rng.choice(several, n), rng.choice(len(classes), n)
        other = rng.integers(len(classes) - 1, size=n)
        a = [int((a_same if p % 2 == remainder else a_different)[p]) for p in range(n)]
        others = [[k for k in range(len(classes)) if k != a[p]] for p in range(n)]
        b = [a[p] if p % 2 == remainder else others[p][other[p]] for p in range(n)]

        def draw(bounds):
            return rng.integers(np.array(bounds, dtype=int))

        first = draw([len(classes[k]) for k in a])
        step = draw([max(len(classes[k]) - 1, 1) for k in a])
        second = draw([len(classes[k]) for k in b])
        for p in range(n):
            i = classes[a[p]][first[p]]
            j = classes[b[p]][second[p]]
            if a[p] == b[p]:
                j = classes[a[p]][(first[p] + 1 + step[p]) % len(classes[a[p]])]
            pairs.append((i, j, int(a[p] == b[p])))
    return pairs


@settings(deadline=None, max_examples=60)
@given(
    n_samples=st.integers(0, 40),
    n_labels=st.integers(1, 6),
    n_groups=st.integers(1, 4),
    n_pairs=st.integers(1, 50),
    seed=st.integers(0, 2**31 - 1),
)
def test_make_pairs_equals_a_slow_reference(n_samples, n_labels, n_groups, n_pairs, seed):
    rng = np.random.default_rng(seed)
    # Group 0 can give pairs; labels are shared between the groups, and some groups give none.
    y = np.append(rng.integers(n_labels, size=n_samples), [0, 0, 1]).tolist()
    groups = np.append(rng.integers(n_groups, size=n_samples), [0, 0, 0]).tolist()
    expected = slow_pairs(y, groups, n_pairs, np.random.default_rng(seed))
    assert_array_equal(make_pairs(y, groups, n_pairs, seed), expected)
    expected = slow_pairs(y, [0] * len(y), n_pairs, np.random.default_rng(seed))
    assert_array_equal(make_pairs(y, None, n_pairs, seed), expected)


@pytest.mark.parametrize("n_pairs", [2, 7, 300])
def test_make_pairs_draws_pairs_as_the_paper_does(n_pairs):
    sizes = np.random.default_rng(0).integers(2, 6, 30)
    classes = np.repeat(np.arange(30), sizes)
    groups = classes // 10
    pairs = make_pairs(classes, groups, n_pairs, random_state=1)
    assert pairs.shape == (n_pairs, 3)
    assert pairs.dtype == np.int64
    i, j, same = pairs.T
    assert (i != j).all()
    assert ((classes[i] == classes[j]) == same).all()
    assert (groups[i] == groups[j]).all()
    counts = np.bincount(groups[i], minlength=3)
    assert counts.max() - counts.min() <= 1
    assert abs(same.sum() - n_pairs / 2) <= 1.5  # each of three groups may be odd
    if n_pairs == 300:
        assert len(np.unique(classes[i])) > 25


def test_make_pairs_draws_10_000_pairs_by_default():
    pairs = make_pairs([0, 0, 1])
    assert len(pairs) == 10_000
    assert pairs[:, 2].sum() == 5_000


def test_make_pairs_draws_the_other_class_uniformly():
    classes = np.repeat(np.arange(4), 2)
    pairs = make_pairs(classes, None, 12_000, random_state=0)
    i, j, _ = pairs[pairs[:, 2] == 0].T
    table = np.zeros((4, 4))
    np.add.at(table, (classes[i], classes[j]), 1)
    assert (table.diagonal() == 0).all()
    expected = 6_000 / 12
    assert (np.abs(table[~np.eye(4, dtype=bool)] - expected) < 5 * math.sqrt(expected)).all()


def test_make_pairs_uses_a_class_of_one_sample_in_different_pairs_only():
    pairs = make_pairs([0, 0, 0, 1], None, 100, random_state=0)
    same = pairs[:, 2] == 1
    assert same.sum() == 50
    assert (pairs[same, :2] < 3).all()
    assert (pairs[~same, :2] == 3).any(axis=1).all()


def test_make_pairs_label_in_two_groups_is_two_classes():
    y = ["a", "a", "b", "a", "a", "b"]
    groups = ["p", "p", "p", "q", "q", "q"]
    for i, j, same in make_pairs(y, groups, 200, random_state=0):
        assert groups[i] == groups[j]
        assert same == (y[i] == y[j])


def test_make_pairs_leaves_out_groups_that_cannot_give_both_kinds():
    y = np.array([0, 0, 0, 1, 2, 3, 3, 4])
    groups = np.array([0, 0, 0, 1, 1, 2, 2, 2])  # one class; classes of one sample; usable
    pairs = make_pairs(y, groups, 50, random_state=0)
    assert (groups[pairs[:, :2]] == 2).all()
    assert pairs[:, 2].sum() == 25


@pytest.mark.parametrize(
    "convert",
    [
        list,
        lambda v: v.astype(float),
        lambda v: v - 3,
        lambda v: v.astype(np.uint8),
        lambda v: np.array([f"{k:02d}" for k in v]),
        lambda v: np.array([f"{k:02d}" for k in v], dtype=object),
        lambda v: pd.Series(v, index=v[::-1]),
        lambda v: pd.Categorical([f"{k:02d}" for k in v]),
        lambda v: v[:, None],
    ],
)
def test_make_pairs_takes_labels_and_groups_of_any_dtype(convert):
    rng = np.random.default_rng(0)
    y, groups = rng.integers(20, size=80), rng.integers(2, size=80)
    expected = make_pairs(y, groups, 60, random_state=3)
    assert_array_equal(make_pairs(convert(y), groups, 60, random_state=3), expected)
    assert_array_equal(make_pairs(y, convert(groups), 60, random_state=3), expected)


# random_state

Y = np.repeat(np.arange(10), 3)


def test_make_pairs_int_gives_the_same_pairs_and_ints_differ():
    first = make_pairs(Y, n_pairs=50, random_state=0)
    assert_array_equal(make_pairs(Y, n_pairs=50, random_state=np.int64(0)), first)
    assert (make_pairs(Y, n_pairs=50, random_state=1) != first).any()


def test_make_pairs_generator_is_used_as_it_is():
    rng = np.random.default_rng(5)
    first, second = (make_pairs(Y, n_pairs=50, random_state=rng) for _ in range(2))
    assert_array_equal(first, make_pairs(Y, n_pairs=50, random_state=5))
    assert (first != second).any()


def test_make_pairs_draws_a_seed_from_a_random_state():
    def draw(state):
        return [make_pairs(Y, n_pairs=50, random_state=state) for _ in range(2)]

    first, second = draw(np.random.RandomState(5))
    assert (first != second).any()
    assert_array_equal(draw(np.random.RandomState(5)), [first, second])


def test_make_pairs_none_is_fresh_and_leaves_the_global_generator():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first, second = (make_pairs(Y, n_pairs=50) for _ in range(2))
    assert (first != second).any()
    assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


# Bad input

TWO_CLASSES = "expected at least two, because pairs of different classes are needed."
TWO_SAMPLES = (
    "no class with two samples; expected two samples of at least one class, because pairs of the "
    "same class are needed."
)
NO_GROUP = (
    "and none of them has two classes, one of them with two samples. Both samples of a pair are "
    "from one group: pass larger groups, or groups=None."
)


@pytest.mark.parametrize(
    ("y", "groups", "message"),
    [
        ([], None, f"y has 0 classes; {TWO_CLASSES}"),
        ([7, 7, 7], None, f"y has 1 class; {TWO_CLASSES}"),
        (["a", "b"], None, f"y has 2 classes and {TWO_SAMPLES}"),
        (["a", "b", "c"], None, f"y has 3 classes and {TWO_SAMPLES}"),
        ([0, 0, 1, 1], [0, 1, 0, 1], f"groups has 2 groups, {NO_GROUP}"),
        ([0, 0, 1, 1], ["p", "p", "q", "q"], f"groups has 2 groups, {NO_GROUP}"),
        (
            [0, 0, 1],
            [0, 0],
            "groups has 2 values but y has 3 samples; expected one value for each sample.",
        ),
        (None, None, "y is None; expected one class label for each sample of X."),
        ([0.0, np.nan, 0.0, 1.0], None, "Input y contains NaN."),
        (
            [[0, 1], [0, 1], [1, 0]],
            None,
            "y has shape (3, 2); expected (n_samples,), one value for each sample.",
        ),
        (
            [[[0]], [[0]], [[1]]],
            None,
            "y has shape (3, 1, 1); expected (n_samples,), one value for each sample.",
        ),
    ],
)
def test_make_pairs_refuses_labels_that_give_no_pairs(y, groups, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make_pairs(y, groups)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("n_pairs", 0, ValueError),
        ("n_pairs", 10.0, TypeError),
        ("random_state", -1, ValueError),
        ("random_state", "zero", TypeError),
        ("random_state", 0.5, TypeError),
    ],
)
def test_make_pairs_names_a_bad_parameter(name, value, error):
    with pytest.raises(error, match=f"^{name} (must be an instance of|== )"):
        make_pairs(Y, **{name: value})


def test_make_pairs_refuses_labels_of_mixed_types():
    mixed = np.array(["a", "a", 1, 1], dtype=object)
    message = (
        " mixes values of types int, str, which cannot be sorted; expected values of one type. "
        "Convert them, for example to strings.$"
    )
    with pytest.raises(TypeError, match="^y" + message):
        make_pairs(mixed)
    with pytest.raises(TypeError, match="^groups" + message):
        make_pairs([0, 0, 1, 1], mixed)


# The real classifier


def test_make_pairs_trains_a_classifier(glyphs):
    X, y = glyphs
    known, new = np.flatnonzero(y < 10), np.flatnonzero(y >= 10)
    pairs = make_pairs(y[known], n_pairs=600, random_state=0)
    clf = SiameseOneShotClassifier(max_iter=4, random_state=0).fit(X[known], pairs)
    score = one_shot_score(clf, X[new], y[new], n_episodes=40, random_state=0)
    assert score.interval[0] > 0.3  # chance is 0.2
