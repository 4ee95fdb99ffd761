"""Observations become sessions, compared with a simple oracle."""

import datetime as dt
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tippers_dagster.campus.intake.ingest import ingest_file
from tippers_dagster.campus.intake.observations import (
    ObservationColumns,
    Observations,
    chain,
    ingest_observations,
)
from tippers_dagster.campus.source.load import read_source
from tippers_dagster.errors import BadInput
from tippers_dagster.settings import Settings

SECOND = 1_000_000
Seen = tuple[int, int, int]
"""Device, second, access point."""


def _chain(seen: list[Seen], gap: int) -> list[tuple[int, int, int, int]]:
    device, second, place = np.array(seen, np.int64).reshape(-1, 3).T
    names = pa.array([str(i) for i in range(10)])
    chains = chain(
        Observations(
            device.astype(np.int32),
            names,
            place.astype(np.int32),
            names,
            second * SECOND,
            np.zeros(len(second), np.uint64),
            np.zeros(len(second), np.int32),
            pa.array([""]),
        ),
        gap,
    )
    columns = (chains.devices, chains.access_points, chains.start // SECOND, chains.end // SECOND)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def _oracle(seen: list[Seen], gap: int) -> list[tuple[int, int, int, int]]:
    sessions = []
    for device, group in groupby(sorted(set(seen)), key=lambda o: o[0]):
        mine = list(group)
        start = mine[0][1]
        for (_, second, place), (_, later, elsewhere) in pairwise(mine):
            if later - second > gap:
                sessions.append((device, place, start, second))
                start = later
            elif place != elsewhere:
                sessions.append((device, place, start, later))
                start = later
        sessions.append((device, mine[-1][2], start, mine[-1][1]))
    return sessions


@given(
    seen=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 60), st.integers(0, 3))),
    gap=st.integers(1, 20),
)
def test_chains_equal_the_oracle(seen: list[Seen], gap: int) -> None:
    assert _chain(seen, gap) == _oracle(seen, gap)


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ([], []),
        ([(1, 5, 0)], [(1, 0, 5, 5)]),
        ([(1, 5, 0), (1, 5, 0)], [(1, 0, 5, 5)]),
        ([(1, 0, 0), (1, 10, 0), (1, 20, 0)], [(1, 0, 0, 20)]),
        ([(1, 0, 0), (1, 11, 0)], [(1, 0, 0, 0), (1, 0, 11, 11)]),
        ([(1, 0, 0), (1, 10, 3)], [(1, 0, 0, 10), (1, 3, 10, 10)]),
        ([(1, 0, 0), (1, 11, 3)], [(1, 0, 0, 0), (1, 3, 11, 11)]),
        ([(1, 0, 0), (2, 5, 0)], [(1, 0, 0, 0), (2, 0, 5, 5)]),
    ],
    ids=["none", "lone", "twice", "chain", "gap", "move", "move after a gap", "other device"],
)
def test_the_rule(seen: list[Seen], expected: list[tuple[int, int, int, int]]) -> None:
    assert _chain(seen, 10) == expected


