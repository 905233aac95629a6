"""sksiamese.exceptions: each warning and error, raised by what a user calls."""

import copy
import pickle
import warnings

import joblib
import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from torch import nn

from sksiamese import (
    FrozenTwinClassifier,
    MotorProgramClassifier,
    SiameseOneShotClassifier,
    SiameseVerifier,
    exceptions,
    load_pretrained,
)
from sksiamese.datasets import load_image_folder
from sksiamese.exceptions import (
    BlankImageWarning,
    CollapseWarning,
    DivergedError,
    DuplicateExemplarWarning,
    InvertedImageError,
    NoEffectWarning,
    UnlikelyBackgroundWarning,
    UnlikelyShapeWarning,
    UnreadableImageWarning,
    ValueRangeError,
)


def test_exceptions_lists_its_public_names():
    public = {
        name
        for name, value in vars(exceptions).items()
        if isinstance(value, type) and issubclass(value, Exception)
    }
    assert set(exceptions.__all__) == public


@pytest.mark.parametrize(
    ("exception", "base"),
    [
        (CollapseWarning, UserWarning),
        (NoEffectWarning, UserWarning),
        (UnreadableImageWarning, UserWarning),
        (BlankImageWarning, UserWarning),
        (DuplicateExemplarWarning, UserWarning),
        (UnlikelyBackgroundWarning, UserWarning),
        (UnlikelyShapeWarning, UserWarning),
        (ValueRangeError, ValueError),
        (InvertedImageError, ValueError),
        (DivergedError, FloatingPointError),
    ],
)
def test_exceptions_derive_from_built_in_ones(exception, base):
    assert issubclass(exception, base)
    assert exception.__name__ in exceptions.__all__


@pytest.mark.parametrize(
    "exception",
    [
        BlankImageWarning,
        DuplicateExemplarWarning,
        UnlikelyBackgroundWarning,
        ValueRangeError,
        InvertedImageError,
    ],
)
def test_exceptions_about_samples_carry_their_rows(exception):
    raised = exception("X[2] is odd.", [2, 5])
    for same in (raised, pickle.loads(pickle.dumps(raised)), copy.copy(raised)):
        assert str(same) == "X[2] is odd."
        assert same.rows.dtype == np.intp
        assert same.rows.tolist() == [2, 5]


class Constant(nn.Module):
    """An encoder that gives the same features for every image."""

    def forward(self, x):
        return torch.zeros(len(x), 4) * x.flatten(1)[:, :1]


def collapse(glyphs, folder):
    SiameseOneShotClassifier(Constant(), max_iter=1, random_state=0).fit(*glyphs)


def collapse_in_a_verifier(glyphs, folder):
    X = glyphs[0][:40].reshape(20, 2, 16, 16)
    SiameseVerifier(Constant(), max_iter=1, random_state=0).fit(X, np.arange(20) % 2)


def fit_blank_images(glyphs, folder):
    X, y = glyphs
    X = np.where(np.arange(len(X))[:, None, None] == 7, 255, X)
    SiameseOneShotClassifier(max_iter=1, random_state=0).fit(X, y)


def predict_blank_images(glyphs, folder):
    X, y = glyphs
    clf = MotorProgramClassifier(n_walks=1, primitives=False, n_jobs=2)
    with joblib.parallel_config("threading"):
        clf.fit(X[::8], y[::8]).predict(np.full_like(X[:2], 255))


def fit_two_polarities(glyphs, folder):
    X, y = glyphs
    X = np.where(np.arange(len(X))[:, None, None] == 7, 255 - X, X)
    SiameseOneShotClassifier(max_iter=1, random_state=0).fit(X, y)


def fit_duplicates(glyphs, folder):
    X, y = glyphs
    SiameseOneShotClassifier(max_iter=1, random_state=0).fit(np.concatenate([X, X[:1]]), [*y, 9])


def fit_series(glyphs, folder):
    X = np.random.default_rng(0).normal(size=(128, 3, 16))
    SiameseOneShotClassifier(max_iter=1, random_state=0).fit(X, glyphs[1])


def read_an_unreadable_image(glyphs, folder):
    (folder / "a").mkdir()
    Image.fromarray(glyphs[0][0]).save(folder / "a" / "good.png")
    (folder / "a" / "bad.png").write_bytes(b"no image")
    load_image_folder(folder, on_error="skip")


