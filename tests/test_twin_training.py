"""Training: what `train` returns, what ends it early, and what it warns of."""

import math
import warnings

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback, EarlyStopping, ProgressBar
from torch import nn
from training_runs import (
    LABELS,
    SHAPES,
    Raising,
    Spy,
    equal,
    identity_scaling,
    network_of,
    run,
    store_of,
    validation_of,
    weights,
)

from sksiamese.exceptions import CollapseWarning
from sksiamese.twin import training
from sksiamese.twin.batches import ClassBatches
from sksiamese.twin.callbacks import OneShotValidation, StopTraining
from sksiamese.twin.inference import NeuralComparer
from sksiamese.twin.optimizers import Muon
from sksiamese.twin.training import has_collapsed, supports_bfloat16


def logits_of(network, shape):
    """Return the logits of all pairs of training samples, as prediction computes them."""
    comparer = NeuralComparer(network, identity_scaling(shape))
    embeddings = comparer.embed(store_of(shape), check=False)
    return comparer.logits(embeddings, embeddings)


def batches_of(shape):
    groups = np.zeros_like(LABELS)
    scaling = identity_scaling(shape)
    return ClassBatches(store_of(shape), scaling, LABELS, groups, (1, 6, 2), (0,), None, 0)


@pytest.mark.parametrize("encoder", SHAPES)
@pytest.mark.parametrize("loss", ["verification", "episodic", "both"])
def test_train_reduces_the_loss(encoder, loss):
    _, history, _ = run(encoder, loss=loss, max_iter=12)
    losses = [epoch["train_loss"] for epoch in history]
    assert losses[-1] < 0.5 * losses[0]


def test_train_on_pairs_reduces_the_loss():
    i, j = np.triu_indices(len(LABELS), 1)
    pairs = np.stack([i, j, LABELS[i] == LABELS[j]], axis=1).astype(np.int64)
    _, history, _ = run(pairs=np.random.default_rng(0).permutation(pairs)[:60], max_iter=12)
    assert history[-1]["train_loss"] < 0.5 * history[0]["train_loss"]


def test_train_separates_the_classes():
    network, _, _ = run(max_iter=12)
    same = LABELS[:, None] == LABELS
    logits = logits_of(network, SHAPES["mlp"])
    assert logits[same].mean() > 0 > logits[~same].mean()


@pytest.mark.parametrize("encoder", SHAPES)
def test_train_with_the_same_seed_gives_the_same_bits(encoder):
    torch.manual_seed(1)
    first, first_history, _ = run(encoder, seed=3)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    again, again_history, _ = run(encoder, seed=3)
    assert torch.equal(before, torch.get_rng_state())  # no global generator is moved
    assert equal(weights(first), weights(again))
    assert [e["train_loss"] for e in first_history] == [e["train_loss"] for e in again_history]
    assert not equal(weights(first), weights(run(encoder, seed=4)[0]))


def test_train_returns_a_network_ready_for_prediction():
    network, _, interrupted = run("conv")
    assert not interrupted
    assert not any(module.training for module in network.modules())
    assert not any(p.requires_grad or p.device.type != "cpu" for p in network.parameters())


def test_train_does_not_take_early_stopping_of_skorch_for_ctrl_c():
    """skorch stops by raising KeyboardInterrupt."""
    last = Raising("on_epoch_end", None, nth=-1)
    impatient = EarlyStopping(monitor="train_loss", patience=2, threshold=1e9)
    _, history, interrupted = run(callbacks=[impatient, last], max_iter=9)
    assert not interrupted
    assert len(history) == 3
    assert last.left == -1 - 3  # callbacks after it are told of every epoch


def test_train_tells_skorch_s_progress_bar_of_every_batch():
    bar = ProgressBar(detect_notebook=False)
    run(callbacks=[bar], max_iter=2)
    assert bar.pbar_.n == bar.pbar_.total == 3
    assert "train_loss=" in bar.pbar_.postfix


def test_train_learns_from_a_single_step():
    network = network_of("mlp", SHAPES["mlp"])
    before = weights(network)
    pairs = np.array([[0, 1, 1], [0, 9, 0], [1, 20, 0]])
    trained, _, _ = run(network=network, pairs=pairs, max_iter=1)
    assert not torch.equal(weights(trained)["head.log_weight"], before["head.log_weight"])


