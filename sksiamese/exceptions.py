"""Warnings and errors of this package, for ``except`` clauses and warning filters."""

import sys
import warnings
from collections.abc import Iterable, Sequence
from types import FrameType

import numpy as np

__all__ = [
    "BlankImageWarning",
    "CheckpointWarning",
    "CollapseWarning",
    "DivergedError",
    "DuplicateExemplarWarning",
    "InvertedImageError",
    "NoEffectWarning",
    "UnlikelyBackgroundWarning",
    "UnlikelyShapeWarning",
    "UnreadableImageWarning",
    "ValueRangeError",
]

# Packages that call each other between a user's line and a warning.
_BETWEEN = {"concurrent", "contextlib", "joblib", "sklearn", "skorch", "sksiamese", "threading"}
_BETWEEN |= {"multiprocessing", "torch"}


class _OfRows:
    """What concerns some samples, and their rows of X."""

    def __init__(self, message: str = "", rows: Iterable[int] = ()) -> None:
        super().__init__(message)  # type: ignore[call-arg]
        self.rows = np.asarray(rows, dtype=np.intp)


class CollapseWarning(UserWarning):
    """Warning raised when a trained network gives the same logit to every pair."""


class NoEffectWarning(UserWarning):
    """Warning raised when parameters were set that have no effect, because nothing is trained."""


class CheckpointWarning(UserWarning):
    """Warning raised when a checkpoint is damaged, or was written by other versions."""


class UnreadableImageWarning(UserWarning):
    """Warning raised when image files cannot be read and are left out."""


class BlankImageWarning(_OfRows, UserWarning):
    """Warning raised when images have no foreground: one value, nothing but noise, or too faint.

    Images of very small values may also be in other units; the message says so.

    Parameters
    ----------
    message : str, default=""
        What is wrong, and what to do.
    rows : array-like of int, default=()
        Rows of X; of pairs, the pairs'; of a preprocessor, its images'.

    Attributes
    ----------
    rows : ndarray of int
        The same as an array.
    """


class DuplicateExemplarWarning(_OfRows, UserWarning):
    """Warning raised when the same image is given under two labels.

    Parameters
    ----------
    message : str, default=""
        What is wrong, and what to do.
    rows : array-like of int, default=()
        Rows of X whose image has another label elsewhere.

    Attributes
    ----------
    rows : ndarray of int
        The same as an array.
    """


class UnlikelyBackgroundWarning(_OfRows, UserWarning):
    """Warning raised when images have the background that others have as foreground.

    Their polarity is inverted, or they are in other units. With ``crop="foreground"`` inverted
    images are an error, `InvertedImageError`.

    Parameters
    ----------
    message : str, default=""
        What is wrong, and what to do.
    rows : array-like of int, default=()
        Rows of X; of pairs, the pairs'; of a preprocessor, its images'.

    Attributes
    ----------
    rows : ndarray of int
        The same as an array.
    """


class UnlikelyShapeWarning(UserWarning):
    """Warning raised when X is taken for images of an unlikely shape, such as 3x500 pixels."""


class ValueRangeError(_OfRows, ValueError):
    """Error raised when images are in other units, such as 0..1 where 0..255 is known.

    Parameters
    ----------
    message : str, default=""
        What is wrong, and what to do.
    rows : array-like of int, default=()
        Rows of X; of pairs, the pairs'; of a preprocessor, its images'.

    Attributes
    ----------
    rows : ndarray of int
        The same as an array.
    """


class InvertedImageError(_OfRows, ValueError):
    """Error raised when an image is light on dark instead of dark on light, or the reverse.

    Parameters
    ----------
    message : str, default=""
        What is wrong, and what to do.
    rows : array-like of int, default=()
        Rows of X; of pairs, the pairs'; of a preprocessor, its images'.

    Attributes
    ----------
    rows : ndarray of int
        The same as an array.
    """


class DivergedError(FloatingPointError):
    """Error raised when the training loss is not finite."""


def warn(message: str, category: type[Warning], rows: Iterable[int] | None = None) -> None:
    """Issue a warning that points to the user's line that led to it.

    `rows` are those that a warning about samples carries.
    """
    level = 1
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_globals.get("__name__", "").split(".")[0] in _BETWEEN:
        level, frame = level + 1, frame.f_back
    warning = category(message) if rows is None else category(message, rows)
    warnings.warn(warning, stacklevel=level)


def listed(names: Sequence[str], n_shown: int = 5) -> str:
    """Return the first of some names, and how many more there are."""
    more = f" and {len(names) - n_shown} more" if len(names) > n_shown else ""
    return ", ".join(names[:n_shown]) + more
