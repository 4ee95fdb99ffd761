"""Dagster's storage keeps its connections."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2
import pytest
import sqlalchemy as sa
import yaml
from dagster import AssetKey, DagsterInstance, DagsterInvalidConfigError
from psycopg2.extensions import parse_dsn

from tests.stack.waiting import until
from tippers_dagster.platform.dagster.environment import dagster_environment, packaged_file
from tippers_dagster.platform.dagster.storage import POOL_SIZE
from tippers_dagster.platform.postgres.databases import databases
from tippers_dagster.settings import Settings


@pytest.fixture
def instance(stack: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[DagsterInstance]:
    """The instance that ``dagster.yaml`` describes."""
    for name, value in dagster_environment(stack).items():
        monkeypatch.setenv(name, value)
    with DagsterInstance.get() as instance:
        yield instance


def use(instance: DagsterInstance) -> None:
    """Ask each part of the storage something."""
    instance.get_runs(limit=1)
    instance.fetch_materializations(AssetKey("any"), limit=1)
    instance.all_instigator_state()
    instance.get_ticks("origin", "selector", limit=1)


def backends(settings: Settings) -> set[int]:
    """Process ids of the connections to Dagster's database."""
    # Asked from another database: what asked the last time may still be ending.
    connection = psycopg2.connect(databases(settings).warehouse)
    with connection, connection.cursor() as cursor:
        name = parse_dsn(databases(settings).dagster)["dbname"]
        cursor.execute("SELECT pid FROM pg_stat_activity WHERE datname = %s", (name,))
        found = {pid for (pid,) in cursor.fetchall()}
    connection.close()
    return found


def test_statements_share_connections(stack: Settings, instance: DagsterInstance) -> None:
    use(instance)
    before = backends(stack)
    assert 1 <= len(before) <= POOL_SIZE
    for _ in range(5):
        use(instance)
    assert backends(stack) == before


def test_instances_of_a_process_share_connections(
    stack: Settings, instance: DagsterInstance
) -> None:
    use(instance)
    before = backends(stack)
    with DagsterInstance.from_ref(instance.get_ref()) as other:
        use(other)
    assert backends(stack) == before


def test_another_instance_connects_to_nothing(instance: DagsterInstance) -> None:
    use(instance)
    with connections() as made, DagsterInstance.from_ref(instance.get_ref()) as other:
        use(other)
    assert made == []


@contextmanager
def connections() -> Iterator[list[object]]:
    """What is connected to within the block."""
    made: list[object] = []

    def note(*given: object) -> None:
        made.append(given)

    sa.event.listen(sa.Engine, "do_connect", note)
    yield made
    sa.event.remove(sa.Engine, "do_connect", note)


def test_lost_connections_are_replaced(stack: Settings, instance: DagsterInstance) -> None:
    use(instance)
    before = backends(stack)
    connection = psycopg2.connect(databases(stack).dagster)
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pid) FROM unnest(%s) AS pid", (list(before),))
    connection.close()
    until(lambda: backends(stack).isdisjoint(before), 10)
    use(instance)
    assert backends(stack).isdisjoint(before)


def test_tables_are_looked_for_once(instance: DagsterInstance) -> None:
    use(instance)
    asked: list[str] = []
    engine = instance.schedule_storage._engine
    sa.event.listen(engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    use(instance)
    assert asked
    assert not [sql for sql in asked if "pg_catalog" in sql or "secondary_indexes" in sql]


def test_another_way_to_log_in_is_refused(tmp_path: Path) -> None:
    found = yaml.safe_load(packaged_file("dagster.yaml").read_text())
    found["storage"]["custom"]["config"]["auth_provider"] = {"azure": {}}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(found))
    with pytest.raises(DagsterInvalidConfigError, match="auth_provider"):
        DagsterInstance.from_config(str(tmp_path))
