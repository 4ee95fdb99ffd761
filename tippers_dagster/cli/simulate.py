"""``tippers simulate``: a campus with known truth."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Annotated

import typer

from tippers_dagster.cli.progress import progress_bars
from tippers_dagster.errors import BadInput
from tippers_dagster.platform.terminal import table_console
from tippers_dagster.settings import get_settings

if TYPE_CHECKING:
    from rich.console import Console

    from tippers_dagster.calendar.store import Outcome
    from tippers_dagster.simulation.write import SimulationReport

DEFAULT_WEEKS = 8


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("simulate")(simulate)


def simulate(
    buildings: Annotated[int, typer.Option(help="Number of buildings.")] = 3,
    people: Annotated[int, typer.Option(help="Number of people, visitors included.")] = 2000,
    weeks: Annotated[
        int | None, typer.Option(help="Number of weeks; default: 8 unless --days is given.")
    ] = None,
    days: Annotated[int | None, typer.Option(help="Number of days, instead of --weeks.")] = None,
    start: Annotated[
        dt.datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="First local day; default: 2025-01-20."),
    ] = None,
    logins: Annotated[
        float, typer.Option(help="Share of people who log in to the network by user name.")
    ] = 0.75,
    seed: Annotated[int, typer.Option(help="The same seed and sizes give the same rows.")] = 1,
    replace: Annotated[
        bool, typer.Option("--replace", help="Delete the rows in the source tables first.")
    ] = False,
) -> None:
    """Fill the source tables with a simulated campus and its known truth."""
    from tippers_dagster.calendar.simulated import keep_simulated
    from tippers_dagster.simulation import CampusOptions, simulate_campus, write_campus
    from tippers_dagster.simulation.options import DEFAULT_START

    settings = get_settings()
    options = CampusOptions(
        buildings=buildings,
        people=people,
        days=_days(weeks, days),
        start=DEFAULT_START if start is None else start.date(),
        seed=seed,
        timezone=settings.timezone,
        open_session_seconds=settings.open_session_seconds,
        logins=logins,
    )
    console = table_console()
    with progress_bars(console) as show:
        report = write_campus(
            settings,
            simulate_campus(options),
            replace=replace,
            progress=lambda share: show("simulate the campus", share, 1.0),
        )
    _show(console, report)
    _show_calendar(console, keep_simulated(settings, options.start, options.days))


def _days(weeks: int | None, days: int | None) -> int:
    if weeks is not None and days is not None:
        raise BadInput("Both --weeks and --days were given.", "Give one of them.")
    if days is not None:
        return days
    return 7 * (DEFAULT_WEEKS if weeks is None else weeks)


def _show(console: Console, report: SimulationReport) -> None:
    from rich.table import Table

    from tippers_dagster.campus.source.schema import (
        SESSIONS,
        SPACES,
        TRUTH_HEADCOUNT,
        TRUTH_OCCUPANCY,
    )

    options, rows = report.options, report.rows
    last = options.start + dt.timedelta(days=options.days - 1)
    table = Table(
        title=f"Simulated campus, {options.start} to {last} ({options.timezone}), "
        f"seed {options.seed}",
        show_header=False,
    )
    table.add_row("spaces", f"{rows[SPACES]:,} in {options.buildings} buildings")
    table.add_row("people", _by_type(report.people))
    table.add_row("devices", _by_type(report.devices))
    table.add_row("addresses", _by_type(report.addresses))
    table.add_row("rows of sessions", f"{rows[SESSIONS]:,}, {report.repeated:,} of them repeated")
    table.add_row("deliberately unusable", _by_type(report.unusable))
    table.add_row("true head counts", f"{rows[TRUTH_HEADCOUNT]:,} non-empty bins")
    table.add_row("true device counts", f"{rows[TRUTH_OCCUPANCY]:,} non-empty bins")
    stages = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in report.seconds.items())
    table.add_row("seconds", stages)
    console.print(table)


def _show_calendar(console: Console, done: Outcome | None) -> None:
    if done is None:
        console.print("The academic calendar has entries made by people, and stays unchanged.")
    else:
        console.print(f"Academic calendar: {done}. `tippers calendar list` shows it.")


def _by_type(counts: dict[str, int]) -> str:
    parts = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    return f"{sum(counts.values()):,} ({parts})"
