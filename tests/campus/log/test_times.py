"""Times in every spelling, compared with what the standard library makes of them."""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Callable
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tippers_dagster.campus.intake import clean
from tippers_dagster.campus.local_time import LocalClock
from tippers_dagster.campus.log.checks import Checks
from tippers_dagster.campus.log.times import (
    AMBIGUOUS_ORDER,
    DAY_FIRST,
    GIVEN,
    IMPLAUSIBLE,
    MISSING,
    MONTH_FIRST,
    NOT_ENDED,
    OTHER_ZONE,
    STATES,
    UNREADABLE,
    Order,
    OrderEvidence,
    Times,
    instants,
    order_evidence,
    second_occurrence,
)
from tippers_dagster.errors import BadInput

LA = LocalClock("America/Los_Angeles")
PLAUSIBLE = (dt.datetime(2010, 1, 1), dt.datetime(2026, 12, 1))
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
NINE = dt.datetime(2025, 1, 7, 17, tzinfo=dt.UTC)
"""9:00 in Los Angeles."""


def micros(moment: dt.datetime) -> int:
    return (moment - EPOCH) // dt.timedelta(microseconds=1)


def read(
    *values: object, order: Order | None = None, clock: LocalClock = LA, kind: object = None
) -> Times:
    return instants(pa.array(values, kind), clock, order, "t", PLAUSIBLE)


def states(*values: object) -> list[str]:
    return [STATES[code] for code in read(*values).state]


# --- spellings ------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "spelled",
    [
        "2025-01-07T17:00:00Z",
        "2025-01-07 09:00:00-08",
        "2025-01-07T09:00:00.000-0800",
        "2025-01-07t17:00z",
        "2025-01-07 17:00:00 UTC",
        "2025-01-07 22:30:00.0 +05:30",
        "2025-01-07 18:00:00 UTC+01:00",
        "2025-01-07T09:00-08:00[America/Los_Angeles]",
        "2025-01-07 09:00 America/Los_Angeles",
        "2025-01-07 09:00:00 PST",
        "2025-01-07 09:00:00 pst",
        "1736269200",
        "1736269200.0",
        "+1736269200",
        "1736269200000",
        "1736269200000000",
        "1736269200000000000",
        "Tue Jan 07 09:00:00 PST 2025",
        "Tue Jan  7 09:00:00 2025",
        "Tue  7 Jan 09:00:00 PST 2025",
        "Tue Jan  7 09:00:00 AM PST 2025",
        "Tue, 07 Jan 2025 17:00:00 GMT",
        "Tue Jan 07 2025 09:00:00 GMT-0800 (Pacific Standard Time)",
        "20250107T090000",
        "20250107T170000Z",
        "20250107T0900",
        "20250107 090000.000",
        "20250107090000",
        "2025/01/07 09:00:00",
        "2025/1/7 9:00",
        "2025.01.07 09:00:00",
        "2025-01-07 9:00:00",
        "2025-01-07 09:00:00,000",
        "2025-01-07 09",
        "  2025-01-07\t09:00 ",
        "2025-01-07\u00a009:00:00",
        "2025-01-07 09:00:00 \u221208:00",
        "07-Jan-2025 09:00:00",
        "7 January 2025 09:00",
        "7th Jan. 2025, 9:00 am",
        "07-JAN-25 09.00.00.000000 AM",
        "07/Jan/2025:09:00:00 -0800",
        "2025-Jan-07 09:00:00",
        "Jan 7, 2025 9:00:00 AM",
        "Jan  7 2025  9:00AM",
        "January 7, 2025 at 9:00\u202fAM",
        "Tuesday, January 7, 2025, 9:00 a.m.",
        "Tue 2025-01-07 09:00:00 PST",
        "Jan 7, 2025 9 AM",
    ],
)
def test_every_spelling_is_the_same_instant(spelled: str) -> None:
    found = read(spelled)
    assert (found.us[0], STATES[found.state[0]]) == (micros(NINE), "given")


