"""Make docs/results.md, the README's table and the model card from the benchmarks' results."""

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
CARD = ROOT / "sksiamese" / "weights" / "omniglot.md"

TRAINED_ON = {"thirty": "30 alphabets", "minimal": "5 alphabets", "kept": "30 alphabets"}

# What the README shows: models with description and training set, and protocols with headings.
README_MODELS = {
    "omniglot": ("`recipes.omniglot()`", "30 alphabets"),
    "omniglot-members": ("the same with `n_estimators=3`", "30 alphabets"),
    "pretrained": ('`load_pretrained("omniglot")`', "30 alphabets"),
    "quickstart": ("`recipes.omniglot(max_iter=40)`, the quickstart", "5 alphabets"),
    "motor-programs": ("`MotorProgramClassifier()`", "none"),
    "pixels": ("1-nearest-neighbour on pixels", ""),
}
README_PROTOCOLS = {
    "official": "official runs: 20-way 1-shot within alphabet, 400 trials",
    "within_20": "20-way 1-shot within alphabet, 4,000 resampled trials",
    "verification": "verification, 20,000 pairs within alphabet",
    "mnist": "MNIST: 10-way 1-shot, 4,000 trials",
}

# Results that others have published, in %, each with its source.
PUBLISHED = {
    "official": [
        ("humans (Lake et al. 2015)", 95.5),
        ("BPL (Lake et al. 2015)", 96.7),
        ("HBPL (Lake et al. 2013)", 95.2),
        ("affine model (Lake et al. 2013)", 81.8),
        ("simple strokes (Lake et al. 2013)", 35.2),
        ("Koch et al. 2015", 92.0),
        ("Siamese network of dense layers (Koch et al. 2015)", 58.3),
        ("1-nearest-neighbour on pixels (Koch et al. 2015)", 21.7),
        ("distortable canvas, without training (Yu et al. 2025)", 93.25),
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
        ("distortable canvas, without training (Yu et al. 2025)", 80.0),
    ],
}


