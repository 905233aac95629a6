"""Displays of images and exemplars: a trial, the nearest, who is like whom."""

import copy

import numpy as np
from scipy.special import expit
from sklearn.utils._optional_dependencies import check_matplotlib_support

from .._frozen import FrozenTwinClassifier

from .._validation import check_length
from ._display import BLUE, GREEN, GREY, ORANGE, Display, check_kind, picture, tile


def _with_support(estimator, X, y):
    """A copy of the estimator whose support is these exemplars."""
    if not isinstance(estimator, FrozenTwinClassifier):
        return FrozenTwinClassifier(estimator).fit(X, y)
    return copy.copy(estimator).fit(X, y)


def _channels(clf):
    """Where its images have their channels; a Pipeline may take others than its twin does."""
    return "auto" if clf.transformers_ is not None else clf.twin_.channels


class OneShotTrialDisplay(Display):
    """A query, the exemplar of each class, and how probable each class is.

    Parameters
    ----------
    query : ndarray of shape (h, w) or (h, w, 3)
    supports : ndarray of shape (n_classes, h, w) or (n_classes, h, w, 3)
        One exemplar of each class.
    classes : ndarray of shape (n_classes,)
    probabilities : ndarray of shape (n_classes,)
    true_label : label or None, default=None

    Attributes
    ----------
    ax_, figure_
        Of matplotlib, once plotted.

    Examples
    --------
    >>> from sksiamese import load_pretrained
    >>> from sksiamese.datasets import load_omniglot_minimal
    >>> from sksiamese.plotting import OneShotTrialDisplay
    >>> run = load_omniglot_minimal().runs[0]
    >>> display = OneShotTrialDisplay.from_estimator(
    ...     load_pretrained("omniglot"), run.support_images, run.support_labels,
    ...     run.query_images[0], run.query_labels[0])
    """

    def __init__(self, *, query, supports, classes, probabilities, true_label=None):
        self.query = query
        self.supports = supports
        self.classes = classes
        self.probabilities = probabilities
        self.true_label = true_label

    @classmethod
    def from_estimator(cls, estimator, X_support, y_support, query, true_label=None, *, ax=None):
        """Make these exemplars the support of a copy of the estimator, ask it, and plot.

        Parameters
        ----------
        estimator : SiameseOneShotClassifier, FrozenTwinClassifier or Pipeline
            Fitted; a Pipeline ends in a SiameseOneShotClassifier.
        X_support : array-like of shape (n_exemplars, h, w) or with channels
        y_support : array-like of shape (n_exemplars,)
            The first exemplar of each class is shown.
        query : array-like of shape (h, w) or with channels
        true_label : label or None, default=None
        ax : matplotlib Axes or None, default=None

        Returns
        -------
        display : OneShotTrialDisplay
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        X_support, query = np.asarray(X_support), np.asarray(query)
        clf = _with_support(estimator, X_support, y_support)
        first = [np.flatnonzero(np.asarray(y_support) == label)[0] for label in clf.classes_]
        display = cls(
            query=picture(query, _channels(clf)),
            supports=np.stack([picture(X_support[row], _channels(clf)) for row in first]),
            classes=clf.classes_,
            probabilities=clf.predict_proba(query[None])[0],
            true_label=true_label,
        )
        return display.plot(ax=ax)

    @property
    def _grid(self):
        n_columns = int(np.ceil(np.sqrt(1.6 * len(self.classes))))
        return n_columns, int(np.ceil(len(self.classes) / n_columns))

    def _figsize(self):
        return 1.1 * self._grid[0] + 2.2, 1.35 * self._grid[1] + 0.6

    def _draw(self, ax):
        n_columns, n_rows = self._grid
        best = int(np.argmax(self.probabilities))
        tile(ax, self.query, -2.2, (n_rows - 1) * 0.65, 1.8, BLUE)
        asked = "query" if self.true_label is None else f"query: {self.true_label}"
        ax.text(-1.3, (n_rows - 1) * 0.65 + 1.95, asked, ha="center", va="top", fontsize=9)
        for n, (label, p) in enumerate(zip(self.classes, self.probabilities, strict=True)):
            x, y = 1.1 * (n % n_columns), 1.3 * (n // n_columns)
            right = self.true_label is not None and label == self.true_label
            color = (GREEN if right or self.true_label is None else ORANGE) if n == best else GREY
            tile(ax, self.supports[n], x, y, 1.0, color, width=2.5 if n == best else 0.8)
            ax.text(
                x + 0.5, y + 1.02, f"{label}: {p:.0%}", ha="center", va="top", fontsize=7,
                color=color if n == best else "black", fontweight="bold" if n == best else None,
            )  # fmt: skip
        ax.set_xlim(-2.4, 1.1 * n_columns)
        ax.set_ylim(1.3 * n_rows + 0.75, -0.15)
        ax.set_aspect("equal")
        ax.axis("off")


class NeighborsDisplay(Display):
    """Queries, a row each, and their nearest exemplars with the distances.

    Parameters
    ----------
    queries : ndarray of shape (n_queries, h, w) or (n_queries, h, w, 3)
    neighbors : ndarray of shape (n_queries, n_neighbors, h, w) or with channels last
    distances : ndarray of shape (n_queries, n_neighbors)
    labels : ndarray of shape (n_queries, n_neighbors)

    Attributes
    ----------
    ax_, figure_
        Of matplotlib, once plotted.
    """

    def __init__(self, *, queries, neighbors, distances, labels):
        self.queries = queries
        self.neighbors = neighbors
        self.distances = distances
        self.labels = labels

    @classmethod
    def from_estimator(cls, estimator, X_support, y_support, X, *, n_neighbors=None, ax=None):
        """Make these exemplars the support of a copy of the estimator, ask it, and plot.

        Parameters
        ----------
        estimator : SiameseOneShotClassifier, FrozenTwinClassifier or Pipeline
            Fitted; a Pipeline ends in a SiameseOneShotClassifier.
        X_support : array-like of shape (n_exemplars, h, w) or with channels
        y_support : array-like of shape (n_exemplars,)
        X : array-like of shape (n_queries, h, w) or with channels
        n_neighbors : int or None, default=None
            None: five, or all of a smaller support.
        ax : matplotlib Axes or None, default=None

        Returns
        -------
        display : NeighborsDisplay
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        X_support, X = np.asarray(X_support), np.asarray(X)
        clf = _with_support(estimator, X_support, y_support)
        if n_neighbors is None:
            n_neighbors = min(5, len(X_support))
        distances, rows = clf.kneighbors(X, n_neighbors)
        display = cls(
            queries=np.stack([picture(x, _channels(clf)) for x in X]),
            neighbors=np.stack(
                [[picture(X_support[row], _channels(clf)) for row in own] for own in rows]
            ),
            distances=distances,
            labels=clf.twin_.support_.labels[rows],
        )
        return display.plot(ax=ax)

    def _figsize(self):
        n_queries, n_neighbors = self.distances.shape
        return 1.1 * n_neighbors + 1.6, 1.35 * n_queries + 0.3

    def _draw(self, ax):
        n_queries, n_neighbors = self.distances.shape
        for row in range(n_queries):
            tile(ax, self.queries[row], -1.4, 1.3 * row, 1.0, BLUE, width=2)
            for n in range(n_neighbors):
                x, y = 1.1 * n, 1.3 * row
                tile(ax, self.neighbors[row, n], x, y, 1.0, GREY)
                text = f"{self.labels[row, n]}: {self.distances[row, n]:.1f}"
                ax.text(x + 0.5, y + 1.02, text, ha="center", va="top", fontsize=7)
        ax.set_xlim(-1.5, 1.1 * n_neighbors)
        ax.set_ylim(1.3 * n_queries, -0.35)
        ax.text(-0.9, -0.1, "query", ha="center", fontsize=9)
        ax.text(0.55 * n_neighbors, -0.1, "nearest exemplars: distance", ha="center", fontsize=9)
        ax.set_aspect("equal")
        ax.axis("off")


