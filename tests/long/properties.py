"""Inputs of every form: each result is that of a slow reference, or a documented error.

    python tests/long/properties.py --count 20000 --seed 0

The reference compares one query with one exemplar at a time, both C-ordered float64 images, and
holds the support in a plain list. After an error the estimator must be the same, and answer the
same. Prints the numbers of results and errors; the exit status is 1 if an example fails.
"""

import argparse
import copy
import functools
import re
import sys
import time
import traceback
import warnings
from collections import Counter
from dataclasses import replace

import hypothesis
import numpy as np
import torch
from hypothesis import HealthCheck
from hypothesis import strategies as st
from scipy.special import expit, softmax

from sksiamese import (
    FrozenTwinClassifier,
    MotorProgramClassifier,
    SiameseOneShotClassifier,
    SiameseVerifier,
)
from sksiamese.datasets import make_glyphs

CLOSE = {"rtol": 1e-3, "atol": 2e-3}
COUNTS = Counter()  # of results and errors, by property

# Samples: whole numbers from 0 to 255, which every dtype below holds exactly.
GLYPHS, CLASSES = make_glyphs(n_classes=5, n_samples=4, image_size=10, random_state=0)


def noisy(*shape):
    """Return samples around a random centre of each class, uint8."""
    rng = np.random.default_rng(0)
    centres = rng.integers(40, 216, (5, *shape))
    return (centres[CLASSES] + rng.integers(-40, 40, (20, *shape))).astype(np.uint8)


ROWS, COLORS = noisy(6), noisy(10, 7, 3)
DTYPES = ["u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", ">i2", ">f4", ">f8", "O"]

# Estimators, trained once

SMALL = {"max_iter": 1, "resize": None, "precision": "float32", "random_state": 0}
CONV = {**SMALL, "encoder_params": {"width": 4}}
KINDS = {
    "rows": (ROWS, SiameseOneShotClassifier("mlp", **SMALL)),
    "mean": (GLYPHS, SiameseOneShotClassifier(**CONV)),
    "max": (GLYPHS, SiameseOneShotClassifier(head="signed_l1", aggregation="max", **CONV)),
    "prototype": (GLYPHS, SiameseOneShotClassifier(aggregation="prototype", **CONV)),
    "aligned": (GLYPHS, SiameseOneShotClassifier(head="aligned", **CONV)),
    "members": (GLYPHS, SiameseOneShotClassifier(n_estimators=2, **CONV)),
    "cropped": (GLYPHS, SiameseOneShotClassifier(**{**CONV, "crop": "foreground", "resize": 12})),
    "colors": (COLORS, SiameseOneShotClassifier(**CONV)),
    "programs": (GLYPHS, MotorProgramClassifier(primitives=False, n_walks=1, random_state=0)),
}
NEURAL = [kind for kind in KINDS if kind != "programs"]
OFTEN = [*NEURAL, *NEURAL, "programs"]


@functools.cache
def trained(kind, calibrated=False):
    """Return a fitted classifier, to be copied, and its samples."""
    pool, clf = KINDS[kind]
    clf = copy.copy(clf).fit(pool, CLASSES)
    # Motor programs would learn value range and polarity anew from each support.
    clf.fitted_ = replace(clf.fitted_, adapts=False)
    return clf.calibrate(pool, CLASSES) if calibrated else clf, pool


def plain(pool, row):
    """Return a batch of one sample, float64 in C order."""
    return np.array(pool[row : row + 1], dtype=np.float64, order="C")


@functools.cache
def logit(kind, calibrated, i, j):
    """Return the logit of two samples, compared alone."""
    clf, pool = trained(kind, calibrated)
    return clf.similarity(plain(pool, i), plain(pool, j)).item()


def logits_of(kind, calibrated, a, b):
    """Return the logit of each of some samples with each of others, (A, B)."""
    return np.array([[logit(kind, calibrated, i, j) for j in b] for i in a])


