"""Products with all vectors, and the index by faiss: what they find, and what is kept of it."""

import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sksiamese.twin import search
from sksiamese.twin.heads import Keys
from sksiamese.twin.search import Cells, Index, Scan, divided, import_faiss

N, WIDTH = 4000, 24
METRICS = pytest.mark.parametrize("euclidean", [False, True])


def clustered(n, seed, euclidean=False, n_classes=200, width=WIDTH, noise=0.5):
    """Return vectors around centres that are always the same, and the numbers of these."""
    centres = np.random.default_rng(0).normal(size=(n_classes, width))
    rng = np.random.default_rng([1, seed])
    y = rng.integers(n_classes, size=n)
    vectors = centres[y] + noise * rng.normal(size=(n, width))
    if not euclidean:
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return torch.from_numpy(vectors.astype(np.float32)), y


def keys_of(vectors, euclidean):
    """Return a function from rows to keys, as a comparer gives them."""
    return lambda rows: Keys(vectors[rows], euclidean=euclidean)


def index_of(vectors, euclidean, known=None):
    keys_at = keys_of(vectors, euclidean)
    return Index(keys_at, divided(keys_at, len(vectors), known))


def order(queries, vectors, euclidean):
    """Return all rows, nearest first."""
    if euclidean:
        return torch.cdist(queries, vectors).argsort(1).numpy()
    return (queries @ vectors.T).argsort(1, descending=True).numpy()


@pytest.fixture
def no_training(monkeypatch):
    """Make k-means an error."""
    faiss = pytest.importorskip("faiss")

    def refuse(*args, **params):
        raise AssertionError("k-means runs again")

    return lambda: monkeypatch.setattr(faiss, "Kmeans", refuse)


# Scan


@METRICS
@pytest.mark.parametrize("n_queries", [1, 5, 20])
def test_scan_search_finds_the_nearest_in_blocks(euclidean, n_queries, monkeypatch):
    vectors, _ = clustered(300, 0, euclidean)
    queries, _ = clustered(n_queries, 1, euclidean)
    expected = order(queries, vectors, euclidean)[:, :20]
    scan = Scan.of(vectors, euclidean)
    for block in (2**22, n_queries * 30):
        monkeypatch.setattr(search, "BLOCK_SCORES", block)
        scores, rows = scan.search(queries, 20)
        np.testing.assert_array_equal(np.sort(rows), np.sort(expected))
        np.testing.assert_array_equal(
            np.take_along_axis(rows, np.argsort(-scores, axis=1), axis=1), expected
        )


def test_scan_search_of_rounded_vectors_finds_the_nearest_among_many():
    vectors, _ = clustered(3000, 0, False)
    queries, _ = clustered(20, 1, False)
    exact = Scan.of(vectors, False).search(queries, 1)[1]
    rounded = Scan.of(vectors, False, rounded=True)
    assert np.isin(exact, rounded.search(queries, 20)[1]).all()
    few = rounded.search(queries[:8], 1)  # are not rounded
    np.testing.assert_array_equal(few[1], exact[:8])
    near, far = (
        Scan.of(vectors, euclidean, rounded=True).search(queries, 20)[0]
        - Scan.of(vectors, euclidean).search(queries, 20)[0]
        for euclidean in (True, False)
    )
    assert not near.any()
    assert far.any()


# Index


@METRICS
def test_index_search_finds_nearly_all_of_the_nearest(euclidean):
    pytest.importorskip("faiss")
    vectors, y = clustered(N, 0, euclidean)
    queries, _ = clustered(300, 1, euclidean)
    scores, rows = index_of(vectors, euclidean).search(queries, 50)
    assert scores.shape == rows.shape == (300, 50)
    assert scores.dtype == np.float32
    nearest = order(queries, vectors, euclidean)[:, :5]
    found = (rows[:, :, None] == nearest[:, None]).any(axis=1)
    assert found[:, 0].mean() > 0.98
    assert found.mean() > 0.96
    exact = Scan.of(vectors, euclidean).search(queries, N)
    by_row = np.take_along_axis(exact[0], np.argsort(exact[1], axis=1), axis=1)
    expected = np.take_along_axis(by_row, rows, axis=1)
    np.testing.assert_allclose(scores, expected, atol=0.02 * np.ptp(expected))


@settings(deadline=None, max_examples=20)
@given(
    euclidean=st.booleans(),
    noise=st.floats(0.05, 0.5),
    n_classes=st.integers(2, 400),
    width=st.integers(8, 40),
)
def test_index_search_finds_the_class_of_a_query(euclidean, noise, n_classes, width):
    pytest.importorskip("faiss")
    options = {"n_classes": n_classes, "width": width, "noise": noise}
    vectors, y = clustered(2000, 0, euclidean, **options)
    queries, _ = clustered(100, 1, euclidean, **options)
    _, rows = index_of(vectors, euclidean).search(queries, 50)
    nearest = order(queries, vectors, euclidean)[:, 0]
    assert (y[rows] == y[nearest][:, None]).any(axis=1).mean() >= 0.97


