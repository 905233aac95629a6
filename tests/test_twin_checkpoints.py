"""Checkpoints: training that was cut short goes on to the same bits, and damage is noticed."""

import collections
import copy
import errno
import multiprocessing
import os
import random
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import make_table, name_of, pairs_of
from sklearn.model_selection import cross_val_score
from skorch.callbacks import Callback, EarlyStopping, EpochScoring, LRScheduler
from torch import nn
from torch.optim import lr_scheduler

from sksiamese import SiameseOneShotClassifier, SiameseVerifier
from sksiamese.callbacks import MomentumRamp, StopTraining
from sksiamese.datasets import make_glyphs
from sksiamese.exceptions import CheckpointWarning
from sksiamese.twin import checkpoints as twin_checkpoints
from sksiamese.twin.checkpoints import Checkpoints
from sksiamese.twin.trees import write_tree

KILLS = Path(__file__).parent / "long" / "kills.py"
EACH_STEP = 1e-9  # minutes


@pytest.fixture(scope="module")
def table():
    return make_table(n_classes=10, n_samples=8, n_features=8)


@pytest.fixture(scope="module")
def glyphs():
    return make_glyphs(n_classes=12, n_samples=6, random_state=0)


class Killed(BaseException):
    """Stands in for SIGKILL, which ``tests/long/kills.py`` sends."""


@pytest.fixture
def killed_after(monkeypatch):
    """Return a function: let training die after so many checkpoints; None: live."""
    write = Checkpoints.write

    def kill_after(n_written):
        left = [n_written]

        def written(self, running):
            write(self, running)
            left[0] -= 1
            if left[0] == 0:
                raise Killed

        monkeypatch.setattr(Checkpoints, "write", write if n_written is None else written)

    return kill_after


def learned(estimator):
    """Return what was learned, as something that `==` compares bit by bit."""
    fitted = estimator.fitted_
    arrays = {name: t.numpy().tobytes() for name, t in estimator.network_.state_dict().items()}
    if fitted.support is not None:
        arrays["support"] = fitted.support.embeddings.tobytes()
    history = [
        [{name: value for name, value in row.items() if name != "dur"} for row in rows]
        for rows in estimator.history_
    ]
    return arrays, history, fitted.calibration, fitted.rejection_threshold


def quick(**params):
    """Return a classifier of rows that is trained in a moment, three steps an epoch."""
    quick = {"encoder": "mlp", "encoder_params": {"n_units": 8}, "batch_size": (1, 4, 4)}
    return SiameseOneShotClassifier(**{**quick, "max_iter": 3, "random_state": 0, **params})


def newest(folder):
    return max(folder.glob("checkpoint-*"))


# Going on


class Wide(torch.optim.SGD):
    """An optimizer whose state is wider than the weights, which torch's own loading narrows."""

    @torch.no_grad()
    def step(self, closure):
        with torch.enable_grad():
            loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                state = self.state[weight]
                state.setdefault("mean", torch.zeros_like(weight, dtype=torch.float64))
                state["mean"].mul_(0.9).add_(weight.grad.double() / 3)
                weight.sub_((group["lr"] * state["mean"]).float())
        return loss


class Dropping(nn.Module):
    """An encoder with dropout, a frozen layer, and a buffer that no state_dict has."""

    def __init__(self, shape):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(shape[0], 8), nn.Dropout(0.3), nn.Linear(8, 8))
        self.layers[0].requires_grad_(False)
        self.register_buffer("n_calls", torch.zeros(()), persistent=False)

    def forward(self, x):
        if self.training:
            self.n_calls.add_(1)
        return self.layers(x) * (1 + 0.01 * self.n_calls)


class Noise(Callback):
    """Adds noise to the weights, from generators of its own, and counts."""

    def __init__(self):
        self.legacy, self.bits = np.random.RandomState(0), np.random.default_rng(0)
        self.torch, self.python = torch.Generator().manual_seed(0), random.Random(0)
        self.n_calls, self.seen = 0, collections.deque(maxlen=3)

    def on_batch_end(self, net, **kwargs):
        self.n_calls += 1
        self.seen.append(self.python.random())
        noise = torch.rand((), generator=self.torch).item() + sum(self.seen) / self.n_calls
        noise += self.legacy.uniform() + self.bits.uniform()
        with torch.no_grad():
            next(net.module_.parameters()).add_(1e-3 * noise)
        net.history.record("noise", noise)


