"""Plots of a label model's materialisation, as small PNG images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tippers_dagster.labelling.analysis import Analysis
from tippers_dagster.labelling.evaluate import CalibrationBin, Evaluation
from tippers_dagster.labelling.label_model import LABEL, OUTCOMES, Prediction
from tippers_dagster.platform.plots import BLUE, GREY, ORANGE, as_png, side_by_side

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BINS = 20
"""Bins of the confidence histogram, between 0 and 1."""


def confidence_histogram(prediction: Prediction) -> tuple[np.ndarray, np.ndarray]:
    """Edges float64 [BINS + 1], and int64 [BINS] the number of labelled entities in each bin."""
    labelled = prediction.confidence[prediction.outcome == LABEL]
    counts, edges = np.histogram(labelled, bins=BINS, range=(0.0, 1.0))
    return edges, counts


def outcome_plot(labels: Sequence[str], prediction: Prediction) -> bytes:
    """Entities per label and outcome, and the confidence of the labels."""
    counts = np.bincount(prediction.label[prediction.outcome == LABEL], minlength=len(labels))
    without = np.bincount(prediction.outcome, minlength=len(OUTCOMES))[1:]
    figure, (left, right) = side_by_side(2)
    names = [*labels, *OUTCOMES[1:]]
    colours = [BLUE] * len(labels) + [GREY] * len(without)
    left.barh(names, [*counts, *without], color=colours)
    left.invert_yaxis()
    left.set_title("entities by label")
    edges, histogram = confidence_histogram(prediction)
    right.bar(edges[:-1], histogram, width=np.diff(edges), align="edge", color=BLUE)
    right.set_title("confidence of labels")
    right.set_xlim(0, 1)
    return as_png(figure)


def function_plot(analysis: Analysis) -> bytes:
    """Coverage, conflicts, estimated accuracy and accuracy on gold labels, per function."""
    figure, (left, right) = side_by_side(2, height=1.2 + 0.28 * len(analysis.functions))
    place = np.arange(len(analysis.functions))
    left.barh(place, analysis.coverage, color=BLUE, label="coverage")
    left.barh(place, analysis.conflicts, color=ORANGE, label="conflicts")
    left.set_yticks(place, analysis.functions)
    left.set_title("share of entities")
    right.plot(analysis.weight, place, "o", color=BLUE, label="estimated accuracy")
    right.plot(analysis.accuracy, place, "x", color=ORANGE, label="accuracy on gold")
    right.set_yticks(place, [])
    right.set_title("accuracy of votes")
    for axes in (left, right):
        axes.set_xlim(0, 1.02)
        axes.set_ylim(len(place) - 0.5, -0.5)
        axes.legend(fontsize=7, loc="lower right")
    return as_png(figure)


def gold_plot(evaluation: Evaluation) -> bytes:
    """Confusion matrix with the gold labels, and calibration."""
    figure, (left, right) = side_by_side(2)
    names = evaluation.labels
    draw_confusion(left, names, [*names, "none"], evaluation.model.confusion)
    left.set_title("gold label by predicted label")
    draw_calibration(right, evaluation.calibration)
    return as_png(figure)


def draw_confusion(
    axes: Axes, true: Sequence[str], predicted: Sequence[str], cells: np.ndarray
) -> None:
    """A confusion matrix with its numbers."""
    axes.imshow(cells, cmap="Blues", aspect="auto")
    axes.set_xticks(range(len(predicted)), predicted, rotation=30, fontsize=7)
    axes.set_yticks(range(len(true)), true, fontsize=7)
    for (row, column), count in np.ndenumerate(cells):
        dark = count > cells.max() / 2
        axes.text(column, row, f"{count:,}", ha="center", va="center", color="w" if dark else "k")


def draw_calibration(axes: Axes, bins: Sequence[CalibrationBin]) -> None:
    """Accuracy by confidence."""
    axes.plot([0, 1], [0, 1], ":", color=GREY)
    axes.plot([b.confidence for b in bins], [b.accuracy for b in bins], "o-", color=BLUE)
    axes.set_title("accuracy by confidence")
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.02)
