"""X, y, pairs and groups of every accepted form -> image store and integer targets."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral, Number
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_array
from sklearn.utils.validation import column_or_1d

from ._containers import as_array
from ._files import check_mapping
from .exceptions import DuplicateExemplarWarning, UnlikelyShapeWarning, listed, warn
from .model_selection._labels import number_classes
from .twin.encoding import FeatureStore
from .twin.scaling import describe_shape

_CHANNELS = (1, 3, 4)
OF_PAIRS = "X of pairs"  # name of a store that has the samples of pairs, one after another
LEAST_SIDE, GREATEST_RATIO = 4, 8  # of likely images


def channels_last(shape: tuple[int, ...], channels: str, name: str = "X") -> bool:
    """Return whether images of `shape`, three axes, have their channels last.

    Raises
    ------
    ValueError
        If ``channels="auto"`` and the shape does not tell.
    """
    if channels != "auto":
        return channels == "last"
    first, last = shape[0] in _CHANNELS, shape[2] in _CHANNELS
    if first == last:
        raise ValueError(
            f"{name} has images of shape {tuple(shape)}, in which the channel axis is ambiguous. "
            "Set channels='first' for (channels, height, width) or channels='last' for "
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
    name : str, default="X"
        Of the argument, for messages. `OF_PAIRS` where the samples are those of pairs.

    Attributes
    ----------
    input_shape : tuple of ints
        (C, H, W) or (D,).
    dtype : dtype
        Of X.
    flat : bool
        Whether X has two axes.
    """

    def __init__(
        self,
        X: np.ndarray,
        image_shape: tuple[int, ...] | None = None,
        channels: str = "auto",
        name: str = "X",
    ) -> None:
        self.X = X
        self.name = name
        self.dtype = X.dtype
        self.flat = X.ndim == 2
        shape = X.shape[1:]
        if self.flat and image_shape is not None:
            shape = tuple(image_shape)
            if math.prod(shape) != X.shape[1]:
                raise ValueError(
                    f"X has rows of {X.shape[1]} features, but image_shape={shape} needs "
                    f"{math.prod(shape)}. Set image_shape to the shape of the images."
                )
        self.row_shape = shape
        self.is_last = len(shape) == 3 and channels_last(shape, channels)
        if self.is_last:
            shape = (shape[2], *shape[:2])
        self.input_shape: tuple[int, ...] = (1, *shape) if len(shape) == 2 else tuple(shape)

    def __len__(self) -> int:
        return len(self.X)

    def take(self, rows: np.ndarray) -> torch.Tensor:
        """Return images (B, C, H, W) or rows (B, D), float32.

        They are float64 where X has more digits than float32 holds.
        """
        check_mapping(self.X)
        taken = np.asarray(self.X[rows])
        wide = taken.dtype.itemsize > 2 and taken.dtype != np.float32
        taken = np.array(taken, dtype=np.float64 if wide else np.float32)
        taken = taken.reshape(-1, *self.row_shape)
        if self.is_last:
            taken = np.moveaxis(taken, -1, 1)
        return torch.from_numpy(np.ascontiguousarray(taken)).reshape(-1, *self.input_shape)

    def named(self, rows: np.ndarray) -> tuple[list[str], np.ndarray]:
        """Return how messages name samples, such as X[3], and the rows of X that have them."""
        return names_of(self.name, rows)


class SeriesStore(ImageStore):
    """Rows of X by index, as an encoder of series takes them: (B, channels, length) tensors.

    Parameters
    ----------
    X : ndarray
        (n, length), or (n, channels, length); with ``channels="last"`` (n, length, channels).
    channels, name
        See `ImageStore`.

    Raises
    ------
    ValueError
        If X has four axes, as images with channels have.
    """

    def __init__(self, X: np.ndarray, channels: str = "auto", name: str = "X") -> None:
        if X.ndim > 3:
            raise ValueError(
                f"{name} has shape {X.shape}, but encoder='conv1d' takes series, (n, length) or "
                "(n, channels, length). Use encoder='conv' for images."
            )
        self.X = X
        self.name = name
        self.dtype = X.dtype
        self.flat = X.ndim == 2
        self.row_shape = (1, *X.shape[1:]) if self.flat else X.shape[1:]
        self.is_last = not self.flat and channels == "last"
        self.input_shape = self.row_shape[::-1] if self.is_last else self.row_shape


class SubStore:
    """The rows `rows` of another store, as a store."""

    def __init__(self, store: "ImageStore | SubStore | FeatureStore", rows: np.ndarray) -> None:
        self.store = store
        self.rows = rows
        self.input_shape: tuple[int, ...] = store.input_shape
        self.dtype: np.dtype = store.dtype
        self.flat: bool = store.flat

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: np.ndarray) -> torch.Tensor:
        """Return images or rows; see `ImageStore.take`."""
        return self.store.take(self.rows[rows])

    def named(self, rows: np.ndarray) -> tuple[list[str], np.ndarray]:
        """Return how messages name samples; see `ImageStore.named`."""
        return self.store.named(self.rows[rows])


