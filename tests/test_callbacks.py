"""Callbacks: scikit-learn's, which see every epoch, and those of the public module."""

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from skorch.callbacks import (
    BatchScoring,
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    EpochTimer,
    InputShapeSetter,
    LRScheduler,
    PassthroughScoring,
    PrintLog,
)

from sksiamese import SiameseOneShotClassifier, SiameseVerifier
from sksiamese.callbacks import MomentumRamp, StopTraining

try:
    from sklearn import callback
except ImportError:
    callback = None

with_sklearn_callbacks = pytest.mark.skipif(
    callback is None, reason="scikit-learn 1.9 has callbacks"
)


class Recorder:
    """Notes what each epoch's end tells, and stops after `stop_after` epochs."""

    def __init__(self, stop_after=None, look=None):
        self.stop_after = stop_after
        self.look = look
        self.seen = []
        self.events = []

    def setup(self, estimator, context):
        self.events.append("setup")

    def teardown(self, estimator, context):
        self.events.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.events.append(f"begin {context.task_name}")

    def on_fit_task_end(self, estimator, context, *, X=None, y=None, fitted_estimator=None):
        self.events.append(f"end {context.task_name}")
        if context.task_name == "epoch":
            self.seen.append(self.look(fitted_estimator, X, y) if self.look else None)
            return self.stop_after is not None and len(self.seen) >= self.stop_after
        return False


@pytest.fixture
def data(glyphs):
    X, y = glyphs
    return X[y < 6], y[y < 6]


def classifier(**params):
    return SiameseOneShotClassifier(**{"max_iter": 3, "random_state": 0, **params})


# scikit-learn's


@with_sklearn_callbacks
@pytest.mark.parametrize("n_estimators", [1, 2])
def test_set_callbacks_makes_every_epoch_a_task(data, n_estimators):
    recorder = Recorder()
    classifier(n_estimators=n_estimators).set_callbacks(recorder).fit(*data)
    assert recorder.events == [
        "setup",
        "begin fit",
        *["begin epoch", "end epoch"] * 3 * n_estimators,
        "end fit",
        "teardown",
    ]


@with_sklearn_callbacks
def test_set_callbacks_stops_training_if_an_epoch_returns_true(data):
    recorder = Recorder(stop_after=2)
    clf = classifier(max_iter=50).set_callbacks(recorder).fit(*data)
    assert clf.n_iter_ == len(clf.history_[0]) == len(recorder.seen) == 2
    assert clf.score(*data) > 1 / 6
    assert recorder.events[-1] == "teardown"


@with_sklearn_callbacks
def test_fitted_estimator_predicts_during_training(data):
    recorder = Recorder(look=lambda fitted, X, y: (fitted.n_iter_, fitted.score(X, y)))
    clf = classifier().set_callbacks(recorder).fit(*data)
    assert [n_iter for n_iter, _ in recorder.seen] == [1, 2, 3]
    assert recorder.seen[-1][1] == clf.score(*data)


@with_sklearn_callbacks
def test_fitted_estimator_of_an_ensemble_has_the_networks_so_far(data):
    recorder = Recorder(
        look=lambda fitted, X, y: ([len(epochs) for epochs in fitted.history_], fitted.score(X, y))
    )
    clf = classifier(n_estimators=2, max_iter=2).set_callbacks(recorder).fit(*data)
    assert [epochs for epochs, _ in recorder.seen] == [[1], [2], [2, 1], [2, 2]]
    assert recorder.seen[-1][1] == clf.score(*data)


@with_sklearn_callbacks
def test_fitted_estimator_does_not_go_on_training(data):
    recorder = Recorder(look=lambda fitted, X, y: (fitted, fitted.decision_function(X)))
    classifier().set_callbacks(recorder).fit(*data)
    for fitted, logits in recorder.seen:
        np.testing.assert_array_equal(fitted.decision_function(data[0]), logits)
    assert not np.array_equal(recorder.seen[0][1], recorder.seen[-1][1])


@with_sklearn_callbacks
def test_fitted_estimator_has_no_support_after_pairs(data):
    def look(fitted, X, y):
        with pytest.raises(NotFittedError, match="set_support"):
            fitted.predict(X)
        return fitted.pair_proba(X[:2], X[2:4])

    recorder = Recorder(look=look)
    pairs = np.array([[0, 1, 1], [0, 9, 0], [8, 9, 1], [1, 17, 0]])
    clf = classifier().set_callbacks(recorder).fit(data[0], pairs)
    assert len(recorder.seen) == 3
    expected = clf.pair_proba(data[0][:2], data[0][2:4])
    np.testing.assert_array_equal(recorder.seen[-1], expected)


