"""Reading: samples by batches, scaled, and checked against what the scaling was learned from.

Every image is judged by itself: its units, its polarity, and whether it shows anything. Flat rows
are not judged.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ..exceptions import (
    BlankImageWarning,
    InvertedImageError,
    UnlikelyBackgroundWarning,
    ValueRangeError,
    listed,
    warn,
)
from .scaling import FULL, InputScaling, Store
from .seen import Seen, border_of, median

READ_BYTES = 2**21  # of samples that are read and scaled at once, as float32,
SCALED_BYTES = 2**22  # and of what is encoded at once
LARGEST = 2**26  # numbers: training images that have more are scaled again in each epoch

# Units differ by 255 or more, or by the 16 levels of small digits; 12 bit and 8 bit by 16.
FAR_ABOVE = 10.0
FAR_BELOW = 200.0
UNIT = 1.0  # greatest value of bool and of 0..1 images ...
BEYOND_UNIT = 10.0  # ... where at least this is known
HOT_PIXELS = 100  # of so many pixels, one may have any value; drawings cover more
GAP = 4.0  # between the greatest values of images in two units

OUTSIDE = 0.6  # of a usual unit; resizing and noise overshoot by less
STANDARD = 0.1, 6.0  # of the known range, or in units: smaller ranges about 0 are standardised

PAPER = 0.8  # fraction of a border that is of one value, on drawings ...
EVEN = 0.1  # ... within this, in units of the images' range
DRAWINGS = 0.9  # of so many drawings among its images, the polarity of a set is examined

LOW_CONTRAST = 0.5  # of the known contrast: only such images are examined for being blank
FAINTEST = {None: 0.03, "foreground": 0.15}  # weaker foreground is noise, by `crop`
FAINT = 0.07  # of the greatest known value: such images may be 0..16 where 0..255 is known
SMALL = 200  # pixels
WHITE = 0.1  # correlation of neighbouring pixels, below which they are noise


def scaled_batches(
    store: Store, rows: np.ndarray, scaling: InputScaling, check: bool, training: bool = False
) -> Iterator[Tensor]:
    """Yield the samples at `rows`, read and scaled batch by batch.

    With `check`, images that the scaling does not suit are refused or warned of, after the last
    batch, so that all of them are named. With `training`, the scaling was learned from them, and
    they are checked as `check_training_images` does.

    Raises
    ------
    ValueRangeError
        If images are in other units than those that the scaling was learned from.
    InvertedImageError
        With ``crop="foreground"``, if images appear to have inverted polarity.

    Warns
    -----
    BlankImageWarning
        If images have no foreground.
    UnlikelyBackgroundWarning
        With ``crop=None``, if images have a background that is like the known foreground.
    """
    judge = Judge(store, scaling, training) if check and _is_judged(store, scaling) else None
    for batch in in_batches(store, rows, scaling):
        seen = scaling.seen(store.take(batch))
        if judge is None or not judge.look(seen, batch):  # nothing refused so far
            yield scaling.shown(seen)
    if judge is not None:
        judge.finish(len(rows))


def is_kept(store: Store, scaling: InputScaling) -> bool:
    """Return whether scaled images are kept for training: it saves work, and there is room."""
    is_work = scaling.crop is not None or scaling.size != scaling.working_size
    return is_work and len(store) * math.prod(scaling.output_shape) <= LARGEST


def scaled_whole(store: Store, scaling: InputScaling, training: bool) -> Tensor:
    """Return all samples, (n, ...) float32, read once, checked and scaled."""
    scaled = torch.empty(len(store), *scaling.output_shape)
    start = 0
    for batch in scaled_batches(store, np.arange(len(store)), scaling, True, training):
        scaled[start : start + len(batch)] = batch
        start += len(batch)
    return scaled


def check_samples(store: Store, rows: np.ndarray, scaling: InputScaling) -> None:
    """Do the checks of `scaled_batches` alone, before samples are scaled."""
    if _is_judged(store, scaling):
        Judge(store, scaling).look_at_all(rows)


def check_exemplars(store: Store, crop: str | None = "foreground") -> None:
    """Check exemplars of which a scaling is to be learned.

    They must be in the same units, of one polarity, and not all blank.

    Raises
    ------
    ValueRangeError
        If some images are in other units than the rest, such as 0..1 beside 0..255.
    InvertedImageError
        With ``crop="foreground"``, if some images are of another polarity than the rest.
    ValueError
        If every image has one value only.

    Warns
    -----
    BlankImageWarning
        If all images are nothing but noise.
    """
    if len(store.input_shape) != 3:
        return
    rows = np.arange(len(store))
    levels = np.concatenate([_levels(store.take(batch)) for batch in in_batches(store, rows)])
    seen = _refuse_mixed(store, levels)
    if not len(seen):
        raise ValueError(
            f"X has {len(store)} images without foreground: each has one value only. The input "
            "scaling is estimated from the exemplars; give images that show something."
        )
    batches = (seen[:1], *in_batches(store, seen))  # most often, the first image is none
    if all(is_noise(store.take(batch)).all() for batch in batches):
        _warn_blank(store, rows, len(store))
    _refuse_inverted(store, _other_polarity(seen, levels), crop)


def check_training_images(store: Store, scaling: InputScaling) -> None:
    """Check images that a scaling was learned from.

    Raises
    ------
    ValueRangeError
        If some images are in other units than the rest, such as 0..1 beside 0..255.
    InvertedImageError
        With ``crop="foreground"``, if some images are of another polarity than the rest.

    Warns
    -----
    BlankImageWarning
        If images have no foreground.
    UnlikelyBackgroundWarning
        With ``crop=None``, if some images are of another polarity than the rest.
    """
    if _is_judged(store, scaling):
        Judge(store, scaling, training=True).look_at_all(np.arange(len(store)))


def _is_judged(store: Store, scaling: InputScaling) -> bool:
    """Return whether samples are images, in units that are known."""
    return len(store.input_shape) == 3 and scaling.unit != 0


@dataclass(eq=False)
class Judge:
    """Finds images, batch by batch, that a scaling does not suit.

    Attributes
    ----------
    store : Store
    scaling : InputScaling
    training : bool, default=False
        Whether the scaling was learned from these images.
    other_units, inverted, blank, faint : list of int
        Samples found so far. Faint ones may be in other units.
    looked_at : list of ndarray
        Samples examined so far.
    levels : list of ndarray
        In training, what they are compared with each other by; see `_levels`.
    ranges : dict
        Least and greatest value of samples in other units, and of faint ones.
    """

    store: Store
    scaling: InputScaling
    training: bool = False
    other_units: list[int] = field(default_factory=list)
    inverted: list[int] = field(default_factory=list)
    blank: list[int] = field(default_factory=list)
    faint: list[int] = field(default_factory=list)
    looked_at: list[np.ndarray] = field(default_factory=list)
    levels: list[np.ndarray] = field(default_factory=list)
    ranges: dict[int, tuple[float, float]] = field(default_factory=dict)

    def look_at_all(self, rows: np.ndarray) -> None:
        """Read the samples at `rows`, and raise or warn for what is found."""
        for batch in in_batches(self.store, rows):
            self.look(self.scaling.seen(self.store.take(batch)), batch)
        self.finish(len(rows))

    def look(self, seen: Seen, rows: np.ndarray) -> bool:
        """Examine the samples at `rows`; return whether any was refused so far."""
        self.looked_at.append(rows)
        images, scaling = seen.images, self.scaling
        if self.training:
            self.levels.append(_levels(images))
        low, high = seen.low, seen.high
        other_units = is_outside(images, scaling, low, high)
        if not self.training:
            other_units |= is_in_other_units(images, scaling, low, high)
        known = max(map(abs, scaling.known_range))
        faint = _where(_greatest(low, high) <= FAINT * known, images, _is_drawn) & ~other_units
        blank = is_blank(images, scaling, low, high) & ~other_units & ~faint
        self.other_units += rows[other_units].tolist()
        self.blank += rows[blank].tolist()
        self.faint += rows[faint].tolist()
        for i in np.flatnonzero(other_units | faint).tolist():
            self.ranges[int(rows[i])] = float(low[i].min()), float(high[i].max())
        if scaling.crop == "foreground":
            inverted = scaling.is_inverted(seen)
        elif self.training or scaling.unit is not None:  # photographs have no polarity
            return bool(self.other_units)
        else:
            inverted = is_on_foreground(images, scaling)
        self.inverted += rows[inverted & ~other_units & ~blank & ~faint].tolist()
        return bool(self.other_units or (self.inverted and scaling.crop == "foreground"))

    def finish(self, n: int) -> None:
        """Raise and warn for what was found among `n` samples; in training, all there are."""
        if self.training:
            levels = np.concatenate(self.levels)
            seen = _refuse_mixed(self.store, levels)
            if self.scaling.unit is None:
                self.inverted += _other_polarity(seen, levels).tolist()
        least, greatest = self.scaling.known_range
        if self.other_units:
            low, high = self.ranges[self.other_units[0]]
            names, rows = self.store.named(np.array(self.other_units))
            known = "most images in X have" if self.training else "this estimator knows"
            raise ValueRangeError(
                f"{names[0]} has values from {low:.6g} to {high:.6g}, in other units than the "
                f"images {known}, about {least:.6g} to {greatest:.6g}.{_so(names[1:])} Bring all "
                f"{n} images to that range (from 0..1 to 0..255 by 255 * X), or call fit or "
                "set_support with images in these units.",
                rows,
            )
        self._finish_inverted()
        if self.faint:
            low, high = self.ranges[self.faint[0]]
            names, rows = self.store.named(np.array(self.faint))
            warn(
                f"{names[0]} has values from {low:.6g} to {high:.6g} only, but the images that "
                f"are known have about {least:.6g} to {greatest:.6g}: it is in other units, or "
                f"has no foreground that is strong enough.{_so(names[1:])} What is predicted for "
                "such images, or by such exemplars, is arbitrary. Bring them to the known range, "
                f"or leave out these {len(names)} of {n} images.",
                BlankImageWarning,
                rows,
            )
        _warn_blank(self.store, np.array(self.blank, dtype=np.intp), n)

    def _finish_inverted(self) -> None:
        inverted = np.unique(self.inverted).astype(np.intp)
        crop = self.scaling.crop
        if self.training or (crop == "foreground" and len(inverted)):
            rows = np.concatenate(self.looked_at)
            _refuse_inverted(self.store, inverted, crop, rows, self.training)
        elif len(inverted):
            background = float(self.scaling.offset.mean())
            names, rows = self.store.named(inverted)
            warn(
                f"{names[0]} has a background like the foreground of the images that this "
                f"estimator knows, whose background is about {background:.6g}: its polarity is "
                f"inverted, or it is in other units.{_so(names[1:])} With crop=None such images "
                "are taken as they are. Invert them (for uint8, 255 - X), or bring them to the "
                "known range.",
                UnlikelyBackgroundWarning,
                rows,
            )


def _where(
    suspected: np.ndarray, images: Tensor, test: Callable[[Tensor], np.ndarray]
) -> np.ndarray:
    """Return which of the suspected images pass a test that looks at all pixels: (B,) bool."""
    if suspected.any():
        suspected[suspected] = test(images[torch.from_numpy(suspected)])
    return suspected


def _is_drawn(images: Tensor) -> np.ndarray:
    return ~is_noise(images)


def _greatest(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return the greatest magnitude of each image: two (B, C) -> (B,)."""
    return np.maximum(np.abs(low), np.abs(high)).max(1)


