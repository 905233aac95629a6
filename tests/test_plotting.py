"""Displays: what they compute, what they draw, and what they refuse."""

import copy
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sksiamese import (
    FrozenTwinClassifier,
    MotorProgramClassifier,
    SiameseOneShotClassifier,
    SiameseVerifier,
    load_pretrained,
)
from sksiamese.comparers import ModifiedHausdorff
from sksiamese.datasets import load_omniglot_minimal
from sksiamese.model_selection import one_shot_score
from sksiamese.plotting import (
    EpisodeAccuracyDisplay,
    MatchDisplay,
    MotorProgramDisplay,
    NeighborsDisplay,
    OneShotTrialDisplay,
    SimilarityDisplay,
    ThresholdDisplay,
    TrainingCurveDisplay,
)
from sksiamese.programs import Program

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("agg")
plt = pytest.importorskip("matplotlib.pyplot")

WITHOUT_ACCURACY = {"train_loss": 1.0}
WITH_ACCURACY = {"train_loss": 1.0, "one_shot_accuracy": 0.5}


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


@pytest.fixture
def new(glyphs):
    """(X, y) of classes that `fitted` was not trained on."""
    X, y = glyphs
    return X[y >= 10], y[y >= 10]


class PixelComparer:
    """Compares samples by the mean absolute difference of their values."""

    def embed(self, store, rows=None, *, check=True):
        rows = np.arange(len(store)) if rows is None else rows
        return store.take(rows).numpy().reshape(len(rows), -1)

    def distances(self, a, b):
        return np.abs(a[:, None] - b).mean(axis=2, dtype=np.float32)

    def logits(self, a, b):
        return 1 - self.distances(a, b)

    def pair_logits(self, a, b):
        return 1 - np.abs(a - b).mean(axis=1, dtype=np.float32)


@pytest.fixture
def pixel_classifier(fitted):
    """A function that returns a classifier by pixels, for images of any shape."""

    def make(input_shape, channels="auto"):
        clf = SiameseOneShotClassifier(channels=channels)
        clf.fitted_ = replace(
            fitted.fitted_, comparer=PixelComparer(), input_shape=input_shape, support=None
        )
        return clf

    return make


def texts(ax):
    return [text.get_text() for text in ax.texts]


def rendered(display):
    """Render the display, and return it if there is something to see."""
    display.figure_.canvas.draw()
    pixels = np.asarray(display.figure_.canvas.buffer_rgba())[..., :3]
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 10
    return display


def shown_query(estimator, image):
    """Return the values of a query as they are drawn, from 0 to 1."""
    display = OneShotTrialDisplay.from_estimator(estimator, image[None], ["a"], image)
    drawn = rendered(display).ax_.images[0]
    assert drawn.get_clim() == (0, 1)
    return np.asarray(drawn.get_array())


def test_one_shot_trial_display_shows_every_class_with_its_probability(fitted, new):
    X, y = new
    before = fitted.support_
    display = OneShotTrialDisplay.from_estimator(fitted, X[::8], y[::8], X[9], y[9])
    expected = copy.copy(fitted).set_support(X[::8], y[::8]).predict_proba(X[9:10])[0]
    np.testing.assert_array_equal(display.probabilities, expected)
    shown = texts(rendered(display).ax_)
    assert shown == ["query: 11"] + [f"{10 + n}: {p:.0%}" for n, p in enumerate(expected)]
    assert len(display.ax_.images) == 7
    assert fitted.support_ is before


def test_one_shot_trial_display_shows_the_first_exemplar_of_each_class(fitted, new):
    X, y = new
    display = OneShotTrialDisplay.from_estimator(fitted, X[:24], y[:24], X[9])
    np.testing.assert_array_equal(display.supports, X[:24:8])


def test_one_shot_trial_display_shows_gray_images_as_they_are(fitted, new):
    X, y = new
    white = np.full_like(X[0], 255)
    display = OneShotTrialDisplay(
        query=X[0], supports=np.stack([X[1], white]), classes=[0, 1], probabilities=[0.5, 0.5]
    ).plot()
    for drawn, image in zip(rendered(display).ax_.images, (X[0], X[1], white), strict=True):
        np.testing.assert_allclose(drawn.get_array(), image / 255)
        assert drawn.get_clim() == (0, 1)
        assert drawn.get_cmap()(1.0) == (1, 1, 1, 1)


