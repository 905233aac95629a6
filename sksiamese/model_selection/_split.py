"""EpisodeSplit: one-shot trials as a cross-validation splitter."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.model_selection import BaseCrossValidator
from sklearn.utils import check_random_state, check_scalar

from ._labels import encode_classes


class EpisodeSplit(BaseCrossValidator):
    """Draw N-way k-shot episodes, as a cross-validation splitter.

    Each episode draws `n_way` classes without replacement. Of each class it draws `n_shot`
    samples for the support (the training set) and `n_query` samples as queries (the test set).
    All samples of an episode are different and in random order. Classes with fewer than
    ``n_shot + n_query`` samples are never drawn.

    With groups, such as alphabets, an episode first draws a group, and then all its classes from
    this group. Groups are drawn with equal probability, except that groups with fewer than `n_way`
    such classes are never drawn. Episodes within groups are harder than episodes that mix all
    classes, so report which of the two a score is for. A label that occurs in two groups is two
    classes.

    Parameters
    ----------
    n_way : int, default=5
        Number of classes in an episode, at least 2.
    n_shot : int, default=1
        Number of support samples of each class.
    n_query : int, default=1
        Number of queries of each class.
    n_episodes : int, default=100
        Number of episodes, which is the number of splits.
    random_state : int, RandomState instance or None, default=None
        With an int, each call of `split` gives the same episodes.

    Raises
    ------
    TypeError
        If a number is not an integer.
    ValueError
        If `n_way` is less than 2, or another number is less than 1.

    See Also
    --------
    one_shot_score : Score a classifier over episodes.
    make_one_shot_scorer : Make a scorer that draws episodes from each test fold.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import cross_val_score
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from sksiamese.model_selection import EpisodeSplit
    >>> X, y = load_digits(return_X_y=True)
    >>> episodes = EpisodeSplit(n_way=5, n_episodes=40, random_state=0)
    >>> episodes.get_n_splits()
    40
    >>> support, query = episodes.draw_episodes(X, y)  # all at once: one row per episode
    >>> support.shape, query.shape
    ((40, 5), (40, 5))
    >>> cross_val_score(KNeighborsClassifier(1), X, y, cv=episodes).shape
    (40,)
    """

    # With metadata routing, groups are passed without a request, as to GroupKFold.
    __metadata_request__split = {"groups": True}

    def __init__(
        self,
        n_way: int = 5,
        n_shot: int = 1,
        n_query: int = 1,
        n_episodes: int = 100,
        *,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        check_scalar(n_way, "n_way", Integral, min_val=2)
        check_scalar(n_shot, "n_shot", Integral, min_val=1)
        check_scalar(n_query, "n_query", Integral, min_val=1)
        check_scalar(n_episodes, "n_episodes", Integral, min_val=1)
        self.n_way = n_way
        self.n_shot = n_shot
        self.n_query = n_query
        self.n_episodes = n_episodes
        self.random_state = random_state

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return the number of episodes.

        Parameters
        ----------
        X : object, default=None
            Ignored, exists for compatibility.
        y : object, default=None
            Ignored, exists for compatibility.
        groups : object, default=None
            Ignored, exists for compatibility.

        Returns
        -------
        n_splits : int
            The parameter `n_episodes`.
        """
        return self.n_episodes

    def split(
        self, X: Any, y: ArrayLike | None = None, groups: ArrayLike | None = None
    ) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """Draw the episodes.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...) or None
            Samples. Only their number is used, and None skips the check of the number.
        y : array-like of shape (n_samples,)
            Class labels of any dtype.
        groups : array-like of shape (n_samples,) or None, default=None
            Group of each sample. If given, each episode stays within one group.

        Returns
        -------
        episodes : iterator of (support, query)
            Row numbers of X, arrays of shape (n_way * n_shot,) and (n_way * n_query,).

        Raises
        ------
        TypeError
            If the labels cannot be sorted, such as a mix of strings and numbers.
        ValueError
            If there are too few classes with enough samples, or lengths differ.

        Examples
        --------
        >>> from sksiamese.model_selection import EpisodeSplit
        >>> y = ["a", "a", "b", "b", "c", "c"]
        >>> for support, query in EpisodeSplit(2, n_episodes=2, random_state=0).split(y, y):
        ...     print(support, query)
        [3 1] [0 2]
        [2 0] [3 1]
        """
        return zip(*self.draw_episodes(X, y, groups), strict=True)

    def draw_episodes(
        self, X: Any, y: ArrayLike | None, groups: ArrayLike | None = None
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Draw all episodes at once, as two arrays.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...) or None
            Samples. Only their number is used, and None skips the check of the number.
        y : array-like of shape (n_samples,)
            Class labels of any dtype.
        groups : array-like of shape (n_samples,) or None, default=None
            Group of each sample. If given, each episode stays within one group.

        Returns
        -------
        support : ndarray of shape (n_episodes, n_way * n_shot)
            Row numbers of the support samples of each episode.
        query : ndarray of shape (n_episodes, n_way * n_query)
            Row numbers of the queries of each episode.

        Raises
        ------
        TypeError
            If the labels cannot be sorted, such as a mix of strings and numbers.
        ValueError
            If there are too few classes with enough samples, or lengths differ.

        See Also
        --------
        split : Give the same episodes one by one.
        """
        class_of_row, group_of_row = encode_classes(y, groups, X)
        n_rows = np.bincount(class_of_row)
        # order[first_row[c] : first_row[c] + n_rows[c]] are the rows of class c.
        order = np.argsort(class_of_row, kind="stable")
        first_row = np.cumsum(n_rows) - n_rows

        # The classes of a group are consecutive, also among the eligible ones.
        n_drawn = self.n_shot + self.n_query
        eligible = np.flatnonzero(n_rows >= n_drawn)
        n_classes = np.bincount(group_of_row[order[first_row[eligible]]], minlength=1)
        first_class = np.cumsum(n_classes) - n_classes
        large = np.flatnonzero(n_classes >= self.n_way)
        if not len(large):
            n_groups = len(np.unique(group_of_row))
            where = f"the best of {n_groups} groups" if n_groups > 1 else "y"
            raise ValueError(
                f"n_way={self.n_way} needs {self.n_way} classes with at least n_shot + n_query = "
                f"{n_drawn} samples each, but {where} has {n_classes.max()}. Decrease n_way, "
                "n_shot or n_query, or give more data."
            )

        rng = own_random_state(self.random_state)
        drawn_group = rng.choice(large, self.n_episodes)
        drawn = first_class[drawn_group, None] + _draw(rng, n_classes[drawn_group], self.n_way)
        drawn_class = eligible[drawn].ravel()  # (n_episodes * n_way,)
        rows = first_row[drawn_class, None] + _draw(rng, n_rows[drawn_class], n_drawn)
        rows = order[rows].reshape(self.n_episodes, self.n_way, n_drawn)
        # Without shuffling, support and query would list their classes in the same order.
        support = rows[:, :, : self.n_shot].reshape(self.n_episodes, -1)
        query = rows[:, :, self.n_shot :].reshape(self.n_episodes, -1)
        return _shuffle_rows(rng, support), _shuffle_rows(rng, query)


def own_random_state(seed: int | np.random.RandomState | None) -> np.random.RandomState:
    """Return a RandomState for `seed` that is never NumPy's global generator by default.

    Parameters
    ----------
    seed : int, RandomState instance or None
        None gives a new RandomState with fresh entropy, where scikit-learn's
        `check_random_state` would return the global one.

    Returns
    -------
    random_state : RandomState
        For an int a new one, for a RandomState the same object.

    Raises
    ------
    ValueError
        If `seed` is of another type.
    """
    return np.random.RandomState() if seed is None else check_random_state(seed)


def common_way(classes: NDArray[np.integer], groups: NDArray[np.integer]) -> int:
    """Return an `n_way` for which as many groups as possible can give one-shot episodes.

    Classes with fewer than two samples are not counted, because an episode needs a support
    sample and a query. Groups with fewer than two other classes are ignored, because they cannot
    give episodes.

    Parameters
    ----------
    classes : ndarray of shape (n_samples,)
        Class of each sample, as integers from 0.
    groups : ndarray of shape (n_samples,)
        Group of each sample, as integers from 0.

    Returns
    -------
    n_way : int
        Number of classes of the smallest group, at most 20. It is 2 if no group can give
        episodes.

    Examples
    --------
    >>> import numpy as np
    >>> from sksiamese.model_selection._split import common_way
    >>> classes = np.array([0, 0, 1, 1, 2, 3, 3])  # class 2 has one sample
    >>> int(common_way(classes, np.zeros(7, dtype=int)))
    3
    >>> int(common_way(classes, np.array([0, 0, 0, 0, 1, 1, 1])))  # group 1 gives no episodes
    2
    >>> classes = np.repeat(np.arange(40), 2)
    >>> int(common_way(classes, np.zeros(80, dtype=int)))
    20
    >>> int(common_way(classes, np.repeat([0, 1, 2], [60, 18, 2])))  # 30, 9 and 1 classes
    9
    >>> int(common_way(np.array([0, 0, 1]), np.zeros(3, dtype=int)))  # one class of two
    2
    >>> int(common_way(np.arange(3), np.zeros(3, dtype=int)))  # none
    2
    """
    names, counts = np.unique(np.stack([groups, classes]), axis=1, return_counts=True)
    per_group = np.bincount(names[0, counts > 1], minlength=1)
    return min(20, *per_group[per_group > 1]) if per_group.max() > 1 else 2


def _draw(rng: np.random.RandomState, sizes: NDArray[np.intp], k: int) -> NDArray[np.intp]:
    """Return rows of k different integers, uniform below `sizes` (n,), in random order: (n, k).

    R. Floyd's algorithm (J. Bentley, R. Floyd, "A sample of brilliance", CACM 30(9), 1987), for
    all rows at once. It takes k steps for any sizes.
    """
    drawn = np.empty((len(sizes), k), dtype=np.intp)
    for i in range(k):
        last = sizes - k + i
        drawn[:, i] = rng.randint(0, last + 1)
        taken = (drawn[:, :i] == drawn[:, i, None]).any(axis=1)
        drawn[taken, i] = last[taken]
    return _shuffle_rows(rng, drawn)


def _shuffle_rows(rng: np.random.RandomState, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    return np.take_along_axis(rows, rng.random_sample(rows.shape).argsort(axis=1), axis=1)
