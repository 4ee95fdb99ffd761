"""``tippers log``: what a WiFi log in any shape would be read as."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tippers_dagster.cli.log_options import (
    AccessPointColumn,
    DayFirst,
    DeviceColumn,
    DurationColumn,
    Encoding,
    EndColumn,
    MappingOption,
    PresetOption,
    SeenColumn,
    Separator,
    SessionIdColumn,
    SpaceColumn,
    StartColumn,
    UpdatedColumn,
    Zone,
    choice_of,
    order_of,
)
from tippers_dagster.errors import BadInput
from tippers_dagster.platform.terminal import table_console
from tippers_dagster.platform.text import shown
from tippers_dagster.settings import get_settings

if TYPE_CHECKING:
    from rich.console import Console

    from tippers_dagster.campus.log.mapping import LogMapping
    from tippers_dagster.campus.log.presets import Preset
    from tippers_dagster.campus.log.preview import Preview

app = typer.Typer(
    no_args_is_help=True,
    help="See what a WiFi log in any shape would be read as: CSV, JSON or Parquet. Nothing is "
    "loaded.",
)

MAX_EXAMPLE, MAX_CELL = 40, 60
"""Characters."""

_HEADINGS = {
    "device": "device",
    "kind": "kind",
    "seen": "seen",
    "start": "start",
    "end": "end",
    "access_point": "access point",
    "space": "space",
    "ssid": "SSID",
    "person": "person",
}


def register(parent: typer.Typer) -> None:
    """Add the commands to the application."""
    parent.add_typer(app, name="log")


@app.command()
def preview(
    file: Annotated[Path, typer.Argument(help="The log.", show_default=False)],
    preset: PresetOption = None,
    mapping: MappingOption = None,
    write: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the mapping to a new YAML file, to edit."),
    ] = None,
    device: DeviceColumn = None,
    start: StartColumn = None,
    end: EndColumn = None,
    duration: DurationColumn = None,
    updated: UpdatedColumn = None,
    seen: SeenColumn = None,
    access_point: AccessPointColumn = None,
    space: SpaceColumn = None,
    session_id: SessionIdColumn = None,
    timezone: Zone = None,
    day_first: DayFirst = None,
    encoding: Encoding = None,
    separator: Separator = None,
    rows: Annotated[int, typer.Option(min=1, max=1000, help="Rows to show.")] = 10,
) -> None:
    """Show the first rows as they would be read: what is understood, and what is not and why.

    Without --preset, --mapping and columns, the file's columns are compared with the presets.
    """
    from tippers_dagster.campus.log.preview import preview as read
    from tippers_dagster.campus.source.log_source import said_of_logs

    choice = choice_of(
        file,
        preset,
        mapping,
        encoding,
        separator,
        device=device,
        start=start,
        end=end,
        duration=duration,
        updated=updated,
        seen=seen,
        access_point=access_point,
        space=space,
        session_id=session_id,
        timezone=timezone,
        order=order_of(day_first),
    )
    made = read(file, choice, said_of_logs(get_settings()), shown=rows)
    console = table_console()
    _say(console, f"{file}: {made.look.description}.")
    if made.mapping is None:
        _show_columns(console, made)
    else:
        _show_choice(console, made)
        _show_fields(console, made, made.mapping)
        _show_rows(console, made)
        _show_counts(console, made)
    if write is not None:
        _write(write, made)
        _say(console, f"The mapping is in {write}. After editing it: `--mapping {write}`.")
    elif made.mapping is None:
        raise BadInput(
            f"No preset fits {file}.",
            "Name its columns (--device, --start ...), or write a mapping of them: --write "
            "mapping.yaml.",
        )


@app.command()
def presets(
    name: Annotated[
        str | None, typer.Argument(help="Show this preset only.", show_default=False)
    ] = None,
) -> None:
    """List the kinds of logs that are known: their source, and what is not known of them."""
    from rich.table import Table

    from tippers_dagster.campus.log.presets import preset
    from tippers_dagster.campus.log.presets import presets as all_presets

    console = table_console()
    if name is not None:
        one = preset(name)
        _say(console, f"{one.name}: {one.title}")
        _say(console, f"Version: {one.version}")
        _say(console, f"Source: {one.source}")
        _show_not_known(console, one)
        typer.echo(_yaml(one.mapping), nl=False)
        return
    table = Table("preset", "what it reads", "version")
    for one in all_presets().values():
        table.add_row(one.name, one.title, one.version)
    console.print(table)


# --- what is shown ------------------------------------------------------------------------------
def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _show_choice(console: Console, made: Preview) -> None:
    reasons = {one.name: why for one, why in made.guesses}
    if made.preset is not None:
        why = f"; {reasons[made.preset.name]}" if made.preset.name in reasons else ""
        _say(console, f"Read as {made.preset.name}: {made.preset.title}{why}.")
        others = [f"{name} ({why})" for name, why in reasons.items() if name != made.preset.name]
        if others:
            _say(console, f"It may also be {', or '.join(others)}.")
        _show_not_known(console, made.preset)
    if made.order is not None:
        _say(console, f"Its times have the {made.order}.")
    if made.unseen:
        _say(console, f"Not in the first records: {', '.join(map(shown, made.unseen))}.")


def _show_not_known(console: Console, preset: Preset) -> None:
    if preset.not_known:
        _say(console, "Not known of such logs:")
    for sentence in preset.not_known:
        _say(console, f"- {sentence}")


def _show_columns(console: Console, made: Preview) -> None:
    from rich.table import Table

    table = Table("column", "first value")
    for name in made.look.sample.column_names:
        table.add_row(shown(name), _cut(made.look.example(name)))
    console.print(table)


def _show_fields(console: Console, made: Preview, mapping: LogMapping) -> None:
    from rich.table import Table

    table = Table("field", "column", "first value")
    for role, names in made.roles.items():
        for name in names:
            theirs = next((n for n in made.look.names if n.casefold() == name.casefold()), name)
            table.add_row(role, shown(name), _cut(made.look.example(theirs)))
            role = ""
    for name in mapping.keep:
        table.add_row("keep", shown(name), "")
    console.print(table)


def _show_rows(console: Console, made: Preview) -> None:
    from rich.table import Table

    used = [key for key in _HEADINGS if any(key in row.understood for row in made.rows)]
    used = used or [key for key in _HEADINGS if key in made.roles]
    is_any_rejected = any(row.reason for row in made.rows)
    table = Table("row", *(_HEADINGS[key] for key in used))
    if is_any_rejected:
        table.add_column("rejected")
    for row in made.rows:
        values = row.understood or row.values
        cells = [_cut(values.get(key), MAX_CELL) for key in used]
        table.add_row(f"{row.number:,}", *cells, *([row.reason or ""] if is_any_rejected else []))
    console.print(table)


def _show_counts(console: Console, made: Preview) -> None:
    from rich.table import Table

    what = "all rows" if made.is_whole else f"the first {made.read:,} rows"
    table = Table(f"of {what}", "rows")
    table.columns[1].justify = "right"
    table.add_row("read", f"{made.read + made.left_out + len(made.malformed):,}")
    table.add_row("usable", f"{made.usable:,}")
    if made.left_out:
        table.add_row("left out, by where in the mapping", f"{made.left_out:,}")
    table.add_row("rejected", f"{made.reasons.total() + len(made.malformed):,}")
    for reason, count in made.reasons.most_common():
        table.add_row(f"  {reason}", f"{count:,}")
    if made.malformed:
        first = made.malformed[0]
        what = f"  malformed, first row {first.row_number:,}: {first.reason}"
        table.add_row(what, f"{len(made.malformed):,}")
    console.print(table)


def _cut(value: str | None, most: int = MAX_EXAMPLE) -> str:
    return "" if value is None else shown(value, most)


# --- the file -----------------------------------------------------------------------------------
def _yaml(mapping: LogMapping) -> str:
    from tippers_dagster.platform import yaml_text

    return yaml_text.dump(mapping.as_fields())


def _write(path: Path, made: Preview) -> None:
    from tippers_dagster.campus.log.mapping import write_mapping
    from tippers_dagster.platform.small_tables import column_names

    lines = ["What the columns of this log mean, see docs/log_sources.md."]
    if made.preset is not None:
        lines += [f"From the preset {made.preset.name}. Source: {made.preset.source}"]
        lines += [f"Not known: {sentence}" for sentence in made.preset.not_known]
    # No values: the file may go into git.
    lines += [f"Columns of the log: {column_names(made.look.names)}"]
    write_mapping(path, made.mapping, lines)
