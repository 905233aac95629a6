"""Train on narrow images of many shapes, and count the fits that are not the same bit for bit.

    python tests/long/narrow_shapes.py --count 500

Each shape, encoder and stride is drawn at random and trained twelve times for one step, in
bfloat16 where it can be. Memory is filled with NaN in between, so that reading what was never
written shows.
"""

import argparse
import sys
import warnings
from collections import Counter

import numpy as np
import torch
from torch import nn

from sksiamese import SiameseOneShotClassifier, SiameseVerifier
from sksiamese.exceptions import DivergedError

N_FITS = 12


def poison():
    """Leave NaN in memory that the next tensors are likely to get."""
    for size in (1_000, 10_000, 100_000, 1_000_000):
        torch.full((size,), float("nan"))


class Strided(nn.Module):
    """An encoder with strides of the user's own, over images or over series (C, 1, T)."""

    def __init__(self, shape, width, kernel, strides, as_series):
        super().__init__()
        self.as_series = as_series
        conv = nn.Conv1d if as_series else nn.Conv2d
        channels = shape[0] * shape[1] if as_series else shape[0]
        layers = []
        for stride in strides:
            layers += [conv(channels, width, kernel, stride, padding=kernel // 2), nn.ReLU()]
            channels = width
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return self.layers(x.flatten(1, 2) if self.as_series else x).flatten(1)


def bits_of(estimator):
    """Return the bytes of all weights, and whether they are finite."""
    state = [tensor.contiguous() for tensor in estimator.network_.state_dict().values()]
    finite = all(bool(torch.isfinite(tensor).all()) for tensor in state)
    return b"".join(tensor.numpy().tobytes() for tensor in state), finite


def outcome(estimator, X, y, n_fits=N_FITS):
    """Return "same", "differ" or "not finite" of several fits."""
    seen = set()
    for _ in range(n_fits):
        poison()
        try:
            bits, finite = bits_of(estimator.fit(X, y))
        except (DivergedError, ValueError):  # an embedding with NaN
            finite = False
        if not finite:
            return "not finite"
        seen.add(bits)
    return "same" if len(seen) == 1 else "differ"


def images(shape, n_classes=4, n_samples=2):
    """Return random images of a few classes, (X, y)."""
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(n_classes), n_samples)
    centres = rng.normal(size=(n_classes, *shape))
    return (centres[y] + 0.3 * rng.normal(size=(len(y), *shape))).astype(np.float32), y


def drawn(rng):
    """Return (kind, estimator, X, y), drawn at random."""
    narrow, long = int(rng.integers(1, 7)), int(rng.integers(1, 73))
    shape = (narrow, long) if rng.random() < 0.4 else (long, narrow)
    X, y = images(shape)
    kind = str(rng.choice(["conv", "resized", "strided", "series", "members", "verifier"]))
    params = {
        "encoder_params": {"width": int(rng.choice([4, 8, 16]))},
        "head": str(rng.choice(["weighted_l1", "signed_l1", "aligned"])),
        "augmentation": None,
        "batch_size": (1, 4, 2),
        "max_iter": 1,
        "ema_decay": 0.0,
        "precision": "bfloat16",
        "random_state": 0,
        "resize": None,
    }
    if kind == "resized":
        params["resize"] = int(rng.integers(4, 41))
    if kind in ("strided", "series"):
        width, kernel = int(rng.choice([4, 8, 16])), int(rng.choice([1, 2, 3, 5]))
        strides = [int(s) for s in rng.integers(1, 4, size=rng.integers(1, 4))]
        as_series = kind == "series"
        params |= {
            "encoder": lambda shape: Strided(shape, width, kernel, strides, as_series),
            "encoder_params": None,
            "head": "weighted_l1",
        }
    if kind == "members":
        params["n_estimators"] = 2
    if kind == "verifier":
        i, j = np.triu_indices(len(y), 1)
        params |= {"batch_size": 28, "preprocessor": X}
        return kind, SiameseVerifier(**params), np.c_[i, j], (y[i] == y[j]).astype(int)
    return kind, SiameseOneShotClassifier(**params), X, y


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=500, help="shapes")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(args.seed)
    counts = Counter()
    for _ in range(args.count):
        kind, estimator, X, y = drawn(rng)
        found = outcome(estimator, X, y)
        counts[kind, found] += 1
        if found != "same":
            print(f"{kind} {X.shape}: {found}, {estimator.get_params()}", flush=True)
    for (kind, found), count in sorted(counts.items()):
        print(f"{kind}: {count} {found}")
    n_same = sum(count for (_, found), count in counts.items() if found == "same")
    print(f"{n_same} of {args.count} shapes: {N_FITS} fits the same bit for bit, and finite")
    sys.exit(n_same != args.count)


if __name__ == "__main__":
    main()
