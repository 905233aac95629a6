"""Matching: the parts of two images that a network finds alike."""

import numpy as np
import pytest
import torch
from torch import nn
from training_runs import ArrayStore, seen_network

from sksiamese.comparers import ModifiedHausdorff
from sksiamese.twin.heads import build_head
from sksiamese.twin.inference import NeuralComparer
from sksiamese.twin.matching import can_match, match
from sksiamese.twin.network import TwinEnsemble, TwinNetwork
from sksiamese.twin.scaling import InputScaling

SHAPE = 1, 40, 40
CLOSE = {"rel": 0, "abs": 1e-5}


def comparer_of(network, crop="foreground"):
    zero, one = torch.zeros(1, 1, 1, dtype=torch.float64), torch.ones(1, 1, 1, dtype=torch.float64)
    return NeuralComparer(network.eval(), InputScaling(zero, one, (40, 40), (40, 40), crop))


def drawing(top, left):
    """Return a store of one L-shaped drawing, 12 x 12 pixels."""
    image = np.zeros((1, *SHAPE), np.float32)
    image[0, 0, top : top + 12, left : left + 3] = 1
    image[0, 0, top + 9 : top + 12, left : left + 12] = 1
    return ArrayStore(image)


@pytest.mark.parametrize("crop", ["foreground", None])
def test_match_has_the_logit_of_the_pair(crop):
    comparer = comparer_of(seen_network("conv", SHAPE, "aligned"), crop)
    a, b = drawing(3, 5), drawing(20, 22)
    found = match(comparer, a, b)
    expected = comparer.pair_logits(comparer.embed(a), comparer.embed(b))[0]
    assert found.logit == pytest.approx(float(expected), **CLOSE)
    assert found.cell_logits.shape == found.best.shape == (2, 3, 3)


def test_match_maps_lie_where_the_drawings_are():
    comparer = comparer_of(seen_network("conv", SHAPE, "aligned"))
    boxes = match(comparer, drawing(3, 5), drawing(20, 22)).boxes
    np.testing.assert_allclose(boxes, [[1.5, 16.5, 3.5, 18.5], [18.5, 33.5, 20.5, 35.5]])


def test_match_shows_the_first_network_that_compares_cells():
    aligned = seen_network("conv", SHAPE, "aligned", 1)
    members = [seen_network("conv", SHAPE, "weighted_l1"), aligned]
    a, b = drawing(3, 5), drawing(20, 2)
    ours = match(comparer_of(TwinEnsemble(members)), a, b)
    theirs = match(comparer_of(aligned), a, b)
    np.testing.assert_allclose(ours.cell_logits, theirs.cell_logits, atol=1e-5)
    assert can_match(comparer_of(TwinEnsemble(members)))


def test_match_of_an_image_with_itself_is_cell_by_cell():
    head = build_head("aligned", (1, 5, 5), torch.Generator().manual_seed(0), window=0)
    comparer = comparer_of(TwinNetwork(nn.AvgPool2d(8), head), crop=None)
    store = ArrayStore(np.random.default_rng(0).random((1, *SHAPE), np.float32))
    found = match(comparer, store, store)
    np.testing.assert_array_equal(found.best.reshape(2, -1), [np.arange(25)] * 2)
    assert found.logit == pytest.approx(head.bias.item(), abs=1e-5)


def test_can_match_needs_a_head_that_compares_cells():
    assert can_match(comparer_of(seen_network("conv", SHAPE, "aligned")))
    assert not can_match(comparer_of(seen_network("conv", SHAPE, "cosine")))
    assert not can_match(ModifiedHausdorff())
