"""Local times of files."""

import datetime as dt

import pyarrow as pa
import pytest

from tippers_dagster.campus.intake import clean
from tippers_dagster.campus.log.checks import Checks
from tippers_dagster.errors import BadInput

ZONED = "t has a time zone; expected a local time without one"
UNREADABLE = "t is not a local time YYYY-MM-DD HH:MM:SS"


def _column(*values: object) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values)])


def _times(*values: str | None) -> tuple[list[dt.datetime | None], dict[str, int]]:
    checks = Checks(len(values))
    times = clean.local_times(checks, _column(*values), "t")
    return times.to_pylist(), checks.counts()


def test_readable_times_are_read_beside_unreadable_ones() -> None:
    readable = {
        "2020-01-06": dt.datetime(2020, 1, 6),
        "2020-01-06 05": dt.datetime(2020, 1, 6, 5),
        "2020-01-06 05:19": dt.datetime(2020, 1, 6, 5, 19),
        " 2020-01-06T05:19:40 ": dt.datetime(2020, 1, 6, 5, 19, 40),
        "2020-02-29 23:59:59.123456": dt.datetime(2020, 2, 29, 23, 59, 59, 123456),
        "2020-01-06 05:19:40.5": dt.datetime(2020, 1, 6, 5, 19, 40, 500000),
    }
    assert _times(*readable) == (list(readable.values()), {})
    mixed = [*readable, "nonsense"]
    assert _times(*mixed) == ([*readable.values(), None], {UNREADABLE: 1})


def test_digits_beyond_microseconds_are_cut() -> None:
    assert _times("2020-01-06 05:19:40.123456789")[0] == [
        dt.datetime(2020, 1, 6, 5, 19, 40, 123456)
    ]


@pytest.mark.parametrize(
    "value",
    ["2020-01-06T05:19:40Z", "2020-01-06 05:19:40+00", "2020-01-06 05:19:40.5 -08:00",
     "2020-01-06 05:19:40 UTC"],
)  # fmt: skip
def test_times_with_a_zone_are_rejected(value: str) -> None:
    assert _times(value, "2020-01-06", None)[1] == {ZONED: 1}


@pytest.mark.parametrize(
    "value",
    ["2020-02-30", "2021-02-29", "1900-02-29", "2020-13-01", "2020-1-6", "06/01/2020", "20200106",
     "2020-01-06 24:00:00", "2020-01-06 05:60", "1578316780", "99999999999999999999", "é\0漢",
     "2020-04-31 10:00", "x" * 1_000_000],
)  # fmt: skip
def test_unreadable_times(value: str) -> None:
    times, counts = _times("2020-01-06", value)
    assert times == [dt.datetime(2020, 1, 6), None]
    assert counts == {UNREADABLE: 1}


def test_parquet_times() -> None:
    moment = dt.datetime(2020, 1, 6, 5, 19, 40)
    for kind in (pa.timestamp("ns"), pa.timestamp("s"), pa.timestamp("us")):
        column = pa.chunked_array([pa.array([moment, None], kind)])
        assert clean.local_times(Checks(2), column, "t").to_pylist() == [moment, None]
    day = pa.chunked_array([pa.array([moment.date()])])
    assert clean.local_times(Checks(1), day, "t").to_pylist() == [dt.datetime(2020, 1, 6)]
    zoned = pa.chunked_array([pa.array([moment], pa.timestamp("us", "UTC"))])
    with pytest.raises(BadInput, match="has the time zone UTC"):
        clean.local_times(Checks(1), zoned, "t")
    with pytest.raises(BadInput, match="of type int64"):
        clean.local_times(Checks(1), _column(5), "t")
