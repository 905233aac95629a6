"""Whitening: what `Whitened` learns in closed form from features of the training classes."""

from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .heads import GAIN, Whitened

LEAST_CLASSES = 3
N_NEWTON = 50
BLOCK_ROWS = 1024
LARGEST = 25_000_000  # numbers in the features of a training set: of a larger one, some samples
LEAST_ROWS = 4  # are drawn, so many for each feature at least,
LEAST_OF_CLASS = 20  # and so many of a class that has them


def knows_scatter(classes: Tensor) -> bool:
    """Return whether there are enough classes of two samples or more, which alone have scatter."""
    return int((torch.bincount(classes) > 1).sum()) >= LEAST_CLASSES


def rows_to_whiten(classes: np.ndarray, n_numbers: int, n_features: int) -> np.ndarray:
    """Return rows of samples whose features can be held at once: all, or some, drawn at random.

    Where there are more classes than the scatter within them needs, most samples of some classes
    say more of it than few samples of all.

    Parameters
    ----------
    classes : ndarray of shape (n,)
        Integers from 0.
    n_numbers : int
        Numbers that the encoder makes of a sample.
    n_features : int
        Numbers that are whitened.
    """
    most = max(LARGEST // n_numbers, LEAST_ROWS * n_features)
    if len(classes) <= most:
        return np.arange(len(classes))
    rng = np.random.default_rng(0)
    n_classes = int(classes.max()) + 1
    rows = rng.permutation(len(classes))
    rows = rows[np.argsort(rng.permutation(n_classes)[classes[rows]], kind="stable")]
    first = np.flatnonzero(np.diff(classes[rows], prepend=-1))
    place = np.arange(len(rows)) - np.repeat(first, np.diff(first, append=len(rows)))
    return np.sort(rows[place < max(LEAST_OF_CLASS, most // n_classes)][:most])


def whitening(
    features: Tensor,
    classes: Tensor,
    widths: Sequence[int] = (),
    known: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the mean of the class means, and a projection that makes S + tr(S)/D I white.

    S is the scatter of the features about the means of their classes. With fewer than three
    classes of two samples or more, nothing is known of it: the mean is 0, the projection I.

    Parameters
    ----------
    features : Tensor of shape (n, D)
    classes : Tensor of shape (n,)
        Integers from 0.
    widths : sequence of int, default=()
        Of features made side by side, how many there are of each kind; those that are left are one
        more. They are first divided by the spread of their kind within the classes.
    known : Tensor of shape (D, n_components) or None, default=None
        A projection learned before. What is found here follows it, so that most of it remains if
        there are few classes. Without it, features are divided by the spread of their kind.

    Returns
    -------
    mean : Tensor of shape (D,), float32
    projection : Tensor of shape (D, D), or of `known`, float32
        ``(features - mean) @ projection``.
    """
    n, n_features = features.shape
    unchanged = torch.eye(n_features) if known is None else known
    if not knows_scatter(classes):
        return torch.zeros(n_features), unchanged
    means = _class_means(features, classes)
    # Of many samples only the scatter is held, of few only what they differ by.
    few = 2 * n <= unchanged.shape[1]
    blocks = _within(features, classes, means)
    held = torch.cat(list(blocks)) if few else cast(Tensor, sum(x.T @ x for x in blocks))
    if known is None:
        squares = held.square().sum(0) if few else held.diagonal()
        spread = _spreads(squares / n, [*widths, n_features - sum(widths)])
        held = held / spread if few else held / spread / spread[:, None]
    else:
        turn = known.double()
        held = held @ turn if few else turn.T @ held @ turn
    level = (held.square().sum() if few else held.trace()) / held.shape[1]  # n tr(S) / D
    if not level > 0:
        return means.mean(0).float(), unchanged
    root = _root_of_few(held / level.sqrt()) if few else _root(held / level)
    root = root / spread[:, None] if known is None else turn @ root
    return means.mean(0).float(), root.float().contiguous()


def _class_means(features: Tensor, classes: Tensor) -> Tensor:
    """Return the mean of each class, float64."""
    counts = torch.bincount(classes)
    means = torch.zeros(len(counts), features.shape[1], dtype=torch.float64)
    for block, of_block in _blocks(features, classes):
        means.index_add_(0, of_block, block)
    return means / counts[:, None]


def _within(features: Tensor, classes: Tensor, means: Tensor) -> Iterator[Tensor]:
    """Yield by how much samples differ from the means of their classes, some at a time."""
    return (block - means[of_block] for block, of_block in _blocks(features, classes))


def _blocks(features: Tensor, classes: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    parts = zip(features.split(BLOCK_ROWS), classes.split(BLOCK_ROWS), strict=True)
    return ((block.double(), of_block) for block, of_block in parts)


def reduced(projection: Tensor, features: Tensor, mean: Tensor, n_components: int) -> Tensor:
    """Return a projection to the directions in which samples, at unit length, differ most.

    (D, D), the samples' (n, D), (D,) -> (D, n_components).
    """
    if projection.shape[1] <= n_components:
        return projection
    units = F.normalize(((features - mean) @ projection).double(), dim=1)
    directions = torch.linalg.eigh(units.T @ units)[1][:, -n_components:]
    return (projection.double() @ directions).float()


def _root(scatter: Tensor) -> Tensor:
    """Return a P with P P' = (S + I)^-1: (D, D) -> (D, D)."""
    identity = torch.eye(len(scatter), dtype=scatter.dtype)
    lower = torch.linalg.cholesky(scatter + identity)
    return torch.linalg.solve_triangular(lower, identity, upper=False).T


def _root_of_few(a: Tensor) -> Tensor:
    """Return a P with P P' = (A'A + I)^-1, in less time for small n: (n, D) -> (D, D)."""
    # With A A' = U diag(l) U', it is I - A'U diag(1 / (s (s + 1))) U'A, s^2 = 1 + l.
    eigenvalues, vectors = torch.linalg.eigh(a @ a.T)
    s = (1 + eigenvalues.clamp(min=0)).sqrt()
    turned = vectors.T @ a
    identity = torch.eye(a.shape[1], dtype=a.dtype)
    return identity - turned.T @ (turned / (s * (s + 1))[:, None])


def _spreads(variances: Tensor, widths: Sequence[int]) -> Tensor:
    """Return the root of the trace of each kind's scatter, once for each feature; 1 if it is 0."""
    kinds = variances.split(list(widths))
    spread = torch.cat([kind.sum().sqrt().expand(len(kind)) for kind in kinds])
    return torch.where(spread > 0, spread, 1.0)


def logistic_line(values: Tensor, same: Tensor) -> tuple[float, float]:
    """Return slope and intercept of the logistic regression of 0 or 1 on values: two (n,).

    By Newton's method, with a small penalty on the slope, as where the values separate them.
    """
    inputs = torch.stack([values, torch.ones_like(values)], 1).double()
    penalty = torch.diag(torch.tensor([1e-3, 0.0], dtype=torch.float64))
    line = torch.zeros(2, dtype=torch.float64)
    for _ in range(N_NEWTON):
        p = torch.sigmoid(inputs @ line)
        gradient = inputs.T @ (p - same) + penalty @ line
        curvature = (inputs.T * (p * (1 - p)).clamp(min=1e-9)) @ inputs + penalty
        line = line - torch.linalg.solve(curvature, gradient).clamp(-5, 5)
    slope, intercept = line.tolist()
    return slope, intercept


def whiten(head: Whitened, mean: Tensor, projection: Tensor) -> None:
    """Give the head what `whitening` returned, the projection in numbers that half can hold."""
    greatest = projection.abs().max()
    with torch.no_grad():
        head.mean.copy_(mean)
        head.projection = (projection / greatest).contiguous()
        head.log_weight.fill_(greatest.log())


def set_line(head: Whitened, slope: float, intercept: float) -> None:
    """Give the head the logit ``slope * cosine + intercept``."""
    with torch.no_grad():
        head.log_gain.fill_(torch.tensor(slope / GAIN).log())
        head.margin.fill_(-intercept / slope)
