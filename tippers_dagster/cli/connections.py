"""``tippers connections``: other databases whose tables are synced into the warehouse."""

from __future__ import annotations

import logging
import sys
import uuid
from typing import TYPE_CHECKING, Annotated

import typer

from tippers_dagster.access.machine_user import machine_user
from tippers_dagster.catalog.kinds import ConnectionTable
from tippers_dagster.errors import BadInput
from tippers_dagster.platform.redaction import redact
from tippers_dagster.platform.terminal import table_console
from tippers_dagster.platform.text import counted
from tippers_dagster.settings import Settings, get_settings

if TYPE_CHECKING:
    from tippers_dagster.catalog.kinds import ConnectionTable
    from tippers_dagster.connections.running import Outcome

Name = Annotated[str, typer.Argument(help="Name of the connection.", show_default=False)]
Table = Annotated[
    str, typer.Argument(help="Name of the table in that database.", show_default=False)
]
Dialect = Annotated[str | None, typer.Option(help="postgresql, mysql, sqlite or mssql.")]
Host = Annotated[str | None, typer.Option(help="The server's name or address.")]
Port = Annotated[int | None, typer.Option(help="Default: the dialect's usual port.")]
Database = Annotated[str | None, typer.Option(help="Database name; for SQLite, the absolute path.")]
User = Annotated[str | None, typer.Option(help="A user with read access only is best.")]
Options = Annotated[
    list[str] | None, typer.Option("--option", help="NAME=VALUE, such as sslmode=require.")
]
Every = Annotated[int | None, typer.Option(help="Seconds from one sync to the next.")]
FromStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    group = typer.Typer(
        name="connections",
        no_args_is_help=True,
        help="Other databases whose tables are synced into the warehouse.",
    )
    commands = (add, edit, test, tables, choose, leave_out, sync, show, delete, rotate)
    for command in commands:
        group.command(command.__name__.replace("_", "-"))(command)
    group.command("list")(list_all)
    app.add_typer(group)


def add(
    name: Name,
    dialect: Annotated[str, typer.Option(help="postgresql, mysql, sqlite or mssql.")],
    database: Annotated[str, typer.Option(help="Database name; for SQLite, the absolute path.")],
    host: Host = None,
    port: Port = None,
    user: User = None,
    option: Options = None,
    sync_seconds: Every = None,
    description: Annotated[str, typer.Option(help="Description of its content.")] = "",
    password_stdin: FromStdin = False,
    no_password: Annotated[bool, typer.Option(help="The server needs no password.")] = False,
) -> None:
    """Add a connection, and test it. The password is read from a prompt, never an argument."""
    from tippers_dagster.connections import store

    settings = get_settings()
    given = _given(dialect, host, port, database, user, option, sync_seconds)
    secret = _password(password_stdin, ask=dialect != "sqlite" and not no_password)
    me = machine_user()
    store.add(
        settings, name, given, by=me or "cli", password=secret, description=description, owner=me
    )
    typer.echo(f"Connection {name} added.")
    _test_and_report(settings, name)
    typer.echo(f"`tippers connections tables {name}` lists the tables that can be synced.")


def edit(
    name: Name,
    dialect: Dialect = None,
    host: Host = None,
    port: Port = None,
    database: Database = None,
    user: User = None,
    option: Options = None,
    sync_seconds: Every = None,
    password_stdin: FromStdin = False,
    new_password: Annotated[bool, typer.Option(help="Ask for a new password.")] = False,
) -> None:
    """Change a connection, and test it. Its password is kept unless a new one is given."""
    from tippers_dagster.connections import store

    settings = get_settings()
    given = _given(dialect, host, port, database, user, option, sync_seconds)
    secret = _password(password_stdin, ask=new_password)
    if not given and secret is None:
        raise BadInput(
            "No change was given.", "`tippers connections edit --help` lists the options."
        )
    store.edit(settings, name, given, by=machine_user() or "cli", password=secret)
    typer.echo(f"Connection {name} changed.")
    _test_and_report(settings, name)
    _reload(settings)


