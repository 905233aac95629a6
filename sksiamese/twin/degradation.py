"""What pens, paper, cameras and files do to a drawing: steps of an augmentation after its warp.

A step takes scaled images (B, C, H, W), background 0 and foreground 1, and a generator on the
CPU, and returns images of the same shape. Each image is changed with probability `p`,
independently of the others, and all of its channels alike, except by noise.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

# Neighbours along rows and columns, of the same image of a stack.
IN_IMAGE = np.array([[[0, 1, 0], [1, 1, 1], [0, 1, 0]]], dtype=bool)
BROADEST = 1 / 6  # what has broader strokes, as a fraction of the longer side, is filled already
BLOCK = 8  # side of JPEG's blocks, in pixels
# Quantisation of luminance at quality 50 (ITU-T T.81, table K.1).
LUMINANCE = torch.tensor(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ],
    dtype=torch.float32,
)


def uniform(low: float, high: float, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Return uniform draws between `low` and `high`, on the CPU."""
    return low + (high - low) * torch.rand(shape, generator=generator)


def grown(images: Tensor, radius: Tensor) -> Tensor:
    """Dilate foreground by squares, or erode it where `radius` is negative.

    Parameters
    ----------
    images : Tensor of shape (B, C, H, W)
    radius : Tensor of shape (B, 1, 1, 1)
        By how many pixels on each side. Between whole pixels the two results are blended.

    Returns
    -------
    images : Tensor of shape (B, C, H, W)
    """
    n_rounds = math.ceil(radius.abs().max())
    sign = torch.where(radius > 0, 1.0, -1.0).to(images)  # an erosion dilates the negative
    size = radius.abs().to(images)
    result = images * sign
    for done in range(n_rounds):
        weight = (size - done).clamp(0, 1)
        result = torch.lerp(result, _dilated(result), weight)
    return result * sign


def _dilated(images: Tensor) -> Tensor:
    """Return the largest of 3 x 3 pixels, as a max-pooling, which is far slower on the CPU."""
    for axis in (2, 3):
        n = images.shape[axis] - 1
        before, after = images.narrow(axis, 0, n), images.narrow(axis, 1, n)
        images = images.clone()
        images.narrow(axis, 1, n).copy_(torch.maximum(before, after))
        first = images.narrow(axis, 0, n)
        torch.maximum(first, after, out=first)
    return images


def _filled(images: Tensor) -> Tensor:
    """Return images whose holes are foreground: background that is cut off from the border."""
    foreground = (images > 0.5).flatten(0, 1).cpu().numpy()
    filled = ndimage.binary_fill_holes(foreground, IN_IMAGE)
    # Without its rim, which keeps the gray values of its edge.
    inside = torch.from_numpy(ndimage.binary_erosion(filled, IN_IMAGE)).view(images.shape)
    return torch.where(inside.to(images.device), images.clamp(min=1), images)


def _shaded(images: Tensor, shade: Tensor) -> Tensor:
    """Darken paper by `shade`, (B, 1, H, W); foreground, 1, is as dark in any light."""
    return images + shade * (1 - images)


class Step(ABC):
    """Base of the steps: which images of a batch are changed."""

    p: float

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return images of the same shape, (B, C, H, W), each changed with probability `p`."""
        rows = torch.nonzero(torch.rand(len(images), generator=generator) < self.p).flatten()
        if not len(rows):
            return images
        rows = rows.to(images.device)
        return images.index_copy(0, rows, self._changed(images[rows], generator))

    @abstractmethod
    def _changed(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return all images changed, in a new tensor."""


def _draw(range_: tuple[float, float], images: Tensor, generator: torch.Generator) -> Tensor:
    """Return a draw for each image, (B, 1, 1, 1)."""
    return uniform(*range_, (len(images), 1, 1, 1), generator).to(images)


