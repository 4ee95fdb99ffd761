"""A backup of one deployment, restored into another, is the same deployment."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet

from tests.backup.other_machine import other_machine
from tests.conftest import SessionServer
from tests.connections.conftest import PASSWORD, Other, guarded, other
from tests.graph.conftest import bare
from tests.graph.small import ALL, Small
from tippers_dagster.automation.snapshot import Snapshot
from tippers_dagster.automation.tokens import check_sources
from tippers_dagster.backup import making
from tippers_dagster.backup.copying import LakeCopy
from tippers_dagster.backup.making import make_backup
from tippers_dagster.backup.manifest import BackupError, Void
from tippers_dagster.backup.restoring import restore
from tippers_dagster.campus.source.changes import NOTES
from tippers_dagster.catalog.store import load_catalog
from tippers_dagster.connections import secrets
from tippers_dagster.connections import store as connections
from tippers_dagster.labelling.gold import give
from tippers_dagster.occupancy.state import SESSIONS
from tippers_dagster.occupancy.tables import partition_figures
from tippers_dagster.platform.dagster.environment import dagster_instance
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings
from tippers_dagster.sql.roles import faults, roles_of

__all__ = ["bare", "guarded", "other"]

PASSPHRASE = b"a long passphrase"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counters of rows are flushed by closing connections, not waited for."""
    monkeypatch.setattr(making, "COUNTERS_SECONDS", 1.5)


def rows_of(settings: Settings) -> dict[str, int]:
    """Rows of all tables that a backup has, by name."""
    query = (
        "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace "
        "WHERE relkind = 'r' AND nspname !~ '^(pg_|information_schema|log$)'"
    )
    with warehouse_engine(settings).connect() as connection:
        names = [f'"{schema}"."{name}"' for schema, name in connection.exec_driver_sql(query)]
        return {
            name: connection.exec_driver_sql(f"SELECT count(*) FROM {name}").scalar_one()
            for name in names
            if name not in ('"tippers"."restored_token"', '"tippers"."held_lock"')
        }


def versions(settings: Settings) -> dict[str, tuple[str, str]]:
    """The state of each definition's asset, after all sources were checked."""
    with dagster_instance(settings) as instance:
        nodes = Small(settings, instance).pipeline().nodes
        check_sources(settings, nodes, at_once=True)
        Snapshot.take(settings, instance, nodes)
        return {
            name: (status.standing, str(status.materialized_at))
            for name, status in Small(settings, instance).status().items()
        }


def lake_content(settings: Settings) -> dict[str, bytes]:
    lake = open_lake(settings)
    return {key: lake.read_bytes(key) for key in lake.list()}


@pytest.mark.slow
def test_from_one_machine_to_another_and_back(
    bare: Settings,
    other: Other,
    s3_server: str,
    session_server: SessionServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with dagster_instance(bare) as instance:
        small = Small(bare, instance)
        small.save(*ALL)
        small.computed()
    give(bare, "device", "aa:bb:cc:dd:ee:00", "A", by="ada")
    connections.add(bare, "registrar", other.fields, by="ada", password=PASSWORD)
    before, rows, files = versions(bare), rows_of(bare), lake_content(bare)
    assert {"fresh"} == {state for state, _ in before.values()}
    made = make_backup(bare, tmp_path / "first", "encrypted", PASSPHRASE)
    assert made.manifest.void == Void()
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "first").rglob("*")}
    assert modes == {0o600, 0o700}
    assert PASSWORD.encode() not in (tmp_path / "first" / "keys.json").read_bytes()

    from tests.conftest import new_bucket

    bucket = new_bucket(s3_server)
    with other_machine(
        session_server, tmp_path / "second", monkeypatch, **bucket.environment
    ) as second:
        restore(second, tmp_path / "first", PASSPHRASE)
        assert rows_of(second) == rows
        assert lake_content(second) == files
        assert versions(second) == before
        catalog = load_catalog(second)
        found = next(d for d in catalog.definitions.values() if d.ref.name == "registrar")
        assert secrets.decrypt(second, "registrar", found.body) == PASSWORD  # type: ignore[arg-type]
        with warehouse_engine(second).connect() as connection:
            assert faults(connection, second, roles_of(second)) == []
        # Ids go on where they were.
        give(second, "device", "aa:bb:cc:dd:ee:01", "B", by="ada")
        with dagster_instance(second) as instance:
            assert Small(second, instance).materialize() == {}
        make_backup(second, tmp_path / "again", "readable")
    with other_machine(session_server, tmp_path / "third", monkeypatch) as third:
        restore(third, tmp_path / "again")
        assert lake_content(third) == files
        assert {n: s for n, (s, _) in versions(third).items()} == {
            n: s for n, (s, _) in before.items()
        }


