"""Training data: which classes are held out of training, and when too few are left."""

import numpy as np
import pytest
import torch
from helpers import Seen, classifier, make_table, unchanged
from torch import nn


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


@pytest.mark.parametrize("params", [{"early_stopping": True}, {"unknown_label": -1}])
def test_held_out_classes_are_the_same_for_features_made_once(table, params):
    """An encoder without weights is run once; with an augmentation, in each epoch."""
    params = {**params, "max_iter": 2, "head": "cosine", "precision": "float32"}
    once = classifier(nn.Identity(), **params).fit(*table)
    each = classifier(nn.Identity(), **params, augmentation=Seen()).fit(*table)
    assert once.held_out_classes_.tolist() == each.held_out_classes_.tolist()
    for own, theirs in zip(once.history_[0], each.history_[0], strict=True):
        for name in own.keys() - {"dur", "batches"}:
            assert own[name] == pytest.approx(theirs[name], rel=1e-4)
    if "unknown_label" in params:
        assert once.rejection_threshold_ == pytest.approx(each.rejection_threshold_, rel=1e-4)


def test_held_out_classes_of_several_reasons_are_not_whitened(table):
    X, y = table
    seen = classifier(
        nn.Identity(), head="whitened", early_stopping=True, unknown_label=-1, normalization=None
    ).fit(X, y)
    kept = ~np.isin(y, seen.held_out_classes_)
    means = [X[y == c].mean(0) for c in np.unique(y[kept])]
    np.testing.assert_allclose(seen.network_.head.mean, np.mean(means, 0), atol=1e-5)
