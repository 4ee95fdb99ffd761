"""`tippers doctor`: checks the deployment, and says how to fix what is wrong."""

from __future__ import annotations

import secrets
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from zoneinfo import ZoneInfo

import psycopg2
from psycopg2 import sql

from tippers_dagster.errors import SettingsError, TippersError
from tippers_dagster.platform.dagster.addresses import stack_owner, web_address
from tippers_dagster.platform.home import UNFINISHED, private_home
from tippers_dagster.platform.keys import device_key, device_key_file
from tippers_dagster.platform.postgres.databases import databases
from tippers_dagster.platform.redaction import redact
from tippers_dagster.platform.terminal import table_console
from tippers_dagster.platform.text import counted, printable
from tippers_dagster.settings import Settings, get_settings
from tippers_dagster.stack.automation_health import automation_problems

if TYPE_CHECKING:
    from tippers_dagster.sql.roles import Fault

State = Literal["ok", "warning", "problem"]
GIGABYTE = 1 << 30

MIN_POSTGRES = 14
"""The first with ``client_connection_check_interval``, which cancels queries of a killed dbt."""


@dataclass(frozen=True)
class Check:
    """A finding: what was checked, its state, a description, and how to fix it."""

    name: str
    state: State
    text: str
    hint: str = ""


def examine() -> list[Check]:
    """Run all checks, also after one has failed.

    The findings contain no secrets. The checks leave nothing behind, except for what a first start
    creates: the home, the device key, the embedded server's files.
    """
    try:
        settings = get_settings()
    except SettingsError as error:
        return [Check("settings", "problem", redact(error.message), redact(error.hint or ""))]
    found = [Check("settings", "ok", "valid")]
    for name, check in CHECKS.items():
        try:
            found += check(settings)
        except (TippersError, psycopg2.Error, OSError) as error:
            found.append(_failure(name, error))
    return [
        replace(check, text=redact(check.text, settings), hint=redact(check.hint, settings))
        for check in found
    ]


def show(checks: list[Check]) -> None:
    """Print a table of the findings, and the number of problems and warnings."""
    from rich.table import Table
    from rich.text import Text

    colours = {"ok": "green", "warning": "yellow", "problem": "red"}
    table = Table(show_edge=False, pad_edge=False)
    for column in ("check", "state", "finding"):
        table.add_column(column, overflow="fold")
    for check in checks:
        finding = Text(printable(check.text))
        if check.hint:
            finding.append(printable(f"\n{check.hint}"), style="italic")
        table.add_row(Text(check.name), Text(check.state, style=colours[check.state]), finding)
    console = table_console()
    console.print(table)
    problems = sum(check.state == "problem" for check in checks)
    warnings = sum(check.state == "warning" for check in checks)
    console.print(f"\n{counted(problems, 'problem')}, {counted(warnings, 'warning')}")


def _failure(name: str, error: Exception) -> Check:
    if isinstance(error, TippersError):
        return Check(name, "problem", error.message, error.hint or "")
    if isinstance(error, psycopg2.OperationalError):
        hint = "Check that the database runs, and its address, user name and password."
        return Check(name, "problem", str(error).strip(), hint)
    return Check(name, "problem", str(error).strip())


# --- the checks ---------------------------------------------------------------------------------


def _home(settings: Settings) -> Iterator[Check]:
    home = private_home(settings.home_path)
    yield Check("home", "ok", f"{home} is writable, and private to this user")
    if (home / UNFINISHED).exists():
        yield Check(
            "restore",
            "problem",
            f"a restore into {home} was interrupted",
            "Stop the stack, and repeat tippers restore with the same backup. If the deployment "
            f"was used since, remove {home / UNFINISHED} instead.",
        )


def _disk(settings: Settings) -> Iterator[Check]:
    free = shutil.disk_usage(settings.home_path).free / GIGABYTE
    state: State = "problem" if free < 1 else "warning" if free < 5 else "ok"
    hint = "" if state == "ok" else "Free some space, or set TIPPERS_HOME to a larger disk."
    yield Check("disk", state, f"{free:.1f} GB free at {settings.home_path}", hint)


def _memory(settings: Settings) -> Iterator[Check]:
    from tippers_dagster.platform.memory import free_memory

    free = free_memory() / (1 << 20)
    low = free < settings.min_free_memory_mb
    hint = (
        f"Runs wait up to {settings.memory_wait_seconds:g} s for free memory, then fail; "
        "TIPPERS_MIN_FREE_MEMORY_MB sets how much they need."
    )
    text = f"{free:.0f} MB free"
    yield Check("memory", "warning" if low else "ok", text, hint if low else "")


