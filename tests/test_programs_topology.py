"""Topology: parts and holes of drawings."""

import numpy as np
import pytest
from drawings import DRAWINGS, SIZE, circle, draw

from sksiamese.programs.skeleton import skeleton_graph
from sksiamese.programs.topology import Topology


def topology(drawing):
    return Topology.of(drawing, skeleton_graph(drawing))


@pytest.mark.parametrize(
    ("name", "n_parts", "n_holes"),
    [
        ("line", 1, 0),
        ("plus", 1, 0),
        ("T", 1, 0),
        ("L", 1, 0),
        ("ring", 1, 1),
        ("figure eight", 1, 2),
        ("dot", 1, 0),
        ("i with dot", 2, 0),
    ],
)
def test_topology_of_simple_drawings(name, n_parts, n_holes):
    found = topology(DRAWINGS[name])
    assert found.n_parts == n_parts
    assert (found.holes > 0).sum() == n_holes


def test_topology_holes_are_areas_the_largest_first():
    small, large = circle(15, 15, 6), circle(38, 38, 14)
    holes = topology(draw(small, large)).holes
    inner = [np.pi * (radius - 1.5) ** 2 for radius in (14, 6)]
    np.testing.assert_allclose(holes[:2], inner, rtol=0.25)
    assert (holes[2:] == 0).all()


def test_topology_of_many_holes_keeps_the_largest():
    rows, columns = np.mgrid[:SIZE, :SIZE]
    grid = topology((rows % 10 < 3) | (columns % 10 < 3))
    assert grid.holes.shape == (4,)
    assert (grid.holes > 0).all()


def test_topology_of_none_is_one_part():
    none = Topology.none()
    assert none.n_parts == 1
    assert (none.holes == 0).all()
