"""Topology: free ends, parts and holes of drawings."""

import numpy as np
import pytest
from drawings import DRAWINGS, SIZE, circle, draw

from sksiamese.programs.skeleton import skeleton_graph
from sksiamese.programs.topology import Topology


def topology(drawing):
    return Topology.of(drawing, skeleton_graph(drawing))


@pytest.mark.parametrize(
    ("name", "n_ends", "n_parts", "n_holes"),
    [
        ("line", 2, 1, 0),
        ("plus", 4, 1, 0),
        ("T", 3, 1, 0),
        ("L", 2, 1, 0),
        ("ring", 0, 1, 1),
        ("figure eight", 0, 1, 2),
        ("dot", 0, 1, 0),
        ("i with dot", 2, 2, 0),
    ],
)
def test_topology_of_simple_drawings(name, n_ends, n_parts, n_holes):
    found = topology(DRAWINGS[name])
    assert found.ends.shape == (n_ends, 2)
    assert found.n_parts == n_parts
    assert (found.holes > 0).sum() == n_holes


def test_topology_ends_lie_at_the_ends_of_lines():
    ends = topology(draw([(10, 30), (50, 30)])).ends
    rows, columns = ends[ends[:, 0].argsort()].T
    np.testing.assert_allclose(rows, [10, 50], atol=3)
    np.testing.assert_allclose(columns, 30, atol=1.5)


def test_topology_holes_are_areas_the_largest_first():
    small, large = circle(15, 15, 6), circle(38, 38, 14)
    holes = topology(draw(small, large)).holes
    inner = [np.pi * (radius - 1.5) ** 2 for radius in (14, 6)]
    np.testing.assert_allclose(holes[:2], inner, rtol=0.25)
    assert (holes[2:] == 0).all()


def test_topology_of_many_ends_and_holes_keeps_a_few():
    rows, columns = np.mgrid[:SIZE, :SIZE]
    grid = topology((rows % 10 < 3) | (columns % 10 < 3))
    assert grid.holes.shape == (4,)
    assert (grid.holes > 0).all()
    noise = topology(np.random.default_rng(0).random((SIZE, SIZE)) < 0.3)
    assert len(noise.ends) == 12
    assert np.isfinite(noise.ends).all()


def test_topology_of_none_is_one_part():
    none = Topology.none()
    assert len(none.ends) == 0
    assert none.n_parts == 1
    assert (none.holes == 0).all()
