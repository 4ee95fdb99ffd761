"""``tippers ingest``: load files into the source tables; list, undo and redo ingests."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tippers_dagster.cli.log_options import (
    DayFirst,
    LogOptions,
    Zone,
    order_of,
    with_log_options,
)
from tippers_dagster.errors import BadInput
from tippers_dagster.platform.terminal import table_console
from tippers_dagster.platform.text import counted, short_path, shown
from tippers_dagster.settings import get_settings

if TYPE_CHECKING:
    from rich.console import Console

    from tippers_dagster.campus.intake.entries import Ingested
    from tippers_dagster.campus.intake.files import Progress
    from tippers_dagster.campus.intake.journal import IngestReport
    from tippers_dagster.campus.log.times import Order

app = typer.Typer(
    no_args_is_help=True,
    help="Load CSV (optionally gzipped) or Parquet files into the source tables, completely or not "
    "at all.\n\nThe same content is loaded only once. `tippers rejects` lists unusable rows with "
    "their number and the reason. Every ingest can be undone, or repeated with other options.",
)

REASONS_SHOWN = 15
SPACES_SHOWN = 10

File = Annotated[
    Path,
    typer.Argument(help="CSV or Parquet file; of sessions also JSON.", show_default=False),
]
Number = Annotated[
    int, typer.Argument(help="Number of the ingest, see `tippers ingest list`.", show_default=False)
]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        metavar="OURS=THEIRS",
        help="Read our column OURS from the file's column THEIRS; repeatable.",
        show_default=False,
    ),
]
Gap = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="SECONDS",
        help="Longest gap within a session; default: TIPPERS_OBSERVATION_GAP_SECONDS.",
        show_default=False,
    ),
]


def register(parent: typer.Typer) -> None:
    """Add the commands to the application."""
    parent.add_typer(app, name="ingest")


@app.command()
def spaces(file: File, column: Columns = None) -> None:
    """Insert or update spaces: space_id, space_name, parent_space_id, building_room."""
    _ingest_file("spaces", file, column)


@app.command()
def sessions(
    file: File, column: Columns = None, timezone: Zone = None, day_first: DayFirst = None
) -> None:
    """Append sessions: mac_address, sensor_id, start_time, end_time, space_id."""
    _ingest_file("sessions", file, column, timezone, order_of(day_first))


@app.command()
@with_log_options
def log(
    file: Annotated[Path, typer.Argument(help="CSV, JSON or Parquet file.", show_default=False)],
    options: LogOptions,
    gap: Gap = None,
) -> None:
    """Load a WiFi log in any shape: sessions, accounting records, or observations.

    Without --preset, --mapping, --source and columns, the file's columns are compared with the
    presets. See first with `tippers log preview` what would be understood. A row's space is the one
    that it names, else that of its access point: the region that it covers most
    (region_to_coverage), or the space with the same id.
    """
    from tippers_dagster.campus.intake.log import ingest_log

    choice = options.choice(file)
    if choice.mapping is None:
        raise BadInput(
            f"No preset fits {file}.",
            "Name its columns (--device, --start ...), or write a mapping with `tippers log "
            "preview --write`.",
        )
    if choice.preset is not None:
        typer.echo(f"Read as {choice.preset.name}: {choice.preset.title}.")
    found = choice.mapping
    _run(file, lambda tick: ingest_log(get_settings(), file, found, gap, tick))


@app.command("space-metadata")
@app.command("space_metadata", hidden=True)
def space_metadata(file: File, column: Columns = None) -> None:
    """Replace the types of the file's rooms: roomid, typeid, type, building_room."""
    _ingest_file("space_metadata", file, column)


@app.command("faculty-data")
@app.command("faculty_data", hidden=True)
def faculty_data(file: File, column: Columns = None) -> None:
    """Replace the offices of the file's faculty members: name, office."""
    _ingest_file("faculty_data", file, column)


@app.command("region-to-coverage")
@app.command("region_to_coverage", hidden=True)
def region_to_coverage(file: File, column: Columns = None) -> None:
    """Replace the coverage of regions: region_id, space_name, wapcov_id, sensor and share."""
    _ingest_file("region_to_coverage", file, column)


@app.command("vendor-prefixes")
@app.command("vendor_prefixes", hidden=True)
def vendor_prefixes(file: File, column: Columns = None) -> None:
    """Replace the makers of the file's vendor prefixes: prefix and maker, or the IEEE's oui.csv."""
    _ingest_file("vendor_prefixes", file, column)


