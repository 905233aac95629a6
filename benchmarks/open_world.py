"""Open world: rejection of queries of unknown classes, and calibration of pair probabilities.

    python benchmarks/open_world.py

A network trained by `recipes.omniglot` holds a fifth of the background alphabets out of training
and is calibrated on them. The evaluation alphabets are new to it. The pretrained network is
measured for comparison: it was trained on all thirty and is calibrated on the same. To see how
overconfident that makes it, both are calibrated on the alphabets that only one of them has seen.
`accuracy.py --page` copies the results into ``docs/results.md``; ``--picture`` draws a
reliability diagram.
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
    """Measure trials of 20 characters of one alphabet, 10 of which have an exemplar each."""
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
    if hasattr(clf, "rejection_threshold_"):
        accepted = scores >= clf.rejection_threshold_
        result["false_acceptance"] = float(accepted[~known].mean())
        result["false_rejection"] = float(1 - accepted[known].mean())
        correct = answers[known & accepted] == truth[known & accepted]
        result["accuracy_of_accepted"] = float(correct.mean())
    return result


def reliability(logits, same):
    """Return the expected calibration error (Guo et al. 2017, eq. 3), and its bins."""
    probabilities = expit(logits)
    bins = np.minimum((probabilities * N_BINS).astype(int), N_BINS - 1)
    counts = np.bincount(bins, minlength=N_BINS)
    filled = counts > 0
    predicted, observed = (
        np.bincount(bins, weights=values, minlength=N_BINS)[filled] / counts[filled]
        for values in (probabilities, same)
    )
    error = np.average(np.abs(predicted - observed), weights=counts[filled])
    rounded = ([round(float(value), 4) for value in values] for values in (predicted, observed))
    return {"error": float(error), **dict(zip(("predicted", "observed"), rounded, strict=True))}


def measure(clf, data, n_episodes):
    logits, same = pair_logits(clf, data["evaluation"], 1)
    slope, intercept = clf.fitted_.calibration
    result = {
        "official": open_set(clf, official_trials(data["runs"])),
        "resampled": open_set(clf, resampled_trials(data["evaluation"], n_episodes)),
        "before": reliability((logits - intercept) / slope, same),
        "after": reliability(logits, same),
        "n_pairs": len(same),
    }
    return {**result, "slope": slope, "intercept": intercept}


def seen_or_not(classifiers, background):
    """Calibrate each network on the alphabets that the first one held out of training."""
    held_out = np.isin(background.target, classifiers["held out"].held_out_classes_)
    data = background.images[held_out], background.target[held_out], background.alphabets[held_out]
    result = {"alphabets": np.unique(background.alphabets[held_out]).tolist()}
    for name, clf in classifiers.items():
        own = copy.copy(clf).calibrate(*data)
        slope, intercept = own.fitted_.calibration
        logit = (own.rejection_threshold_ + np.log(20) - intercept) / slope
        result[name] = {"slope": slope, "intercept": intercept, "threshold_before": logit}
    result["intercepts"] = {}
    for alphabet in np.unique(background.alphabets):
        rows = background.alphabets == alphabet
        own = copy.copy(classifiers["pretrained"])
        own.calibrate(background.images[rows], background.target[rows])
        result["intercepts"][alphabet] = own.fitted_.calibration[1]
    return result


def draw(results, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(4.5, 4.5), layout="constrained")
    ax.plot([0, 1], [0, 1], color="0.7", label="perfect")
    for key, name, marker in (("held out", "held out", "s"), ("pretrained", "pretrained", "o")):
        for when, line in (("before", "--"), ("after", "-")):
            curve = results[key][when]
            label = f"{name}, {when} calibration"
            ax.plot(curve["predicted"], curve["observed"], marker + line, label=label)
    ax.set(xlabel="pair_proba", ylabel="fraction of pairs of the same class", aspect="equal")
    ax.legend(fontsize=8)
    figure.savefig(path, dpi=100)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--false-acceptance-rate", type=float, default=0.05)
    parser.add_argument(
        "--episodes", type=int, default=200, help="resampled trials, of 20 queries each"
    )
    parser.add_argument("--picture", type=Path, help="file to draw a reliability diagram to")
    parser.add_argument(
        "--keep", type=Path, help="file of the trained network, which is read if it exists"
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
        if not hasattr(clf, "held_out_classes_"):
            parser.error(f"--keep {args.keep} was trained without held-out classes")
    else:
        clf = recipes.omniglot(max_iter=args.epochs, random_state=args.seed)
        clf.set_params(unknown_label=UNKNOWN, false_acceptance_rate=args.false_acceptance_rate)
        clf.fit(background.images, background.target, groups=background.alphabets)
        if args.keep:
            clf.save(args.keep, support=False)
    # The names are keys of results/open_world.json.
    classifiers = {"held out": clf, "pretrained": load_pretrained()}
    both = seen_or_not(classifiers, background)
    results = {name: measure(own, data, args.episodes) for name, own in classifiers.items()}
    run = {"epochs": clf.n_iter_, "seed": clf.random_state, "target": clf.false_acceptance_rate}
    report("open_world", {**run, "classifiers": results, "seen_or_not": both})
    if args.picture:
        draw(results, args.picture)


if __name__ == "__main__":
    main()
