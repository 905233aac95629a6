"""The network: pairs that are entries of one matrix."""

import pickle

import pytest
import torch

from sksiamese.twin.encoders import build_encoder, feature_shape
from sksiamese.twin.heads import build_head
from sksiamese.twin.network import TwinEnsemble, TwinNetwork
from sksiamese.twin.scaling import InputScaling


def twin(shape, head="weighted_l1", encoder="conv", seed=0):
    encoder = build_encoder(encoder, shape, torch.Generator().manual_seed(seed))
    zero, one = torch.zeros(1), torch.ones(1)
    return TwinNetwork(
        InputScaling(zero, one),
        encoder,
        build_head(head, feature_shape(encoder, shape), torch.Generator().manual_seed(0)),
    )


@pytest.mark.parametrize(
    "head, encoder, shape",
    [
        ("weighted_l1", "conv", (2, 11, 14)),
        ("signed_l1", "mlp", (6,)),
        ("aligned", "conv", (2, 11, 14)),
    ],
)
def test_pairs_are_entries_of_the_matrix(head, encoder, shape):
    network = twin(shape, head, encoder).eval()
    images = torch.rand(5, *shape)
    i, j = torch.tensor([0, 1, 4, 4, 2]), torch.tensor([1, 0, 3, 4, 0])
    with torch.no_grad():
        matrix = network(images)
        pairs = network(images, i, j)
    assert matrix.shape == (5, 5)
    torch.testing.assert_close(pairs, matrix[i, j], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(matrix, matrix.T)


def test_every_image_is_encoded_once_however_many_pairs_it_is_in():
    """Mistake 7: a matrix of codes, not a forward pass a pair."""
    network = twin((1, 8, 8))
    seen = []
    network.encoder.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    network(torch.rand(4, 1, 8, 8))
    network(torch.rand(4, 1, 8, 8), torch.tensor([0, 0, 1, 2]), torch.tensor([1, 2, 3, 3]))
    assert seen == [4, 4]


def test_gradients_reach_encoder_and_head():
    network = twin((1, 9, 9))
    network(torch.rand(4, 1, 9, 9)).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    assert network.head.log_weight.grad.abs().sum() > 0
    assert network.encoder.layers[0].conv.weight.grad.abs().sum() > 0


def test_scaling_is_saved_with_the_network_but_not_trained():
    network = twin((1, 8, 8))
    assert {"scaling.offset", "scaling.scale"} <= network.state_dict().keys()
    assert not any(name.startswith("scaling") for name, _ in network.named_parameters())


def warmed_up():
    """A network whose batch-norm has seen images, folded for prediction."""
    network = twin((1, 12, 12)).train()
    images = torch.rand(16, 1, 12, 12, generator=torch.Generator().manual_seed(1))
    network(images)
    return network.fold(), images


def test_a_pickle_holds_the_encoder_once_and_predicts_by_the_folded_one_again():
    network, images = warmed_up()
    pickled = pickle.dumps(network)
    n_bytes = sum(tensor.nbytes for tensor in network.state_dict().values())
    assert len(pickled) < 1.2 * n_bytes
    again = pickle.loads(pickled)
    assert len(again._folded) == 1
    assert torch.equal(again.codes(images), network.codes(images))
    assert not pickle.loads(pickle.dumps(twin((1, 12, 12))))._folded


def test_training_goes_on_with_the_encoder_and_not_its_folded_copy():
    network, images = warmed_up()
    network.requires_grad_(True).train()(images).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("head", ["weighted_l1", "signed_l1", "aligned"])
def test_an_ensemble_s_logit_is_the_mean_of_its_members(head):
    members = [twin((1, 16, 16), head, seed=seed).fold() for seed in range(3)]
    ensemble = TwinEnsemble(members)
    images = torch.rand(5, 1, 16, 16)
    codes = ensemble.codes(images)
    assert codes.shape[:2] == (5, 3) and ensemble.n_members == 3
    each = [m.head.logits(m.codes(images), m.codes(images)) for m in members]
    mean = torch.stack(each).mean(0)
    torch.testing.assert_close(ensemble.head.logits(codes, codes), mean)
    torch.testing.assert_close(ensemble.head.pair_logits(codes, codes), mean.diagonal())
    torch.testing.assert_close(ensemble.head.bias, members[0].head.bias)
    again = pickle.loads(pickle.dumps(ensemble))
    assert torch.equal(again.codes(images), codes)
    scaling = InputScaling(torch.ones(1), torch.ones(1))
    other = ensemble.with_scaling(scaling)
    assert other.scaling is scaling and ensemble.scaling is not scaling
    assert torch.equal(other.codes(images), codes)
