"""The support: set, added to, removed from and cleared; a value that never changes."""

import copy
import pickle
import re
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, replace

import joblib
import numpy as np
import pandas as pd
import pytest
from helpers import CLOSE, assert_same_network, classifier, make_table, unchanged
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.exceptions import NotFittedError

from sksiamese import load_pretrained

# set_support


def test_set_support_replaces_the_classes(clf, new):
    X, _ = new
    assert clf.classes_.tolist() == [10, 11, 12, 13, 14, 15]
    assert clf.set_support(X[:2], ["b", "a"]).classes_.tolist() == ["a", "b"]
    assert clf.support_.labels.tolist() == ["b", "a"]


def test_set_support_keeps_the_exemplars_in_their_order(clf, new):
    X, y = new
    order = np.random.default_rng(0).permutation(48)
    clf.set_support(X[order], y[order])
    np.testing.assert_array_equal(clf.support_.labels, y[order])
    np.testing.assert_allclose(
        clf.support_.embeddings.reshape(48, -1), clf.transform(X[order]), **CLOSE
    )
    assert len(clf.support_) == 48


def test_set_support_changes_neither_the_network_nor_a_copy(fitted, new):
    other = copy.copy(fitted)
    with unchanged(fitted):
        other.set_support(*new)
    assert other.network_ is fitted.network_
    assert_same_network(other, fitted)


def test_set_support_copies_the_labels(clf, new):
    X, y = new[0], new[1].copy()
    before = clf.set_support(X, y).predict(X)
    y[:] = -1
    clf.add_support(X[:1], [10])
    np.testing.assert_array_equal(clf.predict(X), before)


@pytest.mark.parametrize(
    "names",
    [
        ["ka", "ki", "ku", "ke", "ko", "n"],
        np.array(["ka", "ki", "ku", "ke", "ko", "n"], dtype=object),
        [-3, -2, -1, 0, 1, 2],
        np.array([5, 4, 3, 2, 1, 0], dtype=np.uint8),
        [10.0, 20.0, 30.0, 40.0, 50.0, 60.0],
        pd.Series(["ka", "ki", "ku", "ke", "ko", "n"], dtype="category"),
    ],
    ids=["str", "object", "negative", "uint8", "float", "category"],
)
def test_set_support_takes_labels_of_any_dtype(clf, new, names):
    X, y = new
    of_rows = clf.decision_function(X).argmax(1)
    answers = clf.set_support(X[::8], names).predict(X)
    names = np.asarray(names)
    assert clf.classes_.tolist() == sorted(names.tolist())
    np.testing.assert_array_equal(answers, names[of_rows])
    assert clf.score(X, names[y - 10]) > 0.6


# add_support


def test_add_support_adds_known_and_new_classes(clf, new):
    clf.add_support(new[0][:2], [3, 10])
    assert clf.classes_.tolist() == [3, 10, 11, 12, 13, 14, 15]
    assert clf.support_.labels.tolist() == [10, 11, 12, 13, 14, 15, 3, 10]


def test_add_support_one_by_one_equals_set_support_of_all(fitted, new):
    X, y = new
    together = copy.copy(fitted).set_support(X[:20], y[:20])
    one_by_one = copy.copy(fitted).set_support(X[:1], y[:1])
    for i in range(1, 20):
        one_by_one.add_support(X[i : i + 1], y[i : i + 1])
    np.testing.assert_allclose(
        one_by_one.decision_function(X), together.decision_function(X), **CLOSE
    )


def test_add_support_sets_the_first_exemplars(training, new):
    clf = classifier().fit(training[0], [[0, 1, 1], [0, 8, 0]])
    assert clf.add_support(new[0][:1], ["a"]).classes_.tolist() == ["a"]


def test_add_support_keeps_longer_strings_whole(clf, new):
    X, _ = new
    first = clf.set_support(X[:2], ["a", "b"]).support_
    clf.add_support(X[2:3], ["long"]).add_support(X[3:4], ["longer still"])
    assert clf.support_.labels.tolist() == ["a", "b", "long", "longer still"]
    assert first.labels.tolist() == ["a", "b"]


def test_add_support_takes_labels_of_any_dtype_once_all_are_removed(clf, new):
    clf.remove_support(clf.classes_)
    assert clf.add_support(new[0][:1], ["a"]).predict(new[0][:1]).tolist() == ["a"]


@pytest.mark.parametrize(
    "dtypes",
    [(np.int64, "U1"), (np.int64, float), (np.int64, np.uint64), (int, bool), (float, bool)],
    ids=["int and str", "int and float", "int64 and uint64", "int and bool", "float and bool"],
)
def test_add_support_refuses_labels_that_would_change(clf, new, dtypes):
    """An integer beside a float, or True beside 1, would become another label."""
    X, _ = new
    for known, added in (dtypes, dtypes[::-1]):
        clf.set_support(X[:2], np.array([1, 0], known))
        with (
            unchanged(clf),
            pytest.raises(
                ValueError,
                match=f"^y has labels of dtype {np.dtype(added)}, but the labels of the support "
                f"have dtype {np.dtype(known)}. Give labels of the same type, or call "
                "set_support.$",
            ),
        ):
            clf.add_support(X[2:3], np.array([1], added))


