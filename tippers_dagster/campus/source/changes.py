"""Whether rows of the log have changed, and on which days, without reading them.

PostgreSQL counts inserted, changed and deleted rows of each table. On which days they begin is
known where an administrator has installed triggers that note it (``noting_sql``). Other databases
cannot tell; their logs are looked through in turn.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import sqlalchemy as sa

from tippers_dagster.automation.nodes import Table
from tippers_dagster.automation.tokens import counters
from tippers_dagster.campus.source.checks import INSTANT_TYPE, existing_columns
from tippers_dagster.campus.source.read import longest_open
from tippers_dagster.campus.source.schema import SESSIONS, source_tables
from tippers_dagster.errors import SourceError
from tippers_dagster.platform.identifiers import quote_identifier
from tippers_dagster.platform.postgres.databases import databases
from tippers_dagster.platform.warehouse.engine import sqlalchemy_url
from tippers_dagster.settings import Settings

NOTES = "tippers_changed_day"
"""The table, beside the session table, in which triggers note the days of changed rows."""

KEPT = dt.timedelta(days=1)
"""Notes are kept for so long: whoever has not asked since does not know what has changed."""

_NOTED = """
    SELECT pg_snapshot_xmin(pg_current_snapshot())::text AS next,
        (SELECT json_agg(DISTINCT jsonb_build_array(first,
            CASE WHEN last < CAST(:latest AS date) THEN last END)) FROM {notes}
         WHERE noted_in >= CAST(:since AS xid8)
           AND first > CAST(:earliest AS date) AND first < CAST(:latest AS date)) AS days
