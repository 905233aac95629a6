"""Reading: samples by batches, and images that a scaling does not suit, each judged by itself."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from training_runs import ArrayStore

from sksiamese.datasets import make_glyphs
from sksiamese.exceptions import (
    BlankImageWarning,
    InvertedImageError,
    UnlikelyBackgroundWarning,
    ValueRangeError,
)
from sksiamese.twin import reading
from sksiamese.twin.reading import (
    check_exemplars,
    check_samples,
    check_training_images,
    is_noise,
    scaled_batches,
)
from sksiamese.twin.scaling import InputScaling, learn_scaling

DRAWINGS = make_glyphs(n_classes=10, n_samples=4, image_size=28, random_state=0)[0][:, None]
LIGHT = 255 - DRAWINGS  # light on dark
UNITS = {
    "0..255": lambda X: X,
    "0..1": lambda X: (X / 255).astype(np.float32),
    "0..1, float64": lambda X: X / 255,
    "0/1": lambda X: (X > 127).astype(np.uint8),
    "bool": lambda X: X > 127,
    "0..16": lambda X: X // 16,
    "12 bit": lambda X: X.astype(np.int32) * 16,
    "16 bit": lambda X: X.astype(np.uint16) * 257,
    "-1..1": lambda X: X / 127.5 - 1,
    "10 bit": lambda X: X.astype(np.int32) * 4,
    "0..100": lambda X: X / 2.55,
    "standardised": lambda X: (X - X.mean()) / X.std(),
}
FAR_APART = [
    ("0..255", "0..1"),
    ("0..255", "0..1, float64"),
    ("0..255", "0/1"),
    ("0..255", "bool"),
    ("0..255", "16 bit"),
    ("0..255", "12 bit"),
    ("0..255", "-1..1"),
    ("0..1", "0..255"),
    ("0..1", "0..16"),
    ("0..1", "16 bit"),
    ("0/1", "0..255"),
    ("bool", "0..255"),
    ("0..16", "0..1"),
    ("0..16", "bool"),
    ("16 bit", "0..255"),
    ("16 bit", "0..1"),
    ("16 bit", "0..16"),
    ("-1..1", "0..255"),
    ("0..255", "10 bit"),
    ("0..255", "standardised"),
    ("0..1", "standardised"),
    ("0..16", "standardised"),
    ("0..1", "-1..1"),
    ("0..100", "0..255"),
    ("10 bit", "12 bit"),
]


def scaling_of(images, crop=None):
    size = images.shape[2:]
    return InputScaling(*learn_scaling(ArrayStore(images)), size, size, crop)


def judged(images, scaling, rows=None):
    """Read images with all checks, as prediction does."""
    rows = np.arange(len(images)) if rows is None else rows
    return torch.cat(list(scaled_batches(ArrayStore(images), rows, scaling, check=True)))


# Units


@pytest.mark.parametrize("crop", [None, "foreground"])
@pytest.mark.parametrize("polarity", [DRAWINGS, LIGHT], ids=["dark on light", "light on dark"])
@pytest.mark.parametrize(("known", "given"), FAR_APART)
def test_scaled_batches_refuse_images_in_other_units(known, given, polarity, crop):
    scaling = scaling_of(UNITS[known](polarity), crop)
    judged(UNITS[known](polarity), scaling)
    images = UNITS[known](polarity).astype(np.float64)
    images[[5, 30]] = UNITS[given](polarity[[5, 30]])
    with pytest.raises(ValueRangeError, match=r"X\[5\] has values .* same holds for X\[30\]") as e:
        judged(images, scaling)
    assert e.value.rows.tolist() == [5, 30]


@pytest.mark.parametrize(
    ("shape", "working_size", "sizes"),
    [
        ((1, 105, 105), (40, 40), [47, 47, 6]),
        ((1, 512, 512), (36, 36), [2, 2, 1]),
        ((3, 128, 128), (128, 128), [10, 10, 8]),
        ((1, 16, 16), (512, 512), [4, 4, 1]),
        ((1, 2048, 4096), (36, 36), [1, 1]),
        ((1, 8, 8), (8, 8), [8192, 3]),
    ],
)
def test_scaled_batches_take_bounded_memory(shape, working_size, sizes):
    store = ArrayStore(np.zeros((sum(sizes), *shape), np.uint8))
    offset = torch.zeros(shape[0], 1, 1)
    scaling = InputScaling(offset, offset + 1, shape[1:], working_size)
    rows = np.arange(len(store))
    batches = scaled_batches(store, rows, scaling, check=False)
    assert [len(batch) for batch in batches] == sizes


def test_scaled_batches_find_one_image_of_a_thousand(monkeypatch):
    monkeypatch.setattr(reading, "READ_BYTES", 64 * 4 * DRAWINGS[0].size)
    images = np.tile(DRAWINGS, (25, 1, 1, 1)).astype(np.float32)
    scaling = scaling_of(images[:40])
    images[[3, 997]] /= 255
    with pytest.raises(ValueRangeError) as error:
        judged(images, scaling)
    assert error.value.rows.tolist() == [3, 997]
    judged(images, scaling, np.arange(4, 997))
    with pytest.raises(ValueRangeError, match=r"X\[997\] has values from 0 to 1, in other units"):
        judged(images, scaling, np.arange(500, 1000))


def test_scaled_batches_name_what_came_and_what_is_expected():
    with pytest.raises(
        ValueRangeError,
        match=r"X\[0\] has values from 0 to 1, .* about 0 to 255\. The same holds for X\[1\], "
        r".*X\[5\] and 34 more\. Bring all 40 images to that range",
    ):
        judged(DRAWINGS > 127, scaling_of(DRAWINGS))


NOISE = np.random.default_rng(0)
SUITABLE = {
    "faint": 255 - (255 - DRAWINGS.astype(float)) * 0.2,
    "dark": DRAWINGS * 0.6,
    "gray paper": DRAWINGS * 0.5 + 20,
    "bright": DRAWINGS * 1.5,
    "hot pixel": np.where(np.arange(784).reshape(28, 28) == 400, 1e7, DRAWINGS),
    "noisy": DRAWINGS + NOISE.normal(0, 20, DRAWINGS.shape),
}


@pytest.mark.parametrize("polarity", [DRAWINGS, LIGHT], ids=["dark on light", "light on dark"])
@pytest.mark.parametrize("name", SUITABLE)
def test_scaled_batches_take_images_of_the_same_units(name, polarity):
    images = SUITABLE[name] if polarity is DRAWINGS else 255 - SUITABLE[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        judged(images, scaling_of(polarity))


def test_scaled_batches_take_dark_pictures_among_light_drawings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        judged((LIGHT * 0.1).astype(np.uint8), scaling_of(LIGHT))


@pytest.mark.parametrize("shape", [(1, 9, 9), (3, 16, 16), (1, 1, 40), (1, 40, 1)])
def test_scaled_batches_take_noise_where_noise_is_known(shape):
    images = np.random.default_rng(0).normal(size=(200, *shape))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        judged(images, scaling_of(images[:100]))


def test_scaled_batches_do_not_judge_flat_rows():
    rows = np.random.default_rng(0).normal(size=(20, 30))
    scaling = InputScaling(*learn_scaling(ArrayStore(rows)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        judged(rows * 1e5, scaling)
        judged(np.zeros_like(rows), scaling)


@pytest.mark.parametrize("units", ["0..1", "bool", "16 bit"])
def test_scaled_batches_judge_every_channel(units):
    colored = np.concatenate([DRAWINGS, DRAWINGS // 2 + 90, np.full_like(DRAWINGS, 77)], axis=1)
    scaling = scaling_of(colored)
    judged(colored, scaling)
    with pytest.raises(ValueRangeError):
        judged(UNITS[units](colored), scaling)


def test_scaled_batches_raise_inverted_image_error_with_all_rows():
    images = DRAWINGS.copy()
    images[[4, 9]] = 255 - images[[4, 9]]
    message = r"X\[4\] appears to have inverted polarity .* The same holds for X\[9\]. Invert it"
    with pytest.raises(InvertedImageError, match=message) as error:
        judged(images, scaling_of(DRAWINGS, "foreground"))
    assert error.value.rows.tolist() == [4, 9]


@pytest.mark.parametrize("known", ["0..255", "0..1", "12 bit"])
@pytest.mark.parametrize("polarity", [DRAWINGS, LIGHT], ids=["dark on light", "light on dark"])
def test_scaled_batches_warn_of_a_background_like_the_foreground(known, polarity):
    images = UNITS[known](polarity).astype(np.float64)
    scaling = scaling_of(images)
    images[[4, 9]] = images.max() - images[[4, 9]]
    message = r"X\[4\] has a background like the foreground .*The same holds for X\[9\]"
    with pytest.warns(UnlikelyBackgroundWarning, match=message) as caught:
        judged(images, scaling)
    assert caught[0].message.rows.tolist() == [4, 9]
    if polarity is DRAWINGS:
        with pytest.warns(UnlikelyBackgroundWarning, match=r"X\[0\].* and 34 more"):
            judged(UNITS[known](polarity) / 2.55, scaling)  # 0..100 where 0..255 is known


def test_scaled_batches_take_photographs_of_any_border():
    photographs = np.random.default_rng(0).random((30, 3, 7, 7)).repeat(4, 2).repeat(4, 3) * 255
    scaling = scaling_of(photographs)
    frames = photographs[:8].copy()
    for value, some in ((0, frames[:4]), (255, frames[4:])):
        for side in (some[:, :, :2], some[:, :, -2:], some[..., :2], some[..., -2:]):
            side[...] = value
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        judged(frames, scaling)
        check_training_images(ArrayStore(np.concatenate([photographs, frames])), scaling)


def test_scaled_batches_check_nothing_if_told():
    store, rows = ArrayStore(DRAWINGS > 127), np.arange(40)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(scaled_batches(store, rows, scaling_of(DRAWINGS), check=False))


# Blank images


def blanks(shape, background=255):
    """Return images without foreground, by name."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[: shape[0], : shape[1]] / shape[0]
    sheets = {
        "one value": np.full(shape, 255),
        "black": np.zeros(shape),
        "gray": np.full(shape, 130.0),
        "254 and 255": rng.integers(254, 256, shape),
        "grain": rng.normal(250, 1.5, shape),
        "more grain": rng.normal(235, 6, shape),
        "few specks of one level": 255 - (rng.random(shape) < 0.02),
        "smooth light": 255 - 60 * rows - 30 * columns**2,
    }
    return {name: sheet if background else 255 - sheet for name, sheet in sheets.items()}


