"""A space over time, to be moved and zoomed."""

from __future__ import annotations

import datetime as dt

import streamlit as st

from streamlit_app.services.occupancy import SCREEN_POINTS, Figures, Series, Window
from streamlit_app.ui import state
from streamlit_app.ui.charts import PAN, ink, local_of, timeline
from streamlit_app.ui.messages import plain
from streamlit_app.views.occupancy.shown import (
    Shown,
    bins,
    gap_frame,
    main_numbers,
    point_frame,
    read,
    show_gaps,
)
from streamlit_app.views.occupancy.window import SHORTEST, show_window
from tippers_dagster.campus.local_time import PUBLISHED_WIDTHS

_ANCHOR = "occupancy anchor"


def show(shown: Shown, window: Window, width: int) -> None:
    """The chart with its numbers."""
    loaded = _loaded(window, width)
    one = read(shown.settings, (shown.space,), loaded.start, loaded.end, width)[0]
    seen = one.within(window)
    figures = seen.figures
    said = main_numbers(plain(shown.name), figures, window, width)
    _numbers(shown, figures)
    together = _chart(shown, one, window, width)
    st.markdown(said)
    _say_how(together, width)
    show_gaps(figures, seen.gaps)
    _ask_capacity(shown)


def _loaded(window: Window, width: int) -> Window:
    """Half a window more on both sides, so that there is something to move into.

    Widths that are not published are counted anew: only what is seen.
    """
    if width not in PUBLISHED_WIDTHS:
        return window
    more = window.wider(window.length / 2)
    day = dt.timedelta(1)
    first = dt.datetime.combine(more.start.date(), dt.time())
    return Window(first, dt.datetime.combine(more.end.date(), dt.time()) + day)


def _numbers(shown: Shown, figures: Figures) -> None:
    peak, mean, capacity = figures.peak, figures.mean, shown.capacity
    unknown = "not computed"
    share = 1 - figures.missing_bins / max(figures.bins, 1)
    with st.container(horizontal=True):
        st.metric("Peak, devices", unknown if peak is None else f"{peak:,}", border=True)
        st.metric("Mean, devices", unknown if mean is None else f"{mean:,.1f}", border=True)
        st.metric("Computed", f"{share:.0%}", border=True, help="Share of the bins shown")
        if capacity is None:
            return
        used = unknown if peak is None else f"{peak / capacity:.0%}"
        mean_used = "" if mean is None else f"; {mean / capacity:.0%} on average"
        st.metric(
            "Utilisation at peak",
            used,
            border=True,
            help=f"Devices for each of {capacity:,.0f} places{mean_used}. A person may carry "
            "several devices, or none.",
        )


def _chart(shown: Shown, one: Series, window: Window, width: int) -> int:
    points, together = point_frame({shown.name: one})
    anchor = _anchor(shown, window)
    chart = timeline(
        points,
        gap_frame(one.gaps),
        (anchor.start, anchor.end),
        title=f"Devices in {bins(width)}",
        zone=shown.settings.timezone,
        capacity=shown.capacity,
        ink=ink(),
    )
    key = f"timeline {shown.space} {anchor.start} {anchor.end}"
    st.altair_chart(
        chart,
        key=key,
        on_select=lambda: _moved(key, shown.space, anchor),
        # The same for every window: a chart that is moved must not be drawn anew.
        alt=f"Devices in {shown.name} over time. The sentence below has the main numbers.",
    )
    return together


def _anchor(shown: Shown, window: Window) -> Window:
    """The window that the chart was drawn with.

    While it is only moved by hand it stays as it is, and gets new data: drawn anew, it would jump
    under the hand.
    """
    kept = st.session_state.get(_ANCHOR)
    if kept and kept[0] == shown.space and kept[2] == window:
        return kept[1]
    st.session_state[_ANCHOR] = (shown.space, window, window)
    return window


def _moved(key: str, space: str, anchor: Window) -> None:
    """The chart was moved or zoomed: the address, and so the data, follow."""
    ends = st.session_state[key].get("selection", {}).get(PAN, {}).get("time")
    if not ends:  # a double click: as it was
        window = anchor
    else:
        start, end = (local_of(float(e)).replace(second=0, microsecond=0) for e in ends)
        window = Window(start, max(end, start + SHORTEST))
    show_window(window)
    st.session_state[_ANCHOR] = (space, anchor, window)


def _say_how(together: int, width: int) -> None:
    told = "Drag to move, Ctrl and scroll (or pinch) to zoom, double click to go back. "
    if together > 1:
        told += (
            "There are more bins than a screen shows: each point stands for "
            f"{together:,} bins of {bins(width)} ({bins(together * width)}); the line is their "
            "mean, and the band reaches from their lowest to their highest. The numbers above are "
            "exact."
        )
    elif not state.get("bin"):
        told += (
            f"The width of the bins follows the window; at most {SCREEN_POINTS // 2:,} are seen."
        )
    st.caption(told)


def _ask_capacity(shown: Shown) -> None:
    if shown.capacity is not None and not state.get("capacity"):
        return
    key = "occupancy capacity"
    st.session_state[key] = int(shown.capacity) if shown.capacity else None
    st.number_input(
        "Compare with a capacity",
        min_value=1,
        max_value=1_000_000,
        step=1,
        key=key,
        placeholder="not known",
        on_change=lambda: state.put(capacity=str(st.session_state[key] or "")),
        help="The source does not say how many people this space is made for. It is kept in the "
        "address of this view only; a column `capacity` in the table of the spaces' metadata "
        "tells it for good.",
        width=230,
    )
