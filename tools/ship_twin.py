"""Make the twin that ships: one of `benchmarks/accuracy.py omniglot --keep FOLDER`, calibrated by
one of `benchmarks/open_world.py --keep FILE`, which holds alphabets out.

    python tools/ship_twin.py FOLDER/omniglot-0.safetensors FILE

Writes ``sksiamese/weights/omniglot.safetensors``: no support, weights in half precision. The twin
has seen all alphabets, so none is left to calibrate it by: it takes slope, intercept and threshold
of the other, which differs from it in nothing but the alphabets held out.
"""

import argparse
from pathlib import Path

from sksiamese import SiameseOneShotClassifier

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("trained", type=Path)
parser.add_argument("calibrated", type=Path)
args = parser.parse_args()

path = Path(__file__).parents[1] / "sksiamese" / "weights" / "omniglot.safetensors"
clf = SiameseOneShotClassifier.load(args.trained)
calibrated = SiameseOneShotClassifier.load(args.calibrated)
clf.network_ = clf.network_.calibrated(*calibrated.network_.calibration)
clf.support_, clf.threshold_ = None, calibrated.threshold_
clf.save(path, half=True)
print(f"{path}: {path.stat().st_size / 2**20:.2f} MiB, {clf.n_iter_} epochs")