@pytest.mark.parametrize(
    ("spelled", "local"),
    [
        ("2025-01-07", dt.datetime(2025, 1, 7)),
        ("20250107", dt.datetime(2025, 1, 7)),
        ("2025-01-07 24:00", dt.datetime(2025, 1, 8)),
        ("Jan 7, 2025 12:30 AM", dt.datetime(2025, 1, 7, 0, 30)),
        ("Jan 7, 2025 12:30 PM", dt.datetime(2025, 1, 7, 12, 30)),
        ("Jan 7, 2025 11:30:05.25 PM", dt.datetime(2025, 1, 7, 23, 30, 5, 250_000)),
        ("2024-02-29 23:59:59.9999999", dt.datetime(2024, 2, 29, 23, 59, 59, 999_999)),
        ("13/01/2025 08:00", dt.datetime(2025, 1, 13, 8)),
        ("01/13/2025 8:00 PM", dt.datetime(2025, 1, 13, 20)),
        ("01.01.2025 00:15", dt.datetime(2025, 1, 1, 0, 15)),
    ],
)
def test_local_times(spelled: str, local: dt.datetime) -> None:
    expected = micros(local.replace(tzinfo=ZoneInfo(LA.timezone)))
    found = read(spelled)
    assert (found.us.tolist(), found.local.tolist()) == ([expected], [True])


@pytest.mark.parametrize(
    "value",
    ["2025-02-29", "2025-13-01", "2025-01-00", "2025-01-07 24:01", "2025-01-07 09:60",
     "2025-01-07 09:00:60", "2025-01-07 9", "25-01-07 09:00", "13/13/2025", "13:00",
     "Jan 7 09:00:00", "Jan 7, 2025 13:00 PM", "Jan 7, 2025 0:30 AM", "Foo 7, 2025",
     "2025-01-07 09:00+19:00", "2025-01-07 09:00+01:75", "1.7E+09", "1736269200,5",
     "12345678901234567890", "nonsense", "é\0漢", "1/7/2025/3", "2025-01-07 09:00:00 -08 -08",
     "x" * 1_000_000, "0" * 40, "(", "2025-01/07"],
)  # fmt: skip
def test_unreadable(value: str) -> None:
    assert states(value, "2025-01-07", None) == ["not a time", "given", "missing"]


@pytest.mark.parametrize("value", ["", "  ", "\t", "\u00a0", None])
def test_missing(value: str | None) -> None:
    found = read(value, "1736269200")
    assert found.state.tolist() == [MISSING, GIVEN]
    assert found.us.tolist() == [0, micros(NINE)]


@pytest.mark.parametrize(
    "value",
    ["0000-00-00 00:00:00", "0000-00-00", "00/00/0000 00:00", "0001-01-01T00:00:00Z", "0", "0.0",
     "-1", "1970-01-01 00:00:00", "1970-01-01", "1970-01-01T00:00:00Z", "1970-01-01 01:00:00+01",
     "1969-12-31 16:00:00", "Thu Jan  1 00:00:00 1970", "1900-01-01", "1601-01-01 00:00",
     "1899-12-30", "9999-12-31 23:59:59", "9999-12-31T23:59:59.9999999Z", "253402300799",
     "2038-01-19 03:14:07", "2147483647", "4294967295", "2100-01-01", "4102444800000",
     "2028-06-01 00:00", "None", "NaT", "nan", "NULL", "infinity", "-infinity", "-", "--", "N/A",
     "Online", " Still online ", "ACTIVE", r"\N"],
)  # fmt: skip
def test_what_says_that_a_session_has_not_ended(value: str) -> None:
    assert states(value) == ["not ended"]


@pytest.mark.parametrize(
    "value",
    ["07-Jan-85", "2009-12-31 23:59:59", "2026-12-01", "2027-06-01", "1800", "86399",
     "-86400", "1985-05-05", "20250107", "12"],
)  # fmt: skip
def test_implausible(value: str) -> None:
    expected = "given" if value == "20250107" else "implausible"
    assert states(value) == [expected]
    assert states(f"{value} ") == [expected]


def test_these_are_no_times_however_wide_the_plausible_range_is() -> None:
    texts = ["1970-01-01", "0", "2038-01-19 03:14:07", "2147483647", "2038-01-18 19:14:07",
             "2100-01-01", "2100-01-01T00:00:00Z", "9999-12-31"]  # fmt: skip
    wide = (dt.datetime(1960, 1, 1), dt.datetime(9999, 12, 31))
    found = instants(pa.array([*texts, "2037-01-01", "1985-05-05"]), LA, None, "t", wide)
    assert found.state.tolist() == [NOT_ENDED] * len(texts) + [GIVEN] * 2


