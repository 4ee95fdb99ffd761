"""The clock equals zoneinfo on the odd days of many zones."""

from __future__ import annotations

import datetime as dt
import itertools
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.occupancy import oracle
from tippers_dagster.campus.local_time import (
    PUBLISHED_WIDTHS,
    LocalClock,
    chunk_bounds,
    chunk_index,
    chunk_key,
    chunk_keys,
)
from tippers_dagster.errors import BadInput

# Each with a date close to a clock change.
CHANGES = [
    ("America/Los_Angeles", dt.date(2025, 3, 9)),
    ("America/Los_Angeles", dt.date(2025, 11, 2)),
    ("Europe/Berlin", dt.date(2024, 3, 31)),
    ("Europe/Berlin", dt.date(2024, 10, 27)),
    ("Australia/Lord_Howe", dt.date(2025, 4, 6)),  # half an hour
    ("Australia/Lord_Howe", dt.date(2025, 10, 5)),
    ("America/Havana", dt.date(2025, 3, 9)),  # 00:00 -> 01:00
    ("America/Havana", dt.date(2025, 11, 2)),  # 01:00 -> 00:00
    ("America/Sao_Paulo", dt.date(2018, 2, 18)),  # 00:00 -> 23:00 of the day before
    ("America/Sao_Paulo", dt.date(2018, 11, 4)),
    ("America/St_Johns", dt.date(2010, 11, 7)),  # 00:01 -> 23:01 of the day before
    ("America/Toronto", dt.date(1919, 3, 31)),  # 23:30 -> 00:30 of the day after
    ("Antarctica/Casey", dt.date(2010, 3, 5)),  # three hours
    ("Pacific/Apia", dt.date(2011, 12, 30)),  # a skipped date
    ("Asia/Kolkata", dt.date(2025, 6, 1)),
    ("UTC", dt.date(2025, 6, 1)),
]
WIDTHS = (60, 420, 900, 1800, 3600, 5400, 7200, 9000, 14400, 28800, 86400)
EPOCH = dt.datetime(1970, 1, 1)
MICROSECOND = dt.timedelta(microseconds=1)


def micros(local: dt.datetime) -> int:
    return (local - EPOCH) // MICROSECOND


@st.composite
def zones_and_times(draw: st.DrawFn) -> tuple[str, list[dt.datetime]]:
    zone, date = draw(st.sampled_from(CHANGES))
    noon = dt.datetime.combine(date, dt.time(12))
    near = st.timedeltas(dt.timedelta(days=-2), dt.timedelta(days=2)).map(
        lambda delta: noon + delta
    )
    far = st.datetimes(dt.datetime(1971, 1, 1), dt.datetime(2099, 1, 1))
    return zone, draw(st.lists(near | far, max_size=20))


@settings(deadline=None, max_examples=30)
@given(zones_and_times())
def test_an_abbreviation_says_which_of_two_times_is_meant(
    case: tuple[str, list[dt.datetime]],
) -> None:
    name, times = case
    moments = [time.replace(tzinfo=dt.UTC).astimezone(ZoneInfo(name)) for time in times]
    clock = LocalClock(name)
    for moment in moments:
        shown, utc = moment.tzname(), moment.astimezone(dt.UTC).replace(tzinfo=None)
        assert shown is not None
        local = np.array([micros(moment.replace(tzinfo=None, fold=0))])
        found, known = clock.named_to_utc(local, shown.lower())
        assert (found.tolist(), known.tolist()) == ([micros(utc)], [True])
    shown = {moment.strftime("%Z").casefold() for moment in moments}
    assert shown <= set(clock.abbreviations())
    assert not clock.named_to_utc(np.zeros(3, np.int64), "XYZ")[1].any()


@settings(deadline=None, max_examples=300)
@given(zones_and_times(), st.sampled_from([0, 1]))
def test_to_utc_equals_zoneinfo(case: tuple[str, list[dt.datetime]], fold: int) -> None:
    name, times = case
    zone = ZoneInfo(name)
    local = np.array([micros(time) for time in times], np.int64)
    expected = [oracle.seconds(oracle.instant(time, zone, fold)) * 10**6 for time in times]
    utc = LocalClock(name).to_utc(local, fold)
    assert utc.tolist() == expected
    back = [
        (EPOCH + int(value) * MICROSECOND).replace(tzinfo=dt.UTC).astimezone(zone) for value in utc
    ]
    assert LocalClock(name).to_local(utc).tolist() == [
        micros(time.replace(tzinfo=None)) for time in back
    ]


