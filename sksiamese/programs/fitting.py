"""Fitting a program to a drawing: the token that explains its foreground best.

The drawing is a set of points, and each is taken to be a noisy copy of some point of the token, or
an outlier. The most probable token is found by EM while the noise is reduced, as beads on a spline
are fitted in Revow, Williams & Hinton 1996. It stands in for the gradient search over a rendered
image of Lake et al. 2015.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from .program import CANVAS
from .tokens import Tokens

BLOCK = 32  # pairs that are fitted at once: their responsibilities stay in the cache


@dataclass(frozen=True, eq=False)
class Stack:
    """Several programs with their tokens, padded to one number of points by weights of zero.

    Parameters
    ----------
    points : ndarray of shape (n, n_points, 2)
        (row, column) in pixels of the canvas.
    weights : ndarray of shape (n, n_points)
        Of each program, they sum to 1.
    lengths : ndarray of shape (n,)
        Pixels of trajectory.
    modes : ndarray of shape (n, 2, n_points, n_modes)
        As in `Tokens`, and so the next two.
    affine : ndarray of shape (n, 2, 3, n_modes)
        What makes the affine variables.
    warp : ndarray of shape (n, 2, n_points, 3)
        The affine variables alone.

    See Also
    --------
    fit : Fit the programs of a stack to drawings.

    Examples
    --------
    >>> import numpy as np
    >>> from sksiamese.programs import Program, Stack, TokenModel, Tokens
    >>> line = np.stack([np.arange(20.0, 80), np.arange(20.0, 80)], axis=1)
    >>> tokens = Tokens.of(Program.of([[line]]), TokenModel())
    >>> stack = Stack.of([tokens, tokens, tokens])
    >>> len(stack.take(np.array([0, 2])))
    2
    >>> stack.rigid().modes.shape  # three affine variables
    (3, 2, 64, 3)
    """

    points: np.ndarray
    weights: np.ndarray
    lengths: np.ndarray
    modes: np.ndarray
    affine: np.ndarray
    warp: np.ndarray

    @classmethod
    def of(cls, tokens: Sequence[Tokens]) -> "Stack":
        """Stack the tokens of several programs.

        Parameters
        ----------
        tokens : sequence of Tokens
            At least one, of equally many modes.

        Returns
        -------
        stack : Stack
            In the same order.
        """
        n_points = max(len(t.program.points) for t in tokens)
        n_modes = tokens[0].modes.shape[2]
        points = np.zeros((len(tokens), n_points, 2), np.float32)
        weights = np.zeros(points.shape[:2], np.float32)
        modes = np.zeros((len(tokens), 2, n_points, n_modes), np.float32)
        warp = np.zeros((len(tokens), 2, n_points, 3), np.float32)
        for row, t in enumerate(tokens):
            n = len(t.program.points)
            weights[row, :n] = t.program.weights
            # Padding repeats the last point, which then has the direction that it has alone.
            last = np.minimum(np.arange(n_points), n - 1)
            points[row], modes[row] = t.program.points[last], t.modes[:, last]
            warp[row] = t.warp[:, last]
        lengths = weights.sum(1)
        affine = np.stack([t.affine for t in tokens])
        return cls(points, weights / lengths[:, None], lengths, modes, affine, warp)

    def __len__(self) -> int:
        return len(self.points)

    def take(self, rows: np.ndarray) -> "Stack":
        """Return some of the programs.

        Parameters
        ----------
        rows : ndarray of shape (n_rows,)
            Which ones.

        Returns
        -------
        stack : Stack
            Those at `rows`.
        """
        return Stack(*(getattr(self, field.name)[rows] for field in fields(self)))

    def rigid(self) -> "Stack":
        """Return the same programs with tokens that vary by the affine warp alone.

        Returns
        -------
        stack : Stack
            With three modes: translation, scale, shear.
        """
        affine = np.broadcast_to(np.eye(3, dtype=np.float32), (len(self), 2, 3, 3))
        return replace(self, modes=self.warp, affine=affine)


@dataclass(frozen=True)
class Annealing:
    """How the noise is reduced.

    Attributes
    ----------
    n_iter : int
    start, end : float
        Standard deviation of the first and the last iteration, pixels.
    outliers : float
        Probability of a point of the drawing that no point of the token explains.
    n_early : int
        Iterations after which the affine warp is judged. Later, strokes take over from it.
    """

    n_iter: int = 12
    start: float = 10.0
    end: float = 2.0
    outliers: float = 0.05
    n_early: int = 4

    def __iter__(self) -> Iterator[float]:
        return iter(np.geomspace(self.start, self.end, self.n_iter).tolist())


@dataclass(frozen=True, eq=False)
class Fit:
    """The most probable tokens of n pairs of a program and a drawing.

    Attributes
    ----------
    points : ndarray of shape (n, n_points, 2)
        Where the token's points lie.
    affine : ndarray of shape (n,)
        Half the squared length of the affine variables after the early iterations: their negative
        log-probability, up to a constant.
    strokes : ndarray of shape (n,)
        The same for all other variables, after the last iteration.
    """

    points: np.ndarray
    affine: np.ndarray
    strokes: np.ndarray


def fit(programs: Stack, drawings: Stack, annealing: Annealing) -> Fit:
    """Fit each program to the drawing of the same row.

    Parameters
    ----------
    programs, drawings : Stack
        Of equal length, at most a few dozen. Of a drawing only points and weights are used.
    annealing : Annealing
        How the noise is reduced; `FINAL` is what scoring uses.

    Returns
    -------
    fit : Fit
        The most probable tokens, with their energies.

    See Also
    --------
    costs : How badly drawings explain each other once they are fitted.

    Examples
    --------
    >>> import numpy as np
    >>> from sksiamese.programs import FINAL, Program, Stack, TokenModel, Tokens, fit
    >>> line = np.stack([np.arange(20.0, 80), np.arange(20.0, 80)], axis=1)
    >>> programs = [Program.of([[line + shift]]) for shift in (0, 5)]
    >>> one, other = (Stack.of([Tokens.of(program, TokenModel())]) for program in programs)
    >>> off = np.abs(fit(one, other, FINAL).points - other.points)
    >>> bool(off.mean() < 1)  # it moved by about 5 pixels
    True
    """
    seen = drawings.points
    mass = drawings.lengths[:, None] * drawings.weights
    n_modes = programs.modes.shape[3]
    base, points = _placed(programs, drawings)
    ones = np.ones((*seen.shape[:2], 1), np.float32)
    squared = (seen**2).sum(2, keepdims=True)
    seen_features = np.concatenate([seen, squared, ones], axis=2).swapaxes(1, 2)
    # Padding explains nothing: exp of its logarithm is 0.
    log_weights = np.log(np.maximum(programs.weights, np.float32(1e-30)))[:, :, None]
    log_weights[programs.weights == 0] = -1e4
    early = z = np.zeros((len(seen), 2, n_modes, 1), np.float32)
    for step, sigma in enumerate(annealing, 1):
        precision = np.float32(sigma**-2)
        # E step: responsibilities, one matrix product and one exponential.
        squares = (points**2).sum(2, keepdims=True)
        features = np.concatenate(
            [
                precision * points,
                np.broadcast_to(-precision / 2, squares.shape),
                log_weights - precision / 2 * squares,
            ],
            axis=2,
        )
        density = np.exp(features @ seen_features)  # (n, points, seen points)
        total = density.sum(1) + np.float32(annealing.outliers * 2 * np.pi * (sigma / CANVAS) ** 2)
        share = (mass / total)[:, :, None]
        explained = density @ np.concatenate([share, share * seen], axis=2)
        count, pull = explained[:, :, :1], explained[:, :, 1:] - explained[:, :, :1] * base
        # M step: ridge regression of what the points explain on the modes.
        modes_t = programs.modes.swapaxes(2, 3)
        normal = precision * (modes_t @ (programs.modes * count[:, None]))
        normal += np.eye(n_modes, dtype=np.float32)
        target = precision * (modes_t @ pull.swapaxes(1, 2)[..., None])
        z = np.linalg.solve(normal, target)
        points = base + (programs.modes @ z)[..., 0].swapaxes(1, 2)
        if step == annealing.n_early:
            early = z
    strokes = _energy(z) - _energy(programs.affine @ z)
    return Fit(points, _energy(programs.affine @ early), np.maximum(strokes, 0))


def _energy(variables: np.ndarray) -> np.ndarray:
    """Return the negative log-probability of standard normal variables, up to a constant."""
    return (variables**2).sum((1, 2, 3)) / 2


def _placed(programs: Stack, drawings: Stack) -> tuple[np.ndarray, np.ndarray]:
    """Return the programs centred on their drawings, and brought to their extents too.

    The first is what the token's variables start from; the second, where EM starts.
    """
    (centre, spread), (to, extent) = _moments(programs), _moments(drawings)
    centred = programs.points - centre
    zoom = np.clip((extent + 2) / (spread + 2), 0.5, 2)
    return centred + to, centred * zoom + to


def _moments(stack: Stack) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the standard deviation of the points: two (n, 1, 2)."""
    weights = stack.weights[:, :, None]
    mean = (weights * stack.points).sum(1, keepdims=True)
    return mean, np.sqrt((weights * (stack.points - mean) ** 2).sum(1, keepdims=True))
