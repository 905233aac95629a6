"""SiameseVerifier: pairs as samples, and the same network as the classifier's."""

import copy
import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
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
from sksiamese.model_selection import make_pairs


def pairs(labels, n_pairs, seed):
    """Return (X, y): row numbers of pairs, half of them of one class."""
    drawn = make_pairs(labels, n_pairs=n_pairs, random_state=seed)
    drawn = np.random.default_rng(seed).permutation(drawn)
    return drawn[:, :2], drawn[:, 2]


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
    return copy.copy(trained).set_params(preprocessor=new[0])


def test_siamese_verifier_tells_pairs_of_unseen_classes_apart(verifier, new):
    _, X, y = new
    assert verifier.score(X, y) > 0.75
    assert roc_auc_score(y, verifier.decision_function(X)) > 0.85


# What X and y may be


def test_siamese_verifier_accepts_row_numbers_or_images(verifier, known, new):
    images, X, y = new
    answers = verifier.predict_proba(X)
    verifier.set_params(preprocessor=None)
    np.testing.assert_allclose(verifier.predict_proba(images[X]), answers, atol=1e-6)
    images, X, y = known
    fits = [
        SiameseVerifier(preprocessor=preprocessor, max_iter=1, random_state=0).fit(X, y)
        for preprocessor in (images, list(images), images.__getitem__)
    ]
    answers = [v.set_params(preprocessor=None).decision_function(images[X]) for v in fits]
    np.testing.assert_allclose(answers[1], answers[0], atol=1e-5)
    np.testing.assert_allclose(answers[2], answers[0], atol=1e-5)


def test_fit_learns_from_images_of_pairs(known, new):
    images, X, y = known
    verifier = SiameseVerifier(max_iter=12, random_state=0).fit(images[X], y)
    images, X, y = new
    assert roc_auc_score(y, verifier.decision_function(images[X])) > 0.85


def test_preprocessor_callable_is_called_once_with_distinct_items(verifier, new):
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


@pytest.mark.parametrize(("different", "classes"), [(0, [0, 1]), (-1, [-1, 1])])
def test_fit_accepts_zero_or_minus_one_for_different_pairs(known, different, classes):
    images, X, y = known
    labels = np.where(y == 1, 1, different)
    verifier = SiameseVerifier(preprocessor=images, max_iter=4, random_state=0).fit(X, labels)
    assert verifier.classes_.tolist() == classes
    plain = SiameseVerifier(preprocessor=images, max_iter=4, random_state=0).fit(X, y)
    expected = np.where(plain.predict(X) == 1, 1, different)
    np.testing.assert_array_equal(verifier.predict(X), expected)
    assert set(expected) == {different, 1}
    assert verifier.score(X, labels) == plain.score(X, y)


def test_fit_accepts_flat_rows_as_images_or_features(known):
    images, X, y = known
    rows = images.reshape(len(images), -1)
    flat = SiameseVerifier(preprocessor=rows, image_shape=(16, 16), max_iter=1, random_state=0)
    shaped = SiameseVerifier(preprocessor=images, max_iter=1, random_state=0)
    flat.fit(X, y)
    assert flat.input_shape_ == (1, 16, 16)
    assert flat.n_features_in_ == 256
    logits = shaped.fit(X, y).decision_function(X)
    np.testing.assert_allclose(flat.decision_function(X), logits, atol=1e-5)
    table = SiameseVerifier(max_iter=1, random_state=0).fit(rows[X], y)
    assert table.input_shape_ == (256,)


def test_fit_remembers_the_columns_of_a_data_frame(known):
    images, X, y = known
    frame = pd.DataFrame(images.reshape(len(images), -1)).add_prefix("pixel")
    verifier = SiameseVerifier(preprocessor=frame, max_iter=1, random_state=0).fit(X, y)
    assert verifier.feature_names_in_.tolist() == frame.columns.tolist()
    renamed = frame.rename(columns={"pixel0": "other"})
    with pytest.raises(ValueError, match="feature names"):
        verifier.set_params(preprocessor=renamed).predict(X)
    verifier.set_params(preprocessor=images).fit(X, y)
    assert not hasattr(verifier, "feature_names_in_")


# Predictions


