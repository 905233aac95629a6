"""Open world: logits as log-odds, a threshold for what is unknown."""

import copy
import pickle

import numpy as np
import pytest
from scipy.special import expit
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sksiamese import (
    FrozenTwinClassifier,
    SiameseOneShotClassifier,
    SiameseVerifier,
    load_pretrained,
)
from sksiamese.datasets import make_glyphs
from sksiamese.twin import inference


@pytest.fixture(scope="module")
def drawings():
    """Glyphs for a twin that is good enough to be calibrated."""
    return make_glyphs(n_classes=60, n_samples=8, image_size=16, random_state=1)


@pytest.fixture(scope="module")
def rejecting(drawings):
    X, y = drawings
    clf = SiameseOneShotClassifier(
        unknown_label=-1, false_acceptance=0.1, max_iter=12, random_state=0
    )
    return clf.fit(X[y < 40], y[y < 40])


@pytest.fixture(scope="module")
def new(drawings):
    X, y = drawings
    return X[y >= 40], y[y >= 40]


@pytest.fixture
def open_world(rejecting, new):
    """One exemplar of half of the new classes is the support; the others are unknown."""
    X, y = new
    first = (np.arange(len(y)) % 8 == 0) & (y < 50)
    return copy.copy(rejecting).set_support(X[first], y[first])


def test_unknown_classes_are_rejected_at_about_the_rate_asked_for(open_world, new):
    X, y = new
    answers = open_world.predict(X)
    known = y < 50
    assert (answers[~known] != -1).mean() < 0.3  # 0.1 was asked for; other classes, few of them
    assert (answers[known] != -1).mean() > 0.5
    assert roc_auc_score(known, open_world.score_samples(X)) > 0.75
    assert set(answers) <= {-1, *range(40, 50)}


def test_answers_follow_scores_and_threshold(open_world, new):
    X, _ = new
    scores, answers = open_world.score_samples(X), open_world.predict(X)
    np.testing.assert_array_equal(answers == -1, scores < open_world.threshold_)
    greatest = open_world.decision_function(X).max(axis=1)
    np.testing.assert_allclose(scores, greatest - np.log(10), rtol=1e-6)
    accepted = answers != -1
    closed = copy.copy(open_world).set_params(unknown_label=None).predict(X)
    np.testing.assert_array_equal(answers[accepted], closed[accepted])


def test_the_rate_does_not_grow_with_the_support(rejecting, new):
    X, y = new
    twin = copy.copy(rejecting).calibrate(X, y)
    rng = np.random.default_rng(0)
    accepted = {}
    for n_known in (2, 16):
        answers = []
        for _ in range(60):
            classes = rng.permutation(np.unique(y))
            support = [rng.choice(np.flatnonzero(y == c)) for c in classes[:n_known]]
            unknown = np.isin(y, classes[-4:])
            answers.append(twin.set_support(X[support], y[support]).predict(X[unknown]))
        accepted[n_known] = np.mean(np.concatenate(answers) != -1)
    # By the greatest logit alone, 0.014 of the first would be.
    assert accepted[2] == pytest.approx(0.1, abs=0.06)
    assert accepted[16] == pytest.approx(0.1, abs=0.03)


def test_fewer_false_acceptances_are_a_higher_threshold(rejecting, new):
    X, y = new
    thresholds = [
        copy.copy(rejecting).set_params(false_acceptance=rate).calibrate(X, y).threshold_
        for rate in (0.3, 0.1, 0.01)
    ]
    assert thresholds == sorted(thresholds)


def test_calibration_is_of_classes_held_out(drawings):
    X, y = drawings
    X, y = X[y < 12], y[y < 12]
    seen = []

    def distortion(images, generator):
        seen.append(images)
        return images

    clf = SiameseOneShotClassifier(
        unknown_label=-1, distortion=distortion, class_transforms=None, max_iter=4, random_state=0,
        validation_fraction=0.25, image_size=None,
    ).fit(X, y)  # fmt: skip
    shown = {image.numpy().tobytes() for batch in seen for image in batch}
    scaled = clf.network_.scaling(clf._store(X).take(np.arange(len(X))))
    classes = {label for label, image in zip(y, scaled, strict=True)
               if image.numpy().tobytes() in shown}  # fmt: skip
    assert len(classes) == 9
    assert clf.classes_.tolist() == list(range(12))