def full_scale(scaling: InputScaling) -> float | None:
    """Return the greatest value of the usual unit that the known range spans, or None.

    Drawings on paper span it, and most photographs do not: their background is gray.
    """
    least, greatest = scaling.known_range
    for full in FULL:
        if abs(greatest - full) <= 0.01 * full and abs(least) <= EVEN * full:
            return full
    return None


def is_outside(
    images: Tensor, scaling: InputScaling, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """Return which images have values that the known unit does not: (B, C, H, W) -> (B,) bool.

    Such as 10 bit or standardised ones where 0..255 is known. `low` and `high` are (B, C).
    """
    full = full_scale(scaling)
    if full is None:
        return np.zeros(len(images), dtype=bool)

    def is_far_outside(there: Tensor) -> np.ndarray:
        above = _without_hot_pixels(there) > (1 + OUTSIDE) * full
        return above | (_without_hot_pixels(-there) > OUTSIDE * full)

    least, greatest = low.min(1), high.max(1)
    outside = (greatest > (1 + OUTSIDE) * full) | (least < -OUTSIDE * full)
    outside = _where(outside, images, is_far_outside)
    values = greatest - least
    span = max(STANDARD[0] * full, STANDARD[1])
    standard = (least < -EVEN * values) & (values < span) & (full >= BEYOND_UNIT)
    return outside | _where(standard, images, _is_drawn)


def is_on_foreground(images: Tensor, scaling: InputScaling) -> np.ndarray:
    """Return which drawings have paper like the known foreground: (B, C, H, W) -> (B,) bool.

    All are False unless what is known are drawings, in a usual unit.
    """
    if full_scale(scaling) is None:
        return np.zeros(len(images), dtype=bool)
    x = (images - scaling.offset) / scaling.scale
    paper, is_paper = _paper(_gray(x), np.ones(len(x)))
    return is_paper & (paper > 0.5)


def _gray(images: Tensor) -> Tensor:
    """Return the mean of the channels: (B, C, H, W) -> (B, H, W)."""
    return images[:, 0] if images.shape[1] == 1 else images.mean(1)


def _paper(gray: Tensor, span: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the border's median, and whether the border is of one value: two (B,)."""
    border = border_of(gray).numpy()
    paper = median(border)
    even = np.abs(border - paper[:, None]) < EVEN * span[:, None]
    return paper, (even.mean(1) >= PAPER) & (min(gray.shape[1:]) >= 4)


def _levels(images: Tensor) -> np.ndarray:
    """Return what tells units and polarities of a set of images apart: (B, 7).

    Greatest magnitude, whether there is one value only, and of the mean of the channels the
    least, the greatest and the mean value, the border's median, and whether that is paper.
    """
    low, high = images.amin((2, 3)).numpy(), images.amax((2, 3)).numpy()
    greatest = _greatest(low, high)
    hot = greatest > GAP * median(greatest)
    if hot.any():
        greatest[hot] = _without_hot_pixels(images[torch.from_numpy(hot)].abs())
    gray = _gray(images)
    least, most = (low, high) if low.shape[1] == 1 else (gray.amin((1, 2)), gray.amax((1, 2)))
    least, most = np.asarray(least).reshape(-1), np.asarray(most).reshape(-1)
    paper, is_paper = _paper(gray, most - least)
    mean = gray.mean((1, 2)).numpy()
    constant = (low == high).all(1)
    return np.stack([greatest, constant, least, most, mean, paper, is_paper], 1)


def _other_polarity(rows: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Return those of a set of drawings whose polarity most others do not have."""
    if not len(rows):
        return rows
    low, high, mean, paper, is_paper = levels[rows, 2:].T
    least, span = np.median(low), np.median(high) - np.median(low)
    level = (paper - least) / (span if span > 0 else 1)
    light = (level > 0.75) & (mean < paper) & (is_paper > 0)
    dark = (level < 0.25) & (mean > paper) & (is_paper > 0)
    if not light.any() or not dark.any() or (light | dark).mean() < DRAWINGS:
        return rows[:0]
    light |= (level > 0.5) & (mean < paper)  # strokes along the border
    dark |= (level <= 0.5) & (mean > paper)
    first = light if light[(light | dark).argmax()] else dark
    other = light ^ dark ^ first
    return rows[other if other.sum() <= first.sum() else first]


def is_in_other_units(
    images: Tensor, scaling: InputScaling, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """Return which images are far outside the known range: (B, C, H, W) -> (B,) bool.

    `low` and `high`, (B, C), are the least and greatest values, whose magnitude decides: faint and
    dark images are not far outside. A blank one is blank in all units.
    """
    known = max(map(abs, scaling.known_range))
    greatest, limit = _greatest(low, high), FAR_ABOVE * known
    above = _where(greatest > limit, images, lambda x: _without_hot_pixels(x.abs()) > limit)
    below = _far_below(greatest, known) & (greatest > 0)
    return above | _where(below, images, _is_drawn)


def is_blank(
    images: Tensor, scaling: InputScaling, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """Return which images have no foreground: (B, C, H, W) -> (B,) bool.

    Nothing stands out from smoothly lit paper by more than the faintest foreground, or what does
    is noise.
    """
    contrast = scaling.contrast

    def is_empty(there: Tensor) -> np.ndarray:
        strongest = (_unlit(there).abs().amax((2, 3)) / contrast).amax(1).numpy()
        return (strongest < FAINTEST[scaling.crop]) | is_noise(there)

    return _where(((high - low) / contrast.numpy()).max(1) < LOW_CONTRAST, images, is_empty)


def is_noise(images: Tensor) -> np.ndarray:
    """Return which images have one value only, or pixels unlike their neighbours: (B,) bool.

    In white noise neighbouring pixels are not correlated; along lines and in surfaces they are.
    """
    x = _unlit(images)
    straight = _product(x[..., 1:, :], x[..., :-1, :]) + _product(x[..., 1:], x[..., :-1])
    diagonal = _product(x[..., 1:, 1:], x[..., :-1, :-1]) + _product(
        x[..., 1:, :-1], x[..., :-1, 1:]
    )
    power = x.square().mean((2, 3)).clamp(min=torch.finfo(x.dtype).tiny)
    correlation = torch.maximum(straight, diagonal) / (2 * power)
    chance = 1.75 / (x.shape[2] * x.shape[3]) ** 0.5  # 2.5 standard deviations
    constant = images.amax((2, 3)) == images.amin((2, 3))
    return (constant | (correlation < max(WHITE, chance))).all(1).numpy()


def _product(a: Tensor, b: Tensor) -> Tensor:  # two (B, C, H, W) -> (B, C)
    return (a * b).sum((2, 3)) / max(1, a.shape[2] * a.shape[3])


def _unlit(images: Tensor) -> Tensor:
    """Subtract the quadratic surface nearest to each channel: light that varies smoothly.

    Of small images only the mean: such a surface would follow the drawing.
    """
    height, width = images.shape[2:]
    x = images.double()
    x = x - x[..., :1, :1]  # digits, where values are large
    n_powers = 3 if height * width >= SMALL else 1
    rows, columns = (_polynomials(n, n_powers) for n in (height, width))
    # Products of orthonormal polynomials are orthonormal; their degree is at most 2.
    surface = rows.T @ x @ columns  # (B, C, powers, powers)
    degree = torch.arange(rows.shape[1])[:, None] + torch.arange(columns.shape[1])
    return x - rows @ (surface * (degree <= 2)) @ columns.T


def _polynomials(n: int, n_powers: int) -> Tensor:
    """Return orthonormal polynomials of ascending degree along an axis: (n, n_powers)."""
    t = torch.linspace(-1, 1, n, dtype=torch.float64)
    return torch.linalg.qr(torch.stack([t**power for power in range(min(n_powers, n))], 1)).Q


def _far_below(greatest: np.ndarray, known: float) -> np.ndarray:
    below = greatest <= known / FAR_BELOW
    return below | (greatest <= UNIT) if known >= BEYOND_UNIT else below


def _without_hot_pixels(x: Tensor) -> np.ndarray:
    """Return the greatest value of each image but those of a few pixels: (B, C, H, W) -> (B,)."""
    hot = 1 + x.shape[2] * x.shape[3] // HOT_PIXELS
    if hot >= x.shape[2] * x.shape[3]:
        return x.amax((1, 2, 3)).numpy()
    return x.flatten(2).topk(hot + 1).values[..., -1].amax(1).numpy()


def in_batches(
    store: Store, rows: np.ndarray, scaling: InputScaling | None = None
) -> Iterator[np.ndarray]:
    """Yield rows in batches that take bounded memory, also as a scaling leaves them."""
    size = READ_BYTES // (4 * math.prod(store.input_shape))
    if scaling is not None:
        size = min(size, SCALED_BYTES // (4 * math.prod(scaling.output_shape)))
    size = max(1, size)
    return (rows[start : start + size] for start in range(0, len(rows), size))


def _refuse_mixed(store: Store, levels: np.ndarray) -> np.ndarray:
    """Raise ValueRangeError if images are in two units; return those of more than one value.

    `levels` are those of all images.
    Between the units must be a gap: in one, images may differ by any factor, as spectrograms do.
    """
    greatest, constant = levels[:, 0], levels[:, 1]
    seen = np.flatnonzero(constant == 0)
    order = seen[np.argsort(greatest[seen], kind="stable")]
    ratios = greatest[order[1:]] / greatest[order[:-1]]
    if not len(ratios) or ratios.max() < GAP:
        return seen
    low, high = np.split(order, [ratios.argmax() + 1])
    known = float(np.median(greatest[high]))
    if not _far_below(greatest[low[-1:]], known).any():
        return seen
    low = np.concatenate([batch[~is_noise(store.take(batch))] for batch in in_batches(store, low)])
    if not len(low):  # blank sheets
        return seen
    few, rest = sorted((np.sort(low), np.sort(high)), key=len)
    names, rows = store.named(few)
    raise ValueRangeError(
        f"{names[0]} has values up to {greatest[few[0]]:.6g}, but others up to "
        f"{greatest[rest].max():.6g}: images in different units.{_so(names[1:])} Bring all "
        f"{len(store)} images to one range, such as 0..255.",
        rows,
    )


def _refuse_inverted(
    store: Store,
    inverted: np.ndarray,
    crop: str | None,
    rows: np.ndarray | None = None,
    training: bool = True,
) -> None:
    """Raise for inverted images among `rows`, or all; with ``crop=None`` warn.

    Of the others, those nearest to the first inverted one are named: in a pair, its partner.
    """
    if not len(inverted):
        return
    others = np.setdiff1d(np.arange(len(store)) if rows is None else rows, inverted)
    nearest = others[np.argsort(np.abs(others - inverted[0]), kind="stable")]
    names, refused = store.named(inverted)
    known = [] if training else ["the images this estimator was fitted on"]
    if len(others):
        known.append(listed(store.named(nearest)[0], 2))
    message = (
        f"{names[0]} appears to have inverted polarity relative to {', and to '.join(known)}: "
        f"light on dark where they are dark on light, or the reverse.{_so(names[1:])}"
    )
    message += " Invert it (for uint8, 255 - X)"
    if crop != "foreground":
        warn(f"{message}.", UnlikelyBackgroundWarning, refused)
        return
    message += "" if training else ", call set_support with images of this polarity"
    raise InvertedImageError(
        f"{message}, or, if the drawing fills its image, pad it with background.", refused
    )


def _warn_blank(store: Store, blank: np.ndarray, n: int) -> None:
    if len(blank):
        names, rows = store.named(blank)
        warn(
            f"{names[0]} has no foreground: one value only, nothing but noise, or too faint."
            f"{_so(names[1:])} What is predicted for such images, or by such exemplars, is "
            f"arbitrary. Leave out these {len(blank)} of {n} images, or check how they were read.",
            BlankImageWarning,
            rows,
        )


def _so(names: Sequence[str]) -> str:
    """Return a sentence that names further samples, if there are any."""
    if not names:
        return ""
    return f" The same holds for {listed(names)}."
