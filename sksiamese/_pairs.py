"""Pairs as samples: what X and y of a verifier may be, and the threshold that pairs give."""

import reprlib
from typing import Any

import numpy as np
from sklearn.metrics import precision_recall_curve, roc_curve

from ._containers import as_array, as_images
from ._params import check_choice, check_number
from ._validation import check_labels

STRATEGIES = ("accuracy", "f_beta", "max_tpr", "max_tnr", "equal_error")


def pairs_of(
    X: Any, preprocessor: Any, color: bool | None = None
) -> tuple[Any, np.ndarray, np.ndarray]:
    """Return the images or rows that pairs are made of, and the two row numbers of each pair.

    X is (n_pairs, 2, ...), or (n_pairs, 2) row numbers of `preprocessor`, or what it takes. With
    `color`, Pillow images become RGB; see `as_images`.
    """
    X = as_images(X, "X", color) if preprocessor is None else as_array(X, "X")
    if tuple(X.shape[:1]) == (0,):
        raise ValueError(f"X has no samples, shape {tuple(X.shape)}; expected at least one pair.")
    if preprocessor is None:
        if len(X.shape) < 3 or X.shape[1] != 2:
            raise ValueError(
                f"X has shape {tuple(X.shape)}; expected pairs (n_pairs, 2, ...) of images or "
                "rows, or (n_pairs, 2) row numbers of the images given as preprocessor."
            )
        numbers = np.arange(2 * len(X))
        return X.reshape(2 * len(X), *X.shape[2:]), numbers[::2], numbers[1::2]
    if X.ndim != 2 or X.shape[1] != 2:
        raise ValueError(
            f"X has shape {X.shape} and dtype {X.dtype}; with a preprocessor, pairs are "
            "(n_pairs, 2) integers, its row numbers, or for a callable anything that it takes."
        )
    if callable(preprocessor):
        items, rows = _called(X, preprocessor, color)
        return items, *rows.T
    items = _items(preprocessor, color)
    check_rows(X, len(items))
    return items, X[:, 0].astype(np.int64), X[:, 1].astype(np.int64)


def items_of(X: Any, preprocessor: Any, color: bool | None = None) -> Any:
    """Return single images or rows: X itself, or what `preprocessor` has for X, (n,)."""
    if preprocessor is None:
        return X
    X = as_array(X, "X")
    if X.ndim != 1 or not len(X):
        raise ValueError(
            f"X has shape {X.shape}; with a preprocessor, single samples are (n,) integers, its "
            "row numbers, or for a callable anything that it takes."
        )
    if callable(preprocessor):
        items, rows = _called(X, preprocessor, color)
        return items[rows]
    items = _items(preprocessor, color)
    check_rows(X[:, None], len(items))
    return items.iloc[X] if hasattr(items, "iloc") else items[X]


def _called(X: np.ndarray, preprocessor: Any, color: bool | None) -> tuple[np.ndarray, np.ndarray]:
    """Return what a callable makes of the distinct values of X, and their rows in it."""
    names, rows = np.unique(X, return_inverse=True)
    items = as_images(preprocessor(names), "X", color)
    if len(np.atleast_1d(items)) != len(names):
        raise ValueError(
            f"preprocessor returned shape {items.shape} for {len(names)} items of X; expected an "
            "image or row for each."
        )
    return items, rows.reshape(X.shape)


def _items(preprocessor: Any, color: bool | None) -> Any:
    items = getattr(preprocessor, "images", preprocessor)  # of an ImageArray
    try:
        items = as_images(items, "preprocessor", color)
        holds_images = len(items.shape) > 1
    except (TypeError, ValueError):
        if hasattr(items, "shape") and len(items.shape) > 1:  # it says what is wrong with them
            raise
        holds_images = False
    if not holds_images:
        raise TypeError(
            f"preprocessor={reprlib.repr(preprocessor)}; expected images or flat rows, an array "
            "(n, ...) or an ImageArray, which maps an .npy file by its path; or a callable that "
            "returns the images of what X holds."
        )
    return items


