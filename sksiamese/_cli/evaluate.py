"""``sksiamese evaluate``: measure the accuracy on one-shot trials."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from ..model_selection import OneShotScore, one_shot_score
from .images import Classes, answer, by_file, find_files, read_classes
from .models import Model, input_format, load_model
from .options import (
    add_aggregation,
    add_folder,
    add_images,
    add_model,
    add_output,
    add_seed,
    integer,
)
from .output import check_no_input, check_output, write_json, write_table, write_text
from .reports import report_skipped


def add_to(commands: Any) -> None:
    """Add the command and its options."""
    command = commands.add_parser(
        "evaluate", help="measure the accuracy on one-shot trials of a folder of classes"
    )
    add_folder(command)
    command.add_argument(
        "--way", type=integer(2), default=5, metavar="N",
        help="number of classes in a trial; default: 5",
    )  # fmt: skip
    command.add_argument(
        "--shot", type=integer(1), default=1, metavar="N",
        help="number of exemplars of each class; default: 1",
    )  # fmt: skip
    command.add_argument(
        "--episodes", type=integer(1), default=100, metavar="N",
        help="number of times that classes, exemplars and a query of each class are drawn; "
        "default: 100",
    )  # fmt: skip
    command.add_argument(
        "--unstructured", action="store_true",
        help="draw the classes of a trial from all groups, not from one; an easier task",
    )  # fmt: skip
    add_aggregation(command)
    add_model(command)
    add_images(command)
    add_output(command, ["text", "csv", "json"])
    add_seed(command)
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure, and write the accuracy; return the exit status."""
    check_output(args.output)
    model = load_model(args)
    files = find_files([args.folder], "FOLDER")
    check_no_input(args.output, [*files, args.network])
    size, color = input_format(model, args, files)
    data = read_classes("FOLDER", args.folder, size, color, args)
    score, data = answer(
        lambda data: _score(model, data, args), data, args, f"FOLDER {args.folder}"
    )
    low, high = score.interval
    values: dict[str, Any] = {
        "accuracy": score.accuracy, "interval_low": low, "interval_high": high,
        "way": score.n_way, "shot": score.n_shot, "protocol": score.protocol,
        "trials": score.n_trials, "seed": args.seed,
    }  # fmt: skip
    if args.format == "text":
        write_text(args.output, f"{score}, seed {args.seed}\n")
    elif args.format == "json":
        write_json(args.output, values)
    else:
        write_table(args.output, list(values), [list(values.values())], "csv")
    return report_skipped(args.name, len(data.files), data.skipped)


def _score(model: Model, data: Classes, args: argparse.Namespace) -> OneShotScore:
    return one_shot_score(
        _ByRows(model, data),
        np.arange(len(data.files)),
        data.target,
        groups=None if args.unstructured else data.groups,
        n_way=args.way,
        n_shot=args.shot,
        n_episodes=args.episodes,
        random_state=args.seed,
    )


class _ByRows:
    """Classifier of row numbers: `one_shot_score` uses only some rows, whose files errors name."""

    def __init__(self, model: Model, data: Classes) -> None:
        self.model = model
        self.data = data

    def trial_function(self, rows: np.ndarray) -> Any:
        """Return the trial function of the images at `rows`."""
        with by_file(self.data.files[rows]):
            return self.model.trial_function(self.data.images[rows])
