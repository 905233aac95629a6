"""Export: a network with its input scaling, as modules that `torch.export` and ONNX can hold.

`InputScaling` crops in NumPy, which is fast, and takes light, lines and specks out first. Here the
crop alone is written, of tensors: an image that needs no correction is scaled alike.
"""

import torch
from torch import Tensor, nn

from .foreground import FAINTEST
from .heads import aligned_in
from .network import Network
from .scaling import FOREGROUND_SIDE, LEAST_FOREGROUND, MAX_ZOOM, NOISES, InputScaling
from .seen import LIGHTER, MUCH, border_of

LEAST_SIDE = 4  # pixels of an image whose size is not known beforehand


class Embedding(nn.Module):
    """Raw samples to embeddings as rows, to their levels and, of images, to their boxes.

    Parameters
    ----------
    network : TwinNetwork or TwinEnsemble
    scaling : InputScaling
    level_weights : Tensor of the shape of an embedding or None, default=None
        Levels are a linear function of embeddings; None: they are 0.
    level_offset : float, default=0.0
    """

    def __init__(
        self,
        network: Network,
        scaling: InputScaling,
        level_weights: Tensor | None = None,
        level_offset: float = 0.0,
    ) -> None:
        super().__init__()
        self.network = network
        self.scaling = scaling_module(scaling)
        if level_weights is None:
            level_weights = torch.zeros(network.head.embedding_shape)
        self.level_weights: Tensor
        self.register_buffer("level_weights", level_weights.flatten()[:, None])
        self.level_offset = level_offset

    def forward(self, samples: Tensor) -> tuple[Tensor, ...]:
        """Embed samples (B, ...): embeddings (B, D), levels (B,) and, of images, boxes (B, 4).

        Boxes are as `InputScaling.boxes` returns them, float32.
        """
        scaled, *boxes = self.scaling(samples)
        rows = self.network.embed(scaled).flatten(1)
        return rows, (rows @ self.level_weights).squeeze(1) + self.level_offset, *boxes


class Comparison(nn.Module):
    """Rows of embeddings to the logits of all pairs.

    Parameters
    ----------
    network : TwinNetwork or TwinEnsemble
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.shape = network.head.embedding_shape

    def forward(self, queries: Tensor, exemplars: Tensor) -> Tensor:
        """Compare all pairs: (A, D), (B, D) -> (A, B)."""
        a, b = (rows.unflatten(1, self.shape) for rows in (queries, exemplars))
        return self.network.head.logits(a, b)


class CellComparison(nn.Module):
    """Rows of embeddings to what each cell adds to the logit of a pair; see `cell_logits`.

    Parameters
    ----------
    network : TwinNetwork or TwinEnsemble
        Of several networks, the first whose head compares cells is asked.

    Raises
    ------
    ValueError
        If there is none.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        found = aligned_in(network.head)
        if found is None:
            raise ValueError("no head of the network compares cells")
        self.embedding_shape = network.head.embedding_shape
        self.aligned, self.part_of = found
        self.map_shape: tuple[int, int] = self.aligned.map_shape

    def forward(self, queries: Tensor, exemplars: Tensor) -> Tensor:
        """Compare row by row: (P, D), (P, D) -> (P, 2, h, w)."""
        embeddings = (rows.unflatten(1, self.embedding_shape) for rows in (queries, exemplars))
        parts = self.aligned.cell_logits(*map(self.part_of, embeddings))
        return parts.unflatten(2, self.map_shape)


def scaling_module(scaling: InputScaling) -> nn.Module:
    """Return a module that scales as `scaling` does, and returns the boxes of images too."""
    if scaling.crop == "foreground":
        return Cropped(scaling)
    if scaling.size != scaling.working_size:
        return Resized(scaling)
    return Scaled(scaling)


class Scaled(nn.Module):
    """(x - offset) / scale."""

    def __init__(self, scaling: InputScaling) -> None:
        super().__init__()
        self.offset: Tensor
        self.scale: Tensor
        self.register_buffer("offset", scaling.offset)
        self.register_buffer("scale", scaling.scale)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Scale: (B, ...) -> (B, ...) float32 and, of images, boxes (B, 4)."""
        scaled = ((x - self.offset.to(x.dtype)) / self.scale.to(x.dtype)).float()
        return (scaled, whole_boxes(x)) if x.ndim == 4 else (scaled,)


class Resized(nn.Module):
    """Images scaled and resized by two matrices."""

    def __init__(self, scaling: InputScaling) -> None:
        super().__init__()
        rows, columns = scaling.resizing
        self.offset: Tensor
        self.rows: Tensor
        self.columns: Tensor
        self.register_buffer("offset", scaling.offset)
        self.register_buffer("rows", rows)
        self.register_buffer("columns", columns)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Scale and resize: (B, C, H, W) -> (B, C, h, w) float32, and boxes (B, 4)."""
        scaled = self.rows @ (x - self.offset.to(x.dtype)).float() @ self.columns
        return scaled, whole_boxes(x)


