"""Input scaling: what `normalization`, `resize` and `crop` make of images, rows and series."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import Seen, assert_same_network, classifier, make_table, unchanged
from torch import nn

from sksiamese import SiameseOneShotClassifier, SiameseVerifier
from sksiamese.datasets import make_glyphs
from sksiamese.exceptions import NoEffectWarning, ValueRangeError

IMAGENET = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
Y = np.repeat(np.arange(4), 3)


def photographs(n=12, channels=3, side=16, seed=0, n_cells=4):
    """Return smooth images from 0 to 1, (n, channels, side, side), float32; the first has both."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, channels, n_cells, n_cells, generator=generator)
    images = nn.functional.interpolate(coarse, size=side, mode="bilinear").numpy()
    images[0, :, 0, 0], images[0, :, 0, 1] = 0, 1
    return images


X = photographs()


def convolution(channels=3, **attributes):
    """Return a network of convolutions for images of 16x16 pixels, with these attributes."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(channels, 4, 5, stride=4), nn.BatchNorm2d(4, affine=False), nn.ReLU()
    )
    for name, value in attributes.items():
        setattr(module, name, value)
    return module


def seen_by(encoder, images, y=Y, **params):
    """Return what the encoder sees of the images, in their order."""
    seen = Seen()
    clf = classifier(encoder, augmentation=seen, channels="first", **params)
    clf.set_params(batch_size=(1, 2, 2), class_augmentation=None).fit(images, y)
    scaled = clf.fitted_.comparer.scaling(torch.as_tensor(images, dtype=torch.float64))
    assert all(min((scaled - image).flatten(1).abs().amax(1)) < 1e-5 for image in seen.all)
    return scaled.numpy()


def normalised(images, mean, std):
    mean, std = (np.reshape(part, (-1, 1, 1)) for part in (mean, std))
    return (images - mean) / std


# Units


@pytest.mark.parametrize(
    ("dtype", "full"),
    [
        (np.float32, 1),
        (np.float64, 1),
        (np.uint8, 255),
        (np.float32, 255),
        (np.int64, 255),
        (np.uint16, 65535),
        (np.float64, 65535),
    ],
)
@pytest.mark.parametrize("normalization", ["imagenet", (0.5, 0.25)])
def test_normalization_of_pixels_is_the_same_in_all_units(dtype, full, normalization):
    images = (X * full).round(0 if full > 1 else 9).astype(dtype)
    statistics = IMAGENET if normalization == "imagenet" else normalization
    expected = normalised(images / full, *statistics)
    found = seen_by(convolution(), images, normalization=normalization)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_normalization_of_bool_images():
    images = X > 0.5
    expected = normalised(images, *IMAGENET)
    found = seen_by(convolution(), images, normalization="imagenet")
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_normalization_takes_the_full_range_of_a_dtype_that_images_do_not_use():
    images = (X * 90).astype(np.uint8)
    found = seen_by(convolution(), images, normalization="imagenet")
    np.testing.assert_allclose(found, normalised(images / 255, *IMAGENET), atol=1e-5)


@pytest.mark.parametrize(
    "normalization",
    [
        (IMAGENET[0], IMAGENET[1]),
        [list(IMAGENET[0]), tuple(IMAGENET[1])],
        torch.tensor(np.array(IMAGENET)),
        ([0.5], (0.5,)),
    ],
    ids=["arrays", "lists", "tensor", "one number"],
)
def test_normalization_takes_a_mean_and_a_standard_deviation(normalization):
    expected = normalised(X, *(np.asarray(part) for part in normalization))
    found = seen_by(convolution(), X, normalization=normalization)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_normalization_none_takes_images_as_they_are():
    images = photographs() * 5 - 2
    found = seen_by(convolution(), images, normalization=None)
    np.testing.assert_array_equal(found, images.astype(np.float32))


def test_normalization_foreground_is_that_of_named_encoders():
    expected = seen_by("mlp", X)
    for encoder in ("mlp", convolution()):
        found = seen_by(encoder, X, normalization="foreground")
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_normalization_of_named_encoders():
    found = seen_by("conv", X, normalization="imagenet")
    np.testing.assert_allclose(found, normalised(X, *IMAGENET), atol=1e-5)


def test_normalization_resizes_before_the_encoder_sees():
    found = seen_by(convolution(), X, normalization="imagenet", resize=8)
    halved = X.reshape(12, 3, 8, 2, 8, 2).mean((3, 5))
    np.testing.assert_allclose(found, normalised(halved, *IMAGENET), atol=1e-5)


# Channels


@pytest.mark.parametrize("normalization", ["imagenet", (0.5, 0.5), "foreground", None, "auto"])
def test_gray_images_become_three_equal_channels_if_the_module_wants_three(normalization):
    gray = X[:, :1]
    found = seen_by(convolution(), gray, normalization=normalization)
    assert found.shape == (12, 3, 16, 16)
    if normalization != "imagenet":
        np.testing.assert_array_equal(found[:, 0], found[:, 1])
        np.testing.assert_array_equal(found[:, 0], found[:, 2])
    else:
        np.testing.assert_allclose(found, normalised(gray, *IMAGENET), atol=1e-5)


def test_gray_images_become_three_channels_of_imagenet_for_a_named_encoder():
    assert seen_by("conv", X[:, :1], normalization="imagenet").shape == (12, 3, 16, 16)


def test_gray_images_stay_gray_for_a_module_of_one_channel():
    for encoder in (convolution(1), nn.Sequential(nn.Flatten(), nn.Linear(256, 4))):
        assert seen_by(encoder, X[:, :1]).shape == (12, 1, 16, 16)


def test_gray_images_are_asked_of_a_network_that_has_made_them_three_channels():
    gray = X[:, 0]
    clf = classifier(convolution(), normalization="imagenet", batch_size=(1, 2, 2)).fit(gray, Y)
    assert clf.input_shape_ == (1, 16, 16)
    assert clf.score(gray, Y) > 0.5
    clf.set_support(gray[:3], [0, 1, 2])
    assert clf.predict(gray[:3]).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("channels", "normalization", "message"),
    [
        (4, "imagenet", "normalization='imagenet' is for 3 channels, got .* 4 channels"),
        (3, ((0.5, 0.5), (1, 1)), r"normalization=\(\(0.5, 0.5\).* is for 2 channels, .* 3 chan"),
    ],
)
def test_normalization_of_another_number_of_channels_is_refused(channels, normalization, message):
    clf = classifier("mlp", normalization=normalization, channels="first")
    with unchanged(clf), pytest.raises(ValueError, match=message):
        clf.fit(photographs(channels=channels), Y)


# What a module says, and what its batch normalisation has seen


OWN = {"mean": (0.1, 0.2, 0.3), "std": (0.5, 0.6, 0.7)}


@pytest.mark.parametrize(
    "attributes",
    [
        OWN,
        {name: torch.tensor(value) for name, value in OWN.items()},
        {"pretrained_cfg": {**OWN, "input_size": (3, 224, 224)}},
        {"default_cfg": OWN},
        {"pretrained_cfg": None, "default_cfg": OWN},
    ],
    ids=["attributes", "tensors", "pretrained_cfg", "default_cfg", "one is None"],
)
def test_normalization_auto_is_what_a_module_says(attributes):
    found = seen_by(convolution(**attributes), X)
    np.testing.assert_allclose(found, normalised(X, OWN["mean"], OWN["std"]), atol=1e-5)


def test_normalization_auto_takes_pixels_from_0_to_1_for_a_module_with_buffers():
    """It normalises by itself."""
    module = convolution()
    module.register_buffer("mean", torch.full((3, 1, 1), 0.5))
    module.register_buffer("std", torch.full((3, 1, 1), 0.25))
    images = (X * 255).round().astype(np.uint8)
    np.testing.assert_allclose(seen_by(module, images), images / 255, atol=1e-6)


def trained_on(mean, std):
    """Return a network whose batch normalisation has seen photographs normalised so."""
    module = convolution()
    images = torch.as_tensor(normalised(photographs(64, seed=1), mean, std), dtype=torch.float32)
    with torch.no_grad():
        for _ in range(40):
            module(images)
    return module.eval()


HALF, UNIT = ((0.5,) * 3, (0.5,) * 3), ((0.0,) * 3, (1.0,) * 3)


@pytest.mark.parametrize("statistics", [IMAGENET, HALF, UNIT], ids=["imagenet", "half", "unit"])
@pytest.mark.parametrize("full", [1, 255])
def test_normalization_auto_is_the_one_that_batch_norm_has_seen(statistics, full):
    images = X.astype(np.float32) if full == 1 else (X * 255).round().astype(np.uint8)
    found = seen_by(trained_on(*statistics), images)
    np.testing.assert_allclose(found, normalised(images / full, *statistics), atol=1e-5)


def test_normalization_auto_of_gray_photographs_by_batch_norm():
    found = seen_by(trained_on(*HALF), X[:, :1])
    np.testing.assert_allclose(found, normalised(np.repeat(X[:, :1], 3, 1), *HALF), atol=1e-5)


@pytest.mark.parametrize(
    "encoder",
    [
        convolution(),  # new batch normalisation
        nn.Sequential(nn.Flatten(), nn.Linear(3 * 256, 4)),
        lambda shape: trained_on(*HALF),
    ],
    ids=["new", "no norm", "callable"],
)
def test_normalization_auto_is_foreground_otherwise(encoder):
    np.testing.assert_allclose(seen_by(encoder, X), seen_by("mlp", X), atol=1e-6)


def test_normalization_auto_is_foreground_with_a_crop():
    found = seen_by(trained_on(*HALF), X, crop="foreground")
    np.testing.assert_allclose(found, seen_by("mlp", X, crop="foreground"), atol=1e-6)


def test_normalization_auto_is_foreground_for_images_that_are_normalised_already():
    images = normalised(X, *HALF)
    np.testing.assert_array_equal(seen_by(trained_on(*HALF), images), seen_by("mlp", images))


def test_normalization_auto_names_the_encoder_that_cannot_take_the_images():
    module = nn.Sequential(trained_on(*HALF), nn.Flatten(), nn.Linear(7, 2))
    with pytest.raises(ValueError, match="encoder, a Sequential, cannot be used for inputs of"):
        classifier(module).fit(X, Y)


def test_normalization_auto_leaves_the_module_as_it_is():
    module = trained_on(*HALF).train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    classifier(module, batch_size=(1, 2, 2)).fit(X, Y)
    assert module.training
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


# Rows


def test_normalization_of_rows():
    rows, y = make_table(n_classes=4, n_features=6)
    for normalization, expected in (
        ("auto", (rows - rows.mean(0)) / rows.std(0)),
        ("foreground", (rows - rows.mean(0)) / rows.std(0)),
        ((0.5, 2.0), (rows - 0.5) / 2),
        ((np.arange(6), np.arange(1, 7)), (rows - np.arange(6)) / np.arange(1, 7)),
        (None, rows),
    ):
        found = seen_by("mlp", rows, y, normalization=normalization)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_normalization_of_a_module_of_rows_is_standardised_too():
    rows, y = make_table(n_classes=4, n_features=6)
    module = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4))
    module(torch.randn(8, 6))
    found = seen_by(module.eval(), rows, y)
    np.testing.assert_allclose(found, (rows - rows.mean(0)) / rows.std(0), atol=1e-5)


@pytest.mark.parametrize(
    ("normalization", "message"),
    [
        ("imagenet", r"normalization='imagenet' needs images, got flat rows of 6.*image_shape="),
        (((0, 1), (1, 1)), "normalization has 2 means, got flat rows of 6 .*one of each feature"),
    ],
)
def test_normalization_that_rows_cannot_have_is_refused(normalization, message):
    clf = classifier("mlp", normalization=normalization)
    with unchanged(clf), pytest.raises(ValueError, match=message):
        clf.fit(*make_table(n_classes=2, n_features=6))


# What is refused


@pytest.mark.parametrize(
    ("images", "params", "message"),
    [
        (X - 0.5, {"normalization": "imagenet"}, "X has values from -0.5 to 0.5.*normalization=N"),
        (X * 1e6, {"normalization": "imagenet"}, "X has values from 0 to 1e.06, which are no pix"),
        (
            X,
            {"normalization": "imagenet", "crop": "foreground"},
            "crop='foreground' needs images whose foreground is known.*normalization='imagenet'",
        ),
        (
            X,
            {"normalization": None, "crop": "foreground"},
            "crop='foreground' needs images whose foreground is known.*normalization=None",
        ),
        (
            X,
            {"normalization": ((123.7, 116.3, 103.5), (58.4, 57.1, 57.4))},
            "normalization has a mean of 123.7, but is for pixels from 0 to 1",
        ),
    ],
    ids=["negative", "large", "crop", "crop of None", "mean of 0 to 255"],
)
def test_normalization_that_images_cannot_have_is_refused(images, params, message):
    clf = classifier("mlp", **params)
    with unchanged(clf), pytest.raises(ValueError, match=message):
        clf.fit(images, Y)


def test_predict_refuses_images_in_other_units():
    clf = classifier(convolution(), normalization="imagenet", batch_size=(1, 2, 2)).fit(X, Y)
    assert clf.score(X, Y) > 0.5
    with pytest.raises(ValueRangeError):
        clf.predict(X * 255)
    clf.fit((X * 255).round().astype(np.uint8), Y)
    with pytest.raises(ValueRangeError):
        clf.predict(X)


def test_predict_does_not_judge_the_background_of_photographs(recwarn):
    clf = classifier(convolution(), normalization="imagenet", batch_size=(1, 2, 2)).fit(X, Y)
    clf.predict(1 - X)
    clf.predict(X[:, ::-1])
    assert not [w for w in recwarn if "batch normalisation" not in str(w.message)]


def test_normalization_none_judges_no_image(recwarn):
    clf = classifier(convolution(), normalization=None, batch_size=(1, 2, 2)).fit(X, Y)
    clf.predict(X * 255 - 3)
    clf.predict(np.zeros_like(X))
    assert not [w for w in recwarn if "batch normalisation" not in str(w.message)]


# Other units later


@pytest.mark.parametrize("normalization", ["imagenet", (0.5, 0.25)])
def test_set_support_of_a_network_that_adapts_learns_the_units(normalization):
    """As a pretrained one does; the size may be another, too."""
    images = (X * 255).round().astype(np.uint8)
    params = {"normalization": normalization, "batch_size": (1, 2, 2), "resize": 16}
    clf = adapting(classifier("mlp", **params).fit(images, Y))
    expected = clf.transform(images)
    for other in (images / 255, images.astype(np.uint16) * 257):
        clf.set_support(other, Y)
        np.testing.assert_allclose(clf.transform(other), expected, atol=1e-3)
    with pytest.raises(ValueRangeError):
        clf.set_support(images / 255, Y).predict(images)
    large = np.repeat(np.repeat(images, 2, 2), 2, 3)
    np.testing.assert_allclose(clf.set_support(large, Y).transform(large), expected, atol=1e-2)


def test_set_support_of_a_network_that_adapts_takes_images_as_they_are_without_normalization():
    clf = adapting(classifier("mlp", normalization=None, batch_size=(1, 2, 2)).fit(X, Y))
    before = clf.transform(X * 3)
    np.testing.assert_array_equal(clf.set_support(X * 3, Y).transform(X * 3), before)


@pytest.mark.filterwarnings("error")
def test_set_support_of_a_network_that_adapts_does_not_judge_the_background_of_photographs():
    clf = classifier("mlp", normalization="imagenet", batch_size=(1, 2, 2)).fit(X, Y)
    mixed = np.concatenate([X[:6], 1 - X[6:]])
    mixed[:3] *= 0.3
    adapting(clf).set_support(mixed, Y)


def adapting(clf):
    """Return a classifier whose input scaling is learned from its support."""
    clf.fitted_ = replace(clf.fitted_, adapts=True)
    return clf


def test_warm_start_keeps_the_units():
    clf = classifier("mlp", normalization="imagenet", warm_start=True, batch_size=(1, 2, 2))
    clf.fit(X, Y)
    with pytest.raises(ValueRangeError):
        clf.fit(X * 255, Y)
    assert len(clf.fit(X, Y).history_[0]) == 2


def test_save_and_load_keep_the_normalization(tmp_path):
    clf = classifier("mlp", normalization=((0.5, 0.4, 0.3), (0.2, 0.2, 0.3)), batch_size=(1, 2, 2))
    clf.fit((X * 255).astype(np.uint8), Y).save(tmp_path / "file")
    again = SiameseOneShotClassifier.load(tmp_path / "file")
    images = (X * 255).astype(np.uint8)
    np.testing.assert_array_equal(again.transform(images), clf.transform(images))
    assert again.normalization == clf.normalization
    with pytest.raises(ValueRangeError):
        again.predict(X)


# crop="auto"


def drawings(n=12, side=24):
    """Return uint8 drawings of the labels Y, dark on light, (n, side, side)."""
    images, labels = make_glyphs(n_classes=4, n_samples=n // 4, image_size=side, random_state=0)
    np.testing.assert_array_equal(labels, Y)
    return images


def scenes(n=12, channels=3, side=24):
    """Return images of one scene in other lights, from 0 to 1, (n, channels, side, side)."""
    parts = [photographs(n + 1, channels, side, n_cells=cells) for cells in (4, 6, 12, side)]
    images = np.mean(parts, axis=0)
    return (2 * images[:1] + images[1:]) / 3


def crop_of(estimator):
    return estimator.fitted_.comparer.scaling.crop


def quick(encoder="mlp", **params):
    """Return a classifier of whole images that is trained in no time."""
    return classifier(encoder, **{"channels": "first", "resize": 12, **params})


@pytest.mark.parametrize(
    ("images", "encoder", "params", "crop"),
    [
        (drawings(), "mlp", {}, "foreground"),
        (255 - drawings(), "mlp", {}, "foreground"),
        (np.stack([drawings()] * 3, 1), "mlp", {}, "foreground"),
        (drawings(), "mlp", {"normalization": "foreground"}, "foreground"),
        (drawings(), "mlp", {"crop": None}, None),
        (drawings(side=16), "mlp", {}, None),
        (drawings(), "mlp", {"normalization": "imagenet"}, None),
        (drawings(), "mlp", {"normalization": (0.5, 0.5)}, None),
        (drawings(), "mlp", {"normalization": None}, None),
        (drawings(), nn.Flatten(), {}, None),
        (drawings(), ("mlp", nn.Flatten()), {}, None),
        (scenes(), "mlp", {}, None),
        (scenes(channels=1), "mlp", {}, None),
        (drawings().reshape(12, -1), "mlp", {}, None),
        (drawings().reshape(12, -1), "mlp", {"image_shape": (24, 24)}, "foreground"),
    ],
    ids=[
        *("dark on light", "light on dark", "colour", "normalization='foreground'", "crop=None"),
        *("small", "normalization='imagenet'", "mean and std", "normalization=None"),
        *("module", "one module", "photographs", "gray photographs", "rows", "images in rows"),
    ],
)
def test_crop_auto_is_the_foreground_of_drawings(images, encoder, params, crop):
    assert crop_of(quick(encoder, **params).fit(images, Y)) == crop


@pytest.mark.filterwarnings("ignore")
def test_crop_auto_of_one_kind_is_kept_for_images_of_another(tmp_path):
    images, others = drawings(), 255 * scenes(channels=1)[:, 0]
    for first, second, crop in ((images, others, "foreground"), (others, images, None)):
        clf = quick().fit(first, Y)
        clf.save(tmp_path / "file")
        assert crop_of(SiameseOneShotClassifier.load(tmp_path / "file")) == crop
        started = quick(weights=tmp_path / "file").fit(second, Y)
        assert crop_of(started) == crop
        assert crop_of(clf.set_params(warm_start=True).fit(second, Y)) == crop
        assert crop_of(quick().fit(second, Y)) != crop


def test_crop_auto_decided_is_what_the_named_one_does(tmp_path):
    named, auto = (quick(crop=crop).fit(drawings(), Y) for crop in ("foreground", "auto"))
    np.testing.assert_array_equal(auto.transform(drawings()), named.transform(drawings()))
    auto.save(tmp_path / "file")
    again = SiameseOneShotClassifier.load(tmp_path / "file")
    assert again.crop == "auto"
    np.testing.assert_allclose(
        again.transform(drawings()), auto.transform(drawings()), rtol=1e-5, atol=1e-5
    )


def test_class_augmentation_auto_turns_what_is_cropped():
    cropped, whole = Seen(), Seen()
    for seen, crop in ((cropped, "auto"), (whole, None)):
        clf = quick(crop=crop, augmentation=seen, max_iter=4, batch_size=(1, 4, 3))
        scaling = clf.fit(drawings(), Y).fitted_.comparer.scaling
        images = scaling(torch.from_numpy(drawings()[:, None]).double())
        known = [bool(((images - image).abs().amax((1, 2, 3)) < 1e-5).any()) for image in seen.all]
        assert all(known) == (crop is None)


def test_class_augmentation_auto_turns_no_features_of_a_frozen_encoder(recwarn):
    """They are made once, of images that are cropped too."""
    none, auto = (
        quick(nn.Flatten(), crop="foreground", head="cosine", class_augmentation=turns, max_iter=3)
        for turns in (None, "auto")
    )
    assert_same_network(none.fit(drawings(), Y), auto.fit(drawings(), Y))
    auto.set_params(head="whitened").fit(drawings(), Y)
    assert not [w for w in recwarn if issubclass(w.category, NoEffectWarning)]


def test_verifier_takes_a_normalization():
    pairs = np.stack([X[:-1], X[1:]], 1)
    y = (Y[:-1] == Y[1:]).astype(int)
    verifier = SiameseVerifier("mlp", normalization="imagenet", max_iter=1, random_state=0)
    verifier.fit(pairs, y)
    with pytest.raises(ValueRangeError):
        verifier.predict(pairs * 255)
