"""A program: points along strokes in their order, with the pixels they stand for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sksiamese.programs.program import Program


def trajectory(start, heading, n):
    return np.array(start, float) + np.outer(np.arange(n), [np.cos(heading), np.sin(heading)])


@st.composite
def programs(draw, most=5):
    """Draw strokes of one or two sub-strokes or a dot."""
    strokes = []
    for _ in range(draw(st.integers(1, most))):
        start = draw(st.tuples(st.floats(0, 100), st.floats(0, 100)))
        if draw(st.booleans()):
            first = trajectory(start, draw(st.floats(0, 6)), draw(st.integers(2, 60)))
            second = trajectory(first[-1], draw(st.floats(0, 6)), draw(st.integers(2, 60)))
            strokes.append([first, second][: draw(st.integers(1, 2))])
        else:
            strokes.append([np.array([start])])
    return strokes


@settings(deadline=None)
@given(programs(), st.sampled_from([64, 96, 128]))
def test_of_has_its_points_and_weights(strokes, n_points):
    program = Program.of(strokes, n_points)
    assert len(program.points) <= n_points
    assert (program.weights > 0).all()
    for number, stroke in enumerate(strokes):
        n_pixels = max(12, sum(map(len, stroke)))  # of dots too
        weight = program.weights[program.strokes == number].sum()
        assert n_pixels - 0.1 <= weight <= n_pixels + 2 * len(stroke) + 0.1


@settings(deadline=None)
@given(programs())
def test_of_keeps_strokes_in_order_with_their_ends(strokes):
    program = Program.of(strokes)
    assert program.n_strokes == len(strokes)
    assert program.n_substrokes == sum(map(len, strokes))
    assert (np.diff(program.strokes) >= 0).all()
    assert (np.diff(program.substrokes) >= 0).all()
    for points, stroke in zip(program.trajectories(), strokes, strict=True):
        np.testing.assert_allclose(points[0], stroke[0][0], atol=1e-3)
        np.testing.assert_allclose(points[-1], stroke[-1][-1], atol=1e-3)


@settings(deadline=None)
@given(programs())
def test_of_gives_each_substroke_three_points_at_least(strokes):
    program = Program.of(strokes)
    assert np.bincount(program.substrokes).min() >= 3
    for number in range(program.n_substrokes):
        assert len(np.unique(program.strokes[program.substrokes == number])) == 1


def test_of_keeps_the_longest_of_too_many_strokes_in_their_order():
    lengths = np.random.default_rng(0).permutation(np.arange(20, 60))
    strokes = [[trajectory((k, 0), np.pi / 2, n)] for k, n in enumerate(lengths)]
    program = Program.of(strokes)
    assert program.n_strokes == 16
    kept = [points[0, 0] for points in program.trajectories()]
    assert kept == sorted(np.argsort(lengths)[-16:].tolist())


def test_of_shortens_a_stroke_of_too_many_substrokes():
    stroke = [trajectory((5 * k, 0), 0.0, 6) for k in range(30)]
    program = Program.of([stroke])
    assert program.n_strokes == 1
    assert program.n_substrokes == 16
    np.testing.assert_allclose(program.points[[0, -1]], [[0, 0], [80, 0]], atol=1e-3)


def test_of_a_dot_repeats_its_point():
    program = Program.of([[np.array([[7.0, 9.0]])]], score=-3.5)
    assert (program.points == [7, 9]).all()
    assert program.weights.sum() == pytest.approx(12, abs=2)
    assert program.score == -3.5
