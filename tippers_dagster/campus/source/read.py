"""Reads the source database: spaces, sessions of a span, and fingerprints.

All in READ ONLY transactions; a campus's own database is never written.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
from adbc_driver_manager import Error as ArrowDriverError

from tippers_dagster.campus.source.checks import has_column, require_columns
from tippers_dagster.campus.source.load import read_source
from tippers_dagster.campus.source.schema import SESSIONS, SPACES, SourceTable, source_tables
from tippers_dagster.errors import SourceError
from tippers_dagster.platform.postgres.adbc import kept_connection
from tippers_dagster.platform.postgres.databases import databases
from tippers_dagster.settings import SESSION_COLUMNS, SPACE_COLUMNS, Settings

if TYPE_CHECKING:
    from adbc_driver_postgresql import dbapi

ACCESS_POINT = "sensor_id"
TEXTS = ("mac_address", ACCESS_POINT, "space_id")

Span = tuple[dt.date, dt.date]
"""Local dates [first, second), covered by consecutive chunks."""


def read_spaces(settings: Settings) -> pa.Table:
    """The ``space`` table with tippers' column names, all text."""
    require_columns(settings, SPACES, SPACE_COLUMNS)
    table = source_tables(settings)[SPACES]
    columns = ", ".join(f"{table.column(name)}::text AS {name}" for name in SPACE_COLUMNS)
    return read_source(settings, f"SELECT {columns} FROM {table.sql} ORDER BY 1")


@dataclass(frozen=True)
class Observed:
    """The number of a chunk's rows in the source, and a fingerprint of their content."""

    rows: int
    fingerprint: int


class SourceSnapshot:
    """A consistent view of the source database, from :func:`source_snapshot`.

    ``access_points``: whether the session table has them; otherwise they are null.
    """

    def __init__(self, settings: Settings, cursor: dbapi.Cursor, access_points: bool) -> None:
        self._settings = settings
        self._cursor = cursor
        self._table = source_tables(settings)[SESSIONS]
        self._access_points = access_points

    def observe(
        self, span: Span, chunks: list[str], *, as_before: bool = False
    ) -> dict[str, Observed]:
        """Fingerprint every chunk of a span in one index range scan.

        The database groups rows by the chunks in which they start and end. A chunk's fingerprint
        is the sum over all groups that touch it, so a changed, late or deleted row changes only
        the chunks that it touches.

        ``as_before``: as fingerprints were before access points and completed sessions counted.
        """
        start, end = self._table.column("start_time"), self._table.column("end_time")
        texts = [name for name in TEXTS if not (as_before and name == ACCESS_POINT)]
        covered = ", ".join(map(self._column, texts))
        s, last = self._settings, last_moment(self._settings, self._table, as_before=as_before)
        # Converts dates to text after grouping, as grouping by text takes a third longer.
        self._cursor.execute(
            "SELECT first::date::text AS first, last::date::text AS last, rows, hashes::text "
            f"AS hashes FROM (SELECT date_trunc('{s.chunk}', {start}) AS first, "
            f"date_trunc('{s.chunk}', {last}) AS last, count(*) AS rows, "
            f"sum(hash_record_extended(ROW({covered}, {start}, {end}), 0)) "
            f"AS hashes FROM {self._table.sql} WHERE {self._within(span, as_before=as_before)} "
            "GROUP BY 1, 2) AS groups"
        )
        groups = self._cursor.fetch_arrow_table().to_pylist()
        return {chunk: _combine(groups, chunk) for chunk in chunks}

    def sessions(self, span: Span) -> Iterator[pa.RecordBatch]:
        """The sessions that may touch a span, in batches, unordered.

        Columns: mac_address, sensor_id, space_id (text); start_time, end_time (timestamp[us],
        local).
        """
        columns = ", ".join(f"{self._column(name)} AS {name}" for name in SESSION_COLUMNS)
        self._cursor.execute(f"SELECT {columns} FROM {self._table.sql} WHERE {self._within(span)}")
        yield from self._cursor.fetch_record_batch()

    def _column(self, name: str) -> str:
        """SQL for a column: text, or a local time."""
        if name == ACCESS_POINT and not self._access_points:
            return "NULL::text"
        return self._table.column(name) + ("::text" if name in TEXTS else "")

    def _within(self, span: Span, *, as_before: bool = False) -> str:
        start, end = self._table.column("start_time"), self._table.column("end_time")
        first = dt.datetime.combine(span[0], dt.time())
        since = first - dt.timedelta(seconds=_longest(self._settings))
        reaching = first
        if not as_before:
            reaching -= dt.timedelta(seconds=longest_open(self._settings))
        return (
            f"{start} >= timestamp '{since}' AND {start} < timestamp '{span[1]}' "
            f"AND ({start} >= timestamp '{reaching}' OR {end} IS NULL OR "
            f"{end} >= timestamp '{first}')"
        )


@contextmanager
def source_snapshot(settings: Settings) -> Iterator[SourceSnapshot]:
    """Open one REPEATABLE READ, READ ONLY transaction on the source database.

    Raises
    ------
    SourceError
        When the session table's columns do not match the settings, or the database rejects a
        query.
    """
    access_points = _has_access_points(settings)
    needed = tuple(name for name in SESSION_COLUMNS if access_points or name != ACCESS_POINT)
    require_columns(settings, SESSIONS, needed)
    try:
        with (
            kept_connection(databases(settings).source) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield SourceSnapshot(settings, cursor, access_points)
    except ArrowDriverError as error:
        raise SourceError(
            f"The source database rejected a query: {error}",
            "Run `tippers doctor` to see which tables and columns are missing.",
        ) from error


def _has_access_points(settings: Settings) -> bool:
    """Whether the column of access points is read. Counting does not need it, so it may be missing,
    unless the settings name it.
    """
    return ACCESS_POINT in settings.session_columns or has_column(settings, SESSIONS, ACCESS_POINT)


def last_moment(settings: Settings, sessions: SourceTable, *, as_before: bool = False) -> str:
    """SQL for the last local time on which a row of the session table may have an effect.

    An open session ends at its limit at the latest. A closed row takes the place of an open one,
    and so has an effect as far as that would reach; ``as_before``: without that.
    """
    start, end = sessions.column("start_time"), sessions.column("end_time")
    limit = f"{start} + interval '{longest_open(settings)} s'"
    least = start if as_before else limit
    longest = f"{start} + interval '{_longest(settings)} s'"
    return f"greatest({least}, least(coalesce({end}, {limit}), {longest}))"


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
    return Observed(rows=rows, fingerprint=(total * 31 + rows) % 2**64)
