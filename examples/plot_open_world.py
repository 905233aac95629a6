"""
Open world: reject queries of unknown classes
=============================================

The estimator trains on five alphabets, holds one of them out, and learns on it how similar a query
and its class must be. In each official one-shot run, ten of the twenty characters are then known
by one exemplar each, and the other ten are unknown and should be rejected.

Training takes some minutes on two CPU cores; ``--epochs`` makes it shorter.
"""

import argparse

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import RocCurveDisplay, roc_auc_score

from sksiamese import SiameseOneShotClassifier
from sksiamese.datasets import load_omniglot_minimal

parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[1])
parser.add_argument("--epochs", type=int, default=50, help="epochs of training (default 50)")
parser.add_argument("--picture", default="open_world.png", help="file to draw the ROC curve to")
args = parser.parse_args()

# %%
# `unknown_label` turns rejection on. `false_acceptance_rate` is the fraction of unknown queries
# that should be accepted.

omniglot = load_omniglot_minimal()
clf = SiameseOneShotClassifier(
    unknown_label="unknown",
    false_acceptance_rate=0.1,
    class_augmentation="rotate_reflect",
    max_iter=args.epochs,
    random_state=0,
    verbose=1,
)
clf.fit(omniglot.images, omniglot.target, groups=omniglot.alphabets)
held_out = np.unique(omniglot.alphabets[np.isin(omniglot.target, clf.held_out_classes_)])
print(
    f"rejection threshold {clf.rejection_threshold_:.2f}, for a false-acceptance rate of "
    f"{clf.false_acceptance_rate}, learned on {', '.join(held_out)}"
)

# %%
# Each run has ten known and ten unknown characters of one alphabet.

scores, known, predicted, truth = [], [], [], []
for run in omniglot.runs:
    classes = np.random.default_rng(0).permutation(np.unique(run.support_labels))[:10]
    chosen = np.isin(run.support_labels, classes)
    clf.set_support(run.support_images[chosen], run.support_labels[chosen])
    scores.append(clf.score_samples(run.query_images))
    predicted.append(clf.predict(run.query_images))
    truth.append(run.query_labels)
    known.append(np.isin(run.query_labels, classes))
scores, known, predicted, truth = map(np.concatenate, (scores, known, predicted, truth))

accepted = predicted != "unknown"
correct = predicted == truth
print(f"400 queries of the 20 official runs, {known.sum()} of known characters")
print(f"area under the ROC curve, known against unknown: {roc_auc_score(known, scores):.3f}")
print(f"unknown queries accepted: {100 * accepted[~known].mean():.1f} %")
print(f"known queries rejected: {100 * (~accepted[known]).mean():.1f} %")
print(f"accuracy of the known queries accepted: {100 * correct[known & accepted].mean():.1f} %")
RocCurveDisplay.from_predictions(known, scores, name="known characters")
plt.savefig(args.picture)
print(f"drew the ROC curve to {args.picture}")
