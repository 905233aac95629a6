"""Warnings and errors of this package, for ``except`` clauses and warning filters."""

import sys
import warnings
from pathlib import Path
from types import FrameType

__all__ = [
    "CollapseWarning",
    "DivergedError",
    "InvertedImageError",
    "UnreadableImageWarning",
    "ValueRangeWarning",
]


class CollapseWarning(UserWarning):
    """Warning raised when a trained network gives the same logit to every pair."""


class ValueRangeWarning(UserWarning):
    """Warning raised when images are in other units than those the network was trained on."""


class UnreadableImageWarning(UserWarning):
    """Warning raised when image files cannot be read and are left out."""


class InvertedImageError(ValueError):
    """Error raised when an image is light on dark where dark on light is expected, or reverse."""


class DivergedError(FloatingPointError):
    """Error raised when the training loss is not finite."""


def warn(message: str, category: type[Warning]) -> None:
    """Issue a warning that points to the line outside this package that led to it."""
    package = str(Path(__file__).parent)
    level = 1
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code.co_filename.startswith(package):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
