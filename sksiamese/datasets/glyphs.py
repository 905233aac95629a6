"""Generated characters: any number of classes, for fast tests and for users without data."""

from __future__ import annotations

from numbers import Integral
from typing import overload

import numpy as np
from sklearn.utils import check_random_state, check_scalar

_MAX_STROKES = 4
_MIN_SIZE = 8
_CHUNK = 64  # images rendered at once; bounds the memory of `_render`


@overload
def make_glyphs(
    n_classes: int = 20,
    n_samples: int = 20,
    *,
    image_size: int = 28,
    n_groups: None = None,
    random_state: int | np.random.RandomState | None = None,
) -> tuple[np.ndarray, np.ndarray]: ...


@overload
def make_glyphs(
    n_classes: int = 20,
    n_samples: int = 20,
    *,
    image_size: int = 28,
    n_groups: int,
    random_state: int | np.random.RandomState | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]: ...


def make_glyphs(
    n_classes: int = 20,
    n_samples: int = 20,
    *,
    image_size: int = 28,
    n_groups: int | None = None,
    random_state: int | np.random.RandomState | None = None,
) -> tuple[np.ndarray, ...]:
    """Generate images of random handwritten characters.

    A character has two to four strokes. Each stroke is a quadratic Bézier curve between points of
    a 4 x 4 grid. To draw a sample of a character, its control points are jittered, the drawing is
    rotated, scaled, sheared and shifted, and its lines get a random width.

    Parameters
    ----------
    n_classes : int, default=20
        Number of characters.
    n_samples : int, default=20
        Number of images of each character.
    image_size : int, default=28
        Height and width of the images in pixels, at least 8.
    n_groups : int or None, default=None
        Number of alphabets that the characters are divided into, as evenly as possible. The
        characters of an alphabet have a stroke in common, so they are harder to tell apart. If
        None, there are no alphabets and `groups` is not returned.
    random_state : int, RandomState instance or None, default=None
        Controls the characters and their samples. Pass an int for the same images at each call.
        NumPy's global generator is never used.

    Returns
    -------
    X : uint8 ndarray of shape (n_classes * n_samples, image_size, image_size)
        Gray images, dark on light: foreground 0, background 255, and values between them at the
        edges of strokes.
    y : int ndarray of shape (n_classes * n_samples,)
        Class of each image, from 0 to ``n_classes - 1``, in ascending order.
    groups : int ndarray of shape (n_classes * n_samples,)
        Alphabet of each image, from 0 to ``n_groups - 1``. Only returned if `n_groups` is given.

    Raises
    ------
    TypeError
        If a number is not an integer.
    ValueError
        If a number is out of range, or `random_state` is not a valid seed.

    See Also
    --------
    load_omniglot_minimal : Load real handwritten characters, without a download.

    Examples
    --------
    >>> from sksiamese.datasets import make_glyphs
    >>> X, y = make_glyphs(n_classes=5, n_samples=3, random_state=0)
    >>> X.shape, y
    ((15, 28, 28), array([0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]))
    >>> X, y, groups = make_glyphs(n_classes=4, n_samples=2, n_groups=2, random_state=0)
    >>> groups
    array([0, 0, 0, 0, 1, 1, 1, 1])
    """
    check_scalar(n_classes, "n_classes", Integral, min_val=1)
    check_scalar(n_samples, "n_samples", Integral, min_val=1)
    check_scalar(image_size, "image_size", Integral, min_val=_MIN_SIZE)
    if n_groups is not None:
        check_scalar(n_groups, "n_groups", Integral, min_val=1, max_val=n_classes)
    # check_random_state(None) would return NumPy's global generator.
    rng = np.random.RandomState() if random_state is None else check_random_state(random_state)

    class_group = np.arange(n_classes) * (n_groups or 1) // n_classes
    strokes = _random_strokes(rng, n_classes)
    if n_groups is not None:
        strokes[:, 0] = _random_strokes(rng, n_groups)[class_group, 0]
    n_strokes = rng.randint(2, _MAX_STROKES + 1, size=n_classes)
    # Characters of fewer strokes repeat the last one, so that all fit in one array.
    order = np.minimum(np.arange(_MAX_STROKES), n_strokes[:, None] - 1)

    y = np.repeat(np.arange(n_classes), n_samples)
    control = strokes[y] + rng.normal(scale=0.035, size=(len(y), *strokes.shape[1:]))
    control = np.take_along_axis(control, order[y][:, :, None, None], axis=1)
    control = _random_affine(rng, control)
    radius = rng.uniform(0.024, 0.045, size=len(y))

    X = np.empty((len(y), image_size, image_size), dtype=np.uint8)
    for start in range(0, len(y), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        X[chunk] = 255 - np.rint(255 * _render(control[chunk], radius[chunk], image_size))
    return (X, y) if n_groups is None else (X, y, class_group[y])


def _random_strokes(rng: np.random.RandomState, n: int) -> np.ndarray:
    """Return control points (n, strokes, 3, 2) in the square [-1/2, 1/2]²."""
    # Three different grid points per stroke: start, middle and end.
    cells = rng.rand(n, _MAX_STROKES, 16).argsort(axis=-1)[..., :3]
    points = np.stack(np.divmod(cells, 4), axis=-1) / 3 - 0.5
    return points * 0.68


def _random_affine(rng: np.random.RandomState, control: np.ndarray) -> np.ndarray:
    """Rotate, scale, shear and shift the control points (n, strokes, 3, 2) of each drawing."""
    n = len(control)
    angle, shear = rng.uniform(-0.17, 0.17, size=(2, n))
    scale = rng.uniform(0.85, 1.15, size=(n, 2))
    cos, sin = np.cos(angle), np.sin(angle)
    rotation = np.stack([cos, -sin, sin, cos], axis=-1).reshape(n, 2, 2)
    rotation[:, :, 1] += shear[:, None] * rotation[:, :, 0]
    affine = rotation * scale[:, None, :]
    shift = rng.uniform(-0.05, 0.05, size=(n, 1, 1, 2))
    return np.einsum("nij,nspj->nspi", affine, control) + shift


def _render(control: np.ndarray, radius: np.ndarray, size: int) -> np.ndarray:
    """Render strokes (n, strokes, 3, 2) of half width `radius` (n,).

    Returns the coverage of each pixel, (n, size, size), from 0 (background) to 1 (foreground).
    """
    # B(t) = (1-t)² p0 + 2t(1-t) p1 + t² p2, at steps of about a pixel
    t = np.linspace(0, 1, size * 3 // 2)
    bernstein = np.stack([(1 - t) ** 2, 2 * t * (1 - t), t**2])
    points = np.einsum("pt,nspc->nstc", bernstein, control).reshape(len(control), -1, 2)
    points = ((points + 0.5) * size - 0.5).astype(np.float32)  # in pixels, (n, S*T, 2)

    # Squared distance of each pixel to the nearest curve point: a sum of a row and a column term.
    pixels = np.arange(size, dtype=np.float32)
    rows, columns = ((points[..., i, None] - pixels) ** 2 for i in range(2))  # (n, S*T, size)
    nearest = np.full((len(points), size, size), np.inf, dtype=np.float32)
    distance = np.empty_like(nearest)
    for k in range(points.shape[1]):
        np.add(rows[:, k, :, None], columns[:, k, None, :], out=distance)
        np.minimum(nearest, distance, out=nearest)
    # A ramp of one pixel at the edge is the anti-aliasing.
    edge = np.maximum(radius * size, 0.5)[:, None, None].astype(np.float32) + np.float32(0.5)
    return np.clip(edge - np.sqrt(nearest), 0, 1)
