"""Comparers without a network: modified Hausdorff, motor programs, and a user's own."""

import copy
import pickle

import numpy as np
import pytest
from helpers import CLOSE, classifier, unchanged
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from training_runs import ArrayStore

from sksiamese import FrozenTwinClassifier, MotorProgramClassifier
from sksiamese.comparers import ModifiedHausdorff, MotorPrograms
from sksiamese.datasets import load_omniglot_minimal
from sksiamese.exceptions import InvertedImageError
from sksiamese.model_selection import make_pairs, one_shot_score, score_runs
from sksiamese.programs import Tokens


@pytest.fixture(scope="module")
def hausdorff(fitted):
    """`fitted` with another comparer, and no support."""
    clf = copy.copy(fitted)
    clf.fitted_ = clf.fitted_.with_comparer(ModifiedHausdorff())
    return clf.set_params(aggregation="mean")  # its embeddings have no mean


@pytest.fixture
def one_shot(hausdorff, new):
    """With the first drawing of each of the six new classes as the support."""
    X, y = new
    return copy.copy(hausdorff).set_support(X[::8], y[::8])


@pytest.fixture(scope="module")
def store(new):
    """Ten drawings of several classes."""
    return ArrayStore(new[0][::5, None])


def between(X_a, X_b):
    """Return the distances of all pairs of images, computed from the pixels themselves."""
    points = [[np.argwhere(image < 128) for image in X] for X in (X_a, X_b)]
    a, b = ([own - own.mean(axis=0) for own in sets] for sets in points)
    distances = np.empty((len(a), len(b)))
    for pair in np.ndindex(distances.shape):
        each = cdist(a[pair[0]], b[pair[1]])
        distances[pair] = max(each.min(axis=1).mean(), each.min(axis=0).mean())
    return distances


# ModifiedHausdorff, in a classifier


def test_predict_returns_the_nearest_exemplars_class(one_shot, new):
    X, y = new
    distances = between(X, X[::8])
    assert one_shot.support_.embeddings.dtype == object
    np.testing.assert_allclose(one_shot.decision_function(X), -distances, atol=1e-5)
    np.testing.assert_array_equal(one_shot.predict(X), y[::8][distances.argmin(axis=1)])
    assert one_shot.score(X, y) > 0.6  # chance is 1/6


@pytest.mark.parametrize("aggregation", ["mean", "max"])
def test_aggregation_makes_one_logit_of_several_exemplars(hausdorff, new, aggregation):
    X, _ = new
    labels, exemplars, queries = np.array(list("cabcaccb")), X[:48:6], X[1::4]
    clf = copy.copy(hausdorff).set_params(aggregation=aggregation)
    logits = clf.set_support(exemplars, labels).decision_function(queries)
    reduce = np.mean if aggregation == "mean" else np.max
    similarity = -between(queries, exemplars)
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
    np.testing.assert_allclose(similarity, -between(X[:5], X[3:9]), atol=1e-5)
    expected = 1 / (1 + np.exp(-np.diag(similarity)))
    np.testing.assert_allclose(one_shot.pair_proba(X[:5], X[3:8]), expected, rtol=1e-5)


def test_calibrate_makes_probabilities_and_rejects_unknown_classes(hausdorff, glyphs):
    X, y = glyphs
    clf = copy.copy(hausdorff).set_params(unknown_label=-1, false_acceptance_rate=0.1)
    clf.calibrate(X[y < 10], y[y < 10])
    known = (y >= 10) & (y < 13)
    clf.set_support(X[known][::8], y[known][::8])
    rows = make_pairs(y[y >= 10], n_pairs=300, random_state=0)
    i, j, same = rows.T
    probability = clf.pair_proba(X[y >= 10][i], X[y >= 10][j])
    assert probability[same == 1].mean() > 0.7
    assert probability[same == 0].mean() < 0.3
    assert (clf.predict(X[y >= 13]) == -1).mean() > 0.6
    assert (clf.predict(X[known]) != -1).mean() > 0.5
    scores = clf.score_samples(X)
    np.testing.assert_array_equal(clf.predict(X) == -1, scores < clf.rejection_threshold_)


def test_trial_function_scores_as_set_support_and_predict_do(one_shot, new):
    X, y = new
    X = X < 128  # of which any few make the same input scaling
    logits, classes = one_shot.trial_function(X)([0, 8, 9], [3, 12], y[[0, 8, 9]])
    expected = copy.copy(one_shot).set_support(X[[0, 8, 9]], y[[0, 8, 9]])
    assert classes.tolist() == [10, 11]
    np.testing.assert_array_equal(logits, expected.predict(X[[3, 12]], return_logits=True)[1])
    score = one_shot_score(one_shot, X, y, n_way=4, n_episodes=10, random_state=0)
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


