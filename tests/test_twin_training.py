"""Training: what `train` returns, what ends it early, and what it warns of."""

import math
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback, EarlyStopping, LRScheduler, ProgressBar
from torch import nn

from sksiamese.twin.batches import ClassBatches, PairBatches
from sksiamese.twin.encoders import build_encoder, feature_shape
from sksiamese.twin.heads import WeightedL1
from sksiamese.twin.inference import encode
from sksiamese.twin.network import TwinNetwork
from sksiamese.twin.optimizers import Muon
from sksiamese.twin.scaling import InputScaling
from sksiamese.twin.training import (
    Averaging,
    CollapseWarning,
    CosineSchedule,
    OneShotValidation,
    StopTraining,
    has_collapsed,
    supports_bfloat16,
    train,
)

N_CLASSES, N_DRAWINGS = 6, 5
LABELS = np.repeat(np.arange(N_CLASSES), N_DRAWINGS)
SHAPES = {"mlp": (10,), "conv": (1, 8, 8)}


class Store:
    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def take(self, indices):
        return self.images[torch.as_tensor(np.asarray(indices))]


def store_of(shape, seed=0):
    """Noisy drawings of one random prototype a class."""
    generator = torch.Generator().manual_seed(seed)
    prototypes = torch.randn(N_CLASSES, *shape, generator=generator)
    noise = torch.randn(len(LABELS), *shape, generator=generator)
    return Store(prototypes[LABELS] + 0.5 * noise)


def network_of(encoder, shape):
    if isinstance(encoder, str):
        encoder = build_encoder(encoder, shape, torch.Generator().manual_seed(0))
    scaling = InputScaling(torch.tensor(0.0), torch.tensor(1.0))
    return TwinNetwork(scaling, encoder, WeightedL1(feature_shape(encoder, shape)))


def run(encoder="mlp", shape=None, seed=0, pairs=None, **params):
    """Train on the tiny problem; three batches an epoch."""
    shape = SHAPES.get(encoder, SHAPES["mlp"]) if shape is None else shape
    network = params.pop("network", None) or network_of(encoder, shape)
    store = store_of(shape)
    if pairs is None:
        groups = np.zeros_like(LABELS)
        batches = ClassBatches(store, network.scaling, LABELS, groups, (1, 6, 2), (0,), None, seed)
    else:
        batches = PairBatches(store, network.scaling, pairs, 10, None, seed)
    params = {
        "loss": "both",
        "max_iter": 4,
        "learning_rate": 1e-2,
        "weight_decay": 1e-3,
        "averaging": 0.9,
        "bfloat16": False,
        "device": "cpu",
        **params,
    }
    return train(network, batches, **params)


def weights(network):
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class Spy(Callback):
    """Keeps the raw weights of each step, of the end, and the optimizer."""

    def on_train_begin(self, net, **kwargs):
        self.steps = []
        self.rates = []
        self.optimizer = net.optimizer_

    def on_batch_end(self, net, training=False, **kwargs):
        self.steps.append(weights(net.module_))
        self.rates.append(net.optimizer_.param_groups[0]["lr"])


class Raising(Callback):
    """Raises `error` the `nth` time that `event` is notified."""

    def __init__(self, event, error, nth=1):
        self.left = nth
        self.error = error
        setattr(self, event, self.notified)

    def notified(self, net, **kwargs):
        self.left -= 1
        if self.left == 0:
            raise self.error


@pytest.mark.parametrize("encoder", SHAPES)
@pytest.mark.parametrize("loss", ["verification", "episodic", "both"])
def test_training_reduces_the_loss(encoder, loss):
    _, history, _ = run(encoder, loss=loss, max_iter=12)
    losses = [epoch["train_loss"] for epoch in history]
    assert losses[-1] < 0.5 * losses[0]


def test_training_on_pairs_reduces_the_loss():
    i, j = np.triu_indices(len(LABELS), 1)
    pairs = np.stack([i, j, LABELS[i] == LABELS[j]], axis=1).astype(np.int64)
    _, history, _ = run(pairs=np.random.default_rng(0).permutation(pairs)[:60], max_iter=12)
    assert history[-1]["train_loss"] < 0.5 * history[0]["train_loss"]


def test_the_trained_twin_tells_its_classes_apart():
    network, _, _ = run(max_iter=12)
    codes = encode(network, store_of(SHAPES["mlp"]))
    same = torch.from_numpy(LABELS[:, None] == LABELS)
    logits = network.head.logits(codes, codes)
    assert logits[same].mean() > 0 > logits[~same].mean()


@pytest.mark.parametrize("encoder", SHAPES)
def test_the_same_seed_gives_the_same_bits(encoder):
    torch.manual_seed(1)
    first, first_history, _ = run(encoder, seed=3)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    again, again_history, _ = run(encoder, seed=3)
    assert torch.equal(before, torch.get_rng_state())  # no global generator is moved
    assert equal(weights(first), weights(again))
    assert [e["train_loss"] for e in first_history] == [e["train_loss"] for e in again_history]
    assert not equal(weights(first), weights(run(encoder, seed=4)[0]))


