"""Walks: every edge once, straight on, from where few edges are."""

import numpy as np
import pytest
from drawings import CROWDED, DRAWINGS
from hypothesis import given, settings
from hypothesis import strategies as st

from sksiamese.programs.skeleton import skeleton_graph
from sksiamese.programs.walks import Walker, reverse

GRAPHS = {
    name: skeleton_graph(image)
    for name, image in {**DRAWINGS, "noise": CROWDED["noise 0.5"]}.items()
}


def ends(graph, step):
    start, end, _ = graph.edges[step // 2]
    return (end, start) if step % 2 else (start, end)


def assert_covers(walk, graph):
    taken = [step // 2 for stroke in walk for step in stroke]
    assert sorted(taken) == list(range(len(graph.edges)))
    for stroke in walk:
        for before, after in zip(stroke[:-1], stroke[1:], strict=True):
            assert ends(graph, before)[1] == ends(graph, after)[0]


@settings(deadline=None, max_examples=60)
@given(
    name=st.sampled_from(sorted(GRAPHS)),
    seed=st.integers(0, 2**32),
    sharpness=st.sampled_from([0.0, 2.0, 16.0, 1000.0]),
    start_power=st.sampled_from([0.0, 2.0, 6.0, 1000.0]),
)
def test_random_walk_takes_each_edge_once(name, seed, sharpness, start_power):
    graph, rng = GRAPHS[name], np.random.default_rng(seed)
    walk = Walker(graph).random_walk(rng, sharpness=sharpness, start_power=start_power)
    assert_covers(walk, graph)


@pytest.mark.parametrize("name", GRAPHS)
def test_deterministic_walk_takes_each_edge_once(name):
    assert_covers(Walker(GRAPHS[name]).deterministic_walk(), GRAPHS[name])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("line", [40]),
        ("plus", [40, 40]),
        ("T", [40, 40]),
        ("ring", [90]),
        ("figure eight", [137]),
        ("dot", []),
        ("i with dot", [25]),
    ],
)
def test_deterministic_walk_goes_straight_on(name, expected):
    walker = Walker(GRAPHS[name])
    lengths = [len(walker.trajectory(stroke)) for stroke in walker.deterministic_walk()]
    np.testing.assert_allclose(lengths, expected, atol=10)


def test_random_walk_goes_straight_on_with_great_sharpness():
    walker = Walker(GRAPHS["plus"])
    for seed in range(20):
        rng = np.random.default_rng(seed)
        walk = walker.random_walk(rng, sharpness=1000.0, start_power=1000.0)
        for stroke in walk:
            path = walker.trajectory(stroke)
            assert np.ptp(path, axis=0).min() < 3
            assert np.ptp(path, axis=0).max() > 35


def test_random_walk_turns_with_no_sharpness():
    walker, rng = Walker(GRAPHS["plus"]), np.random.default_rng(0)
    walks = [walker.random_walk(rng, sharpness=0.0, start_power=0.0) for _ in range(200)]
    corners = [
        np.ptp(walker.trajectory(stroke), axis=0).min() > 10 for walk in walks for stroke in walk
    ]
    assert 0.1 < np.mean(corners) < 0.9


def test_random_walk_starts_where_few_edges_are():
    graph = GRAPHS["T"]
    walker, rng = Walker(graph), np.random.default_rng(0)
    n_edges = np.bincount([node for step in range(6) for node in ends(graph, step)]) // 2

    def starts(power):
        walks = [walker.random_walk(rng, sharpness=4.0, start_power=power) for _ in range(400)]
        return np.mean([n_edges[ends(graph, walk[0][0])[0]] == 3 for walk in walks])

    assert starts(0.0) == pytest.approx(1 / 4, abs=0.08)
    assert starts(2.0) == pytest.approx(1 / 28, abs=0.04)  # three ends, and 3 ** -2
    assert starts(1000.0) == 0


def test_random_walk_lifts_the_pen_as_at_a_turn_by_45_degrees():
    walker, rng = Walker(GRAPHS["plus"]), np.random.default_rng(0)
    walks = [walker.random_walk(rng, sharpness=4.0, start_power=1000.0) for _ in range(2000)]
    lifted = np.mean([len(walk[0]) == 1 for walk in walks])
    straight, corner, lift = 1, np.exp(-4 * 90 / 180), np.exp(-4 * 45 / 180)
    assert lifted == pytest.approx(lift / (straight + 2 * corner + lift), abs=0.04)


def test_random_walk_depends_on_the_generator_alone():
    walker = Walker(GRAPHS["noise"])

    def walk(seed):
        return walker.random_walk(np.random.default_rng(seed), sharpness=4.0, start_power=2.0)

    assert walk(1) == walk(1)
    assert walk(1) != walk(2)


@pytest.mark.parametrize("name", GRAPHS)
def test_reverse_draws_the_same_path_from_its_end(name):
    walker = Walker(GRAPHS[name])
    for stroke in walker.deterministic_walk():
        path = walker.trajectory(stroke)
        assert np.array_equal(walker.trajectory(reverse(stroke)), path[::-1])
        assert reverse(reverse(stroke)) == stroke
        assert (np.hypot(*np.diff(path, axis=0).T) < 1.6).all()
