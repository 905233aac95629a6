"""Scaling: raw inputs to background 0 and foreground 1, at the working size."""

import dataclasses
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.preprocessing import StandardScaler
from training_runs import ArrayStore

from sksiamese.datasets import make_glyphs
from sksiamese.twin.scaling import (
    IMAGENET,
    RARE,
    InputScaling,
    are_drawings,
    evenly_spaced,
    learn_scaling,
    learn_unit,
    pixel_scaling,
    resizing,
)


def store_of(X):
    """Return a store of rows (n, d) or images (n, h, w) or (n, c, h, w)."""
    return ArrayStore(X[:, None] if X.ndim == 3 else X)


def scaled(X):
    store = store_of(X)
    return InputScaling(*learn_scaling(store))(store.take(np.arange(len(store)))).numpy()


def is_inverted(scaling, images):
    return scaling.is_inverted(scaling.seen(images))


def drawn_of(glyphs, n=10):
    """Return which pixels of the first drawings are foreground."""
    return glyphs[0][:n] < 128


@pytest.mark.parametrize(
    ("background", "foreground", "dtype"),
    [
        (0, 1, np.float32),
        (0, 255, np.uint8),
        (255, 0, np.uint8),
        (1, 0, bool),
        (-3, 5, np.float64),
    ],
)
def test_learn_scaling_brings_background_to_0_and_foreground_to_1(
    glyphs, background, foreground, dtype
):
    drawn = drawn_of(glyphs)
    images = np.where(drawn, foreground, background).astype(dtype)
    np.testing.assert_allclose(scaled(images)[:, 0], drawn, atol=1e-6)


def test_learn_scaling_makes_light_and_dark_drawings_alike(glyphs):
    X = glyphs[0][:10]
    np.testing.assert_allclose(scaled(255 - X), scaled(X), atol=1e-6)
    assert scaled(X).max() == 1


def test_learn_scaling_turns_all_channels_the_same_way(glyphs):
    drawn = drawn_of(glyphs)
    background, foreground = np.array([250, 240, 20]), np.array([10, 200, 60])  # lighter in blue
    images = np.where(drawn[..., None], foreground, background).astype(np.uint8)
    images = np.moveaxis(images, 3, 1)
    expected = np.stack([drawn, drawn, -1.0 * drawn], 1)
    np.testing.assert_allclose(scaled(images), expected, atol=1e-6)


def test_learn_scaling_keeps_the_order_of_channels():
    images = np.zeros((4, 3, 8, 8), np.float32)
    images[:, 1, 3:5, 3:5] = 4.0
    offset, scale = learn_scaling(store_of(images))
    assert offset.shape == scale.shape == (3, 1, 1)
    assert scale.flatten().tolist() == [1, 4, 1]


