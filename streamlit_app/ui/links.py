"""Addresses of what is behind a page, in Dagster and MLflow."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from tippers_dagster.pipeline.reload import web_address
from tippers_dagster.settings import Settings


def dagster_home(settings: Settings) -> str:
    """Dagster's web server, as a browser reaches it."""
    local = f"http://127.0.0.1:{settings.web_port}"
    return (settings.dagster_public_url or web_address(settings) or local).rstrip("/")


def mlflow_home(settings: Settings) -> str:
    """MLflow's server, as a browser reaches it."""
    local = f"http://127.0.0.1:{settings.mlflow_port}"
    return (settings.mlflow_public_url or settings.mlflow_url or local).rstrip("/")


def asset_link(settings: Settings, name: str, partition: str | None = None) -> str:
    """The page of an asset, as ``device/devices``, or of one of its partitions."""
    path = "/".join(quote(part, safe="") for part in name.split("/"))
    query = f"?{urlencode({'view': 'partitions', 'partition': partition})}" if partition else ""
    return f"{dagster_home(settings)}/assets/{path}{query}"


def run_link(settings: Settings, run_id: str) -> str:
    """The page of a run."""
    return f"{dagster_home(settings)}/runs/{quote(run_id, safe='')}"
