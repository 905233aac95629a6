"""make_pairs: pairs of samples to train and to calibrate on."""

from __future__ import annotations

from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_scalar

from ._labels import encode_classes


def make_pairs(
    y: ArrayLike,
    groups: ArrayLike | None = None,
    n_pairs: int = 10_000,
    random_state: int | np.random.RandomState | np.random.Generator | None = None,
) -> NDArray[np.int64]:
    """Draw pairs of samples of the same class and of different classes.

    Half of the pairs are of one class, and each group gives equally many pairs. Both samples of a
    pair are from the same group, and no sample is paired with itself. This is how section 4.1 of
    [1]_ draws its training pairs, with the alphabets as groups.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Class labels of any dtype. A class with only one sample is used in pairs of different
        classes.
    groups : array-like of shape (n_samples,) or None, default=None
        Group of each sample, such as its alphabet. A label that occurs in two groups is two
        classes. A group gives no pairs if it has only one class, or only classes of one sample.
        None puts all samples into one group.
    n_pairs : int, default=10_000
        Number of pairs. A pair can be drawn more than once.
    random_state : int, RandomState instance, Generator or None, default=None
        An int gives the same pairs on each call; it seeds `numpy.random.default_rng`. None uses
        fresh entropy from the operating system. From a RandomState, a seed is drawn. A Generator
        is used as it is.

    Returns
    -------
    pairs : ndarray of shape (n_pairs, 3), int64
        Rows (i, j, same): row numbers of two samples, and 1 if they are of the same class, else 0.
        The rows are sorted by group. In each group, both kinds alternate.

    Raises
    ------
    TypeError
        If `n_pairs` is not an integer, or `random_state` is none of the types above.
    ValueError
        If no group has two classes, one of them with two samples; if y and `groups` differ in
        length; or if `n_pairs` is less than 1.

    See Also
    --------
    sksiamese.SiameseOneShotClassifier : Its `fit` accepts pairs as y.
    EpisodeSplit : Draws one-shot trials to evaluate on.

    References
    ----------
    .. [1] G. Koch, R. Zemel, R. Salakhutdinov, "Siamese neural networks for one-shot image
       recognition", ICML Deep Learning Workshop, 2015.

    Examples
    --------
    >>> from sksiamese.model_selection import make_pairs
    >>> y = ["a", "a", "b", "b", "b", "c"]
    >>> make_pairs(y, n_pairs=4, random_state=0)
    array([[1, 5, 0],
           [4, 3, 1],
           [1, 5, 0],
           [1, 0, 1]])
    """
    check_scalar(n_pairs, "n_pairs", Integral, min_val=1)
    classes, group = encode_classes(y, groups)
    count = np.bincount(classes)
    # order[first[c] : first[c] + count[c]] are the samples of class c.
    order = np.argsort(classes, kind="stable")
    first = np.cumsum(count) - count
    group_of_class = group[order[first]]
    classes_of_groups = [np.flatnonzero(group_of_class == g) for g in np.unique(group)]
    usable = [c for c in classes_of_groups if len(c) > 1 and count[c].max() > 1]
    if not usable:
        raise ValueError(_why_no_pairs(count, len(classes_of_groups)))

    rng = _generator(random_state)
    sizes = np.full(len(usable), n_pairs // len(usable))
    sizes[: n_pairs % len(usable)] += 1
    pairs = []
    for members, n in zip(usable, rng.permutation(sizes), strict=True):
        same = np.arange(n) % 2 == rng.integers(2)
        a = np.where(same, rng.choice(members[count[members] > 1], n), rng.choice(members, n))
        other = rng.integers(len(members) - 1, size=n)
        other += other >= np.searchsorted(members, a)  # skips class a
        b = np.where(same, a, members[other])
        i = rng.integers(count[a])
        another = (i + 1 + rng.integers(np.maximum(count[a] - 1, 1))) % count[a]  # not i
        j = np.where(same, another, rng.integers(count[b]))
        pairs.append(np.stack([order[first[a] + i], order[first[b] + j], same], axis=1))
    return np.concatenate(pairs).astype(np.int64, copy=False)


def _generator(
    random_state: int | np.random.RandomState | np.random.Generator | None,
) -> np.random.Generator:
    if isinstance(random_state, np.random.Generator):
        return random_state
    if isinstance(random_state, np.random.RandomState):
        return np.random.default_rng(random_state.randint(np.iinfo(np.int32).max))
    if random_state is None:
        return np.random.default_rng()
    check_scalar(random_state, "random_state", Integral, min_val=0)
    return np.random.default_rng(int(random_state))


def _why_no_pairs(count: NDArray[np.intp], n_groups: int) -> str:
    """Error message for classes of `count` samples in `n_groups` groups."""
    if n_groups > 1:
        return (
            f"groups has {n_groups} groups, and none of them has two classes, one of them with "
            "two samples. Both samples of a pair are from one group: pass larger groups, or "
            "groups=None."
        )
    if len(count) < 2:
        return (
            f"y has {len(count)} class{'' if len(count) == 1 else 'es'}; expected at least two, "
            "because pairs of different classes are needed."
        )
    return (
        f"y has {len(count)} classes and no class with two samples; expected two samples of at "
        "least one class, because pairs of the same class are needed."
    )
