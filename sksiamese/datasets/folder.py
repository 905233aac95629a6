"""Image files: a folder with one folder per class, or a list of files."""

from __future__ import annotations

import os
import reprlib
import stat
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from errno import EINVAL, ENOSYS, EOPNOTSUPP
from io import BytesIO
from numbers import Integral
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageOps
from sklearn.utils import Bunch

from .._files import check_path, open_atomically, open_regular, printable
from ..exceptions import UnreadableImageWarning, warn
from .decoding import decode, readable_formats

# Extensions of pictures and documents in other formats, which are named in a warning.
_OTHER_EXTENSIONS = (
    ".ai .arw .avif .bpg .cr2 .cr3 .cur .dcm .dds .dib .djvu .dng .emf .eps .exr .fits .flif .hdr "
    ".heic .heics .heif .hif .icns .ico .j2k .jls .jp2 .jpf .jpm .jpx .jxl .jxr .kra .mpo .nef "
    ".orf .pcx .pdf .ps .psb .psd .qoi .raf .ras .raw .rw2 .sgi .svg .svgz .tga .wdp .webp .wmf "
    ".xbm .xcf .xpm"
)
_Source = str | bytes | BinaryIO


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
    alphabet; the classes are then named ``"group/class"``. Files that are not pictures, hidden
    files and hidden folders are ignored. Pictures in formats that cannot be read, for example
    .heic or .svg, and folders inside the class folders of a group are named in one warning.

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
        written. Until then the images are in a file ``.sksiamese-...`` beside it, whose space is
        reserved before the second image is read.

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
        errors : dict of str to str
            Reason why a file was left out, by its path. Empty if `on_error` is "raise".

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
        If files cannot be read and `on_error` is "raise", if no file can be read, if a folder
        cannot be read, or if `memmap` cannot be written.

    Warns
    -----
    UnreadableImageWarning
        If files cannot be read and `on_error` is "skip", or if there are pictures or folders that
        are not read.

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
        errors=data.errors,
    )


