"""``sksiamese label``: label images by exemplars of each class."""

from __future__ import annotations

import argparse
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from scipy.special import softmax

from .. import __version__
from .._files import open_regular
from .._identity import described
from ..exceptions import listed, warn
from .images import (
    Classes,
    Images,
    answer,
    class_of,
    find_files,
    read_classes,
    read_files,
)
from .journal import Journal
from .models import Model, input_format, load_model, set_support
from .options import (
    UsageError,
    add_aggregation,
    add_images,
    add_model,
    add_output,
    integer,
    number,
)
from .output import check_no_input, check_output, write_line, write_table
from .reports import report_skipped

BLOCK_FILES = 1024  # that are read and labelled at once, at most,
BLOCK_VALUES = 2**21  # and values of their pixels

# Options that decide the rows, beside those that name files.
DECIDING = (
    "unknown", "match", "false_acceptance_rate", "coverage", "aggregation", "top_k",
    "probabilities", "nearest", "invert",
)  # fmt: skip


def add_to(commands: Any) -> None:
    """Add the command and its options."""
    command = commands.add_parser(
        "label", help="label images, given one or more exemplars of each class"
    )
    command.add_argument(
        "--support", metavar="FOLDER", required=True,
        help="folder with exemplars: FOLDER/class/image, or one file FOLDER/class.png per class",
    )  # fmt: skip
    command.add_argument(
        "--query", metavar="PATH", nargs="+", required=True,
        help="images to label: files, and folders, with their sub-folders",
    )  # fmt: skip
    decision = command.add_mutually_exclusive_group()
    decision.add_argument(
        "--unknown", metavar="LABEL",
        help="label of images that seem to be of no class of the support",
    )  # fmt: skip
    decision.add_argument(
        "--match", action="store_true",
        help="give each image a different label, by the best one-to-one assignment",
    )  # fmt: skip
    command.add_argument(
        "--calibrate", metavar="FOLDER",
        help="folder with other classes, FOLDER/class/image, on which to learn which images are "
        "of unknown classes; default: as learned in training",
    )  # fmt: skip
    command.add_argument(
        "--false-acceptance-rate", type=number(1), metavar="RATE",
        help="with --calibrate, the fraction of images of unknown classes that are given the "
        "label of a class; default: 0.05",
    )  # fmt: skip
    command.add_argument(
        "--coverage", type=number(1), metavar="P",
        help="add a column set: the classes that contain the right one with this probability, "
        "separated by |; needs --calibrate, or a calibrated network",
    )  # fmt: skip
    add_aggregation(command)
    command.add_argument(
        "--top-k", type=integer(1), metavar="K", default=0,
        help="add columns label_1, probability_1, ... of the K most probable classes",
    )  # fmt: skip
    command.add_argument(
        "--probabilities", action="store_true", help="add a column probability:CLASS of each class"
    )
    command.add_argument(
        "--nearest", action="store_true", help="add a column with the file of the nearest exemplar"
    )
    add_model(command)
    add_images(command)
    add_output(command, ["csv", "json"])
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Label the images, and write the table; return the exit status."""
    check_output(args.output)
    if args.false_acceptance_rate is not None and args.calibrate is None:
        raise UsageError("--false-acceptance-rate needs --calibrate, a folder with other classes.")
    if args.calibrate is not None and args.unknown is None and args.coverage is None:
        raise UsageError("--calibrate has no effect without --unknown or --coverage.")
    model = load_model(args)
    files = find_files(args.query, "--query")
    known = find_files([args.support], "--support") + files
    check_no_input(args.output, [*known, args.network])
    size, color = input_format(model, args, known)
    others = _calibrate(model, size, color, args)
    if args.unknown is not None:
        model.set_params(unknown_label=args.unknown)
    support = _set_support(model, size, color, args)
    columns = _columns(model, args)
    blocks = _blocks(files, size, color, args)
    with Journal(args.output, _decided_by(support, others, size, color, args)) as journal:
        n_done = _n_done(journal, blocks, args)
        journal.keep(n_done)
        if n_done:
            n_files = sum(map(len, blocks[:n_done]))
            write_line(
                f"sksiamese {args.name}: {n_files} of {len(files)} files are labelled already, in "
                f"{journal.path}"
            )
        for block in blocks[n_done:]:
            stamp = _stamp(block)
            answers, queries = answer(
                lambda queries: _answers(model, queries, support, args),
                read_files(block, size, color, args),
                args,
                least=0,
            )
            journal.append(stamp, _rows(block, queries, answers, len(columns), args))
        unanswered = _write(journal, columns, args)
    n_used = sum(len(images.files) for images in (*others, support))
    skipped = {file: why for images in (*others, support) for file, why in images.skipped.items()}
    return report_skipped(
        args.name, n_used + len(files) - len(unanswered), {**skipped, **unanswered}
    )


def _write(journal: Journal, columns: list[str], args: argparse.Namespace) -> dict[str, str]:
    """Write the table, and return the files without an answer, with the reasons."""
    unanswered: dict[str, str] = {}

    def rows() -> Iterator[list[Any]]:
        for *cells, reason in chain.from_iterable(journal.blocks()):
            if reason:
                unanswered[cells[0]] = reason
            yield [*cells, reason] if args.on_error == "skip" else cells

    reason = ["reason"] if args.on_error == "skip" else []
    write_table(args.output, columns + reason, rows(), args.format)
    return unanswered


@dataclass(frozen=True, eq=False)
class Answers:
    """What the model says of each query, in their order."""

    labels: np.ndarray  # (n,)
    classes: np.ndarray  # (n_classes,)
    probabilities: np.ndarray  # (n, n_classes)
    sets: np.ndarray | None  # (n, n_classes), bool
    nearest: np.ndarray | None  # (n,), files

    def cells(self, row: int, args: argparse.Namespace) -> list[Any]:
        """Return what is written of one query."""
        label, p = self.labels[row], self.probabilities[row].tolist()
        by_class = dict(zip(self.classes.tolist(), p, strict=True))
        # Softmax gives no probability of an unknown class.
        cells: list[Any] = [str(label), by_class.get(str(label))]
        ranked = sorted(by_class.items(), key=lambda item: -item[1])
        cells += [cell for item in ranked[: args.top_k] for cell in item]
        cells += p if args.probabilities else []
        cells += [] if self.sets is None else ["|".join(self.classes[self.sets[row]])]
        cells += [] if self.nearest is None else [str(self.nearest[row])]
        return cells


def _calibrate(
    model: Model, size: tuple[int, int], color: bool, args: argparse.Namespace
) -> list[Images]:
    """Learn the rejection threshold on a folder, if one is given, and return its images."""
    if args.calibrate is None:
        return []
    if args.false_acceptance_rate is not None:
        model.set_params(false_acceptance_rate=args.false_acceptance_rate)
    data = read_classes("--calibrate", args.calibrate, size, color, args)

    def calibrate(data: Classes) -> Model:
        return model.calibrate(data.images, data.target, data.groups)

    return [answer(calibrate, data, args, f"--calibrate {args.calibrate}")[1]]


def _set_support(
    model: Model, size: tuple[int, int], color: bool, args: argparse.Namespace
) -> Classes:
    """Read the exemplars, set them as the support, and return them."""
    support = read_classes("--support", args.support, size, color, args)
    name = f"--support {args.support}"
    _, support = answer(lambda data: set_support(model, data, data.target), support, args, name)
    lost = {class_of(file, args.support) for file in support.skipped} - set(support.target)
    if lost:
        warn(
            f"no exemplar is left of {listed(sorted(lost))}. Images of these classes get the "
            "label of another class.",
            UserWarning,
        )
    return support


def _answers(model: Model, queries: Images, support: Images, args: argparse.Namespace) -> Answers:
    sets = nearest = None
    if not len(queries.files):
        return Answers(np.empty(0), model.classes_, np.empty((0, len(model.classes_))), None, None)
    labels, logits = model.predict(queries.images, return_logits=True)
    if args.match:
        labels = model.match(queries.images)
    if args.coverage is not None:
        sets = model.predict_set(queries.images, args.coverage)
    if args.nearest:
        _, rows = model.kneighbors(queries.images, 1)
        nearest = support.files[rows[:, 0]]
    return Answers(labels, model.classes_, softmax(logits, axis=1), sets, nearest)


def _blocks(
    files: list[str], size: tuple[int, int], color: bool, args: argparse.Namespace
) -> list[list[str]]:
    """Return the files in blocks, of which one is in memory; --match needs all at once."""
    values = size[0] * size[1] * (3 if color else 1)
    n = len(files) if args.match else min(BLOCK_FILES, max(1, BLOCK_VALUES // values))
    return [files[i : i + n] for i in range(0, len(files), n)]


def _columns(model: Model, args: argparse.Namespace) -> list[str]:
    columns = ["file", "label", "probability"]
    for k in range(min(args.top_k, len(model.classes_))):
        columns += [f"label_{k + 1}", f"probability_{k + 1}"]
    if args.probabilities:
        columns += [f"probability:{name}" for name in model.classes_]
    columns += [] if args.coverage is None else ["set"]
    return columns + (["nearest"] if args.nearest else [])


def _rows(
    files: list[str], queries: Images, answers: Answers, n_columns: int, args: argparse.Namespace
) -> list[list[Any]]:
    """Return a row of each file, which ends with the reason if there is no answer."""
    row_of = {str(file): row for row, file in enumerate(queries.files)}
    empty = [""] + [None] * (n_columns - 2)
    return [
        [file, *answers.cells(row_of[file], args), ""]
        if file in row_of
        else [file, *empty, queries.skipped[file]]
        for file in files
    ]


def _stamp(files: list[str]) -> str:
    """Return a digest of names, sizes and times of files."""
    digest = hashlib.sha256()
    for file in files:
        try:
            status = os.stat(file)
            found = f"{status.st_size} {status.st_mtime_ns}"
        except (OSError, ValueError):  # an error that names the file follows when it is read
            found = "none"
        digest.update(f"{file}\0{found}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _n_done(journal: Journal, blocks: list[list[str]], args: argparse.Namespace) -> int:
    """Return how many of the first blocks need not be labelled again."""
    n_done = 0
    for block, stamp, rows in zip(blocks, journal.stamps, journal.blocks(), strict=False):
        refused = args.on_error == "raise" and any(row[-1] for row in rows)
        if refused or stamp != _stamp(block):
            break
        n_done += 1
    return n_done


def _decided_by(
    support: Classes,
    others: list[Images],
    size: tuple[int, int],
    color: bool,
    args: argparse.Namespace,
) -> dict[str, str]:
    """Return what decides the rows beside the files, by names for messages."""
    network: Any = args.model
    if args.network is not None:
        with open_regular(args.network) as file:
            network = np.frombuffer(file.read(), np.uint8)
    return {
        "version of sksiamese": __version__,
        "network": described(network),
        "size of images": described((size, color)),
        "set of options": described({name: getattr(args, name) for name in DECIDING}),
        "support": described((support.images, support.target, support.files)),
        "--calibrate": described([(data.images, data.files) for data in others]),
    }
