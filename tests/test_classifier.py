"""SiameseOneShotClassifier: learn once, then every new class costs one exemplar."""

import copy
import itertools
import random
import signal
import threading
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import expit, softmax
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import NearestNeighbors
from skorch.callbacks import Callback
from torch import nn

from sksiamese import SiameseOneShotClassifier, load_pretrained
from sksiamese.datasets import make_glyphs
from sksiamese.twin import inference, training
from sksiamese.twin.callbacks import StopTraining
from sksiamese.twin.inference import encode

CLOSE = {"rtol": 1e-4, "atol": 1e-4}


def classifier(encoder="auto", **params):
    return SiameseOneShotClassifier(encoder, **{"max_iter": 1, "random_state": 0, **params})


def weights(clf):
    return {name: value.numpy() for name, value in clf.network_.state_dict().items()}


def assert_same_weights(a, b):
    a, b = weights(a), weights(b)
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])


@pytest.fixture(scope="module")
def background(glyphs):
    X, y = glyphs
    return X[y < 10], y[y < 10]


@pytest.fixture(scope="module")
def new(glyphs):
    """48 drawings of six classes that `fitted` has not seen."""
    X, y = glyphs
    return X[y >= 10], y[y >= 10]


@pytest.fixture
def twin(fitted, new):
    """One exemplar of each new class, the first of its eight drawings, is the support."""
    X, y = new
    return copy.copy(fitted).set_support(X[::8], y[::8])


# What it is for


def test_it_reads_unseen_characters_from_one_example_each(twin, new):
    assert twin.score(*new) > 0.6  # chance is 1/6


def test_after_fit_the_training_set_is_the_support(fitted, background):
    X, y = background
    assert fitted.classes_.tolist() == list(range(10))
    assert len(fitted.support_) == 80
    assert fitted.score(X, y) > 0.8
    assert fitted.n_iter_ == len(fitted.history_) == 8
    assert fitted.history_[-1]["train_loss"] < fitted.history_[0]["train_loss"]


def test_methods_return_self(fitted, new):
    X, y = new
    clf = copy.copy(fitted)
    assert clf.set_support(X, y) is clf
    assert clf.add_support(X, y) is clf
    assert clf.remove_support(10) is clf
    unfitted = classifier()
    assert unfitted.fit(X, y) is unfitted


def test_a_module_not_trained_yet_has_no_classes():
    assert not hasattr(classifier(), "classes_")


# Support


def test_classes_follow_the_support(twin, new):
    X, _ = new
    assert twin.classes_.tolist() == [10, 11, 12, 13, 14, 15]
    twin.add_support(X[:2], [3, 10])
    assert twin.classes_.tolist() == [3, 10, 11, 12, 13, 14, 15]
    twin.remove_support({11, 15})
    assert twin.classes_.tolist() == [3, 10, 12, 13, 14]
    twin.remove_support(3)
    assert twin.classes_.tolist() == [10, 12, 13, 14]
    twin.set_support(X[:2], ["b", "a"])
    assert twin.classes_.tolist() == ["a", "b"]


def test_adding_exemplars_one_by_one_is_setting_them_together(fitted, new):
    X, y = new
    together = copy.copy(fitted).set_support(X[:20], y[:20])
    one_by_one = copy.copy(fitted).set_support(X[:1], y[:1])
    for i in range(1, 20):
        one_by_one.add_support(X[i : i + 1], y[i : i + 1])
    np.testing.assert_allclose(
        one_by_one.decision_function(X), together.decision_function(X), **CLOSE
    )


def test_what_was_removed_is_as_if_it_had_never_been_there(fitted, new):
    X, y = new
    clf = copy.copy(fitted).set_support(X, y).remove_support([10, 13])
    kept = ~np.isin(y, [10, 13])
    expected = copy.copy(fitted).set_support(X[kept], y[kept])
    np.testing.assert_allclose(clf.predict_proba(X), expected.predict_proba(X), **CLOSE)


def test_an_emptied_support_can_be_filled_again(twin, new):
    X, y = new
    twin.remove_support(twin.classes_)
    assert len(twin.classes_) == 0
    with pytest.raises(NotFittedError, match="no support yet: call set_support"):
        twin.predict(X)
    assert twin.add_support(X[:1], ["a"]).predict(X[:1]).tolist() == ["a"]


def test_a_new_support_does_not_change_the_network_or_a_copy(fitted, new):
    before = weights(fitted)
    before = {name: value.copy() for name, value in before.items()}
    clf = copy.copy(fitted).set_support(*new)
    assert clf.network_ is fitted.network_
    assert fitted.classes_.tolist() == list(range(10))
    for name, value in weights(fitted).items():
        np.testing.assert_array_equal(value, before[name])


def test_writing_into_y_afterwards_changes_nothing(fitted, new):
    X, y = new[0], new[1].copy()
    clf = copy.copy(fitted).set_support(X, y)
    before = clf.predict(X)
    y[:] = -1
    clf.add_support(X[:1], [10])
    np.testing.assert_array_equal(clf.predict(X), before)