def test(name: Name) -> None:
    """Test a connection, and report problems."""
    if not _test_and_report(get_settings(), name):
        raise typer.Exit(1)


def tables(
    name: Name, columns: Annotated[bool, typer.Option(help="Show columns.")] = False
) -> None:
    """List the tables and views of a connection."""
    from rich.table import Table as Grid

    from tippers_dagster.connections import store

    grid = Grid("schema", "table", "rows (estimate)", "primary key", "columns")
    for found in store.list_tables(get_settings(), name):
        listed = ", ".join(f"{c.name} {c.type}" for c in found.columns)
        grid.add_row(
            found.schema_name or "",
            found.name,
            "" if found.rows is None else f"{found.rows:,}",
            ", ".join(found.primary_key),
            listed if columns else str(len(found.columns)),
        )
    table_console().print(grid)


def choose(
    name: Name,
    table: Table,
    schema: Annotated[
        str | None, typer.Option(help="Its schema; default: the connection's.")
    ] = None,
    cursor: Annotated[
        str | None,
        typer.Option(help="Column that grows with every change; default: sync all rows."),
    ] = None,
    primary_key: Annotated[
        str | None, typer.Option(help="Primary key columns, comma-separated.")
    ] = None,
    lag_seconds: Annotated[
        int, typer.Option(help="Seconds before the last cursor from which rows are read again.")
    ] = 300,
) -> None:
    """Choose a table to sync, or change how it is synced."""
    from tippers_dagster.connections import store

    settings = get_settings()
    key = tuple(part.strip() for part in (primary_key or "").split(",") if part.strip())
    wanted = ConnectionTable(
        name=table, schema_name=schema, cursor=cursor, primary_key=key, lag_seconds=lag_seconds
    )
    saved = store.choose(settings, name, wanted, by=machine_user() or "cli")
    typer.echo(f"{name}.{table} will be synced {_how(saved)}, as connection_{name}.{table}.")
    _reload(settings)


def leave_out(name: Name, table: Table) -> None:
    """Stop syncing a table, and remove its copy."""
    from tippers_dagster.connections import store

    settings = get_settings()
    store.leave_out(settings, name, table, by=machine_user() or "cli")
    typer.echo(f"{name}.{table} is no longer synced; its copy is removed.")
    _reload(settings)


def sync(
    name: Name,
    table: Annotated[
        list[str] | None, typer.Option(help="Only this table; can be repeated.")
    ] = None,
    afresh: Annotated[
        bool, typer.Option(help="Full refresh: read all rows, and accept changed columns.")
    ] = False,
) -> None:
    """Sync a connection's tables now. Deployments sync them automatically on schedule."""
    from tippers_dagster.connections import store
    from tippers_dagster.connections.running import connection_nodes_of, sync_tables

    settings = get_settings()
    body = store.get(settings, name)
    chosen = {t.name: t for t in body.tables}
    unknown = [t for t in table or () if t not in chosen]
    if unknown or not chosen:
        raise BadInput(
            f"{name} does not sync {unknown[0] if unknown else 'any table'}.",
            f"`tippers connections choose {name} TABLE` adds one.",
        )
    outcomes = sync_tables(
        settings,
        name,
        body,
        [chosen[t] for t in table or chosen],
        nodes=connection_nodes_of({name: body}),
        run_id=f"cli-{uuid.uuid4()}",
        log=logging.getLogger(__name__),
        afresh=afresh,
    )
    failed = [_report_outcome(name, outcome) for outcome in outcomes].count(False)
    if failed:
        raise typer.Exit(1)


def list_all() -> None:
    """List all connections."""
    from rich.table import Table as Grid

    from tippers_dagster.connections import store

    grid = Grid("name", "dialect", "host", "database", "user", "tables", "every")
    for name, body in store.list_connections(get_settings()).items():
        place = body.host or ""
        every = f"{body.sync_seconds} s"
        counted = str(len(body.tables))
        grid.add_row(name, body.dialect, place, body.database, body.user or "", counted, every)
    if not grid.row_count:
        typer.echo("There are no connections yet; add one with `tippers connections add`.")
        return
    table_console().print(grid)


