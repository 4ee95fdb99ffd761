"""What the source tells of its changes, without its rows being read."""

from __future__ import annotations

import datetime as dt

import pytest

from tests.occupancy import campus
from tests.occupancy.campus import Seen
from tests.stack.waiting import until
from tippers_dagster.campus.source.changes import Changes, changes, noting_sql
from tippers_dagster.settings import Settings, get_settings

DAY = dt.datetime(2025, 1, 6, 9)


def seen(mac: str, day: int) -> Seen:
    start = DAY + dt.timedelta(days=day)
    return Seen(mac, "r1", start, start + dt.timedelta(hours=1))


@pytest.fixture
def settings(stack: Settings) -> Settings:
    campus.fill(stack, {"hall": None, "r1": "hall"}, [seen("m1", 0), seen("m2", 9)])
    return stack


def change(settings: Settings, *statements: str) -> None:
    """As a client of the campus, whose counts are visible when its session has ended."""
    with campus.source(settings) as cursor:
        for statement in statements:
            cursor.execute(statement)


def note_changes(settings: Settings) -> None:
    change(settings, *noting_sql(settings))


def told(settings: Settings, last: Changes) -> Changes:
    """The answer once it has changed."""
    found = last

    def other() -> bool:
        nonlocal found
        answer = changes(settings, last.cursor)
        assert answer is not None
        found = answer
        return found.changed

    until(other, 20)
    return found


def first(settings: Settings) -> Changes:
    """An answer when everything that was changed has been counted."""
    found = changes(settings, None)

    def nothing_new() -> bool:
        nonlocal found
        assert found is not None
        found = changes(settings, found.cursor)
        return found is not None and not found.changed

    until(nothing_new, 20)
    assert found is not None
    return found


def first_days(found: Changes) -> list[dt.date]:
    return sorted({one for one, _ in found.days or []})


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO source.user_ap_trajectory (mac_address, start_time, space_id) "
        "VALUES ('m3', '2025-01-20 09:00', 'r1')",
        "UPDATE source.user_ap_trajectory SET space_id = 'hall' WHERE mac_address = 'm1'",
        "DELETE FROM source.user_ap_trajectory WHERE mac_address = 'm1'",
        "TRUNCATE source.user_ap_trajectory",
    ],
)
def test_counters_tell_that_rows_have_changed(settings: Settings, statement: str) -> None:
    before = first(settings)
    assert not before.changed
    change(settings, statement)
    after = told(settings, before)
    assert after.days is None
    assert not changes(settings, after.cursor).changed


def test_the_first_answer_is_that_something_may_have_changed(settings: Settings) -> None:
    found = changes(settings, None)
    assert found is not None
    assert found.changed
    assert found.days is None


def test_notes_tell_the_days(settings: Settings) -> None:
    note_changes(settings)
    note_changes(settings)  # may be repeated
    before = first(settings)
    assert (before.changed, before.days) == (False, [])
    campus.add_sessions(settings, [seen("m3", 40), seen("m4", 40), seen("m5", 2)])
    found = told(settings, before)
    assert first_days(found) == [dt.date(2025, 1, 8), dt.date(2025, 2, 15)]
    change(
        settings,
        "UPDATE source.user_ap_trajectory SET start_time = start_time + interval '1 day' "
        "WHERE mac_address = 'm5'",
        "DELETE FROM source.user_ap_trajectory WHERE mac_address = 'm1'",
    )
    found = told(settings, found)
    assert first_days(found) == [dt.date(2025, 1, 6), dt.date(2025, 1, 8), dt.date(2025, 1, 9)]


def test_notes_tell_how_far_a_session_reaches(settings: Settings) -> None:
    note_changes(settings)
    before = first(settings)
    start = DAY.replace(hour=20)
    change(
        settings,
        "INSERT INTO source.user_ap_trajectory (mac_address, start_time, end_time, space_id) "
        f"VALUES ('m3', '{start}', '{start + dt.timedelta(days=20)}', 'r1')",
    )
    assert told(settings, before).days == [(dt.date(2025, 1, 6), dt.date(2025, 1, 26))]
    change(settings, "UPDATE source.user_ap_trajectory SET end_time = NULL")
    reached = {last for _, last in told(settings, before).days or []}
    assert max(reached) == dt.date(2025, 1, 26), "where it was before"


