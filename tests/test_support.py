"""The support: set, added to, removed from and cleared; a value that never changes."""

import copy
import pickle
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pandas as pd
import pytest
from helpers import CLOSE, assert_same_network, classifier, make_table, unchanged
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.exceptions import NotFittedError

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
    [(np.int64, "U1"), (np.int64, float), (np.int64, np.uint64), (int, bool), ("S1", "U1")],
    ids=["int and str", "int and float", "int64 and uint64", "int and bool", "bytes and str"],
)
def test_add_support_refuses_labels_that_would_change(clf, new, dtypes):
    """An integer beside a float, or True beside 1, would become another label."""
    X, _ = new
    for known, added in (dtypes, dtypes[::-1]):
        clf.set_support(X[:2], np.array([1, 0], known))
        with (
            unchanged(clf),
            pytest.raises(
                ValueError, match="y has labels of dtype .* of the same type, or call set_support"
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


@pytest.mark.parametrize("labels", [99, [10, 99], "a", ["a", "b"], np.array([99])])
def test_remove_support_refuses_labels_that_are_not_there(clf, labels):
    message = r"labels=\[.*\] are not in the support, whose classes are 10, .*Nothing was removed"
    with unchanged(clf), pytest.raises(ValueError, match=message):
        clf.remove_support(labels)


def test_remove_support_lists_at_most_ten_classes(fitted, glyphs):
    clf = copy.copy(fitted).set_support(*glyphs)
    with pytest.raises(ValueError, match=r"are 0, 1, .*, 9, \.\.\. \(16 in all\)\."):
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
    """A classifier that compares rows of four features by `Manhattan`, and 40 such rows."""
    X = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
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
