"""``tippers calibrate``: head counts, from which ratios of people to devices are learned."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tippers_dagster.access.machine_user import machine_user
from tippers_dagster.platform.text import counted
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
        typer.Argument(
            help="CSV or Parquet with space_id, time, people and optionally interval_seconds."
        ),
    ],
    by: Annotated[str | None, typer.Option(help="Who counted; default: you.")] = None,
) -> None:
    """Import head counts from a file; rejected rows are kept with their reason.

    Times are ISO 8601; local time unless they have an offset. With interval_seconds, people were
    counted once each in the bin of this width that begins at the time; without it, at that moment.
    """
    from tippers_dagster.people.counts.head_counts import import_head_counts

    done = import_head_counts(get_settings(), file, by=machine_user() if by is None else by)
    typer.echo(f"{counted(done.rows, 'row')}: {done.new:,} new, {done.changed:,} changed.")
    for reason, rows in done.rejected.most_common():
        typer.secho(f"{rows:,} x {reason}", fg="yellow", err=True)
    if done.new or done.changed:
        typer.echo(
            "People counts are now out of date; automation or `tippers pipeline materialize` "
            "updates them."
        )


def show() -> None:
    """Show the head counts, and the quality of the people counts that use them."""
    from rich.table import Table

    from tippers_dagster.campus.spaces.tree import load_tree
    from tippers_dagster.people.counts.head_counts import counted_spaces
    from tippers_dagster.platform.terminal import table_console

    settings = get_settings()
    counted = counted_spaces(settings)
    if not counted:
        typer.echo("There are no head counts yet; add some with `tippers calibrate import`.")
        return
    tree = load_tree(settings)
    table = Table("space", "name", "head counts", "mean people", "first", "last")
    for c in counted:
        name = tree.names[tree.index[c.space]] if c.space in tree else "(deleted)"
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
    """Write all head counts to a file, in the format of `tippers calibrate import`."""
    from tippers_dagster.people.counts.export import write_head_counts

    rows = write_head_counts(get_settings(), file)
    typer.echo(f"{counted(rows, 'head count')} written to {file}.")


def clear(
    space: Annotated[str | None, typer.Option(help="Only this space, by its id.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove head counts; people counts then use the remaining ones, or are not calibrated."""
    from tippers_dagster.people.counts.head_counts import clear_head_counts

    whose = "all head counts" if space is None else f"the head counts of space {space}"
    if not yes:
        typer.confirm(f"Remove {whose}?", abort=True)
    typer.echo(f"{counted(clear_head_counts(get_settings(), space), 'head count')} removed.")
