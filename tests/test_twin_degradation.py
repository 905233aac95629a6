"""Degradation: what each step does to known images, in its range, by one generator."""

import io
from dataclasses import fields

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from sksiamese.augmentation import (
    JPEG,
    Blur,
    Contour,
    Fill,
    LooseCrop,
    Noise,
    RuledLines,
    Shade,
    Shadow,
    Thickness,
)
from sksiamese.twin.degradation import grown

STEPS = (Contour, Fill, Thickness, LooseCrop, RuledLines, Shade, Shadow, Blur, Noise, JPEG)
EACH = pytest.mark.parametrize("step", STEPS)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def random_images(n=3, channels=1, height=12, width=12):
    return torch.rand(n, channels, height, width, generator=generator(9))


def blank(n=1, height=36, width=36):
    return torch.zeros(n, 1, height, width)


def drawing():
    """Return what all steps change, (1, 1, 36, 36): a filled square and a square of lines."""
    image = blank()
    image[..., 3:17, 3:17] = 1
    image[..., 20:32, 20:32] = 1
    image[..., 22:30, 22:30] = 0
    return image


# All of them


@EACH
def test_steps_change_nothing_at_p_zero(step):
    images = random_images(5, 3)
    assert torch.equal(step(p=0.0)(images, generator()), images)


@EACH
@pytest.mark.parametrize("p", [0.2, 0.5, 1.0])
def test_steps_change_images_with_probability_p(step, p):
    images = drawing().expand(1000, -1, -1, -1)
    changed = (step(p=p)(images, generator()) != images).flatten(1).any(1)
    assert changed.float().mean() == pytest.approx(p, abs=0.05)


@EACH
def test_steps_change_each_image_by_its_own_draws(step):
    if step is Fill:
        step = Fill(margin=(0.0, 3.0), p=1.0)
        image = drawing()
        image[..., 3:17, 3:17] = 0
        image[..., 25:27, 20:32] = 1  # a line inside
    else:
        step, image = step(p=1.0), drawing()
    changed = step(image.expand(20, -1, -1, -1), generator()).flatten(1)
    assert len(changed.unique(dim=0)) > 10


@EACH
def test_steps_depend_on_the_generator_alone(step):
    images = drawing().expand(30, -1, -1, -1)
    step = step(p=0.5)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = step(images, generator(4))
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert torch.equal(first, step(images, generator(4)))
    assert not torch.equal(first, step(images, generator(5)))


@EACH
def test_steps_leave_their_input_unchanged(step):
    images = drawing().repeat(4, 1, 1, 1)
    copy = images.clone()
    step(p=1.0)(images, generator())
    assert torch.equal(images, copy)


@EACH
@settings(deadline=None, max_examples=6)
@given(
    n=st.integers(1, 3),
    channels=st.integers(1, 3),
    height=st.integers(1, 24),
    width=st.integers(1, 24),
    value=st.sampled_from([None, 0.0, 1.0]),
)
def test_steps_keep_shape_and_dtype_and_stay_finite(step, n, channels, height, width, value):
    images = random_images(n, channels, height, width)
    if value is not None:
        images.fill_(value)
    changed = step(p=1.0)(images, generator())
    assert changed.shape == images.shape
    assert changed.dtype == images.dtype
    assert changed.isfinite().all()
    assert changed.abs().max() < 2


@pytest.mark.parametrize("step", [step for step in STEPS if step is not Noise])
def test_steps_treat_all_channels_of_an_image_alike(step):
    images = drawing().expand(10, 3, -1, -1)
    changed = step(p=1.0)(images, generator())
    assert torch.equal(changed, changed[:, :1].expand(-1, 3, -1, -1))


@EACH
def test_steps_with_empty_ranges_are_finite(step):
    """A range may begin at 0, where there is no blur and no edge."""
    ranges = {f.name: (0.0, 0.0) for f in fields(step) if isinstance(f.default, tuple)}
    if step is JPEG:
        ranges = {"quality": (100.0, 100.0)}
    elif step in (LooseCrop, RuledLines):
        ranges = {}  # documented as above 0
    if step is Shadow:
        ranges["position"] = 0.0
    for images in (drawing(), blank(1, 3, 3)):  # without and with a pixel in the middle
        assert step(p=1.0, **ranges)(images, generator()).isfinite().all()


