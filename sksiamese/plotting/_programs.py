"""Display of motor programs: strokes over drawings, and one program fitted to another drawing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from .._base import read, supported
from .._motor_programs import MotorProgramClassifier
from .._validation import check_labels
from ..comparers import MotorPrograms
from ..programs import CANVAS, Program
from ..programs.strokes import at_unit_steps, length
from ._display import BLUE, GREEN, GREY, ORANGE, Display, check_kind, check_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap

STEP = 111  # from one canvas to the next in a row
ROW = 124  # from one row to the next, with the line of text below it
INCHES = 2.1 / CANVAS  # of a new figure, whose margins take about a quarter
MOST_QUERIES = 20
# Of Okabe and Ito, but for yellow, which is faint on white. Neighbours differ in lightness too.
PALETTE = (BLUE, "#E69F00", GREEN, "#CC79A7", ORANGE, "#56B4E9")
HEAD = 7  # length of an arrow head, pixels
LONG = 60  # pixels of trajectory from which a stroke has a second arrow head


class MotorProgramDisplay(Display):
    """Programs of queries and of their nearest exemplars, and the one fitted to the other.

    Each row shows a query with its program; the exemplar that explains it best with its own; the
    exemplar's program drawn once more, as the query; and, if asked for, the query's program drawn
    as the exemplar. Strokes are coloured and numbered in their order. A dot marks where each
    starts, an arrow head its direction. What a program is fitted to lies below it in gray.

    The label of the exemplar is green if it is the true one or if that is not given, orange
    otherwise.

    Parameters
    ----------
    queries : sequence of (ndarray of shape (105, 105) or None)
        What was parsed of each query, background 0 and foreground 1. None: the query's program is
        drawn by a broad pen in its place.
    query_programs : sequence of Program
        Program of each query.
    exemplars : sequence of (ndarray of shape (105, 105) or None)
        What was parsed of each query's exemplar, as in `queries`.
    exemplar_programs : sequence of Program
        Program of each query's exemplar.
    tokens : sequence of ndarray of shape (n_points, 2)
        Points of each exemplar's program, (row, column), once it is fitted to the query.
    labels : array-like of shape (n_queries,)
        Class labels of the exemplars.
    logits : array-like of shape (n_queries,)
        Log-odds that query and exemplar are of one class.
    reverse_tokens : sequence of ndarray of shape (n_points, 2) or None, default=None
        Points of each query's program, once it is fitted to the exemplar.
    true_labels : array-like of shape (n_queries,) or None, default=None
        True classes of the queries, if known.
    cmap : str, Colormap or None, default=None
        Colours of the strokes, from the first to the last. None: six colours that colour-blind
        readers can tell apart, repeated.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the drawings.
    figure_ : matplotlib Figure
        Figure that contains the axes.

    See Also
    --------
    MotorProgramDisplay.from_estimator : Parse queries, find exemplars, and plot them.
    sksiamese.MotorProgramClassifier : Classifies by programs.
    NeighborsDisplay : Plot the nearest exemplars as images.

    Examples
    --------
    >>> from sksiamese.plotting import MotorProgramDisplay
    >>> from sksiamese.programs import curve_program
    >>> import numpy as np
    >>> up, down = (curve_program(np.array(values)) for values in ([-1.0, 1.0], [1.0, -1.0]))
    >>> display = MotorProgramDisplay(
    ...     queries=[None], query_programs=[up], exemplars=[None], exemplar_programs=[down],
    ...     tokens=[down.points], labels=["down"], logits=[-3.2])
    >>> [text.get_text() for text in display.plot().ax_.texts if "down" in text.get_text()]
    ['down: −3.2']
    """

    def __init__(
        self,
        *,
        queries: Sequence[np.ndarray | None],
        query_programs: Sequence[Program],
        exemplars: Sequence[np.ndarray | None],
        exemplar_programs: Sequence[Program],
        tokens: Sequence[np.ndarray],
        labels: ArrayLike,
        logits: ArrayLike,
        reverse_tokens: Sequence[np.ndarray] | None = None,
        true_labels: ArrayLike | None = None,
        cmap: str | Colormap | None = None,
    ) -> None:
        self.queries = queries
        self.query_programs = query_programs
        self.exemplars = exemplars
        self.exemplar_programs = exemplar_programs
        self.tokens = tokens
        self.labels = labels
        self.logits = logits
        self.reverse_tokens = reverse_tokens
        self.true_labels = true_labels
        self.cmap = cmap

    @classmethod
    def from_estimator(
        cls,
        estimator: MotorProgramClassifier,
        X: ArrayLike,
        *,
        y: ArrayLike | None = None,
        X_support: ArrayLike | None = None,
        both_directions: bool = False,
        cmap: str | Colormap | None = None,
        ax: Axes | None = None,
    ) -> MotorProgramDisplay:
        """Parse queries, find the exemplars that explain them best, and plot the programs.

        Parameters
        ----------
        estimator : MotorProgramClassifier
            Fitted estimator. Its support has the exemplars.
        X : array-like of shape (n_queries, ...)
            Queries, at most 20, of the shape seen in `fit`.
        y : array-like of shape (n_queries,) or None, default=None
            True classes of the queries, if known.
        X_support : array-like of shape (n_exemplars, ...) or None, default=None
            Images of the support, in the order in which they were given, to be shown below the
            exemplars' programs. None: the estimator has kept programs only, which are drawn by a
            broad pen in the images' place.
        both_directions : bool, default=False
            Whether to show the query's program fitted to the exemplar, too.
        cmap : str, Colormap or None, default=None
            Colours of the strokes, from the first to the last. None: six colours that
            colour-blind readers can tell apart, repeated.
        ax : matplotlib Axes or None, default=None
            Axes to draw into. If None, a new figure is made.

        Returns
        -------
        display : MotorProgramDisplay
            The plotted display.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If `estimator` is of another class, or compares by something else than programs.
        NotFittedError
            If `estimator` is not fitted, or has no support.
        ValueError
            If X, y or `X_support` cannot be used, or X has more than 20 queries.

        See Also
        --------
        sksiamese.MotorProgramClassifier.kneighbors : Find the exemplars alone.
        sksiamese.MotorProgramClassifier.parse : Return the programs alone.

        Examples
        --------
        >>> from sksiamese import MotorProgramClassifier
        >>> from sksiamese.datasets import make_glyphs
        >>> from sksiamese.plotting import MotorProgramDisplay
        >>> X, y = make_glyphs(n_classes=3, n_samples=2, random_state=0)
        >>> clf = MotorProgramClassifier(random_state=0).fit(X[::2], y[::2])
        >>> display = MotorProgramDisplay.from_estimator(clf, X[1::2], y=y[1::2])
        >>> display.labels
        array([0, 1, 2])
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        expected = "a fitted MotorProgramClassifier, such as the last step of a Pipeline"
        check_kind(estimator, MotorProgramClassifier, expected)
        fitted = supported(estimator)
        comparer, support = fitted.comparer, fitted.support
        if not isinstance(comparer, MotorPrograms):
            raise TypeError(
                f"estimator compares by {type(comparer).__name__}; expected MotorPrograms, the "
                "comparer that `fit` sets. Only it has programs to show."
            )
        assert support is not None
        store = read(estimator, X, fitted)
        if len(store) > MOST_QUERIES:
            raise ValueError(
                f"X has {len(store)} queries; expected at most {MOST_QUERIES}, one for each row "
                "of the figure. Pass a part of them, such as X[:5]."
            )
        true_labels = None if y is None else check_labels(y, len(store))
        drawings: list[np.ndarray | None] = [None] * len(support)
        if X_support is not None:
            own = read(estimator, X_support, fitted)
            if len(own) != len(support):
                raise ValueError(
                    f"X_support has {len(own)} samples, but the support has {len(support)} "
                    "exemplars. Pass the X that was given to fit or set_support."
                )
            drawings = _canvases(comparer, own)
        queries = comparer.embed(store)
        logits = fitted.logits(queries, support.embeddings)
        nearest = logits.argmax(1)
        exemplars = support.embeddings[nearest]
        found = list(zip(queries, exemplars, strict=True))
        reverse = None
        if both_directions:
            reverse = [comparer.token(query, exemplar) for query, exemplar in found]
        display = cls(
            queries=_canvases(comparer, store),
            query_programs=[query.program for query in queries],
            exemplars=[drawings[row] for row in nearest],
            exemplar_programs=[exemplar.program for exemplar in exemplars],
            tokens=[comparer.token(exemplar, query) for query, exemplar in found],
            labels=support.labels[nearest],
            logits=logits.max(1),
            reverse_tokens=reverse,
            true_labels=true_labels,
            cmap=cmap,
        )
        return display.plot(ax=ax)

    def _titles(self) -> list[str]:
        titles = ["query", "exemplar", "exemplar's program,\nfitted to the query"]
        both = self.reverse_tokens is not None
        return [*titles, "query's program,\nfitted to the exemplar"] if both else titles

    def _figsize(self) -> tuple[float, float]:
        n_rows, n_columns = len(self.query_programs), len(self._titles())
        return STEP * n_columns * INCHES, (ROW * n_rows + 22) * INCHES

    def _draw(self, ax: Axes) -> None:
        titles = self._titles()
        for column, title in enumerate(titles):
            ax.text(STEP * column + CANVAS / 2, -5, title, ha="center", va="bottom", fontsize=9)
        for row, (query, exemplar) in enumerate(
            zip(self.query_programs, self.exemplar_programs, strict=True)
        ):
            panels = [
                (query, query.points, query, self.queries[row]),
                (exemplar, exemplar.points, exemplar, self.exemplars[row]),
                (exemplar, self.tokens[row], query, self.queries[row]),
            ]
            if self.reverse_tokens is not None:
                token = self.reverse_tokens[row]
                panels.append((query, token, exemplar, self.exemplars[row]))
            for column, (program, points, drawn, drawing) in enumerate(panels):
                corner = np.array([ROW * row, STEP * column])
                _draw_foreground(ax, drawn, drawing, corner)
                _draw_strokes(ax, program, points, self._colors(program.n_strokes), corner)
            self._draw_labels(ax, row)
        ax.set_xlim(-2, STEP * (len(titles) - 1) + CANVAS + 2)
        ax.set_ylim(ROW * len(self.query_programs) - 3, -22)
        ax.set_aspect("equal")
        ax.axis("off")

    def _colors(self, n_strokes: int) -> list[Any]:
        """Return the colour of each stroke, in their order."""
        if self.cmap is None:
            return [PALETTE[number % len(PALETTE)] for number in range(n_strokes)]
        import matplotlib.pyplot as plt

        return list(plt.get_cmap(self.cmap)(np.linspace(0, 1, n_strokes)))

    def _draw_labels(self, ax: Axes, row: int) -> None:
        """Write the true label below the query, and label and logit below the exemplar."""
        label = np.asarray(self.labels)[row]
        true = label if self.true_labels is None else np.asarray(self.true_labels)[row]
        y = ROW * row + CANVAS + 2
        if self.true_labels is not None:
            ax.text(CANVAS / 2, y, f"{true}", ha="center", va="top", fontsize=8)
        logit = f"{np.asarray(self.logits)[row]:.1f}".replace("-", "\N{MINUS SIGN}")
        ax.text(
            STEP + CANVAS / 2, y, f"{label}: {logit}", ha="center", va="top", fontsize=8,
            color=GREEN if label == true else ORANGE, fontweight="bold",
        )  # fmt: skip