def load_images(
    files: Iterable[str | os.PathLike[str] | bytes | BinaryIO],
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
    files : iterable of str, path-like, bytes or binary file object
        Paths of image files, or their contents, for example what a web service received. A file
        object is read from its position to its end. Use :func:`image_files` to list the paths in
        a folder.
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
        written. Until then the images are in a file ``.sksiamese-...`` beside it, whose space is
        reserved before the second image is read.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with the following attributes.

        images : uint8 ndarray of shape (n_samples, height, width) or \
                (n_samples, height, width, 3)
            Images with values from 0 to 255, in the order of `files`.
        filenames : str ndarray of shape (n_samples,)
            Path of each image file, or ``"files[i]"`` for the content of a file.
        rows : int ndarray of shape (n_samples,)
            Position in `files` of each image. All positions, unless files were left out.
        errors : dict of str to str
            Reason why a file was left out, by its name as in `filenames`. Empty if `on_error` is
            "raise".

    Raises
    ------
    ValueError
        If `files` is empty, if `resize` is None and images differ in size, or if a parameter has
        an unknown value.
    TypeError
        If `files` is not an iterable of paths, bytes and binary file objects, or `memmap` is not
        a path.
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
    - PNG, JPEG, GIF, TIFF, BMP, PPM (also PGM and PBM) and, if Pillow can read them, WebP and
      AVIF files are read, whatever their extension. Only regular files are opened: a named pipe,
      a device or a folder is a file that cannot be read.
    - Of an animation, or of a file with several pages, the first image is loaded.
    - :func:`sksiamese.datasets.decoding.to_array` describes how photographs are rotated, how
      images with more than 8 bits are scaled, and on which background transparent images are
      put. Light ink on a transparent background becomes light on black. Where a folder has both
      light and dark ink, ``invert="auto"`` makes all images dark on light; otherwise estimators
      refuse the images whose polarity differs.
    - Files are trusted as little as possible, but an image may have twice
      ``PIL.Image.MAX_IMAGE_PIXELS`` pixels, and decoding takes about ten bytes per pixel. Set it
      lower in a web service.
    - A file object whose ``read`` method raises any error is a file that cannot be read.

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
    sources = _check_files(files)
    _check_options(resize, invert, on_error, memmap)
    try:
        with nullcontext() if memmap is None else open_atomically(memmap) as file:
            collected = _InMemory(len(sources)) if file is None else _InFile(len(sources), file)
            rows, errors = _collect(sources, resize, color, invert, collected)
            if not rows or (errors and on_error == "raise"):
                raise OSError(
                    f"{_describe_damage(errors, len(sources))} Repair or delete them, or pass "
                    "on_error='skip'."
                )
            images = collected.finish()
    except OSError as error:
        if error.errno is None:  # of the image files
            raise
        message = f"memmap={str(memmap)!r} cannot be written: {error.strerror}"
        raise OSError(error.errno, message) from error
    if errors:
        message = f"{_describe_damage(errors, len(sources))} They are left out."
        warn(message, UnreadableImageWarning)
    return Bunch(
        images=images if memmap is None else np.load(memmap, mmap_mode="r"),
        filenames=np.array([_name(sources[row], row) for row in rows]),
        rows=np.array(rows),
        errors=errors,
    )


def _collect(
    sources: list[_Source],
    resize: tuple[int, int] | None,
    color: bool,
    invert: bool | str,
    collected: _InMemory | _InFile,
) -> tuple[list[int], dict[str, str]]:
    """Read images one by one, and return the positions of those read and why others were not."""
    rows: list[int] = []
    errors: dict[str, str] = {}
    size = None if resize is None else (int(resize[0]), int(resize[1]))
    shape = size
    for row, source in enumerate(sources):
        try:
            pixels = _fit(_read(source, color), size, invert)
        except (OSError, ValueError) as error:
            errors[_name(source, row)] = printable(getattr(error, "strerror", None) or error)
            continue
        height, width = pixels.shape[:2]
        shape = shape or (height, width)
        if (height, width) != shape:
            raise ValueError(
                f"{printable(_name(source, row))} has {height}x{width} pixels, but the images "
                f"before it have {shape[0]}x{shape[1]}. Pass resize=(height, width) to resize all "
                "images."
            )
        collected.append(pixels)
        rows.append(row)
    return rows, errors


def image_files(folder: str | os.PathLike[str], *, recursive: bool = False) -> list[Path]:
    """Return the paths of the image files in a folder, sorted by name.

    Files are recognised by their extension: png, jpg, jpeg, jpe, jfif, bmp, gif, tif, tiff, ppm,
    pgm, pbm or pnm, and webp and avif if Pillow can read them, in upper or lower case. Hidden
    files and folders are ignored.

    Parameters
    ----------
    folder : str or path-like
        Folder that contains the files.
    recursive : bool, default=False
        If True, files in sub-folders are returned too, after those of the folder itself.

    Returns
    -------
    files : list of Path
        Paths that start with `folder`. Empty if there are no image files.

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        If `folder` does not exist or is not a folder.
    OSError
        If the folder, or with `recursive` a sub-folder, cannot be read.
    TypeError
        If `folder` is not a path.

    Warns
    -----
    UnreadableImageWarning
        If there are sub-folders and `recursive` is False, or pictures in other formats, for
        example .heic or .svg. One warning names the first of them.

    See Also
    --------
    sksiamese.datasets.load_images : Load a list of image files.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from sksiamese.datasets import image_files
    >>> with TemporaryDirectory() as folder:
    ...     for name in ["b.png", "a.JPG", "notes.txt"]:
    ...         Path(folder, name).touch()
    ...     [file.name for file in image_files(folder)]
    ['a.JPG', 'b.png']
    """
    root = _check_folder(folder, "folder", "a folder with image files")
    contents = list(walk(root)) if recursive else [_list_folder(root)]
    unread = [path for content in contents for path in content.unreadable]
    if not recursive:
        unread += contents[0].folders
    _warn_of_unread(root, unread)
    return [file for content in contents for file in content.images]


class Content(NamedTuple):
    """What a folder contains, each sorted by name, without hidden files and folders."""

    folders: list[Path]
    images: list[Path]
    unreadable: list[Path]  # broken links, and pictures in formats that are not read


def _list_folder(folder: Path) -> Content:
    """Return the content of a folder; one that cannot be read is an OSError, and never empty."""
    content = Content([], [], [])
    readable = {end for ends in readable_formats().values() for end in ends}
    unreadable = set(_OTHER_EXTENSIONS.split())
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            # macOS adds a folder __MACOSX to zip archives.
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                continue
            path, extension = Path(entry.path), Path(entry.name).suffix.lower()
            # A folder that is in one without permission to enter is only found by its entry.
            if entry.is_dir(follow_symlinks=False) or os.path.isdir(path):
                content.folders.append(path)
            elif extension in readable:
                content.images.append(path)
            elif extension in unreadable or not os.path.exists(path):
                content.unreadable.append(path)
    return content


def walk(folder: Path) -> Iterator[Content]:
    """Yield the content of a folder and of those below it; one that links lead back to, once."""
    seen, folders = set(), [folder]
    while folders:
        folder = folders.pop()
        real = os.path.realpath(folder)
        if real not in seen:
            seen.add(real)
            content = _list_folder(folder)
            yield content
            folders += reversed(content.folders)


def _warn_of_unread(root: Path, unread: list[Path]) -> None:
    """Name files and folders that are not read in one warning, if there are any."""
    if unread:
        warn(
            f"{printable(root)}: {_describe_unread(root, unread)} not read. {_endings()} Convert "
            "other images, for example to PNG.",
            UnreadableImageWarning,
        )


def _describe_unread(root: Path, unread: list[Path]) -> str:
    """Return how many files and folders there are, and the names of the first."""
    names = [f"{path.relative_to(root)}{'/' * path.is_dir()}" for path in unread[:10]]
    listed = ", ".join(map(printable, names)) + (", ..." if len(unread) > 10 else "")
    n_folders = sum(path.is_dir() for path in unread)
    counts = {"file": len(unread) - n_folders, "folder": n_folders}
    parts = [f"{n} {kind}{'s' * (n > 1)}" for kind, n in counts.items() if n]
    return f"{' and '.join(parts)} ({listed}) {'are' if len(unread) > 1 else 'is'}"


def _endings() -> str:
    """Return a sentence that lists the extensions of image files."""
    ends = sorted(end for ends in readable_formats().values() for end in ends)
    return f"Image files end in {', '.join(ends)}."


def _find_classes(
    path: str | os.PathLike[str],
) -> tuple[list[Path], np.ndarray, np.ndarray | None]:
    """Return the image files below `path` in order, their labels, and their groups if any."""
    root = _check_folder(path, "path", "a folder with one folder per class")
    top = _list_folder(root)
    if not top.folders:
        raise ValueError(
            f"{printable(root)} contains no folders; expected one folder of images per class."
        )
    content = {folder: _list_folder(folder) for folder in top.folders}
    grouped = any(content[folder].folders for folder in top.folders)
    problems = [(root, "contains images beside folders")] if top.images else []
    if grouped:
        problems += [
            (group, "must contain only folders, because other folders beside it do")
            for group in top.folders
            if content[group].images or not content[group].folders
        ]
        classes = [
            (f"{group.name}/", folder)
            for group in top.folders
            for folder in content[group].folders
        ]
        content |= {folder: _list_folder(folder) for _, folder in classes}
    else:
        classes = [("", folder) for folder in top.folders]
    for _, folder in classes:
        if not content[folder].images:
            unread = content[folder].unreadable + content[folder].folders
            found = f" but {_describe_unread(folder, unread)} in it" if unread else ""
            problems.append((folder, f"contains no images{found}"))
    if problems:
        folder, problem = problems[0]
        raise ValueError(
            f"{printable(folder)} {problem}; expected files path/class/image, or "
            f"path/group/class/image for all classes. {_endings()}"
        )
    too_deep = [below for _, folder in classes for below in content[folder].folders]
    unreadable = [path for one in (top, *content.values()) for path in one.unreadable]
    _warn_of_unread(root, unreadable + too_deep)
    files = [file for _, folder in classes for file in content[folder].images]
    labels = [prefix + folder.name for prefix, folder in classes for _ in content[folder].images]
    groups = np.array([label.split("/")[0] for label in labels]) if grouped else None
    return files, np.array(labels), groups


def _check_folder(path: Any, name: str, expected: str) -> Path:
    """Return the path of an existing folder, or raise an error that names the parameter."""
    check_path(path, name, f"the path of {expected}")
    folder = Path(os.fsdecode(path))
    try:
        status = os.stat(folder)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{name}={str(folder)!r} does not exist; expected {expected}."
        ) from None
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(f"{name}={str(folder)!r} is not a folder; expected {expected}.")
    return folder


