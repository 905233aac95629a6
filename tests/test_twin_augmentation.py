"""Augmentation: the paper's ranges, background at the borders, one generator for every draw."""

import math
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sksiamese import augmentation
from sksiamese.augmentation import (
    AUGMENTATIONS,
    Affine,
    Augmentation,
    Blur,
    Elastic,
    Noise,
    Thickness,
)
from sksiamese.twin.augmentation import turn, turns_of

N = 20_000
EACH = pytest.mark.parametrize("name", ["affine", "warp", "strokes", "real_files"])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def random_images(n=3, channels=1, height=12, width=12):
    return torch.rand(n, channels, height, width, generator=generator(9))


@dataclass(frozen=True)
class Known(Affine):
    """Affine parts that are given instead of drawn."""

    angle: float = 0.0
    shears: tuple = (0.0, 0.0)
    scales: tuple = (1.0, 1.0)
    shifts: tuple = (0.0, 0.0)

    def draw(self, n, generator):
        return (
            torch.full((n,), math.radians(self.angle)),
            *(
                torch.tensor([part]).expand(n, 2)
                for part in (self.shears, self.scales, self.shifts)
            ),
        )


def known(images, **components):
    return Augmentation(Known(**components))(images, generator())


def blob(height, width, x, y):
    """Return a small round spot (1, 1, H, W) at (x, y) pixels from the centre."""
    rows = torch.arange(height) - (height - 1) / 2
    columns = torch.arange(width) - (width - 1) / 2
    squared = (rows[:, None] - y) ** 2 + (columns[None] - x) ** 2
    return torch.exp(-squared / 8)[None, None]


def place(image):
    """Return the centroid (x, y) of the foreground, in pixels from the centre."""
    height, width = image.shape[-2:]
    weight = image[0, 0] / image.sum()
    x = weight.sum(0) @ (torch.arange(width) - (width - 1) / 2)
    y = weight.sum(1) @ (torch.arange(height) - (height - 1) / 2)
    return torch.tensor([x, y])


def test_affine_defaults_are_the_paper_s():
    assert Affine() == Affine(rotation=10.0, shear=0.3, scale=(0.8, 1.2), shift=2.0, p=0.5)
    assert AUGMENTATIONS["affine"] == Augmentation(Affine())


def test_affine_draw_fills_the_paper_s_ranges_uniformly():
    angle, shear, scale, shift = Affine(p=1.0).draw(N, generator())
    for values, low, high in (
        (angle * 180 / math.pi, -10, 10),
        (shear, -0.3, 0.3),
        (scale, 0.8, 1.2),
        (shift, -2, 2),
    ):
        span = high - low
        assert low - 1e-5 <= values.min() < low + span / 100
        assert high - span / 100 < values.max() <= high + 1e-5
        assert values.mean() == pytest.approx((low + high) / 2, abs=span / 50)
        assert values.std() == pytest.approx(span / 12**0.5, rel=0.05)  # uniform


def test_affine_draw_treats_both_axes_independently():
    for values in Affine(p=1.0).draw(N, generator())[1:]:
        assert abs(torch.corrcoef(values.T)[0, 1]) < 0.05


def test_affine_draw_applies_each_component_independently_with_probability_p():
    angle, shear, scale, shift = Affine().draw(N, generator())
    on = torch.cat([(angle != 0)[:, None], shear != 0, scale != 1, shift != 0], dim=1)
    sigma = 0.5 / N**0.5
    assert ((on.double().mean(0) - 0.5).abs() < 5 * sigma).all()
    counts = torch.bincount(on.long() @ 2 ** torch.arange(7), minlength=128) / N
    assert ((counts - 1 / 128).abs() < 5 * (1 / 128 / N) ** 0.5).all()  # independent


@pytest.mark.parametrize(("height", "width"), [(12, 12), (9, 30), (31, 8), (105, 105), (1, 5)])
@EACH
def test_augmentation_changes_nothing_at_p_zero(name, height, width):
    named = AUGMENTATIONS[name]
    parts = {
        part: replace(getattr(named, part), p=0.0)
        for part in ("affine", "elastic", "thickness")
        if getattr(named, part) is not None
    }
    parts["then"] = tuple(replace(step, p=0.0) for step in named.then)
    images = random_images(2, 2, height, width)
    torch.testing.assert_close(
        replace(named, **parts)(images, generator()), images, rtol=0, atol=1e-5
    )


def test_augmentation_changes_nothing_without_parts():
    images = random_images()
    assert torch.equal(Augmentation(affine=None)(images, generator()), images)


