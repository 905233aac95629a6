"""Inference: codes that depend on nothing but their image, and matrices in blocks."""

import numpy as np
import pytest
import torch

from sksiamese.twin import inference
from sksiamese.twin.encoders import build_encoder, feature_shape
from sksiamese.twin.heads import HEADS
from sksiamese.twin.inference import encode, logits, pair_logits
from sksiamese.twin.network import TwinNetwork
from sksiamese.twin.scaling import InputScaling


class Store:
    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def take(self, indices):
        return self.images[torch.as_tensor(np.asarray(indices))]


@pytest.fixture(scope="module", params=[("conv", (2, 10, 13)), ("mlp", (7,))])
def scene(request):
    """A network whose running statistics are not at their start, and a store of 11 images."""
    name, shape = request.param
    generator = torch.Generator().manual_seed(0)
    encoder = build_encoder(name, shape, generator)
    images = 200 * torch.rand(11, *shape, generator=generator, dtype=torch.float64)
    scaling = InputScaling(torch.tensor(100.0), torch.tensor(50.0))
    network = TwinNetwork(scaling, encoder, HEADS["weighted_l1"](feature_shape(encoder, shape)))
    with torch.no_grad():
        network.train()(scaling(images))
    return network.eval(), Store(images)


@pytest.mark.parametrize("batch_size", [1, 3, 11])
def test_codes_do_not_depend_on_the_batch_size(scene, batch_size):
    network, store = scene
    whole = encode(network, store)
    assert len(whole) == len(store)
    torch.testing.assert_close(
        encode(network, store, batch_size=batch_size), whole, rtol=1e-5, atol=1e-5
    )


def test_a_row_never_depends_on_the_others(scene):
    """Mistake 8: batch-norm uses running statistics at prediction."""
    network, store = scene
    others = Store(torch.cat([store.images[:1], 1e4 * store.images[1:]]))
    torch.testing.assert_close(
        encode(network, others)[0], encode(network, store)[0], rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("indices", [[4], [7, 0, 7, 3], np.arange(10, -1, -2)])
def test_indices_choose_the_images_in_their_order(scene, indices):
    network, store = scene
    chosen = encode(network, store, indices=indices, batch_size=2)
    torch.testing.assert_close(chosen, encode(network, store)[indices], rtol=1e-5, atol=1e-5)


def test_codes_are_those_of_the_scaled_image(scene):
    network, store = scene
    expected = network.codes(network.scaling(store.images))
    torch.testing.assert_close(encode(network, store), expected, rtol=1e-5, atol=1e-5)


def test_inference_keeps_no_graph_and_changes_nothing(scene):
    network, store = scene
    before = {name: value.clone() for name, value in network.state_dict().items()}
    codes = encode(network, store)
    answers = logits(network, codes, codes), pair_logits(network, codes, codes)
    assert not any(result.requires_grad for result in (codes, *answers))
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


@pytest.mark.parametrize("block", [1, 4, 11, 1000])
def test_blocks_make_the_whole(scene, block, monkeypatch):
    network, store = scene
    codes = encode(network, store)
    matrix, pairs = logits(network, codes, codes[:5]), pair_logits(network, codes, codes.flip(0))
    monkeypatch.setattr(inference, "BLOCK_ROWS", block)
    blocks = logits(network, codes, codes[:5])
    assert blocks.shape == (11, 5)
    torch.testing.assert_close(blocks, matrix, rtol=1e-5, atol=1e-5)
    blocks = pair_logits(network, codes, codes.flip(0))
    torch.testing.assert_close(blocks, pairs, rtol=1e-5, atol=1e-5)


def test_pair_logits_are_entries_of_the_matrix(scene):
    network, store = scene
    codes = encode(network, store)
    i, j = torch.tensor([0, 3, 9, 2]), torch.tensor([3, 0, 9, 10])
    torch.testing.assert_close(
        pair_logits(network, codes, codes, i, j),
        logits(network, codes, codes)[i, j],
        rtol=1e-5,
        atol=1e-5,
    )
