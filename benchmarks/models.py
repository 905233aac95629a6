"""The models of the accuracy table, by name: each is trained on one data set with one seed."""

from dataclasses import replace

import numpy as np
from baselines import (
    SoftmaxFeatures,
    SoftmaxOnSupport,
    modified_hausdorff,
    softmax_on_pixels,
)
from sklearn.neighbors import KNeighborsClassifier
from together import SoftVote, chosen_weight

from sksiamese import (
    FrozenTwinClassifier,
    MotorProgramClassifier,
    SiameseOneShotClassifier,
    load_pretrained,
    recipes,
)
from sksiamese.twin.network import TwinEnsemble


def trained(recipe, **params):
    """Return a function that trains the recipe with these parameters, alphabet by alphabet."""

    def train(data, seed, epochs):
        clf = recipe(random_state=seed).set_params(**params)
        clf.set_params(max_iter=epochs or clf.max_iter)
        return clf.fit(data.images, data.target, groups=data.alphabets)

    return train


def default(random_state):
    return SiameseOneShotClassifier(random_state=random_state)


def adamw(random_state):
    """Return the recipe with AdamW instead of Muon."""
    return recipes.omniglot(random_state=random_state).set_params(
        optimizer="adamw", learning_rate=3e-3
    )


def koch(random_state):
    """Return the paper's network and head, for its smallest image size, trained as `adamw`."""
    return adamw(random_state).set_params(
        encoder="koch",
        encoder_params=None,
        head="signed_l1",
        resize=65,
        learning_rate=1e-4,
    )


def ensemble(folder, seed, epochs):
    """Return what `n_estimators` makes, from the `omniglot` networks kept in the folder."""
    files = sorted(folder.glob("omniglot-?.safetensors"))
    classifiers = [SiameseOneShotClassifier.load(file) for file in files]
    network = TwinEnsemble(clf.network_ for clf in classifiers)
    clf = classifiers[0].set_params(n_estimators=len(classifiers))
    # All were trained on the same images, so their input scaling is the same.
    comparer = replace(clf.fitted_.comparer, network=network)
    histories = tuple(history for each in classifiers for history in each.history_)
    clf.fitted_ = replace(clf.fitted_, comparer=comparer, support=None, history=histories)
    return clf


def motor_programs(**params):
    """Return a function that makes the classifier. Nothing is trained; the seed is of walks."""
    return lambda data, seed, epochs: MotorProgramClassifier(random_state=seed, **params)


def together(data, seed, epochs):
    """Return the vote of the pretrained network and motor programs, as `together.py` weighs it."""
    network = FrozenTwinClassifier(load_pretrained("omniglot"))
    return SoftVote.of(network, MotorProgramClassifier(random_state=seed), chosen_weight())


def softmax_features(data, seed, epochs):
    return SoftmaxFeatures(epochs or 10, random_state=seed).fit(data.images, data.target)


# Name -> (description, name of the training set, "kept" or None, function that trains). The
# numbers of epochs suit two CPU cores of 2020.
MODELS = {
    "omniglot": ("`recipes.omniglot()`", "thirty", trained(recipes.omniglot)),
    "omniglot-members": (
        "`recipes.omniglot()`, the networks of three seeds as one (`n_estimators=3`)",
        "kept",
        ensemble,
    ),
    "omniglot-quick": (
        "`recipes.omniglot(max_iter=9)`",
        "thirty",
        trained(recipes.omniglot, max_iter=9),
    ),
    "omniglot-minimal": (
        "`recipes.omniglot(max_iter=100)`",
        "minimal",
        trained(recipes.omniglot, max_iter=100),
    ),
    "quickstart": (
        "`recipes.omniglot(max_iter=40)`, the quickstart",
        "minimal",
        trained(recipes.omniglot, max_iter=40),
    ),
    "omniglot-larger": (
        "`recipes.omniglot(max_iter=20)` with `resize=56` and 7 x 7 cells",
        "thirty",
        trained(
            recipes.omniglot,
            resize=56,
            encoder_params={"width": 48, "max_cells": 7},
            max_iter=20,
        ),
    ),
    "omniglot-adamw": ("the recipe with AdamW", "thirty", trained(adamw)),
    "omniglot-adamw-quick": (
        "the recipe with AdamW, 9 epochs",
        "thirty",
        trained(adamw, max_iter=9),
    ),
    "omniglot-adamw-minimal": (
        "the recipe with AdamW, 100 epochs",
        "minimal",
        trained(adamw, max_iter=100),
    ),
    "weighted_l1": (
        "the recipe with AdamW and the weighted L1 head, 9 epochs",
        "thirty",
        trained(adamw, head="weighted_l1", max_iter=9),
    ),
    "koch": (
        "the recipe with AdamW and the paper's network and head at 65 pixels, 2 epochs",
        "thirty",
        trained(koch, max_iter=2),
    ),
    "default": ("default parameters", "thirty", trained(default)),
    "default-minimal": (
        "default parameters, 50 epochs",
        "minimal",
        trained(default, max_iter=50),
    ),
    "pretrained": (
        '`load_pretrained("omniglot")`: `recipes.omniglot()` of seed 0 in half precision',
        None,
        lambda data, seed, epochs: load_pretrained("omniglot"),
    ),
    "symbols": (
        "`load_pretrained()`, for handwriting, icons and typefaces",
        None,
        lambda data, seed, epochs: load_pretrained("symbols"),
    ),
    "motor-programs": (
        "`MotorProgramClassifier()`, motor programs after BPL",
        None,
        motor_programs(),
    ),
    "motor-programs-no-library": (
        "motor programs with `primitives=False`",
        None,
        motor_programs(primitives=False),
    ),
    "simple-strokes": (
        'motor programs with `model="simple_strokes"`',
        None,
        motor_programs(model="simple_strokes"),
    ),
    "motor-programs-affine": (
        'motor programs with `model="affine"`',
        None,
        motor_programs(model="affine"),
    ),
    "together": (
        '`VotingClassifier` of `load_pretrained("omniglot")` and `MotorProgramClassifier()`',
        None,
        together,
    ),
    "pixels": (
        "1-nearest-neighbour on pixels",
        None,
        lambda data, seed, epochs: KNeighborsClassifier(1),
    ),
    "hausdorff": (
        "1-nearest-neighbour by the modified Hausdorff distance",
        None,
        lambda data, seed, epochs: modified_hausdorff(),
    ),
    "softmax-features": (
        "1-nearest-neighbour on the features of a softmax classifier",
        "thirty",
        softmax_features,
    ),
    "softmax-pixels": (
        "a softmax network trained on each support",
        None,
        lambda data, seed, epochs: softmax_on_pixels(random_state=seed),
    ),
    "softmax-support": (
        "a convolutional softmax network trained on distorted copies of each support",
        None,
        lambda data, seed, epochs: SoftmaxOnSupport(random_state=seed),
    ),
}


def n_parameters(model):
    """Return the number of learned values of a fitted model; None if it has no network."""
    network = getattr(model, "network_", None)
    return None if network is None else int(np.sum([p.numel() for p in network.parameters()]))