@with_sklearn_callbacks
def test_fitted_estimator_rejects_nothing_before_calibration(data):
    recorder = Recorder(look=lambda fitted, X, y: fitted.predict(X))
    clf = classifier(unknown_label=-1, max_iter=1).set_callbacks(recorder).fit(*data)
    assert set(recorder.seen[0]) <= set(data[1])
    assert np.isfinite(clf.rejection_threshold_)


@with_sklearn_callbacks
def test_set_callbacks_does_not_change_what_is_learned(data):
    recorder = Recorder(look=lambda fitted, X, y: fitted.score(X, y))
    watched = classifier().set_callbacks(recorder).fit(*data)
    alone = classifier().fit(*data)
    np.testing.assert_array_equal(watched.transform(data[0]), alone.transform(data[0]))


@with_sklearn_callbacks
def test_set_callbacks_works_for_a_verifier(data):
    recorder = Recorder(stop_after=2, look=lambda fitted, X, y: fitted.score(X, y))
    rng = np.random.default_rng(0)
    X, y = data[0][rng.permutation(48).reshape(-1, 2)], np.arange(24) % 2
    verifier = SiameseVerifier(head="weighted_l1", max_iter=5, random_state=0)
    verifier.set_callbacks(recorder).fit(X, y)
    assert verifier.n_iter_ == 2
    assert recorder.seen[-1] == verifier.score(X, y)


@with_sklearn_callbacks
def test_set_callbacks_works_inside_a_pipeline(data):
    recorder = Recorder()
    clf = classifier().set_callbacks(recorder)
    make_pipeline(FunctionTransformer(), clf).fit(*data)
    assert recorder.events.count("end epoch") == 3


@with_sklearn_callbacks
def test_set_callbacks_works_inside_a_grid_search(data):
    recorder = Recorder()
    clf = classifier(max_iter=1).set_callbacks(recorder)
    GridSearchCV(clf, {"learning_rate": [1e-3, 2e-3]}, cv=2).fit(*data)
    assert recorder.events.count("end epoch") == 5


@with_sklearn_callbacks
def test_scoring_monitor_scores_every_epoch(data):
    monitor = callback.ScoringMonitor(scoring="accuracy")
    clf = classifier().set_callbacks(monitor).fit(*data)
    rows = monitor.get_logs().data
    scores = [row["accuracy"] for row in rows if row["task_name"] == "epoch"]
    assert len(scores) == 3
    assert scores[-1] == clf.score(*data)


@with_sklearn_callbacks
@pytest.mark.parametrize("wrap", [lambda clf: clf, make_pipeline])
def test_progress_bar_reaches_its_end(data, wrap, capsys):
    wrap(classifier()).set_callbacks(callback.ProgressBar()).fit(*data)
    shown = capsys.readouterr().out
    assert "SiameseOneShotClassifier" in shown
    assert "100%" in shown


@with_sklearn_callbacks
def test_fit_tears_callbacks_down_if_it_fails(data):
    recorder = Recorder()
    clf = classifier().set_callbacks(recorder)
    with pytest.raises(ValueError, match="one class"):
        clf.fit(data[0], np.zeros(48))
    assert recorder.events.count("setup") == recorder.events.count("teardown")


# sksiamese.callbacks


class Watch(Callback):
    """Keeps an optimizer setting of each epoch, and stops after `stop_after` of them."""

    def __init__(self, name, stop_after=None):
        self.name = name
        self.stop_after = stop_after
        self.seen = []

    def on_epoch_end(self, net, **kwargs):
        self.seen.append(net.optimizer_.param_groups[0][self.name])
        if len(self.seen) == self.stop_after:
            raise StopTraining


def test_stop_training_keeps_what_was_learned(data):
    clf = classifier(max_iter=50, callbacks=[Watch("lr", stop_after=2)]).fit(*data)
    assert clf.n_iter_ == 2
    assert clf.score(*data) > 1 / 6


def test_momentum_ramp_sets_the_momentum_of_each_epoch(data):
    watch = Watch("momentum")
    classifier(
        max_iter=5,
        optimizer="sgd",
        optimizer_params={"momentum": 0.8},
        callbacks=[MomentumRamp(n_epochs=3), watch],
    ).fit(*data)
    np.testing.assert_allclose(watch.seen, [0.5, 0.6, 0.7, 0.8, 0.8])


