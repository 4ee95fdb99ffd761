"""Choosing what time is shown, in which bins, and taking it away as a file."""

from __future__ import annotations

import datetime as dt
from functools import partial

import streamlit as st

from streamlit_app.services import occupancy as service
from streamlit_app.services.occupancy import Window
from streamlit_app.ui import state
from streamlit_app.ui.messages import plain
from streamlit_app.views.occupancy import by_label
from streamlit_app.views.occupancy.shown import Shown, bins, extent_of
from tippers_dagster.campus.local_time import PUBLISHED_WIDTHS
from tippers_dagster.errors import BadInput

AUTOMATIC = "Automatic"
LENGTHS = {"Day": 1, "Week": 7, "4 weeks": 28, "Quarter": 91, "Year": 365}
"""Days of a window."""

SHORTEST = dt.timedelta(hours=1)
MANY_FILES = 2000


def controls(shown: Shown) -> tuple[Window, int]:
    """Show them; the window and the width of bins that they say."""
    window = service.parse_window(state.get("from"), state.get("to")) or shown.first
    with st.container(horizontal=True, vertical_alignment="bottom"):
        _step("Earlier", ":material/chevron_left:", window, -1)
        _dates(window)
        _step("Later", ":material/chevron_right:", window, 1)
        _length(shown, window)
        width = _width(window)
    if service.files_to_read(shown.tree, shown.space, window, width) > MANY_FILES:
        st.caption(
            f":material/hourglass: Bins of {bins(width)} are counted anew from who was where; over "
            "a space as large as this one and so long a time it takes some seconds."
        )
    return window, width


def show_window(window: Window) -> None:
    """Put a window into the address."""
    names = {"from": window.start, "to": window.end}
    state.put(**{name: _iso(when) for name, when in names.items()})


def _iso(when: dt.datetime) -> str:
    return when.date().isoformat() if when.time() == dt.time() else when.isoformat("T", "minutes")


def _step(label: str, icon: str, window: Window, direction: int) -> None:
    # Whole days, so that days stay days however long one is.
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


def _length(shown: Shown, window: Window) -> None:
    """How long, ending where it ends now."""
    key = "occupancy length"
    names = {days: name for name, days in LENGTHS.items()}
    st.session_state[key] = names.get(window.length.days) if _whole(window) else None

    def chosen() -> None:
        picked = st.session_state[key]
        if picked == "All":
            show_window(_all(shown))
        elif picked:
            show_window(Window(window.end - dt.timedelta(LENGTHS[picked]), window.end))

    st.segmented_control("Length", [*LENGTHS, "All"], key=key, on_change=chosen)


def _whole(window: Window) -> bool:
    return window.start.time() == window.end.time() and window.length % dt.timedelta(1) == (
        dt.timedelta(0)
    )


def _all(shown: Shown) -> Window:
    extent = extent_of(shown.settings, shown.space)
    if extent is None:
        return shown.first
    return Window(
        dt.datetime.combine(extent.first, dt.time()),
        max(shown.first.end, dt.datetime.combine(extent.first, dt.time()) + dt.timedelta(1)),
    )


def _width(window: Window) -> int:
    """The width that is chosen; any may be typed."""
    key = "occupancy bins"
    best = service.choose_width(window)
    asked = service.parse_width(state.get("bin"))
    names = {bins(w): w for w in PUBLISHED_WIDTHS}
    if asked is not None:
        names.setdefault(bins(asked), asked)
    automatic = f"{AUTOMATIC} ({bins(best)})"
    st.session_state[key] = bins(asked) if asked else automatic

    def chosen() -> None:
        picked = st.session_state[key]
        try:
            width = None if not picked or picked == automatic else service.read_width(picked)
        except BadInput as error:
            st.session_state["occupancy bins wrong"] = str(error)
            return
        state.put(bin=str(width) if width else None)

    st.selectbox(
        "Bins",
        [automatic, *names],
        key=key,
        on_change=chosen,
        accept_new_options=True,
        help="Any width from 1 minute to a day may be typed, as `10 min` or `2 h`.",
        width=190,
    )
    wrong = st.session_state.pop("occupancy bins wrong", None)
    if wrong:
        st.error(wrong, icon=":material/error:")
    return asked or best


def download(shown: Shown, window: Window, width: int) -> None:
    """Take the window away as a file; by label where the page shows labels."""
    by = by_label.chosen(shown.settings) if shown.view == "labels" else None
    smallest = shown.settings.smallest_count
    split = f", by the labels of {plain(by)}" if by else ""
    hides = f" Counts below {smallest}, and what would tell them, are left out."
    with st.popover("Download", icon=":material/download:"):
        st.caption(
            f"Every bin of {bins(width)} of this window{split}, exactly."
            + (hides if smallest > 1 else "")
        )
        kinds: tuple[tuple[service.Format, str], ...] = (("csv", "CSV"), ("parquet", "Parquet"))
        for kind, label in kinds:
            st.download_button(
                label,
                partial(service.export, shown.app, shown.space, window, width, kind, by),
                file_name=service.file_name(shown.tree, shown.space, window, width, kind),
                mime=service.MIME[kind],
                key=f"occupancy download {kind}",
                on_click="ignore",
                width="stretch",
            )
