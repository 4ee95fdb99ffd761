"""``tippers app``: the browser app."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec

import typer

from tippers_dagster.errors import SettingsError


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("app")(serve)


def serve() -> None:
    """Serve the app; started by `tippers up` and containers."""
    from tippers_dagster.access.login import entrance
    from tippers_dagster.settings import get_settings

    entrance(get_settings())
    if find_spec("streamlit_app") is None:
        raise SettingsError("The app is not installed.", "Reinstall tippers with its app.")
    # Replaces this process, so that signals reach the app.
    os.execv(sys.executable, [sys.executable, "-m", "streamlit_app"])
