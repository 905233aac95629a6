"""Inference: every image is encoded once; every comparison is a matrix of codes."""

import numpy as np
import torch


def encode(network, store, indices=None, batch_size=256):
    """Codes (n, ...) of the images of `store`, or of those at `indices`, in evaluation mode.

    Batch-norm uses its running statistics, so an image's code does not depend on the others.
    """
    if indices is None:
        indices = np.arange(len(store))
    device = network.scaling.offset.device
    with torch.no_grad():
        return torch.cat(
            [
                network.codes(
                    network.scaling(store.take(indices[start : start + batch_size]).to(device))
                )
                for start in range(0, len(indices), batch_size)
            ]
        )


def logits(network, codes_a, codes_b, chunk_size=1024):
    """Twin logits (A, B) of all pairs, computed in blocks of rows."""
    with torch.no_grad():
        return torch.cat(
            [network.head.logits(chunk, codes_b) for chunk in codes_a.split(chunk_size)]
        )


def pair_logits(network, codes_a, codes_b):
    """Twin logits (P,) of the pairs of rows."""
    with torch.no_grad():
        return network.head.pair_logits(codes_a, codes_b)