@functools.cache
def embeddings_of(kind):
    """Return the embedding of each sample, one at a time."""
    clf, pool = trained(kind)
    singles = [clf.transform(plain(pool, row)) for row in range(len(pool))]
    shape = clf.support_.embeddings.shape[1:]
    scale = clf.support_.embeddings.reshape(len(pool), -1) / np.concatenate(singles)
    return np.concatenate(singles) * np.float32(np.round(np.nanmedian(scale))), shape


def class_logits(kind, calibrated, queries, support, classes):
    """Return the logits of queries (rows) with classes of a support, a list of (row, label)."""
    own = [[row for row, label in support if label == name] for name in classes]
    aggregation = trained(kind)[0].aggregation
    if aggregation != "prototype":
        aggregate = np.max if aggregation == "max" else np.mean
        of_classes = [aggregate(logits_of(kind, calibrated, queries, rows), 1) for rows in own]
        return np.stack(of_classes, axis=1)
    embeddings, shape = embeddings_of(kind)
    fitted = trained(kind, calibrated)[0].fitted_
    of_classes = [embeddings[rows].mean(axis=0).reshape(1, *shape) for rows in own]
    singles = [embeddings[q].reshape(1, *shape) for q in queries]
    return np.array([[fitted.logits(q, c).item() for c in of_classes] for q in singles])


# Forms of the same samples and labels

LAYOUTS = {
    "C": lambda a: np.array(a, order="C"),
    "Fortran": np.asfortranarray,
    "backwards": lambda a: a[::-1].copy()[::-1],
    "mirrored": lambda a: np.ascontiguousarray(a[..., ::-1])[..., ::-1],
    "every other": lambda a: np.repeat(a, 2, axis=0)[::2],
    "part": lambda a: np.pad(a, [(1, 1)] * a.ndim)[(slice(1, -1),) * a.ndim],
    "samples last": lambda a: np.moveaxis(np.array(np.moveaxis(a, 0, -1), order="C"), -1, 0),
    "read-only": lambda a: _read_only(a),
    "unaligned": lambda a: _unaligned(a),
    "broadcast": lambda a: np.broadcast_to(a[:1], a.shape) if (a == a[:1]).all() else a,
}
CONTAINERS = {
    "array": lambda a: a,
    "list": list,
    "tuple": tuple,
    "numbers": lambda a: a.tolist(),
    "column": lambda a: _column(a),
    "tensor": lambda a: torch.tensor(np.array(a, a.dtype.newbyteorder("="), order="C")),
    "strided tensor": lambda a: torch.tensor(
        np.array(a.T, a.dtype.newbyteorder("="), order="C")
    ).permute(*reversed(range(a.ndim))),
    "bfloat16": lambda a: torch.tensor(np.array(a, dtype=np.float32)).bfloat16(),
}


def _read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def _unaligned(a):
    if a.dtype == object:
        return a
    buffer = np.zeros(a.nbytes + 1, np.uint8)
    view = buffer[1:].view(a.dtype) if a.dtype.itemsize == 1 else None
    if view is None:
        view = np.frombuffer(buffer.data, a.dtype, a.size, offset=1)
    view = view.reshape(a.shape)
    view[...] = a
    return view


def _column(a):
    column = np.empty(len(a), object)
    column[:] = [np.array(item) for item in a]
    return column if a.ndim > 1 else a


SAMPLE_FORMS = st.tuples(
    st.sampled_from(DTYPES),
    st.sampled_from(sorted(LAYOUTS)),
    st.sampled_from(["array"] * 6 + sorted(CONTAINERS)),
    st.sampled_from(["as it is", "channel first", "channel last"]),
)


def formed(pool, rows, form):
    """Return samples of a pool in another form."""
    dtype, layout, container, axes = form
    a = pool[rows]
    if a.ndim == 3 and axes == "channel first":
        a = a[:, None]
    elif a.ndim == 3 and axes == "channel last":
        a = a[..., None]
    elif a.ndim == 4 and axes == "channel first":
        a = np.moveaxis(a, -1, 1)
    if container.endswith("tensor") and dtype == "O":
        dtype = "f4"
    return CONTAINERS[container](LAYOUTS[layout](a.astype(dtype)))


