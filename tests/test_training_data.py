"""Training data: which classes are held out of training, and when too few are left."""

import numpy as np
import pytest
import torch
from helpers import Seen, classifier, make_table, unchanged


@pytest.fixture(scope="module")
def table():
    return make_table()


def test_held_out_classes_are_those_that_training_does_not_show(table):
    """The table's first feature tells the class."""
    X, y = np.column_stack([table[1], table[0]]).astype(np.float32), table[1]
    for params, n_held in (
        ({"early_stopping": True}, 2),
        ({"unknown_label": -1}, 2),
        ({"early_stopping": True, "unknown_label": -1, "validation_fraction": 0.25}, 3 + 2),
    ):
        seen = Seen()
        clf = classifier("mlp", augmentation=seen, max_iter=6, **params).fit(X, y)
        feature = clf.fitted_.comparer.scaling(torch.from_numpy(X))[:, 0]
        shown = np.isin(feature, seen.all[:, 0])
        assert clf.held_out_classes_.tolist() == np.setdiff1d(y, y[shown]).tolist()
        assert len(clf.held_out_classes_) == n_held
        assert clf.classes_.tolist() == list(range(12))


def test_held_out_classes_are_whole_groups(table):
    X, y = table
    groups = y // 3
    clf = classifier("mlp", early_stopping=True, validation_fraction=0.5).fit(X, y, groups=groups)
    held = clf.held_out_classes_
    assert len(held) == 6
    assert len(set(held // 3)) == 2


def test_held_out_classes_keep_the_labels(table):
    X, y = table
    names = np.array(list("abcdefghijkl"))
    held = classifier("mlp", early_stopping=True).fit(X, names[y]).held_out_classes_
    assert len(held) == 2
    assert set(held) <= set(names)


@pytest.mark.parametrize(
    ("y", "params"),
    [
        ([0, 0, 1, 1], {}),
        ([0, 0, 1, 1, 2, 2], {}),
        ([0, 0, 0, 1, 2, 3, 4, 5, 6, 7], {}),
        (np.repeat(np.arange(10), 2), {"validation_fraction": 0.99}),
    ],
)
@pytest.mark.parametrize("reason", ["early_stopping", "unknown_label"])
def test_held_out_classes_are_refused_where_too_few_are_left(table, y, params, reason):
    reasons = {"unknown_label": {"unknown_label": -1}, "early_stopping": {"early_stopping": True}}
    clf = classifier("mlp", **params, **reasons[reason])
    message = (
        rf"{reason}.* holds out \d+ of \d+ classes \(validation_fraction=0\.\d+\).*do without"
    )
    with unchanged(clf), pytest.raises(ValueError, match=message):
        clf.fit(table[0][: len(y)], y)


def test_early_stopping_is_refused_for_pairs(table):
    clf = classifier("mlp", early_stopping=True)
    with pytest.raises(ValueError, match="early_stopping=True needs class labels .* y has pairs"):
        clf.fit(table[0], [[0, 1, 1], [0, 10, 0]])
