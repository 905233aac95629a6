"""Heads: how two images' features are compared.

A head turns features into *embeddings*, once an image, and compares embeddings: see `Head`. All
heads are symmetric in the two twins by construction.
"""

import math
from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Adam moves every parameter at one pace. Logits are GAIN times (margin - mean distance), so that
# the bias and the spread of the logits are reached within few steps.
GAIN = 20.0
MARGIN = 0.6  # mean distance at which an L1 head starts to say different
TILE = 64
ROWS = 32  # that `Aligned` compares at once
BLOCK = 2**20  # numbers in a temporary: it stays in the cache
LARGEST = 2**24  # numbers that say which cells of `Aligned` are near each other
TINY = 1e-6  # length of an embedding that has no direction
MOST_WHITENED = 8192  # features
# So much larger a projection turns so much slower: it keeps what a pretrained network knows.
SLOW = 8.0


class Keys(NamedTuple):
    """Vectors that are near each other where logits are high.

    Attributes
    ----------
    vectors : Tensor of shape (B, D)
    gain : float, default=1.0
        Logit that a dot product higher by 1 is worth. Unused with `euclidean`.
    euclidean : bool, default=False
        Whether vectors are near by their Euclidean distance; otherwise by their dot product.
    """

    vectors: Tensor
    gain: float = 1.0
    euclidean: bool = False


class Comparison(Protocol):
    """What compares embeddings."""

    @property
    def bias(self) -> Tensor:
        """Logit of a perfect match, so that ``bias - logits`` is a dissimilarity."""
        ...

    def logits(self, a: Tensor, b: Tensor) -> Tensor:
        """Compare all pairs: (A, ...), (B, ...) -> (A, B)."""
        ...

    def pair_logits(self, a: Tensor, b: Tensor) -> Tensor:
        """Compare row by row: (P, ...), (P, ...) -> (P,)."""
        ...

    def keys(self, embeddings: Tensor) -> Keys | None:
        """Return vectors (B, D), one for each embedding, near in about the order of logits.

        None if there are no such vectors.
        """
        ...


class Head(Comparison, Protocol):
    """A trainable module that makes embeddings of features and compares them.

    Attributes
    ----------
    max_cells : int
        Largest side of the feature map that it asks of `ConvEncoder`.
    """

    max_cells: int

    @property
    def embedding_shape(self) -> tuple[int, ...]:
        """Shape of one image's embedding."""
        ...

    def embed(self, features: Tensor) -> Tensor:
        """Turn features (B, ...) into embeddings (B, ...) of the shape the comparison needs."""
        ...


def l1_distances(a: Tensor, b: Tensor) -> Tensor:
    """L1 distance of every row of a to every row of b, without a (A, B, D) temporary.

    (A, D), (B, D) -> (A, B). On the CPU ``pdist`` takes a seventh of the time of ``cdist(p=1)`` a
    pair, so that it is faster even where, in tiles, it also compares the rows of each side.
    """
    if torch.compiler.is_compiling():  # the formula itself: exported for any number of rows
        return (a[:, None] - b).abs().sum(2)
    if a is b:
        return _distances_within(a)
    if a.device.type != "cpu" or min(len(a), len(b)) < TILE // 4:
        return torch.cdist(a, b, p=1)
    rows = []
    for x in a.split(TILE):
        tiles = [_distances_within(torch.cat([x, y]))[: len(x), len(x) :] for y in b.split(TILE)]
        rows.append(torch.cat(tiles, 1))
    return torch.cat(rows)


def _distances_within(x: Tensor) -> Tensor:  # (N, D) -> (N, N)
    i, j = torch.triu_indices(len(x), len(x), 1, device=x.device)
    upper = x.new_zeros(len(x), len(x)).index_put((i, j), torch.pdist(x, p=1))
    return upper + upper.T