def _check_files(files: Any) -> list[_Source]:
    """Return `files` as a list, or raise an error that names the wrong item."""
    expected = "paths, bytes or binary file objects of images"
    is_one = isinstance(files, str | bytes | bytearray | os.PathLike) or hasattr(files, "read")
    if is_one or not isinstance(files, Iterable):
        raise TypeError(f"files={reprlib.repr(files)}; expected a list of {expected}.")
    sources: list[_Source] = []
    for i, source in enumerate(files):
        if isinstance(source, bytearray | memoryview):
            source = bytes(source)
        if isinstance(source, str | os.PathLike):
            sources.append(os.fsdecode(source))
        elif isinstance(source, bytes) or hasattr(source, "read"):
            sources.append(source)
        else:
            raise TypeError(
                f"files[{i}]={reprlib.repr(source)}; expected a path, bytes or a binary file "
                "object of an image."
            )
    if not sources:
        raise ValueError("files is empty; expected the path of at least one image file.")
    return sources


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
    if memmap is not None:
        _check_memmap(memmap)


def _is_side(value: Any) -> bool:
    """Return whether a value is a positive integer."""
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) > 0


def _check_memmap(memmap: Any) -> None:
    """Raise an error if `memmap` is a folder, is in no folder, or is write-protected."""
    check_path(memmap, "memmap", "the path of an .npy file, or None")
    target = os.path.realpath(os.fsdecode(memmap) or ".")  # of a link, where it points to
    name = f"memmap={os.fsdecode(memmap)!r}"
    try:
        status = os.stat(target)
    except FileNotFoundError:
        if not os.path.isdir(os.path.dirname(target)):
            raise FileNotFoundError(
                f"{name} cannot be written: its parent folder does not exist."
            ) from None
        return
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(f"{name} is a folder; expected a path of an .npy file.")
    if not os.access(target, os.W_OK):
        raise PermissionError(f"{name} cannot be written: the file is read-only.")


