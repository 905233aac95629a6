"""Warnings and errors of this package, for ``except`` clauses and warning filters."""

import sys
import warnings
from types import FrameType

__all__ = [
    "CollapseWarning",
    "DivergedError",
    "InvertedImageError",
    "UnreadableImageWarning",
    "ValueRangeWarning",
]

# Packages that call each other between a user's line and a warning.
_BETWEEN = {"contextlib", "joblib", "sklearn", "skorch", "sksiamese", "torch"}


class CollapseWarning(UserWarning):
    """Warning raised when a trained network gives the same logit to every pair."""


class ValueRangeWarning(UserWarning):
    """Warning raised when images are in other units than those the network was trained on."""


class UnreadableImageWarning(UserWarning):
    """Warning raised when image files cannot be read and are left out."""


class InvertedImageError(ValueError):
    """Error raised when an image is light on dark instead of dark on light, or the reverse."""


class DivergedError(FloatingPointError):
    """Error raised when the training loss is not finite."""


def warn(message: str, category: type[Warning]) -> None:
    """Issue a warning that points to the user's line that led to it."""
    level = 1
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_globals.get("__name__", "").split(".")[0] in _BETWEEN:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
