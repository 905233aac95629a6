"""Image files: a folder with one folder per class, or a list of files."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import nullcontext
from numbers import Integral
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from sklearn.utils import Bunch

from ..exceptions import UnreadableImageWarning, warn

_EXTENSIONS = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}
# Possible maximum values of pixels deeper than 8 bits, by the first letter of Pillow's mode.
_MAXIMA = {"F": (1, 255, 65535), "I": (65535,)}
_DAMAGE = (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError)


def load_image_folder(
    path: str | os.PathLike[str],
    resize: tuple[int, int] | None = None,
    *,
    color: bool = False,
    invert: bool | str = False,
    on_error: str = "raise",
    memmap: str | os.PathLike[str] | None = None,
) -> Bunch:
    """Load image files from a folder that contains one folder per class.

    The files are ``path/class/image.png``, as in :func:`sklearn.datasets.load_files` and in
    torchvision's ``ImageFolder``, or ``path/group/class/image.png``. A group is, for example, an
    alphabet; the classes are then named ``"group/class"``. Files that are not images, hidden
    files and hidden folders are ignored.

    Parameters
    ----------
    path : str or path-like
        Folder with one folder per class, or with one folder per group.
    resize : tuple of (int, int) or None, default=None
        Height and width in pixels that images are resized to. The aspect ratio is kept; the rest
        is padded with the median colour of the image's border. If None, all images must have the
        same size.
    color : bool, default=False
        If True, load RGB images instead of gray ones.
    invert : bool or "auto", default=False
        If False, values are returned as they are in the files. Drawings are typically dark on
        light there, as the other loaders of this package return them. If True, all images are
        inverted (``255 - value``). If "auto", the images whose border is dark are inverted, so
        that all are dark on light.
    on_error : {"raise", "skip"}, default="raise"
        If "raise", files that cannot be read raise one error that lists them. If "skip", they are
        left out with one warning that lists them.
    memmap : str or path-like or None, default=None
        Path of an .npy file to write, for images that do not fit in memory. The returned images
        are then memory-mapped from that file. An existing file is replaced after all images are
        written. Until then the images are in a temporary folder ``sksiamese-...`` beside it.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with the following attributes.

        images : uint8 ndarray of shape (n_samples, height, width) or \
                (n_samples, height, width, 3)
            Images with values from 0 to 255, ordered by group, class and file name.
        target : str ndarray of shape (n_samples,)
            Class of each image, ``"class"`` or ``"group/class"``.
        groups : str ndarray of shape (n_samples,) or None
            Group of each image. None if there are no groups.
        filenames : str ndarray of shape (n_samples,)
            Path of each image file.

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        If `path` does not exist or is not a folder.
    ValueError
        If a class has no images, if there are images beside folders, if `resize` is None and
        images differ in size, or if a parameter has an unknown value.
    TypeError
        If `path` or `memmap` is not a path.
    OSError
        If files cannot be read and `on_error` is "raise", if no file can be read, or if `memmap`
        cannot be written.

    Warns
    -----
    UnreadableImageWarning
        If files cannot be read and `on_error` is "skip".

    See Also
    --------
    load_images : Load a list of image files, without classes.
    ImageArray : Wrap images that an estimator holds as a parameter.

    Notes
    -----
    See :func:`load_images` for how files are decoded.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from PIL import Image
    >>> from sksiamese.datasets import load_image_folder
    >>> with TemporaryDirectory() as folder:
    ...     for name in ["bolt", "nut"]:
    ...         Path(folder, name).mkdir()
    ...         Image.new("L", (40, 30), "white").save(Path(folder, name, "photo.png"))
    ...     data = load_image_folder(folder, resize=(32, 32))
    >>> data.images.shape, data.target.tolist()
    ((2, 32, 32), ['bolt', 'nut'])
    """
    files, labels, groups = _find_classes(path)
    data = load_images(files, resize, color=color, invert=invert, on_error=on_error, memmap=memmap)
    return Bunch(
        images=data.images,
        target=labels[data.rows],
        groups=None if groups is None else groups[data.rows],
        filenames=data.filenames,
    )


def load_images(
    files: Iterable[str | os.PathLike[str]],
    resize: tuple[int, int] | None = None,
    *,
    color: bool = False,
    invert: bool | str = False,
    on_error: str = "raise",
    memmap: str | os.PathLike[str] | None = None,
) -> Bunch:
    """Load a list of image files into one array.

    Parameters
    ----------
    files : iterable of str or path-like
        Paths of image files. :func:`sksiamese.datasets.folder.image_files` lists those of a
        folder.
    resize : tuple of (int, int) or None, default=None
        Height and width in pixels that images are resized to. The aspect ratio is kept; the rest
        is padded with the median colour of the image's border. If None, all images must have the
        same size.
    color : bool, default=False
        If True, load RGB images instead of gray ones.
    invert : bool or "auto", default=False
        If False, values are returned as they are in the files. Drawings are typically dark on
        light there, as the other loaders of this package return them. If True, all images are
        inverted (``255 - value``). If "auto", the images whose border is dark are inverted, so
        that all are dark on light.
    on_error : {"raise", "skip"}, default="raise"
        If "raise", files that cannot be read raise one error that lists them. If "skip", they are
        left out with one warning that lists them.
    memmap : str or path-like or None, default=None
        Path of an .npy file to write, for images that do not fit in memory. The returned images
        are then memory-mapped from that file. An existing file is replaced after all images are
        written. Until then the images are in a temporary folder ``sksiamese-...`` beside it.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with the following attributes.

        images : uint8 ndarray of shape (n_samples, height, width) or \
                (n_samples, height, width, 3)
            Images with values from 0 to 255, in the order of `files`.
        filenames : str ndarray of shape (n_samples,)
            Path of each image file.
        rows : int ndarray of shape (n_samples,)
            Position in `files` of each image. All positions, unless files were left out.

    Raises
    ------
    ValueError
        If `files` is empty, if `resize` is None and images differ in size, or if a parameter has
        an unknown value.
    TypeError
        If `files` is not an iterable of paths, or `memmap` is not a path.
    OSError
        If files cannot be read and `on_error` is "raise", if no file can be read, or if `memmap`
        cannot be written.

    Warns
    -----
    UnreadableImageWarning
        If files cannot be read and `on_error` is "skip".

    See Also
    --------
    load_image_folder : Load a folder that contains one folder per class.

    Notes
    -----
    - Photographs are rotated as their EXIF orientation says.
    - Transparent pixels become white.
    - Of an animation, the first frame is loaded.
    - Images with more than 8 bits per pixel are scaled to 0..255. Integers are divided by 65535.
      Floats are divided by the smallest of 1, 255 and 65535 that is not less than the maximum of
      the image. Images with values outside these ranges cannot be read.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from PIL import Image
    >>> from sksiamese.datasets import load_images
    >>> with TemporaryDirectory() as folder:
    ...     files = [Path(folder, "black.png"), Path(folder, "white.png")]
    ...     for file in files:
    ...         Image.new("L", (40, 30), file.stem).save(file)
    ...     data = load_images(files)
    >>> data.images.shape, data.images[:, 0, 0].tolist()
    ((2, 30, 40), [0, 255])
    """
    paths = _check_files(files)
    _check_options(resize, invert, on_error, memmap)
    images: np.ndarray | None = None
    rows: list[int] = []
    damaged: list[str] = []
    # In the folder of the final file, so that the file can be moved there without a copy.
    temporary = (
        nullcontext()
        if memmap is None
        else TemporaryDirectory(dir=Path(memmap).parent, prefix="sksiamese-")
    )
    shape: tuple[int, int]
    with temporary as folder:
        for row, path in enumerate(paths):
            try:
                image = _decode(path, color)
            except _DAMAGE as error:
                damaged.append(f"{path} ({error})")
                continue
            height, width = image.size[::-1]
            if images is None:
                shape = (height, width) if resize is None else (resize[0], resize[1])
                images = _allocate((len(paths), *shape, *((3,) if color else ())), folder)
            elif resize is None and (height, width) != shape:
                raise ValueError(
                    f"{path} has {height}x{width} pixels, but the images before it have "
                    f"{shape[0]}x{shape[1]}. Pass resize=(height, width) to resize all images."
                )
            images[len(rows)] = _to_array(image, shape, invert)
            rows.append(row)
        if images is None or (damaged and on_error == "raise"):
            raise OSError(
                f"{_describe_damage(damaged, len(paths))} Repair or delete them, or pass "
                "on_error='skip'."
            )
        if memmap is not None:
            images = _move(images, len(rows), memmap)
    if damaged:
        warn(f"{_describe_damage(damaged, len(paths))} They are left out.", UnreadableImageWarning)
    return Bunch(
        images=images[: len(rows)],
        filenames=np.array([paths[row] for row in rows]),
        rows=np.array(rows),
    )


def image_files(folder: str | os.PathLike[str]) -> list[Path]:
    """Return the paths of the image files in a folder, sorted by name.

    Files are recognised by their extension: png, jpg, jpeg, bmp, gif, tif, tiff, webp, ppm or
    pgm, in upper or lower case. Hidden files and subfolders are ignored.

    Parameters
    ----------
    folder : str or path-like
        Folder that contains the files.

    Returns
    -------
    files : list of Path
        Paths that start with `folder`. Empty if there are no image files.

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        If `folder` does not exist or is not a folder.
    TypeError
        If `folder` is not a path.

    See Also
    --------
    sksiamese.datasets.load_images : Load a list of image files.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from sksiamese.datasets.folder import image_files
    >>> with TemporaryDirectory() as folder:
    ...     for name in ["b.png", "a.JPG", "notes.txt"]:
    ...         Path(folder, name).touch()
    ...     [file.name for file in image_files(folder)]
    ['a.JPG', 'b.png']
    """
    return _list_folder(_check_folder(folder, "folder", "a folder with image files"))[1]


def _check_files(files: Iterable[str | os.PathLike[str]]) -> list[str]:
    """Return `files` as a list of str, or raise an error that names the wrong item."""
    if isinstance(files, str | os.PathLike) or not isinstance(files, Iterable):
        raise TypeError(f"files={files!r}; expected a list of paths of image files.")
    paths = list(files)
    for i, path in enumerate(paths):
        if not isinstance(path, str | os.PathLike):
            raise TypeError(f"files[{i}]={path!r}; expected the path of an image file.")
    if not paths:
        raise ValueError("files is empty; expected the path of at least one image file.")
    return [os.fspath(path) for path in paths]


def _check_options(resize: Any, invert: Any, on_error: Any, memmap: Any) -> None:
    """Raise an error that names the first parameter with an unknown value."""
    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error={on_error!r} is unknown; expected 'raise' or 'skip'.")
    if resize is not None:
        is_pair = isinstance(resize, tuple | list) and len(resize) == 2
        if not is_pair or not all(map(_is_side, resize)):
            raise ValueError(
                f"resize={resize!r}; expected (height, width), two positive integers, or None."
            )
    if not (isinstance(invert, bool | np.bool_) or (isinstance(invert, str) and invert == "auto")):
        raise ValueError(f"invert={invert!r} is unknown; expected True, False or 'auto'.")
    if memmap is None:
        return
    if not isinstance(memmap, str | os.PathLike):
        raise TypeError(f"memmap={memmap!r}; expected the path of an .npy file, or None.")
    target = os.fspath(memmap)
    if Path(target).is_dir():
        raise IsADirectoryError(f"memmap={target!r} is a folder; expected a path of an .npy file.")
    if not Path(target).parent.is_dir():
        raise FileNotFoundError(
            f"memmap={target!r} cannot be written: its parent folder does not exist."
        )


def _is_side(value: Any) -> bool:
    """Return whether a value is a positive integer."""
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) > 0


def _check_folder(path: Any, name: str, expected: str) -> Path:
    """Return the path of an existing folder, or raise an error that names the parameter."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"{name}={path!r}; expected the path of {expected}.")
    folder = Path(path)
    if not folder.exists():
        raise FileNotFoundError(f"{name}={str(folder)!r} does not exist; expected {expected}.")
    if not folder.is_dir():
        raise NotADirectoryError(f"{name}={str(folder)!r} is not a folder; expected {expected}.")
    return folder


