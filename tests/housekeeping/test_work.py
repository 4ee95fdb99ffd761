"""What runs leave behind is deleted; what Dagster's pages show of every partition stays."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from contextlib import closing
from typing import Any

import dagster as dg
import psycopg2
import pytest
import sqlalchemy as sa

from tests.occupancy import campus
from tests.occupancy.campus import look_again
from tests.occupancy.test_automation import Automation, deployment, seen, small
from tippers_dagster.automation.mlflow_runs import CHILD_TAG
from tippers_dagster.automation.tables import asset_state
from tippers_dagster.housekeeping.assets import KEY, housekeeping, housekeeping_definitions
from tippers_dagster.housekeeping.work import KEPT_DURATIONS, clean_up
from tippers_dagster.occupancy.state import ASSETS, DAYS, DERIVED, SESSIONS, SOURCE
from tippers_dagster.platform.mlflow.client import mlflow_client
from tippers_dagster.platform.postgres.databases import databases
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings, get_settings

__all__ = ["deployment"]

pytestmark = pytest.mark.slow

NOW = dt.datetime.now(dt.UTC)
SOON, LATER = NOW + dt.timedelta(hours=2), NOW + dt.timedelta(days=1)
MUCH_LATER = NOW + dt.timedelta(days=60)
CHECKS = ((SESSIONS, "rejected_share"), (DERIVED, "between_children"))


def storage(settings: Settings, statement: str, *values: object) -> Any:
    """The first row of a statement's result in Dagster's storage."""
    with (
        closing(psycopg2.connect(databases(settings).dagster)) as connection,
        connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(statement, values)
        return cursor.fetchone() if cursor.description else None


def events(settings: Settings, condition: str) -> int:
    return storage(settings, f"SELECT count(*) FROM event_logs WHERE {condition}")[0]


def shown(instance: dg.DagsterInstance) -> dict[str, Any]:
    """What pages show: partitions with their last materialization, and the results of checks."""
    found: dict[str, Any] = {}
    for asset in ASSETS:
        key = dg.AssetKey(asset)
        records = instance.fetch_materializations(key, limit=10_000).records
        # The latest are the first.
        last = {r.partition_key: r.asset_materialization.metadata for r in reversed(records)}
        assert set(last) == set(instance.get_materialized_partitions(key))
        found[asset] = last
    for asset, name in CHECKS:
        check = dg.AssetCheckKey(dg.AssetKey(asset), f"{asset}__{name}")
        record = instance.event_log_storage.get_latest_asset_check_execution_by_key([check])[check]
        event = record.event.dagster_event.asset_check_evaluation_data
        found[name] = (record.status, event.passed, event.metadata)
    return found


def late(auto: Automation, n: int = 0) -> None:
    campus.add_sessions(auto.settings, [seen(f"late{n}", "b1r3", 1)])
    look_again(auto.settings)


def lived(auto: Automation, changes: int = 4) -> None:
    """A deployment with some changes after its first run."""
    small(auto)
    auto.until_quiet()
    for n in range(changes):
        late(auto, n)
        auto.until_quiet()


def test_the_past_is_deleted_and_pages_show_the_same(
    deployment: Callable[..., Automation],
) -> None:
    auto = deployment()
    lived(auto)
    settings, before = auto.settings, shown(auto.instance)
    assert clean_up(settings, SOON).runs == 0, "not yet"

    assert clean_up(settings, LATER).runs == 5
    assert shown(auto.instance) == before
    assert auto.instance.get_runs() == []
    of_partitions = "dagster_event_type = 'ASSET_MATERIALIZATION'"
    assert events(settings, of_partitions) == sum(len(before[asset]) for asset in ASSETS)
    assert events(settings, f"({of_partitions}) IS NOT TRUE") == 6, "the results of checks"
    of_nothing = "SELECT count(*) FROM asset_event_tags WHERE event_id NOT IN "
    assert storage(settings, of_nothing + "(SELECT id FROM event_logs)") == (0,)
    again = clean_up(settings, LATER)
    assert (again.events, again.runs) == (0, 0)

    # Automation goes on as if nothing had happened.
    late(auto, 9)
    assert auto.until_quiet() == [{SESSIONS: 1, SOURCE: 1, DERIVED: 2, DAYS: 1}]


def test_the_server_s_zone_does_not_matter(deployment: Callable[..., Automation]) -> None:
    auto = deployment()
    name = storage(auto.settings, "SELECT current_database()")[0]
    storage(auto.settings, f"ALTER DATABASE \"{name}\" SET timezone = 'Asia/Tokyo'")
    auto.instance.run_storage._engine.dispose()
    lived(auto, changes=1)
    assert clean_up(auto.settings, SOON).runs == 0
    assert clean_up(auto.settings, LATER).runs == 2


def test_failed_runs_and_those_of_people_are_kept_for_longer(
    deployment: Callable[..., Automation], monkeypatch: pytest.MonkeyPatch
) -> None:
    auto = deployment()
    lived(auto, changes=0)
    by_hand = dg.materialize([housekeeping], instance=auto.instance)
    assert by_hand.success
    late(auto)
    (request,) = auto.requests()

    def fails(*given: object) -> object:
        raise ValueError("broken")

    monkeypatch.setattr("tippers_dagster.occupancy.assets.compute_due", fails)
    failed = auto.run(request)
    assert not failed.success
    clean_up(auto.settings, LATER)
    assert {run.run_id for run in auto.instance.get_runs()} == {by_hand.run_id, failed.run_id}
    assert clean_up(auto.settings, MUCH_LATER).runs == 2
    assert auto.instance.get_latest_materialization_event(KEY) is not None


def test_folders_of_runs_that_are_gone(deployment: Callable[..., Automation]) -> None:
    auto = deployment()
    lived(auto, changes=0)
    folder = auto.settings.home_path / "dagster" / "storage"
    (run,) = auto.instance.get_runs()
    logs = folder / run.run_id / "compute_logs"
    logs.mkdir(parents=True, exist_ok=True)
    (logs / "step.err").write_text("log")
    other, outside = folder / "session_source_observer", auto.settings.home_path / "outside"
    other.mkdir()
    outside.mkdir()
    (folder / "11111111-2222-3333-4444-555555555555").symlink_to(outside)
    assert clean_up(auto.settings, SOON).folders == 0
    assert clean_up(auto.settings, LATER).folders == 1
    assert not logs.exists()
    assert other.is_dir()
    assert outside.is_dir()


def test_ticks_evaluations_and_durations(deployment: Callable[..., Automation]) -> None:
    auto = deployment()
    lived(auto, changes=0)
    for status in ("SKIPPED", "SUCCESS", "FAILURE"):
        storage(
            auto.settings,
            "INSERT INTO job_ticks (job_origin_id, selector_id, status, type, timestamp, "
            "tick_body) VALUES ('x', 'x', %s, 'SENSOR', now() AT TIME ZONE 'UTC', '{}')",
            status,
        )
    storage(
        auto.settings,
        "INSERT INTO asset_daemon_asset_evaluations (evaluation_id, asset_key, "
        "asset_evaluation_body) SELECT n, '[\"sessions\"]', '{}' FROM generate_series(1, 9) n",
    )
    with warehouse_engine(auto.settings).begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO tippers.run_duration SELECT 'r' || n, 'sessions', 1, 1.0, "
                "now() - n * interval '1 hour' FROM generate_series(1, 200) n"
            )
        )
    deleted = clean_up(auto.settings, LATER)
    assert (deleted.ticks, deleted.evaluations, deleted.durations) == (1, 8, 0)
    deleted = clean_up(auto.settings, MUCH_LATER)
    assert (deleted.ticks, deleted.evaluations) == (2, 0)
    assert deleted.durations == 201 - KEPT_DURATIONS


def test_mlflow_runs_that_nothing_needs(stack: Settings, own_mlflow: str) -> None:
    settings = get_settings()
    artifacts = settings.home_path / "artifacts"
    with mlflow_client(settings) as client:
        experiment = client.create_experiment("ours", artifacts.as_uri())

        def run(name: str, *, ended: bool = True, **tags: str) -> str:
            made = client.create_run(experiment, run_name=name, tags=tags).info.run_id
            client.log_text(made, "content", "file.txt")
            if ended:
                client.set_terminated(made)
            return str(made)

        recorded = run("recorded", dagster_run_id="1")
        child = run("child", **{CHILD_TAG: "1", "mlflow.parentRunId": recorded})
        old = run("old", dagster_run_id="2")
        old_child = run("old child", **{CHILD_TAG: "2", "mlflow.parentRunId": old})
        registered = run("registered", dagster_run_id="3")
        running = run("running", ended=False, dagster_run_id="4")
        notebook = run("notebook")
        binned = client.create_experiment("theirs")
        theirs = client.create_run(binned).info.run_id
        client.delete_experiment(binned)
        client.create_registered_model("model")
        client.create_model_version("model", f"runs:/{registered}/model", registered)
    with warehouse_engine(settings).begin() as connection:
        row = {"asset": "device/m", "details": {"mlflow_run": recorded}}
        connection.execute(sa.insert(asset_state).values(**row))
    assert (artifacts / old).is_dir()
    assert clean_up(settings, LATER).mlflow_runs == 0
    assert clean_up(settings, MUCH_LATER).mlflow_runs == 2
    with mlflow_client(settings) as client:
        left = {r.info.run_id for r in client.search_runs([experiment], run_view_type=3)}
        client.restore_experiment(binned)
        assert client.get_run(theirs).info.run_id == theirs, "what others deleted can be restored"
    assert left == {recorded, child, registered, running, notebook}
    assert not list((artifacts / old).rglob("*.txt"))
    assert not list((artifacts / old_child).rglob("*.txt"))


def test_the_schedule_is_on_from_the_start(stack: Settings) -> None:
    (schedule,) = housekeeping_definitions(stack).schedules or ()
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
