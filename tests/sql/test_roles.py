"""The reader: what it may do, and what not even unguarded SQL can make it do."""

from __future__ import annotations

import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import closing

import psycopg2
import pytest
import sqlalchemy as sa
from adbc_driver_postgresql import dbapi
from pydantic import SecretStr

from tests.sql.hostile_sql import HOSTILE
from tippers_dagster.errors import SettingsError
from tippers_dagster.local.databases import databases
from tippers_dagster.settings import Settings
from tippers_dagster.sql.roles import ROLE, ensure_reader, reader_url, reading
from tippers_dagster.warehouse.engine import warehouse_engine

TABLES = """
    CREATE SCHEMA IF NOT EXISTS staging;
    CREATE SCHEMA IF NOT EXISTS source;
    CREATE SCHEMA IF NOT EXISTS connection_shop;
    CREATE TABLE source.space (space_id text);
    INSERT INTO source.space VALUES ('a');
    CREATE VIEW staging.stg_space AS SELECT * FROM source.space;
    CREATE TABLE connection_shop.orders AS SELECT 1 AS n;
"""


def owner(settings: Settings, *statements: str) -> None:
    with warehouse_engine(settings).begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def ask(settings: Settings, sql: str, seconds: float = 5) -> list[tuple[object, ...]]:
    with reading(settings, seconds) as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


@pytest.fixture
def campus(stack: Settings) -> Settings:
    owner(stack, TABLES)
    return stack


def test_the_reader_reads_views_whose_tables_it_cannot_read(campus: Settings) -> None:
    assert ask(campus, "SELECT space_id FROM staging.stg_space") == [("a",)]
    assert ask(campus, "SELECT n FROM connection_shop.orders") == [(1,)]
    for table in ("source.space", "tippers.definition"):
        with pytest.raises(dbapi.Error, match="permission denied"):
            ask(campus, f"SELECT * FROM {table}")


def test_the_reader_is_who_logs_in(campus: Settings) -> None:
    assert ask(campus, "SELECT session_user::text, current_user::text") == [(ROLE, ROLE)]
    settings = "statement_timeout", "lock_timeout", "transaction_read_only", "search_path"
    shown = ", ".join(f"current_setting('{name}')" for name in settings)
    assert ask(campus, f"SELECT {shown}", 3) == [("3s", "2s", "on", "pg_catalog")]


def test_new_tables_and_schemas_can_be_read(campus: Settings) -> None:
    ensure_reader(campus)
    owner(
        campus,
        "CREATE TABLE rules.device__new AS SELECT 1 AS x",
        "CREATE SCHEMA connection_late",
        "CREATE TABLE connection_late.t AS SELECT 2 AS x",
        "CREATE SCHEMA elsewhere",
        "CREATE TABLE elsewhere.moved AS SELECT 3 AS x",
        "ALTER TABLE elsewhere.moved SET SCHEMA labels",
    )
    assert ask(campus, "SELECT x FROM rules.device__new") == [(1,)]
    assert ask(campus, "SELECT x FROM connection_late.t") == [(2,)]
    assert ask(campus, "SELECT x FROM labels.moved") == [(3,)]


