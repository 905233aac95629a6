"""What the estimators share: reading X, and public attributes that come from ``fitted_``."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Generic, TypeVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted, validate_data

from ._fitted import Fitted, check_unknown_label
from ._learning import (
    Monitor,
    PairData,
    TrainingData,
    check_device,
    check_params,
    learn,
    neural,
    restored_on_error,
)
from ._params import LearningParams, check_choice, check_number
from ._support import AGGREGATIONS
from ._validation import (
    ImageStore,
    as_array,
    check_calibration_data,
    check_images,
    check_labels,
)
from .twin.inference import NeuralComparer
from .twin.network import Network, members_of
from .twin.scaling import describe_shape

T = TypeVar("T")


class FittedAttribute(Generic[T]):
    """A public attribute that is read from ``fitted_``; absent before `fit`, and while None.

    Parameters
    ----------
    read : callable
        Takes ``fitted_`` and returns the attribute's value.
    """

    def __init__(self, read: Callable[[Any], T | None]) -> None:
        self.read = read

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, estimator: Any, owner: type | None = None) -> T:
        if estimator is None:
            return self  # type: ignore[return-value]  # as `property` does on the class
        fitted = vars(estimator).get("fitted_")
        value = None if fitted is None else self.read(fitted)
        if value is None:
            name = type(estimator).__name__
            raise AttributeError(f"{name!r} object has no attribute {self.name!r}")
        return value

    def __set__(self, estimator: Any, value: Any) -> None:
        raise AttributeError(
            f"{self.name!r} of {type(estimator).__name__} is learned and cannot be set."
        )


def network_of(fitted: Fitted) -> Network | None:
    """Return the network of a fitted value; None if it compares by something else."""
    return fitted.comparer.network if isinstance(fitted.comparer, NeuralComparer) else None


def n_features_out_of(fitted: Fitted) -> int | None:
    """Return the length of an embedding; None if the comparer has no network."""
    return fitted.comparer.n_features if isinstance(fitted.comparer, NeuralComparer) else None


def fitted_of(estimator: Any) -> Fitted:
    """Return what the estimator has learned, to be used on its `device`.

    Raises
    ------
    NotFittedError
        Before `fit`.
    ValueError
        If torch does not have the device here.
    """
    check_is_fitted(estimator, "fitted_")
    fitted = estimator.fitted_
    comparer = fitted.comparer
    if not isinstance(comparer, NeuralComparer):
        return fitted
    check_device(estimator.device)
    return replace(fitted, comparer=comparer.to(estimator.device))


def supported(estimator: Any) -> Fitted:
    """Return what the estimator has learned, with a support; NotFittedError without one."""
    fitted = fitted_of(estimator)
    if fitted.support is None:
        raise NotFittedError(
            f"This {type(estimator).__name__} instance has no support yet. Call set_support(X, y) "
            "with at least one exemplar of each class before predicting."
        )
    return fitted


def check_knows_input(fitted: Fitted) -> None:
    """Raise NotFittedError if the input scaling comes from the support, and there is none."""
    if fitted.adapts and fitted.support is None:
        raise NotFittedError(
            "This estimator learns the size and the value range of images from its support, which "
            "it does not have. Call set_support(X, y) first."
        )


def checked_params(estimator: Any) -> LearningParams:
    """Return the parameters that decide what is learned; raise for those that cannot be used."""
    params = LearningParams.of(estimator)
    check_params(params)
    return params


def calibration_rate(estimator: Any, data: TrainingData) -> float | None:
    """Return the false-acceptance rate to calibrate for in `fit`; None: do not calibrate.

    Raises
    ------
    ValueError
        If a parameter of the classifier's answers cannot be used.
    """
    check_choice(estimator.aggregation, "aggregation", AGGREGATIONS)
    rate = estimator.false_acceptance_rate
    check_number(rate, "false_acceptance_rate", float, 0, 1, "neither")
    if estimator.unknown_label is None or isinstance(data, PairData):
        return None
    check_unknown_label(estimator.unknown_label, np.unique(data.labels))
    return rate


def calibrated_on(estimator: Any, X: Any, y: Any, groups: Any, fitted: Fitted) -> Fitted:
    """Return what was learned, calibrated on these samples; the rest is unchanged.

    A pretrained network keeps the input scaling of its support.
    """
    rate = estimator.false_acceptance_rate
    check_number(rate, "false_acceptance_rate", float, 0, 1, "neither")
    for_these, store = adapted(estimator, X, fitted)
    classes, numbers = check_calibration_data(y, groups, len(store))
    learned = for_these.calibrated(for_these.comparer.embed(store), classes, numbers, rate)
    return replace(
        fitted,
        calibration=learned.calibration,
        rejection_threshold=learned.rejection_threshold,
    )


def exemplars(
    estimator: Any, store: ImageStore, y: Any, fitted: Fitted
) -> tuple[np.ndarray, np.ndarray]:
    """Return embeddings and validated labels of exemplars."""
    labels = check_labels(y, len(store))
    if estimator.unknown_label is not None:
        check_unknown_label(estimator.unknown_label, labels)
    return fitted.comparer.embed(store), labels


def start_of(estimator: Any) -> Fitted | None:
    """Return what `fit` continues from: with `warm_start`, what was learned before."""
    return vars(estimator).get("fitted_") if estimator.warm_start else None


def learn_watched(
    estimator: Any,
    X: Any,
    y: Any,
    params: LearningParams,
    data: TrainingData,
    feature_names: np.ndarray | None,
    start: Fitted | None,
    false_acceptance_rate: float | None = None,
) -> tuple[Fitted, bool]:
    """Call `learn`, and tell scikit-learn's callbacks of each epoch.

    X and y are as given to `fit`. A RandomState is restored if training fails.
    """
    n_epochs = params.max_iter * params.n_estimators
    context = estimator._init_callback_context(max_subtasks=n_epochs)
    monitor = None
    if context is not None:
        context.call_on_fit_task_begin(estimator=estimator, X=X, y=y)
        monitor = Monitor(estimator, context, X, y)
    with restored_on_error(params.random_state):
        fitted, interrupted = learn(
            params,
            data,
            feature_names=feature_names,
            start=start,
            false_acceptance_rate=false_acceptance_rate,
            monitor=monitor,
        )
    if context is not None:
        context.call_on_fit_task_end(
            estimator=estimator, X=X, y=y, reconstruction_attributes={"fitted_": fitted}
        )
    return fitted, interrupted


def raise_if_interrupted(interrupted: bool) -> None:
    """Raise KeyboardInterrupt so that the caller, such as a grid search, stops too."""
    if interrupted:
        raise KeyboardInterrupt("Training was interrupted. The network trained so far is kept.")


def read_training(
    estimator: Any, X: Any, start: Fitted | None = None
) -> tuple[ImageStore, np.ndarray | None]:
    """Return X to train on as an image store, and the names of its columns.

    With `start`, training continues from it, and X must have its shape.
    """
    X, names = _checked(estimator, X)
    store = ImageStore(X, estimator.image_shape, estimator.channels)
    shape = estimator.image_shape
    if shape is not None and not store.flat:
        of_rows = ImageStore(np.empty((0, np.prod(shape))), shape, estimator.channels)
        if of_rows.input_shape != store.input_shape:
            raise ValueError(
                f"X has {describe_shape(store.input_shape)}, but image_shape={shape!r} is "
                f"{describe_shape(of_rows.input_shape)}. Leave image_shape=None, or set it to the "
                "shape of the images."
            )
    if start is not None and not start.adapts and start.input_shape != store.input_shape:
        raise ValueError(
            f"X has {describe_shape(store.input_shape)}, but warm_start=True continues a network "
            f"for {describe_shape(start.input_shape)}. Bring X to that shape, or set "
            "warm_start=False."
        )
    return store, names


def read(estimator: Any, X: Any, fitted: Fitted) -> ImageStore:
    """Return X to predict on as an image store; ValueError unless it has the fitted shape."""
    check_knows_input(fitted)
    X, _ = _checked(estimator, X, fitted)
    name = type(estimator).__name__
    known = describe_shape(fitted.input_shape)
    if X.ndim == 2 and not fitted.flat and estimator.image_shape is None:
        raise ValueError(
            f"X has flat rows of {X.shape[1]} features, but {name} was fitted on {known}. Pass "
            f"images of that shape.{_hint(X.shape, fitted)}"
        )
    store = ImageStore(X, estimator.image_shape, estimator.channels)
    if store.input_shape != fitted.input_shape:
        raise ValueError(
            f"X has {describe_shape(store.input_shape)}, but {name} was fitted on {known}. Bring "
            f"X to that shape, or fit again.{_hint(X.shape, fitted)}"
        )
    return store


def _checked(
    estimator: Any, X: Any, fitted: Fitted | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return X as an array of numbers, and the names of its columns.

    scikit-learn's `validate_data` writes what it sees into an estimator: here into a throw-away
    one of the same name, so that a call that fails changes nothing.
    """
    if X is None:
        raise ValueError("X is None; expected an array of images or of flat rows.")
    X = X if hasattr(X, "shape") else as_array(X, "X")
    if tuple(X.shape[:1]) == (0,):
        raise ValueError(f"X has no samples, shape {tuple(X.shape)}; expected at least one.")
    if len(X.shape) > 2 or (fitted is not None and not fitted.flat):
        return check_images(X), None
    seen = type(type(estimator).__name__, (BaseEstimator,), {})()
    if fitted is not None:
        seen.n_features_in_ = fitted.n_features_in
        if fitted.feature_names is not None:
            seen.feature_names_in_ = fitted.feature_names
    X = validate_data(seen, X, reset=fitted is None, dtype="numeric")
    return X, getattr(seen, "feature_names_in_", None)


