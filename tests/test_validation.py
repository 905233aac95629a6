"""X, y, pairs and groups of every form become stores and integer targets, or a clear error."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sksiamese._validation import (
    ImageStore,
    SubStore,
    channels_last,
    check_groups,
    check_images,
    check_labels,
    check_length,
    check_pairs,
    check_trainable,
    describe_shape,
    is_pairs,
)

PIXELS = np.arange(4 * 3 * 5 * 6).reshape(4, 3, 5, 6)  # (n, c, h, w), all numbers distinct


# Images by index


@pytest.mark.parametrize(
    ("X", "options", "expected"),
    [
        (PIXELS, {}, PIXELS),
        (np.moveaxis(PIXELS, 1, -1), {}, PIXELS),
        (PIXELS[:, 0], {}, PIXELS[:, :1]),
        (PIXELS[:, :1], {}, PIXELS[:, :1]),
        (np.moveaxis(PIXELS[:, :1], 1, -1), {}, PIXELS[:, :1]),
        (PIXELS.reshape(4, -1), {"image_shape": (3, 5, 6)}, PIXELS),
        (np.moveaxis(PIXELS, 1, -1).reshape(4, -1), {"image_shape": (5, 6, 3)}, PIXELS),
        (PIXELS[:, 0].reshape(4, -1), {"image_shape": (5, 6)}, PIXELS[:, :1]),
        (PIXELS.reshape(4, -1), {}, PIXELS.reshape(4, -1)),
        (PIXELS, {"channels": "first"}, PIXELS),
        (PIXELS, {"channels": "last"}, np.moveaxis(PIXELS, -1, 1)),
    ],
)
def test_every_form_becomes_channels_height_width(X, options, expected):
    store = ImageStore(X, **options)
    taken = store.take(np.array([2, 0, 2]))
    assert store.input_shape == taken.shape[1:] == expected.shape[1:]
    np.testing.assert_array_equal(taken.numpy(), expected[[2, 0, 2]])
    assert len(store) == 4


@pytest.mark.parametrize(
    ("dtype", "taken"),
    [
        (np.uint8, torch.float32),
        (bool, torch.float32),
        (np.int16, torch.float32),
        (np.float16, torch.float32),
        (np.int32, torch.float64),
        (np.int64, torch.float64),
        (np.float32, torch.float32),
        (np.float64, torch.float64),
    ],
)
def test_only_a_batch_is_converted(dtype, taken):
    X = (PIXELS[:, 0] % 2).astype(dtype)
    store = ImageStore(X)
    assert store.take(np.array([1])).dtype == taken
    assert store.X is X
    assert store.X.dtype == dtype


def test_a_memory_map_stays_on_disk_and_only_the_rows_taken_are_copied(tmp_path):
    np.save(tmp_path / "X.npy", PIXELS[:, 0].astype(np.uint8))
    X = np.load(tmp_path / "X.npy", mmap_mode="r")
    checked = check_images(X)
    store = ImageStore(checked)
    assert np.shares_memory(store.X, X)
    assert store.X.dtype == np.uint8
    taken = store.take(np.array([1, 3]))
    assert taken.shape == (2, 1, 5, 6)
    taken += 1  # writable, and its own
    np.testing.assert_array_equal(X, PIXELS[:, 0].astype(np.uint8))


def test_what_is_taken_does_not_share_memory_with_x():
    X = np.zeros((2, 4, 4), np.float32)
    ImageStore(X).take(slice(None)).fill_(7)
    assert not X.any()


def test_a_sub_store_is_its_rows():
    store = ImageStore(PIXELS)
    sub = SubStore(store, np.array([3, 1]))
    assert len(sub) == 2
    torch.testing.assert_close(sub.take(np.array([1, 0])), store.take(np.array([1, 3])))


@given(st.sampled_from([1, 3, 4]), st.integers(5, 40), st.integers(5, 40))
def test_channels_are_found_where_one_axis_can_hold_them(c, h, w):
    assert channels_last((h, w, c), "auto")
    assert not channels_last((c, h, w), "auto")


@pytest.mark.parametrize("shape", [(3, 16, 3), (1, 1, 1), (2, 16, 16), (16, 16, 2)])
def test_ambiguous_channels_ask_for_the_parameter(shape):
    with pytest.raises(ValueError, match=r"X has images of shape \(.*ambiguous.*channels='first'"):
        channels_last(shape, "auto")
    assert channels_last(shape, "last")
    assert not channels_last(shape, "first")


def test_shapes_in_words():
    assert describe_shape((7,)) == "flat rows of 7 features"
    assert describe_shape((1, 5, 6)) == "images of 5x6 pixels and 1 channel"
    assert describe_shape((3, 5, 6)) == "images of 5x6 pixels and 3 channels"


@pytest.mark.parametrize("shape", [(2, 1, 3, 4, 5), (2, 0, 4)])
def test_images_of_no_pixels_or_of_five_axes_are_refused(shape):
    with pytest.raises(ValueError, match="X has"):
        check_images(np.zeros(shape))


# Pairs


@pytest.mark.parametrize(
    ("y", "answer"),
    [
        ([0, 1, 2], False),
        ([[0], [1]], False),
        ([[0, 1, 1]], True),
        ([[0, 1, 1], [4, 2, 0]], True),
        (np.zeros((5, 4), int), False),
    ],
)
def test_pairs_are_three_columns(y, answer):
    assert is_pairs(y, n_samples=5) is answer


def test_a_multilabel_indicator_is_not_taken_for_pairs():
    with pytest.raises(ValueError, match=r"y has shape \(4, 3\).*multilabel.*n_samples"):
        is_pairs([[0, 0, 1], [1, 0, 1], [0, 1, 1], [1, 1, 0]], n_samples=4)


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int64])
def test_pairs_become_int64(dtype):
    pairs = check_pairs(np.array([[0, 1, 1], [1, 2, 0]], dtype), 3)
    assert pairs.dtype == np.int64
    assert pairs.tolist() == [[0, 1, 1], [1, 2, 0]]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[0, 3, 1], [0, 1, 0]], r"row 0 .*\(0, 3, 1\).*index outside 0\.\.2"),
        ([[0, 1, 0], [-1, 1, 1]], r"row 1 .*\(-1, 1, 1\).*index outside 0\.\.2"),
        ([[0, 1, 0], [2, 2, 1]], r"row 1 .*\(2, 2, 1\).*i = j"),
        ([[0, 1, 2], [0, 2, 1]], r"row 0 .*\(0, 1, 2\).*same outside \{0, 1\}"),
        ([[0, 1, 1], [0, 2, 1]], "only pairs with same = 1"),
        (np.empty((0, 3), int), "no pairs"),
        ([[0.0, 1.0, 1.0]], "dtype float64.*integer rows"),
        ([["0", "1", "1"]], "dtype <U1.*integer rows"),
    ],
)
def test_bad_pairs_are_shown(rows, message):
    with pytest.raises(ValueError, match=message):
        check_pairs(rows, 3)


# Labels and groups


@pytest.mark.parametrize(
    "y",
    [
        np.array(["b", "a", "b"]),
        np.array(["b", "a", "b"], dtype=object),
        np.array([-1, 5, -1]),
        np.array([True, False, True]),
        np.array([1.0, 2.0, 1.0]),
    ],
)
def test_labels_keep_their_values(y):
    np.testing.assert_array_equal(check_labels(y, 3), y)
    np.testing.assert_array_equal(check_labels(y.tolist(), 3), y)


def test_numbers_in_an_object_array_are_numbers():
    y = np.array([2, 0, 2], dtype=object)
    assert check_labels(y, 3).tolist() == [2, 0, 2]
    assert check_labels(y, 3).dtype.kind == "i"
    assert check_labels(np.array([2.0, 0.0, 2.0], dtype=object), 3).tolist() == [2, 0, 2]


def test_pandas_integers_stay_integers():
    y = pd.Series([2**53, 2**53 + 1, 2**53], dtype="Int64")
    assert check_labels(y, 3).tolist() == y.tolist()
    assert check_labels(pd.Series([True, False, True], dtype="boolean"), 3).dtype.kind == "b"


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (np.array(["a", None, "b"], dtype=object), "groups holds None; expected labels"),
        ([("a", 1), ("b", 1), ("a", 2)], r"groups has shape \(3, 2\); expected \(n_samples,\)"),
        ("a", r"groups has shape \(\)"),
        ([0, 1], "groups has 2 values for 3 samples"),
    ],
)
def test_bad_groups_are_called_groups(groups, message):
    with pytest.raises(ValueError, match=message):
        check_groups(groups, np.array([0, 1, 1]))


def test_a_data_frame_of_pairs_holds_objects():
    frame = np.array([[0, 1, True], [1, 2, False]], dtype=object)
    assert check_pairs(frame, 3).tolist() == [[0, 1, 1], [1, 2, 0]]


def test_one_exemplar_a_class_is_no_regression_target():
    """scikit-learn warns of it where more than 20 values are nearly all different."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_labels(np.arange(50), 50)
        check_labels([f"part {i}" for i in range(50)], 50)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "target y is None"),
        ([0, 1], "y has 2 values for 3 samples"),
        ([0.0, 1.0, np.nan], "y contains NaN"),
        ([0.5, 1.5, 2.25], "continuous value 0.5"),
        (np.array(["a", None, "b"], dtype=object), "Unknown label type: y holds None"),
        (np.array(["a", 7, "b"], dtype=object), "y holds 7; expected labels, all strings"),
        ([[0, 1], [1, 0], [1, 1]], r"shape \(3, 2\)"),
        (["a", float("nan"), "b"], "Unknown label type: y holds nan"),
        (["a", 7, "b"], "y holds 7; expected labels, all strings"),
        ([2**63, 2**63 + 1, -1], "y holds integers that no 64-bit dtype has together"),
        (np.array([2**63, 2**63 + 1, -1], dtype=object), "no 64-bit dtype has together"),
        ([2**70, 1, 2], f"y holds {2**70}; expected labels"),
        ([1, None, 2], "y holds None"),
        (np.array(["2020-01-01", "NaT", "2020-01-02"], dtype="M8[D]"), "y holds NaT"),
        (pd.Series([1, None, 2], dtype="Int64"), "y contains NaN|y holds <NA>"),
    ],
)
def test_bad_labels(y, message):
    with pytest.raises(ValueError, match=message):
        check_labels(y, 3)


