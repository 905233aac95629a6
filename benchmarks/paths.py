"""Write which way suits which data, with figures, into docs/paths.md.

    python benchmarks/paths.py --page

The figures are those of other benchmarks: results/*.json.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from machine import RESULTS, fill_page

PAGE = Path(__file__).parents[1] / "docs" / "paths.md"
WAYS = ("pretrained", "fine-tune", "train", "own backbone", "something else")


def read(name):
    return json.loads((RESULTS / f"{name}.json").read_text())


def handwriting(rows):
    """Return the accuracy of each way on the evaluation alphabets, over the seeds."""
    models = {"symbols": "pretrained", "omniglot": "train", "pixels": "something else"}
    found = {way: [] for way in models.values()}
    for row in rows:
        if row["model"] in models:
            found[models[row["model"]]].append(row["scores"]["within_20"]["accuracy"])
    return {way: np.mean(values) for way, values in found.items()}


def typefaces(rows):
    """Return the accuracy before and after fine-tuning on 40 classes of printed characters."""
    of_printed = (row for row in rows if row["drawings"].startswith("printed"))
    row = next(row for row in of_printed if row["classes"] == 40)
    names = {"before": "pretrained", "fine-tuned": "fine-tune", "from scratch": "train"}
    return {way: row[name]["accuracy"] for name, way in names.items()}


def files(rows, name, protocol):
    """Return the best accuracy of each way on a set of image files."""
    ways = next(row for row in rows if row["set"] == name)["ways"]
    kinds = {
        "pretrained": ("pretrained",),
        "fine-tune": ("fine-tuned",),
        "train": ("trained", "photos"),
        "own backbone": ("backbone", "both"),
        "something else": ("pixels", "hog"),
    }
    scores = {
        way: [ways[each]["scores"].get(protocol) for each in own if each in ways]
        for way, own in kinds.items()
    }
    return {
        way: max(score["accuracy"] for score in own if score)
        for way, own in scores.items()
        if any(own)
    }


def table_rows():
    """Yield kind of data, protocol, page, and the accuracy of each way that was measured."""
    real = read("real_files")["rows"]
    one_shot = "20-way 1-shot"
    yield (
        "clean handwriting: ten alphabets of Omniglot",
        f"{one_shot} within alphabet",
        "results.md",
        handwriting(read("accuracy")),
    )
    scans = read("scans")["conditions"]
    yield (
        "scans and phone pictures: Omniglot on simulated paper, all faults at once",
        "official runs",
        "results.md",
        {"pretrained": scans["phone picture with all"]["accuracy"]},
    )
    digits = files(real, "digits", "5-way 1-shot")
    yield "handwritten digits: MNIST", "5-way 1-shot", "real_files.md", digits
    yield (
        "printed characters, other typefaces; 40 training classes",
        one_shot,
        "fine_tuning.md",
        typefaces(read("fine_tuning")["rows"]),
    )
    for kind, name in (
        ("icons, filled to outline", "icons, filled to outline"),
        ("emoji, of two vendors", "emoji, flat to noto"),
        ("flags and logos: flags of two collections", "flags, flag-icons to flagpack"),
        ("photographs: groceries", "grocery"),
    ):
        yield kind, one_shot, "real_files.md", files(real, name, one_shot)
    series = read("series")["sets"][0]["rows"]
    yield (
        "series: JapaneseVowels",
        "5-way 1-shot",
        "series_tables_text.md",
        {
            "train": series['`encoder="conv1d"`']["accuracy"],
            "something else": series["1-NN, DTW"]["accuracy"],
        },
    )
    rows = read("digits")["scores"]
    yield (
        "tables: digits as rows, 5 training classes",
        "5-way 1-shot",
        "series_tables_text.md",
        {
            "train": rows["rows as they are, whitened"]["accuracy"],
            "something else": rows["1-NN"]["accuracy"],
        },
    )
    texts = read("texts")["scores"]
    yield (
        "text: docstrings by topic",
        "5-way 1-shot",
        "series_tables_text.md",
        {
            "train": texts["twin network"]["accuracy"],
            "own backbone": texts["whitened sentence embeddings"]["accuracy"],
            "something else": texts["1-NN, sentence embeddings"]["accuracy"],
        },
    )


def page():
    """Yield the lines of the table; the best way of a row is bold."""
    yield f"| data | trials | {' | '.join(WAYS)} |"
    yield "| --- " * (2 + len(WAYS)) + "|"
    for kind, protocol, link, scores in table_rows():
        best = max(scores.values())
        cells = [_cell(scores.get(way), best) for way in WAYS]
        yield f"| [{kind}]({link}) | {protocol} | {' | '.join(cells)} |"
    for kind, link in (("signatures", "verification.md"), ("faces", "faq.md")):
        yield f"| [{kind}]({link}) | not measured | {' | '.join([''] * len(WAYS))} |"


def _cell(accuracy, best):
    if accuracy is None:
        return ""
    return f"**{100 * accuracy:.1f}**" if accuracy == best else f"{100 * accuracy:.1f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--page", action="store_true", required=True)
    parser.parse_args()
    fill_page(PAGE, {"paths": page()})


if __name__ == "__main__":
    main()
