"""From the source's rows to the sessions of each chunk."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

import hypothesis
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from pydantic import SecretStr

from tests.occupancy import campus
from tests.occupancy.campus import Seen, change
from tippers_dagster.campus.devices import DAMAGED, NO_DEVICE, NUMBER, PLACEHOLDER
from tippers_dagster.campus.identities import DeviceIds
from tippers_dagster.campus.spaces.tree import load_tree
from tippers_dagster.errors import LakeError
from tippers_dagster.occupancy import sessions as module
from tippers_dagster.occupancy.sessions import (
    END_BEFORE_START,
    IMPLAUSIBLE_TIME,
    TOO_LONG,
    UNKNOWN_SPACE,
    ChunkSessions,
    consecutive,
    extract,
)
from tippers_dagster.platform.keys import device_key
from tippers_dagster.platform.lake import Lake, open_lake
from tippers_dagster.platform.lake.keys import sessions_key
from tippers_dagster.settings import Settings

W1, W2, W3 = "2025-01-06", "2025-01-13", "2025-01-20"
TREE = {"hall": None, "r1": "hall", "r2": "hall"}
LOS_ANGELES = ZoneInfo("America/Los_Angeles")


def at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


def utc(text: str) -> int:
    """Seconds of a local time in January in Los Angeles."""
    return int(dt.datetime.fromisoformat(text + "-08:00").timestamp())


def run(settings: Settings, chunks: list[str]) -> dict[str, ChunkSessions]:
    """Extract; the files of rejects are deleted afterwards."""
    found: dict[str, ChunkSessions] = {}
    for done in extract(settings, open_lake(settings), load_tree(settings), chunks):
        found |= {d.chunk: d for d in done.chunks}
    return found


def rejects(settings: Settings, chunks: list[str]) -> list[tuple[str, str, str | None]]:
    """(chunk, reason, mac) of all rejected rows."""
    found = []
    for done in extract(settings, open_lake(settings), load_tree(settings), chunks):
        for chunk in done.chunks:
            if chunk.rejects is not None:
                table = pa.ipc.open_file(chunk.rejects).read_all()
                found += zip(
                    *(table[n].to_pylist() for n in ("chunk", "reason", "mac_address")), strict=True
                )
    return sorted(found, key=str)


def read(settings: Settings, chunk: str) -> pa.Table:
    return open_lake(settings).read_table(sessions_key(chunk))


def spans(table: pa.Table) -> list[tuple[str, int, int]]:
    return sorted(
        zip(*(table[name].to_pylist() for name in ("space", "start", "end")), strict=True)
    )


@pytest.fixture
def settings(stack: Settings) -> Iterator[Settings]:
    campus.fill(stack, TREE)
    open_lake.cache_clear()
    return stack


def test_a_session_is_whole_in_every_chunk_that_it_overlaps(settings: Settings) -> None:
    campus.add_sessions(
        settings, [Seen("m1", "r1", at("2025-01-11T12:00"), at("2025-01-21T12:00"))]
    )
    done = run(settings, [W1, W2, W3])
    assert [done[w].rows for w in (W1, W2, W3)] == [1, 1, 1]
    tables = [read(settings, w).to_pylist() for w in (W1, W2, W3)]
    assert [[row.pop("carried") for row in rows] for rows in tables] == [[False], [True], [True]]
    assert tables[0] == tables[1] == tables[2]
    device = DeviceIds(device_key(settings))(pa.array(["m1"]))[0]
    assert tables[0] == [
        {
            "device": device,
            "space": "r1",
            "sensor": "ap",
            "start": utc("2025-01-11T12:00"),
            "end": utc("2025-01-21T12:00"),
            "start_time": at("2025-01-11T12:00"),
            "end_time": at("2025-01-21T12:00"),
            "is_open": False,
            "person": None,
        }
    ]


def test_a_session_that_ends_at_the_border_is_not_in_the_next_chunk(settings: Settings) -> None:
    campus.add_sessions(
        settings,
        [
            Seen("m1", "r1", at("2025-01-12T23:00"), at("2025-01-13T00:00")),
            Seen("m2", "r1", at("2025-01-13T00:00"), at("2025-01-13T00:00")),
        ],
    )
    done = run(settings, [W1, W2])
    assert (done[W1].rows, done[W2].rows) == (1, 1)
    assert spans(read(settings, W2)) == [
        ("r1", utc("2025-01-13T00:00"), utc("2025-01-13T00:00:01"))
    ]


def test_open_sessions_have_the_configured_duration(settings: Settings) -> None:
    campus.add_sessions(settings, [Seen("m1", "r1", at("2025-01-07T09:00:00.5"), None)])
    run(settings.model_copy(update={"open_session_seconds": 600}), [W1])
    assert spans(read(settings, W1)) == [
        ("r1", utc("2025-01-07T09:00:00"), utc("2025-01-07T09:10:01"))
    ]
    (row,) = read(settings, W1).to_pylist()
    assert (row["is_open"], row["end_time"]) == (True, at("2025-01-07T09:10:00.5"))


def test_an_open_session_lasts_in_real_time_when_the_clock_changes(settings: Settings) -> None:
    campus.add_sessions(settings, [Seen("m1", "r1", at("2025-03-09T01:30"), None)])
    run(settings.model_copy(update={"open_session_seconds": 3600}), ["2025-03-03"])
    (row,) = read(settings, "2025-03-03").to_pylist()
    assert row["end"] - row["start"] == 3600
    assert row["end_time"] == at("2025-03-09T03:30")


def test_a_session_may_have_no_access_point(settings: Settings) -> None:
    campus.add_sessions(
        settings, [Seen(m, "r1", at("2025-01-07T09:00"), at("2025-01-07T10:00")) for m in "abc"]
    )
    change(settings, "UPDATE source.user_ap_trajectory SET sensor_id = NULL WHERE mac_address='b'")
    change(settings, "UPDATE source.user_ap_trajectory SET sensor_id = 'x' WHERE mac_address='c'")
    run(settings, [W1])
    assert sorted(read(settings, W1)["sensor"].to_pylist(), key=str) == [None, "ap", "x"]


def test_one_device_in_several_spellings_is_one_device(settings: Settings) -> None:
    spellings = ["00:1a:2b:3c:4d:5e", " 00-1A-2B-3C-4D-5E", "001a.2b3c.4d5e", "001a2b-3c4d5e"]
    nine, ten = at("2025-01-07T09:00"), at("2025-01-07T10:00")
    campus.add_sessions(settings, [Seen(spelled, "r1", nine, ten) for spelled in spellings])
    campus.add_sessions(
        settings, [Seen(" Alice ", "r1", nine, ten), Seen("alice", "r1", nine, ten)]
    )
    (done,) = extract(settings, open_lake(settings), load_tree(settings), [W1])
    (chunk,) = done.chunks
    assert (chunk.rows, chunk.repeated, chunk.devices) == (3, 3, 3)


def test_columns_with_a_zone_tell_the_hours_apart_that_a_clock_repeats(settings: Settings) -> None:
    for name in ("start_time", "end_time"):
        change(settings, f"ALTER TABLE source.user_ap_trajectory ALTER {name} TYPE timestamptz")
    hours = [dt.datetime(2024, 11, 3, hour, 30, tzinfo=dt.UTC) for hour in (8, 9)]
    length = dt.timedelta(minutes=15)
    campus.add_sessions(settings, [Seen("m1", "r1", hour, hour + length) for hour in hours])
    run(settings, ["2024-10-28"])
    found = spans(read(settings, "2024-10-28"))
    begins = [int(hour.timestamp()) for hour in hours]
    assert found == [("r1", begin, begin + 900) for begin in begins]
    assert read(settings, "2024-10-28")["start_time"].to_pylist() == [at("2024-11-03T01:30")] * 2


def test_a_session_without_an_end_lasts_until_it_was_last_seen(settings: Settings) -> None:
    nine = at("2025-01-07T09:00")
    campus.add_sessions(settings, [Seen(f"m{n}", "r1", nine, None) for n in (1, 2, 3)])
    for mac, seen in (("m1", "09:20"), ("m2", "08:00")):
        last = f"2025-01-07 {seen} America/Los_Angeles"
        change(
            settings,
            "UPDATE source.user_ap_trajectory SET last_seen = %s WHERE mac_address = %s",
            last,
            mac,
        )
    run(settings, [W1])
    rows = sorted(read(settings, W1).to_pylist(), key=lambda row: row["end"])
    lasting = [row["end"] - utc("2025-01-07T09:00") for row in rows]
    assert lasting == [1, 20 * 60, 12 * 3600]
    assert all(row["is_open"] for row in rows)


BORDER = at("2025-01-13T00:00")
LIMIT = dt.timedelta(hours=12)


def test_a_closed_row_takes_the_place_of_the_open_one(settings: Settings) -> None:
    """Also where the open one would reach another chunk, in which the closed one is not."""
    late = at("2025-01-12T20:00")
    ended = Seen("m1", "r1", late, at("2025-01-12T21:00"))
    campus.add_sessions(settings, [Seen("m1", "r1", late, None), Seen("m2", "r1", late, None)])
    before = run(settings, [W1, W2])
    assert [before[w].rows for w in (W1, W2)] == [2, 2]
    campus.add_sessions(settings, [ended])
    done = run(settings, [W1, W2])
    assert [(done[w].rows, done[w].repeated) for w in (W1, W2)] == [(2, 1), (1, 0)]
    assert all(done[w].observed != before[w].observed for w in (W1, W2))
    assert (utc("2025-01-12T21:00") - utc("2025-01-12T20:00")) in (
        read(settings, W1)["end"].to_numpy() - read(settings, W1)["start"].to_numpy()
    )
    # An export with the open row may also come later, or again.
    campus.add_sessions(settings, [Seen("m1", "r1", late, None)])
    again = run(settings, [W1, W2])
    assert [again[w].fingerprint for w in (W1, W2)] == [done[w].fingerprint for w in (W1, W2)]


def test_the_person_of_a_session_is_that_of_any_of_its_rows(settings: Settings) -> None:
    start, end = at("2025-01-12T20:00"), at("2025-01-12T21:00")
    campus.add_sessions(settings, [Seen("m1", "r1", start, None, 2**63 + 7)])
    before = run(settings, [W1])[W1]
    campus.add_sessions(settings, [Seen("m1", "r1", start, end), Seen("m2", "r1", start, end)])
    done = run(settings, [W1])[W1]
    assert sorted(read(settings, W1)["person"].to_pylist(), key=str) == [2**63 + 7, None]
    assert before.fingerprint != done.fingerprint
    change(settings, "UPDATE source.user_ap_trajectory SET person = NULL")
    nobody = run(settings, [W1])[W1]
    assert read(settings, W1)["person"].null_count == 2
    assert nobody.fingerprint != done.fingerprint
    assert nobody.log_fingerprint != done.log_fingerprint


def test_sessions_of_another_place_or_start_are_others(settings: Settings) -> None:
    nine, ten = at("2025-01-07T09:00"), at("2025-01-07T10:00")
    second = dt.timedelta(seconds=0.25)
    campus.add_sessions(
        settings,
        [
            Seen("m1", "r1", nine, ten),
            Seen("m1", "r2", nine, None),
            Seen("m1", "r1", nine + second, None),
            Seen("m2", "r1", nine, None),
        ],
    )
    done = run(settings, [W1])[W1]
    assert (done.rows, done.repeated) == (4, 0)


@given(data=st.data())
@hypothesis.settings(
    max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
def test_repeated_rows_count_once_in_any_order(settings: Settings, data: st.DataObject) -> None:
    """Each chunk equals plain sessions, however many chunks are extracted at once."""
    minutes = st.integers(-30 * 60, 30 * 60).map(lambda n: dt.timedelta(minutes=n))
    starts = [BORDER + d for d in data.draw(st.lists(minutes, min_size=1, max_size=4))]
    lengths = st.none() | st.integers(0, 40).map(lambda n: dt.timedelta(hours=n))
    row = st.tuples(
        st.sampled_from(["m1", "m2"]),
        st.sampled_from(["r1", "r2"]),
        st.sampled_from(starts),
        lengths,
    )
    rows = data.draw(st.lists(row, min_size=1, max_size=12))
    campus.fill(
        settings, TREE, [Seen(m, r, s, None if n is None else s + n) for m, r, s, n in rows]
    )
    sessions: dict[tuple[str, str, dt.datetime], list[dt.timedelta | None]] = {}
    for mac, space, start, length in rows:
        sessions.setdefault((mac, space, start), []).append(length)
    wanted: dict[str, list[tuple[str, dt.datetime, dt.datetime]]] = {W1: [], W2: []}
    for (_, space, start), given_lengths in sessions.items():
        closed = [length for length in given_lengths if length is not None]
        end = start + (max(closed) if closed else LIMIT)
        end = max(end, start + dt.timedelta(seconds=1))
        if start < BORDER:
            wanted[W1].append((space, start, end))
        if end > BORDER:
            wanted[W2].append((space, start, end))
    together = run(settings, [W1, W2])
    files = {w: read(settings, w) for w in (W1, W2)}
    for week in (W1, W2):
        found = [
            (space, start, dt.datetime.fromtimestamp(end, LOS_ANGELES).replace(tzinfo=None))
            for space, start, end in zip(
                *(files[week][n].to_pylist() for n in ("space", "start_time", "end")), strict=True
            )
        ]
        assert sorted(found) == sorted(wanted[week])
        alone = run(settings, [week])[week]
        assert read(settings, week).equals(files[week])
        assert (alone.observed, alone.log_fingerprint) == (
            together[week].observed,
            together[week].log_fingerprint,
        )


def test_a_pass_notes_the_address_of_each_device(settings: Settings) -> None:
    nine, ten = at("2025-01-07T09:00"), at("2025-01-07T10:00")
    names = ["00:1A:2B:3C:4D:5E", "pseudonym-7", "001a2b3c4d5e", "unknown"]
    campus.add_sessions(settings, [Seen(name, "r1", nine, ten) for name in names])
    for done in extract(settings, open_lake(settings), load_tree(settings), [W1]):
        assert done.addresses is not None
        noted = {
            (row["device"] % 2**64, row["mac_address"])
            for row in pa.ipc.open_file(done.addresses).read_all().to_pylist()
        }
    ids = DeviceIds(device_key(settings))
    addresses = ["00:1a:2b:3c:4d:5e", "pseudonym-7"]
    assert noted == set(zip(ids(pa.array(addresses)).tolist(), addresses, strict=True))
    assert {d for d, _ in noted} == set(read(settings, W1)["device"].to_pylist())


def test_rows_are_sorted_and_have_no_address(settings: Settings) -> None:
    rng = np.random.default_rng(1)
    rows = []
    for _ in range(500):
        start = at("2025-01-06") + dt.timedelta(minutes=int(rng.integers(0, 10_000)))
        rows.append(
            Seen(f"mac-{rng.integers(0, 40)}", "r1", start, start + dt.timedelta(minutes=20))
        )
    campus.add_sessions(settings, rows)
    done = run(settings, [W1])[W1]
    table = read(settings, W1)
    assert table.schema.field("device").type == pa.uint64()
    order = list(zip(table["device"].to_pylist(), table["start"].to_pylist(), strict=True))
    assert order == sorted(order)
    assert done.devices == 40 == len(set(table["device"].to_pylist()))
    assert done.rows == 500 == table.num_rows
    raw = open_lake(settings).read_bytes(sessions_key(W1))
    assert b"mac-" not in raw


def test_devices_depend_on_the_key_alone(settings: Settings) -> None:
    campus.add_sessions(settings, [Seen("m1", "r1", at("2025-01-07T09:00"), None)])

    def device(key: str) -> int:
        run(settings.model_copy(update={"device_key": SecretStr(key)}), [W1])
        return read(settings, W1)["device"][0].as_py()

    assert device("ab" * 32) == device("ab" * 32) != device("cd" * 32)


def test_rejects_have_their_reason(settings: Settings) -> None:
    nine, ten = at("2025-01-07T09:00"), at("2025-01-07T10:00")
    campus.add_sessions(
        settings,
        [
            Seen("good", "r1", nine, ten),
            Seen(None, "r1", nine, ten),
            Seen("", "r1", nine, ten),
            Seen("  ", "r1", nine, ten),
            Seen("FF-FF-FF-FF-FF-FF", "r1", nine, ten),
            Seen("00:1a:2b:00:04", "nowhere", nine, ten),
            Seen("1.1E+12", "r1", nine, ten),
            Seen("a", "nowhere", nine, ten),
            Seen("b", None, nine, ten),
            Seen("c", "r1", ten, nine),
            Seen("d", "r1", nine, nine + dt.timedelta(days=40)),
            Seen("e", "r2", at("2025-01-14T09:00"), at("2025-01-13T09:00")),
            Seen("f", "r2", nine, at("2999-01-01")),
        ],
    )
    assert rejects(settings, [W1, W2]) == sorted(
        [
            (W1, NO_DEVICE, None),
            (W1, NO_DEVICE, ""),
            (W1, NO_DEVICE, "  "),
            (W1, PLACEHOLDER, "FF-FF-FF-FF-FF-FF"),
            (W1, DAMAGED, "00:1a:2b:00:04"),
            (W1, NUMBER, "1.1E+12"),
            (W1, UNKNOWN_SPACE, "a"),
            (W1, UNKNOWN_SPACE, "b"),
            (W1, END_BEFORE_START, "c"),
            (W1, TOO_LONG, "d"),
            (W1, IMPLAUSIBLE_TIME, "f"),
            (W2, END_BEFORE_START, "e"),
        ],
        key=str,
    )
    done = run(settings, [W1, W2])
    assert (done[W1].rows, done[W1].rejected) == (1, 11)
    assert (done[W2].rows, done[W2].rejected) == (0, 1)
    unknown = done[W1].by_space.filter(pa.compute.invert(done[W1].by_space["known"]))
    assert unknown.select(["space", "rows"]).to_pylist() == [{"space": "nowhere", "rows": 1}]


def test_a_rejected_row_is_reported_once_even_across_chunks(
    settings: Settings,
) -> None:
    campus.add_sessions(
        settings, [Seen("a", "nowhere", at("2025-01-07T09:00"), at("2025-01-21T09:00"))]
    )
    assert [chunk for chunk, _, _ in rejects(settings, [W1, W2, W3])] == [W1]
    assert rejects(settings, [W2, W3]) == []


def test_the_plausible_range(settings: Settings) -> None:
    campus.add_sessions(
        settings,
        [
            Seen("early", "r1", at("2025-01-06T00:00"), at("2025-01-06T02:00")),
            Seen("late", "r1", at("2025-01-07T23:00"), at("2025-01-08T00:00")),
            Seen("good", "r1", at("2025-01-06T01:00"), at("2025-01-07T23:59:59")),
        ],
    )
    narrow = settings.model_copy(
        update={"earliest_time": at("2025-01-06T01:00"), "latest_time": at("2025-01-08T00:00")}
    )
    assert {(reason, mac) for _, reason, mac in rejects(narrow, [W1])} == {
        (IMPLAUSIBLE_TIME, "early"),
        (IMPLAUSIBLE_TIME, "late"),
    }


def test_separate_chunks_are_read_separately_with_the_same_result(settings: Settings) -> None:
    campus.add_sessions(
        settings, [Seen("m1", "r1", at("2025-01-11T12:00"), at("2025-01-21T12:00"))]
    )
    together = run(settings, [W1, W2, W3])
    apart = run(settings, [W3, W1])
    assert list(apart) == [W1, W3]
    for chunk in apart:
        assert apart[chunk].fingerprint == together[chunk].fingerprint
        assert apart[chunk].log_fingerprint == together[chunk].log_fingerprint
        assert apart[chunk].observed == together[chunk].observed
    assert list(consecutive([W1, W2, "2025-02-03"], settings)) == [[W1, W2], ["2025-02-03"]]


def test_passes_hold_a_bounded_number_of_chunks(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNKS_PER_PASS", 2)
    assert list(consecutive([W1, W2, W3], settings)) == [[W1, W2], [W3]]


def test_a_chunk_larger_than_the_memory_budget_is_sorted_in_parts(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(
        settings,
        "INSERT INTO source.user_ap_trajectory SELECT 'mac' || i % 997, 'ap', "
        "timestamp '2025-01-06' + (i * 7919 % 600000) * interval '1 s', "
        "timestamp '2025-01-06' + (i * 7919 % 600000 + i % 3000) * interval '1 s', "
        "CASE i % 3 WHEN 0 THEN 'r1' WHEN 1 THEN 'r2' ELSE 'hall' END "
        "FROM generate_series(1, 20000) i",
    )
    whole = run(settings, [W1])[W1]
    one = read(settings, W1)
    monkeypatch.setattr(module, "BYTES_PER_ROW", 20_000)  # as if there were 200 times as many rows
    parts = run(settings, [W1])[W1]
    other = read(settings, W1)
    assert other.to_pylist() == one.to_pylist()
    assert (parts.rows, parts.devices, parts.fingerprint, parts.log_fingerprint) == (
        whole.rows,
        whole.devices,
        whole.fingerprint,
        whole.log_fingerprint,
    )
    assert parts.by_space.equals(whole.by_space)


def test_content_by_space_does_not_depend_on_order(settings: Settings) -> None:
    rows = [
        Seen("m1", "r1", at("2025-01-07T09:00"), at("2025-01-07T10:00")),
        Seen("m2", "r1", at("2025-01-07T09:00"), at("2025-01-07T10:00")),
        Seen("m1", "r2", at("2025-01-07T11:00"), at("2025-01-07T12:00")),
    ]
    campus.add_sessions(settings, rows)
    first = run(settings, [W1])[W1]
    change(settings, "DELETE FROM source.user_ap_trajectory")
    campus.add_sessions(settings, rows[::-1])
    second = run(settings, [W1])[W1]
    assert first.by_space.equals(second.by_space)
    assert first.log_fingerprint == second.log_fingerprint
    change(settings, "UPDATE source.user_ap_trajectory SET space_id = 'hall' WHERE space_id = 'r2'")
    third = run(settings, [W1])[W1]
    prints = [
        dict(
            zip(d.by_space["space"].to_pylist(), d.by_space["fingerprint"].to_pylist(), strict=True)
        )
        for d in (first, third)
    ]
    assert prints[0]["r1"] == prints[1]["r1"]
    assert set(prints[1]) == {"r1", "hall"}


@pytest.mark.parametrize(
    ("changed", "counted", "logged"),
    [
        ("sensor_id = 'other'", False, True),
        ("start_time = start_time + interval '0.4 s'", False, True),
        ("end_time = end_time + interval '7 days'", False, True),
        ("end_time = NULL", True, True),
        ("start_time = start_time - interval '7 days'", True, True),
        ("mac_address = 'M-1'", True, True),
        ("mac_address = ' m-1'", False, False),
    ],
)
def test_what_changes_which_fingerprint(
    settings: Settings, changed: str, counted: bool, logged: bool
) -> None:
    """Of a session that starts in the chunk and goes on in the next one."""
    campus.add_sessions(settings, [Seen("m-1", "r1", at("2025-01-07T09:00"), at("2025-01-14"))])
    before = run(settings, [W1])[W1]
    change(settings, f"UPDATE source.user_ap_trajectory SET {changed}")
    after = run(settings, [W1])[W1]
    assert (before.fingerprint != after.fingerprint) == counted
    assert (before.log_fingerprint != after.log_fingerprint) == logged


def test_a_carried_session_is_not_in_the_log_of_the_chunk(settings: Settings) -> None:
    empty = run(settings, [W2])[W2]
    campus.add_sessions(settings, [Seen("m1", "r1", at("2025-01-12"), at("2025-01-14"))])
    carried = run(settings, [W2])[W2]
    assert carried.log_fingerprint == empty.log_fingerprint
    assert carried.fingerprint != empty.fingerprint


def test_a_chunk_does_not_depend_on_which_others_are_extracted(settings: Settings) -> None:
    """A session that starts before the first chunk is in no log until its own chunk is there."""
    early = Seen("m1", "r1", at("2025-01-12"), at("2025-01-14"))
    campus.add_sessions(settings, [early, Seen("m2", "r1", at("2025-01-15"), None)])
    alone, alone_rows = run(settings, [W2])[W2], read(settings, W2)
    assert sorted(alone_rows["carried"].to_pylist()) == [False, True]
    done = run(settings, [W1, W2])
    assert (done[W2].fingerprint, done[W2].log_fingerprint) == (
        alone.fingerprint,
        alone.log_fingerprint,
    )
    assert read(settings, W2) == alone_rows
    log = [row for w in (W1, W2) for row in read(settings, w).to_pylist() if not row["carried"]]
    assert [row["start_time"] for row in log] == [at("2025-01-12"), at("2025-01-15")]


def test_the_order_is_that_of_all_columns() -> None:
    rng = np.random.default_rng(5)
    for n in (1, 2, 50, 3000):
        rows = {
            "device": rng.integers(0, 2**64, 40, np.uint64)[rng.integers(0, 40, n)],
            "space": rng.integers(0, 3, n).astype(np.int32),
            "sensor": rng.integers(-1, 2, n).astype(np.int32),
            "start": 1_700_000_000 + rng.integers(0, 60, n),
            "end": 1_700_000_100 + rng.integers(0, 3, n),
            "start_time": rng.integers(0, 2, n),
            "end_time": rng.integers(0, 2, n),
            "is_open": rng.integers(0, 2, n).astype(np.uint8),
            "session": rng.integers(0, 2, n).astype(np.uint64),
            "person": rng.integers(0, 2, n).astype(np.uint64),
            "kept": rng.integers(-1, 2, n).astype(np.int32),
        }
        names = ("device", "start", "end", "space", "sensor", "start_time", "end_time", "is_open")
        names = (*names, "session", "person", "kept")
        ours = module._order(rows)
        plain = sorted(range(n), key=lambda i: tuple(rows[name][i] for name in names))
        assert sorted(ours.tolist()) == list(range(n))
        for name in names:
            np.testing.assert_array_equal(rows[name][ours], rows[name][plain])


def test_nothing_is_left_when_the_lake_cannot_be_written(
    settings: Settings, tmp_path: Path
) -> None:
    campus.add_sessions(settings, [Seen("m1", "r1", at("2025-01-07T09:00"), None)])
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    broken = settings.model_copy(update={"lake_url": str(blocked / "lake")})
    open_lake.cache_clear()
    with pytest.raises(LakeError):
        run(broken, [W1])
    scratch = settings.home_path / "tmp" / "sessions"
    assert list(scratch.iterdir()) == []


def test_leftovers_of_killed_processes_are_removed(settings: Settings) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    scratch = settings.home_path / "tmp" / "sessions"
    for pid in (ended.pid, os.getpid()):
        (scratch / f"{pid}-abc").mkdir(parents=True)
    run(settings, [W1])
    assert [path.name for path in scratch.iterdir()] == [f"{os.getpid()}-abc"]


def test_an_empty_chunk_has_an_empty_file(settings: Settings) -> None:
    done = run(settings, [W1])[W1]
    assert (done.rows, done.devices, done.rejected, done.by_space.num_rows) == (0, 0, 0, 0)
    lake: Lake = open_lake(settings)
    assert lake.exists(sessions_key(W1))
    assert read(settings, W1).num_rows == 0


def _keep(settings: Settings, number: str, values: str | None) -> None:
    campus.change(
        settings,
        "UPDATE source.user_ap_trajectory SET kept = %s WHERE session_id = %s",
        *(values, number),
    )


def test_what_is_kept_of_a_session_is_of_all_its_rows(settings: Settings) -> None:
    """The closed row's values count; those of the others under further names are not lost."""
    start, end = at("2025-01-07T09:00"), at("2025-01-07T10:00")
    rows = [("open", None), ("closed", end), ("shorter", at("2025-01-07T09:30"))]
    campus.add_sessions(settings, [Seen("m1", "r1", start, until) for _, until in rows])
    for number, until in rows:
        campus.change(
            settings,
            "UPDATE source.user_ap_trajectory SET session_id = %s "
            "WHERE end_time IS NOT DISTINCT FROM %s",
            *(number, until),
        )
    nothing = run(settings, [W1, W2])[W1]
    assert "kept" not in read(settings, W1).column_names
    before = open_lake(settings).read_bytes(sessions_key(W1))

    _keep(settings, "open", '{"net": "old", "rssi": "-70", "kind": "phone"}')
    _keep(settings, "shorter", '{"net": "older", "kind": "laptop"}')
    completed = run(settings, [W1, W2])[W1]
    assert read(settings, W1)["kept"].to_pylist() == [
        '{"net": "older", "kind": "laptop", "rssi": "-70"}'
    ]
    assert "kept" not in read(settings, W2).column_names
    _keep(settings, "closed", '{"net": "new"}')
    found = run(settings, [W1, W2])[W1]
    assert read(settings, W1)["kept"].to_pylist() == [
        '{"net": "new", "kind": "laptop", "rssi": "-70"}'
    ]
    # Rules read it, and no count does.
    prints = {d.log_fingerprint for d in (nothing, completed, found)}
    assert len(prints) == len({d.observed for d in (nothing, completed, found)}) == 3
    assert len({d.fingerprint for d in (nothing, completed, found)}) == 1

    for number, _ in rows:
        _keep(settings, number, None)
    again = run(settings, [W1, W2])[W1]
    assert open_lake(settings).read_bytes(sessions_key(W1)) == before
    assert (again.observed, again.log_fingerprint) == (nothing.observed, nothing.log_fingerprint)
