"""Splines: five control points, fitted by least squares; even steps along a path."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import BSpline

from sksiamese.programs.splines import basis, control_points, resample

NUMBERS = st.integers(2, 200)
CONTROL = np.array([[0, 5], [10, 0], [20, 30], [5, 40], [-10, 20]], float)


def test_basis_is_the_uniform_cubic_b_spline():
    s = np.linspace(2, 6, 41)[1:-1]
    spline = BSpline(np.arange(-0.0, 9.0), np.eye(5), 3, extrapolate=False)
    expected = np.nan_to_num(np.stack([spline(t) for t in s]))
    inside = (s >= 3) & (s <= 5)  # there the five weights sum to one by themselves
    np.testing.assert_allclose(basis(41)[1:-1][inside], expected[inside], atol=1e-12)


@given(NUMBERS)
def test_basis_weights_are_means(n):
    weights = basis(n)
    assert weights.shape == (n, 5)
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(1), 1)


@given(NUMBERS)
def test_basis_is_symmetric(n):
    np.testing.assert_allclose(basis(n)[::-1, ::-1], basis(n), atol=1e-12)


def test_basis_cannot_be_changed_by_its_users():
    with pytest.raises(ValueError, match="read-only"):
        basis(10)[0] = 0


@pytest.mark.parametrize("n", [10, 64, 300])
def test_control_points_of_a_spline_are_its_own(n):
    np.testing.assert_allclose(control_points(basis(n) @ CONTROL), CONTROL, atol=0.5)


@given(NUMBERS)
def test_control_points_follow_straight_lines(n):
    line = np.stack([np.linspace(3, 40, n), np.linspace(20, -5, n)], axis=1)
    off = np.abs(basis(n) @ control_points(line) - line)
    assert off.max() < 2


@given(NUMBERS, st.floats(-50, 50), st.floats(0.1, 10))
def test_control_points_move_and_scale_with_the_trajectory(n, shift, scale):
    path = np.stack([np.linspace(0, 9, n), np.linspace(0, 3, n) ** 2], axis=1)
    np.testing.assert_allclose(
        control_points(scale * path + shift), scale * control_points(path) + shift, atol=1e-2
    )


def test_resample_steps_evenly():
    path = np.array([[0, 0], [0, 1], [0, 10], [30, 10]], float)
    points = resample(path, 9)
    np.testing.assert_allclose(points[[0, 2, -1]], [[0, 0], [0, 10], [30, 10]])
    np.testing.assert_allclose(np.hypot(*np.diff(points, axis=0).T), 5)


def test_resample_repeats_a_single_point():
    assert np.array_equal(resample(np.array([[4.0, 7.0]]), 3), [[4, 7]] * 3)
