"""Kill training at random moments, repeat the call until it ends, and compare all bits.

    python tests/long/kills.py --count 30

Each fit runs in a process of its own with a `checkpoint_dir`, and is killed by SIGKILL: at a
random moment, and each third time as soon as a file is seen being written. The result, weights,
history, support and calibration, must be that of a fit that nothing interrupted. Prints the
counts.
"""

import argparse
import hashlib
import json
import multiprocessing
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
from skorch.callbacks import EarlyStopping, LRScheduler
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR

from sksiamese import SiameseOneShotClassifier, SiameseVerifier, recipes
from sksiamese.datasets import make_glyphs
from sksiamese.model_selection import make_pairs

EVERY = 0.002  # minutes: also inside an epoch
QUICK = {"max_iter": 4, "encoder_params": {"width": 8}, "resize": 20, "random_state": 0}


def dropping(shape):
    """Return an encoder whose dropout draws from torch's global generator."""
    height, width = shape[1:]
    return nn.Sequential(nn.Flatten(), nn.Linear(height * width, 32), nn.Dropout(0.3), nn.ReLU())


def members():
    """Several networks."""
    X, y = make_glyphs(n_classes=12, n_samples=8, random_state=0)
    return SiameseOneShotClassifier(**QUICK, n_estimators=2), (X, y)


def early_stopping():
    """Classes held out to stop early by, and to calibrate on."""
    X, y = make_glyphs(n_classes=16, n_samples=8, random_state=0)
    clf = SiameseOneShotClassifier(
        **{**QUICK, "max_iter": 6}, early_stopping=True, n_iter_no_change=2, unknown_label=-1
    )
    return clf, (X, y)


def warm_start():
    """A second fit, of which the first one is repeated without checkpoints."""
    X, y = make_glyphs(n_classes=12, n_samples=8, random_state=0)
    clf = SiameseOneShotClassifier(**{**QUICK, "max_iter": 1}, optimizer="muon").fit(X, y)
    return clf.set_params(warm_start=True, max_iter=4, random_state=np.random.RandomState(1)), (
        X,
        y,
    )


def koch2015():
    """The paper's recipe, for smaller images, fewer pairs and fewer units."""
    X, y = make_glyphs(n_classes=10, n_samples=5, random_state=0)
    clf = recipes.koch2015(n_pairs=24, random_state=0).set_params(
        max_iter=3, batch_size=8, resize=65, encoder_params={"n_units": 16, "units_std": 0.2}
    )
    return clf, (X, y)


def pairs():
    """Pairs, a RandomState, and skorch's callbacks."""
    X, y = make_glyphs(n_classes=12, n_samples=8, random_state=0)
    clf = SiameseOneShotClassifier(
        **{**QUICK, "random_state": np.random.RandomState(2), "batch_size": 16},
        callbacks=[
            LRScheduler(OneCycleLR, max_lr=0.01, total_steps=60, step_every="batch"),
            EarlyStopping(monitor="train_loss", patience=3),
        ],
    )
    return clf, (X, make_pairs(y, n_pairs=160, random_state=0))


def verifier():
    """A verifier with an encoder of the user's own that has dropout."""
    X, y = make_glyphs(n_classes=12, n_samples=8, random_state=0)
    drawn = make_pairs(y, n_pairs=300, random_state=0)
    clf = SiameseVerifier(dropping, preprocessor=X, max_iter=6, batch_size=20, random_state=0)
    return clf, (drawn[:, :2], drawn[:, 2])


def rows():
    """Flat rows, trained in a few seconds."""
    X, y = make_glyphs(n_classes=12, n_samples=8, random_state=0)
    return SiameseOneShotClassifier(max_iter=40, random_state=0), (X.reshape(len(X), -1), y)


ALL = (members, early_stopping, warm_start, koch2015, pairs, verifier, rows)
CASES = {case.__name__: case for case in ALL}


def result_of(estimator):
    """Return a digest of what was learned, and the history without its durations."""
    fitted = estimator.fitted_
    digest = hashlib.sha256()
    for name, tensor in sorted(estimator.network_.state_dict().items()):
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    if fitted.support is not None:
        digest.update(fitted.support.embeddings.tobytes() + fitted.support.labels.tobytes())
    history = [
        [{name: value for name, value in row.items() if name != "dur"} for row in rows]
        for rows in estimator.history_
    ]
    numbers = [*fitted.calibration, fitted.rejection_threshold]
    return {"digest": digest.hexdigest(), "history": history, "numbers": numbers}


def fit(name, folder, target):
    """Fit one of the cases, in a process of its own, and write the result."""
    estimator, data = CASES[name]()
    if folder is not None:
        estimator.set_params(checkpoint_dir=folder, checkpoint_minutes=EVERY)
    result = result_of(estimator.fit(*data))
    Path(target).write_text(json.dumps(result))


def started(name, folder, target):
    """Start `fit` in a process that has imported everything already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["sksiamese"])
    process = context.Process(target=fit, args=(name, folder, target))
    process.start()
    return process


def finished(process):
    """Wait for a process; exit if it failed."""
    process.join()
    if process.exitcode:
        sys.exit(f"the fit failed with exit code {process.exitcode}")


def kill(process, folder, moment, in_write):
    """Kill a process, and return in what it was: nothing, an epoch or a write; None: too late."""
    while not any(folder.glob("checkpoint-*")) and process.is_alive():
        time.sleep(0.001)
    end = time.monotonic() + moment
    while process.is_alive() and time.monotonic() < end:
        time.sleep(0.001)
    while in_write and process.is_alive() and not any(folder.glob(".sksiamese-*")):
        pass
    process.kill()
    process.join()
    if process.exitcode == 0:
        return None
    if process.exitcode != -signal.SIGKILL:
        sys.exit(f"the fit failed with exit code {process.exitcode}")
    if any(folder.glob(".sksiamese-*")):
        return "in a write"
    return "between writes"


def killed_until_done(name, n_kills, rng):
    """Kill one fit `n_kills` times, let it end, and return what the kills met and the result."""
    with tempfile.TemporaryDirectory() as home:
        target, folder = Path(home, "result.json"), Path(home, "checkpoints")
        begun = time.monotonic()
        finished(started(name, None, target))
        duration = time.monotonic() - begun
        whole = json.loads(target.read_text())
        target.unlink()
        met = Counter()
        while sum(met.values()) < n_kills:
            process = started(name, folder, target)
            moment = rng.uniform(0, duration / (1 + n_kills / 2))
            what = kill(process, folder, moment, in_write=sum(met.values()) % 3 == 0)
            if what is None:  # it had ended: begin again
                same = json.loads(target.read_text()) == whole
                if not same:
                    return met, False
                for path in folder.iterdir():
                    path.unlink()
            else:
                met[what] += 1
        finished(started(name, folder, target))
        return met, json.loads(target.read_text()) == whole


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=30, help="kills, all cases together")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    total, n_wrong = Counter(), 0
    for number, name in enumerate(args.cases):
        n_kills = args.count // len(args.cases) + (number < args.count % len(args.cases))
        met, same = killed_until_done(name, n_kills, rng)
        total += met
        n_wrong += not same
        counts = ", ".join(f"{count} {what}" for what, count in sorted(met.items()))
        print(f"{name}: killed {counts}; {'same bits' if same else 'OTHER BITS'}", flush=True)
    counts = ", ".join(f"{count} {what}" for what, count in sorted(total.items()))
    print(f"{sum(total.values())} kills ({counts}), {n_wrong} of {len(args.cases)} fits differ")
    sys.exit(bool(n_wrong))


if __name__ == "__main__":
    main()