def test_many_processes_may_make_the_role_at_once(campus: Settings) -> None:
    program = (
        "from tippers_dagster.settings import get_settings\n"
        "from tippers_dagster.sql.roles import ensure_reader\n"
        "ensure_reader(get_settings())\n"
    )
    started = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(2)]
    assert [process.wait(60) for process in started] == [0, 0]
    failed: list[BaseException] = []

    def grant_again() -> None:
        try:
            ensure_reader(campus)
        except sa.exc.SQLAlchemyError as error:
            failed.append(error)

    owner(campus, "REVOKE ALL ON ALL TABLES IN SCHEMA staging FROM tippers_reader")
    threads = [threading.Thread(target=grant_again) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


ESCAPES = [
    "RESET ROLE",
    "SET ROLE postgres",
    "SET SESSION AUTHORIZATION postgres",
    "RESET SESSION AUTHORIZATION",
    "SELECT set_config('role', 'postgres', false)",
    "SELECT set_config('session_authorization', 'postgres', false)",
]


@pytest.mark.parametrize("escape", ESCAPES)
def test_the_role_cannot_be_left(campus: Settings, escape: str) -> None:
    with reading(campus, 5) as cursor:
        try:
            cursor.execute(escape)
            cursor.fetchall()
        except dbapi.Error as error:
            assert error.sqlstate in ("42501", "22023")  # noqa: PT017
            return
        cursor.execute("SELECT current_user::text, session_user::text")
        assert cursor.fetchall() == [(ROLE, ROLE)]


@pytest.mark.parametrize(
    "sql",
    [
        "SET TRANSACTION READ WRITE",
        "SELECT set_config('transaction_read_only', 'off', false)",
        "COMMIT",
        "ROLLBACK",
    ],
)
def test_nothing_is_written_even_when_the_transaction_is_left(campus: Settings, sql: str) -> None:
    with reading(campus, 5) as cursor:
        try:
            cursor.execute(sql)
        except dbapi.Error:
            return
        for write in ("DELETE FROM source.space", "CREATE TABLE public.x (a int)"):
            with pytest.raises(dbapi.Error):
                cursor.execute(write)


RUNS = {
    # Ends or changes nothing that matters: it is another login, and there is nothing to commit.
    *("reset role", "commit", "listen x", "notify x, 'y'", "select pg_notify('x', 'y')"),
    *("explain analyze select 1", "prepare x as select 1", "declare c cursor for select 1"),
    *("select pg_advisory_lock(1)", "select pg_try_advisory_xact_lock(1)"),
    *("select pg_cancel_backend(1)", "select pg_logical_emit_message(true, 'a', 'b')"),
    *("select pg_export_snapshot()", "select txid_current()", "select setseed(0.5)"),
    "select exists (select pg_sleep(1))",  # the database leaves it out
    # Tells what is no secret.
    *("show all", "values (1)", "select version()", "select current_user", "select session_user"),
    *("select current_catalog", "select current_schema", "select current_database()"),
    *("select inet_server_addr()", "select random()", "select gen_random_uuid()"),
    *("select clock_timestamp()", "select * from pg_stat_activity"),
    *("with pg_class as (select 1) select * from pg_class", "select * from staging.stg_space"),
    "select * from information_schema.tables",
}
"""All that would run if the guard let it through."""


def test_hostile_sql_past_the_guard_changes_nothing(campus: Settings) -> None:
    """Each as it stands, with the reader's rights."""
    owner(campus, "CREATE TABLE public.space AS SELECT 'a'::text AS space_id", "CREATE SEQUENCE s")
    ensure_reader(campus)
    before = _everything(campus)
    ran = set()
    reasons = ("several", "statement", "write", "lock", "function", "system", "table")
    for sql in (sql for reason, sql in HOSTILE if reason in reasons):
        try:
            with reading(campus, 0.2) as cursor:
                cursor.execute(sql)
                cursor.fetchall()
            ran.add(sql)
        except dbapi.Error:
            continue
    assert ran <= RUNS
    assert _everything(campus) == before


def _everything(settings: Settings) -> list[object]:
    with warehouse_engine(settings).connect() as connection:
        return [
            connection.execute(sa.text(query)).all()
            for query in (
                "SELECT relname, relkind, relowner FROM pg_class ORDER BY oid",
                "SELECT rolname, rolsuper, rolconfig FROM pg_roles ORDER BY 1",
                "SELECT * FROM public.space",
                "SELECT last_value, is_called FROM tippers.s",
                "SELECT count(*) FROM pg_largeobject_metadata",
            )
        ]


# --- deployments -------------------------------------------------------------------------------
@pytest.fixture
def plain_owner(campus: Settings) -> Iterator[Settings]:
    """A warehouse whose user owns its database and may make no roles."""
    name = databases(campus).warehouse.split("@/", 1)[1].split("?", 1)[0]
    role = f"owner_{name}"
    owner(
        campus,
        f"CREATE ROLE {role} LOGIN",
        f"ALTER DATABASE {name} OWNER TO {role}",
        f"GRANT ALL ON SCHEMA tippers, staging, source, connection_shop TO {role}",
        f"GRANT ALL ON ALL TABLES IN SCHEMA tippers TO {role}",
    )
    url = databases(campus).warehouse.replace("//postgres@", f"//{role}@")
    yield campus.model_copy(update={"database_url": SecretStr(url)})
    owner(campus, f"REASSIGN OWNED BY {role} TO postgres", f"DROP OWNED BY {role}")
    owner(campus, f"DROP ROLE {role}")


def test_a_reader_that_an_administrator_made(plain_owner: Settings, campus: Settings) -> None:
    owner(campus, "ALTER SCHEMA connection_shop OWNER TO postgres", "DROP SCHEMA staging CASCADE")
    owner(campus, "DROP SCHEMA connection_shop CASCADE")
    own = f"reader_{uuid.uuid4().hex[:12]}"
    owner(campus, f'CREATE ROLE "{own}" LOGIN')
    url = databases(campus).warehouse.replace("//postgres@", f"//{own}@")
    settings = plain_owner.model_copy(update={"reader_url": SecretStr(url)})
    owner(settings, "CREATE SCHEMA staging", "CREATE TABLE staging.x AS SELECT 1 AS a")
    assert ask(settings, "SELECT a, session_user::text FROM staging.x") == [(1, own)]
    owner(campus, f'DROP OWNED BY "{own}"', f'DROP ROLE "{own}"')


def test_a_powerful_reader_is_refused(campus: Settings) -> None:
    settings = campus.model_copy(update={"reader_url": SecretStr(databases(campus).warehouse)})
    with pytest.raises(SettingsError, match="may do more than read"):
        ask(settings, "SELECT 1")


def test_a_reader_url_without_a_user_or_of_nobody(campus: Settings) -> None:
    warehouse = databases(campus).warehouse
    nobody = campus.model_copy(
        update={"reader_url": SecretStr(warehouse.replace("postgres@", "nobody:geheim@"))}
    )
    with pytest.raises(SettingsError, match="nobody") as caught:
        ask(nobody, "SELECT 1")
    assert "geheim" not in str(caught.value)


@pytest.mark.slow
def test_password_login_and_missing_rights(settings: Settings) -> None:
    """A server that wants passwords, and a warehouse user who may not make roles."""
    url = databases(settings).warehouse
    rules = settings.home_path / "postgres" / "pg_hba.conf"
    kept = rules.read_text()
    rules.write_text(f"local all {ROLE} scram-sha-256\n{kept}")
    _execute(url, "CREATE ROLE modest LOGIN", "SELECT pg_reload_conf()")
    _execute(url, "CREATE DATABASE theirs OWNER modest")
    modest = settings.model_copy(
        update={
            "database_url": SecretStr(
                url.replace("//postgres@", "//modest@").replace("/tippers?", "/theirs?")
            )
        }
    )
    with pytest.raises(SettingsError, match="may not make the role") as caught:
        ask(modest, "SELECT 1")
    assert "TIPPERS_READER_URL" in (caught.value.hint or "")

    assert ask(settings, "SELECT session_user::text") == [(ROLE,)]
    wrong = reader_url(settings).replace(f"//{ROLE}:", f"//{ROLE}:0")
    with pytest.raises(psycopg2.OperationalError, match="password"):
        psycopg2.connect(wrong)

    other = settings.model_copy(update={"device_key": SecretStr("ab" * 32)})
    with pytest.raises(SettingsError, match="does not let the role") as caught:
        ask(other, "SELECT 1")
    assert reader_url(other).split(":")[2].split("@")[0] not in str(caught.value)


def _execute(url: str, *statements: str) -> None:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        for statement in statements:
            cursor.execute(statement)
