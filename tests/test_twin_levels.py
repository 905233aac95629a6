"""Levels: which stages of a network are found, and that their averages are right."""

import copy
import pickle
import threading

import pytest
import torch
import torch.nn.functional as F
from sklearn.base import clone
from torch import nn

from sksiamese import SiameseOneShotClassifier
from sksiamese.twin import levels as twin_levels
from sksiamese.twin.encoders import build_encoder
from sksiamese.twin.levels import Beside, Levels, channels_of


class Block(nn.Module):
    """A residual block whose activations work in place."""

    def __init__(self, n_in, n_out, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride > 1 or n_in != n_out:
            conv = nn.Conv2d(n_in, n_out, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(n_out))

    def forward(self, x):
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class Residual(nn.Module):
    """A small residual network as torchvision names its parts; it notes its maps on demand."""

    def __init__(self, n_in=3, classifier=True):
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, 4, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(Block(4, 4), Block(4, 4))
        self.layer2 = nn.Sequential(Block(4, 8, 2), Block(8, 8))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8, 10)
        self.is_classifier = classifier

    def forward(self, x):
        x = self.layer2(self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(x))))))
        x = self.avgpool(x).flatten(1)
        return self.fc(x) if self.is_classifier else x


class Wrapper(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x)


def plain():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 3),
    )


def residual(**params):
    torch.manual_seed(0)
    return Residual(**params)


def images(n=5, seed=0, side=32):
    return torch.randn(n, 3, side, side, generator=torch.Generator().manual_seed(seed))


STAGES = ("relu", "layer1.0", "layer1.1", "layer2.0", "layer2.1")


@pytest.mark.parametrize(
    ("module", "names", "widths"),
    [
        (plain(), ("2", "3", "5"), (4, 4, 6)),
        (plain()[:6], ("2", "3", "5"), (4, 4, 6)),  # returns a map itself
        (plain()[:2], ("1",), (4,)),
        (residual(), STAGES, (4, 4, 4, 8, 8)),
        (residual(classifier=False), STAGES, (4, 4, 4, 8, 8)),
        (Wrapper(residual()), tuple(f"net.{name}" for name in STAGES), (4, 4, 4, 8, 8)),
        (Wrapper(Wrapper(plain())), ("net.net.2", "net.net.3", "net.net.5"), (4, 4, 6)),
        (nn.Sequential(residual()), tuple(f"0.{name}" for name in STAGES), (4, 4, 4, 8, 8)),
    ],
    ids=["plain", "map", "one", "residual", "features", "wrapped", "twice", "in a sequence"],
)
def test_levels_are_the_stages_of_a_network(module, names, widths):
    found = Levels(module, 32)
    assert found.names == names
    assert found.widths == widths
    assert found(images()).shape == (5, sum(widths))


def test_levels_are_averages_of_maps_of_length_1():
    module = residual().eval()
    x, expected = images(), []
    with torch.no_grad():
        found = Levels(module, 32)(x)
        x = module.relu(module.bn1(module.conv1(x)))
        expected.append(x)
        x = module.maxpool(x)
        for block in (*module.layer1, *module.layer2):
            x = block(x)
            expected.append(x)
    expected = torch.cat([F.normalize(x.mean((2, 3)), dim=1) for x in expected], 1)
    torch.testing.assert_close(found, expected)


def test_levels_are_a_frozen_copy_in_evaluation_mode():
    module = residual().double().train()
    before = pickle.dumps(module)
    found = Levels(module, 32)
    assert pickle.dumps(module) == before
    assert not any(p.requires_grad or p.dtype == torch.float64 for p in found.parameters())
    assert not any(part.training for part in found.module.modules())


def test_levels_of_images_of_another_size_and_shape():
    found = Levels(residual(), 64)
    x = torch.randn(2, 3, 48, 80)
    assert found(x).shape == (2, 28)


def test_levels_of_gray_networks():
    found = Levels(residual(n_in=1), 32)
    assert found(torch.randn(2, 1, 32, 32)).shape == (2, 28)


