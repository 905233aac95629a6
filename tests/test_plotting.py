"""Displays render, and show the numbers they were given."""

import copy
import re
import subprocess
import sys

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sksiamese import FrozenTwinClassifier, SiameseVerifier
from sksiamese.plotting import (
    EpisodeAccuracyDisplay,
    NeighborsDisplay,
    OneShotTrialDisplay,
    SimilarityDisplay,
    ThresholdDisplay,
    TrainingCurveDisplay,
)
from sksiamese.plotting._display import picture

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("agg")
plt = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture
def new(glyphs):
    X, y = glyphs
    return X[y >= 10], y[y >= 10]


def texts(ax):
    return [text.get_text() for text in ax.texts]


def rendered(display):
    display.figure_.canvas.draw()
    pixels = np.asarray(display.figure_.canvas.buffer_rgba())[..., :3]
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 10
    return display


def test_channels_are_where_the_estimator_has_them():
    image = np.arange(16 * 12 * 12.0).reshape(16, 12, 12)
    assert picture(image, "first").shape == (12, 12)
    np.testing.assert_array_equal(picture(image, "first"), image.mean(axis=0))
    np.testing.assert_array_equal(picture(image, "last"), image.mean(axis=2))


def test_labels_of_a_column_are_labels(fitted, new):
    X, y = new
    display = NeighborsDisplay.from_estimator(fitted, X[::8], y[::8, None], X[1:3])
    assert display.labels.shape == display.distances.shape


def test_scores_that_are_no_numbers_are_said():
    with pytest.raises(ValueError, match="scores contains NaN"):
        ThresholdDisplay.from_predictions([0, 1], [np.nan, 1.0])


def test_a_trial_shows_every_class_with_its_probability(fitted, new):
    X, y = new
    before = fitted.support_
    display = OneShotTrialDisplay.from_estimator(fitted, X[::8], y[::8], X[9], y[9])
    expected = copy.copy(fitted).set_support(X[::8], y[::8]).predict_proba(X[9:10])[0]
    np.testing.assert_array_equal(display.probabilities, expected)
    shown = texts(rendered(display).ax_)
    assert shown == ["query: 11"] + [f"{10 + n}: {p:.0%}" for n, p in enumerate(expected)]
    assert len(display.ax_.images) == 7
    assert fitted.support_ is before


def test_neighbors_show_distances_and_labels(fitted, new):
    X, y = new
    display = NeighborsDisplay.from_estimator(fitted, X[::8], y[::8], X[1:4], n_neighbors=3)
    twin = copy.copy(fitted).set_support(X[::8], y[::8])
    distances, rows = twin.kneighbors(X[1:4], 3)
    np.testing.assert_array_equal(display.distances, distances)
    np.testing.assert_array_equal(display.labels, y[::8][rows])
    np.testing.assert_array_equal(display.neighbors, X[::8][rows])
    assert len(rendered(display).ax_.images) == 3 * 4


def test_neighbors_are_five_or_all_of_a_smaller_support(fitted, new):
    X, y = new
    display = NeighborsDisplay.from_estimator(fitted, X[:24:8], y[:24:8], X[1:3])
    assert display.distances.shape == (2, 3)
    assert NeighborsDisplay.from_estimator(fitted, X[:9], y[:9], X).distances.shape == (len(X), 5)
    with pytest.raises(ValueError, match="n_neighbors=5 is more than the 3 exemplars"):
        NeighborsDisplay.from_estimator(fitted, X[:24:8], y[:24:8], X[1:3], n_neighbors=5)


def test_a_frozen_twin_and_a_pipeline_are_asked_like_the_classifier(fitted, new):
    X, y = new
    turned = make_pipeline(FunctionTransformer(np.rot90, kw_args={"axes": (1, 2)}), fitted)
    frozen = FrozenTwinClassifier(fitted).fit(X[:2], y[:2])
    upright = OneShotTrialDisplay.from_estimator(frozen, X[::8], y[::8], X[9]).probabilities
    expected = OneShotTrialDisplay.from_estimator(fitted, X[::8], y[::8], X[9]).probabilities
    np.testing.assert_array_equal(upright, expected)
    assert frozen.classes_.tolist() == [10]
    display = NeighborsDisplay.from_estimator(turned, X[::8], y[::8], X[1:4])
    rotated = np.rot90(X, axes=(1, 2))
    other = NeighborsDisplay.from_estimator(fitted, rotated[::8], y[::8], rotated[1:4])
    np.testing.assert_array_equal(display.distances, other.distances)
    np.testing.assert_array_equal(display.queries, X[1:4])


