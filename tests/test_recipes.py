"""Recipes: what the paper's sentences say, and that each estimator fits."""

import sys
import types

import numpy as np
import pytest
import torch
from helpers import assert_same_network
from sklearn.base import clone
from skorch.callbacks import Callback, LRScheduler
from torch import nn

from sksiamese import SiameseOneShotClassifier, recipes
from sksiamese.callbacks import MomentumRamp
from sksiamese.datasets import make_glyphs
from sksiamese.exceptions import CollapseWarning
from sksiamese.twin.encoders import KochEncoder
from sksiamese.twin.levels import Beside, Levels

ALL = pytest.mark.parametrize(
    "recipe",
    [recipes.omniglot, recipes.koch, recipes.koch2015, recipes.keras2017, recipes.photos],
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


# photos


def photographs(n_classes=8, n_samples=6, side=32, seed=0):
    """Return (X, y): colour images whose classes differ in the colours of large patches."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(n_classes), n_samples)
    patches = rng.random((n_classes, 3, 4, 4))[y] + 0.2 * rng.normal(size=(len(y), 3, 4, 4))
    X = patches.repeat(side // 4, 2).repeat(side // 4, 3)
    return (255 * X.clip(0, 1)).astype(np.uint8), y


def backbone(**attributes):
    """Return a small network whose batch normalisation has seen pixels normalised by a half."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 12, 3, padding=1),
        nn.BatchNorm2d(12),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, 10),
    )
    images = torch.from_numpy(photographs(seed=1)[0]) / 127.5 - 1
    with torch.no_grad():
        for _ in range(40):
            module(images)
    for name, value in attributes.items():
        setattr(module, name, value)
    return module.eval()


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("head", "whitened"),
        ("aggregation", "prototype"),
        ("augmentation", "auto"),
        ("class_augmentation", None),
        ("crop", None),
        ("max_iter", 40),
    ],
)
def test_photos_says_what_differs_from_the_defaults(parameter, value):
    for clf in (
        recipes.photos(),
        recipes.photos(backbone()),
        recipes.photos(backbone(), both=True),
    ):
        assert getattr(clf, parameter) == value


def test_photos_sizes_and_encoders():
    alone, frozen = recipes.photos(size=64), recipes.photos(backbone(), 32, max_iter=7)
    both = recipes.photos(backbone(), 32, both=True, random_state=3)
    assert (alone.encoder, alone.resize, alone.normalization) == ("conv", 32, "imagenet")
    assert (frozen.resize, frozen.max_iter, frozen.random_state) == (32, 7, None)
    assert isinstance(frozen.encoder, Levels)
    assert not any(p.requires_grad for p in frozen.encoder.parameters())
    assert isinstance(both.encoder, Beside)
    assert (both.resize, both.random_state) == (32, 3)


@pytest.mark.parametrize(
    ("module", "normalization"),
    [
        (backbone(), "auto"),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), "imagenet"),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()), "imagenet"),
    ],
    ids=["seen", "no norm", "new norm"],
)
def test_photos_normalises_by_the_backbone_or_else_as_most_backbones_do(module, normalization):
    assert recipes.photos(module, 16).normalization == normalization


def test_photos_normalises_as_the_backbone_says():
    X, y = photographs()
    for module in (
        backbone(mean=(0.1,) * 3, std=(0.3,) * 3),
        backbone(pretrained_cfg={"mean": (0.1,) * 3, "std": (0.3,) * 3}),
    ):
        clf = recipes.photos(module, 32).fit(X, y)
        scaling = clf.fitted_.comparer.scaling
        np.testing.assert_allclose(scaling.offset.flatten() / 255, [0.1] * 3)
        np.testing.assert_allclose(scaling.scale.flatten() / 255, [0.3] * 3)
    scaling = recipes.photos(backbone(), 32).fit(X, y).fitted_.comparer.scaling
    np.testing.assert_allclose(scaling.offset.flatten() / 255, [0.5] * 3)


