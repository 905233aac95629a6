"""SiameseOneShotClassifier: learn a metric once, then classify from one exemplar per class."""

from __future__ import annotations

from dataclasses import replace
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment
from scipy.special import expit, softmax
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)

from ._base import (
    FittedAttribute,
    accuracy,
    adapted,
    calibrate_on,
    calibration_rate,
    change_support,
    check_classifier_params,
    check_groups_arrived,
    check_search,
    checked_params,
    clear_support,
    embed,
    embed_both,
    extend_support,
    fitted_of,
    learn_watched,
    n_features_out_of,
    network_of,
    prediction_set,
    raise_if_interrupted,
    read_training,
    shrink_support,
    supported,
    transformed,
)
from ._callbacks import CallbackSupportMixin, with_callbacks
from ._fitted import Fitted
from ._onnx import write_onnx
from ._params import check_n_neighbors
from ._persistence import read_fitted, write_fitted
from ._start import start_of
from ._support import SupportSet
from ._training_data import training_data
from ._validation import check_one_to_one, check_same_length, labels_to_remove


class SiameseOneShotClassifier(
    CallbackSupportMixin,
    ClassNamePrefixFeaturesOutMixin,
    ClassifierMixin,
    TransformerMixin,
    BaseEstimator,
):
    """One-shot classifier by a twin (Siamese) network.

    `fit` learns from many labelled examples whether two images are of the same class. From then
    on each new class needs one exemplar and no training: `set_support` takes the exemplars, and
    `predict` returns the label of the exemplar that the network finds most likely to be of the
    same class as the query [1]_.

    Parameters
    ----------
    encoder : {"auto", "conv", "conv1d", "hog", "koch", "mlp"}, torch.nn.Module, callable or \
            tuple, default="auto"
        Network that turns an image into features. "conv" is a small residual network, "koch" the
        network of the paper, "mlp" a perceptron for flat rows, "conv1d" convolutions at several
        time scales for series, "hog" histograms of oriented gradients, which train nothing; "auto"
        is "conv" for images and "mlp" for flat rows. A module is copied and never trained in
        place; the statistics of its batch normalisation stay as they are, and parts of it whose
        parameters do not train stay in evaluation mode. If none of it trains, `fit` encodes X
        once, unless `augmentation` is given. A callable takes the input shape, (C, H, W) or (D,),
        and returns a module, whose batch normalisation is trained. A tuple makes several
        networks, whose mean logit is used; `encoder_params`, `head` and `head_params` are then
        tuples of the same length, or hold for all of them.
    encoder_params : dict, tuple or None, default=None
        Further arguments of an encoder given by name, such as ``{"width": 48}`` for "conv".
    head : {"whitened", "weighted_l1", "signed_l1", "aligned", "cosine"} or tuple, \
            default="whitened"
        How two embeddings are compared; ``docs/defaults.md`` has a comparison. "whitened": the
        cosine of features whose scatter within the training classes is made white, in closed form,
        once the encoder is trained; the most accurate on most kinds of data. A frozen encoder is
        not trained at all. Of fewer than three training classes with two samples nothing is
        learned, and the cosine remains. With `weights` or `warm_start`, what the head made before
        is whitened, so that a few classes change it a little. "weighted_l1": a bias minus a
        weighted L1 distance; better for rows of few features, of which a cosine keeps the
        direction only. "signed_l1": the head of the paper, whose weights may have either sign, so
        that it is not a metric. "aligned": feature maps cell by cell, each cell with its best
        match nearby; suits images that keep their layout, such as characters, and is not a metric.
        "cosine": the cosine of weighted features.
    head_params : dict, tuple or None, default=None
        Further arguments of the head, such as ``{"window": 2}`` for "aligned", or
        ``{"n_components": 256}`` for "whitened": only so many directions of the whitened features,
        those in which training samples differ most, are kept.
    loss : {"both", "verification", "episodic"} or callable, default="both"
        "verification": the paper's cross-entropy on same/different pairs. "episodic": a softmax
        over the one-shot trials inside a batch. "both": the second plus half the first. Pairs
        that `fit` is given, or that `n_pairs` draws, always use "verification". A callable takes
        ``(logits, same)``.
    augmentation : str, callable or None, default="auto"
        Random changes of training images. "affine": the affine distortions of the paper; "warp"
        adds elastic ones; "strokes" also changes the stroke thickness; "real_files" also does what
        paper, cameras and files do to drawings: shade, shadows, ruled lines, blur, noise, JPEG.
        "series" warps, shifts and scales series. "auto": "strokes" for one channel, "warp" for
        more, "series" for ``encoder="conv1d"``, None for flat rows. A callable takes
        ``(images, generator)``, (B, C, H, W) float tensors with background 0 and foreground 1, and
        returns images; see `sksiamese.augmentation`.
    class_augmentation : {"auto", None, "rotate", "rotate_reflect"}, default="auto"
        Use turned (and reflected) images as further training classes. Images are compared with
        others that are turned in the same way only, so 6 and 9 remain two classes. No effect on
        flat rows and pairs. "auto": "rotate_reflect" where images are cropped to their foreground,
        otherwise None.
    image_shape : tuple of int or None, default=None
        Shape of the image in a flat row: (height, width), or three sizes with channels. None:
        rows are features.
    channels : {"auto", "first", "last"}, default="auto"
        Position of the channel axis in images of three axes, and in series of two. "auto" finds
        an axis of 1, 3 or 4 in images, and takes the first in series.
    normalization : {"auto", "foreground", "imagenet", None} or tuple, default="auto"
        What pixels are brought to. "foreground": background 0 and foreground 1, as suits drawings
        on paper. "imagenet": the mean and the standard deviation of ImageNet's pixels, as most
        networks that were trained on photographs expect. (mean, std): these, for pixels from 0
        to 1, one number or one of each channel. None: images are taken as they are. "auto": the
        mean and std that an encoder given as a module carries in attributes of these names or,
        as timm has it, in `pretrained_cfg`; or those, of the usual ones, for which images like X
        agree best with the statistics of its batch normalisation; otherwise "foreground". Images
        of one channel become three equal ones if the module's first convolution takes three. Flat
        rows are standardised with "auto" and "foreground".
    resize : {"auto", None}, int or tuple of 2 ints, default="auto"
        Size in pixels that images are resized to: the longer side, or (height, width). "auto": 36
        for the "conv" encoder, otherwise None, which keeps the size. Smaller images are enlarged
        to at most 512 pixels a side.
    crop : {"auto", "foreground", None}, default="auto"
        Part of the image that is resized. "foreground": a box around the foreground, so that
        position and size of a drawing do not matter; suits drawings on paper. Before, uneven
        light is divided out by the local background, and ruled lines, dark page edges and specks
        are taken out; drawings on even paper, and photographs, are left as they are. None: the
        whole image. "auto": "foreground" if most of X are drawings on paper of at least 24 pixels
        a side, unless the encoder is a module or `normalization` is other than "auto" and
        "foreground"; otherwise None. With `weights` and `warm_start`, as it was decided before.
    batch_size : "auto", int or tuple of 3 ints, default="auto"
        Size of a training step. (groups, classes, samples): number of groups, of classes per
        group and of samples per class; all pairs inside a group are compared. An int: number of
        pairs, if `fit` is given pairs or `n_pairs` is set. "auto": (1, 20, 4), or 128 pairs.
    n_pairs : int or None, default=None
        If an int, learn from labels as the paper does: draw this many pairs once, half of them of
        one class, equally many from each group. None: compare all pairs inside each batch.
    max_iter : int, default=30
        Number of epochs. An epoch shows about as many images as X has, or each pair once. 0, with
        `weights`, sets the support without training.
    n_estimators : int, default=1
        Number of networks, trained one after another with different seeds. Predictions use their
        mean logit. Training and prediction cost `n_estimators` times as much.
    optimizer : {"muon", "adamw", "adam", "sgd"} or type, default="muon"
        "muon" makes the steps of matrices orthogonal, and often needs fewer of them than "adamw".
        A type is a subclass of ``torch.optim.Optimizer``.
    optimizer_params : dict or None, default=None
        Further arguments of the optimizer, such as ``{"momentum": 0.9}``. ``"param_groups"`` is a
        list of (pattern of parameter names, dict of arguments).
    learning_rate : float, default=4e-3
        Greatest learning rate. It rises over 2 % of the steps and falls as a cosine. A skorch
        ``LRScheduler`` in `callbacks` replaces this schedule.
    weight_decay : float, default=0.01
        Weight decay of the optimizer; with "sgd" and "adam", the L2 term of the paper.
    ema_decay : float, default=0.998
        Decay of the exponential moving average of the weights, which predictions use. 0 turns
        averaging off.
    early_stopping : bool, default=False
        If True, hold out some training classes, whole groups if there are several, measure
        one-shot accuracy on them after each epoch, stop when it no longer improves and restore
        the best weights.
    validation_fraction : float, default=0.2
        Fraction of the groups, or of the classes, to hold out.
    n_iter_no_change : int, default=10
        Number of epochs without improvement before training stops.
    aggregation : {"mean", "max", "prototype"}, default="prototype"
        How several exemplars of a class make one logit: the mean or maximum of their logits, or
        the logit with the mean of their embeddings. "max" suits many dissimilar exemplars.
    search : {"auto", "faiss"}, default="auto"
        How the exemplars most like a query are found among many. "auto": by a product of matrices
        with all of them. "faiss", for 100,000 and more: by an approximate index, which looks at an
        eighth of them, so that a few answers differ; it needs
        ``pip install 'sksiamese[faiss]'``. See ``docs/galleries.md``.
    unknown_label : label or None, default=None
        Label that `predict` returns for queries that seem to be of no class in the support, those
        whose `score_samples` is below `rejection_threshold_`. If given, `fit` holds out some
        training classes, as for early stopping, and calibrates on them; see `calibrate`.
        Probabilities and logits have no column for it, so that tools which combine these, such as
        ``VotingClassifier(voting="soft")``, reject nothing; see ``docs/pretrained.md``.
    false_acceptance_rate : float, default=0.05
        Target false-acceptance rate: the fraction of queries from classes outside the support
        that `predict` should accept.
    weights : "symbols", "omniglot", str, path-like or None, default=None
        Weights that training starts from: the name of a pretrained network, or the path of a file
        that `save` wrote. `encoder`, `head` and their arguments must be those of that network,
        as in the estimator that `load_pretrained` or `load` returns. The input scaling is
        estimated from X. Network number n of `n_estimators` starts from network number n of the
        file; where the file has fewer, they are used again, with other seeds. None: weights
        drawn at random.
    warm_start : bool, default=False
        If True, `fit` continues from the current weights and keeps the input scaling, instead of
        starting anew.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Arithmetic of training, and of ``encoder="conv"`` in prediction; embeddings are float32.
        "auto": bfloat16 where the processor has instructions for it, so that logits differ by
        about 0.01 between processors. ``set_params(precision="float32")`` also changes a fitted
        estimator. Training is always in float32 where a stride is longer than a side of a map,
        as of images below 5 pixels.
    device : str, default="cpu"
        Torch device of training and prediction. `network_` stays on the CPU. On a machine
        without the device, call ``set_params(device="cpu")`` before predicting. "accelerate": the
        device that accelerate gives this process. In a script that ``accelerate launch`` starts in
        several processes, `fit` trains one network in all of them, and each has the result.
    callbacks : list of skorch callbacks or None, default=None
        Called during training. They may monitor "train_loss" and, with early stopping,
        "one_shot_accuracy"; another name is an error before training, unless a callback of yours
        may record it. See `sksiamese.callbacks`.
    net_params : dict or None, default=None
        Further arguments of the skorch net, such as ``{"callbacks__clip": None}``.
    checkpoint_dir : str, path-like or None, default=None
        Folder in which `fit` keeps checkpoints, made if it does not exist. `fit` called again
        with the same parameters and data, after the process was killed, goes on from the last
        one and ends with the weights of an uninterrupted fit, bit for bit; after the end of
        training it returns at once. A folder is for one fit: another one there is an error.
        ``docs/checkpoints.md`` has what is compared and what is kept.
    checkpoint_minutes : float or None, default=None
        Keep a checkpoint also inside an epoch whenever so many minutes have passed since the last
        one. None: one at the end of each epoch.
    memory : str, path-like, object with the joblib.Memory interface or None, default=None
        Caches the features of an encoder that does not train, so that a further `fit` on the same
        X, as in a grid search over parameters of the head, does not run it. None: no caching.
    verbose : int, default=0
        1 shows a progress bar with the training loss.
    random_state : int, RandomState instance or None, default=None
        Determines initial weights, batches and augmentation. No global random generator is read
        or changed. While an encoder given as a module or callable is trained, torch's generator is
        seeded, and restored afterwards.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels of the support, sorted. After `fit` on labels the support is the training set.
    support_ : SupportSet
        Embeddings and labels of the exemplars.
    network_ : torch.nn.Module
        The trained network, in evaluation mode on the CPU. It takes scaled images.
    history_ : list of list of dict
        For each network a list with one dict per epoch: train_loss, dur in seconds and, with early
        stopping, one_shot_accuracy. Empty for a network that is known in closed form.
    n_iter_ : int
        Number of epochs of the network that was trained longest.
    held_out_classes_ : ndarray of shape (n_held_out_classes,)
        Labels of the classes that early stopping and calibration held out, without those that
        also occur in a group used in training. Present if classes were held out.
    held_out_groups_ : ndarray of shape (n_held_out_groups,)
        Groups that early stopping and calibration held out. Present if groups were held out.
    rejection_threshold_ : float
        `score_samples` below which `predict` returns `unknown_label`. Present after calibration.
    input_shape_ : tuple of int
        Shape of one sample: (C, H, W), (channels, length) of series, or (D,).
    n_features_in_ : int
        Number of values in one sample.
    feature_names_in_ : ndarray of shape (n_features,), object
        Names of the columns of X in `fit`. Present if X had only string column names.
    fitted_ : Fitted
        Everything that was learned, as one immutable value.

    See Also
    --------
    SiameseVerifier : Decides whether the two images of a pair are of the same class.
    FrozenTwinClassifier : Makes `fit` set the support, for cross-validation over support sets.
    load_pretrained : Loads a pretrained network.

    References
    ----------
    .. [1] G. Koch, R. Zemel, R. Salakhutdinov, "Siamese Neural Networks for One-shot Image
       Recognition", ICML Deep Learning Workshop, 2015.

    Examples
    --------
    >>> from sksiamese import SiameseOneShotClassifier
    >>> from sksiamese.datasets import make_glyphs
    >>> X, y = make_glyphs(n_classes=15, n_samples=8, random_state=0)
    >>> training, new = y < 10, y >= 10
    >>> clf = SiameseOneShotClassifier(max_iter=10, random_state=0)
    >>> clf = clf.fit(X[training], y[training])
    >>> clf = clf.set_support(X[new][::8], y[new][::8])  # one exemplar per class
    >>> clf.classes_
    array([10, 11, 12, 13, 14])
    >>> clf.predict_proba(X[new]).shape
    (40, 5)
    >>> clf.decision_function(X[new]).shape  # a logit for each class
    (40, 5)
    >>> clf.score(X[new], y[new]) > 0.8
    True
    >>> distances, exemplars = clf.kneighbors(X[new], n_neighbors=2)
    >>> clf.match(X[new][1::8]).shape  # each query is of a different class
    (5,)
    >>> clf.score_samples(X[new]).shape  # how likely each is of any of the classes
    (40,)
    >>> clf.similarity(X[:4], X[4:6]).shape  # logits of all pairs, without the support
    (4, 2)
    >>> clf.pair_proba(X[:4], X[4:8]).shape  # probability of the same class, row by row
    (4,)
    >>> clf = clf.clear_support()
    """

    # What was learned is read from `fitted_`, which is replaced in one assignment.
    fitted_: Fitted
    network_ = FittedAttribute(network_of)
    history_ = FittedAttribute(lambda fitted: list(map(list, fitted.history)))
    n_iter_ = FittedAttribute(lambda fitted: max(map(len, fitted.history), default=0))
    held_out_classes_ = FittedAttribute(lambda fitted: fitted.held_out_classes)
    held_out_groups_ = FittedAttribute(lambda fitted: fitted.held_out_groups)
    input_shape_ = FittedAttribute(lambda fitted: fitted.input_shape)
    n_features_in_ = FittedAttribute(lambda fitted: fitted.n_features_in)
    feature_names_in_ = FittedAttribute(lambda fitted: fitted.feature_names)
    support_ = FittedAttribute(lambda fitted: fitted.support)
    classes_ = FittedAttribute(lambda fitted: fitted.support.classes if fitted.support else None)
    rejection_threshold_ = FittedAttribute(lambda fitted: fitted.rejection_threshold)
    # By which scikit-learn names the features that `transform` returns.
    _n_features_out = FittedAttribute(n_features_out_of)

    def __init__(
        self,
        encoder: Any = "auto",
        *,
        encoder_params: dict[str, Any] | None = None,
        head: Any = "whitened",
        head_params: dict[str, Any] | None = None,
        loss: Any = "both",
        augmentation: Any = "auto",
        class_augmentation: str | None = "auto",
        image_shape: tuple[int, ...] | None = None,
        channels: str = "auto",
        normalization: Any = "auto",
        resize: Any = "auto",
        crop: str | None = "auto",
        batch_size: Any = "auto",
        n_pairs: int | None = None,
        max_iter: int = 30,
        n_estimators: int = 1,
        optimizer: Any = "muon",
        optimizer_params: dict[str, Any] | None = None,
        learning_rate: float = 4e-3,
        weight_decay: float = 0.01,
        ema_decay: float = 0.998,
        early_stopping: bool = False,
        validation_fraction: float = 0.2,
        n_iter_no_change: int = 10,
        aggregation: str = "prototype",
        search: str = "auto",
        unknown_label: Any = None,
        false_acceptance_rate: float = 0.05,
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
        self.encoder_params = encoder_params
        self.head = head
        self.head_params = head_params
        self.loss = loss
        self.augmentation = augmentation
        self.class_augmentation = class_augmentation
        self.image_shape = image_shape
        self.channels = channels
        self.normalization = normalization
        self.resize = resize
        self.crop = crop
        self.batch_size = batch_size
        self.n_pairs = n_pairs
        self.max_iter = max_iter
        self.n_estimators = n_estimators
        self.optimizer = optimizer
        self.optimizer_params = optimizer_params
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.ema_decay = ema_decay
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.aggregation = aggregation
        self.search = search
        self.unknown_label = unknown_label
        self.false_acceptance_rate = false_acceptance_rate
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
    def fit(
        self, X: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None
    ) -> SiameseOneShotClassifier:
        """Learn the metric from labelled samples, or from pairs.

        Parameters
        ----------
        X : array-like of shape (n, d), (n, h, w), (n, c, h, w) or (n, h, w, c)
            Training images or flat rows, or series with ``encoder="conv1d"``, (n, length) or
            (n, channels, length), of any real dtype. Integer and memory-mapped arrays are
            never converted as a whole. `fit` detects the polarity (dark on light or light on
            dark); images passed to `predict` must have the same polarity and value range. Lists of
            Pillow images are taken too, as `load_images` reads files. Other encoders take
            (n, channels, length) for pictures.
        y : array-like of shape (n,) or (n_pairs, 3)
            Class labels; or integer rows (i, j, same), where same is 1 if X[i] and X[j] are of the
            same class and 0 otherwise. Pairs cannot be cross-validated, because folds would
            invalidate the indices.
        groups : array-like of shape (n,) or None, default=None
            Group of each sample, such as its alphabet. Different pairs are drawn inside a group,
            and a label that occurs in two groups is two classes. Only with labels. In
            ``cross_val_score`` and ``GridSearchCV``, ``groups=`` alone goes to the splitter and
            not here; see ``docs/cross_validation.md``.

        Returns
        -------
        self : SiameseOneShotClassifier
            The fitted estimator. Its support is the training set, which is embedded when it is
            first used; after pairs it has none.

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
        ImportError
            If ``search="faiss"`` and faiss is not installed. The estimator is then unchanged.
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
        DuplicateExemplarWarning
            If the same image has two labels.

        See Also
        --------
        set_support : Replace the classes without training.

        Examples
        --------
        >>> from sksiamese import SiameseOneShotClassifier
        >>> from sksiamese.datasets import make_glyphs
        >>> X, y = make_glyphs(n_classes=5, n_samples=4, random_state=0)
        >>> SiameseOneShotClassifier(max_iter=2, random_state=0).fit(X, y).n_iter_
        2
        """
        params = checked_params(self)
        check_search(self.search)
        check_groups_arrived(self, groups)
        start = start_of(self, params)
        store, names = read_training(self, X, start)
        data = training_data(store, y, groups)
        rate = calibration_rate(self, data)
        self.fitted_, stopped = learn_watched(self, X, y, params, data, names, start, rate)
        raise_if_interrupted(stopped)
        return self

    def set_support(
        self, X: ArrayLike, y: ArrayLike, embedded: bool = False
    ) -> SiameseOneShotClassifier:
        """Replace the support by these exemplars.

        A pretrained network also estimates its input scaling from X: size, background level and
        polarity. Later images must match them.

        Parameters
        ----------
        X : array-like of shape (n_exemplars, ...)
            One or more exemplars of each class, of the shape seen in `fit`.
        y : array-like of shape (n_exemplars,)
            Class labels of the exemplars, of any dtype.
        embedded : bool, default=False
            If True, X are embeddings that `transform` returned, (n_exemplars, n_features_out), for
            instance a memory map; they are not copied. Queries are scaled as before, and copies
            of one image with two labels are not looked for.

        Returns
        -------
        self : SiameseOneShotClassifier
            The estimator, whose `classes_` are the labels in y.

        Raises
        ------
        ValueRangeError
            If images are in different units, such as 0..1 and 0..255. The support is then
            unchanged.
        InvertedImageError
            If some images are dark on light and others light on dark, with
            ``crop="foreground"``.
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
        add_support : Keep the present exemplars.

        Examples
        --------
        >>> from sksiamese import load_pretrained
        >>> from sksiamese.datasets import load_omniglot_minimal
        >>> run = load_omniglot_minimal().runs[0]
        >>> clf = load_pretrained("omniglot")
        >>> clf = clf.set_support(run.support_images, run.support_labels)
        >>> len(clf.classes_)
        20
        """
        change_support(self, X, y, embedded=embedded)
        return self

    def add_support(
        self, X: ArrayLike, y: ArrayLike, embedded: bool = False
    ) -> SiameseOneShotClassifier:
        """Add exemplars of known or new classes to the support.

        The present exemplars are not embedded again.

        Parameters
        ----------
        X : array-like of shape (n_exemplars, ...)
            Exemplars, of the shape seen in `fit`.
        y : array-like of shape (n_exemplars,)
            Class labels of the exemplars, of the type of the present labels.
        embedded : bool, default=False
            If True, X are embeddings; see `set_support`.

        Returns
        -------
        self : SiameseOneShotClassifier
            The estimator.

        Raises
        ------
        ValueRangeError
            If images are in other units, such as 0..1 instead of 0..255.
        InvertedImageError
            If images are of another polarity than those known, with
            ``crop="foreground"``.
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
        >>> from sksiamese import load_pretrained
        >>> from sksiamese.datasets import make_glyphs
        >>> X, y = make_glyphs(n_classes=3, n_samples=1, random_state=0)
        >>> clf = load_pretrained("omniglot").set_support(X[:2], y[:2])
        >>> clf.add_support(X[2:], y[2:]).classes_
        array([0, 1, 2])
        """
        extend_support(self, X, y, embedded=embedded)
        return self

    def remove_support(self, labels: Any) -> SiameseOneShotClassifier:
        """Remove all exemplars of one or several classes from the support.

        Parameters
        ----------
        labels : label, array-like of shape (n_labels,) or set
            Classes to remove.

        Returns
        -------
        self : SiameseOneShotClassifier
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
        >>> from sksiamese import load_pretrained
        >>> from sksiamese.datasets import make_glyphs
        >>> X, y = make_glyphs(n_classes=3, n_samples=1, random_state=0)
        >>> clf = load_pretrained("omniglot").set_support(X, y)
        >>> clf.remove_support(1).classes_
        array([0, 2])
        """
        shrink_support(self, labels_to_remove(labels))
        return self

    def clear_support(self) -> SiameseOneShotClassifier:
        """Remove all exemplars; what was trained and calibrated stays.

        Returns
        -------
        self : SiameseOneShotClassifier
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
    ) -> SiameseOneShotClassifier:
        """Calibrate the logits, the rejection of unknown classes, and prediction sets.

        X and y should contain classes not used in training, because the network is overconfident
        on training classes. If `unknown_label` is given, `fit` calibrates by itself, on classes
        that it holds out.

        Slope and intercept of the logits are fitted by logistic regression on pairs, half of
        which are of the same class [1]_, so that `pair_proba` is the frequency of the same class
        among such pairs. `rejection_threshold_` is the score (see `score_samples`) that a fraction
        `false_acceptance_rate` of the queries of unknown classes reach, in one-shot trials of 20
        classes, or of as many as the smallest group has. `predict_set` uses the scores of one
        query of each class with another sample of its class.

        The calibration of a pretrained network is kept in part, because a few classes are of one
        kind, and classes to come may be of others: slope, intercept and threshold are means of
        what X tells and what the network came with, with weights n and 40 for n classes.

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
        self : SiameseOneShotClassifier
            The calibrated estimator, with its support unchanged.

        Raises
        ------
        ValueRangeError
            If images are in other units, such as 0..1 instead of 0..255.
        InvertedImageError
            If images are of another polarity than those known, with
            ``crop="foreground"``.
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If an argument cannot be used, or the network cannot tell these classes apart. The
            estimator is then unchanged.

        Warns
        -----
        BlankImageWarning
            If images have no foreground.

        See Also
        --------
        score_samples : The score that the threshold applies to.
        predict_set : Sets of classes that contain the right one with a given probability.

        References
        ----------
        .. [1] J. Platt, "Probabilistic outputs for support vector machines", 1999.

        Examples
        --------
        >>> from sksiamese import load_pretrained
        >>> from sksiamese.datasets import make_glyphs
        >>> X, y = make_glyphs(n_classes=12, n_samples=4, random_state=0)
        >>> clf = load_pretrained("omniglot").calibrate(X, y)
        >>> clf.set_params(unknown_label=-1).set_support(X[::4][:5], y[::4][:5]).predict(X[-4:])
        array([-1, -1, -1, -1])
        """
        calibrate_on(self, X, y, groups)
        return self

    def predict(
        self, X: ArrayLike, return_logits: bool = False, exact: bool = False
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Predict the class labels for the provided data.

        The label is that of the greatest logit. With `unknown_label`, it is that label where
        `score_samples` is below `rejection_threshold_`.

        Parameters
        ----------
        X : array-like of shape (n_queries, ...)
            Queries, of the shape seen in `fit`.
        return_logits : bool, default=False
            If True, also return the logits, from the same embeddings.
        exact : bool, default=False
            If True, compare each query with all exemplars. Otherwise, in a support of 2,000
            classes or more, only the 50 whose embeddings have the greatest dot products with
            that of the query: large supports are much faster, and the answer is seldom another
            one. Heads with L1 distances, and ``aggregation="mean"`` of several exemplars, always
            compare all.

        Returns
        -------
        y : ndarray of shape (n_queries,)
            Class label of each query.
        logits : ndarray of shape (n_queries, n_classes), float32
            Log-odds that query and class match. Only returned if `return_logits` is True.

        Raises
        ------
        ValueRangeError
            If images are in other units, such as 0..1 instead of 0..255.
        InvertedImageError
            If images are of another polarity than those known, with
            ``crop="foreground"``.
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
        >>> from sksiamese import load_pretrained
        >>> from sksiamese.datasets import load_omniglot_minimal
        >>> run = load_omniglot_minimal().runs[0]
        >>> clf = load_pretrained("omniglot")
        >>> clf = clf.set_support(run.support_images, run.support_labels)
        >>> labels, logits = clf.predict(run.query_images, return_logits=True)
        >>> labels.shape, logits.shape
        ((20,), (20, 20))
        """
        fitted = supported(self)
        queries = embed(self, X, fitted)
        logits = fitted.class_logits(queries, self.aggregation) if return_logits else None
        labels = fitted.labels(
            queries, self.aggregation, self.unknown_label, logits=logits, exact=exact
        )
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
        """Return probability estimates for the provided data.

        They are the softmax of the logits: the probability that the query matches this class,
        given that it matches exactly one class of the support.

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

        A class is in the set unless its score is lower than nearly all that queries had with their
        own class in `calibrate` (split conformal prediction [1]_). If a query's class is in the
        support, by one exemplar, then the set contains it with a probability of at least
        `coverage`. This holds on average over classes, and assumes that they are exchangeable with
        those of `calibrate`: as if both had been drawn from the same classes, which the network
        was not trained on. An empty set means that the query is like no class.

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

        References
        ----------
        .. [1] V. Vovk, A. Gammerman, G. Shafer, "Algorithmic Learning in a Random World", 2005.

        Examples
        --------
        >>> from sksiamese import load_pretrained
        >>> from sksiamese.datasets import make_glyphs
        >>> X, y = make_glyphs(n_classes=30, n_samples=4, random_state=0)
        >>> clf = load_pretrained("omniglot").calibrate(X[y < 20], y[y < 20])
        >>> clf = clf.set_support(X[y >= 20][::4], y[y >= 20][::4])
        >>> clf.predict_set(X[-3:], coverage=0.9).shape
        (3, 10)
        """
        return prediction_set(self, X, coverage)

    def score_samples(self, X: ArrayLike, exact: bool = False) -> np.ndarray:
        """Return how likely each query is of some class in the support.

        The score is ``max_k score_k - log(n_classes)``. The second term is a union-bound
        correction: a fixed threshold then keeps its false-acceptance rate roughly independent of
        the number of classes.

        ``score_k`` is the logit of class k, if `fit` was given fewer than 100 classes. Otherwise
        `fit` learns, by ridge regression on the embeddings of one sample of each of up to 1,000
        training classes, the mean logit of a sample with the 2 % of other classes that it is most
        like. The mean of this value for query and class is subtracted from their logit. Simple
        drawings, which are like many others, are then rejected as often as elaborate ones [1]_.

        Parameters
        ----------
        X : array-like of shape (n_queries, ...)
            Queries, of the shape seen in `fit`.
        exact : bool, default=False
            See `predict`.

        Returns
        -------
        scores : ndarray of shape (n_queries,), float32
            With `unknown_label`, `predict` rejects queries below `rejection_threshold_`.

        References
        ----------
        .. [1] P. Matejka et al., "Analysis of score normalization in multilingual speaker
           recognition", Interspeech 2017.
        """
        fitted = supported(self)
        return fitted.scores(embed(self, X, fitted), self.aggregation, exact)

    def match(self, X: ArrayLike) -> np.ndarray:
        """Predict labels by the best one-to-one assignment of queries to classes.

        Use it if no class occurs twice among the queries: parts to slots, drawings to an alphabet.
        The labels depend on each other, so the accuracy cannot be compared with that of `predict`.

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
        self,
        X: ArrayLike,
        n_neighbors: int = 5,
        return_distance: bool = True,
        exact: bool = False,
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Find the nearest exemplars of the support.

        Parameters
        ----------
        X : array-like of shape (n_queries, ...)
            Queries, of the shape seen in `fit`.
        n_neighbors : int, default=5
            Number of exemplars for each query.
        return_distance : bool, default=True
            Whether to return the distances.
        exact : bool, default=False
            See `predict`: of a large support, at least 50 and twice `n_neighbors` are compared.

        Returns
        -------
        distances : ndarray of shape (n_queries, n_neighbors), float32
            Logit of a perfect match minus the logit of the pair, without calibration; nearest
            first. They are proportional to the cosine distance of embeddings with the
            default head, and a metric with "weighted_l1".
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
        distances, indices = fitted.support.kneighbors(
            fitted.comparer, queries, n_neighbors, exact
        )
        return (distances, indices) if return_distance else indices

    def transform(self, X: ArrayLike) -> np.ndarray:
        """Embed the samples.

        With the default head embeddings have length 1, and their cosine orders samples as the
        logit does; with "weighted_l1" their L1 distance does. Use it with nearest neighbours, UMAP
        or faiss. With several networks this holds for "weighted_l1" alone.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Images or rows, of the shape seen in `fit`.

        Returns
        -------
        embeddings : ndarray of shape (n, n_features_out), float32
            Embeddings; feature maps are flattened.

        Raises
        ------
        ValueRangeError
            If images are in other units, such as 0..1 instead of 0..255.
        InvertedImageError
            If images are of another polarity than those known, with
            ``crop="foreground"``.
        NotFittedError
            If the estimator is not fitted, or is pretrained and has no support yet.
        ValueError
            If X cannot be used.

        Warns
        -----
        BlankImageWarning
            If images have no foreground.

        See Also
        --------
        similarity : Logits of all pairs, for any head.

        Examples
        --------
        >>> from sksiamese import SiameseOneShotClassifier
        >>> from sksiamese.datasets import make_glyphs
        >>> X, y = make_glyphs(n_classes=5, n_samples=4, random_state=0)
        >>> clf = SiameseOneShotClassifier(max_iter=2, random_state=0).fit(X, y)
        >>> clf.transform(X).shape
        (20, 1152)
        """
        return transformed(self, X, fitted_of(self))

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
            Log-odds that two samples are of the same class; ``scipy.special.expit`` gives the
            probability.
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
        """Embed X once and return a function that scores one-shot trials made of its rows.

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

        Examples
        --------
        >>> import numpy as np
        >>> from sksiamese import load_pretrained
        >>> from sksiamese.datasets import make_glyphs
        >>> X, y = make_glyphs(n_classes=3, n_samples=2, random_state=0)
        >>> trial = load_pretrained("omniglot").trial_function(X)
        >>> logits, classes = trial([0, 2, 4], [1, 3, 5], y[[0, 2, 4]])
        >>> classes[logits.argmax(axis=1)]
        array([0, 1, 2])
        """
        fitted, store = adapted(self, X, fitted_of(self))
        embeddings, aggregation = fitted.comparer.embed(store), self.aggregation

        def trial(support: Any, query: Any, y_support: Any) -> tuple[np.ndarray, np.ndarray]:
            own = SupportSet.of(embeddings[support], np.asarray(y_support))
            of_trial = replace(fitted, support=own)
            return of_trial.class_logits(embeddings[query], aggregation), own.classes

        return trial

    def save(self, path: str | PathLike, *, half: bool = False, support: bool = True) -> None:
        """Write the fitted estimator to a safetensors file.

        The same estimator gives the same bytes. The file holds a digest of its contents, so that
        `load` notices damage.

        Parameters
        ----------
        path : str or path-like
            File to write. It is replaced as a whole, once everything is written.
        half : bool, default=False
            If True, write weights and embeddings in half precision, at half the size. The input
            scaling and one-dimensional weights stay exact.
        support : bool, default=True
            If False, leave out the support: embeddings and labels of the exemplars.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If a parameter is a Python object that JSON cannot hold, or parameters were changed
            so that no estimator can be loaded from them and the weights.
        OSError
            If the file cannot be written. An existing file is then unchanged.

        See Also
        --------
        load : Read the file.
        export_onnx : Write ONNX graphs, to run without Python.

        Examples
        --------
        >>> import tempfile
        >>> from sksiamese import SiameseOneShotClassifier, load_pretrained
        >>> clf = load_pretrained("omniglot")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     clf.save(f"{folder}/network.safetensors")
        ...     clf = SiameseOneShotClassifier.load(f"{folder}/network.safetensors")
        """
        write_fitted(path, self, fitted_of(self), check_classifier_params, half, support)

    def export_onnx(self, path: str | PathLike) -> None:
        """Write the fitted estimator as ONNX graphs and JSON, to run without Python.

        The folder holds ``embed.onnx``, from raw samples to embeddings, ``compare.onnx``, from
        embeddings to logits, ``cells.onnx`` if a head compares cells, the embeddings of the
        support, and ``model.json``: labels, calibration, the rejection threshold and the input
        scaling, which is part of the graph. ``docs/export.md`` has the steps of a program that
        reads it.

        The graphs compute in float32. They agree with the estimator to 1e-5, with
        ``precision="float32"``, unless the estimator corrects an image: with
        ``crop="foreground"``, it takes uneven light, ruled lines and specks out first, which no
        graph does.

        Parameters
        ----------
        path : str or path-like
            Folder to write. Its parent directory must exist. The folder of an earlier export is
            replaced as a whole, once everything is written.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted. Without a support, only the network is written.
        ImportError
            If onnx or onnxscript is not installed: ``pip install 'sksiamese[onnx]'``.
        ValueError
            If torch cannot export the encoder.
        OSError
            If the folder cannot be written, or holds other files. It is then unchanged.

        See Also
        --------
        save : Write a file that `load` reads.

        Examples
        --------
        >>> import json, tempfile
        >>> from pathlib import Path
        >>> from sklearn.datasets import load_iris
        >>> from sksiamese import SiameseOneShotClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> clf = SiameseOneShotClassifier(max_iter=2, random_state=0).fit(X, y)
        >>> clf = clf.set_support(X[::50], y[::50])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     clf.export_onnx(f"{folder}/iris")
        ...     about = json.loads(Path(folder, "iris", "model.json").read_text())
        >>> about["support"]["labels"]
        [0, 1, 2]
        """
        write_onnx(path, fitted_of(self), self.aggregation, self.unknown_label)

    @classmethod
    def load(cls, path: str | PathLike, *, encoder: Any = None) -> SiameseOneShotClassifier:
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
        clf : SiameseOneShotClassifier
            The fitted estimator, with the support it was saved with.

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
        >>> from sksiamese import SiameseOneShotClassifier
        >>> clf = SiameseOneShotClassifier.load("network.safetensors")  # doctest: +SKIP
        """
        return read_fitted(path, cls, check_classifier_params, encoder)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.target_tags.one_d_labels = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags
