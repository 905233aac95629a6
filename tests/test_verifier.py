"""SiameseVerifier: pairs as samples, and the same twin as the classifier's."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score, fbeta_score, roc_auc_score
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sksiamese import (
    FrozenTwinClassifier,
    SiameseOneShotClassifier,
    SiameseVerifier,
    load_pretrained,
)
from sksiamese.datasets import ImageArray


def pairs(labels, n, seed):
    """(X, y): row numbers of pairs, half of them of one class."""
    rng = np.random.default_rng(seed)
    X = rng.integers(len(labels), size=(50 * n, 2))
    X = X[X[:, 0] != X[:, 1]]
    same = labels[X[:, 0]] == labels[X[:, 1]]
    chosen = np.concatenate([np.flatnonzero(same)[: n // 2], np.flatnonzero(~same)[: n // 2]])
    chosen = rng.permutation(chosen)
    return X[chosen], same[chosen].astype(int)


@pytest.fixture(scope="module")
def known(glyphs):
    X, y = glyphs
    return X[y < 10], *pairs(y[y < 10], 400, seed=0)


@pytest.fixture(scope="module")
def new(glyphs):
    X, y = glyphs
    return X[y >= 10], *pairs(y[y >= 10], 300, seed=1)


@pytest.fixture(scope="module")
def trained(known):
    images, X, y = known
    return SiameseVerifier(preprocessor=images, max_iter=12, random_state=0).fit(X, y)


@pytest.fixture
def verifier(trained, new):
    """Trained on the known images; its pairs are now of the new ones."""
    fitted = pickle.loads(pickle.dumps(trained))
    return fitted.set_params(preprocessor=new[0])


def test_it_tells_pairs_of_unseen_classes_apart(verifier, new):
    _, X, y = new
    assert verifier.score(X, y) > 0.75
    assert roc_auc_score(y, verifier.decision_function(X)) > 0.85


def test_row_numbers_and_images_are_two_ways_to_say_one_thing(verifier, known, new):
    images, X, y = new
    answers = verifier.predict_proba(X)
    verifier.set_params(preprocessor=None)
    np.testing.assert_allclose(verifier.predict_proba(images[X]), answers, atol=1e-6)
    images, X, y = known
    fits = [
        SiameseVerifier(preprocessor=p, max_iter=1, random_state=0).fit(pairs, y)
        for p, pairs in (
            (images, X),
            (list(images), X),
            (images.__getitem__, X),
            (None, images[X]),
        )
    ]
    answers = [v.set_params(preprocessor=None).decision_function(images[X]) for v in fits]
    np.testing.assert_allclose(answers[1], answers[0], atol=1e-5)
    np.testing.assert_allclose(answers[2], answers[0], atol=1e-5)
    assert np.isfinite(answers[3]).all()


def test_a_callable_gets_whatever_x_holds_each_once(verifier, new):
    images, X, _ = new
    asked = []

    def load(names):
        asked.append(names)
        return images[[int(name.removeprefix("image")) for name in names]]

    answers = verifier.predict(X)
    named = np.char.add("image", X.astype(str))
    verifier.set_params(preprocessor=load)
    np.testing.assert_array_equal(verifier.predict(named), answers)
    assert len(asked) == 1
    assert len(set(asked[0])) == len(asked[0]) == len(np.unique(X))


def test_predictions_follow_probabilities_and_classes(verifier, new):
    _, X, y = new
    logits, p = verifier.decision_function(X), verifier.predict_proba(X)
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-6)
    np.testing.assert_array_equal(verifier.predict(X), (p[:, 1] >= 0.5).astype(int))
    np.testing.assert_array_equal(logits >= 0, verifier.predict(X) == 1)
    assert verifier.classes_.tolist() == [0, 1]


def test_a_pair_has_no_order(verifier, new):
    _, X, _ = new
    np.testing.assert_array_equal(
        verifier.decision_function(X), verifier.decision_function(X[:, ::-1])
    )


def test_minus_one_is_understood(known):
    images, X, y = known
    fits = [
        SiameseVerifier(preprocessor=images, max_iter=1, random_state=0).fit(X, labels)
        for labels in (y, 2 * y - 1)
    ]
    assert fits[1].classes_.tolist() == [-1, 1]
    np.testing.assert_array_equal(2 * fits[0].predict(X) - 1, fits[1].predict(X))
    assert fits[1].score(X, 2 * y - 1) == fits[0].score(X, y)


def test_flat_rows_and_tables(known):
    images, X, y = known
    rows = images.reshape(len(images), -1)
    as_images = SiameseVerifier(
        preprocessor=rows, image_shape=(16, 16), max_iter=1, random_state=0
    ).fit(X, y)
    assert as_images.input_shape_ == (1, 16, 16)
    table = SiameseVerifier(max_iter=1, random_state=0).fit(rows[X], y)
    assert table.input_shape_ == (256,)
    assert table.predict(rows[X][:3]).shape == (3,)


def test_cross_validation_by_groups_and_roc_auc(known):
    images, X, y = known
    verifier = SiameseVerifier(preprocessor=ImageArray(images), max_iter=2, random_state=0)
    scores = cross_val_score(
        verifier, X, y, groups=X[:, 0] // 8, cv=GroupKFold(2), scoring="roc_auc"
    )
    assert ((scores > 0.5) & (scores <= 1)).all()
    search = GridSearchCV(verifier, {"learning_rate": [1e-3, 5e-3]}, cv=2).fit(X, y)
    assert search.best_estimator_.preprocessor is verifier.preprocessor
    piped = make_pipeline(FunctionTransformer(), clone(verifier)).fit(X, y)
    np.testing.assert_array_equal(piped.predict(X), piped[-1].predict(X))


def test_a_prediction_is_by_the_threshold_and_the_labels_of_one_verifier(known, monkeypatch):
    images, X, y = known
    verifier = SiameseVerifier(preprocessor=images, max_iter=1, random_state=0).fit(X, y)
    expected, asked = verifier.predict(X), SiameseVerifier.decision_function

    def ask_and_fit_anew(self, X):
        logits = asked(self, X)
        verifier._different, verifier.threshold_ = -1, np.inf  # as another thread's fit does
        return logits

    monkeypatch.setattr(SiameseVerifier, "decision_function", ask_and_fit_anew)
    np.testing.assert_array_equal(verifier.predict(X), expected)


def test_the_same_seed_gives_the_same_bits(known):
    images, X, y = known
    fits = [
        SiameseVerifier(preprocessor=images, max_iter=1, random_state=3).fit(X, y)
        for _ in range(2)
    ]
    np.testing.assert_array_equal(*(v.decision_function(X) for v in fits))


# One twin, two faces


def test_a_classifier_becomes_a_verifier_without_training(fitted, new):
    images, X, y = new
    verifier = SiameseVerifier.from_classifier(fitted, preprocessor=images)
    assert verifier.network_ is fitted.network_
    np.testing.assert_allclose(
        verifier.predict_proba(X)[:, 1], fitted.pair_proba(*images[X].swapaxes(0, 1)), atol=1e-6
    )
    assert verifier.max_iter == fitted.max_iter
    assert verifier.history_ == fitted.history_
    assert not hasattr(verifier, "support_")


def test_a_verifier_becomes_a_classifier_and_back(trained, new, glyphs):
    images, X, _ = new
    clf = trained.to_classifier()
    assert isinstance(clf, SiameseOneShotClassifier)
    with pytest.raises(NotFittedError, match="no support yet"):
        clf.predict(images)
    labels = glyphs[1][glyphs[1] >= 10]
    assert clf.set_support(images[::8], labels[::8]).score(images, labels) > 0.5
    back = SiameseVerifier.from_classifier(clf, preprocessor=images)
    trained = clone(trained).set_params(preprocessor=images)
    assert back.get_params()["max_iter"] == trained.max_iter
    assert back.network_ is clf.network_


@pytest.mark.parametrize(
    "wrap",
    [
        FrozenTwinClassifier,
        lambda clf: make_pipeline(FunctionTransformer(), clf),
        lambda clf: KNeighborsClassifier(),
        lambda clf: SiameseVerifier.from_classifier(clf),
        lambda clf: None,
    ],
)
def test_only_a_classifier_becomes_a_verifier(wrap, fitted):
    clf = wrap(fitted)
    message = f"clf is a {type(clf).__name__}; expected a fitted SiameseOneShotClassifier, such as"
    with pytest.raises(TypeError, match=message):
        SiameseVerifier.from_classifier(clf, preprocessor=np.zeros((4, 16, 16)))


def test_a_classifier_must_be_fitted_to_become_one():
    with pytest.raises(NotFittedError, match="SiameseOneShotClassifier"):
        SiameseVerifier.from_classifier(SiameseOneShotClassifier())


def test_a_twin_that_ships_verifies_once_it_knows_its_images(new):
    images, X, y = new
    clf = load_pretrained("omniglot")
    with pytest.raises(ValueError, match="learns the kind of its images from its support"):
        SiameseVerifier.from_classifier(clf)
    verifier = SiameseVerifier.from_classifier(clf.set_support(images, np.arange(len(images))))
    assert verifier.predict(images[X[:5]]).shape == (5,)


def test_saved_and_loaded_it_answers_alike(trained, known, tmp_path):
    images, X, y = known
    saved = pickle.loads(pickle.dumps(trained)).calibrate_threshold(X, y)
    saved.set_params(preprocessor=None).save(tmp_path / "twin.safetensors")
    loaded = SiameseVerifier.load(tmp_path / "twin.safetensors")
    assert loaded.threshold_ == saved.threshold_
    np.testing.assert_array_equal(loaded.predict(images[X]), saved.predict(images[X]))
    with pytest.raises(ValueError, match="holds a SiameseVerifier"):
        SiameseOneShotClassifier.load(tmp_path / "twin.safetensors")


# Threshold


def test_the_threshold_for_accuracy_is_the_best_there_is(verifier, new):
    _, X, y = new
    logits = verifier.decision_function(X)
    verifier.calibrate_threshold(X, y)
    assert verifier.score(X, y) == max(accuracy_score(y, logits >= t) for t in logits)
    assert verifier.threshold_ not in logits


def test_the_threshold_moves_answers_and_not_probabilities(verifier, new):
    _, X, y = new
    before = verifier.predict_proba(X)
    verifier.calibrate_threshold(X, y, "max_tnr", min_rate=0.99)
    np.testing.assert_array_equal(verifier.predict_proba(X), before)
    assert (verifier.predict(X) == 1)[y == 1].mean() >= 0.99


def test_a_failed_calibration_changes_nothing(verifier, new):
    _, X, y = new
    verifier.threshold_ = 0.25
    for arguments in (
        {"strategy": "best"},
        {"strategy": "max_tpr"},
        {"strategy": "max_tpr", "min_rate": 2.0},
        {"min_rate": 0.5},
        {"strategy": "f_beta", "beta": 0.0},
    ):
        with pytest.raises(ValueError, match="strategy|min_rate|beta"):
            verifier.calibrate_threshold(X, y, **arguments)
    with pytest.raises(ValueError, match="y has only 1"):
        verifier.calibrate_threshold(X[y == 1], y[y == 1])
    assert verifier.threshold_ == 0.25


def test_f_beta_is_the_best_there_is(verifier, new):
    _, X, y = new
    logits = verifier.decision_function(X)
    for beta in (0.5, 2.0):
        verifier.calibrate_threshold(X, y, "f_beta", beta=beta)
        best = max(fbeta_score(y, logits >= t, beta=beta) for t in logits)
        assert fbeta_score(y, verifier.predict(X), beta=beta) == pytest.approx(best)


# What cannot be used


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (np.zeros((4, 3, 8, 8)), [0, 1, 0, 1], r"X has shape \(4, 3, 8, 8\); expected pairs"),
        (np.zeros((4, 2)), [0, 1, 0, 1], "row numbers and preprocessor="),
        (np.zeros((4, 2, 8, 8)), [0, 1, 2, 1], r"y has the values \[0, 1, 2\]; expected 1"),
        (np.zeros((4, 2, 8, 8)), [1, 1, 1, 1], "y has only 1: give pairs"),
        (np.zeros((4, 2, 8, 8)), [1, 0], "y has 2 values"),
        (np.zeros((4, 2, 8, 8)), None, "requires y"),
    ],
)
def test_pairs_that_cannot_be_used(X, y, message):
    with pytest.raises(ValueError, match=message):
        SiameseVerifier(max_iter=1).fit(X, y)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ([[0, 1], [0, 9]], r"X, row 1 is \(0, 9\); expected row numbers from 0 to 3"),
        ([[0, 1], [2, 2]], r"X, row 1 is \(2, 2\), an image and itself; a pair needs two"),
        ([[0, -1], [2, 1]], r"X, row 0 is \(0, -1\); expected row numbers"),
        (np.empty((0, 2), dtype=int), r"X has no samples, shape \(0, 2\)"),
        ([[0, 1.5], [2, 3]], "dtype float64; with a preprocessor, pairs are"),
        ([[0, 1, 2], [2, 3, 1]], r"X has shape \(2, 3\)"),
    ],
)
def test_row_numbers_that_cannot_be_used(X, message):
    with pytest.raises(ValueError, match=message):
        SiameseVerifier(preprocessor=np.zeros((4, 8, 8)), max_iter=1).fit(X, [0, 1])


def test_predicting_no_pairs_is_said(verifier):
    with pytest.raises(ValueError, match=r"X has no samples, shape \(0, 2\)"):
        verifier.predict(np.empty((0, 2), dtype=int))


def test_a_preprocessor_that_has_no_images_is_said(fitted):
    X, message = [[0, 1], [2, 3]], "preprocessor='images.npy'; expected"
    with pytest.raises(TypeError, match=message):
        SiameseVerifier(preprocessor="images.npy").fit(X, [0, 1])
    with pytest.raises(TypeError, match=message):
        SiameseVerifier.from_classifier(fitted, preprocessor="images.npy").predict(X)


def test_a_preprocessor_that_loses_images_is_said():
    verifier = SiameseVerifier(preprocessor=lambda names: np.zeros((1, 8, 8)), max_iter=1)
    with pytest.raises(ValueError, match="preprocessor returned shape .* for 4 items"):
        verifier.fit([["a", "b"], ["c", "d"]], [0, 1])


def test_images_of_another_size_are_refused(trained):
    verifier = pickle.loads(pickle.dumps(trained)).set_params(preprocessor=None)
    with pytest.raises(ValueError, match="was fitted on images of 16x16"):
        verifier.predict(np.zeros((3, 2, 8, 8)))


def test_it_must_be_fitted():
    with pytest.raises(NotFittedError):
        SiameseVerifier().predict(np.zeros((3, 2, 8, 8)))
    assert not hasattr(SiameseVerifier(), "classes_")
