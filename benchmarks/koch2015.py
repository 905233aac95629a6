"""Train the paper's recipe, whole or scaled down, and measure it.

    python benchmarks/koch2015.py --device cuda    # whole: needs a GPU
    python benchmarks/koch2015.py --side 65 --pairs 6000 --batch-size 32 --minutes 30

Trains `recipes.koch2015` (or ``--recipe keras2017``) on the 30 background alphabets, and measures
the official runs, trials resampled within the evaluation alphabets, and verification. The result
is marked as scaled if ``--minutes`` stopped the training, or if images, pairs or batches are
smaller than those of the recipe. Two CPU cores can finish the second command. `accuracy.py --page`
copies the results into ``docs/results.md``.
"""

import argparse
import time
from pathlib import Path

from machine import report
from protocols import PROTOCOLS
from sklearn.utils import Bunch
from skorch.callbacks import Callback

from sksiamese import recipes
from sksiamese.callbacks import StopTraining
from sksiamese.datasets import fetch_omniglot, fetch_omniglot_runs

MEASURED = ("official", "within_20", "verification")


class TimeLimit(Callback):
    """Stop training at the end of the epoch in which the time is up."""

    def __init__(self, minutes):
        self.minutes = minutes

    def on_train_begin(self, net, **kwargs):
        self.start_ = time.perf_counter()

    def on_epoch_end(self, net, **kwargs):
        if time.perf_counter() - self.start_ > 60 * self.minutes:
            raise StopTraining


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", choices=["koch2015", "keras2017"], default="koch2015")
    parser.add_argument("--pairs", type=int, default=30_000)
    parser.add_argument(
        "--side", type=int, default=105, help="height and width in pixels; 105 in the paper"
    )
    parser.add_argument("--batch-size", type=int, help="replaces that of the recipe")
    parser.add_argument(
        "--minutes", type=float, help="stop after the epoch in which they have passed"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    shared = Path("../shared/omniglot")
    parser.add_argument("--data-home", default=shared if shared.exists() else None)
    args = parser.parse_args()

    data = Bunch(
        runs=fetch_omniglot_runs(),
        background=fetch_omniglot("background", data_home=args.data_home),
        evaluation=fetch_omniglot("evaluation", data_home=args.data_home),
    )
    clf = getattr(recipes, args.recipe)(n_pairs=args.pairs, random_state=args.seed)
    clf.set_params(device=args.device, resize=None if args.side == 105 else args.side)
    own_batch_size = clf.batch_size
    clf.set_params(batch_size=args.batch_size or own_batch_size)
    if args.minutes:
        clf.set_params(callbacks=[*(clf.callbacks or ()), TimeLimit(args.minutes)])
    start = time.perf_counter()
    clf.fit(data.background.images, data.background.target, groups=data.background.alphabets)
    minutes = (time.perf_counter() - start) / 60
    scaled = args.side != 105 or args.pairs < 30_000 or clf.batch_size != own_batch_size
    early = clf.n_iter_ < clf.max_iter and bool(args.minutes) and minutes > args.minutes
    report(
        f"{args.recipe}_{args.pairs}",
        {
            "recipe": args.recipe,
            "scaled": scaled or early,
            "side": args.side,
            "pairs": args.pairs,
            "batch_size": clf.batch_size,
            "seed": args.seed,
            "protocol": {name: PROTOCOLS[name][1] for name in MEASURED},
            "estimator": " ".join(repr(clf).split()),
            "epochs": clf.n_iter_,
            "minutes": round(minutes, 1),
            "validation_one_shot": max(row["one_shot_accuracy"] for row in clf.history_[0]),
            "scores": {name: PROTOCOLS[name][2](clf, data) for name in MEASURED},
        },
    )


if __name__ == "__main__":
    main()
