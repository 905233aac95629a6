"""Reading: samples by batches, scaled, and checked against what the scaling was learned from.

Every image is judged by itself: its units, its polarity, and whether it shows anything. Flat rows
are not judged.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ..exceptions import BlankImageWarning, InvertedImageError, ValueRangeError, warn
from .scaling import InputScaling, Store

BATCH_SIZE = 256  # images that are read and scaled at once
N_NAMED = 5  # samples that a message names

# Units differ by 255 or more, or by the 16 levels of small digits; 12 bit and 8 bit by 16.
FAR_ABOVE = 10.0
FAR_BELOW = 200.0
UNIT = 1.0  # greatest value of bool and of 0..1 images ...
BEYOND_UNIT = 10.0  # ... where at least this is known
HOT_PIXELS = 100  # of so many pixels, one may have any value; drawings cover more
GAP = 4.0  # between the greatest values of images in two units

LOW_CONTRAST = 0.5  # of the known contrast: only such images are examined for being blank
FAINTEST = {None: 0.03, "foreground": 0.15}  # weaker foreground is noise, by `crop`
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
    """
    judge = Judge(store, scaling) if check and len(store.input_shape) == 3 else None
    for batch in _batches(rows):
        images = store.take(batch)
        if judge is None or not judge.look(images, batch):  # nothing refused so far
            yield scaling(images)
    if judge is not None:
        judge.finish(len(rows))


def check_samples(store: Store, rows: np.ndarray, scaling: InputScaling) -> None:
    """Do the checks of `scaled_batches` alone, before samples are scaled."""
    if len(store.input_shape) != 3:
        return
    judge = Judge(store, scaling)
    for batch in _batches(rows):
        judge.look(store.take(batch), batch)
    judge.finish(len(rows))


def check_exemplars(store: Store) -> None:
    """Check exemplars of which a scaling is to be learned: in the same units, and not all blank.

    Raises
    ------
    ValueRangeError
        If some images are in other units than the rest, such as 0..1 beside 0..255.
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
    if all(bool(is_noise(store.take(batch)).all()) for batch in _batches(seen)):
        _warn_blank(store, np.arange(len(store)), len(store))


def check_training_images(store: Store, scaling: InputScaling) -> None:
    """Check images that a scaling was learned from.

    Raises
    ------
    ValueRangeError
        If some images are in other units than the rest, such as 0..1 beside 0..255.

    Warns
    -----
    BlankImageWarning
        If images have no foreground.
    """
    if len(store.input_shape) != 3:
        return
    _refuse_mixed(store)
    blank = [
        batch[is_blank(store.take(batch), scaling).numpy()]
        for batch in _batches(np.arange(len(store)))
    ]
    _warn_blank(store, np.concatenate(blank), len(store))


@dataclass(eq=False)
class Judge:
    """Finds images, batch by batch, that a scaling does not suit.

    Attributes
    ----------
    store : Store
    scaling : InputScaling
    other_units, inverted, blank : list of int
        Samples found so far.
    found : tuple of 2 floats
        Least and greatest value of the first image in other units.
    """

    store: Store
    scaling: InputScaling
    other_units: list[int] = field(default_factory=list)
    inverted: list[int] = field(default_factory=list)
    blank: list[int] = field(default_factory=list)
    found: tuple[float, float] = (0.0, 0.0)

    def look(self, images: Tensor, rows: np.ndarray) -> bool:
        """Examine the samples at `rows`; return whether any was refused so far."""
        low, high = images.amin((2, 3)), images.amax((2, 3))
        other_units = is_in_other_units(images, self.scaling, low, high)
        blank = is_blank(images, self.scaling, low, high) & ~other_units
        if other_units.any():
            if not self.other_units:
                first = int(other_units.int().argmax())
                self.found = float(low[first].min()), float(high[first].max())
            self.other_units += rows[other_units.numpy()].tolist()
        if blank.any():
            self.blank += rows[blank.numpy()].tolist()
        if self.scaling.crop == "foreground":
            inverted = self.scaling.is_inverted(images) & ~other_units
            if inverted.any():
                self.inverted += rows[inverted.numpy()].tolist()
        return bool(self.other_units or self.inverted)

    def finish(self, n: int) -> None:
        """Raise and warn for what was found among `n` samples."""
        if self.other_units:
            least, greatest = known_range(self.scaling)
            names, rows = self.store.named(np.array(self.other_units))
            raise ValueRangeError(
                f"{names[0]} has values from {self.found[0]:.6g} to {self.found[1]:.6g}, in other "
                f"units than the images this estimator knows, about {least:.6g} to {greatest:.6g}."
                f"{_so(names[1:])} Bring all {n} images to that range (from 0..1 to 0..255 by "
                "255 * X), or call fit or set_support with images in these units.",
                rows,
            )
        if self.inverted:
            names, rows = self.store.named(np.array(self.inverted))
            raise InvertedImageError(
                f"{names[0]} appears to have inverted polarity relative to the images this "
                f"estimator was fitted on.{_so(names[1:])} Invert it (for uint8, 255 - X), call "
                "set_support with images of this polarity, or, if the drawing fills its image, "
                "pad it with background.",
                rows,
            )
        _warn_blank(self.store, np.array(self.blank, dtype=np.intp), n)


def known_range(scaling: InputScaling) -> tuple[float, float]:
    """Return the least and the greatest level of background and foreground that are known."""
    levels = torch.stack([scaling.offset, scaling.offset + scaling.scale])
    return float(levels.min()), float(levels.max())


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
    contrast = scaling.scale.abs().flatten()
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


def _batches(rows: np.ndarray) -> Iterator[np.ndarray]:
    return (rows[start : start + BATCH_SIZE] for start in range(0, len(rows), BATCH_SIZE))


def _magnitudes(store: Store) -> tuple[np.ndarray, np.ndarray]:
    """Return each image's greatest magnitude, and whether it has one value only: two (n,)."""
    greatest, constant = [], []
    for batch in _batches(np.arange(len(store))):
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
    low = np.concatenate([batch[~is_noise(store.take(batch)).numpy()] for batch in _batches(low)])
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
    more = f" and {len(names) - N_NAMED} more" if len(names) > N_NAMED else ""
    return f" The same holds for {', '.join(names[:N_NAMED])}{more}."
