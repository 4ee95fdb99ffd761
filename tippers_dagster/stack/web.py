"""Dagster's web server, behind a gate that rejects requests from other sites."""

from __future__ import annotations

from starlette.types import ASGIApp

from tippers_dagster.platform.dagster.environment import packaged_file, use_dagster_environment
from tippers_dagster.platform.dagster.internals import web_application
from tippers_dagster.platform.signals import exit_on_signals
from tippers_dagster.settings import Settings
from tippers_dagster.stack.gate import Gate, GraphQLGate


def serve_dagster(settings: Settings, host: str) -> None:
    """Serve on the configured port until stopped, like ``dagster-webserver``."""
    exit_on_signals()
    use_dagster_environment(settings)
    import uvicorn
    from dagster import DagsterInstance

    workspace = packaged_file("workspace.yaml")
    with DagsterInstance.get() as instance, web_application(instance, workspace) as app:
        uvicorn.run(guarded(settings, app), host=host, port=settings.web_port, log_level="warning")


def guarded(settings: Settings, app: ASGIApp) -> ASGIApp:
    """Dagster's application behind the gate."""
    addresses = [settings.dagster_public_url, settings.dagster_web_url]
    return Gate(
        GraphQLGate(app),
        addresses=[address for address in addresses if address],
        setting="TIPPERS_DAGSTER_PUBLIC_URL",
    )
