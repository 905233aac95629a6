"""A program: the strokes of a drawing in their order, as points along their trajectories."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from .splines import basis, control_points
from .topology import Topology

CANVAS = 105  # pixels of its side, that of Omniglot's drawings: the unit of sizes and widths
N_POINTS = 64
DOT = 14.0  # pixels that a stroke counts for at least: a missing dot has to cost something


@dataclass(frozen=True, eq=False)
class Program:
    """What made a drawing: strokes, each of one or more sub-strokes.

    Lake et al. 2015, supplement 2.1, call it a character type: parts (sub-strokes) in an order,
    and where each stroke starts. It is held as points along the trajectories, in drawing order.

    Attributes
    ----------
    points : ndarray of shape (n_points, 2), float32
        (row, column) in pixels of the canvas.
    weights : ndarray of shape (n_points,), float32
        Pixels of trajectory that each point stands for.
    strokes, substrokes : ndarray of shape (n_points,), int16
        Stroke and sub-stroke of each point, both numbered from 0 in drawing order.
    score : float
        Log-probability under the prior, up to a constant; 0 without one.
    topology : Topology
        Of the drawing.
    """

    points: np.ndarray
    weights: np.ndarray
    strokes: np.ndarray
    substrokes: np.ndarray
    score: float = 0.0
    topology: Topology = field(default_factory=Topology.none)

    def __repr__(self) -> str:
        return f"Program({self.n_strokes} strokes, {self.n_substrokes} sub-strokes)"

    @classmethod
    def of(
        cls,
        strokes: Sequence[Sequence[np.ndarray]],
        n_points: int = N_POINTS,
        score: float = 0.0,
        topology: Topology | None = None,
    ) -> "Program":
        """Return the program of these strokes, smoothed to splines.

        Parameters
        ----------
        strokes : sequence of strokes
            A stroke is a sequence of sub-strokes, trajectories (n, 2) at steps of one pixel, each
            of which starts where the last one ended. A dot is one trajectory of a single point.
        n_points : int, default=64
            Points of the whole program. What has more sub-strokes than a quarter of it, such as
            noise, keeps its longest strokes.
        score : float, default=0.0
        topology : Topology or None, default=None
            None: that of a single part.
        """
        strokes = _longest(strokes, n_points // 4)
        trajectories = [t for stroke in strokes for t in stroke]
        stroke_of = np.repeat(np.arange(len(strokes)), [len(stroke) for stroke in strokes])
        lengths = np.array([max(len(t), 3.0) for t in trajectories])
        for number in range(len(strokes)):
            own = np.flatnonzero(stroke_of == number)
            lengths[own[-1]] += max(0.0, DOT - lengths[own].sum())
        shares = _shares(lengths, n_points)
        points = [_spline(t, n) for t, n in zip(trajectories, shares, strict=True)]
        return cls(
            np.concatenate(points).astype(np.float32),
            np.repeat(lengths / shares, shares).astype(np.float32),
            np.repeat(stroke_of, shares).astype(np.int16),
            np.repeat(np.arange(len(shares)), shares).astype(np.int16),
            float(score),
            topology or Topology.none(),
        )

    @property
    def n_strokes(self) -> int:
        """Number of strokes."""
        return int(self.strokes[-1]) + 1

    @property
    def n_substrokes(self) -> int:
        """Number of sub-strokes."""
        return int(self.substrokes[-1]) + 1

    def trajectories(self) -> list[np.ndarray]:
        """Return the points of each stroke, in the order and direction in which it is drawn."""
        return [self.points[self.strokes == number] for number in range(self.n_strokes)]


def _longest(strokes: Sequence[Sequence[np.ndarray]], n_most: int) -> list[list[np.ndarray]]:
    """Return the longest strokes with at most `n_most` sub-strokes together, in their order."""
    if sum(map(len, strokes)) <= n_most:
        return [list(stroke) for stroke in strokes]
    lengths = [sum(map(len, stroke)) for stroke in strokes]
    kept, n_left = [], n_most
    for number in np.argsort(lengths, kind="stable")[::-1]:
        if len(strokes[number]) <= n_left:
            kept.append(number)
            n_left -= len(strokes[number])
    if not kept:
        return [list(strokes[int(np.argmax(lengths))][:n_most])]
    return [list(strokes[number]) for number in sorted(kept)]


def _shares(lengths: np.ndarray, n_points: int) -> np.ndarray:
    """Return how many points each sub-stroke has, at least three, by its length."""
    shares = np.maximum(3, np.floor(lengths / lengths.sum() * n_points)).astype(int)
    while shares.sum() > n_points:
        shares[np.argmax(shares)] -= 1
    return shares


def _spline(trajectory: np.ndarray, n: int) -> np.ndarray:
    """Return `n` points of the spline fitted to a trajectory, with the trajectory's ends."""
    if len(trajectory) == 1:
        return np.repeat(trajectory, n, axis=0)
    points = basis(n) @ control_points(trajectory)
    along = np.linspace(0, 1, n)[:, None]
    off = (1 - along) * (trajectory[0] - points[0]) + along * (trajectory[-1] - points[-1])
    return points + off


_OF_POINTS = ("points", "weights", "strokes", "substrokes")


def pack(programs: Sequence[Program]) -> dict[str, np.ndarray]:
    """Return programs as arrays of numbers, one program after another."""
    return {
        "n_points": np.array([len(program.points) for program in programs]),
        "scores": np.array([program.score for program in programs]),
        "n_parts": np.array([program.topology.n_parts for program in programs]),
        "holes": np.stack([program.topology.holes for program in programs]),
        **{
            name: np.concatenate([getattr(program, name) for program in programs])
            for name in _OF_POINTS
        },
    }


def unpack(arrays: dict[str, np.ndarray]) -> list[Program]:
    """Return the programs that `pack` wrote.

    Raises
    ------
    KeyError, IndexError, ValueError
        If these are not such arrays.
    """
    n_points = arrays["n_points"]
    columns = [arrays[name] for name in _OF_POINTS]
    rows = {len(arrays[name]) for name in ("n_points", "scores", "n_parts", "holes")}
    if len(rows) > 1 or {*map(len, columns)} != {n_points.sum()} or n_points.min() < 1:
        raise ValueError("the numbers of programs and points do not agree")
    shapes = map(Topology, arrays["n_parts"].tolist(), arrays["holes"])
    points = (np.split(column, np.cumsum(n_points)[:-1]) for column in columns)
    return [*map(Program, *points, arrays["scores"].tolist(), shapes)]