def test_one_shot_trial_display_colours_wrong_answers_differently():
    def colour_of_best(true_label):
        display = OneShotTrialDisplay(
            query=np.eye(4),
            supports=np.stack([np.eye(4)] * 2),
            classes=np.array(["a", "b"]),
            probabilities=np.array([0.25, 0.75]),
            true_label=true_label,
        ).plot()
        return display.ax_.texts[2].get_color()

    assert colour_of_best("b") == colour_of_best(None) != colour_of_best("a")


def test_one_shot_trial_display_shows_colour_images():
    image = np.random.default_rng(0).random((8, 6, 3))
    display = OneShotTrialDisplay(
        query=image,
        supports=np.stack([image] * 2),
        classes=np.array(["a", "b"]),
        probabilities=np.array([0.25, 0.75]),
    ).plot()
    assert texts(rendered(display).ax_) == ["query", "a: 25%", "b: 75%"]
    np.testing.assert_allclose(display.ax_.images[0].get_array(), image)


@pytest.mark.parametrize("channels", ["first", "last"])
def test_one_shot_trial_display_takes_channels_from_the_estimator(pixel_classifier, channels):
    image = np.arange(16 * 12 * 12).reshape(16, 12, 12) / 2304
    shape, axis = ((16, 12, 12), 0) if channels == "first" else ((12, 16, 12), 2)
    shown = shown_query(pixel_classifier(shape, channels), image)
    np.testing.assert_allclose(shown, image.mean(axis=axis))


def test_one_shot_trial_display_finds_the_channels_of_what_a_pipeline_takes(pixel_classifier):
    image = np.random.default_rng(0).random((5, 8, 6))
    average = FunctionTransformer(np.mean, kw_args={"axis": 1})
    pipeline = make_pipeline(average, pixel_classifier((1, 8, 6)))
    np.testing.assert_allclose(shown_query(pipeline, image), image.mean(axis=0))


@pytest.mark.parametrize("channels", ["first", "last"])
@pytest.mark.parametrize("highest", [1.0, 255.0, 65535.0])
def test_one_shot_trial_display_keeps_proportions_of_colours(pixel_classifier, highest, channels):
    image = np.linspace(0, 1, 8 * 6 * 3).reshape(8, 6, 3)
    given = highest * (image if channels == "last" else np.moveaxis(image, 2, 0))
    shown = shown_query(pixel_classifier((3, 8, 6), channels), given)
    np.testing.assert_allclose(shown, image, atol=1e-12)


def test_one_shot_trial_display_scales_negative_and_integer_colours(pixel_classifier):
    image = np.linspace(0, 1, 8 * 6 * 3).reshape(8, 6, 3)
    clf = pixel_classifier((3, 8, 6), "last")
    np.testing.assert_allclose(shown_query(clf, 4 * image - 2), image, atol=1e-12)
    np.testing.assert_array_equal(shown_query(clf, (image > 0.5).astype(int)), image > 0.5)
    as_bytes = (255 * image).astype(np.uint8)
    np.testing.assert_allclose(shown_query(clf, as_bytes), as_bytes / 255)


@pytest.mark.parametrize("n_channels", [1, 2, 5])
@pytest.mark.parametrize("channels", ["first", "last"])
def test_one_shot_trial_display_averages_other_channels(pixel_classifier, n_channels, channels):
    image = np.random.default_rng(0).random((8, 6, n_channels))
    given = image if channels == "last" else np.moveaxis(image, 2, 0)
    shown = shown_query(pixel_classifier((n_channels, 8, 6), channels), given)
    np.testing.assert_allclose(shown, image.mean(axis=2))


def test_one_shot_trial_display_refuses_flat_rows(fitted, new):
    X, y = new
    clf = copy.copy(fitted).set_params(image_shape=(16, 16))
    with pytest.raises(ValueError, match=r"an image has shape \(256,\); expected"):
        OneShotTrialDisplay.from_estimator(clf, X[::8], y[::8], X[0].ravel())


def test_one_shot_trial_display_asks_frozen_classifiers_like_classifiers(fitted, new):
    X, y = new
    frozen = FrozenTwinClassifier(fitted).fit(X[:2], y[:2])
    display = OneShotTrialDisplay.from_estimator(frozen, X[::8], y[::8], X[9])
    expected = OneShotTrialDisplay.from_estimator(fitted, X[::8], y[::8], X[9])
    np.testing.assert_array_equal(display.probabilities, expected.probabilities)
    assert frozen.classes_.tolist() == [10]