def test_sentinels_of_typed_columns() -> None:
    far, epoch = dt.datetime(9999, 12, 31), dt.datetime(1970, 1, 1)
    for kind in (pa.timestamp("s"), pa.timestamp("us", "UTC"), pa.timestamp("ms"), pa.date32()):
        assert read(far, epoch, None, kind=kind).state.tolist() == [NOT_ENDED, NOT_ENDED, MISSING]
    extremes = pa.array([2**63 - 1, -(2**63), None]).cast(pa.timestamp("us"))
    for unit in ("s", "us", "ns"):
        column = extremes.cast(pa.int64()).cast(pa.timestamp(unit))
        found = instants(column, LA, None, "t", PLAUSIBLE).state.tolist()
        assert found[0] in (NOT_ENDED, IMPLAUSIBLE)  # 2262-04-11 if in nanoseconds
        assert found[1:] == [IMPLAUSIBLE if unit == "ns" else NOT_ENDED, MISSING]
    assert read(0, -1, 1800, 2**31 - 1, None).state.tolist() == [
        NOT_ENDED, NOT_ENDED, IMPLAUSIBLE, NOT_ENDED, MISSING,
    ]  # fmt: skip
    assert read(0.0, float("nan"), float("inf")).state.tolist() == [NOT_ENDED, MISSING, NOT_ENDED]


# --- zones ----------------------------------------------------------------------------------
def test_abbreviations_count_only_where_the_clock_uses_them() -> None:
    values = ("2025-07-07 09:00 PDT", "2025-07-07 09:00 PST", "2025-07-07 09:00 CEST", "9:00 BST")
    assert states(*values) == ["given", STATES[OTHER_ZONE], STATES[OTHER_ZONE], "not a time"]
    berlin = LocalClock("Europe/Berlin")
    assert read(values[2], clock=berlin).us.tolist() == [micros(NINE.replace(month=7, hour=7))]


def test_an_abbreviation_is_not_another_one_with_the_same_offset() -> None:
    moscow = LocalClock("Europe/Moscow")
    values = [f"{year}-07-01 12:00 {name}" for year in (2010, 2012) for name in ("MSD", "MSK")]
    found = read(*values, clock=moscow)
    assert found.state.tolist() == [GIVEN, OTHER_ZONE, OTHER_ZONE, GIVEN]
    eight = [micros(dt.datetime(year, 7, 1, 8, tzinfo=dt.UTC)) for year in (2010, 2012)]
    assert found.us[[0, 3]].tolist() == eight


def test_the_hour_that_happens_twice() -> None:
    first, second = (dt.datetime(2024, 11, 3, hour, 30, tzinfo=dt.UTC) for hour in (8, 9))
    found = read(
        *("2024-11-03 01:30", "2024-11-03T08:30:00Z", "2024-11-03T09:30:00Z"),
        *("2024-11-03 01:30 PDT", "2024-11-03 01:30 PST", "2024-11-03 01:30-07"),
    )
    expected = [first, first, second, first, second, first]
    assert found.us.tolist() == [micros(moment) for moment in expected]
    later = second_occurrence(LA, found, np.arange(6))
    assert later.tolist() == [micros(second), *found.us[1:]]


ZONES = ("America/Los_Angeles", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kolkata",
         "America/St_Johns", "America/Havana", "Pacific/Apia", "UTC")  # fmt: skip
moments = st.datetimes(dt.datetime(2010, 1, 3), dt.datetime(2026, 11, 1))
near_changes = st.tuples(
    st.sampled_from(
        [dt.datetime(2024, 11, 3), dt.datetime(2025, 3, 30), dt.datetime(2011, 12, 30)]
    ),
    st.timedeltas(dt.timedelta(days=-2), dt.timedelta(days=9)),
).map(lambda pair: pair[0] + pair[1])
times_utc = (moments | near_changes).map(lambda moment: moment.replace(tzinfo=dt.UTC))

Writer = Callable[[dt.datetime], str]


def iso_offset(separator: str, colon: bool) -> Writer:
    def write(local: dt.datetime) -> str:
        text = local.isoformat(separator)
        return text if colon else text[:-3] + text[-2:]

    return write


def fractional(unit: int) -> Writer:
    """An epoch in units of so many nanoseconds, with a fraction if it has one."""

    def write(local: dt.datetime) -> str:
        value = decimal.Decimal(micros(local) * 1000) / unit
        return f"{value:f}"

    return write


