"""What all displays share: axes, colours, images as tiles, whom they ask."""

import numpy as np
from sklearn.utils._optional_dependencies import check_matplotlib_support

# Okabe and Ito's colours, told apart by colour-blind readers too.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#777777"


class Display:
    """Axes of its own unless given some, kept as ``ax_`` and ``figure_``."""

    def plot(self, ax=None):
        """Draw it.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            None: in a figure of its own.

        Returns
        -------
        display : object
            With ``ax_`` and ``figure_`` of matplotlib.
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        import matplotlib.pyplot as plt

        if ax is None:
            _, ax = plt.subplots(figsize=self._figsize())
        self.ax_, self.figure_ = ax, ax.figure
        self._draw(ax)
        return self

    def _figsize(self):
        return None


def check_kind(estimator, kind, expected):
    """TypeError where a display cannot ask such an estimator; `expected` says whom it can."""
    if not isinstance(estimator, kind):
        raise TypeError(f"estimator is a {type(estimator).__name__}; expected {expected}.")


def picture(image, channels="auto"):
    """An image as matplotlib takes it: (h, w), the mean of channels that are no colours, or
    (h, w, 3). Where its `channels` are is as in `SiameseOneShotClassifier`."""
    image = np.asarray(image)
    if image.ndim not in (2, 3):
        raise ValueError(
            f"an image has shape {image.shape}; expected (height, width), with channels or "
            "without: give flat rows their shape by reshape."
        )
    if image.ndim == 2:
        return image
    first = image.shape[0] < image.shape[2] and image.shape[2] not in (3, 4)
    if channels == "first" or (channels == "auto" and first):
        image = np.moveaxis(image, 0, 2)
    if image.shape[2] not in (3, 4):
        return image.mean(axis=2)
    return image if image.dtype == np.uint8 else _scaled(image)


def _scaled(image):
    """Values from 0 to 1, beyond which matplotlib clips colours, though it scales grays."""
    low, high = image.min(), image.max()
    if low >= 0 and high <= 255:
        low, high = 0, 1 if high <= 1 else 255
    return np.interp(image, (low, high), (0, 1))


def tile(ax, image, x, y, side, color, width=1.0):
    """The image in a framed square of the axes, (x, y) its upper left corner."""
    height, breadth = image.shape[:2]
    h, w = side * height / max(height, breadth), side * breadth / max(height, breadth)
    left, top = x + (side - w) / 2, y + (side - h) / 2
    ax.imshow(image, cmap="gray", extent=(left, left + w, top + h, top), zorder=1)
    frame = [x, x + side, x + side, x, x], [y, y, y + side, y + side, y]
    ax.plot(*frame, color=color, linewidth=width, zorder=2)
