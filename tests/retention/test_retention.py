"""After a set time only counts stay; uncomputed chunks are never deleted."""

from __future__ import annotations

import datetime as dt
import logging
import random
from collections.abc import Iterator

import dagster as dg
import pytest
import sqlalchemy as sa
import typer
from typer.testing import CliRunner

from tests.occupancy.campus import (
    Seen,
    add_sessions,
    change,
    compute_all,
    compute_level,
    fill,
    look_again,
    stale,
    state,
)
from tests.people.by_label.test_reading import LABELS, MACS, say
from tippers_dagster.campus.spaces.tracking import track, untrack
from tippers_dagster.cli import retention as commands
from tippers_dagster.errors import TippersError
from tippers_dagster.occupancy.chunk_tables import PREFIXES
from tippers_dagster.occupancy.launch import materialize
from tippers_dagster.occupancy.reading import OnlyCountsKept, read_occupancy
from tippers_dagster.occupancy.snapshot import Snapshot
from tippers_dagster.occupancy.source_checks import due
from tippers_dagster.occupancy.state import SESSIONS, SOURCE
from tippers_dagster.occupancy.status import level_statuses
from tippers_dagster.occupancy.tracking import recompute
from tippers_dagster.occupancy.work import compute
from tippers_dagster.people.by_label.reading import TOTAL, read_labelled_occupancy
from tippers_dagster.people.by_label.work import bring_up_to_date
from tippers_dagster.platform.lake import Lake, open_lake
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.retention import work
from tippers_dagster.retention.assets import presence_retention, retention_definitions
from tippers_dagster.retention.work import delete_due, retention_status
from tippers_dagster.settings import Settings, get_settings

MONDAY = dt.datetime(2025, 1, 6)
WEEKS = ["2025-01-06", "2025-01-13", "2025-01-20"]
PARENTS = {"campus": None, "hall": "campus", "r1": "hall", "r2": "hall"}
TODAY = dt.date(2025, 2, 1)
"""The first two weeks ended ten days ago or more."""

LOG = logging.getLogger("test")


