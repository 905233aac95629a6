"""The state of a training: what callbacks and modules give, and what is put back into others."""

import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback
from torch import nn

from sksiamese.twin.state import (
    callback_state,
    load_callback_state,
    load_module_state,
    module_state,
)


class Holding(Callback):
    """A callback with one attribute."""

    def __init__(self, held):
        self.held = held


class Partly(nn.Module):
    """A module with a layer, and a buffer that no state_dict has."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)
        self.register_buffer("n_calls", torch.zeros(()), persistent=False)


def test_callback_state_is_that_of_its_state_dict_if_it_has_one():
    class Own(Callback):
        def __init__(self):
            self.file, self.n = object(), 0

        def state_dict(self):
            return {"n": self.n}

        def load_state_dict(self, state):
            self.n = state["n"]

    first, second = Own(), Own()
    first.n = 3
    load_callback_state(second, callback_state(first))
    assert second.n == 3


@pytest.mark.parametrize(
    "make",
    [
        lambda: np.random.RandomState(0),
        lambda: np.random.default_rng(0),
        lambda: random.Random(0),
        lambda: torch.Generator().manual_seed(0),
    ],
)
def test_callback_state_has_that_of_generators(make):
    def draw(generator):
        if isinstance(generator, torch.Generator):
            return torch.rand((), generator=generator).item()
        return generator.random() if hasattr(generator, "random") else generator.uniform()

    first, second = Holding(make()), Holding(make())
    shared = second.held
    for _ in range(3):
        draw(first.held)
    load_callback_state(second, callback_state(first))
    assert second.held is shared  # in place, for whoever else draws from it
    assert draw(second.held) == draw(first.held)


@pytest.mark.parametrize("held", [math.sqrt, Holding, [math.sqrt, print], Path("a")], ids=repr)
def test_callback_state_leaves_functions_classes_and_paths_alone(held):
    other = Holding(held)
    load_callback_state(other, callback_state(Holding(held)))
    assert other.held is held


def test_module_state_has_all_buffers_and_what_is_frozen():
    first, second = Partly(), Partly()
    first.n_calls.add_(5)
    first.layer.weight.requires_grad_(False)
    load_module_state(second, module_state(first))
    assert second.n_calls == 5
    assert not second.layer.weight.requires_grad
    assert second.layer.bias.requires_grad
    torch.testing.assert_close(second.state_dict(), first.state_dict(), rtol=0, atol=0)
