"""SiameseOneShotClassifier: what its methods return, on a network that is trained once."""

import copy
import inspect
import itertools

import numpy as np
import pytest
import torch
from helpers import CLOSE, classifier, make_table, pairs_of, watched
from scipy.special import expit, softmax
from sklearn.exceptions import NotFittedError
from sklearn.metrics.pairwise import cosine_distances
from sklearn.neighbors import NearestNeighbors

from sksiamese import SiameseOneShotClassifier


@pytest.fixture(scope="module")
def l1(training):
    """A classifier whose logits are a bias minus the L1 distance of embeddings."""
    return classifier(head="weighted_l1", max_iter=8).fit(*training)


# fit


def test_fit_learns_to_tell_new_classes_apart(clf, new):
    assert clf.score(*new) > 0.6  # chance is 1/6


def test_fit_makes_the_training_set_the_support(fitted, training):
    X, y = training
    assert fitted.classes_.tolist() == list(range(10))
    np.testing.assert_array_equal(fitted.support_.labels, y)
    assert fitted.score(X, y) > 0.8


def test_fit_records_the_loss_of_each_epoch(fitted):
    (history,) = fitted.history_
    assert fitted.n_iter_ == len(history) == 8
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    assert all(epoch["dur"] > 0 for epoch in history)


def test_fit_learns_a_table():
    X, y = make_table()
    clf = classifier("mlp", max_iter=8).fit(X[:80], y[:80])
    clf.set_support(X[80::10], y[80::10])
    assert clf.input_shape_ == (20,)
    assert clf.score(X[80:], y[80:]) > 0.9


@pytest.mark.parametrize("loss", ["both", "verification"])
def test_fit_learns_from_pairs(training, new, loss):
    X, y = new
    clf = classifier(max_iter=6, loss=loss).fit(training[0], pairs_of(training[1], 400))
    assert not hasattr(clf, "classes_")
    with pytest.raises(NotFittedError, match="Call set_support"):
        clf.predict(X)
    assert clf.set_support(X[::8], y[::8]).score(X, y) > 0.4  # chance is 1/6


def test_fit_takes_boolean_labels(training):
    X, y = training
    clf = classifier(max_iter=2).fit(X, y < 5)
    assert clf.classes_.tolist() == [False, True]
    assert clf.predict(X).dtype == bool


def test_classifier_methods_that_change_it_return_it(fitted, new):
    X, y = new
    clf = copy.copy(fitted)
    assert clf.set_support(X, y) is clf
    assert clf.add_support(X, y) is clf
    assert clf.remove_support(10) is clf
    assert clf.calibrate(X, y) is clf
    assert clf.clear_support() is clf
    unfitted = classifier()
    assert unfitted.fit(X, y) is unfitted


# predict, predict_proba, decision_function, score_samples


def test_predict_returns_the_label_of_the_greatest_logit(clf, new):
    X, _ = new
    logits, probabilities = clf.decision_function(X), clf.predict_proba(X)
    assert logits.shape == probabilities.shape == (48, 6)
    assert logits.dtype == probabilities.dtype == np.float32
    np.testing.assert_array_equal(clf.predict(X), clf.classes_[logits.argmax(1)])


def test_predict_with_return_logits_embeds_once_and_equals_separate_calls(clf, new):
    X, _ = new
    passes = []
    labels, logits = watched(clf, passes.append).predict(X, return_logits=True)
    assert [len(embeddings) for embeddings in passes] == [48]
    np.testing.assert_array_equal(labels, clf.predict(X))
    np.testing.assert_array_equal(logits, clf.decision_function(X))


def test_predict_with_return_logits_has_a_column_for_each_of_two_classes(clf, new):
    X, _ = new
    clf.set_support(X[[0, 8]], ["a", "b"])
    labels, logits = clf.predict(X, return_logits=True)
    assert logits.shape == (48, 2)
    np.testing.assert_array_equal(logits[:, 1] - logits[:, 0], clf.decision_function(X))
    np.testing.assert_array_equal(labels, clf.classes_[logits.argmax(1)])


