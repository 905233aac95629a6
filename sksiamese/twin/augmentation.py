"""Augmentation: random changes that keep a drawing's class, and turns that make new classes.

All functions work on batches of scaled images (B, C, H, W), background 0. Each image is changed
independently, by random numbers from the given generator. Warps bring in background at the
borders; what comes after a warp is in `degradation`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .degradation import (
    JPEG,
    Blur,
    Contour,
    Fill,
    LooseCrop,
    Noise,
    RuledLines,
    Shade,
    Shadow,
    Thickness,
    uniform,
)
from .series import SeriesAugmentation


@dataclass(frozen=True)
class Affine:
    """The paper's affine distortions (section 3.3), each component with probability `p`.

    Parameters
    ----------
    rotation : float, default=10.0
        Largest angle, in degrees.
    shear : float, default=0.3
        Largest shear along each axis.
    scale : tuple of 2 floats, default=(0.8, 1.2)
        Range of the scale of each axis.
    shift : float, default=2.0
        Largest shift along each axis, in pixels of the images given.
    p : float, default=0.5
        Probability of each of the seven components: angle, two shears, two scales, two shifts.

    See Also
    --------
    Augmentation : Applies it to images.

    Examples
    --------
    >>> from sksiamese.augmentation import Affine, Augmentation
    >>> affine = Affine(rotation=5.0, shear=0.1)
    >>> gentle = Augmentation(affine=affine)

    What it draws:

    >>> import torch
    >>> generator = torch.Generator().manual_seed(0)
    >>> angle, shear, scale, shift = affine.draw(100, generator)
    >>> float(angle.rad2deg().abs().max()) <= 5
    True
    >>> affine.matrices(100, (28, 28), generator).shape
    torch.Size([100, 2, 3])
    """

    rotation: float = 10.0
    shear: float = 0.3
    scale: tuple[float, float] = (0.8, 1.2)
    shift: float = 2.0
    p: float = 0.5

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Draw the components of `n` images.

        Parameters
        ----------
        n : int
            Number of images.
        generator : torch.Generator
            Decides every draw.

        Returns
        -------
        angle : Tensor of shape (n,)
            In radians.
        shear, scale, shift : Tensor of shape (n, 2)
            Of each axis; the shift is in pixels.
        """
        angle = uniform(-self.rotation, self.rotation, (n, 1), generator) * (math.pi / 180)
        shear = uniform(-self.shear, self.shear, (n, 2), generator)
        scale = uniform(*self.scale, (n, 2), generator)
        shift = uniform(-self.shift, self.shift, (n, 2), generator)
        on = torch.rand(n, 7, generator=generator) < self.p
        angle = torch.where(on[:, 0], angle[:, 0], 0.0)
        shear = torch.where(on[:, 1:3], shear, 0.0)
        scale = torch.where(on[:, 3:5], scale, 1.0)
        shift = torch.where(on[:, 5:7], shift, 0.0)
        return angle, shear, scale, shift

    def matrices(self, n: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
        """Draw maps from output to input pixels, in half-side units of the longer side.

        Parameters
        ----------
        n : int
            Number of images.
        size : tuple of 2 ints
            (height, width) of the images, in pixels.
        generator : torch.Generator
            Decides every draw.

        Returns
        -------
        matrices : Tensor of shape (n, 2, 3)
            Linear part and shift of each map.
        """
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

    Parameters
    ----------
    strength : float, default=0.03
        Standard deviation of the displacement at a knot, as a fraction of the side.
    knots : int, default=5
        Knots a side.
    p : float, default=0.5
        Probability that an image is displaced.

    See Also
    --------
    Augmentation : Applies it to images.

    Examples
    --------
    >>> from sksiamese.augmentation import Augmentation, Elastic
    >>> elastic = Elastic(strength=0.04)
    >>> warp = Augmentation(elastic=elastic)

    What it draws:

    >>> import torch
    >>> elastic.displacements(100, (28, 28), torch.Generator().manual_seed(0)).shape
    torch.Size([100, 28, 28, 2])
    """

    strength: float = 0.03
    knots: int = 5
    p: float = 0.5

    def displacements(self, n: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
        """Draw displacement fields.

        Parameters
        ----------
        n : int
            Number of images.
        size : tuple of 2 ints
            (height, width) of the images, in pixels.
        generator : torch.Generator
            Decides every draw.

        Returns
        -------
        displacements : Tensor of shape (n, H, W, 2)
            In half-side units.
        """
        coarse = torch.randn(n, 2, self.knots, self.knots, generator=generator)
        on = torch.rand(n, 1, 1, 1, generator=generator) < self.p
        fine = F.interpolate(coarse * on, size, mode="bicubic", align_corners=True)
        return fine.permute(0, 2, 3, 1) * (2 * self.strength)


@dataclass(frozen=True)
class Augmentation:
    """Affine and elastic warp in one resampling, then stroke thickness, then further steps.

    A value of `SiameseOneShotClassifier`'s parameter `augmentation`.

    Parameters
    ----------
    affine : Affine or None, default=Affine()
        Rotation, shear, scale and shift.
    elastic : Elastic or None, default=None
        Smooth random displacements.
    thickness : Thickness or None, default=None
        Thicker or thinner strokes.
    then : tuple of callables (images, generator) -> images, default=()
        Further steps, in their order: `Contour`, `Fill`, `Thickness`, `LooseCrop`, `RuledLines`,
        `Shade`, `Shadow`, `Blur`, `Noise`, `JPEG`, or your own.

    See Also
    --------
    sksiamese.SiameseOneShotClassifier : Takes it as the parameter `augmentation`.

    Examples
    --------
    >>> import torch
    >>> from sksiamese.augmentation import Affine, Augmentation, Blur, Noise, Thickness
    >>> augmentation = Augmentation(
    ...     Affine(rotation=15.0), thickness=Thickness(), then=(Blur(), Noise())
    ... )
    >>> images = torch.zeros(4, 1, 28, 28)
    >>> augmentation(images, torch.Generator().manual_seed(0)).shape
    torch.Size([4, 1, 28, 28])
    """

    affine: Affine | None = Affine()
    elastic: Elastic | None = None
    thickness: Thickness | None = None
    then: tuple[Callable[[Tensor, torch.Generator], Tensor], ...] = ()

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return augmented images.

        Parameters
        ----------
        images : Tensor of shape (B, C, H, W)
            Scaled images: background 0, foreground 1.
        generator : torch.Generator
            Decides every draw. On the CPU, wherever the images are.

        Returns
        -------
        images : Tensor of shape (B, C, H, W)
        """
        images = self._warped(images, generator)
        for step in (self.thickness, *self.then):
            if step is not None:
                images = step(images, generator)
        return images

    def _warped(self, images: Tensor, generator: torch.Generator) -> Tensor:
        if self.affine is None and self.elastic is None:
            return images
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
        return F.grid_sample(images, grid, mode="bilinear", align_corners=False)


AUGMENTATIONS = {
    "affine": Augmentation(),
    "warp": Augmentation(elastic=Elastic()),
    "strokes": Augmentation(elastic=Elastic(), thickness=Thickness()),
    "series": SeriesAugmentation(),
    "real_files": Augmentation(
        elastic=Elastic(),
        then=(  # from the pen to the file
            Contour(),
            Fill(),
            Thickness(thick=1.5),
            LooseCrop(),
            RuledLines(),
            Shade(),
            Shadow(),
            Blur(),
            Noise(),
            JPEG(),
        ),
    ),
}


def turn(images: Tensor, turns: Tensor) -> Tensor:
    """Turn images by quarter turns, with or without a reflection.

    Parameters
    ----------
    images : Tensor of shape (B, C, H, W)
        Square where a turn is odd.
    turns : Tensor of shape (B,)
        0-3: quarter turns; 4-7: as many after a reflection.

    Returns
    -------
    turned : Tensor of shape (B, C, H, W)
    """
    turned = torch.empty_like(images)
    for t in turns.unique().tolist():
        chosen = turns == t
        of_turn = images[chosen].flip(-1) if t >= 4 else images[chosen]
        turned[chosen] = torch.rot90(of_turn, t % 4, (-2, -1))
    return turned


def turns_of(class_augmentation: str | None, input_shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the turns that make new classes of images of this shape; (0,) makes none."""
    if class_augmentation is None or len(input_shape) != 3:
        return (0,)
    turns = range(4 if class_augmentation == "rotate" else 8)
    square = input_shape[1] == input_shape[2]
    return tuple(t for t in turns if square or t % 2 == 0)
