"""Foreground: uneven light, ruled lines, dark page edges and specks taken out of scaled images.

The images have background near 0 and foreground near 1, light or dark on their paper. `corrected`
returns its input unless the border is uneven, lines may cross it, or a component may be a speck,
and it changes nothing that is not a drawing on paper: when all is taken out, most of the image is
flat.

1. Page edges (`_without_page_edges`): straight dark strips along one or two sides.
2. Light (`_evened`): the local background is a grey opening, which removes what is narrower than
   its window. Light is a factor, so the background is divided out. A threshold that follows the
   local background, as that of Sauvola & Pietikäinen [1]_, would find the same foreground, but
   the drawing would lose its gray levels.
3. Lines (`_without_lines`): straight ridges from one side of the image to the opposite one that
   are fainter and slighter than the drawing's strokes. Each is divided out by its profile, so
   that strokes that cross it remain.
4. Specks (`_without_specks`): components that are smaller than a dot of the pen and lie apart.

References
----------
.. [1] J. Sauvola, M. Pietikäinen, "Adaptive document image binarization", 2000.
"""

import math

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from .seen import Seen, border_of, median

UNEVEN = 0.08  # range of the border's medians, in units of the image's range
N_SEGMENTS = 24  # of the border
WIDE, NARROW = 0.3, 0.12  # windows of the openings, in units of the image's longer side
DARKEST = 0.65  # a shadow takes at most so much of the light
FLAT = 0.08  # paper differs so much from its median at most, in units of the foreground
DRAWN = 0.004  # fraction of an image that a drawing covers, at least
FAINTEST = 0.2  # weaker foreground is noise
SHADED = 0.05  # fraction of an image that a shadow covers, at least
PAPER = 0.56  # fraction of a corrected image that is paper, at least

SMALLEST = 24  # side; strokes of smaller images are too broad to tell them from shadows
SIDE = 105  # light and lines are sought at about this size
COARSE = 40  # polarity is found at about this size
TILT = 0.15  # a line's ends differ by at most so much of the image's side
RIDGE = 0.045  # a line stands out by so much of the foreground
LINE_DARKNESS = 0.9  # a line is not so dark as the drawing,
LINE_WEIGHT = 0.5  # nor has so much ink across it as a stroke: width times darkness
INK = 0.2  # weaker foreground does not count for that
CAP = 0.15  # more than this does not count, so that strokes are no lines
N_PARTS = 8  # of a line

EDGE = 0.15  # a page edge reaches at most so far into the image, in units of its side,
THIN_EDGE = 0.02  # and further than a stroke that is cut by the border
SPECK = 0.8  # a speck covers less than this times the square of the pen's width
SMALL = 0.02  # and of all foreground,
GAP = 0.08  # and is so far from the drawing, in units of the drawing's longer side


def corrected(x: Tensor, black: Tensor) -> Tensor:
    """Return scaled images with the paper even, and without lines, page edges and specks.

    Parameters
    ----------
    x : Tensor of shape (B, C, H, W)
        Background near 0, foreground near 1.
    black : Tensor of shape (C, 1, 1)
        The scaled value of no light, which a shadow leaves as it is.
    """
    seen = Seen.of_scaled(x)
    rows = np.flatnonzero(is_faulty(seen))
    if not len(rows):
        return x
    uneven, lined = _is_uneven(seen), _may_have_lines(seen)
    x = x.clone()
    dark = black.cpu().numpy()
    for row in rows.tolist():
        image = x[row].cpu().numpy().astype(np.float64)
        if uneven[row]:
            even = _evened(_without_page_edges(image), dark)
            image = even if _is_flat(even) else image
        if lined[row] or (uneven[row] and _may_have_lines(Seen.of_scaled(_batch(image)))):
            image = _without_lines(image, dark)
        if _is_flat(image):
            image = _without_specks(image)
        x[row] = torch.from_numpy(image).to(x)
    return x


def polarity(images: Tensor) -> Tensor:
    """Return how much each image exceeds its local medians on average: (B, C, H, W) -> (B,).

    The sign is that of a drawing, also where the light is uneven and the border says little.
    """
    balances = [_balance(image) for image in images.mean(1).cpu().double().numpy()]
    return torch.tensor(balances, dtype=images.dtype, device=images.device)


