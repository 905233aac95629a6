"""scikit-learn's digits as a table: five of the ten learned, the others told apart by one each.

    python benchmarks/digits.py

A case where the twin does not pay: 1-nearest-neighbour on the pixels is better than what five
background classes teach. ``docs/limits.md`` quotes it.
"""

import argparse

import numpy as np
from machine import report
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from sksiamese import SiameseOneShotClassifier
from sksiamese.model_selection import one_shot_score, wilson_interval

IMAGES = {"image_shape": (8, 8), "class_transforms": "rotate_reflect"}
PARAMS = {
    "as it starts": {"learning_rate": 1e-6, "max_iter": 1},
    "fitted": {},
    "fitted, as images, turned": IMAGES,
    "fitted, as images, turned, learning rate 1e-4": {**IMAGES, "learning_rate": 1e-4},
}


def measure(make, X, y, n_splits):
    """Accuracy over splits of the digits, the same trials for all."""
    right = n_trials = 0
    for split in range(n_splits):
        held_out = np.random.default_rng(split).permutation(10)[:5]
        known = ~np.isin(y, held_out)
        trials = {"n_way": 5, "n_episodes": 200, "random_state": 0}
        score = one_shot_score(make(X[known], y[known]), X[~known], y[~known], **trials)
        right, n_trials = right + float(score) * score.n_trials, n_trials + score.n_trials
    low, high = wilson_interval(right, n_trials)
    return {"accuracy": right / n_trials, "low": low, "high": high, "n": n_trials}


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