LABELS = {
    "int8": lambda n: (n - 2).astype(np.int8),
    "uint8": lambda n: n.astype(np.uint8),
    "int32": lambda n: n.astype(">i4") * 1000,
    "int64": lambda n: n + 2**53,  # neighbours that are equal as floats
    "uint64": lambda n: n.astype(np.uint64) + np.uint64(2**63),
    "float": lambda n: n.astype(np.float64) - 1,
    "bool": lambda n: n > 1,
    "text": lambda n: np.array([f"class {k}" for k in n]),
    "texts of many lengths": lambda n: np.array(["z" * (k + 1) for k in n]),
    "text objects": lambda n: np.array([f"é{k}" for k in n], dtype=object),
    "number objects": lambda n: np.array([int(k) for k in n], dtype=object),
    "list": lambda n: n.tolist(),
    "list of text": lambda n: tuple(f"c{k}" for k in n),
    "dates": lambda n: np.datetime64("2026-01-01") + n,
    "tensor": lambda n: torch.tensor(n),
    "column": lambda n: n[:, None],
    "backwards": lambda n: n[::-1].copy()[::-1],
    "read-only": lambda n: _read_only(n),
    "every other": lambda n: np.repeat(n, 2)[::2],
}
LABEL_FORMS = st.sampled_from(sorted(LABELS))


def labels_of(rows, form):
    """Return the labels of samples in a form, and as Python values."""
    y = LABELS[form](CLASSES[rows])
    return y, np.asarray(y).ravel().tolist()


# Errors

ARGUMENTS = re.compile(
    r"\b(X|XA|XB|y|groups|labels|n_neighbors|coverage|strategy|min_rate|beta|unknown_label|"
    r"preprocessor|support|set_support)\b"
    r"|Found array with 0 feature|Reshape your data"  # scikit-learn's own, of tables
)


def fails(call, clf, check=None):
    """Assert that a call raises a documented error and leaves the estimator as it was.

    Returns whether it did raise. `check` calls the estimator, and must answer the same.
    """
    before, expected = clf.fitted_, check and check()
    params = copy.copy(vars(clf))
    try:
        call()
    except (ValueError, TypeError) as error:
        message = str(error)
    else:
        return False
    assert ARGUMENTS.search(message), f"names no argument: {message}"
    assert clf.fitted_ is before
    assert vars(clf).keys() == params.keys()
    assert all(vars(clf)[name] is value for name, value in params.items())
    if check:
        np.testing.assert_array_equal(check(), expected)
    return True


