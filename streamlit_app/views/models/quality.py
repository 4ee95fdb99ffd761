"""What the best model mistakes for what, how sure it may be, and what it looks at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import altair as alt
import pandas as pd
import streamlit as st

from streamlit_app.services import models as service
from streamlit_app.services.app import App
from streamlit_app.ui import state
from streamlit_app.ui.messages import plain
from streamlit_app.views.models.ranking import JUDGED, WAYS, not_trained, words
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.model import Ref

if TYPE_CHECKING:
    from tippers_dagster.learning.results import ClassifierResult

MOST_COLUMNS = 15
"""Importances that are shown."""


def show(app: App, catalog: Catalog, ref: Ref) -> None:
    """Of the last materialisation."""
    found = service.results(app, ref)
    if not found:
        not_trained()
        return
    result = found[0]
    on, way = _choose(result)
    comparison: Mapping[str, Any] = result.details.get("comparison") or {}
    measures = (comparison.get(on) or {}).get(way) or {}
    labels = list(result.details.get("labels") or ())
    if not measures.get("entities"):
        st.info("No held-out entity has such a label.", icon=":material/info:")
    else:
        left, right = st.columns(2, gap="medium")
        with left:
            st.subheader("Confusion")
            _confusion(labels, measures["confusion"], "Gold label" if on == "gold" else "Label")
        with right:
            st.subheader("Calibration")
            _calibration(measures)
    left, right = st.columns(2, gap="medium")
    with left:
        st.subheader("What it looks at")
        _importances(result)
    with right:
        st.subheader("What it was trained on")
        _training(result, labels)


def _choose(result: ClassifierResult) -> tuple[str, str]:
    """On which entities, and of which way to label."""
    there = ["held_out", *(["gold"] if result.gold else [])]
    on_key, way_key = "models.quality_on", "models.way_to_label"
    ways = [w for w in WAYS if w != "label_model" or result.gold]
    st.session_state[on_key] = state.one_of("on", there, there[-1])
    st.session_state[way_key] = state.one_of("of", ways, ways[0])
    with st.container(horizontal=True):
        on = st.segmented_control(
            "Judged on",
            there,
            format_func=JUDGED.__getitem__,
            key=on_key,
            required=True,
            on_change=lambda: state.put(on=st.session_state[on_key]),
        )
        way = st.segmented_control(
            "Of",
            ways,
            format_func=lambda w: f"Best: {words(result.best)}" if w == "best" else WAYS[w],
            key=way_key,
            required=True,
            on_change=lambda: state.put(of=st.session_state[way_key]),
        )
    return str(on or there[-1]), str(way or ways[0])


def _confusion(labels: Sequence[str], confusion: Sequence[Sequence[int]], truth: str) -> None:
    given = [*labels, "no label"][: len(confusion[0])]
    if not any(row[-1] for row in confusion):
        given = given[: len(labels)]
    cells = [
        {truth: true, "Given": label, "Entities": n}
        for true, row in zip(labels, confusion, strict=False)
        for label, n in zip(given, row, strict=False)
    ]
    frame = pd.DataFrame(cells)
    base = alt.Chart(frame).encode(
        x=alt.X("Given:N", title="Label given", sort=None, axis=alt.Axis(labelAngle=0)),
        y=alt.Y(f"{truth}:N", title=truth, sort=None),
    )
    fill = base.mark_rect().encode(
        color=alt.Color("Entities:Q", legend=None), tooltip=[truth, "Given", "Entities"]
    )
    half = frame["Entities"].max() / 2
    strong, weak = ("#0a1213", "white") if dark() else ("white", "#0a1213")
    text = base.mark_text().encode(
        text="Entities:Q",
        color=alt.condition(alt.datum.Entities > half, alt.value(strong), alt.value(weak)),
    )
    st.altair_chart((fill + text).properties(height=60 + 44 * len(labels)))
    wrong = frame[frame[truth] != frame["Given"]].sort_values("Entities", ascending=False)
    if len(wrong) and wrong.iloc[0]["Entities"]:
        worst = wrong.iloc[0]
        st.markdown(
            f"Most often mistaken: {plain(worst[truth])} for {plain(worst['Given'])}, "
            f"{worst['Entities']:,} of {frame['Entities'].sum():,}."
        )
    else:
        st.markdown("None of them is mistaken.")


def dark() -> bool:
    """Whether the theme is dark, where strong colours are the light ones."""
    return bool(st.context.theme.type == "dark")


def _calibration(measures: Mapping[str, Any]) -> None:
    bins = [b for b in measures.get("calibration") or () if b["entities"]]
    if not bins:
        st.caption("None of these entities has a label.")
        return
    frame = pd.DataFrame(bins)
    points = alt.Chart(frame).mark_line(point=True)
    points = points.encode(
        x=alt.X("confidence:Q", title="Mean confidence", scale=alt.Scale(domain=[0, 1])),
        y=alt.Y("accuracy:Q", title="Accuracy", scale=alt.Scale(domain=[0, 1])),
        tooltip=["entities", "confidence", "accuracy"],
    )
    diagonal = alt.Chart(pd.DataFrame({"confidence": [0, 1], "accuracy": [0, 1]}))
    diagonal = diagonal.mark_line(strokeDash=[4, 4], color="grey").encode(
        x="confidence:Q", y="accuracy:Q"
    )
    st.altair_chart((diagonal + points).properties(height=240))
    st.markdown(
        f"Confidence and accuracy are {measures['calibration_error']:.3f} apart on average; on the "
        "dashed line they are equal."
    )


def _importances(result: ClassifierResult) -> None:
    found = result.details.get("importances") or ()
    if not found:
        st.caption("Nothing is recorded of it.")
        return
    frame = pd.DataFrame(list(found)[:MOST_COLUMNS])
    frame["low"] = frame["mean"] - frame["deviation"]
    frame["high"] = frame["mean"] + frame["deviation"]
    y = alt.Y("column:N", title=None, sort=None, axis=alt.Axis(labelLimit=220))
    base = alt.Chart(frame).encode(y=y)
    bars = base.mark_bar().encode(
        x=alt.X("mean:Q", title="Balanced accuracy lost without it"),
        tooltip=[
            alt.Tooltip("column:N", title="Column"),
            alt.Tooltip("mean:Q", format=".4f"),
            alt.Tooltip("deviation:Q", format=".4f"),
        ],
    )
    spread = base.mark_rule(color="grey").encode(x="low:Q", x2="high:Q")
    st.altair_chart((bars + spread).properties(height=70 + 22 * len(frame)))
    first = frame.iloc[0]
    st.markdown(
        f"Most of all at **{plain(first['column'])}**: with its values shuffled, "
        f"{first['mean']:.3f} of balanced accuracy are lost."
    )
    if len(found) > MOST_COLUMNS:
        st.caption(f"The first {MOST_COLUMNS} of {len(found)} columns; the others tell it less.")


def _training(result: ClassifierResult, labels: Sequence[str]) -> None:
    counts: Mapping[str, Mapping[str, int]] = result.details.get("counts") or {}
    rows = [
        {
            "Label": label,
            "Confident": counts.get("confident", {}).get(label),
            "Trained on": counts.get("trained", {}).get(label),
            "Held out": counts.get("held_out", {}).get(label),
        }
        for label in labels
    ]
    st.dataframe(rows, hide_index=True, width="stretch")
    steps = result.details.get("steps") or ()
    first = steps[0]["threshold"] if steps else result.threshold
    lowered = (
        f"lowered in {len(steps) - 1} steps from {first:g}, so that every label has enough"
        if len(steps) > 1
        else "as its definition says"
    )
    st.markdown(
        f"Labels of a confidence of {result.threshold:g} or more, {lowered}. No label has many "
        "more than the rarest on the training side; what is held out is as it was found."
    )