@pytest.fixture
def campus(stack: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Three weeks, all computed and labelled; presence is kept for ten days."""
    rng = random.Random(4)
    rows = []
    for _ in range(300):
        start = MONDAY + dt.timedelta(minutes=rng.randrange(21 * 1440 - 100))
        end = start + dt.timedelta(minutes=rng.choice((10, 100)))
        rows.append(Seen(rng.choice(MACS), rng.choice(("hall", "r1", "r2")), start, end))
    bad = MONDAY + dt.timedelta(hours=5)
    weeks = [bad + i * dt.timedelta(7) for i in range(3)]
    rows += [Seen(MACS[0], "nowhere", week, week + dt.timedelta(hours=1)) for week in weeks]
    fill(stack, PARENTS, rows)
    first = MONDAY.date()
    track(stack, space="campus", start=first, end=first + dt.timedelta(21))
    compute_all(stack)
    monkeypatch.setenv("TIPPERS_PRESENCE_DAYS", "10")
    monkeypatch.setattr(work, "_labelled", lambda settings: {})
    get_settings.cache_clear()
    return get_settings()


def kept(settings: Settings) -> set[str]:
    """Chunks of which the lake has anything about devices."""
    lake: Lake = open_lake(settings)
    keys = [key for prefix in ("sessions/", "presence/", *PREFIXES) for key in lake.list(prefix)]
    return {key.rsplit("chunk=")[1].removesuffix(".parquet") for key in keys}


def query(settings: Settings, sql: str) -> list[tuple[object, ...]]:
    with warehouse_engine(settings).connect() as connection:
        return [tuple(row) for row in connection.execute(sa.text(sql))]


def counts(settings: Settings, space: str, width: int = 3600) -> list[object]:
    last = MONDAY.date() + dt.timedelta(14)
    found = read_occupancy(space, MONDAY.date(), last, width, settings=settings)
    return found["number_connections"].to_pylist()


def test_old_chunks_are_sealed_and_their_counts_stay(campus: Settings) -> None:
    before = {space: counts(campus, space) for space in PARENTS}
    assert retention_status(campus, TODAY).due == WEEKS[:2]
    outcome = delete_due(campus, LOG, TODAY)
    assert outcome.sealed == WEEKS[:2]
    assert outcome.files == 2 * (1 + 1 + len(PREFIXES))  # sessions, presence, days, encounters
    assert kept(campus) == {WEEKS[2]}
    assert {space: counts(campus, space) for space in PARENTS} == before
    with pytest.raises(OnlyCountsKept, match=r"2025-01-06, 2025-01-13.*has been deleted"):
        counts(campus, "hall", 5400)
    left = query(campus, "SELECT chunk, mac_address IS NULL FROM tippers.session_reject ORDER BY 1")
    assert left == [(WEEKS[0], True), (WEEKS[1], True), (WEEKS[2], False)]
    assert outcome.blanked == 2
    again = delete_due(campus, LOG, TODAY)
    assert (again.sealed, again.files, again.blanked) == ([], 0, 0)
    found = retention_status(campus, TODAY)
    assert (found.due, found.held) == ([], {})
    assert [(s.chunk, s.finished, s.late_rows) for s in found.sealed] == [
        (WEEKS[0], True, 0),
        (WEEKS[1], True, 0),
    ]


def test_addresses_are_forgotten_with_the_last_session(campus: Settings) -> None:
    long_ago, lately = MONDAY + dt.timedelta(hours=9), MONDAY + dt.timedelta(days=15)
    once, again = "00:1A:2B:3C:4D:01", "00:1A:2B:3C:4D:02"
    for mac, start in ((once, long_ago), (again, long_ago), (again, lately)):
        add_sessions(campus, [Seen(mac, "r1", start, start + dt.timedelta(hours=1))])
    look_again(campus)
    compute_all(campus)
    addresses = "SELECT mac_address FROM tippers.device_address"
    before = set(query(campus, addresses))
    assert {(once.lower(),), (again.lower(),)} <= before
    forgotten = delete_due(campus, LOG, TODAY).forgotten
    left = set(query(campus, addresses))
    seen = query(
        campus,
        "SELECT DISTINCT lower(mac_address) FROM source.user_ap_trajectory "
        f"WHERE end_time > timestamp '{WEEKS[2]}' AND space_id <> 'nowhere'",
    )
    assert left == set(seen)
    assert (once.lower(),) not in left
    assert forgotten == len(before - left)


def test_late_rows_of_chunks_sealed_before_normalising(campus: Settings) -> None:
    """Their fingerprints do not cover access points."""
    delete_due(campus, LOG, TODAY)
    fingerprint = "hash_record_extended(ROW(mac_address, space_id, start_time, end_time), 0)"
    (total,) = query(
        campus,
        f"SELECT sum({fingerprint})::text, count(*) FROM source.user_ap_trajectory "
        "WHERE start_time < timestamp '2025-01-13' ",
    )
    hashes, rows = map(int, map(str, total))
    value = (hashes * 31 + rows) % 2**64
    with warehouse_engine(campus).begin() as connection:
        connection.execute(
            sa.text(
                "UPDATE tippers.sealed_chunk SET before_normalising = true, fingerprint = :value "
                f"WHERE chunk = '{WEEKS[0]}'"
            ),
            {"value": value - 2**64 if value >= 2**63 else value},
        )
    assert delete_due(campus, LOG, TODAY).late == {}
    change(campus, "UPDATE source.user_ap_trajectory SET sensor_id = 'other'")
    assert delete_due(campus, LOG, TODAY).late == {WEEKS[1]: 1}
    change(campus, "UPDATE source.user_ap_trajectory SET mac_address = 'other'")
    assert delete_due(campus, LOG, TODAY).late == {WEEKS[0]: 1, WEEKS[1]: 1}
    marked = {s.chunk: s.before_normalising for s in retention_status(campus, TODAY).sealed}
    assert marked == {WEEKS[0]: True, WEEKS[1]: False}
    app = typer.Typer()
    app.callback()(lambda: None)
    commands.register(app)
    said = CliRunner().invoke(app, ["retention", "status"]).output.splitlines()
    (marked_line,) = (line for line in said if "before device addresses were normalised" in line)
    assert marked_line.startswith(f"sealed: {WEEKS[0]}")


def test_nothing_is_deleted_unless_retention_is_set(
    campus: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TIPPERS_PRESENCE_DAYS")
    get_settings.cache_clear()
    settings = get_settings()
    assert delete_due(settings, LOG, TODAY) == work.Outcome()
    assert retention_status(settings, TODAY).until is None
    assert kept(settings) == set(WEEKS)


def test_what_rows_without_a_start_said_is_deleted(campus: Settings) -> None:
    """They may be of any age."""
    words = sa.text(
        "INSERT INTO tippers.session_reject (chunk, reason, mac_address, row) VALUES "
        f"('', 'no start', '{MACS[0]}', '{{\"device\": \"{MACS[0]}\"}}')"
    )
    with warehouse_engine(campus).begin() as connection:
        connection.execute(words)
    assert delete_due(campus, LOG, TODAY).blanked == 3
    left = query(campus, "SELECT mac_address, row FROM tippers.session_reject WHERE chunk = ''")
    assert left == [(None, None)]


def test_uncomputed_chunks_are_held_back(campus: Settings) -> None:
    late = MONDAY + dt.timedelta(hours=9)
    add_sessions(campus, [Seen(MACS[1], "r1", late, late + dt.timedelta(hours=1))])
    outcome = delete_due(campus, LOG, TODAY)  # notices the late row
    assert outcome.sealed == [WEEKS[1]]
    assert "Partitions of sessions that are not up to date: 1" in outcome.held[WEEKS[0]]
    assert kept(campus) == {WEEKS[0], WEEKS[2]}
    assert list(retention_status(campus, TODAY).held) == [WEEKS[0]]
    left = query(campus, "SELECT chunk FROM tippers.session_reject WHERE mac_address IS NOT NULL")
    assert sorted(left) == [(WEEKS[0],), (WEEKS[2],)]
    compute_all(campus)
    assert delete_due(campus, LOG, TODAY).sealed == [WEEKS[0]]


def test_a_labelled_occupancy_is_waited_for(
    campus: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("TIPPERS_HOME", str(campus.home))
    say(campus, dict.fromkeys(MACS, "PHONE"), "device__device_type")
    assert "labelled_occupancy.device_type is not up to date" in str(
        delete_due(campus, LOG, TODAY).held
    )
    assert kept(campus) == set(WEEKS)
    bring_up_to_date(campus, "device_type", "device.device_type", "run", LOG)
    assert delete_due(campus, LOG, TODAY).sealed == WEEKS[:2]
    # New labels do not change sealed counts, and need no deleted files.
    say(campus, dict.fromkeys(MACS, "LAPTOP"), "device__device_type", version="2")
    outcome = bring_up_to_date(campus, "device_type", "device.device_type", "run", LOG)
    assert [done.chunk for done in outcome.done] == [WEEKS[2]]
    span = (MONDAY.date(), MONDAY.date() + dt.timedelta(21))
    table = read_labelled_occupancy("hall", *span, 86400, "device.device_type", settings=campus)
    rows = table.to_pylist()
    assert all(row["PHONE"] == row[TOTAL] for row in rows[:14])
    assert all(row["LAPTOP"] == row[TOTAL] for row in rows[14:])
    assert table.column_names[1:4] == list(LABELS)
    with pytest.raises(OnlyCountsKept):
        read_labelled_occupancy("hall", *span, 5400, "device.device_type", settings=campus)


def test_sealed_chunks_are_never_requested(campus: Settings) -> None:
    delete_due(campus, LOG, TODAY)
    late = MONDAY + dt.timedelta(hours=9)
    add_sessions(campus, [Seen(MACS[1], "r1", late, late + dt.timedelta(hours=1))])
    look_again(campus)
    assert stale(campus) == {}
    assert due(campus, WEEKS, dt.datetime(2025, 2, 1)) == [WEEKS[2]]
    with dg.DagsterInstance.ephemeral() as instance:
        levels = level_statuses(Snapshot.take(instance))
        numbers = [(lv.done, lv.stale, lv.sealed) for lv in levels]
        assert numbers == [(3, 0, 2), (9, 0, 6), (6, 0, 4), (3, 0, 2)]
        stages = materialize(campus, instance, again=True)
    assert [stage.partitions for stage in stages] == [1, 3, 2, 1]
    with pytest.raises(TippersError, match="cannot be recomputed: r1 in 2025-01-06"):
        compute(campus, SOURCE, [("r1", WEEKS[0])], "run", stale_only=False)
    with pytest.raises(TippersError, match="Only the counts of space 'hall'"):
        recompute(campus, space="hall", start=MONDAY.date(), end=MONDAY.date() + dt.timedelta(14))
    assert kept(campus) == {WEEKS[2]}
    assert delete_due(campus, LOG, TODAY).late == {WEEKS[0]: 1}


def test_an_interrupted_deletion_is_resumed(
    campus: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, deleted = Lake.delete, []

    def dies(lake: Lake, key: str) -> None:
        if len(deleted) == 1:
            raise KeyboardInterrupt
        deleted.append(key)
        real(lake, key)

    monkeypatch.setattr(Lake, "delete", dies)
    with pytest.raises(KeyboardInterrupt):
        delete_due(campus, LOG, TODAY)
    assert retention_status(campus, TODAY).sealed[0].finished is False
    assert stale(campus) == {}
    monkeypatch.setattr(Lake, "delete", real)
    outcome = delete_due(campus, LOG, TODAY)
    assert outcome.sealed == [WEEKS[1]]
    assert kept(campus) == {WEEKS[2]}
    assert all(s.finished for s in retention_status(campus, TODAY).sealed)


def test_untracked_chunks_are_deleted_without_a_seal(campus: Settings) -> None:
    before = counts(campus, "hall")
    untrack(campus, space="campus")
    assert delete_due(campus, LOG, TODAY).sealed == []
    assert kept(campus) == {WEEKS[2]}
    assert counts(campus, "hall") == before
    track(campus, space="campus", start=MONDAY.date(), end=MONDAY.date() + dt.timedelta(7))
    assert state(campus).sessions.stale.all()
    assert compute_level(campus, SESSIONS).computed == 1


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def test_the_asset_reports_what_it_did(campus: Settings, instance: dg.DagsterInstance) -> None:
    # Today is years later: all of it is due.
    late = MONDAY + dt.timedelta(hours=9)
    add_sessions(campus, [Seen(MACS[1], "r1", late, late + dt.timedelta(hours=1))])
    result = dg.materialize([presence_retention], instance=instance)
    assert result.success
    told = result.asset_materializations_for_node("presence_retention")[0].metadata
    assert told["chunks_sealed"].value == WEEKS[1:]
    passed = {e.check_name: e.passed for e in result.get_asset_check_evaluations()}
    assert passed == {
        "presence_retention__nothing_held_back": False,
        "presence_retention__no_late_sessions": True,
    }
    app = typer.Typer()
    app.callback()(lambda: None)
    commands.register(app)
    said = CliRunner().invoke(app, ["retention", "status"]).output
    assert "held back: 2025-01-06: Partitions of sessions that are not up to date: 1." in said
    assert "sealed: 2025-01-13" in said
    said = CliRunner().invoke(app, ["retention", "apply"]).output
    assert "Chunks sealed: 0; files deleted: 0" in said


@pytest.mark.parametrize("days", [None, 30])
def test_it_runs_every_night_if_retention_is_set(days: int | None) -> None:
    schedule = next(iter(retention_definitions(Settings(presence_days=days)).schedules or ()))
    assert isinstance(schedule, dg.ScheduleDefinition)
    assert (schedule.default_status == dg.DefaultScheduleStatus.RUNNING) is (days is not None)
    assert schedule.execution_timezone == "America/Los_Angeles"
