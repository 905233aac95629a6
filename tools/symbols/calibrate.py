"""Calibrate a network of `train.py` by kinds of classes that nothing was learned from.

    python tools/symbols/calibrate.py symbols.npz symbols.safetensors --without held.safetensors

Icons and typefaces are those to choose parameters by. All alphabets were learned from, so a
network of ``train.py --hold-out`` stands for this one on handwriting. The file is replaced.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from sksiamese import SiameseOneShotClassifier
from sksiamese.datasets import fetch_omniglot

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from search import HELD_OUT  # noqa: E402
from train import cropped  # noqa: E402


def embedded(clf, images):
    """Return embeddings of cropped images."""
    network = clf.fitted_.comparer.network
    with torch.no_grad():
        parts = [
            network.embed(torch.from_numpy(images[start : start + 512]).float()[:, None] / 255)
            for start in range(0, len(images), 512)
        ]
    return torch.cat(parts).numpy()


def with_levels(clf, images, classes):
    """Return what was learned, with levels by one image of each of many classes."""
    rows = clf.fitted_.cohort_rows(classes)
    return replace(clf.fitted_.with_levels(embedded(clf, images[rows])), support=None)


def evidence(clf, images, classes, groups):
    """Return the comparisons of classes within their groups."""
    classes, groups = (np.unique(x, return_inverse=True)[1] for x in (classes, groups))
    return clf.fitted_.evidence(embedded(clf, images), classes, groups)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("symbols", type=Path, help="file of build.py")
    parser.add_argument("network", type=Path, help="file of train.py")
    parser.add_argument("--without", type=Path, required=True, help="file of train.py --hold-out")
    shared = Path("../shared/omniglot")
    parser.add_argument("--data-home", default=shared if shared.exists() else None)
    args = parser.parse_args()

    data = np.load(args.symbols)
    family = data["group_names"][data["group"]]
    of_script = np.char.startswith(family, "script:")
    learned = np.flatnonzero((data["split"] == "train") & (family != "emoji"))
    learned = np.random.default_rng(0).permutation(learned)[:20_000]
    drawings = fetch_omniglot("background", data_home=args.data_home)
    seen = ~np.isin(drawings.alphabets, HELD_OUT)
    handwriting = cropped(drawings.images, 255.0, 0.0)
    cohort = cropped(data["images"][learned], 0.0, 255.0)
    names = np.concatenate([data["class_names"][data["cls"][learned]], drawings.target])

    clf, without = (SiameseOneShotClassifier.load(path) for path in (args.network, args.without))
    clf.fitted_ = with_levels(clf, np.concatenate([cohort, handwriting]), names)
    kept = np.append(np.full(len(cohort), True), seen)
    without.fitted_ = with_levels(
        without, np.concatenate([cohort, handwriting])[kept], names[kept]
    )
    found = {}
    choose = data["split"] == "choose"
    _, place, count = np.unique(data["cls"], return_inverse=True, return_counts=True)
    choose &= (count[place] > 1) & (family != "emoji")
    for kind, rows in (("icons", choose & ~of_script), ("typefaces", choose & of_script)):
        images = cropped(data["images"][rows], 0.0, 255.0)
        found[kind] = evidence(clf, images, data["cls"][rows], family[rows])
    held = ~seen
    found["handwriting"] = evidence(
        without, handwriting[held], drawings.target[held], drawings.alphabets[held]
    )
    rate = clf.false_acceptance_rate
    for kind, one in found.items():
        own = clf.fitted_.calibrated_by([one], rate)
        print(f"{kind}: {own.calibration}, threshold {own.rejection_threshold:.3f}")
    every = list(found.values())
    fitted = replace(clf.fitted_, prior_calibration=None, prior_unknown=None)
    fitted = fitted.calibrated_by(every, rate).as_prior(every)
    print(f"all: {fitted.calibration}, threshold {fitted.rejection_threshold:.3f}")
    # `set_support` estimates the input scaling from its images.
    clf.fitted_ = replace(fitted, adapts=True)
    clf.save(args.network, half=True, support=False)


if __name__ == "__main__":
    main()