EXACT: list[Writer] = [
    iso_offset("T", True),
    iso_offset(" ", False),
    lambda local: local.astimezone(dt.UTC).isoformat().replace("+00:00", "Z"),
    lambda local: local.strftime("%d/%b/%Y:%H:%M:%S.%f %z"),
    lambda local: local.strftime("%Y%m%dT%H%M%S,%f%z"),
    lambda local: local.strftime("%a %b %d %Y %H:%M:%S.%f GMT%z (Some Standard Time)"),
    *(fractional(unit) for unit in (1, 1000, 10**6, 10**9)),
]
LOCAL: list[Writer] = [
    lambda local: local.replace(tzinfo=None).isoformat(" "),
    lambda local: local.strftime("%Y%m%d%H%M%S.%f"),
    lambda local: local.strftime("%Y/%m/%d %H:%M:%S,%f"),
    lambda local: local.strftime("%d-%b-%y %I.%M.%S.%f %p"),
    lambda local: local.strftime("%B %d, %Y %I:%M:%S.%f %p"),
    lambda local: local.strftime("%a %b %e %H:%M:%S.%f %Y"),
]


@settings(deadline=None)
@given(st.sampled_from(ZONES), st.lists(st.tuples(times_utc, st.sampled_from(EXACT)), max_size=20))
def test_exact_spellings_come_back_to_the_microsecond(
    name: str, written: list[tuple[dt.datetime, Writer]]
) -> None:
    zone = ZoneInfo(name)
    texts = [write(moment.astimezone(zone)) for moment, write in written]
    found = instants(pa.array(texts, pa.string()), LocalClock(name), None, "t", PLAUSIBLE)
    assert found.state.tolist() == [GIVEN] * len(texts)
    assert found.us.tolist() == [micros(moment) for moment, _ in written]
    assert not found.local.any()


@settings(deadline=None)
@given(st.sampled_from(ZONES), st.lists(st.tuples(times_utc, st.sampled_from(LOCAL)), max_size=20))
def test_local_spellings_mean_what_zoneinfo_says(
    name: str, written: list[tuple[dt.datetime, Writer]]
) -> None:
    zone = ZoneInfo(name)
    local = [moment.astimezone(zone).replace(fold=0) for moment, _ in written]
    texts = [write(time) for time, (_, write) in zip(local, written, strict=True)]
    found = instants(pa.array(texts, pa.string()), LocalClock(name), None, "t", PLAUSIBLE)
    assert found.us.tolist() == [micros(time.astimezone(dt.UTC)) for time in local]
    assert found.local.all()
    second = [micros(time.replace(fold=1).astimezone(dt.UTC)) for time in local]
    assert second_occurrence(LocalClock(name), found, np.arange(len(texts))).tolist() == second


@settings(deadline=None)
@given(
    st.sampled_from(ZONES),
    st.lists(times_utc, max_size=10),
    st.sampled_from(["PST", "PDT", "CET", "CEST", "IST", "NST", "NDT", "CST", "CDT"]),
)
def test_abbreviations_mean_what_zoneinfo_says(
    name: str, moments: list[dt.datetime], other: str
) -> None:
    zone = ZoneInfo(name)
    own = [
        time for time in (m.astimezone(zone) for m in moments) if (time.tzname() or "").isalpha()
    ]
    texts = [time.strftime("%a %b %d %H:%M:%S %Z %Y") for time in own]
    found = instants(pa.array(texts, pa.string()), LocalClock(name), None, "t", PLAUSIBLE)
    assert found.us.tolist() == [micros(time.replace(microsecond=0)) for time in own]
    walls = [time.replace(tzinfo=None, microsecond=0) for time in own]
    for wall, us, state in _read_as(walls, other, name):
        meant = [
            time
            for fold in (0, 1)
            if (time := wall.replace(tzinfo=zone, fold=fold)).tzname() == other
            and time.astimezone(dt.UTC).astimezone(zone).replace(tzinfo=None) == wall
        ]
        assert (us, state) == ((micros(meant[0]), GIVEN) if meant else (0, OTHER_ZONE))


