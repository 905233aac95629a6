"""Drawn characters: endless classes of strokes, for fast tests and for users without data."""

from numbers import Integral

import numpy as np
from sklearn.utils import check_random_state, check_scalar

_MAX_STROKES = 4
_MIN_SIZE = 8
_CHUNK = 64


def make_glyphs(n_classes=20, n_samples=20, *, image_size=28, n_groups=None, random_state=None):
    """Draw made-up characters, each of them by several hands.

    A character is two to four strokes, quadratic Bézier curves between the points of a 4 x 4
    grid. Each drawing of it moves the control points a little, then turns, scales, shears and
    shifts the whole, with a pen of its own width.

    Parameters
    ----------
    n_classes : int, default=20
        Number of characters.
    n_samples : int, default=20
        Number of drawings of each character.
    image_size : int, default=28
        Height and width of the images in pixels, at least 8.
    n_groups : int, default=None
        If given, the characters are dealt to this many alphabets of about equal size. The
        characters of an alphabet share a stroke, so they are harder to tell apart.
    random_state : int, RandomState instance or None, default=None
        Pass an int for the same drawings at every call.

    Returns
    -------
    X : ndarray of shape (n_classes * n_samples, image_size, image_size), float32
        Drawings, ink 1 and ground 0, with grey edges.
    y : ndarray of shape (n_classes * n_samples,), int
        The character drawn, 0 to n_classes - 1, in ascending order.
    groups : ndarray of shape (n_classes * n_samples,), int
        Its alphabet, 0 to n_groups - 1; only returned if `n_groups` is given.

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
    # check_random_state(None) would draw from numpy's global generator.
    rng = np.random.RandomState() if random_state is None else check_random_state(random_state)

    class_group = np.arange(n_classes) * (n_groups or 1) // n_classes
    strokes = _random_strokes(rng, n_classes)
    if n_groups is not None:
        strokes[:, 0] = _random_strokes(rng, n_groups)[class_group, 0]
    n_strokes = rng.randint(2, _MAX_STROKES + 1, size=n_classes)
    # A character of fewer strokes repeats its last one: all then have one shape of array.
    order = np.minimum(np.arange(_MAX_STROKES), n_strokes[:, None] - 1)

    y = np.repeat(np.arange(n_classes), n_samples)
    control = strokes[y] + rng.normal(scale=0.035, size=(len(y), *strokes.shape[1:]))
    control = np.take_along_axis(control, order[y][:, :, None, None], axis=1)
    control = _distort(rng, control)
    radius = rng.uniform(0.024, 0.045, size=len(y))
    X = np.concatenate(
        [
            _render(control[start : start + _CHUNK], radius[start : start + _CHUNK], image_size)
            for start in range(0, len(y), _CHUNK)
        ]
    )
    return (X, y) if n_groups is None else (X, y, class_group[y])


def _random_strokes(rng, n):
    """Return control points (n, strokes, 3, 2) in the square [-1/2, 1/2]²."""
    # Two different grid points are the ends of a stroke; the middle point bends it.
    cells = rng.rand(n, _MAX_STROKES, 16).argsort(axis=-1)[..., :3]
    points = np.stack(np.divmod(cells, 4), axis=-1) / 3 - 0.5
    return points * 0.68


def _distort(rng, control):
    """Turn, scale, shear and shift every drawing's control points (n, strokes, 3, 2)."""
    n = len(control)
    angle, shear = rng.uniform(-0.17, 0.17, size=(2, n))
    scale = rng.uniform(0.85, 1.15, size=(n, 2))
    cos, sin = np.cos(angle), np.sin(angle)
    rotation = np.stack([cos, -sin, sin, cos], axis=-1).reshape(n, 2, 2)
    rotation[:, :, 1] += shear[:, None] * rotation[:, :, 0]
    affine = rotation * scale[:, None, :]
    shift = rng.uniform(-0.05, 0.05, size=(n, 1, 1, 2))
    return np.einsum("nij,nspj->nspi", affine, control) + shift


def _render(control, radius, size):
    """Ink the strokes (n, strokes, 3, 2) with pens of `radius` (n,): images (n, size, size)."""
    # B(t) = (1-t)² p0 + 2t(1-t) p1 + t² p2, at steps of about a pixel
    t = np.linspace(0, 1, size * 3 // 2)
    bernstein = np.stack([(1 - t) ** 2, 2 * t * (1 - t), t**2])
    points = np.einsum("pt,nspc->nstc", bernstein, control).reshape(len(control), -1, 2)
    points = ((points + 0.5) * size - 0.5).astype(np.float32)  # in pixels, (n, S*T, 2)

    # The squared distance splits into rows and columns; the nearest point of the pen counts.
    pixels = np.arange(size, dtype=np.float32)
    rows, columns = ((points[..., i, None] - pixels) ** 2 for i in range(2))  # (n, S*T, size)
    nearest = np.full((len(points), size, size), np.inf, dtype=np.float32)
    distance = np.empty_like(nearest)
    for k in range(points.shape[1]):
        np.add(rows[:, k, :, None], columns[:, k, None, :], out=distance)
        np.minimum(nearest, distance, out=nearest)
    # One pixel of ramp around the rim is the anti-aliasing.
    rim = np.maximum(radius * size, 0.5)[:, None, None].astype(np.float32) + np.float32(0.5)
    return np.clip(rim - np.sqrt(nearest), 0, 1)
