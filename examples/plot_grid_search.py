"""
Pipeline and GridSearchCV: parameters chosen on held-out alphabets
==================================================================

The classifier is the last step of a Pipeline, and GridSearchCV chooses parameters of both steps.
What matters is on which classes they are judged: a one-shot classifier is for classes that it was
not trained on, so each fold holds whole alphabets out, and the score is the accuracy of one-shot
trials within these.

Networks are trained for two epochs here, so that the search takes half a minute. What is best
after two epochs need not be best after forty.

    python examples/plot_grid_search.py
"""

import argparse

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from sksiamese import SiameseOneShotClassifier
from sksiamese.datasets import load_omniglot_minimal
from sksiamese.model_selection import make_one_shot_scorer, score_runs

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--drawers", type=int, default=10, help="people whose drawings to use, of 20")
parser.add_argument("--picture", default="grid_search.png", help="file to draw the scores to")
args = parser.parse_args()

# %%
# Five alphabets are included in the package. Labels are unique in all of them.

omniglot = load_omniglot_minimal()
rows = omniglot.drawers <= args.drawers
X, y, alphabets = omniglot.images[rows], omniglot.target[rows], omniglot.alphabets[rows]
print(f"{len(X)} drawings of {len(np.unique(y))} characters from {len(set(alphabets))} alphabets")

# %%
# The first step makes images smaller, the second is the twin network, which takes them as they
# are.


def shrink(X, side):
    """Return the means of square blocks of images of 105 x 105 pixels, `side` in each row."""
    return X.reshape(len(X), side, 105 // side, side, 105 // side).mean(axis=(2, 4))


twin = SiameseOneShotClassifier(crop=None, resize=None, max_iter=2, random_state=0)
pipeline = Pipeline([("shrink", FunctionTransformer(shrink)), ("twin", twin)])
sides, heads = (15, 21, 35), ("aligned", "weighted_l1")
grid = {"shrink__kw_args": [{"side": side} for side in sides], "twin__head": heads}

# %%
# `GroupKFold` holds alphabets out, and `class_groups` keeps each trial within one of them.

scorer = make_one_shot_scorer(
    n_way=10, n_episodes=100, class_groups=dict(zip(y, alphabets, strict=True))
)
search = GridSearchCV(pipeline, grid, cv=GroupKFold(2), scoring=scorer)
search.fit(X, y, groups=alphabets)
for params, score in zip(
    search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True
):
    print(f"{params}: {100 * score:.1f} %, 10-way 1-shot within held-out alphabets")

# %%
# The best pipeline is trained again on all five alphabets. The official runs, of other alphabets,
# took no part in the choice.

print("best:", search.best_params_)
print("20 official runs:", score_runs(search.best_estimator_, omniglot.runs))

# %%
# Draw the scores: one line for each head, with the scores of both folds.

results = search.cv_results_
figure, ax = plt.subplots(figsize=(7, 4.2), layout="constrained")
for head, colour, marker in zip(heads, ["#0072B2", "#D55E00"], "os", strict=True):
    own = np.asarray(results["param_twin__head"] == head, bool)
    folds = 100 * np.array([results[f"split{n}_test_score"][own] for n in range(2)])
    ax.plot(sides, folds.mean(axis=0), color=colour, marker=marker, label=f'head="{head}"')
    ax.vlines(sides, *folds, color=colour, linewidth=1)
ax.set_xticks(sides, labels=[f"{side} x {side}" for side in sides])
ax.set(
    xlabel="size of the images", ylabel="accuracy in %, 10-way 1-shot\nwithin held-out alphabets"
)
ax.legend(loc="lower right")
figure.savefig(args.picture, dpi=110)
print(f"drew the scores to {args.picture}")
