"""``tippers people-count``: people counts estimated from devices."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tippers_dagster.catalog.kinds import Kind, PeopleCount
from tippers_dagster.platform.terminal import table_console
from tippers_dagster.settings import get_settings

if TYPE_CHECKING:
    from tippers_dagster.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    people_count = typer.Typer(
        name="people-count",
        no_args_is_help=True,
        help="Counts of people instead of devices: quality and export.",
    )
    people_count.command("list")(list_all)
    people_count.command("export")(export)
    app.add_typer(people_count)


def list_all() -> None:
    """List people counts: the devices that they count, and their errors."""
    from tippers_dagster.catalog.store import load_catalog
    from tippers_dagster.people.counts.reading import read_people_counts

    settings = get_settings()
    results = read_people_counts(settings)
    defined = {d.ref.name: d.body for d in load_catalog(settings).of_kind(Kind.PEOPLE_COUNT)}
    for name, body in defined.items():
        if name not in results and isinstance(body, PeopleCount):
            what = f"{', '.join(body.labels)} of {body.by}" if body.by else "all devices"
            typer.echo(f"{name}: {what}; not materialised yet.")
    if not defined:
        typer.echo("No people counts are defined; docs/people.md explains how.")
    print_made(settings)


def print_made(settings: Settings) -> None:
    """Print a table of the materialised people counts."""
    from rich.table import Table

    from tippers_dagster.people.counts.reading import read_people_counts

    results = read_people_counts(settings)
    if not results:
        return
    headings = (
        *("people count", "devices counted", "head counts", "mean error, people"),
        *("without calibration", "interval", "computed"),
    )
    table = Table(*headings)
    for result in results.values():
        what = (
            f"{', '.join(result.body.labels)} of {result.body.by}"
            if result.body.by
            else "all devices"
        )
        when = f"{result.made_at:%Y-%m-%d %H:%M}"
        found = result.evaluation
        if found is None:
            table.add_row(result.name, what, "", "not calibrated", "", "", when)
            continue
        table.add_row(
            result.name,
            what,
            f"{found.fitted:,}",
            f"{found.calibrated.mae:.2f}",
            f"{found.uncalibrated.mae:.2f}",
            f"{result.body.confidence:.0%}, contained {found.coverage:.0%}",
            when,
        )
    table_console().print(table)
    for result in results.values():
        if result.reason:
            typer.echo(f"{result.name} is not calibrated: {result.reason}")


def export(
    space: Annotated[str, typer.Option(help="Id of the space.")],
    start: Annotated[
        str, typer.Option(help="ISO 8601 date or time, local unless it has an offset.")
    ],
    end: Annotated[
        str, typer.Option(help="As --start, excluded: only bins that begin earlier are written.")
    ],
    interval: Annotated[int, typer.Option(help="Width of the bins in seconds: a multiple of 60.")],
    by: Annotated[str, typer.Option(help="Name of the people count.")],
    out: Annotated[Path, typer.Option(help="FILE.csv or FILE.parquet; replaced if it exists.")],
) -> None:
    """Write the estimated number of people in a space per bin, with its interval, to a file.

    Columns: space_id, interval_begin_time, number_connections, people_known (by their user names),
    devices_counted (of all others), people, people_low, people_high. Bins of chunks that are not
    computed are empty. If TIPPERS_SMALLEST_COUNT is set, small counts and those that would reveal
    them are empty too, and marked in the column suppressed.
    """
    from tippers_dagster.occupancy.export import write_export
    from tippers_dagster.occupancy.reading import missing_chunks
    from tippers_dagster.people.counts.reading import read_people_count
    from tippers_dagster.people.counts.sharing import read_shared_people
    from tippers_dagster.platform.table_files import check_writable

    settings = get_settings()
    check_writable(out)
    people = read_shared_people(space, start, end, interval, by, settings=settings)
    write_export(space, people, out)
    typer.echo(f"{people.num_rows:,} rows written to {out}")
    result = read_people_count(settings, by)
    if result.reason:
        typer.secho(f"{by} is not calibrated: {result.reason}", fg="yellow", err=True)
    if missing := missing_chunks(people):
        typer.secho(f"Chunks not computed: {', '.join(missing)}", fg="yellow", err=True)
