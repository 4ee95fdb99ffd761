"""``tippers calibrate``: head counts, from which people counts are learned."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tippers_dagster.cli.datasets import user_name
from tippers_dagster.settings import get_settings


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    calibrate = typer.Typer(
        name="calibrate",
        no_args_is_help=True,
        help="Head counts that calibrate people counts.",
    )
    for command in (clear, export, show):
        calibrate.command(command.__name__)(command)
    calibrate.command("import")(import_)
    app.add_typer(calibrate)


def import_(
    file: Annotated[
        Path,
        typer.Argument(help="CSV or Parquet: space_id, time, people, perhaps interval_seconds."),
    ],
    by: Annotated[str | None, typer.Option(help="Who counted; you, unless set.")] = None,
) -> None:
    """Take head counts from a file; rows that cannot be used are kept with their reason.

    Times are ISO 8601, local unless they have an offset. With interval_seconds, people were
    counted in the bin of this width that begins at the time, each once; without, at that moment.
    """
    from tippers_dagster.headcount.counts import import_head_counts

    done = import_head_counts(get_settings(), file, by=user_name() if by is None else by)
    typer.echo(f"{done.rows:,} rows: {done.new:,} new head counts, {done.changed:,} changed.")
    for reason, rows in done.rejected.most_common():
        typer.secho(f"{rows:,} x {reason}", fg="yellow", err=True)
    if done.new or done.changed:
        typer.echo("People counts are stale now: automation, or `tippers pipeline materialize`.")


def show() -> None:
    """Show what was counted, and how good the people counts are that were learned from it."""
    from rich.table import Table

    from tippers_dagster.headcount.counts import counted_spaces
    from tippers_dagster.spaces.tree import load_tree
    from tippers_dagster.terminal import table_console

    settings = get_settings()
    counted = counted_spaces(settings)
    if not counted:
        typer.echo("There are no head counts; `tippers calibrate import` takes some.")
        return
    tree = load_tree(settings)
    table = Table("space", "name", "head counts", "mean people", "first", "last")
    for c in counted:
        name = tree.names[tree.index[c.space]] if c.space in tree else "(gone)"
        mean = f"{c.people / c.counts:,.1f}"
        table.add_row(
            c.space, name, f"{c.counts:,}", mean, f"{c.first:%Y-%m-%d}", f"{c.last:%Y-%m-%d}"
        )
    table_console().print(table)
    from tippers_dagster.cli.people_count import print_made

    print_made(settings)


def export(
    file: Annotated[Path, typer.Argument(help="A file ending in .csv or .parquet.")],
) -> None:
    """Write all head counts to a file that `tippers calibrate import` takes."""
    from tippers_dagster.headcount.export import write_head_counts

    rows = write_head_counts(get_settings(), file)
    typer.echo(f"{rows:,} head counts written to {file}.")


def clear(
    space: Annotated[str | None, typer.Option(help="Only those of this space, by its id.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove head counts; people counts are then learned from the others, or not calibrated."""
    from tippers_dagster.headcount.counts import clear_head_counts

    whose = "all head counts" if space is None else f"the head counts of space {space}"
    if not yes:
        typer.confirm(f"Remove {whose}?", abort=True)
    typer.echo(f"{clear_head_counts(get_settings(), space):,} head counts removed.")
