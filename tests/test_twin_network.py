"""The network: one encoding of each image, one matrix of logits; several networks as one."""

import copy
import pickle

import pytest
import torch
from torch import nn
from training_runs import equal, network_of, seen_network, weights

from sksiamese.twin.encoders import build_encoder
from sksiamese.twin.network import TwinEnsemble, TwinNetwork, members_of, memory_format_of


def random_images(n, shape, seed=0):
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("head", "encoder", "shape"),
    [
        ("weighted_l1", "conv", (2, 11, 14)),
        ("signed_l1", "mlp", (6,)),
        ("aligned", "conv", (2, 11, 14)),
    ],
)
def test_twin_network_pairs_are_entries_of_its_matrix(head, encoder, shape):
    network = network_of(encoder, shape, head).eval()
    images = random_images(5, shape)
    i, j = torch.tensor([0, 1, 4, 4, 2]), torch.tensor([1, 0, 3, 4, 0])
    with torch.no_grad():
        matrix = network(images)
        pairs = network(images, i, j)
    torch.testing.assert_close(pairs, matrix[i, j], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(matrix, matrix.T)
    off = matrix[~torch.eye(5, dtype=torch.bool)]
    assert off.max() - off.min() > 1e-3


def test_twin_network_compares_the_embeddings_of_the_encoder_and_head():
    network = seen_network("conv", (1, 12, 12))
    images = random_images(4, (1, 12, 12))
    embeddings = network.embed(images)
    torch.testing.assert_close(embeddings, network.head.embed(network.encoder(images)))
    torch.testing.assert_close(network(images), network.head.logits(embeddings, embeddings))


def test_twin_network_encodes_every_image_once_however_many_pairs_it_is_in():
    """Mistake 7: a matrix of embeddings, not a forward pass for each pair."""
    network = network_of("conv", (1, 8, 8))
    seen = []
    network.encoder.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    images = random_images(4, (1, 8, 8))
    network(images)
    network(images, torch.tensor([0, 0, 1, 2]), torch.tensor([1, 2, 3, 3]))
    assert seen == [4, 4]


def test_train_leaves_frozen_parts_of_the_encoder_in_evaluation_mode():
    frozen = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))
    frozen.requires_grad_(False)
    encoder = nn.Sequential(frozen, nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.Flatten())
    network = TwinNetwork(encoder, seen_network("mlp", (4 * 4 * 4,)).head).train()
    assert not any(module.training for module in frozen.modules())
    assert encoder.training
    assert encoder[1].training
    assert encoder[2].training
    images = random_images(6, (1, 8, 8))
    before = copy.deepcopy(frozen.state_dict())
    torch.testing.assert_close(frozen(images), frozen(images), rtol=0, atol=0)
    encoder(images)
    assert equal(frozen.state_dict(), before)
    frozen.requires_grad_(True)  # as a callback may do between two epochs
    assert all(module.training for module in network.train().modules())


def mixed_encoder():
    """Return a module with batch normalisation of its own and with an encoder of the package."""
    ours = build_encoder("conv", (4, 6, 6), torch.Generator().manual_seed(0), width=8)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), ours)


@pytest.mark.parametrize("still", [False, True])
def test_train_with_still_norm_leaves_batch_norm_of_others_in_evaluation_mode(still):
    encoder = mixed_encoder()
    network = TwinNetwork(encoder, seen_network("conv", (4, 6, 6)).head, still_norm=still).train()
    assert encoder[1].training is not still
    assert all(part.training for part in (encoder[0], encoder[2], *encoder[3].modules()))
    before = copy.deepcopy(encoder.state_dict())
    encoder(random_images(6, (1, 8, 8)))
    after = encoder.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert any(name.startswith("3.") for name in changed)
    assert any(name.startswith("1.") for name in changed) is not still
    assert encoder[1].weight.requires_grad  # and trains
    assert not any(part.training for part in network.eval().modules())


