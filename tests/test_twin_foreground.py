"""Foreground: uneven light, lines, page edges and specks are taken out, drawings are not."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from sksiamese.datasets import make_glyphs
from sksiamese.twin.foreground import (
    border_of,
    contrast,
    corrected,
    is_uneven,
    polarity,
    thickness,
)

BLACK = torch.full((1, 1, 1), 1.2)  # ink reflects a sixth of the paper's light


@pytest.fixture(scope="module")
def drawings():
    """Drawings with a margin, (12, 64, 64): 0 on paper, 1 on strokes, gray along their edges."""
    X, _ = make_glyphs(n_classes=12, n_samples=1, image_size=44, random_state=0)
    return np.pad((255.0 - X) / 255, ((0, 0), (10, 10), (10, 10)))


def as_batch(images):
    return torch.as_tensor(np.asarray(images), dtype=torch.float32)[:, None]


def photographed(drawings, light):
    """Return drawings of ink 1 on paper 0, as light that is 1 at most falls on them."""
    reflected = (BLACK.item() - drawings) * light
    return as_batch(BLACK.item() - reflected)


def ramps(n, darkest):
    """Return light (n, 64, 64) that falls off to 1 - `darkest`, each in a direction of its own."""
    y, x = np.mgrid[:64, :64] / 63 - 0.5
    angles = np.arange(n)[:, None, None]
    along = y * np.sin(angles) + x * np.cos(angles)
    along = (along - along.min((1, 2), keepdims=True)) / np.ptp(along, (1, 2), keepdims=True)
    return 1 - darkest * along


def shadows(n, darkness):
    return 1 - darkness * np.clip((1 - ramps(n, 1) - 0.45) / 0.05, 0, 1)


def assert_same_foreground(found, drawings, most=0.01):
    """Check the masks at half the strength; `most` of all pixels may differ in an image."""
    differ = (found[:, 0].numpy() > 0.5) != (drawings > 0.5)
    assert differ.mean((1, 2)).max() <= most


@pytest.mark.parametrize("darkness", [0.2, 0.3, 0.4])
def test_corrected_divides_out_shadows(drawings, darkness):
    shaded = photographed(drawings, shadows(len(drawings), darkness))
    found = corrected(shaded, BLACK)
    assert_same_foreground(found, drawings)
    assert (found[:, 0] - torch.tensor(drawings)).abs().mean((1, 2)).max() < 0.02


@pytest.mark.parametrize("darkest", [0.3, 0.4, 0.5])
def test_corrected_divides_out_gradients_of_light(drawings, darkest):
    shaded = photographed(drawings, ramps(len(drawings), darkest))
    assert is_uneven(shaded).all()
    found = corrected(shaded, BLACK)
    assert_same_foreground(found, drawings)
    assert border_of(found).abs().max() < 0.1


def test_corrected_keeps_gray_edges_of_strokes(drawings):
    found = corrected(photographed(drawings, ramps(len(drawings), 0.4)), BLACK)[:, 0].numpy()
    soft = (drawings > 0.3) & (drawings < 0.7)
    assert soft.sum() > 100
    assert np.abs(found - drawings)[soft].mean() < 0.05


def test_corrected_finds_faint_drawings_in_shadow(drawings):
    light, black = shadows(len(drawings), 0.3), 3.0  # ink reflects two thirds of the light
    shaded = as_batch(black - (black - drawings) * light)
    found = corrected(shaded, torch.full((1, 1, 1), black))
    assert_same_foreground(found, drawings, most=0.02)


def ruled(darkness, slope=0.0, across=False, spacing=15):
    """Return what lines leave of the light, (64, 64): soft lines a pixel and a half wide."""
    y, x = np.mgrid[:64, :64].astype(float)
    along = y + slope * x + 4
    distance = np.abs(along % spacing - spacing / 2)
    lines = 1 - darkness * np.clip(1.25 - distance, 0, 1)
    return np.minimum(lines, lines.T) if across else lines


@pytest.mark.parametrize("slope", [0, 0.02, -0.05])
@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("darkness", [0.15, 0.4])
def test_corrected_takes_out_lines(drawings, slope, across, darkness):
    lined = photographed(drawings, ruled(darkness, slope, across))
    found = corrected(lined, BLACK)
    assert_same_foreground(found, drawings, most=0.015)
    paper = torch.tensor(drawings < 0.01)
    assert found[:, 0][paper].mean() < 0.5 * lined[:, 0][paper].mean()


def test_corrected_keeps_strokes_that_lines_cross(drawings):
    found = corrected(photographed(drawings, ruled(0.3, across=True)), BLACK)[:, 0].numpy()
    assert found[drawings > 0.9].mean() > 0.9


def test_corrected_keeps_strokes_from_side_to_side():
    """A drawing that is cut tightly has bars that are as long as its image."""
    images = np.zeros((4, 48, 48), np.float32)
    images[0, 20:25] = images[0, :, 5:10] = images[0, :, 38:43] = 1  # H
    images[1, :, 22:27] = images[1, 10:14] = 1  # a cross
    images[2, :, :5] = images[2, -5:] = 1  # L
    images[3, :5] = images[3, -5:] = images[3, 20:24, 10:40] = 1  # three bars
    x = as_batch(images)
    assert corrected(x, BLACK).equal(x)


@pytest.mark.parametrize("turns", [(0,), (1,), (2, 3)])
def test_corrected_continues_paper_over_dark_page_edges(drawings, turns):
    images = drawings.copy()
    for turn in turns:
        np.rot90(images, turn, (1, 2))[:, :4] = 0.9
    assert_same_foreground(corrected(as_batch(images), BLACK), drawings)


def test_corrected_takes_out_specks_far_from_the_drawing(drawings):
    images = drawings.copy()
    images[:, 2, 60] = images[:, 61, 3] = 1
    found = corrected(as_batch(images), BLACK)
    assert found.equal(as_batch(drawings))


def test_corrected_keeps_dots():
    """Dots are as large as the pen, in characters and among dots."""
    images = np.zeros((2, 64, 64), np.float32)
    images[0, 24:56, 30:34] = images[0, 10:14, 30:34] = 1  # i
    images[1, 10:14, 20:24] = images[1, 10:14, 40:44] = images[1, 50:54, 20:24] = 1  # Braille
    x = as_batch(images)
    assert corrected(x, BLACK).equal(x)


@pytest.mark.parametrize("blur", [0, 0.7])
def test_corrected_returns_clean_drawings_as_they_are(drawings, blur):
    clean = as_batch(gaussian_filter(drawings, (0, blur, blur)))
    assert corrected(clean, BLACK) is clean or corrected(clean, BLACK).equal(clean)


def test_corrected_keeps_blank_images_noise_and_textures():
    rng = np.random.default_rng(0)
    texture = gaussian_filter(rng.normal(size=(64, 64)), 3)
    images = np.stack([np.zeros((64, 64)), rng.random((64, 64)), texture / texture.max()])
    x = as_batch(images)
    assert corrected(x, BLACK).equal(x)


def test_corrected_does_not_change_its_input(drawings):
    shaded = photographed(drawings, ramps(len(drawings), 0.4))
    before = shaded.clone()
    corrected(shaded, BLACK)
    assert shaded.equal(before)


def test_corrected_judges_each_image_by_itself(drawings):
    images = torch.cat([photographed(drawings[:3], ramps(3, 0.4)), as_batch(drawings[3:6])])
    together = corrected(images, BLACK)
    for k in range(len(images)):
        assert corrected(images[k : k + 1], BLACK).equal(together[k : k + 1])


@pytest.mark.parametrize("sign", [1, -1])
def test_polarity_is_the_sign_of_the_drawing_on_uneven_paper(drawings, sign):
    shaded = photographed(drawings, shadows(len(drawings), 0.4))
    assert (polarity(sign * shaded) * sign > 0).all()


def test_contrast_is_that_of_the_drawing_whatever_the_light(drawings):
    shaded = photographed(drawings, ramps(len(drawings), 0.5))
    found = contrast(torch.cat([shaded, -shaded]))
    assert ((found > 0.5) & (found < 1.1)).all()


def test_contrast_is_nan_without_paper():
    noise = np.random.default_rng(0).random((2, 32, 32))
    assert contrast(as_batch(noise)).isnan().all()


@settings(deadline=None, max_examples=40)
@given(
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    channels=st.sampled_from([1, 3]),
    kind=st.sampled_from(["noise", "specks", "shadow"]),
    seed=st.integers(0, 1000),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_corrected_of_any_image_is_finite(height, width, channels, kind, seed, dtype):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(2, channels, height, width, generator=generator, dtype=dtype)
    if kind != "noise":
        x = (x > 0.93).to(dtype)
    if kind == "shadow":
        x[..., : width // 2] += 0.4
    found = corrected(x, BLACK.expand(channels, 1, 1))
    assert found.shape == x.shape
    assert found.dtype == dtype
    assert found.isfinite().all()
    assert found.max() <= max(1.0, float(x.max())) / 0.2


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1), (2, 2), (4, 3)])
def test_border_of_has_each_pixel_once(shape):
    image = torch.arange(float(np.prod(shape))).reshape(1, 1, *shape)
    expected = torch.ones(shape, dtype=torch.bool)
    expected[1:-1, 1:-1] = False
    assert border_of(image)[0, 0].sort().values.equal(image[0, 0][expected])


BARS = {  # (start, stop) on the long axis, and the middle on the short one, of rows and columns
    "plus": ([(0, 1, 0.5)], [(0, 1, 0.5)]),
    "hash": ([(0, 1, 0.35), (0, 1, 0.65)], [(0, 1, 0.35), (0, 1, 0.65)]),
    "corner": ([(0, 1, 0.985)], [(0, 1, 0.015)]),
    "box": ([(0.02, 0.98, 0.02), (0.02, 0.98, 0.98)], [(0.02, 0.98, 0.02), (0.02, 0.98, 0.98)]),
    "E": ([(0.02, 0.98, 0.02), (0.02, 0.98, 0.5), (0.02, 0.98, 0.98)], [(0.02, 0.98, 0.02)]),
    "capacitor": ([(0, 0.45, 0.5), (0.55, 1, 0.5)], [(0.2, 0.8, 0.45), (0.2, 0.8, 0.55)]),
    "staff": ([(0, 1, y) for y in (0.2, 0.35, 0.5, 0.65, 0.8)], []),
}


def bars(kind, side, pen):
    """Return a drawing (side, side) of straight strokes, gray where they cover parts of pixels."""
    fine = np.zeros((4 * side, 4 * side))
    for image, strokes in zip((fine, fine.T), BARS[kind], strict=True):
        for start, stop, middle in strokes:
            first = max(0, round(4 * (middle * side - pen / 2)))
            along = slice(round(4 * side * start), round(4 * side * stop))
            image[first : first + round(4 * pen), along] = 1
    return fine.reshape(side, 4, side, 4).mean((1, 3))


@pytest.mark.parametrize(
    ("side", "pen"),
    [(105, 2.75), (105, 2), (105, 1.25), (64, 1.75), (48, 2), (28, 1.25), (200, 3.5)],
)
def test_corrected_leaves_strokes_from_edge_to_edge(side, pen):
    """Strokes of one pen are no ruled lines, also fainter ones, which lie between pixels."""
    x = as_batch([bars(kind, side, pen) for kind in BARS])
    lost = (x > 0.5) & (corrected(x, torch.ones(1, 1, 1)) < 0.5)
    assert (lost.sum((1, 2, 3)) <= 0.02 * (x > 0.5).sum((1, 2, 3))).all()


def test_corrected_leaves_thin_strokes_beside_thick_ones():
    """As dark as the drawing, though slighter: a disc on a line."""
    y, x = np.mgrid[:105, :105]
    image = bars("plus", 105, 2)
    image[np.hypot(y - 25, x - 25) < 14] = 1
    found = corrected(as_batch([image]), BLACK)[0, 0].numpy()
    assert (found[image > 0.5] > 0.5).all()


def test_corrected_leaves_thin_strokes_along_two_borders():
    """Page edges are broader than strokes that the border cuts."""
    y, x = np.mgrid[:105, :105]
    image = ((y < 2) | (x < 2) | (np.abs(y + x - 104) < 2)).astype(float)
    found = corrected(as_batch([image]), BLACK)[0, 0].numpy()
    assert (found[image > 0.5] > 0.5).all()


def test_thickness_is_that_of_strokes_and_paper():
    masks = torch.zeros(3, 64, 64, dtype=torch.bool)
    masks[0, 20:24] = masks[1, :8] = True
    narrow, cut, empty = thickness(masks).tolist()
    assert narrow == pytest.approx(1.5 / 64)
    assert cut == pytest.approx(4.5 / 64)  # goes on beyond the border
    assert empty == 0
    assert thickness(~masks[:1]) > 5 * narrow
