"""Small stores, networks and trainings that the tests of `sksiamese.twin` share."""

import numpy as np
import torch
from skorch.callbacks import Callback

from sksiamese.twin.batches import ClassBatches, PairBatches
from sksiamese.twin.encoders import build_encoder, feature_shape
from sksiamese.twin.heads import build_head
from sksiamese.twin.network import TwinNetwork
from sksiamese.twin.scaling import InputScaling
from sksiamese.twin.training import TrainingOptions, Validation, train

N_CLASSES, N_DRAWINGS = 6, 5
LABELS = np.repeat(np.arange(N_CLASSES), N_DRAWINGS)
SHAPES = {"mlp": (10,), "conv": (1, 8, 8)}


class ArrayStore:
    """A store of samples in memory, an ndarray or a Tensor; counts how often each is taken."""

    def __init__(self, samples):
        self.samples = torch.as_tensor(samples)
        self.taken = np.zeros(len(samples), dtype=int)
        self.dtype = self.samples[:0].numpy().dtype
        self.input_shape = tuple(self.samples.shape[1:])

    def __len__(self):
        return len(self.samples)

    def take(self, rows):
        np.add.at(self.taken, rows, 1)
        samples = self.samples[torch.as_tensor(np.asarray(rows))]
        return samples if samples.is_floating_point() else samples.float()

    def named(self, rows):
        return [f"X[{row}]" for row in rows], rows


def identity_scaling(shape, **options):
    """Return a scaling that leaves samples of `shape` as they are."""
    shape = shape if len(shape) == 1 else (shape[0], 1, 1)
    return InputScaling(
        torch.zeros(shape, dtype=torch.float64), torch.ones(shape, dtype=torch.float64), **options
    )


def store_of(shape, seed=0):
    """Return a store of noisy copies of one random prototype for each class."""
    generator = torch.Generator().manual_seed(seed)
    prototypes = torch.randn(N_CLASSES, *shape, generator=generator)
    noise = torch.randn(len(LABELS), *shape, generator=generator)
    return ArrayStore(prototypes[LABELS] + 0.5 * noise)


def network_of(encoder, shape, head="weighted_l1", seed=0, **encoder_params):
    """Return a network in training mode; `encoder` is a name or a module."""
    generator = torch.Generator().manual_seed(seed)
    if isinstance(encoder, str):
        encoder = build_encoder(encoder, shape, generator, **encoder_params)
    return TwinNetwork(encoder, build_head(head, feature_shape(encoder, shape), generator))


def seen_network(encoder, shape, head="weighted_l1", seed=0, **encoder_params):
    """Return a network in evaluation mode whose batch-norm has running statistics of images."""
    network = network_of(encoder, shape, head, seed, **encoder_params).train()
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5, generator=generator)
                module.bias.uniform_(-0.5, 0.5, generator=generator)
        network.embed(torch.rand(16, *shape, generator=generator))
    return network.eval().requires_grad_(False)


def run(encoder="mlp", shape=None, seed=0, pairs=None, network=None, validation=None, **options):
    """Train on the tiny problem, three batches an epoch; return what `train` returns."""
    shape = SHAPES.get(encoder, SHAPES["mlp"]) if shape is None else shape
    network = network or network_of(encoder, shape)
    store, scaling = store_of(shape), identity_scaling(shape)
    if pairs is None:
        groups = np.zeros_like(LABELS)
        batches = ClassBatches(store, scaling, LABELS, groups, (1, 6, 2), (0,), None, seed)
    else:
        batches = PairBatches(store, scaling, pairs, 10, None, seed)
    options = {"max_iter": 4, "learning_rate": 1e-2, "weight_decay": 1e-3, **options}
    options = TrainingOptions(**{"ema_decay": 0.9, **options})
    return train(network, batches, options, validation)


def weights(network):
    """Return a copy of the state of a module."""
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def equal(a, b):
    """Return whether two states have the same names and the same bits."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class Spy(Callback):
    """Keeps the raw weights and the learning rate of each step, and the optimizer."""

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


def episodes_of(n_episodes=5, seed=0):
    """Return supports and queries, two different drawings of each class."""
    rng = np.random.default_rng(seed)
    episodes = []
    for _ in range(n_episodes):
        two = np.array([rng.choice(N_DRAWINGS, 2, replace=False) for _ in range(N_CLASSES)])
        first = np.arange(N_CLASSES) * N_DRAWINGS
        support, query = first + two[:, 0], first + two[:, 1]
        episodes.append((rng.permutation(support), rng.permutation(query)))
    return episodes


def validation_of(patience):
    """Return a validation on the training images themselves."""
    return Validation(store_of(SHAPES["mlp"]), episodes_of(), LABELS, patience)
