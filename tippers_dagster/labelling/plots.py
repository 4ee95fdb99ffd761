"""Plots of a label model's materialisation, as small PNG images."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tippers_dagster.labelling.analysis import Analysis
from tippers_dagster.labelling.evaluate import Evaluation
from tippers_dagster.labelling.label_model import LABEL, OUTCOMES, Prediction

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BINS = 20
"""Bins of the confidence histogram, between 0 and 1."""

_DOTS_PER_INCH = 70
_BLUE, _ORANGE, _GREY = "#3b6fb6", "#d9822b", "#b8bec7"


def confidence_histogram(prediction: Prediction) -> tuple[np.ndarray, np.ndarray]:
    """Edges float64 [BINS + 1], and int64 [BINS] the number of labelled entities in each bin."""
    labelled = prediction.confidence[prediction.outcome == LABEL]
    counts, edges = np.histogram(labelled, bins=BINS, range=(0.0, 1.0))
    return edges, counts


def outcome_plot(labels: Sequence[str], prediction: Prediction) -> bytes:
    """Entities per label and outcome, and the confidence of the labels."""
    counts = np.bincount(prediction.label[prediction.outcome == LABEL], minlength=len(labels))
    without = np.bincount(prediction.outcome, minlength=len(OUTCOMES))[1:]
    figure, (left, right) = _axes(2)
    names = [*labels, *OUTCOMES[1:]]
    colours = [_BLUE] * len(labels) + [_GREY] * len(without)
    left.barh(names, [*counts, *without], color=colours)
    left.invert_yaxis()
    left.set_title("entities by label")
    edges, histogram = confidence_histogram(prediction)
    right.bar(edges[:-1], histogram, width=np.diff(edges), align="edge", color=_BLUE)
    right.set_title("confidence of labels")
    right.set_xlim(0, 1)
    return _png(figure)


def function_plot(analysis: Analysis) -> bytes:
    """Coverage, conflicts, estimated accuracy and accuracy on gold labels, per function."""
    figure, (left, right) = _axes(2, height=1.2 + 0.28 * len(analysis.functions))
    place = np.arange(len(analysis.functions))
    left.barh(place, analysis.coverage, color=_BLUE, label="coverage")
    left.barh(place, analysis.conflicts, color=_ORANGE, label="conflicts")
    left.set_yticks(place, analysis.functions)
    left.set_title("share of entities")
    right.plot(analysis.weight, place, "o", color=_BLUE, label="estimated accuracy")
    right.plot(analysis.accuracy, place, "x", color=_ORANGE, label="accuracy on gold")
    right.set_yticks(place, [])
    right.set_title("accuracy of votes")
    for axes in (left, right):
        axes.set_xlim(0, 1.02)
        axes.set_ylim(len(place) - 0.5, -0.5)
        axes.legend(fontsize=7, loc="lower right")
    return _png(figure)


def gold_plot(evaluation: Evaluation) -> bytes:
    """Confusion matrix with the gold labels, and calibration."""
    figure, (left, right) = _axes(2)
    confusion = evaluation.model.confusion
    left.imshow(confusion, cmap="Blues", aspect="auto")
    names = evaluation.labels
    left.set_xticks(range(len(names) + 1), [*names, "none"], rotation=30, fontsize=7)
    left.set_yticks(range(len(names)), names, fontsize=7)
    for (row, column), count in np.ndenumerate(confusion):
        dark = count > confusion.max() / 2
        left.text(column, row, f"{count:,}", ha="center", va="center", color="w" if dark else "k")
    left.set_title("gold label by predicted label")
    bins = evaluation.calibration
    right.plot([0, 1], [0, 1], ":", color=_GREY)
    right.plot([b.confidence for b in bins], [b.accuracy for b in bins], "o-", color=_BLUE)
    right.set_title("accuracy by confidence")
    right.set_xlim(0, 1.02)
    right.set_ylim(0, 1.02)
    return _png(figure)


def as_markdown(png: bytes, text: str) -> str:
    """An image embedded in Markdown, for Dagster's UI."""
    return f"![{text}](data:image/png;base64,{base64.b64encode(png).decode()})"


def _axes(columns: int, height: float = 2.6) -> tuple[Figure, Sequence[Axes]]:
    """A figure of axes side by side, drawn without a window system."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.8 * columns, height), layout="constrained")
    return figure, figure.subplots(1, columns)


def _png(figure: Figure) -> bytes:
    sink = io.BytesIO()
    figure.savefig(sink, format="png", dpi=_DOTS_PER_INCH)
    return sink.getvalue()
