"""Bad input: messages name the argument, what came and what to do; nothing changes."""

import pathlib

import numpy as np
import pandas as pd
import pytest
from helpers import classifier, pairs_of, unchanged
from scipy import sparse
from sklearn.base import clone

N = 16  # two classes of eight drawings


@pytest.fixture(scope="module")
def few(training):
    return training[0][:N].astype(np.float32), training[1][:N]


def spoilt(images, value):
    """Return images of which X[3] has one bad pixel."""
    images = images.copy()
    images[3, 2, 2] = value
    return images


# name: ((X, y) -> arguments of fit, parameters, message)
FITS = {
    "X has NaN": (lambda X, y: (spoilt(X, np.nan), y), {}, "X contains NaN"),
    "X has infinity": (lambda X, y: (spoilt(X, np.inf), y), {}, "X contains infinity"),
    "flat X has NaN": (
        lambda X, y: (spoilt(X, np.nan).reshape(N, -1), y),
        {"image_shape": (16, 16)},
        "X contains NaN",
    ),
    "X has text": (lambda X, y: (X.astype(str).astype(object) + "a", y), {}, "convert string"),
    "X is complex": (lambda X, y: (X + 1j, y), {}, "Complex data not supported"),
    "X is sparse": (
        lambda X, y: (sparse.csr_matrix(X.reshape(N, -1)), y),
        {},
        "Sparse data was passed for X, but dense data is required",
    ),
    "X is None": (lambda X, y: (None, y), {}, "X is None; expected an array of images or of flat"),
    "X has one axis": (lambda X, y: (X[0, 0], y[:1]), {}, "Expected 2D array, got 1D array"),
    "X is empty": (
        lambda X, y: (X[:0], y[:0]),
        {},
        r"X has no samples, shape \(0, 16, 16\); expected at least one",
    ),
    "flat X is empty": (
        lambda X, y: (np.empty((0, 9)), y[:0]),
        {},
        r"X has no samples, shape \(0, 9\); expected at least one",
    ),
    "X is an empty list": (lambda X, y: ([], []), {}, r"X has no samples.*at least one"),
    "X has no pixels": (lambda X, y: (X[:, :0], y), {}, r"X has images without pixels: .*\(16, 0"),
    "X has five axes": (
        lambda X, y: (X[:, None, None], y),
        {},
        r"X has 5 dimensions, shape .*; expected \(n, features\), \(n, height, width\)",
    ),
    "rows that are not of image_shape": (
        lambda X, y: (X.reshape(N, -1)[:, :-1], y),
        {"image_shape": (16, 16)},
        r"X has rows of 255 features, but image_shape=\(16, 16\) needs 256. Set image_shape to",
    ),
    "images of several sizes": (
        lambda X, y: ([*X[:-1], X[0, :9]], y),
        {},
        "X holds items of different shapes.*expected images of one size: resize them",
    ),
    "labels of several lengths": (
        lambda X, y: (X, [*y[:-1].tolist(), [1, 2]]),
        {},
        "y holds items of different shapes.*expected one label per sample",
    ),
    "images too small for koch": (
        lambda X, y: (X, y),
        {"encoder": "koch"},
        "encoder='koch' needs images of at least 65x65 pixels, got 16x16",
    ),
    "values beyond float64": (
        lambda X, y: (np.random.RandomState(0).randn(N, 3) * 1e160, y),
        {},
        "X has values whose spread exceeds float64. Rescale X",
    ),
    "y is None": (lambda X, y: (X, None), {}, "requires y to be passed, but .* y is None"),
    "y is shorter": (lambda X, y: (X, y[:-2]), {}, "y has 14 values for 16 samples in X"),
    "y has NaN": (lambda X, y: (X, np.where(y, np.nan, 0.0)), {}, "y contains NaN"),
    "y is continuous": (lambda X, y: (X, y + np.linspace(0, 1, N)), {}, "continuous"),
    "y is a multilabel indicator": (
        lambda X, y: (X, pd.DataFrame(np.eye(3)[y])),
        {},
        r"y has shape \(16, 3\).*multilabel indicator; expected \(n_samples,\) class labels",
    ),
    "groups with pairs": (
        lambda X, y: (X, pairs_of(y, 20), np.zeros(N)),
        {},
        "groups was given together with pairs in y.*groups=None",
    ),
}


