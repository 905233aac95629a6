"""One-shot scores: the accuracy of any classifier on one-shot trials, with its interval."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.pipeline import Pipeline
from sklearn.utils import Bunch, check_random_state, indexable
from sklearn.utils.metadata_routing import UNUSED

from ._labels import check_values
from ._split import EpisodeSplit

Rows = NDArray[np.intp]


@dataclass(frozen=True)
class OneShotScore:
    """Hold the accuracy over one-shot trials, and what was measured.

    ``float(score)`` is the accuracy. ``str(score)`` is a sentence with all the fields.

    Parameters
    ----------
    accuracy : float
        Fraction of the queries that were classified correctly, from 0 to 1.
    interval : tuple of (float, float)
        95 % Wilson interval of the accuracy; see `wilson_interval`.
    n_trials : int
        Number of queries.
    n_way : int
        Number of classes in a trial.
    n_shot : int
        Number of support samples of each class.
    protocol : {"within groups", "unstructured", "given runs"}
        Whether the classes of a trial are from one group, from anywhere, or were given. Scores of
        different protocols are not comparable.

    See Also
    --------
    one_shot_score : Score a classifier on trials drawn from a data set.
    score_runs : Score a classifier on given trials.

    Examples
    --------
    >>> from sksiamese.model_selection import OneShotScore, wilson_interval
    >>> score = OneShotScore(0.92, wilson_interval(368, 400), 400, 20, 1, "within groups")
    >>> print(score)
    92.0 % (95 % interval 88.9-94.3), 20-way 1-shot, within groups, 400 trials
    >>> float(score)
    0.92
    """

    accuracy: float
    interval: tuple[float, float]
    n_trials: int
    n_way: int
    n_shot: int
    protocol: str

    def __float__(self) -> float:
        """Return the accuracy."""
        return float(self.accuracy)

    def __str__(self) -> str:
        """Return a sentence with all the fields."""
        low, high = self.interval
        return (
            f"{100 * self.accuracy:.1f} % (95 % interval {100 * low:.1f}-{100 * high:.1f}), "
            f"{self.n_way}-way {self.n_shot}-shot, {self.protocol}, {self.n_trials} trials"
        )


def one_shot_score(
    estimator: Any,
    X: Any,
    y: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    n_way: int = 5,
    n_shot: int = 1,
    n_query: int = 1,
    n_episodes: int = 100,
    random_state: int | np.random.RandomState | None = None,
) -> OneShotScore:
    """Compute the accuracy of a classifier over one-shot trials drawn from X.

    X should hold classes that the estimator was not trained on. The estimator is not changed.
    The first of these ways that applies is used:

    1. The estimator has ``trial_function(X)``, as the classifiers of this package: it embeds all
       samples once, and the trials are made of their embeddings. If the true class of a query
       shares the greatest logit with k - 1 other classes, the query counts 1/k.
    2. The estimator has ``set_support(X, y)``: a shallow copy gets the support of each trial and
       predicts its queries. `set_support` must replace attributes, not change them in place.
    3. Any other classifier or Pipeline: a clone is fitted on the support of each trial. Images
       are flattened to rows first, as scikit-learn's classifiers need them.

    For a fitted search, such as GridSearchCV, its best estimator is scored. For a Pipeline, its
    last step decides between the ways. In the first two ways the Pipeline must be fitted, and its
    other steps transform X once.

    Parameters
    ----------
    estimator : estimator instance
        Classifier to score. It must be fitted in the first two ways.
    X : array-like of shape (n_samples, ...)
        Images or flat rows. Only samples that occur in a trial are used.
    y : array-like of shape (n_samples,)
        Class labels of any dtype.
    groups : array-like of shape (n_samples,) or None, default=None
        Group of each sample, such as its alphabet. If given, the classes of each trial are from
        one group, which is a harder task.
    n_way : int, default=5
        Number of classes in a trial, at least 2.
    n_shot : int, default=1
        Number of support samples of each class.
    n_query : int, default=1
        Number of queries of each class.
    n_episodes : int, default=100
        Number of times that classes, support and queries are drawn.
    random_state : int, RandomState instance or None, default=None
        An int gives the same trials on each call.

    Returns
    -------
    score : OneShotScore
        Accuracy over ``n_episodes * n_way * n_query`` queries. Its interval assumes that the
        queries are independent.

    Raises
    ------
    TypeError
        If `estimator` is a class, or a number is not an integer.
    ValueError
        If there are too few classes with ``n_shot + n_query`` samples, or lengths differ.
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted, in the first two ways.

    See Also
    --------
    score_runs : Score a classifier on given trials.
    make_one_shot_scorer : Make a scorer for cross-validation and searches.
    EpisodeSplit : Draw the trials alone.

    Notes
    -----
    Any estimator can take the first way by a method ``trial_function(X)``. It is called once, with
    the samples that occur in trials, array-like of shape (n_used, ...). It returns a function
    ``trial(support_rows, query_rows, y_support) -> (logits, classes)``, which is called once for
    each episode:

    - support_rows : ndarray of int, shape (n_support,), rows of X.
    - query_rows : ndarray of int, shape (n_query,), rows of X.
    - y_support : ndarray of shape (n_support,), class labels of the support.
    - logits : array-like of shape (n_query, n_classes), greatest for the predicted class. A query
      with a logit that is NaN counts as wrong.
    - classes : array-like of shape (n_classes,), the label of each column of `logits`.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from sksiamese.model_selection import one_shot_score
    >>> X, y = load_digits(return_X_y=True)
    >>> print(one_shot_score(KNeighborsClassifier(1), X, y, random_state=0))
    73.2 % (95 % interval 69.2-76.9), 5-way 1-shot, unstructured, 500 trials

    A nearest-mean classifier with the method described in the Notes:

    >>> import numpy as np
    >>> class NearestMean:
    ...     def trial_function(self, X):
    ...         embeddings = np.sqrt(X)
    ...
    ...         def trial(support_rows, query_rows, y_support):
    ...             classes = np.unique(y_support)
    ...             support = embeddings[support_rows]
    ...             means = np.stack([support[y_support == c].mean(axis=0) for c in classes])
    ...             differences = embeddings[query_rows][:, None] - means
    ...             return -np.linalg.norm(differences, axis=2), classes
    ...
    ...         return trial
    ...
    >>> print(one_shot_score(NearestMean(), X, y, n_shot=5, random_state=0))
    88.4 % (95 % interval 85.3-90.9), 5-way 5-shot, unstructured, 500 trials
    """
    (X,) = indexable(X)
    X = X if hasattr(X, "shape") else np.asarray(X)
    labels = check_values(y, "y", X)
    episodes = EpisodeSplit(n_way, n_shot, n_query, n_episodes, random_state=random_state)
    support, query = episodes.draw_episodes(X, labels, groups)

    # Samples that occur in no trial need no embedding.
    used = np.unique(np.hstack([support, query]))
    if len(used) < len(labels):
        X, labels = _take(X, used), labels[used]
        support, query = np.searchsorted(used, support), np.searchsorted(used, query)
    protocol = "unstructured" if groups is None else "within groups"
    return _score(estimator, X, labels, support, query, n_way, n_shot, protocol)


def score_runs(estimator: Any, runs: Sequence[Bunch]) -> OneShotScore:
    """Compute the accuracy of a classifier on given one-shot runs.

    Parameters
    ----------
    estimator : estimator instance
        Classifier to score, in one of the ways that `one_shot_score` describes.
    runs : sequence of Bunch
        Each has ``support_images``, ``support_labels``, ``query_images`` and ``query_labels``, as
        from `sksiamese.datasets.fetch_omniglot_runs`. All must have the same numbers of classes
        and shots.

    Returns
    -------
    score : OneShotScore
        Accuracy over all queries. Its protocol is "given runs"; the official runs of Omniglot are
        each within one alphabet.

    Raises
    ------
    TypeError
        If `estimator` is a class.
    ValueError
        If `runs` is empty.

    See Also
    --------
    one_shot_score : Score a classifier on trials drawn from a data set.
    sksiamese.datasets.fetch_omniglot_runs : Load the official runs of Omniglot.

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
    n_shot = int(counts[0])
    return _score(estimator, X, y, rows[::2], rows[1::2], len(labels), n_shot, "given runs")


