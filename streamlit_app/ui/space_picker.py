"""Widgets to choose a space: a tree that is open along the path to the selected one, a search."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import streamlit as st

from streamlit_app.ui.messages import plain
from tippers_dagster.campus.spaces.tree import SpaceTree

MAX_FOUND = 50
MAX_SIBLINGS = 150
_NUMBERS = re.compile(r"([0-9]+)")
_INDENT = "\u2003"

Pick = Callable[[str], None]


def matches(tree: SpaceTree, text: str, limit: int = MAX_FOUND) -> list[str]:
    """Ids of the spaces whose name, room or id contains a text; those that begin with it first."""
    wanted = text.strip().casefold()
    if not wanted:
        return []
    found = []
    for i, (space, name, room) in enumerate(
        zip(tree.ids, tree.names, tree.building_rooms, strict=True)
    ):
        texts = (name.casefold(), (room or "").casefold(), space.casefold())
        if any(wanted in t for t in texts):
            exact, begins = wanted in texts, any(t.startswith(wanted) for t in texts)
            found.append((not exact, not begins, int(tree.depth[i]), i))
    return [tree.ids[at[-1]] for at in sorted(found)[:limit]]


def path(tree: SpaceTree, space: str) -> list[str]:
    """Ids from the root down to a space, which is included."""
    ids = []
    at = tree.position(space)
    while at >= 0:
        ids.append(tree.ids[at])
        at = int(tree.parent[at])
    return ids[::-1]


def visible(tree: SpaceTree, space: str) -> list[str]:
    """The visible rows of the tree when it is open along the path to a space."""
    is_open = set(path(tree, space))
    rows: list[str] = []

    def add(spaces: list[str]) -> None:
        spaces = by_name(tree, spaces)
        for one in spaces[:MAX_SIBLINGS]:
            rows.append(one)
            if one in is_open:
                add(tree.children(one))
        # The selected space must be visible, however many siblings it has.
        for one in is_open.intersection(spaces[MAX_SIBLINGS:]):
            rows.append(one)
            add(tree.children(one))

    add(tree.roots)
    return rows


def by_name(tree: SpaceTree, spaces: list[str]) -> list[str]:
    """Sort spaces by name, with numbers by value: floor 2 before floor 10."""

    def parts(space: str) -> list[tuple[int, str]]:
        name = tree.names[tree.index[space]].casefold()
        return [(int(p), "") if p.isdecimal() else (-1, p) for p in _NUMBERS.split(name)]

    return sorted(spaces, key=parts)


def full_name(tree: SpaceTree, space: str) -> str:
    """The names from below the root down to a space, joined by slashes."""
    ids = path(tree, space)
    return " / ".join(tree.names[tree.index[s]] for s in (ids[1:] or ids))


def sidebar_picker(tree: SpaceTree, space: str, pick: Pick, *, key: str = "space") -> None:
    """The tree and a search in the sidebar; ``pick`` is called with the id of the chosen space."""
    with st.sidebar:
        search = f"{key} search"
        text = st.text_input("Find a space", key=search, placeholder="name, room or id")
        found = matches(tree, text)
        if text.strip() and not found:
            st.caption("No space matches by name, room or id.")
        options = found or visible(tree, space)
        label = (lambda s: plain(full_name(tree, s))) if found else (lambda s: _row(tree, s, space))
        if len(found) == MAX_FOUND:
            st.caption(f"Showing the first {MAX_FOUND} matches. Type more to narrow the search.")
        st.session_state[key] = space if space in options else None

        def chosen() -> None:
            picked = st.session_state[key]
            if picked:
                st.session_state[search] = ""
                pick(picked)

        with st.container(height=min(480, 60 + 30 * len(options)), border=False):
            st.radio("Spaces", options, format_func=label, key=key, on_change=chosen)


def _row(tree: SpaceTree, one: str, space: str) -> str:
    at = tree.index[one]
    inside = at <= tree.index[space] < at + int(tree.size[at])
    sign = "·" if tree.is_leaf[at] else "▾" if inside else "▸"
    return f"{_INDENT * int(tree.depth[at])}{sign} {plain(tree.names[at])}"


def breadcrumb(tree: SpaceTree, space: str, pick: Pick) -> None:
    """The spaces that contain a space, as buttons."""
    above = path(tree, space)[:-1]
    if not above:
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        for one in above:
            name = plain(tree.names[tree.index[one]])
            st.button(name, key=f"up {one}", type="tertiary", on_click=pick, args=(one,))
            st.caption("/", width="content")


def choose(tree: SpaceTree, label: str, *, key: str, default: str | None = None) -> str | None:
    """A form field for one space: offers large spaces, and any other by a search."""
    placeholder = "name, room or id"
    text = st.text_input("Find a space", key=f"{key} search", placeholder=placeholder)
    options = matches(tree, text) or large(tree)
    known = default is not None and default in tree
    if default is not None and known and default not in options and not text.strip():
        options = [default, *options]
    chosen: str | None = st.selectbox(
        label,
        options,
        index=options.index(default) if default in options else 0,
        format_func=lambda s: full_name(tree, s),
        key=f"{key} of {text.strip()}",
    )
    return chosen


def large(tree: SpaceTree) -> list[str]:
    """The spaces with children, from the roots downwards."""
    parents = np.flatnonzero(~tree.is_leaf)
    if not parents.size:
        return list(tree.ids[:MAX_FOUND])
    order = parents[np.argsort(tree.depth[parents], kind="stable")]
    return [tree.ids[i] for i in order[:200]]