@pytest.mark.parametrize(
    ("action", "category", "message"),
    [
        (collapse, CollapseWarning, "same logit to every pair.*Lower learning_rate"),
        (collapse_in_a_verifier, CollapseWarning, "same logit to every pair"),
        (fit_blank_images, BlankImageWarning, r"X\[7\] has no foreground"),
        (predict_blank_images, BlankImageWarning, r"X\[0\] has no foreground.*these 2 of 2"),
        (fit_two_polarities, UnlikelyBackgroundWarning, r"X\[7\] appears to have inverted"),
        (fit_duplicates, DuplicateExemplarWarning, r"X\[0\] and X\[128\] are the same image"),
        (fit_series, UnlikelyShapeWarning, r"is taken for 128 images of 3x16 pixels and 1 chann"),
        (read_an_unreadable_image, UnreadableImageWarning, "bad.png"),
    ],
)
def test_warnings_name_the_cause_and_the_line_of_the_caller(
    glyphs, tmp_path, action, category, message
):
    with pytest.warns(category, match=message) as caught:
        action(glyphs, tmp_path)
    (warning,) = (w for w in caught if w.category is category)
    assert warning.filename == __file__


# Each image is judged by itself, by every method of every estimator

CLASSIFIER_METHODS = {
    "predict": lambda clf, X: clf.predict(X),
    "predict_proba": lambda clf, X: clf.predict_proba(X),
    "decision_function": lambda clf, X: clf.decision_function(X),
    "score_samples": lambda clf, X: clf.score_samples(X),
    "score": lambda clf, X: clf.score(X, np.arange(16)),
    "match": lambda clf, X: clf.match(X),
    "kneighbors": lambda clf, X: clf.kneighbors(X),
}
OTHER_METHODS = {
    "similarity": lambda clf, X: clf.similarity(X, X),
    "pair_proba": lambda clf, X: clf.pair_proba(X, X),
    "add_support": lambda clf, X: clf.add_support(X, np.arange(16)),
    "calibrate": lambda clf, X: clf.calibrate(X, np.arange(16) // 4),
}
OF_NETWORKS = {"transform": lambda clf, X: clf.transform(X)}
OF_PROGRAMS = {"parse": lambda clf, X: clf.parse(X)}
OF_PAIRS = {
    "predict": lambda clf, X: clf.predict(np.stack([X, X[::-1]], axis=1)),
    "predict_proba": lambda clf, X: clf.predict_proba(np.stack([X, X[::-1]], axis=1)),
    "score": lambda clf, X: clf.score(np.stack([X, X[::-1]], axis=1), np.arange(16) % 2),
    "calibrate_threshold": lambda clf, X: clf.calibrate_threshold(
        np.stack([X, X[::-1]], axis=1), np.arange(16) % 2
    ),
}
METHODS = {
    "classifier": CLASSIFIER_METHODS | OTHER_METHODS | OF_NETWORKS,
    "pretrained": CLASSIFIER_METHODS | OTHER_METHODS | OF_NETWORKS,
    "frozen": CLASSIFIER_METHODS,
    "pipeline": {"predict": CLASSIFIER_METHODS["predict"], "score": CLASSIFIER_METHODS["score"]},
    "motor programs": CLASSIFIER_METHODS | OTHER_METHODS | OF_PROGRAMS,
    "verifier": OF_PAIRS | OF_NETWORKS | {"similarity": OTHER_METHODS["similarity"]},
}


@pytest.fixture(scope="module")
def estimators(glyphs, fitted):
    X, y = glyphs
    clf = copy.copy(fitted).set_support(X[::8], y[::8])
    return {
        "classifier": clf,
        "pretrained": load_pretrained("omniglot").set_support(X[::8], y[::8]),
        "frozen": FrozenTwinClassifier(clf).fit(X[::8], y[::8]),
        "pipeline": make_pipeline(
            FunctionTransformer(), SiameseOneShotClassifier(max_iter=1, random_state=0)
        ).fit(X, y),
        "motor programs": MotorProgramClassifier(n_walks=1, primitives=False).fit(X[::8], y[::8]),
        "verifier": SiameseVerifier.from_classifier(clf),
    }


@pytest.mark.parametrize(("name", "method"), [(n, m) for n in METHODS for m in METHODS[n]])
@pytest.mark.parametrize("other", [lambda X: X > 127, lambda X: X / 255, lambda X: X * 257.0])
def test_every_method_refuses_images_in_other_units(estimators, glyphs, name, method, other):
    X = glyphs[0][1:33:2].astype(float)
    if method == "calibrate" and name in ("pretrained", "motor programs"):  # which learn the units
        X[3] = other(X[3])
        message = r"X\[3\] has values .* images in different units"
    else:
        X[[3, 12]] = other(X[[3, 12]])
        where = {"similarity": r"XA\[3\]", "pair_proba": r"XA\[3\]"}.get(method, r"X\[3\]")
        if name == "verifier" and method in OF_PAIRS:
            where = r"X\[3, 0\]"
        message = where + " has values from .* in other units"
    clf = copy.copy(estimators[name])
    before = copy.copy(vars(clf))
    with pytest.raises(ValueRangeError, match=message) as error:
        METHODS[name][method](clf, X)
    assert 3 in error.value.rows
    assert vars(clf) == before


@pytest.mark.parametrize(("name", "method"), [(n, m) for n in METHODS for m in METHODS[n]])
def test_every_method_warns_once_of_blank_images(estimators, glyphs, name, method):
    X = glyphs[0][1:33:2].copy()
    X[3] = 255
    clf = copy.copy(estimators[name])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        METHODS[name][method](clf, X)
    (warning,) = (w for w in caught if w.category is BlankImageWarning)
    assert 3 in warning.message.rows
    assert warning.filename == __file__


def test_value_range_error_names_the_row_of_the_preprocessor(estimators, glyphs):
    verifier = copy.copy(estimators["verifier"])
    images = glyphs[0].astype(float)
    images[9] /= 255
    verifier.set_params(preprocessor=images).predict([[0, 1]])
    with pytest.raises(
        ValueRangeError, match=r"preprocessor\[9\] has values .* other units"
    ) as error:
        verifier.predict([[0, 1], [9, 2]])
    assert error.value.rows.tolist() == [9]


# What a scaling is learned from


@pytest.mark.parametrize("n_other", [1, 20, 64])
def test_fit_refuses_images_in_two_units(glyphs, n_other):
    X, y = glyphs
    X = X.astype(float)
    X[:n_other] /= 255
    clf = SiameseOneShotClassifier(max_iter=1, random_state=0)
    with pytest.raises(ValueRangeError, match="images in different units") as error:
        clf.fit(X, y)
    assert error.value.rows.tolist() == list(range(n_other))
    assert not hasattr(clf, "fitted_")
    verifier = SiameseVerifier(max_iter=1, random_state=0)
    with pytest.raises(
        ValueRangeError, match=r"X\[0, 0\] has values up to 1, but others up to 255"
    ):
        verifier.fit(X.reshape(64, 2, 16, 16), np.arange(64) % 2)


def test_warm_start_refuses_other_units_than_before(glyphs):
    X, y = glyphs
    clf = SiameseOneShotClassifier(max_iter=1, warm_start=True, random_state=0).fit(X, y)
    before = clf.fitted_
    with pytest.raises(ValueRangeError, match=r"X\[0\] has values from .* in other units"):
        clf.fit(X / 255, y)
    assert clf.fitted_ is before
    clf.set_params(warm_start=False).fit(X / 255, y)


@pytest.mark.parametrize("n_other", [1, 5])
@pytest.mark.parametrize(
    "make", [lambda: load_pretrained("omniglot"), lambda: MotorProgramClassifier(n_walks=1)]
)
def test_supports_in_two_units_or_without_foreground_are_refused(glyphs, make, n_other):
    X, y = glyphs
    X, y, clf = X[::8].astype(float), y[::8], make()
    X[1 : 1 + n_other] /= 255
    with pytest.raises(ValueRangeError, match=r"X\[1\] has values up to 1") as error:
        clf.set_support(X, y)
    assert error.value.rows.tolist() == list(range(1, 1 + n_other))
    with pytest.raises(ValueError, match="X has 4 images without foreground"):
        clf.set_support(np.full((4, 16, 16), 255), range(4))
    noise = np.random.default_rng(0).integers(254, 256, (2, 16, 16))
    with pytest.warns(BlankImageWarning, match=r"X\[0\] has no foreground"):
        clf.set_support(noise, [0, 1])
    assert np.isfinite(clf.decision_function(glyphs[0][:2])).all()


def test_bool_images_are_taken_where_bool_was_learned(glyphs):
    X, y = glyphs[0] > 127, glyphs[1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clf = SiameseOneShotClassifier(max_iter=1, random_state=0).fit(X, y)
        np.testing.assert_array_equal(clf.predict(X), clf.predict(X.astype(float)))
    with pytest.raises(ValueRangeError, match=r"X\[0\] has values from .* to 255, in other units"):
        clf.predict(glyphs[0])


# The same image under two labels


def test_duplicate_exemplar_warning_names_rows_and_labels(fitted, glyphs, tmp_path):
    X, y = glyphs
    support, labels = np.concatenate([X[:20:4], X[:2], X[4:5]]), list("abcdeafb")
    np.save(tmp_path / "X.npy", support)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    for images in (support, mapped, support[..., None], support.astype(float)):
        clf = copy.copy(fitted)
        with pytest.warns(DuplicateExemplarWarning, match="the labels 'a' and 'f'|'b'") as caught:
            clf.set_support(images, labels[:5] + ["a", "f", "c"])
        assert len(caught) == 1
        assert caught[0].message.rows.tolist() == [1, 7]
        assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        copy.copy(fitted).set_support(support, labels[:5] + ["a", "f", "b"])  # twice one label


def test_add_support_warns_of_an_image_that_the_support_has(fitted, glyphs):
    X, y = glyphs
    clf = copy.copy(fitted).set_support(X[::8], y[::8])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clf.add_support(X[[8, 3]], y[[8, 3]])
    message = r"X\[1\] has the label 5, but the support has the same image with the label 2"
    with pytest.warns(DuplicateExemplarWarning, match=message) as caught:
        clf.add_support(X[[41, 16]], [5, 5])
    assert caught[0].message.rows.tolist() == [1]
    assert caught[0].filename == __file__


def test_flat_rows_may_agree_under_two_labels():
    rows = np.repeat(np.eye(4), 2, axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clf = SiameseOneShotClassifier(max_iter=1, random_state=0).fit(rows, [0, 1] * 4)
        clf.set_support(rows, [0, 1] * 4).add_support(rows, [1, 0] * 4)


def test_inverted_image_error_names_the_row_and_changes_nothing(glyphs):
    X, y = glyphs
    clf = load_pretrained("omniglot").set_support(X[::8], y[::8])
    before = clf.support_
    mixed = np.concatenate([X[:3], 255 - X[3:5]])
    for call in (
        clf.predict,
        clf.transform,
        lambda X: clf.set_support(X, y[:5]),
        lambda X: clf.add_support(X, y[:5]),
    ):
        with pytest.raises(
            InvertedImageError, match=r"X\[3\] appears to have inverted polarity .*Invert it"
        ):
            call(mixed)
    assert clf.support_ is before
    verifier = SiameseVerifier.from_classifier(clf)
    with pytest.raises(InvertedImageError, match="inverted polarity"):
        verifier.predict(np.stack([255 - X[:3], 255 - X[5:8]], axis=1))
    pairs = np.stack([X[:3], X[5:8]], axis=1)
    pairs[2, 1] = 255 - pairs[2, 1]
    message = r"X\[2, 1\] appears .* fitted on, and to X\[2, 0\], X\[1, 1\] and 3 more"
    with pytest.raises(InvertedImageError, match=message):
        verifier.predict(pairs)


@pytest.mark.parametrize("n_inverted", [3, 16])
@pytest.mark.parametrize(
    "estimator",
    [
        SiameseOneShotClassifier(crop="foreground", max_iter=1),
        MotorProgramClassifier(n_walks=1),
        FrozenTwinClassifier(load_pretrained("omniglot")),
        SiameseVerifier(crop="foreground", max_iter=1),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_fit_refuses_images_of_two_polarities(estimator, n_inverted, glyphs):
    X, y = glyphs[0][:32].copy(), glyphs[1][:32]
    X[1 : 2 * n_inverted : 2] = 255 - X[1 : 2 * n_inverted : 2]
    rows = np.arange(1, 2 * n_inverted, 2)
    if isinstance(estimator, SiameseVerifier):
        X, y, rows = X.reshape(16, 2, 16, 16), np.arange(16) % 2, rows // 2
    with pytest.raises(InvertedImageError, match="inverted polarity relative to X") as error:
        estimator.fit(X, y)
    assert error.value.rows.tolist() == rows.tolist()
    assert not hasattr(estimator, "fitted_")


@pytest.mark.parametrize("n_estimators", [1, 2])
def test_diverged_error_leaves_the_estimator_unchanged(glyphs, n_estimators):
    X, y = glyphs
    params = {"max_iter": 1, "n_estimators": n_estimators, "random_state": 0}
    clf = SiameseOneShotClassifier(**params).fit(X, y)
    before = copy.copy(clf).fitted_
    clf.set_params(
        optimizer="sgd", learning_rate=1e30, max_iter=3, net_params={"callbacks__clip": None}
    )
    with pytest.raises(DivergedError, match="the loss of epoch .* Lower learning_rate"):
        clf.fit(X, y)
    assert clf.fitted_ is before


def test_diverged_error_leaves_a_verifier_unfitted(glyphs):
    X = glyphs[0][:40].reshape(20, 2, 16, 16)
    verifier = SiameseVerifier(optimizer="sgd", learning_rate=1e30, max_iter=3, random_state=0)
    with pytest.raises(DivergedError):
        verifier.set_params(net_params={"callbacks__clip": None}).fit(X, np.arange(20) % 2)
    assert not hasattr(verifier, "fitted_")
