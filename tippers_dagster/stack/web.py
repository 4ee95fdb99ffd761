"""Dagster's web server, behind a gate that rejects requests from other sites."""

from __future__ import annotations

from starlette.types import ASGIApp

from tippers_dagster.platform.dagster.environment import packaged_file, use_dagster_environment
from tippers_dagster.platform.postgres.databases import end_in_order
from tippers_dagster.settings import Settings
from tippers_dagster.stack.gate import Gate, GraphQLGate

STATEMENT_TIMEOUT_MS, POOL_RECYCLE_SECONDS, MAX_CONNECTIONS = 15_000, 3600, 20
POLL_MS = 2000
"""The defaults of ``dagster-webserver``."""


def serve_dagster(settings: Settings, host: str) -> None:
    """Serve on the configured port until stopped, like ``dagster-webserver``."""
    end_in_order()
    use_dagster_environment(settings)
    import uvicorn
    from dagster import DagsterInstance
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import WorkspaceFileTarget
    from dagster._utils.log import configure_loggers
    from dagster_webserver.app import create_app_from_workspace_process_context
    from dagster_webserver.version import __version__

    configure_loggers()
    workspace = WorkspaceFileTarget([str(packaged_file("workspace.yaml"))])
    with DagsterInstance.get() as instance:
        instance.optimize_for_webserver(STATEMENT_TIMEOUT_MS, POOL_RECYCLE_SECONDS, MAX_CONNECTIONS)
        with WorkspaceProcessContext(instance, workspace, version=__version__) as context:
            app = create_app_from_workspace_process_context(context, live_data_poll_rate=POLL_MS)
            uvicorn.run(
                guarded(settings, app), host=host, port=settings.web_port, log_level="warning"
            )


def guarded(settings: Settings, app: ASGIApp) -> ASGIApp:
    """Dagster's application behind the gate."""
    addresses = [settings.dagster_public_url, settings.dagster_web_url]
    return Gate(
        GraphQLGate(app),
        addresses=[address for address in addresses if address],
        setting="TIPPERS_DAGSTER_PUBLIC_URL",
    )
