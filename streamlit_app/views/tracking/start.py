"""Track a space: choose it and a range, see the estimate, confirm."""

from __future__ import annotations

import datetime as dt

import pandas as pd
import streamlit as st

from streamlit_app.services import tracking as service
from streamlit_app.services.app import App
from streamlit_app.services.tracking import Estimate
from streamlit_app.services.words import bin_width, day, duration
from streamlit_app.ui import state
from streamlit_app.ui.cached import HASH_FUNCS, space_tree
from streamlit_app.ui.messages import plain, show_errors
from streamlit_app.ui.space_picker import choose
from streamlit_app.views.tracking.notes import note
from tippers_dagster.access.model import Person, Role
from tippers_dagster.campus.local_time import PUBLISHED_WIDTHS
from tippers_dagster.campus.spaces.tree import SpaceTree
from tippers_dagster.platform.text import counted
from tippers_dagster.settings import Settings

SECONDS = 5
_VIEWER = Person("the page", Role.VIEWER)


def show(app: App, tree: SpaceTree) -> None:
    """The form and the estimate."""
    st.markdown(
        f"Occupancy is computed for every tracked space and all spaces inside it, in every tracked "
        f"{app.settings.chunk}. It is computed once for everybody and kept up to date "
        "automatically."
    )
    extent = _extent(app.settings)
    columns = st.columns([3, 2])
    with columns[0]:
        space = choose(tree, "Space", key="track space", default=state.get("space"))
    with columns[1]:
        days = _dates(extent)
    if space is None or days is None:
        st.info("Choose a space, and a first and last day.", icon=":material/info:")
        return
    start, end = days
    if extent and (end <= extent[0] or start >= extent[1]):
        st.warning(
            f"The source only has sessions from {day(extent[0])} to {day(extent[1] - _DAY)}: this "
            "range would be empty.",
            icon=":material/warning:",
        )
    with show_errors():
        found = _estimate(app.settings, space, start, end)
        _show_estimate(app, tree, space, found)
        _confirm(app, space, start, end)


_DAY = dt.timedelta(1)


@st.cache_data(ttl=60, show_spinner=False, hash_funcs=HASH_FUNCS)
def _extent(settings: Settings) -> tuple[dt.date, dt.date] | None:
    return service.source_extent(App(settings, _VIEWER))


@st.cache_data(ttl=SECONDS, max_entries=50, show_spinner=False, hash_funcs=HASH_FUNCS)
def _estimate(settings: Settings, space: str, start: dt.date, end: dt.date) -> Estimate:
    return service.estimate(App(settings, _VIEWER), space_tree(settings), space, start, end)


def _dates(extent: tuple[dt.date, dt.date] | None) -> tuple[dt.date, dt.date] | None:
    """The first day and the day after the last; by default all days of the source."""
    key = "track days"
    last = extent[1] - _DAY if extent else dt.datetime.now(dt.UTC).date()
    usual = (extent[0] if extent else last - dt.timedelta(27), last)
    try:
        requested = (
            dt.date.fromisoformat(state.get("from")),
            dt.date.fromisoformat(state.get("to")) - _DAY,
        )
    except ValueError:
        requested = usual
    valid = requested[0].year >= 1990 and requested[1].year < 2100 and requested[0] <= requested[1]
    chosen = st.date_input(
        "First and last day",
        requested if valid else usual,
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
    chunk = app.settings.chunk
    boxes = st.container(horizontal=True)
    boxes.metric(
        "Spaces", f"{found.spaces:,}", border=True, help="This space and all spaces inside it"
    )
    boxes.metric(f"{chunk.capitalize()}s", f"{found.chunks:,}", border=True)
    boxes.metric(
        "Partitions to compute",
        f"{found.to_compute:,}",
        border=True,
        help=f"One partition per space and {chunk}. Partitions of other tracked ranges are shared, "
        "not computed again",
    )
    boxes.metric(
        "Estimated time",
        _time(found.seconds, found.to_compute),
        border=True,
        help="There are no past runs to estimate it from"
        if found.seconds is None
        else "From past runs, one run after the other",
    )
    st.markdown(_sentence(name, chunk, found))
    rows = [
        {
            "Level": service.LEVELS[level.asset],
            "New partitions": level.new,
            "To compute": level.to_compute,
            "Estimated time": _time(level.seconds, level.to_compute),
        }
        for level in found.levels
    ]
    with st.expander("By level"):
        st.dataframe(pd.DataFrame(rows), hide_index=True)
        if not found.exact:
            st.caption(
                "An upper limit: with so many partitions, those already computed are not looked up."
            )


def _time(seconds: float | None, to_compute: int) -> str:
    if not to_compute:
        return "none"
    return "unknown" if seconds is None else duration(seconds)


def _sentence(name: str, chunk: str, found: Estimate) -> str:
    chunks = counted(found.chunks, chunk)
    if not found.new_spaces and not found.new_chunks:
        sentence = f"All of {name} is already tracked over {chunks}."
        if found.to_compute:
            sentence += f" {counted(found.to_compute, 'partition')} still to compute."
        return sentence
    new = [counted(found.new_spaces, "space")] if found.new_spaces else []
    new += [counted(found.new_chunks, chunk)] if found.new_chunks else []
    sentence = (
        f"This adds {' and '.join(new)}: **{counted(found.to_compute, 'partition')}** to compute."
    )
    if found.other_spaces:
        others = counted(found.other_spaces, "other tracked space")
        sentence += (
            f" The new {chunk if found.new_chunks == 1 else f'{chunk}s'} will also be computed for "
            f"{others}: every tracked space has every tracked {chunk}."
        )
    return sentence


def _confirm(app: App, space: str, start: dt.date, end: dt.date) -> None:
    if not app.person.may(Role.ANALYST):
        st.caption(":material/lock: Tracking needs the analyst role.")
        return
    with st.container(border=True):
        st.markdown("**Save as a dataset, to find and share it, or only track it**")
        with st.container(horizontal=True):
            name = st.text_input(
                "Dataset name",
                key="track name",
                placeholder="winter_library",
                help="Lower-case letters, digits and underscores",
                width=260,
            )
            width = st.selectbox(
                "Bins",
                PUBLISHED_WIDTHS,
                index=2,
                format_func=bin_width,
                key="track bins",
                help="Bin width",
                width=120,
            )
            about = st.text_input("Description", key="track about", width="stretch")
        with st.container(horizontal=True):
            st.button(
                "Track and save dataset",
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
    with show_errors():
        service.track(app, space, start, end)
        _estimate.clear()
        note(f"Space {space} is now tracked from {start} to {end - _DAY}. {_next(app)}")


def _create(
    app: App, name: str, space: str, start: dt.date, end: dt.date, width: int, about: str
) -> None:
    with show_errors():
        dataset = service.create_dataset(
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
        state.put(tab="datasets", dataset=dataset.name)
        note(f"Dataset {dataset.name} created and tracked. {_next(app)}")


def _next(app: App) -> str:
    if service.is_running(app):
        return "It is being computed; see the progress below."
    return "It will be computed once the deployment runs: start it with tippers up."