def test_train_history_has_one_dict_an_epoch():
    _, history, _ = run(max_iter=3)
    assert [type(epoch) for epoch in history] == [dict] * 3
    assert [epoch["epoch"] for epoch in history] == [1, 2, 3]
    assert all(math.isfinite(epoch["train_loss"]) for epoch in history)
    assert not any({"one_shot_accuracy", "batches"} & epoch.keys() for epoch in history)


def test_train_history_holds_the_mean_loss_of_the_batches():
    losses = []

    class Losses(Callback):
        def on_batch_end(self, net, loss=None, **kwargs):
            losses.append(loss.item())

    _, history, _ = run(max_iter=2, callbacks=[Losses()])
    assert history[0]["train_loss"] == pytest.approx(np.mean(losses[:3]))
    assert history[1]["train_loss"] == pytest.approx(np.mean(losses[3:]))


def test_train_returns_what_it_learned_before_ctrl_c():
    spy = Spy()
    interrupt = Raising("on_batch_end", KeyboardInterrupt(), nth=5)
    network, history, interrupted = run(callbacks=[spy, interrupt], ema_decay=0.0)
    assert interrupted
    assert len(spy.steps) == 5
    assert equal(weights(network), spy.steps[-1])
    assert not network.training
    assert np.isfinite(logits_of(network, SHAPES["mlp"])).all()
    assert [math.isfinite(epoch["train_loss"]) for epoch in history] == [True]  # whole epochs


def test_train_returns_the_best_weights_before_ctrl_c(monkeypatch):
    seen, scores = [], iter([0.1, 0.9, 0.2])
    monkeypatch.setattr(
        OneShotValidation,
        "accuracy",
        lambda self, network: seen.append(weights(network)) or next(scores),
    )
    interrupt = Raising("on_epoch_end", KeyboardInterrupt(), nth=3)
    network, _, interrupted = run(callbacks=[interrupt], validation=validation_of(9))
    assert interrupted
    assert equal(weights(network), seen[1])


def test_train_returns_the_network_if_ctrl_c_comes_after_the_last_epoch(monkeypatch):
    def has_collapsed(network, batches):
        raise KeyboardInterrupt

    expected, _, _ = run()
    monkeypatch.setattr(training, "has_collapsed", has_collapsed)
    network, history, interrupted = run()
    assert interrupted
    assert len(history) == 4
    assert equal(weights(network), weights(expected))


@pytest.mark.parametrize("event", ["on_train_begin", "on_epoch_begin", "on_batch_begin"])
def test_train_raises_ctrl_c_before_the_first_step(event):
    with pytest.raises(KeyboardInterrupt):
        run(callbacks=[Raising(event, KeyboardInterrupt())])


def test_train_ends_when_a_callback_raises_stop_training():
    spy = Spy()
    stop = Raising("on_epoch_end", StopTraining(), nth=2)
    network, history, interrupted = run(callbacks=[spy, stop], max_iter=9, ema_decay=0.0)
    assert not interrupted
    assert len(history) == 2
    assert len(spy.steps) == 6
    assert equal(weights(network), spy.steps[-1])


def test_train_tells_callbacks_that_it_has_ended():
    """Also when it is stopped."""
    for stop in (Callback(), Raising("on_epoch_end", StopTraining())):
        ended = Raising("on_train_end", ZeroDivisionError())
        with pytest.raises(ZeroDivisionError):
            run(callbacks=[stop, ended])


def test_train_raises_other_errors_of_callbacks():
    with pytest.raises(ZeroDivisionError):
        run(callbacks=[Raising("on_epoch_end", ZeroDivisionError())])


class Constant(nn.Module):
    """An encoder that ignores its input."""

    def __init__(self):
        super().__init__()
        self.value = nn.Parameter(torch.ones(4))

    def forward(self, x):
        return self.value.expand(len(x), -1)


def test_train_warns_of_a_collapsed_network_and_says_what_to_do():
    """Mistake 6."""
    with pytest.warns(CollapseWarning, match="Lower learning_rate, train longer"):
        network, _, _ = run(Constant(), SHAPES["mlp"])
    assert has_collapsed(network, batches_of(SHAPES["mlp"]))