def _balance(gray: np.ndarray) -> float:
    small = _shrunk(gray, max(1, min(round(max(gray.shape) / COARSE), *gray.shape)))
    window = 2 * round(WIDE * max(small.shape) / 2) + 1
    return float((small - ndimage.median_filter(small, window, mode="nearest")).mean())


def thickness(masks: Tensor) -> Tensor:
    """Return the mean distance of what is set to the nearest that is not: (B, H, W) -> (B,).

    What is cut off at the border goes on. Nothing must be all set; what is empty has 0.
    """
    means = []
    for mask in masks.cpu().numpy():
        by = _shrinking(mask.shape)
        small = _shrunk(mask, by) > 0.5 if by > 1 else mask
        distances = ndimage.distance_transform_edt(small)
        means.append(distances[small].mean() / max(small.shape) if small.any() else 0.0)
    return torch.tensor(means, dtype=torch.float32, device=masks.device)


def contrast(images: Tensor) -> Tensor:
    """Return how far each drawing stands out of its paper: (B, C, H, W) -> (B, C).

    It is NaN where no even paper is left of an image once its light is evened out.
    """
    extents = np.full(images.shape[:2], np.nan)
    for extent, image in zip(extents, images.cpu().double().numpy(), strict=True):
        image = image if _balance(image.mean(0)) >= 0 else -image
        drawn = image - np.stack([_local_background(channel) for channel in image])
        if _is_flat(drawn):
            extent[:] = drawn.max((1, 2))
    return torch.from_numpy(extents).to(images)


def _batch(image: np.ndarray) -> Tensor:
    return torch.from_numpy(image)[None]


def _gray(x: Tensor) -> Tensor:
    return x if x.shape[1] == 1 else x.mean(1, keepdim=True)


def _range(x: Tensor) -> Tensor:
    return x.amax((1, 2, 3)) - x.amin((1, 2, 3))


def unevenness(x: Tensor) -> Tensor:
    """Return the range of the medians of parts of the border: (B, C, H, W) -> (B,)."""
    return torch.from_numpy(_spread(border_of(_gray(x))[:, 0].numpy(force=True))).to(x.device)


def _spread(border: np.ndarray) -> np.ndarray:
    """Return the range of the medians of parts of borders: (B, pixels) -> (B,)."""
    n_parts = min(N_SEGMENTS, border.shape[1])
    length = border.shape[1] // n_parts
    medians = median(border[:, : n_parts * length].reshape(-1, n_parts, length))
    return medians.max(1) - medians.min(1)


def is_uneven(x: Tensor) -> Tensor:
    """Return whether the border's shade varies: (B, C, H, W) -> (B,) bool.

    It is False for images that are too small to tell.
    """
    if min(x.shape[2:]) < SMALLEST:
        return torch.zeros(len(x), dtype=torch.bool, device=x.device)
    return unevenness(x) > UNEVEN * _range(x)


def is_faulty(seen: Seen) -> np.ndarray:
    """Return which images `corrected` would look at: (B,) bool."""
    if min(seen.images.shape[2:]) < SMALLEST:
        return np.zeros(len(seen), dtype=bool)
    return _is_uneven(seen) | _may_have_lines(seen) | _may_have_specks(seen)


def _is_uneven(seen: Seen) -> np.ndarray:
    return _spread(seen.gray_border) > UNEVEN * seen.extent


