"""Statistics: a network's batch normalisation tells how its pixels were normalised."""

import pickle

import pytest
import torch
from torch import nn

from sksiamese.twin.statistics import divergence, is_trained, nearest

USUAL = {
    "imagenet": (torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])),
    "half": (torch.full((3,), 0.5), torch.full((3,), 0.5)),
    "unit": (torch.zeros(3), torch.ones(3)),
    "255": (torch.zeros(3), torch.full((3,), 1 / 255)),
}


def photographs(n=48, seed=0):
    """Return smooth colour images from 0 to 1, (n, 3, 16, 16)."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, 3, 4, 4, generator=generator)
    return nn.functional.interpolate(coarse, size=16, mode="bilinear")


def normalised(images, name):
    mean, std = (part[:, None, None] for part in USUAL[name])
    return (images - mean) / std


def network_that_saw(name):
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8)
    )
    with torch.no_grad():
        for _ in range(40):
            network(normalised(photographs(), name))
    return network.eval()


def test_is_trained_is_whether_batch_norm_has_seen_data():
    norm = nn.BatchNorm2d(3)
    assert not is_trained(norm)
    norm(torch.randn(4, 3, 2, 2))
    assert is_trained(norm)
    assert not is_trained(nn.BatchNorm2d(3, track_running_stats=False))
    assert not is_trained(nn.Conv2d(3, 3, 1))


@pytest.mark.parametrize("name", list(USUAL))
def test_nearest_is_the_normalisation_that_the_network_was_trained_with(name):
    network = network_that_saw(name)
    candidates = {other: normalised(photographs(seed=1), other) for other in USUAL}
    assert nearest(network, candidates) == name


def test_nearest_is_none_for_a_network_that_has_seen_nothing():
    candidates = {name: normalised(photographs(), name) for name in USUAL}
    for network in (
        nn.Conv2d(3, 8, 3),
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)).eval(),
    ):
        assert nearest(network, candidates) is None


def test_divergence_is_that_of_normal_distributions():
    """Of N(1, 4) from N(0, 1), twice the Kullback-Leibler divergence: 4 + 1 - 1 - log 4."""
    norm = nn.BatchNorm2d(1, eps=0.0).eval()
    norm.running_mean += 1e-12  # has seen data
    x = torch.randn(1, 1, 200, 200, generator=torch.Generator().manual_seed(0))
    x = 2 * (x - x.mean()) / x.std() + 1
    assert divergence(norm, x) == pytest.approx(4 - torch.tensor(4.0).log().item(), abs=1e-3)


def test_divergence_is_least_for_the_images_that_were_seen():
    network = network_that_saw("half")
    found = [divergence(network, normalised(photographs(), name)) for name in ("half", "unit")]
    assert found[0] < 0.1 < found[1]


def test_divergence_leaves_no_hook_behind():
    network = network_that_saw("half")
    before = pickle.dumps(network)
    divergence(network, normalised(photographs(), "half"))
    with pytest.raises(RuntimeError):
        divergence(network, torch.zeros(2, 5, 16, 16))
    assert pickle.dumps(network) == before
