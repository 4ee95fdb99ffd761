"""The campus at a glance."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import numpy as np
import pytest
import sqlalchemy as sa

from streamlit_app.services import overview as service
from streamlit_app.services.app import App
from tests.occupancy.lake import lose_counts
from tests.streamlit_app.conftest import TINY
from tippers_dagster.access.model import NotAllowed, Role
from tippers_dagster.automation.tables import asset_state
from tippers_dagster.campus.source.load import read_source
from tippers_dagster.campus.spaces.tree import load_tree
from tippers_dagster.occupancy.reading import read_occupancy
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.simulation import simulate_campus

HOUR, WEEK = dt.timedelta(hours=1), dt.timedelta(7)


def count(app: App, space: str, hour: dt.datetime) -> int:
    table = read_occupancy(space, hour, hour + HOUR, 3600, settings=app.settings)
    return int(table["number_connections"][0].as_py())


def test_now_is_the_last_complete_hour_of_an_old_log(campus_app: App) -> None:
    root = load_tree(campus_app.settings).roots[0]
    now = service.now(campus_app.settings, root)
    assert now is not None
    assert now.is_old
    assert now.hour + HOUR <= now.log_end < now.hour + 2 * HOUR
    assert now.devices == count(campus_app, root, now.hour)
    assert now.past == [count(campus_app, root, now.hour - WEEK), None, None, None]
    assert now.usually == now.past[0]
    assert len(now.day.counts) == 24
    assert now.usual[-1] == now.past[0]
    assert not np.isnan(now.usual).any()


def test_now_without_past_weeks_has_nothing_usual(campus_app: App) -> None:
    root = load_tree(campus_app.settings).roots[0]
    lose_counts(open_lake(campus_app.settings), root, "2025-01-20")
    now = service.now(campus_app.settings, root)
    assert now is not None
    assert now.usually is None
    assert np.isnan(now.usual).all()


def test_the_busiest_spaces_come_first_and_unknown_ones_last(campus_app: App) -> None:
    tree = load_tree(campus_app.settings)
    found = service.last_hour(campus_app.settings)
    assert found is not None
    hour, log = found
    lost = tree.children(tree.roots[0])[0]
    lose_counts(open_lake(campus_app.settings), lost, "2025-01-27")
    buildings = service.busiest(campus_app.settings, tree, hour, log)
    assert buildings[-1].space == lost
    assert buildings[-1].devices is None
    counts = [b.devices or 0 for b in buildings]
    assert counts == sorted(counts, reverse=True)
    first = buildings[0]
    assert first.devices == count(campus_app, first.space, hour)
    assert first.usual == count(campus_app, first.space, hour - WEEK)


def test_freshness_and_rejects_are_those_of_the_records(campus_app: App) -> None:
    tree = load_tree(campus_app.settings)
    fresh = service.freshness(campus_app.settings, tree)
    assert (fresh.roots, fresh.spaces, fresh.chunks) == (len(tree.roots), len(tree), 2)
    assert (fresh.first_chunk, fresh.last_chunk) == ("2025-01-20", "2025-01-27")
    assert fresh.computed_at is not None
    rejected = service.rejected(campus_app.settings)
    rows = read_source(campus_app.settings, "SELECT count(*) AS n FROM source.user_ap_trajectory")
    assert rejected.rows == sum(rejected.reasons.values()) > 0
    repeated = sum(batch.repeated for batch in simulate_campus(TINY).batches())
    assert rejected.of >= rows["n"][0].as_py() - repeated
    assert set(rejected.reasons) <= {"no device", "end before start", "unknown space"}


def test_an_empty_deployment_has_nothing_now(empty_app: App) -> None:
    assert service.now(empty_app.settings, "1") is None
    assert service.last_hour(empty_app.settings) is None
    empty = service.rejected(empty_app.settings)
    assert (empty.rows, empty.reasons, empty.ingested) == (0, {}, {})
    assert service.failed_assets(empty_app.settings) == []
    assert service.failed_runs(empty_app) == []
    assert service.running(empty_app) == []


def test_failed_definitions_are_listed_until_they_succeed(
    empty_app: App, as_role: Callable[[App, Role], App]
) -> None:
    now = dt.datetime.now(dt.UTC)
    rows = [
        {"asset": "device/bad", "tries": 3, "error": "boom", "failed_at": now},
        {"asset": "device/fixed", "tries": 1, "error": "x", "failed_at": now - HOUR,
         "materialized_at": now},
    ]  # fmt: skip
    with warehouse_engine(empty_app.settings).begin() as connection:
        for row in rows:
            connection.execute(sa.insert(asset_state).values(failed_version="v", details={}, **row))
    (found,) = service.failed_assets(empty_app.settings)
    assert (found.name, found.error, found.will_retry) == ("device/bad", "boom", True)
    never = empty_app.settings.model_copy(update={"retry_later_seconds": 0})
    assert not service.failed_assets(never)[0].will_retry
    with pytest.raises(NotAllowed):
        service.retry_definitions(as_role(empty_app, Role.VIEWER))
    assert service.retry_definitions(empty_app) == 2
    assert service.failed_assets(empty_app.settings) == []
