"""``sksiamese train``: train a network on a folder of classes."""

from __future__ import annotations

import argparse
import math
import os
import sys
from pathlib import Path
from typing import Any

from sklearn.base import clone

from .. import recipes
from .._classifier import SiameseOneShotClassifier
from .._params import check_target, pretrained_names
from ..weights import load_pretrained
from .images import Classes, answer, find_files, read_classes, typical_size
from .options import UsageError, add_folder, add_images, add_seed, integer, number
from .output import check_output, write_text
from .reports import report_skipped

RECIPES = {"default": SiameseOneShotClassifier, "omniglot": recipes.omniglot}


def add_to(commands: Any) -> None:
    """Add the command and its options."""
    command = commands.add_parser("train", help="train a network on a folder of classes")
    add_folder(command)
    command.add_argument(
        "-o", "--output", metavar="FILE", required=True,
        help="safetensors file to write; another network of that name is replaced at the end",
    )  # fmt: skip
    start = command.add_mutually_exclusive_group()
    start.add_argument(
        "--recipe", choices=RECIPES, default="default",
        help="parameters of the classifier: its defaults, or those for handwritten characters",
    )  # fmt: skip
    start.add_argument(
        "--weights", metavar="omniglot|FILE",
        help="continue from the pretrained network, or from a file that train wrote, with its "
        "parameters",
    )  # fmt: skip
    command.add_argument(
        "--epochs", type=integer(1), metavar="N",
        help="number of epochs; default: that of the recipe",
    )  # fmt: skip
    command.add_argument(
        "--learning-rate", type=number(math.inf), metavar="RATE",
        help="maximum learning rate; default: that of the recipe",
    )  # fmt: skip
    command.add_argument(
        "--n-estimators", type=integer(1), metavar="N",
        help="number of networks, whose scores are averaged; default: 1",
    )  # fmt: skip
    command.add_argument(
        "--early-stopping", action="store_true",
        help="hold out some classes, and stop when the accuracy on them no longer improves",
    )  # fmt: skip
    command.add_argument(
        "--calibrate", action="store_true",
        help="hold out some classes, and learn on them which images are of unknown classes, for "
        "label --unknown",
    )  # fmt: skip
    command.add_argument("--color", action="store_true", help="train on RGB images, not gray ones")
    command.add_argument(
        "--checkpoint-dir", metavar="DIR",
        help="folder for checkpoints, from which --resume continues",
    )  # fmt: skip
    command.add_argument(
        "--resume", action="store_true",
        help="continue a training with the same options that was interrupted",
    )  # fmt: skip
    command.add_argument(
        "-v", "--verbose", action="store_true",
        help="show progress on stderr even if it is not a terminal",
    )  # fmt: skip
    add_images(command)
    add_seed(command)
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train, and write the network; return the exit status."""
    # Check the output before training, which may take an hour.
    _check_output(args.output)
    _check_checkpoints(args)
    clf = _unfitted(args)
    files = find_files([args.folder], "FOLDER")
    size = typical_size(files) if args.resize is None else args.resize
    data = read_classes("FOLDER", args.folder, size, args.color, args)

    def fit(data: Classes) -> SiameseOneShotClassifier:
        return clone(clf).fit(data.images, data.target, groups=data.groups)

    clf, data = answer(fit, data, args, f"FOLDER {args.folder}")
    # The support is the training set, but queries will be of new classes.
    clf.set_params(verbose=0, unknown_label=None, checkpoint_dir=None)
    clf.save(args.output, support=False)
    loss = clf.history_[-1][-1]["train_loss"]
    write_text("-", f"{args.output}: {len(data.files)} images, loss {loss:.3f}\n")
    return report_skipped(args.name, len(data.files), data.skipped)


def _unfitted(args: argparse.Namespace) -> SiameseOneShotClassifier:
    """Return the classifier to train, with the parameters of the options."""
    if args.weights is None:
        clf = RECIPES[args.recipe]()
    elif args.weights in pretrained_names():
        clf = clone(load_pretrained(args.weights))
    else:
        clf = clone(SiameseOneShotClassifier.load(args.weights)).set_params(weights=args.weights)
    given = {
        "max_iter": args.epochs,
        "learning_rate": args.learning_rate,
        "n_estimators": args.n_estimators,
        "early_stopping": args.early_stopping or None,
        "unknown_label": "unknown" if args.calibrate else None,
        "channels": "last" if args.color else None,
        "checkpoint_dir": args.checkpoint_dir,
    }
    clf.set_params(**{name: value for name, value in given.items() if value is not None})
    shows = args.verbose or (sys.stderr is not None and sys.stderr.isatty())
    return clf.set_params(random_state=args.seed, verbose=int(shows))


def _check_output(path: str) -> None:
    """Raise OSError if no network can be written at `path`, or something else is there."""
    if path == "-":
        raise UsageError("--output - is standard output; expected the name of a file.")
    check_output(path)
    check_target(path)
    if Path(path).exists() and os.path.getsize(path):
        try:
            SiameseOneShotClassifier.load(path)
        except (OSError, ValueError) as error:
            raise FileExistsError(
                f"--output {path} exists and is no network that train wrote. Choose another name."
            ) from error


def _check_checkpoints(args: argparse.Namespace) -> None:
    """Raise ValueError if it is unclear whether checkpoints are to be continued."""
    if args.checkpoint_dir is None:
        if args.resume:
            raise UsageError("--resume needs --checkpoint-dir, the folder with the checkpoints.")
        return
    folder = Path(args.checkpoint_dir)
    if not args.resume and folder.is_dir() and any(folder.iterdir()):
        raise UsageError(
            f"--checkpoint-dir {folder} is not empty. Pass --resume to continue the training "
            "whose checkpoints it has, or name another folder."
        )
