"""A space over time, in a chart that pans and zooms."""

from __future__ import annotations

import datetime as dt

import streamlit as st

from streamlit_app.services.occupancy.series import Figures, Series
from streamlit_app.services.occupancy.window import SCREEN_POINTS, Window
from streamlit_app.services.words import bin_width
from streamlit_app.ui import state
from streamlit_app.ui.charts import PAN, ink, local_of, stacked, timeline
from streamlit_app.ui.messages import plain
from streamlit_app.views.occupancy.context import (
    Context,
    figure_columns,
    gap_frame,
    main_numbers,
    point_frame,
    read,
    show_gaps,
    what_is_counted,
)
from streamlit_app.views.occupancy.window import MIN_LENGTH, show_window
from tippers_dagster.campus.local_time import PUBLISHED_WIDTHS
from tippers_dagster.occupancy.reading import Count

_ANCHOR = "occupancy anchor"
_DRAWN: dict[Count, str] = {
    "devices": "The line is their mean, the band their range from lowest to highest.",
    "people": "The areas are their means.",
}


def show(context: Context, window: Window, width: int) -> None:
    """The chart with the main numbers."""
    loaded = _loaded(window, width)
    (one,) = read(
        context.settings, (context.space,), loaded.start, loaded.end, width, context.count
    )
    visible = one.within(window)
    figures = visible.figures
    _numbers(context, figures)
    bins_per_point = _chart(context, one, window, width)
    st.markdown(main_numbers(plain(context.name), figures, window, width))
    _explain(context, bins_per_point, width)
    show_gaps(figures, visible.gaps)
    _ask_capacity(context)


def _loaded(window: Window, width: int) -> Window:
    """The window, extended by half on both sides so that the chart can pan.

    Widths that are not published are counted on demand, so only for the window itself.
    """
    if width not in PUBLISHED_WIDTHS:
        return window
    more = window.wider(window.length / 2)
    day = dt.timedelta(1)
    first = dt.datetime.combine(more.start.date(), dt.time())
    return Window(first, dt.datetime.combine(more.end.date(), dt.time()) + day)


def _numbers(context: Context, figures: Figures) -> None:
    peak, mean, capacity = figures.peak, figures.mean, context.capacity
    unknown = "not computed"
    columns = figure_columns(figures, context)
    share = 1 - figures.missing_bins / max(figures.bins, 1)
    with st.container(horizontal=True):
        for name in (n for n in columns if n != "Peak at"):
            value, form = columns[name], ",.0f" if name.startswith("Peak") else ",.1f"
            st.metric(name, unknown if value is None else format(value, form), border=True)
        st.metric(
            "Computed", f"{share:.0%}", border=True, help="Share of the window's bins with data"
        )
        if capacity is None:
            return
        used = unknown if peak is None else f"{peak / capacity:.0%}"
        mean_used = "" if mean is None else f"; {mean / capacity:.0%} on average"
        st.metric(
            "Utilisation at peak",
            used,
            border=True,
            help=f"{context.unit.capitalize()} per place, with a capacity of "
            f"{capacity:,.0f}{mean_used}. A person may carry several devices, or none.",
        )


def _chart(context: Context, one: Series, window: Window, width: int) -> int:
    points, bins_per_point = point_frame(one.parts or {context.name: one})
    anchor = _anchor(context, window)
    what = context.unit.capitalize()
    draw = stacked if one.parts else timeline
    chart = draw(
        points,
        gap_frame(one.gaps),
        (anchor.start, anchor.end),
        title=f"{what} in {bin_width(width)}",
        zone=context.settings.timezone,
        capacity=context.capacity,
        ink=ink(),
    )
    key = f"timeline {context.space} {context.count} {anchor.start} {anchor.end}"
    st.altair_chart(
        chart,
        key=key,
        on_select=lambda: _moved(key, context.space, anchor),
        # The same text for every window: a new one would redraw the chart while it is dragged.
        alt=f"{what} in {context.name} over time. The sentence below has the main numbers.",
    )
    return bins_per_point


def _anchor(context: Context, window: Window) -> Window:
    """The window that the chart was drawn with.

    It stays the same while somebody drags the chart, which only gets new data: a redrawn chart
    would jump under the pointer.
    """
    kept = st.session_state.get(_ANCHOR)
    if kept and kept[0] == context.space and kept[2] == window:
        return kept[1]
    st.session_state[_ANCHOR] = (context.space, window, window)
    return window


def _moved(key: str, space: str, anchor: Window) -> None:
    """Put the window that the chart was moved or zoomed to into the address."""
    ends = st.session_state[key].get("selection", {}).get(PAN, {}).get("time")
    if not ends:  # a double click resets the chart
        window = anchor
    else:
        start, end = (local_of(float(e)).replace(second=0, microsecond=0) for e in ends)
        window = Window(start, max(end, start + MIN_LENGTH))
    show_window(window)
    st.session_state[_ANCHOR] = (space, anchor, window)


def _explain(context: Context, bins_per_point: int, width: int) -> None:
    text = "Drag to move, Ctrl and scroll (or pinch) to zoom, double-click to reset. "
    if bins_per_point > 1:
        text += (
            "There are more bins than a screen can show: each point covers "
            f"{bins_per_point:,} bins of {bin_width(width)} "
            f"({bin_width(bins_per_point * width)}). {_DRAWN[context.count]} The numbers above are "
            "exact."
        )
    elif not state.get("bin"):
        text += (
            f"The bin width follows the window, for at most {SCREEN_POINTS // 2:,} bins at a time."
        )
    st.caption(f"{text} {what_is_counted(context)}")


def _ask_capacity(context: Context) -> None:
    if context.capacity is not None and not state.get("capacity"):
        return
    key = "occupancy capacity"
    st.session_state[key] = int(context.capacity) if context.capacity else None
    st.number_input(
        "Compare with a capacity",
        min_value=1,
        max_value=1_000_000,
        step=1,
        key=key,
        placeholder="not known",
        on_change=lambda: state.put(capacity=str(st.session_state[key] or "")),
        help="In people. The source has no capacity for this space. A capacity entered here is "
        "kept in the page's address only; to set it permanently, add a column `capacity` to the "
        "source's space metadata table.",
        width=230,
    )
