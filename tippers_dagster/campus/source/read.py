"""Reads the source database: spaces, sessions of a span, and fingerprints.

All in READ ONLY transactions; a campus's own database is never written.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa
from adbc_driver_manager import Error as ArrowDriverError

from tippers_dagster.campus.source.checks import INSTANT_TYPE, existing_columns, require_columns
from tippers_dagster.campus.source.load import read_source
from tippers_dagster.campus.source.observed import Observed, Span
from tippers_dagster.campus.source.schema import (
    EXACT,
    EXACT_SQL,
    INGEST_ID,
    KEPT,
    PERSON,
    SESSIONS,
    SPACES,
    source_tables,
)
from tippers_dagster.errors import SourceError
from tippers_dagster.platform.postgres.adbc import kept_connection
from tippers_dagster.platform.postgres.databases import databases
from tippers_dagster.settings import SESSION_COLUMNS, SPACE_COLUMNS, Settings

if TYPE_CHECKING:
    from adbc_driver_postgresql import dbapi

    from tippers_dagster.campus.source.mapped import MappedSnapshot

ACCESS_POINT = "sensor_id"
TEXTS = ("mac_address", ACCESS_POINT, "space_id")
_OPTIONAL = (ACCESS_POINT, *EXACT)
_TIMES = ("start_time", "end_time")
_SEEDS = {PERSON: PERSON, KEPT: f"jsonb_hash_extended({KEPT}, 1)"}
"""Optional columns as numbers."""
_TYPES = {**EXACT_SQL, KEPT: "text"}
"""As which optional columns are read."""
_INSTANTS = {"started_at": "start_time", "ended_at": "end_time"}
"""What a column of times is if its type has a zone."""


def read_spaces(settings: Settings) -> pa.Table:
    """The ``space`` table with tippers' column names, all text."""
    require_columns(settings, SPACES, SPACE_COLUMNS)
    table = source_tables(settings)[SPACES]
    columns = ", ".join(f"{table.column(name)}::text AS {name}" for name in SPACE_COLUMNS)
    return read_source(settings, f"SELECT {columns} FROM {table.sql} ORDER BY 1")


class SourceSnapshot:
    """A consistent view of the source database, from :func:`source_snapshot`.

    ``there``: the optional columns that the session table has; the others are null. ``zoned``: its
    columns of times that are instants.
    """

    def __init__(
        self,
        settings: Settings,
        cursor: dbapi.Cursor,
        there: Collection[str],
        zoned: Collection[str],
    ) -> None:
        self._settings = settings
        self._cursor = cursor
        self._table = source_tables(settings)[SESSIONS]
        self._there = there
        self._zoned = zoned

    def observe(
        self, span: Span, chunks: list[str], *, as_before: bool = False
    ) -> dict[str, Observed]:
        """Fingerprint every chunk of a span in one index range scan.

        The database groups rows by the chunks in which they start and end. A chunk's fingerprint
        is the sum over all groups that touch it, so a changed, late or deleted row changes only
        the chunks that it touches.

        ``as_before``: as fingerprints were before access points and completed sessions counted.
        """
        start, end = self._column("start_time"), self._column("end_time")
        texts = [name for name in TEXTS if not (as_before and name == ACCESS_POINT)]
        exact = [] if as_before else [n for n in EXACT if n in self._there and n not in _SEEDS]
        # As the seed, so that rows without them are hashed as before there were such columns.
        seeds = [] if as_before else [sql for n, sql in _SEEDS.items() if n in self._there]
        seed = " # ".join(f"coalesce({sql}, 0)" for sql in seeds) or "0"
        times = map(self._table.column, _TIMES)
        covered = ", ".join([*map(self._column, texts), *times, *exact])
        s = self._settings
        seen = "last_seen" if "last_seen" in exact else None
        last = last_moment(s, start, end, seen, as_before=as_before)
        # Converts dates to text after grouping, as grouping by text takes a third longer.
        self._cursor.execute(
            "SELECT first::date::text AS first, last::date::text AS last, rows, hashes::text "
            f"AS hashes FROM (SELECT date_trunc('{s.chunk}', {start}) AS first, "
            f"date_trunc('{s.chunk}', {last}) AS last, count(*) AS rows, "
            f"sum(hash_record_extended(ROW({covered}), {seed})) "
            f"AS hashes FROM {self._table.sql} WHERE {self._within(span, as_before=as_before)} "
            "GROUP BY 1, 2) AS groups"
        )
        groups = self._cursor.fetch_arrow_table().to_pylist()
        return {chunk: _combine(groups, chunk) for chunk in chunks}

    def sessions(self, span: Span) -> Iterator[pa.RecordBatch]:
        """The sessions that may touch a span, in batches, unordered.

        Columns: mac_address, sensor_id, space_id (text); start_time, end_time (timestamp[us],
        local); those of ``EXACT``, null where the session table does not have them.
        """
        names = (*SESSION_COLUMNS, *EXACT)
        columns = ", ".join(f"{self._column(name)} AS {name}" for name in names)
        self._cursor.execute(f"SELECT {columns} FROM {self._table.sql} WHERE {self._within(span)}")
        yield from self._cursor.fetch_record_batch()

    def _column(self, name: str) -> str:
        """SQL for a column."""
        time = _INSTANTS.get(name)
        if time is not None and time in self._zoned:
            return self._table.column(time)
        if name in _OPTIONAL and name not in self._there:
            return f"NULL::{_TYPES.get(name, 'text')}"
        if name in EXACT:
            return f"{name}::text" if name == KEPT else name
        if name in self._zoned:
            return f"({self._table.column(name)} AT TIME ZONE '{self._settings.timezone}')"
        return self._table.column(name) + ("::text" if name in TEXTS else "")

    def _moment(self, name: str, local: dt.datetime) -> str:
        """SQL for a local time to compare a column with, which has an index as it is."""
        zone = f" AT TIME ZONE '{self._settings.timezone}'" if name in self._zoned else ""
        return f"timestamp '{local}'{zone}"

    def _within(self, span: Span, *, as_before: bool = False) -> str:
        start, end = map(self._table.column, _TIMES)
        first, last = (dt.datetime.combine(date, dt.time()) for date in span)
        since = first - dt.timedelta(seconds=_longest(self._settings))
        reaching = first
        if not as_before:
            reaching -= dt.timedelta(seconds=longest_open(self._settings))
        starting = partial(self._moment, "start_time")
        return (
            f"{start} >= {starting(since)} AND {start} < {starting(last)} "
            f"AND ({start} >= {starting(reaching)} OR {end} IS NULL OR "
            f"{end} >= {self._moment('end_time', first)})"
        )


