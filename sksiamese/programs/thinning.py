"""Thinning: a drawing to lines of single pixels (Guo & Hall 1989, algorithm A1)."""

import numpy as np

# Clockwise from above. Bit k of a pixel's code says whether its neighbour k is foreground.
NEIGHBOURS = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))
# Neighbour k of each of the 256 codes: bool (8, 256).
IS_ON = (np.arange(256) >> np.arange(8)[:, None] & 1).astype(bool)


def neighbour_codes(image: np.ndarray) -> np.ndarray:
    """Return which neighbours of each pixel are foreground: (h, w) bool -> (h, w) uint8."""
    height, width = image.shape
    padded = np.pad(image, 1).astype(np.uint8)
    codes = np.zeros(image.shape, np.uint8)
    for k, (down, right) in enumerate(NEIGHBOURS):
        codes |= padded[1 + down : 1 + down + height, 1 + right : 1 + right + width] << k
    return codes


def fill_pinholes(foreground: np.ndarray) -> np.ndarray:
    """Fill holes of a single pixel, which would become rings: (h, w) bool -> (h, w) bool."""
    four = 0b01010101  # above, right, below, left
    return foreground | (neighbour_codes(foreground) & four == four)


def _removable() -> np.ndarray:
    """Return which codes each of the two sub-iterations removes: bool (2, 256)."""
    p2, p3, p4, p5, p6, p7, p8, p9 = IS_ON  # the paper's names
    n_branches = sum(
        (~side & (corner | after)).astype(int)
        for side, corner, after in ((p2, p3, p4), (p4, p5, p6), (p6, p7, p8), (p8, p9, p2))
    )
    n_1 = sum((a | b).astype(int) for a, b in ((p9, p2), (p3, p4), (p5, p6), (p7, p8)))
    n_2 = sum((a | b).astype(int) for a, b in ((p2, p3), (p4, p5), (p6, p7), (p8, p9)))
    n_least = np.minimum(n_1, n_2)
    on_border = (n_branches == 1) & (n_least >= 2) & (n_least <= 3)
    sides = np.stack([(p6 | p7 | ~p9) & p8, (p2 | p3 | ~p5) & p4])
    return on_border & ~sides


_REMOVABLE = _removable()


def thin(foreground: np.ndarray) -> np.ndarray:
    """Return the skeleton of a drawing.

    Parameters
    ----------
    foreground : ndarray of shape (height, width), bool
        Holes of a single pixel are filled first.

    Returns
    -------
    skeleton : ndarray of shape (height, width), bool
        As many 8-connected components as the filled foreground, each one pixel thick.

    References
    ----------
    Guo, Z. and Hall, R. W. (1989). Parallel thinning with two-subiteration algorithms.
    Communications of the ACM 32(3), 359-373.
    """
    image = np.pad(fill_pinholes(foreground), 1)
    codes = neighbour_codes(image).ravel()
    steps = [down * image.shape[1] + right for down, right in NEIGHBOURS]
    pixels = np.flatnonzero(image)
    n_idle = turn = 0
    while n_idle < 2:
        is_removed = _REMOVABLE[turn][codes[pixels]]
        removed, pixels = pixels[is_removed], pixels[~is_removed]
        for k, step in enumerate(steps):  # neighbour k sees the removed pixel opposite k
            codes[removed + step] &= 255 ^ 1 << (k + 4) % 8
        n_idle = 0 if len(removed) else n_idle + 1
        turn = 1 - turn
    skeleton = np.zeros_like(image)
    skeleton.flat[pixels] = True
    return skeleton[1:-1, 1:-1]
