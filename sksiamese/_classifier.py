"""SiameseOneShotClassifier: learn a twin once, then classify from one exemplar a class."""

import copy

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.special import softmax
from sklearn.base import ClassifierMixin

from ._base import TwinEstimator
from ._calibration import CalibrationMixin
from ._callbacks import with_callbacks
from ._fitting import renumbered
from ._metric import TwinMetricMixin
from ._params import check_choice, check_number
from ._persistence import PersistenceMixin
from ._support import AGGREGATIONS, SupportMixin, SupportSet
from ._validation import (
    check_groups,
    check_labels,
    check_pairs,
    check_trainable,
    is_pairs,
)
from .twin import inference


class SiameseOneShotClassifier(
    ClassifierMixin,
    SupportMixin,
    TwinMetricMixin,
    CalibrationMixin,
    PersistenceMixin,
    TwinEstimator,
):
    """One-shot classifier by a twin network.

    Train a twin once on many labelled examples of background classes; from then on each new class
    costs one exemplar and no training. A query gets the label of the support exemplar that the
    twin finds most likely to be of the same class [1]_.

    Parameters
    ----------
    encoder : {"auto", "conv", "koch", "mlp"}, nn.Module or callable, default="auto"
        What turns an image into features. "auto" is "conv", a small residual network, for images
        and "mlp" for flat rows; "koch" is the paper's. A module is copied, never trained in place;
        a callable gets the input shape, (C, H, W) or (D,), and returns a module.
    encoder_params : dict or None, default=None
        Further arguments of an encoder given by name, such as ``{"width": 48}`` of "conv".
    head : {"weighted_l1", "signed_l1", "aligned"}, default="weighted_l1"
        How two codes are compared. "weighted_l1": a bias minus a weighted L1 distance;
        "signed_l1": the paper's, whose weights may take either sign, so that it is no metric;
        "aligned": feature maps cell by cell, each cell with its best match nearby, the most
        accurate where images keep their layout, as characters do, and no metric either.
    head_params : dict or None, default=None
        Further arguments of the head, such as ``{"window": 2}`` of "aligned".
    loss : {"both", "verification", "episodic"} or callable, default="both"
        "verification" is the paper's cross-entropy on same/different, "episodic" a softmax over
        the batch's one-shot trials, "both" the second plus half the first. Pairs given to `fit`
        take the first. A callable takes ``(logits, same)``; see ``docs/extending.md``.
    distortion : {"auto", None, "affine", "warp", "strokes"} or callable, default="auto"
        Random changes of each training image. "affine" is the paper's, "warp" adds an elastic one,
        "strokes" thickness too; "auto" is "strokes" for one channel, "warp" for more, None for
        flat rows. A callable takes ``(images, generator)`` and returns images: (B, C, H, W)
        float tensors with ground 0 and ink 1.
    class_transforms : {None, "rotate", "rotate_reflect"}, default="rotate"
        Turned (and reflected) classes are new background classes. Flat rows and pairs have none.
        Take None where a turned image may be another class, as 6 and 9 are.
    image_shape : tuple or None, default=None
        What flat rows hold: (height, width), or three sizes with channels. None: rows are tables.
    channels : {"auto", "first", "last"}, default="auto"
        Where images of three axes have their channels; "auto" finds an axis of 1, 3 or 4.
    image_size : {"auto", None}, int or tuple of 2 ints, default="auto"
        Size the encoder works at: the longer side, or (height, width). "auto" brings images to 36
        pixels for "conv", larger or smaller; None leaves them.
    frame : {"image", "ink"}, default="image"
        What is brought to that size: the whole image, or a box about its ink, so that neither the
        place nor the size of a drawing counts. "ink" suits characters on plain ground.
    batch_shape : tuple of 3 ints, default=(1, 20, 2)
        Groups a step, classes of each, drawings of each class, whose pairs inside a group are all
        compared: when `fit` is given labels and `n_pairs` is None.
    n_pairs : int or None, default=None
        The paper's way to learn from labels: this many pairs are drawn once, half of them of one
        class, equally many of each group, and learned `batch_size` a step.
    batch_size : int, default=128
        Pairs a step, at most, when `fit` is given pairs or `n_pairs` says to draw them.
    max_iter : int, default=30
        Epochs; one shows about as many images as X has, or each pair once.
    n_members : int, default=1
        Twins that are trained one after another, each with a seed of its own, whose mean logit
        answers: fewer errors for as many times the cost.
    optimizer : {"adamw", "muon"}, default="adamw"
        "muon" learns more a step where most weights are those of convolutions. `net_params` takes
        any other of torch's.
    learning_rate : float, default=5e-3
        Greatest learning rate; it rises over 2 % of the steps and falls as a cosine. A skorch
        ``LRScheduler`` among the callbacks takes the place of that.
    weight_decay : float, default=0.01
        Decoupled from the loss; the paper's L2 term with ``torch.optim.SGD``.
    averaging : float, default=0.998
        Decay of the moving average of the weights, which is what predicts; 0 turns it off.
    early_stopping : bool, default=False
        Hold out background classes, whole groups if there are several, measure one-shot accuracy
        on them after each epoch, stop without improvement and restore the best weights.
    validation_fraction : float, default=0.2
        Part of the groups, or classes, held out.
    n_iter_no_change : int, default=10
        Epochs without improvement before stopping.
    aggregation : {"mean", "max", "prototype"}, default="mean"
        How several exemplars of a class make one logit: their mean or greatest logit, or the logit
        with their mean code. "max" suits many exemplars a class that do not look alike.
    unknown_label : label or None, default=None
        What `predict` says of queries that seem to be of no class in the support, whose
        `score_samples` is below `threshold_`. `fit` then holds out background classes, as for
        early stopping, and calibrates by them; see `calibrate`.
    false_acceptance : float, default=0.05
        Part of the queries of unknown classes that are to be taken for known ones all the same.
    warm_start : bool, default=False
        A further `fit` goes on training the present twin, on what it is then given; a twin that
        ships learns the kind of its images anew.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Arithmetic of training; "auto" takes bfloat16 where the processor has instructions for it.
    device : str, default="cpu"
        Where to train. The fitted network is on the CPU.
    callbacks : list of skorch callbacks or None, default=None
        Called while training; what they may monitor is train_loss and, with early stopping,
        one_shot_accuracy. For a progress bar take scikit-learn's, by ``set_callbacks``.
    net_params : dict or None, default=None
        Further arguments of the skorch net, such as ``{"optimizer": torch.optim.SGD}``.
    random_state : int, RandomState instance or None, default=None
        Decides weights, batches and distortions; no global generator is read or moved. While an
        encoder of yours trains, torch's is lent to it, seeded, and given back as it was.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels of the support. After `fit` on labels the support is the training set.
    support_ : SupportSet
        Codes and labels of the exemplars; replaced as a whole, never changed.
    network_ : TwinNetwork or, with several members, TwinEnsemble
        The trained twin, on the CPU, in evaluation mode.
    history_ : list of dict
        Of each epoch, member by member: train_loss, dur in seconds and, with early stopping,
        one_shot_accuracy.
    n_iter_ : int
        Epochs trained, of all members.
    threshold_ : float
        Least `score_samples` of a known class, once `calibrate` has learned it.
    input_shape_ : tuple
        (C, H, W) or (D,).
    n_features_in_ : int
        Numbers in one sample; feature_names_in_ has their names when X was a DataFrame.

    References
    ----------
    .. [1] G. Koch, R. Zemel, R. Salakhutdinov, "Siamese Neural Networks for One-shot Image
       Recognition", ICML Deep Learning Workshop, 2015.

    Examples
    --------
    >>> from sksiamese import SiameseOneShotClassifier
    >>> from sksiamese.datasets import make_glyphs
    >>> X, y = make_glyphs(n_classes=15, n_samples=8, random_state=0)
    >>> background, new = y < 10, y >= 10
    >>> clf = SiameseOneShotClassifier(max_iter=10, random_state=0)
    >>> clf = clf.fit(X[background], y[background])
    >>> clf = clf.set_support(X[new][::8], y[new][::8])  # one exemplar a class
    >>> clf.classes_
    array([10, 11, 12, 13, 14])
    >>> clf.predict_proba(X[new]).shape
    (40, 5)
    """

    def __init__(
        self,
        encoder="auto",
        *,
        encoder_params=None,
        head="weighted_l1",
        head_params=None,
        loss="both",
        distortion="auto",
        class_transforms="rotate",
        image_shape=None,
        channels="auto",
        image_size="auto",
        frame="image",
        batch_shape=(1, 20, 2),
        n_pairs=None,
        batch_size=128,
        max_iter=30,
        n_members=1,
        optimizer="adamw",
        learning_rate=5e-3,
        weight_decay=0.01,
        averaging=0.998,
        early_stopping=False,
        validation_fraction=0.2,
        n_iter_no_change=10,
        aggregation="mean",
        unknown_label=None,
        false_acceptance=0.05,
        warm_start=False,
        precision="auto",
        device="cpu",
        callbacks=None,
        net_params=None,
        random_state=None,
    ):
        self.encoder = encoder
        self.encoder_params = encoder_params
        self.head = head
        self.head_params = head_params
        self.loss = loss
        self.distortion = distortion
        self.class_transforms = class_transforms
        self.image_shape = image_shape
        self.channels = channels
        self.image_size = image_size
        self.frame = frame
        self.batch_shape = batch_shape
        self.n_pairs = n_pairs
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.n_members = n_members
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.averaging = averaging
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.aggregation = aggregation
        self.unknown_label = unknown_label
        self.false_acceptance = false_acceptance
        self.warm_start = warm_start
        self.precision = precision
        self.device = device
        self.callbacks = callbacks
        self.net_params = net_params
        self.random_state = random_state

    def fit(self, X, y, groups=None):
        """Learn the twin metric from background classes, or from pairs.

        Parameters
        ----------
        X : array-like of shape (n, d), (n, h, w), (n, c, h, w) or (n, h, w, c)
            Images or flat rows of any real dtype. An integer or memory-mapped array is never
            converted as a whole.
        y : array-like of shape (n,) or (n_pairs, 3)
            Class labels, or integer rows (i, j, same): whether X[i] and X[j] are of one class.
            Pairs cannot be cross-validated: folds would cut X from under the indices.
        groups : array-like of shape (n,) or None, default=None
            Group of each sample, such as its alphabet: different pairs are made inside a group.
            Only with labels.

        Returns
        -------
        self : object
            With the training set as support; after pairs, without one.

        Raises
        ------
        ValueError, TypeError, FloatingPointError
            If an argument cannot be used, or training diverges. The estimator is then as before.
        KeyboardInterrupt
            After Ctrl-C; the estimator then has the twin trained so far.
        """
        return self._fit_as_a_whole(X, y, groups)

    @with_callbacks
    def _fit(self, X, y, groups):
        self._check_params()
        check_choice(self.aggregation, "aggregation", AGGREGATIONS)
        check_number(self.false_acceptance, "false_acceptance", float, 0, 1, "neither")
        self.__dict__.pop("threshold_", None)
        store = self._begin(X)
        if y is not None and is_pairs(y, len(store)):
            pairs = check_pairs(y, len(store), groups)
            context, interrupted = self._train(store, X, y, pairs=pairs)
            self.support_ = None
        else:
            y = check_labels(y, len(store))
            classes, group_codes = check_groups(groups, y)
            check_trainable(y, classes, group_codes)
            context, interrupted = self._learn(store, X, y, classes, group_codes)
        if context is not None:
            context.call_on_fit_task_end(estimator=self, X=X, y=y, reconstruction_attributes={})
        return interrupted

    def _learn(self, store, X, y, classes, groups):
        """Train on labels; with `unknown_label` hold classes out, and calibrate by them."""
        kept = held = None
        if self.unknown_label is not None:
            self._check_unknown_label(np.unique(y))
            seed = int(self._rng().randint(2**31 - 1))
            kept, held, _ = self._hold_out(classes, groups, seed, "unknown_label")
        background = {"classes": classes, "groups": groups, "kept": kept}
        context, interrupted = self._train(store, X, y, **background)
        try:
            codes = inference.encode(self.network_, store)
            self.support_ = SupportSet(codes, y)
            if held is not None:
                self._calibrate(codes[held], *renumbered(classes, groups, held))
        except KeyboardInterrupt:
            self.support_, interrupted = None, True
        return context, interrupted

    def _attributes_so_far(self, store, y, members, net):
        so_far = super()._attributes_so_far(store, y, members, net)
        support = None
        if np.ndim(y) == 1:
            support = SupportSet(inference.encode(so_far["network_"], store), y)
        # Whatever the unknown label, nothing is calibrated yet.
        return {**so_far, "support_": support, "threshold_": -np.inf}

    def _class_logits(self, X):
        self = copy.copy(self)  # one twin and its support, though another thread may fit anew
        support = self._require_support()
        logits = support.class_logits(self.network_, self._encode(X), self.aggregation)
        return logits, support.classes

    def decision_function(self, X):
        """Twin logit of each query with each class of the support.

        Parameters
        ----------
        X : array-like of shape (n_queries, ...)

        Returns
        -------
        logits : ndarray of shape (n_queries, n_classes), float32
            log-odds that query and class match; for two classes (n_queries,), the second minus
            the first.
        """
        logits, classes = self._class_logits(X)
        return logits[:, 1] - logits[:, 0] if len(classes) == 2 else logits

    def predict(self, X):
        """Label of the best matching class: argmax of the logits, never of saturated sigmoids.

        With `unknown_label`, that where `score_samples` does not reach `threshold_`.

        Parameters
        ----------
        X : array-like of shape (n_queries, ...)

        Returns
        -------
        y : ndarray of shape (n_queries,)
        """
        self = copy.copy(self)  # one twin and its threshold, though another thread may fit anew
        return self._labels_of(*self._class_logits(X))

    def predict_proba(self, X):
        """Posterior that each class, and none of the others, matches: softmax of the logits.

        Parameters
        ----------
        X : array-like of shape (n_queries, ...)

        Returns
        -------
        probabilities : ndarray of shape (n_queries, n_classes), float32
        """
        return softmax(self._class_logits(X)[0], axis=1)

    def match(self, X):
        """Labels of the best one-to-one assignment: each query to a class of its own.

        For who knows that no class comes twice: parts to slots, drawings to an alphabet. The
        answers depend on each other, so that accuracy is not to be compared with `predict`'s.

        Parameters
        ----------
        X : array-like of shape (n_queries, ...)
            No more queries than classes.

        Returns
        -------
        y : ndarray of shape (n_queries,)
            Different labels, whose logits have the greatest sum.

        Raises
        ------
        ValueError
            If there are more queries than classes.
        """
        logits, classes = self._class_logits(X)
        if len(logits) > len(classes):
            raise ValueError(
                f"X has {len(logits)} queries, and the support only {len(classes)} classes: match "
                "gives each query a class of its own. Give fewer queries, or use predict."
            )
        return classes[linear_sum_assignment(logits, maximize=True)[1]]
