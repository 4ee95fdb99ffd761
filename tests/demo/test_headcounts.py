"""People counts compared with the truth of a tiny simulated campus, with true labels of phones."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from tests.occupancy.campus import Seen, compute_all, fill
from tippers_dagster.campus.source.schema import TRUTH_DEVICE, source_tables
from tippers_dagster.campus.spaces.tracking import track
from tippers_dagster.campus.spaces.tree import load_tree
from tippers_dagster.demo.headcounts import LEVELS, WAYS, NoTruth, evaluate_people, head_counts
from tippers_dagster.demo.identities import evaluate_identities
from tippers_dagster.people.counts.head_counts import import_head_counts, read_head_counts
from tippers_dagster.platform.table_files import write_table
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings
from tippers_dagster.simulation import CampusOptions, simulate_campus, write_campus

FIRST, DAYS = dt.date(2025, 1, 20), 8
LABELS = """CREATE TABLE labels.device__device_type AS SELECT mac_address,
    device_type AS label, (device_type = 'PHONE')::int::float8 AS p_phone,
    (device_type = 'LAPTOP')::int::float8 AS p_laptop,
    (device_type = 'STATIC')::int::float8 AS p_static, '1' AS version FROM {truth}"""


pytestmark = pytest.mark.slow


@pytest.fixture
def campus(stack: Settings) -> Settings:
    options = CampusOptions(people=150, buildings=2, days=DAYS, start=FIRST, seed=3)
    write_campus(stack, simulate_campus(options))
    for root in load_tree(stack).roots:
        track(stack, space=root, start=FIRST, end=FIRST + dt.timedelta(DAYS))
    compute_all(stack)
    with warehouse_engine(stack).begin() as connection:
        connection.execute(sa.text("CREATE SCHEMA IF NOT EXISTS labels"))
        truth = source_tables(stack)[TRUTH_DEVICE].sql
        connection.execute(sa.text(LABELS.format(truth=truth)))
    return stack


def test_phones_are_closer_to_people_than_devices(campus: Settings, tmp_path: Path) -> None:
    found = {(r.level, r.way): r for r in evaluate_people(campus)}
    assert set(found) == {(level, way) for level in LEVELS for way in WAYS}
    for level in LEVELS:
        devices, calibrated, phones, both = (found[level, way] for way in WAYS)
        assert devices.people == phones.people > 0
        assert devices.bins == both.bins == devices.spaces * DAYS // 2 * 96
        assert devices.coverage is None
        assert calibrated.coverage is not None
        assert both.coverage is not None
        assert both.coverage > 0.8
    for level in ("floors", "buildings"):
        devices, calibrated, phones, both = (found[level, way] for way in WAYS)
        assert calibrated.errors.mae < devices.errors.mae
        assert phones.errors.mae < devices.errors.mae
        assert both.errors.mae < devices.errors.mae
    taken = head_counts(campus)
    days = np.unique(taken["time"].to_numpy().astype("datetime64[h]") - np.timedelta64(8, "h"))
    assert len(np.unique(days.astype("datetime64[D]"))) == DAYS // 2
    write_table(taken, tmp_path / "heads.parquet")
    done = import_head_counts(campus, tmp_path / "heads.parquet", by="the truth")
    assert done.new == taken.num_rows == read_head_counts(campus).num_rows


def test_user_names_bring_counts_closer_to_people(campus: Settings) -> None:
    whole, building = evaluate_identities(campus)
    assert whole.space == "Campus"
    assert building.space in load_tree(campus).names
    for one in (whole, building):
        assert 0.3 * one.people < one.known < one.people
        assert one.error < one.devices_error
        assert one.estimate_error is None
    assert building.people < whole.people


def test_without_user_names_they_add_nothing(stack: Settings) -> None:
    options = CampusOptions(people=40, buildings=1, days=2, start=FIRST, logins=0)
    write_campus(stack, simulate_campus(options))
    (root,) = load_tree(stack).roots
    track(stack, space=root, start=FIRST, end=FIRST + dt.timedelta(2))
    compute_all(stack)
    assert evaluate_identities(stack) == []


def test_without_a_truth_nothing_is_evaluated(stack: Settings) -> None:
    start = dt.datetime.combine(FIRST, dt.time(9))
    seen = Seen("02:00:00:00:00:01", "r1", start, start + dt.timedelta(hours=1))
    fill(stack, {"hall": None, "r1": "hall"}, [seen])
    with pytest.raises(NoTruth):
        evaluate_people(stack)
    with pytest.raises(NoTruth):
        evaluate_identities(stack)
