"""Reading: samples by batches, scaled, and checked against what the scaling was learned from."""

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from ..exceptions import InvertedImageError, ValueRangeWarning, warn
from .scaling import InputScaling, Store, evenly_spaced

BATCH_SIZE = 256  # images that are read and scaled at once


def scaled_batches(
    store: Store, rows: np.ndarray, scaling: InputScaling, check: bool
) -> Iterator[Tensor]:
    """Yield the samples at `rows`, read and scaled batch by batch.

    With `check`, images that the scaling does not suit are refused or warned of.

    Raises
    ------
    InvertedImageError
        With ``crop="foreground"``, if an image appears to have inverted polarity.

    Warns
    -----
    ValueRangeWarning
        If images are in other units than those that the scaling was learned from.
    """
    if check:
        _check_units(store, rows, scaling)
    for start in range(0, len(rows), BATCH_SIZE):
        batch = rows[start : start + BATCH_SIZE]
        images = store.take(batch)
        if check and scaling.crop == "foreground":
            _refuse_inverted(scaling.is_inverted(images), batch)
        yield scaling(images)


def _check_units(store: Store, rows: np.ndarray, scaling: InputScaling) -> None:
    """Warn of images in other units: 0..1 where 0..255 is known, or the reverse."""
    if len(store.input_shape) == 1:
        return
    some = rows[evenly_spaced(len(rows), 10)]
    spread = scaling.spread(store.take(some))  # of each channel
    least, most = float(spread.min()), float(spread.max())
    if (store.dtype.kind == "f" and 0 < most < 0.01) or least > 50:
        warn(
            f"The values of X span {most:.2g} times the range of the training images. Give X in "
            "the units of those, such as 0..255 or 0..1.",
            ValueRangeWarning,
        )


def _refuse_inverted(is_inverted: Tensor, rows: np.ndarray) -> None:
    if is_inverted.any():
        row = rows[int(is_inverted.int().argmax())]
        raise InvertedImageError(
            f"X[{row}] appears to have inverted polarity relative to the images this estimator "
            "was fitted on. Invert it (for uint8, 255 - X), call set_support with images of this "
            "polarity, or, if the drawing fills its image, pad it with background."
        )
