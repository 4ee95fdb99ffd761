"""From text to typed columns, and the reason of every row that cannot be used. Vectorised."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tippers_dagster.campus.local_time import LocalClock
from tippers_dagster.errors import BadInput
from tippers_dagster.settings import Settings

Mask = NDArray[np.bool_]

MAX_TEXT = 500
"""Longest text, in bytes: PostgreSQL cannot index values of more than some 2,700."""

NO_DEVICE = "no device"
NO_SPACE = "no space id"
NO_ACCESS_POINT = "no access point"
END_BEFORE_START = "end before start"

_HOUR_US = 3_600_000_000
_ZONE = r"[ T]\d{2}(:\d{2})*(\.\d+)?\s*(Z|z|[+-]\d{2}(:?\d{2})?|UTC|GMT)$"
_LOCAL_TIME = (
    r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
    r"([ T]([01]\d|2[0-3])(:[0-5]\d(:[0-5]\d(\.\d{1,6})?)?)?)?$"
)
_MONTH_DAYS = np.array([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])


class Checks:
    """Which rows of a batch cannot be used, and why; a row's first reason counts."""

    def __init__(self, rows: int) -> None:
        self._reasons: list[str] = []
        self._code = np.full(rows, -1, np.int32)

    @property
    def good(self) -> Mask:
        """The rows without a reason."""
        return self._code < 0

    def reject(self, rows: Mask, reason: str) -> None:
        """Give ``rows`` (bool per row) a reason, where they have none yet."""
        self.reject_each(rows, np.zeros(len(rows), np.int64), [reason])

    def reject_each(self, rows: Mask, which: NDArray[np.integer], reasons: list[str]) -> None:
        """As ``reject``, where row ``i`` has the reason ``reasons[which[i]]``."""
        fresh = rows & self.good
        if fresh.any():
            self._code[fresh] = len(self._reasons) + which[fresh]
            self._reasons += reasons

    def reasons(self) -> pa.Array:
        """The reason of every row that is not good, in order."""
        return pa.array(self._reasons, pa.string()).take(pa.array(self._code[~self.good]))

    def counts(self) -> dict[str, int]:
        """Rejected rows by reason."""
        numbers = np.bincount(self._code[~self.good], minlength=len(self._reasons))
        counts: dict[str, int] = {}
        for reason, number in zip(self._reasons, numbers.tolist(), strict=True):
            if number:
                counts[reason] = counts.get(reason, 0) + number
        return counts


