"""Train the pretrained network "symbols" on the set of `build.py` and on Omniglot's background.

    python tools/symbols/train.py symbols.npz symbols.safetensors

The network "omniglot" is trained further on icons in several styles, drawings of one thing by
several vendors, characters in several typefaces, and handwriting; emoji are not learned from. The
weights of several seeds are averaged (Wortsman et al. 2022, "Model soups"), and taken a part of
the way from the old ones to the new ones (Wortsman et al. 2022, "Robust fine-tuning"). A second
network is added, whose logit is averaged with that of the first: histograms of oriented gradients
with a whitened head, which are known in closed form.
"""

import argparse
import copy
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from sklearn.utils import Bunch

from sksiamese import load_pretrained, recipes
from sksiamese.augmentation import AUGMENTATIONS
from sksiamese.datasets import fetch_omniglot
from sksiamese.twin.batches import ClassBatches
from sksiamese.twin.encoders import build_encoder
from sksiamese.twin.heads import build_head
from sksiamese.twin.network import TwinEnsemble, TwinNetwork, members_of
from sksiamese.twin.scaling import InputScaling
from sksiamese.twin.training import TrainingOptions, supports_bfloat16, train
from sksiamese.twin.whitening import reduced, set_line, whiten

sys.path.append(str(Path(__file__).parents[1]))
from make_pretrained import held_out_alphabets  # noqa: E402

SIDE = 40  # working size
EPOCHS = 10  # of the network to start from that lacks some alphabets
PART = 200  # classes of a group, neighbours by name: their batches have hard negatives
OMNIGLOT_TIMES = 4  # that each alphabet is a group: its share of the batches
HANDWRITING = 3  # weight of handwriting beside each other kind, where features are whitened
N_COMPONENTS = 128  # of the whitened features


class Images:
    """Cropped images as what batches are read from."""

    def __init__(self, images):
        self.images = images
        self.input_shape = (1, *images.shape[1:])
        self.dtype = images.dtype

    def __len__(self):
        return len(self.images)

    def take(self, rows):
        return torch.from_numpy(self.images[rows]).float()[:, None]

    def named(self, rows):
        return [], rows


def cropped(images, background, foreground):
    """Return a box about the foreground of each image at the working size: uint8."""
    offset, scale = (
        torch.full((1, 1, 1), value, dtype=torch.float64)
        for value in (background, foreground - background)
    )
    scaling = InputScaling(offset, scale, images.shape[1:], (SIDE, SIDE), "foreground")
    parts = []
    for start in range(0, len(images), 256):
        part = torch.from_numpy(images[start : start + 256]).float()[:, None]
        parts.append((scaling(part)[:, 0].clamp(0, 1) * 255).round().byte().numpy())
    return np.concatenate(parts)


def part_of(names, size):
    """Return the part, of about `size` distinct names in order, that each name is in."""
    distinct, place = np.unique(names, return_inverse=True)
    n_parts = max(1, round(len(distinct) / size))
    return place * n_parts // len(distinct)


class Symbols:
    """The training classes of `build.py`, cropped, without emoji."""

    def __init__(self, path):
        data = np.load(path)
        family = data["group_names"][data["group"]]
        rows = np.flatnonzero((data["split"] == "train") & (family != "emoji"))
        self.images = cropped(data["images"][rows], 0.0, 255.0)
        self.family = family[rows]
        self.cls = data["class_names"][data["cls"][rows]]
        self.concept = data["concept"][rows]
        self.concept_names = data["concept_names"]
        self.of_script = np.char.startswith(self.family, "script:")

    def classes(self):
        """Return rows, classes and groups of the classes of several drawings."""
        _, place, count = np.unique(self.cls, return_inverse=True, return_counts=True)
        several = count[place] > 1
        rows, classes, groups = [], [], []
        for family in np.unique(self.family):
            own = np.flatnonzero(several & (self.family == family))
            if len(np.unique(self.cls[own])) < 20:
                continue
            size = 300 if family.startswith("script:") else PART
            rows.append(own)
            classes.append(np.char.add("0:", self.cls[own]))
            groups.append(np.array([f"0{family}/{n}" for n in part_of(self.cls[own], size)]))
        return [np.concatenate(parts) for parts in (rows, classes, groups)]

    def concepts(self, seed=0):
        """Return the same of what several families draw: at most two drawings of each family."""
        rows = np.flatnonzero(~self.of_script & (self.concept >= 0))
        seen, families, kept = {}, {}, []
        for n in np.random.default_rng(seed).permutation(len(rows)):
            concept, family = self.concept[rows[n]], self.family[rows[n]]
            seen[concept, family] = seen.get((concept, family), 0) + 1
            families.setdefault(concept, set()).add(family)
            if seen[concept, family] <= 2:
                kept.append(n)
        rows = rows[kept]
        rows = rows[[len(families[concept]) > 1 for concept in self.concept[rows]]]
        names = self.concept_names[self.concept[rows]]
        groups = np.array([f"concept/{n}" for n in part_of(names, PART)])
        return rows, np.char.add("concept/", names), groups


