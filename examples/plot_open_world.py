"""
Open world: reject queries of unknown classes
=============================================

`predict` finds the class that matches best, however badly. With ``unknown_label``, it rejects
what seems to be of no class in the support. In each official one-shot run of Omniglot, ten of the
twenty characters are here known by one exemplar each, and the other ten are unknown and should be
rejected.

    python examples/plot_open_world.py
"""

import argparse

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import RocCurveDisplay, roc_auc_score

from sksiamese import load_pretrained
from sksiamese.datasets import load_omniglot_minimal

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--picture", default="open_world.png", help="file to draw the scores to")
args = parser.parse_args()

# %%
# The pretrained network knows how similar a query and its class must be. It has learned this on
# classes that were not used in training, none of them of the alphabets below, so that 5 % of
# unknown queries are accepted in trials of twenty classes.

clf = load_pretrained().set_params(unknown_label="unknown")
print(f"rejection threshold {clf.rejection_threshold_:.2f}")

# %%
# Each run has ten known and ten unknown characters of one alphabet. `score_samples` says how
# likely a query is of some class in the support.

scores, known, predicted, truth = [], [], [], []
for run in load_omniglot_minimal().runs:
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
area = roc_auc_score(known, scores)
print(f"400 queries of the 20 official runs, {known.sum()} of known characters")
print(f"area under the ROC curve, known against unknown: {area:.3f}")
print(f"unknown queries accepted: {100 * accepted[~known].mean():.1f} %")
print(f"known queries rejected: {100 * (~accepted[known]).mean():.1f} %")
print(f"accuracy of the known queries accepted: {100 * correct[known & accepted].mean():.1f} %")

# %%
# To the right of the threshold, queries are accepted. Another threshold is another point of the
# ROC curve; `calibrate` learns one from classes of your own.

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained")
bins = np.linspace(scores.min(), scores.max(), 30)
for own, colour, name in ((known, "#0072B2", "known"), (~known, "#D55E00", "unknown")):
    left.hist(scores[own], bins, color=colour, alpha=0.6, label=f"queries of {name} characters")
left.axvline(clf.rejection_threshold_, color="black", linestyle="--", label="threshold")
left.set(xlabel="score", ylabel="queries")
left.legend(loc="upper left")
RocCurveDisplay.from_predictions(known, scores, name="known characters", ax=right)
rates = accepted[~known].mean(), accepted[known].mean()
right.plot(*rates, "o", color="black", label="threshold")
right.set(xlabel="unknown queries accepted", ylabel="known queries accepted")
right.legend(loc="lower right")
figure.savefig(args.picture, dpi=100)
print(f"drew the scores to {args.picture}")
