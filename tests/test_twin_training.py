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
    network_of,
    run,
    store_of,
    validation,
    weights,
)

from sksiamese.twin.callbacks import OneShotValidation, StopTraining
from sksiamese.twin.inference import encode
from sksiamese.twin.optimizers import Muon
from sksiamese.twin.training import CollapseWarning, has_collapsed, supports_bfloat16


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
