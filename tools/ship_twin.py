"""Make the twin that ships of one that `benchmarks/accuracy.py omniglot --keep FOLDER` trained.

    python tools/ship_twin.py FOLDER/omniglot-0.safetensors

Writes ``sksiamese/weights/omniglot.safetensors``: no support, weights in half precision.
"""

import argparse
from pathlib import Path

from sksiamese import SiameseOneShotClassifier

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("trained", type=Path)
args = parser.parse_args()

path = Path(__file__).parents[1] / "sksiamese" / "weights" / "omniglot.safetensors"
clf = SiameseOneShotClassifier.load(args.trained)
clf.support_ = None
clf.save(path, half=True)
print(f"{path}: {path.stat().st_size / 2**20:.2f} MiB, {clf.n_iter_} epochs")
