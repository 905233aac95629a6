"""Learning: several networks, Ctrl-C, warm start, and that random_state decides the weights."""

import copy
import os
import pickle
import random
import signal
import warnings
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest
import torch
from helpers import (
    CLOSE,
    assert_same_network,
    classifier,
    make_table,
    name_of,
    small_encoder,
    unchanged,
    weights,
)
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback
from torch import nn

from sksiamese import SiameseOneShotClassifier, load_pretrained
from sksiamese.callbacks import StopTraining
from sksiamese.twin import reading
from sksiamese.twin import training as twin_training
from sksiamese.twin.inference import NeuralComparer
from sksiamese.twin.scaling import InputScaling


@pytest.fixture(scope="module")
def table():
    return make_table()


class StopAfter(Callback):
    """Ends training after an epoch."""

    def __init__(self, n_epochs):
        self.n_epochs = n_epochs

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == self.n_epochs:
            self.stop()

    def stop(self):
        raise StopTraining


def test_early_stopping_records_the_accuracy_and_restores_the_best_epoch(training):
    params = {"early_stopping": True, "max_iter": 12, "n_iter_no_change": 2}
    clf = classifier(**params).fit(*training)
    accuracies = [epoch["one_shot_accuracy"] for epoch in clf.history_[0]]
    best = int(np.argmax(accuracies))
    assert clf.n_iter_ == len(accuracies) == min(12, best + 3)
    until_best = classifier(callbacks=[StopAfter(best + 1)], **params).fit(*training)
    assert_same_network(clf, until_best)


# Several networks


def test_n_estimators_trains_different_networks_whose_mean_logit_decides(training, new):
    clf = classifier(n_estimators=2, max_iter=3).fit(*training)
    alone = classifier(max_iter=3).fit(*training)
    X, labels = new[0][:9], np.arange(9)
    each = []
    for member in clf.network_.members:
        one = copy.copy(alone)
        comparer = NeuralComparer(member, clf.fitted_.comparer.scaling)
        one.fitted_ = type(clf.fitted_)(comparer, clf.input_shape_)
        each.append(one.set_support(X, labels).decision_function(X))
    expected = np.mean(each, axis=0)
    np.testing.assert_allclose(
        clf.set_support(X, labels).decision_function(X), expected, atol=1e-4
    )
    assert not np.allclose(each[0], each[1], atol=0.1)
    first = clf.network_.members[0].state_dict()
    for name, value in alone.network_.state_dict().items():
        assert torch.equal(first[name], value), name


def test_n_estimators_has_a_history_for_each_network(table):
    clf = classifier("mlp", n_estimators=3, max_iter=2).fit(*table)
    assert [len(history) for history in clf.history_] == [2, 2, 2]
    assert clf.n_iter_ == 2
    assert len({history[0]["train_loss"] for history in clf.history_}) == 3


def test_n_iter_is_that_of_the_network_with_most_epochs(table):
    lengths = iter([3, 1, 2])

    class StopAtDifferentEpochs(StopAfter):
        def on_train_begin(self, net, **kwargs):
            self.n_epochs = next(lengths)

    callbacks = [StopAtDifferentEpochs(0)]
    clf = classifier("mlp", n_estimators=3, max_iter=9, callbacks=callbacks).fit(*table)
    assert [len(history) for history in clf.history_] == [3, 1, 2]
    assert clf.n_iter_ == 3


def test_transform_of_several_networks_has_their_mean_metric(training, new):
    X, _ = new
    clf = classifier(head="weighted_l1", n_estimators=2, max_iter=2).fit(*training)
    embeddings = clf.transform(X)
    distances = np.abs(embeddings[:, None] - embeddings).sum(axis=2)
    bias = float(clf.network_.head.bias)
    np.testing.assert_allclose(bias - clf.similarity(X, X), distances, atol=1e-2)
    assert len(clf.get_feature_names_out()) == embeddings.shape[1]


# Ctrl-C


class CtrlC(StopAfter):
    """What the terminal sends, and Python raises."""

    def stop(self):
        signal.raise_signal(signal.SIGINT)


KEPT = "The network trained so far is kept"


def test_fit_keeps_the_network_trained_so_far_on_ctrl_c(training, new):
    X, y = new
    clf = classifier(max_iter=50, callbacks=[CtrlC(3)])
    with pytest.raises(KeyboardInterrupt, match=KEPT):
        clf.fit(*training)
    assert clf.n_iter_ == 3
    assert clf.classes_.tolist() == list(range(10))
    assert clf.set_support(X[::8], y[::8]).score(X, y) > 0.3


