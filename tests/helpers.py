"""What several test files share: quick classifiers, and what to compare of fitted ones."""

import copy
import errno
import importlib
import os
import pkgutil
import re
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import nn

import sksiamese
from sksiamese import SiameseOneShotClassifier
from sksiamese.twin.inference import NeuralComparer

CLOSE = {"rtol": 1e-4, "atol": 1e-4}


def classifier(encoder="auto", **params):
    """Return a classifier that is trained in a tenth of a second on small images."""
    quick = {"max_iter": 1, "resize": None, "random_state": 0}
    return SiameseOneShotClassifier(encoder, **{**quick, **params})


def public_modules():
    """Return the public modules that list their names, by import path."""
    names = [info.name for info in pkgutil.walk_packages(sksiamese.__path__, "sksiamese.")]
    public = ["sksiamese", *(name for name in names if "._" not in name)]
    modules = {name: importlib.import_module(name) for name in public}
    return {name: module for name, module in modules.items() if hasattr(module, "__all__")}


def name_of(value):
    """Return the text of a value for the id of a test, without memory addresses."""
    return re.sub(" at 0x[0-9a-f]+", "", str(value))


def close_folder(monkeypatch, folder):
    """Make a folder one that this user may not list; root may list any."""
    scandir = os.scandir

    def refuse(path):
        if os.path.realpath(path) == os.path.realpath(folder):
            raise PermissionError(errno.EACCES, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)


def make_series(n_classes=6, n_samples=8, channels=2, length=40, seed=0):
    """Return (n, channels, length) waves, whose frequency is that of their class, and labels."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(n_classes), n_samples)
    phase = rng.uniform(0, 2 * np.pi, (len(y), channels, 1))
    X = np.sin((y[:, None, None] + 2) * np.linspace(0, 2 * np.pi, length) + phase)
    return X + 0.1 * rng.normal(size=X.shape), y


class Seen:
    """An augmentation that changes nothing and notes the images that training shows."""

    def __init__(self):
        self.images = []

    def __call__(self, images, generator):
        self.images.append(images.clone())
        return images

    @property
    def all(self):
        return torch.cat(self.images)


def small_encoder():
    """Return a module for images of 16x16 pixels."""
    return nn.Sequential(nn.Flatten(), nn.Linear(256, 16), nn.ReLU(), nn.Linear(16, 8))


def make_table(n_classes=12, n_samples=10, n_features=20, noise=0.3):
    """Return (X, y): rows around one centre a class."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(n_classes, n_features))
    y = np.repeat(np.arange(n_classes), n_samples)
    return centres[y] + noise * rng.normal(size=(len(y), n_features)), y


def pairs_of(y, n_pairs, seed=0):
    """Return rows (i, j, same) of a data set with eight samples a class, in their order."""
    rng = np.random.default_rng(seed)
    i = rng.integers(len(y), size=n_pairs)
    same = rng.random(n_pairs) < 0.5
    j = np.where(same, i // 8 * 8 + (i + rng.integers(1, 8, n_pairs)) % 8, (i + 8) % len(y))
    return np.stack([i, j, y[i] == y[j]], 1)


def weights(clf):
    """Return the values of the network's parameters and buffers by name."""
    return {name: value.numpy() for name, value in clf.network_.state_dict().items()}


def assert_same_network(a, b):
    """Assert that two classifiers have networks of the same bits."""
    a, b = weights(a), weights(b)
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@contextmanager
def unchanged(clf):
    """Assert that the body changes no attribute of an estimator, nor an array inside."""
    before, content = vars(clf).copy(), _content(clf)
    yield
    assert list(vars(clf)) == list(before)
    assert [name for name, value in before.items() if vars(clf)[name] is not value] == []
    assert _content(clf) == content


def _content(clf):
    content = {}
    if isinstance(getattr(clf, "fitted_", None) and clf.fitted_.comparer, NeuralComparer):
        content.update((name, value.tobytes()) for name, value in weights(clf).items())
    if hasattr(clf, "support_"):
        content["support"] = clf.support_.embeddings.tobytes(), clf.support_.labels.tolist()
    return content


@dataclass(frozen=True, eq=False)
class WatchedComparer(NeuralComparer):
    """Calls `note` with the embeddings of each call of `embed`."""

    note: Callable = print

    def embed(self, store, rows=None, *, check=True):
        """Embed the samples."""
        embeddings = super().embed(store, rows, check=check)
        self.note(embeddings)
        return embeddings


def watched(clf, note):
    """Return a copy of a fitted classifier that calls `note` with what it embeds."""
    clf, comparer = copy.copy(clf), clf.fitted_.comparer
    own = {field.name: getattr(comparer, field.name) for field in fields(comparer)}
    comparer = WatchedComparer(**own, note=note)
    clf.fitted_ = replace(clf.fitted_, comparer=comparer)
    return clf


def make_features(n_classes=20, n_samples=10, n_features=64, seed=0):
    """Return (X, y): classes differ in eight directions, samples of one class more in four others.

    Directions are the same for every seed, so that other seeds give further classes.
    """
    axes, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(n_features, n_features)))
    rng = np.random.default_rng([1, seed])
    y = np.repeat(np.arange(n_classes), n_samples)
    spread = np.full(n_features, 0.1)
    spread[:4], spread[4:12] = 4.0, 0.3
    samples = spread * rng.normal(size=(len(y), n_features))
    samples[:, 4:12] += rng.normal(size=(n_classes, 8))[y]
    return (samples @ axes.T).astype(np.float32), y


def cosine_nearest(X, y, queries):
    """Return the label of the row of X with the greatest cosine to each query."""
    X, queries = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (X, queries))
    return y[(queries @ X.T).argmax(1)]
