"""Pushing metrics by OTLP."""

from __future__ import annotations

import gzip
import http.server
import logging
from collections.abc import Iterator
from threading import Thread
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from tests.watching.readings import nothing_read, reading
from tippers_dagster.errors import SettingsError
from tippers_dagster.watching.figures import Reading
from tippers_dagster.watching.metrics import METRICS
from tippers_dagster.watching.push import pusher
from tippers_dagster.watching.reading import Reader


class Source(Reader):
    """Gives the reading that a test sets."""

    def __init__(self) -> None:
        self.reading = reading()

    def read(self, seconds: float = 8) -> Reading:
        return self.reading


class Collector(http.server.HTTPServer):
    """An OpenTelemetry collector that keeps what it receives."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Receiver)
        self.status = 200
        self.received: list[tuple[str, dict[str, str], ExportMetricsServiceRequest]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def values(self) -> dict[tuple[str, ...], float]:
        """The values of the last request, by name and values of labels."""
        (resource,) = self.received[-1][2].resource_metrics
        (scope,) = resource.scope_metrics
        return {
            (metric.name, *(a.value.string_value for a in point.attributes)): point.as_double
            for metric in scope.metrics
            for point in metric.gauge.data_points
        }


class Receiver(http.server.BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        request = ExportMetricsServiceRequest.FromString(body)
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.received.append((self.path, headers, request))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_push_has_all_metrics(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20t0ken")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=campus")
    with pusher(Source(), collector.url) as push:
        assert push()
        assert push()
    path, headers, request = collector.received[-1]
    assert len(collector.received) == 2
    assert path == "/v1/metrics"
    assert headers["authorization"] == "Bearer t0ken"
    (resource,) = request.resource_metrics
    attributes = {a.key: a.value.string_value for a in resource.resource.attributes}
    assert attributes["service.name"] == "tippers"
    assert attributes["deployment.environment.name"] == "campus"
    (scope,) = resource.scope_metrics
    assert {(m.name, m.unit, m.description) for m in scope.metrics} == {
        (metric.full_name, metric.unit, metric.text) for metric in METRICS
    }
    values = collector.values()
    assert values["tippers_up",] == 1
    assert values["tippers_partitions", "source_occupancy", "done"] == 104_000


def test_each_push_is_a_new_reading(collector: Collector) -> None:
    source = Source()
    with pusher(source, f"{collector.url}/other/path") as push:
        push()
        assert ("tippers_live",) in collector.values()
        source.reading = nothing_read()
        push()
    assert collector.received[-1][0] == "/other/path"
    assert collector.values()["tippers_up",] == 0
    assert ("tippers_live",) not in collector.values(), "what is not known is not pushed"


def test_a_refused_push_is_loud_and_the_next_one_is_tried(
    collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    with pusher(Source(), collector.url) as push, caplog.at_level(logging.ERROR):
        collector.status = 400
        assert not push()
        assert f"not accepted by {collector.url}/v1/metrics" in caplog.text
        collector.status = 200
        assert push()


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("collector:4318", "not the URL"),
        ("ftp://collector", "not the URL"),
        ("http://ada:hunter2@collector:4318", "list of processes"),
    ],
)
def test_urls_that_are_refused(url: str, text: str) -> None:
    with pytest.raises(SettingsError, match=text) as caught, pusher(Source(), url):
        pass
    assert "hunter2" not in str(caught.value)
