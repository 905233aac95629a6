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

from .encoders import can_fuse, fuse, in_bfloat16, pack
from .heads import Keys
from .network import Network
from .reading import scaled_batches
from .scaling import InputScaling, Store, describe_shape
from .search import INDEXED, Cells, Index, Scan, divided

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
    bfloat16 : bool, default=False
        Whether convolutional encoders compute in bfloat16. Heads compute in float32.
    search : {"auto", "faiss"}, default="auto"
        How exemplars like a query are found among many.
    """

    network: Network
    scaling: InputScaling
    device: str = "cpu"
    bfloat16: bool = False
    search: str = "auto"

    def to(
        self,
        device: str | torch.device,
        bfloat16: bool | None = None,
        search: str | None = None,
    ) -> "NeuralComparer":
        """Return a comparer that works on `device`, in bfloat16 or not; this one if it does.

        None: in the precision that this one works in, and by its search.
        """
        place = (
            str(device),
            self.bfloat16 if bfloat16 is None else bfloat16,
            self.search if search is None else search,
        )
        if place == (self.device, self.bfloat16, self.search):
            return self
        if place not in self._elsewhere:
            other = replace(self, device=place[0], bfloat16=place[1], search=place[2])
            if place[:2] == (self.device, self.bfloat16):
                vars(other)["fused"] = self.fused  # where `cached_property` looks for it
            self._elsewhere.setdefault(place, other)
        return self._elsewhere[place]

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
        return self.with_scaling(trained.learned_again(store))

    def with_scaling(self, scaling: InputScaling) -> "NeuralComparer":
        """Return a comparer with another input scaling; network and fused copy are shared."""
        other = replace(self, scaling=scaling)
        vars(other)["fused"] = self.fused
        return other

    @cached_property
    def _elsewhere(self) -> dict[tuple[str, bool, str], "NeuralComparer"]:
        """Comparers on other devices or in other precision, with their copies of the network.

        Also those that search in another way.
        """
        return {}

    @cached_property
    def fused(self) -> Network:
        """The network on `device`; on a copy, batch-norm is fused into the convolutions."""
        on_cpu = torch.device(self.device).type == "cpu"
        if on_cpu and not can_fuse(self.network):
            return self.network
        fused = fuse(self.network)
        if self.bfloat16:
            in_bfloat16(fused)
        fused.to(self.device)
        return pack(fused) if on_cpu else fused

    @property
    def n_features(self) -> int:
        """Number of values in the embedding of a sample."""
        return math.prod(self.embedding_shape)

    @property
    def embedding_shape(self) -> tuple[int, ...]:
        """Shape of the embedding of a sample."""
        return self.network.head.embedding_shape

    @contextmanager
    def _exactly(self) -> Iterator[None]:
        """Compute without gradients and as told, also inside the caller's autocast."""
        kind = torch.device(self.device).type
        known = torch.amp.is_autocast_available(kind)
        with torch.no_grad(), torch.autocast(kind, enabled=False) if known else nullcontext():
            yield

    def __getstate__(self) -> dict[str, Any]:
        names = ("network", "scaling", "device", "bfloat16", "search")
        return {name: getattr(self, name) for name in names}

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
        embeddings = torch.empty(len(rows), *self.network.head.embedding_shape)
        start = 0
        with self._exactly():
            for batch in scaled_batches(store, rows, self.scaling, check):
                stop = start + len(batch)
                embeddings[start:stop] = self.fused.embed(batch.to(self.device))
                start = stop
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
        return self.distances_of(self.logits(a, b))

    def distances_of(self, logits: np.ndarray) -> np.ndarray:
        """Return the logit of a perfect match minus each logit."""
        with torch.no_grad():
            return self.fused.head.bias.cpu().numpy() - logits

    def keys(self, embeddings: np.ndarray) -> Scan | None:
        """Return vectors that are near in about the order of logits, if there are any.

        Dot products are in the precision of the encoder. Vectors that are other numbers than the
        embeddings are kept in it.
        """
        with self._exactly():
            parts = self._tensor(embeddings).split(BLOCK_ROWS)
            found = [keys for part in parts if (keys := self.fused.head.keys(part)) is not None]
            if len(found) < len(parts):
                return None
            if all(own.vectors is part for own, part in zip(found, parts, strict=True)):
                return Scan.of(self._tensor(embeddings), found[0].euclidean, self.bfloat16)
            rounded = self.bfloat16 and not found[0].euclidean
            dtype = torch.bfloat16 if rounded else torch.float32
            vectors = torch.cat([own.vectors.to(dtype) for own in found])
            return Scan.of(vectors, found[0].euclidean)

    def indexed(
        self, embeddings: np.ndarray, cells: Cells | None
    ) -> tuple[Scan | Index | None, Cells | None]:
        """Return what `shortlist` looks through, and how it is divided into cells.

        Parameters
        ----------
        embeddings : ndarray of shape (n, ...)
        cells : Cells or None
            A division of these embeddings that is known, or None.
        """

        def keys_at(rows: slice | np.ndarray) -> Keys:
            keys = self.fused.head.keys(self._tensor(embeddings[rows]))
            assert keys is not None
            return keys

        if self.search == "auto" or len(embeddings) < INDEXED or self.keys(embeddings[:1]) is None:
            return self.keys(embeddings), cells
        with self._exactly():
            cells = divided(keys_at, len(embeddings), cells)
            return Index(keys_at, cells), cells

    def shortlist(
        self, queries: np.ndarray, keys: Scan | Index, n: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Find the n embeddings whose keys are nearest to that of each query.

        (A, ...), keys of B embeddings -> scores (A, n) and rows (A, n) of B.
        """
        with self._exactly():
            found = self.fused.head.keys(self._tensor(queries))
            assert found is not None
            return keys.search(found.vectors, n)

    def _tensor(self, embeddings: np.ndarray) -> Tensor:
        if not embeddings.flags.c_contiguous:  # tensors have no negative strides
            embeddings = np.ascontiguousarray(embeddings)
        if not embeddings.flags.writeable:  # torch warns of these, and nothing is written
            embeddings = np.asarray(_Writable(embeddings))
        return torch.from_numpy(embeddings).to(self.device)


class _Writable:
    """A read-only array, such as a memory map, that says it may be written to."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        place, _ = array.__array_interface__["data"]
        self.__array_interface__ = {**array.__array_interface__, "data": (place, False)}


def _finite(logits: Tensor) -> Tensor:
    """Return logits; ValueError if some are not finite, of which argmax would make an answer."""
    if not (logits.sum().isfinite() or logits.isfinite().all()):  # the sum is cheaper
        raise ValueError(
            "The network gives logits with NaN or infinity: its weights cannot be used. Fit "
            "again, or load another file."
        )
    return logits
