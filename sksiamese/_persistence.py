"""A fitted value and its estimator's parameters as one file; no code is run.

The file holds arrays (the network, its input scaling, the support) and JSON (everything else).
Whatever a file says is compared with what it has before anything is built; what `write_fitted`
writes is read first, so that no estimator is saved that cannot be loaded.
"""

import json
import math
import re
import reprlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from ._building import build_network, check_params, draws_globally
from ._files import check_path, printable
from ._fitted import N_QUANTILES, Fitted
from ._learning import lent_generator, neural
from ._modelfile import read_model_file, short_of, write_model_file
from ._params import LearningParams, check_shape, check_target, several
from ._scaling import build_scaling
from ._support import Block, SupportSet
from ._values import (
    read_fields,
    read_labels,
    read_params,
    written_fields,
    written_labels,
    written_params,
)
from .comparers import MotorPrograms, drawing_scaling, programs_of
from .programs import N_POINTS, pack, unpack
from .twin.inference import NeuralComparer
from .twin.network import TwinEnsemble, TwinNetwork, members_of
from .twin.scaling import FULL
from .twin.search import Cells

FORMAT = "sksiamese 3"
SUPPORT = "support."  # begins the names of its arrays
MEANS = "means."  # among these, of how an index divides the means of classes
Arrays = dict[str, np.ndarray]
_OF_MEMBER = re.compile(r"network\.members\.(\d{1,4})\.")


def write_fitted(
    path: Any,
    estimator: Any,
    fitted: Fitted,
    check: Callable[[Any], Any],
    half: bool = False,
    support: bool = True,
) -> None:
    """Write a file that `read_fitted` reads; it is replaced as a whole, once all is written."""
    path = check_target(path)
    is_programs = isinstance(fitted.comparer, MotorPrograms)
    arrays, comparer = (_written_programs if is_programs else _written_network)(fitted)
    about = {
        "format": FORMAT,
        "class": type(estimator).__name__,
        "params": written_params(estimator),
        "fitted": written_fields(fitted),
        **comparer,
    }
    if support and fitted.support is not None:
        if is_programs:
            own = pack(programs_of(fitted.support))
        else:
            own = {"embeddings": fitted.support.embeddings, **_written_cells(fitted.support)}
            if len(own) > 1:
                about["blocks"] = [len(block) for block in fitted.support.blocks]
        arrays |= {SUPPORT + name: array for name, array in own.items()}
        about["labels"] = written_labels(fitted.support.labels)
    if fitted.level_weights is not None:
        arrays["level_weights"] = fitted.level_weights[None]
    if half:
        arrays = {
            name: a.astype(np.float16) if a.ndim > 1 and a.dtype == np.float32 else a
            for name, a in arrays.items()
        }
    text = json.dumps(about, default=_number)
    with _refusing(f"This {type(estimator).__name__} cannot be saved"):
        _restored(
            json.loads(text),
            arrays,
            type(estimator),
            check,
            object_of(getattr(estimator, "encoder", "")),
        )
    write_model_file(path, text, arrays)


def object_of(encoder: Any) -> Any:
    """Return an encoder, or several, unless a file holds it as a whole: by name."""
    is_named = all(isinstance(one, str) for one in several(encoder))
    return None if is_named else encoder


def read_fitted(path: Any, cls: type, check: Callable[[Any], Any], encoder: Any = None) -> Any:
    """Return the fitted estimator in a file; see `SiameseOneShotClassifier.load`.

    `check` raises for an estimator of this class whose parameters cannot be used. `encoder` is
    the module, or callable, whose weights the file holds.
    """
    check_path(path)
    text, arrays = read_model_file(path)
    with _refusing(f"Cannot load {printable(path)}"):
        return _restored(_about(text), arrays, cls, check, encoder)


def read_network(path: Any, encoder: Any = None) -> tuple[LearningParams, Fitted]:
    """Return the parameters and the fitted value in a file of any estimator with a network.

    `encoder` is the module, or callable, that it was given as, if it was.
    """
    check_path(path)
    text, arrays = read_model_file(path)
    with _refusing(f"Cannot load {printable(path)}"):
        about = _about(text)
        if "working_size" not in about:
            raise ValueError(f"it holds a {about['class']}, which has no network")
        params = LearningParams.among(_with_encoder(read_params(about["params"]), encoder))
        check_params(params)
        return params, _fitted(about, arrays, params)