@METRICS
@pytest.mark.parametrize("n", [1500, N])
def test_index_search_finds_as_many_as_it_is_asked_for(euclidean, n):
    """The cells that are looked at first have fewer."""
    pytest.importorskip("faiss")
    vectors, _ = clustered(N, 0, euclidean)
    scores, rows = index_of(vectors, euclidean).search(clustered(3, 1, euclidean)[0], n)
    assert np.isfinite(scores).all()
    assert [len(set(row)) for row in rows.tolist()] == [n] * 3
    assert rows.min() >= 0


def test_index_search_by_distance_is_not_made_coarse_by_a_large_vector():
    pytest.importorskip("faiss")
    vectors, _ = clustered(N, 0, euclidean=True)
    vectors[17] = 1e4
    vectors[18] = 1e9  # which half precision does not have
    queries, _ = clustered(100, 1, euclidean=True)
    index = index_of(vectors, euclidean=True)
    _, rows = index.search(queries, 50)
    nearest = order(queries, vectors, euclidean=True)[:, :1]
    assert (rows == nearest).any(axis=1).mean() > 0.97
    assert 17 in index.search(vectors[17:18], 50)[1]


@METRICS
def test_index_of_equal_vectors_finds_some_of_them(euclidean):
    pytest.importorskip("faiss")
    vectors = torch.ones(1000, 4) / 2
    _, rows = index_of(vectors, euclidean).search(vectors[:2], 30)
    assert [len(set(row)) for row in rows.tolist()] == [30, 30]


@METRICS
def test_index_is_the_same_on_one_and_two_threads(euclidean):
    pytest.importorskip("faiss")
    vectors, queries = (clustered(n, n, euclidean)[0] for n in (N, 100))
    n_threads, found = torch.get_num_threads(), []
    try:
        for n in (1, 2):
            torch.set_num_threads(n)
            cells = divided(keys_of(vectors, euclidean), N, None)
            answers = Index(keys_of(vectors, euclidean), cells).search(queries, 50)
            found.append((cells.centroids, cells.places, *answers))
    finally:
        torch.set_num_threads(n_threads)
    for one, two in zip(*found, strict=True):
        np.testing.assert_array_equal(one, two)


def test_index_leaves_the_number_of_threads_of_faiss():
    faiss = pytest.importorskip("faiss")
    vectors, _ = clustered(N, 0)
    before = faiss.omp_get_max_threads()
    try:
        faiss.omp_set_num_threads(3)
        index_of(vectors, False).search(vectors[:2], 5)
        assert faiss.omp_get_max_threads() == 3
    finally:
        faiss.omp_set_num_threads(before)


# Cells


def test_cells_at_rows_and_of_new_vectors():
    cells = Cells(np.zeros((3, 2), np.float32), np.array([2, 0, 1], np.int16))
    again = cells.at(np.array([1, -1, 0]))
    assert again.places.tolist() == [0, -1, 2]
    assert again.places.dtype == np.int16
    assert again.centroids is cells.centroids
    assert cells.at(np.array([], int)).places.tolist() == []


@METRICS
def test_divided_puts_new_vectors_into_the_cells_that_are_known(euclidean, no_training):
    vectors, _ = clustered(N + 500, 0, euclidean)
    keys_at = keys_of(vectors, euclidean)
    cells = divided(keys_at, N, None)
    assert len(cells.centroids) == round(2 * N**0.5)
    assert cells.places.min() == 0
    no_training()
    known = cells.at(np.r_[np.arange(N), np.full(500, -1)])
    grown = divided(keys_at, N + 500, known)
    assert grown.centroids is cells.centroids
    np.testing.assert_array_equal(grown.places[:N], cells.places)
    nearest = order(vectors[N:], torch.from_numpy(cells.centroids), euclidean)[:, 0]
    np.testing.assert_array_equal(grown.places[N:], nearest)
    assert known.places[N:].tolist() == [-1] * 500
    queries, _ = clustered(100, 1, euclidean)
    _, rows = Index(keys_at, grown).search(queries, 50)
    best = order(queries, vectors, euclidean)[:, :1]
    assert (rows == best).any(axis=1).mean() > 0.97


@pytest.mark.parametrize(
    ("n_known", "again"), [(N // 4, False), (N // 5, True), (3 * N, False), (5 * N, True)]
)
def test_divided_divides_again_where_cells_are_too_few_or_too_many(n_known, again):
    pytest.importorskip("faiss")
    centroids = clustered(round(2 * n_known**0.5), 2)[0].numpy()
    vectors, _ = clustered(N, 0)
    known = Cells(centroids, np.full(N, -1, np.int16))
    assert (divided(keys_of(vectors, False), N, known).centroids is not centroids) == again


def test_divided_divides_again_where_cells_are_of_other_vectors():
    pytest.importorskip("faiss")
    vectors, _ = clustered(N, 0)
    known = Cells(clustered(126, 2, width=7)[0].numpy(), np.zeros(N, np.int16))
    assert divided(keys_of(vectors, False), N, known).centroids.shape == (126, WIDTH)


# Without faiss


def test_import_faiss_names_the_parameter_and_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(
        ImportError, match=r"^search='faiss' needs faiss: pip install 'sksiamese\[faiss\]'\.$"
    ):
        import_faiss()
