"""`tippers forget`."""

from __future__ import annotations

import logging

import typer

from tippers_dagster.access.machine_user import machine_user
from tippers_dagster.errors import BadInput
from tippers_dagster.platform.terminal import table_console
from tippers_dagster.platform.text import counted


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("forget")(forget)


def forget(
    device: str | None = typer.Option(None, help="Address or id of a device, in any spelling."),
    person: str | None = typer.Option(
        None, help="User name of a person; with the devices that nobody else used."
    ),
    yes: bool = typer.Option(False, "--yes", help="Do it. Without this it is only counted."),
) -> None:
    """Remove a device or a person from log, lake, labels and results; counts stay.

    It is left out of the log from then on.
    """
    from rich.table import Table

    from tippers_dagster.platform.dagster.environment import dagster_instance
    from tippers_dagster.retention import forgetting
    from tippers_dagster.settings import get_settings

    if (device is None) == (person is None):
        raise BadInput("Name a device or a person.", "Use --device ADDRESS or --person USERNAME.")
    settings = get_settings()
    named = (
        [forgetting.device_named(settings, device)]
        if device is not None
        else forgetting.persons_named(settings, person or "")
    )
    with dagster_instance(settings) as instance:
        done = forgetting.forget(
            settings,
            instance,
            named,
            machine_user(),
            logging.getLogger("tippers"),
            really=yes,
            report=typer.echo if yes else lambda _: None,
        )
    console = table_console()
    table = Table()
    for column in ("place", "removed" if yes else "would be removed"):
        table.add_column(column)
    for place, number in sorted(done.removed.items()):
        table.add_row(place, counted(number, "file" if "files" in place else "row"))
    console.print(table)
    if person is not None:
        shared = f"; {done.shared:,} more are used by others, too" if done.shared else ""
        typer.echo(f"With {counted(done.devices, 'device')} of this person{shared}.")
    for place, why in done.remains.items():
        typer.echo(f"remains: {place}: {why}")
    if not yes:
        typer.secho("Nothing was changed. Add --yes to do it.", fg="yellow")