def test_add_support_changes_no_earlier_support(clf, new):
    """Blocks of exemplars are shared between supports."""
    X, _ = new
    first = clf.set_support(X[:3], [2, 0, 1]).support_
    second = clf.add_support(X[3:4], [5]).support_
    third = clf.add_support(X[4:5], [4]).support_
    other = copy.copy(clf).remove_support(4).add_support(X[5:6], [9]).support_
    for support, labels in (
        (first, [2, 0, 1]),
        (second, [2, 0, 1, 5]),
        (third, [2, 0, 1, 5, 4]),
        (other, [2, 0, 1, 5, 9]),
    ):
        assert support.labels.tolist() == labels
        assert support.classes.tolist() == sorted(labels)
        np.testing.assert_array_equal(support.embeddings[:3], first.embeddings)
    assert not np.array_equal(third.embeddings[4], other.embeddings[4])


@pytest.mark.filterwarnings("ignore:X.0. has the label")
def test_add_support_in_threads_on_copies_of_one_classifier(clf, new):
    X, _ = new

    def grow(n):
        own = copy.copy(clf)
        for k in range(10):
            own.add_support(X[n : n + 1], [100 * n + k])
        return own.support_

    base = clf.support_
    with ThreadPoolExecutor(4) as pool:
        supports = list(pool.map(grow, range(1, 5)))
    for n, support in enumerate(supports, 1):
        assert support.labels.tolist() == base.labels.tolist() + [100 * n + k for k in range(10)]
        added = support.embeddings[6:].reshape(10, -1)
        np.testing.assert_allclose(added, np.tile(clf.transform(X[n : n + 1]), (10, 1)), **CLOSE)


@pytest.fixture
def many():
    """A classifier that compares rows of 256 features by `Manhattan`, and 10,001 such rows."""
    X = np.random.default_rng(0).normal(size=(10_001, 256)).astype(np.float32)
    y = np.arange(10_001) % 100
    clf = classifier("mlp").fit(X[:400], y[:400])
    clf.fitted_ = replace(clf.fitted_, comparer=Manhattan(), support=None)
    return clf, X, y


def test_add_support_of_one_exemplar_does_not_copy_the_embeddings_of_many(many):
    clf, X, y = many
    clf.set_support(X[1:], y[1:])
    size = clf.support_.embeddings.nbytes
    copy.copy(clf).add_support(X[:1], y[:1])  # what Python allocates in a first call
    tracemalloc.start()
    clf.add_support(X[:1], y[:1])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(clf.support_) == 10_001
    assert peak < size / 20


def test_support_find_reads_one_value_of_most_exemplars(many):
    clf, X, y = many
    support = copy.copy(clf).set_support(X[1:], y[1:]).support_
    tracemalloc.start()
    assert support.find(X[[5]], y[[6]]) == [(0, 4)]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < support.embeddings.nbytes / 40


# remove_support


def test_remove_support_releases_the_memory_of_the_embeddings(many):
    clf, X, y = many
    copy.copy(clf).set_support(X[:200], y[:200]).remove_support([0])
    tracemalloc.start()
    clf.set_support(X, y)
    held, _ = tracemalloc.get_traced_memory()
    clf.remove_support(range(1, 100))
    left, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(clf.support_) == 101
    assert held > X.nbytes
    assert left < held / 20


@pytest.mark.parametrize(
    ("labels", "left"),
    [
        (10, [11, 12, 13, 14, 15]),
        ([10], [11, 12, 13, 14, 15]),
        ({11, 15}, [10, 12, 13, 14]),
        (frozenset([11, 15]), [10, 12, 13, 14]),
        (np.array([15, 10, 10]), [11, 12, 13, 14]),
        (np.array([12], dtype=np.uint8), [10, 11, 13, 14, 15]),
        (pd.Series([12, 13]), [10, 11, 14, 15]),
    ],
)
def test_remove_support_removes_one_or_several_classes(clf, labels, left):
    assert clf.remove_support(labels).classes_.tolist() == left


def test_remove_support_leaves_a_support_as_if_set_without_these_classes(fitted, new):
    X, y = new
    clf = copy.copy(fitted).set_support(X, y).remove_support([10, 13])
    kept = ~np.isin(y, [10, 13])
    expected = copy.copy(fitted).set_support(X[kept], y[kept])
    np.testing.assert_array_equal(clf.support_.labels, y[kept])
    np.testing.assert_allclose(clf.predict_proba(X), expected.predict_proba(X), **CLOSE)


def test_remove_support_keeps_exemplars_that_were_added_later(manhattan):
    fitted, X, _ = manhattan
    clf = copy.copy(fitted).set_support(X[:9], [0, 1, 2] * 3).add_support(X[9:11], [3, 4])
    assert clf.remove_support(1).support_.labels.tolist() == [0, 2] * 3 + [3, 4]
    np.testing.assert_array_equal(clf.support_.embeddings, X[[0, 2, 3, 5, 6, 8, 9, 10]])
    assert clf.remove_support(4).support_.labels.tolist() == [0, 2] * 3 + [3]


