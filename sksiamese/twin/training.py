"""Training: a private skorch net, its callbacks, and `train`, which runs them."""

import contextlib
import copy
import math
import warnings

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping, GradientNormClipping, LRScheduler
from torch.optim.swa_utils import AveragedModel

from . import inference
from .losses import TwinLoss
from .optimizers import OPTIMIZERS


class CollapseWarning(UserWarning):
    """The trained twin gives the same answer to every pair."""


class StopTraining(Exception):
    """Raised by a callback to end training early, keeping what was learned."""


class TwinNet(NeuralNet):
    """skorch's training loop over our batches.

    It differs from stock skorch in this: batches come from ``batches.epoch(number)``, a pure
    function of the epoch, and hold images and pairs of different lengths; logits may be made in
    bfloat16; every callback hears of an epoch before one of them stops the training; and Ctrl-C is
    not swallowed, so that it ends a grid search too.
    """

    def __init__(self, *args, bfloat16=False, **kwargs):
        super().__init__(*args, **kwargs)
        self.bfloat16 = bfloat16

    def get_iterator(self, dataset, training=False):
        return dataset

    def infer(self, x, **fit_params):
        x = {name: tensor.to(self.device) for name, tensor in x.items()}
        device = torch.device(self.device).type
        with torch.autocast(device, torch.bfloat16, enabled=self.bfloat16):
            return self.module_(**x).float()

    def notify(self, method_name, **kwargs):
        """Tell every callback, and only then stop for those that want to."""
        getattr(self, method_name)(self, **kwargs)
        stop = False
        for _, callback in self.callbacks_:
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

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        if iterator is None:
            return
        total = n_batches = 0
        for batch in iterator.epoch(len(self.history) - 1):
            self.history.new_batch()
            self.notify("on_batch_begin", batch=batch, training=training)
            step = step_fn(batch, **fit_params)
            loss = step["loss"].item()
            self.history.record_batch(prefix + "_loss", loss)
            total += loss
            n_batches += 1
            self.notify("on_batch_end", batch=batch, training=training, **step)
        self.history.record(prefix + "_loss", total / n_batches)

    def partial_fit(self, X, y=None, classes=None, **fit_params):
        if not self.initialized_:
            self.initialize()
        self.notify("on_train_begin", X=X, y=y)
        with contextlib.suppress(StopTraining):
            self.fit_loop(X, y, **fit_params)
        self.notify("on_train_end", X=X, y=y)
        return self


class CosineSchedule(Callback):
    """Learning rate: a short linear rise, then half a cosine to zero; a function of the step.

    Each parameter group of the optimizer keeps its own greatest rate.
    """

    def __init__(self, n_steps, warmup=0.02):
        self.n_steps = n_steps
        self.warmup = warmup

    def on_train_begin(self, net, **kwargs):
        self.step_ = 0
        self.rates_ = [group["lr"] for group in net.optimizer_.param_groups]

    def on_batch_begin(self, net, training=False, **kwargs):
        progress = self.step_ / self.n_steps  # below 1: even a single step learns
        rise = min(1.0, (self.step_ + 1) / (self.n_steps * self.warmup))
        factor = rise * (1 + math.cos(math.pi * progress)) / 2
        for group, rate in zip(net.optimizer_.param_groups, self.rates_, strict=True):
            group["lr"] = rate * factor
        self.step_ += 1


class MomentumRamp(Callback):
    """The paper's momentum (section 3.2): 0.5 at first, rising linearly, an epoch a step, to the
    momentum that each parameter group of the optimizer was given.

    Parameters
    ----------
    n_epochs : int, default=20
        Epochs until it is reached.
    """

    def __init__(self, n_epochs=20):
        self.n_epochs = n_epochs

    def on_train_begin(self, net, **kwargs):
        self.momenta_ = [group["momentum"] for group in net.optimizer_.param_groups]

    def on_epoch_begin(self, net, **kwargs):
        progress = min(1.0, (len(net.history) - 1) / self.n_epochs)
        for group, momentum in zip(net.optimizer_.param_groups, self.momenta_, strict=True):
            group["momentum"] = 0.5 + (momentum - 0.5) * progress


class Averaging(Callback):
    """Exponential moving average of the weights, with a short memory at first."""

    def __init__(self, decay):
        self.decay = decay

    def on_train_begin(self, net, **kwargs):
        self.model_ = AveragedModel(net.module_, multi_avg_fn=self.average, use_buffers=True)

    def average(self, averaged, new, n_averaged):  # lists of tensors of one dtype
        n = int(n_averaged)
        decay = min(self.decay, (1 + n) / (10 + n))
        if averaged[0].is_floating_point():
            torch._foreach_lerp_(averaged, new, 1 - decay)
        else:
            torch._foreach_copy_(averaged, new)

    def on_batch_end(self, net, training=False, **kwargs):
        self.model_.update_parameters(net.module_)


class FiniteLoss(Callback):
    """Stop with an error when the loss is no number any more."""

    def on_epoch_end(self, net, **kwargs):
        if not math.isfinite(net.history[-1]["train_loss"]):
            raise FloatingPointError(
                f"training diverged: the loss of epoch {len(net.history)} is "
                f"{net.history[-1]['train_loss']}. Lower learning_rate, and look at the range of "
                "X."
            )


