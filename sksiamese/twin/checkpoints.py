"""Checkpoints: the files of one fit in a folder, from which training goes on."""

import contextlib
import os
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from .._files import PART, FileLock
from ..exceptions import CheckpointWarning, warn
from .state import module_state
from .trees import read_tree, write_tree

FORMAT = "sksiamese checkpoint 1"
IN_USE = "another fit is using it; give each fit a folder of its own"
_NAME = re.compile(r"checkpoint-[0-9]{6,}\.safetensors")
_UNFINISHED = re.compile(re.escape(PART) + r"[0-9a-f]{16}-checkpoint-[0-9]{6,}\.safetensors")


class Checkpoints:
    """The checkpoints of one fit in a folder, which this object locks until it is closed.

    Parameters
    ----------
    folder : path-like
        Made if it does not exist.
    identity : dict of str to str
        What decides the result of the fit, such as parameters and data, described in words.
    minutes : float or None, default=None
        Write one also inside an epoch, when so much time has passed since the last one.

    Attributes
    ----------
    seed : int
        For fits without a random state: the one that was drawn when the fit began.
    members : list of dict
        State of the networks whose training is complete; see `add`.
    running : dict or None
        State of the network in training, as `state_of_net` returns it, to go on from.

    Raises
    ------
    OSError
        If the folder cannot be used, or another fit uses it.
    ValueError
        If it holds a checkpoint of another fit.

    Warns
    -----
    CheckpointWarning
        If a checkpoint is damaged, or was written by other versions or with other threads.
    """

    def __init__(
        self, folder: str | os.PathLike, identity: dict[str, str], minutes: float | None = None
    ) -> None:
        self.folder = Path(os.path.abspath(folder))  # a callback may change the current folder
        self.identity = identity
        self.minutes = minutes
        self.seed = secrets.randbelow(2**32)
        self.members: list[dict[str, Any]] = []
        self.running: dict[str, Any] | None = None
        self.last: Path | None = None  # that is known to be whole
        self.written_at = time.monotonic()
        with self._named():
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(self.folder / "lock", IN_USE)
        try:
            for part in filter(_UNFINISHED.fullmatch, os.listdir(self.folder)):
                (self.folder / part).unlink(missing_ok=True)  # of a process that was killed
            self._read()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()

    def close(self) -> None:
        """Unlock the folder."""
        self._lock.close()

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Name the parameter in errors about its folder."""
        try:
            yield
        except OSError as error:
            what = f"checkpoint_dir cannot be used: {error.strerror}"
            raise OSError(error.errno, what, str(self.folder)) from error

    def paths(self) -> list[Path]:
        """Return the files, newest first."""
        files = [path for path in self.folder.iterdir() if _NAME.fullmatch(path.name)]
        return sorted(filter(Path.is_file, files), key=_number, reverse=True)

    def _read(self) -> None:
        """Take over the state of the newest checkpoint that is whole, if there is one."""
        paths = self.paths()
        for path in paths:
            try:
                tree = read_tree(path)
            except (OSError, ValueError) as error:
                if getattr(error, "errno", None) is not None:  # whole, for all we know
                    raise
                next_best = "the beginning" if path == paths[-1] else "the checkpoint before it"
                warn(f"{error} Training goes on from {next_best}.", CheckpointWarning)
                continue
            self._check(path, tree)
            self.seed, self.members = tree["seed"], tree["members"]
            self.running, self.last = tree["running"], path
            return

    def _check(self, path: Path, tree: Any) -> None:
        if not isinstance(tree, dict) or tree.get("format") != FORMAT:
            raise ValueError(f"{path} is not a checkpoint of the format {FORMAT!r}.")
        theirs = tree["identity"]
        for name in [*self.identity, *theirs]:
            here, there = self.identity.get(name), theirs.get(name)
            if here != there:
                raise ValueError(
                    f"checkpoint_dir={str(self.folder)!r} holds a checkpoint of another fit: "
                    f"{name} is {here} here, but {there} in {path.name}. Repeat that call, give "
                    "each fit a folder of its own, or delete the checkpoints in this one."
                )
        before, now = tree["environment"], _environment()
        changed = [name for name in now if now[name] != before.get(name)]
        if changed:
            what = ", ".join(f"{name} {before.get(name)} (here {now[name]})" for name in changed)
            warn(
                f"{path} was written with {what}. Training goes on, but the weights may differ in "
                "their last digits from those of an uninterrupted fit.",
                CheckpointWarning,
            )

    def due(self) -> bool:
        """Return whether it is time for a checkpoint inside an epoch."""
        since = time.monotonic() - self.written_at
        return self.minutes is not None and since >= 60 * self.minutes

    def add(self, network: nn.Module, history: list[dict[str, Any]], complete: bool) -> None:
        """Take in a network whose training is complete; write it if it is the last of the fit."""
        self.members.append({"network": module_state(network), "history": history})
        self.running = None
        if complete:
            self.write(None)

    def write(self, running: dict[str, Any] | None) -> None:
        """Write a checkpoint, and delete all but the newest two that are whole.

        Raises
        ------
        OSError
            If it cannot be written. Those before it are unchanged.
        TypeError
            If the state holds something that a file without code cannot keep.
        """
        tree = {
            "format": FORMAT,
            "identity": self.identity,
            "environment": _environment(),
            "seed": self.seed,
            "members": self.members,
            "running": running,
        }
        number = max(map(_number, self.paths()), default=0) + 1
        path = self.folder / f"checkpoint-{number:06d}.safetensors"
        write_tree(path, tree)
        for old in self.paths():
            if old not in (path, self.last):
                old.unlink(missing_ok=True)
        self.last = path
        self.written_at = time.monotonic()


def _number(path: Path) -> int:
    return int(path.stem.removeprefix("checkpoint-"))


def _environment() -> dict[str, Any]:
    """Return what changes the last digits of results."""
    return {
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
    }
