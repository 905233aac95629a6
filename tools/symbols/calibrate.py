"""Calibrate a network of `train.py` by kinds of classes that nothing was learned from.

    python tools/symbols/calibrate.py symbols.npz symbols.safetensors --without 0.safetensors \\
        1.safetensors

Icons and typefaces are those to choose parameters by. All alphabets were learned from, so
networks of ``train.py --hold-out``, with 0, 1, stand for this one on handwriting. The file is
replaced.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from sksiamese import SiameseOneShotClassifier
from sksiamese.datasets import fetch_omniglot

sys.path.append(str(Path(__file__).parents[1]))
from make_pretrained import held_out_alphabets  # noqa: E402
from train import cropped  # noqa: E402

N_SYMBOLS = 250  # beside the training characters, in the cohort of levels


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
    parser.add_argument(
        "--without",
        type=Path,
        nargs=2,
        required=True,
        help="files of train.py --hold-out 0 and 1",
    )
    shared = Path("../shared/omniglot")
    parser.add_argument("--data-home", default=shared if shared.exists() else None)
    args = parser.parse_args()

    data = np.load(args.symbols)
    family = data["group_names"][data["group"]]
    learned = np.flatnonzero((data["split"] == "train") & (family != "emoji"))
    learned = np.random.default_rng(0).permutation(learned)[:N_SYMBOLS]
    drawings = fetch_omniglot("background", data_home=args.data_home)
    handwriting = cropped(drawings.images, 255.0, 0.0)
    cohort = cropped(data["images"][learned], 0.0, 255.0)
    names = np.concatenate([data["class_names"][data["cls"][learned]], drawings.target])

    clf = SiameseOneShotClassifier.load(args.network)
    known = np.concatenate([cohort, handwriting])
    clf.fitted_ = with_levels(clf, known, names)
    found = {}
    choose = data["split"] == "choose"
    _, place, count = np.unique(data["cls"], return_inverse=True, return_counts=True)
    choose &= (count[place] > 1) & (family != "emoji")
    images = cropped(data["images"][choose], 0.0, 255.0)
    found["symbols"] = evidence(clf, images, data["cls"][choose], family[choose])
    every_held_out = held_out_alphabets(np.unique(drawings.alphabets))
    for number, (path, held_out) in enumerate(zip(args.without, every_held_out, strict=True)):
        without = SiameseOneShotClassifier.load(path)
        held = np.isin(drawings.alphabets, held_out)
        kept = np.append(np.full(len(cohort), True), ~held)
        without.fitted_ = with_levels(without, known[kept], names[kept])
        found[f"handwriting, {number}"] = evidence(
            without, handwriting[held], drawings.target[held], drawings.alphabets[held]
        )
    rate = clf.false_acceptance_rate
    for kind, one in found.items():
        own = clf.fitted_.calibrated_by([one], rate)
        print(f"{kind}: {own.calibration}, threshold {own.rejection_threshold:.3f}")
    rng = np.random.default_rng(0)
    least = min(len(one.genuine) for one in found.values())  # prediction sets suit all kinds
    every = [replace(one, genuine=rng.permutation(one.genuine)[:least]) for one in found.values()]
    fitted = replace(clf.fitted_, prior_calibration=None, prior_unknown=None)
    fitted = fitted.calibrated_by(every, rate).as_prior(every)
    print(f"all: {fitted.calibration}, threshold {fitted.rejection_threshold:.3f}")
    # `set_support` estimates the input scaling from its images.
    clf.fitted_ = replace(fitted, adapts=True)
    clf.save(args.network, half=True, support=False)


if __name__ == "__main__":
    main()