class WeightedL1(nn.Module):
    r"""The paper's head with every alpha_j <= 0 (section 3.1).

    .. math:: \operatorname{logit} p(x_1 \circ x_2) = b + \sum_j \alpha_j |h_{1j} - h_{2j}|

    With alpha_j = -exp(rho_j), an embedding is ``exp(rho) * h`` and the logit is b minus the L1
    distance of two embeddings: a pseudo-metric.

    Parameters
    ----------
    feature_shape : tuple of ints
    unit : bool, default=False
        Bring each image's features to a mean magnitude of 1 first, as suits those of a pretrained
        network.
    """

    max_cells = 3

    def __init__(self, feature_shape: tuple[int, ...], unit: bool = False) -> None:
        super().__init__()
        self.unit = unit
        n_features = math.prod(feature_shape)
        self.embedding_shape = (n_features,)
        self.log_weight = nn.Parameter(torch.full((n_features,), -math.log(n_features)))
        self.margin = nn.Parameter(torch.tensor(MARGIN))

    @property
    def bias(self) -> Tensor:
        """Logit of a perfect match."""
        return GAIN * self.margin

    def embed(self, features: Tensor) -> Tensor:
        """Weigh the features: (B, ...) -> (B, D)."""
        return _flat(features, self.unit) * (GAIN * self.log_weight.exp())

    def logits(self, a: Tensor, b: Tensor) -> Tensor:
        """Compare all pairs: (A, D), (B, D) -> (A, B)."""
        return self.bias - l1_distances(a, b)

    def pair_logits(self, a: Tensor, b: Tensor) -> Tensor:
        """Compare row by row: (P, D), (P, D) -> (P,)."""
        return self.bias - (a - b).abs().sum(1)

    def keys(self, embeddings: Tensor) -> Keys:
        """Return the embeddings: few are near by one distance and far by the other."""
        return Keys(embeddings, euclidean=True)


class SignedL1(nn.Module):
    """The paper's head, alpha free and initialised as it says: more general, but not a metric.

    The positive and the negative weights each make one distance.

    Parameters
    ----------
    feature_shape : tuple of ints
    alpha_std : float, default=0.2
        Standard deviation of the initial alpha (section 3.2).
    alpha_mean : float, default=0.0
        Mean of the initial alpha. Below zero, the head starts as a distance.
    unit : bool, default=False
        As in `WeightedL1`. Alpha is then in units of GAIN / D, and starts at -1, so that training
        leaves the plain distance slowly; the arguments above are not used.
    """

    max_cells = 3

    def __init__(
        self,
        feature_shape: tuple[int, ...],
        alpha_std: float = 0.2,
        alpha_mean: float = 0.0,
        unit: bool = False,
    ) -> None:
        super().__init__()
        self.unit = unit
        self.step = GAIN / math.prod(feature_shape) if unit else 1.0
        self.embedding_shape = (math.prod(feature_shape),)
        self.alpha_mean = alpha_mean
        self.alpha_std = alpha_std
        self.alpha = nn.Parameter(torch.empty(math.prod(feature_shape)))
        self.bias = nn.Parameter(torch.empty(()))

    def initialise(self, generator: torch.Generator) -> None:
        """Draw alpha from N(alpha_mean, alpha_std), the bias from N(0.5, 0.01) (section 3.2)."""
        if self.unit:
            nn.init.constant_(self.alpha, -1.0)
            nn.init.constant_(self.bias, GAIN * MARGIN)
            return
        nn.init.normal_(self.alpha, self.alpha_mean, self.alpha_std, generator=generator)
        nn.init.normal_(self.bias, 0.5, 0.01, generator=generator)

    def embed(self, features: Tensor) -> Tensor:
        """Flatten the features: (B, ...) -> (B, D)."""
        return _flat(features, self.unit)

    def logits(self, a: Tensor, b: Tensor) -> Tensor:
        """Compare all pairs: (A, D), (B, D) -> (A, B)."""
        signed, alpha = [], self.alpha * self.step
        for weight in (alpha.clamp(min=0), (-alpha).clamp(min=0)):
            weighted = a * weight
            signed.append(l1_distances(weighted, weighted if b is a else b * weight))
        return self.bias + signed[0] - signed[1]

    def pair_logits(self, a: Tensor, b: Tensor) -> Tensor:
        """Compare row by row: (P, D), (P, D) -> (P,)."""
        return self.bias + (a - b).abs() @ (self.alpha * self.step)

    def keys(self, embeddings: Tensor) -> None:
        """Return None: a difference of distances has no such vectors."""
        return None