@pytest.mark.parametrize("name", FITS)
def test_fit_refuses_bad_input(name, few, clf):
    arguments, params, message = FITS[name]
    for estimator in (classifier(), clf):
        estimator.set_params(**params)
        with (
            unchanged(estimator),
            pytest.raises((ValueError, TypeError), match=message),
        ):
            estimator.fit(*arguments(*few))


# name: (X -> X, message), for a network that was fitted on images of 16x16 pixels
QUERIES = {
    "another size": (
        lambda X: X[:, :12],
        "X has images of 12x16 pixels and 1 channel, .*fitted on images of 16x16 pixels and 1 ch",
    ),
    "NaN": (lambda X: spoilt(X, np.nan), r"Input X[AB]? contains NaN, in XA?\[\d+\]"),
    "infinity": (lambda X: spoilt(X, -np.inf), "X contains infinity"),
    "empty": (lambda X: X[:0], r"X has no samples.*expected at least one"),
    "None": (lambda X: None, "X is None; expected an array of images or of flat rows"),
    "beyond float32": (
        lambda X: 1e300 * X.astype(float),
        r"XA?\[0\] has values from .* in other units than .* Bring all 16 images to that range",
    ),
    "several sizes": (lambda X: [X[0], X[1, :9]], "X holds items of different shapes"),
    "ambiguous channels": (
        lambda X: np.stack([X, X], -1),
        r"X has images of shape \(16, 16, 2\).*ambiguous. Set channels='first'",
    ),
}

METHODS = {
    "predict": lambda clf, X: clf.predict(X),
    "predict_proba": lambda clf, X: clf.predict_proba(X),
    "decision_function": lambda clf, X: clf.decision_function(X),
    "score_samples": lambda clf, X: clf.score_samples(X),
    "score": lambda clf, X: clf.score(X, np.zeros(N, int)),
    "match": lambda clf, X: clf.match(X),
    "kneighbors": lambda clf, X: clf.kneighbors(X),
    "transform": lambda clf, X: clf.transform(X),
    "similarity": lambda clf, X: clf.similarity(X, X),
    "pair_proba": lambda clf, X: clf.pair_proba(X, X),
    "trial_function": lambda clf, X: clf.trial_function(X),
    "set_support": lambda clf, X: clf.set_support(X, np.zeros(N, int)),
    "add_support": lambda clf, X: clf.add_support(X, np.zeros(N, int)),
    "calibrate": lambda clf, X: clf.calibrate(X, np.arange(N) // 4),
}


@pytest.mark.parametrize("name", QUERIES)
@pytest.mark.parametrize("method", METHODS)
def test_methods_refuse_bad_images(method, name, clf, few):
    change, message = QUERIES[name]
    with unchanged(clf), pytest.raises(ValueError, match=message):
        METHODS[method](clf, change(few[0]))


# name: (X -> arguments, message)
SUPPORTS = {
    "labels but no images": (
        lambda X: (np.empty((0, 16, 16)), [1, 2]),
        "X has no samples, shape .*; expected at least one",
    ),
    "labels and an empty list": (lambda X: ([], [1]), "X has no samples, .*; expected"),
    "images but no labels": (lambda X: (X, None), "requires y to be passed, .* y is None"),
    "images and an empty list": (lambda X: (X, []), "y has 0 values for 16 samples in X"),
    "fewer labels": (lambda X: (X, [1, 2]), "y has 2 values for 16 samples in X"),
    "a multilabel": (lambda X: (X, np.ones((N, 3))), r"y has shape \(16, 3\); expected \(n_"),
    "a missing label": (lambda X: (X[:2], [1.0, np.nan]), "y contains NaN"),
    "the label of unknown queries": (
        lambda X: (X[:2], [1, -1]),
        "unknown_label=-1 is also the label of a class. Use another label",
    ),
    "labels of another type than unknown_label": (
        lambda X: (X[:2], ["a", "b"]),
        "unknown_label=-1 is not of the type of the labels, which have dtype <U1",
    ),
}


@pytest.mark.parametrize("method", ["set_support", "add_support"])
@pytest.mark.parametrize("name", SUPPORTS)
def test_set_support_and_add_support_refuse_bad_labels(name, method, clf, few):
    arguments, message = SUPPORTS[name]
    clf.set_params(unknown_label=-1)
    with unchanged(clf), pytest.raises(ValueError, match=message):
        getattr(clf, method)(*arguments(few[0]))


@pytest.mark.parametrize("label", [pathlib.Path("x"), b"x", object(), pd.NA, np.array("x")])
def test_unknown_label_must_be_of_the_type_of_labels(label, clf, few):
    clf.set_params(unknown_label=label)
    with unchanged(clf), pytest.raises(ValueError, match="unknown_label=.* is of type"):
        clf.set_support(few[0][:2], np.array(["a", "b"], dtype=object))
    with pytest.raises(ValueError, match="unknown_label=.* is of type"):
        clone(clf).fit(few[0], [str(label) for label in few[1]])


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.zeros(N, int), "y has only one class, 0; calibration needs .*at least two classes"),
        (np.arange(N), "y has 16 classes and no class with two .*; calibration needs pairs"),
        (np.maximum(np.arange(N) - 8, 0), "y has no two classes with two examples each"),
        (np.arange(N - 1) // 4, "y has 15 values for 16 samples in X"),
    ],
)
def test_calibrate_refuses_labels_of_which_no_trials_can_be_made(clf, few, y, message):
    with unchanged(clf), pytest.raises(ValueError, match=message):
        clf.calibrate(few[0], y)