@contextmanager
def source_snapshot(settings: Settings) -> Iterator[SourceSnapshot | MappedSnapshot]:
    """Open the log: one REPEATABLE READ, READ ONLY transaction on the source database, or the table
    of ``settings.log_source``, of which each span is read in one statement.

    Raises
    ------
    SourceError
        When the session table's columns do not match the settings, the log source's table cannot
        be read, or the database rejects a query.
    """
    if settings.log_source is not None:
        from tippers_dagster.campus.source.log_source import log_table
        from tippers_dagster.campus.source.mapped import MappedSnapshot
        from tippers_dagster.campus.source.places import Places

        places = Places(settings, partial(read_source, settings))
        yield MappedSnapshot(settings, log_table(settings, settings.log_source), places)
        return
    columns = existing_columns(settings, SESSIONS)
    there = _optional_columns(settings, columns)
    needed = tuple(n for n in SESSION_COLUMNS if n in there or n != ACCESS_POINT)
    require_columns(settings, SESSIONS, needed)
    try:
        with (
            kept_connection(databases(settings).source) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield SourceSnapshot(settings, cursor, there, _zoned(settings, columns))
    except ArrowDriverError as error:
        raise SourceError(
            f"The source database rejected a query: {error}",
            "Run `tippers doctor` to see which tables and columns are missing.",
        ) from error


def _optional_columns(settings: Settings, columns: Collection[str]) -> set[str]:
    """Those of the optional columns that are read.

    Counting does not need access points, so that column may be missing, unless the settings name
    it. Only a table that files are loaded into has the columns of ``EXACT``: elsewhere such names
    mean something else.
    """
    access_point = source_tables(settings)[SESSIONS].columns[ACCESS_POINT]
    found = {name for name in EXACT if name in columns and INGEST_ID in columns}
    if ACCESS_POINT in settings.session_columns or access_point in columns:
        found.add(ACCESS_POINT)
    return found


def _zoned(settings: Settings, columns: Mapping[str, str]) -> set[str]:
    """The columns of times whose type has a zone."""
    names = source_tables(settings)[SESSIONS].columns
    return {name for name in _TIMES if columns.get(names[name]) == INSTANT_TYPE}


def last_moment(
    settings: Settings, start: str, end: str, last_seen: str | None, *, as_before: bool = False
) -> str:
    """SQL for the last local time on which a row of the session table may have an effect.

    A session that has not ended lasts until its last sign of life (if the table has these), or has
    a limit. A closed row takes the place of an open one, and so has an effect as far as that would
    reach; ``as_before``: without that.

    Parameters
    ----------
    start, end
        SQL for local times.
    last_seen
        SQL for an instant.
    """
    limit = f"{start} + interval '{longest_open(settings)} s'"
    least = start if as_before else limit
    longest = f"{start} + interval '{_longest(settings)} s'"
    seen = f"{last_seen} AT TIME ZONE '{settings.timezone}', " if last_seen else ""
    return f"greatest({least}, least(coalesce({end}, {seen}{limit}), {longest}))"


def longest_open(settings: Settings) -> int:
    """Maximum seconds of an open session on the wall clock, including a change of the clocks."""
    return settings.open_session_seconds + 3600


def _longest(settings: Settings) -> int:
    """Maximum seconds of any session on the wall clock."""
    return max(settings.longest_session_seconds, longest_open(settings))


def _combine(groups: list[dict], chunk: str) -> Observed:
    touching = [g for g in groups if g["first"] <= chunk <= g["last"]]
    total = sum(int(g["hashes"]) for g in touching)
    rows = sum(g["rows"] for g in touching)
    return Observed.of(rows, total)
