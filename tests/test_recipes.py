"""Recipes: what the paper's sentences say, and that each estimator fits."""

import numpy as np
import pytest
from sklearn.base import clone
from skorch.callbacks import Callback, LRScheduler

from sksiamese import SiameseOneShotClassifier, recipes
from sksiamese.callbacks import MomentumRamp
from sksiamese.datasets import make_glyphs
from sksiamese.exceptions import CollapseWarning
from sksiamese.twin.encoders import KochEncoder

ALL = pytest.mark.parametrize(
    "recipe", [recipes.omniglot, recipes.koch, recipes.koch2015, recipes.keras2017]
)


class Watch(Callback):
    """The optimizer's settings, epoch by epoch."""

    def on_epoch_end(self, net, **kwargs):
        groups = net.optimizer_.param_groups
        WATCHED.append([{k: v for k, v in group.items() if k != "params"} for group in groups])


WATCHED = []
FLAT = [LRScheduler("ExponentialLR", gamma=1.0)]  # no schedule


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
def test_recipes_share_no_parameters(recipe):
    one, other = recipe(), recipe()
    for name, value in one.get_params(deep=False).items():
        if isinstance(value, dict | list):
            assert value is not getattr(other, name)


# omniglot


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("encoder", "conv"),
        ("head", "aligned"),
        ("augmentation", "strokes"),
        ("class_augmentation", "rotate_reflect"),
        ("resize", 40),
        ("crop", "foreground"),
        ("batch_size", (1, 20, 4)),
        ("max_iter", 30),
        ("optimizer", "muon"),
    ],
)
def test_omniglot_says_what_differs_from_the_defaults(parameter, value):
    assert getattr(recipes.omniglot(), parameter) == value


def test_omniglot_takes_max_iter():
    assert recipes.omniglot(max_iter=40).max_iter == 40


def test_omniglot_fits_and_saves(tmp_path):
    X, y, groups = make_glyphs(n_classes=12, n_samples=6, n_groups=2, random_state=0)
    clf = recipes.omniglot(max_iter=3, random_state=0)
    clf.set_params(encoder_params={"width": 8}).fit(X, y, groups=groups)
    clf.set_support(X[::6], y[::6])
    assert clf.score(X, y) > 0.3  # chance is 1/12
    clf.save(tmp_path / "network.safetensors")
    again = SiameseOneShotClassifier.load(tmp_path / "network.safetensors")
    assert again.get_params() == clf.get_params()
    np.testing.assert_array_equal(again.decision_function(X), clf.decision_function(X))


# koch


def test_koch_is_the_paper_s_network_trained_as_omniglot():
    clf, paper, ours = recipes.koch(), recipes.koch2015(), recipes.omniglot()
    assert (clf.encoder, clf.head, clf.resize) == ("koch", "signed_l1", 105)
    assert paper.encoder_params["n_units"] == 4096  # the default, which `koch` keeps
    for name in ("augmentation", "class_augmentation", "loss", "batch_size", "crop", "ema_decay"):
        assert getattr(clf, name) == getattr(ours, name), name


def test_koch_takes_smaller_steps_in_the_wide_layer_and_the_head(images):
    X, y, groups = images
    WATCHED.clear()
    clf = recipes.koch(max_iter=1, random_state=0)
    params = {"initial": "he", "n_units": 8}
    clf.set_params(resize=65, encoder_params=params, callbacks=[Watch(), *FLAT])
    clf.fit(X, y, groups=groups)
    assert isinstance(clf.network_.encoder, KochEncoder)
    assert sorted(group["lr"] for group in WATCHED[-1]) == [1e-5, 2e-4, 1e-3, 2e-2]


# koch2015


def test_koch2015_has_the_number_of_parameters_of_the_paper():
    clf = recipes.koch2015()
    encoder = KochEncoder((1, 105, 105), **clf.encoder_params)
    assert (clf.encoder, clf.head) == ("koch", "signed_l1")
    n_head = clf.encoder_params["n_units"] + 1
    assert sum(p.numel() for p in encoder.parameters()) + n_head == 38_951_745


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("loss", "verification"),
        ("batch_size", 128),
        ("max_iter", 200),
        ("n_iter_no_change", 20),
        ("early_stopping", True),
        ("augmentation", "affine"),
        ("class_augmentation", None),
        ("ema_decay", 0.0),
        ("n_pairs", 30_000),
        ("resize", None),
        ("crop", None),
        ("optimizer", "sgd"),
        ("encoder_params", {"n_units": 4096, "units_std": 0.2}),
        ("head_params", {"alpha_std": 0.2}),
    ],
)
def test_koch2015_says_what_the_paper_says(parameter, value):
    assert getattr(recipes.koch2015(), parameter) == value


