"""Muon: orthogonal steps for matrices, AdamW's for the rest."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sksiamese.twin.optimizers import OPTIMIZERS, Muon, orthogonalised


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**31 - 1))
def test_orthogonalised_brings_singular_values_near_one_and_keeps_vectors(rows, columns, seed):
    generator = torch.Generator().manual_seed(seed)
    u = torch.linalg.qr(torch.randn(rows, rows, generator=generator))[0]
    v = torch.linalg.qr(torch.randn(columns, columns, generator=generator))[0]
    n = min(rows, columns)
    values = 0.1 + torch.rand(n, generator=generator)
    matrix = u[:, :n] @ values.diag() @ v[:, :n].T
    found = u[:, :n].T @ orthogonalised(matrix) @ v[:, :n]
    off = found - found.diag().diag()
    assert off.abs().max() < 1e-3
    assert found.diag().min() > 0.6
    assert found.diag().max() < 1.3


def test_orthogonalised_keeps_a_zero_matrix():
    assert torch.equal(orthogonalised(torch.zeros(3, 5)), torch.zeros(3, 5))


def layer(shape=(6, 4, 3, 3)):
    torch.manual_seed(0)
    module = nn.Conv2d(shape[1], shape[0], shape[2])
    for p in module.parameters():
        p.grad = torch.randn_like(p)
    return module


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_muon_moves_a_matrix_by_the_learning_rate_whatever_its_gradient(scale):
    module = layer()
    before = module.weight.detach().clone()
    module.weight.grad *= scale
    Muon(module.parameters(), lr=0.01, weight_decay=0.0).step()
    moved = (module.weight.detach() - before).square().mean().sqrt()
    assert 0.6 * 0.01 < moved < 1.3 * 0.01


def test_muon_steps_vectors_as_adamw_does():
    module, other = layer(), layer()
    muon = Muon(module.parameters(), lr=0.01, weight_decay=0.1)
    adamw = torch.optim.AdamW(other.parameters(), lr=0.01, weight_decay=0.1)
    for seed in range(3):
        for m in (module, other):
            torch.manual_seed(seed)
            for p in m.parameters():
                p.grad = torch.randn_like(p)
        muon.step()
        adamw.step()
    assert torch.equal(module.bias, other.bias)
    assert not torch.allclose(module.weight, other.weight, atol=1e-3)


def test_muon_decouples_weight_decay():
    module, free = layer(), layer()
    before = module.weight.detach().clone()
    Muon(module.parameters(), lr=0.01, weight_decay=0.5).step()
    Muon(free.parameters(), lr=0.01, weight_decay=0.0).step()
    torch.testing.assert_close(module.weight, free.weight - 0.005 * before)


def test_muon_takes_a_momentum_of_each_group():
    """With the group's own momentum a second step of another gradient differs."""

    def after_two_steps(momentum):
        module = layer()
        groups = [{"params": [module.weight], **momentum}, {"params": [module.bias]}]
        optimizer = Muon(groups, momentum=0.9, weight_decay=0.0)
        optimizer.step()
        torch.manual_seed(1)
        module.weight.grad = torch.randn_like(module.weight)
        optimizer.step()
        return module.weight.detach()

    assert torch.equal(after_two_steps({}), after_two_steps({"momentum": 0.9}))
    assert not torch.allclose(after_two_steps({}), after_two_steps({"momentum": 0.0}), atol=1e-4)


def test_muon_leaves_a_weight_without_gradient():
    module = layer()
    module.weight.grad = None
    before = module.weight.detach().clone()
    Muon(module.parameters(), lr=0.01, weight_decay=0.1).step()
    assert torch.equal(module.weight.detach(), before)


def test_muon_step_calls_a_closure_once_with_gradients():
    module, calls = layer(), []

    def closure():
        calls.append(torch.is_grad_enabled())
        return torch.tensor(3.0)

    assert Muon(module.parameters()).step(closure) == 3.0
    assert calls == [True]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_continue_from_a_saved_state(name):
    module = layer()
    optimizer = OPTIMIZERS[name](module.parameters(), lr=0.01)
    optimizer.step()
    copied = copy.deepcopy(module)
    resumed = OPTIMIZERS[name](copied.parameters(), lr=0.5)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for m, o in ((module, optimizer), (copied, resumed)):
        torch.manual_seed(1)
        for p in m.parameters():
            p.grad = torch.randn_like(p)
        o.step()
    assert torch.equal(module.weight, copied.weight)
    assert torch.equal(module.bias, copied.bias)
