"""Scaling: raw inputs to what the encoder sees, background 0 and foreground 1 at the working size.

Images of any value range and polarity become comparable here. `learn_scaling` estimates an offset
and a scale from training images; `InputScaling` applies them, crops and resizes.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from .foreground import (
    DARKEST,
    FAINTEST,
    SMALLEST,
    contrast,
    corrected,
    is_faulty,
    is_uneven,
    polarity,
    thickness,
)
from .seen import MUCH, Seen, border_of, median

FOREGROUND_SIDE = 0.8  # longer side of the foreground, as a fraction of the crop
N_UNEVEN = 50  # unevenly lit images that are looked at, at most
LEAST_FOREGROUND = 0.25, 0.5  # of the foreground, on even paper and on noisy paper
CLEANED = 0.05  # part of an image that light and lines change, and specks do not
NOISES = 7.0  # median deviations of the background: foreground is stronger
MAX_ZOOM = 3.0  # specks are enlarged at most so much more than the whole image would be
LARGEST_SIDE = 512  # pixels to which smaller images are enlarged at most
BROAD = 1.2  # paper is so much broader than strokes
RARE = 8.0  # standard deviations that the range of a feature spans, at most
# Mean and standard deviation of ImageNet's pixels, from 0 to 1, red, green and blue.
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# Greatest values of the usual units: floats, percent, and 4, 5, 6, 8, 10, 12, 14 and 16 bit.
FULL = (1.0, 15.0, 16.0, 31.0, 63.0, 100.0, 255.0, 1023.0, 4095.0, 16383.0, 65535.0)
OVERSHOOT = 0.1  # of a unit, by resizing
# Units that images are in only if they reach them: others of such values are dark ones of 8 bit.
RARE_UNITS = (15.0, 16.0, 31.0, 63.0, 100.0)

# First and one past the last row of the foreground of each image, and the same of columns.
Extents = list[tuple[np.ndarray, np.ndarray]]
# Images, extents, background (B, C) and divisor (B, 1, 1, 1), to one tensor a box.
Show = Callable[[Seen, Extents, np.ndarray, np.ndarray], Tensor]


class Store(Protocol):
    """Samples by row: what training and prediction read from."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one sample: (C, H, W), (C, T) of series, or (D,)."""
        ...

    @property
    def dtype(self) -> np.dtype:
        """Data type of the samples as given."""
        ...

    def __len__(self) -> int: ...

    def take(self, rows: np.ndarray) -> Tensor:
        """Return the samples at `rows` as a floating tensor (B, C, H, W) or (B, D)."""
        ...

    def named(self, rows: np.ndarray) -> tuple[list[str], np.ndarray]:
        """Return how messages name the samples at `rows`, and the rows of X that have them."""
        ...


def describe_shape(input_shape: tuple[int, ...]) -> str:
    """Return (C, H, W), (C, T) or (D,) in the words of an error message."""
    if len(input_shape) == 1:
        return f"flat rows of {input_shape[0]} features"
    c, *size = input_shape
    if len(size) == 1:
        what = f"series of {size[0]} time points"
    else:
        what = f"images of {size[0]}x{size[1]} pixels"
    return f"{what} and {c} channel{'s' if c > 1 else ''}"


def resizing(n_in: int, n_out: int, start: np.ndarray, stop: np.ndarray) -> sparse.csr_array:
    """Return weights that resize an axis to the pixels from `start` to `stop` of each image.

    `start` and `stop` are (B,), in pixels. An output pixel is the mean over its own width, or over
    one input pixel where it is narrower: area means to shrink, linear interpolation to grow.
    Outside the axis lies background, 0. The weights are (B * n_out, B * n_in), a block an image.
    """
    step = ((stop - start) / n_out)[:, None, None]  # (B, 1, 1)
    centres = start[:, None, None] + (np.arange(n_out)[:, None] + 0.5) * step
    half = np.maximum(step, 1) / 2
    first = np.floor(centres - half)  # of the input pixels that an output pixel covers
    pixels = first + np.arange(math.ceil(2 * half.max(initial=0)) + 1)  # (B, n_out, most)
    overlap = np.minimum(centres + half, pixels + 1) - np.maximum(centres - half, pixels)
    weights = overlap.clip(min=0) / (2 * half)
    weights[(pixels < 0) | (pixels >= n_in)] = 0
    columns = pixels.clip(0, n_in - 1) + n_in * np.arange(len(start))[:, None, None]
    ends = np.arange(0, weights.size + 1, weights.shape[2])
    shape = len(start) * n_out, len(start) * n_in
    return sparse.csr_array(
        (weights.ravel().astype(np.float32), columns.ravel().astype(np.int32), ends), shape=shape
    )


