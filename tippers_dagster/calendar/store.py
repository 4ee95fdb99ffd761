"""Stores the academic calendar: changes are made under one lock, and checked together.

Assets that depend on the calendar become stale as soon as a change is saved, without waiting for
the next check of all sources.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from tippers_dagster.automation.nodes import Node, Table
from tippers_dagster.automation.tokens import check_sources
from tippers_dagster.calendar.days import AcademicCalendar
from tippers_dagster.calendar.periods import Period, PeriodKind, check_period, check_together
from tippers_dagster.calendar.tables import academic_period as table
from tippers_dagster.campus.spaces.tree import load_tree
from tippers_dagster.errors import BadInput
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.platform.warehouse.metadata import SCHEMA
from tippers_dagster.settings import Settings

LOCK = 0x7469_7070_6572_7303
"""Advisory lock for changes of the calendar."""


@dataclass(frozen=True)
class Kept:
    """A stored period of the calendar, and who changed it last.

    ``version`` grows with every change; a change or removal names the version that was seen.
    """

    id: int
    period: Period
    version: int
    updated_at: dt.datetime
    updated_by: str


@dataclass(frozen=True)
class Change:
    """One change of the calendar.

    Parameters
    ----------
    period
        The new period; None: it is removed.
    seen
        The period when the change began; None: it is new.
    """

    period: Period | None
    seen: Kept | None = None


@dataclass(frozen=True)
class Clash:
    """A conflicting change of a period by somebody else; ``now`` is None if it was removed."""

    mine: Change
    now: Kept | None

    def __str__(self) -> str:
        assert self.mine.seen is not None
        was = self.mine.seen.period
        if self.now is None:
            return f"{was} was removed by somebody else."
        now = self.now
        return (
            f"{was} was changed by {now.updated_by} to {now.period} at {now.updated_at:%H:%M} UTC."
        )


class CalendarConflict(BadInput):
    """Somebody else has changed the same periods; nothing was saved."""

    def __init__(self, clashes: Sequence[Clash]) -> None:
        super().__init__(
            " ".join(str(clash) for clash in clashes) + " None of your changes were saved.",
            "Check the current calendar, and save the changes that are still needed.",
        )
        self.clashes = tuple(clashes)


@dataclass(frozen=True)
class Outcome:
    """Numbers of periods added, changed, removed and unchanged."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    unchanged: int = 0

    def __str__(self) -> str:
        return (
            f"{self.added} added, {self.changed} changed, {self.removed} removed, "
            f"{self.unchanged} unchanged"
        )


# --- reading -------------------------------------------------------------------------------------
def list_periods(settings: Settings) -> list[Kept]:
    """All periods by first day."""
    with warehouse_engine(settings).connect() as connection:
        return _all(connection)


def _all(connection: sa.Connection) -> list[Kept]:
    c = table.c
    query = sa.select(table).order_by(c.start_date, c.end_date, c.kind, c.name, c.space_id)
    return [_kept(row) for row in connection.execute(query)]


def _kept(row: sa.Row) -> Kept:
    kind = PeriodKind(row.kind)
    period = Period(row.start_date, row.end_date, kind, row.name, row.space_id)
    return Kept(row.id, period, row.version, row.updated_at, row.updated_by)


# --- changing ------------------------------------------------------------------------------------
def change(settings: Settings, changes: Iterable[Change], *, by: str) -> Outcome:
    """Make changes together: all of them, or none.

    Parameters
    ----------
    by
        The author of the changes.

    Raises
    ------
    CalendarConflict
        When somebody else has changed or removed one of the periods since it was seen.
    BadInput
        When a period is invalid (``check_period``), names an unknown space, or the calendar would
        contradict itself (``check_together``).
    """
    changes = list(changes)
    _check(settings, [c.period for c in changes if c.period is not None], by)
    with warehouse_engine(settings).begin() as connection:
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        kept = {k.id: k for k in _all(connection)}
        _refuse_clashes(kept, changes)
        done = _apply(connection, kept, changes, by)
    check_sources(settings, [calendar_node()], at_once=True)
    return done


def put(
    settings: Settings, periods: Iterable[Period], *, by: str, replace: bool = False
) -> Outcome:
    """Add periods; existing ones with the same kind, name, first day and space get the new end.

    Parameters
    ----------
    replace
        Remove all other periods.

    Raises
    ------
    BadInput
        As :func:`change`. Nothing is changed then.
    """
    periods = list(periods)
    check_together(periods)
    _check(settings, periods, by)
    with warehouse_engine(settings).begin() as connection:
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        kept = {k.id: k for k in _all(connection)}
        there = {k.period.identity: k for k in kept.values()}
        changes = [Change(p, there.get(p.identity)) for p in periods]
        if replace:
            wanted = {p.identity for p in periods}
            changes += [Change(None, k) for i, k in there.items() if i not in wanted]
        done = _apply(connection, kept, changes, by)
    check_sources(settings, [calendar_node()], at_once=True)
    return done


