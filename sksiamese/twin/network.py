"""The twin network: scaling, one encoder for both twins, one head."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


def resize_weights(n_in, n_out):
    """(n_in, n_out) weights that resize one axis: area means to shrink, linear to grow."""
    if n_out > n_in:
        eye = torch.eye(n_in, dtype=torch.float64)[None]
        return F.interpolate(eye, n_out, mode="linear", align_corners=False)[0]
    edges = torch.arange(n_out + 1, dtype=torch.float64) * n_in / n_out
    pixels = torch.arange(n_in, dtype=torch.float64)[:, None]
    overlap = torch.minimum(edges[1:], pixels + 1) - torch.maximum(edges[:-1], pixels)
    return overlap.clamp(min=0) * n_out / n_in


def _sample(store):
    """Evenly spaced images of the store, float64, within 160 MB."""
    n_images = min(1000, max(8, 20_000_000 // math.prod(store.input_shape)))
    return store.take(np.unique(np.linspace(0, len(store) - 1, n_images).astype(int))).double()


def _ground(images):  # (B, C, H, W) -> (C, 1, 1), the median of the border
    border = torch.ones(images.shape[2:], dtype=torch.bool)
    border[1:-1, 1:-1] = False
    return images[..., border].movedim(1, 0).flatten(1).median(1).values[:, None, None]


def is_inverted(store, scaling):
    """Whether the images' ground is nearer to the ink that `scaling` knows than to its ground."""
    ground = (_ground(_sample(store)) - scaling.offset) / scaling.scale
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
    """

    def __init__(self, offset, scale, size=None, image_size=None):
        super().__init__()
        self.register_buffer("offset", offset)
        self.register_buffer("scale", scale)
        self.resizes = size != image_size
        if self.resizes:  # two small matrix products, which scale too
            rows, columns = map(resize_weights, size, image_size)
            self.register_buffer("rows", (rows.T / scale).float().contiguous())
            self.register_buffer("columns", columns.float())

    def forward(self, x):  # (B, C, H, W) or (B, D), floating -> float32, on the buffers' device
        x = x.to(self.offset.device)
        # In the precision of x: large float64 offsets would eat up float32's digits.
        x = x - self.offset.to(x.dtype)
        if self.resizes:
            return self.rows @ x.float() @ self.columns
        return (x / self.scale.to(x.dtype)).float()


class TwinNetwork(nn.Module):
    """p(x1, x2 same) = sigmoid(head(encoder(x1), encoder(x2))) (Koch et al. 2015, section 3.1).

    Both twins are the same encoder, so an image is encoded once however many pairs it is in.
    """

    def __init__(self, scaling, encoder, head):
        super().__init__()
        self.scaling = scaling
        self.encoder = encoder
        self.encoder.to(memory_format=self.memory_format)
        self.head = head
        self._folded = ()

    @property
    def memory_format(self):
        """That of our encoders; others may hold a `view`, which takes contiguous tensors only."""
        return getattr(self.encoder, "memory_format", torch.contiguous_format)

    def codes(self, images):
        """Scaled images (B, C, H, W) or rows (B, D) -> codes (B, ...)."""
        if images.ndim == 4:
            images = images.contiguous(memory_format=self.memory_format)
        encoder = self.encoder if self.training or not self._folded else self._folded[0]
        return self.head.codes(encoder(images))

    def fold(self):
        """End training; from now on encode by the encoder's folded copy, where it makes one.

        Call it again whenever weights change. The copy is kept in a tuple so that its weights do
        not count as parameters, and made anew where the network is unpickled.
        """
        self.eval().requires_grad_(False)
        if hasattr(self.encoder, "folded"):
            self._folded = (self.encoder.folded(),)
        return self

    def __getstate__(self):
        return {**self.__dict__, "_folded": bool(self._folded)}

    def __setstate__(self, state):
        super().__setstate__({**state, "_folded": ()})
        if state["_folded"]:
            self._folded = (self.encoder.folded(),)

    def forward(self, images, i=None, j=None):
        """Twin logits of all pairs of a batch (B, B), or of the pairs (i, j), (P,)."""
        codes = self.codes(images)
        if i is None:
            return self.head.logits(codes, codes)
        # index_select: the backward of codes[i] is not deterministic on several threads.
        return self.head.pair_logits(codes.index_select(0, i), codes.index_select(0, j))
