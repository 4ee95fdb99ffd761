"""Tables of connections as assets, kept up to date by the automation of definitions."""

from __future__ import annotations

import datetime as dt

import dagster as dg
import pytest
import sqlalchemy as sa

from tests.connections.conftest import PASSWORD, Other, rows
from tippers_dagster.automation.nodes import in_dependency_order
from tippers_dagster.automation.snapshot import Snapshot
from tippers_dagster.automation.state import load_states
from tippers_dagster.automation.tables import asset_state
from tippers_dagster.catalog.kinds import ConnectionTable
from tippers_dagster.catalog.store import load_catalog
from tippers_dagster.connections import store
from tippers_dagster.connections.assets import connection_assets, connection_nodes
from tippers_dagster.platform.dagster.environment import dagster_instance
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

ENROLMENT = dg.AssetKey(["connection", "registrar", "enrolment"])
ROOM = dg.AssetKey(["connection", "registrar", "room"])


@pytest.fixture
def chosen(campus: Settings) -> Settings:
    wanted = ConnectionTable(name="enrolment", cursor="changed_at")
    store.choose(campus, "registrar", wanted, by="ada")
    store.choose(campus, "registrar", ConnectionTable(name="room"), by="ada")
    return campus


def materialize(settings: Settings, *keys: dg.AssetKey) -> dg.ExecuteInProcessResult:
    catalog = load_catalog(settings)
    assets = connection_assets(settings, catalog, connection_nodes(settings, catalog))
    with dagster_instance(settings) as instance:
        return dg.materialize(
            assets, instance=instance, selection=list(keys) or None, raise_on_error=False
        )


def asked(settings: Settings, *, later: float = 0) -> set[str]:
    """What automation would request after this many seconds."""
    catalog = load_catalog(settings)
    nodes = in_dependency_order(connection_nodes(settings, catalog))
    with dagster_instance(settings) as instance:
        taken = Snapshot.take(settings, instance, nodes)
    then = taken.now + dt.timedelta(seconds=later)
    moved = Snapshot(
        settings, taken.nodes, taken.wanted, taken.states, taken.running, then, taken.tokens
    )
    return {node.key[-1] for node in moved.asked}


def versions(settings: Settings) -> dict[str, str | None]:
    return {name.split("/")[-1]: state.version for name, state in load_states(settings).items()}


def test_each_table_is_an_asset_with_metadata(chosen: Settings) -> None:
    catalog = load_catalog(chosen)
    (assets,) = connection_assets(chosen, catalog, connection_nodes(chosen, catalog))
    assert assets.keys == {ENROLMENT, ROOM}
    spec = assets.specs_by_key[ENROLMENT]
    assert spec.group_name == "connections"
    assert spec.metadata["dagster/table_name"] == "connection_registrar.enrolment"
    done = materialize(chosen)
    assert done.success
    (found,) = [m for m in done.get_asset_materialization_events() if m.asset_key == ENROLMENT]
    metadata = found.materialization.metadata
    assert metadata["dagster/row_count"].value == 100
    assert metadata["last_cursor"].value == "2025-01-05 04:00:00"
    assert metadata["dagster/column_schema"].value.columns[0].name == "id"
    assert found.materialization.tags["dagster/data_version"] == versions(chosen)["enrolment"]


def test_single_tables_can_be_synced(chosen: Settings) -> None:
    assert materialize(chosen, ROOM).success
    assert set(versions(chosen)) == {"room"}


def test_a_version_changes_only_with_rows(chosen: Settings, other: Other) -> None:
    materialize(chosen)
    first = versions(chosen)
    materialize(chosen)
    assert versions(chosen) == first
    other.run("INSERT INTO enrolment VALUES (101, 'new', 1, NULL, '2025-02-01')")
    materialize(chosen)
    assert versions(chosen)["room"] == first["room"]
    assert versions(chosen)["enrolment"] != first["enrolment"]


def test_tables_are_due_when_new_and_then_periodically(chosen: Settings) -> None:
    assert asked(chosen) == {"enrolment", "room"}
    materialize(chosen)
    assert asked(chosen) == set()
    assert asked(chosen, later=3500) == set()
    assert asked(chosen, later=3601) == {"enrolment", "room"}
    store.choose(chosen, "registrar", ConnectionTable(name="enrolment"), by="ada")
    assert asked(chosen) == {"enrolment"}


def test_a_new_password_does_not_change_the_version(chosen: Settings) -> None:
    materialize(chosen)
    store.edit(chosen, "registrar", {}, by="ada", password=PASSWORD)
    assert asked(chosen) == set()


def test_a_failing_table_does_not_stop_others_and_is_retried(
    chosen: Settings, other: Other
) -> None:
    materialize(chosen)
    other.run("DROP TABLE enrolment; INSERT INTO room VALUES ('c', 1)")
    done = materialize(chosen)
    assert not done.success
    assert rows(chosen, "SELECT count(*) FROM connection_registrar.room") == [(4,)]
    assert rows(chosen, "SELECT count(*) FROM connection_registrar.enrolment") == [(100,)]
    state = load_states(chosen)["connection/registrar/enrolment"]
    assert "no table" in str(state.error)
    assert state.tries == 1
    # Due, but held back; then tried at each normal interval, however often it failed.
    assert asked(chosen, later=3601) == {"enrolment", "room"}
    for _ in range(chosen.max_tries):
        materialize(chosen, ENROLMENT)
    assert asked(chosen, later=3500) == set()
    assert "enrolment" in asked(chosen, later=3700)


def test_no_log_no_event_no_state_holds_the_password(
    chosen: Settings, other: Other, capfd: pytest.CaptureFixture[str]
) -> None:
    other.run("ALTER ROLE campus_reader CONNECTION LIMIT 0")
    try:
        assert not materialize(chosen).success
    finally:
        other.run("ALTER ROLE campus_reader CONNECTION LIMIT -1")
    shown = capfd.readouterr()
    assert "too many connections" in shown.err + shown.out
    assert "p@ss" not in shown.err + shown.out
    with warehouse_engine(chosen).connect() as connection:
        errors = connection.scalars(sa.select(asset_state.c.error)).all()
    assert errors
    assert not any("p@ss" in str(error) for error in errors)
    with dagster_instance(chosen) as instance:
        for run in instance.get_runs():
            assert not any("p@ss" in repr(event) for event in instance.all_logs(run.run_id))
