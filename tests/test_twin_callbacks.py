"""Callbacks of training: schedules, averaged weights, validation, divergence, progress."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import tqdm.auto
from skorch.callbacks import Callback, LRScheduler
from torch import nn
from training_runs import (
    LABELS,
    N_CLASSES,
    SHAPES,
    ArrayStore,
    Raising,
    Spy,
    episodes_of,
    equal,
    identity_scaling,
    network_of,
    run,
    store_of,
    validation_of,
    weights,
)

import sksiamese.callbacks
from sksiamese.exceptions import DivergedError
from sksiamese.twin.callbacks import (
    CosineSchedule,
    MomentumRamp,
    OneShotValidation,
    StopTraining,
    WeightAverage,
)


@pytest.mark.parametrize("callback", [MomentumRamp, StopTraining])
def test_callbacks_are_exported(callback):
    assert getattr(sksiamese.callbacks, callback.__name__) is callback


def rates(learning_rate, n_steps, warmup=0.02):
    schedule = CosineSchedule(n_steps, warmup)
    groups = [{"lr": learning_rate}, {"lr": 3 * learning_rate}]
    net = SimpleNamespace(optimizer_=SimpleNamespace(param_groups=groups))
    schedule.on_train_begin(net)
    seen = []
    for _ in range(n_steps):
        schedule.on_batch_begin(net, training=True)
        first, second = net.optimizer_.param_groups
        assert second["lr"] == pytest.approx(3 * first["lr"])
        seen.append(first["lr"])
    return seen


def test_cosine_schedule_rises_then_falls_along_half_a_cosine():
    seen = rates(0.5, 1000)
    expected = [
        0.5 * min(1, (step + 1) / 20) * (1 + math.cos(math.pi * step / 1000)) / 2
        for step in range(1000)
    ]
    assert seen == pytest.approx(expected)
    assert seen[0] == pytest.approx(0.5 / 20)
    assert max(seen) == pytest.approx(0.5, rel=0.01)
    assert seen.index(max(seen)) == 19
    assert seen[500] == pytest.approx(0.25)
    assert 0 < seen[-1] < 1e-5
    assert all(a > b for a, b in zip(seen[19:], seen[20:], strict=False))


def test_train_follows_the_cosine_schedule():
    spy = Spy()
    run(callbacks=[spy], max_iter=4, learning_rate=0.02)
    assert len(spy.rates) == 12
    assert spy.rates == pytest.approx(rates(0.02, 12))


def test_train_keeps_the_rates_of_parameter_groups():
    spy = Spy()
    network = network_of("mlp", SHAPES["mlp"])
    before = weights(network)
    still = {"param_groups": [("encoder.*", {"lr": 0.0})]}
    run(network=network, callbacks=[spy], optimizer_params=still)
    for name, _ in network.encoder.named_parameters(prefix="encoder"):
        assert torch.equal(spy.steps[-1][name], before[name])
    assert not torch.equal(spy.steps[-1]["head.log_weight"], before["head.log_weight"])


@pytest.mark.parametrize("wrap", [lambda callback: callback, lambda callback: ("mine", callback)])
def test_train_replaces_the_cosine_schedule_by_an_lr_scheduler(wrap):
    spy = Spy()
    schedule = LRScheduler(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.5)
    run(callbacks=[spy, wrap(schedule)], max_iter=3, learning_rate=0.02)
    assert spy.rates == pytest.approx([0.02] * 3 + [0.01] * 3 + [0.005] * 3)


class Momenta(Callback):
    """Keeps the momentum of every parameter group at each epoch's end."""

    def on_train_begin(self, net, **kwargs):
        self.seen = []

    def on_epoch_end(self, net, **kwargs):
        self.seen.append([group["momentum"] for group in net.optimizer_.param_groups])


def test_momentum_ramp_rises_linearly_to_each_groups_own_momentum():
    momenta = Momenta()
    params = {"momentum": 0.9, "param_groups": [("head.*", {"momentum": 0.7})]}
    run(
        optimizer="sgd",
        optimizer_params=params,
        callbacks=[MomentumRamp(n_epochs=4), momenta],
        max_iter=6,
    )
    expected = [(0.5, 0.5), (0.55, 0.6), (0.6, 0.7), (0.65, 0.8), (0.7, 0.9), (0.7, 0.9)]
    np.testing.assert_allclose(momenta.seen, expected)


def test_weight_average_is_the_moving_average_of_the_steps():
    spy = Spy()
    network, _, _ = run(callbacks=[spy], ema_decay=0.9)
    average = spy.steps[0]["head.log_weight"]
    for n, step in enumerate(spy.steps[1:], start=1):
        decay = min(0.9, (1 + n) / (10 + n))  # a short memory at first
        average = decay * average + (1 - decay) * step["head.log_weight"]
    torch.testing.assert_close(network.head.log_weight, average)
    assert not torch.equal(network.head.log_weight, spy.steps[-1]["head.log_weight"])


