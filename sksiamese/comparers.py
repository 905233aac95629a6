"""Comparers that need no training: motor programs, and the modified Hausdorff distance.

A comparer embeds samples and compares embeddings; see ``docs/extending.md``. Use them by
`MotorProgramClassifier` and ``fitted_.with_comparer``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from scipy.spatial.distance import cdist
from torch import Tensor

from ._params import check_bool, check_choice, check_number
from ._support import SupportSet
from .programs import (
    CANVAS,
    FINAL,
    Drawings,
    Program,
    Stack,
    TokenModel,
    Tokens,
    costs,
    curve_costs,
    curve_program,
    fit,
    parse,
)
from .twin.reading import check_samples, scaled_batches
from .twin.scaling import InputScaling, Store, learn_scaling

__all__ = ["ModifiedHausdorff", "MotorPrograms"]

# How a program varies, by the name of the parameter `model`.
MODELS = {
    "programs": TokenModel(),
    "simple_strokes": TokenModel(reach=0.0),
    "affine": TokenModel(attached=0.0, free=0.0, shape=0.0, size=0.0),
}
# Log-odds of one class from the cost (benchmarks/program_weights.py).
SLOPE, INTERCEPT = 0.94, 13.4


class _GrayStore:
    """Another store's images with their channels averaged."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.dtype = store.dtype
        self.input_shape = (1, *store.input_shape[1:])

    def __len__(self) -> int:
        return len(self.store)

    def take(self, rows: np.ndarray) -> Any:
        return self.store.take(rows).mean(1, keepdim=True)

    def named(self, rows: np.ndarray) -> tuple[list[str], np.ndarray]:
        return self.store.named(rows)


def _gray(store: Store) -> Store:
    return _GrayStore(store) if len(store.input_shape) == 3 else store


def _learned(store: Store, crop: str | None) -> InputScaling:
    """Return the scaling that brings images like these to the canvas, if they are cropped."""
    store = _gray(store)
    return drawing_scaling(*learn_scaling(store), store.input_shape, crop)


def drawing_scaling(
    offset: Tensor, scale: Tensor, input_shape: tuple[int, ...], crop: str | None = "foreground"
) -> InputScaling:
    """Return the scaling of images or rows of this shape; cropped, they fill the canvas."""
    if len(input_shape) == 1:
        return InputScaling(offset, scale)
    size = input_shape[1:]
    return InputScaling(offset, scale, size, size if crop is None else (CANVAS, CANVAS), crop)


def _scaled(
    scaling: InputScaling, store: Store, rows: np.ndarray | None, check: bool
) -> Iterator[np.ndarray]:
    """Yield what the scaling makes of each sample: an image (h, w), or a row (n_features,)."""
    rows = np.arange(len(store)) if rows is None else rows
    for batch in scaled_batches(_gray(store), rows, scaling, check):
        yield from (sample[0] if sample.ndim == 3 else sample for sample in batch.numpy())


def check_options(model: Any, primitives: Any, n_walks: Any, n_jobs: Any) -> None:
    """Raise ValueError or TypeError for parameters that `MotorPrograms` cannot use."""
    check_choice(model, "model", tuple(MODELS))
    check_bool(primitives, "primitives")
    check_number(n_walks, "n_walks", int, 1, 100_000)
    if n_jobs is not None:
        check_number(n_jobs, "n_jobs", int, -math.inf, 1024)


def _as_objects(values: list[Any]) -> np.ndarray:
    objects = np.empty(len(values), dtype=object)
    for row, value in enumerate(values):  # NumPy would make an axis of arrays of one length
        objects[row] = value
    return objects


