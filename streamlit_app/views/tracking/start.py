"""Choosing a space and a range, seeing what it adds, and saying yes."""

from __future__ import annotations

import datetime as dt

import pandas as pd
import streamlit as st

from streamlit_app.services import tracking as service
from streamlit_app.services.app import App
from streamlit_app.services.tracking import Estimate
from streamlit_app.ui import state
from streamlit_app.ui.cached import SAME, space_tree
from streamlit_app.ui.messages import plain, told
from streamlit_app.ui.space_picker import choose
from streamlit_app.views.levels import duration
from streamlit_app.views.occupancy.shown import bins, day
from streamlit_app.views.tracking.notes import note
from tippers_dagster.access.model import Person, Role
from tippers_dagster.campus.local_time import PUBLISHED_WIDTHS
from tippers_dagster.campus.spaces.tree import SpaceTree
from tippers_dagster.settings import Settings

SECONDS = 5
_LOOK = Person("the page", Role.VIEWER)


def show(app: App, tree: SpaceTree) -> None:
    """The form, and what it adds."""
    st.markdown(
        "Occupancy is kept of every tracked space and all spaces below it, in every tracked time "
        "chunk. It is computed once for everybody, and stays up to date by itself."
    )
    extent = _extent(app.settings)
    columns = st.columns([3, 2])
    with columns[0]:
        space = choose(tree, "Space", key="track space", default=state.get("space"))
    with columns[1]:
        days = _dates(extent)
    if space is None or days is None:
        st.info("Choose a space, a first and a last day.", icon=":material/info:")
        return
    start, end = days
    if extent and (end <= extent[0] or start >= extent[1]):
        st.warning(
            f"The source has sessions from {day(extent[0])} to {day(extent[1] - _DAY)} only: this "
            "range would be empty.",
            icon=":material/warning:",
        )
    with told():
        found = _estimate(app.settings, space, start, end)
        _show_estimate(app, tree, space, found)
        _say_yes(app, space, start, end)


_DAY = dt.timedelta(1)


@st.cache_data(ttl=60, show_spinner=False, hash_funcs=SAME)
def _extent(settings: Settings) -> tuple[dt.date, dt.date] | None:
    return service.source_extent(App(settings, _LOOK))


@st.cache_data(ttl=SECONDS, max_entries=50, show_spinner=False, hash_funcs=SAME)
def _estimate(settings: Settings, space: str, start: dt.date, end: dt.date) -> Estimate:
    return service.estimate(App(settings, _LOOK), space_tree(settings), space, start, end)


def _dates(extent: tuple[dt.date, dt.date] | None) -> tuple[dt.date, dt.date] | None:
    """First day, and the day after the last; all of the source's unless the address says."""
    key = "track days"
    last = extent[1] - _DAY if extent else dt.datetime.now(dt.UTC).date()
    usual = (extent[0] if extent else last - dt.timedelta(27), last)
    try:
        asked = (
            dt.date.fromisoformat(state.get("from")),
            dt.date.fromisoformat(state.get("to")) - _DAY,
        )
    except ValueError:
        asked = usual
    fine = asked[0].year >= 1990 and asked[1].year < 2100 and asked[0] <= asked[1]
    chosen = st.date_input(
        "First and last day",
        asked if fine else usual,
        key=key,
        min_value=dt.date(1990, 1, 1),
        max_value=dt.date(2099, 12, 31),
        format="YYYY-MM-DD",
    )
    if extent:
        st.caption(f"The source has sessions from {day(extent[0])} to {day(last)}.")
    if not isinstance(chosen, tuple) or len(chosen) != 2:
        return None
    return chosen[0], chosen[1] + _DAY


