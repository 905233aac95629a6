"""Displays of numbers: training, thresholds, accuracy by way and shot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import roc_auc_score, roc_curve
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from .._classifier import SiameseOneShotClassifier
from .._pairs import check_same
from .._verifier import SiameseVerifier
from ..model_selection import OneShotScore, one_shot_score
from ._display import BLUE, GREEN, ORANGE, Display, check_kind, check_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class TrainingCurveDisplay(Display):
    """Training loss by epoch, one line per network.

    If early stopping measured the one-shot accuracy of held-out classes, it is shown too.

    Parameters
    ----------
    history : list of list of dict
        ``history_`` of an estimator: for each network, one dict per epoch.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the loss.
    figure_ : matplotlib Figure
        Figure that contains the axes.

    See Also
    --------
    TrainingCurveDisplay.from_estimator : Plot the training of a fitted estimator.
    EpisodeAccuracyDisplay : Plot the accuracy after training.

    Examples
    --------
    >>> from sksiamese.plotting import TrainingCurveDisplay
    >>> history = [[{"train_loss": 0.7}, {"train_loss": 0.4}, {"train_loss": 0.3}]]
    >>> display = TrainingCurveDisplay(history=history).plot()
    >>> display.ax_.get_ylabel()
    'training loss'
    """

    def __init__(self, *, history: Sequence[Sequence[Mapping[str, Any]]]) -> None:
        self.history = history

    @classmethod
    def from_estimator(
        cls,
        estimator: SiameseOneShotClassifier | SiameseVerifier,
        *,
        ax: Axes | None = None,
    ) -> TrainingCurveDisplay:
        """Plot the training of a fitted estimator.

        Parameters
        ----------
        estimator : SiameseOneShotClassifier or SiameseVerifier
            Fitted estimator.
        ax : matplotlib Axes or None, default=None
            Axes to draw into. If None, a new figure is made.

        Returns
        -------
        display : TrainingCurveDisplay
            The plotted display.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If `estimator` is of another class.
        NotFittedError
            If `estimator` is not fitted.

        See Also
        --------
        TrainingCurveDisplay : Plot a history that was kept.

        Examples
        --------
        >>> from sksiamese import load_pretrained
        >>> from sksiamese.plotting import TrainingCurveDisplay
        >>> display = TrainingCurveDisplay.from_estimator(load_pretrained("omniglot"))
        >>> len(display.history[0])
        30
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        expected = (
            "a SiameseOneShotClassifier or SiameseVerifier, such as the estimator of a "
            "FrozenTwinClassifier or the last step of a Pipeline"
        )
        check_kind(estimator, (SiameseOneShotClassifier, SiameseVerifier), expected)
        check_is_fitted(estimator, "history_")
        return cls(history=estimator.history_).plot(ax=ax)

    def _draw(self, ax: Axes) -> None:
        other = None
        for n, rows in enumerate(self.history):
            epochs = np.arange(1, len(rows) + 1)
            marker, label = ".^sDv"[n % 5], f"network {n + 1}"
            loss = [row["train_loss"] for row in rows]
            ax.plot(epochs, loss, color=BLUE, marker=marker, label=label)
            # After a warm start, only some epochs may have an accuracy; NaN leaves a gap.
            accuracy = [row.get("one_shot_accuracy", np.nan) for row in rows]
            if not np.isnan(accuracy).all():
                other = ax.twinx() if other is None else other
                other.plot(
                    epochs, accuracy, color=ORANGE, marker=marker, markersize=3, linestyle="--"
                )
        ax.set(xlabel="epoch", ylabel="training loss")
        ax.yaxis.label.set_color(BLUE)
        if other is not None:
            other.set_ylabel("one-shot accuracy, held-out classes", color=ORANGE)
        if len(self.history) > 1:
            ax.legend(loc="center right")


