"""Parameters and fitting of a twin estimator: the one place that joins scikit-learn and torch."""

import copy
import functools
import math
import threading
from contextlib import contextmanager, nullcontext
from numbers import Integral

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data
from torch import nn

from ._callbacks import CallbackSupportMixin, EpochTasks
from ._params import check_choice, check_dict, check_number, check_shape, check_skorch
from ._validation import (
    ImageStore,
    SubStore,
    as_array,
    check_images,
    check_trainable,
    describe_shape,
)
from .model_selection import EpisodeSplit
from .model_selection._split import own_random_state
from .twin import batches, distortions, encoders, heads, losses, training
from .twin.network import TwinEnsemble, TwinNetwork
from .twin.scaling import InputScaling, learn_scaling

AUTO_SIDE = 36
VALIDATION_TRIALS = 320


class TwinEstimator(CallbackSupportMixin, BaseEstimator):
    """Base of the estimators that own a twin network; see `SiameseOneShotClassifier`."""

    _adapts = False  # a twin that ships takes the kind of its images from its support

    @property
    def _n_features_out(self):  # scikit-learn names the features that come out by it
        return self._n_codes * self.network_.n_members

    def _check_params(self):
        encoder_names = ("auto", *encoders.ENCODERS)
        if not isinstance(self.encoder, nn.Module) and not callable(self.encoder):
            check_choice(self.encoder, "encoder", encoder_names)
        check_dict(self.encoder_params, "encoder_params")
        if self.encoder_params and not isinstance(self.encoder, str):
            raise ValueError(
                f"encoder_params={self.encoder_params!r} are for an encoder given by name, and "
                f"encoder is {self.encoder!r}: give it its arguments yourself."
            )
        check_choice(self.head, "head", heads.HEADS)
        check_dict(self.head_params, "head_params")
        check_choice(self.loss, "loss", losses.LOSSES)
        if not callable(self.distortion):
            check_choice(self.distortion, "distortion", ("auto", None, *distortions.DISTORTIONS))
        check_choice(self.class_transforms, "class_transforms", (None, "rotate", "rotate_reflect"))
        check_choice(self.channels, "channels", ("auto", "first", "last"))
        check_choice(self.frame, "frame", ("image", "ink"))
        check_choice(self.precision, "precision", ("auto", "float32", "bfloat16"))
        if self.image_shape is not None:
            check_shape(self.image_shape, "image_shape", (2, 3))
        if isinstance(self.image_size, Integral):
            check_number(self.image_size, "image_size", int, 1)
        elif isinstance(self.image_size, str):
            check_choice(self.image_size, "image_size", ("auto",))
        elif self.image_size is not None:
            check_shape(self.image_size, "image_size", (2,))
        check_shape(self.batch_shape, "batch_shape", (3,))
        if min(self.batch_shape[1:]) < 2:
            raise ValueError(
                f"batch_shape={self.batch_shape!r}; expected (groups, classes, drawings) with at "
                "least two classes of each group and two drawings of each class: pairs are made "
                "inside a group of the batch."
            )
        if self.n_pairs is not None:
            check_number(self.n_pairs, "n_pairs", int, 2)
        check_number(self.batch_size, "batch_size", int, 2)
        check_number(self.max_iter, "max_iter", int, 1)
        check_number(self.n_members, "n_members", int, 1)
        check_number(self.learning_rate, "learning_rate", float, 0, include="neither")
        check_number(self.weight_decay, "weight_decay", float, 0)
        check_number(self.averaging, "averaging", float, 0, 1, include="left")
        check_number(self.validation_fraction, "validation_fraction", float, 0, 1, "neither")
        check_number(self.n_iter_no_change, "n_iter_no_change", int, 1)
        if not isinstance(self.early_stopping, bool | np.bool_):
            raise ValueError(f"early_stopping={self.early_stopping!r}; expected True or False.")
        try:
            torch.empty(0, device=torch.device(self.device))
        except (RuntimeError, TypeError, AssertionError) as error:
            raise ValueError(
                f"device={self.device!r} is no torch device of this machine ({error}); expected "
                "'cpu', 'cuda', ..."
            ) from error
        check_skorch(self.callbacks, self.net_params)
        self._rng()

    def _rng(self):
        try:
            return own_random_state(self.random_state)
        except ValueError as error:
            raise ValueError(
                f"random_state={self.random_state!r}; expected None, an integer from 0 to 2**32 - "
                "1, or a numpy RandomState."
            ) from error

    def _store(self, X, reset=False):
        """Validated X as an image store; on `reset` its shape becomes the fitted one."""
        X = X if hasattr(X, "shape") else as_array(X, "X")
        shape = tuple(X.shape)
        if shape[:1] == (0,):
            raise ValueError(f"X has no samples, shape {shape}; expected at least one.")
        if len(shape) < 3 and (reset or self._fitted_flat):
            X = validate_data(self, X, reset=reset, dtype="numeric")
        else:
            X = check_images(X)
        if X.ndim == 2 and not reset and not self._fitted_flat and self.image_shape is None:
            raise ValueError(
                f"X has flat rows of {X.shape[1]} features, but {type(self).__name__} was fitted "
                f"on {describe_shape(self.input_shape_)}: pass images of that shape."
                f"{self._hint(shape)}"
            )
        store = ImageStore(X, self.image_shape, self.channels)
        if reset:
            if X.ndim > 2:
                self._check_image_shape(store)
                if hasattr(self, "feature_names_in_"):
                    del self.feature_names_in_
            self._fitted_flat = X.ndim == 2
            self.input_shape_ = store.input_shape
            self.n_features_in_ = math.prod(store.input_shape)
        elif store.input_shape != self.input_shape_:
            raise ValueError(
                f"X has {describe_shape(store.input_shape)}, but {type(self).__name__} was fitted "
                f"on {describe_shape(self.input_shape_)}: bring X to that shape, or fit anew."
                f"{self._hint(shape)}"
            )
        return store

    def _hint(self, shape):
        """The end of an error message, where X of this shape seems to be one image."""
        channels, *size = self.input_shape_
        single = [(channels, *size), (*size, channels)] + [tuple(size)] * (channels == 1)
        return " A single image goes in as X[None], a batch of one." if shape in single else ""

    def _check_image_shape(self, store):
        """`image_shape` is for flat rows, and must not contradict images."""
        shape = self.image_shape
        if shape is None:
            return
        rows = ImageStore(np.empty((0, math.prod(shape))), shape, self.channels)
        if rows.input_shape != store.input_shape:
            raise ValueError(
                f"X has {describe_shape(store.input_shape)}, but image_shape={shape!r} says "
                f"{describe_shape(rows.input_shape)}: leave it None, or give that of the images."
            )

    def _working_shape(self, shape):
        """Shape of what the encoder sees, once images are brought to `image_size`."""
        size = self.image_size
        if size is None or len(shape) == 1:
            return shape
        if isinstance(size, str):
            if self.encoder not in ("auto", "conv"):  # koch needs 65, a user's knows its own
                return shape
            size = AUTO_SIDE
        if isinstance(size, Integral) and self.frame == "ink":
            size = (size, size)
        elif isinstance(size, Integral):
            ratio = size / max(shape[1:])
            size = (max(1, round(side * ratio)) for side in shape[1:])
        return (shape[0], *map(int, size))

    def _assemble(self, offset, scale, seed):
        """A new network for `input_shape_`, its weights drawn from `seed`."""
        working = self._working_shape(self.input_shape_)
        if self.frame == "ink" and len(working) == 1:
            raise ValueError(
                f"frame='ink' needs images, got {describe_shape(working)}: use frame='image', or "
                "say what the rows hold by image_shape=(height, width)."
            )
        generator = torch.Generator().manual_seed(seed)
        name = self.encoder
        if isinstance(name, str) and name == "auto":
            name = "mlp" if len(working) == 1 else "conv"
        if isinstance(name, nn.Module):
            encoder = copy.deepcopy(name).float()
        elif callable(name):
            encoder = name(working)
            if not isinstance(encoder, nn.Module):
                raise TypeError(
                    f"encoder, called with the input shape {working}, returned "
                    f"{type(encoder).__name__}; expected a torch.nn.Module."
                )
        else:
            if len(working) == 1 and name != "mlp":
                raise ValueError(
                    f"encoder={name!r} needs images, got {describe_shape(working)}: say what the "
                    "rows hold by image_shape=(height, width), or use encoder='mlp'."
                )
            params = self.encoder_params or {}
            if name == "conv":
                params = {"max_cells": heads.HEADS[self.head].max_cells, **params}
            with _named("encoder_params", self.encoder_params):
                encoder = encoders.build_encoder(name, working, generator, **params)
        with _named("encoder_params", self.encoder_params):
            features = encoders.feature_shape(encoder, working)
        with _named("head_params", self.head_params):
            head = heads.build_head(self.head, features, generator, **self.head_params or {})
        with torch.no_grad():
            self._n_codes = head.codes(torch.zeros(1, *features)).numel()
        scaling = InputScaling(offset, scale, self.input_shape_[1:], working[1:], self.frame)
        return TwinNetwork(scaling, encoder, head)

    def _adapted(self, X):
        """Self, or of a twin that ships a copy that takes images like X."""
        if not self._adapts:
            return self
        adapted = copy.copy(self)
        store = adapted._store(X, reset=True)
        trained, new = self._working_shape(self.input_shape_), store.input_shape
        same_form = len(new) == 3 and new[1] * trained[2] == new[2] * trained[1]
        if new[0] != trained[0] or not (same_form or (self.frame == "ink" and len(new) == 3)):
            raise ValueError(
                f"X has {describe_shape(new)}, but this twin was trained on images of "
                f"{trained[0]} channel(s), {trained[1]}x{trained[2]}: average colours, pad to "
                "that shape's proportions; for flat rows set_params(image_shape=(height, width))."
            )
        scaling = InputScaling(*learn_scaling(store), new[1:], trained[1:], self.frame)
        adapted.network_ = self.network_.with_scaling(scaling)
        return adapted

    def _distortion(self, shape):
        name = self.distortion
        if callable(name):
            return name
        if name == "auto":
            name = None if len(shape) == 1 else ("strokes" if shape[0] == 1 else "warp")
        elif name is not None and len(shape) == 1:
            raise ValueError(
                f"distortion={name!r} needs images, got {describe_shape(shape)}: use "
                "distortion=None, a callable, or image_shape=(height, width)."
            )
        return None if name is None else distortions.DISTORTIONS[name]

    def _batches(self, store, scaling, seed, *, pairs=None, classes=None, groups=None):
        """The training batches and, with early stopping, what validates them."""
        distortion = self._distortion(store.input_shape)
        if pairs is not None:
            if self.early_stopping:
                raise ValueError(
                    "early_stopping=True needs class labels to make one-shot trials of held-out "
                    "classes, and y has pairs: pass labels, or early_stopping=False."
                )
            return (
                batches.PairBatches(store, scaling, pairs, self.batch_size, distortion, seed),
                None,
            )
        validation = None
        if self.early_stopping:
            kept, validation = self._hold_out(store, classes, groups, seed)
            store = SubStore(store, kept)
            classes = np.unique(classes[kept], return_inverse=True)[1]
            groups = np.unique(groups[kept], return_inverse=True)[1]
        if self.n_pairs is not None:
            pairs = batches.draw_pairs(classes, groups, self.n_pairs, np.random.default_rng(seed))
            plan = batches.PairBatches(store, scaling, pairs, self.batch_size, distortion, seed)
            return plan, validation
        turns = distortions.turns_of(self.class_transforms, self._working_shape(self.input_shape_))
        plan = batches.ClassBatches(
            store, scaling, classes, groups, self.batch_shape, turns, distortion, seed
        )
        return plan, validation

    def _hold_out(self, store, classes, groups, seed):
        """Background classes kept from training, whole groups if there are several, and one-shot
        episodes of them: (indices to train on, validation for `training.train`)."""
        rng = np.random.default_rng(seed)
        units = groups if groups.max() > 0 else classes
        names = rng.permutation(units.max() + 1)
        n_held = max(1 if units is groups else 2, round(self.validation_fraction * len(names)))
        held = np.isin(units, names[:n_held])
        try:
            check_trainable(classes[~held], classes[~held], groups[~held])
            n_way = _episode_way(classes[held], groups[held])
            n_episodes = math.ceil(VALIDATION_TRIALS / n_way)
            splitter = EpisodeSplit(n_way, n_episodes=n_episodes, random_state=seed)
            episodes = list(splitter.split(np.empty(held.sum()), classes[held], groups[held]))
        except ValueError as error:
            raise ValueError(
                f"early_stopping=True holds out {n_held} of {len(names)} "
                f"{'groups' if units is groups else 'classes'} (validation_fraction="
                f"{self.validation_fraction}) for one-shot trials, and that cannot be done here "
                f"({error}): change validation_fraction, or set early_stopping=False."
            ) from error
        kept_out = SubStore(store, np.flatnonzero(held))
        return np.flatnonzero(~held), (kept_out, episodes, classes[held], self.n_iter_no_change)

    def _train(self, store, X, y, **targets):
        """Train a new network; sets network_, history_, n_iter_ and the number of codes.

        Returns
        -------
        context : scikit-learn's callback context, or None
        interrupted : bool
            Whether Ctrl-C cut the training short.
        """
        context = self._init_callback_context(max_subtasks=self.max_iter * self.n_members)
        if context is not None:
            context.call_on_fit_task_begin(estimator=self, X=X, y=y)
        scaling = learn_scaling(store)
        members, self.history_, interrupted = [], [], False
        for seed in self._rng().randint(2**31 - 1, size=self.n_members).tolist():
            try:
                args = store, X, y, targets, scaling, seed, members, context
                member, history, interrupted = self._train_member(*args)
            except KeyboardInterrupt:
                if not members:
                    raise
                interrupted = True  # before this member has learned anything
                break
            members.append(member)
            self.history_ += history
            if interrupted:
                break
        self.network_ = members[0] if len(members) == 1 else TwinEnsemble(members)
        self.n_iter_ = len(self.history_)
        return context, interrupted

    def _train_member(self, store, X, y, targets, scaling, seed, members, context):
        """One twin of those that make the network, with its history, and whether by Ctrl-C."""
        with nullcontext() if isinstance(self.encoder, str) else _lent_generator(seed):
            network = self._assemble(*scaling, seed)
            plan, validation = self._batches(store, network.scaling, seed, **targets)
            callbacks = list(self.callbacks or ())
            if context is not None:
                attributes = functools.partial(self._attributes_so_far, store, y, members)
                callbacks.append(EpochTasks(self, context, X, y, attributes))
            return training.train(
                network,
                plan,
                loss=self.loss,
                max_iter=self.max_iter,
                learning_rate=self.learning_rate,
                weight_decay=self.weight_decay,
                averaging=self.averaging,
                bfloat16=self.precision == "bfloat16"
                or (self.precision == "auto" and training.supports_bfloat16(self.device)),
                device=self.device,
                validation=validation,
                callbacks=callbacks,
                net_params=self.net_params,
            )


@contextmanager
def _named(name, params):
    """Arguments that what they are for does not take are named by the parameter they came in."""
    try:
        yield
    except (TypeError, ValueError, RuntimeError) as error:
        if not params:
            raise
        raise ValueError(f"{name}={params!r} cannot be used: {error}") from error


@contextmanager
def undrawn_on_error(random_state):
    """An attempt that fails leaves a RandomState as it was."""
    drawn = isinstance(random_state, np.random.RandomState)
    before = random_state.get_state() if drawn else None
    try:
        yield
    except BaseException:
        if drawn:
            random_state.set_state(before)
        raise


_lending = threading.RLock()


@contextmanager
def _lent_generator(seed):
    """Layers that are not ours draw weights and dropout from torch's global generators: lend them
    seeded ones, to one thread at a time."""
    with _lending, torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


def _episode_way(classes, groups):
    """Way of episodes inside each of the groups: the fewest classes with two examples that one of
    them has, but 20 at most; groups with fewer than two such classes have none."""
    names, counts = np.unique(np.stack([groups, classes]), axis=1, return_counts=True)
    per_group = np.bincount(names[0, counts > 1], minlength=1)
    return min(20, *per_group[per_group > 1]) if per_group.max() > 1 else 2
