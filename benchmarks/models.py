"""What the accuracy table compares: each model by name, trained on one set and one seed."""

import numpy as np
from baselines import ModifiedHausdorff, SoftmaxFeatures, SoftmaxOnSupport
from sklearn.neighbors import KNeighborsClassifier

from sksiamese import SiameseOneShotClassifier, load_pretrained, recipes
from sksiamese.twin.network import TwinEnsemble


def twin(recipe, **params):
    """A model: the recipe's twin with these parameters, trained by alphabet."""

    def train(data, seed, epochs):
        clf = recipe(random_state=seed).set_params(**params)
        clf.set_params(max_iter=epochs or clf.max_iter)
        return clf.fit(data.images, data.target, groups=data.alphabets)

    return train


def default(random_state):
    return SiameseOneShotClassifier(class_transforms="rotate_reflect", random_state=random_state)


def adamw(random_state):
    """The recipe as it was before Muon."""
    return recipes.omniglot(random_state=random_state).set_params(
        optimizer="adamw", learning_rate=3e-3
    )


def koch(random_state):
    """The paper's network and head, at the least size it takes, learned as `omniglot` is."""
    return adamw(random_state).set_params(
        encoder="koch",
        encoder_params=None,
        head="signed_l1",
        image_size=65,
        learning_rate=1e-4,
    )


def together(folder, seed, epochs):
    """What `n_members` makes, of the twins of `omniglot` that were kept in the folder."""
    files = sorted(folder.glob("omniglot-?.safetensors"))
    twins = [SiameseOneShotClassifier.load(file) for file in files]
    clf = twins[0].set_params(n_members=len(twins))
    clf.network_, clf.support_ = TwinEnsemble(twin.network_ for twin in twins), None
    return clf


def softmax_features(data, seed, epochs):
    return SoftmaxFeatures(epochs or 10, random_state=seed).fit(data.images, data.target)


# Name -> (what it is, the set it is trained on, "kept" or None, how). Epochs are for two cores of
# 2020.
MODELS = {
    "omniglot": ("`recipes.omniglot()`", "thirty", twin(recipes.omniglot)),
    "omniglot-members": (
        "the three seeds of that as one, what `n_members=3` makes",
        "kept",
        together,
    ),
    "omniglot-quick": (
        "`recipes.omniglot(max_iter=9)`",
        "thirty",
        twin(recipes.omniglot, max_iter=9),
    ),
    "omniglot-minimal": (
        "`recipes.omniglot(max_iter=100)`",
        "minimal",
        twin(recipes.omniglot, max_iter=100),
    ),
    "omniglot-larger": (
        "`recipes.omniglot(max_iter=20)` at 56 pixels, with 7 cells a side",
        "thirty",
        twin(
            recipes.omniglot,
            image_size=56,
            encoder_params={"width": 48, "max_cells": 7},
            max_iter=20,
        ),
    ),
    "omniglot-adamw": ("the recipe with AdamW", "thirty", twin(adamw)),
    "omniglot-adamw-quick": (
        "the recipe with AdamW, 9 epochs",
        "thirty",
        twin(adamw, max_iter=9),
    ),
    "omniglot-adamw-minimal": (
        "the recipe with AdamW, 100 epochs",
        "minimal",
        twin(adamw, max_iter=100),
    ),
    "weighted_l1": (
        "the recipe with AdamW and the weighted L1 head, 9 epochs",
        "thirty",
        twin(adamw, head="weighted_l1", max_iter=9),
    ),
    "koch": (
        "the same with Koch's network and head at 65 pixels, 2 epochs, which take as long",
        "thirty",
        twin(koch, max_iter=2),
    ),
    "default": ("the estimator's defaults, 18 epochs", "thirty", twin(default, max_iter=18)),
    "default-minimal": (
        "the estimator's defaults, 50 epochs",
        "minimal",
        twin(default, max_iter=50),
    ),
    "shipped": (
        '`load_pretrained("omniglot")`, which is `omniglot` of seed 0 in half precision',
        None,
        lambda data, seed, epochs: load_pretrained("omniglot"),
    ),
    "pixels": (
        "1-nearest-neighbour on pixels",
        None,
        lambda data, seed, epochs: KNeighborsClassifier(1),
    ),
    "hausdorff": (
        "modified Hausdorff distance",
        None,
        lambda data, seed, epochs: ModifiedHausdorff(),
    ),
    "softmax-features": (
        "1-nearest-neighbour on the features of a softmax classifier",
        "thirty",
        softmax_features,
    ),
    "softmax-support": (
        "a softmax classifier trained on each support",
        None,
        lambda data, seed, epochs: SoftmaxOnSupport(random_state=seed),
    ),
}


def n_parameters(model):
    """Learned numbers of a fitted model; None for one that has none."""
    network = getattr(model, "network_", None)
    return None if network is None else int(np.sum([p.numel() for p in network.parameters()]))
