"""Make the pretrained network from a file of `benchmarks/accuracy.py omniglot --keep FOLDER`.

    python tools/make_pretrained.py FOLDER/omniglot-0.safetensors

Calibrates the network on its training alphabets, and writes it without a support and in half
precision to ``sksiamese/weights/omniglot.safetensors``. `benchmarks/open_world.py` shows what
calibration on training alphabets changes, compared with alphabets held out of training: slope and
intercept are nearly the same, and the rejection threshold is lower.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from sksiamese import SiameseOneShotClassifier
from sksiamese.datasets import fetch_omniglot

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("trained", type=Path, help="safetensors file of the trained network")
shared = Path("../shared/omniglot")
parser.add_argument("--data-home", default=shared if shared.exists() else None)
args = parser.parse_args()

path = Path(__file__).parents[1] / "sksiamese" / "weights" / "omniglot.safetensors"
clf = SiameseOneShotClassifier.load(args.trained)
training = fetch_omniglot("background", data_home=args.data_home)
clf.calibrate(training.images, training.target, groups=training.alphabets)
# `set_support` estimates the input scaling from its images.
clf.fitted_ = replace(clf.fitted_, adapts=True)
clf.save(path, half=True, support=False)
print(f"{path}: {path.stat().st_size / 2**20:.2f} MiB, {clf.n_iter_} epochs")
