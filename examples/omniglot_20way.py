"""
The official task from all thirty background alphabets
======================================================

The quickstart with more to learn from, 964 characters of 30 alphabets, and the recipe for
characters. Put the official zips of Omniglot (``images_background.zip``) into a folder and name it
by ``--data-home``, or let them be downloaded. Training takes about ten minutes on two CPU cores;
thirty epochs, the recipe's own number, take three times as long and make fewer errors.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from sklearn.neighbors import KNeighborsClassifier

from sksiamese import recipes
from sksiamese.datasets import fetch_omniglot, fetch_omniglot_runs
from sksiamese.model_selection import score_runs

shared = Path("../shared/omniglot")
parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[1])
parser.add_argument("--data-home", default=shared if shared.exists() else None)
parser.add_argument("--epochs", type=int, default=9)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()

# %%
# Train on every background alphabet.

background = fetch_omniglot("background", data_home=args.data_home)
print(
    f"training on {len(background.images)} drawings of {len(np.unique(background.target))} "
    f"characters from {len(np.unique(background.alphabets))} alphabets"
)
clf = recipes.omniglot(max_iter=args.epochs, random_state=args.seed)
if hasattr(clf, "set_callbacks"):  # scikit-learn 1.9 and later
    from sklearn.callback import ProgressBar

    clf.set_callbacks(ProgressBar())
start = time.perf_counter()
clf.fit(background.images, background.target, groups=background.alphabets)
print(f"trained {clf.n_iter_} epochs in {(time.perf_counter() - start) / 60:.1f} minutes")

# %%
# The 20 official runs: alphabets that the twin has never seen, one exemplar a character.

runs = fetch_omniglot_runs(data_home=args.data_home)
print("20 official runs, each within one alphabet that the twin has never seen:")
print("twin network:  ", score_runs(clf, runs))
print("1-NN on pixels:", score_runs(KNeighborsClassifier(1), runs))
