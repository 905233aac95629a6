"""Search for the vectors nearest to a query: products of matrices, or an index by faiss.

An index (IVF, J. Sivic, A. Zisserman, "Video Google", ICCV 2003) divides the vectors into cells by
k-means, and compares a query with those in the cells nearest to it. Only this division takes time,
so it is a value of its own: exemplars that are added are put into the cells that there are, and
those that are removed are taken out.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .heads import Keys

SEARCHES = ("auto", "faiss")
INDEXED = 10_000  # vectors; fewer are compared one by one
MOST_CELLS = 2**15 - 1
ROWS = 4096  # vectors that are put into cells at once
POINTS = 64  # vectors for each cell, at most, that k-means looks at
N_ITER = 10
PROBED = 8  # a query is compared with the vectors of one cell in so many
LARGEST = 65504.0  # in half precision
BLOCK_SCORES = 2**22  # numbers in a temporary
FEW = 8  # queries; to read the vectors then takes longer than to multiply them

KeysAt = Callable[[slice | np.ndarray], Keys]  # from rows to the keys at these


@dataclass(frozen=True, eq=False)
class Cells:
    """A division of vectors by k-means.

    Attributes
    ----------
    centroids : ndarray of shape (n_cells, D), float32
    places : ndarray of shape (n,), int16
        Cell of each vector; -1 where it is not known yet.
    """

    centroids: np.ndarray
    places: np.ndarray

    def at(self, rows: np.ndarray) -> "Cells":
        """Return the division of the vectors at some rows, where -1 is a new vector."""
        return Cells(self.centroids, np.where(rows < 0, np.int16(-1), self.places[rows]))


@dataclass(frozen=True, eq=False)
class Scan:
    """Vectors that are all compared with a query.

    Attributes
    ----------
    vectors : Tensor of shape (n, D)
    offsets : Tensor of shape (n,) or None, default=None
        What is added to dot products so that they are in the order of distances.
    rounded : bool, default=False
        Whether dot products of many queries are computed in bfloat16.
    """

    vectors: Tensor
    offsets: Tensor | None = None
    rounded: bool = False

    @classmethod
    def of(cls, vectors: Tensor, euclidean: bool, rounded: bool = False) -> "Scan":
        """Return the vectors to be compared by distance, or by dot product, rounded or not.

        By distance the score is q b - b^2 / 2, which is (q^2 - |q - b|^2) / 2. It is not rounded,
        because its terms cancel.
        """
        if euclidean:
            return cls(vectors, vectors.norm(dim=1).square() / -2)
        return cls(vectors, rounded=rounded)

    def search(self, queries: Tensor, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Find the n nearest vectors: (A, D) -> scores (A, n) and rows (A, n)."""
        rounded = self.rounded and len(queries) > FEW
        dtype = torch.bfloat16 if rounded else self.vectors.dtype
        queries = queries.to(dtype)
        scores, rows, first = [], [], 0
        for part in self.vectors.split(max(n, BLOCK_SCORES // len(queries))):
            products = _products(queries, part.to(dtype))
            if self.offsets is not None:
                products += self.offsets[first : first + len(part)]
            top = products.topk(min(n, len(part)), sorted=False)
            scores.append(top.values)
            rows.append(top.indices + first)
            first += len(part)
        best, places = torch.cat(scores, 1).topk(n, sorted=False)
        return best.float().cpu().numpy(), torch.cat(rows, 1).gather(1, places).cpu().numpy()


class Index:
    """Vectors in cells, of which those in the cells nearest to a query are compared with it.

    Cosines have bounded vectors, which are kept in 8 bits. Those of distances are not bounded, and
    a single large one would make 8 bits too coarse for the others: they are kept in 16.

    Parameters
    ----------
    keys_at : callable
        Takes rows and returns `Keys`.
    cells : Cells
        Of all vectors.
    """

    def __init__(self, keys_at: KeysAt, cells: Cells) -> None:
        faiss = import_faiss()
        self.n_cells, width = cells.centroids.shape
        self.euclidean = keys_at(slice(0, 1)).euclidean
        n, codes = len(cells.places), faiss.ScalarQuantizer
        with _threads(faiss, n):
            self.index = faiss.IndexIVFScalarQuantizer(
                _quantizer(cells.centroids, self.euclidean),
                width,
                self.n_cells,
                codes.QT_fp16 if self.euclidean else codes.QT_8bit,
                faiss.METRIC_L2 if self.euclidean else faiss.METRIC_INNER_PRODUCT,
                False,
            )
            self.index.train(_range(keys_at, n))
            for rows in _parts(np.arange(n)):
                vectors, places = _array(keys_at(rows)), cells.places[rows].astype(np.int64)
                pointers = map(faiss.swig_ptr, (vectors, rows, places))
                self.index.add_core(len(rows), *pointers)

    def search(self, queries: Tensor, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Find n vectors near each query, nearly the nearest: (A, D) -> (A, n) and (A, n)."""
        faiss = import_faiss()
        own = _array(Keys(queries, euclidean=self.euclidean))
        n_probed = -(-self.n_cells // PROBED)
        with _threads(faiss, len(own)):
            while True:
                probing = faiss.SearchParametersIVF(nprobe=n_probed)
                scores, rows = self.index.search(own, n, params=probing)
                if n_probed >= self.n_cells or (rows >= 0).all():
                    break
                n_probed = min(2 * n_probed, self.n_cells)  # there are fewer than n in these
        if self.euclidean:
            scores = (np.square(own).sum(1, keepdims=True) - scores) / 2  # as `Scan` has them
        return scores, rows


def import_faiss() -> Any:
    """Return the module faiss.

    Raises
    ------
    ImportError
        If it is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise ImportError("search='faiss' needs faiss: pip install 'sksiamese[faiss]'.") from error
    return faiss


def divided(keys_at: KeysAt, n: int, known: Cells | None) -> Cells:
    """Divide n vectors into about 2 sqrt(n) cells.

    Those of `known` are kept while they are at least half, and at most twice, as many.
    """
    faiss = import_faiss()
    first = keys_at(slice(0, 1))
    n_cells = min(round(2 * math.sqrt(n)), MOST_CELLS)
    with _threads(faiss, n):
        if known is None or not _fits(known, first.vectors.shape[1], n_cells):
            known = Cells(_centroids(keys_at, n, n_cells), np.full(n, -1, np.int16))
        places, quantizer = known.places.copy(), _quantizer(known.centroids, first.euclidean)
        for rows in _parts(np.flatnonzero(places < 0)):
            places[rows] = quantizer.search(_array(keys_at(rows)), 1)[1][:, 0]
    return Cells(known.centroids, places)


def _fits(known: Cells, width: int, n_cells: int) -> bool:
    n_known, known_width = known.centroids.shape
    return known_width == width and n_cells <= 2 * n_known <= 4 * n_cells


def _centroids(keys_at: KeysAt, n: int, n_cells: int) -> np.ndarray:
    """Return the centroids of some of the vectors by k-means, always the same."""
    faiss = import_faiss()
    chosen = np.random.default_rng(0).permutation(n)[: POINTS * n_cells]
    parts = [keys_at(rows) for rows in _parts(np.sort(chosen))]
    vectors = np.concatenate([_array(part) for part in parts])
    kmeans = faiss.Kmeans(
        vectors.shape[1],
        n_cells,
        niter=N_ITER,
        seed=0,
        spherical=not parts[0].euclidean,
        min_points_per_centroid=1,  # of fewer, it warns
        max_points_per_centroid=POINTS,
    )
    kmeans.train(vectors)
    return kmeans.centroids


def _quantizer(centroids: np.ndarray, euclidean: bool) -> Any:
    faiss = import_faiss()
    width = centroids.shape[1]
    quantizer = faiss.IndexFlatL2(width) if euclidean else faiss.IndexFlatIP(width)
    quantizer.add(centroids)
    return quantizer


def _range(keys_at: KeysAt, n: int) -> np.ndarray:
    """Return the least and the greatest value of each column: (2, D)."""
    ends = []
    for rows in _parts(np.arange(n)):
        vectors = _array(keys_at(rows))
        ends += [vectors.min(0), vectors.max(0)]
    return np.stack([np.min(ends, 0), np.max(ends, 0)])


def _array(keys: Keys) -> np.ndarray:
    vectors = keys.vectors.float().cpu().numpy()
    if keys.euclidean:
        vectors = vectors.clip(-LARGEST, LARGEST)
    return np.ascontiguousarray(vectors)


def _parts(rows: np.ndarray) -> Iterator[np.ndarray]:
    return (rows[start : start + ROWS] for start in range(0, len(rows), ROWS))


@contextmanager
def _threads(faiss: Any, most: int) -> Iterator[None]:
    """Compute on as many threads as torch does, at most: a forked process has one."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(min(torch.get_num_threads(), most))
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _products(a: Tensor, b: Tensor) -> Tensor:
    """Return the dot products of all pairs: (A, D), (B, D) -> (A, B)."""
    if len(a) > FEW or a.dtype != torch.float32:
        return a @ b.T
    several = a if len(a) > 1 else a.repeat(2, 1)  # with one vector, MKL uses one thread
    return (b @ several.T).T[: len(a)].contiguous()
