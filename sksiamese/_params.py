"""Parameters of estimators: checks of single values, and those that decide what is learned."""

import math
import numbers
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils import check_scalar
from sklearn.utils.validation import check_memory

from ._files import check_path
from .model_selection._split import own_random_state


def check_choice(value: Any, name: str, choices: Sequence[str | None]) -> None:
    """Raise ValueError unless the value is one of `choices`."""
    if not (value is None or isinstance(value, str)) or value not in choices:
        names = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{name}={value!r} is not known; expected one of {names}.")


def check_number(
    value: Any,
    name: str,
    kind: type[int] | type[float],
    low: float,
    high: float | None = None,
    include: str = "both",
) -> None:
    """Raise TypeError or ValueError unless the value is a number in its range, and not a bool."""
    types = numbers.Integral if kind is int else numbers.Real
    if isinstance(value, bool):
        raise TypeError(f"{name}={value!r} is a bool; expected a number.")
    check_scalar(value, name, types, min_val=low, max_val=high, include_boundaries=include)
    if not math.isfinite(value):
        raise ValueError(f"{name}={value!r}; expected a finite number.")


def check_n_neighbors(n_neighbors: Any, n_exemplars: int) -> None:
    """Raise unless it is an integer from 1 to the number of exemplars."""
    check_number(n_neighbors, "n_neighbors", int, 1)
    if n_neighbors > n_exemplars:
        raise ValueError(
            f"n_neighbors={n_neighbors} exceeds the {n_exemplars} exemplars of the support. Ask "
            "for fewer, or call add_support."
        )


