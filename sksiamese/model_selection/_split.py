"""EpisodeSplit: N-way k-shot episodes as a cross-validation splitter."""

from numbers import Integral

import numpy as np
from sklearn.model_selection import BaseCrossValidator
from sklearn.utils import check_array, check_random_state, check_scalar


class EpisodeSplit(BaseCrossValidator):
    """N-way k-shot episodes as a cross-validation splitter.

    Each episode draws `n_way` classes without replacement and, of each, `n_shot` support examples
    (the training set) and `n_query` queries (the test set), all different and in random order.
    Classes with fewer than ``n_shot + n_query`` examples are never drawn.

    With groups, such as alphabets, an episode first draws a group, evenly among those with `n_way`
    such classes, and stays in it: a harder task than mixing all classes, so say which one a number
    is for. A label that occurs in two groups is a class of its own in each.

    Parameters
    ----------
    n_way : int, default=5
        Classes in an episode, at least 2.
    n_shot, n_query : int, default=1
        Support and query examples of each class.
    n_episodes : int, default=100
        Number of episodes, which is the number of splits.
    random_state : int, RandomState instance or None, default=None
        With an int, each call of `split` gives the same episodes.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import cross_val_score
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from sksiamese.model_selection import EpisodeSplit
    >>> X, y = load_digits(return_X_y=True)
    >>> episodes = EpisodeSplit(n_way=5, n_episodes=40, random_state=0)
    >>> cross_val_score(KNeighborsClassifier(1), X, y, cv=episodes).shape
    (40,)
    """

    # As for GroupKFold: with metadata routing, groups come without a request.
    __metadata_request__split = {"groups": True}

    def __init__(self, n_way=5, n_shot=1, n_query=1, n_episodes=100, *, random_state=None):
        check_scalar(n_way, "n_way", Integral, min_val=2)
        check_scalar(n_shot, "n_shot", Integral, min_val=1)
        check_scalar(n_query, "n_query", Integral, min_val=1)
        check_scalar(n_episodes, "n_episodes", Integral, min_val=1)
        self.n_way = n_way
        self.n_shot = n_shot
        self.n_query = n_query
        self.n_episodes = n_episodes
        self.random_state = random_state

    def get_n_splits(self, X=None, y=None, groups=None):
        """Return `n_episodes`; the arguments are ignored."""
        return self.n_episodes

    def split(self, X, y=None, groups=None):
        """Draw the episodes; ValueError if there are too few classes, or lengths differ.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...) or None
            Only its length is looked at.
        y : array-like of shape (n_samples,)
            Class labels of any dtype.
        groups : array-like of shape (n_samples,) or None, default=None
            Group of each sample; each episode then stays within one.

        Returns
        -------
        episodes : iterator of (support, query)
            Indices, of shape (n_way * n_shot,) and (n_way * n_query,).
        """
        return zip(*self.draw_episodes(X, y, groups), strict=True)

    def draw_episodes(self, X, y, groups):
        """All episodes at once: indices (n_episodes, n_way * n_shot) and (..., n_query)."""
        labels, label = np.unique(check_values(y, "y", X), return_inverse=True)
        groups = np.zeros(len(label)) if groups is None else check_values(groups, "groups", label)
        group_names, group = np.unique(groups, return_inverse=True)

        # A class is a label within a group. np.unique sorts them by group, hence the classes of a
        # group lie side by side, and so do the rows of a class once `order` has sorted them.
        name = group * len(labels) + label
        names, row_class, n_rows = np.unique(name, return_inverse=True, return_counts=True)
        order = np.argsort(row_class, kind="stable")
        first_row = np.cumsum(n_rows) - n_rows

        n_drawn = self.n_shot + self.n_query
        eligible = np.flatnonzero(n_rows >= n_drawn)
        n_classes = np.bincount(names[eligible] // max(1, len(labels)), minlength=1)
        first_class = np.cumsum(n_classes) - n_classes
        large = np.flatnonzero(n_classes >= self.n_way)
        if not len(large):
            where = f"the best of {len(group_names)} groups" if len(group_names) > 1 else "y"
            raise ValueError(
                f"n_way={self.n_way} needs {self.n_way} classes with at least n_shot + n_query = "
                f"{n_drawn} examples each, but {where} has {n_classes.max()}: lower n_way, n_shot "
                "or n_query, or give more data."
            )

        rng = own_random_state(self.random_state)
        drawn_group = rng.choice(large, self.n_episodes)
        drawn = first_class[drawn_group, None] + _draw(rng, n_classes[drawn_group], self.n_way)
        drawn_class = eligible[drawn].ravel()  # (n_episodes * n_way,)
        rows = first_row[drawn_class, None] + _draw(rng, n_rows[drawn_class], n_drawn)
        rows = order[rows].reshape(self.n_episodes, self.n_way, n_drawn)
        # Unshuffled, support and query would list their classes in the same order.
        support = rows[:, :, : self.n_shot].reshape(self.n_episodes, -1)
        query = rows[:, :, self.n_shot :].reshape(self.n_episodes, -1)
        return _shuffle_rows(rng, support), _shuffle_rows(rng, query)


def own_random_state(seed):
    """`check_random_state`, but None never draws from numpy's global generator."""
    return np.random.RandomState() if seed is None else check_random_state(seed)


def check_values(values, name, X):
    """`values` as an array of shape (n_samples,), one for each sample of X."""
    if values is None:
        raise ValueError(f"{name} is None; expected one class label for each sample of X.")
    options = {"ensure_2d": False, "allow_nd": True, "dtype": None, "ensure_min_samples": 0}
    values = check_array(values, input_name=name, **options)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    n = len(values) if X is None else X.shape[0] if hasattr(X, "shape") else len(X)
    if values.shape != (n,):
        raise ValueError(
            f"{name} has shape {values.shape} but X has {n} samples; expected one value for each."
        )
    return values


def _draw(rng, sizes, k):
    """Rows of k different integers, uniform below `sizes` (n,), in random order: (n, k).

    Floyd's algorithm (CACM 30(9), 1987), all rows at once: k steps, whatever the sizes.
    """
    drawn = np.empty((len(sizes), k), dtype=np.intp)
    for i in range(k):
        last = sizes - k + i
        drawn[:, i] = rng.randint(0, last + 1)
        taken = (drawn[:, :i] == drawn[:, i, None]).any(axis=1)
        drawn[taken, i] = last[taken]
    return _shuffle_rows(rng, drawn)


def _shuffle_rows(rng, rows):
    return np.take_along_axis(rows, rng.random_sample(rows.shape).argsort(axis=1), axis=1)


def common_way(classes, groups):
    """Way of episodes inside each of the groups: the fewest classes with two examples that one of
    them has, but 20 at most; groups with fewer than two such classes have none."""
    names, counts = np.unique(np.stack([groups, classes]), axis=1, return_counts=True)
    per_group = np.bincount(names[0, counts > 1], minlength=1)
    return min(20, *per_group[per_group > 1]) if per_group.max() > 1 else 2