def whole_boxes(x: Tensor) -> Tensor:
    """Return the boxes of whole images: (B, C, H, W) -> (B, 4)."""
    height, width = x.shape[2:]
    return torch.tensor([[0.0, height, 0.0, width]]).expand(x.shape[0], 4)


class Cropped(nn.Module):
    """Images of any size scaled, and a box about their foreground resized.

    The steps are those of `InputScaling`, after its correction of uneven light, lines and specks.
    """

    def __init__(self, scaling: InputScaling) -> None:
        super().__init__()
        assert scaling.working_size is not None
        self.scaled = Scaled(scaling)
        self.working_size = scaling.working_size

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and resize: (B, C, H, W) -> (B, C, h, w) float32, and boxes (B, 4)."""
        x, drawn = self._foreground(self.scaled(images)[0])
        weights, edges = [], []
        for axis, n_out in zip((1, 2), self.working_size, strict=True):
            start, stop = _extent_of(drawn.any(3 - axis))
            fit = (FOREGROUND_SIDE / (stop - start)).clamp(max=MAX_ZOOM / drawn.shape[axis])
            weights.append(((start + stop) / 2, fit * n_out))
        zoom = torch.minimum(weights[0][1], weights[1][1])
        matrices = []
        for (middle, _), n_in, n_out in zip(weights, x.shape[2:], self.working_size, strict=True):
            matrices.append(_resizing(n_in, n_out, middle, zoom)[:, None])
            edges += [middle - n_out / (2 * zoom), middle + n_out / (2 * zoom)]
        rows, columns = matrices
        return rows @ x @ columns.transpose(2, 3), torch.stack(edges, 1).float()

    def _foreground(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return images whose own background is 0, and which pixels are foreground: (B, H, W)."""
        x = x - self._background(x)[:, :, None, None]
        strongest, weakest = x.amax((1, 2, 3)), x.amin((1, 2, 3))
        light = (strongest < FAINTEST) & (weakest < -FAINTEST)  # on a shade that fills its image
        strongest = torch.where(light, -weakest, strongest)
        faint = (strongest >= FAINTEST) & (strongest <= 0.5)
        divisor = torch.where(faint, strongest, 1.0) * torch.where(light, -1.0, 1.0)
        x = x / divisor[:, None, None, None]
        least = (NOISES * _median(border_of(x).abs())).clamp(*LEAST_FOREGROUND)
        return x, (x > least[:, :, None, None]).any(1)

    def _background(self, x: Tensor) -> Tensor:
        """Return the median of the border, 0 where the border is foreground: (B, C)."""
        background = _median(border_of(x))
        dark = (background > 0.5) & (x.mean((2, 3)) < background - 1e-3)
        lighter = (x < (background - LIGHTER)[:, :, None, None]).float().mean((2, 3))
        cut = (background > LIGHTER) & (lighter > MUCH)
        return torch.where(dark | cut, 0.0, background)


def _median(values: Tensor) -> Tensor:
    """Return the lower median along the last axis; ONNX has no median."""
    return values.sort(-1).values[..., (values.shape[-1] - 1) // 2]


def _extent_of(drawn: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first place that is set and one past the last: (B, n) bool -> two (B,)."""
    n = drawn.shape[1]
    places, empty = torch.arange(n), ~drawn.any(1)
    start = torch.where(drawn, places, n).amin(1)
    stop = torch.where(drawn, places + 1, 0).amax(1)
    return torch.where(empty, 0, start).double(), torch.where(empty, n, stop).double()


def _resizing(n_in: int, n_out: int, middle: Tensor, zoom: Tensor) -> Tensor:
    """Return weights that resize an axis about `middle`: (B,), (B,) -> (B, n_out, n_in) float32.

    They are those of `scaling.resizing`.
    """
    step = (1 / zoom)[:, None, None]
    centres = middle[:, None, None] + (torch.arange(n_out)[:, None] + (1 - n_out) / 2) * step
    half = step.clamp(min=1) / 2
    pixels = torch.arange(n_in).double()
    overlap = torch.minimum(centres + half, pixels + 1) - torch.maximum(centres - half, pixels)
    return (overlap.clamp(min=0) / (2 * half)).float()
