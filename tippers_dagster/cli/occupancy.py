"""`tippers track`, `tippers untrack`, `tippers occupancy status | materialize | retry | export`."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import typer

from tippers_dagster.errors import BadInput

if TYPE_CHECKING:
    from tippers_dagster.campus.spaces.tracking import Grid
    from tippers_dagster.occupancy.source_checks import Look
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
    occupancy.command("materialize")(materialize)
    occupancy.command("retry")(retry)
    export.register(occupancy)
    app.add_typer(occupancy, name="occupancy")


def track(
    space: str = typer.Option(..., help="Id of the root space; all below it is tracked, too."),
    start: dt.datetime = typer.Option(..., formats=_DATE, help="First local date."),
    end: dt.datetime = typer.Option(..., formats=_DATE, help="Local date after the last."),
) -> None:
    """Keep the occupancy of a space and its subtree over [start, end) up to date."""
    from tippers_dagster.occupancy.tracking import track_space
    from tippers_dagster.settings import get_settings

    grid = track_space(get_settings(), space=space, start=start.date(), end=end.date())
    _tell(grid)
    typer.echo("A running `tippers up` computes it; or now, here: `tippers occupancy materialize`.")


def untrack(
    space: str = typer.Option(..., help="Id of a tracked root space."),
    start: dt.datetime | None = typer.Option(None, formats=_DATE, help="Only from this date on."),
    end: dt.datetime | None = typer.Option(None, formats=_DATE, help="Only before this date."),
    purge: bool = typer.Option(False, help="Delete from the lake what is no longer tracked."),
) -> None:
    """Stop keeping a tracked space. What is in the lake stays, and is found when tracked again."""
    from tippers_dagster.occupancy.tracking import untrack_space
    from tippers_dagster.settings import get_settings

    grid, purged = untrack_space(
        get_settings(),
        space=space,
        start=None if start is None else start.date(),
        end=None if end is None else end.date(),
        purge=purge,
    )
    _tell(grid)
    if purge:
        typer.echo(f"Deleted {purged:,} partitions from the lake.")


def status() -> None:
    """Per level: wanted, done, running, waiting, failed; sealed: done, only counts are kept.

    Checks the source for changes first, as far as that is quick.
    """
    from rich.table import Table

    from tippers_dagster.campus.spaces.tracking import list_tracked
    from tippers_dagster.occupancy.source_checks import look_quickly
    from tippers_dagster.occupancy.status import occupancy_status
    from tippers_dagster.platform.terminal import table_console
    from tippers_dagster.settings import get_settings

    settings = get_settings()
    console = table_console()
    tracked = list_tracked(settings)
    if not tracked:
        console.print(" ".join(NOTHING_TRACKED), markup=False)
        _say_what_was_rejected(settings)
        return
    for one in tracked:
        console.print(f"tracked: {one.space}, {one.start} to {one.end} (excluded)", markup=False)
    looked = look_quickly(settings, dt.datetime.now(dt.UTC))
    table = Table("level", *("wanted", "done", "running", "stale", "failed", "sealed"))
    levels = occupancy_status(settings)
    for level in levels:
        table.add_row(level.asset, *(f"{n:,}" for n in (*level.numbers, level.sealed)))
    console.print(table)
    _say_when_looked(settings, looked)
    _say_what_was_rejected(settings)
    _explain_failures(levels)


def materialize(
    space: str | None = typer.Option(None, help="Only this space and what is below it."),
    start: dt.datetime | None = typer.Option(None, formats=_DATE, help="Only from this date on."),
    end: dt.datetime | None = typer.Option(None, formats=_DATE, help="Only before this date."),
    again: bool = typer.Option(False, help="Also what is up to date: files were lost or damaged."),
) -> None:
    """Compute tracked occupancy that is missing or stale right away, without a daemon.

    Checks the source for changes first, and counts what was loaded or changed.
    """
    from tippers_dagster.campus.spaces.tracking import list_tracked
    from tippers_dagster.cli.progress import progress_bars
    from tippers_dagster.occupancy.launch import materialize as materialize_all
    from tippers_dagster.platform.dagster.environment import dagster_instance
    from tippers_dagster.platform.terminal import table_console
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
            f"{stage.asset}: {stage.partitions:,} partitions, {stage.runs} runs, "
            f"{stage.seconds:.1f} s"
        )


def retry() -> None:
    """Try again what failed as often as allowed: automation starts counting anew."""
    from tippers_dagster.occupancy.records import forget_attempts
    from tippers_dagster.platform.warehouse.engine import warehouse_engine
    from tippers_dagster.settings import get_settings

    forgotten = forget_attempts(warehouse_engine(get_settings()))
    typer.echo(f"{forgotten:,} partitions may be tried again.")


def _tell(grid: Grid) -> None:
    typer.echo(
        f"Tracked now: {len(grid.leaves) + len(grid.parents):,} spaces "
        f"({len(grid.parents):,} with children) in {len(grid.chunks):,} time chunks."
    )


def _say_when_looked(settings: Settings, looked: Look) -> None:
    from tippers_dagster.cli.words import counted
    from tippers_dagster.occupancy.source_checks import last_looks

    looks = last_looks(settings)
    if looks is None:
        return
    longest, latest = (f"{when.astimezone():%Y-%m-%d %H:%M}" for when in looks)
    since = "" if longest == latest else f"; oldest part: {longest}"
    typer.echo(f"Source last checked: {latest}{since}.")
    if looked.passed_over:
        typer.echo(
            "Not checked this time, to save time: "
            f"{counted(len(looked.passed_over), 'time chunk')}; `tippers occupancy materialize` "
            "checks all of it."
        )


def _say_what_was_rejected(settings: Settings) -> None:
    from tippers_dagster.cli.words import counted
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
        typer.echo(f"Could not be used: {', '.join(parts)}. `tippers rejects` says why.")


def _explain_failures(levels: list[LevelStatus]) -> None:
    for level in levels:
        for example in level.failed_examples:
            typer.secho(f"failed: {level.asset} {example}", fg="red")
    if any(level.failed for level in levels):
        typer.echo(
            "Dagster's UI has the log of each failed run. Mend the cause, then "
            "`tippers occupancy retry`."
        )
