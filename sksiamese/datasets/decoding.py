"""Pixels of Pillow images as uint8 values: modes, depth, transparency and EXIF orientation."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError, features

# Formats that are read, by Pillow's names, and the extensions of their files. Pillow has more,
# among them EPS, which it gives to Ghostscript.
_FORMATS = {
    "AVIF": (".avif",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "JPEG": (".jfif", ".jpe", ".jpeg", ".jpg"),
    "PNG": (".png",),
    "PPM": (".pbm", ".pgm", ".pnm", ".ppm"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
}
_OPTIONAL = ("AVIF", "WEBP")  # not in every build of Pillow
# Modes that Pillow converts to RGB without loss of meaning.
_COLORS = {"1", "L", "RGB", "RGBX", "CMYK", "YCbCr", "HSV"}
_TRANSPARENT = {"P", "PA", "LA", "La", "RGBA", "RGBa"}
_WITH_KEY = {"1", "L", "RGB"}  # in which Pillow lets one value stand for transparency
# Possible maximum values of pixels deeper than 8 bits, by the first letter of the mode.
_MAXIMA = {"F": (1, 255, 65535), "I": (65535,)}
_BAND = 1 << 20  # pixels that are converted at once
_ORIENTATION, _PHOTOMETRIC = 0x0112, 0x0106  # tags of EXIF and TIFF
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@cache
def readable_formats() -> dict[str, tuple[str, ...]]:
    """Return the formats that `decode` reads, with the extensions of their files.

    Returns
    -------
    formats : dict of str to tuple of str
        Extensions in lower case, by Pillow's name of the format. AVIF and WebP are in it if
        Pillow was built with them.

    Examples
    --------
    >>> from sksiamese.datasets.decoding import readable_formats
    >>> readable_formats()["TIFF"]
    ('.tif', '.tiff')
    """
    Image.init()
    missing = {
        name for name in _OPTIONAL if name not in Image.OPEN or not features.check(name.lower())
    }
    return {name: ends for name, ends in _FORMATS.items() if name not in missing}


def decode(file: BinaryIO, color: bool) -> np.ndarray:
    """Return the pixels of an image file, upright and opaque, as uint8 values.

    Parameters
    ----------
    file : binary file object
        File in one of :func:`readable_formats`, whatever its name. Of an animation or a file with
        several pages, the first image is read.
    color : bool
        If True, return RGB values, otherwise gray ones.

    Returns
    -------
    pixels : uint8 ndarray of shape (height, width) or (height, width, 3)
        Values from 0 to 255, as :func:`to_array` returns them.

    Raises
    ------
    OSError
        If the file has another format, is damaged, or has more than twice as many pixels as
        ``PIL.Image.MAX_IMAGE_PIXELS``.
    ValueError
        If the image has a mode or values that :func:`to_array` refuses.

    See Also
    --------
    sksiamese.datasets.load_images : Load image files.

    Examples
    --------
    >>> from io import BytesIO
    >>> from sksiamese.datasets.decoding import decode
    >>> decode(BytesIO(b"P2 3 1 255 0 128 255"), color=False)
    array([[  0, 128, 255]], dtype=uint8)
    """
    try:
        image = Image.open(file, formats=tuple(readable_formats()))
    except UnidentifiedImageError as error:
        names = ", ".join(readable_formats())
        raise OSError(f"it is not an image in a format that can be read ({names})") from error
    except Exception as error:
        raise _damage(error) from error
    with image:
        return to_array(image, color)


def to_array(image: Image.Image, color: bool) -> np.ndarray:
    """Return the pixels of a Pillow image, upright and opaque, as uint8 values.

    Parameters
    ----------
    image : PIL.Image.Image
        Image of mode 1, L, P, PA, LA, La, RGB, RGBA, RGBa, RGBX, CMYK, YCbCr, HSV, I, I;16 (of
        any byte order) or F. It may have been opened and not yet read. It is not changed.
    color : bool
        If True, return RGB values, otherwise gray ones.

    Returns
    -------
    pixels : uint8 ndarray of shape (height, width) or (height, width, 3)
        Values from 0 to 255. Of an animation, the current frame.

    Raises
    ------
    ValueError
        If the image has another mode, no pixels, or values of unknown range.
    OSError
        If the image cannot be decoded, because its file is damaged or the memory is too small.

    See Also
    --------
    sksiamese.datasets.load_images : Load image files.

    Notes
    -----
    - The image is rotated and mirrored as its EXIF orientation says. A value other than 1 to 8
      means upright.
    - Integers with more than 8 bits are divided by 65535, floats by the smallest of 1, 255 and
      65535 that is not less than the maximum of the image; both become 0 to 255. Values outside
      these ranges, NaN, and integers or floats above 1 whose maximum is less than a quarter of
      the range are refused: they are likely to have fewer bits (for example 12 bits in 16), and
      would become almost black.
    - Transparent pixels become white. They become black if more of the visible content would
      vanish on white than on black, for example white ink. If the content is a picture that fills
      a rectangle, transparent pixels around it become white or black, whichever is closer to
      the edge of the picture. An image without visible content becomes white.

    Examples
    --------
    >>> from PIL import Image
    >>> from sksiamese.datasets.decoding import to_array
    >>> ink = Image.new("LA", (3, 1))  # transparent
    >>> ink.putpixel((1, 0), (255, 255))  # white
    >>> to_array(ink, color=False)
    array([[  0, 255,   0]], dtype=uint8)
    """
    try:
        return _convert(image, color)
    except MemoryError as error:  # a small file may declare a large image
        raise _damage(error) from error


def _convert(image: Image.Image, color: bool) -> np.ndarray:
    """Return what `to_array` does."""
    is_deep, zero_is_white = _is_deep(image), _zero_is_white(image)
    image = _upright(image)
    if not all(image.size):
        raise ValueError(f"{image.height}x{image.width} pixels; expected at least one")
    if image.mode[0] in _MAXIMA:
        image = _scale(image, zero_is_white)
    elif image.mode not in _COLORS | _TRANSPARENT:
        raise ValueError(
            f"mode {image.mode!r} cannot be converted; expected 8-bit gray or RGB values, with or "
            "without transparency. Convert the image, for example image.convert('RGB')."
        )
    elif is_deep:  # Pillow kept the upper 8 bits of 16
        extrema: Any = image.getextrema()
        bands = zip(image.getbands(), extrema, strict=True)
        _check_maximum(256 * max(high for band, (_, high) in bands if band != "A") + 255, 65535)
    is_transparent = image.mode in _TRANSPARENT or (
        image.mode in _WITH_KEY and "transparency" in image.info
    )
    background = _find_background(*_luminance_alpha(image)) if is_transparent else None
    pixels = np.empty((image.height, image.width, 3)[: 3 if color else 2], dtype=np.uint8)
    for rows, band in _bands(image):
        pixels[rows] = np.asarray(_flatten(band, background).convert("RGB" if color else "L"))
    return pixels


def _bands(image: Image.Image) -> Iterator[tuple[slice, Image.Image]]:
    """Yield an image in parts of some rows: each conversion takes memory of its own."""
    n_rows = max(1, _BAND // image.width)
    for top in range(0, image.height, n_rows):
        bottom = min(top + n_rows, image.height)
        yield slice(top, bottom), image.crop((0, top, image.width, bottom))


def _damage(error: Exception) -> OSError:
    """Return what is raised for any error of a decoder: damaged files raise many types."""
    return OSError(f"the image cannot be decoded ({str(error) or type(error).__name__})")


def _is_deep(image: Image.Image) -> bool:
    """Return whether a multi-channel image that is not yet read has 16 bits in its file."""
    if image.mode in ("1", "L", "P") or image.mode[0] in _MAXIMA:
        return False
    return any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()))


def _zero_is_white(image: Image.Image) -> bool:
    """Return whether Pillow reads an image of more than 8 bits inverted."""
    return getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == 0


def _upright(image: Image.Image) -> Image.Image:
    """Read an image and apply its EXIF orientation."""
    try:
        image.load()
        # Pillow turns TIFF files as it reads them; some versions keep the tag.
        orientation = None if hasattr(image, "tag_v2") else image.getexif().get(_ORIENTATION)
    except Exception as error:
        raise _damage(error) from error
    transposition = _TRANSPOSE.get(orientation) if isinstance(orientation, int) else None
    return image if transposition is None else image.transpose(transposition)


def _scale(image: Image.Image, zero_is_white: bool) -> Image.Image:
    """Return an image of 16-bit, 32-bit or float values as mode L, or LA if it has a key value."""
    maxima = _MAXIMA[image.mode[0]]
    extrema = [(values.min(), values.max()) for _, values in _floats(image)]
    low, high = np.min(extrema), np.max(extrema)
    if not (low >= 0 and high <= maxima[-1]):  # also if NaN
        raise ValueError(f"values from {low:g} to {high:g}; expected 0 to {maxima[-1]}")
    maximum = next(m for m in maxima if high <= m)
    _check_maximum(high, maximum)
    key = image.info.get("transparency")
    has_key = isinstance(key, int)
    result = Image.new("LA" if has_key else "L", image.size)
    for rows, values in _floats(image):
        scaled = (values / maximum * 255).round().astype(np.uint8)
        band = Image.fromarray(255 - scaled if zero_is_white else scaled)
        if has_key:
            band.putalpha(Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8)))
        result.paste(band, (0, rows.start))
    return result


def _floats(image: Image.Image) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield the values of an image of one channel in parts of some rows."""
    for rows, band in _bands(image):
        yield rows, np.asarray(band, dtype=np.float32)