class OneShotValidation(Callback):
    """One-shot accuracy of the averaged weights on fixed episodes; best weights, early stopping.

    Parameters
    ----------
    averaging : Averaging
    store : store of the held-out background images
    episodes : list of (support, query) index arrays
    classes : ndarray
        Class of each held-out image.
    patience : int
        Epochs without improvement after which training stops.
    """

    def __init__(self, averaging, store, episodes, classes, patience):
        self.averaging = averaging
        self.store = store
        self.episodes = episodes
        self.classes = classes
        self.patience = patience

    def on_train_begin(self, net, **kwargs):
        self.best_score_, self.best_epoch_, self.best_state_ = -1.0, 0, None

    def on_epoch_end(self, net, **kwargs):
        network = self.averaging.model_.module.eval()
        score = self.accuracy(network)
        epoch = len(net.history)
        net.history.record("one_shot_accuracy", score)
        if score > self.best_score_:
            self.best_score_, self.best_epoch_ = score, epoch
            self.best_state_ = copy.deepcopy(network.state_dict())
        if epoch - self.best_epoch_ >= self.patience:
            raise StopTraining

    def accuracy(self, network):
        used = np.unique(np.concatenate([np.concatenate(episode) for episode in self.episodes]))
        codes = inference.encode(network, self.store, indices=used)
        right = total = 0
        for support, query in self.episodes:
            logits = inference.logits(
                network, codes[np.searchsorted(used, query)], codes[np.searchsorted(used, support)]
            )
            answers = self.classes[support][logits.argmax(1).cpu().numpy()]
            right += int((answers == self.classes[query]).sum())
            total += len(query)
        return right / total


def has_collapsed(network, store):
    """Whether the logits of up to 64 images with each other are all the same number."""
    n = min(64, len(store))
    indices = np.linspace(0, len(store) - 1, n).astype(int)
    codes = inference.encode(network, store, indices)
    logits = inference.logits(network, codes, codes)
    return n > 1 and bool(logits.max() - logits.min() < 1e-3)


def train(
    network,
    batches,
    *,
    loss,
    max_iter,
    learning_rate,
    weight_decay,
    averaging,
    bfloat16,
    device,
    optimizer="adamw",
    validation=None,
    callbacks=(),
    net_params=None,
):
    """Train `network` and return the averaged weights' network with its history.

    Parameters
    ----------
    optimizer : {"adamw", "muon"}
        Unless `net_params` has another.
    validation : tuple (store, episodes, classes, patience) or None
        Early stopping on one-shot episodes; the best weights are restored.
    callbacks : sequence of skorch callbacks
        An ``LRScheduler`` among them takes the place of the cosine schedule.
    net_params : dict or None
        Further arguments of the skorch net, such as ``optimizer`` or ``optimizer__betas``.

    Returns
    -------
    network : TwinNetwork
        On the CPU, in evaluation mode.
    history : list of dict
        One dict an epoch: train_loss, and one_shot_accuracy with `validation`.
    interrupted : bool
        Whether Ctrl-C ended the training; the network is the one trained so far.
    """
    averager = Averaging(averaging)
    own = [
        ("clip", GradientNormClipping(5.0)),
        ("averaging", averager),
        ("finite", FiniteLoss()),
    ]
    callbacks, net_params = list(callbacks), net_params or {}
    named = (callback[1] if isinstance(callback, tuple) else callback for callback in callbacks)
    if not any(isinstance(callback, LRScheduler) for callback in named):
        own.append(("schedule", CosineSchedule(max_iter * batches.n_batches)))
    validator = None
    if validation is not None:
        validator = OneShotValidation(averager, *validation)
        own.append(("validation", validator))
    net = TwinNet(
        network,
        **{
            "criterion": TwinLoss(loss),
            "optimizer": OPTIMIZERS[optimizer],
            "optimizer__weight_decay": weight_decay,
            # One kernel for all parameters. An optimizer of the user's may not have it.
            **({} if "optimizer" in net_params else {"optimizer__fused": True}),
            "lr": learning_rate,
            "max_epochs": max_iter,
            "batch_size": 1,  # of what we give skorch, which is batches
            "device": device,
            "bfloat16": bfloat16,
            "train_split": None,
            "verbose": 0,
            "callbacks__print_log": None,
            "callbacks__train_loss": None,
            "callbacks__valid_loss": None,
            **net_params,
        },
        callbacks=own + callbacks,
    )
    try:
        net.initialize()
    except (TypeError, ValueError) as error:
        if not net_params:
            raise
        raise type(error)(f"net_params={net_params!r} cannot be used: {error}") from error
    interrupted = False
    try:
        net.partial_fit(batches)
    except KeyboardInterrupt:
        if not hasattr(averager, "model_") or not averager.model_.n_averaged:
            raise  # nothing has been trained yet
        interrupted = True
    network = averager.model_.module
    if validator is not None and validator.best_state_ is not None:
        network.load_state_dict(validator.best_state_)
    network = network.to("cpu").fold()
    try:
        collapsed = not interrupted and has_collapsed(network, batches.store)
    except KeyboardInterrupt:
        collapsed, interrupted = False, True
    if collapsed:
        warnings.warn(
            "the twin has collapsed: it gives the same logit to every pair. Lower learning_rate, "
            "train longer (max_iter), or check that y separates the images.",
            CollapseWarning,
            stacklevel=2,
        )
    history = [
        {name: value for name, value in epoch.items() if name != "batches"}
        for epoch in net.history
        if "train_loss" in epoch  # Ctrl-C cuts one short
    ]
    return network, history, interrupted


def supports_bfloat16(device):
    """Whether bfloat16 is faster than float32 there: the CPU's own instructions, or a GPU."""
    if torch.device(device).type == "cpu":
        capabilities = getattr(torch.cpu, "get_capabilities", dict)()  # absent in older torch
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return torch.device(device).type == "cuda" and torch.cuda.is_bf16_supported()
