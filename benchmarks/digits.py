"""Measure scikit-learn's digits: train on five of the ten, test on the other five.

    python benchmarks/digits.py

As a table, rows of 64 features, the twin network does not pay: 1-nearest-neighbour on the pixels
is more accurate than what five training classes teach. As images it pays. ``docs/limits.md``
quotes it.
"""

import argparse

import numpy as np
from machine import report
from protocols import pooled
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier
from torch import nn

from sksiamese import SiameseOneShotClassifier, load_pretrained
from sksiamese.model_selection import one_shot_score

ROWS = {"encoder": "mlp"}
IMAGES = {"image_shape": (8, 8), "class_augmentation": "rotate_reflect", "resize": 16}
PARAMS = {
    "rows": ROWS,
    "rows as they are, whitened": {"encoder": nn.Identity(), "normalization": (8.0, 6.0)},
    "images, turned": IMAGES,
}


def measure(make, X, y, n_splits):
    """Return the accuracy over splits of the digits, on the same trials for every model."""
    scores = []
    for split in range(n_splits):
        held_out = np.random.default_rng(split).permutation(10)[:5]
        training = ~np.isin(y, held_out)
        trials = {"n_way": 5, "n_episodes": 200, "random_state": 0}
        model = make(X[training], y[training])
        scores.append(one_shot_score(model, X[~training], y[~training], **trials))
    return pooled(scores)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--splits", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=30)
    args = parser.parse_args()
    n_splits = args.splits
    X, y = load_digits(return_X_y=True)
    scores = {"1-NN": measure(lambda X, y: KNeighborsClassifier(1), X, y, n_splits)}
    for name, params in PARAMS.items():
        clf = SiameseOneShotClassifier(max_iter=args.epochs, random_state=0, **params)
        scores[name] = measure(clf.fit, X, y, n_splits)
    pretrained = load_pretrained().set_params(image_shape=(8, 8))
    scores["pretrained"] = measure(lambda X, y: pretrained, X, y, n_splits)
    report("digits", {"splits": n_splits, "seed": 0, "scores": scores})


if __name__ == "__main__":
    main()
