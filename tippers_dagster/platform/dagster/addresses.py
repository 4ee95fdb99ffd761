"""Where browsers find Dagster and MLflow, and pages in them."""

from __future__ import annotations

import fcntl
import json
from urllib.parse import quote, urlencode, urlsplit

from tippers_dagster.errors import SettingsError
from tippers_dagster.platform.redaction import redact
from tippers_dagster.settings import Settings

LOOPBACK = ("127.0.0.1", "::1", "localhost")
"""Names of this machine to itself."""


STACK_LOCK = "up.lock"
"""The file of the home that the running stack holds a lock on, with its process and address."""


def stack_owner(settings: Settings) -> dict[str, str] | None:
    """The process id and address of the running stack of this home; ``None`` when none runs."""
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
    """Where Dagster's web server is; None when nothing runs that we know of.

    Raises
    ------
    SettingsError
        When ``TIPPERS_DAGSTER_WEB_URL`` is no address.
    """
    if settings.dagster_web_url is not None:
        parts = urlsplit(settings.dagster_web_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SettingsError(
                "TIPPERS_DAGSTER_WEB_URL is not the address of a web server.",
                "It looks like http://dagster:3000",
            )
        return settings.dagster_web_url
    return (stack_owner(settings) or {}).get("web")


def dagster_home(settings: Settings) -> str:
    """Dagster's web server, as a browser reaches it."""
    local = f"http://127.0.0.1:{settings.web_port}"
    return (settings.dagster_public_url or web_address(settings) or local).rstrip("/")


def mlflow_home(settings: Settings) -> str:
    """MLflow's server, as a browser reaches it; where none is named, that of ``tippers up``."""
    named = settings.mlflow_url if is_server(settings.mlflow_url or "") else None
    local = f"http://127.0.0.1:{settings.mlflow_port}"
    return redact(settings.mlflow_public_url or named or local).rstrip("/")


def is_server(uri: str) -> bool:
    """Whether it is the address of a web server such as MLflow's, and not a database."""
    return urlsplit(uri).scheme in ("http", "https")


def asset_link(settings: Settings, name: str, partition: str | None = None) -> str:
    """The page of an asset, as ``device/devices``, or of one of its partitions."""
    path = "/".join(quote(part, safe="") for part in name.split("/"))
    query = f"?{urlencode({'view': 'partitions', 'partition': partition})}" if partition else ""
    return f"{dagster_home(settings)}/assets/{path}{query}"


def run_link(settings: Settings, run_id: str) -> str:
    """The page of a run."""
    return f"{dagster_home(settings)}/runs/{quote(run_id, safe='')}"


def mlflow_run_link(settings: Settings, experiment_id: str, run_id: str) -> str:
    """The page of a run in MLflow."""
    return f"{mlflow_home(settings)}/#/experiments/{experiment_id}/runs/{run_id}"
