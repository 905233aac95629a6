"""The prior: the paper's densities, summed over sub-strokes, strokes and relations."""

import itertools

import numpy as np
import pytest
from scipy import stats

from sksiamese.programs.primitives import Primitives
from sksiamese.programs.splines import basis, control_points, resample

PRIMITIVES = Primitives.load()
SLANT = np.stack([np.linspace(20, 60, 60), np.linspace(30, 50, 60) ** 1.02], axis=1)
HOOK = np.stack([np.linspace(60, 40, 30), 54 + np.sqrt(np.linspace(0, 100, 30))], axis=1)
HOOK += SLANT[-1] - HOOK[0]
SHORT = np.array([[10.0, 10.0], [10.5, 11.0], [11.0, 12.0]])
DOT = np.array([[80.0, 90.0]])
STROKES = [[SLANT, HOOK], [SHORT], [DOT], [HOOK[::-1]]]


def spline(number, size=50.0, middle=(52.0, 52.0)):
    """Return the trajectory of a primitive as it is drawn at this size."""
    x, y = PRIMITIVES.shape_mean[number].reshape(2, 5)
    path = basis(200) @ np.stack([-y, x], axis=1)
    path *= size / np.ptp(path, axis=0).max()
    return path - path.mean(0) + middle


def log_substroke(trajectory):
    """Return (n_primitives,): the density as the paper writes it, at double precision."""
    size = max(1.0, *np.ptp(trajectory, axis=0)) / 105
    centred = trajectory - trajectory.mean(0)
    control = control_points(centred if len(centred) >= 10 else resample(centred, 10)) / size
    shape = np.concatenate([control[:, 1], -control[:, 0]])
    deviation = np.hypot(PRIMITIVES.shape_deviation.astype(float), 3.36)
    a, scale = PRIMITIVES.size_gamma.T.astype(float)
    log_shape = stats.norm.logpdf(shape, PRIMITIVES.shape_mean, deviation).sum(1)
    return log_shape + stats.gamma.logpdf(size, a, scale=scale)


def log_start(at, points, n_substrokes):
    """Return the log-density of a start given an earlier stroke's points (n, 2)."""
    density = [stats.norm.logpdf(at, point, (1.21, 1.35)).sum() for point in points]
    return max(
        np.log(0.055) + density[0],
        np.log(0.105) + density[-1],
        np.log(0.504) - np.log(4 * n_substrokes) + max(density),
    )


def test_load_reads_the_library_once():
    assert Primitives.load() is PRIMITIVES


@pytest.mark.parametrize(
    ("table", "axis"),
    [
        ("log_frequency", 0),
        ("log_start", 0),
        ("log_n_strokes", 0),
        ("log_n_substrokes", 1),
        ("log_position", (1, 2)),
    ],
)
def test_load_has_probabilities_that_sum_to_one(table, axis):
    np.testing.assert_allclose(np.exp(getattr(PRIMITIVES, table)).sum(axis), 1, atol=1e-4)


def test_log_shapes_is_the_paper_s_density_of_the_most_probable_primitive():
    expected = []
    for first, *others in STROKES:
        score = (log_substroke(first) + PRIMITIVES.log_start).max()
        score += sum((log_substroke(t) + PRIMITIVES.log_frequency).max() for t in others)
        expected.append(score)
    np.testing.assert_allclose(PRIMITIVES.log_shapes(STROKES), expected, rtol=1e-4, atol=0.02)


def test_log_shapes_scores_each_stroke_by_itself():
    together = PRIMITIVES.log_shapes(STROKES)
    alone = [PRIMITIVES.log_shapes([stroke])[0] for stroke in STROKES]
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=0.01)


def test_log_shapes_does_not_depend_on_the_place():
    moved = [[trajectory + (17, -9) for trajectory in stroke] for stroke in STROKES]
    np.testing.assert_allclose(
        PRIMITIVES.log_shapes(moved), PRIMITIVES.log_shapes(STROKES), atol=0.02
    )


def test_log_shapes_prefers_primitives_to_scribbles():
    common = np.argsort(PRIMITIVES.log_frequency)[-30:]
    scribbles = [
        spline(k) + np.random.default_rng(k).normal(0, 3, (5, 2))[np.arange(200) // 40]
        for k in common
    ]
    usual = PRIMITIVES.log_shapes([[spline(k)] for k in common])
    assert (usual > PRIMITIVES.log_shapes([[t] for t in scribbles])).mean() > 0.9


def test_log_shapes_prefers_lines_drawn_downwards_and_to_the_right():
    """People draw them so, and the library was learned from people."""
    down = np.stack([np.linspace(20, 70, 51), np.full(51, 40.0)], axis=1)
    for line in (down, down[:, ::-1]):
        ahead, back = PRIMITIVES.log_shapes([[line], [line[::-1]]])
        assert ahead > back


def test_log_counts_is_of_strokes_and_substrokes():
    strokes = [[SHORT] * n for n in (1, 2, 1)]
    table = PRIMITIVES.log_n_substrokes[2]
    expected = PRIMITIVES.log_n_strokes[2] + table[0] + table[1] + table[0]
    assert PRIMITIVES.log_counts(strokes) == pytest.approx(expected)


def test_log_counts_takes_more_than_ten_as_ten():
    assert PRIMITIVES.log_counts([[SHORT] * 14]) == PRIMITIVES.log_counts([[SHORT] * 10])
    table = PRIMITIVES.log_n_substrokes[9, 0]
    expected = PRIMITIVES.log_n_strokes[9] + 13 * table
    assert PRIMITIVES.log_counts([[SHORT]] * 13) == pytest.approx(expected)


def test_log_relations_is_the_paper_s_density_of_the_best_relations():
    orders = np.array(list(itertools.permutations(range(4))))
    scores = PRIMITIVES.log_relations(STROKES, orders)
    constant = -np.log(2 * np.pi * 1.21 * 1.35)
    for order, score in zip(orders, scores, strict=True):
        expected = 0.0
        for place, number in enumerate(order):
            row, column = STROKES[number][0][0]
            cell = PRIMITIVES.log_position[min(place, 2), int(row / 4.2), int(column / 4.2)]
            ways = [cell + constant + (np.log(0.336) if place else 0)]
            for earlier in order[:place]:
                points = np.concatenate(STROKES[earlier])
                way = log_start((row, column), points, len(STROKES[earlier]))
                ways.append(way - np.log(place))
            expected += max(ways)
        assert score == pytest.approx(expected, abs=1e-3)


def test_log_relations_prefers_a_branch_after_its_stem():
    stem = np.stack([np.linspace(20, 80, 61), np.full(61, 30.0)], axis=1)
    branch = np.stack([np.full(41, 50.0), np.linspace(30, 70, 41)], axis=1)
    after, before = PRIMITIVES.log_relations([[stem], [branch]], np.array([[0, 1], [1, 0]]))
    assert after > before


def test_log_relations_takes_places_outside_the_frame_as_its_border():
    far = PRIMITIVES.log_relations([[SHORT + 500]], np.array([[0]]))
    assert far == PRIMITIVES.log_relations([[SHORT + 92]], np.array([[0]]))