@pytest.mark.parametrize(
    "names",
    [
        ["ka", "ki", "ku", "ke", "ko", "n"],
        np.array(["ka", "ki", "ku", "ke", "ko", "n"], dtype=object),
        [-3, -2, -1, 0, 1, 2],
        np.array([5, 4, 3, 2, 1, 0], dtype=np.uint8),
        [10.0, 20.0, 30.0, 40.0, 50.0, 60.0],
        pd.Series(["ka", "ki", "ku", "ke", "ko", "n"], dtype="category"),
    ],
    ids=["str", "object", "negative", "uint8", "float", "category"],
)
def test_labels_of_any_dtype(twin, new, names):
    X, y = new
    columns = twin.decision_function(X)
    names = np.asarray(names)
    twin.set_support(X[::8], names)
    answers = twin.predict(X)
    assert set(answers.tolist()) <= set(names.tolist())
    np.testing.assert_array_equal(answers, names[columns.argmax(1)])
    assert twin.score(X, names[y - 10]) > 0.6


def test_boolean_labels(background):
    X, y = background
    clf = classifier(max_iter=2).fit(X, y < 5)
    assert clf.classes_.tolist() == [False, True]
    assert clf.predict(X).dtype == bool


# Answers


def test_probabilities_are_the_softmax_of_the_logits(twin, new):
    X, _ = new
    logits, probabilities = twin.decision_function(X), twin.predict_proba(X)
    assert logits.shape == probabilities.shape == (48, 6)
    assert logits.dtype == probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(probabilities, softmax(logits, axis=1), rtol=1e-5)
    np.testing.assert_array_equal(twin.predict(X), twin.classes_[logits.argmax(1)])
    np.testing.assert_array_equal(twin.predict(X), twin.classes_[probabilities.argmax(1)])


def test_two_classes_have_one_logit(twin, new):
    X, _ = new
    twin.set_support(X[[0, 8, 1]], ["a", "b", "a"])
    logits = twin.decision_function(X)
    assert logits.shape == (48,)
    np.testing.assert_array_equal(twin.predict(X), np.where(logits > 0, "b", "a"))
    np.testing.assert_allclose(twin.predict_proba(X)[:, 1], expit(logits), **CLOSE)


def test_one_class_has_one_column(twin, new):
    X, _ = new
    twin.set_support(X[:2], ["a", "a"])
    assert twin.decision_function(X).shape == (48, 1)
    assert (twin.predict_proba(X) == 1).all()
    assert set(twin.predict(X)) == {"a"}


def test_answers_stay_apart_where_sigmoids_saturate(twin, new):
    X, _ = new
    twin.network_ = copy.deepcopy(twin.network_)
    before = twin.predict(X)
    twin.network_.head.margin += 1.5  # of which a logit has twenty
    assert (twin.pair_proba(X, X[::-1]) == 1).mean() > 0.5
    np.testing.assert_array_equal(twin.predict(X), before)


def test_similarity_is_symmetric_and_greatest_with_itself(twin, new):
    X, _ = new
    similarity = twin.similarity(X, X)
    bias = twin.network_.head.bias.item()
    assert similarity.shape == (48, 48)
    np.testing.assert_allclose(similarity, similarity.T, **CLOSE)
    np.testing.assert_allclose(similarity.diagonal(), bias, **CLOSE)
    assert (similarity <= bias + 1e-4).all()
    np.testing.assert_allclose(twin.similarity(X[:3], X[3:8]), similarity[:3, 3:8], **CLOSE)


def test_with_one_exemplar_a_class_the_logit_is_the_similarity(twin, new):
    X, _ = new
    np.testing.assert_allclose(twin.decision_function(X), twin.similarity(X, X[::8]), **CLOSE)


def test_kneighbors_are_the_nearest_exemplars(twin, new):
    X, y = new
    twin.set_support(X, y)
    distances, indices = twin.kneighbors(X, 4)
    assert distances.shape == indices.shape == (48, 4)
    assert (np.diff(distances, axis=1) >= 0).all()
    assert indices[:, 0].tolist() == list(range(48))
    np.testing.assert_allclose(distances[:, 0], 0, atol=1e-4)
    bias = twin.network_.head.bias.item()
    expected = np.sort(bias - twin.similarity(X, X), axis=1)[:, :4]
    np.testing.assert_allclose(distances, expected, **CLOSE)
    np.testing.assert_array_equal(twin.kneighbors(X, 4, return_distance=False), indices)
    assert twin.kneighbors(X)[0].shape == (48, 5)


