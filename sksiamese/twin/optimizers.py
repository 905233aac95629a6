"""Optimizers: how a step changes the weights."""

import torch


class Muon(torch.optim.AdamW):
    """AdamW for vectors and scalars; orthogonal steps for matrices and convolutions' kernels.

    A matrix's step is the orthogonal one nearest to its momentum, so that all directions of the
    layer learn at one pace (Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural
    networks"). It is scaled so that the root mean square of its entries is the learning rate
    (after Liu et al. 2025, "Muon is scalable for LLM training"): about what a step of Adam has, so
    that one rate serves all.

    Parameters
    ----------
    params, **adamw
        As in ``torch.optim.AdamW``.
    momentum : float, default=0.95
        Of matrices, in Nesterov's manner.
    """

    def __init__(self, params, *, momentum=0.95, **adamw):
        super().__init__(params, **adamw)
        for group in self.param_groups:
            group.setdefault("momentum", momentum)

    @torch.no_grad()
    def step(self, closure=None):
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

    def _step_of_matrix(self, weight, lr, momentum, weight_decay, **_):
        state = self.state[weight]
        if not state:
            # AdamW looks for a step in every state that it loads.
            state.update(mean=torch.zeros_like(weight), step=torch.zeros(()))
        mean = state["mean"].mul_(momentum).add_(weight.grad)
        ahead = weight.grad.add(mean, alpha=momentum).flatten(1)
        step = orthogonalised(ahead).view(weight.shape) * max(ahead.shape) ** 0.5
        weight.mul_(1 - lr * weight_decay).sub_(step, alpha=lr)


def orthogonalised(matrix, n_steps=5):
    """About U V' of the matrix's singular value decomposition U S V', by Newton and Schulz.

    The quintic's coefficients (Jordan et al. 2024) bring every singular value that is not tiny to
    between 0.7 and 1.2 within five steps, and that is near enough.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / (wide.norm() + 1e-7)
    for _ in range(n_steps):
        square = wide @ wide.T
        wide = a * wide + (b * square + c * square @ square) @ wide
    return wide if matrix.shape[0] <= matrix.shape[1] else wide.T


OPTIMIZERS = {"adamw": torch.optim.AdamW, "muon": Muon}
