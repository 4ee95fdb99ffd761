"""`tippers track`, `tippers untrack` and `tippers occupancy`."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import typer

from tippers_dagster.cli.progress import progress_bars
from tippers_dagster.errors import BadInput
from tippers_dagster.platform.terminal import table_console
from tippers_dagster.platform.text import counted

if TYPE_CHECKING:
    from tippers_dagster.campus.spaces.tracking import Grid
    from tippers_dagster.occupancy.source_checks import SourceCheck
    from tippers_dagster.occupancy.status import LevelStatus
    from tippers_dagster.settings import Settings

NOTHING_TRACKED = (
    "Nothing is tracked.",
    "`tippers spaces` lists the spaces; `tippers track --space ID --start DATE --end DATE`.",
)
_DATE = ["%Y-%m-%d"]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    from tippers_dagster.cli import export

    app.command("track")(track)
    app.command("untrack")(untrack)
    occupancy = typer.Typer(no_args_is_help=True, help="Occupancy of the tracked spaces.")
    occupancy.command("status")(status)
    occupancy.command("identities")(identities)
    occupancy.command("materialize")(materialize)
    occupancy.command("retry")(retry)
    export.register(occupancy)
    app.add_typer(occupancy, name="occupancy")


def track(
    space: str | None = typer.Option(
        None,
        help="Id of a space; everything below it is tracked too. Without it only the log of these "
        "dates is prepared, which is enough for labels.",
    ),
    start: dt.datetime = typer.Option(..., formats=_DATE, help="First local date."),
    end: dt.datetime = typer.Option(..., formats=_DATE, help="Local date after the last one."),
) -> None:
    """Keep the log, and the occupancy of a space and its subtree, over [start, end) up to date."""
    from tippers_dagster.occupancy.tracking import track_space
    from tippers_dagster.settings import get_settings

    grid = track_space(get_settings(), space=space, start=start.date(), end=end.date())
    _print_tracked(grid)
    typer.echo(
        "A running `tippers up` computes it. To compute it now: `tippers occupancy materialize`."
    )


def untrack(
    space: str | None = typer.Option(
        None, help="Id of a tracked root space. Without it: ranges tracked for the log only."
    ),
    start: dt.datetime | None = typer.Option(None, formats=_DATE, help="Only from this date on."),
    end: dt.datetime | None = typer.Option(None, formats=_DATE, help="Only before this date."),
    purge: bool = typer.Option(False, help="Delete untracked occupancy from the lake."),
) -> None:
    """Stop tracking a space. Its occupancy stays in the lake, and is used if tracked again."""
    from tippers_dagster.occupancy.tracking import untrack_space
    from tippers_dagster.settings import get_settings

    grid, purged = untrack_space(
        get_settings(),
        space=space,
        start=None if start is None else start.date(),
        end=None if end is None else end.date(),
        purge=purge,
    )
    _print_tracked(grid)
    if purge:
        typer.echo(f"Deleted {counted(purged, 'partition')} from the lake.")


def status() -> None:
    """Show how many partitions of each level are done, running, stale, failed or sealed.

    Of sealed partitions only the counts are kept; they are included in done. Checks the source for
    changes first, as far as that is quick.
    """
    from rich.table import Table

    from tippers_dagster.campus.spaces.tracking import list_tracked
    from tippers_dagster.occupancy.source_checks import check_quickly
    from tippers_dagster.occupancy.status import occupancy_status
    from tippers_dagster.settings import get_settings

    settings = get_settings()
    console = table_console()
    tracked = list_tracked(settings)
    if not tracked:
        console.print(" ".join(NOTHING_TRACKED), markup=False)
        _print_rejected(settings)
        return
    for one in tracked:
        what = one.space or "the log only"
        console.print(f"tracked: {what}, {one.start} to {one.end} (excluded)", markup=False)
    check = check_quickly(settings, dt.datetime.now(dt.UTC))
    table = Table("level", *("wanted", "done", "running", "stale", "failed", "sealed"))
    levels = occupancy_status(settings)
    for level in levels:
        table.add_row(level.asset, *(f"{n:,}" for n in (*level.numbers, level.sealed)))
    console.print(table)
    _print_last_check(settings, check)
    _print_rejected(settings)
    _print_failures(levels)


def identities() -> None:
    """Show by week what kinds of devices the log has, how many are new, and who is known.

    A device that changes its address counts as a new device each time: counts over days or weeks
    overstate the number of devices. Counts over an hour or less hardly do.
    """
    from rich.table import Table

    from tippers_dagster.campus.devices import KINDS
    from tippers_dagster.occupancy.log_identities import log_identities
    from tippers_dagster.settings import get_settings

    weeks = log_identities(get_settings()).to_pylist()
    if not weeks:
        typer.echo("No sessions are computed. `tippers occupancy status` shows how far it is.")
        return
    table = Table("week from", "devices", *KINDS, "a day", "new a day", "sessions", "with a person")
    for column in table.columns[1:]:
        column.justify = "right"
    for week in weeks:
        table.add_row(
            str(week["week"]),
            f"{week['devices']:,}",
            *(f"{week[kind] / week['devices']:.0%}" for kind in KINDS),
            f"{week['devices_a_day']:,.0f}",
            f"{week['new_a_day']:,.0f}",
            f"{week['sessions']:,}",
            f"{week['known'] / week['sessions']:.0%}",
        )
    table_console().print(table)
    typer.echo("The log begins in the first week: there, every address is new.")


def materialize(
    space: str | None = typer.Option(None, help="Only this space and everything below it."),
    start: dt.datetime | None = typer.Option(None, formats=_DATE, help="Only from this date on."),
    end: dt.datetime | None = typer.Option(None, formats=_DATE, help="Only before this date."),
    again: bool = typer.Option(
        False, help="Also recompute what is up to date, if files were lost or damaged."
    ),
) -> None:
    """Compute missing and stale tracked occupancy now, without a daemon.

    Checks the source for new and changed rows first.
    """
    from tippers_dagster.campus.spaces.tracking import list_tracked
    from tippers_dagster.occupancy.launch import materialize as materialize_all
    from tippers_dagster.platform.dagster.environment import dagster_instance
    from tippers_dagster.settings import get_settings

    settings, console = get_settings(), table_console()
    if not list_tracked(settings):
        raise BadInput(*NOTHING_TRACKED)
    with dagster_instance(settings) as instance, progress_bars(console) as show:
        stages = materialize_all(
            settings,
            instance,
            space=space,
            start=None if start is None else start.date(),
            end=None if end is None else end.date(),
            again=again,
            on_progress=show,
        )
    for stage in stages:
        console.print(
            f"{stage.asset}: {counted(stage.partitions, 'partition')}, "
            f"{counted(stage.runs, 'run')}, {stage.seconds:.1f} s"
        )


def retry() -> None:
    """Retry partitions that failed too often: automation's attempts start again from zero."""
    from tippers_dagster.occupancy.records import forget_attempts
    from tippers_dagster.platform.warehouse.engine import warehouse_engine
    from tippers_dagster.settings import get_settings

    forgotten = forget_attempts(warehouse_engine(get_settings()))
    typer.echo(f"Partitions to be tried again: {forgotten:,}.")


