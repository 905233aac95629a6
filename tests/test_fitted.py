"""fitted_: all that was learned as one value, which calls replace as a whole or leave."""

import copy
import pickle
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, fields, replace

import numpy as np
import pytest
from helpers import classifier, pairs_of, unchanged, watched
from long import threads
from sklearn.exceptions import NotFittedError
from skorch.callbacks import Callback

from sksiamese import MotorProgramClassifier, SiameseVerifier

ATTRIBUTES = [
    "network_",
    "history_",
    "n_iter_",
    "input_shape_",
    "n_features_in_",
    "support_",
    "classes_",
    "held_out_classes_",
    "rejection_threshold_",
    "feature_names_in_",
]


@pytest.fixture(scope="module")
def other(training, new):
    """A classifier of another network whose support has the labels 20, 21 and 22."""
    X, _ = new
    clf = classifier(random_state=5).fit(*training)
    return clf.set_support(X[[40, 8, 0]], [20, 21, 22])


# The value


def test_fitted_attribute_is_the_only_one_that_fit_sets(clf):
    assert set(vars(clf)) - set(clf.get_params()) == {"fitted_"}


def test_fitted_attribute_cannot_be_changed_in_place(clf):
    for field in fields(clf.fitted_):
        with pytest.raises(FrozenInstanceError):
            setattr(clf.fitted_, field.name, None)


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_fitted_attribute_are_absent_before_fit(name):
    with pytest.raises(AttributeError, match=f"'SiameseOneShotClassifier' .* attribute '{name}'"):
        getattr(classifier(), name)


@pytest.mark.parametrize("name", ["support_", "classes_", "held_out_classes_"])
def test_fitted_attribute_are_absent_after_fit_on_pairs(training, name):
    clf = classifier().fit(training[0], pairs_of(training[1], 50))
    assert clf.n_iter_ == 1
    assert not hasattr(clf, name)


@pytest.mark.parametrize("name", ["held_out_classes_", "rejection_threshold_"])
def test_fitted_attribute_are_absent_if_nothing_was_held_out_or_calibrated(clf, name):
    assert not hasattr(clf, name)


@pytest.mark.parametrize("name", ["support_", "classes_", "rejection_threshold_"])
def test_fitted_attribute_cannot_be_set(clf, name):
    """They would hide what `fitted_` has, which predictions are made of."""
    with pytest.raises(AttributeError):
        setattr(clf, name, None)


def test_fitted_attribute_may_be_replaced_by_dataclasses(clf, other, new):
    X, _ = new
    clf.fitted_ = replace(other.fitted_, calibration=(2.0, 1.0))
    assert clf.classes_.tolist() == [20, 21, 22]
    expected = 2 * other.decision_function(X) + 1
    np.testing.assert_allclose(clf.decision_function(X), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))]
)
def test_fitted_of_a_copy_predicts_the_same_and_has_its_own_support(clf, new, copied):
    X, _ = new
    expected = clf.decision_function(X)
    again = copied(clf)
    np.testing.assert_array_equal(again.decision_function(X), expected)
    again.set_support(X[:2], ["a", "b"])
    np.testing.assert_array_equal(clf.decision_function(X), expected)


# Calls that fail

FAILING = {
    "fit": lambda clf, X, y: clf.fit(X, y[:-1]),
    "set_support": lambda clf, X, y: clf.set_support(X, y[:-1]),
    "add_support": lambda clf, X, y: clf.add_support(X[:, 1:], y),
    "remove_support": lambda clf, X, y: clf.remove_support([10, 99]),
    "calibrate": lambda clf, X, y: clf.calibrate(X[::8], y[::8]),
    "calibrate on labels that tell nothing": lambda clf, X, y: clf.calibrate(
        np.repeat(X[:2], 8, axis=0), np.tile([0, 1], 8)
    ),
    "predict": lambda clf, X, y: clf.predict(X[:, 1:]),
    "predict_proba": lambda clf, X, y: clf.predict_proba(X[:, 1:]),
    "decision_function": lambda clf, X, y: clf.decision_function(X[:, 1:]),
    "score_samples": lambda clf, X, y: clf.score_samples(X[:, 1:]),
    "score": lambda clf, X, y: clf.score(X, y[:-1]),
    "match": lambda clf, X, y: clf.match(X),
    "kneighbors": lambda clf, X, y: clf.kneighbors(X, 99),
    "transform": lambda clf, X, y: clf.transform(X[:, 1:]),
    "similarity": lambda clf, X, y: clf.similarity(X, X[:, 1:]),
    "pair_proba": lambda clf, X, y: clf.pair_proba(X, X[1:]),
    "trial_function": lambda clf, X, y: clf.trial_function(X[:, 1:]),
    "save": lambda clf, X, y: clf.save("no such directory/classifier.safetensors"),
}


