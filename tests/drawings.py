"""Drawings made by hand, for the tests of `sksiamese.programs`: (60, 60) bool."""

import numpy as np

SIZE = 60


def draw(*lines, thick=1):
    """Return lines through the points (row, column) given, 2 * thick + 1 pixels wide."""
    image = np.zeros((SIZE, SIZE), bool)
    for line in lines:
        for (top, left), (bottom, right) in zip(line[:-1], line[1:], strict=True):
            for t in np.linspace(0, 1, 2 * SIZE):
                row, column = round(top + t * (bottom - top)), round(left + t * (right - left))
                image[row - thick : row + thick + 1, column - thick : column + thick + 1] = True
    return image


def circle(row, column, radius, n=40):
    angles = np.linspace(0, 2 * np.pi, n + 1)
    return np.stack([row - radius * np.cos(angles), column + radius * np.sin(angles)], axis=1)


DRAWINGS = {
    "line": draw([(10, 30), (50, 30)]),
    "plus": draw([(10, 30), (50, 30)], [(30, 10), (30, 50)]),
    "T": draw([(10, 10), (10, 50)], [(10, 30), (50, 30)]),
    "L": draw([(10, 10), (50, 10), (50, 50)]),
    "ring": draw(circle(30, 30, 15)),
    "figure eight": draw(
        [(30 - 20 * np.cos(t), 30 + 12 * np.sin(2 * t)) for t in np.linspace(0, 2 * np.pi, 60)]
    ),
    "dot": draw([(30, 30), (30, 30)]),
    "i with dot": draw([(25, 30), (50, 30)], [(10, 30), (10, 30)]),
}
rows, columns = np.mgrid[:105, :105]
CROWDED = {
    "full": np.ones((105, 105), bool),
    "checkerboard": (rows + columns) % 2 == 0,
    "grid": (rows % 10 < 3) | (columns % 10 < 3),
    "specks": (rows % 4 == 0) & (columns % 4 == 0),
    "lines": rows % 2 == 0,
    **{
        f"noise {density}": np.random.default_rng(0).random((105, 105)) < density
        for density in (0.05, 0.3, 0.5, 0.7, 0.95)
    },
}
