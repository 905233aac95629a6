"""Episodes, one-shot scores and the scorer, on small fakes of each way and on the real classifier.

Pairs are tested in test_model_selection_pairs.py.
"""

import copy
import inspect
import os
import pickle
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joblib import Parallel, delayed, parallel_config
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_matrix
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.compose import make_column_transformer
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils import Bunch

from sksiamese.model_selection import (
    EpisodeSplit,
    OneShotScore,
    OneShotScorer,
    make_one_shot_scorer,
    one_shot_score,
    score_runs,
    wilson_interval,
)

N_CLASSES, N_EACH = 12, 5
CLASSES = np.array([f"c{i:02d}" for i in range(N_CLASSES)])
GROUP_OF = {label: i // 4 for i, label in enumerate(CLASSES.tolist())}


@pytest.fixture
def data():
    """X (60, 3, 4) in well separated classes, y strings, groups of four classes; shuffled."""
    rng = np.random.default_rng(0)
    y = np.repeat(CLASSES, N_EACH)
    centres = 50 * rng.normal(size=(N_CLASSES, 3, 4))
    X = np.repeat(centres, N_EACH, axis=0) + rng.normal(size=(len(y), 3, 4))
    order = rng.permutation(len(y))
    X, y = X[order], y[order]
    return X, y, np.array([GROUP_OF[label] for label in y])


class Fake(ClassifierMixin, BaseEstimator):
    """Nearest class mean. With `constant` all classes get the same logit."""

    def __init__(self, constant=False):
        self.constant = constant

    def fit(self, X, y):
        self.fitted_shape_ = np.shape(X)
        self.embedded_ = []
        return self

    def logits(self, X, support, y_support):
        classes = np.unique(y_support)
        means = np.stack([support[y_support == c].mean(axis=0) for c in classes])
        distance = np.abs(X[:, None] - means).reshape(len(X), len(classes), -1).sum(axis=2)
        return 0 * distance if self.constant else -distance, classes


class FakeTwin(Fake):
    """Way 1: has `trial_function`, and notes what it embeds."""

    def trial_function(self, X):
        embeddings = np.array(X)
        self.embedded_.append(embeddings)

        def trial(support_rows, query_rows, y_support):
            assert support_rows.dtype.kind == query_rows.dtype.kind == "i"
            return self.logits(embeddings[query_rows], embeddings[support_rows], y_support)

        return trial


class FakeSupport(Fake):
    """Way 2: has `set_support`. After `fit` its support is the training set."""

    def fit(self, X, y):
        super().fit(X, y)
        return self.set_support(X, y)

    def set_support(self, X, y):
        self.support_ = np.array(X), np.array(y)
        return self

    def predict(self, X):
        logits, classes = self.logits(np.asarray(X), *self.support_)
        return classes[logits.argmax(axis=1)]


class FakePlain(Fake):
    """Way 3: any other classifier."""

    def fit(self, X, y):
        super().fit(X, y)
        self.data_ = np.array(X), np.array(y)
        return self

    def predict(self, X):
        logits, classes = self.logits(np.asarray(X), *self.data_)
        return classes[logits.argmax(axis=1)]


KINDS = (FakeTwin, FakeSupport, FakePlain)


# Mistake 1: a constant scorer must score chance. Code that breaks ties by the order of the
# support, which is the order of the queries too, reports 100 %.


def test_one_shot_score_of_a_constant_trial_function_is_chance(data):
    X, y, groups = data
    fake = FakeTwin(constant=True).fit(X, y)
    for n_way in (2, 3, 4):
        score = one_shot_score(
            fake, X, y, groups=groups, n_way=n_way, n_episodes=20, random_state=0
        )
        assert score.accuracy == pytest.approx(1 / n_way, abs=1e-12)


@pytest.mark.parametrize("kind", [FakeSupport, FakePlain, DummyClassifier])
def test_one_shot_score_of_a_constant_predictor_is_chance(data, kind):
    X, y, _ = data
    fitted = kind().set_params(**({} if kind is DummyClassifier else {"constant": True})).fit(X, y)
    score = one_shot_score(fitted, X, y, n_way=4, n_episodes=50, random_state=0)
    assert score.accuracy == 0.25  # it always predicts one class of the trial


def test_one_shot_score_gives_no_credit_for_the_order_of_the_support(data):
    class SamePlace(Fake):
        """Predicts for query i the label of support sample i."""

        def set_support(self, X, y):
            self.labels_ = y

        def predict(self, X):
            return self.labels_[: len(X)]

    X, y, _ = data
    score = one_shot_score(SamePlace(), X, y, n_way=5, n_episodes=400, random_state=0)
    assert abs(score.accuracy - 0.2) < 0.04


def test_one_shot_score_counts_a_tie_as_a_fraction(data):
    class TwoWayTie(Fake):
        """The true class and the next one share the greatest logit."""

        def trial_function(self, X):
            def trial(support_rows, query_rows, y_support):
                classes = np.unique(y_support)
                true = np.searchsorted(classes, X[query_rows, 0, 0])
                logits = np.zeros((len(query_rows), len(classes)))
                logits[np.arange(len(query_rows)), true] = 1
                logits[np.arange(len(query_rows)), (true + 1) % len(classes)] = 1
                return logits, classes

            return trial

    X, y, _ = data
    y = np.unique(y, return_inverse=True)[1]
    X = np.broadcast_to(y[:, None, None], X.shape)
    score = one_shot_score(TwoWayTie(), X, y, n_way=5, n_episodes=20, random_state=0)
    assert score.accuracy == 0.5
    assert_allclose(score.interval, wilson_interval(50, 100))


class FakeLogits(Fake):
    """Returns the same logits for each trial of two queries and classes."""

    def __init__(self, logits):
        self.logits = logits

    def trial_function(self, X):
        return lambda support_rows, query_rows, y_support: (self.logits, np.unique(y_support))


def test_one_shot_score_counts_nan_logits_as_wrong(data):
    X, y, _ = data
    assert one_shot_score(FakeLogits([[np.nan, np.nan]] * 2), X, y, n_way=2).accuracy == 0
    assert one_shot_score(FakeLogits([[1.0, np.nan]] * 2), X, y, n_way=2).accuracy == 0
    assert one_shot_score(FakeLogits([[1, 0]] * 2), X, y, n_way=2).accuracy == 0.5


@pytest.mark.parametrize("logits", [[0.0, 1.0], np.zeros((2, 3)), np.zeros((3, 2))])
def test_one_shot_score_refuses_logits_of_another_shape(data, logits):
    X, y, _ = data
    with pytest.raises(
        ValueError,
        match=r"^The trial function of FakeLogits returned logits of shape \([2-3, ]+\) for 2 "
        r"queries and 2 classes; expected \(n_query, n_classes\).$",
    ):
        one_shot_score(FakeLogits(logits), X, y, n_way=2)


# EpisodeSplit


@st.composite
def problems(draw):
    n_way = draw(st.integers(2, 5))
    n_shot = draw(st.integers(1, 3))
    n_query = draw(st.integers(1, 3))
    n_groups = draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    # One group is large enough for sure; labels are shared between the groups.
    rows = [(0, label) for label in range(n_way) for _ in range(n_shot + n_query)]
    n_more = draw(st.integers(0, 60))
    rows += zip(rng.integers(0, n_groups, n_more), rng.integers(0, 8, n_more), strict=True)
    groups, y = np.array(rows)[rng.permutation(len(rows))].T
    kwargs = {"n_way": n_way, "n_shot": n_shot, "n_query": n_query}
    return y, groups, EpisodeSplit(**kwargs, n_episodes=8, random_state=int(rng.integers(100)))


@settings(max_examples=60, deadline=None)
@given(problems(), st.booleans())
def test_episode_split_holds_what_it_promises(problem, grouped):
    y, groups, splitter = problem
    groups = groups if grouped else None
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    episodes = list(splitter.split(np.empty(len(y)), y, groups))
    assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    assert len(episodes) == splitter.get_n_splits() == 8

    n_way, n_shot, n_query = splitter.n_way, splitter.n_shot, splitter.n_query
    for support, query in episodes:
        assert support.shape == (n_way * n_shot,)
        assert query.shape == (n_way * n_query,)
        assert len(np.unique(np.concatenate([support, query]))) == n_way * (n_shot + n_query)
        classes, n_support = np.unique(y[support], return_counts=True)
        queried, n_queried = np.unique(y[query], return_counts=True)
        assert_array_equal(classes, queried)
        assert len(classes) == n_way
        assert (n_support == n_shot).all()
        assert (n_queried == n_query).all()
        if grouped:
            assert len(np.unique(groups[np.concatenate([support, query])])) == 1

    again = splitter.split(None, y, groups)
    for first, second in zip(episodes, again, strict=True):
        assert_array_equal(np.concatenate(first), np.concatenate(second))


def test_episode_split_random_state_instance_moves_on_and_ints_differ(data):
    X, y, _ = data

    def draw(splitter):
        return np.hstack(list(splitter.split(X, y)))

    moving = EpisodeSplit(random_state=np.random.RandomState(0))
    assert (draw(moving) != draw(moving)).any()
    assert (draw(EpisodeSplit(random_state=0)) != draw(EpisodeSplit(random_state=1))).any()


def test_episode_split_without_random_state_draws_anew_and_leaves_the_global_generator(data):
    X, y, _ = data
    before = np.random.get_state()[1:3]  # noqa: NPY002
    first, second = (np.hstack(list(EpisodeSplit().split(X, y))) for _ in range(2))
    assert (first != second).any()
    for now, then in zip(np.random.get_state()[1:3], before, strict=True):  # noqa: NPY002
        assert_array_equal(now, then)
    assert len(list(EpisodeSplit(n_episodes=1).split(X, y))) == 1


def chi2_is_ordinary(counts):
    """Within five standard deviations of a uniform draw."""
    counts = np.asarray(counts)
    chi2 = ((counts - counts.mean()) ** 2 / counts.mean()).sum()
    df = len(counts) - 1
    return abs(chi2 - df) < 5 * np.sqrt(2 * df)


def test_episode_split_draws_uniformly():
    # Groups of 3, 6 and 9 classes, classes of 4 to 7 rows, all in random order.
    rng = np.random.default_rng(0)
    group_of = np.repeat([0, 1, 2], [3, 6, 9])
    y = rng.permutation(np.repeat(np.arange(18), 4 + np.arange(18) % 4))
    groups = group_of[y]
    episodes = EpisodeSplit(3, 1, 2, 9000, random_state=0).split(y, y, groups)
    support, query = (np.array(part) for part in zip(*episodes, strict=True))
    assert chi2_is_ordinary(np.bincount(groups[support[:, 0]]))
    for g in range(3):
        inside = groups[support[:, 0]] == g
        classes = np.flatnonzero(group_of == g)
        if g:
            assert chi2_is_ordinary(np.bincount(y[support[inside]].ravel())[classes])
        # Each row of a class is as often support, and as often query, in every place.
        for drawn in (support, query):
            for place in (0, drawn.shape[1] - 1):
                rows = drawn[inside, place]
                assert chi2_is_ordinary(np.bincount(y[rows], minlength=18)[classes])
                members = np.flatnonzero(y == classes[0])
                assert chi2_is_ordinary(np.bincount(rows, minlength=len(y))[members])

    flat = EpisodeSplit(5, n_episodes=4000, random_state=0).split(y, y)
    drawn = np.concatenate([y[support] for support, _ in flat])
    assert chi2_is_ordinary(np.bincount(drawn))


def test_episode_split_never_draws_small_groups_and_classes():
    y = np.array([0, 0, 1, 1, 2, 2, 3, 4, 4])
    groups = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1])
    episodes = EpisodeSplit(2, n_episodes=60, random_state=0)
    assert {label for s, _ in episodes.split(y, y) for label in y[s]} == {0, 1, 2, 4}
    groups[-2:] = 2
    assert {label for s, _ in episodes.split(y, y, groups) for label in y[s]} == {0, 1}


