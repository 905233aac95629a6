"""Open world: logits as log-odds, and a threshold for queries of unknown classes."""

import copy
import dataclasses
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


@pytest.fixture(scope="module")
def drawings():
    """Enough glyphs for a network that can be calibrated."""
    return make_glyphs(n_classes=60, n_samples=8, image_size=16, random_state=1)


@pytest.fixture(scope="module")
def rejecting(drawings):
    X, y = drawings
    clf = SiameseOneShotClassifier(
        unknown_label=-1, false_acceptance_rate=0.1, max_iter=12, random_state=0
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


# Rejection


def test_unknown_label_rejects_unknown_classes_at_about_the_target_rate(open_world, new):
    X, y = new
    answers = open_world.predict(X)
    known = y < 50
    assert (answers[~known] != -1).mean() < 0.3  # 0.1 is the target; other classes, few of them
    assert (answers[known] != -1).mean() > 0.5
    assert roc_auc_score(known, open_world.score_samples(X)) > 0.75
    assert set(answers) <= {-1, *range(40, 50)}


def test_predict_rejects_queries_below_the_threshold(open_world, new):
    X, _ = new
    scores, answers = open_world.score_samples(X), open_world.predict(X)
    np.testing.assert_array_equal(answers == -1, scores < open_world.rejection_threshold_)
    accepted = answers != -1
    assert 0 < accepted.sum() < len(X)
    closed = copy.copy(open_world).set_params(unknown_label=None).predict(X)
    np.testing.assert_array_equal(answers[accepted], closed[accepted])
    labels, logits = open_world.predict(X, return_logits=True)
    np.testing.assert_array_equal(labels, answers)
    np.testing.assert_array_equal(open_world.decision_function(X), logits)


def test_score_samples_of_few_training_classes_is_the_greatest_logit_minus_log_n_classes(
    open_world, new
):
    X, _ = new
    greatest = open_world.decision_function(X).max(axis=1)
    np.testing.assert_allclose(open_world.score_samples(X), greatest - np.log(10), atol=1e-5)


@pytest.fixture(scope="module")
def many():
    """A network of a hundred training classes, which knows levels, and glyphs of new classes."""
    X, y = make_glyphs(n_classes=140, n_samples=4, image_size=12, random_state=2)
    clf = SiameseOneShotClassifier(head="weighted_l1", max_iter=2, random_state=0)
    X = X.reshape(len(X), -1)
    clf.fit(X[y < 100], y[y < 100])
    return clf, X[y >= 100], y[y >= 100]


def test_score_samples_is_relative_to_how_much_samples_are_like_others(many):
    clf, X, y = many
    clf = copy.copy(clf).set_support(X[:40:4], y[:40:4])
    weights, offset = clf.fitted_.level_weights, clf.fitted_.level_offset
    logits, embeddings = clf.decision_function(X), clf.transform(X)
    assert weights.shape == embeddings.shape[1:]
    levels = embeddings @ weights + offset
    expected = (logits - (levels[:, None] + levels[:40:4]) / 2).max(axis=1) - np.log(10)
    np.testing.assert_allclose(clf.score_samples(X), expected, atol=1e-4)


def test_levels_predict_the_logits_with_the_most_similar_training_classes(many):
    clf, X, y = many
    cohort = clf.transform(X[::4])  # one sample of each class
    fitted = clf.fitted_.with_levels(cohort)
    logits = fitted.comparer.logits(cohort, cohort)
    greatest = np.where(np.eye(len(cohort), dtype=bool), -np.inf, logits).max(axis=1)
    of_new = clf.transform(X[1::4])  # others of these classes
    levels = of_new @ fitted.level_weights + fitted.level_offset
    assert np.corrcoef(levels, greatest)[0, 1] > 0.5
    assert levels.mean() == pytest.approx(greatest.mean(), abs=0.5)


def test_score_samples_does_not_depend_on_other_queries(many):
    clf, X, y = many
    clf = copy.copy(clf).set_support(X[:40:4], y[:40:4])
    together = clf.score_samples(X[:20])
    alone = np.concatenate([clf.score_samples(X[n : n + 1]) for n in range(20)])
    np.testing.assert_allclose(together, alone, atol=1e-4)


@pytest.mark.parametrize("aggregation", ["mean", "max", "prototype"])
def test_score_samples_follows_the_support(many, aggregation):
    clf, X, y = many
    clf = copy.copy(clf).set_params(aggregation=aggregation)
    clf.set_support(X[:20], y[:20])
    expected = clf.score_samples(X)
    grown = copy.copy(clf).set_support(X[:12], y[:12])
    grown.score_samples(X)
    grown.add_support(X[12:24], y[12:24])
    assert not np.allclose(grown.score_samples(X), expected)
    grown.remove_support(y[20])
    np.testing.assert_allclose(grown.score_samples(X), expected, atol=1e-4)


def test_score_samples_is_kept_by_save_and_pickle(many, tmp_path):
    clf, X, y = many
    clf = copy.copy(clf).set_support(X[:40:4], y[:40:4]).calibrate(X[40:], y[40:])
    expected, sets = clf.score_samples(X), clf.predict_set(X)
    clf.save(tmp_path / "network.safetensors")
    loaded = SiameseOneShotClassifier.load(tmp_path / "network.safetensors")
    for other in loaded, pickle.loads(pickle.dumps(clf)):
        np.testing.assert_array_equal(other.score_samples(X), expected)
        np.testing.assert_array_equal(other.predict_set(X), sets)


@pytest.mark.parametrize(
    ("aggregation", "combine"), [("mean", np.mean), ("max", np.max), ("prototype", np.mean)]
)
def test_score_samples_combines_levels_of_exemplars_as_logits(many, aggregation, combine):
    clf, X, y = many
    clf = copy.copy(clf).set_params(aggregation=aggregation).set_support(X[:40], y[:40])
    plain = copy.copy(clf)
    plain.fitted_ = dataclasses.replace(clf.fitted_, level_weights=None)
    levels = clf.transform(X) @ clf.fitted_.level_weights + clf.fitted_.level_offset
    of_classes = combine(levels[:40].reshape(10, 4), axis=1)
    scores = plain.decision_function(X) - (levels[:, None] + of_classes) / 2
    np.testing.assert_allclose(clf.score_samples(X), scores.max(1) - np.log(10), atol=1e-4)


def test_predict_is_the_same_with_and_without_levels(many):
    clf, X, y = many
    clf = copy.copy(clf).set_support(X[:40:4], y[:40:4])
    without = copy.copy(clf)
    without.fitted_ = dataclasses.replace(clf.fitted_, level_weights=None)
    np.testing.assert_array_equal(clf.predict(X), without.predict(X))
    np.testing.assert_array_equal(clf.predict_proba(X), without.predict_proba(X))
    assert not np.allclose(clf.score_samples(X), without.score_samples(X))


# Prediction sets


class OwnLogits:
    """A comparer of rows (class, ease): one class has the mean of both eases, others -9."""

    def embed(self, store, rows=None, *, check=True):
        return store.take(np.arange(len(store)) if rows is None else rows).numpy()

    def logits(self, a, b):
        same = a[:, None, 0] == b[None, :, 0]
        return np.where(same, (a[:, None, 1] + b[None, :, 1]) / 2, -9).astype(np.float32)

    def pair_logits(self, a, b):
        return np.where(a[:, 0] == b[:, 0], (a[:, 1] + b[:, 1]) / 2, -9).astype(np.float32)


@pytest.mark.parametrize(("n_classes", "coverage"), [(9, 0.8), (19, 0.9)])
def test_predict_set_has_the_coverage_of_exchangeable_classes(n_classes, coverage):
    """Classes differ in how easy they are; those of queries are drawn as those of `calibrate`."""
    rng = np.random.default_rng(0)
    clf = SiameseOneShotClassifier(max_iter=1, random_state=0)
    clf.fit(rng.normal(size=(8, 2)), np.repeat([0, 1], 4))
    plain = dataclasses.replace(clf.fitted_, comparer=OwnLogits(), support=None)
    labels = np.repeat(np.arange(n_classes + 4), 2)
    own, first = labels < n_classes, np.arange(len(labels)) % 2 == 0
    covered = []
    for _ in range(80):
        ease = rng.normal(0, 2, n_classes + 4)[labels] + rng.normal(size=len(labels))
        X = np.stack([labels, ease], axis=1)
        clf.fitted_ = plain
        clf.calibrate(X[own], labels[own]).set_support(X[~own & first], labels[~own & first])
        covered.append(np.diag(clf.predict_set(X[~own & ~first], coverage)).mean())
    # (n + 1) (1 - coverage) is a whole number, so that the coverage is exact.
    assert np.mean(covered) == pytest.approx(coverage, abs=3 * np.std(covered) / 80**0.5)


def test_predict_set_grows_with_coverage_up_to_all_classes(many):
    clf, X, y = many
    clf = copy.copy(clf).set_support(X[:40:4], y[:40:4]).calibrate(X[40:], y[40:])  # 30 classes
    sets = [clf.predict_set(X, coverage) for coverage in (0.2, 0.5, 0.9, 0.98)]
    for smaller, larger in zip(sets, sets[1:], strict=False):
        assert (smaller <= larger).all()
        assert smaller.sum() < larger.sum()
    assert sets[0].shape == (len(X), 10)
    assert sets[-1].all()  # 0.98 is more than 30 / 31


@pytest.mark.parametrize("coverage", [0.0, 1.0, -0.5, 90, "most"])
def test_predict_set_raises_for_other_coverage(many, coverage):
    clf, X, y = many
    clf = copy.copy(clf).set_support(X[:40:4], y[:40:4]).calibrate(X[40:], y[40:])
    with pytest.raises((TypeError, ValueError), match="coverage"):
        clf.predict_set(X, coverage)


def test_predict_set_needs_calibration(many):
    clf, X, y = many
    with pytest.raises(NotFittedError, match="needs calibration. Call calibrate"):
        copy.copy(clf).set_support(X[:40:4], y[:40:4]).predict_set(X)


def test_false_acceptance_rate_does_not_grow_with_the_support(rejecting, new):
    X, y = new
    clf = copy.copy(rejecting).calibrate(X, y)
    rng = np.random.default_rng(0)
    accepted = {}
    for n_known in (2, 16):
        answers = []
        for _ in range(60):
            classes = rng.permutation(np.unique(y))
            support = [rng.choice(np.flatnonzero(y == c)) for c in classes[:n_known]]
            unknown = np.isin(y, classes[-4:])
            answers.append(clf.set_support(X[support], y[support]).predict(X[unknown]))
        accepted[n_known] = np.mean(np.concatenate(answers) != -1)
    # By the greatest logit alone, 0.014 of the first would be accepted.
    assert accepted[2] == pytest.approx(0.1, abs=0.06)
    assert accepted[16] == pytest.approx(0.1, abs=0.03)


def test_rejection_threshold_rises_as_false_acceptance_rate_falls(rejecting, new):
    X, y = new
    thresholds = [
        copy.copy(rejecting)
        .set_params(false_acceptance_rate=rate)
        .calibrate(X, y)
        .rejection_threshold_
        for rate in (0.3, 0.1, 0.01)
    ]
    assert thresholds[0] < thresholds[1] < thresholds[2]


def test_fit_calibrates_on_classes_that_it_does_not_train_on():
    """The images of a class have one grey level, so that it tells which class is trained on."""
    y = np.repeat(np.arange(12), 8)
    rng = np.random.default_rng(0)
    X = np.zeros((len(y), 8, 8), np.float32)
    X[:, 2:6, 2:6] = (y + 1)[:, None, None] / 12
    X[:, 0] = rng.normal(0, 0.01, (len(y), 8))
    X[:, 7, 7] = 1  # as light as any gets
    trained = set()

    def note(images, generator):
        levels = images[:, 0, 3, 3]
        trained.update((levels * 12).round().int().sub(1).tolist())
        return images

    clf = SiameseOneShotClassifier(
        unknown_label=-1,
        augmentation=note,
        max_iter=4,
        validation_fraction=0.25,
        resize=None,
        random_state=0,
    ).fit(X, y)
    assert len(clf.held_out_classes_) == 3
    assert set(clf.held_out_classes_) | trained == set(range(12))
    assert not set(clf.held_out_classes_) & trained
    assert clf.classes_.tolist() == list(range(12))


def test_held_out_classes_are_of_early_stopping_and_calibration(drawings):
    X, y = drawings
    X, y = X[y < 12], y[y < 12].astype(str)
    params = {"validation_fraction": 0.25, "max_iter": 1, "random_state": 0}
    both = SiameseOneShotClassifier(unknown_label="?", early_stopping=True, **params).fit(X, y)
    stopping = SiameseOneShotClassifier(early_stopping=True, **params).fit(X, y)
    assert len(stopping.held_out_classes_) == 3
    assert len(both.held_out_classes_) == 3 + 2  # a quarter of what calibration leaves
    assert set(both.held_out_classes_) < set(y)
    assert not hasattr(SiameseOneShotClassifier(**params).fit(X, y), "held_out_classes_")


def test_fit_forgets_the_former_calibration(rejecting, drawings):
    X, y = drawings
    clf = copy.copy(rejecting).set_params(unknown_label=None, max_iter=1).fit(X[y < 4], y[y < 4])
    assert not hasattr(clf, "rejection_threshold_")
    assert not hasattr(clf, "held_out_classes_")
    assert clf.fitted_.calibration == (1.0, 0.0)


# calibrate


def test_calibrate_makes_pair_proba_a_frequency(rejecting, new):
    X, y = new
    clf = copy.copy(rejecting).calibrate(X, y)
    rng = np.random.default_rng(5)
    i = rng.integers(len(X), size=3000)
    of_same_class = i // 8 * 8 + rng.integers(8, size=3000)
    j = np.where(rng.random(3000) < 0.5, of_same_class, rng.integers(len(X), size=3000))
    i, j = i[i != j], j[i != j]
    p, same = clf.pair_proba(X[i], X[j]), y[i] == y[j]
    bins = np.minimum((p * 5).astype(int), 4)
    error = sum(
        abs(p[bins == b].mean() - same[bins == b].mean()) * (bins == b).mean()
        for b in np.unique(bins)
    )
    assert error < 0.05
    assert len(np.unique(bins)) == 5
    similarity = clf.similarity(X[i[:50]], X[j[:50]])
    np.testing.assert_allclose(p[:50], expit(np.diag(similarity)), atol=1e-5)


def test_calibrate_keeps_labels_embeddings_and_distances(rejecting, new):
    X, y = new
    clf = copy.copy(rejecting).set_params(unknown_label=None).set_support(X[::8], y[::8])
    other = copy.copy(clf).calibrate(X, y)
    np.testing.assert_array_equal(other.predict(X), clf.predict(X))
    np.testing.assert_array_equal(other.transform(X), clf.transform(X))
    np.testing.assert_array_equal(other.kneighbors(X, 3), clf.kneighbors(X, 3))
    assert not np.allclose(other.decision_function(X), clf.decision_function(X))


def test_calibrate_twice_is_calibrate_once(rejecting, new):
    X, y = new
    clf = copy.copy(rejecting).calibrate(X, y)
    threshold, calibration = clf.rejection_threshold_, clf.fitted_.calibration
    clf.calibrate(X, y)
    assert (clf.rejection_threshold_, clf.fitted_.calibration) == (threshold, calibration)


def test_calibrate_by_groups_compares_classes_inside_a_group(rejecting, new):
    X, y = new
    one = copy.copy(rejecting).calibrate(X, y)
    grouped = copy.copy(rejecting).calibrate(X, y, groups=y // 4)
    same = copy.copy(rejecting).calibrate(X, y, groups=np.zeros(len(y)))
    assert grouped.rejection_threshold_ != one.rejection_threshold_
    assert same.rejection_threshold_ == one.rejection_threshold_
    with pytest.raises(ValueError, match="groups has 3 values"):
        copy.copy(rejecting).calibrate(X, y, groups=[0, 1, 2])


def test_calibrate_changes_nothing_on_failure(rejecting, new):
    X, y = new
    clf = copy.copy(rejecting)
    before = clf.fitted_
    for X_wrong, y_wrong in ((X, y[:-1]), (X, np.arange(len(y))), (X[:, :8], y), (X[:4], y[:4])):
        with pytest.raises(ValueError, match="X|y"):
            clf.calibrate(X_wrong, y_wrong)
    assert clf.fitted_ is before


def test_calibrate_raises_if_pairs_of_a_class_are_no_more_alike(rejecting, new):
    X, y = new
    clf = copy.copy(rejecting)
    comparer = clf.fitted_.comparer

    class Opposite:
        """Gives the opposite of each logit."""

        embed = staticmethod(comparer.embed)

        def logits(self, a, b):
            return -comparer.logits(a, b)

        def pair_logits(self, a, b):
            return -comparer.pair_logits(a, b)

    clf.fitted_ = dataclasses.replace(clf.fitted_, comparer=Opposite(), support=None)
    with pytest.raises(ValueError, match="y cannot calibrate the network.*Train longer"):
        clf.calibrate(X, y)


def test_calibrate_raises_before_fit(new):
    with pytest.raises(NotFittedError):
        SiameseOneShotClassifier().calibrate(*new)


@pytest.mark.parametrize("groups", [None, [0, 0, 0, 1, 1, 1]])
def test_calibrate_raises_for_too_few_samples(rejecting, new, groups):
    X, _ = new
    y = [0, 0, 1, 2, 3, 4] if groups is None else [0, 0, 1, 2, 2, 3]
    with pytest.raises(ValueError, match="no two classes with two examples each"):
        copy.copy(rejecting).calibrate(X[:6], y, groups)


def test_predict_uses_the_threshold_of_its_fitted_value(rejecting, drawings):
    X, y = drawings
    clf = copy.copy(rejecting).set_support(X[::8], y[::8])
    expected, fitted = clf.predict(X), clf.fitted_

    class Interrupted:
        """Raises the threshold while it embeds, as another thread could."""

        logits = staticmethod(fitted.comparer.logits)

        def embed(self, store, rows=None, *, check=True):
            clf.fitted_ = dataclasses.replace(fitted, rejection_threshold=np.inf)
            return fitted.comparer.embed(store, rows, check=check)

    clf.fitted_ = dataclasses.replace(fitted, comparer=Interrupted())
    np.testing.assert_array_equal(clf.predict(X), expected)
    assert (clf.predict(X) == -1).all()


# Pretrained networks, files and other estimators


def test_calibrate_replaces_the_calibration_of_a_pretrained_network(new):
    X, y = new
    clf = load_pretrained("omniglot").set_params(unknown_label=-1)
    clf.set_support(X[:80:8], y[:80:8])
    answers, known = clf.predict(X), y < 50
    # These images are unlike those that calibrated it, so it rejects more of both.
    assert (answers[known] != -1).mean() > 0.2
    assert (answers[~known] != -1).mean() < 0.05
    calibration, threshold = clf.fitted_.calibration, clf.rejection_threshold_
    clf.calibrate(X, y)
    assert clf.fitted_.calibration != calibration
    assert clf.rejection_threshold_ != threshold
    assert load_pretrained("omniglot").fitted_.calibration == calibration


def test_calibrate_of_a_pretrained_network_is_shrunk_towards_its_prior(drawings):
    rate, (X, y) = 0.2, drawings
    X, y = X[np.arange(len(y)) % 8 < 2], np.repeat(np.arange(60), 2)
    clf = load_pretrained("omniglot").set_params(false_acceptance_rate=rate)
    prior, expected = clf.fitted_, []
    clf.fitted_ = dataclasses.replace(prior, prior_calibration=None, prior_unknown=None)
    clf.calibrate(X[y < 20], y[y < 20])
    before = np.quantile(prior.prior_unknown, 1 - rate)
    for own, shipped in (
        *zip(clf.fitted_.calibration, prior.prior_calibration, strict=True),
        (clf.rejection_threshold_, before),
    ):
        expected.append((20 * own + 40 * shipped) / 60)  # forty classes weigh as much as it
    clf.fitted_ = prior
    for _ in range(2):  # twice is once
        clf.calibrate(X[y < 20], y[y < 20])
        learned = *clf.fitted_.calibration, clf.rejection_threshold_
        np.testing.assert_allclose(learned, expected, rtol=1e-6)
    shipped = load_pretrained("omniglot").rejection_threshold_
    assert np.quantile(prior.prior_unknown, 0.95) == pytest.approx(shipped, abs=0.05)


def test_calibrate_on_other_images_keeps_the_scaling_of_the_support(new):
    X, y = new
    clf = load_pretrained("omniglot").set_support(X[:80:8], y[:80:8])
    answers = clf.predict(X)
    clf.calibrate(np.pad(255 - X, ((0, 0), (4, 4), (4, 4))), y)
    assert clf.input_shape_ == (1, 16, 16)
    assert clf.fitted_.calibration != load_pretrained("omniglot").fitted_.calibration
    np.testing.assert_array_equal(clf.predict(X), answers)


def test_calibrate_is_kept_by_save_pickle_and_wrappers(open_world, new, tmp_path):
    X, y = new
    answers = open_world.predict(X)
    open_world.save(tmp_path / "network.safetensors")
    loaded = SiameseOneShotClassifier.load(tmp_path / "network.safetensors")
    np.testing.assert_array_equal(loaded.predict(X), answers)
    np.testing.assert_array_equal(loaded.held_out_classes_, open_world.held_out_classes_)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(open_world)).predict(X), answers)
    frozen = FrozenTwinClassifier(open_world).fit(X[:80:8], y[:80:8])
    np.testing.assert_array_equal(frozen.predict(X), answers)
    pairs = np.stack([X[:8], X[1:9]], axis=1)
    verifier = SiameseVerifier.from_classifier(open_world)
    expected = open_world.pair_proba(X[:8], X[1:9])
    np.testing.assert_allclose(verifier.predict_proba(pairs)[:, 1], expected, atol=1e-6)


