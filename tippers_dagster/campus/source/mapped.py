"""Reads the log in place from a table of any shape, by its log source.

The rows are normalised as those of files are, and have the columns of the session table then. Those
that cannot be used have a reason instead. Nothing is written to the database.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from tippers_dagster.campus.local_time import MICRO, LocalClock, chunk_keys
from tippers_dagster.campus.log.kept_rows import as_json, kept_columns, storable
from tippers_dagster.campus.log.reading import LogRows, meaning_of, read_rows, usable_rows
from tippers_dagster.campus.log.sessions import Meaning
from tippers_dagster.campus.log.times import OpenOrder, instants
from tippers_dagster.campus.source.log_source import LogTable, open_table, said_of_logs
from tippers_dagster.campus.source.observed import Observed, Span
from tippers_dagster.campus.source.places import Places
from tippers_dagster.campus.source.schema import EXACT, KEPT, PERSON, REASON, ROW
from tippers_dagster.campus.source.session_rows import local_times, session_rows
from tippers_dagster.campus.source.sightings import Sightings
from tippers_dagster.errors import SourceError, TippersError
from tippers_dagster.platform.fingerprint import mix, of_column
from tippers_dagster.platform.keys import device_key
from tippers_dagster.settings import SESSION_COLUMNS, Settings

_DAY = dt.timedelta(days=1)
_FIRST_DAY = dt.datetime(1970, 1, 2, tzinfo=dt.UTC)
"""Times before it are none: the ways in which databases write a missing one, see ``not_ended``."""
_EPOCH_UNITS = (1, 1000, 1_000_000, 1_000_000_000)
"""Of numbers that are epochs: seconds, milliseconds, microseconds, nanoseconds."""


class MappedSnapshot:
    """The rows of a log source's table over spans of local dates, each read in one statement.

    It has the methods of ``SourceSnapshot`` that readers of sessions use.
    """

    def __init__(self, settings: Settings, source: LogTable, places: Places) -> None:
        self._settings, self._source, self._places = settings, source, places
        self._clock = LocalClock(settings.timezone)
        self._meaning: Meaning = meaning_of(
            source.mapping, said_of_logs(settings), device_key(settings), source.mapping.order
        )
        self._observed: dict[str, Observed] = {}

    def observe(
        self, span: Span, chunks: Sequence[str], *, as_before: bool = False
    ) -> dict[str, Observed]:
        """Fingerprints of chunks of a span: of the rows as ``sessions`` gave them, or gives them
        now.

        ``as_before``: of rows before there were log sources; there are none.
        """
        if not self._observed.keys() >= set(chunks):
            for _ in self.sessions(span):
                pass
        return {chunk: self._observed[chunk] for chunk in chunks}

    def sessions(self, span: Span) -> Iterator[pa.RecordBatch]:
        """The sessions that may touch a span, in batches, unordered.

        Columns: those of the session table, with ``EXACT``, ``REASON`` and ``ROW``.

        Raises
        ------
        SourceError
            The table cannot be read, or its times leave the order of day and month open.
        """
        seen = _Fingerprints(self._settings, self._clock, span)
        try:
            for rows in self._rows(span):
                seen.add(rows)
                yield from rows.to_batches()
        except OpenOrder as error:
            raise SourceError(
                f"{self._source.title}: {error.message}",
                f"Set `order` in the mapping of the log source {self._source.name}.",
            ) from error
        except TippersError as error:
            raise SourceError(f"The log cannot be read: {error.message}", error.hint) from error
        self._observed |= seen.by_chunk()

    def _rows(self, span: Span) -> Iterator[pa.Table]:
        mapping = self._source.mapping
        where = rows_within(self._settings, self._source, span)
        sightings = Sightings() if mapping.seen else None
        with open_table(self._settings, self._source, where) as table:
            for part in read_rows(table, mapping):
                rows, rejected = self._normalised(part)
                if sightings is None:
                    yield self._stored(session_rows(self._clock, rows, mapping.open_hours))
                else:
                    sightings.add(rows)
                if rejected.num_rows:
                    yield rejected
        if sightings is not None:
            chained = sightings.chained(self._settings.observation_gap_seconds)
            for rows in chained.parts():
                yield self._stored(session_rows(self._clock, rows))

    def _normalised(self, part: LogRows) -> tuple[pa.Table, pa.Table]:
        """The usable rows in one form, and the others."""
        rows, checks = usable_rows(part, self._meaning, self._places.find)
        raw = part.columns.filter(pa.array(~checks.good))
        return rows, self._rejected(raw, checks.reasons())

    def _rejected(self, raw: pa.Table, reasons: pa.Array) -> pa.Table:
        """Rows that cannot be used, with what is known of them; user names are left out."""
        nulls = pa.nulls(raw.num_rows, pa.string())

        def text(*roles: str) -> pa.Array:
            for role in roles:
                if role in raw.column_names:
                    return storable(raw[role]).combine_chunks()
            return nulls

        found = {
            "mac_address": text("device"),
            "sensor_id": text("access_point"),
            "space_id": text("space"),
            "start_time": local_times(self._clock, self._times(raw, "start", "seen")),
            "end_time": local_times(self._clock, self._times(raw, "end", "updated")),
            REASON: reasons,
            ROW: as_json(kept_columns(raw, self._source.mapping)).combine_chunks(),
        }
        nothing = pa.nulls(raw.num_rows)
        return pa.table([found.get(n, nothing) for n in SCHEMA.names], SCHEMA.names).cast(SCHEMA)

    def _times(self, raw: pa.Table, *roles: str) -> pa.Array:
        """UTC microseconds of the first of these roles in unusable rows; null where not known."""
        meaning = self._meaning
        for role in roles:
            if role in raw.column_names:
                name = meaning.name(role)
                found = instants(raw[role], meaning.clock, meaning.order, name, meaning.plausible)
                return pa.array(found.us, mask=~found.given)
        return pa.nulls(raw.num_rows, pa.int64())

    @staticmethod
    def _stored(rows: pa.Table) -> pa.Table:
        for name in (REASON, ROW):
            rows = rows.append_column(name, pa.nulls(rows.num_rows, pa.string()))
        return rows.cast(SCHEMA)


SCHEMA = pa.schema(
    {
        **{n: pa.timestamp("us") if n.endswith("_time") else pa.string() for n in SESSION_COLUMNS},
        **EXACT,
        REASON: pa.string(),
        ROW: pa.string(),
    }
)
"""The columns of sessions."""


class _Fingerprints:
    """Fingerprints of the chunks of a span, as sums over the rows that touch each."""

    def __init__(self, settings: Settings, clock: LocalClock, span: Span) -> None:
        self._open = settings.open_session_seconds
        self._chunks = chunk_keys(*span, settings.chunk)
        self._boundaries = clock.chunk_boundaries(self._chunks, settings.chunk) * MICRO
        self._prints = np.zeros(len(self._chunks), np.uint64)
        self._rows = np.zeros(len(self._chunks), np.int64)

    def add(self, rows: pa.Table) -> None:
        """Add rows, as ``MappedSnapshot.sessions`` gives them."""
        columns = {name: rows[name].combine_chunks() for name in rows.column_names}
        texts = ("mac_address", "sensor_id", "space_id", "session_id", REASON)
        hashes = [of_column(columns[name]) for name in texts]
        times = [_micros(columns[name]) for name in ("started_at", "ended_at", "last_seen")]
        person = pc.fill_null(columns[PERSON], 0).to_numpy()
        prints = mix(*hashes, *times, person)
        kept = of_column(columns[KEPT])
        # So that rows of which nothing is kept have the same fingerprints as before.
        prints = np.where(kept > 0, mix(prints, kept), prints) if kept.any() else prints
        start = np.where(times[0] != 0, times[0], _micros(columns["start_time"]))
        reach = np.maximum(np.maximum(times[1], times[2]), start + (self._open + 1) * MICRO)
        first = np.searchsorted(self._boundaries, start, side="right") - 1
        last = np.searchsorted(self._boundaries, reach, side="left") - 1
        n = len(self._chunks)
        touching = (last >= 0) & (first < n)
        low, high = np.maximum(first[touching], 0), np.minimum(last[touching], n - 1)
        self._prints += _over_ranges(low, high, prints[touching], n)
        self._rows += _over_ranges(low, high, np.ones(low.size, np.int64), n)

    def by_chunk(self) -> dict[str, Observed]:
        """What was added."""
        sums = zip(self._rows.tolist(), self._prints.tolist(), strict=True)
        return {c: Observed.of(*sum_) for c, sum_ in zip(self._chunks, sums, strict=True)}


def _over_ranges(low: np.ndarray, high: np.ndarray, values: np.ndarray, n: int) -> np.ndarray:
    """The sum of values per place, each counted at all places from low to high."""
    change = np.zeros(n + 1, values.dtype)
    np.add.at(change, low, values)
    np.subtract.at(change, high + 1, values)
    return np.cumsum(change)[:-1]


def _micros(times: pa.Array) -> np.ndarray:
    found: np.ndarray = pc.fill_null(times.cast(pa.int64()), 0).to_numpy()
    return found


# --- which rows -----------------------------------------------------------------------------
def rows_within(settings: Settings, source: LogTable, span: Span) -> sa.ColumnElement[bool] | None:
    """The rows that may touch a span, by a column of times that an index can serve; and those
    without a time, which are rejected.

    None where all rows have to be read: the times are text, or in several columns.
    """
    column = searched_column(source)
    if column is None:
        return None
    longest = max(settings.longest_session_seconds, settings.open_session_seconds)
    gap = settings.observation_gap_seconds if source.mapping.seen else 0
    before = dt.timedelta(seconds=longest + gap) + _DAY
    after = dt.timedelta(seconds=gap) + _DAY
    if not (source.mapping.start or source.mapping.seen):  # by their ends
        before, after = _DAY, dt.timedelta(seconds=longest) + _DAY
    midnight = dt.time(tzinfo=dt.UTC)
    # A day more on both sides covers every zone.
    since, until = (dt.datetime.combine(date, midnight) for date in span)
    since, until = since - before, until + after
    if isinstance(column.type, sa.DateTime | sa.Date):
        zoned = _is_zoned(column)
        low, high = (t if zoned else t.replace(tzinfo=None) for t in (since, until))
        if isinstance(column.type, mysql.TIMESTAMP):
            low, high = (t.replace(tzinfo=None) for t in (since, until))
        within = sa.and_(column >= low, column < high)
        none = _FIRST_DAY if zoned else _FIRST_DAY.replace(tzinfo=None)
        return sa.or_(within, column.is_(None), column < none)
    low_s, high_s = int(since.timestamp()), int(until.timestamp())
    ranges = (sa.and_(column >= low_s * unit, column < high_s * unit) for unit in _EPOCH_UNITS)
    return sa.or_(*ranges, column.is_(None), column <= 0)


def searched_column(source: LogTable) -> sa.Column | None:
    """The column of times by which rows of a span are found; it should have an index."""
    mapping = source.mapping
    role = "start" if mapping.start else "seen" if mapping.seen else "end"
    column = source.column(role)
    if column is None:
        return None
    is_time = isinstance(column.type, sa.DateTime | sa.Date) or _is_zoned(column)
    if source.place.body.dialect == "sqlite":  # which keeps times as any text
        is_time = False
    is_number = isinstance(column.type, sa.Integer | sa.Float | sa.Numeric)
    return column if is_time or is_number else None


def _is_zoned(column: sa.Column) -> bool:
    kind = column.type
    return bool(getattr(kind, "timezone", False)) or kind.__visit_name__ == "DATETIMEOFFSET"