def test_remove_support_of_all_classes_leaves_none(clf, new):
    clf.remove_support(clf.classes_)
    assert not hasattr(clf, "classes_")
    assert not hasattr(clf, "support_")
    with pytest.raises(NotFittedError, match="no support yet. Call set_support"):
        clf.predict(new[0])


@pytest.mark.parametrize("dtypes", [(np.uint64, np.int64), (np.int64, np.uint64)])
def test_remove_support_tells_large_integers_apart(dtypes):
    """NumPy compares signed and unsigned integers as floats, to which these are equal."""
    X, y = make_table(n_classes=6)
    labels = 2**61 + np.arange(60).astype(dtypes[0])
    clf = classifier("mlp").fit(X, y).set_support(X, labels)
    clf.remove_support(labels[:40:2].astype(dtypes[1]))
    assert clf.classes_.tolist() == [*labels[1:40:2].tolist(), *labels[40:].tolist()]


@pytest.mark.parametrize(
    ("labels", "missing"),
    [
        (99, "99"),
        ([10, 99], "99"),
        ("a", "'a'"),
        (["b", "a", "b"], "'a', 'b'"),
        (np.array([99]), "99"),
    ],
)
def test_remove_support_refuses_labels_that_are_not_there(clf, labels, missing):
    message = (
        rf"^labels=\[{missing}\] are not in the support, whose classes are 10, 11, 12, 13, 14, 15"
        r"\. Nothing was removed\.$"
    )
    with unchanged(clf), pytest.raises(ValueError, match=message):
        clf.remove_support(labels)


@pytest.mark.parametrize(("n_classes", "rest"), [(10, ""), (11, r", \.\.\. \(11 in all\)")])
def test_remove_support_lists_at_most_ten_classes(manhattan, n_classes, rest):
    fitted, X, _ = manhattan
    clf = copy.copy(fitted).set_support(X[:n_classes], np.arange(n_classes))
    with pytest.raises(ValueError, match=rf"are 0, 1, 2, 3, 4, 5, 6, 7, 8, 9{rest}\. Nothing"):
        clf.remove_support(99)


@pytest.mark.parametrize("labels", [None, 1.5, [[1], [2, 3]], {1: 2}])
def test_remove_support_refuses_what_is_no_label(clf, labels):
    with unchanged(clf), pytest.raises(ValueError, match="labels holds"):
        clf.remove_support(labels)


# clear_support


def test_clear_support_removes_all_classes_and_keeps_what_was_learned(clf, new):
    X, y = new
    before = clf.calibrate(X, y).fitted_
    embeddings = clf.transform(X)
    assert not hasattr(clf.clear_support(), "classes_")
    assert not hasattr(clf, "support_")
    assert clf.network_ is before.comparer.network
    assert clf.rejection_threshold_ == before.rejection_threshold
    np.testing.assert_array_equal(clf.transform(X), embeddings)
    with pytest.raises(NotFittedError, match="no support yet. Call set_support"):
        clf.predict(X)


def test_clear_support_may_be_called_without_a_support(clf, new):
    clf.clear_support().clear_support()
    assert clf.set_support(new[0][:1], ["a"]).classes_.tolist() == ["a"]


# support_


def test_support_cannot_be_changed(clf):
    for name in ("blocks", "labels", "embeddings"):
        with pytest.raises(FrozenInstanceError):
            setattr(clf.support_, name, ())


def test_support_pickles_without_the_exemplars_removed(clf, new):
    X, y = new
    few = len(pickle.dumps(copy.copy(clf).set_support(X[:8], y[:8]).support_))
    clf.set_support(X, y).remove_support([11, 12, 13, 14, 15])
    data = pickle.dumps(clf.support_)
    assert len(data) < 1.1 * few
    again = pickle.loads(data)
    assert again.classes.tolist() == [10]
    np.testing.assert_array_equal(again.embeddings, clf.support_.embeddings)


@pytest.mark.filterwarnings("error")  # torch warns of read-only arrays
def test_support_of_a_file_that_is_mapped_is_not_copied(manhattan, tmp_path):
    fitted, X, y = manhattan
    clf = copy.copy(fitted).set_support(X, y)
    joblib.dump(clf, tmp_path / "clf")
    again = joblib.load(tmp_path / "clf", mmap_mode="r")
    assert isinstance(again.support_.embeddings, np.memmap)
    np.testing.assert_array_equal(again.predict(X), clf.predict(X))
    np.testing.assert_array_equal(again.support_.labels, y)


# Whatever the sequence of calls

STEP = st.tuples(st.sampled_from(["set", "add", "remove", "clear"]), st.integers(0, 2**16))


class Manhattan:
    """Compares rows as they are, by operations whose bits do not depend on the other rows."""

    def embed(self, store, rows=None, *, check=True):
        rows = np.arange(len(store)) if rows is None else rows
        return store.take(rows).numpy().copy()  # NumPy's memory, which tracemalloc sees

    def logits(self, a, b):
        return 1 - self.distances(a, b)

    def distances(self, a, b):
        return np.abs(a[:, None] - b).sum(axis=2)