def test_times_without_end_are_no_reason_to_fail(settings: Settings) -> None:
    note_changes(settings)
    before = first(settings)
    change(
        settings,
        "INSERT INTO source.user_ap_trajectory (mac_address, start_time, end_time, space_id) "
        "VALUES ('m3', '2025-03-03 09:00', 'infinity', 'r1'), ('m4', '-infinity', NULL, 'r1'), "
        "('m5', '9999-12-31', NULL, 'r1'), ('m6', '0044-03-15 BC', NULL, 'r1')",
    )
    assert told(settings, before).days == [(dt.date(2025, 3, 3), dt.date(2025, 3, 4))]


def test_what_triggers_do_not_see_is_still_told(settings: Settings) -> None:
    note_changes(settings)
    before = first(settings)
    change(settings, "TRUNCATE source.user_ap_trajectory")
    found = told(settings, before)
    assert found.days is None
    change(settings, "DROP TRIGGER tippers_deleted ON source.user_ap_trajectory")
    campus.add_sessions(settings, [seen("m4", 1)])
    assert told(settings, found).days is None, "not all of them are there"


def test_what_commits_late_is_not_missed(settings: Settings) -> None:
    """A transaction may begin before a question and commit after it."""
    note_changes(settings)
    before = first(settings)
    with campus.source(settings) as cursor:
        cursor.execute(
            "INSERT INTO source.user_ap_trajectory (mac_address, start_time, space_id) "
            "VALUES ('m3', '2025-03-03 09:00', 'r1')"
        )
        meanwhile = changes(settings, before.cursor)
        assert meanwhile is not None
        assert meanwhile.days == []
        campus.add_sessions(settings, [seen("m4", 1)])
        meanwhile = told(settings, meanwhile)
    found = told(settings, meanwhile)
    assert dt.date(2025, 3, 3) in first_days(found)


def test_who_has_not_asked_for_long_does_not_know(settings: Settings) -> None:
    note_changes(settings)
    before = first(settings)
    cursor = before.cursor.replace('"asked_at": ', '"asked_at": -')
    found = changes(settings, cursor)
    assert found is not None
    assert found.days is None


def test_writers_do_not_wait_for_each_other(settings: Settings) -> None:
    note_changes(settings)
    insert = (
        "INSERT INTO source.user_ap_trajectory (mac_address, start_time, space_id) "
        "VALUES ('m3', '2025-01-06 09:00', 'r1')"
    )
    with campus.source(settings) as one:
        one.execute(insert)
        with campus.source(settings) as other:
            other.execute("SET lock_timeout = '2s'")
            other.execute(insert)


def test_a_reader_may_read_the_notes_and_nothing_more(settings: Settings) -> None:
    change(settings, *noting_sql(settings, "tippers_reader"))
    may = "SELECT has_table_privilege('tippers_reader', 'source.tippers_changed_day', %s)"
    call = (
        "SELECT has_function_privilege('tippers_reader', "
        "'source.tippers_note_changed_days()', 'EXECUTE')"
    )
    with campus.source(settings) as cursor:
        found = {}
        for right in ("SELECT", "INSERT", "UPDATE", "DELETE"):
            cursor.execute(may, (right,))
            found[right] = cursor.fetchone()[0]
        cursor.execute(call)
        assert cursor.fetchone() == (False,)
    assert found == {"SELECT": True, "INSERT": False, "UPDATE": False, "DELETE": False}


def test_times_with_a_zone_are_noted_by_the_local_day(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIPPERS_TIMEZONE", "America/Los_Angeles")
    get_settings.cache_clear()
    change(
        settings,
        "ALTER TABLE source.user_ap_trajectory ALTER start_time TYPE timestamptz, "
        "ALTER end_time TYPE timestamptz",
    )
    note_changes(get_settings())
    before = first(get_settings())
    change(
        settings,
        "INSERT INTO source.user_ap_trajectory (mac_address, start_time, space_id) "
        "VALUES ('m3', '2025-03-03 02:00+00', 'r1')",
    )
    assert first_days(told(get_settings(), before)) == [dt.date(2025, 3, 2)]
