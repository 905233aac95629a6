"""X, y, pairs and groups of every accepted form -> image store and integer targets."""

import math
from numbers import Integral, Number

import numpy as np
import torch
from sklearn.utils import check_array
from sklearn.utils.validation import column_or_1d

_CHANNELS = (1, 3, 4)


def channels_last(shape, channels, name="X"):
    """Whether images of `shape`, three axes, have their channels last; error where unclear."""
    if channels != "auto":
        return channels == "last"
    first, last = shape[0] in _CHANNELS, shape[2] in _CHANNELS
    if first == last:
        raise ValueError(
            f"{name} has images of shape {tuple(shape)}, in which the channel axis is ambiguous: "
            "set channels='first' for (channels, height, width) or channels='last' for "
            "(height, width, channels)."
        )
    return last


class ImageStore:
    """Rows of X by index, as the network takes them: (B, C, H, W) or (B, D) tensors.

    X keeps its dtype and place (a memmap stays on disk); only a batch is copied and converted.

    Parameters
    ----------
    X : ndarray
        (n, d), (n, h, w), (n, c, h, w) or (n, h, w, c).
    image_shape : tuple or None
        Shape of the image that a flat row holds.
    channels : {"auto", "first", "last"}
    """

    def __init__(self, X, image_shape=None, channels="auto"):
        self.X = X
        shape = X.shape[1:]
        if X.ndim == 2 and image_shape is not None:
            shape = tuple(image_shape)
            if math.prod(shape) != X.shape[1]:
                raise ValueError(
                    f"X has rows of {X.shape[1]} features, but image_shape={shape} needs "
                    f"{math.prod(shape)}: give the image_shape of these rows."
                )
        self.row_shape = shape
        self.is_last = len(shape) == 3 and channels_last(shape, channels)
        if self.is_last:
            shape = (shape[2], *shape[:2])
        self.input_shape = (1, *shape) if len(shape) == 2 else tuple(shape)

    def __len__(self):
        return len(self.X)

    def take(self, indices):
        """Images (B, C, H, W) or rows (B, D) at `indices`, float32, or float64 where X has more
        digits than that holds."""
        rows = np.asarray(self.X[indices])
        dtype = np.float64 if rows.dtype.itemsize > 2 and rows.dtype != np.float32 else np.float32
        rows = np.array(rows, dtype=dtype).reshape(-1, *self.row_shape)
        if self.is_last:
            rows = np.moveaxis(rows, -1, 1)
        return torch.from_numpy(np.ascontiguousarray(rows)).reshape(-1, *self.input_shape)


class SubStore:
    """The rows `indices` of another store, as a store."""

    def __init__(self, store, indices):
        self.store = store
        self.indices = indices

    def __len__(self):
        return len(self.indices)

    def take(self, indices):
        return self.store.take(self.indices[indices])


def describe_shape(input_shape):
    """(C, H, W) or (D,) in the words of an error message."""
    if len(input_shape) == 1:
        return f"flat rows of {input_shape[0]} features"
    c, h, w = input_shape
    return f"images of {h}x{w} pixels and {c} channel{'s' if c > 1 else ''}"


def check_images(X):
    """Image arrays (n, h, w) or with channels: finite, numeric, not copied; (n, ...) ndarray."""
    if not (type(X) is np.ndarray and X.ndim > 2 and X.dtype.kind in "bui"):  # never NaN
        X = check_array(X, allow_nd=True, ensure_2d=True, dtype="numeric", input_name="X")
    if X.ndim > 4:
        raise ValueError(
            f"X has {X.ndim} dimensions, shape {X.shape}; expected (n, features), "
            "(n, height, width), (n, channels, height, width) or (n, height, width, channels)."
        )
    if 0 in X.shape:
        raise ValueError(f"X has images of no pixels: shape {X.shape}.")
    return X


def as_array(values, name):
    """An array of numbers or labels; error where the items differ in shape."""
    try:
        return np.asarray(values)
    except ValueError as error:
        images = name in ("X", "preprocessor")
        what = "images of one size: resize them" if images else "one label a sample"
        raise ValueError(
            f"{name} holds items of different shapes ({error}); expected {what}."
        ) from error


def is_pairs(y, n_samples):
    """Whether y is (n_pairs, 3) rows (i, j, same) rather than labels."""
    y = as_array(y, "y")
    if y.ndim != 2 or y.shape[1] != 3:
        return False
    if len(y) == n_samples and np.isin(y, (0, 1)).all():
        raise ValueError(
            f"y has shape {y.shape} and holds only 0 and 1, which looks like a multilabel "
            "indicator; expected (n_samples,) class labels, or (n_pairs, 3) rows (i, j, same) of "
            "two different images. Multilabel targets are not supported: give one label a sample."
        )
    return True


