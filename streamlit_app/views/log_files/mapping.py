"""Editing what the columns of a log mean: as fields, or as YAML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import streamlit as st

from streamlit_app.services import log_files as service
from streamlit_app.services.log_files import Fields, columns_of
from tippers_dagster.campus.log.durations import DurationUnit
from tippers_dagster.campus.log.guessing import SAMPLE_COLUMNS, Look
from tippers_dagster.campus.log.times import ORDERS
from tippers_dagster.platform.text import shown
from tippers_dagster.settings import Settings

_FIELDS, _YAML = "Fields", "YAML"
_SESSION, _OBSERVATION = "A session", "An observation"

UNITS: tuple[DurationUnit, ...] = get_args(DurationUnit)
"""Of durations; the first is usual."""

_DEVICE = {"device": ("Device", "Its address in any spelling, or another id.")}
_TIMES = {
    "start": ("Start", "When a session began."),
    "end": ("End", "When it ended. Every usual way of writing that it has not ended is known."),
    "duration": ("Duration", "How long it lasted, instead of an end or a start."),
    "updated": ("Last update", "When an open session was last known to go on."),
}
_SEEN = {"seen": ("Seen", "The instant at which the device was there.")}
_PLACES = {
    "access_point": ("Access point", "Its address, with or without the SSID, or its name."),
    "space": ("Space", "The id of a space."),
}
_USER = {
    "user": (
        "User name",
        "Tells which devices are of the same person. The names are neither stored nor shown.",
    )
}
_KEEP = (
    "Further columns whose values stay with each session, as they are, for rules. Do not keep "
    "columns with names."
)
_OTHERS = {
    "session_id": ("Session id", "The log's own: rows with the same id are one session."),
    "ssid": ("SSID", "The name of the network."),
    "keep": ("Kept", _KEEP),
}


@dataclass
class Draft:
    """A mapping that is being edited.

    Attributes
    ----------
    source
        What it was begun from.
    fields
        The mapping as plain values; perhaps not valid yet.
    """

    source: tuple[str | None, str, str]
    fields: Fields


def edit(settings: Settings, draft: Draft, look: Look, file_id: str) -> Fields:
    """Show the mapping to be edited; returns its fields, which are perhaps not valid yet.

    Raises
    ------
    BadInput
        What was written as YAML is wrong.
    """
    prefix = f"log {file_id} {draft.source}"
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown("**What the columns mean**", width="stretch")
        how = st.segmented_control(
            "Edit as",
            [_FIELDS, _YAML],
            default=_FIELDS,
            key=f"{prefix} how",
            required=True,
            label_visibility="collapsed",
        )
    if how == _YAML:
        draft.fields = _as_yaml(draft, prefix)
    else:
        draft.fields = _as_fields(settings, draft.fields, look, prefix)
    return draft.fields


def gap(settings: Settings, fields: Fields, file_id: str) -> int | None:
    """Of observations: the longest gap within a session in seconds."""
    if not fields.get("seen"):
        return None
    return st.number_input(
        "Longest gap within a session (s)",
        min_value=1,
        value=settings.observation_gap_seconds,
        key=f"log gap {file_id}",
        help="Observations of a device at one access point are one session while their gaps are at "
        "most this long.",
        width=260,
    )


# --- as YAML ------------------------------------------------------------------------------------
def _as_yaml(draft: Draft, prefix: str) -> Fields:
    key = f"{prefix} yaml"
    if key not in st.session_state:
        st.session_state[key] = service.yaml_of(draft.fields)
    text = st.text_area(
        "Mapping",
        key=key,
        height=320,
        help="All fields are described in docs/log_sources.md.",
    )
    return service.fields_of_yaml(text)


# --- as fields ----------------------------------------------------------------------------------
def _as_fields(settings: Settings, fields: Fields, look: Look, prefix: str) -> Fields:
    columns = _Columns(fields, look, prefix)
    key = f"{prefix} rows"
    if key not in st.session_state:
        st.session_state[key] = _OBSERVATION if fields.get("seen") else _SESSION
    rows = st.segmented_control(
        "Each row is",
        [_SESSION, _OBSERVATION],
        key=key,
        required=True,
        help="A session has a start and an end; an observation has one instant.",
    )
    is_session = rows == _SESSION
    found = columns.choose(_DEVICE | (_TIMES if is_session else _SEEN) | _PLACES | _USER)
    with st.expander("More fields"):
        found |= columns.choose(
            {n: box for n, box in _OTHERS.items() if is_session or n != "session_id"}
        )
        found |= _options(settings, {**fields, **found}, prefix, is_session=is_session)
    own = {*_TIMES, *_SEEN, *_DEVICE, *_PLACES, *_USER, *_OTHERS, *_OPTIONS}
    others = {name: value for name, value in fields.items() if name not in own}
    if not found.get("user"):
        others.pop("anonymous", None)
    if others:
        named = ", ".join(f"`{name}`" for name in others)
        st.caption(f"The mapping also has {named}, which you can edit as YAML.")
    return {**found, **others}


_FIRST_COUNTS = "Of several columns, the first that has a value counts."


class _Columns:
    """Boxes that choose the columns of a field."""

    def __init__(self, fields: Fields, look: Look, prefix: str) -> None:
        self._fields, self._prefix, self._is_sparse = fields, prefix, look.is_sparse
        self._names = look.names[:SAMPLE_COLUMNS]
        self._theirs = {name.strip().casefold(): name for name in reversed(self._names)}

    def choose(self, roles: dict[str, tuple[str, str]]) -> dict[str, Any]:
        """The columns of these fields that have any; a single one as text."""
        found: dict[str, Any] = {}
        cells = st.columns(3)
        for at, (role, (label, meaning)) in enumerate(roles.items()):
            with cells[at % 3]:
                chosen = self._box(role, label, meaning)
            if chosen:
                found[role] = chosen[0] if len(chosen) == 1 else chosen
        return found

    def _box(self, role: str, label: str, meaning: str) -> list[str]:
        key = f"{self._prefix} {role}"
        given = [self._theirs.get(n.strip().casefold(), n) for n in columns_of(self._fields, role)]
        if key not in st.session_state:
            st.session_state[key] = given
        chosen = st.session_state[key]
        return st.multiselect(
            label,
            list(dict.fromkeys([*self._names, *given, *chosen])),
            format_func=shown,
            key=key,
            accept_new_options=self._is_sparse,
            placeholder="None",
            help=meaning if role == "keep" else f"{meaning} {_FIRST_COUNTS}",
        )


_OPTIONS = ("duration_unit", "timezone", "order", "device_is", "own_realms", "open_hours")


def _options(
    settings: Settings, fields: Fields, prefix: str, *, is_session: bool
) -> dict[str, Any]:
    """Fields that name no column, if they are not as usual."""
    found: dict[str, Any] = {}
    cells = st.columns(3)
    with cells[0]:
        found["timezone"] = _text(
            fields, prefix, "timezone", "Time zone", settings.timezone, "Of times without a zone."
        )
        if fields.get("user"):
            found["own_realms"] = _own_realms(fields, prefix)
    with cells[1]:
        found["order"] = _one(
            fields, prefix, "order", "Order of day and month", ORDERS, "In times such as 01/07/2025"
        )
        if fields.get("duration"):
            found["duration_unit"] = _unit(fields, prefix)
    with cells[2]:
        key = f"{prefix} device_is"
        if key not in st.session_state:
            st.session_state[key] = fields.get("device_is") == "address"
        is_address = st.checkbox(
            "Reject devices that are not addresses",
            key=key,
            help="Otherwise other ids are kept as they are.",
        )
        found["device_is"] = "address" if is_address else None
        if is_session:
            found["open_hours"] = _open_hours(settings, fields, prefix)
    return {name: value for name, value in found.items() if value}


def _text(
    fields: Fields, prefix: str, name: str, label: str, usual: str, meaning: str
) -> str | None:
    key = f"{prefix} {name}"
    if key not in st.session_state:
        st.session_state[key] = fields.get(name) or ""
    return st.text_input(label, key=key, placeholder=usual, help=meaning).strip() or None


def _one(
    fields: Fields, prefix: str, name: str, label: str, options: Sequence[str], meaning: str
) -> str | None:
    key = f"{prefix} {name}"
    if key not in st.session_state:
        st.session_state[key] = fields.get(name) or ""
    return (
        st.selectbox(
            label,
            ["", *options],
            format_func=lambda one: one or "Found automatically",
            key=key,
            help=meaning,
        )
        or None
    )


def _unit(fields: Fields, prefix: str) -> str:
    key = f"{prefix} duration_unit"
    if key not in st.session_state:
        st.session_state[key] = fields.get("duration_unit") or UNITS[0]
    return st.selectbox("Unit of durations", UNITS, key=key)


def _own_realms(fields: Fields, prefix: str) -> list[str]:
    key = f"{prefix} own_realms"
    if key not in st.session_state:
        st.session_state[key] = columns_of(fields, "own_realms")
    return st.multiselect(
        "Realms of the campus",
        st.session_state[key],
        key=key,
        accept_new_options=True,
        placeholder="example.edu",
        help="Names with one of these realms and without it are of the same person.",
    )


def _open_hours(settings: Settings, fields: Fields, prefix: str) -> float | None:
    key = f"{prefix} open_hours"
    if key not in st.session_state:
        st.session_state[key] = fields.get("open_hours")
    return st.number_input(
        "Hours of an open session",
        min_value=0.1,
        max_value=744.0,
        key=key,
        placeholder=f"{settings.open_session_seconds / 3600:g}",
        help="How long a session lasts that has neither an end nor a last update.",
    )