def test_another_person_ends_a_session() -> None:
    """One without a person is of whoever has the device."""
    persons = [0, 0, 7, 0, 8, 0, 7]
    n = len(persons)
    names = pa.array(["d", "ap"])
    seen = Observations(
        np.zeros(n, np.int32),
        names,
        np.ones(n, np.int32),
        names,
        np.arange(n) * SECOND,
        np.array(persons, np.uint64),
        np.zeros(n, np.int32),
        pa.array([""]),
    )
    found = chain(seen, 10)
    rows = (found.start // SECOND, found.end // SECOND, found.persons)
    assert list(zip(*(row.tolist() for row in rows), strict=True)) == [
        (0, 4, 7),
        (4, 6, 8),
        (6, 6, 7),
    ]


def _write(folder: Path, name: str, lines: list[str]) -> Path:
    path = folder / name
    path.write_text("\n".join([*lines, ""]))
    return path


def _places(settings: Settings, folder: Path) -> None:
    spaces = ["space_id,space_name,parent_space_id,building_room", "b,,,", "r1,,b,", "r2,,b,"]
    ingest_file(settings, "spaces", _write(folder, "spaces.csv", [*spaces, "ap9,,b,"]))
    coverage = [
        "region_id,space_name,wapcov_id,sensor,intersection_percentage",
        "r1,,w,ap1,30",
        "r2,,w,ap1,70",
        "elsewhere,,w,ap1,90",
        "r1,,w,ap2,10",
    ]
    ingest_file(settings, "region_to_coverage", _write(folder, "coverage.csv", coverage))


def test_observations_become_sessions_in_spaces(stack: Settings, tmp_path: Path) -> None:
    _places(stack, tmp_path)
    path = _write(
        tmp_path,
        "seen.csv",
        [
            "who,when,where,rssi",
            "a,2025-01-06 10:20:00,ap1,-5",
            "a,2025-01-06 10:00:00,ap1,-5",
            "a,2025-01-06 10:30:00,ap2,-5",
            "b,2025-01-06 10:00:00,ap9,-5",
            "b,2025-01-06 10:00:00,ap9,-6",
            "b,2025-01-06 10:00:00,ap7,-5",
            ",2025-01-06 10:00:00,ap9,-5",
            "b,,ap9,-5",
            "b,2025-01-06 10:00:00,,-5",
            "b,2025-01-06 10:00:00 CET,ap9,-5",
            "b,1999-01-06 10:00:00,ap9,-5",
        ],
    )
    columns = ObservationColumns("who", "when", "where")
    report = ingest_observations(stack, path, columns, gap_seconds=1800)
    assert (report.rows, report.loaded, report.ignored) == (11, 3, ["rssi"])
    assert report.details["duplicates"] == "1"
    reasons = {reason.split(" is outside")[0]: n for reason, n in report.rejected.items()}
    assert reasons == {
        "access point ap7 covers no space": 1,
        "no device": 1,
        "no when": 1,
        "no access point": 1,
        "when has a zone that is not one of America/Los_Angeles": 1,
        "when": 1,
    }
    found = read_source(
        stack,
        "SELECT mac_address, sensor_id, start_time, end_time, space_id "
        "FROM source.user_ap_trajectory ORDER BY 1, 3",
    ).to_pylist()
    at = dt.datetime(2025, 1, 6, 10)
    half = dt.timedelta(minutes=30)
    assert [tuple(row.values()) for row in found] == [
        ("a", "ap1", at, at + half, "r2"),
        ("a", "ap2", at + half, at + half, "r1"),
        ("b", "ap9", at, at, "ap9"),
    ]
    assert ingest_observations(stack, path, columns).already


def test_spellings_of_an_address_are_one_device(stack: Settings, tmp_path: Path) -> None:
    _places(stack, tmp_path)
    lines = [
        "mac_address,time,sensor_id",
        "00:1A:2B:3C:4D:5E,2025-01-06 10:00:00,ap1",
        "001a.2b3c.4d5e,2025-01-06 10:05:00,ap1",
        "Alice,2025-01-06 10:05:00,ap1",
        "00-1a-2b-3c-4d-5e,2025-01-06 10:10:00,ap2",
    ]
    ingest_observations(stack, _write(tmp_path, "seen.csv", lines), gap_seconds=600)
    found = read_source(
        stack,
        "SELECT mac_address, sensor_id, extract(epoch FROM end_time - start_time)::int AS seconds "
        "FROM source.user_ap_trajectory ORDER BY mac_address, start_time",
    ).to_pylist()
    assert [tuple(row.values()) for row in found] == [
        ("00:1a:2b:3c:4d:5e", "ap1", 600),
        ("00:1a:2b:3c:4d:5e", "ap2", 0),
        ("Alice", "ap1", 0),
    ]


def test_columns_must_differ(stack: Settings, tmp_path: Path) -> None:
    path = _write(tmp_path, "seen.csv", ["a,b,c", "1,2,3"])
    with pytest.raises(BadInput, match="three different columns"):
        ingest_observations(stack, path, ObservationColumns("a", "a", "c"))
    with pytest.raises(BadInput, match="has no column mac_address, time, sensor_id"):
        ingest_observations(stack, path)


def test_the_order_of_the_rows_does_not_matter(stack: Settings, tmp_path: Path) -> None:
    _places(stack, tmp_path)
    rows = ["a,2025-01-06 10:00:00,ap2", "a,2025-01-06 10:00:00,ap1", "a,2025-01-06 10:05:00,ap1"]
    for name, lines in (("1.csv", rows), ("2.csv", rows[::-1])):
        path = _write(tmp_path, name, ["mac_address,time,sensor_id", *lines])
        assert ingest_observations(stack, path).loaded == 3
    sessions = read_source(
        stack,
        "SELECT DISTINCT mac_address, sensor_id, start_time, end_time "
        "FROM source.user_ap_trajectory",
    )
    assert sessions.num_rows == 3