def check_rows(X: np.ndarray, n_items: int) -> None:
    """Raise ValueError unless X holds row numbers from 0 to n_items - 1."""
    if X.dtype.kind not in "iu":
        raise ValueError(
            f"X has dtype {X.dtype}; with a preprocessor that is not callable, X holds integers, "
            "its row numbers."
        )
    outside = np.flatnonzero(((X < 0) | (n_items <= X)).any(axis=1))
    if len(outside):
        raise ValueError(
            f"X[{outside[0]}] is {tuple(X[outside[0]].tolist())}; expected row numbers from 0 to "
            f"{n_items - 1} of the preprocessor. {len(outside)} of {len(X)} are outside."
        )


def check_different(X: Any, i: np.ndarray, j: np.ndarray) -> None:
    """Raise ValueError if a training pair is an image and itself."""
    alike = np.flatnonzero(i == j)
    if len(alike):
        first = tuple(np.asarray(X)[alike[0]].tolist())
        raise ValueError(
            f"X[{alike[0]}] is {first}, an image and itself; a pair needs two different images. "
            f"Drop the {len(alike)} of {len(i)} rows that are like it."
        )


def check_same(y: Any, n_pairs: int) -> tuple[int, np.ndarray]:
    """Return the label of different pairs, 0 or -1, and which pairs are the same, 0 or 1."""
    y = check_labels(y, n_pairs)
    values = np.unique(y)
    if not any(np.isin(values, known).all() for known in ((0, 1), (-1, 1))):
        raise ValueError(
            f"y has the values {values[:5].tolist()}; expected 1 for pairs of the same class, "
            "and 0 (or -1 throughout) for others."
        )
    if len(values) < 2:
        raise ValueError(
            f"y has only one class, {values[0]}: give pairs of one class and pairs of two classes."
        )
    return int(values[0]), (y == 1).astype(np.int64)


def calibrated_threshold(
    logits: np.ndarray, same: np.ndarray, strategy: str, min_rate: float | None, beta: float
) -> float:
    """Return the threshold on logits that is best by `strategy`; see `SiameseVerifier`."""
    check_choice(strategy, "strategy", STRATEGIES)
    bounded = strategy in ("max_tpr", "max_tnr")
    if bounded != (min_rate is not None):
        expected = "a number from 0 to 1" if bounded else "None"
        raise ValueError(f"min_rate={min_rate!r} with strategy={strategy!r}; expected {expected}.")
    if bounded:
        check_number(min_rate, "min_rate", float, 0, 1)
    check_number(beta, "beta", float, 0, include="neither")
    if strategy == "f_beta":
        precision, recall, thresholds = precision_recall_curve(same, logits)
        precision, recall = precision[:-1], recall[:-1]
        below = beta**2 * precision + recall
        merit = (1 + beta**2) * precision * recall / np.where(below > 0, below, 1)
    else:
        # The first threshold, infinite, accepts no pair.
        fpr, tpr, thresholds = roc_curve(same, logits, drop_intermediate=False)
        n_different = (1 - same).sum()
        tnr = (n_different - np.rint(fpr * n_different)) / n_different  # 1 - 0.8 is below 0.2
        merit = {
            "accuracy": tpr * same.sum() + tnr * n_different,
            "max_tpr": np.where(tnr >= (min_rate or 0), tpr + tnr * 1e-9, -1.0),
            "max_tnr": np.where(tpr >= (min_rate or 0), tnr + tpr * 1e-9, -1.0),
            "equal_error": -np.abs(tpr - tnr),
        }[strategy]
    best = int(merit.argmax())
    # Halfway to the next logit below, so that pairs not seen fall to the nearer side.
    if not np.isfinite(thresholds[best]):
        return float(np.nextafter(logits.max(), np.inf, dtype=logits.dtype))
    lowest = logits[logits >= thresholds[best]].min()
    below = logits[logits < lowest]
    if not len(below):
        return float(lowest)
    # Between neighbours of this dtype there is no value, and the mean may be rounded to the lower.
    halfway = logits.dtype.type(below.max() / 2 + lowest / 2)
    return float(halfway if halfway > below.max() else lowest)