def test_episode_split_counts_the_rows_of_sparse_matrices(data):
    X, y, _ = data
    sparse = csr_matrix(X.reshape(len(X), -1))
    cv = EpisodeSplit(4, n_episodes=3, random_state=0)
    assert_array_equal(list(cv.split(sparse, y)), list(cv.split(X, y)))
    with pytest.raises(ValueError, match="y has 59 values but X has 60 samples"):
        cv.split(sparse, y[1:])


def test_episode_split_reads_the_order_of_rows_inside_classes_alone():
    classes = np.repeat(np.arange(6), 50)
    mixed = np.random.default_rng(0).permutation(classes)
    rank = np.empty(len(mixed), dtype=int)  # of each row among those of its class
    for c in range(6):
        rank[mixed == c] = np.arange(50)
    splitter = EpisodeSplit(3, 2, 2, n_episodes=40, random_state=0)
    for (a, b), (c, d) in zip(
        splitter.split(None, classes), splitter.split(None, mixed), strict=True
    ):
        assert_array_equal(np.r_[a, b], 50 * mixed[np.r_[c, d]] + rank[np.r_[c, d]])


def test_episode_split_label_in_two_groups_is_two_classes():
    y = np.array(["a", "b", "a", "b", "a", "a", "b", "b"])
    groups = np.array(["p", "p", "q", "q", "p", "q", "p", "q"])
    for support, query in EpisodeSplit(2, n_episodes=30, random_state=0).split(y, y, groups):
        assert len(set(groups[support]) | set(groups[query])) == 1


