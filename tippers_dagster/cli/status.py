"""`tippers status`: the deployment on one screen."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer

from tippers_dagster.platform.terminal import table_console

if TYPE_CHECKING:
    from tippers_dagster.settings import Settings
    from tippers_dagster.watching.concerns import Concern
    from tippers_dagster.watching.figures import Reading

FIRST_SECONDS = 20.0
"""The first reading loads the definitions, and may list a large lake."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("status")(status)


def status(
    as_json: bool = typer.Option(False, "--json", help="Print all figures as JSON."),
) -> None:
    """Show what is up, how old the newest counts are, and what needs attention.

    Exits with status 1 if anything needs attention. Works while the stack is down.
    """
    from tippers_dagster.settings import get_settings
    from tippers_dagster.watching.concerns import concerns
    from tippers_dagster.watching.reading import reader

    settings = get_settings()
    with reader(settings) as source:
        reading = source.read(FIRST_SECONDS)
        levels = reading.occupancy.levels if reading.occupancy is not None else ()
        failed = any(level.failed for level in levels) and reading.queue is not None
        found = concerns(reading, settings, source.last_failure() if failed else "")
    if as_json:
        _print_json(reading, found)
    else:
        _print_screen(reading, found, settings)
    if found:
        raise typer.Exit(1)


def _print_json(reading: Reading, found: list[Concern]) -> None:
    from pydantic_core import to_jsonable_python

    report = {"attention": found, **vars(reading)}
    typer.echo(json.dumps(to_jsonable_python(report), indent=2))


def _print_screen(reading: Reading, found: list[Concern], settings: Settings) -> None:
    from rich.text import Text

    from tippers_dagster.watching.screen import screen

    console = table_console()
    # One line is left for the prompt.
    height = console.height - 1 if console.is_terminal else None
    for text, style in screen(reading, found, settings, console.width, height):
        console.print(Text(text, style=style), no_wrap=True, crop=True)
