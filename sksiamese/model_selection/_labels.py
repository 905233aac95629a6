"""Labels and groups of any dtype as integers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_array


def check_values(values: Any, name: str, X: Any = None, of: str = "X") -> NDArray[Any]:
    """Return `values` as an array of shape (n_samples,), and check its length against X.

    Parameters
    ----------
    values : array-like of shape (n_samples,) or (n_samples, 1)
        Labels or groups of any dtype.
    name : str
        Name of the argument, for error messages.
    X : array-like of shape (n_samples, ...) or None, default=None
        Samples that `values` belongs to. None skips the check of the length.
    of : str, default="X"
        Name of the argument X, for error messages.

    Returns
    -------
    values : ndarray of shape (n_samples,)
        The values, with their dtype.

    Raises
    ------
    ValueError
        If `values` is None, is not one-dimensional, contains NaN, or differs from X in length.
    """
    if values is None:
        raise ValueError(f"{name} is None; expected one class label for each sample of X.")
    options = {"ensure_2d": False, "allow_nd": True, "dtype": None, "ensure_min_samples": 0}
    values = check_array(values, input_name=name, **options)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise ValueError(
            f"{name} has shape {values.shape}; expected (n_samples,), one value for each sample."
        )
    if X is not None:
        n = X.shape[0] if hasattr(X, "shape") else len(X)
        if len(values) != n:
            raise ValueError(
                f"{name} has {len(values)} values but {of} has {n} samples; expected one value "
                "for each sample."
            )
    return values


def encode_classes(
    y: ArrayLike | None, groups: ArrayLike | None = None, X: Any = None
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the class and the group of each sample as integers.

    A label that occurs in two groups is two classes. Classes are numbered group by group, so
    the classes of a group are consecutive.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Class labels of any dtype.
    groups : array-like of shape (n_samples,) or None, default=None
        Group of each sample. None puts all samples into one group.
    X : array-like of shape (n_samples, ...) or None, default=None
        Samples that y belongs to, for the check of the length.

    Returns
    -------
    classes : ndarray of shape (n_samples,)
        Class of each sample, from 0 to n_classes - 1.
    groups : ndarray of shape (n_samples,)
        Group of each sample, from 0 to n_groups - 1.

    Raises
    ------
    TypeError
        If the labels cannot be sorted, such as a mix of strings and numbers.
    ValueError
        If y or `groups` is not one value per sample.
    """
    y = check_values(y, "y", X)
    return number_classes(y, None if groups is None else check_values(groups, "groups", y, of="y"))


def number_classes(
    y: NDArray[Any], groups: NDArray[Any] | None
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return classes and groups of validated labels as integers; see `encode_classes`."""
    labels = _encode(y, "y")
    if groups is None:
        return labels, np.zeros(len(labels), dtype=np.intp)
    encoded_groups = _encode(groups, "groups")
    pairs = encoded_groups * len(labels) + labels
    return np.unique(pairs, return_inverse=True)[1], encoded_groups


def _encode(values: NDArray[Any], name: str) -> NDArray[np.intp]:
    try:
        return np.unique(values, return_inverse=True)[1]
    except TypeError as error:
        types = sorted({type(value).__name__ for value in values.tolist()})
        raise TypeError(
            f"{name} mixes values of types {', '.join(types)}, which cannot be sorted; expected "
            "values of one type. Convert them, for example to strings."
        ) from error
