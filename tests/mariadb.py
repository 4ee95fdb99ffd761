"""A MariaDB server, for tests that read a campus's own.

It is started where the machine has one. Elsewhere these tests are skipped, unless
``TIPPERS_TEST_MARIADB=required`` (as in CI).
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa

DATABASE, READER = "radius", "reader"
ACCOUNT = f"{READER}@127.0.0.1"
PASSWORD = "p@ss:w/ör'd %41 \\x ✓"
MAX_SECONDS = 60
"""To start."""
PLACES = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"))


@dataclass(frozen=True)
class MariaDB:
    """A server with an empty database, which a user of a connection may only read.

    Attributes
    ----------
    engine
        As its administrator. Sessions are in UTC, and store zero dates as old servers do.
    fields
        Of the reader's connection.
    """

    engine: sa.Engine
    fields: dict[str, object]
    password: str = PASSWORD

    def run(self, *statements: str) -> None:
        """Run statements as the administrator."""
        with self.engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[MariaDB]:
    """One server for all tests of a process. Its zone is none that tests use."""
    server, install = (shutil.which(n, path=PLACES) for n in ("mariadbd", "mariadb-install-db"))
    if server is None or install is None:
        if os.environ.get("TIPPERS_TEST_MARIADB") == "required":
            pytest.fail("These tests need MariaDB.")
        pytest.skip("no MariaDB on this machine")
    # A short path, as that of its socket is limited.
    with (
        tempfile.TemporaryDirectory(prefix="mariadb") as name,
        _started(server, install, Path(name)) as found,
    ):
        yield found


@pytest.fixture
def mariadb(mariadb_server: MariaDB) -> MariaDB:
    """The server, its database empty."""
    mariadb_server.run(
        f"DROP DATABASE {DATABASE}",
        f"CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4",
        f"CREATE OR REPLACE USER {ACCOUNT}",
        f"GRANT SELECT ON {DATABASE}.* TO {ACCOUNT}",
    )
    with mariadb_server.engine.begin() as connection:
        words = sa.text(f"SET PASSWORD FOR {ACCOUNT} = password(:password)")
        connection.execute(words, {"password": PASSWORD})
    return mariadb_server


@contextmanager
def _started(server: str, install: str, folder: Path) -> Iterator[MariaDB]:
    options = {
        "datadir": folder / "data",
        "socket": folder / "socket",
        "pid-file": folder / "pid",
        "port": _free_port(),
        "bind-address": "127.0.0.1",
        "default-time-zone": "+05:45",
        "innodb-flush-log-at-trx-commit": 0,
    }
    if os.getuid() == 0:
        options["user"] = "root"
    created = [install, "--no-defaults", f"--datadir={options['datadir']}", "--skip-test-db"]
    created.append("--auth-root-authentication-method=normal")
    with (folder / "log").open("w") as log:
        subprocess.run(created, check=True, stdout=log, stderr=log)
        started = [server, "--no-defaults", *(f"--{name}={o}" for name, o in options.items())]
        process = subprocess.Popen(started, stdout=log, stderr=log)
        try:
            yield _prepared(options["port"], process, folder / "log")
        finally:
            process.kill()
            process.wait()


def _prepared(port: object, process: subprocess.Popen[bytes], log: Path) -> MariaDB:
    """The server, once it answers."""
    session = {"charset": "utf8mb4", "init_command": "SET time_zone = '+00:00', sql_mode = ''"}

    def administrator(database: str) -> sa.Engine:
        url = f"mysql+pymysql://root@127.0.0.1:{port}/{database}"
        return sa.create_engine(url, poolclass=sa.NullPool, connect_args=session)

    until = time.monotonic() + MAX_SECONDS
    while True:
        try:
            with administrator("").begin() as connection:
                connection.exec_driver_sql(f"CREATE DATABASE {DATABASE}")
            break
        except sa.exc.OperationalError:
            if process.poll() is not None or time.monotonic() > until:
                pytest.fail(f"MariaDB does not start: {log.read_text()}")
            time.sleep(0.05)
    fields = {"dialect": "mysql", "host": "127.0.0.1", "port": port}
    return MariaDB(administrator(DATABASE), {**fields, "database": DATABASE, "user": READER})


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
