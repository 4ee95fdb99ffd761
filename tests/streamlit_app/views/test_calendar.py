"""The academic calendar page as rendered."""

from __future__ import annotations

import datetime as dt

from streamlit.testing.v1 import AppTest

from streamlit_app.services import calendar as service
from streamlit_app.services.app import App
from streamlit_app.services.calendar import Draft
from tippers_dagster.access.model import Person, Role

FIRST, LAST = dt.date(2025, 9, 25), dt.date(2025, 12, 12)


def page(role: int) -> None:
    from streamlit_app.services.app import App
    from streamlit_app.ui.messages import show_errors
    from streamlit_app.views import calendar
    from tippers_dagster.access.model import Person, Role
    from tippers_dagster.settings import get_settings

    with show_errors():
        calendar.render(App(get_settings(), Person("ada", Role(role))))


def opened(role: Role = Role.ANALYST, **query: str) -> AppTest:
    at = AppTest.from_function(page, args=(int(role),), default_timeout=60)
    at.query_params.update(query)
    at.run()
    assert not at.exception, at.exception
    return at


def texts(at: AppTest) -> str:
    kinds = (at.markdown, at.caption, at.info, at.warning, at.error, at.success)
    return "\n".join(str(element.value) for kind in kinds for element in kind).replace("\\", "")


def field(at: AppTest, label: str) -> object:
    boxes = (*at.text_input, *at.selectbox, *at.date_input, *at.button, *at.toggle)
    return next(box for box in boxes if box.label == label)


def fill(at: AppTest, **values: object) -> None:
    for label, value in values.items():
        field(at, label.replace("_", " ")).set_value(value)  # type: ignore[attr-defined]
    at.run()
    assert not at.exception, at.exception


def click(at: AppTest, label: str) -> None:
    field(at, label).click()  # type: ignore[attr-defined]
    at.run()
    assert not at.exception, at.exception


def save(app: App, name: str = "Fall", kind: str = "quarter", last: dt.date = LAST) -> None:
    service.save(app, Draft(kind, name, FIRST, last))


def test_an_empty_calendar_says_what_to_do(empty_app: App) -> None:
    assert "The calendar is empty" in texts(opened())
    assert "Changing it needs the analyst role" in texts(opened(Role.VIEWER))


def test_a_period_is_added_then_changed_then_removed(empty_app: App) -> None:
    at = opened()
    click(at, "Add a period")
    assert at.query_params["open"] in ("new", ["new"])
    click(at, "Add")
    assert "The first day is missing" in texts(at)
    fill(at, Kind="quarter", Name="Fall 2025", First_day=FIRST)
    field(at, "Last day (included)").set_value(LAST)  # type: ignore[attr-defined]
    click(at, "Add")
    assert "quarter 'Fall 2025' (2025-09-25 to 2025-12-12) saved." in texts(at)
    assert "2025: 79 days in session." in texts(at)
    [kept] = service.periods(empty_app)
    assert kept.updated_by == "ada"
    at = opened(open=str(kept.id))
    fill(at, Name="Fall quarter")
    click(at, "Save")
    [kept] = service.periods(empty_app)
    assert (kept.period.name, kept.version) == ("Fall quarter", 2)
    at = opened(open=str(kept.id))
    click(at, "Remove")
    assert ") removed." in texts(at)
    assert service.periods(empty_app) == []
    assert "does not exist (any more)" in texts(opened(open=str(kept.id)))


def test_contradictions_are_shown_with_the_form(empty_app: App) -> None:
    save(empty_app)
    at = opened(open="new")
    fill(at, Kind="quarter", Name="Winter", First_day=LAST)
    click(at, "Add")
    assert "overlap" in texts(at)
    assert field(at, "Name").value == "Winter"  # type: ignore[attr-defined]
    assert len(service.periods(empty_app)) == 1


def test_a_conflict_shows_both_changes(empty_app: App) -> None:
    save(empty_app)
    [kept] = service.periods(empty_app)
    at = opened(open=str(kept.id))
    fill(at, Name="Autumn")
    theirs = Draft.of(kept)
    theirs.name = "**Fall** quarter"
    service.save(App(empty_app.settings, Person("eve", Role.ANALYST)), theirs)
    click(at, "Save")
    page_text = texts(at)
    assert "was changed by eve" in page_text
    assert "**Theirs**: quarter '**Fall** quarter'" in page_text
    assert "**Yours**: quarter 'Autumn'" in page_text
    assert field(at, "Name").value == "Autumn"  # type: ignore[attr-defined]
    click(at, "Save mine")
    assert [k.period.name for k in service.periods(empty_app)] == ["Autumn"]

    [kept] = service.periods(empty_app)
    at = opened(open=str(kept.id))
    service.remove(empty_app, kept)
    click(at, "Remove")  # both removed it
    assert ") removed." in texts(at)


def test_an_event_takes_place_in_a_space(campus_app: App) -> None:
    at = opened(open="new")
    fill(at, Kind="event", Name="Open day", First_day=FIRST)
    fill(at, In_one_space_only=True)
    click(at, "Add")
    [kept] = service.periods(campus_app)
    assert kept.period.space != ""
    at = opened(year="2025")
    table = at.dataframe[0].value
    assert list(table["Name"]) == ["Open day"]
    assert table["Space"][0] != ""


def test_holidays_of_a_year_are_added(empty_app: App) -> None:
    at = opened()
    year = field(at, "Year").value  # type: ignore[attr-defined]
    click(at, "Add holidays")
    found = service.periods(empty_app)
    assert len(found) >= 11
    assert {k.period.start.year for k in found} <= {year, year + 1}
    assert f"Public holidays {year}: {len(found)} added" in texts(at)


def test_a_viewer_can_look_but_not_change_anything(empty_app: App) -> None:
    save(empty_app)
    at = opened(Role.VIEWER, open="new")
    assert "Changing the calendar needs the analyst role" in texts(at)
    assert not any(b.label in ("Add a period", "Add", "Add holidays") for b in at.button)
    assert list(at.dataframe[0].value["Name"]) == ["Fall"]