def union(symbols, drawings, images):
    """Return all images with integer classes and groups."""
    parts = []
    for rows, classes, groups in (symbols.classes(), symbols.concepts()):
        parts.append((symbols.images[rows], classes, groups))
    for time in range(OMNIGLOT_TIMES):
        prefix = f"{time}:"
        parts.append(
            (
                images,
                np.char.add(prefix, drawings.target),
                np.char.add(prefix, drawings.alphabets),
            )
        )
    X, y, groups = (np.concatenate(part) for part in zip(*parts, strict=True))
    return X, *(np.unique(labels, return_inverse=True)[1] for labels in (y, groups))


def kinds_of(symbols, drawings, images):
    """Return weight, images and classes of each kind of class that features are whitened by.

    These are icons and typefaces of one class, drawings of one concept, and one character by
    several drawers.
    """
    rng = np.random.default_rng(0)
    icons = rng.permutation(np.flatnonzero(~symbols.of_script))[:15_000]
    characters = rng.permutation(np.flatnonzero(symbols.of_script))[:15_000]
    named = np.flatnonzero(~symbols.of_script & (symbols.concept >= 0))
    named = rng.permutation(named)[:15_000]
    return [
        (1, symbols.images[icons], symbols.cls[icons]),
        (1, symbols.images[characters], symbols.cls[characters]),
        (1, symbols.images[named], symbols.concept[named]),
        (HANDWRITING, images[::2], drawings.target[::2]),
    ]


def gradients_network(kinds, gain):
    """Return the network of oriented gradients, whitened by all kinds of classes."""
    encoder = build_encoder("hog", (1, SIDE, SIDE), torch.Generator())
    head = build_head(
        "whitened", encoder.feature_shape, torch.Generator(), n_components=N_COMPONENTS
    )
    features = [features_of(encoder, images) for _, images, _ in kinds]
    means, scatters = [], []
    for rows, (weight, _, classes) in zip(features, kinds, strict=True):
        scatter = within_classes(rows, classes)
        means.append(rows.mean(0))
        scatters.append(weight * scatter / scatter.trace())
    mean, scatter = torch.stack(means).mean(0), torch.stack(scatters).sum(0)
    level = scatter.trace() / len(scatter)
    values, vectors = torch.linalg.eigh(scatter + level * torch.eye(len(scatter)))
    projection = (vectors * values.rsqrt()) @ vectors.T
    n_least = min(map(len, features))
    known = torch.cat([rows[:n_least] for rows in features]).float()
    mean, projection = mean.float(), projection.float()
    whiten(head, mean, reduced(projection, known, mean, N_COMPONENTS))
    set_line(head, gain, 0.0)
    return TwinNetwork(encoder, head).eval().requires_grad_(False)


def features_of(encoder, images):
    """Return the features of images, float64."""
    with torch.no_grad():
        parts = [
            encoder(torch.from_numpy(images[start : start + 1024]).float()[:, None] / 255)
            for start in range(0, len(images), 1024)
        ]
    return torch.cat(parts).flatten(1).double()


def within_classes(features, classes):
    """Return the scatter of features about the means of their classes."""
    _, place, count = np.unique(classes, return_inverse=True, return_counts=True)
    place, count = torch.from_numpy(place), torch.from_numpy(count)
    means = torch.zeros(len(count), features.shape[1], dtype=features.dtype)
    means = means.index_add(0, place, features) / count[:, None]
    within = (features - means[place])[count[place] > 1]
    return within.T @ within / (count - 1).sum()


