"""Drift: how current entities differ from the training data."""

from __future__ import annotations

from collections.abc import Sequence
from zoneinfo import ZoneInfo

import altair as alt
import pandas as pd
import streamlit as st

from streamlit_app.services import models as service
from streamlit_app.services.app import App
from streamlit_app.services.models import DriftOfRun, DriftRow
from streamlit_app.ui import state
from streamlit_app.ui.messages import plain
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.model import Ref
from tippers_dagster.platform.text import counted

MAX_LINES = 6
"""Columns in the chart over time."""

_NEGLIGIBLE = 0.005
"""A smaller change of a share is not worth mentioning."""


def show(app: App, catalog: Catalog, ref: Ref) -> None:
    """The latest predictions compared with training, one column in detail, and the history."""
    runs = service.drift(app, ref)
    if not runs:
        with st.container(border=True):
            st.markdown(
                "**No comparison yet.** Each time predictions are computed, features and labels "
                "are compared with those that the champion was trained on."
            )
        return
    newest = runs[0]
    _summary(app, newest)
    _table(newest)
    _column(newest)
    _history(app, runs)


def _summary(app: App, newest: DriftOfRun) -> None:
    zone = ZoneInfo(app.settings.timezone)
    drifted = [c for c in newest.columns if c.drifted]
    when = f"predictions of {newest.at.astimezone(zone):%Y-%m-%d %H:%M}"
    since = f"since version {newest.model_version} was trained"
    total = counted(len(newest.columns), "column")
    if drifted:
        names = ", ".join("the predicted label" if c.what == "label" else c.name for c in drifted)
        st.warning(
            f"{len(drifted)} of {total} drifted {since} ({when}): {plain(names)}. Consider "
            "training the classifier again.",
            icon=":material/trending_up:",
        )
    else:
        st.markdown(f"None of {total} has drifted {since} ({when}).")


def _table(newest: DriftOfRun) -> None:
    rows = [
        {
            "Column": "(predicted label)" if c.what == "label" else c.name,
            "Stability index": c.psi,
            "Threshold": c.threshold,
            "Missing in training": c.missing_before,
            "Missing now": c.missing_now,
            "Drifted": "yes" if c.drifted else "no",
        }
        for c in newest.columns
    ]
    shares = ("Missing in training", "Missing now")
    st.dataframe(
        rows,
        hide_index=True,
        width="stretch",
        column_config={
            "Stability index": st.column_config.NumberColumn(format="%.3f"),
            "Threshold": st.column_config.NumberColumn(format="%.3f"),
            **{name: st.column_config.NumberColumn(format="percent") for name in shares},
        },
    )
    st.caption(
        "The population stability index compares the shares of entities per bin: up to 0.1 means "
        "no change, above 0.25 a shift. With few entities it is large by chance, so the threshold "
        "is higher. A column has also drifted if its share of missing values changed by more than "
        "10 percentage points."
    )


def _column(newest: DriftOfRun) -> None:
    names = {f"{c.what} {c.name}": c for c in newest.columns if c.bins}
    if not names:
        return
    chosen = st.selectbox(
        "Column",
        list(names),
        format_func=lambda n: "predicted label" if names[n].what == "label" else names[n].name,
        width=320,
        **state.linked("column", list(names), next(iter(names)), key="models.column"),
    )
    one = names[chosen]
    st.altair_chart(_bars(one))
    st.markdown(_largest_change(one))


def _bars(one: DriftRow) -> alt.Chart:
    frame = pd.DataFrame(
        [
            {"Bin": name, "When": when, "Share": share}
            for when, shares in (("in training", one.before), ("now", one.now))
            for name, share in zip(one.bins, shares, strict=False)
        ]
    )
    return (
        alt.Chart(frame)
        .mark_bar()
        .encode(
            x=alt.X("Bin:N", sort=list(one.bins), title=None, axis=alt.Axis(labelAngle=-30)),
            xOffset=alt.XOffset("When:N", sort=["in training", "now"]),
            y=alt.Y("Share:Q", title="Share of entities", axis=alt.Axis(format="%")),
            color=alt.Color(
                "When:N",
                title=None,
                sort=["in training", "now"],
                legend=alt.Legend(orient="top"),
            ),
            tooltip=["Bin", "When", alt.Tooltip("Share:Q", format=".1%")],
        )
        .properties(height=260)
    )


def _largest_change(one: DriftRow) -> str:
    changes = [
        (abs(b - a), name, a, b) for name, a, b in zip(one.bins, one.before, one.now, strict=False)
    ]
    if not changes:
        return ""
    largest, name, before, now = max(changes)
    if largest < _NEGLIGIBLE:
        return "The distribution has not changed."
    return f"Largest change: **{plain(name)}**, {before:.1%} in training, {now:.1%} now."


def _history(app: App, runs: Sequence[DriftOfRun]) -> None:
    if len(runs) < 2:
        return
    zone = ZoneInfo(app.settings.timezone)
    st.subheader("Over time")
    rows = [
        {
            "Predicted": run.at.astimezone(zone).replace(tzinfo=None),
            "Column": "(predicted label)" if c.what == "label" else c.name,
            "Stability index": c.psi,
        }
        for run in runs
        for c in run.columns
        if c.psi is not None
    ]
    if not rows:
        return
    frame = pd.DataFrame(rows)
    largest = frame.groupby("Column")["Stability index"].max().nlargest(MAX_LINES).index
    frame = frame[frame["Column"].isin(largest)]
    top = max(0.3, frame["Stability index"].max() * 1.1)
    chart = alt.Chart(frame).mark_line(point=True)
    st.altair_chart(
        chart.encode(
            x=alt.X("Predicted:T", title="Predictions computed"),
            y=alt.Y("Stability index:Q", scale=alt.Scale(domainMin=0, domainMax=top)),
            color=alt.Color("Column:N", title=None, legend=alt.Legend(orient="top", columns=6)),
            tooltip=["Predicted:T", "Column", alt.Tooltip("Stability index:Q", format=".3f")],
        ).properties(height=260)
    )
    st.caption(
        f"The {counted(len(largest), 'column')} with the highest index, over the last "
        f"{len(runs):,} times that predictions were computed."
    )
