"""Parameters and input of a twin estimator."""

import copy
import math
import warnings
from numbers import Integral

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import nn

from ._fitting import FittingMixin
from ._params import check_choice, check_dict, check_number, check_shape, check_skorch
from ._validation import (
    ImageStore,
    as_array,
    check_images,
    describe_shape,
)
from .model_selection._split import own_random_state
from .twin import distortions, encoders, heads, inference, losses, optimizers
from .twin.scaling import InputScaling, evenly_spaced, learn_scaling


class TwinEstimator(FittingMixin, BaseEstimator):
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
        if not callable(self.loss):
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
        for name in ("early_stopping", "warm_start"):
            if not isinstance(getattr(self, name), bool | np.bool_):
                raise ValueError(f"{name}={getattr(self, name)!r}; expected True or False.")
        try:
            torch.empty(0, device=torch.device(self.device))
        except (RuntimeError, TypeError, AssertionError) as error:
            raise ValueError(
                f"device={self.device!r} is no torch device of this machine ({error}); expected "
                "'cpu', 'cuda', ..."
            ) from error
        check_choice(self.optimizer, "optimizer", optimizers.OPTIMIZERS)
        check_skorch(self.callbacks, self.net_params, self.optimizer)
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
        if X is None:
            raise ValueError("X is None; expected an array of images or of flat rows.")
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

    def _encode_store(self, store, rows=None):
        """Codes of the images of a user's store, or of some rows of it."""
        self._check_units(store, rows)
        return inference.encode(self.network_, store, rows, refuse_inverted=True)

    def _check_units(self, store, rows):
        """Warn of images with values far from those known, as parts of 1 are from bytes."""
        if len(store.input_shape) == 1:
            return
        rows = np.arange(len(store)) if rows is None else rows
        some = rows[evenly_spaced(len(rows), 10)]
        spread = self.network_.scaling.spread(store.take(some))  # of each channel
        least, most = float(spread.min()), float(spread.max())
        if (store.X.dtype.kind == "f" and 0 < most < 0.01) or least > 50:
            warnings.warn(
                f"X spans {most:.2g} times the range of the images that the twin knows: give it "
                "values in the same units as those, such as 0 to 255, or 0 to 1.",
                stacklevel=4,
            )

    def _check_adapted(self):
        """Error of a twin that ships where it knows no images of its user's yet."""
        if self._adapts and self.support_ is None:
            raise NotFittedError(
                "this twin ships trained and learns the kind of its images from its support, and "
                "has none yet: set_support with some of yours first."
            )

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

    def _adapted(self, X):
        """A copy, which of a twin that ships takes images like X; and X as an image store."""
        check_is_fitted(self, "network_")
        adapted = copy.copy(self)
        store = adapted._store(X, reset=self._adapts)
        if not self._adapts:
            return adapted, store
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
        return adapted, store
