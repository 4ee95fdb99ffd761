"""The results of a label model: labels, confidence, and its labelling functions."""

from __future__ import annotations

import altair as alt
import pandas as pd
import streamlit as st

from streamlit_app.services.labels import Summary
from streamlit_app.ui.messages import plain
from streamlit_app.views.label_charts import confidence_histogram

_COLUMNS = {
    "labelling function": "Labelling function",
    "polarity": "Votes for",
    "coverage": "Coverage",
    "overlaps": "Overlaps",
    "conflicts": "Conflicts",
    "learned weight": "Estimated accuracy",
    "accuracy on gold": "Accuracy on gold labels",
    "correct": "Correct votes",
    "incorrect": "Wrong votes",
}
"""Recorded fields, and their titles."""

_SHARES = ("Coverage", "Overlaps", "Conflicts", "Estimated accuracy", "Accuracy on gold labels")


def show_distribution(summary: Summary) -> None:
    """Entities by label and by confidence."""
    counts = {label: n for label, n in summary.classes.items() if n}
    total = sum(counts.values()) or 1
    st.subheader("Labels")
    listed = ", ".join(f"{label} {n:,} ({n / total:.1%})" for label, n in counts.items())
    bars = _bars(pd.DataFrame({"Label": counts.keys(), "Entities": counts.values()}))
    st.altair_chart(bars, alt=f"Entities by label: {listed}")
    if counts:
        most = max(counts, key=counts.__getitem__)
        st.markdown(f"{plain(listed)}. Most common: **{plain(most)}**.")
    st.subheader("Confidence")
    if not summary.histogram:
        st.info("No entity has a label.", icon=":material/info:")
        return
    confidence_histogram(summary.histogram, total)


def _bars(frame: pd.DataFrame) -> alt.Chart:
    chart = alt.Chart(frame).mark_bar()
    return chart.encode(
        x=alt.X("Entities:Q", title="Entities"),
        y=alt.Y("Label:N", title=None, sort=None),
        tooltip=["Label", "Entities"],
    ).properties(height=90 + 32 * len(frame))


def show_functions(summary: Summary) -> None:
    """How often each labelling function votes, agrees and is right."""
    if not summary.functions:
        st.info("No figures are recorded for its labelling functions.", icon=":material/info:")
        return
    # The database does not keep the order of fields. Columns without any value are left out.
    frame = pd.DataFrame(list(summary.functions)).reindex(columns=list(_COLUMNS))
    frame = frame.rename(columns=_COLUMNS).dropna(axis="columns", how="all")
    st.dataframe(
        frame,
        hide_index=True,
        width="stretch",
        height=min(35 * len(frame) + 38, 738),
        column_config={name: st.column_config.NumberColumn(format="percent") for name in _SHARES},
    )
    st.caption(
        "Coverage: share of entities that the function votes on. Overlaps: share that another "
        "function votes on, too. Conflicts: share that another function gives a different label. "
        "Estimated accuracy: share of its votes that are right, as the label model estimates. "
        "Accuracy, correct and wrong votes: measured on gold labels."
    )
