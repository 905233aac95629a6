"""Encoders: one image (or series, or flat row) to one feature vector or feature map.

Every encoder is built from ``input_shape`` alone, (C, H, W) for images, (channels, T) for series
and (D,) for flat rows, so nothing here depends on 105 pixels, on one channel or on 9216 features.
"""

import copy
import functools
import math
from numbers import Integral
from typing import Any, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.overrides import TorchFunctionMode

M = TypeVar("M", bound=nn.Module)
FAINT = 1e-3  # energy of gradients below which a cell counts as empty


def _check_sizes(**sizes: Any) -> None:
    """Raise unless each is a positive integer."""
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, Integral):
            raise TypeError(f"{name}={size!r}; expected an integer.")
        if size < 1:
            raise ValueError(f"{name}={size!r}; expected at least 1.")


class ConvNorm(nn.Module):
    """Convolution, batch-norm, the sum with a shortcut if one is given, and ReLU.

    The size is kept, or divided by `stride` and rounded up.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        relu: bool = True,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=False
        )
        self.norm: nn.Module = nn.BatchNorm2d(out_channels)
        self.relu = relu

    def forward(self, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
        """(B, C, H, W) -> (B, C', ceil(H / stride), ceil(W / stride))."""
        x = self.norm(self.conv(x))
        if shortcut is not None:
            x = x.add_(shortcut)
        return torch.relu_(x) if self.relu else x


class Residual(nn.Module):
    """Two 3x3 convolutions added to a shortcut (He et al. 2016)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.first = ConvNorm(in_channels, out_channels, 3, stride)
        self.second = ConvNorm(out_channels, out_channels, 3)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or in_channels != out_channels:
            pool = nn.AvgPool2d(stride, ceil_mode=True) if stride > 1 else nn.Identity()
            self.shortcut = nn.Sequential(pool, ConvNorm(in_channels, out_channels, 1, relu=False))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', ceil(H / stride), ceil(W / stride))."""
        return self.second(self.first(x), self.shortcut(x))


class _HeNormal(nn.Module):
    """An encoder whose weights start as N(0, 2 / fan_in), for ReLU (He et al. 2015)."""

    memory_format = torch.channels_last

    def initialise(self, generator: torch.Generator) -> None:
        """Draw the weights of all convolutions and linear layers."""
        for module in self.modules():
            if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)


