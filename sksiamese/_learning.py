"""Learning: from parameters and validated data to a fitted value.

Functions that build and train; nothing here changes the estimator whose parameters it reads.
"""

import copy
import math
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import nn

from ._callbacks import EpochTasks
from ._fitted import Fitted
from ._identity import identity
from ._params import LearningParams, check_choice
from ._support import SupportSet
from ._validation import (
    ImageStore,
    SubStore,
    check_classes,
    check_pairs,
    check_trainable,
    is_pairs,
)
from .model_selection import EpisodeSplit, make_pairs
from .model_selection._split import common_way
from .twin.augmentation import AUGMENTATIONS, turns_of
from .twin.batches import Batches, ClassBatches, PairBatches
from .twin.callbacks import check_callbacks
from .twin.checkpoints import Checkpoints, load_module_state
from .twin.encoders import ENCODERS, build_encoder, feature_shape, strides_outrun_maps
from .twin.heads import HEADS, build_head
from .twin.inference import NeuralComparer
from .twin.losses import LOSSES
from .twin.network import TwinEnsemble, TwinNetwork, members_of
from .twin.optimizers import OPTIMIZERS
from .twin.reading import check_samples, check_training_images
from .twin.scaling import InputScaling, describe_shape, learn_scaling
from .twin.training import (
    History,
    TrainingOptions,
    Validation,
    history_of,
    supports_bfloat16,
    train,
    warn_if_collapsed,
)

AUTO_SIDE = 36
VALIDATION_TRIALS = 320


@dataclass(frozen=True)
class PairData:
    """Samples, and the pairs of them that a network learns from.

    Attributes
    ----------
    store : ImageStore
    pairs : ndarray of shape (n_pairs, 3)
        Rows (i, j, same).
    negative_label : int, default=0
        Label of different pairs in the verifier, 0 or -1.
    """

    store: ImageStore
    pairs: np.ndarray
    negative_label: int = 0


@dataclass(frozen=True)
class LabelledData:
    """Samples of classes in groups, that a network learns from.

    Attributes
    ----------
    store : ImageStore or SubStore
    labels : ndarray of shape (n_samples,)
        As given.
    classes, groups : ndarray of shape (n_samples,)
        Integers from 0; a class belongs to one group.
    group_labels : ndarray of shape (n_samples,) or None, default=None
        As given.
    """

    store: ImageStore | SubStore
    labels: np.ndarray
    classes: np.ndarray
    groups: np.ndarray
    group_labels: np.ndarray | None = None

    def subset(self, rows: np.ndarray) -> "LabelledData":
        """Return the samples at `rows`, with classes and groups renumbered from 0."""
        return LabelledData(
            SubStore(self.store, rows),
            self.labels[rows],
            np.unique(self.classes[rows], return_inverse=True)[1],
            np.unique(self.groups[rows], return_inverse=True)[1],
            None if self.group_labels is None else self.group_labels[rows],
        )


TrainingData = PairData | LabelledData


def training_data(store: ImageStore, y: Any, groups: Any = None) -> TrainingData:
    """Return validated labels and groups, or pairs, beside the samples."""
    if y is not None and is_pairs(y, len(store)):
        return PairData(store, check_pairs(y, len(store), groups))
    labels, group_labels, classes, numbers = check_classes(y, groups, len(store))
    return LabelledData(store, labels, classes, numbers, group_labels)


@dataclass(frozen=True)
class Monitor:
    """scikit-learn's callbacks, to be notified after each epoch.

    Attributes
    ----------
    estimator : estimator
    context : CallbackContext
    X, y : as given to `fit`
    """

    estimator: Any
    context: Any
    X: Any
    y: Any

    def epoch_tasks(self, fitted_so_far: Callable[[Any], Fitted]) -> EpochTasks:
        """Return the skorch callback that reports each epoch as a task."""
        return EpochTasks(
            self.estimator,
            self.context,
            self.X,
            self.y,
            lambda net: {"fitted_": fitted_so_far(net)},
        )


