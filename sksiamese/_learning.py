"""Learning: from parameters and validated data to a fitted value.

Functions that train; nothing here changes the estimator whose parameters it reads.
"""

import copy
import math
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from ._building import (
    build_batches,
    build_network,
    build_options,
    check_shared,
    computes_in_bfloat16,
    draws_globally,
    encodes_once,
    warn_of_new_norm,
    warn_of_no_effect,
    with_augmentation,
)
from ._callbacks import EpochTasks
from ._closed_form import solved
from ._files import stamp_of
from ._fitted import Fitted
from ._identity import described, identity
from ._params import LearningParams, as_memory
from ._scaling import build_scaling, learn_input_scaling
from ._support import SupportSet
from ._training_data import LabelledData, PairData, Split, TrainingData, split_data
from ._validation import ImageStore, SubStore
from .twin.checkpoints import Checkpoints
from .twin.encoders import feature_shape
from .twin.encoding import LARGEST, FeatureStore, embed_features, encode, unscaled
from .twin.heads import Whitened
from .twin.inference import NeuralComparer
from .twin.network import TwinEnsemble, TwinNetwork, members_of, trains
from .twin.reading import check_samples, check_training_images, is_kept, scaled_whole
from .twin.scaling import InputScaling
from .twin.sharing import Team, device_of
from .twin.state import load_module_state
from .twin.training import History, history_of, train, warn_if_collapsed
from .twin.whitening import rows_to_whiten

# Arguments that the key of cached features describes.
IGNORED = ["network", "store", "scaling", "device"]


Embedded = Callable[..., np.ndarray]  # from rows of samples, or of all, to embeddings


@dataclass(frozen=True)
class Monitor:
    """scikit-learn's callbacks, to be notified after each epoch.

    Attributes
    ----------
    estimator : estimator
    context : CallbackContext
    X, y : as given to `fit`
    """

    estimator: Any
    context: Any
    X: Any
    y: Any

    def epoch_tasks(self, fitted_so_far: Callable[[Any], Fitted]) -> EpochTasks:
        """Return the skorch callback that reports each epoch as a task."""
        return EpochTasks(
            self.estimator,
            self.context,
            self.X,
            self.y,
            lambda net: {"fitted_": fitted_so_far(net)},
        )


def learn(
    params: LearningParams,
    data: TrainingData,
    *,
    feature_names: np.ndarray | None = None,
    start: Fitted | None = None,
    false_acceptance_rate: float | None = None,
    monitor: Monitor | None = None,
) -> tuple[Fitted, bool]:
    """Train the networks. If y has labels, the training set becomes the support.

    Parameters
    ----------
    params : LearningParams
    data : TrainingData
    feature_names : ndarray of str or None, default=None
        Names of the columns of X.
    start : Fitted or None, default=None
        Continue from its weights.
    false_acceptance_rate : float or None, default=None
        Calibrate for this rate on classes held out of training; None: do not.
    monitor : Monitor or None, default=None

    Returns
    -------
    fitted : Fitted
    interrupted : bool
        Whether Ctrl-C ended training early; `fitted` is what was learned so far.
    """
    rate, team = false_acceptance_rate, Team.of(params.device)
    if team is not None:
        check_shared(params)
    params = replace(params, device=device_of(params.device))
    with _opened_checkpoints(params, data, start, rate) as checkpoints:
        if checkpoints is not None and params.random_state is None:
            params = replace(params, random_state=checkpoints.seed)
        split = split_data(params, data, calibrates=rate is not None)
        scaling, images = _scaled(params, data, start)
        warn_of_new_norm(params)
        fit = _Fit(
            params, data, split, scaling, images, feature_names, start, monitor, checkpoints, team
        )
        fit = _encoded(fit)
        members, histories, interrupted = _train_members(fit)
        fitted = fit.fitted_by(members, histories)
        if start is not None and not params.max_iter:  # the same networks, so the same logits
            fitted = replace(
                fitted.with_calibration_of(start), decision_threshold=start.decision_threshold
            )
        if isinstance(data, PairData):
            return fitted, interrupted
        try:
            return _supported(fitted, data, fit, rate), interrupted
        except KeyboardInterrupt:
            return fitted, True


def neural(fitted: Fitted) -> NeuralComparer:
    """Return the comparer of an estimator that has a network.

    Raises
    ------
    TypeError
        If it compares by something else.
    """
    if not isinstance(fitted.comparer, NeuralComparer):
        raise TypeError(
            f"This estimator compares by {type(fitted.comparer).__name__}, which has no network."
        )
    return fitted.comparer