def test_motor_program_classifier_takes_another_comparer(new, tmp_path):
    X, y = new
    clf = MotorProgramClassifier().fit(X[::8], y[::8])
    clf.fitted_ = clf.fitted_.with_comparer(ModifiedHausdorff())
    assert not hasattr(clf, "classes_")
    clf.set_support(X[::8], y[::8])
    np.testing.assert_allclose(clf.decision_function(X), -between(X, X[::8]), atol=1e-5)
    with pytest.raises(TypeError, match="ModifiedHausdorff"):
        clf.save(tmp_path / "clf")
    assert not list(tmp_path.iterdir())


# ModifiedHausdorff itself


def test_modified_hausdorff_embeds_centred_foreground_pixels(new):
    X, _ = new
    embeddings = ModifiedHausdorff().embed(ArrayStore(X[:4, None]))
    for image, points in zip(X, embeddings, strict=False):
        expected = np.argwhere(image < 128)
        np.testing.assert_allclose(points, expected - expected.mean(axis=0))


def test_modified_hausdorff_does_not_depend_on_polarity_units_and_channels(new):
    X, _ = new
    expected = ModifiedHausdorff().embed(ArrayStore(X[:4, None]))
    colour = np.stack([X, X, X], axis=1)
    for other in (255 - X[:, None], X[:, None] / 255.0, colour):
        for a, b in zip(ModifiedHausdorff().embed(ArrayStore(other[:4])), expected, strict=True):
            np.testing.assert_array_equal(a, b)


def test_modified_hausdorff_by_foreground_does_not_depend_on_size(new):
    X, _ = new
    comparer = ModifiedHausdorff(crop="foreground")
    large = np.kron(X[:, None], np.ones((2, 2), np.uint8))
    padded = np.pad(large, ((0, 0), (0, 0), (9, 30), (20, 2)), constant_values=255)
    a, b = (comparer.embed(ArrayStore(images[:48:16])) for images in (large, padded))
    assert comparer.distances(a, b).diagonal().max() < 0.5  # pixels
    off = comparer.distances(a, a)[~np.eye(3, dtype=bool)]
    assert off.min() > 0.5


def test_modified_hausdorff_compares_blank_images(new):
    X = new[0][:3, None].copy()
    X[1] = 255
    comparer = ModifiedHausdorff()
    embeddings = comparer.embed(ArrayStore(X))
    assert np.isfinite(comparer.distances(embeddings, embeddings)).all()
    np.testing.assert_array_equal(comparer.distances(embeddings, embeddings).diagonal(), 0)


def test_modified_hausdorff_refuses_flat_rows(hausdorff, new):
    X, y = new
    message = r"ModifiedHausdorff compares images.*image_shape=\(height, width\)"
    with unchanged(hausdorff), pytest.raises(ValueError, match=message):
        hausdorff.set_support(X.reshape(len(X), -1), y)


def test_modified_hausdorff_refuses_inverted_images_where_it_crops(new):
    X, y = new[0][::4], new[1][::4]
    clf = MotorProgramClassifier().fit(X[::2], y[::2])
    clf.fitted_ = clf.fitted_.with_comparer(ModifiedHausdorff(crop="foreground"))
    clf.set_support(X[::2], y[::2])
    assert clf.score(X, y) > 0.5
    with pytest.raises(InvertedImageError, match=r"X\[0\] appears to have inverted polarity"):
        clf.predict(255 - X)


def test_modified_hausdorff_reaches_the_accuracy_of_omniglots_release():
    runs = load_omniglot_minimal().runs[4:5]
    clf = MotorProgramClassifier().fit(runs[0].support_images, runs[0].support_labels)
    clf.fitted_ = clf.fitted_.with_comparer(ModifiedHausdorff())
    assert float(score_runs(clf, runs)) > 0.5  # 0.61 over all runs


# MotorPrograms


def points(embeddings):
    """Return the points of the program of each embedding, one after another."""
    return np.concatenate([tokens.program.points for tokens in embeddings])


@pytest.fixture(scope="module")
def programs(store):
    """(comparer, embeddings) of ten drawings."""
    comparer = MotorPrograms().adapted_to(store)
    return comparer, comparer.embed(store)


def test_motor_programs_embeds_tokens(programs):
    _, embeddings = programs
    assert embeddings.shape == (10,)
    assert embeddings.dtype == object
    assert {type(tokens) for tokens in embeddings} == {Tokens}


@pytest.mark.parametrize("rows", [[4], [7, 0, 7, 3], range(9, -1, -2)])
def test_motor_programs_embeds_rows_in_their_order(programs, store, rows):
    comparer, embeddings = programs
    rows = np.array(rows)
    np.testing.assert_array_equal(points(comparer.embed(store, rows)), points(embeddings[rows]))


def test_motor_programs_learns_a_scaling_where_it_has_none(programs, store):
    _, embeddings = programs
    np.testing.assert_array_equal(points(MotorPrograms().embed(store)), points(embeddings))


def test_motor_programs_parses_canvases_of_105_pixels(programs, store):
    comparer, embeddings = programs
    canvases = np.stack(list(comparer.canvases(store)))
    assert canvases.shape == (10, 105, 105)
    assert abs(canvases).max() < 1.5  # background 0, foreground 1
    for canvas, tokens in zip(canvases, embeddings, strict=True):
        foreground = np.argwhere(canvas > 0.5)
        distances = cdist(tokens.program.points, foreground).min(1)
        assert distances.max() < 6
        assert distances.mean() < 1