def remove(settings: Settings, ids: Iterable[int], *, by: str) -> Outcome:
    """Remove periods by their numbers.

    Raises
    ------
    BadInput
        When a number does not exist; nothing is removed then.
    """
    ids, kept = list(ids), {k.id: k for k in list_periods(settings)}
    unknown = [number for number in ids if number not in kept]
    if unknown:
        raise BadInput(
            f"There is no period {', '.join(str(number) for number in unknown)}.",
            "`tippers calendar list` shows their numbers.",
        )
    return change(settings, [Change(None, kept[number]) for number in ids], by=by)


def _check(settings: Settings, periods: Sequence[Period], by: str) -> None:
    if not by.strip():
        raise BadInput("It must be known who changes the calendar.", "Add a name.")
    for period in periods:
        check_period(period)
    places = {p.space for p in periods if p.space}
    if places:
        tree = load_tree(settings)
        for place in sorted(places):
            tree.position(place)


def _refuse_clashes(kept: dict[int, Kept], changes: Sequence[Change]) -> None:
    clashes = []
    for wanted in changes:
        if wanted.seen is None:
            continue
        now = kept.get(wanted.seen.id)
        if now is not None and (now.version == wanted.seen.version or now.period == wanted.period):
            continue  # not changed since, or already as wanted
        if now is None and wanted.period is None:
            continue  # removed by both
        clashes.append(Clash(wanted, now))
    if clashes:
        raise CalendarConflict(clashes)


def _apply(
    connection: sa.Connection, kept: dict[int, Kept], changes: Sequence[Change], by: str
) -> Outcome:
    after = {number: k.period for number, k in kept.items()}
    new, edited, removed, unchanged = [], [], [], 0
    for wanted in changes:
        number = None if wanted.seen is None else wanted.seen.id
        if wanted.period is None:
            if number in kept:
                removed.append(number)
                del after[number]
        elif number is None:
            new.append(wanted.period)
        elif after[number] == wanted.period:
            unchanged += 1
        else:
            edited.append((number, wanted.period))
            after[number] = wanted.period
    check_together([*after.values(), *new])
    author = {"updated_at": dt.datetime.now(dt.UTC), "updated_by": by.strip()}
    _write(connection, new, edited, removed, author)
    return Outcome(len(new), len(edited), len(removed), unchanged)


def _write(
    connection: sa.Connection,
    new: Sequence[Period],
    edited: Sequence[tuple[int, Period]],
    removed: Sequence[int | None],
    author: dict[str, object],
) -> None:
    if removed:
        connection.execute(sa.delete(table).where(table.c.id.in_(removed)))
    if edited:
        statement = (
            sa.update(table)
            .where(table.c.id == sa.bindparam("number"))
            .values(version=table.c.version + 1)
        )
        connection.execute(statement, [{"number": n, **_row(p), **author} for n, p in edited])
    if new:
        rows = [{**_row(period), **author, "version": 1} for period in new]
        connection.execute(sa.insert(table), rows)


def _row(period: Period) -> dict[str, object]:
    return {
        "kind": period.kind.value,
        "name": period.name,
        "start_date": period.start,
        "end_date": period.end,
        "space_id": period.space,
    }


def load_calendar(settings: Settings) -> AcademicCalendar:
    """The current calendar; it may be empty."""
    periods = tuple(sorted(kept.period for kept in list_periods(settings)))
    places = {p.space for p in periods if p.space}
    return AcademicCalendar(periods, _near(settings, places) if places else None)


def _near(settings: Settings, places: Iterable[str]) -> dict[str, frozenset[str]]:
    """Each place with all spaces below and above it; places no longer in the tree are left out."""
    tree = load_tree(settings)
    found = {}
    for place in places:
        if place not in tree:
            continue
        above, i = [], int(tree.parent[tree.index[place]])
        while i >= 0:
            above.append(tree.ids[i])
            i = int(tree.parent[i])
        found[place] = frozenset([*tree.subtree(place), *above])
    return found


_CONTENT = f"""SELECT md5(coalesce(string_agg(
    concat_ws(' ', kind, start_date, end_date, space_id, name), chr(10)
    ORDER BY kind, start_date, space_id, name), '')) FROM {SCHEMA}.academic_period"""
"""Without author and time of changes, which do not affect what is computed from the calendar."""


def calendar_node() -> Node:
    """The node of the calendar's table, for nodes that depend on it."""
    name = "academic_period"
    return Node((name,), source=Table(SCHEMA, name, _CONTENT), entered=True)