def test_predict_follows_probabilities_and_logits(verifier, new):
    _, X, y = new
    logits, p = verifier.decision_function(X), verifier.predict_proba(X)
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(p[:, 1], expit(logits), rtol=1e-6)
    np.testing.assert_array_equal(verifier.predict(X), (p[:, 1] >= 0.5).astype(int))
    np.testing.assert_array_equal(
        verifier.predict(X), verifier.classes_[(logits >= 0).astype(int)]
    )


def test_decision_function_does_not_depend_on_the_order_in_a_pair(verifier, new):
    _, X, _ = new
    np.testing.assert_array_equal(
        verifier.decision_function(X), verifier.decision_function(X[:, ::-1])
    )


def test_predict_uses_one_fitted_value(known):
    images, X, y = known
    verifier = SiameseVerifier(preprocessor=images, max_iter=1, random_state=0).fit(X, y)
    expected, fitted = verifier.predict(X), verifier.fitted_

    class Interrupted:
        """Fits the verifier anew while it predicts, as another thread could."""

        def embed(self, store, rows=None, *, check=True):
            verifier.fitted_ = dataclasses.replace(
                fitted, negative_label=-1, decision_threshold=np.inf
            )
            return fitted.comparer.embed(store, rows, check=check)

        pair_logits = staticmethod(fitted.comparer.pair_logits)

    verifier.fitted_ = dataclasses.replace(fitted, comparer=Interrupted())
    np.testing.assert_array_equal(verifier.predict(X), expected)
    assert verifier.decision_threshold_ == np.inf
    assert set(verifier.predict(X)) == {-1}


def test_fit_gives_the_same_bits_for_the_same_seed(known):
    images, X, y = known
    fits = [
        SiameseVerifier(preprocessor=images, max_iter=1, random_state=seed).fit(X, y)
        for seed in (3, 3, 4)
    ]
    logits = [verifier.decision_function(X) for verifier in fits]
    np.testing.assert_array_equal(logits[0], logits[1])
    assert not np.array_equal(logits[0], logits[2])


def test_n_estimators_averages_logits(known):
    images, X, y = known
    params = {"preprocessor": images, "max_iter": 2, "random_state": 0}
    verifier = SiameseVerifier(n_estimators=2, **params).fit(X, y)
    assert [len(epochs) for epochs in verifier.history_] == [2, 2]
    assert verifier.n_iter_ == 2
    first, second = verifier.network_.members
    assert any(
        not np.array_equal(a, b)
        for a, b in zip(first.parameters(), second.parameters(), strict=True)
    )
    single = SiameseVerifier(**params).fit(X, y)
    members = [
        dataclasses.replace(
            single.fitted_, comparer=dataclasses.replace(single.fitted_.comparer, network=network)
        )
        for network in (first, second)
    ]
    logits = []
    for fitted in members:
        single.fitted_ = fitted
        logits.append(single.decision_function(X))
    np.testing.assert_allclose(
        verifier.decision_function(X), np.mean(logits, axis=0), rtol=1e-4, atol=1e-5
    )


def test_cross_val_score_of_a_verifier_by_groups_and_roc_auc(known):
    images, X, y = known
    verifier = SiameseVerifier(preprocessor=ImageArray(images), max_iter=2, random_state=0)
    scores = cross_val_score(
        verifier, X, y, groups=X[:, 0] // 8, cv=GroupKFold(2), scoring="roc_auc"
    )
    assert ((scores > 0.5) & (scores <= 1)).all()


def test_grid_search_shares_the_image_array_of_a_verifier(known):
    images, X, y = known
    verifier = SiameseVerifier(preprocessor=ImageArray(images), max_iter=1, random_state=0)
    search = GridSearchCV(verifier, {"learning_rate": [1e-3, 5e-3]}, cv=2).fit(X, y)
    assert search.best_estimator_.preprocessor is verifier.preprocessor


def test_siamese_verifier_is_the_last_step_of_a_pipeline(known):
    images, X, y = known
    verifier = SiameseVerifier(preprocessor=images, max_iter=2, random_state=0)
    piped = make_pipeline(FunctionTransformer(), verifier).fit(X, y)
    np.testing.assert_array_equal(
        piped.predict_proba(X), clone(verifier).fit(X, y).predict_proba(X)
    )


# Single samples