def test_neighbors_display_shows_distances_and_labels(fitted, new):
    X, y = new
    display = NeighborsDisplay.from_estimator(fitted, X[::8], y[::8], X[1:4], n_neighbors=3)
    twin = copy.copy(fitted).set_support(X[::8], y[::8])
    distances, rows = twin.kneighbors(X[1:4], 3)
    np.testing.assert_array_equal(display.distances, distances)
    np.testing.assert_array_equal(display.labels, y[::8][rows])
    np.testing.assert_array_equal(display.neighbors, X[::8][rows])
    assert len(rendered(display).ax_.images) == 3 * 4


def test_neighbors_display_shows_five_or_all_exemplars(fitted, new):
    X, y = new
    display = NeighborsDisplay.from_estimator(fitted, X[:24:8], y[:24:8], X[1:3])
    assert display.distances.shape == (2, 3)
    assert NeighborsDisplay.from_estimator(fitted, X[:9], y[:9], X).distances.shape == (len(X), 5)
    with pytest.raises(ValueError, match="n_neighbors=5 .* 3 exemplars"):
        NeighborsDisplay.from_estimator(fitted, X[:24:8], y[:24:8], X[1:3], n_neighbors=5)


def test_neighbors_display_takes_labels_as_a_column(fitted, new):
    X, y = new
    display = NeighborsDisplay.from_estimator(fitted, X[::8], y[::8, None], X[1:3])
    expected = NeighborsDisplay.from_estimator(fitted, X[::8], y[::8], X[1:3])
    np.testing.assert_array_equal(display.labels, expected.labels)


def test_neighbors_display_transforms_images_by_a_pipeline(fitted, new):
    X, y = new
    pipeline = make_pipeline(FunctionTransformer(np.rot90, kw_args={"axes": (1, 2)}), fitted)
    display = NeighborsDisplay.from_estimator(pipeline, X[::8], y[::8], X[1:4])
    rotated = np.rot90(X, axes=(1, 2))
    expected = NeighborsDisplay.from_estimator(fitted, rotated[::8], y[::8], rotated[1:4])
    np.testing.assert_array_equal(display.distances, expected.distances)
    np.testing.assert_array_equal(display.queries, X[1:4])


def test_neighbors_display_takes_any_comparer(pixel_classifier, new):
    X, y = new
    clf = pixel_classifier((1, 16, 16))
    display = rendered(NeighborsDisplay.from_estimator(clf, X[::8], y[::8], X[1:4]))
    pixels = X.reshape(len(X), -1)
    nearest = KNeighborsClassifier(1, metric="cityblock").fit(pixels[::8], y[::8])
    np.testing.assert_array_equal(display.labels[:, 0], nearest.predict(pixels[1:4]))


def test_training_curve_display_shows_the_history(fitted):
    display = rendered(TrainingCurveDisplay.from_estimator(fitted))
    losses = display.ax_.lines[0].get_ydata()
    assert losses.tolist() == [row["train_loss"] for row in fitted.history_[0]]
    assert len(losses) == fitted.n_iter_
    assert len(display.figure_.axes) == 1
    assert display.ax_.get_legend() is None


def test_training_curve_display_shows_the_accuracy(fitted):
    display = rendered(TrainingCurveDisplay(history=[[WITH_ACCURACY] * 3]).plot())
    assert display.figure_.axes[1].lines[0].get_ydata().tolist() == [0.5] * 3


def test_training_curve_display_shows_one_line_per_network():
    history = [[{"train_loss": 0.5}] * 2, [{"train_loss": 0.4}] * 3]
    display = rendered(TrainingCurveDisplay(history=history).plot())
    shown = [line.get_ydata().tolist() for line in display.ax_.lines]
    assert shown == [[0.5] * 2, [0.4] * 3]
    names = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert names == ["network 1", "network 2"]
    both = TrainingCurveDisplay(history=[[WITH_ACCURACY] * 2, [WITH_ACCURACY] * 3]).plot()
    assert len(both.figure_.axes) == 2
    assert [len(line.get_ydata()) for line in both.figure_.axes[1].lines] == [2, 3]