def _across(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return places along an axis of random direction, -1 to 1 in each image: (B, 1, H, W)."""
    angle = _draw((0, 2 * math.pi), images, generator)
    cos, sin = angle.cos(), angle.sin()
    y, x = (torch.linspace(-1, 1, side).to(images) for side in images.shape[2:])
    return (x * cos + y[:, None] * sin) / (cos.abs() + sin.abs())


@dataclass(frozen=True)
class Thickness:
    """Thicker or thinner strokes: dilation or erosion by a few pixels, or a part of one.

    Parameters
    ----------
    thin : float, default=0.4
        Largest erosion, in pixels on each side. Below 1, so that thin strokes do not vanish.
    thick : float, default=1.0
        Largest dilation, in pixels on each side.
    p : float, default=0.5
        Probability that an image is changed.

    See Also
    --------
    Augmentation : Applies it to images, after a warp.

    Examples
    --------
    >>> from sksiamese.augmentation import Augmentation, Thickness
    >>> broad = Augmentation(thickness=Thickness(thin=0.0, thick=2.5))
    """

    thin: float = 0.4
    thick: float = 1.0
    p: float = 0.5

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return images of the same shape, (B, C, H, W)."""
        n = len(images)
        radius = uniform(-self.thin, self.thick, (n, 1, 1, 1), generator)
        radius = torch.where(torch.rand(n, 1, 1, 1, generator=generator) < self.p, radius, 0.0)
        return grown(images, radius)


@dataclass(frozen=True)
class Contour(Step):
    """Filled shapes become their outlines; strokes narrower than two outlines stay.

    It is meant for drawings and icons. Of a photograph it leaves edges.

    Parameters
    ----------
    width : tuple of 2 floats, default=(2.0, 3.0)
        Range of the width of the outline, in pixels.
    p : float, default=0.1
        Probability that an image is changed.

    See Also
    --------
    Fill : The opposite.
    Augmentation : Applies it to images.

    Examples
    --------
    >>> from sksiamese.augmentation import Augmentation, Contour
    >>> outlined = Augmentation(then=(Contour(width=(1.0, 2.0), p=0.5),))
    """

    width: tuple[float, float] = (2.0, 3.0)
    p: float = 0.1

    def _changed(self, images: Tensor, generator: torch.Generator) -> Tensor:
        inside = grown(images, -_draw(self.width, images, generator))
        return images - inside.clamp(min=0)


@dataclass(frozen=True)
class Fill(Step):
    """Outlines become filled shapes, in which the lines inside are gaps, as icons are filled.

    Drawings without closed lines stay, and what is filled already. It is meant for drawings and
    icons, not for photographs.

    Parameters
    ----------
    margin : tuple of 2 floats, default=(0.5, 1.5)
        Range of the distance from the outline's inner edge to where gaps begin, in pixels.
    p : float, default=0.1
        Probability that an image is changed.

    See Also
    --------
    Contour : The opposite.
    Augmentation : Applies it to images.

    Examples
    --------
    >>> from sksiamese.augmentation import Augmentation, Fill
    >>> filled = Augmentation(then=(Fill(p=0.5),))
    """

    margin: tuple[float, float] = (0.5, 1.5)
    p: float = 0.1

    def _changed(self, images: Tensor, generator: torch.Generator) -> Tensor:
        margin = _draw(self.margin, images, generator)
        # A stroke of length L and width w has w L pixels, and 2 L along its edges.
        edges = images - grown(images, torch.full_like(margin, -1.0))
        area, edge = (part.sum((1, 2, 3), keepdim=True) for part in (images, edges))
        width = 2 * area / edge.clamp(min=1e-6)
        broadest = BROADEST * max(images.shape[2:])
        filled = _filled(images)
        inside = grown(filled, -(width.clamp(0, broadest) + margin))
        icons = filled - torch.minimum(images, inside).clamp(min=0)
        return torch.where(width < broadest, icons, images)


@dataclass(frozen=True)
class LooseCrop(Step):
    """A crop that is too wide: the whole image, smaller and off the middle of the new one.

    Parameters
    ----------
    zoom : tuple of 2 floats, default=(1.0, 1.5)
        Range of the side of the crop, in sides of the image. At least 1.
    p : float, default=0.1
        Probability that an image is changed.

    See Also
    --------
    Affine : Scales and shifts too, which may cut foreground off.
    Augmentation : Applies it to images.

    Examples
    --------
    >>> from sksiamese.augmentation import Augmentation, LooseCrop
    >>> small = Augmentation(then=(LooseCrop(zoom=(1.5, 2.0), p=0.3),))
    """

    zoom: tuple[float, float] = (1.0, 1.5)
    p: float = 0.1

    def _changed(self, images: Tensor, generator: torch.Generator) -> Tensor:
        n = len(images)
        zoom = uniform(*self.zoom, (n, 1), generator)
        shift = uniform(-1, 1, (n, 2), generator) * (zoom - 1)  # all of the image stays inside
        maps = torch.cat([torch.diag_embed(zoom.expand(n, 2)), shift[..., None]], 2).to(images)
        grid = F.affine_grid(maps, list(images.shape), align_corners=False)
        return F.grid_sample(images, grid, mode="bilinear", align_corners=False)


@dataclass(frozen=True)
class RuledLines(Step):
    """Ruled or squared paper: straight lines along rows, columns or both.

    Parameters
    ----------
    pitch : tuple of 2 floats, default=(0.15, 0.4)
        Range of the distance between lines, as a fraction of the longer side.
    level : tuple of 2 floats, default=(0.1, 0.5)
        Range of the darkness of lines: 0 as paper, 1 as foreground.
    width : float, default=1.0
        Width of lines, in pixels.
    squares : float, default=0.4
        Probability of lines along both axes where there are lines.
    p : float, default=0.1
        Probability that an image is changed.

    See Also
    --------
    Augmentation : Applies it to images.

    Examples
    --------
    >>> from sksiamese.augmentation import Augmentation, RuledLines
    >>> squared = Augmentation(then=(RuledLines(squares=1.0, p=0.5),))
    """

    pitch: tuple[float, float] = (0.15, 0.4)
    level: tuple[float, float] = (0.1, 0.5)
    width: float = 1.0
    squares: float = 0.4
    p: float = 0.1

    def _changed(self, images: Tensor, generator: torch.Generator) -> Tensor:
        height, width = images.shape[2:]
        pitch = _draw(self.pitch, images, generator) * max(height, width)
        level = _draw(self.level, images, generator)
        kind = _draw((0, 1), images, generator)
        rows, columns = kind < (1 + self.squares) / 2, kind > (1 - self.squares) / 2
        across = self._profile(torch.arange(height)[:, None], pitch, images, generator) * rows
        down = self._profile(torch.arange(width), pitch, images, generator) * columns
        return _shaded(images, level * torch.maximum(across, down))

    def _profile(
        self, pixels: Tensor, pitch: Tensor, images: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Return how much of each pixel along an axis lines cover."""
        from_line = pixels.to(images) - _draw((0, 1), images, generator) * pitch
        distance = ((from_line + pitch / 2) % pitch - pitch / 2).abs()
        return ((self.width + 1) / 2 - distance).clamp(0, min(self.width, 1))


@dataclass(frozen=True)
class Shade(Step):
    """Paper of another shade, lighter or darker, with a gradient of light.

    Background changes by ``level + gradient * r``, where r goes from -1 to 1 across the image in
    a random direction. Foreground, 1, stays.

    Parameters
    ----------
    level : tuple of 2 floats, default=(-0.1, 0.1)
        Range of the shade of the middle: 0 as paper, 1 as foreground, negative lighter.
    gradient : tuple of 2 floats, default=(0.0, 0.25)
        Range of the gradient, half the difference between the darkest and lightest corner.
    p : float, default=0.15
        Probability that an image is changed.

    See Also
    --------
    Shadow : Uneven light with an edge.
    Augmentation : Applies it to images.

    Examples
    --------
    >>> from sksiamese.augmentation import Augmentation, Shade
    >>> gray_paper = Augmentation(then=(Shade(level=(0.0, 0.3), gradient=(0.0, 0.0)),))
    """

    level: tuple[float, float] = (-0.1, 0.1)
    gradient: tuple[float, float] = (0.0, 0.25)
    p: float = 0.15

    def _changed(self, images: Tensor, generator: torch.Generator) -> Tensor:
        level = _draw(self.level, images, generator)
        gradient = _draw(self.gradient, images, generator)
        return _shaded(images, level + gradient * _across(images, generator))


@dataclass(frozen=True)
class Shadow(Step):
    """The edge of a shadow: paper on one side of a straight line is darker, or lighter.

    Foreground, 1, stays.

    Parameters
    ----------
    depth : tuple of 2 floats, default=(-0.4, 0.4)
        Range of the shade of the paper on that side: 0 as on the other, 1 as foreground. Negative
        where the light falls on it, as after the other side's background was subtracted.
    edge : tuple of 2 floats, default=(0.05, 0.5)
        Range of the width of the edge, as a fraction of the image.
    position : float, default=0.6
        Largest distance of the edge from the middle, as a fraction of half the image.
    p : float, default=0.1
        Probability that an image is changed.

    See Also
    --------
    Shade : Light that changes gradually.
    Augmentation : Applies it to images.

    Examples
    --------
    >>> from sksiamese.augmentation import Augmentation, Shadow
    >>> sharp = Augmentation(then=(Shadow(depth=(0.1, 0.6), edge=(0.02, 0.1), p=0.5),))
    """

    depth: tuple[float, float] = (-0.4, 0.4)
    edge: tuple[float, float] = (0.05, 0.5)
    position: float = 0.6
    p: float = 0.1

    def _changed(self, images: Tensor, generator: torch.Generator) -> Tensor:
        depth = _draw(self.depth, images, generator)
        edge = 2 * _draw(self.edge, images, generator).clamp(min=1e-6)
        position = _draw((-self.position, self.position), images, generator)
        inside = ((_across(images, generator) - position) / edge + 0.5).clamp(0, 1)
        return _shaded(images, depth * inside)


@dataclass(frozen=True)
class Blur(Step):
    """Gaussian blur, as of a lens or of enlarging. The border is not darkened.

    Parameters
    ----------
    sigma : tuple of 2 floats, default=(0.4, 1.0)
        Range of the standard deviation, in pixels.
    p : float, default=0.25
        Probability that an image is changed.

    See Also
    --------
    Augmentation : Applies it to images.

    Examples
    --------
    >>> from sksiamese.augmentation import Augmentation, Blur
    >>> soft = Augmentation(then=(Blur(sigma=(0.5, 2.0)),))
    """

    sigma: tuple[float, float] = (0.4, 1.0)
    p: float = 0.25

    def _changed(self, images: Tensor, generator: torch.Generator) -> Tensor:
        sigma = _draw(self.sigma, images, generator).clamp(min=1e-3)
        rows, columns = (_gaussian(side, sigma) for side in images.shape[2:])
        return rows @ images @ columns.mT


def _gaussian(side: int, sigma: Tensor) -> Tensor:
    """Return weights (B, 1, side, side) of the pixels that make a blurred pixel, a row each."""
    pixels = torch.arange(side).to(sigma)
    distance = (pixels - pixels[:, None]) / sigma
    weights = torch.exp(-(distance**2) / 2)
    return weights / weights.sum(3, keepdim=True)


@dataclass(frozen=True)
class Noise(Step):
    """Gaussian noise, independent in each pixel and channel. Values leave the range 0 to 1.

    Parameters
    ----------
    strength : tuple of 2 floats, default=(0.0, 0.12)
        Range of the standard deviation, in units of the foreground.
    p : float, default=0.3
        Probability that an image is changed.

    See Also
    --------
    Augmentation : Applies it to images.

    Examples
    --------
    >>> from sksiamese.augmentation import Augmentation, Noise
    >>> grainy = Augmentation(then=(Noise(strength=(0.05, 0.2)),))
    """

    strength: tuple[float, float] = (0.0, 0.12)
    p: float = 0.3

    def _changed(self, images: Tensor, generator: torch.Generator) -> Tensor:
        noise = torch.randn(images.shape, generator=generator).to(images)
        return images + _draw(self.strength, images, generator) * noise


@dataclass(frozen=True)
class JPEG(Step):
    """JPEG's loss: cosine transform of blocks of 8 x 8 pixels, rounded to multiples of a table.

    The table is the standard's for luminance, in all channels. Blocks begin at a random pixel, as
    in images that were cropped afterwards. 0 and 1 stand for 0 and 255; values are not clipped.

    Parameters
    ----------
    quality : tuple of 2 floats, default=(20.0, 90.0)
        Range of the quality, 1 to 100, by which libjpeg scales the table.
    p : float, default=0.15
        Probability that an image is changed.

    See Also
    --------
    Augmentation : Applies it to images.

    References
    ----------
    ITU-T Recommendation T.81 (1992), annexes A and K.

    Examples
    --------
    >>> from sksiamese.augmentation import JPEG, Augmentation
    >>> saved = Augmentation(then=(JPEG(quality=(10.0, 40.0), p=0.5),))
    """

    quality: tuple[float, float] = (20.0, 90.0)
    p: float = 0.15

    def _changed(self, images: Tensor, generator: torch.Generator) -> Tensor:
        n = len(images)
        quality = _draw(self.quality, images, generator)
        percent = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality)
        table = ((LUMINANCE.to(images) * percent + 50) / 100).floor().clamp(1, 255) / 255
        first = torch.randint(BLOCK, (2, n, 1), generator=generator)
        n_blocks = [-(-(side + BLOCK - 1) // BLOCK) for side in images.shape[2:]]
        rows, columns = (
            torch.arange(blocks * BLOCK) - start
            for blocks, start in zip(n_blocks, first, strict=True)
        )  # (B, padded side): which pixel each pixel of the blocks shows
        height, width = images.shape[2:]
        blocks = _taken(images, rows.clamp(0, height - 1), columns.clamp(0, width - 1))
        down, across = (_cosines(number).to(images) for number in n_blocks)
        steps = table.repeat(1, 1, *n_blocks)
        blocks = (down @ blocks @ across.mT / steps).round() * steps
        blocks = down.mT @ blocks @ across
        return _taken(blocks, torch.arange(height) + first[0], torch.arange(width) + first[1])


def _taken(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return given rows and columns of each image, (B, H') and (B, W')."""
    rows, columns = rows.to(images.device), columns.to(images.device)
    taken = images.take_along_dim(rows[:, None, :, None], 2)
    return taken.take_along_dim(columns[:, None, None], 3)


def _cosines(n_blocks: int) -> Tensor:
    """Return the orthonormal cosine transform of an axis of blocks, a square matrix."""
    k, pixel = torch.arange(BLOCK)[:, None], torch.arange(BLOCK)
    one = torch.cos(math.pi / BLOCK * (pixel + 0.5) * k) * math.sqrt(2 / BLOCK)
    one[0] /= math.sqrt(2)
    return torch.block_diag(*[one] * n_blocks)
