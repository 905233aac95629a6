"""How estimators read X: what `fit` learns of its form, and what later calls accept."""

import warnings

import numpy as np
import pandas as pd
import pytest
from helpers import CLOSE, classifier, make_table, unchanged
from sklearn import config_context
from sklearn.model_selection import GridSearchCV, GroupKFold

PIXELS = np.random.default_rng(0).integers(256, size=(12, 8, 6)).astype(np.uint8)
LABELS = np.repeat([0, 1, 2], 4)


@pytest.fixture(scope="module")
def of_images():
    """Fitted on images of 8x6 pixels."""
    return classifier("mlp").fit(PIXELS, LABELS)


@pytest.fixture(scope="module")
def of_rows():
    """Fitted on flat rows that hold images of 8x6 pixels."""
    return classifier("mlp", image_shape=(8, 6)).fit(PIXELS.reshape(12, -1), LABELS)


def test_fit_records_the_shape_of_a_sample(of_images, of_rows):
    for clf in (of_images, of_rows):
        assert clf.input_shape_ == (1, 8, 6)
        assert clf.n_features_in_ == 48
        assert not hasattr(clf, "feature_names_in_")


@pytest.mark.parametrize(
    "form",
    [
        lambda X: X,
        lambda X: X[:, None],
        lambda X: X[..., None],
        lambda X: X.astype(np.float64),
        lambda X: X.tolist(),
    ],
    ids=["as fitted", "channel first", "channel last", "float64", "list"],
)
def test_predict_accepts_other_forms_of_the_same_images(of_images, of_rows, form):
    for clf in (of_images, of_rows):
        expected = clf.decision_function(PIXELS)
        np.testing.assert_allclose(clf.decision_function(form(PIXELS)), expected, **CLOSE)


def test_predict_accepts_flat_rows_with_image_shape(of_images, of_rows):
    rows = PIXELS.reshape(12, -1)
    expected = of_rows.decision_function(PIXELS)
    np.testing.assert_array_equal(of_rows.decision_function(rows), expected)
    clf = classifier("mlp", image_shape=(8, 6)).fit(PIXELS, LABELS)
    expected = clf.decision_function(PIXELS)
    np.testing.assert_array_equal(clf.decision_function(rows), expected)


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (lambda X: X[:, :-1], "X has images of 7x6 pixels and 1 channel, but .* fitted on .* 8x6"),
        (lambda X: np.stack([X] * 3, 1), "X has images of 8x6 pixels and 3 channels, but"),
        (lambda X: X.reshape(12, -1), "X has flat rows of 48 features, but .* images of 8x6"),
        (lambda X: X.transpose(0, 2, 1), "X has images of 6x8 pixels and 1 channel, but"),
    ],
    ids=["another size", "another number of channels", "flat rows", "transposed"],
)
def test_predict_refuses_another_shape(of_images, form, message):
    with unchanged(of_images), pytest.raises(ValueError, match=message) as error:
        of_images.predict(form(PIXELS))
    assert "X[None]" not in str(error.value)


@pytest.mark.parametrize(
    ("X", "image"),
    [
        (PIXELS, PIXELS[0]),
        (PIXELS, PIXELS[0][..., None]),
        (np.stack([PIXELS] * 3, 1), np.stack([PIXELS[0]] * 3)),
        (np.stack([PIXELS] * 3, 1), np.stack([PIXELS[0]] * 3, -1)),
    ],
    ids=["gray", "gray, channel last", "colour, channels first", "colour, channels last"],
)
def test_predict_says_how_to_pass_a_single_image(X, image):
    """The first axis of X counts samples."""
    clf = classifier("mlp").fit(X, LABELS)
    with pytest.raises(ValueError, match=r"Pass a single image as X\[None\], a batch of one"):
        clf.predict(image)
    assert clf.predict(image[None]).shape == (1,)


