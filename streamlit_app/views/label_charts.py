"""Charts of labels: confidence, confusion matrix and calibration. Each has its main point below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from streamlit_app.services.labels import BINS
from streamlit_app.ui.messages import plain
from streamlit_app.ui.theme import is_dark
from tippers_dagster.platform.text import counted

_SURE = 0.9
NO_LABEL = "no label"


def confidence_histogram(histogram: Sequence[tuple[float, str, int]], total: int) -> None:
    """Draw lower end of bin, label, and number of entities; ``total``: of all entities."""
    frame = pd.DataFrame(histogram, columns=["From", "Label", "Entities"])
    frame["To"] = frame["From"] + 1 / BINS
    sure = int(frame.loc[frame["From"] >= _SURE, "Entities"].sum())
    summary = (
        f"Confidence {_SURE} or higher: {counted(sure, 'entity', 'entities')} ({sure / total:.1%})."
    )
    chart = alt.Chart(frame).mark_bar()
    st.altair_chart(
        chart.encode(
            x=alt.X("From:Q", title="Confidence", scale=alt.Scale(domain=[0, 1]), bin="binned"),
            x2="To:Q",
            y=alt.Y("Entities:Q", title="Entities"),
            color=alt.Color("Label:N", title=None, legend=alt.Legend(orient="top")),
            tooltip=["Label", "From", "To", "Entities"],
        ).properties(height=260),
        alt=f"Entities by confidence and label. {summary}",
    )
    st.markdown(summary)


def confusion_matrix(
    labels: Sequence[str], counts: Sequence[Sequence[int]], *, truth: str = "Gold label"
) -> None:
    """Draw true labels by assigned labels; a last column counts entities without a label.

    Parameters
    ----------
    truth
        What the rows are.
    """
    unlabelled = any(sum(row[len(labels) :]) for row in counts)
    assigned = [*labels, NO_LABEL] if unlabelled else list(labels)
    cells: list[dict[str, Any]] = [
        {truth: true, "Assigned label": label, "Entities": n}
        for true, row in zip(labels, counts, strict=False)
        for label, n in zip(assigned, row, strict=False)
    ]
    frame = pd.DataFrame(cells)
    base = alt.Chart(frame).encode(
        x=alt.X("Assigned label:N", sort=None, axis=alt.Axis(labelAngle=0)),
        y=alt.Y(f"{truth}:N", sort=None),
    )
    fill = base.mark_rect().encode(
        color=alt.Color("Entities:Q", legend=None), tooltip=[truth, "Assigned label", "Entities"]
    )
    # In the dark theme large counts have a light background, and so need dark text.
    many, few = ("#0a1213", "#e6eeee") if is_dark() else ("#ffffff", "#0a1213")
    half = frame["Entities"].max() / 2
    text = base.mark_text().encode(
        text="Entities:Q",
        color=alt.condition(alt.datum.Entities > half, alt.value(many), alt.value(few)),
    )
    summary = _worst_error(cells, truth)
    st.altair_chart((fill + text).properties(height=60 + 42 * len(labels)), alt=summary)
    st.markdown(plain(summary))


def _worst_error(cells: Sequence[Mapping[str, Any]], truth: str) -> str:
    errors = [c for c in cells if c[truth] != c["Assigned label"] and c["Entities"]]
    if not errors:
        return "There are no errors."
    worst = max(errors, key=lambda cell: int(cell["Entities"]))
    total = counted(sum(cell["Entities"] for cell in cells), "entity", "entities")
    label = worst["Assigned label"]
    error = "without a label" if label == NO_LABEL else f"labelled as {label}"
    return f"Most common error: {worst[truth]} {error}, {worst['Entities']:,} of {total}."


def calibration_chart(bins: Sequence[Mapping[str, Any]], error: float) -> None:
    """Draw the accuracy of each bin of confidence; ``error``: the expected calibration error."""
    points = [b for b in bins if b["entities"]]
    if not points:
        st.caption("None of these entities has a label.")
        return
    line = alt.Chart(pd.DataFrame(points)).mark_line(point=True)
    line = line.encode(
        x=alt.X("confidence:Q", title="Mean confidence", scale=alt.Scale(domain=[0, 1])),
        y=alt.Y("accuracy:Q", title="Accuracy", scale=alt.Scale(domain=[0, 1])),
        tooltip=[
            alt.Tooltip("entities:Q", title="Entities"),
            alt.Tooltip("confidence:Q", title="Mean confidence", format=".3f"),
            alt.Tooltip("accuracy:Q", title="Accuracy", format=".3f"),
        ],
    )
    diagonal = alt.Chart(pd.DataFrame({"confidence": [0, 1], "accuracy": [0, 1]}))
    diagonal = diagonal.mark_line(strokeDash=[4, 4], color="grey").encode(
        x="confidence:Q", y="accuracy:Q"
    )
    summary = (
        f"Confidence and accuracy differ by {error:.3f} on average. On the dashed line they are "
        "equal."
    )
    st.altair_chart((diagonal + line).properties(height=240), alt=summary)
    st.markdown(summary)
