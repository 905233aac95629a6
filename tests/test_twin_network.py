"""The network: raw inputs to ground 0 and ink 1, and pairs that are entries of one matrix."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sksiamese._validation import ImageStore
from sksiamese.twin.encoders import build_encoder, feature_shape
from sksiamese.twin.heads import build_head
from sksiamese.twin.network import InputScaling, TwinNetwork, learn_scaling


def scaled(X, **options):
    store = ImageStore(X, **options)
    return InputScaling(*learn_scaling(store))(store.take(np.arange(len(store)))).numpy()


@pytest.mark.parametrize(
    ("ground", "ink", "dtype"),
    [
        (0, 1, np.float32),
        (0, 255, np.uint8),
        (255, 0, np.uint8),
        (1, 0, bool),
        (-3, 5, np.float64),
    ],
)
def test_ground_becomes_zero_and_ink_one(glyphs, ground, ink, dtype):
    drawn = glyphs[0][:10] > 0.5
    images = np.where(drawn, ink, ground).astype(dtype)
    np.testing.assert_allclose(scaled(images)[:, 0], drawn, atol=1e-6)


def test_light_and_dark_drawings_look_the_same_to_the_encoder(glyphs):
    X = glyphs[0][:10]
    np.testing.assert_allclose(scaled(1 - X), scaled(X), atol=1e-6)


def test_all_channels_turn_the_same_way(glyphs):
    drawn = glyphs[0][:10] > 0.5
    ground, ink = np.array([250, 240, 20]), np.array([10, 200, 60])  # blue ink is the lighter
    images = np.where(drawn[..., None], ink, ground).astype(np.uint8)
    expected = np.stack([drawn, drawn, -1.0 * drawn], 1)
    np.testing.assert_allclose(scaled(images), expected, atol=1e-6)


def test_a_colour_image_keeps_its_order_of_channels():
    images = np.zeros((4, 3, 8, 8), np.float32)
    images[:, 1, 3:5, 3:5] = 4.0
    offset, scale = learn_scaling(ImageStore(images))
    assert offset.shape == scale.shape == (3, 1, 1)
    assert scale.flatten().tolist() == [1, 4, 1]


def test_flat_rows_are_standardised_feature_by_feature():
    X = np.random.default_rng(0).normal(3, [1, 10, 1e-3], size=(200, 3))
    rows = scaled(X)
    np.testing.assert_allclose(rows.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(rows.std(0), 1, atol=1e-5)


@pytest.mark.parametrize("X", [np.full((3, 5, 5), 7.0), np.full((3, 4), 7.0)])
def test_constant_input_becomes_zero(X):
    assert (scaled(X) == 0).all()


def test_images_of_a_single_pixel_have_a_border():
    assert np.isfinite(scaled(np.arange(4.0).reshape(4, 1, 1))).all()


def test_large_images_are_sampled_within_memory():
    class Large:
        input_shape = (3, 1000, 1000)

        def __len__(self):
            return 500

        def take(self, indices):
            self.taken = len(indices)
            return torch.rand(len(indices), 3, 8, 8)

    store = Large()
    learn_scaling(store)
    assert store.taken == 8


def test_many_images_are_sampled():
    class Counting(ImageStore):
        taken = 0

        def take(self, indices):
            self.taken += len(indices)
            return super().take(indices)

    store = Counting(np.zeros((5000, 2, 2), np.uint8))
    learn_scaling(store)
    assert store.taken == 1000


def image_scaling(offset, scale, size=None, image_size=None):
    offset, scale = (
        torch.tensor(values, dtype=torch.float64)[:, None, None] for values in (offset, scale)
    )
    return InputScaling(offset, scale, size, image_size)


def twin(shape, head="weighted_l1", encoder="conv"):
    encoder = build_encoder(encoder, shape, torch.Generator().manual_seed(0))
    zero, one = torch.zeros(1), torch.ones(1)
    return TwinNetwork(
        InputScaling(zero, one),
        encoder,
        build_head(head, feature_shape(encoder, shape), torch.Generator().manual_seed(0)),
    )


def test_dark_ink_on_white_paper_becomes_ink_one_on_ground_zero():
    pixels = torch.tensor([[[[255.0, 255.0], [0.0, 51.0]]]])  # uint8 as the store gives it
    scaled = image_scaling([255.0], [-255.0])(pixels)
    assert scaled.dtype == torch.float32
    torch.testing.assert_close(scaled.flatten(), torch.tensor([0.0, 0.0, 1.0, 0.8]))


def test_each_channel_has_its_own_ground():
    scaled = image_scaling([10.0, 20.0], [5.0, -10.0])(torch.full((3, 2, 4, 4), 15.0))
    assert (scaled[:, 0] == 1).all()
    assert (scaled[:, 1] == 0.5).all()


@pytest.mark.parametrize("offset", [1e9, -3e12])
def test_large_float64_offsets_keep_their_digits(offset):
    ink = torch.linspace(0, 1, 16, dtype=torch.float64).view(1, 1, 4, 4)
    scaled = image_scaling([offset], [1.0])(offset + ink)
    assert scaled.dtype == torch.float32
    torch.testing.assert_close(scaled, ink.float(), rtol=0, atol=1e-3)


def test_flat_rows_are_scaled_feature_by_feature():
    scaling = InputScaling(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 2.0, 4.0]))
    scaled = scaling(torch.tensor([[1.0, 2.0, 3.0], [2.0, 4.0, 7.0]]))
    assert scaled.tolist() == [[0, 0, 0], [1, 1, 1]]


def test_images_of_the_working_size_stay_as_they_are():
    x = torch.rand(2, 1, 6, 9)
    torch.testing.assert_close(image_scaling([0.0], [1.0], (6, 9), (6, 9))(x), x)
    torch.testing.assert_close(image_scaling([0.0], [1.0])(x), x)


def test_smaller_images_are_areas_of_the_larger():
    x = torch.rand(2, 3, 12, 8)
    scaled = image_scaling([0.0] * 3, [1.0] * 3, (12, 8), (4, 4))(x)
    areas = x.view(2, 3, 4, 3, 4, 2).mean((3, 5))
    torch.testing.assert_close(scaled, areas)


@settings(deadline=None, max_examples=10)
@given(
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    size=st.tuples(st.integers(1, 30), st.integers(1, 30)),
)
def test_any_size_becomes_the_working_size_within_the_range_of_the_ink(height, width, size):
    x = torch.rand(2, 1, height, width)
    scaled = image_scaling([0.0], [1.0], (height, width), size)(x)
    assert scaled.shape == (2, 1, *size)
    assert x.min() - 1e-6 <= scaled.min() and scaled.max() <= x.max() + 1e-6


def test_larger_images_keep_ground_ink_and_place():
    x = torch.zeros(1, 1, 4, 4)
    x[..., :2] = 1  # ink on the left
    scaled = image_scaling([0.0], [1.0], (4, 4), (8, 12))(x)[0, 0]
    assert (scaled[:, :4] == 1).all() and (scaled[:, -4:] == 0).all()
    assert (scaled.diff(dim=1) <= 0).all()


def test_scaling_moves_images_to_its_own_device():
    """Stores give CPU tensors; training on another device scales there."""
    scaling = image_scaling([0.0], [1.0]).to("meta")
    assert scaling(torch.zeros(2, 1, 4, 4)).device.type == "meta"


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


def test_training_goes_on_with_the_encoder_and_not_its_folded_copy():
    network, images = warmed_up()
    network.requires_grad_(True).train()(images).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_a_pickle_holds_the_encoder_once_and_predicts_by_the_folded_one_again():
    network, images = warmed_up()
    pickled = pickle.dumps(network)
    n_bytes = sum(tensor.nbytes for tensor in network.state_dict().values())
    assert len(pickled) < 1.2 * n_bytes
    again = pickle.loads(pickled)
    assert len(again._folded) == 1
    assert torch.equal(again.codes(images), network.codes(images))
    assert not pickle.loads(pickle.dumps(twin((1, 12, 12))))._folded
