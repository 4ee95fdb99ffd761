"""Datasets: find, open, share, rename and delete them."""

from __future__ import annotations

import datetime as dt
from urllib.parse import urlencode

import streamlit as st

from streamlit_app.services import tracking as service
from streamlit_app.services.app import App
from streamlit_app.services.tracking import DatasetProgress
from streamlit_app.services.words import bin_width, day
from streamlit_app.ui import state
from streamlit_app.ui.messages import live, plain, show_errors
from streamlit_app.ui.pages import page
from streamlit_app.views.levels import REFRESH_SECONDS
from streamlit_app.views.tracking.notes import note
from tippers_dagster.access.model import Role
from tippers_dagster.campus.spaces.tree import SpaceTree
from tippers_dagster.platform.text import counted

MAX_CARDS = 30
_DAY = dt.timedelta(1)


def show(app: App, tree: SpaceTree) -> None:
    """All datasets, or the one in the address."""
    found = service.datasets(app, tree)
    if not found:
        st.info(
            "There are no datasets yet. A dataset is a named selection of a space, a range and a "
            "bin width, to find and share: choose “Track a space” above.",
            icon=":material/info:",
        )
        return
    requested = state.get("dataset")
    one = next((d for d in found if d.dataset.name == requested), None)
    if one is not None:
        _one(app, tree, one)
        return
    if requested:
        st.warning(
            f"The dataset {plain(requested)} does not exist (any more).", icon=":material/warning:"
        )
    text = ""
    if len(found) > 8:
        text = st.text_input("Find", key="datasets find", placeholder="name, space or owner")
    wanted = [d for d in found if text.casefold() in _searched(d)]
    for one in wanted[:MAX_CARDS]:
        _card(one)
    if len(wanted) > MAX_CARDS:
        st.caption(f"Showing {MAX_CARDS} of {len(wanted):,}. Search to find the others.")


def _searched(one: DatasetProgress) -> str:
    d = one.dataset
    return f"{d.name} {one.space_name} {d.space} {d.owner} {d.description}".casefold()


def _card(one: DatasetProgress) -> None:
    d = one.dataset
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{plain(d.name)}**")
            st.caption(_facts(one), width="content")
            st.space("stretch")
            st.button(
                "Details", key=f"details {d.name}", on_click=state.put, kwargs={"dataset": d.name}
            )
            _explore(one)
        if d.description:
            st.caption(plain(d.description))
        _progress(one)


def _facts(one: DatasetProgress) -> str:
    d = one.dataset
    where = (
        plain(one.space_name) if one.space_name else f"space {plain(d.space)} (no longer exists)"
    )
    return (
        f"{where} · {day(d.start)} to {day(d.end - _DAY)} · bins of "
        f"{bin_width(d.interval_seconds)} · owner {plain(d.owner) or 'unknown'}"
    )


def _progress(one: DatasetProgress) -> None:
    if not one.space_name:
        st.caption(":material/warning: Its space no longer exists in the source.")
        return
    share = one.done / one.wanted if one.wanted else 0.0
    st.progress(share, text=f"{one.done:,} of {counted(one.wanted, 'partition')} up to date")
    if not one.tracked:
        st.caption(
            ":material/pause_circle: No longer fully tracked, so its counts may become out of date."
        )


def _query(one: DatasetProgress) -> dict[str, str]:
    d = one.dataset
    return {
        "space": d.space,
        "from": d.start.isoformat(),
        "to": d.end.isoformat(),
        "bin": str(d.interval_seconds),
    }


def _explore(one: DatasetProgress) -> None:
    if one.space_name:
        st.page_link(
            page("occupancy"), label="Open", icon=":material/groups:", query_params=_query(one)
        )


# --- one -----------------------------------------------------------------------------------------
def _one(app: App, tree: SpaceTree, one: DatasetProgress) -> None:
    d = one.dataset
    st.button(
        "All datasets",
        icon=":material/arrow_back:",
        type="tertiary",
        on_click=state.put,
        kwargs={"dataset": None, "tab": "datasets"},
    )
    st.header(plain(d.name))
    st.markdown(_facts(one))
    if d.description:
        st.markdown(plain(d.description))
    st.caption(f"Created {d.created_at:%Y-%m-%d %H:%M} UTC")
    _live_progress(app, tree, d.name)
    may = app.person.may(Role.ANALYST)
    if not one.tracked and one.space_name and may:
        st.button("Track again", icon=":material/replay:", on_click=_again, args=(app, d.name))
    _explore(one)
    if one.space_name:
        st.markdown("Share this address to show its counts to others:")
        st.code(_address("occupancy", _query(one)), language=None)
    if not may:
        st.caption(":material/lock: Renaming and deleting need the analyst role.")
        return
    left, right = st.columns(2, gap="large")
    with left, st.container(border=True):
        _rename(app, d.name)
    with right, st.container(border=True):
        _delete(app, one)


@live(REFRESH_SECONDS)
def _live_progress(app: App, tree: SpaceTree, name: str) -> None:
    found = next((d for d in service.datasets(app, tree) if d.dataset.name == name), None)
    if found is not None:
        _progress(found)


def _address(path: str, query: dict[str, str]) -> str:
    """The full address of a page of this app."""
    base = (st.context.url or "").split("?")[0].rstrip("/").removesuffix("/tracking")
    return f"{base}/{path}?{urlencode(query)}"


def _rename(app: App, name: str) -> None:
    st.markdown("**Rename**")
    to = st.text_input("New name", key=f"rename {name}", placeholder=name)
    st.button(
        "Rename",
        disabled=not to.strip() or to.strip() == name,
        on_click=_do_rename,
        args=(app, name, to),
    )


def _do_rename(app: App, name: str, to: str) -> None:
    with show_errors():
        renamed = service.rename_dataset(app, name, to)
        state.put(dataset=renamed.name)
        note(f"{name} renamed to {renamed.name}.")


def _delete(app: App, one: DatasetProgress) -> None:
    name = one.dataset.name
    st.markdown("**Delete**")
    shared = f" It shares partitions with {plain(', '.join(one.shared))}." if one.shared else ""
    st.caption(
        "Deletes only the dataset. Its occupancy stays in the lake and is kept up to date, as "
        f"others may use it; to stop that, untrack it under “Tracked ranges”.{shared}"
    )
    confirmed = st.checkbox("Yes, delete this dataset", key=f"sure {name}")
    st.button(
        "Delete",
        icon=":material/delete:",
        disabled=not confirmed,
        on_click=_do_delete,
        args=(app, name),
    )


def _do_delete(app: App, name: str) -> None:
    with show_errors():
        service.delete_dataset(app, name)
        state.put(dataset=None, tab="datasets")
        note(f"Dataset {name} deleted. Its partitions stay tracked.")


def _again(app: App, name: str) -> None:
    with show_errors():
        service.track_again(app, name)
        note(f"{name} is fully tracked again.")