@dataclass(frozen=True, eq=False)
class MotorPrograms:
    """Compare drawings by how well the program of each explains the other.

    After Lake et al. 2015. `MotorProgramClassifier` is the estimator with this comparer. An
    embedding is a `sksiamese.programs.Tokens`.

    Parameters
    ----------
    n_walks : int, default=30
        Walks over the thinned drawing among which the prior chooses.
    primitives : bool, default=True
        Whether the prior chooses; see `MotorProgramClassifier`.
    model : {"programs", "simple_strokes", "affine"}, default="programs"
        What varies when a program is drawn again; see `MotorProgramClassifier`.
    seed : int, default=0
        Determines the walks.
    n_jobs : int or None, default=None
        Number of processes that parse.
    scaling : InputScaling or None, default=None
        From images to the canvas. None: learned in each call of `embed`.

    See Also
    --------
    sksiamese.MotorProgramClassifier : Estimator with this comparer.
    ModifiedHausdorff : Compares pixels, not strokes.

    Examples
    --------
    >>> import numpy as np
    >>> from sksiamese.comparers import MotorPrograms
    >>> from sksiamese.programs import Program
    >>> comparer = MotorPrograms()
    >>> comparer.check()  # no error
    >>> line = np.stack([np.arange(20.0), np.arange(20.0)], axis=1)
    >>> a = comparer.embeddings_of([Program.of([[line]]), Program.of([[line * [1, -1]]])])
    >>> comparer.tokens(a[0].program)
    Tokens(Program(1 strokes, 1 sub-strokes))
    >>> distances = comparer.distances(a, a)
    >>> bool(distances.diagonal().max() < distances[0, 1])
    True
    >>> comparer.logits(a, a).argmax(axis=1)
    array([0, 1])
    >>> comparer.pair_logits(a, a[::-1]).shape
    (2,)
    >>> comparer.token(a[0], a[1]).shape  # the points of the one, fitted to the other
    (64, 2)

    It embeds images too:

    >>> from sksiamese import MotorProgramClassifier
    >>> from sksiamese.datasets import make_glyphs
    >>> X, y = make_glyphs(n_classes=3, n_samples=2, random_state=0)
    >>> clf = MotorProgramClassifier(random_state=0).fit(X[::2], y[::2])
    >>> clf.fitted_ = clf.fitted_.with_comparer(MotorPrograms(n_walks=5))
    >>> clf.set_support(X[::2], y[::2]).predict(X[1::2]).shape
    (3,)
    """

    n_walks: int = 30
    primitives: bool = True
    model: str = "programs"
    seed: int = 0
    n_jobs: int | None = None
    scaling: InputScaling | None = None

    def check(self) -> None:
        """Check the options.

        Raises
        ------
        ValueError, TypeError
            If one of them cannot be used.
        """
        check_options(self.model, self.primitives, self.n_walks, self.n_jobs)
        check_number(self.seed, "seed", int, 0, 2**32 - 1)

    def adapted_to(self, store: Store) -> MotorPrograms:
        """Return a comparer whose input scaling is learned from these samples.

        Parameters
        ----------
        store : Store
            Samples of shape (C, H, W) or (n_features,).

        Returns
        -------
        comparer : MotorPrograms
            The same, with `scaling`.
        """
        return replace(self, scaling=_learned(store, "foreground"))

    def canvases(
        self, store: Store, rows: np.ndarray | None = None, *, check: bool = True
    ) -> Iterator[np.ndarray]:
        """Return what is parsed of each sample.

        Parameters
        ----------
        store : Store
            Samples of shape (C, H, W) or (n_features,).
        rows : ndarray of shape (n,) or None, default=None
            Samples that are returned, or None for all.
        check : bool, default=True
            Whether samples unlike those of the scaling raise or warn.

        Returns
        -------
        canvases : iterator of ndarray of shape (105, 105)
            Background 0 and foreground 1; flat rows (n_features,) as they are, scaled.
        """
        scaling = self.scaling or _learned(store, "foreground")
        return _scaled(scaling, store, rows, check)

    def embed(
        self, store: Store, rows: np.ndarray | None = None, *, check: bool = True
    ) -> np.ndarray:
        """Parse samples into programs. Flat rows are drawn as curves.

        Parameters
        ----------
        store : Store
            Samples of shape (C, H, W) or (n_features,).
        rows : ndarray of shape (n,) or None, default=None
            Samples that are parsed, or None for all.
        check : bool, default=True
            Whether samples unlike those of the scaling raise or warn.

        Returns
        -------
        embeddings : ndarray of shape (n,), object
            A `sksiamese.programs.Tokens` of each sample.

        Raises
        ------
        InvertedImageError
            If an image appears to have inverted polarity.
        """
        if check and self.scaling is not None:  # before other threads ask for drawings
            rows = np.arange(len(store)) if rows is None else rows
            check_samples(_gray(store), rows, self.scaling)
        drawings = self.canvases(store, rows, check=check and self.scaling is None)
        return _as_objects(Parallel(self.n_jobs)(delayed(self._parsed)(d) for d in drawings))

    def _parsed(self, drawing: np.ndarray) -> Tokens:
        if drawing.ndim == 1:
            return self.tokens(curve_program(drawing))
        programs = parse(
            drawing > 0.5, n_walks=self.n_walks, use_primitives=self.primitives, seed=self.seed
        )
        return self.tokens(programs[0])

    def tokens(self, program: Program) -> Tokens:
        """Return a program with the distribution of its tokens.

        Parameters
        ----------
        program : Program
            What made a drawing.

        Returns
        -------
        tokens : Tokens
            What may vary when it is drawn again is set by `model`.
        """
        if self.model == "simple_strokes":  # a stroke is one sub-stroke
            program = replace(program, substrokes=program.strokes)
        return Tokens.of(program, MODELS[self.model])

    def embeddings_of(self, programs: list[Program]) -> np.ndarray:
        """Return the embeddings of drawings whose programs are known.

        Parameters
        ----------
        programs : list of Program
            A program of each drawing.

        Returns
        -------
        embeddings : ndarray of shape (n,), object
            As `embed` returns them.
        """
        return _as_objects([self.tokens(program) for program in programs])

    def token(self, program: Tokens, drawing: Tokens) -> np.ndarray:
        """Return where the points of a program lie once it is fitted to a drawing.

        Parameters
        ----------
        program, drawing : Tokens
            Two embeddings.

        Returns
        -------
        points : ndarray of shape (n_points, 2)
            (row, column) in pixels of the canvas.
        """
        points = fit(Stack.of([program]), Stack.of([drawing]), FINAL).points[0]
        return points[: len(program.program.points)]

    def logits(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return the log-odds that two samples are of one class, for all pairs.

        Parameters
        ----------
        a, b : ndarray of shape (n_a,) and (n_b,), object
            Embeddings.

        Returns
        -------
        logits : ndarray of shape (n_a, n_b), float32
            Learned on alphabets of Omniglot's background set.
        """
        return INTERCEPT - SLOPE * self.distances(a, b)

    def pair_logits(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return the log-odds that two samples are of one class, row by row.

        Parameters
        ----------
        a, b : ndarray of shape (n_pairs,), object
            Embeddings.

        Returns
        -------
        logits : ndarray of shape (n_pairs,), float32
            Learned on alphabets of Omniglot's background set.
        """
        rows = np.arange(len(a))
        return INTERCEPT - SLOPE * self._costs(a, b, rows, rows)

    def distances(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return how badly the drawings explain each other.

        Parameters
        ----------
        a, b : ndarray of shape (n_a,) and (n_b,), object
            Embeddings.

        Returns
        -------
        distances : ndarray of shape (n_a, n_b), float32
            At least 0.
        """
        i, j = np.divmod(np.arange(len(a) * len(b)), max(1, len(b)))
        return self._costs(a, b, i, j).reshape(len(a), len(b))

    def _costs(self, a: np.ndarray, b: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        if not len(i):
            return np.zeros(0, np.float32)
        if self.scaling is not None and self.scaling.size is None:  # flat rows
            ours, theirs = Stack.of(a.tolist()), Stack.of(b.tolist())
            return curve_costs(ours, theirs, i, j) + curve_costs(theirs, ours, j, i)
        return costs(Drawings.of(a.tolist()), Drawings.of(b.tolist()), i, j)


def programs_of(support: SupportSet) -> list[Program]:
    """Return the program of each exemplar."""
    return [tokens.program for tokens in support.embeddings]


@dataclass(frozen=True, eq=False)
class ModifiedHausdorff:
    """Compare drawings by the modified Hausdorff distance of their foreground pixels.

    The greater of the two mean distances from each pixel of a drawing to the nearest of the other,
    both centred at their means [1]_. It is the baseline of Omniglot's release.

    Parameters
    ----------
    crop : {None, "foreground"}, default=None
        None compares images as they are; "foreground" brings drawings to one size first.
    scaling : InputScaling or None, default=None
        None: learned from the support.

    See Also
    --------
    MotorPrograms : Compares strokes, not pixels.

    References
    ----------
    .. [1] M.-P. Dubuisson, A. K. Jain, "A modified Hausdorff distance for object matching", 1994.

    Examples
    --------
    >>> from sksiamese import MotorProgramClassifier
    >>> from sksiamese.comparers import ModifiedHausdorff
    >>> from sksiamese.datasets import make_glyphs
    >>> X, y = make_glyphs(n_classes=5, n_samples=2, random_state=0)
    >>> clf = MotorProgramClassifier().fit(X[::2], y[::2])
    >>> clf.fitted_ = clf.fitted_.with_comparer(ModifiedHausdorff())
    >>> clf.set_support(X[::2], y[::2]).predict(X[1::2])
    array([0, 1, 2, 3, 4])

    It compares embeddings, the pixels of each drawing:

    >>> comparer, a = clf.fitted_.comparer, clf.fitted_.support.embeddings
    >>> comparer.distances(a, a).diagonal()
    array([0., 0., 0., 0., 0.], dtype=float32)
    >>> comparer.logits(a, a).argmax(axis=1)
    array([0, 1, 2, 3, 4])
    >>> comparer.pair_logits(a, a[::-1]).shape
    (5,)
    """

    crop: str | None = None
    scaling: InputScaling | None = None

    def adapted_to(self, store: Store) -> ModifiedHausdorff:
        """Return a comparer whose input scaling is learned from these samples.

        Parameters
        ----------
        store : Store
            Samples of shape (C, H, W).

        Returns
        -------
        comparer : ModifiedHausdorff
            The same, with `scaling`.
        """
        return replace(self, scaling=_learned(store, self.crop))

    def embed(
        self, store: Store, rows: np.ndarray | None = None, *, check: bool = True
    ) -> np.ndarray:
        """Return the centred foreground pixels of each image.

        Parameters
        ----------
        store : Store
            Samples of shape (C, H, W).
        rows : ndarray of shape (n,) or None, default=None
            Samples that are embedded, or None for all.
        check : bool, default=True
            Whether samples unlike those of the scaling raise or warn.

        Returns
        -------
        embeddings : ndarray of shape (n,), object
            An array (n_pixels, 2) of each sample. A blank image has one pixel, in the middle.

        Raises
        ------
        ValueError
            If the samples are flat rows.
        InvertedImageError
            If an image appears to have inverted polarity.
        """
        if len(store.input_shape) == 1:
            raise ValueError(
                "ModifiedHausdorff compares images, but X has flat rows: set "
                "image_shape=(height, width)."
            )
        scaling = self.scaling or _learned(store, self.crop)
        points = [np.argwhere(image > 0.5) for image in _scaled(scaling, store, rows, check)]
        return _as_objects([p - p.mean(0) if len(p) else np.zeros((1, 2)) for p in points])

    def logits(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return the log-odds that two samples are of one class, for all pairs.

        Parameters
        ----------
        a, b : ndarray of shape (n_a,) and (n_b,), object
            Embeddings.

        Returns
        -------
        logits : ndarray of shape (n_a, n_b), float32
            Not calibrated: the negative distance.
        """
        return -self.distances(a, b)

    def pair_logits(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return the log-odds that two samples are of one class, row by row.

        Parameters
        ----------
        a, b : ndarray of shape (n_pairs,), object
            Embeddings.

        Returns
        -------
        logits : ndarray of shape (n_pairs,), float32
            Not calibrated: the negative distance.
        """
        return np.array([-_hausdorff(*pair) for pair in zip(a, b, strict=True)], np.float32)

    def distances(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return the modified Hausdorff distances.

        Parameters
        ----------
        a, b : ndarray of shape (n_a,) and (n_b,), object
            Embeddings.

        Returns
        -------
        distances : ndarray of shape (n_a, n_b), float32
            Pixels of the canvas.
        """
        rows = [[_hausdorff(one, other) for other in b] for one in a]
        return np.array(rows, np.float32).reshape(len(a), len(b))


def _hausdorff(a: np.ndarray, b: np.ndarray) -> float:
    between = cdist(a, b)
    return max(between.min(0).mean(), between.min(1).mean())
