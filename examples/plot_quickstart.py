"""
Quickstart: twenty unseen characters from one example each
==========================================================

A twin network learns from five alphabets what makes two drawings the same character. It then reads
characters of alphabets it has never seen, twenty at a time, from one drawing of each: the 20
official one-shot runs of Omniglot, with 1-nearest-neighbour on pixels beside it.

Training takes a few minutes on two CPU cores; ``--epochs`` makes it shorter.
"""

import argparse
import time

import matplotlib.pyplot as plt
import numpy as np
from sklearn.neighbors import KNeighborsClassifier

from sksiamese import SiameseOneShotClassifier
from sksiamese.datasets import load_omniglot_minimal
from sksiamese.model_selection import score_runs

parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[1])
parser.add_argument("--epochs", type=int, default=50, help="epochs of training (default 50)")
parser.add_argument("--picture", default="quickstart.png", help="where the picture goes")
args = parser.parse_args()

# %%
# Five background alphabets ship with the package: 136 characters, 20 drawings of each.

omniglot = load_omniglot_minimal()
print(
    f"training on {len(omniglot.images)} drawings of {len(np.unique(omniglot.target))} characters "
    f"from {len(np.unique(omniglot.alphabets))} alphabets"
)

# %%
# Fit once. The groups are the alphabets: the twin learns to tell characters of one alphabet apart.

clf = SiameseOneShotClassifier(
    class_transforms="rotate_reflect", max_iter=args.epochs, random_state=0
)
if hasattr(clf, "set_callbacks"):  # scikit-learn 1.9 and later
    from sklearn.callback import ProgressBar

    clf.set_callbacks(ProgressBar())
start = time.perf_counter()
clf.fit(omniglot.images, omniglot.target, groups=omniglot.alphabets)
print(f"trained {clf.n_iter_} epochs in {(time.perf_counter() - start) / 60:.1f} minutes")

# %%
# Each official run has 20 new characters of one alphabet, one exemplar of each, and 20 queries.

print("20 official runs, each within one alphabet that the twin has never seen:")
print("twin network:  ", score_runs(clf, omniglot.runs))
print("1-NN on pixels:", score_runs(KNeighborsClassifier(1), omniglot.runs))

# %%
# By hand a run is two calls: one exemplar a class becomes the support, and the queries are read.

run = omniglot.runs[0]
clf.set_support(run.support_images, run.support_labels)
answers = clf.predict(run.query_images)
probabilities = clf.predict_proba(run.query_images)

# %%
# One trial: the query, the twenty supports, and the probability of each. The trial shown is the
# least certain one of the run.

query = probabilities.max(axis=1).argmin()
truth, answer = run.query_labels[query], answers[query]
order = np.argsort(run.support_labels)

figure = plt.figure(figsize=(10, 6), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=[1, 3])
ax = left.subplots()
ax.imshow(run.query_images[query], cmap="gray_r")
ax.set_title(f"query\n{'right' if answer == truth else 'wrong'}: read as {answer}")
ax.set_axis_off()
for ax, exemplar, label, p in zip(
    right.subplots(4, 5).flat,
    run.support_images[order],
    run.support_labels[order],
    probabilities[query],
    strict=True,
):
    ax.imshow(exemplar, cmap="gray_r")
    ax.set(xticks=[], yticks=[])
    ax.set_title(f"{label}  {p:.0%}", fontsize=9)
    # The truth is blue; a wrong answer orange.
    color = {answer: "tab:orange", truth: "tab:blue"}.get(label, "lightgray")
    for spine in ax.spines.values():
        spine.set(color=color, linewidth=4 if color != "lightgray" else 1)
figure.savefig(args.picture, dpi=120)
print(f"one trial drawn to {args.picture}")
