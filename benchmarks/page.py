"""Make docs/results.md, the README's table and the model card from the benchmarks' results."""

import json
from pathlib import Path

import numpy as np
from machine import RESULTS, percent
from models import MODELS
from protocols import PROTOCOLS, TRANSDUCTIVE

from sksiamese.model_selection import wilson_interval

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "results.md"
README = ROOT / "README.md"
MARKS = "<!-- results -->", "<!-- end of results -->"
WEIGHTS = ROOT / "sksiamese" / "weights"

TRAINED_ON = {"thirty": "30 alphabets", "minimal": "5 alphabets", "kept": "30 alphabets"}

# What the README shows: models with description and training set, and protocols with headings.
README_MODELS = {
    "omniglot": ("`recipes.omniglot()`", "30 alphabets"),
    "default": ("`SiameseOneShotClassifier()`", "30 alphabets"),
    "symbols": ("`load_pretrained()`", "30 alphabets, icons, typefaces"),
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
        "## Scans",
        "",
        *_scans(),
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
    for name, card in (("omniglot", _card), ("symbols", _card_of_symbols)):
        (WEIGHTS / f"{name}.md").write_text("\n".join(card(rows)) + "\n")
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
    results = run["results"]
    yield from [
        "These are results of `benchmarks/open_world.py --picture docs/reliability.png`, with "
        "`load_pretrained()`,",
        "whose target is a false-acceptance rate of "
        f"{100 * run['target']:.0f} %. Half of the classes of a trial are known, by one",
        "exemplar each, and each class has one query; there are 20 classes, or as many as are",
        "left.",
        "",
        "- *as it is*: calibrated by background alphabets; see [pretrained.md](pretrained.md).",
        "- *same alphabet*: after `calibrate` with 20 characters of an alphabet, its other ones.",
        "- *other alphabets*: after `calibrate` with 20 characters of one alphabet, nine others.",
        f"  Both are means over {run['draws']} draws from each of the ten alphabets.",
        "",
        "| trials | area under the ROC curve | unknown queries accepted, % "
        "| known queries rejected, % | accuracy of the accepted, % | calibration error |",
        "| --- " * 6 + "|",
    ]
    headings = {
        "pretrained": "within alphabets, as it is",
        "same alphabet": "same alphabet",
        "other alphabets": "other alphabets",
        "official": "official runs, as it is",
        "mnist": "MNIST, 5 of 10 digits known, as it is",
    }
    for name, heading in headings.items():
        yield _rejection(heading, results[name], results[name].get("calibration", {}).get("error"))
    for name, result in run["alphabets"].items():
        yield _rejection(f"{name}, as it is", result, result["calibration_error"])
    first = results["pretrained"]
    yield from [
        "",
        "Intervals of 95 % over alphabets, as it is: unknown queries accepted "
        f"{_percent(first['false_acceptance_interval'])},",
        f"known queries rejected {_percent(first['false_rejection_interval'])}. The calibration "
        "error is that of `pair_proba`, in",
        f"15 bins of equal width, on {run['n_pairs']:,} pairs within alphabet, half of them of "
        "one character;",
        f"without calibration it is {run['uncalibrated']['error']:.3f}.",
        "",
        "`predict_set(X, coverage=0.9)` contains the right character of "
        f"{100 * first['coverage']:.1f} % of the known queries as it is,",
        f"with {first['set_size']:.2f} characters on average, and of "
        f"{100 * results['same alphabet']['coverage']:.1f} % after `calibrate` with the same "
        "alphabet, with",
        f"{results['same alphabet']['set_size']:.2f}.",
        "",
        "![fraction of pairs of the same class, by pair_proba](reliability.png)",
    ]


def _rejection(heading, result, error):
    """Return a row of the table of rejection."""
    rates = ("false_acceptance", "false_rejection", "accuracy_of_accepted")
    cells = [f"{100 * result[rate]:.1f}" for rate in rates]
    error = "" if error is None else f"{error:.3f}"
    return "| " + " | ".join([heading, f"{result['auroc']:.4f}", *cells, error]) + " |"


def _percent(interval):
    return f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f} %"


def _scans():
    """Yield the accuracy on rendered scans, from ``results/scans.json``."""
    conditions = json.loads((RESULTS / "scans.json").read_text())["conditions"]
    yield from [
        "These are results of `benchmarks/scans.py`: `load_pretrained()` on the",
        "official runs. Each drawing is rendered by itself as a scan or the picture of a phone.",
        '`crop="foreground"` evens the light and takes out lines, page edges and specks. Its',
        "thresholds were chosen on background alphabets. *plain* is a scan of even paper without",
        "lines; the other conditions add what they name.",
        "",
        "| condition | official runs | % of the accuracy on the drawings |",
        "| --- | --- | --- |",
    ]
    for condition, row in conditions.items():
        low, high = 100 * row["low"], 100 * row["high"]
        yield (
            f"| {condition} | {100 * row['accuracy']:.2f} ({low:.1f}-{high:.1f}) "
            f"| {100 * row['of_clean']:.1f} |"
        )