def warn_of_shape(store: ImageStore) -> None:
    """Warn if X was taken for images of an unlikely shape.

    Warns
    -----
    UnlikelyShapeWarning
        If a side is shorter than 4 pixels, or one is more than 8 times as long as the other.
    """
    if len(store.input_shape) != 3 or store.flat:  # image_shape says what flat rows hold
        return
    short, long = sorted(store.input_shape[1:])
    if short >= LEAST_SIDE and long <= GREATEST_RATIO * short:
        return
    warn(
        f"X, of shape {store.X.shape}, is taken for {len(store)} "
        f"{describe_shape(store.input_shape)}, which are resized and distorted as pictures. Use "
        "encoder='conv1d' for series, and pass tables as flat rows, X.reshape(len(X), -1). If an "
        "axis holds channels, add the missing one, (n, channels, height, width), and set "
        "channels='first' or 'last'.",
        UnlikelyShapeWarning,
    )


def warn_of_duplicates(store: ImageStore, labels: np.ndarray) -> None:
    """Warn if the same image has two labels. Flat rows may agree by chance.

    Warns
    -----
    DuplicateExemplarWarning
    """
    if len(store.input_shape) != 3:
        return
    hashes = (hash(np.ascontiguousarray(image).tobytes()) for image in np.asarray(store.X))
    known = np.fromiter(hashes, np.int64, len(store))  # X may have millions of images
    _, first, inverse = np.unique(known, return_index=True, return_inverse=True)
    other = first[inverse]
    rows = np.flatnonzero(labels[other] != labels)
    alike = (
        np.array_equal(store.X[i], store.X[j]) for i, j in zip(other[rows], rows, strict=True)
    )
    pairs = np.stack([other[rows], rows], 1)[[*alike]]
    if not len(pairs):
        return
    i, j = pairs.T
    one, two = store.named(i[:1])[0][0], store.named(j[:1])[0][0]
    names, rows = store.named(np.unique([i, j]))
    own, others = labels[[i[0], j[0]]].tolist()
    warn(
        f"{one} and {two} are the same image, but have the labels {own!r} and {others!r}. "
        f"{len(names)} of {len(store)} images have a second label: {listed(names, 10)}. Queries "
        "like them cannot be told apart; correct the labels, or drop these images.",
        DuplicateExemplarWarning,
        rows,
    )


@contextmanager
def naming_rows(X: Any, name: str) -> Iterator[None]:
    """Say which rows hold NaN or infinity where scikit-learn refuses X for them."""
    try:
        yield
    except ValueError as error:
        rows = _not_finite(X)
        if not len(rows):
            raise
        message, where = str(error).splitlines()[0].rstrip("."), listed(names_of(name, rows)[0])
        raise ValueError(
            f"{message}, in {where}. Fill in these values, or leave out the samples."
        ) from error


def _not_finite(X: Any) -> np.ndarray:
    """Return the rows of X that hold NaN, infinity or a missing value."""
    try:
        X = X.to_numpy(dtype=float, na_value=np.nan) if hasattr(X, "dtypes") else X
        values = np.asarray(X, dtype=np.float64)
        return np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(1))
    except (TypeError, ValueError):
        return np.empty(0, dtype=np.intp)


