"""Fitting of a twin estimator: from its parameters and validated data to a trained network."""

import copy
import functools
import math
import threading
from contextlib import contextmanager, nullcontext
from numbers import Integral

import numpy as np
import torch
from torch import nn

from ._callbacks import CallbackSupportMixin, EpochTasks
from ._validation import SubStore, check_trainable, describe_shape
from .model_selection import EpisodeSplit
from .model_selection._split import common_way
from .twin import batches, distortions, encoders, heads, training
from .twin.network import TwinEnsemble, TwinNetwork
from .twin.scaling import InputScaling, learn_scaling

AUTO_SIDE = 36
VALIDATION_TRIALS = 320


class FittingMixin(CallbackSupportMixin):
    """What `fit` builds and trains, for a `TwinEstimator`."""

    def _fit_as_a_whole(self, *args):
        """Call ``_fit(*args)`` of a copy, and become that once it has succeeded."""
        fitted = copy.copy(self)
        with _undrawn_on_error(self.random_state):
            interrupted = fitted._fit(*args)
        # One assignment: an attempt that fails changes nothing, and a thread that is predicting
        # sees the old twin or the new one.
        self.__dict__ = fitted.__dict__
        if interrupted:
            # The model is kept, and whoever called, a grid search say, stops too.
            raise KeyboardInterrupt("training was interrupted; the twin trained so far is kept")
        return self

    def _attributes_so_far(self, store, y, members, net):
        """What a callback of scikit-learn needs to predict in the middle of training."""
        averaging = dict(net.callbacks_)["averaging"]
        network = copy.deepcopy(averaging.model_.module).to("cpu").fold()
        return {
            "network_": TwinEnsemble([*members, network]) if members else network,
            "n_iter_": len(self.history_) + len(net.history),
        }

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
        try:
            features = encoders.feature_shape(encoder, working)
        except (TypeError, ValueError, RuntimeError) as error:
            if isinstance(name, str) and not self.encoder_params:
                raise
            what = f"encoder_params={self.encoder_params!r}"
            what = what if self.encoder_params else f"encoder, a {type(encoder).__name__},"
            raise ValueError(
                f"{what} cannot be used for inputs of shape {working}: {error}"
            ) from error
        with _named("head_params", self.head_params):
            head = heads.build_head(self.head, features, generator, **self.head_params or {})
        with torch.no_grad():
            self._n_codes = head.codes(torch.zeros(1, *features)).numel()
        scaling = InputScaling(offset, scale, self.input_shape_[1:], working[1:], self.frame)
        return TwinNetwork(scaling, encoder, head)

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

    def _batches(self, store, scaling, seed, *, pairs=None, classes=None, groups=None, kept=None):
        """The training batches and, with early stopping, what validates them.

        Of labelled images only those at `kept` are trained on, if that is given.
        """
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
        if kept is not None:
            store = SubStore(store, kept)
            classes, groups = renumbered(classes, groups, kept)
        if self.early_stopping:
            kept, held, episodes = self._hold_out(classes, groups, seed, "early_stopping=True")
            validation = SubStore(store, held), episodes, classes[held], self.n_iter_no_change
            store = SubStore(store, kept)
            classes, groups = renumbered(classes, groups, kept)
        if self.n_pairs is not None:
            pairs = batches.draw_pairs(classes, groups, self.n_pairs, np.random.default_rng(seed))
            plan = batches.PairBatches(store, scaling, pairs, self.batch_size, distortion, seed)
            return plan, validation
        turns = distortions.turns_of(self.class_transforms, self._working_shape(self.input_shape_))
        plan = batches.ClassBatches(
            store, scaling, classes, groups, self.batch_shape, turns, distortion, seed
        )
        return plan, validation

    def _hold_out(self, classes, groups, seed, reason):
        """Background classes kept from training, whole groups if there are several: indices to
        train on, indices held out, and one-shot episodes of the latter."""
        rng = np.random.default_rng(seed)
        units = groups if groups.max() > 0 else classes
        names = rng.permutation(units.max() + 1)
        n_held = max(1 if units is groups else 2, round(self.validation_fraction * len(names)))
        held = np.isin(units, names[:n_held])
        try:
            check_trainable(classes[~held], classes[~held], groups[~held])
            n_way = common_way(classes[held], groups[held])
            n_episodes = math.ceil(VALIDATION_TRIALS / n_way)
            splitter = EpisodeSplit(n_way, n_episodes=n_episodes, random_state=seed)
            episodes = list(splitter.split(np.empty(held.sum()), classes[held], groups[held]))
        except ValueError as error:
            raise ValueError(
                f"{reason} holds out {n_held} of {len(names)} "
                f"{'groups' if units is groups else 'classes'} (validation_fraction="
                f"{self.validation_fraction}) for one-shot trials, and that cannot be done here "
                f"({error}): change validation_fraction, or do without {reason}."
            ) from error
        return np.flatnonzero(~held), np.flatnonzero(held), episodes

    def _train(self, store, X, y, **targets):
        """Train a network, or go on with the present one; sets network_, history_, n_iter_ and
        the number of codes.

        Returns
        -------
        context : scikit-learn's callback context, or None
        interrupted : bool
            Whether Ctrl-C cut the training short.
        """
        context = self._init_callback_context(max_subtasks=self.max_iter * self.n_members)
        if context is not None:
            context.call_on_fit_task_begin(estimator=self, X=X, y=y)
        previous = self._previous()
        scaling = learn_scaling(store)
        if previous and not self._adapts:
            scaling = previous[0].scaling.offset, previous[0].scaling.scale
        self._adapts = False
        members, interrupted = [], False
        self.history_ = list(self.history_) if previous else []
        for seed in self._rng().randint(2**31 - 1, size=self.n_members).tolist():
            try:
                start = previous[len(members)] if len(members) < len(previous) else None
                args = store, X, y, targets, scaling, seed, members, context, start
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

    def _train_member(self, store, X, y, targets, scaling, seed, members, context, start):
        """One twin of those that make the network, from the weights of `start` if there is one,
        with its history, and whether by Ctrl-C."""
        with nullcontext() if isinstance(self.encoder, str) else _lent_generator(seed):
            network = self._assemble(*scaling, seed)
            if start is not None:
                self._go_on(network, start)
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
                optimizer=self.optimizer,
                validation=validation,
                callbacks=callbacks,
                net_params=self.net_params,
            )

    def _begin(self, X):
        """X as an image store: of the shape that there is, to go on with the present twin."""
        before = self.input_shape_ if self._previous() and not self._adapts else None
        store = self._store(X, reset=True)
        if before not in (None, store.input_shape):
            raise ValueError(
                f"X has {describe_shape(store.input_shape)}, and warm_start=True goes on with a "
                f"twin of {describe_shape(before)}: bring X to that, or set warm_start=False."
            )
        return store

    def _previous(self):
        """The trained twins to go on with; none without `warm_start`."""
        network = getattr(self, "network_", None)
        if network is None or not self.warm_start:
            return []
        return list(getattr(network, "members", [network]))

    def _go_on(self, network, start):
        """Give `network` what `start` has learned."""
        learned = {k: v for k, v in start.state_dict().items() if not k.startswith("scaling.")}
        try:
            network.load_state_dict({**network.state_dict(), **learned})
        except RuntimeError as error:
            raise ValueError(
                "warm_start=True goes on with the present twin, and parameters that say how it is "
                f"built have changed since: set them back, or warm_start=False. {error}"
            ) from error


def renumbered(classes, groups, rows):
    """Classes and groups of these rows, numbered from 0."""
    return tuple(np.unique(values[rows], return_inverse=True)[1] for values in (classes, groups))


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
def _undrawn_on_error(random_state):
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
