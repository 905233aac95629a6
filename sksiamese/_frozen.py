"""FrozenTwinClassifier: a fitted classifier whose `fit` sets the support."""

from __future__ import annotations

import contextlib
import copy
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from ._base import FittedAttribute, accuracy
from ._classifier import SiameseOneShotClassifier
from ._motor_programs import MotorProgramClassifier
from ._params import check_choice
from ._support import AGGREGATIONS


class Parts(NamedTuple):
    """What X passes through: fitted transformers, or None, and the classifier."""

    transformers: Pipeline | None
    classifier: SiameseOneShotClassifier | MotorProgramClassifier

    def transform(self, X: Any) -> Any:
        """Return X as the classifier takes it."""
        return X if self.transformers is None else self.transformers.transform(X)

    @property
    def first(self) -> Any:
        """The first step, which knows the names and number of the features."""
        return self.classifier if self.transformers is None else self.transformers


class FrozenTwinClassifier(ClassifierMixin, BaseEstimator):
    """Wrap a fitted classifier so that `fit` sets the support and trains nothing.

    Cross-validation, learning curves, calibration and every other tool that fits a classifier many
    times then run over support sets in seconds. The network is shared with `estimator` and with
    all clones; `estimator` and its support stay unchanged.

    Parameters
    ----------
    estimator : SiameseOneShotClassifier, MotorProgramClassifier or Pipeline
        A fitted classifier, or a fitted Pipeline that ends in one. The transformers of a Pipeline
        are applied to what `fit` and `predict` are given.
    aggregation : {"mean", "max", "prototype"} or None, default=None
        Replaces that of the classifier; see `SiameseOneShotClassifier`. None: keep it.

    Attributes
    ----------
    classifier_ : SiameseOneShotClassifier or MotorProgramClassifier
        Copy of the classifier, with a support of its own.
    transformers_ : Pipeline or None
        Fitted transformers that X passes through first.
    classes_ : ndarray of shape (n_classes,)
        Labels of the support, sorted.
    rejection_threshold_ : float
        `score_samples` below which `predict` returns the classifier's `unknown_label`. Present if
        the classifier is calibrated.
    n_features_in_ : int
        Number of values in one sample.
    feature_names_in_ : ndarray of shape (n_features,), object
        Names of the columns of X, if the first step knows them.
    fitted_ : Parts
        Transformers and classifier, as one immutable value.

    See Also
    --------
    SiameseOneShotClassifier : The classifier to train and wrap.
    sksiamese.model_selection.EpisodeSplit : Support and query sets as a ``cv=`` argument.

    Examples
    --------
    >>> from sklearn.model_selection import cross_val_score
    >>> from sksiamese import FrozenTwinClassifier, load_pretrained
    >>> from sksiamese.datasets import load_omniglot_minimal
    >>> from sksiamese.model_selection import EpisodeSplit
    >>> data = load_omniglot_minimal()
    >>> frozen = FrozenTwinClassifier(load_pretrained("omniglot"))
    >>> trials = EpisodeSplit(n_way=5, n_episodes=3, random_state=0)
    >>> cross_val_score(frozen, data.images, data.target, cv=trials).shape
    (3,)

    What answers queries is as in the classifier that it wraps:

    >>> run = data.runs[0]
    >>> frozen = frozen.set_params(aggregation="max").fit(run.support_images, run.support_labels)
    >>> queries = run.query_images
    >>> frozen.predict_proba(queries).shape
    (20, 20)
    >>> frozen.decision_function(queries).shape
    (20, 20)
    >>> distances, exemplars = frozen.kneighbors(queries, n_neighbors=2)
    >>> frozen.match(queries).shape
    (20,)
    >>> frozen.score_samples(queries).shape
    (20,)
    >>> logits, classes = frozen.trial_function(queries)([0, 1], [2], ["a", "b"])
    >>> frozen.get_params(deep=False)["aggregation"]
    'max'
    >>> frozen.transformers_ is None  # it wraps no Pipeline
    True
    """

    # What `fit` found is read from `fitted_`, which is replaced in one assignment.
    fitted_: Parts
    classifier_ = FittedAttribute(lambda parts: parts.classifier)
    classes_ = FittedAttribute(lambda parts: parts.classifier.classes_)
    rejection_threshold_ = FittedAttribute(
        lambda parts: getattr(parts.classifier, "rejection_threshold_", None)
    )
    n_features_in_ = FittedAttribute(
        lambda parts: getattr(parts.first, "n_features_in_", parts.classifier.n_features_in_)
    )
    feature_names_in_ = FittedAttribute(lambda parts: parts.first.feature_names_in_)

    def __init__(self, estimator: Any, *, aggregation: str | None = None) -> None:
        self.estimator = estimator
        self.aggregation = aggregation

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Get the parameters of this estimator, without those of the one it wraps.

        Parameters
        ----------
        deep : bool, default=True
            Ignored: parameters of a trained estimator cannot be set.

        Returns
        -------
        params : dict
            Parameter names mapped to their values.
        """
        return super().get_params(deep=False)

    def set_params(self, **params: Any) -> FrozenTwinClassifier:
        """Set the parameters of this estimator.

        Parameters
        ----------
        **params : dict
            `estimator` or `aggregation`.

        Returns
        -------
        self : FrozenTwinClassifier
            The estimator.

        Raises
        ------
        ValueError
            If a parameter of the wrapped estimator is given.
        """
        inner = [name for name in params if "__" in name]
        if inner:
            raise ValueError(
                f"{inner[0]} cannot be set: the wrapped estimator is already trained. Set it "
                "before training."
            )
        return super().set_params(**params)

    def __sklearn_clone__(self) -> FrozenTwinClassifier:
        return type(self)(**self.get_params())

    def fit(self, X: ArrayLike, y: ArrayLike) -> FrozenTwinClassifier:
        """Set the support to these exemplars.

        Parameters
        ----------
        X : array-like of shape (n_exemplars, ...)
            Exemplars, of the shape that `estimator` was fitted on.
        y : array-like of shape (n_exemplars,)
            Class labels of the exemplars.

        Returns
        -------
        self : FrozenTwinClassifier
            The estimator, with this support.

        Raises
        ------
        ValueRangeError
            If images are in different units, such as 0..1 and 0..255. The estimator is then
            unchanged.
        InvertedImageError
            If some images are dark on light and others light on dark.
        NotFittedError
            If `estimator` is not fitted.
        TypeError
            If `estimator`, or its last step, is not one of these classifiers.
        ValueError
            If an argument cannot be used. The support is then unchanged.

        Warns
        -----
        BlankImageWarning
            If images have no foreground.
        DuplicateExemplarWarning
            If the same image has two labels.

        See Also
        --------
        SiameseOneShotClassifier.set_support : Does the same without a wrapper.

        Examples
        --------
        >>> from sksiamese import FrozenTwinClassifier, load_pretrained
        >>> from sksiamese.datasets import make_glyphs
        >>> X, y = make_glyphs(n_classes=3, n_samples=2, random_state=0)
        >>> frozen = FrozenTwinClassifier(load_pretrained("omniglot")).fit(X[::2], y[::2])
        >>> frozen.score(X[1::2], y[1::2])
        1.0
        """
        parts = _parts_of(self.estimator, self.aggregation)
        parts.classifier.set_support(parts.transform(X), y)
        self.fitted_ = parts
        return self

    def predict(
        self, X: ArrayLike, return_logits: bool = False
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Predict the class labels for the provided data.

        Parameters
        ----------
        X : array-like of shape (n_queries, ...)
            Queries.
        return_logits : bool, default=False
            If True, also return the logits.

        Returns
        -------
        y : ndarray of shape (n_queries,)
            Class label of each query.
        logits : ndarray of shape (n_queries, n_classes), float32
            Only returned if `return_logits` is True.

        See Also
        --------
        SiameseOneShotClassifier.predict : The method that is called.

        Examples
        --------
        >>> from sksiamese import FrozenTwinClassifier, load_pretrained
        >>> from sksiamese.datasets import make_glyphs
        >>> X, y = make_glyphs(n_classes=3, n_samples=2, random_state=0)
        >>> frozen = FrozenTwinClassifier(load_pretrained("omniglot")).fit(X[::2], y[::2])
        >>> frozen.predict(X[1::2])
        array([0, 1, 2])
        """
        parts = fitted_parts(self)
        return parts.classifier.predict(parts.transform(X), return_logits)

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return the accuracy on the given data and labels.

        Parameters
        ----------
        X : array-like of shape (n_queries, ...)
            Queries.
        y : array-like of shape (n_queries,)
            True labels, of any kind that `fit` takes, such as integers of dtype object.
        sample_weight : array-like of shape (n_queries,) or None, default=None
            Sample weights.

        Returns
        -------
        score : float
            Fraction of correct predictions.
        """
        return accuracy(self, X, y, sample_weight)

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """Return probability estimates for the provided data.

        Parameters
        ----------
        X : array-like of shape (n_queries, ...)
            Queries.

        Returns
        -------
        p : ndarray of shape (n_queries, n_classes), float32
            Class probabilities, in the order of `classes_`.
        """
        parts = fitted_parts(self)
        return parts.classifier.predict_proba(parts.transform(X))

    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """Return the logit of each query with each class of the support.

        Parameters
        ----------
        X : array-like of shape (n_queries, ...)
            Queries.

        Returns
        -------
        logits : ndarray of shape (n_queries, n_classes), float32
            Log-odds that query and class match. With two classes (n_queries,): the second minus
            the first.
        """
        parts = fitted_parts(self)
        return parts.classifier.decision_function(parts.transform(X))

    def predict_set(self, X: ArrayLike, coverage: float = 0.9) -> np.ndarray:
        """Predict the set of classes that each query may be of.

        Parameters
        ----------
        X : array-like of shape (n_queries, ...)
            Queries.
        coverage : float, default=0.9
            Probability with which the set contains the right class, between 0 and 1.

        Returns
        -------
        member : ndarray of shape (n_queries, n_classes), bool
            Whether a class is in the set, in the order of `classes_`.

        Raises
        ------
        NotFittedError
            Before `fit`, or if `estimator` is not calibrated.

        See Also
        --------
        SiameseOneShotClassifier.predict_set : The method that is called.

        Examples
        --------
        >>> from sksiamese import FrozenTwinClassifier, load_pretrained
        >>> from sksiamese.datasets import make_glyphs
        >>> X, y = make_glyphs(n_classes=3, n_samples=2, random_state=0)
        >>> frozen = FrozenTwinClassifier(load_pretrained("omniglot")).fit(X[::2], y[::2])
        >>> frozen.predict_set(X[1::2], coverage=0.9).shape
        (3, 3)
        """
        parts = fitted_parts(self)
        return parts.classifier.predict_set(parts.transform(X), coverage)

    def score_samples(self, X: ArrayLike) -> np.ndarray:
        """Return how likely each query is of some class in the support.

        Parameters
        ----------
        X : array-like of shape (n_queries, ...)
            Queries.

        Returns
        -------
        scores : ndarray of shape (n_queries,), float32
            See `SiameseOneShotClassifier.score_samples`.
        """
        parts = fitted_parts(self)
        return parts.classifier.score_samples(parts.transform(X))

    def kneighbors(
        self, X: ArrayLike, n_neighbors: int = 5, return_distance: bool = True
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Find the nearest exemplars of the support.

        Parameters
        ----------
        X : array-like of shape (n_queries, ...)
            Queries.
        n_neighbors : int, default=5
            Number of exemplars for each query.
        return_distance : bool, default=True
            Whether to return the distances.

        Returns
        -------
        distances : ndarray of shape (n_queries, n_neighbors), float32
            Nearest first.
        indices : ndarray of shape (n_queries, n_neighbors)
            Rows of the support.
        """
        parts = fitted_parts(self)
        return parts.classifier.kneighbors(parts.transform(X), n_neighbors, return_distance)

    def match(self, X: ArrayLike) -> np.ndarray:
        """Predict labels by the best one-to-one assignment of queries to classes.

        Parameters
        ----------
        X : array-like of shape (n_queries, ...)
            Queries; no more than there are classes.

        Returns
        -------
        y : ndarray of shape (n_queries,)
            Different labels, whose logits have the greatest sum.
        """
        parts = fitted_parts(self)
        return parts.classifier.match(parts.transform(X))

    def trial_function(self, X: ArrayLike) -> Any:
        """Embed X once and return a function that scores one-shot trials made of its rows.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            All samples that occur in the trials.

        Returns
        -------
        trial : callable
            See `SiameseOneShotClassifier.trial_function`.
        """
        parts = _parts_of(self.estimator, self.aggregation)
        return parts.classifier.trial_function(parts.transform(X))

    @property
    def transformers_(self) -> Pipeline | None:
        """Fitted transformers that X passes through first."""
        return fitted_parts(self).transformers

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        with contextlib.suppress(AttributeError, TypeError):  # `fit` will refuse the estimator
            tags.input_tags = get_tags(self.estimator).input_tags
        return tags