def test_the_l1_distance_of_codes_is_the_twins_own_metric(twin, new):
    X, y = new
    queries, exemplars, labels = X[1::2], X[::2], y[::2]
    codes = twin.transform(exemplars)
    assert codes.dtype == np.float32
    nearest = NearestNeighbors(n_neighbors=6, metric="manhattan").fit(codes)
    distances, indices = nearest.kneighbors(twin.transform(queries))
    expected, order = twin.set_support(exemplars, labels).kneighbors(queries, 6)
    np.testing.assert_allclose(distances, expected, **CLOSE)
    np.testing.assert_array_equal(indices, order)
    logits = twin.network_.head.bias.item() - distances
    similarity = np.take_along_axis(twin.similarity(queries, exemplars), indices, 1)
    np.testing.assert_allclose(logits, similarity, **CLOSE)


AGGREGATE = {"mean": np.mean, "max": np.max}


@pytest.mark.parametrize("aggregation", ["mean", "max", "prototype"])
def test_several_exemplars_a_class_make_one_logit(twin, new, aggregation):
    X, _ = new
    labels = np.array(list("cabcaccb"))  # 2, 2 and 4 of them, not in order
    queries, exemplars = X[1::2], X[:48:6]
    twin.aggregation = aggregation
    logits = twin.set_support(exemplars, labels).decision_function(queries)
    if aggregation == "prototype":
        codes, bias = twin.transform(exemplars), twin.network_.head.bias.item()
        means = np.stack([codes[labels == c].mean(0) for c in "abc"])
        expected = bias - np.abs(twin.transform(queries)[:, None] - means).sum(2)
    else:
        similarity = twin.similarity(queries, exemplars)
        columns = [AGGREGATE[aggregation](similarity[:, labels == c], axis=1) for c in "abc"]
        expected = np.stack(columns, 1)
    np.testing.assert_allclose(logits, expected, **CLOSE)


def test_the_signed_head_is_symmetric_too(background, new):
    clf = classifier(head="signed_l1", max_iter=4).fit(*background)
    X, y = new
    similarity = clf.similarity(X, X)
    np.testing.assert_allclose(similarity, similarity.T, **CLOSE)
    assert clf.set_support(X[::8], y[::8]).score(X, y) > 0.4


# Forms of X


def forms():
    yield "flat", lambda X: X.reshape(len(X), -1), {"image_shape": (16, 16)}
    yield "flat frame", lambda X: pd.DataFrame(X.reshape(len(X), -1)), {"image_shape": (16, 16)}
    yield "flat with a channel", lambda X: X.reshape(len(X), -1), {"image_shape": (1, 16, 16)}
    yield "channel first", lambda X: X[:, None], {}
    yield "channel last", lambda X: X[..., None], {}
    yield "list", lambda X: X.tolist(), {}
    yield "fortran", np.asfortranarray, {}
    yield "sliced", lambda X: np.repeat(X, 2, axis=0)[::2], {}
    for dtype in (np.uint8, bool, np.int32, np.float16, np.float64):
        yield np.dtype(dtype).name, lambda X, dtype=dtype: X.astype(dtype), {}


@pytest.fixture(scope="module")
def drawn(background):
    """Black and white, so that every dtype can hold it."""
    X, y = background
    return (X > 0.5).astype(np.float32), y


@pytest.fixture(scope="module")
def expected(drawn):
    return classifier().fit(*drawn).decision_function(drawn[0])


@pytest.mark.parametrize(("form", "params"), [f[1:] for f in forms()], ids=[f[0] for f in forms()])
def test_every_form_of_x_gives_the_same_answers(drawn, expected, form, params):
    X, y = drawn
    X = form(X)
    clf = classifier(**params).fit(X, y)
    assert clf.input_shape_ == (1, 16, 16)
    assert clf.n_features_in_ == 256
    np.testing.assert_allclose(clf.decision_function(X), expected, **CLOSE)


def test_a_read_only_memory_map_gives_the_same_answers(drawn, expected, tmp_path):
    X, y = drawn
    np.save(tmp_path / "X.npy", X.astype(np.uint8))
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clf = classifier().fit(mapped, y)
        np.testing.assert_allclose(clf.decision_function(mapped), expected, **CLOSE)


def test_one_form_fitted_another_predicted(drawn, expected):
    X, y = drawn
    clf = classifier(image_shape=(16, 16)).fit(X.reshape(len(X), -1), y)
    for images in (X, X[:, None], X[..., None], X.astype(bool)):
        np.testing.assert_allclose(clf.decision_function(images), expected, **CLOSE)
    clf = classifier(image_shape=(16, 16)).fit(X, y)
    rows = X.reshape(len(X), -1)
    np.testing.assert_allclose(clf.decision_function(rows), expected, **CLOSE)


def test_colour_images_of_both_orders_give_the_same_answers(drawn):
    X, y = drawn
    first = np.stack([X * 200, 255 - X * 90, X * 30], 1).astype(np.uint8)
    last = np.moveaxis(first, 1, -1)
    clf = classifier().fit(first, y)
    again = classifier().fit(last, y)
    assert clf.input_shape_ == again.input_shape_ == (3, 16, 16)
    np.testing.assert_allclose(
        clf.decision_function(first), again.decision_function(last), **CLOSE
    )
    np.testing.assert_allclose(clf.decision_function(last), clf.decision_function(first), **CLOSE)


