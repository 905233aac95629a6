"""Augmentation of training images, for the parameter `augmentation` of the estimators."""

from .twin.augmentation import AUGMENTATIONS, Affine, Augmentation, Elastic
from .twin.degradation import (
    JPEG,
    Blur,
    Contour,
    Fill,
    LooseCrop,
    Noise,
    RuledLines,
    Shade,
    Shadow,
    Thickness,
)
from .twin.series import SeriesAugmentation

__all__ = [
    "AUGMENTATIONS",
    "JPEG",
    "Affine",
    "Augmentation",
    "Blur",
    "Contour",
    "Elastic",
    "Fill",
    "LooseCrop",
    "Noise",
    "RuledLines",
    "SeriesAugmentation",
    "Shade",
    "Shadow",
    "Thickness",
]
