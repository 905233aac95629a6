"""What the commands write: tables as CSV or JSON, in UTF-8, with file names as they are."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from textwrap import indent
from typing import Any, TextIO

from .._files import check_path, printable, write_atomically
from .options import UsageError

STANDARD_OUTPUT = "-"


def check_output(path: str) -> None:
    """Raise OSError or ValueError if no file can be written at `path`."""
    if path == STANDARD_OUTPUT:
        return
    check_path(path, "--output")
    if Path(path).is_dir():
        raise IsADirectoryError(f"--output {path} is a folder; expected the name of a file.")
    if not os.access(Path(path).resolve().parent, os.W_OK):
        raise OSError(
            f"--output {path} cannot be written: its folder does not exist or is read-only."
        )


def check_no_input(output: str, files: Iterable[str | None]) -> None:
    """Raise UsageError if `output` is one of the files that the command reads."""
    if output == STANDARD_OUTPUT or not Path(output).is_file():
        return
    if any(file is not None and _is_same_file(output, file) for file in files):
        raise UsageError(
            f"--output {output} is a file that the command reads. Choose another name."
        )


def _is_same_file(path: str, other: str) -> bool:
    try:
        return os.path.samefile(path, other)
    except (OSError, ValueError):  # an error that names the file follows when it is read
        return False


def is_stream(path: str) -> bool:
    """Return whether `path` is standard output, a pipe or a device, and not a file to replace."""
    if path == STANDARD_OUTPUT or _is_standard_output(path):
        return True
    return Path(path).exists() and not Path(path).is_file()


def write_table(
    output: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], form: str
) -> None:
    """Write rows as CSV with a header, or as a JSON array of objects, one by one.

    Probabilities, the floats, have four decimals in CSV. None is an empty cell, or null.
    """
    if form == "json":
        _write(output, _array(dict(zip(columns, row, strict=True)) for row in rows))
    else:
        _write(output, map(_line, chain([columns], rows)))


def write_json(output: str, value: Any) -> None:
    """Write a value as JSON; escapes keep bytes of file names that are not UTF-8."""
    write_text(output, json.dumps(value, indent=1) + "\n")


def write_text(output: str, text: str) -> None:
    """Write text in UTF-8; bytes of file names that are not UTF-8 are written as they are."""
    _write(output, [text])


def _write(output: str, texts: Iterable[str]) -> None:
    chunks = (text.encode("utf-8", "surrogateescape") for text in texts)
    try:
        if output == STANDARD_OUTPUT or _is_standard_output(output):
            _write_stdout(chunks)
        elif is_stream(output):
            with open(output, "wb") as file:
                file.writelines(chunks)
        else:
            write_atomically(output, chunks)
    except BrokenPipeError:
        raise
    except OSError as error:
        name = "standard output" if output == STANDARD_OUTPUT else f"--output {output}"
        raise OSError(f"{name} cannot be written: {error.strerror or error}.") from error


def write_line(text: str) -> None:
    """Write a line to stderr, if there is one; what cannot be printed is escaped.

    The result matters more: where stderr is closed or full, the line is lost.
    """
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(printable(text) + "\n")
        sys.stderr.flush()
    except OSError:
        _to_nowhere(sys.stderr)


def _array(values: Iterable[Any]) -> Iterator[str]:
    """Yield JSON of an array that has at least one value, as `json.dumps` writes it."""
    before = "[\n"
    for value in values:
        yield before + indent(json.dumps(value, indent=1), " ")
        before = ",\n"
    yield "\n]\n"


def _line(row: Sequence[Any]) -> str:
    """Return a line of CSV."""
    stream = io.StringIO()
    cells = (f"{cell:.4f}" if isinstance(cell, float) else cell for cell in row)
    # With this end of line, cells with either character are quoted.
    csv.writer(stream, lineterminator="\r\n").writerow(cells)
    return stream.getvalue().removesuffix("\r\n") + "\n"


def _is_standard_output(path: str) -> bool:
    """Return whether a path such as /dev/stdout is where standard output goes already."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(1))
    except OSError:
        return False


def _write_stdout(chunks: Iterable[bytes]) -> None:
    if sys.stdout is None:
        raise OSError("it is closed; pass --output FILE")
    sys.stdout.flush()
    try:
        sys.stdout.buffer.writelines(chunks)
        sys.stdout.buffer.flush()
    except OSError:
        _to_nowhere(sys.stdout)
        raise


def _to_nowhere(stream: TextIO) -> None:
    """Redirect a stream that failed: Python flushes it once more at exit, which must not fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
