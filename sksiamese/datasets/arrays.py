"""ImageArray: images that estimators can hold as a parameter without copying them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class ImageArray:
    """Wrap an image array that clones of an estimator share instead of copying.

    Pass it as ``SiameseVerifier(preprocessor=...)``, so that the samples of X can be row numbers.
    scikit-learn deep-copies the parameters of an estimator that it clones, for example once per
    fold of a cross-validation; an ``ImageArray`` returns itself instead. A pickle of a
    memory-mapped .npy file, or of a view of one, stores the path and the position in the file,
    not the images.

    Parameters
    ----------
    images : ndarray of shape (n_images, ...) or path-like
        Images, or the path of an .npy file. A file is memory-mapped, so only the images that are
        indexed are read.

    Attributes
    ----------
    images : ndarray of shape (n_images, ...)
        The array, memory-mapped if `images` was a path.
    path : str or None
        Absolute path of the file if `images` was a path, otherwise None.
    shape : tuple of int
        Shape of the array.
    dtype : dtype
        Data type of the array.

    Raises
    ------
    TypeError
        If `images` is neither an array of at least two dimensions nor a path.
    FileNotFoundError
        If the file does not exist.
    ValueError
        If the file is not an .npy file, or if it contains Python objects.

    See Also
    --------
    load_image_folder : Load images from files; `memmap` writes them to an .npy file.
    sksiamese.SiameseVerifier : Estimator that takes pairs of row numbers with a preprocessor.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.base import clone
    >>> from sksiamese import SiameseVerifier
    >>> from sksiamese.datasets import ImageArray
    >>> images = ImageArray(np.zeros((10, 16, 16), dtype=np.uint8))
    >>> images
    ImageArray(10 images of shape (16, 16))
    >>> verifier = SiameseVerifier(preprocessor=images)
    >>> clone(verifier).preprocessor is images
    True
    """

    path: str | None
    images: np.ndarray

    def __init__(self, images: np.ndarray | str | os.PathLike[str]) -> None:
        array: np.ndarray
        if isinstance(images, str | os.PathLike):
            self.path = os.path.abspath(images)
            array = _open_npy(os.fspath(images))
        else:
            self.path, array = None, images
        shape = getattr(array, "shape", None)
        if shape is None or len(shape) < 2:
            what = f"a {type(images).__name__}" if shape is None else f"of shape {tuple(shape)}"
            raise TypeError(
                f"images is {what}; expected an array (n_images, ...) of at least two "
                "dimensions, or the path of an .npy file. Convert a list with np.asarray."
            )
        self.images = array
        self._file_layout = array.shape, array.dtype
        self._view = _find_view(array) if self.path is None else None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return self.images.shape

    @property
    def dtype(self) -> np.dtype:
        """Data type of the array."""
        return self.images.dtype

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Return the images at `rows`, any index that NumPy takes."""
        return self.images[rows]

    def __repr__(self) -> str:
        """Return the number and the shape of the images."""
        return f"ImageArray({len(self)} images of shape {self.shape[1:]})"

    def __deepcopy__(self, memo: dict[int, Any]) -> ImageArray:
        """Return this object itself."""
        return self

    def __sklearn_clone__(self) -> ImageArray:
        """Return this object itself."""
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Return the state to pickle: without the images if they are in an .npy file."""
        in_file = self.path is not None or self._view is not None
        return {**vars(self), "images": None if in_file else self.images}

    # Does not call `__init__`: joblib maps arrays in memory to temporary files for its workers,
    # and `_find_view` must not take such a file for the source of the images.
    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the state, and map the images again if they are in an .npy file."""
        self.__dict__.update(state)
        if self.path is not None:
            self.images = _reopen_npy(self.path, *self._file_layout)
        elif self._view is not None:
            self.images = self._view.open()


class _FileView(NamedTuple):
    """A view of the array in an .npy file."""

    path: str
    file_shape: tuple[int, ...]
    file_dtype: np.dtype
    offset: int  # bytes from the first element of the file's array
    shape: tuple[int, ...]
    dtype: np.dtype
    strides: tuple[int, ...]

    def open(self) -> np.ndarray:
        """Map the file and return the view."""
        whole = _reopen_npy(self.path, self.file_shape, self.file_dtype)
        return np.ndarray(self.shape, self.dtype, whole, self.offset, self.strides)


def _find_view(images: np.ndarray) -> _FileView | None:
    """Return which part of an .npy file an array maps, or None if it must be pickled itself."""
    root = images  # np.memmap views inherit the offset of their base, so only the root's is right
    while isinstance(root, np.ndarray) and isinstance(root.base, np.ndarray):
        root = root.base
    if not isinstance(root, np.memmap) or root.mode == "c":
        return None  # in copy-on-write mode the file does not have the changes
    filename = root.filename
    if filename is None or Path(filename).suffix != ".npy":
        return None  # for example a temporary file of joblib
    try:
        whole = _open_npy(os.fspath(filename))
    except (OSError, ValueError):
        return None  # named .npy, but in another format
    if (whole.shape, whole.dtype, whole.offset) != (root.shape, root.dtype, root.offset):
        return None
    return _FileView(
        path=os.path.abspath(filename),
        file_shape=root.shape,
        file_dtype=root.dtype,
        offset=images.ctypes.data - root.ctypes.data,
        shape=images.shape,
        dtype=images.dtype,
        strides=images.strides,
    )


def _open_npy(path: str) -> np.memmap:
    """Map the array of an .npy file read-only."""
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"images={path!r} is not an existing file; expected the path of an .npy file."
        )
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except ValueError as error:
        raise ValueError(
            f"images={path!r} cannot be memory-mapped ({error}); expected an .npy file of "
            "numbers, as np.save writes it. Of an .npz file, pass one array: np.load(path)[name]."
        ) from error


def _reopen_npy(path: str, shape: tuple[int, ...], dtype: np.dtype) -> np.memmap:
    """Map an .npy file, and check that it still has the array of this shape and dtype."""
    images = _open_npy(path)
    if (images.shape, images.dtype) != (shape, dtype):
        raise ValueError(
            f"images={path!r} contains {images.dtype} values of shape {images.shape}, but "
            f"contained {dtype} values of shape {shape} when the ImageArray was pickled. Restore "
            "that file."
        )
    return images