BAD_X = {
    "nothing": lambda X: None,
    "empty": lambda X: X[:0],
    "a sample": lambda X: X[0],
    "cut": lambda X: X[:, 1:],
    "no pixels": lambda X: X[:, :0],
    "deeper": lambda X: X[:, None, None, None],
    "NaN": lambda X: np.where(np.arange(X[0].size).reshape(X[0].shape) == 3, np.nan, X),
    "infinity": lambda X: np.where(X.max() == X, np.inf, X),
    "complex": lambda X: X + 1j,
    "text": lambda X: X.astype(str),
    "bytes": lambda X: X.astype("S3"),
    "dates": lambda X: X.astype("M8[D]"),
    "dicts": lambda X: np.array([{} for _ in X], dtype=object),
    "None inside": lambda X: np.where(X.max() == X, None, X),
    "masked": lambda X: np.ma.masked_array(X, X.max() == X),
    "iterator": lambda X: iter(X),
    "set": lambda X: {1, 2},
    "dict": lambda X: dict(enumerate(X)),
    "number": lambda X: 3.0,
    "path": lambda X: "images.npy",
    "files": lambda X: ["a.png"] * len(X),
    "ragged": lambda X: [X[0], X[0][1:]],
    "sparse": lambda X: torch.tensor(X.astype(np.float32)).to_sparse(),
    "object": lambda X: object(),
}
BAD_Y = {
    "nothing": lambda y: None,
    "short": lambda y: y[:-1],
    "long": lambda y: np.append(y, y[0]),
    "empty": lambda y: y[:0],
    "continuous": lambda y: y + 0.5,
    "NaN": lambda y: np.append(y[:-1].astype(float), np.nan),
    "infinity": lambda y: np.append(y[:-1].astype(float), np.inf),
    "columns": lambda y: np.stack([y, y], axis=1),
    "deep": lambda y: y[:, None, None],
    "complex": lambda y: y + 1j,
    "bytes": lambda y: y.astype("S3"),
    "mixed": lambda y: ["a", *y.tolist()[1:]] if len(y) > 1 else [None],
    "None inside": lambda y: [None, *y.tolist()[1:]],
    "huge": lambda y: [2**70, *y.tolist()[1:]],
    "masked": lambda y: np.ma.masked_array(y, np.arange(len(y)) == 0),
    "ragged": lambda y: [[1], [1, 2]],
    "no date": lambda y: np.array(["NaT"] * len(y), "M8[D]"),
    "dict": lambda y: {1: 2},
    "number": lambda y: 3,
    "text": lambda y: "cat",
}
BAD_CALLS = {
    "remove unknown": lambda clf, X, y: clf.remove_support([y[0], 99]),
    "remove text": lambda clf, X, y: clf.remove_support("cat"),
    "remove nothing": lambda clf, X, y: clf.remove_support(None),
    "remove NaN": lambda clf, X, y: clf.remove_support(np.nan),
    "remove table": lambda clf, X, y: clf.remove_support([[1, 2], [3, 4]]),
    "add text": lambda clf, X, y: clf.add_support(X, [f"c{k}" for k in y]),
    "neighbors 0": lambda clf, X, y: clf.kneighbors(X, 0),
    "neighbors 1.5": lambda clf, X, y: clf.kneighbors(X, 1.5),
    "neighbors True": lambda clf, X, y: clf.kneighbors(X, True),
    "neighbors many": lambda clf, X, y: clf.kneighbors(X, 99),
    "match many": lambda clf, X, y: clf.match(np.repeat(X, 9, axis=0)),
    "calibrate by one class": lambda clf, X, y: clf.calibrate(X[:1].repeat(4, 0), [1] * 4),
    "calibrate by single samples": lambda clf, X, y: clf.calibrate(
        X[:1].repeat(4, 0), [1, 2, 3, 4]
    ),
    "pairs of other lengths": lambda clf, X, y: clf.pair_proba(X, np.repeat(X, 2, axis=0)),
    "unknown label": lambda clf, X, y: clf.set_params(unknown_label=y[0]).add_support(X, y),
    "unknown text": lambda clf, X, y: clf.set_params(unknown_label="?").set_support(X, y),
    "coverage": lambda clf, X, y: clf.predict_set(X, coverage=1.5),
}
OF_X = {
    "predict": lambda clf, X, y: clf.predict(X),
    "predict_proba": lambda clf, X, y: clf.predict_proba(X),
    "decision_function": lambda clf, X, y: clf.decision_function(X),
    "score_samples": lambda clf, X, y: clf.score_samples(X),
    "kneighbors": lambda clf, X, y: clf.kneighbors(X, 1),
    "match": lambda clf, X, y: clf.match(X),
    "trial_function": lambda clf, X, y: clf.trial_function(X),
    "similarity": lambda clf, X, y: clf.similarity(X, X),
    "pair_proba": lambda clf, X, y: clf.pair_proba(X, X),
    "set_support": lambda clf, X, y: clf.set_support(X, y),
    "add_support": lambda clf, X, y: clf.add_support(X, y),
    "calibrate": lambda clf, X, y: clf.calibrate(X, y),
    "fit": lambda clf, X, y: clf.fit(X, y),
}
OF_Y = {
    **{name: OF_X[name] for name in ("set_support", "add_support", "calibrate", "fit")},
    "score": lambda clf, X, y: clf.score(X, y),
}


