"""Plots of a classifier's materialisation, as small PNG images."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tippers_dagster.learning.scores import Measures
from tippers_dagster.learning.train import Importance

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_COLUMNS = 15
"""How many columns' importances are shown."""

_DOTS_PER_INCH = 70
_BLUE, _GREY = "#3b6fb6", "#b8bec7"


def confusion_plot(labels: Sequence[str], measures: Measures) -> bytes:
    """Confusion matrix, and accuracy by confidence."""
    figure, (left, right) = _axes(2)
    _confusion(left, labels, measures.confusion[:, : len(labels)])
    bins = measures.calibration
    right.plot([0, 1], [0, 1], ":", color=_GREY)
    right.plot([b.confidence for b in bins], [b.accuracy for b in bins], "o-", color=_BLUE)
    right.set_title("accuracy by confidence")
    right.set_xlim(0, 1.02)
    right.set_ylim(0, 1.02)
    return _png(figure)


def importance_plot(importances: Sequence[Importance]) -> bytes:
    """The increase of the log loss when one of the most important columns is shuffled."""
    shown = importances[:MAX_COLUMNS]
    figure, (axes,) = _axes(1, 1.2 + 0.25 * len(shown))
    place = np.arange(len(shown))
    means, deviations = [one.mean for one in shown], [one.deviation for one in shown]
    axes.barh(place, means, xerr=deviations, color=_BLUE, ecolor=_GREY)
    axes.set_yticks(place, [one.column for one in shown], fontsize=7)
    axes.invert_yaxis()
    axes.set_title("increase of log loss when shuffled", fontsize=9)
    return _png(figure)


def _confusion(axes: Axes, labels: Sequence[str], cells: np.ndarray) -> None:
    axes.imshow(cells, cmap="Blues", aspect="auto")
    axes.set_xticks(range(len(labels)), labels, rotation=30, fontsize=7)
    axes.set_yticks(range(len(labels)), labels, fontsize=7)
    for (row, column), count in np.ndenumerate(cells):
        dark = count > cells.max() / 2
        axes.text(column, row, f"{count:,}", ha="center", va="center", color="w" if dark else "k")
    axes.set_title("true by predicted label")


def _axes(columns: int, height: float = 2.6) -> tuple[Figure, Sequence[Axes]]:
    """A figure of axes side by side, drawn without a window system."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.8 * columns, height), layout="constrained")
    return figure, figure.subplots(1, columns, squeeze=False)[0]


def _png(figure: Figure) -> bytes:
    sink = io.BytesIO()
    figure.savefig(sink, format="png", dpi=_DOTS_PER_INCH)
    return sink.getvalue()
