"""Recipes: what the paper's sentences say, and that each estimator fits."""

import math

import numpy as np
import pytest
import torch
from sklearn.base import clone
from skorch.callbacks import Callback

from sksiamese import SiameseOneShotClassifier, recipes
from sksiamese.twin.batches import PairBatches, draw_pairs
from sksiamese.twin.callbacks import MomentumRamp
from sksiamese.twin.encoders import KochEncoder
from sksiamese.twin.training import CollapseWarning

ALL = pytest.mark.parametrize("recipe", [recipes.omniglot, recipes.koch2015, recipes.keras2017])


class Watch(Callback):
    """The optimizer's settings, epoch by epoch."""

    def on_epoch_end(self, net, **kwargs):
        groups = net.optimizer_.param_groups
        WATCHED.append([{k: v for k, v in group.items() if k != "params"} for group in groups])


WATCHED = []


@pytest.fixture(scope="module")
def images():
    """Sixteen classes of two groups, 65x65: the least that the paper's encoder takes."""
    rng = np.random.default_rng(0)
    X = np.repeat(rng.random((16, 65, 65)) < 0.1, 4, axis=0).astype(np.uint8)
    y = np.repeat(np.arange(16), 4)
    return X, y, y // 8


@pytest.fixture(scope="module")
def watched(images):
    """koch2015, scaled down, and its optimizer after each of 22 epochs."""
    WATCHED.clear()
    clf = recipes.koch2015(n_pairs=4, random_state=0)
    clf.set_params(
        encoder_params={"n_units": 8, "units_std": 0.2},
        callbacks=[*clf.callbacks, Watch()],
        max_iter=22,
        n_iter_no_change=22,
        validation_fraction=0.5,
    )
    X, y, groups = images
    return clf.fit(X, y, groups=groups), list(WATCHED)


@ALL
def test_recipes_are_unfitted_clonable_and_seeded(recipe):
    clf = recipe(random_state=3)
    assert isinstance(clf, SiameseOneShotClassifier)
    assert clf.random_state == 3
    assert not hasattr(clf, "network_")
    names = {name for name in clf.get_params() if name != "callbacks"}
    assert all(clone(clf).get_params()[name] == clf.get_params()[name] for name in names)
    assert recipe().random_state is None


@ALL
def test_recipes_share_nothing(recipe):
    one, other = recipe(), recipe()
    for name, value in one.get_params(deep=False).items():
        if isinstance(value, dict | list):
            assert value is not getattr(other, name)


def test_koch2015_is_the_paper_s_network():
    clf = recipes.koch2015()
    encoder = KochEncoder((1, 105, 105), **clf.encoder_params)
    head = clf.head_params and clf.head
    assert head == "signed_l1"
    n_head = clf.encoder_params["n_units"] + 1
    assert sum(p.numel() for p in encoder.parameters()) + n_head == 38_951_745
    assert encoder.units_std == clf.head_params["alpha_std"] == 0.2


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("loss", "verification"),
        ("batch_size", 128),
        ("max_iter", 200),
        ("n_iter_no_change", 20),
        ("early_stopping", True),
        ("distortion", "affine"),
        ("class_transforms", None),
        ("averaging", 0.0),
        ("n_pairs", 30_000),
        ("image_size", None),
    ],
)
def test_koch2015_says_what_the_paper_says(parameter, value):
    assert getattr(recipes.koch2015(), parameter) == value


def test_learning_rates_decay_by_a_hundredth_an_epoch(watched):
    clf, epochs = watched
    layers = clf.net_params["optimizer__param_groups"]
    for layer, (_, settings) in enumerate(layers):
        rates = [groups[layer]["lr"] for groups in epochs]
        np.testing.assert_allclose(rates, settings["lr"] * 0.99 ** np.arange(1, 23), rtol=1e-6)


def test_momentum_rises_linearly_from_a_half_to_each_layer_s_own(watched):
    clf, epochs = watched
    layers = clf.net_params["optimizer__param_groups"]
    for layer, (_, settings) in enumerate(layers):
        momenta = [groups[layer]["momentum"] for groups in epochs]
        assert momenta[0] == 0.5
        np.testing.assert_allclose(np.diff(momenta[:21]), (settings["momentum"] - 0.5) / 20)
        assert momenta[20] == momenta[21] == pytest.approx(settings["momentum"])


def test_every_layer_has_its_own_rate_momentum_and_l2(watched):
    clf, epochs = watched
    assert len(clf.net_params["optimizer__param_groups"]) == 6  # four convolutions, units, head
    assert len(epochs[0]) == 6  # and no parameter is left over
    for settings, (_, given) in zip(
        epochs[0], clf.net_params["optimizer__param_groups"], strict=True
    ):
        assert settings["weight_decay"] == given["weight_decay"]


