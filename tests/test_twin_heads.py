"""Heads: the matrix forms are the paper's formula, without its (A, B, D) temporary."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.profiler import profile

from sksiamese.twin.heads import HEADS, TILE, SignedL1, l1_distances

BOTH = pytest.mark.parametrize("name", HEADS)
SEEDS = st.integers(0, 2**32 - 1)


def random_head(name, feature_shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    head = HEADS[name](feature_shape).to(dtype)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return head


def random_features(n, feature_shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, *feature_shape, generator=generator, dtype=dtype)


def naive(head, a, b):
    """b + sum_j alpha_j |a_j - b_j| by broadcasting; codes of ones are WeightedL1's -alpha."""
    a, b = a.flatten(1), b.flatten(1)
    alpha = head.alpha if isinstance(head, SignedL1) else -head.codes(torch.ones_like(a[:1]))[0]
    return (a[:, None] - b[None]).abs() @ alpha + head.bias


@BOTH
@settings(deadline=None, max_examples=10)
@given(
    n_a=st.integers(1, 5),
    n_b=st.integers(1, 5),
    shape=st.sampled_from([(1,), (7,), (3, 2, 4)]),
    seed=SEEDS,
)
def test_logits_are_the_paper_s_formula(name, n_a, n_b, shape, seed):
    head = random_head(name, shape, seed)
    a, b = random_features(n_a, shape, seed + 1), random_features(n_b, shape, seed + 2)
    logits = head.logits(head.codes(a), head.codes(b))
    assert logits.shape == (n_a, n_b)
    torch.testing.assert_close(logits, naive(head, a, b))


@BOTH
def test_logits_are_the_paper_s_formula_in_float32(name):
    head = random_head(name, (256,), dtype=torch.float32)
    a, b = (random_features(20, (256,), seed, torch.float32) for seed in (1, 2))
    logits = head.logits(head.codes(a), head.codes(b))
    torch.testing.assert_close(logits, naive(head, a, b), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("n_a", [1, TILE // 4 - 1, TILE // 4, TILE, 2 * TILE + 3])
@pytest.mark.parametrize("n_b", [1, TILE, TILE + 1])
def test_l1_distances_of_any_number_of_rows(n_a, n_b):
    """By cdist or in tiles, and of a block with itself."""
    a, b = random_features(n_a, (5,), 1), random_features(n_b, (5,), 2)
    torch.testing.assert_close(l1_distances(a, b), (a[:, None] - b).abs().sum(2))
    torch.testing.assert_close(l1_distances(a, a), (a[:, None] - a).abs().sum(2))


@BOTH
def test_pair_logits_are_the_diagonal_of_logits(name):
    head = random_head(name, (3, 2, 2))
    a, b = (head.codes(random_features(6, (3, 2, 2), seed)) for seed in (1, 2))
    torch.testing.assert_close(head.pair_logits(a, b), head.logits(a, b).diagonal())


@BOTH
def test_twins_are_symmetric(name):
    head = random_head(name, (9,))
    a, b = (head.codes(random_features(5, (9,), seed)) for seed in (1, 2))
    torch.testing.assert_close(head.logits(a, b), head.logits(b, a).T)
    torch.testing.assert_close(head.pair_logits(a, b), head.pair_logits(b, a))


@BOTH
def test_identical_images_give_the_bias(name):
    head = random_head(name, (9,))
    codes = head.codes(random_features(5, (9,)))
    assert torch.equal(head.logits(codes, codes).diagonal(), head.bias.expand(5))
    assert torch.equal(head.pair_logits(codes, codes), head.bias.expand(5))


@BOTH
def test_a_new_head_calls_identical_images_the_same_and_others_less_so(name):
    head = HEADS[name]((50,))
    codes = head.codes(random_features(4, (50,), dtype=torch.float32))
    logits = head.logits(codes, codes)
    assert (logits.diagonal() > 0).all()
    assert (logits[~torch.eye(4, dtype=torch.bool)] < head.bias).all()


@settings(deadline=None, max_examples=20)
@given(seed=SEEDS, scale=st.sampled_from([1e-3, 1.0, 1e3]))
def test_weighted_l1_is_a_pseudo_metric(seed, scale):
    head = random_head("weighted_l1", (6,), seed)
    codes = head.codes(scale * random_features(8, (6,), seed))
    d = head.bias - head.logits(codes, codes)
    slack = 1e-9 * (1 + d.max())
    assert (d >= -slack).all()
    assert (d.diagonal().abs() <= slack).all()
    assert ((d - d.T).abs() <= slack).all()
    assert (d[:, None, :] <= d[:, :, None] + d[None, :, :] + slack).all()  # x-z <= x-y + y-z


def test_weighted_l1_codes_hold_the_metric():
    """What `transform` promises: L1 between codes is bias - logit."""
    head = random_head("weighted_l1", (6,))
    a, b = (head.codes(random_features(5, (6,), seed)) for seed in (1, 2))
    distances = (a[:, None] - b[None]).abs().sum(2)
    torch.testing.assert_close(head.bias - head.logits(a, b), distances)


def test_signed_l1_may_call_a_difference_a_likeness():
    head = SignedL1((1,))
    with torch.no_grad():
        head.alpha.fill_(2.0)
    torch.testing.assert_close(
        head.logits(torch.zeros(1, 1), torch.ones(1, 1)).view(()), head.bias + 2
    )


@settings(deadline=None, max_examples=10)
@given(seed=SEEDS)
def test_weighted_l1_has_no_positive_weight(seed):
    """Whatever training makes of its parameters."""
    head = random_head("weighted_l1", (6,), seed)
    none, one = head.codes(torch.zeros(6, 6).double()), head.codes(torch.eye(6).double())
    assert (head.pair_logits(none, one) < head.bias).all()


@BOTH
def test_gradients_are_those_of_the_formula(name):
    head = random_head(name, (7,))
    a, b = (random_features(4, (7,), seed).requires_grad_() for seed in (1, 2))
    upstream = random_features(4, (4,), 3)
    wanted = [a, b, *head.parameters()]
    ours = torch.autograd.grad(
        (head.logits(head.codes(a), head.codes(b)) * upstream).sum(), wanted
    )
    theirs = torch.autograd.grad((naive(head, a, b) * upstream).sum(), wanted)
    assert all(gradient.abs().sum() > 0 for gradient in theirs)
    torch.testing.assert_close(ours, theirs)


@BOTH
def test_gradients_are_finite_where_twins_meet(name):
    """In a batch every image also meets itself, where |x| has its kink."""
    head = random_head(name, (7,))
    features = random_features(4, (7,)).requires_grad_()
    codes = head.codes(features)
    wanted = [features, *head.parameters()]
    ours = torch.autograd.grad(head.logits(codes, codes).sum(), wanted)
    theirs = torch.autograd.grad(naive(head, features, features).sum(), wanted)
    torch.testing.assert_close(ours, theirs)


def largest_allocation(function):
    with profile(profile_memory=True) as profiler:
        function()
    return max(event.self_cpu_memory_usage for event in profiler.events())


@BOTH
def test_no_temporary_of_all_pairs_by_all_features(name):
    n, n_features = 100, 1000
    head = random_head(name, (n_features,), dtype=torch.float32)
    a, b = (
        random_features(n, (n_features,), seed, torch.float32).requires_grad_() for seed in (1, 2)
    )
    temporary = 4 * n * n * n_features
    assert largest_allocation(lambda: naive(head, a, b)) >= temporary
    largest = largest_allocation(
        lambda: head.logits(head.codes(a), head.codes(b)).square().sum().backward()
    )
    assert 0 < largest < temporary / 20
