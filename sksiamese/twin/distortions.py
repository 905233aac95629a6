"""Distortions: random changes that keep a drawing's class, and turns that make new classes.

All work on batches of scaled images (B, C, H, W), ground 0, each image by its own draw; every draw
comes from the generator given. Warps bring in ground at the borders.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F


def _uniform(low, high, shape, generator):
    return low + (high - low) * torch.rand(shape, generator=generator)


@dataclass(frozen=True)
class Affine:
    """The paper's affine distortion (section 3.3), each component with probability `p`.

    Attributes
    ----------
    rotation : float
        Largest angle, in degrees.
    shear : float
        Largest shear, along each axis.
    scale : tuple of 2 floats
        Range of the scale of each axis.
    shift : float
        Largest shift along each axis, in pixels of the images given.
    p : float
        Probability of each of the seven components: angle, two shears, two scales, two shifts.
    """

    rotation: float = 10.0
    shear: float = 0.3
    scale: tuple = (0.8, 1.2)
    shift: float = 2.0
    p: float = 0.5

    def draw(self, n, generator):
        """The components of `n` images: angle (n,) in radians, shear, scale and shift (n, 2)."""
        angle = _uniform(-self.rotation, self.rotation, (n, 1), generator) * (math.pi / 180)
        shear = _uniform(-self.shear, self.shear, (n, 2), generator)
        scale = _uniform(*self.scale, (n, 2), generator)
        shift = _uniform(-self.shift, self.shift, (n, 2), generator)
        on = torch.rand(n, 7, generator=generator) < self.p
        angle = torch.where(on[:, 0], angle[:, 0], 0.0)
        shear = torch.where(on[:, 1:3], shear, 0.0)
        scale = torch.where(on[:, 3:5], scale, 1.0)
        shift = torch.where(on[:, 5:7], shift, 0.0)
        return angle, shear, scale, shift

    def matrices(self, n, size, generator):
        """(n, 2, 3) maps from output to input pixels, in half-side units of the longer side."""
        angle, shear, scale, shift = self.draw(n, generator)
        cos, sin = angle.cos(), angle.sin()
        one = torch.ones_like(cos)
        rotation = torch.stack([cos, -sin, sin, cos], 1).view(n, 2, 2)
        shearing = torch.stack([one, shear[:, 0], shear[:, 1], one], 1).view(n, 2, 2)
        return torch.cat(
            [rotation @ shearing @ torch.diag_embed(1 / scale), shift[..., None] * 2 / max(size)],
            2,
        )


@dataclass(frozen=True)
class Elastic:
    """A smooth random displacement field, bicubic between `knots` x `knots` draws.

    Attributes
    ----------
    strength : float
        Standard deviation of the displacement at a knot, as a fraction of the side.
    knots : int
        Knots a side.
    p : float
        Probability that an image is displaced.
    """

    strength: float = 0.03
    knots: int = 5
    p: float = 0.5

    def displacements(self, n, size, generator):
        """(n, H, W, 2) displacements in half-side units."""
        coarse = torch.randn(n, 2, self.knots, self.knots, generator=generator)
        on = torch.rand(n, 1, 1, 1, generator=generator) < self.p
        fine = F.interpolate(coarse * on, size, mode="bicubic", align_corners=True)
        return fine.permute(0, 2, 3, 1) * (2 * self.strength)


@dataclass(frozen=True)
class Thickness:
    """Thicker or thinner strokes: part of the way to the 3x3 dilation or erosion.

    Attributes
    ----------
    thin, thick : float
        The greatest parts of the way, 0 to 1. Thin strokes of small images must not vanish.
    p : float
        Probability that an image is changed.
    """

    thin: float = 0.4
    thick: float = 1.0
    p: float = 0.5

    def __call__(self, images, generator):
        n = len(images)
        part = _uniform(-self.thin, self.thick, (n, 1, 1, 1), generator)
        part = torch.where(torch.rand(n, 1, 1, 1, generator=generator) < self.p, part, 0.0)
        part = part.to(images.device)
        dilated = F.max_pool2d(images, 3, 1, 1)
        eroded = -F.max_pool2d(-images, 3, 1, 1)
        return torch.lerp(images, torch.where(part > 0, dilated, eroded), part.abs())


@dataclass(frozen=True)
class Distortion:
    """Affine and elastic warp in one resampling, then stroke thickness; each may be None."""

    affine: Affine | None = Affine()
    elastic: Elastic | None = None
    thickness: Thickness | None = None

    def __call__(self, images, generator):
        n, _, height, width = images.shape
        # Pixel centres in half-side units of the longer side, so that warps keep angles.
        aspect = torch.tensor([width, height]) / max(height, width)
        y = (torch.arange(height) * 2 + 1) / height - 1
        x = (torch.arange(width) * 2 + 1) / width - 1
        grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1) * aspect
        grid = grid.expand(n, -1, -1, -1)  # (B, H, W, 2)
        if self.affine is not None:
            matrix = self.affine.matrices(n, (height, width), generator)
            grid = torch.einsum("bij,bhwj->bhwi", matrix[:, :, :2], grid)
            grid = grid + matrix[:, None, None, :, 2]
        if self.elastic is not None:
            grid = grid + self.elastic.displacements(n, (height, width), generator)
        grid = (grid / aspect).to(images.device)
        images = F.grid_sample(images, grid, mode="bilinear", align_corners=False)
        return images if self.thickness is None else self.thickness(images, generator)


DISTORTIONS = {
    "affine": Distortion(),
    "warp": Distortion(elastic=Elastic()),
    "strokes": Distortion(elastic=Elastic(), thickness=Thickness()),
}


def turn(images, turns):
    """Turn each image (B, C, H, W) by `turns` (B,): 0-3 quarter turns, 4-7 reflected first.

    Quarter turns (odd numbers) need square images.
    """
    turned = torch.empty_like(images)
    for t in turns.unique().tolist():
        chosen = turns == t
        part = images[chosen]
        part = part.flip(-1) if t >= 4 else part
        turned[chosen] = torch.rot90(part, t % 4, (-2, -1))
    return turned


def turns_of(class_transforms, input_shape):
    """The turns that make new classes of images of this shape; (0,) leaves them alone."""
    if class_transforms is None or len(input_shape) != 3:
        return (0,)
    codes = range(4 if class_transforms == "rotate" else 8)
    square = input_shape[1] == input_shape[2]
    return tuple(code for code in codes if square or code % 2 == 0)