@pytest.mark.parametrize(
    ("rows", "epochs"),
    [
        ([WITH_ACCURACY, WITH_ACCURACY, WITHOUT_ACCURACY], [1, 2]),
        ([WITHOUT_ACCURACY, WITH_ACCURACY, WITH_ACCURACY], [2, 3]),
    ],
)
def test_training_curve_display_leaves_a_gap_at_epochs_without_accuracy(rows, epochs):
    display = rendered(TrainingCurveDisplay(history=[rows]).plot())
    x, accuracy = display.figure_.axes[1].lines[0].get_data()
    assert x[~np.isnan(accuracy)].tolist() == epochs


def test_training_curve_display_takes_a_verifier(fitted):
    display = TrainingCurveDisplay.from_estimator(SiameseVerifier.from_classifier(fitted))
    assert display.history == fitted.history_


def test_training_curve_display_draws_into_given_axes(fitted):
    _, ax = plt.subplots()
    assert TrainingCurveDisplay.from_estimator(fitted, ax=ax).ax_ is ax


def test_threshold_display_shows_the_threshold_of_the_verifier(fitted, new):
    X, labels = new
    pairs = np.random.default_rng(0).integers(len(X), size=(200, 2))
    y = (labels[pairs[:, 0]] == labels[pairs[:, 1]]).astype(int)
    verifier = SiameseVerifier.from_classifier(fitted, preprocessor=X)
    verifier.calibrate_threshold(pairs, y)
    display = rendered(ThresholdDisplay.from_estimator(verifier, pairs, y))
    assert display.ax_.lines[0].get_xdata()[0] == verifier.decision_threshold_ != 0
    np.testing.assert_array_equal(display.scores, verifier.decision_function(pairs))
    counts = [sum(patch.get_height() for patch in bars) for bars in display.ax_.containers]
    assert counts == [(y == 0).sum(), (y == 1).sum()]


def test_threshold_display_marks_the_rates_of_the_threshold():
    y, scores = [0, 0, 0, 0, 1, 1], [-3.0, -2.0, -1.0, 2.0, 0.5, 3.0]
    display = rendered(ThresholdDisplay.from_predictions(y, scores, threshold=1.0))
    (inset,) = display.ax_.child_axes
    assert inset.lines[1].get_xydata().tolist() == [[0.25, 0.5]]


def test_threshold_display_accepts_minus_one_for_different():
    scores = np.linspace(-1, 1, 6)
    display = ThresholdDisplay.from_predictions([-1, -1, 1, -1, 1, 1], scores)
    assert rendered(display).y.tolist() == [0, 0, 1, 0, 1, 1]


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0, 1, 2, 0, 1, 2], r"y has the values \[0, 1, 2\]; expected 1 for pairs"),
        ([1] * 6, "y has only one class, 1: give pairs of one class and pairs of two"),
        ([0, 1, 0], "inconsistent"),
    ],
)
def test_threshold_display_refuses_other_labels(y, message):
    with pytest.raises(ValueError, match=message):
        ThresholdDisplay.from_predictions(y, np.linspace(-1, 1, 6))


def test_threshold_display_refuses_scores_that_are_nan():
    with pytest.raises(ValueError, match="scores contains NaN"):
        ThresholdDisplay.from_predictions([0, 1], [np.nan, 1.0])


def test_episode_accuracy_display_shows_accuracy_by_way_and_shot(fitted, new):
    X, y = new
    display = EpisodeAccuracyDisplay.from_estimator(
        fitted, X, y, n_ways=(2, 5), n_shots=(1, 3), n_episodes=5, random_state=0
    )
    assert set(display.scores) == {(2, 1), (2, 3), (5, 1), (5, 3)}
    assert display.scores[5, 3] == one_shot_score(
        fitted, X, y, n_way=5, n_shot=3, n_episodes=5, random_state=0
    )
    bars = rendered(display).ax_.containers
    assert [bar.get_label() for bar in bars] == ["1-shot", "3-shot"]
    assert bars[0].lines[0].get_ydata()[1] == pytest.approx(100 * display.scores[5, 1].accuracy)
    assert "unstructured" in display.ax_.get_ylabel()


@pytest.mark.parametrize("name", ["n_ways", "n_shots"])
@pytest.mark.parametrize("value", [(), 5])
def test_episode_accuracy_display_refuses_what_is_not_a_sequence(fitted, new, name, value):
    message = re.escape(f"{name}={value!r}; expected a sequence of one or more integers")
    with pytest.raises(ValueError, match=message):
        EpisodeAccuracyDisplay.from_estimator(fitted, *new, **{name: value})


