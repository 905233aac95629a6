"""Speed beside what people run: both sides alternate in one process, with the same threads.

    pip install pytorch-metric-learning easyfsl      # the peers
    python benchmarks/peers_speed.py                 # writes results/peers_speed.json
    python benchmarks/peers_speed.py --page          # writes the results into docs/peers.md

- trials: 20 queries against 20 exemplars, from pixels to labels, with the pretrained network
  "omniglot" and with the paper's network, relative to the loop of the usual re-implementations of
  Koch et al. 2015: for each query, both images of its 20 pairs go through the same network.
- training: images of an epoch, from pixels to steps, relative to the training loops that the
  documentations of pytorch-metric-learning (contrastive loss, `MPerClassSampler`) and easyfsl
  (prototypical networks, `TaskSampler`) show, with the same encoder, batches of 80 images and
  augmentation, and torch's `DataLoader`, whose dataset resizes and distorts one image at a time.
  encoder_alone is the part of an epoch of `fit` that the encoder's forward and backward passes
  take, in the same precision: the rest is all that could be saved.
"""

import argparse
import copy
import json
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from machine import RESULTS, fill_page, report
from speed import alternate
from torch.utils.data import DataLoader, Dataset

from sksiamese import SiameseOneShotClassifier, load_pretrained, recipes
from sksiamese.augmentation import AUGMENTATIONS
from sksiamese.datasets import fetch_omniglot, load_omniglot_minimal
from sksiamese.twin.training import supports_bfloat16

PAGE = Path(__file__).parents[1] / "docs" / "peers.md"
SIZE = 40
N_CLASSES, N_EACH = 20, 4  # of a batch


class Drawings(Dataset):
    """Images that are resized and distorted one at a time, with their classes."""

    def __init__(self, images, classes):
        self.images, self.classes = images, classes
        self.augment = AUGMENTATIONS["strokes"]
        self.generator = torch.Generator().manual_seed(0)

    def __len__(self):
        return len(self.images)

    def get_labels(self):
        return self.classes.tolist()

    def __getitem__(self, row):
        image = 1 - torch.from_numpy(self.images[row]).float()[None, None] / 255
        image = F.interpolate(image, SIZE, mode="bilinear", antialias=True)
        return self.augment(image, self.generator)[0], int(self.classes[row])


def trial_ratio(clf, n_rounds):
    """Compare an official run with the loop over pairs."""
    run = load_omniglot_minimal().runs[0]
    network = copy.deepcopy(clf.network_).eval()
    scaling = clf.set_support(run.support_images, run.support_labels).fitted_.comparer.scaling
    support, queries = (
        scaling(torch.from_numpy(images[:, None].astype(np.float32)))
        for images in (run.support_images, run.query_images)
    )

    def ours():
        clf.set_support(run.support_images, run.support_labels)
        return clf.predict(run.query_images)

    def peer():
        found = []
        with torch.no_grad():
            for query in queries:
                first = network.embed(query[None].expand(len(support), -1, -1, -1))
                second = network.embed(support)
                found.append(network.head.pair_logits(first, second).argmax())
        return np.asarray(run.support_labels)[torch.stack(found).numpy()]

    assert (ours() == peer()).all()
    return alternate(ours, peer, n_rounds)


def our_training(images, classes, n_epochs):
    """Return seconds an image in epochs of `fit`, and the encoder that it builds."""
    clf = SiameseOneShotClassifier(
        random_state=0, max_iter=n_epochs, crop=None, resize=SIZE, class_augmentation=None
    )
    clf.fit(images, classes)
    seconds = [epoch["dur"] for epoch in clf.history_[0][1:]]
    return float(np.median(seconds)) / len(images), clf.network_.encoder


def encoder_seconds(encoder, n_rounds=20):
    """Return the seconds an image of the encoder's forward and backward passes alone."""
    encoder = copy.deepcopy(encoder).requires_grad_(True).train()
    images = torch.rand(N_CLASSES * N_EACH, 1, SIZE, SIZE).contiguous(
        memory_format=torch.channels_last
    )
    seconds = []
    for _ in range(n_rounds + 3):  # the first rounds warm up
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=supports_bfloat16("cpu")):
            features = encoder(images)
        features.float().sum().backward()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds[3:])) / len(images)


def metric_learning(images, classes, encoder, n_batches):
    """Return seconds an image of pytorch-metric-learning's loop."""
    from pytorch_metric_learning.losses import ContrastiveLoss
    from pytorch_metric_learning.samplers import MPerClassSampler

    size = N_CLASSES * N_EACH
    sampler = MPerClassSampler(classes, N_EACH, size, n_batches * size)
    loader = DataLoader(Drawings(images, classes), batch_size=size, sampler=sampler)
    loss_function = ContrastiveLoss()
    return _seconds(loader, encoder, lambda batch: loss_function(batch[0], batch[1]), size)


