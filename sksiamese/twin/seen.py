"""Seen: images as they are read, and what checks and scaling ask of them, found once.

Of one channel the pixels are not scaled for that: an extreme value is the same before and after,
so that extremes, medians and the border alone are scaled.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

LIGHTER, MUCH = 0.2, 0.2  # so much lighter than the border, in so much of the image, is paper
FAR = 16.0  # times the scale: pixels whose offset is larger lose digits unless it is subtracted
N_CELLS = 16  # of an image, in each direction


def border_of(images: Tensor) -> Tensor:
    """Return the pixels along the border, side by side: (..., H, W) -> (..., pixels).

    They are those of the first row, of the last row, and of the first and the last column without
    their ends.
    """
    height, width = images.shape[-2:]
    sides = [images[..., 0, :]]
    if height > 1:
        sides += [images[..., -1, :], images[..., 1:-1, 0]]
    if height > 1 and width > 1:
        sides.append(images[..., 1:-1, -1])
    return torch.cat(sides, -1)


def median(values: np.ndarray) -> np.ndarray:
    """Return the lower median along the last axis, as torch does."""
    return ordered_median(np.sort(values, -1))


def ordered_median(values: np.ndarray) -> np.ndarray:
    """Return the lower median of sorted values along the last axis."""
    return values[..., (values.shape[-1] - 1) // 2]


@dataclass(frozen=True, eq=False)
class Seen:
    """Images, whose scaled pixels are (images - offset) / scale. Arrays below are of those.

    Attributes
    ----------
    images : Tensor of shape (B, C, H, W)
        Of any floating dtype; one channel may become several by offset and scale.
    offset, scale : Tensor of shape (C, 1, 1)
    """

    images: Tensor
    offset: Tensor
    scale: Tensor

    def __len__(self) -> int:
        return len(self.images)

    @classmethod
    def of_scaled(cls, images: Tensor) -> "Seen":
        """Return images that are scaled already."""
        seen = cls(images, torch.zeros(1, 1, 1), torch.ones(1, 1, 1))
        vars(seen)["scaled"] = images.float()  # where `cached_property` looks for it
        return seen

    def at(self, rows: np.ndarray) -> "Seen":
        """Return the images at these rows, or where a mask is set."""
        return Seen(self.images[torch.from_numpy(rows)], self.offset, self.scale)

    @cached_property
    def low(self) -> np.ndarray:
        """Least value of each channel, as read: (B, C)."""
        return self.images.amin((2, 3)).numpy(force=True)

    @cached_property
    def high(self) -> np.ndarray:
        """Greatest value of each channel, as read: (B, C)."""
        return self.images.amax((2, 3)).numpy(force=True)

    @cached_property
    def scaled(self) -> Tensor:
        """Scaled pixels, float32: (B, C, H, W)."""
        # In the precision of the images: large float64 offsets would cost float32's digits.
        offset, scale = self.offset.to(self.images), self.scale.to(self.images)
        return ((self.images - offset) / scale).float()

    @cached_property
    def gray(self) -> Tensor:
        """Mean of the scaled channels: (B, 1, H, W)."""
        return self.scaled if self.scaled.shape[1] == 1 else self.scaled.mean(1, keepdim=True)

    @cached_property
    def is_as_read(self) -> bool:
        """Whether pixels are taken as they were read, so that `level` scales."""
        x, offset, scale = self.images, self.offset, self.scale
        if not (x.shape[1] == offset.numel() == scale.numel() == 1 and x.dtype == torch.float32):
            return False
        return bool(offset.abs() <= FAR * scale.abs())

    @cached_property
    def pixels(self) -> Tensor:
        """Pixels as read or scaled: (B, C, H, W) float32."""
        return self.images if self.is_as_read else self.scaled

    @cached_property
    def affine(self) -> tuple[np.float32, np.float32]:
        """Offset and scale of `pixels`."""
        if not self.is_as_read:
            return np.float32(0), np.float32(1)
        return np.float32(self.offset.item()), np.float32(self.scale.item())

    def level(self, values: Tensor) -> np.ndarray:
        """Return scaled values of `pixels`."""
        offset, scale = self.affine
        return (values.numpy(force=True) - offset) / scale

    def most(self, pixels: Tensor, dim: int | tuple[int, ...]) -> Tensor:
        """Return those of `pixels` that are greatest once they are scaled."""
        return pixels.amin(dim) if self.affine[1] < 0 else pixels.amax(dim)

    @cached_property
    def border(self) -> np.ndarray:
        """Pixels along the border: (B, C, pixels)."""
        return self.level(border_of(self.pixels))

    @cached_property
    def gray_border(self) -> np.ndarray:
        """Mean of the channels along the border: (B, pixels)."""
        return self.border[:, 0] if self.border.shape[1] == 1 else self.border.mean(1)

    @cached_property
    def ordered_border(self) -> np.ndarray:
        """Gray values along the border in their order: (B, pixels)."""
        return np.sort(self.gray_border, -1)

    @cached_property
    def background(self) -> np.ndarray:
        """Median of the border: (B, C)."""
        if self.border.shape[1] == 1:
            return ordered_median(self.ordered_border)[:, None]
        return median(self.border)

    @cached_property
    def row_maxima(self) -> np.ndarray:
        """Greatest value of each row: (B, C, H)."""
        return self.level(self.most(self.pixels, 3))

    @cached_property
    def column_maxima(self) -> np.ndarray:
        """Greatest value of each column: (B, C, W)."""
        if self.pixels.shape[1] == 1:
            return self.level(self.most(self._bands, 2))
        return self.level(self.most(self.pixels, 2))

    @cached_property
    def minima(self) -> np.ndarray:
        """Least value of each channel: (B, C)."""
        if self.is_as_read:
            offset, scale = self.affine
            return ((self.high if scale < 0 else self.low) - offset) / scale
        return self.scaled.amin((2, 3)).numpy(force=True)

    @cached_property
    def extent(self) -> np.ndarray:
        """Difference of the greatest and the least value: (B,)."""
        return self.row_maxima.max((1, 2)) - self.minima.min(1)

    @cached_property
    def _bands(self) -> Tensor:
        """Greatest gray values of bands of rows, as `pixels` are: (B, 1, at most 16, W)."""
        return self._blockwise(self.pixels if self.pixels.shape[1] == 1 else self.gray, 2)

    @cached_property
    def cells(self) -> np.ndarray:
        """Greatest gray value of each cell of a grid: (B, h, w), both at most 16."""
        return self.level(self._blockwise(self._bands, 3))[:, 0]

    def _blockwise(self, x: Tensor, axis: int) -> Tensor:
        """Return the greatest values of blocks along an axis; the last may be shorter."""
        n = x.shape[axis]
        size = -(-n // N_CELLS)
        n_whole = n // size
        whole = x.narrow(axis, 0, n_whole * size).unflatten(axis, (n_whole, size))
        blocks = self.most(whole, axis + 1)
        if n_whole * size == n:
            return blocks
        rest = self.most(x.narrow(axis, n_whole * size, n - n_whole * size), axis)
        return torch.cat([blocks, rest.unsqueeze(axis)], axis)

    @cached_property
    def border_is_foreground(self) -> np.ndarray:
        """Whether the border is foreground: (B, C) bool.

        It is where its median is nearer to 1 than to 0 and above the mean of the whole image: on
        paper as dark as foreground, what is drawn is darker still. It is too where much of the
        image is lighter: strokes along the border, partly cut off.
        """
        found = np.zeros(self.background.shape, dtype=bool)
        shaded = (self.background > LIGHTER).max(1)
        if shaded.any():
            x = self.at(shaded).scaled
            background = torch.from_numpy(self.background[shaded])
            dark = (background > 0.5) & (x.mean((2, 3)) < background - 1e-3)
            lighter = x < (background - LIGHTER)[..., None, None]
            much = lighter.to(x.dtype).mean((2, 3)) > MUCH
            found[shaded] = (dark | (much & (background > LIGHTER))).numpy()
        return found