def test_augmentation_applies_warp_thickness_and_further_steps_in_their_order():
    images = random_images(50)
    thickness, blur, noise = Thickness(p=1.0), Blur(p=0.5), Noise(p=0.5)
    draws = generator(3)
    expected = Augmentation()(images, draws)
    for step in (thickness, noise, blur, noise):
        expected = step(expected, draws)
    composed = Augmentation(thickness=thickness, then=(noise, blur, noise))
    assert torch.equal(composed(images, generator(3)), expected)
    other = Augmentation(thickness=thickness, then=(blur, noise, noise))
    assert not torch.equal(other(images, generator(3)), expected)


def test_augmentation_takes_functions_as_further_steps():
    def inverted(images, generator):
        return 1 - images

    images = random_images()
    augmented = Augmentation(affine=None, then=(inverted,))(images, generator())
    assert torch.equal(augmented, 1 - images)


def test_augmentation_changes_half_of_the_images_at_p_one_half():
    images = random_images(1).expand(2000, -1, -1, -1)
    for part in (
        Augmentation(Affine(shear=0, scale=(1, 1), shift=0)),
        Augmentation(affine=None, elastic=Elastic()),
        Augmentation(affine=None, thickness=Thickness()),
    ):
        changed = (part(images, generator()) - images).abs().amax((1, 2, 3)) > 1e-4
        assert changed.float().mean() == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (12, 20)])
def test_affine_shift_moves_by_its_pixels_and_brings_in_background(height, width):
    """Mistake 5: background is 0, and so is what comes in at the border."""
    moved = known(torch.ones(1, 1, height, width), shifts=(2.0, -1.0))[0, 0]
    kept = moved > 0.5
    assert kept.sum() == (height - 1) * (width - 2)
    torch.testing.assert_close(moved, kept.float(), rtol=0, atol=1e-4)
    columns, rows = kept.any(0), kept.any(1)
    assert not columns[:2].any() or not columns[-2:].any()
    assert not rows[0] or not rows[-1]


@pytest.mark.parametrize(("height", "width"), [(24, 24), (24, 40), (40, 24)])
def test_affine_shift_moves_a_blob_by_its_pixels(height, width):
    image = blob(height, width, 1.0, -2.0)
    moved = place(known(image, shifts=(1.5, 2.0))) - place(image)
    torch.testing.assert_close(moved.abs(), torch.tensor([1.5, 2.0]), rtol=0, atol=0.05)
    assert moved[0] * moved[1] > 0


@pytest.mark.parametrize(("height", "width"), [(64, 64), (64, 96), (96, 64)])
@pytest.mark.parametrize("angle", [10.0, 30.0])
def test_affine_rotation_keeps_lengths_and_angles_on_oblong_images(height, width, angle):
    across = place(known(blob(height, width, 18.0, 0.0), angle=angle))
    down = place(known(blob(height, width, 0.0, 18.0), angle=angle))
    assert across.norm() == pytest.approx(18, abs=0.1)
    assert down.norm() == pytest.approx(18, abs=0.1)
    assert across @ down == pytest.approx(0, abs=2)
    assert abs(math.degrees(math.atan2(across[1], across[0]))) == pytest.approx(angle, abs=0.5)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (64, 96)])
def test_affine_scale_stretches_its_own_axis(height, width):
    components = {"scales": (1.2, 0.8)}
    across = place(known(blob(height, width, 15.0, 0.0), **components))
    down = place(known(blob(height, width, 0.0, 15.0), **components))
    torch.testing.assert_close(across, torch.tensor([18.0, 0.0]), rtol=0, atol=0.1)
    torch.testing.assert_close(down, torch.tensor([0.0, 12.0]), rtol=0, atol=0.1)


def test_affine_shear_slants_one_axis_and_keeps_the_other():
    slanted = place(known(blob(64, 96, 0.0, 15.0), shears=(0.3, 0.0)))
    kept = place(known(blob(64, 96, 15.0, 0.0), shears=(0.3, 0.0)))
    torch.testing.assert_close(slanted.abs(), torch.tensor([4.5, 15.0]), rtol=0, atol=0.1)
    torch.testing.assert_close(kept, torch.tensor([15.0, 0.0]), rtol=0, atol=0.1)


def test_elastic_displacements_have_their_strength_and_are_smooth():
    size = (33, 33)
    elastic = Elastic(strength=0.03, knots=5, p=1.0)
    field = elastic.displacements(3000, size, generator())
    at_knots = field[:, ::8, ::8] * 33 / 2  # half-side units to pixels
    assert at_knots.std() == pytest.approx(0.03 * 33, rel=0.03)
    assert at_knots.mean() == pytest.approx(0, abs=0.03)
    step = field.diff(dim=1).std() / field.std()
    assert step < 0.3  # neighbours move together


