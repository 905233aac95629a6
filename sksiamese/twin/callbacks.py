"""What skorch calls while training: schedules, weight averaging, validation, progress."""

import copy
import math
from collections.abc import Collection
from typing import Any, cast

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import (
    BatchScoring,
    Callback,
    EarlyStopping,
    EpochScoring,
    InputShapeSetter,
    PassthroughScoring,
)
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from ..exceptions import DivergedError
from .inference import NeuralComparer
from .network import TwinNetwork
from .scaling import InputScaling, Store

Tensors = tuple[Tensor, ...] | list[Tensor]
Episodes = list[tuple[np.ndarray, np.ndarray]]  # rows of support and query
OWN_NAMES = ("share", "clip", "average", "finite", "schedule", "validation", "progress")


class StopTraining(Exception):  # noqa: N818  # a signal, as StopIteration is
    """Raise it in a callback to end training early and keep what was learned.

    Examples
    --------
    >>> from skorch.callbacks import Callback
    >>> from sksiamese import SiameseOneShotClassifier
    >>> from sksiamese.callbacks import StopTraining
    >>> from sksiamese.datasets import make_glyphs
    >>> class StopAtTwo(Callback):
    ...     def on_epoch_end(self, net, **kwargs):
    ...         if len(net.history) == 2:
    ...             raise StopTraining
    >>> X, y = make_glyphs(n_classes=3, n_samples=2, image_size=28, random_state=0)
    >>> clf = SiameseOneShotClassifier(callbacks=[("stop", StopAtTwo())], random_state=0)
    >>> clf.fit(X, y).n_iter_
    2
    """


class CosineSchedule(Callback):
    """Learning rate: a short linear rise, then half a cosine to zero, as a function of the step.

    Each parameter group of the optimizer keeps its own greatest rate.

    Parameters
    ----------
    n_steps : int
        Steps of the whole training.
    warmup : float, default=0.02
        Fraction of the steps in which the rate rises.
    """

    def __init__(self, n_steps: int, warmup: float = 0.02) -> None:
        self.n_steps = n_steps
        self.warmup = warmup

    def on_train_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        """Remember each parameter group's greatest rate."""
        self.step_ = 0
        self.rates_ = [group["lr"] for group in net.optimizer_.param_groups]

    def on_batch_begin(self, net: NeuralNet, training: bool = False, **kwargs: Any) -> None:
        """Set the rate of this step."""
        progress = self.step_ / self.n_steps  # below 1: even a single step learns
        rise = min(1.0, (self.step_ + 1) / (self.n_steps * self.warmup))
        factor = rise * (1 + math.cos(math.pi * progress)) / 2
        for group, rate in zip(net.optimizer_.param_groups, self.rates_, strict=True):
            group["lr"] = rate * factor
        self.step_ += 1


class MomentumRamp(Callback):
    """The paper's momentum (section 3.2): it rises linearly from 0.5, epoch by epoch.

    It ends at the momentum that each parameter group of the optimizer was given.

    Parameters
    ----------
    n_epochs : int, default=20
        Epochs until it is reached.

    See Also
    --------
    sksiamese.recipes.koch2015 : Uses it.

    Examples
    --------
    >>> from sksiamese import SiameseOneShotClassifier
    >>> from sksiamese.callbacks import MomentumRamp
    >>> clf = SiameseOneShotClassifier(
    ...     optimizer="sgd", optimizer_params={"momentum": 0.9}, callbacks=[MomentumRamp()])
    """

    def __init__(self, n_epochs: int = 20) -> None:
        self.n_epochs = n_epochs

    def on_train_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        """Remember each parameter group's final momentum."""
        self.momenta_ = [group["momentum"] for group in net.optimizer_.param_groups]

    def on_epoch_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        """Set the momentum of this epoch."""
        progress = min(1.0, (len(net.history) - 1) / self.n_epochs)
        for group, momentum in zip(net.optimizer_.param_groups, self.momenta_, strict=True):
            group["momentum"] = 0.5 + (momentum - 0.5) * progress


