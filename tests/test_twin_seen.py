"""Seen: what is found without scaling the pixels is what the scaled pixels have."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sksiamese.twin.seen import N_CELLS, Seen, border_of, median


def images_of(seed, shape, dtype=torch.float32):
    """Return images from 0 to 255, half of which are mostly one value."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (4, *shape), generator=generator)
    images[::2][torch.rand(images[::2].shape, generator=generator) < 0.7] = 255
    return images.to(dtype)


def seen_of(images, offset=255.0, scale=-200.0, channels=1):
    offset, scale = (torch.full((channels, 1, 1), v, dtype=torch.float64) for v in (offset, scale))
    return Seen(images, offset, scale)


def scaled_by_hand(seen):
    return ((seen.images.double() - seen.offset) / seen.scale).numpy()


def cells_by_hand(gray):
    """Return the greatest value of each cell: (B, H, W) -> (B, h, w)."""
    rows, columns = (range(0, n, -(-n // N_CELLS)) for n in gray.shape[1:])
    cells = gray[:, :: rows.step, :: columns.step].copy()
    for i, top in enumerate(rows):
        for j, left in enumerate(columns):
            cell = gray[:, top : top + rows.step, left : left + columns.step]
            cells[:, i, j] = cell.max((1, 2))
    return cells


@settings(deadline=None, max_examples=60)
@given(
    shape=st.tuples(st.sampled_from([1, 3]), st.integers(1, 40), st.integers(1, 40)),
    offset=st.sampled_from([0.0, 255.0, 31.5, 1e5]),
    scale=st.sampled_from([-255.0, 100.0, 1.0]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seed=st.integers(0, 99),
)
def test_seen_has_what_the_scaled_pixels_have(shape, offset, scale, dtype, seed):
    """Extremes, medians, border and cells are found before scaling, of either polarity."""
    images = images_of(seed, shape, dtype) + offset
    seen = seen_of(images, offset, scale)
    x = scaled_by_hand(seen)
    gray = x.mean(1)
    close = {"rtol": 1e-5, "atol": 1e-5 * max(1, 255 / abs(scale))}
    np.testing.assert_allclose(seen.scaled, x, **close)
    np.testing.assert_allclose(seen.row_maxima, x.max(3), **close)
    np.testing.assert_allclose(seen.column_maxima, x.max(2), **close)
    np.testing.assert_allclose(seen.minima, x.min((2, 3)), **close)
    np.testing.assert_allclose(seen.extent, x.max((1, 2, 3)) - x.min((1, 2, 3)), **close)
    np.testing.assert_allclose(seen.cells, cells_by_hand(gray), **close)
    border = border_of(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(seen.border, border, **close)
    np.testing.assert_allclose(seen.gray_border, border.mean(1), **close)
    np.testing.assert_allclose(seen.ordered_border, np.sort(border.mean(1)), **close)
    np.testing.assert_allclose(seen.background, median(border), **close)
    np.testing.assert_array_equal(seen.low, images.amin((2, 3)))
    np.testing.assert_array_equal(seen.high, images.amax((2, 3)))


def test_seen_makes_several_channels_of_one():
    seen = seen_of(images_of(0, (1, 9, 8)), channels=3)
    assert seen.scaled.shape == (4, 3, 9, 8)
    assert seen.background.shape == (4, 3)
    np.testing.assert_allclose(seen.row_maxima, scaled_by_hand(seen).max(3), rtol=1e-5, atol=1e-5)


def test_seen_at_is_of_some_images():
    seen = seen_of(images_of(0, (1, 9, 8)))
    for rows in (np.array([False, True, True, False]), np.array([1, 2])):
        some = seen.at(rows)
        assert len(some) == 2
        np.testing.assert_array_equal(some.background, seen.background[1:3])


def test_seen_of_scaled_images_leaves_them():
    images = torch.rand(2, 3, 5, 6)
    seen = Seen.of_scaled(images)
    assert seen.scaled is images
    np.testing.assert_allclose(seen.row_maxima, images.amax(3))


@pytest.mark.parametrize(
    ("border", "inside", "expected"),
    [
        (0.0, 1.0, False),  # a drawing on paper
        (1.0, 0.0, True),  # foreground up to the border
        (1.0, 1.2, False),  # dark paper, and what is drawn is darker still
        (0.4, 0.0, True),  # strokes along the border, partly cut off
        (0.1, 0.0, False),
    ],
)
def test_border_is_foreground_where_it_is_darker_than_the_image(border, inside, expected):
    images = torch.full((2, 1, 12, 12), border)
    images[:, :, 1:-1, 1:-1] = inside
    assert Seen.of_scaled(images).border_is_foreground.ravel().tolist() == [expected] * 2


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_median_is_the_lower_one(n):
    values = np.random.default_rng(n).normal(size=(3, n))
    np.testing.assert_array_equal(median(values), torch.from_numpy(values).median(1).values)
