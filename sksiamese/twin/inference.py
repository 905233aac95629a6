"""Inference: every image is encoded once; every comparison is a matrix of codes."""

import numpy as np
import torch

BLOCK_ROWS = 1024  # rows, or pairs, that are compared at once


def encode(network, store, indices=None, batch_size=256, refuse_inverted=False):
    """Codes (n, ...) of the images of `store`, or of those at `indices`, in evaluation mode.

    Batch-norm uses its running statistics, so an image's code does not depend on the others.
    ValueError if a code is no number; with `refuse_inverted`, and where the scaling looks for ink,
    also if an image is light on dark where those it learned of are dark on light.
    """
    if indices is None:
        indices = np.arange(len(store))
    refuse_inverted = refuse_inverted and network.scaling.frame == "ink"
    codes = []
    with torch.no_grad():
        for start in range(0, len(indices), batch_size):
            rows = indices[start : start + batch_size]
            images = store.take(rows)
            if refuse_inverted:
                _refuse_inverted(network.scaling.is_inverted(images).numpy(), rows)
            codes.append(network.codes(network.scaling(images)))
    codes = torch.cat(codes)
    if not (codes.sum().isfinite() or codes.isfinite().all()):  # the sum alone is sooner made
        row = int((~codes.isfinite()).flatten(1).any(1).nonzero()[0])
        raise ValueError(
            f"the twin's code of row {indices[row]} of X is infinite or NaN: X has values too "
            "large for float32, or far outside those that the twin was trained on. Bring X to "
            "that range."
        )
    return codes


def _refuse_inverted(is_inverted, rows):
    if is_inverted.any():
        raise ValueError(
            f"the border of X looks like ink, in image {rows[is_inverted.argmax()]} at first: "
            "there X seems to be light on dark where the twin or its support has dark on light, "
            "or the other way round. Invert it, or set_support with images of its kind; pad a "
            "drawing that fills its image with ground."
        )


def logits(network, codes_a, codes_b):
    """Twin logits (A, B) of all pairs, computed in blocks of rows."""
    slope, intercept = network.calibration
    return slope * _head_logits(network, codes_a, codes_b) + intercept


def pair_logits(network, codes_a, codes_b, rows_a=None, rows_b=None):
    """Twin logits (P,) of rows of codes_a with rows of codes_b, of all in order where None is
    given; computed in blocks of pairs."""
    slope, intercept = network.calibration
    rows_a, rows_b = (
        torch.arange(len(codes)) if rows is None else torch.as_tensor(rows)
        for codes, rows in ((codes_a, rows_a), (codes_b, rows_b))
    )
    blocks = zip(rows_a.split(BLOCK_ROWS), rows_b.split(BLOCK_ROWS), strict=True)
    with torch.no_grad():
        parts = [network.head.pair_logits(codes_a[a], codes_b[b]) for a, b in blocks]
        return slope * torch.cat(parts) + intercept


def distances(network, codes_a, codes_b):
    """How far each logit (A, B) of the head is below that of a perfect match."""
    return network.head.bias.detach() - _head_logits(network, codes_a, codes_b)


def _head_logits(network, codes_a, codes_b):
    with torch.no_grad():
        return torch.cat(
            [network.head.logits(block, codes_b) for block in codes_a.split(BLOCK_ROWS)]
        )
