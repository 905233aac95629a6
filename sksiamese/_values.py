"""Values as JSON: parameters, labels and what was learned, written and read again.

What is read is believed only if it is what would be written of the value it makes.
"""

import json
import math
import os
import re
import reprlib
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np

from ._fitted import SLOPES, Fitted
from ._params import check_bool, check_number, check_shape
from ._validation import check_labels

# Characters of a string dtype that is wider than its strings; NumPy makes 21 of an integer's and
# 32 of a float's.
WIDEST = 32
OF_THIS_MACHINE = ("checkpoint_dir", "memory")  # parameters that a file has as None
LARGEST = 2**31  # values of one sample
GREATEST_LOGIT = 1e6  # beyond, float32 does not tell logits apart
_KINDS: dict[str, type] = {
    "b": bool, "i": int, "u": int, "f": float, "U": str, "O": str, "m": int, "M": int
}  # fmt: skip
_DTYPE = re.compile(r"[<>|]?[A-Za-z]+\d{0,9}(\[\d{0,9}\w+\])?")


# Labels


def written_labels(labels: np.ndarray) -> dict[str, Any]:
    """Return labels, or names, as JSON has them."""
    kind = labels.dtype.kind
    if kind == "f" and labels.dtype.itemsize > 8:
        labels = labels.astype(np.float64)
    dtype, values = labels.dtype, labels.astype(np.int64) if kind in "mM" else labels
    if kind == "U":
        width = max([WIDEST, *map(len, labels.tolist())])
        if dtype.itemsize > 4 * width:
            dtype = np.dtype(f"{dtype.byteorder}U{width}")
    return {"dtype": str(dtype), "values": values.tolist()}


def read_labels(written: Any, name: str) -> np.ndarray:
    """Return the labels that `written_labels` made JSON of; ValueError for anything else."""
    dtype, values = _dtype(written["dtype"], name), written["values"]
    kind = dtype.kind
    if not isinstance(values, list) or {*map(type, values)} - {_KINDS[kind]}:
        raise ValueError(f"{name} has values that are not of dtype {dtype}")
    if kind == "U" and dtype.itemsize > 4 * max([WIDEST, *map(len, values)]):
        raise ValueError(f"{name} has dtype {dtype}, wider than its strings")
    with np.errstate(over="ignore"):  # what does not fit is not written alike
        labels = np.array(values, dtype=dtype)
    if json.dumps(written_labels(labels)) != json.dumps(written):
        raise ValueError(f"{name} has values that do not fit dtype {dtype}")
    return check_labels(labels, len(values), name)


def _dtype(text: Any, name: str) -> np.dtype:
    try:
        dtype = np.dtype(text if _DTYPE.fullmatch(text) else "V")
    except (TypeError, ValueError, OverflowError):
        dtype = np.dtype("V")
    if dtype.kind not in _KINDS:
        raise ValueError(f"{name} has dtype {reprlib.repr(text)}, which labels do not have")
    return dtype


# Parameters


def written_params(estimator: Any) -> dict[str, Any]:
    """Return an estimator's parameters as JSON has them; ValueError if it cannot."""
    params = estimator.get_params(deep=False)
    return {
        name: None if name in OF_THIS_MACHINE else _written_param(name, value)
        for name, value in params.items()
    }