def test_episode_split_is_a_cv_of_cross_val_score_and_searches(data):
    X, y, groups = data
    X = X.reshape(len(X), -1)
    cv = EpisodeSplit(4, n_episodes=10, random_state=0)
    assert_array_equal(cross_val_score(KNeighborsClassifier(1), X, y, cv=cv), np.ones(10))
    within = cross_val_score(KNeighborsClassifier(1), X, y, cv=cv, groups=groups)
    assert_array_equal(within, np.ones(10))
    search = GridSearchCV(KNeighborsClassifier(), {"n_neighbors": [1, 4]}, cv=cv)
    assert search.fit(pd.DataFrame(X), y).best_params_ == {"n_neighbors": 1}
    with config_context(enable_metadata_routing=True):
        routed = cross_val_score(
            KNeighborsClassifier(1), X, y, cv=cv, params={"groups": np.zeros(len(y))}
        )
        assert_array_equal(routed, np.ones(10))
        with pytest.raises(ValueError, match="n_way=4 .* best of 12 groups has 1"):
            cross_val_score(KNeighborsClassifier(1), X, y, cv=cv, params={"groups": y})


def test_episode_split_repr_and_pickle():
    cv = EpisodeSplit(3, n_shot=2, random_state=7)
    assert repr(cv).startswith("EpisodeSplit(")
    assert "n_way=3" in repr(cv)
    assert repr(pickle.loads(pickle.dumps(cv))) == repr(cv)