@pytest.mark.parametrize("name", FAILING)
def test_fitted_is_unchanged_by_a_failed_call(clf, new, name):
    with unchanged(clf):
        before = clf.fitted_
        with pytest.raises((ValueError, OSError)):
            FAILING[name](clf, *new)
        assert clf.fitted_ is before


def test_fitted_is_unchanged_by_a_fit_that_fails_in_training(clf, training):
    class Broken(Callback):
        def on_batch_end(self, net, **kwargs):
            raise ZeroDivisionError

    clf.set_params(callbacks=[Broken()])
    with unchanged(clf), pytest.raises(ZeroDivisionError):
        clf.fit(*training)


def test_fitted_is_unchanged_by_ctrl_c_before_the_first_step(clf, training):
    class AtOnce(Callback):
        def on_train_begin(self, net, **kwargs):
            signal.raise_signal(signal.SIGINT)

    clf.set_params(callbacks=[AtOnce()])
    with unchanged(clf), pytest.raises(KeyboardInterrupt):
        clf.fit(*training)


# Threads

TIMEOUT = 60  # seconds, so that a failure does not hang
CALLS = {
    "predict": lambda clf, X: clf.predict(X),
    "predict with logits": lambda clf, X: clf.predict(X, return_logits=True)[1],
    "predict_proba": lambda clf, X: clf.predict_proba(X),
    "decision_function": lambda clf, X: clf.decision_function(X),
    "score_samples": lambda clf, X: clf.score_samples(X),
    "match": lambda clf, X: clf.match(X),
    "kneighbors": lambda clf, X: clf.kneighbors(X, 2)[0],
    "transform": lambda clf, X: clf.transform(X),
    "similarity": lambda clf, X: clf.similarity(X, X.copy()),
    "pair_proba": lambda clf, X: clf.pair_proba(X, X[::-1]),
    "trial_function": lambda clf, X: clf.trial_function(X)([0], [1, 2], np.array(["a"]))[0],
}


@pytest.mark.parametrize("name", CALLS)
def test_fitted_is_read_once_by_a_call(clf, other, new, name):
    """Another thread's `fit` replaces it between embedding and comparing."""
    X, call = new[0][:3], CALLS[name]
    expected = call(clf, X)
    passes = []

    def swap(embeddings):
        passes.append(embeddings)
        current.fitted_ = other.fitted_

    current = watched(clf, swap)
    np.testing.assert_array_equal(call(current, X), expected)
    assert passes
    assert not np.array_equal(call(current, X), expected)


CHANGES = {
    "set_support": lambda clf, X, y: clf.set_support(X[:3], ["a", "b", "c"]),
    "add_support": lambda clf, X, y: clf.add_support(X[16:18], [30, 31]),
    "remove_support": lambda clf, X, y: clf.remove_support(20),
    "calibrate": lambda clf, X, y: clf.calibrate(X, y),
}


@pytest.mark.filterwarnings("ignore::sksiamese.exceptions.DuplicateExemplarWarning")
@pytest.mark.parametrize("name", ["set_support", "add_support", "calibrate"])
def test_change_is_of_the_network_that_a_fit_puts_in_place_meanwhile(clf, other, new, name):
    expected = CHANGES[name](copy.copy(other), *new)

    def swap(embeddings):
        current.fitted_ = other.fitted_

    current = watched(clf, swap)
    CHANGES[name](current, *new)
    assert current.network_ is other.network_
    assert current.fitted_.calibration == expected.fitted_.calibration
    np.testing.assert_array_equal(current.support_.labels, expected.support_.labels)
    np.testing.assert_array_equal(current.support_.embeddings, expected.support_.embeddings)


