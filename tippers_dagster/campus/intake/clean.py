"""Local times of files, and which of them cannot be used. Vectorised."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tippers_dagster.campus.log.checks import Checks, Mask
from tippers_dagster.campus.log.texts import is_null, is_text, text
from tippers_dagster.errors import BadInput

_ZONE = r"[ T]\d{2}(:\d{2})*(\.\d+)?\s*(Z|z|[+-]\d{2}(:?\d{2})?|UTC|GMT)$"
_LOCAL_TIME = (
    r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
    r"([ T]([01]\d|2[0-3])(:[0-5]\d(:[0-5]\d(\.\d{1,6})?)?)?)?$"
)
_MONTH_DAYS = np.array([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])


def local_times(checks: Checks, column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """A column as local times (``timestamp[us]``), null if missing or unreadable.

    Accepts ISO 8601 dates with an optional time, after ``T`` or a space; minutes, seconds and
    fractions are optional, and digits beyond microseconds are cut off. Times with a zone or an
    offset are rejected, not converted: the source's times are local, so the intended zone is
    unknown.

    Raises
    ------
    BadInput
        When a Parquet column contains neither text, dates, nor times without a zone.
    """
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_timestamp(kind):
        if kind.tz is not None:
            raise BadInput(
                f"Column {name} has the time zone {kind.tz}.",
                "Convert them to local times without a zone.",
            )
        return column.cast(pa.timestamp("us"), safe=False)
    if pa.types.is_date(kind):
        return column.cast(pa.timestamp("us"))
    if not (is_text(kind) or pa.types.is_null(kind)):
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
        outside,
        f"{name} is outside the plausible range {limits[0]:%Y-%m-%d} to {limits[1]:%Y-%m-%d}",
    )


def microseconds(times: pa.ChunkedArray) -> NDArray[np.int64]:
    """``timestamp[us]`` as int64 microseconds since 1970-01-01 00:00; 0 for null."""
    return pc.fill_null(times.cast(pa.int64()), 0).to_numpy()


def _some_local_times(checks: Checks, values: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """The times of a batch in which some cannot be read."""
    values = pc.replace_substring_regex(values, r"(\.\d{6})\d{1,3}$", r"\1")
    zoned = pc.match_substring_regex(values, _ZONE)
    readable = pc.and_(pc.match_substring_regex(values, _LOCAL_TIME), _is_date(values))
    missing = is_null(values)
    checks.reject(
        ~missing & pc.fill_null(zoned, False).to_numpy() & ~_true(readable),
        f"{name} has a time zone; expected a local time without one",
    )
    checks.reject(~missing & ~_true(readable), f"{name} is not a local time YYYY-MM-DD HH:MM:SS")
    kept = pc.if_else(readable, values, pa.scalar(None, pa.string()))
    return kept.cast(pa.timestamp("us"))


def _true(column: pa.ChunkedArray) -> Mask:
    return pc.fill_null(column, False).to_numpy()


def _is_date(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Whether the day of values that match ``_LOCAL_TIME`` exists in their month."""
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
