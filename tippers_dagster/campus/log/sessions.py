"""Rows of any log, brought into one form: whose device was where, from when to when.

A row is read by what its columns mean, whatever they are called. Rows that cannot be used are
rejected with a reason; what a row says is never changed, only brought into one form.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tippers_dagster.campus.devices import (
    DEVICE_REASONS,
    NO_DEVICE,
    OPAQUE,
    device_kinds,
    normalise_devices,
)
from tippers_dagster.campus.local_time import MICRO, LocalClock
from tippers_dagster.campus.log import times
from tippers_dagster.campus.log.access_points import normalise_access_points
from tippers_dagster.campus.log.checks import END_BEFORE_START, NO_ACCESS_POINT, NO_SPACE, Checks
from tippers_dagster.campus.log.durations import DurationUnit, durations
from tippers_dagster.campus.log.people import KnownPersons, UserNames, persons
from tippers_dagster.campus.log.texts import check_text, text
from tippers_dagster.campus.log.times import (
    Order,
    Times,
    instants,
    open_order,
    order_evidence,
    plausible_us,
)

Mask = NDArray[np.bool_]
Int64 = NDArray[np.int64]

ROLES = (
    *("device", "start", "end", "duration", "updated", "seen"),
    *("access_point", "space", "ssid", "user", "session_id"),
)
"""What a column can mean."""

TIMES = ("start", "end", "updated", "seen")
"""Columns of times, whose order of day and month has to be known."""

SCHEMA = pa.schema(
    {
        "device": pa.string(),
        "device_kind": pa.int8(),
        "start": pa.int64(),
        "end": pa.int64(),
        "last_seen": pa.int64(),
        "access_point": pa.string(),
        "space": pa.string(),
        "ssid": pa.string(),
        "session_id": pa.string(),
        "person": pa.uint64(),
        "kept": pa.string(),
    }
)
"""Normalised rows. ``device_kind``: see ``campus.devices``. Times in UTC microseconds; ``end`` is
null while a session is open, ``last_seen`` where no sign of life after the start is known.
``kept``: see ``campus.log.kept``; null in rows whose further columns were not given."""

_ROWS, _OBSERVATIONS = b"rows", b"observations"

NO_PLACE = "no access point and no space id"
NOT_AN_ADDRESS = "device is not an address"


@dataclass(frozen=True)
class Meaning:
    """What a batch's columns mean, beyond their roles.

    Parameters
    ----------
    clock
        The wall clock of times without a zone.
    plausible
        Local times outside [first, second) are rejected, or mean that a session has not ended.
    longest_seconds
        Longer sessions are rejected.
    key
        The deployment's device key, for persons.
    names
        The source's name of each column by its role, for reasons; default: the role.
    order
        Of day and month in dates of numbers, see ``times.OrderEvidence``.
    duration_unit
        Of durations that are numbers.
    device_is
        "address": other ids are rejected. "any": they are kept.
    users
        How user names are to be read.
    known
        The persons that batches had so far.
    """

    clock: LocalClock
    plausible: tuple[dt.datetime, dt.datetime]
    longest_seconds: int
    key: bytes = field(repr=False)
    names: Mapping[str, str] = field(default_factory=dict)
    order: Order | None = None
    duration_unit: DurationUnit = "s"
    device_is: Literal["address", "any"] = "any"
    users: UserNames = field(default_factory=UserNames)
    known: KnownPersons = field(default_factory=KnownPersons, repr=False, compare=False)

    def name(self, role: str) -> str:
        """The source's name of a column."""
        return self.names.get(role, role)


