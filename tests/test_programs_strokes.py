"""Strokes: smooth trajectories in steps of a pixel, divided at their corners."""

import numpy as np
import pytest
from drawings import circle
from hypothesis import given, settings
from hypothesis import strategies as st

from sksiamese.programs.splines import basis, control_points
from sksiamese.programs.strokes import at_unit_steps, length, smooth, substrokes

LINE = np.stack([np.linspace(5, 45, 41), np.linspace(50, 20, 41)], axis=1)
STAIRS = np.stack([np.arange(60) // 2, (np.arange(60) + 1) // 2], axis=1).astype(float)


def through(*points):
    return at_unit_steps(np.array(points, float))


@st.composite
def random_walks(draw):
    n = draw(st.integers(2, 150))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    headings = np.cumsum(rng.normal(0, draw(st.sampled_from([0.05, 0.3, 1.0])), n))
    steps = np.stack([np.cos(headings), np.sin(headings)], axis=1)
    return 50 + np.cumsum(steps, axis=0)


def test_length_of_a_path():
    assert length(np.array([[0, 0], [3, 4], [3, 9]])) == 10


def test_at_unit_steps_keeps_the_ends_and_the_line():
    path = at_unit_steps(np.array([[0.0, 0.0], [30.0, 40.0]]))
    assert len(path) == 51
    np.testing.assert_allclose(path, np.outer(np.arange(51), [0.6, 0.8]), atol=1e-12)


def test_smooth_keeps_straight_lines_and_ends():
    np.testing.assert_allclose(smooth(LINE), LINE, atol=1e-9)
    smoothed = smooth(STAIRS)
    assert np.array_equal(smoothed.shape, STAIRS.shape)
    np.testing.assert_allclose(smoothed[[0, -1]], STAIRS[[0, -1]], atol=1e-12)


def test_smooth_removes_stairs():
    def off(path):  # from the diagonal
        return np.abs((path[:, 0] - path[:, 1]) - (path[:, 0] - path[:, 1]).mean())[8:-8]

    assert off(STAIRS).max() == pytest.approx(0.5, abs=0.01)
    assert off(smooth(STAIRS)).max() < 0.05


def test_smooth_leaves_short_paths_as_they_are():
    assert np.array_equal(smooth(STAIRS[:6]), STAIRS[:6])


@settings(deadline=None)
@given(random_walks())
def test_smooth_commutes_with_reversal(path):
    np.testing.assert_allclose(smooth(path[::-1]), smooth(path)[::-1], atol=1e-9)


def test_substrokes_of_a_dot_is_the_dot():
    dot = np.array([[3.0, 4.0]])
    (only,) = substrokes(dot)
    assert np.array_equal(only, dot)


@pytest.mark.parametrize(
    "path", [LINE, at_unit_steps(circle(30, 30, 20)[:11]), through((0, 0), (20, 2), (40, 8))]
)
def test_substrokes_does_not_divide_what_one_spline_follows(path):
    assert len(substrokes(path)) == 1


@pytest.mark.parametrize(
    ("corners", "n_substrokes"),
    [([(0, 0), (40, 0), (40, 40)], 2), ([(0, 0), (40, 10), (0, 20), (40, 30)], 3)],
)
def test_substrokes_divides_at_corners(corners, n_substrokes):
    stroke = substrokes(through(*corners))
    assert len(stroke) == n_substrokes
    for part, corner in zip(stroke[1:], corners[1:], strict=False):
        np.testing.assert_allclose(part[0], corner, atol=2)


def test_substrokes_divides_curves_that_one_spline_does_not_follow():
    turns = np.linspace(np.pi, 5 * np.pi, 400)
    spiral = at_unit_steps(
        np.stack([50 + 2.5 * turns * np.cos(turns), 50 + 2.5 * turns * np.sin(turns)], axis=1)
    )
    stroke = substrokes(spiral)
    assert 4 <= len(stroke) <= 16
    errors = [np.hypot(*(basis(len(t)) @ control_points(t) - t).T).max() for t in stroke]
    assert max(errors) <= 1.5


@settings(deadline=None)
@given(random_walks())
def test_substrokes_joins_to_the_path(path):
    stroke = substrokes(path)
    assert 1 <= len(stroke) <= 16
    np.testing.assert_allclose(stroke[0][0], path[0], atol=1e-9)
    np.testing.assert_allclose(stroke[-1][-1], path[-1], atol=1e-9)
    for before, after in zip(stroke[:-1], stroke[1:], strict=True):
        assert np.array_equal(before[-1], after[0])
        assert min(len(before), len(after)) > 4
    steps = np.concatenate([np.hypot(*np.diff(part, axis=0).T) for part in stroke])
    assert steps.max() < 1.5
