"""Inference: every image is embedded once; every comparison is a matrix of embeddings."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..exceptions import InvertedImageError, ValueRangeWarning, warn
from .encoders import can_fuse, fuse, pack
from .network import Network
from .scaling import InputScaling, Store, evenly_spaced

BLOCK_ROWS = 1024  # rows that are compared with all others at once
BATCH_SIZE = 256  # images that are encoded at once


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

    def with_scaling(self, scaling: InputScaling) -> "NeuralComparer":
        """Return a comparer with another input scaling and the same fused copy."""
        other = replace(self, scaling=scaling)
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

    @cached_property
    def n_features(self) -> int:
        """Number of values in the embedding of a sample."""
        shape = tuple(self.scaling.offset.shape)
        if self.scaling.working_size is not None:
            shape = (shape[0], *self.scaling.working_size)
        with self._exactly():
            return self.fused.embed(torch.zeros(1, *shape, device=self.device)).numel()

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
            Compare the images' polarity and value range with those of the training images.

        Returns
        -------
        embeddings : ndarray of shape (n, ...), float32

        Raises
        ------
        InvertedImageError
            With ``crop="foreground"``, if an image appears to have inverted polarity.
        ValueError
            If an embedding is not finite.

        Warns
        -----
        ValueRangeWarning
            If images are in other units than the training images.
        """
        rows = np.arange(len(store)) if rows is None else rows
        if check:
            self._check_units(store, rows)
        parts = []
        for start in range(0, len(rows), BATCH_SIZE):
            batch = rows[start : start + BATCH_SIZE]
            images = store.take(batch)
            if check and self.scaling.crop == "foreground":
                _refuse_inverted(self.scaling.is_inverted(images), batch)
            with self._exactly():
                parts.append(self.fused.embed(self.scaling(images).to(self.device)).cpu())
        embeddings = torch.cat(parts)
        if not (embeddings.sum().isfinite() or embeddings.isfinite().all()):  # the sum is cheaper
            row = int((~embeddings.isfinite()).flatten(1).any(1).nonzero()[0])
            raise ValueError(
                f"X[{rows[row]}] has an embedding with NaN or infinity: its values are too large "
                "for float32, or far outside the range of the training data. Bring X to that "
                "range."
            )
        return embeddings.numpy()

    def logits(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Compare all pairs of embeddings: (A, ...), (B, ...) -> (A, B), in blocks of rows."""
        with self._exactly():
            ours, theirs = self._tensor(a), self._tensor(b)
            blocks = [self.fused.head.logits(x, theirs).cpu() for x in ours.split(BLOCK_ROWS)]
        return torch.cat(blocks).numpy()

    def pair_logits(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Compare embeddings row by row: (P, ...), (P, ...) -> (P,)."""
        with self._exactly():
            return self.fused.head.pair_logits(self._tensor(a), self._tensor(b)).cpu().numpy()

    def distances(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return the logit of a perfect match minus each pair's: (A, B), at least about 0."""
        with torch.no_grad():
            bias = self.fused.head.bias.cpu().numpy()
        return bias - self.logits(a, b)

    def _check_units(self, store: Store, rows: np.ndarray) -> None:
        """Warn of images in other units: 0..1 where 0..255 is known, or the reverse."""
        if len(store.input_shape) == 1:
            return
        some = rows[evenly_spaced(len(rows), 10)]
        spread = self.scaling.spread(store.take(some))  # of each channel
        least, most = float(spread.min()), float(spread.max())
        if (store.dtype.kind == "f" and 0 < most < 0.01) or least > 50:
            warn(
                f"The values of X span {most:.2g} times the range of the training images. Give X "
                "in the units of those, such as 0..255 or 0..1.",
                ValueRangeWarning,
            )

    def _tensor(self, embeddings: np.ndarray) -> Tensor:
        # Tensors have no negative strides and are never read-only.
        return torch.from_numpy(np.require(embeddings, requirements=["C", "W"])).to(self.device)


def _refuse_inverted(is_inverted: Tensor, rows: np.ndarray) -> None:
    if is_inverted.any():
        row = rows[int(is_inverted.int().argmax())]
        raise InvertedImageError(
            f"X[{row}] appears to have inverted polarity relative to the images this estimator "
            "was fitted on. Invert it (for uint8, 255 - X), call set_support with images of this "
            "polarity, or, if the drawing fills its image, pad it with background."
        )
