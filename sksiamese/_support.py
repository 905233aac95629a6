"""The support, exemplars' embeddings and labels as one value, and the comparer protocol."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ._params import check_choice

AGGREGATIONS = ("mean", "max", "prototype")
BLOCK_ROWS = 1024  # queries whose logits are held at once
_KINDS = {"O": "text", "U": "text", "T": "text", "i": "integer", "u": "integer"}


class Comparer(Protocol):
    """What compares two samples: a neural network, a stroke model, a distance of point sets.

    Samples come from a store with ``len(store)``, ``store.input_shape`` and ``store.take(rows)``.
    Embeddings are NumPy arrays, one row per sample, of any further shape and dtype (`object` for
    embeddings of different sizes). Logits are log-odds that two samples are of one class, before
    calibration, and symmetric.

    Whatever has these methods gets the support, the aggregation of exemplars, calibration,
    rejection, matching, one-shot trials and the displays.
    """

    def embed(
        self, store: Any, rows: np.ndarray | None = None, *, check: bool = True
    ) -> np.ndarray:
        """Embed the samples of `store`, or those at `rows`: (n, ...).

        With `check`, samples unlike those that the comparer knows raise or warn.
        """
        ...

    def logits(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Compare all pairs of embeddings: (A, ...), (B, ...) -> (A, B) float32."""
        ...

    def pair_logits(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Compare embeddings row by row: (P, ...), (P, ...) -> (P,) float32."""
        ...

    def distances(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return how far apart all pairs are, 0 for a perfect match: (A, B) float32."""
        ...


@dataclass(frozen=True, eq=False)
class SupportSet:
    """Exemplars in the order they were given; a value that never changes.

    Exemplars are held in blocks. `add` merges the blocks at the end until each is at most half as
    long as the one before it, so that adding seldom copies the large ones.

    Attributes
    ----------
    blocks : tuple of (embeddings, labels)
        Arrays of shape (n, ...) and (n,).
    embeddings : ndarray of shape (n_exemplars, ...)
    labels : ndarray of shape (n_exemplars,)
    classes : ndarray of shape (n_classes,)
        Sorted labels.
    """

    blocks: tuple[tuple[np.ndarray, np.ndarray], ...]

    @classmethod
    def of(cls, embeddings: np.ndarray, labels: np.ndarray) -> "SupportSet":
        """Return the support of these exemplars."""
        return cls(((embeddings, labels.copy()),))  # y may be changed later

    def __len__(self) -> int:
        return sum(len(labels) for _, labels in self.blocks)

    def __getstate__(self) -> dict[str, Any]:  # without what is derived
        return {"blocks": self.blocks}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # joblib may map the arrays read-only; comparers would then copy them in each call.
        blocks = tuple((np.require(e, requirements=["W"]), y) for e, y in state["blocks"])
        vars(self).update(blocks=blocks)

    @functools.cached_property
    def embeddings(self) -> np.ndarray:
        """Embeddings of all exemplars."""
        return _joined([embeddings for embeddings, _ in self.blocks])

    @functools.cached_property
    def labels(self) -> np.ndarray:
        """Labels of all exemplars."""
        return _joined([labels for _, labels in self.blocks])

    @functools.cached_property
    def _sorted(self) -> tuple[np.ndarray, np.ndarray | slice, np.ndarray, np.ndarray]:
        """Classes, the rows in their order, where each class begins there, and its length."""
        unique = np.unique(self.labels, return_inverse=True, return_counts=True)
        classes, numbers, counts = unique
        first = np.cumsum(counts) - counts
        if (np.diff(numbers) >= 0).all():  # a slice copies nothing
            return classes, slice(None), first, counts
        return classes, np.argsort(numbers, kind="stable"), first, counts

    @functools.cached_property
    def _prototypes(self) -> np.ndarray:
        """Mean embedding of each class."""
        if self.embeddings.dtype == object:
            raise ValueError(
                "aggregation='prototype' needs the mean of embeddings, which are not arrays of "
                "numbers here. Use aggregation='mean' or 'max'."
            )
        _, order, first, counts = self._sorted
        sums = np.add.reduceat(self.embeddings[order], first, axis=0)
        return sums / counts.reshape(-1, *[1] * (sums.ndim - 1)).astype(sums.dtype)

    @property
    def classes(self) -> np.ndarray:
        """Sorted labels."""
        return self._sorted[0]

    def add(self, embeddings: np.ndarray, labels: np.ndarray) -> "SupportSet":
        """Return a support with these exemplars too.

        Raises
        ------
        ValueError
            If the labels are of another type than those of the support.
        """
        blocks = [*self.blocks, (embeddings, labels.astype(self.dtype_with(labels)))]
        while len(blocks) > 1 and len(blocks[-2][1]) < 2 * len(blocks[-1][1]):
            (first, first_labels), (last, last_labels) = blocks[-2:]
            blocks[-2:] = [(_joined([first, last]), _joined([first_labels, last_labels]))]
        return SupportSet(tuple(blocks))

    def dtype_with(self, labels: np.ndarray) -> np.dtype:
        """Return the dtype of the labels of this support and of these.

        Raises
        ------
        ValueError
            If the labels are of another type than those of the support.
        """
        own = self.blocks[-1][1].dtype
        dtype = joined_dtype(own, labels.dtype)
        if dtype is None:
            raise ValueError(
                f"y has labels of dtype {labels.dtype}, but the labels of the support have dtype "
                f"{own}. Give labels of the same type, or call set_support."
            )
        return dtype

    def remove(self, labels: np.ndarray) -> "SupportSet | None":
        """Return a support without the exemplars of these classes; None if none are left.

        Raises
        ------
        ValueError
            If a label is not in the support.
        """
        known = set(self.classes.tolist())
        unknown = [label for label in np.unique(labels).tolist() if label not in known]
        if unknown:
            raise ValueError(
                f"labels={unknown!r} are not in the support, whose classes are "
                f"{_shortened(self.classes)}. Nothing was removed."
            )
        # In one dtype: NumPy compares signed and unsigned integers as floats.
        labels = np.asarray(labels).astype(self.labels.dtype)
        blocks = []
        for embeddings, own in self.blocks:
            keep = ~np.isin(own, labels)
            if keep.all():
                blocks.append((embeddings, own))
            elif keep.any():
                blocks.append((embeddings[keep], own[keep]))
        return SupportSet(tuple(blocks)) if blocks else None

    def find(self, embeddings: np.ndarray, labels: np.ndarray) -> list[tuple[int, int]]:
        """Return (row, exemplar) where an exemplar has the same embedding and another label.

        None are found if embeddings are not arrays of numbers.
        """
        if embeddings.dtype == object:
            return []
        found: dict[int, int] = {}
        first = 0
        for known, known_labels in self.blocks:  # joining them would copy all
            known = known.reshape(len(known), -1)
            for row, own in enumerate(embeddings.reshape(len(embeddings), -1)):
                place = [np.abs(own).argmax()]  # one value tells nearly all apart
                near = np.flatnonzero(_close(known[:, place], own[place]))
                near = near[_close(known[near], own) & (known_labels[near] != labels[row])]
                if len(near):
                    found.setdefault(row, first + int(near[0]))
            first += len(known)
        return sorted(found.items())

    def class_logits(
        self, comparer: Comparer, queries: np.ndarray, aggregation: str
    ) -> np.ndarray:
        """Return the logit of each query with each class, before calibration.

        Parameters
        ----------
        comparer : Comparer
        queries : ndarray of shape (n_queries, ...)
            Embeddings.
        aggregation : {"mean", "max", "prototype"}
            Mean or greatest logit over a class's exemplars, or the logit with the mean of their
            embeddings.

        Returns
        -------
        logits : ndarray of shape (n_queries, n_classes), float32
        """
        check_choice(aggregation, "aggregation", AGGREGATIONS)
        if aggregation == "prototype" and len(self) > len(self.classes):
            return comparer.logits(queries, self._prototypes)
        parts = (self._logits(comparer, block) for block in _blocks(queries))
        return np.concatenate([self.combined(part, aggregation) for part in parts])

    def combined(self, values: np.ndarray, aggregation: str) -> np.ndarray:
        """Return values of classes, means or, with "max", greatest: (..., n) -> (..., n_classes).

        Values are brought into the order of the classes; the embeddings stay.
        """
        _, order, first, counts = self._sorted
        values = values[..., order]
        if len(counts) == len(self):
            return values
        if aggregation == "max":
            return np.maximum.reduceat(values, first, axis=-1)
        return np.add.reduceat(values, first, axis=-1) / counts.astype(values.dtype)

    def _logits(self, comparer: Comparer, queries: np.ndarray) -> np.ndarray:
        parts = [comparer.logits(queries, embeddings) for embeddings, _ in self.blocks]
        return _joined(parts, axis=1)

    def kneighbors(
        self, comparer: Comparer, queries: np.ndarray, n_neighbors: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the nearest exemplars of each query, nearest first.

        Parameters
        ----------
        comparer : Comparer
        queries : ndarray of shape (n_queries, ...)
            Embeddings.
        n_neighbors : int
            At most the number of exemplars.

        Returns
        -------
        distances : ndarray of shape (n_queries, n_neighbors), float32
        indices : ndarray of shape (n_queries, n_neighbors)
            Rows of the support. Of equal distances the lower row comes first.
        """
        found = []
        for block in _blocks(queries):
            parts = [comparer.distances(block, embeddings) for embeddings, _ in self.blocks]
            found.append(_smallest(_joined(parts, axis=1), n_neighbors))
        return _joined([d for d, _ in found]), _joined([i for _, i in found])


def _close(known: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Return which rows of `known` are `own`, but for the rounding of other batches: (n,) bool."""
    return (np.abs(known - own) <= 1e-6 + 1e-5 * np.abs(own)).all(axis=1)


def _smallest(distances: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the k smallest values of each row and their columns; of equal ones the first.

    A partial sort finds the k-th smallest value; only what does not exceed it is sorted.
    """
    if k == distances.shape[1]:
        columns = np.argsort(distances, axis=1, kind="stable")
        return np.take_along_axis(distances, columns, axis=1), columns
    bound = np.partition(distances, k - 1, axis=1)[:, k - 1 : k]
    indices = np.empty((len(distances), k), dtype=np.intp)
    for row, near in enumerate(~(distances > bound)):  # not <=, so that NaN comes last
        columns = np.flatnonzero(near)
        order = np.argsort(distances[row, columns], kind="stable")
        indices[row] = columns[order[:k]]
    return np.take_along_axis(distances, indices, axis=1), indices


def _blocks(queries: np.ndarray) -> Iterator[np.ndarray]:
    return (queries[start : start + BLOCK_ROWS] for start in range(0, len(queries), BLOCK_ROWS))


def _joined(parts: list[np.ndarray], axis: int = 0) -> np.ndarray:
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=axis)


def joined_dtype(first: np.dtype, second: np.dtype) -> np.dtype | None:
    """Return the dtype of labels of both; None where some would change.

    64-bit integers that become floats do.
    """
    kind, other = (_KINDS.get(dtype.kind, dtype.kind) for dtype in (first, second))
    joined = np.result_type(first, second) if kind == other else None
    return None if joined is None or (kind == "integer" and joined.kind == "f") else joined


def _shortened(classes: np.ndarray) -> str:
    shown = ", ".join(map(repr, classes[:10].tolist()))
    return shown + (f", ... ({len(classes)} in all)" if len(classes) > 10 else "")