GROUPS = [("encoder.*", {"lr": 1e-3, "momentum": 0.5}), ("head.*", {"lr": 1e-2})]


def loss_of(net, X, y=None):
    return net.history[-1]["train_loss"]


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"n_estimators": 2},
        {"early_stopping": True, "validation_fraction": 0.4, "n_iter_no_change": 1, "max_iter": 5},
        {"unknown_label": -1, "validation_fraction": 0.4},
        {"optimizer": "adam", "n_pairs": 60, "batch_size": 20},
        {"optimizer": "muon", "ema_decay": 0.0},
        {
            "optimizer": "sgd",
            "optimizer_params": {"momentum": 0.9, "param_groups": GROUPS},
            "callbacks": [LRScheduler("ExponentialLR", gamma=0.9), MomentumRamp(n_epochs=2)],
        },
        {"optimizer": Wide},
        {
            "optimizer": torch.optim.RMSprop,
            "optimizer_params": {"momentum": 0.5, "centered": True},
        },
        {"encoder": Dropping, "encoder_params": None},
        {"callbacks": [Noise(), EarlyStopping(monitor="train_loss", patience=1)]},
        {"callbacks": [EpochScoring(loss_of, name="again", on_train=True)], "max_iter": 2},
        {"precision": "bfloat16"},
        {"random_state": np.random.RandomState(5)},
    ],
    ids=lambda params: "-".join(params) or "default",
)
@pytest.mark.parametrize("minutes", [None, EACH_STEP])
def test_fit_goes_on_to_the_bits_of_an_uninterrupted_fit(
    table, tmp_path, killed_after, params, minutes
):
    whole = learned(quick(**copy.deepcopy(params)).fit(*table))
    n_killed = 0
    while True:
        # Two new checkpoints a call: the first one may only repeat the last.
        killed_after(2)
        estimator = quick(
            **copy.deepcopy(params), checkpoint_dir=tmp_path / "a", checkpoint_minutes=minutes
        )
        try:
            estimator.fit(*table)
            break
        except Killed:
            n_killed += 1
    assert n_killed >= 1
    assert learned(estimator) == whole


@pytest.mark.parametrize(
    ("policy", "params"),
    [
        ("StepLR", {"step_size": 1}),
        ("LambdaLR", {"lr_lambda": lambda epoch: 0.9**epoch}),
        ("ReduceLROnPlateau", {"monitor": "train_loss", "patience": 0, "threshold": 0.5}),
        ("MultiStepLR", {"milestones": [1, 2, 2]}),
        ("CosineAnnealingLR", {"T_max": 9, "step_every": "batch"}),
        (lr_scheduler.OneCycleLR, {"max_lr": 0.1, "total_steps": 20, "step_every": "batch"}),
        ("WarmRestartLR", {}),
    ],
    ids=name_of,
)
def test_fit_goes_on_with_every_schedule(table, tmp_path, killed_after, policy, params):
    def fit(**checkpoints):
        callbacks = [LRScheduler(policy, event_name="rate", **params)]
        return quick(callbacks=callbacks, max_iter=4, **checkpoints).fit(*table)

    whole = learned(fit())
    for n_written in (4, 3):
        killed_after(n_written)
        with pytest.raises(Killed):
            fit(checkpoint_dir=tmp_path, checkpoint_minutes=EACH_STEP)
    killed_after(None)
    assert learned(fit(checkpoint_dir=tmp_path, checkpoint_minutes=EACH_STEP)) == whole


def test_fit_goes_on_with_images_in_channels_last(glyphs, tmp_path, killed_after):
    def fit(**checkpoints):
        own = {"encoder_params": {"width": 4}, "resize": 16, "max_iter": 2, "random_state": 0}
        return SiameseOneShotClassifier(**own, optimizer="muon", **checkpoints).fit(*glyphs)

    whole = learned(fit())
    killed_after(2)
    with pytest.raises(Killed):
        fit(checkpoint_dir=tmp_path)
    assert learned(fit(checkpoint_dir=tmp_path)) == whole


