"""Datasets: finding, opening, sharing, renaming and deleting them."""

from __future__ import annotations

import datetime as dt
from urllib.parse import urlencode

import streamlit as st

from streamlit_app.services import tracking as service
from streamlit_app.services.app import App
from streamlit_app.services.tracking import Shown
from streamlit_app.ui import state
from streamlit_app.ui.messages import live, plain, told
from streamlit_app.ui.pages import page
from streamlit_app.views.levels import LOOK_SECONDS
from streamlit_app.views.occupancy.shown import bins, day
from streamlit_app.views.tracking.notes import note
from tippers_dagster.access.model import Role
from tippers_dagster.campus.spaces.tree import SpaceTree

SHOWN = 30
_DAY = dt.timedelta(1)


def show(app: App, tree: SpaceTree) -> None:
    """All datasets, or the one that the address names."""
    found = service.datasets(app, tree)
    if not found:
        st.info(
            "There are no datasets yet. A dataset is a name for a space, a range and a width of "
            "bins, to find and share it: choose “Track a space” above.",
            icon=":material/info:",
        )
        return
    asked = state.get("dataset")
    one = next((d for d in found if d.dataset.name == asked), None)
    if one is not None:
        _one(app, tree, one)
        return
    if asked:
        st.warning(f"There is no dataset {plain(asked)} (any more).", icon=":material/warning:")
    text = ""
    if len(found) > 8:
        text = st.text_input("Find", key="datasets find", placeholder="name, space or owner")
    wanted = [d for d in found if text.casefold() in _searched(d)]
    for shown in wanted[:SHOWN]:
        _card(shown)
    if len(wanted) > SHOWN:
        st.caption(f"The first {SHOWN} of {len(wanted):,}: find others by name.")


def _searched(one: Shown) -> str:
    d = one.dataset
    return f"{d.name} {one.space_name} {d.space} {d.owner} {d.description}".casefold()


def _card(one: Shown) -> None:
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


def _facts(one: Shown) -> str:
    d = one.dataset
    where = plain(one.space_name) if one.space_name else f"space {plain(d.space)}, which is gone"
    return (
        f"{where} · {day(d.start)} to {day(d.end - _DAY)} · {bins(d.interval_seconds)} · "
        f"{plain(d.owner) or 'nobody'}"
    )


def _progress(one: Shown) -> None:
    if not one.space_name:
        st.caption(":material/warning: Its space is not in the tree any more.")
        return
    share = one.done / one.wanted if one.wanted else 0.0
    st.progress(share, text=f"{one.done:,} of {one.wanted:,} partitions up to date")
    if not one.tracked:
        st.caption(":material/pause_circle: Not all of it is tracked any more: it may grow old.")


def _query(one: Shown) -> dict[str, str]:
    d = one.dataset
    return {
        "space": d.space,
        "from": d.start.isoformat(),
        "to": d.end.isoformat(),
        "bin": str(d.interval_seconds),
    }


def _explore(one: Shown) -> None:
    if one.space_name:
        st.page_link(
            page("occupancy"), label="Open", icon=":material/groups:", query_params=_query(one)
        )


# --- one -----------------------------------------------------------------------------------------
def _one(app: App, tree: SpaceTree, one: Shown) -> None:
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
    st.caption(f"Made {d.created_at:%Y-%m-%d %H:%M} UTC.")
    _live_progress(app, tree, d.name)
    may = app.person.may(Role.ANALYST)
    if not one.tracked and one.space_name and may:
        st.button("Track it again", icon=":material/replay:", on_click=_again, args=(app, d.name))
    _explore(one)
    if one.space_name:
        st.markdown("Share it: whoever opens this address sees its counts.")
        st.code(_address("occupancy", _query(one)), language=None)
    if not may:
        st.caption(":material/lock: Renaming and deleting takes the role analyst.")
        return
    left, right = st.columns(2, gap="large")
    with left, st.container(border=True):
        _rename(app, d.name)
    with right, st.container(border=True):
        _delete(app, one)


@live(LOOK_SECONDS)
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
    with told():
        made = service.rename_dataset(app, name, to)
        state.put(dataset=made.name)
        note(f"{name} is now called {made.name}.")


def _delete(app: App, one: Shown) -> None:
    name = one.dataset.name
    st.markdown("**Delete**")
    shared = f" It shares some with {plain(', '.join(one.shared))}." if one.shared else ""
    st.caption(
        "Only the name goes. Its occupancy stays in the lake and is kept up to date, as others may "
        f"use it; “What is tracked” is where that is stopped.{shared}"
    )
    sure = st.checkbox("I want to delete it", key=f"sure {name}")
    st.button(
        "Delete", icon=":material/delete:", disabled=not sure, on_click=_do_delete, args=(app, name)
    )


def _do_delete(app: App, name: str) -> None:
    with told():
        service.delete_dataset(app, name)
        state.put(dataset=None, tab="datasets")
        note(f"The dataset {name} is deleted. What it tracked is kept.")


def _again(app: App, name: str) -> None:
    with told():
        service.track_again(app, name)
        note(f"All of {name} is tracked again.")