def check_pairs(pairs, n_samples, groups=None):
    """Validated (n_pairs, 3) int64 rows (i, j, same)."""
    if groups is not None:
        raise ValueError(
            "groups was given together with pairs in y; pairs already say what is compared, so "
            "pass groups=None."
        )
    pairs = np.asarray(pairs)
    if pairs.dtype == object:  # as a DataFrame of int and bool columns is
        pairs = np.array(pairs.tolist())
    if pairs.dtype.kind not in "iub":
        raise ValueError(
            f"y has shape {pairs.shape} and dtype {pairs.dtype}; pairs are integer rows "
            "(i, j, same), class labels have shape (n_samples,)."
        )
    pairs = pairs.astype(np.int64)
    if not len(pairs):
        raise ValueError("y has no pairs: expected at least one row (i, j, same).")
    for wrong, what in (
        ((pairs[:, :2] < 0) | (pairs[:, :2] >= n_samples), f"an index outside 0..{n_samples - 1}"),
        (pairs[:, 0] == pairs[:, 1], "i = j: a pair needs two different images"),
        (~np.isin(pairs[:, 2], (0, 1)), "same outside {0, 1}"),
    ):
        rows = np.flatnonzero(wrong.reshape(len(pairs), -1).any(1))
        if len(rows):
            raise ValueError(
                f"y, row {rows[0]} of the pairs is {tuple(pairs[rows[0]].tolist())}, which has "
                f"{what}; expected integer rows (i, j, same). {len(rows)} of {len(pairs)} rows "
                "are wrong: drop or correct them."
            )
    if len(np.unique(pairs[:, 2])) < 2:
        raise ValueError(
            f"y has only pairs with same = {pairs[0, 2]}: one class of pairs; training needs "
            "pairs of the same class (1) and of different classes (0)."
        )
    return pairs


def check_labels(y, n_samples, name="y"):
    """Labels of classes, or of groups, as a (n_samples,) array of any dtype."""
    if y is None:
        raise ValueError(
            f"This estimator requires {name} to be passed, but the target {name} is None."
        )
    shape = as_array(y, name).shape
    if len(shape) != 1 and not (len(shape) == 2 and shape[1] == 1):
        pairs = ", or in fit (n_pairs, 3) integer rows (i, j, same)" if name == "y" else ""
        raise ValueError(f"{name} has shape {shape}; expected (n_samples,) labels{pairs}.")
    if hasattr(y, "to_numpy"):  # of pandas' own integers column_or_1d would make floats
        y = y.to_numpy()
    # Of a list too, in which NumPy makes text of NaN beside text, and floats of large integers.
    items = np.array(y, dtype=object).ravel() if not hasattr(y, "dtype") else ()
    y = column_or_1d(y, warn=True)
    # scikit-learn's check_classification_targets would take one exemplar a class for regression.
    strange = []
    if y.dtype == object and not all(isinstance(value, str) for value in y):
        items = y
        found = np.array(y.tolist())  # as a DataFrame of mixed columns holds them
        y = found if found.dtype.kind in "iubf" else y
    if y.dtype.kind in "OUT":
        others = odd = [value for value in items if not isinstance(value, str)]
        if len(others) == len(items):  # among numbers it is no number that is odd
            odd = [value for value in others if not isinstance(value, Number)]
        strange = [repr(value) for value in odd or others]  # others: integers beyond 64 bits
    elif y.dtype.kind in "mM" and np.isnat(y).any():
        strange = ["NaT"]
    elif y.dtype.kind == "f" and len(items) and all(isinstance(v, Integral) for v in items):
        raise ValueError(f"{name} holds integers that no 64-bit dtype has together: use strings.")
    elif y.dtype.kind == "f":
        if not np.isfinite(y).all():
            raise ValueError(f"Input {name} contains NaN or infinity: every sample needs a label.")
        strange = [f"the continuous value {value}" for value in y[y % 1 != 0]]
    if strange:
        raise ValueError(
            f"Unknown label type: {name} holds {strange[0]}; expected labels, all strings or all "
            "whole numbers."
        )
    check_length(y, n_samples, name)
    return y


def check_length(values, n_samples, name):
    """One value a sample."""
    if len(values) != n_samples:
        raise ValueError(
            f"{name} has {len(values)} values for {n_samples} samples in X: inconsistent numbers "
            f"of samples; {name} needs one value a sample."
        )


def check_groups(groups, y):
    """Classes and groups as integers; a label that occurs in two groups is two classes."""
    if groups is None:
        return np.unique(y, return_inverse=True)[1], np.zeros(len(y), dtype=np.int64)
    codes = np.unique(check_labels(groups, len(y), "groups"), return_inverse=True)[1]
    labels = np.unique(y, return_inverse=True)[1]
    classes = np.unique(codes * (labels.max() + 1) + labels, return_inverse=True)[1]
    return classes, codes


def check_trainable(y, classes, groups):
    """A twin learns from same and different pairs: two classes, one of them with two examples."""
    n_classes = len(np.unique(y))
    if n_classes < 2:
        what = f"only one class, {y.tolist()[0]!r}" if len(y) else "no class"
        raise ValueError(
            f"y has {what}; a twin learns from same and different pairs, which need at least two "
            "classes."
        )
    classes = np.unique(classes, return_inverse=True)[1]  # some may have been held out
    count = np.bincount(classes)
    if count.max() < 2:
        raise ValueError(
            f"y has {n_classes} classes and no class with two examples (inside one group, where "
            "groups are given); a twin learns from pairs of the same class: give at least two "
            "examples of some class."
        )
    group_of_class = groups[np.unique(classes, return_index=True)[1]]
    per_group = np.bincount(group_of_class)
    pairable = np.zeros_like(per_group)
    np.maximum.at(pairable, group_of_class, count)
    if not ((per_group > 1) & (pairable > 1)).any():
        raise ValueError(
            "groups leaves no group with two classes, one of them with two examples: negatives "
            "are drawn inside a group, so pass coarser groups, or groups=None."
        )
