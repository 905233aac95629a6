"""Reading: samples by batches, scaled, and checked against what the scaling was learned from.

Every image is judged by itself: its units, its polarity, and whether it shows anything. Flat rows
are not judged.
"""

import math
from collections.abc import Iterator, Sequence
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
from .foreground import border_of
from .scaling import FULL, InputScaling, Store

BATCH_SIZE = 256  # samples that are read, scaled and encoded at once, at most,
READ_VALUES = 2**22  # and their values as they are read,
SCALED_VALUES = 2**20  # and as they are encoded

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
    store: Store, rows: np.ndarray, scaling: InputScaling, check: bool
) -> Iterator[Tensor]:
    """Yield the samples at `rows`, read and scaled batch by batch.

    With `check`, images that the scaling does not suit are refused or warned of, after the last
    batch, so that all of them are named.

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
    judge = Judge(store, scaling) if check and _is_judged(store, scaling) else None
    for batch in _batches(store, rows, scaling):
        images = store.take(batch)
        if judge is None or not judge.look(images, batch):  # nothing refused so far
            yield scaling(images)
    if judge is not None:
        judge.finish(len(rows))


def check_samples(store: Store, rows: np.ndarray, scaling: InputScaling) -> None:
    """Do the checks of `scaled_batches` alone, before samples are scaled."""
    if not _is_judged(store, scaling):
        return
    judge = Judge(store, scaling)
    for batch in _batches(store, rows):
        judge.look(store.take(batch), batch)
    judge.finish(len(rows))


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
    seen = _refuse_mixed(store)
    if not len(seen):
        raise ValueError(
            f"X has {len(store)} images without foreground: each has one value only. The input "
            "scaling is estimated from the exemplars; give images that show something."
        )
    if all(bool(is_noise(store.take(batch)).all()) for batch in _batches(store, seen)):
        _warn_blank(store, np.arange(len(store)), len(store))
    _refuse_inverted(store, _other_polarity(store, seen), crop)


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
    if not _is_judged(store, scaling):
        return
    judge = Judge(store, scaling, training=True)
    seen = _refuse_mixed(store)
    if scaling.unit is None:
        judge.inverted = _other_polarity(store, seen).tolist()
    for batch in _batches(store, np.arange(len(store))):
        judge.look(store.take(batch), batch)
    judge.finish(len(store))


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
    ranges: dict[int, tuple[float, float]] = field(default_factory=dict)

    def look(self, images: Tensor, rows: np.ndarray) -> bool:
        """Examine the samples at `rows`; return whether any was refused so far."""
        self.looked_at.append(rows)
        low, high = images.amin((2, 3)), images.amax((2, 3))
        other_units = is_outside(images, self.scaling, low, high)
        if not self.training:
            other_units |= is_in_other_units(images, self.scaling, low, high)
        known = max(map(abs, known_range(self.scaling)))
        faint = torch.maximum(low.abs(), high.abs()).amax(1) <= FAINT * known
        faint &= ~other_units
        if faint.any():
            faint[faint.clone()] = ~is_noise(images[faint])
        blank = is_blank(images, self.scaling, low, high) & ~other_units & ~faint
        self.other_units += rows[other_units.numpy()].tolist()
        self.blank += rows[blank.numpy()].tolist()
        self.faint += rows[faint.numpy()].tolist()
        for i in (other_units | faint).nonzero().flatten().tolist():
            self.ranges[int(rows[i])] = float(low[i].min()), float(high[i].max())
        if self.scaling.crop == "foreground":
            inverted = self.scaling.is_inverted(images)
        elif self.training or self.scaling.unit is not None:  # photographs have no polarity
            return bool(self.other_units)
        else:
            inverted = is_on_foreground(images, self.scaling)
        self.inverted += rows[(inverted & ~other_units & ~blank & ~faint).numpy()].tolist()
        return bool(self.other_units or (self.inverted and self.scaling.crop == "foreground"))

    def finish(self, n: int) -> None:
        """Raise and warn for what was found among `n` samples."""
        least, greatest = known_range(self.scaling)
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


def known_range(scaling: InputScaling) -> tuple[float, float]:
    """Return the least and the greatest level of background and foreground that are known."""
    if scaling.unit is not None:
        return 0.0, scaling.unit
    levels = torch.stack([scaling.offset, scaling.offset + scaling.scale])
    return float(levels.min()), float(levels.max())


def full_scale(scaling: InputScaling) -> float | None:
    """Return the greatest value of the usual unit that the known range spans, or None.

    Drawings on paper span it, and most photographs do not: their background is gray.
    """
    least, greatest = known_range(scaling)
    for full in FULL:
        if abs(greatest - full) <= 0.01 * full and abs(least) <= EVEN * full:
            return full
    return None


def is_outside(images: Tensor, scaling: InputScaling, low: Tensor, high: Tensor) -> Tensor:
    """Return which images have values that the known unit does not: (B, C, H, W) -> (B,) bool.

    Such as 10 bit or standardised ones where 0..255 is known. `low` and `high` are (B, C).
    """
    full = full_scale(scaling)
    if full is None:
        return torch.zeros(len(images), dtype=torch.bool)
    least, greatest = low.amin(1), high.amax(1)
    outside = (greatest > (1 + OUTSIDE) * full) | (least < -OUTSIDE * full)
    if outside.any():
        there = images[outside]
        outside[outside.clone()] = (_without_hot_pixels(there) > (1 + OUTSIDE) * full) | (
            _without_hot_pixels(-there) > OUTSIDE * full
        )
    values = greatest - least
    span = max(STANDARD[0] * full, STANDARD[1])
    standard = (least < -EVEN * values) & (values < span) & (full >= BEYOND_UNIT)
    if standard.any():
        standard[standard.clone()] = ~is_noise(images[standard])
    return outside | standard


def is_on_foreground(images: Tensor, scaling: InputScaling) -> Tensor:
    """Return which drawings have paper like the known foreground: (B, C, H, W) -> (B,) bool.

    All are False unless what is known are drawings, in a usual unit.
    """
    if full_scale(scaling) is None:
        return torch.zeros(len(images), dtype=torch.bool)
    x = (images - scaling.offset) / scaling.scale
    paper, is_paper = _paper(x, torch.ones(len(x), dtype=x.dtype))
    return is_paper & (paper > 0.5)


def _paper(images: Tensor, span: Tensor) -> tuple[Tensor, Tensor]:
    """Return the border's median, and whether the border is of one value: two (B,)."""
    border = border_of(images.mean(1))
    paper = border.median(1).values
    even = (border - paper[:, None]).abs() < EVEN * span[:, None]
    return paper, (even.double().mean(1) >= PAPER) & (min(images.shape[2:]) >= 4)