def _check_maximum(high: float, maximum: float) -> None:
    """Raise a ValueError if values of more than 8 bits use too little of their range."""
    if maximum > 1 and 0 < high < maximum / 4:
        raise ValueError(
            f"values to {high:g} of {maximum:g}, which would be almost black; the image is likely "
            "to have fewer bits. Convert it to 8 bits"
        )


def _to_rgba(image: Image.Image) -> Image.Image:
    """Return a transparent image in mode RGBA."""
    if image.mode == "La":  # multiplied by alpha, as RGBa is
        image = image.convert("LA")
    return image.convert("RGBA")


def _flatten(image: Image.Image, background: str | None) -> Image.Image:
    """Return an opaque image in a mode that has no palette, on a background if there is one."""
    if background is not None:
        paper = Image.new("RGBA", image.size, background)
        return Image.alpha_composite(paper, _to_rgba(image))
    return image if image.mode in ("1", "L") else image.convert("RGB")


def _luminance_alpha(image: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    """Return the luminance and alpha of a transparent image, each (height, width)."""
    luminance = np.empty((image.height, image.width), dtype=np.uint8)
    alpha = np.empty_like(luminance)
    for rows, band in _bands(image):
        rgba = _to_rgba(band)
        luminance[rows] = np.asarray(rgba.convert("RGB").convert("L"))
        alpha[rows] = np.asarray(rgba.getchannel("A"))
    return luminance, alpha


def _find_background(luminance: np.ndarray, alpha: np.ndarray) -> str:
    """Return "white" or "black" for an image with luminance and alpha (height, width)."""
    vanishing_on_white = alpha[luminance >= 192].sum(dtype=np.int64)
    vanishing_on_black = alpha[luminance < 64].sum(dtype=np.int64)
    prefers_black = vanishing_on_white > vanishing_on_black
    picture = _find_picture(luminance, alpha)
    if picture is not None:
        edge = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
        prefers_black = np.median(edge) < 127.5
    return "black" if prefers_black else "white"


def _find_picture(luminance: np.ndarray, alpha: np.ndarray) -> np.ndarray | None:
    """Return the content if it is a picture: a filled rectangle with contrast inside."""
    opaque = alpha >= 128
    rows, columns = np.flatnonzero(opaque.any(axis=1)), np.flatnonzero(opaque.any(axis=0))
    if not len(rows):
        return None
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    values = luminance[opaque]
    fills = opaque[box].mean() >= 0.9 and int(values.max()) - int(values.min()) >= 64
    return luminance[box] if fills else None
