"""The controls for the window and the bin width, and the download."""

from __future__ import annotations

import datetime as dt
from functools import partial

import streamlit as st

from streamlit_app.services.exports import MIME
from streamlit_app.services.occupancy import window as service
from streamlit_app.services.occupancy.export import export, file_name
from streamlit_app.services.occupancy.series import files_to_read
from streamlit_app.services.occupancy.window import Window
from streamlit_app.services.words import bin_width
from streamlit_app.ui import state
from streamlit_app.ui.messages import plain
from streamlit_app.views.occupancy import by_label
from streamlit_app.views.occupancy.context import COUNTED, Context, are_people_known, extent_of
from tippers_dagster.campus.local_time import PUBLISHED_WIDTHS
from tippers_dagster.errors import BadInput
from tippers_dagster.occupancy.reading import Count
from tippers_dagster.platform.table_files import Format

AUTOMATIC = "Automatic"
LENGTHS = {"Day": 1, "Week": 7, "4 weeks": 28, "Quarter": 91, "Year": 365}
"""Lengths of a window in days."""

MIN_LENGTH = dt.timedelta(hours=1)
_COUNTS: dict[Count, str] = {"devices": "Devices", "people": "People"}
SLOW_FILES = 2000
"""A count that reads more files than this gets a warning that it is slow."""


def controls(context: Context) -> tuple[Window, int, Count]:
    """Show the controls; the selected window and bin width, and what is counted."""
    window = service.parse_window(state.get("from"), state.get("to")) or context.first
    with st.container(horizontal=True, vertical_alignment="bottom"):
        _step("Earlier", ":material/chevron_left:", window, -1)
        _dates(window)
        _step("Later", ":material/chevron_right:", window, 1)
        _length(context, window)
        width = _width(window)
        count = _count(context, window)
    if files_to_read(context.tree, context.space, window, width) > SLOW_FILES:
        st.caption(
            f":material/hourglass: Bins of {bin_width(width)} are counted on demand, which takes "
            "several seconds for this space and window."
        )
    return window, width, count


def show_window(window: Window) -> None:
    """Put a window into the address."""
    names = {"from": window.start, "to": window.end}
    state.put(**{name: _iso(when) for name, when in names.items()})


def _iso(when: dt.datetime) -> str:
    return when.date().isoformat() if when.time() == dt.time() else when.isoformat("T", "minutes")


def _step(label: str, icon: str, window: Window, direction: int) -> None:
    # Whole days, also where clocks change.
    by = dt.timedelta(max(1, window.length.days)) if window.length.days else window.length
    st.button(
        label,
        icon=icon,
        key=f"occupancy {label}",
        on_click=show_window,
        args=(window.moved(by * direction),),
    )


def _dates(window: Window) -> None:
    key = "occupancy days"
    last = (window.end - dt.timedelta(microseconds=1)).date()
    st.session_state[key] = (window.start.date(), last)

    def chosen() -> None:
        days = st.session_state[key]
        if len(days) == 2:
            until = days[1] + dt.timedelta(1)
            show_window(Window(*(dt.datetime.combine(d, dt.time()) for d in (days[0], until))))

    st.date_input(
        "First and last day",
        key=key,
        on_change=chosen,
        min_value=dt.date(1990, 1, 1),
        max_value=dt.date(2099, 12, 31),
        format="YYYY-MM-DD",
        width=230,
    )


def _length(context: Context, window: Window) -> None:
    """The length of the window; a new length keeps its end."""
    key = "occupancy length"
    names = {days: name for name, days in LENGTHS.items()}
    st.session_state[key] = names.get(window.length.days) if _whole(window) else None

    def chosen() -> None:
        picked = st.session_state[key]
        if picked == "All":
            show_window(_all(context))
        elif picked:
            show_window(Window(window.end - dt.timedelta(LENGTHS[picked]), window.end))

    st.segmented_control("Length", [*LENGTHS, "All"], key=key, on_change=chosen)


def _whole(window: Window) -> bool:
    return window.start.time() == window.end.time() and window.length % dt.timedelta(1) == (
        dt.timedelta(0)
    )


def _all(context: Context) -> Window:
    extent = extent_of(context.settings, context.space)
    if extent is None:
        return context.first
    return Window(
        dt.datetime.combine(extent.first, dt.time()),
        max(context.first.end, dt.datetime.combine(extent.first, dt.time()) + dt.timedelta(1)),
    )


def _width(window: Window) -> int:
    """The selected bin width; people may type any width."""
    key = "occupancy bins"
    best = service.choose_width(window)
    requested = service.parse_width(state.get("bin"))
    names = {bin_width(w): w for w in PUBLISHED_WIDTHS}
    if requested is not None:
        names.setdefault(bin_width(requested), requested)
    automatic = f"{AUTOMATIC} ({bin_width(best)})"
    st.session_state[key] = bin_width(requested) if requested else automatic

    def chosen() -> None:
        picked = st.session_state[key]
        try:
            width = None if not picked or picked == automatic else service.parse_typed_width(picked)
        except BadInput as error:
            st.session_state["occupancy bins error"] = str(error)
            return
        state.put(bin=str(width) if width else None)

    st.selectbox(
        "Bins",
        [automatic, *names],
        key=key,
        on_change=chosen,
        accept_new_options=True,
        help="Bin width. Choose one, or type any width from 1 minute to 1 day, such as `10 min` or "
        "`2 h`.",
        width=190,
    )
    error = st.session_state.pop("occupancy bins error", None)
    if error:
        st.error(error, icon=":material/error:")
    return requested or best


def _count(context: Context, window: Window) -> Count:
    """What is counted: a choice where people are known."""
    if context.view not in COUNTED or not are_people_known(context.settings, context.space, window):
        return "devices"
    return st.segmented_control(
        "Count",
        list(_COUNTS),
        format_func=_COUNTS.__getitem__,
        required=True,
        help="People are known where the log has user names. Devices of others count beside them.",
        **state.linked(
            "count", list(_COUNTS), "devices", key="occupancy count", show_default=False
        ),
    )


def download(context: Context, window: Window, width: int) -> None:
    """Download the window; split by label where the page shows labels."""
    by = by_label.chosen(context.settings) if context.view == "labels" else None
    smallest = context.settings.smallest_count
    split = f", split by the labels of {plain(by)}" if by else ""
    of = {} if context.count == "devices" else {"count": context.count}
    if of:
        split = ": people known by user name, and other devices"
    hidden = f" Counts below {smallest}, and counts that would reveal them, are left out."
    with st.popover("Download", icon=":material/download:"):
        st.caption(
            f"All bins of {bin_width(width)} in this window{split}."
            + (hidden if smallest > 1 else "")
        )
        kinds: tuple[tuple[Format, str], ...] = (("csv", "CSV"), ("parquet", "Parquet"))
        for kind, label in kinds:
            st.download_button(
                label,
                partial(export, context.app, context.space, window, width, kind, by, **of),
                file_name=file_name(context.tree, context.space, window, width, kind),
                mime=MIME[kind],
                key=f"occupancy download {kind}",
                on_click="ignore",
                width="stretch",
            )