def _find_classes(
    path: str | os.PathLike[str],
) -> tuple[list[Path], np.ndarray, np.ndarray | None]:
    """Return the image files below `path` in order, their labels, and their groups if any."""
    root = _check_folder(path, "path", "a folder with one folder per class")
    top, images_at_top = _list_folder(root)
    if not top:
        raise ValueError(f"{root} contains no folders; expected one folder of images per class.")
    content = {folder: _list_folder(folder) for folder in top}
    grouped = any(folders for folders, _ in content.values())
    problems = [(root, "contains images beside folders")] if images_at_top else []
    if grouped:
        problems += [
            (group, "must contain only folders, because other folders beside it do")
            for group in top
            if content[group][1] or not content[group][0]
        ]
        classes = [(f"{group.name}/", folder) for group in top for folder in content[group][0]]
        content |= {folder: _list_folder(folder) for _, folder in classes}
    else:
        classes = [("", folder) for folder in top]
    problems += [(folder, "contains folders") for _, folder in classes if content[folder][0]]
    problems += [(folder, "contains no images") for _, folder in classes if not content[folder][1]]
    if problems:
        folder, problem = problems[0]
        raise ValueError(
            f"{folder} {problem}; expected files path/class/image, or path/group/class/image for "
            f"all classes. Image files end in {', '.join(sorted(_EXTENSIONS))}."
        )
    files = [file for _, folder in classes for file in content[folder][1]]
    labels = [
        prefix + folder.name for prefix, folder in classes for _ in range(len(content[folder][1]))
    ]
    groups = np.array([label.split("/")[0] for label in labels]) if grouped else None
    return files, np.array(labels), groups