def extent_of(is_foreground: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first foreground pixel and one past the last: (B, n) bool -> two (B,)."""
    n = is_foreground.shape[1]
    start, stop = is_foreground.argmax(1), n - is_foreground[:, ::-1].argmax(1)
    empty = ~is_foreground.any(1)
    return np.where(empty, 0, start), np.where(empty, n, stop)


def evenly_spaced(n: int, n_most: int) -> np.ndarray:
    """Return at most `n_most` of the integers below `n`, from the first to the last."""
    return np.unique(np.linspace(0, n - 1, n_most).astype(int))


def _sample(store: Store, n_most: int = 1000) -> Tensor:
    """Return evenly spaced samples, at most `n_most` and within 20 million numbers."""
    n_samples = min(n_most, max(8, 20_000_000 // math.prod(store.input_shape)))
    return store.take(evenly_spaced(len(store), n_samples))


def _has_paper_border(sample: Tensor) -> Tensor:
    """Return which images most pixels of are on the border's side of the range: (B,) bool.

    Frames and thick drawings that are cut tightly are not. They are kept if nearly all are so.
    """
    gray = sample[:, 0] if sample.shape[1] == 1 else sample.mean(1)
    middle = ((gray.amax((1, 2)) + gray.amin((1, 2))) / 2).numpy()[:, None]
    most, border = (
        np.count_nonzero(pixels.numpy() > middle, 1) > pixels.shape[1] / 2
        for pixels in (gray.flatten(1), border_of(gray))
    )
    paper = most == border
    return torch.from_numpy(paper if paper.mean() > MUCH else np.ones_like(paper))


def _black(offset: Tensor, scale: Tensor) -> Tensor:
    """Return the scaled value that stands for no light: 0 for dark drawings on light paper.

    Light drawings are inverted, so that it is the largest value of their kind, 1, 255 or 65535.
    """
    most = torch.full_like(offset, 65535.0)
    for value in (255.0, 1.0):
        most[offset + scale <= value] = value
    dark = torch.where(scale < 0, torch.zeros_like(offset), most)
    return ((dark - offset) / scale).clamp(min=1)


def _correct_uneven(sample: Tensor, heavier: Tensor, extent: Tensor) -> None:
    """Replace, in place, what the border's median says of drawings on unevenly lit paper."""
    uneven = is_uneven(sample).nonzero().flatten()
    if not len(uneven):
        return
    some = uneven[:: math.ceil(len(uneven) / N_UNEVEN)]
    contrasts = contrast(sample[some]).double()
    paper = ~contrasts.isnan().any(1)
    if paper.float().mean() > 0.5:  # the others are alike
        heavier[uneven], extent[uneven] = 0, torch.nan
    heavier[some[paper]] = polarity(sample[some[paper]]).double() * sample.shape[1]
    extent[some[paper]] = contrasts[paper]


def learn_scaling(store: Store) -> tuple[Tensor, Tensor]:
    """Estimate the offset and scale that bring background to 0 and foreground to 1.

    The background is the median of the border, channel by channel. The foreground is the side of
    it, light or dark, that has more weight; the scale is the distance that nine of ten images
    reach, so that specks in a few of them do not count. Flat rows are standardised, feature by
    feature; one that hardly varies is not enlarged to more than `RARE` standard deviations.

    Parameters
    ----------
    store : Store
        Training images, of which at most 1,000 are read.

    Returns
    -------
    offset, scale : Tensor, float64
        (C, 1, 1) for images, (D,) for flat rows: x -> (x - offset) / scale.

    Raises
    ------
    ValueError
        If the values are too large for float64.
    """
    sample = _sample(store)
    sample = sample if sample.ndim == 4 else sample.double()
    if sample.ndim == 2:
        offset, scale = sample.mean(0), sample.std(0, correction=0)
        scale = torch.maximum(scale, (sample.amax(0) - sample.amin(0)) / RARE)
    elif sample.ndim == 3:
        offset, scale = (
            statistic.expand(sample.shape[1:]).clone()
            for statistic in (
                sample.mean((0, 2))[:, None],
                sample.std((0, 2), correction=0)[:, None],
            )
        )
    else:
        papers = border_of(sample)[_has_paper_border(sample)]
        offset = papers.movedim(1, 0).flatten(1).median(1).values.double()
        heavier = (sample.mean((2, 3)) - offset).sum(1)  # (B,)
        high, low = sample.amax((2, 3)) - offset, offset - sample.amin((2, 3))
        extent = torch.maximum(high, low)  # (B, C)
        _correct_uneven(sample, heavier, extent)
        sign = 1.0 if heavier.sum() >= 0 else -1.0
        noise = extent < extent.nan_to_num(0).amax(0) / 8  # on a blank
        ordered = extent.masked_fill(noise, torch.nan).sort(0).values  # NaN comes last
        ninth = (0.9 * (ordered.isfinite().sum(0) - 1)).clamp(min=0).long()
        scale = sign * ordered.gather(0, ninth[None])[0]
        offset, scale = offset[:, None, None], scale[:, None, None]
    if not (offset.isfinite().all() and scale.isfinite().all()):
        raise ValueError(
            "X has values whose spread exceeds float64. Rescale X, for example to 0..1."
        )
    return offset, torch.where(scale == 0, torch.ones_like(scale), scale)


def are_drawings(store: Store) -> bool:
    """Return whether most images are drawings on paper, which is flat once its light is even.

    It is False for images that are too small to tell.
    """
    if min(store.input_shape[1:]) < SMALLEST:
        return False
    gray = _sample(store, N_UNEVEN).mean(1, keepdim=True)
    return bool((~contrast(gray).isnan()).double().mean() > 0.5)


def learn_unit(store: Store, known: float | None = None) -> float:
    """Return the greatest value that pixels can have in the units of these images.

    That of the dtype, or else the least of the usual units that has room for them. Between 1 and
    255, that is the one that was known before, or one whose greatest value occurs: others are
    dark images of 8 bit.

    Raises
    ------
    ValueError
        If values are below 0, as of images that are normalised already.
    """
    if store.dtype.kind == "b":
        return 1.0
    if store.dtype in (np.uint8, np.uint16):
        return float(np.iinfo(store.dtype).max)
    sample = _sample(store)
    low, high = float(sample.min()), float(sample.max())
    usual = [full for full in FULL if full == known or full not in RARE_UNITS]
    fits = [full for full in usual if high <= full * (1 + OVERSHOOT)]
    fits = [high] if high in FULL else fits
    if not fits or low < -OVERSHOOT * fits[0]:
        raise ValueError(
            f"X has values from {low:.6g} to {high:.6g}, which are no pixels from 0 to 1, 255 or "
            "65535. Pass the images as they were read, or, if they are normalised already, set "
            "normalization=None."
        )
    return fits[0]


def pixel_scaling(
    unit: float, mean: tuple[float, ...], std: tuple[float, ...]
) -> tuple[Tensor, Tensor]:
    """Return offset and scale, (C, 1, 1), of pixels whose mean and std are given for 0 to 1."""
    offset, scale = (
        torch.tensor(values, dtype=torch.float64)[:, None, None] * unit for values in (mean, std)
    )
    return offset, scale


@dataclass(frozen=True, eq=False)
class InputScaling:
    """Raw inputs to what the encoder sees; a value that never changes.

    Attributes
    ----------
    offset, scale : Tensor, float64
        (C, 1, 1) for images, (D,) for flat rows: x -> (x - offset) / scale. Images of one channel
        become C equal ones.
    size, working_size : tuple of 2 ints or None
        (height, width) of the images given, and of what the encoder sees; None for flat rows.
    crop : {"foreground", None}, default=None
        What is brought to the working size: a box about the foreground, or the whole image.
    unit : float or None, default=None
        None: background becomes 0, foreground 1. Otherwise pixels, from 0 to `unit`, are
        normalised by a mean and a standard deviation; 0: images are in no unit, and taken as they
        are.
    """

    offset: Tensor
    scale: Tensor
    size: tuple[int, ...] | None = None
    working_size: tuple[int, ...] | None = None
    crop: str | None = None
    unit: float | None = None

    def __post_init__(self) -> None:
        size, working_size = self.size or (), self.working_size or ()
        if max((0, *working_size)) > max((LARGEST_SIDE, *size)):
            raise ValueError(
                f"working_size={tuple(working_size)} of images {tuple(size)}: they are enlarged "
                f"to at most {LARGEST_SIDE} pixels a side. Use a smaller resize."
            )

    def __call__(self, x: Tensor) -> Tensor:
        """Scale, crop and resize: (B, C, H, W) or (B, D), floating -> float32."""
        return self.shown(self.seen(x))

    def seen(self, x: Tensor) -> Seen:
        """Return images, of which what checks and cropping ask is then found once."""
        return Seen(x, self.offset, self.scale)

    def shown(self, seen: Seen) -> Tensor:
        """Scale, crop and resize what is seen: -> (B, C, H, W) or (B, D), float32."""
        x = seen.images
        if self.crop == "foreground":
            return self._cropped(seen, self._resized)
        if self.size != self.working_size:
            rows, columns = self.resizing
            return rows @ (x - self.offset.to(x.dtype)).float() @ columns
        return seen.scaled

    def boxes(self, x: Tensor) -> Tensor:
        """Return the part of each image that the encoder sees.

        Parameters
        ----------
        x : Tensor of shape (B, C, H, W)

        Returns
        -------
        boxes : Tensor of shape (B, 4), float64
            First row and one past the last, first column and one past the last, in pixels of the
            image. A box may reach beyond the image; background is seen there.
        """
        if self.crop == "foreground":
            return self._cropped(self.seen(x), lambda seen, edges, *_: self._edges(seen, edges))
        height, width = x.shape[2:]
        return torch.tensor([[0, height, 0, width]], dtype=torch.float64).expand(len(x), 4)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of what the encoder sees, (C, H, W) or (D,)."""
        shape = tuple(self.offset.shape)
        return shape if self.working_size is None else (shape[0], *self.working_size)

    @cached_property
    def contrast(self) -> Tensor:
        """Differences of background and foreground that are known: (C,)."""
        scale = self.scale.abs().flatten()
        return scale if self.unit is None else torch.full_like(scale, self.unit)

    @cached_property
    def known_range(self) -> tuple[float, float]:
        """The least and the greatest level of background and foreground that are known."""
        if self.unit is not None:
            return 0.0, self.unit
        levels = torch.stack([self.offset, self.offset + self.scale])
        return float(levels.min()), float(levels.max())

    def learned_again(self, store: Store) -> "InputScaling":
        """Return the scaling for the units, polarity and size of other images."""
        if self.unit is None:
            offset, scale = (x.expand_as(self.offset).clone() for x in learn_scaling(store))
            return replace(self, offset=offset, scale=scale, size=store.input_shape[1:])
        unit = self.unit and learn_unit(store, self.unit)
        ratio = unit / self.unit if self.unit else 1.0
        return replace(
            self,
            offset=self.offset * ratio,
            scale=self.scale * ratio,
            size=store.input_shape[1:],
            unit=unit,
        )

    @cached_property
    def resizing(self) -> tuple[Tensor, Tensor]:
        """Two small matrices that resize, and scale too."""
        if self.size is None or self.working_size is None:
            raise ValueError("flat rows cannot be resized")
        rows, columns = map(_whole_axis, self.size, self.working_size)
        return (rows.T / self.scale).float().contiguous(), columns.float()

    @cached_property
    def _black(self) -> Tensor:
        return _black(self.offset, self.scale)

    def is_inverted(self, seen: Seen) -> np.ndarray:
        """Return which images appear to have inverted polarity: (B,) bool.

        Their border is dark, as is that of a drawing that is cut tightly, but what is light, their
        strokes, is narrower than what is dark.
        """
        if seen.border.shape[1] > 1:
            seen = Seen.of_scaled(seen.gray)
        inverted = (seen.border_is_foreground & (seen.background > 0.5))[:, 0]
        if not inverted.any():
            return inverted
        seen = seen.at(inverted)
        x, paper = seen.scaled, torch.from_numpy(seen.background)[:, :, None]
        light = x[:, 0] < (paper + x[:, 0].amin((1, 2), keepdim=True)) / 2
        broad = thickness(~light) > BROAD * thickness(light)
        # A shadow leaves some light, and the drawing is darker still.
        lit = (paper < DARKEST * self._black.mean()).flatten()
        shaded = lit & is_uneven(x) & (polarity(x) > -0.01)
        inverted[inverted] = (broad & ~shaded).numpy()
        return inverted

    def _cropped(self, seen: Seen, show: Show) -> Tensor:
        """Show the foreground's bounding box, after what is not foreground was taken out."""
        faulty = is_faulty(seen)
        if not faulty.any():
            return self._boxed(seen, show)
        as_given = seen.at(faulty).scaled
        x = corrected(as_given, self._black)
        changes = (x.numpy() != as_given.numpy()).mean((1, 2, 3))
        changed = changes > 0
        if not changed.any():
            return self._boxed(seen, show)
        faulty[faulty] = changed
        of_faulty = self._boxed(
            Seen.of_scaled(x[torch.from_numpy(changed)]), show, changes[changed] > CLEANED
        )
        boxed = of_faulty.new_empty(len(seen), *of_faulty.shape[1:])
        boxed[torch.from_numpy(faulty)] = of_faulty
        if not faulty.all():
            boxed[torch.from_numpy(~faulty)] = self._boxed(seen.at(~faulty), show)
        return boxed

    def _boxed(self, seen: Seen, show: Show, cleaned: np.ndarray | None = None) -> Tensor:
        """Show the foreground's bounding box, its longer side `FOREGROUND_SIDE` of the result.

        Place and size of a drawing then do not matter, nor how light its paper is: each image has
        its own background. Foreground differs from it by a quarter of the strongest foreground; by
        more, but at most a half, where the background is noisy, and by a half where light or lines
        were taken out, which leaves traces.
        """
        background = np.where(seen.border_is_foreground, 0, seen.background)  # else it fills all
        rows, columns, border = (
            of - background[:, :, None]
            for of in (seen.row_maxima, seen.column_maxima, seen.border)
        )
        strongest, weakest = rows.max((1, 2)), (seen.minima - background).min(1)
        light = (strongest < FAINTEST) & (weakest < -FAINTEST)  # on a shade that fills its image
        if light.any():
            x, own = seen.at(light).scaled, background[light][:, :, None]
            rows[light], columns[light] = own - x.amin(3).numpy(), own - x.amin(2).numpy()
        strongest = np.where(light, -weakest, strongest)
        faint = (strongest >= FAINTEST) & (strongest <= 0.5)
        divisor = np.where(faint, strongest, 1)[:, None, None]
        noise = median(np.abs(border) / divisor)  # (B, C)
        least = (NOISES * noise).clip(*LEAST_FOREGROUND)[:, :, None]
        if cleaned is not None:
            least[cleaned] = LEAST_FOREGROUND[1]
        extents = [extent_of((of / divisor > least).max(1)) for of in (rows, columns)]
        divisor[light] *= -1
        return show(seen, extents, background, divisor[..., None])

    def _resized(
        self,
        seen: Seen,
        extents: Extents,
        background: np.ndarray,
        divisor: np.ndarray,
    ) -> Tensor:
        """Resize boxes about the foreground to (x - background) / divisor.

        `background` is (B, C) and `divisor` (B, 1, 1, 1).
        """
        n, channels, *shape = seen.pixels.shape
        sides = list(zip(shape, self.working_size or shape, strict=True))
        offset, scale = seen.affine
        level = (offset + scale * background)[:, :, None, None]
        x = seen.pixels.numpy(force=True) - level  # background is 0, also outside of the image
        edges = self._edges(seen, extents).numpy().T.repeat(channels, axis=1)
        for start, stop, (n_in, n_out) in zip(edges[::2], edges[1::2], sides, strict=True):
            x = resizing(n_in, n_out, start, stop) @ x.reshape(n * channels * n_in, -1)
            x = x.reshape(n * channels, n_out, -1).swapaxes(1, 2)  # rows, then columns
        return torch.from_numpy(x.reshape(n, channels, *self.working_size or shape)) / (
            torch.from_numpy(scale * divisor)
        )

    def _edges(self, seen: Seen, extents: Extents) -> Tensor:
        """Return where the boxes about the foreground start and stop, as `boxes` does."""
        shape = seen.pixels.shape[2:]
        sides = list(zip(shape, self.working_size or shape, strict=True))
        whole = min(n_out / n_in for n_in, n_out in sides)
        fits = [n_out / (b - a) for (a, b), (_, n_out) in zip(extents, sides, strict=True)]
        zoom = (FOREGROUND_SIDE * np.minimum(*fits)).clip(max=MAX_ZOOM * whole)
        edges = []
        for (a, b), (_, n_out) in zip(extents, sides, strict=True):
            middle, half = (a + b) / 2, n_out / (2 * zoom)
            edges += [middle - half, middle + half]
        return torch.from_numpy(np.stack(edges, 1))


def _whole_axis(n_in: int, n_out: int) -> Tensor:
    """Return (n_in, n_out) weights that resize a whole axis, repeating its ends."""
    weights = resizing(n_in, n_out, np.zeros(1), np.full(1, n_in)).toarray().T
    return torch.from_numpy(weights.astype(np.float64) / weights.sum(0))