@pytest.mark.parametrize("crop", [None, "foreground"])
@pytest.mark.parametrize("background", [255, 0], ids=["dark on light", "light on dark"])
@pytest.mark.parametrize("name", blanks((28, 28)))
def test_scaled_batches_warn_of_blank_images(name, background, crop):
    drawings = DRAWINGS if background else LIGHT
    images = drawings.astype(np.float64)
    images[[2, 20]] = blanks((28, 28), background)[name]
    with pytest.warns(
        BlankImageWarning, match=r"X\[2\] has no foreground.*holds for X\[20\]"
    ) as w:
        judged(images, scaling_of(drawings, crop))
    assert len(w) == 1
    assert w[0].message.rows.tolist() == [2, 20]
    assert w[0].filename == __file__


@pytest.mark.parametrize("crop", [None, "foreground"])
@pytest.mark.parametrize("polarity", [DRAWINGS, LIGHT], ids=["dark on light", "light on dark"])
@pytest.mark.parametrize("top", [15, 15.9375, 5])
def test_scaled_batches_say_that_faint_images_may_be_in_other_units(top, polarity, crop):
    images = polarity.astype(np.float64)
    images[[2, 20]] *= top / 255
    message = rf"X\[2\] has values from 0 to {top:.6g} only.* 0 to 255.*holds for X\[20\]"
    with pytest.warns(BlankImageWarning, match=message) as caught:
        judged(images, scaling_of(polarity, crop))
    assert len(caught) == 1
    assert caught[0].message.rows.tolist() == [2, 20]


