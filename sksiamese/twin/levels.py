"""Levels: the maps of all stages of a network, averaged, as one vector of features."""

import copy
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MOST_FEATURES = 4096
CONFIGS = ("pretrained_cfg", "default_cfg")  # timm's names of what a network was trained with
CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
# The maps of the pass that is running in this thread, by the name of their layer.
_maps: ContextVar[dict[str, Tensor] | None] = ContextVar("_maps", default=None)


class _Note:
    """Forward hook that notes a layer's map."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, layer: nn.Module, inputs: Any, output: Any) -> None:
        maps = _maps.get()
        if maps is not None and isinstance(output, Tensor) and output.ndim == 4:
            maps.pop(self.name, None)
            maps[self.name] = output


class Levels(nn.Module):
    """The maps of all stages of a network, averaged over the image, side by side.

    Early stages have edges and colours, late ones parts of things; new classes differ in either.
    The vector of each stage has length 1. A frozen copy of the network is made. Where there are
    more than `MOST_FEATURES`, only the last of stages of equal size are kept.

    Parameters
    ----------
    module : torch.nn.Module
        A network of convolutions, whatever it returns.
    size : int, default=128
        Side in pixels of the images by which its stages are found.

    Attributes
    ----------
    names : tuple of str
        The layers whose maps are averaged.
    widths : tuple of int
        Number of features of each.

    Raises
    ------
    ValueError
        If it cannot take such images, or no layer returns a map.
    """

    def __init__(self, module: nn.Module, size: int = 128) -> None:
        super().__init__()
        self.module = copy.deepcopy(module).float().eval().requires_grad_(False)
        layers = dict(self.module.named_modules())
        layers.pop("")  # the network itself, which may return a map too
        for name, layer in layers.items():
            layer.register_forward_hook(_Note(name))
        try:
            maps = self._maps_of(torch.zeros(1, channels_of(module) or 3, size, size))
        except (TypeError, ValueError, RuntimeError) as error:
            raise ValueError(
                f"{type(module).__name__} cannot be used for images of {size}x{size} pixels: "
                f"{error}"
            ) from error
        shapes = {name: tuple(found.shape[1:]) for name, found in maps.items()}
        blocks = list(_blocks(self.module, ""))
        while len(shapes.keys() & {*blocks}) < 2 and any(_is_composite(layers[b]) for b in blocks):
            blocks = [inner for name in blocks for inner in _blocks(layers[name], name)]
        chosen = [name for name in shapes if name in blocks and shapes[name][1:] != (1, 1)]
        whole = [
            name
            for name, then in zip(chosen, [*chosen, ""][1:], strict=True)
            if _is_composite(layers[name]) or shapes[name] != shapes.get(then)
        ]  # of a convolution, its normalisation and its activation, the last
        self.names = _within(whole, shapes)
        if not self.names:
            raise ValueError(
                f"{type(module).__name__} has no layer that returns a map (batch, channels, "
                "height, width): it cannot be used as a backbone of photographs. Pass it as "
                "encoder."
            )
        self.widths = tuple(shapes[name][0] for name in self.names)
        _take_statistics(self, module)

    def _maps_of(self, images: Tensor) -> dict[str, Tensor]:
        token = _maps.set({})
        try:
            with torch.no_grad():
                self.module(images)
            return _maps.get() or {}
        finally:
            _maps.reset(token)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, D)."""
        maps = self._maps_of(images)
        return torch.cat([F.normalize(maps[name].mean((2, 3)), dim=1) for name in self.names], 1)


class Beside(nn.Module):
    """Frozen levels and an encoder that is trained, side by side.

    While it trains, the levels are left out, as zeros: they take most of the time, and the encoder
    is to tell classes apart by itself.

    Parameters
    ----------
    levels : Levels
    encoder : torch.nn.Module
        Is given the images at half their size.

    Attributes
    ----------
    widths : tuple of int
        Number of features of each level.
    """

    def __init__(self, levels: Levels, encoder: nn.Module) -> None:
        super().__init__()
        self.levels = levels
        self.encoder = encoder
        self.widths = levels.widths
        _take_statistics(self, levels)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, D)."""
        own = F.normalize(self.encoder(F.avg_pool2d(images, 2)).flatten(1), dim=1)
        if self.training:
            return torch.cat([own.new_zeros(len(own), sum(self.levels.widths)), own], 1)
        return torch.cat([self.levels(images), own], 1)


def _take_statistics(module: nn.Module, other: nn.Module) -> None:
    """Give a module what another says of how its pixels should be normalised."""
    for name in ("mean", "std", *CONFIGS):
        if name in vars(other):
            setattr(module, name, vars(other)[name])


def channels_of(module: nn.Module) -> int | None:
    """Return the channels that a module's first convolution takes; None without any."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            return layer.in_channels
    return None


def _blocks(module: nn.Module, prefix: str) -> Iterator[str]:
    """Yield the names of a module's children, and instead of containers, those in them."""
    for name, child in module.named_children():
        name = f"{prefix}.{name}" if prefix else name
        if type(child) in CONTAINERS:
            yield from _blocks(child, name)
        else:
            yield name


def _is_composite(layer: nn.Module) -> bool:
    return any(True for child in layer.children() for _ in child.parameters())


def _within(names: list[str], shapes: dict[str, tuple[int, ...]]) -> tuple[str, ...]:
    """Return the names in order; of several of one shape, or one size, the last, if too many."""
    for key in (lambda shape: None, lambda shape: shape, lambda shape: shape[1:]):
        last = {key(shapes[name]) or name: name for name in names}
        if sum(shapes[name][0] for name in last.values()) <= MOST_FEATURES:
            return tuple(last.values())
    return tuple(last.values())