def _may_have_lines(seen: Seen) -> np.ndarray:
    """Return which images have something dark on two opposite sides: (B,) bool."""
    border, ordered = seen.gray_border, seen.ordered_border
    n, width = border.shape[1], seen.images.shape[3]
    paper, lightest = ordered[:, n // 4], ordered[:, n // 10]
    line = paper + np.maximum(RIDGE * seen.extent, 8 * (paper - lightest))  # along it too
    top, bottom, left, right = np.split(border, [width, 2 * width, width + n // 2], 1)
    corners = top[:, [0, -1]], bottom[:, [0, -1]]
    across = (top.max(1) > line) & (bottom.max(1) > line)
    ends = np.maximum(*corners)  # of the first and the last column
    left, right = (
        np.maximum(side.max(1), end) for side, end in zip((left, right), ends.T, strict=True)
    )
    return across | ((left > line) & (right > line))


def _may_have_specks(seen: Seen) -> np.ndarray:
    """Return which images have foreground in two cells of a grid, and none around them."""
    cells = seen.cells
    n, height, width = cells.shape
    drawn = np.zeros((n, height + 4, width + 4), dtype=np.int8)
    drawn[:, 2:-2, 2:-2] = cells > 0.5 * cells.max((1, 2), keepdims=True)
    rows = drawn[:, 1:-2] + drawn[:, 2:-1]  # two and four rows about an edge
    inside = rows[:, :, 1:-2] + rows[:, :, 2:-1]
    rows = rows + drawn[:, :-3] + drawn[:, 3:]
    around = rows[:, :, :-3] + rows[:, :, 1:-2] + rows[:, :, 2:-1] + rows[:, :, 3:]
    return ((inside == around) & (inside > 0)).any((1, 2))


def _shrunk(gray: np.ndarray, by: int) -> np.ndarray:
    """Return the means of blocks of `by` x `by` pixels; what is left of a block is left out."""
    h, w = gray.shape[0] // by, gray.shape[1] // by
    return gray[: h * by, : w * by].reshape(h, by, w, by).mean((1, 3))


def _shrinking(shape: tuple[int, ...]) -> int:
    """Return by how much an image is shrunk to find light and lines."""
    return max(1, min(round(max(shape) / SIDE), *shape))


def _without_page_edges(image: np.ndarray) -> np.ndarray:
    """Continue the paper over dark strips along one or two sides, unless they may be drawn.

    The drawing is then not cut tightly: it leaves the other sides free, and hardly touches the
    strips.
    """
    gray = image.mean(0)
    paper = np.median(gray)
    dark = gray > paper + (gray.max() - paper) / 2
    depths = [_strip(np.rot90(dark, turn)) for turn in range(4)]
    if not 1 <= sum(depth is not None for depth in depths) <= 2:
        return image
    strips, ends, after = np.zeros_like(dark), np.zeros_like(dark), image.copy()
    for turn, depth in enumerate(depths):
        if depth is None:
            continue
        rows = np.arange(np.rot90(dark, turn).shape[0])[:, None]
        inner = np.ceil(depth).astype(int)
        np.rot90(strips, turn)[rows < inner] = True
        np.rot90(ends, turn)[rows == inner] = True
        for channel in after:
            seen = np.rot90(channel, turn)
            inside = np.take_along_axis(seen, np.minimum(inner, len(rows) - 1)[None], 0)
            seen[...] = np.where(rows < inner, inside, seen)
    return after if _leaves_border(dark & ~strips, ends) else image


def _leaves_border(drawn: np.ndarray, ends: np.ndarray) -> bool:
    """Return whether a drawing is there and hardly touches the border, and `ends` of strips."""
    touching = (drawn & (_on_border(drawn.shape) | ends)).sum()
    side = min(drawn.shape)
    return bool(touching <= 0.1 * side and min(_extents(drawn)) >= 0.1 * side)


def _on_border(shape: tuple[int, ...]) -> np.ndarray:
    border = np.ones(shape, dtype=bool)
    border[1:-1, 1:-1] = False
    return border


def _extents(drawn: np.ndarray) -> tuple[int, int]:
    """Return the height and width of the box about what is drawn."""
    rows, columns = np.nonzero(drawn)
    return (int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1) if len(rows) else (0, 0)


def _strip(dark: np.ndarray) -> np.ndarray | None:
    """Return the depth of a straight dark strip along the first row, by column, or None."""
    height, width = dark.shape
    depth = np.where(dark.all(0), height, dark.argmin(0))
    if (depth > 0).mean() < 0.9:
        return None
    third = width // 3
    left, right = np.median(depth[:third]), np.median(depth[-third:])
    straight = left + (right - left) * (np.arange(width) - third / 2) / (width - third)
    if (
        not THIN_EDGE * height <= max(left, right) <= EDGE * height
        or (np.abs(depth - straight) > 1.5).mean() > 0.3
    ):
        return None
    return np.clip(straight, 0, height) + 1.5 * _shrinking(dark.shape)


def _evened(image: np.ndarray, black: np.ndarray) -> np.ndarray:
    """Divide out the local background, if the border becomes even and the image flat by it."""
    light = np.stack([_local_background(channel) for channel in image])
    span = UNEVEN * (image.max() - image.min())
    shaded = (np.abs(light - np.median(light)).max(0) > span / 2).mean()
    if shaded < SHADED or (light > DARKEST * black).mean() > DRAWN:
        return image  # strokes along the border
    light = np.minimum(light, DARKEST * black)
    after = (image - light) / (1 - light / black)
    if unevenness(_batch(after)) > unevenness(_batch(image)) or not _is_flat(after):
        return image
    # The scale was learned from other light: bring the drawing to 1.
    after -= np.median(after, (1, 2), keepdims=True)
    drawn = np.quantile(after.mean(0), 1 - DRAWN)
    return after / drawn if FAINTEST < drawn < 1 else after


def _local_background(gray: np.ndarray) -> np.ndarray:
    """Return the paper's shade at each pixel: (H, W) -> (H, W).

    The opening with a wide window removes drawings, also broad ones, but cuts the corners of
    shadows. They grow back within what a narrow window leaves.
    """
    by = _shrinking(gray.shape)
    small = ndimage.median_filter(_shrunk(gray, by), 3, mode="nearest")
    wide, narrow = (2 * round(window * max(small.shape) / 2) + 1 for window in (WIDE, NARROW))
    light = _opening(small, wide)
    limit = np.maximum(light, _opening(small, narrow))
    for _ in range(wide):
        grown = np.minimum(_dilated(light), limit)
        if np.array_equal(grown, light):
            break
        light = grown
    if by == 1:
        return light
    rows, columns = (
        np.clip((np.arange(n) + 0.5) / by - 0.5, 0, m - 1)
        for n, m in zip(gray.shape, light.shape, strict=True)
    )
    at = np.meshgrid(rows, columns, indexing="ij")
    return ndimage.map_coordinates(light, at, order=1, mode="nearest")


def _opening(gray: np.ndarray, window: int) -> np.ndarray:
    """Return a grey opening, by a square of which a quarter at least is inside at the border."""
    beyond = window // 4
    padded = np.pad(gray, beyond, constant_values=np.inf)
    eroded = ndimage.minimum_filter(padded, window, mode="constant", cval=np.inf)
    opened = ndimage.maximum_filter(eroded, window, mode="constant", cval=-np.inf)
    return opened[beyond:-beyond, beyond:-beyond] if beyond else opened


def _dilated(gray: np.ndarray) -> np.ndarray:
    """Return the maximum of each pixel and its eight neighbours."""
    padded = np.pad(gray, 1, mode="edge")
    rows = np.maximum(np.maximum(padded[:-2], padded[1:-1]), padded[2:])
    return np.maximum(np.maximum(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:])


def _is_flat(image: np.ndarray) -> bool:
    gray = image.mean(0)
    strongest = gray.max() - np.median(gray)
    return bool((np.abs(gray - np.median(gray)) < FLAT * strongest).mean() > PAPER)


def _ridges(gray: np.ndarray, reach: int) -> np.ndarray:
    """Return how much darker each pixel is than those `reach` rows above and below."""
    padded = np.pad(gray, ((reach, reach), (0, 0)), mode="edge")
    return gray - (padded[: -2 * reach] + padded[2 * reach :]) / 2


def _find_lines(gray: np.ndarray) -> list[tuple[float, float]]:
    """Return the row at the left and at the right end of each line from left to right."""
    shrink = _shrinking(gray.shape)
    small = _shrunk(gray, shrink)
    height, width = small.shape
    ridges = np.clip(_ridges(small, 3 if min(height, width) > 60 else 2), -CAP, CAP)
    # Lines and what lies beside them may cover most of the image: few ridges show the noise.
    least = max(RIDGE, 4 * float(np.quantile(np.abs(ridges), 0.2)))
    end = max(3, width // 24)
    reach = math.ceil(TILT * height)
    rows = np.arange(-reach, height + reach)
    beyond = (rows < 0) | (rows >= height)
    left, right = (
        rows[np.pad(part.mean(1) > least, reach) | beyond]
        for part in (ridges[:, :end], ridges[:, -end:])
    )
    left, right = (ends.flatten() for ends in np.meshgrid(left, right))
    near = np.abs(left - right) <= reach
    left, right = left[near], right[near]
    path = np.round(left[:, None] + (right - left)[:, None] * np.linspace(0, 1, width)).astype(int)
    inside = (path >= 0) & (path < height)
    mostly = inside.mean(1) > 0.5
    left, right, path, inside = left[mostly], right[mostly], path[mostly], inside[mostly]
    along = np.where(inside, ridges[np.clip(path, 0, height - 1), np.arange(width)], CAP)
    found = _weak_part(along) > least
    strength = along[found].mean(1)
    lines: list[tuple[float, float]] = []
    for best in np.argsort(-strength, kind="stable"):
        line = float(left[found][best]), float(right[found][best])
        if all(_apart(line, other) for other in lines):
            lines.append(line)
    return [(shrink * (left + 0.5) - 0.5, shrink * (right + 0.5) - 0.5) for left, right in lines]


def _weak_part(along: np.ndarray) -> np.ndarray:
    """Return the mean of the third weakest of the parts of each line: (..., width) -> (...)."""
    parts = [part.mean(-1) for part in np.array_split(along, N_PARTS, -1)]
    return np.sort(parts, 0)[2]


def _apart(one: tuple[float, float], other: tuple[float, float]) -> bool:
    left, right = one[0] - other[0], one[1] - other[1]
    return left * right > 0 and min(abs(left), abs(right)) >= 3


def _refined(ridges: np.ndarray, line: tuple[float, float], step: float) -> tuple[float, float]:
    """Move a line's ends to where its ridge is sharpest."""
    height, width = ridges.shape
    columns = np.linspace(0, width - 1, min(width, 8 * N_PARTS)).round().astype(int)
    share = columns / max(1, width - 1)
    moves = np.arange(-3, 4)
    for size in (step, step / 2):
        left, right = np.meshgrid(line[0] + size * moves, line[1] + size * moves, indexing="ij")
        rows = left[..., None] + (right - left)[..., None] * share
        inside = (rows >= 0) & (rows <= height - 1)
        above = np.clip(rows.astype(int), 0, height - 2)
        part = rows - above
        values = (1 - part) * ridges[above, columns] + part * ridges[above + 1, columns]
        i, j = np.unravel_index(_weak_part(np.where(inside, values, 0)).argmax(), left.shape)
        line = float(left[i, j]), float(right[i, j])
    return line


def _without_lines(image: np.ndarray, black: np.ndarray) -> np.ndarray:
    """Divide out the profiles of straight lines that reach from one side to the opposite one.

    Lines are fainter than the drawing, and have less ink across them than its strokes. Others are
    strokes, so that a drawing by one pen keeps them all, cut tightly or with lines only.
    """
    gray = image.mean(0)
    median = np.median(gray)
    strongest = gray.max() - median
    if strongest <= 0:
        return image
    gray = (gray - median) / strongest
    seen = np.stack([gray, _weights(gray)])
    most = (LINE_DARKNESS, LINE_WEIGHT) * np.median(seen[:, gray > 0.5], 1)
    after = image
    for turned in (False, True):  # rows, then columns
        if turned:
            gray, seen, after = gray.T, seen.swapaxes(1, 2), after.swapaxes(1, 2)
        reach = 4 * _shrinking(gray.shape)
        ridges = np.clip(_ridges(gray, reach), -2 * CAP, 2 * CAP)
        for line in _find_lines(gray):
            line = _refined(ridges, line, reach / 6)
            if (_along(seen, line) < most).all():
                after = _without_line(after, line, reach, black)
    after = after.swapaxes(1, 2)
    return after if _is_flat(after) else image


def _weights(gray: np.ndarray) -> np.ndarray:
    """Return how much ink is across the stroke that each pixel belongs to, 0 on paper."""
    return np.minimum(_across(gray), _across(gray.T).T)


def _across(gray: np.ndarray) -> np.ndarray:
    """Return the sum of the run of foreground, along the last axis, that each pixel belongs to.

    What is cut off at the border counts as much as what is seen.
    """
    ink = gray > INK
    starts = ink.copy()
    starts[:, 1:] &= ~ink[:, :-1]
    runs = np.cumsum(starts).reshape(ink.shape)
    sums = np.bincount(runs[ink], gray[ink], minlength=runs.max() + 1)
    cut = np.union1d(runs[ink[:, 0], 0], runs[ink[:, -1], -1])
    sums[cut] *= 2
    return np.where(ink, sums[runs], 0)


def _along(images: np.ndarray, line: tuple[float, float]) -> np.ndarray:
    """Return the median along a line, which is up to a pixel wide of its place: -> (images,)."""
    height, width = images.shape[1:]
    rows = np.linspace(*line, width).round().astype(int) + np.array([[-1], [0], [1]])
    return np.median(images[:, np.clip(rows, 0, height - 1), np.arange(width)].max(1), 1)


def _without_line(
    image: np.ndarray, line: tuple[float, float], reach: int, black: np.ndarray
) -> np.ndarray:
    """Divide out the profile of one line from left to right."""
    height, width = image.shape[1:]
    distance = np.arange(height)[:, None] - np.linspace(*line, width)
    near = np.abs(distance) < reach
    where = distance[near]
    part = np.broadcast_to(np.arange(width) * N_PARTS // width, near.shape)[near]
    half = np.round(2 * where).astype(int)
    image = image.copy()
    for channel, dark in zip(image, np.broadcast_to(black.ravel(), len(image)), strict=True):
        values = channel[near]
        levels, places = _profile(values, half, part)
        paper = np.median(levels)
        profile = np.interp(2 * where, places, levels) - paper
        profile = np.clip(profile, 0, DARKEST * dark)
        lighter = (values - profile) / (1 - profile / dark)
        channel[near] = np.maximum(lighter, np.minimum(values, paper))
    return image


def _profile(
    values: np.ndarray, half: np.ndarray, part: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the level at each distance from a line, and the distances in half pixels.

    A level is the second lowest of the medians of the line's parts: strokes cover others.
    """
    order = np.lexsort((values, part, half))
    groups = np.stack([half[order], part[order]])
    first = np.flatnonzero(np.append(True, (groups[:, 1:] != groups[:, :-1]).any(0)))
    last = np.append(first[1:], len(order)) - 1
    medians, places = values[order][(first + last) // 2], groups[0, first]
    distances = np.unique(places)
    return np.array([np.sort(medians[places == d])[:2][-1] for d in distances]), distances


def _without_specks(image: np.ndarray) -> np.ndarray:
    """Take out components that are smaller than the pen's width squared and lie apart."""
    paper = np.median(image[:, _on_border(image.shape[1:])], 1)[:, None, None]
    strongest = (image - paper).max()
    drawn = (image - paper > (0.5 if strongest > 0.5 else strongest / 2)).any(0)
    labels, n_labels = ndimage.label(drawn, np.ones((3, 3)))
    if n_labels < 2:
        return image
    specks = _specks(labels, n_labels)
    if not specks.any():
        return image
    reach = 1 + _shrinking(drawn.shape)
    kept, dropped = (
        _grown(np.append(False, which)[labels], steps)
        for which, steps in ((~specks, reach // 2), (specks, reach))
    )
    return np.where(dropped & ~kept, np.minimum(image, paper), image)


def _grown(mask: np.ndarray, steps: int) -> np.ndarray:
    return ndimage.binary_dilation(mask, np.ones((3, 3)), iterations=steps)


def _specks(labels: np.ndarray, n_labels: int) -> np.ndarray:
    """Return which components are specks: (n_labels,) bool."""
    drawn = labels > 0
    area = np.bincount(labels.ravel())[1:]
    small = area < SMALL * area.sum()
    if not small.any() or small.all():
        return np.zeros_like(small)
    width = 2 * np.median(ndimage.distance_transform_edt(drawn)[drawn])
    small &= area < SPECK * width**2
    large = np.append(False, ~small)[labels]
    away = ndimage.distance_transform_edt(~large)
    gaps = ndimage.minimum(away, labels, np.arange(1, n_labels + 1))
    return small & (gaps > GAP * max(_extents(large)))
