"""The tracked ranges: recompute or untrack them."""

from __future__ import annotations

import datetime as dt

import streamlit as st

from streamlit_app.services import tracking as service
from streamlit_app.services.app import App
from streamlit_app.services.tracking import TrackedRange
from streamlit_app.services.words import day
from streamlit_app.ui.messages import plain, show_errors
from streamlit_app.ui.pages import page
from streamlit_app.views.tracking.notes import note
from tippers_dagster.access.model import Role
from tippers_dagster.campus.spaces.tracking import LOG_ONLY
from tippers_dagster.campus.spaces.tree import SpaceTree
from tippers_dagster.platform.text import counted

MAX_CARDS = 50
_DAY = dt.timedelta(1)


def show(app: App, tree: SpaceTree) -> None:
    """All tracked ranges."""
    found = service.tracked_ranges(app, tree)
    if not found:
        st.info("Nothing is tracked yet: choose “Track a space” above.", icon=":material/info:")
        return
    spaces = len({one.tracked.space for one in found} - {LOG_ONLY})
    st.markdown(f"**{counted(len(found), 'tracked range')}** for {counted(spaces, 'space')}.")
    text = ""
    if len(found) > 8:
        text = st.text_input("Find", key="ranges find", placeholder="name or id of a space")
    wanted = [one for one in found if text.casefold() in _searched(one)]
    for one in wanted[:MAX_CARDS]:
        _card(app, one)
    if len(wanted) > MAX_CARDS:
        st.caption(f"Showing {MAX_CARDS} of {len(wanted):,}. Search to find the others.")


def _searched(one: TrackedRange) -> str:
    return f"{one.name} {one.tracked.space} {' '.join(one.datasets)}".casefold()


def _card(app: App, one: TrackedRange) -> None:
    tracked = one.tracked
    key = f"{tracked.space} {tracked.start} {tracked.end}"
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{plain(one.name or tracked.space)}**")
            st.caption(f"{day(tracked.start)} to {day(tracked.end - _DAY)}", width="content")
            if one.spaces:
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
            st.caption(
                ":material/warning: This space no longer exists, so nothing is computed for it."
            )
        st.caption(
            f"{counted(one.spaces, 'space')}, {counted(one.chunks, app.settings.chunk)}"
            + (f" · {_datasets(one)}" if one.datasets else "")
            + f" · {_own_partitions(one)}"
        )
        if app.person.may(Role.ANALYST):
            with st.expander("Recompute or untrack"):
                left, right = st.columns(2, gap="large")
                with left:
                    _recompute(app, one, key)
                with right:
                    _untrack(app, one, key)


def _own_partitions(one: TrackedRange) -> str:
    if one.tracked.space == LOG_ONLY:
        return "no space is counted for it"
    if one.frees == 0 and one.spaces > 0:
        return "other tracked ranges cover all of it"
    return f"{counted(one.frees, 'partition')} in this range only"


def _datasets(one: TrackedRange) -> str:
    return f"dataset{'s' if len(one.datasets) > 1 else ''} {plain(', '.join(one.datasets))}"


def _recompute(app: App, one: TrackedRange, key: str) -> None:
    st.markdown("**Recompute**")
    st.caption(
        "Changes in the source are picked up automatically: recompute only when files of the lake "
        "were lost or damaged. Current counts stay readable until then."
    )
    days = st.date_input(
        "Days to recompute",
        (one.tracked.start, one.tracked.end - _DAY),
        min_value=one.tracked.start,
        max_value=one.tracked.end - _DAY,
        key=f"recompute {key}",
        format="YYYY-MM-DD",
    )
    sessions = st.checkbox("Also read the source again", value=True, key=f"sessions {key}")
    is_range = isinstance(days, tuple) and len(days) == 2
    st.button(
        "Recompute",
        icon=":material/refresh:",
        key=f"do recompute {key}",
        disabled=not is_range or not one.spaces,
        on_click=_do_recompute,
        args=(app, one, days, sessions),
    )


def _do_recompute(
    app: App, one: TrackedRange, days: tuple[dt.date, dt.date], sessions: bool
) -> None:
    with show_errors():
        number = service.recompute(
            app, one.tracked.space, days[0], days[1] + _DAY, sessions=sessions
        )
        later = "" if service.is_running(app) else " once the deployment runs (tippers up)"
        note(f"{counted(number, 'partition')} will be recomputed{later}.")


def _untrack(app: App, one: TrackedRange, key: str) -> None:
    st.markdown("**Untrack**")
    covered = one.frees == 0 and one.spaces > 0
    st.caption(
        "Other tracked ranges cover all of its partitions, so all of them stay up to date."
        if covered
        else f"{counted(one.frees, 'partition')} will no longer be kept up to date. Partitions "
        "that other ranges cover stay tracked. Files stay in the lake and are reused if the range "
        "is tracked again."
    )
    if one.datasets:
        st.caption(
            f":material/warning: Used by the {_datasets(one)}, which will be shown as no longer "
            "tracked."
        )
    purge = st.checkbox(
        "Also delete untracked files from the lake",
        key=f"purge {key}",
        help="Deletes every partition that no tracked range covers, also those of ranges untracked "
        "earlier",
    )
    confirmed = st.checkbox("Yes, untrack this range", key=f"sure {key}")
    st.button(
        "Untrack",
        icon=":material/delete:",
        key=f"do untrack {key}",
        disabled=not confirmed,
        on_click=_do_untrack,
        args=(app, one, purge),
    )


def _do_untrack(app: App, one: TrackedRange, purge: bool) -> None:
    with show_errors():
        number = service.untrack(app, one.tracked, purge=purge)
        deleted = f" {counted(number, 'partition')} deleted from the lake." if purge else ""
        name = one.name or one.tracked.space
        note(f"{name} is no longer tracked over this range.{deleted}")