class WeightAverage(Callback):
    """Exponential moving average of the weights, with a short memory at first.

    Parameters
    ----------
    decay : float
        Weight of the past, 0 to 1; 0 turns averaging off.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay

    def on_train_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        """Start from the initial weights."""
        self.model_ = AveragedModel(net.module_, multi_avg_fn=self.average, use_buffers=True)

    def average(self, averaged: Tensors, new: Tensors, n_averaged: Tensor | int) -> None:
        """Move averages towards the new weights, tensors of one dtype."""
        n = int(n_averaged)
        decay = min(self.decay, (1 + n) / (10 + n))
        if averaged[0].is_floating_point():
            torch._foreach_lerp_(averaged, new, 1 - decay)
        else:
            torch._foreach_copy_(averaged, new)

    def on_batch_end(self, net: NeuralNet, training: bool = False, **kwargs: Any) -> None:
        """Add the weights after this step."""
        self.model_.update_parameters(net.module_)


class FiniteLoss(Callback):
    """Stop with an error when the loss is not finite."""

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """Raise `DivergedError` if the epoch's loss is NaN or infinite."""
        if not math.isfinite(net.history[-1]["train_loss"]):
            raise DivergedError(
                f"Training diverged: the loss of epoch {len(net.history)} is "
                f"{net.history[-1]['train_loss']}. Lower learning_rate, and check the value range "
                "of X."
            )


