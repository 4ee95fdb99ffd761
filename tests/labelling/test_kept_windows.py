"""Labels by window: which are kept, and which count for a time."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from tests.labelling.small import FUNCTIONS, LABELS, World, keys
from tippers_dagster.automation.state import load_states, recorder
from tippers_dagster.campus.identities import DeviceIds
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Concept
from tippers_dagster.catalog.window import EVERYTHING, LOG_READ, Read, Window
from tippers_dagster.labelling.kept_windows import (
    KeptWindow,
    keep_window,
    kept_windows,
    log_read,
    read_window,
    window_at,
)
from tippers_dagster.labelling.labels import LabelTable
from tippers_dagster.platform.keys import device_key
from tippers_dagster.platform.lake import open_lake

MONDAY = dt.date(2025, 1, 6)
TWO = Window(weeks=2)
TABLE = LabelTable("device", "kind_of", "mac_address", "text", LABELS, ())
NAME = ("device", "kind_of")


def week(number: int) -> dt.date:
    return MONDAY + number * dt.timedelta(weeks=1)


def read(first: int, weeks: int = 2, window: Window = TWO) -> Read:
    return Read(window, week(first), week(first + weeks))


def rows(label: str, version: str) -> pa.Table:
    n = 3
    return pa.table(
        {
            "mac_address": keys(n),
            "label": [label, None, label],
            "outcome": ["label", "tie", "label"],
            "confidence": [0.9, 0.5, 0.8],
            "p_static": [0.0] * n,
            "version": [version] * n,
            "run_id": ["run"] * n,
        }
    )


def test_each_window_keeps_its_latest_labels(world: World) -> None:
    settings, lake = world.settings, open_lake(world.settings)
    keep_window(settings, TABLE, rows("PHONE", "a"), read(0))
    keep_window(settings, TABLE, rows("LAPTOP", "b"), read(1))
    kept = kept_windows(settings, *NAME)
    assert [(w.read, w.version, w.run_id, w.entities) for w in kept] == [
        (read(1), "b", "run", 3),
        (read(0), "a", "run", 3),
    ]
    found = read_window(settings, *NAME, kept[1])
    assert found.column_names == ["device_id", "label", "outcome", "confidence"]
    assert found["device_id"].to_pylist() == DeviceIds(device_key(settings))(keys(3)).tolist()
    assert found["label"].to_pylist() == ["PHONE", None, "PHONE"]
    assert "labels/device__kind_of/window=2025-01-06--2025-01-20/a.parquet" in lake.list("labels/")

    # The same window again: the files of before stay until the next time.
    keep_window(settings, TABLE, rows("STATIC", "c"), read(1))
    kept_now = kept_windows(settings, *NAME)
    assert [w.version for w in kept_now] == ["c", "a"]
    assert read_window(settings, *NAME, kept[0])["label"].to_pylist() == ["LAPTOP", None, "LAPTOP"]
    keep_window(settings, TABLE, rows("STATIC", "d"), read(2))
    assert len([key for key in lake.list("labels/") if "/window=" in key]) == 3

    # Labels of everything are about all times.
    everything = read(0, 9, EVERYTHING)
    keep_window(settings, TABLE, rows("STATIC", "e"), everything)
    assert kept_windows(settings, *NAME) == []
    assert not [key for key in lake.list("labels/") if "/window=" in key]


def kept_of(first: int, weeks: int, at: int = 0) -> KeptWindow:
    when = dt.datetime(2025, 1, 1, tzinfo=dt.UTC) + dt.timedelta(hours=at)
    return KeptWindow(read(first, weeks), f"{first} {weeks} {at}", "run", when, 1)


WINDOWS = st.lists(
    st.builds(kept_of, st.integers(0, 20), st.integers(1, 8)),
    min_size=1,
    unique_by=lambda w: w.version,
)


def newest_first(windows: list[KeptWindow]) -> list[KeptWindow]:
    return sorted(windows, key=lambda w: (w.read.end, w.read.start), reverse=True)


@given(WINDOWS, st.integers(0, 30))
def test_the_latest_window_that_contains_a_chunk_counts(
    windows: list[KeptWindow], chunk: int
) -> None:
    kept, span = newest_first(windows), (week(chunk), week(chunk + 1))
    found = window_at(kept, *span)
    containing = [w for w in kept if w.read.start <= span[0] and w.read.end >= span[1]]
    before = [w for w in kept if w.read.end <= span[0]]
    latest = containing or before
    if latest:
        assert found == max(latest, key=lambda w: (w.read.end, w.read.start))
    else:
        assert found == min(kept, key=lambda w: (w.read.end, w.read.start))


@given(WINDOWS, st.integers(0, 30), st.integers(1, 5), st.integers(1, 8))
def test_a_newer_window_leaves_older_chunks_alone(
    windows: list[KeptWindow], chunk: int, later: int, weeks: int
) -> None:
    kept = newest_first(windows)
    last = max(round((w.read.end - MONDAY).days / 7) for w in kept)
    newer = kept_of(max(last + later - weeks, 0), weeks)
    span = (week(chunk), week(chunk + 1))
    if span[1] <= newer.read.start:
        assert window_at(newest_first([*kept, newer]), *span) == window_at(kept, *span)


def test_labels_are_about_what_their_rules_read(world: World) -> None:
    world.run()
    ref = world.models[0].ref
    assert log_read(world.settings, world.catalog, ref) is None
    found = recorder(world.settings, world.nodes, "run")
    for name, window in (
        ("devices", read(0)),
        ("usage", read(1)),
        ("places", read(2, 2, EVERYTHING)),
    ):
        found.succeeded(("device", name), details={LOG_READ: window.to_json()})
    assert log_read(world.settings, world.catalog, ref) == read(2, 2, EVERYTHING)

    changed = [
        replace(d, body=d.body.model_copy(update={"window": "last 2 weeks"}))
        if isinstance(d.body, Concept)
        else d
        for d in world.catalog.definitions.values()
    ]
    assert log_read(world.settings, Catalog(changed), ref) == read(1)
    assert str(read(1)) == "last 2 weeks: 2025-01-13 to 2025-01-26"


def test_the_asset_says_what_its_labels_are_about(world: World) -> None:
    found = recorder(world.settings, world.nodes, "run")
    found.succeeded(("device", "usage"), details={LOG_READ: read(0, 3, EVERYTHING).to_json()})
    assert world.run(*(f.ref.name for f in FUNCTIONS), "kind_of").success
    details = load_states(world.settings)["device/kind_of"].details
    assert Read.from_json(details[LOG_READ]) == read(0, 3, EVERYTHING)