def test_similarity_display_compares_all_pairs(fitted, new):
    X, y = new
    display = rendered(SimilarityDisplay.from_estimator(fitted, X[:5], X[3:6], labels_a=y[:5]))
    expected = [[fitted.pair_proba(a[None], b[None])[0] for b in X[3:6]] for a in X[:5]]
    np.testing.assert_allclose(display.probabilities, expected, atol=1e-5)
    shown = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert shown == [str(label) for label in y[:5]]


def test_similarity_display_compares_samples_with_themselves(fitted, new):
    X, y = new
    display = rendered(SimilarityDisplay.from_estimator(fitted, X[:5], labels_a=y[:5]))
    expected = SimilarityDisplay.from_estimator(fitted, X[:5], X[:5])
    np.testing.assert_allclose(display.probabilities, expected.probabilities, atol=1e-6)
    shown = [label.get_text() for label in display.ax_.get_xticklabels()]
    assert shown == [str(label) for label in y[:5]]


def test_similarity_display_takes_a_verifier(fitted, new):
    X = new[0]
    verifier = SiameseVerifier.from_classifier(fitted, preprocessor=X)
    display = SimilarityDisplay.from_estimator(verifier, [0, 1, 2], [3, 4])
    expected = SimilarityDisplay.from_estimator(fitted, X[:3], X[3:5])
    np.testing.assert_allclose(display.probabilities, expected.probabilities, atol=1e-6)


@pytest.mark.parametrize("labels", [{"labels_a": "abc"}, {"labels_b": "abcde"}])
def test_similarity_display_takes_a_label_for_each_image(fitted, new, labels):
    X = new[0]
    ((name, values),) = labels.items()
    with pytest.raises(ValueError, match=f"{name} has {len(values)} values for"):
        SimilarityDisplay.from_estimator(fitted, X[:5], X[:3], **{name: list(values)})


@pytest.fixture(scope="module")
def characters():
    """(X, y): the 20 exemplars of an official run of Omniglot."""
    run = load_omniglot_minimal().runs[4]
    return run.support_images, run.support_labels


@pytest.fixture(scope="module")
def reader(characters):
    """The pretrained network for characters, which is one with head="aligned"."""
    return load_pretrained("omniglot").set_support(*characters)


def overlays(display):
    """Return the heat over both images, as drawn: (h, w, 4) each."""
    return [np.asarray(layer.get_array()) for layer in rendered(display).ax_.images[1::2]]


def test_match_display_shows_parts_that_sum_to_the_logit(reader, characters):
    X, _ = characters
    display = MatchDisplay.from_estimator(reader, X[0], X[1])
    pair = copy.copy(reader).set_support(X[1:2], ["other"])
    (distance,), _ = pair.kneighbors(X[:1], 1)
    logit = reader.network_.head.bias.item() - distance[0]
    assert display.cell_logits.sum() == pytest.approx(logit, abs=1e-5)
    assert texts(rendered(display).ax_) == [
        "query",
        "exemplar",
        f"logit {logit:.1f}: sum of all cells",
    ]


def test_match_display_is_blue_where_images_match_and_orange_elsewhere(reader, characters):
    X, _ = characters
    for other, matches in ((X[0], True), (X[1], False)):
        for heat in overlays(MatchDisplay.from_estimator(reader, X[0], other)):
            is_blue = heat[..., 2] > heat[..., 0]
            weight = heat[..., 3]
            assert (weight[is_blue].sum() > weight[~is_blue].sum()) == matches


def test_match_display_draws_heat_where_the_strokes_are(reader, characters):
    X, _ = characters
    drawing = np.full((2, 150, 180), 255, np.uint8)  # at other places of larger images
    drawing[0, :105, :105], drawing[1, 45:, 75:] = X[0], X[0]
    clf = copy.copy(reader).set_support(drawing, ["upper left", "lower right"])
    display = MatchDisplay.from_estimator(clf, *drawing)
    for image, heat in zip(drawing, overlays(display), strict=True):
        assert heat.shape[:2] == image.shape
        warm, dark = (np.argwhere(where) for where in (heat[..., 3] > 0, image < 128))
        assert np.abs(warm.mean(axis=0) - dark.mean(axis=0)).max() < 10
        assert (warm.min(axis=0) <= dark.min(axis=0)).all()
        assert (np.ptp(warm, axis=0) < 1.6 * np.ptp(dark, axis=0).max()).all()


