"""Measure speed as ratios: both sides alternate in one process, with the same threads.

    python benchmarks/speed.py

- predict, pretrained: `set_support` with 20 images and `predict` of 20 queries, from pixels to
  labels, relative to one call of the plain encoder on the same 40 images, already scaled, in
  float32. The estimator encodes in two calls, with batch-norm fused into the convolutions, in the
  precision "auto", and in float32 for predict_float32 and pretrained_float32. pretrained is the
  network "symbols", which also scales its input anew in `set_support`.
- predict_parts, pretrained_parts: of the time of the same calls, the percentage that is spent in
  the encoder, in the head that makes embeddings, in reading, checking and scaling images, and in
  learning the scaling of the exemplars, as a pretrained network does.
- start: seconds of `load_pretrained`, `set_support` and the first `predict` in a new process, and
  of the import of sksiamese after torch and scikit-learn.
- pack: the fused encoder of the pretrained network with its weights in oneDNN's order, relative to
  `fuse_conv_bn_eval` alone, for one image and for 40.
- step: a training step of `fit` on prepared batches, relative to a hand-written torch loop, in
  runs of 100 steps.
- growing: `add_support` with one exemplar of a new class, in a support of 10,000, relative to
  embedding the exemplar by `transform`.
- large_support: `predict` of one query against 10,000 exemplars, with the weighted L1 head,
  relative to the way of commit dfe3ad3, which reordered the embeddings of the whole support in
  each call.
- large_kneighbors: `kneighbors` of one query among 10,000 exemplars, relative to the way of the
  same commit, which sorted all distances.
"""

import argparse
import collections
import contextlib
import copy
import itertools
import math
import os
import statistics
import subprocess
import sys
import time
import warnings
from unittest import mock

import numpy as np
import torch
from machine import report
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from sksiamese import SiameseOneShotClassifier, load_pretrained
from sksiamese.augmentation import AUGMENTATIONS
from sksiamese.datasets import load_omniglot_minimal
from sksiamese.exceptions import DuplicateExemplarWarning
from sksiamese.twin import inference
from sksiamese.twin.batches import ClassBatches
from sksiamese.twin.encoders import can_pack, fuse, pack
from sksiamese.twin.losses import TwinLoss
from sksiamese.twin.network import members_of
from sksiamese.twin.training import TrainingOptions, train


def alternate(ours, theirs, n_rounds):
    """Return the median seconds of each, and the median of the ratios of each round."""
    seconds = []
    for round_ in range(n_rounds + 3):
        pair = []
        for run in (ours, theirs):
            start = time.perf_counter()
            run()
            pair.append(time.perf_counter() - start)
        if round_ >= 3:  # the first rounds warm up
            seconds.append(pair)
    return {
        "ratio": statistics.median(a / b for a, b in seconds),
        "ours_ms": 1000 * statistics.median(a for a, _ in seconds),
        "theirs_ms": 1000 * statistics.median(b for _, b in seconds),
        "rounds": n_rounds,
    }


def predict_ratio(clf, data, n_rounds):
    """Compare 20 queries against 20 exemplars with the plain encoder on the 40 images."""
    run = data.runs[0]
    images = np.concatenate([run.support_images, run.query_images])
    clf.set_support(run.support_images, run.support_labels)
    encoders = [member.encoder for member in members_of(clf.network_)]
    scaled = clf.fitted_.comparer.scaling(torch.from_numpy(images[:, None].astype(np.float32)))

    def ours():
        clf.set_support(run.support_images, run.support_labels)
        clf.predict(run.query_images)

    def bare():
        with torch.no_grad():
            for encoder in encoders:
                encoder(scaled)

    return alternate(ours, bare, n_rounds)


def predict_ratios(n_rounds, data, **classifiers):
    """Return `predict_ratio` of each classifier in both precisions."""
    ratios = {}
    for name, clf in classifiers.items():
        clf = copy.copy(clf)
        ratios[name] = predict_ratio(clf.set_params(precision="auto"), data, n_rounds)
        clf.set_params(precision="float32")
        ratios[f"{name}_float32"] = predict_ratio(clf, data, n_rounds)
    return ratios