def test_estimators_of_the_wrong_kind_are_named(fitted, new):
    X, y = new
    frozen = FrozenTwinClassifier(fitted).fit(X, y)
    verifier = SiameseVerifier.from_classifier(fitted)
    pipeline = make_pipeline(FunctionTransformer(), fitted)
    nearest = KNeighborsClassifier().fit(X.reshape(len(X), -1), y)
    pairs = np.stack([X[:-1], X[1:]], axis=1)
    same = y[:-1] == y[1:]
    for display, wrong, arguments, expected in (
        (TrainingCurveDisplay, (frozen, pipeline, nearest), (), "estimator of a Frozen"),
        (SimilarityDisplay, (frozen, pipeline, nearest, verifier), (X,), "to_classifier"),
        (ThresholdDisplay, (frozen, pipeline, nearest, fitted), (pairs, same), "from_classifier"),
        (EpisodeAccuracyDisplay, (verifier,), (X, y), "to_classifier"),
        (OneShotTrialDisplay, (nearest, verifier), (X, y, X[0]), "to_classifier"),
        (NeighborsDisplay, (nearest, verifier), (X, y, X), "to_classifier"),
    ):
        for estimator in wrong:
            kind = type(estimator).__name__
            message = f"estimator( is a |=){kind}.*; expected .*{expected}"
            with pytest.raises(TypeError, match=message):
                display.from_estimator(estimator, *arguments)


@pytest.mark.parametrize("highest", [1.0, 255.0, 65535.0])
@pytest.mark.parametrize("axis", [0, 2])
def test_colours_keep_their_proportions_whatever_their_range(highest, axis):
    image = np.linspace(0, 1, 8 * 6 * 3).reshape(8, 6, 3)
    shown = picture(np.moveaxis(highest * image, 2, axis))
    np.testing.assert_allclose(shown, image, atol=1e-12)


def test_colours_below_zero_and_bits_are_brought_to_matplotlibs_range():
    image = np.linspace(0, 1, 8 * 6 * 3).reshape(8, 6, 3)
    np.testing.assert_allclose(picture(4 * image - 2), image, atol=1e-12)
    np.testing.assert_array_equal(picture((image > 0.5).astype(int)), image > 0.5)
    as_bytes = (255 * image).astype(np.uint8)
    assert picture(as_bytes) is as_bytes


@pytest.mark.parametrize("n_channels", [1, 2, 5])
def test_channels_that_are_no_colours_are_shown_by_their_mean(n_channels):
    image = np.random.default_rng(0).random((8, 6, n_channels))
    for shown in (picture(image), picture(np.moveaxis(image, 2, 0))):
        np.testing.assert_allclose(shown, image.mean(axis=2))


def test_colour_images_and_channels_are_shown():
    image = np.random.default_rng(0).random((3, 8, 6))
    display = OneShotTrialDisplay(
        query=np.moveaxis(image, 0, 2),
        supports=np.stack([np.moveaxis(image, 0, 2)] * 2),
        classes=np.array(["a", "b"]),
        probabilities=np.array([0.25, 0.75]),
    ).plot()
    assert texts(rendered(display).ax_) == ["query", "a: 25%", "b: 75%"]


def test_the_training_curve_is_the_history(fitted):
    display = rendered(TrainingCurveDisplay.from_estimator(fitted))
    losses = display.ax_.lines[0].get_ydata()
    assert losses.tolist() == [row["train_loss"] for row in fitted.history_]
    assert len(display.figure_.axes) == 1
    history = [{"train_loss": 1.0, "one_shot_accuracy": 0.5}] * 3
    both = rendered(TrainingCurveDisplay(history=history).plot())
    assert both.figure_.axes[1].lines[0].get_ydata().tolist() == [0.5] * 3


@pytest.mark.parametrize("early", [True, False])
def test_epochs_without_accuracy_are_a_gap_in_it(fitted, early):
    clf = copy.copy(fitted)
    scored, unscored = {"train_loss": 1.0, "one_shot_accuracy": 0.5}, {"train_loss": 1.0}
    clf.history_ = [scored, scored, unscored] if early else [unscored, scored, scored]
    display = rendered(TrainingCurveDisplay.from_estimator(clf))
    x, accuracy = display.figure_.axes[1].lines[0].get_data()
    assert x[~np.isnan(accuracy)].tolist() == ([1, 2] if early else [2, 3])


