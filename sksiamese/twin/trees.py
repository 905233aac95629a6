"""Trees of values as files: nested dicts, lists, numbers, arrays and tensors; no code is run.

A file is written as a model file is (`_modelfile`): bytes of tensors, JSON that says what each is,
and a digest of both.
"""

import json
import os
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._modelfile import read_model_file, write_model_file

_DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.bool),
        *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8),
    )
}
_SEQUENCES: dict[str, Callable[[list], Any]] = {
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
}
_MAPPINGS: dict[str, Callable[[dict], Any]] = {
    "dict": dict,
    "OrderedDict": OrderedDict,
    "Counter": Counter,
}


def write_tree(path: str | os.PathLike, tree: Any) -> None:
    """Write nested dicts, lists, tuples, numbers, strings, arrays and tensors as one file.

    Raises
    ------
    OSError
        If the file cannot be written; one that was there is unchanged.
    TypeError
        If the tree holds anything else.
    """
    arrays: dict[str, np.ndarray] = {}
    text = json.dumps(_written(tree, arrays))
    write_model_file(path, text, arrays)


def read_tree(path: str | os.PathLike) -> Any:
    """Return what `write_tree` wrote.

    Raises
    ------
    OSError
        If the file cannot be read or is damaged.
    ValueError
        If it is another file.
    """
    text, arrays = read_model_file(path)
    try:
        return _restored(json.loads(text), arrays)
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise ValueError(f"{path} is not a checkpoint: {error!r}.") from error


def check_tree(tree: Any) -> None:
    """Raise TypeError if `write_tree` could not write a tree, RecursionError if it has a cycle."""
    _written(tree, {})


def _written(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """Return a value as JSON has it; its tensors and arrays, as bytes, go to `arrays`."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) is list:
        return [_written(v, arrays) for v in value]
    kind = type(value).__name__
    if isinstance(value, Tensor):
        return _written_tensor(value, arrays)
    if isinstance(value, np.generic | np.ndarray) and not value.dtype.hasobject:
        shape = list(value.shape) if isinstance(value, np.ndarray) else None
        data = np.frombuffer(value.tobytes(), np.uint8)
        place = {"dtype": str(value.dtype), "shape": shape, "data": _place(data, arrays)}
        return {"kind": "array", **place}
    if type(value) is bytes:
        return {"kind": "bytes", "hex": value.hex()}
    if type(value) is deque:
        items = [_written(v, arrays) for v in value]
        return {"kind": "deque", "items": items, "maxlen": value.maxlen}
    if type(value) is _SEQUENCES.get(kind):
        return {"kind": kind, "items": [_written(v, arrays) for v in value]}
    if type(value) is _MAPPINGS.get(kind):
        items = [[_written(k, arrays), _written(v, arrays)] for k, v in value.items()]
        return {"kind": kind, "items": items}
    raise TypeError(f"it holds an object of type {kind}.")


def _place(data: np.ndarray, arrays: dict[str, np.ndarray]) -> str:
    """Return the name under which bytes were put into `arrays`."""
    name = str(len(arrays))
    arrays[name] = data
    return name


def _written_tensor(tensor: Tensor, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    dtype = str(tensor.dtype).removeprefix("torch.")
    if tensor.layout is not torch.strided or dtype not in _DTYPES:
        raise TypeError(f"it holds a tensor of {tensor.dtype}, {tensor.layout}.")
    tensor = tensor.detach().cpu()
    # The order in memory is kept too: it decides which kernel computes, and how it rounds.
    shape, stride = list(tensor.shape), list(tensor.stride())
    data = tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
    return {
        "kind": "tensor",
        "dtype": dtype,
        "shape": shape,
        "stride": stride if _is_dense(shape, stride) else None,
        "data": _place(data, arrays),
    }


def _is_dense(shape: list[int], stride: list[int]) -> bool:
    """Return whether the strides reach each element of a tensor's memory once."""
    n = 1
    for step, side in sorted(zip(stride, shape, strict=True)):
        if side > 1 and step != n:
            return False
        n *= side
    return n > 0


def _restored(written: Any, arrays: dict[str, np.ndarray]) -> Any:
    """Return what `_written` made JSON of."""
    if isinstance(written, list):
        return [_restored(w, arrays) for w in written]
    if not isinstance(written, dict):
        return written
    kind = written["kind"]
    if kind == "tensor":
        return _restored_tensor(written, arrays)
    if kind == "array":
        data = arrays[written["data"]].tobytes()
        array = np.frombuffer(data, np.dtype(written["dtype"])).copy()
        return array[0] if written["shape"] is None else array.reshape(written["shape"])
    if kind == "bytes":
        return bytes.fromhex(written["hex"])
    items = written["items"]
    if kind == "deque":
        return deque((_restored(w, arrays) for w in items), written["maxlen"])
    if kind in _SEQUENCES:
        return _SEQUENCES[kind]([_restored(w, arrays) for w in items])
    pairs = {_restored(k, arrays): _restored(v, arrays) for k, v in items}
    return _MAPPINGS[kind](pairs)


def _restored_tensor(written: dict[str, Any], arrays: dict[str, np.ndarray]) -> Tensor:
    shape, stride, dtype = written["shape"], written["stride"], _DTYPES[written["dtype"]]
    data = torch.from_numpy(arrays[written["data"]].copy())
    flat = data.view(dtype) if len(data) else torch.empty(0, dtype=dtype)
    if stride is None:
        return flat.reshape(shape)
    if not _is_dense(shape, stride):
        raise ValueError("the strides of a tensor do not fit its shape")
    return torch.empty_strided(shape, stride, dtype=dtype).copy_(flat.reshape(shape))