def test_the_network_comes_back_ready_for_prediction():
    network, _, interrupted = run("conv")
    assert not interrupted
    assert not any(module.training for module in network.modules())
    assert not any(p.requires_grad or p.device.type != "cpu" for p in network.parameters())


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


def test_early_stopping_of_skorch_is_no_interruption():
    """skorch stops by raising KeyboardInterrupt."""
    last = Raising("on_epoch_end", None, nth=-1)
    impatient = EarlyStopping(monitor="train_loss", patience=2, threshold=1e9)
    _, history, interrupted = run(callbacks=[impatient, last], max_iter=9)
    assert not interrupted
    assert len(history) == 3
    assert last.left == -1 - 3  # callbacks after it saw every epoch end


def test_skorch_s_progress_bar_counts_the_batches():
    bar = ProgressBar(detect_notebook=False)
    _, history, _ = run(callbacks=[bar], max_iter=2)
    assert bar.pbar_.n == bar.pbar_.total == 3
    assert "train_loss=" in bar.pbar_.postfix
    assert "batches" not in history[0]


def test_a_single_step_already_learns():
    network = network_of("mlp", SHAPES["mlp"])
    before = weights(network)
    pairs = np.array([[0, 1, 1], [0, 9, 0], [1, 20, 0]])
    trained, _, _ = run(network=network, pairs=pairs, max_iter=1)
    assert not torch.equal(weights(trained)["head.log_weight"], before["head.log_weight"])


def test_history_has_one_dict_an_epoch():
    _, history, _ = run(max_iter=3)
    assert [type(epoch) for epoch in history] == [dict] * 3
    assert [epoch["epoch"] for epoch in history] == [1, 2, 3]
    assert all(math.isfinite(epoch["train_loss"]) for epoch in history)
    assert not any("one_shot_accuracy" in epoch for epoch in history)


def test_history_holds_the_mean_loss_of_the_batches():
    losses = []

    class Losses(Callback):
        def on_batch_end(self, net, loss=None, **kwargs):
            losses.append(loss.item())

    _, history, _ = run(max_iter=2, callbacks=[Losses()])
    assert history[0]["train_loss"] == pytest.approx(np.mean(losses[:3]))
    assert history[1]["train_loss"] == pytest.approx(np.mean(losses[3:]))


def trials_of(n_trials=5, seed=0):
    """Supports and queries, one different drawing of each class."""
    rng = np.random.default_rng(seed)
    trials = []
    for _ in range(n_trials):
        two = np.array([rng.choice(N_DRAWINGS, 2, replace=False) for _ in range(N_CLASSES)])
        first = np.arange(N_CLASSES) * N_DRAWINGS
        support, query = first + two[:, 0], first + two[:, 1]
        trials.append((rng.permutation(support), rng.permutation(query)))
    return trials


def validation(patience):
    return store_of(SHAPES["mlp"]), trials_of(), LABELS, patience


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


def test_ctrl_c_keeps_the_twin_trained_so_far():
    spy = Spy()
    interrupt = Raising("on_batch_end", KeyboardInterrupt(), nth=5)
    network, history, interrupted = run(callbacks=[spy, interrupt], averaging=0.0)
    assert interrupted
    assert len(spy.steps) == 5
    assert equal(weights(network), spy.steps[-1])
    assert not network.training
    assert encode(network, store_of(SHAPES["mlp"])).isfinite().all()
    assert [math.isfinite(epoch["train_loss"]) for epoch in history] == [True]  # whole epochs


def test_ctrl_c_keeps_the_best_weights_under_early_stopping(monkeypatch):
    seen, scores = [], iter([0.1, 0.9, 0.2])
    monkeypatch.setattr(
        OneShotValidation,
        "accuracy",
        lambda self, network: seen.append(weights(network)) or next(scores),
    )
    interrupt = Raising("on_epoch_end", KeyboardInterrupt(), nth=3)
    network, _, interrupted = run(callbacks=[interrupt], validation=validation(9))
    assert interrupted
    assert equal(weights(network), seen[1])


@pytest.mark.parametrize("event", ["on_train_begin", "on_epoch_begin", "on_batch_begin"])
def test_ctrl_c_before_the_first_step_is_raised(event):
    with pytest.raises(KeyboardInterrupt):
        run(callbacks=[Raising(event, KeyboardInterrupt())])


def test_a_callback_can_stop_training_and_keep_what_was_learned():
    spy = Spy()
    stop = Raising("on_epoch_end", StopTraining(), nth=2)
    network, history, interrupted = run(callbacks=[spy, stop], max_iter=9, averaging=0.0)
    assert not interrupted
    assert len(history) == 2
    assert equal(weights(network), spy.steps[-1]) and len(spy.steps) == 6


