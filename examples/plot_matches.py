"""
Where two images match
======================

The pretrained network compares two drawings cell by cell. Each cell of the one is compared with
the cells near its place in the other, so that a stroke may lie a little elsewhere, and the cells
that show strokes count more. `MatchDisplay` draws the part that each cell has in the logit: blue
cells have a match and speak for the same class, orange cells have none and speak against it.

    python examples/plot_matches.py
"""

import argparse

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from sksiamese import load_pretrained
from sksiamese.datasets import load_omniglot_minimal
from sksiamese.plotting import MatchDisplay

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--picture", default="matches.png", help="file to draw the matches to")
args = parser.parse_args()

# %%
# An official one-shot run of Omniglot has 20 characters of an alphabet that the network was not
# trained on: one exemplar and one query of each.

run = load_omniglot_minimal().runs[4]
clf = load_pretrained().set_support(run.support_images, run.support_labels)
logits = clf.decision_function(run.query_images)  # (query, class)

# %%
# Take the query for which the best wrong class comes closest to the right one, and compare it with
# the exemplars of both.

own = run.query_labels[:, None] == clf.classes_
others = np.where(own, -np.inf, logits)
query = np.argmin(logits[own] - others.max(axis=1))
labels = run.query_labels[query], clf.classes_[others[query].argmax()]
exemplars = [run.support_images[run.support_labels == label][0] for label in labels]
p = clf.pair_proba(np.repeat(run.query_images[[query]], 2, axis=0), np.stack(exemplars))
print(
    f"query of {labels[0]}: p(same) is {p[0]:.3f} with its own class, {p[1]:.3f} with {labels[1]}"
)

# %%
# The heat lies where the strokes are, in the images' own pixels. Lines join a cell of the query
# with the cell of the exemplar that matches it best. The sum of all cells, of both images, is the
# logit of the network; `pair_proba` also uses the network's second member, which has no cells, and
# the calibration.

figure, axes = plt.subplots(2, 1, figsize=(7, 7), layout="constrained")
titles = "its own class", "the class that comes closest"
for ax, label, exemplar, title in zip(axes, labels, exemplars, titles, strict=True):
    display = MatchDisplay.from_estimator(clf, run.query_images[query], exemplar, n_lines=5, ax=ax)
    ax.set_title(f"{title}, {label}")
figure.savefig(args.picture, dpi=110)
print(f"drew where the query and both exemplars match to {args.picture}")
