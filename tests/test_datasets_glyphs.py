"""Tests of make_glyphs: 1-NN on pixels neither solves the task nor fails at it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sksiamese.datasets import make_glyphs


def one_shot_accuracy(X, y, classes, n_trials, seed=0):
    """Accuracy of 1-NN on pixels over one-shot trials among all of `classes`."""
    rng = np.random.RandomState(seed)
    X = X / 255
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
def test_make_glyphs_returns_dark_drawings_on_light(
    n_classes, n_samples, image_size, grouped, seed
):
    n_groups = 1 + seed % n_classes if grouped else None
    result = make_glyphs(
        n_classes, n_samples, image_size=image_size, n_groups=n_groups, random_state=seed
    )
    assert len(result) == 2 + grouped
    X, y = result[:2]
    assert X.shape == (n_classes * n_samples, image_size, image_size)
    assert X.dtype == np.uint8
    background = (X == 255).mean(axis=(1, 2))
    assert background.min() > 0.1  # broad pens on 8 x 8 pixels leave a sixth
    assert (X.min(axis=(1, 2)) < 128).all()
    per_image = X.mean(axis=(1, 2))
    assert per_image.min() > 0.5 * 255
    assert per_image.max() < 0.99 * 255
    np.testing.assert_array_equal(y, np.repeat(np.arange(n_classes), n_samples))
    if grouped:
        groups = result[2]
        sizes = [len(set(y[groups == g])) for g in range(n_groups)]
        assert sum(sizes) == n_classes
        assert max(sizes) - min(sizes) <= 1


@pytest.fixture
def global_generator():
    """NumPy's global generator, whose state is restored afterwards."""
    state = np.random.get_state()  # noqa: NPY002
    yield np.random
    np.random.set_state(state)  # noqa: NPY002


def test_make_glyphs_depends_on_random_state_alone(global_generator):
    first = make_glyphs(6, 12, n_groups=2, random_state=3)
    global_generator.seed(5)
    second = make_glyphs(6, 12, n_groups=2, random_state=np.random.RandomState(3))
    for left, right in zip(first, second, strict=True):
        np.testing.assert_array_equal(left, right)
    assert (make_glyphs(6, 12, random_state=4)[0] != first[0]).any()


def test_make_glyphs_does_not_use_the_global_generator(global_generator):
    global_generator.seed(5)
    expected = global_generator.rand()
    global_generator.seed(5)
    one = make_glyphs(2, 2)[0]
    make_glyphs(2, 2, random_state=0)
    assert global_generator.rand() == expected
    global_generator.seed(5)
    assert (make_glyphs(2, 2)[0] != one).any()


def test_make_glyphs_draws_the_same_at_any_image_size():
    small = make_glyphs(4, 5, image_size=28, random_state=0)[0]
    large = make_glyphs(4, 5, image_size=84, random_state=0)[0]
    pooled = large.reshape(20, 28, 3, 28, 3).mean(axis=(2, 4))
    for a, b in zip(small, pooled, strict=True):
        assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.95


def test_make_glyphs_is_neither_solved_nor_hopeless_for_pixels():
    X, y = make_glyphs(20, 20, random_state=0)
    assert 0.30 < one_shot_accuracy(X, y, range(20), n_trials=20) < 0.85


def test_make_glyphs_varies_the_samples_of_a_class():
    X, y = make_glyphs(5, 10, random_state=0)
    assert len(np.unique(X.reshape(50, -1), axis=0)) == 50
    for c in range(5):
        assert X[y == c].std(axis=0).max() > 0.3 * 255


def test_make_glyphs_groups_are_harder_to_tell_apart():
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
def test_make_glyphs_names_a_wrong_argument(arguments, error, message):
    with pytest.raises(error, match=message):
        make_glyphs(**arguments)
