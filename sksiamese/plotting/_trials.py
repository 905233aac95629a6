"""Displays of images and exemplars: a trial, nearest exemplars, similarity of all pairs."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from .._classifier import SiameseOneShotClassifier
from .._frozen import FrozenTwinClassifier
from .._verifier import SiameseVerifier
from ._display import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    Display,
    check_kind,
    check_matplotlib,
    picture,
    tile,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class OneShotTrialDisplay(Display):
    """A query, the exemplar of each class, and the probability of each class.

    The most probable class is framed: green if it is the true one or if that is not given, orange
    otherwise. Images are shown as they are; gray values from black to white.

    Parameters
    ----------
    query : ndarray of shape (h, w) or (h, w, 3)
        Image that is classified.
    supports : ndarray of shape (n_classes, h, w) or (n_classes, h, w, 3)
        One exemplar of each class.
    classes : ndarray of shape (n_classes,)
        Class labels of the exemplars.
    probabilities : ndarray of shape (n_classes,)
        Probability of each class.
    true_label : label or None, default=None
        True class of the query, if known.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the images.
    figure_ : matplotlib Figure
        Figure that contains the axes.

    See Also
    --------
    OneShotTrialDisplay.from_estimator : Classify a query and plot the trial.
    NeighborsDisplay : Plot the nearest exemplars of several queries.

    Examples
    --------
    >>> from sksiamese.datasets import make_glyphs
    >>> from sksiamese.plotting import OneShotTrialDisplay
    >>> X, y = make_glyphs(n_classes=2, n_samples=2, random_state=0)
    >>> display = OneShotTrialDisplay(
    ...     query=X[1], supports=X[::2], classes=y[::2], probabilities=[0.9, 0.1])
    >>> [text.get_text() for text in display.plot().ax_.texts]
    ['query', '0: 90%', '1: 10%']
    """

    def __init__(
        self,
        *,
        query: np.ndarray,
        supports: np.ndarray,
        classes: np.ndarray,
        probabilities: np.ndarray,
        true_label: Any = None,
    ) -> None:
        self.query = query
        self.supports = supports
        self.classes = classes
        self.probabilities = probabilities
        self.true_label = true_label

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X_support: ArrayLike,
        y_support: ArrayLike,
        query: ArrayLike,
        true_label: Any = None,
        *,
        ax: Axes | None = None,
    ) -> OneShotTrialDisplay:
        """Classify a query by exemplars, and plot the trial.

        The exemplars become the support of a copy of the estimator.

        Parameters
        ----------
        estimator : SiameseOneShotClassifier, FrozenTwinClassifier or Pipeline
            Fitted estimator. A Pipeline must end in a SiameseOneShotClassifier.
        X_support : array-like of shape (n_exemplars, h, w) or with channels
            Images of the exemplars.
        y_support : array-like of shape (n_exemplars,)
            Class labels of the exemplars. The first exemplar of each class is shown.
        query : array-like of shape (h, w) or with channels
            Image to classify.
        true_label : label or None, default=None
            True class of the query, if known.
        ax : matplotlib Axes or None, default=None
            Axes to draw into. If None, a new figure is made.

        Returns
        -------
        display : OneShotTrialDisplay
            The plotted display.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If `estimator` is of another class.
        NotFittedError
            If `estimator` is not fitted.
        ValueError
            If the images or labels cannot be used.

        See Also
        --------
        NeighborsDisplay.from_estimator : Plot the nearest exemplars of several queries.

        Examples
        --------
        >>> from sksiamese import load_pretrained
        >>> from sksiamese.datasets import load_omniglot_minimal
        >>> from sksiamese.plotting import OneShotTrialDisplay
        >>> run = load_omniglot_minimal().runs[0]
        >>> display = OneShotTrialDisplay.from_estimator(
        ...     load_pretrained("omniglot"), run.support_images, run.support_labels,
        ...     run.query_images[0], run.query_labels[0])
        >>> display.classes[display.probabilities.argmax()] == display.true_label
        True
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        X_support, query = np.asarray(X_support), np.asarray(query)
        clf = _with_support(estimator, X_support, y_support)
        channels = _channels(clf)
        labels = np.ravel(np.asarray(y_support))
        first = [np.flatnonzero(labels == label)[0] for label in clf.classes_]
        display = cls(
            query=picture(query, channels),
            supports=np.stack([picture(X_support[row], channels) for row in first]),
            classes=clf.classes_,
            probabilities=clf.predict_proba(query[None])[0],
            true_label=true_label,
        )
        return display.plot(ax=ax)

    def _grid(self) -> tuple[int, int]:
        """Return the numbers of columns and rows of the exemplars."""
        n_columns = int(np.ceil(np.sqrt(1.6 * len(self.classes))))
        return n_columns, int(np.ceil(len(self.classes) / n_columns))

    def _figsize(self) -> tuple[float, float]:
        n_columns, n_rows = self._grid()
        return 1.1 * n_columns + 2.2, 1.35 * n_rows + 0.6

    def _draw(self, ax: Axes) -> None:
        n_columns, n_rows = self._grid()
        best = int(np.argmax(self.probabilities))
        tile(ax, self.query, -2.2, (n_rows - 1) * 0.65, 1.8, BLUE)
        title = "query" if self.true_label is None else f"query: {self.true_label}"
        ax.text(-1.3, (n_rows - 1) * 0.65 + 1.95, title, ha="center", va="top", fontsize=9)
        for n, (label, p) in enumerate(zip(self.classes, self.probabilities, strict=True)):
            x, y = 1.1 * (n % n_columns), 1.3 * (n // n_columns)
            right = self.true_label is None or label == self.true_label
            color = (GREEN if right else ORANGE) if n == best else GREY
            tile(ax, self.supports[n], x, y, 1.0, color, width=2.5 if n == best else 0.8)
            ax.text(
                x + 0.5, y + 1.02, f"{label}: {p:.0%}", ha="center", va="top", fontsize=7,
                color=color if n == best else "black",
                fontweight="bold" if n == best else "normal",
            )  # fmt: skip
        ax.set_xlim(-2.4, 1.1 * n_columns)
        ax.set_ylim(1.3 * n_rows + 0.75, -0.15)
        ax.set_aspect("equal")
        ax.axis("off")


class NeighborsDisplay(Display):
    """Queries, one per row, with their nearest exemplars and the distances.

    Parameters
    ----------
    queries : ndarray of shape (n_queries, h, w) or (n_queries, h, w, 3)
        Images of the queries.
    neighbors : ndarray of shape (n_queries, n_neighbors, h, w) or with channels last
        Images of the nearest exemplars of each query.
    distances : ndarray of shape (n_queries, n_neighbors)
        Distances between query and exemplar, as from `SiameseOneShotClassifier.kneighbors`.
    labels : ndarray of shape (n_queries, n_neighbors)
        Class labels of the exemplars.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the images.
    figure_ : matplotlib Figure
        Figure that contains the axes.

    See Also
    --------
    NeighborsDisplay.from_estimator : Find the nearest exemplars and plot them.
    OneShotTrialDisplay : Plot one query with the probabilities of all classes.

    Examples
    --------
    >>> import numpy as np
    >>> from sksiamese.datasets import make_glyphs
    >>> from sksiamese.plotting import NeighborsDisplay
    >>> X, y = make_glyphs(n_classes=2, n_samples=2, random_state=0)
    >>> display = NeighborsDisplay(
    ...     queries=X[1:2], neighbors=X[None, ::2], distances=np.array([[0.5, 7.0]]),
    ...     labels=y[None, ::2])
    >>> [text.get_text() for text in display.plot().ax_.texts[:2]]
    ['0: 0.5', '1: 7.0']
    """

    def __init__(
        self,
        *,
        queries: np.ndarray,
        neighbors: np.ndarray,
        distances: np.ndarray,
        labels: np.ndarray,
    ) -> None:
        self.queries = queries
        self.neighbors = neighbors
        self.distances = distances
        self.labels = labels

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X_support: ArrayLike,
        y_support: ArrayLike,
        X: ArrayLike,
        *,
        n_neighbors: int | None = None,
        ax: Axes | None = None,
    ) -> NeighborsDisplay:
        """Find the nearest exemplars of queries, and plot them.

        The exemplars become the support of a copy of the estimator.

        Parameters
        ----------
        estimator : SiameseOneShotClassifier, FrozenTwinClassifier or Pipeline
            Fitted estimator. A Pipeline must end in a SiameseOneShotClassifier.
        X_support : array-like of shape (n_exemplars, h, w) or with channels
            Images of the exemplars.
        y_support : array-like of shape (n_exemplars,)
            Class labels of the exemplars.
        X : array-like of shape (n_queries, h, w) or with channels
            Images of the queries.
        n_neighbors : int or None, default=None
            Number of exemplars for each query. None: 5, or all exemplars if there are fewer.
        ax : matplotlib Axes or None, default=None
            Axes to draw into. If None, a new figure is made.

        Returns
        -------
        display : NeighborsDisplay
            The plotted display.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If `estimator` is of another class.
        NotFittedError
            If `estimator` is not fitted.
        ValueError
            If the images or labels cannot be used, or `n_neighbors` exceeds the number of
            exemplars.

        See Also
        --------
        OneShotTrialDisplay.from_estimator : Plot one query with the probabilities of all classes.

        Examples
        --------
        >>> from sksiamese import load_pretrained
        >>> from sksiamese.datasets import make_glyphs
        >>> from sksiamese.plotting import NeighborsDisplay
        >>> X, y = make_glyphs(n_classes=5, n_samples=2, random_state=0)
        >>> display = NeighborsDisplay.from_estimator(
        ...     load_pretrained("omniglot"), X[::2], y[::2], X[1::2], n_neighbors=3)
        >>> display.labels[:, 0]  # the nearest exemplar of each query
        array([0, 1, 2, 3, 4])
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        X_support, X = np.asarray(X_support), np.asarray(X)
        clf = _with_support(estimator, X_support, y_support)
        channels = _channels(clf)
        if n_neighbors is None:
            n_neighbors = min(5, len(X_support))
        distances, rows = clf.kneighbors(X, n_neighbors)
        display = cls(
            queries=np.stack([picture(x, channels) for x in X]),
            neighbors=np.stack(
                [[picture(X_support[row], channels) for row in nearest] for nearest in rows]
            ),
            distances=distances,
            labels=clf.classifier_.support_.labels[rows],
        )
        return display.plot(ax=ax)

    def _figsize(self) -> tuple[float, float]:
        n_queries, n_neighbors = self.distances.shape
        return 1.1 * n_neighbors + 1.6, 1.35 * n_queries + 0.3

    def _draw(self, ax: Axes) -> None:
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
    """Probability of the same class for all pairs of some samples.

    Parameters
    ----------
    probabilities : ndarray of shape (n_a, n_b)
        Probability that two samples are of the same class.
    labels_a : array-like of shape (n_a,) or None, default=None
        Labels written beside the rows.
    labels_b : array-like of shape (n_b,) or None, default=None
        Labels written below the columns.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the matrix.
    figure_ : matplotlib Figure
        Figure that contains the axes and a colour bar.

    See Also
    --------
    SimilarityDisplay.from_estimator : Compare all pairs of samples and plot them.

    Examples
    --------
    >>> import numpy as np
    >>> from sksiamese.plotting import SimilarityDisplay
    >>> display = SimilarityDisplay(probabilities=np.array([[0.9, 0.2]]), labels_b=["a", "b"])
    >>> [label.get_text() for label in display.plot().ax_.get_xticklabels()]
    ['a', 'b']
    """

    def __init__(
        self,
        *,
        probabilities: np.ndarray,
        labels_a: ArrayLike | None = None,
        labels_b: ArrayLike | None = None,
    ) -> None:
        self.probabilities = probabilities
        self.labels_a = labels_a
        self.labels_b = labels_b

    @classmethod
    def from_estimator(
        cls,
        estimator: SiameseOneShotClassifier | SiameseVerifier,
        XA: ArrayLike,
        XB: ArrayLike | None = None,
        *,
        labels_a: ArrayLike | None = None,
        labels_b: ArrayLike | None = None,
        ax: Axes | None = None,
    ) -> SimilarityDisplay:
        """Compare all pairs of samples, and plot their probabilities.

        Parameters
        ----------
        estimator : SiameseOneShotClassifier or SiameseVerifier
            Fitted estimator.
        XA : array-like of shape (n_a, ...)
            Samples of the rows, as the method `similarity` of the estimator takes them.
        XB : array-like of shape (n_b, ...) or None, default=None
            Samples of the columns. None: those of the rows.
        labels_a : array-like of shape (n_a,) or None, default=None
            Labels written beside the rows.
        labels_b : array-like of shape (n_b,) or None, default=None
            Labels written below the columns. Without `XB`, `labels_a` is used.
        ax : matplotlib Axes or None, default=None
            Axes to draw into. If None, a new figure is made.

        Returns
        -------
        display : SimilarityDisplay
            The plotted display.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If `estimator` is of another class.
        NotFittedError
            If `estimator` is not fitted, or is pretrained and has no support yet.
        ValueError
            If `XA` or `XB` cannot be used, or labels differ from it in length.

        See Also
        --------
        sksiamese.SiameseOneShotClassifier.similarity : Return the logits of all pairs.

        Examples
        --------
        >>> from sksiamese import load_pretrained
        >>> from sksiamese.datasets import make_glyphs
        >>> from sksiamese.plotting import SimilarityDisplay
        >>> X, y = make_glyphs(n_classes=3, n_samples=2, random_state=0)
        >>> clf = load_pretrained("omniglot").set_support(X, y)
        >>> display = SimilarityDisplay.from_estimator(clf, X, labels_a=y)
        >>> display.probabilities.shape
        (6, 6)
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        expected = (
            "a fitted SiameseOneShotClassifier or SiameseVerifier, such as the estimator of a "
            "FrozenTwinClassifier or the last step of a Pipeline"
        )
        check_kind(estimator, (SiameseOneShotClassifier, SiameseVerifier), expected)
        if XB is None:
            XB, labels_b = XA, labels_a
        probabilities = expit(estimator.similarity(XA, XB))
        n_a, n_b = probabilities.shape
        for name, labels, of, n in (
            ("labels_a", labels_a, "XA", n_a),
            ("labels_b", labels_b, "XB", n_b),
        ):
            n_labels = n if labels is None else len(np.asarray(labels))
            if n_labels != n:
                raise ValueError(
                    f"{name} has {n_labels} values for {n} samples in {of}; expected one label "
                    "for each sample."
                )
        return cls(probabilities=probabilities, labels_a=labels_a, labels_b=labels_b).plot(ax=ax)

    def _draw(self, ax: Axes) -> None:
        image = ax.imshow(self.probabilities, cmap="cividis", vmin=0, vmax=1)
        self.figure_.colorbar(image, ax=ax, label="p(same class)")
        for axis, labels in ((ax.yaxis, self.labels_a), (ax.xaxis, self.labels_b)):
            if labels is not None:
                names = [str(label) for label in np.asarray(labels)]
                axis.set_ticks(range(len(names)), labels=names, fontsize=7)
        if self.labels_b is not None:
            ax.tick_params(axis="x", rotation=90)


def _with_support(estimator: Any, X: np.ndarray, y: ArrayLike) -> FrozenTwinClassifier:
    """Return a copy of the estimator with these exemplars as its support."""
    if not isinstance(estimator, FrozenTwinClassifier):
        return FrozenTwinClassifier(estimator).fit(X, y)
    return copy.copy(estimator).fit(X, y)


def _channels(clf: FrozenTwinClassifier) -> str:
    """Return where images have their channels; transformers may take other images."""
    return "auto" if clf.transformers_ is not None else clf.classifier_.channels
