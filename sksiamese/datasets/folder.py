"""Images of one's own: a folder for each class."""

import os
import warnings
from contextlib import nullcontext
from numbers import Integral
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from sklearn.utils import Bunch

_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}
# The greatest value of images of more digits than a byte has, the least of which that holds them.
_HIGHEST = {"F": (1, 255, 65535), "I": (65535,)}
_DAMAGE = OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError


class UnreadableImageWarning(UserWarning):
    """Files of an image folder could not be read, and were left out."""


def load_image_folder(
    path, image_shape=None, *, color=False, invert=False, on_error="raise", memmap=None
):
    """Load images from a folder that has one folder for each class.

    ``path/class/image.png``, as ``sklearn.datasets.load_files`` and torchvision's ``ImageFolder``
    have it; or ``path/group/class/image.png``, where a group is, say, an alphabet: its classes are
    then named ``group/class``. Hidden files and folders do not count, nor do files whose names end
    otherwise than in png, jpg, jpeg, bmp, gif, tif, tiff, webp, ppm or pgm.

    Parameters
    ----------
    path : str or path-like
    image_shape : tuple of 2 ints or None, default=None
        (height, width) that images are brought to: shrunk or enlarged as a whole, and padded where
        proportions differ with the colour of the border. None: all have one size already.
    color : bool, default=False
        RGB in place of gray. Deeper images than 8 bits become bytes: each by the least of 1, 255
        and 65535 that no value of a float image exceeds, by 65535 an integer one.
    invert : bool or "auto", default=False
        Turn dark ink on light ground into light ink on dark; "auto" does so to the images whose
        border is light.
    on_error : {"raise", "skip"}, default="raise"
        Files that cannot be read: one error that names them, or one warning.
    memmap : path-like or None, default=None
        An .npy file to write the images to, and to map them from, where they do not fit in memory.
        Replaced as a whole, and only once all images are written; until then they are in a folder
        beside it, ``sksiamese-...``, which stays if Python is killed.

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
        If a class has no images, if images lie beside folders, or if images differ in size and
        `image_shape` is None.
    OSError
        If files cannot be read, and `on_error` is "raise".

    Examples
    --------
    >>> from sksiamese.datasets import load_image_folder
    >>> data = load_image_folder("parts", image_shape=(64, 64))  # doctest: +SKIP
    >>> clf.fit(data.images, data.target, groups=data.groups)  # doctest: +SKIP
    """
    files, labels, groups = _files_of(path)
    images, kept = load_images(files, image_shape, color, invert, on_error, memmap)
    return Bunch(
        images=images,
        target=labels[kept],
        groups=None if groups is None else groups[kept],
        filenames=np.array([str(files[row]) for row in kept]),
    )


def load_images(files, image_shape, color, invert, on_error, memmap=None):
    """Images of these files, as `load_image_folder` says, and which of the files they are."""
    _check_options(image_shape, invert, on_error, memmap)
    kept, damaged = [], []
    # Next to the file that it will be, so that moving it there copies nothing.
    beside = nullcontext()
    if memmap is not None:
        beside = TemporaryDirectory(dir=Path(memmap).parent, prefix="sksiamese-")
    with beside as folder:
        for row, file in enumerate(files):
            try:
                image = _read(file, color)
            except _DAMAGE as error:
                damaged.append(f"{file} ({error})")
                continue
            size = image.size[::-1]
            if not kept:
                shape = image_shape or size
                images = _empty((len(files), *shape, *((3,) if color else ())), folder)
            if image_shape is None and size != shape:
                raise ValueError(
                    f"{file} has {size[0]}x{size[1]} pixels, and those before it "
                    f"{shape[0]}x{shape[1]}: say what to bring them to by "
                    "image_shape=(height, width)."
                )
            images[len(kept)] = _drawn(image, shape, invert)
            kept.append(row)
        if damaged and (on_error == "raise" or not kept):
            raise OSError(f"{_list(damaged, files)} Mend or delete them, or pass on_error='skip'.")
        if folder is not None:
            images = _moved(images, len(kept), memmap)
    if damaged:
        what = f"{_list(damaged, files)} They are left out."
        warnings.warn(what, UnreadableImageWarning, stacklevel=3)
    return images[: len(kept)], kept