"""
"""Sessions of no plausible time, or that end in 'infinity', have no effect by these."""

_EARLIEST, _LATEST = "0002-01-01", "9990-01-01"


_EVENTS = {
    "inserted": "AFTER INSERT ON {} REFERENCING NEW TABLE AS changed",
    "deleted": "AFTER DELETE ON {} REFERENCING OLD TABLE AS changed",
    "updated_from": "AFTER UPDATE ON {} REFERENCING OLD TABLE AS changed",
    "updated_to": "AFTER UPDATE ON {} REFERENCING NEW TABLE AS changed",
}


@dataclass(frozen=True)
class Changes:
    """What the source tells of its changes.

    Attributes
    ----------
    cursor
        For the next question.
    changed
        Whether rows have changed since the last question. The counts follow a commit by some
        seconds at most.
    days
        The local dates that rows that changed reach from and to, at least; None if the source does
        not know.
    """

    cursor: str
    changed: bool
    days: list[tuple[dt.date, dt.date]] | None = None


def changes(settings: Settings, cursor: str | None) -> Changes | None:
    """What has changed since the last question; None if the source cannot tell.

    Parameters
    ----------
    cursor
        That of the last answer; None for the first question.

    Raises
    ------
    SourceError
        When the source cannot be reached.
    """
    with _connection(settings) as (connection, table):
        if connection is None or table is None:
            return None
        before = json.loads(cursor) if cursor else {}
        now = dt.datetime.now(dt.UTC)
        found = counters(connection, table)
        if found is None:
            return None
        after = {"counters": found, "asked_at": now.timestamp()}
        changed = found != before.get("counters")
        days = None
        if _has_notes(connection, table):
            since = before.get("noted_in")
            noted = sa.text(_NOTED.format(notes=_notes(table.schema)))
            bounds = {"earliest": _EARLIEST, "latest": _LATEST}
            row = connection.execute(noted, {"since": since or "3", **bounds}).one()
            after["noted_in"] = row.next
            asked_at = before.get("asked_at", 0.0)
            if since is not None and now.timestamp() - asked_at < KEPT.total_seconds():
                days = [_reach(settings, *map(_date, pair)) for pair in row.days or []]
                if changed and not days:
                    days = None  # what triggers do not see: TRUNCATE, a partition that was added
                changed = changed or bool(days)
        return Changes(json.dumps(after), changed, days)


def noting_sql(settings: Settings, reader: str | None = None) -> list[str]:
    """Statements that let the source note on which days rows have changed.

    For the owner of the session table. Each statement that changes rows adds a note of each day;
    nothing waits for another, and notes are kept for a day.

    Parameters
    ----------
    reader
        The role that tippers reads the source as, if it is not the owner.
    """
    table = source_tables(settings)[SESSIONS]
    schema = quote_identifier(settings.source_schema)
    notes, function = f"{schema}.{NOTES}", f"{schema}.tippers_note_changed_days"
    types = existing_columns(settings, SESSIONS)

    def day(name: str) -> str:
        column = table.column(name)
        zoned = types.get(table.columns[name]) == INSTANT_TYPE
        return (
            f"({column} AT TIME ZONE '{settings.timezone}')::date" if zoned else f"{column}::date"
        )

    days = (
        f"SELECT DISTINCT {day('start_time')}, {day('end_time')} FROM changed "
        f"WHERE {table.column('start_time')} IS NOT NULL"
    )
    statements = [
        f"CREATE TABLE IF NOT EXISTS {notes} (first date NOT NULL, last date, "
        "noted_in xid8 NOT NULL DEFAULT pg_current_xact_id(), "
        "noted_at timestamptz NOT NULL DEFAULT now())",
        f"CREATE INDEX IF NOT EXISTS {NOTES}_noted_in ON {notes} (noted_in)",
        # Most statements need not look for old notes.
        f"CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql "
        f"SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$ BEGIN "
        f"INSERT INTO {notes} (first, last) {days}; "
        f"IF random() < 0.001 THEN DELETE FROM {notes} WHERE noted_at < now() - interval "
        f"'{int(2 * KEPT.total_seconds())} s'; END IF; RETURN NULL; END $$",
        f"REVOKE ALL ON FUNCTION {function}() FROM PUBLIC",
    ]
    statements += [
        f"CREATE OR REPLACE TRIGGER tippers_{name} {event.format(table.sql)} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {function}()"
        for name, event in _EVENTS.items()
    ]
    if reader is not None:
        statements.append(f"GRANT SELECT ON {notes} TO {quote_identifier(reader)}")
    return statements


def _reach(
    settings: Settings, first: dt.date | None, last: dt.date | None
) -> tuple[dt.date, dt.date]:
    """The dates on which a row may have an effect; see ``last_moment``."""
    assert first is not None
    least = first + dt.timedelta(seconds=longest_open(settings), days=1)
    return first, least if last is None else max(last, least)


def _date(text: str | None) -> dt.date | None:
    return None if text is None else dt.date.fromisoformat(text)


@contextmanager
def _connection(settings: Settings) -> Iterator[tuple[sa.Connection | None, Table | None]]:
    """The database of the log and its table; None if that is no PostgreSQL."""
    if settings.log_source is not None:
        from tippers_dagster.campus.source.log_source import log_table
        from tippers_dagster.connections.opening import opened

        source = log_table(settings, settings.log_source)
        found = source.found.table
        if source.place.url.get_backend_name() != "postgresql":
            yield None, None
            return
        with opened(settings, source.place) as connection:
            yield connection, Table(found.schema or "public", found.name)
        return
    try:
        with _engine(sqlalchemy_url(databases(settings).source)).connect() as connection:
            name = source_tables(settings)[SESSIONS].name
            yield connection, Table(settings.source_schema, name)
    except sa.exc.OperationalError as error:
        raise SourceError(
            f"The source database cannot be reached: {error.orig}",
            "Check TIPPERS_SOURCE_URL, and `tippers doctor`.",
        ) from error


@lru_cache(maxsize=2)
def _engine(url: str) -> sa.Engine:
    return sa.create_engine(url, pool_size=1, pool_pre_ping=True, isolation_level="AUTOCOMMIT")


def _notes(schema: str) -> str:
    return f"{quote_identifier(schema)}.{NOTES}"


def _has_notes(connection: sa.Connection, table: Table) -> bool:
    """Whether triggers note changes, and this role may read the notes."""
    query = sa.text(
        "SELECT (SELECT count(*) = :all FROM pg_trigger t WHERE t.tgrelid = to_regclass(:table) "
        "AND t.tgname LIKE 'tippers\\_%' AND t.tgenabled <> 'D') AND coalesce("
        "has_table_privilege(to_regclass(:notes), 'SELECT'), false)"
    )
    name = f"{quote_identifier(table.schema)}.{quote_identifier(table.name)}"
    names = {"table": name, "notes": _notes(table.schema), "all": len(_EVENTS)}
    return bool(connection.execute(query, names).scalar_one())