@pytest.mark.parametrize("change", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_levels_are_the_same_when_copied(change):
    found = Levels(residual(), 32)
    other = change(found)
    assert torch.equal(other(images()), found(images()))
    assert other.names == found.names
    with torch.no_grad():
        other.module.conv1.weight.zero_()
    assert not torch.equal(other(images()), found(images()))


def test_levels_are_cloned_with_their_estimator():
    clf = clone(SiameseOneShotClassifier(Levels(residual(), 32)))
    assert torch.equal(clf.encoder(images()), Levels(residual(), 32)(images()))


def test_levels_in_two_threads_are_those_of_their_own_images():
    found, n_runs = Levels(residual(), 32), 30
    batches = [images(seed=seed) for seed in range(4)]
    expected = [found(batch) for batch in batches]
    wrong, barrier = [], threading.Barrier(len(batches))

    def run(batch, right):
        barrier.wait()
        for _ in range(n_runs):
            if not torch.equal(found(batch), right):
                wrong.append(1)

    threads = [
        threading.Thread(target=run, args=pair) for pair in zip(batches, expected, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_levels_keep_no_map_after_a_pass():
    found = Levels(residual(), 32)
    found(images())
    assert found.module(images()).shape == (5, 10)  # outside of a pass of Levels, hooks do nothing
    assert not any(isinstance(v, torch.Tensor) for v in vars(found).values())


@pytest.mark.parametrize(
    ("most", "names"),
    [
        (28, STAGES),
        (20, ("relu", "layer1.1", "layer2.1")),  # the last of one shape
        (8, ("relu", "layer1.1", "layer2.1")),  # cannot be fewer
    ],
)
def test_levels_leave_out_stages_of_one_shape_if_features_are_too_many(monkeypatch, most, names):
    monkeypatch.setattr(twin_levels, "MOST_FEATURES", most)
    assert Levels(residual(), 32).names == names


def test_levels_leave_out_stages_of_one_size_if_features_are_still_too_many(monkeypatch):
    monkeypatch.setattr(twin_levels, "MOST_FEATURES", 12)
    module = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.Conv2d(4, 6, 1), nn.Conv2d(6, 5, 2, stride=2), nn.Flatten()
    )
    assert Levels(module, 8).names == ("1", "2")


@pytest.mark.parametrize(
    "module",
    [
        nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 4)),
        nn.Flatten(),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 4, 1), nn.Flatten()),
    ],
    ids=["linear", "no layers", "maps of one cell"],
)
def test_levels_refuse_a_network_without_maps(module):
    name = type(module).__name__
    with pytest.raises(ValueError, match=f"{name} has no layer that returns a map"):
        Levels(module, 32)


def test_levels_refuse_a_network_for_images_of_another_size():
    module = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Flatten(), nn.Linear(2 * 32 * 32, 4))
    assert Levels(module, 32).names == ("0",)
    with pytest.raises(ValueError, match="Sequential cannot be used for images of 16x16 pixels"):
        Levels(module, 16)


def test_levels_pass_on_how_pixels_should_be_normalised():
    module = residual()
    module.mean, module.std = (0.5,) * 3, (0.25,) * 3
    module.pretrained_cfg = {"mean": (0.5,) * 3, "std": (0.25,) * 3}
    twin = build_encoder("conv", (3, 16, 16), torch.Generator().manual_seed(0))
    levels = Levels(module, 32)
    for found in (levels, Beside(levels, twin)):
        assert (found.mean, found.std) == ((0.5,) * 3, (0.25,) * 3)
        assert found.pretrained_cfg == module.pretrained_cfg


def test_channels_of_a_module_are_those_of_its_first_convolution():
    assert channels_of(residual()) == 3
    assert channels_of(nn.Sequential(nn.Flatten(), nn.Conv2d(5, 2, 1), nn.Conv2d(2, 2, 1))) == 5
    assert channels_of(nn.Linear(3, 3)) is None


# Beside


@pytest.fixture
def beside():
    twin = build_encoder("conv", (3, 16, 16), torch.Generator().manual_seed(0), width=8)
    return Beside(Levels(residual(), 32), twin)


def test_beside_joins_levels_and_the_features_of_halved_images(beside):
    x = images()
    found = beside.eval()(x)
    own = beside.encoder(F.avg_pool2d(x, 2)).flatten(1)
    torch.testing.assert_close(found[:, :28], beside.levels(x))
    torch.testing.assert_close(found[:, 28:], F.normalize(own, dim=1))
    assert sum(beside.widths) == 28


def test_beside_leaves_levels_out_while_it_trains(beside, monkeypatch):
    monkeypatch.setattr(beside.levels, "forward", None)
    found = beside.train()(images())
    assert not found[:, :28].any()
    found.square()[:, 29].sum().backward()
    assert all(p.grad is None for p in beside.levels.parameters())
    assert any(p.grad is not None and p.grad.any() for p in beside.encoder.parameters())


def test_beside_of_images_that_are_not_square(beside):
    assert beside.eval()(torch.randn(2, 3, 32, 48)).shape[0] == 2