class Stopwatch:
    """Functions and generators that are timed: seconds by name."""

    def __init__(self):
        self.seconds = collections.Counter()

    @contextlib.contextmanager
    def running(self, name):
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - start

    def function(self, name, function):
        def timed(*args, **kwargs):
            with self.running(name):
                return function(*args, **kwargs)

        return timed

    def generator(self, name, function):
        def timed(*args, **kwargs):
            values, end = function(*args, **kwargs), object()
            while True:
                with self.running(name):
                    value = next(values, end)
                if value is end:
                    return
                yield value

        return timed


def parts(clf, data, n_rounds):
    """Return the percentages of `set_support` and `predict` that are spent in each part."""
    run = data.runs[0]
    clf = copy.copy(clf).set_params(precision="auto")
    clf.set_support(run.support_images, run.support_labels)  # by the network in this precision
    watch = Stopwatch()
    with contextlib.ExitStack() as stack:
        reading = watch.generator("reading", inference.scaled_batches)
        stack.enter_context(mock.patch.object(inference, "scaled_batches", reading))
        members = members_of(clf.fitted_.comparer.fused)
        timed = [
            *(("encoder", member.encoder, "forward") for member in members),
            *(("head", member.head, "embed") for member in members),
            ("adapting", inference.NeuralComparer, "adapted_to"),
        ]
        for name, owner, method in timed:
            function = watch.function(name, getattr(owner, method))
            stack.enter_context(mock.patch.object(owner, method, function))
        for round_ in range(n_rounds + 3):
            if round_ == 3:  # the first rounds warm up
                watch.seconds.clear()
            with watch.running("all"):
                clf.set_support(run.support_images, run.support_labels)
                clf.predict(run.query_images)
    whole = watch.seconds.pop("all")
    return {name: 100 * seconds / whole for name, seconds in watch.seconds.items()}


def start_seconds(n_rounds):
    """Return medians of what a new process takes to import, and to give its first answers."""
    code = """
import gc, time
import numpy as np, sklearn.linear_model, torch
gc.collect()  # of their objects, which would else fall into either time
X = np.full((2, 105, 105), 255, dtype=np.uint8)
X[0, 20:80, 50], X[1, 50, 20:80] = 0, 0
times = [time.perf_counter()]
from sksiamese import load_pretrained
times.append(time.perf_counter())
load_pretrained().set_support(X, [0, 1]).predict(X)
print(*np.diff([*times, time.perf_counter()]))
"""
    # With bytecode, as an installed package has it: the first run writes it, and does not count.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", code]
    runs = [
        subprocess.run(command, capture_output=True, text=True, check=True, env=env)
        for _ in range(n_rounds + 1)
    ][1:]
    seconds = [[float(value) for value in run.stdout.split()] for run in runs]
    medians = [statistics.median(values) for values in zip(*seconds, strict=True)]
    return {"import": medians[0], "first_answers": medians[1], "rounds": n_rounds}


def pack_ratios(n_rounds):
    """Compare packed with merely fused convolutions; empty where torch has no such operators."""
    if not can_pack():
        return {}
    encoder = load_pretrained("omniglot").network_.encoder
    fused, packed = fuse(encoder), pack(fuse(encoder))
    generator = torch.Generator().manual_seed(0)
    ratios = {}
    for n_images in (1, 40):
        images = torch.rand(n_images, 1, 40, 40, generator=generator)
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            ratios[f"pack_{n_images}"] = alternate(
                lambda x=images: packed(x), lambda x=images: fused(x), n_rounds
            )
    return ratios


class Drawings:
    """Gray images as the store that batches are taken from."""

    def __init__(self, images):
        self.images = images
        self.input_shape = (1, *images.shape[1:])
        self.dtype = images.dtype

    def __len__(self):
        return len(self.images)

    def take(self, rows):
        return torch.from_numpy(self.images[rows, None].astype(np.float32))


class FixedBatches(ClassBatches):
    """The first batches of an epoch, prepared once and repeated in every epoch."""

    def prepare(self, n_batches):
        self.n_batches = n_batches
        self.batches = list(itertools.islice(super().epoch(0), n_batches))
        return self

    def epoch(self, epoch, generator=None, first=0):
        return iter(self.batches[first:])


