"""Files: written whole or not at all, read only if they are regular files; locks."""

import contextlib
import errno
import mmap
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

PART = ".sksiamese-"  # begins the names of files that are being written
PATIENCE = 1.0  # seconds that a killed process has to let go of its lock
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
    # A name of its own, as two threads may write one path; whole names may be too long.
    part = path.with_name(f"{PART}{secrets.token_hex(8)}-{path.name[:32]}")
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


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Make a folder to write files into, which becomes `path` at the end of the block.

    A folder that is there is replaced as a whole. If the block raises, or the new folder cannot
    take its place, the old one is unchanged.
    """
    part = path.with_name(f"{PART}{secrets.token_hex(8)}-{path.name[:32]}")
    before = part.with_name(f"{part.name}-before")
    part.mkdir()
    try:
        yield part
        for file in part.iterdir():
            with open(file, "rb+") as written:
                os.fsync(written.fileno())
        if path.exists():
            os.replace(path, before)
        try:
            os.replace(part, path)
        except OSError:
            if before.exists():
                os.replace(before, path)
            raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(before, ignore_errors=True)
    _sync_folder(path.parent)


def check_path(value: Any, name: str = "path", expected: str = "a str or path-like") -> None:
    """Raise TypeError or ValueError unless the value can be the path of a file."""
    if not isinstance(value, str | os.PathLike):
        raise TypeError(f"{name}={value!r}; expected {expected}.")
    try:
        is_name = b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:
        is_name = False
    if not is_name:
        raise ValueError(
            f"{name}={os.fsdecode(value)!r} has a null character, or one that the file system "
            "cannot encode."
        )


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file to read, and never wait for a pipe, a device or a socket.

    Raises
    ------
    OSError
        If the file cannot be opened, or is not a regular file.
    """
    try:
        _check_regular(os.stat(path))  # to open a device may do something
    except ValueError as error:  # a null character, or one that cannot be encoded
        raise OSError(errno.EINVAL, "no file can have this name") from error
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


class FileLock:
    """A file that is locked until `close`, or until this process ends; not on Windows.

    Parameters
    ----------
    path : Path
        Of the file, which is made if it does not exist.
    in_use : str
        Message of the error if another one locks it.

    Raises
    ------
    BlockingIOError
        If another one locks it, in this process or in another.
    OSError
        If the file cannot be used.
    """

    _held: ClassVar[set["FileLock"]] = set()

    def __init__(self, path: Path, in_use: str) -> None:
        self._in_use = in_use
        self._number: int | None = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        self._held.add(self)
        try:
            self._wait()
        except BaseException:
            self.close()
            raise

    def _wait(self) -> None:
        """Lock the file as soon as a process that was killed has let go of it."""
        end = time.monotonic() + PATIENCE
        while fcntl is not None and self._number is not None:
            try:
                return fcntl.flock(self._number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() > end:
                    raise BlockingIOError(error.errno, self._in_use) from error
            time.sleep(PATIENCE / 20)

    def close(self) -> None:
        """Unlock the file."""
        self._held.discard(self)
        if self._number is not None:
            os.close(self._number)
            self._number = None

    @classmethod
    def close_all(cls) -> None:
        """Let go of all locks in a forked child, which shares them and may outlive the fit."""
        for lock in list(cls._held):
            lock.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=FileLock.close_all)


def root_of(array: np.ndarray) -> np.ndarray:
    """Return the array that owns the memory of an array, itself or the base of views."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def check_mapping(array: Any) -> None:
    """Raise an OSError if a file that an array maps is now too short: to read it would crash."""
    if not isinstance(array, np.ndarray):
        return
    root = root_of(array)
    mapped = root.base.obj if isinstance(root.base, memoryview) else root.base
    if not isinstance(mapped, mmap.mmap):
        return
    try:
        size = mapped.size()  # of the file, as it is now
    except (OSError, ValueError):  # memory without a file
        return
    name, end = "a file", len(mapped)
    if isinstance(root, np.memmap):
        name, end = f"the file {printable(root.filename)}", root.offset + root.nbytes
    if size < end:
        raise OSError(
            f"{name} has been truncated to {size} bytes since it was memory-mapped with {end}. "
            "Write it again and load it again."
        )


def stamp_of(array: Any) -> tuple[int, int] | None:
    """Return what tells one state of the file that an array maps from another.

    None if the array is not a read-only memory map: it may change without a trace.
    """
    root = root_of(array) if isinstance(array, np.ndarray) else None
    if not isinstance(root, np.memmap) or root.flags.writeable or root.filename is None:
        return None
    try:
        status = os.stat(root.filename)
    except FileNotFoundError:  # the map keeps what the file had
        return 0, 0
    return status.st_ino, status.st_mtime_ns


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