class Cosine(nn.Module):
    r"""Cosine of weighted features.

    .. math:: \operatorname{logit} p(x_1 \circ x_2) = g \, (\cos(w h_1, w h_2) - m)

    The weights w_j = exp(rho_j), the gain g and the margin m are learned. The cosine, unlike a
    distance, does not depend on how strong an image's features are: it suits features of a
    pretrained network.

    Parameters
    ----------
    feature_shape : tuple of ints
    """

    max_cells = 3

    def __init__(self, feature_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.log_weight = nn.Parameter(torch.zeros(math.prod(feature_shape)))
        self.log_gain = nn.Parameter(torch.zeros(()))
        self.margin = nn.Parameter(torch.tensor(0.5))

    @property
    def embedding_shape(self) -> tuple[int, ...]:
        """Shape of one sample's embedding."""
        return tuple(self.log_weight.shape)

    @property
    def gain(self) -> Tensor:
        """Logit that a cosine higher by 1 is worth."""
        return GAIN * self.log_gain.exp()

    @property
    def bias(self) -> Tensor:
        """Logit of a perfect match."""
        return self.gain * (1 - self.margin)

    def embed(self, features: Tensor) -> Tensor:
        """Weigh the features and bring them to length 1: (B, ...) -> (B, D)."""
        return F.normalize(features.flatten(1) * self.log_weight.exp(), dim=1, eps=TINY)

    def logits(self, a: Tensor, b: Tensor) -> Tensor:
        """Compare all pairs: (A, D), (B, D) -> (A, B)."""
        a, b = (F.normalize(x, dim=1, eps=TINY) for x in (a, b))  # means of several are shorter
        return self.gain * (a @ b.T - self.margin)

    def pair_logits(self, a: Tensor, b: Tensor) -> Tensor:
        """Compare row by row: (P, D), (P, D) -> (P,)."""
        return self.gain * (F.cosine_similarity(a, b, dim=1, eps=TINY) - self.margin)

    def keys(self, embeddings: Tensor) -> Keys:
        """Return the embeddings, brought to length 1 if they are shorter."""
        lengths = embeddings.norm(dim=1)
        if not ((lengths - 1).abs() < 1e-3).all():
            embeddings = F.normalize(embeddings, dim=1, eps=TINY)
        return Keys(embeddings, self.gain.item())


class Whitened(Cosine):
    r"""Cosine of features whose scatter within training classes is made white.

    .. math:: h \mapsto (S + \tfrac{\operatorname{tr} S}{D} I)^{-1/2} (h - \bar h)

    S is the scatter of the training classes about their means, D the number of features and
    :math:`\bar h` the mean of the training classes: differences that occur inside a class count
    little. It is known in closed form, see `whitening`, once the encoder is trained. Before,
    while an encoder is trained, this is a `Cosine`. A head that was learned before whitens what
    it made of features then, so that a few classes change it a little. Relatives are linear
    discriminant analysis and within-class covariance normalisation [1]_; without S, it is
    SimpleShot [2]_.

    A feature map is averaged to so few cells that there are at most ``MOST_WHITENED`` features.

    Parameters
    ----------
    feature_shape : tuple of ints
    n_components : int or None, default=None
        Number of whitened features to keep, those directions in which samples of the training
        classes differ most. None: all.

    References
    ----------
    .. [1] A. O. Hatch, A. Stolcke, "Generalized linear kernels for one-versus-all classification:
       application to speaker recognition", ICASSP 2006.
    .. [2] Y. Wang et al., "SimpleShot: revisiting nearest-neighbor classification for few-shot
       learning", arXiv:1911.04623, 2019.
    """

    def __init__(self, feature_shape: tuple[int, ...], n_components: int | None = None) -> None:
        known = isinstance(n_components, Integral) and not isinstance(n_components, bool)
        if n_components is not None and not (known and n_components >= 1):
            raise ValueError(f"n_components={n_components!r}; expected an integer >= 1, or None.")
        channels, *sides = feature_shape
        self.sides = tuple(sides)
        while channels * math.prod(self.sides) > MOST_WHITENED and max(self.sides, default=1) > 1:
            most = max(self.sides) - 1
            self.sides = tuple(min(side, most) for side in self.sides)
        n_features = channels * math.prod(self.sides)
        if n_features > MOST_WHITENED:
            raise ValueError(
                f"head='whitened' takes at most {MOST_WHITENED} features, and the encoder "
                f"returns {n_features}: use head='cosine', or an encoder that returns fewer."
            )
        super().__init__((n_features,))
        self.mean: Tensor
        self.projection: Tensor
        self.register_buffer("mean", torch.zeros(n_features))
        self.n_components = min(n_components or n_features, n_features)
        # Not torch.eye, which imports sympy, for half a second, on the meta device.
        identity = torch.zeros(n_features, self.n_components).fill_diagonal_(1)
        self.register_buffer("projection", identity)

    @property
    def embedding_shape(self) -> tuple[int, ...]:
        """Shape of one sample's embedding."""
        return (self.projection.shape[1],)

    def initialise(self, generator: torch.Generator) -> None:
        """Keep all features until it is known which to keep."""
        self.projection = torch.eye(len(self.mean))

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *args: Any) -> None:
        known = state.get(f"{prefix}projection")
        if known is not None and known.shape == (len(self.mean), self.n_components):
            self.projection = self.projection.new_empty(known.shape)
        super()._load_from_state_dict(state, prefix, *args)

    def pool(self, features: Tensor) -> Tensor:
        """Average the cells of a map, if there are too many: (B, ...) -> (B, D)."""
        if features.ndim == 4 and tuple(features.shape[2:]) != self.sides:
            height, width = self.sides
            features = F.adaptive_avg_pool2d(features, (height, width))
        return features.flatten(1)

    @property
    def whole_projection(self) -> Tensor:
        """The projection with the weights of the features: (D, `n_components`)."""
        return (self.log_weight.exp()[:, None] * self.projection).detach()

    def embed(self, features: Tensor) -> Tensor:
        """Whiten the features and bring them to length 1: (B, ...) -> (B, D)."""
        weighted = (self.pool(features) - self.mean) * self.log_weight.exp()
        return F.normalize(weighted @ self.projection, dim=1, eps=TINY)


