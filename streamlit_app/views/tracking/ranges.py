"""What is tracked: taking it back, and computing it anew."""

from __future__ import annotations

import datetime as dt

import streamlit as st

from streamlit_app.services import tracking as service
from streamlit_app.services.app import App
from streamlit_app.services.tracking import Kept
from streamlit_app.ui.messages import plain, told
from streamlit_app.ui.pages import page
from streamlit_app.views.levels import counted
from streamlit_app.views.occupancy.shown import day
from streamlit_app.views.tracking.notes import note
from tippers_dagster.access.model import Role
from tippers_dagster.campus.spaces.tree import SpaceTree

SHOWN = 50
_DAY = dt.timedelta(1)


def show(app: App, tree: SpaceTree) -> None:
    """All tracked ranges."""
    found = service.kept(app, tree)
    if not found:
        st.info("Nothing is tracked yet: choose “Track a space” above.", icon=":material/info:")
        return
    spaces = len({one.tracked.space for one in found})
    st.markdown(f"Tracked: **{counted(len(found), 'range')}** of {counted(spaces, 'space')}.")
    text = ""
    if len(found) > 8:
        text = st.text_input("Find", key="ranges find", placeholder="name or id of a space")
    wanted = [one for one in found if text.casefold() in _searched(one)]
    for one in wanted[:SHOWN]:
        _card(app, one)
    if len(wanted) > SHOWN:
        st.caption(f"The first {SHOWN} of {len(wanted):,}: find others by name.")


def _searched(one: Kept) -> str:
    return f"{one.name} {one.tracked.space} {' '.join(one.datasets)}".casefold()


def _card(app: App, one: Kept) -> None:
    tracked = one.tracked
    key = f"{tracked.space} {tracked.start} {tracked.end}"
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{plain(one.name or tracked.space)}**")
            st.caption(f"{day(tracked.start)} to {day(tracked.end - _DAY)}", width="content")
            if one.name:
                st.page_link(
                    page("occupancy"),
                    label="Explore",
                    icon=":material/groups:",
                    query_params={
                        "space": tracked.space,
                        "from": tracked.start.isoformat(),
                        "to": tracked.end.isoformat(),
                    },
                )
        if not one.name:
            st.caption(":material/warning: There is no such space any more; nothing is computed.")
        st.caption(
            f"{counted(one.spaces, 'space')} in {counted(one.chunks, 'chunk')}"
            + (f" · dataset {plain(', '.join(one.datasets))}" if one.datasets else "")
            + f" · {counted(one.frees, 'partition')} that nothing else keeps"
        )
        if app.person.may(Role.ANALYST):
            with st.expander("Recompute or untrack"):
                left, right = st.columns(2, gap="large")
                with left:
                    _recompute(app, one, key)
                with right:
                    _untrack(app, one, key)


def _recompute(app: App, one: Kept, key: str) -> None:
    st.markdown("**Recompute**")
    st.caption(
        "Changes of the source are found by themselves: this is for when files of the lake were "
        "lost or damaged. What is there stays readable meanwhile."
    )
    days = st.date_input(
        "Days to recompute",
        (one.tracked.start, one.tracked.end - _DAY),
        min_value=one.tracked.start,
        max_value=one.tracked.end - _DAY,
        key=f"recompute {key}",
        format="YYYY-MM-DD",
    )
    sessions = st.checkbox("Read the source again, too", value=True, key=f"sessions {key}")
    whole = isinstance(days, tuple) and len(days) == 2
    st.button(
        "Recompute",
        icon=":material/refresh:",
        key=f"do recompute {key}",
        disabled=not whole or not one.name,
        on_click=_do_recompute,
        args=(app, one, days, sessions),
    )


def _do_recompute(app: App, one: Kept, days: tuple[dt.date, dt.date], sessions: bool) -> None:
    with told():
        number = service.recompute(
            app, one.tracked.space, days[0], days[1] + _DAY, sessions=sessions
        )
        later = "" if service.at_work(app) else " when the deployment runs (`tippers up`)"
        note(f"{number:,} partitions are computed anew{later}.")


def _untrack(app: App, one: Kept, key: str) -> None:
    st.markdown("**Untrack**")
    shared = one.frees == 0 and one.spaces > 0
    st.caption(
        "Everything of it is also covered by other tracked ranges, and stays."
        if shared
        else f"{one.frees:,} partitions are then no longer kept up to date. What other ranges "
        "cover stays as it is; what is in the lake is found again, should it be tracked again."
    )
    if one.datasets:
        st.caption(
            f":material/warning: The dataset {plain(', '.join(one.datasets))} needs it: it stays, "
            "and says that it is not tracked any more."
        )
    purge = st.checkbox(
        "Also delete from the lake all that is tracked no more",
        key=f"purge {key}",
        help="Whatever no range covers, of earlier untracked ranges, too",
    )
    sure = st.checkbox("I want to untrack it", key=f"sure {key}")
    st.button(
        "Untrack",
        icon=":material/delete:",
        key=f"do untrack {key}",
        disabled=not sure,
        on_click=_do_untrack,
        args=(app, one, purge),
    )


def _do_untrack(app: App, one: Kept, purge: bool) -> None:
    with told():
        number = service.untrack(app, one.tracked, purge=purge)
        deleted = f" {number:,} partitions were deleted from the lake." if purge else ""
        name = one.name or one.tracked.space
        note(f"{name} is not tracked any more over this range.{deleted}")
