"""Options that name the columns of a log."""

from __future__ import annotations

from typing import Annotated

import typer


def _column(what: str) -> object:
    return typer.Option(metavar="COL", help=what, show_default=False, rich_help_panel="Columns")


DeviceColumn = Annotated[str | None, _column("Device: its address, or another id.")]
StartColumn = Annotated[str | None, _column("Start of a session.")]
EndColumn = Annotated[str | None, _column("End of a session.")]
DurationColumn = Annotated[str | None, _column("Its duration, in seconds.")]
UpdatedColumn = Annotated[str | None, _column("When it was last known to go on.")]
SeenColumn = Annotated[str | None, _column("Instant of an observation.")]
AccessPointColumn = Annotated[str | None, _column("Access point.")]
SpaceColumn = Annotated[str | None, _column("Space.")]
SessionIdColumn = Annotated[str | None, _column("The log's own id of a session.")]


def named_columns(**columns: str | None) -> dict[str, str]:
    """The columns that were named."""
    return {field: column for field, column in columns.items() if column is not None}
