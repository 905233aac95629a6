"""Train the paper's network, by its own recipe or by ours, and measure it.

    python benchmarks/koch2015.py                                # our batches: hours on two cores
    python benchmarks/koch2015.py --recipe koch2015 --device cuda    # the paper's: needs a GPU
    python benchmarks/koch2015.py --recipe koch2015 --side 65 --pairs 6000 --minutes 30

Trains `recipes.koch` (or ``--recipe koch2015``, ``keras2017``) on the 30 background alphabets, and
measures the official runs, trials resampled within the evaluation alphabets, and verification.
After each epoch it writes a checkpoint; the same call goes on from there. The result is marked as
scaled if ``--minutes`` stopped the training, or if images, epochs, pairs or batches are fewer
or smaller than those of the recipe. `accuracy.py --page` copies the results into the docs.
"""

import argparse
import time
from pathlib import Path

import torch
from machine import report
from protocols import PROTOCOLS
from sklearn.base import clone
from sklearn.utils import Bunch
from skorch.callbacks import Callback

from sksiamese import recipes
from sksiamese.callbacks import StopTraining
from sksiamese.datasets import fetch_omniglot, fetch_omniglot_runs
from sksiamese.twin.encoders import build_encoder

SMALLEST = 65  # pixels that the network can take
MEASURED = ("official", "within_20", "verification")


class Clock(Callback):
    """Prints each epoch, and stops training after the one in which the time is up.

    Parameters
    ----------
    limit : float or None
        Minutes of training, all calls together.
    """

    def __init__(self, limit):
        self.limit = limit

    def on_train_begin(self, net, **kwargs):
        self.minutes_, self.seen_ = 0.0, time.perf_counter()

    def on_epoch_end(self, net, **kwargs):
        now = time.perf_counter()
        self.minutes_, self.seen_ = self.minutes_ + (now - self.seen_) / 60, now
        loss = net.history[-1]["train_loss"]
        print(
            f"epoch {len(net.history)}: loss {loss:.3f}, {self.minutes_:.0f} minutes", flush=True
        )
        net.history.record("minutes", self.minutes_)
        if self.limit and self.minutes_ > self.limit:
            raise StopTraining

    def state_dict(self):
        return {"minutes": self.minutes_}

    def load_state_dict(self, state):
        self.minutes_ = state["minutes"]


def estimator(args):
    """Return the recipe's classifier with the changes asked for, and whether it is scaled."""
    recipe = getattr(recipes, args.recipe)
    clf = recipe(random_state=args.seed)
    whole = clf.get_params()
    if args.recipe != "koch":
        clf.set_params(n_pairs=args.pairs)
    clf.set_params(device=args.device)
    if args.side != 105:
        clf.set_params(resize=args.side)
    if args.batch_size:
        clf.set_params(batch_size=args.batch_size)
    if args.epochs:
        clf.set_params(max_iter=args.epochs)
    scaled = args.side != 105 or clf.batch_size != whole["batch_size"]
    scaled |= clf.max_iter < whole["max_iter"]
    return clf, scaled or (whole["n_pairs"] is not None and clf.n_pairs < 30_000)


def train(clf, drawings, args, side):
    """Fit from the last checkpoint on, and return the minutes that it took, all calls together."""
    before = {name: getattr(clf, name) for name in ("callbacks", "checkpoint_dir")}
    clf.set_params(
        callbacks=[*(clf.callbacks or ()), Clock(args.minutes)],
        checkpoint_dir=args.checkpoints / f"{args.recipe}-{side}-{args.seed}",
    )
    clf.fit(drawings.images, drawings.target, groups=drawings.alphabets)
    clf.set_params(**before)
    return clf.history_[0][-1]["minutes"]


def with_trained_convolutions(clf, trained):
    """Return `clf` with an encoder whose convolutions come from another size of image."""
    generator = torch.Generator().manual_seed(clf.random_state)
    encoder = build_encoder("koch", (1, 105, 105), generator, **clf.encoder_params)
    encoder.convs.load_state_dict(trained.network_.encoder.convs.state_dict())
    return clf.set_params(encoder=encoder, encoder_params=None)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", choices=["koch", "koch2015", "keras2017"], default="koch")
    parser.add_argument("--pairs", type=int, default=30_000, help="of the paper's recipes")
    parser.add_argument(
        "--side", type=int, default=105, help="height and width in pixels; 105 in the paper"
    )
    parser.add_argument("--batch-size", type=int, help="pairs; replaces that of the recipe")
    parser.add_argument("--epochs", type=int, help="replaces those of the recipe")
    parser.add_argument(
        "--minutes", type=float, help="end after the epoch in which they have passed"
    )
    parser.add_argument(
        "--checkpoints", type=Path, default=Path(), help="folder; written after each epoch"
    )
    parser.add_argument(
        "--first-epochs",
        type=int,
        default=0,
        help=f"train the convolutions so long on images of {SMALLEST} pixels before",
    )
    parser.add_argument("--keep", type=Path, help="file to save the network to, half precision")
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
    clf, scaled = estimator(args)
    described, minutes = " ".join(repr(clf).split()), 0.0
    as_described = clf.get_params(deep=False)
    if args.first_epochs:
        first = clone(clf).set_params(resize=SMALLEST, max_iter=args.first_epochs)
        minutes += train(first, data.background, args, SMALLEST)
        clf = with_trained_convolutions(clf, first)
    minutes += train(clf, data.background, args, args.side)
    if args.keep:
        clf.set_params(**as_described)
        clf.save(args.keep, half=True, support=False)
    early = clf.n_iter_ < clf.max_iter and bool(args.minutes)
    measured = {name: PROTOCOLS[name][2](clf, data) for name in MEASURED}
    one_shot = [row["one_shot_accuracy"] for row in clf.history_[0] if "one_shot_accuracy" in row]
    pairs = f"_{args.pairs}" if args.recipe != "koch" else f"_{args.side}"
    report(
        f"{args.recipe}{pairs}" + (f"_seed{args.seed}" if args.seed else ""),
        {
            "recipe": args.recipe,
            "scaled": scaled or early,
            "side": args.side,
            "pairs": clf.n_pairs,
            "batch_size": clf.batch_size,
            "seed": args.seed,
            "protocol": {name: PROTOCOLS[name][1] for name in MEASURED},
            "estimator": described,
            "first_epochs": args.first_epochs,
            "epochs": clf.n_iter_,
            "minutes": round(minutes, 1),
            "validation_one_shot": max(one_shot, default=None),
            "loss": [round(row["train_loss"], 4) for row in clf.history_[0]],
            "scores": measured,
        },
    )


if __name__ == "__main__":
    main()
