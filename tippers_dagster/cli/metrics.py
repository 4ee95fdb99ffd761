"""`tippers metrics`: the figures of the deployment for Prometheus or OpenTelemetry."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import typer

from tippers_dagster.errors import BadInput
from tippers_dagster.platform.signals import exit_on_signals

if TYPE_CHECKING:
    from tippers_dagster.settings import Settings

FIRST_SECONDS = 60.0
"""The first reading loads the definitions, which takes seconds."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("metrics")(metrics)


def metrics(
    host: str = typer.Option("127.0.0.1", help="Address to listen on."),
    once: bool = typer.Option(False, "--once", help="Print the metrics instead, and exit."),
    push: str | None = typer.Option(
        None, help="Push them to this OpenTelemetry collector instead, by OTLP over HTTP."
    ),
    every: float = typer.Option(60, min=1, help="With --push: seconds between two readings."),
) -> None:
    """Serve what an operator watches to Prometheus, at /metrics on TIPPERS_METRICS_PORT.

    Failures are logged, and show as tippers_up 0. With --once, the exit status is 1 then.
    """
    from tippers_dagster.settings import get_settings

    if once and push is not None:
        raise BadInput("--once and --push exclude each other.", "Leave one of them out.")
    settings = get_settings()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    if once:
        _print_once(settings)
    elif push is not None:
        from tippers_dagster.watching.push import push_metrics

        exit_on_signals()
        push_metrics(settings, push, every)
    else:
        from tippers_dagster.stack.services import metrics_port, port_taken
        from tippers_dagster.watching.server import serve_metrics

        if port_taken(metrics_port(settings)):
            raise BadInput(
                f"Port {metrics_port(settings)} is taken, maybe by another `tippers metrics`.",
                "Stop it, or set TIPPERS_METRICS_PORT to a free port.",
            )
        serve_metrics(settings, host)


def _print_once(settings: Settings) -> None:
    from tippers_dagster.watching.reading import reader
    from tippers_dagster.watching.server import exposition

    with reader(settings) as source:
        reading = source.read(FIRST_SECONDS)
    typer.echo(exposition(reading)[0].decode(), nl=False)
    if reading.failures:
        raise typer.Exit(1)
