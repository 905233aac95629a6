"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

INVERT: dict[str, bool | str] = {"never": False, "always": True, "auto": "auto"}


class UsageError(ValueError):
    """Error about options that do not go together."""


def integer(least: int, most: int = 2**31 - 1) -> Callable[[str], int]:
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


def number(limit: float) -> Callable[[str], float]:
    """Return a function that converts text to a number above 0 and below `limit`."""

    def convert(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = 0.0
        if not 0 < value < limit:
            end = f" and below {limit:g}" if math.isfinite(limit) else ""
            raise argparse.ArgumentTypeError(f"{text}; expected a number above 0{end}")
        return value

    return convert


def add_folder(command: argparse.ArgumentParser) -> None:
    """Add the folder of a labelled data set."""
    command.add_argument(
        "folder", metavar="FOLDER",
        help="folder with files FOLDER/class/image or FOLDER/group/class/image",
    )  # fmt: skip


def add_images(command: argparse.ArgumentParser) -> None:
    """Add how image files are read."""
    command.add_argument(
        "--resize", type=integer(1, 10_000), nargs=2, metavar=("HEIGHT", "WIDTH"),
        help="size in pixels that images are resized to, keeping their proportions; default: as "
        "the network was trained, or the median size of the files, at most 256 pixels",
    )  # fmt: skip
    command.add_argument(
        "--invert", choices=INVERT, default="never",
        help="invert all images ('always'), or those with a dark border, so that all are dark on "
        "light ('auto'); default: never",
    )  # fmt: skip
    command.add_argument(
        "--on-error", choices=["raise", "skip"], default="raise",
        help="stop at images that cannot be used, or skip them, report why, and exit with status "
        "3; default: raise",
    )  # fmt: skip


def add_model(command: argparse.ArgumentParser) -> None:
    """Add what compares the images."""
    model = command.add_mutually_exclusive_group()
    model.add_argument(
        "--network", metavar="FILE",
        help="file that train wrote; default: the pretrained network for handwritten characters",
    )  # fmt: skip
    model.add_argument(
        "--model", choices=["network", "programs"], default="network",
        help="compare images by a network, or drawings by motor programs, which need no training "
        "and are slow; default: network",
    )  # fmt: skip


def add_aggregation(command: argparse.ArgumentParser) -> None:
    """Add how several exemplars of a class are combined."""
    command.add_argument(
        "--aggregation", choices=["mean", "max", "prototype"],
        help="how several exemplars of a class make one score; default: that of the network",
    )  # fmt: skip


def add_output(command: argparse.ArgumentParser, formats: list[str]) -> None:
    """Add the file and the format of the results."""
    command.add_argument(
        "-o", "--output", metavar="FILE", default="-",
        help="file to write, replaced as a whole at the end; default: -, standard output",
    )  # fmt: skip
    command.add_argument(
        "--format", choices=formats, default=formats[0],
        help=f"format of the results; default: {formats[0]}",
    )  # fmt: skip


def add_seed(command: argparse.ArgumentParser) -> None:
    """Add the seed of the random numbers."""
    command.add_argument(
        "--seed", type=integer(0, 2**32 - 1), default=0,
        help="seed of the random numbers; default: 0",
    )  # fmt: skip
