"""Small trainings that tests of `twin/training.py` and of its callbacks share."""

import numpy as np
import torch
from skorch.callbacks import Callback

from sksiamese.twin.batches import ClassBatches, PairBatches
from sksiamese.twin.encoders import build_encoder, feature_shape
from sksiamese.twin.heads import WeightedL1
from sksiamese.twin.network import TwinNetwork
from sksiamese.twin.scaling import InputScaling
from sksiamese.twin.training import train

N_CLASSES, N_DRAWINGS = 6, 5
LABELS = np.repeat(np.arange(N_CLASSES), N_DRAWINGS)
SHAPES = {"mlp": (10,), "conv": (1, 8, 8)}


class Store:
    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def take(self, indices):
        return self.images[torch.as_tensor(np.asarray(indices))]


def store_of(shape, seed=0):
    """Noisy drawings of one random prototype a class."""
    generator = torch.Generator().manual_seed(seed)
    prototypes = torch.randn(N_CLASSES, *shape, generator=generator)
    noise = torch.randn(len(LABELS), *shape, generator=generator)
    return Store(prototypes[LABELS] + 0.5 * noise)


def network_of(encoder, shape):
    if isinstance(encoder, str):
        encoder = build_encoder(encoder, shape, torch.Generator().manual_seed(0))
    scaling = InputScaling(torch.tensor(0.0), torch.tensor(1.0))
    return TwinNetwork(scaling, encoder, WeightedL1(feature_shape(encoder, shape)))


def run(encoder="mlp", shape=None, seed=0, pairs=None, **params):
    """Train on the tiny problem; three batches an epoch."""
    shape = SHAPES.get(encoder, SHAPES["mlp"]) if shape is None else shape
    network = params.pop("network", None) or network_of(encoder, shape)
    store = store_of(shape)
    if pairs is None:
        groups = np.zeros_like(LABELS)
        batches = ClassBatches(store, network.scaling, LABELS, groups, (1, 6, 2), (0,), None, seed)
    else:
        batches = PairBatches(store, network.scaling, pairs, 10, None, seed)
    params = {
        "loss": "both",
        "max_iter": 4,
        "learning_rate": 1e-2,
        "weight_decay": 1e-3,
        "averaging": 0.9,
        "bfloat16": False,
        "device": "cpu",
        **params,
    }
    return train(network, batches, **params)


def weights(network):
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class Spy(Callback):
    """Keeps the raw weights of each step, of the end, and the optimizer."""

    def on_train_begin(self, net, **kwargs):
        self.steps = []
        self.rates = []
        self.optimizer = net.optimizer_

    def on_batch_end(self, net, training=False, **kwargs):
        self.steps.append(weights(net.module_))
        self.rates.append(net.optimizer_.param_groups[0]["lr"])


class Raising(Callback):
    """Raises `error` the `nth` time that `event` is notified."""

    def __init__(self, event, error, nth=1):
        self.left = nth
        self.error = error
        setattr(self, event, self.notified)

    def notified(self, net, **kwargs):
        self.left -= 1
        if self.left == 0:
            raise self.error


def trials_of(n_trials=5, seed=0):
    """Supports and queries, one different drawing of each class."""
    rng = np.random.default_rng(seed)
    trials = []
    for _ in range(n_trials):
        two = np.array([rng.choice(N_DRAWINGS, 2, replace=False) for _ in range(N_CLASSES)])
        first = np.arange(N_CLASSES) * N_DRAWINGS
        support, query = first + two[:, 0], first + two[:, 1]
        trials.append((rng.permutation(support), rng.permutation(query)))
    return trials


def validation(patience):
    return store_of(SHAPES["mlp"]), trials_of(), LABELS, patience
