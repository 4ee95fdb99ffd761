"""The usual week: mean devices by weekday and hour."""

from __future__ import annotations

import streamlit as st

from streamlit_app.services.occupancy.series import week as week_of
from streamlit_app.services.occupancy.window import Window
from streamlit_app.services.words import span
from streamlit_app.ui.charts import DAYS, week_map
from streamlit_app.ui.messages import plain
from streamlit_app.views.occupancy.context import (
    Context,
    mean_of,
    read,
    show_gaps,
    what_is_counted,
)


def show(context: Context, window: Window, width: int) -> None:
    """Mean devices per hour of the week over the window, whatever the bin width."""
    one = read(context.settings, (context.space,), window.start, window.end, 3600, context.count)[0]
    week = week_of(one)
    if week.busiest is None:
        st.info("Nothing is computed in this window.", icon=":material/pending:")
        show_gaps(one.figures, one.gaps)
        return
    day, hour, mean = week.busiest
    sentence = (
        f"{plain(context.name)}, {span(window)}: usually busiest on **{DAYS[day]} from "
        f"{hour:02d}:00 to {(hour + 1) % 24:02d}:00**, with {_mean(mean, week.people)} on average."
    )
    chart = week_map(week.table.to_pandas(), f"Mean, {context.unit}")
    st.altair_chart(chart, alt=sentence.replace("*", "").replace("\\", ""))
    st.markdown(sentence)
    text = "Average per hour over the weeks shown. Hours without data are left out."
    st.caption(f"{text} {what_is_counted(context)}")
    show_gaps(one.figures, one.gaps)


def _mean(mean: float, people: float | None) -> str:
    return f"{mean:,.1f} devices" if people is None else mean_of(mean, people)
