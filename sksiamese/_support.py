"""The support: SupportSet, the exemplars' codes and labels, and the methods that change it."""

import copy
import functools
import threading
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from ._params import check_choice, check_number
from ._validation import as_array, check_labels
from .twin import inference

AGGREGATIONS = ("mean", "max", "prototype")
_KINDS = {"O": "text", "U": "text", "T": "text", "i": "integer", "u": "integer"}


@dataclass(frozen=True, eq=False)
class SupportSet:
    """Exemplars in the order they were given, never changed once made.

    Attributes
    ----------
    codes : Tensor of shape (n_exemplars, ...)
    labels : ndarray of shape (n_exemplars,)
    classes : ndarray of shape (n_classes,)
        Sorted labels.
    """

    codes: torch.Tensor
    labels: np.ndarray

    def __post_init__(self):  # frozen, hence by way of __dict__
        self.__dict__.update(labels=self.labels.copy(), _room=None)  # whatever becomes of y

    def __len__(self):
        return len(self.labels)

    def __reduce__(self):  # without the room, which a pickle of a view would hold
        return SupportSet, (self.codes.clone(), self.labels)

    @functools.cached_property
    def _sorted(self):
        """Classes, the rows in their order, and where each class begins there."""
        classes, numbers = np.unique(self.labels, return_inverse=True)
        order = np.argsort(numbers, kind="stable")
        return classes, order, np.searchsorted(numbers[order], range(len(classes)))

    @property
    def classes(self):
        return self._sorted[0]

    def add(self, codes, labels):
        """A new support with these exemplars too, at a cost that does not grow with this one's."""
        if not len(self):
            return SupportSet(codes, labels)
        joined = joined_dtype(self.labels.dtype, labels.dtype)
        if joined is None:
            raise ValueError(
                f"y has labels of dtype {labels.dtype}, the support's are {self.labels.dtype}; "
                "give labels of the same kind, or start anew with set_support."
            )
        n, total = len(self), len(self) + len(labels)
        room = self._room
        if room is None or not room.claim(n, total, joined):
            room = _Room(self.codes, self.labels, joined, 2 * total)
            room.claim(n, total, joined)
        room.codes[n:total], room.labels[n:total] = codes, labels
        grown = object.__new__(SupportSet)
        grown.__dict__.update(codes=room.codes[:total], labels=room.labels[:total], _room=room)
        return grown

    def remove(self, labels):
        """A new support without the exemplars of these classes."""
        known = set(self.classes.tolist())
        unknown = [label for label in np.unique(labels).tolist() if label not in known]
        if unknown:
            raise ValueError(
                f"labels={unknown!r} are not in the support; its classes are "
                f"{_shortened(self.classes)}. Nothing was removed."
            )
        # Of one dtype: NumPy compares signed and unsigned integers as floats.
        labels = np.asarray(labels).astype(self.labels.dtype)
        keep = np.flatnonzero(~np.isin(self.labels, labels))
        codes, rows = self.__dict__.get("_left_of") or (self.codes, np.arange(len(self)))
        shrunk = object.__new__(SupportSet)
        shrunk.__dict__.update(labels=self.labels[keep], _room=None, _left_of=(codes, rows[keep]))
        return shrunk

    def __getattr__(self, name):
        """`codes` after a removal: copied when they are asked for, not for each class removed."""
        left_of = self.__dict__.get("_left_of")
        if name != "codes" or left_of is None:
            if name in self.__dict__:  # another thread was here first
                return self.__dict__[name]
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        codes, rows = left_of
        self.__dict__["codes"] = codes[torch.from_numpy(rows)]
        self.__dict__.pop("_left_of", None)
        return self.__dict__["codes"]

    def class_logits(self, network, codes, aggregation):
        """Twin logit of each query with each class, (n_queries, n_classes) float32.

        Parameters
        ----------
        aggregation : {"mean", "max", "prototype"}
            Mean or greatest logit over a class's exemplars, or the logit with their mean code.
        """
        check_choice(aggregation, "aggregation", AGGREGATIONS)
        _, order, first = self._sorted
        counts = np.diff(np.append(first, len(self)))
        own = self.codes[order]
        if aggregation == "prototype" and len(own) > len(counts):
            own = torch.stack([part.mean(0) for part in own.split(counts.tolist())])
            counts = np.ones_like(counts)

        def of_classes(block):
            logits = inference.logits(network, block, own).numpy()
            if len(counts) == logits.shape[1]:
                return logits
            if aggregation == "max":
                return np.maximum.reduceat(logits, first, axis=1)
            return np.add.reduceat(logits, first, axis=1) / counts.astype(logits.dtype)

        return np.concatenate([of_classes(block) for block in codes.split(inference.BLOCK_ROWS)])

    def kneighbors(self, network, codes, n_neighbors):
        """Distances and rows of the nearest exemplars, two (n_queries, n_neighbors) arrays."""
        check_number(n_neighbors, "n_neighbors", int, 1)
        if n_neighbors > len(self):
            raise ValueError(
                f"n_neighbors={n_neighbors} is more than the {len(self)} exemplars of the "
                "support: ask for fewer, or add_support."
            )
        nearest = []
        for block in codes.split(inference.BLOCK_ROWS):
            distances = inference.distances(network, block, self.codes)
            indices = distances.argsort(dim=1, stable=True)[:, :n_neighbors]
            nearest.append((distances.gather(1, indices).numpy(), indices.numpy()))
        return tuple(map(np.concatenate, zip(*nearest, strict=True)))