def test_training_tells_callbacks_that_it_has_ended():
    """Also when it is stopped: progress bars close here."""
    for stop in (Callback(), Raising("on_epoch_end", StopTraining())):
        ended = Raising("on_train_end", ZeroDivisionError())
        with pytest.raises(ZeroDivisionError):
            run(callbacks=[stop, ended])


def test_other_errors_of_callbacks_are_raised():
    with pytest.raises(ZeroDivisionError):
        run(callbacks=[Raising("on_epoch_end", ZeroDivisionError())])


@pytest.mark.parametrize("loss", ["verification", "episodic", "both"])
def test_divergence_is_an_error_that_names_the_learning_rate(loss):
    with pytest.raises(FloatingPointError, match="learning_rate"):
        run("conv", loss=loss, learning_rate=1e30, weight_decay=0.0)


class Constant(nn.Module):
    """An encoder that sees nothing."""

    def __init__(self):
        super().__init__()
        self.value = nn.Parameter(torch.ones(4))

    def forward(self, x):
        return self.value.expand(len(x), -1)


def test_a_collapsed_twin_raises_a_warning_that_says_what_to_do():
    """Mistake 6."""
    with pytest.warns(CollapseWarning, match="Lower learning_rate, train longer"):
        network, _, _ = run(Constant(), SHAPES["mlp"])
    assert has_collapsed(network, store_of(SHAPES["mlp"]))


def test_a_healthy_twin_raises_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network, _, _ = run("conv")
    assert not has_collapsed(network, store_of(SHAPES["conv"]))


def test_net_params_reach_skorch():
    spy = Spy()
    run(
        callbacks=[spy],
        weight_decay=0.125,
        net_params={"optimizer": torch.optim.SGD, "optimizer__momentum": 0.5},
    )
    assert isinstance(spy.optimizer, torch.optim.SGD)
    assert spy.optimizer.defaults["momentum"] == 0.5
    assert spy.optimizer.defaults["weight_decay"] == 0.125


def test_the_default_optimizer_is_adamw_with_the_weight_decay():
    spy = Spy()
    run(callbacks=[spy], weight_decay=0.25)
    assert isinstance(spy.optimizer, torch.optim.AdamW)
    assert spy.optimizer.defaults["weight_decay"] == 0.25


def test_muon_learns_and_keeps_the_schedule():
    spy = Spy()
    _, history, _ = run("conv", callbacks=[spy], optimizer="muon", max_iter=12)
    assert isinstance(spy.optimizer, Muon)
    losses = [epoch["train_loss"] for epoch in history]
    assert losses[-1] < 0.5 * losses[0]
    assert spy.rates[-1] < 0.1 * max(spy.rates)


def test_gradients_are_cut_at_norm_five():
    norms = []

    class Norms(Callback):
        def on_batch_end(self, net, **kwargs):
            gradients = [p.grad.flatten() for p in net.module_.parameters()]
            norms.append(torch.cat(gradients).norm().item())

    network = network_of("mlp", SHAPES["mlp"])
    with torch.no_grad():
        network.head.log_weight.add_(8)  # huge distances, huge gradients
    run(network=network, callbacks=[Norms()], max_iter=1, learning_rate=1e-6)
    assert norms == pytest.approx([5.0] * 3, rel=1e-3)


@pytest.mark.parametrize("bfloat16", [False, True])
def test_bfloat16_is_for_the_layers_alone(bfloat16):
    network = network_of("conv", SHAPES["conv"])
    seen = set()
    handle = network.encoder.layers[0].conv.register_forward_hook(
        lambda module, _, out: seen.add(out.dtype) if module.training else None
    )
    trained, history, _ = run("conv", network=network, bfloat16=bfloat16, max_iter=12)
    handle.remove()
    assert seen == {torch.bfloat16 if bfloat16 else torch.float32}
    assert all(p.dtype == torch.float32 for p in trained.parameters())
    assert history[-1]["train_loss"] < 0.5 * history[0]["train_loss"]


@pytest.mark.parametrize(
    "capabilities, expected",
    [
        ({"avx512_bf16": True, "amx_bf16": False}, True),
        ({"avx512_bf16": False, "amx_bf16": True}, True),
        ({"avx512_bf16": False, "amx_bf16": False, "avx512_f": True}, False),
        ({"architecture": "aarch64"}, False),
    ],
)
def test_bfloat16_is_for_cpus_that_have_it(monkeypatch, capabilities, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert supports_bfloat16("cpu") is expected


def test_bfloat16_is_not_assumed_where_torch_cannot_tell(monkeypatch):
    """torch before 2.6 or so has no `torch.cpu.get_capabilities`."""
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert supports_bfloat16("cpu") is False


def test_bfloat16_is_not_for_devices_of_another_kind():
    assert supports_bfloat16("meta") is False


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