def _hint(shape: tuple[int, ...], fitted: Fitted) -> str:
    """Return the end of an error message, where X seems to be a single image."""
    channels, *size = fitted.input_shape
    single = [(channels, *size), (*size, channels)] + [tuple(size)] * (channels == 1)
    return " Pass a single image as X[None], a batch of one." if tuple(shape) in single else ""


def adapted(estimator: Any, X: Any, fitted: Fitted) -> tuple[Fitted, ImageStore]:
    """Return what was learned, for images like X, and X as an image store.

    If `fitted` adapts, as in a pretrained network, shape and input scaling are estimated from X.
    Otherwise X must have the fitted shape.
    """
    if not fitted.adapts:
        return fitted, read(estimator, X, fitted)
    store, names = read_training(estimator, X)
    adapted_to = getattr(fitted.comparer, "adapted_to", None)
    fitted = replace(
        fitted,
        comparer=fitted.comparer if adapted_to is None else adapted_to(store),
        input_shape=store.input_shape,
        flat=store.flat,
        feature_names=names,
    )
    return fitted, store


def embed(estimator: Any, X: Any, fitted: Fitted) -> np.ndarray:
    """Return the embeddings of X, (n, ...)."""
    return fitted.comparer.embed(read(estimator, X, fitted))


def embed_both(estimator: Any, XA: Any, XB: Any, fitted: Fitted) -> tuple[np.ndarray, np.ndarray]:
    """Return the embeddings of XA and XB; the same array twice where they are one object."""
    embeddings = embed(estimator, XA, fitted)
    return embeddings, embeddings if XB is XA else embed(estimator, XB, fitted)


def transformed(estimator: Any, X: Any, fitted: Fitted) -> np.ndarray:
    """Return embeddings as rows whose L1 distance, of "weighted_l1", is the learned metric."""
    n_members = len(members_of(neural(fitted).network))
    embeddings = embed(estimator, X, fitted)
    return embeddings.reshape(len(embeddings), -1) / np.float32(n_members)


def shared_params(estimator: Any, other: type) -> dict[str, Any]:
    """Return the parameters of `estimator` that another class has too, for the same network.

    Those of training alone that mean something else there keep their defaults.
    """
    own = estimator.get_params(deep=False)
    names = other().get_params(deep=False).keys() - {"batch_size"}
    return {name: value for name, value in own.items() if name in names}