def _canvases(comparer: MotorPrograms, store: Any) -> list[np.ndarray | None]:
    """Return what is parsed of each sample; None for flat rows, which are no images."""
    canvases = comparer.canvases(store, check=False)
    return [canvas if canvas.ndim == 2 else None for canvas in canvases]


def _strokes(program: Program, points: np.ndarray) -> list[np.ndarray]:
    """Return the points of each stroke, (y, x), at steps of one pixel."""
    strokes = []
    for number in range(program.n_strokes):
        stroke = points[program.strokes == number].astype(float)
        strokes.append(at_unit_steps(stroke) if length(stroke) > 1 else stroke)
    return strokes


def _draw_foreground(
    ax: Axes, program: Program, drawing: np.ndarray | None, corner: np.ndarray
) -> None:
    """Draw the foreground in gray, and a frame; without an image, as the program has it."""
    y, x = corner
    if drawing is None:
        for stroke in _strokes(program, program.points):
            ax.plot(
                *(stroke + corner).T[::-1], color="0.83", linewidth=5, zorder=1,
                solid_capstyle="round", solid_joinstyle="round",
            )  # fmt: skip
    else:
        extent = (x - 0.5, x + CANVAS - 0.5, y + CANVAS - 0.5, y - 0.5)
        # The range gives the foreground the gray of the pen.
        ax.imshow(
            drawing, cmap="Greys", vmin=0, vmax=3.5, extent=extent, interpolation="bilinear",
            zorder=1,
        )  # fmt: skip
    left, right, top, bottom = x - 0.5, x + CANVAS - 0.5, y - 0.5, y + CANVAS - 0.5
    frame = [left, right, right, left, left], [top, top, bottom, bottom, top]
    ax.plot(*frame, color=GREY, linewidth=0.6, zorder=2)


