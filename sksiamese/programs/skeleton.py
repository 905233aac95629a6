"""The skeleton of a drawing as a graph (Lake et al. 2015, supplement 3).

Nodes are the ends and junctions of its lines; edges are the lines between them.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import KDTree

from .strokes import at_unit_steps, length
from .thinning import IS_ON, NEIGHBOURS, fill_pinholes, neighbour_codes, thin

SHORTEST_SPUR = 5.0  # pixels; thinning leaves shorter ones on thick strokes
N_EDGES = 40  # noise has thousands of edges and dots: the work must have a bound
N_DOTS = 12
EIGHT = np.ones((3, 3), int)  # the neighbours that make pixels connected

_N_ON = IS_ON.sum(0)
_N_CROSSINGS = (IS_ON & ~np.roll(IS_ON, 1, axis=0)).sum(0)
_IS_END = _N_ON <= 1
_IS_JUNCTION = (_N_CROSSINGS >= 3) | (_N_ON >= 4)
# The neighbours of each code, sides before corners: lines are followed along their pixels.
_AROUND = [[k for k in (0, 2, 4, 6, 1, 3, 5, 7) if code >> k & 1] for code in range(256)]


@dataclass(frozen=True, eq=False)
class SkeletonGraph:
    """Nodes of a skeleton, the edges between them, and its dots.

    Attributes
    ----------
    nodes : ndarray of shape (n_nodes, 2)
        (row, column) in pixels.
    edges : tuple of (start, end, path)
        Two numbers of nodes, and the path (n, 2) from one to the other in steps of about one
        pixel. The longest edge is first. A ring starts and ends at the same node.
    dots : tuple of int
        Nodes without edges.
    """

    nodes: np.ndarray
    edges: tuple[tuple[int, int, np.ndarray], ...]
    dots: tuple[int, ...]


def skeleton_graph(foreground: np.ndarray) -> SkeletonGraph:
    """Return the graph of a drawing's skeleton.

    Nodes are ends, junctions, and the top pixel of a closed ring. Junctions that the largest
    discs inside the foreground connect become one node, because thinning draws the crossing of
    two thick strokes as two junctions (Liao and Huang 1990, maximum circles).

    Parameters
    ----------
    foreground : ndarray of shape (height, width), bool

    Returns
    -------
    graph : SkeletonGraph
        At most 40 edges, the longest, and 12 dots.
    """
    filled = fill_pinholes(foreground)
    skeleton = thin(filled)
    codes = neighbour_codes(skeleton)
    is_end = skeleton & _IS_END[codes]
    is_junction = skeleton & _IS_JUNCTION[codes]
    is_junction |= _ring_tops(skeleton, is_end | is_junction)
    is_inside = _inside_discs(filled, skeleton, is_junction)
    node_of, nodes = _nodes(is_end, is_junction, is_inside)
    edges = []
    for start, end, pixels in _lines(codes, node_of):
        path = pixels.astype(float)
        if end < 0:  # the line ends beside another line
            nodes.append(tuple(path[-1]))
            end = len(nodes) - 1
        path[0], path[-1] = nodes[start], nodes[end]
        edges.append((start, end, path))
    return _pruned(np.array(nodes).reshape(-1, 2), edges)


def _ring_tops(skeleton: np.ndarray, is_critical: np.ndarray) -> np.ndarray:
    """Return the top pixel of each component that has no critical pixel."""
    labels, n_labels = ndimage.label(skeleton, EIGHT)
    tops = np.zeros_like(skeleton)
    for label in np.setdiff1d(np.arange(1, n_labels + 1), labels[is_critical]):
        tops.flat[np.argmax(labels == label)] = True
    return tops


def _inside_discs(
    foreground: np.ndarray, skeleton: np.ndarray, is_junction: np.ndarray
) -> np.ndarray:
    """Return the skeleton pixels in the largest discs inside the foreground about junctions."""
    radius = ndimage.distance_transform_edt(np.pad(foreground, 1))[1:-1, 1:-1]
    junctions = np.argwhere(is_junction & (radius > 1))  # smaller discs hold no other pixel
    pixels = np.argwhere(skeleton)
    reach = radius[tuple(junctions.T)] - 1e-6  # short of the nearest background pixel
    reached = KDTree(pixels).query_ball_point(junctions, reach)
    is_inside = np.zeros_like(skeleton)
    is_inside[tuple(pixels[list(itertools.chain(*reached))].T)] = True
    return is_inside


def _nodes(
    is_end: np.ndarray, is_junction: np.ndarray, is_inside: np.ndarray
) -> tuple[np.ndarray, list[tuple[float, float]]]:
    """Return the node that each pixel belongs to, -1 for none, and where each node is.

    It is in the middle of its junctions; an end among them does not count.
    """
    labels, n_labels = ndimage.label(is_end | is_junction | is_inside, EIGHT)
    has_junction = np.isin(np.arange(n_labels + 1), labels[is_junction])
    rows, columns = np.nonzero(is_junction | (is_end & ~has_junction[labels]))
    kept, of = np.unique(labels[rows, columns], return_inverse=True)
    numbers = np.full(n_labels + 1, -1)
    numbers[kept] = np.arange(len(kept))
    means = [np.bincount(of, axis) / np.bincount(of) for axis in (rows, columns)]
    return numbers[labels], list(zip(*means, strict=True))


def _lines(codes: np.ndarray, node_of: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield the lines of pixels between nodes: (start, end, pixels (n, 2)).

    The end is -1 where a line stops without a node: its last pixel then is beside another line.
    """
    width = codes.shape[1]
    steps = [down * width + right for down, right in NEIGHBOURS]
    code_of = codes.tobytes()
    pixels = np.flatnonzero(node_of >= 0)
    nodes = dict(zip(pixels.tolist(), node_of.flat[pixels].tolist(), strict=True))
    used: set[int] = set()

    def around(pixel: int) -> list[int]:
        return [pixel + steps[k] for k in _AROUND[code_of[pixel]]]

    def follow(line: list[int], start: int) -> int | None:
        """Extend a line to its end; return the node there, -1 for a new one, None for a speck."""
        while True:
            here, before = line[-1], line[-2]
            ahead = [pixel for pixel in around(here) if pixel != before and pixel not in used]
            free = []
            for pixel in ahead:
                if pixel not in nodes:
                    free.append(pixel)
                elif nodes[pixel] != start or len(line) > 3:  # not back at once
                    line.append(pixel)
                    return nodes[pixel]
            if not free:
                break
            used.add(free[0])
            line.append(free[0])
        beside = [nodes[pixel] for pixel in around(here) if pixel in nodes]
        if beside and len(line) > 4:
            return beside[0]
        return -1 if len(line) > 3 else None

    for pixel, start in nodes.items():
        for first in around(pixel):
            if first in nodes or first in used:
                continue
            used.add(first)
            line = [pixel, first]
            end = follow(line, start)
            if end is not None:
                yield start, end, np.stack(np.divmod(line, width), axis=1)


def _pruned(nodes: np.ndarray, edges: list[tuple[int, int, np.ndarray]]) -> SkeletonGraph:
    """Return the graph without short spurs, in steps of a pixel, and within its bounds."""
    ends = np.array([edge[:2] for edge in edges], int).reshape(-1, 2)
    degree = np.bincount(ends.ravel(), minlength=len(nodes))
    has_edge = np.zeros(len(nodes), bool)
    kept: list[tuple[float, int, int, np.ndarray]] = []
    for start, end, path in edges:
        low, high = sorted((degree[start], degree[end]))
        if low == 1 and high >= 3 and length(path) < SHORTEST_SPUR:
            has_edge[start if degree[start] == 1 else end] = True  # it is gone, and not a dot
            continue
        has_edge[[start, end]] = True
        kept.append((length(path), start, end, path))
    kept.sort(key=lambda edge: -edge[0])
    return SkeletonGraph(
        nodes,
        tuple((start, end, at_unit_steps(path)) for _, start, end, path in kept[:N_EDGES]),
        tuple(np.flatnonzero(~has_edge)[:N_DOTS].tolist()),
    )
