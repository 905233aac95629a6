"""X, y, pairs and groups of every accepted form, by what is learned from them."""

import tracemalloc
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import CLOSE, classifier, make_series, make_table, unchanged
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import KFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback
from torch import nn

from sksiamese import FrozenTwinClassifier, MotorProgramClassifier, SiameseVerifier
from sksiamese.exceptions import UnlikelyShapeWarning
from sksiamese.model_selection import make_pairs, one_shot_score

# X

FORMS = {
    "flat": (lambda X: X.reshape(len(X), -1), {"image_shape": (16, 16)}),
    "flat frame": (lambda X: pd.DataFrame(X.reshape(len(X), -1)), {"image_shape": (16, 16)}),
    "flat with channel": (lambda X: X.reshape(len(X), -1), {"image_shape": (1, 16, 16)}),
    "flat, channel last": (lambda X: X.reshape(len(X), -1), {"image_shape": (16, 16, 1)}),
    "channel first": (lambda X: X[:, None], {}),
    "channel last": (lambda X: X[..., None], {}),
    "list": (lambda X: X.tolist(), {}),
    "fortran": (np.asfortranarray, {}),
    "sliced": (lambda X: np.repeat(X, 2, axis=0)[::2], {}),
    "bool": (lambda X: X.astype(bool), {}),
    "int32": (lambda X: X.astype(np.int32), {}),
    "int64": (lambda X: X.astype(np.int64), {}),
    "float16": (lambda X: X.astype(np.float16), {}),
    "float32": (lambda X: X.astype(np.float32), {}),
    "float64": (lambda X: X.astype(np.float64), {}),
}


@pytest.fixture(scope="module")
def binary(training):
    """Images of 0 and 1, which every dtype can hold."""
    X, y = training
    return (X < 128).astype(np.uint8), y


@pytest.fixture(scope="module")
def expected(binary):
    return classifier().fit(*binary).decision_function(binary[0])


@pytest.mark.parametrize("name", FORMS)
def test_fit_learns_the_same_from_every_form_of_x(binary, expected, name):
    form, params = FORMS[name]
    X, y = form(binary[0]), binary[1]
    clf = classifier(**params).fit(X, y)
    assert clf.input_shape_ == (1, 16, 16)
    assert clf.n_features_in_ == 256
    np.testing.assert_allclose(clf.decision_function(X), expected, **CLOSE)


def test_fit_reads_a_memory_map_without_writing_to_it(binary, expected, tmp_path):
    X, y = binary
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clf = classifier().fit(mapped, y)
        np.testing.assert_allclose(clf.decision_function(mapped), expected, **CLOSE)
    np.testing.assert_array_equal(np.load(tmp_path / "X.npy"), X)


def test_memory_map_is_never_converted_as_a_whole(tmp_path):
    X = np.lib.format.open_memmap(tmp_path / "X.npy", "w+", np.uint8, (3000, 32, 32))
    X[::2, 8:24, 8:24] = 255
    X[1::2, 4:12, 4:28] = 255
    encoder = nn.Sequential(nn.AvgPool2d(8), nn.Flatten())
    clf = classifier(encoder, augmentation=None, batch_size=(1, 2, 32))
    clf.fit(X[:100], np.arange(100) % 2)  # imports what is imported late
    tracemalloc.start()
    try:
        clf.fit(X, np.arange(3000) % 2).transform(X)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * X.size / 2  # half of X in float32


def test_fit_does_not_change_x(training):
    X, y = training[0].astype(np.float32), training[1]
    before = X.copy()
    classifier().fit(X, y).predict(X)
    np.testing.assert_array_equal(X, before)


@pytest.mark.parametrize("channels", [("auto", "auto"), ("first", "last")])
def test_fit_learns_the_same_from_both_orders_of_the_channels(binary, channels):
    X, y = binary
    first = np.stack([X * 200, 255 - X * 90, X * 30], 1)
    last = np.moveaxis(first, 1, -1)
    clf = classifier(channels=channels[0]).fit(first, y)
    again = classifier(channels=channels[1]).fit(last, y)
    assert clf.input_shape_ == again.input_shape_ == (3, 16, 16)
    expected = clf.decision_function(first)
    np.testing.assert_allclose(again.decision_function(last), expected, **CLOSE)
    np.testing.assert_allclose(
        clf.set_params(channels="last").decision_function(last), expected, **CLOSE
    )


