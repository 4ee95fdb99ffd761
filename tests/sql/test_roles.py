"""The builder and the reader: their rights, and that even unguarded SQL cannot exceed them."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
import sqlalchemy as sa
from adbc_driver_postgresql import dbapi
from pydantic import SecretStr

from tests.conftest import SessionServer
from tests.sql.hostile_sql import ATTACKS, HOSTILE
from tippers_dagster.errors import SettingsError
from tippers_dagster.platform.postgres.databases import databases
from tippers_dagster.platform.postgres.embedded import ADMINISTRATOR
from tippers_dagster.platform.postgres.owner import OWNER, administering
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings
from tippers_dagster.sql.environment import dbt_environment
from tippers_dagster.sql.roles import (
    BUILDER,
    READER,
    builder_url,
    built,
    ensure_roles,
    reader_url,
    reading,
)

REPOSITORY = Path(__file__).parents[2]

TABLES = """
    CREATE SCHEMA IF NOT EXISTS source;
    CREATE SCHEMA IF NOT EXISTS connection_shop;
    CREATE TABLE source.space (space_id text);
    INSERT INTO source.space VALUES ('a');
    CREATE VIEW staging.stg_space AS SELECT * FROM source.space;
    CREATE TABLE connection_shop.orders AS SELECT 1 AS n;
    CREATE TABLE labels.device__kind AS SELECT 'a' AS mac_address;
    CREATE TABLE rules.device__old AS SELECT 1 AS x;
    CREATE SEQUENCE tippers.counted;
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


def test_roles_log_in_with_their_limits(campus: Settings) -> None:
    assert ask(campus, "SELECT session_user::text, current_user::text") == [(READER, READER)]
    names = "statement_timeout", "lock_timeout", "transaction_read_only", "search_path"
    with reading(campus, 3) as cursor:
        assert [shown(cursor, name) for name in names] == ["3s", "2s", "on", "pg_catalog"]
        assert shown(cursor, "temp_file_limit") == "4GB"
        assert shown(cursor, "work_mem") == "16MB"
    with closing(psycopg2.connect(builder_url(campus))) as connection:
        link = connection.cursor()
        for query, expected in {
            "SELECT session_user || ' ' || current_user": f"{BUILDER} {BUILDER}",
            "SHOW temp_file_limit": "50GB",
            "SHOW statement_timeout": "6h",
        }.items():
            link.execute(query)
            assert link.fetchone() == (expected,)


def shown(cursor: dbapi.Cursor, name: str) -> object:
    cursor.execute(f"SHOW {name}")
    (row,) = cursor.fetchall()
    return row[0]


def test_new_tables_and_schemas_can_be_read(campus: Settings) -> None:
    ensure_roles(campus)
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
    with closing(psycopg2.connect(builder_url(campus))) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT x FROM labels.moved")
        assert cursor.fetchall() == [(3,)]


def test_tables_of_earlier_versions_go_to_the_builder(campus: Settings) -> None:
    """dbt replaces tables from before it had a role, which the owner still owns."""
    ensure_roles(campus)
    with closing(psycopg2.connect(builder_url(campus))) as connection, connection:
        cursor = connection.cursor()
        cursor.execute("ALTER TABLE rules.device__old RENAME TO device__old__backup")
        cursor.execute("CREATE TABLE rules.device__old AS SELECT space_id FROM staging.stg_space")
        cursor.execute("DROP TABLE rules.device__old__backup")
    assert ask(campus, "SELECT space_id FROM rules.device__old") == [("a",)]
    owner(campus, "ANALYZE rules.device__old", "DROP TABLE rules.device__old")