def test_learn_scaling_standardises_flat_rows_feature_by_feature():
    X = np.random.default_rng(0).normal(3, [1, 10, 1e-3], size=(200, 3))
    rows = scaled(X)
    np.testing.assert_allclose(rows.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(rows.std(0), 1, atol=1e-5)


@pytest.mark.parametrize("X", [np.full((3, 5, 5), 7.0), np.full((3, 4), 7.0)])
def test_learn_scaling_brings_constant_input_to_0(X):
    assert (scaled(X) == 0).all()


def test_learn_scaling_takes_images_of_a_single_pixel():
    pixels = np.arange(5.0).reshape(5, 1, 1)
    np.testing.assert_allclose(scaled(pixels), (pixels[:, None] - 2) / 2)


def test_learn_scaling_reads_few_of_large_images():
    class Large:
        input_shape = (3, 1000, 1000)

        def __len__(self):
            return 500

        def take(self, rows):
            self.taken = len(rows)
            return torch.rand(len(rows), 3, 8, 8)

    store = Large()
    learn_scaling(store)
    assert store.taken == 8


def test_learn_scaling_reads_at_most_a_thousand_images_from_first_to_last():
    store = store_of(np.zeros((5000, 2, 2), np.uint8))
    learn_scaling(store)
    assert store.taken.sum() == 1000
    assert store.taken.max() == 1
    assert store.taken[[0, -1]].tolist() == [1, 1]


@pytest.mark.parametrize("shape", [(4, 3), (4, 1, 3, 3)])
def test_learn_scaling_refuses_values_beyond_float64(shape):
    X = np.full(shape, 1e308)
    X[::2] = -1e308
    with pytest.raises(ValueError, match="spread exceeds float64"):
        learn_scaling(store_of(X))


@pytest.mark.parametrize(("n", "n_most"), [(1, 10), (5, 10), (10, 10), (11, 10), (5000, 64)])
def test_evenly_spaced_are_distinct_from_first_to_last(n, n_most):
    rows = evenly_spaced(n, n_most)
    assert len(rows) == min(n, n_most)
    assert (rows[0], rows[-1]) == (0, n - 1)
    steps = np.diff(rows)
    assert (steps > 0).all()
    assert len(steps) == 0 or steps.max() - steps.min() <= 1


def image_scaling(offset, scale, size=None, working_size=None):
    offset, scale = (
        torch.tensor(values, dtype=torch.float64)[:, None, None] for values in (offset, scale)
    )
    return InputScaling(offset, scale, size, working_size)


def test_input_scaling_of_dark_foreground_on_white():
    pixels = torch.tensor([[[[255.0, 255.0], [0.0, 51.0]]]])  # uint8 as the store gives it
    scaled = image_scaling([255.0], [-255.0])(pixels)
    assert scaled.dtype == torch.float32
    torch.testing.assert_close(scaled.flatten(), torch.tensor([0.0, 0.0, 1.0, 0.8]))


def test_input_scaling_of_each_channel_by_its_own_offset_and_scale():
    scaled = image_scaling([10.0, 20.0], [5.0, -10.0])(torch.full((3, 2, 4, 4), 15.0))
    assert (scaled[:, 0] == 1).all()
    assert (scaled[:, 1] == 0.5).all()


@pytest.mark.parametrize("offset", [1e9, -3e12])
def test_input_scaling_keeps_the_digits_of_large_float64_offsets(offset):
    drawing = torch.linspace(0, 1, 16, dtype=torch.float64).view(1, 1, 4, 4)
    scaled = image_scaling([offset], [1.0])(offset + drawing)
    assert scaled.dtype == torch.float32
    torch.testing.assert_close(scaled, drawing.float(), rtol=0, atol=1e-3)


def test_input_scaling_of_flat_rows_feature_by_feature():
    scaling = InputScaling(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 2.0, 4.0]))
    scaled = scaling(torch.tensor([[1.0, 2.0, 3.0], [2.0, 4.0, 7.0]]))
    assert scaled.tolist() == [[0, 0, 0], [1, 1, 1]]


