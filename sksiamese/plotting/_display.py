"""What all displays share: axes, colours, images as tiles."""

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


def picture(image):
    """An image as matplotlib takes it: (h, w) or (h, w, 3)."""
    image = np.asarray(image)
    if image.ndim == 3 and image.shape[0] in (1, 3, 4) and image.shape[2] not in (3, 4):
        image = np.moveaxis(image, 0, 2)
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[..., 0]
    if image.ndim not in (2, 3):
        raise ValueError(
            f"an image has shape {image.shape}; expected (height, width), with channels or "
            "without: give flat rows their shape by reshape."
        )
    return image


def tile(ax, image, x, y, side, color, width=1.0):
    """The image in a framed square of the axes, (x, y) its upper left corner."""
    height, breadth = image.shape[:2]
    h, w = side * height / max(height, breadth), side * breadth / max(height, breadth)
    left, top = x + (side - w) / 2, y + (side - h) / 2
    ax.imshow(image, cmap="gray", extent=(left, left + w, top + h, top), zorder=1)
    frame = [x, x + side, x + side, x, x], [y, y, y + side, y + side, y]
    ax.plot(*frame, color=color, linewidth=width, zorder=2)
