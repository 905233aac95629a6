"""What the estimators share: reading X, and public attributes that come from ``fitted_``."""

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Generic, TypeVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score
from sklearn.utils.validation import check_is_fitted, validate_data

from ._building import check_device, check_params, computes_in_bfloat16
from ._containers import as_images
from ._fitted import Fitted, check_unknown_label
from ._learning import Monitor, learn, neural
from ._params import (
    LearningParams,
    check_bool,
    check_choice,
    check_number,
    pretrained_names,
    restored_on_error,
)
from ._start import check_start
from ._support import AGGREGATIONS, SupportSet
from ._training_data import PairData, TrainingData
from ._validation import (
    OF_PAIRS,
    ImageStore,
    SeriesStore,
    check_calibration_data,
    check_embeddings,
    check_images,
    check_labels,
    naming_rows,
    warn_of_duplicates,
    warn_of_shape,
)
from .exceptions import DuplicateExemplarWarning, listed, warn
from .twin.encoders import takes_series
from .twin.inference import NeuralComparer
from .twin.network import Network, members_of
from .twin.reading import check_exemplars
from .twin.scaling import describe_shape
from .twin.search import SEARCHES, import_faiss
from .twin.sharing import device_of

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
    """Return what the estimator has learned, for its `device`, `precision` and `search`.

    Raises
    ------
    NotFittedError
        Before `fit`.
    ValueError
        If torch does not have the device here.
    ImportError
        If faiss is to search and is not installed.
    """
    weights = getattr(estimator, "weights", None)
    if weights is not None and "fitted_" not in vars(estimator):
        name = type(estimator).__name__
        loading = (
            f"load_pretrained({weights!r})" if weights in pretrained_names() else f"{name}.load"
        )
        raise NotFittedError(
            f"This {name} instance is not fitted yet, as no clone is; fit starts from "
            f"weights={weights!r}. Call fit, with max_iter=0 to keep these weights as they are, "
            f"or use {loading}, which returns a fitted estimator."
        )
    check_is_fitted(estimator, "fitted_")
    fitted = estimator.fitted_
    comparer = fitted.comparer
    if not isinstance(comparer, NeuralComparer):
        return fitted
    check_device(estimator.device)
    device = device_of(estimator.device)
    bfloat16 = computes_in_bfloat16(estimator.precision, device)
    search = getattr(estimator, "search", "auto")  # a verifier has no support to search
    check_search(search)
    return replace(fitted, comparer=comparer.to(device, bfloat16, search))


def check_search(search: Any) -> None:
    """Raise ValueError unless it is known, and ImportError if its library is not installed."""
    check_choice(search, "search", SEARCHES)
    if search == "faiss":
        import_faiss()


def supported(estimator: Any) -> Fitted:
    """Return what the estimator has learned, with a support; NotFittedError without one."""
    fitted = fitted_of(estimator)
    if fitted.support is None:
        raise NotFittedError(
            f"This {type(estimator).__name__} instance has no support yet. Call set_support(X, y) "
            "with at least one exemplar of each class before predicting."
        )
    return fitted


Change = Callable[[Fitted], Fitted]

_changing = threading.RLock()
if hasattr(os, "register_at_fork"):  # a forked child must not find it taken by another thread
    os.register_at_fork(
        before=_changing.acquire,
        after_in_parent=_changing.release,
        after_in_child=_changing.release,
    )


def change(
    estimator: Any,
    learn: Callable[[Fitted], Change],
    is_for: Callable[[Fitted, Fitted], bool] | None = None,
    current: Callable[[Any], Fitted] = fitted_of,
) -> None:
    """Replace `fitted_` of an estimator, and keep what other threads replaced meanwhile.

    Embedding takes long and is done without the lock. If its result does not apply to what
    another thread has put in place, it is done again.

    Parameters
    ----------
    estimator : estimator
    learn : callable
        Takes what was learned, and returns the function that changes it, which is quick.
    is_for : callable, default=`same_network`
        ``is_for(before, now)`` returns whether what was learned from `before` applies to `now`.
    current : callable
        Returns what the estimator has learned, or raises.
    """
    is_for = same_network if is_for is None else is_for
    while True:
        before = current(estimator)
        changed = learn(before)
        with _changing:
            now = current(estimator) if "fitted_" in vars(estimator) else before
            if is_for(before, now):
                estimator.fitted_ = changed(now)
                return


