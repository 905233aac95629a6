"""Scaling: raw inputs to ground 0 and ink 1, at the working size."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sksiamese._validation import ImageStore
from sksiamese.twin import scaling as scaling_module
from sksiamese.twin.scaling import InputScaling, learn_scaling


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


def ink_frame(size=(20, 20), image_size=(10, 10)):
    zero, one = torch.zeros(1, 1, 1), torch.ones(1, 1, 1)
    return InputScaling(zero, one, size, image_size, frame="ink")


def test_neither_place_nor_size_of_the_ink_counts():
    images = torch.zeros(3, 1, 40, 40)
    images[0, 0, 2:18, 3:19] = 1  # a square of 16
    images[1, 0, 20:36, 22:38] = 1
    images[2, 0, 4:36, 8:40] = 1  # of 32
    framed = ink_frame((40, 40), (20, 20))(images)
    torch.testing.assert_close(framed[0], framed[1])
    torch.testing.assert_close(framed[0], framed[2])
    expected = torch.zeros(20, 20)
    expected[2:18, 2:18] = 1  # 0.8 of 20, in the middle
    torch.testing.assert_close(framed[0, 0], expected)


@pytest.mark.parametrize("size", [(30, 17), (17, 30), (16, 16)])
def test_proportions_stay(size):
    height, width = size
    images = torch.zeros(1, 1, *size)
    images[..., 3:13, 5:10] = 1  # 10 x 5
    framed = ink_frame(size, (25, 25))(images)[0, 0]
    assert framed.sum(0).max() == pytest.approx(20, abs=1e-4)
    assert framed.sum(1).max() == pytest.approx(10, abs=1e-4)


def test_specks_are_enlarged_no_more_than_three_times():
    images = torch.zeros(1, 1, 20, 20)
    images[0, 0, 7, 9] = 1
    framed = ink_frame(image_size=(20, 20))(images)
    assert framed.sum() == pytest.approx(scaling_module.INK_ZOOM**2, rel=1e-4)


def test_what_has_no_ink_stays_empty_and_noise_is_in_its_place():
    images = torch.zeros(2, 1, 20, 20)
    images[1, 0, 10:] = 0.1
    framed = ink_frame()(images)
    assert framed.isfinite().all()
    assert (framed[0] == 0).all()
    assert framed[1, 0, :5].max() == 0 and framed[1, 0, 6:8, 4:6].min() == pytest.approx(0.1)


@pytest.mark.parametrize("ink", [0.25, 0.45])
def test_a_faint_drawing_is_read_by_the_strongest_of_its_ink(ink):
    images = torch.zeros(2, 1, 20, 20)
    images[:, :, 4:12, 3:9] = 1
    images[1] *= ink
    framed = ink_frame()(images)
    torch.testing.assert_close(framed[1], framed[0])


def test_each_image_has_its_own_frame_whatever_the_others():
    images = (torch.rand(6, 1, 20, 20, generator=torch.Generator().manual_seed(0)) > 0.97).float()
    together = ink_frame()(images)
    for k in range(6):
        torch.testing.assert_close(ink_frame()(images[k : k + 1]), together[k : k + 1])


@settings(deadline=None, max_examples=20)
@given(
    size=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    image_size=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    seed=st.integers(0, 1000),
)
def test_any_frame_is_within_the_range_of_the_ink(size, image_size, seed):
    generator = torch.Generator().manual_seed(seed)
    images = (torch.rand(3, 2, *size, generator=generator) > 0.9).float()
    framed = ink_frame(size, image_size)(images)
    assert framed.shape == (3, 2, *image_size)
    assert framed.min() >= 0 and framed.max() <= 1 + 1e-5
    drawn = (images.amax((2, 3)) > images.amin((2, 3))).any(1)  # what is all ink is blank
    assert (framed.amax((1, 2, 3)) > 0).equal(drawn)


def test_inverted_images_are_recognised_one_by_one(glyphs):
    X = torch.tensor(glyphs[0][:10]).float()[:, None]
    scaling = InputScaling(*learn_scaling(ImageStore(X.numpy())))
    assert not scaling.is_inverted(X).any()
    X[3:5] = 1 - X[3:5]
    assert scaling.is_inverted(X).nonzero().flatten().tolist() == [3, 4]


@pytest.mark.parametrize("ink", [1, 0.7])  # 0.7: whose mean is rounded
def test_images_of_ink_alone_are_not_inverted_but_blank(ink):
    images = torch.full((1, 1, 20, 20), ink)
    assert not ink_frame().is_inverted(images).any()
    assert (ink_frame()(images) == 0).all()


def test_a_drawing_in_a_tight_box_is_not_taken_for_inverted():
    box = torch.ones(1, 1, 20, 20)
    box[..., 3:-3, 3:-3] = 0  # ink all along the border
    assert not ink_frame().is_inverted(box).any()
    padded = torch.nn.functional.pad(box, (10, 10, 10, 10))
    torch.testing.assert_close(ink_frame()(box), ink_frame((40, 40))(padded))


@pytest.mark.parametrize("paper", [-0.3, 0.1, 0.45])
def test_each_image_has_its_own_paper(paper):
    images = torch.zeros(2, 1, 20, 20)
    images[:, :, 4:12, 3:9] = 1
    images[1] += paper
    framed = ink_frame()(images)
    torch.testing.assert_close(framed[1], framed[0])


@pytest.mark.parametrize("speck", [255, 0])
def test_specks_in_a_few_images_are_neither_ink_nor_its_measure(glyphs, speck):
    drawn = glyphs[0][:20] > 0.5
    images = np.where(drawn, 60, 120).astype(np.uint8)
    images[3, 0, 0] = images[7, 1, 1] = speck
    offset, scale = learn_scaling(ImageStore(images))
    assert (offset.item(), scale.item()) == (120, -60)


def test_noise_of_blank_images_is_no_measure_of_ink(glyphs):
    images = np.full((400, 16, 16), 128, np.uint8)
    images += np.random.default_rng(0).integers(0, 2, images.shape, dtype=np.uint8)
    images[::20] = np.where(glyphs[0][:20] > 0.5, 250, images[::20])
    assert learn_scaling(ImageStore(images))[1].item() > 100


def test_noise_of_every_image_does_not_turn_ink_to_ground(glyphs):
    images = np.where(glyphs[0] > 0.5, 20, 120).astype(np.uint8)
    images[np.random.default_rng(0).random(images.shape) < 3e-3] = 255
    assert learn_scaling(ImageStore(images))[1].item() < 0