@settings(deadline=None, max_examples=10)
@given(st.sampled_from([1, 3, 4]), st.integers(5, 12), st.integers(5, 12))
def test_channels_auto_finds_the_axis_that_can_hold_them(c, h, w):
    rng = np.random.default_rng(0)
    X, y = rng.random((4, c, h, w)), [0, 0, 1, 1]
    for images in (X, np.moveaxis(X, 1, -1)):
        clf = classifier("mlp", encoder_params={"n_units": 2}, augmentation=None).fit(images, y)
        assert clf.input_shape_ == (c, h, w)


@pytest.mark.filterwarnings("ignore::sksiamese.exceptions.UnlikelyShapeWarning")
@pytest.mark.parametrize("shape", [(3, 16, 3), (1, 5, 1), (2, 16, 16), (16, 16, 2)])
def test_channels_resolves_shapes_that_are_ambiguous(shape):
    X, y = np.random.default_rng(0).random((4, *shape)), [0, 0, 1, 1]
    message = r"X has images of shape \(.*\), in which the channel axis is ambiguous.*Set channels"
    with pytest.raises(ValueError, match=message):
        classifier("mlp").fit(X, y)
    fits = [classifier("mlp", channels=channels).fit(X, y) for channels in ("first", "last")]
    assert fits[0].input_shape_ == shape
    assert fits[1].input_shape_ == (shape[2], *shape[:2])


@pytest.mark.filterwarnings("ignore::UserWarning")  # parts of drawings, of unlikely shapes
@pytest.mark.parametrize("shape", [(16, 9), (7, 16), (1, 16), (5, 5)])
def test_fit_takes_images_that_are_not_square_or_large(training, shape):
    X, y = training
    X = X[:, : shape[0], -shape[1] :]
    clf = classifier(channels="first", class_augmentation="rotate_reflect").fit(X[:, None], y)
    assert set(clf.predict(X)) <= set(range(10))
    assert clf.input_shape_ == (1, *shape)


# Series

SERIES, SERIES_Y = make_series()


@pytest.mark.parametrize(
    ("X", "params", "input_shape"),
    [
        (SERIES[:, 0], {}, (1, 40)),
        (pd.DataFrame(SERIES[:, 0]), {}, (1, 40)),
        (SERIES, {}, (2, 40)),
        (SERIES.astype(np.float32), {"channels": "first"}, (2, 40)),
        (SERIES.transpose(0, 2, 1), {"channels": "last"}, (2, 40)),
        (list(SERIES), {}, (2, 40)),
    ],
)
def test_fit_takes_series_of_every_form(X, params, input_shape):
    clf = classifier("conv1d", **params).fit(X, SERIES_Y)
    assert clf.input_shape_ == input_shape
    assert clf.n_features_in_ == np.prod(input_shape)
    assert clf.predict(X).shape == (48,)


def test_fit_learns_the_same_from_series_whose_channels_are_last():
    first = classifier("conv1d").fit(SERIES, SERIES_Y)
    last = SERIES.transpose(0, 2, 1)
    clf = classifier("conv1d", channels="last").fit(last, SERIES_Y)
    np.testing.assert_allclose(clf.decision_function(last), first.decision_function(SERIES))


def test_fit_does_not_take_series_for_images():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clf = classifier("conv1d").fit(SERIES, SERIES_Y)
        clf.predict(np.concatenate([SERIES * 100, 0 * SERIES]))


