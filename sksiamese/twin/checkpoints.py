"""Checkpoints: all that training needs to go on, in files; no code is run when they are read.

A file is written as a model file is (`_modelfile`): bytes of tensors, JSON that says what each is,
and a digest of both.
"""

import contextlib
import functools
import json
import os
import random
import re
import secrets
import time
import types
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet
from skorch.history import History
from torch import Tensor, nn

from .._files import PART
from .._modelfile import read_model_file, write_model_file
from ..exceptions import CheckpointWarning, warn

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

FORMAT = "sksiamese checkpoint 1"
_NAME = re.compile(r"checkpoint-[0-9]{6,}\.safetensors")
PATIENCE = 1.0  # seconds that a killed process has to let go of its lock


class Checkpoints:
    """The checkpoints of one fit in a folder, which this object locks until it is closed.

    Parameters
    ----------
    folder : path-like
        Made if it does not exist.
    identity : dict of str to str
        What decides the result of the fit, such as parameters and data, described in words.
    minutes : float or None, default=None
        Write one also inside an epoch, when so much time has passed since the last one.

    Attributes
    ----------
    seed : int
        For fits without a random state: the one that was drawn when the fit began.
    members : list of dict
        State of the networks whose training is complete; see `add`.
    running : dict or None
        State of the network in training, as `state_of_net` returns it, to go on from.

    Raises
    ------
    OSError
        If the folder cannot be used, or another fit uses it.
    ValueError
        If it holds a checkpoint of another fit.

    Warns
    -----
    CheckpointWarning
        If a checkpoint is damaged, or was written by other versions or with other threads.
    """

    def __init__(
        self, folder: str | os.PathLike, identity: dict[str, str], minutes: float | None = None
    ) -> None:
        self.folder = Path(os.path.abspath(folder))  # a callback may change the current folder
        self.identity = identity
        self.minutes = minutes
        self.seed = secrets.randbelow(2**32)
        self.members: list[dict[str, Any]] = []
        self.running: dict[str, Any] | None = None
        self.last: Path | None = None  # that is known to be whole
        self.written_at = time.monotonic()
        with self._named():
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock()
        try:
            for part in self.folder.glob(f"{PART}*"):  # of a process that was killed
                part.unlink(missing_ok=True)
            self._read()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()

    def close(self) -> None:
        """Unlock the folder."""
        os.close(self._locked)

    def _lock(self) -> None:
        self._locked = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o666)
        if fcntl is None:
            return
        end = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(self._locked, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError as error:
                if time.monotonic() > end:
                    self.close()
                    what = "another fit is using it; give each fit a folder of its own"
                    raise BlockingIOError(error.errno, what) from error
            except OSError:
                self.close()
                raise
            time.sleep(PATIENCE / 20)

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Name the parameter in errors about its folder."""
        try:
            yield
        except OSError as error:
            what = f"checkpoint_dir cannot be used: {error.strerror}"
            raise OSError(error.errno, what, str(self.folder)) from error

    def paths(self) -> list[Path]:
        """Return the files, newest first."""
        files = [path for path in self.folder.iterdir() if _NAME.fullmatch(path.name)]
        return sorted(filter(Path.is_file, files), key=_number, reverse=True)

    def _read(self) -> None:
        """Take over the state of the newest checkpoint that is whole, if there is one."""
        paths = self.paths()
        for path in paths:
            try:
                tree = read_tree(path)
            except (OSError, ValueError) as error:
                if getattr(error, "errno", None) is not None:  # whole, for all we know
                    raise
                next_best = "the beginning" if path == paths[-1] else "the checkpoint before it"
                warn(f"{error} Training goes on from {next_best}.", CheckpointWarning)
                continue
            self._check(path, tree)
            self.seed, self.members = tree["seed"], tree["members"]
            self.running, self.last = tree["running"], path
            return

    def _check(self, path: Path, tree: Any) -> None:
        if not isinstance(tree, dict) or tree.get("format") != FORMAT:
            raise ValueError(f"{path} is not a checkpoint of the format {FORMAT!r}.")
        theirs = tree["identity"]
        for name in [*self.identity, *theirs]:
            here, there = self.identity.get(name), theirs.get(name)
            if here != there:
                raise ValueError(
                    f"checkpoint_dir={str(self.folder)!r} holds a checkpoint of another fit: "
                    f"{name} is {here} here, but {there} in {path.name}. Repeat that call, give "
                    "each fit a folder of its own, or delete the checkpoints in this one."
                )
        before, now = tree["environment"], _environment()
        changed = [name for name in now if now[name] != before.get(name)]
        if changed:
            what = ", ".join(f"{name} {before.get(name)} (here {now[name]})" for name in changed)
            warn(
                f"{path} was written with {what}. Training goes on, but the weights may differ in "
                "their last digits from those of an uninterrupted fit.",
                CheckpointWarning,
            )

    def due(self) -> bool:
        """Return whether it is time for a checkpoint inside an epoch."""
        since = time.monotonic() - self.written_at
        return self.minutes is not None and since >= 60 * self.minutes

    def add(self, network: nn.Module, history: list[dict[str, Any]], complete: bool) -> None:
        """Take in a network whose training is complete; write it if it is the last of the fit."""
        self.members.append({"network": module_state(network), "history": history})
        self.running = None
        if complete:
            self.write(None)

    def write(self, running: dict[str, Any] | None) -> None:
        """Write a checkpoint, and delete all but the newest two that are whole.

        Raises
        ------
        OSError
            If it cannot be written. Those before it are unchanged.
        TypeError
            If the state holds something that a file without code cannot keep.
        """
        tree = {
            "format": FORMAT,
            "identity": self.identity,
            "environment": _environment(),
            "seed": self.seed,
            "members": self.members,
            "running": running,
        }
        number = max(map(_number, self.paths()), default=0) + 1
        path = self.folder / f"checkpoint-{number:06d}.safetensors"
        write_tree(path, tree)
        for old in self.paths():
            if old not in (path, self.last):
                old.unlink(missing_ok=True)
        self.last = path
        self.written_at = time.monotonic()


def _number(path: Path) -> int:
    return int(path.stem.removeprefix("checkpoint-"))


def _environment() -> dict[str, Any]:
    """Return what changes the last digits of results."""
    return {
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
    }


# The state of a net


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
        _written(state, {})
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
    for kind, (cls, get, _) in _GENERATORS.items():
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
_GENERATORS: dict[str, tuple[type, Callable[[Any], Any], Callable[[Any, Any], None]]] = {
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
    **{kind: load for kind, (_, _, load) in _GENERATORS.items()},
}


# Trees of values as files


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
