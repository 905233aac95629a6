"""Make the pretrained network of one that `benchmarks/accuracy.py omniglot --keep FOLDER` trained.

    python tools/make_pretrained.py FOLDER/omniglot-0.safetensors

Writes ``sksiamese/weights/omniglot.safetensors``: no support, weights in half precision. It is
calibrated on the alphabets it was trained on. `benchmarks/open_world.py` holds six of them out from
another network: slope and intercept of the two are nearly the same, and the threshold is lower
on alphabets seen in training.
"""

import argparse
from pathlib import Path

from sksiamese import SiameseOneShotClassifier
from sksiamese.datasets import fetch_omniglot

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("trained", type=Path)
shared = Path("../shared/omniglot")
parser.add_argument("--data-home", default=shared if shared.exists() else None)
args = parser.parse_args()

path = Path(__file__).parents[1] / "sksiamese" / "weights" / "omniglot.safetensors"
clf = SiameseOneShotClassifier.load(args.trained)
training = fetch_omniglot("background", data_home=args.data_home)
clf.calibrate(training.images, training.target, groups=training.alphabets)
clf.save(path, half=True, support=False)
print(f"{path}: {path.stat().st_size / 2**20:.2f} MiB, {clf.n_iter_} epochs")
