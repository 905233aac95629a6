"""Recipes: functions that return an unfitted estimator, each with its parameters in sight."""

import torch
from skorch.callbacks import LRScheduler

from ._classifier import SiameseOneShotClassifier
from .twin.callbacks import MomentumRamp


def omniglot(*, max_iter=30, random_state=None):
    """The network for handwritten characters whose figures the documentation quotes.

    Chosen on held-out background alphabets; ``benchmarks/search.py`` runs the variants compared.

    Parameters
    ----------
    max_iter : int, default=30
        Epochs.
    random_state : int, RandomState instance or None, default=None

    Returns
    -------
    clf : SiameseOneShotClassifier
        Unfitted.

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
        distortion="strokes",
        class_transforms="rotate_reflect",
        image_size=40,
        frame="ink",
        batch_shape=(1, 20, 4),
        max_iter=max_iter,
        optimizer="muon",
        learning_rate=4e-3,
        weight_decay=0.01,
        averaging=0.998,
        random_state=random_state,
    )


def koch2015(*, n_pairs=30_000, random_state=None):
    """Koch, Zemel & Salakhutdinov 2015, sections 3 and 4, sentence by sentence.

    The paper found a learning rate, a momentum and an L2 weight for each layer by Bayesian search
    and did not print them; those here are ours, as are the 20 epochs of the momentum's rise. The
    affine copies are drawn anew each epoch; the paper drew eight of each pair, once.

    Parameters
    ----------
    n_pairs : int, default=30_000
        The paper's sets have 30,000, 90,000 and 150,000.
    random_state : int, RandomState instance or None, default=None

    Returns
    -------
    clf : SiameseOneShotClassifier
        Unfitted; `fit` takes 105x105 images, their labels, and alphabets as `groups`.

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
        distortion="affine",
        class_transforms=None,
        image_size=None,
        n_pairs=n_pairs,
        batch_size=128,
        max_iter=200,
        learning_rate=1e-2,
        weight_decay=0.0,
        averaging=0.0,
        early_stopping=True,
        n_iter_no_change=20,
        precision="float32",
        callbacks=[LRScheduler("ExponentialLR", gamma=0.99), MomentumRamp(n_epochs=20)],
        net_params={
            "optimizer": torch.optim.SGD,
            "optimizer__momentum": 0.9,
            "optimizer__param_groups": layers,
            "callbacks__clip": None,
        },
        random_state=random_state,
    )


def keras2017(*, n_pairs=30_000, random_state=None):
    """The variant of a widely copied Keras notebook: all weights N(0, 0.01), Adam at 6e-5.

    L2 is 2e-4 in convolutions and 1e-3 in the dense layers; no schedule, no distortion.

    Parameters
    ----------
    n_pairs, random_state
        As in `koch2015`.

    Returns
    -------
    clf : SiameseOneShotClassifier
        Unfitted.

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
        distortion=None,
        batch_size=32,
        learning_rate=6e-5,
        callbacks=None,
        net_params={
            "optimizer": torch.optim.Adam,
            "optimizer__param_groups": [
                ("encoder.convs.*", {"weight_decay": 4e-4}),
                ("encoder.units.*", {"weight_decay": 2e-3}),
                ("head.*", {"weight_decay": 2e-3}),
            ],
            "callbacks__clip": None,
            "callbacks__schedule": None,
        },
    )
