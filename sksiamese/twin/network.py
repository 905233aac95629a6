"""The twin network: one encoder for both twins and one head; and several of them as one."""

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .encoders import encoders_in
from .heads import Head, MeanHead


class TwinNetwork(nn.Module):
    """p(x1, x2 same) = sigmoid(head(encoder(x1), encoder(x2))) (Koch et al. 2015, section 3.1).

    Both twins are the same encoder, so each image is encoded once, however many pairs it is in.

    Parameters
    ----------
    encoder : nn.Module
        Scaled images (B, C, H, W) or rows (B, D) to features.
    head : Head
        Features to embeddings, and pairs of embeddings to logits.
    still_norm : bool, default=False
        Keep the statistics of the encoder's batch normalisation as they are, but for encoders of
        this package in it.
    """

    def __init__(self, encoder: nn.Module, head: Head, still_norm: bool = False) -> None:
        super().__init__()
        self.still_norm = still_norm
        encoder.to(memory_format=memory_format_of(encoder))  # type: ignore[call-overload]
        self.encoder = encoder
        self.head = head

    def train(self, mode: bool = True) -> "TwinNetwork":
        """Set training or evaluation mode, but what is frozen stays in evaluation mode.

        A part of the encoder whose parameters all do not train then has the features that it has
        in prediction: its dropout is off, and the statistics of its batch normalisation stand
        still.
        """
        super().train(mode)
        if mode:
            if _freeze(self.encoder) is False:
                self.encoder.eval()
            for norm in self._still_norms():
                norm.eval()
        return self

    def _still_norms(self) -> list[nn.Module]:
        if not self.still_norm:
            return []
        ours = {layer for part in encoders_in(self.encoder) for layer in part.modules()}
        norms = [part for part in self.encoder.modules() if isinstance(part, _BatchNorm)]
        return [norm for norm in norms if norm not in ours]

    def formatted(self, images: Tensor) -> Tensor:
        """Return scaled images in the memory format that the encoder asks for."""
        if images.ndim == 4:
            images = images.contiguous(memory_format=memory_format_of(self.encoder))
        return images

    def embed(self, images: Tensor) -> Tensor:
        """Embed scaled images (B, C, H, W) or rows (B, D) -> (B, ...)."""
        return self.head.embed(self.encoder(self.formatted(images)))

    def forward(self, images: Tensor, i: Tensor | None = None, j: Tensor | None = None) -> Tensor:
        """Return the logits of all pairs of a batch, (B, B), or of the pairs (i, j), (P,)."""
        return self.compare(self.embed(images), i, j)

    def compare(
        self, embeddings: Tensor, i: Tensor | None = None, j: Tensor | None = None
    ) -> Tensor:
        """Return the logits of all pairs of embeddings, (B, B), or of the pairs (i, j), (P,)."""
        if i is None or j is None:
            return self.head.logits(embeddings, embeddings)
        # index_select: the backward of embeddings[i] is not deterministic on several threads.
        return self.head.pair_logits(embeddings.index_select(0, i), embeddings.index_select(0, j))


class TwinEnsemble(nn.Module):
    """Trained networks as one, whose logit is the mean of theirs.

    It embeds and compares as a `TwinNetwork` does; an image's embedding, (n_members, ...), holds
    those of all members. Those of networks of different kinds are rows, side by side.

    Parameters
    ----------
    members : iterable of TwinNetwork
    """

    def __init__(self, members: Iterable[TwinNetwork]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.head = MeanHead([member.head for member in members_of(self)])

    def embed(self, images: Tensor) -> Tensor:
        """Embed scaled images (B, C, H, W) or rows (B, D) -> (B, n_members, ...) or (B, D)."""
        return self.head.joined([member.embed(images) for member in members_of(self)])

    def forward(self, images: Tensor) -> Tensor:
        """Return the mean logits of all pairs of a batch, (B, B)."""
        embeddings = self.embed(images)
        return self.head.logits(embeddings, embeddings)


Network = TwinNetwork | TwinEnsemble


def _freeze(module: nn.Module) -> bool | None:
    """Set the parts of a module that do not train to evaluation mode, in one walk.

    Return whether a parameter of the module trains, None if it has none.
    """
    parts = [(part, _freeze(part)) for part in module.children()]
    known = {trained for _, trained in parts}
    known |= {parameter.requires_grad for parameter in module.parameters(recurse=False)}
    if True not in known:
        return False if False in known else None
    for part, trained in parts:
        if trained is False:
            part.eval()
    return True


def trains(module: nn.Module) -> bool:
    """Return whether a module has parameters that train."""
    return any(parameter.requires_grad for parameter in module.parameters())


def members_of(network: Network) -> list[TwinNetwork]:
    """Return the networks whose mean logit `network` gives."""
    if isinstance(network, TwinNetwork):
        return [network]
    return [cast(TwinNetwork, member) for member in network.members]


def memory_format_of(encoder: nn.Module) -> torch.memory_format:
    """Return the format an encoder asks for; others may hold a `view`, which needs contiguous."""
    return getattr(encoder, "memory_format", torch.contiguous_format)