def test_channels_resolves_what_is_ambiguous(drawn):
    X, y = drawn
    two = np.stack([X, 1 - X], -1)
    clf = classifier(channels="last").fit(two, y)
    assert clf.input_shape_ == (2, 16, 16)


@pytest.mark.parametrize("shape", [(16, 9), (7, 16), (1, 16), (5, 5)])
def test_images_need_not_be_square_or_large(drawn, shape):
    X, y = drawn
    X = X[:, : shape[0], -shape[1] :]
    clf = classifier(channels="first", class_transforms="rotate_reflect").fit(X[:, None], y)
    assert clf.predict(X).shape == (80,)


def test_tables_are_learned_by_the_mlp():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(12, 20))
    y = np.repeat(np.arange(12), 10)
    X = centres[y] + 0.3 * rng.normal(size=(120, 20))
    clf = classifier("mlp", max_iter=8).fit(X[:80], y[:80])
    clf.set_support(X[80::10], y[80::10])
    assert clf.input_shape_ == (20,)
    assert clf.score(X[80:], y[80:]) > 0.9


# Forms of y


def pairs_of(y, n_pairs, seed=0):
    rng = np.random.default_rng(seed)
    i = rng.integers(len(y), size=n_pairs)
    same = rng.random(n_pairs) < 0.5
    j = np.where(same, i // 8 * 8 + (i + rng.integers(1, 8, n_pairs)) % 8, (i + 8) % len(y))
    return np.stack([i, j, y[i] == y[j]], 1)


@pytest.mark.parametrize("loss", ["both", "verification"])
def test_pairs_teach_it_too(background, new, loss):
    pairs = pairs_of(background[1], 600)
    clf = classifier(max_iter=6, loss=loss).fit(background[0], pairs)
    X, y = new
    assert not hasattr(clf, "classes_")
    with pytest.raises(NotFittedError, match="set_support"):
        clf.predict(X)
    assert clf.similarity(X, X).shape == (48, 48)
    assert clf.set_support(X[::8], y[::8]).score(X, y) > 0.4  # chance is 1/6


def test_support_can_be_added_after_pairs(background, new):
    clf = classifier().fit(background[0], pairs_of(background[1], 50))
    assert clf.add_support(new[0][:1], ["a"]).classes_.tolist() == ["a"]


def test_groups_keep_the_pairs_inside(new):
    """Group h has the classes of group g, drawn alike; only inside a group are they two."""
    X, y = new
    y = np.tile(y, 2)
    groups = np.repeat(["g", "h"], 48)
    batches = []

    class Note(Callback):
        def on_batch_begin(self, net, batch=None, **kwargs):
            batches.append(batch[1])

    clf = classifier(callbacks=[Note()], batch_shape=(2, 3, 2), max_iter=2)
    clf.fit(np.concatenate([X, X]), y, groups=groups)
    for same in batches:
        assert same.shape == (12, 12)
        assert (same[:6, 6:] == -1).all()
        assert (same[:6, :6] == 0).any()
    assert clf.classes_.tolist() == [10, 11, 12, 13, 14, 15]


def test_groups_are_learned_from():
    X, y, groups = make_glyphs(16, 8, image_size=16, n_groups=3, random_state=1)
    trained = y < 11
    clf = classifier(max_iter=8).fit(X[trained], y[trained], groups=groups[trained])
    clf.set_support(X[~trained][::8], y[~trained][::8])
    assert clf.score(X[~trained], y[~trained]) > 0.6


# Training


def test_early_stopping_records_accuracy_and_restores_the_best_epoch(background):
    params = {"early_stopping": True, "max_iter": 12, "n_iter_no_change": 2}
    clf = classifier(**params).fit(*background)
    accuracies = [epoch["one_shot_accuracy"] for epoch in clf.history_]
    best = int(np.argmax(accuracies))
    assert clf.n_iter_ == len(accuracies) == min(12, best + 3)
    until_best = classifier(callbacks=[StopAfter(best + 1)], **params).fit(*background)
    assert_same_weights(clf, until_best)


class StopAfter(Callback):
    """Ends training with an epoch."""

    def __init__(self, n_epochs):
        self.n_epochs = n_epochs

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == self.n_epochs:
            raise self.stop()

    def stop(self):
        return StopTraining()


class CtrlC(StopAfter):
    """What the terminal sends, and Python raises."""

    def stop(self):
        signal.raise_signal(signal.SIGINT)


def test_ctrl_c_keeps_the_twin_trained_so_far_and_goes_on_up(background, new):
    X, y = new
    clf = classifier(max_iter=50, callbacks=[CtrlC(3)])
    with pytest.raises(KeyboardInterrupt, match="the twin trained so far is kept"):
        clf.fit(*background)
    assert clf.n_iter_ == 3
    assert clf.predict(X).shape == (48,)
    assert clf.set_support(X[::8], y[::8]).score(X, y) > 0.3


def test_ctrl_c_before_the_first_step_leaves_the_estimator_as_it_was(fitted, background):
    class AtOnce(Callback):
        def on_train_begin(self, net, **kwargs):
            raise KeyboardInterrupt

    clf = copy.copy(fitted).set_params(callbacks=[AtOnce()])
    before = vars(clf).copy()
    with pytest.raises(KeyboardInterrupt):
        clf.fit(*background)
    assert vars(clf).keys() == before.keys()
    assert all(vars(clf)[name] is before[name] for name in before)


def test_ctrl_c_while_the_support_is_encoded_keeps_the_twin(background, new, monkeypatch):
    def interrupted(network, store, indices=None):
        if indices is None:  # all of X
            signal.raise_signal(signal.SIGINT)
        return encode(network, store, indices)

    X, y = new
    monkeypatch.setattr(inference, "encode", interrupted)
    clf = classifier()
    with pytest.raises(KeyboardInterrupt, match="the twin trained so far is kept"):
        clf.fit(*background)
    monkeypatch.undo()
    with pytest.raises(NotFittedError, match="no support yet: call set_support"):
        clf.predict(X)
    assert clf.set_support(X[::8], y[::8]).predict(X).shape == (48,)


@pytest.mark.parametrize(("factor", "said"), [(1 / 255, "0.00"), (255, "e\\+02")])
def test_images_in_other_units_are_warned_of(twin, new, factor, said):
    X, _ = new
    with pytest.warns(UserWarning, match=f"X spans .*{said}.* times the range .* same units"):
        twin.predict(X * factor)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        twin.predict(X)
        twin.predict(np.zeros_like(X))  # blank is blank in any
        twin.predict(np.eye(16, dtype=np.uint8)[None])  # a byte has no parts of 1


def test_a_thread_that_predicts_does_not_see_a_refit_that_fails(twin, new):
    X, _ = new
    errors, refused, wrong = [], [], np.zeros((6, 20, 20))

    def refit():
        for _ in range(30):
            try:
                twin.fit(wrong, [0, 1, 2])
            except ValueError as error:
                refused.append("y has 3 values for 6 samples" in str(error))

    thread = threading.Thread(target=refit)
    thread.start()
    while thread.is_alive():
        try:
            twin.predict(X[:2])
        except ValueError as error:
            errors.append(error)
    thread.join()
    assert not errors
    assert refused == [True] * 30


@pytest.mark.parametrize(
    "call",
    [
        lambda clf, X: clf.predict_proba(X),
        lambda clf, X: clf.kneighbors(X, 1)[0],
        lambda clf, X: clf.similarity(X, X.copy()),
        lambda clf, X: clf.pair_proba(X, X[::-1]),
        lambda clf, X: clf.transform(X),
    ],
)
def test_a_prediction_during_a_refit_is_of_one_twin(call, twin, background, new, monkeypatch):
    X = new[0][:3]
    other = classifier(max_iter=1, random_state=5).fit(*background).set_support(new[0], new[1])
    expected, current = call(twin, X), copy.copy(twin)
    encode = inference.encode

    def encode_and_fit_anew(*args, **kwargs):
        codes = encode(*args, **kwargs)
        current.__dict__ = other.__dict__  # as another thread's fit does
        return codes

    monkeypatch.setattr(inference, "encode", encode_and_fit_anew)
    np.testing.assert_array_equal(call(current, X), expected)
    monkeypatch.undo()
    assert not np.array_equal(call(current, X), expected)


def test_ctrl_c_after_the_last_epoch_keeps_the_twin(background, new, monkeypatch):
    def press(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "has_collapsed", press)
    clf = classifier(max_iter=2)
    with pytest.raises(KeyboardInterrupt, match="the twin trained so far is kept"):
        clf.fit(*background)
    assert clf.n_iter_ == 2
    assert clf.set_support(*new).predict(new[0]).shape == new[1].shape


def test_ctrl_c_stops_a_grid_search(background):
    fits = []

    class Count(CtrlC):
        def on_train_begin(self, net, **kwargs):
            fits.append(self)

    search = GridSearchCV(classifier(callbacks=[Count(1)]), {"max_iter": [2, 3]}, cv=2)
    with pytest.raises(KeyboardInterrupt):
        search.fit(*background)
    assert len(fits) == 1


def test_members_are_different_twins_whose_mean_answers(background, new):
    clf = classifier(n_members=2, max_iter=3).fit(*background)
    alone = classifier(max_iter=3).fit(*background)
    first, second = clf.network_.members
    X = new[0][:9]
    logits = [copy.copy(alone).set_support(X, range(9)) for _ in range(2)]
    logits[0].network_, logits[1].network_ = first, second
    each = [one.set_support(X, range(9)).decision_function(X) for one in logits]
    np.testing.assert_allclose(
        clf.set_support(X, range(9)).decision_function(X), np.mean(each, axis=0), atol=1e-4
    )
    assert not np.allclose(each[0], each[1], atol=0.1)
    # The first is the twin that would have been trained alone.
    for name, value in first.state_dict().items():
        assert torch.equal(value, alone.network_.state_dict()[name]), name
    assert clf.n_iter_ == len(clf.history_) == 6


def test_the_l1_distance_of_members_codes_is_their_metric_too(background, new):
    clf = classifier(n_members=2, max_iter=2).fit(*background)
    codes = clf.transform(new[0])
    distances = np.abs(codes[:, None] - codes).sum(axis=2)
    bias = float(clf.network_.head.bias)
    np.testing.assert_allclose(bias - clf.similarity(*2 * [new[0]]), distances, atol=1e-2)
    assert len(clf.get_feature_names_out()) == codes.shape[1]


@pytest.mark.parametrize(("when", "n_epochs"), [("on_epoch_end", 3), ("on_train_begin", 4)])
def test_ctrl_c_keeps_the_members_trained_so_far(background, new, when, n_epochs):
    calls = []

    def press(self, net, **kwargs):
        calls.append(net)
        if len(calls) == 3:
            raise KeyboardInterrupt

    Press = type("Press", (Callback,), {when: press})
    clf = classifier(n_members=3, max_iter=2, callbacks=[Press()])
    with pytest.raises(KeyboardInterrupt, match="the twin trained so far is kept"):
        clf.fit(*background)
    assert clf.network_.n_members == 2 and clf.n_iter_ == n_epochs
    assert clf.set_support(*new).predict(new[0]).shape == new[1].shape
    assert len(clf.get_feature_names_out()) == clf.transform(new[0]).shape[1]


def test_net_params_reach_skorch(background):
    clf = classifier(net_params={"optimizer": torch.optim.SGD, "optimizer__momentum": 0.5})
    seen = []

    class Look(Callback):
        def on_epoch_end(self, net, **kwargs):
            seen.append((type(net.optimizer_), net.optimizer_.param_groups[0]["momentum"]))

    clf.set_params(callbacks=[Look()]).fit(*background)
    assert seen == [(torch.optim.SGD, 0.5)]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_training_in_either_precision_gives_a_float32_network(background, precision):
    clf = classifier(precision=precision, max_iter=2).fit(*background)
    assert {value.dtype for value in weights(clf).values()} <= {
        np.dtype(name) for name in ("float32", "float64", "int64")
    }
    assert clf.score(*background) > 0.3


# Encoders


def small():
    return nn.Sequential(nn.Flatten(), nn.Linear(256, 16), nn.ReLU(), nn.Linear(16, 8))


def test_a_module_is_not_trained_in_place(background):
    module = small()
    before = [p.detach().clone() for p in module.parameters()]
    clf = classifier(module, max_iter=3).fit(*background)
    assert clf.encoder is module
    assert clf.network_.encoder is not module
    for p, old in zip(module.parameters(), before, strict=True):
        assert torch.equal(p, old)
        assert p.grad is None
        assert p.requires_grad
    assert not torch.equal(clf.network_.encoder[1].weight, module[1].weight)
    assert module.training


def test_a_module_gives_the_same_result_twice(background):
    module = small()
    fits = [classifier(module, max_iter=2).fit(*background) for _ in range(2)]
    assert_same_weights(*fits)


def test_a_callable_builds_the_encoder_by_random_state(background):
    shapes = []

    def build(shape):
        shapes.append(shape)
        return small()

    a, b = (classifier(build).fit(*background) for _ in range(2))
    other = classifier(build, random_state=1).fit(*background)
    assert shapes == [(1, 16, 16)] * 3
    assert_same_weights(a, b)
    assert not np.array_equal(a.transform(background[0]), other.transform(background[0]))


def test_an_encoder_with_dropout_is_decided_by_random_state_too(background):
    def build(shape):
        return nn.Sequential(small(), nn.Dropout(0.5))

    before = torch.get_rng_state()
    fits = [classifier(build).fit(*background) for _ in range(2)]
    assert torch.equal(torch.get_rng_state(), before)
    assert_same_weights(*fits)


def test_an_encoder_of_the_user_s_may_hold_a_view(background):
    """`view` fails on channels-last tensors, which only our own encoders get."""

    class Viewed(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 3)

        def forward(self, x):
            x = self.conv(x)
            return x.view(x.size(0), -1)

    X = background[0]
    assert classifier(Viewed()).fit(*background).transform(X).shape == (80, 2 * 14 * 14)


def test_lazy_layers_are_decided_by_random_state_too(background):
    before = torch.get_rng_state()
    fits = [
        classifier(nn.Sequential(nn.Flatten(), nn.LazyLinear(8))).fit(*background)
        for _ in range(2)
    ]
    assert torch.equal(torch.get_rng_state(), before)
    assert_same_weights(*fits)


def test_threads_learn_the_same_bits_with_an_encoder_of_the_user_s(background):
    def build(shape):
        return nn.Sequential(small(), nn.Dropout(0.5))

    before = torch.get_rng_state()
    here = classifier(build).fit(*background)
    fits = joblib.Parallel(n_jobs=3, backend="threading")(
        joblib.delayed(classifier(build).fit)(*background) for _ in range(3)
    )
    assert torch.equal(torch.get_rng_state(), before)
    for there in fits:
        assert_same_weights(here, there)


def test_the_papers_encoder_at_its_smallest_images():
    X, y = make_glyphs(n_classes=3, n_samples=2, image_size=65, random_state=0)
    clf = classifier("koch", batch_shape=(1, 2, 2), distortion=None).fit(X, y)
    assert clf.transform(X).shape == (6, 4096)
    assert clf.predict(X).shape == (6,)


def test_integers_keep_their_digits():
    """Seconds since 1970 and serial numbers differ in digits that float32 does not hold."""
    X = np.random.RandomState(0).randint(0, 100, (40, 6)) + np.repeat([0, 200], 20)[:, None]
    y = np.repeat([0, 1], 20)
    near = classifier().fit(X, y).predict_proba(X)
    far = classifier().fit(X + 1_700_000_000, y).predict_proba(X + 1_700_000_000)
    np.testing.assert_allclose(far, near, **CLOSE)


# Nothing but random_state decides


def test_the_same_random_state_gives_the_same_bits(fitted, background):
    again = SiameseOneShotClassifier(max_iter=8, random_state=0).fit(*background)
    assert_same_weights(fitted, again)
    assert [e["train_loss"] for e in again.history_] == [e["train_loss"] for e in fitted.history_]


def test_another_random_state_gives_another_twin(background):
    a, b = (classifier(random_state=seed).fit(*background) for seed in (0, 1))
    assert not np.array_equal(a.transform(background[0]), b.transform(background[0]))


def test_a_refit_is_a_fit(background):
    clf = classifier(max_iter=2).fit(*background)
    first = weights(clf)
    for name, value in weights(clf.fit(*background)).items():
        np.testing.assert_array_equal(value, first[name])


def test_workers_learn_the_same_bits_as_the_main_process(background):
    here = classifier(max_iter=2).fit(*background)
    fits = joblib.Parallel(n_jobs=2)(
        joblib.delayed(classifier(max_iter=2).fit)(*background) for _ in range(2)
    )
    for there in fits:
        assert_same_weights(here, there)


def test_threads_learn_the_same_bits_as_one(background):
    here = classifier(max_iter=2).fit(*background)
    fits = joblib.Parallel(n_jobs=3, backend="threading")(
        joblib.delayed(classifier(max_iter=2).fit)(*background) for _ in range(3)
    )
    for there in fits:
        assert_same_weights(here, there)


@pytest.mark.parametrize("random_state", [0, None])
@pytest.mark.parametrize("encoder", ["auto", lambda shape: small()], ids=["auto", "callable"])
def test_global_generators_are_left_alone(background, encoder, random_state):
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    classifier(encoder, random_state=random_state).fit(*background).predict(background[0])
    assert torch.equal(torch.get_rng_state(), states[0])
    np.testing.assert_array_equal(np.random.get_state()[1], states[1])
    assert random.getstate() == states[2]


def test_global_generators_are_not_read(fitted, background):
    torch.manual_seed(12345)
    np.random.seed(12345)  # noqa: NPY002 - the point is the global one
    again = SiameseOneShotClassifier(max_iter=8, random_state=0).fit(*background)
    assert_same_weights(fitted, again)


def test_answers_do_not_depend_on_the_batch(twin, new):
    X, _ = new
    together = twin.decision_function(X)
    backwards = twin.decision_function(X[::-1])[::-1]
    in_parts = np.concatenate([twin.decision_function(X[i : i + 7]) for i in range(0, 48, 7)])
    many = twin.decision_function(np.tile(X, (12, 1, 1)))  # more than one batch of 256
    np.testing.assert_allclose(backwards, together, **CLOSE)
    np.testing.assert_allclose(in_parts, together, **CLOSE)
    np.testing.assert_allclose(many, np.tile(together, (12, 1)), **CLOSE)


def test_a_thread_that_predicts_sees_one_support_or_the_other(twin, new):
    """The supports differ in number of classes, labels and order."""
    X, y = new
    supports = [(X[::8], y[::8]), (X[[40, 8, 0]], np.array(["c", "b", "a"]))]
    answers = []
    for support in supports:
        clf = copy.copy(twin).set_support(*support)
        answers.append((clf.predict(X[:5]).tolist(), clf.predict_proba(X[:5]).shape))
    stop, seen, errors = threading.Event(), set(), []

    def predict():
        try:
            while not stop.is_set():
                labels, shape = twin.predict(X[:5]).tolist(), twin.predict_proba(X[:5]).shape
                seen.add((tuple(labels) in {tuple(a[0]) for a in answers}, shape))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=predict) for _ in range(2)]
    for thread in threads:
        thread.start()
    for i in range(150):
        twin.set_support(*supports[i % 2])
    stop.set()
    for thread in threads:
        thread.join()
    assert not errors
    assert seen <= {(True, (5, 6)), (True, (5, 3))}
    assert seen


