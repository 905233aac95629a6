"""SupportSet: a value; adding and removing make new ones, and classes are scored by formula."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sksiamese._support import AGGREGATIONS, SupportSet
from sksiamese.twin.heads import WeightedL1


class Network:
    """As much of a network as comparing codes needs."""

    calibration = (1.0, 0.0)

    def __init__(self, n_features=3):
        self.head = WeightedL1((n_features,))


def codes_of(n, n_features=3, seed=0):
    return torch.randn(n, n_features, generator=torch.Generator().manual_seed(seed))


LABELS = np.array(["b", "a", "b", "c", "b", "c"])


@pytest.fixture
def support():
    return SupportSet(codes_of(6), LABELS)


def test_classes_are_sorted_and_exemplars_keep_their_order(support):
    assert support.classes.tolist() == ["a", "b", "c"]
    assert support.labels.tolist() == LABELS.tolist()
    assert len(support) == 6


def test_it_cannot_be_changed(support):
    with pytest.raises(FrozenInstanceError):
        support.labels = LABELS[:2]


def test_labels_are_its_own():
    y = np.array([0, 1, 1])
    support = SupportSet(codes_of(3), y)
    y[:] = 7
    assert support.labels.tolist() == [0, 1, 1]


def test_add_returns_a_new_support(support):
    larger = support.add(codes_of(2, seed=1), np.array(["a", "d"]))
    assert larger.classes.tolist() == ["a", "b", "c", "d"]
    assert larger.labels.tolist() == [*LABELS, "a", "d"]
    torch.testing.assert_close(larger.codes, torch.cat([support.codes, codes_of(2, seed=1)]))
    assert len(support) == 6
    assert support.classes.tolist() == ["a", "b", "c"]


def test_longer_strings_are_not_cut(support):
    assert "longer" in support.add(codes_of(1), np.array(["longer"])).classes


def test_an_empty_support_takes_labels_of_any_kind():
    empty = SupportSet(codes_of(1), np.array(["a"])).remove(["a"])
    assert len(empty) == 0
    assert empty.add(codes_of(1), np.array([5])).classes.tolist() == [5]


@pytest.mark.parametrize("labels", [["b"], np.array(["b"]), ["a", "c"], ["a", "b", "c"]])
def test_remove_returns_a_new_support(support, labels):
    smaller = support.remove(labels)
    keep = ~np.isin(LABELS, labels)
    assert smaller.labels.tolist() == LABELS[keep].tolist()
    torch.testing.assert_close(smaller.codes, support.codes[torch.from_numpy(keep)])
    assert len(support) == 6


@pytest.mark.parametrize("dtypes", [(np.uint64, np.int64), (np.int64, np.uint64)])
def test_large_integers_are_told_apart(dtypes):
    labels = 2**61 + np.arange(60).astype(dtypes[0])
    support = SupportSet(torch.zeros(60, 2), labels)
    left = support.remove(labels[:40:2].astype(dtypes[1]))
    assert left.classes.tolist() == [*labels[1:40:2].tolist(), *labels[40:].tolist()]


def test_codes_are_copied_once_however_many_classes_are_removed():
    support = first = SupportSet(codes_of(100), np.arange(100))
    for label in range(60):
        support = support.remove([label])
        assert "codes" not in support.__dict__
    assert torch.equal(support.codes, first.codes[60:])
    assert support.codes.untyped_storage().nbytes() == 40 * 3 * 4
    assert support.__dict__.keys() >= {"codes", "labels"}
    assert "_left_of" not in support.__dict__  # the codes removed are let go
    assert torch.equal(pickle.loads(pickle.dumps(first.remove([3]))).codes[:3], first.codes[:3])
    with pytest.raises(AttributeError, match="no attribute 'code'"):
        first.code  # noqa: B018


def test_removing_unknown_labels_names_them_and_the_known(support):
    with pytest.raises(ValueError, match=r"labels=\['x'\].*'a', 'b', 'c'.*Nothing was removed"):
        support.remove(["a", "x"])


def test_many_classes_are_not_all_listed():
    support = SupportSet(codes_of(30), np.arange(30))
    with pytest.raises(ValueError, match=r"9, \.\.\. \(30 in all\)"):
        support.remove([99])


def test_labels_of_another_kind_are_refused(support):
    with pytest.raises(ValueError, match="y has labels of dtype int64, the support's are <U1"):
        support.add(codes_of(1), np.array([1]))


@pytest.mark.parametrize(
    "dtypes", [(np.int64, np.float64), (np.int64, np.uint64), (int, bool), ("S1", "U1")]
)
def test_labels_that_would_change_are_refused(dtypes):
    for first, second in (dtypes, dtypes[::-1]):
        support = SupportSet(codes_of(2), np.array([1, 0], first))
        with pytest.raises(ValueError, match="give labels of the same kind"):
            support.add(codes_of(1), np.array([1], second))


def expected_logits(network, queries, codes, labels, aggregation):
    """The definition, class by class in numpy."""
    weights = network.head.bias.item()
    columns = []
    for label in np.unique(labels):
        own = codes[torch.from_numpy(labels == label)]
        if aggregation == "prototype":
            own = own.mean(0, keepdim=True)
        logits = weights - (queries[:, None] - own).abs().sum(2).numpy()
        columns.append(logits.max(1) if aggregation == "max" else logits.mean(1))
    return np.stack(columns, 1)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=12),
    st.sampled_from(AGGREGATIONS),
    st.integers(0, 2**16),
)
def test_class_logits_are_the_definition(labels, aggregation, seed):
    labels, network = np.array(labels), Network()
    codes, queries = codes_of(len(labels), seed=seed), codes_of(5, seed=seed + 1)
    logits = SupportSet(codes, labels).class_logits(network, queries, aggregation)
    assert logits.dtype == np.float32
    expected = expected_logits(network, queries, codes, labels, aggregation)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


def test_an_unknown_aggregation_is_said_wherever_it_is_met(support):
    with pytest.raises(ValueError, match="aggregation='median' is not known; expected one of 'me"):
        support.class_logits(Network(), codes_of(2), "median")


def test_one_exemplar_a_class_is_the_same_under_every_aggregation():
    support, network, queries = SupportSet(codes_of(4), np.arange(4)), Network(), codes_of(3)
    logits = [support.class_logits(network, queries, name) for name in AGGREGATIONS]
    np.testing.assert_array_equal(logits[0], logits[1])
    np.testing.assert_array_equal(logits[0], logits[2])


def test_codes_may_be_maps():
    class Flat(WeightedL1):
        def logits(self, codes_a, codes_b):
            return super().logits(codes_a.flatten(1), codes_b.flatten(1))

    network = Network()
    network.head = Flat((8,))
    maps = torch.randn(5, 2, 2, 2, generator=torch.Generator().manual_seed(0))
    support = SupportSet(maps, np.array([1, 0, 1, 0, 0]))
    for aggregation in AGGREGATIONS:
        assert support.class_logits(network, maps, aggregation).shape == (5, 2)


def test_it_pickles(support):
    again = pickle.loads(pickle.dumps(support))
    assert again.classes.tolist() == support.classes.tolist()
    network, queries = Network(), codes_of(2, seed=3)
    np.testing.assert_array_equal(
        again.class_logits(network, queries, "mean"),
        support.class_logits(network, queries, "mean"),
    )


# Growing


def test_growing_writes_behind_what_is_there_and_changes_no_earlier_support():
    first = SupportSet(codes_of(3), np.array([2, 0, 1]))
    second = first.add(codes_of(1, seed=1), np.array([5]))
    third = second.add(codes_of(1, seed=2), np.array([4]))
    branch = second.add(codes_of(1, seed=3), np.array([9]))
    assert third.codes.data_ptr() == second.codes.data_ptr()
    assert branch.codes.data_ptr() != second.codes.data_ptr()
    for support, labels, seed in ((third, [2, 0, 1, 5, 4], 2), (branch, [2, 0, 1, 5, 9], 3)):
        assert support.labels.tolist() == labels
        assert support.classes.tolist() == sorted(labels)
        assert torch.equal(support.codes[-1:], codes_of(1, seed=seed))
        assert torch.equal(support.codes[:3], first.codes)
    assert (len(first), len(second)) == (3, 4)
    assert second.classes.tolist() == [0, 1, 2, 5]


def test_labels_that_need_more_room_move():
    support = SupportSet(codes_of(1), np.array(["a"])).add(codes_of(1), np.array(["b"]))
    longer = support.add(codes_of(1), np.array(["long"]))
    assert longer.labels.tolist() == ["a", "b", "long"]
    assert support.labels.tolist() == ["a", "b"]


def test_a_pickle_of_a_grown_support_has_no_spare_room():
    support = SupportSet(codes_of(100), np.arange(100)).add(codes_of(1), np.array([100]))
    again = pickle.loads(pickle.dumps(support))
    assert again.codes.untyped_storage().nbytes() == 101 * 3 * 4
    assert torch.equal(again.codes, support.codes)
    assert again.labels.tolist() == support.labels.tolist()


def test_threads_that_add_to_one_support_do_not_meet():
    base = SupportSet(codes_of(2), np.arange(2)).add(codes_of(1), np.array([2]))

    def grow(n):
        support = base
        for k in range(50):
            support = support.add(torch.full((1, 3), float(n)), np.array([100 * n + k]))
        return support

    with ThreadPoolExecutor(4) as pool:
        for n, support in enumerate(pool.map(grow, range(1, 5)), 1):
            assert support.labels[3:].tolist() == [100 * n + k for k in range(50)]
            assert (support.codes[3:] == n).all()


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=25))
def test_growing_and_shrinking_is_what_lists_do(steps):
    support, expected = SupportSet(codes_of(1), np.array([0])), [(0, codes_of(1)[0].tolist())]
    for n, (adding, label) in enumerate(steps, 1):
        if adding:
            codes = codes_of(1, seed=n)
            support = support.add(codes, np.array([label]))
            expected.append((label, codes[0].tolist()))
        elif label in [own for own, _ in expected]:
            support = support.remove(np.array([label]))
            expected = [(own, code) for own, code in expected if own != label]
        assert support.labels.tolist() == [own for own, _ in expected]
        assert support.codes.tolist() == [code for _, code in expected]
        assert support.classes.tolist() == sorted({own for own, _ in expected})
