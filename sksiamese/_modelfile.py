"""Model files: text and arrays as safetensors, with a digest that shows any damage.

The text is metadata of the file, and begins with the SHA-256 digest of all other bytes. It is the
only metadata, because safetensors writes several in random order: the same contents make the same
file.
"""

import hashlib
import json
import os
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ._files import open_regular, printable, write_atomically

DTYPES = tuple(map(np.dtype, ("f8", "i8", "f4", "f2", "i2", "u1")))
START = b'{"__metadata__":{"sksiamese":"'
DIGEST = slice(8 + len(START), 8 + len(START) + 64)
NO_DIGEST = "0" * 64
HEXADECIMAL = b"0123456789abcdef"
OLD = ("sksiamese 2", "sksiamese twin 1")  # formats without a digest


def write_model_file(path: Any, text: str, arrays: dict[str, np.ndarray]) -> None:
    """Write a file that `read_model_file` reads; it is replaced as a whole.

    Parameters
    ----------
    path : str or path-like
    text : str
    arrays : dict of str to ndarray
        Of the dtypes of `DTYPES`.

    Raises
    ------
    OSError
        If the file cannot be written. An existing file is then unchanged.
    """
    content = save(
        {name: np.asarray(array, order="C") for name, array in arrays.items()},
        {"sksiamese": NO_DIGEST + text},
    )
    digest = _digest(content).encode()
    write_atomically(path, [content[: DIGEST.start], digest, content[DIGEST.stop :]])


def read_model_file(path: Any) -> tuple[str, dict[str, np.ndarray]]:
    """Return text and arrays of a file that `write_model_file` wrote.

    Raises
    ------
    OSError
        If there is no such file, or it cannot be read or is damaged.
    ValueError
        If it is another file.
    """
    content = _whole(path)
    length = 8 + int.from_bytes(content[:8], "little")
    if not 8 < length <= len(content):
        raise _damaged(path, "it ends within its header")
    if not content.startswith(START, 8) or not set(content[DIGEST]) <= set(HEXADECIMAL):
        raise _other_file(path, content[8:length])
    if content[DIGEST] != _digest(content).encode():
        raise _damaged(path, "its digest is of other contents")
    try:
        (text,) = json.loads(content[8:length])["__metadata__"].values()
        arrays = load(content)
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        RecursionError,
        SafetensorError,
        TypeError,
        ValueError,
    ) as error:
        raise ValueError(
            f"{printable(path)} has a header that save does not write: {short_of(error)}."
        ) from error
    for name, array in arrays.items():
        if array.dtype not in DTYPES:
            raise ValueError(
                f"{printable(path)} has {printable(name)} of dtype {array.dtype}, which save does "
                "not write."
            )
    return text[len(NO_DIGEST) :], arrays


def short_of(error: Exception) -> str:
    """Return what an error says, without whole files."""
    message = str(error).rstrip(".") if type(error) is ValueError else None
    message = message or f"{type(error).__name__}: {error}"
    return message if len(message) < 1000 else f"{message[:990]} ..."


def _digest(content: bytes) -> str:
    """Return the digest of a file; the digest's own place is left out."""
    view = memoryview(content)
    state = hashlib.sha256(view[: DIGEST.start])
    state.update(view[DIGEST.stop :])
    return state.hexdigest()


def _whole(path: Any) -> bytes:
    """Return the bytes of a file, read once; OSError unless it is a file with an end."""
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            # Some files of the system have no length, or are as long as all memory.
            start = file.read(8) if size > 8 else b""
            if start and int.from_bytes(start, "little") <= size:
                file.seek(0)
                return file.read(size)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"Cannot read {printable(path)}: there is no such file."
        ) from error
    except OSError as error:
        unread = OSError(f"Cannot read {printable(path)}: {error.strerror}.")
        unread.errno = error.errno  # the file may be whole, as damaged ones are not
        raise unread from error
    except MemoryError as error:
        raise OSError(f"Cannot read {printable(path)}: it is larger than the memory.") from error
    raise _damaged(path, "it ends within its header")


def _damaged(path: Any, reason: str) -> OSError:
    return OSError(f"{printable(path)} is damaged, or not a file that save wrote: {reason}.")


def _other_file(path: Any, header: bytes) -> OSError | ValueError:
    """Return the error for a file that does not begin as ours."""
    try:
        metadata = json.loads(header).get("__metadata__") or {}
        about = json.loads(metadata.get("sksiamese", "{}"))
        found = metadata.get("format") if "about" in metadata else about.get("format")
    except (ValueError, AttributeError, TypeError, RecursionError):
        return _damaged(path, "it is not a safetensors file")
    advice = ""
    if found in OLD:
        advice = " It was written before version 1.0.0: fit again, and save."
    return ValueError(
        f"{printable(path)} is a safetensors file of format {str(found)[:40]!r}, which save did "
        f"not write.{advice}"
    )