def test_weight_average_includes_running_statistics():
    spy = Spy()
    network, _, _ = run(callbacks=[spy])
    name = "encoder.layers.1.running_mean"
    seen = torch.stack([step[name] for step in spy.steps])
    averaged = weights(network)[name]
    assert not torch.equal(averaged, seen[-1])
    assert (averaged >= seen.min(0).values - 1e-6).all()
    assert (averaged <= seen.max(0).values + 1e-6).all()


def test_weight_average_copies_integer_buffers():
    spy = Spy()
    network, _, _ = run(callbacks=[spy])
    assert weights(network)["encoder.layers.1.num_batches_tracked"] == len(spy.steps) == 12


def test_weight_average_of_decay_zero_is_the_last_step():
    spy = Spy()
    network, _, _ = run("conv", callbacks=[spy], ema_decay=0.0)
    assert equal(weights(network), spy.steps[-1])


def test_weight_average_starts_from_the_first_step():
    module = nn.Linear(1, 1, bias=False)
    net = SimpleNamespace(module_=module)
    average = WeightAverage(0.5)
    average.on_train_begin(net)
    with torch.no_grad():
        module.weight.fill_(3.0)
    average.on_batch_end(net, training=True)
    assert average.model_.module.weight.item() == 3.0  # not the mean with the untrained weights
    assert module.weight.item() == 3.0


def test_weight_average_does_not_change_the_training():
    plain, averaging = Spy(), Spy()
    run(callbacks=[plain], ema_decay=0.0)
    run(callbacks=[averaging], ema_decay=0.99)
    assert all(equal(a, b) for a, b in zip(plain.steps, averaging.steps, strict=True))


def one_shot_validation(store, episodes):
    return OneShotValidation(
        WeightAverage(0.0), identity_scaling(SHAPES["mlp"]), store, episodes, LABELS, patience=1
    )


def test_one_shot_validation_accuracy_is_that_of_each_query_by_itself():
    network = network_of("mlp", SHAPES["mlp"]).eval()
    noise = torch.randn(len(LABELS), *SHAPES["mlp"], generator=torch.Generator().manual_seed(2))
    store = ArrayStore(store_of(SHAPES["mlp"], seed=1).samples + 3 * noise)
    episodes, right = episodes_of(20), []
    for support, query in episodes:
        for q in query:
            with torch.no_grad():
                logits = [network(store.take([q, s]))[0, 1] for s in support]
            right.append(LABELS[support[int(torch.stack(logits).argmax())]] == LABELS[q])
    accuracy = one_shot_validation(store, episodes).accuracy(network)
    assert accuracy == pytest.approx(np.mean(right))
    assert 1 / N_CLASSES < accuracy < 1


def test_one_shot_validation_scores_a_constant_network_at_chance():
    """Mistake 1."""
    network = network_of("mlp", SHAPES["mlp"]).eval()
    with torch.no_grad():
        network.head.log_weight.fill_(-math.inf)
    validation = one_shot_validation(store_of(SHAPES["mlp"]), episodes_of())
    assert validation.accuracy(network) == pytest.approx(1 / N_CLASSES)


@pytest.mark.parametrize(
    ("scores", "patience", "best", "n_epochs"),
    [
        ([0.1, 0.5, 0.3, 0.2, 0.9], 2, 2, 4),  # stops before the 0.9
        ([0.5, 0.5, 0.5, 0.5, 0.5], 3, 1, 4),  # the same again is no improvement
        ([0.1, 0.2, 0.3, 0.4, 0.5], 1, 5, 5),
        ([0.3, 0.1, 0.4, 0.2, 0.2], 9, 3, 5),  # never stops, yet the best is kept
        ([0.0, 0.0, 0.0, 0.0, 0.0], 1, 1, 2),
    ],
)
def test_train_restores_the_best_weights_of_the_validation(
    monkeypatch, scores, patience, best, n_epochs
):
    seen = []

    def accuracy(self, network):
        assert not network.training
        seen.append(weights(network))
        return scores[len(seen) - 1]

    monkeypatch.setattr(OneShotValidation, "accuracy", accuracy)
    network, history, interrupted = run(validation=validation_of(patience), max_iter=5)
    assert [epoch["one_shot_accuracy"] for epoch in history] == scores[:n_epochs]
    assert equal(weights(network), seen[best - 1])
    assert not any(equal(seen[best - 1], other) for other in seen[: best - 1] + seen[best:])
    assert not interrupted


