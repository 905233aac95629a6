"""Fitting: the token that explains a drawing, found by EM."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sksiamese.programs import Program, Stack, TokenModel, Tokens
from sksiamese.programs.fitting import Annealing, fit


def line(start, stop):
    """Return a straight trajectory in steps of about one pixel."""
    start, stop = np.array(start, float), np.array(stop, float)
    n = max(2, round(np.hypot(*(stop - start))) + 1)
    return np.linspace(start, stop, n)


CORNER = [line((20, 20), (70, 20)), line((70, 20), (70, 75))]
BAR = [line((45, 22), (45, 60))]
DOT = [np.array([[15.0, 90.0]])]
PROGRAM = Program.of([CORNER, BAR, DOT])


def stack(*programs, model=None, n_modes=16):
    return Stack.of([Tokens.of(program, model or TokenModel(), n_modes) for program in programs])


def moved(program, change):
    """Return a program whose points are `change` of its points."""
    points = change(program.points.astype(float)).astype(np.float32)
    return Program(points, program.weights, program.strokes, program.substrokes)


def random_program(seed):
    rng = np.random.default_rng(seed)
    strokes = []
    for _ in range(rng.integers(1, 4)):
        corners = rng.uniform(15, 90, (rng.integers(2, 4), 2))
        strokes.append([line(*ends) for ends in zip(corners[:-1], corners[1:], strict=True)])
    return Program.of(strokes)


# Stack


def test_stack_holds_programs_and_their_lengths():
    short = Program.of([BAR], 20)
    both = stack(PROGRAM, short)
    assert len(both) == 2
    np.testing.assert_allclose(both.weights.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(
        both.lengths, [PROGRAM.weights.sum(), short.weights.sum()], rtol=1e-5
    )
    n = len(short.points)
    np.testing.assert_array_equal(both.points[1, :n], short.points)
    assert (both.weights[1, n:] == 0).all()
    assert (both.weights[1, :n] > 0).all()


def test_stack_take_returns_rows_in_their_order():
    programs = [random_program(seed) for seed in range(4)]
    taken = stack(*programs).take(np.array([3, 0, 3]))
    expected = stack(programs[3], programs[0], programs[3])
    n = expected.points.shape[1]
    for name in ("points", "weights", "lengths", "affine"):
        found = getattr(taken, name)
        found = found[:, :n] if name in ("points", "weights") else found
        np.testing.assert_allclose(found, getattr(expected, name), rtol=1e-5)


# Annealing


def test_annealing_goes_from_start_to_end():
    sigmas = np.array(list(Annealing(n_iter=5, start=8.0, end=2.0)))
    np.testing.assert_allclose(sigmas[[0, -1]], [8, 2])
    np.testing.assert_allclose(sigmas[1:] / sigmas[:-1], 4**-0.25)


# fit


def test_fit_of_a_program_to_itself_has_no_energy():
    fitted = fit(stack(PROGRAM), stack(PROGRAM), Annealing())
    assert np.abs(fitted.points[0] - PROGRAM.points).max() < 1
    assert 0 <= fitted.affine[0] < 0.1
    assert 0 <= fitted.strokes[0] < 0.5


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p + [9, -6],
        lambda p: p * 0.8,
        lambda p: (p - 50) * 1.25 + 50,
        lambda p: p * [0.9, 1.1],
        lambda p: p + 0.1 * p[:, ::-1] * [1, 0],  # sheared
    ],
    ids=["translated", "smaller", "larger", "stretched", "sheared"],
)
def test_fit_recovers_an_affine_warp(change):
    drawing = moved(PROGRAM, change)
    fitted = fit(stack(PROGRAM), stack(drawing), Annealing())
    off = np.hypot(*(fitted.points[0] - drawing.points).T)
    assert off.max() < 2
    assert off.mean() < 1
    assert fitted.strokes[0] < 3


def test_fit_to_a_larger_drawing_needs_more_of_the_affine_warp():
    energies = [
        fit(stack(PROGRAM), stack(moved(PROGRAM, lambda p, s=s: p * s)), Annealing()).affine[0]
        for s in (1.0, 1.15, 1.3)
    ]
    assert energies[0] < energies[1] < energies[2]


def test_fit_recovers_a_stroke_that_moved():
    drawing = moved(PROGRAM, lambda p: p + 6 * (PROGRAM.strokes == 1)[:, None])
    fitted = fit(stack(PROGRAM), stack(drawing), Annealing())
    assert np.hypot(*(fitted.points[0] - drawing.points).T).mean() < 1.5
    still = fit(stack(PROGRAM), stack(PROGRAM), Annealing())
    assert fitted.strokes[0] > still.strokes[0] + 0.2
    rigid = TokenModel(attached=0, free=0, shape=0, size=0)
    stiff = fit(stack(PROGRAM, model=rigid), stack(drawing), Annealing())
    assert np.hypot(*(stiff.points[0] - drawing.points).T).mean() > 1.5
    assert stiff.strokes[0] == pytest.approx(0, abs=1e-3)


def test_fit_takes_a_drawing_as_a_set_of_points():
    drawing = moved(PROGRAM, lambda p: p * [0.9, 1.1])
    order = np.random.default_rng(0).permutation(len(drawing.points))
    shuffled = Program(
        drawing.points[order], drawing.weights[order], drawing.strokes, drawing.substrokes
    )
    a, b = (fit(stack(PROGRAM), stack(other), Annealing()) for other in (drawing, shuffled))
    np.testing.assert_allclose(a.points, b.points, atol=0.01)


def test_fit_leaves_out_what_no_point_of_the_token_explains():
    # A few points far away pull the centre, but not the token.
    n = len(PROGRAM.points)
    points = np.concatenate([PROGRAM.points, [[100.0, 100.0]] * 2]).astype(np.float32)
    weights = np.concatenate([PROGRAM.weights, [2.0, 2.0]]).astype(np.float32)
    numbers = np.concatenate([PROGRAM.strokes, [3, 3]]).astype(np.int16)
    more = np.concatenate([PROGRAM.substrokes, [4, 4]]).astype(np.int16)
    fitted = fit(stack(PROGRAM), stack(Program(points, weights, numbers, more)), Annealing())
    assert np.hypot(*(fitted.points[0] - points[:n]).T).mean() < 1


@given(st.lists(st.integers(0, 2**32 - 1), min_size=2, max_size=6))
@settings(max_examples=15, deadline=None, derandomize=True)
def test_fit_of_several_pairs_is_that_of_each_alone(seeds):
    """Programs of different lengths are padded, which changes nothing."""
    programs = [random_program(seed) for seed in seeds]
    programs[0] = Program.of([BAR], 20)
    drawings = programs[::-1]
    together = fit(stack(*programs), stack(*drawings), Annealing())
    for row, pair in enumerate(zip(programs, drawings, strict=True)):
        alone = fit(*map(stack, pair), Annealing())
        n = len(pair[0].points)
        np.testing.assert_allclose(together.points[row, :n], alone.points[0], atol=0.02)
        np.testing.assert_allclose(together.affine[row], alone.affine[0], rtol=0.01, atol=0.02)
        np.testing.assert_allclose(together.strokes[row], alone.strokes[0], rtol=0.01, atol=0.02)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None, derandomize=True)
def test_fit_has_energies_that_are_not_negative(seed):
    a, b = random_program(seed), random_program(seed + 1)
    dot = Program.of([DOT])
    for model in (TokenModel(), TokenModel(attached=0, free=0, shape=0, size=0)):
        fitted = fit(stack(a, a, dot, a, model=model), stack(b, dot, a, a), Annealing())
        assert np.isfinite(fitted.points).all()
        assert (fitted.affine >= 0).all()
        assert (fitted.strokes >= 0).all()
        total = fitted.affine + fitted.strokes
        assert total[3] <= total[0] + 1e-3  # itself
