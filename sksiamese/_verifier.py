"""SiameseVerifier: classify pairs as same or different."""

from __future__ import annotations

from dataclasses import replace
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import TransformerTags

from ._base import (
    Change,
    FittedAttribute,
    accuracy,
    argument_of,
    change,
    check_knows_input,
    check_network_params,
    checked_params,
    color_of,
    embed_both,
    fitted_of,
    learn_watched,
    network_of,
    raise_if_interrupted,
    read,
    read_training,
    shared_params,
    transformed,
)
from ._callbacks import CallbackSupportMixin, with_callbacks
from ._classifier import SiameseOneShotClassifier
from ._fitted import Fitted
from ._pairs import calibrated_threshold, check_different, check_same, items_of, pairs_of
from ._persistence import read_fitted, write_fitted
from ._start import start_of
from ._training_data import PairData


class SiameseVerifier(CallbackSupportMixin, ClassifierMixin, BaseEstimator):
    """Classifier of pairs by a twin (Siamese) network: same class or different classes.

    A sample is a pair of images, and its class is same (1) or different (0). This is the task that
    the paper trains on [1]_. The network is that of `SiameseOneShotClassifier`; `from_classifier`
    and `to_classifier` exchange it without training.

    Parameters
    ----------
    encoder : {"auto", "conv", "conv1d", "hog", "koch", "mlp"}, torch.nn.Module, callable or \
            tuple, default="auto"
        As in `SiameseOneShotClassifier`.
    preprocessor : array-like of shape (n, ...), ImageArray, callable or None, default=None
        If given, samples of X are pairs of row numbers of these images or flat rows. A
        `sksiamese.datasets.ImageArray` is cloned without copying them. A callable is
        called with an array of the distinct items in X, such as paths, and returns their images.
    encoder_params : dict, tuple or None, default=None
        As in `SiameseOneShotClassifier`.
    head : {"whitened", "weighted_l1", "signed_l1", "aligned", "cosine"} or tuple, \
            default="whitened"
        As in `SiameseOneShotClassifier`.
    head_params : dict, tuple or None, default=None
        As in `SiameseOneShotClassifier`.
    augmentation : str, callable or None, default="auto"
        As in `SiameseOneShotClassifier`.
    image_shape : tuple of int or None, default=None
        As in `SiameseOneShotClassifier`.
    channels : {"auto", "first", "last"}, default="auto"
        As in `SiameseOneShotClassifier`.
    normalization : {"auto", "foreground", "imagenet", None} or tuple, default="auto"
        As in `SiameseOneShotClassifier`.
    resize : {"auto", None}, int or tuple of 2 ints, default="auto"
        As in `SiameseOneShotClassifier`.
    crop : {"auto", "foreground", None}, default="auto"
        As in `SiameseOneShotClassifier`.
    batch_size : "auto" or int, default="auto"
        Number of pairs in a training step; "auto" is 128.
    max_iter : int, default=30
        Number of epochs. An epoch shows each pair once. 0, with `weights`, trains nothing.
    n_estimators : int, default=1
        As in `SiameseOneShotClassifier`.
    optimizer : {"muon", "adamw", "adam", "sgd"} or type, default="muon"
        As in `SiameseOneShotClassifier`.
    optimizer_params : dict or None, default=None
        As in `SiameseOneShotClassifier`.
    learning_rate : float, default=4e-3
        As in `SiameseOneShotClassifier`.
    weight_decay : float, default=0.01
        As in `SiameseOneShotClassifier`.
    ema_decay : float, default=0.998
        As in `SiameseOneShotClassifier`.
    weights : "symbols", "omniglot", str, path-like or None, default=None
        As in `SiameseOneShotClassifier`, whose files fit too.
    warm_start : bool, default=False
        As in `SiameseOneShotClassifier`.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        As in `SiameseOneShotClassifier`.
    device : str, default="cpu"
        As in `SiameseOneShotClassifier`.
    callbacks : list of skorch callbacks or None, default=None
        As in `SiameseOneShotClassifier`.
    net_params : dict or None, default=None
        As in `SiameseOneShotClassifier`.
    checkpoint_dir : str, path-like or None, default=None
        As in `SiameseOneShotClassifier`.
    checkpoint_minutes : float or None, default=None
        As in `SiameseOneShotClassifier`.
    memory : str, path-like, object with the joblib.Memory interface or None, default=None
        As in `SiameseOneShotClassifier`.
    verbose : int, default=0
        As in `SiameseOneShotClassifier`.
    random_state : int, RandomState instance or None, default=None
        As in `SiameseOneShotClassifier`.

    Attributes
    ----------
    classes_ : ndarray of shape (2,)
        Labels of different and same pairs: 0 and 1, or -1 and 1, as in y.
    decision_threshold_ : float
        Pairs with a logit of at least this value are predicted same. 0, a probability of 0.5,
        until `calibrate_threshold` is called.
    network_ : torch.nn.Module
        The trained network, in evaluation mode on the CPU. It takes scaled images.
    history_ : list of list of dict
        For each network a list with one dict per epoch: train_loss and dur in seconds. Empty for a
        network that is known in closed form.
    n_iter_ : int
        Number of epochs of the network that was trained longest.
    input_shape_ : tuple of int
        Shape of one image or row: (C, H, W), (channels, length) of series, or (D,).
    n_features_in_ : int
        Number of values in one image or row.
    feature_names_in_ : ndarray of shape (n_features,), object
        Names of the columns of a `preprocessor` that is a DataFrame.
    fitted_ : Fitted
        Everything that was learned, as one immutable value.

    See Also
    --------
    SiameseOneShotClassifier : Classifies single images by exemplars.

    References
    ----------
    .. [1] G. Koch, R. Zemel, R. Salakhutdinov, "Siamese Neural Networks for One-shot Image
       Recognition", ICML Deep Learning Workshop, 2015.

    Examples
    --------
    >>> from sksiamese import SiameseVerifier
    >>> from sksiamese.datasets import make_glyphs
    >>> from sksiamese.model_selection import make_pairs
    >>> images, labels = make_glyphs(n_classes=6, n_samples=4, random_state=0)
    >>> pairs = make_pairs(labels, n_pairs=200, random_state=0)
    >>> X, y = pairs[:, :2], pairs[:, 2]
    >>> verifier = SiameseVerifier(preprocessor=images, max_iter=5, random_state=0).fit(X, y)
    >>> verifier.predict_proba(X[:3]).shape
    (3, 2)
    >>> verifier.decision_function(X[:3]).shape  # a logit for each pair
    (3,)
    >>> verifier = verifier.calibrate_threshold(X, y)  # better: pairs of other classes
    >>> verifier.score(X, y) > 0.5
    True
    >>> verifier.similarity([0, 1], [2, 3, 4]).shape  # logits of all pairs of these images
    (2, 3)
    >>> clf = verifier.to_classifier().set_support(images[::4], labels[::4])
    """

    # What was learned is read from `fitted_`, which is replaced in one assignment.
    fitted_: Fitted
    network_ = FittedAttribute(network_of)
    history_ = FittedAttribute(lambda fitted: list(map(list, fitted.history)))
    n_iter_ = FittedAttribute(lambda fitted: max(map(len, fitted.history), default=0))
    input_shape_ = FittedAttribute(lambda fitted: fitted.input_shape)
    n_features_in_ = FittedAttribute(lambda fitted: fitted.n_features_in)
    feature_names_in_ = FittedAttribute(lambda fitted: fitted.feature_names)
    decision_threshold_ = FittedAttribute(lambda fitted: fitted.decision_threshold)
    classes_ = FittedAttribute(lambda fitted: np.array([fitted.negative_label, 1]))

    def __init__(
        self,
        encoder: Any = "auto",
        *,
        preprocessor: Any = None,
        encoder_params: dict[str, Any] | None = None,
        head: Any = "whitened",
        head_params: dict[str, Any] | None = None,
        augmentation: Any = "auto",
        image_shape: tuple[int, ...] | None = None,
        channels: str = "auto",
        normalization: Any = "auto",
        resize: Any = "auto",
        crop: str | None = "auto",
        batch_size: Any = "auto",
        max_iter: int = 30,
        n_estimators: int = 1,
        optimizer: Any = "muon",
        optimizer_params: dict[str, Any] | None = None,
        learning_rate: float = 4e-3,
        weight_decay: float = 0.01,
        ema_decay: float = 0.998,
        weights: str | PathLike | None = None,
        warm_start: bool = False,
        precision: str = "auto",
        device: str = "cpu",
        callbacks: list[Any] | None = None,
        net_params: dict[str, Any] | None = None,
        checkpoint_dir: str | PathLike | None = None,
        checkpoint_minutes: float | None = None,
        memory: Any = None,
        verbose: int = 0,
        random_state: Any = None,
    ) -> None:
        self.encoder = encoder
        self.preprocessor = preprocessor
        self.encoder_params = encoder_params
        self.head = head
        self.head_params = head_params
        self.augmentation = augmentation
        self.image_shape = image_shape
        self.channels = channels
        self.normalization = normalization
        self.resize = resize
        self.crop = crop
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.n_estimators = n_estimators
        self.optimizer = optimizer
        self.optimizer_params = optimizer_params
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.ema_decay = ema_decay
        self.weights = weights
        self.warm_start = warm_start
        self.precision = precision
        self.device = device
        self.callbacks = callbacks
        self.net_params = net_params
        self.checkpoint_dir = checkpoint_dir
        self.checkpoint_minutes = checkpoint_minutes
        self.memory = memory
        self.verbose = verbose
        self.random_state = random_state

    @with_callbacks
    def fit(self, X: ArrayLike, y: ArrayLike) -> SiameseVerifier:
        """Learn from pairs.

        Parameters
        ----------
        X : array-like of shape (n_pairs, 2, ...)
            The two images, or flat rows, of each pair; or, with `preprocessor`, their row numbers,
            integers of shape (n_pairs, 2).
        y : array-like of shape (n_pairs,)
            1 for pairs of the same class, 0 (or -1 throughout) for others.

        Returns
        -------
        self : SiameseVerifier
            The fitted estimator.

        Raises
        ------
        ValueRangeError
            If images are in different units, such as 0..1 and 0..255. The estimator is then
            unchanged.
        InvertedImageError
            If some images are dark on light and others light on dark, with
            ``crop="foreground"``.
        ValueError, TypeError
            If a parameter or argument cannot be used. The estimator is then unchanged.
        OSError
            If the file of `weights` cannot be read. The estimator is then unchanged.
        DivergedError
            If the training loss is not finite. The estimator is then unchanged.
        KeyboardInterrupt
            After Ctrl-C. The estimator then has the network trained so far.

        Warns
        -----
        UnlikelyShapeWarning
            If images have a side below 4 pixels, or a ratio of sides above 8. Pass series
            with ``encoder="conv1d"``, and tables as flat rows.
        BlankImageWarning
            If images have no foreground.
        UnlikelyBackgroundWarning
            If some images are dark on light and others light on dark, with ``crop=None``.

        See Also
        --------
        from_classifier : Take a trained network instead.

        Examples
        --------
        >>> import numpy as np
        >>> from sksiamese import SiameseVerifier
        >>> rng = np.random.default_rng(0)
        >>> X, y = rng.normal(size=(20, 2, 5)), np.arange(20) % 2
        >>> SiameseVerifier(max_iter=2, random_state=0).fit(X, y).classes_
        array([0, 1])
        """
        params = checked_params(self)
        start = start_of(self, params)
        color = None if start is None else color_of(start)
        items, i, j = pairs_of(X, self.preprocessor, color)
        store, names = read_training(self, items, start, argument_of(self))
        negative_label, same = check_same(y, len(i))
        check_different(X, i, j)
        data = PairData(store, np.stack([i, j, same], axis=1), negative_label)
        self.fitted_, stopped = learn_watched(self, X, y, params, data, names, start)
        raise_if_interrupted(stopped)
        return self

    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """Return the logit of each pair.

        Parameters
        ----------
        X : array-like of shape (n_pairs, 2, ...) or (n_pairs, 2)
            Pairs, as in `fit`.

        Returns
        -------
        logits : ndarray of shape (n_pairs,), float32
            Log-odds that both samples are of the same class.
        """
        return self._logits(X, fitted_of(self))

    def _logits(self, X: ArrayLike, fitted: Fitted) -> np.ndarray:
        items, i, j = pairs_of(X, self.preprocessor, color_of(fitted))
        store = read(self, items, fitted, argument_of(self))
        used, rows = np.unique(np.concatenate([i, j]), return_inverse=True)
        embeddings = fitted.comparer.embed(store, used)
        return fitted.pair_logits(embeddings, embeddings, *rows.reshape(2, -1))

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Predict same or different: whether the logit reaches `decision_threshold_`.

        Parameters
        ----------
        X : array-like of shape (n_pairs, 2, ...) or (n_pairs, 2)
            Pairs, as in `fit`.

        Returns
        -------
        y : ndarray of shape (n_pairs,)
            Label of each pair, one of `classes_`.

        Raises
        ------
        ValueRangeError
            If images are in other units, such as 0..1 instead of 0..255.
        InvertedImageError
            If images are of another polarity than those known, with
            ``crop="foreground"``.

        Warns
        -----
        BlankImageWarning
            If images have no foreground.

        See Also
        --------
        calibrate_threshold : Choose the threshold.

        Examples
        --------
        >>> from sksiamese import SiameseVerifier, load_pretrained
        >>> from sksiamese.datasets import load_omniglot_minimal
        >>> data = load_omniglot_minimal()
        >>> clf = load_pretrained("omniglot").set_support(data.images[:20], data.target[:20])
        >>> SiameseVerifier.from_classifier(clf).predict([data.images[:2], data.images[15:25:5]])
        array([1, 0])
        """
        fitted = fitted_of(self)
        logits = self._logits(X, fitted)
        return np.where(logits >= fitted.decision_threshold, 1, fitted.negative_label)

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return the accuracy on the given data and labels.

        Parameters
        ----------
        X : array-like of shape (n_pairs, 2, ...) or (n_pairs, 2)
            Pairs, as in `fit`.
        y : array-like of shape (n_pairs,)
            Their labels, as in `fit`.
        sample_weight : array-like of shape (n_pairs,) or None, default=None
            Sample weights.

        Returns
        -------
        score : float
            Fraction of correct predictions.
        """
        return accuracy(self, X, y, sample_weight)

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """Return the probabilities of different and same.

        The threshold has no effect.

        Parameters
        ----------
        X : array-like of shape (n_pairs, 2, ...) or (n_pairs, 2)
            Pairs, as in `fit`.

        Returns
        -------
        p : ndarray of shape (n_pairs, 2), float32
            Probabilities of different and of same.
        """
        logits = self._logits(X, fitted_of(self))
        return np.stack([expit(-logits), expit(logits)], axis=1)

    def transform(self, X: ArrayLike) -> np.ndarray:
        """Embed single samples, not pairs.

        The metric of embeddings is that of `SiameseOneShotClassifier.transform`.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Images or rows; with `preprocessor`, their row numbers, integers of shape (n,), or
            what the callable takes.

        Returns
        -------
        embeddings : ndarray of shape (n, n_features_out), float32
            Embeddings; feature maps are flattened.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If X cannot be used.

        See Also
        --------
        similarity : Logits of all pairs of single samples.

        Examples
        --------
        >>> import numpy as np
        >>> from sksiamese import SiameseVerifier
        >>> rng = np.random.default_rng(0)
        >>> X, y = rng.normal(size=(20, 2, 5)), np.arange(20) % 2
        >>> SiameseVerifier(max_iter=2, random_state=0).fit(X, y).transform(X[:, 0]).shape
        (20, 5)
        """
        fitted = fitted_of(self)
        return transformed(self, items_of(X, self.preprocessor, color_of(fitted)), fitted)

    def similarity(self, XA: ArrayLike, XB: ArrayLike) -> np.ndarray:
        """Return the logit of every sample of XA with every sample of XB.

        Parameters
        ----------
        XA : array-like of shape (n_a, ...)
            Single samples, as in `transform`.
        XB : array-like of shape (n_b, ...)
            Single samples, as in `transform`.

        Returns
        -------
        logits : ndarray of shape (n_a, n_b), float32
            Log-odds that two samples are of the same class.
        """
        fitted = fitted_of(self)
        color = color_of(fitted)
        a = items_of(XA, self.preprocessor, color)
        b = a if XB is XA else items_of(XB, self.preprocessor, color)
        return fitted.logits(*embed_both(self, a, b, fitted))

    def calibrate_threshold(
        self,
        X: ArrayLike,
        y: ArrayLike,
        strategy: str = "accuracy",
        *,
        min_rate: float | None = None,
        beta: float = 1.0,
    ) -> SiameseVerifier:
        """Choose `decision_threshold_` on pairs that were not used in training.

        Parameters
        ----------
        X : array-like of shape (n_pairs, 2, ...) or (n_pairs, 2)
            Pairs of both kinds, as in `fit`.
        y : array-like of shape (n_pairs,)
            Their labels, as in `fit`.
        strategy : {"accuracy", "f_beta", "max_tpr", "max_tnr", "equal_error"}, default="accuracy"
            What the threshold maximises: the accuracy; the F-beta score; the true-positive rate,
            subject to a true-negative rate of at least `min_rate`; the true-negative rate, subject
            to a true-positive rate of at least `min_rate`. "equal_error" minimises the difference
            of the two error rates.
        min_rate : float or None, default=None
            Between 0 and 1, for "max_tpr" and "max_tnr".
        beta : float, default=1.0
            Weight of recall in "f_beta".

        Returns
        -------
        self : SiameseVerifier
            The estimator with its new threshold.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError, TypeError
            If an argument cannot be used. The threshold is then unchanged.
        """

        def learn(fitted: Fitted) -> Change:
            logits = self._logits(X, fitted)
            same = check_same(y, len(logits))[1]
            threshold = calibrated_threshold(logits, same, strategy, min_rate, beta)
            return lambda now: replace(now, decision_threshold=threshold)

        change(self, learn)
        return self

    @classmethod
    def from_classifier(
        cls, clf: SiameseOneShotClassifier, *, preprocessor: Any = None
    ) -> SiameseVerifier:
        """Return a verifier with the network of a fitted classifier.

        Parameters
        ----------
        clf : SiameseOneShotClassifier
            A fitted classifier.
        preprocessor : array-like of shape (n, ...), ImageArray, callable or None, default=None
            The verifier's parameter.

        Returns
        -------
        verifier : SiameseVerifier
            Fitted, with a threshold of 0. It shares the network and its calibration.

        Raises
        ------
        TypeError
            If `clf` is something else, such as a Pipeline.
        NotFittedError
            If `clf` is not fitted, or is pretrained and has no support yet.

        Examples
        --------
        >>> from sksiamese import SiameseVerifier, load_pretrained
        >>> from sksiamese.datasets import load_omniglot_minimal
        >>> data = load_omniglot_minimal()
        >>> clf = load_pretrained("omniglot").set_support(data.images[:20], data.target[:20])
        >>> SiameseVerifier.from_classifier(clf).predict([data.images[:2]])
        array([1])
        """
        check_classifier(clf)
        fitted = fitted_of(clf)
        check_knows_input(fitted)
        verifier = cls(preprocessor=preprocessor).set_params(**shared_params(clf, cls))
        verifier.fitted_ = replace(
            fitted, support=None, adapts=False, decision_threshold=0.0, negative_label=0
        )
        return verifier

    def to_classifier(self) -> SiameseOneShotClassifier:
        """Return a one-shot classifier with this verifier's network, without a support.

        Returns
        -------
        clf : SiameseOneShotClassifier
            Fitted; call `set_support` next. It shares the network.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        """
        clf = SiameseOneShotClassifier(**shared_params(self, SiameseOneShotClassifier))
        clf.fitted_ = fitted_of(self)
        return clf

    def save(self, path: str | PathLike, *, half: bool = False) -> None:
        """Write the fitted estimator to a safetensors file.

        The same estimator gives the same bytes. The file holds a digest of its contents, so that
        `load` notices damage.

        Parameters
        ----------
        path : str or path-like
            File to write. It is replaced as a whole, once everything is written.
        half : bool, default=False
            If True, write weights in half precision, at half the size.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If a parameter is a Python object that JSON cannot hold, such as a preprocessor, or
            parameters were changed so that no estimator can be loaded from them and the weights.
        OSError
            If the file cannot be written. An existing file is then unchanged.

        See Also
        --------
        load : Read the file.

        Examples
        --------
        >>> import tempfile
        >>> import numpy as np
        >>> from sksiamese import SiameseVerifier
        >>> rng = np.random.default_rng(0)
        >>> X, y = rng.normal(size=(20, 2, 5)), np.arange(20) % 2
        >>> verifier = SiameseVerifier(max_iter=2, random_state=0).fit(X, y)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     verifier.save(f"{folder}/verifier.safetensors")
        ...     verifier = SiameseVerifier.load(f"{folder}/verifier.safetensors")
        """
        write_fitted(path, self, fitted_of(self), check_network_params, half, support=False)

    @classmethod
    def load(cls, path: str | PathLike, *, encoder: Any = None) -> SiameseVerifier:
        """Read an estimator that `save` wrote. No code is run.

        Parameters
        ----------
        path : str or path-like
            File to read.
        encoder : torch.nn.Module, callable or None, default=None
            What the estimator was given as `encoder`, if it was no name: the file holds its
            weights, which are given to a copy of the module, and not its code.

        Returns
        -------
        verifier : SiameseVerifier
            The fitted estimator.

        Raises
        ------
        OSError
            If there is no such file, or it cannot be read, or is damaged.
        ValueError
            If it holds something else, or values that no estimator has; or if `encoder` is
            missing, or another one than its weights are of.

        See Also
        --------
        save : Write the file, with an example of both.

        Examples
        --------
        >>> from sksiamese import SiameseVerifier
        >>> verifier = SiameseVerifier.load("verifier.safetensors")  # doctest: +SKIP
        """
        return read_fitted(path, cls, check_network_params, encoder)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = self.preprocessor is not None
        tags.input_tags.three_d_array = True
        tags.classifier_tags.multi_class = False
        tags.transformer_tags = TransformerTags(preserves_dtype=["float32"])
        return tags


def check_classifier(clf: Any) -> None:
    """Raise TypeError unless a verifier can take the network of `clf`."""
    if not isinstance(clf, SiameseOneShotClassifier):
        raise TypeError(
            f"clf is a {type(clf).__name__}; expected a fitted SiameseOneShotClassifier, such as "
            "the estimator of a FrozenTwinClassifier, the last step of a Pipeline, or what "
            "to_classifier() of a SiameseVerifier returns."
        )
