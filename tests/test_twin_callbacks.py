"""Callbacks of training: the schedule, averaged weights, one-shot validation, divergence."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback, LRScheduler
from torch import nn
from training_runs import (
    LABELS,
    N_CLASSES,
    SHAPES,
    Spy,
    equal,
    network_of,
    run,
    store_of,
    trials_of,
    validation,
    weights,
)

from sksiamese.twin.callbacks import Averaging, CosineSchedule, OneShotValidation


def rates(learning_rate, n_steps, warmup=0.02):
    schedule = CosineSchedule(n_steps, warmup)
    groups = [{"lr": learning_rate}, {"lr": 3 * learning_rate}]
    net = SimpleNamespace(optimizer_=SimpleNamespace(param_groups=groups))
    schedule.on_train_begin(net)
    came = []
    for _ in range(n_steps):
        schedule.on_batch_begin(net, training=True)
        first, second = net.optimizer_.param_groups
        assert second["lr"] == pytest.approx(3 * first["lr"])
        came.append(first["lr"])
    return came


def test_the_learning_rate_rises_then_falls_along_half_a_cosine():
    came = rates(0.5, 1000)
    expected = [
        0.5 * min(1, (step + 1) / 20) * (1 + math.cos(math.pi * step / 1000)) / 2
        for step in range(1000)
    ]
    assert came == pytest.approx(expected)
    assert came[0] == pytest.approx(0.5 / 20)
    assert max(came) == pytest.approx(0.5, rel=0.01)
    assert came.index(max(came)) == 19
    assert came[500] == pytest.approx(0.25)
    assert 0 < came[-1] < 1e-5
    assert all(a > b for a, b in zip(came[19:], came[20:], strict=False))


def test_training_follows_the_schedule():
    spy = Spy()
    run(callbacks=[spy], max_iter=4, learning_rate=0.02)
    assert len(spy.rates) == 12
    assert spy.rates == pytest.approx(rates(0.02, 12))


def test_parameter_groups_keep_their_own_rates():
    spy = Spy()
    still = {"optimizer__param_groups": [("encoder.*", {"lr": 0.0})]}
    network = network_of("mlp", SHAPES["mlp"])
    before = weights(network)
    run(network=network, callbacks=[spy], net_params=still)
    for name, value in before.items():
        if name.startswith("encoder") and "running" not in name and "num_batches" not in name:
            assert torch.equal(spy.steps[-1][name], value)
    assert not torch.equal(spy.steps[-1]["head.log_weight"], before["head.log_weight"])


@pytest.mark.parametrize("wrap", [lambda callback: callback, lambda callback: ("mine", callback)])
def test_a_schedule_of_the_user_s_takes_the_place_of_ours(wrap):
    spy = Spy()
    schedule = LRScheduler(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.5)
    run(callbacks=[spy, wrap(schedule)], max_iter=3, learning_rate=0.02)
    assert spy.rates == pytest.approx([0.02] * 3 + [0.01] * 3 + [0.005] * 3)


def test_the_weights_are_averaged():
    spy = Spy()
    network, _, _ = run(callbacks=[spy], averaging=0.9)
    average = spy.steps[0]["head.log_weight"]
    for n, step in enumerate(spy.steps[1:], start=1):
        decay = min(0.9, (1 + n) / (10 + n))  # a short memory at first
        average = decay * average + (1 - decay) * step["head.log_weight"]
    torch.testing.assert_close(network.head.log_weight, average)
    assert not torch.equal(network.head.log_weight, spy.steps[-1]["head.log_weight"])


def test_running_statistics_are_averaged_too():
    spy = Spy()
    network, _, _ = run(callbacks=[spy])
    name = "encoder.layers.1.running_mean"
    seen = torch.stack([step[name] for step in spy.steps])
    assert not torch.equal(weights(network)[name], seen[-1])
    assert (weights(network)[name] >= seen.min(0).values - 1e-6).all()
    assert (weights(network)[name] <= seen.max(0).values + 1e-6).all()


def test_averaging_zero_returns_the_last_weights():
    spy = Spy()
    network, _, _ = run("conv", callbacks=[spy], averaging=0.0)
    assert equal(weights(network), spy.steps[-1])


def test_averaging_starts_from_the_first_step():
    module = nn.Linear(1, 1, bias=False)
    net = SimpleNamespace(module_=module)
    averaging = Averaging(0.5)
    averaging.on_train_begin(net)
    with torch.no_grad():
        module.weight.fill_(3.0)
    averaging.on_batch_end(net, training=True)
    assert averaging.model_.module.weight.item() == 3.0  # not the mean with the untrained weights
    assert module.weight.item() == 3.0


def test_one_shot_accuracy_is_that_of_each_query_by_itself():
    network = network_of("mlp", SHAPES["mlp"]).eval()
    store, trials = store_of(SHAPES["mlp"], seed=1), trials_of(20)
    store.images += 3 * torch.randn(store.images.shape, generator=torch.Generator().manual_seed(2))
    right = []
    for support, query in trials:
        for q in query:
            with torch.no_grad():
                logits = [network(store.take([q, s]))[0, 1] for s in support]
            right.append(LABELS[support[int(torch.stack(logits).argmax())]] == LABELS[q])
    validator = OneShotValidation(None, store, trials, LABELS, patience=1)
    assert validator.accuracy(network) == pytest.approx(np.mean(right))
    assert 1 / N_CLASSES < np.mean(right) < 1


def test_a_constant_scorer_scores_chance():
    """Mistake 1."""
    network = network_of("mlp", SHAPES["mlp"]).eval()
    with torch.no_grad():
        network.head.log_weight.fill_(-math.inf)
    validator = OneShotValidation(None, store_of(SHAPES["mlp"]), trials_of(), LABELS, 1)
    assert validator.accuracy(network) == pytest.approx(1 / N_CLASSES)


@pytest.mark.parametrize(
    "scores, patience, best, n_epochs",
    [
        ([0.1, 0.5, 0.3, 0.2, 0.9], 2, 2, 4),  # stops before the 0.9
        ([0.5, 0.5, 0.5, 0.5, 0.5], 3, 1, 4),  # the same again is no improvement
        ([0.1, 0.2, 0.3, 0.4, 0.5], 1, 5, 5),
        ([0.3, 0.1, 0.4, 0.2, 0.2], 9, 3, 5),  # never stops, yet the best is kept
        ([0.0, 0.0, 0.0, 0.0, 0.0], 1, 1, 2),
    ],
)
def test_early_stopping_restores_the_best_weights(monkeypatch, scores, patience, best, n_epochs):
    seen = []

    def score(self, network):
        assert not network.training
        seen.append(weights(network))
        return scores[len(seen) - 1]

    monkeypatch.setattr(OneShotValidation, "accuracy", score)
    network, history, interrupted = run(validation=validation(patience), max_iter=5)
    assert [epoch["one_shot_accuracy"] for epoch in history] == scores[:n_epochs]
    assert equal(weights(network), seen[best - 1])
    assert not any(equal(seen[best - 1], other) for other in seen[: best - 1] + seen[best:])
    assert not interrupted


def test_callbacks_see_every_epoch_with_its_score_to_the_end(monkeypatch):
    """Also the last one under early stopping: progress bars count epochs."""
    monkeypatch.setattr(OneShotValidation, "accuracy", lambda self, network: 0.5)
    seen = []

    class Progress(Callback):
        def on_epoch_end(self, net, **kwargs):
            seen.append(net.history[-1]["one_shot_accuracy"])

    _, history, _ = run(callbacks=[Progress()], validation=validation(patience=2), max_iter=9)
    assert seen == [0.5] * len(history) == [0.5] * 3


def test_validation_scores_the_averaged_weights():
    network, history, _ = run(validation=validation(patience=9), max_iter=1)
    validator = OneShotValidation(None, *validation(patience=9))
    assert history[0]["one_shot_accuracy"] == validator.accuracy(network)


def test_validation_does_not_change_the_training():
    plain, with_validation = Spy(), Spy()
    run(callbacks=[plain])
    run(callbacks=[with_validation], validation=validation(patience=9))
    assert all(equal(a, b) for a, b in zip(plain.steps, with_validation.steps, strict=True))


@pytest.mark.parametrize("loss", ["verification", "episodic", "both"])
def test_divergence_is_an_error_that_names_the_learning_rate(loss):
    with pytest.raises(FloatingPointError, match="learning_rate"):
        run("conv", loss=loss, learning_rate=1e30, weight_decay=0.0)
