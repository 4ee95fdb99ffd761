"""``tippers calendar``: quarters, breaks, finals, holidays and events."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tippers_dagster.errors import BadInput
from tippers_dagster.people.account import user_name
from tippers_dagster.settings import get_settings


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    calendar = typer.Typer(
        name="calendar",
        no_args_is_help=True,
        help="The academic calendar, which forecasts take into account.",
    )
    calendar.command("list")(list_all)
    calendar.command("import")(import_)
    calendar.command("export")(export)
    calendar.command("remove")(remove)
    calendar.command("holidays")(holidays)
    app.add_typer(calendar)


def list_all() -> None:
    """List all periods, in order of their first days."""
    from rich.table import Table

    from tippers_dagster.academic.store import list_periods
    from tippers_dagster.terminal import table_console

    table = Table("number", "kind", "name", "first day", "last day", "days", "space", "by")
    for kept in list_periods(get_settings()):
        p = kept.period
        row = (kept.id, p.kind, p.name, p.start, p.last_day, p.days, p.space, kept.updated_by)
        table.add_row(*(str(cell) for cell in row))
    if not table.row_count:
        typer.echo("The calendar is empty; `tippers calendar import` and `holidays` fill it.")
        return
    table_console().print(table)


def import_(
    file: Annotated[
        Path, typer.Argument(help="CSV or YAML: kind, name, first_day, last_day, perhaps space.")
    ],
    replace: Annotated[
        bool, typer.Option("--replace", help="Remove all that the file does not hold.")
    ] = False,
    by: Annotated[str | None, typer.Option(help="Who says so; you, unless set.")] = None,
) -> None:
    """Take periods from a file: all of it, or nothing. Last days are days of the period.

    One of the same kind, name, first day and space as one that is there gives it its last day.
    """
    from tippers_dagster.academic.files import read_file
    from tippers_dagster.academic.store import put

    periods = read_file(file)
    who = user_name() if by is None else by
    typer.echo(f"Periods: {put(get_settings(), periods, by=who, replace=replace)}.")


def export(
    file: Annotated[Path, typer.Argument(help="A file ending in .csv, .yaml or .yml.")],
) -> None:
    """Write all periods to a file that `tippers calendar import` takes."""
    from tippers_dagster.academic.files import write_file
    from tippers_dagster.academic.store import list_periods

    periods = [kept.period for kept in list_periods(get_settings())]
    write_file(periods, file)
    typer.echo(f"{len(periods):,} periods written to {file}.")


def remove(
    numbers: Annotated[list[int], typer.Argument(help="As `tippers calendar list` shows them.")],
) -> None:
    """Remove periods: all of these, or none."""
    from tippers_dagster.academic.store import remove as removed

    typer.echo(f"Periods: {removed(get_settings(), numbers, by=user_name())}.")


def holidays(
    years: Annotated[list[int] | None, typer.Argument(help="Which years: 2025 2026.")] = None,
    more_years: Annotated[
        list[int] | None, typer.Option("--years", help="The same, for those who like names.")
    ] = None,
    country: Annotated[str, typer.Option(help="Two letters; of US, the federal holidays.")] = "US",
    subdivision: Annotated[
        str | None, typer.Option(help="With those of a state or region, such as CA.")
    ] = None,
) -> None:
    """Add the public holidays of a country, as a calendar to begin with."""
    from tippers_dagster.academic.public import public_holidays
    from tippers_dagster.academic.store import put

    wanted = [*(years or ()), *(more_years or ())]
    if not wanted:
        raise BadInput("No year was given.", "`tippers calendar holidays 2025 2026`")
    found = public_holidays(wanted, country, subdivision)
    typer.echo(f"Holidays: {put(get_settings(), found, by=user_name())}.")
