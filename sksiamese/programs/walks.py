"""Walks: how a pen may have gone along a skeleton (Lake et al. 2015, supplement 3)."""

import bisect
import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np

from .skeleton import SkeletonGraph

LIFT = 45.0  # degrees: lifting the pen is as likely as a turn by this angle
REACH = 8  # pixels on both sides of a node that decide the angle of a turn

Steps = tuple[int, ...]
Choice = Callable[[Sequence[float]], int]  # of the costs of some options, the number of one


def reverse(stroke: Steps) -> Steps:
    """Return the steps of a stroke drawn in the other direction."""
    return tuple(step ^ 1 for step in reversed(stroke))


class Walker:
    """Draw walks over a graph: strokes that together take each edge once.

    A stroke is a tuple of steps: step ``2 * k`` takes edge k from its start to its end, and step
    ``2 * k + 1`` from its end to its start.

    Parameters
    ----------
    graph : SkeletonGraph
    """

    def __init__(self, graph: SkeletonGraph) -> None:
        ends = [(start, end) for start, end, _ in graph.edges]
        self._start = [node for start, end in ends for node in (start, end)]
        self._end = [node for start, end in ends for node in (end, start)]
        self._paths = [path[::way] for _, _, path in graph.edges for way in (1, -1)]
        self._from: dict[int, list[int]] = {}
        for step, node in enumerate(self._start):
            self._from.setdefault(node, []).append(step)
        self._turns = _turns(self._paths)

    def random_walk(
        self, rng: np.random.Generator, *, sharpness: float, start_power: float
    ) -> list[Steps]:
        """Draw a walk at random.

        A stroke starts at a node with probability proportional to ``degree ** -start_power``,
        with the edges counted that are not drawn yet. It goes on with probability proportional
        to ``exp(-sharpness * angle / 180)``, and lifting the pen counts as a turn by 45 degrees.

        Parameters
        ----------
        rng : numpy.random.Generator
        sharpness : float
            0 chooses among the edges uniformly; 1000 takes the straightest one.
        start_power : float
            0 starts anywhere; 1000 starts where the fewest edges are.

        Returns
        -------
        strokes : list of tuples of int
        """

        def choose(costs: Sequence[float], scale: float) -> int:
            least = min(costs)
            weights = [math.exp(scale * (least - cost)) for cost in costs]
            limits = list(itertools.accumulate(weights))  # rng.choice is slow for so few
            return bisect.bisect_right(limits, rng.random() * limits[-1])

        return self._walk(
            lambda costs: choose(costs, start_power), lambda costs: choose(costs, sharpness)
        )

    def deterministic_walk(self) -> list[Steps]:
        """Return the walk that starts where the fewest edges are and goes straightest.

        Among equals it takes the longest edge.

        Returns
        -------
        strokes : list of tuples of int
        """

        def least(costs: Sequence[float]) -> int:
            return min(range(len(costs)), key=costs.__getitem__)

        return self._walk(least, least)

    def trajectory(self, stroke: Steps) -> np.ndarray:
        """Return the path of a stroke: (n, 2), in steps of about one pixel."""
        first, *others = (self._paths[step] for step in stroke)
        return np.concatenate([first, *(path[1:] for path in others)])

    def _walk(self, choose_start: Choice, choose_step: Choice) -> list[Steps]:
        """Return a walk, given how to choose where strokes start and how they go on."""
        strokes = []
        left = {node: list(steps) for node, steps in self._from.items()}
        while left:
            nodes = list(left)
            node = nodes[choose_start([math.log(len(left[node])) for node in nodes])]
            stroke: list[int] = []
            while node in left:
                steps = left[node]
                if stroke:
                    turns = self._turns[stroke[-1]]
                    costs = [*(turns[step] for step in steps), LIFT / 180]
                else:
                    costs = [0.0] * len(steps)
                taken = choose_step(costs)
                if taken == len(steps):
                    break  # the pen is lifted
                stroke.append(steps[taken])
                node = self._take(left, steps[taken])
            strokes.append(tuple(stroke))
        return strokes

    def _take(self, left: dict[int, list[int]], step: int) -> int:
        """Remove both directions of an edge from what is left; return where the step ends."""
        for way in (step, step ^ 1):
            node = self._start[way]
            left[node].remove(way)
            if not left[node]:
                del left[node]
        return self._end[step]


def _turns(paths: Sequence[np.ndarray]) -> list[list[float]]:
    """Return the turn from each step to each other one, in units of 180 degrees."""
    if not paths:
        return []
    leaving = np.array([path[min(REACH, len(path) - 1)] - path[0] for path in paths])
    arriving = np.array([path[-1] - path[max(-1 - REACH, -len(path))] for path in paths])
    dot = arriving @ leaving.T
    cross = np.outer(arriving[:, 0], leaving[:, 1]) - np.outer(arriving[:, 1], leaving[:, 0])
    return (np.arctan2(np.abs(cross), dot) / np.pi).tolist()
