"""Batches: which images meet in a training step, as a pure function of (seed, epoch).

A batch is ``({"images": ..., ...}, same)``. `ClassBatches` draws a few groups, classes of each,
and drawings of each class, and compares all pairs inside a group; `PairBatches` walks through
given pairs, each distinct image encoded once.
"""

import numpy as np
import torch
from torch.utils.data import Dataset

from .distortions import turn


class _Batches(Dataset):
    """What both kinds share: images by index, distorted from the epoch's own generator."""

    def __init__(self, store, scaling, distortion, seed):
        self.store = store
        self.scaling = scaling
        self.distortion = distortion
        self.seed = seed

    def __len__(self):  # skorch's callbacks ask
        return self.n_batches

    def epoch(self, epoch):
        """Yield the batches of epoch number `epoch`."""
        generator = torch.Generator().manual_seed(
            int(np.random.SeedSequence([self.seed, epoch]).generate_state(1)[0])
        )
        for indices, turns, inputs, same in self.plan(epoch):
            images = self.scaling(self.store.take(indices))
            if turns is not None:
                images = turn(images, turns)
            if self.distortion is not None:
                images = self._distorted(images, generator)
            yield {"images": images, **inputs}, same

    def _distorted(self, images, generator):
        distorted = self.distortion(images, generator)
        same_form = isinstance(distorted, torch.Tensor) and distorted.shape == images.shape
        if not same_form or distorted.dtype != images.dtype:
            got = getattr(distorted, "shape", type(distorted).__name__)
            raise TypeError(
                f"distortion returned {got} of {getattr(distorted, 'dtype', 'no dtype')} for "
                f"images of shape {tuple(images.shape)}; expected float32 images of that shape."
            )
        return distorted


class _ByClass:
    """Samples in the order of their classes, and the classes of each group that can be learned.

    ``order[first[c] : first[c] + count[c]]`` are the samples of class c; each of `members` has the
    classes of one group.
    """

    def __init__(self, classes, groups):
        self.order = np.argsort(classes, kind="stable")
        self.count = np.bincount(classes)
        self.first = np.cumsum(self.count) - self.count
        group_of_class = groups[self.order[self.first]]
        members = (np.flatnonzero(group_of_class == g) for g in range(groups.max() + 1))
        # A group of one class has no negatives, one of lone drawings no positives.
        self.members = [m for m in members if len(m) > 1 and self.count[m].max() > 1]