class SimilarityDisplay(Display):
    """p(same class) of all pairs of some images.

    Parameters
    ----------
    probabilities : ndarray of shape (n_a, n_b)
    labels_a, labels_b : ndarray or None
        Written beside the rows and below the columns.

    Attributes
    ----------
    ax_, figure_
        Of matplotlib, once plotted.
    """

    def __init__(self, *, probabilities, labels_a=None, labels_b=None):
        self.probabilities = probabilities
        self.labels_a = labels_a
        self.labels_b = labels_b

    @classmethod
    def from_estimator(cls, estimator, XA, XB=None, *, labels_a=None, labels_b=None, ax=None):
        """Compare all pairs and plot.

        Parameters
        ----------
        estimator : SiameseOneShotClassifier
        XA : array-like of shape (n_a, ...)
        XB : array-like of shape (n_b, ...) or None, default=None
            None: XA with itself.
        labels_a, labels_b : array-like of shape (n_a,) or (n_b,), or None, default=None
            Without XB, `labels_a` serves for both.
        ax : matplotlib Axes or None, default=None

        Returns
        -------
        display : SimilarityDisplay
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        expected = (
            "a fitted SiameseOneShotClassifier, such as the estimator of a FrozenTwinClassifier, "
            "the last step of a Pipeline, or what to_classifier() of a SiameseVerifier gives"
        )
        check_kind(estimator, TwinMetricMixin, expected)
        if XB is None:
            XB, labels_b = XA, labels_a
        probabilities = expit(estimator.similarity(XA, XB))
        n_a, n_b = probabilities.shape
        for name, labels, n in (("labels_a", labels_a, n_a), ("labels_b", labels_b, n_b)):
            if labels is not None:
                check_length(labels, n, name)
        return cls(probabilities=probabilities, labels_a=labels_a, labels_b=labels_b).plot(ax=ax)

    def _draw(self, ax):
        image = ax.imshow(self.probabilities, cmap="cividis", vmin=0, vmax=1)
        self.figure_.colorbar(image, ax=ax, label="p(same class)")
        for axis, labels in ((ax.yaxis, self.labels_a), (ax.xaxis, self.labels_b)):
            if labels is not None:
                axis.set_ticks(range(len(labels)), labels=labels, fontsize=7)
        if self.labels_b is not None:
            ax.tick_params(axis="x", rotation=90)
