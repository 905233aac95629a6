"""What decides the result of a fit: a checkpoint of another one is refused, by the difference."""

import collections
import functools
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import make_table, pairs_of
from skorch.callbacks import Callback, LRScheduler
from torch import nn

from sksiamese import SiameseOneShotClassifier, SiameseVerifier
from sksiamese.augmentation import Affine, Augmentation
from sksiamese.callbacks import MomentumRamp


@pytest.fixture(scope="module")
def table():
    return make_table(n_classes=4, n_samples=4, n_features=8)


def quick(folder=None, **params):
    own = {"encoder": "mlp", "max_iter": 1, "random_state": 0, "checkpoint_dir": folder}
    return SiameseOneShotClassifier(**{**own, **params})


def encoder(n_units=8, fill=0.1):
    """Return a module for rows of 8 features."""
    module = nn.Sequential(nn.Linear(8, n_units), nn.ReLU())
    nn.init.constant_(module[0].weight, fill)
    nn.init.zeros_(module[0].bias)
    return module


def other_encoder(shape):
    return encoder()


def build(shape, n_units=8):
    return encoder(n_units)


class Named(Callback):
    """A callback with a parameter and with state."""

    def __init__(self, parameter=1):
        self.parameter = parameter

    def on_epoch_end(self, net, **kwargs):
        self.state_ = np.random.default_rng().random()


class Same:
    """An augmentation that is an object, and keeps its parameter under another name."""

    def __init__(self, strength=1):
        self._s = strength

    def __call__(self, images, generator):
        return images


def schedule(gamma):
    return [LRScheduler("ExponentialLR", gamma=gamma)]


DIFFERENT = [
    ("max_iter", 1, 2),
    ("learning_rate", 0.005, 0.006),
    ("encoder_params", {"n_units": 8}, {"n_units": 9}),
    ("encoder_params", None, {"n_units": 9}),
    ("encoder", encoder(), encoder(fill=0.2)),
    ("encoder", encoder(), encoder(9)),
    ("encoder", build, other_encoder),
    ("encoder", functools.partial(build, n_units=8), functools.partial(build, n_units=9)),
    ("optimizer", torch.optim.SGD, torch.optim.Adam),
    ("optimizer_params", None, {"betas": (0.8, 0.9)}),
    ("callbacks", None, [MomentumRamp()]),
    ("callbacks", schedule(0.9), schedule(0.8)),
    ("callbacks", [Named()], [Named(2)]),
    ("callbacks", [Named([1, 2])], [Named([1, 3])]),
    ("callbacks", [Named(np.arange(3))], [Named(np.arange(4))]),
    ("callbacks", [Named(torch.arange(3))], [Named(torch.arange(4))]),
    ("callbacks", [Named(np.random.default_rng(0))], [Named(np.random.default_rng(1))]),
    ("callbacks", [Named(torch.Generator())], [Named(torch.Generator().manual_seed(1))]),
    ("callbacks", [Named(random.Random(0))], [Named(random.Random(1))]),
    ("callbacks", [Named({1, 2})], [Named({1, 3})]),
    ("augmentation", None, Same()),
    ("augmentation", Same(), Same(2)),
    ("augmentation", Same(torch.zeros(2)), Same(torch.zeros(2, dtype=torch.int32))),
    ("augmentation", Same(torch.eye(2).to_sparse()), Same(2 * torch.eye(2).to_sparse())),
    ("augmentation", Same(torch.eye(2).to_sparse()), Same(torch.eye(3).to_sparse())),
    ("random_state", 0, 1),
    ("random_state", None, 1),
    ("random_state", np.random.RandomState(0), np.random.RandomState(1)),
    ("n_estimators", 1, 2),
    ("early_stopping", False, True),
    ("precision", "float32", "bfloat16"),
]
OPTIMIZERS = {"callbacks": {"optimizer": "sgd", "optimizer_params": {"momentum": 0.9}}}


@pytest.mark.parametrize(("name", "first", "second"), DIFFERENT)
def test_fit_refuses_a_checkpoint_of_other_parameters(table, tmp_path, name, first, second):
    own = OPTIMIZERS.get(name, {})
    quick(tmp_path, **own, **{name: first}).fit(*table)
    before = sorted(tmp_path.iterdir())
    clf = quick(tmp_path, **own, **{name: second})
    with pytest.raises(ValueError, match=f"holds a checkpoint of another fit: {name} is .* here,"):
        clf.fit(*table)
    assert sorted(tmp_path.iterdir()) == before
    assert not hasattr(clf, "fitted_")


SAME = [
    ("encoder", lambda: build),
    ("encoder", lambda: lambda shape: encoder()),
    ("encoder", encoder),
    ("encoder", lambda: nn.LazyLinear(8)),
    ("encoder", lambda: functools.partial(build, n_units=8)),
    ("callbacks", lambda: schedule(0.9)),
    ("callbacks", lambda: [("named", Named(Path("a")))]),
    *(
        ("callbacks", lambda value=value: [Named(value)])
        for value in (
            *({"a", "b", "c"}, frozenset([1]), collections.deque([1, 2])),
            *(np.random.PCG64, torch.device("cpu"), (1, None)),
        )
    ),
    ("augmentation", Same),
    ("augmentation", lambda: None),
    ("augmentation", lambda: Same(torch.eye(2).to_sparse())),
    ("augmentation", lambda: Same(torch.eye(2).to_sparse_csr())),
    ("augmentation", lambda: Same(torch.ones(2, dtype=torch.complex64).conj())),
    ("augmentation", lambda: Same(torch.empty(2, device="meta"))),
    ("encoder_params", lambda: {"n_units": np.int64(8)}),
    ("batch_size", lambda: [1, 2, 2]),
    ("random_state", lambda: None),
    ("random_state", lambda: np.random.RandomState(0)),
    ("random_state", lambda: np.int64(0)),
]