@dataclass(frozen=True)
class _Fit:
    """What the networks of one fit have in common; see `learn`.

    `images` are all samples, scaled, if they were kept. `first` is the first network before
    training, if it is built already; `encoded` are an encoder that does not train and what it
    makes of all samples, if there is one.
    """

    params: LearningParams
    data: TrainingData
    split: Split
    scaling: InputScaling
    images: ImageStore | None
    feature_names: np.ndarray | None
    start: Fitted | None
    monitor: Monitor | None
    checkpoints: Checkpoints | None
    team: Team | None
    first: TwinNetwork | None = None
    encoded: tuple[nn.Module, FeatureStore] | None = None

    def begun(self, number: int) -> tuple[TwinNetwork | None, History]:
        """Return the network that the one of this number continues, and its history."""
        if self.start is None:
            return None, []
        before = members_of(neural(self.start).network)
        histories = self.start.history
        return (
            before[number] if number < len(before) else None,
            histories[number] if number < len(histories) else [],
        )

    def fitted_by(self, networks: list[TwinNetwork], histories: list[History]) -> Fitted:
        """Return the value of these networks, without a support."""
        network = networks[0] if len(networks) == 1 else TwinEnsemble(networks).eval()
        precision, device = self.params.precision, str(self.params.device)
        bfloat16 = computes_in_bfloat16(precision, device)
        return Fitted(
            NeuralComparer(network, self.scaling, device, bfloat16),
            self.data.store.input_shape,
            flat=self.data.store.flat,
            feature_names=self.feature_names,
            held_out_classes=self.split.held_out_classes,
            held_out_groups=self.split.held_out_groups,
            negative_label=self.data.negative_label if isinstance(self.data, PairData) else 0,
            history=tuple(histories),
        )

    @property
    def seen(self) -> tuple[ImageStore | SubStore, InputScaling]:
        """All samples, and the scaling that brings them to what an encoder sees."""
        if self.images is None:
            return self.data.store, self.scaling
        return self.images, unscaled(self.images.input_shape)

    def supported(self, fitted: Fitted, labels: np.ndarray) -> tuple[Fitted, Embedded]:
        """Return the value with all samples as support, and what embeds those at some rows.

        They are embedded when they are asked for, if they stay as they are until then: scaled
        images, which are ours, and files that are mapped read-only.
        """
        store, scaling = self.seen
        stamp = stamp_of(getattr(store, "X", None))
        if self.images is not None or (self.encoded is None and stamp is not None):
            embedded = partial(_embedded, neural(fitted).with_scaling(scaling), store, stamp)
            return replace(fitted, support=SupportSet.later(embedded, labels)), embedded
        if self.encoded is not None:
            embeddings = embed_features(neural(fitted).network, self.encoded[1].features)
        else:
            embeddings = fitted.comparer.embed(self.data.store, check=False)
        return replace(fitted, support=SupportSet.of(embeddings, labels)), embeddings.__getitem__

    def whole(self, network: TwinNetwork) -> TwinNetwork:
        """Return a trained network; one of features, with the encoder that made them."""
        if self.encoded is None:
            return network
        return TwinNetwork(self.encoded[0], network.head).eval()

    def fitted_so_far(
        self, members: list[TwinNetwork], histories: list[History], past: History, net: Any
    ) -> Fitted:
        """Return what a callback of scikit-learn needs to predict in the middle of training."""
        average = copy.deepcopy(dict(net.callbacks_)["average"].model_.module)
        network = self.whole(average.to("cpu").eval().requires_grad_(False))
        fitted = self.fitted_by([*members, network], [*histories, past + history_of(net)])
        if isinstance(self.data, PairData):
            return fitted
        supported, _ = self.supported(fitted, self.data.labels)
        # Accept every query: no threshold is calibrated yet.
        return replace(supported, rejection_threshold=-math.inf)


def _opened_checkpoints(
    params: LearningParams,
    data: TrainingData,
    start: Fitted | None,
    false_acceptance_rate: float | None,
) -> Checkpoints | nullcontext[None]:
    """Return a context of the checkpoints of this fit, None without `checkpoint_dir`."""
    if params.checkpoint_dir is None:
        return nullcontext()
    arrays = {"X": data.store.X if isinstance(data.store, ImageStore) else None}
    if isinstance(data, PairData):
        arrays["y"] = data.pairs
    else:
        arrays |= {"y": data.labels, "groups": data.group_labels}
    deciding = identity(
        params,
        arrays,
        start=None if start is None else _weights_of(start),
        false_acceptance_rate=false_acceptance_rate,
    )
    return Checkpoints(params.checkpoint_dir, deciding, params.checkpoint_minutes)


