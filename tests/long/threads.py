"""Eight threads predict while others change the support: each answer is that of some state.

    python tests/long/threads.py --seconds 60

"swap": two threads set one of several supports, and a third calibrates. Labels and logits must be
those of one of the supports. "grow": three threads add and remove classes of their own. Each
logit must be that of a query with some class, and at the end the support has the classes that
were added and not removed, each with its own exemplar. Prints the counts; the exit status is 1
after a wrong answer, an error, or a lost class.
"""

import argparse
import copy
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from sksiamese import (
    FrozenTwinClassifier,
    MotorProgramClassifier,
    SiameseOneShotClassifier,
    load_pretrained,
)
from sksiamese.datasets import make_glyphs

N_READERS = 8
N_QUERIES = 3
SWITCH = 1e-4  # seconds after which another thread may go on
CLOSE = {"rtol": 1e-3, "atol": 1e-3}

X, Y = make_glyphs(n_classes=16, n_samples=4, image_size=16, random_state=0)
EXEMPLARS, LABELS = X[::4], Y[::4]
QUERIES = X[1 : 4 * N_QUERIES : 4]
SUPPORTS = [
    (EXEMPLARS[:5], LABELS[:5]),
    (EXEMPLARS[5:8], np.array(["c", "b", "a"])),
    (EXEMPLARS[[9, 3, 12, 1]], np.array([40, 30, 20, -10])),
]


def network():
    """A trained network."""
    clf = SiameseOneShotClassifier(encoder_params={"width": 8}, max_iter=2, random_state=0)
    return clf.fit(X, Y)


def programs():
    """Motor programs, parsed in the quickest way."""
    return MotorProgramClassifier(primitives=False, n_walks=1, random_state=0)


KINDS = {
    "network": network,
    "pretrained": lambda: load_pretrained("omniglot"),
    "programs": programs,
    "frozen": lambda: FrozenTwinClassifier(network()),
}


def set_support(clf, support):
    """Set the support of a classifier of any kind."""
    return (
        clf.fit(*support) if isinstance(clf, FrozenTwinClassifier) else clf.set_support(*support)
    )


def calibrate(clf):
    """Calibrate a classifier; a second time changes nothing. A frozen one stays as it is."""
    if not isinstance(clf, FrozenTwinClassifier):
        clf.calibrate(X[:24], Y[:24])


def at_once(readers, writers, seconds):
    """Call functions again and again, each in a thread; return how often, and the errors."""
    stop = time.monotonic() + seconds
    errors = []

    def repeat(function):
        calls = 0
        while time.monotonic() < stop and not errors:
            try:
                function()
            except Exception as error:  # whatever it is, it is counted
                errors.append(f"{type(error).__name__}: {error}")
            calls += 1
        return calls

    with ThreadPoolExecutor(len(readers) + len(writers)) as pool:
        read = [pool.submit(repeat, reader) for reader in readers]
        written = [pool.submit(repeat, writer) for writer in writers]
        return sum(f.result() for f in read), sum(f.result() for f in written), errors


def swap(clf, seconds):
    """Return numbers of predictions and changes, and errors."""
    answers = [
        set_support(copy.deepcopy(clf), support).predict(QUERIES, return_logits=True)
        for support in SUPPORTS
    ]
    set_support(clf, SUPPORTS[0])

    def read():
        labels, logits = clf.predict(QUERIES, return_logits=True)
        for own_labels, own_logits in answers:
            if labels.tolist() == own_labels.tolist() and logits.shape == own_logits.shape:
                np.testing.assert_allclose(logits, own_logits, **CLOSE)
                return
        raise AssertionError(f"labels of no support: {labels}, logits {logits.shape}")

    def write(seed):
        rng = np.random.default_rng(seed)
        return lambda: set_support(clf, SUPPORTS[rng.integers(len(SUPPORTS))])

    writers = [write(0), write(1)]
    if not isinstance(clf, FrozenTwinClassifier):
        writers.append(lambda: calibrate(clf))
    return at_once([read] * N_READERS, writers, seconds)


def grow(clf, seconds):
    """Return numbers of predictions and changes, and errors."""
    clf.set_support(EXEMPLARS, LABELS).remove_support(LABELS[1:])
    known = copy.deepcopy(clf).set_support(EXEMPLARS, LABELS)
    logits_of = known.decision_function(QUERIES)
    kept = {0}
    lock = threading.Lock()

    def read():
        labels, logits = clf.predict(QUERIES, return_logits=True)
        rows = np.arange(N_QUERIES)
        np.testing.assert_allclose(logits.max(axis=1), logits_of[rows, labels], **CLOSE)
        apart = np.abs(logits[:, :, None] - logits_of[:, None]).min(axis=2)
        np.testing.assert_allclose(apart, 0, atol=2e-3)

    def write(first):
        own = range(1 + first, 16, 3)
        rng = np.random.default_rng(first)

        def change():
            label = int(rng.choice(own))
            if label in kept:
                clf.remove_support(label)
                with lock:
                    kept.remove(label)
            else:
                clf.add_support(EXEMPLARS[label : label + 1], [label])
                with lock:
                    kept.add(label)

        return change

    n_read, n_written, errors = at_once([read] * N_READERS, [write(k) for k in range(3)], seconds)
    if clf.classes_.tolist() != sorted(kept) or len(clf.support_) != len(kept):
        errors.append(f"classes {clf.classes_.tolist()}, expected {sorted(kept)}")
    order = sorted(kept)
    np.testing.assert_allclose(
        clf.predict(QUERIES, return_logits=True)[1], logits_of[:, order], **CLOSE
    )
    return n_read, n_written, errors


def main(seconds, kinds=tuple(KINDS)):
    """Print the counts of each phase; return their sums and the number of phases with errors."""
    phases = [(kind, swap) for kind in kinds] + [(k, grow) for k in kinds if k != "frozen"]
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    interval = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH)
    failures = 0
    total_read = total_written = 0
    try:
        for kind, phase in phases:
            clf = KINDS[kind]()
            calibrate(clf)
            n_read, n_written, errors = phase(clf, seconds / len(phases))
            total_read += n_read
            total_written += n_written
            failures += bool(errors)
            print(
                f"{phase.__name__} {kind}: {n_read} predictions, {n_written} changes", *errors[:3]
            )
    finally:
        sys.setswitchinterval(interval)
    print(f"{total_read} predictions, {total_written} changes, {failures} failures")
    return total_read, total_written, failures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60, help="for all phases together")
    sys.exit(main(parser.parse_args().seconds)[-1] > 0)
