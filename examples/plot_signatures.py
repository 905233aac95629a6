"""
Signatures: who signed, and is it the same signer?
==================================================

The pretrained network is fine-tuned on signatures of a few writers, which takes half a minute. New
signers are then told apart by one signature of each, and two signatures are verified: the
threshold is calibrated on writers that were not trained on. The signatures are drawn here; your
own are images with the names of their writers.

One signature tells signers apart who do not imitate each other. A skilled forgery, by someone who
has practised a signature, is out of scope: it differs from a genuine one by less than genuine ones
differ among each other, and one exemplar does not show how much these differ.

    python examples/plot_signatures.py
"""

import argparse
import time

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageDraw
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier

from sksiamese import SiameseVerifier, load_pretrained
from sksiamese.model_selection import EpisodeSplit, make_pairs, one_shot_score

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--writers", type=int, default=20, help="to fine-tune on (default 20)")
parser.add_argument("--epochs", type=int, help="epochs (default: those of load_pretrained)")
parser.add_argument("--picture", default="signatures.png", help="file to draw the pairs to")
args = parser.parse_args()

# %%
# A writer's movement is a row of letters, each a loop, an arch or a cusp of a size of its own, and
# a flourish that ends it. Genuine signatures differ in pace, size, slant and pen.
HEIGHT, WIDTH = 64, 160
STEPS = 40  # points of a letter
UNEVEN = np.array([0.2, 0.12, 0.15, 0.1])  # of width, height, loop and lean, in a writer's letters


def make_writer(rng):
    """Return what is a writer's own: letters (width, height, loop, lean), slant and flourish."""
    n = rng.integers(4, 9)
    letters = np.stack([
        rng.uniform(0.6, 1.6, n),
        rng.choice([0.5, 0.7, 1.0, 2.0, -1.2], n) * rng.uniform(0.8, 1.2, n),
        rng.uniform(-0.4, 1.4, n),
        rng.uniform(0, 2 * np.pi, n),
    ])  # fmt: skip
    letters[1, 0] = rng.uniform(1.8, 3)  # a capital
    return letters, rng.normal(0.3, 0.3), rng.normal(0, [1.5, 0.8, 1.5, 0.8])


def sign(writer, rng):
    """Return the image of one genuine signature."""
    letters, slant, flourish = writer
    letters = letters * (1 + UNEVEN[:, None] * rng.normal(size=letters.shape))
    phase = np.linspace(0, 2 * np.pi, STEPS, endpoint=False)
    starts = np.concatenate([[0], np.cumsum(letters[0])])
    strokes = []
    for start, (width, height, loop, lean) in zip(starts, letters.T, strict=False):
        x = start + width * phase / (2 * np.pi) + 0.35 * loop * np.sin(phase)
        y = 0.5 * height * (1 - np.cos(phase)) + 0.12 * np.sin(2 * phase + lean)
        strokes.append(np.stack([x, y], axis=1))
    end = np.array([starts[-1], 0])
    out, back = end + flourish[:2] + [1, 0], end * [0.2, 0] + flourish[2:] * [1, 0.5] - [0, 1]
    t = np.linspace(0, 1, 2 * STEPS)[:, None]
    bow = (1 - t) ** 3 * end + 3 * (1 - t) ** 2 * t * out + 3 * (1 - t) * t**2 * (out + back) / 2
    points = np.concatenate([*strokes, bow + t**3 * back])
    pace = np.cumsum(rng.normal(0, 0.025, points.shape), axis=0)
    points = points + pace - np.linspace(0, 1, len(points))[:, None] * pace[-1]
    points[:, 0] += (slant + 0.12 * rng.normal()) * points[:, 1]
    points = points * [1, -(1 + 0.1 * rng.normal())]
    return draw(points @ turned(0.06 * rng.normal()), rng)


def turned(angle):
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def draw(points, rng):
    """Draw a line through the points, with a pen of random width, at a random place."""
    size = np.ptp(points, axis=0)
    scale = min((WIDTH - 16) / size[0], (HEIGHT - 12) / size[1]) * rng.uniform(0.8, 1)
    free = np.array([WIDTH, HEIGHT]) - scale * size
    points = (points - points.min(axis=0)) * scale + free * rng.uniform(0.3, 0.7, 2)
    large = Image.new("L", (4 * WIDTH, 4 * HEIGHT), 245)
    line = [tuple(point) for point in 4 * points]
    ImageDraw.Draw(large).line(line, fill=40, width=int(rng.integers(5, 11)), joint="curve")
    return np.asarray(large.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS))


def make_signatures(n_writers, seed, n_each=8):
    """Return images (n, HEIGHT, WIDTH), dark on light, and the numbers of their writers."""
    rng = np.random.default_rng(seed)
    writers = [make_writer(rng) for _ in range(n_writers)]
    images = [sign(writer, rng) for writer in writers for _ in range(n_each)]
    return np.stack(images), np.repeat(np.arange(n_writers), n_each)


X, y = make_signatures(args.writers, seed=0)
X_held_out, y_held_out = make_signatures(20, seed=1)  # to calibrate the threshold
X_new, y_new = make_signatures(40, seed=2)  # new signers