def _list_folder(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the folders and the image files in a folder, sorted by name, without hidden ones."""
    folders, images = [], []
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            # macOS adds a folder __MACOSX to zip archives.
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                continue
            if entry.is_dir():
                folders.append(Path(entry.path))
            elif Path(entry.name).suffix.lower() in _EXTENSIONS:
                images.append(Path(entry.path))
    return folders, images


def _decode(path: str, color: bool) -> Image.Image:
    """Read an image file as an upright 8-bit image, gray or RGB, with transparency on white."""
    with Image.open(path) as opened:
        image: Image.Image = ImageOps.exif_transpose(opened)
        maxima = _MAXIMA.get(image.mode[0])
        if maxima is not None:
            values = np.asarray(image, dtype=np.float64)
            low, high = values.min(), values.max()
            if not (low >= 0 and high <= maxima[-1]):  # also if NaN
                raise ValueError(f"values from {low:g} to {high:g}; expected 0 to {maxima[-1]}")
            maximum = next(m for m in maxima if high <= m)
            image = Image.fromarray((values / maximum * 255).round().astype(np.uint8))
        if "transparency" in image.info or "A" in image.getbands():
            image = image.convert("RGBA")
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image)
        return image.convert("RGB" if color else "L")


def _to_array(image: Image.Image, shape: tuple[int, int], invert: bool | str) -> np.ndarray:
    """Return the pixels of an image, resized to `shape` and perhaps inverted."""
    height, width = shape
    pixels = np.asarray(image)
    sides = pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]
    border = np.median(np.concatenate(sides), axis=0)  # one value per channel
    if pixels.shape[:2] != shape:
        fill = int(border) if border.ndim == 0 else tuple(border.astype(int).tolist())
        image = ImageOps.pad(image, (width, height), Image.Resampling.BICUBIC, color=fill)
        pixels = np.asarray(image)
    inverts = np.mean(border) < 127.5 if isinstance(invert, str) else invert
    return 255 - pixels if inverts else pixels


def _describe_damage(damaged: list[str], n_files: int) -> str:
    """Return a sentence that lists the first damaged files."""
    listed = "; ".join(damaged[:10]) + ("; ..." if len(damaged) > 10 else ".")
    return f"{len(damaged)} of {n_files} files cannot be read: {listed}"


def _allocate(shape: tuple[int, ...], folder: str | None) -> np.ndarray:
    """Return an array to write images to, in a file of `folder` if it is not None."""
    if folder is None:
        return np.empty(shape, dtype=np.uint8)
    return np.lib.format.open_memmap(Path(folder, "all.npy"), "w+", np.uint8, shape)


def _move(images: Any, n: int, target: str | os.PathLike[str]) -> np.ndarray:
    """Move the first `n` of memory-mapped images to the file `target`, and map that."""
    images.flush()
    written = Path(images.filename)
    if n < len(images):
        written = written.with_name("kept.npy")
        np.save(written, images[:n])
    os.replace(written, target)
    return np.load(target, mmap_mode="r")
