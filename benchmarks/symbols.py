"""Measure the pretrained networks on icons, emoji and typefaces that they were not trained on.

    python tools/symbols/build.py ...                        # see tools/symbols/README.md
    python benchmarks/symbols.py symbols.npz                 # writes results/symbols.json

The set is that of the pretrained network "symbols", of which only the part "judge" is used:
families of icons, and scripts, that nothing was trained on or chosen by, and all emoji. Exemplars
are of one style or typeface, queries of another. Trials are 20-way and 1-shot. 1-NN on histograms
of oriented gradients (Dalal & Triggs 2005) stands beside them. The card of the network is made
from the results by ``accuracy.py --page``.
"""

import argparse
from itertools import permutations
from pathlib import Path

import numpy as np
from baselines import hog
from machine import report
from protocols import as_row

from sksiamese import load_pretrained

N_WAY = 20
N_TRIALS = 4000


def by_hog(support, query):
    """Return the negative distance of each query to each exemplar."""
    a, b = hog(query), hog(support)
    return -((a**2).sum(1)[:, None] - 2 * a @ b.T + (b**2).sum(1))


def by_network(name):
    def logits(support, query):
        clf = load_pretrained(name).set_support(support, np.arange(len(support)))
        return clf.decision_function(query)

    return logits


WAYS = {"symbols": by_network("symbols"), "omniglot": by_network("omniglot"), "hog": by_hog}


def tasks(data):
    """Yield the name, and rows of exemplars and of queries class by class, of each task."""
    rng = np.random.default_rng(0)
    for family in np.unique(data["group"][data["split"] == "judge"]):
        name = data["group_names"][family]
        rows = rng.permutation(
            np.flatnonzero((data["split"] == "judge") & (data["group"] == family))
        )
        if name.startswith("script:"):
            order = rows[np.argsort(data["cls"][rows], kind="stable")]
            first = np.unique(data["cls"][order], return_index=True)[1]
            first = first[np.diff(np.append(first, len(order))) > 1]
            yield name, order[first], order[first + 1]  # two typefaces of each character
            continue
        of_style = {}
        for row in rows:
            of_style.setdefault(data["style"][row], {})[data["cls"][row]] = row
        for one, other in permutations(sorted(of_style), 2):
            common = sorted(of_style[one].keys() & of_style[other].keys())
            if len(common) >= N_WAY:
                names = (str(data["style_names"][s]).split(":")[-1] for s in (one, other))
                pair = " to ".join(names)
                a, b = ([of_style[s][c] for c in common] for s in (one, other))
                yield f"{name}, {pair}", np.array(a), np.array(b)


def measure(logits):
    """Return the accuracy of trials of classes drawn from a matrix (queries, exemplars)."""
    rng = np.random.default_rng(0)
    n_classes, right = len(logits), 0
    n_episodes = N_TRIALS // N_WAY
    for _ in range(n_episodes):
        chosen = rng.choice(n_classes, N_WAY, replace=False)
        right += (logits[np.ix_(chosen, chosen)].argmax(1) == np.arange(N_WAY)).sum()
    return as_row(right / (n_episodes * N_WAY), n_episodes * N_WAY)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("symbols", type=Path, help="file of tools/symbols/build.py")
    args = parser.parse_args()
    data = dict(np.load(args.symbols))
    results = {}
    for name, exemplars, queries in tasks(data):
        support, query = data["images"][exemplars], data["images"][queries]
        row = {way: measure(logits(support, query)) for way, logits in WAYS.items()}
        results[name] = {"n_classes": len(exemplars), **row}
        print(
            name, len(exemplars), {w: round(r["accuracy"], 4) for w, r in row.items()}, flush=True
        )
    report("symbols", {"results": results})


if __name__ == "__main__":
    main()