def text(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """A column as text, without blanks around; blank is null.

    Whole numbers become their digits, also where a writer made them floats because some are
    missing (``12.0`` is ``12``).

    Raises
    ------
    BadInput
        When the column's type is no text and no whole number.
    """
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    try:
        if pa.types.is_floating(kind):
            column = column.cast(pa.int64())
        elif not (_is_text(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind)):
            raise BadInput(f"Column {name} is of type {kind}; text or whole numbers are expected.")
        column = pc.utf8_trim_whitespace(column.cast(pa.string()))
    except pa.ArrowInvalid as error:
        raise BadInput(f"Column {name} cannot be read as text: {error}") from error
    blank = pc.equal(column, "")
    if pc.any(blank).as_py():
        column = pc.if_else(blank, pa.scalar(None, pa.string()), column)
    return column


def is_null(column: pa.ChunkedArray) -> Mask:
    """Missing rows, one bool each."""
    return pc.is_null(column).to_numpy()


def check_text(checks: Checks, column: pa.ChunkedArray, name: str) -> None:
    """Reject text that PostgreSQL cannot keep or index: NUL characters, great length."""
    longest = pc.max(pc.binary_length(column)).as_py() or 0
    if longest > MAX_TEXT:
        long = pc.fill_null(pc.greater(pc.binary_length(column), MAX_TEXT), False).to_numpy()
        checks.reject(long, f"{name} is longer than {MAX_TEXT} bytes")
    # One look at the bytes is far cheaper than a search per value.
    data = [chunk.buffers()[2] for chunk in column.chunks]
    if not all(np.frombuffer(buffer, np.uint8).all() for buffer in data if buffer):
        nul = pc.fill_null(pc.match_substring(column, "\0"), False).to_numpy()
        checks.reject(nul, f"{name} has a NUL character")


def local_times(checks: Checks, column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """A column as local times (``timestamp[us]``), null where it is missing or unreadable.

    Read are ISO 8601 dates with or without a time, ``T`` or a space between them; minutes, seconds
    and their fraction are optional, and what is finer than a microsecond is cut off. A
    time with a zone or an offset is rejected and not converted: the source's times are local,
    and which zone was meant would be a guess.

    Raises
    ------
    BadInput
        When a Parquet column is of a type that is no text, date or time without a zone.
    """
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_timestamp(kind):
        if kind.tz is not None:
            raise BadInput(
                f"Column {name} has the time zone {kind.tz}.",
                "Local times without a zone are expected: convert them before.",
            )
        return column.cast(pa.timestamp("us"), safe=False)
    if pa.types.is_date(kind):
        return column.cast(pa.timestamp("us"))
    if not (_is_text(kind) or pa.types.is_null(kind)):
        raise BadInput(f"Column {name} is of type {kind}; times or text are expected.")
    values = text(column, name)
    try:
        return values.cast(pa.timestamp("us"))
    except pa.ArrowInvalid:
        return _some_local_times(checks, values, name)


def check_plausible(
    checks: Checks, times: pa.ChunkedArray, name: str, limits: tuple[dt.datetime, dt.datetime]
) -> None:
    """Reject times outside [first, second)."""
    micros = microseconds(times)
    first, second = (np.datetime64(limit, "us").astype(np.int64) for limit in limits)
    outside = ((micros < first) | (micros >= second)) & ~is_null(times)
    checks.reject(
        outside, f"{name} outside the plausible range {limits[0]:%Y-%m-%d} to {limits[1]:%Y-%m-%d}"
    )


def check_length(
    checks: Checks, start: pa.ChunkedArray, end: pa.ChunkedArray, settings: Settings
) -> None:
    """Reject sessions that end before they start, or that last too long to be true.

    In the hour that happens twice when daylight saving ends, a local end before the local start
    is right when the end is meant the second time.
    """
    closed = ~is_null(start) & ~is_null(end)
    start_us, end_us = microseconds(start), microseconds(end)
    backwards = closed & (end_us < start_us)
    candidates = np.flatnonzero(backwards & (start_us - end_us <= _HOUR_US))
    if candidates.size:
        clock = LocalClock(settings.timezone)
        begin, finish = clock.session_bounds(start_us[candidates], end_us[candidates])
        backwards[candidates[finish > begin]] = False
    checks.reject(backwards, END_BEFORE_START)
    limit = settings.longest_session_seconds
    checks.reject(closed & (end_us - start_us > limit * 1_000_000), f"longer than {limit} s")


def moved(
    theirs: LocalClock, ours: LocalClock, start: pa.ChunkedArray, end: pa.ChunkedArray
) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """Convert starts and ends (``timestamp[us]``) from one local clock to another.

    A time that occurs twice is the first one, unless the end would then precede the start.
    """
    begin, finish = theirs.to_utc(microseconds(start)), theirs.to_utc(microseconds(end))
    early = np.flatnonzero(finish < begin)
    finish[early] = np.maximum(finish[early], theirs.to_utc(microseconds(end)[early], fold=1))
    return _times(ours.to_local(begin), start), _times(ours.to_local(finish), end)


def _times(local: NDArray[np.int64], like: pa.ChunkedArray) -> pa.ChunkedArray:
    """Local microseconds as times, null where ``like`` is."""
    times = pa.array(local, mask=is_null(like)).cast(pa.timestamp("us"))
    return pa.chunked_array([times])


def microseconds(times: pa.ChunkedArray) -> NDArray[np.int64]:
    """``timestamp[us]`` as int64 microseconds since 1970-01-01 00:00; 0 where null."""
    return pc.fill_null(times.cast(pa.int64()), 0).to_numpy()


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _some_local_times(checks: Checks, values: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """Times of a batch of which not all can be read."""
    values = pc.replace_substring_regex(values, r"(\.\d{6})\d{1,3}$", r"\1")
    zoned = pc.match_substring_regex(values, _ZONE)
    readable = pc.and_(pc.match_substring_regex(values, _LOCAL_TIME), _is_date(values))
    none = is_null(values)
    checks.reject(
        ~none & pc.fill_null(zoned, False).to_numpy() & ~_true(readable),
        f"{name} has a time zone; local times without one are expected",
    )
    checks.reject(
        ~none & ~_true(readable),
        f"{name} cannot be read as a local time, YYYY-MM-DD HH:MM:SS",
    )
    kept = pc.if_else(readable, values, pa.scalar(None, pa.string()))
    return kept.cast(pa.timestamp("us"))


def _true(column: pa.ChunkedArray) -> Mask:
    return pc.fill_null(column, False).to_numpy()


def _is_date(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Whether values that match ``_LOCAL_TIME`` are on a day that their month has."""
    shaped = pc.match_substring_regex(values, _LOCAL_TIME)
    dates = pc.utf8_slice_codeunits(
        pc.if_else(pc.fill_null(shaped, False), values, "2000-01-01"), 0, 10
    )
    year, month, day = (
        pc.utf8_slice_codeunits(dates, a, b).cast(pa.int32()).to_numpy()
        for a, b in ((0, 4), (5, 7), (8, 10))
    )
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    last = _MONTH_DAYS[month - 1] + (leap & (month == 2))
    return pa.chunked_array([pa.array(day <= last)])
