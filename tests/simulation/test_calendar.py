import datetime as dt
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from tippers_dagster.simulation.calendar import EPOCH, Bins, Calendar, holidays

ZONES = ["America/Los_Angeles", "Australia/Lord_Howe", "Asia/Kolkata", "America/Sao_Paulo"]


def _wall(local: dt.datetime) -> int:
    return int((local - dt.datetime(1970, 1, 1)).total_seconds())


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("first", [dt.date(2018, 10, 20), dt.date(2025, 2, 20)])
def test_instants_are_those_of_zoneinfo(zone: str, first: dt.date) -> None:
    calendar = Calendar.of(zone, first, 60)
    start = _wall(dt.datetime.combine(first, dt.time()))
    wall = np.random.default_rng(1).integers(start, start + 60 * 86400, 3000)
    wall = calendar.settle(np.sort(wall))
    assert (np.diff(calendar.instants(wall)) >= 0).all()
    for value, instant in zip(wall.tolist(), calendar.instants(wall).tolist(), strict=True):
        local = dt.datetime(1970, 1, 1) + dt.timedelta(seconds=value)
        assert local.replace(tzinfo=ZoneInfo(zone)).timestamp() == instant
        back = dt.datetime.fromtimestamp(instant, ZoneInfo(zone)).replace(tzinfo=None)
        assert back == local, "a skipped local time"


def test_a_time_within_the_gap_moves_to_its_end() -> None:
    calendar = Calendar.of("America/Los_Angeles", dt.date(2025, 3, 3), 14)
    gap = np.array([_wall(dt.datetime(2025, 3, 9, 2, 30)), _wall(dt.datetime(2025, 3, 9, 1, 59))])
    expected = [_wall(dt.datetime(2025, 3, 9, 3)), _wall(dt.datetime(2025, 3, 9, 1, 59))]
    assert calendar.settle(gap).tolist() == expected


@pytest.mark.parametrize("width", [900, 3600])
def test_bins_are_cut_from_midnight_and_never_cross_a_day(width: int) -> None:
    calendar = Calendar.of("Australia/Lord_Howe", dt.date(2025, 3, 30), 14)
    bins = Bins.of(calendar, width)
    count = int(bins.firsts[-1])
    begins = bins.begins(np.arange(count))
    assert (bins.index(begins) == np.arange(count)).all()
    assert (bins.index(begins[1:] - 1) == np.arange(count - 1)).all()
    assert np.isin(calendar.midnights[:-1], begins).all()
    # Lord Howe's clocks change by half an hour: that day's last hour is half as long.
    long_day = (dt.date(2025, 4, 6) - dt.date(2025, 3, 30)).days
    assert bins.firsts[long_day + 1] - bins.firsts[long_day] == -(-(24 * 3600 + 1800) // width)


def test_holidays() -> None:
    first = dt.date(2025, 1, 1)
    dates = {first + dt.timedelta(days=int(i)) for i in np.flatnonzero(holidays(first, 365))}
    assert {dt.date(2025, 1, 20), dt.date(2025, 2, 17), dt.date(2025, 5, 26)} <= dates
    assert {dt.date(2025, 11, 27), dt.date(2025, 12, 25)} <= dates
    assert dt.date(2025, 1, 13) not in dates
    assert len(dates) < 25
    assert dt.date(1970, 1, 1) == EPOCH
