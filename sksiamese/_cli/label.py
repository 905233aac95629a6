"""``sksiamese label``: label images by exemplars of each class."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import softmax

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
from .output import check_no_input, check_output, write_table
from .reports import report_skipped


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
    answers, queries = answer(
        lambda queries: _answers(model, queries, support, args),
        read_files(files, size, color, args),
        args,
        least=0,
    )
    columns, rows = _table(files, queries, answers, args)
    write_table(args.output, columns, rows, args.format)
    return report_skipped(args.name, *others, support, queries)


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


def _table(
    files: list[str], queries: Images, answers: Answers, args: argparse.Namespace
) -> tuple[list[str], list[list[Any]]]:
    """Return the columns, and a row of each file."""
    columns = ["file", "label", "probability"]
    for k in range(min(args.top_k, len(answers.classes))):
        columns += [f"label_{k + 1}", f"probability_{k + 1}"]
    if args.probabilities:
        columns += [f"probability:{name}" for name in answers.classes]
    columns += [] if args.coverage is None else ["set"]
    columns += ["nearest"] if args.nearest else []
    columns += ["reason"] if args.on_error == "skip" else []
    row_of = {str(file): row for row, file in enumerate(queries.files)}
    rows: list[list[Any]] = []
    for file in files:
        if file in row_of:
            row = [file, *answers.cells(row_of[file], args)]
            rows.append(row + [""] * (args.on_error == "skip"))
        else:
            empty = [""] + [None] * (len(columns) - 3)
            rows.append([file, *empty, queries.skipped[file]])
    return columns, rows