def same_network(before: Fitted, now: Fitted) -> bool:
    """Return whether both compare by the same network, after any input scaling."""
    network = network_of(before)
    if network is None:
        return before.comparer is now.comparer
    return network is network_of(now)


def change_support(
    estimator: Any,
    X: Any,
    y: Any,
    current: Callable[[Any], Fitted] = fitted_of,
    *,
    embedded: Any = False,
) -> None:
    """Replace the support of an estimator by these exemplars, or by their embeddings."""
    check_bool(embedded, "embedded")
    change(
        estimator,
        lambda fitted: _supported_by(estimator, X, y, fitted, embedded),
        current=current,
    )


def _supported_by(estimator: Any, X: Any, y: Any, fitted: Fitted, embedded: bool) -> Change:
    if embedded:
        support = SupportSet.of(*_known_exemplars(estimator, X, y, fitted))
        return lambda now: replace(now, support=support)
    for_these, store = adapted(estimator, X, fitted)
    support = SupportSet.of(*exemplars(estimator, store, y, for_these))
    return lambda now: replace(
        now,
        comparer=for_these.comparer,
        input_shape=for_these.input_shape,
        flat=for_these.flat,
        feature_names=for_these.feature_names,
        support=support,
    )


def extend_support(estimator: Any, X: Any, y: Any, *, embedded: Any = False) -> None:
    """Add these exemplars, or their embeddings, to the support, or make it of them.

    Warns
    -----
    DuplicateExemplarWarning
        If the same image has two labels, in X, or in X and in the support.
    """
    check_bool(embedded, "embedded")

    def learn(fitted: Fitted) -> Change:
        if fitted.support is None:
            return _supported_by(estimator, X, y, fitted, embedded)
        further = _known_exemplars if embedded else _further_exemplars
        added = further(estimator, X, y, fitted)

        def with_these(now: Fitted) -> Fitted:
            assert now.support is not None
            return replace(now, support=now.support.add(*added))

        return with_these

    def is_for(before: Fitted, now: Fitted) -> bool:
        had, has = before.support is not None, now.support is not None
        return before.comparer is now.comparer and had == has

    change(estimator, learn, is_for)


def shrink_support(estimator: Any, labels: np.ndarray) -> None:
    """Remove all exemplars of these classes from the support of an estimator."""

    def without(now: Fitted) -> Fitted:
        assert now.support is not None
        return replace(now, support=now.support.remove(labels))

    change(estimator, lambda _: without, lambda *_: True, supported)


def clear_support(estimator: Any) -> None:
    """Remove all exemplars from the support of an estimator."""
    change(estimator, lambda _: lambda now: replace(now, support=None), lambda *_: True)


def check_knows_input(fitted: Fitted) -> None:
    """Raise NotFittedError if the input scaling comes from the support, and there is none."""
    if fitted.adapts and fitted.support is None:
        raise NotFittedError(
            "This estimator learns the size and the value range of images from its support, which "
            "it does not have. Call set_support(X, y) first; of a verifier, from_classifier of a "
            "classifier that has a support."
        )


def checked_params(estimator: Any) -> LearningParams:
    """Return the parameters that decide what is learned; raise for those that cannot be used."""
    params = check_network_params(estimator)
    check_device(params.device)
    return params


def check_network_params(estimator: Any) -> LearningParams:
    """Return the parameters that decide what is learned, for a device that may be elsewhere."""
    params = LearningParams.of(estimator)
    check_params(params)
    return params


