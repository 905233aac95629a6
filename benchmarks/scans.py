"""Measure the pretrained network on the official runs rendered as scans and phone pictures.

    python benchmarks/scans.py
    python benchmarks/scans.py --condition "shadow, 30 %" --show scans.png
    python benchmarks/scans.py --development

Each drawing of the runs is rendered by itself: light, lines, specks, paper and ink are drawn anew
for each exemplar and each query. ``--development`` renders runs of background alphabets, on which
everything was chosen; the official runs are only used to report. `accuracy.py --page` copies the
results into ``docs/results.md``.
"""

import argparse
import io
import zlib
from pathlib import Path

import numpy as np
from machine import report
from PIL import Image
from protocols import one_shot_row
from scipy.ndimage import gaussian_filter, map_coordinates
from sklearn.utils import Bunch

from sksiamese import MotorProgramClassifier, load_pretrained
from sksiamese.datasets import fetch_omniglot, fetch_omniglot_runs
from sksiamese.model_selection import score_runs

SIDE = 105  # of a drawing: pixels of the page are measured in these
FINE = 2  # samples of the page along each axis of a pixel
FAINT, MEDIUM = (0.1, 0.2), (0.3, 0.45)  # how much darker than the paper a line is
PHONE = {"perspective": 0.08, "gradient": 0.3, "blur": (0.5, 0.9), "noise": 4, "quality": 60}

# What each condition does to a drawing: the arguments of `render`.
CONDITIONS = {
    "plain": {},
    "shadow, 20 %": {"shadow": 0.2},
    "shadow, 30 %": {"shadow": 0.3},
    "shadow, 40 %": {"shadow": 0.4},
    "gradient, 30 %": {"gradient": 0.3},
    "gradient, 40 %": {"gradient": 0.4},
    "gradient, 50 %": {"gradient": 0.5},
    "squares, faint": {"squares": FAINT},
    "squares, medium": {"squares": MEDIUM},
    "ruled lines, faint": {"ruled": FAINT},
    "ruled lines, medium": {"ruled": MEDIUM},
    "margin line": {"margin": (0.4, 0.6)},
    "dust": {"dust": 40},
    "blobs": {"blobs": 4},
    "dark edge of the page": {"edge": (0.03, 0.08)},
    "blur": {"blur": (1.0, 1.8)},
    "noise": {"noise": 12},
    "JPEG, quality 50": {"quality": 50},
    "JPEG, quality 30": {"quality": 30},
    "paper shade 200": {"paper": (195, 205)},
    "pencil": {"ink": (150, 180)},
    "gray pen": {"ink": (90, 130)},
    "64 pixels": {"side": 64},
    "160 pixels": {"side": 160},
    "300 pixels": {"side": 300},
    "perspective": {"perspective": 0.08},
    "phone picture": PHONE,
    "shadow, 30 %, and squares": {"shadow": 0.3, "squares": MEDIUM},
    "shadow, 40 %, and pencil": {"shadow": 0.4, "ink": (150, 180)},
    "gradient, 40 %, noise and JPEG": {"gradient": 0.4, "noise": 8, "quality": 40},
    "ruled lines and dust": {"ruled": MEDIUM, "dust": 40},
    "squares, 200 pixels, JPEG": {"squares": MEDIUM, "side": 200, "quality": 50},
    "phone picture with all": {**PHONE, "shadow": 0.25, "squares": (0.15, 0.3), "dust": 10},
    "the same inverted": {**PHONE, "shadow": 0.25, "squares": (0.15, 0.3), "inverted": True},
}


def page_coordinates(rng, side, perspective):
    """Return where on the page each fine sample of the picture lies: two (fine, fine) arrays.

    The corners of the picture lie anywhere within `perspective` of the drawing's corners.
    """
    corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], float)
    seen = SIDE * (corners + rng.uniform(-perspective, perspective, (4, 2)))
    rows, right = [], []
    for (y, x), (v, u) in zip(corners, seen, strict=True):
        rows += [[y, x, 1, 0, 0, 0, -y * v, -x * v], [0, 0, 0, y, x, 1, -y * u, -x * u]]
        right += [v, u]
    h = np.append(np.linalg.solve(rows, right), 1).reshape(3, 3)
    centres = (np.arange(FINE * side) + 0.5) / (FINE * side)
    y, x = np.meshgrid(centres, centres, indexing="ij")
    v, u, w = np.einsum("ij,jyx->iyx", h, [y, x, np.ones_like(x)])
    return v / w, u / w


