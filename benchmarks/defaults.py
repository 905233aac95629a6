"""How the defaults were found: what `fit` learns from several kinds of data, variant by variant.

    python benchmarks/defaults.py --symbols symbols.npz --series FOLDER
    python benchmarks/defaults.py --page                # writes the figures into docs/defaults.md

Each variant changes some parameters of ``SiameseOneShotClassifier``, is trained on some classes of
each kind of data, and scored by trials of others. All of them are training classes elsewhere: no
evaluation alphabet, family of icons or set of series is read that anything is reported on. The
kinds are

- handwriting: five background alphabets of Omniglot by half of the drawers, scored on the six
  alphabets of `search.py`;
- icons and typefaces: ``symbols.npz`` of ``tools/symbols/build.py``, some classes of training
  names or scripts, scored on classes to choose by, within families of icons and scripts;
- photographs, in colour and in gray: groceries, training classes alone, a third of them held out;
- rows: features of EfficientNet-Lite0 of these photographs;
- series: ``OSULeaf.npz`` and ``BasicMotions.npz`` of aeon in FOLDER, half of the classes held out.

What was measured before is kept; a missing file leaves its kinds out. One thread.
"""

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from machine import RESULTS, fill_page, machine, percent
from protocols import pooled
from real_files import GROCERY, gray, read_set, top_features
from search import HELD_OUT
from series import split_of

from sksiamese import SiameseOneShotClassifier
from sksiamese.datasets import fetch_omniglot
from sksiamese.model_selection import one_shot_score

PATH = RESULTS / "defaults.json"
PAGE = Path(__file__).parents[1] / "docs" / "defaults.md"
TRAINED_ON = ("Burmese_(Myanmar)", "Early_Aramaic", "Futurama", "Greek", "Korean")

BEFORE = {
    "head": "weighted_l1",
    "optimizer": "adamw",
    "learning_rate": 5e-3,
    "crop": None,
    "class_augmentation": None,
    "batch_size": (1, 20, 2),
    "aggregation": "prototype",
}
MUON = {"optimizer": "muon", "learning_rate": 4e-3}
TURNED = {"class_augmentation": "rotate_reflect"}
CROP = {"crop": "foreground"}
FOUR = {"batch_size": (1, 20, 4)}
ALIGNED = {"head": "aligned"}
WHITENED = {"head": "whitened"}
CELLS = {"encoder_params": {"max_cells": 2}}
VARIANTS = {
    "before": {},
    "Muon": MUON,
    "batches of 1 x 20 x 4": FOUR,
    "crop": CROP,
    "turned classes": TURNED,
    "head aligned": ALIGNED,
    "head cosine": {"head": "cosine"},
    "head whitened": WHITENED,
    "Muon, batches": MUON | FOUR,
    "Muon, whitened": MUON | WHITENED,
    "Muon, batches, whitened": MUON | FOUR | WHITENED,
    "Muon, batches, whitened, 2 x 2 cells": MUON | FOUR | WHITENED | CELLS,
    "Muon, batches, aligned": MUON | FOUR | ALIGNED,
    "Muon, batches, whitened, crop": MUON | FOUR | WHITENED | CROP,
    "Muon, batches, aligned, crop": MUON | FOUR | ALIGNED | CROP,
    "Muon, whitened, crop, turned": MUON | WHITENED | CROP | TURNED,
    "Muon, aligned, crop, turned": MUON | ALIGNED | CROP | TURNED,
    "Muon, batches, whitened, crop, turned": MUON | FOUR | WHITENED | CROP | TURNED,
    "Muon, batches, whitened, crop, turned, 2 x 2 cells": MUON
    | FOUR
    | WHITENED
    | CROP
    | TURNED
    | CELLS,
    "Muon, batches, aligned, crop, turned": MUON | FOUR | ALIGNED | CROP | TURNED,
}
FOR_DRAWINGS = {"crop", "class_augmentation"}


@dataclass(frozen=True)
class Kind:
    """Training data of a kind, and data to score by."""

    name: str
    X: np.ndarray
    y: np.ndarray
    groups: np.ndarray | None
    new_images: np.ndarray
    new_y: np.ndarray
    new_groups: np.ndarray | None
    n_way: int
    encoder: str = "auto"
    drawn: bool = False

    def takes(self, variant):
        """Return whether a variant can be measured: some are for drawings, some for images."""
        of_maps = variant.get("head") == "aligned"
        is_images = self.encoder == "auto" and self.X.ndim > 2
        return self.drawn or not (FOR_DRAWINGS & variant.keys() or (of_maps and not is_images))


def handwriting(args):
    data = fetch_omniglot("background", data_home=args.data_home)
    old, new = (np.isin(data.alphabets, names) for names in (TRAINED_ON, HELD_OUT))
    old &= data.drawers % 2 == 0
    columns = [data.images, data.target, data.alphabets]
    yield Kind(
        "handwriting", *(c[old] for c in columns), *(c[new] for c in columns), 20, drawn=True
    )