def names_of(name: str, rows: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Return how messages name samples of an argument, such as X[3], and the rows of X."""
    if name == OF_PAIRS:
        return [f"X[{row // 2}, {row % 2}]" for row in rows], rows // 2
    return [f"{name}[{row}]" for row in rows], rows


def check_images(X: Any, name: str = "X") -> np.ndarray:
    """Return images (n, h, w), with channels or not, as a finite numeric array; not copied.

    `name` is what messages call X.
    """
    check_mapping(X)
    if not (type(X) is np.ndarray and X.ndim > 2 and X.dtype.kind in "bui"):  # never NaN
        with naming_rows(X, name):
            X = check_array(X, allow_nd=True, ensure_2d=True, dtype="numeric", input_name="X")
    if X.ndim > 4:
        raise ValueError(
            f"X has {X.ndim} dimensions, shape {X.shape}; expected (n, features), "
            "(n, height, width), (n, channels, height, width) or (n, height, width, channels)."
        )
    if 0 in X.shape:
        raise ValueError(f"X has images without pixels: shape {X.shape}.")
    return X


def is_pairs(y: Any, n_samples: int) -> bool:
    """Return whether y is (n_pairs, 3) rows (i, j, same) rather than labels."""
    y = as_array(y, "y")
    if y.ndim != 2 or y.shape[1] != 3:
        return False
    if len(y) == n_samples and np.isin(y, (0, 1)).all():
        raise ValueError(
            f"y has shape {y.shape} and holds only 0 and 1, which looks like a multilabel "
            "indicator; expected (n_samples,) class labels, or (n_pairs, 3) rows (i, j, same) of "
            "two different images. Multilabel targets are not supported: give one label per "
            "sample."
        )
    return True


def check_pairs(pairs: Any, n_samples: int, groups: Any = None) -> np.ndarray:
    """Return validated (n_pairs, 3) int64 rows (i, j, same)."""
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


def check_embeddings(X: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return embeddings that were made before as an (n, *shape) array, a memory map as it is.

    Raises
    ------
    ValueError
        If they are no embeddings of this shape, or not finite.
    """
    embeddings = as_array(X, "X")
    n_features = math.prod(shape)
    shapes = ((n_features,), shape)
    if embeddings.dtype.kind != "f" or embeddings.shape[1:] not in shapes or not len(embeddings):
        raise ValueError(
            f"X has shape {embeddings.shape} and dtype {embeddings.dtype}; with embedded=True, "
            f"expected at least one embedding of this network, (n, {n_features}) float32, as "
            "transform returns them."
        )
    for start in range(0, len(embeddings), 1024):
        part = embeddings[start : start + 1024].reshape(-1, n_features)
        if not np.isfinite(part).all():
            row = start + int(np.flatnonzero(~np.isfinite(part).all(axis=1))[0])
            raise ValueError(f"X[{row}] has NaN or infinity; expected finite embeddings.")
    return embeddings.astype(np.float32, copy=False).reshape(-1, *shape)


def check_labels(y: Any, n_samples: int, name: str = "y") -> np.ndarray:
    """Return labels of classes, or of groups, as a (n_samples,) array of any dtype."""
    if y is None:
        raise ValueError(
            f"This estimator requires {name} to be passed, but the target {name} is None."
        )
    shape = as_array(y, name).shape
    if not shape and not hasattr(y, "dtype"):
        raise ValueError(
            f"{name} has shape (), as a {type(y).__name__}; expected an array or a list of "
            "labels, in the order of X."
        )
    if len(shape) != 1 and not (len(shape) == 2 and shape[1] == 1):
        pairs = ", or in fit (n_pairs, 3) integer rows (i, j, same)" if name == "y" else ""
        raise ValueError(f"{name} has shape {shape}; expected (n_samples,) labels{pairs}.")
    if isinstance(y, torch.Tensor):
        y = as_array(y, name)
    elif getattr(getattr(y, "dtype", None), "kind", None) == "T":  # which scorers refuse
        y = np.asarray(y, dtype=object)
    elif getattr(getattr(y, "dtype", None), "kind", None) in ("S", "V", "c"):
        raise ValueError(
            f"Unknown label type: {name} holds values of dtype {y.dtype}, which no scorer takes; "
            "expected labels, all strings or all whole numbers."
        )
    if hasattr(y, "to_numpy"):  # of pandas' own integers column_or_1d would make floats
        y = y.to_numpy()
    # In a list, NumPy turns NaN beside text into text, and large integers into floats.
    items: Any = np.array(y, dtype=object).ravel() if not hasattr(y, "dtype") else ()
    y = column_or_1d(y, warn=True)
    if y.dtype.kind == "S":
        raise ValueError(
            f"Unknown label type: {name} holds bytes, {y.tolist()[0]!r}; expected labels, all "
            "strings or all whole numbers: decode them."
        )
    # scikit-learn's check_classification_targets would take one exemplar per class for regression.
    strange: list[tuple[int, str]] = []
    if y.dtype == object and not all(isinstance(value, str) for value in y):
        items = y
        # Of a DataFrame of mixed columns, or of integers as objects, which scorers refuse.
        found = np.array(y.tolist())
        y = found if found.dtype.kind in "iubf" else y
    if y.dtype.kind in "iuf" and any(isinstance(value, bool | np.bool_) for value in items):
        raise ValueError(
            f"Unknown label type: {name} holds True or False beside numbers, which makes them 1 "
            "and 0; expected labels, all strings or all whole numbers."
        )
    if y.dtype.kind in "OUT":
        others = odd = [(row, v) for row, v in enumerate(items) if not isinstance(v, str)]
        if len(others) == len(items):  # all are numbers or other objects
            odd = [(row, value) for row, value in others if not isinstance(value, Number)]
        # Others: integers beyond 64 bits.
        strange = [(row, repr(value)) for row, value in odd or others]
    elif y.dtype.kind in "mM" and np.isnat(y).any():
        strange = [(int(row), "NaT") for row in np.flatnonzero(np.isnat(y))]
    elif y.dtype.kind == "f" and len(items) and all(isinstance(v, Integral) for v in items):
        raise ValueError(f"{name} holds integers that do not fit one 64-bit dtype. Use strings.")
    elif y.dtype.kind == "f":
        if not np.isfinite(y).all():
            rows = np.flatnonzero(~np.isfinite(y))
            raise ValueError(
                f"Input {name} contains NaN or infinity, in {listed(names_of(name, rows)[0])}: "
                "every sample needs a label."
            )
        rows = np.flatnonzero(y % 1 != 0)
        strange = [(int(row), f"the continuous value {y[row]}") for row in rows]
    if strange:
        rows = np.array([row for row, _ in strange])
        raise ValueError(
            f"Unknown label type: {name} holds {strange[0][1]}; expected labels, all strings or "
            f"all whole numbers. Correct {listed(names_of(name, rows)[0])}."
        )
    check_length(y, n_samples, name)
    return y


def check_length(values: Any, n_samples: int, name: str) -> None:
    """Raise ValueError unless there is one value per sample."""
    if len(values) != n_samples:
        raise ValueError(
            f"{name} has {len(values)} values for {n_samples} samples in X: inconsistent numbers "
            f"of samples; {name} needs one value per sample."
        )


def check_classes(
    y: Any, groups: Any, n_samples: int, purpose: str = "training"
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray, np.ndarray]:
    """Return labels and groups as given, and classes and groups numbered from 0.

    A label in two groups is two classes. Some group must have two classes, one of them with two
    samples; see `check_trainable`.
    """
    y = check_labels(y, n_samples)
    groups = None if groups is None else check_labels(groups, n_samples, "groups")
    classes, numbers = number_classes(y, groups)
    check_trainable(y, classes, numbers, purpose)
    return y, groups, classes, numbers


def check_trainable(
    y: np.ndarray, classes: np.ndarray, groups: np.ndarray, purpose: str = "training"
) -> None:
    """Raise ValueError unless some group has two classes, one of them with two samples.

    `purpose` is what messages say the samples are for.
    """
    n_classes = len(np.unique(y))
    if n_classes < 2:
        what = f"only one class, {y.tolist()[0]!r}" if len(y) else "no class"
        raise ValueError(
            f"y has {what}; {purpose} needs pairs of the same class and of different classes, so "
            "at least two classes."
        )
    classes = np.unique(classes, return_inverse=True)[1]  # some may have been held out
    count = np.bincount(classes)
    if count.max() < 2:
        raise ValueError(
            f"y has {n_classes} classes and no class with two examples (inside one group, where "
            f"groups are given); {purpose} needs pairs of the same class. Give at least two "
            "examples of some class."
        )
    group_of_class = groups[np.unique(classes, return_index=True)[1]]
    per_group = np.bincount(group_of_class)
    pairable = np.zeros_like(per_group)
    np.maximum.at(pairable, group_of_class, count)
    if not ((per_group > 1) & (pairable > 1)).any():
        raise ValueError(
            "groups leaves no group with two classes, one of them with two examples. Different "
            "pairs are drawn inside a group, so pass coarser groups, or groups=None."
        )


def check_calibration_data(y: Any, groups: Any, n_samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Return classes and groups, as integers, of which one-shot trials can be made."""
    _, _, classes, groups = check_classes(y, groups, n_samples, "calibration")
    first, counts = np.unique(classes, return_index=True, return_counts=True)[1:]
    if np.bincount(groups[first[counts > 1]]).max() < 2:
        raise ValueError(
            "y has no two classes with two examples each (inside one group, where groups are "
            "given), which the one-shot trials of calibration need. Give more examples, or pass "
            "groups=None."
        )
    return classes, groups


def check_same_length(a: np.ndarray, b: np.ndarray) -> None:
    """Raise ValueError unless XA and XB have as many samples."""
    if len(a) != len(b):
        raise ValueError(
            f"XA has {len(a)} samples and XB {len(b)}, but pair_proba compares row by row. Pass "
            "as many of each, or use similarity for all pairs."
        )


def check_one_to_one(n_queries: int, n_classes: int) -> None:
    """Raise ValueError if there are more queries than classes to match."""
    if n_queries > n_classes:
        raise ValueError(
            f"X has {n_queries} queries, but the support has only {n_classes} classes: match "
            "assigns a different class to each query. Give fewer queries, or use predict."
        )


def labels_to_remove(labels: Any) -> np.ndarray:
    """Return one label, or several in any container, as an array."""
    labels = list(labels) if isinstance(labels, set | frozenset) else labels
    labels = np.atleast_1d(as_array(labels, "labels"))
    return check_labels(labels, len(labels), "labels")
