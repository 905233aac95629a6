"""MotorProgramClassifier: answers, programs and supports; nothing is trained."""

import copy
import functools
import inspect
import itertools
import pickle

import hypothesis
import numpy as np
import pytest
from helpers import CLOSE, make_table, unchanged
from hypothesis import strategies as st
from scipy.special import expit, softmax
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sksiamese import MotorProgramClassifier, load_pretrained
from sksiamese.datasets import load_omniglot_minimal, make_glyphs
from sksiamese.exceptions import InvertedImageError
from sksiamese.model_selection import (
    EpisodeSplit,
    make_one_shot_scorer,
    one_shot_score,
    score_runs,
)
from sksiamese.programs import Program

X, Y = make_glyphs(n_classes=6, n_samples=4, random_state=3)  # 28x28, dark on light
FIRST = slice(None, None, 4)  # one exemplar of each class


def programs(**params):
    """Return a classifier whose walks are the same in every test."""
    return MotorProgramClassifier(**{"random_state": 0, **params})


@pytest.fixture(scope="module")
def shared():
    """Fitted on one exemplar of each of six classes; copy it before you change it."""
    return programs().fit(X[FIRST], Y[FIRST])


@pytest.fixture
def clf(shared):
    return copy.copy(shared)


@functools.cache
def accuracy_on_omniglot(**params):
    """Return the accuracy on two of the official runs."""
    return float(score_runs(programs(**params), load_omniglot_minimal().runs[5:19:13]))


@pytest.fixture(scope="module")
def calibrated():
    """Calibrated on half of the drawings of three classes; copy it before you change it."""
    rows = np.flatnonzero((Y < 3) & (np.arange(len(Y)) % 2 == 0))
    return programs(unknown_label=-1, false_acceptance_rate=0.1).fit(X[rows], Y[rows])