def test_roles_are_created_only_once(campus: Settings) -> None:
    ensure_roles(campus)
    asked: list[str] = []
    engine = warehouse_engine(campus)
    sa.event.listen(engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    ensure_roles(campus)
    assert len(asked) == 1


def test_many_processes_can_create_the_roles_at_once(campus: Settings) -> None:
    program = (
        "from tippers_dagster.settings import get_settings\n"
        "from tippers_dagster.sql.roles import ensure_roles\n"
        "ensure_roles(get_settings())\n"
    )
    started = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(2)]
    assert [process.wait(60) for process in started] == [0, 0]
    failed: list[BaseException] = []

    def grant_again() -> None:
        try:
            ensure_roles(campus)
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
def test_the_role_cannot_be_changed(campus: Settings, escape: str) -> None:
    with reading(campus, 5) as cursor:
        try:
            cursor.execute(escape)
            cursor.fetchall()
        except dbapi.Error as error:
            assert error.sqlstate in ("42501", "22023")  # noqa: PT017
            return
        cursor.execute("SELECT current_user::text, session_user::text")
        assert cursor.fetchall() == [(READER, READER)]


@pytest.mark.parametrize(
    "sql",
    [
        "SET TRANSACTION READ WRITE",
        "SELECT set_config('transaction_read_only', 'off', false)",
        "COMMIT",
        "ROLLBACK",
    ],
)
def test_nothing_is_written_even_after_the_transaction_ends(campus: Settings, sql: str) -> None:
    with reading(campus, 5) as cursor:
        try:
            cursor.execute(sql)
        except dbapi.Error:
            return
        for write in ("DELETE FROM source.space", "CREATE TABLE public.x (a int)"):
            with pytest.raises(dbapi.Error):
                cursor.execute(write)


# --- with the guard switched off ----------------------------------------------------------------
RUNS = {
    # Harmless: it is another login, and there is nothing to commit.
    *("reset role", "commit", "listen x", "notify x, 'y'", "explain analyze select 1"),
    *("prepare x as select 1", "declare c cursor for select 1", "set transaction read write"),
    "select exists (select pg_sleep(1))",  # the database does not evaluate it
    # Reveals no secret.
    *("show all", "values (1)", "select version()", "select current_user", "select session_user"),
    *("select current_catalog", "select current_schema", "select 'tippers'::regnamespace"),
    *("with pg_class as (select 1) select * from pg_class", "select * from staging.stg_space"),
    *("select * from information_schema.tables", 'select * from "pg_catalog"."pg_class"'),
    'select * from "pg_class"',
}
"""Everything that would run as the reader if the guard allowed it."""


def hostile(shared_data: Path | None) -> list[str]:
    reasons = ("several", "statement", "write", "lock", "function", "system", "table")
    found = [*ATTACKS, *(sql for reason, sql in HOSTILE if reason in reasons)]
    if shared_data is not None:
        found += (shared_data / "hostile" / "sql.txt").read_text().splitlines()
    return [text for text in dict.fromkeys(found) if text.strip()]


@pytest.fixture
def attacks() -> list[str]:
    folder = REPOSITORY.parent / "shared" / "data"
    return hostile(folder if (folder / "hostile" / "sql.txt").exists() else None)


def test_hostile_sql_changes_nothing_even_without_the_guard(
    campus: Settings, attacks: list[str], session_server: SessionServer
) -> None:
    """Each unchanged, as previews would run it."""
    ensure_roles(campus)
    before = everything(campus)
    ran = set()
    for sql in attacks:
        try:
            with reading(campus, 0.2) as cursor:
                cursor.execute(sql)
                refuse_secrets(cursor.fetchall(), sql)
            ran.add(sql)
        except dbapi.Error:
            continue
    assert {sql for sql in ran if sql in dict(map(reversed, HOSTILE))} <= RUNS  # type: ignore[arg-type]
    assert everything(campus) == before


def test_hostile_sql_as_a_dbt_model_changes_nothing(campus: Settings, attacks: list[str]) -> None:
    """Each as a model, and unchanged: dbt's driver accepts several statements at once."""
    ensure_roles(campus)
    before = everything(campus)
    with closing(psycopg2.connect(builder_url(campus))) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        for sql in attacks:
            for text in (f"CREATE TABLE rules.device__hostile AS (\n{sql}\n)", sql):
                cursor.execute("DROP TABLE IF EXISTS rules.device__hostile")
                cursor.execute("SET statement_timeout = '200ms'")
                try:
                    cursor.execute(text)
                    refuse_secrets(cursor.fetchall() if cursor.description else (), sql)
                    cursor.execute("SELECT to_jsonb(x)::text FROM rules.device__hostile x")
                    refuse_secrets(cursor.fetchall(), sql)
                except psycopg2.Error:
                    cursor.execute("ROLLBACK")
        cursor.execute("DROP TABLE IF EXISTS rules.device__hostile")
        cursor.execute("SELECT session_user::text, current_user::text")
        assert cursor.fetchone() == (BUILDER, BUILDER)
        assert everything(campus) == before