def test_probabilities_of_pairs_are_frequencies(rejecting, drawings, new):
    X, y = new
    twin = copy.copy(rejecting).calibrate(X, y)
    rng = np.random.default_rng(5)
    i = rng.integers(len(X), size=3000)
    j = np.where(rng.random(3000) < 0.5, i // 8 * 8 + rng.integers(8, size=3000),
                 rng.integers(len(X), size=3000))  # fmt: skip
    i, j = i[i != j], j[i != j]
    p, same = twin.pair_proba(X[i], X[j]), y[i] == y[j]
    bins = np.minimum((p * 5).astype(int), 4)
    error = sum(abs(p[bins == b].mean() - same[bins == b].mean()) * (bins == b).mean()
                for b in np.unique(bins))  # fmt: skip
    assert error < 0.05
    np.testing.assert_allclose(
        p, expit(np.diag(twin.similarity(X[i[:50]], X[j[:50]]))).tolist() + p[50:].tolist(),
        atol=1e-5,
    )  # fmt: skip


def test_calibration_changes_neither_order_nor_codes(rejecting, new):
    X, y = new
    twin = copy.copy(rejecting).set_support(X[::8], y[::8])
    before = twin.predict(X), twin.transform(X), twin.kneighbors(X, 3)
    other = copy.copy(twin).set_params(unknown_label=None).calibrate(X, y)
    np.testing.assert_array_equal(
        other.predict(X), copy.copy(twin).set_params(unknown_label=None).predict(X)
    )
    np.testing.assert_array_equal(other.transform(X), before[1])
    np.testing.assert_array_equal(other.kneighbors(X, 3), before[2])
    assert twin.network_.calibration != other.network_.calibration


def test_calibrating_twice_is_calibrating_once(rejecting, new):
    X, y = new
    once = copy.copy(rejecting).calibrate(X, y)
    threshold, calibration = once.threshold_, once.network_.calibration
    once.calibrate(X, y)
    assert (once.threshold_, once.network_.calibration) == (threshold, calibration)


def test_text_labels_and_unknown(rejecting, new):
    X, y = new
    twin = copy.copy(rejecting).set_params(unknown_label="of no class")
    twin.set_support(X[:80:8], y[:80:8].astype(str))
    assert "of no class" in twin.predict(X)
    with pytest.raises(
        ValueError, match="unknown_label='of no class' is not of the kind of the labels"
    ):
        twin.set_support(X[:80:8], y[:80:8])


def test_a_twin_that_was_never_calibrated_says_so(drawings):
    X, y = drawings
    clf = SiameseOneShotClassifier(max_iter=1, random_state=0).fit(X[y < 4], y[y < 4])
    clf.set_params(unknown_label=-1)
    with pytest.raises(NotFittedError, match=r"none has been learned: call calibrate\(X, y\)"):
        clf.predict(X)
    assert (clf.calibrate(X, y).predict(X) == -1).any()


def test_a_twin_that_ships_is_calibrated_and_can_be_anew(new):
    X, y = new
    clf = load_pretrained("omniglot").set_params(unknown_label=-1)
    clf.set_support(X[:80:8], y[:80:8])
    answers, known = clf.predict(X), y < 50
    # Of images unlike those that calibrated it, it rejects more of either kind than it might.
    assert (answers[known] != -1).mean() > 0.2 > 4 * (answers[~known] != -1).mean()
    calibration, threshold = clf.network_.calibration, clf.threshold_
    clf.calibrate(X, y)
    assert clf.network_.calibration != calibration
    assert clf.threshold_ != threshold
    assert load_pretrained("omniglot").network_.calibration == calibration


def test_calibrating_by_other_images_leaves_a_twin_that_ships_the_kind_of_its_support(new):
    X, y = new
    clf = load_pretrained("omniglot").set_support(X[:80:8], y[:80:8])
    answers = clf.predict(X)
    clf.calibrate(np.pad(1 - X, ((0, 0), (4, 4), (4, 4)), constant_values=1), y)
    assert clf.input_shape_ == (1, 16, 16)
    assert clf.network_.calibration != load_pretrained("omniglot").network_.calibration
    np.testing.assert_array_equal(clf.predict(X), answers)


def test_saved_pickled_and_frozen_it_rejects_alike(open_world, new, tmp_path):
    X, y = new
    answers = open_world.predict(X)
    open_world.save(tmp_path / "twin.safetensors")
    loaded = SiameseOneShotClassifier.load(tmp_path / "twin.safetensors")
    np.testing.assert_array_equal(loaded.predict(X), answers)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(open_world)).predict(X), answers)
    frozen = FrozenTwinClassifier(open_world).fit(X[:80:8], y[:80:8])
    np.testing.assert_array_equal(frozen.predict(X), answers)
    pairs = np.stack([X[:8], X[1:9]], axis=1)
    verifier = SiameseVerifier.from_classifier(open_world)
    expected = open_world.pair_proba(X[:8], X[1:9])
    np.testing.assert_allclose(verifier.predict_proba(pairs)[:, 1], expected, atol=1e-6)