def test_twin_network_gradients_reach_encoder_and_head():
    network = network_of("conv", (1, 9, 9))
    network(random_images(4, (1, 9, 9))).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    assert network.head.log_weight.grad.abs().sum() > 0
    assert network.encoder.layers[0].conv.weight.grad.abs().sum() > 0


def test_twin_network_state_holds_encoder_and_head_alone():
    network = network_of("mlp", (6,))
    expected = {f"encoder.{name}" for name in network.encoder.state_dict()}
    expected |= {f"head.{name}" for name in network.head.state_dict()}
    assert set(network.state_dict()) == expected


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda n: pickle.loads(pickle.dumps(n))])
@pytest.mark.parametrize("n_members", [1, 3])
def test_twin_network_copies_embed_and_compare_alike(copied, n_members):
    members = [seen_network("conv", (1, 12, 12), "aligned", seed) for seed in range(n_members)]
    network = members[0] if n_members == 1 else TwinEnsemble(members)
    again = copied(network)
    images = random_images(5, (1, 12, 12))
    assert equal(weights(again), weights(network))
    assert torch.equal(again.embed(images), network.embed(images))
    assert torch.equal(again(images), network(images))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    assert not torch.equal(again(images), network(images))  # its head is copied too


class Viewing(nn.Module):
    """An encoder that needs contiguous images."""

    def forward(self, x):
        return x.view(len(x), -1)


@pytest.mark.parametrize("channels_last", [False, True])
def test_twin_network_gives_encoders_the_memory_format_they_ask_for(channels_last):
    images = random_images(3, (2, 4, 5))
    if channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    seen = []
    conv = network_of("conv", (2, 4, 5))
    for encoder in (Viewing(), conv.encoder):
        network = network_of(encoder, (2, 4, 5))
        network.encoder.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
        network.embed(images)
    assert seen[0].is_contiguous()
    assert seen[1].is_contiguous(memory_format=torch.channels_last)
    assert memory_format_of(Viewing()) is torch.contiguous_format
    assert memory_format_of(conv.encoder) is torch.channels_last


@pytest.mark.parametrize("head", ["weighted_l1", "signed_l1", "aligned", "cosine", "whitened"])
def test_twin_ensemble_logit_is_the_mean_of_its_members(head):
    members = [seen_network("conv", (1, 16, 16), head, seed) for seed in range(3)]
    ensemble = TwinEnsemble(members)
    images = random_images(5, (1, 16, 16))
    embeddings = ensemble.embed(images)
    for n, member in enumerate(members):
        assert torch.equal(embeddings[:, n], member.embed(images))
    mean = torch.stack([member(images) for member in members]).mean(0)
    torch.testing.assert_close(ensemble(images), mean)
    torch.testing.assert_close(ensemble.head.logits(embeddings, embeddings), mean)
    torch.testing.assert_close(ensemble.head.pair_logits(embeddings, embeddings), mean.diagonal())
    biases = torch.stack([member.head.bias for member in members])
    torch.testing.assert_close(ensemble.head.bias, biases.mean())


def test_twin_ensemble_follows_its_members_to_other_weights():
    members = [seen_network("mlp", (6,), seed=seed) for seed in range(2)]
    ensemble, rows = TwinEnsemble(members), random_images(4, (6,))
    state = weights(TwinEnsemble([seen_network("mlp", (6,), seed=seed) for seed in (7, 8)]))
    ensemble.load_state_dict(state)
    expected = (members[0](rows) + members[1](rows)) / 2
    torch.testing.assert_close(ensemble(rows), expected)
    assert equal(weights(ensemble), state)


def test_members_of_lists_the_networks_of_an_ensemble_or_the_one():
    members = [network_of("mlp", (6,), seed=seed) for seed in range(3)]
    assert members_of(members[0]) == members[:1]
    assert members_of(TwinEnsemble(members)) == members
    assert members_of(TwinEnsemble(iter(members))) == members
    assert all(isinstance(member, TwinNetwork) for member in members)
