"""One-shot scores: any classifier on N-way k-shot trials, with the 95 % interval."""

import copy
import math
from dataclasses import dataclass

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state, indexable
from sklearn.utils.metadata_routing import UNUSED

from ._split import EpisodeSplit, check_values


@dataclass(frozen=True)
class OneShotScore:
    """Accuracy over one-shot trials; `float` gives the number, `str` says what it stands for."""

    accuracy: float
    interval: tuple[float, float]  # 95 %, Wilson
    n_trials: int  # queries
    n_way: int
    n_shot: int
    protocol: str  # "within groups", "unstructured" or "given runs"

    def __float__(self):
        return float(self.accuracy)

    def __str__(self):
        low, high = self.interval
        return (
            f"{100 * self.accuracy:.1f} % (95 % interval {100 * low:.1f}-{100 * high:.1f}), "
            f"{self.n_way}-way {self.n_shot}-shot, {self.protocol}, {self.n_trials} trials"
        )


def one_shot_score(
    estimator,
    X,
    y,
    *,
    groups=None,
    n_way=20,
    n_shot=1,
    n_query=1,
    n_episodes=20,
    random_state=None,
):
    """Accuracy of a classifier over one-shot trials drawn from X, with its 95 % interval.

    X should hold classes that the estimator was not trained on. The estimator is left as it was.
    How it takes a trial depends on the first of these that holds. Of a fitted search its best
    estimator counts, of a fitted Pipeline the last step, and X goes once through those before it.

    1. A classifier of this package: every image is encoded once, and trials are cut out of the
       codes. A query whose class shares the greatest score with k - 1 others counts 1/k.
    2. It has ``set_support(X, y)``: a shallow copy gets each trial's support and predicts the
       queries. `set_support` must replace what it sets, not change it in place.
    3. Any other classifier or Pipeline: a clone is fitted on each trial's support. Images reach
       it as flat rows, which is what scikit-learn's classifiers take.

    Parameters
    ----------
    estimator : estimator
        Fitted in the first two cases.
    X : array-like of shape (n_samples, ...)
        Images or rows; only those that occur in a trial are looked at.
    y : array-like of shape (n_samples,)
        Class labels of any dtype.
    groups : array-like of shape (n_samples,) or None, default=None
        Group of each sample, such as its alphabet: each trial then stays within one.
    n_way, n_shot, n_query, n_episodes, random_state
        See `EpisodeSplit`.

    Returns
    -------
    OneShotScore
        Over ``n_episodes * n_way * n_query`` queries, which the interval takes as independent.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from sksiamese.model_selection import one_shot_score
    >>> X, y = load_digits(return_X_y=True)
    >>> print(one_shot_score(KNeighborsClassifier(1), X, y, n_way=5, random_state=0))
    77.0 % (95 % interval 67.8-84.2), 5-way 1-shot, unstructured, 100 trials
    """
    (X,) = indexable(X)
    X = X if hasattr(X, "shape") else np.asarray(X)
    y = check_values(y, "y", X)
    episodes = EpisodeSplit(n_way, n_shot, n_query, n_episodes, random_state=random_state)
    support, query = episodes.draw_episodes(X, y, groups)

    # Rows that occur in no trial are not worth encoding.
    used = np.unique(np.hstack([support, query]))
    if len(used) < len(y):
        X, y = _take(X, used), y[used]
        support, query = np.searchsorted(used, support), np.searchsorted(used, query)
    protocol = "unstructured" if groups is None else "within groups"
    return _score(estimator, X, y, support, query, n_way, n_shot, protocol)


def score_runs(estimator, runs):
    """Accuracy of a classifier on given one-shot runs, such as Omniglot's official ones.

    Parameters
    ----------
    estimator : estimator
        As in `one_shot_score`.
    runs : list of Bunch
        Each with ``support_images``, ``support_labels``, ``query_images`` and ``query_labels``, as
        from `sksiamese.datasets.fetch_omniglot_runs`; all of as many classes and shots.

    Returns
    -------
    score : OneShotScore
        Its protocol is "given runs": those of Omniglot are each within one alphabet.

    Examples
    --------
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from sksiamese.datasets import fetch_omniglot_runs
    >>> from sksiamese.model_selection import score_runs
    >>> print(score_runs(KNeighborsClassifier(1), fetch_omniglot_runs()))
    19.0 % (95 % interval 15.5-23.1), 20-way 1-shot, given runs, 400 trials
    """
    if not len(runs):
        raise ValueError("runs is empty; expected at least one run.")
    X = np.concatenate([part for run in runs for part in (run.support_images, run.query_images)])
    y = np.concatenate([part for run in runs for part in (run.support_labels, run.query_labels)])
    sizes = [len(part) for run in runs for part in (run.support_labels, run.query_labels)]
    rows = np.split(np.arange(len(y)), np.cumsum(sizes)[:-1])
    labels, counts = np.unique(runs[0].support_labels, return_counts=True)
    return _score(estimator, X, y, rows[::2], rows[1::2], len(labels), counts[0], "given runs")


def _score(estimator, X, y, support, query, n_way, n_shot, protocol):
    """Score of the trials given by rows of X, one array of support and of query an episode."""
    if isinstance(estimator, type):
        raise TypeError(f"estimator is the class {estimator.__name__}; expected an instance.")
    credit = _trial_credit(estimator, X, y)
    right = sum(float(credit(s, q).sum()) for s, q in zip(support, query, strict=True))
    n_trials = sum(map(len, query))
    interval = wilson_interval(right, n_trials)
    return OneShotScore(right / n_trials, interval, n_trials, n_way, int(n_shot), protocol)


