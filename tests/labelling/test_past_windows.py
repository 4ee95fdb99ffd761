"""Labels of past windows, computed from the log by real SQL."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pyarrow as pa
import pytest

from tests.dbt_project.lake import write_lake
from tests.sql.conftest import on_engine
from tests.sql.definitions import DEVICE, DEVICES, LONG, MACS, MODEL, saved
from tests.sql.test_windows import LOG, add_term, session, week_of, weeks
from tippers_dagster.campus.identities import DeviceIds
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Condition, Kind, LabellingFunction
from tippers_dagster.catalog.model import Definition
from tippers_dagster.errors import BadInput
from tippers_dagster.labelling.kept_windows import kept_windows, read_window
from tippers_dagster.labelling.labels import has_labels
from tippers_dagster.labelling.past_windows import label_past_window
from tippers_dagster.occupancy.log_window import NoTerm
from tippers_dagster.platform.keys import device_key
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.settings import Settings

__all__ = ["on_engine", "weeks"]

pytestmark = pytest.mark.slow


def function(name: str, when: str, label: str) -> Definition:
    body = LabellingFunction(
        rule="long", labels=(label,), conditions=(Condition(when=when, label=label),)
    )
    return saved(Kind.LABELLING_FUNCTION, "device", name, body)


def catalog(window: str | None) -> Catalog:
    concept = replace(DEVICE, body=DEVICE.body.model_copy(update={"window": window}))
    functions = (
        function("is_a", "hours > 1.5", "A"),
        function("is_b", "hours < 1.5", "B"),
        function("is_b_too", "hours < 1.5 and sessions = 2", "B"),
    )
    return Catalog((concept, DEVICES, LONG, MODEL, *functions))


@pytest.mark.parametrize("weeks", ["duckdb"], indirect=True)
def test_a_past_window_is_computed_and_kept(weeks: Settings) -> None:
    write_lake(weeks, [*LOG, session(3, 0, hours=3)], [])
    ref, before = MODEL.ref, set(open_lake(weeks).list("rules/"))
    kept = label_past_window(weeks, catalog("last 2 weeks"), ref, week_of(2))
    assert str(kept.read) == "last 2 weeks: 2025-01-06 to 2025-01-19"
    assert kept.entities == 3, "the device of the last week is not there yet"
    found = read_window(weeks, "device", "type", kept)
    ids = DeviceIds(device_key(weeks))
    there = ids(pa.array([MACS[0], MACS[1], MACS[3]])).tolist()
    assert sorted(found["device_id"].to_pylist()) == sorted(there)
    assert None not in found["confidence"].to_pylist(), "each has votes"

    # Again, and one window more: by a date in the middle of a week.
    label_past_window(weeks, catalog("last 2 weeks"), ref, week_of(2))
    label_past_window(weeks, catalog("last 3 weeks"), ref, week_of(3) + dt.timedelta(days=2))
    starts = [str(one.read) for one in kept_windows(weeks, "device", "type")]
    assert starts == [
        "last 3 weeks: 2025-01-06 to 2025-01-26",
        "last 2 weeks: 2025-01-06 to 2025-01-19",
    ]

    # Nothing else has changed.
    assert not has_labels(weeks, "device", "type")
    assert set(open_lake(weeks).list("rules/")) == before

    with pytest.raises(BadInput, match="about everything that is tracked"):
        label_past_window(weeks, catalog(None), ref, week_of(2))
    with pytest.raises(BadInput, match="No time chunk with sessions ends by 2025-01-06"):
        label_past_window(weeks, catalog("last 2 weeks"), ref, week_of(0))
    add_term(weeks, first=2, weeks=2)
    with pytest.raises(NoTerm):
        label_past_window(weeks, catalog("term"), ref, week_of(2))