def check_bool(value: Any, name: str) -> None:
    """Raise ValueError unless the value is True or False."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name}={value!r}; expected True or False.")


def check_shape(value: Any, name: str, lengths: Sequence[int]) -> None:
    """Raise ValueError unless the value is a tuple of positive integers of one of the lengths."""
    ok = (
        isinstance(value, (tuple, list))
        and len(value) in lengths
        and all(isinstance(v, numbers.Integral) and int(v) > 0 for v in value)
        and not any(isinstance(v, bool) for v in value)
    )
    if not ok:
        expected = " or ".join(map(str, lengths))
        raise ValueError(f"{name}={value!r}; expected a tuple of {expected} positive integers.")


def check_input_params(image_shape: Any, channels: Any) -> None:
    """Raise ValueError unless these parameters can say what X holds."""
    check_choice(channels, "channels", ("auto", "first", "last"))
    if image_shape is not None:
        check_shape(image_shape, "image_shape", (2, 3))


def check_dict(value: Any, name: str) -> None:
    """Raise TypeError unless the value is a dict or None."""
    if value is not None and not isinstance(value, dict):
        raise TypeError(f"{name}={value!r}; expected a dict, or None.")


PRETRAINED = Path(__file__).parent / "weights"


def check_weights(weights: Any) -> None:
    """Raise TypeError unless the value can name weights to start from, which may not exist."""
    if not isinstance(weights, str | os.PathLike | None) or weights == "":
        raise TypeError(
            f"weights={weights!r}; expected the name of a pretrained network, the path of a file "
            "that save wrote, or None."
        )


def pretrained_names() -> list[str]:
    """Return the names of the pretrained networks."""
    return sorted(path.stem for path in PRETRAINED.glob("*.safetensors"))


def path_of_weights(weights: str | os.PathLike) -> Path:
    """Return the file of a pretrained network given by name, or the path that was given.

    Raises
    ------
    ValueError
        If it is a bare word, and neither a known name nor a file.
    """
    names = pretrained_names()
    if weights in names:
        return PRETRAINED / f"{weights}.safetensors"
    path = Path(weights)
    if weights == path.name and not path.suffix and not path.exists():
        raise ValueError(
            f"weights={weights!r} is not known; expected one of {', '.join(map(repr, names))}, or "
            "the path of a file that save wrote."
        )
    return path


def check_target(path: Any) -> Path:
    """Return the Path of a file that can be written or replaced; of a link, its target.

    Raises
    ------
    OSError
        If it cannot.
    """
    check_path(path)
    path = Path(os.path.realpath(path))
    if path.is_symlink():
        raise OSError(f"Cannot write {path}: it is a link to itself.")
    if path.is_dir():
        raise OSError(f"Cannot write {path}: it is a directory.")
    if path.exists() and not path.is_file():
        raise OSError(f"Cannot write {path}: it is not a regular file.")
    if not path.parent.is_dir():
        raise OSError(f"Cannot write {path}: its parent directory does not exist.")
    return path


def rng_of(random_state: Any) -> np.random.RandomState:
    """Return a random state that no global generator is used for.

    Raises
    ------
    ValueError
        If `random_state` cannot be used.
    """
    try:
        return own_random_state(random_state)
    except ValueError as error:
        raise ValueError(
            f"random_state={random_state!r}; expected None, an integer from 0 to 2**32 - 1, or a "
            "numpy RandomState."
        ) from error


@contextmanager
def restored_on_error(random_state: Any) -> Iterator[None]:
    """Restore a RandomState if the body fails, so that a failed attempt draws nothing."""
    before = None
    if isinstance(random_state, np.random.RandomState):
        before = random_state.get_state()
    try:
        yield
    except BaseException:
        if before is not None:
            random_state.set_state(before)
        raise


# Callbacks without which training or its result would not be what the parameters say.
_OWN_CALLBACKS = {
    "callbacks__average": "ema_decay",
    "callbacks__finite": "learning_rate",
    "callbacks__progress": "verbose",
    "callbacks__validation": "early_stopping",
}
# What the estimator itself passes to skorch, and the parameter that decides it.
_OWN_SKORCH = {
    "batch_size": "batch_size",
    "bfloat16": "precision",
    "checkpoints": "checkpoint_dir",
    "callbacks": "callbacks",
    "criterion": "loss",
    "device": "device",
    "global_generators": "encoder",
    "iterator_train": "batch_size",
    "iterator_valid": "early_stopping",
    "lr": "learning_rate",
    "max_epochs": "max_iter",
    "module": "encoder",
    "train_split": "early_stopping",
    "verbose": "verbose",
}


def check_net_params(net_params: Any) -> None:
    """Raise if further arguments of the skorch net repeat what a parameter decides."""
    check_dict(net_params, "net_params")
    for name in net_params or ():
        own = "optimizer, optimizer_params" if name.startswith("optimizer") else None
        own = own or _OWN_SKORCH.get(name) or _OWN_CALLBACKS.get(name)
        if own is not None:
            raise ValueError(
                f"net_params has {name!r}, which the estimator sets itself: use the parameter "
                f"{own}."
            )


def as_statistics(value: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return a mean and a standard deviation, each a number or one of each channel, as tuples.

    Raises
    ------
    ValueError
        If the value is anything else.
    """
    try:
        mean, std = (
            tuple(np.ravel(np.asarray(part, dtype=np.float64)).tolist()) for part in value
        )
    except (TypeError, ValueError):
        mean, std = (), ()
    if not mean or len(mean) != len(std) or not np.isfinite([*mean, *std]).all() or min(std) <= 0:
        raise ValueError(
            f"normalization={value!r}; expected 'auto', 'foreground', 'imagenet', None, or a pair "
            "(mean, std) of numbers, or of as many numbers as there are channels, std above 0, "
            "for pixels from 0 to 1."
        )
    return mean, std


def several(encoder: Any) -> tuple[Any, ...]:
    """Return the encoders that the parameter `encoder` gives: those of a tuple, or the one."""
    return encoder if isinstance(encoder, tuple) else (encoder,)


def as_memory(memory: Any) -> Any:
    """Return a `joblib.Memory`, or what has its interface, which caches nothing for None.

    Raises
    ------
    ValueError
        If the value is anything else.
    """
    if isinstance(memory, os.PathLike):
        memory = os.fspath(memory)
    try:
        return check_memory(memory)
    except ValueError as error:
        raise ValueError(
            f"memory={memory!r}; expected the path of a folder, an object with the interface of "
            "joblib.Memory, or None."
        ) from error


