"""``tippers occupancy export``: exports occupancy to a file."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from tippers_dagster.errors import BadInput
from tippers_dagster.platform.text import counted
from tippers_dagster.settings import get_settings

if TYPE_CHECKING:
    from tippers_dagster.occupancy.reading import Count


def register(occupancy: typer.Typer) -> None:
    """Add the command to the application of ``tippers occupancy``."""
    occupancy.command("export")(export)


def export(
    space: Annotated[str, typer.Option(help="Id of the space.")],
    start: Annotated[
        str, typer.Option(help="ISO 8601 date or time; local time unless it has an offset.")
    ],
    end: Annotated[
        str, typer.Option(help="Like --start; bins that begin at this time or later are left out.")
    ],
    interval: Annotated[
        int, typer.Option(help="Width of the bins in seconds: 60 to 86400, in steps of 60.")
    ],
    out: Annotated[Path, typer.Option(help="FILE.csv or FILE.parquet; replaced if it exists.")],
    sparse: Annotated[bool, typer.Option("--sparse", help="Leave out empty bins.")] = False,
    by: Annotated[
        str | None,
        typer.Option(help="Split by the labels of this label model or classifier of devices."),
    ] = None,
    count: Annotated[
        str,
        typer.Option(help="devices; or people, where they are known, and the devices of others."),
    ] = "devices",
    missing_ok: Annotated[
        bool,
        typer.Option(
            "--missing-ok", help="Write null for bins of chunks that are not computed yet."
        ),
    ] = False,
) -> None:
    """Write the distinct devices, or people, of a space per bin to a CSV or Parquet file.

    Columns: space_id, interval_begin_time (with its offset), number_connections; before the last,
    with --by, one for each label. With --count people: number_people, and number_other_devices for
    devices none of whose sessions in the bin has a person. If TIPPERS_SMALLEST_COUNT is set, small
    counts and those that would reveal them are empty, and a column suppressed marks them. The file
    is written completely or not at all. Exits with status 1, naming the chunks, if some are not
    computed yet, unless --missing-ok. Reports chunks that are known to be out of date; does not
    check the source.
    """
    from tippers_dagster.occupancy import staleness
    from tippers_dagster.occupancy.export import write_export
    from tippers_dagster.occupancy.reading import (
        OnMissing,
        StaleOccupancy,
        chunks_in_range,
        missing_chunks,
    )
    from tippers_dagster.occupancy.sharing import hidden_rows, read_shared_occupancy
    from tippers_dagster.people.by_label.sharing import read_shared_labelled_occupancy
    from tippers_dagster.platform.table_files import check_writable

    check_writable(out)
    if by is not None and count != "devices":
        raise BadInput("--by splits devices by their labels, not people.", "Leave one of them out.")
    settings = get_settings()
    on_missing: OnMissing = "report" if missing_ok else "raise"
    selection = (space, start, end, interval)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StaleOccupancy)  # reported below
        if by is None:
            table = read_shared_occupancy(
                *selection,
                dense=not sparse,
                settings=settings,
                on_missing=on_missing,
                count=cast("Count", count),
            )
        else:
            table = read_shared_labelled_occupancy(
                *selection, by, dense=not sparse, settings=settings, on_missing=on_missing
            )
    write_export(space, table, out)
    typer.echo(f"{counted(table.num_rows, 'row')} written to {out}")
    if hidden := hidden_rows(table):
        typer.echo(
            f"Suppressed rows: {hidden:,} (counts below {settings.smallest_count}, or that would "
            "reveal one)."
        )
    if missing := missing_chunks(table):
        typer.secho(f"Chunks not computed yet: {', '.join(missing)}", fg="yellow", err=True)
    if stale := staleness.stale_chunks(
        settings, space, chunks_in_range(start, end, interval, settings)
    ):
        typer.secho(
            "The source has changed; the counts of these chunks are out of date: "
            f"{', '.join(stale)}. Run `tippers occupancy materialize` to update them.",
            fg="yellow",
            err=True,
        )