def fitted_parts(frozen: FrozenTwinClassifier) -> Parts:
    """Return the transformers and the classifier with its support.

    Raises
    ------
    NotFittedError
        Before `fit`.
    """
    check_is_fitted(frozen, "fitted_")
    return frozen.fitted_


def _parts_of(estimator: Any, aggregation: str | None) -> Parts:
    """Return the fitted transformers of `estimator`, and a copy of its classifier."""
    transformers, classifier = None, estimator
    if isinstance(classifier, Pipeline) and len(classifier):
        transformers = classifier[:-1] if len(classifier) > 1 else None
        classifier = classifier[-1]
    if not isinstance(classifier, SiameseOneShotClassifier | MotorProgramClassifier):
        raise TypeError(
            f"estimator={estimator!r}; expected a fitted SiameseOneShotClassifier or "
            "MotorProgramClassifier, or a fitted Pipeline whose last step is one. For a "
            "SiameseVerifier, pass verifier.to_classifier()."
        )
    if "fitted_" not in vars(classifier):
        raise NotFittedError(
            f"estimator, a {type(estimator).__name__}, is not fitted. Call its fit first, or use "
            "load_pretrained."
        )
    classifier = copy.copy(classifier)
    if aggregation is not None:
        check_choice(aggregation, "aggregation", AGGREGATIONS)
        classifier.aggregation = aggregation
    return Parts(transformers, classifier)