def _draw_strokes(
    ax: Axes, program: Program, points: np.ndarray, colors: Sequence[Any], corner: np.ndarray
) -> None:
    """Draw strokes with their starts, directions and numbers."""
    import matplotlib.patheffects as effects

    halo = [effects.withStroke(linewidth=2.2, foreground="white")]
    strokes = _strokes(program, points)
    starts = np.array([stroke[0] for stroke in strokes])
    places = corner + _places(starts, np.concatenate(strokes))
    for number, (stroke, color) in enumerate(zip(strokes, colors, strict=True)):
        order = 3 + number / len(strokes)
        ax.plot(
            *(stroke + corner).T[::-1], color=color, linewidth=1.7, solid_capstyle="butt",
            zorder=order,
        )  # fmt: skip
        for head in _heads(stroke):
            ax.fill(*(head + corner).T[::-1], color=color, linewidth=0, zorder=order)
        # Where several strokes start, the marker of the first is the largest.
        above = (np.hypot(*(starts[number + 1 :] - starts[number]).T) < 3).sum()
        ax.plot(
            *(starts[number] + corner)[::-1], "o", color=color, markersize=4.5 + 2.5 * above,
            markeredgecolor="white", markeredgewidth=0.6, zorder=order + 1,
        )  # fmt: skip
        y, x = places[number]
        ax.text(
            x, y, f"{number + 1}", color=color, fontsize=7.5, fontweight="bold", ha="center",
            va="center_baseline", path_effects=halo, zorder=6,
        )  # fmt: skip


