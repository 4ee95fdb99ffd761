from __future__ import annotations

import datetime as dt

import numpy as np

from tippers_dagster.calendar.days import AcademicCalendar
from tippers_dagster.calendar.periods import period
from tippers_dagster.calendar.simulated import AHEAD_DAYS, keep_simulated, simulated_periods
from tippers_dagster.calendar.store import list_periods, load_calendar, put, remove
from tippers_dagster.settings import Settings
from tippers_dagster.simulation.calendar import holidays

FIRST, DAYS = dt.date(2025, 11, 20), 56


def test_holidays_are_the_days_when_simulated_people_stay_away() -> None:
    days = np.datetime64(FIRST) + np.arange(DAYS + AHEAD_DAYS)
    flags = AcademicCalendar(tuple(simulated_periods(FIRST, DAYS))).flags(days)
    closed = holidays(FIRST, len(days))
    assert closed.sum() > 8  # the week of Christmas is among them
    assert flags["holiday"].to_pylist() == closed.tolist()
    assert flags["in_session"].to_pylist() == (~closed).tolist()
    assert min(flags["week_of_quarter"].to_pylist()) >= 1


def test_it_replaces_the_last_simulation_but_no_entries_by_people(
    stack: Settings,
) -> None:
    done = keep_simulated(stack, FIRST, DAYS)
    assert done is not None
    assert done.added == len(simulated_periods(FIRST, DAYS))
    again = keep_simulated(stack, FIRST, DAYS)
    assert again is not None
    assert (again.added, again.removed, again.unchanged) == (0, 0, done.added)
    keep_simulated(stack, dt.date(2024, 1, 1), 7)
    before = load_calendar(stack).periods
    assert before == tuple(simulated_periods(dt.date(2024, 1, 1), 7))
    put(stack, [period("event", "Fair", FIRST, FIRST)], by="ada")
    assert keep_simulated(stack, FIRST, DAYS) is None
    fair = next(kept.id for kept in list_periods(stack) if kept.updated_by == "ada")
    remove(stack, [fair], by="ada")
    assert load_calendar(stack).periods == before
