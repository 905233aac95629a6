"""A comparer without a network: the modified Hausdorff distance of point sets."""

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
from helpers import classifier, unchanged
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from sksiamese import FrozenTwinClassifier
from sksiamese.model_selection import make_pairs, one_shot_score


class ModifiedHausdorff:
    """Greater of the two mean distances from a drawing's foreground pixels to the other's nearest.

    M.-P. Dubuisson, A. K. Jain, "A modified Hausdorff distance for object matching", 1994.
    """

    def embed(self, store, rows=None, *, check=True):
        """Return for each image an array of its foreground pixels (n_points, 2), centred."""
        rows = np.arange(len(store)) if rows is None else rows
        embeddings = np.empty(len(rows), dtype=object)
        for n, image in enumerate(store.take(rows).numpy()):
            points = np.argwhere(image[0] < 128)
            embeddings[n] = points - points.mean(axis=0)
        return embeddings

    def distances(self, a, b):
        rows = [[_distance(one, other) for other in b] for one in a]
        return np.array(rows, dtype=np.float32).reshape(len(a), len(b))

    def logits(self, a, b):
        return 2 - self.distances(a, b)

    def pair_logits(self, a, b):
        return np.array([2 - _distance(*pair) for pair in zip(a, b, strict=True)], np.float32)


def _distance(a, b):
    between = cdist(a, b)
    return max(between.min(axis=1).mean(), between.min(axis=0).mean())


@pytest.fixture(scope="module")
def hausdorff(fitted):
    """`fitted` with another comparer, and no support."""
    clf = copy.copy(fitted)
    clf.fitted_ = replace(clf.fitted_, comparer=ModifiedHausdorff(), support=None)
    return clf


@pytest.fixture
def one_shot(hausdorff, new):
    """With the first drawing of each of the six new classes as the support."""
    X, y = new
    return copy.copy(hausdorff).set_support(X[::8], y[::8])


def between(X_a, X_b):
    """Return the distances of all pairs of images, computed from the pixels themselves."""
    points = [[np.argwhere(image < 128) for image in X] for X in (X_a, X_b)]
    a, b = ([own - own.mean(axis=0) for own in sets] for sets in points)
    return np.array([[_distance(one, other) for other in b] for one in a])


def test_predict_returns_the_nearest_exemplars_class(one_shot, new):
    X, y = new
    distances = between(X, X[::8])
    assert one_shot.support_.embeddings.dtype == object
    np.testing.assert_allclose(one_shot.decision_function(X), 2 - distances, atol=1e-5)
    np.testing.assert_array_equal(one_shot.predict(X), y[::8][distances.argmin(axis=1)])
    assert one_shot.score(X, y) > 0.6  # chance is 1/6


@pytest.mark.parametrize("aggregation", ["mean", "max"])
def test_aggregation_makes_one_logit_of_several_exemplars(hausdorff, new, aggregation):
    X, _ = new
    labels, exemplars, queries = np.array(list("cabcaccb")), X[:48:6], X[1::4]
    clf = copy.copy(hausdorff).set_params(aggregation=aggregation)
    logits = clf.set_support(exemplars, labels).decision_function(queries)
    reduce = np.mean if aggregation == "mean" else np.max
    similarity = 2 - between(queries, exemplars)
    expected = np.stack([reduce(similarity[:, labels == c], axis=1) for c in "abc"], 1)
    np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_aggregation_by_prototypes_is_refused_where_embeddings_have_no_mean(hausdorff, new):
    X, y = new
    clf = copy.copy(hausdorff).set_params(aggregation="prototype").set_support(X, y)
    with pytest.raises(ValueError, match="aggregation='prototype' needs the mean of embeddings"):
        clf.predict(X)


def test_add_support_and_remove_support_equal_set_support(one_shot, new):
    X, y = new
    once = copy.copy(one_shot).set_support(X[[0, 16, 24, 32, 40, 1]], y[[0, 16, 24, 32, 40, 1]])
    one_shot.add_support(X[1:2], y[1:2]).remove_support(11)
    assert one_shot.support_.labels.tolist() == once.support_.labels.tolist()
    np.testing.assert_array_equal(one_shot.decision_function(X), once.decision_function(X))


def test_kneighbors_returns_the_exemplars_of_least_distance(one_shot, new):
    X, _ = new
    distances, indices = one_shot.kneighbors(X, 3)
    every = between(X, X[::8])
    np.testing.assert_array_equal(indices, np.argsort(every, axis=1)[:, :3])
    np.testing.assert_allclose(distances, np.sort(every, axis=1)[:, :3], atol=1e-5)