def _check_options(image_shape, invert, on_error, memmap):
    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error={on_error!r} is not known; expected 'raise' or 'skip'.")
    if image_shape is not None:
        ok = isinstance(image_shape, (tuple, list)) and len(image_shape) == 2
        if not ok or not all(map(_is_side, image_shape)):
            raise ValueError(f"image_shape={image_shape!r}; expected (height, width), or None.")
    if not (isinstance(invert, bool | np.bool_) or (isinstance(invert, str) and invert == "auto")):
        raise ValueError(f"invert={invert!r} is not known; expected True, False or 'auto'.")
    if memmap is not None and not isinstance(memmap, str | os.PathLike):
        raise TypeError(f"memmap={memmap!r}; expected the path of an .npy file, or None.")
    if memmap is not None and (Path(memmap).is_dir() or not Path(memmap).parent.is_dir()):
        raise OSError(f"memmap={str(memmap)!r}; expected the path of a file in a folder there is.")


def _list(damaged, files):
    listed = "; ".join(damaged[:10]) + ("; ..." if len(damaged) > 10 else ".")
    return f"{len(damaged)} of {len(files)} files cannot be read: {listed}"


def image_files(folder):
    """Files of a folder whose names say that they are images, in order."""
    return _listed(folder)[1]


def _files_of(path):
    """Image files in the order of their names, with their classes and perhaps groups."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path={path!r}; expected the path of a folder.")
    path = Path(path)
    if not path.is_dir():
        error = NotADirectoryError if path.exists() else FileNotFoundError
        raise error(f"path={str(path)!r} is no folder; expected one that has a folder a class.")
    top, stray = _listed(path)
    if not top:
        raise ValueError(f"{path} has no folders; expected one for each class, of its images.")
    inside = {folder: _listed(folder) for folder in top}
    grouped = any(folders for folders, _ in inside.values())
    wrong = [(path, "has images beside its folders")] if stray else []
    if grouped:
        classes = [(group, c, *_listed(c)) for group in top for c in inside[group][0]]
        what = "has no folders, or images beside them, where others have folders alone"
        wrong += [(g, what) for g in top if inside[g][1] or not inside[g][0]]
    else:
        classes = [(None, c, *inside[c]) for c in top]
    wrong += [(c, "has folders of its own") for _, c, folders, _ in classes if folders]
    wrong += [(c, "has no images") for _, c, _, images in classes if not images]
    if wrong:
        folder, what = wrong[0]
        raise ValueError(
            f"{folder} {what}; expected path/class/image or, everywhere, path/group/class/image. "
            f"Known kinds: {', '.join(sorted(_SUFFIXES))}."
        )
    files, labels, groups = [], [], []
    for group, folder, _, own in classes:
        files += own
        labels += [folder.name if group is None else f"{group.name}/{folder.name}"] * len(own)
        groups += [group and group.name] * len(own)
    return files, np.array(labels), np.array(groups) if grouped else None


def _listed(folder):
    """Folders, and files whose names say that they are images, in the order of their names; not
    what is hidden, nor what macOS puts into archives."""
    folders, images = [], []
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                continue
            if entry.is_dir():
                folders.append(Path(entry.path))
            elif Path(entry.name).suffix.lower() in _SUFFIXES:
                images.append(Path(entry.path))
    return folders, images


def _is_side(value):
    return isinstance(value, Integral) and not isinstance(value, bool) and value > 0


def _read(file, color):
    """An image on white where it is transparent, upright, in gray or RGB."""
    with Image.open(file) as opened:
        image = ImageOps.exif_transpose(opened)
        if image.mode[0] in _HIGHEST:
            values = np.asarray(image, dtype=np.float64)
            low, high = values.min(), values.max()
            if not (low >= 0 and high <= _HIGHEST[image.mode[0]][-1]):  # NaN neither
                raise ValueError(f"values from {low:g} to {high:g}")
            high = next(h for h in _HIGHEST[image.mode[0]] if high <= h)
            image = Image.fromarray((values / high * 255).round().astype(np.uint8))
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
    if np.mean(ground) > 127.5 if isinstance(invert, str) else invert:
        pixels = 255 - pixels
    return pixels


def _empty(shape, folder):
    if folder is None:
        return np.empty(shape, dtype=np.uint8)
    return np.lib.format.open_memmap(Path(folder, "all.npy"), "w+", np.uint8, shape)


def _moved(images, n, memmap):
    """The first `n` of these mapped images, in a file that stays."""
    images.flush()
    written = Path(images.filename)
    if n < len(images):
        written = written.with_name("kept.npy")
        np.save(written, images[:n])
    os.replace(written, memmap)
    return np.load(memmap, mmap_mode="r")
