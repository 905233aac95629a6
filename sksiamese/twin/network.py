"""The twin network: scaling, one encoder for both twins, one head."""

import torch
import torch.nn.functional as F
from torch import nn


class InputScaling(nn.Module):
    """Raw inputs to what the encoder sees: ground 0 and ink 1, at the working size.

    Parameters
    ----------
    offset, scale : Tensor
        (C, 1, 1) for images, (D,) for flat rows: x -> (x - offset) / scale.
    image_size : tuple of 2 ints or None
        (height, width) that images are resized to; None leaves them as they come.
    """

    def __init__(self, offset, scale, image_size=None):
        super().__init__()
        self.register_buffer("offset", offset)
        self.register_buffer("scale", scale)
        self.image_size = image_size

    def forward(self, x):  # (B, C, H, W) or (B, D), floating -> float32, on the scaling's device
        x = x.to(self.offset.device)
        # Subtract in the precision of x: large float64 offsets would eat up float32's digits.
        x = ((x - self.offset.to(x.dtype)) / self.scale.to(x.dtype)).float()
        if self.image_size is None or tuple(x.shape[-2:]) == self.image_size:
            return x
        if x.shape[-2] >= self.image_size[0] and x.shape[-1] >= self.image_size[1]:
            return F.adaptive_avg_pool2d(x, self.image_size)
        return F.interpolate(x, self.image_size, mode="bilinear", align_corners=False)


class TwinNetwork(nn.Module):
    """p(x1, x2 same) = sigmoid(head(encoder(x1), encoder(x2))) (Koch et al. 2015, section 3.1).

    Both twins are the same encoder, so an image is encoded once however many pairs it is in.
    """

    def __init__(self, scaling, encoder, head):
        super().__init__()
        self.scaling = scaling
        self.encoder = encoder
        self.head = head

    def codes(self, images):
        """Scaled images (B, C, H, W) or rows (B, D) -> codes (B, ...)."""
        if images.ndim == 4:
            images = images.contiguous(memory_format=torch.channels_last)
        return self.head.codes(self.encoder(images))

    def forward(self, images, i=None, j=None):
        """Twin logits of all pairs of a batch (B, B), or of the pairs (i, j), (P,)."""
        codes = self.codes(images)
        if i is None:
            return self.head.logits(codes, codes)
        # index_select: the backward of codes[i] is not deterministic on several threads.
        return self.head.pair_logits(codes.index_select(0, i), codes.index_select(0, j))
