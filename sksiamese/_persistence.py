"""A fitted value and its estimator's parameters as one safetensors file; no code is run.

The file holds tensors (the network, its input scaling, the support) and JSON (everything else).
"""

import json
import os
import reprlib
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ._fitted import Fitted
from ._learning import build_network, build_scaling, neural
from ._params import LearningParams, check_path, check_target
from ._support import SupportSet
from .comparers import MotorPrograms, drawing_scaling, programs_of
from .programs import pack, unpack
from .twin.inference import NeuralComparer
from .twin.network import TwinEnsemble

FORMAT = "sksiamese 2"
_AS_TENSORS = ("comparer", "support")  # all other fields of Fitted are JSON


def write_fitted(path: Any, estimator: Any, fitted: Fitted, half: bool, support: bool) -> None:
    """Write a file that `read_fitted` reads; it is replaced as a whole, once all is written."""
    path = check_target(path)
    is_programs = isinstance(fitted.comparer, MotorPrograms)
    tensors, comparer = (_written_programs if is_programs else _written_network)(fitted)
    params = {name: _plain(name, v) for name, v in estimator.get_params(deep=False).items()}
    about = {
        "format": FORMAT,
        "class": type(estimator).__name__,
        "params": params,
        "fitted": {
            field.name: _written(getattr(fitted, field.name))
            for field in fields(fitted)
            if field.name not in _AS_TENSORS
        },
        **comparer,
    }
    if support and fitted.support is not None:
        embeddings = fitted.support.embeddings
        arrays = pack(programs_of(fitted.support)) if is_programs else {"embeddings": embeddings}
        tensors |= {f"support.{name}": _tensor(array) for name, array in arrays.items()}
        about["labels"] = _written(fitted.support.labels)
    tensors = {
        name: t.half() if half and t.ndim > 1 and t.dtype == torch.float32 else t
        for name, t in tensors.items()
    }
    # A single key: safetensors writes several in random order.
    metadata = {"sksiamese": json.dumps(about, default=_number)}
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(save({k: t.contiguous() for k, t in tensors.items()}, metadata))
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def read_fitted(path: Any, cls: type) -> Any:
    """Return the fitted estimator in a file; see `SiameseOneShotClassifier.load`."""
    check_path(path)
    if not Path(path).is_file():
        raise FileNotFoundError(f"Cannot read {path}: there is no such file.")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise OSError(f"{path} is damaged, or not a safetensors file: {error}") from error
    try:
        about = json.loads(metadata.get("sksiamese", "{}"))
        if about.get("format") != FORMAT:
            raise ValueError(
                f"{path} has format {about.get('format')!r}; expected {FORMAT!r}, a file that "
                "save wrote."
            )
        if about["class"] != cls.__name__:
            raise ValueError(f"{path} holds a {about['class']}: load it by that class.")
        estimator = cls(**{name: _tuples(value) for name, value in about["params"].items()})
        estimator.fitted_ = _restored(path, estimator, about, tensors)
    except (KeyError, TypeError, AttributeError, RuntimeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{path} lacks what save writes about an estimator: {error!r}."
        ) from error
    return estimator


def _written_network(fitted: Fitted) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return tensors and JSON of a network and its input scaling."""
    comparer = neural(fitted)
    tensors = comparer.network.state_dict(prefix="network.")
    tensors["scaling.offset"] = comparer.scaling.offset
    tensors["scaling.scale"] = comparer.scaling.scale
    return tensors, {"working_size": comparer.scaling.working_size}


def _written_programs(fitted: Fitted) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return tensors and JSON of a comparer by motor programs."""
    comparer = fitted.comparer
    assert isinstance(comparer, MotorPrograms)
    options = {f.name: getattr(comparer, f.name) for f in fields(comparer) if f.name != "scaling"}
    tensors = {}
    if comparer.scaling is not None:
        tensors = {
            "scaling.offset": comparer.scaling.offset,
            "scaling.scale": comparer.scaling.scale,
        }
    return tensors, {"programs": options}


def _restored(path: Any, estimator: Any, about: dict, tensors: dict[str, Tensor]) -> Fitted:
    values = {name: _read(value) for name, value in about["fitted"].items()}
    tensors = {name: t.float() if t.dtype == torch.float16 else t for name, t in tensors.items()}
    shape = tuple(values["input_shape"])
    arrays = {
        name.removeprefix("support."): tensors.pop(name).numpy()
        for name in list(tensors)
        if name.startswith("support.")
    }
    comparer: MotorPrograms | NeuralComparer
    if "programs" in about:
        comparer = _restored_programs(path, about["programs"], shape, tensors)
        embeddings = _restored_support(path, comparer, arrays) if arrays else None
    else:
        comparer = _restored_network(path, estimator, shape, about, tensors)
        embeddings = arrays.get("embeddings")
    support = None
    if embeddings is not None:
        labels = _read(about["labels"])
        if len(labels) != len(embeddings):
            raise ValueError(f"{path} has {len(labels)} labels of {len(embeddings)} exemplars.")
        support = SupportSet.of(embeddings, labels)
    return Fitted(comparer=comparer, support=support, **values)


