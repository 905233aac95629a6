"""Scoring: how badly a program explains a drawing, once it is fitted to it.

Lake et al. 2015 compare log P(image | program) of both directions. Here the terms of `Terms`, what
is left unexplained and the energy of the fitted token, are weighed by a conditional logit of
one-shot trials of Omniglot's background alphabets (``benchmarks/program_weights.py``).
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import NamedTuple

import numpy as np

from .fitting import BLOCK, Annealing, Stack, fit
from .tokens import Tokens

NEAR = 6.0  # pixels: what is farther is missing, wherever the nearest point is
FAR = 15.0
WORST = 0.12  # fraction of the points
BLUR = 12.0  # pixels
WIDEST_HOLE = 30.0  # pixels
FINAL = Annealing()
WARP = Annealing(n_iter=6, end=3.0)  # of the affine warp alone


@dataclass(frozen=True)
class Terms:
    """What makes a pair of drawings unlike: the weights of the score, or the values of n pairs.

    All are at least 0, and about 0 for a drawing with itself. The first six are sums over both
    directions, of a program and the drawing that it is fitted to.

    Attributes
    ----------
    surplus : float or ndarray of shape (n,)
        Of the token's points, the worst eighth's root mean square distance to the drawing, pixels.
    gap : float or ndarray of shape (n,)
        Of the drawing's points, log(1 + the worst eighth's root mean square distance).
    missing : float or ndarray of shape (n,)
        Mean squared distance of the drawing's points, capped, times its length; 100 cubic pixels.
    strokes : float or ndarray of shape (n,)
        log(1 + root of the energy of stroke starts, control points and sizes).
    warp : float or ndarray of shape (n,)
        Root of the energy of the early affine warp, over that of the program's length.
    layout : float or ndarray of shape (n,)
        How little the drawing and the program under its affine warp alone overlap, as the
        logarithm of one minus a correlation.
    parts : float or ndarray of shape (n,)
        Difference between the roots of the numbers of connected parts.
    holes : float or ndarray of shape (n,)
        Sum of the differences between the widths of the largest holes, in units of 15 pixels.
    """

    surplus: np.ndarray | float
    gap: np.ndarray | float
    missing: np.ndarray | float
    strokes: np.ndarray | float
    warp: np.ndarray | float
    layout: np.ndarray | float
    parts: np.ndarray | float
    holes: np.ndarray | float

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        return np.stack(astuple(self), axis=-1)


WEIGHTS = Terms(
    surplus=0.15,
    gap=0.83,
    missing=0.065,
    strokes=1.0,
    warp=0.93,
    layout=1.0,
    parts=4.5,
    holes=0.9,
)


@dataclass(frozen=True, eq=False)
class Drawings:
    """Programs as what is compared: points and tokens, and what does not change with the token.

    Parameters
    ----------
    stack : Stack
        Points and tokens of n programs.
    overlaps : ndarray of shape (n,)
        Of each program's points with themselves.
    parts, holes : ndarray of shape (n, 1) and (n, n_holes)
        Root of the number of connected parts; widths of the holes in units of 15 pixels.

    See Also
    --------
    costs : Compare drawings, with an example.

    Examples
    --------
    >>> import numpy as np
    >>> from sksiamese.programs import Drawings, Program, TokenModel, Tokens
    >>> dots = [Program.of([[np.full((1, 2), at)]]) for at in (20.0, 50.0, 80.0)]
    >>> drawings = Drawings.of([Tokens.of(dot, TokenModel()) for dot in dots])
    >>> len(drawings.take(np.array([0, 2])).stack)
    2
    """

    stack: Stack
    overlaps: np.ndarray
    parts: np.ndarray
    holes: np.ndarray

    @classmethod
    def of(cls, tokens: Sequence[Tokens]) -> "Drawings":
        """Prepare several programs for comparison.

        Parameters
        ----------
        tokens : sequence of Tokens
            Programs with the distribution of their tokens, of equally many modes.

        Returns
        -------
        drawings : Drawings
            In the same order.
        """
        stack = Stack.of(tokens)
        cloud = _Cloud.of(stack.points, stack.weights)
        shapes = [t.program.topology for t in tokens]
        widths = np.sqrt(np.stack([shape.holes for shape in shapes]))
        return cls(
            stack,
            _overlaps(cloud, cloud),
            np.sqrt(np.array([[shape.n_parts] for shape in shapes], np.float32)),
            np.minimum(widths, WIDEST_HOLE) / (WIDEST_HOLE / 2),
        )

    def take(self, rows: np.ndarray) -> "Drawings":
        """Return some of the drawings.

        Parameters
        ----------
        rows : ndarray of shape (n_rows,)
            Which ones.

        Returns
        -------
        drawings : Drawings
            Those at `rows`.
        """
        return Drawings(
            self.stack.take(rows), self.overlaps[rows], self.parts[rows], self.holes[rows]
        )


def costs(a: Drawings, b: Drawings, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Return how badly the drawings ``a[i[k]]`` and ``b[j[k]]`` explain each other, for each k.

    Parameters
    ----------
    a, b : Drawings
        Programs of two sets of drawings, or of the same one.
    i, j : ndarray of shape (n,)
        Drawings of `a` and of `b` that are compared.

    Returns
    -------
    costs : ndarray of shape (n,), float32
        At least 0, the same with `a` and `b` exchanged.

    See Also
    --------
    terms : What the costs consist of.

    Examples
    --------
    >>> import numpy as np
    >>> from sksiamese.programs import Drawings, Program, TokenModel, Tokens, costs
    >>> line = np.stack([np.arange(20.0, 80), np.arange(20.0, 80)], axis=1)
    >>> programs = [Program.of([[line]]), Program.of([[line * [1, -1] + [0, 100]]])]
    >>> drawings = Drawings.of([Tokens.of(program, TokenModel()) for program in programs])
    >>> to_itself, to_other = costs(drawings, drawings, np.array([0, 0]), np.array([0, 1]))
    >>> bool(to_itself < to_other)
    True
    """
    weights = np.array(WEIGHTS, np.float32)
    return np.asarray(terms(a, b, i, j)) @ weights


