"""Losses over the network's logits.

Targets say of each pair 1 (same class), 0 (different) or -1 (not a pair of the task: an image with
itself, or two groups). Both losses take (B, B) logits of a batch; the first also takes (P,) pairs.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LossFunction = Callable[[Tensor, Tensor], Tensor]


def verification_loss(logits: Tensor, same: Tensor) -> Tensor:
    """Binary cross-entropy on same/different (section 3.2), each side with half the weight.

    The paper draws as many same pairs as different ones. Most pairs inside a batch are different,
    so the means of the two sides are averaged. The L2 term is the optimizer's weight decay.
    """
    means = []
    for side in (1, 0):
        chosen = logits[same == side]
        if len(chosen):
            means.append(F.softplus(chosen if side == 0 else -chosen).mean())
    return torch.stack(means).sum() / len(means)


def episodic_loss(logits: Tensor, same: Tensor) -> Tensor:
    """Cross-entropy of the one-shot task itself.

    Every image of the batch is a query once for each partner of its class, against that partner
    and all images of other classes in its group: -log softmax of a positive s against negatives
    n_k is softplus(logsumexp_k n_k - s).
    """
    negatives = logits.masked_fill(same != 0, float("-inf")).logsumexp(1, keepdim=True)  # (B, 1)
    has_negatives = (same == 0).any(1, keepdim=True)  # a group of one class has none
    margins = (negatives - logits)[(same == 1) & has_negatives]
    return F.softplus(margins).sum() / max(len(margins), 1)


def both_losses(logits: Tensor, same: Tensor) -> Tensor:
    """Return the episodic loss plus half the verification loss."""
    return episodic_loss(logits, same) + verification_loss(logits, same) / 2


LOSSES: dict[str, LossFunction] = {
    "verification": verification_loss,
    "episodic": episodic_loss,
    "both": both_losses,
}


class TwinLoss(nn.Module):
    """One of `LOSSES` by name, or a callable ``(logits, same) -> loss``.

    Explicit pairs (P,) always take the verification loss, unless the loss is a callable.
    """

    def __init__(self, loss: str | LossFunction) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, logits: Tensor, same: Tensor) -> Tensor:
        """Return the loss, a tensor of one number."""
        if callable(self.loss):
            loss = self.loss(logits, same)
            if not isinstance(loss, Tensor) or loss.ndim or not loss.requires_grad:
                raise TypeError(
                    f"loss returned {loss!r}; expected a tensor of one number that depends on the "
                    "logits."
                )
            return loss
        name = "verification" if logits.ndim == 1 else self.loss
        return LOSSES[name](logits, same)
