"""Bad input: the message names the argument, what came and what was expected; nothing changes."""

import copy

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.exceptions import NotFittedError
from skorch.callbacks import EarlyStopping

from sksiamese import SiameseOneShotClassifier
from sksiamese.twin.encoders import MLPEncoder

N, SIDE = 16, 16
PAIRS = np.array([[0, 1, 1], [0, 8, 0], [8, 9, 1], [1, 9, 0]])


@pytest.fixture(scope="module")
def images(glyphs):
    """Two classes of eight drawings."""
    return glyphs[0][:N]


@pytest.fixture(scope="module")
def labels(glyphs):
    return glyphs[1][:N]


def classifier(**params):
    return SiameseOneShotClassifier(**{"max_iter": 1, "random_state": 0, **params})


def state(clf):
    """The attributes themselves, and the bytes of what could be changed in place."""
    inside = {}
    if hasattr(clf, "network_"):
        inside = {k: v.numpy().tobytes() for k, v in clf.network_.state_dict().items()}
    support = getattr(clf, "support_", None)
    if support is not None:
        inside["support"] = support.codes.numpy().tobytes(), support.labels.tolist()
    return vars(clf).copy(), inside


def assert_unchanged(clf, before):
    attributes, inside = state(clf)
    assert list(attributes) == list(before[0])
    assert [k for k, v in attributes.items() if v is not before[0][k]] == []
    assert inside == before[1]


def spoilt(images, value):
    images = images.copy()
    images[3, 2, 2] = value
    return images