SECRETS = re.compile(r"SCRAM-SHA-256\$|root:x?:0:0|geheim")


def refuse_secrets(rows: object, sql: str) -> None:
    assert not SECRETS.search(str(rows)), sql


def everything(settings: Settings) -> list[object]:
    """Everything that definitions may not change, that is, all but the builder's tables."""
    with warehouse_engine(settings).connect() as connection:
        tables = connection.scalars(
            sa.text("SELECT format('%I.%I', schemaname, tablename) FROM pg_tables "
                    "WHERE schemaname IN ('tippers', 'source', 'labels', 'connection_shop')")
        ).all()  # fmt: skip
        contents = [
            connection.execute(sa.text(f"SELECT '{t}', md5(string_agg(x::text, '')) FROM {t} x"))
            for t in sorted(tables)
        ]
        return [
            *(found.all() for found in contents),
            *(
                connection.execute(sa.text(query)).all()
                for query in (
                    "SELECT relname, relkind, relowner FROM pg_class c "
                    f"WHERE relowner <> '{BUILDER}'::regrole AND relnamespace > 16384 "
                    "ORDER BY c.oid",
                    "SELECT rolname, rolsuper, rolcreaterole, rolconfig FROM pg_roles ORDER BY 1",
                    "SELECT roleid::regrole, member::regrole FROM pg_auth_members ORDER BY 1, 2",
                    "SELECT last_value, is_called FROM tippers.counted",
                    "SELECT count(*) FROM pg_largeobject_metadata",
                    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = "
                    "(SELECT oid FROM pg_database WHERE datname = current_database())",
                    "SELECT count(*) FROM pg_proc WHERE oid > 16384",
                    "SELECT nspname, nspowner FROM pg_namespace WHERE nspname !~ '^pg_' ORDER BY 1",
                    "SELECT extname FROM pg_extension",
                )
            ),
        ]


# --- the table in the documentation -------------------------------------------------------------
DOES = {
    "is a superuser, creates roles or databases": [
        "CREATE ROLE nobody",
        "SELECT 1 / (rolsuper OR rolcreatedb)::int FROM pg_roles WHERE rolname = current_user",
    ],
    "reads password hashes": ["SELECT rolpassword FROM pg_authid"],
    "reads the server's files": ["SELECT pg_read_file('/etc/passwd')", "SELECT pg_ls_dir('/')"],
    "reads and writes the application's tables (`tippers`)": [
        "SELECT * FROM tippers.definition",
        "DELETE FROM tippers.definition",
    ],
    "reads the source's tables": ["SELECT * FROM source.space"],
    "writes the source's tables": ["DELETE FROM source.space"],
    "creates and replaces tables in `staging`, `indexes`, `rules`, `features`": [
        "CREATE TABLE rules.new AS SELECT 1 AS x",
        "DROP TABLE rules.device__old",
    ],
    "reads these tables": ["SELECT * FROM rules.device__old", "SELECT * FROM staging.stg_space"],
    "reads `labels`, `predictions` and copies of connected tables": [
        "SELECT * FROM labels.device__kind",
        "SELECT * FROM connection_shop.orders",
    ],
    "writes `labels`, `predictions` and copies of connected tables": [
        "DELETE FROM labels.device__kind",
        "DELETE FROM connection_shop.orders",
    ],
    "creates other schemas": ["CREATE SCHEMA further"],
    "creates functions, runs `DO`": ["DO $$ BEGIN END $$"],
    "creates temporary tables and views": ["CREATE TEMPORARY VIEW v AS SELECT 1 AS x"],
    "takes advisory locks": ["SELECT pg_advisory_xact_lock(1)"],
    "advances the application's sequences": ["SELECT nextval('tippers.counted')"],
    "creates large objects": ["SELECT lo_from_bytea(0, 'x')", "SELECT lo_create(0)"],
    "changes a setting within SELECT": ["SELECT set_config('work_mem', '1GB', true)"],
    "reads settings within SELECT": ["SELECT current_setting('work_mem')"],
    "runs SQL passed as text": [
        "SELECT ts_stat('select to_tsvector(''simple'', ''a'')')",
    ],
    "sleeps, sends notifications within SELECT": [
        "SELECT pg_sleep(0)",
        "SELECT pg_notify('a', 'b')",
    ],
    "sees the queries of other sessions": ["SELECT query FROM pg_stat_activity"],
    "reads the names of tables, roles and databases in the system catalogue": [
        "SELECT relname FROM pg_class WHERE relname = 'definition'",
        "SELECT rolname FROM pg_roles",
        "SELECT datname FROM pg_database",
    ],
    "runs `SET` and `NOTIFY` as separate statements": ["SET work_mem = '1MB'", "NOTIFY a"],
    "cancels the queries of its own sessions": ["SELECT pg_cancel_backend(0)"],
}
CONNECTS = {
    "connects to the warehouse": ["tippers"],
    "connects to Dagster's and MLflow's databases": ["dagster", "mlflow"],
    "connects to `postgres` and `template1`": ["postgres", "template1"],
}


