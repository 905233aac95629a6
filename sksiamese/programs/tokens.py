"""The token model: how the same program comes out differently each time it is drawn.

Lake et al. 2015, supplement 2.2: a token of a character type has its own stroke starts, control
points, sub-stroke sizes and affine warp, each normally distributed about the type's. Written for
the points of a program, and linear in all of these variables but for the sizes, which are
linearised:

    X = X0 + B Z,   Z ~ N(0, I)

The columns of B move the points by one standard deviation of one variable. Rows and columns of
the canvas are independent of each other, each with a matrix of its own.
"""

from dataclasses import dataclass

import numpy as np

from .program import CANVAS, Program
from .splines import basis

N_MODES = 16  # 60 answer alike, at three times the cost
LEAST_SIZE = 4.0  # of a sub-stroke, pixels


@dataclass(frozen=True)
class TokenModel:
    """Standard deviations of the token's variables, in pixels unless noted.

    The shapes' are those of the BPL library, times 1.5: Lake et al. average over further samples
    of each program, which wider tokens stand in for.

    Parameters
    ----------
    translation : float, default=6.0
        Of the whole drawing.
    scale, shear : float, default=0.2, 0.12
        Of the whole drawing; fractions.
    attached, free : float, default=3.0, 5.0
        Start of a stroke that begins on an earlier one, and of any other.
    shape : float, default=5.0
        Control points of a sub-stroke as large as the canvas.
    size : float, default=0.04
        Of a sub-stroke, as a fraction, times the canvas over its size.
    reach : float, default=6.0
        Distance to an earlier stroke within which a stroke is attached to it.

    See Also
    --------
    Tokens : A program with the modes that this model gives it.

    Examples
    --------
    >>> from sksiamese.programs import TokenModel
    >>> TokenModel(translation=0.0).translation  # a drawing stays in its place
    0.0
    """

    translation: float = 6.0
    scale: float = 0.2
    shear: float = 0.12
    attached: float = 3.0
    free: float = 5.0
    shape: float = 5.0
    size: float = 0.04
    reach: float = 6.0


@dataclass(frozen=True, eq=False)
class Tokens:
    """A program with the distribution of its tokens, in few independent modes.

    X = X0 + M z with z ~ N(0, I) has the distribution of X0 + B Z but for its smallest
    variances: with the singular values B = U S V', M = U S and Z = V z.

    Parameters
    ----------
    program : Program
        What varies.
    modes : ndarray of shape (2, n_points, n_modes), float32
        M, of rows and of columns.
    affine : ndarray of shape (2, 3, n_modes), float32
        What makes the affine variables of z.
    warp : ndarray of shape (2, n_points, 3), float32
        The columns of B that are the affine variables alone.

    See Also
    --------
    TokenModel : How much each variable varies.
    Stack : Several of them.

    Examples
    --------
    >>> import numpy as np
    >>> from sksiamese.programs import Program, TokenModel, Tokens
    >>> line = np.stack([np.arange(20.0, 80), np.arange(20.0, 80)], axis=1)
    >>> tokens = Tokens.of(Program.of([[line]]), TokenModel(), n_modes=8)
    >>> tokens.modes.shape
    (2, 64, 8)
    """

    program: Program
    modes: np.ndarray
    affine: np.ndarray
    warp: np.ndarray

    def __repr__(self) -> str:
        return f"Tokens({self.program!r})"

    @classmethod
    def of(cls, program: Program, model: TokenModel, n_modes: int = N_MODES) -> "Tokens":
        """Return the tokens of a program.

        Parameters
        ----------
        program : Program
            What varies.
        model : TokenModel
            How much it varies.
        n_modes : int
            Modes that are kept. Those that the program does not have are zero.

        Returns
        -------
        tokens : Tokens
            The program with its modes.
        """
        columns = token_basis(program, model)
        u, s, v = np.linalg.svd(columns, full_matrices=False)
        n = min(n_modes, s.shape[1])
        modes = np.zeros((2, len(program.points), n_modes), np.float32)
        affine = np.zeros((2, 3, n_modes), np.float32)
        modes[:, :, :n] = (u * s[:, None])[:, :, :n]
        affine[:, :, :n] = v[:, :n, :3].transpose(0, 2, 1)
        return cls(program, modes, affine, columns[:, :, :3].astype(np.float32))


def token_basis(program: Program, model: TokenModel) -> np.ndarray:
    """Return B of both coordinates: (2, n_points, n_variables), float64.

    The first three variables are the affine ones: translation, scale, shear.
    """
    points = program.points.astype(float)
    own = _strokes_basis(program, points, model)
    share = program.weights / program.weights.sum()
    centred = points - share @ points
    affine = np.stack([np.full_like(centred, model.translation), model.scale * centred,
                       model.shear * centred[:, ::-1]], axis=2)  # fmt: skip
    return np.concatenate([affine.transpose(1, 0, 2), own], axis=2)


def _strokes_basis(program: Program, points: np.ndarray, model: TokenModel) -> np.ndarray:
    """Return the columns of stroke starts, control points and sizes: (2, n_points, n).

    A sub-stroke begins where the last one ended, and an attached stroke on the earlier one: its
    first point has all that moves that point, so that children move with their parents.
    """
    n_strokes, n_substrokes = program.n_strokes, program.n_substrokes
    columns = np.zeros((2, len(points), n_strokes + 6 * n_substrokes))
    shapes = columns[:, :, n_strokes : n_strokes + 5 * n_substrokes]
    sizes = columns[:, :, n_strokes + 5 * n_substrokes :]
    for k in range(n_substrokes):
        rows = np.flatnonzero(program.substrokes == k)
        first, stroke = rows[0], program.strokes[rows[0]]
        if first and program.strokes[first - 1] == stroke:
            columns[:, rows] = columns[:, first - 1 : first]
        else:
            parent, distance = _nearest_before(points, first)
            attached = distance < model.reach
            if attached:
                columns[:, rows] = columns[:, parent : parent + 1]
            columns[:, rows, stroke] += model.attached if attached else model.free
        moved = points[rows] - points[first]
        extent = max(np.ptp(points[rows], axis=0).max(), LEAST_SIZE)
        if np.ptp(points[rows], axis=0).max() > 0:  # a dot has no shape
            weights = basis(len(rows))
            change = (weights - weights[0]) * (model.shape * extent / CANVAS)
            shapes[:, rows, 5 * k : 5 * k + 5] += change
        sizes[:, rows, k] += moved.T * (model.size * CANVAS / extent)
    return columns


def _nearest_before(points: np.ndarray, first: int) -> tuple[int, float]:
    """Return the nearest earlier point to the start at `first`, and its distance."""
    if first == 0:
        return 0, np.inf
    distances = np.hypot(*(points[:first] - points[first]).T)
    nearest = int(distances.argmin())
    return nearest, float(distances[nearest])