def test_train_tells_callbacks_of_every_epoch_and_its_score(monkeypatch):
    """Also of the last one under early stopping: progress bars count epochs."""
    monkeypatch.setattr(OneShotValidation, "accuracy", lambda self, network: 0.5)
    seen = []

    class Scores(Callback):
        def on_epoch_end(self, net, **kwargs):
            seen.append(net.history[-1]["one_shot_accuracy"])

    _, history, _ = run(callbacks=[Scores()], validation=validation_of(patience=2), max_iter=9)
    assert seen == [0.5] * len(history) == [0.5] * 3


def test_one_shot_validation_scores_the_averaged_weights():
    network, history, _ = run(validation=validation_of(patience=9), max_iter=1)
    validation = one_shot_validation(store_of(SHAPES["mlp"]), episodes_of())
    assert history[0]["one_shot_accuracy"] == validation.accuracy(network)


def test_one_shot_validation_does_not_change_the_training():
    plain, with_validation = Spy(), Spy()
    run(callbacks=[plain])
    run(callbacks=[with_validation], validation=validation_of(patience=9))
    assert all(equal(a, b) for a, b in zip(plain.steps, with_validation.steps, strict=True))


@pytest.mark.parametrize("loss", ["verification", "episodic", "both"])
def test_train_raises_diverged_error_that_names_the_learning_rate(loss):
    with pytest.raises(DivergedError, match=r"the loss of epoch 1 is (nan|inf).*learning_rate"):
        run("conv", loss=loss, learning_rate=1e30, weight_decay=0.0)


@pytest.fixture
def bars(monkeypatch):
    """Every tqdm bar that is opened, with what it showed."""
    opened = []

    class Bar(tqdm.auto.tqdm):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.is_open = True
            self.shown = []
            opened.append(self)

        def set_postfix(self, values, *args, **kwargs):
            self.shown.append(dict(values))
            super().set_postfix(values, *args, **kwargs)

        def close(self):
            self.is_open = False
            super().close()

    monkeypatch.setattr(tqdm.auto, "tqdm", Bar)
    return opened


def test_progress_bar_counts_the_epochs_and_shows_the_loss(bars, capsys):
    _, history, _ = run(progress="network 1 of 2")
    (bar,) = bars
    assert (bar.n, bar.total, bar.unit) == (4, 4, "epoch")
    assert [shown["loss"] for shown in bar.shown] == [f"{e['train_loss']:.3f}" for e in history]
    assert not bar.is_open
    written = capsys.readouterr()
    assert "network 1 of 2: 100%" in written.err
    assert f"loss={history[-1]['train_loss']:.3f}" in written.err
    assert not written.out


def test_progress_bar_shows_the_one_shot_accuracy(bars):
    _, history, _ = run(progress="training", validation=validation_of(patience=9), max_iter=2)
    shown = [entry["one-shot"] for entry in bars[0].shown]
    assert shown == [f"{epoch['one_shot_accuracy']:.1%}" for epoch in history]


def test_progress_bar_counts_the_last_epoch_of_early_stopping(bars, monkeypatch):
    monkeypatch.setattr(OneShotValidation, "accuracy", lambda self, network: 0.5)
    run(progress="training", validation=validation_of(patience=2), max_iter=9)
    assert bars[0].n == 3
    assert not bars[0].is_open


@pytest.mark.parametrize(
    ("event", "error", "n_epochs"),
    [
        ("on_epoch_end", StopTraining(), 2),
        ("on_batch_end", KeyboardInterrupt(), 0),
        ("on_epoch_begin", KeyboardInterrupt(), 1),
    ],
)
def test_progress_bar_closes_when_training_is_stopped(bars, event, error, n_epochs):
    run(progress="training", callbacks=[Raising(event, error, nth=2)])
    assert bars[0].n == n_epochs
    assert not bars[0].is_open


def test_progress_bar_closes_on_an_error(bars):
    with pytest.raises(ZeroDivisionError):
        run(
            progress="training",
            callbacks=[Raising("on_epoch_begin", ZeroDivisionError(), nth=2)],
        )
    assert bars[0].n == 1
    assert not bars[0].is_open


@pytest.mark.parametrize("error", [ZeroDivisionError(), KeyboardInterrupt()])
def test_progress_bar_closes_when_training_cannot_begin(bars, error):
    with pytest.raises(type(error)):
        run(progress="training", callbacks=[Raising("on_train_begin", error)])
    assert not any(bar.is_open for bar in bars)


def test_train_shows_no_progress_bar_by_default(bars, capsys):
    run()
    assert not bars
    assert capsys.readouterr() == ("", "")
