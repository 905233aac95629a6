"""Matching: which parts of two images a network finds alike, and which it does not."""

from dataclasses import dataclass
from typing import TypeGuard

import numpy as np
import torch

from .heads import aligned_in
from .inference import NeuralComparer
from .scaling import Store


@dataclass(frozen=True, eq=False)
class Match:
    """How the cells of two images match; h x w is the size of their maps.

    Attributes
    ----------
    cell_logits : ndarray of shape (2, h, w)
        What each cell of either image adds to the logit of the pair.
    best : ndarray of int of shape (2, h, w)
        Number of the cell of the other image that matches best, row by row.
    boxes : ndarray of shape (2, 4)
        The part of each image that its map covers: first row and one past the last, first column
        and one past the last, in pixels.
    """

    cell_logits: np.ndarray
    best: np.ndarray
    boxes: np.ndarray

    @property
    def logit(self) -> float:
        """Logit of the pair, not calibrated."""
        return float(self.cell_logits.sum())


def can_match(comparer: object) -> TypeGuard[NeuralComparer]:
    """Return whether a comparer has a network whose head compares cells."""
    if not isinstance(comparer, NeuralComparer):
        return False
    return aligned_in(comparer.network.head) is not None


def match(comparer: NeuralComparer, a: Store, b: Store) -> Match:
    """Compare the first images of two stores, cell by cell.

    Of several networks, the first whose head compares cells is asked.

    Parameters
    ----------
    comparer : NeuralComparer
        One that `can_match`.
    a, b : Store

    Returns
    -------
    match : Match
    """
    row = np.zeros(1, int)
    embeddings = [torch.from_numpy(comparer.embed(store, row)) for store in (a, b)]
    found = aligned_in(comparer.fused.head)
    assert found is not None
    aligned, part_of = found
    own, other = (part_of(each).to(comparer.device) for each in embeddings)
    with torch.no_grad():
        cell_logits, best = aligned.cell_logits(own, other)[0], aligned.best_matches(own, other)[0]
    shape = (2, *aligned.map_shape)
    boxes = [comparer.scaling.boxes(store.take(row)) for store in (a, b)]
    return Match(
        cell_logits.reshape(shape).numpy(force=True),
        best.reshape(shape).numpy(force=True),
        torch.cat(boxes).numpy(),
    )
