"""Connections as definitions."""

from __future__ import annotations

import logging
import socket
from pathlib import Path

import pytest
import sqlalchemy as sa
from psycopg2.extensions import parse_dsn

from tests.connections.conftest import PASSWORD, Other, rows
from tippers_dagster.catalog import store as catalog_store
from tippers_dagster.catalog.files import export
from tippers_dagster.catalog.kinds import Concept, ConnectionTable, Index, Kind
from tippers_dagster.catalog.model import Draft, Ref
from tippers_dagster.connections import store
from tippers_dagster.connections.faults import ConnectionFault
from tippers_dagster.connections.running import connection_nodes_of, sync_tables
from tippers_dagster.errors import BadInput
from tippers_dagster.platform.postgres.databases import databases
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings, get_settings


def test_a_connection_is_added_and_tested_and_lists_its_tables(campus: Settings) -> None:
    tested = store.test(campus, "registrar")
    assert tested.works, tested.sentence
    found = {t.name: t for t in store.list_tables(campus, "registrar")}
    assert set(found) == {"enrolment", "room"}
    assert found["enrolment"].primary_key == ("id",)
    assert [c.name for c in found["enrolment"].columns][:2] == ["id", "student"]
    assert found["enrolment"].schema_name == "public"


def test_estimated_rows(campus: Settings, other: Other) -> None:
    other.run("ANALYZE")
    assert {t.name: t.rows for t in store.list_tables(campus, "registrar")} == {
        "enrolment": 100,
        "room": 3,
    }


def test_a_connection_does_not_lead_to_the_embedded_server(
    settings: Settings, tmp_path: Path
) -> None:
    # Its socket requires no password: as superuser a connection could read everything.
    folder = parse_dsn(databases(settings).warehouse)["host"]
    (tmp_path / "link").symlink_to(folder)
    for host in (folder, f"{folder}/../postgres/", f"/nowhere,{folder}", str(tmp_path / "link")):
        fields = {
            "dialect": "postgresql",
            "host": host,
            "user": "postgres",
            "port": 5432,
            "database": "tippers",
        }
        tested = store.try_out(settings, "own", fields, password=None)
        assert not tested.works
        assert "the deployment's own database server" in tested.sentence


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"password": "n0t-it"}, "wrong user or password"),
        ({"user": "nobody_there"}, "wrong user or password"),
        ({"database": "no_such_db"}, "no database 'no_such_db'"),
        ({"host": "no-such-host.invalid"}, "no host 'no-such-host.invalid'"),
        ({"host": "127.0.0.1", "port": 1}, "refuses"),
        ({"host": "/no/such/folder"}, "No such file"),
    ],
)
def test_errors_do_not_show_the_password(
    stack: Settings, other: Other, changes: dict[str, object], words: str
) -> None:
    fields = {**other.fields, **changes}
    password = str(fields.pop("password", PASSWORD))
    store.add(stack, "registrar", fields, by="ada", password=password)
    tested = store.test(stack, "registrar")
    assert not tested.works
    assert words in tested.sentence
    assert password not in tested.sentence


