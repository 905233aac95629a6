"""What all displays share: axes, colours and images as tiles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from typing_extensions import Self

# The palette of Okabe and Ito, which colour-blind readers can tell apart.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#777777"


class Display:
    """Base class of the displays: `plot` draws into axes and keeps them."""

    ax_: Axes
    figure_: Any

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw into. If None, a new figure is made.

        Returns
        -------
        display : object
            The display, with the attributes ``ax_`` and ``figure_``.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        check_matplotlib(f"{type(self).__name__}.plot")
        import matplotlib.pyplot as plt

        if ax is None:
            _, ax = plt.subplots(figsize=self._figsize())
        self.ax_, self.figure_ = ax, ax.figure
        self._draw(ax)
        return self

    def _figsize(self) -> tuple[float, float] | None:
        """Return the size of a new figure in inches; None for matplotlib's default."""
        return None

    def _draw(self, ax: Axes) -> None:
        raise NotImplementedError


def check_matplotlib(caller: str) -> None:
    """Raise ImportError if matplotlib, which `caller` needs, is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"{caller} requires matplotlib. Install it with `pip install matplotlib`."
        ) from error


def check_kind(estimator: Any, kind: type | tuple[type, ...], expected: str) -> None:
    """Raise TypeError if `estimator` is not of a class in `kind`."""
    if not isinstance(estimator, kind):
        raise TypeError(f"estimator is a {type(estimator).__name__}; expected {expected}.")


def picture(image: ArrayLike, channels: str = "auto") -> np.ndarray:
    """Return an image as matplotlib takes it: gray (h, w), or colours (h, w, 3) or (h, w, 4).

    `channels` is that of `SiameseOneShotClassifier`. Channels that are not colours are averaged.
    """
    image = np.asarray(image)
    if image.ndim not in (2, 3):
        raise ValueError(
            f"an image has shape {image.shape}; expected (height, width), with or without "
            "channels. Reshape flat rows to images."
        )
    if image.ndim == 2:
        return image
    first = image.shape[0] < image.shape[2] and image.shape[2] not in (3, 4)
    if channels == "first" or (channels == "auto" and first):
        image = np.moveaxis(image, 0, 2)
    return image if image.shape[2] in (3, 4) else image.mean(axis=2)


def _unit_range(image: np.ndarray) -> np.ndarray:
    """Return values from 0 to 1; the units are taken from the range of the image."""
    if image.dtype == np.uint8:
        return image / 255
    low, high = image.min(), image.max()
    if low >= 0 and high <= 255:
        low, high = 0, 1 if high <= 1 else 255
    return np.interp(image, (low, high), (0, 1))


def tile(
    ax: Axes, image: np.ndarray, x: float, y: float, side: float, color: str, width: float = 1.0
) -> None:
    """Draw an image in a framed square, whose upper left corner is at (x, y)."""
    height, breadth = image.shape[:2]
    h, w = side * height / max(height, breadth), side * breadth / max(height, breadth)
    left, top = x + (side - w) / 2, y + (side - h) / 2
    extent = (left, left + w, top + h, top)
    # The fixed range keeps a blank image white or black, as it is.
    ax.imshow(_unit_range(image), cmap="gray", vmin=0, vmax=1, extent=extent, zorder=1)
    frame = [x, x + side, x + side, x, x], [y, y, y + side, y + side, y]
    ax.plot(*frame, color=color, linewidth=width, zorder=2)