def test_scaled_batches_warn_once_of_blank_images_in_several_batches(monkeypatch):
    monkeypatch.setattr(reading, "READ_BYTES", 8 * 4 * DRAWINGS[0].size)
    images = DRAWINGS.copy()
    images[::5] = 255
    with pytest.warns(BlankImageWarning, match="and 2 more.*these 8 of 40 images") as caught:
        judged(images, scaling_of(DRAWINGS))
    assert len(caught) == 1
    assert caught[0].message.rows.tolist() == list(range(0, 40, 5))


def test_check_samples_does_the_same_without_scaling():
    images = DRAWINGS.copy()
    images[7] = 255
    store, scaling = ArrayStore(images), scaling_of(DRAWINGS)
    with pytest.warns(BlankImageWarning, match=r"X\[7\]"):
        check_samples(store, np.arange(5, 40), scaling)
    with pytest.raises(ValueRangeError, match=r"X\[5\]"):
        check_samples(ArrayStore(images > 127), np.arange(5, 40), scaling)


@pytest.mark.parametrize("size", [(8, 8), (16, 16), (105, 105), (9, 31)])
def test_is_noise_tells_noise_from_drawings(size):
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(300, 1, *size, generator=generator)
    assert is_noise(noise).mean() > 0.97
    drawings = make_glyphs(n_classes=20, n_samples=2, image_size=min(size), random_state=1)[0]
    pad = [(0, 0), (0, size[0] - min(size)), (0, size[1] - min(size))]
    drawings = torch.tensor(np.pad(drawings, pad, constant_values=255))[:, None].float()
    assert is_noise(drawings).mean() < 0.05


