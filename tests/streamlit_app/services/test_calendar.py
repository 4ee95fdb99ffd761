"""What the page of the academic calendar does."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import pytest

from streamlit_app.services import calendar as service
from streamlit_app.services.app import App
from streamlit_app.services.calendar import CalendarConflict, Draft
from tippers_dagster.access.model import NotAllowed, Role
from tippers_dagster.errors import BadInput

AsRole = Callable[[App, Role], App]
FIRST, LAST = dt.date(2025, 9, 25), dt.date(2025, 12, 12)


def fall(**changes: object) -> Draft:
    return Draft(**({"kind": "quarter", "name": "Fall", "first_day": FIRST, "last_day": LAST}
                    | changes))  # type: ignore[arg-type]  # fmt: skip


def test_a_period_is_added_changed_and_removed(empty_app: App) -> None:
    service.save(empty_app, fall())
    [kept] = service.periods(empty_app)
    assert (kept.period.last_day, kept.updated_by) == (LAST, "ada")
    draft = Draft.of(kept)
    assert not draft.dirty
    draft.name = "Fall 2025"
    assert draft.dirty
    service.save(empty_app, draft)
    [kept] = service.periods(empty_app)
    assert (kept.period.name, kept.version) == ("Fall 2025", 2)
    service.remove(empty_app, kept)
    assert service.periods(empty_app) == []


def test_an_invalid_period_is_refused(empty_app: App) -> None:
    with pytest.raises(BadInput, match="first day is missing"):
        service.save(empty_app, fall(first_day=None))
    with pytest.raises(BadInput, match="before it begins"):
        service.save(empty_app, fall(first_day=LAST, last_day=FIRST))
    # Without a last day it has one day; a space that was chosen for an event is let go.
    service.save(empty_app, fall(kind="holiday", last_day=None, space="12"))
    [kept] = service.periods(empty_app)
    assert (kept.period.days, kept.period.space) == (1, "")


def test_two_people_at_one_period(empty_app: App, as_role: AsRole) -> None:
    service.save(empty_app, fall())
    [kept] = service.periods(empty_app)
    mine, theirs = Draft.of(kept), Draft.of(kept)
    mine.name, theirs.name = "Autumn", "Fall quarter"
    service.save(as_role(empty_app, Role.ANALYST), theirs)
    with pytest.raises(CalendarConflict) as told:
        service.save(empty_app, mine)
    [clash] = told.value.clashes
    assert clash.now is not None
    assert clash.now.period.name == "Fall quarter"
    assert "the analyst" in str(clash)
    service.save(empty_app, mine, over=clash)
    [kept] = service.periods(empty_app)
    assert (kept.period.name, kept.version) == ("Autumn", 3)
    # A period that somebody removed can be created again.
    mine = Draft.of(kept)
    mine.name = "Fall"
    service.remove(empty_app, kept)
    with pytest.raises(CalendarConflict, match="removed") as told:
        service.save(empty_app, mine)
    service.save(empty_app, mine, over=told.value.clashes[0])
    assert [k.period.name for k in service.periods(empty_app)] == ["Fall"]


def test_only_analysts_change_the_calendar(empty_app: App, as_role: AsRole) -> None:
    service.save(empty_app, fall())
    viewer = as_role(empty_app, Role.VIEWER)
    [kept] = service.periods(viewer)
    assert not service.may_write(viewer)
    for act in (
        lambda: service.save(viewer, fall(name="x")),
        lambda: service.remove(viewer, kept),
        lambda: service.import_file(viewer, b"", "x.csv", replace=True),
        lambda: service.add_holidays(viewer, 2025, "US", None),
    ):
        with pytest.raises(NotAllowed):
            act()
    assert service.periods(viewer) == [kept]
    assert "quarter,Fall,2025-09-25,2025-12-12," in service.as_csv(viewer)


def test_files_and_holidays(empty_app: App) -> None:
    text = b"kind,name,first_day,last_day\nbreak,Spring break,2025-03-22,2025-03-30\n"
    assert service.import_file(empty_app, text, "c.csv", replace=False).added == 1
    assert service.add_holidays(empty_app, 2025, "US", "CA").added > 10
    assert service.import_file(empty_app, text, "c.csv", replace=True).removed > 10
    with pytest.raises(BadInput, match="line 2"):
        service.import_file(empty_app, text.replace(b"03-30", b"02-30"), "c.csv", replace=True)
    assert service.as_csv(empty_app).splitlines()[1:] == [
        "break,Spring break,2025-03-22,2025-03-30,"
    ]


def test_every_day_of_a_year_has_its_kind(empty_app: App) -> None:
    service.save(empty_app, fall())
    service.save(empty_app, fall(kind="holiday", name="Day", first_day=FIRST, last_day=FIRST))
    over = fall(kind="break", name="Winter", first_day=dt.date(2025, 12, 20), last_day=None)
    over.last_day = dt.date(2026, 1, 4)
    service.save(empty_app, over)
    found = service.periods(empty_app)
    days = service.year_of(found, 2025)
    assert len(days) == 365
    by_day = {day.day: day for day in days}
    assert by_day[FIRST].kind == "holiday"
    assert by_day[FIRST].names == "Day (holiday), Fall (quarter)"
    assert by_day[LAST].kind == "quarter"
    assert by_day[dt.date(2025, 12, 31)].kind == "break"
    assert by_day[dt.date(2025, 7, 1)].kind == ""
    assert service.in_words(days) == "78 days in session, 12 break days, 1 holiday"
    assert service.in_words(service.year_of([], 2024)) == "no periods"
    assert len(service.year_of(found, 2024)) == 366
    assert service.years(found, dt.date(2028, 5, 1)) == [2025, 2026, 2028, 2029]
