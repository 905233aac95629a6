"""Topology: what drawing a character again seldom changes, its parts and holes.

BPL compares these only through the images; here they are terms of the score.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from .skeleton import SkeletonGraph

N_HOLES = 4  # the largest
LEAST_HOLE = 3  # pixels


@dataclass(frozen=True, eq=False)
class Topology:
    """Connected parts and holes of a drawing.

    Attributes
    ----------
    n_parts : int
        Connected parts of the skeleton, dots included.
    holes : ndarray of shape (4,), float32
        Areas of the largest regions of enclosed background, square pixels; 0 where there are
        fewer.
    """

    n_parts: int
    holes: np.ndarray

    @classmethod
    def none(cls) -> "Topology":
        """Return that of a curve through numbers: one part, and no holes."""
        return cls(1, np.zeros(N_HOLES, np.float32))

    @classmethod
    def of(cls, foreground: np.ndarray, graph: SkeletonGraph) -> "Topology":
        """Return the topology of a drawing (height, width) with this skeleton."""
        regions, _ = ndimage.label(np.pad(~foreground, 1, constant_values=True))
        areas = np.bincount(regions.ravel())
        areas[[0, regions[0, 0]]] = 0  # foreground, and what lies around the drawing
        areas = np.sort(areas[areas >= LEAST_HOLE])[::-1][:N_HOLES]
        holes = np.zeros(N_HOLES, np.float32)
        holes[: len(areas)] = areas
        return cls(_n_parts([edge[:2] for edge in graph.edges]) + len(graph.dots), holes)


def _n_parts(edges: list[tuple[int, int]]) -> int:
    """Return how many connected parts the edges make."""
    parts: list[set[int]] = []
    for edge in edges:
        joined = set(edge).union(*(part for part in parts if part & set(edge)))
        parts = [part for part in parts if not part & joined] + [joined]
    return len(parts)
