"""``tippers app``: the browser app."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from tippers_dagster.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("app")(serve)


def serve() -> None:
    """Serve the browser app; what `tippers up` and containers start."""
    from tippers_dagster.settings import get_settings

    command = app_command(get_settings())
    os.execv(command[0], command)  # signals go straight to it


def app_command(settings: Settings) -> list[str]:
    """The command that serves the app on the address of the settings.

    Raises
    ------
    SettingsError
        When it would listen for others without a login, or is not installed.
    """
    from tippers_dagster.errors import SettingsError
    from tippers_dagster.people.login import check_address, login_file

    check_address(settings)
    if find_spec("streamlit_app") is None:
        raise SettingsError("The app is not installed.", "Install tippers with its app again.")
    options = {
        "server.address": settings.streamlit_host,
        "server.port": str(settings.streamlit_port),
        "server.headless": "true",
        "server.fileWatcherType": "none",
        # Else it asks a server of the world for its own address.
        "browser.serverAddress": settings.streamlit_host,
        "secrets.files": str(login_file(settings)),
    }
    command = [sys.executable, "-m", "streamlit_app"]
    return command + [f"--{name}={value}" for name, value in options.items()]
