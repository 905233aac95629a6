"""One-shot accuracy on Omniglot, by training set and seed.

    python benchmarks/accuracy.py minimal --epochs 50 --seeds 0 1 2
    python benchmarks/accuracy.py background --epochs 18 --seeds 0 1 2

Trains on the five alphabets that ship, or on all thirty (``--data-home``: the folder that holds
the official zips), then scores the 20 official runs (20-way 1-shot, each within one alphabet) and,
as a larger set, trials resampled within the evaluation alphabets from all their drawers. Both are
read once, to report; nothing is chosen by them. 1-NN on pixels is scored by the same calls.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from machine import report
from sklearn.neighbors import KNeighborsClassifier

from sksiamese import SiameseOneShotClassifier
from sksiamese.datasets import fetch_omniglot, fetch_omniglot_runs, load_omniglot_minimal
from sksiamese.model_selection import one_shot_score, score_runs, wilson_interval


def score(classifier, runs, evaluation):
    """The two protocols' scores, as text and numbers."""
    official = score_runs(classifier, runs)
    resampled = one_shot_score(
        classifier,
        evaluation.images,
        evaluation.target,
        groups=evaluation.alphabets,
        n_episodes=200,
        random_state=0,
    )
    return {
        "official": float(official),
        "official_text": str(official),
        "resampled": float(resampled),
        "resampled_text": str(resampled),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", choices=["minimal", "background"])
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    shared = Path("../shared/omniglot")
    parser.add_argument("--data-home", default=shared if shared.exists() else None)
    args = parser.parse_args()

    runs = fetch_omniglot_runs()
    evaluation = fetch_omniglot("evaluation", data_home=args.data_home)
    data = (
        load_omniglot_minimal()
        if args.data == "minimal"
        else fetch_omniglot("background", data_home=args.data_home)
    )
    rows = []
    for seed in args.seeds:
        clf = SiameseOneShotClassifier(
            class_transforms="rotate_reflect", max_iter=args.epochs, random_state=seed
        )
        start = time.perf_counter()
        clf.fit(data.images, data.target, groups=data.alphabets)
        minutes = (time.perf_counter() - start) / 60
        row = {"seed": seed, "minutes": round(minutes, 2), **score(clf, runs, evaluation)}
        print(row, flush=True)
        rows.append(row)

    mean = float(np.mean([row["official"] for row in rows]))
    low, high = wilson_interval(mean * 400, 400)  # the seeds share their 400 trials
    report(
        f"accuracy_{args.data}",
        {
            "protocol": (
                f"Omniglot's 20 official runs, 20-way 1-shot within alphabet, 400 trials; "
                f"resampled: the {len(set(evaluation.alphabets))} evaluation alphabets at hand, "
                f"all drawers, 20-way 1-shot within alphabet, 4000 trials. Trained on "
                f"{len(set(data.alphabets))} alphabets, {len(data.images)} drawings, "
                f"{args.epochs} epochs, {len(args.seeds)} seeds."
            ),
            "estimator": repr(clf),
            "parameters": sum(p.numel() for p in clf.network_.parameters()),
            "official_mean": mean,
            "official_mean_interval_95": [low, high],
            "resampled_mean": float(np.mean([row["resampled"] for row in rows])),
            "minutes_mean": float(np.mean([row["minutes"] for row in rows])),
            "seeds": rows,
            "nearest_neighbour_on_pixels": score(KNeighborsClassifier(1), runs, evaluation),
        },
    )


if __name__ == "__main__":
    main()