def by_hand(network, batches, learning_rate=2e-3):
    """Train as one would by hand: the same loss, clipping, optimizer, schedule and averaging."""
    loss_function = TwinLoss("both")
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.01, fused=True)
    averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.998), use_buffers=True)
    network.train()
    for step, (inputs, same) in enumerate(batches.epoch(0), start=1):
        for group in optimizer.param_groups:
            progress = step / batches.n_batches
            group["lr"] = learning_rate * (1 + math.cos(math.pi * progress)) / 2
        optimizer.zero_grad()
        loss = loss_function(network(**inputs), same)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        averaged.update_parameters(network)
        loss.item()


def step_ratio(clf, data, n_steps, n_rounds):
    """Compare training steps of `train` with the same steps written by hand."""
    classes, groups = (
        np.unique(names, return_inverse=True)[1] for names in (data.target, data.alphabets)
    )
    networks = [copy.deepcopy(clf.network_).requires_grad_(True) for _ in range(2)]
    batches = FixedBatches(
        Drawings(data.images),
        clf.fitted_.comparer.scaling,
        classes,
        groups,
        batch_shape=(2, 20, 2),
        turns=(0, 1, 2, 3),
        augmentation=AUGMENTATIONS["strokes"],
        seed=0,
    ).prepare(n_steps)
    options = TrainingOptions(max_iter=1, learning_rate=2e-3)

    def ours():
        train(networks[0], batches, options)

    result = alternate(ours, lambda: by_hand(networks[1], batches), n_rounds)
    untrained = clf.network_.encoder.state_dict()
    for network in networks:  # both sides have trained the whole network
        for name, weight in network.encoder.named_parameters():
            assert not torch.equal(weight, untrained[name]), name
    return result


def growing_ratio(clf, data, n_rounds):
    """Compare adding a class to a large support with embedding its exemplar."""
    clf = copy.copy(clf)
    one = data.images[:1]
    labels = itertools.count(len(clf.classes_))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DuplicateExemplarWarning)  # one image, many labels
        return alternate(
            lambda: clf.add_support(one, [next(labels)]), lambda: clf.transform(one), n_rounds
        )


def large_support_ratios(clf, data, n_rounds):
    """Compare one query against a large support with the way of commit dfe3ad3."""
    query = data.runs[0].query_images[:1]
    network, classes = clf.network_, clf.classes_
    support = torch.from_numpy(clf.support_.embeddings)
    order = np.argsort(clf.support_.labels, kind="stable")

    def logits(embeddings):
        with torch.no_grad():
            return network.head.logits(torch.from_numpy(clf.transform(query)), embeddings)

    def predict():
        own = support[order]
        return classes[logits(own).numpy().argmax(axis=1)]

    def kneighbors():
        distances = network.head.bias - logits(support)
        indices = distances.argsort(dim=1, stable=True)[:, :5]
        return distances.gather(1, indices).numpy(), indices.numpy()

    assert (clf.predict(query) == predict()).all()
    assert (clf.kneighbors(query)[1] == kneighbors()[1]).all()
    return {
        "large_support": alternate(lambda: clf.predict(query), predict, n_rounds),
        "large_kneighbors": alternate(lambda: clf.kneighbors(query), kneighbors, n_rounds),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=100, help="training steps in a round")
    parser.add_argument("--exemplars", type=int, default=10_000, help="in the large support")
    args = parser.parse_args()
    data = load_omniglot_minimal()
    clf = SiameseOneShotClassifier(max_iter=1, random_state=0)
    clf.fit(data.images, data.target, data.alphabets)
    pretrained = load_pretrained()
    result = {
        **predict_ratios(8 * args.rounds, data, predict=clf, pretrained=pretrained),
        "predict_parts": parts(clf, data, 8 * args.rounds),
        "pretrained_parts": parts(pretrained, data, 8 * args.rounds),
        "start": start_seconds(1 + args.rounds // 3),
        **pack_ratios(8 * args.rounds),
    }
    # Before the training steps, whose memory the copy of a support would reuse: in a process that
    # only predicts, most of its cost is that of new pages.
    rows = np.arange(args.exemplars) % len(data.images)
    labels = np.random.default_rng(0).permutation(args.exemplars)
    large = copy.copy(clf).set_support(data.images[rows], labels)
    result.update(large_support_ratios(large, data, 4 * args.rounds))
    result["growing"] = growing_ratio(large, data, 8 * args.rounds)
    result["step"] = step_ratio(clf, data, args.steps, args.rounds)
    report("speed", {**result, "exemplars": args.exemplars})


if __name__ == "__main__":
    main()
