"""Warnings and errors of this package, for ``except`` clauses and warning filters."""

import sys
import warnings
from collections.abc import Iterable, Sequence
from types import FrameType

import numpy as np

__all__ = [
    "BlankImageWarning",
    "CheckpointWarning",
    "CollapseWarning",
    "DivergedError",
    "DuplicateExemplarWarning",
    "InvertedImageError",
    "NoEffectWarning",
    "UnlikelyBackgroundWarning",
    "UnlikelyShapeWarning",
    "UnreadableImageWarning",
    "ValueRangeError",
]

# Packages that call each other between a user's line and a warning.
_BETWEEN = {"concurrent", "contextlib", "joblib", "sklearn", "skorch", "sksiamese", "threading"}
_BETWEEN |= {"multiprocessing", "torch"}


class _OfRows:
    """What concerns some samples, and their rows of X."""

    def __init__(self, message: str = "", rows: Iterable[int] = ()) -> None:
        super().__init__(message)  # type: ignore[call-arg]
        self.rows = np.asarray(rows, dtype=np.intp)


class CollapseWarning(UserWarning):
    """Warning raised when a trained network gives the same logit to every pair.

    See Also
    --------
    DivergedError : Training did not end.

    Examples
    --------
    >>> import warnings
    >>> import numpy as np
    >>> from sksiamese import SiameseOneShotClassifier
    >>> from sksiamese.exceptions import CollapseWarning
    >>> X = np.zeros((6, 4))  # nothing to learn from
    >>> clf = SiameseOneShotClassifier(max_iter=1, random_state=0)
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")
    ...     warnings.simplefilter("error", CollapseWarning)
    ...     clf.fit(X, [0, 0, 1, 1, 2, 2])
    Traceback (most recent call last):
    sksiamese.exceptions.CollapseWarning: The network has collapsed: ...
    """


class NoEffectWarning(UserWarning):
    """Warning raised when parameters were set that have no effect, because nothing is trained.

    Examples
    --------
    >>> import warnings
    >>> from torch import nn
    >>> from sksiamese import SiameseOneShotClassifier
    >>> from sksiamese.datasets import make_glyphs
    >>> from sksiamese.exceptions import NoEffectWarning
    >>> X, y = make_glyphs(n_classes=3, n_samples=2, image_size=16, random_state=0)
    >>> frozen = nn.Conv2d(1, 4, 3).requires_grad_(False)
    >>> clf = SiameseOneShotClassifier(encoder=frozen, class_augmentation="rotate")
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error", NoEffectWarning)
    ...     clf.fit(X, y)
    Traceback (most recent call last):
    sksiamese.exceptions.NoEffectWarning: class_augmentation: set, but ...
    """


class CheckpointWarning(UserWarning):
    """Warning raised when a checkpoint is damaged, or was written by other versions.

    Training then goes on from the checkpoint before it, or from the beginning.

    Examples
    --------
    >>> import warnings
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from sksiamese import SiameseOneShotClassifier
    >>> from sksiamese.exceptions import CheckpointWarning
    >>> X, y = [[0, 0], [0, 1], [5, 5], [5, 6]], [0, 0, 1, 1]
    >>> with TemporaryDirectory() as folder, warnings.catch_warnings():
    ...     warnings.simplefilter("error", CheckpointWarning)
    ...     Path(folder, "checkpoint-000001.safetensors").touch()  # an empty file
    ...     SiameseOneShotClassifier(checkpoint_dir=folder, random_state=0).fit(X, y)
    Traceback (most recent call last):
    sksiamese.exceptions.CheckpointWarning: ... Training goes on from the beginning.
    """