def test_predict_takes_one_channel_with_its_axis_or_without():
    clf = classifier("conv1d").fit(SERIES[:, 0], SERIES_Y)
    np.testing.assert_array_equal(clf.predict(SERIES[:, :1]), clf.predict(SERIES[:, 0]))
    clf = classifier("conv1d").fit(SERIES[:, :1], SERIES_Y)
    np.testing.assert_array_equal(clf.predict(SERIES[:, :1]), clf.predict(SERIES[:, 0]))


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (
            SERIES[:, :, :30],
            "series of 30 time points and 2 channels, but .* on series of 40",
        ),
        (SERIES[:, :1], "series of 40 time points and 1 channel, but"),
        (SERIES[:, 0], "series of 40 time points and 1 channel, but"),
        (SERIES[0], r"a single image as X\[None\]"),
        (SERIES[:, None], "encoder='conv1d' takes series"),
        (np.where(np.arange(40) == 3, np.nan, SERIES), r"NaN, in X\[0\]"),
        (
            [SERIES[0], SERIES[1, :, :20]],
            r"X\[1\] has shape \(2, 20\), but X\[0\] shape \(2,",
        ),
    ],
)
def test_predict_refuses_other_series_than_those_fitted_on(X, message):
    clf = classifier("conv1d").fit(SERIES, SERIES_Y)
    with pytest.raises(ValueError, match=message):
        clf.predict(X)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"image_shape": (5, 8)}, r"image_shape=\(5, 8\) is for images"),
        ({"crop": "foreground"}, "crop='foreground' needs images, got series of 40 time points"),
        ({"augmentation": "warp"}, "augmentation='warp' needs images, got series of 40 time"),
        ({"head": "aligned"}, "head='aligned' compares feature maps"),
        ({"normalization": "imagenet"}, "normalization='imagenet' needs images, got series"),
        ({"normalization": ([0, 0, 0], [1, 1, 1])}, "3 means, got .*one of each channel"),
        ({"encoder_params": {"width": 0}}, "width=0; expected at least 1"),
    ],
)
def test_fit_refuses_parameters_of_images_for_series(params, message):
    clf = classifier("conv1d", **params)
    with pytest.raises(ValueError, match=message), unchanged(clf):
        clf.fit(SERIES[:, 0] if "image_shape" in params else SERIES, SERIES_Y)


def test_fit_refuses_the_augmentation_of_series_for_images_and_rows(training):
    X, y = training
    for encoder, rows in (("conv", X), ("mlp", SERIES[:, 0])):
        clf = classifier(encoder, augmentation="series")
        with pytest.raises(ValueError, match="augmentation='series' needs series"):
            clf.fit(rows, y if encoder == "conv" else SERIES_Y)


@pytest.mark.parametrize("normalization", ["auto", None, ([0.5, -1], [2, 3])])
def test_fit_normalises_series_channel_by_channel(normalization):
    X = SERIES * [[[1.0], [50.0]]] + [[[3.0], [-20.0]]]
    clf = classifier("conv1d", normalization=normalization).fit(X, SERIES_Y)
    seen = clf.fitted_.comparer.scaling(torch.from_numpy(X)).numpy()
    mean, std = X.mean((0, 2)), X.std((0, 2))
    if normalization != "auto":
        mean, std = normalization or (np.zeros(2), np.ones(2))
    expected = (X - np.reshape(mean, (2, 1))) / np.reshape(std, (2, 1))
    np.testing.assert_allclose(seen, expected, rtol=1e-4, atol=1e-4)


def test_fit_learns_classes_of_series_that_one_nearest_neighbour_confuses():
    X, y = make_series(n_classes=12, length=60)
    clf = classifier("conv1d", max_iter=10).fit(X[y < 8], y[y < 8])
    trials = {"n_way": 4, "n_episodes": 50, "random_state": 0}
    of_waves = one_shot_score(clf, X[y >= 8], y[y >= 8], **trials)
    nearest = one_shot_score(KNeighborsClassifier(1), X[y >= 8], y[y >= 8], **trials)
    assert float(of_waves) > float(nearest) + 0.1


def test_pipeline_takes_series_of_one_channel():
    pipe = make_pipeline(StandardScaler(), classifier("conv1d"))
    assert pipe.fit(SERIES[:, 0], SERIES_Y).predict(SERIES[:, 0]).shape == (48,)


@pytest.mark.parametrize("head", ["signed_l1", "cosine", "whitened"])
def test_fit_compares_series_by_every_head_of_vectors(head):
    clf = classifier("conv1d", head=head).fit(SERIES, SERIES_Y)
    clf.set_support(SERIES, SERIES_Y)
    assert np.isfinite(clf.decision_function(SERIES)).all()
    if head != "signed_l1":  # whose weights start at random
        assert clf.score(SERIES, SERIES_Y) > 0.3  # of six classes, after one epoch