def test_train_does_not_warn_of_a_network_that_learned():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network, _, _ = run("conv")
    assert not has_collapsed(network, batches_of(SHAPES["conv"]))


@pytest.mark.parametrize(
    ("name", "optimizer"),
    [
        ("adamw", torch.optim.AdamW),
        ("adam", torch.optim.Adam),
        ("sgd", torch.optim.SGD),
        ("muon", Muon),
        (torch.optim.RMSprop, torch.optim.RMSprop),
    ],
)
def test_train_takes_an_optimizer_by_name_or_class(name, optimizer):
    spy = Spy()
    _, history, _ = run(callbacks=[spy], optimizer=name, weight_decay=0.125, max_iter=8)
    assert type(spy.optimizer) is optimizer
    assert spy.optimizer.defaults["weight_decay"] == 0.125
    assert history[-1]["train_loss"] < history[0]["train_loss"]


def test_train_passes_optimizer_params():
    spy = Spy()
    params = {"momentum": 0.5, "weight_decay": 0.25, "param_groups": [("head.*", {"lr": 0.5})]}
    run(callbacks=[spy], optimizer="sgd", optimizer_params=params)
    groups = spy.optimizer.param_groups
    assert [group["momentum"] for group in groups] == [0.5, 0.5]
    assert [group["weight_decay"] for group in groups] == [0.25, 0.25]  # before weight_decay=
    assert spy.rates[0] == pytest.approx(0.5)


def test_train_passes_net_params():
    norms = []

    class Norms(Callback):
        def on_batch_end(self, net, **kwargs):
            norms.append(torch.cat([p.grad.flatten() for p in net.module_.parameters()]).norm())

    run(callbacks=[Norms()], net_params={"callbacks__clip": None}, network=with_huge_distances())
    assert norms[0] > 100


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer_params": {"no_such_option": 1}},
        {"optimizer": "sgd", "optimizer_params": {"momentum": -1.0}},
        {"net_params": {"no_such_option": 1}},
    ],
)
def test_train_names_parameters_that_cannot_be_used(options):
    name, value = list(options.items())[-1]
    with pytest.raises((TypeError, ValueError), match=f"{name}={value!r} cannot be used: "):
        run(**options)


def test_train_with_muon_learns_and_keeps_the_schedule():
    spy = Spy()
    _, history, _ = run("conv", callbacks=[spy], optimizer="muon", max_iter=12)
    losses = [epoch["train_loss"] for epoch in history]
    assert losses[-1] < 0.5 * losses[0]
    assert spy.rates[-1] < 0.1 * max(spy.rates)


def with_huge_distances():
    """Return a network with huge distances, and so huge gradients."""
    network = network_of("mlp", SHAPES["mlp"])
    with torch.no_grad():
        network.head.log_weight.add_(8)
    return network


def test_train_clips_gradients_at_norm_5():
    norms = []

    class Norms(Callback):
        def on_batch_end(self, net, **kwargs):
            gradients = [p.grad.flatten() for p in net.module_.parameters()]
            norms.append(torch.cat(gradients).norm().item())

    run(network=with_huge_distances(), callbacks=[Norms()], max_iter=1, learning_rate=1e-6)
    assert norms == pytest.approx([5.0] * 3, rel=1e-3)


@pytest.mark.parametrize("bfloat16", [False, True])
def test_train_in_bfloat16_keeps_weights_and_loss_in_float32(bfloat16):
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
    ("capabilities", "expected"),
    [
        ({"avx512_bf16": True, "amx_bf16": False}, True),
        ({"avx512_bf16": False, "amx_bf16": True}, True),
        ({"avx512_bf16": False, "amx_bf16": False, "avx512_f": True}, False),
        ({"architecture": "aarch64"}, False),
    ],
)
def test_supports_bfloat16_on_cpus_that_have_it(monkeypatch, capabilities, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert supports_bfloat16("cpu") is expected


def test_supports_bfloat16_is_false_where_torch_cannot_tell(monkeypatch):
    """Older torch has no `torch.cpu.get_capabilities`."""
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert supports_bfloat16("cpu") is False


def test_supports_bfloat16_is_false_on_other_devices():
    assert supports_bfloat16("meta") is False
