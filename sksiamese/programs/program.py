"""A program: the strokes of a drawing in their order, as points along their trajectories."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from .splines import basis, control_points
from .topology import N_HOLES, Topology

CANVAS = 105  # pixels of its side, that of Omniglot's drawings: the unit of sizes and widths
N_POINTS = 64
FAR = 10.0 * CANVAS  # farther off, no spline ends
LIGHTEST = 1e-3  # weight of a point
DOT = 14.0  # pixels that a stroke counts for at least: a missing dot has to cost something


@dataclass(frozen=True, eq=False)
class Program:
    """What made a drawing: strokes, each of one or more sub-strokes.

    Lake et al. 2015, supplement 2.1, call it a character type: parts (sub-strokes) in an order,
    and where each stroke starts. It is held as points along the trajectories, in drawing order.

    Parameters
    ----------
    points : ndarray of shape (n_points, 2), float32
        (row, column) in pixels of the canvas.
    weights : ndarray of shape (n_points,), float32
        Pixels of trajectory that each point stands for.
    strokes, substrokes : ndarray of shape (n_points,), int16
        Stroke and sub-stroke of each point, both numbered from 0 in drawing order.
    score : float, default=0.0
        Log-probability under the prior, up to a constant; 0 without one.
    topology : Topology
        Of the drawing. By default that of a single part.

    See Also
    --------
    parse : Find the programs of a drawing.
    Tokens : How a program varies.

    Examples
    --------
    >>> import numpy as np
    >>> from sksiamese.programs import Program
    >>> down = np.stack([np.arange(20.0, 80), np.full(60, 30.0)], axis=1)
    >>> right = np.stack([np.full(50, 79.0), np.arange(30.0, 80)], axis=1)
    >>> program = Program.of([[down, right], [down + 40]])  # an L in one stroke, and a line
    >>> program.n_strokes, program.n_substrokes
    (2, 3)
    >>> [len(trajectory) for trajectory in program.trajectories()]
    [40, 22]
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
            Log-probability under the prior.
        topology : Topology or None, default=None
            None: that of a single part.

        Returns
        -------
        program : Program
            Points along the splines.
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
        """Return the points of each stroke, in the order and direction in which it is drawn.

        Returns
        -------
        trajectories : list of ndarray of shape (n, 2)
            (row, column) in pixels of the canvas, one array for each stroke.
        """
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
    """Return programs as arrays of numbers, one program after another.

    Parameters
    ----------
    programs : sequence of Program
        At least one.

    Returns
    -------
    arrays : dict of str to ndarray
        Arrays of n programs, such as "scores" of shape (n,), and of all their points, such as
        "points" of shape (n_all, 2).

    See Also
    --------
    unpack : The opposite.

    Examples
    --------
    >>> import numpy as np
    >>> from sksiamese.programs import Program, pack, unpack
    >>> arrays = pack([Program.of([[np.array([[50.0, 50.0]])]])])  # a dot
    >>> unpack(arrays)
    [Program(1 strokes, 1 sub-strokes)]
    """
    return {
        "n_points": np.array([len(program.points) for program in programs], np.int64),
        "scores": np.array([program.score for program in programs]),
        "n_parts": np.array([program.topology.n_parts for program in programs], np.int64),
        "holes": np.stack([program.topology.holes for program in programs]),
        **{
            name: np.concatenate([getattr(program, name) for program in programs])
            for name in _OF_POINTS
        },
    }


def unpack(arrays: dict[str, np.ndarray]) -> list[Program]:
    """Return the programs that `pack` wrote.

    Parameters
    ----------
    arrays : dict of str to ndarray
        As `pack` returns them, such as "scores" of shape (n,).

    Returns
    -------
    programs : list of Program
        Equal to those that were packed.

    Raises
    ------
    KeyError, ValueError
        If these are not such arrays.

    See Also
    --------
    pack : The opposite, with an example of both.

    Examples
    --------
    >>> from sksiamese.programs import unpack
    >>> unpack({})
    Traceback (most recent call last):
    KeyError: 'n_points'
    """
    n, n_all = len(arrays["n_points"]), len(arrays["points"])
    for name, (shape, dtype, low, high) in _packed(n, n_all).items():
        array = arrays[name]
        if array.shape != shape or array.dtype != dtype:
            raise ValueError(
                f"{name} of programs has shape {array.shape} and dtype {array.dtype}; expected "
                f"{shape}, {np.dtype(dtype)}"
            )
        if array.size and not (low <= array.min() and array.max() <= high):
            raise ValueError(
                f"{name} of programs has values from {array.min():.6g} to {array.max():.6g}; "
                f"expected {low:.6g} to {high:.6g}"
            )
    n_points = arrays["n_points"]
    if n < 1 or n_points.sum() != n_all:
        raise ValueError("the numbers of programs and points do not agree")
    starts = np.cumsum(n_points) - n_points
    if not (
        _is_numbering(arrays["strokes"], starts) and _is_numbering(arrays["substrokes"], starts)
    ):
        raise ValueError("strokes or sub-strokes of programs are not numbered in drawing order")
    if (np.diff(arrays["strokes"]) > np.diff(arrays["substrokes"]))[_within(n_all, starts)].any():
        raise ValueError("a sub-stroke of a program is in two strokes")
    if (np.diff(arrays["holes"]) > 0).any():
        raise ValueError("holes of programs are not sorted, the largest first")
    shapes = map(Topology, arrays["n_parts"].tolist(), arrays["holes"])
    points = (np.split(arrays[name], starts[1:]) for name in _OF_POINTS)
    return [*map(Program, *points, arrays["scores"].tolist(), shapes)]


def _packed(n: int, n_all: int) -> dict[str, tuple[tuple[int, ...], type, float, float]]:
    """Return shape, dtype, least and greatest value of arrays of `n` programs, `n_all` points."""
    return {
        "n_points": ((n,), np.int64, 1, n_all),
        "scores": ((n,), np.float64, -math.inf, math.inf),
        "n_parts": ((n,), np.int64, 1, CANVAS**2),
        "holes": ((n, N_HOLES), np.float32, 0, CANVAS**2),
        "points": ((n_all, 2), np.float32, -FAR, FAR),
        "weights": ((n_all,), np.float32, LIGHTEST, CANVAS**2),
        "strokes": ((n_all,), np.int16, 0, n_all),
        "substrokes": ((n_all,), np.int16, 0, n_all),
    }


def _within(n_all: int, starts: np.ndarray) -> np.ndarray:
    """Return which steps from one point to the next are within a program: (n_all - 1,) bool."""
    within = np.ones(n_all, bool)
    within[starts] = False
    return within[1:]


def _is_numbering(numbers: np.ndarray, starts: np.ndarray) -> bool:
    """Return whether numbers begin with 0 in each program, and step by 0 or 1."""
    steps = np.diff(numbers.astype(int))[_within(len(numbers), starts)]
    return bool((numbers[starts] == 0).all() and np.isin(steps, (0, 1)).all())
