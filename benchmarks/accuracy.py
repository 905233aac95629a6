"""Measure the accuracy of the networks, and of what they are compared with, in one table.

    python benchmarks/accuracy.py omniglot --seeds 0 1 2 --keep networks
    python benchmarks/accuracy.py motor-programs together --seeds 0 1 2
    python benchmarks/accuracy.py pixels hausdorff
    python benchmarks/accuracy.py --page

Train each named model (`models.py`) with each seed, measure it by every protocol
(`protocols.py`), and write one row per model and seed to ``results/accuracy.json``. A row
replaces an older one of the same model and seed. ``--page`` makes ``docs/results.md``, the
README's table, the model card and the figures of ``docs/five_ways.md`` from that file. The
evaluation alphabets are only used to report, never to choose.
"""

import argparse
import json
import time
from pathlib import Path

from five_ways import write_five_ways
from machine import RESULTS, machine
from models import MODELS, n_parameters
from page import write_page
from protocols import PROTOCOLS
from sklearn.utils import Bunch

from sksiamese.datasets import fetch_omniglot, fetch_omniglot_runs, load_omniglot_minimal

PATH = RESULTS / "accuracy.json"
# Slow models and those of a footnote are measured by these protocols only.
ONLY = {
    "softmax-support": ["official"],
    **dict.fromkeys(
        [
            "hausdorff",
            "motor-programs-affine",
            "motor-programs-no-library",
            "simple-strokes",
            "softmax-pixels",
        ],
        ["official", "within_20"],
    ),
    "together": ["official", "within_20", "mnist"],
}


def measure(name, seed, data, protocols, epochs=None, keep=None):
    """Train a model with one seed, and return its row of scores by protocol."""
    _, trained_on, train = MODELS[name]
    start = time.perf_counter()
    model = train(data.get(trained_on), seed, epochs)
    minutes = (time.perf_counter() - start) / 60
    if keep is not None and n_parameters(model):
        model.save(keep / f"{name}-{seed}.safetensors", support=False)
    row = {
        "model": name,
        "seed": seed,
        "trained_on": trained_on,
        "minutes": round(minutes, 1) if trained_on in ("thirty", "minimal") else None,
        "parameters": n_parameters(model),
        "estimator": " ".join(repr(model).split()),
        "comparer": type(model.fitted_.comparer).__name__ if hasattr(model, "fitted_") else None,
        "scores": {},
        "machine": machine(),
    }
    for protocol in protocols:
        if protocol not in ONLY.get(name, PROTOCOLS):
            continue
        score = PROTOCOLS[protocol][2](model, data)
        if score is not None:
            row["scores"][protocol] = score
            print(name, seed, protocol, {k: round(v, 4) for k, v in score.items()}, flush=True)
    return row


def read_rows():
    return json.loads(PATH.read_text()) if PATH.exists() else []


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", choices=[[], *MODELS], default=[])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, help="replaces the number of epochs of each model")
    parser.add_argument("--protocols", nargs="+", choices=PROTOCOLS, default=list(PROTOCOLS))
    parser.add_argument("--keep", type=Path, help="folder to write trained networks to")
    parser.add_argument("--page", action="store_true", help="write docs/results.md")
    shared = Path("../shared/omniglot")
    parser.add_argument("--data-home", default=shared if shared.exists() else None)
    args = parser.parse_args()

    if args.models:
        background = fetch_omniglot("background", data_home=args.data_home)
        data = Bunch(
            runs=fetch_omniglot_runs(),
            background=background,
            thirty=background,
            kept=args.keep,
            minimal=load_omniglot_minimal(),
            evaluation=fetch_omniglot("evaluation", data_home=args.data_home),
        )
        if args.keep:
            args.keep.mkdir(parents=True, exist_ok=True)
    for name in args.models:
        for seed in args.seeds:
            row = measure(name, seed, data, args.protocols, args.epochs, args.keep)
            # Another process may have written rows in the meantime.
            rows = [r for r in read_rows() if (r["model"], r["seed"]) != (name, seed)] + [row]
            PATH.parent.mkdir(exist_ok=True)
            PATH.write_text(json.dumps(rows, indent=1) + "\n")
    if args.page:
        write_page(read_rows())
        write_five_ways(read_rows())


if __name__ == "__main__":
    main()
