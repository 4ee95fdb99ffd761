"""`tippers`: the command line, a thin face over the domains.

Each module of this package adds its commands in ``register(app)``. Only the module of the command
that was asked for is imported; of the others the help knows the name and the line below.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

import typer

from tippers_dagster import __version__
from tippers_dagster.errors import TippersError
from tippers_dagster.platform.disk import environment_fault
from tippers_dagster.platform.postgres.unavailable import unavailable_errors
from tippers_dagster.platform.terminal import printable_output
from tippers_dagster.platform.text import printable

COMMANDS = {
    "demo": ("demo", "Simulate a campus, materialise everything, and show it."),
    "up": ("stack", "Start the local stack; Ctrl-C stops it."),
    "doctor": ("stack", "Say what is configured, reachable, and wrong, and how to mend it."),
    "ingest": ("ingest", "Load spaces, sessions and what belongs to them from files."),
    "simulate": ("simulate", "Make a campus with known truth."),
    "rejects": ("rejects", "Rows and spaces that could not be used, and why."),
    "spaces": ("spaces", "List the space tree; remove a space from it."),
    "track": ("occupancy", "Keep the occupancy of a space and its subtree up to date."),
    "untrack": ("occupancy", "Stop keeping it."),
    "occupancy": ("occupancy", "Status, materialisation and export of occupancy."),
    "retention": ("retention", "Giving up who was where: after a set time only counts stay."),
    "definitions": ("definitions", "What is labelled and how: concepts, indexes, rules ..."),
    "connections": ("connections", "Other databases whose tables are synced."),
    "dataset": ("datasets", "Named selections of occupancy."),
    "pipeline": ("pipeline", "Status and materialisation of what definitions define; reload."),
    "labels": ("labels", "What label models gave, why, and export of it."),
    "classifiers": ("classifiers", "Trained models: ranking and comparison."),
    "gold": ("gold", "Labels that people know, and how label models do on them."),
    "calendar": ("calendar", "The academic calendar: quarters, breaks, finals, holidays, events."),
    "calibrate": ("calibrate", "Head counts, from which people counts are learned."),
    "people-count": ("people_count", "People instead of devices: how good it is, and export."),
    "models": ("models", "Registered models: which version is in use, and why."),
    "predict": ("models", "Ask a classifier's champion about entities, or about rows of a file."),
    "forecast": ("forecast", "What is expected of spaces, and how good such forecasts were."),
    "database": ("database", "Prepare a deployment's PostgreSQL server: roles and databases."),
    "people": ("people", "What those who log in to the app may do."),
    "app": ("app", "Serve the browser app; what up and containers start."),
    "web": ("web", "Serve Dagster's pages, as `tippers up` and containers do."),
    "dagster": ("stack", "Run Dagster's own command line in this deployment's environment."),
    "dbt": ("dbt", "Run dbt's own command line on the definitions as they are now."),
    "code-server": ("stack", "Serve the definitions to Dagster; what up and containers start."),
    "env": ("stack", "Print the environment of Dagster's processes, for a shell to evaluate."),
}
"""Command -> the module that has it, its line in the help."""


def build_app(modules: Sequence[str] | None = None) -> typer.Typer:
    """The application with the commands of these modules, and only the names of all others.

    Parameters
    ----------
    modules
        Names of this package's modules; ``None``: all of them.
    """
    app = typer.Typer(
        name="tippers",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        help="From the WiFi sessions of a campus to the exact occupancy of every space.",
    )
    app.callback()(_root)
    loaded = {module for module, _ in COMMANDS.values()} if modules is None else set(modules)
    for module in sorted(loaded):
        import_module(f"{__name__}.{module}").register(app)
    for command, (module, line) in COMMANDS.items():
        if module not in loaded:
            app.command(command, help=line)(_not_loaded)
    return app


def main() -> None:
    """Entry point: prints errors that a user can mend without a traceback, and exits with 1."""
    command = next((word for word in sys.argv[1:] if not word.startswith("-")), None)
    modules = [COMMANDS[command][0]] if command in COMMANDS else []
    try:
        with printable_output():
            build_app(modules)()
    except TippersError as error:
        _print_error(error)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        fault = environment_fault(error)
        if fault is None:
            raise
        _print_error(fault)
        sys.exit(1)
    except unavailable_errors() as error:
        if getattr(getattr(error, "orig", error), "pgcode", None) is not None:
            raise  # a server answered
        first = str(error).strip().splitlines()[0]
        _print_error(
            TippersError(
                f"A database does not answer: {first}",
                "`tippers doctor` says which, and how it is to be reached. Nothing is lost: "
                "do the same again when it answers.",
            )
        )
        sys.exit(1)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


def _root(
    version: bool = typer.Option(
        False, "--version", is_eager=True, callback=_print_version, help="Print the version."
    ),
) -> None:
    """The options of `tippers` itself; they act in their callbacks."""


def _not_loaded() -> None:
    raise AssertionError("the help's stand-in for a command was called")


def _print_error(error: TippersError) -> None:
    from tippers_dagster.platform.redaction import redact

    typer.secho(printable(redact(error.message)), fg="red", err=True)
    if error.hint:
        typer.secho(printable(redact(error.hint)), err=True)
