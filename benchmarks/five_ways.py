"""Fill in the figures of docs/five_ways.md, and measure what the five ways cost.

    python benchmarks/five_ways.py --measure
    python benchmarks/five_ways.py

``--measure`` classifies the official runs on one thread, and writes how long a run takes to
``results/five_ways.json``. Without it, accuracies and times are copied into the page, between its
marks. `accuracy.py --page` does this too.
"""

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from machine import RESULTS, fill_page, report
from models import MODELS
from page import core_minutes, mean_score

from sksiamese import SiameseOneShotClassifier
from sksiamese.datasets import load_omniglot_minimal
from sksiamese.model_selection import score_runs

PAGE = Path(__file__).parents[1] / "docs" / "five_ways.md"


@dataclass(frozen=True)
class Way:
    """A way to classify; `name` is its row in ``results/accuracy.json``."""

    name: str
    title: str
    published: str
    trained_on: str
    trained_as: str | None = None  # the row with the minutes of training


WAYS = (
    Way("pixels", "1-NN on pixels", "21.7 (Koch et al. 2015)", "nothing"),
    Way("softmax-pixels", "a softmax network on one example each", "", "the exemplars"),
    Way(
        "softmax-support",
        "the same, convolutional, on distorted copies",
        "",
        "distorted copies of the exemplars",
    ),
    Way(
        "motor-programs",
        "HBPL: `MotorProgramClassifier`",
        "95.2 (Lake et al. 2013), 96.7 (2015)",
        "nothing; its library of primitives is from pen strokes of 30 alphabets",
    ),
    Way("koch", "Koch's network", "92.0 (Koch et al. 2015)", "30 alphabets", "koch"),
    Way("pretrained", '`load_pretrained("omniglot")`', "", "30 alphabets", "omniglot"),
)
PEOPLE = "| people | 95.5 (Lake et al. 2015) | | | | | |"


def rows_of(name, rows):
    """Return the rows of a model; that of Koch's network has a file of its own."""
    if name != "koch":
        return [row for row in rows if row["model"] == name]
    file = RESULTS / "koch_105.json"
    return [json.loads(file.read_text())] if file.exists() else []


def write_five_ways(rows, page=PAGE):
    """Write the figures of these rows of ``results/accuracy.json`` into the page."""
    file = RESULTS / "five_ways.json"
    seconds = json.loads(file.read_text())["cpu_seconds"] if file.exists() else {}
    figures = {"table": [*_table(rows, seconds)]}
    for way in WAYS:
        figures[way.name] = [_line(way, rows)]
    fill_page(page, figures)


def _table(rows, seconds):
    yield (
        "| way | published, official runs | here, official runs | here, 4,000 resampled trials "
        "| trained on | core-minutes of training | CPU seconds a run |"
    )
    yield "| --- " * 7 + "|"
    for way in WAYS:
        own = rows_of(way.name, rows)
        if own:
            trained = [row for row in rows_of(way.trained_as, rows) if row.get("seed", 0) == 0]
            cells = [
                way.title,
                way.published,
                mean_score(own, "official"),
                mean_score(own, "within_20"),
                way.trained_on,
                core_minutes(trained) if trained else "",
                f"{seconds[way.name]:.2f}" if way.name in seconds else "",
            ]
            yield "| " + " | ".join(cells) + " |"
    yield PEOPLE


def _line(way, rows):
    own = rows_of(way.name, rows)
    here = mean_score(own, "official") if own else "not measured yet"
    published = f"published {way.published}; " if way.published else ""
    return f"**Official runs, %:** {published}here {here}."


def measure(koch=None):
    """Return the CPU seconds that each way takes for an official run, on one thread."""
    torch.set_num_threads(1)
    runs = load_omniglot_minimal().runs
    ways = {way.name: MODELS[way.name][2](None, 0, None) for way in WAYS if way.name != "koch"}
    if koch:
        ways["koch"] = SiameseOneShotClassifier.load(koch)
    seconds = {}
    for name, clf in ways.items():
        start = time.process_time()
        print(name, score_runs(clf, runs), flush=True)
        seconds[name] = round((time.process_time() - start) / len(runs), 4)
    return seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--measure", action="store_true", help="time the ways")
    parser.add_argument("--koch", type=Path, help="saved network of `koch2015.py`, for --measure")
    args = parser.parse_args()
    if args.measure:
        report("five_ways", {"cpu_seconds": measure(args.koch), "protocol": "20 official runs"})
    else:
        write_five_ways(json.loads((RESULTS / "accuracy.json").read_text()))


if __name__ == "__main__":
    main()
