"""Optimizers: how a step changes the weights."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class Muon(torch.optim.AdamW):
    """AdamW for vectors and scalars; orthogonal steps for matrices and convolution kernels.

    A matrix's step is the orthogonal matrix nearest to its momentum, so that all directions of the
    layer learn at one pace (Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural
    networks"). It is scaled so that the root mean square of its entries is the learning rate
    (after Liu et al. 2025, "Muon is scalable for LLM training"). That is about the size of a step
    of Adam, so one rate serves all parameters.

    Parameters
    ----------
    params : iterable
        Parameters, or dicts that define parameter groups.
    momentum : float, default=0.95
        Nesterov momentum of matrices.
    **adamw
        As in ``torch.optim.AdamW``.
    """

    def __init__(self, params: Iterable[Any], *, momentum: float = 0.95, **adamw: Any) -> None:
        super().__init__(params, **adamw)
        for group in self.param_groups:
            group.setdefault("momentum", momentum)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Perform one optimization step."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.ndim > 1 and weight.grad is not None:
                    self._step_of_matrix(weight, **group)
                    weight.grad = None  # AdamW leaves it alone
        super().step()
        return loss

    def _step_of_matrix(
        self, weight: Tensor, lr: float, momentum: float, weight_decay: float, **_: Any
    ) -> None:
        state = self.state[weight]
        if not state:
            # AdamW looks for a step in every state that it loads.
            state.update(mean=torch.zeros_like(weight), step=torch.zeros(()))
        assert weight.grad is not None
        mean = state["mean"].mul_(momentum).add_(weight.grad)
        ahead = weight.grad.add(mean, alpha=momentum).flatten(1)
        step = orthogonalised(ahead).view(weight.shape) * max(ahead.shape) ** 0.5
        weight.mul_(1 - lr * weight_decay).sub_(step, alpha=lr)


def orthogonalised(matrix: Tensor, n_steps: int = 5) -> Tensor:
    """Return about U V' of the matrix's singular value decomposition U S V' (Newton-Schulz).

    The quintic's coefficients (Jordan et al. 2024) bring every singular value that is not tiny to
    between 0.7 and 1.2 within five steps, which is near enough.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / (wide.norm() + 1e-7)
    gram = wide @ wide.T  # each step multiplies by a polynomial of it, so it is all that is needed
    product: Tensor | None = None
    for step in range(n_steps):
        factor = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        factor.diagonal().add_(a)
        product = factor if product is None else factor @ product
        if step < n_steps - 1:
            gram = factor @ gram @ factor
    assert product is not None
    wide = product @ wide
    return wide if matrix.shape[0] <= matrix.shape[1] else wide.T


OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,
    "sgd": torch.optim.SGD,
    "muon": Muon,
}