def test_match_assigns_the_classes_of_least_total_distance(one_shot, new):
    X, y = new
    best = linear_sum_assignment(between(X[1::8], X[::8]))[1]
    np.testing.assert_array_equal(one_shot.match(X[1::8]), y[::8][best])


def test_similarity_and_pair_proba_are_of_the_logits(one_shot, new):
    X, _ = new
    similarity = one_shot.similarity(X[:5], X[3:9])
    np.testing.assert_allclose(similarity, 2 - between(X[:5], X[3:9]), atol=1e-5)
    expected = 1 / (1 + np.exp(-np.diag(similarity)))
    np.testing.assert_allclose(one_shot.pair_proba(X[:5], X[3:8]), expected, rtol=1e-5)


def test_calibrate_makes_probabilities_and_rejects_unknown_classes(hausdorff, glyphs):
    X, y = glyphs
    clf = copy.copy(hausdorff).set_params(unknown_label=-1, false_acceptance_rate=0.1)
    clf.calibrate(X[y < 10], y[y < 10])
    rows = make_pairs(y[y >= 10], n_pairs=300, random_state=0)
    i, j, same = rows.T
    probability = clf.pair_proba(X[y >= 10][i], X[y >= 10][j])
    assert probability[same == 1].mean() > 0.7
    assert probability[same == 0].mean() < 0.3
    known = (y >= 10) & (y < 13)
    clf.set_support(X[known][::8], y[known][::8])
    assert (clf.predict(X[y >= 13]) == -1).mean() > 0.7
    assert (clf.predict(X[known]) != -1).mean() > 0.5
    scores = clf.score_samples(X)
    np.testing.assert_array_equal(clf.predict(X) == -1, scores < clf.rejection_threshold_)


def test_trial_function_scores_as_set_support_and_predict_do(hausdorff, new):
    X, y = new
    trial = hausdorff.trial_function(X)
    logits, classes = trial([0, 8, 9], [3, 12], y[[0, 8, 9]])
    expected = copy.copy(hausdorff).set_support(X[[0, 8, 9]], y[[0, 8, 9]])
    assert classes.tolist() == [10, 11]
    np.testing.assert_array_equal(logits, expected.predict(X[[3, 12]], return_logits=True)[1])
    score = one_shot_score(hausdorff, X, y, n_way=4, n_episodes=10, random_state=0)
    assert float(score) > 0.6  # chance is 1/4


def test_one_shot_trial_display_shows_the_probabilities(hausdorff, new):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    from sksiamese.plotting import OneShotTrialDisplay

    X, y = new
    display = OneShotTrialDisplay.from_estimator(hausdorff, X[::8], y[::8], X[3], y[3])
    expected = copy.copy(hausdorff).set_support(X[::8], y[::8]).predict_proba(X[3:4])[0]
    np.testing.assert_allclose(display.probabilities, expected, rtol=1e-5)
    assert not hasattr(hausdorff, "support_")
    matplotlib.pyplot.close(display.figure_)


def test_frozen_classifier_sets_the_support(hausdorff, new):
    X, y = new
    frozen = FrozenTwinClassifier(hausdorff).fit(X[::8], y[::8])
    expected = copy.copy(hausdorff).set_support(X[::8], y[::8])
    np.testing.assert_array_equal(frozen.predict(X), expected.predict(X))


def test_pickle_keeps_the_predictions(one_shot, new):
    again = pickle.loads(pickle.dumps(one_shot))
    np.testing.assert_array_equal(again.predict(new[0]), one_shot.predict(new[0]))


@pytest.mark.parametrize(
    "call",
    [
        lambda clf, X, y, path: clf.save(path),
        lambda clf, X, y, path: clf.transform(X),
        lambda clf, X, y, path: clf.fit(X, y),
    ],
    ids=["save", "transform", "warm start"],
)
def test_save_transform_and_warm_start_are_refused(one_shot, new, tmp_path, call):
    path = tmp_path / "classifier.safetensors"
    one_shot.set_params(warm_start=True)
    message = "This estimator compares by ModifiedHausdorff, which has no network"
    with unchanged(one_shot), pytest.raises(TypeError, match=message):
        call(one_shot, *new, path)
    assert not path.exists()
    assert not hasattr(one_shot, "network_")


def test_fit_replaces_the_comparer(one_shot, new):
    X, y = new
    one_shot.set_params(max_iter=1, resize=None).fit(X, y)
    expected = classifier().fit(X, y)
    np.testing.assert_array_equal(one_shot.transform(X), expected.transform(X))
