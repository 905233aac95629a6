"""Inference: every image is encoded once; every comparison is a matrix of codes."""

import numpy as np
import torch


def encode(network, store, indices=None, batch_size=256):
    """Codes (n, ...) of the images of `store`, or of those at `indices`, in evaluation mode.

    Batch-norm uses its running statistics, so an image's code does not depend on the others.
    ValueError if a code is no number.
    """
    if indices is None:
        indices = np.arange(len(store))
    with torch.no_grad():
        codes = torch.cat(
            [
                network.codes(network.scaling(store.take(indices[start : start + batch_size])))
                for start in range(0, len(indices), batch_size)
            ]
        )
    if not (codes.sum().isfinite() or codes.isfinite().all()):  # the sum alone is sooner made
        row = int((~codes.isfinite()).flatten(1).any(1).nonzero()[0])
        raise ValueError(
            f"the twin's code of row {indices[row]} of X is infinite or NaN: X has values too "
            "large for float32, or far outside those that the twin was trained on. Bring X to "
            "that range."
        )
    return codes


def logits(network, codes_a, codes_b, chunk_size=1024):
    """Twin logits (A, B) of all pairs, computed in blocks of rows."""
    slope, intercept = network.calibration
    return slope * _head_logits(network, codes_a, codes_b, chunk_size) + intercept


def pair_logits(network, codes_a, codes_b, chunk_size=1024):
    """Twin logits (P,) of the pairs of rows, computed in blocks of them."""
    slope, intercept = network.calibration
    chunks = zip(codes_a.split(chunk_size), codes_b.split(chunk_size), strict=True)
    with torch.no_grad():
        return slope * torch.cat([network.head.pair_logits(*c) for c in chunks]) + intercept


def distances(network, codes_a, codes_b):
    """How far each logit (A, B) of the head is below that of a perfect match."""
    return network.head.bias.detach() - _head_logits(network, codes_a, codes_b, 1024)


def _head_logits(network, codes_a, codes_b, chunk_size):
    with torch.no_grad():
        chunks = codes_a.split(chunk_size)
        return torch.cat([network.head.logits(chunk, codes_b) for chunk in chunks])