def _versions(settings: Settings) -> Iterator[Check]:
    names = ("dagster", "pyarrow", "sqlalchemy")
    parts = [f"Python {sys.version.split()[0]}", *(f"{name} {version(name)}" for name in names)]
    yield Check("versions", "ok", ", ".join(parts))


def _time_zone(settings: Settings) -> Iterator[Check]:
    now = datetime.now(ZoneInfo(settings.timezone))
    text = f"{settings.timezone}, where it is {now:%Y-%m-%d %H:%M}; chunk: {settings.chunk}"
    yield Check("time zone", "ok", text)


def _device_key(settings: Settings) -> Iterator[Check]:
    device_key(settings)
    if settings.device_key is not None:
        yield Check("device key", "ok", "set")
        return
    path = device_key_file(settings)
    if path.stat().st_mode & 0o077:
        yield Check("device key", "warning", f"{path} is readable by others", f"chmod 600 {path}")
    elif settings.embedded:
        yield Check("device key", "ok", f"kept in {path}")
    else:
        yield Check(
            "device key",
            "warning",
            f"kept in {path}, which other machines of this deployment cannot read",
            "Set TIPPERS_DEVICE_KEY to the content of that file on all of them: with another key, "
            "the same device gets another id.",
        )


def _warehouse(settings: Settings) -> Iterator[Check]:
    place = "embedded" if settings.embedded else _place(databases(settings).warehouse)
    with closing(_connect(databases(settings).warehouse)) as connection:
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_setting('server_version_num')::int / 10000")
            version = int(str(_one(cursor)))
            yield Check(
                "warehouse",
                "ok" if version >= MIN_POSTGRES else "problem",
                f"PostgreSQL {version}, {place}",
                "" if version >= MIN_POSTGRES else f"Version {MIN_POSTGRES} or newer is needed.",
            )
            name = sql.Identifier(f"tippers_probe_{secrets.token_hex(4)}")
            try:
                cursor.execute(sql.SQL("CREATE SCHEMA {}").format(name))
            except psycopg2.errors.InsufficientPrivilege:
                cursor.execute("ROLLBACK; SELECT current_database(), current_user")
                database, role = cursor.fetchone() or ("?", "?")
                yield Check(
                    "warehouse role",
                    "problem",
                    f"the role {role} may not create schemas",
                    f"GRANT CREATE ON DATABASE {database} TO {role}",
                )
            else:
                yield Check("warehouse role", "ok", "may create schemas")
        connection.rollback()


def _roles(settings: Settings) -> Iterator[Check]:
    import sqlalchemy as sa

    from tippers_dagster.platform.warehouse.engine import sqlalchemy_url
    from tippers_dagster.sql.preparing import open_functions
    from tippers_dagster.sql.roles import faults, roles_of

    warehouse = databases(settings).warehouse
    _connect(warehouse).close()
    roles = roles_of(settings)
    engine = sa.create_engine(sqlalchemy_url(warehouse), poolclass=sa.pool.NullPool)
    with engine.connect() as connection:
        strong = connection.scalar(sa.text("SELECT current_setting('is_superuser') = 'on'"))
        found = faults(connection, settings, roles)
        missing = {fault.role for fault in found if fault.what == "role"}
        opened = {} if missing else open_functions(connection, roles)
        reached = connection.execute(
            sa.text(_REACHED), {"roles": [roles.builder, roles.reader]}
        ).all()
    wrong = [
        *_strong(roles.owner if strong else None, found),
        *(_opened(role, names) for role, names in opened.items() if names),
        *(_reaching(row.rolname, row.names) for row in reached),
    ]
    yield from wrong
    if missing:
        yield Check("roles", "ok", f"{', '.join(sorted(missing))}: created at first use")
    elif not wrong:
        names = f"{roles.owner}, {roles.builder} and {roles.reader}"
        yield Check("roles", "ok", f"{names} have only the rights that they need")


_REACHED = """
    SELECT r.rolname, string_agg(d.datname, ', ' ORDER BY d.datname) AS names
    FROM pg_catalog.pg_roles r, pg_catalog.pg_database d
    WHERE r.rolname = ANY(:roles) AND d.datallowconn AND d.datname <> current_database()
    AND has_database_privilege(r.oid, d.oid, 'CONNECT') GROUP BY 1 ORDER BY 1
"""
_PREPARE = "tippers database prepare --admin-url postgresql://... (docs/operations.md)"


