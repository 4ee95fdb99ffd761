"""The usual week: weekday by hour."""

from __future__ import annotations

import streamlit as st

from streamlit_app.services import occupancy as service
from streamlit_app.services.occupancy import Window
from streamlit_app.ui.charts import DAYS, week_map
from streamlit_app.ui.messages import plain
from streamlit_app.views.occupancy.shown import Shown, read, show_gaps, span


def show(shown: Shown, window: Window, width: int) -> None:
    """Mean devices of every hour of the week in the window; always by hours."""
    one = read(shown.settings, (shown.space,), window.start, window.end, 3600)[0]
    week = service.week(one)
    if week.busiest is None:
        st.info("Nothing is computed in this window.", icon=":material/pending:")
        show_gaps(one.figures, one.gaps)
        return
    day, hour, mean = week.busiest
    said = (
        f"{plain(shown.name)}, {span(window)}: usually busiest on **{DAYS[day]} from {hour:02d}:00 "
        f"to {(hour + 1) % 24:02d}:00**, with {mean:,.1f} devices on average."
    )
    chart = week_map(week.table.to_pandas(), "Devices, mean")
    st.altair_chart(chart, alt=said.replace("*", "").replace("\\", ""))
    st.markdown(said)
    least = min(h for h in week.table["hours"].to_pylist())
    st.caption(
        "Each cell is the mean over that hour of all weeks in the window, of those that are "
        "computed; by hours, whatever the width of the bins is."
        + (" Empty cells were never computed." if not least else "")
    )
    show_gaps(one.figures, one.gaps)