# One-to-one assignment


def test_match_gives_each_query_a_class_of_its_own(twin, new):
    X, y = new
    logits = twin.decision_function(X[1::8])
    answers = twin.match(X[1::8])
    assert sorted(answers) == sorted(set(answers.tolist()))
    n = len(twin.classes_)
    best = max(
        itertools.permutations(range(n)), key=lambda order: logits[np.arange(n), list(order)].sum()
    )
    assert answers.tolist() == twin.classes_[list(best)].tolist()


def test_match_takes_fewer_queries_than_classes_and_no_more(twin, new):
    X, y = new
    assert twin.match(X[1:2]).tolist() == twin.predict(X[1:2]).tolist()
    with pytest.raises(ValueError, match="queries, and the support only .* classes: match gives"):
        twin.match(X)


# Warm start


def test_warm_start_goes_on_with_the_present_twin(glyphs):
    X, y = glyphs
    clf = classifier(max_iter=6).fit(X[y < 8], y[y < 8])
    history, loss = clf.history_, clf.history_[-1]["train_loss"]
    clf.set_params(warm_start=True, max_iter=2).fit(X[y >= 8], y[y >= 8])
    assert clf.n_iter_ == 8
    assert clf.history_[:6] == history
    anew = classifier(max_iter=2).fit(X[y >= 8], y[y >= 8])
    assert clf.history_[-1]["train_loss"] < anew.history_[-1]["train_loss"]
    assert clf.classes_.tolist() == list(range(8, 16))
    assert loss > 0