def test_fit_goes_on_from_a_checkpoint_of_series(tmp_path):
    params = {"max_iter": 2, "checkpoint_dir": tmp_path / "checkpoints"}
    expected = classifier("conv1d", max_iter=2).fit(SERIES, SERIES_Y)
    for _ in range(2):  # the second returns what is kept
        clf = classifier("conv1d", **params).fit(SERIES, SERIES_Y)
        np.testing.assert_array_equal(clf.transform(SERIES), expected.transform(SERIES))


@pytest.mark.parametrize("rows", [SERIES[:, 0], SERIES])
def test_verifier_takes_pairs_of_series(rows):
    pairs = make_pairs(SERIES_Y, n_pairs=40, random_state=0)
    verifier = SiameseVerifier("conv1d", max_iter=1, random_state=0)
    verifier.fit(rows[pairs[:, :2]], pairs[:, 2])
    assert verifier.predict(rows[pairs[:, :2]]).shape == (40,)


# Shapes that are unlikely for images

UNLIKELY = {
    "series of 3 channels": ((3, 100), {}, r"8 images of 3x100 pixels and 1 channel,"),
    "series of 1 channel": (
        (100, 1),
        {"channels": "first"},
        "8 images of 100x1 pixels and 1 chan",
    ),
    "long": ((8, 70), {}, "8 images of 8x70 pixels and 1 channel,"),
    "narrow": ((70, 8), {}, "8 images of 70x8 pixels and 1 channel,"),
    "channels not found": (
        (16, 16, 2),
        {"channels": "first"},
        "8 images of 16x2 pixels and 16 channels",
    ),
    "four axes": ((1, 2, 40), {"channels": "first"}, "8 images of 2x40 pixels and 1 channel,"),
}


@pytest.mark.parametrize("name", UNLIKELY)
def test_fit_says_what_x_was_taken_for_if_the_shape_is_unlikely(name):
    shape, params, taken_for = UNLIKELY[name]
    rng, y = np.random.default_rng(0), np.arange(8) // 4
    X = rng.random((8, *shape))
    message = rf"X, of shape \(8, .*is taken for {taken_for}.*conv1d.*X.reshape.*channels="
    estimators = [classifier("mlp", augmentation=None, **params)]
    for estimator in [*estimators, MotorProgramClassifier(n_walks=1, primitives=False)]:
        estimator.set_params(**params)
        with pytest.warns(UnlikelyShapeWarning, match=message) as caught:
            estimator.fit(X, y)
        (warning,) = (w for w in caught if w.category is UnlikelyShapeWarning)
        assert warning.filename == __file__
    pairs = np.stack([X, X[::-1]], axis=1)
    verifier = SiameseVerifier("mlp", augmentation=None, max_iter=1, **params)
    with pytest.warns(UnlikelyShapeWarning, match=rf"X, .*taken for 16{taken_for[1:]}"):
        verifier.fit(pairs, np.arange(8) % 2)


@pytest.mark.parametrize(
    ("shape", "params"),
    [
        ((300,), {}),
        ((3 * 100,), {"image_shape": (3, 100)}),
        ((4, 32), {}),
        ((9, 72), {}),
        ((3, 16, 16), {}),
    ],
)
def test_fit_does_not_warn_of_likely_shapes_and_flat_rows(shape, params):
    X, y = np.random.default_rng(0).random((8, *shape)), np.arange(8) // 4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classifier("mlp", augmentation=None, **params).fit(X, y).predict(X)


def test_fit_keeps_the_digits_of_large_integers():
    """Seconds since 1970 and serial numbers differ in digits that float32 does not hold."""
    X = np.random.RandomState(0).randint(0, 100, (40, 6)) + np.repeat([0, 200], 20)[:, None]
    y = np.repeat([0, 1], 20)
    near = classifier().fit(X, y).predict_proba(X)
    far = classifier().fit(X + 1_700_000_000, y).predict_proba(X + 1_700_000_000)
    np.testing.assert_allclose(far, near, **CLOSE)


# Labels


