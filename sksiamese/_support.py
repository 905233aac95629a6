"""The support, exemplars' embeddings and labels as one value, and the comparer protocols."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from ._params import check_bool, check_choice

AGGREGATIONS = ("mean", "max", "prototype")
BLOCK_ROWS = 1024  # queries that are compared at once, at most
BLOCK_LOGITS = 2**24  # logits that are held at once
BLOCK_PAIRS = 1024
SEARCHED = 2000  # exemplars, or prototypes: fewer are compared one by one
SHORTLIST = 50  # of which the logits are known exactly
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


@runtime_checkable
class Searchable(Protocol):
    """A comparer that finds exemplars like a query without comparing it with each of them."""

    def keys(self, embeddings: np.ndarray) -> Any:
        """Return what `shortlist` looks through, (n, ...); None if logits have no such order."""
        ...

    def shortlist(self, queries: np.ndarray, keys: Any, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Find the n embeddings that are most like each query, in about the order of the logits.

        (A, ...), keys of B embeddings -> scores (A, n), and rows (A, n) of B.
        """
        ...

    def distances_of(self, logits: np.ndarray) -> np.ndarray:
        """Return how far apart pairs with these logits are, 0 for a perfect match."""
        ...


@runtime_checkable
class Indexing(Protocol):
    """A searchable comparer whose keys are made sooner where it is known how they are divided.

    Blocks hand that on when exemplars are added and removed.
    """

    def indexed(self, embeddings: np.ndarray, cells: Any) -> tuple[Any, Any]:
        """Return keys, and how these are divided, of which `cells` is what is known, or None."""
        ...


Derived = TypeVar("Derived")


@dataclass(frozen=True, eq=False)
class Block:
    """Exemplars that were added together, with what was derived from them.

    Attributes
    ----------
    embeddings : ndarray of shape (n, ...)
    labels : ndarray of shape (n,)
    cells : object or None, default=None
        How an index divides the exemplars, as far as that is known; ``cells.at(rows)`` is how it
        divides those at some rows, where -1 is a new one.
    """

    embeddings: np.ndarray
    labels: np.ndarray
    cells: Any = None
    _derived: dict[str, tuple[Any, Any]] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.labels)

    def __getstate__(self) -> dict[str, Any]:  # without what is derived
        return {"embeddings": self.embeddings, "labels": self.labels, "cells": self.cells}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _derived={})

    def derived(self, name: str, by: Any, compute: Callable[[np.ndarray], Derived]) -> Derived:
        """Return what `by` computes of the embeddings, once."""
        known = self._derived.get(name)
        if known is None or known[0] is not by:
            known = self._derived[name] = by, compute(self.embeddings)
        return known[1]

    def keys(self, comparer: "Searchable") -> Any:
        """Return what `comparer` looks through to find these exemplars, computed once."""

        def compute(embeddings: np.ndarray) -> Any:
            if not isinstance(comparer, Indexing):
                return comparer.keys(embeddings)
            keys, vars(self)["cells"] = comparer.indexed(embeddings, self.cells)
            return keys

        return self.derived("keys", comparer, compute)

    def rows(self, chosen: np.ndarray) -> "Block":
        """Return the exemplars at some rows."""
        cells = None if self.cells is None else self.cells.at(chosen)
        return Block(self.embeddings[chosen], self.labels[chosen], cells)

    def joined(self, other: "Block") -> "Block":
        """Return these exemplars and those of another block."""
        cells = self.cells
        if cells is not None:
            cells = cells.at(np.r_[np.arange(len(self)), np.full(len(other), -1)])
        embeddings = _joined([self.embeddings, other.embeddings])
        return Block(embeddings, _joined([self.labels, other.labels]), cells)


class PendingBlock(Block):
    """Exemplars that are embedded when their embeddings are first asked for.

    Two threads that ask at once may both embed them, with the same result.

    Parameters
    ----------
    embed : callable
        Returns the embeddings. It is called once and then dropped, with all that it holds.
    labels : ndarray of shape (n,)
    """

    def __init__(self, embed: Callable[[], np.ndarray], labels: np.ndarray) -> None:
        vars(self).update(_embed=embed, labels=labels, cells=None, _derived={})

    def __reduce__(self) -> Any:
        return Block, (self.embeddings, self.labels, self.cells)

    @property
    def embeddings(self) -> np.ndarray:
        """Embeddings of the exemplars."""
        state = vars(self)
        embed = state["_embed"]
        if embed is not None:
            state["_embeddings"] = embed()
            state["_embed"] = None
        return state["_embeddings"]


