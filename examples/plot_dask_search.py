"""
Search an archive by dask
=========================

Which drawings of an archive show the same character as this one? The archive is embedded once, in
blocks, by dask: on one machine or on a cluster, with no more than a few blocks in memory. After
that, a search compares embeddings, and takes milliseconds.

    python -m pip install 'sksiamese[dask]' && python examples/plot_dask_search.py
"""

import argparse
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from sksiamese import load_pretrained
from sksiamese.datasets import load_omniglot_minimal

try:
    import dask
    import dask.array as da
except ImportError:
    sys.exit("dask is not installed: python -m pip install 'sksiamese[dask]'")

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--drawings", type=int, default=2720, help="others in the archive, at most")
parser.add_argument("--picture", default="dask_search.png", help="file to draw what was found to")
args = parser.parse_args()

# %%
# The official runs of Omniglot have four drawings of each of 200 characters. The first is a query,
# the other three are in the archive, among drawings of the five alphabets that are included. The
# network was trained on drawings of these five, but not on the characters that are searched for.

omniglot = load_omniglot_minimal()
runs = [[*omniglot.runs[n : n + 2]] for n in range(0, 20, 2)]  # two runs have the same characters
drawings, labels = [], []
for number, pair in enumerate(runs):
    for run in pair:
        drawings += [run.support_images, run.query_images]
        labels += [f"{number} {label}" for label in [*run.support_labels, *run.query_labels]]
drawings, labels = np.concatenate(drawings), np.array(labels)
_, first = np.unique(labels, return_index=True)
queries, wanted = drawings[first], labels[first]
others = omniglot.images[: args.drawings]
archive = np.concatenate([np.delete(drawings, first, axis=0), others])
names = np.concatenate([np.delete(labels, first), omniglot.target[: args.drawings]])

# %%
# `map_blocks` embeds the blocks of a dask array; your own comes from a memory map, or from zarr.
# Nothing is computed before `compute`. One thread: the network uses several by itself.

clf = load_pretrained().set_support(queries, wanted)
blocks = da.from_array(archive, chunks=(256, -1, -1))
n_features = clf.transform(queries[:1]).shape[1]
embeddings = blocks.map_blocks(
    clf.transform, drop_axis=2, chunks=(blocks.chunks[0], n_features), dtype=np.float32
)
with dask.config.set(scheduler="synchronous"):
    embeddings = embeddings.compute()
print(f"{len(archive)} drawings embedded in {blocks.numblocks[0]} blocks")

# %%
# The archive becomes the support, and `kneighbors` searches it.

clf.set_support(embeddings, names, embedded=True)
distances, found = clf.kneighbors(queries, 5)
right = names[found] == wanted[:, None]
print(
    f"{len(queries)} queries, each with three more drawings of its character among {len(archive)}"
)
nearest, three = 100 * right[:, 0].mean(), 100 * right[:, :3].mean()
print(f"the nearest drawing is of the character for {nearest:.1f} % of queries")
print(f"of the three nearest, {three:.1f} % are of the character")

# %%
# Draw what was found for some queries, with a query for which others came first.

worst = right[:, :3].sum(axis=1).argmin()
shown = [0, 60, 120, 180, worst]
figure, axes = plt.subplots(len(shown), 6, figsize=(7.2, 6.6), layout="constrained")
for row, query in zip(axes, shown, strict=True):
    row[0].imshow(queries[query], cmap="gray", vmin=0, vmax=255)
    for ax, place, is_right in zip(row[1:], found[query], right[query], strict=True):
        ax.imshow(archive[place], cmap="gray", vmin=0, vmax=255)
        colour, width = ("#0072B2", 2.5) if is_right else ("0.7", 0.8)
        ax.spines[:].set(color=colour, linewidth=width)
for ax in axes.flat:
    ax.set(xticks=[], yticks=[])
axes[0, 0].set_title("query")
axes[0, 3].set_title("the five nearest; blue: of the same character")
figure.savefig(args.picture, dpi=100)
print(f"drew what was found to {args.picture}")
