"""One reading of a real deployment."""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections.abc import Iterator
from contextlib import closing
from threading import Event, Thread

import dagster as dg
import psycopg2
import pytest
import sqlalchemy as sa

from tests.conftest import DEVICE_KEY
from tests.occupancy import campus
from tests.occupancy.campus import Seen
from tests.platform.dagster.test_run_queue import ORIGIN
from tests.stack.waiting import until
from tests.watching.conftest import MAC
from tippers_dagster.occupancy.partitions import dagster_keys
from tippers_dagster.occupancy.records import record_attempts
from tippers_dagster.occupancy.tracking import track_space
from tippers_dagster.platform.dagster.environment import dagster_instance
from tippers_dagster.platform.locks import keeper
from tippers_dagster.platform.locks.locks import advisory_locks
from tippers_dagster.platform.postgres.databases import databases
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.retention.assets import KEY as RETENTION
from tippers_dagster.retention.assets import NOTHING_HELD
from tippers_dagster.settings import Settings, get_settings
from tippers_dagster.watching import reading as module
from tippers_dagster.watching.figures import Database, Reading, Retention
from tippers_dagster.watching.occupancy import read_occupancy_figures
from tippers_dagster.watching.queue import read_retention
from tippers_dagster.watching.reading import Reader, reader
from tippers_dagster.watching.server import exposition

LOG = logging.getLogger()


