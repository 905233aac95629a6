"""X, y, pairs and groups of every accepted form, by what is learned from them."""

import tracemalloc
import warnings

import numpy as np
import pandas as pd
import pytest
from helpers import CLOSE, classifier, make_table, unchanged
from hypothesis import given, settings
from hypothesis import strategies as st
from skorch.callbacks import Callback
from torch import nn

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


@pytest.mark.parametrize("shape", [(3, 16, 3), (1, 5, 1), (2, 16, 16), (16, 16, 2)])
def test_channels_resolves_shapes_that_are_ambiguous(shape):
    X, y = np.random.default_rng(0).random((4, *shape)), [0, 0, 1, 1]
    message = r"X has images of shape \(.*\), in which the channel axis is ambiguous.*Set channels"
    with pytest.raises(ValueError, match=message):
        classifier("mlp").fit(X, y)
    fits = [classifier("mlp", channels=channels).fit(X, y) for channels in ("first", "last")]
    assert fits[0].input_shape_ == shape
    assert fits[1].input_shape_ == (shape[2], *shape[:2])


@pytest.mark.parametrize("shape", [(16, 9), (7, 16), (1, 16), (5, 5)])
def test_fit_takes_images_that_are_not_square_or_large(training, shape):
    X, y = training
    X = X[:, : shape[0], -shape[1] :]
    clf = classifier(channels="first", class_augmentation="rotate_reflect").fit(X[:, None], y)
    assert set(clf.predict(X)) <= set(range(10))
    assert clf.input_shape_ == (1, *shape)


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
        ([0.0, 1.0, np.nan], "y contains NaN"),
        ([0.5, 1.5, 2.25], "y holds the continuous value 0.5; expected labels"),
        (np.array(["a", None, "b"], dtype=object), "Unknown label type: y holds None"),
        (np.array(["a", 7, "b"], dtype=object), "y holds 7; expected labels, all strings"),
        ([[0, 1], [1, 0], [1, 1]], r"shape \(3, 2\)"),
        (["a", float("nan"), "b"], "Unknown label type: y holds nan"),
        (["a", 7, "b"], "y holds 7; expected labels, all strings"),
        ([2**63, 2**63 + 1, -1], "y holds integers that do not fit one 64-bit dtype"),
        (np.array([2**63, 2**63 + 1, -1], dtype=object), "integers that do not fit one 64-bit"),
        ([2**70, 1, 2], f"y holds {2**70}; expected labels"),
        ([1, None, 2], "y holds None"),
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