def _heads(stroke: np.ndarray) -> list[np.ndarray]:
    """Return the arrow heads of a stroke as triangles (y, x): one at its end, of a long one two.

    What is hardly longer than a dot has none.
    """
    ends = [len(stroke) - 1]
    if len(stroke) > LONG:
        ends.append((len(stroke) + HEAD) // 2)
    heads = []
    for end in ends:
        tip = stroke[end]
        along = tip - stroke[max(0, end - HEAD)]
        if np.hypot(*along) > 3:
            across = 0.42 * along[::-1] * (1, -1)
            heads.append(np.array([tip, tip - along + across, tip - along - across]))
    return heads


def _places(starts: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return where the number of each stroke is written, (y, x): near its start, with most room.

    `points` are those of all strokes, which numbers keep away from.
    """
    angles = np.arange(16) * np.pi / 8
    circle = np.stack([np.sin(angles), np.cos(angles)], axis=1)
    around = np.concatenate([radius * circle for radius in (7.5, 10.0)])
    farther = np.repeat([0, 0.7], len(circle))
    taken = np.concatenate([points, np.repeat(starts, 4, axis=0)])  # a marker is broad
    places: list[np.ndarray] = []
    for start in starts:
        candidates = start + around
        distances = np.hypot(*(candidates[:, None] - taken).transpose(2, 0, 1))
        crowding = np.exp(-((distances / 5) ** 2)).sum(1)
        outside = ((candidates < 4) | (candidates > CANVAS - 5)).any(1)
        places.append(candidates[(crowding + farther + 3 * outside).argmin()])
        taken = np.concatenate([taken, np.repeat(places[-1:], 8, axis=0)])
    return np.array(places)