@contextmanager
def _refusing(what: str) -> Iterator[None]:
    """Re-raise what the body meets in contents that no estimator has, as a short ValueError."""
    try:
        yield
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        raise ValueError(f"{what}: {short_of(error)}.") from error


def _number(value: Any) -> Any:
    """Return NumPy's numbers, which skorch's callbacks may put into the history, as JSON's."""
    if isinstance(value, np.number | np.bool_ | np.ndarray) and value.dtype.itemsize <= 8:
        return value.tolist()
    raise ValueError(
        f"history_ holds {reprlib.repr(value)}, which save cannot write. Record numbers only."
    )


def _about(text: str) -> dict[str, Any]:
    """Return the JSON in a file."""
    about = json.loads(text)
    if about.get("format") != FORMAT:
        raise ValueError(
            f"it has format {reprlib.repr(about.get('format'))}; expected {FORMAT!r}. It was "
            "written by another version of sksiamese"
        )
    if json.dumps(about) != text:
        raise ValueError("it has JSON that save does not write, such as a name twice")
    known = {
        "format",
        "class",
        "params",
        "fitted",
        "working_size",
        "unit",
        "crop",
        "programs",
        "labels",
        "blocks",
    }
    if ("working_size" in about) == ("programs" in about):
        raise ValueError("it has neither a network nor motor programs, or both")
    if about.keys() - known:
        raise ValueError(f"it has {reprlib.repr(sorted(about.keys() - known))}, which is unknown")
    return about


def _with_encoder(params: dict[str, Any], encoder: Any) -> dict[str, Any]:
    """Return parameters with the encoders that a file knows by their names only."""
    written = params.get("encoder")
    if all(isinstance(one, str | None) for one in several(written)):
        if encoder is not None:
            raise ValueError(f"its encoder is {written!r}, but encoder= was given: leave it out")
        return params
    if not all(isinstance(one, str | None) or _is_description(one) for one in several(written)):
        raise ValueError("encoder is neither a name nor what stands for a module or callable")
    known, given = ([_kind_of(one) for one in several(e)] for e in (written, encoder))
    if known != given:
        names = [
            one if isinstance(one, str) else " ".join(*one.items()) for one in several(written)
        ]
        raise ValueError(
            f"its encoder was {reprlib.repr(', '.join(names))[1:-1]}, and a file holds weights, "
            "not code: pass one that is built as that was, load(path, encoder=...)"
        )
    return {**params, "encoder": encoder}


def _is_description(encoder: Any) -> bool:
    """Return whether this is what `save` writes of an encoder that is no name."""
    if not isinstance(encoder, dict) or list(encoder) not in (["module"], ["callable"]):
        return False
    return all(isinstance(name, str) for name in encoder.values())


def _kind_of(encoder: Any) -> str:
    """Return "module" or "callable", of an encoder or of what a file says of it; or its name."""
    if isinstance(encoder, dict):
        ((kind, _),) = encoder.items()
        return kind
    if isinstance(encoder, str | None):
        return str(encoder)
    return "module" if isinstance(encoder, nn.Module) else "callable"


def _restored(
    about: dict[str, Any],
    arrays: Arrays,
    cls: type,
    check: Callable[[Any], Any],
    encoder: Any = None,
) -> Any:
    """Return the estimator that JSON and arrays are of."""
    if about["class"] != cls.__name__:
        raise ValueError(f"it holds a {reprlib.repr(about['class'])[1:-1]}: load it by that class")
    params = _with_encoder(read_params(about["params"]), encoder)
    unknown = params.keys() - cls().get_params(deep=False).keys()
    if unknown:
        raise ValueError(f"{cls.__name__} has no parameters {reprlib.repr(sorted(unknown))}")
    estimator = cls(**params)
    check(estimator)
    learning = LearningParams.of(estimator) if "working_size" in about else None
    estimator.fitted_ = _fitted(about, arrays, learning)
    return estimator


