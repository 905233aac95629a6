"""Recipes: functions that return an unfitted estimator with every parameter visible."""

from typing import Any

import torch
from skorch.callbacks import LRScheduler

from ._classifier import SiameseOneShotClassifier
from ._learning import lent_generator
from ._params import check_bool, check_number
from ._scaling import own_statistics
from .callbacks import MomentumRamp
from .twin.encoders import build_encoder
from .twin.levels import Beside, Levels, channels_of
from .twin.statistics import is_trained

__all__ = ["keras2017", "koch", "koch2015", "omniglot", "photos"]


def omniglot(*, max_iter: int = 30, random_state: Any = None) -> SiameseOneShotClassifier:
    """Return the most accurate classifier of this package for handwritten characters.

    Its parameters were chosen on held-out alphabets of the training set; ``benchmarks/search.py``
    runs the variants that were compared.

    Parameters
    ----------
    max_iter : int, default=30
        Number of epochs.
    random_state : int, RandomState instance or None, default=None
        Determines weights, batches and augmentation.

    Returns
    -------
    clf : SiameseOneShotClassifier
        Unfitted. `fit` takes images, their labels, and alphabets as `groups`.

    See Also
    --------
    sksiamese.load_pretrained : The same network, already trained.

    Examples
    --------
    >>> from sksiamese import recipes
    >>> recipes.omniglot(random_state=0).head
    'aligned'
    """
    return SiameseOneShotClassifier(
        encoder="conv",
        encoder_params={"width": 48},
        head="aligned",
        loss="both",
        augmentation="strokes",
        class_augmentation="rotate_reflect",
        resize=40,
        crop="foreground",
        batch_size=(1, 20, 4),
        max_iter=max_iter,
        optimizer="muon",
        learning_rate=4e-3,
        weight_decay=0.01,
        ema_decay=0.998,
        random_state=random_state,
    )


def koch2015(*, n_pairs: int = 30_000, random_state: Any = None) -> SiameseOneShotClassifier:
    """Return the classifier of Koch, Zemel & Salakhutdinov 2015, sections 3 and 4.

    The paper found a learning rate, a momentum and an L2 weight for each layer by Bayesian search
    and did not print them. The values here are ours, and so are the 20 epochs in which the
    momentum rises. Affine distortions are drawn again in each epoch; the paper drew eight of each
    pair, once.

    Parameters
    ----------
    n_pairs : int, default=30_000
        Number of training pairs. The paper's sets have 30,000, 90,000 and 150,000.
    random_state : int, RandomState instance or None, default=None
        Determines weights, pairs, batches and augmentation.

    Returns
    -------
    clf : SiameseOneShotClassifier
        Unfitted. `fit` takes 105x105 images, their labels, and alphabets as `groups`.

    See Also
    --------
    omniglot : Far more accurate, and faster to train.

    Examples
    --------
    >>> from sksiamese import recipes
    >>> recipes.koch2015(n_pairs=90_000).batch_size
    128
    """
    # torch's weight_decay w adds w * weight to the gradient, the paper's penalty 2 * L2 * weight.
    layers = [
        ("encoder.convs.0.*", {"lr": 1e-2, "momentum": 0.9, "weight_decay": 2e-4}),
        ("encoder.convs.3.*", {"lr": 1e-2, "momentum": 0.9, "weight_decay": 2e-4}),
        ("encoder.convs.6.*", {"lr": 1e-2, "momentum": 0.9, "weight_decay": 2e-4}),
        ("encoder.convs.9.*", {"lr": 1e-2, "momentum": 0.9, "weight_decay": 2e-4}),
        ("encoder.units.*", {"lr": 1e-2, "momentum": 0.9, "weight_decay": 2e-4}),
        ("head.*", {"lr": 1e-2, "momentum": 0.9, "weight_decay": 2e-4}),
    ]
    return SiameseOneShotClassifier(
        encoder="koch",
        encoder_params={"n_units": 4096, "units_std": 0.2},
        head="signed_l1",
        head_params={"alpha_std": 0.2},
        loss="verification",
        augmentation="affine",
        class_augmentation=None,
        resize=None,
        crop=None,
        n_pairs=n_pairs,
        batch_size=128,
        max_iter=200,
        optimizer="sgd",
        optimizer_params={"momentum": 0.9, "param_groups": layers},
        learning_rate=1e-2,
        weight_decay=0.0,
        ema_decay=0.0,
        early_stopping=True,
        n_iter_no_change=20,
        precision="float32",
        callbacks=[LRScheduler("ExponentialLR", gamma=0.99), MomentumRamp(n_epochs=20)],
        net_params={"callbacks__clip": None},
        random_state=random_state,
    )


