"""Training: a private skorch net, and `train`, which runs it."""

import contextlib
import warnings

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import EarlyStopping, GradientNormClipping, LRScheduler

from . import inference
from .callbacks import Averaging, CosineSchedule, FiniteLoss, OneShotValidation, StopTraining
from .losses import TwinLoss
from .optimizers import OPTIMIZERS


class CollapseWarning(UserWarning):
    """The trained twin gives the same answer to every pair."""


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