def symbols(args):
    """Yield icons and typefaces; families and scripts are the groups."""
    data = np.load(args.symbols)
    family = data["group_names"][data["group"]]
    of_script = np.char.startswith(family, "script:")
    _, place, count = np.unique(data["cls"], return_inverse=True, return_counts=True)
    several = (count[place] > 1) & (family != "emoji")
    for name, own, n_classes in (
        ("icons", several & ~of_script, 500),
        ("typefaces", several & of_script, 200),
    ):
        old, new = (own & (data["split"] == split) for split in ("train", "choose"))
        classes = np.random.default_rng(0).permutation(np.unique(data["cls"][old]))[:n_classes]
        columns = 255 - data["images"], data["cls"], family
        parts = [c[rows] for rows in (old & np.isin(data["cls"], classes), new) for c in columns]
        yield Kind(name, *parts, 20, drawn=True)


def photographs(args):
    """Yield photographs in colour, in gray, and the features of a backbone."""
    data = read_set(args.grocery).for_choices()
    old, test = data.training, data.test
    for name, change in (
        ("photographs", lambda images: images),
        ("gray photographs", lambda images: gray(images).astype(np.uint8)),
        ("rows", top_features),
    ):
        X, new = change(old.images), change(test.images)
        yield Kind(name, X, old.labels, None, new, test.labels, None, 5)


def series(args):
    for name in ("OSULeaf", "BasicMotions"):
        with np.load(args.series / f"{name}.npz") as file:
            X, y = file["X"], file["y"]
        old = split_of(y, 0)
        n_way = len(np.unique(y[~old]))
        yield Kind(name, X[old], y[old], None, X[~old], y[~old], None, n_way, "conv1d")


def kinds(args):
    yield from handwriting(args)
    if args.symbols is not None:
        yield from symbols(args)
    if args.grocery.exists():
        yield from photographs(args)
    if args.series is not None:
        yield from series(args)


def measure(kind, params, seeds, epochs=None):
    """Return the accuracies with one and five exemplars, and the seconds of `fit`."""
    found, seconds = {1: [], 5: []}, []
    for seed in seeds:
        clf = SiameseOneShotClassifier(encoder=kind.encoder, random_state=seed)
        clf.set_params(**params, **({} if epochs is None else {"max_iter": epochs}))
        start = time.process_time()
        clf.fit(kind.X, kind.y, groups=kind.groups)
        seconds.append(time.process_time() - start)
        for n_shot, scores in found.items():
            if np.unique(kind.new_y, return_counts=True)[1].min() <= n_shot:
                continue
            score = one_shot_score(
                clf,
                kind.new_images,
                kind.new_y,
                groups=kind.new_groups,
                n_way=kind.n_way,
                n_shot=n_shot,
                n_episodes=4000 // kind.n_way,
                random_state=0,
            )
            scores.append(score)
    return {
        "scores": {f"{n}-shot": pooled(scores) for n, scores in found.items() if scores},
        "cpu_seconds": round(float(np.mean(seconds)), 1),
        "n_way": kind.n_way,
        "seeds": list(seeds),
    }


def known():
    """Return the rows that were measured before: by kind, then by variant."""
    return json.loads(PATH.read_text())["kinds"] if PATH.exists() else {}


def write_page(found, page=PAGE):
    """Write a table of each number of exemplars between the marks of the page."""
    fill_page(
        page,
        {f"{n}-shot": _table(found, f"{n}-shot") for n in (1, 5)} | {"seconds": _seconds(found)},
    )


def _table(found, task):
    kinds = [k for k, rows in found.items() if task in rows["before"]["scores"]]
    ways = {kind: found[kind]["before"]["n_way"] for kind in kinds}
    yield "| variant | " + " | ".join(f"{kind}, {ways[kind]}-way" for kind in kinds) + " |"
    yield "| --- " * (1 + len(kinds)) + "|"
    for name in VARIANTS:
        scores = [found[kind].get(name, {}).get("scores", {}).get(task) for kind in kinds]
        cells = ["" if score is None else percent(score) for score in scores]
        yield "| " + " | ".join([name, *cells]) + " |"


def _seconds(found):
    yield "| variant | " + " | ".join(found) + " |"
    yield "| --- " * (1 + len(found)) + "|"
    for name in VARIANTS:
        seconds = [found[kind].get(name, {}).get("cpu_seconds") for kind in found]
        cells = ["" if value is None else f"{value:.0f}" for value in seconds]
        yield "| " + " | ".join([name, *cells]) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--symbols", type=Path, help="file of tools/symbols/build.py")
    parser.add_argument("--series", type=Path, help="folder of OSULeaf.npz and BasicMotions.npz")
    parser.add_argument("--grocery", type=Path, default=GROCERY, help="archive of photographs")
    shared = Path(__file__).parents[2] / "shared" / "omniglot"
    parser.add_argument("--data-home", default=shared if shared.exists() else None)
    parser.add_argument("--kinds", nargs="+", help="default: all that there are")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, help="of training (default: as it is)")
    parser.add_argument("--page", action="store_true", help="write the figures into the page")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.page:
        write_page(known())
        return
    for kind in kinds(args):
        if args.kinds is not None and kind.name not in args.kinds:
            continue
        for name in args.variants:
            params = BEFORE | VARIANTS[name]
            if not kind.takes(VARIANTS[name]):
                continue
            row = measure(kind, params, args.seeds, args.epochs)
            line = ", ".join(f"{task} {percent(s)}" for task, s in row["scores"].items())
            print(f"{kind.name}, {name}: {line}, {row['cpu_seconds']} s", flush=True)
            found = known()
            found.setdefault(kind.name, {})[name] = row | {"machine": machine()}
            PATH.parent.mkdir(exist_ok=True)
            PATH.write_text(json.dumps({"kinds": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
