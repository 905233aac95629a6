"""Encoders: one image (or flat row) to one feature vector or feature map.

Every encoder is built from ``input_shape`` alone, (C, H, W) for images and (D,) for flat rows,
so nothing here depends on 105 pixels, on one channel or on 9216 features.
"""

import copy
import math

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


class ConvNorm(nn.Module):
    """Convolution that keeps the size (divided by stride, rounded up), batch-norm, the sum with a
    shortcut if one is given, ReLU."""

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, relu=True):
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=False
        )
        self.norm = nn.BatchNorm2d(out_channels)
        self.relu = relu

    def forward(self, x, shortcut=None):
        x = self.norm(self.conv(x))
        if shortcut is not None:
            x = x.add_(shortcut)
        return torch.relu_(x) if self.relu else x


class FoldedConvNorm(nn.Module):
    """What a trained `ConvNorm` computes, but for rounding, in fewer passes.

    Batch-norm becomes part of the convolution, whose weights are kept in oneDNN's order: each call
    would bring them there again, and takes tens of times as long where they are in another order
    than it wants. That depends on the size of the images, and so waits for the first of them. ReLU
    stays torch's, as oneDNN's makes 0 of NaN.
    """

    batch_size = 256  # whatever the first batch is: the order shall not depend on it

    def __init__(self, trained):
        super().__init__()
        conv = fuse_conv_bn_eval(trained.conv, trained.norm)
        self.bias = conv.bias
        self.geometry = (conv.padding, conv.stride, conv.dilation, conv.groups)
        self.weight, self.ordered = conv.weight, None
        self.relu = trained.relu

    def forward(self, x, shortcut=None):
        if self.ordered is None:
            size = [self.batch_size, *x.shape[1:]]
            reorder = torch.ops.mkldnn._reorder_convolution_weight
            self.ordered = reorder(self.weight, *self.geometry, size)
        convolution = torch.ops.mkldnn._convolution_pointwise
        weights = (self.ordered, self.bias, *self.geometry)
        if shortcut is None:
            x = convolution(x, *weights, "none", [], "")
        else:
            x = convolution.binary(x, shortcut, *weights, "add", 1.0, None, [], "")
        return torch.relu_(x) if self.relu else x


class Residual(nn.Module):
    """Two 3x3 convolutions added to a shortcut (He et al. 2016)."""

    def __init__(self, in_channels, out_channels, stride):
        super().__init__()
        self.first = ConvNorm(in_channels, out_channels, 3, stride)
        self.second = ConvNorm(out_channels, out_channels, 3)
        self.shortcut = nn.Identity()
        if stride > 1 or in_channels != out_channels:
            pool = nn.AvgPool2d(stride, ceil_mode=True) if stride > 1 else nn.Identity()
            self.shortcut = nn.Sequential(pool, ConvNorm(in_channels, out_channels, 1, relu=False))

    def forward(self, x):  # (B, C, H, W) -> (B, C', ceil(H / stride), ceil(W / stride))
        return self.second(self.first(x), self.shortcut(x))


class _HeNormal(nn.Module):
    """An encoder whose weights start as N(0, 2 / fan_in), for ReLU (He et al. 2015)."""

    memory_format = torch.channels_last

    def initialise(self, generator):
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
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

    def __init__(self, input_shape, width=32, max_cells=3):
        super().__init__()
        channels, height, width_px = input_shape
        self.layers = nn.Sequential(
            ConvNorm(channels, width, 5, stride=2),
            Residual(width, 2 * width, stride=2),
            Residual(2 * width, 2 * width, stride=1),
            Residual(2 * width, 4 * width, stride=2),
            Residual(4 * width, 4 * width, stride=1),
        )
        cells = tuple(math.ceil(side / 8) for side in (height, width_px))
        if max(cells) > max_cells:
            self.layers.append(nn.AdaptiveAvgPool2d(tuple(min(max_cells, c) for c in cells)))

    def forward(self, x):  # (B, C, H, W) -> (B, 4 * width, at most max_cells, same)
        return self.layers(x)

    def folded(self):
        """A copy that encodes sooner, for prediction; itself where torch has no oneDNN."""
        if not torch.backends.mkldnn.is_available():
            return self
        folded = copy.deepcopy(self).eval().requires_grad_(False)
        for block in list(folded.modules()):
            for name, layer in block.named_children():
                if isinstance(layer, ConvNorm):
                    block.register_module(name, FoldedConvNorm(layer))
        return folded