def test_unknown_label_works_in_pipelines_and_searches(drawings):
    X, y = drawings
    X, y = X[y < 12], y[y < 12]
    clf = SiameseOneShotClassifier(max_iter=1, unknown_label=-1, random_state=0)
    piped = make_pipeline(FunctionTransformer(), clone(clf)).fit(X, y)
    np.testing.assert_array_equal(piped.predict(X), clone(clf).fit(X, y).predict(X))
    grid = {"false_acceptance_rate": [0.05, 0.5]}
    search = GridSearchCV(clf, grid, cv=2, error_score="raise").fit(X, y)
    assert search.best_estimator_.false_acceptance_rate == search.best_params_.popitem()[1]


# unknown_label


def test_unknown_label_is_of_the_type_of_the_labels(rejecting, new):
    X, y = new
    clf = copy.copy(rejecting).set_params(unknown_label="of no class")
    clf.set_support(X[:80:8], y[:80:8].astype(str))
    answers = clf.predict(X)
    assert "of no class" in answers
    assert set(answers) > {"of no class"}
    with pytest.raises(
        ValueError, match="unknown_label='of no class' is not of the type of the labels"
    ):
        clf.set_support(X[:80:8], y[:80:8])


def test_unknown_label_may_be_an_integer_beside_floats(open_world, new):
    X, y = new
    open_world.set_support(X[:80:8], y[:80:8].astype(float))
    answers = open_world.predict(X)
    assert answers.dtype == float
    assert (answers == -1).any()