def test_fit_keeps_the_network_on_ctrl_c_while_the_support_is_embedded(training, new, monkeypatch):
    embed = NeuralComparer.embed

    def interrupted(comparer, store, rows=None, **kwargs):
        if rows is None:  # all of X
            signal.raise_signal(signal.SIGINT)
        return embed(comparer, store, rows, **kwargs)

    X, y = new
    monkeypatch.setattr(NeuralComparer, "embed", interrupted)
    clf = classifier()
    with pytest.raises(KeyboardInterrupt, match=KEPT):
        clf.fit(*training)
    monkeypatch.undo()
    with pytest.raises(NotFittedError, match="no support yet. Call set_support"):
        clf.predict(X)
    assert clf.set_support(X[::8], y[::8]).score(X, y) > 0.3


def test_fit_keeps_the_network_on_ctrl_c_after_the_last_epoch(training, monkeypatch):
    def press(*args):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(twin_training, "has_collapsed", press)
    clf = classifier(max_iter=2)
    with pytest.raises(KeyboardInterrupt, match=KEPT):
        clf.fit(*training)
    monkeypatch.undo()
    assert clf.n_iter_ == 2
    assert_same_network(clf, classifier(max_iter=2).fit(*training))


def test_fit_keeps_the_network_on_ctrl_c_while_its_head_is_solved(training, new, monkeypatch):
    def press(*args):
        signal.raise_signal(signal.SIGINT)

    X, y = new
    monkeypatch.setattr(torch.linalg, "eigh", press)
    clf = classifier(max_iter=4, precision="float32")
    with pytest.raises(KeyboardInterrupt, match=KEPT):
        clf.fit(*training)
    monkeypatch.undo()
    assert clf.n_iter_ == 4
    trained = classifier(max_iter=4, precision="float32", head="cosine").fit(*training)
    np.testing.assert_allclose(clf.similarity(X, X), trained.similarity(X, X), atol=1e-2)


@pytest.mark.parametrize(
    ("when", "lengths"), [("on_epoch_end", [2, 1]), ("on_train_begin", [2, 2])]
)
def test_fit_keeps_the_networks_trained_so_far_on_ctrl_c(table, when, lengths):
    calls = []

    def press(self, net, **kwargs):
        calls.append(net)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)

    press_at = type("PressAt", (Callback,), {when: press})
    clf = classifier("mlp", n_estimators=3, max_iter=2, callbacks=[press_at()])
    with pytest.raises(KeyboardInterrupt, match=KEPT):
        clf.fit(*table)
    assert len(clf.network_.members) == 2
    assert [len(history) for history in clf.history_] == lengths
    assert clf.score(*table) > 0.5
    assert len(clf.get_feature_names_out()) == clf.transform(table[0]).shape[1]


def test_fit_ends_a_grid_search_on_ctrl_c(table):
    fits = []

    class Count(CtrlC):
        def on_train_begin(self, net, **kwargs):
            fits.append(self)

    search = GridSearchCV(classifier("mlp", callbacks=[Count(1)]), {"max_iter": [2, 3]}, cv=2)
    with pytest.raises(KeyboardInterrupt):
        search.fit(*table)
    assert len(fits) == 1


# Warm start


def test_warm_start_continues_from_the_current_weights(glyphs):
    X, y = glyphs
    clf = classifier(head="weighted_l1", max_iter=6).fit(X[y < 8], y[y < 8])
    (history,) = clf.history_
    clf.set_params(warm_start=True, max_iter=2).fit(X[y >= 8], y[y >= 8])
    assert clf.n_iter_ == 8
    assert clf.history_[0][:6] == history
    anew = classifier(head="weighted_l1", max_iter=2).fit(X[y >= 8], y[y >= 8])
    assert clf.history_[0][-1]["train_loss"] < anew.history_[0][-1]["train_loss"]
    assert clf.classes_.tolist() == list(range(8, 16))


def test_warm_start_of_an_unfitted_classifier_is_a_start(table):
    fits = [classifier("mlp", warm_start=warm).fit(*table) for warm in (True, False)]
    assert_same_network(*fits)


def test_warm_start_leaves_the_earlier_network_unchanged(table):
    clf = classifier("mlp").fit(*table)
    before = copy.copy(clf)
    embeddings = before.transform(table[0])
    clf.set_params(warm_start=True).fit(*table)
    np.testing.assert_array_equal(before.transform(table[0]), embeddings)
    assert not np.array_equal(clf.transform(table[0]), embeddings)


def test_warm_start_needs_the_same_images_and_the_same_network(training):
    X, y = training
    clf = classifier(warm_start=True).fit(X, y)
    with (
        unchanged(clf),
        pytest.raises(
            ValueError,
            match="X has images of 12x16 .* warm_start=True continues a network for .* 16x16",
        ),
    ):
        clf.fit(X[:, :12], y)
    clf.set_params(encoder_params={"width": 8})
    with (
        unchanged(clf),
        pytest.raises(
            ValueError, match="parameters that decide how the network is built have changed since"
        ),
    ):
        clf.fit(X, y)