def _fitted(about: dict[str, Any], arrays: Arrays, params: LearningParams | None) -> Fitted:
    """Return the fitted value; without `params`, of motor programs."""
    values = read_fields(about["fitted"])
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(f"{name} has NaN or infinity")
    own = {name.removeprefix(SUPPORT): a for name, a in arrays.items() if name.startswith(SUPPORT)}
    rest = {name: array for name, array in arrays.items() if not name.startswith(SUPPORT)}
    comparer: MotorPrograms | NeuralComparer
    levels = None
    if params is None:
        comparer, embeddings = _restored_programs(about["programs"], values, rest, own)
    else:
        levels = rest.pop("level_weights", None)
        comparer = _restored_network(about, values, rest, params)
        embeddings = _read_embeddings(comparer, own.pop("embeddings", None), "embeddings")
        levels = _read_embeddings(comparer, levels, "level_weights")
    if levels is not None:
        (values["level_weights"],) = levels
    support = _restored_support(about, embeddings, {} if params is None else own)
    fitted = Fitted(comparer=comparer, support=support, **values)
    for name, agrees in _AGREEMENTS.items():
        if not agrees(fitted, about["params"]):
            raise ValueError(f"{name} does not agree with the rest of what was learned")
    return fitted


def _restored_support(
    about: dict[str, Any], embeddings: np.ndarray | None, arrays: Arrays
) -> SupportSet | None:
    if embeddings is None:
        if about.keys() & {"labels", "blocks"}:
            raise ValueError("it has labels without exemplars")
        _refuse(arrays)
        return None
    labels = read_labels(about["labels"], "labels")
    if len(labels) != len(embeddings):
        raise ValueError(f"it has {len(labels)} labels of {len(embeddings)} exemplars")
    lengths = about.get("blocks", [len(labels)])
    if not all(type(n) is int and n > 0 for n in lengths) or sum(lengths) != len(labels):
        raise ValueError(f"blocks={reprlib.repr(lengths)} do not sum to {len(labels)} exemplars")
    blocks, first = [], 0
    for number, n in enumerate(lengths):
        part = slice(first, first + n)
        blocks.append(Block(embeddings[part], labels[part], _taken_cells(arrays, f"{number}.", n)))
        first += n
    support = SupportSet(tuple(blocks))
    if MEANS + "places" in arrays:
        classes = support.classes
        support = replace(
            support, known_means=(classes, _taken_cells(arrays, MEANS, len(classes)))
        )
    _refuse(arrays)
    return support


def _written_cells(support: SupportSet) -> Arrays:
    """Return how indices divide the exemplars of each block, and the means of classes."""
    known = {f"{number}.": block.cells for number, block in enumerate(support.blocks)}
    known[MEANS] = support.cells_of_means
    return {
        name + part: getattr(cells, part)
        for name, cells in known.items()
        if cells is not None
        for part in ("centroids", "places")
    }


def _taken_cells(arrays: Arrays, name: str, n: int) -> Cells | None:
    """Remove what `_written_cells` returns of n exemplars; None if there is none."""
    if name + "places" not in arrays:
        return None
    places = _take(arrays, name + "places", (n,), np.int16)
    shape = arrays.get(name + "centroids", places).shape
    centroids = _take(arrays, name + "centroids", shape, np.float32, np.float16)
    if centroids.ndim != 2 or places.min() < -1 or places.max() >= len(centroids):
        raise ValueError(f"{name}places are not of the centroids, which have shape {shape}")
    return Cells(centroids.astype(np.float32), places)


def _n_members(fitted: Fitted) -> int:
    comparer = fitted.comparer
    return len(members_of(comparer.network)) if isinstance(comparer, NeuralComparer) else 0


def _are_quantiles(values: tuple[float, ...]) -> bool:
    return len(values) == N_QUANTILES and sorted(values) == [*values]


def _is_series(fitted: Fitted) -> bool:
    return len(fitted.input_shape) == 2 and fitted.input_shape[0] == 1


# Whether a field is as `fit` makes it beside the others, and beside the parameters.
_AGREEMENTS: dict[str, Callable[[Fitted, dict[str, Any]], bool]] = {
    "flat": lambda fitted, params: (
        fitted.flat
        if len(fitted.input_shape) == 1
        else not fitted.flat or params.get("image_shape") is not None or _is_series(fitted)
    ),
    "feature_names": lambda fitted, _: (
        fitted.feature_names is None
        or (fitted.flat and len(fitted.feature_names) == fitted.n_features_in)
    ),
    "genuine_scores": lambda fitted, _: (
        (fitted.genuine_scores is None) == (fitted.rejection_threshold in (None, -math.inf))
    ),
    "prior_unknown": lambda fitted, _: (
        (fitted.prior_calibration is None)
        if fitted.prior_unknown is None
        else (fitted.prior_calibration is not None and _are_quantiles(fitted.prior_unknown))
    ),
    "level_offset": lambda fitted, _: not fitted.level_offset or fitted.level_weights is not None,
    "history": lambda fitted, _: len(fitted.history) in (0, _n_members(fitted)),
    "held_out_classes": lambda fitted, _: (
        fitted.held_out_classes is None or _n_members(fitted) > 0
    ),
    "held_out_groups": lambda fitted, _: (
        fitted.held_out_groups is None
        or (fitted.held_out_classes is not None and len(fitted.held_out_groups) > 0)
    ),
    "decision_threshold": lambda fitted, _: (
        not fitted.decision_threshold or _n_members(fitted) > 0
    ),
    "negative_label": lambda fitted, _: not fitted.negative_label or _n_members(fitted) > 0,
    "adapts": lambda fitted, params: (  # to its support, which a verifier does not have
        not fitted.adapts or "aggregation" in params if _n_members(fitted) else fitted.adapts
    ),
}


def _take(arrays: Arrays, name: str, shape: tuple[int, ...], *dtypes: type) -> np.ndarray:
    """Remove an array and return it; ValueError unless it is of this shape and dtype."""
    if name not in arrays:
        raise ValueError(f"it lacks {name}")
    array = arrays.pop(name)
    if array.shape != shape or array.dtype not in dtypes:
        expected = " or ".join(dtype.__name__ for dtype in dtypes)
        raise ValueError(
            f"{name} has shape {array.shape} and dtype {array.dtype}; expected {shape}, {expected}"
        )
    return array


def _refuse(arrays: Arrays) -> None:
    if arrays:
        raise ValueError(f"it has {reprlib.repr(sorted(arrays))}, which are not of its estimator")


def _tensor(array: np.ndarray) -> torch.Tensor:
    """Return a tensor of its own, in single precision if it was written in half."""
    return torch.tensor(array.astype(np.float32) if array.dtype == np.float16 else array)


def _taken_scaling(arrays: Arrays, shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    offset = _take(arrays, "scaling.offset", shape, np.float64)
    scale = _take(arrays, "scaling.scale", shape, np.float64)
    if (scale == 0).any():
        raise ValueError("scaling.scale has a zero")
    return _tensor(offset), _tensor(scale)


def _channels(arrays: Arrays, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of an input scaling; gray images may become several channels."""
    known = arrays.get("scaling.offset")
    if known is None or shape[0] != 1 or known.ndim != 3:
        return (shape[0], 1, 1)
    return (len(known), 1, 1)


# A network


def _written_network(fitted: Fitted) -> tuple[Arrays, dict[str, Any]]:
    """Return arrays and JSON of a network and its input scaling."""
    comparer = neural(fitted)
    tensors = comparer.network.state_dict(prefix="network.")
    tensors["scaling.offset"] = comparer.scaling.offset
    tensors["scaling.scale"] = comparer.scaling.scale
    others = [name for name, value in tensors.items() if not isinstance(value, torch.Tensor)]
    if others:
        raise ValueError(
            f"The encoder cannot be saved: its {others[0]} is no tensor, and a file holds nothing "
            "else. Pickle the estimator instead."
        )
    arrays = {name: tensor.numpy(force=True) for name, tensor in tensors.items()}
    scaling = comparer.scaling
    unit = {} if scaling.unit is None else {"unit": scaling.unit}
    crop = {} if scaling.crop is None else {"crop": scaling.crop}
    return arrays, {"working_size": scaling.working_size, **unit, **crop}


def _restored_network(
    about: dict[str, Any], values: dict[str, Any], arrays: Arrays, params: LearningParams
) -> NeuralComparer:
    shape, working_size, unit = values["input_shape"], about["working_size"], about.get("unit")
    of_images = len(shape) == 3
    offset, scale = _taken_scaling(arrays, _channels(arrays, shape) if of_images else shape)
    is_known = isinstance(unit, float) and unit in (0.0, *FULL)
    if unit is not None and not (of_images and is_known):
        raise ValueError(f"unit={reprlib.repr(unit)} is not one of images")
    if of_images:
        check_shape(working_size, "working_size", (2,))
    elif working_size is not None:
        raise ValueError(f"working_size={reprlib.repr(working_size)} is of images, not of rows")
    size = tuple(working_size) if of_images else None
    crop = about.get("crop")
    if crop not in (None, "foreground") or params.crop not in ("auto", crop):
        raise ValueError(f"crop={reprlib.repr(crop)} does not agree with crop={params.crop!r}")
    params = replace(params, crop=crop)
    scaling = build_scaling(params, shape, offset, scale, size, unit)
    members = _restored_members(params, scaling.output_shape, arrays)
    _refuse(arrays)
    network = TwinEnsemble(members) if len(members) > 1 else members[0]
    return NeuralComparer(network.eval().requires_grad_(False), scaling, str(params.device))


def _restored_members(
    params: LearningParams, shape: tuple[int, ...], arrays: Arrays
) -> list[TwinNetwork]:
    """Return the networks, whose weights are taken from the arrays; each array is checked."""
    numbers = {int(found[1]) for name in arrays if (found := _OF_MEMBER.match(name))}
    n_members = max(len(numbers), params.n_networks if numbers else 1)
    prefixes = [f"network.members.{n}." for n in range(n_members)] if numbers else ["network."]
    networks = [_empty(params.of_network(n), shape) for n in range(n_members)]
    expected = [network.state_dict() for network in networks]
    names = {p + name for p, own in zip(prefixes, expected, strict=True) for name in own}
    missing, unexpected = sorted(names - arrays.keys()), sorted(arrays.keys() - names)
    if missing or unexpected:
        raise ValueError(
            f"the parameters are of another network: it lacks {reprlib.repr(missing)} and has "
            f"{reprlib.repr(unexpected)}. Set encoder, encoder_params, head and head_params as "
            "they were in fit"
        )
    for network, prefix, own in zip(networks, prefixes, expected, strict=True):
        state = {name: _taken_weights(arrays, prefix, name, like) for name, like in own.items()}
        network.load_state_dict(state, assign=True)
    return [TwinNetwork(network.encoder, network.head, network.still_norm) for network in networks]


def _empty(params: LearningParams, shape: tuple[int, ...]) -> TwinNetwork:
    """Return a network whose weights are to be read."""
    with lent_generator(0) if draws_globally(params) else nullcontext():
        return build_network(params, shape, seed=None)


def _taken_weights(arrays: Arrays, prefix: str, name: str, like: torch.Tensor) -> torch.Tensor:
    own = np.float32 if like.is_floating_point() else torch.empty(0, dtype=like.dtype).numpy()
    dtypes: tuple[type, ...] = (own if isinstance(own, type) else own.dtype.type,)
    if like.is_floating_point() and like.ndim > 1:
        dtypes += (np.float16,)
    array = _take(arrays, prefix + name, tuple(like.shape), *dtypes)
    if name.endswith(("running_var", "num_batches_tracked")) and (array < 0).any():
        raise ValueError(f"{prefix}{name} has values below 0")
    return _tensor(array)


def _read_embeddings(
    comparer: NeuralComparer, array: np.ndarray | None, name: str
) -> np.ndarray | None:
    """Return embeddings in single precision; ValueError unless they are of this network."""
    if array is None:
        return None
    shape = comparer.network.head.embedding_shape
    shape = (max((1, *array.shape[:1])), *shape)
    return _take({name: array}, name, shape, np.float32, np.float16).astype(np.float32)


# Motor programs


def _written_programs(fitted: Fitted) -> tuple[Arrays, dict[str, Any]]:
    """Return arrays and JSON of a comparer by motor programs."""
    comparer = fitted.comparer
    assert isinstance(comparer, MotorPrograms)
    options = {f.name: getattr(comparer, f.name) for f in fields(comparer) if f.name != "scaling"}
    arrays = {}
    if comparer.scaling is not None:
        arrays = {
            "scaling.offset": comparer.scaling.offset.numpy(),
            "scaling.scale": comparer.scaling.scale.numpy(),
        }
    return arrays, {"programs": options}


def _restored_programs(
    options: dict[str, Any], values: dict[str, Any], arrays: Arrays, own: Arrays
) -> tuple[MotorPrograms, np.ndarray | None]:
    """Return the comparer, and the embeddings of the exemplars."""
    shape = values["input_shape"]
    scaling = None
    if arrays:
        of = (1, 1, 1) if len(shape) == 3 else shape
        scaling = drawing_scaling(*_taken_scaling(arrays, of), shape)
    _refuse(arrays)
    comparer = MotorPrograms(**options, scaling=scaling)
    comparer.check()
    if not own:
        return comparer, None
    programs = unpack(own)
    if max(len(program.points) for program in programs) > N_POINTS:
        raise ValueError(f"a program has more than {N_POINTS} points")
    return comparer, comparer.embeddings_of(programs)
