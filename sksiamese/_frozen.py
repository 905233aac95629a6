"""FrozenTwinClassifier: a trained twin as a classifier whose `fit` sets the support."""

import contextlib
import copy

from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from ._params import check_choice
from ._support import AGGREGATIONS, SupportMixin


class FrozenTwinClassifier(ClassifierMixin, BaseEstimator):
    """A classifier over a twin that is trained already: fitting it is setting its support.

    Nothing is trained, so that cross-validation, learning curves, calibration and every other tool
    that fits a classifier many times run over support sets in seconds. The network is shared with
    the estimator given, and with all clones; that estimator and its support stay as they are.

    Parameters
    ----------
    estimator : SiameseOneShotClassifier or Pipeline
        Fitted; of a Pipeline, the last step is the classifier, and its fitted transformers see
        what `fit` and `predict` are given.
    aggregation : {"mean", "max", "prototype"} or None, default=None
        In place of the classifier's own; see `SiameseOneShotClassifier`.

    Attributes
    ----------
    twin_ : SiameseOneShotClassifier
        Shares all that was learned with `estimator`, and has a support of its own.
    transformers_ : Pipeline or None
        What X goes through before it.
    classes_ : ndarray of shape (n_classes,)
    threshold_ : float
        Of the classifier, once it has one: `predict` answers its `unknown_label` below.
    n_features_in_ : int
        Numbers in one sample; feature_names_in_ has their names when X was a DataFrame.

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
    """

    def __init__(self, estimator, *, aggregation=None):
        self.estimator = estimator
        self.aggregation = aggregation

    def get_params(self, deep=True):
        """Parameters of this estimator; those of the one it wraps are trained, not to be set."""
        return super().get_params(deep=False)

    def set_params(self, **params):
        """Set `estimator` or `aggregation`; ValueError for a parameter of what is frozen."""
        inner = [name for name in params if "__" in name]
        if inner:
            raise ValueError(
                f"{inner[0]}: parameters of a frozen estimator cannot be set, for it is trained; "
                "set them before you train it."
            )
        return super().set_params(**params)

    def __sklearn_clone__(self):
        return type(self)(**self.get_params())

    def fit(self, X, y):
        """Make these exemplars the support.

        Parameters
        ----------
        X : array-like of shape (n_exemplars, ...)
            Of the shape that the estimator was fitted on.
        y : array-like of shape (n_exemplars,)

        Returns
        -------
        self : object

        Raises
        ------
        NotFittedError
            If `estimator` has not been fitted.
        TypeError
            If it, or its last step, is no SiameseOneShotClassifier.
        ValueError
            If an argument cannot be used; the support is then as it was.
        """
        transformers, twin = self._parts()
        twin.set_support(_transformed(transformers, X), y)
        self.transformers_, self.twin_ = transformers, twin
        self.n_features_in_ = getattr(self._first, "n_features_in_", twin.n_features_in_)
        return self

    def _parts(self):
        """The fitted transformers, or None, and a copy of the twin for a support of its own."""
        transformers, twin = None, self.estimator
        if isinstance(twin, Pipeline) and len(twin):
            transformers = twin[:-1] if len(twin) > 1 else None
            twin = twin[-1]
        if not isinstance(twin, SupportMixin):
            raise TypeError(
                f"estimator={self.estimator!r}; expected a fitted SiameseOneShotClassifier, or "
                "a fitted Pipeline whose last step is one; of a SiameseVerifier take "
                "to_classifier()."
            )
        if not hasattr(twin, "network_"):
            raise NotFittedError(
                f"estimator, a {type(self.estimator).__name__}, has no trained twin: fit it "
                "before you freeze it, or take load_pretrained."
            )
        twin = copy.copy(twin)
        if self.aggregation is not None:
            check_choice(self.aggregation, "aggregation", AGGREGATIONS)
            twin.aggregation = self.aggregation
        return transformers, twin

    def _ask(self, method, X, *args):
        check_is_fitted(self, "twin_")
        transformers, twin = self.transformers_, self.twin_
        return getattr(twin, method)(_transformed(transformers, X), *args)

    @property
    def classes_(self):
        """Labels of the support, sorted."""
        if not hasattr(self, "twin_"):
            raise AttributeError("FrozenTwinClassifier has no support before fit, so no classes_")
        return self.twin_.classes_

    @property
    def threshold_(self):
        """Least `score_samples` of a known class, where the classifier has one."""
        if not hasattr(self, "twin_"):
            raise AttributeError("FrozenTwinClassifier has no twin before fit, so no threshold_")
        return self.twin_.threshold_

    @property
    def feature_names_in_(self):
        """Names of the features of X, where what sees it first knows them."""
        return self._first.feature_names_in_

    @property
    def _first(self):
        return self.twin_ if self.transformers_ is None else self.transformers_

    def predict(self, X):
        """Label of the best matching class, as of the classifier that is wrapped."""
        return self._ask("predict", X)

    def predict_proba(self, X):
        """Softmax of the logits, (n_queries, n_classes)."""
        return self._ask("predict_proba", X)

    def decision_function(self, X):
        """Twin logits, (n_queries, n_classes), or (n_queries,) for two classes."""
        return self._ask("decision_function", X)

    def score_samples(self, X):
        """How surely each query is of a class in the support, (n_queries,)."""
        return self._ask("score_samples", X)

    def kneighbors(self, X, n_neighbors=5, return_distance=True):
        """Distances and rows of the nearest exemplars."""
        return self._ask("kneighbors", X, n_neighbors, return_distance)

    def match(self, X):
        """Labels of the best one-to-one assignment of the queries to classes."""
        return self._ask("match", X)

    def _episode_decision(self, X):  # of `model_selection.one_shot_score`
        transformers, twin = self._parts()
        return twin._episode_decision(_transformed(transformers, X))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        with contextlib.suppress(AttributeError, TypeError):  # no estimator, as `fit` will say
            tags.input_tags = get_tags(self.estimator).input_tags
        return tags


def _transformed(transformers, X):
    return X if transformers is None else transformers.transform(X)
