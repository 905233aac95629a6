"""The token model: what of a program varies, and together with what."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sksiamese.programs import Program, TokenModel, Tokens
from sksiamese.programs.tokens import token_basis

# Every variable but the one under test is held.
HELD = TokenModel(translation=0, scale=0, shear=0, attached=0, free=0, shape=0, size=0, reach=6.0)


def line(start, stop):
    """Return a straight trajectory in steps of about one pixel."""
    start, stop = np.array(start, float), np.array(stop, float)
    n = max(2, round(np.hypot(*(stop - start))) + 1)
    return np.linspace(start, stop, n)


CORNER = [line((20, 20), (60, 20)), line((60, 20), (60, 70))]  # one stroke of two sub-strokes
BAR = [line((40, 22), (40, 60))]  # starts two pixels beside the corner
DOT = [np.array([[90.0, 90.0]])]


def held(**free):
    """Return the model in which these variables alone vary."""
    return TokenModel(**{**vars(HELD), **free})


def covariance(program, model):
    """Return the covariances of the points, of rows and of columns: (2, n_points, n_points)."""
    basis = token_basis(program, model)
    return basis @ basis.transpose(0, 2, 1)


def random_program(seed):
    rng = np.random.default_rng(seed)
    strokes = []
    for _ in range(rng.integers(1, 4)):
        corners = rng.uniform(5, 100, (rng.integers(2, 4), 2))
        strokes.append([line(*ends) for ends in zip(corners[:-1], corners[1:], strict=True)])
    if rng.random() < 0.5:
        strokes.append([rng.uniform(5, 100, (1, 2))])
    return Program.of(strokes)


def test_token_basis_has_variables_for_each_stroke_and_substroke():
    program = Program.of([CORNER, BAR])
    basis = token_basis(program, TokenModel())
    assert basis.shape == (2, len(program.points), 3 + 2 + 5 * 3 + 3)
    assert np.isfinite(basis).all()


def test_token_basis_of_a_held_model_is_zero():
    assert (token_basis(Program.of([CORNER, BAR, DOT]), HELD) == 0).all()


def test_translation_moves_all_points_alike():
    variance = covariance(Program.of([CORNER, BAR, DOT]), held(translation=6))
    np.testing.assert_allclose(variance, 36)


def test_scale_and_shear_move_points_by_their_distance_from_the_middle():
    program = Program.of([CORNER, BAR])
    share = program.weights / program.weights.sum()
    rows, columns = (program.points - share @ program.points).T
    scaled, sheared = (covariance(program, held(**{name: 0.1})) for name in ("scale", "shear"))
    for axis, (own, other) in enumerate([(rows, columns), (columns, rows)]):
        np.testing.assert_allclose(scaled[axis], 0.01 * np.outer(own, own), atol=1e-4)
        np.testing.assert_allclose(sheared[axis], 0.01 * np.outer(other, other), atol=1e-4)


def test_children_move_with_their_parents():
    program = Program.of([CORNER, BAR])
    corner, bar = program.strokes == 0, program.strokes == 1
    variance = covariance(program, held(attached=3, free=5))
    for of_axis in variance:
        np.testing.assert_allclose(of_axis[np.ix_(corner, corner)], 25)
        np.testing.assert_allclose(of_axis[np.ix_(corner, bar)], 25)  # the parent's
        np.testing.assert_allclose(of_axis[np.ix_(bar, bar)], 25 + 9)  # and its own


def test_children_move_with_the_shape_of_their_parents_where_they_begin():
    program = Program.of([CORNER, BAR])
    start = np.flatnonzero(program.strokes == 1)[0]
    before = program.points[:start] - program.points[start]
    parent = np.hypot(*before.T).argmin()
    variance = covariance(program, held(shape=5))
    np.testing.assert_allclose(variance[:, start, start], variance[:, parent, parent])
    np.testing.assert_allclose(variance[:, start, parent], variance[:, parent, parent])
    assert (variance[:, start, start] > 0.1).all()


def test_strokes_out_of_reach_move_alone():
    program = Program.of([CORNER, BAR])
    corner, bar = program.strokes == 0, program.strokes == 1
    variance = covariance(program, held(attached=3, free=5, shape=5, reach=0.5))
    np.testing.assert_allclose(variance[:, corner][:, :, bar], 0, atol=1e-12)
    start = np.flatnonzero(bar)[0]
    np.testing.assert_allclose(variance[:, start, start], 25)


def test_a_substroke_begins_where_the_last_one_ended():
    program = Program.of([CORNER])
    first = np.flatnonzero(program.substrokes == 1)[0]
    basis = token_basis(program, held(shape=5, size=0.04, free=5))
    np.testing.assert_allclose(basis[:, first], basis[:, first - 1])


def test_the_shape_of_a_substroke_varies_with_its_size():
    deviations = []
    for length in (20, 80):
        program = Program.of([[line((10, 10), (10, 10 + length))]])
        deviations.append(np.sqrt(covariance(program, held(shape=5))[0].trace()))
    # The points are the same splines, so that deviations are as the lengths.
    np.testing.assert_allclose(deviations[1] / deviations[0], 4, rtol=0.02)


def test_the_size_of_a_small_substroke_varies_more_as_a_fraction():
    ends = []
    for length in (20, 80):
        program = Program.of([[line((10, 10), (10, 10 + length))]])
        of_columns = covariance(program, held(size=0.04))[1]
        np.testing.assert_allclose(of_columns[0, 0], 0, atol=1e-12)  # it starts where it did
        ends.append(np.sqrt(of_columns[-1, -1]))
    # As a fraction it goes with 1 / size, so that both ends move by the same pixels.
    np.testing.assert_allclose(ends, 0.04 * 105, rtol=1e-3)


def test_a_dot_has_no_shape_and_no_size():
    program = Program.of([DOT])
    assert (token_basis(program, held(shape=5, size=0.04, scale=0.2, shear=0.1)) == 0).all()
    np.testing.assert_allclose(covariance(program, held(free=5)), 25)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_tokens_with_many_modes_have_the_covariance_of_the_basis(seed):
    program = random_program(seed)
    tokens = Tokens.of(program, TokenModel(), n_modes=len(program.points))
    found = tokens.modes @ tokens.modes.transpose(0, 2, 1)
    np.testing.assert_allclose(found, covariance(program, TokenModel()), rtol=1e-3, atol=1e-2)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_tokens_with_few_modes_keep_the_greatest_variances(seed):
    program = random_program(seed)
    whole = covariance(program, TokenModel())
    tokens = Tokens.of(program, TokenModel(), n_modes=16)
    found = tokens.modes @ tokens.modes.transpose(0, 2, 1)
    for of_axis, kept in zip(whole, found, strict=True):
        values = np.linalg.eigvalsh(of_axis)
        np.testing.assert_allclose(
            np.linalg.eigvalsh(kept)[-16:], values[-16:], rtol=0.01, atol=0.1
        )
        assert np.trace(of_axis - kept) < 0.1 * np.trace(of_axis)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_tokens_affine_finds_the_affine_variables(seed):
    """Of a token that has nothing but an affine warp, z holds just these variables."""
    program = random_program(seed)
    model = held(translation=6, scale=0.2, shear=0.12)
    tokens = Tokens.of(program, model)
    basis = token_basis(program, model)
    variables = np.random.default_rng(seed).normal(size=(2, 3))
    for axis in range(2):
        moved = basis[axis, :, :3] @ variables[axis]
        z, *_ = np.linalg.lstsq(tokens.modes[axis], moved, rcond=1e-4)
        np.testing.assert_allclose(tokens.modes[axis] @ z, moved, rtol=1e-3, atol=1e-2)
        np.testing.assert_allclose(
            np.linalg.norm(tokens.affine[axis] @ z), np.linalg.norm(z), rtol=1e-3
        )


def test_tokens_of_a_dot_have_a_single_mode():
    tokens = Tokens.of(Program.of([DOT]), TokenModel())
    assert tokens.modes.shape[2] == 16
    lengths = np.linalg.norm(tokens.modes, axis=1)
    assert (lengths[:, 0] > 1).all()
    np.testing.assert_allclose(lengths[:, 1:], 0, atol=1e-4)


@pytest.mark.parametrize("wider", ["translation", "scale", "free", "shape", "size"])
def test_wider_models_have_tokens_that_vary_more(wider):
    program = Program.of([CORNER, BAR])
    twice = TokenModel(**{**vars(TokenModel()), wider: 2 * getattr(TokenModel(), wider)})
    variances = [(Tokens.of(program, model).modes ** 2).sum() for model in (TokenModel(), twice)]
    assert variances[1] > variances[0] * 1.01