def test_warm_start_of_an_unfitted_classifier_is_a_start(glyphs):
    fits = [classifier(warm_start=warm, max_iter=2).fit(*glyphs) for warm in (True, False)]
    np.testing.assert_array_equal(*(clf.transform(glyphs[0]) for clf in fits))


def test_warm_start_leaves_what_was_trained_before_as_it_was(glyphs):
    clf = classifier(max_iter=2).fit(*glyphs)
    before = copy.copy(clf)
    codes = before.transform(glyphs[0])
    clf.set_params(warm_start=True).fit(*glyphs)
    np.testing.assert_array_equal(before.transform(glyphs[0]), codes)
    assert not np.array_equal(clf.transform(glyphs[0]), codes)


def test_warm_start_needs_the_same_images_and_the_same_network(glyphs):
    X, y = glyphs
    clf = classifier(max_iter=1, warm_start=True).fit(X, y)
    before = clf.network_
    with pytest.raises(ValueError, match="warm_start=True goes on with a twin of images of 16x16"):
        clf.fit(X[:, :12], y)
    with pytest.raises(ValueError, match="parameters that say how it is built have changed"):
        clf.set_params(encoder_params={"width": 8}).fit(X, y)
    assert clf.network_ is before
    assert clf.input_shape_ == (1, 16, 16)