def changed(row, value):
    pairs = PAIRS.copy()
    pairs[row] = value
    return pairs


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
    "X is one image": (lambda X, y: (X[0, 0], y[:1]), {}, "Expected 2D array, got 1D array"),
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
    "X has no pixels": (lambda X, y: (X[:, :0], y), {}, r"X has images of no pixels: .*\(16, 0"),
    "X has five axes": (
        lambda X, y: (X[:, None, None], y),
        {},
        r"X has 5 dimensions, shape .*; expected \(n, features\), \(n, height, width\)",
    ),
    "channels are ambiguous": (
        lambda X, y: (np.stack([X, X], -1), y),
        {},
        r"X has images of shape \(16, 16, 2\), .*channel axis is ambiguous.*channels='first'",
    ),
    "both ends could be channels": (
        lambda X, y: (np.stack([X] * 3, 1)[..., :3], y),
        {},
        r"X has images of shape \(3, 16, 3\), .*channel axis is ambiguous.*channels='last'",
    ),
    "rows are no image_shape": (
        lambda X, y: (X.reshape(N, -1)[:, :-1], y),
        {"image_shape": (16, 16)},
        r"X has rows of 255 features, but image_shape=\(16, 16\) needs 256",
    ),
    "images of several sizes": (
        lambda X, y: ([*X[:-1], X[0, :9]], y),
        {},
        "X holds items of different shapes.*expected images of one size: resize them",
    ),
    "labels of several lengths": (
        lambda X, y: (X, [*y[:-1].tolist(), [1, 2]]),
        {},
        "y holds items of different shapes.*expected one label a sample",
    ),
    "images that are not of image_shape": (
        lambda X, y: (X, y),
        {"image_shape": (8, 32)},
        r"X has images of 16x16 pixels.*image_shape=\(8, 32\) says images of 8x32 pixels and 1",
    ),
    "flat rows for an image encoder": (
        lambda X, y: (X.reshape(N, -1), y),
        {"encoder": "conv"},
        "encoder='conv' needs images, got flat rows of 256.*image_shape=",
    ),
    "flat rows for a distortion": (
        lambda X, y: (X.reshape(N, -1), y),
        {"distortion": "affine"},
        "distortion='affine' needs images, got flat rows of 256.*image_shape=",
    ),
    "images too small for koch": (
        lambda X, y: (X, y),
        {"encoder": "koch"},
        "encoder='koch' needs images of at least 65x65 pixels, got 16x16",
    ),
    "one class": (
        lambda X, y: (X, np.full(N, "a")),
        {},
        "y has only one class, 'a'; .*at least two classes",
    ),
    "no class with two examples": (
        lambda X, y: (X, np.arange(N)),
        {},
        "y has 16 classes and no class with two examples .*at least two examples",
    ),
    "y is None": (lambda X, y: (X, None), {}, "requires y to be passed, but .* y is None"),
    "y is shorter": (lambda X, y: (X, y[:-2]), {}, "y has 14 values for 16 samples in X"),
    "y has NaN": (lambda X, y: (X, np.where(y, np.nan, 0.0)), {}, "y contains NaN"),
    "y is continuous": (lambda X, y: (X, y + np.linspace(0, 1, N)), {}, "continuous"),
    "y is a multilabel of three": (
        lambda X, y: (X, np.eye(3, dtype=int)[y]),
        {},
        r"y has shape \(16, 3\).*multilabel indicator; expected \(n_samples,\) class labels",
    ),
    "y is a float multilabel of three": (
        lambda X, y: (X, pd.DataFrame(np.eye(3)[y])),
        {},
        r"y has shape \(16, 3\).*multilabel indicator; expected \(n_samples,\) class labels",
    ),
    "y is a multilabel of four": (
        lambda X, y: (X, np.eye(4, dtype=int)[y]),
        {},
        r"y has shape \(16, 4\); expected \(n_samples,\) labels, or in fit \(n_pairs, 3\)",
    ),
    "a pair beyond X": (
        lambda X, y: (X, changed(1, [0, N, 0])),
        {},
        r"y, row 1 of the pairs is \(0, 16, 0\).*outside 0\.\.15; expected integer rows",
    ),
    "a pair with a negative index": (
        lambda X, y: (X, changed(2, [-1, 3, 1])),
        {},
        r"y, row 2 of the pairs is \(-1, 3, 1\).*outside 0\.\.15; expected integer rows",
    ),
    "a pair of one image": (
        lambda X, y: (X, changed(3, [5, 5, 1])),
        {},
        r"y, row 3 of the pairs is \(5, 5, 1\).*i = j: a pair needs two different images",
    ),
    "a pair with same = -1": (
        lambda X, y: (X, changed(0, [0, 1, -1])),
        {},
        r"y, row 0 of the pairs is \(0, 1, -1\).*same outside \{0, 1\}; expected integer rows",
    ),
    "pairs of one kind": (lambda X, y: (X, PAIRS[::2]), {}, "y has only pairs with same = 1"),
    "pairs of floats": (
        lambda X, y: (X, PAIRS + 0.5),
        {},
        r"y has shape \(4, 3\) and dtype float64; pairs are integer rows",
    ),
    "no pairs": (lambda X, y: (X, PAIRS[:0]), {}, "y has no pairs: expected at least one row"),
    "groups of another length": (
        lambda X, y: (X, y, np.zeros(3)),
        {},
        "groups has 3 values for 16 samples in X.*one value a sample",
    ),
    "groups with NaN": (lambda X, y: (X, y, np.full(N, np.nan)), {}, "groups contains NaN"),
    "groups of two axes": (
        lambda X, y: (X, y, np.zeros((N, 2))),
        {},
        r"groups has shape \(16, 2\); expected \(n_samples,\) labels",
    ),
    "groups of one class": (
        lambda X, y: (X, y, y),
        {},
        "groups leaves no group with two classes.*pass coarser groups, or groups=None",
    ),
    "groups with pairs": (
        lambda X, y: (X, PAIRS, np.zeros(N)),
        {},
        "groups was given together with pairs in y.*groups=None",
    ),
    "early stopping with pairs": (
        lambda X, y: (X, PAIRS),
        {"early_stopping": True},
        "early_stopping=True needs class labels.*y has pairs",
    ),
    "early stopping of two classes": (
        lambda X, y: (X, y),
        {"early_stopping": True},
        "early_stopping=True holds out 2 of 2 classes.*do without early_stopping=True",
    ),
    "early stopping on lone drawings": (
        lambda X, y: (X, np.maximum(np.arange(N) - 8, 0)),
        {"early_stopping": True},
        "early_stopping=True holds out 2 of 8 classes.*do without early_stopping=True",
    ),
}

