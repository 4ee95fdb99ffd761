"""``tippers app``: the browser app."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec

import typer


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("app")(serve)


def serve() -> None:
    """Serve the browser app; what `tippers up` and containers start."""
    from tippers_dagster.access.login import entrance
    from tippers_dagster.errors import SettingsError
    from tippers_dagster.settings import get_settings

    entrance(get_settings())
    if find_spec("streamlit_app") is None:
        raise SettingsError("The app is not installed.", "Install tippers with its app again.")
    # Signals go straight to it.
    os.execv(sys.executable, [sys.executable, "-m", "streamlit_app"])