def test_predict_refuses_flat_rows_of_another_length(of_rows):
    rows = PIXELS.reshape(12, -1)
    with pytest.raises(ValueError, match="X has 47 features, but .* is expecting 48 features"):
        of_rows.predict(rows[:, 1:])
    with pytest.raises(ValueError, match="X has images of 7x6 .* fitted on images of 8x6 pixels"):
        of_rows.predict(PIXELS[:, 1:])


def test_predict_refuses_a_table_of_another_width():
    X, y = make_table(n_classes=3, n_features=5)
    clf = classifier("mlp").fit(X, y)
    message = "X has 4 features, but SiameseOneShotClassifier is expecting 5 features"
    with unchanged(clf), pytest.raises(ValueError, match=message):
        clf.predict(X[:, 1:])


def test_fit_refuses_images_that_contradict_image_shape():
    clf = classifier("mlp", image_shape=(6, 8))
    with pytest.raises(ValueError, match=r"X has images of 8x6 .*image_shape=\(6, 8\) is images"):
        clf.fit(PIXELS, LABELS)


def test_fit_again_takes_another_shape(of_images):
    clf = classifier("mlp").fit(PIXELS, LABELS)
    assert clf.fit(PIXELS[:, :5], LABELS).input_shape_ == (1, 5, 6)
    X, y = make_table(n_classes=3, n_features=5)
    assert clf.fit(X, y).input_shape_ == (5,)


# Data frames


@pytest.fixture(scope="module")
def frame():
    """(X, y): a table whose columns have names."""
    X, y = make_table(n_classes=3, n_features=4)
    return pd.DataFrame(X, columns=["a", "b", "c", "d"]), y


def test_feature_names_in_are_the_columns(frame):
    X, y = frame
    clf = classifier("mlp").fit(X, y)
    assert clf.feature_names_in_.tolist() == ["a", "b", "c", "d"]
    assert not hasattr(clf.fit(X.to_numpy(), y), "feature_names_in_")


def test_predict_checks_the_names_of_columns(frame):
    X, y = frame
    clf = classifier("mlp").fit(X, y)
    expected = clf.decision_function(X)
    with unchanged(clf):
        with pytest.raises(ValueError, match="feature names should match"):
            clf.predict(X[["b", "a", "c", "d"]])
        with pytest.warns(UserWarning, match="X does not have valid feature names"):
            np.testing.assert_array_equal(clf.decision_function(X.to_numpy()), expected)


def test_set_output_names_the_columns_of_transform(frame):
    X, y = frame
    clf = classifier("mlp").fit(X, y).set_output(transform="pandas")
    embeddings = clf.transform(X)
    assert list(embeddings.columns) == clf.get_feature_names_out().tolist()
    np.testing.assert_array_equal(
        embeddings.to_numpy(), clf.set_output(transform="default").transform(X)
    )


# Resizing and cropping


@pytest.mark.parametrize("crop", [None, "foreground"])
def test_predict_requires_the_fitted_size_although_images_are_resized(glyphs, crop):
    X, y = glyphs
    clf = classifier(resize=8, crop=crop).fit(X, y)
    with pytest.raises(ValueError, match="X has images of 12x16 pixels .* fitted on .* 16x16"):
        clf.predict(X[:, :12])


# Groups that a tool of scikit-learn should have passed on


def test_fit_warns_where_requested_groups_did_not_arrive(glyphs):
    X, y = glyphs
    groups = y // 8
    with config_context(enable_metadata_routing=True):
        clf = classifier("mlp").set_fit_request(groups=True)
    search = GridSearchCV(clf, {"max_iter": [1]}, cv=GroupKFold(2), scoring=lambda *_: 0.0)
    with pytest.warns(UserWarning, match=r"set_fit_request\(groups=True\) asks for groups, but"):
        search.fit(X, y, groups=groups)
    with config_context(enable_metadata_routing=True), warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        search.fit(X, y, groups=groups)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        clf.fit(X, y, groups)
        classifier("mlp").fit(X, y)