def _print_tracked(grid: Grid) -> None:

    typer.echo(
        f"Now tracked: {counted(len(grid.leaves) + len(grid.parents), 'space')} "
        f"({len(grid.parents):,} with children) in {counted(len(grid.chunks), 'time chunk')}."
    )


def _print_last_check(settings: Settings, check: SourceCheck) -> None:
    from tippers_dagster.occupancy.source_checks import last_checked

    checks = last_checked(settings)
    if checks is None:
        return
    oldest, latest = (f"{when.astimezone():%Y-%m-%d %H:%M}" for when in checks)
    since = "" if oldest == latest else f"; some parts not since {oldest}"
    typer.echo(f"Source last checked: {latest}{since}.")
    if check.skipped:
        typer.echo(
            f"Skipped to save time: {counted(len(check.skipped), 'time chunk')}. "
            "`tippers occupancy materialize` checks all of them."
        )


def _print_rejected(settings: Settings) -> None:
    from tippers_dagster.occupancy.rejects import totals

    found = totals(settings)
    parts = [
        counted(number, *words)
        for number, words in (
            (found.loading, ("row of a file", "rows of files")),
            (found.extraction, ("row of the source", "rows of the source")),
            (found.left_out, ("space",)),
        )
        if number
    ]
    if parts:
        typer.echo(f"Rejected: {', '.join(parts)}. `tippers rejects` shows why.")


def _print_failures(levels: list[LevelStatus]) -> None:
    for level in levels:
        for example in level.failed_examples:
            typer.secho(f"failed: {level.asset} {example}", fg="red")
    if any(level.failed for level in levels):
        typer.echo(
            "Dagster's UI has the log of each failed run. Fix the cause, then run "
            "`tippers occupancy retry`."
        )