def lines(along, spacing, width, phase):
    """Return how much of each sample parallel lines cover: 0 to 1, soft at their edges."""
    distance = np.abs((along - phase + spacing / 2) % spacing - spacing / 2)
    return np.clip(width / 2 - distance + 0.5, 0, 1)


def printed(rng, v, u, squares, ruled, margin):
    """Return the fraction of light that printed lines take, by sample."""
    tilt = np.deg2rad(rng.uniform(-2, 2))
    v, u = v * np.cos(tilt) + u * np.sin(tilt), u * np.cos(tilt) - v * np.sin(tilt)
    taken = np.zeros_like(v)
    width = rng.uniform(1.0, 1.6)
    if squares:
        spacing, dark = rng.uniform(12, 26), rng.uniform(*squares)
        for along in (v, u):
            taken = np.maximum(taken, dark * lines(along, spacing, width, rng.uniform(0, SIDE)))
    if ruled:
        spacing, dark = rng.uniform(24, 40), rng.uniform(*ruled)
        taken = np.maximum(taken, dark * lines(v, spacing, width, rng.uniform(0, SIDE)))
    if margin:
        place, dark = SIDE * rng.uniform(0.06, 0.25), rng.uniform(*margin)
        taken = np.maximum(taken, dark * lines(u, 1e4, width, place))
    return taken


def light(rng, side, shadow, gradient):
    """Return the light on each fine sample, 1 at most."""
    centres = (np.arange(FINE * side) + 0.5) / (FINE * side) - 0.5
    y, x = np.meshgrid(centres, centres, indexing="ij")

    def across():  # about -0.5 to 0.5 in a random direction
        angle = rng.uniform(0, 2 * np.pi)
        along = y * np.sin(angle) + x * np.cos(angle)
        return along / np.ptp(along)

    lit = np.ones_like(y)
    if gradient:
        lit = lit * (1 - gradient * (across() + 0.5))
    if shadow:
        edge = (across() - rng.uniform(-0.35, 0.35)) / rng.uniform(0.01, 0.12)
        lit = lit * (1 - shadow * np.clip(edge + 0.5, 0, 1))
    return lit


def spots(rng, v, u, n, radii):
    """Return how much of each sample is covered by `n` round spots anywhere on the page."""
    covered = np.zeros_like(v)
    for _ in range(n):
        y, x = rng.uniform(0, SIDE, 2)
        radius, dark = rng.uniform(*radii), rng.uniform(0.5, 1)
        distance = np.hypot(v - y, u - x)
        covered = np.maximum(covered, dark * np.clip(radius - distance + 0.5, 0, 1))
    return covered


def page_edge(rng, side, width):
    """Return where the table beside the page is seen: a dark strip along one or two sides."""
    strip = np.zeros((FINE * side,) * 2)
    reach = np.linspace(0, 1, FINE * side)
    for turn in rng.permutation(4)[: rng.integers(1, 3)]:
        start, stop = rng.uniform(*width, 2)
        seen = reach[:, None] < start + (stop - start) * reach
        strip = np.maximum(strip, np.rot90(seen, turn))
    return strip


def render(
    drawing,
    rng,
    *,
    side=SIDE,
    paper=(225, 250),
    ink=(20, 60),
    shadow=0.0,
    gradient=0.0,
    squares=None,
    ruled=None,
    margin=None,
    dust=0,
    blobs=0,
    edge=None,
    perspective=0.0,
    blur=(0.3, 0.5),
    noise=2.0,
    quality=None,
    inverted=False,
):
    """Return a drawing (105, 105), dark on light, as a scan: (side, side) uint8.

    Widths are given in pixels of the drawing, blur and noise in pixels and gray levels of the
    scan.
    """
    paper, ink = rng.uniform(*paper), rng.uniform(*ink)
    v, u = page_coordinates(rng, side, perspective)
    soft = gaussian_filter(np.asarray(drawing < 128, float), 0.4)
    drawn = map_coordinates(soft, [v - 0.5, u - 0.5], order=1, mode="constant")
    drawn = np.maximum(drawn, spots(rng, v, u, dust, (0.2, 0.7)))
    drawn = np.maximum(drawn, spots(rng, v, u, blobs, (0.8, 1.5)))
    reflected = (paper - (paper - ink) * drawn) * (1 - printed(rng, v, u, squares, ruled, margin))
    reflected = reflected * light(rng, side, shadow, gradient)
    if edge:
        reflected = np.where(page_edge(rng, side, edge), rng.uniform(30, 110), reflected)
    pixels = reflected.reshape(side, FINE, side, FINE).mean((1, 3))
    pixels = gaussian_filter(pixels, rng.uniform(*blur) * side / SIDE)
    pixels = np.clip(pixels + rng.normal(0, noise, pixels.shape), 0, 255).round().astype(np.uint8)
    if quality is not None:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
        pixels = np.asarray(Image.open(buffer))
    return 255 - pixels if inverted else pixels


