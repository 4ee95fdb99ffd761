"""``tippers calendar``: quarters, breaks, finals, holidays and events."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tippers_dagster.access.machine_user import machine_user
from tippers_dagster.errors import BadInput
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
    """List all periods by first day."""
    from rich.table import Table

    from tippers_dagster.calendar.store import list_periods
    from tippers_dagster.platform.terminal import table_console

    table = Table("number", "kind", "name", "first day", "last day", "days", "space", "by")
    for stored in list_periods(get_settings()):
        p = stored.period
        row = (stored.id, p.kind, p.name, p.start, p.last_day, p.days, p.space, stored.updated_by)
        table.add_row(*(str(cell) for cell in row))
    if not table.row_count:
        typer.echo(
            "The calendar is empty; `tippers calendar import` and `tippers calendar holidays` fill "
            "it."
        )
        return
    table_console().print(table)


def import_(
    file: Annotated[
        Path,
        typer.Argument(help="CSV or YAML: kind, name, first_day, last_day and optionally space."),
    ],
    replace: Annotated[
        bool, typer.Option("--replace", help="Remove all periods that are not in the file.")
    ] = False,
    by: Annotated[
        str | None, typer.Option(help="Who makes the change; default: your user name.")
    ] = None,
) -> None:
    """Import periods from a file, completely or not at all. Last days are included.

    A period with the kind, name, first day and space of an existing one replaces its last day.
    """
    from tippers_dagster.calendar.files import read_file
    from tippers_dagster.calendar.store import put

    periods = read_file(file)
    who = machine_user() if by is None else by
    typer.echo(f"Periods: {put(get_settings(), periods, by=who, replace=replace)}.")


def export(
    file: Annotated[Path, typer.Argument(help="A .csv, .yaml or .yml file.")],
) -> None:
    """Write all periods to a file that `tippers calendar import` can read."""
    from tippers_dagster.calendar.files import write_file
    from tippers_dagster.calendar.store import list_periods
    from tippers_dagster.platform.text import counted

    periods = [stored.period for stored in list_periods(get_settings())]
    write_file(periods, file)
    typer.echo(f"{counted(len(periods), 'period')} written to {file}.")


def remove(
    numbers: Annotated[
        list[int], typer.Argument(help="Numbers of periods, see `tippers calendar list`.")
    ],
) -> None:
    """Remove periods: all that are given, or none if a number is unknown."""
    from tippers_dagster.calendar.store import remove as removed

    typer.echo(f"Periods: {removed(get_settings(), numbers, by=machine_user())}.")


def holidays(
    years: Annotated[list[int] | None, typer.Argument(help="Years, such as 2025 2026.")] = None,
    more_years: Annotated[
        list[int] | None, typer.Option("--years", help="The same as an option; repeatable.")
    ] = None,
    country: Annotated[
        str, typer.Option(help="Two-letter country code; for US, the federal holidays.")
    ] = "US",
    subdivision: Annotated[
        str | None, typer.Option(help="Also add holidays of a state or region, such as CA.")
    ] = None,
) -> None:
    """Add the public holidays of a country, as a first calendar."""
    from tippers_dagster.calendar.public import public_holidays
    from tippers_dagster.calendar.store import put

    wanted = [*(years or ()), *(more_years or ())]
    if not wanted:
        raise BadInput("No year was given.", "Example: `tippers calendar holidays 2025 2026`.")
    found = public_holidays(wanted, country, subdivision)
    typer.echo(f"Holidays: {put(get_settings(), found, by=machine_user())}.")