class Aligned(nn.Module):
    r"""Feature maps compared cell by cell, each cell with its best match nearby.

    .. math:: d(a, b) = \tfrac12 \sum_i w_i(a)\, m_i(a, b) + \tfrac12 \sum_j w_j(b)\, m_j(b, a)

    A cell's mismatch :math:`m_i` is a soft minimum of 1 - cosine over the cells of the other map
    at most `window` rows and columns away, so that a stroke may lie a little elsewhere; saliency
    :math:`w`, a softmax over the map's own cells, weighs the cells. The logit is
    GAIN (margin - d).
    An image's embedding, unit vectors and saliency, does not depend on what it is compared with.
    Relatives: DN4 (Li et al. 2019), CrossTransformers (Doersch et al. 2020), feature map
    reconstruction (Wertheimer et al. 2021), whose cells search the whole map for their matches.

    Parameters
    ----------
    feature_shape : tuple of 3 ints
        (C, h, w).
    n_channels : int, default=64
        Length of the cells' vectors, a linear projection of the C channels.
    window : int, default=1
        Rows and columns that a cell searches to each side.
    unit : bool, default=False
        Bring each image's cells to a mean length of 1 first, and start from a projection that
        keeps their cosines and learns slowly, as suits features of a pretrained network.
    """

    max_cells = 5

    def __init__(
        self,
        feature_shape: tuple[int, ...],
        n_channels: int = 64,
        window: int = 1,
        unit: bool = False,
    ) -> None:
        super().__init__()
        self.unit = unit
        if len(feature_shape) != 3:
            raise ValueError(
                "head='aligned' compares feature maps (channels, height, width), but the encoder "
                f"returns features of shape {tuple(feature_shape)}: use head='whitened'."
            )
        if window % 1 != 0 or window < 0 or n_channels < 1:
            raise ValueError(
                f"window={window!r}, n_channels={n_channels!r}; expected integers, window >= 0 "
                "and n_channels >= 1."
            )
        channels, height, width = feature_shape
        side = 2 * int(window) + 1
        n_near = min(height, side) * min(width, side)
        if 2 * (height * width) ** 2 * n_near > LARGEST:
            raise ValueError(
                f"window={window} of a map of {height}x{width} cells compares "
                f"{height * width * n_near} pairs of cells, which needs too much memory: use "
                "smaller max_cells in encoder_params, or a smaller window."
            )
        self.map_shape = (height, width)
        self.embedding_shape = (height * width, n_channels + 1)
        self.projection = nn.Parameter(torch.empty(channels, n_channels))
        self.saliency = nn.Parameter(torch.zeros(channels))
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(10.0)))
        self.margin = nn.Parameter(torch.tensor(0.3))
        # On the CPU also where parameters are on the meta device, for they depend on no weights.
        cells = torch.arange(height * width, device="cpu")
        row, column = cells // width, cells % width
        near = ((row[:, None] - row).abs() <= window) & (
            (column[:, None] - column).abs() <= window
        )
        # The cells near each cell; cells at the border have fewer, and others that do not count.
        self.near: Tensor
        self.members: Tensor
        nearest = near.int().argsort(dim=1, descending=True, stable=True)[:, :n_near]
        self.register_buffer("near", nearest, persistent=False)
        # Which pairs of a cell i of a and one j of b belong to i, and which to j: rows are means.
        i, j = self.near.flatten(), cells.repeat_interleave(n_near)
        members = torch.cat([cells[:, None] == i, cells[:, None] == j]) & near[i, j]
        members = members / members.sum(1, keepdim=True)
        self.register_buffer("members", members, persistent=False)

    def initialise(self, generator: torch.Generator) -> None:
        """Draw the projection from N(0, 1 / sqrt(C)); with `unit`, the identity if it has room."""
        n_in, n_out = self.projection.shape
        if self.unit and n_out >= n_in:
            nn.init.eye_(self.projection)
        else:
            nn.init.normal_(self.projection, 0.0, n_in**-0.5, generator=generator)
        if self.unit:
            with torch.no_grad():
                self.projection.mul_(SLOW)

    @property
    def bias(self) -> Tensor:
        """Logit of a perfect match."""
        return GAIN * self.margin

    def embed(self, features: Tensor) -> Tensor:
        """Project the cells and append their saliency: (B, C, h, w) -> (B, h * w, D)."""
        cells = features.flatten(2).transpose(1, 2)  # (B, h * w, C)
        if self.unit:
            lengths = cells.norm(dim=2, keepdim=True)
            cells = cells / lengths.mean(1, keepdim=True).clamp(min=TINY)
        vectors = F.normalize(cells @ self.projection, dim=2, eps=1e-6)
        # A column: onnxruntime fuses a transpose and a product with a vector to wrong numbers.
        scores = (cells @ self.saliency[:, None]).squeeze(2)
        return torch.cat([vectors, scores.softmax(1)[..., None]], 2)

    def logits(self, a: Tensor, b: Tensor) -> Tensor:
        """Compare all pairs: (A, h * w, D), (B, h * w, D) -> (A, B)."""
        if torch.compiler.is_compiling():  # blocks depend on the number of rows
            return self._logits(a, b)
        rows = []
        for x in a.split(ROWS):
            n_b = max(1, BLOCK // (self.members.shape[1] * max(1, len(x))))
            rows.append(torch.cat([self._logits(x, y) for y in b.split(n_b)], 1))
        return torch.cat(rows)

    def _logits(self, a: Tensor, b: Tensor) -> Tensor:
        # Each cell of b with those of a near it: as matrices, which copy nothing of b.
        n_cells, n_near = self.near.shape
        n_a = a.shape[0]  # not len, of which an export would make a constant
        of_a = a[:, :, :-1].index_select(1, self.near.flatten()).unflatten(1, (n_cells, n_near))
        of_a = of_a.permute(1, 2, 0, 3).reshape(n_cells, n_near * n_a, a.shape[2] - 1)
        cosine = torch.bmm(of_a, b[:, :, :-1].permute(1, 2, 0))  # (h * w, near * A, B)
        miss = self._mismatches(cosine.unflatten(1, (n_near, n_a)).flatten(0, 1))
        miss_a, miss_b = miss.chunk(2)  # (h * w, A, B) each
        weight_a, weight_b = a[..., -1].T[:, :, None], b[..., -1].T[:, None, :]
        return self.bias - GAIN / 2 * ((miss_a * weight_a).sum(0) + (miss_b * weight_b).sum(0))

    def _mismatches(self, cosine: Tensor) -> Tensor:
        # (h * w * near, ...) -> (2 * h * w, ...), those of a's cells and then of b's
        sharpness = self.log_sharpness.exp()
        likeness = ((cosine - 1) * sharpness).exp()
        return torch.einsum("cn,n...->c...", self.members, likeness).log() / -sharpness

    def pair_logits(self, a: Tensor, b: Tensor) -> Tensor:
        """Compare row by row: (P, h * w, D), (P, h * w, D) -> (P,)."""
        if torch.compiler.is_compiling():
            return self._pair_logits(a, b)
        n = max(1, BLOCK // self.members.shape[1])
        parts = zip(a.split(n), b.split(n), strict=True)
        return torch.cat([self._pair_logits(x, y) for x, y in parts])

    def _pair_logits(self, a: Tensor, b: Tensor) -> Tensor:
        miss_a, miss_b = self._pair_mismatches(a, b)
        weighted = miss_a * a[..., -1] + miss_b * b[..., -1]
        return self.bias - GAIN / 2 * weighted.sum(1)

    def _pair_mismatches(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        # Those of a's cells and of b's: (P, h * w) each
        cosine = b[..., :-1] @ a[..., :-1].transpose(1, 2)  # (P, cells of b, cells of a)
        cosine = cosine.gather(2, self.near.expand(cosine.shape[0], -1, -1)).flatten(1)
        miss_a, miss_b = self._mismatches(cosine.T).chunk(2)
        return miss_a.T, miss_b.T

    def cell_logits(self, a: Tensor, b: Tensor) -> Tensor:
        r"""Return what each cell adds to the logits of pairs, row by row.

        A cell of saliency :math:`w_i` and mismatch :math:`m_i` adds GAIN / 2 :math:`w_i` (margin -
        :math:`m_i`): more than 0 where it speaks for the same class. The saliency of a map sums to
        1, so the sum over the cells of both images is the logit.

        Parameters
        ----------
        a, b : Tensor of shape (P, h * w, D)
            Embeddings of the pairs.

        Returns
        -------
        cell_logits : Tensor of shape (P, 2, h * w)
            Those of the cells of a, and those of b.
        """
        mismatches = torch.stack(self._pair_mismatches(a, b), 1)
        saliency = torch.stack([a[..., -1], b[..., -1]], 1)
        return GAIN / 2 * saliency * (self.margin - mismatches)

    def best_matches(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the cell of the other image that matches each cell best, row by row.

        Parameters
        ----------
        a, b : Tensor of shape (P, h * w, D)
            Embeddings of the pairs.

        Returns
        -------
        cells : Tensor of int64 of shape (P, 2, h * w)
            For each cell of a the number of a cell of b, and for each of b that of a cell of a.
        """
        cosine = a[..., :-1] @ b[..., :-1].transpose(1, 2)  # (P, cells of a, cells of b)
        near = self.near.expand(cosine.shape[0], -1, -1)
        counts = (self.members.sum(0) > 0).view(self.near.shape)
        best = []
        for own in (cosine, cosine.transpose(1, 2)):
            found = own.gather(2, near).masked_fill(~counts, -torch.inf).argmax(2, keepdim=True)
            best.append(near.gather(2, found).squeeze(2))
        return torch.stack(best, 1)

    def keys(self, embeddings: Tensor) -> Keys:
        """Return the vectors of all cells, side by side: (B, h * w, D) -> (B, h * w * (D - 1)).

        Dot products compare each cell with the one in its place.
        """
        return Keys(embeddings[..., :-1].flatten(1), GAIN / len(self.near))


class MeanHead:
    """Heads of several networks as one, whose logit is the mean of theirs.

    Embeddings are (n, n_members, ...), or rows (n, D) where those of the heads differ in shape.
    """

    def __init__(self, heads: Sequence[Head]) -> None:
        self.heads = tuple(heads)
        self.shapes = [head.embedding_shape for head in heads]
        self.alike = len({*self.shapes}) == 1

    @property
    def embedding_shape(self) -> tuple[int, ...]:
        """Shape of one image's embedding."""
        if self.alike:
            return (len(self.heads), *self.shapes[0])
        return (sum(map(math.prod, self.shapes)),)

    def joined(self, parts: Sequence[Tensor]) -> Tensor:
        """Return the embeddings that hold those of the heads, (n, ...) each."""
        if self.alike:
            return torch.stack(list(parts), 1)
        return torch.cat([part.flatten(1) for part in parts], 1)

    def parts(self, embeddings: Tensor) -> Sequence[Tensor]:
        """Return the embeddings of each head, (n, ...), that `joined` holds."""
        if self.alike:
            return embeddings.unbind(1)
        parts = embeddings.split([math.prod(shape) for shape in self.shapes], 1)
        return [part.unflatten(1, shape) for part, shape in zip(parts, self.shapes, strict=True)]

    @property
    def bias(self) -> Tensor:
        """Mean logit of a perfect match."""
        return torch.stack([head.bias for head in self.heads]).sum(0) / len(self.heads)

    def logits(self, a: Tensor, b: Tensor) -> Tensor:
        """Compare all pairs: (A, ...), (B, ...) -> (A, B)."""
        parts = zip(self.heads, self.parts(a), self.parts(b), strict=True)
        return torch.stack([head.logits(x, y) for head, x, y in parts]).sum(0) / len(self.heads)

    def pair_logits(self, a: Tensor, b: Tensor) -> Tensor:
        """Compare row by row: (P, ...), (P, ...) -> (P,)."""
        parts = zip(self.heads, self.parts(a), self.parts(b), strict=True)
        logits = [head.pair_logits(x, y) for head, x, y in parts]
        return torch.stack(logits).sum(0) / len(self.heads)

    def keys(self, embeddings: Tensor) -> Keys | None:
        """Return the keys of all heads, side by side.

        None if a head has none, or if some are near by distance and others by dot product.
        """
        parts = zip(self.heads, self.parts(embeddings), strict=True)
        found = [keys for head, part in parts if (keys := head.keys(part)) is not None]
        if len(found) < len(self.heads) or len({keys.euclidean for keys in found}) > 1:
            return None
        vectors = torch.cat([keys.vectors * math.sqrt(keys.gain) for keys in found], 1)
        return Keys(vectors, 1 / len(self.heads), found[0].euclidean)


def aligned_in(head: Head | MeanHead) -> tuple[Aligned, Callable[[Tensor], Tensor]] | None:
    """Return the head that compares cells, and a function that takes its part of embeddings.

    Of several such heads, the first. None if there is none.
    """
    if isinstance(head, Aligned):
        return head, lambda embeddings: embeddings
    if not isinstance(head, MeanHead):
        return None
    found = [(n, each) for n, each in enumerate(head.heads) if isinstance(each, Aligned)]
    if not found:
        return None
    number, aligned = found[0]
    return aligned, lambda embeddings: head.parts(embeddings)[number]


def _flat(features: Tensor, unit: bool) -> Tensor:
    """Return the features of each image as a row, of mean magnitude 1 with `unit`."""
    features = features.flatten(1)
    if unit:
        features = features / features.abs().mean(1, keepdim=True).clamp(min=TINY)
    return features


HEADS: dict[str, Any] = {
    "weighted_l1": WeightedL1,
    "signed_l1": SignedL1,
    "aligned": Aligned,
    "cosine": Cosine,
    "whitened": Whitened,
}


def build_head(
    name: str, feature_shape: tuple[int, ...], generator: torch.Generator | None, **params: Any
) -> Head:
    """Build one of `HEADS` with weights drawn from `generator` alone; on "meta" without one."""
    if generator is None:
        with torch.device("meta"):
            return HEADS[name](feature_shape, **params)
    head = HEADS[name](feature_shape, **params)
    if hasattr(head, "initialise"):
        head.initialise(generator)
    return head
