"""Scaling: raw inputs to what the encoder sees, ground 0 and ink 1 at the working size."""

import math

import numpy as np
import torch
from torch import nn

INK_SIDE = 0.8
INK_ZOOM = 3.0
FAINTEST = 0.2  # what is weaker is noise
ALL_INK = 2 / 3  # a drawing seldom covers so much of its image, nor the border too


def resize_weights(n_in, n_out, start, stop):
    """(B, n_in, n_out) weights that resize axes to what lies from `start` to `stop`, (B,) pixels.

    An output pixel is the mean over its own width, or over one input pixel where it is narrower:
    area means to shrink, linear interpolation to grow. Outside the axis lies ground, 0.
    """
    step = ((stop - start) / n_out)[:, None, None]
    centres = start[:, None, None] + (torch.arange(n_out, device=start.device) + 0.5) * step
    half = step.clamp(min=1) / 2
    pixels = torch.arange(n_in, device=start.device)[:, None]
    overlap = torch.minimum(centres + half, pixels + 1) - torch.maximum(centres - half, pixels)
    return overlap.clamp(min=0) / (2 * half)


def ink_extent(is_ink):  # (B, n) -> two (B,), the first pixel with ink, and one past the last
    n = is_ink.shape[1]
    start, end = is_ink.int().argmax(1), n - is_ink.flip(1).int().argmax(1)
    empty = ~is_ink.any(1)
    return start.masked_fill(empty, 0).double(), end.masked_fill(empty, n).double()


def evenly_spaced(n, n_most):
    """At most `n_most` of the numbers below `n`, from the first to the last."""
    return np.unique(np.linspace(0, n - 1, n_most).astype(int))


