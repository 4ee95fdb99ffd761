"""Tasks give the same results in this process, in others, and on a cluster losing workers."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.platform.cluster import two_workers
from tippers_dagster.errors import SettingsError
from tippers_dagster.platform.tasks import (
    WorkerLost,
    for_workers,
    made_ahead,
    run_tasks,
    threads_or_cluster,
)
from tippers_dagster.settings import Settings


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    with two_workers() as address:
        yield address


def square(number: int) -> int:
    return number * number


def process_of(number: int) -> int:
    return os.getpid()


def die_once(flag: str) -> str:
    """Kill the process on the first call with a flag, and return its name on the second."""
    if flag and not Path(flag).exists():
        Path(flag).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return flag


def fail(number: int) -> int:
    raise ValueError(f"{number} is not liked")


def test_the_results_are_the_same_everywhere(scheduler: str) -> None:
    tasks = list(range(20))
    expected = [(n, n * n) for n in tasks]
    ways = (Settings(threads=1), Settings(threads=2), Settings(dask_url=scheduler))
    for settings in ways:
        assert sorted(run_tasks(settings, square, tasks)) == expected
        assert list(run_tasks(settings, square, [])) == []


def test_other_processes_do_the_work(scheduler: str) -> None:
    for settings in (Settings(threads=2), Settings(dask_url=scheduler)):
        done_by = {pid for _, pid in run_tasks(settings, process_of, list(range(8)))}
        assert os.getpid() not in done_by
    assert {pid for _, pid in run_tasks(Settings(threads=2), process_of, [0])} == {os.getpid()}


def test_a_cluster_repeats_the_task_of_a_dead_worker(scheduler: str, tmp_path: Path) -> None:
    tasks = ["", str(tmp_path / "died"), "", ""]
    found = sorted(run_tasks(Settings(dask_url=scheduler), die_once, tasks))
    assert found == list(enumerate(tasks))
    assert (tmp_path / "died").exists()


def test_a_dead_process_is_an_error_with_a_hint(tmp_path: Path) -> None:
    tasks = [str(tmp_path / "died"), "", ""]
    with pytest.raises(WorkerLost, match="TIPPERS_THREADS"):
        list(run_tasks(Settings(threads=2), die_once, tasks))


def test_exceptions_of_tasks_are_raised(scheduler: str) -> None:
    for settings in (Settings(threads=1), Settings(threads=2), Settings(dask_url=scheduler)):
        with pytest.raises(ValueError, match="is not liked"):
            list(run_tasks(settings, fail, [1, 2]))


def test_an_executor_uses_threads_or_the_cluster(scheduler: str) -> None:
    with threads_or_cluster(Settings()) as pool:
        assert pool.submit(process_of, 0).result() == os.getpid()
    with threads_or_cluster(Settings(dask_url=scheduler)) as pool:
        assert pool.submit(process_of, 0).result() != os.getpid()


def test_a_missing_cluster_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tippers_dagster.platform.tasks.CONNECT_SECONDS", 1.0)
    with pytest.raises(SettingsError, match="TIPPERS_DASK_URL"):
        list(run_tasks(Settings(dask_url="tcp://127.0.0.1:9"), square, [1, 2]))


def test_workers_get_no_secret(tmp_path: Path) -> None:
    settings = Settings(
        home=tmp_path, database_url="postgresql://ada:hunter2@db/x", device_key="hunter2"
    )
    told = for_workers(settings)
    assert told.lake_url == str(tmp_path / "lake")
    assert "hunter2" not in repr(told.model_dump(mode="python"))
    assert told.device_key is None
    assert told.database_url is None


def test_items_are_made_while_the_one_before_is_used() -> None:
    made = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        made.set()
        yield 2
        raise SettingsError("no more")

    found = made_ahead(items())
    assert next(found) == 1
    assert made.wait(60), "the second is made before it is asked for"
    assert next(found) == 2
    with pytest.raises(SettingsError, match="no more"):
        next(found)
    assert list(made_ahead(iter("abc"))) == ["a", "b", "c"]
