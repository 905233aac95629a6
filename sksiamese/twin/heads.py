"""Heads: how two images' features are compared.

A head turns features into *codes*, once an image, and compares codes. Any head has

- ``codes(features)``: (B, ...) -> (B, ...), whatever shape the comparison needs;
- ``logits(codes_a, codes_b)``: (A, ...), (B, ...) -> (A, B), every pair;
- ``pair_logits(codes_a, codes_b)``: (P, ...), (P, ...) -> (P,), row by row;
- ``bias``: the logit of two identical images, so that ``bias - logits`` is a dissimilarity.

All are symmetric in the two twins by construction.
"""

import math

import torch
from torch import nn

# Adam moves every parameter at one pace. Logits are GAIN times (margin - mean distance), so that
# the bias and the spread of the logits arrive within few steps.
GAIN = 20.0
TILE = 64


def l1_distances(a, b):
    """L1 distance of every row of a with every row of b, without a (A, B, D) temporary.

    (A, D), (B, D) -> (A, B). On the CPU ``pdist`` takes a seventh of the time of ``cdist(p=1)`` a
    pair, so that it is faster even where, in tiles, it compares the rows of each side too.
    """
    if a is b:
        return _distances_within(a)
    if a.device.type != "cpu" or min(len(a), len(b)) < TILE // 4:
        return torch.cdist(a, b, p=1)
    rows = []
    for x in a.split(TILE):
        tiles = [_distances_within(torch.cat([x, y]))[: len(x), len(x) :] for y in b.split(TILE)]
        rows.append(torch.cat(tiles, 1))
    return torch.cat(rows)


def _distances_within(x):  # (N, D) -> (N, N)
    i, j = torch.triu_indices(len(x), len(x), 1, device=x.device)
    upper = x.new_zeros(len(x), len(x)).index_put((i, j), torch.pdist(x, p=1))
    return upper + upper.T


class WeightedL1(nn.Module):
    r"""The paper's head with every alpha_j <= 0 (section 3.1).

    .. math:: \operatorname{logit} p(x_1 \circ x_2) = b + \sum_j \alpha_j |h_{1j} - h_{2j}|

    With alpha_j = -exp(rho_j) the weights go into the codes, ``exp(rho) * h``, and the logit is b
    minus the L1 distance of two codes: a true pseudo-metric.
    """

    def __init__(self, feature_shape):
        super().__init__()
        n_features = math.prod(feature_shape)
        self.log_weight = nn.Parameter(torch.full((n_features,), -math.log(n_features)))
        self.margin = nn.Parameter(torch.tensor(0.6))

    @property
    def bias(self):
        return GAIN * self.margin

    def codes(self, features):  # (B, ...) -> (B, D)
        return features.flatten(1) * (GAIN * self.log_weight.exp())

    def logits(self, codes_a, codes_b):  # (A, D), (B, D) -> (A, B)
        return self.bias - l1_distances(codes_a, codes_b)

    def pair_logits(self, codes_a, codes_b):  # (P, D), (P, D) -> (P,)
        return self.bias - (codes_a - codes_b).abs().sum(1)


class SignedL1(nn.Module):
    """The paper's head with alpha left free: more general, but no longer a metric.

    The positive and the negative weights each make one distance.
    """

    def __init__(self, feature_shape):
        super().__init__()
        n_features = math.prod(feature_shape)
        self.alpha = nn.Parameter(torch.full((n_features,), -GAIN / n_features))
        self.margin = nn.Parameter(torch.tensor(0.6))

    @property
    def bias(self):
        return GAIN * self.margin

    def codes(self, features):  # (B, ...) -> (B, D)
        return features.flatten(1)

    def logits(self, codes_a, codes_b):  # (A, D), (B, D) -> (A, B)
        signed = []
        for weight in (self.alpha.clamp(min=0), (-self.alpha).clamp(min=0)):
            weighted = codes_a * weight
            signed.append(
                l1_distances(weighted, weighted if codes_b is codes_a else codes_b * weight)
            )
        return self.bias + signed[0] - signed[1]

    def pair_logits(self, codes_a, codes_b):  # (P, D), (P, D) -> (P,)
        return self.bias + (codes_a - codes_b).abs() @ self.alpha


HEADS = {"weighted_l1": WeightedL1, "signed_l1": SignedL1}