# Strokes


@pytest.mark.parametrize("radius", [-2.0, -1.0, 1.0, 2.0, 3.0])
def test_grown_is_the_dilation_or_erosion_by_whole_pixels(radius):
    images = random_images(2, 2, 15, 11)
    size = 2 * int(abs(radius)) + 1
    sign = 1 if radius > 0 else -1
    expected = sign * F.max_pool2d(sign * images, size, 1, size // 2)
    assert torch.equal(grown(images, torch.full((2, 1, 1, 1), radius)), expected)


def test_grown_blends_between_whole_pixels_by_a_radius_for_each_image():
    images = random_images(3)
    radius = torch.tensor([0.0, 1.25, -0.75]).view(3, 1, 1, 1)
    once, twice = (F.max_pool2d(images[1], size, 1, size // 2) for size in (3, 5))
    eroded = -F.max_pool2d(-images[2], 3, 1, 1)
    expected = [images[0], 0.75 * once + 0.25 * twice, 0.25 * images[2] + 0.75 * eroded]
    torch.testing.assert_close(grown(images, radius), torch.stack(expected))


def strokes():
    image = torch.zeros(1, 1, 16, 16)
    image[..., 4:12, 7:10] = 1
    return image.expand(200, -1, -1, -1)


def test_thickness_adds_and_removes_foreground_within_its_range():
    images = strokes()
    changed = Thickness(p=1.0)(images, generator())
    assert changed.min() >= 0
    assert changed.max() <= 1
    after, before = changed.sum((1, 2, 3)), images[0].sum()
    assert (after > before + 1).float().mean() == pytest.approx(1 / 1.4, abs=0.12)
    assert (after < before - 1).any()
    assert after.max() <= 10 * 5
    assert after.min() >= before - 0.4 * (8 * 3 - 6)


def test_thickness_blends_with_the_dilation_or_erosion():
    images = strokes()[:1]
    thicker = Thickness(thin=-1.0, thick=1.0, p=1.0)(images, generator())  # always the dilation
    torch.testing.assert_close(thicker, F.max_pool2d(images, 3, 1, 1))
    thinner = Thickness(thin=0.5, thick=-0.5, p=1.0)(images, generator())
    eroded = -F.max_pool2d(-images, 3, 1, 1)
    torch.testing.assert_close(thinner, (images + eroded) / 2)


def test_thickness_keeps_thin_strokes():
    line = torch.zeros(200, 1, 9, 9)
    line[..., 4] = 1
    assert Thickness(p=1.0)(line, generator())[..., 4].min() >= 0.6 - 1e-6


def test_thickness_does_not_erode_from_outside_the_image():
    full = torch.ones(50, 1, 5, 5)
    torch.testing.assert_close(Thickness(p=1.0)(full, generator()), full)


def test_thickness_beyond_one_pixel_dilates_again():
    line = blank(400, 15, 15)
    line[..., 7] = 1
    widths = Thickness(thin=0.0, thick=3.0, p=1.0)(line, generator())[:, 0, 7].sum(1)
    assert widths.min() < 1.1
    assert 6.9 < widths.max() <= 7
    assert widths.mean() == pytest.approx(4, abs=0.3)


def square(side=14, n=1):
    image = blank(n)
    image[..., 10 : 10 + side, 10 : 10 + side] = 1
    return image


def outline(width=2, side=14):
    image = square(side)
    image[..., 10 + width : 10 + side - width, 10 + width : 10 + side - width] = 0
    return image


def test_contour_leaves_the_outline_of_a_filled_shape():
    contour = Contour(width=(2.0, 2.0), p=1.0)(square(), generator())
    assert torch.equal(contour, outline(2))


def test_contour_draws_the_width_of_the_outline():
    areas = Contour(width=(1.0, 3.0), p=1.0)(square(n=300), generator()).sum((1, 2, 3))
    narrowest, broadest = outline(1).sum(), outline(3).sum()
    assert narrowest <= areas.min() < narrowest + 3
    assert broadest - 3 < areas.max() <= broadest


def test_contour_keeps_strokes_and_light_backgrounds():
    lines = blank()
    lines[..., 5:9, :] = 1
    lines[..., 20] = 0.7
    assert torch.equal(Contour(width=(2.0, 3.0), p=1.0)(lines, generator()), lines)
    light = torch.full((1, 1, 20, 20), -0.2)
    assert torch.equal(Contour(p=1.0)(light, generator()), light)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_fill_fills_outlines(width):
    assert torch.equal(Fill(p=1.0)(outline(width), generator()), square())


def test_fill_and_contour_are_opposite():
    contour = Contour(width=(2.0, 2.0), p=1.0)(square(), generator())
    assert torch.equal(Fill(p=1.0)(contour, generator()), square())


def test_fill_makes_gaps_of_lines_inside():
    """As in an icon of an envelope: the flap's line is light where the envelope is dark."""
    image = outline()
    image[..., 16:18, 10:24] = 1
    expected = square()
    expected[..., 16:18, 14:20] = 0
    filled = Fill(margin=(1.0, 1.0), p=1.0)(image, generator())
    # At one end of the gap the margin: outlines are taken for a little narrower than two pixels.
    torch.testing.assert_close(filled[..., 15:19, 14:20], expected[..., 15:19, 14:20])
    assert (filled[..., 10:16, 10:24] == 1).all()
    assert (filled[..., 18:24, 10:24] == 1).all()


def test_fill_fills_outlines_that_touch_at_corners_only():
    image = blank(height=21, width=21)
    rows, columns = np.mgrid[:21, :21]
    distance = torch.from_numpy(abs(rows - 10) + abs(columns - 10))
    image[..., distance == 7] = 1  # a diamond
    assert torch.equal(Fill(p=1.0)(image, generator())[0, 0], (distance <= 7).float())


def an_opening():
    image = outline()
    image[..., 15:18, 20:24] = 0
    return image


def a_filled_shape_with_a_gap():
    image = square(20)
    image[..., 15:17, 15:17] = 0
    return image


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(an_opening(), id="open"),
        pytest.param(square(), id="filled"),
        pytest.param(a_filled_shape_with_a_gap(), id="filled with a gap"),
        pytest.param(blank(), id="blank"),
        pytest.param(blank() - 0.2, id="light background"),
        pytest.param(blank() + 1, id="all foreground"),
    ],
)
def test_fill_keeps_what_is_open_or_filled_already(image):
    assert torch.equal(Fill(p=1.0)(image, generator()), image)


def test_fill_keeps_gray_edges_outside():
    image = outline(3)
    image[..., 9, 10:24] = 0.4
    image[..., 10, 10:24] = 0.8
    filled = Fill(p=1.0)(image, generator())
    assert torch.equal(filled[..., :11, :], image[..., :11, :])
    assert (filled[..., 11:24, 10:24] == 1).all()


# Crop


def test_loose_crop_keeps_the_whole_image_inside():
    zoom = 1.5
    images = blank(200) + 1
    crops = LooseCrop(zoom=(zoom, zoom), p=1.0)(images, generator())
    assert crops.sum((1, 2, 3)).numpy() == pytest.approx((36 / zoom) ** 2, rel=0.03)
    shown = crops[:, 0] > 0.5
    for axis in (1, 2):
        pixels = shown.any(axis)
        assert ((pixels.sum(1) - 36 / zoom).abs() <= 1).all()
        first = pixels.int().argmax(1)
        assert set(first.tolist()) == set(range(13))  # anywhere


def test_loose_crop_draws_the_zoom():
    images = square(16, 300)
    areas = LooseCrop(zoom=(1.0, 2.0), p=1.0)(images, generator()).sum((1, 2, 3))
    sides = areas.sqrt()
    assert 7.8 < sides.min() < 8.3
    assert 15.7 < sides.max() < 16.2
    zooms = 16 / sides
    assert zooms.mean() == pytest.approx(1.5, abs=0.05)


# Paper and light


def test_ruled_lines_have_their_pitch_level_and_width():
    for width in (0.5, 1.0, 3.0):
        ruled = RuledLines(pitch=(0.25, 0.25), level=(0.3, 0.3), width=width, squares=0.0, p=1.0)
        lines = ruled(blank(50), generator())[:, 0]
        torch.testing.assert_close(lines.mean((1, 2)), torch.full((50,), 0.3 * width / 9))
        assert lines.max() <= 0.3 * min(width, 1) + 1e-6
        rows, columns = (lines.std(axis).amax(1) < 1e-6 for axis in (2, 1))
        assert (rows ^ columns).all()
        assert 10 < rows.sum() < 40
        profile = torch.where(rows[:, None], lines[:, :, 0], lines[:, 0])
        torch.testing.assert_close(profile[:, 9:], profile[:, :-9], rtol=0, atol=1e-5)


def test_ruled_lines_are_squares_as_often_as_asked():
    lines = RuledLines(squares=0.4, p=1.0)(blank(1000), generator())[:, 0]
    rows, columns = (lines.std(axis).amax(1) < 1e-6 for axis in (2, 1))
    assert (~rows & ~columns).float().mean() == pytest.approx(0.4, abs=0.05)
    assert rows.float().mean() == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize(
    "step", [RuledLines(p=1.0), Shade(p=1.0), Shadow(p=1.0)], ids=lambda s: type(s).__name__
)
def test_foreground_is_as_dark_in_any_light_and_grays_between(step):
    gray = torch.linspace(0, 1, 5).view(5, 1, 1, 1)
    shaded = torch.cat([step(blank() + value, generator(2)) for value in gray])
    shade = shaded[:1]
    assert (shade != 0).any()
    torch.testing.assert_close(shaded, gray + shade * (1 - gray))


def test_shade_has_its_level_and_gradient():
    even = Shade(level=(-0.1, 0.2), gradient=(0.0, 0.0), p=1.0)(blank(300), generator())
    levels = even[:, 0, 0, 0]
    torch.testing.assert_close(even, levels.view(-1, 1, 1, 1).expand_as(even))
    assert -0.1 <= levels.min() < -0.09
    assert 0.19 < levels.max() <= 0.2
    ramps = Shade(level=(0.1, 0.1), gradient=(0.25, 0.25), p=1.0)(blank(100), generator())
    torch.testing.assert_close(ramps.mean((1, 2, 3)), torch.full((100,), 0.1))
    torch.testing.assert_close(ramps.amax((1, 2, 3)), torch.full((100,), 0.35))
    torch.testing.assert_close(ramps.amin((1, 2, 3)), torch.full((100,), -0.15))
    to_right = ramps[:, 0, 18, -1] - ramps[:, 0, 18, 0]
    downwards = ramps[:, 0, -1, 18] - ramps[:, 0, 0, 18]
    for difference in (to_right, downwards):  # in any direction
        assert difference.min() < -0.4
        assert difference.max() > 0.4
    bends = ramps.diff(n=2, dim=2).abs().max(), ramps.diff(n=2, dim=3).abs().max()
    assert max(bends) < 1e-6


@pytest.mark.parametrize("depth", [0.3, -0.2])
def test_shadow_darkens_one_side_by_its_depth(depth):
    shadows = Shadow(depth=(depth, depth), edge=(0.001, 0.001), p=1.0)(blank(200), generator())
    inside = shadows[:, 0] / depth
    sharp = (inside < 1e-5) | (inside > 1 - 1e-5)
    assert sharp.float().mean() > 0.99
    share = inside.mean((1, 2))
    assert 0.05 < share.min() < 0.3
    assert 0.7 < share.max() < 0.95
    for axis in (1, 2):  # one side of a straight line
        steps = inside.diff(dim=axis)
        assert ((steps >= 0).all(axis) | (steps <= 0).all(axis)).all()


def test_shadow_s_edge_has_its_width():
    shadows = Shadow(depth=(0.3, 0.3), edge=(0.5, 0.5), position=0.0, p=1.0)(
        blank(50), generator()
    )
    steepest = 0.3 / 0.5 / 35  # a pixel of 35 steps
    assert shadows.diff(dim=2).abs().max() <= steepest + 1e-6
    assert shadows.diff(dim=2).abs().max() > 0.95 * steepest
    torch.testing.assert_close(shadows.amin((1, 2, 3)), torch.zeros(50))
    torch.testing.assert_close(shadows.amax((1, 2, 3)), torch.full((50,), 0.3))
    torch.testing.assert_close(shadows.mean((1, 2, 3)), torch.full((50,), 0.15))


# Camera and file


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
def test_blur_is_gaussian(sigma):
    images = torch.zeros(2, 3, 41, 45)
    images[..., 17:24, 20:25] = random_images(2, 3, 7, 5)
    blurred = Blur(sigma=(sigma, sigma), p=1.0)(images, generator())
    expected = ndimage.gaussian_filter(images.numpy(), sigma, axes=(2, 3), truncate=8)
    np.testing.assert_allclose(blurred, expected, atol=1e-5)


def test_blur_draws_sigma_and_keeps_flat_images():
    dots = blank(300, 21, 21)
    dots[..., 10, 10] = 1
    blurred = Blur(sigma=(0.6, 1.5), p=1.0)(dots, generator())[:, 0]
    variance = blurred.sum(1) @ (torch.arange(21.0) - 10) ** 2
    assert 0.599 < variance.min().sqrt() < 0.65
    assert 1.45 < variance.max().sqrt() <= 1.5
    flat = torch.full((1, 3, 9, 14), 0.6)
    torch.testing.assert_close(Blur(p=1.0)(flat, generator()), flat)


def test_noise_has_its_strength_and_is_independent_everywhere():
    noise = Noise(strength=(0.02, 0.1), p=1.0)(torch.zeros(300, 2, 36, 36), generator())
    strength = noise.std((1, 2, 3))
    assert strength.min() == pytest.approx(0.02, abs=0.003)
    assert strength.max() == pytest.approx(0.1, abs=0.005)
    assert strength.mean() == pytest.approx(0.06, abs=0.004)
    scaled = noise / strength.view(-1, 1, 1, 1)
    assert abs(scaled.mean()) < 0.01
    for a, b in (
        (scaled[:, 0], scaled[:, 1]),
        (scaled[..., 1:, :], scaled[..., :-1, :]),
        (scaled[..., 1:], scaled[..., :-1]),
    ):
        assert abs((a * b).mean()) < 0.01


@pytest.mark.parametrize("quality", [25, 50, 75, 95])
def test_jpeg_is_what_files_are(quality):
    """Where the blocks begin at the first pixel, as some of the copies' do."""
    image = 0.25 + 0.5 * random_images(1, 1, 32, 40)
    pixels = (image[0, 0] * 255).round()
    file = io.BytesIO()
    Image.fromarray(pixels.byte().numpy()).save(file, "jpeg", quality=quality)
    expected = np.asarray(Image.open(file)).astype(float)
    copies = (pixels / 255).expand(600, 1, -1, -1)
    loss = JPEG(quality=(quality, quality), p=1.0)(copies, generator())[:, 0].clamp(0, 1) * 255
    apart = abs(loss.numpy() - expected).mean((1, 2))
    assert apart.min() < 0.6
    assert len(loss.round().flatten(1).unique(dim=0)) > 50  # 64 places


@pytest.mark.parametrize("value", [0.0, 0.37, 1.0])
def test_jpeg_of_a_flat_image_is_flat(value):
    flat = torch.full((50, 3, 20, 27), value)
    loss = JPEG(p=1.0)(flat, generator())
    torch.testing.assert_close(loss, loss[..., :1, :1].expand_as(loss), rtol=0, atol=1e-5)
    assert (loss - flat).abs().max() <= 40 / 8 / 2 / 255 + 1e-5  # half a step at quality 20
    if value == 0:
        assert (loss == 0).all()


def test_jpeg_loses_more_at_lower_quality():
    images = drawing().expand(50, -1, -1, -1)
    losses = [
        (JPEG(quality=(q, q), p=1.0)(images, generator()) - images).abs().mean()
        for q in (10, 30, 60, 90, 100)
    ]
    assert losses == sorted(losses, reverse=True)
    assert 0 < losses[-1] < 1 / 255
