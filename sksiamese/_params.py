"""Parameters of an estimator: one of the choices, a number in its range, what skorch takes."""

import math
import numbers
import os
from pathlib import Path

from sklearn.utils import check_scalar


def check_choice(value, name, choices):
    """One of the names in `choices`."""
    if not (value is None or isinstance(value, str)) or value not in choices:
        names = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{name}={value!r} is not known; expected one of {names}.")


def check_number(value, name, kind, low, high=None, include="both"):
    """A number in its range; bool is no number."""
    types = numbers.Integral if kind is int else numbers.Real
    if isinstance(value, bool):
        raise TypeError(f"{name}={value!r} is a bool; expected a number.")
    check_scalar(value, name, types, min_val=low, max_val=high, include_boundaries=include)
    if not math.isfinite(value):
        raise ValueError(f"{name}={value!r}; expected a finite number.")


def check_shape(value, name, lengths):
    """A tuple of positive integers, of one of the lengths."""
    ok = (
        isinstance(value, (tuple, list))
        and len(value) in lengths
        and all(isinstance(v, numbers.Integral) and v > 0 for v in value)
        and not any(isinstance(v, bool) for v in value)
    )
    if not ok:
        expected = " or ".join(map(str, lengths))
        raise ValueError(f"{name}={value!r}; expected a tuple of {expected} positive integers.")


def check_path(value):
    """The `path` of a file."""
    if not isinstance(value, str | os.PathLike):
        raise TypeError(f"path={value!r}; expected the path of a file.")


def check_target(path):
    """The Path of a file that can be written, or replaced; of a link, what it points to."""
    check_path(path)
    path = Path(path).resolve()
    if path.is_dir():
        what = "is a folder"
    elif path.exists() and not path.is_file():
        what = "is no ordinary file"
    elif not path.parent.is_dir():
        what = "is in no folder that there is"
    else:
        return path
    raise OSError(f"{path} {what}; expected the name of a file to write.")


# What the estimator itself says to skorch, and the parameter that says it.
_OWN_SKORCH = {
    "batch_size": "batch_shape, or batch_size for pairs",
    "bfloat16": "precision",
    "callbacks": "callbacks",
    "criterion": "loss",
    "device": "device",
    "iterator_train": "batch_shape",
    "iterator_valid": "early_stopping",
    "lr": "learning_rate",
    "max_epochs": "max_iter",
    "module": "encoder",
    "optimizer__weight_decay": "weight_decay",
    "train_split": "early_stopping",
}


def check_dict(value, name):
    """Further arguments of something, by name."""
    if value is not None and not isinstance(value, dict):
        raise TypeError(f"{name}={value!r}; expected a dict, or None.")


def check_skorch(callbacks, net_params, optimizer):
    """What is handed to skorch as it comes."""
    entries = callbacks if isinstance(callbacks, list | tuple) else (callbacks,)
    for entry in () if callbacks is None else entries:
        callback = entry[-1] if isinstance(entry, tuple) and entry else entry  # (name, callback)
        known = hasattr(callback, "on_epoch_end") and not isinstance(callback, type)
        if entries is not callbacks or not known:
            raise TypeError(
                f"callbacks={callbacks!r}; expected a list of skorch callbacks, or None."
            )
        if getattr(callback, "load_best", False):
            raise ValueError(
                f"callbacks has {callback!r} with load_best=True, but what predicts is the moving "
                "average of the weights, which skorch does not know: use early_stopping=True, "
                "which restores the best."
            )
    check_dict(net_params, "net_params")
    for name in net_params or ():
        if name in _OWN_SKORCH:
            raise ValueError(
                f"net_params has {name!r}, which the estimator sets itself: use its parameter "
                f"{_OWN_SKORCH[name]}."
            )
    if optimizer != "adamw" and "optimizer" in (net_params or {}):
        raise ValueError(
            f"optimizer={optimizer!r}, and net_params has the optimizer "
            f"{net_params['optimizer']!r}: leave out one of them."
        )
