"""Displays of numbers: training, thresholds, accuracy by way and shot."""

import numpy as np
from sklearn.metrics import roc_auc_score, roc_curve
from sklearn.utils import check_array
from sklearn.utils._optional_dependencies import check_matplotlib_support
from sklearn.utils.validation import check_is_fitted

from .._base import TwinEstimator
from .._pairs import check_same
from .._verifier import SiameseVerifier
from ..model_selection import one_shot_score
from ._display import BLUE, GREEN, ORANGE, Display, check_kind


class TrainingCurveDisplay(Display):
    """Training loss by epoch and, where early stopping measured it, one-shot accuracy of held-out
    classes.

    Parameters
    ----------
    history : list of dict
        ``history_`` of an estimator.

    Attributes
    ----------
    ax_, figure_
        Of matplotlib, once plotted.
    """

    def __init__(self, *, history):
        self.history = history

    @classmethod
    def from_estimator(cls, estimator, *, ax=None):
        """Plot the training of a fitted estimator.

        Parameters
        ----------
        estimator : SiameseOneShotClassifier or SiameseVerifier
        ax : matplotlib Axes or None, default=None

        Returns
        -------
        display : TrainingCurveDisplay
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        expected = (
            "a SiameseOneShotClassifier or SiameseVerifier, such as the estimator of a "
            "FrozenTwinClassifier or the last step of a Pipeline"
        )
        check_kind(estimator, TwinEstimator, expected)
        check_is_fitted(estimator, "history_")
        return cls(history=estimator.history_).plot(ax=ax)

    def _draw(self, ax):
        epochs = np.arange(1, len(self.history) + 1)
        ax.plot(epochs, [row["train_loss"] for row in self.history], color=BLUE, marker=".")
        ax.set(xlabel="epoch", ylabel="training loss")
        ax.yaxis.label.set_color(BLUE)
        # After a warm start some epochs may have it and others not; NaN leaves a gap.
        accuracy = [row.get("one_shot_accuracy", np.nan) for row in self.history]
        if not np.isnan(accuracy).all():
            other = ax.twinx()
            other.plot(epochs, accuracy, color=ORANGE, marker="s", markersize=3, linestyle="--")
            other.set_ylabel("one-shot accuracy, held-out classes", color=ORANGE)


class ThresholdDisplay(Display):
    """Scores of same and of different pairs, the threshold between them, and the ROC curve.

    Parameters
    ----------
    y : ndarray of shape (n_pairs,)
        1 where both images are of one class, 0 where not; of both kinds.
    scores : ndarray of shape (n_pairs,)
        Twin logits.
    threshold : float

    Attributes
    ----------
    ax_, figure_
        Of matplotlib, once plotted.
    """

    def __init__(self, *, y, scores, threshold):
        self.y = y
        self.scores = scores
        self.threshold = threshold

    @classmethod
    def from_estimator(cls, estimator, X, y, *, ax=None):
        """Score the pairs and plot.

        Parameters
        ----------
        estimator : SiameseVerifier
        X : array-like of shape (n_pairs, 2, ...)
        y : array-like of shape (n_pairs,)
            As in `from_predictions`.
        ax : matplotlib Axes or None, default=None

        Returns
        -------
        display : ThresholdDisplay
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        expected = (
            "a fitted SiameseVerifier, such as SiameseVerifier.from_classifier makes of a "
            "SiameseOneShotClassifier"
        )
        check_kind(estimator, SiameseVerifier, expected)
        scores = estimator.decision_function(X)
        return cls.from_predictions(y, scores, threshold=estimator.threshold_, ax=ax)

    @classmethod
    def from_predictions(cls, y, scores, *, threshold=0.0, ax=None):
        """Plot scores that were made before.

        Parameters
        ----------
        y : array-like of shape (n_pairs,)
            1 where both images are of one class; 0, or in all of y -1, where not.
        scores : array-like of shape (n_pairs,)
        threshold : float, default=0.0
        ax : matplotlib Axes or None, default=None

        Returns
        -------
        display : ThresholdDisplay
        """
        check_matplotlib_support(f"{cls.__name__}.from_predictions")
        scores = check_array(scores, ensure_2d=False, input_name="scores")
        same = check_same(y, len(scores))[1]
        return cls(y=same, scores=scores, threshold=threshold).plot(ax=ax)

    def _draw(self, ax):
        bins = np.histogram_bin_edges(self.scores, bins=40)
        same = self.y == 1
        ax.hist(self.scores[~same], bins, color=ORANGE, alpha=0.6, hatch="//", label="different")
        ax.hist(self.scores[same], bins, color=BLUE, alpha=0.6, label="same")
        accepted = self.scores >= self.threshold
        tpr, fpr = accepted[same].mean(), accepted[~same].mean()
        ax.axvline(self.threshold, 0, 0.55, color="black", linestyle="--", label="threshold")
        ax.set(xlabel="twin logit", ylabel="pairs")
        ax.set_ylim(top=ax.get_ylim()[1] * 1.8)
        ax.legend(loc="upper left", fontsize=8)
        inset = ax.inset_axes([0.66, 0.66, 0.32, 0.28])
        curve = roc_curve(same, self.scores)
        inset.plot(curve[0], curve[1], color=BLUE)
        inset.plot(fpr, tpr, "o", color="black", markersize=4)
        inset.set_title(f"ROC, area {roc_auc_score(same, self.scores):.3f}", fontsize=8)
        inset.set_xlabel("false accepted", fontsize=7)
        inset.set_ylabel("accepted", fontsize=7)
        inset.tick_params(labelsize=6)