def _weights_of(start: Fitted) -> tuple[Any, ...]:
    """Return what training takes over from where it starts."""
    scaling = neural(start).scaling
    own = (scaling.offset, scaling.scale)
    return (neural(start).network, *(() if start.adapts else own))


def _scaled(
    params: LearningParams, data: TrainingData, start: Fitted | None
) -> tuple[InputScaling, ImageStore | None]:
    """Return the input scaling, of `start` or learned from the images, once it fits these.

    The second value are the images, scaled, if that is work and there is room for them.
    """
    store = data.store
    if start is not None and params.crop == "auto":
        params = replace(params, crop=neural(start).scaling.crop)
    known = None if start is None or start.adapts else neural(start).scaling
    if known is None:
        scaling = learn_input_scaling(params, store)
    else:
        scaling = build_scaling(
            params, store.input_shape, known.offset, known.scale, unit=known.unit
        )
    if is_kept(store, scaling):
        images = scaled_whole(store, scaling, training=known is None).numpy()
        return scaling, ImageStore(images, channels="first", name=getattr(store, "name", "X"))
    if known is None:
        check_training_images(store, scaling)
    else:
        check_samples(store, np.arange(len(store)), scaling)
    return scaling, None


def _encoded(fit: _Fit) -> _Fit:
    """Return the fit with all features, if all networks have an encoder that does not train."""
    params, store = fit.params, fit.data.store
    same = params.n_networks == 1 or (isinstance(params.encoder, nn.Module) and fit.start is None)
    if isinstance(params.encoder, str) or not same or not params.max_iter:
        return fit
    with lent_generator(fit.split.seeds[0]):
        network = _built(fit, 0)
        fit = replace(fit, first=network)
        shape = feature_shape(network.encoder, fit.scaling.output_shape)
        if not encodes_once(params, network) or len(store) * math.prod(shape) > LARGEST:
            return fit
        if params.memory is None:
            features = encode(network, *fit.seen, params.device)
        else:
            cached = as_memory(params.memory).cache(_cached_features, ignore=IGNORED)
            scaling = {each.name: getattr(fit.scaling, each.name) for each in fields(fit.scaling)}
            deciding = (network.encoder, getattr(store, "X", store), scaling)
            features = torch.from_numpy(
                cached(described(deciding), network, *fit.seen, params.device)
            )
    return replace(fit, images=None, encoded=(network.encoder, FeatureStore(features, store)))


def _cached_features(
    key: str, network: TwinNetwork, store: Any, scaling: InputScaling, device: str
) -> np.ndarray:
    return encode(network, store, scaling, device).numpy()


def _built(fit: _Fit, number: int) -> TwinNetwork:
    """Return a network before training."""
    if number == 0 and fit.first is not None:
        return fit.first
    seed, (before, _) = fit.split.seeds[number], fit.begun(number)
    network = build_network(fit.params.of_network(number), fit.scaling.output_shape, seed)
    if before is not None:
        _load_weights(network, before)
    return network


def _train_members(fit: _Fit) -> tuple[list[TwinNetwork], list[History], bool]:
    """Train the networks one after the other, until Ctrl-C.

    Raises
    ------
    KeyboardInterrupt
        If nothing has been learned yet.
    """
    members: list[TwinNetwork] = []
    histories: list[History] = []
    trained = False
    for number in range(len(fit.split.seeds)):
        _, past = fit.begun(number)
        callbacks = list(fit.params.callbacks or ())
        if fit.monitor is not None:
            so_far = partial(fit.fitted_so_far, list(members), list(histories), past)
            callbacks.append(fit.monitor.epoch_tasks(so_far))
        try:
            network, history, interrupted = _train_member(fit, number, callbacks)
        except KeyboardInterrupt:
            if not members:
                raise
            return members, histories, True  # this one has learned nothing
        members.append(fit.whole(network))
        histories.append(past + history)
        if interrupted:
            return members, histories, True
        trained = trained or bool(history)
    if fit.params.max_iter and not trained:
        warn_of_no_effect(fit.params)
    return members, histories, False


