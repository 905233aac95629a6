"""
Learning curves: how many examples until an ordinary classifier does as well?
=============================================================================

With one example of each class, a pretrained twin network is ahead of classifiers that learn from
these examples alone. With more examples, they catch up: from then on you need no one-shot
classifier. The curves show where, on scikit-learn's handwritten digits, of which no network of
this package has seen any.

    python examples/plot_learning_curves.py
"""

import argparse

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

from sksiamese import load_pretrained
from sksiamese.model_selection import one_shot_score

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--episodes", type=int, default=40, help="trials of each kind (default 40)")
parser.add_argument("--picture", default="learning_curves.png", help="file to draw the curves to")
args = parser.parse_args()

# %%
# The digits are rows of 64 features. `image_shape` tells the network that these are images of 8 x
# 8 pixels. The other classifiers take the rows as they are.

X, y = load_digits(return_X_y=True)
ways = {
    "pretrained network": load_pretrained().set_params(image_shape=(8, 8)),
    "support vector machine": SVC(C=10),
    "1-NN on pixels": KNeighborsClassifier(1),
}

# %%
# A 10-way k-shot trial has k exemplars and one query of each digit. All classifiers get the same
# trials. Nothing was chosen by them: the pretrained network is used as it is.

shots = [1, 2, 5, 10, 20]
scores = {
    name: [
        one_shot_score(clf, X, y, n_way=10, n_shot=k, n_episodes=args.episodes, random_state=0)
        for k in shots
    ]
    for name, clf in ways.items()
}
for name, curve in scores.items():
    for score in curve:
        print(f"{name}: {score}")

# %%
# The bands are 95 % intervals for the number of queries.

figure, ax = plt.subplots(figsize=(7, 4.5), layout="constrained")
styles = zip(scores.items(), ["#0072B2", "#D55E00", "#777777"], "os^", strict=True)
for (name, curve), colour, marker in styles:
    low, high = np.transpose([score.interval for score in curve])
    ax.plot(shots, 100 * np.array(curve, float), color=colour, marker=marker, label=name)
    ax.fill_between(shots, 100 * low, 100 * high, color=colour, alpha=0.15, linewidth=0)
ax.set_xscale("log")
ax.set_xticks(shots, labels=shots)
ax.minorticks_off()
ax.set(xlabel="exemplars of each digit", ylabel="accuracy in %, 10-way")
ax.legend(loc="lower right")
figure.savefig(args.picture, dpi=110)
print(f"drew the learning curves to {args.picture}")