class ProgressBar(Callback):
    """A tqdm bar over the epochs, with the training loss.

    Parameters
    ----------
    n_epochs : int
    description : str
        Written before the bar.
    """

    def __init__(self, n_epochs: int, description: str) -> None:
        self.n_epochs = n_epochs
        self.description = description
        self.bar_: Any = None

    def on_train_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        """Open the bar."""
        from tqdm.auto import tqdm

        self.bar_ = tqdm(total=self.n_epochs, desc=self.description, unit="epoch")

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """Advance the bar to this epoch."""
        shown = {"loss": f"{net.history[-1]['train_loss']:.3f}"}
        if "one_shot_accuracy" in net.history[-1]:
            shown["one-shot"] = f"{net.history[-1]['one_shot_accuracy']:.1%}"
        self.bar_.set_postfix(shown)
        self.bar_.update(len(net.history) - self.bar_.n)  # several, after a checkpoint

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps, which is nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Do nothing: the next epoch says how far training is."""

    def close(self) -> None:
        """Close the bar, however training ended."""
        if self.bar_ is not None:
            self.bar_.close()


class OneShotValidation(Callback):
    """One-shot accuracy of the averaged weights on fixed episodes; best weights, early stopping.

    Parameters
    ----------
    average : WeightAverage
    scaling : InputScaling
    store : Store
        The held-out training images.
    episodes : list of (support, query) arrays of rows
    classes : ndarray
        Class of each held-out image.
    patience : int
        Epochs without improvement after which training stops.
    """

    def __init__(
        self,
        average: WeightAverage,
        scaling: InputScaling,
        store: Store,
        episodes: Episodes,
        classes: np.ndarray,
        patience: int,
    ) -> None:
        self.average = average
        self.scaling = scaling
        self.store = store
        self.episodes = episodes
        self.classes = classes
        self.patience = patience

    def on_train_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        """Forget any earlier training."""
        self.best_score_, self.best_epoch_ = -1.0, 0
        self.best_state_: dict[str, Tensor] | None = None

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """Measure, keep the best weights, and raise `StopTraining` when patience is spent."""
        network = cast(TwinNetwork, self.average.model_.module.eval())
        score = self.accuracy(network)
        epoch = len(net.history)
        net.history.record("one_shot_accuracy", score)
        if score > self.best_score_:
            self.best_score_, self.best_epoch_ = score, epoch
            self.best_state_ = copy.deepcopy(network.state_dict())
        if epoch - self.best_epoch_ >= self.patience:
            raise StopTraining

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps: the best so far."""
        best = {"score": self.best_score_, "epoch": self.best_epoch_}
        return {**best, "state": self.best_state_ and dict(self.best_state_)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self.best_score_, self.best_epoch_ = state["score"], state["epoch"]
        self.best_state_ = state["state"]

    def accuracy(self, network: TwinNetwork) -> float:
        """Return the fraction of queries whose most similar exemplar is of their class."""
        used = np.unique(np.concatenate([np.concatenate(episode) for episode in self.episodes]))
        device = next(iter(network.parameters())).device
        comparer = NeuralComparer(network, self.scaling, str(device))
        embeddings = comparer.embed(self.store, used, check=False)
        right = total = 0
        for support, query in self.episodes:
            logits = comparer.logits(
                embeddings[np.searchsorted(used, query)],
                embeddings[np.searchsorted(used, support)],
            )
            answers = self.classes[support][logits.argmax(1)]
            right += int((answers == self.classes[query]).sum())
            total += len(query)
        return right / total


def check_callbacks(callbacks: Any, early_stopping: bool) -> None:
    """Check the parameter `callbacks` before training.

    Parameters
    ----------
    callbacks : list of skorch callbacks, or of (name, callback), or None
    early_stopping : bool
        Whether one-shot accuracy is recorded.

    Raises
    ------
    TypeError
        If it is something else.
    ValueError
        If a callback cannot work here, or monitors what will not be recorded.
    """
    used = [] if callbacks is None else unnamed(callbacks)
    for callback in used:
        _check_callback(callback)
    recorded = {"train_loss", "dur", "epoch"}
    if early_stopping:
        recorded.add("one_shot_accuracy")
    for callback in used:
        if isinstance(callback, EpochScoring):
            name = callback.name or getattr(callback.scoring, "__name__", "")
            recorded |= {name, f"{name}_best"}
        elif type(callback).__module__.split(".")[0] not in ("skorch", "sksiamese"):
            return  # it may record any name; `check_monitored` looks during training
    for callback in used:
        check_monitored(callback, recorded)


def unnamed(callbacks: Any) -> list[Any]:
    """Return the callbacks without their names; raise unless both are as skorch takes them."""
    used: list[Any] = []
    names = set(OWN_NAMES)
    for entry in callbacks if isinstance(callbacks, list | tuple) else [None]:
        name, callback = entry if isinstance(entry, tuple) and len(entry) == 2 else ("", entry)
        is_instance = hasattr(callback, "on_epoch_end") and not isinstance(callback, type)
        if not is_instance or not isinstance(name, str):
            raise TypeError(
                f"callbacks={callbacks!r}; expected a list of skorch callbacks, or None. An entry "
                "is an instance, not a class, or a tuple (name, instance)."
            )
        if name in names:
            raise ValueError(
                f"callbacks has the name {name!r} twice, or it is one of the estimator's own "
                f"({', '.join(OWN_NAMES)}). Choose another name."
            )
        if name:
            names.add(name)
        used.append(callback)
    return used


def check_monitored(callback: Any, recorded: Collection[str]) -> None:
    """Raise ValueError if the callback monitors a name that is not among those recorded."""
    monitored = getattr(callback, "monitor", None)
    if isinstance(monitored, str) and monitored not in recorded:
        raise ValueError(
            f"callbacks has {_named(callback)} with monitor={monitored!r}, which is not recorded "
            'before it is read: there is no validation set. Monitor "train_loss" or, with '
            'early_stopping=True, "one_shot_accuracy" (with lower_is_better=False); Checkpoint '
            "takes monitor=None, for every epoch. A callback that records a value itself goes "
            "before those that monitor it."
        )


def _check_callback(callback: Any) -> None:
    """Raise ValueError if the callback cannot work here."""
    if getattr(callback, "load_best", False):
        raise ValueError(
            f"callbacks has {callback!r} with load_best=True, but the fitted network has the "
            "moving average of the weights, which skorch does not know. Use "
            "early_stopping=True, which restores the best."
        )
    if isinstance(callback, EarlyStopping) and not isinstance(callback.monitor, str):
        raise ValueError(
            f"callbacks has EarlyStopping with monitor={callback.monitor!r}; expected a name, "
            'such as "train_loss".'
        )
    scores = isinstance(callback, BatchScoring | EpochScoring | PassthroughScoring)
    own_score = isinstance(callback, EpochScoring) and callable(callback.scoring)
    if scores and not (own_score and callback.on_train):
        raise ValueError(
            f"callbacks has {_named(callback)}, but batches of pairs have no labels to score by, "
            "and there is no validation set. Use early_stopping=True, which records "
            '"one_shot_accuracy", or a callback that calls net.history.record.'
        )
    if isinstance(callback, InputShapeSetter):
        raise ValueError(
            "callbacks has InputShapeSetter, but the network is built before training. Pass a "
            "callable as encoder, which is given the input shape."
        )


def _named(callback: Any) -> str:
    return type(callback).__name__
