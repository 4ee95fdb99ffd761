from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest
import sqlalchemy as sa

from tippers_dagster.automation.tokens import check_sources
from tippers_dagster.calendar.periods import Period, period
from tippers_dagster.calendar.store import (
    CalendarConflict,
    Change,
    Kept,
    Outcome,
    calendar_node,
    change,
    list_periods,
    load_calendar,
    put,
    remove,
)
from tippers_dagster.campus.source.creation import create_source_schema
from tippers_dagster.errors import BadInput
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

FALL = period("quarter", "Fall", dt.date(2025, 9, 25), dt.date(2025, 12, 12))
WINTER = period("quarter", "Winter", dt.date(2026, 1, 5), dt.date(2026, 3, 20))
LABOUR = period("holiday", "Labor Day", dt.date(2025, 9, 1), dt.date(2025, 9, 1))


def kept(settings: Settings, name: str) -> Kept:
    return next(k for k in list_periods(settings) if k.period.name == name)


def periods(settings: Settings) -> list[Period]:
    return [k.period for k in list_periods(settings)]


def test_periods_are_stored_with_author_and_time(stack: Settings) -> None:
    assert load_calendar(stack).periods == ()
    assert put(stack, [WINTER, FALL], by="ada") == Outcome(added=2)
    assert periods(stack) == [FALL, WINTER]
    found = kept(stack, "Fall")
    assert (found.version, found.updated_by) == (1, "ada")
    assert found.updated_at.tzinfo is not None
    # The same again, one with another end: only that one is changed.
    longer = replace(WINTER, end=WINTER.end + dt.timedelta(days=1))
    assert put(stack, [FALL, longer, LABOUR], by="bob") == Outcome(1, 1, 0, 1)
    assert kept(stack, "Fall") == found
    assert (kept(stack, "Winter").version, kept(stack, "Winter").updated_by) == (2, "bob")
    assert put(stack, [FALL], by="bob", replace=True) == Outcome(removed=2, unchanged=1)
    assert load_calendar(stack).periods == (FALL,)


def test_all_changes_or_none(stack: Settings) -> None:
    put(stack, [FALL], by="ada")
    crossing = replace(WINTER, start=FALL.last_day)
    with pytest.raises(BadInput, match="overlap"):
        change(stack, [Change(LABOUR), Change(crossing)], by="ada")
    with pytest.raises(BadInput, match="who"):
        put(stack, [LABOUR], by=" ")
    with pytest.raises(BadInput, match="no period 0"):
        remove(stack, [kept(stack, "Fall").id, 0], by="ada")
    assert periods(stack) == [FALL]
    # Two changes that would overlap if made separately are made together.
    put(stack, [WINTER], by="ada")
    first, second = kept(stack, "Fall"), kept(stack, "Winter")
    swapped = [
        Change(replace(FALL, start=WINTER.start, end=WINTER.end), first),
        Change(replace(WINTER, start=FALL.start, end=FALL.end), second),
    ]
    assert change(stack, swapped, by="ada") == Outcome(changed=2)
    assert [p.name for p in periods(stack)] == ["Winter", "Fall"]


def test_two_periods_may_swap(stack: Settings) -> None:
    eve, day = (replace(LABOUR, name=name) for name in ("Eve", "Day"))
    put(stack, [eve, day], by="ada")
    changes = [Change(day, kept(stack, "Eve")), Change(eve, kept(stack, "Day"))]
    assert change(stack, changes, by="ada") == Outcome(changed=2)
    assert remove(stack, [kept(stack, "Eve").id], by="ada") == Outcome(removed=1)
    assert periods(stack) == [day]


def test_conflicting_changes_are_reported(stack: Settings) -> None:
    put(stack, [FALL, LABOUR], by="ada")
    fall, labour = kept(stack, "Fall"), kept(stack, "Labor Day")
    bobs = replace(FALL, name="Fall quarter")
    change(stack, [Change(bobs, fall), Change(None, labour)], by="bob")
    mine = [
        Change(replace(FALL, name="Autumn"), fall),
        Change(replace(LABOUR, name="Labour Day"), labour),
        Change(WINTER),
    ]
    with pytest.raises(CalendarConflict, match="changed by bob to quarter 'Fall quarter'") as told:
        change(stack, mine, by="ada")
    assert [clash.now and clash.now.period for clash in told.value.clashes] == [bobs, None]
    assert [clash.mine for clash in told.value.clashes] == mine[:2]
    assert periods(stack) == [bobs]
    # Equal changes do not conflict.
    assert change(stack, [Change(bobs, fall), Change(None, labour)], by="ada") == Outcome(
        unchanged=1
    )


def test_events_take_place_in_existing_spaces(stack: Settings) -> None:
    create_source_schema(stack)
    spaces = [("campus", None), ("hall", "campus"), ("hall_1", "hall"), ("library", "campus")]
    with warehouse_engine(stack).begin() as connection:
        connection.execute(
            sa.text("INSERT INTO source.space (space_id, parent_space_id) VALUES (:id, :parent)"),
            [{"id": space, "parent": parent} for space, parent in spaces],
        )
    day = dt.date(2025, 10, 6)
    with pytest.raises(BadInput, match="no space 'hal'"):
        put(stack, [period("event", "Fair", day, day, "hal")], by="ada")
    put(stack, [period("event", "Fair", day, day, "hall")], by="ada")
    calendar = load_calendar(stack)
    found = {space: calendar.flags([day], space)["event"].to_pylist()[0] for space, _ in spaces}
    assert found == {"campus": True, "hall": True, "hall_1": True, "library": False}


def test_a_change_makes_dependents_stale_at_once(stack: Settings) -> None:
    node = calendar_node()

    def token() -> str:
        return check_sources(stack, [node])[node.name]

    before = token()
    put(stack, [FALL], by="ada")
    after = token()
    assert after != before
    put(stack, [FALL], by="ada")
    assert token() == after
    fall = kept(stack, "Fall")
    change(stack, [Change(LABOUR, fall)], by="bob")
    change(stack, [Change(FALL, kept(stack, "Labor Day"))], by="bob")
    assert token() == after  # the same content, whoever changed it
    remove(stack, [fall.id], by="ada")
    assert token() == before
