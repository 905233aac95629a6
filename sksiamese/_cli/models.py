"""What the commands compare images by, and the images that it takes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

from .._classifier import SiameseOneShotClassifier
from .._motor_programs import MotorProgramClassifier
from ..exceptions import InvertedImageError
from ..twin.scaling import describe_shape
from ..weights import load_pretrained
from .images import Images, typical_size

Model = SiameseOneShotClassifier | MotorProgramClassifier


def load_model(args: argparse.Namespace) -> Model:
    """Return the classifier that the options name, with their parameters."""
    model: Model
    if args.network is not None:
        model = SiameseOneShotClassifier.load(args.network)
    elif args.model == "programs":
        model = MotorProgramClassifier(random_state=0)
    else:
        model = load_pretrained()
    if getattr(args, "aggregation", None) is not None:
        model.set_params(aggregation=args.aggregation)
    return model


def adapts(model: Model) -> bool:
    """Return whether a model learns size and value range of images from its support."""
    return isinstance(model, MotorProgramClassifier) or model.fitted_.adapts


def set_support(model: Model, images: Images, target: np.ndarray) -> None:
    """Set images as the support of a model, where the majority of them decides the polarity.

    Raises
    ------
    InvertedImageError
        With the rows of the minority, or with all rows if there is no majority.
    """
    try:
        model.set_support(images.images, target)
    except InvertedImageError as error:
        if not adapts(model) or 2 * len(error.rows) < len(target):
            raise
        raise InvertedImageError(str(error), range(len(target))) from error


def input_format(
    model: Model, args: argparse.Namespace, files: Sequence[str]
) -> tuple[tuple[int, int], bool]:
    """Return the size in which to read the files for a model, and whether in colour."""
    if adapts(model):
        size = typical_size(files) if args.resize is None else args.resize
        return (size[0], size[1]), False
    channels, *size = model.input_shape_
    if len(size) != 2 or channels not in (1, 3):
        raise ValueError(
            f"--network {args.network} takes {describe_shape(model.input_shape_)}; expected a "
            "network that takes gray or RGB images."
        )
    if args.resize not in (None, size):
        raise ValueError(
            f"--resize {' '.join(map(str, args.resize))} differs from the size {size[0]} "
            f"{size[1]} that --network {args.network} takes. Omit --resize."
        )
    model.set_params(channels="last")  # as the loaders return images
    return (size[0], size[1]), channels == 3
