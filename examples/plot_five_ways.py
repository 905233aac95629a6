"""
One-shot learning, five ways
============================

One exemplar of each of twenty characters of an unknown alphabet: which one does a query show? Five
ways answer the same official runs of Omniglot:

1. 1-nearest-neighbour on pixels.
2. A softmax network that is trained on the exemplars. It learns them by heart. What varies within
   a class cannot be seen in one example, so it has to be known (3) or learned from other classes
   (4, 5). This is the idea of one-shot learning.
3. Motor programs after HBPL (Lake et al. 2013, 2015), which explain a drawing by its strokes.
   Nothing is trained.
4. The network of Koch et al. 2015, which learned on other alphabets to compare two images. It has
   39 million weights and is not included. ``benchmarks/koch2015.py`` trains it in some hours; pass
   its file by ``--koch``. Without it, the picture shows the published figure alone.
5. The recommended network, which is included.

``docs/five_ways.md`` explains them. This takes less than a minute.
"""

import argparse
import time

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sksiamese import MotorProgramClassifier, SiameseOneShotClassifier, load_pretrained
from sksiamese.datasets import load_omniglot_minimal
from sksiamese.model_selection import score_runs

parser = argparse.ArgumentParser(description="One-shot learning, five ways.")
parser.add_argument("--runs", type=int, default=20, help="official runs to score (default 20)")
parser.add_argument("--koch", help="saved network of benchmarks/koch2015.py")
parser.add_argument("--picture", default="five_ways.png", help="file to draw the results to")
args = parser.parse_args()


def foreground(X):
    """Return the fraction of dark pixels in blocks of 3x3."""
    return 1 - X.reshape(-1, 35, 3, 35, 3).mean(axis=(2, 4)).reshape(len(X), -1) / 255


# %%
# The classifiers, and what is published of each on the official runs, in %.

softmax = MLPClassifier((128,), solver="lbfgs", random_state=0)
ways = {
    "pixels, 1-NN": KNeighborsClassifier(1),
    "softmax network": make_pipeline(FunctionTransformer(foreground), softmax),
    "motor programs (HBPL)": MotorProgramClassifier(random_state=0),
    "Koch's network": SiameseOneShotClassifier.load(args.koch) if args.koch else None,
    "recommended network": load_pretrained("omniglot"),
}
published = {"pixels, 1-NN": 21.7, "motor programs (HBPL)": 95.2, "Koch's network": 92.0}
PEOPLE = 95.5

# %%
# Score all on the same runs, by one call.

runs = load_omniglot_minimal().runs[: args.runs]
scores = {}
print(f"{len(runs)} official runs, in alphabets that were not used in training:")
for way, clf in ways.items():
    if clf is None:
        print(f"{way:22} left out: train it by benchmarks/koch2015.py and pass --koch FILE")
        continue
    start = time.perf_counter()
    scores[way] = score_runs(clf, runs)
    seconds = (time.perf_counter() - start) / len(runs)
    known = f"published {published[way]:.1f} %" if way in published else ""
    print(f"{way:22} {scores[way]}; {seconds:.2f} s a run; {known}".rstrip("; "))
print(f"{'people':22} published {PEOPLE} %")

# %%
# The answers to one run. The picture shows a query on which the ways differ.


def answers(clf, run):
    """Return the label of each query of a run."""
    if hasattr(clf, "set_support"):
        return clf.set_support(run.support_images, run.support_labels).predict(run.query_images)
    clf.fit(run.support_images.reshape(20, -1), run.support_labels)
    return clf.predict(run.query_images.reshape(20, -1))


run = runs[4 % len(runs)]
predicted = np.array([answers(ways[way], run) for way in scores])  # (way, query)
right = predicted == run.query_labels
query = np.argmax(right[2:].sum(axis=0) - right[:2].sum(axis=0))

# %%
# On the left the query, its exemplars and the answers; on the right the accuracies.

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#777777"
figure = plt.figure(figsize=(13, 6.2))
left, axes = figure.subfigures(1, 2, width_ratios=[1, 1.05])


