"""How the recipe was found: its variants, measured on alphabets held out of training.

    python benchmarks/search.py base "window 2" --seeds 0 1
    python benchmarks/search.py --page

Each variant is trained on 24 of the 30 background alphabets, on one thread, and scored on the
other six by 6,000 trials, 20-way 1-shot within alphabet, the same for all variants. One row per
variant and seed is written to ``results/search.json``; ``--page`` makes ``docs/search.md`` from
it. No evaluation alphabet is read.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from machine import RESULTS, machine

from sksiamese import recipes
from sksiamese.augmentation import Affine, Augmentation, Elastic, Thickness
from sksiamese.datasets import fetch_omniglot
from sksiamese.model_selection import one_shot_score

HELD_OUT = ("Armenian", "Bengali", "Cyrillic", "Gujarati", "Hebrew", "Sanskrit")
PATH = RESULTS / "search.json"
PAGE = Path(__file__).parents[1] / "docs" / "search.md"

# What each variant changes: the recipe before the search, narrower and with fewer epochs.
BASE = {
    "encoder_params": {"width": 32},
    "max_iter": 8,
    "optimizer": "adamw",
    "learning_rate": 3e-3,
    "augmentation": "strokes",
}
STRONGER = Augmentation(
    Affine(rotation=15, shear=0.4, scale=(0.75, 1.3), shift=3), Elastic(0.04, p=0.7), Thickness()
)
MUON = {"optimizer": "muon", "learning_rate": 4e-3}
LARGER = {"resize": 56, "encoder_params": {"width": 32, "max_cells": 7}}
VARIANTS = {
    "base": {},
    "whole images": {"crop": None},
    "batches of 2 x 20 x 2": {"batch_size": (2, 20, 2)},
    "batches of 1 x 10 x 8": {"batch_size": (1, 10, 8)},
    "weighted L1": {"head": "weighted_l1"},
    "window 0": {"head_params": {"window": 0}},
    "window 2": {"head_params": {"window": 2}},
    "128 channels a cell": {"head_params": {"n_channels": 128}},
    "no reflections": {"class_augmentation": "rotate"},
    "no turned classes": {"class_augmentation": None},
    "gentler distortions": {
        "augmentation": Augmentation(
            Affine(shear=0.2, scale=(0.9, 1.1), shift=1), Elastic(), Thickness()
        )
    },
    "stronger distortions": {"augmentation": STRONGER},
    "each distortion more often": {
        "augmentation": Augmentation(Affine(p=0.8), Elastic(p=0.8), Thickness(p=0.8))
    },
    "softmax loss alone": {"loss": "episodic"},
    "cross-entropy loss alone": {"loss": "verification"},
    "32 pixels": {"resize": 32},
    "48 pixels": {"resize": 48},
    "64 pixels": {"resize": 64},
    "56 pixels, 7 cells": LARGER,
    "learning rate 6e-3": {"learning_rate": 6e-3},
    "Muon": MUON,
    "Muon, 24 epochs": {**MUON, "max_iter": 24},
    "Muon, stronger distortions, 24 epochs": {**MUON, "augmentation": STRONGER, "max_iter": 24},
    "Muon, 56 pixels, 7 cells, 16 epochs": {**MUON, **LARGER, "max_iter": 16},
    "Muon, width 48, 24 epochs": {**MUON, "encoder_params": {"width": 48}, "max_iter": 24},
}


def measure(name, seed, data, epochs=None):
    held_out = np.isin(data.alphabets, HELD_OUT)
    clf = recipes.omniglot(random_state=seed).set_params(**{**BASE, **VARIANTS[name]})
    clf.set_params(max_iter=epochs or clf.max_iter)
    start = time.perf_counter()
    clf.fit(data.images[~held_out], data.target[~held_out], groups=data.alphabets[~held_out])
    minutes = (time.perf_counter() - start) / 60
    score = one_shot_score(
        clf,
        data.images[held_out],
        data.target[held_out],
        groups=data.alphabets[held_out],
        n_way=20,
        n_episodes=300,
        random_state=0,
    )
    low, high = score.interval
    return {
        "variant": name,
        "seed": seed,
        "accuracy": float(score),
        "low": low,
        "high": high,
        "minutes": round(minutes, 1),
        "train_loss": clf.history_[0][-1]["train_loss"],
        "estimator": " ".join(repr(clf).split()),
        "machine": machine(),
    }


def write_page(rows):
    lines = [
        "# How the recipe was found",
        "",
        "This page is made by `python benchmarks/search.py --page` from",
        "`benchmarks/results/search.json`. The base is `recipes.omniglot` with AdamW at a",
        'learning rate of 3e-3, `augmentation="strokes"`, a narrower encoder (width 32) and 8',
        "epochs. Each variant changes what its name says. Each network was trained on one thread,",
        f"on the background alphabets without {', '.join(HELD_OUT)}.",
        "It was scored on those six: 20-way 1-shot within alphabet, 6,000 trials, the same for",
        "all variants. No evaluation alphabet was read. Two seeds, or two sets of trials, differ",
        "by about half a point, so smaller differences are noise. The minutes are from several",
        "machines, not all of which have bfloat16.",
        "",
        "| variant | seeds | accuracy in % (95 % interval) | minutes | training loss |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name in VARIANTS:
        own = [row for row in rows if row["variant"] == name]
        if own:
            mean = {
                key: np.mean([row[key] for row in own])
                for key in ("accuracy", "low", "high", "minutes", "train_loss")
            }
            lines.append(
                f"| {name} | {len(own)} | {100 * mean['accuracy']:.2f} "
                f"({100 * mean['low']:.1f}-{100 * mean['high']:.1f}) | {mean['minutes']:.0f} "
                f"| {mean['train_loss']:.3f} |"
            )
    PAGE.write_text("\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("variants", nargs="*", choices=[[], *VARIANTS], default=[])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, help="replaces the number of epochs of each variant")
    parser.add_argument("--page", action="store_true", help="write docs/search.md")
    shared = Path("../shared/omniglot")
    parser.add_argument("--data-home", default=shared if shared.exists() else None)
    args = parser.parse_args()

    torch.set_num_threads(1)
    data = fetch_omniglot("background", data_home=args.data_home) if args.variants else None
    for name in args.variants:
        for seed in args.seeds:
            row = measure(name, seed, data, args.epochs)
            print({k: row[k] for k in ("variant", "seed", "accuracy", "minutes")}, flush=True)
            # Another process may have written rows in the meantime.
            rows = json.loads(PATH.read_text()) if PATH.exists() else []
            rows = [r for r in rows if (r["variant"], r["seed"]) != (name, seed)] + [row]
            PATH.parent.mkdir(exist_ok=True)
            PATH.write_text(json.dumps(rows, indent=1) + "\n")
    if args.page:
        write_page(json.loads(PATH.read_text()))


if __name__ == "__main__":
    main()