def _read_as(
    walls: list[dt.datetime], abbreviation: str, name: str
) -> list[tuple[dt.datetime, int, int]]:
    texts = pa.array([f"{wall} {abbreviation}" for wall in walls], pa.string())
    found = instants(texts, LocalClock(name), None, "t", PLAUSIBLE)
    return list(zip(walls, found.us.tolist(), found.state.tolist(), strict=True))


# --- day and month --------------------------------------------------------------------------
def test_the_order_of_day_and_month_is_never_guessed() -> None:
    assert states("01/07/2025 09:00", "13/07/2025", "7/7/2025") == [
        STATES[AMBIGUOUS_ORDER], "given", "given",
    ]  # fmt: skip
    january, july = (
        dt.datetime(2025, m, d, 9, tzinfo=ZoneInfo(LA.timezone)) for m, d in ((1, 7), (7, 1))
    )
    for text in ("01/07/2025 09:00", "1.7.25 09.00", "1-7-2025, 9:00 AM"):
        assert read(text, order=MONTH_FIRST).us.tolist() == [micros(january)]
        assert read(text, order=DAY_FIRST).us.tolist() == [micros(july)]
    assert read("13/07/2025", order=MONTH_FIRST).state.tolist() == [UNREADABLE]


def test_evidence_of_the_order() -> None:
    open_, day, month = "01/07/2025 09:00", "13/07/2025", "07/13/2025"
    assert (
        order_evidence(pa.array(["5/5/2025", "2025-01-07", None, "x", "14/14/2025"]))
        == OrderEvidence()
    )
    assert order_evidence(pa.array([open_])).example == open_
    assert order_evidence(pa.array([open_, day])).order("t") == DAY_FIRST
    assert order_evidence(pa.array([open_, month]).dictionary_encode()).order("t") == MONTH_FIRST
    assert order_evidence(pa.array([day, month])).order("t") is None
    assert order_evidence(pa.array([5])).order("t") is None
    for texts in ([open_], [open_, day, month]):
        with pytest.raises(BadInput, match=r"Column t .*'01/07/2025 09:00'.*\n.*--month-first"):
            order_evidence(pa.array(texts)).order("t")


@given(
    st.lists(st.tuples(st.integers(1, 12), st.integers(1, 28)), max_size=12),
    st.booleans(),
    st.integers(0, 12),
)
def test_evidence_does_not_depend_on_batches(
    dates: list[tuple[int, int]], day_first: bool, cut: int
) -> None:
    texts = [f"{d}/{m}/2025" if day_first else f"{m}/{d}/2025" for m, d in dates]
    parts = (pa.array(part, pa.string()) for part in (texts[:cut], texts[cut:]))
    evidence = sum(map(order_evidence, parts), OrderEvidence())
    assert evidence == order_evidence(pa.array(texts, pa.string()))
    open_ = [(m, d) for m, d in dates if m != d and d <= 12]
    decided = any(d > 12 for _, d in dates)
    if open_ and not decided:
        with pytest.raises(BadInput):
            evidence.order("t")
        return
    order = evidence.order("t")
    assert order == ((DAY_FIRST if day_first else MONTH_FIRST) if open_ else None)
    column = pa.array([f"{text} 10:00 -08" for text in texts], pa.string())
    found = instants(column, LA, order, "t", PLAUSIBLE)
    assert found.us.tolist() == [
        micros(dt.datetime(2025, m, d, 18, tzinfo=dt.UTC)) for m, d in dates
    ]


@settings(deadline=None)
@given(st.lists(st.text(st.sampled_from("0123456789-: T."), max_size=26) | moments.map(str)))
def test_what_files_of_local_times_may_have_means_the_same(texts: list[str]) -> None:
    column = pa.chunked_array([pa.array(texts, pa.string())])
    local = clean.local_times(Checks(len(texts)), column, "t")
    found = instants(column, LocalClock("UTC"), None, "t", PLAUSIBLE)
    for time, us, state in zip(local.to_pylist(), found.us.tolist(), found.state, strict=True):
        if time is not None and PLAUSIBLE[0] <= time < PLAUSIBLE[1]:
            assert (us, state) == (micros(time.replace(tzinfo=dt.UTC)), GIVEN)


