"""Rows of numbers that are not images: one stroke through the values, in their order."""

import numpy as np

from .fitting import Annealing, Stack
from .program import N_POINTS, Program

MIDDLE, LEFT, RIGHT = 52.0, 10.0, 94.0
STEP = 12.0  # pixels of one standard deviation
HIGHEST = 4.0  # standard deviations
FEWEST = 8  # points
NOISE = Annealing.end  # pixels
BLOCK = 1024  # pairs whose residuals are held at once


def curve_program(values: np.ndarray) -> Program:
    """Return the program that draws values as a curve, from left to right.

    Parameters
    ----------
    values : ndarray of shape (n_features,)
        Standardised.

    Returns
    -------
    program : Program
        Rows of equally many features have equally many points, in the same columns.

    See Also
    --------
    curve_costs : Compare such programs.

    Examples
    --------
    >>> import numpy as np
    >>> from sksiamese.programs import curve_program
    >>> curve_program(np.sin(np.arange(40.0)))
    Program(1 strokes, 1 sub-strokes)
    """
    heights = np.clip(values.astype(float), -HIGHEST, HIGHEST)
    if len(heights) > N_POINTS:
        heights = np.array([part.mean() for part in np.array_split(heights, N_POINTS)])
    n = max(FEWEST, len(heights))
    even = np.linspace(0, len(heights) - 1, n)
    rows = MIDDLE - STEP * np.interp(even, np.arange(len(heights)), heights)
    points = np.stack([rows, np.linspace(LEFT, RIGHT, n)], axis=1).astype(np.float32)
    weights = np.full(n, (RIGHT - LEFT) / n, np.float32)
    return Program(points, weights, np.zeros(n, np.int16), np.zeros(n, np.int16))


def curve_costs(programs: Stack, drawings: Stack, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Return how badly curve ``i[k]`` explains curve ``j[k]``, for each k.

    Their points correspond, so that the probability under X = X0 + M z and noise is known:
    d' (MM' + s^2 I)^-1 d / 2, d the difference of two curves, as a mean over their points.

    Parameters
    ----------
    programs, drawings : Stack
        Of curves of equally many points.
    i, j : ndarray of shape (n,)
        Curves of `programs` and of `drawings` that are compared.

    Returns
    -------
    costs : ndarray of shape (n,), float32
        At least 0, and 0 for equal curves.

    See Also
    --------
    curve_program : The program of a curve.

    Examples
    --------
    >>> import numpy as np
    >>> from sksiamese.programs import Stack, TokenModel, Tokens, curve_costs, curve_program
    >>> waves = [curve_program(np.sin(np.arange(40) / t)) for t in (4.0, 5.0)]
    >>> stack = Stack.of([Tokens.of(wave, TokenModel()) for wave in waves])
    >>> same, other = curve_costs(stack, stack, np.array([0, 0]), np.array([0, 1]))
    >>> bool(same < other)
    True
    """
    # The columns of M are orthogonal, so that the inverse is a sum over the modes.
    variances = (programs.modes**2).sum(2, keepdims=True)
    modes = programs.modes / np.sqrt(variances + np.float32(NOISE**2))
    result = np.empty(len(i), np.float32)
    for start in range(0, len(i), BLOCK):
        rows = slice(start, start + BLOCK)
        off = drawings.points[j[rows]] - programs.points[i[rows]]
        off = off.swapaxes(1, 2)[..., None]  # (pairs, 2, points, 1)
        explained = (modes[i[rows]].swapaxes(2, 3) @ off) ** 2
        unexplained = (off**2).sum((1, 2, 3)) - explained.sum((1, 2, 3))
        result[rows] = np.maximum(unexplained, 0) / (2 * NOISE**2 * off.shape[2])
    return result