def test_transform_embeds_single_images(verifier, new):
    images, X, _ = new
    embeddings = verifier.transform(np.arange(len(images)))
    assert embeddings.dtype == np.float32
    verifier.set_params(preprocessor=None)
    np.testing.assert_array_equal(verifier.transform(images), embeddings)
    # With the default head the logit is a line of the cosine of two embeddings.
    cosines = (embeddings[X[:, 0]] * embeddings[X[:, 1]]).sum(axis=1)
    gain = verifier.network_.head.gain.item()
    bias = verifier.decision_function(images[X]) - gain * cosines
    np.testing.assert_allclose(bias, bias[0], atol=1e-3)


@pytest.mark.parametrize("kind", ["array", "frame", "callable", "ImageArray"])
def test_transform_takes_what_the_preprocessor_takes(known, kind):
    images, X, y = known
    rows = images.reshape(len(images), -1)
    preprocessor = {
        "array": rows,
        "frame": pd.DataFrame(rows).add_prefix("pixel"),
        "callable": lambda numbers: rows[numbers],
        "ImageArray": ImageArray(rows),
    }[kind]
    verifier = SiameseVerifier(preprocessor=preprocessor, max_iter=1, random_state=0).fit(X, y)
    asked = np.array([5, 2, 5])
    embeddings = verifier.transform(asked)
    np.testing.assert_array_equal(embeddings[0], embeddings[2])
    assert not np.array_equal(embeddings[0], embeddings[1])
    if kind != "frame":
        expected = verifier.set_params(preprocessor=None).transform(rows[asked])
        np.testing.assert_allclose(embeddings, expected, rtol=1e-5, atol=1e-5)


def test_similarity_is_the_logit_of_every_pair(verifier, new):
    images, X, _ = new
    a, b = np.arange(5), np.arange(10, 17)
    logits = verifier.similarity(a, b)
    every = np.stack(np.meshgrid(a, b, indexing="ij"), axis=-1).reshape(-1, 2)
    expected = verifier.decision_function(every).reshape(5, 7)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
    verifier.set_params(preprocessor=None)
    np.testing.assert_array_equal(verifier.similarity(images[a], images[b]), logits)


def test_similarity_of_samples_with_themselves_is_symmetric(verifier, new):
    rows = np.arange(len(new[0]))
    logits = verifier.similarity(rows, rows)
    np.testing.assert_allclose(logits, logits.T, rtol=1e-5, atol=1e-5)
    assert (logits.argmax(axis=1) == rows).all()


def test_similarity_calls_a_preprocessor_once_for_one_array(verifier, new):
    images, _, _ = new
    asked = []

    def load(numbers):
        asked.append(numbers)
        return images[numbers]

    rows = np.arange(6)
    expected = verifier.similarity(rows, rows)
    verifier.set_params(preprocessor=load)
    np.testing.assert_array_equal(verifier.similarity(rows, rows), expected)
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[0, 1]], r"X has shape \(1, 2\)"),
        ([0, 99], "row numbers from 0 to 47"),
        ([0.5], "integers"),
        (np.empty(0, dtype=int), r"X has shape \(0,\)"),
    ],
)
def test_transform_raises_for_unusable_row_numbers(verifier, rows, message):
    with pytest.raises(ValueError, match=message):
        verifier.transform(rows)
    with pytest.raises(ValueError, match=message):
        verifier.similarity([0], rows)


@pytest.mark.parametrize(
    "call",
    [
        lambda verifier, X: verifier.transform(X),
        lambda verifier, X: verifier.similarity(X, X),
        lambda verifier, X: verifier.predict(np.stack([X, X], axis=1)),
        lambda verifier, X: verifier.calibrate_threshold(np.stack([X, X], axis=1), [0, 1, 1]),
        lambda verifier, X: verifier.to_classifier(),
        lambda verifier, X: verifier.save("verifier.safetensors"),
    ],
)
def test_siamese_verifier_raises_before_fit(call):
    with pytest.raises(NotFittedError):
        call(SiameseVerifier(), np.zeros((3, 8, 8)))


def test_siamese_verifier_has_no_fitted_attributes_before_fit():
    names = ["classes_", "decision_threshold_", "network_", "history_", "n_iter_", "input_shape_"]
    assert not [name for name in names if hasattr(SiameseVerifier(), name)]


# One network, two estimators


def test_from_classifier_shares_the_network(fitted, new):
    images, X, y = new
    verifier = SiameseVerifier.from_classifier(fitted, preprocessor=images)
    assert verifier.network_ is fitted.network_
    np.testing.assert_allclose(
        verifier.predict_proba(X)[:, 1], fitted.pair_proba(*images[X].swapaxes(0, 1)), atol=1e-6
    )
    assert verifier.max_iter == fitted.max_iter
    assert verifier.history_ == fitted.history_
    assert not hasattr(verifier, "support_")


