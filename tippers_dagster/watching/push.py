"""Pushes the metrics to an OpenTelemetry collector, by OTLP over HTTP."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from tippers_dagster import __version__
from tippers_dagster.errors import SettingsError
from tippers_dagster.settings import Settings
from tippers_dagster.watching.figures import Reading
from tippers_dagster.watching.metrics import METRICS, Metric
from tippers_dagster.watching.reading import Reader, reader

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Observation

PATH = "/v1/metrics"
"""Where collectors listen, if the URL names no path."""

READ_SECONDS = 60.0
"""Unlike a scrape, a push may wait for the first reading, which loads the definitions."""

_log = logging.getLogger("tippers.watching")


def push_metrics(settings: Settings, url: str, every_seconds: float) -> None:
    """Push a reading every so many seconds, until stopped. A failed push is logged.

    Raises
    ------
    SettingsError
        The URL cannot be used, or the packages are not installed.
    """
    with reader(settings) as source, pusher(source, url) as push:
        while True:
            began = time.monotonic()
            push()
            time.sleep(max(0.0, began + every_seconds - time.monotonic()))


@contextmanager
def pusher(source: Reader, url: str) -> Iterator[Callable[[], bool]]:
    """A function that pushes one reading, and returns whether the collector accepted it.

    Headers, such as a token, come from ``OTEL_EXPORTER_OTLP_HEADERS``, further attributes of the
    deployment from ``OTEL_RESOURCE_ATTRIBUTES``, as for every program that uses OpenTelemetry.
    """
    endpoint = _endpoint(url)
    try:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricExportResult
        from opentelemetry.sdk.resources import Resource
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"The package {error.name} is not installed.", "pip install 'tippers[otel]'"
        ) from None
    exporter, collected = OTLPMetricExporter(endpoint=endpoint), InMemoryMetricReader()
    resource = Resource.create({"service.name": "tippers", "service.version": __version__})
    provider = MeterProvider([collected], resource=resource, shutdown_on_exit=False)
    meter, latest = provider.get_meter("tippers", __version__), _Latest()
    for metric in METRICS:
        meter.create_observable_gauge(
            metric.full_name, [latest.callback(metric)], metric.unit, metric.text
        )

    def push() -> bool:
        latest.reading = source.read(READ_SECONDS)
        data = collected.get_metrics_data()
        accepted = data is not None and exporter.export(data) is MetricExportResult.SUCCESS
        if not accepted:
            _log.error("The metrics were not accepted by %s; trying again later.", endpoint)
        return accepted

    try:
        yield push
    finally:
        exporter.shutdown()
        provider.shutdown()


class _Latest:
    """The reading that is pushed next."""

    reading: Reading | None = None

    def callback(self, metric: Metric) -> Callable[[CallbackOptions], Iterable[Observation]]:
        """What gives the values of a metric."""
        from opentelemetry.metrics import Observation

        def observe(options: CallbackOptions) -> Iterator[Observation]:
            if self.reading is not None:
                for labels, value in metric.values(self.reading):
                    yield Observation(value, dict(zip(metric.labels, labels, strict=True)))

        return observe


def _endpoint(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsError(
            "This is not the URL of an OpenTelemetry collector.",
            "Use a URL such as http://127.0.0.1:4318",
        )
    if "@" in parts.netloc:
        raise SettingsError(
            "A URL with a password can be read in the list of processes.",
            "Set OTEL_EXPORTER_OTLP_HEADERS=authorization=... instead.",
        )
    path = PATH if parts.path in ("", "/") else parts.path
    return urlunsplit(parts._replace(path=path))