@pytest.mark.parametrize(("name", "date"), CHANGES)
def test_every_quarter_hour_around_a_clock_change(name: str, date: dt.date) -> None:
    zone, clock = ZoneInfo(name), LocalClock(name)
    noon = dt.datetime.combine(date, dt.time(12))
    times = [noon + dt.timedelta(minutes=15 * step, seconds=1) for step in range(-200, 200)]
    local = np.array([micros(time) for time in times], np.int64)
    for fold in (0, 1):
        expected = [int(oracle.instant(time, zone, fold).timestamp()) for time in times]
        assert (clock.to_utc(local, fold) // 1_000_000).tolist() == expected


@settings(deadline=None, max_examples=200)
@given(zones_and_times(), st.data())
def test_session_bounds(case: tuple[str, list[dt.datetime]], data: st.DataObject) -> None:
    name, starts = case
    zone, clock = ZoneInfo(name), LocalClock(name)
    lengths = st.timedeltas(dt.timedelta(hours=-3), dt.timedelta(hours=30)) | st.just(
        dt.timedelta()
    )
    ends = [start + data.draw(lengths) for start in starts]
    begin, stop = clock.session_bounds(
        np.array([micros(time) for time in starts], np.int64),
        np.array([micros(time) for time in ends], np.int64),
    )
    for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
        exact = oracle.session(start, end, zone, 0)
        if exact is None:
            assert stop[i] == begin[i]
        else:
            assert begin[i] == exact[0] // 1
            assert stop[i] == max(-(-exact[1] // 1), begin[i] + 1)


def test_session_within_the_repeated_hour() -> None:
    clock = LocalClock("America/Los_Angeles")
    start, end = clock.session_bounds(
        np.array([micros(dt.datetime(2025, 11, 2, 1, 50))]),
        np.array([micros(dt.datetime(2025, 11, 2, 1, 10))]),
    )
    assert (end - start).tolist() == [20 * 60]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(("name", "date"), CHANGES)
def test_bin_edges(name: str, date: dt.date, width: int) -> None:
    first, last = date - dt.timedelta(days=1), date + dt.timedelta(days=2)
    edges = LocalClock(name).bin_edges(first, last, width)
    assert edges.tolist() == oracle.edges(first, last, width, ZoneInfo(name))
    assert (np.diff(edges) > 0).all()


@pytest.mark.parametrize(("date", "hours"), [(dt.date(2025, 3, 9), 23), (dt.date(2025, 11, 2), 25)])
def test_days_of_23_and_25_hours(date: dt.date, hours: int) -> None:
    clock = LocalClock("America/Los_Angeles")
    next_date = date + dt.timedelta(days=1)
    assert len(clock.bin_edges(date, next_date, 900)) - 1 == hours * 4
    four_hours = clock.bin_edges(date, next_date, 14400)
    assert np.diff(four_hours).tolist() == [14400 + (hours - 24) * 3600] + [14400] * 5


def test_bins_never_cross_a_day_all_year() -> None:
    clock = LocalClock("America/Los_Angeles")
    minutes = clock.bin_edges(dt.date(2025, 1, 1), dt.date(2026, 1, 1), 60)
    assert len(minutes) - 1 == 365 * 1440
    starts = clock.day_starts(np.arange(20089, 20089 + 365))
    for width in (420, *PUBLISHED_WIDTHS):
        edges = clock.bin_edges(dt.date(2025, 1, 1), dt.date(2026, 1, 1), width)
        assert np.isin(starts, edges).all()
        assert np.isin(edges, minutes).all()


def test_a_skipped_date_has_no_bins() -> None:
    clock = LocalClock("Pacific/Apia")
    skipped, after = dt.date(2011, 12, 30), dt.date(2011, 12, 31)
    assert clock.day_start(skipped) == clock.day_start(after)
    assert len(clock.bin_edges(skipped, after, 900)) == 1


@pytest.mark.parametrize("width", [0, -60, 59, 61, 90, 86460, 172800])
def test_bad_width(width: int) -> None:
    with pytest.raises(BadInput, match=f"{width} seconds"):
        LocalClock("UTC").bin_edges(dt.date(2025, 1, 1), dt.date(2025, 1, 2), width)


def test_empty_range() -> None:
    with pytest.raises(BadInput, match="empty"):
        LocalClock("UTC").bin_edges(dt.date(2025, 1, 1), dt.date(2025, 1, 1), 900)


# --- chunks ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("size", "key", "end"),
    [
        ("day", "2025-01-08", dt.date(2025, 1, 9)),
        ("week", "2025-01-06", dt.date(2025, 1, 13)),
        ("month", "2025-01-01", dt.date(2025, 2, 1)),
    ],
)
def test_chunk_of_a_date(size: str, key: str, end: dt.date) -> None:
    assert chunk_key(dt.date(2025, 1, 8), size) == key
    assert chunk_bounds(key, size) == (dt.date.fromisoformat(key), end)


@given(
    st.dates(dt.date(1990, 1, 1), dt.date(2060, 1, 1)),
    st.integers(0, 100),
    st.sampled_from(["day", "week", "month"]),
)
def test_chunks_cover_the_range_and_touch(start: dt.date, days: int, size: str) -> None:
    dates = [start + dt.timedelta(days=day) for day in range(days)]
    keys = chunk_keys(start, start + dt.timedelta(days=days), size)
    assert keys == sorted({chunk_key(date, size) for date in dates})
    bounds = [chunk_bounds(key, size) for key in keys]
    assert all(one[1] == two[0] for one, two in itertools.pairwise(bounds))


def test_chunk_index_at_a_clock_change() -> None:
    clock = LocalClock("America/Los_Angeles")
    keys = chunk_keys(dt.date(2025, 3, 3), dt.date(2025, 3, 17), "week")
    boundaries = clock.chunk_boundaries(keys, "week")
    assert np.diff(boundaries).tolist() == [7 * 86400 - 3600, 7 * 86400]
    around = np.array([b + d for b in boundaries for d in (-1, 0)])
    assert chunk_index(around, boundaries).tolist() == [-1, 0, 0, 1, 1, 2]
    assert clock.chunk_seconds(keys[1], "week") == tuple(boundaries[1:].tolist())


@pytest.mark.parametrize(
    ("key", "size"),
    [("2025-01-07", "week"), ("2025-01-06", "month"), ("2025-13-01", "day"), ("x", "week"),
     ("20250106", "week")],
)  # fmt: skip
def test_bad_key(key: str, size: str) -> None:
    with pytest.raises(BadInput, match=key):
        chunk_bounds(key, size)