def test_momentum_ramp_reaches_and_keeps_its_end():
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.8)

    class Net:
        optimizer_ = optimizer
        history = []

    ramp = MomentumRamp(n_epochs=3)
    ramp.on_train_begin(Net)
    seen = []
    for _ in range(5):
        Net.history.append({})
        ramp.on_epoch_begin(Net)
        seen.append(optimizer.param_groups[0]["momentum"])
    np.testing.assert_allclose(seen, [0.5, 0.6, 0.7, 0.8, 0.8])


def test_keras2017_trains_by_adam_at_one_rate(images):
    clf = recipes.keras2017(n_pairs=12, random_state=0)
    assert clf.net_params["optimizer"] is torch.optim.Adam
    assert clf.encoder_params["units_std"] == clf.head_params["alpha_std"] == 0.01
    WATCHED.clear()
    clf.set_params(
        encoder_params={"n_units": 8, "units_std": 0.01},
        callbacks=[Watch()],
        max_iter=2,
        validation_fraction=0.5,
    )
    X, y, groups = images
    with pytest.warns(CollapseWarning):  # two steps of it teach nothing
        clf.fit(X, y, groups=groups)
    convolutions, units, head = WATCHED[-1]
    assert {group["lr"] for group in WATCHED[-1]} == {6e-5}
    assert convolutions["weight_decay"] == 2 * 2e-4
    assert units["weight_decay"] == head["weight_decay"] == 2 * 1e-3


@pytest.mark.parametrize("n_pairs", [2, 7, 300])
def test_pairs_are_drawn_as_the_paper_draws_them(n_pairs):
    """Half of one class, equally many of each alphabet, never an image with itself."""
    sizes = np.random.default_rng(0).integers(2, 6, 30)
    classes = np.repeat(np.arange(30), sizes)
    groups = classes // 10
    pairs = draw_pairs(classes, groups, n_pairs, np.random.default_rng(1))
    assert pairs.shape == (n_pairs, 3)
    i, j, same = pairs.T
    assert (i != j).all()
    assert ((classes[i] == classes[j]) == same).all()
    assert (groups[i] == groups[j]).all()
    counts = np.bincount(groups[i], minlength=3)
    assert counts.max() - counts.min() <= 1
    assert abs(same.sum() - n_pairs / 2) <= 1.5  # an odd number of a group's three
    if n_pairs == 300:
        assert len(np.unique(classes[i])) > 25


def test_pairs_of_other_classes_are_drawn_evenly():
    classes = np.repeat(np.arange(4), 2)
    pairs = draw_pairs(classes, np.zeros(8, int), 12_000, np.random.default_rng(0))
    i, j, _ = pairs[pairs[:, 2] == 0].T
    table = np.zeros((4, 4))
    np.add.at(table, (classes[i], classes[j]), 1)
    assert (table.diagonal() == 0).all()
    expected = 6_000 / 12
    assert (np.abs(table[~np.eye(4, dtype=bool)] - expected) < 5 * math.sqrt(expected)).all()


def test_a_class_of_one_image_is_only_in_pairs_of_different_classes():
    classes = np.array([0, 0, 0, 1])
    pairs = draw_pairs(classes, np.zeros(4, int), 100, np.random.default_rng(0))
    assert ((pairs[:, :2] == 3).any(1) <= (pairs[:, 2] == 0)).all()
    assert (pairs[:, 2] == 0).sum() == 50


def test_n_pairs_learns_from_a_fixed_set_of_pairs(images, monkeypatch):
    seen = []
    init = PairBatches.__init__

    def noted(self, store, scaling, pairs, *rest):
        seen.append((len(store), pairs))
        init(self, store, scaling, pairs, *rest)

    monkeypatch.setattr(PairBatches, "__init__", noted)
    X, y, groups = images
    params = {"encoder": "mlp", "n_pairs": 40, "max_iter": 2, "random_state": 0}
    clf = SiameseOneShotClassifier(**params).fit(X, y, groups=groups)
    assert len(seen) == 1
    ((n, pairs),) = seen
    assert (n, len(pairs)) == (len(X), 40)
    assert (groups[pairs[:, 0]] == groups[pairs[:, 1]]).all()
    assert list(clf.classes_) == list(range(16))
    clf.set_params(early_stopping=True, validation_fraction=0.5).fit(X, y, groups=groups)
    assert seen[1][0] == len(X) // 2  # of the alphabet that is not held out
    assert "one_shot_accuracy" in clf.history_[0]
