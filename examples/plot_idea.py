"""
The idea: learn to compare, not to name
=======================================

Three pictures of why one example can be enough. A softmax network that sees one drawing of each of
twenty characters learns these drawings by heart, and hardly anything of the characters. A twin
network that has learned from drawings of *other* characters what stays the same recognises new
ones, the better the more characters it has seen. What it has learned is one number for two
drawings.

All drawings are included in the package; the network is a small one, to save time.
"""

import argparse
import warnings

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from sksiamese import SiameseOneShotClassifier
from sksiamese.datasets import load_omniglot_minimal
from sksiamese.model_selection import score_runs

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=10, help="epochs of training (default 10)")
parser.add_argument("--picture", default="idea.png", help="file to draw to")
args = parser.parse_args()

omniglot = load_omniglot_minimal()

# %%
# A softmax network on the twenty exemplars of each of three official runs: what it learns by
# heart, and what it knows of twenty other drawings of the same characters.

steps = [1, 2, 4, 8, 16, 32]
known = np.zeros((2, len(steps)))
for run in omniglot.runs[:3]:
    exemplars, queries = (
        (1 - images.reshape(-1, 35, 3, 35, 3).mean(axis=(2, 4)) / 255).reshape(len(images), -1)
        for images in (run.support_images, run.query_images)
    )
    for column, n_steps in enumerate(steps):
        network = MLPClassifier((128,), solver="lbfgs", max_iter=n_steps, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            network.fit(exemplars, run.support_labels)
        known[0, column] += 100 / 3 * network.score(exemplars, run.support_labels)
        known[1, column] += 100 / 3 * network.score(queries, run.query_labels)
print(f"softmax network: {known[0, -1]:.0f} % of its exemplars, {known[1, -1]:.0f} % of queries")

# %%
# A twin network, trained on the first characters of each of the five alphabets, on more and more
# of them. The characters of the official runs are of other alphabets.

classes, place = np.unique(omniglot.target, return_inverse=True)
alphabet_of_class = np.array([name.split("/")[0] for name in classes])
place_in_alphabet = np.concatenate(
    [np.arange(np.sum(alphabet_of_class == name)) for name in np.unique(alphabet_of_class)]
)
scores = []
for n_each in (4, 10, 100):
    rows = np.flatnonzero(place_in_alphabet[place] < n_each)
    clf = SiameseOneShotClassifier(
        encoder_params={"width": 16},
        resize=28,
        max_iter=args.epochs,
        random_state=0,
    )
    clf.fit(omniglot.images[rows], omniglot.target[rows], groups=omniglot.alphabets[rows])
    score = score_runs(clf, omniglot.runs)
    scores.append((len(np.unique(place[rows])), 100 * score.accuracy))
    print(f"trained on {scores[-1][0]} characters: {score}")

# %%
# What it says of two drawings: the log-odds that they show the same character, for pairs of one
# character and pairs of two, of the official runs.

logits, same = [], []
for run in omniglot.runs:
    clf.set_support(run.support_images, run.support_labels)
    logits.append(clf.decision_function(run.query_images))
    same.append(run.query_labels[:, None] == clf.classes_)
logits, same = np.concatenate(logits), np.concatenate(same)

# %%
# Draw what was learned by heart, what was transferred, and what two drawings are given.

figure, (memory, transfer, metric) = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
memory.plot(steps, known[0], "o-", label="the exemplars themselves")
memory.plot(steps, known[1], "s-", label="other drawings of them")
memory.set(
    title="A softmax network on one example",
    xlabel="steps of training",
    ylabel="accuracy, %",
    ylim=(0, 105),
)
memory.axhline(5, color="0.6", linestyle=":", label="guessing")
memory.legend(loc="center right")
transfer.semilogx(*zip(*scores, strict=True), "o-")
transfer.axhline(known[1, -1], color="C1", linestyle="--", label="the softmax network")
transfer.set(
    title="A twin network, trained on other characters",
    xlabel="characters that it has seen",
    ylim=(0, 105),
)
transfer.set_xticks([n for n, _ in scores], [str(n) for n, _ in scores])
transfer.minorticks_off()
transfer.legend(loc="lower right")
bins = np.linspace(logits.min(), logits.max(), 40)
metric.hist(logits[~same], bins, density=True, alpha=0.6, label="two characters")
metric.hist(logits[same], bins, density=True, alpha=0.6, label="one character")
metric.set(title="What it says of two drawings", xlabel="logit", yticks=[])
metric.legend()
figure.savefig(args.picture, dpi=100)
print(f"drew to {args.picture}")
