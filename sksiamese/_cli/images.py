"""Image files for the commands: found, read in one size, and named in errors and warnings."""

from __future__ import annotations

import argparse
import io
import os
import re
import stat
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from ..datasets import load_image_folder, load_images
from ..datasets.folder import image_files
from ..exceptions import InvertedImageError, UnreadableImageWarning, ValueRangeError, listed
from .options import INVERT

LONGEST_SIDE = 256  # of images whose size is not given
N_SIZES = 100  # files whose sizes are read
N_NAMED = 5  # files that a message names

# In place of messages that advise to change arrays.
REASONS: dict[type[Exception], str] = {
    InvertedImageError: "inverted polarity relative to other images: light on dark instead of "
    "dark on light, or the reverse; --invert auto makes all images dark on light",
    ValueRangeError: "a range of values far from that of the other images, such as 0 to 1 "
    "instead of 0 to 255",
}

T = TypeVar("T")
AnyImages = TypeVar("AnyImages", bound="Images")


@dataclass(frozen=True, eq=False)
class Images:
    """Images with their files, and why others were left out.

    Attributes
    ----------
    images : uint8 ndarray of shape (n, height, width) or (n, height, width, 3)
    files : ndarray of str, shape (n,)
    skipped : dict of str to str
        Reasons by file.
    """

    images: np.ndarray
    files: np.ndarray
    skipped: Mapping[str, str]

    def without(self: AnyImages, error: RefusedError) -> AnyImages:
        """Return a copy without the images of an error."""
        kept = ~np.isin(self.files, error.files)
        reasons = dict.fromkeys(error.files.tolist(), error.reason)
        arrays = {
            name: value[kept]
            for name, value in vars(self).items()
            if isinstance(value, np.ndarray)
        }
        return replace(self, **arrays, skipped={**self.skipped, **reasons})


@dataclass(frozen=True, eq=False)
class Classes(Images):
    """Images with the class of each, and its group if there are groups.

    Attributes
    ----------
    target : ndarray of str, shape (n,)
    groups : ndarray of str, shape (n,), or None
    """

    target: np.ndarray
    groups: np.ndarray | None = None


class RefusedError(ValueError):
    """Error about images that an estimator cannot use, by the names of their files."""

    def __init__(self, error: ValueError, files: np.ndarray, rows: np.ndarray) -> None:
        self.files = files[rows]
        reason = REASONS.get(type(error))
        if reason is None:
            super().__init__(_with_files(str(error), files, rows))
            self.reason = re.sub(r"X\[\d+\]", "the image", str(error))
        else:
            super().__init__(f"{listed(self.files)}: {reason}")
            self.reason = reason


@contextmanager
def by_file(files: np.ndarray) -> Iterator[None]:
    """Make errors and warnings that carry rows of X name files instead."""
    shown = warnings.showwarning

    def show(message: Any, category: type[Warning], *args: Any, **kwargs: Any) -> None:
        rows = getattr(message, "rows", None)
        if rows is not None:
            message = UserWarning(_with_files(str(message), files, np.asarray(rows)))
        shown(message, category, *args, **kwargs)

    with warnings.catch_warnings():
        warnings.showwarning = show
        try:
            yield
        except RefusedError:
            raise
        except ValueError as error:
            rows = getattr(error, "rows", None)
            if rows is None or not len(rows):
                raise
            raise RefusedError(error, files, np.asarray(rows)) from error


def answer(
    call: Callable[[AnyImages], T],
    images: AnyImages,
    args: argparse.Namespace,
    name: str = "",
    *,
    least: int = 1,
) -> tuple[T, AnyImages]:
    """Return what `call` returns for the images, and those that it has taken.

    Errors that name no files get the `name` of the images. With ``--on-error skip``, images that
    an estimator refuses are left out, as long as `least` images remain.
    """
    while True:
        try:
            with by_file(images.files):
                return call(images), images
        except RefusedError as error:
            if args.on_error == "raise":
                raise
            images = images.without(error)
            if len(images.files) < least:
                raise
        except ValueError as error:
            if not name:
                raise
            text = str(error)
            raise ValueError(
                f"{name}{text[1:]}" if text.startswith("y has ") else f"{name}: {text}"
            ) from error


