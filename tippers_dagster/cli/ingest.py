"""``tippers ingest``: files into the source tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tippers_dagster.settings import get_settings

if TYPE_CHECKING:
    from rich.console import Console

    from tippers_dagster.source.files import Progress
    from tippers_dagster.source.journal import IngestReport

app = typer.Typer(
    no_args_is_help=True,
    help="Load CSV (also gzipped) or Parquet files into the source tables, whole or not at all."
    "\n\nThe same content is loaded once. Rows that cannot be used go to the table tippers.reject, "
    "with their number and the reason.",
)

REASONS_SHOWN = 15

File = Annotated[Path, typer.Argument(help="CSV or Parquet file.", show_default=False)]
Gap = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="SECONDS",
        help="Longest gap within a session; TIPPERS_OBSERVATION_GAP_SECONDS unless given.",
        show_default=False,
    ),
]


def register(parent: typer.Typer) -> None:
    """Add the commands to the application."""
    parent.add_typer(app, name="ingest")


@app.command()
def spaces(file: File) -> None:
    """Insert or update spaces: space_id, space_name, parent_space_id, building_room."""
    _ingest_file("spaces", file)


@app.command()
def sessions(file: File) -> None:
    """Append sessions: mac_address, sensor_id, start_time, end_time, space_id (local times)."""
    _ingest_file("sessions", file)


@app.command("space-metadata")
@app.command("space_metadata", hidden=True)
def space_metadata(file: File) -> None:
    """Replace rooms' types, room by room: roomid, typeid, type, building_room."""
    _ingest_file("space_metadata", file)


@app.command("faculty-data")
@app.command("faculty_data", hidden=True)
def faculty_data(file: File) -> None:
    """Replace faculty offices, person by person: name, office."""
    _ingest_file("faculty_data", file)


@app.command("region-to-coverage")
@app.command("region_to_coverage", hidden=True)
def region_to_coverage(file: File) -> None:
    """Replace coverage, region by region: region_id, space_name, wapcov_id, sensor, and share."""
    _ingest_file("region_to_coverage", file)


@app.command()
def observations(
    file: File,
    device: Annotated[str, typer.Option(help="Column of the device.")] = "mac_address",
    time: Annotated[str, typer.Option(help="Column of the local time.")] = "time",
    access_point: Annotated[str, typer.Option(help="Column of the access point.")] = "sensor_id",
    gap: Gap = None,
) -> None:
    """Make sessions of instants at which devices were seen at access points.

    Observations at one access point chain while the gap allows; a move to another within the gap
    ends the session there. An access point's space is the region that it covers most of
    (region_to_coverage), or the space whose id it is.
    """
    from tippers_dagster.source.observations import ObservationColumns, ingest_observations

    columns = ObservationColumns(device, time, access_point)
    _run(file, lambda tick: ingest_observations(get_settings(), file, columns, gap, tick))


@app.command()
def smartspec(
    folder: Annotated[Path, typer.Argument(help="The scenario.", show_default=False)],
    gap: Gap = None,
) -> None:
    """Load a SmartSPEC scenario: spaces, coverage, people's types as truth, and observations."""
    from tippers_dagster.source.smartspec import ingest_smartspec

    _run(folder, lambda tick: ingest_smartspec(get_settings(), folder, gap, tick))


def _ingest_file(kind: str, file: Path) -> None:
    from tippers_dagster.source.ingest import ingest_file

    _run(file, lambda tick: ingest_file(get_settings(), kind, file, tick))


def _run(path: Path, work: Callable[[Progress], IngestReport]) -> None:
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    from tippers_dagster.terminal import table_console

    console = table_console()
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task(path.name, total=None)

        def tick(done: int, total: int) -> None:
            # What follows the last byte (indexes, commit) takes a while, too.
            description = path.name if done < total else f"{path.name}: indexing"
            bar.update(task, completed=done, total=total, description=description)

        report = work(tick)
    _show(console, path, report)


def _show(console: Console, path: Path, report: IngestReport) -> None:
    from rich.table import Table

    from tippers_dagster.small_tables import column_names

    if report.already:
        console.print(
            f"{path!s}: already ingested on {report.when:%Y-%m-%d %H:%M %Z}: nothing to do.",
            soft_wrap=True,
        )
        return
    table = Table("", "rows", title=str(path), title_justify="left")
    table.columns[1].justify = "right"
    table.add_row("read", f"{report.rows:,}")
    table.add_row("loaded", f"{report.loaded:,}")
    for name, value in report.details.items():
        table.add_row(f"  {name}", value)
    table.add_row("rejected", f"{report.rejected.total():,}")
    reasons = report.rejected.most_common()
    for reason, count in reasons[:REASONS_SHOWN]:
        table.add_row(f"  {reason}", f"{count:,}")
    if others := reasons[REASONS_SHOWN:]:
        rest = sum(count for _, count in others)
        table.add_row(f"  {len(others):,} other reasons", f"{rest:,}")
    console.print(table)
    if report.rejected:
        console.print("The rejected rows are in the table tippers.reject.")
    if report.ignored:
        console.print(f"Columns that were ignored: {column_names(report.ignored)}.", soft_wrap=True)