def test_match_display_joins_cells_that_match_best(reader, characters):
    X, _ = characters
    display = MatchDisplay.from_estimator(reader, X[0], X[0], n_lines=3)
    lines = [line for line in display.ax_.lines if line.get_marker() == "o"]
    assert len(lines) == 3
    for line in lines:  # of an image with itself
        (left, right), heights = line.get_data()
        assert right - left == pytest.approx(1.25)
        assert heights[0] == pytest.approx(heights[1])


def test_match_display_shows_the_aligned_network_of_several(characters):
    X, y = characters
    clf = load_pretrained().set_support(X, y)
    verifier = SiameseVerifier.from_classifier(clf)
    display = MatchDisplay.from_estimator(verifier, X[0], X[0])
    assert display.cell_logits.shape == (2, 5, 5)
    assert display.cell_logits.sum() > 0


def test_match_display_draws_into_given_axes(reader, characters):
    X, _ = characters
    _, ax = plt.subplots()
    assert MatchDisplay.from_estimator(reader, X[0], X[1], ax=ax).ax_ is ax


def test_match_display_refuses_what_compares_no_cells(fitted, new, reader, characters):
    X, _ = new
    with pytest.raises(ValueError, match="head='whitened', which compares no cells"):
        MatchDisplay.from_estimator(fitted, X[0], X[1])
    with pytest.raises(NotFittedError, match="set_support"):
        MatchDisplay.from_estimator(load_pretrained("omniglot"), X[0], X[1])
    with pytest.raises(ValueError, match="has images of 16x16 pixels"):
        MatchDisplay.from_estimator(reader, characters[0][0], X[0])


def test_from_estimator_refuses_other_estimators(fitted, new):
    X, y = new
    frozen = FrozenTwinClassifier(fitted).fit(X, y)
    verifier = SiameseVerifier.from_classifier(fitted)
    pipeline = make_pipeline(FunctionTransformer(), fitted)
    nearest = KNeighborsClassifier().fit(X.reshape(len(X), -1), y)
    pairs = np.stack([X[:-1], X[1:]], axis=1)
    same = y[:-1] == y[1:]
    for display, wrong, arguments, expected in (
        (TrainingCurveDisplay, (frozen, pipeline, nearest), (), "estimator of a Frozen"),
        (SimilarityDisplay, (frozen, pipeline, nearest), (X,), "estimator of a Frozen"),
        (MatchDisplay, (frozen, pipeline, nearest), (X[0], X[1]), "estimator of a Frozen"),
        (ThresholdDisplay, (frozen, pipeline, nearest, fitted), (pairs, same), "from_classifier"),
        (EpisodeAccuracyDisplay, (verifier,), (X, y), "to_classifier"),
        (OneShotTrialDisplay, (nearest, verifier), (X, y, X[0]), "to_classifier"),
        (NeighborsDisplay, (nearest, verifier), (X, y, X), "to_classifier"),
        (MotorProgramDisplay, (nearest, frozen, pipeline, fitted), (X,), "MotorProgramClassifier"),
    ):
        for estimator in wrong:
            kind = type(estimator).__name__
            message = f"estimator( is a |=){kind}.*; expected .*{expected}"
            with pytest.raises(TypeError, match=message):
                display.from_estimator(estimator, *arguments)


@pytest.mark.parametrize(
    ("display", "n_arguments"),
    [
        (EpisodeAccuracyDisplay, 2),
        (MatchDisplay, 2),
        (MotorProgramDisplay, 1),
        (NeighborsDisplay, 3),
        (OneShotTrialDisplay, 3),
        (SimilarityDisplay, 1),
        (ThresholdDisplay, 2),
        (TrainingCurveDisplay, 0),
    ],
)
def test_from_estimator_says_that_matplotlib_is_missing(monkeypatch, display, n_arguments):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    message = f"{display.__name__}.from_estimator requires matplotlib"
    with pytest.raises(ImportError, match=message):
        display.from_estimator(None, *[None] * n_arguments)


def test_plot_says_that_matplotlib_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match="TrainingCurveDisplay.plot requires matplotlib"):
        TrainingCurveDisplay(history=[[WITH_ACCURACY]]).plot()


def test_plotting_is_imported_without_matplotlib():
    code = "import sys, sksiamese.plotting; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


# Motor programs


@pytest.fixture(scope="module")
def run():
    return load_omniglot_minimal().runs[4]


@pytest.fixture(scope="module")
def programs(run):
    """Return a classifier whose support are the exemplars of `run`."""
    clf = MotorProgramClassifier(random_state=0)
    return clf.fit(run.support_images, run.support_labels)


