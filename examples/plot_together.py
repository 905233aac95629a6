"""
Two experts together: a vote, and stacking
==========================================

The pretrained network compares how drawings look, and motor programs how they may have been drawn,
so they err on different queries. Both are classifiers that fit a support, so scikit-learn's own
``VotingClassifier`` and ``StackingClassifier`` combine them: `FrozenTwinClassifier` makes the
network's ``fit`` set the support, and `MotorProgramClassifier` trains nothing anyway.

The vote averages the probabilities of both. Its weights are those of ``benchmarks/together.py``,
which chose them on alphabets of the background set. Stacking learns how to combine the two from
the support itself, by cross-validation, so it needs several exemplars of each class.

This takes less than a minute.
"""

import argparse

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression

from sksiamese import FrozenTwinClassifier, MotorProgramClassifier, load_pretrained
from sksiamese.datasets import load_omniglot_minimal
from sksiamese.model_selection import wilson_interval

parser = argparse.ArgumentParser(description="Two experts together: a vote, and stacking.")
parser.add_argument("--runs", type=int, default=20, help="official runs to vote on (default 20)")
parser.add_argument("--alphabets", type=int, default=4, help="alphabets to stack on (default 4)")
parser.add_argument("--picture", default="together.png", help="file to draw trials to")
args = parser.parse_args()

experts = [
    ("network", FrozenTwinClassifier(load_pretrained("omniglot"))),
    ("motor programs", MotorProgramClassifier(random_state=0)),
]
runs = load_omniglot_minimal().runs


def report(name, correct):
    """Print an accuracy with its interval."""
    low, high = wilson_interval(np.sum(correct), np.size(correct))
    print(
        f"{name + ':':16} {100 * np.mean(correct):.2f} % (95 % interval {100 * low:.1f}-"
        f"{100 * high:.1f}), {np.size(correct)} trials"
    )


# %%
# Vote on the official runs. `transform` returns the probabilities of each expert, whose weighted
# mean is the vote's.

vote = VotingClassifier(experts, voting="soft", weights=[0.55, 0.45], flatten_transform=False)
names = [*(name for name, _ in experts), "vote"]


def answers_of(vote, X):
    """Return the labels that each expert and the vote predict."""
    p = vote.transform(X)  # (expert, query, class)
    p = [*p, np.average(p, axis=0, weights=vote.weights)]
    return vote.classes_[np.argmax(p, axis=2)]


answers = []  # (run, answerer, query)
for run in runs[: args.runs]:
    vote.fit(run.support_images, run.support_labels)
    answers.append(answers_of(vote, run.query_images))
answers = np.array(answers)
truth = np.array([run.query_labels for run in runs[: args.runs]])
right = answers == truth[:, None]
print(f"{args.runs} official runs, 20-way 1-shot:")
for number, name in enumerate(names):
    report(name, right[:, number])

# %%
# The official runs come in pairs: two runs have the same characters, drawn by other people. Of
# such a pair, three drawings of each character are the support, and the fourth is the query.

stack = StackingClassifier(experts, LogisticRegression(C=10), cv=3)
stacked = []
for first, second in list(zip(runs[::2], runs[1::2], strict=True))[: args.alphabets]:
    drawings = [first.support_images, first.query_images, second.support_images]
    labels = [first.support_labels, first.query_labels, second.support_labels]
    X, y = np.concatenate(drawings), np.concatenate(labels)
    predicted = answers_of(vote.fit(X, y), second.query_images)
    predicted = [*predicted, stack.fit(X, y).predict(second.query_images)]
    stacked.append(np.array(predicted) == second.query_labels)
print(f"pairs of official runs, {args.alphabets} alphabets, 20-way 3-shot:")
for name, correct in zip([*names, "stacking"], np.hstack(stacked), strict=True):
    report(name, correct)

# %%
# Draw official trials in which one expert is right and the other wrong.

differ = np.argwhere(right[:, 0] != right[:, 1])[:6]
GREEN, ORANGE = "#009E73", "#D55E00"
n_rows = max(2, len(differ))
figure, axes = plt.subplots(
    n_rows, 4, figsize=(6.4, 1.75 * n_rows + 0.3), layout="constrained", squeeze=False
)
for row, (number, query) in zip(axes, differ, strict=False):
    run = runs[number]
    row[0].imshow(run.query_images[query], cmap="gray", vmin=0, vmax=255)
    row[0].set_ylabel(f"run {number + 1}")
    for ax, answer in zip(row[1:], answers[number, :, query], strict=True):
        colour = GREEN if answer == run.query_labels[query] else ORANGE
        ax.imshow(run.support_images[run.support_labels == answer][0], cmap="gray")
        for spine in ax.spines.values():
            spine.set(color=colour, linewidth=2.5)
for ax, title in zip(axes[0], ["query", *names], strict=True):
    ax.set_title(title)
for ax in np.ravel(axes):
    ax.set(xticks=[], yticks=[])
figure.savefig(args.picture, dpi=110)
print(
    f"drew {len(differ)} trials in which one expert is right and the other wrong: {args.picture}"
)
