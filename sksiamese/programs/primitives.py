"""The prior of programs that Lake et al. 2015 learned from 30 alphabets (supplement 2).

A sub-stroke is a noisy copy of one of 1,212 primitives, drawn at some size. The prior also holds
how many strokes a character has, how many sub-strokes a stroke has, and where strokes start.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import gammaln

from .program import CANVAS
from .splines import control_points, resample
from .strokes import Stroke

SHAPE_NOISE = 3.36  # of control points of a sub-stroke of size CANVAS (sigma_x in the paper)
START_NOISE = (1.21, 1.35)  # pixels, rows and columns, of a stroke's start (sigma_L)
# How a stroke that is not the first starts: alone, or at the start, at the end or along the
# trajectory of an earlier stroke.
LOG_ALONE, LOG_AT_START, LOG_AT_END, LOG_ALONG = np.log([0.336, 0.055, 0.105, 0.504])
N_ALONG = 4  # places along a sub-stroke
N_SHORTEST = 10  # points of a trajectory that is fitted by five control points

_LOG_START_DENSITY = -math.log(2 * math.pi * START_NOISE[0] * START_NOISE[1])


@dataclass(frozen=True, eq=False)
class Primitives:
    """Library of primitives, with the other tables of the prior.

    Attributes
    ----------
    shape_mean, shape_deviation : ndarray of shape (n_primitives, 10)
        The five control points of each primitive, first all x to the right, then all y upwards,
        about the centre, with the longer side of the trajectory at 105 pixels.
    size_gamma : ndarray of shape (n_primitives, 2)
        Shape and scale of the gamma distribution of the longer side, as a fraction of 105 pixels.
    log_frequency, log_start : ndarray of shape (n_primitives,)
        Log-probability of each primitive anywhere, and as the first of a stroke.
    log_n_strokes : ndarray of shape (10,)
        Log-probability of 1 to 10 strokes.
    log_n_substrokes : ndarray of shape (10, 10)
        Of 1 to 10 sub-strokes of a stroke (columns), given the number of strokes (rows).
    log_position : ndarray of shape (3, 25, 25)
        Of the cell (row, column) of 4.2 pixels in which the first, the second and any later
        stroke starts.
    """

    shape_mean: np.ndarray
    shape_deviation: np.ndarray
    size_gamma: np.ndarray
    log_frequency: np.ndarray
    log_start: np.ndarray
    log_n_strokes: np.ndarray
    log_n_substrokes: np.ndarray
    log_position: np.ndarray

    @staticmethod
    @functools.cache
    def load() -> "Primitives":
        """Return the library that comes with the package; data/LICENSE.md says from where."""
        with np.load(Path(__file__).parent / "data" / "primitives.npz") as arrays:
            return Primitives(**arrays)

    @functools.cached_property
    def _log_density(self) -> np.ndarray:
        """Return the weights of `_features` in the log-density of each primitive: (23, n)."""
        mean = self.shape_mean.T.astype(float)
        variance = self.shape_deviation.T.astype(float) ** 2 + SHAPE_NOISE**2
        a, scale = self.size_gamma.T.astype(float)
        constant = -0.5 * (mean**2 / variance + np.log(2 * np.pi * variance)).sum(0)
        constant -= gammaln(a) + a * np.log(scale)
        parts = [-0.5 / variance, mean / variance, a - 1, -1 / scale, constant]
        return np.vstack(parts).astype(np.float32)

    def log_shapes(self, strokes: Sequence[Stroke]) -> np.ndarray:
        """Return the log-probability of the shape of each stroke.

        It is a sum over the sub-strokes: the most probable primitive, the control points given
        that and the size given that. One primitive does not depend on the one before it, unlike
        in the paper: nine of ten parses stay the same, and 1.5 million numbers are saved.

        Parameters
        ----------
        strokes : sequence of strokes
            A stroke is a list of sub-strokes (n, 2), points (row, column) in steps of a pixel.

        Returns
        -------
        log_probability : ndarray of shape (n_strokes,)
        """
        features = np.array([_features(t) for stroke in strokes for t in stroke], np.float32)
        log_density = features @ self._log_density  # (n_substrokes, n_primitives)
        first = np.cumsum([0, *(len(stroke) for stroke in strokes[:-1])])
        log_prior = np.tile(self.log_frequency, (len(features), 1))
        log_prior[first] = self.log_start
        best = (log_density + log_prior).max(1)
        return np.add.reduceat(best.astype(float), first)

    def log_counts(self, strokes: Sequence[Stroke]) -> float:
        """Return the log-probability of the number of strokes and of their sub-strokes."""
        most = len(self.log_n_strokes)  # more count as this many
        n_strokes = min(len(strokes), most)
        n_substrokes = [min(len(stroke), most) for stroke in strokes]
        log_n_substrokes = self.log_n_substrokes[n_strokes - 1, np.array(n_substrokes) - 1]
        return float(self.log_n_strokes[n_strokes - 1] + log_n_substrokes.sum())

    def log_relations(self, strokes: Sequence[Stroke], orders: np.ndarray) -> np.ndarray:
        """Return the log-probability of where the strokes start, for each order of drawing them.

        Parameters
        ----------
        strokes : sequence of strokes
        orders : ndarray of shape (n_orders, n_strokes), int
            Numbers of the strokes, first to last.

        Returns
        -------
        log_probability : ndarray of shape (n_orders,)
        """
        n_strokes = orders.shape[1]
        place = np.arange(n_strokes)
        alone = self._log_positions(strokes)[np.minimum(place, 2), orders]
        alone[:, 1:] += LOG_ALONE
        attached = _log_attached(strokes)[orders[:, :, None], orders[:, None, :]]
        attached[:, place[:, None] >= place] = -np.inf  # only earlier strokes are there
        attached = attached.max(1) - np.log(np.maximum(place, 1))  # each of them is as probable
        return np.maximum(alone, attached).sum(1) + n_strokes * _LOG_START_DENSITY

    def _log_positions(self, strokes: Sequence[Stroke]) -> np.ndarray:
        """Log-probability of each stroke's start on its own, as 1st, 2nd or later: (3, n)."""
        n_cells = self.log_position.shape[1]
        starts = np.array([stroke[0][0] for stroke in strokes])
        cells = np.clip(starts * n_cells / CANVAS, 0, n_cells - 1).astype(int)
        return self.log_position[:, cells[:, 0], cells[:, 1]]


