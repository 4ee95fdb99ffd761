"""`tippers database prepare | sql | change-notes`."""

from __future__ import annotations

import typer

from tippers_dagster.settings import get_settings


def register(app: typer.Typer) -> None:
    """Add the commands."""
    database = typer.Typer(
        no_args_is_help=True, help="Prepare a deployment's PostgreSQL server: roles and databases."
    )
    database.command("prepare")(prepare)
    database.command("sql")(sql)
    database.command("change-notes")(change_notes)
    app.add_typer(database, name="database")


def prepare(
    admin_url: str = typer.Option(
        ...,
        envvar="DATABASE_ADMIN_URL",
        show_envvar=True,
        help="postgresql://... of a superuser; set the variable to hide it from other users.",
    ),
    also: list[str] = typer.Option([], help="Another database for the owner; can be repeated."),
) -> None:
    """Create the roles and databases that the settings name, and print each step.

    Needed once, and after each upgrade. Objects that belonged to the superuser in earlier versions
    are transferred to the owner; nothing is lost. Safe to repeat; not needed for the embedded
    server.
    """
    from tippers_dagster.platform.postgres.databases import libpq_url
    from tippers_dagster.sql.preparing import prepare_server

    for line in prepare_server(get_settings(), libpq_url(admin_url), tuple(also)):
        print(line, flush=True)


def sql() -> None:
    """Print SQL that restricts the builder and the reader to the functions that they need.

    For a superuser to run in the warehouse's database, if you cannot run `prepare` as one.
    """
    from tippers_dagster.sql.preparing import restricting_sql

    for statement in restricting_sql(get_settings()):
        print(f"{statement};")


def change_notes(
    reader: str | None = typer.Option(
        None, help="The role that tippers reads the source as, if it is not the table's owner."
    ),
) -> None:
    """Print SQL that lets the source note on which days rows of the session table change.

    For the owner of the session table, in the source's PostgreSQL. With it a late row of any week
    is seen within seconds; without it older chunks are checked in turn.
    """
    from tippers_dagster.campus.source.changes import noting_sql

    for statement in noting_sql(get_settings(), reader):
        print(f"{statement};")