def _show_estimate(app: App, tree: SpaceTree, space: str, found: Estimate) -> None:
    name = plain(tree.names[tree.index[space]])
    chunk = {"day": "days", "week": "weeks", "month": "months"}[app.settings.chunk]
    boxes = st.container(horizontal=True)
    boxes.metric("Spaces", f"{found.spaces:,}", border=True, help="With all below")
    boxes.metric("Time chunks", f"{found.chunks:,}", border=True, help=f"Whole {chunk}")
    boxes.metric(
        "Partitions to compute",
        f"{found.to_compute:,}",
        border=True,
        help="What others keep already is shared, and not computed again",
    )
    seconds = found.seconds
    boxes.metric(
        "About",
        duration(seconds) if seconds is not None else "unknown",
        border=True,
        help="By the runs of the past, one after the other"
        if seconds is not None
        else "No run of the past tells how long it takes",
    )
    st.markdown(_sentence(name, chunk, found))
    rows = [
        {
            "Level": service.WHAT[level.asset],
            "New partitions": level.new,
            "To compute": level.to_compute,
            "About": "unknown"
            if level.seconds is None
            else duration(level.seconds)
            if level.to_compute
            else "nothing",
        }
        for level in found.levels
    ]
    with st.expander("By level"):
        st.dataframe(pd.DataFrame(rows), hide_index=True)
        if not found.exact:
            st.caption("So many that it was not looked up what is computed already.")


def _sentence(name: str, chunk: str, found: Estimate) -> str:
    if not found.new_spaces and not found.new_chunks:
        said = f"All of {name} is tracked over these {found.chunks:,} {chunk} already."
        if found.to_compute:
            said += f" {found.to_compute:,} partitions are still to be computed."
        return said
    said = (
        f"This adds {found.new_spaces:,} spaces and {found.new_chunks:,} {chunk}: "
        f"**{found.to_compute:,} partitions** to compute."
    )
    if found.other_spaces:
        said += (
            f" The new {chunk} are computed for the {found.other_spaces:,} other tracked spaces, "
            "too: every tracked space is kept in every tracked chunk."
        )
    return said


def _say_yes(app: App, space: str, start: dt.date, end: dt.date) -> None:
    if not app.person.may(Role.ANALYST):
        st.caption(":material/lock: Tracking takes the role analyst.")
        return
    with st.container(border=True):
        st.markdown("**Give it a name, to find and share it (or only track it)**")
        with st.container(horizontal=True):
            name = st.text_input(
                "Name of the dataset",
                key="track name",
                placeholder="winter_library",
                help="Small letters, digits and underscores",
                width=260,
            )
            width = st.selectbox(
                "Bins", PUBLISHED_WIDTHS, index=2, format_func=bins, key="track bins", width=120
            )
            about = st.text_input("What it is for", key="track about", width="stretch")
        with st.container(horizontal=True):
            st.button(
                "Track and save the dataset",
                type="primary",
                icon=":material/bookmark_add:",
                disabled=not name.strip(),
                on_click=_create,
                args=(app, name, space, start, end, int(width), about),
            )
            st.button(
                "Only track",
                icon=":material/calendar_month:",
                on_click=_track,
                args=(app, space, start, end),
            )


def _track(app: App, space: str, start: dt.date, end: dt.date) -> None:
    with told():
        service.track(app, space, start, end)
        _estimate.clear()
        note(f"Space {space} is tracked from {start} to {end - _DAY}. {_next(app)}")


def _create(
    app: App, name: str, space: str, start: dt.date, end: dt.date, width: int, about: str
) -> None:
    with told():
        made = service.create_dataset(
            app,
            name,
            space=space,
            start=start,
            end=end,
            interval_seconds=width,
            description=about,
        )
        _estimate.clear()
        st.session_state["track name"] = ""
        state.put(tab="datasets", dataset=made.name)
        note(f"The dataset {made.name} is made, and tracked. {_next(app)}")


def _next(app: App) -> str:
    if service.at_work(app):
        return "It is computed now; its progress is below."
    return "Nothing runs that could compute it: `tippers up` does, as soon as it is started."