class ConvEncoder(_HeNormal):
    """A small residual network with batch-norm, for images of any size and channel count.

    Parameters
    ----------
    input_shape : tuple of 3 ints
        (C, H, W).
    width : int, default=32
        Channels after the first layer; the later ones have two and four times as many.
    max_cells : int, default=3
        The feature map is pooled to at most this many cells a side.
    """

    def __init__(self, input_shape: tuple[int, ...], width: int = 32, max_cells: int = 3) -> None:
        super().__init__()
        _check_sizes(width=width, max_cells=max_cells)
        channels, height, width_px = input_shape
        self.layers = nn.Sequential(
            ConvNorm(channels, width, 5, stride=2),
            Residual(width, 2 * width, stride=2),
            Residual(2 * width, 2 * width, stride=1),
            Residual(2 * width, 4 * width, stride=2),
            Residual(4 * width, 4 * width, stride=1),
        )
        cells = tuple(math.ceil(side / 8) for side in (height, width_px))
        pooled = min(max_cells, cells[0]), min(max_cells, cells[1])
        if max(cells) > max_cells:
            self.layers.append(nn.AdaptiveAvgPool2d(pooled))
        self.feature_shape = (4 * width, *pooled)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 4 * width, at most max_cells, same)."""
        return self.layers(x)


class KochEncoder(nn.Module):
    """The paper's encoder (Koch et al. 2015, figure 4).

    Valid convolutions 64@10x10, 128@7x7, 128@4x4, 256@4x4, each with ReLU, 2x2 max pooling after
    the first three, then 4096 sigmoid units. At 1x105x105 the sides are
    96/48/42/21/18/9/6 and the twin network has 38,951,745 parameters, head included.

    Parameters
    ----------
    input_shape : tuple of 3 ints
        (C, H, W); both sides at least 65 pixels.
    n_units : int, default=4096
        Width of the last layer.
    units_std : float, default=0.2
        Standard deviation of that layer's initial weights.
    initial : {"paper", "he"}, default="paper"
        Initial weights: those of section 3.2, or of He et al. 2015 with biases of zero, which
        train with far fewer images. "he" ignores `units_std`.
    """

    min_side = 65
    memory_format = torch.channels_last

    def __init__(
        self,
        input_shape: tuple[int, ...],
        n_units: int = 4096,
        units_std: float = 0.2,
        initial: str = "paper",
    ) -> None:
        super().__init__()
        if initial not in ("paper", "he"):
            raise ValueError(f"initial={initial!r}; expected 'paper' or 'he'.")
        _check_sizes(n_units=n_units)
        self.units_std = units_std
        self.initial = initial
        channels, *sides = input_shape
        if min(sides) < self.min_side:
            raise ValueError(
                f"encoder='koch' needs images of at least {self.min_side}x{self.min_side} pixels, "
                f"got {sides[0]}x{sides[1]}: use encoder='conv', or a larger resize."
            )
        self.convs = nn.Sequential(
            nn.Conv2d(channels, 64, 10), nn.ReLU(inplace=True), nn.MaxPool2d(2),
            nn.Conv2d(64, 128, 7), nn.ReLU(inplace=True), nn.MaxPool2d(2),
            nn.Conv2d(128, 128, 4), nn.ReLU(inplace=True), nn.MaxPool2d(2),
            nn.Conv2d(128, 256, 4), nn.ReLU(inplace=True),
            nn.Flatten(),
        )  # fmt: skip
        height, width = (((((s - 9) // 2) - 6) // 2 - 3) // 2 - 3 for s in sides)
        self.units = nn.Sequential(nn.Linear(256 * height * width, n_units), nn.Sigmoid())
        self.feature_shape = (n_units,)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, n_units)."""
        return self.units(self.convs(x))

    def initialise(self, generator: torch.Generator) -> None:
        """Draw the weights.

        "paper": N(0, 0.01) in convolutions, N(0, 0.2) in the units, biases N(0.5, 0.01). "he":
        N(0, 2 / fan_in) in convolutions, N(0, 1 / fan_in) in the units, biases 0.
        """
        for layer in self.modules():
            if not isinstance(layer, nn.Conv2d | nn.Linear):
                continue
            is_conv, bias = isinstance(layer, nn.Conv2d), cast(Tensor, layer.bias)
            if self.initial == "he":
                std = ((2 if is_conv else 1) / layer.weight[0].numel()) ** 0.5
                nn.init.zeros_(bias)
            else:
                std = 0.01 if is_conv else self.units_std
                nn.init.normal_(bias, 0.5, 0.01, generator=generator)
            nn.init.normal_(layer.weight, 0.0, std, generator=generator)


class MLPEncoder(_HeNormal):
    """Flat rows plus what two layers with batch-norm make of them; images are flattened.

    The second layer starts at zero and is scaled by a tenth, so that the network starts as a
    weighted L1 distance of the rows and leaves it slowly: a few training classes say little about
    a table's metric, and are soon overfitted.

    Parameters
    ----------
    input_shape : tuple of ints
        (D,) or (C, H, W).
    n_units : int, default=256
        Width between the layers.
    """

    def __init__(self, input_shape: tuple[int, ...], n_units: int = 256) -> None:
        super().__init__()
        _check_sizes(n_units=n_units)
        n_features = math.prod(input_shape)
        self.feature_shape = (n_features,)
        self.layers = nn.Sequential(
            nn.Linear(n_features, n_units, bias=False),
            nn.BatchNorm1d(n_units),
            nn.ReLU(inplace=True),
            nn.Linear(n_units, n_features),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) -> (B, D)."""
        x = x.flatten(1)
        return x + 0.1 * self.layers(x)

    def initialise(self, generator: torch.Generator) -> None:
        """Draw the first layer's weights; the last layer starts at zero."""
        super().initialise(generator)
        for parameter in self.layers[-1].parameters():
            nn.init.zeros_(parameter)