def test_calibrate_refuses_labels_that_do_not_belong_to_the_images(clf, few):
    X = np.repeat(few[0][:2], 8, axis=0)
    with unchanged(clf), pytest.raises(ValueError, match="y cannot calibrate the network: pairs"):
        clf.calibrate(X, np.tile([0, 1], 8))


@pytest.mark.parametrize("rate", [0, 1, -0.1, "low", None, True])
def test_calibrate_refuses_a_bad_false_acceptance_rate(clf, few, rate):
    clf.set_params(false_acceptance_rate=rate)
    message = "false_acceptance_rate"
    with unchanged(clf), pytest.raises((ValueError, TypeError), match=message):
        clf.calibrate(few[0], np.arange(N) // 4)


def test_predict_refuses_an_unknown_aggregation(clf, few):
    clf.set_params(aggregation="median")
    with pytest.raises(ValueError, match="aggregation='median' is not known; expected one of 'me"):
        clf.predict(few[0])


def test_pair_proba_refuses_pairs_of_unequal_length(clf, few):
    X, _ = few
    with pytest.raises(ValueError, match="XA has 3 samples and XB 2, but pair_proba compares row"):
        clf.pair_proba(X[:3], X[:2])


@pytest.mark.parametrize(
    ("n_neighbors", "error", "message"),
    [
        (7, ValueError, "n_neighbors=7 exceeds the 6 exemplars of the support. Ask for fewer"),
        (0, ValueError, "n_neighbors == 0, must be >= 1"),
        (2.0, TypeError, "n_neighbors must be an instance of int, not float"),
        (True, TypeError, "n_neighbors=True is a bool; expected a number"),
    ],
)
def test_kneighbors_refuses_a_bad_number_of_neighbors(clf, few, n_neighbors, error, message):
    with pytest.raises(error, match=message):
        clf.kneighbors(few[0], n_neighbors)


@pytest.mark.parametrize("path", [None, 5])
def test_save_and_load_refuse_what_is_no_path(clf, path):
    for call in (clf.save, type(clf).load):
        with pytest.raises(TypeError, match=f"path={path}; expected a str or path-like"):
            call(path)