@pytest.fixture(scope="module")
def manhattan():
    """A classifier that compares rows of twelve features by `Manhattan`, and 40 such rows."""
    X = np.random.default_rng(0).normal(size=(40, 12)).astype(np.float32)
    y = np.random.default_rng(1).integers(5, size=40)
    clf = classifier("mlp").fit(X, y)
    clf.fitted_ = replace(clf.fitted_, comparer=Manhattan(), support=None)
    return clf, X, y


@settings(deadline=None, max_examples=60)
@given(
    steps=st.lists(STEP, max_size=20),
    aggregation=st.sampled_from(["mean", "max", "prototype"]),
    n_neighbors=st.floats(0, 1),
)
def test_support_of_any_calls_equals_one_set_at_once(manhattan, steps, aggregation, n_neighbors):
    fitted, X, y = manhattan
    clf = copy.copy(fitted).set_params(aggregation=aggregation)
    rows = []
    for name, seed in steps:
        rng = np.random.default_rng(seed)
        chosen = rng.integers(40, size=rng.integers(1, 6)).tolist()
        if name == "set":
            clf.set_support(X[chosen], y[chosen])
            rows = chosen
        elif name == "add":
            clf.add_support(X[chosen], y[chosen])
            rows = rows + chosen
        elif name == "clear":
            clf.clear_support()
            rows = []
        elif rows:
            labels = rng.permutation(np.unique(y[rows]))[: rng.integers(1, 3)]
            clf.remove_support(labels)
            rows = [row for row in rows if y[row] not in labels]
    if not rows:
        assert not hasattr(clf, "support_")
        return
    once = copy.copy(clf).set_support(X[rows], y[rows])
    np.testing.assert_array_equal(clf.support_.labels, y[rows])
    np.testing.assert_array_equal(clf.support_.embeddings, X[rows])
    assert clf.classes_.tolist() == np.unique(y[rows]).tolist()
    np.testing.assert_array_equal(clf.predict(X), once.predict(X))
    np.testing.assert_array_equal(clf.decision_function(X), once.decision_function(X))
    k = max(1, round(n_neighbors * len(rows)))
    for ours, expected in zip(clf.kneighbors(X, k), once.kneighbors(X, k), strict=True):
        np.testing.assert_array_equal(ours, expected)


# Against loops


@pytest.mark.parametrize("n_classes", [1, 7, 60])
@pytest.mark.parametrize("aggregation", ["mean", "max", "prototype"])
def test_support_class_logits_are_those_of_each_class(manhattan, aggregation, n_classes):
    fitted, X, _ = manhattan
    rng = np.random.default_rng(0)
    own = rng.permutation(np.concatenate([X, X + 1, X - 1]))[:60]
    labels = rng.permutation(np.r_[np.arange(n_classes), rng.integers(n_classes, size=60)])[:60]
    labels = np.where(n_classes == 60, np.arange(60)[::-1], labels)
    support = copy.copy(fitted).set_support(own[:50], labels[:50]).support_
    support = support.add(own[50:], labels[50:])
    logits = support.class_logits(Manhattan(), X, aggregation)
    assert logits.dtype == np.float32
    assert logits.shape == (40, len(np.unique(labels)))
    for column, label in enumerate(np.unique(labels)):
        members = own[labels == label]
        if aggregation == "prototype":
            members = members.mean(axis=0, keepdims=True)
        each = 1 - np.abs(X[:, None] - members).sum(axis=2)
        expected = each.max(axis=1) if aggregation == "max" else each.mean(axis=1)
        np.testing.assert_allclose(logits[:, column], expected, rtol=1e-4, atol=1e-4)


def test_support_class_logits_of_more_queries_than_are_compared_at_once(manhattan):
    fitted, X, y = manhattan
    support = copy.copy(fitted).set_support(X, y).support_
    queries = np.tile(X, (27, 1))[:1030]
    logits = support.class_logits(Manhattan(), queries, "mean")
    once = support.class_logits(Manhattan(), X, "mean")
    np.testing.assert_array_equal(logits, np.tile(once, (27, 1))[:1030])
    distances, indices = support.kneighbors(Manhattan(), queries, 3)
    once = support.kneighbors(Manhattan(), X, 3)
    np.testing.assert_array_equal(distances, np.tile(once[0], (27, 1))[:1030])
    np.testing.assert_array_equal(indices, np.tile(once[1], (27, 1))[:1030])


def test_support_class_logits_refuses_an_unknown_aggregation(manhattan):
    fitted, X, y = manhattan
    support = copy.copy(fitted).set_support(X, y).support_
    message = "^aggregation='median' is not known; expected one of 'mean', 'max', 'prototype'.$"
    with pytest.raises(ValueError, match=message):
        support.class_logits(Manhattan(), X, "median")


@pytest.mark.parametrize("k", [1, 2, 17, 99, 100])
def test_support_kneighbors_gives_the_lower_row_first_of_equal_distances(manhattan, k):
    """NumPy's default sort keeps the order of up to sixteen equal values, and no more."""
    fitted, *_ = manhattan
    rng = np.random.default_rng(0)
    exemplars = rng.integers(3, size=(100, 12)).astype(np.float32)
    queries = rng.integers(3, size=(9, 12)).astype(np.float32)
    support = copy.copy(fitted).set_support(exemplars[:90], np.arange(90)).support_
    support = support.add(exemplars[90:], np.arange(90, 100))
    distances, indices = support.kneighbors(Manhattan(), queries, k)
    assert distances.shape == indices.shape == (9, k)
    for row, query in enumerate(queries):
        all_distances = [float(np.abs(query - exemplar).sum()) for exemplar in exemplars]
        nearest = sorted(range(100), key=lambda n: (all_distances[n], n))[:k]
        assert indices[row].tolist() == nearest
        assert distances[row].tolist() == [all_distances[n] for n in nearest]


