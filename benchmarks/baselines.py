"""Classifiers that the twin network is compared with, on the same trials.

Images are dark on light in the units 0..255, as the loaders of this package return them.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import check_random_state
from torch import nn

from sksiamese import MotorProgramClassifier
from sksiamese.augmentation import AUGMENTATIONS
from sksiamese.comparers import ModifiedHausdorff
from sksiamese.datasets import make_glyphs
from sksiamese.twin.encoders import build_encoder

SIDE = 36


def modified_hausdorff():
    """Return 1-nearest-neighbour by the modified Hausdorff distance of foreground pixels.

    It is the baseline of Omniglot's release, and compares images as they are.
    """
    clf = MotorProgramClassifier().fit(*make_glyphs(n_classes=2, n_samples=1, random_state=0))
    clf.fitted_ = clf.fitted_.with_comparer(ModifiedHausdorff())
    return clf


def hog(images):
    """Return histograms of oriented gradients (Dalal & Triggs 2005) of gray images (n, h, w)."""
    from skimage.feature import hog as of_image

    cells = {"pixels_per_cell": (8, 8), "cells_per_block": (2, 2)}
    return np.stack([of_image(image, **cells) for image in images])


def softmax_on_pixels(random_state=None):
    """Return a dense softmax network that is trained on the exemplars alone."""
    network = MLPClassifier((128,), solver="lbfgs", random_state=random_state)
    return make_pipeline(FunctionTransformer(_foreground), network)


def _foreground(X):
    """Return rows with the fraction of foreground in blocks of 3x3 pixels."""
    return 1 - X.reshape(-1, 35, 3, 35, 3).mean(axis=(2, 4)).reshape(len(X), -1) / 255


class _Softmax(nn.Module):
    """The convolutional encoder of this package, pooled, with a linear classifier."""

    def __init__(self, n_classes, seed):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.encoder = build_encoder("conv", (1, SIDE, SIDE), generator)
        n_features = 128 * 9
        weight = torch.randn(n_classes, n_features, generator=generator) / n_features**0.5
        self.weight = nn.Parameter(weight)

    def features(self, images):
        return self.encoder(images).flatten(1)

    def forward(self, images):
        return self.features(images) @ self.weight.T


def _images(X):
    """Return rows or images as tensors of the encoder's size, background 0 and foreground 1."""
    X = 1 - np.asarray(X, dtype=np.float32) / 255
    side = X.shape[1] if X.ndim == 3 else math.isqrt(X.shape[1])
    return F.interpolate(torch.from_numpy(X).reshape(-1, 1, side, side), (SIDE, SIDE), mode="area")


def _train(images, targets, n_steps, batch_size, learning_rate, random_state):
    seed = int(check_random_state(random_state).randint(2**31 - 1))
    generator = torch.Generator().manual_seed(seed)
    network = _Softmax(int(targets.max()) + 1, seed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, n_steps)
    augment = AUGMENTATIONS["strokes"]
    network.train()
    for _ in range(n_steps):
        chosen = torch.randint(len(images), (batch_size,), generator=generator)
        logits = network(augment(images[chosen], generator))
        loss = F.cross_entropy(logits, targets[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval()


class SoftmaxFeatures(ClassifierMixin, BaseEstimator):
    """A softmax classifier of the training classes, and 1-nearest-neighbour on its features.

    New classes are compared by the cosine of the features.
    """

    def __init__(self, n_epochs=60, batch_size=80, learning_rate=3e-3, random_state=None):
        self.n_epochs = n_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.random_state = random_state

    def fit(self, X, y):
        targets = torch.from_numpy(np.unique(y, return_inverse=True)[1])
        n_steps = self.n_epochs * len(targets) // self.batch_size
        self.network_ = _train(
            _images(X), targets, n_steps, self.batch_size, self.learning_rate, self.random_state
        )
        return self.set_support(X, y)

    def set_support(self, X, y):
        self.embeddings_, self.labels_ = self._embed(X), np.asarray(y)
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return self.labels_[(self._embed(X) @ self.embeddings_.T).argmax(1).numpy()]

    def _embed(self, X):
        with torch.no_grad():
            blocks = [self.network_.features(block) for block in _images(X).split(500)]
        return F.normalize(torch.cat(blocks))


class SoftmaxOnSupport(ClassifierMixin, BaseEstimator):
    """The same network, trained only on the augmented exemplars of a trial."""

    def __init__(self, n_steps=200, batch_size=40, learning_rate=3e-3, random_state=None):
        self.n_steps = n_steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.random_state = random_state

    def fit(self, X, y):
        self.classes_, targets = np.unique(y, return_inverse=True)
        images, targets = _images(X), torch.from_numpy(targets)
        self.network_ = _train(
            images, targets, self.n_steps, self.batch_size, self.learning_rate, self.random_state
        )
        return self

    def predict(self, X):
        with torch.no_grad():
            return self.classes_[self.network_(_images(X)).argmax(1).numpy()]
