"""
Fine-tune the pretrained network to another kind of drawing
===========================================================

The pretrained network knows characters. Here it is fine-tuned to marks that look like signatures:
wide, of one line, alike in style. `fit` starts from the pretrained weights; its marks and those of
the trials are of different people.

    python examples/plot_fine_tuning.py
"""

import argparse
import time

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageDraw
from sklearn.base import clone

from sksiamese import load_pretrained
from sksiamese.model_selection import EpisodeSplit, one_shot_score

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--classes", type=int, default=40, help="marks to fine-tune on (default 40)")
parser.add_argument("--epochs", type=int, help="epochs (default: those of load_pretrained)")
parser.add_argument("--picture", default="fine_tuning.png", help="file to draw the trial to")
args = parser.parse_args()

# %%
# A mark is a sum of swings, as of a hand that moves to the right. Each drawing changes the swings,
# the speed, the slant and the pen a little.
TIME = np.linspace(0, 1, 300)


def make_marks(n_classes, n_samples, seed):
    """Return images (n, 64, 144), dark on light, and labels."""
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(n_classes):
        n = rng.integers(4, 8)
        speeds = rng.uniform(1.5, 9, n)
        sizes = rng.normal(0, [[0.5], [1]], (2, n)) / np.sqrt(speeds)  # across and along
        phases = rng.uniform(0, 2 * np.pi, (2, n))
        for _ in range(n_samples):
            uneven = 0.03 * rng.normal() * np.sin(2 * np.pi * TIME + rng.uniform(0, 6))
            own = sizes * (1 + 0.15 * rng.normal(size=(2, n)))
            turns = 2 * np.pi * speeds * (1 + 0.01 * rng.normal(size=n))
            angles = (TIME + uneven)[:, None, None] * turns + phases
            angles += 0.15 * rng.normal(size=(2, n))
            x, y = (own * np.sin(angles)).sum(-1).T
            x = x + 4 * TIME
            y = y * (1 + 0.1 * rng.normal()) + 0.06 * rng.normal() * x
            images.append(draw(np.stack([x + 0.15 * rng.normal() * y, y], 1), rng))
    return np.stack(images), np.repeat(np.arange(n_classes), n_samples)


def draw(points, rng):
    """Draw a line through the points with a pen of random width."""
    points = points - points.min(axis=0)
    points = 6 + points / max(points.max(axis=0) / (132, 52))
    large = Image.new("L", (4 * 144, 4 * 64), 250)
    line = [tuple(point) for point in 4 * points]
    ImageDraw.Draw(large).line(line, fill=30, width=int(rng.integers(6, 13)), joint="curve")
    return np.asarray(large.resize((144, 64), Image.Resampling.LANCZOS))


X, y = make_marks(args.classes, 8, seed=0)
X_new, y_new = make_marks(60, 8, seed=1)  # other marks

# %%
# `fit` fine-tunes: `weights="omniglot"` is a parameter of the pretrained estimator, so clones
# start there too. Without `fit`, the network is as it was trained on characters.
pretrained = load_pretrained("omniglot")
tuned = clone(pretrained)
if args.epochs is not None:
    tuned.set_params(max_iter=args.epochs)
start = time.perf_counter()
tuned.fit(X, y)
print(f"fine-tuned on {len(X)} drawings of {args.classes} marks, {tuned.n_iter_} epochs, "
      f"{time.perf_counter() - start:.0f} s")  # fmt: skip

trials = {"n_way": 20, "n_episodes": 100, "random_state": 0}
print("before:", one_shot_score(pretrained, X_new, y_new, **trials))
print("after: ", one_shot_score(tuned, X_new, y_new, **trials))

# %%
# Draw queries of a trial that either network gets wrong; wrong answers have a red frame.
support, query = next(EpisodeSplit(n_way=20, n_episodes=1, random_state=0).split(X_new, y_new))
exemplar = dict(zip(y_new[support], X_new[support], strict=True))
answers = [
    clf.set_support(X_new[support], y_new[support]).predict(X_new[query])
    for clf in (pretrained, tuned)
]
truth = y_new[query]
shown = np.flatnonzero((answers[0] != truth) | (answers[1] != truth))[:8]
figure, axes = plt.subplots(
    max(len(shown), 2), 4, figsize=(8, 7.5), layout="constrained", squeeze=False
)
for ax in axes.flat:
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set(color="0.8")
for ax, title in zip(axes[0], ["query", "its class", "before", "after"], strict=True):
    ax.set_title(title)
for row, q in zip(axes, shown, strict=False):
    row[0].imshow(X_new[query[q]], cmap="gray", vmin=0, vmax=255)
    for ax, label in zip(
        row[1:], [truth[q], *(predicted[q] for predicted in answers)], strict=True
    ):
        ax.imshow(exemplar[label], cmap="gray", vmin=0, vmax=255)
        if label != truth[q]:
            ax.spines[:].set(color="tab:red", linewidth=2)
figure.savefig(args.picture, dpi=100)
print(f"drew queries of a trial to {args.picture}")
