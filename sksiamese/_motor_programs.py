"""MotorProgramClassifier: one-shot classification by the strokes that made a drawing."""

from __future__ import annotations

from dataclasses import replace
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment
from scipy.special import expit, softmax
from sklearn.base import BaseEstimator, ClassifierMixin

from ._base import (
    FittedAttribute,
    accuracy,
    adapted,
    calibrate_on,
    change_support,
    clear_support,
    embed,
    embed_both,
    exemplars,
    extend_support,
    fitted_of,
    prediction_set,
    shrink_support,
    supported,
)
from ._fitted import Fitted
from ._params import (
    check_choice,
    check_input_params,
    check_n_neighbors,
    check_number,
    restored_on_error,
    rng_of,
)
from ._persistence import read_fitted, write_fitted
from ._support import SupportSet
from ._validation import (
    check_calibration_data,
    check_one_to_one,
    check_same_length,
    labels_to_remove,
    warn_of_shape,
)
from .comparers import MotorPrograms, check_options, programs_of
from .programs import Program


class MotorProgramClassifier(ClassifierMixin, BaseEstimator):
    """One-shot classifier by motor programs, after Bayesian program learning (BPL).

    Each drawing is explained by a program: strokes in an order, made of sub-strokes, each
    beginning somewhere or on an earlier one. The program of an exemplar is fitted to a query as
    if it were drawn once more, and the query's program to the exemplar; the label is that of the
    exemplar for which both explain best [1]_, [2]_. Nothing is trained: `fit` parses the
    exemplars.

    Parameters
    ----------
    model : {"programs", "simple_strokes", "affine"}, default="programs"
        How a program varies from one drawing to the next. "programs": stroke starts, control
        points and sizes of sub-strokes, and an affine warp. "simple_strokes": strokes without
        sub-strokes, not attached to each other. "affine": the warp alone. The last two are
        baselines of the papers.
    primitives : bool, default=True
        Whether the strokes of a program, their order and their directions are chosen by BPL's
        library of primitives and relations. If False, by simple rules; answers are about as
        accurate.
    n_walks : int, default=30
        Random walks over the skeleton of a drawing, among which the prior chooses. Without
        `primitives`, a single walk is taken.
    image_shape : tuple of int or None, default=None
        Shape of the image in a flat row: (height, width), or three sizes with channels. None:
        rows are curves, see Notes.
    channels : {"auto", "first", "last"}, default="auto"
        Position of the channel axis in images of three axes; channels are averaged.
    aggregation : {"mean", "max"}, default="max"
        How several exemplars of a class make one logit.
    unknown_label : label or None, default=None
        Label that `predict` returns for queries that seem to be of no class in the support. If
        given, `fit` calibrates on X and y; see `calibrate`.
    false_acceptance_rate : float, default=0.05
        Target fraction of the queries from classes outside the support that `predict` accepts.
    n_jobs : int or None, default=None
        Processes that parse drawings, as in joblib.
    random_state : int, RandomState instance or None, default=None
        Determines the walks. The program of a drawing depends on it and on the drawing alone.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels of the support, sorted.
    programs_ : list of Program
        Best program of each exemplar of the support, in the order given.
    support_ : SupportSet
        Programs and labels of the exemplars.
    rejection_threshold_ : float
        `score_samples` below which `predict` returns `unknown_label`. Present after calibration.
    input_shape_ : tuple of int
        Shape of one sample, (C, H, W) or (D,).
    n_features_in_ : int
        Number of values in one sample.
    feature_names_in_ : ndarray of shape (n_features,), object
        Names of the columns of X in `fit`. Present if X had only string column names.
    fitted_ : Fitted
        Everything that was learned, as one immutable value.

    See Also
    --------
    SiameseOneShotClassifier : Learns to compare images; more accurate where it was trained.
    sksiamese.plotting.MotorProgramDisplay : Shows programs.

    Notes
    -----
    Drawings of any size and polarity are cropped to the foreground and brought to 105x105 pixels.
    Before, uneven light, ruled lines, dark page edges and specks are taken out.
    Skeletons suit strokes; filled shapes are reduced to their middle lines. Flat rows without
    `image_shape` are standardised and drawn as curves, one stroke through the values in their
    order; two curves are compared point by point.

    As in BPL: bottom-up parsing by random walks on the skeleton, sub-strokes as splines, the
    library of primitives and relations, the variables of a token and their widths, fits in both
    directions. Replaced: the image likelihood, by a mixture over foreground points fitted by EM;
    the search and sampling over programs, by the best parse and wider tokens; the probabilities,
    by terms weighed on background alphabets. See ``docs/motor_programs.md``.

    References
    ----------
    .. [1] B. Lake, R. Salakhutdinov, J. Tenenbaum, "One-shot learning by inverting a
       compositional causal process", NIPS, 2013.
    .. [2] B. Lake, R. Salakhutdinov, J. Tenenbaum, "Human-level concept learning through
       probabilistic program induction", Science, 2015.

    Examples
    --------
    >>> from sksiamese import MotorProgramClassifier
    >>> from sksiamese.datasets import load_omniglot_minimal
    >>> run = load_omniglot_minimal().runs[0]
    >>> clf = MotorProgramClassifier(random_state=0)
    >>> clf = clf.fit(run.support_images, run.support_labels)
    >>> clf.score(run.query_images, run.query_labels) > 0.8
    True
    >>> queries = run.query_images[:3]
    >>> clf.predict_proba(queries).shape
    (3, 20)
    >>> clf.decision_function(queries).shape  # a logit for each class
    (3, 20)
    >>> distances, exemplars = clf.kneighbors(queries, n_neighbors=2)
    >>> clf.match(queries).shape  # each query is of a different class
    (3,)
    >>> clf.score_samples(queries).shape  # how likely each is of any of the classes
    (3,)
    >>> clf.similarity(queries, queries).shape  # logits of all pairs, without the support
    (3, 3)
    >>> clf.pair_proba(queries, queries).shape  # probability of the same class, row by row
    (3,)
    >>> trial = clf.trial_function(queries)
    >>> logits, classes = trial([0, 1], [2], ["a", "b"])
    >>> clf = clf.clear_support()
    """

    # What was learned is read from `fitted_`, which is replaced in one assignment.
    fitted_: Fitted
    programs_ = FittedAttribute(lambda fitted: fitted.support and programs_of(fitted.support))
    input_shape_ = FittedAttribute(lambda fitted: fitted.input_shape)
    n_features_in_ = FittedAttribute(lambda fitted: fitted.n_features_in)
    feature_names_in_ = FittedAttribute(lambda fitted: fitted.feature_names)
    support_ = FittedAttribute(lambda fitted: fitted.support)
    classes_ = FittedAttribute(lambda fitted: fitted.support.classes if fitted.support else None)
    rejection_threshold_ = FittedAttribute(lambda fitted: fitted.rejection_threshold)

    def __init__(
        self,
        *,
        model: str = "programs",
        primitives: bool = True,
        n_walks: int = 30,
        image_shape: tuple[int, ...] | None = None,
        channels: str = "auto",
        aggregation: str = "max",
        unknown_label: Any = None,
        false_acceptance_rate: float = 0.05,
        n_jobs: int | None = None,
        random_state: Any = None,
    ) -> None:
        self.model = model
        self.primitives = primitives
        self.n_walks = n_walks
        self.image_shape = image_shape
        self.channels = channels
        self.aggregation = aggregation
        self.unknown_label = unknown_label
        self.false_acceptance_rate = false_acceptance_rate
        self.n_jobs = n_jobs
        self.random_state = random_state

    def fit(
        self, X: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None
    ) -> MotorProgramClassifier:
        """Parse the exemplars, which become the support.

        Parameters
        ----------
        X : array-like of shape (n_exemplars, ...)
            Images (h, w), (c, h, w) or (h, w, c), or flat rows.
        y : array-like of shape (n_exemplars,)
            Class labels, of any dtype.
        groups : array-like of shape (n_exemplars,) or None, default=None
            Group of each exemplar, for calibration: classes are compared inside a group. Only
            used with `unknown_label`.

        Returns
        -------
        self : MotorProgramClassifier
            The fitted estimator.

        Raises
        ------
        ValueRangeError
            If images are in different units, such as 0..1 and 0..255. The estimator is then
            unchanged.
        InvertedImageError
            If some images are dark on light and others light on dark.
        ValueError, TypeError
            If a parameter or argument cannot be used. The estimator is then unchanged.

        Warns
        -----
        UnlikelyShapeWarning
            If images have a side below 4 pixels, or a ratio of sides above 8. Pass series and
            tables as flat rows.
        BlankImageWarning
            If images have no foreground.
        DuplicateExemplarWarning
            If the same image has two labels.

        See Also
        --------
        set_support : Replace the exemplars, and keep the calibration.

        Examples
        --------
        >>> from sksiamese import MotorProgramClassifier
        >>> from sksiamese.datasets import make_glyphs
        >>> X, y = make_glyphs(n_classes=5, n_samples=1, random_state=0)
        >>> len(MotorProgramClassifier(random_state=0).fit(X, y).programs_)
        5
        """
        with restored_on_error(self.random_state):
            fitted, store = adapted(self, X, _fresh(self))
            warn_of_shape(store)
            embeddings, labels = exemplars(self, store, y, fitted)
            fitted = replace(fitted, support=SupportSet.of(embeddings, labels))
            if self.unknown_label is not None:
                classes, numbers = check_calibration_data(y, groups, len(store))
                fitted = fitted.calibrated(
                    embeddings, classes, numbers, self.false_acceptance_rate
                )
        self.fitted_ = fitted
        return self

    def set_support(self, X: ArrayLike, y: ArrayLike) -> MotorProgramClassifier:
        """Replace the exemplars; calibration stays.

        Size, background level and polarity are estimated from X. Later images must match them.

        Parameters
        ----------
        X : array-like of shape (n_exemplars, ...)
            One or more exemplars of each class.
        y : array-like of shape (n_exemplars,)
            Class labels of the exemplars, of any dtype.

        Returns
        -------
        self : MotorProgramClassifier
            The estimator, whose `classes_` are the labels in y.

        Raises
        ------
        ValueRangeError
            If images are in different units, such as 0..1 and 0..255. The support is then
            unchanged.
        InvertedImageError
            If some images are dark on light and others light on dark.
        ValueError
            If X or y cannot be used. The support is then unchanged.

        Warns
        -----
        BlankImageWarning
            If images have no foreground.
        DuplicateExemplarWarning
            If the same image has two labels.

        See Also
        --------
        add_support : Keep the present exemplars.

        Examples
        --------
        >>> from sksiamese import MotorProgramClassifier
        >>> from sksiamese.datasets import make_glyphs
        >>> X, y = make_glyphs(n_classes=3, n_samples=1, random_state=0)
        >>> MotorProgramClassifier(random_state=0).set_support(X, y).classes_
        array([0, 1, 2])
        """
        change_support(self, X, y, _started)
        return self

    def add_support(self, X: ArrayLike, y: ArrayLike) -> MotorProgramClassifier:
        """Add exemplars of known or new classes to the support.

        Parameters
        ----------
        X : array-like of shape (n_exemplars, ...)
            Exemplars, of the shape seen in `fit`.
        y : array-like of shape (n_exemplars,)
            Class labels of the exemplars, of the type of the present labels.

        Returns
        -------
        self : MotorProgramClassifier
            The estimator.

        Raises
        ------
        ValueRangeError
            If images are in other units, such as 0..1 instead of 0..255.
        InvertedImageError
            If images are of another polarity than those known.
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If X or y cannot be used. The support is then unchanged.

        Warns
        -----
        BlankImageWarning
            If images have no foreground.
        DuplicateExemplarWarning
            If the same image has two labels.

        See Also
        --------
        set_support : Replace the support.
        remove_support : Remove classes.

        Examples
        --------
        >>> from sksiamese import MotorProgramClassifier
        >>> from sksiamese.datasets import make_glyphs
        >>> X, y = make_glyphs(n_classes=3, n_samples=1, random_state=0)
        >>> clf = MotorProgramClassifier(random_state=0).fit(X[:2], y[:2])
        >>> clf.add_support(X[2:], y[2:]).classes_
        array([0, 1, 2])
        """
        extend_support(self, X, y)
        return self

    def remove_support(self, labels: Any) -> MotorProgramClassifier:
        """Remove all exemplars of one or several classes from the support.

        Parameters
        ----------
        labels : label, array-like of shape (n_labels,) or set
            Classes to remove.

        Returns
        -------
        self : MotorProgramClassifier
            The estimator.

        Raises
        ------
        NotFittedError
            If there is no support.
        ValueError
            If a label is not in the support. Nothing is then removed.

        See Also
        --------
        clear_support : Remove all classes.

        Examples
        --------
        >>> from sksiamese import MotorProgramClassifier
        >>> from sksiamese.datasets import make_glyphs
        >>> X, y = make_glyphs(n_classes=3, n_samples=1, random_state=0)
        >>> clf = MotorProgramClassifier(random_state=0).fit(X, y)
        >>> clf.remove_support(1).classes_
        array([0, 2])
        """
        shrink_support(self, labels_to_remove(labels))
        return self

    def clear_support(self) -> MotorProgramClassifier:
        """Remove all exemplars; calibration stays.

        Returns
        -------
        self : MotorProgramClassifier
            The estimator, without `classes_`.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        """
        clear_support(self)
        return self

    def calibrate(
        self, X: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None
    ) -> MotorProgramClassifier:
        """Calibrate the logits, the rejection of unknown classes, and prediction sets.

        See `SiameseOneShotClassifier.calibrate`. Any classes will do, since none was trained on.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Images or rows, as in `fit`.
        y : array-like of shape (n,)
            Class labels: at least two classes with two examples each, in one group if there are
            groups.
        groups : array-like of shape (n,) or None, default=None
            Group of each sample; classes are compared inside a group.

        Returns
        -------
        self : MotorProgramClassifier
            The calibrated estimator, with its support unchanged.

        Raises
        ------
        ValueError
            If an argument cannot be used, or programs cannot tell these classes apart. The
            estimator is then unchanged.

        See Also
        --------
        score_samples : The score that the threshold applies to.
        predict_set : Sets of classes that contain the right one with a given probability.

        Examples
        --------
        >>> from sksiamese import MotorProgramClassifier
        >>> from sksiamese.datasets import make_glyphs
        >>> X, y = make_glyphs(n_classes=8, n_samples=3, random_state=0)
        >>> clf = MotorProgramClassifier(unknown_label=-1, random_state=0).calibrate(X, y)
        >>> clf.set_support(X[:9:3], y[:9:3]).predict(X[-3:])
        array([-1, -1, -1])
        """
        calibrate_on(self, X, y, groups, _started)
        return self

    def parse(self, X: ArrayLike) -> list[Program]:
        """Return the best program of each drawing.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Images or rows, of the shape seen in `fit`.

        Returns
        -------
        programs : list of Program
            On a canvas of 105x105 pixels.

        Examples
        --------
        >>> from sksiamese import MotorProgramClassifier
        >>> from sksiamese.datasets import make_glyphs
        >>> X, y = make_glyphs(n_classes=3, n_samples=1, random_state=0)
        >>> program = MotorProgramClassifier(random_state=0).fit(X, y).parse(X)[0]
        >>> len(program.trajectories()) == program.n_strokes
        True
        """
        fitted = fitted_of(self)
        return [tokens.program for tokens in embed(self, X, fitted)]

    def predict(
        self, X: ArrayLike, return_logits: bool = False
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Predict the class labels for the provided data.

        Parameters
        ----------
        X : array-like of shape (n_queries, ...)
            Queries, of the shape seen in `fit`.
        return_logits : bool, default=False
            If True, also return the logits, from the same programs.

        Returns
        -------
        y : ndarray of shape (n_queries,)
            Class label of each query. With `unknown_label`, that label where `score_samples` is
            below `rejection_threshold_`.
        logits : ndarray of shape (n_queries, n_classes), float32
            Log-odds that query and class match. Only returned if `return_logits` is True.

        Raises
        ------
        ValueRangeError
            If images are in other units, such as 0..1 instead of 0..255.
        InvertedImageError
            If images are of another polarity than those known.
        NotFittedError
            If there is no support, or `unknown_label` is given before calibration.
        ValueError
            If X cannot be used.

        Warns
        -----
        BlankImageWarning
            If images have no foreground.

        See Also
        --------
        predict_proba : Probabilities of the classes.
        match : One-to-one assignment of queries to classes.

        Examples
        --------
        >>> from sksiamese import MotorProgramClassifier
        >>> from sksiamese.datasets import make_glyphs
        >>> X, y = make_glyphs(n_classes=5, n_samples=2, random_state=0)
        >>> MotorProgramClassifier(random_state=0).fit(X[::2], y[::2]).predict(X[1::2])
        array([0, 1, 2, 3, 4])
        """
        fitted = supported(self)
        queries = embed(self, X, fitted)
        logits = fitted.class_logits(queries, self.aggregation) if return_logits else None
        labels = fitted.labels(queries, self.aggregation, self.unknown_label, logits=logits)
        return labels if logits is None else (labels, logits)

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return the accuracy on the given data and labels.

        Parameters
        ----------
        X : array-like of shape (n_queries, ...)
            Queries, of the shape seen in `fit`.
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
        """Return probability estimates for the provided data, the softmax of the logits.

        Parameters
        ----------
        X : array-like of shape (n_queries, ...)
            Queries, of the shape seen in `fit`.

        Returns
        -------
        p : ndarray of shape (n_queries, n_classes), float32
            Class probabilities, in the order of `classes_`.
        """
        fitted = supported(self)
        return softmax(fitted.class_logits(embed(self, X, fitted), self.aggregation), axis=1)

    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """Return the logit of each query with each class of the support.

        Parameters
        ----------
        X : array-like of shape (n_queries, ...)
            Queries, of the shape seen in `fit`.

        Returns
        -------
        logits : ndarray of shape (n_queries, n_classes), float32
            Log-odds that query and class match. With two classes (n_queries,): the second minus
            the first.
        """
        fitted = supported(self)
        logits = fitted.class_logits(embed(self, X, fitted), self.aggregation)
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits

    def predict_set(self, X: ArrayLike, coverage: float = 0.9) -> np.ndarray:
        """Predict the set of classes that each query may be of.

        If a query's class is in the support, by one exemplar, then the set contains it with a
        probability of at least `coverage`, if classes are like those of `calibrate`. See
        `SiameseOneShotClassifier.predict_set`.

        Parameters
        ----------
        X : array-like of shape (n_queries, ...)
            Queries, of the shape seen in `fit`.
        coverage : float, default=0.9
            Between 0 and 1. With n classes in `calibrate`, sets contain all classes if it is
            greater than ``n / (n + 1)``.

        Returns
        -------
        member : ndarray of shape (n_queries, n_classes), bool
            Whether a class is in the set, in the order of `classes_`.

        Raises
        ------
        NotFittedError
            If there is no support, or before calibration.
        ValueError
            If an argument cannot be used.

        See Also
        --------
        calibrate : Learns which scores queries have with their own class.

        Examples
        --------
        >>> from sksiamese import MotorProgramClassifier
        >>> from sksiamese.datasets import make_glyphs
        >>> X, y = make_glyphs(n_classes=9, n_samples=2, random_state=0)
        >>> clf = MotorProgramClassifier(random_state=0).calibrate(X[:12], y[:12])
        >>> clf.set_support(X[12::2], y[12::2]).predict_set(X[13::2], coverage=0.8).shape
        (3, 3)
        """
        return prediction_set(self, X, coverage)

    def score_samples(self, X: ArrayLike) -> np.ndarray:
        """Return how likely each query is of some class in the support.

        Parameters
        ----------
        X : array-like of shape (n_queries, ...)
            Queries, of the shape seen in `fit`.

        Returns
        -------
        scores : ndarray of shape (n_queries,), float32
            ``max_k logit_k - log(n_classes)``; see `SiameseOneShotClassifier.score_samples`.
        """
        fitted = supported(self)
        return fitted.scores(embed(self, X, fitted), self.aggregation)

    def match(self, X: ArrayLike) -> np.ndarray:
        """Predict labels by the best one-to-one assignment of queries to classes.

        Parameters
        ----------
        X : array-like of shape (n_queries, ...)
            Queries, of the shape seen in `fit`; no more than there are classes.

        Returns
        -------
        y : ndarray of shape (n_queries,)
            Different labels, whose logits have the greatest sum.

        Raises
        ------
        ValueError
            If there are more queries than classes.
        """
        fitted = supported(self)
        logits = fitted.class_logits(embed(self, X, fitted), self.aggregation)
        check_one_to_one(*logits.shape)
        return fitted.classes[linear_sum_assignment(logits, maximize=True)[1]]

    def kneighbors(
        self, X: ArrayLike, n_neighbors: int = 5, return_distance: bool = True
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Find the exemplars that explain the queries best.

        Parameters
        ----------
        X : array-like of shape (n_queries, ...)
            Queries, of the shape seen in `fit`.
        n_neighbors : int, default=5
            Number of exemplars for each query.
        return_distance : bool, default=True
            Whether to return the distances.

        Returns
        -------
        distances : ndarray of shape (n_queries, n_neighbors), float32
            Costs of both explanations, nearest first; not a metric.
        indices : ndarray of shape (n_queries, n_neighbors)
            Rows of the support, in the order in which they were given.

        Raises
        ------
        ValueError
            If `n_neighbors` exceeds the number of exemplars.
        """
        fitted = supported(self)
        assert fitted.support is not None
        check_n_neighbors(n_neighbors, len(fitted.support))
        queries = embed(self, X, fitted)
        distances, indices = fitted.support.kneighbors(fitted.comparer, queries, n_neighbors)
        return (distances, indices) if return_distance else indices

    def similarity(self, XA: ArrayLike, XB: ArrayLike) -> np.ndarray:
        """Return the logit of every sample of XA with every sample of XB.

        Parameters
        ----------
        XA : array-like of shape (n_a, ...)
            Images or rows, of the shape seen in `fit`.
        XB : array-like of shape (n_b, ...)
            Images or rows, of the shape seen in `fit`.

        Returns
        -------
        logits : ndarray of shape (n_a, n_b), float32
            Log-odds that two samples are of the same class.
        """
        fitted = fitted_of(self)
        return fitted.logits(*embed_both(self, XA, XB, fitted))

    def pair_proba(self, XA: ArrayLike, XB: ArrayLike) -> np.ndarray:
        """Return the probability that each row of XA and the same row of XB are of one class.

        Parameters
        ----------
        XA : array-like of shape (n, ...)
            First image or row of each pair.
        XB : array-like of shape (n, ...)
            Second image or row of each pair.

        Returns
        -------
        p : ndarray of shape (n,), float32
            Probability of the same class.

        Raises
        ------
        ValueError
            If XA and XB differ in length.
        """
        fitted = fitted_of(self)
        a, b = embed_both(self, XA, XB, fitted)
        check_same_length(a, b)
        rows = np.arange(len(a))
        return expit(fitted.pair_logits(a, b, rows, rows))

    def trial_function(self, X: ArrayLike) -> Any:
        """Parse X once and return a function that scores one-shot trials made of its rows.

        `sksiamese.model_selection.one_shot_score` calls it.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            All images or rows that occur in the trials.

        Returns
        -------
        trial : callable
            ``trial(support, query, y_support)`` takes rows of X and the labels of the support, and
            returns the logits (n_queries, n_classes) and the sorted classes (n_classes,).
        """
        fitted, store = adapted(self, X, _started(self))
        embeddings, aggregation = fitted.comparer.embed(store), self.aggregation

        def trial(support: Any, query: Any, y_support: Any) -> tuple[np.ndarray, np.ndarray]:
            own = SupportSet.of(embeddings[support], np.asarray(y_support))
            of_trial = replace(fitted, support=own)
            return of_trial.class_logits(embeddings[query], aggregation), own.classes

        return trial

    def save(self, path: str | PathLike, *, support: bool = True) -> None:
        """Write the fitted estimator to a safetensors file.

        The same estimator gives the same bytes. The file holds a digest of its contents, so that
        `load` notices damage.

        Parameters
        ----------
        path : str or path-like
            File to write. It is replaced as a whole, once everything is written.
        support : bool, default=True
            If False, leave out the programs and labels of the exemplars.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If a parameter is a Python object that JSON cannot hold, such as a RandomState.
        OSError
            If the file cannot be written. An existing file is then unchanged.

        See Also
        --------
        load : Read the file.

        Examples
        --------
        >>> import tempfile
        >>> from sksiamese import MotorProgramClassifier
        >>> from sksiamese.datasets import make_glyphs
        >>> X, y = make_glyphs(n_classes=3, n_samples=1, random_state=0)
        >>> clf = MotorProgramClassifier(random_state=0).fit(X, y)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     clf.save(f"{folder}/programs.safetensors")
        ...     clf = MotorProgramClassifier.load(f"{folder}/programs.safetensors")
        >>> clf.predict(X)
        array([0, 1, 2])
        """
        write_fitted(path, self, fitted_of(self), _check_params, support=support)

    @classmethod
    def load(cls, path: str | PathLike) -> MotorProgramClassifier:
        """Read an estimator that `save` wrote. No code is run.

        Parameters
        ----------
        path : str or path-like
            File to read.

        Returns
        -------
        clf : MotorProgramClassifier
            The fitted estimator, with the support it was saved with.

        Raises
        ------
        OSError
            If there is no such file, or it cannot be read, or is damaged.
        ValueError
            If it holds something else, or values that no estimator has.

        See Also
        --------
        save : Write the file, with an example of both.

        Examples
        --------
        >>> from sksiamese import MotorProgramClassifier
        >>> clf = MotorProgramClassifier.load("programs.safetensors")  # doctest: +SKIP
        """
        return read_fitted(path, cls, _check_params)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.target_tags.one_d_labels = True
        return tags


def _check_params(clf: MotorProgramClassifier) -> None:
    """Raise ValueError or TypeError for parameters that cannot be used."""
    check_options(clf.model, clf.primitives, clf.n_walks, clf.n_jobs)
    check_choice(clf.aggregation, "aggregation", ("mean", "max"))
    check_number(clf.false_acceptance_rate, "false_acceptance_rate", float, 0, 1, "neither")
    check_input_params(clf.image_shape, clf.channels)
    rng_of(clf.random_state)


def _fresh(clf: MotorProgramClassifier) -> Fitted:
    """Return what the estimator knows before it has seen a drawing."""
    _check_params(clf)
    comparer = MotorPrograms(
        model=clf.model,
        primitives=bool(clf.primitives),
        n_walks=int(clf.n_walks),
        seed=int(rng_of(clf.random_state).randint(2**31 - 1)),
        n_jobs=clf.n_jobs,
    )
    return Fitted(comparer, (1,), flat=True, adapts=True)  # of rows, until drawings are seen


def _started(clf: MotorProgramClassifier) -> Fitted:
    """Return what the estimator knows; nothing has to be fitted before a support is set."""
    return vars(clf).get("fitted_") or _fresh(clf)
