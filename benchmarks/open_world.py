"""Open world: queries of no known class, and how honest the probabilities of pairs are.

    python benchmarks/open_world.py

A twin by `recipes.omniglot` holds a fifth of the background alphabets out of training and is
calibrated by them; evaluation alphabets are new to it. The twin that ships stands beside it: it
was trained on all thirty and is calibrated by them too. How much surer does that make it? Both
are calibrated by the alphabets that only one of them has seen. `accuracy.py --page` puts what
this wrote into ``docs/results.md``; ``--picture`` draws the reliability of the probabilities.
"""

import argparse
import copy
from pathlib import Path

import numpy as np
from machine import report
from protocols import pair_logits
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from sksiamese import SiameseOneShotClassifier, load_pretrained, recipes
from sksiamese._validation import check_groups
from sksiamese.datasets import fetch_omniglot, fetch_omniglot_runs
from sksiamese.model_selection import EpisodeSplit

N_BINS = 15
UNKNOWN = "unknown"


def official_trials(runs):
    for run in runs:
        yield run.support_images, run.support_labels, run.query_images, run.query_labels


def resampled_trials(e, n_episodes):
    splitter = EpisodeSplit(20, n_episodes=n_episodes, random_state=0)
    for support, query in splitter.split(e.images, e.target, e.alphabets):
        yield e.images[support], e.target[support], e.images[query], e.target[query]


def open_set(clf, trials):
    """Trials of twenty characters of one alphabet, ten of them known by one exemplar each."""
    scores, known, answers, truth = [], [], [], []
    for number, (support, labels, query, labels_of_query) in enumerate(trials):
        classes = np.random.default_rng(number).permutation(np.unique(labels))[:10]
        chosen = np.isin(labels, classes)
        clf.set_support(support[chosen], labels[chosen])
        scores.append(clf.score_samples(query))
        known.append(np.isin(labels_of_query, classes))
        answers.append(clf.classes_[clf.decision_function(query).argmax(axis=1)])
        truth.append(labels_of_query)
    scores, known, answers, truth = map(np.concatenate, (scores, known, answers, truth))
    result = {"auroc": float(roc_auc_score(known, scores)), "n": len(known)}
    if hasattr(clf, "threshold_"):
        passed = scores >= clf.threshold_
        result["false_acceptance"] = float(passed[~known].mean())
        result["false_rejection"] = float(1 - passed[known].mean())
        right = answers[known & passed] == truth[known & passed]
        result["accuracy_of_accepted"] = float(right.mean())
    return result


def reliability(logits, same):
    """Expected calibration error (Guo et al. 2017, eq. 3), and what it is made of, bin by bin."""
    probabilities = expit(logits)
    bins = np.minimum((probabilities * N_BINS).astype(int), N_BINS - 1)
    counts = np.bincount(bins, minlength=N_BINS)
    filled = counts > 0
    said, was = (
        np.bincount(bins, weights=values, minlength=N_BINS)[filled] / counts[filled]
        for values in (probabilities, same)
    )
    error = np.average(np.abs(said - was), weights=counts[filled])
    rounded = ([round(float(value), 4) for value in values] for values in (said, was))
    return {"error": float(error), **dict(zip(("said", "was"), rounded, strict=True))}


def measure(clf, data, n_episodes):
    logits, same = pair_logits(clf, data["evaluation"], 1)
    slope, intercept = clf.network_.calibration
    result = {
        "official": open_set(clf, official_trials(data["runs"])),
        "resampled": open_set(clf, resampled_trials(data["evaluation"], n_episodes)),
        "before": reliability((logits - intercept) / slope, same),
        "after": reliability(logits, same),
        "n_pairs": len(same),
    }
    return {**result, "slope": slope, "intercept": intercept}


def seen_or_not(twins, background):
    """What the alphabets that the first twin held out calibrate each of the twins to."""
    clf = twins["held out"]
    classes, groups = check_groups(background.alphabets, background.target)
    seed = int(clf._rng().randint(2**31 - 1))
    held = clf._hold_out(classes, groups, seed, "unknown_label")[1]
    result = {"alphabets": np.unique(background.alphabets[held]).tolist()}
    data = background.images[held], background.target[held], background.alphabets[held]
    for name, twin in twins.items():
        own = copy.copy(twin).calibrate(*data)
        slope, intercept = own.network_.calibration
        logit = (own.threshold_ + np.log(20) - intercept) / slope
        result[name] = {"slope": slope, "intercept": intercept, "threshold_before": logit}
    result["intercepts"] = {}
    for alphabet in np.unique(background.alphabets):
        own = background.alphabets == alphabet
        one = copy.copy(twins["shipped"]).calibrate(background.images[own], background.target[own])
        result["intercepts"][alphabet] = one.network_.calibration[1]
    return result


def draw(twins, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(4.5, 4.5), layout="constrained")
    ax.plot([0, 1], [0, 1], color="0.7", label="perfect")
    for name, marker in (("held out", "s"), ("shipped", "o")):
        for when, line in (("before", "--"), ("after", "-")):
            curve = twins[name][when]
            ax.plot(curve["said"], curve["was"], marker + line, label=f"{name}, {when}")
    ax.set(xlabel="pair_proba", ylabel="part of the pairs that are of one class", aspect="equal")
    ax.legend()
    figure.savefig(path, dpi=100)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--false-acceptance", type=float, default=0.05)
    parser.add_argument(
        "--episodes", type=int, default=200, help="resampled trials, of 20 queries"
    )
    parser.add_argument("--picture", type=Path)
    parser.add_argument(
        "--keep",
        type=Path,
        help="file for the trained twin; if it is there, what it was trained by",
    )
    shared = Path("../shared/omniglot")
    parser.add_argument("--data-home", default=shared if shared.exists() else None)
    args = parser.parse_args()
    data = {
        "runs": fetch_omniglot_runs(),
        "evaluation": fetch_omniglot("evaluation", data_home=args.data_home),
    }
    background = fetch_omniglot("background", data_home=args.data_home)
    if args.keep and args.keep.exists():
        clf = SiameseOneShotClassifier.load(args.keep)
        if clf.unknown_label != UNKNOWN:
            parser.error(f"--keep {args.keep} is not of this benchmark: it held nothing out")
    else:
        clf = recipes.omniglot(max_iter=args.epochs, random_state=args.seed)
        clf.set_params(unknown_label=UNKNOWN, false_acceptance=args.false_acceptance)
        clf.fit(background.images, background.target, groups=background.alphabets)
        if args.keep:
            clf.save(args.keep)
    twins = {"held out": clf, "shipped": load_pretrained()}
    both = seen_or_not(twins, background)
    twins = {name: measure(twin, data, args.episodes) for name, twin in twins.items()}
    asked = {"epochs": clf.n_iter_, "seed": clf.random_state, "asked": clf.false_acceptance}
    report("open_world", {**asked, "twins": twins, "seen_or_not": both})
    if args.picture:
        draw(twins, args.picture)


if __name__ == "__main__":
    main()
