"""Augmentation of training images, for the parameter `augmentation` of the estimators."""

from .twin.augmentation import AUGMENTATIONS, Affine, Augmentation, Elastic, Thickness

__all__ = ["AUGMENTATIONS", "Affine", "Augmentation", "Elastic", "Thickness"]