@pytest.fixture(scope="module")
def table():
    return make_table(n_classes=3, n_samples=4, n_features=4)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (np.array(["b", "a", "c"]), "U"),
        (np.array(["b", "a", "c"], dtype=object), "O"),
        (np.array([-1, 5, 0]), "i"),
        (np.array([1.0, 2.0, -3.0]), "f"),
        (np.array([2, 0, 1], dtype=object), "i"),
        (np.array([2.0, 0.0, 1.0], dtype=object), "f"),
        (np.array([2**53, 2**53 + 1, 0]), "i"),
        (pd.Series([2**53, 2**53 + 1, 0], dtype="Int64"), "i"),
        (pd.Series(["b", "a", "c"], dtype="category"), "O"),
    ],
    ids=["str", "object", "int", "float", "ints", "floats", "large", "Int64", "category"],
)
def test_fit_keeps_the_values_of_labels(table, values, kind):
    X, y = table
    labels = values.iloc[y] if isinstance(values, pd.Series) else values[y]
    for given_labels in (labels, labels.tolist()):
        clf = classifier("mlp").fit(X, given_labels)
        assert clf.classes_.tolist() == sorted(values.tolist())
        assert clf.support_.labels.tolist() == labels.tolist()
    assert classifier("mlp").fit(X, labels).classes_.dtype.kind in kind + "U"


def test_fit_keeps_boolean_labels(table):
    X, y = table
    for labels in (y == 0, (y == 0).tolist(), pd.Series(y == 0, dtype="boolean")):
        assert classifier("mlp").fit(X, labels).classes_.dtype == bool


def test_fit_takes_a_column_of_labels_with_a_warning(table):
    X, y = table
    with pytest.warns(UserWarning, match="A column-vector y was passed"):
        assert classifier("mlp").fit(X, y[:, None]).classes_.tolist() == [0, 1, 2]


# Labels that scikit-learn's scorers refuse

ODD_LABELS = {
    "integers as objects": (lambda y: y.astype(object), "i"),
    "bools as objects": (lambda y: (y > 0).astype(object), "b"),
    "whole floats as objects": (lambda y: y.astype(float).astype(object), "f"),
    "datetimes": (lambda y: np.array("2020", "M8[Y]") + y, "M"),
    "timedeltas": (lambda y: y.astype("m8[s]"), "m"),
    "frame of objects": (lambda y: pd.DataFrame({"y": y.astype(object)})["y"], "i"),
    "strings as objects": (lambda y: np.array([f"c{c}" for c in y], dtype=object), "O"),
}
if hasattr(np.dtypes, "StringDType"):
    ODD_LABELS["StringDType"] = (
        lambda y: np.array([f"c{c}" for c in y], dtype=np.dtypes.StringDType()),
        "O",
    )


@pytest.mark.parametrize("name", ODD_LABELS)
def test_score_takes_the_labels_that_fit_takes(table, name):
    make, kind = ODD_LABELS[name]
    X, y = table[0], make(table[1])
    clf = classifier("mlp", max_iter=3).fit(X, y)
    frozen, motor = FrozenTwinClassifier(clf).fit(X, y), MotorProgramClassifier().fit(X, y)
    for estimator in (clf, clf.set_support(X, y), frozen, motor):
        assert estimator.classes_.dtype.kind == kind
        assert estimator.predict(X).dtype == estimator.classes_.dtype
        right = (estimator.predict(X) == np.asarray(y)).mean()
        assert estimator.score(X, y) == pytest.approx(right)
        assert right > 0.5
    scores = cross_val_score(
        classifier("mlp"), X, y, cv=KFold(3, shuffle=True, random_state=0), error_score="raise"
    )
    assert np.isfinite(scores).all()
    weights = np.arange(12) < 6
    expected = (clf.predict(X[:6]) == np.asarray(y)[:6]).mean()
    assert clf.score(X, y, sample_weight=weights) == pytest.approx(expected)


def test_score_of_a_verifier_takes_integers_as_objects(table):
    X, same = np.stack([table[0], table[0][::-1]], axis=1), np.arange(12) % 2
    verifier = SiameseVerifier("mlp", max_iter=1, random_state=0).fit(X, same.astype(object))
    right = (verifier.predict(X) == same).mean()
    assert verifier.score(X, same.astype(object)) == pytest.approx(right)