def test_fit_goes_on_with_warm_start_and_with_pairs(table, tmp_path, killed_after):
    X, y = table
    pairs = pairs_of(y, 60)
    first = quick(max_iter=1, batch_size=20).fit(X, pairs)

    def fit(**checkpoints):
        again = copy.deepcopy(first)
        return again.set_params(warm_start=True, max_iter=3, **checkpoints).fit(X, pairs)

    whole = learned(fit())
    killed_after(2)
    with pytest.raises(Killed):
        fit(checkpoint_dir=tmp_path)
    killed_after(None)
    assert learned(fit(checkpoint_dir=tmp_path)) == whole


def test_fit_of_a_verifier_goes_on(table, tmp_path, killed_after):
    X, y = table
    i, j, same = pairs_of(y, 60).T

    def fit(**checkpoints):
        own = {"preprocessor": X, "batch_size": 20, "max_iter": 3, "random_state": 0}
        return SiameseVerifier("mlp", **own, **checkpoints).fit(np.c_[i, j], same)

    whole = learned(fit())
    killed_after(2)
    with pytest.raises(Killed):
        fit(checkpoint_dir=str(tmp_path))
    killed_after(None)
    assert learned(fit(checkpoint_dir=str(tmp_path))) == whole


def test_fit_without_a_random_state_goes_on_with_the_one_it_began_with(
    table, tmp_path, killed_after
):
    def fit(folder):
        return quick(random_state=None, checkpoint_dir=folder).fit(*table)

    killed_after(1)
    with pytest.raises(Killed):
        fit(tmp_path / "a")
    copied = tmp_path / "b"
    copied.mkdir()
    (copied / "checkpoint-000001.safetensors").write_bytes(newest(tmp_path / "a").read_bytes())
    killed_after(None)
    assert learned(fit(tmp_path / "a")) == learned(fit(copied))
    assert learned(fit(tmp_path / "c")) != learned(fit(copied))


def test_fit_goes_on_after_ctrl_c_and_after_an_error(table, tmp_path):
    class Stop(Callback):
        raised = []

        def on_batch_begin(self, net, **kwargs):
            if len(net.history) == 2 and Stop.raised:
                raise Stop.raised.pop()

    def fit(**checkpoints):
        return quick(callbacks=[Stop()], **checkpoints).fit(*table)

    whole = learned(fit())
    Stop.raised = [MemoryError(), KeyboardInterrupt()]
    for error in (KeyboardInterrupt, MemoryError):
        with pytest.raises(error):
            fit(checkpoint_dir=tmp_path)
    assert learned(fit(checkpoint_dir=tmp_path)) == whole


def test_fit_that_a_callback_ended_goes_on_to_the_same_end(table, tmp_path, killed_after):
    class End(Callback):
        def on_epoch_end(self, net, **kwargs):
            if len(net.history) == 2:
                raise StopTraining

    def fit(**checkpoints):
        return quick(callbacks=[End()], n_estimators=2, **checkpoints).fit(*table)

    whole = learned(fit())
    killed_after(3)
    with pytest.raises(Killed):
        fit(checkpoint_dir=tmp_path)
    killed_after(None)
    assert learned(fit(checkpoint_dir=tmp_path)) == whole
    assert [len(rows) for rows in whole[1]] == [2, 2]


def test_fit_goes_on_inside_an_epoch_for_the_callbacks_of_scikit_learn(
    table, tmp_path, killed_after
):
    callback = pytest.importorskip("sklearn.callback")
    assert callback

    class Ends:
        """A callback of scikit-learn that counts the epochs that end."""

        n_ended = 0

        def setup(self, estimator, context):
            pass

        def teardown(self, estimator, context):
            pass

        def on_fit_task_begin(self, estimator, context):
            pass

        def on_fit_task_end(self, estimator, context, **kwargs):
            Ends.n_ended += context.task_name == "epoch"

    def fit():
        estimator = quick(checkpoint_dir=tmp_path, checkpoint_minutes=EACH_STEP)
        return estimator.set_callbacks(Ends()).fit(*table)

    killed_after(3)  # in the first epoch
    with pytest.raises(Killed):
        fit()
    assert Ends.n_ended == 0
    killed_after(None)
    fit()
    assert Ends.n_ended == 3


