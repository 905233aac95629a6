"""Accuracy of the twins and of what they are compared with, in one table.

    python benchmarks/accuracy.py omniglot --seeds 0 1 2 --keep twins
    python benchmarks/accuracy.py pixels hausdorff
    python benchmarks/accuracy.py --page

Trains each model named (`models.py`) for each seed, measures it by every protocol
(`protocols.py`), and puts one row a model and seed into ``results/accuracy.json``, in place of an
older one. ``--page`` makes ``docs/results.md`` of that file. Evaluation alphabets are read to
report, never to choose.
"""

import argparse
import json
import time
from pathlib import Path

from machine import RESULTS, machine
from models import MODELS, n_parameters
from page import write_page
from protocols import PROTOCOLS
from sklearn.utils import Bunch

from sksiamese.datasets import fetch_omniglot, fetch_omniglot_runs, load_omniglot_minimal

PATH = RESULTS / "accuracy.json"
# Slow ones, measured by these protocols alone: one trains anew for each trial.
ONLY = {"softmax-support": ["official"], "hausdorff": ["official", "within_20"]}


def measure(name, seed, data, protocols, epochs=None, keep=None):
    """One row: a model trained with one seed, by each protocol."""
    _, trained_on, train = MODELS[name]
    start = time.perf_counter()
    model = train(data.get(trained_on), seed, epochs)
    minutes = (time.perf_counter() - start) / 60
    if keep is not None and hasattr(model, "save"):
        model.save(keep / f"{name}-{seed}.safetensors")
    row = {
        "model": name,
        "seed": seed,
        "trained_on": trained_on,
        "minutes": round(minutes, 1) if trained_on in ("thirty", "minimal") else None,
        "parameters": n_parameters(model),
        "estimator": " ".join(repr(model).split()),
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


def rows_so_far():
    return json.loads(PATH.read_text()) if PATH.exists() else []


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", choices=[[], *MODELS], default=[])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, help="in place of each model's own")
    parser.add_argument("--protocols", nargs="+", choices=PROTOCOLS, default=list(PROTOCOLS))
    parser.add_argument("--keep", type=Path, help="a folder for the trained twins, and of them")
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
            # Read anew: others may have run beside it.
            rows = [r for r in rows_so_far() if (r["model"], r["seed"]) != (name, seed)] + [row]
            PATH.parent.mkdir(exist_ok=True)
            PATH.write_text(json.dumps(rows, indent=1) + "\n")
    if args.page:
        write_page(rows_so_far())


if __name__ == "__main__":
    main()