def _paper():
    yield (
        "| recipe | seed | run | images | pairs | batch | epochs | minutes | on "
        "| official runs | within, 20-way | verification |"
    )
    yield "| --- " * 12 + "|"
    recipes = ("koch", "koch2015", "keras2017")
    files = [file for name in recipes for file in sorted(RESULTS.glob(f"{name}_*.json"))]
    for run in (json.loads(file.read_text()) for file in files):
        cells = [
            f"`recipes.{run['recipe']}()`",
            str(run["seed"]),
            "scaled" if run["scaled"] else "whole",
            f"{run['side']}x{run['side']}",
            f"{run['pairs']:,}" if run["pairs"] else "all in a batch",
            str(run["batch_size"]).strip("[]").replace(", ", " x "),
            _epochs(run),
            f"{run['minutes']:.1f}",
            run["machine"].get("gpu") or f"{run['machine']['torch_threads']} CPU threads",
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
        "  networks of the same recipe, trained without the alphabets that calibrate (see open",
        "  world in `docs/results.md`). Call `calibrate` to learn them from your own classes.",
        "- **Commands**: `python benchmarks/accuracy.py omniglot --keep networks`, then",
        "  `python tools/make_pretrained.py networks/omniglot-0.safetensors --without networks`.",
        f"- **Size**: {trained['parameters']:,} parameters in half precision.",
        "- **Limits**: it was not trained on photographs or filled shapes. It compares the layout",
        "  of drawings, so a rotated drawing is of another class.",
        "",
        *_scores(pretrained),
    ]


def _card_of_symbols(rows):
    (own,) = (row for row in rows if row["model"] == "symbols")
    run = json.loads((RESULTS / "symbols.json").read_text())
    yield from [
        '# Pretrained network "symbols"',
        "",
        "This card is made by `python benchmarks/accuracy.py --page`. `tests/test_weights.py`",
        "measures the accuracy again.",
        "",
        "- **Use**: one-shot classification of handwriting, icons, logos of few shades, printed",
        "  characters and other drawings, also scanned or photographed. Give one exemplar of each",
        "  class to `set_support`, which also infers image size, background level and polarity.",
        "  Position and size of a drawing do not matter. Colours do not count: give gray images.",
        "- **Data**: the 30 background alphabets of Omniglot (Lake et al. 2015, MIT licence),",
        "  icons of families with MIT, Apache-2.0 or ISC licences, and characters in OFL",
        "  typefaces: `tools/symbols/README.md` lists the packages and their versions. The files",
        "  are not included. No emoji, no digits, no kana beyond Omniglot's, and no script of the",
        "  evaluation alphabets was used.",
        '- **Training**: the network "omniglot" was trained further by `tools/symbols/train.py`,',
        "  with three seeds. The weights are between the old ones and the mean of the new ones",
        "  (Wortsman et al. 2022). Its logit is averaged with that of histograms of oriented",
        '  gradients, whitened by the same classes (`encoder=("conv", "hog")`). Everything was',
        "  chosen on classes, families of names and scripts that were held out, and on background",
        "  alphabets.",
        "- **Calibration**: by held-out symbols and, with two networks that have not seen them,",
        "  background alphabets: `tools/symbols/calibrate.py`. Call `calibrate` to learn it from",
        "  your own classes.",
        f"- **Size**: {own['parameters']:,} parameters in half precision.",
        "- **Limits**: it was not trained on photographs. Another vendor's drawing of the same",
        "  thing is often another drawing. A rotated drawing is of another class.",
        "",
        *_scores(own),
        "",
        f"Symbols that nothing was trained on or chosen by, 20-way 1-shot, {symbol_trials(run):,}",
        "trials each: exemplars of one style or typeface, queries of another. Beside them the",
        'network "omniglot", and 1-nearest-neighbour on histograms of oriented gradients.',
        "",
        "| symbols | classes | symbols, % | omniglot, % | 1-NN on HOG, % |",
        "| --- " * 5 + "|",
    ]
    for name, result in run["results"].items():
        cells = [percent(result[way]) for way in ("symbols", "omniglot", "hog")]
        yield "| " + " | ".join([name, str(result["n_classes"]), *cells]) + " |"


def symbol_trials(run):
    """Return the number of trials of each task."""
    return next(iter(run["results"].values()))["symbols"]["n"]


def _scores(row):
    """Yield the table of a card."""
    yield from ["| protocol | % (95 % interval) | trials |", "| --- | --- | --- |"]
    for name, score in row["scores"].items():
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