def test_a_missing_driver_is_named(stack: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        place = {"host": "127.0.0.1", "port": port, "database": "d", "user": "sa"}
        store.add(stack, "erp", {"dialect": "mssql", **place}, by="ada", password="x")
        tested = store.test(stack, "erp")
    assert "pip install 'tippers[mssql]'" in tested.sentence


HOST = {"dialect": "postgresql", "host": "db", "database": "d", "user": "u"}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({**HOST, "options": {"options": "-c search_path=x"}}, "not an option"),
        ({**HOST, "options": {"service": "x"}}, "not an option"),
        ({**HOST, "options": {"sslmode": "maybe"}}, "sslmode must be one of"),
        ({**HOST, "options": {"sslrootcert": "/no/such"}}, "not a file"),
        ({**HOST, "host": "a b"}, "host"),
        ({**HOST, "host": "db?sslmode=disable"}, "host"),
        ({**HOST, "host": None}, "host"),
        ({**HOST, "user": None}, "user"),
        ({**HOST, "dialect": "oracle"}, "dialect"),
        ({**HOST, "port": 0}, "port"),
        ({**HOST, "extra": 1}, "unknown field"),
        ({**HOST, "dialect": "mysql", "options": {"local_infile": "1"}}, "not an option"),
        ({**HOST, "dialect": "mysql", "options": {"read_default_file": "/x"}}, "not an option"),
        ({"dialect": "sqlite", "database": "/no/such/file"}, "no file"),
        ({"dialect": "sqlite", "database": "relative.db"}, "absolute path"),
        ({"dialect": "sqlite", "database": "/etc/passwd"}, "not a SQLite"),
        ({"dialect": "sqlite", "database": "/etc/passwd", "host": "h"}, "no host"),
        ({"dialect": "sqlite", "database": ":memory:"}, "absolute path"),
    ],
)
def test_invalid_connections(stack: Settings, fields: dict[str, object], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        store.add(stack, "bad", fields, by="ada")
    assert store.list_connections(stack) == {}


def test_the_name_source_is_kept_for_the_settings(stack: Settings) -> None:
    with pytest.raises(BadInput, match="TIPPERS_SOURCE_URL"):
        store.add(stack, "source", HOST, by="ada")


def test_editing_keeps_the_password_but_never_sends_it_elsewhere(campus: Settings) -> None:
    store.edit(campus, "registrar", {"sync_seconds": 60}, by="ada")
    assert store.test(campus, "registrar").works
    with pytest.raises(BadInput, match="address of registrar changes"):
        store.edit(campus, "registrar", {"host": "evil.example"}, by="eve")
    assert store.test(campus, "registrar").works


def test_a_stored_password_cannot_be_taken_elsewhere_past_these_functions(
    campus: Settings,
) -> None:
    ref = store.ref_of("registrar")
    body = catalog_store.get(campus, ref).body
    moved = body.model_copy(update={"host": "127.0.0.1", "port": 9})
    catalog_store.save(campus, Draft(ref, moved), by="eve")
    assert "another server" in store.test(campus, "registrar").sentence


def test_choosing_checks_the_real_columns(campus: Settings) -> None:
    def choose(**fields: object) -> ConnectionTable:
        return store.choose(campus, "registrar", ConnectionTable(**fields), by="ada")  # type: ignore[arg-type]

    assert choose(name="enrolment", cursor="changed_at").primary_key == ("id",)
    with pytest.raises(ConnectionFault, match="Did you mean enrolment"):
        choose(name="enrollment")
    with pytest.raises(BadInput, match="Did you mean changed_at"):
        choose(name="enrolment", cursor="change_at")
    with pytest.raises(BadInput, match="neither a number nor a time"):
        choose(name="enrolment", cursor="student")
    with pytest.raises(BadInput, match="no primary key"):
        choose(name="room", cursor="seats")
    with pytest.raises(BadInput, match="no column 'idd'"):
        choose(name="room", primary_key=("idd",))
    assert [t.name for t in store.get(campus, "registrar").tables] == ["enrolment"]


def sync(settings: Settings) -> None:
    body = store.get(settings, "registrar")
    nodes = connection_nodes_of({"registrar": body})
    for outcome in sync_tables(
        settings,
        "registrar",
        body,
        body.tables,
        nodes=nodes,
        run_id="r",
        log=logging.getLogger(__name__),
    ):
        assert outcome.error is None


def index_over(settings: Settings, sql: str) -> None:
    catalog_store.save(settings, Draft(Ref("", "course", Kind.CONCEPT), Concept()), by="ada")
    draft = Draft(Ref("course", "students", Kind.INDEX), Index(sql=sql, key="student"), reads=())
    catalog_store.save(settings, draft, by="ada")


def test_used_tables_are_not_deleted(campus: Settings) -> None:
    for name in ("enrolment", "room"):
        store.choose(campus, "registrar", ConnectionTable(name=name), by="ada")
    sync(campus)
    index_over(campus, 'SELECT DISTINCT student FROM connection_registrar . "enrolment"')
    with pytest.raises(BadInput, match=r"course\.students"):
        store.delete(campus, "registrar", by="ada")
    with pytest.raises(BadInput, match=r"course\.students"):
        store.leave_out(campus, "registrar", "enrolment", by="ada")
    store.leave_out(campus, "registrar", "room", by="ada")
    left = "SELECT tablename FROM pg_tables WHERE schemaname = 'connection_registrar'"
    assert rows(campus, left) == [("enrolment",)]
    catalog_store.delete(campus, Ref("course", "students", Kind.INDEX), by="ada")
    with warehouse_engine(campus).begin() as warehouse:
        warehouse.exec_driver_sql(
            "CREATE VIEW public.old AS SELECT * FROM connection_registrar.enrolment"
        )
    with pytest.raises(ConnectionFault, match="old"):
        store.delete(campus, "registrar", by="ada")
    with warehouse_engine(campus).begin() as warehouse:
        warehouse.execute(sa.text("DROP VIEW public.old"))
    store.delete(campus, "registrar", by="ada")
    assert store.list_connections(campus) == {}
    assert rows(campus, left) == []


def test_an_export_contains_no_password(campus: Settings, tmp_path: Path) -> None:
    export(tmp_path / "out", catalog_store.list_definitions(campus))
    texts = [path.read_text() for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert any("registrar" in str(path) for path in (tmp_path / "out").rglob("*"))
    token = store.get(campus, "registrar").password
    assert token is not None
    assert not any("p@ss" in text or token in text for text in texts)


def test_the_source_of_the_settings_is_a_connection(
    stack: Settings, other: Other, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIPPERS_SOURCE_URL", other.url)
    monkeypatch.setenv("TIPPERS_SOURCE_SCHEMA", "public")
    get_settings.cache_clear()
    settings = get_settings()
    body = store.get(settings, "source")
    assert [t.name for t in body.tables][:2] == ["space", "space_metadata"]
    assert store.test(settings, "source").works
    other.run(
        "CREATE TABLE user_ap_trajectory (mac_address text, sensor_id text, start_time timestamp, "
        "end_time timestamp, space_id text); "
        "INSERT INTO user_ap_trajectory VALUES ('m', 's', '2025-01-01', '2025-01-02', 'r')"
    )
    wanted = ConnectionTable(
        name="user_ap_trajectory",
        schema_name="public",
        cursor="start_time",
        primary_key=("mac_address", "sensor_id", "start_time"),
        lag_seconds=86400,
    )
    store.choose(settings, "source", wanted, by="ada")
    store.edit(settings, "source", {"sync_seconds": 60}, by="ada")
    assert wanted in store.get(settings, "source").tables
    with pytest.raises(BadInput, match="TIPPERS_SOURCE_URL"):
        store.edit(settings, "source", {"host": "elsewhere"}, by="ada")
    assert len(store.get(settings, "source").tables) == 5
    store.delete(settings, "source", by="ada")  # deletes the choices; the connection stays
    assert store.get(settings, "source") == body
