"""URLs of Dagster, MLflow and their pages, for browsers."""

from __future__ import annotations

import fcntl
import json
from urllib.parse import quote, urlencode, urlsplit

from tippers_dagster.errors import SettingsError
from tippers_dagster.platform.redaction import redact
from tippers_dagster.settings import Settings

LOOPBACK = ("127.0.0.1", "::1", "localhost")
"""This machine's names for itself."""


STACK_LOCK = "up.lock"
"""The file of the home that the running stack holds a lock on, with its process and address."""


def stack_owner(settings: Settings) -> dict[str, str] | None:
    """The process id and URL of this home's running stack; ``None`` when it is not running."""
    try:
        with (settings.home_path / STACK_LOCK).open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return dict(json.loads(file.read() or "{}"))
    except FileNotFoundError:
        return None
    return None


def web_address(settings: Settings) -> str | None:
    """The URL of Dagster's web server; None when no server is set and no local stack runs.

    Raises
    ------
    SettingsError
        When ``TIPPERS_DAGSTER_WEB_URL`` is not a URL.
    """
    if settings.dagster_web_url is not None:
        parts = urlsplit(settings.dagster_web_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SettingsError(
                "TIPPERS_DAGSTER_WEB_URL is not the URL of a web server.",
                "Set it to a URL such as http://dagster:3000",
            )
        return settings.dagster_web_url
    return (stack_owner(settings) or {}).get("web")


def dagster_home(settings: Settings) -> str:
    """The URL of Dagster's web server for browsers."""
    local = f"http://127.0.0.1:{settings.web_port}"
    return (settings.dagster_public_url or web_address(settings) or local).rstrip("/")


def mlflow_home(settings: Settings) -> str:
    """The URL of MLflow's server for browsers; by default the one that ``tippers up`` starts."""
    named = settings.mlflow_url if is_server(settings.mlflow_url or "") else None
    local = f"http://127.0.0.1:{settings.mlflow_port}"
    return redact(settings.mlflow_public_url or named or local).rstrip("/")


def is_server(uri: str) -> bool:
    """Whether the URI is that of a web server, such as MLflow's, and not of a database."""
    return urlsplit(uri).scheme in ("http", "https")


def asset_link(settings: Settings, name: str, partition: str | None = None) -> str:
    """The page of an asset (such as ``device/devices``), or of one of its partitions."""
    path = "/".join(quote(part, safe="") for part in name.split("/"))
    query = f"?{urlencode({'view': 'partitions', 'partition': partition})}" if partition else ""
    return f"{dagster_home(settings)}/assets/{path}{query}"


def run_link(settings: Settings, run_id: str) -> str:
    """The page of a run."""
    return f"{dagster_home(settings)}/runs/{quote(run_id, safe='')}"


def mlflow_run_link(settings: Settings, experiment_id: str, run_id: str) -> str:
    """The page of a run in MLflow."""
    return f"{mlflow_home(settings)}/#/experiments/{experiment_id}/runs/{run_id}"
