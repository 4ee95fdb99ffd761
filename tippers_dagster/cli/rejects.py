"""``tippers rejects``: rows and spaces that are not counted, and why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tippers_dagster.platform.terminal import table_console
from tippers_dagster.platform.text import counted, short_path, shown

if TYPE_CHECKING:
    from rich.console import Console

    from tippers_dagster.occupancy.rejects import Group, Rejects

EXAMPLE_CHARACTERS = 120
SPACES_SHOWN = 20


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("rejects")(rejects)


def rejects(
    out: Annotated[
        Path | None,
        typer.Option(help="Write all rejected rows to FILE.csv or FILE.parquet instead."),
    ] = None,
) -> None:
    """List rejected rows and spaces, with reasons, numbers and examples.

    These are rows of files rejected at ingest; rows of the source rejected when sessions were
    extracted, for example because of an unknown space; and spaces left out because of unusable ids.
    """
    from tippers_dagster.occupancy import rejects as found
    from tippers_dagster.settings import get_settings

    settings = get_settings()
    if out is not None:
        typer.echo(f"{counted(found.write_rejects(settings, out), 'row')} written to {out}")
        return
    everything = found.rejects(settings)
    console = table_console()
    if not everything.anything:
        console.print("No rejected rows or spaces.")
        return
    _show_loading(console, everything.loading)
    _show_extraction(console, everything)
    _show_spaces(console, everything)
    console.print("All rows: tippers rejects --out FILE.csv")


def _show_loading(console: Console, groups: list[Group]) -> None:
    from rich.table import Table

    if not groups:
        return
    table = Table(
        "ingest", "file", "rows", "reason", "example", title="Rows of files", title_justify="left"
    )
    table.columns[2].justify = "right"
    for group in groups:
        number = "" if group.ingest_id is None else str(group.ingest_id)
        table.add_row(
            number,
            short_path(group.file or ""),
            f"{group.rows:,}",
            _shown(group.reason),
            _shown(group.example),
        )
    console.print(table)


def _show_extraction(console: Console, found: Rejects) -> None:
    from rich.table import Table

    if not found.extraction:
        return
    table = Table(
        *("rows", "reason", "time chunks", "example"),
        title="Rows of the source that are not counted",
        title_justify="left",
    )
    table.columns[0].justify = "right"
    for group in found.extraction:
        chunks = f"{group.first_chunk or 'no start'} to {group.last_chunk}"
        if not group.last_chunk:
            chunks = "no start"
        table.add_row(f"{group.rows:,}", _shown(group.reason), chunks, _shown(group.example))
    console.print(table)
    if found.unknown_spaces:
        named = ", ".join(f"{_shown(s)} ({n:,})" for s, n in found.unknown_spaces.items())
        console.print(f"Unknown spaces (rows): {named}", markup=False, soft_wrap=True)


def _show_spaces(console: Console, found: Rejects) -> None:
    from rich.table import Table

    if not found.left_out:
        return
    table = Table("space", "name", "below", "reason", title="Spaces left out", title_justify="left")
    for out in found.left_out[:SPACES_SHOWN]:
        table.add_row(*(_shown(text) for text in (out.space, out.name, out.parent, out.reason)))
    console.print(table)
    if (more := len(found.left_out) - SPACES_SHOWN) > 0:
        console.print(f"and {more:,} more")


def _shown(text: str | None) -> str:

    return shown(text or "", EXAMPLE_CHARACTERS)