def show(name: Name) -> None:
    """Show a connection, and when its tables were last synced."""
    from tippers_dagster.automation.state import NEVER, load_states
    from tippers_dagster.connections import store
    from tippers_dagster.connections.running import key_of

    settings = get_settings()
    body = store.get(settings, name)
    for label in ("dialect", "host", "port", "database", "user", "sync_seconds"):
        typer.echo(f"{label:<13} {getattr(body, label) or ''}")
    typer.echo(f"{'password':<13} {'stored' if body.password else 'none'}")
    for label, value in body.options.items():
        typer.echo(f"{label:<13} {value}")
    states = load_states(settings)
    for table in body.tables:
        state = states.get("/".join(key_of(name, table.name)), NEVER)
        when = state.materialized_at
        at = f"{when:%Y-%m-%d %H:%M:%S} UTC, {state.rows:,} rows" if when else "never"
        typer.echo(f"{table.name}: {_how(table)}; last synced: {at}")
        if state.error:
            typer.echo(f"  failed since then: {state.error}")


def delete(name: Name) -> None:
    """Delete a connection, and the copies of its tables."""
    from tippers_dagster.connections import store

    settings = get_settings()
    store.delete(settings, name, by=machine_user() or "cli")
    typer.echo(f"Connection {name} deleted, with the copies of its tables.")
    _reload(settings)


def rotate() -> None:
    """Re-encrypt all stored passwords with the newest key."""
    from tippers_dagster.connections import secrets

    settings = get_settings()
    count = secrets.rotate(settings)
    typer.echo(f"Passwords encrypted with the newest key: {count}.")
    if settings.secrets_keys is not None:
        typer.echo(f"The older keys can be removed from {secrets.SETTING}.")


def _given(
    dialect: str | None,
    host: str | None,
    port: int | None,
    database: str | None,
    user: str | None,
    option: list[str] | None,
    sync_seconds: int | None,
) -> dict[str, object]:
    """The fields that were given."""
    fields: dict[str, object] = {
        "dialect": dialect,
        "host": host,
        "port": port,
        "database": database,
        "user": user,
        "options": _options(option),
        "sync_seconds": sync_seconds,
    }
    return {field: value for field, value in fields.items() if value is not None}


def _options(given: list[str] | None) -> dict[str, str] | None:
    if given is None:
        return None
    pairs = [option.partition("=") for option in given]
    if not all(equals for _, equals, _ in pairs):
        raise BadInput("Write an option as NAME=VALUE.", "Example: --option sslmode=require")
    return {name: value for name, _, value in pairs}


def _password(from_stdin: bool, *, ask: bool) -> str | None:
    if from_stdin:
        secret = sys.stdin.readline().rstrip("\r\n")
        if not secret:
            raise BadInput("There is no password on standard input.", "Send it as one line.")
        return secret
    return str(typer.prompt("Password", hide_input=True)) if ask else None


def _how(table: ConnectionTable) -> str:
    if table.cursor is None:
        return "in full"
    return f"incrementally by {table.cursor}, primary key {', '.join(table.primary_key)}"


def _test_and_report(settings: Settings, name: str) -> bool:
    from tippers_dagster.connections import store

    tested = store.test(settings, name)
    typer.secho(tested.sentence, fg="green" if tested.works else "red", err=not tested.works)
    return tested.works


def _report_outcome(name: str, outcome: Outcome) -> bool:

    if outcome.synced is None:
        typer.secho(redact(str(outcome.error)), fg="red", err=True)
        return False
    s = outcome.synced
    cursor = f", cursor at {s.last_cursor}" if s.last_cursor is not None else ""
    typer.echo(
        f"{name}.{s.table}: {counted(s.read, 'row')} ({s.bytes / 1e6:.1f} MB) read in "
        f"{s.seconds:.1f} s; {s.change.inserted:,} new, {s.change.updated:,} changed, "
        f"{s.change.deleted:,} deleted; {counted(s.change.rows, 'row')} in total{cursor}"
    )
    return True


def _reload(settings: Settings) -> None:
    from tippers_dagster.graph.reload import reload_definitions

    typer.echo(reload_definitions(settings).message)
