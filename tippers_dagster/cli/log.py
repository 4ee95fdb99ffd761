"""``tippers log``: what a WiFi log in any shape would be read as."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tippers_dagster.access.machine_user import machine_user
from tippers_dagster.catalog.kinds import Kind, LogSource
from tippers_dagster.catalog.model import Draft, Unreadable
from tippers_dagster.catalog.names import read_body
from tippers_dagster.cli.log_options import (
    LogOptions,
    MappingOption,
    PresetOption,
    with_log_options,
)
from tippers_dagster.errors import BadInput, TippersError
from tippers_dagster.platform.terminal import table_console
from tippers_dagster.platform.text import shown
from tippers_dagster.settings import Settings, get_settings

if TYPE_CHECKING:
    from rich.console import Console

    from tippers_dagster.campus.log.guessing import Choice
    from tippers_dagster.campus.log.mapping import LogMapping
    from tippers_dagster.campus.log.presets import Preset
    from tippers_dagster.campus.log.preview import Preview

app = typer.Typer(
    no_args_is_help=True,
    help="See what a WiFi log in any shape would be read as: CSV, JSON or Parquet. Nothing is "
    "loaded.",
)

SAMPLE_ROWS = 10_000
"""Of a table."""

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
    "kept": "kept",
}


def register(parent: typer.Typer) -> None:
    """Add the commands to the application."""
    parent.add_typer(app, name="log")


@app.command()
@with_log_options
def preview(
    file: Annotated[
        Path | None,
        typer.Argument(help="The log; none for a log source's table.", show_default=False),
    ] = None,
    *,
    options: LogOptions,
    write: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the mapping to a new YAML file, to edit."),
    ] = None,
    rows: Annotated[int, typer.Option(min=1, max=1000, help="Rows to show.")] = 10,
) -> None:
    """Show the first rows as they would be read: what is understood, and what is not and why.

    Without --preset, --mapping, --source and columns, the file's columns are compared with the
    presets. Without a file, the table of the log source is shown.
    """
    with _file_or_sample(file, options.source) as (path, title):
        _preview(path, title, options.choice(path), write, rows)


@contextmanager
def _file_or_sample(file: Path | None, source: str | None) -> Iterator[tuple[Path, str]]:
    """The file, or the first rows of a log source's table in one; and what it is called."""
    if file is not None:
        yield file, str(file)
        return
    if source is None:
        raise BadInput("What is to be shown?", "Name a file, or a log source with --source.")
    from tippers_dagster.campus.source.log_source import log_table, write_sample
    from tippers_dagster.platform.scratch import scratch_folder

    settings = get_settings()
    table = log_table(settings, source)
    with scratch_folder(settings.home_path / "tmp" / "log") as folder:
        path = folder / "sample.parquet"
        write_sample(settings, table, path, SAMPLE_ROWS)
        try:
            yield path, f"{table.title}, up to {SAMPLE_ROWS:,} rows"
        except BadInput as error:
            message = error.message.replace(str(path), table.title)
            raise BadInput(message, "Correct the mapping of the log source.") from None


def _preview(path: Path, title: str, choice: Choice, write: Path | None, rows: int) -> None:
    from tippers_dagster.campus.log.preview import preview as read
    from tippers_dagster.campus.source.log_source import said_of_logs

    made = read(path, choice, said_of_logs(get_settings()), shown=rows)
    console = table_console()
    _say(console, f"{title}." if title != str(path) else f"{title}: {made.look.description}.")
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
            f"No preset fits {title}.",
            "Name its columns (--device, --start ...), or write a mapping of them: --write "
            "mapping.yaml.",
        )


# --- log sources --------------------------------------------------------------------------------
@app.command()
def add(
    name: Annotated[str, typer.Argument(help="Name of the log source.", show_default=False)],
    connection: Annotated[
        str | None,
        typer.Option(help="Connection to the database with its rows; none: files, handed in."),
    ] = None,
    table: Annotated[str | None, typer.Option(help="Table or view in that database.")] = None,
    schema: Annotated[
        str | None, typer.Option(help="Its schema; default: that of the connection's user.")
    ] = None,
    preset: PresetOption = None,
    mapping: MappingOption = None,
    description: Annotated[str, typer.Option(help="What it is.")] = "",
) -> None:
    """Define a log source: where the rows of a log are, and what their columns mean."""
    from tippers_dagster.campus.log.mapping import load_mapping
    from tippers_dagster.campus.source.log_source import log_sources, ref_of
    from tippers_dagster.graph.save import save_definition

    fields = {
        "connection": connection,
        "table": table,
        "schema_name": schema,
        "preset": preset,
        "mapping": None if mapping is None else load_mapping(mapping).as_fields(),
    }
    given = {key: value for key, value in fields.items() if value is not None}
    settings = get_settings()
    replaced = name in log_sources(settings)
    draft = Draft(ref_of(name), read_body(Kind.LOG_SOURCE, given), description=description)
    save_definition(settings, draft, by=machine_user())
    typer.echo(f"The log source {name} is {'changed' if replaced else 'defined'}.")
    if connection is not None:
        _warn_of_table(settings, name)
        typer.echo(f"See what it gives: tippers log preview --source {name}")
        typer.echo(f"To read sessions from it, in place: TIPPERS_LOG_SOURCE={name}")
    else:
        typer.echo(f"To load a file of it: tippers ingest log FILE --source {name}")


def _warn_of_table(settings: Settings, name: str) -> None:
    """Say if the table of a log source cannot be read; it may be there later."""
    from tippers_dagster.campus.source.log_source import log_table, try_table

    try:
        try_table(settings, log_table(settings, name))
    except TippersError as error:
        typer.secho(f"It cannot be read now: {error.message}", fg="yellow", err=True)


@app.command()
def sources() -> None:
    """List the log sources that are defined."""
    from rich.table import Table

    from tippers_dagster.campus.source.log_source import log_sources

    settings = get_settings()
    table = Table("log source", "rows", "columns", "read in place")
    for name, definition in log_sources(settings).items():
        body, live = definition.body, "yes" if name == settings.log_source else ""
        if isinstance(body, LogSource):
            schema = f"{body.schema_name}." if body.schema_name else ""
            place = f"{schema}{body.table} of {body.connection}" if body.connection else "files"
            columns = f"preset {body.preset}" if body.preset else "mapping"
            table.add_row(name, place, columns, live)
        else:
            assert isinstance(body, Unreadable)
            table.add_row(name, "cannot be read", body.reason, live)
    table_console().print(table)


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
    for role, names in {**made.roles, "keep": mapping.keep}.items():
        for name in names:
            theirs = next((n for n in made.look.names if n.casefold() == name.casefold()), name)
            table.add_row(role, shown(name), _cut(made.look.example(theirs)))
            role = ""
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

    write_mapping(path, made.mapping, made.comments())