def distance_to(drawing, points):
    """Return the mean distance from the foreground pixels of a drawing to the nearest point."""
    pixels = np.argwhere(drawing > 0.5)
    return np.hypot(*(pixels[:, None] - points).transpose(2, 0, 1)).min(1).mean()


def markers_of(display):
    """Return the markers of the strokes' starts."""
    return [line for line in display.ax_.lines if line.get_marker() == "o"]


def test_motor_program_display_shows_the_exemplars_that_explain_best(programs, run):
    display = MotorProgramDisplay.from_estimator(programs, run.query_images[:5])
    distances, rows = programs.kneighbors(run.query_images[:5], 1)
    np.testing.assert_array_equal(display.labels, run.support_labels[rows[:, 0]])
    logits = programs.predict(run.query_images[:5], return_logits=True)[1]
    np.testing.assert_allclose(display.logits, logits.max(1), rtol=1e-5)
    for row, program in zip(rows[:, 0], display.exemplar_programs, strict=True):
        assert program is programs.programs_[row]
    for shown, program in zip(
        display.query_programs, programs.parse(run.query_images[:5]), strict=True
    ):
        np.testing.assert_array_equal(shown.points, program.points)
    shown = texts(rendered(display).ax_)
    for label, logit in zip(display.labels, display.logits, strict=True):
        assert f"{label}: {logit:.1f}".replace("-", "\N{MINUS SIGN}") in shown


def test_motor_program_display_fits_programs_to_the_other_drawing(programs, run):
    display = MotorProgramDisplay.from_estimator(
        programs, run.query_images[:5], X_support=run.support_images, both_directions=True
    )
    for row in range(5):
        for program, token, drawing in (
            (display.exemplar_programs[row], display.tokens[row], display.queries[row]),
            (display.query_programs[row], display.reverse_tokens[row], display.exemplars[row]),
        ):
            assert drawing.shape == (105, 105)
            assert token.shape == program.points.shape
            before, after = (distance_to(drawing, at) for at in (program.points, token))
            assert after < min(before, 4)
    assert len(rendered(display).ax_.images) == 4 * 5


def test_motor_program_display_numbers_and_marks_every_stroke(programs, run):
    display = rendered(MotorProgramDisplay.from_estimator(programs, run.query_images[:3]))
    expected = []
    for query, exemplar in zip(display.query_programs, display.exemplar_programs, strict=True):
        for program in (query, exemplar, exemplar):
            expected += [str(number + 1) for number in range(program.n_strokes)]
    assert [text for text in texts(display.ax_) if text.isdigit()] == expected
    starts = markers_of(display)
    assert len(starts) == len(expected)
    first = display.query_programs[0].trajectories()
    for start, stroke in zip(starts, first, strict=False):
        np.testing.assert_allclose(start.get_xydata()[0], stroke[0, ::-1])
    assert len(display.ax_.patches) >= len(expected)  # one arrow head each, or two


def test_motor_program_display_points_arrow_heads_along_the_stroke():
    right = one_stroke([[50.0, column] for column in range(20, 50)])
    display = rendered(display_of(right))
    (head, *_) = [patch.get_xy() for patch in display.ax_.patches]
    assert head[:, 0].max() == pytest.approx(49)
    assert (head[:, 0] == head[:, 0].max()).sum() in (1, 2)  # a polygon may repeat its first point
    assert np.ptp(head[:, 1]) > 3


def one_stroke(*strokes):
    return Program.of([[np.array(stroke)] for stroke in strokes])


def display_of(program, **changed):
    """Return the plotted display of a program that explains itself."""
    arguments = {
        "queries": [None], "query_programs": [program], "exemplars": [None],
        "exemplar_programs": [program], "tokens": [program.points], "labels": ["a"],
        "logits": [1.0],
    }  # fmt: skip
    return MotorProgramDisplay(**arguments | changed).plot()


def test_motor_program_display_keeps_numbers_apart():
    start = [50.0, 50.0]
    star = one_stroke(*(np.linspace(start, end, 30) for end in ([20, 20], [80, 20], [50, 90])))
    display = rendered(display_of(star))
    places = np.array(
        [text.get_position() for text in display.ax_.texts if text.get_text() in "123"]
    )
    for panel in places.reshape(3, 3, 2):
        for number in range(3):
            others = np.hypot(*(panel - panel[number]).T)
            assert np.sort(others)[1] > 5
    sizes = [line.get_markersize() for line in markers_of(display)[:3]]
    assert sizes[0] > sizes[1] > sizes[2]  # all three start at one place


