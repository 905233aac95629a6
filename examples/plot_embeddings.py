"""
Embeddings seen by t-SNE
========================

`transform` returns embeddings: vectors that are near each other where two images are likely to
show the same class. t-SNE draws them in the plane. Here they are of 80 drawings of the 20
characters of an alphabet that the network was not trained on, beside the same drawings as pixels.

    python examples/plot_embeddings.py
"""

import argparse

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from sklearn.manifold import TSNE
from sklearn.metrics import pairwise_distances

from sksiamese import load_pretrained
from sksiamese.datasets import load_omniglot_minimal

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--picture", default="embeddings.png", help="file to draw the map to")
args = parser.parse_args()

# %%
# The official runs of Omniglot come in pairs, which have the same characters, drawn by four
# people. The alphabets of the runs were not used in training.

pair = load_omniglot_minimal().runs[4:6]
images = np.concatenate([x for run in pair for x in (run.support_images, run.query_images)])
labels = np.concatenate([y for run in pair for y in (run.support_labels, run.query_labels)])
clf = load_pretrained().set_support(images[:20], labels[:20])

# %%
# Of each drawing, is the nearest other drawing of the same character? Distances are those of the
# space itself, not of the map: cosine for embeddings, as `transform` says, and for pixels.

spaces = {"pixels": 255.0 - images.reshape(len(images), -1), "embeddings": clf.transform(images)}
maps = {}
for name, vectors in spaces.items():
    distances = pairwise_distances(vectors, metric="cosine")
    np.fill_diagonal(distances, np.inf)
    right = labels[distances.argmin(axis=1)] == labels
    print(f"{name}: the nearest of {len(images) - 1} other drawings is of the same character for "
          f"{right.sum()} of {len(images)} drawings")  # fmt: skip
    tsne = TSNE(metric="cosine", perplexity=20, init="random", random_state=0)
    maps[name] = tsne.fit_transform(vectors)

# %%
# A line joins each drawing with the middle of the four drawings of its character. Short lines mean
# that the four lie together.

figure, axes = plt.subplots(1, 2, figsize=(11, 5.6), layout="constrained")
for ax, (name, places) in zip(axes, maps.items(), strict=True):
    for label in np.unique(labels):
        own = places[labels == label]
        for place in own:
            ax.plot(*zip(place, own.mean(axis=0), strict=True), color="#D55E00", linewidth=1)
    for place, image in zip(places, images, strict=True):
        glyph = np.zeros((*image.shape, 4))  # black strokes on nothing
        glyph[..., 3] = image < 128
        ax.add_artist(AnnotationBbox(OffsetImage(glyph, zoom=0.22), place, frameon=False))
    ax.set(xticks=[], yticks=[], title=name)
figure.suptitle("80 drawings of 20 characters by t-SNE")
figure.savefig(args.picture, dpi=110)
print(f"drew the maps to {args.picture}")
