"""Undoing ingests: removes their sessions, and restores what they replaced."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tippers_dagster.campus.intake.entries import (
    SESSION_KINDS,
    Ingested,
    find_ingest,
    journal_transaction,
)
from tippers_dagster.campus.intake.layers import drop_layer, kinds_written
from tippers_dagster.campus.source.load import Load
from tippers_dagster.campus.source.read import last_moment
from tippers_dagster.campus.source.schema import (
    INGEST_ID,
    SESSIONS,
    SPACES,
    in_warehouse,
    loaded_tables,
    source_tables,
)
from tippers_dagster.campus.spaces.tree import SpaceTree
from tippers_dagster.errors import BadInput, SourceError
from tippers_dagster.settings import Settings


@dataclass
class Undone:
    """The result of undoing: removed or changed rows by table, and dates that sessions touched."""

    changed: Counter[str] = field(default_factory=Counter)
    dates: set[dt.date] = field(default_factory=set)


def undo_ingests(settings: Settings, numbers: Sequence[int]) -> Undone:
    """Undo ingests, all of them or none.

    Their sessions are removed; the same sessions of other ingests stay. In tables whose rows files
    replace, each key gets the rows of the newest remaining ingest, or those from before the first.

    Raises
    ------
    BadInput
        When there is no such ingest, it is already undone, an earlier version loaded it without
        recording its rows, or spaces would lose their parents.
    """
    settings, undone = in_warehouse(settings), Undone()
    with journal_transaction(settings) as load:
        ingests = [find_ingest(load, number) for number in sorted(set(numbers))]
        for ingest in ingests:
            if ingest.undone_at is not None:
                raise BadInput(
                    f"Ingest {ingest.ingest_id} was already undone on "
                    f"{ingest.undone_at:%Y-%m-%d %H:%M %Z}.",
                    f"`tippers ingest again {ingest.ingest_id}` loads its file again.",
                )
        remove_ingests(settings, load, ingests, undone)
        named = ", ".join(str(ingest.ingest_id) for ingest in ingests)
        check_tree(settings, load, f"Undoing ingest {named}")
        load.execute(
            f"UPDATE tippers.ingested_file SET undone_at = now() WHERE ingest_id IN ({named})"
        )
    return undone


def remove_ingests(
    settings: Settings, load: Load, ingests: Sequence[Ingested], undone: Undone
) -> None:
    """Remove the rows of ingests, within a transaction; undone ingests have none."""
    tables = loaded_tables(settings)
    ingests = [ingest for ingest in ingests if ingest.undone_at is None]
    if untraced := [ingest for ingest in ingests if not ingest.traced]:
        _delete_sessions(settings, load, _rows_without_number(settings, load, untraced), undone)
    for ingest in ingests:
        for kind in kinds_written(load, ingest.ingest_id):
            undone.changed[kind] += drop_layer(load, tables[kind], ingest.ingest_id)
        if ingest.first_start is not None:
            start = tables[SESSIONS].column("start_time")
            own = f"{INGEST_ID} = {ingest.ingest_id:d} AND {start} BETWEEN "
            own += f"'{ingest.first_start}' AND '{ingest.last_start}'"
            _delete_sessions(settings, load, own, undone)
        load.execute(f"DELETE FROM tippers.reject WHERE ingest_id = {ingest.ingest_id:d}")


def check_tree(settings: Settings, load: Load, what: str) -> None:
    """Raise BadInput, with the spaces, unless the space table is a forest."""
    table = source_tables(settings)[SPACES]
    columns = ", ".join(f"{table.column(name)} AS {name}" for name in table.columns)
    try:
        SpaceTree.from_table(load.execute(f"SELECT {columns} FROM {table.sql}"))
    except SourceError as error:
        raise BadInput(f"{what}: {error.message}", error.hint) from error


def days_of(pairs: Iterable[tuple[dt.date, dt.date]]) -> set[dt.date]:
    """All dates of ranges (first, last), both inclusive."""
    return {
        first + dt.timedelta(days=n)
        for first, last in pairs
        for n in range((last - first).days + 1)
    }


def _delete_sessions(settings: Settings, load: Load, which: str, undone: Undone) -> None:
    table = source_tables(settings)[SESSIONS]
    start, end = table.column("start_time"), table.column("end_time")
    last = last_moment(settings, start, end, "last_seen")
    found = load.execute(
        f"WITH gone AS (DELETE FROM {table.sql} WHERE {which} RETURNING {start}, {end}, last_seen) "
        f"SELECT {start}::date AS first, {last}::date AS last, count(*) AS rows FROM gone "
        "GROUP BY 1, 2"
    ).to_pylist()
    undone.changed[SESSIONS] += sum(row["rows"] for row in found)
    undone.dates |= days_of((row["first"], row["last"]) for row in found)


def _rows_without_number(settings: Settings, load: Load, ingests: Sequence[Ingested]) -> str:
    """A condition that selects the sessions of ingests by an earlier version.

    Possible only if all sessions without a number belong to them: no other ingest of that version
    is left, and there are as many sessions as were loaded.

    Raises
    ------
    BadInput
        When this is not certain.
    """
    named = ", ".join(str(ingest.ingest_id) for ingest in ingests)
    refusal = BadInput(
        f"Ingest {named} cannot be undone: an earlier version loaded it, which did not record the "
        "rows of an ingest and the rows that they replaced.",
        "Sessions and observations of the earlier version can only be undone all together: give "
        "all their numbers.",
    )
    if not {ingest.kind for ingest in ingests}.issubset(SESSION_KINDS):
        raise refusal
    table = source_tables(settings)[SESSIONS]
    others = load.execute(
        "SELECT count(*) FROM tippers.ingested_file WHERE NOT traced AND undone_at IS NULL "
        f"AND kind IN ('sessions', 'observations', 'smartspec') AND ingest_id NOT IN ({named})"
    )
    rows = load.execute(f"SELECT count(*) FROM {table.sql} WHERE {INGEST_ID} IS NULL")
    loaded = sum(ingest.loaded for ingest in ingests)
    if others.column(0)[0].as_py() or rows.column(0)[0].as_py() != loaded:
        raise refusal
    return f"{INGEST_ID} IS NULL"