def test_progress_bar_goes_on_where_it_was(table, tmp_path, killed_after, capsys):
    killed_after(3)
    with pytest.raises(Killed):
        quick(checkpoint_dir=tmp_path, verbose=1).fit(*table)
    killed_after(None)
    capsys.readouterr()
    quick(checkpoint_dir=tmp_path, verbose=1).fit(*table)
    assert "3/3" in capsys.readouterr().err


def test_duration_of_an_epoch_leaves_out_the_time_between_two_calls(
    table, tmp_path, killed_after, monkeypatch
):
    now = [1000.0]
    monkeypatch.setattr("time.time", lambda: now[0])
    killed_after(2)
    with pytest.raises(Killed):
        quick(checkpoint_dir=tmp_path, checkpoint_minutes=EACH_STEP).fit(*table)
    killed_after(None)
    now[0] += 10_000
    clf = quick(checkpoint_dir=tmp_path, checkpoint_minutes=EACH_STEP).fit(*table)
    assert [row["dur"] for row in clf.history_[0]] == [0, 0, 0]


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_fit_killed_by_sigkill_goes_on_to_the_same_bits():
    command = [sys.executable, str(KILLS), "--count", "2", "--cases", "rows"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "2 kills" in run.stdout
    assert "0 of 1 fits differ" in run.stdout


# What is kept, and when


def test_fit_keeps_the_last_two_checkpoints(table, tmp_path):
    quick(checkpoint_dir=tmp_path / "made" / "here", max_iter=4).fit(*table)
    # One before the first epoch, three between the epochs, and the last one.
    names = sorted(path.name for path in (tmp_path / "made" / "here").glob("checkpoint-*"))
    assert names == ["checkpoint-000004.safetensors", "checkpoint-000005.safetensors"]


def test_fit_deletes_what_a_killed_write_left_and_no_other_file(table, tmp_path):
    left = tmp_path / ".sksiamese-0123456789abcdef-checkpoint-000003.safetensors"
    others = [
        tmp_path / ".sksiamese-0123456789abcdef-model.safetensors",  # `save` in another process
        tmp_path / ".sksiamese-0123456789abcdef-checkpoint-best.safetensors",
        tmp_path / "notes.txt",
    ]
    for path in (left, *others):
        path.write_bytes(b"half")
    quick(checkpoint_dir=tmp_path).fit(*table)
    assert not left.exists()
    assert all(path.read_bytes() == b"half" for path in others)


def test_checkpoint_that_is_being_written_has_a_name_that_the_next_fit_deletes(
    tmp_path, monkeypatch
):
    unlink = os.unlink
    with Checkpoints(tmp_path, {}) as checkpoints:
        monkeypatch.setattr(os, "fsync", lambda number: 1 / 0)
        monkeypatch.setattr(os, "unlink", lambda path: None)  # as SIGKILL would leave it
        with pytest.raises(ZeroDivisionError):
            checkpoints.write(None)
    monkeypatch.setattr(os, "unlink", unlink)
    assert len(list(tmp_path.glob(".sksiamese-*"))) == 1
    Checkpoints(tmp_path, {}).close()
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_repeated_fit_returns_what_was_learned_without_training(table, tmp_path):
    class Counting(Callback):
        n_steps = 0

        def on_batch_end(self, net, **kwargs):
            Counting.n_steps += 1

    def fit():
        own = {"callbacks": [Counting()], "n_estimators": 2, "checkpoint_dir": tmp_path}
        return quick(**own).fit(*table)

    whole = fit()
    n_steps = Counting.n_steps
    assert n_steps > 0
    again = fit()
    assert Counting.n_steps == n_steps
    assert learned(again) == learned(whole)
    assert again.history_ == whole.history_
    assert not any(parameter.requires_grad for parameter in again.network_.parameters())
    assert not again.network_.training


def test_checkpoint_dir_changes_nothing_that_is_learned(table, tmp_path):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    plain = learned(quick().fit(*table))
    assert learned(quick(checkpoint_dir=tmp_path).fit(*table)) == plain
    assert torch.equal(torch.get_rng_state(), before)


def test_from_classifier_leaves_the_folder_to_the_classifier(table, tmp_path):
    clf = quick(checkpoint_dir=tmp_path, max_iter=1).fit(*table)
    assert SiameseVerifier.from_classifier(clf).checkpoint_dir is None


def test_cross_validation_in_one_folder_is_refused(table, tmp_path):
    clf = quick(checkpoint_dir=tmp_path, max_iter=1)
    with pytest.raises(ValueError, match="X is .* give each fit a folder of its own"):
        cross_val_score(clf, *table, cv=2, error_score="raise")


# What cannot be used


@pytest.mark.parametrize("place", [0, 20, 400, -1, "middle", "cut", "empty", "longer"])
def test_damaged_checkpoint_is_left_out_and_the_one_before_it_used(
    table, tmp_path, killed_after, place
):
    whole = learned(quick().fit(*table))
    killed_after(3)
    with pytest.raises(Killed):
        quick(checkpoint_dir=tmp_path).fit(*table)
    killed_after(None)
    path = newest(tmp_path)
    data = bytearray(path.read_bytes())
    if place == "cut":
        del data[len(data) // 2 :]
    elif place == "empty":
        data.clear()
    elif place == "longer":
        data += b"\0"
    else:
        data[len(data) // 2 if place == "middle" else place] ^= 1
    path.write_bytes(data)
    with pytest.warns(CheckpointWarning, match=f"{path.name}.* goes on from the checkpoint befo"):
        clf = quick(checkpoint_dir=tmp_path).fit(*table)
    assert learned(clf) == whole
    assert path.exists() is False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quick(checkpoint_dir=tmp_path).fit(*table)


def test_checkpoints_that_cannot_be_read_are_kept(table, tmp_path, killed_after, monkeypatch):
    """On a disk with faults, or without the right to read, they may be whole."""
    killed_after(3)
    with pytest.raises(Killed):
        quick(checkpoint_dir=tmp_path).fit(*table)
    killed_after(None)
    before = {path: path.read_bytes() for path in tmp_path.glob("checkpoint*")}

    os_open = os.open

    def fails(path, *args, **kwargs):
        if "checkpoint-0" in str(path):
            raise OSError(errno.EIO, "Input/output error")
        return os_open(path, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", fails)
        with pytest.raises(OSError, match=r"Cannot read .*checkpoint-.*Input/output error"):
            quick(checkpoint_dir=tmp_path).fit(*table)
    assert {path: path.read_bytes() for path in tmp_path.glob("checkpoint*")} == before


def test_files_of_other_names_in_the_folder_of_checkpoints_are_left_alone(table, tmp_path):
    for name in ("checkpoint-backup.safetensors", "checkpoint-000001 (copy).safetensors"):
        (tmp_path / name).write_bytes(b"mine")
    (tmp_path / "checkpoint-000009.safetensors").mkdir()
    before = set(tmp_path.iterdir())
    quick(checkpoint_dir=tmp_path).fit(*table)
    assert before < set(tmp_path.iterdir())
    assert (tmp_path / "checkpoint-backup.safetensors").read_bytes() == b"mine"


def test_training_begins_anew_if_no_checkpoint_is_whole(table, tmp_path, killed_after):
    whole = learned(quick().fit(*table))
    killed_after(3)
    with pytest.raises(Killed):
        quick(checkpoint_dir=tmp_path).fit(*table)
    killed_after(None)
    for path in tmp_path.glob("checkpoint-*"):
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.warns(CheckpointWarning) as caught:
        clf = quick(checkpoint_dir=tmp_path).fit(*table)
    ends = [str(warning.message).rsplit("from ", 1)[1] for warning in caught]
    assert ends == ["the checkpoint before it.", "the beginning."]
    assert learned(clf) == whole


def test_checkpoint_of_another_version_or_number_of_threads_is_used_with_a_warning(
    table, tmp_path, killed_after, monkeypatch
):
    killed_after(2)
    with pytest.raises(Killed):
        quick(checkpoint_dir=tmp_path).fit(*table)
    killed_after(None)
    here = torch.__version__
    monkeypatch.setattr(torch, "__version__", "9.9")
    with pytest.warns(CheckpointWarning, match=rf"torch {here.split('+')[0]}.* \(here 9.9\)"):
        quick(checkpoint_dir=tmp_path).fit(*table)


def test_checkpoint_of_another_format_is_refused(table, tmp_path):
    write_tree(tmp_path / "checkpoint-000001.safetensors", {"format": "another"})
    with pytest.raises(ValueError, match="checkpoint-000001.safetensors is not a checkpoint of"):
        quick(checkpoint_dir=tmp_path).fit(*table)


def test_two_fits_cannot_use_one_folder_at_a_time(table, tmp_path):
    pytest.importorskip("fcntl")

    class Second(Callback):
        errors = []

        def on_epoch_end(self, net, **kwargs):
            try:
                quick(checkpoint_dir=tmp_path).fit(*table)
            except OSError as error:
                Second.errors.append(str(error))

    quick(checkpoint_dir=tmp_path, max_iter=1, callbacks=[Second()]).fit(*table)
    (message,) = Second.errors
    assert "checkpoint_dir cannot be used: another fit is using it" in message
    assert str(tmp_path) in message


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_process_that_was_forked_during_a_fit_does_not_keep_the_folder_locked(tmp_path):
    context = multiprocessing.get_context("fork")
    end = context.Event()
    first = Checkpoints(tmp_path, {})
    child = context.Process(target=end.wait)
    child.start()
    try:
        with pytest.raises(OSError, match="another fit is using it"):  # the child unlocks nothing
            Checkpoints(tmp_path, {})
        first.close()
        Checkpoints(tmp_path, {}).close()
    finally:
        end.set()
        child.join()


class Steps(Callback):
    """Counts steps."""

    n_steps = 0

    def on_batch_begin(self, net, **kwargs):
        Steps.n_steps += 1


def test_folder_that_cannot_be_written_is_an_error_before_the_first_epoch(
    table, tmp_path, monkeypatch
):
    (tmp_path / "file").write_text("")
    Steps.n_steps = 0
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OSError, match="checkpoint_dir cannot be used: .*file"):
            quick(checkpoint_dir=folder, callbacks=[Steps()]).fit(*table)

    def full(number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    clf = quick(checkpoint_dir=tmp_path / "new", callbacks=[Steps()])
    with pytest.raises(OSError, match="No space left on device: .*checkpoint-000001"):
        clf.fit(*table)
    assert Steps.n_steps == 0
    assert not hasattr(clf, "fitted_")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["lock"]


class Holding(Callback):
    """A callback with one attribute."""

    def __init__(self, held):
        self.held = held


@pytest.mark.parametrize(
    "held",
    [object(), iter([1]), [object()], {"a": Steps()}, np.array([None]), torch.eye(2).to_sparse()],
)
def test_callbacks_whose_state_cannot_be_kept_are_refused_before_training(table, tmp_path, held):
    Steps.n_steps = 0
    clf = quick(checkpoint_dir=tmp_path, callbacks=[Steps(), Holding(held)])
    with pytest.raises(ValueError, match="callbacks has Holding, whose attribute 'held' cannot"):
        clf.fit(*table)
    assert Steps.n_steps == 0


def test_callbacks_with_a_cycle_are_refused(table, tmp_path):
    held = []
    held.append(held)
    with pytest.raises(ValueError, match="callbacks has Holding, whose attribute 'held' cannot"):
        quick(checkpoint_dir=tmp_path, callbacks=[Holding(held)]).fit(*table)


def test_history_that_cannot_be_kept_is_refused(table, tmp_path):
    class Recording(Callback):
        def on_epoch_end(self, net, **kwargs):
            net.history.record("what", object())

    with pytest.raises(ValueError, match="history_ cannot be kept in a checkpoint"):
        quick(checkpoint_dir=tmp_path, callbacks=[Recording()]).fit(*table)


def test_checkpoint_minutes_count_from_the_last_checkpoint(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(twin_checkpoints.time, "monotonic", lambda: now[0])
    with Checkpoints(tmp_path, {}, minutes=2) as kept, Checkpoints(tmp_path / "b", {}) as never:
        due = []
        for seconds in (0, 119, 1, 1):
            now[0] += seconds
            due.append(kept.due())
            if due[-1]:
                kept.write(None)
        assert due == [False, False, True, False]
        assert not never.due()