def _train_member(
    fit: _Fit, number: int, callbacks: list[Any]
) -> tuple[TwinNetwork, History, bool]:
    """Train one of the networks and return as `train`; of an encoder that is known, the head.

    A network that the checkpoints have whole is not trained again.
    """
    params, checkpoints = fit.params.of_network(number), fit.checkpoints
    (_, scaling), seed = fit.seen, fit.split.seeds[number]
    split = fit.split if fit.images is None else fit.split.over(fit.images)
    with lent_generator(seed) if draws_globally(params) else nullcontext():
        network = _built(fit, number)
        if not params.max_iter:
            return network.eval().requires_grad_(False), [], False
        params = with_augmentation(params, fit.data.store.input_shape, fit.scaling)
        if fit.encoded is not None:
            params = replace(params, augmentation=None, precision="float32")
            features = fit.encoded[1]
            split, scaling = split.over(features), unscaled(features.input_shape)
            network = TwinNetwork(nn.Identity(), network.head)
        batches = build_batches(params, split.training, scaling, seed)
        if checkpoints is not None and number < len(checkpoints.members):
            known = checkpoints.members[number]
            load_module_state(network.eval(), known["network"])
            warn_if_collapsed(network, batches)
            return network, known["history"], False
        history, interrupted = History(), False
        learned = not isinstance(network.head, Whitened) or trains(network.encoder)
        if learned:
            options = build_options(params, network, scaling, callbacks, number, fit.team)
            network, history, interrupted = train(
                network, batches, options, split.validation, checkpoints
            )
        network = network.eval().requires_grad_(False)
        if isinstance(network.head, Whitened):
            try:
                network.head = _solved_head(
                    fit, number, network, split.training, scaling, trained=learned
                )
                learned = True
                if not interrupted:
                    warn_if_collapsed(network, batches)
            except KeyboardInterrupt:
                if not learned:
                    raise
                interrupted = True
    if checkpoints is not None and not interrupted:
        checkpoints.add(network, history, complete=number + 1 == len(fit.split.seeds))
    return network, history, interrupted


def _solved_head(
    fit: _Fit,
    number: int,
    network: TwinNetwork,
    training: TrainingData,
    scaling: InputScaling,
    *,
    trained: bool,
) -> Whitened:
    """Return the whitened head of an encoder; `trained`: whether by gradients before."""
    head = cast(Whitened, network.head)
    encoder = network.encoder if fit.encoded is None else fit.encoded[0]
    if fit.encoded is None and isinstance(training, LabelledData):
        shape = feature_shape(encoder, scaling.output_shape)
        rows = rows_to_whiten(training.classes, math.prod(shape), len(head.mean))
        training = training.subset(rows)
    return solved(
        head,
        encode(network, training.store, scaling, fit.params.device),
        training,
        getattr(encoder, "widths", ()),
        trained=trained,
        goes_on=fit.begun(number)[0] is not None,
    )


def _embedded(
    comparer: NeuralComparer,
    store: Any,
    stamp: tuple[int, int] | None,
    rows: np.ndarray | None = None,
) -> np.ndarray:
    """Return the embeddings of training samples; OSError if their file is not as it was."""
    now = stamp_of(store.X)
    # Of a file that was replaced, the map has what it was.
    if stamp is not None and now is not None and now[0] == stamp[0] and now != stamp:
        raise OSError(
            "The file that X maps has changed since fit read it, and the exemplars in it have not "
            "been embedded yet. Call set_support, or fit again."
        )
    return comparer.embed(store, rows, check=False)


def _supported(fitted: Fitted, data: LabelledData, fit: _Fit, rate: float | None) -> Fitted:
    """Return the value with the training set as support; calibrated, if for a rate."""
    supported, embedded = fit.supported(fitted, data.labels)
    trained = fit.split.training
    rows = fitted.cohort_rows(trained.classes) if isinstance(trained, LabelledData) else None
    if rows is not None and fit.params.max_iter:
        supported = supported.with_levels(embedded(fit.split.rows[rows]))
    if rate is None:
        return supported
    rows = fit.split.calibrating
    held = data.subset(rows)
    return supported.calibrated(embedded(rows), held.classes, held.groups, rate)


def _load_weights(network: TwinNetwork, start: TwinNetwork) -> None:
    try:
        for name, own in (("encoder", network.encoder), ("head", network.head)):
            if type(own) is not type(getattr(start, name)):  # whose weights may yet fit
                raise RuntimeError(f"It had another {name}.")
        network.load_state_dict(start.state_dict())
    except RuntimeError as error:
        raise ValueError(
            "The weights to start from (warm_start=True, or weights) are of another network: "
            "parameters that decide how the network is built have changed since. Set them back, "
            "or start anew, with warm_start=False and weights=None. "
            f"{error}"
        ) from error


class _Lending:
    lock = threading.RLock()

    @classmethod
    def renew(cls) -> None:
        cls.lock = threading.RLock()


if hasattr(os, "register_at_fork"):  # another thread may hold it, which a child does not have
    os.register_at_fork(after_in_child=_Lending.renew)


@contextmanager
def lent_generator(seed: int) -> Iterator[None]:
    """Seed torch's global generators for the body, in one thread at a time.

    Layers that are not ours draw weights and dropout from them. They are restored afterwards.
    """
    with _Lending.lock, torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield
