"""Containers: whatever holds images, labels or row numbers -> a NumPy array.

What is unambiguous is converted: tensors, lists of Pillow images, columns of arrays. What NumPy,
torch or Pillow would misread, or refuse in words of their own, is refused here.
"""

import os
from collections.abc import Iterable, Mapping, Sequence, Set
from itertools import chain
from numbers import Number
from typing import Any

import numpy as np
import torch

from ._files import check_mapping

_LOAD_FILES = "sksiamese.datasets.load_images(files).images reads image files"


def as_images(X: Any, name: str = "X", color: bool | None = None) -> Any:
    """Return images or flat rows as an array, or as a DataFrame or sparse matrix if X is one.

    Parameters
    ----------
    X : Any
        Anything that a user may pass.
    name : str, default="X"
        Of the argument.
    color : bool or None, default=None
        Whether Pillow images become RGB or gray; None: gray if all of them are.

    Raises
    ------
    ValueError, TypeError
        If X holds something else than images or rows, in words that say what to pass.
    """
    if X is None:
        raise ValueError(f"{name} is None; expected an array of images or of flat rows.")
    if is_picture(X):
        raise ValueError(
            f"{name} is a single Pillow image; expected several. Pass [image], a list of one."
        )
    if isinstance(X, str | bytes | os.PathLike):
        raise ValueError(f"{name} is a path, {X!r}; expected images. {_LOAD_FILES}.")
    if isinstance(X, torch.Tensor):
        X = _from_tensor(X, name)
    if not hasattr(X, "shape") and hasattr(X, "__array__"):
        X = np.asarray(X)
    if not hasattr(X, "shape"):
        items = _items(X, name)
    elif _holds_objects(X):
        items = list(np.asarray(X, dtype=object).reshape(-1))
    else:
        _check_array(X, name)
        return X
    images = _stacked(items, name, color)
    _check_array(images, name)
    return images


def as_array(values: Any, name: str) -> np.ndarray:
    """Return labels or numbers as an array; ValueError for masked ones, or of several shapes."""
    if isinstance(values, torch.Tensor):
        return _from_tensor(values, name)
    _refuse_masked(values, name)
    if not hasattr(values, "shape") and isinstance(values, list | tuple):
        for row, item in enumerate(values):
            _refuse_masked(item, f"{name}[{row}]")
    try:
        array = np.asarray(values)
        check_mapping(array)
        return array
    except ValueError as error:
        raise ValueError(
            f"{name} holds items of different shapes ({error}); expected one label per sample."
        ) from error


def is_picture(value: Any) -> bool:
    """Return whether a value is a Pillow image; Pillow is not imported to find out."""
    return any(cls.__module__.split(".")[0] == "PIL" for cls in type(value).__mro__)


def _from_tensor(X: torch.Tensor, name: str) -> np.ndarray:
    """Return a tensor's values; float32 of floats that NumPy does not have, such as bfloat16."""
    if X.layout != torch.strided:
        raise ValueError(f"{name} is a sparse tensor; expected a dense one, {name}.to_dense().")
    if X.is_floating_point() and X.dtype not in (torch.float16, torch.float32, torch.float64):
        X = X.detach().float()
    try:
        return X.numpy(force=True)
    except (RuntimeError, TypeError, NotImplementedError) as error:
        raise ValueError(
            f"{name} is a tensor of {X.dtype} on device {X.device}, which has no values for NumPy "
            f"({error}). Pass a dense tensor of integers or floats."
        ) from error


def _items(X: Any, name: str) -> list[Any]:
    """Return the items of a sequence; refuse what is none, such as an iterator."""
    if isinstance(X, Mapping | Set):
        raise TypeError(
            f"{name} is a {type(X).__name__}; expected an array or a list of images, in the order "
            "of the labels."
        )
    if isinstance(X, Number):
        raise ValueError(f"{name} is a single number, {X!r}; expected images or flat rows.")
    if isinstance(X, Sequence | memoryview) or type(X).__module__ == "array":
        return list(X)
    if isinstance(X, Iterable) and not hasattr(X, "__getitem__"):
        raise TypeError(
            f"{name} is of type {type(X).__name__}, which is read item by item; expected an array "
            "or a list of images. Pass list(...) of it; of a DataLoader, the images alone: "
            "torch.cat([images for images, _ in loader])."
        )
    raise TypeError(
        f"{name} is of type {type(X).__name__}; expected an array of images or of flat rows. Of a "
        "data set of (image, label) pairs, pass [image for image, _ in dataset] as X, and the "
        "labels as y."
    )


def _holds_objects(X: Any) -> bool:
    """Return whether X is a column of images: (n,) or (n, 1) objects that are not numbers."""
    if len(X.shape) not in (1, 2) or tuple(X.shape[1:]) not in ((), (1,)) or not X.shape[0]:
        return False
    dtype = getattr(X, "dtype", None) or X.dtypes.iloc[0]
    if getattr(dtype, "kind", "O") != "O":
        return False
    first = np.asarray(X, dtype=object).reshape(-1)[0]
    return not isinstance(first, Number | str | dict) or len(X.shape) == 1


def _stacked(items: list[Any], name: str, color: bool | None) -> np.ndarray:
    """Return items of one shape as an array."""
    for row, item in enumerate(items):
        what = f"{name}[{row}]"
        if item is None:
            raise ValueError(f"{what} is None; expected an image or a flat row.")
        if isinstance(item, str | bytes | os.PathLike):
            raise ValueError(f"{what} is {item!r}; expected an image. {_LOAD_FILES}.")
        if isinstance(item, Mapping | Set):
            raise TypeError(
                f"{what} is a {type(item).__name__}; expected an image or a flat row. float() "
                "argument must be a string or a real number."
            )
        _refuse_masked(item, what)
        check_mapping(item)
        if _is_labelled(item):
            raise ValueError(
                f"{what} is a pair (image, label); expected the image alone. Pass "
                f"[image for image, _ in {name}], and the labels as y."
            )
        if isinstance(item, torch.Tensor):
            items[row] = _from_tensor(item, what)
    if any(map(_holds_pictures, items)):
        return _decoded(items, name, color)
    try:
        if len({item.shape for item in items if hasattr(item, "shape")}) < 2:
            return np.asarray(items)
    except ValueError:  # lists of different lengths
        pass
    shapes = [_shape_of(item) for item in items]
    row = next((row for row, shape in enumerate(shapes) if shape != shapes[0]), 0)
    raise ValueError(
        f"{name} holds items of different shapes: {name}[{row}] has {shapes[row]}, but {name}[0] "
        f"{shapes[0]}; expected images of one size: resize them."
    )


def _shape_of(item: Any) -> str:
    try:
        return f"shape {np.shape(item)}"
    except ValueError:
        return "rows of different lengths"


def _is_labelled(item: Any) -> bool:
    """Return whether an item is (image, label), as data sets of torch return them."""
    if not isinstance(item, tuple | list) or len(item) != 2:
        return False
    image, label = item
    is_image = is_picture(image) or len(getattr(image, "shape", ())) > 1
    return is_image and (isinstance(label, Number | str) or getattr(label, "shape", None) == ())


def _holds_pictures(item: Any) -> bool:
    return is_picture(item[0] if isinstance(item, tuple | list) and item else item)