@pytest.fixture(autouse=True)
def read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is kept from one reading to the next."""
    monkeypatch.setattr(module, "KEEP_SECONDS", 0.0)
    monkeypatch.setattr(module, "KEEP_SIZES_SECONDS", 0.0)


@pytest.fixture
def source(live: Settings) -> Iterator[Reader]:
    with reader(live) as source:
        yield source


def read(source: Reader) -> Reading:
    found = source.read(60)
    assert found.failures == {}
    return found


def numbers(found: Reading) -> dict[str, tuple[int, ...]]:
    assert found.occupancy is not None
    return {level.asset: level.numbers for level in found.occupancy.levels}


def behind_of(found: Reading) -> float:
    assert found.occupancy is not None
    assert found.occupancy.newest is not None
    return found.occupancy.newest.behind


def test_a_fresh_home(bare: Settings) -> None:
    with reader(bare) as source:
        found = read(source)
    assert set(numbers(found).values()) == {(0, 0, 0, 0, 0)}
    assert found.occupancy is not None
    assert found.occupancy.newest is None
    assert found.services == {}
    assert found.lake == {}
    assert found.definitions is not None
    assert not found.definitions.problems
    assert found.queue is not None
    assert (found.queue.queued, found.queue.ticks) == (0, {})
    assert found.retention is not None
    assert (found.retention.on, found.retention.success_age) == (False, None)


def test_counts_grow_old_and_become_stale(
    live: Settings, source: Reader, now: dt.datetime, week: str
) -> None:
    found = read(source)
    assert numbers(found)["source_occupancy"] == (4, 0, 0, 4, 0)
    assert found.occupancy is not None
    newest = found.occupancy.newest
    assert newest is not None
    assert (newest.chunk, newest.live, newest.rows) == (week, True, None)
    # As old as the chunk: an alert does not fall silent when a new one begins.
    since_monday = (dt.datetime.now(now.tzinfo) - dt.datetime.fromisoformat(week)).total_seconds()
    for age in (newest.counts_age, newest.observed_age):
        assert age is not None
        assert abs(age - since_monday) < 2 * 86_400

    campus.compute_all(live)
    found = read(source)
    assert found.occupancy is not None
    assert found.occupancy.newest is not None
    newest = found.occupancy.newest
    assert numbers(found)["derived_occupancy"] == (4, 4, 0, 0, 0)
    assert newest.counts_age is not None
    assert newest.observed_age is not None
    assert 0 <= newest.counts_age < newest.observed_age < 60
    assert (newest.rows, newest.unfinished, newest.rejected_share) == (2, 0, 0.5)
    assert found.rejects is not None
    assert found.rejects.extraction == 1
    assert found.lake is not None
    assert found.lake["sessions"].files == 2
    assert found.lake["sessions"].size > 1000
    assert found.storage is not None
    assert set(found.storage.databases) == {"warehouse", "dagster", "mlflow"}
    assert found.storage.schemas["tippers"] > 100_000

    text = exposition(found)[0].decode()
    for secret in (MAC, MAC.replace(":", ""), DEVICE_KEY, live.database_url.get_secret_value()):  # type: ignore[union-attr]
        assert secret not in text

    campus.add_sessions(live, [Seen("aa:bb", "r2", now - dt.timedelta(days=1), now)])
    campus.look_again(live)
    found = read(source)
    assert found.occupancy is not None
    assert found.occupancy.newest is not None
    newest = found.occupancy.newest
    assert (newest.unfinished, newest.behind) == (1, 0), "its sessions, just now"
    level = campus.state(live).sessions
    record_attempts(warehouse_engine(live), level, level.stale, dt.datetime.now(dt.UTC))
    behind = behind_of(read(source))
    assert 0 < behind < 30, "since they were requested"
    campus.compute_level(live, "sessions")
    assert 0 < behind_of(read(source)) < 30, "since they were computed"
    campus.compute_all(live)
    assert behind_of(read(source)) == 0


def test_a_reading_changes_nothing(live: Settings, source: Reader) -> None:
    def rows() -> dict[str, int]:
        names = "SELECT tablename FROM pg_tables WHERE schemaname = 'tippers'"
        with warehouse_engine(live).connect() as connection:
            return {
                name: connection.scalar(sa.text(f"SELECT count(*) FROM tippers.{name}")) or 0
                for name in connection.scalars(sa.text(names)).all()
            }

    with dagster_instance(live) as instance:
        instance.delete_dynamic_partition("derived_space", "hall")
        before, keys = rows(), dagster_keys(instance)
        assert numbers(read(source))["derived_occupancy"] == (4, 0, 0, 4, 0)
        assert rows() == before
        assert before["source_token"] == 0, "sources of definitions are not checked"
        assert dagster_keys(instance) == keys


def test_partitions_that_failed(live: Settings, source: Reader) -> None:
    for _ in range(live.max_tries):
        level = campus.state(live).sessions
        record_attempts(warehouse_engine(live), level, level.stale, dt.datetime.now(dt.UTC))
    long_ago = sa.text("UPDATE tippers.attempt SET requested_at = now() - interval '1 day'")
    with warehouse_engine(live).begin() as connection:
        connection.execute(long_ago)
    found = read(source)
    assert numbers(found)["sessions"] == (2, 0, 0, 0, 2)


def test_a_past_that_is_tracked_without_the_present(
    bare: Settings, now: dt.datetime, week: str
) -> None:
    campus.fill(bare, {"hall": None}, [])
    track_space(bare, space="hall", start=dt.date(2025, 1, 6), end=dt.date(2025, 1, 13))
    with dagster_instance(bare) as instance:
        found = read_occupancy_figures(bare, instance)
        assert found.newest is not None
        assert (found.newest.chunk, found.newest.live) == ("2025-01-06", False)
        start = dt.date.fromisoformat(week) + dt.timedelta(7)
        track_space(bare, space="hall", start=start, end=start + dt.timedelta(7))
        assert read_occupancy_figures(bare, instance).newest == found.newest, "the future"


def test_the_queue(live: Settings, source: Reader) -> None:
    @dg.asset
    def other() -> None:
        pass

    repository = dg.Definitions(assets=[other]).get_repository_def()
    job = repository.get_job("__ASSET_JOB")
    with dagster_instance(live) as instance:
        for status in ("QUEUED", "STARTED", "STARTED", "FAILURE"):
            instance.create_run_for_job(
                job, status=dg.DagsterRunStatus[status], remote_job_origin=ORIGIN
            )
    url = databases(live).dagster
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO daemon_heartbeats (daemon_type, daemon_id, timestamp, body) "
            "VALUES ('SENSOR', 'id', now() AT TIME ZONE 'UTC', '{}')"
        )
    queue = read(source).queue
    assert queue is not None
    assert (queue.queued, queue.failed_hour, queue.failed_day) == (1, 1, 1)
    assert queue.running == {"occupancy": 0, "others": 2}
    assert 0 < queue.oldest_wait < 30
    assert 0 < queue.longest_run < 30
    assert set(queue.heartbeats) == {"SENSOR"}


def test_who_waits_for_a_lock(live: Settings, source: Reader) -> None:
    other = keeper.Keeper(databases(live).warehouse)
    done = Event()

    def wait() -> None:
        other.release(other.take(["chunk sessions 2025-01-06"], lambda: None, shared=False))
        done.set()

    with advisory_locks(live, ["chunk sessions 2025-01-06"], LOG):
        thread = Thread(target=wait)
        thread.start()
        time.sleep(1.1)
        found = read(source).database
        assert found is not None
        assert (found.held, found.waiting) == (1, 1)
        assert 1 <= found.longest_wait < 30
    thread.join()
    other.close()
    found = read(source).database
    assert found is not None
    assert (found.held, found.waiting, found.longest_wait) == (0, 0, 0)


def test_sessions_that_wait_for_a_lock_of_postgresql(live: Settings, source: Reader) -> None:
    engine = warehouse_engine(live)

    def wait() -> None:
        with engine.begin() as second:
            second.execute(sa.text("LOCK TABLE tippers.ingested_file IN ROW EXCLUSIVE MODE"))

    def blocked() -> Database:
        found = read(source).database
        assert found is not None
        return found

    with engine.begin() as first:
        first.execute(sa.text("LOCK TABLE tippers.ingested_file IN SHARE MODE"))
        thread = Thread(target=wait)
        thread.start()
        until(lambda: blocked().blocked == 1, 10)
        found = blocked()
        assert found.longest_blocked > 0
        assert found.longest_transaction > 0
    thread.join()
    assert blocked().blocked == 0


def test_a_database_that_does_not_answer(
    live: Settings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "postgresql://ada:hunter2@127.0.0.1:1/dagster"
    monkeypatch.setenv("TIPPERS_DAGSTER_URL", url)
    get_settings.cache_clear()
    with reader(get_settings()) as source:
        found = source.read(60)
    assert set(found.failures) == {"occupancy", "definitions", "queue", "retention", "storage"}
    assert all("hunter2" not in why for why in found.failures.values())
    assert found.occupancy is None
    assert found.rejects is not None, "the warehouse answers"
    assert "hunter2" not in caplog.text
    assert "tippers_up 0.0" in exposition(found)[0].decode()


def test_what_became_of_retention(live: Settings) -> None:
    settings = live.model_copy(update={"presence_days": 1})
    with dagster_instance(live) as instance:
        assert read_retention(settings, instance) == Retention(True, None, 0, 0, 0)
        instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(
                asset_key=RETENTION,
                check_name=NOTHING_HELD,
                passed=False,
                metadata={"held_back": {"2025-01-06": "why", "2025-01-13": "why"}},
            )
        )
        instance.report_runless_asset_event(dg.AssetMaterialization(RETENTION))
        found = read_retention(settings, instance)
    assert found.held_back == 2
    assert found.success_age is not None
    assert found.success_age < 60
