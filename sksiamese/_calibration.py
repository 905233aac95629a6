"""Calibration: logits as honest log-odds, and queries of no class in the support."""

import copy
import math

import numpy as np
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression

from ._params import check_number
from ._support import joined_dtype
from ._validation import check_groups, check_labels, check_trainable
from .model_selection import EpisodeSplit
from .model_selection._split import common_way
from .twin import batches, inference

N_PAIRS = 10_000
N_QUERIES = 2000


class CalibrationMixin:
    """`calibrate`, and what follows from `threshold_`, of an estimator with ``network_``."""

    def calibrate(self, X, y, groups=None):
        """Learn the scale of the logits, and the threshold of what is unknown.

        By classes that the twin was not trained on, for it is surer of those than of others:
        `fit` does it by itself, with classes that it holds out, where `unknown_label` is given.

        Slope and intercept of the logits are Platt's, of pairs half of which are of one class, so
        that `pair_proba` is the frequency of the same class among such pairs. `threshold_` is the
        score, see `score_samples`, that `false_acceptance` of the queries of unknown classes
        reach, in one-shot trials of 20 classes, or of as many as the smallest group has.

        Parameters
        ----------
        X : array-like of shape (n, ...)
        y : array-like of shape (n,)
            At least two classes with two examples each, in one group where groups are given.
        groups : array-like of shape (n,) or None, default=None
            As in `fit`: classes are compared inside a group.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If an argument cannot be used, or the twin cannot tell these classes apart; what was
            calibrated before then stays.

        References
        ----------
        J. Platt, "Probabilistic outputs for support vector machines", 1999.
        """
        adapted, store = self._adapted(X)
        y = check_labels(y, len(store))
        classes, groups = check_groups(groups, y)
        check_trainable(y, classes, groups)
        first, counts = np.unique(classes, return_index=True, return_counts=True)[1:]
        if np.bincount(groups[first[counts > 1]]).max() < 2:
            raise ValueError(
                "y has no two classes with two examples each (inside one group, where groups are "
                "given), which one-shot trials need: give more examples, or pass groups=None."
            )
        adapted._calibrate(adapted._encode_store(store), classes, groups)
        # The kind of images that the support has taught a twin that ships stays.
        calibrated = copy.copy(self)
        calibrated.network_ = self.network_.calibrated(*adapted.network_.calibration)
        calibrated.threshold_ = adapted.threshold_
        self.__dict__ = calibrated.__dict__  # one assignment, as in fit
        return self

    def _calibrate(self, codes, classes, groups):
        check_number(self.false_acceptance, "false_acceptance", float, 0, 1, "neither")
        rng = np.random.default_rng(0)  # which pairs and trials: the same for the same data
        network = self.network_.calibrated(1.0, 0.0)
        i, j, same = batches.draw_pairs(classes, groups, N_PAIRS, rng).T
        logits = inference.pair_logits(network, codes, codes, i, j).numpy()
        line = LogisticRegression().fit(logits[:, None].astype(np.float64), same)
        slope, intercept = line.coef_.item(), line.intercept_.item()
        if slope <= 0:
            raise ValueError(
                "y cannot calibrate the twin: by its logits, pairs of one class are no more alike "
                "than pairs of two. Train it longer, or check that y belongs to X."
            )
        network = network.calibrated(slope, intercept)
        scores = _scores_of_unknown(network, codes, classes, groups)
        self.network_ = network
        self.threshold_ = float(np.quantile(scores, 1 - self.false_acceptance))

    def score_samples(self, X):
        """How surely each query is of a class in the support.

        Its greatest logit, less the logarithm of the number of classes: of unknown classes, at
        most ``exp(-t)`` of the pairs have log-odds of `t` by chance, so that a query has as many
        chances to reach `t` as there are classes.

        Parameters
        ----------
        X : array-like of shape (n_queries, ...)

        Returns
        -------
        scores : ndarray of shape (n_queries,), float32
            `predict` answers `unknown_label`, if there is one, where they are below `threshold_`.
        """
        return _scores(self._class_logits(X)[0])

    def _labels_of(self, logits, classes):
        """The classes of the greatest logits, or `unknown_label`."""
        answers = classes[logits.argmax(axis=1)]
        if self.unknown_label is None:
            return answers
        if not hasattr(self, "threshold_"):
            raise NotFittedError(
                f"unknown_label={self.unknown_label!r} needs a threshold_, and none has been "
                "learned: call calibrate(X, y) with classes that the twin was not trained on."
            )
        unknown = self._check_unknown_label(classes)
        return np.where(_scores(logits) >= self.threshold_, answers, unknown)

    def _check_unknown_label(self, classes):
        """`unknown_label` as an array of no axes, fit to stand beside these labels."""
        unknown = np.asarray(self.unknown_label)
        if classes.dtype.kind == "f" and unknown.dtype.kind in "iu":
            unknown = unknown.astype(classes.dtype)  # -1 beside 3.0
        if unknown.ndim or joined_dtype(unknown.dtype, classes.dtype) is None:
            raise ValueError(
                f"unknown_label={self.unknown_label!r} is not of the kind of the labels, which "
                f"have dtype {classes.dtype}: take one that can stand beside them unchanged."
            )
        if (classes == unknown).any():
            raise ValueError(
                f"unknown_label={self.unknown_label!r} is the label of a class too: take another."
            )
        return unknown


def _scores(logits):
    """What `score_samples` says."""
    return logits.max(axis=1) - np.log(np.float32(logits.shape[1]))


def _scores_of_unknown(network, codes, classes, groups):
    """Scores of the queries of one-shot trials in a support without their own class."""
    n_way = common_way(classes, groups)
    splitter = EpisodeSplit(n_way, n_episodes=math.ceil(N_QUERIES / n_way), random_state=0)
    scores = []
    for support, query in splitter.split(codes, classes, groups):
        logits = inference.logits(network, codes[query], codes[support]).numpy()
        wrong = logits[classes[query][:, None] != classes[support]]
        scores.append(_scores(wrong.reshape(len(query), -1)))
    return np.concatenate(scores)
