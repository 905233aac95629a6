"""Sharing: one network that several processes train, each on its share of every batch.

Each process has the whole batch, embeds its share of the images, and compares all with all: the
embeddings, and the statistics of batch normalisation, are summed over the processes with their
gradients. So the processes learn what one alone would learn, to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from skorch.callbacks import Callback
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .network import TwinNetwork

ACCELERATE = "accelerate"


def device_of(device: str) -> str:
    """Return a torch device: of "accelerate", the one that it gives this process."""
    return str(_state().device) if device == ACCELERATE else device


def _state() -> Any:
    try:
        from accelerate import PartialState
        from accelerate.utils import parse_flag_from_env
    except ImportError as error:
        raise ImportError(
            f"device={ACCELERATE!r} needs accelerate: pip install 'sksiamese[accelerate]'."
        ) from error
    return PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))


@dataclass(frozen=True)
class Team:
    """The processes that train a network together.

    Attributes
    ----------
    number : int
        Of this process.
    size : int
        How many there are.
    """

    number: int
    size: int

    @classmethod
    def of(cls, device: str) -> Team | None:
        """Return the processes that accelerate has started; None if this one is alone."""
        state = _state() if device == ACCELERATE else None
        if state is None or state.num_processes == 1:
            return None
        return cls(state.process_index, state.num_processes)

    def logits(self, network: TwinNetwork, images: Tensor, **pairs: Tensor) -> Tensor:
        """Return what ``network(images, **pairs)`` returns, with a share of the work."""
        rows = torch.arange(len(images), device=images.device).tensor_split(self.size)[self.number]
        with _synchronised(network):
            own = network.embed(images[rows])
        whole = own.new_zeros(len(images), *own.shape[1:], dtype=torch.float32)
        whole = _summed(whole.index_copy(0, rows, own.float()))
        return network.compare(whole.to(own.dtype), **pairs)


class SharedGradients(Callback):
    """Replaces the gradients of each process by their mean, which is that of the whole batch.

    Each process has the whole loss, so that what is summed over the processes has as many times
    its gradient.

    Parameters
    ----------
    team : Team
    """

    def __init__(self, team: Team) -> None:
        self.team = team

    def on_grad_computed(self, net: Any, named_parameters: Any, **kwargs: Any) -> None:
        """Average the gradients, all in one message."""
        gradients = [p.grad for _, p in named_parameters if p.grad is not None]
        mean = torch.cat([gradient.flatten() for gradient in gradients]) / self.team.size
        torch.distributed.all_reduce(mean)
        parts = mean.split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))


def _summed(x: Tensor) -> Tensor:
    """Return the sum over the processes; its gradient is summed too."""
    from torch.distributed.nn.functional import all_reduce  # not on all platforms

    return all_reduce(x)


@contextmanager
def _synchronised(network: nn.Module) -> Iterator[None]:
    """Let batch normalisation use the statistics of all shares; torch's own needs GPUs."""
    norms = [m for m in network.modules() if isinstance(m, _BatchNorm) and m.training]
    for norm in norms:
        norm.forward = partial(_normalised, norm)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward


def _normalised(norm: _BatchNorm, x: Tensor) -> Tensor:
    """Return what `norm` makes of the whole batch, for a share of it: (B, C, ...)."""
    shape, others = (1, -1, *[1] * (x.ndim - 2)), [0, *range(2, x.ndim)]
    wide = x.float()
    sums = torch.cat([wide.sum(others), wide.new_tensor([x.numel() / x.shape[1]])])
    sums = _summed(sums)
    n = sums[-1].detach()
    mean = sums[:-1] / n
    centred = wide - mean.view(shape)
    variance = _summed(centred.square().sum(others)) / n
    if norm.running_mean is not None and norm.running_var is not None:
        assert norm.num_batches_tracked is not None
        with torch.no_grad():
            norm.num_batches_tracked += 1
            share = norm.momentum
            share = 1 / float(norm.num_batches_tracked) if share is None else share
            norm.running_mean.lerp_(mean, share)
            norm.running_var.lerp_(variance * n / (n - 1), share)
    y = centred * (variance + norm.eps).rsqrt().view(shape)
    if norm.affine:
        y = y * norm.weight.view(shape) + norm.bias.view(shape)
    return y.to(x.dtype)
