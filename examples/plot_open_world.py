"""
Open world: what if it is none of them?
=======================================

A twin learns from five alphabets, holds one of them out, and finds on it how alike a query and its
class must be. In each official one-shot run ten of the twenty characters are then known, by one
drawing each, and ten are not: how well are those rejected?

Training takes some minutes on two CPU cores; ``--epochs`` makes it shorter.
"""

import argparse

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import RocCurveDisplay, roc_auc_score

from sksiamese import SiameseOneShotClassifier
from sksiamese.datasets import load_omniglot_minimal

parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[1])
parser.add_argument("--epochs", type=int, default=50, help="epochs of training (default 50)")
parser.add_argument("--picture", default="open_world.png", help="where the picture goes")
args = parser.parse_args()

# %%
# `unknown_label` turns rejection on. `false_acceptance` says how many of the unknown may pass.

omniglot = load_omniglot_minimal()
clf = SiameseOneShotClassifier(
    unknown_label="unknown",
    false_acceptance=0.1,
    class_transforms="rotate_reflect",
    max_iter=args.epochs,
    random_state=0,
)
clf.fit(omniglot.images, omniglot.target, groups=omniglot.alphabets)
print(f"threshold {clf.threshold_:.2f}, for a rate of false acceptance of {clf.false_acceptance}")

# %%
# Ten known and ten unknown characters of one alphabet, run by run.

scores, known, answers, labels = [], [], [], []
for run in omniglot.runs:
    classes = np.random.default_rng(0).permutation(np.unique(run.support_labels))[:10]
    chosen = np.isin(run.support_labels, classes)
    clf.set_support(run.support_images[chosen], run.support_labels[chosen])
    scores.append(clf.score_samples(run.query_images))
    answers.append(clf.predict(run.query_images))
    labels.append(run.query_labels)
    known.append(np.isin(run.query_labels, classes))
scores, known, answers, labels = map(np.concatenate, (scores, known, answers, labels))

print(f"400 queries of the 20 official runs, {known.sum()} of known characters")
print(f"area under the ROC curve, known against unknown: {roc_auc_score(known, scores):.3f}")
print(f"unknown, taken for known: {100 * (answers[~known] != 'unknown').mean():.1f} %")
print(f"known, rejected: {100 * (answers[known] == 'unknown').mean():.1f} %")
right = (answers == labels)[known & (answers != "unknown")]
print(f"known and not rejected, right: {100 * right.mean():.1f} %")
RocCurveDisplay.from_predictions(known, scores, name="known characters")
plt.savefig(args.picture)
