"""Scoring: what a program leaves unexplained of a drawing costs."""

from dataclasses import fields

import numpy as np
import pytest
from drawings import draw
from hypothesis import given, settings
from hypothesis import strategies as st

from sksiamese.programs import Program, TokenModel, Tokens, costs, parse
from sksiamese.programs.scoring import WEIGHTS, Drawings, Terms, doubled_directions, terms


def line(start, stop):
    """Return a straight trajectory in steps of about one pixel."""
    start, stop = np.array(start, float), np.array(stop, float)
    n = max(2, round(np.hypot(*(stop - start))) + 1)
    return np.linspace(start, stop, n)


CORNER = [line((20, 20), (70, 20)), line((70, 20), (70, 75))]
BAR = [line((45, 22), (45, 60))]
DOT = [np.array([[15.0, 90.0]])]
SLASH = [line((90, 15), (15, 90))]


def drawings_of(*programs):
    return Drawings.of([Tokens.of(program, TokenModel()) for program in programs])


def terms_of(a, b):
    """Return the terms of two programs by name."""
    zero = np.zeros(1, int)
    found = terms(drawings_of(a), drawings_of(b), zero, zero)
    return {field.name: getattr(found, field.name)[0] for field in fields(Terms)}


def cost(a, b):
    """Return the cost of two drawings, lists of strokes."""
    zero = np.zeros(1, int)
    a, b = drawings_of(Program.of(a)), drawings_of(Program.of(b))
    return costs(a, b, zero, zero)[0]


def parsed(*lines):
    """Return the program of a drawing made of lines, with its topology."""
    return parse(draw(*lines))[0]


def random_strokes(seed):
    rng = np.random.default_rng(seed)
    strokes = []
    for _ in range(rng.integers(1, 4)):
        corners = rng.uniform(15, 90, (rng.integers(2, 4), 2))
        strokes.append([line(*ends) for ends in zip(corners[:-1], corners[1:], strict=True)])
    return strokes


SQUARE = [(10, 10), (10, 50), (50, 50), (50, 10), (10, 10)]

# terms


@pytest.mark.parametrize("strokes", [[CORNER], [CORNER, BAR, DOT], [DOT], [SLASH]])
def test_terms_of_a_program_with_itself_are_small(strokes):
    found = terms_of(Program.of(strokes), Program.of(strokes))
    other = terms_of(Program.of(strokes), Program.of([CORNER[:1], SLASH]))
    for name, value in found.items():
        assert 0 <= value < 2.5, name
        assert value <= other[name] + 0.1, name
    assert found["parts"] == found["holes"] == 0


def test_terms_are_symmetric():
    a, b = Program.of([CORNER, BAR]), Program.of([SLASH, DOT])
    there, back = terms_of(a, b), terms_of(b, a)
    for name, value in there.items():
        assert back[name] == pytest.approx(value, rel=1e-4, abs=1e-4), name


def test_terms_of_a_missing_stroke_are_greater():
    whole, part = Program.of([CORNER, BAR]), Program.of([CORNER])
    found, same = terms_of(part, whole), terms_of(whole, whole)
    for name in ("surplus", "gap", "missing", "layout"):
        assert found[name] > same[name] + 0.1, name


def test_parts_and_holes_are_counted():
    square, u = parsed(SQUARE), parsed(SQUARE[1:] + [(20, 10)])
    two = parsed([(10, 10), (50, 10)], [(10, 50), (50, 50)])
    assert terms_of(square, square)["holes"] == terms_of(square, square)["parts"] == 0
    assert terms_of(square, u)["holes"] > 0.5
    assert terms_of(square, u)["parts"] == 0
    one = parsed([(10, 10), (50, 10)])
    assert terms_of(one, two)["parts"] == pytest.approx(np.sqrt(2) - 1)
    assert terms_of(one, two)["holes"] == 0


def test_warp_and_layout_are_of_the_affine_warp():
    program = Program.of([CORNER, BAR])

    def turned(strength):
        return Program.of([[part + strength * part[:, ::-1] for part in s] for s in (CORNER, BAR)])

    warps = [terms_of(program, turned(strength))["warp"] for strength in (0, 0.15, 0.3)]
    assert warps[0] < warps[1] < warps[2]
    moved = Program.of([CORNER, [part + [20, 20] for part in BAR]])
    assert terms_of(program, moved)["layout"] > terms_of(program, program)["layout"] + 0.1