def _strong(owner: str | None, found: Sequence[Fault]) -> Iterator[Check]:
    if owner is not None:
        yield Check(
            "roles",
            "problem",
            f"the application logs in as {owner}, which is a superuser",
            f"Set TIPPERS_DATABASE_URL to a role for tippers alone, and run: {_PREPARE}",
        )
    for role in sorted({fault.role for fault in found if fault.what == "power"}):
        yield Check(
            "roles",
            "problem",
            f"{role} has too many rights: it is a superuser, may create roles or databases, or is "
            "a member of another role",
            f"Revoke these rights, or run: {_PREPARE}",
        )


def _opened(role: str, names: Sequence[str]) -> Check:
    some = ", ".join(names[:3])
    return Check(
        "roles",
        "warning",
        f"{role} may execute {counted(len(names), 'function')} that it does not need, such as "
        f"{some}",
        f"Run {_PREPARE}; or have a superuser run the output of `tippers database sql` in the "
        "warehouse.",
    )


def _reaching(role: str, names: str) -> Check:
    return Check(
        "roles",
        "warning",
        f"{role} may connect to other databases on the server: {names}",
        "REVOKE CONNECT ON DATABASE ... FROM PUBLIC, if no other role needs it.",
    )


def _migrations(settings: Settings) -> Iterator[Check]:
    import sqlalchemy as sa

    from tippers_dagster.platform.warehouse.engine import sqlalchemy_url
    from tippers_dagster.platform.warehouse.migrate import current_revision, newest_revision

    _connect(databases(settings).warehouse).close()
    engine = sa.create_engine(
        sqlalchemy_url(databases(settings).warehouse), poolclass=sa.pool.NullPool
    )
    with engine.connect() as connection:
        current = current_revision(connection)
    newest = newest_revision()
    if current is None:
        yield Check("migrations", "ok", "no tables yet; created at first use")
    elif current < newest:
        text = f"revision {current}; upgraded to {newest} at next use"
        yield Check("migrations", "ok", text)
    elif current > newest:
        text = f"revision {current} is of a newer version of tippers; this one knows {newest}"
        yield Check("migrations", "problem", text, "Upgrade tippers on this machine, too.")
    else:
        yield Check("migrations", "ok", f"revision {current}, the newest")


def _source(settings: Settings) -> Iterator[Check]:
    with closing(_connect(databases(settings).source)):
        place = "in the warehouse" if settings.source_url is None else "in a separate database"
        yield Check("source", "ok", f"reachable, {place}")
    yield from _source_tables(settings)


def _source_tables(settings: Settings) -> Iterator[Check]:
    from tippers_dagster.campus.source.checks import COLUMNS_HINT, check_source

    found = check_source(settings)
    if not found:
        yield Check("source tables", "ok", "all tables and columns exist and have the right types")
    if missing := "\n".join(problem.text for problem in found if problem.missing):
        if settings.source_url is None:
            hint = "Load files with `tippers ingest`, or simulate a campus with `tippers simulate`."
            yield Check("source tables", "warning", missing, hint)
        else:
            hint = (
                "Set the names of its schema and tables: TIPPERS_SOURCE_SCHEMA, "
                "TIPPERS_SESSION_TABLE and so on (see .env.example)."
            )
            yield Check("source tables", "problem", missing, hint)
    if wrong := "\n".join(problem.text for problem in found if not problem.missing):
        yield Check("source columns", "problem", wrong, COLUMNS_HINT)


def _log_source(settings: Settings) -> Iterator[Check]:
    """Whether the table that sessions are read from can be read, and by an index."""
    from tippers_dagster.campus.source.log_source import log_table, try_table
    from tippers_dagster.campus.source.mapped import searched_column
    from tippers_dagster.connections.opening import opened
    from tippers_dagster.connections.reading import index_statement, is_indexed

    if settings.log_source is None:
        return
    source = log_table(settings, settings.log_source)
    try_table(settings, source)
    yield Check("log source", "ok", f"{source.name}: {source.title} can be read")
    column = searched_column(source)
    if column is None:
        yield Check(
            "log source",
            "warning",
            f"{source.name}: all rows are read whenever it is checked for changes, as its times "
            "are not in one column of times or numbers.",
            "Have them in one column with an index: of a time type, or in SQLite of whole numbers.",
        )
        return
    with opened(settings, source.place) as connection:
        indexed = is_indexed(connection, source.found.table, column.name)
        statement = index_statement(connection, source.found.table, column.name)
    if indexed is False:
        yield Check(
            "log source",
            "warning",
            f"{source.name}: no index begins with {column.name}, so all rows are looked at "
            "whenever it is checked for changes.",
            f"Create one: {statement}",
        )