def test_without_groups_all_classes_are_of_one():
    classes, groups = check_groups(None, np.array(["b", "a", "b"]))
    assert classes.tolist() == [1, 0, 1]
    assert groups.tolist() == [0, 0, 0]


def test_a_label_in_two_groups_is_two_classes():
    y = np.array(["a", "a", "b", "a"])
    classes, groups = check_groups(["g", "h", "g", "g"], y)
    assert groups.tolist() == [0, 1, 0, 0]
    assert classes[0] == classes[3]
    assert len({classes[0], classes[1], classes[2]}) == 3


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-2, 2)), min_size=1, max_size=20))
def test_classes_are_exactly_the_pairs_of_group_and_label(rows):
    groups, y = np.array(rows).T
    classes, codes = check_groups(groups, y)
    assert set(classes) == set(range(len(set(rows))))
    for a in range(len(rows)):
        for b in range(len(rows)):
            assert (classes[a] == classes[b]) == (rows[a] == rows[b])
            assert (codes[a] == codes[b]) == (groups[a] == groups[b])


def test_lengths_must_agree():
    check_length([1, 2], 2, "groups")
    with pytest.raises(ValueError, match="groups has 2 values for 3 samples in X"):
        check_length([1, 2], 3, "groups")


def trainable(classes, groups=None):
    classes = np.asarray(classes)
    groups = np.zeros_like(classes) if groups is None else np.asarray(groups)
    check_trainable(classes, classes, groups)


def test_one_repeated_class_and_another_can_be_trained_on():
    assert trainable([0, 0, 1]) is None
    assert trainable([0, 0, 1, 2, 3], [0, 0, 0, 1, 1]) is None


def test_classes_may_have_gaps_where_some_were_held_out():
    assert trainable([1, 1, 4, 4, 7]) is None
    assert trainable([1, 1, 4, 7, 7], [2, 2, 2, 5, 5]) is None


@pytest.mark.parametrize(
    ("classes", "groups", "message"),
    [
        ([3, 3, 3], None, "y has only one class, 3; .*at least two"),
        (np.empty(0, int), None, "y has no class"),
        ([0, 1, 2], None, "y has 3 classes and no class with two examples"),
        ([0, 0, 1, 1], [0, 0, 1, 1], "groups leaves no group with two classes"),
        ([0, 0, 1, 2], [0, 0, 1, 1], "groups leaves no group with two classes"),
    ],
)
def test_what_no_pairs_can_be_made_of(classes, groups, message):
    with pytest.raises(ValueError, match=message):
        trainable(classes, groups)