PRECISIONS = ("auto", "float32", "bfloat16")
CROPS = ("auto", "foreground", None)
CLASS_AUGMENTATIONS = ("auto", None, "rotate", "rotate_reflect")


@dataclass(frozen=True)
class LearningParams:
    """The parameters of an estimator that decide what is learned; see the estimators' docs.

    Parameters that an estimator does not have take the defaults below.
    """

    encoder: Any
    encoder_params: Any
    head: Any
    head_params: Any
    augmentation: str | None | Callable
    image_shape: tuple[int, ...] | None
    channels: str
    resize: str | None | int | tuple[int, int]
    crop: str | None
    batch_size: Any
    max_iter: int
    n_estimators: int
    optimizer: Any
    optimizer_params: dict[str, Any] | None
    learning_rate: float
    weight_decay: float
    ema_decay: float
    warm_start: bool
    precision: str
    device: str
    callbacks: list | None
    net_params: dict[str, Any] | None
    verbose: int
    random_state: Any
    normalization: str | None | tuple[Any, Any] = "auto"
    weights: str | os.PathLike | None = None
    # Only of labels, which the verifier does not take.
    loss: str | Callable = "verification"
    class_augmentation: str | None = None
    n_pairs: int | None = None
    early_stopping: bool = False
    validation_fraction: float = 0.2
    n_iter_no_change: int = 10
    checkpoint_dir: str | os.PathLike | None = None
    checkpoint_minutes: float | None = None
    memory: Any = None

    @classmethod
    def of(cls, estimator: Any) -> "LearningParams":
        """Read the parameters of an estimator."""
        return cls.among(estimator.get_params(deep=False))

    @classmethod
    def among(cls, params: dict[str, Any]) -> "LearningParams":
        """Take from all parameters of an estimator those that decide what is learned."""
        names = {f.name for f in fields(cls)}
        return cls(**{name: value for name, value in params.items() if name in names})

    @property
    def n_kinds(self) -> int:
        """Number of kinds of networks, more than one where `encoder` is a tuple."""
        return len(several(self.encoder))

    @property
    def n_networks(self) -> int:
        """Number of networks whose mean logit is used."""
        return self.n_kinds * self.n_estimators

    def of_network(self, number: int) -> "LearningParams":
        """Return the parameters of one of the networks: of a tuple, its own encoder and head.

        Raises
        ------
        ValueError
            If encoder, head and their arguments are not of one length.
        """
        if not isinstance(self.encoder, tuple):
            return self
        n_kinds, own = self.n_kinds, {}
        for name in ("encoder", "encoder_params", "head", "head_params"):
            value = getattr(self, name)
            values = value if isinstance(value, tuple) else (value,) * n_kinds
            if len(values) != n_kinds or not values:
                raise ValueError(
                    f"{name}={value!r} has {len(values)} values, but encoder={self.encoder!r} has "
                    f"{n_kinds}. Give one value for each network, or one for all."
                )
            own[name] = values[number % n_kinds]
        return replace(self, **own)

    def check(self) -> None:
        """Raise ValueError or TypeError for parameters that cannot be used with any data."""
        if self.encoder == ():
            raise ValueError("encoder=() is empty; expected at least one encoder.")
        for number in range(self.n_kinds):
            self.of_network(number)._check_network()
        check_choice(self.class_augmentation, "class_augmentation", CLASS_AUGMENTATIONS)
        check_choice(self.crop, "crop", CROPS)
        if isinstance(self.normalization, str):
            names = ("auto", "foreground", "imagenet", None)
            check_choice(self.normalization, "normalization", names)
        elif self.normalization is not None:
            as_statistics(self.normalization)
        check_choice(self.precision, "precision", PRECISIONS)
        check_input_params(self.image_shape, self.channels)
        if isinstance(self.resize, numbers.Integral):
            check_number(self.resize, "resize", int, 1)
        elif isinstance(self.resize, str):
            check_choice(self.resize, "resize", ("auto",))
        elif self.resize is not None:
            check_shape(self.resize, "resize", (2,))
        self._check_batches()
        check_weights(self.weights)
        check_number(self.max_iter, "max_iter", int, 1 if self.weights is None else 0)
        check_number(self.n_estimators, "n_estimators", int, 1)
        check_number(self.learning_rate, "learning_rate", float, 0, include="neither")
        check_number(self.weight_decay, "weight_decay", float, 0)
        check_number(self.ema_decay, "ema_decay", float, 0, 1, include="left")
        check_number(self.validation_fraction, "validation_fraction", float, 0, 1, "neither")
        check_number(self.n_iter_no_change, "n_iter_no_change", int, 1)
        if not isinstance(self.verbose, bool):
            check_number(self.verbose, "verbose", int, 0)
        check_bool(self.early_stopping, "early_stopping")
        check_bool(self.warm_start, "warm_start")
        check_dict(self.optimizer_params, "optimizer_params")
        for name, own in (("lr", "learning_rate"), ("weight_decay", "weight_decay")):
            if name in (self.optimizer_params or {}):
                raise ValueError(f"optimizer_params has {name!r}: use the parameter {own}.")
        check_net_params(self.net_params)
        self._check_checkpoints()
        as_memory(self.memory)
        self.rng()

    def _check_network(self) -> None:
        check_dict(self.encoder_params, "encoder_params")
        if self.encoder_params and not isinstance(self.encoder, str):
            raise ValueError(
                f"encoder_params={self.encoder_params!r} are for an encoder given by name, but "
                f"encoder={self.encoder!r}. Pass the arguments to it yourself."
            )
        check_dict(self.head_params, "head_params")

    def _check_checkpoints(self) -> None:
        if self.checkpoint_dir is not None:
            check_path(self.checkpoint_dir, "checkpoint_dir", "the path of a folder, or None")
        if self.checkpoint_minutes is not None:
            minutes = self.checkpoint_minutes
            check_number(minutes, "checkpoint_minutes", float, 0, include="neither")

    def _check_batches(self) -> None:
        """`batch_size` counts pairs where `n_pairs` are drawn, and is a shape elsewhere."""
        size = self.batch_size
        if self.n_pairs is not None:
            check_number(self.n_pairs, "n_pairs", int, 2)
        if isinstance(size, str):
            check_choice(size, "batch_size", ("auto",))
        elif isinstance(size, numbers.Integral):
            check_number(size, "batch_size", int, 2)
        else:
            check_shape(size, "batch_size", (3,))
            if min(size[1:]) < 2:
                raise ValueError(
                    f"batch_size={size!r}; expected (groups, classes, samples) with at least two "
                    "classes of each group and two samples of each class: pairs are made inside "
                    "a group of the batch."
                )
            if self.n_pairs is not None:
                raise ValueError(
                    f"batch_size={size!r} compares all pairs inside a batch, but n_pairs="
                    f"{self.n_pairs} draws pairs once. Give batch_size as the number of pairs per "
                    "step, or leave n_pairs=None."
                )

    def pairs_per_step(self) -> int:
        """Return the number of given pairs per training step.

        Raises
        ------
        ValueError
            If `batch_size` is a shape.
        """
        if isinstance(self.batch_size, str):
            return 128
        if not isinstance(self.batch_size, numbers.Integral):
            raise ValueError(
                f"batch_size={self.batch_size!r} is for labels, but y has pairs: give the number "
                "of pairs per step, or batch_size='auto'."
            )
        return int(self.batch_size)

    def classes_per_step(self) -> tuple[int, int, int]:
        """Return the numbers of groups, classes and samples per training step.

        Raises
        ------
        ValueError
            If `batch_size` counts pairs.
        """
        if isinstance(self.batch_size, str):
            return 1, 20, 4
        if isinstance(self.batch_size, numbers.Integral):
            raise ValueError(
                f"batch_size={self.batch_size} counts pairs, but y has labels and n_pairs=None "
                "compares all pairs inside a batch. Give batch_size as (groups, classes, "
                "samples), or set n_pairs to draw a fixed number of pairs."
            )
        groups, classes, samples = map(int, self.batch_size)
        return groups, classes, samples

    def rng(self) -> np.random.RandomState:
        """Return the random state.

        Raises
        ------
        ValueError
            If `random_state` cannot be used.
        """
        return rng_of(self.random_state)