def assert_same_programs(found, expected):
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        for name in ("points", "weights", "strokes", "substrokes", "score"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


# fit, and what it learns


def test_fit_makes_the_exemplars_the_support(clf):
    assert clf.classes_.tolist() == list(range(6))
    assert clf.input_shape_ == (1, 28, 28)
    assert clf.n_features_in_ == 784
    assert len(clf.support_) == len(clf.programs_) == 6
    assert not hasattr(clf, "rejection_threshold_")
    assert clf.score(X, Y) > 0.9  # chance is 1/6


def test_fit_and_the_methods_that_change_it_return_the_estimator(clf):
    assert clf.fit(X[FIRST], Y[FIRST]) is clf
    assert clf.set_support(X[:8], Y[:8]) is clf
    assert clf.add_support(X[8:10], Y[8:10]) is clf
    assert clf.remove_support(2) is clf
    assert clf.clear_support() is clf
    rows, labels = make_table(n_classes=3)
    assert clf.fit(rows, labels).calibrate(rows, labels) is clf


def test_classifier_answers_nothing_before_fit():
    for method in ("predict", "predict_proba", "decision_function", "score_samples", "parse"):
        with pytest.raises(NotFittedError):
            getattr(programs(), method)(X)
    for name in ("classes_", "programs_", "support_", "input_shape_", "fitted_"):
        assert not hasattr(programs(), name)


def test_init_stores_its_arguments_and_takes_them_by_keyword():
    values = {name: object() for name in MotorProgramClassifier().get_params()}
    assert vars(MotorProgramClassifier(**values)) == values
    parameters = inspect.signature(MotorProgramClassifier).parameters.values()
    assert {p.kind for p in parameters} == {inspect.Parameter.KEYWORD_ONLY}


def test_repr_shows_parameters_that_differ():
    assert repr(MotorProgramClassifier(n_walks=5)) == "MotorProgramClassifier(n_walks=5)"


def test_pickle_deepcopy_and_clone_answer_alike(clf):
    expected = clf.decision_function(X[:5])
    for again in (
        pickle.loads(pickle.dumps(clf)),
        copy.deepcopy(clf),
        clone(clf).fit(X[FIRST], Y[FIRST]),
    ):
        np.testing.assert_array_equal(again.decision_function(X[:5]), expected)
        assert again.get_params() == clf.get_params()
    assert not hasattr(clone(clf), "fitted_")


def test_set_params_after_fit_changes_how_exemplars_are_put_together(clf):
    clf.set_support(X, Y)
    largest = clf.decision_function(X[:4])
    mean = clf.set_params(aggregation="mean").decision_function(X[:4])
    assert (largest >= mean - 1e-5).all()
    assert (largest > mean + 0.1).any()


# Answers


def test_predict_returns_the_label_of_the_greatest_logit(clf):
    queries = X[::3]
    labels, logits = clf.predict(queries, return_logits=True)
    assert logits.shape == (8, 6)
    assert logits.dtype == np.float32
    np.testing.assert_array_equal(labels, clf.classes_[logits.argmax(1)])
    np.testing.assert_array_equal(labels, clf.predict(queries))
    np.testing.assert_array_equal(logits, clf.decision_function(queries))
    np.testing.assert_allclose(clf.predict_proba(queries), softmax(logits, 1), **CLOSE)
    np.testing.assert_allclose(clf.score_samples(queries), logits.max(1) - np.log(6), **CLOSE)


def test_decision_function_of_two_classes_is_the_second_logit_minus_the_first(clf):
    clf.set_support(X[[0, 4, 1]], ["a", "b", "a"])
    _, logits = clf.predict(X, return_logits=True)
    decision = clf.decision_function(X)
    np.testing.assert_array_equal(decision, logits[:, 1] - logits[:, 0])
    np.testing.assert_array_equal(clf.predict(X), np.where(decision > 0, "b", "a"))


def test_predict_returns_the_exemplars_own_labels(clf):
    np.testing.assert_array_equal(clf.predict(X[FIRST]), Y[FIRST])
    distances, indices = clf.kneighbors(X[FIRST], 1)
    np.testing.assert_array_equal(indices[:, 0], np.arange(6))
    off = clf.kneighbors(X[FIRST], 2)[0][:, 1]
    assert (distances[:, 0] < off / 3).all()


def test_kneighbors_returns_the_exemplars_of_least_cost(clf):
    exemplars, queries = X[::3], X[1::3]
    clf.set_support(exemplars, Y[::3])
    distances, indices = clf.kneighbors(queries, 8)
    assert distances.min() >= 0
    assert (np.diff(distances) >= 0).all()
    np.testing.assert_array_equal(np.sort(indices), np.tile(np.arange(8), (8, 1)))
    similarity = np.take_along_axis(clf.similarity(queries, exemplars), indices, 1)
    assert (np.diff(similarity) <= 1e-4).all()
    np.testing.assert_array_equal(Y[::3][indices[:, 0]], clf.predict(queries))
    few = clf.kneighbors(queries, 3, return_distance=False)
    np.testing.assert_array_equal(few, indices[:, :3])


def test_similarity_is_symmetric_and_the_decision_with_one_exemplar_a_class(clf):
    similarity = clf.similarity(X, X)
    np.testing.assert_allclose(similarity, similarity.T, **CLOSE)
    np.testing.assert_array_equal(similarity.argmax(1), np.arange(24))
    np.testing.assert_allclose(clf.decision_function(X), similarity[:, FIRST], **CLOSE)
    np.testing.assert_allclose(clf.similarity(X[:3], X[5:9]), similarity[:3, 5:9], **CLOSE)


def test_pair_proba_is_the_probability_of_the_diagonal_of_the_similarity(clf):
    expected = expit(np.diag(clf.similarity(X[:9], X[3:12])))
    np.testing.assert_allclose(clf.pair_proba(X[:9], X[3:12]), expected, **CLOSE)
    with pytest.raises(ValueError, match="XA has 9 samples and XB 2"):
        clf.pair_proba(X[:9], X[:2])


def test_classifier_without_support_knows_no_images(clf):
    clf.clear_support()
    for call in (clf.predict, clf.parse, lambda X: clf.similarity(X, X)):
        with pytest.raises(NotFittedError, match="Call set_support"):
            call(X)
    assert not hasattr(clf, "programs_")
    assert clf.set_support(X[FIRST], Y[FIRST]).score(X, Y) > 0.9


def test_match_assigns_the_classes_whose_logits_have_the_greatest_sum(clf):
    queries = X[[1, 5, 9, 14, 17]]
    logits, rows = clf.decision_function(queries), np.arange(5)
    best = max(itertools.permutations(range(6), 5), key=lambda p: logits[rows, list(p)].sum())
    assert clf.match(queries).tolist() == list(best)
    with pytest.raises(ValueError, match="X has 24 queries, but the support has only 6 classes"):
        clf.match(X)


@pytest.mark.parametrize("aggregation", ["mean", "max"])
def test_aggregation_makes_one_logit_of_the_exemplars_of_a_class(clf, aggregation):
    labels = np.array(list("cabcaccb"))
    clf.set_params(aggregation=aggregation).set_support(X[::3], labels)
    similarity = clf.similarity(X, X[::3])
    reduce = np.mean if aggregation == "mean" else np.max
    expected = np.stack([reduce(similarity[:, labels == c], axis=1) for c in "abc"], 1)
    np.testing.assert_allclose(clf.decision_function(X), expected, **CLOSE)


def test_aggregation_by_prototypes_is_refused(clf):
    message = "aggregation='prototype'.*'mean', 'max'"
    with pytest.raises(ValueError, match=message):
        programs(aggregation="prototype").fit(X, Y)
    clf.set_support(X, Y).set_params(aggregation="prototype")
    with pytest.raises(ValueError, match="aggregation='prototype' needs the mean of embeddings"):
        clf.predict(X)


# A program is of its drawing and random_state alone


def test_answers_do_not_depend_on_the_other_rows(clf):
    together = clf.decision_function(X)
    one_by_one = np.concatenate([clf.decision_function(x[None]) for x in X])
    twice = clf.decision_function(np.concatenate([X, X[::-1]]))
    np.testing.assert_allclose(one_by_one, together, **CLOSE)
    np.testing.assert_allclose(twice[:24], together, **CLOSE)
    np.testing.assert_allclose(twice[:23:-1], together, **CLOSE)


def test_parse_does_not_depend_on_the_other_rows(clf):
    together = clf.parse(X)
    assert_same_programs([clf.parse(x[None])[0] for x in X], together)
    assert_same_programs(clf.parse(X[::-1])[::-1], together)


def test_programs_are_those_of_parse_in_the_order_of_the_exemplars(clf):
    assert_same_programs(clf.programs_, clf.parse(X[FIRST]))
    clf.add_support(X[1:3], Y[1:3])
    assert_same_programs(clf.programs_, clf.parse(np.concatenate([X[FIRST], X[1:3]])))
    clf.remove_support([0, 2])
    assert_same_programs(clf.programs_, clf.parse(X[FIRST][[1, 3, 4, 5]]))
    assert {type(program) for program in clf.programs_} == {Program}


def test_random_state_makes_the_programs(clf):
    again = programs().fit(X[FIRST], Y[FIRST])
    assert_same_programs(again.parse(X), clf.parse(X))
    others = programs(random_state=1, n_walks=3).fit(X[FIRST], Y[FIRST]).parse(X)
    few = programs(n_walks=3).fit(X[FIRST], Y[FIRST]).parse(X)
    assert any(not np.array_equal(a.points, b.points) for a, b in zip(others, few, strict=True))


def test_random_state_none_makes_one_fitted_classifier_answer_alike():
    clf = programs(random_state=None).fit(X[FIRST], Y[FIRST])
    np.testing.assert_array_equal(clf.decision_function(X), clf.decision_function(X))
    assert_same_programs(clf.parse(X), clf.parse(X))
    before = clf.parse(X[:1])
    assert_same_programs(clf.set_support(X[::2], Y[::2]).parse(X[:1]), before)


def test_random_state_takes_a_generator_which_fit_moves():
    generator = np.random.RandomState(0)
    fits = [programs(random_state=generator).fit(X[FIRST], Y[FIRST]) for _ in range(2)]
    again = programs(random_state=np.random.RandomState(0)).fit(X[FIRST], Y[FIRST])
    assert_same_programs(again.parse(X), fits[0].parse(X))
    assert fits[0].fitted_.comparer.seed != fits[1].fitted_.comparer.seed


def test_random_state_is_restored_if_fit_fails():
    generator = np.random.RandomState(0)
    before = generator.get_state()[1].copy(), generator.get_state()[2]
    with pytest.raises(ValueError, match="y has 3 values"):
        programs(random_state=generator).fit(X, Y[:3])
    np.testing.assert_array_equal(generator.get_state()[1], before[0])
    assert generator.get_state()[2] == before[1]


def test_classifier_moves_no_global_generator():
    before = np.random.get_state()  # noqa: NPY002
    programs(random_state=None).fit(X[FIRST], Y[FIRST]).predict(X[:3])
    rows, labels = make_table(n_classes=3)
    programs(random_state=None, unknown_label=-1).fit(rows, labels).predict(rows[:3])
    after = np.random.get_state()  # noqa: NPY002
    np.testing.assert_array_equal(after[1], before[1])
    assert after[2:] == before[2:]


# Images of any size, polarity, dtype and channels


@pytest.mark.parametrize("size", [8, 28, 105])
def test_fit_and_predict_take_images_of_any_size(size):
    images, labels = make_glyphs(n_classes=6, n_samples=2, image_size=size, random_state=3)
    clf = programs().fit(images[::2], labels[::2])
    assert clf.score(images, labels) > 0.75


@pytest.mark.parametrize("shape", [(64, 48), (300, 200)])
def test_fit_and_predict_take_images_that_are_not_square(shape):
    side = min(shape)
    images, labels = make_glyphs(n_classes=6, n_samples=2, image_size=side, random_state=3)
    height, width = (n - side for n in shape)
    margins = ((0, 0), (height // 3, height - height // 3), (0, width))
    wide = np.pad(images, margins, constant_values=255)
    clf = programs().fit(wide[::2], labels[::2])
    assert clf.input_shape_ == (1, *shape)
    assert clf.score(wide, labels) > 0.9
    square = programs().fit(images[::2], labels[::2])
    np.testing.assert_array_equal(clf.predict(wide), square.predict(images))


@pytest.mark.parametrize(
    "change",
    [
        lambda X: 255 - X,
        lambda X: X.astype(np.float32),
        lambda X: X / 255.0,
        lambda X: X.astype(np.int64) - 1000,
        lambda X: np.stack([X, X, X], axis=-1),
        lambda X: np.stack([X, X, X], axis=1),
        lambda X: X[..., None],
    ],
    ids=["inverted", "float", "0 to 1", "offset", "last", "first", "one channel"],
)
def test_programs_do_not_depend_on_how_images_are_coded(clf, change):
    others = programs().fit(change(X[FIRST]), Y[FIRST])
    assert_same_programs(others.parse(change(X)), clf.parse(X))


def test_colours_are_averaged(clf):
    yellow = np.stack([np.full_like(X, 255), X, X], axis=-1)
    assert programs().fit(yellow[FIRST], Y[FIRST]).score(yellow, Y) > 0.9
    assert clf.set_support(yellow[FIRST], Y[FIRST]).input_shape_ == (3, 28, 28)
    on_black = np.stack([255 - X, np.zeros_like(X), np.zeros_like(X)], axis=1)
    on_black[1::2] = on_black[1::2, [2, 1, 0]]  # every other one in blue instead of red
    assert programs().fit(on_black[FIRST], Y[FIRST]).score(on_black, Y) > 0.9


def test_fit_and_predict_take_booleans():
    for images in (X < 128, X >= 128):
        assert programs().fit(images[FIRST], Y[FIRST]).score(images, Y) > 0.9


def test_image_shape_makes_images_of_flat_rows(clf):
    rows = X.reshape(len(X), -1)
    flat = programs(image_shape=(28, 28)).fit(rows[FIRST], Y[FIRST])
    np.testing.assert_array_equal(flat.decision_function(rows), clf.decision_function(X))
    assert flat.n_features_in_ == 784


def test_fit_detects_polarity_and_predict_refuses_the_other():
    pretrained = load_pretrained("omniglot").set_support(X[FIRST], Y[FIRST])
    for estimator in (pretrained, programs().fit(X[FIRST], Y[FIRST])):
        with pytest.raises(InvertedImageError, match=r"X\[0\] appears to have inverted polarity"):
            estimator.predict(255 - X)


def test_set_support_detects_size_and_polarity_again(clf):
    other = np.pad(255 - X, ((0, 0), (3, 9), (5, 2)))
    np.testing.assert_array_equal(
        clf.set_support(other[FIRST], Y[FIRST]).predict(other),
        programs().fit(X[FIRST], Y[FIRST]).predict(X),
    )
    assert clf.input_shape_ == (1, 40, 35)
    with pytest.raises(ValueError, match="X has images of 28x28 pixels and 1 channel"):
        clf.predict(X)


def test_rows_without_image_shape_are_curves():
    rows, labels = load_iris(return_X_y=True)
    clf = programs().fit(rows[::10], labels[::10])
    assert clf.score(rows, labels) > 0.7
    assert {program.n_strokes for program in clf.programs_} == {1}
    np.testing.assert_array_equal(clf.predict(rows[::10]), labels[::10])
    with pytest.raises(ValueError, match="X has 3 features, but .* is expecting 4"):
        clf.predict(rows[:, :3])


def test_rows_of_one_value_are_told_apart():
    rows = np.array([[-1.0], [0.0], [2.0]])
    clf = programs().fit(rows, list("abc"))
    assert clf.predict([[-1.2], [0.1], [1.7], [50.0]]).tolist() == list("abcc")


# Odd drawings


def odd_drawings():
    rows, columns = np.mgrid[:105, :105]
    radius = np.hypot(rows - 52, columns - 52)
    noise = np.random.default_rng(0)
    return {
        "blank": np.zeros((105, 105), bool),
        "full": np.ones((105, 105), bool),
        "pixel": (rows == 50) & (columns == 50),
        "dot": radius < 4,
        "ring": abs(radius - 30) < 2,
        "square": (abs(rows - 52) < 30) & (abs(columns - 52) < 30),
        "checkerboard": (rows // 8 + columns // 8) % 2 == 0,
        "fine checkerboard": (rows + columns) % 2 == 0,
        "stripes": rows // 4 % 2 == 0,
        "line": rows == 52,
        "noise 1 %": noise.random((105, 105)) < 0.01,
        "noise 5 %": noise.random((105, 105)) < 0.05,
        "noise 30 %": noise.random((105, 105)) < 0.3,
        "noise 50 %": noise.random((105, 105)) < 0.5,
    }


ODD = odd_drawings()


@pytest.mark.filterwarnings("ignore::sksiamese.exceptions.BlankImageWarning")
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("model", ["programs", "simple_strokes", "affine"])
def test_odd_drawings_have_finite_logits_with_each_other(model):
    drawings = np.stack(list(ODD.values()))
    # Whatever most of them look like, the margin says which pixels are background.
    drawings = np.pad(drawings, ((0, 0), (20, 20), (20, 20)))
    clf = programs(model=model, n_walks=5).fit(drawings, np.arange(len(drawings)))
    labels, logits = clf.predict(drawings, return_logits=True)
    assert np.isfinite(logits).all()
    assert np.isfinite(clf.predict_proba(drawings)).all()
    alike = [list(ODD).index(name) for name in ("ring", "stripes", "line", "checkerboard")]
    np.testing.assert_array_equal(labels[alike], alike)


@pytest.mark.filterwarnings("ignore::sksiamese.exceptions.BlankImageWarning")
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", [name for name in ODD if name not in ("blank", "full")])
def test_odd_drawing_alone_has_a_small_program(name):
    drawing = np.where(ODD[name], 0, 255).astype(np.uint8)[None]
    for params in ({}, {"primitives": False}, {"model": "simple_strokes"}):
        clf = programs(**params).fit(drawing, [0])
        (program,) = clf.programs_
        assert 1 <= program.n_strokes <= program.n_substrokes <= 16
        assert len(program.points) <= 64
        assert np.isfinite(program.points).all()
        assert (program.points > -5).all()
        assert (program.points < 110).all()
        assert (program.weights > 0).all()
        assert np.isfinite(clf.decision_function(drawing)).all()


@pytest.mark.filterwarnings("ignore::sksiamese.exceptions.BlankImageWarning")
@hypothesis.given(st.integers(0, 2**32 - 1), st.floats(0.0, 1.0), st.sampled_from([8, 19, 40]))
@hypothesis.settings(max_examples=25, deadline=None, derandomize=True)
def test_random_drawings_have_finite_logits(seed, density, size):
    rng = np.random.default_rng(seed)
    drawings = rng.random((2, size, size)) < density
    hypothesis.assume(drawings.any())  # blank exemplars are refused
    drawings = np.pad(drawings, ((0, 0), (size, size), (size, size)))
    clf = programs(n_walks=3).fit(drawings, [0, 1])
    assert np.isfinite(clf.decision_function(drawings)).all()
    assert all(len(program.points) <= 64 for program in clf.programs_)


# Supports


def test_set_support_needs_no_fit():
    clf = programs()
    assert clf.set_support(X[FIRST], Y[FIRST]) is clf
    expected = programs().fit(X[FIRST], Y[FIRST]).decision_function(X)
    np.testing.assert_array_equal(clf.decision_function(X), expected)


@pytest.mark.parametrize(
    "labels",
    [list("abcdef"), np.array(list("abcdef"), dtype=object), np.arange(6.0), range(6)],
    ids=["str", "object", "float", "int"],
)
def test_set_support_keeps_the_type_of_labels(clf, labels):
    clf.set_support(X[FIRST], labels)
    assert clf.predict(X[FIRST]).tolist() == list(labels)
    assert clf.classes_.dtype == np.asarray(labels).dtype


def test_add_support_and_remove_support_equal_set_support(clf):
    rows = [0, 4, 8, 12, 16, 20, 1, 9]
    once = programs().fit(X[rows], Y[rows]).remove_support([3, 5])
    clf.add_support(X[[1, 9]], Y[[1, 9]]).remove_support(3).remove_support(5)
    assert clf.support_.labels.tolist() == once.support_.labels.tolist()
    np.testing.assert_allclose(clf.decision_function(X), once.decision_function(X), **CLOSE)
    clf.remove_support(clf.classes_)
    assert not hasattr(clf, "classes_")
    clf.add_support(X[FIRST], Y[FIRST])
    assert clf.classes_.tolist() == list(range(6))


def test_more_exemplars_make_better_answers():
    images, labels = make_glyphs(n_classes=12, n_samples=6, image_size=8, random_state=1)
    sample = np.arange(len(labels)) % 6
    one, four = (
        programs(primitives=False)
        .fit(images[sample < n_shot], labels[sample < n_shot])
        .score(images[sample > 3], labels[sample > 3])
        for n_shot in (1, 4)
    )
    assert four > one > 0.3  # chance is 1/12


def test_unknown_label_is_returned_for_classes_outside_the_support(calibrated):
    clf, threshold = copy.copy(calibrated), calibrated.rejection_threshold_
    images, labels = X[Y > 2], Y[Y > 2]
    clf.set_support(images[:8:4], labels[:8:4])
    assert clf.rejection_threshold_ == threshold
    answers = clf.predict(images)
    assert (answers[:8] == labels[:8]).mean() > 0.7
    assert (answers[8:] == -1).mean() > 0.7
    np.testing.assert_array_equal(answers == -1, clf.score_samples(images) < threshold)


def test_predict_set_contains_the_right_class_and_grows_with_coverage(calibrated):
    images, labels = X[Y > 2], Y[Y > 2]
    clf = copy.copy(calibrated).set_support(images[::4], labels[::4])  # three classes calibrated
    sets = [clf.predict_set(images, coverage) for coverage in (0.3, 0.6, 0.8)]
    own = labels[:, None] == clf.classes_
    assert [found.shape for found in sets] == [own.shape] * 3
    assert (sets[0] <= sets[1]).all()
    assert 0 < sets[0].sum() <= sets[1].sum() < sets[2].sum() == own.size  # 0.8 exceeds 3 / 4
    assert sets[1][own].mean() > 0.5 > sets[1][~own].mean()


def test_predict_set_refuses_other_coverage_and_needs_calibration(calibrated, clf):
    with pytest.raises(ValueError, match="coverage"):
        calibrated.predict_set(X[:4], coverage=1.0)
    with unchanged(clf), pytest.raises(NotFittedError, match="predict_set needs calibration"):
        clf.predict_set(X[:4])


def test_unknown_label_makes_fit_calibrate_probabilities(calibrated):
    images, labels = X[Y > 2], Y[Y > 2]
    i, j = np.triu_indices(12, 1)
    probability = calibrated.pair_proba(images[i], images[j])
    assert probability[labels[i] == labels[j]].mean() > 0.7
    assert probability[labels[i] != labels[j]].mean() < 0.3


def test_calibrate_equals_fit_with_unknown_label_and_keeps_the_support():
    rows, labels = make_table(n_classes=6)
    fitted = programs(unknown_label=-1).fit(rows, labels)
    clf = programs().fit(rows[::10], labels[::10])
    before = clf.support_
    clf.calibrate(rows, labels)
    assert clf.support_ is before
    assert clf.rejection_threshold_ == fitted.rejection_threshold_
    assert clf.fitted_.calibration == fitted.fitted_.calibration


def test_calibrate_compares_classes_inside_groups():
    rows, labels = make_table(n_classes=6)
    clf = programs().calibrate(rows, labels, labels % 2)
    assert clf.rejection_threshold_ != programs().calibrate(rows, labels).rejection_threshold_


def test_unknown_label_needs_calibration_and_is_no_class(clf):
    clf.set_params(unknown_label=-1)
    with pytest.raises(NotFittedError, match="unknown_label=-1 needs rejection_threshold_"):
        clf.predict(X)
    clf.set_params(unknown_label=3)
    with unchanged(clf), pytest.raises(ValueError, match="unknown_label=3 is also the label"):
        clf.set_support(X[FIRST], Y[FIRST])


def test_calibrate_needs_no_fit():
    rows, labels = make_table(n_classes=6)
    clf = programs(unknown_label=-1).calibrate(rows[:30], labels[:30])
    clf.set_support(rows[30::10], labels[30::10])
    assert (clf.predict(rows[30:]) == labels[30:]).mean() > 0.5
    assert (clf.predict(rows[:30]) == -1).mean() > 0.5


# One-shot trials and scikit-learn's tools


@pytest.mark.parametrize("aggregation", ["mean", "max"])
def test_trial_function_scores_as_a_support_of_these_rows_does(clf, aggregation):
    images = X < 128  # of which any few make the same input scaling
    clf.set_params(aggregation=aggregation)
    trial = clf.trial_function(images)
    for support, query in (([20, 0, 8, 1], [3, 23]), ([9, 17], [10, 11, 12])):
        logits, classes = trial(support, query, Y[support])
        expected = copy.copy(clf).set_support(images[support], Y[support])
        assert classes.tolist() == expected.classes_.tolist()
        of_predict = expected.predict(images[query], return_logits=True)[1]
        np.testing.assert_allclose(logits, of_predict, **CLOSE)


def test_trial_function_needs_no_fit_and_changes_nothing(clf):
    logits, _ = programs().trial_function(X)([0, 4], [1, 5], Y[[0, 4]])
    with unchanged(clf):
        np.testing.assert_allclose(
            clf.trial_function(X)([0, 4], [1, 5], Y[[0, 4]])[0], logits, **CLOSE
        )


def test_one_shot_score_of_generated_characters():
    score = one_shot_score(programs(), X, Y, n_way=5, n_episodes=20, random_state=0)
    assert float(score) > 0.85


@pytest.mark.parametrize("params", [{}, {"primitives": False}], ids=str)
def test_score_runs_of_omniglot(params):
    assert accuracy_on_omniglot(**params) > 0.85


@pytest.mark.parametrize("model", ["simple_strokes", "affine"])
def test_model_of_programs_is_no_worse_than_its_ablations(model):
    assert accuracy_on_omniglot() >= accuracy_on_omniglot(model=model) > 0.6


def test_cross_val_score_over_classes_and_samples():
    trials = EpisodeSplit(n_way=5, n_episodes=3, random_state=0)
    assert cross_val_score(programs(), X, Y, cv=trials).mean() > 0.8
    assert cross_val_score(programs(), X, Y, cv=2).mean() > 0.8
    scorer = make_one_shot_scorer(n_way=3, n_episodes=10)
    assert cross_val_score(programs(), X, Y, cv=2, scoring=scorer).mean() > 0.8


def test_grid_search_over_the_model():
    grid = {"model": ["programs", "affine"]}
    images, labels = X[::2], Y[::2]
    search = GridSearchCV(programs(primitives=False), grid, cv=2, error_score="raise").fit(
        images, labels
    )
    scores = [
        cross_val_score(programs(model=model, primitives=False), images, labels, cv=2).mean()
        for model in grid["model"]
    ]
    np.testing.assert_allclose(search.cv_results_["mean_test_score"], scores)
    best = programs(primitives=False, **search.best_params_).fit(images, labels)
    np.testing.assert_array_equal(search.predict(X), best.predict(X))


def test_pipeline_ends_in_a_classifier(clf):
    pipeline = make_pipeline(FunctionTransformer(lambda X: 255 - X), programs())
    pipeline.fit(X[FIRST], Y[FIRST])
    np.testing.assert_array_equal(pipeline.predict(X), clf.predict(X))


# What cannot be used


BAD_PARAMS = {
    "model": ["bpl", None, 1],
    "primitives": ["yes", None, 2],
    "n_walks": [0, -1, 2.5, "many", None, True],
    "image_shape": [(28,), "28x28", (28, 0), 5],
    "channels": ["middle", None],
    "aggregation": ["median", None],
    "false_acceptance_rate": [0, 1, "low", None],
    "n_jobs": ["all", 1.5],
    "random_state": [-1, "seed", 1.5],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name in BAD_PARAMS for value in BAD_PARAMS[name]]
)
def test_fit_raises_for_a_bad_parameter(clf, name, value):
    clf.set_params(**{name: value})
    with unchanged(clf), pytest.raises((ValueError, TypeError), match=name):
        clf.fit(X, Y)
    with pytest.raises((ValueError, TypeError), match=name):
        clone(clf).fit(X, Y)


# name: (arguments of fit and of set_support, message)
BAD_FITS = {
    "X is None": (lambda: (None, Y), "X is None; expected an array"),
    "X has NaN": (lambda: (np.where(X == 0, np.nan, X), Y), "X contains NaN"),
    "X is empty": (lambda: (X[:0], Y[:0]), "X has no samples"),
    "y is None": (lambda: (X, None), "requires y to be passed"),
    "y is shorter": (lambda: (X, Y[:3]), "y has 3 values for 24 samples in X"),
    "y is continuous": (lambda: (X, Y + 0.1), "continuous"),
    "images of several sizes": (lambda: ([X[0], X[1, :9]], Y[:2]), "items of different shapes"),
    "ambiguous channels": (lambda: (np.stack([X, X], -1), Y), "Set channels='first'"),
}


@pytest.mark.parametrize("method", ["fit", "set_support", "add_support"])
@pytest.mark.parametrize("name", BAD_FITS)
def test_fit_set_support_and_add_support_refuse_bad_input(clf, name, method):
    arguments, message = BAD_FITS[name]
    with unchanged(clf), pytest.raises((ValueError, TypeError), match=message):
        getattr(clf, method)(*arguments())


METHODS = {
    "predict": lambda clf, X: clf.predict(X),
    "predict_proba": lambda clf, X: clf.predict_proba(X),
    "decision_function": lambda clf, X: clf.decision_function(X),
    "score_samples": lambda clf, X: clf.score_samples(X),
    "match": lambda clf, X: clf.match(X),
    "kneighbors": lambda clf, X: clf.kneighbors(X),
    "parse": lambda clf, X: clf.parse(X),
    "similarity": lambda clf, X: clf.similarity(X, X),
    "pair_proba": lambda clf, X: clf.pair_proba(X, X),
    "add_support": lambda clf, X: clf.add_support(X, np.zeros(len(X), int)),
}


@pytest.mark.parametrize("method", METHODS)
def test_methods_refuse_images_of_another_shape(clf, method):
    call = METHODS[method]
    message = "X has images of 20x28 pixels and 1 channel, .*fitted on images of 28x28"
    with unchanged(clf), pytest.raises(ValueError, match=message):
        call(clf, X[:4, :20])
    with unchanged(clf), pytest.raises(ValueError, match="X has flat rows of 784 features"):
        call(clf, X[:4].reshape(4, -1))
    with unchanged(clf), pytest.raises(InvertedImageError, match=r"XA?\[0\]"):
        call(clf, 255 - X[:4])


def test_remove_support_refuses_labels_that_it_does_not_have(clf):
    with unchanged(clf), pytest.raises(ValueError, match=r"labels=\[9\] are not in the support"):
        clf.remove_support([0, 9])


def test_calibrate_refuses_labels_of_which_no_trials_can_be_made(clf):
    with unchanged(clf), pytest.raises(ValueError, match="y has only one class"):
        clf.calibrate(X, np.zeros(24, int))
    rows, labels = np.eye(2)[[0, 1, 0, 1]], [0, 0, 1, 1]
    clf.fit(rows, labels)
    with unchanged(clf), pytest.raises(ValueError, match="y cannot calibrate"):
        clf.calibrate(rows, labels)


def test_kneighbors_refuses_more_neighbors_than_exemplars(clf):
    with pytest.raises(ValueError, match="n_neighbors=7 exceeds the 6 exemplars"):
        clf.kneighbors(X, 7)


def test_learned_attributes_cannot_be_set(clf):
    for name in ("programs_", "classes_", "support_"):
        with pytest.raises(AttributeError, match=f"'{name}' of MotorProgramClassifier is learned"):
            setattr(clf, name, [])
