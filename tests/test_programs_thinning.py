"""Thinning: lines of single pixels, in as many pieces as the drawing."""

import numpy as np
import pytest
from drawings import CROWDED, DRAWINGS
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from sksiamese.programs.thinning import fill_pinholes, neighbour_codes, thin

IMAGES = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=14))
EIGHT = np.ones((3, 3))


def n_pieces(image):
    return ndimage.label(image, EIGHT)[1]


def n_holes(image):
    return ndimage.label(~np.pad(image, 1))[1]


def guo_hall(image):
    """Thin pixel by pixel, as the paper writes it."""
    image = np.pad(image, 1)
    turn, n_idle = 0, 0
    while n_idle < 2:
        removed = []
        for y, x in np.argwhere(image):
            above, side, below = image[y - 1 : y + 2, x - 1 : x + 2].tolist()
            p9, p2, p3 = above
            p8, _, p4 = side
            p7, p6, p5 = below
            c = (
                (not p2 and (p3 or p4))
                + (not p4 and (p5 or p6))
                + (not p6 and (p7 or p8))
                + (not p8 and (p9 or p2))
            )
            n_1 = sum([p9 or p2, p3 or p4, p5 or p6, p7 or p8])
            n_2 = sum([p2 or p3, p4 or p5, p6 or p7, p8 or p9])
            m = ((p2 or p3 or not p5) and p4) if turn else ((p6 or p7 or not p9) and p8)
            if c == 1 and 2 <= min(n_1, n_2) <= 3 and not m:
                removed.append((y, x))
        for pixel in removed:
            image[pixel] = False
        n_idle = 0 if removed else n_idle + 1
        turn = 1 - turn
    return image[1:-1, 1:-1]


def test_neighbour_codes_number_the_neighbours_clockwise_from_above():
    around = [(0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0), (0, 0)]
    for k, pixel in enumerate(around):
        image = np.zeros((3, 3), bool)
        image[pixel] = True
        assert neighbour_codes(image)[1, 1] == 1 << k


def test_neighbour_codes_take_the_outside_as_background():
    assert neighbour_codes(np.ones((1, 1), bool)) == 0


def test_fill_pinholes_fills_single_pixels_alone():
    image = np.ones((7, 9), bool)
    image[2, 2] = image[4, 5] = image[4, 6] = False
    filled = fill_pinholes(image)
    assert filled[2, 2]
    assert not filled[4, 5:7].any()


@settings(deadline=None, max_examples=60)
@given(IMAGES)
def test_thin_is_guo_and_hall_s_algorithm(image):
    assert np.array_equal(thin(image), guo_hall(fill_pinholes(image)))


@settings(deadline=None)
@given(IMAGES)
def test_thin_keeps_pieces_and_holes(image):
    filled = fill_pinholes(image)
    skeleton = thin(image)
    assert (skeleton <= filled).all()
    assert n_pieces(skeleton) == n_pieces(filled)
    assert n_holes(skeleton) == n_holes(filled)


@settings(deadline=None)
@given(IMAGES)
def test_thin_changes_a_skeleton_no_further(image):
    skeleton = thin(image)
    assert np.array_equal(thin(skeleton), skeleton)


@settings(deadline=None, max_examples=30)
@given(IMAGES, st.tuples(*[st.integers(0, 3)] * 4))
def test_thin_does_not_depend_on_the_border(image, border):
    above, below, left, right = border
    padded = thin(np.pad(image, ((above, below), (left, right))))
    height, width = image.shape
    assert np.array_equal(padded[above : above + height, left : left + width], thin(image))


@pytest.mark.parametrize("name", DRAWINGS)
def test_thin_makes_lines_of_single_pixels(name):
    skeleton = thin(DRAWINGS[name])
    blocks = skeleton[1:, 1:] & skeleton[1:, :-1] & skeleton[:-1, 1:] & skeleton[:-1, :-1]
    assert not blocks.any()


@pytest.mark.parametrize("name", CROWDED)
def test_thin_keeps_the_pieces_of_crowded_images(name):
    image = fill_pinholes(CROWDED[name])
    assert n_pieces(thin(image)) == n_pieces(image)


def test_thin_does_not_change_its_input():
    image = CROWDED["noise 0.5"].copy()
    thin(image)
    assert np.array_equal(image, CROWDED["noise 0.5"])