# %%
# `fit` fine-tunes, because `weights` is a parameter of the pretrained estimator.
pretrained = load_pretrained()
tuned = clone(pretrained).set_params(random_state=0)
if args.epochs is not None:
    tuned.set_params(max_iter=args.epochs)
start = time.perf_counter()
tuned.fit(X, y)
print(f"fine-tuned on {len(X)} signatures of {args.writers} writers, {tuned.n_iter_} epochs, "
      f"{time.perf_counter() - start:.0f} s")  # fmt: skip

# %%
# Without a network: signatures are cut out and brought to one size, and compared by their pixels,
# or by histograms of oriented gradients (HOG, Dalal & Triggs 2005) in cells.


def cut(images):
    """Return the box about each signature, at the size of the images."""
    boxes = []
    for image in images:
        box = Image.fromarray(np.uint8(image < 150)).getbbox()
        whole = Image.fromarray(image)
        boxes.append(np.asarray(whole.resize((WIDTH, HEIGHT), Image.Resampling.BOX, box)))
    return np.stack(boxes)


def hog(images, cell=8, n_bins=9):
    """Return histograms of the orientation of gradients, in blocks of 2 x 2 cells, as rows."""
    images = images.astype(float)
    dy, dx = np.gradient(images, axis=(1, 2))
    strength, angle = np.hypot(dx, dy), np.arctan2(dy, dx) % np.pi
    bins = np.minimum(angle / np.pi * n_bins, n_bins - 1).astype(int)
    cells = np.stack([strength * (bins == b) for b in range(n_bins)], axis=-1)
    cells = cells.reshape(len(images), HEIGHT // cell, cell, WIDTH // cell, cell, n_bins)
    cells = cells.sum(axis=(2, 4))
    blocks = np.concatenate(
        [cells[:, :-1, :-1], cells[:, 1:, :-1], cells[:, :-1, 1:], cells[:, 1:, 1:]], axis=-1
    )
    norms = np.linalg.norm(blocks, axis=-1, keepdims=True)
    return (blocks / (norms + 1e-3 * norms.max())).reshape(len(images), -1)


nearest = KNeighborsClassifier(1)
boxes = cut(X_new)
trials = {"n_way": 10, "n_episodes": 200, "random_state": 0}
for name, clf, samples in (
    ("1-NN on pixels:", nearest, boxes.reshape(len(boxes), -1)),
    ("1-NN on HOG:   ", nearest, hog(boxes)),
    ("pretrained:    ", pretrained, X_new),
    ("fine-tuned:    ", tuned, X_new),
):
    print(name, one_shot_score(clf, samples, y_new, **trials))

# %%
# Verification: a sample is a pair of row numbers of the `preprocessor`'s images. The threshold
# suits writers that were held out of training, and is then used for new signers.
verifier = SiameseVerifier.from_classifier(tuned, preprocessor=X_held_out)
pairs = make_pairs(y_held_out, n_pairs=2000, random_state=0)
verifier.calibrate_threshold(pairs[:, :2], pairs[:, 2])
verifier.set_params(preprocessor=X_new)
pairs = make_pairs(y_new, n_pairs=4000, random_state=1)
scores, same = verifier.decision_function(pairs[:, :2]), pairs[:, 2] == 1
accepted = verifier.predict(pairs[:, :2]) == 1
print(f"verification: accuracy {100 * np.mean(accepted == same):.1f} %, "
      f"area under the ROC curve {roc_auc_score(same, scores):.3f}, "
      f"genuine rejected {100 * np.mean(~accepted[same]):.1f} %, "
      f"others accepted {100 * np.mean(accepted[~same]):.1f} %")  # fmt: skip

# %%
# Draw a trial of ten new signers: the query, the exemplar of the answer, and whether the verifier
# accepts the pair.
support, query = next(EpisodeSplit(n_way=10, n_episodes=1, random_state=0).split(X_new, y_new))
tuned.set_support(X_new[support], y_new[support])
answers = tuned.predict(X_new[query])
exemplar = dict(zip(y_new[support], support, strict=True))
answered = np.array([[q, exemplar[answer]] for q, answer in zip(query, answers, strict=True)])
accepted = verifier.predict(answered) == 1
figure, axes = plt.subplots(5, 4, figsize=(10, 6), layout="constrained")
for ax, title in zip(axes[0], ["query", "answer"] * 2, strict=True):
    ax.set_title(title)
for pair, is_accepted, cells in zip(answered, accepted, axes.reshape(10, 2), strict=True):
    for row, ax in zip(pair, cells, strict=True):
        ax.imshow(X_new[row], cmap="gray", vmin=0, vmax=255)
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set(color="0.8")
    right = y_new[pair[0]] == y_new[pair[1]]
    cells[1].set_xlabel("accepted" if is_accepted else "rejected")
    if not right:
        cells[1].spines[:].set(color="tab:red", linewidth=2)
figure.savefig(args.picture, dpi=100)
print(f"drew a trial to {args.picture}")