# Bad values of every parameter, and what the message says of the value and the expectation.
PARAMETERS = [
    ("encoder", "resnet", "'resnet'.*'auto', 'conv', 'koch', 'mlp'"),
    ("encoder", 3, "3.*'auto'"),
    ("encoder", None, "None.*'auto'"),
    ("encoder", lambda shape: 3, "returned int; expected a torch.nn.Module"),
    ("encoder_params", 3, "3; expected a dict"),
    ("encoder_params", {"widht": 8}, "widht.* cannot be used: .*widht"),
    ("encoder_params", {"width": "wide"}, "wide.* cannot be used"),
    ("encoder_params", {"width": 0}, "0.* cannot be used"),
    ("head", "dot", "'dot'.*'weighted_l1'"),
    ("head_params", [3], r"\[3\]; expected a dict"),
    ("head_params", {"window": 1}, "window.* cannot be used: .*window"),
    ("frame", "box", "'box'.*'image', 'ink'"),
    ("n_pairs", 1, "1.*>= 2"),
    ("n_pairs", 9.5, "int.*float"),
    ("loss", "hinge", "'hinge'.*'both'|'hinge'.*'verification'"),
    ("distortion", "blur", "'blur'.*'affine'"),
    ("distortion", ["affine"], "'affine'.*expected one of"),
    ("class_transforms", "mirror", "'mirror'.*'rotate_reflect'"),
    ("class_transforms", False, "False.*'rotate_reflect'"),
    ("image_shape", 16, "16; expected a tuple of 2 or 3 positive integers"),
    ("image_shape", (16, 0), r"\(16, 0\); expected a tuple of 2 or 3 positive integers"),
    ("channels", "middle", "'middle'.*'auto', 'first', 'last'"),
    ("channels", 1, "1.*'auto', 'first', 'last'"),
    ("image_size", "large", "'large'.*'auto'"),
    ("image_size", 0, "0.*>= 1"),
    ("image_size", (8,), r"\(8,\); expected a tuple of 2 positive integers"),
    ("image_size", 8.5, "8.5; expected a tuple of 2 positive integers"),
    ("batch_shape", (2, 20), r"\(2, 20\); expected a tuple of 3 positive integers"),
    ("batch_shape", (True, 20, 2), r"\(True, 20, 2\); expected a tuple of 3 positive integers"),
    ("batch_shape", (1, 1, 4), r"\(1, 1, 4\); expected .*at least two classes"),
    ("batch_shape", (4, 1, 4), r"\(4, 1, 4\); expected .*at least two classes of each group"),
    ("batch_shape", (1, 4, 1), r"\(1, 4, 1\); expected .*two drawings"),
    ("batch_size", 1, "1.*>= 2"),
    ("batch_size", 64.0, "int.*float"),
    ("max_iter", 0, "0.*>= 1"),
    ("max_iter", "ten", "int.*str"),
    ("n_members", 0, "0.*>= 1"),
    ("n_members", 1.5, "int.*float"),
    ("max_iter", True, "True is a bool; expected a number"),
    ("optimizer", "sgd", "'sgd' is not known; expected one of 'adamw', 'muon'"),
    ("learning_rate", 0, "0.*> 0"),
    ("learning_rate", -1e-3, "-0.001.*> 0"),
    ("learning_rate", float("nan"), "nan; expected a finite number"),
    ("learning_rate", float("inf"), "inf; expected a finite number"),
    ("learning_rate", "fast", "str"),
    ("weight_decay", -1, "-1.*>= 0"),
    ("averaging", 1.0, "1.0.*< 1"),
    ("averaging", -0.1, "-0.1.*>= 0"),
    ("early_stopping", "yes", "'yes'; expected True or False"),
    ("early_stopping", 1, "1; expected True or False"),
    ("validation_fraction", 0, "0.*> 0"),
    ("validation_fraction", 1.0, "1.0.*< 1"),
    ("n_iter_no_change", 0, "0.*>= 1"),
    ("aggregation", "median", "'median'.*'mean', 'max', 'prototype'"),
    ("unknown_label", "none", "'none' is not of the kind of the labels, which have dtype int"),
    ("unknown_label", [-1], r"\[-1\] is not of the kind of the labels"),
    ("unknown_label", 0, "0 is the label of a class too: take another"),
    ("false_acceptance", 0, "0.*> 0"),
    ("false_acceptance", "low", "str"),
    ("warm_start", "yes", "'yes'; expected True or False"),
    ("precision", "float16", "'float16'.*'auto', 'float32', 'bfloat16'"),
    ("device", "abacus", "'abacus'.*expected 'cpu', 'cuda'"),
    ("device", None, "None.*expected 'cpu', 'cuda'"),
    ("callbacks", 3, "3; expected a list of skorch callbacks"),
    ("callbacks", ["bar"], r"\['bar'\]; expected a list of skorch callbacks"),
    ("net_params", 3, "3; expected a dict"),
    ("net_params", [("lr", 1)], r"\('lr', 1\)\]; expected a dict"),
    ("net_params", {"lr": 0.1}, "has 'lr', .*: use its parameter learning_rate"),
    ("net_params", {"batch_size": 3}, "has 'batch_size', .*: use its parameter batch_shape, or b"),
    ("net_params", {"criterion": 3}, "has 'criterion', .*: use its parameter loss"),
    ("net_params", {"module": 3}, "has 'module', .*: use its parameter encoder"),
    (
        "net_params",
        {"train_split": None},
        "has 'train_split', .*: use its parameter early_s",
    ),
    ("net_params", {"optimizer__momentm": 0.9}, "momentm.* cannot be used: .*momentm"),
    ("net_params", {"max_epochs": 3}, "has 'max_epochs', .*: use its parameter max_iter"),
    ("callbacks", [EarlyStopping], r"EarlyStopping'>\]; expected a list of skorch callbacks"),
    ("random_state", "a", "'a'; expected None, an integer"),
    ("random_state", -1, "-1; expected None, an integer"),
]