def test_predict_proba_is_the_softmax_of_the_logits(clf, new):
    X, _ = new
    probabilities = clf.predict_proba(X)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(probabilities, softmax(clf.decision_function(X), 1), rtol=1e-5)


def test_decision_function_of_two_classes_is_the_second_logit_minus_the_first(clf, new):
    X, _ = new
    logits = clf.set_support(X[[0, 8, 1]], ["a", "b", "a"]).decision_function(X)
    assert logits.shape == (48,)
    np.testing.assert_array_equal(clf.predict(X), np.where(logits > 0, "b", "a"))
    np.testing.assert_allclose(clf.predict_proba(X)[:, 1], expit(logits), **CLOSE)


def test_decision_function_of_one_class_has_one_column(clf, new):
    X, _ = new
    clf.set_support(X[:2], ["a", "a"])
    assert clf.decision_function(X).shape == (48, 1)
    assert (clf.predict_proba(X) == 1).all()
    assert set(clf.predict(X)) == {"a"}


def test_decision_function_with_one_exemplar_a_class_is_the_similarity(clf, new):
    X, _ = new
    np.testing.assert_allclose(clf.decision_function(X), clf.similarity(X, X[::8]), **CLOSE)


def test_decision_function_does_not_depend_on_the_batch(clf, new):
    X, _ = new
    together = clf.decision_function(X)
    in_parts = np.concatenate([clf.decision_function(X[i : i + 7]) for i in range(0, 48, 7)])
    many = clf.decision_function(np.tile(X, (12, 1, 1)))  # more than one batch of 256
    np.testing.assert_allclose(clf.decision_function(X[::-1])[::-1], together, **CLOSE)
    np.testing.assert_allclose(in_parts, together, **CLOSE)
    np.testing.assert_allclose(many, np.tile(together, (12, 1)), **CLOSE)


def test_predict_tells_classes_apart_where_probabilities_saturate(clf, new):
    X, _ = new
    before = clf.predict(X)
    clf = copy.deepcopy(clf)
    clf.network_.head.margin -= 60 / clf.network_.head.gain.item()  # logits are higher by 60
    assert (clf.pair_proba(X, X[::-1]) == 1).mean() > 0.5
    np.testing.assert_array_equal(clf.predict(X), before)


def test_score_samples_is_the_greatest_logit_less_the_log_of_the_number_of_classes(clf, new):
    X, _ = new
    expected = clf.decision_function(X).max(1) - np.log(6)
    np.testing.assert_allclose(clf.score_samples(X), expected, **CLOSE)


# match


def test_match_assigns_the_classes_whose_logits_have_the_greatest_sum(clf, new):
    X, _ = new
    logits, answers = clf.decision_function(X[1::8]), clf.match(X[1::8])
    rows = np.arange(6)
    best = max(itertools.permutations(rows), key=lambda order: logits[rows, list(order)].sum())
    assert answers.tolist() == clf.classes_[list(best)].tolist()


def test_match_takes_fewer_queries_than_classes_but_not_more(clf, new):
    X, _ = new
    assert clf.match(X[1:2]).tolist() == clf.predict(X[1:2]).tolist()
    with pytest.raises(ValueError, match="X has 48 queries, but the support has only 6 classes"):
        clf.match(X)


# kneighbors


def test_kneighbors_returns_the_nearest_exemplars_of_all(clf, new):
    X, y = new
    clf.set_support(X, y)
    distances, indices = clf.kneighbors(X, 4)
    assert indices[:, 0].tolist() == list(range(48))
    np.testing.assert_allclose(distances[:, 0], 0, atol=1e-4)
    bias = clf.network_.head.bias.item()
    expected = np.sort(bias - clf.similarity(X, X), axis=1)[:, :4]
    np.testing.assert_allclose(distances, expected, **CLOSE)
    np.testing.assert_array_equal(clf.kneighbors(X, 4, return_distance=False), indices)
    assert clf.kneighbors(X)[0].shape == (48, 5)


