"""Uniform cubic B-splines: how a sub-stroke's trajectory is written.

After Lake et al. 2015, supplement 2.1. A trajectory of n points (n, 2) is ``basis(n) @ control``,
with five control points (5, 2).
"""

import functools

import numpy as np

N_CONTROL = 5


@functools.lru_cache(maxsize=512)
def basis(n: int) -> np.ndarray:
    """Return the weights of the control points at `n` even steps of a spline: (n, 5)."""
    s = np.linspace(2, N_CONTROL + 1, n)[:, None] - np.arange(N_CONTROL)
    t = s % 1
    pieces = (t**3, 1 + 3 * t + 3 * t**2 - 3 * t**3, 4 - 6 * t**2 + 3 * t**3, (1 - t) ** 3)
    weights = np.select([np.floor(s) == k for k in range(4)], pieces)
    weights /= weights.sum(1, keepdims=True)
    weights.flags.writeable = False  # it is shared
    return weights


@functools.lru_cache(maxsize=512)
def _inverse(n: int) -> np.ndarray:
    """Return what makes control points of `n` trajectory points, by least squares: (5, n)."""
    weights = basis(n)
    bends = np.diff(np.eye(N_CONTROL), 2, axis=0)  # short trajectories do not decide all five
    normal = weights.T @ weights + 1e-3 * bends.T @ bends + 1e-8 * np.eye(N_CONTROL)
    return np.linalg.solve(normal, weights.T)


def control_points(trajectory: np.ndarray) -> np.ndarray:
    """Fit a spline to a trajectory: (n, 2) -> (5, 2)."""
    return _inverse(len(trajectory)) @ trajectory


def resample(path: np.ndarray, n: int) -> np.ndarray:
    """Return `n` points at even distances along a path: (m, 2) -> (n, 2)."""
    length = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(path, axis=0).T))])
    even = np.linspace(0, length[-1], n)
    return np.stack([np.interp(even, length, axis) for axis in path.T], axis=1)
