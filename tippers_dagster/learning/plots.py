"""Plots of a classifier's materialisation, as small PNG images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tippers_dagster.labelling.plots import draw_calibration, draw_confusion
from tippers_dagster.learning.scores import Measures
from tippers_dagster.learning.train import Importance
from tippers_dagster.platform.plots import BLUE, GREY, as_png, side_by_side

MAX_COLUMNS = 15
"""How many columns' importances are shown."""


def confusion_plot(labels: Sequence[str], measures: Measures) -> bytes:
    """Confusion matrix, and accuracy by confidence."""
    figure, (left, right) = side_by_side(2)
    draw_confusion(left, labels, labels, measures.confusion[:, : len(labels)])
    left.set_title("true by predicted label")
    draw_calibration(right, measures.calibration)
    return as_png(figure)


def importance_plot(importances: Sequence[Importance]) -> bytes:
    """The increase of the log loss when one of the most important columns is shuffled."""
    shown = importances[:MAX_COLUMNS]
    figure, (axes,) = side_by_side(1, 1.2 + 0.25 * len(shown))
    place = np.arange(len(shown))
    means, deviations = [one.mean for one in shown], [one.deviation for one in shown]
    axes.barh(place, means, xerr=deviations, color=BLUE, ecolor=GREY)
    axes.set_yticks(place, [one.column for one in shown], fontsize=7)
    axes.invert_yaxis()
    axes.set_title("increase of log loss when shuffled", fontsize=9)
    return as_png(figure)