class ThresholdDisplay(Display):
    """Logits of pairs of the same and of different classes, the threshold, and the ROC curve.

    Parameters
    ----------
    y : ndarray of shape (n_pairs,)
        1 for pairs of the same class, 0 for others; both must occur.
    scores : ndarray of shape (n_pairs,)
        Logit of each pair, as from `SiameseVerifier.decision_function`.
    threshold : float
        Lowest logit at which a pair is accepted as the same class.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the histograms. The ROC curve is in an inset.
    figure_ : matplotlib Figure
        Figure that contains the axes.

    See Also
    --------
    ThresholdDisplay.from_estimator : Score pairs by a verifier and plot them.
    ThresholdDisplay.from_predictions : Plot given scores.
    sksiamese.SiameseVerifier.calibrate_threshold : Choose the threshold.

    Examples
    --------
    >>> import numpy as np
    >>> from sksiamese.plotting import ThresholdDisplay
    >>> y, scores = np.array([0, 0, 1, 1]), np.array([-3.0, 0.5, 0.2, 4.0])
    >>> display = ThresholdDisplay(y=y, scores=scores, threshold=0.0).plot()
    >>> display.ax_.get_xlabel()
    'logit'
    """

    def __init__(self, *, y: np.ndarray, scores: np.ndarray, threshold: float) -> None:
        self.y = y
        self.scores = scores
        self.threshold = threshold

    @classmethod
    def from_estimator(
        cls, estimator: SiameseVerifier, X: ArrayLike, y: ArrayLike, *, ax: Axes | None = None
    ) -> ThresholdDisplay:
        """Score pairs by a verifier, and plot them with its threshold.

        Parameters
        ----------
        estimator : SiameseVerifier
            Fitted verifier.
        X : array-like of shape (n_pairs, 2, ...)
            Pairs, as in `SiameseVerifier.fit`.
        y : array-like of shape (n_pairs,)
            1 for pairs of the same class, 0 (or -1 throughout) for others.
        ax : matplotlib Axes or None, default=None
            Axes to draw into. If None, a new figure is made.

        Returns
        -------
        display : ThresholdDisplay
            The plotted display.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If `estimator` is not a SiameseVerifier.
        NotFittedError
            If `estimator` is not fitted.
        ValueError
            If X or y cannot be used, or y has one kind of pairs only.

        See Also
        --------
        ThresholdDisplay.from_predictions : Plot given scores.

        Examples
        --------
        >>> from sksiamese import SiameseVerifier, load_pretrained
        >>> from sksiamese.datasets import make_glyphs
        >>> from sksiamese.model_selection import make_pairs
        >>> from sksiamese.plotting import ThresholdDisplay
        >>> images, labels = make_glyphs(n_classes=5, n_samples=4, random_state=0)
        >>> clf = load_pretrained("omniglot").set_support(images, labels)
        >>> verifier = SiameseVerifier.from_classifier(clf, preprocessor=images)
        >>> pairs = make_pairs(labels, n_pairs=50, random_state=0)
        >>> display = ThresholdDisplay.from_estimator(verifier, pairs[:, :2], pairs[:, 2])
        >>> display.threshold
        0.0
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        expected = (
            "a fitted SiameseVerifier, such as SiameseVerifier.from_classifier makes of a "
            "SiameseOneShotClassifier"
        )
        check_kind(estimator, SiameseVerifier, expected)
        scores = estimator.decision_function(X)
        return cls.from_predictions(y, scores, threshold=estimator.decision_threshold_, ax=ax)

    @classmethod
    def from_predictions(
        cls, y: ArrayLike, scores: ArrayLike, *, threshold: float = 0.0, ax: Axes | None = None
    ) -> ThresholdDisplay:
        """Plot given scores of pairs.

        Parameters
        ----------
        y : array-like of shape (n_pairs,)
            1 for pairs of the same class, 0 (or -1 throughout) for others.
        scores : array-like of shape (n_pairs,)
            Logit of each pair.
        threshold : float, default=0.0
            Lowest logit at which a pair is accepted as the same class.
        ax : matplotlib Axes or None, default=None
            Axes to draw into. If None, a new figure is made.

        Returns
        -------
        display : ThresholdDisplay
            The plotted display.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If `y` or `scores` cannot be used, or y has one kind of pairs only.

        See Also
        --------
        ThresholdDisplay.from_estimator : Score pairs by a verifier and plot them.

        Examples
        --------
        >>> from sksiamese.plotting import ThresholdDisplay
        >>> y, scores = [-1, -1, 1, 1], [-3.0, 0.5, 0.2, 4.0]
        >>> display = ThresholdDisplay.from_predictions(y, scores, threshold=0.1)
        >>> display.y
        array([0, 0, 1, 1])
        """
        check_matplotlib(f"{cls.__name__}.from_predictions")
        logits: np.ndarray = check_array(scores, ensure_2d=False, input_name="scores")
        same = check_same(y, len(logits))[1]
        return cls(y=same, scores=logits, threshold=threshold).plot(ax=ax)

    def _draw(self, ax: Axes) -> None:
        bins = np.histogram_bin_edges(self.scores, bins=40).tolist()
        same = self.y == 1
        ax.hist(self.scores[~same], bins, color=ORANGE, alpha=0.6, hatch="//", label="different")
        ax.hist(self.scores[same], bins, color=BLUE, alpha=0.6, label="same")
        ax.axvline(self.threshold, 0, 0.55, color="black", linestyle="--", label="threshold")
        ax.set(xlabel="logit", ylabel="pairs")
        ax.set_ylim(top=ax.get_ylim()[1] * 1.8)
        ax.legend(loc="upper left", fontsize=8)
        accepted = self.scores >= self.threshold
        fpr, tpr, _ = roc_curve(same, self.scores)
        inset = ax.inset_axes((0.66, 0.66, 0.32, 0.28))
        inset.plot(fpr, tpr, color=BLUE)
        inset.plot(accepted[~same].mean(), accepted[same].mean(), "o", color="black", markersize=4)
        inset.set_title(f"ROC, area {roc_auc_score(same, self.scores):.3f}", fontsize=8)
        inset.set_xlabel("false-acceptance rate", fontsize=7)
        inset.set_ylabel("acceptance rate", fontsize=7)
        inset.tick_params(labelsize=6)


class EpisodeAccuracyDisplay(Display):
    """One-shot accuracy by way and shot, with 95 % intervals.

    Parameters
    ----------
    scores : dict of (n_way, n_shot) to OneShotScore
        Score of each number of classes and of exemplars per class.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the accuracies.
    figure_ : matplotlib Figure
        Figure that contains the axes.

    See Also
    --------
    EpisodeAccuracyDisplay.from_estimator : Measure the scores and plot them.
    sksiamese.model_selection.one_shot_score : Measure one score.

    Examples
    --------
    >>> from sksiamese.model_selection import OneShotScore, wilson_interval
    >>> from sksiamese.plotting import EpisodeAccuracyDisplay
    >>> score = OneShotScore(0.92, wilson_interval(368, 400), 400, 20, 1, "within groups")
    >>> display = EpisodeAccuracyDisplay(scores={(20, 1): score}).plot()
    >>> display.ax_.get_ylabel()
    'accuracy in %, within groups'
    """

    def __init__(self, *, scores: Mapping[tuple[int, int], OneShotScore]) -> None:
        self.scores = scores

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike,
        *,
        groups: ArrayLike | None = None,
        n_ways: Sequence[int] = (5, 10, 20),
        n_shots: Sequence[int] = (1, 5),
        n_episodes: int = 100,
        random_state: int | np.random.RandomState | None = None,
        ax: Axes | None = None,
    ) -> EpisodeAccuracyDisplay:
        """Measure the one-shot accuracy for each way and shot, and plot it.

        Parameters
        ----------
        estimator : estimator instance
            Classifier to score, as in `sksiamese.model_selection.one_shot_score`.
        X : array-like of shape (n_samples, ...)
            Images or flat rows.
        y : array-like of shape (n_samples,)
            Class labels of any dtype.
        groups : array-like of shape (n_samples,) or None, default=None
            Group of each sample. If given, the classes of each trial are from one group.
        n_ways : sequence of int, default=(5, 10, 20)
            Numbers of classes in a trial.
        n_shots : sequence of int, default=(1, 5)
            Numbers of support samples of each class.
        n_episodes : int, default=100
            Number of times that classes, support and queries are drawn, for each way and shot.
        random_state : int, RandomState instance or None, default=None
            An int gives the same trials on each call.
        ax : matplotlib Axes or None, default=None
            Axes to draw into. If None, a new figure is made.

        Returns
        -------
        display : EpisodeAccuracyDisplay
            The plotted display.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If `estimator` is a SiameseVerifier, which takes pairs.
        NotFittedError
            If `estimator` is not fitted but must be; see `one_shot_score`.
        ValueError
            If `n_ways` or `n_shots` is not a sequence, or an argument does not suit
            `one_shot_score`.

        See Also
        --------
        sksiamese.model_selection.one_shot_score : Measure one score.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sklearn.neighbors import KNeighborsClassifier
        >>> from sksiamese.plotting import EpisodeAccuracyDisplay
        >>> X, y = load_digits(return_X_y=True)
        >>> display = EpisodeAccuracyDisplay.from_estimator(
        ...     KNeighborsClassifier(1), X, y, n_ways=[5, 10], n_shots=[1], n_episodes=10,
        ...     random_state=0)
        >>> list(display.scores)
        [(5, 1), (10, 1)]
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
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

    def _draw(self, ax: Axes) -> None:
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
        ax.set(xlabel="classes in a trial (way)", ylabel=f"accuracy in %, {protocol}")
        ax.set_xticks(sorted({way for way, _ in self.scores}))
        ax.legend()
