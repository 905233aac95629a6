"""docs/results.md, the README's table and the model card, made of what the benchmarks wrote."""

import json
from pathlib import Path

import numpy as np
from machine import RESULTS
from models import MODELS
from protocols import PROTOCOLS, TRANSDUCTIVE

from sksiamese.model_selection import wilson_interval

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "results.md"
README = ROOT / "README.md"
MARKS = "<!-- results -->", "<!-- end of results -->"
IN_README = ("official", "within_20", "verification", "mnist")
CARD = ROOT / "sksiamese" / "weights" / "omniglot.md"

TRAINED_ON = {"thirty": "30 alphabets", "minimal": "5 alphabets", "kept": "", None: ""}

# Printed figures of others, in %, each with its source.
PUBLISHED = {
    "official": [
        ("humans (Lake et al. 2015)", 95.5),
        ("BPL (Lake et al. 2015)", 96.7),
        ("Koch et al. 2015", 92.0),
        ("ConvARC, pairwise (Shyam et al. 2017)", 97.75),
        ("ConvARC, full context (Shyam et al. 2017)", 98.5),
    ],
    "verification": [
        ("Koch et al. 2015, 30,000 pairs", 90.61),
        ("Koch et al. 2015, 150,000 pairs", 91.63),
        ("Koch et al. 2015, 150,000 pairs, affine copies", 93.42),
    ],
    "mnist": [
        ("Koch et al. 2015", 70.3),
        ("Neural Statistician (Edwards & Storkey 2017)", 78.6),
    ],
}


def write_page(rows):
    lines = [
        "# Results",
        "",
        "Made by `python benchmarks/accuracy.py --page` of `benchmarks/results/accuracy.json`.",
        "Each figure is the mean over the seeds, in %, with the 95 % interval of the trials,",
        "which the seeds share. Core-minutes are those of training, times the threads it ran on;",
        "twins are trained in bfloat16 where a processor has instructions for it.",
        "Everything was chosen on background alphabets; evaluation alphabets are read to report.",
        "",
        *(f"- **{head}**: {text}." for head, text, _ in PROTOCOLS.values()),
        "",
        "## Inductive",
        "",
        *_table(rows, [name for name in PROTOCOLS if name not in TRANSDUCTIVE]),
        "",
        "## Transductive",
        "",
        "All queries of a trial are answered together, each class once. No figure here may be",
        "compared with one above.",
        "",
        *_table(rows, TRANSDUCTIVE),
        "",
        "## Verification",
        "",
        *_verification(rows),
        "",
        "## Open world",
        "",
        *_open_world(),
        "",
        "## The paper's own recipe",
        "",
        "By `benchmarks/koch2015.py`. A scaled run has smaller images, batches or sets of pairs",
        "than the paper's, or was stopped early: it shows that the recipe learns, not how far.",
        "",
        *_paper(),
        "",
        "## Published",
        "",
        "| figure | who | % |",
        "| --- | --- | --- |",
        *(
            f"| {PROTOCOLS[protocol][0]} | {who} | {value} |"
            for protocol, entries in PUBLISHED.items()
            for who, value in entries
        ),
        "",
        "## Machines",
        "",
        *sorted({f"- {_words(row['machine'])}" for row in rows}),
    ]
    PAGE.write_text("\n".join(lines) + "\n")
    CARD.write_text("\n".join(_card(rows)) + "\n")
    before, rest = README.read_text().split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    table = "\n".join([MARKS[0], *_table(rows, IN_README), MARKS[1]])
    README.write_text(before + table + after)


