"""Batches: which images meet in a training step, as a pure function of (seed, epoch).

A batch is ``({"images": ..., ...}, same)``. `ClassBatches` draws a few groups, classes of each and
samples of each class, and compares all pairs inside a group; `PairBatches` walks through given
pairs and encodes each distinct image of a step once.
"""

import itertools
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from .augmentation import turn
from .reading import in_batches
from .scaling import InputScaling, Store

AugmentationFunction = Callable[[Tensor, torch.Generator], Tensor]
# Rows of the store, turns or None, further inputs of the network, and which pairs are the same.
Step = tuple[np.ndarray, Tensor | None, dict[str, Tensor], Tensor]


class Batches(Dataset):
    """Base of both kinds: images by row, augmented from the epoch's own generator.

    Parameters
    ----------
    store : Store
        Training images.
    scaling : InputScaling
    augmentation : callable (images, generator) -> images, or None
        Each image of a batch is augmented by itself, so the two twins are independent.
    seed : int
    """

    n_batches: int

    def __init__(
        self,
        store: Store,
        scaling: InputScaling,
        augmentation: AugmentationFunction | None,
        seed: int,
    ) -> None:
        self.store = store
        self.scaling = scaling
        self.augmentation = augmentation
        self.seed = seed

    def __len__(self) -> int:  # skorch's callbacks ask
        return self.n_batches

    @abstractmethod
    def plan(self, epoch: int) -> Iterator[Step]:
        """Yield the rows of each step of an epoch, and which of their pairs are the same."""

    def generator(self, epoch: int) -> torch.Generator:
        """Return the generator that an epoch's augmentation draws from, in its initial state."""
        seed = np.random.SeedSequence([self.seed, epoch]).generate_state(1)[0]
        return torch.Generator().manual_seed(int(seed))

    def epoch(
        self, epoch: int, generator: torch.Generator | None = None, first: int = 0
    ) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        """Yield the batches of epoch number `epoch`.

        Parameters
        ----------
        epoch : int
        generator : torch.Generator or None, default=None
            In the state that it had before the first of these batches; None: as `generator`
            returns it.
        first : int, default=0
            Number of batches to leave out at the beginning.
        """
        generator = self.generator(epoch) if generator is None else generator
        for rows, turns, inputs, same in itertools.islice(self.plan(epoch), first, None):
            parts = in_batches(self.store, rows)  # large images take much memory until scaled
            images = torch.cat([self.scaling(self.store.take(part)) for part in parts])
            if turns is not None:
                images = turn(images, turns)
            if self.augmentation is not None:
                images = self._augmented(images, generator)
            yield {"images": images, **inputs}, same

    def _augmented(self, images: Tensor, generator: torch.Generator) -> Tensor:
        assert self.augmentation is not None
        augmented: Any = self.augmentation(images, generator)
        same_form = isinstance(augmented, Tensor) and augmented.shape == images.shape
        if not same_form or augmented.dtype != images.dtype:
            got = getattr(augmented, "shape", type(augmented).__name__)
            raise TypeError(
                f"augmentation returned {got} of {getattr(augmented, 'dtype', 'no dtype')} for "
                f"images of shape {tuple(images.shape)}; expected float32 images of that shape."
            )
        return augmented


class _ByClass:
    """Samples sorted by class, and the classes of each group that can be learned.

    ``order[first[c] : first[c] + count[c]]`` are the samples of class c;
    ``classes[begin[m] : begin[m] + length[m]]`` are the classes of member m, one of the groups.
    """

    def __init__(self, classes: np.ndarray, groups: np.ndarray) -> None:
        self.order = np.argsort(classes, kind="stable")
        self.count = np.bincount(classes)
        self.first = np.cumsum(self.count) - self.count
        group_of_class = groups[self.order[self.first]]
        self.classes = np.argsort(group_of_class, kind="stable")
        _, begin, length = np.unique(
            group_of_class[self.classes], return_index=True, return_counts=True
        )
        # A group of one class has no negatives, one of single samples no positives.
        most = np.maximum.reduceat(self.count[self.classes], begin)
        learnable = (length > 1) & (most > 1)
        self.begin, self.length = begin[learnable], length[learnable]

    def __len__(self) -> int:
        return len(self.begin)

    def member(self, number: int) -> np.ndarray:
        """Return the classes of a group."""
        return self.classes[self.begin[number] :][: self.length[number]]