class UnreadableImageWarning(UserWarning):
    """Warning raised when image files cannot be read and are left out.

    See Also
    --------
    sksiamese.datasets.load_image_folder : Its parameter `on_error` decides.

    Examples
    --------
    >>> import warnings
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from PIL import Image
    >>> from sksiamese.datasets import load_images
    >>> from sksiamese.exceptions import UnreadableImageWarning
    >>> with TemporaryDirectory() as folder, warnings.catch_warnings():
    ...     warnings.simplefilter("ignore", UnreadableImageWarning)
    ...     whole, damaged = Path(folder, "whole.png"), Path(folder, "damaged.png")
    ...     Image.new("L", (8, 8)).save(whole)
    ...     damaged.write_bytes(whole.read_bytes()[:40])
    ...     len(load_images([whole, damaged], on_error="skip").images)
    40
    1
    """


class BlankImageWarning(_OfRows, UserWarning):
    """Warning raised when images have no foreground: one value, nothing but noise, or too faint.

    Images of very small values may also be in other units; the message says so.

    Parameters
    ----------
    message : str, default=""
        What is wrong, and what to do.
    rows : array-like of int, default=()
        Rows of X; of pairs, the pairs'; of a preprocessor, its images'.

    Attributes
    ----------
    rows : int ndarray of shape (n_rows,)
        The same as an array.

    Examples
    --------
    >>> import warnings
    >>> from sksiamese import load_pretrained
    >>> from sksiamese.datasets import make_glyphs
    >>> from sksiamese.exceptions import BlankImageWarning
    >>> X, y = make_glyphs(n_classes=3, n_samples=1, random_state=0)
    >>> X[1] = 255  # white
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always", BlankImageWarning)
    ...     clf = load_pretrained().set_support(X, y)
    >>> caught[0].message.rows
    array([1])
    """


class DuplicateExemplarWarning(_OfRows, UserWarning):
    """Warning raised when the same image is given under two labels.

    Parameters
    ----------
    message : str, default=""
        What is wrong, and what to do.
    rows : array-like of int, default=()
        Rows of X whose image has another label elsewhere.

    Attributes
    ----------
    rows : int ndarray of shape (n_rows,)
        The same as an array.

    Examples
    --------
    >>> import warnings
    >>> from sksiamese import load_pretrained
    >>> from sksiamese.datasets import make_glyphs
    >>> from sksiamese.exceptions import DuplicateExemplarWarning
    >>> X, y = make_glyphs(n_classes=3, n_samples=1, random_state=0)
    >>> X[2] = X[0]
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always", DuplicateExemplarWarning)
    ...     clf = load_pretrained().set_support(X, y)
    >>> caught[0].message.rows
    array([0, 2])
    """


class UnlikelyBackgroundWarning(_OfRows, UserWarning):
    """Warning raised when images have the background that others have as foreground.

    Their polarity is inverted, or they are in other units. With ``crop="foreground"`` inverted
    images are an error, `InvertedImageError`.

    Parameters
    ----------
    message : str, default=""
        What is wrong, and what to do.
    rows : array-like of int, default=()
        Rows of X; of pairs, the pairs'; of a preprocessor, its images'.

    Attributes
    ----------
    rows : int ndarray of shape (n_rows,)
        The same as an array.

    See Also
    --------
    InvertedImageError : Error instead of a warning, where the polarity is certain.

    Examples
    --------
    >>> import warnings
    >>> from sksiamese import SiameseOneShotClassifier
    >>> from sksiamese.datasets import make_glyphs
    >>> from sksiamese.exceptions import UnlikelyBackgroundWarning
    >>> X, y = make_glyphs(n_classes=3, n_samples=2, image_size=28, random_state=0)
    >>> clf = SiameseOneShotClassifier(crop=None, max_iter=1, random_state=0).fit(X, y)
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always", UnlikelyBackgroundWarning)
    ...     labels = clf.predict(255 - X[:2])
    >>> caught[0].message.rows
    array([0, 1])
    """