def check_answer_params(estimator: Any) -> None:
    """Raise ValueError or TypeError for parameters that no classifier can answer by."""
    check_choice(estimator.aggregation, "aggregation", AGGREGATIONS)
    check_choice(getattr(estimator, "search", "auto"), "search", SEARCHES)
    rate = estimator.false_acceptance_rate
    check_number(rate, "false_acceptance_rate", float, 0, 1, "neither")


def check_classifier_params(estimator: Any) -> None:
    """Raise ValueError or TypeError for parameters that no classifier with a network can use."""
    check_network_params(estimator)
    check_answer_params(estimator)


def calibration_rate(estimator: Any, data: TrainingData) -> float | None:
    """Return the false-acceptance rate to calibrate for in `fit`; None: do not calibrate.

    Raises
    ------
    ValueError
        If a parameter of the classifier's answers cannot be used.
    """
    check_answer_params(estimator)
    if estimator.unknown_label is None or isinstance(data, PairData):
        return None
    check_unknown_label(estimator.unknown_label, np.unique(data.labels))
    return estimator.false_acceptance_rate


def calibrate_on(
    estimator: Any,
    X: Any,
    y: Any,
    groups: Any,
    current: Callable[[Any], Fitted] = fitted_of,
) -> None:
    """Calibrate an estimator on these samples; the rest is unchanged.

    A pretrained network keeps the input scaling of its support.
    """
    change(
        estimator,
        lambda fitted: _calibrated_by(estimator, X, y, groups, fitted),
        current=current,
    )


def _calibrated_by(estimator: Any, X: Any, y: Any, groups: Any, fitted: Fitted) -> Change:
    rate = estimator.false_acceptance_rate
    check_number(rate, "false_acceptance_rate", float, 0, 1, "neither")
    for_these, store = adapted(estimator, X, fitted)
    classes, numbers = check_calibration_data(y, groups, len(store))
    learned = for_these.calibrated(for_these.comparer.embed(store), classes, numbers, rate)
    return lambda now: now.with_calibration_of(learned)


def exemplars(
    estimator: Any, store: ImageStore, y: Any, fitted: Fitted
) -> tuple[np.ndarray, np.ndarray]:
    """Return embeddings and validated labels of exemplars.

    Warns
    -----
    DuplicateExemplarWarning
        If the same image has two labels.
    """
    labels = _labels_of_exemplars(estimator, y, len(store))
    embeddings = fitted.comparer.embed(store)
    warn_of_duplicates(store, labels)
    return embeddings, labels


def _labels_of_exemplars(estimator: Any, y: Any, n: int) -> np.ndarray:
    labels = check_labels(y, n)
    if estimator.unknown_label is not None:
        check_unknown_label(estimator.unknown_label, labels)
    return labels


def _known_exemplars(
    estimator: Any, X: Any, y: Any, fitted: Fitted
) -> tuple[np.ndarray, np.ndarray]:
    """Return embeddings that were made before, such as a memory map, and validated labels."""
    check_knows_input(fitted)
    embeddings = check_embeddings(X, neural(fitted).embedding_shape)
    return embeddings, _labels_of_exemplars(estimator, y, len(embeddings))


def _further_exemplars(
    estimator: Any, X: Any, y: Any, fitted: Fitted
) -> tuple[np.ndarray, np.ndarray]:
    """Return embeddings and validated labels of exemplars to stand beside those of `fitted`."""
    assert fitted.support is not None
    store = read(estimator, X, fitted)
    embeddings, labels = exemplars(estimator, store, y, fitted)
    fitted.support.dtype_with(labels)
    known = [] if fitted.flat else fitted.support.find(embeddings, labels)
    if known:
        names, rows = store.named(np.array([row for row, _ in known]))
        row, other = known[0]
        warn(
            f"{names[0]} has the label {labels.tolist()[row]!r}, but the support has the same "
            f"image with the label {fitted.support.labels.tolist()[other]!r}. Queries like it "
            f"cannot be told apart; correct the label, or remove one. {len(rows)} of {len(store)} "
            f"exemplars are in the support with another label: {listed(names, 10)}.",
            DuplicateExemplarWarning,
            rows,
        )
    return embeddings, labels


