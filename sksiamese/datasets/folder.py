"""Images of one's own: a folder for each class."""

import warnings
from numbers import Integral
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from sklearn.utils import Bunch

_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}
_DAMAGE = OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError


class UnreadableImageWarning(UserWarning):
    """Files of an image folder could not be read, and were left out."""


def load_image_folder(
    path, image_shape=None, *, color=False, invert=False, on_error="raise", memmap=None
):
    """Load images from a folder that has one folder for each class.

    ``path/class/image.png``, as ``sklearn.datasets.load_files`` and torchvision's ``ImageFolder``
    have it; or ``path/group/class/image.png``, where a group is, say, an alphabet: its classes are
    then named ``group/class``.

    Parameters
    ----------
    path : str or path-like
    image_shape : tuple of 2 ints or None, default=None
        (height, width) that images are brought to: shrunk or enlarged as a whole, and padded where
        proportions differ with the colour of the border. None: all have one size already.
    color : bool, default=False
        RGB in place of gray.
    invert : bool or "auto", default=False
        Turn dark ink on light ground into light ink on dark; "auto" does so to the images whose
        border is light.
    on_error : {"raise", "skip"}, default="raise"
        Files that cannot be read: one error that names them, or one warning.
    memmap : path-like or None, default=None
        An .npy file to write the images to, and to map them from, where they do not fit in memory.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With fields

        - images: uint8 array (n, height, width), or (n, height, width, 3)
        - target: array of n labels, the names of the folders
        - groups: array of n names, or None where there is no second level
        - filenames: array of n paths

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        If `path` is no folder.
    ValueError
        If a class has no images, or images differ in size and `image_shape` is None.
    OSError
        If files cannot be read, and `on_error` is "raise".

    Examples
    --------
    >>> from sksiamese.datasets import load_image_folder
    >>> data = load_image_folder("parts", image_shape=(64, 64))  # doctest: +SKIP
    >>> clf.fit(data.images, data.target, groups=data.groups)  # doctest: +SKIP
    """
    files, labels, groups = _files_of(Path(path))
    images, kept = load_images(files, image_shape, color, invert, on_error, memmap)
    return Bunch(
        images=images,
        target=labels[kept],
        groups=None if groups is None else groups[kept],
        filenames=np.array([str(files[row]) for row in kept]),
    )


def load_images(files, image_shape, color, invert, on_error, memmap=None):
    """Images of these files, as `load_image_folder` says, and which of the files they are."""
    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error={on_error!r} is not known; expected 'raise' or 'skip'.")
    if image_shape is not None:
        ok = isinstance(image_shape, (tuple, list)) and len(image_shape) == 2
        if not ok or not all(isinstance(side, Integral) and side > 0 for side in image_shape):
            raise ValueError(f"image_shape={image_shape!r}; expected (height, width), or None.")
    if invert not in (True, False, "auto"):
        raise ValueError(f"invert={invert!r} is not known; expected True, False or 'auto'.")
    images, shape, kept, damaged = None, image_shape, [], []
    for row, file in enumerate(files):
        try:
            image = _read(file, color)
        except _DAMAGE as error:
            damaged.append(f"{file} ({error})")
            continue
        if shape is None:
            shape = image.size[::-1]
        if image_shape is None and image.size[::-1] != shape:
            raise ValueError(
                f"{file} has {image.height}x{image.width} pixels, and those before it "
                f"{shape[0]}x{shape[1]}: say what to bring them to by image_shape=(height, width)."
            )
        if images is None:
            images = _empty((len(files), *shape, *((3,) if color else ())), memmap)
        images[len(kept)] = _drawn(image, shape, invert)
        kept.append(row)
    if damaged:
        what = f"{len(damaged)} of {len(files)} files cannot be read: {'; '.join(damaged[:10])}"
        what += "; ..." if len(damaged) > 10 else "."
        if on_error == "raise" or not kept:
            raise OSError(f"{what} Mend or delete them, or pass on_error='skip'.")
        warnings.warn(f"{what} They are left out.", UnreadableImageWarning, stacklevel=3)
    return images[: len(kept)], kept


def image_files(folder):
    """Files of a folder whose names say that they are images, in order."""
    return sorted(f for f in folder.iterdir() if f.suffix.lower() in _SUFFIXES)


def _files_of(path):
    """Image files in the order of their names, with their classes and perhaps groups."""
    if not path.is_dir():
        error = NotADirectoryError if path.exists() else FileNotFoundError
        raise error(f"path={str(path)!r} is no folder; expected one that has a folder a class.")
    inner = _folders(path)
    if not inner:
        raise ValueError(f"{path} has no folders; expected one for each class, of its images.")
    grouped = bool(_folders(inner[0]))
    classes = (
        [(f, c) for f in inner for c in _folders(f)] if grouped else [(None, f) for f in inner]
    )
    files, labels, groups = [], [], []
    for group, folder in classes:
        own = image_files(folder)
        if not own or _folders(folder):
            what = "has folders of its own" if own else "has no images"
            raise ValueError(
                f"{folder} {what}; expected path/class/image or, everywhere, "
                f"path/group/class/image. Known kinds: {', '.join(sorted(_SUFFIXES))}."
            )
        files += own
        labels += [folder.name if group is None else f"{group.name}/{folder.name}"] * len(own)
        groups += [group and group.name] * len(own)
    return files, np.array(labels), np.array(groups) if grouped else None


def _folders(path):
    return sorted(f for f in path.iterdir() if f.is_dir() and not f.name.startswith("."))


def _read(file, color):
    """An image on white where it is transparent, upright, in gray or RGB."""
    with Image.open(file) as opened:
        image = ImageOps.exif_transpose(opened)
        if image.mode in ("I", "F") or image.mode.startswith("I;"):  # more digits than a byte has
            values = np.asarray(image, dtype=np.float64)
            high = values.max() if image.mode == "F" else 65535
            image = Image.fromarray((values / max(high, 1e-12) * 255).round().astype(np.uint8))
        if "transparency" in image.info or "A" in image.getbands():
            image = image.convert("RGBA")
            ground = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(ground, image)
        return image.convert("RGB" if color else "L")


def _drawn(image, shape, invert):
    """The pixels of the image brought to `shape`, uint8."""
    pixels = np.asarray(image)
    sides = pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]
    ground = np.median(np.concatenate(sides), axis=0)
    if pixels.shape[:2] != tuple(shape):
        color = int(ground) if ground.ndim == 0 else tuple(ground.astype(int).tolist())
        image = ImageOps.pad(image, tuple(shape[::-1]), Image.Resampling.BICUBIC, color=color)
        pixels = np.asarray(image)
    if invert is True or (invert == "auto" and np.mean(ground) > 127.5):
        pixels = 255 - pixels
    return pixels


def _empty(shape, memmap):
    if memmap is None:
        return np.empty(shape, dtype=np.uint8)
    return np.lib.format.open_memmap(memmap, mode="w+", dtype=np.uint8, shape=shape)