def write_page(rows):
    lines = [
        "# Results",
        "",
        "This page is made by `python benchmarks/accuracy.py --page` from",
        "`benchmarks/results/accuracy.json`. Each figure is the mean over the seeds, in %, with",
        "the 95 % interval of the trials, which are the same for all seeds. Core-minutes are",
        "minutes of training times threads. Networks are trained in bfloat16 where the processor",
        "has instructions for it. All parameters were chosen on background alphabets. The",
        "evaluation alphabets are only used to report.",
        "",
        *(f"- **{head}**: {text}." for head, text, _ in PROTOCOLS.values()),
        "",
        "## Inductive",
        "",
        *_table(rows, [name for name in PROTOCOLS if name not in TRANSDUCTIVE]),
        "",
        "## Transductive",
        "",
        "All queries of a trial are classified together, each as a different class. These figures",
        "cannot be compared with those above.",
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
        "## The network of the paper",
        "",
        "These are results of `benchmarks/koch2015.py`. `recipes.koch()` trains the network and",
        "head of the paper by this package's batches and loss; the other recipes train them as",
        "the paper, or a widely copied notebook, says. A scaled run has smaller images, batches",
        "or sets of pairs than its recipe, or was stopped early. It shows that the recipe learns,",
        "not how accurate it becomes.",
        "",
        *_paper(),
        "",
        "## Published",
        "",
        "| protocol | method | % |",
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
    table = "\n".join([MARKS[0], *_readme_table(rows), MARKS[1]])
    README.write_text(before + table + after)


def _readme_table(rows):
    yield "| model | training set | seeds | " + " | ".join(README_PROTOCOLS.values()) + " |"
    yield "| --- " * (3 + len(README_PROTOCOLS)) + "|"
    for name, cells in README_MODELS.items():
        own = [row for row in rows if row["model"] == name]
        if own:
            scores = (mean_score(own, protocol) for protocol in README_PROTOCOLS)
            seeds = str(len(own)) if cells[1] else ""  # what is not trained has none
            yield "| " + " | ".join([*cells, seeds, *scores]) + " |"


def _open_world():
    """Yield rejection and calibration, from ``results/open_world.json``."""
    run = json.loads((RESULTS / "open_world.json").read_text())
    results = run["classifiers"]
    alone = list(run["seen_or_not"]["intercepts"].values())
    yield from [
        "These are results of `benchmarks/open_world.py --picture docs/reliability.png`. Each",
        "trial has 20 characters of one alphabet, 10 of which are known by one exemplar each.",
        "",
        f"- *held out*: `recipes.omniglot(max_iter={run['epochs']}, random_state={run['seed']})` "
        "with `unknown_label`. It holds a",
        "  fifth of the background alphabets out of training, and is calibrated on them for a",
        f"  false-acceptance rate of {100 * run['target']:.0f} % in trials of 20 known classes.",
        '- *pretrained*: `load_pretrained("omniglot")`. It was trained and calibrated on all',
        "  background alphabets.",
        "",
        "| trials | network | area under the ROC curve | unknown queries accepted, % "
        "| known queries rejected, % | accuracy of the accepted, % | queries |",
        "| --- " * 7 + "|",
    ]
    for trials, heading in (("official", "official runs"), ("resampled", "within, 20-way")):
        for name, result in results.items():
            score = result[trials]
            rates = ("false_acceptance", "false_rejection", "accuracy_of_accepted")
            cells = [f"{100 * score[rate]:.1f}" if rate in score else "" for rate in rates]
            cells = [heading, name, f"{score['auroc']:.4f}", *cells, f"{score['n']:,}"]
            yield "| " + " | ".join(cells) + " |"
    yield from [
        "",
        "Expected calibration error of `pair_proba`, in 15 bins of equal width, on "
        f"{results['held out']['n_pairs']:,} pairs",
        "within alphabet, half of which are of one character:",
        "",
        "| network | before calibration | after calibration |",
        "| --- | --- | --- |",
        *(
            f"| {name} | {result['before']['error']:.3f} | {result['after']['error']:.3f} |"
            for name, result in results.items()
        ),
        "",
        "![fraction of pairs of the same class, by pair_proba](reliability.png)",
        "",
        f"Calibration on the {len(run['seen_or_not']['alphabets'])} alphabets that only the "
        "pretrained network has seen in training gives",
        "these values. The threshold is a logit of the head, in trials of 20 known classes.",
        "",
        "| network | slope | intercept | threshold |",
        "| --- | --- | --- | --- |",
        *(
            f"| {name} | {own['slope']:.2f} | {own['intercept']:.2f} "
            f"| {own['threshold_before']:.2f} |"
            for own, name in ((run["seen_or_not"][name], name) for name in results)
        ),
        "",
        "Calibration on a single background alphabet gives the pretrained network an intercept",
        f"from {max(alone):.2f} to {min(alone):.2f}, {np.mean(alone):.2f} on average.",
    ]


def _paper():
    yield (
        "| recipe | run | images | pairs | batch | epochs | minutes "
        "| official runs | within, 20-way | verification |"
    )
    yield "| --- " * 10 + "|"
    recipes = ("koch", "koch2015", "keras2017")
    files = [file for name in recipes for file in sorted(RESULTS.glob(f"{name}_*.json"))]
    for run in (json.loads(file.read_text()) for file in files):
        cells = [
            f"`recipes.{run['recipe']}()`",
            "scaled" if run["scaled"] else "whole",
            f"{run['side']}x{run['side']}",
            f"{run['pairs']:,}" if run["pairs"] else "all in a batch",
            str(run["batch_size"]).strip("[]").replace(", ", " x "),
            _epochs(run),
            f"{run['minutes']:.0f}",
            *(mean_score([run], name) for name in ("official", "within_20", "verification")),
        ]
        yield "| " + " | ".join(cells) + " |"


def _epochs(run):
    """Return the epochs of a run, those of its convolutions alone before."""
    first = run.get("first_epochs")
    return f"{first} of 65x65, then {run['epochs']}" if first else str(run["epochs"])


def _card(rows):
    (pretrained,) = (row for row in rows if row["model"] == "pretrained")
    trained = next(row for row in rows if (row["model"], row["seed"]) == ("omniglot", 0))
    yield from [
        '# Pretrained network "omniglot"',
        "",
        "This card is made by `python benchmarks/accuracy.py --page`. `tests/test_weights.py`",
        "measures the accuracy again.",
        "",
        "- **Use**: one-shot classification of handwritten characters and other line drawings of",
        "  one channel. Give one exemplar of each class to `set_support`, which also infers image",
        "  size, background level and polarity. Position and size of a drawing do not matter.",
        "- **Data**: the 30 background alphabets of Omniglot (Lake et al. 2015, MIT licence): 964",
        "  characters by 20 drawers, 19,280 drawings.",
        f"- **Training**: `recipes.omniglot(random_state=0)`, {core_minutes([trained])} "
        f"core-minutes; {_words(trained['machine'])}.",
        "- **Calibration**: the slope and the intercept of the logits, and",
        "  `rejection_threshold_` for a false-acceptance rate of 5 % in 20-way trials, are from",
        "  the training alphabets (see open world in `docs/results.md`). Call `calibrate` to",
        "  learn them from your own classes.",
        "- **Commands**: `python benchmarks/accuracy.py omniglot --keep networks`, then",
        "  `python tools/make_pretrained.py networks/omniglot-0.safetensors`.",
        f"- **Size**: {trained['parameters']:,} parameters in half precision.",
        "- **Limits**: it was not trained on photographs or filled shapes. It compares the layout",
        "  of drawings, so a rotated drawing is of another class.",
        "",
        "| protocol | % (95 % interval) | trials |",
        "| --- | --- | --- |",
    ]
    for name, score in pretrained["scores"].items():
        low, high = 100 * score["low"], 100 * score["high"]
        yield (
            f"| {PROTOCOLS[name][1]} | {100 * score['accuracy']:.2f} ({low:.1f}-{high:.1f}) "
            f"| {score['n']:,} |"
        )


def _groups(rows):
    """Yield the rows of each model, in the order of `MODELS`."""
    for name in MODELS:
        own = sorted((row for row in rows if row["model"] == name), key=lambda row: row["seed"])
        if own:
            yield own


def _table(rows, protocols):
    heads = [PROTOCOLS[name][0] for name in protocols]
    yield (
        "| model | training set | core-minutes | parameters | seeds | " + " | ".join(heads) + " |"
    )
    yield "| --- " * (5 + len(heads)) + "|"
    for own in _groups(rows):
        scores = [mean_score(own, name) for name in protocols]
        if not any(scores):
            continue
        first = own[0]
        trained = first["minutes"] is not None
        bfloat16 = " (bfloat16)" * _has_bfloat16(first["machine"])  # the baselines use float32
        bfloat16 *= first["estimator"].startswith("Siamese")
        cells = [
            MODELS[first["model"]][0],
            TRAINED_ON.get(first["trained_on"], ""),
            core_minutes(own) + bfloat16 if trained else "",
            f"{first['parameters']:,}" if first["parameters"] else "",
            str(len(own)) if trained or len(own) > 1 else "",
            *scores,
        ]
        yield "| " + " | ".join(cells) + " |"


def core_minutes(rows):
    minutes = np.mean([row["minutes"] * row["machine"]["torch_threads"] for row in rows])
    return f"{minutes:.0f}"


def _words(machine):
    arithmetic = "bfloat16" if _has_bfloat16(machine) else "float32"
    threads = f"{machine['torch_threads']} thread" + "s" * (machine["torch_threads"] > 1)
    return f"{machine['processor']}, {threads}, {arithmetic}, torch {machine['torch']}"


def _has_bfloat16(machine):
    """Return whether a network was trained in bfloat16 there, as `precision="auto"` decides."""
    return machine.get("bfloat16", False)


def mean_score(rows, protocol):
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
            mean = mean_score(own, "verification")
            yield f"| {MODELS[own[0]['model']][0]} | {mean} | {auc:.4f} | {100 * error:.2f} |"