def test_motor_programs_does_not_depend_on_the_number_of_processes(programs, store):
    comparer, embeddings = programs
    others = MotorPrograms(n_jobs=2, scaling=comparer.scaling).embed(store)
    np.testing.assert_array_equal(points(others), points(embeddings))


def test_motor_programs_logits_fall_with_distances(programs):
    comparer, embeddings = programs
    distances = comparer.distances(embeddings, embeddings)
    logits = comparer.logits(embeddings, embeddings)
    assert distances.dtype == logits.dtype == np.float32
    assert distances.min() >= 0
    np.testing.assert_allclose(distances, distances.T, **CLOSE)
    slopes = (logits - logits[0, 0])[1:] / (distances - distances[0, 0])[1:]
    np.testing.assert_allclose(slopes, slopes[0, 0], rtol=1e-3)
    assert slopes[0, 0] < 0
    np.testing.assert_array_equal(distances.argmin(axis=1), np.arange(10))


def test_motor_programs_pair_logits_are_the_diagonal_of_the_logits(programs):
    comparer, embeddings = programs
    a, b = embeddings[:6], embeddings[4:]
    expected = comparer.logits(a, b).diagonal()
    np.testing.assert_allclose(comparer.pair_logits(a, b), expected, **CLOSE)


def test_motor_programs_compares_no_pairs(programs):
    comparer, embeddings = programs
    assert comparer.logits(embeddings[:0], embeddings).shape == (0, 10)
    assert comparer.logits(embeddings, embeddings[:0]).shape == (10, 0)
    assert comparer.pair_logits(embeddings[:0], embeddings[:0]).shape == (0,)


def test_motor_programs_token_lays_a_program_over_a_drawing(programs):
    comparer, embeddings = programs
    for ours, theirs in (embeddings[:2], embeddings[[5, 4]]):
        token = comparer.token(ours, theirs)
        assert token.shape == ours.program.points.shape
        drawing = theirs.program.points
        # The token explains the drawing better than the program does where it lies.
        before = cdist(drawing, ours.program.points).min(1).mean()
        assert cdist(drawing, token).min(1).mean() < before


@pytest.mark.parametrize("model", ["programs", "simple_strokes", "affine"])
def test_motor_programs_model_decides_what_varies(programs, model):
    _, embeddings = programs
    program = embeddings[3].program
    tokens = MotorPrograms(model=model).tokens(program)
    np.testing.assert_array_equal(tokens.program.points, program.points)
    n_modes = np.linalg.matrix_rank(tokens.modes[0], tol=1e-3)
    if model == "affine":
        assert n_modes == 3
    else:
        assert n_modes > 8
    n_substrokes = program.n_strokes if model == "simple_strokes" else program.n_substrokes
    assert tokens.program.n_substrokes == n_substrokes


# A user's own, as in docs/extending.md


class PixelComparer:
    """Compare images by the L1 distance of their pixels."""

    def embed(self, store, rows=None, *, check=True):
        rows = np.arange(len(store)) if rows is None else rows
        return store.take(rows).flatten(1).numpy()

    def logits(self, a, b):
        return -self.distances(a, b)

    def pair_logits(self, a, b):
        return -np.abs(a - b).sum(axis=1)

    def distances(self, a, b):
        return cdist(a, b, "cityblock").astype(np.float32)


@pytest.mark.parametrize("aggregation", ["max", "prototype"])
def test_with_comparer_takes_a_users_own(fitted, new, aggregation):
    X, y = new
    clf = copy.copy(fitted).set_params(aggregation=aggregation)
    clf.fitted_ = clf.fitted_.with_comparer(PixelComparer())
    assert not hasattr(clf, "classes_")
    clf.set_support(X[::8], y[::8])
    rows = X.reshape(len(X), -1).astype(float)
    expected = np.abs(rows[:, None] - rows[None, ::8]).sum(2)
    np.testing.assert_allclose(clf.decision_function(X), -expected, rtol=1e-5)
    np.testing.assert_array_equal(clf.predict(X), y[::8][expected.argmin(1)])
    np.testing.assert_allclose(clf.kneighbors(X, 1)[0][:, 0], expected.min(1), rtol=1e-5)
    with pytest.raises(TypeError, match="PixelComparer, which has no network"):
        clf.transform(X)
    score = one_shot_score(clf, X, y, n_way=4, n_episodes=10, random_state=0)
    assert float(score) > 0.3  # chance is 1/4


def test_with_comparer_takes_images_of_another_size(fitted, new):
    X, y = new
    clf = copy.copy(fitted)
    clf.fitted_ = clf.fitted_.with_comparer(PixelComparer())
    clf.set_support(X[::8, :12], y[::8])
    assert clf.input_shape_ == (1, 12, 16)
    with pytest.raises(ValueError, match="X has images of 16x16 pixels and 1 channel"):
        clf.predict(X)
