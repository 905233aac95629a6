"""How the recipe was found: variants of it, judged on background alphabets held out of training.

    python benchmarks/search.py base "window 2" --seeds 0 1
    python benchmarks/search.py --page

Each variant is trained on 24 of the 30 background alphabets, on one thread, and scored on the
other six by 20-way 1-shot trials within alphabet, 6,000 of them, the same for all. One row a
variant and seed goes into ``results/search.json``; ``--page`` makes ``docs/search.md`` of it. No
evaluation alphabet is read.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from machine import RESULTS, machine

from sksiamese import recipes
from sksiamese.datasets import fetch_omniglot
from sksiamese.model_selection import one_shot_score
from sksiamese.twin.distortions import Affine, Distortion, Elastic, Thickness

HELD_OUT = ("Armenian", "Bengali", "Cyrillic", "Gujarati", "Hebrew", "Sanskrit")
PATH = RESULTS / "search.json"
PAGE = Path(__file__).parents[1] / "docs" / "search.md"

# What every variant starts from: narrower and shorter than the recipe, and as that was at first.
BASE = {
    "encoder_params": {"width": 32},
    "max_iter": 8,
    "optimizer": "adamw",
    "learning_rate": 3e-3,
    "distortion": "strokes",
}
STRONGER = Distortion(
    Affine(rotation=15, shear=0.4, scale=(0.75, 1.3), shift=3), Elastic(0.04, p=0.7), Thickness()
)
MUON = {"optimizer": "muon", "learning_rate": 4e-3}
LARGER = {"image_size": 56, "encoder_params": {"width": 32, "max_cells": 7}}
VARIANTS = {
    "base": {},
    "whole images": {"frame": "image"},
    "batches of 2 x 20 x 2": {"batch_shape": (2, 20, 2)},
    "batches of 1 x 10 x 8": {"batch_shape": (1, 10, 8)},
    "weighted L1": {"head": "weighted_l1"},
    "window 0": {"head_params": {"window": 0}},
    "window 2": {"head_params": {"window": 2}},
    "128 channels a cell": {"head_params": {"n_channels": 128}},
    "no reflections": {"class_transforms": "rotate"},
    "no turned classes": {"class_transforms": None},
    "gentler distortions": {
        "distortion": Distortion(
            Affine(shear=0.2, scale=(0.9, 1.1), shift=1), Elastic(), Thickness()
        )
    },
    "stronger distortions": {"distortion": STRONGER},
    "each distortion more often": {
        "distortion": Distortion(Affine(p=0.8), Elastic(p=0.8), Thickness(p=0.8))
    },
    "softmax loss alone": {"loss": "episodic"},
    "cross-entropy loss alone": {"loss": "verification"},
    "32 pixels": {"image_size": 32},
    "48 pixels": {"image_size": 48},
    "64 pixels": {"image_size": 64},
    "56 pixels, 7 cells": LARGER,
    "learning rate 6e-3": {"learning_rate": 6e-3},
    "Muon": MUON,
    "Muon, 24 epochs": {**MUON, "max_iter": 24},
    "Muon, stronger distortions, 24 epochs": {**MUON, "distortion": STRONGER, "max_iter": 24},
    "Muon, 56 pixels, 7 cells, 16 epochs": {**MUON, **LARGER, "max_iter": 16},
    "Muon, width 48, 24 epochs": {**MUON, "encoder_params": {"width": 48}, "max_iter": 24},
}


def measure(name, seed, data, epochs=None):
    held = np.isin(data.alphabets, HELD_OUT)
    clf = recipes.omniglot(random_state=seed).set_params(**{**BASE, **VARIANTS[name]})
    clf.set_params(max_iter=epochs or clf.max_iter)
    start = time.perf_counter()
    clf.fit(data.images[~held], data.target[~held], groups=data.alphabets[~held])
    minutes = (time.perf_counter() - start) / 60
    score = one_shot_score(
        clf,
        data.images[held],
        data.target[held],
        groups=data.alphabets[held],
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
        "train_loss": clf.history_[-1]["train_loss"],
        "estimator": " ".join(repr(clf).split()),
        "machine": machine(),
    }


def write_page(rows):
    lines = [
        "# How the recipe was found",
        "",
        "Made by `python benchmarks/search.py --page` of `benchmarks/results/search.json`.",
        "The base is `recipes.omniglot` as it was at first (AdamW at 3e-3, `strokes`",
        "distortions), with a narrower encoder (width 32) and 8 epochs; a variant changes what",
        "it says. Each was trained on one thread, on background alphabets",
        f"without {', '.join(HELD_OUT)}, and scored on those:",
        "20-way 1-shot within alphabet, 6,000 trials that all share. No evaluation alphabet was",
        "read. Seeds differ by about half a point, and so do trials: less is noise. Minutes are",
        "of several machines, not all with bfloat16.",
        "",
        "| variant | seeds | % (95 % interval) | minutes | training loss |",
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
    parser.add_argument("--epochs", type=int, help="in place of each variant's own")
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
            # Read anew: another process may search beside this one.
            rows = json.loads(PATH.read_text()) if PATH.exists() else []
            rows = [r for r in rows if (r["variant"], r["seed"]) != (name, seed)] + [row]
            PATH.parent.mkdir(exist_ok=True)
            PATH.write_text(json.dumps(rows, indent=1) + "\n")
    if args.page:
        write_page(json.loads(PATH.read_text()))


if __name__ == "__main__":
    main()