def test_support_kneighbors_gives_nan_last(manhattan):
    fitted, X, y = manhattan
    exemplars = X.copy()
    exemplars[[0, 3]] = np.nan
    support = copy.copy(fitted).set_support(X, y).support_
    support = type(support).of(exemplars, y)
    distances, indices = support.kneighbors(Manhattan(), X[:1], 39)
    assert np.isnan(distances[0]).tolist() == [False] * 38 + [True]
    assert indices[0, -1] == 0


@pytest.mark.parametrize(
    ("known", "added"),
    [
        (np.array(["a", "b"]), np.array(["long"], dtype=object)),
        (np.array(["a", "b"], dtype=object), np.array(["long"])),
        (np.array([1, 0]), np.array([200], dtype=np.uint8)),
        (np.array([1, 0], dtype=np.uint8), np.array([-200])),
    ],
    ids=["str and object", "object and str", "int64 and uint8", "uint8 and int64"],
)
def test_support_add_joins_labels_of_one_type(manhattan, known, added):
    fitted, X, _ = manhattan
    support = copy.copy(fitted).set_support(X[:2], [0, 1]).support_
    support = type(support).of(X[:2], known)
    assert support.add(X[2:3], added).labels.tolist() == [*known.tolist(), *added.tolist()]


def test_support_find_names_exemplars_of_the_same_embedding_and_another_label(manhattan):
    fitted, X, _ = manhattan
    X = X.copy()
    X[:, 0] = 0  # where rounding is large, relative to the value
    support = copy.copy(fitted).set_support(X[:6], [0, 1, 2, 3, 4, 5]).support_
    support = support.add(X[6:8], np.array([6, 7]))
    beside = X[3:4] + 1e-7  # the rounding of another batch
    further = X[3:4] + 1e-3
    last = X[3:4] + np.eye(12, dtype=np.float32)[-1]  # differs in one value alone
    assert support.find(X[[7, 20, 2]], np.array([0, 0, 0])) == [(0, 7), (2, 2)]
    assert support.find(X[[7, 20, 2]], np.array([7, 7, 2])) == []
    assert support.find(np.concatenate([further, last, beside]), np.array([9, 9, 9])) == [(2, 3)]
    assert support.add(X[8:9], np.array([8])).find(X[[8]], np.array([3])) == [(0, 8)]
    large = X[:1] + 100  # one unit of the last place is 8e-6
    assert support.add(large, np.array([8])).find(large + 3e-5, np.array([3])) == [(0, 8)]
    twice = support.add(X[[7, 7]], np.array([3, 5]))
    assert twice.find(X[[7]], np.array([7])) == [(0, 8)]
    assert twice.find(X[[7]], np.array([3])) == [(0, 7)]
    assert twice.find(X[[7]].astype(object), np.array([3])) == []


@pytest.mark.parametrize(
    ("aggregation", "expected"),
    [("mean", [4.5, 2.0]), ("max", [8.0, 2.0]), ("prototype", [4.5, 2.0])],
)
def test_support_combined_brings_values_of_exemplars_into_the_order_of_classes(
    manhattan, aggregation, expected
):
    fitted, X, _ = manhattan
    support = copy.copy(fitted).set_support(X[:3], ["b", "a", "a"]).support_
    values = np.array([2.0, 1.0, 8.0], np.float32)
    np.testing.assert_array_equal(support.combined(values, aggregation), expected)
    np.testing.assert_array_equal(support.combined(values[None], aggregation), [expected])


# Embeddings that are known


@pytest.mark.filterwarnings("error")
def test_set_support_takes_embeddings_of_a_memory_map_without_a_copy(fitted, new, tmp_path):
    X, y = new
    clf = copy.copy(fitted)
    expected = copy.copy(fitted).set_support(X, y)
    np.save(tmp_path / "embeddings.npy", clf.transform(X))
    embeddings = np.load(tmp_path / "embeddings.npy", mmap_mode="r")
    clf.set_support(embeddings, y, embedded=True)
    assert np.shares_memory(clf.support_.embeddings, embeddings)
    np.testing.assert_array_equal(clf.classes_, expected.classes_)
    np.testing.assert_allclose(clf.decision_function(X), expected.decision_function(X), **CLOSE)
    clf.add_support(embeddings[:2], y[:2], embedded=True)
    expected.add_support(X[:2], y[:2])
    np.testing.assert_array_equal(clf.classes_, expected.classes_)
    np.testing.assert_allclose(clf.support_.embeddings, expected.support_.embeddings, **CLOSE)


def test_add_support_of_embeddings_sets_the_first_exemplars(fitted, new):
    X, y = new
    embeddings = fitted.transform(X)
    clf = copy.copy(fitted).clear_support().add_support(embeddings, y, embedded=True)
    np.testing.assert_array_equal(clf.predict(X), copy.copy(fitted).set_support(X, y).predict(X))