def _decoded(items: list[Any], name: str, color: bool | None) -> np.ndarray:
    """Return the pixels of Pillow images, or of pairs of them: (n, h, w), or RGB (n, h, w, 3)."""
    from .datasets.decoding import to_array  # imports Pillow

    pairs = not is_picture(items[0])
    pictures = list(chain.from_iterable(items)) if pairs else items
    n_each = len(items[0]) if pairs else 1
    if len(pictures) != n_each * len(items):
        raise ValueError(f"{name} holds tuples of different lengths; expected pairs of images.")
    decoded: list[np.ndarray] = []
    for number, picture in enumerate(pictures):
        row, side = divmod(number, n_each)
        what = f"{name}[{row}][{side}]" if pairs else f"{name}[{row}]"
        if not is_picture(picture):
            raise ValueError(
                f"{what} is a {type(picture).__name__}, but others are Pillow images; expected "
                "images of one kind."
            )
        try:
            decoded.append(to_array(picture, color is not False))
        except (ValueError, OSError) as error:
            raise ValueError(f"{what} cannot be used: {error}") from error
        size, first = decoded[-1].shape[:2], decoded[0].shape[:2]
        if size != first:
            raise ValueError(
                f"{what} has {size[0]}x{size[1]} pixels, but the first image has "
                f"{first[0]}x{first[1]}; expected images of one size: resize them."
            )
    images = np.stack(decoded)
    if color is None and (images == images[..., :1]).all():
        images = np.ascontiguousarray(images[..., 0])
    return images.reshape(len(items), n_each, *images.shape[1:]) if pairs else images


def _check_array(X: Any, name: str) -> None:
    """Raise unless an array holds real numbers, or objects that are; a DataFrame is not read."""
    _refuse_masked(X, name)
    check_mapping(X)
    if not len(X.shape):
        raise ValueError(f"{name} is a single value; expected an array of images or flat rows.")
    if hasattr(X, "toarray"):
        raise TypeError(
            f"Sparse data was passed for {name}, but dense data is required. Pass "
            f"{name}.toarray()."
        )
    dtype = getattr(X, "dtype", None)
    kind = getattr(dtype, "kind", None)
    if kind == "c":
        raise ValueError(
            f"Complex data not supported: {name} has dtype {dtype}; expected real numbers, such "
            f"as np.abs({name})."
        )
    if kind in ("U", "S", "T"):
        advice = _LOAD_FILES if len(X.shape) == 1 else f"Convert it by {name}.astype(float)"
        raise ValueError(
            f"{name} has text, dtype {dtype} and shape {tuple(X.shape)}; expected numbers. "
            f"{advice}."
        )
    if kind in ("M", "m", "V"):
        raise ValueError(
            f"{name} has dtype {dtype}; expected integers or floats. Convert it first, for "
            f"example by {name}.astype(np.float32)."
        )
    if kind == "O" and isinstance(X, np.ndarray):
        _check_objects(X, name)


def _check_objects(X: np.ndarray, name: str) -> None:
    """Raise for the first value that is not a number."""
    none = np.frompyfunc(lambda value: value is None, 1, 1)(X).astype(bool)
    if none.any():  # which NumPy would make NaN
        row = int(np.flatnonzero(none.reshape(len(X), -1).any(1))[0])
        raise ValueError(f"{name}[{row}] holds None; expected numbers.")
    try:
        X.astype(np.float64)
    except (TypeError, ValueError):
        for row, values in enumerate(X):
            for value in np.ravel(values):
                try:
                    float(value)
                except (TypeError, ValueError) as error:
                    what = f"{name}[{row}] holds {value!r}; expected numbers: {error}."
                    raise type(error)(what) from error
        raise


def _refuse_masked(values: Any, name: str) -> None:
    """Raise ValueError for a masked array that masks anything."""
    if values is np.ma.masked:
        raise ValueError(f"{name} is masked; expected a value.")
    if not isinstance(values, np.ma.MaskedArray) or not np.ma.is_masked(values):
        return
    mask = np.ma.getmaskarray(values)
    row = int(np.flatnonzero(mask.reshape(len(mask), -1).any(1))[0]) if mask.ndim else 0
    raise ValueError(
        f"{name} is a masked array, with {int(mask.sum())} values masked, the first in "
        f"{name}[{row}]; a mask would be ignored. Fill them, for example by {name}.filled(0), or "
        "drop these samples."
    )
