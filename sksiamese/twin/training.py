"""Training: a private skorch net, and `train`, which runs it."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping, GradientNormClipping, LRScheduler
from torch import Tensor

from ..exceptions import CollapseWarning, warn
from .batches import Batches
from .callbacks import (
    CosineSchedule,
    Episodes,
    FiniteLoss,
    OneShotValidation,
    ProgressBar,
    StopTraining,
    WeightAverage,
    check_monitored,
    unnamed,
)
from .checkpoints import Checkpoints
from .inference import NeuralComparer
from .losses import LossFunction, TwinLoss
from .network import TwinNetwork
from .optimizers import OPTIMIZERS
from .scaling import Store, evenly_spaced
from .sharing import SharedGradients, Team
from .state import restore_net, state_of_net

History = list[dict[str, Any]]


class TwinNet(NeuralNet):
    """skorch's training loop over our batches.

    It differs from stock skorch in six ways. Batches come from ``batches.epoch(number)``, a pure
    function of the epoch, and hold images and pairs of different lengths. Logits may be computed
    in bfloat16. Every callback is told of an epoch before one of them stops the training. Ctrl-C
    is not swallowed, so it ends a grid search too. Checkpoints hold the state of all of it.
    Several processes may share the work.
    """

    def __init__(
        self,
        *args: Any,
        bfloat16: bool = False,
        checkpoints: Checkpoints | None = None,
        global_generators: bool = False,
        team: Team | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.bfloat16 = bfloat16
        self.checkpoints = checkpoints
        self.global_generators = global_generators
        self.team = team
        self.begun_: dict[str, Any] | None = None  # how far a checkpoint's epoch is

    def get_iterator(self, dataset: Batches, training: bool = False) -> Batches:
        """Return the batches themselves."""
        return dataset

    def infer(self, x: dict[str, Tensor], **fit_params: Any) -> Tensor:
        """Return the logits of a batch, float32."""
        x = {name: tensor.to(self.device) for name, tensor in x.items()}
        device = torch.device(self.device).type
        with torch.autocast(device, torch.bfloat16, enabled=self.bfloat16):
            if self.team is None:
                return self.module_(**x).float()
            return self.team.logits(self.module_, **x).float()

    def notify(self, method_name: str, **kwargs: Any) -> None:
        """Tell every callback, and only then stop for those that ask for it."""
        getattr(self, method_name)(self, **kwargs)
        stop = False
        for _, callback in self.callbacks_:
            if method_name == "on_epoch_end":
                check_monitored(callback, list(self.history[-1]))
            try:
                getattr(callback, method_name)(self, **kwargs)
            except StopTraining:
                stop = True
            except KeyboardInterrupt:  # skorch's own way to stop early, or the user's Ctrl-C
                if not isinstance(callback, EarlyStopping):
                    raise
                stop = True
        if stop:
            raise StopTraining

    def run_single_epoch(
        self, iterator: Batches | None, training: bool, prefix: str, step_fn: Any, **params: Any
    ) -> None:
        """Take the steps of one epoch, or those that are left of it, and record its mean loss."""
        if iterator is None:
            return
        epoch = len(self.history) - 1
        generator = iterator.generator(epoch)
        total, n_batches = 0.0, 0
        if self.begun_ is not None:
            total, n_batches = self.begun_["total"], self.begun_["n_batches"]
            generator.set_state(self.begun_["generator"])
            self.begun_ = None
        for batch in iterator.epoch(epoch, generator, n_batches):
            self.history.new_batch()
            self.notify("on_batch_begin", batch=batch, training=training)
            step = step_fn(batch, **params)
            loss = step["loss"].item()
            self.history.record_batch(prefix + "_loss", loss)
            total += loss
            n_batches += 1
            self.notify("on_batch_end", batch=batch, training=training, **step)
            is_last = n_batches == iterator.n_batches
            if self.checkpoints is not None and not is_last and self.checkpoints.due():
                state = generator.get_state()
                self.keep({"total": total, "n_batches": n_batches, "generator": state})
        self.history.record(prefix + "_loss", total / n_batches)

    def fit_loop(self, X: Batches, y: None = None, epochs: None = None, **params: Any) -> Any:
        """Train epoch by epoch, and keep the state after each."""
        while self.begun_ is not None or len(self.history) < self.max_epochs:
            if self.begun_ is None:
                self.notify("on_epoch_begin", dataset_train=X, dataset_valid=None)
            self.run_single_epoch(X, True, "train", self.train_step, **params)
            self.notify("on_epoch_end", dataset_train=X, dataset_valid=None)
            if len(self.history) < self.max_epochs:
                self.keep(None)
        return self

    def partial_fit(self, X: Batches, y: None = None, classes: None = None, **params: Any) -> Any:
        """Train until the epochs are done or a callback raises `StopTraining`."""
        if not self.initialized_:
            self.initialize()
        self.begun_ = None
        self.notify("on_train_begin", X=X, y=y)
        if self.checkpoints is not None and self.checkpoints.running is not None:
            state, self.checkpoints.running = self.checkpoints.running, None
            restore_net(self, state)
            self.begun_ = state["begun"]
        else:
            self.keep(None)  # so that what cannot be kept is known before the first epoch
        with contextlib.suppress(StopTraining):
            self.fit_loop(X, y, **params)
        self.notify("on_train_end", X=X, y=y)
        return self

    def keep(self, begun: dict[str, Any] | None) -> None:
        """Write a checkpoint; `begun` says how far an epoch is."""
        if self.checkpoints is not None:
            state = state_of_net(self, self.global_generators)
            self.checkpoints.write({**state, "begun": begun})


@dataclass(frozen=True)
class Validation:
    """What early stopping measures: one-shot episodes of held-out classes.

    Attributes
    ----------
    store : Store
        Held-out images.
    episodes : list of (support, query) arrays of rows
    classes : ndarray
        Class of each held-out image.
    patience : int
        Epochs without improvement after which training stops.
    """

    store: Store
    episodes: Episodes
    classes: np.ndarray
    patience: int


@dataclass(frozen=True)
class TrainingOptions:
    """Options of training that do not depend on the network or the data.

    Attributes
    ----------
    loss : {"both", "verification", "episodic"} or callable
    max_iter : int
        Epochs.
    learning_rate, weight_decay, ema_decay : float
    optimizer : str or type
        A name of `OPTIMIZERS`, or a subclass of ``torch.optim.Optimizer``.
    optimizer_params : dict
    bfloat16 : bool
    device : str
    callbacks : sequence of skorch callbacks
        An ``LRScheduler`` among them replaces the cosine schedule.
    net_params : dict
        Further arguments of the skorch net.
    progress : str or None
        Description of a progress bar; None shows none.
    global_generators : bool
        Whether layers may draw from torch's global generators, whose states checkpoints then hold.
    team : Team or None
        The processes that share the work, of which this is one.
    """

    loss: str | LossFunction = "both"
    max_iter: int = 30
    learning_rate: float = 5e-3
    weight_decay: float = 0.01
    ema_decay: float = 0.998
    optimizer: str | type[torch.optim.Optimizer] = "adamw"
    optimizer_params: dict[str, Any] = field(default_factory=dict)
    bfloat16: bool = False
    device: str = "cpu"
    callbacks: Sequence[Any] = ()
    net_params: dict[str, Any] = field(default_factory=dict)
    progress: str | None = None
    global_generators: bool = False
    team: Team | None = None


def train(
    network: TwinNetwork,
    batches: Batches,
    options: TrainingOptions,
    validation: Validation | None = None,
    checkpoints: Checkpoints | None = None,
) -> tuple[TwinNetwork, History, bool]:
    """Train `network` and return the network of the averaged weights.

    Parameters
    ----------
    network : TwinNetwork
        Trained in place.
    batches : Batches
    options : TrainingOptions
    validation : Validation or None, default=None
        For early stopping; the best weights are restored.
    checkpoints : Checkpoints or None, default=None
        Where to keep the state of the training, and to go on from.

    Returns
    -------
    network : TwinNetwork
        On the CPU, in evaluation mode.
    history : list of dict
        One dict per epoch: train_loss, dur and, with `validation`, one_shot_accuracy.
    interrupted : bool
        Whether Ctrl-C ended the training; the network is the one trained so far.

    Warns
    -----
    CollapseWarning
        If the trained network gives the same logit to every pair.
    """
    average = WeightAverage(options.ema_decay)
    validator = None
    if validation is not None:
        validator = OneShotValidation(
            average,
            batches.scaling,
            validation.store,
            validation.episodes,
            validation.classes,
            validation.patience,
        )
    bar = None if options.progress is None else ProgressBar(options.max_iter, options.progress)
    net = _build_net(network, batches, options, average, validator, bar, checkpoints)
    interrupted = False
    try:
        net.partial_fit(batches)
    except KeyboardInterrupt:
        if not hasattr(average, "model_") or not average.model_.n_averaged:
            raise  # nothing has been trained yet
        interrupted = True
    finally:
        if bar is not None:
            bar.close()
    network = cast(TwinNetwork, average.model_.module)
    if validator is not None and validator.best_state_ is not None:
        network.load_state_dict(validator.best_state_)
    network = network.to("cpu").eval().requires_grad_(False)
    try:
        if not interrupted:
            warn_if_collapsed(network, batches)
    except KeyboardInterrupt:
        interrupted = True
    return network, history_of(net), interrupted


def history_of(net: NeuralNet) -> History:
    """Return one dict per complete epoch, without its batches."""
    return [
        {name: value for name, value in epoch.items() if name != "batches"}
        for epoch in net.history
        if "train_loss" in epoch  # Ctrl-C cuts one short
    ]


def _build_net(
    network: TwinNetwork,
    batches: Batches,
    options: TrainingOptions,
    average: WeightAverage,
    validator: OneShotValidation | None,
    bar: ProgressBar | None,
    checkpoints: Checkpoints | None,
) -> TwinNet:
    own: list[tuple[str, Callback]] = [
        ("clip", GradientNormClipping(5.0)),
        ("average", average),
        ("finite", FiniteLoss()),
    ]
    if options.team is not None:
        own.insert(0, ("share", SharedGradients(options.team)))
    if not any(isinstance(callback, LRScheduler) for callback in unnamed(options.callbacks)):
        own.append(("schedule", CosineSchedule(options.max_iter * batches.n_batches)))
    if validator is not None:
        own.append(("validation", validator))
    if bar is not None:
        own.append(("progress", bar))
    optimizer = options.optimizer
    has_kernel = optimizer in ("adamw", "muon")
    net = TwinNet(
        network,
        **{
            "criterion": TwinLoss(options.loss),
            "optimizer": OPTIMIZERS[optimizer] if isinstance(optimizer, str) else optimizer,
            "optimizer__weight_decay": options.weight_decay,
            # One kernel for all parameters. Other optimizers may not have it.
            **({"optimizer__fused": True} if has_kernel else {}),
            **{f"optimizer__{name}": value for name, value in options.optimizer_params.items()},
            "lr": options.learning_rate,
            "max_epochs": options.max_iter,
            "batch_size": 1,  # of what we give skorch, which is batches
            "device": options.device,
            "bfloat16": options.bfloat16,
            "checkpoints": checkpoints,
            "global_generators": options.global_generators,
            "team": options.team,
            "train_split": None,
            "verbose": 0,
            "callbacks__print_log": None,
            "callbacks__train_loss": None,
            "callbacks__valid_loss": None,
            **options.net_params,
        },
        callbacks=[*own, *options.callbacks],
    )
    try:
        net.initialize()
    except (TypeError, ValueError) as error:
        given = {
            name: value
            for name in ("optimizer_params", "net_params")
            if (value := getattr(options, name))
        }
        if not given:
            raise
        listed = " or ".join(f"{name}={value!r}" for name, value in given.items())
        raise type(error)(f"{listed} cannot be used: {error}") from error
    return net


def warn_if_collapsed(network: TwinNetwork, batches: Batches) -> None:
    """Issue a `CollapseWarning` if the network gives the same logit to every pair."""
    if has_collapsed(network, batches):
        warn(
            "The network has collapsed: it gives the same logit to every pair. Lower "
            "learning_rate, train longer (max_iter), or check that y separates the images.",
            CollapseWarning,
        )


def has_collapsed(network: TwinNetwork, batches: Batches) -> bool:
    """Return whether up to 64 training images all have the same logit with each other."""
    rows = evenly_spaced(len(batches.store), 64)
    comparer = NeuralComparer(network, batches.scaling)
    embeddings = comparer.embed(batches.store, rows, check=False)
    logits = comparer.logits(embeddings, embeddings)
    return len(rows) > 1 and bool(logits.max() - logits.min() < 1e-3)


def supports_bfloat16(device: str) -> bool:
    """Return whether bfloat16 is faster there: the CPU has instructions for it, or a GPU."""
    if torch.device(device).type == "cpu":
        # Older torch has no get_capabilities.
        capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return torch.device(device).type == "cuda" and torch.cuda.is_bf16_supported()