def accuracy(estimator: Any, X: Any, y: Any, sample_weight: Any = None) -> float:
    """Return the fraction of correct predictions; y is of any kind that `fit` takes."""
    predicted = estimator.predict(X)
    return accuracy_score(check_labels(y, len(predicted)), predicted, sample_weight=sample_weight)


def prediction_set(classifier: Any, X: Any, coverage: Any) -> np.ndarray:
    """Return which classes each query may be of, (n_queries, n_classes) bool."""
    fitted = supported(classifier)
    check_number(coverage, "coverage", float, 0, 1, "neither")
    lowest = fitted.lowest_score(coverage)
    queries = embed(classifier, X, fitted)
    logits = fitted.class_logits(queries, classifier.aggregation)
    return fitted.class_scores(queries, logits, classifier.aggregation) >= lowest


def check_groups_arrived(estimator: Any, groups: Any) -> None:
    """Warn if groups were requested by metadata routing, but the tool that calls passed none."""
    requests = estimator.get_metadata_routing().fit.requests
    if groups is None and requests.get("groups") is True:
        warn(
            "set_fit_request(groups=True) asks for groups, but fit was given none: labels that "
            "occur in two groups are taken for one class. Call the tool inside "
            "sklearn.config_context(enable_metadata_routing=True), or pass groups to fit.",
            UserWarning,
        )


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

    Warns
    -----
    UnlikelyShapeWarning, DuplicateExemplarWarning
    """
    assert isinstance(data.store, ImageStore)
    warn_of_shape(data.store)
    if not isinstance(data, PairData):
        warn_of_duplicates(data.store, data.labels)
    n_epochs = params.max_iter * params.n_networks
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
    estimator: Any,
    X: Any,
    start: Fitted | None = None,
    argument: str = "X",
    color: bool | None = None,
) -> tuple[ImageStore, np.ndarray | None]:
    """Return X to train on as an image store, and the names of its columns.

    With `start`, training continues from it, and X must have its shape. `argument` is what
    messages call X, `color` what Pillow images become.
    """
    color = color if start is None else color_of(start)
    X, names = _checked(estimator, X, argument, color=color)
    store = _store(estimator, X, argument)
    shape = estimator.image_shape
    if shape is not None and not store.flat:
        of_rows = ImageStore(np.empty((0, np.prod(shape))), shape, estimator.channels)
        if of_rows.input_shape != store.input_shape:
            raise ValueError(
                f"X has {describe_shape(store.input_shape)}, but image_shape={shape!r} is "
                f"{describe_shape(of_rows.input_shape)}. Leave image_shape=None, or set it to the "
                "shape of the images."
            )
    if start is not None:
        check_start(start, store, estimator)
    return store, names


def _store(estimator: Any, X: np.ndarray, argument: str) -> ImageStore:
    """Return X as a store of series, for an encoder of series, or of images or rows."""
    shape, channels = estimator.image_shape, estimator.channels
    if not takes_series(getattr(estimator, "encoder", None)):
        return ImageStore(X, shape, channels, argument)
    if shape is not None:
        raise ValueError(
            f"image_shape={shape!r} is for images, but encoder='conv1d' takes series, "
            "(n, length) or (n, channels, length). Set image_shape=None."
        )
    return SeriesStore(X, channels, argument)


def argument_of(verifier: Any) -> str:
    """Return what messages call the images of pairs."""
    return OF_PAIRS if verifier.preprocessor is None else "preprocessor"


def color_of(fitted: Fitted) -> bool | None:
    """Return whether Pillow images are read as RGB, like the images that are known."""
    channels = fitted.input_shape[0] if len(fitted.input_shape) == 3 else None
    return {1: False, 3: True}.get(channels or 0)


def read(estimator: Any, X: Any, fitted: Fitted, argument: str = "X") -> ImageStore:
    """Return X to predict on as an image store; ValueError unless it has the fitted shape.

    `argument` is what messages call X.
    """
    check_knows_input(fitted)
    X, _ = _checked(estimator, X, argument, fitted, color_of(fitted))
    name = type(estimator).__name__
    known = describe_shape(fitted.input_shape)
    of_images = len(fitted.input_shape) == 3
    if X.ndim == 2 and of_images and not fitted.flat and estimator.image_shape is None:
        raise ValueError(
            f"X has flat rows of {X.shape[1]} features, but {name} was fitted on {known}. Pass "
            f"images of that shape.{_hint(X.shape, fitted)}"
        )
    store = _store(estimator, X, argument)
    if store.input_shape != fitted.input_shape:
        raise ValueError(
            f"X has {describe_shape(store.input_shape)}, but {name} was fitted on {known}. Bring "
            f"X to that shape, or fit again.{_hint(X.shape, fitted)}"
        )
    return store


def _checked(
    estimator: Any,
    X: Any,
    argument: str,
    fitted: Fitted | None = None,
    color: bool | None = None,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return X as an array of numbers, and the names of its columns.

    scikit-learn's `validate_data` writes what it sees into an estimator: here into a throw-away
    one of the same name, so that a call that fails changes nothing.
    """
    X = as_images(X, "X", color)
    if tuple(X.shape[:1]) == (0,):
        raise ValueError(f"X has no samples, shape {tuple(X.shape)}; expected at least one.")
    if len(X.shape) > 2 or (fitted is not None and not fitted.flat):
        return check_images(X, argument), None
    seen = type(type(estimator).__name__, (BaseEstimator,), {})()
    if fitted is not None:
        seen.n_features_in_ = fitted.n_features_in
        if fitted.feature_names is not None:
            seen.feature_names_in_ = fitted.feature_names
    with naming_rows(X, argument):
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
    store, names = read_training(estimator, X, color=color_of(fitted))
    scaling = getattr(fitted.comparer, "scaling", None)
    check_exemplars(store, "foreground" if scaling is None else scaling.crop)
    adapted_to = getattr(fitted.comparer, "adapted_to", None)
    fitted = replace(
        fitted,
        comparer=fitted.comparer if adapted_to is None else adapted_to(store),
        input_shape=store.input_shape,
        flat=store.flat,
        feature_names=names,
    )
    return fitted, store