def test_warm_start_trains_a_pretrained_network_on_other_images(training, new):
    X, y = new
    clf = load_pretrained("omniglot")
    clf.set_params(warm_start=True, max_iter=1, random_state=0).fit(*training)
    assert clf.input_shape_ == (1, 16, 16)
    assert clf.set_support(X[::8], y[::8]).score(X, y) > 0.5


def test_warm_start_continues_each_network_and_adds_others(table):
    clf = classifier("mlp", n_estimators=2).fit(*table)
    clf.set_params(warm_start=True, n_estimators=3).fit(*table)
    assert len(clf.network_.members) == 3
    assert [len(history) for history in clf.history_] == [2, 2, 1]
    assert clf.n_iter_ == 2


def test_fit_without_warm_start_forgets_the_earlier_fit(table):
    clf = classifier("mlp", max_iter=2).fit(*table)
    first = {name: value.copy() for name, value in weights(clf).items()}
    for name, value in weights(clf.fit(*table)).items():
        np.testing.assert_array_equal(value, first[name])
    assert clf.n_iter_ == 2


# Nothing but random_state decides


def test_random_state_gives_the_same_bits_whatever_the_global_generators_are(fitted, training):
    torch.manual_seed(12345)
    np.random.seed(12345)  # noqa: NPY002 - the point is the global one
    again = SiameseOneShotClassifier(max_iter=8, random_state=0).fit(*training)
    assert_same_network(fitted, again)
    losses, expected = (
        [epoch["train_loss"] for epoch in clf.history_[0]] for clf in (again, fitted)
    )
    assert losses == expected


def test_random_state_of_another_value_gives_another_network(training):
    a, b = (classifier(random_state=seed).fit(*training) for seed in (0, 1))
    assert not np.array_equal(a.transform(training[0]), b.transform(training[0]))


