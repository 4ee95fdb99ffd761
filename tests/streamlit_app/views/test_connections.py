"""The connections page."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from streamlit_app.services import connections as service
from streamlit_app.services.app import App
from tippers_dagster.access.model import Person, Role
from tippers_dagster.catalog.kinds import ConnectionTable
from tippers_dagster.settings import Settings


def page(role: int) -> None:
    from streamlit_app.services.app import App
    from streamlit_app.ui.messages import show_errors
    from streamlit_app.views import connections
    from tippers_dagster.access.model import Person, Role
    from tippers_dagster.settings import get_settings

    with show_errors():
        connections.render(App(get_settings(), Person("ada", Role(role))))


def opened(role: Role = Role.ADMIN, **query: str) -> AppTest:
    at = AppTest.from_function(page, args=(int(role),), default_timeout=60)
    at.query_params.update(query)
    at.run()
    assert not at.exception, at.exception
    return at


def texts(at: AppTest) -> str:
    kinds = (at.header, at.markdown, at.caption, at.info, at.warning, at.error, at.success)
    return "\n".join(str(element.value) for kind in kinds for element in kind)


def click(at: AppTest, label: str) -> AppTest:
    next(b for b in at.button if b.label == label).click().run()
    assert not at.exception, at.exception
    return at


def fill(at: AppTest, **values: str) -> None:
    boxes = {b.label: b for b in (*at.text_input, *at.text_area)}
    for label, value in values.items():
        boxes[label].input(value)


@pytest.fixture
def app(stack: Settings) -> App:
    return App(stack, Person("ada", Role.ADMIN))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rooms.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE room (name text PRIMARY KEY, seats int)")
    return path


@pytest.fixture
def rooms(app: App, file: Path) -> App:
    """With a connection that syncs one table."""
    form = {"dialect": "sqlite", "database": str(file), "sync_seconds": 60}
    service.add(app, "rooms", service.fields_of(form), None, "<script>x</script> **b**")
    service.choose(app, "rooms", ConnectionTable(name="room"))
    return app


def test_empty_state_says_what_to_do(app: App) -> None:
    at = opened()
    assert "There are no connections yet" in texts(at)
    click(at, "Add a connection")
    assert at.header[0].value == "New connection"


def test_adding_a_file_opens_it(app: App, file: Path) -> None:
    at = opened(new="1")
    at.selectbox[0].set_value("sqlite").run()
    fill(at, Name="rooms", File=str(file))
    click(at, "Add")
    assert "rooms works" in texts(at)
    assert at.query_params["open"] == "rooms"
    click(at, "List tables")
    click(at, "Sync this table")
    assert "will be synced" in texts(at)
    assert list(at.dataframe[0].value["State"]) == ["never synced"]


def test_errors_are_shown_and_typed_values_stay(app: App) -> None:
    at = opened(new="1")
    fill(at, Name="payroll", Host="127.0.0.1", Database="hr", User="reader", Password="s3cret")
    at.number_input[0].set_value(1)
    click(at, "Test without saving")
    assert "refuses the connection" in texts(at)
    assert {b.label: b.value for b in at.text_input}["Host"] == "127.0.0.1"
    assert service.listing(app).connections == ()
    click(at, "Add")
    assert "payroll was added" in texts(at)
    assert "s3cret" not in texts(at)
    assert "s3cret" not in str([b.value for b in at.text_input])


def test_the_password_is_never_filled_in(app: App) -> None:
    form = {"dialect": "postgresql", "host": "127.0.0.1", "port": 1, "database": "hr"}
    fields = service.fields_of({**form, "user": "reader", "sync_seconds": 60})
    service.add(app, "payroll", fields, "s3cret")
    at = opened(open="payroll")
    password = next(b for b in at.text_input if b.label == "Password")
    assert password.value == ""
    assert "leave empty to keep it" in password.placeholder
    fill(at, Host="other")
    click(at, "Save")
    assert "must be given again" in texts(at)


def test_cards_and_tables_escape_texts(rooms: App) -> None:
    at = opened()
    assert "1 table, 0 rows; 1 never synced" in texts(at)
    assert "<script>" not in texts(at)
    at = opened(open="rooms")
    assert list(at.dataframe[0].value["Table"]) == ["room"]
    click(at, "Sync now")
    assert "The deployment is not running" in texts(at)


def test_removing_a_table_and_deleting_a_connection(rooms: App) -> None:
    at = opened(open="rooms")
    click(at, "Stop syncing")
    assert "no longer synced" in texts(at)
    at.checkbox[0].check().run()
    click(at, "Delete")
    assert "rooms was deleted" in texts(at)
    assert service.listing(rooms).connections == ()


@pytest.mark.parametrize(
    ("role", "may"), [(Role.ANALYST, {"Test", "Sync now"}), (Role.VIEWER, set())]
)
def test_others_can_only_look(rooms: App, role: Role, may: set[str]) -> None:
    at = opened(role, open="rooms")
    assert {b.label for b in at.button} == {"All connections", *may}
    assert "needs the administrator role" in texts(opened(role, new="1"))
