"""The command line: train, label and evaluate on folders of images."""

import argparse
import csv
import os
import sys
from contextlib import contextmanager
from pathlib import Path

from scipy.special import softmax
from sklearn.exceptions import NotFittedError

from . import __version__, recipes
from ._classifier import SiameseOneShotClassifier
from ._params import check_target
from ._validation import describe_shape
from .datasets import load_image_folder
from .datasets.folder import image_files, load_images
from .model_selection import one_shot_score
from .weights import load_pretrained

_PRETRAINED_SIDE = 105
# What errors of the functions beneath advise, in the words of the command line.
_OPTIONS = {
    "image_shape=(height, width)": "--image-shape HEIGHT WIDTH",
    "on_error='skip'": "--on-error skip",
}
_INVERT = {"never": False, "always": True, "auto": "auto"}


def main(arguments=None):
    """Run one command; the exit status is 0, or 1 after an error that it tells of on stderr."""
    args = _parser().parse_args(arguments)
    try:
        args.command(args)
        sys.stdout.flush()
    except BrokenPipeError:  # who reads has enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nor an error at exit
        return 1
    except (ValueError, TypeError, OSError, FloatingPointError, NotFittedError) as error:
        message = str(error)
        for parameter, option in _OPTIONS.items():
            message = message.replace(parameter, option)
        sys.stderr.write(f"sksiamese {args.name}: {message}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write(f"sksiamese {args.name}: interrupted\n")
        return 130
    return 0


def train(args):
    _check_output(args.output)  # sooner than after an hour
    check_target(args.output)
    data = _classes(args.folder, args.image_shape, args.color, args)
    if args.recipe == "omniglot":
        clf = recipes.omniglot(random_state=args.seed)
    else:
        clf = SiameseOneShotClassifier(random_state=args.seed)
    if args.epochs is not None:
        clf.set_params(max_iter=args.epochs)
    clf.fit(data.images, data.target, groups=data.groups)
    clf.support_ = None  # background classes are not what it will be asked about
    clf.save(args.output)
    loss = clf.history_[-1]["train_loss"]
    sys.stdout.write(f"{args.output}: {len(data.target)} images, loss {loss:.3f}\n")


def label(args):
    if args.output is not None:
        _check_output(args.output)
    clf = _twin(args.twin)
    image_shape, color = _kind(clf, args)
    support = _classes(args.support, image_shape, color, args)
    files = image_files(_folder(args.query))
    if not files:
        raise ValueError(f"--query {args.query} has no images.")
    images, kept = load_images(files, image_shape, color, _INVERT[args.invert], args.on_error)
    clf.set_support(support.images, support.target)
    logits, classes = clf._class_logits(images)  # encoded once
    labels, probabilities = clf._labels_of(logits, classes), softmax(logits, axis=1)
    with _output(args.output) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["file", "label", "probability"])
        for row, name, p in zip(kept, labels, probabilities, strict=True):
            known = name in classes  # how probable unknown is, nobody has learned
            writer.writerow([files[row], name, f"{p.max():.4f}" if known else ""])


def evaluate(args):
    clf = _twin(args.twin)
    image_shape, color = _kind(clf, args)
    data = _classes(args.folder, image_shape, color, args)
    score = one_shot_score(
        clf, data.images, data.target, groups=data.groups, n_way=args.way, n_shot=args.shot,
        n_episodes=args.episodes, random_state=args.seed,
    )  # fmt: skip
    sys.stdout.write(f"{score}, seed {args.seed}\n")


def _classes(folder, image_shape, color, args):
    return load_image_folder(
        folder,
        image_shape,
        color=color,
        invert=_INVERT[args.invert],
        on_error=args.on_error,
    )


def _twin(path):
    return load_pretrained("omniglot") if path is None else SiameseOneShotClassifier.load(path)