# Defaults and bad input


def test_episode_split_and_scores_share_their_defaults():
    for entry in (EpisodeSplit, one_shot_score, make_one_shot_scorer, OneShotScorer):
        parameters = inspect.signature(entry).parameters
        defaults = [parameters[n].default for n in ("n_way", "n_shot", "n_query", "n_episodes")]
        assert defaults == [5, 1, 1, 100]
    trials = {"n_way": 5, "n_shot": 1, "n_query": 1, "n_episodes": 100}
    assert vars(EpisodeSplit()) == {**trials, "random_state": None}
    for scorer in (OneShotScorer(), make_one_shot_scorer()):
        assert scorer.get_params() == {**trials, "class_groups": None, "random_state": 0}
    given = dict(zip(scorer.get_params(), ({"a": 1}, 40, 3, 4, 2, 7), strict=True))
    assert make_one_shot_scorer(**given).get_params() == given


def test_one_shot_score_scores_the_default_episodes(data):
    X, y, _ = data
    score = one_shot_score(FakeTwin().fit(X, y), X, y)
    assert score == OneShotScore(1.0, wilson_interval(500, 500), 500, 5, 1, "unstructured")


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("n_way", 1, ValueError),
        ("n_shot", 0, ValueError),
        ("n_query", -1, ValueError),
        ("n_episodes", 0, ValueError),
        ("n_way", 2.5, TypeError),
        ("n_query", "all", TypeError),
    ],
)
def test_episode_split_and_scores_name_a_bad_parameter(data, name, value, error):
    X, y, _ = data
    for call in (
        lambda: EpisodeSplit(**{name: value}),
        lambda: make_one_shot_scorer(**{name: value}),
        lambda: one_shot_score(KNeighborsClassifier(1), X, y, **{name: value}),
    ):
        with pytest.raises(error, match=f"^{name} (must be an instance of|== )"):
            call()


def test_episode_split_refuses_n_way_above_the_number_of_classes(data):
    X, y, groups = data
    expected = (
        r"^n_way={} needs {} classes with at least n_shot \+ n_query = 2 samples each, but {}. "
        "Decrease n_way, n_shot or n_query, or give more data.$"
    )
    with pytest.raises(ValueError, match=expected.format(20, 20, "y has 12")):
        EpisodeSplit(20).split(X, y)
    with pytest.raises(ValueError, match=expected.format(5, 5, "the best of 3 groups has 4")):
        one_shot_score(KNeighborsClassifier(1), X, y, groups=groups, n_way=5)
    with pytest.raises(ValueError, match=expected.format(9, 9, "the best of 2 groups has 8")):
        EpisodeSplit(9).split(X, y, groups > 0)


def test_episode_split_refuses_too_few_samples(data):
    X, y, groups = data
    for g in (None, groups):
        with pytest.raises(ValueError, match=r"n_shot \+ n_query = 6 samples .* has 0"):
            EpisodeSplit(2, n_shot=5).split(X, y, g)
    with pytest.raises(ValueError, match="y has 0"):
        EpisodeSplit(2).split([], [])


