"""The services of the local stack."""

from __future__ import annotations

from tippers_dagster.settings import Settings
from tippers_dagster.stack.services import METRICS_PORT, metrics_port, stack_services


def names(settings: Settings) -> list[str]:
    return [service.name for stage in stack_services(settings) for service in stage]


def test_metrics_are_served_only_if_a_port_is_set(stack: Settings) -> None:
    assert names(stack) == ["code server", "web", "daemon", "app"]
    assert metrics_port(stack) == METRICS_PORT
    with_port = stack.model_copy(update={"metrics_port": 12345})
    assert names(with_port) == ["code server", "web", "daemon", "app", "metrics"]
    (metrics,) = stack_services(with_port)[1][-1:]
    assert metrics.port == metrics_port(with_port) == 12345
    assert metrics.address == "http://127.0.0.1:12345/metrics"
    assert not metrics.ready(0.0)
    trouble = metrics.trouble(0.0)
    assert trouble is not None
    assert not trouble.sure