@pytest.mark.parametrize("shape", [(32, 32), (32, 24)])
@pytest.mark.parametrize("kind", ["alone", "frozen", "both"])
def test_photos_fits_saves_and_is_cloned(kind, shape, tmp_path):
    X, y = photographs()
    X = X[:, :, : shape[0], : shape[1]]
    module = None if kind == "alone" else backbone()
    clf = recipes.photos(module, 32, kind == "both", max_iter=1, random_state=0)
    clf = clone(clf).fit(X, y)
    assert len(clf.history_[0]) == (0 if kind == "frozen" else 1)
    new, of_new = photographs(seed=2)
    new = new[:, :, : shape[0], : shape[1]]
    clf.set_support(new[::6], of_new[::6])
    assert clf.score(new, of_new) > 0.7
    clf.save(tmp_path / "file")
    encoder = None
    if kind != "alone":
        encoder = recipes.photos(backbone(), 32, kind == "both").encoder
    again = SiameseOneShotClassifier.load(tmp_path / "file", encoder=encoder)
    np.testing.assert_array_equal(again.decision_function(new), clf.decision_function(new))


def test_photos_of_gray_images():
    X, y = photographs()
    clf = recipes.photos(backbone(), 32).fit(X[:, 0], y)
    assert clf.input_shape_ == (1, 32, 32)
    assert clf.score(X[:, 0], y) > 0.7


def test_photos_with_both_trains_the_twin_and_leaves_the_backbone():
    X, y = photographs()
    clf = recipes.photos(backbone(), 32, both=True, max_iter=2, random_state=0)
    fits = [clone(clf).set_params(random_state=seed).fit(X, y) for seed in (0, 0, 1)]
    before = backbone().state_dict()
    for fit in fits:
        levels = fit.network_.encoder.levels.module.state_dict()
        assert all(torch.equal(value, before[name]) for name, value in levels.items())
    assert_same_network(*fits[:2])
    twins = [next(fit.network_.encoder.encoder.parameters()) for fit in fits]
    assert not torch.equal(twins[0], twins[2])
    assert not torch.equal(twins[0], next(clf.encoder.encoder.parameters()))


@pytest.mark.parametrize("kind", ["alone", "frozen", "both"])
def test_photos_leaves_the_global_generators_alone(kind):
    module = None if kind == "alone" else backbone()
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    recipes.photos(module, 32, kind == "both")
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]  # noqa: NPY002


@pytest.fixture
def timm(monkeypatch):
    """A module in the place of timm, which downloads weights."""
    calls = []

    def create_model(name, **params):
        calls.append((name, params))
        torch.rand(3)  # timm draws weights before it reads others
        return backbone(pretrained_cfg={"mean": (0.1,) * 3, "std": (0.3,) * 3})

    stub = types.ModuleType("timm")
    stub.create_model, stub.calls = create_model, calls
    monkeypatch.setitem(sys.modules, "timm", stub)
    return stub


def test_photos_takes_a_network_of_timm_by_name(timm):
    before = torch.get_rng_state()
    clf = recipes.photos("timm:hf_hub:someone/resnet10t", 32)
    assert timm.calls == [("hf_hub:someone/resnet10t", {"pretrained": True})]
    assert clf.normalization == "auto"
    assert clf.encoder.pretrained_cfg["mean"] == (0.1,) * 3
    assert torch.equal(torch.get_rng_state(), before)


def test_photos_without_timm_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=r"timm:resnet18' needs timm: pip install sksiamese\[ti"):
        recipes.photos("timm:resnet18")


@pytest.mark.parametrize(
    ("args", "error", "message"),
    [
        (("resnet18",), ValueError, "backbone='resnet18'; expected 'timm:NAME'"),
        (("timm:",), ValueError, "backbone='timm:'; expected 'timm:NAME'"),
        (("torchvision:resnet18",), ValueError, "expected 'timm:NAME'"),
        ((3,), TypeError, "backbone=3; expected a torch.nn.Module, 'timm:NAME' or None"),
        ((lambda shape: None,), TypeError, "expected a torch.nn.Module"),
        ((nn.Linear(3, 3),), ValueError, "Linear cannot be used for images of 128x128 pixels"),
        ((None, 8), ValueError, "size == 8"),
        ((None, 64.0), TypeError, "size"),
        ((None, 64, "yes"), ValueError, "both='yes'; expected True or False"),
        ((None, 64, True), ValueError, "both=True needs a backbone"),
    ],
)
def test_photos_refuses(timm, args, error, message):
    with pytest.raises(error, match=message):
        recipes.photos(*args)
    assert not timm.calls
