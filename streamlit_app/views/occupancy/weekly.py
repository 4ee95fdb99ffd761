"""The usual week: mean devices by weekday and hour."""

from __future__ import annotations

import streamlit as st

from streamlit_app.services.occupancy.series import week as week_of
from streamlit_app.services.occupancy.window import Window
from streamlit_app.services.words import span
from streamlit_app.ui.charts import DAYS, week_map
from streamlit_app.ui.messages import plain
from streamlit_app.views.occupancy.context import Context, read, show_gaps


def show(context: Context, window: Window, width: int) -> None:
    """Mean devices per hour of the week over the window, whatever the bin width."""
    one = read(context.settings, (context.space,), window.start, window.end, 3600)[0]
    week = week_of(one)
    if week.busiest is None:
        st.info("Nothing is computed in this window.", icon=":material/pending:")
        show_gaps(one.figures, one.gaps)
        return
    day, hour, mean = week.busiest
    sentence = (
        f"{plain(context.name)}, {span(window)}: usually busiest on **{DAYS[day]} from "
        f"{hour:02d}:00 to {(hour + 1) % 24:02d}:00**, with {mean:,.1f} devices on average."
    )
    chart = week_map(week.table.to_pandas(), "Mean, devices")
    st.altair_chart(chart, alt=sentence.replace("*", "").replace("\\", ""))
    st.markdown(sentence)
    st.caption("Average per hour over the weeks shown. Hours without data are left out.")
    show_gaps(one.figures, one.gaps)