def read_params(written: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters that `written_params` made JSON of."""
    params = {name: _tuples(value) for name, value in written.items()}
    label = params.get("unknown_label")
    if isinstance(label, dict):
        params["unknown_label"] = read_labels(written["unknown_label"], "unknown_label")[0]
    elif isinstance(label, tuple):
        raise ValueError("unknown_label is a list")
    if any(params.get(name) is not None for name in OF_THIS_MACHINE):
        raise ValueError(f"it has values of {', '.join(OF_THIS_MACHINE)}, which save leaves out")
    return params


def _written_param(name: str, value: Any) -> Any:
    if name == "unknown_label" and isinstance(value, np.datetime64 | np.timedelta64):
        return written_labels(np.array([value]))
    if name == "encoder" and not isinstance(value, str | tuple):
        is_module = hasattr(value, "state_dict") and not isinstance(value, type)
        kind = "module" if is_module else "callable"
        return {kind: getattr(value, "__name__", type(value).__name__)}
    if name == "preprocessor" and value is not None:
        raise _unwritten(name, value)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple | list):
        return [_written_param(name, v) for v in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _written_param(name, v) for key, v in value.items()}
    raise _unwritten(name, value)


def _unwritten(name: str, value: Any) -> ValueError:
    advice = "Pickle the estimator"
    if name == "preprocessor":
        advice += ", or call set_params(preprocessor=None) first, and set it again after load"
    elif name == "unknown_label":
        advice += ", or use a label that is a number or a string"
    else:
        default = "'adamw'" if name == "optimizer" else "None"
        advice += f", or call set_params({name}={default}) first, which changes no prediction"
    return ValueError(
        f"{name}={reprlib.repr(value)} is an object that save cannot write. {advice}."
    )


def _tuples(value: Any) -> Any:
    """Return JSON's lists as the tuples that they were."""
    if isinstance(value, list):
        return tuple(map(_tuples, value))
    if isinstance(value, dict):
        return {key: _tuples(v) for key, v in value.items()}
    return value


# What was learned


def written_fields(fitted: Fitted) -> dict[str, Any]:
    """Return what JSON holds of a fitted value: all but comparer, support and levels."""
    values = {f.name: getattr(fitted, f.name) for f in fields(fitted)}
    return {
        name: written_labels(value) if isinstance(value, np.ndarray) else value
        for name, value in values.items()
        if name not in ("comparer", "support", "level_weights")
    }


def read_fields(written: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that `written_fields` made JSON of; ValueError for anything else."""
    unknown = sorted(written.keys() - _FIELDS.keys())
    if unknown:
        raise ValueError(f"an estimator has not learned {reprlib.repr(unknown)}")
    return {name: _FIELDS[name](value, name) for name, value in written.items()}


def _read_shape(value: Any, name: str) -> tuple[int, ...]:
    check_shape(value, name, (1, 2, 3))
    if math.prod(value) >= LARGEST:
        raise ValueError(f"{name}={reprlib.repr(value)} is too large")
    return tuple(value)


def _read_bool(value: Any, name: str) -> bool:
    check_bool(value, name)
    return value


def _read_logit(value: Any, name: str) -> float:
    check_number(value, name, float, -GREATEST_LOGIT, GREATEST_LOGIT)
    return value


def _read_threshold(value: Any, name: str) -> float | None:
    # Minus infinity accepts all: that of a network in training.
    return value if value in (None, -math.inf) else _read_logit(value, name)


def _read_scores(value: Any, name: str) -> tuple[float, ...] | None:
    if value == []:
        raise ValueError(f"{name} is empty")
    return None if value is None else tuple(_read_logit(score, name) for score in value)


def _read_calibration(value: Any, name: str) -> tuple[float, float]:
    slope, intercept = value
    check_number(slope, f"the slope of {name}", float, *SLOPES)
    return slope, _read_logit(intercept, f"the intercept of {name}")


def _read_prior(value: Any, name: str) -> tuple[float, float] | None:
    return None if value is None else _read_calibration(value, name)


def _read_negative_label(value: Any, name: str) -> int:
    if type(value) is not int or value not in (0, -1):
        raise ValueError(f"{name}={reprlib.repr(value)}; expected 0 or -1")
    return value


def _read_some_labels(value: Any, name: str) -> np.ndarray | None:
    return None if value is None else read_labels(value, name)


def _read_sorted_labels(value: Any, name: str) -> np.ndarray | None:
    labels = _read_some_labels(value, name)
    if labels is not None and not np.array_equal(labels, np.unique(labels)):
        raise ValueError(f"{name} has labels that are not sorted, or occur twice")
    return labels


def _read_names(value: Any, name: str) -> np.ndarray | None:
    names = _read_some_labels(value, name)
    if names is not None and names.dtype != object:
        raise ValueError(f"{name} has dtype {names.dtype}; expected strings")
    return names


def _read_history(value: Any, name: str) -> tuple[list[dict[str, Any]], ...]:
    is_nested = isinstance(value, list) and all(isinstance(one, list) for one in value)
    epochs: list[Any] = [epoch for one in value for epoch in one] if is_nested else [None]
    if not all(isinstance(epoch, dict) for epoch in epochs):
        raise ValueError(f"{name} is not a list of epochs, which are dicts, for each network")
    for epoch in epochs:
        check_number(epoch["epoch"], f"an epoch of {name}", int, 1)
        check_number(epoch["train_loss"], f"train_loss of {name}", float, -math.inf)
    return tuple(value)


_FIELDS: dict[str, Callable[[Any, str], Any]] = {
    "input_shape": _read_shape,
    "flat": _read_bool,
    "feature_names": _read_names,
    "calibration": _read_calibration,
    "rejection_threshold": _read_threshold,
    "genuine_scores": _read_scores,
    "prior_calibration": _read_prior,
    "prior_unknown": _read_scores,
    "level_offset": _read_logit,
    "decision_threshold": _read_logit,
    "negative_label": _read_negative_label,
    "held_out_classes": _read_sorted_labels,
    "held_out_groups": _read_sorted_labels,
    "history": _read_history,
    "adapts": _read_bool,
}
