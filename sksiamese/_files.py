"""Files that are written whole or not at all, and read only if they are regular files."""

import contextlib
import errno
import mmap
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

PART = ".sksiamese-"  # begins the names of files that are being written
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
}


def write_atomically(path: Any, chunks: Iterable[Any]) -> None:
    """Write a file that is replaced as a whole, once all is written and on the disk.

    Parameters
    ----------
    path : str or path-like
    chunks : iterable of bytes-like
        The contents, in order.

    Raises
    ------
    OSError
        If the file cannot be written, as on a full disk. The old file is unchanged.
    """
    try:
        with open_atomically(path) as file:
            for chunk in chunks:
                file.write(chunk)
    except OSError as error:
        raise OSError(error.errno, error.strerror, os.path.realpath(path)) from error


@contextlib.contextmanager
def open_atomically(path: Any) -> Iterator[BinaryIO]:
    """Open a file to write, which replaces `path` at the end of the block if that raises nothing.

    Whoever reads `path` meanwhile, or after the process was killed, finds the old file or the
    new one. The new file has the old one's permissions, and a link goes on pointing to it.
    """
    path = Path(os.path.realpath(path))
    with contextlib.suppress(FileNotFoundError):
        _check_regular(os.stat(path))
    # A short name of its own: two threads may write one path, whose name may be long.
    part = path.with_name(f"{PART}{secrets.token_hex(8)}")
    try:
        with open(part, "xb") as file:
            yield file
            file.flush()
            with contextlib.suppress(FileNotFoundError):
                os.chmod(part, path.stat().st_mode & 0o7777)
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(part)
    _sync_folder(path.parent)


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file to read, and never wait for a pipe, a device or a socket.

    Raises
    ------
    OSError
        If the file cannot be opened, or is not a regular file.
    """
    _check_regular(os.stat(path))  # to open a device may do something
    return open(path, "rb", opener=_open_without_waiting)


def _open_without_waiting(path: str, flags: int) -> int:
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    try:
        _check_regular(os.fstat(descriptor))  # it may have been replaced since
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _check_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "a device")
        raise OSError(errno.EINVAL, f"it is {kind}; expected a regular file")


def root_of(array: np.ndarray) -> np.ndarray:
    """Return the array that owns the memory of an array, itself or the base of views."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def check_mapping(array: np.ndarray) -> None:
    """Raise an OSError if a file that an array maps is now too short: to read it would crash."""
    root = root_of(array)
    if not isinstance(root, np.memmap) or not isinstance(root.base, mmap.mmap):
        return
    size = root.base.size()  # of the file, as it is now
    if size < root.offset + root.nbytes:
        raise OSError(
            f"the file {printable(root.filename)} has been truncated to {size} bytes since it was "
            f"memory-mapped with {root.offset + root.nbytes}. Write it again and load it again."
        )


def printable(path: object) -> str:
    """Return a path for a message, in one line and with bytes escaped that are not text."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in str(path)
    )


def _sync_folder(folder: Path) -> None:
    """Put the new name of a file on the disk too, where the system can."""
    if os.name == "nt":  # folders cannot be opened there
        return
    with contextlib.suppress(OSError):  # some network file systems refuse, or the folder's mode
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