# name: (method, X -> arguments, message); the twin was fitted on 16x16 pixels and one channel
CALLS = {
    "another size": (
        lambda X: X[:, :12],
        "X has images of 12x16 pixels and 1 channel, .*fitted on images of 16x16 pixels and 1 ch",
    ),
    "another number of channels": (
        lambda X: np.stack([X] * 3, 1),
        "X has images of 16x16 pixels and 3 channels, .*fitted on images of 16x16 pixels and 1 ch",
    ),
    "flat rows": (
        lambda X: X.reshape(N, -1),
        "X has flat rows of 256 features, .*fitted on images of 16x16 pixels and 1 channel",
    ),
    "one image without its axis": (
        lambda X: X[0],
        "X has flat rows of 16 features, .*fitted on images of 16x16 pixels and 1 channel.*"
        r"A single image goes in as X\[None\]",
    ),
    "NaN": (lambda X: spoilt(X, np.nan), "X contains NaN"),
    "infinity": (lambda X: spoilt(X, -np.inf), "X contains infinity"),
    "empty": (lambda X: X[:0], r"X has no samples.*expected at least one"),
    "beyond float32": (
        lambda X: 1e300 * X.astype(float),
        "row 0 of X is infinite or NaN: X has values too large for float32.*Bring X to that range",
    ),
    "several sizes": (lambda X: [X[0], X[1, :9]], "X holds items of different shapes"),
    "ambiguous": (lambda X: np.stack([X, X], -1), r"X .*\(16, 16, 2\).*ambiguous.*channels="),
}

SUPPORTS = {
    "labels but no images": (
        lambda X: (np.empty((0, 16, 16)), [1, 2]),
        "X has no samples, shape .*; expected at least one",
    ),
    "labels and None": (
        lambda X: (None, [1, 2]),
        "X is None; expected an array of",
    ),
    "labels and an empty list": (lambda X: ([], [1]), "X has no samples, .*; expected"),
    "images but no labels": (lambda X: (X, None), "requires y to be passed, .* y is None"),
    "images and an empty list": (lambda X: (X, []), "y has 0 values for 16 samples in X"),
    "fewer labels": (lambda X: (X, [1, 2]), "y has 2 values for 16 samples in X"),
    "a multilabel": (lambda X: (X, np.ones((N, 3))), r"y has shape \(16, 3\); expected \(n_"),
    "a missing label": (lambda X: (X[:2], [1.0, np.nan]), "y contains NaN"),
    "another size": (lambda X: (X[:, 1:], np.ones(N)), "X has images of 15x16.*fitted on .*16x16"),
}


@pytest.fixture
def fresh():
    return classifier()


@pytest.fixture
def twin(fitted):
    return copy.copy(fitted)


@pytest.fixture(scope="module")
def queries(glyphs):
    return glyphs[0][::7]


@pytest.mark.parametrize("name", FITS)
def test_fit_refuses(name, images, labels):
    arguments, params, message = FITS[name]
    clf = classifier(**params)
    before = state(clf)
    with pytest.raises((ValueError, TypeError), match=message):
        clf.fit(*arguments(images, labels))
    assert_unchanged(clf, before)