@app.command()
def observations(
    file: File,
    device: Annotated[str, typer.Option(help="Column of the device.")] = "mac_address",
    time: Annotated[str, typer.Option(help="Column of the local time.")] = "time",
    access_point: Annotated[str, typer.Option(help="Column of the access point.")] = "sensor_id",
    gap: Gap = None,
    timezone: Zone = None,
    day_first: DayFirst = None,
) -> None:
    """Build sessions from times at which devices were seen at access points.

    Observations at the same access point join into a session while their gaps are short enough; a
    move to another access point within the gap ends the session there. An access point's space is
    the region that it covers most (region_to_coverage), or the space with the same id.
    """
    from tippers_dagster.campus.intake.observations import ObservationColumns, ingest_observations

    columns = ObservationColumns(device, time, access_point)
    _run(
        file,
        lambda tick: ingest_observations(
            get_settings(),
            file,
            columns,
            gap,
            tick,
            timezone=timezone,
            order=order_of(day_first),
        ),
    )


@app.command()
def smartspec(
    folder: Annotated[Path, typer.Argument(help="Folder of the scenario.", show_default=False)],
    gap: Gap = None,
) -> None:
    """Load a SmartSPEC scenario: spaces, coverage, observations, and people's types as truth."""
    from tippers_dagster.campus.intake.smartspec import ingest_smartspec

    _run(folder, lambda tick: ingest_smartspec(get_settings(), folder, gap, tick))


@app.command("list")
def list_all() -> None:
    """List all ingests and removals of spaces, oldest first."""
    from rich.table import Table

    from tippers_dagster.campus.intake.entries import describe_options, list_ingests
    from tippers_dagster.campus.intake.repeat import LOADED

    found = list_ingests(get_settings(), LOADED)
    if not found:
        typer.echo("Nothing has been ingested. `tippers ingest --help` lists the kinds of files.")
        return
    numbers = ("read", "left out", "rejected", "loaded")
    table = Table("ingest", "when", "kind", "from", *numbers, "options", "")
    for column in table.columns[4:8]:
        column.justify = "right"
    for one in found:
        table.add_row(
            str(one.ingest_id),
            f"{one.ingested_at.astimezone():%Y-%m-%d %H:%M}",
            one.kind,
            short_path(one.name),
            *(f"{number:,}" for number in (one.rows, one.left_out, one.rejected, one.loaded)),
            shown(describe_options(one.options)),
            _effect(one),
        )
    table_console().print(table)


