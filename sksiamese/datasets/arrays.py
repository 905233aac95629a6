"""ImageArray: images that estimators hold as a parameter without owning a copy."""

import os
from pathlib import Path

import numpy as np


class ImageArray:
    """Images by row number, for ``SiameseVerifier(preprocessor=...)``.

    scikit-learn clones an estimator by copying its parameters, for each fold of a cross-validation
    anew. This one stays what it is: clones share it, and of a memory-mapped file, or of a part of
    one, a pickle has the path and the place alone.

    Parameters
    ----------
    images : ndarray of shape (n, ...), or path of an .npy file
        A file is memory-mapped; only the images that are asked for are read.

    Raises
    ------
    TypeError
        If it is neither.
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is no .npy file, or holds Python objects.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.base import clone
    >>> from sksiamese import SiameseVerifier
    >>> from sksiamese.datasets import ImageArray
    >>> images = ImageArray(np.zeros((10, 16, 16), dtype=np.uint8))
    >>> verifier = SiameseVerifier(preprocessor=images)
    >>> clone(verifier).preprocessor is images
    True
    """

    def __init__(self, images):
        self.path, self.images = None, images
        if isinstance(images, str | os.PathLike):
            self.path, self.images = os.path.abspath(images), _opened(str(images))
        shape = getattr(self.images, "shape", None)
        if shape is None or len(shape) < 2:
            what = f"a {type(images).__name__}" if shape is None else f"of shape {tuple(shape)}"
            raise TypeError(
                f"images is {what}; expected an array (n, ...) of at least two axes, such as "
                "np.asarray makes of a list, or the path of an .npy file."
            )
        self._kind = self.images.shape, self.images.dtype
        self._place = _place_of(self.images) if self.path is None else None

    @property
    def shape(self):
        return self.images.shape

    @property
    def dtype(self):
        return self.images.dtype

    def __len__(self):
        return len(self.images)

    def __getitem__(self, rows):
        return self.images[rows]

    def __repr__(self):
        return f"ImageArray({len(self)} of shape {self.shape[1:]})"

    def __deepcopy__(self, memo):
        return self

    def __sklearn_clone__(self):
        return self

    def __getstate__(self):
        in_file = self.path is not None or self._place is not None
        return {**vars(self), "images": None if in_file else self.images}

    # Not by `__init__`: what joblib maps for a worker is a file that it will remove.
    def __setstate__(self, state):
        self.__dict__.update(state)
        if self.path is not None:
            self.images = _reopened(self.path, *self._kind)
        elif self._place is not None:
            self.images = _mapped(*self._place)


def _opened(path):
    """The array of an .npy file, memory-mapped."""
    if not os.path.isfile(path):
        raise FileNotFoundError(f"images={path!r} is no file; expected the path of an .npy file.")
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except ValueError as error:
        raise ValueError(
            f"images={path!r} cannot be mapped ({error}); expected an .npy file of numbers: of an "
            ".npz file pass one array, np.load(path)[name], or write it by np.save."
        ) from error


def _place_of(images):
    """Where a memory-mapped array is, as `_mapped` takes it; None of one that is in memory."""
    root = images  # a view has the offset of what it is a view of
    while isinstance(root, np.ndarray) and isinstance(root.base, np.ndarray):
        root = root.base
    if not isinstance(root, np.memmap) or root.mode == "c":
        return None  # "c": what was changed is not in the file
    if Path(root.filename or "").suffix != ".npy":
        return None  # such as the files of joblib's workers, which it removes
    kind, offset = (root.shape, root.dtype), images.ctypes.data - root.ctypes.data
    try:
        whole = _opened(root.filename)
    except (OSError, ValueError):
        return None  # of that name, but otherwise written
    if (whole.shape, whole.dtype, whole.offset) != (*kind, root.offset):
        return None
    return os.path.abspath(root.filename), kind, offset, images.shape, images.dtype, images.strides


def _mapped(path, kind, offset, shape, dtype, strides):
    root = _reopened(path, *kind)
    return np.ndarray(shape, dtype, root, offset, strides)


def _reopened(path, shape, dtype):
    images = _opened(path)
    if (images.shape, images.dtype) != (shape, dtype):
        raise ValueError(
            f"images={path!r} has {images.dtype} of shape {images.shape}, and had {dtype} of "
            f"shape {shape} when this ImageArray was pickled: put that file back."
        )
    return images