@pytest.mark.parametrize("call", ["set_support", "add_support"])
def test_set_support_refuses_what_is_no_embedding(clf, new, call):
    X, y = new
    embeddings = clf.transform(X)
    n_features = embeddings.shape[1]
    wrong = embeddings.copy()
    wrong[[3, 5], 1] = np.nan
    faults = {
        f"shape (48, {X[0].size}) and dtype float64": X.reshape(48, -1).astype(float),
        f"expected at least one embedding of this network, (n, {n_features})": embeddings[:0],
        f"shape (48, {n_features}) and dtype int64": embeddings.astype(np.int64),
        "X[3] has NaN or infinity": wrong,
    }
    for message, values in faults.items():
        with unchanged(clf), pytest.raises(ValueError, match=re.escape(message)):
            getattr(clf, call)(values, y[: len(values)], embedded=True)
    with unchanged(clf), pytest.raises(ValueError, match="y has 3 values for 48 samples"):
        getattr(clf, call)(embeddings, y[:3], embedded=True)
    with unchanged(clf), pytest.raises(ValueError, match="embedded=1; expected True"):
        getattr(clf, call)(embeddings, y, embedded=1)


def test_set_support_of_embeddings_needs_the_input_scaling(new):
    clf = load_pretrained("omniglot")
    with pytest.raises(NotFittedError, match="learns the size and the value range"):
        clf.set_support(np.zeros((2, 1625), np.float32), [0, 1], embedded=True)


# Large supports


class Dot(Manhattan):
    """Compares by dot products, and finds the greatest without the pairs."""

    def __init__(self):
        self.keyed, self.compared, self.looked_up = [], [], 0

    def logits(self, a, b):
        self.compared.append(len(a) * len(b))
        return a @ b.T

    def distances(self, a, b):
        return self.distances_of(self.logits(a, b))

    def pair_logits(self, a, b):
        self.looked_up += len(a)
        return (a * b).sum(axis=1)

    def distances_of(self, logits):
        return 100 - logits

    def keys(self, embeddings):
        self.keyed.append(len(embeddings))
        return embeddings

    def shortlist(self, queries, keys, n):
        scores = queries @ keys.T
        rows = np.argpartition(-scores, n - 1, axis=1)[:, :n]
        return np.take_along_axis(scores, rows, axis=1), rows


def gallery(manhattan, comparer, n, **params):
    """Return a classifier with a support of n exemplars, with levels, and 30 queries."""
    rng = np.random.default_rng(0)
    X = rng.integers(-99, 100, (n, 12)).astype(np.float32)  # whose products are exact
    fitted = replace(
        manhattan[0].fitted_,
        comparer=comparer,
        level_weights=rng.integers(-3, 4, 12).astype(np.float32),
    )
    clf = copy.copy(manhattan[0]).set_params(**params)
    clf.fitted_ = fitted
    return clf, X, X[rng.permutation(n)[:30]] + rng.integers(-5, 6, (30, 12)).astype(np.float32)


@pytest.mark.parametrize("aggregation", ["mean", "max", "prototype"])
@pytest.mark.parametrize("n_each", [1, 2])
def test_predict_of_a_large_support_agrees_with_exact(manhattan, aggregation, n_each):
    n = 2000 * n_each
    comparer = Dot()
    clf, X, queries = gallery(manhattan, comparer, n, aggregation=aggregation)
    y = np.random.default_rng(1).permutation(n) // n_each
    clf.set_support(X[:1500], y[:1500]).add_support(X[1500:-20], y[1500:-20])
    for row in range(n - 20, n):
        clf.add_support(X[row : row + 1], y[row : row + 1])
    exact = clf.predict(queries, exact=True)
    assert comparer.looked_up == 0
    np.testing.assert_array_equal(clf.predict(queries), exact)
    searched = aggregation != "mean" or n_each == 1
    assert comparer.looked_up == (30 * 50 if searched else 0)
    np.testing.assert_array_equal(
        clf.score_samples(queries), clf.score_samples(queries, exact=True)
    )
    threshold = float(np.median(clf.score_samples(queries)))
    clf.fitted_ = replace(clf.fitted_, rejection_threshold=threshold)
    clf.set_params(unknown_label=-1)
    known = clf.predict(queries)
    np.testing.assert_array_equal(known, clf.predict(queries, exact=True))
    assert 10 < np.sum(known == -1) < 20
    labels, logits = clf.set_params(unknown_label=None).predict(queries, return_logits=True)
    assert logits.shape == (30, 2000)
    np.testing.assert_array_equal(labels, exact)


@pytest.mark.parametrize("n_neighbors", [1, 40, 500, 501, 2000])
def test_kneighbors_of_a_large_support_agree_with_exact(manhattan, n_neighbors):
    comparer = Dot()
    clf, X, queries = gallery(manhattan, comparer, 2000)
    clf.set_support(X[:1990], np.arange(1990)).add_support(X[1990:], np.arange(10))
    exact = clf.kneighbors(queries, n_neighbors, exact=True)
    assert comparer.looked_up == 0
    for found, expected in zip(clf.kneighbors(queries, n_neighbors), exact, strict=True):
        np.testing.assert_array_equal(found, expected)
    assert comparer.looked_up == 30 * {1: 50, 40: 80, 500: 1000}.get(n_neighbors, 0)


