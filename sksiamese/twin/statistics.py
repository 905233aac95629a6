"""Statistics: which normalisation of pixels a pretrained network was trained with."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

N_NORMS = 4  # batch-norm layers, from the input on


def is_trained(norm: nn.Module) -> bool:
    """Return whether a layer is a batch normalisation that has seen data."""
    if not isinstance(norm, _BatchNorm) or norm.running_mean is None or norm.running_var is None:
        return False
    return bool(norm.running_mean.any() or (norm.running_var != 1).any())


def divergence(module: nn.Module, images: Tensor) -> float:
    """Return how far images are from those that a module's batch normalisation has seen.

    It is the mean Kullback-Leibler divergence of the normal distributions with the mean and the
    variance of each channel, over the first layers.
    """
    norms = [layer for layer in module.modules() if is_trained(layer)][:N_NORMS]
    found: list[Tensor] = []

    def note(norm: _BatchNorm, inputs: tuple[Tensor, ...]) -> None:
        channels = inputs[0].transpose(0, 1).flatten(1)
        known_mean, known_var = norm.running_mean, norm.running_var
        assert known_mean is not None
        assert known_var is not None
        mean, var = channels.mean(1), channels.var(1) + norm.eps
        known_var = known_var + norm.eps
        ratio = var / known_var
        found.append((ratio + (mean - known_mean).square() / known_var - 1 - ratio.log()).mean())

    handles = [norm.register_forward_pre_hook(note) for norm in norms]
    try:
        with torch.no_grad():
            module(images)
    finally:
        for handle in handles:
            handle.remove()
    return float(torch.stack(found).mean()) if found else float("inf")


def nearest(module: nn.Module, candidates: Mapping[str, Tensor]) -> str | None:
    """Return the name of those scaled images whose statistics are nearest to the module's.

    None if it has no batch normalisation that has seen data.
    """
    divergences = {name: divergence(module, images) for name, images in candidates.items()}
    best = min(divergences, key=lambda name: divergences[name])
    return best if divergences[best] < float("inf") else None
