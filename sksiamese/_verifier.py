"""SiameseVerifier: are the two images of a pair of one class?"""

import copy

import numpy as np
from scipy.special import expit
from sklearn.base import ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from ._base import TwinEstimator
from ._callbacks import with_callbacks
from ._classifier import SiameseOneShotClassifier
from ._pairs import calibrated_threshold, check_different, check_same, pairs_of
from ._persistence import PersistenceMixin
from .twin import inference


class SiameseVerifier(ClassifierMixin, PersistenceMixin, TwinEstimator):
    """The twin judged on pairs: a sample is a pair, and its class is same (1) or different (0).

    This is the task that the paper trains on [1]_. The network is that of
    `SiameseOneShotClassifier`, which `from_classifier` and `to_classifier` exchange without
    training.

    Parameters
    ----------
    encoder, encoder_params, head, head_params, distortion, image_shape, channels, image_size, \
frame, batch_size, max_iter, n_members, optimizer, learning_rate, weight_decay, averaging, \
warm_start, precision, device, callbacks, net_params, random_state
        As in `SiameseOneShotClassifier`.
    preprocessor : array-like, ImageArray, callable or None, default=None
        Where samples of X are pairs of row numbers, what they are rows of: images or flat rows. A
        `sksiamese.datasets.ImageArray` is cloned without a copy of them. A callable gets an array
        of whatever X holds, such as paths, each once, and returns their images.

    Attributes
    ----------
    classes_ : ndarray of shape (2,)
        Different and same: 0 and 1, or -1 and 1, as y has them.
    threshold_ : float
        The logit from which on `predict` says same: 0, a probability of one half, until
        `calibrate_threshold`.
    network_ : TwinNetwork or, with several members, TwinEnsemble
    history_, n_iter_, input_shape_
        As in `SiameseOneShotClassifier`.

    References
    ----------
    .. [1] G. Koch, R. Zemel, R. Salakhutdinov, "Siamese Neural Networks for One-shot Image
       Recognition", ICML Deep Learning Workshop, 2015.

    Examples
    --------
    >>> import numpy as np
    >>> from sksiamese import SiameseVerifier
    >>> from sksiamese.datasets import make_glyphs
    >>> images, labels = make_glyphs(n_classes=6, n_samples=4, random_state=0)
    >>> X = np.random.default_rng(0).integers(len(images), size=(200, 2))
    >>> X = X[X[:, 0] != X[:, 1]]
    >>> y = (labels[X[:, 0]] == labels[X[:, 1]]).astype(int)
    >>> verifier = SiameseVerifier(preprocessor=images, max_iter=5, random_state=0).fit(X, y)
    >>> verifier.predict_proba(X[:3]).shape
    (3, 2)
    """

    # What labels of classes have and pairs do not.
    loss = "verification"
    class_transforms = None
    batch_shape = (1, 20, 2)
    n_pairs = None
    early_stopping = False
    validation_fraction = 0.2
    n_iter_no_change = 10

    _saved = (*PersistenceMixin._saved, "_different")

    def __init__(
        self,
        encoder="auto",
        *,
        preprocessor=None,
        encoder_params=None,
        head="weighted_l1",
        head_params=None,
        distortion="auto",
        image_shape=None,
        channels="auto",
        image_size="auto",
        frame="image",
        batch_size=128,
        max_iter=30,
        n_members=1,
        optimizer="adamw",
        learning_rate=5e-3,
        weight_decay=0.01,
        averaging=0.998,
        warm_start=False,
        precision="auto",
        device="cpu",
        callbacks=None,
        net_params=None,
        random_state=None,
    ):
        self.encoder = encoder
        self.preprocessor = preprocessor
        self.encoder_params = encoder_params
        self.head = head
        self.head_params = head_params
        self.distortion = distortion
        self.image_shape = image_shape
        self.channels = channels
        self.image_size = image_size
        self.frame = frame
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.n_members = n_members
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.averaging = averaging
        self.warm_start = warm_start
        self.precision = precision
        self.device = device
        self.callbacks = callbacks
        self.net_params = net_params
        self.random_state = random_state

    def fit(self, X, y):
        """Learn from pairs.

        Parameters
        ----------
        X : array-like of shape (n_pairs, 2, ...)
            The two images, or flat rows, of each pair; or with `preprocessor` their row numbers,
            (n_pairs, 2) integers.
        y : array-like of shape (n_pairs,)
            1 where both are of one class; 0, or in all of y -1, where not.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError, TypeError, FloatingPointError
            If an argument cannot be used, or training diverges. The estimator is then as before.
        KeyboardInterrupt
            After Ctrl-C; the estimator then has the twin trained so far.
        """
        return self._fit_as_a_whole(X, y)

    @with_callbacks
    def _fit(self, X, y):
        self._check_params()
        items, i, j = pairs_of(X, self.preprocessor)
        store = self._begin(items)
        self._different, same = check_same(y, len(i))
        check_different(X, i, j)
        pairs = np.stack([i, j, same], axis=1)
        context, interrupted = self._train(store, X, y, pairs=pairs)
        self.threshold_ = 0.0
        if context is not None:
            context.call_on_fit_task_end(estimator=self, X=X, y=y, reconstruction_attributes={})
        return interrupted

    def _attributes_so_far(self, store, y, members, net):
        return {
            **super()._attributes_so_far(store, y, members, net),
            "threshold_": 0.0,
            "_different": self._different,
        }

    @property
    def classes_(self):
        """Different and same, as y had them."""
        if not hasattr(self, "_different"):
            raise AttributeError("SiameseVerifier is not fitted yet, so it has no classes_")
        return np.array([self._different, 1])

    def decision_function(self, X):
        """Twin logit of each pair, the log-odds that both are of one class.

        Parameters
        ----------
        X : array-like of shape (n_pairs, 2, ...) or (n_pairs, 2)
            As in `fit`.

        Returns
        -------
        logits : ndarray of shape (n_pairs,), float32
        """
        check_is_fitted(self, "network_")
        self = copy.copy(self)  # one twin, though another thread may fit anew
        items, i, j = pairs_of(X, self.preprocessor)
        store = self._store(items)
        used, rows = np.unique(np.concatenate([i, j]), return_inverse=True)
        codes = self._encode_store(store, used)
        rows_i, rows_j = rows.reshape(2, -1)
        return inference.pair_logits(self.network_, codes, codes, rows_i, rows_j).numpy()

    def predict(self, X):
        """Same or different: whether the logit reaches `threshold_`.

        Parameters
        ----------
        X : array-like of shape (n_pairs, 2, ...) or (n_pairs, 2)

        Returns
        -------
        y : ndarray of shape (n_pairs,)
            Of `classes_`.
        """
        self = copy.copy(self)  # see decision_function
        logits = self.decision_function(X)
        return self.classes_[(logits >= self.threshold_).astype(int)]

    def predict_proba(self, X):
        """p(different) and p(same), whatever the threshold.

        Parameters
        ----------
        X : array-like of shape (n_pairs, 2, ...) or (n_pairs, 2)

        Returns
        -------
        probabilities : ndarray of shape (n_pairs, 2), float32
        """
        logits = self.decision_function(X)
        return np.stack([expit(-logits), expit(logits)], axis=1)

    def calibrate_threshold(self, X, y, strategy="accuracy", *, min_rate=None, beta=1.0):
        """Set `threshold_` by pairs that were not trained on.

        Parameters
        ----------
        X, y
            Pairs of both kinds, as in `fit`.
        strategy : {"accuracy", "f_beta", "max_tpr", "max_tnr", "equal_error"}
            What is best at the threshold: accuracy; the F-beta score; the part of same pairs
            accepted, where at least `min_rate` of the different ones are rejected; the part of
            different pairs rejected, where at least `min_rate` of the same ones are accepted; or
            the difference of the two kinds of error, which is to be least.
        min_rate : float or None, default=None
            From 0 to 1, of "max_tpr" and "max_tnr".
        beta : float, default=1.0
            Of "f_beta": how much more recall counts than precision.

        Returns
        -------
        self : object

        Raises
        ------
        NotFittedError
            If there is no twin yet.
        ValueError, TypeError
            If an argument cannot be used; the threshold is then as it was.
        """
        logits = self.decision_function(X)
        same = check_same(y, len(logits))[1]
        self.threshold_ = calibrated_threshold(logits, same, strategy, min_rate, beta)
        return self

    @classmethod
    def from_classifier(cls, clf, *, preprocessor=None):
        """A verifier by the twin of a fitted classifier.

        Parameters
        ----------
        clf : SiameseOneShotClassifier
        preprocessor : as the parameter

        Returns
        -------
        verifier : SiameseVerifier
            Shares the network; fitted, with its threshold at 0.

        Raises
        ------
        TypeError
            If `clf` is something else, such as a Pipeline that ends in one.
        NotFittedError
            If it has no twin yet, or learns the kind of its images from a support and has none.

        Examples
        --------
        >>> from sksiamese import SiameseVerifier, load_pretrained
        >>> from sksiamese.datasets import load_omniglot_minimal
        >>> data = load_omniglot_minimal()
        >>> clf = load_pretrained("omniglot").set_support(data.images[:20], data.target[:20])
        >>> SiameseVerifier.from_classifier(clf).predict([data.images[:2]])
        array([1])
        """
        if not isinstance(clf, SiameseOneShotClassifier):
            raise TypeError(
                f"clf is a {type(clf).__name__}; expected a fitted SiameseOneShotClassifier, such "
                "as the estimator of a FrozenTwinClassifier, the last step of a Pipeline, or what "
                "to_classifier() of a SiameseVerifier gives."
            )
        check_is_fitted(clf, "network_")
        clf._check_adapted()
        verifier = _exchanged(clf, cls(preprocessor=preprocessor))
        verifier._adapts = False
        verifier._different, verifier.threshold_ = 0, 0.0
        return verifier

    def to_classifier(self):
        """A one-shot classifier by this verifier's twin, with a support yet to be set.

        Returns
        -------
        clf : SiameseOneShotClassifier
            Shares the network.
        """
        check_is_fitted(self, "network_")
        clf = _exchanged(self, SiameseOneShotClassifier())
        clf.support_ = None
        return clf

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = self.preprocessor is not None
        tags.input_tags.three_d_array = True
        tags.classifier_tags.multi_class = False
        return tags


def _exchanged(estimator, other):
    """`other` with those parameters that it shares with `estimator`, and all that was learned."""
    shared = other.get_params(deep=False).keys() & estimator.get_params(deep=False).keys()
    other.set_params(**{name: getattr(estimator, name) for name in shared})
    own = estimator.get_params(deep=False).keys() | {"support_", "threshold_", "_different"}
    other.__dict__.update(
        {name: value for name, value in vars(estimator).items() if name not in own}
    )
    return other
