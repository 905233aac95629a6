"""Heads: how two images' features are compared.

A head turns features into *codes*, once an image, and compares codes. Any head has

- ``codes(features)``: (B, ...) -> (B, ...), whatever shape the comparison needs;
- ``logits(codes_a, codes_b)``: (A, ...), (B, ...) -> (A, B), every pair;
- ``pair_logits(codes_a, codes_b)``: (P, ...), (P, ...) -> (P,), row by row;
- ``bias``: the logit of a perfect match, so that ``bias - logits`` is a dissimilarity;
- ``max_cells``: the side of the feature map it asks of our convolutional encoder, at most.

All are symmetric in the two twins by construction.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

# Adam moves every parameter at one pace. Logits are GAIN times (margin - mean distance), so that
# the bias and the spread of the logits arrive within few steps.
GAIN = 20.0
TILE = 64
BLOCK = 2**24  # numbers in a temporary


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

    max_cells = 3

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
    """The paper's head, alpha free and initialised as it says: more general, but no metric.

    The positive and the negative weights each make one distance.

    Parameters
    ----------
    feature_shape : tuple of ints
    alpha_std : float, default=0.2
        Standard deviation of the initial alpha (section 3.2).
    """

    max_cells = 3

    def __init__(self, feature_shape, alpha_std=0.2):
        super().__init__()
        self.alpha_std = alpha_std
        self.alpha = nn.Parameter(torch.empty(math.prod(feature_shape)))
        self.bias = nn.Parameter(torch.empty(()))

    def initialise(self, generator):
        nn.init.normal_(self.alpha, 0.0, self.alpha_std, generator=generator)
        nn.init.normal_(self.bias, 0.5, 0.01, generator=generator)

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


class Aligned(nn.Module):
    r"""Feature maps compared cell by cell, each cell with its best match nearby.

    .. math:: d(a, b) = \tfrac12 \sum_i w_i(a)\, m_i(a, b) + \tfrac12 \sum_j w_j(b)\, m_j(b, a)

    A cell's mismatch :math:`m_i` is a soft minimum of 1 - cosine over the cells of the other map
    at most `window` rows and columns away, so that a stroke may lie a little elsewhere; saliency
    :math:`w`, a softmax of the map's own cells, says which of them count. The logit is
    GAIN (margin - d). It is symmetric, and an image's code, unit vectors and saliency, does not
    depend on what it is compared with. Relatives: DN4 (Li et al. 2019), CrossTransformers
    (Doersch et al. 2020), feature map reconstruction (Wertheimer et al. 2021), whose cells look
    for their matches in the whole map.

    Parameters
    ----------
    feature_shape : tuple of 3 ints
        (C, h, w).
    n_channels : int, default=64
        Of the cells' vectors, a linear projection of the C channels.
    window : int, default=1
    """

    max_cells = 5

    def __init__(self, feature_shape, n_channels=64, window=1):
        super().__init__()
        if len(feature_shape) != 3:
            raise ValueError(
                f"head='aligned' compares feature maps (channels, height, width), and the encoder "
                f"gives {tuple(feature_shape)}: use head='weighted_l1'."
            )
        if window < 0 or n_channels < 1:
            raise ValueError(
                f"window={window}, n_channels={n_channels}; expected at least 0 and at least 1."
            )
        channels, height, width = feature_shape
        self.projection = nn.Parameter(torch.empty(channels, n_channels))
        self.saliency = nn.Parameter(torch.zeros(channels))
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(10.0)))
        self.margin = nn.Parameter(torch.tensor(0.3))
        row, column = torch.arange(height * width) // width, torch.arange(height * width) % width
        near = ((row[:, None] - row).abs() <= window) & (
            (column[:, None] - column).abs() <= window
        )
        i, j = near.nonzero(as_tuple=True)
        # Which of the near pairs (i, j) are cell i's, and which are cell j's: rows are means.
        cells = torch.arange(height * width)[:, None]
        members = torch.cat([cells == i, cells == j]).float()
        self.register_buffer("i", i, persistent=False)
        self.register_buffer("j", j, persistent=False)
        self.register_buffer("members", members / members.sum(1, keepdim=True), persistent=False)

    def initialise(self, generator):
        nn.init.normal_(self.projection, 0.0, len(self.projection) ** -0.5, generator=generator)

    @property
    def bias(self):
        return GAIN * self.margin

    def codes(self, features):  # (B, C, h, w) -> (B, h * w, n_channels + 1)
        cells = features.flatten(2).transpose(1, 2)
        vectors = F.normalize(cells @ self.projection, dim=2, eps=1e-6)
        return torch.cat([vectors, (cells @ self.saliency).softmax(1)[..., None]], 2)

    def logits(self, codes_a, codes_b):  # (A, h * w, D), (B, h * w, D) -> (A, B)
        n_b = max(1, BLOCK // (len(self.i) * len(codes_a)))
        if len(codes_b) > n_b:
            return torch.cat([self.logits(codes_a, part) for part in codes_b.split(n_b)], 1)
        a, b = codes_a[..., :-1].movedim(0, 1), codes_b[..., :-1].movedim(0, 2)
        cosine = a.index_select(0, self.i) @ b.index_select(0, self.j)  # (near pairs, A, B)
        of_a, of_b = self._mismatches(cosine.flatten(1)).view(2, -1, len(codes_a), len(codes_b))
        weight_a, weight_b = codes_a[..., -1].T[:, :, None], codes_b[..., -1].T[:, None, :]
        return self.bias - GAIN / 2 * (of_a * weight_a + of_b * weight_b).sum(0)

    def _mismatches(self, cosine):  # (near pairs, P) -> (2 * h * w, P), of a's cells and b's
        sharpness = self.log_sharpness.exp()
        return (self.members @ ((cosine - 1) * sharpness).exp()).log() / -sharpness

    def pair_logits(self, codes_a, codes_b):  # (P, h * w, D), (P, h * w, D) -> (P,)
        near = codes_a.index_select(1, self.i), codes_b.index_select(1, self.j)
        cosine = (near[0][..., :-1] * near[1][..., :-1]).sum(2)
        of_a, of_b = self._mismatches(cosine.T).view(2, -1, len(codes_a))
        weighted = of_a.T * codes_a[..., -1] + of_b.T * codes_b[..., -1]
        return self.bias - GAIN / 2 * weighted.sum(1)


HEADS = {"weighted_l1": WeightedL1, "signed_l1": SignedL1, "aligned": Aligned}


def build_head(name, feature_shape, generator, **params):
    """Build one of `HEADS` with weights drawn from `generator` alone."""
    head = HEADS[name](feature_shape, **params)
    if hasattr(head, "initialise"):
        head.initialise(generator)
    return head
