"""
Your own strokes, no training
=============================

A twin that ships reads symbols it has never seen, from one drawing of each: here seven strokes
drawn by code, dark on light paper, as a camera or a drawing pad would give them.

    python examples/plot_pretrained.py
"""

import argparse

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageDraw

from sksiamese import load_pretrained

parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
parser.add_argument("--picture", default="pretrained.png", help="where to draw the answers")
args = parser.parse_args()

# %%
# Symbols as lines through points of a unit square. Replace them by your own, or by scans: any
# size, any grey levels, ink dark or light.
SYMBOLS = {
    "arrow": [[(0.1, 0.5), (0.9, 0.5)], [(0.6, 0.2), (0.9, 0.5), (0.6, 0.8)]],
    "house": [[(0.2, 0.9), (0.2, 0.4), (0.5, 0.1), (0.8, 0.4), (0.8, 0.9), (0.2, 0.9)]],
    "bolt": [[(0.6, 0.1), (0.3, 0.5), (0.6, 0.5), (0.4, 0.9)]],
    "gate": [[(0.2, 0.9), (0.2, 0.1), (0.8, 0.1), (0.8, 0.9)], [(0.2, 0.5), (0.8, 0.5)]],
    "star": [[(0.5, 0.1), (0.7, 0.9), (0.1, 0.4), (0.9, 0.4), (0.3, 0.9), (0.5, 0.1)]],
    "fork": [[(0.5, 0.9), (0.5, 0.1)], [(0.2, 0.1), (0.2, 0.5), (0.8, 0.5), (0.8, 0.1)]],
    "key": [[(0.3, 0.1), (0.6, 0.1), (0.6, 0.4), (0.3, 0.4), (0.3, 0.1)],
            [(0.45, 0.4), (0.45, 0.9), (0.7, 0.9)], [(0.45, 0.7), (0.65, 0.7)]],
}  # fmt: skip
SIZE = 64


def draw(strokes, rng):
    """A hand's version: every point a little off, the pen thinner or thicker."""
    image = Image.new("L", (SIZE, SIZE), 250)
    pen = ImageDraw.Draw(image)
    width = int(rng.integers(2, 5))
    for stroke in strokes:
        points = (np.array(stroke) + rng.normal(0, 0.04, (len(stroke), 2))) * SIZE
        pen.line([tuple(point) for point in points], fill=30, width=width, joint="curve")
    return np.asarray(image)


rng = np.random.default_rng(0)
names = np.array(list(SYMBOLS))
support = np.stack([draw(SYMBOLS[name], rng) for name in names])
truth = np.repeat(names, 10)
queries = np.stack([draw(SYMBOLS[name], rng) for name in truth])

# %%
# One exemplar a symbol, and it reads: `set_support` also takes over the size, the ground and the
# ink of your images.
clf = load_pretrained("omniglot").set_support(support, names)
answers = clf.predict(queries)
print(f"{(answers == truth).sum()} of {len(truth)} drawings of {len(names)} symbols read right")

# %%
# The exemplars, and under each the drawings that were read as it.
figure, axes = plt.subplots(6, len(names), figsize=(len(names), 6), layout="constrained")
for column, name in zip(axes.T, names, strict=True):
    column[0].set_title(name)
    read = np.flatnonzero(answers == name)[:5]
    shown = [support[names == name][0], *queries[read]]
    for ax, image in zip(column, shown, strict=False):
        ax.imshow(image, cmap="gray", vmin=0, vmax=255)
    for ax in column:
        ax.set_axis_off()
figure.savefig(args.picture, dpi=120)
print(f"drawn to {args.picture}")