@pytest.fixture
def extracted(bare: Settings) -> Settings:
    """A deployment with sessions in the lake, and no definitions."""
    return bare


def test_what_is_replaced_during_the_backup_is_computed_again(
    extracted: Settings,
    session_server: SessionServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(making, "MAX_ATTEMPTS", 1)
    busy = Busy(extracted, monkeypatch, always=True)
    made = make_backup(extracted, tmp_path / "copy", "readable")
    assert made.manifest.void.partitions == [(SESSIONS, busy.chunk)]
    with other_machine(session_server, tmp_path / "second", monkeypatch) as second:
        done = restore(second, tmp_path / "copy")
        assert done.void.partitions == [(SESSIONS, busy.chunk)]
        with warehouse_engine(second).connect() as connection:
            query = sa.text("SELECT asset, chunk FROM tippers.replacing")
            assert connection.execute(query).all() == [(SESSIONS, busy.chunk)]


def test_a_quiet_moment_is_waited_for(
    extracted: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "PAUSE_SECONDS", 0)
    busy = Busy(extracted, monkeypatch, always=False)
    made = make_backup(extracted, tmp_path / "copy", "none")
    assert made.manifest.void == Void()
    file = tmp_path / "copy" / "lake" / busy.key
    assert file.read_bytes() == open_lake(extracted).read_bytes(busy.key)


class Busy:
    """A run that replaces a file and records it whenever the lake is copied a second time."""

    def __init__(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch, *, always: bool
    ) -> None:
        figures = partition_figures.c
        with warehouse_engine(settings).connect() as connection:
            query = sa.select(figures.chunk).where(figures.asset == SESSIONS)
            self.chunk = str(connection.scalars(query).first())
        self.key = f"sessions/chunk={self.chunk}.parquet"
        refresh, self._calls = LakeCopy.refresh, 0

        def busy(copy: LakeCopy) -> None:
            refresh(copy)
            self._calls += 1
            if self._calls == 2 or (always and self._calls > 1):
                lake = open_lake(settings)
                table = lake.read_table(self.key)
                lake.write_table(self.key, pa.concat_tables([table, table]))
                with warehouse_engine(settings).begin() as connection:
                    connection.execute(
                        sa.update(partition_figures)
                        .where(figures.asset == SESSIONS, figures.chunk == self.chunk)
                        .values(computed_at=sa.func.now())
                    )

        monkeypatch.setattr(LakeCopy, "refresh", busy)


def test_a_backup_is_written_whole_or_not_at_all(
    extracted: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "copy"

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(making, "dump", fail)
        with pytest.raises(Exception, match="is full"):
            make_backup(extracted, target, "readable")
    assert not list(tmp_path.glob("*copy*"))
    target.mkdir()
    with pytest.raises(BackupError, match="exists"):
        make_backup(extracted, target, "readable")
    target.rmdir()
    with monkeypatch.context() as patch:
        patch.setattr(making, "_database_bytes", lambda _: 1 << 60)
        with pytest.raises(BackupError, match="MB free; the backup needs"):
            make_backup(extracted, target, "readable")
    assert not list(tmp_path.glob("*copy*"))


@contextmanager
def _then(block: AbstractContextManager[Any], act: Callable[[], object]) -> Iterator[Any]:
    with block as value:
        act()
        yield value


@pytest.mark.parametrize("moment", ["snapshot", "dump"])
def test_keys_may_be_rotated_during_a_backup(
    moment: str,
    extracted: Settings,
    other: Other,
    session_server: SessionServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connections.add(extracted, "registrar", other.fields, by="ada", password=PASSWORD)
    original = getattr(making, moment)

    def rotated(*arguments: Any) -> Any:
        result = original(*arguments)
        patch.setattr(making, moment, original)
        if moment == "dump":
            secrets.rotate(extracted)
            return result
        return _then(result, lambda: secrets.rotate(extracted))

    with monkeypatch.context() as patch:
        patch.setattr(making, moment, rotated)
        make_backup(extracted, tmp_path / "copy", "readable")
    with other_machine(session_server, tmp_path / "second", monkeypatch) as second:
        done = restore(second, tmp_path / "copy")
        assert not any("No key" in note for note in done.notes)
        assert secrets.undecryptable(second) == []
    keys = tmp_path / "copy" / "keys.json"
    foreign = {"secrets_keys": [Fernet.generate_key().decode()]}
    keys.write_text(json.dumps(json.loads(keys.read_text()) | foreign))
    with other_machine(session_server, tmp_path / "third", monkeypatch) as third:
        done = restore(third, tmp_path / "copy")
        assert any("No key" in note and "registrar" in note for note in done.notes)


def test_change_notes_are_left_out(extracted: Settings, tmp_path: Path) -> None:
    with warehouse_engine(extracted).begin() as connection:
        connection.execute(sa.text(f"CREATE TABLE source.{NOTES} (first date)"))
    manifest = make_backup(extracted, tmp_path / "copy", "none").manifest
    assert ("source", NOTES) not in [tuple(t.place) for t in manifest.warehouse.tables]
    assert manifest.warehouse.left_out == []


def test_mlflows_store_moves_with_its_artifacts(
    extracted: Settings,
    session_server: SessionServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from mlflow import MlflowClient

    from tests.conftest import enter
    from tippers_dagster.platform.warehouse.engine import sqlalchemy_url

    def database() -> dict[str, str]:
        return {
            "TIPPERS_MLFLOW_URL": "http://127.0.0.1:1",
            "TIPPERS_MLFLOW_DATABASE_URL": session_server.create(),
        }

    first = database() | {"TIPPERS_MLFLOW_ARTIFACTS_URL": str(tmp_path / "artifacts")}
    for name, value in first.items():
        monkeypatch.setenv(name, value)
    client = MlflowClient(sqlalchemy_url(first["TIPPERS_MLFLOW_DATABASE_URL"]))
    ours = client.create_experiment("ours", "mlflow-artifacts:/7")
    hostile = client.create_experiment("hostile", "file:///etc")
    run = client.create_run(ours)
    client.log_metric(run.info.run_id, "accuracy", 0.5)
    (tmp_path / "artifacts" / "7").mkdir(parents=True)
    (tmp_path / "artifacts" / "7" / "model").write_text("content")
    import os

    settings = enter(monkeypatch, {k: v for k, v in os.environ.items() if k.startswith("TIPPERS_")})
    make_backup(settings, tmp_path / "copy", "readable")
    second = database() | {"TIPPERS_MLFLOW_ARTIFACTS_URL": str(tmp_path / "moved")}
    with other_machine(session_server, tmp_path / "second", monkeypatch, **second) as target:
        restore(target, tmp_path / "copy")
        client = MlflowClient(sqlalchemy_url(second["TIPPERS_MLFLOW_DATABASE_URL"]))
        assert client.get_run(run.info.run_id).data.metrics == {"accuracy": 0.5}
        assert client.get_experiment(ours).artifact_location == "mlflow-artifacts:/7"
        found = client.get_experiment(hostile).artifact_location
        assert found == "mlflow-artifacts:/not-in-backup"
        assert (tmp_path / "moved" / "7" / "model").read_text() == "content"
    for values in (first, second):
        session_server.drop(values["TIPPERS_MLFLOW_DATABASE_URL"])