def test_episode_split_and_scores_refuse_y_and_groups_that_do_not_fit(data):
    X, y, groups = data
    knn = KNeighborsClassifier(1)
    for call in (
        lambda: one_shot_score(knn, X, y[1:]),
        lambda: EpisodeSplit(2).split(X, y[1:]),
        lambda: EpisodeSplit(2).split(X.tolist(), y[1:]),
        lambda: OneShotScorer(class_groups=GROUP_OF)(knn, X, y[1:]),
    ):
        with pytest.raises(
            ValueError,
            match="^y has 59 values but X has 60 samples; expected one value for each sample.$",
        ):
            call()
    with pytest.raises(ValueError, match=r"groups has 58 values but y has 60 samples"):
        one_shot_score(knn, X, y, groups=groups[2:], n_way=4)
    with pytest.raises(ValueError, match=r"y has shape \(60, 3\)"):
        EpisodeSplit(2).split(X, np.zeros((60, 3), dtype=int))
    for call in (
        lambda: EpisodeSplit(2).split(X),
        lambda: one_shot_score(knn, X, None),
        lambda: OneShotScorer(class_groups=GROUP_OF)(knn, X, None),
    ):
        with pytest.raises(ValueError, match="^y is None; expected one class label for each"):
            call()
    with pytest.raises(ValueError, match="y contains NaN"):
        EpisodeSplit(2).split(X, np.full(60, np.nan))
    with pytest.raises(TypeError, match="y mixes values of types int, str"):
        EpisodeSplit(2).split(None, np.array(["a", 1, "a", 1], dtype=object))
    with pytest.raises(ValueError, match="random_state|seed"):
        make_one_shot_scorer(random_state="zero")


# one_shot_score


@pytest.mark.parametrize("kind", KINDS)
def test_one_shot_score_scores_each_kind_and_leaves_it_as_it_was(data, kind):
    X, y, groups = data
    fake = kind().fit(X, y)
    before = {key: value for key, value in vars(fake).items() if key != "embedded_"}
    kwargs = {"n_way": 4, "n_query": 2, "n_episodes": 20, "random_state": 0}
    score = one_shot_score(fake, X, y, groups=groups, **kwargs)
    assert score == OneShotScore(1.0, score.interval, 160, 4, 1, "within groups")
    assert isinstance(score.accuracy, float)
    assert float(score) == 1.0
    after = {key: value for key, value in vars(fake).items() if key != "embedded_"}
    assert before.keys() == after.keys()
    assert all(before[key] is after[key] for key in before)


@pytest.mark.parametrize("in_pipeline", [False, True])
def test_one_shot_score_embeds_once_and_only_what_occurs_in_trials(data, in_pipeline):
    X, y, _ = data
    fake = FakeTwin()
    if in_pipeline:
        fake = make_pipeline(FunctionTransformer(np.negative), make_pipeline("passthrough", fake))
    fake.fit(X, y)
    last = fake[-1][-1] if in_pipeline else fake
    kwargs = {"n_way": 3, "n_episodes": 4, "random_state": 0}
    score = one_shot_score(fake, X, y, **kwargs)
    assert score.accuracy == 1
    episodes = np.hstack(list(EpisodeSplit(**kwargs).split(X, y)))
    used = np.unique(episodes)
    (embedded,) = last.embedded_
    assert_array_equal(embedded, (-1 if in_pipeline else 1) * X[used])

    last.embedded_.clear()
    one_shot_score(fake, X, y, n_way=12, n_shot=3, n_query=2, random_state=0)
    (embedded,) = last.embedded_
    assert len(embedded) == len(X)


def test_one_shot_score_leaves_data_frames_their_columns(data):
    X, y, _ = data
    table = pd.DataFrame(X.reshape(len(X), -1)).add_prefix("pixel ")
    columns = make_column_transformer(("passthrough", ["pixel 1", "pixel 7", "pixel 9"]))
    pipe = make_pipeline(columns, KNeighborsClassifier(1))
    assert one_shot_score(pipe, table, y, random_state=0).accuracy > 0.9


def test_one_shot_score_transforms_by_all_steps_of_a_pipeline(data):
    X, y, _ = data
    steps = FunctionTransformer(np.negative), FunctionTransformer(np.exp), FakeTwin()
    pipe = make_pipeline(*steps).fit(X / 50, y)
    one_shot_score(pipe, X / 50, y, n_way=12, n_shot=3, n_query=2, random_state=0)
    assert_allclose(pipe[-1].embedded_, [np.exp(-X / 50)])


def test_one_shot_score_of_the_three_kinds_agrees(data):
    X, y, _ = data
    X = X / 50 + np.random.default_rng(1).normal(size=X.shape)  # too hard to be always right
    scores = [
        one_shot_score(kind().fit(X, y), X, y, n_way=6, n_shot=2, random_state=3).accuracy
        for kind in KINDS
    ]
    assert 0.2 < scores[0] < 1
    assert scores[0] == scores[1] == scores[2]


