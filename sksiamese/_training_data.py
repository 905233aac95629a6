"""Training data: what a network learns from, and the classes that are held out of it."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ._params import LearningParams
from ._validation import (
    ImageStore,
    SubStore,
    check_classes,
    check_pairs,
    check_trainable,
    is_pairs,
)
from .model_selection import EpisodeSplit
from .model_selection._split import common_way
from .twin.encoding import FeatureStore
from .twin.training import Validation

VALIDATION_TRIALS = 320


@dataclass(frozen=True)
class PairData:
    """Samples, and the pairs of them that a network learns from.

    Attributes
    ----------
    store : ImageStore
    pairs : ndarray of shape (n_pairs, 3)
        Rows (i, j, same).
    negative_label : int, default=0
        Label of different pairs in the verifier, 0 or -1.
    """

    store: ImageStore | SubStore
    pairs: np.ndarray
    negative_label: int = 0


@dataclass(frozen=True)
class LabelledData:
    """Samples of classes in groups, that a network learns from.

    Attributes
    ----------
    store : ImageStore or SubStore
    labels : ndarray of shape (n_samples,)
        As given.
    classes, groups : ndarray of shape (n_samples,)
        Integers from 0; a class belongs to one group.
    group_labels : ndarray of shape (n_samples,) or None, default=None
        As given.
    """

    store: ImageStore | SubStore
    labels: np.ndarray
    classes: np.ndarray
    groups: np.ndarray
    group_labels: np.ndarray | None = None

    def subset(self, rows: np.ndarray) -> "LabelledData":
        """Return the samples at `rows`, with classes and groups renumbered from 0."""
        return LabelledData(
            SubStore(self.store, rows),
            self.labels[rows],
            np.unique(self.classes[rows], return_inverse=True)[1],
            np.unique(self.groups[rows], return_inverse=True)[1],
            None if self.group_labels is None else self.group_labels[rows],
        )


TrainingData = PairData | LabelledData


def training_data(store: ImageStore, y: Any, groups: Any = None) -> TrainingData:
    """Return validated labels and groups, or pairs, beside the samples."""
    if y is not None and is_pairs(y, len(store)):
        return PairData(store, check_pairs(y, len(store), groups))
    labels, group_labels, classes, numbers = check_classes(y, groups, len(store))
    return LabelledData(store, labels, classes, numbers, group_labels)


@dataclass(frozen=True)
class Split:
    """Samples used for training, validation and calibration.

    Attributes
    ----------
    training : TrainingData
    validation : Validation or None
    rows, calibrating : ndarray of rows of the whole data
        Used for training, and for calibration.
    held_out_classes, held_out_groups : ndarray of labels or None
    seeds : list of int
        Of each network.
    """

    training: TrainingData
    validation: Validation | None
    rows: np.ndarray
    calibrating: np.ndarray
    held_out_classes: np.ndarray | None
    held_out_groups: np.ndarray | None
    seeds: list[int]

    def over(self, features: FeatureStore | ImageStore) -> "Split":
        """Return the same split of the features, or of the scaled images, of all samples."""
        validation = self.validation
        if validation is not None:
            held = np.setdiff1d(np.arange(len(features)), [*self.rows, *self.calibrating])
            validation = replace(validation, store=SubStore(features, held))
        training = replace(self.training, store=SubStore(features, self.rows))
        return replace(self, training=training, validation=validation)


def split_data(params: LearningParams, data: TrainingData, calibrates: bool) -> Split:
    """Hold out classes to calibrate and to stop early by; the same for all networks.

    Raises
    ------
    ValueError
        If too few classes are left on one side, or y has pairs and training stops early.
    """
    rng = params.rng()
    if isinstance(data, PairData):
        if params.early_stopping:
            raise ValueError(
                "early_stopping=True needs class labels to make one-shot trials of held-out "
                "classes, but y has pairs: pass labels, or set early_stopping=False."
            )
        everything = np.arange(len(data.store))
        return Split(data, None, everything, everything[:0], None, None, _seeds(rng, params))
    training, validation = data, None
    kept = np.arange(len(data.store))
    calibrating = stopping = kept[:0]
    if calibrates:
        seed = int(rng.randint(2**31 - 1))
        rows, held, _ = _hold_out(params, data, seed, "unknown_label")
        training, kept, calibrating = data.subset(rows), kept[rows], kept[held]
    seeds = _seeds(rng, params)
    if params.early_stopping:
        rows, held, episodes = _hold_out(params, training, seeds[0], "early_stopping=True")
        validation = Validation(
            SubStore(training.store, held),
            episodes,
            training.classes[held],
            params.n_iter_no_change,
        )
        training, stopping, kept = training.subset(rows), kept[held], kept[rows]
    held = np.concatenate([calibrating, stopping])
    classes = groups = None
    if len(held):
        # A label may occur in a group that was held out and in one that was not.
        classes = np.setdiff1d(data.labels[held], training.labels)
        if data.group_labels is not None and data.groups.max() > 0:
            groups = np.unique(data.group_labels[held])
    return Split(training, validation, kept, calibrating, classes, groups, seeds)


def _seeds(rng: np.random.RandomState, params: LearningParams) -> list[int]:
    return rng.randint(2**31 - 1, size=params.n_networks).tolist()


def _hold_out(
    params: LearningParams, data: LabelledData, seed: int, reason: str
) -> tuple[np.ndarray, np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    """Choose classes to keep from training, whole groups if there are several.

    Returns
    -------
    kept, held : ndarray of rows
    episodes : list of (support, query)
        One-shot trials of the held-out rows, by their positions in `held`.

    Raises
    ------
    ValueError
        If too few classes are left on one side.
    """
    classes, groups = data.classes, data.groups
    rng = np.random.default_rng(seed)
    by_group = groups.max() > 0
    units = groups if by_group else classes
    names = rng.permutation(units.max() + 1)
    n_held = max(1 if by_group else 2, round(params.validation_fraction * len(names)))
    held = np.isin(units, names[:n_held])
    try:
        check_trainable(classes[~held], classes[~held], groups[~held])
        n_way = common_way(classes[held], groups[held])
        n_episodes = math.ceil(VALIDATION_TRIALS / n_way)
        splitter = EpisodeSplit(n_way, n_episodes=n_episodes, random_state=seed)
        episodes = list(splitter.split(np.empty(held.sum()), classes[held], groups[held]))
    except ValueError as error:
        raise ValueError(
            f"{reason} holds out {n_held} of {len(names)} "
            f"{'groups' if by_group else 'classes'} (validation_fraction="
            f"{params.validation_fraction}) for one-shot trials, which fails here ({error}). "
            f"Change validation_fraction, or do without {reason}."
        ) from error
    return np.flatnonzero(~held), np.flatnonzero(held), episodes