def _open_world():
    """Rejection and calibration, of ``results/open_world.json``."""
    run = json.loads((RESULTS / "open_world.json").read_text())
    held_out, shipped = (run["twins"][name] for name in ("held out", "shipped"))
    alone = list(run["seen_or_not"]["intercepts"].values())
    yield from [
        "By `benchmarks/open_world.py --picture docs/reliability.png`. Each trial has twenty",
        "characters of one alphabet, ten of them known by one exemplar each. *Held out*: "
        f"`recipes.omniglot(max_iter={run['epochs']}, random_state={run['seed']})` with",
        "`unknown_label`, which holds a fifth of the background alphabets out of training and is",
        f"calibrated by them, for a rate of false acceptance of {100 * run['asked']:.0f} % in "
        "trials of twenty known classes.",
        '*Shipped*: `load_pretrained("omniglot")`, trained on all of them and calibrated by them.',
        "",
        "| trials | twin | area under the ROC curve | unknown, accepted | known, rejected "
        "| accepted, right | queries |",
        "| --- " * 7 + "|",
    ]
    for trials, name in (("official", "official runs"), ("resampled", "within, 20-way")):
        for twin, result in (("held out", held_out), ("shipped", shipped)):
            score = result[trials]
            rates = ("false_acceptance", "false_rejection", "accuracy_of_accepted")
            cells = [f"{100 * score[rate]:.1f}" if rate in score else "" for rate in rates]
            cells = [name, twin, f"{score['auroc']:.4f}", *cells, f"{score['n']:,}"]
            yield "| " + " | ".join(cells) + " |"
    yield from [
        "",
        "Expected calibration error of `pair_proba` (fifteen bins of equal width, "
        f"{held_out['n_pairs']:,} pairs within",
        "alphabet, half of one character), before and after calibration: "
        + "; ".join(
            f"{name} {twin['before']['error']:.3f}, {twin['after']['error']:.3f}"
            for name, twin in (("held out", held_out), ("shipped", shipped))
        )
        + ".",
        "",
        "![how often pairs are of one class, by pair_proba](reliability.png)",
        "",
        f"Calibrated by the {len(run['seen_or_not']['alphabets'])} alphabets that only the second "
        "has seen, the two would have:",
        "",
        *(
            f"- {name}: slope {by['slope']:.2f}, intercept {by['intercept']:.2f}, and a threshold "
            f"at {by['threshold_before']:.2f} of the head's logit, with twenty known classes"
            for name, by in run["seen_or_not"].items()
            if name in run["twins"]
        ),
        "",
        "Calibrated by one background alphabet alone, the shipped twin would have an intercept",
        f"from {max(alone):.2f} to {min(alone):.2f}, {np.mean(alone):.2f} on average.",
    ]


def _paper():
    yield (
        "| recipe | run | images | pairs | batch | epochs | minutes "
        "| official runs | within, 20-way | verification |"
    )
    yield "| --- " * 10 + "|"
    files = sorted(RESULTS.glob("koch2015_*.json")) + sorted(RESULTS.glob("keras2017_*.json"))
    for run in (json.loads(file.read_text()) for file in files):
        cells = [
            f"`recipes.{run['recipe']}()`",
            "scaled" if run["scaled"] else "whole",
            f"{run['side']}x{run['side']}",
            f"{run['pairs']:,}",
            str(run["batch_size"]),
            str(run["epochs"]),
            f"{run['minutes']:.0f}",
            *(_mean([run], name) for name in ("official", "within_20", "verification")),
        ]
        yield "| " + " | ".join(cells) + " |"


