"""
Your own images: one folder per class
=====================================

Colour images in folders, as a camera could save them. In this example they are generated badges: a
sign in one colour on a plate of another, slightly rotated and shifted, in changing light. A twin
network trains on forty kinds of badges, and then recognises ten new kinds from one image of each.
1-nearest-neighbour on the same pixels is measured for comparison.

    python examples/plot_own_images.py --folder parts    # your images: parts/class/image.png
"""

import argparse
import colorsys
import tempfile
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageDraw, ImageEnhance
from sklearn.neighbors import KNeighborsClassifier

from sksiamese import SiameseOneShotClassifier
from sksiamese.datasets import load_image_folder, make_glyphs
from sksiamese.model_selection import one_shot_score
from sksiamese.plotting import NeighborsDisplay

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--folder", type=Path, help="your images, instead of the badges")
parser.add_argument("--epochs", type=int, default=15, help="epochs of training (default 15)")
parser.add_argument("--picture", default="own_images.png", help="file to draw neighbours to")
args = parser.parse_args()


def draw_badges(folder, n_classes=50, n_samples=12, size=48):
    signs, classes = make_glyphs(n_classes, n_samples, image_size=size, random_state=0)
    rng = np.random.default_rng(0)
    hues = rng.random((n_classes, 2))
    for number, (sign, label) in enumerate(zip(signs, classes, strict=True)):
        plate, stroke = (
            tuple(int(255 * value) for value in colorsys.hsv_to_rgb(hue, 0.6, brightness))
            for hue, brightness in zip(hues[label], (0.9, 0.45), strict=True)
        )
        image = Image.new("RGB", (size, size), "white")
        edge = rng.integers(1, 5, size=2)
        corners = [*map(int, edge), *map(int, size - edge)]
        ImageDraw.Draw(image).rounded_rectangle(corners, 10, fill=plate)
        image.paste(stroke, mask=Image.fromarray(255 - sign))  # signs are dark on light
        image = ImageEnhance.Brightness(image).enhance(rng.uniform(0.6, 1.0))
        path = folder / f"badge{label:02d}" / f"{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)


# %%
# `load_image_folder` reads the images, here at 32 x 32 pixels. The labels are the folder names.

with tempfile.TemporaryDirectory() as temporary:
    folder = args.folder or Path(temporary)
    if args.folder is None:
        draw_badges(folder)
    try:
        data = load_image_folder(folder, resize=(32, 32), color=True)
    except (OSError, ValueError) as error:
        parser.error(f"--folder: {error}")
X, y = data.images, data.target
classes, n_images = np.unique(y, return_counts=True)
several = classes[n_images > 1]
if len(several) < 4:
    parser.error(
        f"--folder has {len(several)} classes of two or more images; expected at least four, two "
        "for training and two for testing. Add classes, or images of the classes."
    )
n_way = max(2, len(several) // 5)
new = np.isin(y, np.random.default_rng(1).permutation(several)[:n_way])
print(f"{len(X)} images of {len(classes)} classes, {n_way} of them held out")

# %%
# Train on the other classes, and compare on one-shot trials of the classes held out.

clf = SiameseOneShotClassifier(max_iter=args.epochs, random_state=0).fit(X[~new], y[~new])
for name, model in (("twin network", clf), ("1-NN on pixels", KNeighborsClassifier(1))):
    score = one_shot_score(model, X[new], y[new], n_way=n_way, random_state=0)
    print(f"{name}: {score}")

# %%
# The first image of each new class is its exemplar. Some of the other images are the queries.

_, first = np.unique(y[new], return_index=True)
support, labels = X[new][first], y[new][first]
queries = np.delete(np.flatnonzero(new), first)[::25][:4]
NeighborsDisplay.from_estimator(clf, support, labels, X[queries], n_neighbors=min(4, n_way))
plt.savefig(args.picture)
print(f"drew the nearest exemplars of {len(queries)} queries to {args.picture}")