def documented() -> dict[str, tuple[str, ...]]:
    text = (REPOSITORY / "docs" / "operations.md").read_text()
    lines = text.split("| | owner | builder | reader |\n", 1)[1].split("\n\n", 1)[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]
    return {row[0]: tuple(row[1:]) for row in rows}


def test_each_role_can_do_what_the_documentation_says(
    campus: Settings, session_server: SessionServer
) -> None:
    ensure_roles(campus)
    urls = (databases(campus).warehouse, builder_url(campus), reader_url(campus))
    server = session_server.server
    found = {}
    for what, statements in DOES.items():
        found[what] = tuple(yes_or_no([does(url, sql) for sql in statements]) for url in urls)
    for what, names in CONNECTS.items():
        found[what] = tuple(
            yes_or_no([server.answers(name, role) for name in names])
            for role in (OWNER, BUILDER, READER)
        )
    assert found == documented()


def yes_or_no(answers: list[bool]) -> str:
    assert len(set(answers)) == 1, answers
    return "yes" if answers[0] else "no"


def does(url: str, sql: str) -> bool:
    """Whether a statement is permitted; it is rolled back."""
    with closing(psycopg2.connect(url)) as connection:
        cursor = connection.cursor()
        try:
            cursor.execute("SET TRANSACTION READ WRITE")
            cursor.execute(sql)
        except (psycopg2.errors.InsufficientPrivilege, psycopg2.errors.DivisionByZero):
            return False
        finally:
            connection.rollback()
    return True


def test_no_function_beyond_the_list_can_be_executed(campus: Settings) -> None:
    """In any version of PostgreSQL: no volatile function, and none of these."""
    ensure_roles(campus)
    kinds = (
        "^(lo_|loread|lowrite|pg_advisory|pg_try_advisory|ts_stat|.*_to_xml|set_config|nextval"
        "|setval|currval|lastval|pg_sleep|pg_notify|pg_logical|txid|pg_current_xact|pg_terminate"
        "|pg_cancel|pg_ls_|pg_read_|pg_stat_|current_setting|dblink|pg_export|setseed|random)"
    )
    with warehouse_engine(campus).connect() as connection:
        for role in (BUILDER, READER):
            open_ones = connection.scalars(
                sa.text(
                    "SELECT oid::regprocedure::text FROM pg_proc "
                    "WHERE has_function_privilege(:role, oid, 'EXECUTE') "
                    "AND pronamespace <> 'information_schema'::regnamespace "
                    "AND (provolatile = 'v' OR proname ~ :kinds)"
                ),
                {"role": role, "kinds": kinds},
            ).all()
            assert open_ones == []