def koch(*, max_iter: int = 10, random_state: Any = None) -> SiameseOneShotClassifier:
    """Return the paper's network and head, trained as `omniglot` is.

    Layers, units and head are those of Koch et al. 2015, figure 4: 38,951,745 parameters at 105
    pixels. Different are the initial weights (He et al. 2015, and weights of the head below zero),
    the optimizer (AdamW, with smaller steps in the wide layer and the head), the batches (all
    pairs of twenty characters of an alphabet), the loss, the augmentation, the rotated and
    reflected alphabets as further ones, and the crop to the foreground.

    Parameters
    ----------
    max_iter : int, default=10
        Number of epochs.
    random_state : int, RandomState instance or None, default=None
        Determines weights, batches and augmentation.

    Returns
    -------
    clf : SiameseOneShotClassifier
        Unfitted. `fit` takes images, their labels, and alphabets as `groups`.

    See Also
    --------
    koch2015 : The paper's own optimizer, pairs and initial weights.
    omniglot : Far more accurate, and faster to train.

    Examples
    --------
    >>> from sksiamese import recipes
    >>> recipes.koch(random_state=0).encoder
    'koch'
    """
    head = {"weight_decay": 0.0}
    return SiameseOneShotClassifier(
        encoder="koch",
        encoder_params={"initial": "he"},
        head="signed_l1",
        head_params={"alpha_mean": -0.005, "alpha_std": 0.0},
        loss="both",
        augmentation="strokes",
        class_augmentation="rotate_reflect",
        resize=105,
        crop="foreground",
        batch_size=(1, 20, 4),
        max_iter=max_iter,
        optimizer="adamw",
        optimizer_params={
            "param_groups": [
                ("encoder.units.*", {"lr": 2e-4}),
                ("head.alpha", {"lr": 1e-5, **head}),
                ("head.bias", {"lr": 2e-2, **head}),
            ],
        },
        learning_rate=1e-3,
        weight_decay=0.01,
        ema_decay=0.998,
        random_state=random_state,
    )


def keras2017(*, n_pairs: int = 30_000, random_state: Any = None) -> SiameseOneShotClassifier:
    """Return the variant of a widely copied Keras notebook.

    All weights start from N(0, 0.01); Adam at 6e-5; L2 weights of 2e-4 in convolutions and 1e-3
    in the dense layers; no schedule and no augmentation.

    Parameters
    ----------
    n_pairs : int, default=30_000
        Number of training pairs.
    random_state : int, RandomState instance or None, default=None
        Determines weights, pairs and batches.

    Returns
    -------
    clf : SiameseOneShotClassifier
        Unfitted. `fit` takes 105x105 images, their labels, and alphabets as `groups`.

    See Also
    --------
    koch2015 : The paper's own optimizer and initial weights.

    Examples
    --------
    >>> from sksiamese import recipes
    >>> recipes.keras2017().learning_rate
    6e-05
    """
    paper = koch2015(n_pairs=n_pairs, random_state=random_state)
    return paper.set_params(
        encoder_params={"n_units": 4096, "units_std": 0.01},
        head_params={"alpha_std": 0.01},
        augmentation=None,
        batch_size=32,
        optimizer="adam",
        optimizer_params={
            "param_groups": [
                ("encoder.convs.*", {"weight_decay": 4e-4}),
                ("encoder.units.*", {"weight_decay": 2e-3}),
                ("head.*", {"weight_decay": 2e-3}),
            ],
        },
        learning_rate=6e-5,
        callbacks=None,
        net_params={"callbacks__clip": None, "callbacks__schedule": None},
    )