def test_a_twin_that_ships_is_trained_further_on_images_of_ones_own(glyphs):
    X, y = glyphs
    clf = load_pretrained("omniglot")
    clf.set_params(warm_start=True, max_iter=1, random_state=0).fit(X, y)
    assert clf.input_shape_ == (1, 16, 16)
    assert clf.set_support(X[::8], y[::8]).score(X, y) > 0.5


def test_members_go_on_too(glyphs):
    clf = classifier(max_iter=1, n_members=2).fit(*glyphs)
    clf.set_params(warm_start=True, n_members=3).fit(*glyphs)
    assert clf.network_.n_members == 3
    assert clf.n_iter_ == 5


# Callables of one's own


def test_a_loss_of_ones_own_trains(glyphs):
    X, y = glyphs
    seen = set()

    def margin(logits, same):
        seen.update(same.unique().tolist())
        return (1 - logits[same == 1]).relu().mean() + (1 + logits[same == 0]).relu().mean()

    clf = classifier(loss=margin, max_iter=8).fit(X[y < 10], y[y < 10])
    assert seen == {-1, 0, 1}
    X, y = X[y >= 10], y[y >= 10]
    assert clf.set_support(X[::8], y[::8]).score(X, y) > 0.5


@pytest.mark.parametrize(
    ("distortion", "got"),
    [
        (lambda images, generator: images[:1], r"\(?.*1, 1"),
        (lambda images, generator: images.double(), "float64"),
        (lambda images, generator: images.numpy(), "float32|ndarray"),
        (lambda images, generator: None, "NoneType"),
    ],
)
def test_a_distortion_that_returns_no_images_is_said(glyphs, distortion, got):
    with pytest.raises((TypeError, ValueError), match=f"distortion returned .*{got}"):
        classifier(distortion=distortion).fit(*glyphs)