def test_terms_do_not_depend_on_padding_and_on_other_pairs():
    ours = [Program.of([CORNER, BAR]), Program.of([BAR], 20), Program.of([DOT], 12)]
    theirs = [Program.of([BAR], 30), parsed(SQUARE), Program.of([BAR], 20)]
    rows = np.arange(3)
    together = terms(drawings_of(*ours), drawings_of(*theirs), rows, rows)
    for row, pair in enumerate(zip(ours, theirs, strict=True)):
        for name, alone in terms_of(*pair).items():
            found = getattr(together, name)[row]
            assert found == pytest.approx(alone, rel=2e-3, abs=2e-3), name


def test_doubled_directions_are_alike_for_both_directions_of_a_stroke():
    points = np.float32(line((20, 20), (60, 80)))[None]
    found = doubled_directions(points)
    np.testing.assert_allclose(found, doubled_directions(points[:, ::-1]), atol=1e-5)
    np.testing.assert_allclose(np.hypot(*found[0].T), 1, rtol=1e-4)
    assert (doubled_directions(np.ones((1, 5, 2), np.float32)) == 0).all()  # a dot


# costs


def test_every_term_counts_against_a_pair():
    assert all(getattr(WEIGHTS, field.name) > 0 for field in fields(Terms))


@pytest.mark.parametrize("strokes", [[CORNER], [CORNER, BAR, DOT], [DOT], [SLASH, BAR]])
def test_costs_of_a_drawing_with_itself_are_small(strokes):
    other = [CORNER[:1], SLASH, [part + [0, 30] for part in BAR]]
    assert 0 <= cost(strokes, strokes) < cost(strokes, other) / 3


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None, derandomize=True)
def test_costs_are_least_of_a_drawing_with_itself(seed):
    drawings = [Program.of(random_strokes(seed + n)) for n in range(4)]
    i, j = np.divmod(np.arange(16), 4)
    found = costs(drawings_of(*drawings), drawings_of(*drawings), i, j).reshape(4, 4)
    assert found.dtype == np.float32
    assert found.min() >= 0
    assert (found.argmin(axis=0) == np.arange(4)).all()
    assert (found.argmin(axis=1) == np.arange(4)).all()


def test_costs_rise_with_missing_and_additional_strokes():
    same = cost([CORNER, BAR], [CORNER, BAR])
    assert cost([CORNER], [CORNER, BAR]) > same + 2
    assert cost([CORNER, BAR], [CORNER]) > same + 2
    assert cost([CORNER, BAR], [CORNER, BAR, DOT]) > same + 0.5
    assert cost([CORNER, BAR, DOT], [CORNER, BAR]) > same + 0.5


def test_costs_rise_little_with_what_tokens_vary_in():
    def warped(stroke):
        return [part * [0.95, 1.05] + [4, -3] for part in stroke]

    program = [CORNER, BAR]
    again = [warped(stroke) for stroke in program]
    other = [CORNER, [line((22, 22), (60, 60))]]
    assert cost(program, again) < cost(program, other) / 2


def test_costs_do_not_depend_on_other_pairs():
    drawings = [Program.of(random_strokes(n)) for n in range(8)]
    i, j = np.divmod(np.arange(64), 8)  # more than one block
    together = costs(drawings_of(*drawings), drawings_of(*drawings), i, j).reshape(8, 8)
    zero = np.zeros(1, int)
    for a, b in ((0, 5), (7, 2), (4, 4)):
        alone = costs(drawings_of(drawings[a]), drawings_of(drawings[b]), zero, zero)[0]
        assert together[a, b] == pytest.approx(alone, rel=1e-3, abs=1e-3)
    backwards = costs(drawings_of(*drawings), drawings_of(*drawings), i[::-1], j[::-1])[::-1]
    np.testing.assert_allclose(backwards.reshape(8, 8), together, rtol=1e-3, atol=1e-3)
