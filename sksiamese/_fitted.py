"""Fitted: all that an estimator has learned, as one value that never changes."""

import functools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge

from ._support import Comparer, SupportSet, joined_dtype, pair_logits
from .model_selection import EpisodeSplit, make_pairs
from .model_selection._split import common_way

N_PAIRS = 10_000  # that calibrate the logits
N_QUERIES = 2_000  # that calibrate the rejection threshold
SLOPES = (1e-20, 1e4)  # of logistic regression: regularised, it is about 100 at most
COHORT = (100, 1000)  # classes that levels are learned of, at least and at most
SHARE = 0.02  # of a cohort: those that a sample is most like
N_PRIOR = 40  # classes of the user's own that weigh as much as a prior calibration
N_QUANTILES = 201
# What depends on the logits of the network.
CALIBRATION = (
    "calibration",
    "rejection_threshold",
    "genuine_scores",
    "prior_calibration",
    "prior_unknown",
    "level_weights",
    "level_offset",
)


@dataclass(frozen=True, eq=False)
class Fitted:
    """All that `fit`, `set_support` and `calibrate` learned.

    An estimator holds one in ``fitted_``, reads it once per call, and replaces it in one
    assignment.

    Attributes
    ----------
    comparer : Comparer
        What embeds samples and compares embeddings, such as a network with its input scaling.
    input_shape : tuple of ints
        Shape of one sample, (C, H, W) or (D,).
    flat : bool, default=False
        Whether X had two axes in `fit`.
    feature_names : ndarray of str or None, default=None
        Names of the columns of X in `fit`.
    calibration : tuple of 2 floats, default=(1.0, 0.0)
        Slope and intercept that turn the comparer's logits into log-odds.
    support : SupportSet or None, default=None
    rejection_threshold : float or None, default=None
        Lowest `score_samples` that the classifier accepts; None before calibration.
    genuine_scores : tuple of floats or None, default=None
        Scores of queries with their own class, one query of each class that calibrated.
    prior_calibration : tuple of 2 floats or None, default=None
        Calibration that `calibrate` starts from, of a pretrained network.
    prior_unknown : tuple of floats or None, default=None
        Quantiles, evenly spaced, of the scores of unknown queries by `prior_calibration`.
    level_weights : ndarray of the shape of an embedding or None, default=None
        How much a sample is like others, its level, is a linear function of its embedding.
    level_offset : float, default=0.0
        Level of an embedding of zeros.
    decision_threshold : float, default=0.0
        Lowest logit that the verifier predicts same.
    negative_label : int, default=0
        Label of different pairs in the verifier, 0 or -1.
    held_out_classes : ndarray or None, default=None
        Labels of which `fit` trained on no sample.
    held_out_groups : ndarray or None, default=None
        Groups that `fit` kept from training.
    history : tuple of lists of dict, default=()
        For each network, one dict per epoch.
    adapts : bool, default=False
        Whether `set_support` re-estimates the input scaling, as in a pretrained network.
    """

    comparer: Comparer
    input_shape: tuple[int, ...]
    flat: bool = False
    feature_names: np.ndarray | None = None
    calibration: tuple[float, float] = (1.0, 0.0)
    support: SupportSet | None = None
    rejection_threshold: float | None = None
    genuine_scores: tuple[float, ...] | None = None
    prior_calibration: tuple[float, float] | None = None
    prior_unknown: tuple[float, ...] | None = None
    level_weights: np.ndarray | None = None
    level_offset: float = 0.0
    decision_threshold: float = 0.0
    negative_label: int = 0
    held_out_classes: np.ndarray | None = None
    held_out_groups: np.ndarray | None = None
    history: tuple[list[dict[str, Any]], ...] = ()
    adapts: bool = False

    def __getstate__(self) -> dict[str, Any]:  # without what is derived
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def n_features_in(self) -> int:
        """Number of values in one sample."""
        return math.prod(self.input_shape)

    def with_comparer(self, comparer: Comparer) -> "Fitted":
        """Return a value that compares by something else, without support and calibration.

        The next support determines the shape of the samples.
        """
        return Fitted(comparer, self.input_shape, flat=self.flat, adapts=True)

    def with_calibration_of(self, other: "Fitted") -> "Fitted":
        """Return a copy that is calibrated as `other` is, whose logits are the same."""
        return replace(self, **{name: getattr(other, name) for name in CALIBRATION})

    @property
    def classes(self) -> np.ndarray:
        """Labels of the support, sorted; none without a support."""
        return np.empty(0) if self.support is None else self.support.classes

    def logits(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return calibrated logits of all pairs of embeddings: (A, ...), (B, ...) -> (A, B)."""
        return self._calibrated(self.comparer.logits(a, b))

    def pair_logits(
        self, a: np.ndarray, b: np.ndarray, i: np.ndarray, j: np.ndarray
    ) -> np.ndarray:
        """Return calibrated logits of the pairs (a[i], b[j]), (P,), in blocks of pairs."""
        logits = pair_logits(self.comparer, a.__getitem__, b.__getitem__, i, j)
        return self._calibrated(logits)

    def class_logits(self, queries: np.ndarray, aggregation: str) -> np.ndarray:
        """Return calibrated logits of queries with the classes of the support.

        Parameters
        ----------
        queries : ndarray of shape (n_queries, ...)
            Embeddings.
        aggregation : {"mean", "max", "prototype"}

        Returns
        -------
        logits : ndarray of shape (n_queries, n_classes), float32
        """
        if self.support is None:
            raise ValueError("class_logits needs a support")
        return self._calibrated(self.support.class_logits(self.comparer, queries, aggregation))

    def _calibrated(self, logits: np.ndarray) -> np.ndarray:
        slope, intercept = map(np.float32, self.calibration)
        return slope * logits + intercept

    @staticmethod
    def cohort_rows(classes: np.ndarray) -> np.ndarray | None:
        """Return rows of samples for `with_levels`, one of each of at most 1,000 classes.

        None if there are too few classes: scores relative to few would vary more than logits.
        """
        rows = np.random.default_rng(0).permutation(len(classes))
        numbers, first = np.unique(classes[rows], return_index=True)
        least, most = COHORT
        if len(numbers) < least:
            return None
        chosen = np.linspace(0, len(numbers) - 1, min(most, len(numbers))).round()
        return rows[first[chosen.astype(np.intp)]]

    def class_scores(
        self,
        queries: np.ndarray,
        logits: np.ndarray,
        aggregation: str,
        places: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return how much more alike query and class are than either is to others.

        A plain stroke is like many other drawings, and its logits are high with most: half of the
        levels of query and class is subtracted from their logit. Without levels, scores are the
        logits. See `with_levels`.

        Parameters
        ----------
        queries : ndarray of shape (n_queries, ...)
            Embeddings.
        logits : ndarray of shape (n_queries, n)
            Their `class_logits`.
        aggregation : {"mean", "max", "prototype"}
        places : ndarray of shape (n_queries, n) or None, default=None
            Places among `classes` of those that logits are of; None: all classes.

        Returns
        -------
        scores : ndarray of shape (n_queries, n)
        """
        if self.level_weights is None:
            return logits
        assert self.support is not None
        of_classes = self.support.combined(self._levels_of_exemplars, aggregation)
        of_classes = of_classes if places is None else of_classes[places]
        levels = self.levels(queries)[:, None] + of_classes
        return logits - np.float32(self.calibration[0] / 2) * levels

    @functools.cached_property
    def _levels_of_exemplars(self) -> np.ndarray:
        assert self.support is not None
        by = self.level_weights
        return np.concatenate(
            [block.derived("levels", by, self.levels) for block in self.support.blocks]
        )

    def levels(self, embeddings: np.ndarray) -> np.ndarray:
        """Return how much each sample is like others, as a logit before calibration: (n,)."""
        if self.level_weights is None:
            return np.zeros(len(embeddings), np.float32)
        rows = embeddings.reshape(len(embeddings), -1)
        return rows @ self.level_weights.ravel() + np.float32(self.level_offset)

    def with_levels(self, cohort: np.ndarray) -> "Fitted":
        """Return a copy that knows how much a sample is like others.

        The level of a sample is its mean logit with those of a cohort that it is most like, as in
        the adaptive symmetric normalisation of speaker verification (Matejka et al., "Analysis of
        score normalization in multilingual speaker recognition", Interspeech 2017). Ridge
        regression predicts it from the embedding, with less noise, and without the cohort.

        Parameters
        ----------
        cohort : ndarray of shape (n_cohort, ...)
            Embeddings of training samples, one of each class.
        """
        logits = self.comparer.logits(cohort, cohort)
        np.fill_diagonal(logits, -np.inf)
        n_most = max(1, round(SHARE * len(cohort)))
        levels = np.partition(logits, -n_most, axis=1)[:, -n_most:].mean(axis=1)
        rows = cohort.reshape(len(cohort), -1).astype(np.float64)
        line = Ridge(alpha=rows.var(axis=0).sum() or 1.0).fit(rows, levels)
        weights = line.coef_.reshape(cohort.shape[1:]).astype(np.float32)
        return replace(self, level_weights=weights, level_offset=float(line.intercept_))

    def scores(self, queries: np.ndarray, aggregation: str, exact: bool = False) -> np.ndarray:
        """Return ``max_k score_k - log(n_classes)`` of each query; see `score_samples`."""
        parts = self._best_logits(queries, aggregation, exact)
        return np.concatenate([self._greatest(*part, aggregation) for part in parts])

    def labels(
        self,
        queries: np.ndarray,
        aggregation: str,
        unknown_label: Any = None,
        *,
        logits: np.ndarray | None = None,
        exact: bool = False,
    ) -> np.ndarray:
        """Return the class of each query's greatest logit, or `unknown_label`.

        Parameters
        ----------
        queries : ndarray of shape (n_queries, ...)
            Embeddings.
        aggregation : {"mean", "max", "prototype"}
        unknown_label : label or None
            Answer where the score is below `rejection_threshold`; None: never.
        logits : ndarray of shape (n_queries, n_classes) or None, default=None
            Their `class_logits`, if these are known.
        exact : bool, default=False
            Compare each query with all exemplars of a large support; see `predict`.

        Returns
        -------
        labels : ndarray of shape (n_queries,)

        Raises
        ------
        NotFittedError
            If `unknown_label` is given before calibration.
        """
        if unknown_label is not None and self.rejection_threshold is None:
            raise NotFittedError(
                f"unknown_label={unknown_label!r} needs rejection_threshold_, which has not been "
                "learned. Call calibrate(X, y) with classes not used in training."
            )
        unknown = None
        if unknown_label is not None:
            unknown = check_unknown_label(unknown_label, self.classes)
        answers = []
        parts: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray | None]]
        if logits is None:
            parts = self._best_logits(queries, aggregation, exact)
        else:
            parts = [(queries, logits, None)]
        for part, values, places in parts:
            best = values.argmax(axis=1)
            if places is not None:
                best = np.take_along_axis(places, best[:, None], axis=1)[:, 0]
            answers.append(self.classes[best])
            if unknown is not None:
                scores = self._greatest(part, values, places, aggregation)
                answers[-1] = np.where(scores >= self.rejection_threshold, answers[-1], unknown)
        return np.concatenate(answers)

    def _best_logits(
        self, queries: np.ndarray, aggregation: str, exact: bool
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
        """Yield some queries, their calibrated logits, and of which classes these are."""
        assert self.support is not None
        found = self.support.best_logits(self.comparer, queries, aggregation, exact)
        return ((part, self._calibrated(logits), places) for part, logits, places in found)

    def _greatest(
        self,
        queries: np.ndarray,
        logits: np.ndarray,
        places: np.ndarray | None,
        aggregation: str,
    ) -> np.ndarray:
        scores = self.class_scores(queries, logits, aggregation, places)
        return scores.max(axis=1) - np.log(np.float32(len(self.classes)))

    def lowest_score(self, coverage: float) -> float:
        """Return the lowest score with which a class is in a prediction set; see `predict_set`.

        Raises
        ------
        NotFittedError
            Before calibration.
        """
        if self.genuine_scores is None:
            raise NotFittedError(
                "predict_set needs calibration. Call calibrate(X, y) with classes not used in "
                "training."
            )
        genuine = np.sort(self.genuine_scores)
        # A further score is equally likely to be of any rank among those of n classes.
        n_below = math.floor((len(genuine) + 1) * (1 - coverage) + 1e-9)
        return float(genuine[n_below - 1]) if n_below else -math.inf

    def calibrated(
        self,
        embeddings: np.ndarray,
        classes: np.ndarray,
        groups: np.ndarray,
        false_acceptance_rate: float,
    ) -> "Fitted":
        """Return a copy with calibrated logits, a rejection threshold and genuine scores.

        Parameters
        ----------
        embeddings : ndarray of shape (n, ...)
        classes, groups : ndarray of shape (n,)
            Integers; classes are compared inside a group.
        false_acceptance_rate : float

        Returns
        -------
        fitted : Fitted

        Raises
        ------
        ValueError
            If pairs of one class are no more alike than pairs of two.
        """
        return self.calibrated_by(
            [self.evidence(embeddings, classes, groups)], false_acceptance_rate
        )

    def calibrated_by(self, evidence: "list[Evidence]", false_acceptance_rate: float) -> "Fitted":
        """Return a copy that is calibrated by comparisons, of this network or of others like it.

        With a prior, what few classes tell is shrunk towards it: they are of one kind, and the
        classes to come may be of others.

        Raises
        ------
        ValueError
            If pairs of one class are no more alike than pairs of two.
        """
        own = Evidence.joined(evidence)
        line = LogisticRegression().fit(own.logits[:, None], own.same)
        slope, intercept = line.coef_.item(), line.intercept_.item()
        if slope < SLOPES[0]:
            raise ValueError(
                "y cannot calibrate the network: pairs of one class have no greater logits than "
                "pairs of two classes. Train longer, or check that y belongs to X."
            )
        accepted = 1 - false_acceptance_rate
        threshold = np.quantile(own.unknown_scores(slope, intercept), accepted).item()
        if self.prior_calibration is not None:
            assert self.prior_unknown is not None
            prior = (*self.prior_calibration, np.quantile(self.prior_unknown, accepted).item())
            weight = len(own.genuine) / (len(own.genuine) + N_PRIOR)
            slope, intercept, threshold = (
                weight * learned + (1 - weight) * before
                for learned, before in zip((slope, intercept, threshold), prior, strict=True)
            )
        return replace(
            self,
            calibration=(slope, intercept),
            rejection_threshold=threshold,
            genuine_scores=tuple((slope * own.genuine + intercept).tolist()),
        )

    def as_prior(self, evidence: "list[Evidence]") -> "Fitted":
        """Return a copy whose calibration, by this evidence, is the prior of `calibrate`."""
        scores = Evidence.joined(evidence).unknown_scores(*self.calibration)
        quantiles = np.quantile(scores, np.linspace(0, 1, N_QUANTILES))
        return replace(
            self, prior_calibration=self.calibration, prior_unknown=tuple(quantiles.tolist())
        )

    def evidence(
        self, embeddings: np.ndarray, classes: np.ndarray, groups: np.ndarray
    ) -> "Evidence":
        """Return the comparisons that calibrate; the same ones for the same data."""
        plain = replace(self, calibration=(1.0, 0.0))
        i, j, same = make_pairs(classes, groups, N_PAIRS, random_state=0).T
        pairs, drawn = np.unique(np.stack([i, j]), axis=1, return_inverse=True)
        logits = plain.pair_logits(embeddings, embeddings, *pairs)[drawn.ravel()]
        levels = self.levels(embeddings) / 2
        unknown, n_classes = plain._scores_of_unknown(embeddings, levels, classes, groups)
        a, b = _pair_of_each_class(classes, groups)
        genuine = plain.pair_logits(embeddings, embeddings, a, b) - levels[a] - levels[b]
        return Evidence(logits, same, unknown, n_classes, genuine)

    def _scores_of_unknown(
        self, embeddings: np.ndarray, levels: np.ndarray, classes: np.ndarray, groups: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return greatest scores in one-shot trials without the query's own class.

        The second value is the number of classes that each was compared with.
        """
        n_way = common_way(classes, groups)
        splitter = EpisodeSplit(n_way, n_episodes=math.ceil(N_QUERIES / n_way), random_state=0)
        greatest, whole = [], None
        if len(embeddings) ** 2 <= N_QUERIES * n_way:  # the same pairs come again and again
            whole = self.logits(embeddings, embeddings)
        for support, query in splitter.split(embeddings, classes, groups):
            if whole is None:
                logits = self.logits(embeddings[query], embeddings[support])
            else:
                logits = whole[np.ix_(query, support)]
            scores = logits - levels[query][:, None] - levels[support]
            wrong = scores[classes[query][:, None] != classes[support]]
            greatest.append(wrong.reshape(len(query), -1).max(axis=1))
        found = np.concatenate(greatest)
        return found, np.full(len(found), n_way - 1)


@dataclass(frozen=True)
class Evidence:
    """Comparisons of samples whose classes are known, before calibration.

    Attributes
    ----------
    logits, same : ndarray of shape (n_pairs,)
        Logits of pairs, and 1 where both are of one class.
    unknown, n_classes : ndarray of shape (n_queries,)
        Greatest score of queries with the classes of a support that lacks their own, and the
        number of its classes.
    genuine : ndarray of shape (n_classes,)
        Score of a query of each class with another sample of its class.
    """

    logits: np.ndarray
    same: np.ndarray
    unknown: np.ndarray
    n_classes: np.ndarray
    genuine: np.ndarray

    @classmethod
    def joined(cls, parts: "list[Evidence]") -> "Evidence":
        """Return all comparisons together, in double precision."""
        return cls(
            *(
                np.concatenate([getattr(part, field.name) for part in parts]).astype(np.float64)
                for field in fields(cls)
            )
        )

    def unknown_scores(self, slope: float, intercept: float) -> np.ndarray:
        """Return what `score_samples` gives the unknown queries by a calibration."""
        return slope * self.unknown + intercept - np.log(self.n_classes)


def _pair_of_each_class(classes: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of two samples of each class that has two, drawn at random."""
    rows = np.random.default_rng(0).permutation(len(classes))
    rows = rows[np.lexsort((classes[rows], groups[rows]))]
    same = (classes[rows[1:]] == classes[rows[:-1]]) & (groups[rows[1:]] == groups[rows[:-1]])
    first = np.flatnonzero(same & ~np.concatenate([[False], same[:-1]]))
    return rows[first], rows[first + 1]


def check_unknown_label(unknown_label: Any, classes: np.ndarray) -> np.ndarray:
    """Return `unknown_label` as an array without axes, in a dtype to stand beside the labels.

    Raises
    ------
    ValueError
        If it is of another type than the labels, or one of them.
    """
    unknown = np.asarray(unknown_label)
    if isinstance(unknown_label, np.ndarray) or unknown.dtype.kind in "OSVc":
        raise ValueError(
            f"unknown_label={unknown_label!r} is of type {type(unknown_label).__name__}; expected "
            "a label of the type of the labels, a string or a whole number."
        )
    if classes.dtype.kind == "f" and unknown.dtype.kind in "iu":
        unknown = unknown.astype(classes.dtype)  # -1 beside 3.0
    if unknown.ndim or joined_dtype(unknown.dtype, classes.dtype) is None:
        raise ValueError(
            f"unknown_label={unknown_label!r} is not of the type of the labels, which have dtype "
            f"{classes.dtype}. Use a label that can stand beside them unchanged."
            f"{_hint_of_numbers(classes)}"
        )
    if (classes == unknown).any():
        raise ValueError(
            f"unknown_label={unknown_label!r} is also the label of a class. Use another label."
            f"{_hint_of_numbers(classes)}"
        )
    return unknown


def _hint_of_numbers(labels: np.ndarray) -> str:
    """Return the end of an error message, where a tool seems to have numbered the classes."""
    classes = np.unique(labels)
    if labels.dtype.kind not in "iu" or not np.array_equal(classes, np.arange(len(classes))):
        return ""
    return (
        " VotingClassifier, StackingClassifier and cross_val_predict replace labels by numbers "
        "from 0, and have no place for unknown queries: inside them set unknown_label=None, and "
        "reject where score_samples is below rejection_threshold_."
    )
