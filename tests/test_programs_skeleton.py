"""The skeleton graph: nodes where lines end and meet, edges between them, dots."""

import numpy as np
import pytest
from drawings import CROWDED, DRAWINGS, circle, draw
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from sksiamese.programs.skeleton import skeleton_graph
from sksiamese.programs.thinning import fill_pinholes

IMAGES = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=20))


def degrees(graph):
    ends = [node for start, end, _ in graph.edges for node in (start, end)]
    return sorted(np.bincount(ends)[np.unique(ends)].tolist()) if ends else []


@pytest.mark.parametrize(
    ("name", "expected", "n_dots"),
    [
        ("line", [1, 1], 0),
        ("plus", [1, 1, 1, 1, 4], 0),
        ("T", [1, 1, 1, 3], 0),
        ("L", [1, 1], 0),
        ("ring", [2], 0),
        ("figure eight", [4], 0),
        ("dot", [], 1),
        ("i with dot", [1, 1], 1),
    ],
)
def test_skeleton_graph_of_simple_drawings(name, expected, n_dots):
    graph = skeleton_graph(DRAWINGS[name])
    assert degrees(graph) == expected
    assert len(graph.dots) == n_dots


@pytest.mark.parametrize("thick", [1, 2, 3])
def test_skeleton_graph_merges_the_junctions_of_a_thick_crossing(thick):
    graph = skeleton_graph(draw([(10, 18), (50, 42)], [(42, 12), (18, 48)], thick=thick))
    assert degrees(graph) == [1, 1, 1, 1, 4]
    centre = graph.nodes[
        np.bincount([e[0] for e in graph.edges] + [e[1] for e in graph.edges]) == 4
    ]
    np.testing.assert_allclose(centre, [[30, 30]], atol=2)


def test_skeleton_graph_takes_the_middle_of_the_junctions_alone():
    """The end of a stub that reaches out of its junction's disc is a part of the node."""
    graph = skeleton_graph(draw([(10, 15), (50, 45)], [(22, 12), (38, 48)], thick=3))
    distance = np.hypot(*(graph.nodes - [21.5, 21]).T)
    assert distance.min() < 1


def test_skeleton_graph_starts_a_ring_at_its_top():
    ((start, end, path),) = skeleton_graph(DRAWINGS["ring"]).edges
    assert start == end
    assert path[0, 0] == path[:, 0].min()
    assert np.array_equal(path[0], path[-1])
    np.testing.assert_allclose(np.hypot(*(path - 30).T), 15, atol=1.5)


def test_skeleton_graph_drops_short_spurs():
    graph = skeleton_graph(draw([(10, 30), (50, 30)], [(30, 30), (30, 33)], thick=0))
    assert not graph.dots
    lengths = [len(path) for _, _, path in graph.edges]
    assert lengths == [21, 21]
    longer = skeleton_graph(draw([(10, 30), (50, 30)], [(30, 30), (30, 40)], thick=0))
    assert len(longer.edges) == 3


def test_skeleton_graph_of_a_small_cross_is_a_dot():
    graph = skeleton_graph(draw([(27, 30), (33, 30)], [(30, 27), (30, 33)], thick=0))
    assert not graph.edges
    np.testing.assert_allclose(graph.nodes[list(graph.dots)], [[30, 30]])


def test_skeleton_graph_of_a_blank_is_empty():
    graph = skeleton_graph(np.zeros((9, 7), bool))
    assert graph.nodes.shape == (0, 2)
    assert graph.edges == graph.dots == ()


@pytest.mark.parametrize("name", DRAWINGS)
def test_skeleton_graph_edges_run_from_node_to_node_inside_the_drawing(name):
    graph = skeleton_graph(DRAWINGS[name])
    for start, end, path in graph.edges:
        assert np.array_equal(path[0], graph.nodes[start])
        assert np.array_equal(path[-1], graph.nodes[end])
        steps = np.hypot(*np.diff(path, axis=0).T)
        assert steps.min() > 0.6
        assert steps.max() < 1.4
        assert DRAWINGS[name][tuple(np.round(path).astype(int).T)].all()


@settings(deadline=None)
@given(IMAGES)
def test_skeleton_graph_has_an_edge_or_a_dot_in_each_piece(image):
    graph = skeleton_graph(image)
    labels, n_labels = ndimage.label(fill_pinholes(image), np.ones((3, 3)))
    if n_labels > 12:  # the most dots
        return
    used = [node for start, end, _ in graph.edges for node in (start, end)] + list(graph.dots)
    nearest = ndimage.distance_transform_edt(
        labels == 0, return_distances=False, return_indices=True
    )
    pixels = np.round(graph.nodes[used]).astype(int).reshape(-1, 2)
    pieces = labels[tuple(nearest[(slice(None), *pixels.T)])]
    assert set(pieces.tolist()) == set(range(1, n_labels + 1))


@settings(deadline=None)
@given(IMAGES)
def test_skeleton_graph_edges_are_sorted_by_length(image):
    edges = skeleton_graph(image).edges
    lengths = [len(path) for _, _, path in edges]
    assert lengths == sorted(lengths, reverse=True)


@pytest.mark.parametrize("name", CROWDED)
def test_skeleton_graph_of_crowded_images_is_bounded(name):
    graph = skeleton_graph(CROWDED[name])
    assert len(graph.edges) + len(graph.dots) >= 1
    assert len(graph.edges) <= 40
    assert len(graph.dots) <= 12


def test_skeleton_graph_of_noise_keeps_the_longest_edges():
    image = CROWDED["noise 0.3"].copy()
    image[20:90, 48:57] = False
    image[22:88, 52] = True
    graph = skeleton_graph(image)
    assert len(graph.edges) == 40
    path = graph.edges[0][2]
    assert len(path) >= 66
    np.testing.assert_allclose(path[5:60, 1], 52, atol=1)


def test_skeleton_graph_separates_circles_that_do_not_touch():
    graph = skeleton_graph(draw(circle(20, 20, 10), circle(42, 42, 10)))
    assert degrees(graph) == [2, 2]
