"""What rules read of the log, through the assets: equal to a plain comparison of all sessions."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Sequence
from functools import partial
from typing import Any

import pyarrow as pa
import pytest
from psycopg2.extras import execute_values

from tests.occupancy import campus
from tests.occupancy import company as plain
from tests.occupancy.campus import change, compute_all, compute_level, look_again, stale
from tests.occupancy.company import EPOCH, Session
from tippers_dagster.campus.addresses import device_addresses
from tippers_dagster.campus.spaces.tracking import list_tracked, track, untrack, wanted_grid
from tippers_dagster.campus.spaces.tree import load_tree
from tippers_dagster.errors import BadInput, LakeFileMissing
from tippers_dagster.occupancy import encounters, log_window
from tippers_dagster.occupancy.chunk_tables import PREFIXES
from tippers_dagster.occupancy.log_window import (
    LogIncomplete,
    company,
    crowds,
    log_chunks,
    partners,
)
from tippers_dagster.occupancy.regions import COVERAGE, regions_seen
from tippers_dagster.occupancy.state import DAYS, DERIVED, SESSIONS, SOURCE
from tippers_dagster.occupancy.tracking import purge_untracked
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.lake.keys import chunk_file
from tippers_dagster.settings import Settings, get_settings
from tippers_dagster.sql.duckdb.log import log_table

SEED = 5
FIRST = dt.date(2024, 10, 4)
CHUNKS = [str(FIRST + dt.timedelta(day)) for day in range(4)]
TREE = {"site": None, "hall": "site", "lab": "site", "den": "site"}
COVERED = pa.table(
    [
        ["a", "a", "b", "b", "c", "c", "c"],
        ["hall", "lab", "hall", "lab", "hall", "lab", "den"],
        ["R hall", "R lab", "R hall", None, "R both", "R both", "R den"],
        [90.0, 10.0, 10.0, 90.0, 50.0, 50.0, None],
    ],
    schema=COVERAGE,
)
"""What gives the regions of ``plain.REGIONS``, and the den one at b."""


@pytest.fixture
def sessions() -> list[Session]:
    return plain.campus(random.Random(SEED), len(CHUNKS))


@pytest.fixture
def settings(stack: Settings, sessions: list[Session], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Days in UTC, tracked without a space; everything is computed."""
    monkeypatch.setenv("TIPPERS_CHUNK", "day")
    monkeypatch.setenv("TIPPERS_TIMEZONE", "UTC")
    monkeypatch.setitem(plain.REGIONS, ("b", "den"), None)
    get_settings.cache_clear()
    settings = get_settings()
    campus.fill(settings, TREE)
    add(settings, sessions)
    track(settings, space=None, start=FIRST, end=FIRST + dt.timedelta(len(CHUNKS)))
    assert compute_all(settings) == {SESSIONS: 4, SOURCE: 0, DERIVED: 0, DAYS: 4}
    return settings


def add(settings: Settings, sessions: Sequence[Session]) -> None:
    rows = [
        (plain.address(s.device), s.sensor, s.time, EPOCH + dt.timedelta(seconds=s.end), s.space)
        for s in sessions
    ]
    with campus.source(settings) as cursor:
        execute_values(
            cursor,
            "INSERT INTO source.user_ap_trajectory "
            "(mac_address, sensor_id, start_time, end_time, space_id) VALUES %s",
            rows,
        )


def once(sessions: Sequence[Session]) -> list[Session]:
    """Of rows of one session, the longest."""
    ordered = sorted(sessions, key=lambda s: s.end)
    return list({(s.device, s.space, s.sensor, s.start): s for s in ordered}.values())


def by_address(settings: Settings, found: pa.Table) -> list[dict[str, Any]]:
    rows = device_addresses(settings).to_pylist()
    address = {row["device"]: row["mac_address"] for row in rows}
    answers = [{"device": address[row.pop("device")], **row} for row in found.to_pylist()]
    return sorted(answers, key=lambda row: row["device"])