def _kind(clf, args):
    """Size and colour of the images that the twin takes."""
    if clf._adapts:
        return args.image_shape or (_PRETRAINED_SIDE, _PRETRAINED_SIDE), False
    channels, *sides = clf.input_shape_
    if len(sides) != 2 or channels not in (1, 3):
        raise ValueError(
            f"--twin {args.twin} takes {describe_shape(clf.input_shape_)}; expected one that "
            "takes gray or RGB images, which is what files are read as."
        )
    if args.image_shape not in (None, sides):
        raise ValueError(
            f"--image-shape {' '.join(map(str, args.image_shape))}, but --twin {args.twin} takes "
            f"{sides[0]} {sides[1]}: leave it out."
        )
    clf.set_params(channels="last")  # as files are read
    return tuple(sides), channels == 3


def _folder(path):
    if not Path(path).is_dir():
        raise FileNotFoundError(f"{path} is no folder.")
    return Path(path)


def _check_output(path):
    """Error where a file cannot be written there."""
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"--output {path} is a folder; expected the name of a file.")
    if not os.access(path.resolve().parent, os.W_OK):
        raise OSError(f"--output {path} cannot be written: is there such a folder, and yours?")


@contextmanager
def _output(path):
    """Standard output, or a file that is there only once all of it is written."""
    if path is None:
        yield sys.stdout
        return
    path = Path(path)
    if path.exists() and not path.is_file():  # a pipe or a device, which is not to be replaced
        with path.open("w", newline="") as stream:
            yield stream
        return
    path = path.resolve()  # a link stays one
    part = Path(f"{path}.{os.getpid()}.part")
    try:
        with part.open("w", newline="") as stream:
            yield stream
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _whole(least, most=2**31 - 1):
    """What argparse makes of an option's text: a whole number from `least` to `most`."""

    def number(text):
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(
                f"{text}; expected a whole number from {least} to {most}"
            )
        return value

    return number


def _parser():
    parser = argparse.ArgumentParser("sksiamese", description="One-shot classification of images.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="name", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--image-shape", type=_whole(1), nargs=2, metavar=("HEIGHT", "WIDTH"),
        help="bring images to this size first",
    )  # fmt: skip
    shared.add_argument(
        "--invert", choices=_INVERT, default="never",
        help="turn dark ink on light ground round; 'auto': where the border is light",
    )  # fmt: skip
    shared.add_argument(
        "--on-error", choices=["raise", "skip"], default="raise", help="files that are damaged"
    )
    seed = argparse.ArgumentParser(add_help=False)
    seed.add_argument(
        "--seed", type=_whole(0, 2**32 - 1), default=0,
        help="of training, or of trials; default 0",
    )  # fmt: skip
    twin = argparse.ArgumentParser(add_help=False)
    twin.add_argument("--twin", help="file that train wrote; default: the twin that ships")

    command = commands.add_parser(
        "train", parents=[shared, seed], help="train a twin on a folder of classes"
    )
    command.add_argument("folder", help="FOLDER/class/image or FOLDER/group/class/image")
    command.add_argument("-o", "--output", required=True, help="safetensors file to write")
    command.add_argument("--recipe", choices=["default", "omniglot"], default="default")
    command.add_argument("--epochs", type=_whole(1), help="in place of the recipe's")
    command.add_argument("--color", action="store_true", help="keep colours")
    command.set_defaults(command=train)

    command = commands.add_parser(
        "label", parents=[shared, twin], help="label images by one exemplar a class; CSV"
    )
    command.add_argument("--support", required=True, help="folder with a folder for each class")
    command.add_argument("--query", required=True, help="folder of images")
    command.add_argument("-o", "--output", help="CSV file; default: standard output")
    command.set_defaults(command=label)

    command = commands.add_parser(
        "evaluate", parents=[shared, seed, twin], help="accuracy on one-shot trials of a folder"
    )
    command.add_argument("folder", help="FOLDER/class/image or FOLDER/group/class/image")
    command.add_argument("--way", type=_whole(2), default=5, help="classes of a trial; default 5")
    command.add_argument("--shot", type=_whole(1), default=1, help="exemplars of each; default 1")
    command.add_argument("--episodes", type=_whole(1), default=20, help="default 20")
    command.set_defaults(command=evaluate)
    return parser
