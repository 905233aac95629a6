"""Augmentation of series: what a draw changes, what it keeps, and where its numbers come from."""

import pytest
import torch

from sksiamese.augmentation import SeriesAugmentation

STILL = {"warp": 0.0, "shift": 0.0, "scale": 0.0}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def waves(n=6, channels=2, length=50):
    return torch.randn(n, channels, length, generator=generator(9)).cumsum(2)


def test_series_augmentation_with_all_zero_keeps_series():
    torch.testing.assert_close(SeriesAugmentation(**STILL)(waves(), generator()), waves())


@pytest.mark.parametrize("name", ["warp", "shift", "scale"])
def test_series_augmentation_changes_every_series_differently(name):
    series = waves(n=1).repeat(16, 1, 1)
    changed = SeriesAugmentation(**{**STILL, name: 0.2})(series, generator())
    assert changed.shape == series.shape
    assert changed.dtype == series.dtype
    apart = torch.cdist(changed.flatten(1), changed.flatten(1)) > 0.1
    assert apart.sum() == 16 * 15


@pytest.mark.parametrize("length", [2, 8, 365])
def test_series_augmentation_times_rise_from_the_first_to_the_last(length):
    times = SeriesAugmentation(warp=1.0, shift=0.0).times(40, length, generator())
    assert (times.diff(dim=1) > 0).all()
    torch.testing.assert_close(times[:, 0], torch.zeros(40))
    torch.testing.assert_close(times[:, -1], torch.full((40,), length - 1.0))


def test_series_augmentation_times_stay_inside_when_shifted():
    times = SeriesAugmentation(warp=0.0, shift=0.3).times(200, 100, generator())
    assert times.min() == 0
    assert times.max() == 99
    middle = times[:, 50] - 50  # unwarped, and inside
    assert 25 < middle.max() <= 30
    assert -30 <= middle.min() < -25


def test_series_augmentation_warps_all_channels_alike():
    series = waves(channels=1).repeat(1, 3, 1)
    changed = SeriesAugmentation(scale=0.0)(series, generator())
    torch.testing.assert_close(changed[:, 0], changed[:, 2])


def test_series_augmentation_scales_channels_by_factors_about_one():
    series = torch.ones(2000, 2, 10)
    factors = SeriesAugmentation(warp=0.0, shift=0.0, scale=0.3)(series, generator())[..., 0].log()
    assert factors.mean().abs() < 0.03
    assert factors.std() == pytest.approx(0.3, rel=0.05)
    assert torch.corrcoef(factors.T)[0, 1].abs() < 0.1


def test_series_augmentation_draws_from_the_generator_alone():
    augmentation = SeriesAugmentation()
    before = torch.get_rng_state()
    first = augmentation(waves(), generator(1))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first, augmentation(waves(), generator(1)))
    assert not torch.equal(first, augmentation(waves(), generator(2)))


def test_series_augmentation_does_not_change_its_input():
    series = waves()
    SeriesAugmentation()(series, generator())
    assert torch.equal(series, waves())