class Half:
    """One augmentation of half of the images, another of the others."""

    def __init__(self, one, other):
        self.both = one, other

    def __call__(self, images, generator):
        of_one = torch.rand(len(images), generator=generator) < 0.5
        augmented = torch.empty_like(images)
        for augmentation, chosen in zip(self.both, (of_one, ~of_one), strict=True):
            if chosen.any():
                augmented[chosen] = augmentation(images[chosen], generator)
        return augmented


AUGMENTED = {
    **{name: AUGMENTATIONS[name] for name in ("strokes", "real_files")},
    "half": Half(AUGMENTATIONS["strokes"], AUGMENTATIONS["real_files"]),
}


def fine_tuned(network, data, args, seed):
    """Return the network, trained on the union."""
    X, classes, groups = data
    scaling = InputScaling(
        torch.zeros(1, 1, 1, dtype=torch.float64),
        torch.full((1, 1, 1), 255.0, dtype=torch.float64),
        (SIDE, SIDE),
        (SIDE, SIDE),
    )
    augmentation = AUGMENTED[args.augmentation]
    shape = (1, 20, 4)
    batches = ClassBatches(
        Images(X), scaling, classes, groups, shape, range(8), augmentation, seed
    )
    batches.n_batches = args.n_images // math.prod(shape)
    options = TrainingOptions(
        loss="both",
        max_iter=1,
        learning_rate=args.learning_rate,
        optimizer="muon",
        bfloat16=supports_bfloat16("cpu"),
        progress="training",
    )
    trained, history, _ = train(copy.deepcopy(network).requires_grad_(True), batches, options)
    print(history)
    return trained


def between(old, networks, part):
    """Return a network whose weights are `part` of the way from old to the mean of others."""
    network, before = copy.deepcopy(old), old.state_dict()
    states = [each.state_dict() for each in networks]
    for name, weight in before.items():
        if weight.is_floating_point():
            after = torch.stack([state[name] for state in states]).mean(0)
            before[name] = torch.lerp(weight, after, part)
    network.load_state_dict(before)
    return network.eval().requires_grad_(False)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("symbols", type=Path, help="file of build.py")
    parser.add_argument("out", type=Path)
    parser.add_argument("--n-images", type=int, default=200_000)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--augmentation", choices=list(AUGMENTED), default="half")
    parser.add_argument("--part", type=float, default=0.7, help="of the way to the new weights")
    parser.add_argument("--gain", type=float, default=4.0, help="of the second network's cosine")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--hold-out",
        type=int,
        choices=[0, 1],
        help="learn without the alphabets of this number: for calibrate.py, the first also to "
        "choose parameters by",
    )
    shared = Path("../shared/omniglot")
    parser.add_argument("--data-home", default=shared if shared.exists() else None)
    args = parser.parse_args()

    drawings = fetch_omniglot("background", data_home=args.data_home)
    if args.hold_out is not None:
        held_out = held_out_alphabets(np.unique(drawings.alphabets))[args.hold_out]
        kept = ~np.isin(drawings.alphabets, held_out)
        drawings = Bunch(
            images=drawings.images[kept],
            target=drawings.target[kept],
            alphabets=drawings.alphabets[kept],
        )
        clf = recipes.omniglot(max_iter=EPOCHS, random_state=args.seeds[0])
        clf.fit(drawings.images, drawings.target, groups=drawings.alphabets)
    else:
        clf = load_pretrained("omniglot")
    old = members_of(clf.fitted_.comparer.network)[0]
    symbols = Symbols(args.symbols)
    images = cropped(drawings.images, 255.0, 0.0)
    data = union(symbols, drawings, images)
    trained = [fine_tuned(old, data, args, seed) for seed in args.seeds]
    kinds = kinds_of(symbols, drawings, images)
    gradients = gradients_network(kinds, args.gain)
    network = TwinEnsemble([between(old, trained, args.part), gradients]).eval()
    # Another network: another scale of its logits.
    comparer = replace(clf.fitted_.comparer, network=network)
    fitted = replace(clf.fitted_, comparer=comparer, history=())
    clf.set_params(
        encoder=("conv", "hog"),
        encoder_params=(clf.encoder_params, None),
        head=("aligned", "whitened"),
        head_params=(clf.head_params, {"n_components": N_COMPONENTS}),
        weights=None,
    )
    clf.fitted_ = fitted.with_calibration_of(type(fitted)(comparer, fitted.input_shape))
    clf.save(args.out, half=True, support=False)
    print(f"{args.out}: {args.out.stat().st_size / 2**20:.2f} MiB")


if __name__ == "__main__":
    main()