# Properties


def some_rows(most):
    """Draw rows of the samples; sometimes the same one again and again."""
    rows = st.lists(st.integers(0, 19), min_size=1, max_size=most)
    return rows | st.builds(lambda row, n: [row] * n, st.integers(0, 19), st.integers(1, most))


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["set", "add", "add", "remove", "clear"]),
        some_rows(5),
        SAMPLE_FORMS,
    ),
    max_size=4,
)


@hypothesis.given(
    kind=st.sampled_from(OFTEN),
    calibrated=st.booleans(),
    first=some_rows(8),
    steps=STEPS,
    labels=LABEL_FORMS,
    queries=some_rows(4),
    forms=st.tuples(SAMPLE_FORMS, SAMPLE_FORMS),
    frozen=st.booleans(),
    method=st.sampled_from(
        sorted([*OF_X][:6] + ["transform", "similarity", "pair_proba", "score"])
    ),
)
def answers(kind, calibrated, first, steps, labels, queries, forms, frozen, method):
    """After any changes of the support, each method answers as the reference does."""
    clf, pool = trained(kind, calibrated)
    clf = copy.copy(clf)
    if frozen:
        clf = FrozenTwinClassifier(clf).fit(
            formed(pool, first, forms[0]), labels_of(first, labels)[0]
        )
        steps = []
    else:
        clf.set_support(formed(pool, first, forms[0]), labels_of(first, labels)[0])
    support = list(zip(first, labels_of(first, labels)[1], strict=True))
    for name, rows, form in steps:
        y, own = labels_of(rows, labels)
        if name == "clear":
            clf.clear_support()
            support = []
        elif name == "remove":
            y = y.ravel() if labels == "column" else y
            known = {label for _, label in support}
            if set(own) <= known:
                clf.remove_support(y)
                support = [(row, label) for row, label in support if label not in own]
            else:
                assert fails(lambda y=y: clf.remove_support(y), clf)
                COUNTS["answers", "errors"] += 1
        else:
            getattr(clf, f"{name}_support")(formed(pool, rows, form), y)
            support = ([] if name == "set" else support) + list(zip(rows, own, strict=True))
    X = formed(pool, queries, forms[1])
    COUNTS["answers", "results"] += 1
    if method == "transform":
        if not frozen and kind != "programs":
            expected = np.concatenate([clf.transform(plain(pool, q)) for q in queries])
            np.testing.assert_allclose(clf.transform(X), expected, **CLOSE)
        return
    if method in ("similarity", "pair_proba"):
        if not frozen:
            other = formed(pool, queries, forms[0])
            expected = logits_of(kind, calibrated, queries, queries)
            if method == "similarity":
                np.testing.assert_allclose(clf.similarity(X, other), expected, **CLOSE)
            else:
                np.testing.assert_allclose(
                    clf.pair_proba(X, other), expit(expected.diagonal()), **CLOSE
                )
        return
    if not support:
        assert not hasattr(clf, "classes_")
        y = labels_of(queries, labels)[0]
        assert fails(lambda: (OF_X.get(method) or OF_Y[method])(clf, X, y), clf)
        COUNTS["answers", "errors"] += 1
        return
    classes = sorted({label for _, label in support})
    assert clf.classes_.tolist() == classes
    expected = class_logits(kind, calibrated, queries, support, classes)
    if method == "score":
        y, own = labels_of(queries, labels)
        right = [[name == label for name in classes] for label in own]
        sure = expected > expected.max(axis=1, keepdims=True) - 2e-2
        least = (np.array(right) | ~sure).all(axis=1).mean()
        most = (np.array(right) & sure).any(axis=1).mean()
        assert least - 1e-9 <= clf.score(X, y) <= most + 1e-9
    elif method == "predict":
        answered, logits = clf.predict(X, return_logits=True)
        np.testing.assert_allclose(logits, expected, **CLOSE)
        columns = [classes.index(label) for label in answered.tolist()]
        chosen = expected[np.arange(len(queries)), columns]
        np.testing.assert_allclose(chosen, expected.max(axis=1), **CLOSE)
    elif method == "predict_proba":
        np.testing.assert_allclose(clf.predict_proba(X), softmax(expected, axis=1), **CLOSE)
    elif method == "decision_function":
        if len(classes) == 2:
            expected = expected[:, 1] - expected[:, 0]
        np.testing.assert_allclose(clf.decision_function(X), expected, **CLOSE)
    elif method == "score_samples":
        scores = expected.max(axis=1) - np.log(len(classes))
        np.testing.assert_allclose(clf.score_samples(X), scores, **CLOSE)
    elif method == "kneighbors":
        n_neighbors = 1 + len(queries) % len(support)
        distances, indices = clf.kneighbors(X, n_neighbors)
        of_support = logits_of(kind, calibrated, queries, [row for row, _ in support])
        nearest = -np.sort(-of_support, axis=1)[:, :n_neighbors]
        found = np.take_along_axis(of_support, indices, axis=1)
        np.testing.assert_allclose(found, nearest, **CLOSE)
        assert (np.diff(distances, axis=1) >= 0).all()
        assert all(len(set(row)) == n_neighbors for row in indices.tolist())
    elif len(queries) > len(classes):
        assert fails(lambda: clf.match(X), clf)
        COUNTS["answers", "errors"] += 1
    else:
        matched = [classes.index(label) for label in clf.match(X).tolist()]
        assert len(set(matched)) == len(queries)
        total = expected[np.arange(len(queries)), matched].sum()
        assert total >= best_assignment(expected) - 1e-2


