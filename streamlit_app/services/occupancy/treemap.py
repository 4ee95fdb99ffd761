"""A treemap: rectangles with areas proportional to sizes. Pure."""

from __future__ import annotations

import numpy as np


def squarify(sizes: np.ndarray, width: float = 1.0, height: float = 1.0) -> np.ndarray:
    """Rectangles [n, (x, y, width, height)] with areas proportional to sizes, nearly square.

    Bruls, Huizing and van Wijk, "Squarified treemaps" (2000). If all sizes are 0, all areas are
    equal.
    """
    sizes = np.asarray(sizes, np.float64)
    if not sizes.sum():
        sizes = np.ones_like(sizes)
    order = np.argsort(-sizes, kind="stable")
    areas = sizes[order] / sizes.sum() * width * height
    placed = np.zeros((len(sizes), 4))
    x, y, done = 0.0, 0.0, 0
    while done < len(areas):
        short = min(width, height)
        row = _row(areas[done:], short)
        thick = areas[done : done + row].sum() / short if short else 0.0
        lengths = areas[done : done + row] / thick if thick else np.zeros(row)
        offsets = np.concatenate([[0.0], np.cumsum(lengths)[:-1]])
        for i, (length, offset) in enumerate(zip(lengths, offsets, strict=True)):
            upright = width >= height
            box = (x, y + offset, thick, length) if upright else (x + offset, y, length, thick)
            placed[order[done + i]] = box
        if width >= height:
            x, width = x + thick, max(width - thick, 0.0)
        else:
            y, height = y + thick, max(height - thick, 0.0)
        done += row
    return placed


def _row(areas: np.ndarray, short: float) -> int:
    """How many areas fit in one row before the most elongated rectangle gets worse."""
    best, total, n = np.inf, 0.0, 0
    for area in np.maximum(areas, 1e-9 * short**2):  # an area of 0 has no aspect ratio
        total += area
        worst = max(short**2 * areas[0] / total**2, total**2 / (short**2 * area))
        if worst > best:
            return n
        best, n = worst, n + 1
    return n
