"""Scaling: raw inputs to what the encoder sees, ground 0 and ink 1 at the working size."""

import math

import numpy as np
import torch
from torch import nn

INK_SIDE = 0.8
INK_ZOOM = 3.0


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


def _sample(store, n_images=1000):
    """Evenly spaced images of the store, float64, at most so many and within 160 MB."""
    n_images = min(n_images, max(8, 20_000_000 // math.prod(store.input_shape)))
    return store.take(np.unique(np.linspace(0, len(store) - 1, n_images).astype(int))).double()


def _ground(images):  # (B, C, H, W) -> (C, 1, 1), the median of the border
    border = torch.ones(images.shape[2:], dtype=torch.bool)
    border[1:-1, 1:-1] = False
    return images[..., border].movedim(1, 0).flatten(1).median(1).values[:, None, None]


def is_inverted(store, scaling):
    """Whether the images' ground is nearer to the ink that `scaling` knows than to its ground."""
    ground = (_ground(_sample(store, 50)) - scaling.offset) / scaling.scale
    return bool((ground > 0.5).any())


def learn_scaling(store):
    """Offset and scale that bring ground to 0 and ink to 1, from a sample of the training images.

    Ground is the median of the border, channel by channel; ink is the side of it, light or dark,
    that reaches farther. Flat rows are standardised, feature by feature.
    """
    sample = _sample(store)
    if sample.ndim == 2:
        offset, scale = sample.mean(0), sample.std(0, correction=0)
    else:
        offset = _ground(sample)
        high = sample.amax((0, 2, 3))[:, None, None] - offset
        low = offset - sample.amin((0, 2, 3))[:, None, None]
        sign = 1.0 if high.sum() >= low.sum() else -1.0
        scale = sign * torch.maximum(high, low)
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
        x = x.to(self.offset.device)
        # In the precision of x: large float64 offsets would eat up float32's digits.
        x = x - self.offset.to(x.dtype)
        if self.resizes:
            return self.rows @ x.float() @ self.columns
        x = (x / self.scale.to(x.dtype)).float()
        return self._framed(x) if self.frame == "ink" else x

    def _framed(self, x):
        """The ink's bounding box in the middle, its longer side `INK_SIDE` of the frame.

        So a drawing's place and size do not count. Ink is what is nearer to 1 than to 0. Specks
        are enlarged at most `INK_ZOOM` times as much as the whole image would be.
        """
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