def _card(rows):
    (shipped,) = (row for row in rows if row["model"] == "shipped")
    trained = next(row for row in rows if (row["model"], row["seed"]) == ("omniglot", 0))
    yield from [
        '# The twin "omniglot"',
        "",
        "Made by `python benchmarks/accuracy.py --page`; `tests/test_weights.py` measures again.",
        "",
        "- **Use**: handwritten characters and other line drawings, one channel; one exemplar",
        "  of each class goes to `set_support`. Ink may be dark or light, images of any size:",
        "  both are learned from the support. Place and size of the ink do not count.",
        "- **Data**: the 30 background alphabets of Omniglot (Lake et al. 2015, MIT licence), 964",
        "  characters by 20 drawers, 19,280 drawings.",
        f"- **Recipe**: `recipes.omniglot(random_state=0)`, {_core_minutes([trained])}",
        f"  core-minutes; {_words(trained['machine'])}.",
        "- **Calibration**: slope and intercept of the logits and `threshold_`, for 5 % of false",
        "  acceptance in 20-way trials, are of the background alphabets (open world in",
        "  `docs/results.md`); `calibrate` learns them from classes of yours.",
        "- **Commands**: `python benchmarks/accuracy.py omniglot --keep twins`, then",
        "  `python tools/ship_twin.py twins/omniglot-0.safetensors`.",
        f"- **Size**: {trained['parameters']:,} parameters in half precision.",
        "- **Limits**: photographs and filled shapes are unlike anything it has seen. It compares",
        "  layouts: a drawing turned on its side is another class to it.",
        "",
        "| figure | % (95 % interval) | trials |",
        "| --- | --- | --- |",
    ]
    for name, score in shipped["scores"].items():
        low, high = 100 * score["low"], 100 * score["high"]
        yield (
            f"| {PROTOCOLS[name][1]} | {100 * score['accuracy']:.2f} ({low:.1f}-{high:.1f}) "
            f"| {score['n']:,} |"
        )


def _groups(rows):
    """Rows of each model, in the order of `MODELS`."""
    for name in MODELS:
        own = sorted((row for row in rows if row["model"] == name), key=lambda row: row["seed"])
        if own:
            yield own


def _table(rows, protocols):
    heads = [PROTOCOLS[name][0] for name in protocols]
    yield "| model | trained on | core-minutes | parameters | seeds | " + " | ".join(heads) + " |"
    yield "| --- " * (5 + len(heads)) + "|"
    for own in _groups(rows):
        scores = [_mean(own, name) for name in protocols]
        if not any(scores):
            continue
        first = own[0]
        trained = first["minutes"] is not None
        bfloat16 = " (bfloat16)" * _has_bfloat16(first["machine"])  # baselines are float32
        bfloat16 *= first["estimator"].startswith("Siamese")
        cells = [
            MODELS[first["model"]][0],
            TRAINED_ON[first["trained_on"]],
            _core_minutes(own) + bfloat16 if trained else "",
            f"{first['parameters']:,}" if first["parameters"] else "",
            str(len(own)) if trained else "",
            *scores,
        ]
        yield "| " + " | ".join(cells) + " |"


def _core_minutes(rows):
    minutes = np.mean([row["minutes"] * row["machine"]["torch_threads"] for row in rows])
    return f"{minutes:.0f}"


def _words(machine):
    arithmetic = "bfloat16" if _has_bfloat16(machine) else "float32"
    threads = f"{machine['torch_threads']} thread" + "s" * (machine["torch_threads"] > 1)
    return f"{machine['processor']}, {threads}, {arithmetic}, torch {machine['torch']}"


def _has_bfloat16(machine):
    """Whether training took it, which `precision="auto"` does where there are instructions."""
    return machine.get("bfloat16", False)


def _mean(rows, protocol):
    scores = [row["scores"][protocol] for row in rows if protocol in row["scores"]]
    if not scores:
        return ""
    mean, n = np.mean([score["accuracy"] for score in scores]), scores[0]["n"]
    low, high = wilson_interval(mean * n, n)
    return f"{100 * mean:.2f} ({100 * low:.1f}-{100 * high:.1f})"


def _verification(rows):
    yield "| model | accuracy | area under the ROC curve | equal error rate |"
    yield "| --- | --- | --- | --- |"
    for own in _groups(rows):
        scores = [row["scores"].get("verification") for row in own]
        if all(scores):
            auc, error = (np.mean([s[key] for s in scores]) for key in ("auc", "equal_error"))
            mean = _mean(own, "verification")
            yield f"| {MODELS[own[0]['model']][0]} | {mean} | {auc:.4f} | {100 * error:.2f} |"