def photos(
    backbone: Any = None,
    size: int = 128,
    both: bool = False,
    *,
    max_iter: int = 40,
    random_state: Any = None,
) -> SiameseOneShotClassifier:
    """Return a classifier for photographs: whitened features of a pretrained backbone.

    The maps of all stages of the frozen backbone are averaged and joined, and `fit` learns in
    closed form which of their differences occur within classes: the images are encoded once, and
    nothing is trained. Without a backbone, a twin is trained from the start, and its features
    are whitened then.

    Parameters
    ----------
    backbone : torch.nn.Module, str or None, default=None
        A pretrained network of convolutions; of a classifier too, whose last layer is not used.
        ``"timm:NAME"`` is a network of timm with its weights (``pip install sksiamese[timm]``),
        which downloads them. None: no backbone.
    size : int, default=128
        Pixels of the longer side that the backbone sees. A twin sees half of it.
    both : bool, default=False
        If True, also train a twin, and whiten its features beside those of the backbone.
    max_iter : int, default=40
        Number of epochs of the twin.
    random_state : int, RandomState instance or None, default=None
        Determines weights, batches and augmentation of the twin.

    Returns
    -------
    clf : SiameseOneShotClassifier
        Unfitted. `fit` takes images and their labels, of at least three classes.

    Raises
    ------
    TypeError
        If `backbone` is of another type.
    ValueError
        If `backbone` has no maps, or `both` is True without a backbone.
    ImportError
        If timm is not installed.

    See Also
    --------
    sksiamese.load_pretrained : For drawings, characters and icons.

    Examples
    --------
    >>> from sksiamese import recipes
    >>> recipes.photos(size=96).head
    'whitened'
    """
    check_number(size, "size", int, 16)
    check_bool(both, "both")
    if both and backbone is None:
        raise ValueError("both=True needs a backbone: pass a torch.nn.Module, or 'timm:NAME'.")
    encoder: Any = "conv"
    normalization: Any = "imagenet"
    if backbone is not None:
        encoder = Levels(_backbone(backbone), size)
        known = own_statistics(encoder) is not None or any(map(is_trained, encoder.modules()))
        if known or channels_of(encoder) != 3:
            normalization = "auto"
    if both:
        shape = (channels_of(encoder) or 3, size // 2, size // 2)
        twin = build_encoder("conv", shape, torch.Generator().manual_seed(0))
        encoder = Beside(encoder, twin)
    return SiameseOneShotClassifier(
        encoder=encoder,
        head="whitened",
        loss="both",
        augmentation="auto",
        class_augmentation=None,
        normalization=normalization,
        resize=size if backbone is not None else size // 2,
        crop=None,
        batch_size=(1, 20, 4),
        max_iter=max_iter,
        optimizer="muon",
        learning_rate=4e-3,
        weight_decay=0.01,
        ema_decay=0.998,
        aggregation="prototype",
        random_state=random_state,
    )


def _backbone(backbone: Any) -> torch.nn.Module:
    """Return a module, that of timm if it is given by name."""
    if isinstance(backbone, torch.nn.Module):
        return backbone
    if not isinstance(backbone, str):
        raise TypeError(f"backbone={backbone!r}; expected a torch.nn.Module, 'timm:NAME' or None.")
    library, _, name = backbone.partition(":")
    if library != "timm" or not name:
        raise ValueError(
            f"backbone={backbone!r}; expected 'timm:NAME', a torch.nn.Module or None."
        )
    try:
        import timm
    except ImportError as error:
        raise ImportError(
            f"backbone={backbone!r} needs timm: pip install sksiamese[timm]"
        ) from error
    with lent_generator(0):  # from which it draws weights, before it has read its own
        return timm.create_model(name, pretrained=True)