def normalised(columns: pa.Table, meaning: Meaning) -> tuple[pa.Table, Checks]:
    """The usable rows of a batch in one form, and the reasons of the others.

    When a session ends: at its ``end``; without such a column, ``duration`` after its start. With
    one, a duration is the last sign of life of a row that has no end, as is ``updated``. Without a
    ``start``, it is ``duration`` before the end. A column ``seen`` instead of these makes rows
    observations: each has a start and no end (see ``are_observations``).

    Local times that exist twice mean their first occurrence, unless a session would end before it
    starts.

    Parameters
    ----------
    columns
        Columns named by their roles (``ROLES``), of the types that logs have.
    meaning
        What else there is to know of them.

    Returns
    -------
    (rows, checks)
        The rows of ``checks.good``, in order, by ``SCHEMA``.

    Raises
    ------
    BadInput
        When a column is of a type that cannot be read, or dates leave the order of day and month
        open.
    ValueError
        When the roles do not make sessions or observations.
    """
    roles = set(columns.column_names)
    if not _makes_sense(roles):
        raise ValueError(f"Columns {sorted(roles)} make neither sessions nor observations.")
    checks = Checks(columns.num_rows)
    found = _devices(columns, meaning, checks)
    found |= _places(columns, meaning, checks)
    found |= _session_ids(columns, meaning, checks)
    found |= _times(columns, meaning, checks)
    if "user" in roles:
        names, at = _distinct(columns["user"], meaning.name("user"))
        users = pa.DictionaryArray.from_arrays(at, names)
        found["person"] = persons(users, meaning.users, meaning.key, found["device"], meaning.known)
    nulls = pa.nulls(columns.num_rows)
    filled = [found.get(name, nulls) for name in SCHEMA.names]
    rows = pa.table(filled, names=SCHEMA.names).cast(SCHEMA)
    if "seen" in roles:
        rows = rows.replace_schema_metadata({_ROWS: _OBSERVATIONS})
    return rows if checks.good.all() else rows.filter(pa.array(checks.good)), checks


def are_observations(rows: pa.Table) -> bool:
    """Whether normalised rows are lone instants, of which sessions are yet to be made."""
    return (rows.schema.metadata or {}).get(_ROWS) == _OBSERVATIONS


def _makes_sense(roles: set[str]) -> bool:
    is_session = "start" in roles or {"end", "duration"} <= roles
    is_observation = "seen" in roles
    others = roles & {"start", "end", "duration", "updated"}
    return (
        roles <= set(ROLES)
        and "device" in roles
        and bool(roles & {"access_point", "space"})
        and (is_session != is_observation)
        and not (is_observation and others)
    )


# --- whose, and where -----------------------------------------------------------------------
def _distinct(column: pa.ChunkedArray, name: str) -> tuple[pa.Array, pa.Array]:
    """A column's distinct texts, stripped (null if blank), and the place of each row's; null."""
    text(column.slice(0, 0), name)  # its type, before it is encoded
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    encoded = encoded.unify_dictionaries().combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):  # without rows
        encoded = pa.array([], pa.string()).dictionary_encode()
    values = text(pa.chunked_array([encoded.dictionary]), name).combine_chunks()
    return values, encoded.indices


def _devices(columns: pa.Table, meaning: Meaning, checks: Checks) -> dict[str, pa.Array]:
    name = meaning.name("device")
    values, rows = _distinct(columns["device"], name)
    devices, reasons = normalise_devices(values)
    kinds = device_kinds(devices)
    # Rows without a value find what is appended at the end.
    at = rows.fill_null(len(values)).to_numpy()
    why = np.append(reasons, np.int8(DEVICE_REASONS.index(NO_DEVICE)))[at]
    kind = np.append(kinds, np.int8(OPAQUE))[at]
    checks.reject_each(why >= 0, why, list(DEVICE_REASONS))
    if meaning.device_is == "address":
        checks.reject(kind == OPAQUE, NOT_AN_ADDRESS)
    device = devices.take(rows)
    check_text(checks, pa.chunked_array([device]), name)
    return {"device": device, "device_kind": pa.array(kind)}


def _places(columns: pa.Table, meaning: Meaning, checks: Checks) -> dict[str, pa.Array]:
    found: dict[str, pa.Array] = {}
    if "access_point" in columns.column_names:
        values, rows = _distinct(columns["access_point"], meaning.name("access_point"))
        access_points, ssids = normalise_access_points(values)
        found["access_point"], found["ssid"] = access_points.take(rows), ssids.take(rows)
    for role in ("space", "ssid"):
        if role in columns.column_names:
            values, rows = _distinct(columns[role], meaning.name(role))
            given = values.take(rows)
            found[role] = pc.coalesce(given, found[role]) if role in found else given
    for role, column in found.items():
        check_text(checks, pa.chunked_array([column]), meaning.name(role))
    places = [found[role] for role in ("access_point", "space") if role in found]
    reason = NO_PLACE if len(places) > 1 else NO_SPACE if "space" in found else NO_ACCESS_POINT
    checks.reject(np.all([np.asarray(place.is_null()) for place in places], axis=0), reason)
    return found


def _session_ids(columns: pa.Table, meaning: Meaning, checks: Checks) -> dict[str, pa.Array]:
    if "session_id" not in columns.column_names:
        return {}
    name = meaning.name("session_id")
    ids = text(columns["session_id"], name)
    check_text(checks, ids, name)
    return {"session_id": ids.combine_chunks()}