def show(ax, image, colour="0.85", width=0.8):
    ax.imshow(image, cmap="gray", vmin=0, vmax=255)
    ax.set(xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set(color=colour, linewidth=width)


top, bottom = left.subfigures(2, 1, height_ratios=[1.75, 1])
grid = top.add_gridspec(4, 7, left=0.03, right=0.98, top=0.86, bottom=0.04, wspace=0.12)
ax = top.add_subplot(grid[1:3, :2])
show(ax, run.query_images[query], BLUE, 2)
ax.set_title("Which one is this?", color=BLUE, fontsize=12, fontweight="bold", pad=8)
places = [(row, column) for row in range(4) for column in range(2, 7)]
for (row, column), image in zip(places, run.support_images, strict=True):
    show(top.add_subplot(grid[row, column]), image)
top.text(0.65, 0.91, "one exemplar of each of twenty characters", ha="center", fontsize=11)

cells = bottom.subplots(1, len(ways), gridspec_kw={"left": 0.03, "right": 0.98, "bottom": 0.2})
for ax, way in zip(cells, ways, strict=True):
    ax.set_xlabel(way.replace(" network", "\nnetwork").replace(" (", "\n("), fontsize=9)
    if way not in scores:
        show(ax, np.full((105, 105), 255))
        ax.text(52, 52, "--koch\nFILE", ha="center", va="center", color=GREY, fontsize=9)
        continue
    number = list(scores).index(way)
    colour = GREEN if right[number, query] else ORANGE
    show(ax, run.support_images[run.support_labels == predicted[number, query]][0], colour, 2.5)
    ax.set_title("right" if right[number, query] else "wrong", color=colour, fontsize=10)
bottom.text(0.03, 0.93, "the exemplar that each way answers", fontsize=11)

ax = axes.subplots(gridspec_kw={"left": 0.26, "right": 0.96, "top": 0.88, "bottom": 0.14})
for place, way in enumerate(ways):
    if way in scores:
        accuracy, low, high = np.multiply(100, [float(scores[way]), *scores[way].interval])
        error = [[accuracy - low], [high - accuracy]]
        colour = GREY if place < 2 else BLUE
        ax.barh(place, accuracy, 0.6, color=colour, alpha=0.85)
        ax.errorbar(accuracy, place, xerr=error, color="black", capsize=3, linewidth=1)
        inside = accuracy > 50
        ax.text(
            low - 2 if inside else high + 2,
            place,
            f"{accuracy:.1f} %",
            ha="right" if inside else "left",
            va="center",
            color="white" if inside else "black",
            fontweight="bold",
        )
    else:
        ax.text(
            8, place, "train it, and pass --koch FILE", va="center", color=GREY, style="italic"
        )
    if way in published:
        ax.plot(published[way], place - 0.42, marker="v", color=ORANGE, markersize=8)
        ax.annotate(
            f"{published[way]:.1f}",
            (published[way], place - 0.42),
            (-8, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            color=ORANGE,
            fontsize=9,
        )
ax.axvline(PEOPLE, color="black", linestyle=":", linewidth=1.2)
ax.text(PEOPLE, -0.78, f"people {PEOPLE}", ha="center", fontsize=10)
ax.axvline(5, color="0.6", linestyle=":", linewidth=1.2)
ax.text(5, -0.78, "chance", ha="center", color="0.4", fontsize=10)
ax.plot([], [], marker="v", color=ORANGE, linestyle="none", label="published")
ax.errorbar([], [], xerr=[], color="black", capsize=3, linewidth=1, label="95 % interval")
ax.legend(loc="lower center", bbox_to_anchor=(0.5, -0.2), ncols=2, frameon=False)
ax.set(yticks=range(len(ways)), yticklabels=ways, xlim=(0, 101), ylim=(len(ways) - 0.5, -0.7))
ax.set_xlabel(f"accuracy in %, {20 * len(runs)} official trials, 20-way 1-shot")
ax.spines[["top", "right"]].set_visible(False)
ax.tick_params(axis="y", length=0)
figure.savefig(args.picture, dpi=110)
print(f"drew the results to {args.picture}")
