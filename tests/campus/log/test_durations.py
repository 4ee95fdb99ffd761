"""Durations in every spelling."""

from __future__ import annotations

import datetime as dt
import decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tippers_dagster.campus.log.durations import UNITS, DurationUnit, durations
from tippers_dagster.errors import BadInput

UNREADABLE, MISSING = "unreadable", None


def read(*values: object, unit: DurationUnit = "s", kind: object = None) -> list[object]:
    """Seconds, or what else each value is."""
    column = pa.chunked_array([pa.array(values, kind)])
    us, missing, unreadable = durations(column, unit, "d")
    return [
        MISSING if none else UNREADABLE if bad else length / 10**6
        for length, none, bad in zip(us.tolist(), missing, unreadable, strict=True)
    ]


def test_durations_of_text() -> None:
    assert read("1800", " 0 ", "1.5", "90.0000019", "00:30:00", "26:03:04") == [
        1800, 0, 1.5, 90.000001, 1800, 93784,
    ]  # fmt: skip
    assert read("1 day, 2:03:04.5", "2 days 00:00:01") == [93784.5, 172801]
    assert read("", None, "-", "N/A", " ") == [MISSING] * 5
    assert read("-5", "x", "00:61:00", "12:30", "1e3", "9" * 19, "1 day") == [UNREADABLE] * 7


def test_units_of_numbers() -> None:
    assert read("1500", "00:00:02", unit="ms") == [1.5, 2]
    assert read("1.5", "00:00:02", unit="min") == [90, 2]
    assert read("90", "00:00:02", unit="hh:mm:ss") == [UNREADABLE, 2]
    assert read(1500, None, unit="ms") == [1.5, MISSING]
    assert read(1.5, float("nan"), None, -1.0, float("inf"), unit="min")[:4] == [
        90, MISSING, MISSING, UNREADABLE,
    ]  # fmt: skip
    assert read(decimal.Decimal("1.25"), None, unit="min") == [75, MISSING]


def test_other_types() -> None:
    spans = [dt.timedelta(seconds=90), None, dt.timedelta(seconds=-1)]
    for unit in ("s", "ms", "us", "ns"):
        assert read(*spans, kind=pa.duration(unit)) == [90, MISSING, UNREADABLE]
    assert read("90", None, "90", kind=pa.dictionary(pa.int32(), pa.string())) == [90, MISSING, 90]
    assert read(kind=pa.string()) == []
    with pytest.raises(BadInput, match="Column d is of type bool"):
        read(True)


@given(
    st.lists(st.tuples(st.timedeltas(dt.timedelta(0), dt.timedelta(days=90)), st.integers(0, 4))),
)
def test_written_durations_come_back_to_the_microsecond(
    written: list[tuple[dt.timedelta, int]],
) -> None:
    for unit, per in list(UNITS.items())[:2]:
        texts = []
        for length, how in written:
            us = length // dt.timedelta(microseconds=1)
            minutes, rest = divmod(us, 60_000_000)
            clock = f"{minutes // 60:02}:{minutes % 60:02}:{rest // 10**6:02}.{rest % 10**6:06}"
            number = f"{decimal.Decimal(us) / per:f}"
            texts.append([number, clock, str(length), f" {clock}0", number][how])
        column = pa.chunked_array([pa.array(texts, pa.string())])
        us, missing, unreadable = durations(column, unit, "d")  # type: ignore[arg-type]
        assert us.tolist() == [length // dt.timedelta(microseconds=1) for length, _ in written]
        assert not missing.any()
        assert not unreadable.any()