def test_koch2015_has_a_schedule_and_a_momentum_ramp():
    schedule, ramp = recipes.koch2015().callbacks
    assert isinstance(schedule, LRScheduler)
    assert isinstance(ramp, MomentumRamp)
    assert ramp.n_epochs == 20


def layers_of(clf):
    return [settings for _, settings in clf.optimizer_params["param_groups"]]


def test_koch2015_learning_rates_decay_by_a_hundredth_an_epoch(watched):
    clf, epochs = watched
    for layer, settings in enumerate(layers_of(clf)):
        rates = [groups[layer]["lr"] for groups in epochs]
        np.testing.assert_allclose(rates, settings["lr"] * 0.99 ** np.arange(1, 23), rtol=1e-6)


def test_koch2015_momentum_rises_linearly_from_a_half(watched):
    clf, epochs = watched
    for layer, settings in enumerate(layers_of(clf)):
        momenta = [groups[layer]["momentum"] for groups in epochs]
        assert momenta[0] == 0.5
        np.testing.assert_allclose(np.diff(momenta[:21]), (settings["momentum"] - 0.5) / 20)
        assert momenta[20] == momenta[21] == pytest.approx(settings["momentum"])


def test_koch2015_gives_every_layer_its_own_l2(watched):
    clf, epochs = watched
    layers = layers_of(clf)
    assert len(layers) == 6  # four convolutions, units, head
    assert len(epochs[0]) == 6  # and no parameter is left over
    for settings, given in zip(epochs[0], layers, strict=True):
        assert settings["weight_decay"] == given["weight_decay"]


def test_koch2015_stops_early_on_an_alphabet_it_holds_out(watched):
    clf, epochs = watched
    (history,) = clf.history_
    assert len(history) == len(epochs) == clf.n_iter_ == 22
    assert all(0 <= epoch["one_shot_accuracy"] <= 1 for epoch in history)
    assert len(clf.held_out_classes_) == 8  # one of two alphabets


# keras2017


def test_keras2017_trains_by_adam_at_one_rate(images):
    clf = recipes.keras2017(n_pairs=12, random_state=0)
    assert clf.optimizer == "adam"
    assert clf.augmentation is None
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


@pytest.mark.parametrize("recipe", [recipes.koch2015, recipes.keras2017])
def test_recipes_of_the_paper_take_n_pairs(recipe):
    assert recipe(n_pairs=90_000).n_pairs == 90_000


class Pairs(Callback):
    """The classes of each pair of a batch, for flat rows that hold their class."""

    def on_batch_begin(self, net, batch=None, **kwargs):
        inputs, same = batch
        labels = inputs["images"].argmax(dim=1)
        i, j = labels[inputs["i"]], labels[inputs["j"]]
        PAIRS.append((i.tolist(), j.tolist(), same.tolist()))


PAIRS = []


@pytest.mark.parametrize("early_stopping", [False, True])
def test_n_pairs_of_a_recipe_are_drawn_once_and_inside_groups(early_stopping):
    X, y = np.repeat(np.eye(16), 4, axis=0), np.repeat(np.arange(16), 4)
    groups = y // 8
    PAIRS.clear()
    clf = recipes.koch2015(n_pairs=40, random_state=0).set_params(
        encoder="mlp",
        encoder_params=None,
        augmentation=None,
        max_iter=2,
        early_stopping=early_stopping,
        validation_fraction=0.5,
        optimizer_params={"momentum": 0.9},
        callbacks=[Pairs()],
    )
    clf.fit(X, y, groups=groups)
    (first, second) = PAIRS  # one batch an epoch
    assert sorted(zip(*first, strict=True)) == sorted(zip(*second, strict=True))
    i, j, same = map(np.array, first)
    assert len(same) == 40
    assert same.sum() == 20
    np.testing.assert_array_equal(i == j, same == 1)
    np.testing.assert_array_equal(i // 8, j // 8)
    assert clf.classes_.tolist() == list(range(16))
    if early_stopping:
        assert not {*i, *j} & {*clf.held_out_classes_}
        assert len(clf.held_out_classes_) == 8