def test_one_shot_score_scores_the_best_estimator_of_a_fitted_search(data):
    X, y, _ = data
    options = {"n_way": 4, "n_episodes": 20, "random_state": 0}
    flat = np.reshape(X, (len(X), -1))
    search = GridSearchCV(KNeighborsClassifier(), {"n_neighbors": [1]}, cv=2).fit(flat, y)
    expected = one_shot_score(KNeighborsClassifier(1), flat, y, **options)
    assert one_shot_score(search, flat, y, **options) == expected


def test_one_shot_score_does_not_fit_a_pipeline_again(data):
    X, y, _ = data
    pipe = make_pipeline(StandardScaler(), FakeSupport()).fit(X.reshape(len(X), -1), y)
    mean, support = pipe[0].mean_.copy(), pipe[-1].support_
    assert one_shot_score(pipe, X.reshape(len(X), -1), y, n_way=5).accuracy == 1
    assert_array_equal(pipe[0].mean_, mean)
    assert pipe[-1].support_ is support


@pytest.mark.parametrize(
    "estimator",
    [KNeighborsClassifier(1), make_pipeline(StandardScaler(), KNeighborsClassifier(1))],
)
def test_one_shot_score_flattens_images_for_other_classifiers(data, estimator):
    X, y, groups = data
    kwargs = {"n_way": 4, "n_episodes": 20, "random_state": 0}
    assert one_shot_score(estimator, X, y, groups=groups, **kwargs).accuracy == 1
    flat = X.reshape(len(X), -1)
    noise = np.random.default_rng(0).normal(scale=60, size=flat.shape)
    images = (flat + noise).reshape(X.shape)
    expected = one_shot_score(estimator, flat + noise, y, **kwargs)
    assert 0.2 < expected.accuracy < 1
    for same in (images, images.tolist(), pd.DataFrame(flat + noise), images[:, None]):
        assert one_shot_score(estimator, same, y, **kwargs) == expected
    with pytest.raises(NotFittedError):
        estimator.predict(flat)  # only clones were fitted


@pytest.mark.parametrize("convert", [list, pd.Series, pd.Categorical, lambda y: y[:, None]])
def test_one_shot_score_takes_labels_of_any_dtype(data, convert):
    X, y, _ = data
    integers = np.unique(y, return_inverse=True)[1]
    for labels in (y, y.astype(object), integers, integers.astype(float), integers - 6):
        for kind in KINDS:
            fake = kind().fit(X, labels)
            score = one_shot_score(fake, X, convert(labels), n_way=5, n_episodes=10)
            assert score.accuracy == 1


def test_wilson_interval_has_known_values_and_refuses_others():
    assert_allclose(wilson_interval(392, 400), (0.9610, 0.9898), atol=1e-4)
    assert_allclose(wilson_interval(368, 400), (0.8892, 0.9428), atol=1e-4)
    assert_allclose(wilson_interval(5, 10), (0.2366, 0.7634), atol=1e-4)
    assert wilson_interval(0, 10)[0] == 0
    assert wilson_interval(10, 10)[1] == 1
    low, high = wilson_interval(2.5, 10)
    assert wilson_interval(2, 10)[0] < low < 0.25 < high < wilson_interval(3, 10)[1]
    for n in range(1, 300):
        assert wilson_interval(0, n)[0] == 0 < wilson_interval(0, n)[1] < 1
        assert wilson_interval(n, n)[1] == 1 > wilson_interval(n, n)[0] > 0
    for successes, n in ((11, 10), (-1, 10), (0, 0)):
        with pytest.raises(ValueError, match=f"successes={successes}, n={n}"):
            wilson_interval(successes, n)


def test_one_shot_score_prints_all_fields_and_is_frozen():
    score = OneShotScore(0.92, wilson_interval(368, 400), 400, 20, 1, "within groups")
    expected = "92.0 % (95 % interval 88.9-94.3), 20-way 1-shot, within groups, 400 trials"
    assert str(score) == expected
    with pytest.raises(AttributeError):
        score.accuracy = 1.0


# The real classifier


class SupportOnly:
    """Hides all methods of a classifier but `set_support` and `predict`."""

    def __init__(self, classifier):
        self.classifier = classifier

    def set_support(self, X, y):
        self.classifier = copy.copy(self.classifier).set_support(X, y)

    def predict(self, X):
        return self.classifier.predict(X)


