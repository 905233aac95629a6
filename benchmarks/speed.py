"""Speed as ratios: the two sides alternate inside one run, on the same batch and threads.

    python benchmarks/speed.py

- predict: set_support with 20 images and predict 20 queries, from pixels to labels, against one
  call of the trained encoder, a plain torch module, on the same 40 images already scaled. Ours
  encodes in two calls, by the encoder's folded copy.
- step: a training step of `fit` on prepared batches, against one in a hand-written torch loop.
- growing: `add_support` with one exemplar of a new class, where there are 10,000, against encoding
  it by `transform`. The support makes room ahead, so that most additions move nothing.
"""

import argparse
import copy
import itertools
import math
import statistics
import time

import numpy as np
import torch
from machine import report
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import Dataset

from sksiamese import SiameseOneShotClassifier
from sksiamese._support import SupportSet
from sksiamese._validation import ImageStore, check_groups
from sksiamese.datasets import load_omniglot_minimal
from sksiamese.twin.batches import ClassBatches
from sksiamese.twin.distortions import DISTORTIONS
from sksiamese.twin.losses import TwinLoss
from sksiamese.twin.training import train


def alternate(ours, theirs, n_rounds):
    """Median seconds of each and the median of the ratios, round by round."""
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
    """20 queries against 20 supports, over the bare encoder on the 40 images."""
    run = data.runs[0]
    images = np.concatenate([run.support_images, run.query_images])
    network = clf.network_
    scaled = network.scaling(torch.from_numpy(images[:, None].astype(np.float32)))

    def ours():
        clf.set_support(run.support_images, run.support_labels)
        clf.predict(run.query_images)

    def bare():
        with torch.no_grad():
            network.encoder(scaled)

    return alternate(ours, bare, n_rounds)


class FixedBatches(Dataset):
    """The same prepared batches every epoch, for both sides."""

    def __init__(self, plan, n_batches):
        self.batches = list(itertools.islice(plan.epoch(0), n_batches))
        self.n_batches = n_batches
        self.store = plan.store

    def epoch(self, epoch):
        return iter(self.batches)


def by_hand(network, batches, learning_rate=2e-3):
    """The loop one would write: the same loss, clipping and optimizer; a cosine; averaging."""
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


def step_ratio(clf, data, n_rounds):
    """20 training steps through `train` over the same 20 steps written by hand."""
    store = ImageStore(data.images)
    classes, groups = check_groups(data.alphabets, data.target)
    networks = [copy.deepcopy(clf.network_).requires_grad_(True) for _ in range(2)]
    plan = ClassBatches(
        store, networks[0].scaling, classes, groups, (2, 20, 2), (0, 1, 2, 3),
        DISTORTIONS["strokes"], 0,
    )  # fmt: skip
    batches = FixedBatches(plan, 20)

    def ours():
        train(
            networks[0], batches, loss="both", max_iter=1, learning_rate=2e-3, weight_decay=0.01,
            averaging=0.998, bfloat16=False, device="cpu",
        )  # fmt: skip

    result = alternate(ours, lambda: by_hand(networks[1], batches), n_rounds)
    untrained = clf.network_.encoder.state_dict()
    for network in networks:  # both sides have trained the whole network
        for name, weight in network.encoder.named_parameters():
            assert not torch.equal(weight, untrained[name]), name
    return result


def growing_ratio(clf, data, n_rounds):
    """One more class in a support of 10,000, over the encoding of its exemplar."""
    one = data.images[:1]
    codes = torch.from_numpy(clf.transform(one)).repeat(10_000, 1)
    clf.support_ = SupportSet(codes, np.arange(10_000))
    labels = itertools.count(10_000)
    return alternate(
        lambda: clf.add_support(one, [next(labels)]), lambda: clf.transform(one), n_rounds
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    data = load_omniglot_minimal()
    clf = SiameseOneShotClassifier(max_iter=1, random_state=0)
    clf.fit(data.images, data.target, data.alphabets)
    report(
        "speed",
        {
            "predict": predict_ratio(clf, data, 8 * rounds),
            "step": step_ratio(clf, data, rounds),
            "growing": growing_ratio(clf, data, 8 * rounds),
        },
    )


if __name__ == "__main__":
    main()