# skorch's


class Record(Callback):
    """Records 1 under a name."""

    def __init__(self, name):
        self.name = name

    def on_epoch_end(self, net, **kwargs):
        net.history.record(self.name, 1.0)


def half(net, X, y):
    return 0.5


@pytest.mark.parametrize(
    ("callbacks", "early_stopping"),
    [
        ([EarlyStopping(monitor="train_loss")], False),
        ([EarlyStopping(monitor="one_shot_accuracy", lower_is_better=False)], True),
        ([LRScheduler()], False),
        ([("print", PrintLog(sink=lambda line: None)), ("timer", EpochTimer())], False),
        ([Record("valid_loss"), EarlyStopping()], False),
        (
            [
                EpochScoring(half, name="half", on_train=True, use_caching=False),
                EarlyStopping(monitor="half"),
            ],
            False,
        ),
    ],
)
def test_callbacks_monitor_what_is_recorded(data, callbacks, early_stopping):
    clf = classifier(callbacks=callbacks, early_stopping=early_stopping, validation_fraction=0.4)
    assert clf.fit(*data).n_iter_ == 3


def test_checkpoint_of_skorch_writes_each_epoch(data, tmp_path):
    checkpoint = Checkpoint(monitor=None, dirname=tmp_path, f_params="{last_epoch[epoch]}.pt")
    classifier(callbacks=[checkpoint]).fit(*data)
    assert {"1.pt", "2.pt", "3.pt"} <= {path.name for path in tmp_path.iterdir()}


MONITORED = '\'{}\', which is not recorded.*"train_loss" or, with .*"one_shot_accuracy"'


@pytest.mark.parametrize(
    ("callbacks", "message"),
    [
        ([EarlyStopping()], "EarlyStopping with monitor=" + MONITORED.format("valid_loss")),
        ([("stop", EarlyStopping())], MONITORED.format("valid_loss")),
        ([EarlyStopping("one_shot_accuracy")], MONITORED.format("one_shot_accuracy")),
        ([EarlyStopping(half)], "EarlyStopping with monitor=<function half.*; expected a name"),
        ([Checkpoint()], "Checkpoint with monitor=" + MONITORED.format("valid_loss_best")),
        ([LRScheduler(monitor="loss")], "LRScheduler with monitor=" + MONITORED.format("loss")),
        ([EpochScoring("accuracy")], "EpochScoring, but batches of pairs have no labels"),
        ([EpochScoring("accuracy", on_train=True)], "EpochScoring, but .*early_stopping=True"),
        ([EpochScoring(half)], "EpochScoring, but .* no validation set"),
        ([BatchScoring(half, on_train=True)], "BatchScoring, but batches of pairs"),
        ([PassthroughScoring("train_loss")], "PassthroughScoring, but batches of pairs"),
        ([InputShapeSetter()], "InputShapeSetter.*callable as encoder"),
        ([("clip", EpochTimer())], "the name 'clip' twice, or .*own"),
        ([("a", EpochTimer()), ("a", EpochTimer())], "the name 'a' twice"),
    ],
)
def test_callbacks_that_cannot_work_are_refused_before_training(data, callbacks, message):
    batches = []

    def augmentation(images, generator):
        batches.append(images)
        return images

    for own in (callbacks, [*callbacks, EpochTimer()]):
        with pytest.raises(ValueError, match=message):
            classifier(callbacks=own, augmentation=augmentation).fit(*data)
    assert not batches


@pytest.mark.parametrize(
    "entry",
    [EarlyStopping, ("a", EarlyStopping), ("a", "b", EpochTimer()), (3, EpochTimer()), None, half],
)
def test_callbacks_that_are_none_are_refused_before_training(data, entry):
    with pytest.raises(TypeError, match="callbacks=.*instance, not a class, or a tuple"):
        classifier(callbacks=[entry]).fit(*data)


@pytest.mark.parametrize(
    "callbacks",
    [
        [EarlyStopping(), Record("valid_loss")],  # which is recorded too late
        [Record("loss"), EarlyStopping()],
        [Record("loss"), Checkpoint()],
    ],
)
def test_callbacks_that_monitor_what_another_does_not_record_are_refused(data, callbacks):
    """Whether it does is known at the end of the first epoch."""
    clf = classifier(callbacks=callbacks)
    with pytest.raises(ValueError, match="valid_loss.*which is not recorded before it is read"):
        clf.fit(*data)
    assert not hasattr(clf, "fitted_")