class ClassBatches(_Batches):
    """In-batch all pairs over groups x classes x drawings.

    Parameters
    ----------
    store : object with ``take(indices) -> Tensor`` and ``len``
    scaling : module, raw to scaled images
    classes : ndarray of shape (n_samples,)
        Class of each sample, 0..n_classes-1; a class belongs to one group.
    groups : ndarray of shape (n_samples,)
        Group of each sample, 0..n_groups-1.
    batch_shape : tuple of 3 ints
        (groups, classes of each group, drawings of each class). With a single group its classes
        fill the whole batch, and where classes are few more drawings of them do. A class with
        fewer drawings repeats them; a drawing is never paired with itself.
    turns : tuple of int
        The turns (`distortions.turn`) that each group comes in; a turned group is a group of its
        own with classes of its own. (0,) is the group as it is.
    distortion : callable (images, generator) -> images, or None
        Every drawing of a batch is distorted by itself, so the two twins are independent.
    seed : int
    """

    def __init__(self, store, scaling, classes, groups, batch_shape, turns, distortion, seed):
        super().__init__(store, scaling, distortion, seed)
        n_groups, n_classes, n_drawings = batch_shape
        self.classes = classes
        self.by_class = _ByClass(classes, groups)
        n_images = n_groups * n_classes * n_drawings
        members, count = self.by_class.members, self.by_class.count
        if len(members) == 1:
            n_groups, n_classes = 1, n_groups * n_classes
        self.n_groups = n_groups
        self.n_classes = min(n_classes, max(map(len, members)))
        fill = n_images // (self.n_groups * self.n_classes)
        self.n_drawings = max(n_drawings, min(fill, count.max()))
        self.turns = np.asarray(turns)
        n_images = self.n_groups * self.n_classes * self.n_drawings
        self.n_batches = -(-len(classes) // n_images)  # an epoch sees each drawing about once

    def plan(self, epoch):
        rng = np.random.default_rng([self.seed, epoch])
        order, count, first = self.by_class.order, self.by_class.count, self.by_class.first
        shuffled = order[np.lexsort((rng.random(len(order)), self.classes[order]))]
        n_members = len(self.by_class.members)
        n_draws = self.n_batches * self.n_groups
        rounds = -(-n_draws // n_members)
        draws = rng.permuted(np.tile(np.arange(n_members), (rounds, 1)), axis=1)
        # all groups equally often, as in the paper
        draws = draws.ravel()[:n_draws].reshape(self.n_batches, self.n_groups)
        for groups in draws:
            classes, origin = [], []
            for position, group in enumerate(groups):
                members = self.by_class.members[group]
                chosen = rng.choice(members, min(self.n_classes, len(members)), replace=False)
                classes.append(chosen)
                origin.append(np.full(len(chosen), position))
            classes, origin = np.concatenate(classes), np.concatenate(origin)
            # Consecutive places of the shuffled class: distinct as long as there are enough.
            start = rng.integers(count[classes])
            place = (start[:, None] + np.arange(self.n_drawings)) % count[classes][:, None]
            indices = shuffled[first[classes][:, None] + place].ravel()
            classes, origin = (np.repeat(a, self.n_drawings) for a in (classes, origin))
            same = np.where(origin[:, None] == origin, classes[:, None] == classes, -1)
            same[indices[:, None] == indices] = -1
            turns = None
            if len(self.turns) > 1:
                turns = torch.from_numpy(rng.choice(self.turns, self.n_groups)[origin])
            yield indices, turns, {}, torch.from_numpy(same)


def draw_pairs(classes, groups, n_pairs, rng):
    """Pairs as the paper draws them (section 4.1): half of them of one class, equally many from
    each group, never an image with itself.

    Parameters
    ----------
    classes, groups : ndarray of shape (n_samples,)
        As `ClassBatches` takes them.
    n_pairs : int
    rng : numpy Generator

    Returns
    -------
    pairs : ndarray of shape (n_pairs, 3)
        Rows (i, j, same), at most one more of a group than of another.
    """
    by_class = _ByClass(classes, groups)
    order, count, first = by_class.order, by_class.count, by_class.first
    n_groups = len(by_class.members)
    sizes = np.full(n_groups, n_pairs // n_groups) + (np.arange(n_groups) < n_pairs % n_groups)
    pairs = []
    for members, n in zip(by_class.members, rng.permutation(sizes), strict=True):
        same = np.arange(n) % 2 == rng.integers(2)
        a = np.where(same, rng.choice(members[count[members] > 1], n), rng.choice(members, n))
        other = rng.integers(len(members) - 1, size=n)
        other += other >= np.searchsorted(members, a)  # another class of the group
        b = np.where(same, a, members[other])
        i = rng.integers(count[a])
        another = (i + 1 + rng.integers(np.maximum(count[a] - 1, 1))) % count[a]
        j = np.where(same, another, rng.integers(count[b]))
        pairs.append(np.stack([order[first[a] + i], order[first[b] + j], same], 1))
    return np.concatenate(pairs)


class PairBatches(_Batches):
    """Given pairs, at most `batch_size` a step, in a new order each epoch.

    Parameters
    ----------
    pairs : ndarray of shape (n_pairs, 3)
        Rows (i, j, same).
    """

    def __init__(self, store, scaling, pairs, batch_size, distortion, seed):
        super().__init__(store, scaling, distortion, seed)
        self.pairs = pairs
        self.batch_size = batch_size
        self.n_batches = -(-len(pairs) // batch_size)

    def plan(self, epoch):
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.pairs))
        for chunk in np.array_split(self.pairs[order], self.n_batches):
            indices, place = np.unique(chunk[:, :2], return_inverse=True)
            i, j = torch.from_numpy(place.reshape(-1, 2).T.copy())
            yield indices, None, {"i": i, "j": j}, torch.from_numpy(chunk[:, 2].copy())
