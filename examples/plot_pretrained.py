"""
Your own drawings, without training
===================================

The pretrained network classifies symbols that it has never seen, from one drawing of each. In this
example they are seven symbols drawn by code, dark on light, as on a drawing pad.

    python examples/plot_pretrained.py
"""

import argparse

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageDraw

from sksiamese import load_pretrained

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--picture", default="pretrained.png", help="file to draw the results to")
args = parser.parse_args()

# %%
# Each symbol is a list of lines through points of a unit square. Replace them by your own, or load
# scans of any size, dark on light or light on dark.
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
    """Draw the strokes by a shaky hand, with a pen of random width."""
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
# Give one exemplar of each symbol. `set_support` also infers image size, background level and
# polarity.
clf = load_pretrained().set_support(support, names)
predicted = clf.predict(queries)
print(f"{(predicted == truth).sum()} of {len(truth)} drawings of {len(names)} symbols are correct")

# %%
# Draw the exemplars, and below each some of the drawings that were classified as this symbol.
figure, axes = plt.subplots(6, len(names), figsize=(len(names), 6), layout="constrained")
for column, name in zip(axes.T, names, strict=True):
    column[0].set_title(name)
    classified = np.flatnonzero(predicted == name)[:5]
    shown = [support[names == name][0], *queries[classified]]
    for ax, image in zip(column, shown, strict=False):
        ax.imshow(image, cmap="gray", vmin=0, vmax=255)
    for ax in column:
        ax.set_axis_off()
figure.savefig(args.picture, dpi=120)
print(f"drew the results to {args.picture}")