def episodes(images, classes, encoder, n_batches):
    """Return seconds an image of easyfsl's loop."""
    from easyfsl.methods import PrototypicalNetworks
    from easyfsl.samplers import TaskSampler

    class Tasks(TaskSampler):
        def __init__(self, labels):  # that of easyfsl 1.5 does not run on torch 2.13
            self.n_way, self.n_shot, self.n_query = N_CLASSES, 1, N_EACH - 1
            self.n_tasks = n_batches
            self.items_per_label = {}
            for item, label in enumerate(labels):
                self.items_per_label.setdefault(label, []).append(item)

    data = Drawings(images, classes)
    sampler = Tasks(data.get_labels())
    loader = DataLoader(data, batch_sampler=sampler, collate_fn=sampler.episodic_collate_fn)
    encoder = torch.nn.Sequential(encoder, torch.nn.Flatten())
    model = PrototypicalNetworks(encoder)
    optimizer = torch.optim.AdamW(model.parameters())
    start = time.perf_counter()
    for support, support_labels, queries, query_labels, _ in loader:
        optimizer.zero_grad()
        model.process_support_set(support, support_labels)
        F.cross_entropy(model(queries), query_labels).backward()
        optimizer.step()
    return (time.perf_counter() - start) / (n_batches * N_CLASSES * N_EACH)


def _seconds(loader, encoder, loss_of, size):
    optimizer = torch.optim.AdamW(encoder.parameters())
    start, n_images = time.perf_counter(), 0
    for images, classes in loader:
        optimizer.zero_grad()
        loss_of((encoder(images).flatten(1), classes)).backward()
        optimizer.step()
        n_images += len(images)
    return (time.perf_counter() - start) / n_images


def training_ratios(images, classes, n_rounds, n_epochs, n_batches):
    """Return how many times as many images a second `fit` trains on as each peer."""
    ratios = {"pytorch-metric-learning": [], "easyfsl": []}
    ours_s, alone = [], []
    for _ in range(n_rounds):
        ours, encoder = our_training(images, classes, n_epochs)
        ours_s.append(ours)
        alone.append(encoder_seconds(encoder) / ours)
        for name, run in (("pytorch-metric-learning", metric_learning), ("easyfsl", episodes)):
            own = copy.deepcopy(encoder).requires_grad_(True).train()
            ratios[name].append(run(images, classes, own, n_batches) / ours)
    found = {name: float(np.median(values)) for name, values in ratios.items()}
    return {
        **found,
        "encoder_alone": float(np.median(alone)),
        "images_a_second": float(1 / np.median(ours_s)),
        "rounds": n_rounds,
    }


def page(result):
    """Yield the lines of the page."""
    yield "| work | beside | times as many a second |"
    yield "| --- | --- | --- |"
    for name, ratio in result["trials"].items():
        times = 1 / ratio["ratio"]
        yield f"| 20-way trials, {name} | pair by pair, the same network | {times:.1f} |"
    for name in ("pytorch-metric-learning", "easyfsl"):
        yield f"| training images | {name} | {result['training'][name]:.1f} |"
    alone = result["training"]["encoder_alone"]
    yield ""
    yield "Forward and backward passes of the encoder take"
    yield f"{100 * alone:.0f} % of the time of an epoch of `fit`, in bfloat16: without all else,"
    yield f"{1 / alone:.1f} times as many images a second would be trained on."


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--page", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batches", type=int, default=30)
    shared = Path("../shared/omniglot")
    parser.add_argument("--data-home", default=shared if shared.exists() else None)
    args = parser.parse_args()
    if args.page:
        result = json.loads((RESULTS / "peers_speed.json").read_text())
        fill_page(PAGE, {"speed": page(result)})
        return
    data = load_omniglot_minimal()
    koch = recipes.koch2015(random_state=0).set_params(
        resize=65, max_iter=1, n_pairs=128, batch_size=128, early_stopping=False
    )
    koch.fit(data.images, data.target, groups=data.alphabets)
    networks = {'pretrained network "omniglot"': load_pretrained("omniglot"), "Koch's": koch}
    trials = {name: trial_ratio(clf, args.rounds) for name, clf in networks.items()}
    background = fetch_omniglot("background", data_home=args.data_home)
    rows = np.arange(0, 3200)
    classes = np.unique(background.target[rows], return_inverse=True)[1]
    training = training_ratios(
        background.images[rows], classes, args.rounds, args.epochs, args.batches
    )
    report("peers_speed", {"trials": trials, "training": training})


if __name__ == "__main__":
    main()
