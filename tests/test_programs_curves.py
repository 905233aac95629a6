"""Rows as curves: the values' program, and its exact score."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sksiamese.programs import Stack, TokenModel, Tokens, curve_costs, curve_program
from sksiamese.programs.tokens import token_basis

NOISE = 2.0  # pixels, as `curve_costs` has it


@pytest.mark.parametrize("n_features", [1, 2, 3, 10, 64, 65, 1000])
def test_curve_program_is_one_stroke_from_left_to_right(n_features):
    values = np.random.default_rng(0).normal(size=n_features)
    program = curve_program(values)
    assert program.n_strokes == program.n_substrokes == 1
    assert 8 <= len(program.points) <= 64
    rows, columns = program.points.T
    assert (np.diff(columns) > 0).all()
    assert rows.min() >= 0
    assert columns.min() >= 0
    assert program.points.max() <= 105
    if n_features <= 64:
        backwards = curve_program(values[::-1]).points[:, 0]
        np.testing.assert_allclose(backwards, rows[::-1], atol=1e-3)


def test_curve_program_goes_up_with_the_values():
    rows = curve_program(np.array([-1.0, 0.0, 2.0])).points[:, 0]
    assert (np.diff(rows) < 0).all()  # row 0 is the top
    assert rows[0] - rows[-1] == pytest.approx(
        1.5 * (rows[0] - curve_program(np.array([1.0])).points[0, 0])
    )


def test_curve_program_caps_values_far_from_the_mean():
    far, farther = (curve_program(np.array([value, 0.0])).points for value in (50.0, 1e300))
    np.testing.assert_array_equal(far, farther)
    assert not np.allclose(far, curve_program(np.array([1.0, 0.0])).points)


def test_curve_program_of_many_values_takes_all_into_account():
    values = np.random.default_rng(0).normal(size=1000)
    points = curve_program(values).points
    for row in (0, 333, 999):
        changed = values.copy()
        changed[row] += 3
        assert not np.array_equal(curve_program(changed).points, points)


def stack(rows, model=None):
    return Stack.of([Tokens.of(curve_program(row), model or TokenModel()) for row in rows])


def test_curve_costs_are_those_of_a_normal_distribution():
    """d' (BB' + s^2 I)^-1 d / 2, by the whole matrices, as a mean over the points."""
    rows = np.random.default_rng(0).normal(size=(5, 20))
    programs = [curve_program(row) for row in rows]
    found = curve_costs(stack(rows), stack(rows), *np.divmod(np.arange(25), 5)).reshape(5, 5)
    for i, j in np.ndindex(5, 5):
        off = programs[j].points - programs[i].points
        basis = token_basis(programs[i], TokenModel())
        expected = 0
        for axis in range(2):
            covariance = basis[axis] @ basis[axis].T + NOISE**2 * np.eye(len(off))
            expected += off[:, axis] @ np.linalg.solve(covariance, off[:, axis]) / 2
        assert found[i, j] == pytest.approx(expected / len(off), rel=1e-3, abs=1e-5)


@given(st.integers(0, 2**32 - 1), st.integers(1, 90))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_curve_costs_are_zero_for_itself_and_positive_for_others(seed, n_features):
    rows = np.random.default_rng(seed).normal(size=(4, n_features))
    i, j = np.divmod(np.arange(16), 4)
    found = curve_costs(stack(rows), stack(rows), i, j).reshape(4, 4)
    np.testing.assert_array_equal(found.diagonal(), 0)
    assert (found[~np.eye(4, dtype=bool)] > 0).all()


def test_curve_costs_do_not_depend_on_other_pairs():
    rows = np.random.default_rng(0).normal(size=(40, 7))
    i, j = np.divmod(np.arange(1600), 40)  # more than one block
    together = curve_costs(stack(rows), stack(rows), i, j)
    alone = [
        curve_costs(stack(rows[[a]]), stack(rows[[b]]), [0], [0])[0] for a, b in ((3, 9), (39, 38))
    ]
    np.testing.assert_allclose(alone, together[[3 * 40 + 9, 39 * 40 + 38]], rtol=1e-5)


def test_curve_costs_fall_where_tokens_vary_more():
    rows = np.random.default_rng(0).normal(size=(2, 10))
    narrow = TokenModel(attached=0, free=0, shape=0, size=0)
    one = np.zeros(1, int)
    wide = curve_costs(stack(rows), stack(rows), one, one + 1)
    assert curve_costs(stack(rows, narrow), stack(rows), one, one + 1) > wide
