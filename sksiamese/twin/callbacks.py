"""What skorch calls back while training: schedules, averaging, validation."""

import copy
import math

import numpy as np
import torch
from skorch.callbacks import Callback
from torch.optim.swa_utils import AveragedModel

from . import inference


class StopTraining(Exception):
    """Raised by a callback to end training early, keeping what was learned."""


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
