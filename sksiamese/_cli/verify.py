"""``sksiamese verify``: decide for pairs of images whether both are of one class."""

from __future__ import annotations

import argparse
import csv
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

from .._files import open_regular
from .images import Images, answer, find_files, read_files
from .models import Model, input_format, load_model, set_support
from .options import UsageError, add_images, add_model, add_output, number
from .output import check_no_input, check_output, write_table
from .reports import report_skipped

Pairs = list[tuple[str, str]]


def add_to(commands: Any) -> None:
    """Add the command and its options."""
    command = commands.add_parser(
        "verify", help="decide for pairs of images whether both are of the same class"
    )
    command.add_argument(
        "pair", metavar="PATH", nargs="*",
        help="two files, or two folders, whose files of the same name are compared",
    )  # fmt: skip
    command.add_argument(
        "--pairs", metavar="FILE",
        help="CSV file with the two files of each pair in its first two columns, relative to the "
        "current folder; a first row file_1,file_2 is a header",
    )  # fmt: skip
    command.add_argument(
        "--threshold", type=number(1), metavar="P", default=0.5,
        help="least probability of pairs that are called same; default: 0.5",
    )  # fmt: skip
    add_model(command)
    add_images(command)
    add_output(command, ["csv", "json"])
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Compare the pairs, and write the table; return the exit status."""
    check_output(args.output)
    model = load_model(args)
    pairs = _find_pairs(args)
    files = list(dict.fromkeys(file for pair in pairs for file in pair))
    check_no_input(args.output, [*files, args.network, args.pairs])
    size, color = input_format(model, args, files)
    probabilities, images = answer(
        lambda images: _compare(model, images, pairs),
        read_files(files, size, color, args),
        args,
        least=0,
    )
    columns = ["file_1", "file_2", "probability", "same"]
    columns += ["reason"] if args.on_error == "skip" else []
    rows: list[list[Any]] = []
    for pair in pairs:
        p = probabilities.get(pair)
        row = [*pair, p, None if p is None else int(p >= args.threshold)]
        reasons = [f"{file}: {images.skipped[file]}" for file in pair if file in images.skipped]
        rows.append(row + ["; ".join(dict.fromkeys(reasons))] * (args.on_error == "skip"))
    write_table(args.output, columns, rows, args.format)
    return report_skipped(args.name, len(images.files), images.skipped)


def _compare(model: Model, images: Images, pairs: Pairs) -> dict[tuple[str, str], float]:
    """Return the probability of the same class of each pair whose files were read."""
    if not len(images.files):
        return {}
    # Embeds each image once, and a network that adapts learns size and value range.
    set_support(model, images, np.zeros(len(images.files), dtype=int))
    row_of = {str(file): row for row, file in enumerate(images.files)}
    known = [pair for pair in dict.fromkeys(pairs) if set(pair) <= row_of.keys()]
    if not known:
        return {}
    a, b = np.array([[row_of[file] for file in pair] for pair in known]).T
    embeddings = model.support_.embeddings
    probabilities = expit(model.fitted_.pair_logits(embeddings, embeddings, a, b))
    return dict(zip(known, probabilities.tolist(), strict=True))


def _find_pairs(args: argparse.Namespace) -> Pairs:
    """Return the paths of the files of each pair.

    Raises
    ------
    ValueError, OSError
        If they are not given, or do not exist.
    """
    if args.pairs is not None:
        if args.pair:
            raise UsageError("--pairs and paths of a pair were given; expected one of them.")
        return _read_pairs(args.pairs)
    if len(args.pair) != 2:
        raise UsageError(
            f"{len(args.pair)} paths were given; expected two files or two folders, or --pairs."
        )
    for path in args.pair:
        if not Path(path).exists():
            raise FileNotFoundError(f"{path} does not exist; expected two files or two folders.")
    folders = [path for path in args.pair if Path(path).is_dir()]
    if len(folders) == 1:
        raise ValueError(f"{folders[0]} is a folder; expected two files or two folders.")
    if not folders:
        return [(args.pair[0], args.pair[1])]
    return _pairs_of_folders(*folders)


def _pairs_of_folders(first: str, second: str) -> Pairs:
    names = [
        {os.path.relpath(file, folder) for file in find_files([folder], "PATH")}
        for folder in (first, second)
    ]
    single = sorted(names[0] ^ names[1])
    if single:
        raise ValueError(
            f"{len(single)} files, such as {single[0]}, are in one of the folders {first} and "
            f"{second} only; expected files of the same names. Or list the pairs in a file for "
            "--pairs."
        )
    return [(os.path.join(first, name), os.path.join(second, name)) for name in sorted(names[0])]


def _read_pairs(path: str) -> Pairs:
    """Read a CSV file of pairs in UTF-8, with file names of any bytes."""
    try:
        with open_regular(path) as file:
            content = file.read().decode("utf-8-sig", "surrogateescape")
        rows = [row for row in csv.reader(io.StringIO(content, newline="")) if row]
    except OSError as error:
        raise OSError(f"--pairs {path} cannot be read: {error.strerror}.") from error
    except csv.Error as error:
        raise ValueError(f"--pairs {path} is not a table of file names: {error}.") from error
    if rows and rows[0][:2] == ["file_1", "file_2"]:
        rows = rows[1:]
    if not rows:
        raise ValueError(f"--pairs {path} lists no pairs.")
    for i, row in enumerate(rows, 1):
        if len(row) < 2:
            raise ValueError(f"--pairs {path}: pair {i} has one file; expected two columns.")
    return [(_native(row[0]), _native(row[1])) for row in rows]


def _native(name: str) -> str:
    """Return a name from a UTF-8 file as the file system of this locale has it."""
    return os.fsdecode(name.encode("utf-8", "surrogateescape"))
