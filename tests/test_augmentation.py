"""sksiamese.augmentation: what it exports can be given as `augmentation`."""

import numpy as np
import pytest
import torch

from sksiamese import SiameseOneShotClassifier, augmentation
from sksiamese.augmentation import AUGMENTATIONS, Affine, Augmentation, Blur, Elastic, Thickness


@pytest.fixture
def data(glyphs):
    X, y = glyphs
    return X[y < 6], y[y < 6]


def fitted(data, augmentation):
    clf = SiameseOneShotClassifier(augmentation=augmentation, max_iter=1, random_state=0)
    return clf.fit(*data)


def test_augmentation_exports_what_the_names_stand_for():
    assert set(augmentation.__all__) == {
        "AUGMENTATIONS",
        "JPEG",
        "Affine",
        "Augmentation",
        "Blur",
        "Contour",
        "Elastic",
        "Fill",
        "LooseCrop",
        "Noise",
        "RuledLines",
        "SeriesAugmentation",
        "Shade",
        "Shadow",
        "Thickness",
    }
    assert set(AUGMENTATIONS) == {"affine", "warp", "strokes", "real_files", "series"}


@pytest.mark.parametrize("name", ["affine", "warp", "strokes", "real_files"])
def test_augmentations_are_the_callables_of_their_names(data, name):
    named, given = fitted(data, name), fitted(data, AUGMENTATIONS[name])
    np.testing.assert_array_equal(named.transform(data[0]), given.transform(data[0]))
    plain = fitted(data, None)
    assert not np.array_equal(named.transform(data[0]), plain.transform(data[0]))


@pytest.mark.parametrize(
    "parts",
    [
        {"affine": Affine()},
        {"elastic": Elastic()},
        {"thickness": Thickness()},
        {"then": (Blur(), Thickness())},
    ],
    ids=lambda parts: next(iter(parts)),
)
def test_augmentation_composes_its_parts(data, parts):
    own = Augmentation(**parts)
    images = 1 - torch.from_numpy(data[0][:8, None]).float() / 255
    generator = torch.Generator().manual_seed(0)
    changed = own(images, generator)
    assert changed.shape == images.shape
    assert not torch.allclose(changed, images)
    again = own(images, torch.Generator().manual_seed(0))
    assert torch.equal(again, changed)
    clf = fitted(data, own)
    assert not np.array_equal(clf.transform(data[0]), fitted(data, None).transform(data[0]))


@pytest.mark.parametrize(("channels", "name"), [(1, "strokes"), (3, "warp")])
@pytest.mark.parametrize(("crop", "turns"), [("foreground", "rotate_reflect"), (None, None)])
def test_default_augmentation_makes_no_colours_and_turns_what_is_cropped(
    data, channels, name, crop, turns
):
    """Colour images are warped only; turned images are classes where images are cropped."""
    X = np.repeat(data[0][:, None], channels, axis=1)
    default, explicit, other = (
        SiameseOneShotClassifier(max_iter=2, crop=crop, random_state=0, **params).fit(X, data[1])
        for params in (
            {},
            {"augmentation": name, "class_augmentation": turns},
            {"augmentation": name, "class_augmentation": "rotate"},
        )
    )
    np.testing.assert_array_equal(default.transform(X), explicit.transform(X))
    assert not np.array_equal(default.transform(X), other.transform(X))