def _dagster(settings: Settings) -> Iterator[Check]:
    url = databases(settings).dagster
    with closing(_connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('runs') IS NOT NULL")
        made = _one(cursor)
    place = "embedded" if settings.dagster_url is None else _place(url)
    text = f"reachable, {place}" if made else f"reachable, {place}; no tables until the first start"
    yield Check("Dagster storage", "ok", text)


def _lake(settings: Settings) -> Iterator[Check]:
    import pyarrow as pa

    from tippers_dagster.platform.lake import open_lake

    lake = open_lake(settings)
    key = f"probe/{secrets.token_hex(8)}.parquet"
    lake.write_table(key, pa.table({"probe": [1]}))
    try:
        same = lake.read_table(key).num_rows == 1
    finally:
        lake.delete(key)
    if same:
        yield Check("lake", "ok", f"{lake.uri('')}: writing, reading and deleting work")
    else:
        yield Check("lake", "problem", f"{lake.uri('')} returns something else than was written")


def _ports(settings: Settings) -> Iterator[Check]:
    from tippers_dagster.stack.services import port_taken

    owner = stack_owner(settings)
    if owner is not None:
        text = f"the stack runs: process {owner.get('pid', '?')}, {owner.get('web', '')}"
        yield Check("ports", "ok", text)
        return
    ports = {
        "TIPPERS_WEB_PORT": settings.web_port,
        "TIPPERS_CODE_SERVER_PORT": settings.code_server_port,
    }
    taken = {name: port for name, port in ports.items() if port_taken(port)}
    if taken:
        text = "; ".join(f"{port} is taken ({name})" for name, port in taken.items())
        hint = "`tippers up` needs these ports: stop what uses them, or set these variables."
        yield Check("ports", "warning", text, hint)
    else:
        yield Check("ports", "ok", f"{', '.join(map(str, ports.values()))} are free")


def _automation(settings: Settings) -> Iterator[Check]:
    """Whether automation works, if a stack is known to run."""
    if web_address(settings) is None:
        return
    troubles = automation_problems(settings)
    for name, why in troubles.items():
        hint = (
            "`tippers up` restarts it within minutes; its log is in <home>/logs. If you do not use "
            "`tippers up`, restart it yourself."
        )
        yield Check(name, "problem", why, hint)
    if not troubles:
        yield Check("automation", "ok", "code server, daemon and web server answer")


def _sessions(settings: Settings) -> Iterator[Check]:
    """Whether every connection has its own session, as locks need.

    A transaction pool gives an idle session to the next client.
    """
    with (
        closing(_connect(databases(settings).warehouse)) as first,
        closing(_connect(databases(settings).warehouse)) as second,
    ):
        if _backend(first) != _backend(second):
            yield Check("database sessions", "ok", "every connection has its own session")
            return
    hint = "Locks need sessions: connect to the server directly, or set pool_mode = session."
    text = "connections share sessions: a transaction pool (PgBouncer?)"
    yield Check("database sessions", "problem", text, hint)


def _backend(connection: psycopg2.extensions.connection) -> object:
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return _one(cursor)


CHECKS: dict[str, Callable[[Settings], Iterator[Check]]] = {
    "home": _home,
    "disk": _disk,
    "memory": _memory,
    "versions": _versions,
    "time zone": _time_zone,
    "device key": _device_key,
    "warehouse": _warehouse,
    "roles": _roles,
    "migrations": _migrations,
    "source": _source,
    "log source": _log_source,
    "Dagster storage": _dagster,
    "lake": _lake,
    "ports": _ports,
    "database sessions": _sessions,
    "automation": _automation,
}


def _connect(url: str) -> psycopg2.extensions.connection:
    return psycopg2.connect(url, connect_timeout=10)


def _one(cursor: psycopg2.extensions.cursor) -> object:
    row = cursor.fetchone()
    assert row is not None
    return row[0]


def _place(url: str) -> str:
    """Host and database of a URL, without its name and password."""
    from psycopg2.extensions import parse_dsn

    parts = parse_dsn(url)
    host = parts.get("host", "localhost")
    if host.startswith("/"):
        return f"{parts.get('dbname')} at {Path(host)}"
    return f"{parts.get('dbname')} at {host}:{parts.get('port', 5432)}"