def _restored_programs(
    path: Any, options: dict[str, Any], shape: tuple[int, ...], tensors: dict[str, Tensor]
) -> MotorPrograms:
    scaling = None
    if tensors:
        offset, scale = tensors.pop("scaling.offset"), tensors.pop("scaling.scale")
        scaling = drawing_scaling(offset, scale, shape)
    if tensors:
        raise ValueError(f"{path} has {sorted(tensors)}, which motor programs do not have.")
    return MotorPrograms(**options, scaling=scaling)


def _restored_support(
    path: Any, comparer: MotorPrograms, arrays: dict[str, np.ndarray]
) -> np.ndarray:
    try:
        return comparer.embeddings_of(unpack(arrays))
    except (IndexError, ValueError) as error:
        raise ValueError(f"{path} has programs that cannot be read: {error}.") from error


def _restored_network(
    path: Any,
    estimator: Any,
    shape: tuple[int, ...],
    about: dict[str, Any],
    tensors: dict[str, Tensor],
) -> NeuralComparer:
    params = LearningParams.of(estimator)
    offset, scale = tensors.pop("scaling.offset"), tensors.pop("scaling.scale")
    scaling = build_scaling(params, shape, offset, scale, _tuples(about["working_size"]))
    seen = (shape[0], *scaling.working_size) if scaling.working_size else shape
    members = {name.split(".")[2] for name in tensors if name.startswith("network.members.")}
    networks = [build_network(params, seen, seed=0) for _ in members or "1"]
    network = TwinEnsemble(networks) if members else networks[0]
    state = {name.removeprefix("network."): t for name, t in tensors.items()}
    missing, unexpected = network.load_state_dict(state, strict=False)
    if missing or unexpected:
        raise ValueError(
            f"{path} does not fit its own parameters: it lacks {missing} and has {unexpected}."
        )
    network = network.eval().requires_grad_(False)
    return NeuralComparer(network, scaling, str(params.device))


def _tensor(array: np.ndarray) -> Tensor:
    array = np.ascontiguousarray(array)
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def _written(value: Any) -> Any:
    """Return a value of `Fitted`, or labels, as JSON has it."""
    if not isinstance(value, np.ndarray):
        return value
    dtype, kind = str(value.dtype), value.dtype.kind
    if kind == "T":  # NumPy's strings of any length
        dtype, value = "object", value.astype(object)
    elif kind == "S":
        value = np.char.decode(value, "latin-1")
    elif kind in "mM":
        value = value.astype("int64")
    return {"dtype": dtype, "values": value.tolist()}


def _read(written: Any) -> Any:
    """Return what `_written` made JSON of."""
    if not isinstance(written, dict):
        return tuple(written) if isinstance(written, list) else written
    values, dtype = written["values"], np.dtype(written["dtype"])
    if dtype.kind == "S":
        return np.char.encode(values, "latin-1").astype(dtype)
    return np.array(values, dtype=dtype)


def _number(value: Any) -> Any:
    """Return NumPy's numbers, which skorch's callbacks may put into the history, as JSON's."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise ValueError(
        f"history_ holds {reprlib.repr(value)}, which save cannot write. Record numbers only."
    )


def _plain(name: str, value: Any) -> Any:
    """Return a parameter as JSON has it."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple | list):
        return [_plain(name, v) for v in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _plain(name, v) for key, v in value.items()}
    advice = "Pickle the estimator"
    if name == "preprocessor":
        advice += ", or call set_params(preprocessor=None) first, and set it again after load"
    elif name != "encoder":
        default = "'adamw'" if name == "optimizer" else "None"
        advice += f", or call set_params({name}={default}) first, which changes no prediction"
    raise ValueError(
        f"{name}={reprlib.repr(value)} is an object that save cannot write. {advice}."
    )


def _tuples(value: Any) -> Any:
    """Return JSON's lists as the tuples that they were."""
    if isinstance(value, list):
        return tuple(map(_tuples, value))
    if isinstance(value, dict):
        return {key: _tuples(v) for key, v in value.items()}
    return value
