"""How the entities of now differ from those at training."""

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

MOST_LINES = 6
"""Columns whose index is drawn over time."""

_NOTHING = 0.005


def show(app: App, catalog: Catalog, ref: Ref) -> None:
    """The last predictions against training, one column in full, and how it went over time."""
    runs = service.drift(app, ref)
    if not runs:
        with st.container(border=True):
            st.markdown(
                "**Nothing was compared yet.** Whenever predictions are computed, their features "
                "and labels are compared with those at the time when the champion was trained."
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
    when = f"{newest.at.astimezone(zone):%Y-%m-%d %H:%M}"
    since = f"since version {newest.model_version} was trained"
    if drifted:
        names = ", ".join("the predicted label" if c.what == "label" else c.name for c in drifted)
        st.warning(
            f"As predicted on {when}, {len(drifted)} of {len(newest.columns)} have drifted "
            f"{since}: {plain(names)}. Training the classifier again may be due.",
            icon=":material/trending_up:",
        )
    else:
        st.markdown(
            f"As predicted on {when}, none of {len(newest.columns)} columns has drifted {since}."
        )


def _table(newest: DriftOfRun) -> None:
    rows = [
        {
            "Column": "(predicted label)" if c.what == "label" else c.name,
            "Stability index": c.psi,
            "Drifted above": c.threshold,
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
            "Drifted above": st.column_config.NumberColumn(format="%.3f"),
            **{name: st.column_config.NumberColumn(format="percent") for name in shares},
        },
    )
    st.caption(
        "The population stability index compares the shares of entities by bin: up to 0.1 is no "
        "change, above 0.25 is a shift. Of few entities it is large by chance, and the threshold "
        "higher. A share of missing values that moved by more than 10 % counts as drifted too."
    )


def _column(newest: DriftOfRun) -> None:
    names = {f"{c.what} {c.name}": c for c in newest.columns if c.bins}
    if not names:
        return
    key = "models.column"
    st.session_state[key] = state.one_of("column", list(names), next(iter(names)))
    chosen = st.selectbox(
        "One column in full",
        list(names),
        format_func=lambda n: "predicted label" if names[n].what == "label" else names[n].name,
        key=key,
        width=320,
        on_change=lambda: state.put(column=st.session_state[key]),
    )
    one = names[chosen]
    st.altair_chart(_bars(one))
    st.markdown(_most_moved(one))


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


def _most_moved(one: DriftRow) -> str:
    moved = [
        (abs(b - a), name, a, b) for name, a, b in zip(one.bins, one.before, one.now, strict=False)
    ]
    if not moved:
        return ""
    most, name, before, now = max(moved)
    if most < _NOTHING:
        return "Its shares are as they were."
    return f"It moved most at **{plain(name)}**: {before:.1%} in training, {now:.1%} now."


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
    largest = frame.groupby("Column")["Stability index"].max().nlargest(MOST_LINES).index
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
        f"Of the last {len(runs):,} times that predictions were computed, and the "
        f"{len(largest)} columns that moved most."
    )