@pytest.mark.parametrize("name", FITS)
def test_a_refit_that_fails_leaves_the_fitted_twin(name, images, labels, twin, queries):
    arguments, params, message = FITS[name]
    twin.set_params(**params)
    before = state(twin)
    if "image_shape" not in params:
        expected = twin.predict_proba(queries)
    with pytest.raises((ValueError, TypeError), match=message):
        twin.fit(*arguments(images, labels))
    assert_unchanged(twin, before)
    if "image_shape" not in params:
        np.testing.assert_array_equal(twin.predict_proba(queries), expected)


def case_ids(values):
    return [f"{name}={value!r}"[:40] for name, value, _ in values]


@pytest.mark.parametrize(("name", "value", "message"), PARAMETERS, ids=case_ids(PARAMETERS))
def test_every_parameter_is_checked_in_fit(name, value, message, images, labels, twin):
    for clf in (classifier(), twin):
        clf.set_params(**{name: value})  # checked in fit, as everywhere in scikit-learn
        before = state(clf)
        with pytest.raises((ValueError, TypeError), match=rf"(?s){name}.*({message})"):
            clf.fit(images, labels)
        assert_unchanged(clf, before)


@pytest.mark.parametrize("params", [{"window": -1}, {"n_channels": 0}, {"window": "near"}])
def test_head_params_that_the_aligned_head_cannot_use(images, labels, params):
    clf = classifier(head="aligned", head_params=params)
    with pytest.raises(ValueError, match="head_params=.* cannot be used"):
        clf.fit(images, labels)