def test_the_threshold_stands_where_it_is(fitted, new):
    X, labels = new
    pairs = np.random.default_rng(0).integers(len(X), size=(200, 2))
    y = (labels[pairs[:, 0]] == labels[pairs[:, 1]]).astype(int)
    verifier = SiameseVerifier.from_classifier(fitted, preprocessor=X)
    verifier.calibrate_threshold(pairs, y)
    display = rendered(ThresholdDisplay.from_estimator(verifier, pairs, y))
    assert display.ax_.lines[0].get_xdata()[0] == verifier.threshold_
    counts = [sum(patch.get_height() for patch in bars) for bars in display.ax_.containers]
    assert counts == [(y == 0).sum(), (y == 1).sum()]
    again = ThresholdDisplay.from_predictions(y, display.scores, threshold=1.0)
    assert again.threshold == 1.0
    with pytest.raises(ValueError, match="inconsistent"):
        ThresholdDisplay.from_predictions(y[:3], display.scores)


def test_pairs_are_same_or_different():
    scores = np.linspace(-1, 1, 6)
    display = ThresholdDisplay.from_predictions([-1, -1, 1, -1, 1, 1], scores)
    assert rendered(display).y.tolist() == [0, 0, 1, 0, 1, 1]
    with pytest.raises(ValueError, match=r"y has the values \[0, 1, 2\]; expected 1 for pairs"):
        ThresholdDisplay.from_predictions([0, 1, 2, 0, 1, 2], scores)
    with pytest.raises(ValueError, match="y has only 1: give pairs of one class and pairs of two"):
        ThresholdDisplay.from_predictions([1] * 6, scores)


def test_accuracy_by_way_and_shot(fitted, new):
    X, y = new
    display = EpisodeAccuracyDisplay.from_estimator(
        fitted, X, y, n_ways=(2, 5), n_shots=(1, 3), n_episodes=5, random_state=0
    )
    assert set(display.scores) == {(2, 1), (2, 3), (5, 1), (5, 3)}
    bars = rendered(display).ax_.containers
    assert [bar.get_label() for bar in bars] == ["1-shot", "3-shot"]
    assert bars[0].lines[0].get_ydata()[1] == pytest.approx(100 * display.scores[5, 1].accuracy)
    assert "unstructured" in display.ax_.get_ylabel()


@pytest.mark.parametrize("name", ["n_ways", "n_shots"])
@pytest.mark.parametrize("value", [(), 5])
def test_ways_and_shots_are_sequences(fitted, new, name, value):
    message = re.escape(f"{name}={value!r}; expected a sequence of one or more integers")
    with pytest.raises(ValueError, match=message):
        EpisodeAccuracyDisplay.from_estimator(fitted, *new, **{name: value})


def test_similarity_is_of_all_pairs(fitted, new):
    X, y = new
    display = rendered(SimilarityDisplay.from_estimator(fitted, X[:5], labels_a=y[:5]))
    np.testing.assert_allclose(display.probabilities, display.probabilities.T, atol=1e-5)
    other = SimilarityDisplay.from_estimator(fitted, X[:5], X[:3])
    assert other.probabilities.shape == (5, 3)


@pytest.mark.parametrize("labels", [{"labels_a": "abc"}, {"labels_b": "abcde"}])
def test_similarity_takes_a_label_for_each_image(fitted, new, labels):
    X = new[0]
    ((name, values),) = labels.items()
    with pytest.raises(ValueError, match=f"{name} has {len(values)} values for"):
        SimilarityDisplay.from_estimator(fitted, X[:5], X[:3], **{name: list(values)})


def test_axes_that_are_given_are_used(fitted):
    _, ax = plt.subplots()
    assert TrainingCurveDisplay.from_estimator(fitted, ax=ax).ax_ is ax


def test_flat_rows_are_no_pictures(fitted, new):
    X, y = new
    with pytest.raises(ValueError, match=r"an image has shape \(256,\); expected"):
        OneShotTrialDisplay.from_estimator(fitted, X[::8], y[::8], X[0].ravel())


def test_importing_the_displays_does_not_import_matplotlib():
    code = "import sys, sksiamese.plotting; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_matplotlib_the_error_says_so(fitted, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match="TrainingCurveDisplay.* requires matplotlib"):
        TrainingCurveDisplay.from_estimator(fitted)