def test_predict_of_a_large_support_gives_the_first_class_of_equal_logits(manhattan):
    clf, X, _ = gallery(manhattan, Dot(), 2000)
    X[[7, 300, 1200]] = 100  # greater than all others
    y = np.random.default_rng(1).permutation(2000)
    clf.set_support(X, y)
    assert clf.predict(X[[7]]).tolist() == [min(y[[7, 300, 1200]])]
    assert clf.kneighbors(X[[7]], 3)[1].tolist() == [[7, 300, 1200]]


def test_predict_of_a_small_support_compares_all(manhattan):
    comparer = Dot()
    clf, X, queries = gallery(manhattan, comparer, 1999)
    clf.set_support(X, np.arange(1999)).predict(queries)
    assert comparer.looked_up == 0
    assert comparer.keyed == []


def test_add_support_derives_keys_of_what_is_new_alone(manhattan):
    comparer = Dot()
    clf, X, queries = gallery(manhattan, comparer, 2100)
    clf.set_support(X[:2000], np.arange(2000)).predict(queries)
    clf.add_support(X[2000:2001], [2000]).predict(queries)
    assert comparer.keyed == [2000, 1]


def test_predict_holds_the_logits_of_some_queries_at_a_time(manhattan):
    comparer = Dot()
    clf, X, _ = gallery(manhattan, comparer, 20_000)
    clf.set_support(X, np.arange(20_000))
    assert clf.predict(X[:2000], exact=True).shape == (2000,)
    assert max(comparer.compared) <= 2**24
    assert sum(comparer.compared) == 2000 * 20_000


@pytest.mark.parametrize("name", ["predict", "score_samples", "kneighbors"])
def test_predict_refuses_exact_that_is_no_bool(clf, new, name):
    with pytest.raises(ValueError, match="^exact='no'; expected True or False.$"):
        getattr(clf, name)(new[0], exact="no")


# search="faiss"


@pytest.fixture
def indexed(monkeypatch):
    """A classifier with search="faiss" that makes an index of 1,200 exemplars and more.

    Also, 4,000 embeddings in clusters, their labels and 100 queries.
    """
    pytest.importorskip("faiss")
    monkeypatch.setattr("sksiamese.twin.inference.INDEXED", 1200)
    X, y = make_table()
    clf = classifier("mlp", head="cosine", search="faiss").fit(X, y)
    rng = np.random.default_rng(0)
    width = clf.transform(X[:1]).shape[1]
    centres = rng.normal(size=(400, width)) + 1
    classes = rng.permutation(np.arange(4100) % 400)
    E = centres[classes] + 0.4 * rng.normal(size=(4100, width))
    E = (E / np.linalg.norm(E, axis=1, keepdims=True)).astype(np.float32)
    return clf, E[:4000], classes[:4000], E[4000:]


@pytest.fixture
def no_training(indexed, monkeypatch):
    """Return a function after which k-means is an error."""
    faiss = pytest.importorskip("faiss")

    def refuse(*args, **params):
        raise AssertionError("k-means runs again")

    return lambda: monkeypatch.setattr(faiss, "Kmeans", refuse)


def answers_of(clf, queries, exact=False):
    """Return labels and nearest exemplars of embedded queries."""
    fitted = clf.fitted_.comparer.to("cpu", None, clf.search)
    support = clf.support_
    labels = replace(clf.fitted_, comparer=fitted).labels(queries, clf.aggregation, exact=exact)
    return labels, support.kneighbors(fitted, queries, 5, exact)[1]


def agreement(clf, queries):
    """Return how many labels, and how many of the nearest exemplars, are those of all compared."""
    (labels, rows), (exact, nearest) = (answers_of(clf, queries, exact) for exact in (False, True))
    found = (rows[:, :, None] == nearest[:, None]).any(axis=1)
    return np.mean(labels == exact), found.mean()


