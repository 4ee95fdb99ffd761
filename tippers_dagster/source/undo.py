"""Taking an ingest back: its sessions go, and what it replaced comes again."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, field

from tippers_dagster.errors import BadInput, SourceError
from tippers_dagster.settings import Settings
from tippers_dagster.source.ingests import Ingested, find_ingest, journal_transaction
from tippers_dagster.source.layers import drop_layer, kinds_written
from tippers_dagster.source.load import Load
from tippers_dagster.source.read import last_moment
from tippers_dagster.source.schema import INGEST_ID, SESSIONS, SPACES, source_tables
from tippers_dagster.spaces.tree import SpaceTree

SESSION_KINDS = (SESSIONS, "observations")
"""Kinds of files of which only sessions are loaded."""


@dataclass
class Undone:
    """What undoing an ingest did: rows that went or changed, by table; dates as in a report."""

    ingest: Ingested
    changed: dict[str, int] = field(default_factory=dict)
    dates: set[dt.date] = field(default_factory=set)


def undo_ingest(settings: Settings, ingest_id: int) -> Undone:
    """Take back what an ingest loaded, all of it or nothing.

    Its sessions go, also where another ingest loaded the same ones, which stay. Of the tables
    whose rows files replace, each key is as the ingests that remain say, or as it was before all.

    Raises
    ------
    BadInput
        When there is no such ingest, it is undone already, an earlier version loaded it without
        keeping which rows are its own, or spaces would lose their parents.
    SourceError
        When the source is a deployment's own database.
    """
    with journal_transaction(settings) as load:
        ingest = find_ingest(load, ingest_id)
        if ingest.undone_at is not None:
            raise BadInput(
                f"Ingest {ingest_id} was undone on {ingest.undone_at:%Y-%m-%d %H:%M %Z}.",
                f"`tippers ingest again {ingest_id}` loads its file again.",
            )
        undone = Undone(ingest)
        undone.dates = take_back(settings, load, ingest, undone.changed)
        check_tree(settings, load, f"Undoing ingest {ingest_id}")
        load.execute(
            f"UPDATE tippers.ingested_file SET undone_at = now() WHERE ingest_id = {ingest_id:d}"
        )
    return undone


def take_back(
    settings: Settings, load: Load, ingest: Ingested, changed: dict[str, int] | None = None
) -> set[dt.date]:
    """Take an ingest's rows away as part of a transaction; returns the dates of its sessions.

    One that is undone already has none. ``changed`` is told the number of rows by table.
    """
    changed = {} if changed is None else changed
    if ingest.undone_at is not None:
        return set()
    tables = source_tables(settings)
    for kind in kinds_written(load, ingest.ingest_id):
        changed[kind] = drop_layer(load, tables[kind], ingest.ingest_id)
    mine = f"{INGEST_ID} = {ingest.ingest_id:d}"
    if ingest.first_start is not None:
        start = tables[SESSIONS].column("start_time")
        mine += f" AND {start} BETWEEN '{ingest.first_start}' AND '{ingest.last_start}'"
    elif not ingest.traced:
        mine = _rows_without_number(settings, load, ingest)
    else:
        mine = "false"
    changed[SESSIONS], dates = _delete_sessions(settings, load, mine)
    load.execute(f"DELETE FROM tippers.reject WHERE ingest_id = {ingest.ingest_id:d}")
    return dates


def check_tree(settings: Settings, load: Load, what: str) -> None:
    """Raise BadInput, naming the spaces, unless the space table is a forest."""
    table = source_tables(settings)[SPACES]
    columns = ", ".join(f"{table.column(name)} AS {name}" for name in table.columns)
    try:
        SpaceTree.from_table(load.execute(f"SELECT {columns} FROM {table.sql}"))
    except SourceError as error:
        raise BadInput(f"{what}: {error.message}", error.hint) from error


def days_of(pairs: Iterable[tuple[dt.date, dt.date]]) -> set[dt.date]:
    """All dates of ranges (first, last), both included."""
    return {
        first + dt.timedelta(days=n)
        for first, last in pairs
        for n in range((last - first).days + 1)
    }


def _delete_sessions(settings: Settings, load: Load, which: str) -> tuple[int, set[dt.date]]:
    table = source_tables(settings)[SESSIONS]
    start, end = table.column("start_time"), table.column("end_time")
    found = load.execute(
        f"WITH gone AS (DELETE FROM {table.sql} WHERE {which} RETURNING {start}, {end}) "
        f"SELECT {start}::date AS first, {last_moment(settings, table)}::date AS last, "
        "count(*) AS rows FROM gone GROUP BY 1, 2"
    ).to_pylist()
    return sum(row["rows"] for row in found), days_of((r["first"], r["last"]) for r in found)


def _rows_without_number(settings: Settings, load: Load, ingest: Ingested) -> str:
    """Which sessions are those of an ingest of an earlier version, as a condition.

    Known where all sessions without a number are its own: no other ingest of that kind is left,
    and there are as many as it loaded.
    """
    refusal = BadInput(
        f"Ingest {ingest.ingest_id} was loaded by an earlier version, which kept neither whose "
        "rows are whose nor what they replaced: it cannot be undone.",
        "What is loaded from now on can. To begin anew, load all files into another TIPPERS_HOME.",
    )
    if ingest.kind not in SESSION_KINDS:
        raise refusal
    table = source_tables(settings)[SESSIONS]
    others = load.execute(
        "SELECT count(*) FROM tippers.ingested_file WHERE NOT traced AND undone_at IS NULL "
        f"AND kind IN ('sessions', 'observations', 'smartspec') AND ingest_id <> {ingest.ingest_id}"
    )
    rows = load.execute(f"SELECT count(*) FROM {table.sql} WHERE {INGEST_ID} IS NULL")
    if others.column(0)[0].as_py() or rows.column(0)[0].as_py() != ingest.loaded:
        raise refusal
    return f"{INGEST_ID} IS NULL"