class UnlikelyShapeWarning(UserWarning):
    """Warning raised when X is taken for images of an unlikely shape, such as 3x500 pixels.

    Examples
    --------
    >>> import warnings
    >>> import numpy as np
    >>> from sksiamese import SiameseOneShotClassifier
    >>> from sksiamese.exceptions import UnlikelyShapeWarning
    >>> X = np.random.default_rng(0).normal(size=(6, 3, 50))  # series of three channels
    >>> clf = SiameseOneShotClassifier(encoder="mlp", max_iter=1)  # better: encoder="conv1d"
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error", UnlikelyShapeWarning)
    ...     clf.fit(X, [0, 0, 1, 1, 2, 2])
    Traceback (most recent call last):
    sksiamese.exceptions.UnlikelyShapeWarning: X, of shape (6, 3, 50), is taken for ...
    """


class ValueRangeError(_OfRows, ValueError):
    """Error raised when images are in other units, such as 0..1 where 0..255 is known.

    Parameters
    ----------
    message : str, default=""
        What is wrong, and what to do.
    rows : array-like of int, default=()
        Rows of X; of pairs, the pairs'; of a preprocessor, its images'.

    Attributes
    ----------
    rows : int ndarray of shape (n_rows,)
        The same as an array.

    Examples
    --------
    >>> from sksiamese import load_pretrained
    >>> from sksiamese.datasets import make_glyphs
    >>> from sksiamese.exceptions import ValueRangeError
    >>> X, y = make_glyphs(n_classes=3, n_samples=1, random_state=0)
    >>> clf = load_pretrained().set_support(X, y)
    >>> try:
    ...     clf.predict(X / 255)
    ... except ValueRangeError as error:
    ...     error.rows
    array([0, 1, 2])
    """


class InvertedImageError(_OfRows, ValueError):
    """Error raised when an image is light on dark instead of dark on light, or the reverse.

    Parameters
    ----------
    message : str, default=""
        What is wrong, and what to do.
    rows : array-like of int, default=()
        Rows of X; of pairs, the pairs'; of a preprocessor, its images'.

    Attributes
    ----------
    rows : int ndarray of shape (n_rows,)
        The same as an array.

    See Also
    --------
    UnlikelyBackgroundWarning : Warning where images are not cropped to their foreground.

    Examples
    --------
    >>> from sksiamese import load_pretrained
    >>> from sksiamese.datasets import make_glyphs
    >>> from sksiamese.exceptions import InvertedImageError
    >>> X, y = make_glyphs(n_classes=3, n_samples=1, random_state=0)
    >>> clf = load_pretrained().set_support(X, y)
    >>> try:
    ...     labels = clf.predict(255 - X)
    ... except InvertedImageError:
    ...     labels = clf.predict(X)
    >>> labels
    array([0, 1, 2])
    """


class DivergedError(FloatingPointError):
    """Error raised when the training loss is not finite.

    See Also
    --------
    CollapseWarning : Training ended, but nothing was learned.

    Examples
    --------
    >>> from sksiamese import SiameseOneShotClassifier
    >>> from sksiamese.exceptions import DivergedError
    >>> X, y = [[0, 0], [0, 1], [5, 5], [5, 6]], [0, 0, 1, 1]
    >>> clf = SiameseOneShotClassifier(optimizer="sgd", learning_rate=1e30, random_state=0)
    >>> try:
    ...     clf.fit(X, y)
    ... except DivergedError:
    ...     clf = clf.set_params(learning_rate=0.01).fit(X, y)
    """


def warn(message: str, category: type[Warning], rows: Iterable[int] | None = None) -> None:
    """Issue a warning that points to the user's line that led to it.

    `rows` are those that a warning about samples carries.
    """
    level = 1
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_globals.get("__name__", "").split(".")[0] in _BETWEEN:
        level, frame = level + 1, frame.f_back
    warning = category(message) if rows is None else category(message, rows)
    warnings.warn(warning, stacklevel=level)


def listed(names: Sequence[str], n_shown: int = 5) -> str:
    """Return the first of some names, and how many more there are."""
    more = f" and {len(names) - n_shown} more" if len(names) > n_shown else ""
    return ", ".join(names[:n_shown]) + more