def test_elastic_moves_pixels_by_its_displacements():
    """A pixel shows what was at its displaced place; a ramp tells where that was."""
    elastic = Elastic(p=1.0)
    ramp = torch.linspace(0, 1, 40).expand(2, 1, 40, 40)
    moved = Augmentation(affine=None, elastic=elastic)(ramp, generator(1))
    field = elastic.displacements(2, (40, 40), generator(1))
    expected = ramp[:, 0] + field[..., 0] * 20 / 39
    inside = (slice(None), slice(8, 32), slice(8, 32))
    torch.testing.assert_close(moved[:, 0][inside], expected[inside], rtol=0, atol=1e-4)
    assert (moved[:, 0][inside] - ramp[:, 0][inside]).abs().max() > 0.01


@EACH
def test_augmentation_depends_on_the_generator_alone(name):
    images = random_images(6)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = AUGMENTATIONS[name](images, generator(4))
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert torch.equal(first, AUGMENTATIONS[name](images, generator(4)))
    assert not torch.equal(first, AUGMENTATIONS[name](images, generator(5)))


@EACH
def test_augmentation_leaves_its_input_unchanged(name):
    images = random_images(6)
    copy = images.clone()
    AUGMENTATIONS[name](images, generator())
    assert torch.equal(images, copy)


@EACH
@settings(deadline=None, max_examples=8)
@given(
    n=st.integers(1, 3),
    channels=st.integers(1, 5),
    height=st.integers(1, 24),
    width=st.integers(1, 24),
)
def test_augmentation_keeps_shape_dtype_and_range_of_any_image(name, n, channels, height, width):
    images = random_images(n, channels, height, width)
    augmented = AUGMENTATIONS[name](images, generator())
    assert augmented.shape == images.shape
    assert augmented.dtype == images.dtype
    low, high = (-2, 2) if name == "real_files" else (0, 1 + 1e-6)  # light, noise
    assert augmented.min() >= low
    assert augmented.max() <= high


def test_real_files_takes_every_step_and_outlines_before_strokes_become_broad():
    steps = [type(step).__name__ for step in AUGMENTATIONS["real_files"].then]
    others = {"AUGMENTATIONS", "Affine", "Augmentation", "Elastic", "SeriesAugmentation"}
    assert sorted(steps) == sorted(set(augmentation.__all__) - others)
    assert steps.index("Contour") < steps.index("Thickness")


@EACH
def test_augmentation_treats_all_channels_of_an_image_alike(name):
    images = random_images(40).expand(-1, 3, -1, -1)
    named = AUGMENTATIONS[name]
    even = tuple(step for step in named.then if not isinstance(step, Noise))
    augmented = replace(named, then=even)(images, generator())
    torch.testing.assert_close(augmented, augmented[:, :1].expand(-1, 3, -1, -1))


def test_turn_makes_eight_distinct_images_of_an_asymmetric_one():
    image = torch.arange(18.0).view(1, 2, 3, 3)
    turned = turn(image.expand(8, -1, -1, -1), torch.arange(8))
    assert torch.equal(turned[0], image[0])
    assert len(turned.flatten(1).unique(dim=0)) == 8
    assert all(torch.equal(t.flatten().sort().values, image.flatten()) for t in turned)
    for quarters in range(4):
        assert torch.equal(turned[quarters], torch.rot90(image[0], quarters, (1, 2)))
        assert torch.equal(turned[4 + quarters], torch.rot90(image[0].flip(2), quarters, (1, 2)))


def test_turn_turns_each_image_by_its_own_turn():
    images = random_images(20, 2, 5, 5)
    turns = torch.randint(8, (20,), generator=generator())
    one_by_one = torch.cat([turn(i[None], t[None]) for i, t in zip(images, turns, strict=True)])
    assert torch.equal(turn(images, turns), one_by_one)


def test_turn_turns_oblong_images_by_half():
    image = torch.arange(6.0).view(1, 1, 2, 3)
    turned = turn(image.expand(4, -1, -1, -1), torch.tensor([0, 2, 4, 6]))
    expected = [image[0], image[0].rot90(2, (1, 2)), image[0].flip(2), image[0].flip(1)]
    assert torch.equal(turned, torch.stack(expected))


@pytest.mark.parametrize(
    ("class_augmentation", "shape", "expected"),
    [
        (None, (1, 8, 8), (0,)),
        ("rotate", (1, 8, 8), (0, 1, 2, 3)),
        ("rotate_reflect", (3, 8, 8), tuple(range(8))),
        ("rotate", (1, 8, 9), (0, 2)),
        ("rotate_reflect", (1, 8, 9), (0, 2, 4, 6)),
        ("rotate", (64,), (0,)),
        ("rotate_reflect", (64,), (0,)),
    ],
)
def test_turns_of_square_oblong_and_flat_inputs(class_augmentation, shape, expected):
    assert turns_of(class_augmentation, shape) == expected
