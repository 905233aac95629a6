"""Fit the weights of `sksiamese.programs.scoring` on background alphabets, and measure each term.

    python benchmarks/program_weights.py    # about three minutes on one core

One-shot trials of 20 characters are drawn within each of Omniglot's 30 background alphabets. The
weights are a conditional logit: the probability of a candidate is the softmax of minus its
weighted terms. Accuracy and log-loss are cross-validated by alphabet; then each term is left out
in turn. Slope and intercept, which make log-odds of the cost, are those of a logistic regression
on the pairs of the trials, same and different with equal weight. Nothing here reads the evaluation
alphabets.
"""

import argparse
from dataclasses import fields
from pathlib import Path

import numpy as np
from machine import report
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

from sksiamese import MotorProgramClassifier
from sksiamese.datasets import fetch_omniglot
from sksiamese.model_selection import EpisodeSplit
from sksiamese.programs import Drawings, terms
from sksiamese.programs.scoring import WEIGHTS, Terms

N_WAY = 20
PENALTY = 1e-3
NAMES = [field.name for field in fields(Terms)]


def terms_of_trials(data, n_episodes, seed):
    """Return the terms (trials, 20 candidates, terms), the candidate that is right, alphabets."""
    split = EpisodeSplit(N_WAY, n_episodes=n_episodes, random_state=seed)
    comparer = MotorProgramClassifier(random_state=seed).fit(data.images[:20], data.target[:20])
    values, right, alphabets = [], [], []
    for support, query in split.split(data.images, data.target, data.alphabets):
        rows = np.concatenate([support, query])
        embeddings = comparer.set_support(data.images[rows], rows).support_.embeddings
        queries, exemplars = Drawings.of(embeddings[N_WAY:]), Drawings.of(embeddings[:N_WAY])
        i, j = np.divmod(np.arange(N_WAY**2), N_WAY)
        values.append(np.asarray(terms(queries, exemplars, i, j)).reshape(N_WAY, N_WAY, -1))
        same = data.target[query][:, None] == data.target[support]
        right.append(same.argmax(1))
        alphabets.append(np.repeat(data.alphabets[query[0]], N_WAY))
    return np.concatenate(values), np.concatenate(right), np.concatenate(alphabets)


def fitted_weights(values, right):
    """Return the weights, none below zero, of the conditional logit."""
    spread = values.std((0, 1)) + 1e-9
    scaled = values / spread
    rows = np.arange(len(right))

    def loss(weights):
        log_p = log_softmax(-(scaled @ weights), axis=1)
        mean = (np.exp(log_p)[..., None] * scaled).sum(1)
        gradient = (scaled[rows, right] - mean).mean(0) + 2 * PENALTY * weights
        return PENALTY * (weights**2).sum() - log_p[rows, right].mean(), gradient

    start = np.full(values.shape[2], 0.3)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0, None)] * len(start))
    return found.x / spread


def measured(weights, values, right):
    """Return each trial's correctness and log-loss."""
    log_p = log_softmax(-(values @ weights), axis=1)
    return log_p.argmax(1) == right, -log_p[np.arange(len(right)), right]


def cross_validated(values, right, alphabets):
    """Return accuracy in per cent and log-loss, whole alphabets left out."""
    correct, losses = np.empty(len(right), bool), np.empty(len(right))
    for train, test in GroupKFold(6).split(values, groups=alphabets):
        weights = fitted_weights(values[train], right[train])
        correct[test], losses[test] = measured(weights, values[test], right[test])
    return {"accuracy": round(100 * correct.mean(), 2), "log_loss": round(losses.mean(), 4)}


def log_odds(costs, right):
    """Return slope and intercept of the log-odds that two drawings are of one character."""
    same = np.zeros(costs.shape, bool)
    same[np.arange(len(right)), right] = True
    line = LogisticRegression(C=np.inf, class_weight="balanced").fit(
        -costs.reshape(-1, 1), same.ravel()
    )
    return line.coef_.item(), line.intercept_.item()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    shared = Path("../shared/omniglot")
    parser.add_argument("--data-home", default=shared if shared.exists() else None)
    args = parser.parse_args()

    data = fetch_omniglot("background", data_home=args.data_home)
    values, right, alphabets = terms_of_trials(data, args.episodes, args.seed)
    weights = fitted_weights(values, right)
    rounded = np.array([float(f"{weight:.2g}") for weight in weights])
    shipped = np.array(WEIGHTS)
    correct, losses = measured(shipped, values, right)
    slope, intercept = log_odds(values @ shipped, right)
    without = {}
    for number, name in enumerate(NAMES):
        others = np.delete(values, number, axis=2)
        without[name] = cross_validated(others, right, alphabets)
    report(
        "program_weights",
        {
            "trials": len(right),
            "seed": args.seed,
            "protocol": "20-way 1-shot within background alphabets, all drawers",
            "cross_validated": cross_validated(values, right, alphabets),
            "without": without,
            "fitted_weights": dict(zip(NAMES, rounded.tolist(), strict=True)),
            "shipped": {
                "weights": dict(zip(NAMES, shipped.tolist(), strict=True)),
                "accuracy": round(100 * correct.mean(), 2),
                "log_loss": round(losses.mean(), 4),
                "slope": round(slope, 3),
                "intercept": round(intercept, 2),
            },
        },
    )


if __name__ == "__main__":
    main()
