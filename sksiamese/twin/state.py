"""The state of a training: what a net, its modules and its callbacks need to go on."""

import functools
import random
import time
import types
from collections.abc import Callable
from enum import Enum
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet
from skorch.history import History
from torch import Tensor, nn

from .trees import check_tree


def state_of_net(net: NeuralNet, global_generators: bool) -> dict[str, Any]:
    """Return the state of a skorch net between two steps.

    Parameters
    ----------
    net : NeuralNet
    global_generators : bool
        Whether its layers may draw from torch's global generators.

    Raises
    ------
    ValueError
        If something has state that cannot be kept.
    """
    generators = None
    if global_generators:
        generators = {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()}
    return {
        "module": _plain(module_state(net.module_), "encoder"),
        "criterion": _plain(module_state(net.criterion_), "loss"),
        "optimizer": _plain(net.optimizer_.state_dict(), "optimizer"),
        "history": _plain(list(net.history), "history_"),
        "callbacks": {name: callback_state(callback) for name, callback in net.callbacks_},
        "generators": generators,
        "time": time.time(),
    }


def restore_net(net: NeuralNet, state: dict[str, Any]) -> None:
    """Bring a net, just before its first epoch, to what `state_of_net` returned."""
    load_module_state(net.module_, state["module"])
    load_module_state(net.criterion_, state["criterion"])
    _load_optimizer_state(net.optimizer_, state["optimizer"])
    net.history_ = History(state["history"])
    callbacks = dict(net.callbacks_)
    for name, written in state["callbacks"].items():
        if name in callbacks:  # the progress bar is there with `verbose` only
            load_callback_state(callbacks[name], written)
    timer: Any = callbacks.get("epoch_timer")
    if getattr(timer, "epoch_start_time_", None) is not None:
        timer.epoch_start_time_ += time.time() - state["time"]  # training stood still meanwhile
    if state["generators"] is not None:
        torch.set_rng_state(state["generators"]["cpu"])
        if len(state["generators"]["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state["generators"]["cuda"])


def _load_optimizer_state(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    optimizer.load_state_dict(state)
    # It has cast the state to the dtype of the weights.
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    for number, values in state["state"].items():
        for name, value in values.items():
            now = optimizer.state[weights[number]].get(name)
            if isinstance(value, Tensor) and isinstance(now, Tensor) and now.dtype != value.dtype:
                optimizer.state[weights[number]][name] = value.to(now.device)


def module_state(module: nn.Module) -> dict[str, Any]:
    """Return the parameters and all buffers of a module, and which parameters are frozen."""
    kept = dict(module.state_dict())
    return {
        "kept": kept,
        "buffers": {name: b for name, b in module.named_buffers() if name not in kept},
        "frozen": [name for name, p in module.named_parameters() if not p.requires_grad],
    }


def load_module_state(module: nn.Module, state: dict[str, Any]) -> None:
    """Load what `module_state` returned, in place."""
    module.load_state_dict(state["kept"])
    buffers = dict(module.named_buffers())
    for name, value in state["buffers"].items():
        buffers[name].copy_(value)
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name not in state["frozen"])


# The state of callbacks

_CONSTANT = (
    type,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
    functools.partial,
    np.ufunc,
    np.dtype,
    torch.dtype,
    torch.device,
    PurePath,
    Enum,
)


def callback_state(callback: Any) -> dict[str, Any]:
    """Return what a callback says by `state_dict`, or else its attributes.

    Functions, classes and paths among them are taken to be the same in the repeated call.

    Raises
    ------
    ValueError
        If an attribute cannot be kept.
    """
    what = f"callbacks has {type(callback).__name__}, whose"
    advice = "Give the callback the methods state_dict() and load_state_dict(state), or"
    if _has_state_dict(callback):
        return {"state_dict": _plain(callback.state_dict(), f"{what} state_dict()")}
    return {
        "attributes": {
            name: _plain(_attribute_state(value), f"{what} attribute {name!r}", advice)
            for name, value in getattr(callback, "__dict__", {}).items()
        }
    }


def _plain(state: Any, what: str, advice: str = "Leave it out, or") -> Any:
    """Return `state`; raise ValueError if a file cannot keep it."""
    try:
        check_tree(state)
    except (TypeError, RecursionError) as error:
        raise ValueError(
            f"{what} cannot be kept in a checkpoint: {error} {advice} set checkpoint_dir=None."
        ) from error
    return state


def load_callback_state(callback: Any, written: dict[str, Any]) -> None:
    """Bring a callback to what `callback_state` returned."""
    if "state_dict" in written:
        callback.load_state_dict(written["state_dict"])
        return
    for name, (kind, value) in written["attributes"].items():
        if kind == "value":
            setattr(callback, name, value)
        elif kind != "constant":
            _LOADING[kind](getattr(callback, name), value)


def _attribute_state(value: Any) -> tuple[str, Any]:
    """Return how an attribute is restored, and from what."""
    if isinstance(value, nn.Module):
        return "module", module_state(value)
    if _has_state_dict(value):
        return "state_dict", value.state_dict()
    for kind, (cls, get, _) in GENERATORS.items():
        if isinstance(value, cls):
            return kind, get(value)
    parts = value if isinstance(value, list | tuple) and value else [value]
    if all(isinstance(part, _CONSTANT) for part in parts):
        return "constant", None
    return "value", value


def _has_state_dict(value: Any) -> bool:
    return not isinstance(value, type) and all(
        callable(getattr(value, name, None)) for name in ("state_dict", "load_state_dict")
    )


def _set_bits(generator: np.random.Generator, state: dict[str, Any]) -> None:
    generator.bit_generator.state = state


# Class, how to read the state, how to set it.
GENERATORS: dict[str, tuple[type, Callable[[Any], Any], Callable[[Any, Any], None]]] = {
    "RandomState": (
        np.random.RandomState,
        lambda generator: generator.get_state(),
        lambda generator, state: generator.set_state(state),
    ),
    "Generator": (
        np.random.Generator,
        lambda generator: generator.bit_generator.state,
        _set_bits,
    ),
    "torch": (
        torch.Generator,
        lambda generator: generator.get_state(),
        lambda generator, state: generator.set_state(state),
    ),
    "random": (
        random.Random,
        lambda generator: generator.getstate(),
        lambda generator, state: generator.setstate(state),
    ),
}
_LOADING: dict[str, Callable[[Any, Any], None]] = {
    "module": load_module_state,
    "state_dict": lambda value, state: value.load_state_dict(state),
    **{kind: load for kind, (_, _, load) in GENERATORS.items()},
}