@pytest.mark.filterwarnings("ignore::sksiamese.exceptions.DuplicateExemplarWarning")
@pytest.mark.parametrize("meanwhile", CHANGES)
@pytest.mark.parametrize("name", ["set_support", "add_support", "calibrate"])
def test_change_keeps_another_that_is_made_meanwhile(other, new, name, meanwhile):
    """The result is as if one call had followed the other."""
    X, y = new
    begun = []

    def interfere(embeddings):
        if not begun:
            begun.append(True)
            CHANGES[meanwhile](current, X, y)

    current = watched(other, interfere)
    try:
        expected = CHANGES[name](CHANGES[meanwhile](copy.copy(other), X, y), X, y)
    except ValueError:  # of labels of another type: nothing is changed by this call
        with pytest.raises(ValueError, match="labels of the same type"):
            CHANGES[name](current, X, y)
        expected = CHANGES[meanwhile](copy.copy(other), X, y)
    else:
        CHANGES[name](current, X, y)
    assert begun
    assert current.fitted_.calibration == expected.fitted_.calibration
    np.testing.assert_array_equal(current.support_.labels, expected.support_.labels)
    np.testing.assert_array_equal(current.support_.embeddings, expected.support_.embeddings)


@pytest.fixture
def fine_switches():
    """Threads take turns after every few operations."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


def in_threads(functions):
    """Call functions at once; raise the error of the first that fails."""
    with ThreadPoolExecutor(len(functions)) as pool:
        for future in [pool.submit(function) for function in functions]:
            future.result(TIMEOUT)


@pytest.mark.filterwarnings("ignore::sksiamese.exceptions.DuplicateExemplarWarning")
@pytest.mark.usefixtures("fine_switches")
def test_add_support_in_threads_loses_no_class(clf, glyphs):
    """Nor the calibration that another thread learns meanwhile."""
    X, y = glyphs
    clf.set_support(X[:1], ["base"])
    embeddings = clf.transform(X[:100])

    def add(first):
        for i in range(first, 100, 4):
            clf.add_support(X[i : i + 1], [f"c{i:03d}"])

    calls = [lambda first=first: add(first) for first in range(4)]
    in_threads([*calls, lambda: clf.calibrate(X[-48:], y[-48:])])
    assert clf.classes_.tolist() == ["base", *(f"c{i:03d}" for i in range(100))]
    assert clf.rejection_threshold_ is not None
    rows = [int(label[1:]) for label in clf.support_.labels[1:].tolist()]
    np.testing.assert_allclose(
        clf.support_.embeddings[1:].reshape(100, -1), embeddings[rows], rtol=1e-4, atol=1e-4
    )


@pytest.mark.usefixtures("fine_switches")
def test_add_support_in_threads_makes_the_first_support(clf, new):
    X, _ = new
    for _ in range(10):
        clf.clear_support()
        in_threads([lambda k=k: clf.add_support(X[k : k + 1], [k]) for k in range(4)])
        assert clf.classes_.tolist() == [0, 1, 2, 3]


@pytest.mark.filterwarnings("ignore::sksiamese.exceptions.DuplicateExemplarWarning")
@pytest.mark.usefixtures("fine_switches")
def test_remove_support_in_threads_removes_each_class_once(clf, new):
    X, _ = new
    clf.set_support(X, range(48))
    in_threads(
        [lambda k=k: [clf.remove_support(i) for i in range(k, 40, 4)] for k in range(4)]
        + [lambda k=k: clf.add_support(X[:2], [100 + k, 200 + k]) for k in range(4)]
    )
    added = [h + k for h in (100, 200) for k in range(4)]
    assert clf.classes_.tolist() == [*range(40, 48), *added]


@pytest.mark.usefixtures("fine_switches")
def test_motor_programs_in_threads_lose_no_class(new):
    """Nor the calibration that another thread learns meanwhile."""
    X, y = new
    clf = MotorProgramClassifier(n_walks=1, primitives=False, random_state=0)
    clf.set_support(X[:1], [100])
    in_threads(
        [
            lambda: clf.calibrate(X[:32:4], y[:32:4]),
            *(
                lambda k=k: [clf.add_support(X[i : i + 1], [i]) for i in range(k, 8, 2)]
                for k in range(2)
            ),
        ]
    )
    assert clf.classes_.tolist() == [*range(8), 100]
    assert len(clf.programs_) == 9
    assert clf.rejection_threshold_ is not None


def test_verifier_keeps_the_network_of_a_fit_that_ends_while_it_calibrates(clf, other, new):
    X, y = new
    pairs, same = np.stack([X, X[::-1]], axis=1), y == y[::-1]
    pairs = np.concatenate([pairs, np.stack([X[::2], X[1::2]], axis=1)])
    same = np.concatenate([same, np.ones(24, bool)])
    verifier = SiameseVerifier.from_classifier(clf)
    fitted = SiameseVerifier.from_classifier(other).fitted_
    expected = SiameseVerifier.from_classifier(other).calibrate_threshold(pairs, same)

    def swap(embeddings):
        verifier.fitted_ = fitted

    verifier.fitted_ = watched(verifier, swap).fitted_
    verifier.calibrate_threshold(pairs, same.astype(int))
    assert verifier.network_ is other.network_
    assert verifier.decision_threshold_ == expected.decision_threshold_


def test_predict_in_threads_sees_one_support_or_the_other(clf, new):
    X, y = new
    supports = [(X[::8], y[::8]), (X[[40, 8, 0]], np.array(["c", "b", "a"]))]
    answers = [tuple(copy.copy(clf).set_support(*own).predict(X[:5])) for own in supports]
    seen = {(answers[0], 6): threading.Event(), (answers[1], 3): threading.Event()}
    stop, errors = threading.Event(), []

    def predict():
        while not stop.is_set():
            try:
                labels, logits = clf.predict(X[:5], return_logits=True)
                seen[tuple(labels.tolist()), logits.shape[1]].set()
            except Exception as error:
                errors.append(error)

    threads = [threading.Thread(target=predict) for _ in range(2)]
    for thread in threads:
        thread.start()
    for i in range(100):
        clf.set_support(*supports[i % 2])
    for own, event in zip(supports, seen.values(), strict=True):
        clf.set_support(*own)
        event.wait(TIMEOUT)
    stop.set()
    for thread in threads:
        thread.join()
    assert not errors
    assert [event.is_set() for event in seen.values()] == [True, True]


def test_predict_in_a_thread_sees_the_old_network_or_the_new(new):
    """Each `fit` ends in a support with labels of its own."""
    X, y = new
    seen, errors, training, predicted = set(), [], threading.Event(), threading.Event()

    class WaitForPredict(Callback):
        def on_epoch_end(self, net, **kwargs):
            training.set()
            predicted.wait(TIMEOUT)

    clf = classifier().fit(X, y).set_params(callbacks=[WaitForPredict()])

    def predict():
        try:
            hundreds = set((clf.predict(X[::4]) // 100).tolist())
            seen.add(tuple(sorted(hundreds)))
        except Exception as error:
            errors.append(error)

    def fit():
        for n in range(1, 6):
            clf.fit(X, y + 100 * n)

    thread = threading.Thread(target=fit)
    thread.start()
    training.wait(TIMEOUT)
    while thread.is_alive():
        predict()
        predicted.set()
    predict()
    assert not errors
    assert {(0,), (5,)} <= seen <= {(n,) for n in range(6)}


def test_predict_in_a_thread_does_not_see_a_fit_that_fails(clf, new):
    X, _ = new
    expected = clf.predict(X[:2])
    answers, refused, predicted, wrong = [], [], threading.Event(), np.zeros((6, 20, 20))

    def fit():
        for _ in range(30):
            try:
                clf.fit(wrong, [0, 1, 2])
            except ValueError as error:
                refused.append("y has 3 values for 6 samples" in str(error))
            predicted.wait(TIMEOUT)

    thread = threading.Thread(target=fit, daemon=True)
    thread.start()
    while thread.is_alive():
        answers.append(clf.predict(X[:2]))
        predicted.set()
    assert len(answers) > 0
    assert (np.array(answers) == expected).all()
    assert refused == [True] * 30


# Not fitted


NEEDING_A_FIT = {
    **{name: call for name, call in FAILING.items() if name != "fit"},
    "clear_support": lambda clf, X, y: clf.clear_support(),
}


@pytest.mark.parametrize("name", NEEDING_A_FIT)
def test_classifier_methods_need_a_fit(new, name):
    clf = classifier()
    with unchanged(clf), pytest.raises(NotFittedError, match="not fitted yet"):
        NEEDING_A_FIT[name](clf, *new)


@pytest.mark.parametrize(
    "name",
    [
        "predict",
        "predict_proba",
        "decision_function",
        "score_samples",
        "score",
        "match",
        "kneighbors",
        "remove_support",
    ],
)
def test_classifier_methods_need_a_support(clf, new, name):
    clf.clear_support()
    message = r"no support yet. Call set_support\(X, y\)"
    with unchanged(clf), pytest.raises(NotFittedError, match=message):
        FAILING[name](clf, *new)


def test_answers_in_threads_are_those_of_some_state():
    """A short run of ``tests/long/threads.py``."""
    n_predictions, n_changes, failures = threads.main(1, ["network", "frozen"])
    assert failures == 0
    assert min(n_predictions, n_changes) > 0