@pytest.mark.parametrize("n_shot", [1, 3])
def test_one_shot_score_agrees_with_set_support_and_predict(glyphs, fitted, n_shot):
    X, y = glyphs
    noise = np.random.default_rng(0).normal(0, 80, X.shape)  # so that some answers are wrong
    X = (X + noise).clip(0, 255)
    new = np.flatnonzero(y >= 10)
    support = fitted.support_
    kwargs = {"n_shot": n_shot, "n_query": 2, "n_episodes": 10, "random_state": 0}
    score = one_shot_score(fitted, X[new], y[new], **kwargs)
    assert score == one_shot_score(SupportOnly(fitted), X[new], y[new], **kwargs)
    assert 0.3 < score.accuracy < 1
    assert fitted.support_ is support


def test_make_one_shot_scorer_scores_the_classifier_on_new_classes(glyphs, fitted):
    X, y = glyphs
    new = y >= 10
    score = make_one_shot_scorer(n_way=3)(fitted, X[new], y[new])
    expected = one_shot_score(fitted, X[new], y[new], n_way=3, random_state=0)
    assert score == expected.accuracy
    flat = X.reshape(len(X), -1)[new]
    assert score > one_shot_score(DummyClassifier(), flat, y[new], n_way=3).accuracy


# The scorer


@pytest.mark.parametrize("kind", [*KINDS, KNeighborsClassifier])
@pytest.mark.parametrize("in_pipeline", [False, True])
def test_make_one_shot_scorer_works_in_cross_val_score(data, kind, in_pipeline):
    X, y, groups = data
    if kind is KNeighborsClassifier:
        X = X.reshape(len(X), -1)
    estimator = kind() if kind in KINDS else kind(1)
    if in_pipeline:
        estimator = Pipeline([("same", FunctionTransformer()), ("clf", estimator)])
    folds = {"groups": groups, "cv": GroupKFold(3)}
    scorer = make_one_shot_scorer(n_way=4)
    assert_array_equal(cross_val_score(estimator, X, y, **folds, scoring=scorer), np.ones(3))
    if kind is KNeighborsClassifier:  # what the scorer is for: folds hold new classes
        assert_array_equal(cross_val_score(estimator, X, y, **folds), np.zeros(3))


@pytest.mark.parametrize("prefix", ["", "clf__"])
def test_make_one_shot_scorer_works_in_a_grid_search(data, prefix):
    X, y, groups = data
    estimator = Pipeline([("clf", FakeTwin())]) if prefix else FakeTwin()
    search = GridSearchCV(
        estimator,
        {f"{prefix}constant": [True, False]},
        scoring=make_one_shot_scorer(n_way=4),
        cv=GroupKFold(3),
        refit=False,
    )
    clone(search).fit(X, y, groups=groups)
    search.fit(X, y, groups=groups)
    assert search.best_params_ == {f"{prefix}constant": False}
    assert_allclose(search.cv_results_["mean_test_score"], [0.25, 1])


def test_make_one_shot_scorer_repr_clone_and_pickle():
    scorer = make_one_shot_scorer(n_way=7, class_groups={"a": 1})
    assert repr(scorer) == "OneShotScorer(class_groups={'a': 1}, n_way=7)"
    assert repr(clone(scorer)) == repr(pickle.loads(pickle.dumps(scorer))) == repr(scorer)


class SpySupport(FakeSupport):
    """Remembers, for all its copies, which labels a trial had."""

    trials = []

    def set_support(self, X, y):
        self.trials.append(set(y))
        return super().set_support(X, y)


def groups_in_trials():
    """How many groups the classes of each trial span, at most; forgets the trials."""
    most = max(len({GROUP_OF[label] for label in trial}) for trial in SpySupport.trials)
    SpySupport.trials.clear()
    return most


def test_make_one_shot_scorer_groups_and_class_groups_keep_trials_inside(data):
    X, y, groups = data
    spy = SpySupport().fit(X, y)
    for scorer, given_groups, expected in (
        (make_one_shot_scorer(n_way=4), None, 3),
        (make_one_shot_scorer(n_way=4), groups, 1),
        (make_one_shot_scorer(n_way=4, class_groups=GROUP_OF), None, 1),
        (make_one_shot_scorer(n_way=4, class_groups=pd.Series(GROUP_OF)), None, 1),
        (make_one_shot_scorer(n_way=4, class_groups=GROUP_OF), np.arange(len(y)), 1),
    ):
        SpySupport.trials.clear()
        score = scorer(spy, X, y, groups=given_groups)
        assert type(score) is float
        assert score == 1
        assert groups_in_trials() == expected


def test_make_one_shot_scorer_gets_groups_by_metadata_routing(data):
    X, y, groups = data
    halves = np.array([int(label[1:]) % 2 for label in y])  # two classes of each group in a fold
    SpySupport.trials.clear()
    with config_context(enable_metadata_routing=True):
        for scorer, expected in (
            (make_one_shot_scorer(n_way=2), 1),
            (make_one_shot_scorer(n_way=2).set_score_request(groups=False), 2),
        ):
            cv = EpisodeFolds(halves)
            spy = SpySupport().set_score_request()
            cross_val_score(spy, X, y, cv=cv, scoring=scorer, params={"groups": groups})
            SpySupport.trials = [trial for trial in SpySupport.trials if len(trial) == 2]
            assert groups_in_trials() == expected


