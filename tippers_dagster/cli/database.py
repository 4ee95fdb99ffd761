"""`tippers database prepare | sql`."""

from __future__ import annotations

import typer

from tippers_dagster.settings import get_settings


def register(app: typer.Typer) -> None:
    """Add the commands."""
    database = typer.Typer(no_args_is_help=True, help="The roles on a deployment's server.")
    database.command("prepare")(prepare)
    database.command("sql")(sql)
    app.add_typer(database, name="database")


def prepare(
    admin_url: str = typer.Option(
        ...,
        envvar="DATABASE_ADMIN_URL",
        show_envvar=True,
        help="postgresql://... of a superuser; better in the variable, which others cannot see.",
    ),
    also: list[str] = typer.Option([], help="Further database of the owner's; may be repeated."),
) -> None:
    """Make the roles and databases that the settings name; says what it did.

    Needed once, and with each new version. What earlier versions kept under the superuser is given
    to the owner; nothing is lost, and it may be repeated. The embedded server needs none of this.
    """
    from tippers_dagster.local.databases import libpq_url
    from tippers_dagster.sql.preparing import prepare_server

    for line in prepare_server(get_settings(), libpq_url(admin_url), tuple(also)):
        print(line, flush=True)


def sql() -> None:
    """Print SQL that keeps the builder and the reader from functions that they do not need.

    For a superuser to run in the warehouse's database, where `prepare` cannot be given one.
    """
    from tippers_dagster.sql.preparing import restricting_sql

    for statement in restricting_sql(get_settings()):
        print(f"{statement};")