def _sample(store):
    """Evenly spaced images of the store, float64, at most 1,000 and within 160 MB."""
    n_images = min(1000, max(8, 20_000_000 // math.prod(store.input_shape)))
    return store.take(evenly_spaced(len(store), n_images)).double()


def _border(images):  # (B, C, H, W) -> (B, C, pixels)
    border = torch.ones(images.shape[2:], dtype=torch.bool, device=images.device)
    border[1:-1, 1:-1] = False
    return images[..., border]


def _own_ground(x):
    """The median of each border of scaled images (B, C, H, W), and whether that is ink: nearer to
    1 than to 0, and more so than the whole image. Two (B, C, 1, 1)."""
    ground = _border(x).median(-1).values[..., None, None]
    # On paper as dark as ink, what is drawn is darker still.
    return ground, (ground > 0.5) & (x.mean((2, 3), keepdim=True) < ground - 1e-3)


def learn_scaling(store):
    """Offset and scale that bring ground to 0 and ink to 1, from a sample of the training images.

    Ground is the median of the border, channel by channel; ink is the side of it, light or dark,
    that has more weight, and as far from it as nine of ten drawings reach: specks in a few of
    them do not count. Flat rows are standardised, feature by feature.
    """
    sample = _sample(store)
    if sample.ndim == 2:
        offset, scale = sample.mean(0), sample.std(0, correction=0)
    else:
        offset = _border(sample).movedim(1, 0).flatten(1).median(1).values
        sign = 1.0 if (sample.mean((0, 2, 3)) - offset).sum() >= 0 else -1.0
        high, low = sample.amax((2, 3)) - offset, offset - sample.amin((2, 3))
        extent = torch.maximum(high, low)  # (B, C)
        extent = extent.masked_fill(extent < extent.amax(0) / 8, torch.nan)  # noise on a blank
        scale = sign * extent.nanquantile(0.9, 0, interpolation="lower")
        offset, scale = offset[:, None, None], scale[:, None, None]
    if not (offset.isfinite().all() and scale.isfinite().all()):
        raise ValueError("X has values whose spread is beyond float64: scale it down.")
    return offset, torch.where(scale == 0, torch.ones_like(scale), scale)


class InputScaling(nn.Module):
    """Raw inputs to what the encoder sees: ground 0 and ink 1, at the working size.

    Parameters
    ----------
    offset, scale : Tensor
        (C, 1, 1) for images, (D,) for flat rows: x -> (x - offset) / scale.
    size, image_size : tuples of 2 ints or None
        (height, width) that images have and are resized to; equal or None leaves them.
    frame : {"image", "ink"}, default="image"
        What is resized: the whole image, or a box about its ink.
    """

    def __init__(self, offset, scale, size=None, image_size=None, frame="image"):
        super().__init__()
        self.register_buffer("offset", offset)
        self.register_buffer("scale", scale)
        self.image_size = image_size
        self.frame = frame
        self.resizes = frame == "image" and size != image_size
        if self.resizes:  # two small matrix products, which scale too
            rows, columns = map(self._whole, size, image_size)
            self.register_buffer("rows", (rows.T / scale).float().contiguous())
            self.register_buffer("columns", columns.float())

    def _whole(self, n_in, n_out):
        ends = torch.tensor([[0.0], [n_in]], dtype=torch.float64)
        weights = resize_weights(n_in, n_out, *ends)[0]
        return weights / weights.sum(0)  # nothing lies outside: the border goes on

    def forward(self, x):  # (B, C, H, W) or (B, D), floating -> float32, on the buffers' device
        if self.resizes:
            return self.rows @ self._shifted(x).float() @ self.columns
        return self._framed(self._scaled(x)) if self.frame == "ink" else self._scaled(x)

    def _shifted(self, x):
        # In the precision of x: large float64 offsets would eat up float32's digits.
        return x.to(self.offset.device) - self.offset.to(x.dtype)

    def _scaled(self, x):
        return (self._shifted(x) / self.scale.to(x.dtype)).float()

    def spread(self, x):
        """How far the values of images reach, in units of the distance from ground to ink: (C,),
        medians of the images (B, C, H, W)."""
        x = self._scaled(x)
        return (x.amax((2, 3)) - x.amin((2, 3))).median(0).values

    def is_inverted(self, x):
        """Which images (B, C, H, W) seem to have ink for ground and ground for ink: (B,) bool."""
        x = self._scaled(x).mean(1, keepdim=True)
        border_is_ink = _own_ground(x)[1].flatten()
        return border_is_ink & ((x > 0.5).float().mean((1, 2, 3)) > ALL_INK)

    def _framed(self, x):
        """The ink's bounding box in the middle, its longer side `INK_SIDE` of the frame.

        So a drawing's place and size do not count, nor how light its paper is: ground is each
        image's own. Ink is what is nearer to 1 than to 0, or to the strongest of a faint drawing.
        Specks are enlarged at most `INK_ZOOM` times as much as the whole image would be.
        """
        ground, border_is_ink = _own_ground(x)
        x = x - ground.masked_fill(border_is_ink, 0)  # as of a drawing in a tight box
        strongest = x.amax((1, 2, 3), keepdim=True)
        x = x / strongest.masked_fill((strongest < FAINTEST) | (strongest > 0.5), 1)
        is_ink = (x > 0.5).any(1)
        extents = ink_extent(is_ink.any(2)), ink_extent(is_ink.any(1))
        sides = list(zip(x.shape[2:], self.image_size, strict=True))
        whole = min(n_out / n_in for n_in, n_out in sides)
        fits = [
            n_out / (end - start) for (start, end), (_, n_out) in zip(extents, sides, strict=True)
        ]
        zoom = (INK_SIDE * torch.minimum(*fits)).clamp(max=INK_ZOOM * whole)
        weights = []
        for (start, end), (n_in, n_out) in zip(extents, sides, strict=True):
            middle, half = (start + end) / 2, n_out / (2 * zoom)
            weights.append(resize_weights(n_in, n_out, middle - half, middle + half).float())
        return weights[0].mT[:, None] @ x @ weights[1][:, None]