@pytest.mark.parametrize(("name", "make"), SAME)
def test_fit_takes_a_checkpoint_of_equal_parameters(table, tmp_path, name, make):
    first = quick(tmp_path, **{name: make()}).fit(*table)
    again = quick(tmp_path, **{name: make()}).fit(*table)
    assert again.history_ == first.history_  # with its durations: it was not trained again


@pytest.mark.parametrize(
    ("name", "first", "second"), [("verbose", 0, 1), ("checkpoint_minutes", None, 9.0)]
)
def test_fit_takes_a_checkpoint_if_only_what_is_shown_or_kept_differs(
    table, tmp_path, name, first, second
):
    whole = quick(tmp_path, **{name: first}).fit(*table)
    assert quick(tmp_path, **{name: second}).fit(*table).history_ == whole.history_


def test_fit_refuses_parameters_whose_values_cannot_be_read(table, tmp_path):
    nested = torch.nested.nested_tensor([torch.rand(2), torch.rand(3)], layout=torch.jagged)
    with pytest.raises(ValueError, match="augmentation cannot be compared .* checkpoint_dir=None"):
        quick(tmp_path, augmentation=Same(nested)).fit(*table)


def test_fit_refuses_a_checkpoint_of_other_data(table, tmp_path):
    X, y = table
    groups = np.arange(len(y)) // 8
    quick(tmp_path).fit(X, y, groups=groups)
    changed = X.copy()
    changed[3, 2] = np.nextafter(changed[3, 2], 1)
    for name, data in {
        "X": (changed, y, groups),
        "X ": (X.astype(np.float32), y, groups),
        "X  ": (X[:-1], y[:-1], groups[:-1]),
        "y": (X, y + 1, groups),
        "groups": (X, y, None),
    }.items():
        with pytest.raises(ValueError, match=f"another fit: {name.strip()} is .* here, but "):
            quick(tmp_path).fit(*data)
    with pytest.raises(ValueError, match=r"X is float64 of shape \(15, 8\), SHA-256 \w{16} here,"):
        quick(tmp_path).fit(X[:-1], y[:-1], groups[:-1])


def test_fit_takes_a_checkpoint_of_the_same_data_in_another_form(table, tmp_path):
    X, y = table
    names = np.array(list("abcd"), dtype=object)[y]
    whole = quick(tmp_path / "a").fit(X, names)
    mapped = np.memmap(tmp_path / "X", X.dtype, "w+", shape=X.shape)
    mapped[:] = X
    for same in (np.asfortranarray(X), mapped, X.tolist()):
        assert quick(tmp_path / "a").fit(same, names.copy()).history_ == whole.history_


def test_fit_refuses_a_checkpoint_of_other_pairs(table, tmp_path):
    X, y = table
    X, y = np.repeat(X, 2, axis=0), np.repeat(y, 2)
    pairs = pairs_of(y, 30)
    quick(tmp_path / "a").fit(X, pairs)
    with pytest.raises(ValueError, match="another fit: y is "):
        quick(tmp_path / "a").fit(X, pairs[::-1])
    own = {"max_iter": 1, "random_state": 0, "checkpoint_dir": tmp_path / "b"}
    SiameseVerifier("mlp", preprocessor=X, **own).fit(pairs[:, :2], pairs[:, 2])
    with pytest.raises(ValueError, match="another fit: X is "):
        SiameseVerifier("mlp", preprocessor=X + 1, **own).fit(pairs[:, :2], pairs[:, 2])


def test_fit_refuses_a_checkpoint_that_started_from_other_weights(table, tmp_path):
    first = quick(random_state=1).fit(*table).set_params(warm_start=True)
    first.set_params(checkpoint_dir=tmp_path).fit(*table)
    with pytest.raises(ValueError, match="another fit: start is "):
        first.fit(*table)  # it goes on from what it has learned now
    with pytest.raises(ValueError, match="another fit: start is None here"):
        quick(tmp_path, random_state=1).fit(*table)


def test_fit_refuses_a_checkpoint_that_calibrated_for_another_rate(tmp_path):
    X, y = make_table(n_classes=10, n_samples=6, n_features=8)
    own = {"unknown_label": -1, "validation_fraction": 0.4}
    quick(tmp_path, **own, false_acceptance_rate=0.1).fit(X, y)
    with pytest.raises(ValueError, match="false_acceptance_rate is 0.2 here, but 0.1 in"):
        quick(tmp_path, **own, false_acceptance_rate=0.2).fit(X, y)


def test_augmentations_of_this_package_are_compared_by_their_parameters(tmp_path):
    rng = np.random.default_rng(0)
    X, y = rng.random((16, 10, 10)), np.arange(16) // 4
    own = {"encoder": "conv", "encoder_params": {"width": 4}, "resize": None}
    quick(tmp_path, **own, augmentation=Augmentation(affine=Affine(p=0.5))).fit(X, y)
    quick(tmp_path, **own, augmentation=Augmentation(affine=Affine(p=0.5))).fit(X, y)
    with pytest.raises(ValueError, match="augmentation is .*Affine"):
        quick(tmp_path, **own, augmentation=Augmentation(affine=Affine(p=0.6))).fit(X, y)
