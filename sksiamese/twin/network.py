"""The twin network: scaling, one encoder for both twins, one head; and several of them as one."""

import torch
from torch import nn


class _Calibrated(nn.Module):
    """A trained twin whose logits are slope times the head's plus intercept."""

    calibration = (1.0, 0.0)

    def with_scaling(self, scaling):
        """The same trained twin, for images of another kind."""
        other = self._with_scaling(scaling)
        other.calibration = self.calibration
        return other

    def calibrated(self, slope, intercept):
        """The same trained twin with this slope and intercept."""
        other = self._with_scaling(self.scaling)
        other.calibration = (slope, intercept)
        return other


class TwinNetwork(_Calibrated):
    """p(x1, x2 same) = sigmoid(head(encoder(x1), encoder(x2))) (Koch et al. 2015, section 3.1).

    Both twins are the same encoder, so an image is encoded once however many pairs it is in.
    """

    def __init__(self, scaling, encoder, head):
        super().__init__()
        self.scaling = scaling
        self.encoder = encoder
        self.encoder.to(memory_format=self.memory_format)
        self.head = head
        self._folded = ()

    n_members = 1

    @property
    def memory_format(self):
        """That of our encoders; others may hold a `view`, which takes contiguous tensors only."""
        return getattr(self.encoder, "memory_format", torch.contiguous_format)

    def codes(self, images):
        """Scaled images (B, C, H, W) or rows (B, D) -> codes (B, ...)."""
        if images.ndim == 4:
            images = images.contiguous(memory_format=self.memory_format)
        encoder = self.encoder if self.training or not self._folded else self._folded[0]
        return self.head.codes(encoder(images))

    def fold(self):
        """End training; from now on encode by the encoder's folded copy, where it makes one.

        Call it again whenever weights change. The copy is kept in a tuple so that its weights do
        not count as parameters, and made anew where the network is unpickled.
        """
        self.eval().requires_grad_(False)
        if hasattr(self.encoder, "folded"):
            self._folded = (self.encoder.folded(),)
        return self

    def _with_scaling(self, scaling):
        other = TwinNetwork(scaling, self.encoder, self.head).eval()
        other._folded = self._folded
        return other

    def __getstate__(self):
        return {**self.__dict__, "_folded": bool(self._folded)}

    def __setstate__(self, state):
        super().__setstate__({**state, "_folded": ()})
        if state["_folded"]:
            self._folded = (self.encoder.folded(),)

    def forward(self, images, i=None, j=None):
        """Twin logits of all pairs of a batch (B, B), or of the pairs (i, j), (P,)."""
        codes = self.codes(images)
        if i is None:
            return self.head.logits(codes, codes)
        # index_select: the backward of codes[i] is not deterministic on several threads.
        return self.head.pair_logits(codes.index_select(0, i), codes.index_select(0, j))


class TwinEnsemble(_Calibrated):
    """Trained twins as one, whose logit is the mean of theirs.

    It encodes and compares as a `TwinNetwork` does; an image's code, (n_members, ...), has those
    of all members.
    """

    def __init__(self, members):
        super().__init__()
        self.members = nn.ModuleList(members)
        self.head = MeanHead(member.head for member in self.members)
        self.eval()

    @property
    def n_members(self):
        return len(self.members)

    @property
    def scaling(self):
        return self.members[0].scaling

    def codes(self, images):
        """Scaled images (B, C, H, W) or rows (B, D) -> codes (B, n_members, ...)."""
        return torch.stack([member.codes(images) for member in self.members], 1)

    def _with_scaling(self, scaling):
        return TwinEnsemble(member.with_scaling(scaling) for member in self.members)


class MeanHead:
    """What `inference` and the support ask of a head, answered by the mean over the members'."""

    def __init__(self, heads):
        self.heads = tuple(heads)

    @property
    def bias(self):
        return sum(head.bias for head in self.heads) / len(self.heads)

    def logits(self, codes_a, codes_b):  # (A, n_members, ...), (B, n_members, ...) -> (A, B)
        return self._mean("logits", codes_a, codes_b)

    def pair_logits(self, codes_a, codes_b):  # (P, n_members, ...) twice -> (P,)
        return self._mean("pair_logits", codes_a, codes_b)

    def _mean(self, method, codes_a, codes_b):
        parts = zip(self.heads, codes_a.unbind(1), codes_b.unbind(1), strict=True)
        return sum(getattr(head, method)(a, b) for head, a, b in parts) / len(self.heads)