def plainly(answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    named = [{"device": plain.address(row.pop("device")), **row} for row in answers]
    return sorted(named, key=lambda row: row["device"])


def assert_answers(settings: Settings, chunks: list[str], sessions: Sequence[Session]) -> None:
    """The answers of a window are those of the sessions that start in it."""
    mine = [s for s in once(sessions) if str(s.time.date()) in chunks]
    wanted = [{k: v for k, v in r.items() if k != "partner"} for r in plain.best_partners(mine)]
    assert by_address(settings, partners(settings, chunks)) == plainly(wanted)
    assert by_address(settings, company(settings, chunks)) == plainly(plain.accompanied(mine))
    found = crowds(settings, chunks, COVERED)
    assert by_address(settings, found) == plainly(plain.co_located(mine))


# --- answers ------------------------------------------------------------------------------------
def test_answers_equal_a_plain_comparison(settings: Settings, sessions: list[Session]) -> None:
    assert log_chunks(settings) == CHUNKS
    assert_answers(settings, CHUNKS, sessions)
    assert_answers(settings, CHUNKS[1:3], sessions)
    for name in ("partners", "company"):
        assert log_table(settings, name, CHUNKS).num_rows == len({s.device for s in sessions})


def test_a_late_session_changes_the_answers(settings: Settings, sessions: list[Session]) -> None:
    late = Session(0, "hall", "a", sessions[0].start, sessions[0].start + 100_000)
    add(settings, [late])
    look_again(settings)
    assert compute_level(settings, SESSIONS).computed in (2, 3)
    touched = stale(settings)[DAYS]
    assert {chunk for _, chunk in touched} == {
        str((EPOCH + dt.timedelta(seconds=second)).date())
        for second in range(late.start, late.end, 3600)
    }.intersection(CHUNKS)
    compute_level(settings, DAYS)
    assert_answers(settings, CHUNKS, [*sessions, late])


def test_the_end_of_a_carried_session_counts(settings: Settings) -> None:
    begin = dt.datetime.combine(FIRST, dt.time(12))
    change(settings, "DELETE FROM source.user_ap_trajectory")
    for days in (2, 3):
        change(
            settings,
            "INSERT INTO source.user_ap_trajectory "
            "(mac_address, sensor_id, start_time, end_time, space_id) VALUES (%s, 'a', %s, %s, %s)",
            *("x", begin, begin + dt.timedelta(days), "hall"),
        )
        look_again(settings)
        compute_level(settings, SESSIONS)
        if days == 3:
            # All of the second day is in both sessions: nothing that is counted there changed.
            assert ("", CHUNKS[1]) in stale(settings)[DAYS]
        compute_level(settings, DAYS)
        change(settings, "DELETE FROM source.user_ap_trajectory")


# --- what belongs together ----------------------------------------------------------------------
def test_days_that_do_not_belong_to_the_sessions(
    settings: Settings, sessions: list[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_window, "STEADY_SECONDS", 0)
    add(settings, [Session(0, "hall", "a", sessions[0].start + 60, sessions[0].start + 120)])
    look_again(settings)
    assert log_chunks(settings) == CHUNKS, "what is in the lake still belongs together"
    compute_level(settings, SESSIONS)
    with pytest.raises(LogIncomplete, match="not computed from the present sessions of: 2024-10-0"):
        log_chunks(settings)
    compute_level(settings, DAYS)
    assert log_chunks(settings) == CHUNKS


def test_a_chunk_recomputed_meanwhile(
    settings: Settings, sessions: list[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    def recomputed(*_: object) -> pa.Table:
        compute_level(settings, DAYS, stale_only=False)
        return pa.table({})

    monkeypatch.setattr(log_window.windows, "accompanied", recomputed)
    with pytest.raises(LogIncomplete):
        company(settings, CHUNKS)


def test_a_lost_file(settings: Settings) -> None:
    open_lake(settings).delete(chunk_file("device_days/", CHUNKS[2]))
    with pytest.raises(LakeFileMissing, match=rf"{CHUNKS[2]}(.|\n)*materialize --again"):
        log_table(settings, "device_days", CHUNKS)


def test_constants_of_encounters(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encounters, "MEETINGS_PER_SESSION", 15)
    assert stale(settings) == {DAYS: {("", chunk) for chunk in CHUNKS}}


# --- tracked without a space --------------------------------------------------------------------
def test_untracking_and_purging(settings: Settings) -> None:
    assert [t.space for t in list_tracked(settings)] == [""]
    with pytest.raises(BadInput, match=r"'hall' is not a tracked root(.|\n)*the log only"):
        untrack(settings, space="hall")
    untrack(settings, space=None, start=FIRST + dt.timedelta(1))
    assert wanted_grid(settings, load_tree(settings)).chunks == CHUNKS[:1]
    assert log_chunks(settings) == CHUNKS[:1]
    assert purge_untracked(settings, wanted_grid(settings, load_tree(settings))) == 2 * 3
    lake = open_lake(settings)
    for prefix in PREFIXES:
        assert lake.list(prefix) == [chunk_file(prefix, CHUNKS[0])]
    untrack(settings, space=None)
    assert log_chunks(settings) == []
    for name in ("partners", "company", "crowds"):
        assert log_table(settings, name, []).num_rows == 0


def test_no_space_has_an_empty_id(settings: Settings) -> None:
    with pytest.raises(BadInput, match="There is no space ''"):
        track(settings, space="", start=FIRST, end=FIRST + dt.timedelta(1))


# --- regions ------------------------------------------------------------------------------------
def test_regions_of_access_points() -> None:
    days = pa.table(
        {
            "sensor": pa.array(["a", None, "b", "b", "a", "c"]).dictionary_encode(),
            "space": pa.array(["s", "s", "t", "u", "s", "v"]).dictionary_encode(),
        }
    )
    coverage = pa.table(
        [
            ["a", "a", "b", "b", "b", "d"],
            ["s", "r", "r", "q", "u", "s"],
            ["itself", "other", "later", "first", None, "unseen"],
            [1.0, 99.0, 50.0, 50.0, None, 100.0],
        ],
        schema=COVERAGE,
    )
    found = regions_seen([partial(days.slice, 0, 3), partial(days.slice, 3)], coverage)
    assert sorted(found.to_pylist(), key=str) == [
        {"sensor": "a", "space": "s", "space_name": "itself"},
        {"sensor": "b", "space": "t", "space_name": "first"},
        {"sensor": "b", "space": "u", "space_name": None},
    ]
    assert regions_seen([], coverage).num_rows == 0
    assert regions_seen([partial(days.slice, 0)], COVERAGE.empty_table()).num_rows == 0
