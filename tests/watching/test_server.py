"""The metrics over HTTP."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from threading import Thread

import pytest
import uvicorn
from prometheus_client.parser import text_string_to_metric_families

from tests.occupancy import campus
from tests.stack.waiting import until
from tests.watching.readings import reading
from tippers_dagster.settings import Settings
from tippers_dagster.stack.health import web_trouble
from tippers_dagster.watching.figures import Reading
from tippers_dagster.watching.reading import Reader, reader
from tippers_dagster.watching.server import application


class Counted(Reader):
    """Gives the same reading, and counts how often it was asked for."""

    def __init__(self) -> None:
        self.times = 0

    def read(self, seconds: float = 8) -> Reading:
        self.times += 1
        return reading()


@contextmanager
def serving(settings: Settings, source: Reader) -> Iterator[int]:
    """The port on which the metrics are served meanwhile."""
    with closing(socket.socket()) as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(application(settings, source), log_level="error"))
        thread = Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        until(lambda: server.started, 10)
        yield listening.getsockname()[1]
        server.should_exit = True
        thread.join()


def ask(
    port: int, method: str = "GET", path: str = "/metrics", **headers: str
) -> tuple[int, str, str]:
    """Status, type and text of the answer."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.getheader("content-type", ""), answer.read().decode()


@pytest.fixture
def source() -> Counted:
    return Counted()


@pytest.fixture
def port(source: Counted) -> Iterator[int]:
    with serving(Settings(), source) as port:
        yield port


def test_only_one_path_and_only_reading(port: int, source: Counted) -> None:
    status, kind, text = ask(port)
    assert status == 200
    assert kind.startswith("text/plain; version=0.0.4")
    assert "\ntippers_up 1.0\n" in text
    assert ask(port, Accept="application/openmetrics-text; version=1.0.0")[2].endswith("# EOF\n")
    assert source.times == 2
    for path in ("/", "/metrics/", "/metrics/x", "/favicon.ico", "/../metrics"):
        assert ask(port, path=path)[0] in (307, 404), path
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert ask(port, method)[0] == 405
    assert source.times == 2


def test_a_health_check_reads_nothing(port: int, source: Counted) -> None:
    assert ask(port, "HEAD") == (200, "", "")
    assert web_trouble(f"http://127.0.0.1:{port}/metrics", method="HEAD") is None
    assert web_trouble(f"http://127.0.0.1:{port}/", method="HEAD") is not None
    assert source.times == 0


def test_other_host_names_only_if_they_are_set(port: int) -> None:
    status, _, text = ask(port, Host="evil.example")
    assert status == 403
    assert "TIPPERS_METRICS_PUBLIC_URL" in text
    settings = Settings(metrics_public_url="http://metrics:9765")
    with serving(settings, Counted()) as other:
        assert ask(other, Host="metrics:9765")[0] == 200
        assert ask(other, Host="evil.example")[0] == 403


def test_a_scrape_of_a_deployment(live: Settings, week: str) -> None:
    campus.compute_all(live)
    with reader(live) as source:
        source.read(60)  # loads the definitions
        time.sleep(2.1)
        with serving(live, source) as port, ThreadPoolExecutor(10) as pool:
            answers = list(pool.map(lambda _: ask(port), range(10)))
    values = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answers[0][2])
        for sample in family.samples
    }
    assert values["tippers_up",] == 1
    assert values["tippers_live",] == 1
    assert values["tippers_partitions", "derived_occupancy", "done"] == 4
    assert values["tippers_newest_source_rows",] == 2
    assert values["tippers_newest_count_age_seconds",] < 60
    assert values["tippers_rejected_rows", "extraction"] == 1
    shared = {
        text.split("\ntippers_newest_count_age_seconds ")[1].split()[0] for *_, text in answers
    }
    assert len(shared) == 1, "ten scrapes share one reading"


def test_a_database_that_ended_is_no_error(live: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = "postgresql://nobody:hunter2@127.0.0.1:1/nothing"
    for name in ("TIPPERS_DATABASE_URL", "TIPPERS_DAGSTER_URL"):
        monkeypatch.setenv(name, nobody)
    settings = Settings()
    with reader(settings) as source, serving(settings, source) as port:
        status, _, text = ask(port)
    assert status == 200
    assert "\ntippers_up 0.0\n" in text
    assert 'tippers_part_up{part="occupancy"} 0.0' in text
    assert "tippers_partitions{" not in text
    assert "hunter2" not in text