class EpisodeAccuracyDisplay(Display):
    """One-shot accuracy by way and shot, with 95 % intervals.

    Parameters
    ----------
    scores : dict of (n_way, n_shot) to OneShotScore

    Attributes
    ----------
    ax_, figure_
        Of matplotlib, once plotted.
    """

    def __init__(self, *, scores):
        self.scores = scores

    @classmethod
    def from_estimator(
        cls, estimator, X, y, *, groups=None, n_ways=(5, 10, 20), n_shots=(1, 5), n_episodes=20,
        random_state=None, ax=None,
    ):  # fmt: skip
        """Measure trials of each way and shot by `one_shot_score`, and plot.

        Parameters
        ----------
        estimator : estimator
            As in `sksiamese.model_selection.one_shot_score`.
        X, y, groups, n_episodes, random_state
            As there.
        n_ways, n_shots : sequence of int
            One or more of each.
        ax : matplotlib Axes or None, default=None

        Returns
        -------
        display : EpisodeAccuracyDisplay
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        if isinstance(estimator, SiameseVerifier):
            raise TypeError(
                "estimator is a SiameseVerifier, which takes pairs; expected a classifier of the "
                "rows of X, such as its to_classifier()."
            )
        for name, values in (("n_ways", n_ways), ("n_shots", n_shots)):
            if np.ndim(values) != 1 or not len(values):
                raise ValueError(
                    f"{name}={values!r}; expected a sequence of one or more integers, such as "
                    "(1, 5) or [5]."
                )
        scores = {
            (n_way, n_shot): one_shot_score(
                estimator, X, y, groups=groups, n_way=n_way, n_shot=n_shot,
                n_episodes=n_episodes, random_state=random_state,
            )
            for n_way in n_ways
            for n_shot in n_shots
        }  # fmt: skip
        return cls(scores=scores).plot(ax=ax)

    def _draw(self, ax):
        colors = (BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00", "#56B4E9")
        for n, n_shot in enumerate(sorted({shot for _, shot in self.scores})):
            ways = sorted(way for way, shot in self.scores if shot == n_shot)
            scores = [self.scores[way, n_shot] for way in ways]
            accuracy = np.array([float(score) for score in scores])
            low, high = np.array([score.interval for score in scores]).T
            ax.errorbar(
                ways, 100 * accuracy, 100 * np.stack([accuracy - low, high - accuracy]),
                color=colors[n % len(colors)], marker="os^Dv"[n % 5], capsize=3,
                label=f"{n_shot}-shot",
            )  # fmt: skip
        protocol = next(iter(self.scores.values())).protocol
        ax.set(xlabel="classes of a trial (way)", ylabel=f"accuracy in %, {protocol}")
        ax.set_xticks(sorted({way for way, _ in self.scores}))
        ax.legend()
