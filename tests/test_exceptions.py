"""sksiamese.exceptions: each warning and error, raised by what a user calls."""

import copy

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from sksiamese import SiameseOneShotClassifier, SiameseVerifier, exceptions, load_pretrained
from sksiamese.datasets import load_image_folder
from sksiamese.exceptions import (
    CollapseWarning,
    DivergedError,
    InvertedImageError,
    UnreadableImageWarning,
    ValueRangeWarning,
)


def test_exceptions_lists_its_public_names():
    public = {
        name
        for name, value in vars(exceptions).items()
        if isinstance(value, type) and issubclass(value, Exception)
    }
    assert set(exceptions.__all__) == public


@pytest.mark.parametrize(
    ("exception", "base"),
    [
        (CollapseWarning, UserWarning),
        (UnreadableImageWarning, UserWarning),
        (ValueRangeWarning, UserWarning),
        (InvertedImageError, ValueError),
        (DivergedError, FloatingPointError),
    ],
)
def test_exceptions_derive_from_built_in_ones(exception, base):
    assert issubclass(exception, base)
    assert exception.__name__ in exceptions.__all__


class Constant(nn.Module):
    """An encoder that gives the same features for every image."""

    def forward(self, x):
        return torch.zeros(len(x), 4) * x.flatten(1)[:, :1]


def collapse(glyphs, folder):
    SiameseOneShotClassifier(Constant(), max_iter=1, random_state=0).fit(*glyphs)


def collapse_in_a_verifier(glyphs, folder):
    X = glyphs[0][:40].reshape(20, 2, 16, 16)
    SiameseVerifier(Constant(), max_iter=1, random_state=0).fit(X, np.arange(20) % 2)


def change_the_value_range(glyphs, folder):
    X, y = glyphs
    clf = SiameseOneShotClassifier(max_iter=1, random_state=0).fit(X, y)
    clf.predict(X / 255)


def read_an_unreadable_image(glyphs, folder):
    (folder / "a").mkdir()
    Image.fromarray(glyphs[0][0]).save(folder / "a" / "good.png")
    (folder / "a" / "bad.png").write_bytes(b"no image")
    load_image_folder(folder, on_error="skip")


@pytest.mark.parametrize(
    ("action", "category", "message"),
    [
        (collapse, CollapseWarning, "same logit to every pair.*Lower learning_rate"),
        (collapse_in_a_verifier, CollapseWarning, "same logit to every pair"),
        (change_the_value_range, ValueRangeWarning, "Give X in the units of those"),
        (read_an_unreadable_image, UnreadableImageWarning, "bad.png"),
    ],
)
def test_warnings_name_the_cause_and_the_line_of_the_caller(
    glyphs, tmp_path, action, category, message
):
    with pytest.warns(category, match=message) as caught:
        action(glyphs, tmp_path)
    (warning,) = (w for w in caught if w.category is category)
    assert warning.filename == __file__


def test_inverted_image_error_names_the_row_and_changes_nothing(glyphs):
    X, y = glyphs
    clf = load_pretrained("omniglot").set_support(X[::8], y[::8])
    before = clf.support_
    mixed = np.concatenate([X[:3], 255 - X[3:5]])
    for call in (
        clf.predict,
        clf.transform,
        lambda X: clf.set_support(X, y[:5]),
        lambda X: clf.add_support(X, y[:5]),
    ):
        with pytest.raises(
            InvertedImageError, match=r"X\[3\] appears to have inverted polarity .*Invert it"
        ):
            call(mixed)
    assert clf.support_ is before
    verifier = SiameseVerifier.from_classifier(clf)
    with pytest.raises(InvertedImageError, match="inverted polarity"):
        verifier.predict(np.stack([255 - X[:3], 255 - X[5:8]], axis=1))


@pytest.mark.parametrize("n_estimators", [1, 2])
def test_diverged_error_leaves_the_estimator_unchanged(glyphs, n_estimators):
    X, y = glyphs
    params = {"max_iter": 1, "n_estimators": n_estimators, "random_state": 0}
    clf = SiameseOneShotClassifier(**params).fit(X, y)
    before = copy.copy(clf).fitted_
    clf.set_params(
        optimizer="sgd", learning_rate=1e30, max_iter=3, net_params={"callbacks__clip": None}
    )
    with pytest.raises(DivergedError, match="the loss of epoch .* Lower learning_rate"):
        clf.fit(X, y)
    assert clf.fitted_ is before


def test_diverged_error_leaves_a_verifier_unfitted(glyphs):
    X = glyphs[0][:40].reshape(20, 2, 16, 16)
    verifier = SiameseVerifier(optimizer="sgd", learning_rate=1e30, max_iter=3, random_state=0)
    with pytest.raises(DivergedError):
        verifier.set_params(net_params={"callbacks__clip": None}).fit(X, np.arange(20) % 2)
    assert not hasattr(verifier, "fitted_")