class KochEncoder(nn.Module):
    """The paper's encoder (Koch et al. 2015, figure 4).

    Valid convolutions 64@10x10, 128@7x7, 128@4x4, 256@4x4, each with ReLU, 2x2 max pooling after
    the first three, then 4096 sigmoid units. At 1x105x105 the sides are
    96/48/42/21/18/9/6 and the twin has 38,951,745 parameters, head included.

    Parameters
    ----------
    input_shape : tuple of 3 ints
        (C, H, W); both sides at least 65 pixels.
    n_units : int, default=4096
        Width of the last layer.
    units_std : float, default=0.2
        Standard deviation of that layer's initial weights.
    """

    min_side = 65
    memory_format = torch.channels_last

    def __init__(self, input_shape, n_units=4096, units_std=0.2):
        super().__init__()
        self.units_std = units_std
        channels, *sides = input_shape
        if min(sides) < self.min_side:
            raise ValueError(
                f"encoder='koch' needs images of at least {self.min_side}x{self.min_side} pixels, "
                f"got {sides[0]}x{sides[1]}: use encoder='conv', or a larger image_size."
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

    def forward(self, x):  # (B, C, H, W) -> (B, n_units)
        return self.units(self.convs(x))

    def initialise(self, generator):
        """Section 3.2: weights N(0, 0.01) in convolutions, N(0, 0.2) in the units; biases
        N(0.5, 0.01)."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                std = 0.01 if isinstance(module, nn.Conv2d) else self.units_std
                nn.init.normal_(module.weight, 0.0, std, generator=generator)
                nn.init.normal_(module.bias, 0.5, 0.01, generator=generator)


class MLPEncoder(_HeNormal):
    """Flat rows plus what two layers with batch-norm make of them; images are flattened.

    The second layer starts at zero and counts a tenth, so that the twin starts as a weighted L1
    distance of the rows and leaves it slowly: a few background classes teach a table's metric
    little, and are soon overfitted.

    Parameters
    ----------
    input_shape : tuple of ints
        (D,) or (C, H, W).
    n_units : int, default=256
        Width between the layers.
    """

    def __init__(self, input_shape, n_units=256):
        super().__init__()
        n_features = math.prod(input_shape)
        self.layers = nn.Sequential(
            nn.Linear(n_features, n_units, bias=False),
            nn.BatchNorm1d(n_units),
            nn.ReLU(inplace=True),
            nn.Linear(n_units, n_features),
        )

    def forward(self, x):  # (B, ...) -> (B, D)
        x = x.flatten(1)
        return x + 0.1 * self.layers(x)

    def initialise(self, generator):
        super().initialise(generator)
        for parameter in self.layers[-1].parameters():
            nn.init.zeros_(parameter)


ENCODERS = {"conv": ConvEncoder, "koch": KochEncoder, "mlp": MLPEncoder}


def build_encoder(name, input_shape, generator, **params):
    """Build one of `ENCODERS` with weights drawn from `generator` alone.

    Layers are made on the meta device, which draws nothing: torch's default initialisation reads
    the process-wide generator, and that is neither reproducible under threads nor ours to move.
    """
    with torch.device("meta"):
        encoder = ENCODERS[name](input_shape, **params)
    encoder.to_empty(device="cpu")
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.reset_parameters()
    encoder.initialise(generator)
    return encoder


def feature_shape(encoder, input_shape):
    """Shape of one image's features: what `encoder` returns, without the batch axis."""
    training = encoder.training
    with torch.no_grad():
        features = encoder.eval()(torch.zeros(1, *input_shape))
    encoder.train(training)
    if not isinstance(features, torch.Tensor) or features.ndim < 2 or len(features) != 1:
        got = tuple(getattr(features, "shape", ())) or type(features).__name__
        raise ValueError(
            f"encoder returned {got} for one input of shape {tuple(input_shape)}; expected a "
            "tensor (1, n_features) or a map (1, channels, height, width)."
        )
    return tuple(features.shape[1:])