def check_params(params: LearningParams) -> None:
    """Raise ValueError or TypeError for parameters that no training could use."""
    if not isinstance(params.encoder, nn.Module) and not callable(params.encoder):
        check_choice(params.encoder, "encoder", ("auto", *ENCODERS))
    check_choice(params.head, "head", tuple(HEADS))
    if not callable(params.loss):
        check_choice(params.loss, "loss", tuple(LOSSES))
    if not callable(params.augmentation):
        check_choice(params.augmentation, "augmentation", ("auto", None, *AUGMENTATIONS))
    optimizer = params.optimizer
    if not (isinstance(optimizer, type) and issubclass(optimizer, torch.optim.Optimizer)):
        check_choice(optimizer, "optimizer", tuple(OPTIMIZERS))
    params.check()
    check_callbacks(params.callbacks, params.early_stopping)
    try:
        torch.device(params.device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device={params.device!r} is not known to torch: {error}") from error


def check_device(device: Any) -> None:
    """Raise ValueError unless torch can use the device on this machine."""
    try:
        torch.zeros(1, device=torch.device(device)).cpu()  # "meta" has no values
    except (RuntimeError, TypeError, AssertionError) as error:
        raise ValueError(
            f"device={device!r} cannot be used on this machine ({error}). Call "
            "set_params(device='cpu'), or name a device that torch has here."
        ) from error


def learn(
    params: LearningParams,
    data: TrainingData,
    *,
    feature_names: np.ndarray | None = None,
    start: Fitted | None = None,
    false_acceptance_rate: float | None = None,
    monitor: Monitor | None = None,
) -> tuple[Fitted, bool]:
    """Train the networks. If y has labels, the training set becomes the support.

    Parameters
    ----------
    params : LearningParams
    data : TrainingData
    feature_names : ndarray of str or None, default=None
        Names of the columns of X.
    start : Fitted or None, default=None
        Continue from its weights.
    false_acceptance_rate : float or None, default=None
        Calibrate for this rate on classes held out of training; None: do not.
    monitor : Monitor or None, default=None

    Returns
    -------
    fitted : Fitted
    interrupted : bool
        Whether Ctrl-C ended training early; `fitted` is what was learned so far.
    """
    others = (feature_names, start, false_acceptance_rate, monitor)
    if params.checkpoint_dir is None:
        return _learn(params, data, None, *others)
    fit = identity(
        params,
        _arrays_of(data),
        start=None if start is None else _weights_of(start),
        false_acceptance_rate=false_acceptance_rate,
    )
    with Checkpoints(params.checkpoint_dir, fit, params.checkpoint_minutes) as checkpoints:
        if params.random_state is None:
            params = replace(params, random_state=checkpoints.seed)
        return _learn(params, data, checkpoints, *others)


def _arrays_of(data: TrainingData) -> dict[str, Any]:
    """Return the arrays that decide what is learned, as users name them."""
    X = data.store.X if isinstance(data.store, ImageStore) else None
    if isinstance(data, PairData):
        return {"X": X, "y": data.pairs}
    return {"X": X, "y": data.labels, "groups": data.group_labels}


def _weights_of(start: Fitted) -> tuple[Any, ...]:
    """Return what training takes over from where it starts."""
    scaling = neural(start).scaling
    own = (scaling.offset, scaling.scale)
    return (neural(start).network, *(() if start.adapts else own))


def _learn(
    params: LearningParams,
    data: TrainingData,
    checkpoints: Checkpoints | None,
    feature_names: np.ndarray | None,
    start: Fitted | None,
    false_acceptance_rate: float | None,
    monitor: Monitor | None,
) -> tuple[Fitted, bool]:
    """Do what `learn` says, with or without checkpoints."""
    split = _split(params, data, false_acceptance_rate is not None)
    offset, scale = learn_scaling(data.store)
    if start is not None and not start.adapts:
        offset, scale = neural(start).scaling.offset, neural(start).scaling.scale
    scaling = build_scaling(params, data.store.input_shape, offset, scale)
    if start is None or start.adapts:
        check_training_images(data.store, scaling)
    else:
        check_samples(data.store, np.arange(len(data.store)), scaling)
    before = [] if start is None else members_of(neural(start).network)
    members: list[TwinNetwork] = []
    histories: list[History] = []

    def fitted_by(networks: list[TwinNetwork]) -> Fitted:
        network = networks[0] if len(networks) == 1 else TwinEnsemble(networks).eval()
        return Fitted(
            NeuralComparer(network, scaling, str(params.device)),
            data.store.input_shape,
            flat=data.store.flat,
            feature_names=feature_names,
            held_out_classes=split.held_out_classes,
            held_out_groups=split.held_out_groups,
            negative_label=data.negative_label if isinstance(data, PairData) else 0,
            history=tuple(histories),
        )

    def past(n: int) -> History:
        return start.history[n] if start is not None and n < len(start.history) else []

    interrupted = False
    for n, seed in enumerate(split.seeds):
        callbacks = list(params.callbacks or ())
        if monitor is not None:
            callbacks.append(monitor.epoch_tasks(_so_far(fitted_by, members, past(n), data)))
        first = before[n] if n < len(before) else None
        try:
            member, history, interrupted = _train_member(
                params, split, scaling, seed, first, callbacks, n, checkpoints
            )
        except KeyboardInterrupt:
            if not members:
                raise
            interrupted = True  # before this member has learned anything
            break
        members.append(member)
        histories.append(past(n) + history)
        if interrupted:
            break
    fitted = fitted_by(members)
    if start is not None and not params.max_iter:  # the same networks, so the same logits
        fitted = replace(
            fitted,
            calibration=start.calibration,
            rejection_threshold=start.rejection_threshold,
            genuine_scores=start.genuine_scores,
            cohort=start.cohort,
            decision_threshold=start.decision_threshold,
        )
    if isinstance(data, PairData):
        return fitted, interrupted
    try:
        embeddings = fitted.comparer.embed(data.store, check=False)
        supported = replace(fitted, support=SupportSet.of(embeddings, data.labels))
        trained = split.training
        rows = fitted.cohort_rows(trained.classes) if isinstance(trained, LabelledData) else None
        if rows is not None and params.max_iter:
            cohort = fitted.comparer.embed(trained.store, rows, check=False)
            supported = replace(supported, cohort=cohort)
        if false_acceptance_rate is not None:
            held = data.subset(split.calibrating)
            supported = supported.calibrated(
                embeddings[split.calibrating], held.classes, held.groups, false_acceptance_rate
            )
    except KeyboardInterrupt:
        return fitted, True
    return supported, interrupted


def neural(fitted: Fitted) -> NeuralComparer:
    """Return the comparer of an estimator that has a network.

    Raises
    ------
    TypeError
        If it compares by something else.
    """
    if not isinstance(fitted.comparer, NeuralComparer):
        raise TypeError(
            f"This estimator compares by {type(fitted.comparer).__name__}, which has no network."
        )
    return fitted.comparer


def _so_far(
    fitted_by: Callable[[list[TwinNetwork]], Fitted],
    members: list[TwinNetwork],
    past: History,
    data: TrainingData,
) -> Callable[[Any], Fitted]:
    """Return what a callback of scikit-learn needs to predict in the middle of training."""

    def fitted_so_far(net: Any) -> Fitted:
        average = copy.deepcopy(dict(net.callbacks_)["average"].model_.module)
        network = average.to("cpu").eval().requires_grad_(False)
        fitted = fitted_by([*members, network])
        fitted = replace(fitted, history=(*fitted.history, past + history_of(net)))
        if isinstance(data, PairData):
            return fitted
        embeddings = fitted.comparer.embed(data.store, check=False)
        support = SupportSet.of(embeddings, data.labels)
        # Accept every query: no threshold is calibrated yet.
        return replace(fitted, support=support, rejection_threshold=-math.inf)

    return fitted_so_far


@dataclass(frozen=True)
class _Split:
    """Samples used for training, validation and calibration.

    Attributes
    ----------
    training : TrainingData
    validation : Validation or None
    calibrating : ndarray of rows of the whole data
    held_out_classes, held_out_groups : ndarray of labels or None
    seeds : list of int
        Of each network.
    """

    training: TrainingData
    validation: Validation | None
    calibrating: np.ndarray
    held_out_classes: np.ndarray | None
    held_out_groups: np.ndarray | None
    seeds: list[int]


def _split(params: LearningParams, data: TrainingData, calibrates: bool) -> _Split:
    """Hold out classes to calibrate and to stop early by; the same for all networks."""
    rng = params.rng()
    if isinstance(data, PairData):
        if params.early_stopping:
            raise ValueError(
                "early_stopping=True needs class labels to make one-shot trials of held-out "
                "classes, but y has pairs: pass labels, or set early_stopping=False."
            )
        return _Split(data, None, np.arange(0), None, None, _seeds(rng, params))
    training, validation = data, None
    kept = np.arange(len(data.store))
    calibrating = stopping = kept[:0]
    if calibrates:
        seed = int(rng.randint(2**31 - 1))
        rows, held, _ = hold_out(params, data, seed, "unknown_label")
        training, kept, calibrating = data.subset(rows), kept[rows], kept[held]
    seeds = _seeds(rng, params)
    if params.early_stopping:
        rows, held, episodes = hold_out(params, training, seeds[0], "early_stopping=True")
        validation = Validation(
            SubStore(training.store, held),
            episodes,
            training.classes[held],
            params.n_iter_no_change,
        )
        training, stopping = training.subset(rows), kept[held]
    held = np.concatenate([calibrating, stopping])
    classes = groups = None
    if len(held):
        # A label may occur in a group that was held out and in one that was not.
        classes = np.setdiff1d(data.labels[held], training.labels)
        if data.group_labels is not None and data.groups.max() > 0:
            groups = np.unique(data.group_labels[held])
    return _Split(training, validation, calibrating, classes, groups, seeds)


def _seeds(rng: np.random.RandomState, params: LearningParams) -> list[int]:
    return rng.randint(2**31 - 1, size=params.n_estimators).tolist()


def hold_out(
    params: LearningParams, data: LabelledData, seed: int, reason: str
) -> tuple[np.ndarray, np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    """Choose classes to keep from training, whole groups if there are several.

    Returns
    -------
    kept, held : ndarray of rows
    episodes : list of (support, query)
        One-shot trials of the held-out rows, by their positions in `held`.

    Raises
    ------
    ValueError
        If too few classes are left on one side.
    """
    classes, groups = data.classes, data.groups
    rng = np.random.default_rng(seed)
    by_group = groups.max() > 0
    units = groups if by_group else classes
    names = rng.permutation(units.max() + 1)
    n_held = max(1 if by_group else 2, round(params.validation_fraction * len(names)))
    held = np.isin(units, names[:n_held])
    try:
        check_trainable(classes[~held], classes[~held], groups[~held])
        n_way = common_way(classes[held], groups[held])
        n_episodes = math.ceil(VALIDATION_TRIALS / n_way)
        splitter = EpisodeSplit(n_way, n_episodes=n_episodes, random_state=seed)
        episodes = list(splitter.split(np.empty(held.sum()), classes[held], groups[held]))
    except ValueError as error:
        raise ValueError(
            f"{reason} holds out {n_held} of {len(names)} "
            f"{'groups' if by_group else 'classes'} (validation_fraction="
            f"{params.validation_fraction}) for one-shot trials, which fails here ({error}). "
            f"Change validation_fraction, or do without {reason}."
        ) from error
    return np.flatnonzero(~held), np.flatnonzero(held), episodes


def _train_member(
    params: LearningParams,
    split: _Split,
    scaling: InputScaling,
    seed: int,
    start: TwinNetwork | None,
    callbacks: list[Any],
    number: int,
    checkpoints: Checkpoints | None,
) -> tuple[TwinNetwork, History, bool]:
    """Train one of the networks, from the weights of `start` if given.

    A network that `checkpoints` has whole is not trained again.
    """
    input_shape = split.training.store.input_shape
    shape = working_shape(params, input_shape)
    progress = None
    if params.verbose:
        of_all = f" {number + 1}/{params.n_estimators}" if params.n_estimators > 1 else ""
        progress = f"training{of_all}"
    bfloat16 = params.precision == "bfloat16" or (
        params.precision == "auto" and supports_bfloat16(params.device)
    )
    is_own = isinstance(params.encoder, str)
    with nullcontext() if is_own else _lent_generator(seed):
        network = build_network(params, shape, seed)
        if start is not None:
            _load_weights(network, start)
        if not params.max_iter:
            return network.eval().requires_grad_(False), [], False
        batches = build_batches(params, split.training, scaling, shape, seed)
        if checkpoints is not None and number < len(checkpoints.members):
            whole = checkpoints.members[number]
            load_module_state(network.eval(), whole["network"])
            warn_if_collapsed(network, batches)
            return network, whole["history"], False
        options = TrainingOptions(
            loss=params.loss,
            max_iter=params.max_iter,
            learning_rate=params.learning_rate,
            weight_decay=params.weight_decay,
            ema_decay=params.ema_decay,
            optimizer=params.optimizer,
            optimizer_params=params.optimizer_params or {},
            bfloat16=bfloat16 and not strides_outrun_maps(network.encoder, shape),
            device=params.device,
            callbacks=callbacks,
            net_params=params.net_params or {},
            progress=progress,
            global_generators=not is_own,
        )
        trained = train(network, batches, options, split.validation, checkpoints)
    network, history, interrupted = trained
    if checkpoints is not None and not interrupted:
        checkpoints.add(network, history, complete=number + 1 == params.n_estimators)
    return trained


def working_shape(params: LearningParams, input_shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of what the encoder sees, once images are brought to `resize`."""
    size: Any = params.resize
    if size is None or len(input_shape) == 1:
        return input_shape
    if isinstance(size, str):
        if params.encoder not in ("auto", "conv"):  # koch needs 65, a user's knows its own
            return input_shape
        size = AUTO_SIDE
    if isinstance(size, Integral) and params.crop == "foreground":
        size = (size, size)
    elif isinstance(size, Integral):
        ratio = int(size) / max(input_shape[1:])
        size = (max(1, round(side * ratio)) for side in input_shape[1:])
    return (input_shape[0], *map(int, size))


def build_scaling(
    params: LearningParams,
    input_shape: tuple[int, ...],
    offset: torch.Tensor,
    scale: torch.Tensor,
    working_size: tuple[int, ...] | None = None,
) -> InputScaling:
    """Return the scaling from inputs of this shape to what the encoder sees.

    A pretrained network keeps its working size for images of any size.
    """
    if len(input_shape) == 1:
        if params.crop is not None:
            raise ValueError(
                f"crop={params.crop!r} needs images, got {describe_shape(input_shape)}: use "
                "crop=None, or set image_shape=(height, width)."
            )
        return InputScaling(offset, scale)
    size = working_size or working_shape(params, input_shape)[1:]
    return InputScaling(offset, scale, input_shape[1:], size, params.crop)


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
    with _naming("head_params", params.head_params):
        head = build_head(params.head, features, generator, **params.head_params or {})
    return TwinNetwork(encoder, head)


def _build_encoder(
    params: LearningParams, shape: tuple[int, ...], generator: torch.Generator | None
) -> nn.Module:
    name = params.encoder
    if isinstance(name, nn.Module):
        return copy.deepcopy(name).float()
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
    own = params.encoder_params or {}
    if name == "conv":
        own = {"max_cells": HEADS[params.head].max_cells, **own}
    with _naming("encoder_params", params.encoder_params):
        return build_encoder(name, shape, generator, **own)


def build_batches(
    params: LearningParams,
    data: TrainingData,
    scaling: InputScaling,
    shape: tuple[int, ...],
    seed: int,
) -> Batches:
    """Return the training batches: of given or drawn pairs, or all pairs of classes."""
    augmentation = _augmentation(params, data.store.input_shape)
    pairs = data.pairs if isinstance(data, PairData) else None
    if isinstance(data, LabelledData) and params.n_pairs is not None:
        pairs = make_pairs(data.classes, data.groups, params.n_pairs, random_state=seed)
    if pairs is not None:
        return PairBatches(data.store, scaling, pairs, params.pairs_per_step(), augmentation, seed)
    assert isinstance(data, LabelledData)
    turns = turns_of(params.class_augmentation, shape)
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


def _augmentation(params: LearningParams, input_shape: tuple[int, ...]) -> Any:
    name = params.augmentation
    if callable(name):
        return name
    if name == "auto":
        if len(input_shape) == 1:
            return None
        name = "strokes" if input_shape[0] == 1 else "warp"
    elif name is not None and len(input_shape) == 1:
        raise ValueError(
            f"augmentation={name!r} needs images, got {describe_shape(input_shape)}: use "
            "augmentation=None, a callable, or set image_shape=(height, width)."
        )
    return None if name is None else AUGMENTATIONS[name]


def _load_weights(network: TwinNetwork, start: TwinNetwork) -> None:
    try:
        for name, own in (("encoder", network.encoder), ("head", network.head)):
            if type(own) is not type(getattr(start, name)):  # whose weights may yet fit
                raise RuntimeError(f"It had another {name}.")
        network.load_state_dict(start.state_dict())
    except RuntimeError as error:
        raise ValueError(
            "The weights to start from (warm_start=True, or weights) are of another network: "
            "parameters that decide how the network is built have changed since. Set them back, "
            "or start anew, with warm_start=False and weights=None. "
            f"{error}"
        ) from error


@contextmanager
def _naming(name: str, params: dict[str, Any] | None) -> Iterator[None]:
    """Re-raise a constructor's error as a ValueError that names the parameter."""
    try:
        yield
    except (TypeError, ValueError, RuntimeError) as error:
        if not params:
            raise
        raise ValueError(f"{name}={params!r} cannot be used: {error}") from error


@contextmanager
def restored_on_error(random_state: Any) -> Iterator[None]:
    """Restore a RandomState if the body fails, so that a failed attempt draws nothing."""
    before = None
    if isinstance(random_state, np.random.RandomState):
        before = random_state.get_state()
    try:
        yield
    except BaseException:
        if before is not None:
            random_state.set_state(before)
        raise


class _Lending:
    lock = threading.RLock()

    @classmethod
    def renew(cls) -> None:
        cls.lock = threading.RLock()


if hasattr(os, "register_at_fork"):  # another thread may hold it, which a child does not have
    os.register_at_fork(after_in_child=_Lending.renew)


@contextmanager
def _lent_generator(seed: int) -> Iterator[None]:
    """Seed torch's global generators for the body, in one thread at a time.

    Layers that are not ours draw weights and dropout from them. They are restored afterwards.
    """
    with _Lending.lock, torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield
