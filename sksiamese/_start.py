"""What training starts from: what was learned before, the weights in a file, or nothing."""

import reprlib
from dataclasses import replace
from typing import Any

from ._fitted import Fitted
from ._learning import neural
from ._params import LearningParams, path_of_weights
from ._persistence import object_of, read_network
from ._validation import ImageStore
from .twin.network import TwinEnsemble, members_of
from .twin.scaling import describe_shape

# What decides how a network computes. `resize` and `crop` decide what it is shown.
ARCHITECTURE = ("encoder", "encoder_params", "head", "head_params")


def start_of(estimator: Any, params: LearningParams) -> Fitted | None:
    """Return what `fit` starts from; None: weights drawn at random.

    With `warm_start`, that is what was learned before. Otherwise, and for further networks of
    `n_estimators`, it is what the file of `weights` holds.

    Raises
    ------
    ValueError
        If `weights` is not known, or of a network with another architecture.
    OSError
        If its file cannot be read.
    """
    before = vars(estimator).get("fitted_") if params.warm_start else None
    if params.weights is None:
        return before
    if before is None:
        return _weights(params)
    own = members_of(neural(before).network)
    if len(own) >= params.n_networks:
        return before
    further = members_of(neural(_weights(params)).network)[len(own) :]
    # Another network, so another scale of its logits.
    return _uncalibrated(_with_members(before, [*own, *further]))


def check_start(start: Fitted, store: ImageStore, estimator: Any) -> None:
    """Raise ValueError unless training can start there with samples of this shape."""
    has, known = store.input_shape, start.input_shape
    if start.adapts and len(known) == len(has) == 3:
        suits, of = known[0] == has[0], f"images of {known[0]} channel(s)"
    else:
        suits, of = known == has, describe_shape(known)
    if suits:
        return
    warm = estimator.warm_start and "fitted_" in vars(estimator)
    name = "warm_start=True" if warm else f"weights={estimator.weights!r}"
    raise ValueError(
        f"X has {describe_shape(has)}, but {name} continues a network for {of}. Bring X to that "
        f"shape, or set {'warm_start=False' if warm else 'weights=None'}."
    )


def _weights(params: LearningParams) -> Fitted:
    """Return the fitted value in the file of `weights`, for each of `n_estimators`.

    It adapts: the input scaling is learned from X. Its calibration is kept for ``max_iter=0``.
    """
    assert params.weights is not None
    trained, fitted = read_network(path_of_weights(params.weights), object_of(params.encoder))
    _check_architecture(params, trained)
    members = members_of(neural(fitted).network)
    chosen = [n % len(members) for n in range(params.n_networks)]
    if params.n_networks % len(members):
        fitted = _uncalibrated(fitted)
    elif fitted.level_weights is not None and len(chosen) != len(members):
        own = fitted.level_weights if len(members) > 1 else fitted.level_weights[None]
        weights = own[chosen] * (len(members) / len(chosen))
        fitted = replace(fitted, level_weights=weights)
    fitted = _with_members(fitted, [members[n] for n in chosen])
    return replace(fitted, support=None, history=(), adapts=True)


def _uncalibrated(fitted: Fitted) -> Fitted:
    return fitted.with_calibration_of(Fitted(fitted.comparer, fitted.input_shape))


def _with_members(fitted: Fitted, members: list) -> Fitted:
    network = members[0] if len(members) == 1 else TwinEnsemble(members).eval()
    return replace(fitted, comparer=replace(neural(fitted), network=network))


def _check_architecture(params: LearningParams, trained: LearningParams) -> None:
    """Raise ValueError, naming each difference, unless both build the same network."""
    differences = [
        f"{name}={reprlib.repr(getattr(params, name))} instead of {getattr(trained, name)!r}"
        for name in ARCHITECTURE
        if _built_as(params, trained, name) != _built_as(trained, params, name)
    ]
    if differences:
        raise ValueError(
            f"weights={params.weights!r} are of a network with another architecture: "
            f"{', '.join(differences)}. Set these parameters as they are there, with "
            "load_pretrained(name) or load(path), or use weights=None."
        )


def _built_as(params: LearningParams, other: LearningParams, name: str) -> Any:
    value, theirs = getattr(params, name), getattr(other, name)
    if name == "encoder" and value == "auto" and theirs in ("conv", "mlp"):
        return theirs  # what "auto" stands for depends on X, which is checked by itself
    if isinstance(value, dict | None):
        return {key: tuple(v) if isinstance(v, list) else v for key, v in (value or {}).items()}
    return value