@pytest.mark.parametrize(
    "y",
    [
        np.array([b"a", b"b", b"a"]),
        np.array([b"a", b"b", b"a"], dtype=object),
        np.array([1 + 0j, 2, 1]),
        np.zeros(3, "V4"),
    ],
    ids=["bytes", "bytes as objects", "complex", "void"],
)
def test_fit_and_set_support_refuse_labels_that_no_scorer_takes(clf, table, new, y):
    message = "Unknown label type: y holds .*; expected labels, all strings or all whole numbers"
    with unchanged(clf), pytest.raises(ValueError, match=message):
        clf.set_support(new[0][:3], y)
    for estimator in (classifier("mlp"), MotorProgramClassifier()):
        with unchanged(estimator), pytest.raises(ValueError, match=message):
            estimator.fit(table[0][:3], y)


@pytest.mark.parametrize("labels", [np.arange(50), [f"part {i}" for i in range(50)]])
def test_set_support_does_not_take_one_exemplar_a_class_for_regression(table, labels):
    """scikit-learn warns where more than 20 values are nearly all different."""
    clf = classifier("mlp").fit(*table)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clf.set_support(np.tile(table[0], (5, 1))[:50], labels)
    assert len(clf.classes_) == 50


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "target y is None"),
        ([0, 1], "y has 2 values for 3 samples"),
        ([0.0, 1.0, np.nan], r"Input y contains NaN or infinity, in y\[2\]: every"),
        ([b"a", b"b", b"a"], "Unknown label type: y holds bytes, b'a'; expected labels"),
        ({"a", "b", "c"}, r"y has shape \(\), as a set; expected an array or a list"),
        ([0.5, 1.5, 2.25], "y holds the continuous value 0.5; expected labels"),
        (np.array(["a", None, "b"], dtype=object), r"y holds None; .*Correct y\[1\]"),
        (np.array(["a", 7, "b"], dtype=object), "y holds 7; expected labels, all strings"),
        ([[0, 1], [1, 0], [1, 1]], r"shape \(3, 2\)"),
        (["a", float("nan"), "b"], "Unknown label type: y holds nan"),
        (["a", 7, "b"], "y holds 7; expected labels, all strings"),
        ([2**63, 2**63 + 1, -1], "y holds integers that do not fit one 64-bit dtype"),
        (np.array([2**63, 2**63 + 1, -1], dtype=object), "integers that do not fit one 64-bit"),
        ([2**70, 1, 2], f"y holds {2**70}; expected labels"),
        ([1, None, 2], "y holds None"),
        ([1, True, 2], "y holds True or False beside numbers"),
        (np.array([1, True, 2], dtype=object), "y holds True or False beside numbers"),
        (np.array(["2020-01-01", "NaT", "2020-01-02"], dtype="M8[D]"), "y holds NaT"),
        (pd.Series([1, None, 2], dtype="Int64"), "y contains NaN|y holds <NA>"),
    ],
)
def test_set_support_refuses_what_is_no_label(clf, new, y, message):
    with unchanged(clf), pytest.raises(ValueError, match=message):
        clf.set_support(new[0][:3], y)


# Pairs

PAIRS = [[0, 1, 1], [0, 4, 0], [4, 5, 1], [1, 5, 0]]


@pytest.mark.parametrize(
    "pairs",
    [
        PAIRS,
        np.array(PAIRS, np.int8),
        np.array(PAIRS, np.uint16),
        pd.DataFrame(PAIRS, columns=["i", "j", "same"]),
        pd.DataFrame(PAIRS).astype({2: bool}),
    ],
    ids=["list", "int8", "uint16", "frame", "frame of int and bool"],
)
def test_fit_takes_pairs_of_any_integer_dtype(table, pairs):
    clf = classifier("mlp").fit(table[0], pairs)
    expected = classifier("mlp").fit(table[0], np.array(PAIRS))
    np.testing.assert_array_equal(clf.transform(table[0]), expected.transform(table[0]))
    assert not hasattr(clf, "classes_")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[0, 12, 1], [0, 1, 0]], r"row 0 .*\(0, 12, 1\).*index outside 0\.\.11"),
        ([[0, 1, 0], [-1, 1, 1]], r"row 1 .*\(-1, 1, 1\).*index outside 0\.\.11"),
        ([[0, 1, 0], [2, 2, 1]], r"row 1 .*\(2, 2, 1\).*i = j"),
        ([[0, 1, 2], [0, 2, 1]], r"row 0 .*\(0, 1, 2\).*same outside \{0, 1\}.*1 of 2 rows"),
        ([[0, 1, 1], [0, 2, 1]], "only pairs with same = 1"),
        (np.empty((0, 3), int), "y has no pairs: expected at least one row"),
        ([[0.0, 1.0, 1.0]], r"y has shape \(1, 3\) and dtype float64; pairs are integer rows"),
        ([["0", "1", "1"]], "dtype <U1; pairs are integer rows"),
        (np.eye(3, dtype=int)[np.arange(12) % 3], r"y has shape \(12, 3\).*multilabel indicator"),
        (
            np.zeros((5, 4), int),
            r"y has shape \(5, 4\); expected \(n_samples,\) labels, or in fit",
        ),
    ],
)
def test_fit_refuses_rows_that_are_no_pairs(table, rows, message):
    clf = classifier("mlp")
    with unchanged(clf), pytest.raises(ValueError, match=message):
        clf.fit(table[0], rows)


