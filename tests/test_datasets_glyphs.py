"""Drawn glyphs: a task that is neither solved on pixels nor hopeless, and always the same."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sksiamese.datasets import make_glyphs


def one_shot_accuracy(X, y, classes, n_trials, seed=0):
    """Accuracy of 1-NN on pixels over one-shot trials among all of `classes`."""
    rng = np.random.RandomState(seed)
    hits = []
    for _ in range(n_trials):
        pairs = [rng.choice(np.flatnonzero(y == c), 2, replace=False) for c in classes]
        support, query = (X[index].reshape(len(classes), -1) for index in np.transpose(pairs))
        distance = ((query[:, None] - support) ** 2).sum(axis=-1)
        hits.append(distance.argmin(axis=1) == np.arange(len(classes)))
    return np.mean(hits)


@settings(max_examples=25, deadline=None)
@given(
    n_classes=st.integers(1, 12),
    n_samples=st.integers(1, 7),
    image_size=st.integers(8, 50),
    grouped=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_shapes_range_and_labels(n_classes, n_samples, image_size, grouped, seed):
    n_groups = 1 + seed % n_classes if grouped else None
    result = make_glyphs(
        n_classes, n_samples, image_size=image_size, n_groups=n_groups, random_state=seed
    )
    assert len(result) == 2 + grouped
    X, y = result[:2]
    assert X.shape == (n_classes * n_samples, image_size, image_size)
    assert X.dtype == np.float32
    assert X.min() >= 0 and X.max() <= 1
    per_image = X.mean(axis=(1, 2))
    assert per_image.min() > 0.01 and per_image.max() < 0.5
    np.testing.assert_array_equal(y, np.repeat(np.arange(n_classes), n_samples))
    if grouped:
        groups = result[2]
        sizes = [len(set(y[groups == g])) for g in range(n_groups)]
        assert sum(sizes) == n_classes and max(sizes) - min(sizes) <= 1


@pytest.fixture
def global_state():
    """Numpy's global generator, which is put back afterwards."""
    state = np.random.get_state()  # noqa: NPY002
    yield np.random
    np.random.set_state(state)  # noqa: NPY002


def test_random_state_alone_decides(global_state):
    first = make_glyphs(6, 12, n_groups=2, random_state=3)
    global_state.seed(5)
    second = make_glyphs(6, 12, n_groups=2, random_state=np.random.RandomState(3))
    for left, right in zip(first, second, strict=True):
        np.testing.assert_array_equal(left, right)
    assert (make_glyphs(6, 12, random_state=4)[0] != first[0]).any()


def test_global_generator_is_neither_read_nor_moved(global_state):
    global_state.seed(5)
    expected = global_state.rand()
    global_state.seed(5)
    one = make_glyphs(2, 2)[0]
    make_glyphs(2, 2, random_state=0)
    assert global_state.rand() == expected
    global_state.seed(5)
    assert (make_glyphs(2, 2)[0] != one).any()


def test_size_changes_the_resolution_not_the_drawing():
    small = make_glyphs(4, 5, image_size=28, random_state=0)[0]
    large = make_glyphs(4, 5, image_size=84, random_state=0)[0]
    pooled = large.reshape(20, 28, 3, 28, 3).mean(axis=(2, 4))
    for a, b in zip(small, pooled, strict=True):
        assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.95


def test_pixels_alone_neither_solve_it_nor_fail():
    X, y = make_glyphs(20, 20, random_state=0)
    assert 0.30 < one_shot_accuracy(X, y, range(20), n_trials=20) < 0.85


def test_drawings_of_a_class_vary():
    X, y = make_glyphs(5, 10, random_state=0)
    assert len(np.unique(X.reshape(50, -1), axis=0)) == 50
    for c in range(5):
        assert X[y == c].std(axis=0).max() > 0.3


def test_classes_of_a_group_are_harder_to_tell_apart():
    within, mixed = [], []
    for seed in range(3):
        X, y, groups = make_glyphs(60, 8, n_groups=6, random_state=seed)
        within += [
            one_shot_accuracy(X, y, np.unique(y[groups == g]), n_trials=4) for g in range(6)
        ]
        mixed += [one_shot_accuracy(X, y, range(g, 60, 6), n_trials=4) for g in range(6)]
    assert np.mean(within) < np.mean(mixed) - 0.03


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n_classes": 0}, ValueError, "n_classes == 0, must be >= 1"),
        ({"n_samples": -1}, ValueError, "n_samples == -1, must be >= 1"),
        ({"image_size": 7}, ValueError, "image_size == 7, must be >= 8"),
        ({"n_groups": 0}, ValueError, "n_groups == 0, must be >= 1"),
        ({"n_classes": 4, "n_groups": 5}, ValueError, "n_groups == 5, must be <= 4"),
        ({"n_classes": 2.5}, TypeError, "n_classes must be an instance of int"),
        ({"image_size": "28"}, TypeError, "image_size must be an instance of int"),
        ({"random_state": "x"}, ValueError, "'x' cannot be used to seed"),
    ],
)
def test_bad_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        make_glyphs(**arguments)
