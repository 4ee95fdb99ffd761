"""The services of the local stack: how each is started, and when it is ready."""

from __future__ import annotations

import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from importlib.util import find_spec
from urllib.parse import urlsplit

import psycopg2

from tippers_dagster.platform.dagster.environment import packaged_file
from tippers_dagster.platform.dagster.internals import DAEMON_MODULE, heartbeat_ages
from tippers_dagster.platform.postgres.databases import databases
from tippers_dagster.settings import Settings
from tippers_dagster.stack.health import (
    BEAT_SECONDS,
    Trouble,
    code_server_trouble,
    daemon_trouble,
    web_trouble,
)

HOST = "127.0.0.1"
METRICS_PORT = 9765
"""The port of `tippers metrics`, unless one is set."""


@dataclass(frozen=True)
class Service:
    """One service of the stack.

    Both functions take the time at which the process was started (Unix seconds). ``ready`` returns
    whether the service answers; from then on, ``trouble`` returns why it does not work, if so.
    ``port_setting`` is the variable that sets its port.
    """

    name: str
    command: tuple[str, ...]
    address: str
    ready: Callable[[float], bool]
    trouble: Callable[[float], Trouble | None]
    port: int | None = None
    port_setting: str = ""
    ready_seconds: float = 120
    grace_seconds: float = 10


def stack_services(settings: Settings) -> list[list[Service]]:
    """The services in stages; each stage starts when the previous one is ready.

    The web server and the daemon look for the code server only when they start, so it comes first.
    """
    others = [_web_server(settings), _daemon(settings), _app(settings)]
    optional = [_mlflow(settings), _metrics(settings)]
    others += [service for service in optional if service is not None]
    return [[_code_server(settings)], others]


def _code_server(settings: Settings) -> Service:
    port = settings.code_server_port
    return Service(
        name="code server",
        command=(sys.executable, "-m", "tippers_dagster.cli", "code-server"),
        address=f"grpc://{HOST}:{port}",
        ready=lambda started: code_server_ready(port),
        trouble=lambda started: code_server_trouble(HOST, port),
        port=port,
        port_setting="TIPPERS_CODE_SERVER_PORT",
        ready_seconds=300,
        # Its runs need time to record that they were stopped.
        grace_seconds=20,
    )


def _web_server(settings: Settings) -> Service:
    address = f"http://{HOST}:{settings.web_port}"
    return Service(
        name="web",
        command=(sys.executable, "-m", "tippers_dagster.cli", "web"),
        address=address,
        ready=lambda started: http_ok(f"{address}/server_info"),
        trouble=lambda started: web_trouble(f"{address}/server_info"),
        port=settings.web_port,
        port_setting="TIPPERS_WEB_PORT",
    )


def _daemon(settings: Settings) -> Service:
    return Service(
        name="daemon",
        command=(
            *(sys.executable, "-m", DAEMON_MODULE, "run"),
            *("-w", str(packaged_file("workspace.yaml"))),
        ),
        address="",
        ready=lambda started: daemon_ready(databases(settings).dagster, started),
        trouble=lambda started: daemon_trouble(databases(settings).dagster, started, BEAT_SECONDS),
    )


def _app(settings: Settings) -> Service:
    address = app_address(settings)
    return Service(
        name="app",
        command=(sys.executable, "-m", "tippers_dagster.cli", "app"),
        address=address,
        ready=lambda started: http_ok(f"{address}/_stcore/health"),
        trouble=lambda started: web_trouble(f"{address}/_stcore/health"),
        port=settings.streamlit_port,
        port_setting="TIPPERS_STREAMLIT_PORT",
    )


def app_address(settings: Settings) -> str:
    """The URL, on this machine, of the app that ``tippers up`` starts."""
    return f"http://{_local_host(settings.streamlit_host)}:{settings.streamlit_port}"


def _local_host(host: str) -> str:
    """The host with which this machine reaches a server that listens on ``host``."""
    return HOST if host in ("0.0.0.0", "::") else host


def mlflow_address(settings: Settings) -> str | None:
    """The URL, on this machine, of the MLflow server that ``tippers up`` starts, if it does."""
    if settings.mlflow_url is not None or databases(settings).mlflow is None:
        return None
    return None if find_spec("mlflow") is None else f"http://{HOST}:{settings.mlflow_port}"


def _mlflow(settings: Settings) -> Service | None:
    storage, address = databases(settings).mlflow, mlflow_address(settings)
    if storage is None or address is None:
        return None
    lake = settings.lake_url or str(settings.home_path / "lake")
    return Service(
        name="mlflow",
        command=(
            *(sys.executable, "-m", "mlflow", "server", "--host", HOST),
            # Each of the usual four takes 250 MB and seconds to start; one is enough locally.
            *("--port", str(settings.mlflow_port), "--workers", "1"),
            # The embedded server's URL contains no password.
            *("--backend-store-uri", storage.replace("postgresql://", "postgresql+psycopg2://")),
            *("--artifacts-destination", f"{lake.rstrip('/')}/mlflow"),
        ),
        address=address,
        ready=lambda started: http_ok(f"{address}/health"),
        trouble=lambda started: web_trouble(f"{address}/health"),
        port=settings.mlflow_port,
        port_setting="TIPPERS_MLFLOW_PORT",
    )


def metrics_port(settings: Settings) -> int:
    """The port of the metrics."""
    return METRICS_PORT if settings.metrics_port is None else settings.metrics_port


def _metrics(settings: Settings) -> Service | None:
    if settings.metrics_port is None:
        return None
    address = f"http://{HOST}:{settings.metrics_port}/metrics"
    # To answer HEAD it reads nothing.
    return Service(
        name="metrics",
        command=(sys.executable, "-m", "tippers_dagster.cli", "metrics"),
        address=address,
        ready=lambda started: web_trouble(address, method="HEAD") is None,
        trouble=lambda started: web_trouble(address, method="HEAD"),
        port=settings.metrics_port,
        port_setting="TIPPERS_METRICS_PORT",
    )


def mlflow_environment(settings: Settings) -> dict[str, str]:
    """Environment variables for MLflow's server: allowed hosts and origins."""
    public = urlsplit(settings.mlflow_public_url or "")
    names = [f"{HOST}:*", "localhost:*", public.netloc]
    return {
        # By default it accepts any name that begins like a private address, as 10.example.com.
        "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(filter(None, names)),
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": (
            f"{public.scheme}://{public.netloc}" if public.netloc else ""
        ),
        # Saves five processes for MLflow's jobs, which are not used.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }


# --- readiness ----------------------------------------------------------------------------------


def port_taken(port: int) -> bool:
    """Whether another program on this machine listens on the port."""
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
    return False


def http_ok(url: str) -> bool:
    """Whether the URL answers with a success status."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def code_server_ready(port: int) -> bool:
    """Whether the code server has loaded the definitions and serves them."""
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    with grpc.insecure_channel(f"{HOST}:{port}") as channel:
        request = health_pb2.HealthCheckRequest(service="DagsterApi")
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=5)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def daemon_ready(url: str, since: float) -> bool:
    """Whether a daemon has written a heartbeat to Dagster's storage since that time."""
    try:
        return bool(heartbeat_ages(url, since))
    except psycopg2.OperationalError:
        return False