class _Room:
    """Codes and labels of several supports, each of which has the first so many of them.

    The last of these supports writes behind its own; any other, and any that needs more room,
    moves.
    """

    def __init__(self, codes, labels, dtype, capacity):
        self.codes = codes.new_empty(capacity, *codes.shape[1:])
        self.labels = np.empty(capacity, dtype=dtype)
        self.codes[: len(codes)], self.labels[: len(labels)] = codes, labels
        self.used = len(labels)
        self.lock = threading.Lock()

    def claim(self, n, total, dtype):
        """Whether a support of `n` may write up to `total`; it is then the last."""
        with self.lock:
            free = self.used == n and total <= len(self.labels) and dtype == self.labels.dtype
            if free:
                self.used = total
            return free


class SupportMixin:
    """What changes the support of an estimator with ``network_``: ``support_`` is replaced as a
    whole."""

    @property
    def classes_(self):
        """Labels of the support, sorted."""
        support = getattr(self, "support_", None)
        if support is None:
            raise AttributeError(f"{type(self).__name__} has no support yet, so no classes_")
        return support.classes

    def _require_support(self):
        check_is_fitted(self, "network_")
        support = self.support_
        if support is None or not len(support):
            raise NotFittedError(
                f"This {type(self).__name__} instance has no support yet: call set_support(X, y) "
                "with at least one exemplar of each class before predicting."
            )
        return support

    def _exemplars(self, store, y):
        labels = check_labels(y, len(store))
        if self.unknown_label is not None:
            self._check_unknown_label(labels)
        return SupportSet(self._encode_store(store), labels)

    def set_support(self, X, y):
        """Make these exemplars the support; `classes_` becomes their labels.

        Parameters
        ----------
        X : array-like of shape (n_exemplars, ...)
            One or more exemplars of each class, of the shape fitted.
        y : array-like of shape (n_exemplars,)
            Their labels, of any dtype.

        Returns
        -------
        self : object

        Raises
        ------
        NotFittedError
            If the twin has not been trained.
        ValueError
            If X or y cannot be used; the support is then as it was.
        """
        adapted, store = self._adapted(X)
        adapted.support_ = adapted._exemplars(store, y)
        self.__dict__ = adapted.__dict__  # one assignment, as in fit
        return self

    def add_support(self, X, y):
        """Add exemplars, of known or of new classes; takes and raises what `set_support` does."""
        check_is_fitted(self, "network_")
        if self._adapts and self.support_ is None:
            return self.set_support(X, y)
        new = self._exemplars(self._store(X), y)
        old = self.support_
        self.support_ = new if old is None else old.add(new.codes, new.labels)
        return self

    def remove_support(self, labels):
        """Remove all exemplars of one or several classes.

        Parameters
        ----------
        labels : label, or array-like or set of labels

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If a label is not in the support; nothing is then removed.
        """
        labels = list(labels) if isinstance(labels, set | frozenset) else labels
        labels = np.atleast_1d(as_array(labels, "labels"))
        labels = check_labels(labels, len(labels), "labels")
        self.support_ = self._require_support().remove(labels)
        return self

    def kneighbors(self, X, n_neighbors=5, return_distance=True):
        """Nearest exemplars of the support.

        Parameters
        ----------
        X : array-like of shape (n_queries, ...)
        n_neighbors : int, default=5
        return_distance : bool, default=True

        Returns
        -------
        distances : ndarray of shape (n_queries, n_neighbors), float32
            The logit of a perfect match minus the head's, ascending, whatever was calibrated: with
            "weighted_l1" the metric.
        indices : ndarray of shape (n_queries, n_neighbors)
            Rows of the support, in the order they were given.
        """
        self = copy.copy(self)  # one twin and its support, though another thread may fit anew
        distances, indices = self._require_support().kneighbors(
            self.network_, self._encode(X), n_neighbors
        )
        return (distances, indices) if return_distance else indices


def joined_dtype(first, second):
    """The dtype of labels of both; None where some would change, as 64-bit integers do that
    become floats."""
    kind, other = (_KINDS.get(dtype.kind, dtype.kind) for dtype in (first, second))
    joined = np.result_type(first, second) if kind == other else None
    return None if joined is None or (kind == "integer" and joined.kind == "f") else joined


def _shortened(classes):
    shown = ", ".join(map(repr, classes[:10].tolist()))
    return shown + (f", ... ({len(classes)} in all)" if len(classes) > 10 else "")
