"""Scaling: from the parameters `normalization`, `resize` and `crop` to the input scaling."""

import copy
from dataclasses import replace
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import nn

from ._params import LearningParams, as_statistics, several
from ._validation import ImageStore, SubStore
from .twin.levels import CONFIGS, channels_of
from .twin.reading import scaled_batches
from .twin.scaling import (
    IMAGENET,
    InputScaling,
    are_drawings,
    describe_shape,
    evenly_spaced,
    learn_scaling,
    learn_unit,
    pixel_scaling,
)
from .twin.statistics import is_trained, nearest

AUTO_SIDE = 36
N_LOOKED_AT = 64  # images of which the normalisation of a network is found out
# In 0 to 1: of ImageNet, from -1 to 1, and as they are.
USUAL = {"imagenet": IMAGENET, "half": ((0.5,) * 3, (0.5,) * 3), "unit": ((0.0,) * 3, (1.0,) * 3)}
Statistics = tuple[tuple[float, ...], tuple[float, ...]]


def working_shape(params: LearningParams, input_shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of what the encoder sees, once images are brought to `resize`."""
    size: Any = params.resize
    if size is None or len(input_shape) < 3:
        return input_shape
    if isinstance(size, str):
        names = {name for name in several(params.encoder) if isinstance(name, str)}
        if not {"auto", "conv"} & names:
            return input_shape  # koch needs 65, a user's knows its own
        size = AUTO_SIDE
    if isinstance(size, Integral) and params.crop == "foreground":
        size = (size, size)
    elif isinstance(size, Integral):
        ratio = int(size) / max(input_shape[1:])
        size = (max(1, round(side * ratio)) for side in input_shape[1:])
    return (input_shape[0], *map(int, size))


def learn_input_scaling(params: LearningParams, store: ImageStore | SubStore) -> InputScaling:
    """Return the scaling that `normalization` asks for, learned from training samples.

    Raises
    ------
    ValueError
        If it does not suit the samples or the encoder.
    """
    params = replace(params, crop=_crop(params, store))
    shape, unit = store.input_shape, None
    of_pixels = _statistics(params, store)
    if of_pixels == "foreground":
        offset, scale = learn_scaling(store)
    elif len(shape) < 3:
        offset, scale = (_filled(values, shape) for values in of_pixels or ((0.0,), (1.0,)))
    else:
        unit = learn_unit(store) if of_pixels else 0.0
        mean, std = of_pixels or ((0.0,) * shape[0], (1.0,) * shape[0])
        if max(mean) > 1:
            raise ValueError(
                f"normalization has a mean of {max(mean):.6g}, but is for pixels from 0 to 1, "
                "whatever X has: divide mean and standard deviation by 255."
            )
        if len(mean) == 1:
            mean, std = mean * shape[0], std * shape[0]
        if shape[0] not in (1, len(mean)):
            raise ValueError(
                f"normalization={params.normalization!r} is for {len(mean)} channels, got "
                f"{describe_shape(shape)}: give a mean and a standard deviation of each channel."
            )
        offset, scale = pixel_scaling(unit or 1.0, mean, std)
    if len(shape) == 3 and len(offset) == 1:
        channels = _wanted_channels(params.encoder) if shape[0] == 1 else 1
        offset, scale = (x.expand(channels, 1, 1).clone() for x in (offset, scale))
    return build_scaling(params, shape, offset, scale, unit=unit)


def _crop(params: LearningParams, store: ImageStore | SubStore) -> str | None:
    """Return what of the images is resized: "auto" is the foreground of drawings on paper."""
    if params.crop != "auto":
        return params.crop
    by_foreground = isinstance(params.normalization, str) and params.normalization != "imagenet"
    fits = len(store.input_shape) == 3 and by_foreground
    is_module = any(isinstance(encoder, nn.Module) for encoder in several(params.encoder))
    return "foreground" if fits and not is_module and are_drawings(store) else None


def _statistics(params: LearningParams, store: ImageStore | SubStore) -> Any:
    """Return the mean and std of pixels to normalise by, None, or "foreground"."""
    normalization, input_shape = params.normalization, store.input_shape
    if isinstance(normalization, str) and normalization == "auto":
        normalization = "foreground"
        is_module = isinstance(params.encoder, nn.Module)
        if is_module and len(input_shape) == 3 and params.crop is None:
            own = own_statistics(params.encoder)
            normalization = _nearest(params, store) if own is None else own
    if normalization is None or normalization == "foreground":
        of_pixels: Any = normalization
    elif len(input_shape) < 3 and normalization == "imagenet":
        raise ValueError(
            f"normalization='imagenet' needs images, got {describe_shape(input_shape)}: set "
            "image_shape=(height, width) to say what the rows hold, or use normalization='auto'."
        )
    else:
        of_pixels = IMAGENET if normalization == "imagenet" else as_statistics(normalization)
    if params.crop is not None and of_pixels != "foreground":
        raise ValueError(
            f"crop={params.crop!r} needs images whose foreground is known, which "
            f"normalization={params.normalization!r} does not find: use crop=None, or "
            "normalization='foreground'."
        )
    return of_pixels


def _filled(values: tuple[float, ...], shape: tuple[int, ...]) -> torch.Tensor:
    """Return one value, or one of each feature of rows or channel of series, in that shape."""
    if len(values) not in (1, shape[0]):
        of_each = "feature" if len(shape) == 1 else "channel"
        raise ValueError(
            f"normalization has {len(values)} means, got {describe_shape(shape)}: give one "
            f"number, or one of each {of_each}."
        )
    filled = torch.tensor(values, dtype=torch.float64).view(-1, *[1] * (len(shape) - 1))
    return filled.expand(shape).clone()


def own_statistics(encoder: Any) -> Statistics | None:
    """Return the mean and std that a module says its pixels should be normalised by.

    It says so by attributes `mean` and `std`, or by a dict of them as timm has it. Buffers of
    these names are what it normalises by itself: it takes pixels from 0 to 1.
    """
    if not isinstance(encoder, nn.Module):
        return None
    if {"mean", "std"} <= dict(encoder.named_buffers(recurse=False)).keys():
        return (0.0,), (1.0,)
    for known in (vars(encoder), *(getattr(encoder, name, None) or {} for name in CONFIGS)):
        if known.get("mean") is not None and known.get("std") is not None:
            return as_statistics((known["mean"], known["std"]))
    return None


def _nearest(params: LearningParams, store: ImageStore | SubStore) -> Any:
    """Return the usual normalisation for which a network of colours has seen pixels like these.

    It is "foreground" if the network has no batch normalisation that has seen data.
    """
    module = copy.deepcopy(params.encoder).float().eval()
    colours = store.input_shape[0] in (1, 3) and channels_of(module) == 3
    if not colours or not any(map(is_trained, module.modules())):
        return "foreground"
    few = SubStore(store, evenly_spaced(len(store), N_LOOKED_AT))
    rows, images = np.arange(len(few)), {}
    for name, statistics in USUAL.items():
        try:
            scaling = learn_input_scaling(replace(params, normalization=statistics), few)
        except ValueError:  # no pixels from 0 up
            return "foreground"
        images[name] = torch.cat(list(scaled_batches(few, rows, scaling, False)))
    try:
        best = nearest(module, images)
    except (TypeError, ValueError, RuntimeError):  # it cannot take them, as the building will say
        best = None
    return "foreground" if best is None else USUAL[best]


def _wanted_channels(encoder: Any) -> int:
    """Return the channels that a module's first convolution takes; 1 if that is not known."""
    return (channels_of(encoder) if isinstance(encoder, nn.Module) else None) or 1


def build_scaling(
    params: LearningParams,
    input_shape: tuple[int, ...],
    offset: torch.Tensor,
    scale: torch.Tensor,
    working_size: tuple[int, ...] | None = None,
    unit: float | None = None,
) -> InputScaling:
    """Return the scaling from inputs of this shape to what the encoder sees.

    A pretrained network keeps its working size for images of any size.
    """
    if len(input_shape) < 3:
        if params.crop is not None:
            or_images = ", or set image_shape=(height, width)" if len(input_shape) == 1 else ""
            raise ValueError(
                f"crop={params.crop!r} needs images, got {describe_shape(input_shape)}: use "
                f"crop=None{or_images}."
            )
        return InputScaling(offset, scale)
    size = working_size or working_shape(params, input_shape)[1:]
    return InputScaling(offset, scale, input_shape[1:], size, params.crop, unit)