@pytest.mark.parametrize(
    ("shape", "params"),
    [
        ((8, 2), {}),
        ((36, 4), {}),
        ((90, 10), {"resize": "auto"}),  # to 36x4
        ((1, 1), {}),
        ((9, 1), {"n_estimators": 2}),
        ((3, 40), {"head": "aligned"}),
        ((36, 6), {"encoder": lambda shape: strided(6, 2, 2, 2)}),  # 6 columns, then 1
        ((36, 8), {"encoder": lambda shape: strided(3, 3)}),
        ((36, 2), {"encoder": lambda shape: strided(3)}),
    ],
    ids=name_of,
)
def test_random_state_gives_the_same_bits_for_narrow_images(shape, params):
    """Of such maps, torch's bfloat16 gradients hold what happened to be in memory."""
    X = np.random.default_rng(0).random((8, *shape), np.float32)
    own = {"batch_size": (1, 4, 2), "precision": "bfloat16", "augmentation": None}
    if "encoder" not in params:
        own["encoder_params"] = {"width": 4}
    seen = set()
    for _ in range(12):
        for size in (1_000, 10_000, 100_000, 1_000_000):
            torch.full((size,), float("nan"))
        clf = classifier(**{**own, **params}).fit(X, np.arange(8) // 2)
        assert all(torch.isfinite(tensor).all() for tensor in clf.network_.state_dict().values())
        seen.add(b"".join(t.numpy().tobytes() for t in clf.network_.state_dict().values()))
    assert len(seen) == 1


def strided(*strides):
    """Return convolutions of 3x3 with these strides, and a map for each image."""
    layers = [nn.Conv2d(1, 8, 3, padding=1)]
    for stride in strides:
        layers += [nn.Conv2d(8, 8, 3, stride, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten())


@pytest.mark.parametrize("random_state", [0, None])
@pytest.mark.parametrize("encoder", ["auto", lambda shape: small_encoder()], ids=["auto", "own"])
def test_fit_leaves_the_global_generators_alone(training, encoder, random_state):
    numpy_state = np.random.get_state()[1].copy()  # noqa: NPY002 - the global one
    states = torch.get_rng_state(), random.getstate()
    classifier(encoder, random_state=random_state).fit(*training).predict(training[0])
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002


@pytest.mark.parametrize("encoder", ["auto", "own"])
def test_fit_in_threads_learns_the_same_bits(training, encoder):
    """Dropout draws from torch's global generator, which one thread at a time is lent."""

    def build(shape):
        return nn.Sequential(small_encoder(), nn.Dropout(0.5))

    encoder = build if encoder == "own" else encoder
    here = classifier(encoder).fit(*training)
    before = torch.get_rng_state()
    fits = joblib.Parallel(n_jobs=3, backend="threading")(
        joblib.delayed(classifier(encoder).fit)(*training) for _ in range(3)
    )
    assert torch.equal(torch.get_rng_state(), before)
    for there in fits:
        assert_same_network(here, there)


def test_fit_in_another_process_learns_the_same_bits(training):
    here = classifier().fit(*training)
    (there,) = joblib.Parallel(n_jobs=2)([joblib.delayed(classifier().fit)(*training)])
    assert_same_network(here, there)
    np.testing.assert_allclose(
        there.decision_function(training[0]), here.decision_function(training[0]), **CLOSE
    )


def test_fit_warns_of_nothing(table):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classifier("mlp", early_stopping=True, unknown_label=-1).fit(*table).predict(table[0])


def test_fit_scales_each_image_once(training, monkeypatch):
    shown, n_shown = InputScaling.shown, []

    def counted(scaling, seen):
        if scaling.crop == "foreground":
            n_shown.append(len(seen.images))
        return shown(scaling, seen)

    monkeypatch.setattr(InputScaling, "shown", counted)
    classifier(crop="foreground", max_iter=3).fit(*training).predict(training[0][:1])
    assert sum(n_shown) == len(training[0]) + 1


@pytest.mark.parametrize("params", [{}, {"head": "whitened", "early_stopping": True}])
def test_fit_learns_the_same_of_images_that_are_scaled_in_each_epoch(
    training, monkeypatch, params
):
    params = {"crop": "foreground", "unknown_label": -1, **params}
    kept = classifier(**params).fit(*training)
    monkeypatch.setattr(reading, "LARGEST", 0)
    read_again = classifier(**params).fit(*training)
    for name, weight in weights(kept).items():
        np.testing.assert_allclose(weight, weights(read_again)[name], **CLOSE)
    for method in ("decision_function", "score_samples"):
        answers = [getattr(clf, method)(training[0]) for clf in (kept, read_again)]
        np.testing.assert_allclose(*answers, **CLOSE)


def test_fit_embeds_the_training_set_when_it_is_first_asked_for(training, monkeypatch):
    embed, n_times = NeuralComparer.embed, []

    def counted(comparer, store, rows=None, **check):
        n_times.append(rows is None and len(store) == len(training[0]))
        return embed(comparer, store, rows, **check)

    monkeypatch.setattr(NeuralComparer, "embed", counted)
    clf = classifier(crop="foreground").fit(*training)
    assert len(clf.classes_) == 10
    assert len(clf.support_) == len(training[0])
    assert not any(n_times)
    for _ in range(2):
        clf.predict(training[0][:1])
        assert sum(n_times) == 1


@pytest.fixture
def mapped(training, tmp_path):
    """Path of a file with the training images, and the images and labels, mapped read-only."""
    path = tmp_path / "images.npy"
    np.save(path, training[0])
    return path, np.load(path, mmap_mode="r"), training[1]


@pytest.mark.parametrize("crop", ["foreground", None])
def test_predict_knows_the_images_that_fit_was_given(training, crop):
    X, y = training[0].copy(), training[1]
    expected = classifier(crop=crop).fit(*training).decision_function(training[0])
    clf = classifier(crop=crop).fit(X, y)
    X[:] = X[::-1].copy()
    np.testing.assert_allclose(clf.decision_function(training[0]), expected, **CLOSE)


def test_predict_refuses_a_memory_map_that_changed_before_it_was_embedded(mapped, training):
    path, X, y = mapped
    clf, embedded = (classifier(crop=None).fit(X, y) for _ in range(2))
    expected = embedded.decision_function(training[0])
    with path.open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\7")
    os.utime(path, ns=(0, 0))
    with pytest.raises(OSError, match="has changed since fit read it"):
        clf.predict(training[0])
    np.testing.assert_allclose(embedded.decision_function(training[0]), expected, **CLOSE)
    assert clf.set_support(*training).predict(training[0][:1]).shape == (1,)


def test_predict_knows_a_memory_map_whose_file_is_gone(mapped, training):
    path, X, y = mapped
    expected = classifier(crop=None).fit(*training).decision_function(training[0])
    clf = classifier(crop=None).fit(X, y)
    path.unlink()
    np.testing.assert_allclose(clf.decision_function(training[0]), expected, **CLOSE)


@pytest.mark.parametrize("copied", [lambda clf: pickle.loads(pickle.dumps(clf)), copy.deepcopy])
def test_copies_of_a_fitted_classifier_have_its_support(training, copied):
    clf = classifier(crop="foreground").fit(*training)
    answers = copied(clf).decision_function(training[0])
    np.testing.assert_array_equal(answers, clf.decision_function(training[0]))


def test_predict_in_threads_right_after_fit_gives_one_answer(training):
    clf = classifier(crop="foreground").fit(*training)
    expected = copy.deepcopy(clf).decision_function(training[0])
    with ThreadPoolExecutor(4) as threads:
        answers = threads.map(lambda _: clf.decision_function(training[0]), range(8))
        for answer in answers:
            np.testing.assert_array_equal(answer, expected)
