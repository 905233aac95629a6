"""ImageArray: images that estimators can hold as a parameter without copying them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .._files import check_mapping, check_path, open_regular, root_of


class ImageArray:
    """Wrap an image array that clones of an estimator share instead of copying.

    Pass it as ``SiameseVerifier(preprocessor=...)``, so that the samples of X can be row numbers.
    scikit-learn deep-copies the parameters of an estimator that it clones, for example once per
    fold of a cross-validation; an ``ImageArray`` returns itself instead. A pickle of a
    memory-mapped .npy file, or of a view of one, stores the path and the position in the file,
    not the images. The images are read when they are used, so the file must not change: each use
    of :attr:`images` checks that it has not.

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
        If the file is not an .npy file, or if it contains Python objects. Also on unpickling, if
        the file has another size, time of modification or content than when it was pickled.
    OSError
        If the file cannot be read. Also on use of the images, if their file was changed or
        truncated after it was opened. A file that was replaced by another one of the same name
        may be used on: the old one is still open.

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
    >>> images.shape, images.dtype, int(images.images.sum())
    ((10, 16, 16), dtype('uint8'), 0)
    >>> verifier = SiameseVerifier(preprocessor=images)
    >>> clone(verifier).preprocessor is images
    True
    """

    path: str | None

    def __init__(self, images: np.ndarray | str | os.PathLike[str]) -> None:
        array: np.ndarray
        self._file: _FileState | None = None
        if isinstance(images, str | os.PathLike):
            check_path(images, "images")
            self.path = os.path.abspath(os.fsdecode(images))
            array, self._file = _open_npy(os.fsdecode(images))
        else:
            self.path, array = None, images
        shape = getattr(array, "shape", None)
        if shape is None or len(shape) < 2:
            what = f"a {type(images).__name__}" if shape is None else f"of shape {tuple(shape)}"
            raise TypeError(
                f"images is {what}; expected an array (n_images, ...) of at least two "
                "dimensions, or the path of an .npy file. Convert a list with np.asarray."
            )
        self._images: np.ndarray = array
        self._view = _find_view(array, self.path)

    @property
    def images(self) -> np.ndarray:
        """The array."""
        check_mapping(self._images)
        if self.path is not None and self._file is not None:
            self._file.check(self.path)
        return self._images

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return self._images.shape

    @property
    def dtype(self) -> np.dtype:
        """Data type of the array."""
        return self._images.dtype

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._images)

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
        if self._view is None:
            return vars(self)
        return {**vars(self), "_images": None, "_view": self._view.flushed(root_of(self._images))}

    # Does not call `__init__`: joblib maps arrays in memory to temporary files for its workers,
    # and `_find_view` must not take such a file for the source of the images.
    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the state, and map the images again if they are in an .npy file."""
        self.__dict__.update(state)
        if self._view is not None:
            self._images, self._file = self._view.open()


class _FileState(NamedTuple):
    """What shows that a file has changed."""

    device: int
    inode: int
    size: int
    modified: int  # in ns

    @classmethod
    def of(cls, status: os.stat_result) -> _FileState:
        """Return the state of a file from its status."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)

    def check(self, path: str) -> None:
        """Raise an OSError if the file was changed in its place."""
        try:
            now = self.of(os.stat(path))
        except OSError:
            return  # deleted: what is mapped is kept
        if now[:2] == self[:2] and now != self:
            raise OSError(
                f"images={path!r} has been changed since it was opened. Make a new ImageArray."
            )


class _FileView(NamedTuple):
    """A view of the array in an .npy file."""

    path: str
    file: _FileState
    file_shape: tuple[int, ...]
    file_dtype: np.dtype
    offset: int  # bytes from the first element of the file's array
    shape: tuple[int, ...]
    dtype: np.dtype
    strides: tuple[int, ...]

    def flushed(self, root: np.ndarray) -> _FileView:
        """Return the view to pickle, after changes by way of the array are in the file."""
        if not isinstance(root, np.memmap) or root.mode == "r":
            return self
        root.flush()
        return self._replace(file=_FileState.of(os.stat(self.path)))

    def open(self) -> tuple[np.ndarray, _FileState]:
        """Map the file, and return the view and the state of the file."""
        whole, file = _open_npy(self.path)
        if (whole.shape, whole.dtype) != (self.file_shape, self.file_dtype):
            raise ValueError(
                f"images={self.path!r} contains {whole.dtype} values of shape {whole.shape}, but "
                f"contained {self.file_dtype} values of shape {self.file_shape} when the "
                "ImageArray was pickled. Restore that file."
            )
        if file[2:] != self.file[2:]:
            raise ValueError(
                f"images={self.path!r} has been changed since the ImageArray was pickled. Restore "
                "that file with its time of modification."
            )
        if self.shape == whole.shape and self.strides == whole.strides:
            return whole, file
        return np.ndarray(self.shape, self.dtype, whole, self.offset, self.strides), file


def _find_view(images: np.ndarray, path: str | None) -> _FileView | None:
    """Return which part of an .npy file an array maps, or None if it must be pickled itself.

    `path` is that of the file if it is known to be an .npy file.
    """
    root = root_of(images)  # the offset of views is wrong
    if not isinstance(root, np.memmap) or root.mode == "c":
        return None  # in copy-on-write mode the file does not have the changes
    filename = path or root.filename
    if filename is None or (path is None and Path(filename).suffix != ".npy"):
        return None  # for example a temporary file of joblib
    try:
        whole, file = _open_npy(os.fspath(filename))
    except (OSError, ValueError):
        return None  # named .npy, but in another format
    if (whole.shape, whole.dtype, whole.offset) != (root.shape, root.dtype, root.offset):
        return None
    return _FileView(
        path=os.path.abspath(filename),
        file=file,
        file_shape=root.shape,
        file_dtype=root.dtype,
        offset=images.ctypes.data - root.ctypes.data,
        shape=images.shape,
        dtype=images.dtype,
        strides=images.strides,
    )


def _open_npy(path: str) -> tuple[np.memmap, _FileState]:
    """Map the array of an .npy file read-only, and return it and the state of the file."""
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"images={path!r} is not an existing file; expected the path of an .npy file."
        )
    with open_regular(path) as file:
        status = os.fstat(file.fileno())
        try:
            version = np.lib.format.read_magic(file)
            read_header = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }.get(version)
            if read_header is None:
                raise ValueError(f"version {version} of the .npy format")
            shape, fortran_order, dtype = read_header(file)
            if dtype.hasobject:
                raise ValueError("it has Python objects")
            order: Any = "F" if fortran_order else "C"
            images = np.memmap(file, dtype, "r", file.tell(), shape, order)
        except OSError:
            raise
        except Exception as error:  # a damaged header raises errors of many types
            raise ValueError(
                f"images={path!r} cannot be memory-mapped ({error}); expected an .npy file of "
                "numbers, as np.save writes it. Of an .npz file, pass one array: "
                "np.load(path)[name]."
            ) from error
    return images, _FileState.of(status)
