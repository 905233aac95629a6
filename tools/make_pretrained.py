"""Make the pretrained network from a file of `benchmarks/accuracy.py omniglot --keep FOLDER`.

    python tools/make_pretrained.py FOLDER/omniglot-0.safetensors --without networks

The network is written to ``sksiamese/weights/omniglot.safetensors`` without a support and in half
precision. It was trained on all background alphabets, and tells their characters apart better
than those of others. So networks of the same recipe, with fewer epochs, are trained without some
alphabets, and calibrate it by their logits of these. Their files are kept in the folder
`--without`, and read if they exist; the first is that of `benchmarks/together.py`. The file given
may be the pretrained network itself, which is then calibrated anew.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from sksiamese import SiameseOneShotClassifier, recipes
from sksiamese.datasets import fetch_omniglot

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "benchmarks"))
from search import HELD_OUT  # noqa: E402

EPOCHS = 4


def held_out_alphabets(names):
    """Return the alphabets that each network is trained without."""
    others = np.setdiff1d(names, HELD_OUT)
    return [np.array(HELD_OUT), others[1::4]]


def trained_without(held_out, data, path, seed):
    """Return the network in a file, trained if there is none."""
    if path.exists():
        return SiameseOneShotClassifier.load(path)
    seen = ~np.isin(data.alphabets, held_out)
    clf = recipes.omniglot(max_iter=EPOCHS, random_state=seed)
    clf.fit(data.images[seen], data.target[seen], groups=data.alphabets[seen])
    path.parent.mkdir(parents=True, exist_ok=True)
    clf.save(path, support=False)
    return clf


def with_levels(clf, data, seen):
    """Return what was learned, with levels by the characters that were trained on."""
    rows = np.flatnonzero(seen)
    rows = rows[clf.fitted_.cohort_rows(data.target[rows])]
    clf.set_support(data.images[rows], data.target[rows])
    return replace(clf.fitted_.with_levels(clf.support_.embeddings), support=None)


def evidence(clf, held_out, data):
    """Return the comparisons of alphabets that the network was not trained on."""
    rows = np.isin(data.alphabets, held_out)
    clf.fitted_ = with_levels(clf, data, ~rows)
    clf.set_support(data.images[rows], data.target[rows])
    classes, groups = (
        np.unique(labels[rows], return_inverse=True)[1] for labels in (data.target, data.alphabets)
    )
    return clf.fitted_.evidence(clf.support_.embeddings, classes, groups)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trained", type=Path, help="safetensors file of the trained network")
    parser.add_argument(
        "--without", type=Path, required=True, help="folder of networks that calibrate it"
    )
    shared = Path("../shared/omniglot")
    parser.add_argument("--data-home", default=shared if shared.exists() else None)
    args = parser.parse_args()

    path = ROOT / "sksiamese" / "weights" / "omniglot.safetensors"
    training = fetch_omniglot("background", data_home=args.data_home)
    found = []
    for seed, held_out in enumerate(held_out_alphabets(np.unique(training.alphabets))):
        file = args.without / f"without-{seed}.safetensors"
        clf = trained_without(held_out, training, file, seed)
        found.append(evidence(clf, held_out, training))
        own = clf.fitted_.calibrated_by(found[-1:], clf.false_acceptance_rate)
        print(f"{file}: {_words(own)}, {', '.join(held_out)}")
    clf = SiameseOneShotClassifier.load(args.trained)
    fitted = with_levels(clf, training, np.full(len(training.target), True))
    fitted = replace(fitted, prior_calibration=None, prior_unknown=None)
    fitted = fitted.calibrated_by(found, clf.false_acceptance_rate).as_prior(found)
    # `set_support` estimates the input scaling from its images.
    clf.fitted_ = replace(fitted, adapts=True)
    clf.save(path, half=True, support=False)
    path.chmod(0o644)
    print(f"{path}: {path.stat().st_size / 2**20:.2f} MiB, {clf.n_iter_} epochs, {_words(fitted)}")


def _words(fitted):
    slope, intercept = fitted.calibration
    return (
        f"slope {slope:.3f}, intercept {intercept:.3f}, threshold {fitted.rejection_threshold:.3f}"
    )


if __name__ == "__main__":
    main()