class Conv1dEncoder(_HeNormal):
    """One convolution at several time scales, pooled over time, for series.

    At each scale, half as fine as the one before, the mean and the standard deviation over time
    of each filter's output are features, with batch-norm. Half of the filters see the series
    standardised channel by channel, so that only its shape matters, the other half as it is, so
    that level and amplitude matter too. Before training, this is close to the random kernels of
    ROCKET (Dempster et al. 2020), which need few training classes.

    Parameters
    ----------
    input_shape : tuple of 2 ints
        (channels, T), T at least 8.
    width : int, default=24
        Filters of each half at each scale.
    """

    least_length = 8  # at the coarsest scale too
    memory_format = torch.contiguous_format

    def __init__(self, input_shape: tuple[int, ...], width: int = 24) -> None:
        super().__init__()
        _check_sizes(width=width)
        channels, length = input_shape
        if length < self.least_length:
            raise ValueError(
                f"encoder='conv1d' needs series of at least {self.least_length} time points, got "
                f"{length}: use encoder='mlp' on flat rows."
            )
        n_scales = int(math.log2(length / self.least_length)) + 1
        self.scales = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(2 * channels, 2 * width, 9, padding=4, groups=2, bias=False),
                nn.BatchNorm1d(2 * width),
                nn.ReLU(inplace=True),
            )
            for _ in range(n_scales)
        )
        self.feature_shape = (n_scales * 2 * 2 * width,)
        self.norm = nn.BatchNorm1d(*self.feature_shape)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, T) -> (B, scales * 4 * width)."""
        centred = x - x.mean(2, keepdim=True)
        spread = centred.square().mean(2, keepdim=True).sqrt()
        x = torch.cat([centred / (spread + 1e-6), x], 1)
        features = []
        for number, scale in enumerate(self.scales):
            x = F.avg_pool1d(x, 2, ceil_mode=True) if number else x
            found = scale(x).float()
            features += [found.mean(2), (found.var(2, correction=0) + 1e-5).sqrt()]
        return self.norm(torch.cat(features, 1))


class HOGEncoder(_HeNormal):
    """Histograms of oriented gradients, which train nothing (Dalal & Triggs 2005).

    The outline of a filled drawing has the gradients of one that is drawn as an outline. Gradients
    of each pixel are shared out to two orientations and to four cells, cells are divided by the
    norm of their neighbourhood, and the square root is taken.

    Parameters
    ----------
    input_shape : tuple of 3 ints
        (C, H, W); channels are averaged.
    cell : int, default=5
        Side of a cell in pixels.
    n_orientations : int, default=8
        Orientations between 0 and 180 degrees.
    """

    def __init__(
        self, input_shape: tuple[int, ...], cell: int = 5, n_orientations: int = 8
    ) -> None:
        super().__init__()
        _check_sizes(cell=cell, n_orientations=n_orientations)
        _, height, width = input_shape
        if min(height, width) < cell:
            raise ValueError(
                f"cell={cell} is larger than images of {height}x{width} pixels: use a smaller "
                "cell, or a larger resize."
            )
        self.cell = cell
        self.n_orientations = n_orientations
        self.feature_shape = (n_orientations, height // cell, width // cell)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, n_orientations, H // cell, W // cell)."""
        n, cell = self.n_orientations, self.cell
        padded = F.pad(x.float().mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
        dx = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
        dy = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
        strength = (dx.square() + dy.square()).sqrt()
        angle = torch.atan2(dy, dx).remainder(math.pi) * (n / math.pi)
        off = (angle - torch.arange(n, device=x.device)[:, None, None]).abs()  # (B, n, H, W)
        votes = (1 - torch.minimum(off, n - off)).clamp(min=0) * strength
        rise = torch.arange(1.0, cell + 1, device=x.device) / cell
        tent = torch.cat([rise, rise[:-1].flip(0)])  # a pixel's share in the cells about it
        window = (tent[:, None] * tent / cell**2).expand(n, 1, -1, -1)
        pad = cell // 2
        cells = F.conv2d(F.pad(votes, (pad, cell, pad, cell)), window, stride=cell, groups=n)
        cells = cells[..., : self.feature_shape[1], : self.feature_shape[2]]
        energy = F.avg_pool2d(cells.square().sum(1, keepdim=True), 3, 1, 1)
        return (cells / (energy + FAINT).sqrt()).clamp(max=2.0).sqrt()


ENCODERS: dict[str, Any] = {
    "conv": ConvEncoder,
    "conv1d": Conv1dEncoder,
    "hog": HOGEncoder,
    "koch": KochEncoder,
    "mlp": MLPEncoder,
}


def takes_series(encoder: Any) -> bool:
    """Return whether the parameter `encoder`, one or a tuple, names an encoder of series."""
    return "conv1d" in (encoder if isinstance(encoder, tuple | list) else (encoder,))


def build_encoder(
    name: str, input_shape: tuple[int, ...], generator: torch.Generator | None, **params: Any
) -> nn.Module:
    """Build one of `ENCODERS` with weights drawn from `generator` alone.

    Without a generator it stays on the meta device: shapes without values, which take no memory.

    Layers are made on the meta device, which draws nothing: torch's default initialisation reads
    the process-wide generator, which is neither reproducible under threads nor ours to move.
    """
    with torch.device("meta"):
        encoder = ENCODERS[name](input_shape, **params)
    if generator is None:
        return encoder
    encoder.to_empty(device="cpu")
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.reset_parameters()
    encoder.initialise(generator)
    return encoder


def encoders_in(module: nn.Module) -> list[Any]:
    """Return the encoders of this package in a module, which start from weights drawn anew."""
    kinds = tuple(ENCODERS.values())
    return [part for part in module.modules() if isinstance(part, kinds)]


def feature_shape(encoder: nn.Module, input_shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of one image's features: what `encoder` returns, without the batch axis."""
    if isinstance(encoder, tuple(ENCODERS.values())):
        return vars(encoder)["feature_shape"]
    training = encoder.training
    with torch.no_grad():
        features = encoder.eval()(torch.zeros(1, *input_shape))
    encoder.train(training)
    if not isinstance(features, Tensor) or features.ndim < 2 or len(features) != 1:
        got = tuple(getattr(features, "shape", ())) or type(features).__name__
        raise ValueError(
            f"encoder returned {got} for one input of shape {tuple(input_shape)}; expected a "
            "tensor (1, n_features) or a map (1, channels, height, width)."
        )
    return tuple(features.shape[1:])


class _Strides(TorchFunctionMode):
    """Notes whether a convolution with a stride is given a map narrower than the stride."""

    strided = {
        getattr(torch, name)
        for dimensions in "123"
        for name in (f"conv{dimensions}d", f"conv_transpose{dimensions}d")
    }

    def __init__(self) -> None:
        super().__init__()
        self.outrun = False

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in self.strided:
            given = dict(zip(("input", "weight", "bias", "stride"), args, strict=False))
            given |= kwargs or {}
            strides, sides = given.get("stride", 1), given["input"].shape[2:]
            strides = (strides,) if isinstance(strides, int) else tuple(strides)
            self.outrun |= min(sides) < max(strides)
        return func(*args, **kwargs or {})


def strides_outrun_maps(encoder: nn.Module, input_shape: tuple[int, ...]) -> bool:
    """Return whether a stride is longer than a side of the map that it walks over.

    Of such convolutions, torch's bfloat16 gradients on the CPU are not deterministic, and
    sometimes NaN.
    """
    strides, training = _Strides(), encoder.training
    with torch.no_grad(), strides:
        encoder.eval()(torch.zeros(1, *input_shape))
    encoder.train(training)
    return strides.outrun


class InBfloat16(nn.Module):
    """An encoder that computes in bfloat16; what it takes and returns is float32."""

    memory_format = torch.channels_last

    def __init__(self, encoder: ConvEncoder) -> None:
        super().__init__()
        self.encoder = encoder.to(torch.bfloat16)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', h, w)."""
        return self.encoder(x.bfloat16()).float()


def in_bfloat16(fused: M) -> M:
    """Make each `ConvEncoder` of what `fuse` returned compute in bfloat16, in place.

    Other encoders stay as they are: they gain nothing, or need the digits of their input.
    """
    for block in list(fused.modules()):
        for name, part in block.named_children():
            if isinstance(part, ConvEncoder):
                block.register_module(name, InBfloat16(part))
    return fused


def can_fuse(module: nn.Module) -> bool:
    """Return whether a module has `ConvNorm` blocks that `fuse` makes faster."""
    return any(isinstance(block, ConvNorm) for block in module.modules())


def fuse(module: M) -> M:
    """Return a copy for prediction, with each `ConvNorm`'s batch-norm in its convolution.

    It computes the same but for rounding, in fewer passes. The copy cannot be trained.
    """
    fused = copy.deepcopy(module).eval().requires_grad_(False)
    for block in fused.modules():
        if isinstance(block, ConvNorm) and not isinstance(block.norm, nn.Identity):
            block.conv = fuse_conv_bn_eval(block.conv, cast(nn.BatchNorm2d, block.norm))
            block.norm = nn.Identity()
    return fused


class PackedConvNorm(nn.Module):
    """A fused `ConvNorm` whose weights are kept in oneDNN's order.

    torch reorders them in each call, which costs about half as much as the rest of the encoding
    of one image (``benchmarks/speed.py``). The order depends on the size of the images, so it is
    made for the first of them. The operators are private to torch: see `can_pack`.
    """

    batch_size = 256  # fixed, so that the order does not depend on the first batch

    def __init__(self, fused: ConvNorm) -> None:
        super().__init__()
        conv = fused.conv
        self.weight, self.bias = conv.weight, conv.bias
        self.geometry = (conv.padding, conv.stride, conv.dilation, conv.groups)
        self.packed: Tensor | None = None
        self.relu = fused.relu

    def forward(self, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
        """(B, C, H, W) -> (B, C', ceil(H / stride), ceil(W / stride)), on the CPU."""
        onednn = torch.ops.mkldnn
        if self.packed is None:
            size = [self.batch_size, *x.shape[1:]]
            self.packed = onednn._reorder_convolution_weight(self.weight, *self.geometry, size)
        weights = (self.packed, self.bias, *self.geometry)
        if shortcut is None:
            x = onednn._convolution_pointwise(x, *weights, "none", [], "")
        else:
            add = onednn._convolution_pointwise.binary
            x = add(x, shortcut, *weights, "add", 1.0, None, [], "")
        return torch.relu_(x) if self.relu else x  # oneDNN's ReLU makes 0 of NaN


def pack(fused: M) -> M:
    """Pack the `ConvNorm` blocks of what `fuse` returned, in place, where torch can."""
    for block in list(fused.modules()):
        for name, layer in block.named_children():
            if isinstance(layer, ConvNorm) and can_pack(layer.conv.weight.dtype):
                block.register_module(name, PackedConvNorm(layer))
    return fused


@functools.cache
def can_pack(dtype: torch.dtype = torch.float32) -> bool:
    """Return whether torch has oneDNN's operators here and they agree with its own."""
    with torch.device("meta"):
        layer = ConvNorm(4, 4, 3)
    weight, layer.norm = torch.linspace(-1, 1, 144).reshape(4, 4, 3, 3), nn.Identity()
    layer.conv.weight = nn.Parameter(weight, requires_grad=False)
    layer.conv.bias = nn.Parameter(torch.linspace(0, 1, 4), requires_grad=False)
    layer.to(dtype)
    x = torch.linspace(-1, 2, 200, dtype=dtype).reshape(2, 4, 5, 5)
    off = 4 * torch.finfo(dtype).eps
    try:
        packed = PackedConvNorm(layer)
        pairs = [(packed(x), layer(x)), (packed(x, x), layer(x, x))]
    except (AttributeError, RuntimeError, TypeError, NotImplementedError):
        return False
    return all(torch.allclose(a, b, rtol=off, atol=10 * off) for a, b in pairs)
