"""Serves the metrics to Prometheus: one path, read only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from tippers_dagster.platform.signals import exit_on_signals
from tippers_dagster.settings import Settings
from tippers_dagster.stack.gate import Gate
from tippers_dagster.stack.services import metrics_port
from tippers_dagster.watching.figures import Reading
from tippers_dagster.watching.metrics import families
from tippers_dagster.watching.reading import Reader, reader

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric as Family

PATH = "/metrics"


@dataclass(frozen=True)
class _Figures(Collector):
    reading: Reading

    def collect(self) -> Iterator[Family]:
        return families(self.reading)


def exposition(reading: Reading, accepted: str = "") -> tuple[bytes, str]:
    """The metrics as text, and its type: OpenMetrics if ``accepted`` says so, else Prometheus's."""
    encode, kind = choose_encoder(accepted)
    return encode(_Figures(reading)), kind


def application(settings: Settings, source: Reader) -> ASGIApp:
    """The server: GET and HEAD of ``PATH``, for the machine's own names and the public URL."""

    def metrics(request: Request) -> Response:
        if request.method == "HEAD":  # for health checks: nothing is read
            return Response()
        body, kind = exposition(source.read(), request.headers.get("accept", ""))
        return Response(body, headers={"content-type": kind})

    public = settings.metrics_public_url
    return Gate(
        Starlette(routes=[Route(PATH, metrics, methods=["GET"])]),
        addresses=[public] if public else [],
        setting="TIPPERS_METRICS_PUBLIC_URL",
    )


def serve_metrics(settings: Settings, host: str) -> None:
    """Serve on the configured port until stopped."""
    exit_on_signals()
    import uvicorn

    with reader(settings) as source:
        source.begin()  # the first reading takes seconds
        app = application(settings, source)
        uvicorn.run(app, host=host, port=metrics_port(settings), log_level="warning")
