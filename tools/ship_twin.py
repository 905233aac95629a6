"""Make the twin that ships of one that `benchmarks/accuracy.py omniglot --keep FOLDER` trained.

    python tools/ship_twin.py FOLDER/omniglot-0.safetensors

Writes ``sksiamese/weights/omniglot.safetensors``: no support, weights in half precision. The
background alphabets calibrate it though it was trained on them: by six that
`benchmarks/open_world.py` holds out from another, slope and intercept of the two are nearly the
same, and the threshold is lower where they were seen.
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
background = fetch_omniglot("background", data_home=args.data_home)
clf.calibrate(background.images, background.target, groups=background.alphabets)
clf.support_ = None
clf.save(path, half=True)
print(f"{path}: {path.stat().st_size / 2**20:.2f} MiB, {clf.n_iter_} epochs")
