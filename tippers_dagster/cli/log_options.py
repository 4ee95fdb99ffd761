"""Options that say how a log is to be read."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

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


@dataclass(frozen=True)
class LogOptions:
    """How a log is to be read, as the options of a command say."""

    preset: PresetOption = None
    mapping: MappingOption = None
    source: SourceOption = None
    device: Annotated[str | None, _column("Device: its address, or another id.")] = None
    start: Annotated[str | None, _column("Start of a session.")] = None
    end: Annotated[str | None, _column("End of a session.")] = None
    duration: Annotated[str | None, _column("Its duration, in seconds.")] = None
    updated: Annotated[str | None, _column("When it was last known to go on.")] = None
    seen: Annotated[str | None, _column("Instant of an observation.")] = None
    access_point: Annotated[str | None, _column("Access point.")] = None
    space: Annotated[str | None, _column("Space.")] = None
    user: Annotated[
        str | None, _column("User name, by which people are counted; it is kept nowhere.")
    ] = None
    session_id: Annotated[str | None, _column("The log's own id of a session.")] = None
    keep: Annotated[
        list[str] | None, _column("A further column to keep with sessions; may be repeated.")
    ] = None
    timezone: Zone = None
    day_first: DayFirst = None
    encoding: Annotated[
        str | None, typer.Option(help="Encoding of text, such as latin-1; default: UTF-8.")
    ] = None
    separator: Annotated[
        str | None, typer.Option(help="Separator of a CSV file; default: found by itself.")
    ] = None

    def choice(self, file: Path) -> Choice:
        """How to read a log.

        Raises
        ------
        BadInput
            When an option is wrong, or the file cannot be read.
        """
        from tippers_dagster.campus.log.guessing import find_mapping
        from tippers_dagster.campus.log.mapping import load_mapping, read_layout
        from tippers_dagster.campus.log.presets import preset

        if sum(given is not None for given in (self.preset, self.mapping, self.source)) > 1:
            raise BadInput("Give one of --preset, --mapping and --source.")
        mapping = None if self.mapping is None else load_mapping(self.mapping)
        chosen = None if self.preset is None else preset(self.preset)
        if self.source is not None:
            from tippers_dagster.campus.source.log_source import log_source, way_of
            from tippers_dagster.settings import get_settings

            mapping, chosen = way_of(log_source(get_settings(), self.source))
        said = {name: getattr(self, name) or None for name in _FIELDS}
        return find_mapping(
            file,
            mapping=mapping,
            preset=chosen,
            layout=read_layout({"encoding": self.encoding, "separator": self.separator}),
            fields={**said, "order": order_of(self.day_first)},
        )


_FIELDS = (
    *("device", "start", "end", "duration", "updated", "seen"),
    *("access_point", "space", "user", "session_id", "keep", "timezone"),
)
"""Options that are fields of a mapping."""


def with_log_options(command: Callable[..., None]) -> Callable[..., None]:
    """A command that has the options of ``LogOptions`` in place of its parameter ``options``."""
    options = get_type_hints(LogOptions, include_extras=True)
    hints = get_type_hints(command, include_extras=True)
    parameters: list[inspect.Parameter] = []
    for own in inspect.signature(command).parameters.values():
        if own.name == "options":
            parameters += [
                own.replace(name=name, annotation=hint, default=None)
                for name, hint in options.items()
            ]
        else:
            parameters.append(own.replace(annotation=hints[own.name]))

    @wraps(command)
    def run(**given: Any) -> None:
        chosen = LogOptions(**{name: given.pop(name) for name in options})
        command(options=chosen, **given)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    return run


def order_of(day_first: bool | None) -> Order | None:
    """The order of day and month."""
    from tippers_dagster.campus.log.times import DAY_FIRST, MONTH_FIRST

    return None if day_first is None else DAY_FIRST if day_first else MONTH_FIRST