class OneShotScorer(BaseEstimator):
    """What `make_one_shot_scorer` returns; see there."""

    # BaseEstimator gives repr, clone and set_score_request.
    __metadata_request__score = {"groups": True, "estimator": UNUSED}

    def __init__(
        self, *, n_way=5, n_shot=1, n_query=1, n_episodes=20, class_groups=None, random_state=0
    ):
        self.n_way = n_way
        self.n_shot = n_shot
        self.n_query = n_query
        self.n_episodes = n_episodes
        self.class_groups = class_groups
        self.random_state = random_state

    def score(self, estimator, X, y, groups=None):
        """`one_shot_score` as a float; `groups` has no effect where `class_groups` was given."""
        trials = self.get_params(deep=False)
        class_groups = trials.pop("class_groups")
        if class_groups is not None:
            labels = check_values(y, "y", X).tolist()
            unknown = [label for label in dict.fromkeys(labels) if label not in class_groups]
            if unknown:
                raise ValueError(
                    f"class_groups lacks {len(unknown)} labels of y, such as {unknown[0]!r}; "
                    "expected a group for every label that is scored."
                )
            groups = [class_groups[label] for label in labels]
        return float(one_shot_score(estimator, X, y, groups=groups, **trials))

    __call__ = score  # scikit-learn calls a scorer, but reads what `score` requests


def make_one_shot_scorer(
    *, n_way=5, n_shot=1, n_query=1, n_episodes=20, class_groups=None, random_state=0
):
    """Make a scorer of one-shot accuracy for cross_val_score, GridSearchCV and their like.

    Where test folds hold new classes, as with ``GroupKFold`` over alphabets, plain accuracy is 0;
    this scorer draws trials from the test fold instead, as `one_shot_score` does.

    scikit-learn does not pass `groups` on to a scorer, so trials mix all classes of the fold, an
    easier task than trials within a group. For those give `class_groups`, or enable metadata
    routing, where ``cross_val_score(..., params={"groups": groups})`` reaches the scorer too,
    unless ``scorer.set_score_request(groups=False)``.

    Parameters
    ----------
    n_way, n_shot, n_query, n_episodes
        See `EpisodeSplit`. Each test fold needs `n_way` classes, or a group of `n_way`.
    class_groups : mapping of label to group, or None, default=None
        Draws each trial within one group; needs an entry for every label.
    random_state : int, RandomState instance or None, default=0
        An int gives all candidates of a search the same trials, so that only they differ.

    Returns
    -------
    OneShotScorer
        Called as ``scorer(estimator, X, y, groups=None)``, gives a float.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import GroupKFold, cross_val_score
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from sksiamese.model_selection import make_one_shot_scorer
    >>> X, y = load_digits(return_X_y=True)
    >>> kwargs = {"groups": y, "cv": GroupKFold(5), "scoring": make_one_shot_scorer(n_way=2)}
    >>> cross_val_score(KNeighborsClassifier(1), X, y, **kwargs).shape
    (5,)
    """
    # Checked here because scikit-learn turns an error inside a scorer into a score of nan.
    EpisodeSplit(n_way, n_shot, n_query, n_episodes, random_state=random_state)
    check_random_state(random_state)
    return OneShotScorer(
        n_way=n_way,
        n_shot=n_shot,
        n_query=n_query,
        n_episodes=n_episodes,
        class_groups=class_groups,
        random_state=random_state,
    )


def wilson_interval(successes, n):
    """95 % Wilson score interval (low, high) of ``successes / n`` (JASA 22, 1927).

    It stays honest near 0 and 1. Successes may be fractional, as ties that count in part are.

    Examples
    --------
    >>> from sksiamese.model_selection import wilson_interval
    >>> "%.3f %.3f" % wilson_interval(392, 400)
    '0.961 0.990'
    """
    if not 0 <= successes <= n or n < 1:
        raise ValueError(f"successes={successes}, n={n}; expected n >= 1, 0 <= successes <= n.")
    z = 1.959964  # normal quantile at 0.975
    p = successes / n
    centre = p + z**2 / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    scale = 1 + z**2 / n
    # The ends are 0 and 1 exactly where rounding would miss them.
    return (centre - half) / scale if p > 0 else 0.0, (centre + half) / scale if p < 1 else 1.0


def _trial_credit(estimator, X, y):
    """A function (support, query) -> (n_query,) share of each query that is right."""
    estimator = getattr(estimator, "best_estimator_", estimator)  # of a fitted search
    last, transformers = estimator, []
    while isinstance(last, Pipeline):
        if len(last) > 1:
            transformers.append(last[:-1])
        last = last[-1]

    if hasattr(last, "_episode_decision") or hasattr(last, "set_support"):
        for transformer in transformers:
            X = transformer.transform(X)
    elif getattr(X, "ndim", 2) > 2:
        X = X.reshape(len(X), -1)

    if hasattr(last, "_episode_decision"):
        decision = last._episode_decision(X)

        def credit(support, query):
            scores, classes = decision(query, support, y[support])
            best = scores == np.max(scores, axis=1, keepdims=True)
            own = np.asarray(classes) == y[query, None]
            return (best & own).sum(axis=1) / np.maximum(1, best.sum(axis=1))

    elif hasattr(last, "set_support"):

        def credit(support, query):
            twin = copy.copy(last)
            twin.set_support(_take(X, support), y[support])
            return np.ravel(twin.predict(_take(X, query))) == y[query]

    else:

        def credit(support, query):
            fitted = clone(estimator).fit(_take(X, support), y[support])
            return np.ravel(fitted.predict(_take(X, query))) == y[query]

    return credit


def _take(X, indices):
    return X.iloc[indices] if hasattr(X, "iloc") else X[indices]
