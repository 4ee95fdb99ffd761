"""``tippers web``: Dagster's web server."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("web")(serve)


def serve(host: str = typer.Option("127.0.0.1", help="Address to listen on.")) -> None:
    """Serve Dagster's pages and GraphQL; rejects requests from other web sites."""
    from tippers_dagster.settings import get_settings
    from tippers_dagster.stack.web import serve_dagster

    serve_dagster(get_settings(), host)