def embed(estimator: Any, X: Any, fitted: Fitted, argument: str = "X") -> np.ndarray:
    """Return the embeddings of X, (n, ...)."""
    return fitted.comparer.embed(read(estimator, X, fitted, argument))


def embed_both(estimator: Any, XA: Any, XB: Any, fitted: Fitted) -> tuple[np.ndarray, np.ndarray]:
    """Return the embeddings of XA and XB; the same array twice where they are one object."""
    embeddings = embed(estimator, XA, fitted, "XA")
    return embeddings, embeddings if XB is XA else embed(estimator, XB, fitted, "XB")


def transformed(estimator: Any, X: Any, fitted: Fitted) -> np.ndarray:
    """Return embeddings as rows whose cosine, or L1 distance with "weighted_l1", is learned."""
    n_members = len(members_of(neural(fitted).network))
    embeddings = embed(estimator, X, fitted)
    return embeddings.reshape(len(embeddings), -1) / np.float32(n_members)


def shared_params(estimator: Any, other: type) -> dict[str, Any]:
    """Return the parameters of `estimator` that another class has too, for the same network.

    Those of training alone that mean something else there keep their defaults.
    """
    own = estimator.get_params(deep=False)
    names = other().get_params(deep=False).keys() - {"batch_size", "checkpoint_dir"}
    return {name: value for name, value in own.items() if name in names}
