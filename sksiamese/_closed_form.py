"""Closed form: a whitened head from the features of the training classes, without gradients."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from ._training_data import LabelledData, TrainingData
from .model_selection import make_pairs
from .twin.heads import Whitened
from .twin.whitening import knows_scatter, logistic_line, reduced, set_line, whiten, whitening

N_FOLDS = 3
BLOCK_ROWS = 1024
N_PAIRS = 10_000  # of which the slope and the intercept of the logits are learned
Learn = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # features and classes: see `whitening`


def solved(
    head: Whitened,
    features: Tensor,
    data: TrainingData,
    widths: Sequence[int] = (),
    *,
    trained: bool = False,
    goes_on: bool = False,
) -> Whitened:
    """Return a head that whitens features, and knows what a cosine says of a pair.

    Within the classes that it was learned of, a whitening makes cosines too great. So gain and
    margin are learned, by logistic regression, of pairs of classes that were left out of it, in
    turn.

    Parameters
    ----------
    head : Whitened
        Before; it stays as it is.
    features : Tensor of shape (n, ...)
        Of the samples of `data`, by the trained encoder.
    data : TrainingData
    widths : sequence of int, default=()
        See `whitening`.
    trained : bool, default=False
        Whether the head was trained by gradients. Its projection is then kept if there are too
        few classes to whiten by.
    goes_on : bool, default=False
        Whether the head was learned before, from other samples. What it makes of features is
        whitened then. Its projection is kept if there are too few classes; so are gain and margin,
        also if no class can be left out.
    """
    head = copy.deepcopy(head)
    features = head.pool(features)
    classes = _classes_of(data)
    if (trained or goes_on) and not knows_scatter(torch.from_numpy(classes)):
        _whiten(head, features, head.mean, head.whole_projection)
        return head
    known = head.whole_projection if goes_on else None
    learn = partial(whitening, widths=widths, known=known)
    cosines, same = _left_out(head, features, data, classes, learn)
    _whiten(head, features, *learn(features, torch.from_numpy(classes)))
    if not len(same) and not goes_on:
        cosines, same = _compared(head, features, _pairs(data, np.arange(len(classes))))
    if 0 < same.sum() < len(same):
        slope, intercept = logistic_line(torch.from_numpy(cosines), torch.from_numpy(same))
        if slope > 0:
            set_line(head, slope, intercept)
    return head


def _whiten(head: Whitened, features: Tensor, mean: Tensor, projection: Tensor) -> None:
    """Give the head a projection to its number of components."""
    whiten(head, mean, reduced(projection, features, mean, head.n_components))


def _classes_of(data: TrainingData) -> np.ndarray:
    """Return the class of each sample; of pairs, samples are of one class if pairs join them."""
    if isinstance(data, LabelledData):
        return np.unique(data.classes, return_inverse=True)[1].ravel()
    i, j, same = data.pairs.T
    n = len(data.store)
    joined = coo_array((np.ones(same.sum()), (i[same == 1], j[same == 1])), shape=(n, n))
    return connected_components(joined, directed=False)[1].astype(np.int64)


def _left_out(
    head: Whitened,
    features: Tensor,
    data: TrainingData,
    classes: np.ndarray,
    learn: Learn,
) -> tuple[np.ndarray, np.ndarray]:
    """Return cosines of pairs of classes that the whitening does not know, and which are same."""
    n_classes = classes.max() + 1
    n_folds = max(1, min(N_FOLDS, n_classes // 2))
    found = [(np.empty(0), np.empty(0, np.int64))]
    folds = np.random.default_rng(0).permutation(np.arange(n_classes) % n_folds)[classes]
    for fold in range(n_folds):
        others = folds != fold
        known = torch.from_numpy(np.unique(classes[others], return_inverse=True)[1].ravel())
        pairs = _pairs(data, np.flatnonzero(~others))
        if not knows_scatter(known) or not len(pairs):
            continue
        of_others = features[others]
        _whiten(head, of_others, *learn(of_others, known))
        found.append(_compared(head, features, pairs))
    cosines, same = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return cosines, same


def _pairs(data: TrainingData, rows: np.ndarray) -> np.ndarray:
    """Return pairs of the samples at `rows`, given or drawn; none if they are all same."""
    if not isinstance(data, LabelledData):
        inside = np.isin(data.pairs[:, :2], rows).all(1)
        return data.pairs[inside]
    try:
        pairs = make_pairs(data.classes[rows], data.groups[rows], N_PAIRS, random_state=0)
    except ValueError:  # too few samples
        return np.empty((0, 3), np.int64)
    return np.column_stack([rows[pairs[:, :2]], pairs[:, 2]])


def _compared(
    head: Whitened, features: Tensor, pairs: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    rows, places = np.unique(pairs[:, :2], return_inverse=True)
    (i, j), same = places.reshape(-1, 2).T, pairs[:, 2]
    with torch.no_grad():
        of_rows = torch.from_numpy(rows).split(BLOCK_ROWS)
        embeddings = torch.cat([head.embed(features[block]) for block in of_rows])
        of_pairs = zip(
            *(torch.from_numpy(x.copy()).split(BLOCK_ROWS) for x in (i, j)), strict=True
        )
        cosines = torch.cat([(embeddings[a] * embeddings[b]).sum(1) for a, b in of_pairs])
    return cosines.double().numpy(), same