@dataclass(frozen=True, eq=False)
class SupportSet:
    """Exemplars in the order they were given; a value that never changes.

    Exemplars are held in blocks. `add` merges the blocks at the end until each is at most half as
    long as the one before it, so that adding seldom copies the large ones.

    Attributes
    ----------
    blocks : tuple of Block
    embeddings : ndarray of shape (n_exemplars, ...)
    labels : ndarray of shape (n_exemplars,)
    classes : ndarray of shape (n_classes,)
        Sorted labels.
    known_means : tuple of (ndarray, object) or None, default=None
        Classes whose mean embeddings an index has divided before, and how; see `Block`.
    """

    blocks: tuple[Block, ...]
    known_means: tuple[np.ndarray, Any] | None = field(default=None, repr=False)

    @classmethod
    def of(cls, embeddings: np.ndarray, labels: np.ndarray) -> "SupportSet":
        """Return the support of these exemplars."""
        return cls((Block(embeddings, labels.copy()),))  # y may be changed later

    @classmethod
    def later(cls, embed: Callable[[], np.ndarray], labels: np.ndarray) -> "SupportSet":
        """Return the support of exemplars that are embedded when they are first asked for."""
        return cls((PendingBlock(embed, labels.copy()),))

    def __len__(self) -> int:
        return sum(map(len, self.blocks))

    def __getstate__(self) -> dict[str, Any]:  # without what is derived
        return {"blocks": self.blocks, "known_means": self._known_means}

    @functools.cached_property
    def embeddings(self) -> np.ndarray:
        """Embeddings of all exemplars."""
        return _joined([block.embeddings for block in self.blocks])

    @functools.cached_property
    def labels(self) -> np.ndarray:
        """Labels of all exemplars."""
        return _joined([block.labels for block in self.blocks])

    @functools.cached_property
    def _sorted(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Classes, the class of each exemplar as a place among them, and how many each has."""
        return np.unique(self.labels, return_inverse=True, return_counts=True)

    @functools.cached_property
    def _order(self) -> tuple[np.ndarray | slice, np.ndarray]:
        """The rows in the order of the classes, and where each class begins there."""
        _, places, counts = self._sorted
        first = np.cumsum(counts) - counts
        if (np.diff(places) >= 0).all():  # a slice copies nothing
            return slice(None), first
        return np.argsort(places, kind="stable"), first

    @functools.cached_property
    def _prototypes(self) -> Block:
        """Mean embedding of each class."""
        if self.embeddings.dtype == object:
            raise ValueError(
                "aggregation='prototype' needs the mean of embeddings, which are not arrays of "
                "numbers here. Use aggregation='mean' or 'max'."
            )
        (order, first), (classes, _, counts) = self._order, self._sorted
        sums = np.add.reduceat(self.embeddings[order], first, axis=0)
        means = sums / counts.reshape(-1, *[1] * (sums.ndim - 1)).astype(sums.dtype)
        return Block(means, classes, self.cells_of_means)

    @property
    def cells_of_means(self) -> Any:
        """How an index divides the mean embeddings of `classes`, as far as is known; or None."""
        known = self._known_means
        if known is None:
            return None
        rows = np.minimum(np.searchsorted(known[0], self.classes), len(known[0]) - 1)
        return known[1].at(np.where(known[0][rows] == self.classes, rows, -1))

    @property
    def _known_means(self) -> tuple[np.ndarray, Any] | None:
        means = vars(self).get("_prototypes")
        if means is None or means.cells is None:
            return self.known_means
        return means.labels, means.cells

    def _known_without(self, labels: np.ndarray) -> tuple[np.ndarray, Any] | None:
        """Return what is known of the means of classes other than these."""
        known = self._known_means
        if known is None:
            return None
        classes, cells = known
        rows = np.where(np.isin(classes, labels), -1, np.arange(len(classes)))
        return classes, cells.at(rows)

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
        blocks = [*self.blocks, Block(embeddings, labels.astype(self.dtype_with(labels)))]
        while len(blocks) > 1 and len(blocks[-2]) < 2 * len(blocks[-1]):
            blocks[-2:] = [blocks[-2].joined(blocks[-1])]
        return SupportSet(tuple(blocks), self._known_without(labels))

    def dtype_with(self, labels: np.ndarray) -> np.dtype:
        """Return the dtype of the labels of this support and of these.

        Raises
        ------
        ValueError
            If the labels are of another type than those of the support.
        """
        own = self.blocks[-1].labels.dtype
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
        for block in self.blocks:
            keep = ~np.isin(block.labels, labels)
            if keep.all():
                blocks.append(block)
            elif keep.any():
                blocks.append(block.rows(np.flatnonzero(keep)))
        return SupportSet(tuple(blocks), self._known_without(labels)) if blocks else None

    def find(self, embeddings: np.ndarray, labels: np.ndarray) -> list[tuple[int, int]]:
        """Return (row, exemplar) where an exemplar has the same embedding and another label.

        None are found if embeddings are not arrays of numbers.
        """
        if embeddings.dtype == object:
            return []
        found: dict[int, int] = {}
        first = 0
        for block in self.blocks:  # joining them would copy all
            known = block.embeddings.reshape(len(block), -1)
            for row, own in enumerate(embeddings.reshape(len(embeddings), -1)):
                place = [np.abs(own).argmax()]  # one value tells nearly all apart
                near = np.flatnonzero(_close(known[:, place], own[place]))
                near = near[_close(known[near], own) & (block.labels[near] != labels[row])]
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
        if self._compares_prototypes(aggregation):
            return comparer.logits(queries, self._prototypes.embeddings)
        logits = [self._logits(comparer, part) for part in self._few(queries)]
        return np.concatenate([self.combined(part, aggregation) for part in logits])

    def _compares_prototypes(self, aggregation: str) -> bool:
        return aggregation == "prototype" and len(self) > len(self.classes)

    def _few(self, queries: np.ndarray) -> Iterator[np.ndarray]:
        """Yield queries, as many at a time as their logits with all exemplars can be held."""
        return _parts(queries, max(1, min(BLOCK_ROWS, BLOCK_LOGITS // len(self))))

    def best_logits(
        self, comparer: Comparer, queries: np.ndarray, aggregation: str, exact: bool = False
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
        """Yield some queries, and their logits with the classes most like each, or with all.

        Parameters
        ----------
        comparer : Comparer
        queries : ndarray of shape (n_queries, ...)
            Embeddings.
        aggregation : {"mean", "max", "prototype"}
        exact : bool, default=False
            Compare each query with all exemplars. Otherwise, where there are at least `SEARCHED`,
            a `Searchable` comparer shortlists `SHORTLIST` of them.

        Yields
        ------
        part : ndarray of shape (n_part, ...)
            Queries.
        logits : ndarray of shape (n_part, n), float32
            Before calibration.
        places : ndarray of shape (n_part, n), or None
            Places of these classes among `classes`, in order; None: all classes.
        """
        check_choice(aggregation, "aggregation", AGGREGATIONS)
        check_bool(exact, "exact")
        means = self._compares_prototypes(aggregation)
        blocks = (self._prototypes,) if means else self.blocks
        decided_by_one = means or aggregation == "max" or len(self) == len(self.classes)
        for part in _parts(queries, BLOCK_ROWS):
            rows = None
            if decided_by_one and not exact:
                rows = _shortlisted(comparer, part, blocks, SHORTLIST)
            if rows is None:
                for few in self._few(part):
                    yield few, self.class_logits(comparer, few, aggregation), None
                continue
            places = rows if means else self._sorted[1][rows]
            order = np.argsort(places, axis=1, kind="stable")
            rows = np.take_along_axis(rows, order, axis=1)
            logits = _logits_of(comparer, part, blocks, rows)
            yield part, logits, np.take_along_axis(places, order, axis=1)

    def combined(self, values: np.ndarray, aggregation: str) -> np.ndarray:
        """Return values of classes, means or, with "max", greatest: (..., n) -> (..., n_classes).

        Values are brought into the order of the classes; the embeddings stay.
        """
        (order, first), (_, _, counts) = self._order, self._sorted
        values = values[..., order]
        if len(counts) == len(self):
            return values
        if aggregation == "max":
            return np.maximum.reduceat(values, first, axis=-1)
        return np.add.reduceat(values, first, axis=-1) / counts.astype(values.dtype)

    def _logits(self, comparer: Comparer, queries: np.ndarray) -> np.ndarray:
        parts = [comparer.logits(queries, block.embeddings) for block in self.blocks]
        return _joined(parts, axis=1)

    def kneighbors(
        self, comparer: Comparer, queries: np.ndarray, n_neighbors: int, exact: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the nearest exemplars of each query, nearest first.

        Parameters
        ----------
        comparer : Comparer
        queries : ndarray of shape (n_queries, ...)
            Embeddings.
        n_neighbors : int
            At most the number of exemplars.
        exact : bool, default=False
            Compare each query with all exemplars; see `best_logits`.

        Returns
        -------
        distances : ndarray of shape (n_queries, n_neighbors), float32
        indices : ndarray of shape (n_queries, n_neighbors)
            Rows of the support. Of equal distances the lower row comes first.
        """
        check_bool(exact, "exact")
        found = []
        n_shortlist = max(SHORTLIST, 2 * n_neighbors)
        for part in _parts(queries, BLOCK_ROWS):
            rows = None if exact else _shortlisted(comparer, part, self.blocks, n_shortlist)
            if rows is None:
                found += [self._nearest(comparer, few, n_neighbors) for few in self._few(part)]
                continue
            assert isinstance(comparer, Searchable)
            rows.sort(axis=1)
            logits = _logits_of(comparer, part, self.blocks, rows)
            distances, places = _smallest(comparer.distances_of(logits), n_neighbors)
            found.append((distances, np.take_along_axis(rows, places, axis=1)))
        return _joined([d for d, _ in found]), _joined([i for _, i in found])

    def _nearest(
        self, comparer: Comparer, queries: np.ndarray, n: int
    ) -> tuple[np.ndarray, np.ndarray]:
        parts = [comparer.distances(queries, block.embeddings) for block in self.blocks]
        return _smallest(_joined(parts, axis=1), n)


def _parts(queries: np.ndarray, size: int) -> Iterator[np.ndarray]:
    return (queries[start : start + size] for start in range(0, len(queries), size))


def _shortlisted(
    comparer: Comparer, queries: np.ndarray, blocks: tuple[Block, ...], n: int
) -> np.ndarray | None:
    """Return the rows of n exemplars like each query, (n_queries, n); None: compare with all."""
    if sum(map(len, blocks)) < max(SEARCHED, 2 * n) or not isinstance(comparer, Searchable):
        return None
    scores, rows, first = [], [], 0
    for block in blocks:
        keys = block.keys(comparer)
        if keys is None:
            return None
        of_block = comparer.shortlist(queries, keys, min(n, len(block)))
        scores.append(of_block[0])
        rows.append(of_block[1] + first)
        first += len(block)
    if len(blocks) == 1:
        return rows[0]
    best = np.argpartition(-np.concatenate(scores, axis=1), n - 1, axis=1)[:, :n]
    return np.take_along_axis(np.concatenate(rows, axis=1), best, axis=1)


def _logits_of(
    comparer: Comparer, queries: np.ndarray, blocks: tuple[Block, ...], rows: np.ndarray
) -> np.ndarray:
    """Return the logits of queries with exemplars, those at the rows (n_queries, n) of each."""
    i = np.arange(rows.size) // rows.shape[1]
    exemplars = functools.partial(_taken, blocks)
    logits = pair_logits(comparer, queries.__getitem__, exemplars, i, rows.ravel())
    return logits.reshape(rows.shape)


Rows = Callable[[np.ndarray], np.ndarray]  # from rows to the embeddings at these


def pair_logits(comparer: Comparer, a: Rows, b: Rows, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Return logits of the pairs (a(i), b(j)), (P,), in blocks of pairs."""
    parts = (slice(start, start + BLOCK_PAIRS) for start in range(0, len(i), BLOCK_PAIRS))
    return np.concatenate([comparer.pair_logits(a(i[part]), b(j[part])) for part in parts])


def _taken(blocks: tuple[Block, ...], rows: np.ndarray) -> np.ndarray:
    """Return embeddings at the rows, counted through all blocks, without joining these."""
    if len(blocks) == 1:
        return blocks[0].embeddings[rows]
    like = blocks[0].embeddings
    taken = np.empty((len(rows), *like.shape[1:]), like.dtype)
    first = 0
    for block in blocks:
        own = (rows >= first) & (rows < first + len(block))
        taken[own] = block.embeddings[rows[own] - first]
        first += len(block)
    return taken


def _close(known: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Return which rows of `known` are `own`, but for the rounding of other batches: (n,) bool."""
    return (np.abs(known - own) <= 1e-6 + 1e-5 * np.abs(own)).all(axis=1)


def _smallest(distances: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the k smallest values of each row and their columns; of equal ones the first."""
    if k == distances.shape[1]:
        columns = np.argsort(distances, axis=1, kind="stable")
        return np.take_along_axis(distances, columns, axis=1), columns
    columns = np.sort(np.argpartition(distances, k - 1, axis=1)[:, :k], axis=1)
    bound = np.take_along_axis(distances, columns, axis=1).max(axis=1)
    near = ~(distances > bound[:, None])  # not <=, so that NaN comes last
    for row in np.flatnonzero(near.sum(axis=1) > k):  # equal to the k-th: any of these were taken
        alike = np.flatnonzero(near[row])
        order = np.argsort(distances[row, alike], kind="stable")
        columns[row] = np.sort(alike[order[:k]])
    values = np.take_along_axis(distances, columns, axis=1)
    order = np.argsort(values, axis=1, kind="stable")
    return np.take_along_axis(values, order, axis=1), np.take_along_axis(columns, order, axis=1)


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
