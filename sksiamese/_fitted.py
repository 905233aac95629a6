"""Fitted: all that an estimator has learned, as one value that never changes."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression

from ._support import Comparer, SupportSet, joined_dtype
from .model_selection import EpisodeSplit, make_pairs
from .model_selection._split import common_way

N_PAIRS = 10_000  # that calibrate the logits
N_QUERIES = 2_000  # that calibrate the rejection threshold
BLOCK_PAIRS = 1024


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
    decision_threshold: float = 0.0
    negative_label: int = 0
    held_out_classes: np.ndarray | None = None
    held_out_groups: np.ndarray | None = None
    history: tuple[list[dict[str, Any]], ...] = ()
    adapts: bool = False

    @property
    def n_features_in(self) -> int:
        """Number of values in one sample."""
        return math.prod(self.input_shape)

    def with_comparer(self, comparer: Comparer) -> "Fitted":
        """Return a value that compares by something else, without support and calibration.

        The next support determines the shape of the samples.
        """
        return Fitted(comparer, self.input_shape, flat=self.flat, adapts=True)

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
        blocks = (slice(start, start + BLOCK_PAIRS) for start in range(0, len(i), BLOCK_PAIRS))
        parts = [self.comparer.pair_logits(a[i[rows]], b[j[rows]]) for rows in blocks]
        return self._calibrated(np.concatenate(parts))

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

    def labels(self, logits: np.ndarray, unknown_label: Any = None) -> np.ndarray:
        """Return the class of each query's greatest logit, or `unknown_label`.

        Parameters
        ----------
        logits : ndarray of shape (n_queries, n_classes)
        unknown_label : label or None
            Answer where the score is below `rejection_threshold`; None: never.

        Returns
        -------
        labels : ndarray of shape (n_queries,)

        Raises
        ------
        NotFittedError
            If `unknown_label` is given before calibration.
        """
        answers = self.classes[logits.argmax(axis=1)]
        if unknown_label is None:
            return answers
        if self.rejection_threshold is None:
            raise NotFittedError(
                f"unknown_label={unknown_label!r} needs rejection_threshold_, which has not been "
                "learned. Call calibrate(X, y) with classes not used in training."
            )
        unknown = check_unknown_label(unknown_label, self.classes)
        return np.where(scores_of(logits) >= self.rejection_threshold, answers, unknown)

    def calibrated(
        self,
        embeddings: np.ndarray,
        classes: np.ndarray,
        groups: np.ndarray,
        false_acceptance_rate: float,
    ) -> "Fitted":
        """Return a copy with calibrated logits and a rejection threshold.

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
        # The same pairs and trials for the same data.
        i, j, same = make_pairs(classes, groups, N_PAIRS, random_state=0).T
        plain = replace(self, calibration=(1.0, 0.0))
        pairs, drawn = np.unique(np.stack([i, j]), axis=1, return_inverse=True)
        logits = plain.pair_logits(embeddings, embeddings, *pairs)[drawn.ravel()]
        line = LogisticRegression().fit(logits[:, None].astype(np.float64), same)
        slope, intercept = line.coef_.item(), line.intercept_.item()
        if slope <= 0:
            raise ValueError(
                "y cannot calibrate the network: pairs of one class have no greater logits than "
                "pairs of two classes. Train longer, or check that y belongs to X."
            )
        fitted = replace(self, calibration=(slope, intercept))
        scores = fitted._scores_of_unknown(embeddings, classes, groups)
        threshold = float(np.quantile(scores, 1 - false_acceptance_rate))
        return replace(fitted, rejection_threshold=threshold)

    def _scores_of_unknown(
        self, embeddings: np.ndarray, classes: np.ndarray, groups: np.ndarray
    ) -> np.ndarray:
        """Return scores of queries of one-shot trials whose own class is left out."""
        n_way = common_way(classes, groups)
        splitter = EpisodeSplit(n_way, n_episodes=math.ceil(N_QUERIES / n_way), random_state=0)
        scores, whole = [], None
        if len(embeddings) ** 2 <= N_QUERIES * n_way:  # the same pairs come again and again
            whole = self.logits(embeddings, embeddings)
        for support, query in splitter.split(embeddings, classes, groups):
            if whole is None:
                logits = self.logits(embeddings[query], embeddings[support])
            else:
                logits = whole[np.ix_(query, support)]
            wrong = logits[classes[query][:, None] != classes[support]]
            scores.append(scores_of(wrong.reshape(len(query), -1)))
        return np.concatenate(scores)


def scores_of(logits: np.ndarray) -> np.ndarray:
    """Return ``max_k logit_k - log(n_classes)`` of each row; see `score_samples`."""
    return logits.max(axis=1) - np.log(np.float32(logits.shape[1]))


def check_unknown_label(unknown_label: Any, classes: np.ndarray) -> np.ndarray:
    """Return `unknown_label` as an array without axes, in a dtype to stand beside the labels.

    Raises
    ------
    ValueError
        If it is of another type than the labels, or one of them.
    """
    unknown = np.asarray(unknown_label)
    if classes.dtype.kind == "f" and unknown.dtype.kind in "iu":
        unknown = unknown.astype(classes.dtype)  # -1 beside 3.0
    if unknown.ndim or joined_dtype(unknown.dtype, classes.dtype) is None:
        raise ValueError(
            f"unknown_label={unknown_label!r} is not of the type of the labels, which have dtype "
            f"{classes.dtype}. Use a label that can stand beside them unchanged."
        )
    if (classes == unknown).any():
        raise ValueError(
            f"unknown_label={unknown_label!r} is also the label of a class. Use another label."
        )
    return unknown