# Groups


class Batches(Callback):
    """Notes which pairs of each batch are the same: 1, 0, or -1 where they are not compared."""

    def __init__(self):
        self.same = []

    def on_batch_begin(self, net, batch=None, **kwargs):
        self.same.append(batch[1])


def test_groups_are_compared_inside_only(new):
    X, y = new
    batches = Batches()
    clf = classifier(callbacks=[batches], batch_size=(2, 3, 2), max_iter=2)
    clf.fit(np.concatenate([X, X]), np.tile(y, 2), groups=np.repeat(["g", "h"], 48))
    assert batches.same
    for same in batches.same:
        assert same.shape == (12, 12)
        assert (same[:6, 6:] == -1).all()
        assert (same[:6, :6] == 0).any()
        assert (same[6:, 6:] == 0).any()
    assert clf.classes_.tolist() == [10, 11, 12, 13, 14, 15]


@pytest.mark.parametrize("groups", [None, np.zeros(12), ["all"] * 12, pd.Series([7] * 12)])
def test_groups_of_one_value_are_no_groups(table, groups):
    X, y = table
    clf, expected = classifier("mlp").fit(X, y, groups=groups), classifier("mlp").fit(X, y)
    np.testing.assert_array_equal(clf.transform(X), expected.transform(X))


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (np.array(["a", None, "b"] * 4, dtype=object), "groups holds None; expected labels"),
        (
            [("a", 1), ("b", 1), ("a", 2)] * 4,
            r"groups has shape \(12, 2\); expected \(n_samples,\)",
        ),
        ("a", r"groups has shape \(\)"),
        ([0, 1], "groups has 2 values for 12 samples in X.*one value per sample"),
        (np.full(12, np.nan), "groups contains NaN"),
    ],
)
def test_groups_that_are_no_labels_are_refused(table, groups, message):
    clf = classifier("mlp")
    with unchanged(clf), pytest.raises(ValueError, match=message):
        clf.fit(*table, groups=groups)


# What can be trained on


@pytest.mark.parametrize(
    ("y", "groups"),
    [
        ([0, 0, 1], None),
        ([0, 0, 1, 2, 3], [0, 0, 0, 1, 1]),
        (["a", "a", "z"], None),
    ],
)
def test_fit_needs_one_class_with_two_samples_and_another_class(table, y, groups):
    clf = classifier("mlp").fit(table[0][: len(y)], y, groups=groups)
    assert clf.support_.labels.tolist() == y


@pytest.mark.parametrize(
    ("y", "groups", "message"),
    [
        ([3, 3, 3], None, "y has only one class, 3; .*at least two classes"),
        ([0, 1, 2], None, "y has 3 classes and no class with two examples"),
        ([0, 0, 1, 1], [0, 0, 1, 1], "groups leaves no group with two classes.*groups=None"),
        ([0, 0, 1, 2], [0, 0, 1, 1], "groups leaves no group with two classes"),
        ([0, 0, 1, 1], [0, 1, 0, 1], "y has 2 classes and no class with two examples .inside one"),
    ],
)
def test_fit_refuses_classes_that_no_pairs_can_be_made_of(table, y, groups, message):
    clf = classifier("mlp")
    with unchanged(clf), pytest.raises(ValueError, match=message):
        clf.fit(table[0][: len(y)], y, groups=groups)
