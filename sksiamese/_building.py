"""Building: from parameters to what training needs: network, batches, options."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ._params import PRECISIONS, LearningParams, check_choice
from ._training_data import LabelledData, PairData, TrainingData
from .exceptions import NoEffectWarning, warn
from .model_selection import make_pairs
from .twin.augmentation import AUGMENTATIONS, turns_of
from .twin.batches import Batches, ClassBatches, PairBatches
from .twin.callbacks import check_callbacks
from .twin.encoders import (
    ENCODERS,
    build_encoder,
    encoders_in,
    feature_shape,
    strides_outrun_maps,
    takes_series,
)
from .twin.heads import HEADS, build_head
from .twin.losses import LOSSES
from .twin.network import TwinNetwork, trains
from .twin.optimizers import OPTIMIZERS
from .twin.scaling import InputScaling, describe_shape
from .twin.sharing import ACCELERATE, Team, device_of
from .twin.statistics import is_trained
from .twin.training import TrainingOptions, supports_bfloat16

MODULE_CHANNELS = 256  # at most, that head="aligned" keeps of a module's feature maps
# Parameters that only training by gradients reads.
OF_TRAINING = (
    *("augmentation", "class_augmentation", "n_pairs"),
    *("early_stopping", "callbacks", "net_params"),
)


def check_params(params: LearningParams) -> None:
    """Raise ValueError or TypeError for parameters that no training could use."""
    if not callable(params.loss):
        check_choice(params.loss, "loss", tuple(LOSSES))
    if not callable(params.augmentation):
        check_choice(params.augmentation, "augmentation", ("auto", None, *AUGMENTATIONS))
    optimizer = params.optimizer
    if not (isinstance(optimizer, type) and issubclass(optimizer, torch.optim.Optimizer)):
        check_choice(optimizer, "optimizer", tuple(OPTIMIZERS))
    params.check()
    for number in range(params.n_kinds):
        own = params.of_network(number)
        if not isinstance(own.encoder, nn.Module) and not callable(own.encoder):
            check_choice(own.encoder, "encoder", ("auto", *ENCODERS))
        check_choice(own.head, "head", tuple(HEADS))
    check_callbacks(params.callbacks, params.early_stopping)
    if params.device == ACCELERATE:
        return
    try:
        torch.device(params.device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device={params.device!r} is not known to torch: {error}") from error


def check_device(device: Any) -> None:
    """Raise ValueError unless torch can use the device on this machine."""
    try:
        torch.zeros(1, device=torch.device(device_of(device))).cpu()  # "meta" has no values
    except (RuntimeError, TypeError, AssertionError) as error:
        raise ValueError(
            f"device={device!r} cannot be used on this machine ({error}). Call "
            "set_params(device='cpu'), or name a device that torch has here."
        ) from error


def check_shared(params: LearningParams) -> None:
    """Raise ValueError for parameters by which several processes cannot train one network."""
    if params.random_state is None:
        raise ValueError(
            "random_state=None, but several processes train one network, and must draw the same "
            "batches: set random_state to an integer."
        )
    if params.checkpoint_dir is not None:
        raise ValueError(
            f"checkpoint_dir={params.checkpoint_dir!r}, which one fit alone can use, but several "
            "processes train one network: set checkpoint_dir=None."
        )


def computes_in_bfloat16(precision: Any, device: str) -> bool:
    """Return whether training and prediction use bfloat16; ValueError if it is not known."""
    check_choice(precision, "precision", PRECISIONS)
    return precision == "bfloat16" or (precision == "auto" and supports_bfloat16(device))


def build_network(params: LearningParams, shape: tuple[int, ...], seed: int | None) -> TwinNetwork:
    """Build a network for inputs of the working shape, its weights drawn from `seed`.

    Without a seed it has no weights, only their shapes: it is on the meta device.
    """
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    encoder = _build_encoder(params, shape, generator)
    try:
        features = feature_shape(encoder, shape)
    except (TypeError, ValueError, RuntimeError) as error:
        if isinstance(params.encoder, str) and not params.encoder_params:
            raise
        what = f"encoder_params={params.encoder_params!r}"
        what = what if params.encoder_params else f"encoder, a {type(encoder).__name__},"
        raise ValueError(f"{what} cannot be used for inputs of shape {shape}: {error}") from error
    own = {**_head_of_module(params, features), **(params.head_params or {})}
    with _naming("head_params", params.head_params):
        head = build_head(params.head, features, generator, **own)
    return TwinNetwork(encoder, head, still_norm=isinstance(params.encoder, nn.Module))


def _head_of_module(params: LearningParams, features: tuple[int, ...]) -> dict[str, Any]:
    """Return arguments of the head for the features of a module, which may be of any size."""
    if not isinstance(params.encoder, nn.Module):
        return {}
    if params.head == "aligned":
        return {"unit": True, "n_channels": min(MODULE_CHANNELS, features[0])}
    return {"unit": True} if params.head.endswith("_l1") else {}


def _build_encoder(
    params: LearningParams, shape: tuple[int, ...], generator: torch.Generator | None
) -> nn.Module:
    name = params.encoder
    if isinstance(name, nn.Module):
        encoder = copy.deepcopy(name).float()
        for own in encoders_in(encoder) if generator is not None else ():
            own.initialise(generator)
        return encoder
    if callable(name):
        encoder = name(shape)
        if not isinstance(encoder, nn.Module):
            raise TypeError(
                f"encoder, called with the input shape {shape}, returned "
                f"{type(encoder).__name__}; expected a torch.nn.Module."
            )
        return encoder
    if name == "auto":
        name = "mlp" if len(shape) == 1 else "conv"
    if len(shape) == 1 and name != "mlp":
        raise ValueError(
            f"encoder={name!r} needs images, got {describe_shape(shape)}: set "
            "image_shape=(height, width) to say what the rows hold, or use encoder='mlp'."
        )
    if takes_series(name) != (len(shape) == 2):
        raise ValueError(f"encoder={name!r} cannot be used for {describe_shape(shape)}.")
    own = params.encoder_params or {}
    if name == "conv":
        own = {"max_cells": HEADS[params.head].max_cells, **own}
    with _naming("encoder_params", params.encoder_params):
        return build_encoder(name, shape, generator, **own)


def build_batches(
    params: LearningParams,
    data: TrainingData,
    scaling: InputScaling,
    seed: int,
) -> Batches:
    """Return the training batches: of given or drawn pairs, or all pairs of classes.

    The augmentation in `params` is known; see `with_augmentation`.
    """
    augmentation: Any = params.augmentation
    pairs = data.pairs if isinstance(data, PairData) else None
    if isinstance(data, LabelledData) and params.n_pairs is not None:
        pairs = make_pairs(data.classes, data.groups, params.n_pairs, random_state=seed)
    if pairs is not None:
        return PairBatches(data.store, scaling, pairs, params.pairs_per_step(), augmentation, seed)
    assert isinstance(data, LabelledData)
    turns = turns_of(params.class_augmentation, scaling.output_shape)
    return ClassBatches(
        data.store,
        scaling,
        data.classes,
        data.groups,
        params.classes_per_step(),
        turns,
        augmentation,
        seed,
    )


def warn_of_new_norm(params: LearningParams) -> None:
    """Warn if the batch normalisation of a module, which stays still, has seen no data yet."""
    if not isinstance(params.encoder, nn.Module) or not trains(params.encoder):
        return
    ours = {layer for part in encoders_in(params.encoder) for layer in part.modules()}
    norms = [layer for layer in params.encoder.modules() if isinstance(layer, _BatchNorm)]
    if any(not is_trained(layer) for layer in norms if layer not in ours):
        warn(
            "encoder is a module whose batch normalisation has no statistics yet, and the "
            "statistics of a module are kept as they are. To train it from the start, pass a "
            "callable that takes the input shape and returns the module.",
            UserWarning,
        )


def warn_of_no_effect(params: LearningParams) -> None:
    """Warn of parameters that were set, although nothing was trained by gradients."""
    given = {name: getattr(params, name) for name in OF_TRAINING}
    idle = [name for name, value in given.items() if value and value != "auto"]
    if idle:
        warn(
            f"{', '.join(idle)}: set, but only training by gradients uses this, and nothing was "
            "trained: the encoder is frozen, and head='whitened' is known in closed form. Leave "
            "it out, or use head='cosine', which is trained. To learn from augmented images with "
            "head='whitened', add them to X.",
            NoEffectWarning,
        )


def encodes_once(params: LearningParams, network: TwinNetwork) -> bool:
    """Return whether training samples have the same features in each epoch."""
    return (
        not trains(network.encoder)
        and params.augmentation in ("auto", None)
        and params.class_augmentation in ("auto", None)
    )


def with_augmentation(
    params: LearningParams, input_shape: tuple[int, ...], scaling: InputScaling
) -> LearningParams:
    """Return the parameters with a callable for `augmentation`, or None, and without "auto"."""
    turned = params.class_augmentation
    if turned == "auto":
        turned = "rotate_reflect" if scaling.crop == "foreground" else None
    augmentation = _augmentation(params.augmentation, input_shape)
    return replace(params, augmentation=augmentation, class_augmentation=turned)


def _augmentation(name: Any, input_shape: tuple[int, ...]) -> Any:
    if callable(name):
        return name
    if name == "auto":
        name = (None, "series", "strokes" if input_shape[0] == 1 else "warp")[len(input_shape) - 1]
    if name is None:
        return None
    if (name == "series") != (len(input_shape) == 2) or len(input_shape) == 1:
        needs = "series, of encoder='conv1d'" if name == "series" else "images"
        or_images = ", or set image_shape=(height, width)" if len(input_shape) == 1 else ""
        raise ValueError(
            f"augmentation={name!r} needs {needs}, got {describe_shape(input_shape)}: use "
            f"augmentation=None, 'auto', or a callable{or_images}."
        )
    return AUGMENTATIONS[name]


def build_options(
    params: LearningParams,
    network: TwinNetwork,
    scaling: InputScaling,
    callbacks: list[Any],
    number: int,
    team: Team | None,
) -> TrainingOptions:
    """Return the options to train one of the networks by; `number` counts from 0."""
    of_all = f" {number + 1}/{params.n_networks}" if params.n_networks > 1 else ""
    return TrainingOptions(
        loss=params.loss,
        max_iter=params.max_iter,
        learning_rate=params.learning_rate,
        weight_decay=params.weight_decay,
        ema_decay=params.ema_decay,
        optimizer=params.optimizer,
        optimizer_params=params.optimizer_params or {},
        bfloat16=computes_in_bfloat16(params.precision, params.device)
        and not strides_outrun_maps(network.encoder, scaling.output_shape),
        device=params.device,
        callbacks=callbacks,
        net_params=params.net_params or {},
        progress=f"training{of_all}" if params.verbose else None,
        global_generators=draws_globally(params),
        team=team,
    )


def draws_globally(params: LearningParams) -> bool:
    """Return whether layers that are not ours may draw from torch's global generators."""
    return not isinstance(params.encoder, str)


@contextmanager
def _naming(name: str, params: dict[str, Any] | None) -> Iterator[None]:
    """Re-raise a constructor's error as a ValueError that names the parameter."""
    try:
        yield
    except (TypeError, ValueError, RuntimeError) as error:
        if not params:
            raise
        raise ValueError(f"{name}={params!r} cannot be used: {error}") from error
