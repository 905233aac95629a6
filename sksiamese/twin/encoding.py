"""Encoding: features of an encoder that does not train, made once."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .network import Network, TwinNetwork, members_of
from .reading import scaled_batches
from .scaling import InputScaling, Store

LARGEST = 2**28  # numbers: what is larger is made again in each epoch
BLOCK_ROWS = 1024


@dataclass(frozen=True, eq=False)
class FeatureStore:
    """Features of samples, as a store.

    Attributes
    ----------
    features : Tensor of shape (n, ...)
    samples : Store
        What they are of.
    """

    features: Tensor
    samples: Store
    flat = False

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one sample's features."""
        return tuple(self.features.shape[1:])

    @property
    def dtype(self) -> np.dtype:
        """Data type of the features."""
        return np.dtype(np.float32)

    def __len__(self) -> int:
        return len(self.features)

    def take(self, rows: np.ndarray) -> Tensor:
        """Return the features of the samples at `rows`."""
        return self.features[torch.from_numpy(rows)]

    def named(self, rows: np.ndarray) -> tuple[list[str], np.ndarray]:
        """Return how messages name the samples."""
        return self.samples.named(rows)


def encode(
    network: TwinNetwork, store: Store, scaling: InputScaling, device: str = "cpu"
) -> Tensor:
    """Return the features of all samples, (n, ...) float32, by the encoder in evaluation mode."""
    encoder = network.encoder.eval().to(device)
    features, start = torch.empty(0), 0
    with torch.no_grad():
        for batch in scaled_batches(store, np.arange(len(store)), scaling, False):
            part = encoder(network.formatted(batch.to(device)))
            if not start:
                features = torch.empty(len(store), *part.shape[1:])
            features[start : start + len(part)] = part
            start += len(part)
    encoder.to("cpu")
    return features


def unscaled(shape: tuple[int, ...]) -> InputScaling:
    """Return a scaling that leaves features, or scaled images, of this shape as they are."""
    offset = torch.zeros((shape[0], *(1 for _ in shape[1:])), dtype=torch.float64)
    size = shape[1:] if len(shape) == 3 else None
    return InputScaling(offset, torch.ones_like(offset), size, size, unit=0.0)


def embed_features(network: Network, features: Tensor) -> np.ndarray:
    """Return the embeddings of samples whose features are known, as the network embeds them."""
    with torch.no_grad():
        embeddings = [
            torch.cat([member.head.embed(block) for block in features.split(BLOCK_ROWS)])
            for member in members_of(network)
        ]
    if isinstance(network, TwinNetwork):
        return embeddings[0].numpy()
    return network.head.joined(embeddings).numpy()