def test_what_needs_images_says_so_of_tables(labels):
    rows = np.random.default_rng(0).random((len(labels), 6))
    for params, message in (
        ({"head": "aligned"}, "head='aligned' compares feature maps.*use head='weighted_l1'"),
        ({"frame": "ink"}, "frame='ink' needs images.*image_shape"),
        (
            {"encoder": lambda shape: MLPEncoder(shape), "encoder_params": {"n_units": 3}},
            "by name",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            classifier(**params).fit(rows, labels)


def test_no_parameter_is_left_out():
    assert {name for name, _, _ in PARAMETERS} == set(classifier().get_params())


def test_net_params_that_skorch_does_not_know(fresh, images, labels):
    fresh.set_params(net_params={"learning_rat": 1.0})
    before = state(fresh)
    with pytest.raises((ValueError, TypeError), match="unexpected argument.*learning_rat"):
        fresh.fit(images, labels)
    assert_unchanged(fresh, before)


METHODS = {
    "predict": lambda clf, X: clf.predict(X),
    "predict_proba": lambda clf, X: clf.predict_proba(X),
    "decision_function": lambda clf, X: clf.decision_function(X),
    "score": lambda clf, X: clf.score(X, np.zeros(len(X), int)),
    "transform": lambda clf, X: clf.transform(X),
    "similarity": lambda clf, X: clf.similarity(X, X),
    "pair_proba": lambda clf, X: clf.pair_proba(X, X),
    "kneighbors": lambda clf, X: clf.kneighbors(X),
    "set_support": lambda clf, X: clf.set_support(X, np.zeros(len(X), int)),
    "add_support": lambda clf, X: clf.add_support(X, np.zeros(len(X), int)),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("method", METHODS)
def test_other_images_than_fitted_are_refused(method, name, twin, images):
    change, message = CALLS[name]
    before = state(twin)
    with pytest.raises(ValueError, match=message):
        METHODS[method](twin, change(images))
    assert_unchanged(twin, before)


@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_answered_before_fit(method, fresh, images):
    before = state(fresh)
    with pytest.raises(NotFittedError, match="not fitted yet"):
        METHODS[method](fresh, images)
    assert_unchanged(fresh, before)


@pytest.mark.parametrize(
    "method", ["predict", "predict_proba", "decision_function", "score", "kneighbors"]
)
def test_nothing_is_predicted_before_set_support(method, fresh, images):
    fresh.fit(images, PAIRS)
    before = state(fresh)
    with pytest.raises(NotFittedError, match=r"no support yet: call set_support\(X, y\)"):
        METHODS[method](fresh, images)
    with pytest.raises(NotFittedError, match=r"no support yet: call set_support\(X, y\)"):
        fresh.remove_support(0)
    assert_unchanged(fresh, before)


def test_remove_support_before_fit(fresh):
    with pytest.raises(NotFittedError, match="not fitted yet"):
        fresh.remove_support(0)


@pytest.mark.parametrize("method", ["set_support", "add_support"])
@pytest.mark.parametrize("name", SUPPORTS)
def test_a_support_that_cannot_be_used_is_refused(name, method, twin, images, queries):
    arguments, message = SUPPORTS[name]
    before, expected = state(twin), twin.predict(queries)
    with pytest.raises(ValueError, match=message):
        getattr(twin, method)(*arguments(images))
    assert_unchanged(twin, before)
    np.testing.assert_array_equal(twin.predict(queries), expected)


def test_labels_of_another_kind_are_not_added(twin, images):
    before = state(twin)
    with pytest.raises(ValueError, match="y has labels of dtype <U1, the support's are int64"):
        twin.add_support(images[:1], ["a"])
    assert_unchanged(twin, before)


@pytest.mark.parametrize(
    ("known", "new"),
    [(np.array([0, 1]), [True]), (np.array([0, 2**63 + 1], dtype=np.uint64), [5])],
)
def test_labels_that_would_change_are_not_added(known, new, twin, images):
    """True would become 1, and 2**63 + 1 a float."""
    twin.set_support(images[:2], known)
    before = state(twin)
    with pytest.raises(ValueError, match="y has labels of dtype (bool|int64), the support's are"):
        twin.add_support(images[:1], new)
    assert_unchanged(twin, before)


def test_a_fit_that_fails_does_not_draw(images, labels):
    random_state = np.random.RandomState(3)
    with pytest.raises(ValueError, match="encoder='koch' needs images"):
        classifier(encoder="koch", random_state=random_state).fit(images, labels)
    assert random_state.randint(2**31 - 1) == np.random.RandomState(3).randint(2**31 - 1)


@pytest.mark.parametrize("labels", [99, [0, 99], "a", ["a", "b"], np.array([99])])
def test_unknown_labels_are_not_removed(labels, twin):
    before = state(twin)
    with pytest.raises(ValueError, match=r"labels=\[.*are not in the support; its classes are 0"):
        twin.remove_support(labels)
    assert_unchanged(twin, before)


@pytest.mark.parametrize("labels", [None, 1.5, [[1], [2, 3]], {1: 2}])
def test_labels_to_remove_that_are_none_are_said(labels, twin):
    before = state(twin)
    with pytest.raises(ValueError, match="labels holds"):
        twin.remove_support(labels)
    assert_unchanged(twin, before)


@pytest.mark.parametrize("path", [None, 5])
def test_paths_are_paths(path, twin):
    with pytest.raises(TypeError, match=f"path={path}; expected the path of a file"):
        twin.save(path)
    with pytest.raises(TypeError, match=f"path={path}; expected the path of a file"):
        type(twin).load(path)


def test_pairs_of_unequal_length(twin, images):
    with pytest.raises(ValueError, match="XA has 3 samples and XB 2; pair_proba compares row by"):
        twin.pair_proba(images[:3], images[:2])


@pytest.mark.parametrize(
    ("n_neighbors", "error", "message"),
    [
        (81, ValueError, "n_neighbors=81 is more than the 80 exemplars"),
        (0, ValueError, "n_neighbors == 0, must be >= 1"),
        (2.0, TypeError, "n_neighbors must be an instance of int, not float"),
    ],
)
def test_neighbours_that_are_not_there(n_neighbors, error, message, twin, images):
    with pytest.raises(error, match=message):
        twin.kneighbors(images, n_neighbors)


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (lambda X: X[:, :-1], "X has 255 features, but .* is expecting 256 features"),
        (lambda X: X.reshape(N, 16, 16)[:, 1:], "X has images of 15x16.*fitted on .*16x16 pixels"),
    ],
)
def test_flat_rows_of_another_length_than_fitted(form, message, images, labels):
    rows = images.reshape(N, -1)
    clf = classifier(image_shape=(16, 16)).fit(rows, labels)
    before = state(clf)
    with pytest.raises(ValueError, match=message):
        clf.predict(form(rows))
    assert_unchanged(clf, before)


def test_a_table_of_another_width_than_fitted(images, labels):
    clf = classifier().fit(images[:, 0], labels)
    with pytest.raises(ValueError, match="X has 15 features, but .* is expecting 16 features"):
        clf.predict(images[:, 0, 1:])


def test_a_spread_beyond_float64(fresh, labels):
    X = np.random.RandomState(0).randn(N, 3) * 1e160
    with pytest.raises(ValueError, match="X has values whose spread is beyond float64"):
        fresh.fit(X, labels)
