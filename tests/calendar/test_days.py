from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from tippers_dagster.calendar.days import FLAGS, AcademicCalendar
from tippers_dagster.calendar.periods import Period, PeriodKind, check_together, period
from tippers_dagster.errors import BadInput

DAY = dt.timedelta(days=1)
FALL = period("quarter", "Fall", dt.date(2025, 9, 25), dt.date(2025, 12, 12))
CALENDAR = AcademicCalendar(
    (
        FALL,
        period("holiday", "Veterans Day", dt.date(2025, 11, 11), dt.date(2025, 11, 11)),
        period("break", "Thanksgiving", dt.date(2025, 11, 27), dt.date(2025, 11, 28)),
        period("finals", "Fall finals", dt.date(2025, 12, 6), dt.date(2025, 12, 12)),
        period("event", "Open day", dt.date(2025, 10, 4), dt.date(2025, 10, 4)),
        period("event", "Conference", dt.date(2025, 10, 6), dt.date(2025, 10, 8), "hall"),
    ),
    {"hall": frozenset({"hall", "hall_1", "campus"})},
)


def test_a_day_has_the_flags_of_its_periods() -> None:
    days = [dt.date(2025, 9, 24), dt.date(2025, 9, 25), dt.date(2025, 9, 29)]
    days += [dt.date(2025, 11, 11), dt.date(2025, 11, 28), dt.date(2025, 12, 12)]
    flags = CALENDAR.flags([*days, dt.date(2025, 12, 13)])
    assert flags.column_names == ["day", *FLAGS]
    assert flags["day"].to_pylist() == [*days, dt.date(2025, 12, 13)]
    assert flags["in_session"].to_pylist() == [False, True, True, False, False, True, False]
    assert flags["week_of_quarter"].to_pylist() == [0, 1, 2, 8, 10, 12, 0]
    assert flags["finals"].to_pylist() == [False] * 5 + [True, False]
    assert flags["holiday"].to_pylist() == [False, False, False, True, False, False, False]
    assert flags["break"].to_pylist() == [False] * 4 + [True, False, False]


def test_an_event_counts_where_it_takes_place_and_around() -> None:
    days = [dt.date(2025, 10, 4), dt.date(2025, 10, 7), dt.date(2025, 10, 9)]

    def events(space: str | None) -> list[bool]:
        return CALENDAR.flags(days, space)["event"].to_pylist()

    assert events(None) == events("library") == [True, False, False]
    assert events("hall") == events("hall_1") == events("campus") == [True, True, False]


def test_an_empty_calendar_has_no_flags() -> None:
    flags = AcademicCalendar().flags(np.arange("2025-01-01", "2025-01-08", dtype="datetime64[D]"))
    assert flags.num_rows == 7
    assert not any(any(flags[name].to_pylist()) for name in FLAGS)
    assert AcademicCalendar().flags([]).num_rows == 0
    assert AcademicCalendar().holidays_frame().empty


def test_flags_equal_a_plain_check_of_every_day() -> None:
    rng = np.random.default_rng(7)
    first = dt.date(2025, 1, 1)
    for _ in range(20):
        periods = []
        for kind in PeriodKind:
            at = 0
            for number in range(int(rng.integers(0, 6))):
                at += int(rng.integers(0, 30))  # consecutive periods, some without a gap
                end = at + int(rng.integers(1, 40))
                made = Period(first + at * DAY, first + end * DAY, kind, f"{kind} {number}")
                periods.append(made)
                at = end
        check_together(periods)
        days = [first + int(n) * DAY for n in rng.integers(-5, 200, 60)]
        found = AcademicCalendar(tuple(sorted(periods))).flags(days).to_pylist()
        assert found == [_plain(periods, day) for day in days]


def _plain(periods: list[Period], day: dt.date) -> dict[str, object]:
    on = {
        kind: [p for p in periods if p.kind == kind and p.start <= day < p.end]
        for kind in PeriodKind
    }
    week = 0
    for quarter in on[PeriodKind.QUARTER]:
        monday = quarter.start - quarter.start.weekday() * DAY
        week = (day - monday).days // 7 + 1
    free = bool(on[PeriodKind.BREAK] or on[PeriodKind.HOLIDAY])
    told = {name: bool(on[PeriodKind(name)]) for name in ("finals", "break", "holiday", "event")}
    session = bool(on[PeriodKind.QUARTER]) and not free
    return {"day": day, "in_session": session, "week_of_quarter": week, **told}


def test_prophet_gets_a_row_per_day_and_effect() -> None:
    frame = CALENDAR.holidays_frame()
    assert list(frame.columns) == ["holiday", "ds", "lower_window", "upper_window"]
    assert frame["ds"].dtype == "datetime64[ns]"
    rows = list(zip(frame["holiday"], frame["ds"].dt.date, strict=True))
    assert rows[:3] == [
        ("holiday: Veterans Day", dt.date(2025, 11, 11)),
        ("break: Thanksgiving", dt.date(2025, 11, 27)),
        ("break: Thanksgiving", dt.date(2025, 11, 28)),
    ]
    assert len(rows) == 1 + 2 + 7 + 1
    assert len(CALENDAR.holidays_frame("hall_1")) == len(rows) + 3


@pytest.mark.parametrize(
    ("kind", "name", "first", "last", "space", "told"),
    [
        ("term", "Fall", "2025-09-25", "2025-12-12", "", "not a kind"),
        ("quarter", "Fall", "2025-12-12", "2025-09-25", "", "before it begins"),
        ("quarter", " ", "2025-09-25", "2025-12-12", "", "not a valid name"),
        ("quarter", "a\nb", "2025-09-25", "2025-12-12", "", "not a valid name"),
        ("quarter", "Fall", "2025-09-25", "2026-12-12", "", "has 444 days"),
        ("holiday", "Fall", "1925-09-25", "1925-09-25", "", "out of range"),
        ("holiday", "Fall", "9999-12-31", "9999-12-31", "", "9999"),
        ("holiday", "Fall", "2025-09-25", "2025-09-25", "hall", "Only events"),
    ],
)
def test_invalid_periods(
    kind: str, name: str, first: str, last: str, space: str, told: str
) -> None:
    with pytest.raises(BadInput, match=told):
        period(kind, name, dt.date.fromisoformat(first), dt.date.fromisoformat(last), space)


def test_quarters_do_not_overlap_but_events_and_holidays_do() -> None:
    after = Period(FALL.end, FALL.end + 7 * DAY, PeriodKind.QUARTER, "Winter")
    check_together([FALL, after])
    with pytest.raises(BadInput, match=r"'Fall'.*and quarter 'Winter'.*overlap"):
        check_together([FALL, Period(FALL.last_day, after.end, PeriodKind.QUARTER, "Winter")])
    with pytest.raises(BadInput, match="twice"):
        check_together([FALL, FALL])
    day = FALL.start
    check_together([Period(day, day + DAY, PeriodKind.EVENT, name) for name in "ab"])
