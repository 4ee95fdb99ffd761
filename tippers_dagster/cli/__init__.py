"""`tippers`: the command line, a thin layer over the domains.

Each module of this package adds its commands in ``register(app)``. Only the module of the given
command is imported; for the others, the help has only the name and the line below.
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
from tippers_dagster.platform.signals import obey_signals
from tippers_dagster.platform.terminal import printable_output
from tippers_dagster.platform.text import printable

COMMANDS = {
    "demo": ("demo", "Simulate a campus, compute everything, and show the results."),
    "up": ("stack", "Start the local stack; stop it with Ctrl-C."),
    "doctor": ("stack", "Check the deployment, and say how to fix problems."),
    "status": ("status", "The deployment on one screen: freshness, failures, storage."),
    "metrics": ("metrics", "Serve the same figures to Prometheus or OpenTelemetry."),
    "backup": ("backup", "Copy warehouse, lake, stores and keys to a folder."),
    "restore": ("backup", "Restore a backup into an empty home or deployment."),
    "keys": ("keys", "Keys and secrets: where they are; new ones."),
    "ingest": ("ingest", "Load sessions, spaces and other source tables from files."),
    "log": ("log", "What a WiFi log in any shape would be read as."),
    "simulate": ("simulate", "Simulate a campus, with its truth."),
    "rejects": ("rejects", "List rejected rows and spaces, with reasons."),
    "spaces": ("spaces", "List the space tree; remove spaces."),
    "track": ("occupancy", "Keep the occupancy of a space and its subtree up to date."),
    "untrack": ("occupancy", "Stop tracking a space."),
    "occupancy": ("occupancy", "Status, materialisation and export of occupancy."),
    "retention": ("retention", "Delete old sessions and presence; counts stay."),
    "forget": ("forget", "Remove a device or a person; counts stay."),
    "definitions": ("definitions", "Concepts, indexes, rules, label models and other definitions."),
    "connections": ("connections", "Other databases whose tables are synced."),
    "dataset": ("datasets", "Named selections of occupancy."),
    "pipeline": ("pipeline", "Assets of definitions: status, computing and reloading."),
    "labels": ("labels", "Results of label models: status, explanation and export."),
    "classifiers": ("classifiers", "Trained classifiers: ranking and comparison."),
    "gold": ("gold", "Gold labels, and the accuracy of label models on them."),
    "calendar": ("calendar", "The academic calendar: quarters, breaks, finals, holidays, events."),
    "calibrate": ("calibrate", "Head counts that calibrate people counts."),
    "people-count": ("people_count", "Counts of people instead of devices: quality and export."),
    "models": ("models", "Registered models and their versions."),
    "predict": ("models", "Predict labels of entities or of a file's rows."),
    "forecast": ("forecast", "Forecasts of occupancy, and their backtests."),
    "database": ("database", "Prepare a deployment's PostgreSQL server: roles and databases."),
    "people": ("people", "Roles of the app's users."),
    "app": ("app", "Serve the app; started by `tippers up` and containers."),
    "web": ("web", "Serve Dagster's pages; started by `tippers up` and containers."),
    "dagster": ("stack", "Run Dagster's command line in this deployment's environment."),
    "dbt": ("dbt", "Run dbt's command line on the current definitions."),
    "code-server": ("stack", "Serve the definitions to Dagster; started by `tippers up`."),
    "env": ("stack", "Print the environment of Dagster's processes, for a shell."),
}
"""Command -> its module, and its line in the help."""


def build_app(modules: Sequence[str] | None = None) -> typer.Typer:
    """The application with the commands of these modules, and only the names of the others.

    Parameters
    ----------
    modules
        Names of modules of this package; ``None``: all.
    """
    app = typer.Typer(
        name="tippers",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        help="Occupancy of a campus's spaces, from its WiFi log.",
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
    """Entry point; prints errors that a user can fix without a traceback, and exits with 1."""
    obey_signals()
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
                f"A database is unavailable: {first}",
                "Run `tippers doctor` to see which one. Nothing is lost: repeat the command when "
                "the database is available again.",
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
    """The options of `tippers`, handled in their callbacks."""


def _not_loaded() -> None:
    raise AssertionError("the placeholder of a command was called")


def _print_error(error: TippersError) -> None:
    from tippers_dagster.platform.redaction import redact

    typer.secho(printable(redact(error.message)), fg="red", err=True)
    if error.hint:
        typer.secho(printable(redact(error.hint)), err=True)
