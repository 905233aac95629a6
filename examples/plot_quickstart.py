"""
Quickstart: twenty unseen characters from one example each
==========================================================

Train the recommended estimator for characters on five alphabets. It then classifies characters of
alphabets that it has never seen, from one example each: the 20 official one-shot runs of Omniglot.
1-nearest-neighbour on pixels is measured for comparison.

Training takes about four minutes on two CPU cores; ``--epochs`` makes it shorter. This script's
page on the site is made with ``--epochs 4``, which is less accurate.
"""

import argparse
import time

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from sklearn.neighbors import KNeighborsClassifier

from sksiamese import recipes
from sksiamese.datasets import load_omniglot_minimal
from sksiamese.model_selection import score_runs
from sksiamese.plotting import OneShotTrialDisplay

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=40, help="epochs of training (default 40)")
parser.add_argument("--picture", default="quickstart.png", help="file to draw two trials to")
args = parser.parse_args()

# %%
# The package includes five training alphabets: 136 characters, 20 drawings of each.

omniglot = load_omniglot_minimal()
print(
    f"training on {len(omniglot.images)} drawings of {len(np.unique(omniglot.target))} characters "
    f"from {len(np.unique(omniglot.alphabets))} alphabets"
)

# %%
# Fit once. With the alphabets as groups, the network learns to tell characters of the same
# alphabet apart.

clf = recipes.omniglot(max_iter=args.epochs, random_state=0).set_params(verbose=1)
start = time.perf_counter()
clf.fit(omniglot.images, omniglot.target, groups=omniglot.alphabets)
print(f"trained {clf.n_iter_} epochs in {(time.perf_counter() - start) / 60:.1f} minutes")

# %%
# Each official run has 20 new characters of one alphabet: one exemplar and one query of each.

print("20 official runs, each within one alphabet that was not used in training:")
print("twin network:  ", score_runs(clf, omniglot.runs))
print("1-NN on pixels:", score_runs(KNeighborsClassifier(1), omniglot.runs))

# %%
# A run takes two calls: `set_support` with the exemplars, then `predict` or `predict_proba`.

certainty = []
for run in omniglot.runs:
    clf.set_support(run.support_images, run.support_labels)
    certainty.append(clf.predict_proba(run.query_images).max(axis=1))
certainty = np.array(certainty)  # (run, query)

# %%
# Draw a trial of median certainty and the least certain one: the query, and the exemplar of each
# class with its probability.

order = certainty.argsort(axis=None)
figure, axes = plt.subplots(1, 2, figsize=(12, 4.8), layout="constrained")
for ax, title, place in (
    (axes[0], "a typical trial", order[len(order) // 2]),
    (axes[1], "the least certain trial", order[0]),
):
    number, query = np.unravel_index(place, certainty.shape)
    run = omniglot.runs[number]
    OneShotTrialDisplay.from_estimator(
        clf,
        run.support_images,
        run.support_labels,
        run.query_images[query],
        run.query_labels[query],
        ax=ax,
    )
    ax.set_title(f"{title}, run {number + 1}")
figure.savefig(args.picture, dpi=120, bbox_inches="tight")
print(f"drew two trials to {args.picture}")