def rendered(runs, condition, seed):
    """Return the runs with each image rendered; the same for the same name and seed."""
    rng = np.random.default_rng([seed, zlib.crc32(condition.encode())])
    return [
        Bunch(
            support_images=np.stack([render(x, rng, **CONDITIONS[condition]) for x in support]),
            support_labels=labels,
            query_images=np.stack([render(x, rng, **CONDITIONS[condition]) for x in query]),
            query_labels=query_labels,
        )
        for support, labels, query, query_labels in map(_parts, runs)
    ]


def _parts(run):
    return run.support_images, run.support_labels, run.query_images, run.query_labels


def development_runs(background, n_runs=20, seed=0):
    """Return runs of background alphabets: 20 characters by two of their drawers each."""
    rng = np.random.default_rng(seed)
    alphabets = np.unique(background.alphabets)
    runs = []
    while len(runs) < n_runs:
        own = np.flatnonzero(background.alphabets == rng.choice(alphabets))
        characters = np.unique(background.target[own])
        if len(characters) < 20:
            continue
        rows = np.array(
            [
                rng.choice(own[background.target[own] == character], 2, replace=False)
                for character in rng.choice(characters, 20, replace=False)
            ]
        )
        images, labels = background.images[rows], background.target[rows[:, 0]]
        runs.append(
            Bunch(
                support_images=images[:, 0],
                support_labels=labels,
                query_images=images[:, 1],
                query_labels=labels,
            )
        )
    return runs


def show(runs, conditions, path):
    """Write a picture: a row of scans for each condition."""
    drawings = [image for run in runs[:3] for image in run.query_images[:4]]
    rows = []
    for condition in conditions:
        rng = np.random.default_rng(0)
        scans = [render(x, rng, **CONDITIONS[condition]) for x in drawings]
        rows.append(np.hstack([Image.fromarray(x).resize((SIDE, SIDE)) for x in scans]))
    Image.fromarray(np.vstack(rows)).save(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--condition", action="append", choices=CONDITIONS)
    parser.add_argument("--show", type=Path, help="write a picture of scans, and measure nothing")
    parser.add_argument("--development", action="store_true", help="runs of background alphabets")
    parser.add_argument("--motor-programs", action="store_true", help="measure these instead")
    parser.add_argument("--runs", type=int, default=20, help="measure only the first runs")
    parser.add_argument("--seed", type=int, default=0)
    shared = Path("../shared/omniglot")
    parser.add_argument("--data-home", default=shared if shared.exists() else None)
    args = parser.parse_args()
    conditions = args.condition or list(CONDITIONS)
    if args.development:
        background = fetch_omniglot("background", data_home=args.data_home)
        runs = development_runs(background, args.runs, args.seed)
    else:
        runs = fetch_omniglot_runs()[: args.runs]
    if args.show:
        show(runs, conditions, args.show)
        return
    model = MotorProgramClassifier() if args.motor_programs else load_pretrained()
    if args.motor_programs:
        model.fit(runs[0].support_images, runs[0].support_labels)
    clean = one_shot_row(score_runs(model, runs))
    rows = {"clean": {**clean, "of_clean": 1.0}}
    print(f"{'clean':32s} {100 * clean['accuracy']:6.2f}", flush=True)
    for condition in conditions:
        row = one_shot_row(score_runs(model, rendered(runs, condition, args.seed)))
        row["of_clean"] = row["accuracy"] / clean["accuracy"]
        rows[condition] = row
        print(
            f"{condition:32s} {100 * row['accuracy']:6.2f} "
            f"({100 * row['low']:.1f}-{100 * row['high']:.1f}) {100 * row['of_clean']:6.1f}",
            flush=True,
        )
    if not (args.development or args.motor_programs or args.condition or args.runs < 20):
        report("scans", {"seed": args.seed, "conditions": rows})


if __name__ == "__main__":
    main()