def test_motor_program_display_colours_strokes_in_their_order():
    lines = one_stroke(*([[row, 20.0], [row, 80.0]] for row in (20.0, 50.0, 80.0)))
    display = rendered(display_of(lines))
    colors = [line.get_color() for line in markers_of(display)]
    assert len(set(colors[:3])) == 3
    assert colors == colors[:3] * 3  # the token has the colours of the exemplar's strokes
    viridis = plt.get_cmap("viridis")
    colors = [line.get_color() for line in markers_of(display_of(lines, cmap="viridis"))]
    np.testing.assert_allclose(colors[:3], viridis([0.0, 0.5, 1.0]))


def test_motor_program_display_colours_wrong_labels_differently():
    dot = one_stroke([[50.0, 50.0]])

    def color_of_label(**true):
        (text,) = (t for t in display_of(dot, **true).ax_.texts if t.get_text() == "a: 1.0")
        return text.get_color()

    assert color_of_label() == color_of_label(true_labels=["a"])
    assert color_of_label(true_labels=["b"]) != color_of_label()
    assert "b" in texts(display_of(dot, true_labels=["b"]).ax_)


def test_motor_program_display_draws_what_is_no_stroke(programs, run):
    blank = np.full_like(run.query_images[0], 255)
    dot, block, ring = blank.copy(), blank.copy(), blank.copy()
    dot[50:53, 50:53] = 0
    block[20:80, 20:80] = 0
    ring[20:80, 20:80] = 0
    ring[24:76, 24:76] = 255
    noise = np.random.default_rng(0).choice(
        np.array([0, 255], np.uint8), blank.shape, p=[0.1, 0.9]
    )
    X = np.stack([blank, dot, block, ring, noise])
    display = rendered(MotorProgramDisplay.from_estimator(programs, X, both_directions=True))
    for points in (*display.tokens, *display.reverse_tokens):
        assert np.isfinite(points).all()


def test_motor_program_display_draws_flat_rows_as_curves(new):
    X, y = new
    rows = X.reshape(len(X), -1)[:, :12].astype(float) + np.arange(12)
    rows[1::2] *= np.linspace(-1, 1, 12)
    clf = MotorProgramClassifier(random_state=0).fit(rows[:4], [0, 1, 2, 3])
    display = rendered(MotorProgramDisplay.from_estimator(clf, rows[:2], X_support=rows[:4]))
    assert display.queries == [None, None]
    assert not display.ax_.images
    assert display.labels.tolist() == [0, 1]


def test_motor_program_display_draws_into_given_axes(programs, run):
    _, ax = plt.subplots()
    before = dict(plt.rcParams)
    display = MotorProgramDisplay.from_estimator(programs, run.query_images[:1], ax=ax)
    assert rendered(display).ax_ is ax
    assert display.plot().ax_ is not ax
    assert dict(plt.rcParams) == before


def test_motor_program_display_refuses_what_it_cannot_show(programs, run):
    X = run.query_images
    for arguments, message in (
        ({"X": np.concatenate([X, X])}, "X has 40 queries; expected at most 20"),
        ({"X": X[0]}, r"Pass a single image as X\[None\]"),
        ({"X": X[:, ::2]}, "Bring X to that shape"),
        ({"X": X[:2], "y": [0, 1, 2]}, "inconsistent"),
        ({"X": X[:2], "X_support": X[:3]}, "X_support has 3 samples, but the support has 20"),
    ):
        with pytest.raises(ValueError, match=message):
            MotorProgramDisplay.from_estimator(programs, **arguments)
    without = copy.copy(programs).clear_support()
    with pytest.raises(NotFittedError, match="no support"):
        MotorProgramDisplay.from_estimator(without, X[:1])
    with pytest.raises(NotFittedError):
        MotorProgramDisplay.from_estimator(MotorProgramClassifier(), X[:1])
    other = copy.copy(programs)
    other.fitted_ = programs.fitted_.with_comparer(ModifiedHausdorff())
    other.set_support(run.support_images, run.support_labels)
    with pytest.raises(TypeError, match="compares by ModifiedHausdorff; expected MotorPrograms"):
        MotorProgramDisplay.from_estimator(other, X[:1])