# --- types of columns -----------------------------------------------------------------------
@given(st.lists(st.none() | times_utc, max_size=8))
def test_typed_columns_come_back_to_their_resolution(moments: list[dt.datetime | None]) -> None:
    us = [None if moment is None else micros(moment) for moment in moments]

    def check(column: pa.Array, per: int = 1, clock: LocalClock = LA) -> None:
        found = instants(column, clock, None, "t", PLAUSIBLE)
        assert found.us.tolist() == [0 if value is None else value // per * per for value in us]
        assert found.state.tolist() == [MISSING if value is None else GIVEN for value in us]

    for unit, per in (("s", 10**6), ("ms", 1000), ("us", 1)):
        ticks = pa.array([None if value is None else value // per for value in us], pa.int64())
        check(ticks.cast(pa.timestamp(unit, "Asia/Kolkata")), per)
        check(ticks.cast(pa.timestamp(unit)), per, LocalClock("UTC"))
        check(ticks, per)
        check(ticks.cast(pa.string()).dictionary_encode(), per)
        check(ticks.cast(pa.decimal128(20, 0)), per)
    nanos = pa.array([None if value is None else value * 1000 + 999 for value in us], pa.int64())
    check(nanos)
    check(nanos.cast(pa.timestamp("ns", "UTC")))
    check(pa.array([None if value is None else value / 10**6 for value in us], pa.float64()))
    seconds = [None if v is None else decimal.Decimal(v) / 10**6 for v in us]
    check(pa.array(seconds, pa.decimal128(30, 9)))
    check(pa.array(map(str, seconds)).cast(pa.large_string())) if None not in seconds else None


def test_numbers_that_are_dates() -> None:
    for kind in (pa.int64(), pa.float64(), pa.decimal128(20, 0)):
        numbers = pa.array([20250107090000, 20250107, None]).cast(pa.float64()).cast(kind)
        found = instants(numbers, LA, None, "t", PLAUSIBLE)
        assert found.us.tolist() == [micros(NINE), micros(NINE.replace(hour=8)), 0]
    floats = read(1736269200.0, 1736269200.25, 1736269200123456000.0, float("nan"), -(10.0**300))
    assert floats.us[:3].tolist() == [micros(NINE), micros(NINE) + 250_000, micros(NINE) + 123_456]
    assert floats.state[3:].tolist() == [MISSING, IMPLAUSIBLE]


def test_dates_are_local_midnights() -> None:
    midnight = micros(dt.datetime(2025, 1, 7, 8, tzinfo=dt.UTC))
    for kind in (pa.date32(), pa.date64()):
        assert read(dt.date(2025, 1, 7), None, kind=kind).us.tolist() == [midnight, 0]


def test_other_types_are_refused() -> None:
    for column in (pa.array([True]), pa.array([[1]]), pa.array([dt.time(9)])):
        with pytest.raises(BadInput, match=r"Column t is of type .*; times or text are expected"):
            instants(column, LA, None, "t", PLAUSIBLE)


def test_columns_in_pieces_slices_and_without_rows() -> None:
    texts = pa.array(["x", "2025-01-07 09:00:00", None, "1736269200", "y"])
    pieces = pa.chunked_array([texts[1:2], texts[2:4], texts[:0]])
    found = instants(pieces, LA, None, "t", PLAUSIBLE)
    assert found.us.tolist() == [micros(NINE), 0, micros(NINE)]
    encoded = texts.dictionary_encode()[1:4]
    assert instants(encoded, LA, None, "t", PLAUSIBLE).us.tolist() == found.us.tolist()
    for empty in (texts[:0], pa.chunked_array([], pa.string()), pa.nulls(0), encoded[:0]):
        assert len(instants(empty, LA, None, "t", PLAUSIBLE).us) == 0
    assert instants(pa.nulls(2), LA, None, "t", PLAUSIBLE).state.tolist() == [MISSING] * 2


@given(
    st.lists(st.none() | st.text(st.sampled_from("0123456789-/:. TZ+apmjn\u202f漢\0"), max_size=24))
)
def test_any_text_has_the_same_meaning_alone_and_among_others(texts: list[str | None]) -> None:
    together = read(*texts, kind=pa.string())
    alone = [read(text, kind=pa.string()) for text in texts]
    assert together.us.tolist() == [int(one.us[0]) for one in alone]
    assert together.state.tolist() == [int(one.state[0]) for one in alone]


def test_floats_of_32_bits_hold_no_times() -> None:
    with pytest.raises(BadInput, match="of the type float"):
        read(1736269200.0, kind=pa.float32())
