"""Identities by week, compared with a plain count."""

from __future__ import annotations

import datetime as dt
import itertools
from collections import defaultdict
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.dbt_project.lake import write_lake, write_spaces
from tests.dbt_project.oracle import Session
from tippers_dagster.campus.addresses import BY_DEVICE
from tippers_dagster.campus.local_time import chunk_bounds
from tippers_dagster.occupancy.identities import WEEKS, identities_by_week
from tippers_dagster.occupancy.log_identities import log_identities
from tippers_dagster.settings import Settings

ADDRESSES = {
    0: "00:1b:a9:00:00:00",
    1: "02:00:00:00:00:01",
    2: "pseudonym",
    3: "da:00:00:00:00:03",
    2**64 - 1: "00:00:01:00:00:00",
}
KINDS = {0: "universal", 1: "randomised", 2: "opaque", 3: "randomised", 2**64 - 1: "universal"}
DEVICES = [*ADDRESSES, 7]
"""The last one has no address."""

START = dt.date(2024, 12, 18)
Row = tuple[int, dt.date, int, int]

rows_of_days = st.dictionaries(
    st.tuples(st.sampled_from(DEVICES), st.integers(0, 60).map(lambda n: START + dt.timedelta(n))),
    st.tuples(st.integers(1, 9), st.integers(0, 9)),
    max_size=60,
).map(lambda found: [(*key, sum(n), n[1]) for key, n in found.items()])


def chunks(rows: list[Row], size: str) -> list[pa.Table]:
    """Device days in the chunks of the lake, from before the first date to after the last."""
    tables, start = [], dt.date(2024, 12, 1 if size == "month" else 16)
    while start < dt.date(2025, 3, 1):
        _, end = chunk_bounds(str(start), size)
        own = sorted(row for row in rows if start <= row[1] < end)
        columns = list(zip(*own, strict=True)) or [(), (), (), ()]
        types = (pa.uint64(), pa.date32(), pa.int32(), pa.int32())
        arrays = [pa.array(c, t) for c, t in zip(columns, types, strict=True)]
        tables.append(pa.table(arrays, ["device", "local_date", "sessions", "known"]))
        start = end
    return tables


def plain(rows: list[Row]) -> list[dict[str, Any]]:
    """The same, row by row."""
    weeks: dict[dt.date, list[Row]] = defaultdict(list)
    for row in rows:
        weeks[row[1] - dt.timedelta(row[1].weekday())].append(row)
    first = {d: min(row[1] for row in rows if row[0] == d) for d in {row[0] for row in rows}}
    found = []
    for week, own in sorted(weeks.items()):
        dates, devices = {row[1] for row in own}, {row[0] for row in own}
        kinds = [KINDS.get(device, "opaque") for device in devices]
        new = [row for row in own if row[1] == first[row[0]]]
        found.append(
            {
                "week": week,
                "dates": len(dates),
                "devices": len(devices),
                **{kind: kinds.count(kind) for kind in ("universal", "randomised", "opaque")},
                "sessions": sum(row[2] for row in own),
                "known": sum(row[3] for row in own),
                "devices_a_day": len(own) / len(dates),
                "new_a_day": len(new) / len(dates),
                "is_first": week == min(weeks),
            }
        )
    return found


def addresses() -> pa.Table:
    return pa.table(
        [pa.array(list(ADDRESSES), pa.uint64()), list(ADDRESSES.values())], schema=BY_DEVICE
    )


@given(rows=rows_of_days, size=st.sampled_from(["day", "week", "month"]))
def test_identities_equal_a_plain_count(rows: list[Row], size: str) -> None:
    found = identities_by_week(chunks(rows, size), addresses())
    assert found.schema == WEEKS
    assert found.to_pylist() == plain(rows)


def test_files_of_an_earlier_version_have_no_persons() -> None:
    (table,) = [t for t in chunks([(1, START, 3, 2)], "week") if t.num_rows]
    table = table.set_column(3, "known", pa.nulls(1, pa.int32()))
    (row,) = identities_by_week([table], addresses()).to_pylist()
    assert (row["sessions"], row["known"]) == (3, 0)


def test_the_identities_of_the_log(stack: Settings) -> None:
    assert log_identities(stack).num_rows == 0
    write_spaces(stack)
    starts = [dt.datetime(2025, 1, day, 9) for day in (6, 7, 14)]
    devices = ("00:1b:a9:00:00:00", "02:00:00:00:00:01", "02:00:00:00:00:02")
    write_lake(stack, list(itertools.starmap(_session, zip(devices, starts, strict=True))), [])
    found = log_identities(stack).to_pylist()
    assert [(str(row["week"]), row["universal"], row["randomised"]) for row in found] == [
        ("2025-01-06", 1, 1),
        ("2025-01-13", 0, 1),
    ]
    assert [row["new_a_day"] for row in found] == [pytest.approx(1), pytest.approx(1)]


def _session(device: str, start: dt.datetime) -> Session:
    end = start + dt.timedelta(hours=1)
    seconds = [round(t.replace(tzinfo=dt.UTC).timestamp()) for t in (start, end)]
    return Session(device, "ap1", "1", start, end, *seconds)
