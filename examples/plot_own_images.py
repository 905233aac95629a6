"""
Your own images: a folder for each class
========================================

Colour images in folders, as a camera on a line would fill them. Here they are badges drawn by
code: a sign in one colour on a plate of another, a little turned and shifted, in changing light.
A twin learns from forty kinds of badges, and then knows ten new kinds by one image of each, with
1-nearest-neighbour on the same pixels beside it.

    python examples/plot_own_images.py --folder parts    # yours: parts/class/image.png
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

parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[1])
parser.add_argument("--folder", type=Path, help="your images, instead of the badges")
parser.add_argument("--epochs", type=int, default=15, help="epochs of training (default 15)")
parser.add_argument("--picture", default="own_images.png", help="where the picture goes")
args = parser.parse_args()


def draw_badges(folder, n_classes=50, n_samples=12, size=48):
    signs, kinds = make_glyphs(n_classes, n_samples, image_size=size, random_state=0)
    rng = np.random.default_rng(0)
    hues = rng.random((n_classes, 2))
    for number, (sign, kind) in enumerate(zip(signs, kinds, strict=True)):
        plate, ink = (
            tuple(int(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.6, value))
            for hue, value in zip(hues[kind], (0.9, 0.45), strict=True)
        )
        image = Image.new("RGB", (size, size), "white")
        edge = rng.integers(1, 5, size=2)
        corners = [*map(int, edge), *map(int, size - edge)]
        ImageDraw.Draw(image).rounded_rectangle(corners, 10, fill=plate)
        image.paste(ink, mask=Image.fromarray((255 * sign).astype(np.uint8)).resize((size, size)))
        image = ImageEnhance.Brightness(image).enhance(rng.uniform(0.6, 1.0))
        path = folder / f"badge{kind:02d}" / f"{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)


# %%
# `load_image_folder` reads them, here at 32 by 32 pixels. Labels are the names of the folders.

with tempfile.TemporaryDirectory() as temporary:
    folder = args.folder or Path(temporary)
    if args.folder is None:
        draw_badges(folder)
    try:
        data = load_image_folder(folder, image_shape=(32, 32), color=True)
    except (OSError, ValueError) as error:
        parser.error(f"--folder: {error}")
X, y = data.images, data.target
classes, n_images = np.unique(y, return_counts=True)
several = classes[n_images > 1]
if len(several) < 4:
    parser.error(
        f"--folder has {len(several)} classes of two or more images; expected at least four, two "
        "to learn from and two to recognise: add classes, or images of them."
    )
n_way = max(2, len(several) // 5)
new = np.isin(y, np.random.default_rng(1).permutation(several)[:n_way])
print(f"{len(X)} images of {len(classes)} classes, {n_way} of them held out")

# %%
# Colours tell badges apart, and turned badges would be badges of other classes.

clf = SiameseOneShotClassifier(max_iter=args.epochs, class_transforms=None, random_state=0)
clf.fit(X[~new], y[~new])
for name, model, images in (
    ("twin", clf, X),
    ("1-NN on pixels", KNeighborsClassifier(1), X.reshape(len(X), -1) / 255),
):
    trials = {"n_way": n_way, "n_episodes": 100, "random_state": 0}
    score = one_shot_score(model, images[new], y[new], **trials)
    low, high = (100 * end for end in score.interval)
    print(
        f"{name}: {100 * float(score):.1f} % (95 % interval {low:.1f}-{high:.1f}), "
        f"{n_way}-way 1-shot over classes never seen, {score.n_trials} trials"
    )

# %%
# The first image of each new class is its exemplar; the others are recognised by it.

_, first = np.unique(y[new], return_index=True)
support, labels = X[new][first], y[new][first]
queries = np.delete(np.flatnonzero(new), first)[::25][:4]
NeighborsDisplay.from_estimator(clf, support, labels, X[queries], n_neighbors=min(4, n_way))
plt.savefig(args.picture)
print(f"drawn to {args.picture}")
