"""The rows that a command has made so far, on the disk, so that it can go on after a kill."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from .._files import FileLock
from ..exceptions import listed
from .output import is_stream

IN_MEMORY = 2**24  # bytes of rows that go to a stream; more go to a temporary file


class Journal:
    """Blocks of rows, in the file ``OUTPUT.part`` until the output is written.

    Its first line says what decides the rows; each further line is a block. A line is on the disk
    before the next block is begun, so a kill costs at most one block. Rows for standard output or
    a pipe are in a temporary file, and end with the process.

    Parameters
    ----------
    output : str
    decided_by : dict of str to str
        What decides the rows, by names for messages.

    Attributes
    ----------
    path : Path or None
        The file, if there is one.
    stamps : list of str
        What the blocks that are there were made of.

    Raises
    ------
    ValueError
        If the file was left by another command.
    OSError
        If it cannot be written, or if another process writes it.
    """

    def __init__(self, output: str, decided_by: Mapping[str, str]) -> None:
        self.path = None if is_stream(output) else Path(f"{output}.part")
        self.stamps: list[str] = []
        self._ends: list[int] = []  # of the header and of each block
        self._lock: FileLock | None = None
        self._file: IO[bytes]
        if self.path is None:
            self._file = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115
        else:
            self._open(self.path)
        try:
            self._read(dict(decided_by))
        except BaseException:
            self._close()
            raise

    def _open(self, path: Path) -> None:
        if path.exists() and not path.is_file():
            raise OSError(f"{path} exists and is no file; choose another --output.")
        with self._named():
            self._lock = FileLock(path, "another command is writing it; choose another --output")
            self._file = open(path, "a+b")  # noqa: SIM115

    def _read(self, decided_by: dict[str, str]) -> None:
        """Find the blocks that are there whole, or write the first line."""
        self._file.seek(0)
        header = self._file.readline()
        if not header:
            try:
                return self._write({"label": decided_by})
            except OSError:
                self._delete()
                raise
        known = _parsed(header).get("label")
        if not isinstance(known, dict):
            raise ValueError(
                f"{self.path} is no file that label left. Choose another --output, or move it."
            )
        differing = [name for name in decided_by if decided_by[name] != known.get(name)]
        if differing:
            raise ValueError(
                f"{self.path} has the rows of an interrupted command with another "
                f"{listed(differing)}. Repeat that command, or delete the file."
            )
        self._ends.append(len(header))
        for line in self._file:
            block = _parsed(line)
            if "rows" not in block:  # torn
                break
            self.stamps.append(block["stamp"])
            self._ends.append(self._ends[-1] + len(line))
        self.keep(len(self.stamps))

    def keep(self, n_blocks: int) -> None:
        """Keep the first blocks, and drop what follows."""
        del self.stamps[n_blocks:], self._ends[n_blocks + 1 :]
        self._file.seek(self._ends[-1])
        self._file.truncate()

    def append(self, stamp: str, rows: Sequence[Sequence[Any]]) -> None:
        """Add a block, and put it on the disk."""
        self._write({"stamp": stamp, "rows": rows})
        self.stamps.append(stamp)

    def blocks(self) -> Iterator[list[list[Any]]]:
        """Yield the rows of each block; append nothing meanwhile."""
        self._file.seek(self._ends[0])
        for line in self._file:
            yield json.loads(line)["rows"]

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Delete the file, unless an error ends the command after the first block."""
        if error is None or not self.stamps:
            self._delete()
        self._close()

    def _delete(self) -> None:
        if self.path is not None:
            with suppress(OSError):
                os.unlink(self.path)

    def _write(self, record: Mapping[str, Any]) -> None:
        line = json.dumps(record).encode() + b"\n"
        with self._named():
            self._file.write(line)
            self._file.flush()
            if self.path is not None:
                os.fsync(self._file.fileno())
        self._ends.append(len(line) + (self._ends[-1] if self._ends else 0))

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Name the file in errors of the system."""
        try:
            yield
        except OSError as error:
            name = "the temporary file of the rows" if self.path is None else self.path
            raise OSError(error.errno, error.strerror, str(name)) from error

    def _close(self) -> None:
        with suppress(OSError):  # what could not be written
            self._file.close()
        if self._lock is not None:
            self._lock.close()


def _parsed(line: bytes) -> dict[str, Any]:
    """Return the record of a line; an empty one if the line is not whole."""
    try:
        record = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        record = None
    return record if isinstance(record, dict) else {}