@pytest.mark.parametrize("aggregation", ["prototype", "max"])
@pytest.mark.parametrize("n_each", [1, 2])
def test_predict_by_faiss_agrees_with_exact(indexed, aggregation, n_each):
    clf, E, _, queries = indexed
    clf.set_params(aggregation=aggregation)
    clf.set_support(E, np.arange(4000) // n_each, embedded=True)
    same_label, same_nearest = agreement(clf, queries)
    assert same_label > 0.97
    assert same_nearest > 0.95
    assert clf.support_.blocks[0].cells is not None


def test_predict_and_kneighbors_by_faiss_take_images(indexed):
    clf, E, y, _ = indexed
    X, _ = make_table()
    clf.set_support(E, np.arange(4000), embedded=True)
    assert np.mean(clf.predict(X) == clf.predict(X, exact=True)) > 0.9
    assert clf.kneighbors(X, 700)[1].shape == (120, 700)
    assert clf.score_samples(X).shape == (120,)
    with pytest.raises(ValueError, match="^search='annoy' is not known; expected one of 'auto'"):
        clf.set_params(search="annoy").predict(X)


@pytest.mark.parametrize("aggregation", ["prototype", "max"])
def test_add_support_by_faiss_keeps_the_index(indexed, no_training, aggregation):
    clf, E, _, queries = indexed
    clf.set_params(aggregation=aggregation)
    y = np.r_[np.arange(1000) // 2, np.arange(500, 3400), np.arange(600, 700)]
    clf.set_support(E[:3000], y[:3000], embedded=True)
    before = answers_of(clf, queries)
    first = clf.support_
    no_training()
    for stop in (3001, 3010, 3500, 4000):
        start = len(clf.support_)
        clf.add_support(E[start:stop], y[start:stop], embedded=True)
    assert min(agreement(clf, queries)) > 0.95
    assert len(clf.support_) == 4000
    assert agreement(clf, E[3000:])[0] > 0.97  # exemplars find themselves
    clf.fitted_ = replace(clf.fitted_, support=first)
    for known, now in zip(before, answers_of(clf, queries), strict=True):
        np.testing.assert_array_equal(known, now)


@pytest.mark.parametrize("aggregation", ["prototype", "max"])
def test_remove_support_by_faiss_keeps_the_index(indexed, no_training, aggregation):
    clf, E, _, queries = indexed
    clf.set_params(aggregation=aggregation)
    clf.set_support(E, np.arange(4000) % 3500, embedded=True)
    answers_of(clf, queries)
    no_training()
    removed = np.arange(0, 3500, 5)
    clf.remove_support(removed)
    labels, rows = answers_of(clf, queries)
    assert not np.isin(labels, removed).any()
    assert rows.max() < len(clf.support_)
    assert min(agreement(clf, queries)) > 0.95
    clf.add_support(E[:6], np.arange(6), embedded=True)
    assert clf.support_.blocks[0].cells is not None
    assert (clf.support_.cells_of_means is None) == (aggregation == "max")
    assert min(agreement(clf, queries)) > 0.95


@pytest.mark.parametrize("aggregation", ["prototype", "max"])
@pytest.mark.parametrize("way", [copy.deepcopy, lambda clf: pickle.loads(pickle.dumps(clf))])
def test_copies_by_faiss_keep_the_index(indexed, no_training, way, aggregation):
    clf, E, _, queries = indexed
    clf.set_params(aggregation=aggregation).set_support(E, np.arange(4000) // 2, embedded=True)
    expected = answers_of(clf, queries)
    clf.add_support(E[:1], [5000], embedded=True)
    clf.remove_support([5000])
    again = way(clf)
    no_training()
    for known, now in zip(expected, answers_of(again, queries), strict=True):
        np.testing.assert_array_equal(known, now)


def test_index_of_faiss_is_not_of_another_search(indexed, no_training):
    clf, E, _, queries = indexed
    clf.set_support(E, np.arange(4000), embedded=True)
    expected = answers_of(clf, queries)
    no_training()
    clf.set_params(search="auto")
    assert agreement(clf, queries) == (1, 1)
    clf.set_params(search="faiss")
    for known, now in zip(expected, answers_of(clf, queries), strict=True):
        np.testing.assert_array_equal(known, now)


def test_predict_by_faiss_in_threads_while_others_change_copies(indexed):
    clf, E, _, queries = indexed
    clf.set_support(E[:3000], np.arange(3000), embedded=True)
    expected = answers_of(copy.deepcopy(clf), queries)

    def work(n):
        own = copy.copy(clf)
        found = answers_of(own, queries)
        own.add_support(E[3000 : 3000 + 300 * n], np.arange(3000, 3000 + 300 * n), embedded=True)
        return found, agreement(own, queries)[0]

    with ThreadPoolExecutor(4) as pool:
        for found, same in pool.map(work, range(1, 4)):
            np.testing.assert_array_equal(found[0], expected[0])
            np.testing.assert_array_equal(found[1], expected[1])
            assert same > 0.95


def test_predict_by_faiss_of_comparers_without_keys_compares_all(indexed):
    _, E, _, _ = indexed
    X, y = make_table()
    clf = classifier("mlp", head="signed_l1", search="faiss").fit(X, y)
    clf.set_support(np.abs(E[:, : clf.transform(X).shape[1]]), np.arange(4000), embedded=True)
    np.testing.assert_array_equal(clf.predict(X), clf.predict(X, exact=True))
    assert clf.support_.blocks[0].cells is None


MISSING = r"^search='faiss' needs faiss: pip install 'sksiamese\[faiss\]'\.$"


def test_search_by_faiss_needs_it_to_be_installed(clf, training, new, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "faiss", None)
    X, y = new
    with pytest.raises(ImportError, match=MISSING):
        classifier(search="faiss").fit(*training)
    clf.search = "faiss"
    with unchanged(clf):
        for call in (
            lambda: clf.set_support(X, y),
            lambda: clf.add_support(X, y),
            lambda: clf.predict(X),
            lambda: clf.kneighbors(X),
        ):
            with pytest.raises(ImportError, match=MISSING):
                call()
    expected = clf.set_params(search="auto").predict(X)
    np.testing.assert_array_equal(expected, clf.predict(X))