def test_it_is_set_through_pipelines_and_searches(drawings):
    X, y = drawings
    X, y = X[y < 12], y[y < 12]
    clf = SiameseOneShotClassifier(max_iter=1, unknown_label=-1, random_state=0)
    piped = make_pipeline(FunctionTransformer(), clone(clf)).fit(X, y)
    assert set(piped.predict(X)) <= {-1, *range(12)}
    search = GridSearchCV(clf, {"false_acceptance": [0.05, 0.5]}, cv=2).fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@pytest.mark.parametrize("groups", [None, [0, 0, 0, 1, 1, 1]])
def test_too_few_examples_are_said(rejecting, new, groups):
    X, _ = new
    y = [0, 0, 1, 2, 3, 4] if groups is None else [0, 0, 1, 2, 2, 3]
    with pytest.raises(ValueError, match="no two classes with two examples each"):
        copy.copy(rejecting).calibrate(X[:6], y, groups)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([7, -1], "-1 is the label of a class too"),
        (np.array([7, 2**63], np.uint64), "dtype uint64: take one that can stand beside"),
        (["a", "b"], "is not of the kind"),
    ],
)
def test_a_support_that_the_unknown_label_does_not_suit_is_refused(
    open_world, new, labels, message
):
    X, _ = new
    before = open_world.support_
    for change in open_world.set_support, open_world.add_support:
        with pytest.raises(ValueError, match=message):
            change(X[:2], labels)
    assert open_world.support_ is before


def test_a_whole_number_stands_beside_labels_that_are_floats(open_world, new):
    X, y = new
    open_world.set_support(X[:80:8], y[:80:8].astype(float))
    answers = open_world.predict(X)
    assert answers.dtype == float
    assert (answers == -1).any()


@pytest.mark.parametrize("unknown", [-1.5, float("nan"), True])
def test_an_unknown_label_never_turns_labels_into_others(open_world, new, unknown):
    with pytest.raises(ValueError, match="can stand beside them unchanged"):
        open_world.set_params(unknown_label=unknown).predict(new[0])


def test_a_failed_calibration_changes_nothing(rejecting, new):
    X, y = new
    twin = copy.copy(rejecting)
    before = twin.network_, twin.threshold_
    shuffled = np.random.default_rng(0).permutation(y)
    for X_wrong, y_wrong in ((X, y[:-1]), (X, np.arange(len(y))), (X[:, :8], y), (X[:4], y[:4])):
        with pytest.raises(ValueError, match="X|y"):
            twin.calibrate(X_wrong, y_wrong)
    try:  # labels by chance calibrate to next to nothing, or are refused
        copy.copy(twin).calibrate(X, shuffled)
    except ValueError as error:
        assert "no more alike" in str(error)
    assert (twin.network_, twin.threshold_) == before
    with pytest.raises(NotFittedError):
        SiameseOneShotClassifier().calibrate(X, y)


def test_a_prediction_is_by_the_threshold_of_its_twin(rejecting, drawings, monkeypatch):
    X, y = drawings
    twin = copy.copy(rejecting).set_support(X[::8], y[::8])
    expected, encode = twin.predict(X), inference.encode

    def encode_and_calibrate(*args, **kwargs):
        twin.threshold_ = np.inf  # as another thread's calibrate does
        return encode(*args, **kwargs)

    monkeypatch.setattr(inference, "encode", encode_and_calibrate)
    np.testing.assert_array_equal(twin.predict(X), expected)


def test_too_few_classes_to_hold_out_is_said(drawings):
    X, y = drawings
    with pytest.raises(ValueError, match="unknown_label holds out 2 of 2 classes"):
        SiameseOneShotClassifier(unknown_label=-1, max_iter=1).fit(X[y < 2], y[y < 2])


@pytest.mark.parametrize("rate", [0, 1, -0.1, "low"])
def test_the_rate_is_checked(drawings, rate):
    with pytest.raises((ValueError, TypeError), match="false_acceptance"):
        SiameseOneShotClassifier(false_acceptance=rate).fit(*drawings)


def test_a_new_fit_forgets_the_old_threshold(rejecting, drawings):
    X, y = drawings
    twin = copy.copy(rejecting).set_params(unknown_label=None, max_iter=1).fit(X[y < 4], y[y < 4])
    assert not hasattr(twin, "threshold_")
    assert twin.network_.calibration == (1.0, 0.0)
