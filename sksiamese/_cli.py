"""The command line: train, label and evaluate on folders of images."""

from __future__ import annotations

import argparse
import csv
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from scipy.special import softmax
from sklearn.utils import Bunch

from . import __version__, recipes
from ._classifier import SiameseOneShotClassifier
from ._params import check_target
from .datasets import load_image_folder, load_images
from .datasets.folder import image_files
from .exceptions import InvertedImageError
from .model_selection import one_shot_score
from .twin.scaling import describe_shape
from .weights import load_pretrained

# Parameters that messages of the called functions mention, and the options that set them.
_OPTIONS = {
    "resize=(height, width)": "--resize HEIGHT WIDTH",
    "on_error='skip'": "--on-error skip",
    "n_shot + n_query": "--shot + 1",
    "n_way, n_shot or n_query": "--way or --shot",
    "n_way=": "--way ",
}
_INVERT: dict[str, bool | str] = {"never": False, "always": True, "auto": "auto"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    arguments : sequence of str or None, default=None
        Command, arguments and options. If None, those of the process.

    Returns
    -------
    status : int
        0; 1 after an error, which is written to stderr; 130 after Ctrl-C.
    """
    args = _parser().parse_args(arguments)
    try:
        with _warnings_on_stderr(args.name):
            args.command(args)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has closed the pipe, as `head` does
        # Python flushes stdout once more at exit, which must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, OSError, FloatingPointError) as error:
        sys.stderr.write(f"sksiamese {args.name}: {_with_options(error)}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write(f"sksiamese {args.name}: interrupted\n")
        return 130
    return 0


def train(args: argparse.Namespace) -> None:
    """Train a network on a folder of classes and write it to a file."""
    # Check the output before training, which may take an hour.
    _check_output(args.output)
    check_target(args.output)
    data = _load_classes("FOLDER", args.folder, args.resize, args.color, args)
    if args.recipe == "omniglot":
        clf = recipes.omniglot(random_state=args.seed)
    else:
        clf = SiameseOneShotClassifier(random_state=args.seed)
    if args.epochs is not None:
        clf.set_params(max_iter=args.epochs)
    if args.color:
        clf.set_params(channels="last")
    clf.set_params(verbose=int(sys.stderr.isatty()))
    clf.fit(data.images, data.target, groups=data.groups)
    # The support is the training set, but queries will be of new classes.
    clf.set_params(verbose=0).save(args.output, support=False)
    loss = clf.history_[-1][-1]["train_loss"]
    sys.stdout.write(f"{args.output}: {len(data.target)} images, loss {loss:.3f}\n")


def label(args: argparse.Namespace) -> None:
    """Label the images of a folder by exemplars of each class, and write CSV."""
    if args.output is not None:
        _check_output(args.output)
    clf = _load_network(args.network)
    size, color = _input_format(clf, args)
    support = _load_classes("--support", args.support, size, color, args)
    files = image_files(_check_folder("--query", args.query))
    if not files:
        raise ValueError(f"--query {args.query} contains no images.")
    queries = load_images(
        files, size, color=color, invert=_INVERT[args.invert], on_error=args.on_error
    )
    with _naming("--support", args.support):
        clf.set_support(support.images, support.target)
    with _naming("--query", args.query):
        labels, logits = clf.predict(queries.images, return_logits=True)
    # Softmax gives no probability of an unknown class.
    probabilities, known = softmax(logits, axis=1).max(axis=1), np.isin(labels, support.target)
    with _open_output(args.output) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["file", "label", "probability"])
        rows = zip(queries.filenames, labels, probabilities, known, strict=True)
        for file, name, probability, is_known in rows:
            writer.writerow([file, name, f"{probability:.4f}" if is_known else ""])


def evaluate(args: argparse.Namespace) -> None:
    """Measure the accuracy on one-shot trials drawn from a folder of classes."""
    clf = _load_network(args.network)
    size, color = _input_format(clf, args)
    data = _load_classes("FOLDER", args.folder, size, color, args)
    score = one_shot_score(
        clf, data.images, data.target, groups=data.groups, n_way=args.way, n_shot=args.shot,
        n_episodes=args.episodes, random_state=args.seed,
    )  # fmt: skip
    sys.stdout.write(f"{score}, seed {args.seed}\n")


def _with_options(message: object) -> str:
    """Return a message that advises options instead of parameters."""
    text = str(message)
    for parameter, option in _OPTIONS.items():
        text = text.replace(parameter, option)
    return text


@contextmanager
def _warnings_on_stderr(command: str) -> Iterator[None]:
    """Show warnings like errors, without the line of code that issued them."""

    def show(message: Warning | str, *args: Any, **kwargs: Any) -> None:
        sys.stderr.write(f"sksiamese {command}: warning: {_with_options(message)}\n")

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


@contextmanager
def _naming(option: str, path: str) -> Iterator[None]:
    """Add to errors about images in which folder they are."""
    try:
        yield
    except ValueError as error:
        advice = ""
        if isinstance(error, InvertedImageError):
            advice = " --invert auto makes all images dark on light."
        raise ValueError(f"{option} {path}: {error}{advice}") from error


def _load_classes(
    name: str, folder: str, size: Sequence[int] | None, color: bool, args: argparse.Namespace
) -> Bunch:
    return load_image_folder(
        _check_folder(name, folder),
        None if size is None else (size[0], size[1]),
        color=color,
        invert=_INVERT[args.invert],
        on_error=args.on_error,
    )


def _load_network(path: str | None) -> SiameseOneShotClassifier:
    return load_pretrained("omniglot") if path is None else SiameseOneShotClassifier.load(path)


def _input_format(
    clf: SiameseOneShotClassifier, args: argparse.Namespace
) -> tuple[tuple[int, int], bool]:
    """Return the size of the images that the network takes, and whether they have colours."""
    channels, *size = clf.input_shape_
    if len(size) != 2 or channels not in (1, 3):
        raise ValueError(
            f"--network {args.network} takes {describe_shape(clf.input_shape_)}; expected a "
            "network that takes gray or RGB images."
        )
    if args.resize is not None and clf.fitted_.adapts:
        size = args.resize
    elif args.resize not in (None, size):
        raise ValueError(
            f"--resize {' '.join(map(str, args.resize))} differs from the size {size[0]} "
            f"{size[1]} that --network {args.network} takes. Omit --resize."
        )
    clf.set_params(channels="last")  # as the loaders return images
    return (size[0], size[1]), channels == 3


def _check_folder(name: str, path: str) -> Path:
    """Return the path of an existing folder; `name` is the argument it was given as."""
    if not Path(path).is_dir():
        raise FileNotFoundError(f"{name} {path} is not a folder; expected a folder of images.")
    return Path(path)


def _check_output(path: str) -> None:
    """Raise OSError if no file can be written at `path`."""
    if Path(path).is_dir():
        raise IsADirectoryError(f"--output {path} is a folder; expected the name of a file.")
    if not os.access(Path(path).resolve().parent, os.W_OK):
        raise OSError(
            f"--output {path} cannot be written: its folder does not exist or is read-only."
        )


@contextmanager
def _open_output(output: str | None) -> Iterator[TextIO]:
    """Open standard output, or a file that appears only after everything is written."""
    if output is None:
        yield sys.stdout
        return
    path = Path(output)
    if path.exists() and not path.is_file():  # a pipe or a device: write to it
        with path.open("w", newline="") as stream:
            yield stream
        return
    path = path.resolve()  # replace the target of a link, not the link
    part = Path(f"{path}.{os.getpid()}.part")
    try:
        with part.open("w", newline="") as stream:
            yield stream
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _integer(least: int, most: int = 2**31 - 1) -> Callable[[str], int]:
    """Return a function that converts text to an integer from `least` to `most`."""

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text}; expected an integer from {least} to {most}")
        return value

    return convert


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("sksiamese", description="One-shot classification of images.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="name", required=True, metavar="COMMAND")
    images = argparse.ArgumentParser(add_help=False)
    images.add_argument(
        "--resize", type=_integer(1), nargs=2, metavar=("HEIGHT", "WIDTH"),
        help="size in pixels that images are resized to; default: as the network takes them, or, "
        "to train, as the files have them",
    )  # fmt: skip
    images.add_argument(
        "--invert", choices=_INVERT, default="never",
        help="invert all images ('always'), or those with a dark border, so that all are dark on "
        "light ('auto'); default: never",
    )  # fmt: skip
    images.add_argument(
        "--on-error", choices=["raise", "skip"], default="raise",
        help="stop at files that cannot be read, or skip them with a warning; default: raise",
    )  # fmt: skip
    seed = argparse.ArgumentParser(add_help=False)
    seed.add_argument(
        "--seed", type=_integer(0, 2**32 - 1), default=0,
        help="seed of the random numbers; default: 0",
    )  # fmt: skip
    network = argparse.ArgumentParser(add_help=False)
    network.add_argument(
        "--network", metavar="FILE",
        help="file that train wrote; default: the pretrained network for handwritten characters",
    )  # fmt: skip
    folder = argparse.ArgumentParser(add_help=False)
    folder.add_argument(
        "folder", metavar="FOLDER",
        help="folder with files FOLDER/class/image or FOLDER/group/class/image",
    )  # fmt: skip

    command = commands.add_parser(
        "train", parents=[folder, images, seed], help="train a network on a folder of classes"
    )
    command.add_argument(
        "-o", "--output", metavar="FILE", required=True, help="safetensors file to write"
    )
    command.add_argument(
        "--recipe", choices=["default", "omniglot"], default="default",
        help="parameters of the classifier: its defaults, or those for handwritten characters",
    )  # fmt: skip
    command.add_argument(
        "--epochs", type=_integer(1), metavar="N",
        help="number of epochs; default: that of the recipe",
    )  # fmt: skip
    command.add_argument("--color", action="store_true", help="train on RGB images, not gray ones")
    command.set_defaults(command=train)

    command = commands.add_parser(
        "label", parents=[images, network],
        help="label images, given one or more exemplars of each class",
    )  # fmt: skip
    command.add_argument(
        "--support", metavar="FOLDER", required=True,
        help="folder with the exemplars, FOLDER/class/image",
    )  # fmt: skip
    command.add_argument(
        "--query", metavar="FOLDER", required=True, help="folder with the images to label"
    )
    command.add_argument(
        "-o", "--output", metavar="FILE", help="CSV file to write; default: standard output"
    )
    command.set_defaults(command=label)

    command = commands.add_parser(
        "evaluate", parents=[folder, images, seed, network],
        help="measure the accuracy on one-shot trials of a folder of classes",
    )  # fmt: skip
    command.add_argument(
        "--way", type=_integer(2), default=5, metavar="N",
        help="number of classes in a trial; default: 5",
    )  # fmt: skip
    command.add_argument(
        "--shot", type=_integer(1), default=1, metavar="N",
        help="number of exemplars of each class; default: 1",
    )  # fmt: skip
    command.add_argument(
        "--episodes", type=_integer(1), default=100, metavar="N",
        help="number of times that classes, exemplars and queries are drawn; default: 100",
    )  # fmt: skip
    command.set_defaults(command=evaluate)
    return parser
