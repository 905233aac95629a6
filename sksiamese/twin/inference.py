"""Inference: every image is embedded once; every comparison is a matrix of embeddings."""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .encoders import can_fuse, fuse, pack
from .network import Network
from .reading import scaled_batches
from .scaling import InputScaling, Store, describe_shape

BLOCK_ROWS = 1024  # rows that are compared with all others at once

# The threads that torch has used do not survive a fork, and a child that waits for them hangs.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=partial(torch.set_num_threads, 1))


@dataclass(frozen=True, eq=False)
class NeuralComparer:
    """A trained network with its input scaling: embeds samples and compares embeddings.

    Embeddings and logits are NumPy arrays, float32. Logits are the head's own, not calibrated.

    Attributes
    ----------
    network : TwinNetwork or TwinEnsemble
        In evaluation mode; never changed.
    scaling : InputScaling
    device : str, default="cpu"
        Where samples are embedded and compared.
    """

    network: Network
    scaling: InputScaling
    device: str = "cpu"

    def to(self, device: str | torch.device) -> "NeuralComparer":
        """Return a comparer that works on `device`; this one if it does already."""
        device = str(device)
        if device == self.device:
            return self
        return self._elsewhere.setdefault(device, replace(self, device=device))

    def adapted_to(self, store: Store) -> "NeuralComparer":
        """Return a comparer whose input scaling is learned from these images.

        The network and its fused copy are shared.

        Raises
        ------
        ValueError
            If the images do not have the channels or proportions of the training images.
        """
        shape, trained = store.input_shape, self.scaling
        size, channels = trained.working_size, len(trained.offset)
        if (
            size is None
            or len(shape) != 3
            or shape[0] not in (1, channels)
            or not (trained.crop == "foreground" or shape[1] * size[1] == shape[2] * size[0])
        ):
            sides = "" if size is None else f", {size[0]}x{size[1]}"
            raise ValueError(
                f"X has {describe_shape(shape)}, but this network was trained on images of "
                f"{channels} channel(s){sides}. Average colours, pad images to these proportions; "
                "for flat rows, call set_params(image_shape=(height, width))."
            )
        other = replace(self, scaling=trained.learned_again(store))
        vars(other)["fused"] = self.fused  # where `cached_property` looks for it
        return other

    @cached_property
    def _elsewhere(self) -> dict[str, "NeuralComparer"]:
        """Comparers on other devices, with their copies of the network."""
        return {}

    @cached_property
    def fused(self) -> Network:
        """The network on `device`; on a copy, batch-norm is fused into the convolutions."""
        on_cpu = torch.device(self.device).type == "cpu"
        if on_cpu and not can_fuse(self.network):
            return self.network
        fused = fuse(self.network).to(self.device)
        return pack(fused) if on_cpu else fused

    @property
    def n_features(self) -> int:
        """Number of values in the embedding of a sample."""
        return math.prod(self.network.head.embedding_shape)

    @contextmanager
    def _exactly(self) -> Iterator[None]:
        """Compute without gradients and in float32, also inside the caller's autocast."""
        kind = torch.device(self.device).type
        known = torch.amp.is_autocast_available(kind)
        with torch.no_grad(), torch.autocast(kind, enabled=False) if known else nullcontext():
            yield

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("network", "scaling", "device")}

    def embed(
        self, store: Store, rows: np.ndarray | None = None, *, check: bool = True
    ) -> np.ndarray:
        """Embed the samples of `store`, or those at `rows`: (n, ...) float32.

        Batch-norm uses its running statistics, so an embedding does not depend on other samples.

        Parameters
        ----------
        store : Store
        rows : ndarray of int or None, default=None
            None: all of them.
        check : bool, default=True
            Check each image's polarity, value range and foreground.

        Returns
        -------
        embeddings : ndarray of shape (n, ...), float32

        Raises
        ------
        ValueRangeError
            If images are in other units than the training images.
        InvertedImageError
            With ``crop="foreground"``, if an image appears to have inverted polarity.
        ValueError
            If an embedding is not finite.

        Warns
        -----
        BlankImageWarning
            If images have no foreground.
        """
        rows = np.arange(len(store)) if rows is None else rows
        with self._exactly():
            batches = scaled_batches(store, rows, self.scaling, check)
            embeddings = torch.cat(
                [self.fused.embed(batch.to(self.device)).cpu() for batch in batches]
            )
        if not (embeddings.sum().isfinite() or embeddings.isfinite().all()):  # the sum is cheaper
            row = int((~embeddings.isfinite()).flatten(1).any(1).nonzero()[0])
            name = store.named(rows[row : row + 1])[0][0]
            raise ValueError(
                f"{name} has an embedding with NaN or infinity: its values are too large "
                "for float32, or far outside the range of the training data. Bring X to that "
                "range."
            )
        return embeddings.numpy()

    def logits(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Compare all pairs of embeddings: (A, ...), (B, ...) -> (A, B), in blocks of rows."""
        with self._exactly():
            ours, theirs = self._tensor(a), self._tensor(b)
            blocks = [self.fused.head.logits(x, theirs).cpu() for x in ours.split(BLOCK_ROWS)]
            return _finite(torch.cat(blocks)).numpy()

    def pair_logits(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Compare embeddings row by row: (P, ...), (P, ...) -> (P,)."""
        with self._exactly():
            logits = self.fused.head.pair_logits(self._tensor(a), self._tensor(b))
            return _finite(logits.cpu()).numpy()

    def distances(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return the logit of a perfect match minus each pair's: (A, B), at least about 0."""
        with torch.no_grad():
            bias = self.fused.head.bias.cpu().numpy()
        return bias - self.logits(a, b)

    def _tensor(self, embeddings: np.ndarray) -> Tensor:
        # Tensors have no negative strides and are never read-only.
        return torch.from_numpy(np.require(embeddings, requirements=["C", "W"])).to(self.device)


def _finite(logits: Tensor) -> Tensor:
    """Return logits; ValueError if some are not finite, of which argmax would make an answer."""
    if not (logits.sum().isfinite() or logits.isfinite().all()):  # the sum is cheaper
        raise ValueError(
            "The network gives logits with NaN or infinity: its weights cannot be used. Fit "
            "again, or load another file."
        )
    return logits