@pytest.mark.parametrize("unknown", [-1.5, float("nan"), True])
def test_unknown_label_raises_if_it_would_change_the_labels(open_world, new, unknown):
    with pytest.raises(ValueError, match="can stand beside them unchanged"):
        open_world.set_params(unknown_label=unknown).predict(new[0])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([7, -1], "unknown_label=-1 is also the label of a class"),
        (np.array([7, 2**63], np.uint64), "dtype uint64. Use a label that can stand beside"),
        (["a", "b"], "is not of the type"),
    ],
)
def test_set_support_raises_for_labels_that_contradict_unknown_label(
    open_world, new, labels, message
):
    X, _ = new
    before = open_world.support_
    for change in open_world.set_support, open_world.add_support:
        with pytest.raises(ValueError, match=message):
            change(X[:2], labels)
    assert open_world.support_ is before


def test_predict_raises_with_unknown_label_before_calibration(drawings):
    X, y = drawings
    clf = SiameseOneShotClassifier(max_iter=1, random_state=0).fit(X[y < 4], y[y < 4])
    clf.set_params(unknown_label=-1)
    with pytest.raises(NotFittedError, match=r"has not been learned. Call calibrate\(X, y\)"):
        clf.predict(X)
    assert (clf.calibrate(X, y).predict(X) == -1).any()


def test_fit_raises_for_too_few_classes_to_hold_out(drawings):
    X, y = drawings
    with pytest.raises(ValueError, match="unknown_label holds out 2 of 2 classes"):
        SiameseOneShotClassifier(unknown_label=-1, max_iter=1).fit(X[y < 2], y[y < 2])


@pytest.mark.parametrize("rate", [0, 1, -0.1, "low", True])
def test_false_acceptance_rate_is_checked(rejecting, drawings, rate):
    with pytest.raises((ValueError, TypeError), match="false_acceptance_rate"):
        SiameseOneShotClassifier(false_acceptance_rate=rate).fit(*drawings)
    clf = copy.copy(rejecting).set_params(false_acceptance_rate=rate)
    with pytest.raises((ValueError, TypeError), match="false_acceptance_rate"):
        clf.calibrate(*drawings)