class OneShotScorer(BaseEstimator):
    """Score estimators by their one-shot accuracy; made by `make_one_shot_scorer`.

    The scorer is called as ``scorer(estimator, X, y, groups=None)``.

    Parameters
    ----------
    n_way : int, default=5
        Number of classes in a trial, at least 2.
    n_shot : int, default=1
        Number of support samples of each class.
    n_query : int, default=1
        Number of queries of each class.
    n_episodes : int, default=100
        Number of times that classes, support and queries are drawn.
    class_groups : mapping of label to group, or None, default=None
        Group of each class label.
    random_state : int, RandomState instance or None, default=0
        An int gives the same trials on each call.

    See Also
    --------
    make_one_shot_scorer : Make a scorer, with its parameters checked.
    one_shot_score : Score a classifier over trials.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from sksiamese.model_selection import OneShotScorer
    >>> X, y = load_digits(return_X_y=True)
    >>> scorer = OneShotScorer(n_way=2)
    >>> scorer(KNeighborsClassifier(1), X, y)
    0.86
    >>> scorer.score(KNeighborsClassifier(1), X, y)  # the same
    0.86
    """

    # BaseEstimator provides repr, clone and set_score_request.
    __metadata_request__score = {"groups": True, "estimator": UNUSED}

    def __init__(
        self,
        *,
        n_way: int = 5,
        n_shot: int = 1,
        n_query: int = 1,
        n_episodes: int = 100,
        class_groups: Mapping[Any, Any] | None = None,
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.n_way = n_way
        self.n_shot = n_shot
        self.n_query = n_query
        self.n_episodes = n_episodes
        self.class_groups = class_groups
        self.random_state = random_state

    def score(
        self, estimator: Any, X: Any, y: ArrayLike, groups: ArrayLike | None = None
    ) -> float:
        """Return the one-shot accuracy of an estimator.

        Parameters
        ----------
        estimator : estimator instance
            Classifier to score, in one of the ways that `one_shot_score` describes.
        X : array-like of shape (n_samples, ...)
            Images or flat rows.
        y : array-like of shape (n_samples,)
            Class labels of any dtype.
        groups : array-like of shape (n_samples,) or None, default=None
            Group of each sample. Ignored if `class_groups` was given.

        Returns
        -------
        score : float
            Accuracy, from 0 to 1.

        Raises
        ------
        ValueError
            If `class_groups` lacks a label of y, or `one_shot_score` raises it.
        """
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

    # scikit-learn calls a scorer, but reads from the name `score` which metadata it requests.
    __call__ = score


def make_one_shot_scorer(
    *,
    n_way: int = 5,
    n_shot: int = 1,
    n_query: int = 1,
    n_episodes: int = 100,
    class_groups: Mapping[Any, Any] | None = None,
    random_state: int | np.random.RandomState | None = 0,
) -> OneShotScorer:
    """Make a scorer of one-shot accuracy for cross_val_score, GridSearchCV and similar tools.

    If the test folds hold new classes, as with ``GroupKFold`` over alphabets, plain accuracy is 0.
    This scorer draws trials from the test fold instead, as `one_shot_score` does.

    By default, scikit-learn does not pass `groups` to a scorer, and the trials mix all classes of
    the fold. For trials within groups, a harder task, give `class_groups`, or enable metadata
    routing. With metadata routing, ``cross_val_score(..., params={"groups": groups})`` also passes
    the groups to the scorer, unless ``scorer.set_score_request(groups=False)`` was called.

    Parameters
    ----------
    n_way : int, default=5
        Number of classes in a trial, at least 2. Each test fold needs `n_way` classes with enough
        samples. If there are groups, it needs a group with `n_way` such classes.
    n_shot : int, default=1
        Number of support samples of each class.
    n_query : int, default=1
        Number of queries of each class.
    n_episodes : int, default=100
        Number of times that classes, support and queries are drawn.
    class_groups : mapping of label to group, or None, default=None
        Group of each class label; each trial then stays within one group. It must have an entry
        for every label that is scored.
    random_state : int, RandomState instance or None, default=0
        With an int, all candidates of a search are scored on the same trials.

    Returns
    -------
    scorer : OneShotScorer
        Callable as ``scorer(estimator, X, y, groups=None)``, which returns a float.

    Raises
    ------
    TypeError
        If a number is not an integer.
    ValueError
        If `n_way` is less than 2, another number is less than 1, or `random_state` is not valid.

    See Also
    --------
    one_shot_score : Score a fitted classifier, with an interval.
    EpisodeSplit : Use single trials as the folds.

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


def wilson_interval(successes: float, n: int) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of the fraction ``successes / n``.

    Unlike the normal approximation, it is reliable near 0 and 1 [1]_.

    Parameters
    ----------
    successes : float
        Number of successes, from 0 to `n`. It need not be an integer, because ties count in part.
    n : int
        Number of independent trials, at least 1.

    Returns
    -------
    interval : tuple of (float, float)
        Lower and upper end, from 0 to 1.

    Raises
    ------
    ValueError
        If `successes` or `n` is out of range.

    See Also
    --------
    one_shot_score : Score a classifier, with this interval.

    References
    ----------
    .. [1] E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
       Journal of the American Statistical Association 22, 1927.

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
    # At 0 and 1 the ends are exact; the formula would miss them by rounding.
    return (centre - half) / scale if p > 0 else 0.0, (centre + half) / scale if p < 1 else 1.0


def _score(
    estimator: Any,
    X: Any,
    y: NDArray[Any],
    support: Iterable[Rows],
    query: Iterable[Rows],
    n_way: int,
    n_shot: int,
    protocol: str,
) -> OneShotScore:
    """Score the episodes, each given by an array of support rows and one of query rows of X."""
    if isinstance(estimator, type):
        raise TypeError(f"estimator is the class {estimator.__name__}; expected an instance.")
    credit = _trial_credit(estimator, X, y)
    correct, n_trials = 0.0, 0
    for support_rows, query_rows in zip(support, query, strict=True):
        correct += float(credit(support_rows, query_rows).sum())
        n_trials += len(query_rows)
    interval = wilson_interval(correct, n_trials)
    return OneShotScore(correct / n_trials, interval, n_trials, n_way, n_shot, protocol)


def _trial_credit(
    estimator: Any, X: Any, y: NDArray[Any]
) -> Callable[[Rows, Rows], NDArray[np.float64] | NDArray[np.bool_]]:
    """Return a function (support rows, query rows) -> credit of each query, from 0 to 1."""
    estimator = getattr(estimator, "best_estimator_", estimator)  # of a fitted search
    last, transformers = estimator, []
    while isinstance(last, Pipeline):
        if len(last) > 1:
            transformers.append(last[:-1])
        last = last[-1]

    if hasattr(last, "trial_function") or hasattr(last, "set_support"):
        for transformer in transformers:
            X = transformer.transform(X)
    elif getattr(X, "ndim", 2) > 2:
        X = X.reshape(len(X), -1)

    if hasattr(last, "trial_function"):
        trial = last.trial_function(X)

        def credit(support: Rows, query: Rows) -> NDArray[np.float64]:
            logits, classes = map(np.asarray, trial(support, query, y[support]))
            if logits.shape != (len(query), len(classes)):
                raise ValueError(
                    f"The trial function of {type(last).__name__} returned logits of shape "
                    f"{logits.shape} for {len(query)} queries and {len(classes)} classes; "
                    "expected (n_query, n_classes)."
                )
            best = logits == np.max(logits, axis=1, keepdims=True)
            own = classes == y[query, None]
            return (best & own).sum(axis=1) / np.maximum(1, best.sum(axis=1))

        return credit

    def correct(support: Rows, query: Rows) -> NDArray[np.bool_]:
        if hasattr(last, "set_support"):
            fitted = copy.copy(last)
            fitted.set_support(_take(X, support), y[support])
        else:
            fitted = clone(estimator).fit(_take(X, support), y[support])
        return np.ravel(fitted.predict(_take(X, query))) == y[query]

    return correct


def _take(X: Any, indices: Rows) -> Any:
    return X.iloc[indices] if hasattr(X, "iloc") else X[indices]