def test_kneighbors_returns_the_lower_row_of_equal_distances(l1, new):
    X, _ = new
    clf = copy.copy(l1).set_support(X[[8, 0, 0, 8, 0]], list("abcde"))
    for n_neighbors in (1, 3, 5):
        indices = clf.kneighbors(X[:1], n_neighbors)[1]
        assert indices[0].tolist() == [1, 2, 4, 0, 3][:n_neighbors]


# transform, similarity, pair_proba


@pytest.mark.parametrize(("head", "metric"), [("whitened", "cosine"), ("l1", "manhattan")])
def test_transform_returns_embeddings_whose_metric_is_that_of_kneighbors(
    fitted, l1, new, head, metric
):
    X, y = new
    queries, exemplars, labels = X[1::2], X[::2], y[::2]
    clf = copy.copy(l1 if head == "l1" else fitted)
    embeddings = clf.transform(exemplars)
    assert embeddings.dtype == np.float32
    nearest = NearestNeighbors(n_neighbors=6, metric=metric).fit(embeddings)
    distances, indices = nearest.kneighbors(clf.transform(queries))
    expected, order = clf.set_support(exemplars, labels).kneighbors(queries, 6)
    unit = 1 if head == "l1" else clf.network_.head.gain.item()
    np.testing.assert_allclose(unit * distances, expected, **CLOSE)
    np.testing.assert_array_equal(indices, order)


def test_transform_returns_embeddings_whose_cosine_is_that_of_similarity(fitted, glyphs):
    X = glyphs[0][::7]
    embeddings, head = fitted.transform(X), fitted.network_.head
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, rtol=1e-5)
    logits = head.gain.item() * (embeddings @ embeddings.T - head.margin.item())
    np.testing.assert_allclose(fitted.similarity(X, X), logits, **CLOSE)


def test_transform_returns_embeddings_whose_l1_distance_is_that_of_similarity(l1, glyphs):
    X = glyphs[0][::7]
    embeddings = l1.transform(X)
    distances = np.abs(embeddings[:, None] - embeddings).sum(axis=2)
    bias = l1.network_.head.bias.item()
    np.testing.assert_allclose(bias - l1.similarity(X, X), distances, rtol=1e-3, atol=1e-3)


def test_get_feature_names_out_names_the_columns_of_transform(fitted, new):
    names = fitted.get_feature_names_out()
    assert len(names) == fitted.transform(new[0][:2]).shape[1]
    assert names[:2].tolist() == ["siameseoneshotclassifier0", "siameseoneshotclassifier1"]


def test_similarity_is_symmetric_and_greatest_of_a_sample_with_itself(clf, new):
    X, _ = new
    similarity = clf.similarity(X, X)
    bias = clf.network_.head.bias.item()
    assert similarity.shape == (48, 48)
    np.testing.assert_allclose(similarity, similarity.T, **CLOSE)
    np.testing.assert_allclose(similarity.diagonal(), bias, **CLOSE)
    assert (similarity <= bias + 1e-4).all()
    np.testing.assert_allclose(clf.similarity(X[:3], X[3:8]), similarity[:3, 3:8], **CLOSE)


def test_similarity_with_the_signed_head_is_symmetric(training, new):
    X, y = new
    clf = classifier(head="signed_l1", max_iter=8).fit(*training)
    similarity = clf.similarity(X, X)
    np.testing.assert_allclose(similarity, similarity.T, **CLOSE)
    assert clf.set_support(X[::8], y[::8]).score(X, y) > 0.4


def test_similarity_embeds_one_array_once(fitted, new):
    X, passes = new[0][:9], []
    clf = watched(fitted, passes.append)
    clf.similarity(X, X)
    clf.similarity(X, X[:4])
    assert [len(embeddings) for embeddings in passes] == [9, 9, 4]


