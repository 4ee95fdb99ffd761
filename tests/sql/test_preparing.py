"""`tippers database prepare` on a server where everything belongs to its superuser."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing

import psycopg2
import pytest
from pydantic import SecretStr

from tests.conftest import SessionServer
from tippers_dagster.errors import SettingsError, TippersError
from tippers_dagster.platform.postgres.embedded import ADMINISTRATOR
from tippers_dagster.platform.postgres.owner import administering
from tippers_dagster.settings import Settings
from tippers_dagster.sql.preparing import prepare_server, restricting_sql
from tippers_dagster.sql.roles import BUILDER, READER, builder_url, reading
from tippers_dagster.stack import doctor


@pytest.fixture
def old(stack: Settings, session_server: SessionServer) -> Iterator[Settings]:
    """A deployment of an earlier version, with an owner in its settings that does not exist."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    mlflow, owner = f"{name}_mlflow", f"{name}_owner"
    server = session_server.server
    with administering(server.url("postgres", ADMINISTRATOR)) as cursor:
        cursor.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        cursor.execute(f"CREATE DATABASE {mlflow} TEMPLATE template0")
    with administering(server.url(name, ADMINISTRATOR)) as cursor:
        cursor.execute(
            "CREATE SCHEMA staging; CREATE SCHEMA rules; CREATE SCHEMA source;"
            "CREATE TABLE source.space AS SELECT 'a' AS space_id;"
            "CREATE VIEW staging.stg_space AS SELECT * FROM source.space;"
            "CREATE TABLE rules.device__old AS SELECT 1 AS x"
        )
    url = server.url(name, owner).replace(f"//{owner}@", f"//{owner}:pass%2Fword@")
    yield stack.model_copy(update={"database_url": SecretStr(url)})
    with administering(server.url("postgres", ADMINISTRATOR)) as cursor:
        cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")
        cursor.execute(f"DROP DATABASE {mlflow} WITH (FORCE)")
        cursor.execute(f"DROP ROLE IF EXISTS {owner}")


def names(settings: Settings) -> tuple[str, str]:
    """The warehouse's and MLflow's database."""
    assert settings.database_url is not None
    name = settings.database_url.get_secret_value().split("@/")[1].split("?")[0]
    return name, f"{name}_mlflow"


def test_a_server_is_prepared_with_a_report(old: Settings, session_server: SessionServer) -> None:
    warehouse, mlflow = names(old)
    administrator = session_server.server.url("postgres", ADMINISTRATOR)
    # Dagster's database in this test belongs to the session owner, and still does.
    old = old.model_copy(update={"dagster_url": None})
    said = list(prepare_server(old, administrator, (mlflow,)))
    assert said[0] == f"role {warehouse}_owner: created, not a superuser"
    assert f"database {warehouse}: exists, owned by {warehouse}_owner" in said
    assert f"database {warehouse}: 6 objects transferred to {warehouse}_owner" in said
    with reading(old, 5) as cursor:
        cursor.execute("SELECT space_id FROM staging.stg_space")
        assert cursor.fetchall() == [("a",)]
    with closing(psycopg2.connect(builder_url(old))) as connection, connection:
        connection.cursor().execute("DROP TABLE rules.device__old")
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            connection.cursor().execute("SELECT lo_create(0)")
    for role in (BUILDER, READER):
        assert not session_server.server.answers(mlflow, role)
    again = list(prepare_server(old, administrator, (mlflow,)))
    assert again[0] == f"role {warehouse}_owner: exists, not a superuser"
    assert f"database {warehouse}: 0 objects transferred to {warehouse}_owner" in again
    assert f"roles {BUILDER} and {READER}: up to date" in again


def test_servers_that_cannot_be_prepared(old: Settings, session_server: SessionServer) -> None:
    server = session_server.server
    administrator = server.url("postgres", ADMINISTRATOR)
    same = old.model_copy(update={"database_url": SecretStr(administrator)})
    with pytest.raises(SettingsError, match="as the owner"):
        list(prepare_server(same, administrator, ()))
    embedded = old.model_copy(update={"database_url": None})
    with pytest.raises(SettingsError, match="nothing to do"):
        list(prepare_server(embedded, administrator, ()))
    with pytest.raises(TippersError, match="is not a superuser"):
        list(prepare_server(old, session_server.server.url("tippers"), ()))


def test_the_doctor_reports_excess_privileges(
    stack: Settings, session_server: SessionServer
) -> None:
    url = stack.database_url
    assert url is not None
    name = session_server.name_of(url.get_secret_value())
    roles = [c for c in doctor._roles(stack) if "connect to other" not in c.text]
    assert [c.state for c in roles] in ([], ["ok"])
    with administering(session_server.server.url(name, ADMINISTRATOR)) as cursor:
        cursor.execute(f"GRANT EXECUTE ON FUNCTION lo_create(oid) TO {READER}")
        cursor.execute("CREATE ROLE test_strong LOGIN CREATEDB")
    told = "\n".join(c.text for c in doctor._roles(stack))
    assert f"{READER} may execute 1 function that it does not need, such as lo_create" in told
    assert any("lo_create(oid)" in line for line in restricting_sql(stack))

    own = url.get_secret_value()
    as_superuser = SecretStr(own.replace("//tippers_owner@", f"//{ADMINISTRATOR}@"))
    found = problems(stack.model_copy(update={"database_url": as_superuser}))
    assert found == ["the application logs in as postgres, which is a superuser"]
    as_strong = SecretStr(own.replace("//tippers_owner@", "//test_strong@"))
    found = problems(stack.model_copy(update={"reader_url": as_strong}))
    assert [text.split(":")[0] for text in found] == ["test_strong has too many rights"]
    with administering(session_server.server.url("postgres", ADMINISTRATOR)) as cursor:
        cursor.execute("DROP ROLE test_strong")


def problems(settings: Settings) -> list[str]:
    return [c.text for c in doctor._roles(settings) if c.state == "problem"]
