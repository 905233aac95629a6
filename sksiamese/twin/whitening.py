"""Whitening: what `Whitened` learns in closed form from features of the training classes."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .heads import GAIN, Whitened

LEAST_CLASSES = 3
N_NEWTON = 50


def knows_scatter(classes: Tensor) -> bool:
    """Return whether there are enough classes of two samples or more, which alone have scatter."""
    return int((torch.bincount(classes) > 1).sum()) >= LEAST_CLASSES


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
    n_features = features.shape[1]
    unchanged = torch.eye(n_features) if known is None else known
    if not knows_scatter(classes):
        return torch.zeros(n_features), unchanged
    features, counts = features.double(), torch.bincount(classes)
    means = torch.zeros(len(counts), n_features, dtype=torch.float64)
    means.index_add_(0, classes, features).div_(counts[:, None])
    within = features - means[classes]
    if known is None:
        kinds = within.split([*widths, n_features - sum(widths)], 1)
        spread = torch.cat([_spread(part) for part in kinds])
        within = within / spread
    else:
        within = within @ known.double()
    level = within.square().mean()  # tr(S) / D
    if not level > 0:
        return means.mean(0).float(), unchanged
    root = _inverse_root(within / (len(within) * level).sqrt())
    root = root / spread[:, None] if known is None else known.double() @ root
    return means.mean(0).float(), root.float().contiguous()


def reduced(projection: Tensor, projected: Tensor, n_components: int) -> Tensor:
    """Return a projection to the directions in which samples, at unit length, differ most.

    (D, D), the samples' (n, D), -> (D, n_components).
    """
    if projection.shape[1] <= n_components:
        return projection
    units = F.normalize(projected.double(), dim=1)
    directions = torch.linalg.eigh(units.T @ units)[1][:, -n_components:]
    return (projection.double() @ directions).float()


def _inverse_root(a: Tensor) -> Tensor:
    """Return a P with P P' = (A'A + I)^-1: (n, D) -> (D, D)."""
    n, n_features = a.shape
    identity = torch.eye(n_features, dtype=a.dtype)
    if 2 * n > n_features:
        lower = torch.linalg.cholesky(a.T @ a + identity)
        return torch.linalg.solve_triangular(lower, identity, upper=False).T
    # With A A' = U diag(l) U', it is I - A'U diag(1 / (s (s + 1))) U'A, s^2 = 1 + l.
    eigenvalues, vectors = torch.linalg.eigh(a @ a.T)
    s = (1 + eigenvalues.clamp(min=0)).sqrt()
    turned = vectors.T @ a
    return identity - turned.T @ (turned / (s * (s + 1))[:, None])


def _spread(within: Tensor) -> Tensor:
    """Return the root of the trace of a kind's scatter, once for each feature; 1 if it is 0."""
    spread = within.square().sum(1).mean().sqrt().expand(within.shape[1])
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
