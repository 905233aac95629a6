"""scikit-learn's callbacks see every epoch, may predict in the middle of it, and may stop it."""

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sksiamese import SiameseOneShotClassifier

callback = pytest.importorskip("sklearn.callback", reason="scikit-learn 1.9 has callbacks")


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


def test_every_epoch_is_a_task_of_the_fit(data):
    recorder = Recorder()
    classifier().set_callbacks(recorder).fit(*data)
    assert recorder.events == [
        "setup",
        "begin fit",
        *["begin epoch", "end epoch"] * 3,
        "end fit",
        "teardown",
    ]


def test_an_epoch_that_answers_true_ends_the_training(data):
    recorder = Recorder(stop_after=2)
    clf = classifier(max_iter=50).set_callbacks(recorder).fit(*data)
    assert clf.n_iter_ == len(clf.history_) == len(recorder.seen) == 2
    assert clf.predict(data[0]).shape == (48,)
    assert recorder.events[-1] == "teardown"


def test_the_estimator_predicts_in_the_middle_of_training(data):
    recorder = Recorder(look=lambda fitted, X, y: (fitted.n_iter_, fitted.score(X, y)))
    clf = classifier().set_callbacks(recorder).fit(*data)
    assert [n_iter for n_iter, _ in recorder.seen] == [1, 2, 3]
    assert recorder.seen[-1][1] == clf.score(*data)


def test_what_is_handed_out_does_not_go_on_training(data):
    recorder = Recorder(look=lambda fitted, X, y: (fitted, fitted.decision_function(X)))
    classifier().set_callbacks(recorder).fit(*data)
    for fitted, logits in recorder.seen:
        np.testing.assert_array_equal(fitted.decision_function(data[0]), logits)


def test_after_pairs_there_is_no_support_in_the_middle_either(data):
    def look(fitted, X, y):
        with pytest.raises(NotFittedError, match="set_support"):
            fitted.predict(X)
        return fitted.pair_proba(X[:2], X[2:4]).shape

    recorder = Recorder(look=look)
    pairs = np.array([[0, 1, 1], [0, 9, 0], [8, 9, 1], [1, 17, 0]])
    classifier().set_callbacks(recorder).fit(data[0], pairs)
    assert recorder.seen == [(2,)] * 3


def test_watching_does_not_change_what_is_learned(data):
    recorder = Recorder(look=lambda fitted, X, y: fitted.score(X, y))
    watched = classifier().set_callbacks(recorder).fit(*data)
    alone = classifier().fit(*data)
    np.testing.assert_array_equal(watched.transform(data[0]), alone.transform(data[0]))


def test_a_callback_set_through_a_pipeline(data):
    recorder = Recorder()
    clf = classifier().set_callbacks(recorder)
    make_pipeline(FunctionTransformer(np.sqrt), clf).fit(*data)
    assert recorder.events.count("end epoch") == 3


def test_a_callback_set_through_a_grid_search(data):
    recorder = Recorder()
    clf = classifier(max_iter=1).set_callbacks(recorder)
    GridSearchCV(clf, {"learning_rate": [1e-3, 2e-3]}, cv=2).fit(*data)
    assert recorder.events.count("end epoch") == 5


def test_a_scoring_monitor_scores_every_epoch(data):
    monitor = callback.ScoringMonitor(scoring="accuracy")
    clf = classifier().set_callbacks(monitor).fit(*data)
    rows = monitor.get_logs().data
    scores = [row["accuracy"] for row in rows if row["task_name"] == "epoch"]
    assert len(scores) == 3
    assert scores[-1] == clf.score(*data)


@pytest.mark.parametrize("wrap", [lambda clf: clf, make_pipeline])
def test_the_progress_bar_reaches_its_end(data, wrap, capsys):
    wrap(classifier()).set_callbacks(callback.ProgressBar()).fit(*data)
    shown = capsys.readouterr().out
    assert "SiameseOneShotClassifier" in shown
    assert "100%" in shown


def test_callbacks_are_torn_down_when_the_fit_fails(data):
    recorder = Recorder()
    clf = classifier().set_callbacks(recorder)
    with pytest.raises(ValueError, match="one class"):
        clf.fit(data[0], np.zeros(48))
    assert recorder.events.count("setup") == recorder.events.count("teardown")
