"""Parsing: drawings to programs, which depend on the drawing and the seed alone."""

import sys

import numpy as np
import pytest
from drawings import CROWDED, DRAWINGS
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from sksiamese.datasets import load_omniglot_minimal
from sksiamese.programs.parsing import parse
from sksiamese.programs.primitives import Primitives
from sksiamese.programs.thinning import thin

OMNIGLOT = load_omniglot_minimal().runs[0].support_images[:12] < 128
EACH = pytest.mark.parametrize("use_primitives", [True, False])


def equal(a, b):
    return a.score == b.score and all(
        np.array_equal(getattr(a, name), getattr(b, name))
        for name in ("points", "weights", "strokes", "substrokes")
    )


@EACH
@pytest.mark.parametrize(
    ("name", "n_strokes"),
    [
        ("line", 1),
        ("plus", 2),
        ("T", 2),
        ("L", 1),
        ("ring", 1),
        ("figure eight", 1),
        ("dot", 1),
        ("i with dot", 2),
    ],
)
def test_parse_finds_the_strokes_of_simple_drawings(name, n_strokes, use_primitives):
    (program,) = parse(DRAWINGS[name], use_primitives=use_primitives)
    assert program.n_strokes == n_strokes


@EACH
def test_parse_of_a_plus_has_straight_strokes_drawn_down_and_to_the_right(use_primitives):
    (program,) = parse(DRAWINGS["plus"], use_primitives=use_primitives)
    ends = sorted(np.round(t[-1] - t[0]).tolist() for t in program.trajectories())
    np.testing.assert_allclose(ends, [[0, 40], [40, 0]], atol=3)
    assert program.n_substrokes == 2


def test_parse_draws_the_stem_of_an_i_before_or_after_its_dot():
    (program,) = parse(DRAWINGS["i with dot"])
    lengths = sorted(np.ptp(t, axis=0).max() for t in program.trajectories())
    assert lengths[0] == 0
    assert lengths[1] == pytest.approx(25, abs=3)


@EACH
def test_parse_divides_an_l_at_its_corner(use_primitives):
    (program,) = parse(DRAWINGS["L"], use_primitives=use_primitives)
    assert program.n_substrokes == 2
    corner = program.points[program.substrokes == 1][0]
    np.testing.assert_allclose(corner, [50, 10], atol=2)


@EACH
@pytest.mark.parametrize("shape", [(105, 105), (1, 1), (8, 31)])
def test_parse_of_a_blank_is_a_dot_in_the_middle(shape, use_primitives):
    (program,) = parse(np.zeros(shape, bool), use_primitives=use_primitives, n_parses=3)
    assert program.n_strokes == 1
    np.testing.assert_allclose(program.points, np.tile((np.array(shape) - 1) / 2, (64, 1)))


@EACH
@pytest.mark.parametrize("number", range(12))
def test_parse_follows_the_skeleton(number, use_primitives):
    drawing = OMNIGLOT[number]
    (program,) = parse(drawing, use_primitives=use_primitives)
    skeleton = thin(drawing)
    pixels = np.round(program.points).astype(int)
    to_skeleton = ndimage.distance_transform_edt(~skeleton)[tuple(pixels.T)]
    assert np.quantile(to_skeleton, 0.9) < 2.5
    drawn = np.ones_like(drawing)
    drawn[tuple(pixels.T)] = False
    to_program = ndimage.distance_transform_edt(drawn)[skeleton]
    assert np.quantile(to_program, 0.9) < 6  # the points are a few pixels apart


def test_parse_returns_different_programs_the_best_first():
    for drawing in OMNIGLOT[:6]:
        programs = parse(drawing, n_parses=4)
        scores = [program.score for program in programs]
        assert scores == sorted(scores, reverse=True)
        assert len({program.points.tobytes() for program in programs}) == len(programs)
        assert equal(parse(drawing)[0], programs[0])


def test_parse_with_more_walks_finds_more_probable_programs():
    few, many = [[parse(x, n_walks=n)[0] for x in OMNIGLOT] for n in (1, 30)]
    gains = [b.score - a.score for a, b in zip(few, many, strict=True)]
    small = [max(a.n_strokes, b.n_strokes) <= 4 for a, b in zip(few, many, strict=True)]
    assert min(np.array(gains)[small]) > -0.01  # every order of so few strokes is scored
    assert np.mean(gains) > 5


def test_parse_scores_by_the_prior():
    """A dot has one stroke of one sub-stroke at one place: its score can be written down."""
    primitives = Primitives.load()
    (program,) = parse(DRAWINGS["dot"])
    dot = [[program.points[:1].astype(float)]]
    expected = primitives.log_shapes(dot)[0] + primitives.log_counts(dot)
    expected += primitives.log_relations(dot, np.array([[0]]))[0]
    assert program.score == pytest.approx(expected, abs=1e-3)
    assert parse(DRAWINGS["dot"], use_primitives=False)[0].score == 0


@EACH
def test_parse_depends_on_the_drawing_and_the_seed_alone(use_primitives):
    first = [parse(drawing, use_primitives=use_primitives)[0] for drawing in OMNIGLOT]
    np.random.seed(1)  # noqa: NPY002
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    again = [parse(drawing, use_primitives=use_primitives)[0] for drawing in OMNIGLOT[::-1]]
    assert all(map(equal, first, again[::-1]))
    assert np.array_equal(state, np.random.get_state()[1])  # noqa: NPY002


def test_parse_draws_other_walks_with_another_seed():
    scores = [[parse(drawing, seed=seed)[0].score for drawing in OMNIGLOT] for seed in (0, 1)]
    assert scores[0] != scores[1]
    difference = np.subtract(*scores)
    assert np.median(np.abs(difference)) < 10


@EACH
@pytest.mark.parametrize("n_points", [64, 96])
def test_parse_has_as_many_points_as_asked_for(n_points, use_primitives):
    for drawing in OMNIGLOT[:4]:
        (program,) = parse(drawing, n_points=n_points, use_primitives=use_primitives)
        assert n_points - program.n_substrokes <= len(program.points) <= n_points


@EACH
@pytest.mark.parametrize("name", CROWDED)
def test_parse_of_crowded_images_is_bounded(name, use_primitives):
    (program,) = parse(CROWDED[name], use_primitives=use_primitives)
    assert 1 <= program.n_strokes <= program.n_substrokes <= 16
    assert len(program.points) <= 64
    assert np.isfinite(program.score)


@pytest.mark.parametrize("name", CROWDED)
def test_parse_of_crowded_images_takes_bounded_work(name):
    """Calls of Python functions are counted instead of seconds."""
    n_calls = 0

    def count(frame, event, arg):
        nonlocal n_calls
        n_calls += event == "call"

    parse(DRAWINGS["plus"])  # caches are filled
    sys.setprofile(count)
    try:
        parse(CROWDED[name])
    finally:
        sys.setprofile(None)
    assert n_calls < 40_000


@settings(deadline=None, max_examples=60)
@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=16)))
def test_parse_answers_to_any_image(image):
    for use_primitives in (True, False):
        for program in parse(image, n_parses=2, n_walks=5, use_primitives=use_primitives):
            assert np.isfinite(program.points).all()
            assert np.isfinite(program.score)
            assert (program.points >= -2).all()
            assert (program.points <= np.array(image.shape) + 1).all()


def test_parse_takes_its_image_as_it_is():
    drawing = OMNIGLOT[0].copy()
    parse(drawing)
    assert np.array_equal(drawing, OMNIGLOT[0])
    assert equal(parse(drawing)[0], parse(drawing.astype(np.uint8))[0])
