"""Display of two images and of their cells that match."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike
from scipy.interpolate import RegularGridInterpolator

from .._base import fitted_of, read
from .._classifier import SiameseOneShotClassifier
from .._verifier import SiameseVerifier
from ..twin.matching import can_match, match
from ._display import BLUE, GREY, ORANGE, Display, check_kind, check_matplotlib, picture, tile

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GAP = 0.25  # between the images, whose longer side is 1
OPACITY = 0.75  # where a cell counts most


class MatchDisplay(Display):
    """Where two images match: the part that each cell of their maps has in the logit.

    ``head="aligned"`` compares maps of cells, by default 5 x 5: each cell with the cells near its
    place in the other image. Blue cells speak for the same class, because they have a match.
    Orange cells speak against it. Cells without colour count little, most often because they show
    background. Between the centres of cells, values are interpolated.

    Parameters
    ----------
    images : sequence of 2 ndarrays of shape (h, w) or (h, w, 3)
        The query and the exemplar.
    cell_logits : ndarray of shape (2, n_rows, n_columns)
        Part of the logit of each cell of the query's map, and of the exemplar's. They sum to the
        logit that the network gives to the pair, before calibration.
    boxes : ndarray of shape (2, 4)
        The part of each image that its map covers: first row and one past the last, first column
        and one past the last, in pixels. It may reach beyond the image.
    best : ndarray of int of shape (2, n_rows, n_columns)
        Number of the cell of the other map that matches each cell best. Cells are numbered row by
        row.
    n_lines : int, default=0
        Number of lines from a cell of the query to its best match: those of the cells with the
        greatest parts.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the images.
    figure_ : matplotlib Figure
        Figure that contains the axes and a colour bar.

    See Also
    --------
    MatchDisplay.from_estimator : Compare two images and plot where they match.
    OneShotTrialDisplay : Plot a query with the probabilities of all classes.

    Examples
    --------
    >>> import numpy as np
    >>> from sksiamese.datasets import make_glyphs
    >>> from sksiamese.plotting import MatchDisplay
    >>> X, y = make_glyphs(n_classes=1, n_samples=2, image_size=32, random_state=0)
    >>> cell_logits, best = np.full((2, 2, 2), 0.5), np.arange(8).reshape(2, 2, 2) % 4
    >>> display = MatchDisplay(
    ...     images=X, cell_logits=cell_logits, boxes=np.array([[0, 32, 0, 32]] * 2), best=best)
    >>> [text.get_text() for text in display.plot().ax_.texts]
    ['query', 'exemplar', 'logit 4.0: sum of all cells']
    """

    def __init__(
        self,
        *,
        images: Sequence[np.ndarray],
        cell_logits: np.ndarray,
        boxes: np.ndarray,
        best: np.ndarray,
        n_lines: int = 0,
    ) -> None:
        self.images = images
        self.cell_logits = cell_logits
        self.boxes = boxes
        self.best = best
        self.n_lines = n_lines

    @classmethod
    def from_estimator(
        cls,
        estimator: SiameseOneShotClassifier | SiameseVerifier,
        query: ArrayLike,
        exemplar: ArrayLike,
        *,
        n_lines: int = 0,
        ax: Axes | None = None,
    ) -> MatchDisplay:
        """Compare two images, and plot where they match.

        Of several networks, as in a pretrained estimator, the first with ``head="aligned"`` is
        shown.

        Parameters
        ----------
        estimator : SiameseOneShotClassifier or SiameseVerifier
            Fitted estimator with ``head="aligned"``, such as ``load_pretrained()`` with a support.
        query : array-like of shape (h, w) or with channels
            One image, of the shape seen in `fit` or of that of the support.
        exemplar : array-like of shape (h, w) or with channels
            The image to compare with.
        n_lines : int, default=0
            Number of lines between cells that match best.
        ax : matplotlib Axes or None, default=None
            Axes to draw into. If None, a new figure is made.

        Returns
        -------
        display : MatchDisplay
            The plotted display.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If `estimator` is of another class.
        NotFittedError
            If `estimator` is not fitted, or is pretrained and has no support yet.
        ValueError
            If `estimator` does not compare cells, or the images cannot be used.

        See Also
        --------
        sksiamese.SiameseOneShotClassifier.pair_proba : Return the probability of the same class.

        Examples
        --------
        >>> from sksiamese import load_pretrained
        >>> from sksiamese.datasets import load_omniglot_minimal
        >>> from sksiamese.plotting import MatchDisplay
        >>> run = load_omniglot_minimal().runs[0]
        >>> clf = load_pretrained().set_support(run.support_images, run.support_labels)
        >>> display = MatchDisplay.from_estimator(
        ...     clf, run.query_images[0], run.support_images[0], n_lines=4)
        >>> display.cell_logits.shape
        (2, 5, 5)
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        expected = (
            "a fitted SiameseOneShotClassifier or SiameseVerifier, such as the estimator of a "
            "FrozenTwinClassifier or the last step of a Pipeline"
        )
        check_kind(estimator, (SiameseOneShotClassifier, SiameseVerifier), expected)
        fitted = fitted_of(estimator)
        comparer = fitted.comparer
        if not can_match(comparer):
            raise ValueError(
                f"estimator has head={estimator.head!r}, which compares no cells; expected "
                "head='aligned', which the networks of load_pretrained() have."
            )
        images = [np.asarray(image) for image in (query, exemplar)]
        stores = [read(estimator, image[None], fitted) for image in images]
        found = match(comparer, *stores)
        display = cls(
            images=[picture(image, estimator.channels) for image in images],
            cell_logits=found.cell_logits,
            boxes=found.boxes,
            best=found.best,
            n_lines=n_lines,
        )
        return display.plot(ax=ax)

    def _figsize(self) -> tuple[float, float]:
        return 6.4, 3.2

    def _draw(self, ax: Axes) -> None:
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import LinearSegmentedColormap, Normalize, to_rgb

        limit = float(np.abs(self.cell_logits).max()) or 1.0
        for n, image in enumerate(self.images):
            heat = self._heat(n, image.shape[:2]) / limit
            overlay = np.empty((*heat.shape, 4))
            overlay[..., :3] = np.where(heat[..., None] > 0, to_rgb(BLUE), to_rgb(ORANGE))
            overlay[..., 3] = OPACITY * np.abs(heat)
            for layer in (image, overlay):
                tile(ax, layer, n * (1 + GAP), 0, 1, GREY)
            title = ("query", "exemplar")[n]
            ax.text(n * (1 + GAP) + 0.5, -0.03, title, ha="center", va="bottom", fontsize=10)
        for start, stop in self._lines():
            x, y = zip(start, stop, strict=True)
            ax.plot(x, y, color="black", linewidth=1, marker="o", markersize=3, zorder=3)
        total = f"logit {self.cell_logits.sum():.1f}: sum of all cells"
        ax.text(1 + GAP / 2, 1.04, total, ha="center", va="top", fontsize=10)
        ax.set_xlim(-0.02, 2.02 + GAP)
        ax.set_ylim(1.16, -0.14)
        ax.set_aspect("equal")
        ax.axis("off")
        cmap = LinearSegmentedColormap.from_list("match", [ORANGE, "white", BLUE])
        scale = ScalarMappable(Normalize(-limit, limit), cmap)
        self.figure_.colorbar(scale, ax=ax, label="part of the logit", shrink=0.75)

    def _centres(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows and columns of image n, in pixels, at which its cells have centres."""
        top, bottom, left, right = self.boxes[n]
        n_rows, n_columns = self.cell_logits.shape[1:]
        rows = top + (bottom - top) * (np.arange(n_rows) + 0.5) / n_rows
        return rows, left + (right - left) * (np.arange(n_columns) + 0.5) / n_columns

    def _heat(self, n: int, shape: tuple[int, ...]) -> np.ndarray:
        """Return the parts of the cells of image n at its pixels, 0 outside of its box."""
        axes, values = list(self._centres(n)), self.cell_logits[n]
        for axis, edges in enumerate(np.reshape(self.boxes[n], (2, 2))):
            axes[axis] = np.concatenate([edges[:1], axes[axis], edges[1:]])
            values = np.pad(values, [(1, 1) if k == axis else (0, 0) for k in (0, 1)], "edge")
        at = RegularGridInterpolator(axes, values, bounds_error=False, fill_value=0)
        pixels = [np.arange(side) + 0.5 for side in shape]
        return at(np.stack(np.meshgrid(*pixels, indexing="ij"), axis=-1))

    def _lines(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return the ends (x, y) of the lines, in the coordinates of the axes."""
        places = []
        for n, image in enumerate(self.images):
            rows, columns = self._centres(n)
            points = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
            size = np.array(image.shape[1::-1])
            points = np.clip(points, 0, size)
            middle = [n * (1 + GAP), 0] + (1 - size / size.max()) / 2
            places.append(points / size.max() + middle)
        strongest = np.argsort(-self.cell_logits[0].ravel(), kind="stable")[: self.n_lines]
        best = self.best[0].ravel()
        return [(places[0][cell], places[1][best[cell]]) for cell in strongest]
