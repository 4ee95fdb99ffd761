"""Options that say how a log is to be read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tippers_dagster.errors import BadInput

if TYPE_CHECKING:
    from tippers_dagster.campus.log.guessing import Choice
    from tippers_dagster.campus.log.times import Order


def _column(what: str) -> object:
    return typer.Option(metavar="COL", help=what, show_default=False, rich_help_panel="Columns")


PresetOption = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Read it as this preset, see `tippers log presets`."),
]
MappingOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Read it by this mapping, as `tippers log preview --write` wrote it."
    ),
]
SourceOption = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Read it as this log source says: `tippers log sources`."),
]
Zone = Annotated[
    str | None,
    typer.Option(
        metavar="ZONE",
        help="IANA zone of times without a zone; default: TIPPERS_TIMEZONE.",
        show_default=False,
    ),
]
DayFirst = Annotated[
    bool | None,
    typer.Option("--day-first/--month-first", help="What times such as 01/07/2025 begin with."),
]
Encoding = Annotated[
    str | None, typer.Option(help="Encoding of text, such as latin-1; default: UTF-8.")
]
Separator = Annotated[
    str | None, typer.Option(help="Separator of a CSV file; default: found by itself.")
]

DeviceColumn = Annotated[str | None, _column("Device: its address, or another id.")]
StartColumn = Annotated[str | None, _column("Start of a session.")]
EndColumn = Annotated[str | None, _column("End of a session.")]
DurationColumn = Annotated[str | None, _column("Its duration, in seconds.")]
UpdatedColumn = Annotated[str | None, _column("When it was last known to go on.")]
SeenColumn = Annotated[str | None, _column("Instant of an observation.")]
AccessPointColumn = Annotated[str | None, _column("Access point.")]
SpaceColumn = Annotated[str | None, _column("Space.")]
UserColumn = Annotated[
    str | None, _column("User name, by which people are counted; it is kept nowhere.")
]
SessionIdColumn = Annotated[str | None, _column("The log's own id of a session.")]
KeepColumns = Annotated[
    list[str] | None, _column("A further column to keep with sessions; may be repeated.")
]


def order_of(day_first: bool | None) -> Order | None:
    """The order of day and month."""
    from tippers_dagster.campus.log.times import DAY_FIRST, MONTH_FIRST

    return None if day_first is None else DAY_FIRST if day_first else MONTH_FIRST


def choice_of(
    file: Path,
    preset: str | None,
    mapping: Path | None,
    encoding: str | None,
    separator: str | None,
    source: str | None = None,
    **fields: str | list[str] | None,
) -> Choice:
    """How to read a log; ``fields``: what is said of it besides.

    Raises
    ------
    BadInput
        When an option is wrong, or the file cannot be read.
    """
    from tippers_dagster.campus.log.guessing import find_mapping
    from tippers_dagster.campus.log.mapping import load_mapping, read_layout
    from tippers_dagster.campus.log.presets import preset as preset_named

    if sum(given is not None for given in (preset, mapping, source)) > 1:
        raise BadInput("Give one of --preset, --mapping and --source.")
    read = None if mapping is None else load_mapping(mapping)
    chosen = None if preset is None else preset_named(preset)
    if source is not None:
        from tippers_dagster.campus.source.log_source import log_source, way_of
        from tippers_dagster.settings import get_settings

        read, chosen = way_of(log_source(get_settings(), source))
    return find_mapping(
        file,
        mapping=read,
        preset=chosen,
        layout=read_layout({"encoding": encoding, "separator": separator}),
        fields={name: value or None for name, value in fields.items()},
    )
