"""What decides the result of a fit, in words: equal words, equal weights."""

import functools
import hashlib
import inspect
import os
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import fields
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback
from torch import nn
from torch.nn.parameter import is_lazy

from ._params import LearningParams
from .twin.state import GENERATORS

# They say from what a fit starts, which is described by itself, or change no weight.
_NOT_PART = {
    "warm_start", "weights", "verbose", "checkpoint_dir", "checkpoint_minutes", "memory"
}  # fmt: skip
DEEPEST = 8
_BLOCK = 1 << 24  # bytes


def identity(
    params: LearningParams, data: dict[str, np.ndarray | None], **others: Any
) -> dict[str, str]:
    """Return what decides the result of a fit: parameters, data, and all else that is given.

    Raises
    ------
    ValueError
        If something has values that cannot be read.
    """
    names = [field.name for field in fields(params) if field.name not in _NOT_PART]
    deciding = {**{name: getattr(params, name) for name in names}, **data, **others}
    return {name: _described_argument(name, value) for name, value in deciding.items()}


def _described_argument(name: str, value: Any) -> str:
    try:
        return described(value)
    except RuntimeError as error:  # of torch, such as for nested tensors
        raise ValueError(
            f"{name} cannot be compared with that of a checkpoint: {error} Set "
            "checkpoint_dir=None."
        ) from error


def described(value: Any, depth: int = 0) -> str:
    """Return a description that is the same in each process, and another for another value.

    Of functions and classes it has the name, of other objects the parameters.
    """
    if depth > DEEPEST:  # perhaps without end
        return type(value).__qualname__
    deeper = functools.partial(described, depth=depth + 1)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return repr(value)
    if isinstance(value, np.ndarray):
        return f"{value.dtype} of shape {value.shape}, SHA-256 {_digest(_blocks(value))}"
    if isinstance(value, torch.Tensor):
        return _described_tensor(value, deeper)
    for name, (cls, state_of, _) in GENERATORS.items():
        if isinstance(value, cls):
            return f"{name} {deeper(state_of(value))}"
    if isinstance(value, list | tuple | deque):
        return f"({', '.join(map(deeper, value))})"
    if isinstance(value, set | frozenset):
        return "{" + ", ".join(sorted(map(deeper, value))) + "}"
    if isinstance(value, dict):
        items = sorted((deeper(k), deeper(v)) for k, v in value.items())
        return "{" + ", ".join(f"{k}: {v}" for k, v in items) + "}"
    if isinstance(value, nn.Module):
        state = "".join(f"{name} {deeper(v)}" for name, v in value.state_dict().items())
        return f"{type(value).__name__}, SHA-256 {_digest([repr(value).encode(), state.encode()])}"
    if isinstance(value, functools.partial):
        return f"partial({deeper(value.func)}, {deeper(value.args)}, {deeper(value.keywords)})"
    if isinstance(value, type | FunctionType | BuiltinFunctionType | MethodType):
        return f"{value.__module__}.{value.__qualname__}"
    if not hasattr(value, "__dict__"):  # such as dates, slices and devices
        return f"{type(value).__qualname__} {value!r}"
    own = sorted(_params_of(value).items())
    listed = ", ".join(f"{name}={deeper(v)}" for name, v in own)
    return f"{type(value).__module__}.{type(value).__qualname__}({listed})"


def _described_tensor(tensor: torch.Tensor, deeper: Callable[[Any], str]) -> str:
    if is_lazy(tensor):  # without a shape before the first batch
        return f"{tensor.dtype}, uninitialized"
    what = f"{tensor.dtype} of shape {tuple(tensor.shape)}"
    if tensor.is_meta:
        return f"{what} without values"
    tensor = tensor.detach()
    if tensor.layout is not torch.strided:
        tensor = tensor.to_sparse_coo().coalesce()
        return f"sparse {what}, {deeper(tensor.indices())}, {deeper(tensor.values())}"
    values = tensor.cpu().resolve_conj().resolve_neg().contiguous().flatten()
    return f"{what}, SHA-256 {_digest([values.view(torch.uint8).numpy().tobytes()])}"


def _params_of(value: Any) -> dict[str, Any]:
    """Return the attributes that an object's constructor set; of a callback, without its state."""
    attributes = {name: v for name, v in vars(value).items() if not name.endswith("_")}
    if not isinstance(value, Callback):
        return attributes
    accepted = inspect.signature(type(value)).parameters
    if any(p.kind is p.VAR_KEYWORD for p in accepted.values()):
        return attributes
    return {name: v for name, v in attributes.items() if name in accepted}


def _blocks(array: np.ndarray) -> Iterable[bytes]:
    """Yield the bytes of an array, of a memory map a few at a time."""
    if array.dtype.hasobject:
        yield repr(array.tolist()).encode()
        return
    if not array.ndim:
        array = array[None]
    n_rows = max(1, _BLOCK * max(1, len(array)) // max(1, array.nbytes))
    for start in range(0, len(array), n_rows):
        yield np.ascontiguousarray(array[start : start + n_rows]).tobytes()


def _digest(chunks: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()[:16]