def _other_polarity(store: Store, rows: np.ndarray) -> np.ndarray:
    """Return those of a set of drawings whose polarity most others do not have."""
    found = []
    for batch in _batches(store, rows):
        images = store.take(batch)
        gray = images.mean(1).flatten(1)
        low, high = gray.amin(1), gray.amax(1)
        paper, is_paper = _paper(images, high - low)
        found.append(torch.stack([low, high, paper, gray.mean(1), is_paper.to(low.dtype)]))
    if not found:
        return rows
    low, high, paper, mean, is_paper = torch.cat(found, 1).numpy()
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


def is_in_other_units(images: Tensor, scaling: InputScaling, low: Tensor, high: Tensor) -> Tensor:
    """Return which images are far outside the known range: (B, C, H, W) -> (B,) bool.

    `low` and `high`, (B, C), are the least and greatest values, whose magnitude decides: faint and
    dark images are not far outside. A blank one is blank in all units.
    """
    known = max(map(abs, known_range(scaling)))
    greatest = torch.maximum(low.abs(), high.abs()).amax(1)
    above = greatest > FAR_ABOVE * known
    if above.any():
        above[above.clone()] = _without_hot_pixels(images[above].abs()) > FAR_ABOVE * known
    below = _far_below(greatest, known) & (greatest > 0)
    if below.any():
        below[below.clone()] = ~is_noise(images[below])
    return above | below


def is_blank(
    images: Tensor,
    scaling: InputScaling,
    low: Tensor | None = None,
    high: Tensor | None = None,
) -> Tensor:
    """Return which images have no foreground: (B, C, H, W) -> (B,) bool.

    Nothing stands out from smoothly lit paper by more than the faintest foreground, or what does
    is noise.
    """
    low = images.amin((2, 3)) if low is None else low
    high = images.amax((2, 3)) if high is None else high
    contrast = scaling.contrast
    blank = ((high - low) / contrast).amax(1) < LOW_CONTRAST
    if blank.any():
        there = images[blank]
        strongest = (_unlit(there).abs().amax((2, 3)) / contrast).amax(1)
        faint = strongest < FAINTEST[scaling.crop]
        blank[blank.clone()] = faint | is_noise(there)
    return blank


