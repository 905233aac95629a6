"""Losses against their formulas, written as loops."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from sksiamese.twin.losses import (
    LOSSES,
    TwinLoss,
    both_losses,
    episodic_loss,
    verification_loss,
)

SEEDS = st.integers(0, 2**32 - 1)


def batch(seed, n_groups=2, n_classes=3, n_drawings=2):
    """Return logits (B, B) and targets of a batch of groups x classes x drawings."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n_groups * n_classes).repeat_interleave(n_drawings)
    group = labels // n_classes
    same = (labels[:, None] == labels).long()
    same[group[:, None] != group] = -1
    same.fill_diagonal_(-1)
    n = len(labels)
    logits = 3 * torch.randn(n, n, generator=generator, dtype=torch.float64)
    return logits, same


def looped_episodic(logits, same):
    """Return the mean cross-entropy of each positive against the negatives of its row."""
    terms = []
    for i in range(len(logits)):
        negatives = logits[i][same[i] == 0]
        for j in range(len(logits)):
            if same[i, j] == 1 and len(negatives):
                choices = torch.cat([logits[i, j].view(1), negatives])
                terms.append(F.cross_entropy(choices[None], torch.tensor([0])))
    return torch.stack(terms).mean()


@settings(deadline=None, max_examples=10)
@given(seed=SEEDS)
def test_verification_loss_is_the_mean_binary_cross_entropy_of_both_sides(seed):
    logits, same = batch(seed)
    sides = [
        F.binary_cross_entropy_with_logits(
            logits[same == side], torch.full_like(logits[same == side], float(side))
        )
        for side in (0, 1)
    ]
    torch.testing.assert_close(verification_loss(logits, same), sum(sides) / 2)


def test_verification_loss_weighs_both_sides_alike():
    logits = torch.tensor([2.0, -1.0])
    same = torch.tensor([1, 0])
    many = torch.tensor([0, 1, 1, 1, 1, 1])
    torch.testing.assert_close(
        verification_loss(logits[many], same[many]), verification_loss(logits, same)
    )


@pytest.mark.parametrize("side", [0, 1])
def test_verification_loss_of_one_side_is_its_mean(side):
    logits = torch.tensor([0.5, -2.0, 3.0])
    expected = F.binary_cross_entropy_with_logits(logits, torch.full((3,), float(side)))
    loss = verification_loss(logits, torch.full((3,), side))
    torch.testing.assert_close(loss, expected)


@settings(deadline=None, max_examples=10)
@given(
    seed=SEEDS,
    n_groups=st.integers(1, 3),
    n_classes=st.integers(2, 4),
    n_drawings=st.integers(2, 3),
)
def test_episodic_loss_is_the_cross_entropy_of_each_positive(
    seed, n_groups, n_classes, n_drawings
):
    logits, same = batch(seed, n_groups, n_classes, n_drawings)
    torch.testing.assert_close(episodic_loss(logits, same), looped_episodic(logits, same))


@pytest.mark.parametrize("name", LOSSES)
def test_losses_ignore_what_is_not_a_pair_of_the_task(name):
    logits, same = batch(0)
    noise = 1e3 * torch.linspace(-1, 1, logits.numel(), dtype=logits.dtype).view_as(logits)
    changed = torch.where(same == -1, noise, logits).requires_grad_()
    loss = LOSSES[name](changed, same)
    assert loss.item() == LOSSES[name](logits, same).item()
    (gradient,) = torch.autograd.grad(loss, changed)
    assert (gradient[same == -1] == 0).all()
    assert (gradient[same == 1] < 0).all()
    assert (gradient[same == 0] > 0).all()


@pytest.mark.parametrize("name", LOSSES)
def test_losses_have_the_right_gradients(name):
    logits, same = batch(1)
    assert torch.autograd.gradcheck(lambda x: LOSSES[name](x, same), logits.requires_grad_())


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_finite_for_extreme_logits(name):
    logits, same = batch(2)
    logits = (1e4 * logits).float().requires_grad_()
    loss = LOSSES[name](logits, same)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.isfinite()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_zero_for_perfect_logits_and_large_for_wrong_ones(name):
    _, same = batch(0)
    perfect = torch.where(same == 1, 50.0, -50.0)
    assert LOSSES[name](perfect, same) < 1e-6
    assert LOSSES[name](-perfect, same) > 10


def test_episodic_loss_of_a_single_class_is_zero_with_zero_gradients():
    logits = torch.tensor(
        [[0.0, 2.0, -1.0], [3.0, 0.0, 1.0], [-2.0, 1.0, 0.0]], requires_grad=True
    )
    same = torch.ones(3, 3, dtype=torch.long).fill_diagonal_(-1)
    loss = episodic_loss(logits, same)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.item() == 0
    assert (gradient == 0).all()


def test_episodic_loss_is_not_diluted_by_a_group_of_one_class():
    logits, same = batch(3, n_groups=1)
    n = len(logits)
    wider, wider_same = torch.full((n + 2, n + 2), 3.0), torch.full((n + 2, n + 2), -1)
    wider = wider.double()
    wider[:n, :n], wider_same[:n, :n] = logits, same
    wider_same[n, n + 1] = wider_same[n + 1, n] = 1  # a group of one class
    wider.requires_grad_()
    loss = episodic_loss(wider, wider_same)
    torch.testing.assert_close(loss, episodic_loss(logits, same))
    assert torch.autograd.grad(loss, wider)[0].isfinite().all()


@pytest.mark.parametrize("name", LOSSES)
def test_losses_of_nan_logits_are_nan(name):
    """Otherwise training would continue with NaN weights and a loss of zero."""
    logits, same = batch(0)
    assert LOSSES[name](torch.full_like(logits, float("nan")), same).isnan()


def test_both_losses_is_episodic_plus_half_the_verification():
    logits, same = batch(4)
    expected = episodic_loss(logits, same) + verification_loss(logits, same) / 2
    torch.testing.assert_close(both_losses(logits, same), expected)
    assert expected > episodic_loss(logits, same)


@pytest.mark.parametrize("name", LOSSES)
def test_twin_loss_takes_a_batch_by_name_and_pairs_by_verification(name):
    logits, same = batch(5)
    torch.testing.assert_close(TwinLoss(name)(logits, same), LOSSES[name](logits, same))
    i, j = torch.nonzero(same >= 0).T
    pairs, targets = logits[i, j], same[i, j]
    torch.testing.assert_close(TwinLoss(name)(pairs, targets), verification_loss(pairs, targets))


def test_twin_loss_passes_logits_and_targets_to_a_callable():
    logits, same = batch(0)
    logits.requires_grad_()
    loss = TwinLoss(lambda logits, same: (logits[same == 0]).mean())
    torch.testing.assert_close(loss(logits, same), logits[same == 0].mean())
    torch.testing.assert_close(loss(logits[0], same[0]), logits[0][same[0] == 0].mean())


@pytest.mark.parametrize("wrong", [0.5, torch.tensor(0.5), torch.zeros(2, requires_grad=True)])
def test_twin_loss_refuses_what_a_callable_may_not_return(wrong):
    with pytest.raises(TypeError, match="loss returned .*expected a tensor of one number"):
        TwinLoss(lambda logits, same: wrong)(*batch(0))