class EpisodeFolds(GroupKFold):
    """Folds that take groups but are made of something else."""

    def __init__(self, halves):
        super().__init__(2)
        self.halves = halves

    def split(self, X, y=None, groups=None):
        assert groups is not None
        return super().split(X, y, self.halves)


def test_make_one_shot_scorer_names_a_label_without_group(data):
    X, y, _ = data
    scorer = make_one_shot_scorer(class_groups={CLASSES[0]: 0})
    first = next(label for label in y if label != CLASSES[0])
    message = (
        f"^class_groups lacks 11 labels of y, such as '{first}'; expected a group for every label "
        "that is scored.$"
    )
    with pytest.raises(ValueError, match=message):
        scorer(KNeighborsClassifier(1), X, y)
    scorer = make_one_shot_scorer(class_groups=dict.fromkeys(CLASSES[1:].tolist(), 0))
    with pytest.raises(ValueError, match=f"lacks 1 labels of y, such as '{CLASSES[0]}'"):
        scorer(KNeighborsClassifier(1), X, y)


@pytest.mark.parametrize(("n_runs", "n_correct"), [(1, 2), (2, 5), (3, 7)])
def test_score_runs_scores_the_runs_as_they_are(n_runs, n_correct):
    run = Bunch(
        support_images=np.arange(3.0).reshape(3, 1, 1),
        support_labels=np.array(["a", "b", "c"]),
        query_images=np.array([2.1, 0.1, 0.9]).reshape(3, 1, 1),
        query_labels=np.array(["c", "a", "a"]),
    )
    other = Bunch(**{**run, "query_labels": np.array(["c", "a", "b"])})
    score = score_runs(KNeighborsClassifier(1), [run, other, run][:n_runs])
    assert score.accuracy == pytest.approx(n_correct / (3 * n_runs))
    assert (score.n_trials, score.n_way, score.n_shot) == (3 * n_runs, 3, 1)
    assert score.interval == wilson_interval(n_correct, 3 * n_runs)
    assert f"3-way 1-shot, given runs, {3 * n_runs} trials" in str(score)


def test_score_runs_refuses_no_runs():
    with pytest.raises(ValueError, match="^runs is empty; expected at least one run.$"):
        score_runs(KNeighborsClassifier(1), [])


def test_one_shot_score_refuses_a_class_instead_of_an_estimator(data):
    with pytest.raises(TypeError, match="the class KNeighborsClassifier; expected an instance"):
        one_shot_score(KNeighborsClassifier, *data[:2], n_way=2)


# Other processes


@contextmanager
def workers(backend):
    """Two processes, of joblib's loky or of a dask cluster, one thread each, as this one."""
    if backend == "loky":
        with parallel_config("loky", inner_max_num_threads=1):
            yield
        return
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
    with (
        distributed.LocalCluster(**options) as cluster,
        distributed.Client(cluster),
        parallel_config("dask"),
    ):
        yield


def process_of(estimator, X, y):
    return os.getpid()


@pytest.mark.parametrize("backend", ["loky", "dask"])
def test_scores_are_the_same_in_other_processes(backend, fitted, glyphs):
    X, y = glyphs
    X, y = X[y < 4], y[y < 4]
    clf = clone(fitted).set_params(max_iter=1, encoder_params={"width": 8})
    scorer = make_one_shot_scorer(n_way=2, n_episodes=20, random_state=0)
    cv = {"groups": y, "cv": GroupKFold(2)}

    def scores(n_jobs):
        search = GridSearchCV(
            clf, {"head": ["cosine", "weighted_l1"]}, scoring=scorer, cv=cv["cv"]
        )
        search.set_params(n_jobs=n_jobs).fit(X, y, groups=y)
        trials = Parallel(n_jobs)(
            delayed(one_shot_score)(fitted, X, y, n_way=3, random_state=seed) for seed in (0, 1)
        )
        return (
            cross_val_score(clf, X, y, scoring=scorer, n_jobs=n_jobs, **cv).tolist(),
            search.cv_results_["mean_test_score"].tolist(),
            trials,
        )

    expected = scores(1)
    with workers(backend):
        processes = cross_val_score(clf, X, y, scoring=process_of, n_jobs=2, **cv)
        found = scores(2)
    assert os.getpid() not in processes
    assert found == expected