def is_noise(images: Tensor) -> Tensor:
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
    return (constant | (correlation < max(WHITE, chance))).all(1)


def _product(a: Tensor, b: Tensor) -> Tensor:  # two (B, C, H, W) -> (B, C)
    return (a * b).sum((2, 3)) / max(1, a.shape[2] * a.shape[3])


def _unlit(images: Tensor) -> Tensor:
    """Subtract the quadratic surface nearest to each channel: light that varies smoothly.

    Of small images only the mean: such a surface would follow the drawing.
    """
    height, width = images.shape[2:]
    x = images.double()
    n_powers = 3 if height * width >= SMALL else 1
    rows, columns = (_powers(n, n_powers) for n in (height, width))
    surfaces = [
        (rows[i][:, None] * columns[j]).flatten()
        for i in range(len(rows))
        for j in range(len(columns))
        if i + j <= 2
    ]
    basis = torch.linalg.qr(torch.stack(surfaces, 1)).Q  # (pixels, surfaces)
    flat = x.flatten(2)
    flat = flat - flat[..., :1]  # digits, where values are large
    return (flat - flat @ basis @ basis.T).view_as(x)


def _powers(n: int, n_powers: int) -> list[Tensor]:
    t = torch.linspace(-1, 1, n, dtype=torch.float64)
    return [t**power for power in range(min(n_powers, n))]


def _far_below(greatest: Tensor, known: float) -> Tensor:
    below = greatest <= known / FAR_BELOW
    return below | (greatest <= UNIT) if known >= BEYOND_UNIT else below


def _without_hot_pixels(x: Tensor) -> Tensor:
    """Return the greatest value of each image but those of a few pixels: (B, C, H, W) -> (B,)."""
    hot = 1 + x.shape[2] * x.shape[3] // HOT_PIXELS
    if hot >= x.shape[2] * x.shape[3]:
        return x.amax((1, 2, 3))
    return x.flatten(2).topk(hot + 1).values[..., -1].amax(1)


def _batches(
    store: Store, rows: np.ndarray, scaling: InputScaling | None = None
) -> Iterator[np.ndarray]:
    """Yield rows in batches that take bounded memory, also as a scaling leaves them."""
    size = min(BATCH_SIZE, READ_VALUES // math.prod(store.input_shape))
    if scaling is not None and scaling.working_size is not None:
        values = math.prod((store.input_shape[0], *scaling.working_size))
        size = min(size, SCALED_VALUES // values)
    size = max(1, size)
    return (rows[start : start + size] for start in range(0, len(rows), size))


def _magnitudes(store: Store) -> tuple[np.ndarray, np.ndarray]:
    """Return each image's greatest magnitude, and whether it has one value only: two (n,)."""
    greatest, constant = [], []
    for batch in _batches(store, np.arange(len(store))):
        images = store.take(batch)
        low, high = images.amin((2, 3)), images.amax((2, 3))
        of_batch = torch.maximum(low.abs(), high.abs()).amax(1).double()
        hot = of_batch > GAP * of_batch.median()
        if hot.any():
            of_batch[hot] = _without_hot_pixels(images[hot].abs()).double()
        greatest.append(of_batch)
        constant.append((low == high).all(1))
    return torch.cat(greatest).numpy(), torch.cat(constant).numpy()


def _refuse_mixed(store: Store) -> np.ndarray:
    """Raise ValueRangeError if images are in two units; return those of more than one value.

    Between the units must be a gap: in one, images may differ by any factor, as spectrograms do.
    """
    greatest, constant = _magnitudes(store)
    seen = np.flatnonzero(~constant)
    order = seen[np.argsort(greatest[seen], kind="stable")]
    ratios = greatest[order[1:]] / greatest[order[:-1]]
    if not len(ratios) or ratios.max() < GAP:
        return seen
    low, high = np.split(order, [ratios.argmax() + 1])
    known = float(np.median(greatest[high]))
    if not _far_below(torch.tensor(greatest[low[-1:]]), known).any():
        return seen
    low = np.concatenate(
        [batch[~is_noise(store.take(batch)).numpy()] for batch in _batches(store, low)]
    )
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