def test_input_scaling_keeps_images_of_the_working_size():
    x = torch.rand(2, 1, 6, 9, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(image_scaling([0.0], [1.0], (6, 9), (6, 9))(x), x)
    torch.testing.assert_close(image_scaling([0.0], [1.0])(x), x)


def test_input_scaling_shrinks_by_area_means():
    x = torch.rand(2, 3, 12, 8, generator=torch.Generator().manual_seed(0))
    scaled = image_scaling([0.0] * 3, [1.0] * 3, (12, 8), (4, 4))(x)
    areas = x.view(2, 3, 4, 3, 4, 2).mean((3, 5))
    torch.testing.assert_close(scaled, areas)


@settings(deadline=None, max_examples=10)
@given(
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    size=st.tuples(st.integers(1, 30), st.integers(1, 30)),
)
def test_input_scaling_resizes_any_size_within_the_value_range(height, width, size):
    x = torch.rand(2, 1, height, width, generator=torch.Generator().manual_seed(0))
    scaled = image_scaling([0.0], [1.0], (height, width), size)(x)
    assert scaled.shape == (2, 1, *size)
    assert x.min() - 1e-6 <= scaled.min()
    assert scaled.max() <= x.max() + 1e-6


@settings(deadline=None, max_examples=50)
@given(
    n_in=st.integers(1, 30),
    n_out=st.integers(1, 12),
    edges=st.lists(
        st.tuples(st.floats(-20, 40), st.floats(0.1, 60)), min_size=1, max_size=3, unique=True
    ),
)
def test_resizing_is_the_mean_over_each_output_pixel(n_in, n_out, edges):
    """Each image has a block of its own; an output pixel is at least one input pixel wide."""
    start, width = np.array(edges).T
    weights = resizing(n_in, n_out, start, start + width).toarray()
    blocks = weights.reshape(len(edges), n_out, len(edges), n_in)
    pixels = np.arange(n_in)
    for image, (left, whole) in enumerate(edges):
        for out in range(n_out):
            middle, half = left + (out + 0.5) * whole / n_out, max(whole / n_out, 1) / 2
            overlap = np.minimum(middle + half, pixels + 1) - np.maximum(middle - half, pixels)
            expected = np.zeros((len(edges), n_in))
            expected[image] = overlap.clip(min=0) / (2 * half)
            np.testing.assert_allclose(blocks[image, out], expected, atol=1e-6)


def test_input_scaling_enlarges_by_interpolation():
    x = torch.zeros(1, 1, 4, 4)
    x[..., :2] = 1  # foreground on the left
    scaled = image_scaling([0.0], [1.0], (4, 4), (8, 12))(x)[0, 0]
    assert (scaled[:, :4] == 1).all()
    assert (scaled[:, -4:] == 0).all()
    assert (scaled.diff(dim=1) <= 0).all()


def test_input_scaling_is_immutable():
    scaling = image_scaling([255.0], [-255.0], (12, 12), (6, 6))
    x = torch.rand(2, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    before = scaling(x)
    for field in dataclasses.fields(scaling):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(scaling, field.name, None)
    other = dataclasses.replace(scaling, offset=scaling.offset + 1)
    assert not torch.equal(other(x), before)
    assert torch.equal(scaling(x), before)


def cropping(size=(20, 20), working_size=(10, 10)):
    zero, one = torch.zeros(1, 1, 1), torch.ones(1, 1, 1)
    return InputScaling(zero, one, size, working_size, crop="foreground")


def test_crop_makes_place_and_size_of_the_foreground_irrelevant():
    images = torch.zeros(3, 1, 40, 40)
    images[0, 0, 2:18, 3:19] = 1  # a square of 16
    images[1, 0, 20:36, 22:38] = 1
    images[2, 0, 4:36, 8:40] = 1  # of 32
    cropped = cropping((40, 40), (20, 20))(images)
    torch.testing.assert_close(cropped[0], cropped[1])
    torch.testing.assert_close(cropped[0], cropped[2])
    expected = torch.zeros(20, 20)
    expected[2:18, 2:18] = 1  # 0.8 of 20, in the middle
    torch.testing.assert_close(cropped[0, 0], expected)


@pytest.mark.parametrize("size", [(30, 17), (17, 30), (16, 16)])
def test_crop_keeps_proportions(size):
    height, width = size
    images = torch.zeros(1, 1, *size)
    images[..., 3:13, 5:10] = 1  # 10 x 5
    cropped = cropping(size, (25, 25))(images)[0, 0]
    assert cropped.sum(0).max() == pytest.approx(20, abs=1e-4)
    assert cropped.sum(1).max() == pytest.approx(10, abs=1e-4)


def test_boxes_are_what_the_encoder_sees():
    """A box, resized, is the crop; it may reach beyond the image."""
    images = torch.zeros(3, 1, 30, 20)
    images[0, :, 10:18, 4:8] = 1
    images[1, :, 0:20, 15:20] = 1  # at the corner
    images[2, :, 29, 0] = 1
    scaling = cropping((30, 20), (10, 10))
    boxes = scaling.boxes(images)
    assert boxes[0].tolist() == [9, 19, 1, 11]
    assert boxes[1, 0] < 0
    assert boxes[1, 3] > 20
    for image, box, cropped in zip(images[:, 0], boxes.numpy(), scaling(images), strict=True):
        rows, columns = (
            torch.from_numpy(resizing(n_in, 10, box[k : k + 1], box[k + 1 : k + 2]).toarray())
            for n_in, k in ((30, 0), (20, 2))
        )
        torch.testing.assert_close(rows @ image @ columns.T, cropped[0])


def test_boxes_are_those_of_drawings_on_uneven_paper():
    drawing = torch.full((1, 1, 64, 64), 255.0)
    drawing[:, :, 20:40, 25:28] = drawing[:, :, 37:40, 25:35] = 0
    light = torch.linspace(1, 0.3, 64)[:, None]
    scaling = InputScaling(
        torch.full((1, 1, 1), 255.0).double(), torch.full((1, 1, 1), -255.0).double(),
        (64, 64), (32, 32), crop="foreground",
    )  # fmt: skip
    clean, shaded = scaling.boxes(torch.cat([drawing, drawing * light]))
    torch.testing.assert_close(shaded, clean, rtol=0, atol=3)


def test_boxes_without_crop_are_whole_images():
    scaling = image_scaling([0.0], [1.0], (6, 9), (4, 4))
    assert scaling.boxes(torch.rand(2, 1, 6, 9)).tolist() == [[0, 6, 0, 9]] * 2


def test_crop_enlarges_specks_at_most_three_times():
    images = torch.zeros(1, 1, 20, 20)
    images[0, 0, 7, 9] = 1
    cropped = cropping(working_size=(20, 20))(images)
    assert cropped.sum() == pytest.approx(3**2, rel=1e-4)


def test_crop_keeps_blank_images_blank_and_noise_in_its_place():
    images = torch.zeros(2, 1, 20, 20)
    images[1, 0, 10:] = 0.1
    cropped = cropping()(images)
    assert cropped.isfinite().all()
    assert (cropped[0] == 0).all()
    assert cropped[1, 0, :5].max() == 0
    assert cropped[1, 0, 6:8, 4:6].min() == pytest.approx(0.1)


@pytest.mark.parametrize("strongest", [0.25, 0.45])
def test_crop_scales_a_faint_drawing_by_its_strongest_pixel(strongest):
    images = torch.zeros(2, 1, 20, 20)
    images[:, :, 4:12, 3:9] = 1
    images[1] *= strongest
    cropped = cropping()(images)
    torch.testing.assert_close(cropped[1], cropped[0])


@pytest.mark.parametrize("shade", [0.25, 0.45])
def test_crop_of_a_light_drawing_on_a_shade_that_fills_the_image_is_that_of_a_dark_one(shade):
    dark = torch.zeros(1, 1, 20, 20)
    dark[..., 5:12, 6:8] = shade
    torch.testing.assert_close(cropping()(shade - dark), cropping()(dark))
    dark[..., 15, 15] = 0.25  # something darker too: the light part is no drawing
    mixed = shade - dark
    mixed[..., 3, 3] = shade + 0.25
    assert not torch.allclose(cropping()(mixed), cropping()(dark), atol=0.1)


def test_crop_leaves_out_faint_traces_where_light_was_evened():
    drawing = torch.zeros(1, 1, 105, 105)
    drawing[..., 30:65, 30:40] = drawing[..., 30:40, 30:65] = 1
    with_trace = drawing.clone()
    with_trace[..., 84:98, 84:98] = 0.35
    light = torch.linspace(1, 0.6, 105)  # of the paper, from left to right
    in_light, trace_in_light = ((1 - (1 - image) * light) for image in (drawing, with_trace))
    cropped = cropping((105, 105), (40, 40))
    torch.testing.assert_close(cropped(trace_in_light), cropped(in_light), atol=0.1, rtol=0)
    assert (cropped(with_trace) - cropped(drawing)).abs().max() > 0.5, "on even paper it is drawn"


def test_crop_of_an_image_does_not_depend_on_the_others():
    images = (torch.rand(6, 1, 20, 20, generator=torch.Generator().manual_seed(0)) > 0.97).float()
    together = cropping()(images)
    for k in range(6):
        torch.testing.assert_close(cropping()(images[k : k + 1]), together[k : k + 1])


@settings(deadline=None, max_examples=20)
@given(
    size=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    working_size=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    seed=st.integers(0, 1000),
)
def test_crop_of_any_image_is_within_the_value_range(size, working_size, seed):
    generator = torch.Generator().manual_seed(seed)
    images = (torch.rand(3, 2, *size, generator=generator) > 0.9).float()
    cropped = cropping(size, working_size)(images)
    assert cropped.shape == (3, 2, *working_size)
    assert cropped.min() >= 0
    assert cropped.max() <= 1 + 1e-5
    drawn = (images.amax((2, 3)) > images.amin((2, 3))).any(1)  # all foreground is blank
    assert (cropped.amax((1, 2, 3)) > 0).equal(drawn)


def test_is_inverted_judges_each_image(glyphs):
    X = torch.tensor(glyphs[0][:10]).float()[:, None]
    scaling = InputScaling(*learn_scaling(ArrayStore(X)))
    assert not is_inverted(scaling, X).any()
    X[3:5] = 255 - X[3:5]
    assert np.flatnonzero(is_inverted(scaling, X)).tolist() == [3, 4]


@pytest.mark.parametrize("value", [1, 0.7])  # 0.7: its mean is rounded
def test_is_inverted_is_false_for_images_of_foreground_alone(value):
    images = torch.full((1, 1, 20, 20), value)
    assert not is_inverted(cropping(), images).any()
    assert (cropping()(images) == 0).all()


def test_is_inverted_is_false_for_a_drawing_that_fills_its_image():
    box = torch.ones(1, 1, 20, 20)
    box[..., 3:-3, 3:-3] = 0  # foreground all along the border
    assert not is_inverted(cropping(), box).any()
    padded = torch.nn.functional.pad(box, (10, 10, 10, 10))
    torch.testing.assert_close(cropping()(box), cropping((40, 40))(padded))


def cut_tightly(kind, side, pen=4):
    """Return a drawing whose strokes lie on the border of its image, (side, side): 1 on 0."""
    image = torch.zeros(side, side)
    image[:pen] = image[-pen:] = image[:, :pen] = 1
    if kind == "box":
        image[:, -pen:] = 1
    else:
        image[side // 2 - pen // 2 : side // 2 + pen // 2] = 1
    return image


@pytest.mark.parametrize("kind", ["box", "E"])
@pytest.mark.parametrize("shade", [0.25, 0.45, 0.6, 0.8])
def test_crop_reads_drawings_whose_border_is_partly_foreground(kind, shade):
    box = torch.nn.functional.pad(cut_tightly(kind, 38), (1, 1, 1, 1), value=shade)
    if kind == "E":
        box[1:-1, -1] = 0
    images = torch.stack([box, torch.nn.functional.pad(cut_tightly(kind, 38), (1, 1, 1, 1))])
    cut, whole = cropping((40, 40))(images[:, None])[:, 0]
    assert ((cut > 0.5) != (whole > 0.5)).float().mean() < 0.1
    assert not is_inverted(cropping((40, 40)), images[:, None]).any()


@pytest.mark.parametrize("bold", [1, 3, 5])
def test_is_inverted_tells_broad_paper_from_strokes(bold):
    """Cut tightly, strokes cover up to half of an image, and some of its border."""
    X = make_glyphs(n_classes=20, n_samples=1, image_size=48, random_state=0)[0]
    X = torch.nn.functional.pad(torch.tensor(X < 128).float()[:, None], (4, 4, 4, 4))
    X = torch.nn.functional.max_pool2d(X, bold, 1, bold // 2)
    scaling = cropping()
    assert not is_inverted(scaling, X).any()
    assert is_inverted(scaling, 1 - X).all()
    tight = []
    for image in X[:, 0]:
        rows, columns = (image.any(axis).nonzero().flatten() for axis in (1, 0))
        tight.append(image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1][None, None])
    assert not any(is_inverted(scaling, image) for image in tight)
    assert np.mean([bool(is_inverted(scaling, 1 - image)) for image in tight]) > 0.5


@pytest.mark.parametrize("inverted", [False, True])
def test_learn_scaling_takes_the_paper_of_drawings_that_leave_their_border(glyphs, inverted):
    boxes = torch.stack([cut_tightly(kind, 16, 2) for kind in ("box", "E")]).numpy()
    drawn = np.concatenate([np.resize(boxes, (6, 16, 16)), drawn_of(glyphs, 3)])
    images = np.where(drawn > 0.5, 0, 255).astype(np.uint8)
    offset, scale = learn_scaling(store_of(255 - images if inverted else images))
    assert (offset.item(), scale.item()) == ((0, 255) if inverted else (255, -255))


@pytest.mark.parametrize("paper", [-0.3, 0.1, 0.45])
def test_crop_takes_the_background_of_each_image_from_its_border(paper):
    images = torch.zeros(2, 1, 20, 20)
    images[:, :, 4:12, 3:9] = 1
    images[1] += paper
    cropped = cropping()(images)
    torch.testing.assert_close(cropped[1], cropped[0])


@pytest.mark.parametrize("speck", [255, 0])
def test_learn_scaling_ignores_specks_in_a_few_images(glyphs, speck):
    images = np.where(drawn_of(glyphs, 20), 60, 120).astype(np.uint8)
    images[3, 0, 0] = images[7, 1, 1] = speck
    offset, scale = learn_scaling(store_of(images))
    assert (offset.item(), scale.item()) == (120, -60)


def test_learn_scaling_ignores_noise_of_blank_images(glyphs):
    images = np.full((400, 16, 16), 128, np.uint8)
    images += np.random.default_rng(0).integers(0, 2, images.shape, dtype=np.uint8)
    images[::20] = np.where(drawn_of(glyphs, 20), 250, images[::20])
    assert learn_scaling(store_of(images))[1].item() > 100


def test_learn_scaling_finds_the_polarity_of_noisy_images(glyphs):
    images = np.where(drawn_of(glyphs, None), 20, 120).astype(np.uint8)
    images[np.random.default_rng(0).random(images.shape) < 3e-3] = 255
    assert learn_scaling(store_of(images))[1].item() < 0


def test_input_scaling_refuses_to_resize_flat_rows():
    rows = dataclasses.replace(
        InputScaling(torch.zeros(4), torch.ones(4)), size=(2, 2), working_size=None
    )
    with pytest.raises(ValueError, match="flat rows cannot be resized"):
        rows(torch.zeros(3, 4))


def in_shadow(X):
    """Return images of dark drawings, most of whose paper lies in a shadow of 40 %."""
    light = np.ones((len(X), *X.shape[1:]))
    light[:, :, X.shape[2] // 4 :] = 0.6
    return (X * light).astype(np.uint8)


@pytest.mark.parametrize("inverted", [False, True])
def test_learn_scaling_finds_polarity_and_contrast_in_shadows(inverted):
    X = make_glyphs(n_classes=10, n_samples=2, image_size=48, random_state=0)[0] // 2 + 120
    X = np.pad(X, ((0, 0), (8, 8), (8, 8)), constant_values=247)  # ink 120 on paper 247
    images = in_shadow(X)
    if inverted:
        images = 255 - images
    offset, scale = learn_scaling(store_of(images))
    assert (scale.item() > 0) == inverted
    assert 0.4 * 127 < abs(scale.item()) < 1.3 * 127


def test_is_inverted_is_false_for_shadows_and_true_for_inverted_images_in_them():
    X = make_glyphs(n_classes=10, n_samples=1, image_size=48, random_state=0)[0] // 4 + 180
    X = np.pad(X, ((0, 0), (8, 8), (8, 8)), constant_values=243)  # pencil
    store = store_of(X)
    scaling = InputScaling(*learn_scaling(store))
    rows = np.arange(len(X))
    assert not is_inverted(scaling, store_of(in_shadow(X)).take(rows)).any()
    dark = store_of(255 - X).take(rows)  # its paper is darker than this ink
    assert is_inverted(scaling, dark).all()


def test_crop_finds_the_drawing_in_uneven_light_and_between_lines():
    X = make_glyphs(n_classes=10, n_samples=1, image_size=48, random_state=0)[0]
    X = np.pad(X, ((0, 0), (8, 8), (8, 8)), constant_values=255)
    seen = in_shadow(X).astype(float)
    seen[:, 5::20] *= 0.7
    store = store_of(X)
    scaling = dataclasses.replace(
        InputScaling(*learn_scaling(store)),
        size=(64, 64),
        working_size=(32, 32),
        crop="foreground",
    )
    rows = np.arange(len(X))
    expected = scaling(store.take(rows))
    found = scaling(store_of(seen).take(rows).float())
    assert ((found > 0.5) != (expected > 0.5)).float().mean() < 0.03


@pytest.mark.parametrize(
    ("size", "working_size", "refused"),
    [
        ((16, 16), (512, 512), False),
        ((16, 16), (16, 513), True),
        ((16, 600), (600, 600), False),
        ((16, 600), (601, 1), True),
        ((4000, 4000), (4000, 4000), False),
    ],
)
def test_input_scaling_enlarges_to_512_pixels_at_most(size, working_size, refused):
    offset = torch.zeros(1, 1, 1, dtype=torch.float64)
    message = "they are enlarged to at most 512 pixels a side. Use a smaller resize"
    with pytest.raises(ValueError, match=message) if refused else nullcontext():
        InputScaling(offset, offset + 1, size, working_size)


# Features that hardly vary


def test_learn_scaling_enlarges_a_rare_feature_to_the_floor_alone():
    """One of a thousand rows has another value: its standard deviation is a thirtieth of it."""
    rare = np.zeros((1000, 2))
    rare[500, 0], rare[:, 1] = 5.0, np.arange(1000)
    offset, scale = learn_scaling(store_of(rare))
    assert scale[0].item() == pytest.approx(5 / RARE)
    assert scale[1].item() == pytest.approx(rare[:, 1].std())
    assert scaled(rare)[:, 0].max() - scaled(rare)[:, 0].min() == pytest.approx(RARE)


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 2**32 - 1))
def test_learn_scaling_floor_leaves_ordinary_features_alone(seed):
    rows = np.random.default_rng(seed).normal(size=(200, 5))
    np.testing.assert_allclose(learn_scaling(store_of(rows))[1], rows.std(0))


# Pixels


@pytest.mark.parametrize(
    ("values", "dtype", "unit"),
    [
        ([0, 1], bool, 1),
        ([0, 3], np.uint8, 255),
        ([0, 60], np.uint8, 255),
        ([0, 300], np.uint16, 65535),
        ([0, 0.4], np.float32, 1),
        ([-0.05, 1.05], np.float64, 1),
        ([0, 16], np.float64, 16),
        ([0, 100.0], np.float64, 100),
        ([0, 60], np.int64, 255),
        ([0, 60.5], np.float32, 255),
        ([0, 97.0], np.float32, 255),
        ([0, 200], np.int64, 255),
        ([0, 255.9], np.float32, 255),
        ([0, 3000], np.int32, 4095),
        ([0, 50_000], np.int64, 65535),
    ],
)
def test_learn_unit_is_the_greatest_value_that_pixels_can_have(values, dtype, unit):
    images = np.array(values, dtype).reshape(1, 1, 1, 2)
    assert learn_unit(Named(images)) == unit


@pytest.mark.parametrize(
    ("known", "greatest", "unit"),
    [(16, 14.0, 16), (16, 0.9, 1), (16, 200.0, 255), (100, 60.0, 100), (255, 60.0, 255)],
)
def test_input_scaling_learned_again_keeps_its_unit_where_values_have_room(known, greatest, unit):
    scaling = InputScaling(*pixel_scaling(known, (0.5,), (0.5,)), (1, 2), (1, 2), unit=known)
    again = scaling.learned_again(ArrayStore(np.array([0.0, greatest]).reshape(1, 1, 1, 2)))
    assert again.unit == unit
    torch.testing.assert_close(again.scale, scaling.scale * unit / known)


class Named(ArrayStore):
    """A store of any dtype, those too that torch lacks."""

    def __init__(self, images):
        super().__init__(images.astype(np.float64))
        self.dtype = images.dtype


@pytest.mark.parametrize("values", [[-1, 1], [-0.2, 0.9], [-30, 255], [0, 80_000]])
def test_learn_unit_refuses_what_are_no_pixels(values):
    store = ArrayStore(np.array(values, np.float64).reshape(1, 1, 1, 2))
    with pytest.raises(ValueError, match=f"X has values from {values[0]} to .*normalization=None"):
        learn_unit(store)


@pytest.mark.parametrize("unit", [1.0, 255.0])
def test_pixel_scaling_normalises_by_the_statistics_of_0_to_1(unit):
    offset, scale = pixel_scaling(unit, *IMAGENET)
    assert offset.shape == scale.shape == (3, 1, 1)
    x = torch.rand(2, 3, 4, 4, dtype=torch.float64)
    mean, std = (torch.tensor(part)[:, None, None] for part in IMAGENET)
    found = InputScaling(offset, scale, (4, 4), (4, 4), unit=unit)(unit * x)
    torch.testing.assert_close(found, ((x - mean) / std).float())


def test_input_scaling_makes_several_channels_of_one():
    gray = torch.rand(2, 1, 6, 6)
    for size in ((6, 6), (3, 4)):
        scaling = InputScaling(*pixel_scaling(1.0, *IMAGENET), (6, 6), size, unit=1.0)
        found = scaling(gray)
        assert found.shape == (2, 3, *size)
        torch.testing.assert_close(found, scaling(gray.expand(2, 3, 6, 6)))


@pytest.mark.parametrize(
    ("scaling", "shape"),
    [
        (InputScaling(torch.zeros(5), torch.ones(5)), (5,)),
        (InputScaling(torch.zeros(2, 7), torch.ones(2, 7)), (2, 7)),
        (InputScaling(*pixel_scaling(1.0, *IMAGENET), (6, 6), (3, 4)), (3, 3, 4)),
    ],
)
def test_output_shape_is_that_of_what_the_encoder_sees(scaling, shape):
    assert scaling.output_shape == shape
    if len(shape) == 3:
        assert scaling(torch.rand(1, 1, 6, 6)).shape[1:] == shape


def test_contrast_of_pixels_is_their_range():
    scaling = InputScaling(*pixel_scaling(255.0, *IMAGENET), (6, 6), (6, 6), unit=255.0)
    assert scaling.contrast.tolist() == [255.0] * 3
    drawing = InputScaling(torch.full((1, 1, 1), 250.0), torch.full((1, 1, 1), -240.0))
    assert drawing.contrast.tolist() == [240.0]


@pytest.mark.parametrize("unit", [1.0, 255.0])
def test_learned_again_follows_the_units_and_the_size_of_pixels(unit):
    images = torch.rand(
        3, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    scaling = InputScaling(*pixel_scaling(unit, *IMAGENET), (5, 5), (4, 4), unit=unit)
    expected = InputScaling(*pixel_scaling(1.0, *IMAGENET), (8, 8), (4, 4), unit=1.0)(images)
    for full in (1, 255, 65535):
        again = scaling.learned_again(ArrayStore(full * images))
        assert (again.unit, again.size, again.working_size) == (full, (8, 8), (4, 4))
        torch.testing.assert_close(again(full * images), expected, rtol=1e-4, atol=1e-4)


def test_learned_again_of_what_is_taken_as_it_is_changes_the_size_alone():
    scaling = InputScaling(torch.zeros(1, 1, 1), torch.ones(1, 1, 1), (5, 5), (4, 4), unit=0.0)
    again = scaling.learned_again(ArrayStore(-7 * torch.rand(2, 1, 8, 8)))
    assert (again.unit, again.size) == (0.0, (8, 8))
    assert (again.offset.item(), again.scale.item()) == (0, 1)


def test_learned_again_of_drawings_learns_background_and_foreground(glyphs):
    X = glyphs[0][:10, None]
    offset, scale = (part.expand(3, 1, 1).clone() for part in learn_scaling(store_of(X)))
    scaling = InputScaling(offset, scale, (16, 16), (16, 16))
    again = scaling.learned_again(store_of((255 - X) / 255))
    found, expected = (
        again(torch.from_numpy((255 - X) / 255)),
        scaling(torch.from_numpy(X).float()),
    )
    assert found.shape == (10, 3, 16, 16)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_learn_scaling_of_digits_keeps_rare_pixels_from_deciding():
    """Pixels at the sides of scikit-learn's digits are above 0 in a few of them only."""
    X, _ = load_digits(return_X_y=True)
    ours, plain = scaled(X), StandardScaler().fit_transform(X)
    assert np.ptp(ours, axis=0).max() <= 2 * RARE  # of a thousand rows, RARE
    assert np.ptp(plain, axis=0).max() > 4 * RARE


# are_drawings

FLAT = make_glyphs(n_classes=8, n_samples=2, image_size=24, random_state=0)[0] / 255


def textures(channels=1, side=24, n=16):
    """Return smooth images with something everywhere, (n, channels, side, side)."""
    generator = torch.Generator().manual_seed(0)
    parts = [torch.rand(n, channels, cells, cells, generator=generator) for cells in (4, 6, 12)]
    sized = [torch.nn.functional.interpolate(part, side, mode="bilinear") for part in parts]
    return torch.stack(sized).mean(0).numpy()


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (FLAT, True),
        (1 - FLAT, True),
        (FLAT * np.linspace(1, 0.6, 24), True),
        (FLAT[:, None] * np.array([0.9, 1.0, 0.7])[:, None, None], True),
        (np.concatenate([FLAT, textures(n=12)[:, 0]]), True),
        (np.concatenate([FLAT[:9], textures(n=12)[:, 0]]), False),
        (textures(), False),
        (textures(3), False),
        (255 * textures(3), False),
        (FLAT[:, :23], False),
        (FLAT[:, :, :23], False),
    ],
    ids=[
        *("dark on light", "light on dark", "gradient of light", "colour", "most", "fewer"),
        *("texture", "coloured texture", "other units", "low", "narrow"),
    ],
)
def test_are_drawings_is_whether_most_images_are_on_even_paper(images, expected):
    assert are_drawings(store_of(images)) is expected