def test_to_classifier_has_the_network_and_no_support(trained, new, glyphs):
    images, _, _ = new
    clf = trained.to_classifier()
    assert isinstance(clf, SiameseOneShotClassifier)
    assert clf.network_ is trained.network_
    with pytest.raises(NotFittedError, match="no support yet"):
        clf.predict(images)
    labels = glyphs[1][glyphs[1] >= 10]
    assert clf.set_support(images[::8], labels[::8]).score(images, labels) > 0.5


def test_from_classifier_reverses_to_classifier(trained, verifier, new):
    images, X, _ = new
    back = SiameseVerifier.from_classifier(trained.to_classifier(), preprocessor=images)
    assert back.get_params()["max_iter"] == trained.max_iter
    assert back.network_ is trained.network_
    np.testing.assert_array_equal(back.decision_function(X), verifier.decision_function(X))


def test_to_classifier_and_from_classifier_keep_fitting(known):
    images, X, y = known
    verifier = SiameseVerifier(batch_size=16, max_iter=1, random_state=0)
    clf = verifier.fit(images[X], y).to_classifier().fit(images, np.arange(len(images)) // 8)
    assert clf.classes_.tolist() == list(range(10))
    again = SiameseVerifier.from_classifier(clf.set_params(batch_size=(1, 5, 2)))
    assert again.fit(images[X], y).n_iter_ == 1


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
def test_from_classifier_raises_for_anything_else(wrap, fitted):
    clf = wrap(fitted)
    message = f"clf is a {type(clf).__name__}; expected a fitted SiameseOneShotClassifier, such as"
    with pytest.raises(TypeError, match=message):
        SiameseVerifier.from_classifier(clf, preprocessor=np.zeros((4, 16, 16)))


def test_from_classifier_raises_for_an_unfitted_classifier():
    with pytest.raises(NotFittedError, match="SiameseOneShotClassifier"):
        SiameseVerifier.from_classifier(SiameseOneShotClassifier())


def test_from_classifier_takes_a_pretrained_network_with_a_support(new):
    images, X, y = new
    clf = load_pretrained("omniglot")
    with pytest.raises(NotFittedError, match="set_support"):
        SiameseVerifier.from_classifier(clf)
    verifier = SiameseVerifier.from_classifier(clf.set_support(images, np.arange(len(images))))
    assert roc_auc_score(y, verifier.decision_function(images[X])) > 0.85
    expected = clf.pair_proba(images[X[:, 0]], images[X[:, 1]])
    np.testing.assert_allclose(verifier.predict_proba(images[X])[:, 1], expected, atol=1e-6)


# Threshold


def test_calibrate_threshold_maximises_accuracy(verifier, new):
    _, X, y = new
    logits = verifier.decision_function(X)
    verifier.calibrate_threshold(X, y)
    assert verifier.score(X, y) == max(accuracy_score(y, logits >= t) for t in logits)
    assert verifier.decision_threshold_ not in logits


def test_calibrate_threshold_maximises_f_beta(verifier, new):
    _, X, y = new
    logits = verifier.decision_function(X)
    for beta in (0.5, 2.0):
        verifier.calibrate_threshold(X, y, "f_beta", beta=beta)
        best = max(fbeta_score(y, logits >= t, beta=beta) for t in logits)
        assert fbeta_score(y, verifier.predict(X), beta=beta) == pytest.approx(best)


def test_calibrate_threshold_changes_predictions_and_not_probabilities(verifier, new):
    _, X, y = new
    before = verifier.predict_proba(X)
    verifier.calibrate_threshold(X, y, "max_tnr", min_rate=0.99)
    np.testing.assert_array_equal(verifier.predict_proba(X), before)
    assert (verifier.predict(X) == 1)[y == 1].mean() >= 0.99
    assert verifier.decision_threshold_ < 0


def test_calibrate_threshold_leaves_copies_unchanged(trained, verifier, new):
    _, X, y = new
    verifier.calibrate_threshold(X, y, "max_tnr", min_rate=0.99)
    assert trained.decision_threshold_ == 0.0
    assert verifier.network_ is trained.network_


def test_calibrate_threshold_changes_nothing_on_failure(verifier, new):
    _, X, y = new
    before = verifier.calibrate_threshold(X, y, "max_tnr", min_rate=0.9).decision_threshold_
    for arguments in (
        {"strategy": "best"},
        {"strategy": "max_tpr"},
        {"strategy": "max_tpr", "min_rate": 2.0},
        {"min_rate": 0.5},
        {"strategy": "f_beta", "beta": 0.0},
    ):
        with pytest.raises(ValueError, match="strategy|min_rate|beta"):
            verifier.calibrate_threshold(X, y, **arguments)
    with pytest.raises(ValueError, match="y has only one class, 1"):
        verifier.calibrate_threshold(X[y == 1], y[y == 1])
    assert verifier.decision_threshold_ == before != 0


def test_decision_threshold_is_zero_again_after_fit(known):
    images, X, y = known
    verifier = SiameseVerifier(preprocessor=images, max_iter=1, random_state=0).fit(X, y)
    verifier.calibrate_threshold(X, y, "max_tnr", min_rate=1.0)
    assert verifier.decision_threshold_ != 0
    assert verifier.fit(X, y).decision_threshold_ == 0


# What cannot be used


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (np.zeros((4, 3, 8, 8)), [0, 1, 0, 1], r"X has shape \(4, 3, 8, 8\); expected pairs"),
        (np.zeros((4, 2)), [0, 1, 0, 1], "row numbers of the images given as preprocessor"),
        (np.zeros((4, 2, 8, 8)), [0, 1, 2, 1], r"y has the values \[0, 1, 2\]; expected 1"),
        (np.zeros((4, 2, 8, 8)), [0, 1, -1, 1], r"y has the values \[-1, 0, 1\]; expected 1"),
        (np.zeros((4, 2, 8, 8)), [1, 1, 1, 1], "y has only one class, 1: give pairs"),
        (np.zeros((4, 2, 8, 8)), [1, 0], "y has 2 values"),
        (np.zeros((4, 2, 8, 8)), None, "requires y"),
    ],
)
def test_fit_raises_for_unusable_pairs(X, y, message):
    verifier = SiameseVerifier(max_iter=1)
    with pytest.raises(ValueError, match=message):
        verifier.fit(X, y)
    assert not hasattr(verifier, "fitted_")


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ([[0, 1], [0, 9]], r"X\[1\] is \(0, 9\); expected row numbers from 0 to 3"),
        ([[0, 1], [2, 2]], r"X\[1\] is \(2, 2\), an image and itself; a pair needs two"),
        ([[0, -1], [2, 1]], r"X\[0\] is \(0, -1\); expected row numbers"),
        (np.empty((0, 2), dtype=int), r"X has no samples, shape \(0, 2\)"),
        ([[0, 1.5], [2, 3]], "X has dtype float64; with a preprocessor"),
        ([[0, 1, 2], [2, 3, 1]], r"X has shape \(2, 3\)"),
    ],
)
def test_fit_raises_for_unusable_row_numbers(X, message):
    with pytest.raises(ValueError, match=message):
        SiameseVerifier(preprocessor=np.zeros((4, 8, 8)), max_iter=1).fit(X, [0, 1])


def test_predict_raises_without_pairs(verifier):
    with pytest.raises(ValueError, match=r"X has no samples, shape \(0, 2\)"):
        verifier.predict(np.empty((0, 2), dtype=int))


def test_predict_raises_for_images_of_another_size(verifier):
    verifier.set_params(preprocessor=None)
    with pytest.raises(ValueError, match="was fitted on images of 16x16"):
        verifier.predict(np.zeros((3, 2, 8, 8)))


def test_preprocessor_without_images_raises(fitted):
    X, message = [[0, 1], [2, 3]], "preprocessor='images.npy'; expected"
    with pytest.raises(TypeError, match=message):
        SiameseVerifier(preprocessor="images.npy").fit(X, [0, 1])
    with pytest.raises(TypeError, match=message):
        SiameseVerifier.from_classifier(fitted, preprocessor="images.npy").predict(X)


def test_preprocessor_that_loses_images_raises():
    verifier = SiameseVerifier(preprocessor=lambda names: np.zeros((1, 8, 8)), max_iter=1)
    with pytest.raises(ValueError, match="preprocessor returned shape .* for 4 items"):
        verifier.fit([["a", "b"], ["c", "d"]], [0, 1])
