"""Connections: who may, what is shown, and that a password never comes back."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from streamlit_app.services import connections as service
from streamlit_app.services.app import App
from streamlit_app.services.definitions import files
from streamlit_app.services.definitions.listing import load
from tippers_dagster.access.model import NotAllowed, Person, Role
from tippers_dagster.catalog.kinds import ConnectionTable
from tippers_dagster.errors import BadInput, TippersError
from tippers_dagster.settings import Settings

FORM = {
    "dialect": "postgresql",
    "host": "127.0.0.1",
    "port": 1,
    "database": "hr",
    "user": "reader",
    "options": "sslmode=require",
    "sync_seconds": 600,
}


@pytest.fixture
def app(stack: Settings) -> App:
    return App(stack, Person("ada", Role.ADMIN))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rooms.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "CREATE TABLE room (name text PRIMARY KEY, seats int);"
            "INSERT INTO room VALUES ('a', 10), ('b', 20);"
        )
    return path


def add_file(app: App, path: Path) -> service.ConnectionInfo:
    form = {"dialect": "sqlite", "database": str(path), "sync_seconds": 60}
    tested = service.add(app, "rooms", service.fields_of(form), None, "Rooms.")
    assert tested.works, tested
    return shown(app, "rooms")


def shown(app: App, name: str) -> service.ConnectionInfo:
    return next(c for c in service.listing(app).connections if c.name == name)


def test_there_are_no_connections_at_first(app: App) -> None:
    assert service.listing(app) == service.Listing((), {})


def test_a_file_is_added_chosen_and_shown(app: App, file: Path) -> None:
    found = add_file(app, file)
    assert (found.place, found.description, found.tables) == (str(file), "Rooms.", ())
    (table,) = service.find_tables(app, "rooms")
    assert (table.name, table.primary_key, table.rows) == ("room", ("name",), 2)
    choice, reloaded = service.choose(app, "rooms", ConnectionTable(name="room"))
    assert choice.primary_key == ("name",)
    assert reloaded.state == "nothing_running"
    (chosen,) = shown(app, "rooms").tables
    assert (chosen.asset, chosen.how, chosen.synced_at) == (
        "connection/rooms/room",
        "full copy",
        None,
    )


def test_the_last_sync_is_shown(app: App, file: Path) -> None:
    import logging

    from tippers_dagster.connections.running import connection_nodes_of, sync_tables

    add_file(app, file)
    service.choose(app, "rooms", ConnectionTable(name="room"))
    body = shown(app, "rooms").body
    log = logging.getLogger(__name__)
    nodes = connection_nodes_of({"rooms": body})
    list(sync_tables(app.settings, "rooms", body, body.tables, nodes=nodes, run_id="r", log=log))
    (table,) = shown(app, "rooms").tables
    assert (table.rows, table.run_id, table.error) == (2, "r", "")
    assert table.change == "2 added, 0 changed, 0 deleted"
    assert table.synced_at is not None


def test_passwords_are_never_shown(app: App) -> None:
    tested = service.add(app, "payroll", service.fields_of(FORM), "s3cret")
    assert not tested.works
    found = shown(app, "payroll")
    assert found.has_password
    assert found.body.password is None
    assert "s3cret" not in f"{found!r} {tested!r}"


def test_an_empty_password_keeps_the_stored_one(app: App) -> None:
    service.add(app, "payroll", service.fields_of(FORM), "s3cret")
    changed = service.fields_of({**FORM, "sync_seconds": 60})
    service.edit(app, shown(app, "payroll"), changed, "")
    assert shown(app, "payroll").has_password
    moved = service.fields_of({**FORM, "host": "other"})
    with pytest.raises(BadInput, match="must be given again") as told:
        service.edit(app, shown(app, "payroll"), moved, "")
    assert "Password field" in (told.value.hint or "")
    assert shown(app, "payroll").body.host == "127.0.0.1"


def test_trying_out_saves_nothing(app: App, file: Path) -> None:
    form = service.fields_of({"dialect": "sqlite", "database": str(file), "sync_seconds": 60})
    assert service.try_out(app, "rooms", form, "").works
    refused = service.try_out(app, "payroll", service.fields_of(FORM), "s3cret")
    assert not refused.works
    assert "refuses" in refused.sentence
    assert service.listing(app).connections == ()


def test_two_administrators_do_not_overwrite_each_other(app: App) -> None:
    service.add(app, "payroll", service.fields_of(FORM), "s3cret")
    before = shown(app, "payroll")
    service.edit(app, before, {"sync_seconds": 60}, "")
    with pytest.raises(BadInput, match="after you started"):
        service.edit(app, before, {"sync_seconds": 120}, "")


def test_tables_that_definitions_read_are_not_removed(app: App, file: Path) -> None:
    from tests.catalog.conftest import draft
    from tippers_dagster.catalog import store

    add_file(app, file)
    service.choose(app, "rooms", ConnectionTable(name="room"))
    sql = "SELECT name AS mac_address FROM connection_rooms.room"
    store.save_all(
        app.settings,
        [draft("concept", "rooms_of"), draft("index", "rooms_of.rooms", sql=sql)],
        by="ada",
    )
    assert shown(app, "rooms").users == ["rooms_of.rooms"]
    for act in (
        lambda: service.leave_out(app, "rooms", "room"),
        lambda: service.delete(app, "rooms"),
    ):
        with pytest.raises(BadInput, match=r"rooms_of\.rooms"):
            act()


def test_an_earlier_planned_import_does_not_undo_a_change(app: App, file: Path) -> None:
    found = add_file(app, file)
    analyst = App(app.settings, Person("bea", Role.ANALYST))
    made = files.exported(files.to_export(load(app)))
    planned = files.plan(analyst, load(app), [("all.zip", made)])
    assert [p.outcome for p in planned.planned] == ["unchanged"]
    form = {"dialect": "sqlite", "database": str(file), "sync_seconds": 90}
    service.edit(app, found, service.fields_of(form), None)
    files.import_planned(analyst, planned)
    assert shown(app, "rooms").body.sync_seconds == 90


def test_a_connection_is_deleted(app: App, file: Path) -> None:
    add_file(app, file)
    service.delete(app, "rooms")
    assert service.listing(app).connections == ()


@pytest.mark.parametrize("role", [Role.VIEWER, Role.ANALYST])
def test_changes_need_an_administrator(app: App, file: Path, role: Role) -> None:
    found = add_file(app, file)
    other = App(app.settings, Person("bea", role))
    acts = (
        lambda: service.add(other, "more", {}, None),
        lambda: service.edit(other, found, {}, None),
        lambda: service.try_out(other, "more", {}, None),
        lambda: service.find_tables(other, "rooms"),
        lambda: service.choose(other, "rooms", ConnectionTable(name="room")),
        lambda: service.leave_out(other, "rooms", "room"),
        lambda: service.delete(other, "rooms"),
    )
    for act in acts:
        with pytest.raises(NotAllowed):
            act()


def test_syncing_needs_an_analyst_and_a_running_deployment(app: App, file: Path) -> None:
    found = add_file(app, file)
    with pytest.raises(NotAllowed):
        service.sync(App(app.settings, Person("vic", Role.VIEWER)), found)
    with pytest.raises(BadInput, match="no tables"):
        service.sync(app, found)
    service.choose(app, "rooms", ConnectionTable(name="room"))
    with pytest.raises(TippersError, match="The deployment is not running"):
        service.sync(app, shown(app, "rooms"))


def test_options_are_lines(app: App) -> None:
    assert service.fields_of(FORM)["options"] == {"sslmode": "require"}
    with pytest.raises(BadInput, match="name=value"):
        service.fields_of({**FORM, "options": "nonsense"})
    with pytest.raises(BadInput, match="not an option"):
        service.add(app, "x", service.fields_of({**FORM, "options": "passfile=/etc/x"}), None)