@pytest.mark.parametrize("image", [np.eye(16), np.eye(9)[::-1].copy(), load_digits().images[0]])
def test_is_noise_does_not_take_lines_for_noise(image):
    assert not is_noise(torch.tensor(image)[None, None]).any()
    assert not is_noise(torch.tensor(-5 - 3 * image).float()[None, None]).any()


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 1), (1, 7), (3, 3)])
def test_is_noise_takes_images_of_any_size(shape):
    assert is_noise(torch.ones(2, 3, *shape)).tolist() == [True, True]
    assert is_noise(torch.randn(2, 3, *shape)).shape == (2,)


# What a scaling is learned from


@pytest.mark.parametrize("n_other", [1, 10, 20, 30, 39])
@pytest.mark.parametrize("polarity", [DRAWINGS, LIGHT], ids=["dark on light", "light on dark"])
@pytest.mark.parametrize(
    ("one", "other"),
    [("0..255", "0..1"), ("0..255", "bool"), ("16 bit", "0..255"), ("0..16", "0..1")],
)
@pytest.mark.parametrize("check", [check_exemplars, check_training_images])
def test_images_in_two_units_are_refused(check, one, other, polarity, n_other):
    images = UNITS[one](polarity).astype(np.float64)
    rows = np.random.default_rng(0).permutation(40)[:n_other]
    images[rows] = UNITS[other](polarity[rows])
    arguments = [scaling_of(images)] if check is check_training_images else []
    with pytest.raises(ValueRangeError, match="images in different units") as error:
        check(ArrayStore(images), *arguments)
    few = np.setdiff1d(np.arange(40), rows) if n_other > 20 else np.sort(rows)
    if n_other != 20:
        assert error.value.rows.tolist() == few.tolist()


@pytest.mark.parametrize(
    "images",
    [
        *(images for name, images in SUITABLE.items() if name != "hot pixel"),
        np.concatenate([DRAWINGS[:20], *(SUITABLE[n] for n in ("faint", "dark", "hot pixel"))]),
        LIGHT * np.linspace(0.03, 1, 40)[:, None, None, None],
        LIGHT * np.exp(np.random.default_rng(0).normal(0, 1.5, (40, 1, 1, 1))),  # spectrograms
    ],
)
def test_images_in_one_unit_are_taken(images):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_exemplars(ArrayStore(images))


@pytest.mark.parametrize("n_other", [1, 13, 20, 30])
@pytest.mark.parametrize("polarity", [DRAWINGS, LIGHT], ids=["dark on light", "light on dark"])
@pytest.mark.parametrize("check", [check_exemplars, check_training_images])
def test_images_of_two_polarities_are_refused(check, polarity, n_other):
    images = polarity.copy()
    rows = np.sort(np.random.default_rng(0).permutation(40)[:n_other])
    images[rows] = 255 - images[rows]
    few = np.setdiff1d(np.arange(40), rows) if n_other > 20 else rows
    for crop, raised in ((None, UnlikelyBackgroundWarning), ("foreground", InvertedImageError)):
        argument = crop if check is check_exemplars else scaling_of(images, crop)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(raised, match="inverted polarity relative to X") as error:
                check(ArrayStore(images), argument)
        if n_other != 20:
            assert error.value.rows.tolist() == few.tolist()
        assert len(error.value.rows) == len(few)


def test_check_training_images_refuses_one_in_a_greater_unit():
    images = DRAWINGS.astype(np.int32)
    images[7] *= 4
    with pytest.raises(
        ValueRangeError, match=r"X\[7\] has values from 0 to 1020.*most images in X"
    ):
        check_training_images(ArrayStore(images), scaling_of(images))


def test_blank_sheets_beside_drawings_are_not_other_units():
    for background in (255, 0):
        images = (DRAWINGS if background else LIGHT).astype(np.float64)
        for row, sheet in enumerate(blanks((28, 28), background).values()):
            images[row] = sheet
        check_exemplars(ArrayStore(images))
        with pytest.warns(BlankImageWarning) as caught:
            check_training_images(ArrayStore(images), scaling_of(images))
        assert caught[0].message.rows.tolist() == list(range(8))


@pytest.mark.parametrize("value", [0, 1, 255, 0.0, -3.5])
def test_check_exemplars_refuses_images_of_one_value(value):
    with pytest.raises(ValueError, match="X has 3 images without foreground: .* one value only"):
        check_exemplars(ArrayStore(np.full((3, 1, 9, 9), value)))


def test_check_exemplars_warns_of_nothing_but_noise():
    sheets = np.random.default_rng(0).integers(254, 256, (4, 1, 28, 28))
    with pytest.warns(BlankImageWarning, match=r"X\[0\].*X\[3\]"):
        check_exemplars(ArrayStore(sheets))


def test_check_training_images_takes_random_images():
    images = np.random.default_rng(0).random((30, 3, 12, 12))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_training_images(ArrayStore(images), scaling_of(images))