@app.command()
def undo(
    numbers: Annotated[
        list[int],
        typer.Argument(help="Numbers of ingests, see `tippers ingest list`.", show_default=False),
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove the rows that ingests loaded, and restore those that they replaced.

    Rows of other ingests stay, even if they are the same. The affected counts become out of date; a
    running `tippers up`, or `tippers occupancy materialize`, recomputes them.
    """
    from tippers_dagster.campus.intake.repeat import ingest_of
    from tippers_dagster.campus.intake.undo import undo_ingests

    settings = get_settings()
    for one in [ingest_of(settings, number) for number in numbers]:
        what = f"{one.kind} from {shown(one.name)}, {counted(one.loaded, 'row')} loaded"
        if one.sha256 is None:
            what = f"{one.name}, {counted(one.loaded, 'space')}"
        when = f"{one.ingested_at.astimezone():%Y-%m-%d %H:%M}"
        typer.echo(f"ingest {one.ingest_id}, {when}: {what}")
    if not yes:
        typer.confirm("Undo?", abort=True)
    undone = undo_ingests(settings, numbers)
    changed = ", ".join(f"{kind} {rows:,}" for kind, rows in undone.changed.items() if rows)
    typer.echo(f"Undone. Rows changed or removed: {changed or 'none'}.")
    _report_stale(undone.dates)


@app.command()
def again(
    number: Number,
    column: Columns = None,
    timezone: Zone = None,
    day_first: DayFirst = None,
    gap: Gap = None,
    mapping: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Of a log: read it by another mapping."),
    ] = None,
    file: Annotated[Path | None, typer.Option(help="The file's new path, if it was moved.")] = None,
    accept_changes: Annotated[
        bool, typer.Option("--accept-changes", help="Load it even if its content has changed.")
    ] = False,
) -> None:
    """Read an ingest's file again and replace its rows, optionally with other options.

    Options that are not given stay as they were. The ingest keeps its number and its position:
    later ingests of the same spaces, rooms or people still take precedence.
    """
    from tippers_dagster.campus.intake.repeat import Changes, ingest_again, ingest_of
    from tippers_dagster.campus.log.mapping import load_mapping

    settings = get_settings()
    path = Path(ingest_of(settings, number).name) if file is None else file
    columns = None if column is None else _columns(column)
    found = None if mapping is None else load_mapping(mapping)
    changes = Changes(columns, timezone, gap, order_of(day_first), found)
    _run(
        path,
        lambda tick: ingest_again(
            settings, number, changes, file=file, accept_changes=accept_changes, progress=tick
        ),
    )


def _effect(one: Ingested) -> str:
    """How an ingest was changed later; empty if it was not."""
    if one.undone_at is not None:
        return f"undone {one.undone_at.astimezone():%Y-%m-%d %H:%M}"
    if one.redone_at is not None:
        return f"redone {one.redone_at.astimezone():%Y-%m-%d %H:%M}"
    return "" if one.traced else "by an earlier version"


def _columns(given: list[str]) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in given]
    if wrong := [ours for ours, mark, theirs in pairs if not (ours and mark and theirs)]:
        raise BadInput(f"--column {wrong[0]} is not OURS=THEIRS.", "Example: --column time=seen_at")
    return {ours.strip(): theirs for ours, _, theirs in pairs}


def _report_stale(dates: set[dt.date]) -> None:
    """Check the chunks that an ingest affected, and report which are out of date."""
    from tippers_dagster.occupancy.source_checks import check_dates

    if changed := check_dates(get_settings(), dates).changed:
        affected = f"{changed[0]} to {changed[-1]}" if len(changed) > 1 else changed[0]
        typer.echo(
            f"Counts of {counted(len(changed), 'time chunk')} are out of date ({affected}). A "
            "running `tippers up`, or `tippers occupancy materialize`, updates them."
        )


def _ingest_file(
    kind: str,
    file: Path,
    column: list[str] | None,
    timezone: str | None = None,
    order: Order | None = None,
) -> None:
    from tippers_dagster.campus.intake.ingest import FileOptions, ingest_file

    options = FileOptions(_columns(column or []), timezone, order)
    _run(file, lambda tick: ingest_file(get_settings(), kind, file, tick, options))


def _run(path: Path, work: Callable[[Progress], IngestReport]) -> None:
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    console = table_console()
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task(path.name, total=None)

        def tick(done: int, total: int) -> None:
            # Indexing and committing after the last byte also take a while.
            description = path.name if done < total else f"{path.name}: indexing"
            bar.update(task, completed=done, total=total, description=description)

        report = work(tick)
    _show(console, path, report)
    _report_stale(report.dates)


def _show(console: Console, path: Path, report: IngestReport) -> None:
    from rich.table import Table

    from tippers_dagster.platform.small_tables import column_names

    if report.already:
        console.print(
            f"{path!s}: already ingested on {report.when:%Y-%m-%d %H:%M %Z} as ingest "
            f"{report.ingest_id}; nothing to do.",
            soft_wrap=True,
        )
        return
    table = Table("", "rows", title=str(path), title_justify="left")
    table.columns[1].justify = "right"
    table.add_row("read", f"{report.rows:,}")
    if report.left_out:
        table.add_row("left out, by where in the mapping", f"{report.left_out:,}")
    table.add_row("rejected", f"{report.rejected.total():,}")
    reasons = report.rejected.most_common()
    for reason, count in reasons[:REASONS_SHOWN]:
        table.add_row(f"  {reason}", f"{count:,}")
    if others := reasons[REASONS_SHOWN:]:
        rest = sum(count for _, count in others)
        table.add_row(f"  {counted(len(others), 'other reason')}", f"{rest:,}")
    table.add_row("taken", f"{report.taken:,}")
    table.add_row("loaded", f"{report.loaded:,}")
    for name, value in report.details.items():
        table.add_row(f"  {name}", value)
    console.print(table)
    console.print(f"To undo: `tippers ingest undo {report.ingest_id}`.")
    if report.rejected:
        console.print("`tippers rejects` lists the rejected rows.", markup=False)
    if report.unplaced:
        _show_unplaced(console, report)
    if report.ignored:
        console.print(f"Ignored columns: {column_names(report.ignored)}.", soft_wrap=True)


def _show_unplaced(console: Console, report: IngestReport) -> None:
    """Report loaded sessions that are not counted because their space does not exist."""
    spaces = report.unplaced.most_common()
    named = ", ".join(f"{shown(space)} ({count:,})" for space, count in spaces[:SPACES_SHOWN])
    more = f" and {len(spaces) - SPACES_SHOWN:,} more" if len(spaces) > SPACES_SHOWN else ""
    console.print(
        f"{counted(report.unplaced.total(), 'session')} loaded, but not counted until these spaces "
        f"are ingested too: {named}{more}",
        style="yellow",
        markup=False,
        soft_wrap=True,
    )
