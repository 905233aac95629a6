"""Strokes: a trajectory to sub-strokes, each simple enough for one spline.

Lake et al. 2015, supplement 3, divide strokes by a search over the prior. Corners and the error of
the spline decide here, which needs no search.

A trajectory is an array (n, 2) of points (row, column) in pixels. A stroke is a list of
sub-strokes, trajectories in steps of one pixel each of which starts where the last one ended.
"""

import numpy as np

from .splines import basis, control_points, resample

SMOOTHING = 1.5  # pixels, the standard deviation: what the pixel grid adds
WORST_FIT = 1.5  # pixels that a spline may miss its trajectory by
SHARPEST = 65.0  # degrees: sharper turns are corners, where the pen paused
REACH = 4  # pixels on both sides of a point that decide its angle, and from a corner to the ends
DEPTH = 4  # divisions in two: at most 16 sub-strokes

Stroke = list[np.ndarray]

_RADIUS = int(4 * SMOOTHING)
_KERNEL = np.exp(-0.5 * (np.arange(-_RADIUS, _RADIUS + 1) / SMOOTHING) ** 2)
_KERNEL /= _KERNEL.sum()


def substrokes(path: np.ndarray) -> Stroke:
    """Smooth a path and divide it at its corners.

    A trajectory is divided at its sharpest turn while that is a corner. A curve that one spline
    of five control points does not follow is divided at the sharpest turn of its middle half.

    Parameters
    ----------
    path : ndarray of shape (n, 2)
        In steps of about one pixel. A single point is a dot.

    Returns
    -------
    stroke : list of ndarray of shape (n, 2)
        In steps of about one pixel, with the ends of the path.
    """
    if len(path) == 1:
        return [path]
    path = at_unit_steps(smooth(path))
    return _divided(path, _turns(path), DEPTH)


def length(path: np.ndarray) -> float:
    """Return the length of a path (n, 2) in pixels."""
    return float(np.hypot(*np.diff(path, axis=0).T).sum())


def at_unit_steps(path: np.ndarray) -> np.ndarray:
    """Return a path in even steps of about one pixel: (m, 2) -> (n, 2), n at least 2."""
    return resample(path, max(2, round(length(path)) + 1))


def smooth(path: np.ndarray) -> np.ndarray:
    """Smooth a path by a Gaussian that keeps its ends: (n, 2) -> (n, 2)."""
    if len(path) <= _RADIUS:
        return path
    before = 2 * path[0] - path[_RADIUS:0:-1]  # mirrored about the ends, which then stay
    after = 2 * path[-1] - path[-2 : -2 - _RADIUS : -1]
    padded = np.concatenate([before, path, after])
    return np.stack([np.convolve(axis, _KERNEL, "valid") for axis in padded.T], axis=1)


def _turns(path: np.ndarray) -> np.ndarray:
    """Return the angle in degrees by which a path turns at each point, 0 near its ends."""
    turns = np.zeros(len(path))
    if len(path) > 2 * REACH:
        chords = (path[REACH:] - path[:-REACH]).T
        (y0, x0), (y1, x1) = chords[:, :-REACH], chords[:, REACH:]
        turns[REACH:-REACH] = np.degrees(np.arctan2(np.abs(y0 * x1 - x0 * y1), y0 * y1 + x0 * x1))
    return turns


def _divided(path: np.ndarray, turns: np.ndarray, depth: int) -> Stroke:
    """Divide a path in two, and each part again, `depth` times at most."""
    if depth == 0 or len(path) < 2 * REACH + 2:
        return [path]
    corner = REACH + int(turns[REACH:-REACH].argmax())
    if turns[corner] <= SHARPEST:
        if _misses(path) <= WORST_FIT:
            return [path]
        middle = max(REACH, len(path) // 4)  # dividing a curve near its ends would not help
        corner = middle + int(turns[middle:-middle].argmax())
    return [
        *_divided(path[: corner + 1], turns[: corner + 1], depth - 1),
        *_divided(path[corner:], turns[corner:], depth - 1),
    ]


def _misses(path: np.ndarray) -> float:
    """Return how far the spline of a path is from it at most, in pixels."""
    off = basis(len(path)) @ control_points(path) - path
    return float(np.sqrt((off**2).sum(1).max()))
