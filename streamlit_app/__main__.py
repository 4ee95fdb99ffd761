"""``python -m streamlit_app``: the app in Streamlit, as ``tippers app`` starts it."""

from __future__ import annotations

import gc
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tippers_dagster.access.login import entrance, login_file, redirect_address
from tippers_dagster.platform.signals import exit_on_signals
from tippers_dagster.settings import Settings, get_settings

if TYPE_CHECKING:
    import streamlit as st

SLOW = (
    "altair",
    "dagster_postgres",
    "mlflow",
    "sklearn",
    "tippers_dagster.labelling.gold",
    "tippers_dagster.learning.registry",
    "tippers_dagster.graph.save",
    "tippers_dagster.graph.status",
    "tippers_dagster.automation.snapshot",
)
"""Modules that pages import late; together they take a second or two."""


def main() -> None:
    """Serve the app until it is stopped.

    Raises
    ------
    SettingsError
        The app could be reached by people whom nothing identifies.
    """
    settings = get_settings()
    entrance(settings)
    exit_on_signals()
    for name in SLOW:  # before anybody has to wait for them
        import_module(name)
    # Streamlit collects garbage after every run of a page. Scanning the modules imported by now
    # would take 0.2 s each time and block all pages, so they are excluded.
    gc.collect()
    gc.freeze()
    guarded(settings).run(config=options(settings))


def guarded(settings: Settings) -> st.App:
    """The app, behind the gate that rejects requests from other sites."""
    import streamlit as st
    from starlette.middleware import Middleware

    from tippers_dagster.stack.gate import Gate

    gate = Middleware(Gate, addresses=addresses(settings), setting="TIPPERS_STREAMLIT_PUBLIC_URL")
    return st.App(Path(__file__).with_name("app.py"), middleware=[gate])


def addresses(settings: Settings) -> list[str]:
    """The URLs at which browsers reach the app, besides those of this machine."""
    host = settings.streamlit_host
    listens = None if host in ("0.0.0.0", "::") else f"http://{_bracketed(host)}"
    candidates = (settings.streamlit_public_url, redirect_address(settings), listens)
    return [address for address in candidates if address]


def options(settings: Settings) -> dict[str, Any]:
    """Streamlit's options; they override its configuration files and environment variables."""
    return {
        "server.address": settings.streamlit_host,
        "server.port": settings.streamlit_port,
        "server.headless": True,
        "server.fileWatcherType": "none",
        # The gate rejects other sites; these are the origins that it lets through.
        "server.enableCORS": True,
        "server.enableXsrfProtection": True,
        "server.corsAllowedOrigins": addresses(settings),
        "server.enableAgentApi": False,
        # Without this, Streamlit asks a public server for the machine's address.
        "browser.serverAddress": settings.streamlit_host,
        "secrets.files": [str(login_file(settings))],
    }


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


if __name__ == "__main__":
    main()