def test_dbt_gets_only_its_own_secret(
    campus: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("PGPASSWORD", "AWS_SECRET_ACCESS_KEY", "SOME_TOKEN", "POSTGRES_PASSWORD"):
        monkeypatch.setenv(name, "geheim")
    monkeypatch.setenv("BACKEND", "postgresql://tippers_owner:geheim@db/mlflow")
    monkeypatch.setenv("DBT_ENV_CUSTOM", "for models")
    lake = dbt_environment(campus, tmp_path, tmp_path)
    assert "geheim" not in str(lake)
    assert "TIPPERS_DBT_USER" not in lake
    on_postgres = campus.model_copy(update={"sql_engine": "postgres"})
    environment = dbt_environment(on_postgres, tmp_path, tmp_path)
    assert "geheim" not in str(environment)
    assert OWNER not in str(environment)
    device_key = campus.device_key
    assert device_key is not None
    assert device_key.get_secret_value() not in str(environment)
    assert environment["TIPPERS_DBT_USER"] == BUILDER
    assert environment["DBT_ENV_CUSTOM"] == "for models"
    assert environment["PATH"]


# --- deployments -------------------------------------------------------------------------------
@pytest.fixture
def plain_owner(campus: Settings, session_server: SessionServer) -> Iterator[Settings]:
    """A warehouse whose user has the owner's rights but cannot create roles, and its name."""
    role = f"owner_{uuid.uuid4().hex[:12]}"
    url = databases(campus).warehouse
    administer(session_server, url, f"CREATE ROLE {role} LOGIN", f"GRANT {OWNER} TO {role}")
    own = SecretStr(url.replace(f"//{OWNER}@", f"//{role}@"))
    yield campus.model_copy(update={"database_url": own})
    administer(session_server, url, f"DROP OWNED BY {role} CASCADE", f"DROP ROLE {role}")


def administer(session_server: SessionServer, url: str, *statements: str) -> None:
    """Run statements as the server's superuser."""
    name = session_server.name_of(url)
    with administering(session_server.server.url(name, ADMINISTRATOR)) as cursor:
        for statement in statements:
            cursor.execute(statement)


def test_a_reader_created_by_an_administrator(
    plain_owner: Settings, campus: Settings, session_server: SessionServer
) -> None:
    own = f"reader_{uuid.uuid4().hex[:12]}"
    url = databases(campus).warehouse
    administer(session_server, url, f"CREATE ROLE {own} LOGIN")
    theirs = SecretStr(url.replace(f"//{OWNER}@", f"//{own}@"))
    settings = plain_owner.model_copy(update={"reader_url": theirs})
    administer(session_server, url, f"GRANT {BUILDER} TO {own}")
    with pytest.raises(SettingsError, match="has more rights than it should"):
        ask(settings, "SELECT 1")
    administer(
        session_server,
        url,
        f"REVOKE {BUILDER} FROM {own}",
        # What `prepare` would do here; only roles that it knows may use the functions.
        f"GRANT EXECUTE ON ALL ROUTINES IN SCHEMA pg_catalog TO {own}",
    )
    assert ask(settings, "SELECT n, session_user::text FROM connection_shop.orders") == [(1, own)]
    administer(session_server, url, f"DROP OWNED BY {own}", f"DROP ROLE {own}")


def test_a_table_that_the_owner_cannot_share_is_named(
    campus: Settings, session_server: SessionServer
) -> None:
    url = databases(campus).warehouse
    administer(
        session_server,
        url,
        "CREATE TABLE source.theirs AS SELECT 1 AS x",
        "CREATE TABLE source.hidden AS SELECT 1 AS x",
        f"GRANT SELECT ON source.theirs TO {OWNER}",
    )
    with pytest.raises(
        SettingsError, match=r"tippers_builder may not read source\.theirs\."
    ) as told:
        ensure_roles(campus)
    assert (told.value.hint or "").endswith("GRANT SELECT ON source.theirs TO tippers_builder;")
    administer(session_server, url, "GRANT SELECT ON source.theirs TO tippers_builder")
    ensure_roles(campus)


def test_the_three_roles_must_differ(campus: Settings) -> None:
    settings = campus.model_copy(update={"reader_url": SecretStr(databases(campus).warehouse)})
    with pytest.raises(SettingsError, match="must be three different roles"):
        ask(settings, "SELECT 1")


@pytest.mark.parametrize("member_of", ["pg_read_all_data", "pg_create_subscription"])
def test_a_member_of_a_server_role_is_refused(
    campus: Settings, session_server: SessionServer, member_of: str
) -> None:
    own = f"member_{uuid.uuid4().hex[:12]}"
    url = databases(campus).warehouse
    administer(session_server, url, f"CREATE ROLE {own} LOGIN NOINHERIT IN ROLE {member_of}")
    strong = campus.model_copy(
        update={"reader_url": SecretStr(url.replace(f"//{OWNER}@", f"//{own}@"))}
    )
    with pytest.raises(SettingsError, match=f"{own} has more rights than it should"):
        ensure_roles(strong)


def test_a_powerful_role_is_refused(campus: Settings) -> None:
    strong = databases(campus).warehouse.replace(f"//{OWNER}@", f"//{ADMINISTRATOR}@")
    for name in ("reader_url", "builder_url"):
        settings = campus.model_copy(update={name: SecretStr(strong)})
        with pytest.raises(SettingsError, match="postgres has more rights than it should"):
            ask(settings, "SELECT 1")


def test_a_reader_url_without_a_user_or_with_an_unknown_one(campus: Settings) -> None:
    warehouse = databases(campus).warehouse
    nobody = campus.model_copy(
        update={"reader_url": SecretStr(warehouse.replace(f"{OWNER}@", "nobody:geheim@"))}
    )
    with pytest.raises(SettingsError, match="nobody") as caught:
        ask(nobody, "SELECT 1")
    assert "geheim" not in str(caught.value)
    unnamed = SecretStr(warehouse.replace(f"{OWNER}@", ""))
    with pytest.raises(SettingsError, match="TIPPERS_READER_URL names no user"):
        ask(campus.model_copy(update={"reader_url": unnamed}), "SELECT 1")


@pytest.mark.slow
def test_password_login_and_missing_rights(settings: Settings) -> None:
    """A server that requires passwords, and a warehouse user who cannot create roles."""
    url = databases(settings).warehouse
    administrator = databases(settings).administrator
    assert administrator is not None
    rules = settings.home_path / "postgres" / "pg_hba.conf"
    kept = rules.read_text()
    rules.write_text(f"local all {READER},{BUILDER} scram-sha-256\n{kept}")
    with administering(administrator) as cursor:
        cursor.execute("CREATE ROLE modest LOGIN")
        cursor.execute("SELECT pg_reload_conf()")
        cursor.execute("CREATE DATABASE theirs OWNER modest")
    own = url.replace(f"//{OWNER}@", "//modest@").replace("/tippers?", "/theirs?")
    modest = settings.model_copy(update={"database_url": SecretStr(own)})
    with pytest.raises(SettingsError, match="may not create the roles") as caught:
        ask(modest, "SELECT 1")
    assert "tippers database prepare" in (caught.value.hint or "")
    assert "TIPPERS_READER_URL" in (caught.value.hint or "")

    assert ask(settings, "SELECT session_user::text") == [(READER,)]
    with built(settings):
        pass
    wrong = reader_url(settings).replace(f"//{READER}:", f"//{READER}:0")
    with pytest.raises(psycopg2.OperationalError, match="password"):
        psycopg2.connect(wrong)

    key = SecretStr("ab" * 32)
    other = settings.model_copy(update={"device_key": key, "database_url": SecretStr(url)})
    with pytest.raises(SettingsError, match="does not let the role") as caught:
        ask(other, "SELECT 1")
    assert reader_url(other).split(":")[2].split("@")[0] not in str(caught.value)