def find_files(paths: Sequence[str], name: str) -> list[str]:
    """Return image files and those in folders and their sub-folders, in order, each once."""
    found: dict[str, None] = {}
    for path in paths:
        try:
            is_folder = stat.S_ISDIR(os.stat(path).st_mode)
        except (FileNotFoundError, NotADirectoryError, ValueError):
            raise FileNotFoundError(f"{name} {path} does not exist.") from None
        files = image_files(path, recursive=True) if is_folder else [path]
        found.update((os.fspath(file), None) for file in files)
    if not found:
        raise ValueError(f"{name} {' '.join(paths)} contains no images.")
    return list(found)


def typical_size(files: Sequence[str]) -> tuple[int, int]:
    """Return the median height and width of image files, with sides of at most 256 pixels."""
    some = np.unique(np.linspace(0, len(files) - 1, N_SIZES).round().astype(int))
    sizes = []
    for i in some:
        try:
            sizes.append(load_images([files[i]]).images.shape[1:3])
        except OSError:
            continue  # what reads the files names it
    if not sizes:
        return LONGEST_SIDE, LONGEST_SIDE
    height, width = np.percentile(sizes, 50, axis=0, method="lower")
    scale = min(1.0, LONGEST_SIDE / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def read_files(
    files: Sequence[str], size: Sequence[int], color: bool, args: argparse.Namespace
) -> Images:
    """Read a list of files; with ``--on-error skip``, those that can be read, if any."""
    sources: list[str | bytes] = [*files]
    if args.on_error == "skip":  # nothing read is an error, so another image goes with them
        content = io.BytesIO()
        Image.new("L", (1, 1)).save(content, "png")
        sources.append(content.getvalue())
    with _unwarned():
        data = load_images(sources, (size[0], size[1]), color=color, **_reading(args))
    n = int((data.rows < len(files)).sum())
    return Images(data.images[:n], data.filenames[:n], data.errors)


def read_classes(
    name: str, folder: str, size: Sequence[int], color: bool, args: argparse.Namespace
) -> Classes:
    """Read a folder with one folder per class, or one file per class."""
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"{name} {folder} is not a folder; expected a folder of images.")
    files = find_files([folder], name)
    if all(Path(file).parent == Path(folder) for file in files):
        data = read_files(files, size, color, args)
        target = np.array([class_of(file, folder) for file in data.files])
        return Classes(data.images, data.files, data.skipped, target)
    with _unwarned():
        data = load_image_folder(folder, (size[0], size[1]), color=color, **_reading(args))
    return Classes(data.images, data.filenames, data.errors, data.target, data.groups)


def class_of(file: str, folder: str) -> str:
    """Return the class of a file FOLDER/class/image, FOLDER/group/class/image or FOLDER/class."""
    path = Path(os.path.relpath(file, folder))
    return path.stem if path.parent == Path() else path.parent.as_posix()


def _reading(args: argparse.Namespace) -> dict[str, Any]:
    return {"invert": INVERT[args.invert], "on_error": args.on_error}


@contextmanager
def _unwarned() -> Iterator[None]:
    """Keep quiet about files left out: the commands list them."""
    with warnings.catch_warnings():
        message = r"\d+ of \d+ files cannot be read"
        warnings.filterwarnings("ignore", message, UnreadableImageWarning)
        yield


def _with_files(message: str, files: np.ndarray, rows: np.ndarray) -> str:
    """Return a message about rows of X that names their files."""
    message = re.sub(r"X\[(\d+)\]", lambda found: str(files[int(found[1])]), message)
    unnamed = [file for file in files[rows].tolist() if file not in message]
    return f"{message} ({listed(unnamed)})" if unnamed else message