def best_assignment(logits):
    """Return the greatest sum of one logit a row, in different columns, by trying all."""
    if not len(logits):
        return 0.0
    rest = [np.delete(logits[1:], k, axis=1) for k in range(logits.shape[1])]
    return max(logits[0, k] + best_assignment(rest[k]) for k in range(logits.shape[1]))


@hypothesis.given(
    kind=st.sampled_from(OFTEN),
    what=st.sampled_from(["X", "y", "call"]),
    method=st.integers(0, 99),
    bad=st.integers(0, 99),
    first=some_rows(8),
    rows=some_rows(4),
)
def errors(kind, what, method, bad, first, rows):
    """A wrong argument raises a documented error, and changes nothing."""
    clf, pool = trained(kind)
    clf = copy.copy(clf).set_support(pool[first], CLASSES[first])
    X, y = pool[rows], CLASSES[rows]

    def check():
        return clf.predict(pool[:2], return_logits=True)[1]

    if what == "call":
        name = sorted(BAD_CALLS)[bad % len(BAD_CALLS)]
        if kind == "programs" and name == "coverage":
            return
        if name == "unknown label" and y[0] not in CLASSES[first]:
            return
        if name.startswith("unknown"):  # which changes a parameter first
            unknown = y[0].item() if name == "unknown label" else "?"
            clf.set_params(unknown_label=unknown)
            assert fails(lambda: clf.add_support(X, y), clf)
        elif name == "neighbors many":
            assert fails(lambda: clf.kneighbors(X, len(first) + 1), clf, check)
        elif name == "match many":
            n = len(set(CLASSES[first])) + 1
            assert fails(lambda: clf.match(np.repeat(X, n, axis=0)), clf, check)
        else:
            assert fails(lambda: BAD_CALLS[name](clf, X, y), clf, check), name
    elif what == "y":
        name = sorted(OF_Y)[method % len(OF_Y)]
        wrong = BAD_Y[sorted(BAD_Y)[bad % len(BAD_Y)]](y)
        assert fails(lambda: OF_Y[name](clf, X, wrong), clf, check), (name, wrong)
    else:
        name = sorted(OF_X)[method % len(OF_X)]
        form = sorted(BAD_X)[bad % len(BAD_X)]
        if form == "cut" and name == "fit":  # which takes any shape
            return
        assert fails(lambda: OF_X[name](clf, BAD_X[form](X), y), clf, check), (name, form)
    COUNTS["errors", "errors"] += 1