def _read(source: _Source, color: bool) -> np.ndarray:
    """Return the pixels of an image file, (height, width) or (height, width, 3)."""
    with _open(source) as file:
        return decode(file, color)


def _open(source: _Source) -> BinaryIO:
    """Open a path, bytes, or the rest of a binary file object."""
    if isinstance(source, str):
        return open_regular(source)
    if isinstance(source, bytes):
        return BytesIO(source)
    try:
        content = source.read()
    except (OSError, ValueError):
        raise
    except Exception as error:  # streams have their own, such as EOFError, zlib.error, BadZipFile
        raise OSError(f"{type(error).__name__}: {error}") from error
    if not isinstance(content, bytes | bytearray | memoryview):
        raise TypeError(
            f"files contains {source!r}, which reads {type(content).__name__} values instead of "
            "bytes. Open a file in binary mode."
        )
    return BytesIO(content)


def _name(source: _Source, row: int) -> str:
    """Return the path of an image file, or its position if it has none."""
    return source if isinstance(source, str) else f"files[{row}]"


def _fit(pixels: np.ndarray, size: tuple[int, int] | None, invert: bool | str) -> np.ndarray:
    """Return pixels resized to `size` and perhaps inverted."""
    sides = pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]
    border = np.median(np.concatenate(sides), axis=0)  # one value per channel
    if size is not None and pixels.shape[:2] != size:
        height, width = size
        scale = min(height / pixels.shape[0], width / pixels.shape[1])
        if min(pixels.shape[:2]) * scale < 0.5:
            raise ValueError(
                f"{pixels.shape[0]}x{pixels.shape[1]} pixels are too narrow for {height}x{width}"
            )
        fill = int(border) if border.ndim == 0 else tuple(border.astype(int).tolist())
        resample = Image.Resampling.BICUBIC
        image = ImageOps.pad(Image.fromarray(pixels), (width, height), resample, color=fill)
        pixels = np.asarray(image)
    inverts = np.mean(border) < 127.5 if isinstance(invert, str) else invert
    return 255 - pixels if inverts else pixels


def _describe_damage(errors: dict[str, str], n_files: int) -> str:
    """Return a sentence that lists the first damaged files."""
    listed = "; ".join(f"{printable(file)} ({why})" for file, why in list(errors.items())[:10])
    return (
        f"{len(errors)} of {n_files} files cannot be read: {listed}"
        f"{'; ...' if len(errors) > 10 else '.'}"
    )


class _InMemory:
    """Images collected in an array."""

    def __init__(self, n_max: int) -> None:
        self.n_max = n_max
        self.n = 0

    def append(self, pixels: np.ndarray) -> None:
        """Add an image of the same shape as the first."""
        if not self.n:
            self.images = np.empty((self.n_max, *pixels.shape), dtype=np.uint8)
        self.images[self.n] = pixels
        self.n += 1

    def finish(self) -> np.ndarray:
        """Return the images."""
        return self.images[: self.n]


class _InFile:
    """Images collected in an .npy file.

    They are written to it, not to a mapping of it: if the disk is full, a write raises an error,
    but a mapping kills the process.
    """

    def __init__(self, n_max: int, file: BinaryIO) -> None:
        self.n_max = n_max
        self.n = 0
        self.file = file

    def append(self, pixels: np.ndarray) -> None:
        """Add an image of the same shape as the first."""
        if not self.n:
            self.shape = pixels.shape
            self._write_header(self.n_max)
            self._reserve(self.n_max * pixels.nbytes)
        self.file.write(pixels.tobytes())
        self.n += 1

    def finish(self) -> None:
        """Correct the number of images in the file."""
        self.file.truncate()
        self.file.seek(0)
        self._write_header(self.n)  # has the same length for any number

    def _write_header(self, n: int) -> None:
        header = {"descr": "|u1", "fortran_order": False, "shape": (n, *self.shape)}
        np.lib.format.write_array_header_1_0(self.file, header)

    def _reserve(self, size: int) -> None:
        """Take the space for all images now, so that a full disk is found out at once."""
        self.file.flush()
        if hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(self.file.fileno(), self.file.tell(), size)
            except OSError as error:
                if error.errno not in (EINVAL, ENOSYS, EOPNOTSUPP):  # not every disk has it
                    raise