def terms(a: Drawings, b: Drawings, i: np.ndarray, j: np.ndarray) -> Terms:
    """Return the terms of the pairs of drawings ``a[i[k]]`` and ``b[j[k]]``.

    Parameters
    ----------
    a, b : Drawings
        Programs of two sets of drawings, or of the same one.
    i, j : ndarray of shape (n,)
        Drawings of `a` and of `b` that are compared.

    Returns
    -------
    terms : Terms
        Arrays of shape (n,), whose weighted sum `costs` returns.

    See Also
    --------
    costs : Their weighted sum.

    Examples
    --------
    >>> import numpy as np
    >>> from sksiamese.programs import Drawings, Program, TokenModel, Tokens, terms
    >>> line = np.stack([np.arange(20.0, 80), np.arange(20.0, 80)], axis=1)
    >>> programs = [Program.of([[line]]), Program.of([[line * [1, -1] + [0, 100]]])]
    >>> drawings = Drawings.of([Tokens.of(program, TokenModel()) for program in programs])
    >>> found = terms(drawings, drawings, np.array([0]), np.array([1]))
    >>> found.parts, found.holes  # both drawings are one line
    (array([0.], dtype=float32), array([0.], dtype=float32))
    """
    blocks = []
    for start in range(0, len(i), BLOCK):
        ours, theirs = a.take(i[start : start + BLOCK]), b.take(j[start : start + BLOCK])
        there, back = _explained(ours, theirs), _explained(theirs, ours)
        parts = np.abs(ours.parts - theirs.parts)[:, 0]
        holes = np.abs(ours.holes - theirs.holes).sum(1)
        both = (one + other for one, other in zip(there, back, strict=True))
        blocks.append((*both, parts, holes))
    return Terms(*(np.concatenate(column) for column in zip(*blocks, strict=True)))


def _explained(programs: Drawings, drawings: Drawings) -> tuple[np.ndarray, ...]:
    """Return the terms of one direction, each program fitted to the drawing of the same row."""
    ours, theirs = programs.stack, drawings.stack
    fitted = fit(ours, theirs, FINAL)
    squares = _squares(fitted.points, theirs.points)
    to_token = np.where(ours.weights[:, :, None] > 0, squares, np.inf).min(1)
    to_drawing = np.where(theirs.weights[:, None] > 0, squares, np.inf).min(2)
    missing = (theirs.weights * np.minimum(to_token, NEAR**2)).sum(1) * theirs.lengths
    return (
        _worst(to_drawing, ours.weights),
        np.log1p(_worst(to_token, theirs.weights)),
        missing / 100,
        np.log1p(np.sqrt(fitted.strokes)),
        np.sqrt(fitted.affine / (ours.lengths / 100 + 0.3)),
        _layout(programs, drawings),
    )


def _squares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return squared distances of all points: (n, p, 2), (n, q, 2) -> (n, p, q)."""
    y, x = (a[:, :, None, axis] - b[:, None, :, axis] for axis in (0, 1))
    return y * y + x * x


def _worst(squares: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the root mean square of the greatest distances of each row: (n, p) -> (n,).

    Padding is left out.
    """
    n = np.maximum(1, WORST * (weights > 0).sum(1)).astype(int)
    n_most = int(n.max())
    capped = np.where(weights > 0, np.minimum(squares, FAR**2), 0)
    greatest = np.sort(np.partition(capped, -n_most, axis=1)[:, -n_most:], axis=1)
    counted = np.arange(n_most) >= n_most - n[:, None]
    return np.sqrt((greatest * counted).sum(1) / n.astype(np.float32))


def _layout(programs: Drawings, drawings: Drawings) -> np.ndarray:
    """Return how little drawings and warped programs overlap: 0 if they do, at most log(21)."""
    ours, theirs = programs.stack.rigid(), drawings.stack
    warped = _Cloud.of(fit(ours, theirs, WARP).points, ours.weights)
    both = _overlaps(warped, _Cloud.of(theirs.points, theirs.weights))
    correlation = both / np.sqrt(_overlaps(warped, warped) * drawings.overlaps)
    return np.log1p((1 - np.minimum(correlation, 1)) / np.float32(0.05))


class _Cloud(NamedTuple):
    """Points (n, p, 2) with their doubled directions (n, p, 2) and weights (n, p)."""

    points: np.ndarray
    directions: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(cls, points: np.ndarray, weights: np.ndarray) -> "_Cloud":
        return cls(points, doubled_directions(points), weights)


def _overlaps(a: _Cloud, b: _Cloud) -> np.ndarray:
    """Return how much the points overlap, blurred, where their directions agree: (n,)."""
    near = np.exp(_squares(a.points, b.points) * np.float32(-0.5 / BLUR**2))
    alike = (1 + a.directions @ b.directions.swapaxes(1, 2)) / 2
    return ((near * alike) @ b.weights[..., None] * a.weights[..., None]).sum((1, 2))


def doubled_directions(points: np.ndarray) -> np.ndarray:
    """Return unit vectors at twice the angle of the trajectory, the same for both directions."""
    ends = np.concatenate([points[:, :1], points, points[:, -1:]], axis=1)
    step = ends[:, 2:] - ends[:, :-2]
    y, x = np.moveaxis(step / (np.sqrt((step**2).sum(2, keepdims=True)) + 1e-6), 2, 0)
    return np.stack([y**2 - x**2, 2 * y * x], axis=2)