class ClassBatches(Batches):
    """All pairs inside a batch of groups x classes x samples.

    Parameters
    ----------
    store, scaling, augmentation, seed
        See `Batches`.
    classes : ndarray of shape (n_samples,)
        Class of each sample, 0..n_classes-1; a class belongs to one group.
    groups : ndarray of shape (n_samples,)
        Group of each sample, 0..n_groups-1.
    batch_shape : tuple of 3 ints
        (groups, classes of each group, samples of each class). With a single group its classes
        fill the whole batch, and with few classes more samples of each do. A class with fewer
        samples repeats them; a sample is never paired with itself.
    turns : sequence of int
        The turns (`augmentation.turn`) that each group comes in; a turned group is a separate
        group, with classes of its own. (0,) uses each group unchanged.
    """

    def __init__(
        self,
        store: Store,
        scaling: InputScaling,
        classes: np.ndarray,
        groups: np.ndarray,
        batch_shape: tuple[int, int, int],
        turns: Sequence[int],
        augmentation: AugmentationFunction | None,
        seed: int,
    ) -> None:
        super().__init__(store, scaling, augmentation, seed)
        n_groups, n_classes, n_samples = batch_shape
        self.classes = classes
        self.by_class = _ByClass(classes, groups)
        n_images = n_groups * n_classes * n_samples
        if len(self.by_class) == 1:
            n_groups, n_classes = 1, n_groups * n_classes
        self.n_groups = n_groups
        self.n_classes = min(n_classes, int(self.by_class.length.max()))
        fill = n_images // (self.n_groups * self.n_classes)
        self.n_samples = max(n_samples, min(fill, self.by_class.count.max()))
        self.turns = np.asarray(turns)
        n_images = self.n_groups * self.n_classes * self.n_samples
        self.n_batches = -(-len(classes) // n_images)  # an epoch shows each sample about once

    def plan(self, epoch: int) -> Iterator[Step]:
        """Yield the rows of each step of an epoch, and which of their pairs are the same."""
        rng = np.random.default_rng([self.seed, epoch])
        order, count, first = self.by_class.order, self.by_class.count, self.by_class.first
        shuffled = order[np.lexsort((rng.random(len(order)), self.classes[order]))]
        n_members = len(self.by_class)
        n_draws = self.n_batches * self.n_groups
        rounds = -(-n_draws // n_members)
        draws = rng.permuted(np.tile(np.arange(n_members), (rounds, 1)), axis=1)
        # All groups equally often, as in the paper (section 4.1).
        draws = draws.ravel()[:n_draws].reshape(self.n_batches, self.n_groups)
        for drawn_groups in draws:
            drawn, positions = [], []
            for position, group in enumerate(drawn_groups):
                members = self.by_class.member(group)
                chosen = rng.choice(members, min(self.n_classes, len(members)), replace=False)
                drawn.append(chosen)
                positions.append(np.full(len(chosen), position))
            classes, origin = np.concatenate(drawn), np.concatenate(positions)
            # Consecutive places of the shuffled class: distinct as long as there are enough.
            start = rng.integers(count[classes])
            place = (start[:, None] + np.arange(self.n_samples)) % count[classes][:, None]
            rows = shuffled[first[classes][:, None] + place].ravel()
            classes, origin = (np.repeat(a, self.n_samples) for a in (classes, origin))
            same = np.where(origin[:, None] == origin, classes[:, None] == classes, -1)
            same[rows[:, None] == rows] = -1
            turns = None
            if len(self.turns) > 1:
                turns = torch.from_numpy(rng.choice(self.turns, self.n_groups)[origin])
            yield rows, turns, {}, torch.from_numpy(same)


class PairBatches(Batches):
    """Given pairs, at most `batch_size` a step, in a new order each epoch.

    Parameters
    ----------
    store, scaling, augmentation, seed
        See `Batches`.
    pairs : ndarray of shape (n_pairs, 3)
        Rows (i, j, same).
    batch_size : int
    """

    def __init__(
        self,
        store: Store,
        scaling: InputScaling,
        pairs: np.ndarray,
        batch_size: int,
        augmentation: AugmentationFunction | None,
        seed: int,
    ) -> None:
        super().__init__(store, scaling, augmentation, seed)
        self.pairs = pairs
        self.n_batches = -(-len(pairs) // batch_size)

    def plan(self, epoch: int) -> Iterator[Step]:
        """Yield the distinct rows of each step, and the pairs made of them."""
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.pairs))
        for chunk in np.array_split(self.pairs[order], self.n_batches):
            rows, place = np.unique(chunk[:, :2], return_inverse=True)
            i, j = torch.from_numpy(place.reshape(-1, 2).T.copy())
            yield rows, None, {"i": i, "j": j}, torch.from_numpy(chunk[:, 2].copy())