def _features(trajectory: np.ndarray) -> np.ndarray:
    """Return what the log-density of a sub-stroke is linear in: (23,)."""
    low, high = trajectory.min(0), trajectory.max(0)
    size = max(1.0, *(high - low)) / CANVAS
    centred = trajectory - trajectory.mean(0)
    if len(trajectory) < N_SHORTEST:
        centred = resample(centred, N_SHORTEST)
    control = control_points(centred) / size
    shape = np.concatenate([control[:, 1], -control[:, 0]])
    return np.concatenate([shape**2, shape, [math.log(size), size, 1]])


def _log_attached(strokes: Sequence[Stroke]) -> np.ndarray:
    """Log-density of the start of stroke k attached to stroke j, up to the constant: (j, k)."""
    lengths = [sum(map(len, stroke)) for stroke in strokes]
    first = np.cumsum([0, *lengths[:-1]])
    points = np.concatenate([trajectory for stroke in strokes for trajectory in stroke])
    off = (points[:, None] - points[first]) / START_NOISE
    squared = 0.5 * (off**2).sum(2)
    n_substrokes = np.array([len(stroke) for stroke in strokes])
    log_along = LOG_ALONG - np.log(N_ALONG * n_substrokes)
    return np.maximum.reduce(
        [
            LOG_AT_START - squared[first],
            LOG_AT_END - squared[first + lengths - 1],
            log_along[:, None] - np.minimum.reduceat(squared, first),
        ]
    )
