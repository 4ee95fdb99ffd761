"""Other databases: a second PostgreSQL whose user needs a password, and a SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg2
import pytest
import sqlalchemy as sa

from tests.conftest import SessionServer
from tippers_dagster.connections import store
from tippers_dagster.platform.postgres.embedded import ADMINISTRATOR
from tippers_dagster.platform.postgres.owner import OWNER
from tippers_dagster.platform.warehouse.engine import sqlalchemy_url, warehouse_engine
from tippers_dagster.settings import Settings

USER = "campus_reader"
PASSWORD = "p@ss:w/ör'd %41 \\x"

TABLES = """
CREATE TABLE enrolment (
    id int PRIMARY KEY, student text, credits numeric, gpa double precision,
    changed_at timestamp NOT NULL
);
INSERT INTO enrolment
SELECT i, 'student ' || i, i + 0.1234567890123456789, i / 3.0,
    timestamp '2025-01-01' + i * interval '1 hour'
FROM generate_series(1, 100) i;
CREATE TABLE room (name text, seats int);
INSERT INTO room VALUES ('a', 10), ('a', 10), ('b', NULL);
"""


@dataclass(frozen=True)
class Other:
    """A database that is not the warehouse."""

    url: str
    engine: sa.Engine
    fields: dict[str, object]

    def run(self, statement: str) -> None:
        with self.engine.begin() as connection:
            connection.exec_driver_sql(statement)

    def count(self, query: str) -> int:
        """The number that a query returns to the server's administrator."""
        with self.engine.connect() as connection:
            return int(connection.exec_driver_sql(query).scalar_one())


@pytest.fixture(scope="session")
def guarded(session_server: SessionServer) -> str:
    """A role that can log in only with its password."""
    with closing(
        psycopg2.connect(session_server.server.url("postgres", ADMINISTRATOR))
    ) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT FROM pg_roles WHERE rolname = %s", (USER,))
            if cursor.fetchone() is not None:  # another package has this fixture, too
                return USER
            cursor.execute(f"CREATE ROLE {USER} LOGIN PASSWORD %s", (PASSWORD,))
            file = session_server.server.home / "postgres" / "pg_hba.conf"
            file.write_text(f"local all {USER} scram-sha-256\n" + file.read_text())
            cursor.execute("SELECT pg_reload_conf()")
    return USER


@pytest.fixture
def other(database: str, guarded: str) -> Iterator[Other]:
    """A database with two tables that ``guarded`` may read."""
    administrator = database.replace(f"//{OWNER}@", f"//{ADMINISTRATOR}@")
    engine = sa.create_engine(sqlalchemy_url(administrator))
    parts = urlsplit(database)
    fields: dict[str, object] = {
        "dialect": "postgresql",
        "host": parse_qs(parts.query)["host"][0],
        "database": parts.path.strip("/"),
        "user": guarded,
    }
    found = Other(database, engine, fields)
    found.run(TABLES)
    found.run(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {guarded}")
    found.run(f"ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {guarded}")
    yield found
    engine.dispose()


@pytest.fixture
def campus(stack: Settings, other: Other) -> Settings:
    """A deployment with the connection ``registrar`` to the other database."""
    store.add(stack, "registrar", other.fields, by="ada", password=PASSWORD)
    return stack


@pytest.fixture
def sqlite_file(tmp_path: Path) -> Path:
    path = tmp_path / "bookings of 2025%.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            """
            CREATE TABLE "Booking" (
                "Id" INTEGER PRIMARY KEY, room TEXT, price DECIMAL(10, 2), since DATETIME,
                day DATE, picture BLOB, anything, share REAL, open BOOLEAN
            );
            INSERT INTO "Booking" VALUES
                (1, 'a', 1.25, '2025-01-01 10:00:00', '2025-01-01', x'00ff', 'x', 0.5, 1),
                (2, 'b', 3, '2025-01-01 10:00:00.500000', '2025-01-02', NULL, 7, NULL, 0),
                (3, '', NULL, NULL, NULL, x'', NULL, 1e300, NULL);
            """
        )
    return path


def rows(settings: Settings, query: str) -> list[tuple[object, ...]]:
    """Rows of the warehouse."""
    with warehouse_engine(settings).connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(query)]