def test_pair_proba_is_the_probability_of_the_diagonal_of_the_similarity(fitted, glyphs):
    a, b = glyphs[0][:12], glyphs[0][5:17]
    probabilities = fitted.pair_proba(a, b)
    expected = expit(np.diag(fitted.similarity(a, b)))
    np.testing.assert_allclose(probabilities, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(probabilities, fitted.pair_proba(b, a), rtol=1e-5)


def test_similarity_pair_proba_and_transform_need_no_support(fitted, new):
    X = new[0][:4]
    bare = copy.copy(fitted).clear_support()
    for call in ("similarity", "pair_proba"):
        expected = getattr(fitted, call)(X, X)
        np.testing.assert_array_equal(getattr(bare, call)(X, X), expected)
    np.testing.assert_array_equal(bare.transform(X), fitted.transform(X))


# aggregation


@pytest.mark.parametrize("aggregation", ["mean", "max", "prototype"])
def test_aggregation_makes_one_logit_of_the_exemplars_of_a_class(clf, new, aggregation):
    X, _ = new
    labels = np.array(list("cabcaccb"))  # 2, 2 and 4 of them, not in order
    queries, exemplars = X[1::2], X[:48:6]
    clf.set_params(aggregation=aggregation).set_support(exemplars, labels)
    if aggregation == "prototype":
        embeddings, head = clf.transform(exemplars), clf.network_.head
        means = np.stack([embeddings[labels == c].mean(0) for c in "abc"])
        cosines = 1 - cosine_distances(clf.transform(queries), means)
        expected = head.gain.item() * (cosines - head.margin.item())
    else:
        similarity = clf.similarity(queries, exemplars)
        reduce = np.mean if aggregation == "mean" else np.max
        expected = np.stack([reduce(similarity[:, labels == c], axis=1) for c in "abc"], 1)
    np.testing.assert_allclose(clf.decision_function(queries), expected, **CLOSE)


def test_aggregation_makes_no_difference_to_one_exemplar_a_class(clf, new):
    mean, largest, prototype = (
        clf.set_params(aggregation=name).decision_function(new[0])
        for name in ("mean", "max", "prototype")
    )
    np.testing.assert_array_equal(mean, largest)
    np.testing.assert_array_equal(mean, prototype)


# trial_function


@pytest.mark.parametrize("aggregation", ["mean", "max", "prototype"])
def test_trial_function_scores_as_a_support_of_these_rows_does(fitted, new, aggregation):
    X, y = new
    clf = copy.copy(fitted).set_params(aggregation=aggregation)
    passes = []
    trial = watched(clf, passes.append).trial_function(X)
    for support, query in (([20, 0, 8, 1, 45], [3, 47]), ([9, 17], [10, 11, 12])):
        logits, classes = trial(support, query, y[support])
        expected = copy.copy(clf).set_support(X[support], y[support])
        assert classes.tolist() == expected.classes_.tolist()
        _, of_predict = expected.predict(X[query], return_logits=True)
        np.testing.assert_allclose(logits, of_predict, **CLOSE)
    assert [len(embeddings) for embeddings in passes] == [48]


def test_trial_function_leaves_the_support_unchanged(clf, new):
    X, y = new
    before = clf.fitted_
    clf.trial_function(X)([1, 9], [2, 10], y[[1, 9]])
    assert clf.fitted_ is before


# As an estimator of scikit-learn


def test_init_stores_its_arguments_and_nothing_else():
    values = {name: object() for name in SiameseOneShotClassifier().get_params()}
    encoder = values.pop("encoder")
    assert vars(SiameseOneShotClassifier(encoder, **values)) == {"encoder": encoder, **values}


def test_init_takes_all_but_the_encoder_by_keyword():
    parameters = list(inspect.signature(SiameseOneShotClassifier).parameters.values())
    assert [p.name for p in parameters if p.kind != p.KEYWORD_ONLY] == ["encoder"]


def test_device_is_used_by_the_next_call(clf, new):
    """The device "meta" has no numbers to return."""
    X, _ = new
    expected = clf.decision_function(X)
    with pytest.raises(ValueError, match="device='meta' cannot be used on this machine"):
        clf.set_params(device="meta").predict(X)
    with pytest.raises(ValueError, match="device='abacus' cannot be used on this machine"):
        clf.set_params(device="abacus").predict(X)
    np.testing.assert_array_equal(clf.set_params(device="cpu").decision_function(X), expected)
    assert all(p.device == torch.device("cpu") for p in clf.network_.parameters())
