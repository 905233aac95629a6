"""Measure scikit-learn's digits as a table: train on five of the ten, test on the other five.

    python benchmarks/digits.py

A case where the twin network does not pay: 1-nearest-neighbour on the pixels is more accurate
than what five training classes teach. ``docs/limits.md`` quotes it.
"""

import argparse

import numpy as np
from machine import report
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from sksiamese import SiameseOneShotClassifier
from sksiamese.model_selection import one_shot_score, wilson_interval

IMAGES = {"image_shape": (8, 8), "class_augmentation": "rotate_reflect"}
PARAMS = {
    "as it starts": {"learning_rate": 1e-6, "max_iter": 1},
    "fitted": {},
    "fitted, as images, turned": IMAGES,
    "fitted, as images, turned, learning rate 1e-4": {**IMAGES, "learning_rate": 1e-4},
}


def measure(make, X, y, n_splits):
    """Return the accuracy over splits of the digits, on the same trials for every model."""
    correct = n_trials = 0
    for split in range(n_splits):
        held_out = np.random.default_rng(split).permutation(10)[:5]
        training = ~np.isin(y, held_out)
        trials = {"n_way": 5, "n_episodes": 200, "random_state": 0}
        model = make(X[training], y[training])
        score = one_shot_score(model, X[~training], y[~training], **trials)
        correct, n_trials = correct + float(score) * score.n_trials, n_trials + score.n_trials
    low, high = wilson_interval(correct, n_trials)
    return {"accuracy": correct / n_trials, "low": low, "high": high, "n": n_trials}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--splits", type=int, default=4)
    n_splits = parser.parse_args().splits
    X, y = load_digits(return_X_y=True)
    scores = {"1-NN": measure(lambda X, y: KNeighborsClassifier(1), X, y, n_splits)}
    for name, params in PARAMS.items():
        clf = SiameseOneShotClassifier("mlp", random_state=0, **params)
        scores[name] = measure(clf.fit, X, y, n_splits)
    report("digits", {"splits": n_splits, "seed": 0, "scores": scores})


if __name__ == "__main__":
    main()