# --- when -----------------------------------------------------------------------------------
def _times(columns: pa.Table, meaning: Meaning, checks: Checks) -> dict[str, pa.Array]:
    read = {role: _read(columns, role, meaning) for role in TIMES if role in columns.column_names}
    for role, found in read.items():
        _check(found, role, meaning, checks)
    if "seen" in read:
        return {"start": pa.array(read["seen"].us)}
    lasted, has_length = _lengths(columns, meaning, checks)
    start, end, closed = _start_and_end(read, lasted, has_length, meaning, checks)
    last_seen, is_seen = _last_seen(read, start, np.where(closed, 0, lasted), meaning)
    checks.reject(closed & (end < start), END_BEFORE_START)
    latest = np.where(closed, end, last_seen)
    longest = meaning.longest_seconds
    checks.reject(latest - start > longest * MICRO, f"longer than {longest} s")
    first, stop = plausible_us(meaning.clock, meaning.plausible)
    checks.reject((start < first) | (latest >= stop), _outside("the session", meaning))
    return {
        "start": pa.array(start),
        "end": pa.array(end, mask=~closed),
        "last_seen": pa.array(last_seen, mask=~is_seen),
    }


def _read(columns: pa.Table, role: str, meaning: Meaning) -> Times:
    column, name = columns[role], meaning.name(role)
    found = instants(column, meaning.clock, meaning.order, name, meaning.plausible)
    if (found.state == times.AMBIGUOUS_ORDER).any():
        raise open_order(name, order_evidence(column).example or "")
    return found


def _check(found: Times, role: str, meaning: Meaning, checks: Checks) -> None:
    """Reject times that are none; those of a start also if there is none."""
    name = meaning.name(role)
    reasons = {
        times.UNREADABLE: f"{name} is not a time",
        times.OTHER_ZONE: f"{name} has a zone that is not one of {meaning.clock.timezone}",
        times.IMPLAUSIBLE: _outside(name, meaning),
    }
    if role in ("start", "seen"):
        reasons |= {
            times.MISSING: f"no {name}",
            times.NOT_ENDED: f"{name} is a placeholder, not a time",
        }
    for state, reason in reasons.items():
        checks.reject(found.state == state, reason)


def _outside(what: str, meaning: Meaning) -> str:
    first, last = meaning.plausible
    return f"{what} is outside the plausible range {first:%Y-%m-%d} to {last:%Y-%m-%d}"


def _lengths(columns: pa.Table, meaning: Meaning, checks: Checks) -> tuple[Int64, Mask]:
    """How long each session lasted, in microseconds, and whether the row says so."""
    if "duration" not in columns.column_names:
        return np.zeros(columns.num_rows, np.int64), np.zeros(columns.num_rows, bool)
    name = meaning.name("duration")
    lasted, missing, unreadable = durations(columns["duration"], meaning.duration_unit, name)
    checks.reject(unreadable, f"{name} is not a duration")
    return lasted, ~missing & ~unreadable


def _start_and_end(
    read: dict[str, Times], lasted: Int64, has_length: Mask, meaning: Meaning, checks: Checks
) -> tuple[Int64, Int64, Mask]:
    """Starts, ends, and which rows have an end."""
    if "start" not in read:
        end = read["end"]
        checks.reject(~end.given, f"no {meaning.name('end')}")
        checks.reject(~has_length, f"no {meaning.name('duration')}")
        return end.us - lasted, end.us, end.given
    start = read["start"]
    if "end" not in read:
        return start.us, start.us + lasted, has_length
    end = read["end"]
    return start.us, _not_before(start.us, end, meaning.clock), end.given


def _last_seen(
    read: dict[str, Times], start: Int64, lasted: Int64, meaning: Meaning
) -> tuple[Int64, Mask]:
    """The last sign of life of each session, which is not before its start, and whether it has one.

    ``lasted`` counts if it is positive: a session that has just begun has 0 in many logs.
    """
    last_seen, is_seen = start + lasted, lasted > 0
    if "updated" in read:
        updated = read["updated"]
        us = _not_before(start, updated, meaning.clock)
        last_seen = np.where(updated.given, np.maximum(last_seen, us), last_seen)
        is_seen = is_seen | updated.given
    return last_seen, is_seen


def _not_before(start: Int64, found: Times, clock: LocalClock) -> Int64:
    """Instants; local times that exist twice are the second where the first is before the start."""
    early = np.flatnonzero(found.given & (found.us < start))
    if not early.size:
        return found.us
    us = found.us.copy()
    us[early] = times.second_occurrence(clock, found, early)
    return us
