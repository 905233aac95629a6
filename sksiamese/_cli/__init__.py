"""The command line: train, label, verify and evaluate on folders of images."""

from __future__ import annotations

import argparse
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from .. import __version__
from . import evaluate, label, train, verify
from .options import UsageError
from .output import write_line
from .reports import FAILED, INTERRUPTED, USAGE

# Parameters that messages of the called functions mention, and the options that set them.
_OPTIONS = {
    "resize=(height, width)": "--resize HEIGHT WIDTH",
    "on_error='skip'": "--on-error skip",
    "n_shot + n_query": "--shot + 1",
    "n_way, n_shot or n_query": "--way or --shot",
    "n_way=": "--way ",
    "but y has": "but there are",
    "unknown_label=": "--unknown ",
    "checkpoint_dir=": "--checkpoint-dir ",
    "checkpoint_dir cannot": "--checkpoint-dir cannot",
    "max_iter is": "--epochs is",
    "random_state is": "--seed is",
    "weights=": "--weights ",
    "Call calibrate(X, y) with classes not used in training": "Pass --calibrate FOLDER with "
    "classes not used in training",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    arguments : sequence of str or None, default=None
        Command, arguments and options. If None, those of the process.

    Returns
    -------
    status : int
        0; 1 after an error, which is written to stderr; 2 after options that do not go together;
        3 if files were skipped; 130 after Ctrl-C. Options that argparse refuses exit with 2.
    """
    args = _parser().parse_args(arguments)
    try:
        with _warnings_on_stderr(args.name):
            return args.run(args)
    except BrokenPipeError:  # the reader has closed the pipe, as `head` does
        return FAILED
    except UsageError as error:
        return _fail(args.name, error, USAGE)
    except (ValueError, OSError, FloatingPointError) as error:
        return _fail(args.name, _with_options(_described(error)), FAILED)
    except MemoryError:
        return _fail(args.name, "there is not enough memory. Pass a smaller --resize.", FAILED)
    except KeyboardInterrupt:
        write_line(f"sksiamese {args.name}: interrupted{_advice(args)}")
        return INTERRUPTED


def _fail(command: str, message: object, status: int) -> int:
    write_line(f"sksiamese {command}: error: {message}")
    return status


def _described(error: Exception) -> str:
    """Return the message of an error, for one of the system without its number."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _advice(args: argparse.Namespace) -> str:
    """Return how to go on after Ctrl-C."""
    if getattr(args, "checkpoint_dir", None) is not None:
        return "; the same command with --resume continues"
    if args.name == "label" and os.path.exists(f"{args.output}.part"):
        return "; the same command goes on where this one stopped"
    return ""


def _with_options(message: object) -> str:
    """Return a message that advises options instead of parameters."""
    text = str(message)
    for parameter, option in _OPTIONS.items():
        text = text.replace(parameter, option)
    return text


@contextmanager
def _warnings_on_stderr(command: str) -> Iterator[None]:
    """Show warnings like errors, without the line of code that issued them."""
    shown = set()  # of each text, Python's own filter forgets if other filters change

    def show(message: Warning | str, *args: Any, **kwargs: Any) -> None:
        text = _with_options(message)
        if text not in shown:
            shown.add(text)
            write_line(f"sksiamese {command}: warning: {text}")

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "sksiamese",
        description="One-shot classification of images.",
        epilog="Exit status: 0 done; 1 error; 2 wrong usage; 3 done, but files were skipped.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="name", required=True, metavar="COMMAND")
    for command in (train, label, verify, evaluate):
        command.add_to(commands)
    return parser