@functools.cache
def learned(kind, y, groups):
    """Return the embeddings that training on plain arrays gives; y and groups are bytes."""
    pool, clf = KINDS[kind]
    y, groups = np.frombuffer(y, np.int64), groups and np.frombuffer(groups, np.int64)
    if len(y) != len(pool):
        y = y.reshape(-1, 3)
    return copy.copy(clf).fit(pool, y, groups).transform(pool)


PAIR_FORMS = {
    "int8": lambda p: p.astype(np.int8),
    "uint64": lambda p: p.astype(np.uint64),
    "Fortran": np.asfortranarray,
    "backwards": lambda p: p[::-1].copy()[::-1],
    "list": lambda p: p.tolist(),
    "objects": lambda p: p.astype(object),
    "tensor": torch.tensor,
    "read-only": lambda p: _read_only(p),
}
TARGETS = [
    (CLASSES, None),
    (CLASSES, CLASSES // 3),
    (CLASSES % 4, CLASSES // 2),
    (np.array([[0, 1, 1], [0, 4, 0], [5, 6, 1], [8, 19, 0], [3, 2, 1]]), None),
]


@hypothesis.given(
    kind=st.sampled_from(["rows", "mean", "colors"]),
    target=st.integers(0, len(TARGETS) - 1),
    form=SAMPLE_FORMS,
    labels=LABEL_FORMS,
    of_groups=LABEL_FORMS,
    of_pairs=st.sampled_from(sorted(PAIR_FORMS)),
)
def training(kind, target, form, labels, of_groups, of_pairs):
    """`fit` learns the same from samples, labels, groups and pairs of any form."""
    pool, clf = KINDS[kind]
    clf = copy.copy(clf)
    y, groups = TARGETS[target]
    expected = learned(
        kind, y.astype(np.int64).tobytes(), None if groups is None else groups.tobytes()
    )
    X = formed(pool, np.arange(20), form)
    if y.ndim == 2:
        clf.fit(X, PAIR_FORMS[of_pairs](y))
        assert not hasattr(clf, "classes_")
    else:
        labels = "text" if labels == "bool" else labels  # which has two values
        of_groups = "text" if of_groups == "bool" else of_groups
        given = None if groups is None else LABELS[of_groups](groups)
        clf.fit(X, LABELS[labels](y), given)
        names = np.asarray(LABELS[labels](y)).ravel().tolist()
        assert clf.classes_.tolist() == sorted(set(names))
    np.testing.assert_allclose(clf.transform(pool), expected, **CLOSE)
    COUNTS["training", "results"] += 1


BAD_PAIRS = {
    "X nothing": lambda X, y: (None, y),
    "X empty": lambda X, y: (X[:0], y),
    "X alone": lambda X, y: (X[:, 0], y),
    "X three": lambda X, y: (X[:, [0, 1, 0]], y),
    "X cut": lambda X, y: (X[..., 1:], y),
    "X NaN": lambda X, y: (np.where(X.max() == X, np.nan, X), y),
    "X text": lambda X, y: (X.astype(str), y),
    "y nothing": lambda X, y: (X, None),
    "y short": lambda X, y: (X, y[:-1]),
    "y of classes": lambda X, y: (X, y + 1),
    "y of one kind": lambda X, y: (X, np.ones(len(X), int)),
    "y text": lambda X, y: (X, y.astype(str)),
    "y continuous": lambda X, y: (X, y + 0.5),
}


@hypothesis.given(
    kind=st.sampled_from(NEURAL),
    rows=st.lists(
        st.tuples(st.integers(0, 19), st.integers(0, 19), st.booleans()), min_size=1, max_size=6
    ),
    form=SAMPLE_FORMS,
    of_y=st.sampled_from(["i8", "i1", "f8", "?", "O"]),
    negative=st.sampled_from([0, -1]),
    preprocessor=st.sampled_from(["none", "array", "callable"]),
    strategy=st.sampled_from(["accuracy", "equal_error", "max_tpr"]),
    bad=st.sampled_from(["nothing", *sorted(BAD_PAIRS)]),
)
def pairs(kind, rows, form, of_y, negative, preprocessor, strategy, bad):
    """A verifier answers as the reference does, and calibrates as trying all thresholds does."""
    clf, pool = trained(kind)
    i, j, same = np.array(rows).T
    logits = np.array([logit(kind, False, a, b) for a, b, _ in rows])
    verifier = SiameseVerifier.from_classifier(clf)
    both = np.stack([i, j], axis=1)
    X = pool[both]
    if preprocessor == "array":
        verifier.set_params(preprocessor=formed(pool, np.arange(20), form))
        given = both.astype(form[0] if np.dtype(form[0]).kind in "iu" else "i8")
    elif preprocessor == "callable":
        verifier.set_params(preprocessor=lambda names: pool[[int(n[1:]) for n in names]])
        given = np.array([[f"n{a}", f"n{b}"] for a, b in both])
    else:
        given = CONTAINERS["array"](LAYOUTS[form[1]](X.astype(form[0])))
    np.testing.assert_allclose(verifier.decision_function(given), logits, **CLOSE)
    np.testing.assert_allclose(verifier.predict_proba(given)[:, 1], expit(logits), **CLOSE)
    COUNTS["pairs", "results"] += 1
    y = np.where(same, 1, 0)
    if bad != "nothing":
        verifier.set_params(preprocessor=None)
        call = BAD_PAIRS[bad](X, y)
        assert fails(lambda: verifier.calibrate_threshold(*call), verifier), bad
        if bad.startswith("X"):
            assert fails(lambda: verifier.predict(call[0]), verifier), bad
        COUNTS["pairs", "errors"] += 1
        return
    params = {"min_rate": 0.5} if strategy == "max_tpr" else {}
    negative = 0 if of_y == "?" else negative
    target = np.where(same, 1, negative).astype(of_y)
    if len(set(same.tolist())) < 2:
        assert fails(lambda: verifier.calibrate_threshold(given, target), verifier)
        COUNTS["pairs", "errors"] += 1
        return
    verifier.calibrate_threshold(given, target, strategy, **params)
    own = verifier.decision_function(given)
    predicted = verifier.predict(given) == 1
    np.testing.assert_array_equal(predicted, own >= np.float32(verifier.decision_threshold_))
    merits = [merit(strategy, own >= t, same) for t in [*own, np.inf]]
    assert merit(strategy, predicted, same) >= max(merits) - 1e-9


def merit(strategy, predicted, same):
    """Return what a strategy maximises."""
    tpr, tnr = predicted[same == 1].mean(), (~predicted[same == 0]).mean()
    if strategy == "accuracy":
        return (predicted == (same == 1)).mean()
    if strategy == "equal_error":
        return -abs(tpr - tnr)
    return tpr if tnr >= 0.5 else -1.0


PARTS = {answers: 0.45, errors: 0.35, training: 0.08, pairs: 0.12}


def run(part, count, seed):
    """Run a property on so many examples; raise the error of the first that fails."""
    settings = hypothesis.settings(
        max_examples=count,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        hypothesis.seed(seed)(settings(part))()


def main(count, seed):
    """Print the counts of each property; return how many of them failed."""
    torch.set_num_threads(1)
    failures = 0
    for part, share in PARTS.items():
        start = time.perf_counter()
        try:
            run(part, round(share * count), seed)
            state = "ok"
        except Exception:
            failures += 1
            state = "FAILED"
            traceback.print_exc()
        name = part.__name__
        print(
            f"{name}: {state}, {round(share * count)} examples, "
            f"{COUNTS[name, 'results']} results, {COUNTS[name, 'errors']} errors, "
            f"{time.perf_counter() - start:.0f} s",
            flush=True,
        )
    print(f"{count} examples, {failures} failures")
    return failures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    sys.exit(main(args.count, args.seed) > 0)
