"""Rows of logs as campuses have them, and what they mean."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Mapping, Sequence
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tippers_dagster.campus.devices import (
    DAMAGED,
    NO_DEVICE,
    NUMBER,
    OPAQUE,
    PLACEHOLDER,
    RANDOMISED,
    UNIVERSAL,
)
from tippers_dagster.campus.local_time import LocalClock
from tippers_dagster.campus.log.checks import END_BEFORE_START, NO_ACCESS_POINT, NO_SPACE
from tippers_dagster.campus.log.people import UserNames
from tippers_dagster.campus.log.sessions import (
    NO_PLACE,
    NOT_AN_ADDRESS,
    SCHEMA,
    Meaning,
    are_observations,
    normalised,
)
from tippers_dagster.errors import BadInput

ZONE = ZoneInfo("America/Los_Angeles")
DEVICE = "00:1a:2b:3c:4d:5e"
DAY = "2025-01-07 "


def meaning(**changes: object) -> Meaning:
    given = {
        "clock": LocalClock(ZONE.key),
        "plausible": (dt.datetime(2010, 1, 1), dt.datetime(2026, 12, 1)),
        "longest_seconds": 31 * 86_400,
        "key": b"k" * 32,
    }
    return Meaning(**(given | changes))  # type: ignore[arg-type]


def read(
    columns: Mapping[str, Sequence[object]], **changes: object
) -> tuple[list[dict[str, object]], dict[str, int]]:
    """Normalised rows, and the number of rejected ones by reason."""
    # A row without a value is one in every column that is not given.
    rows = max(map(len, columns.values()))
    given = {"device": [DEVICE] * rows, "access_point": ["ap1"] * rows, **columns}
    found, checks = normalised(pa.table(given), meaning(**changes))
    assert found.schema.remove_metadata() == SCHEMA
    assert found.num_rows == checks.good.sum()
    return found.to_pylist(), checks.counts()


def at(local: str) -> int:
    """UTC microseconds of a local time."""
    moment = dt.datetime.fromisoformat(local)
    return round((moment if moment.tzinfo else moment.replace(tzinfo=ZONE)).timestamp()) * 10**6


def spans(rows: list[dict[str, object]]) -> list[tuple[object, ...]]:
    return [(row["start"], row["end"], row["last_seen"]) for row in rows]


# --- whole logs -----------------------------------------------------------------------------
RADACCT = """
a1|kim@example.edu|09:00:00|09:25:00|09:30:00|1800|02-11-22-33-44-01:eduroam|00-1A-2B-3C-52-01
a2|KIM@example.edu|09:10:00|09:20:00|||02-11-22-33-44-01:eduroam|DA-A1-19-00-00-01
a3|lee@example.edu|09:00:00|09:40:00|||02-11-22-33-44-02:eduroam|DA-A1-19-00-00-02
a4|anonymous@example.edu|09:00:00||09:30:00|1800|02-11-22-33-44-02:eduroam|DA-A1-19-00-00-03
a5|anonymous@example.edu|09:00:00||09:30:00|1800|02-11-22-33-44-02:guest|00-1A-2B-3C-52-02
a6|host/lab-1.example.edu|09:00:00||10:00:00|3600|02-11-22-33-44-02:staff|00-1A-2B-3C-52-03
"""


def test_the_standard_table_of_freeradius() -> None:
    fields = ("session_id", "user", "start", "updated", "end", "duration", "access_point", "device")
    lines = [line.split("|") for line in RADACCT.split()]
    columns = dict(zip(fields, map(list, zip(*lines, strict=True)), strict=True))
    for role in ("start", "updated", "end"):
        columns[role] = [time and f"{DAY}{time}-08" for time in columns[role]]
    rows, rejected = read(columns)
    assert rejected == {}
    nine, ten_past, twenty, half = (at(DAY + t) for t in ("09:00", "09:10", "09:20", "09:30"))
    assert spans(rows) == [
        (nine, half, at(DAY + "09:25")),
        (ten_past, None, twenty),
        (nine, None, at(DAY + "09:40")),
        (nine, half, None),
        (nine, half, None),
        (nine, at(DAY + "10:00"), None),
    ]
    assert [row["device_kind"] for row in rows] == [
        UNIVERSAL, RANDOMISED, RANDOMISED, RANDOMISED, UNIVERSAL, UNIVERSAL,
    ]  # fmt: skip
    assert rows[0]["device"] == "00:1a:2b:3c:52:01"
    assert [row["access_point"] for row in rows[1:3]] == ["02:11:22:33:44:01", "02:11:22:33:44:02"]
    assert [row["ssid"] for row in rows] == ["eduroam"] * 4 + ["guest", "staff"]
    people = [row["person"] for row in rows]
    assert people[0] == people[1] != people[2]
    assert people[3:] == [None] * 3
    assert [row["session_id"] for row in rows] == ["a1", "a2", "a3", "a4", "a5", "a6"]


def test_spellings_of_devices_and_what_is_none() -> None:
    spelled = [
        *("00-1A-2B-3C-4D-5E", "001a.2b3c.4d5e", "001A2B3C4D5E", "001a2b-3c4d5e", "001a-2b3c-4d5e"),
        *("00:00:00:00:00:00", "unknown", "N/A", "00:1a:2b:00:04", "1.1E+12", None, "pseudonym-7"),
    ]
    columns = {"device": spelled, "start": [DAY + "09:00"] * 12}
    rows, rejected = read(columns)
    assert [row["device"] for row in rows] == [DEVICE] * 5 + ["pseudonym-7"]
    assert rows[-1]["device_kind"] == OPAQUE
    assert rejected == {PLACEHOLDER: 3, DAMAGED: 1, NUMBER: 1, NO_DEVICE: 1}
    assert read(columns, device_is="address")[1][NOT_AN_ADDRESS] == 1


def test_every_way_to_say_not_ended_is_an_open_session() -> None:
    ends = ["0000-00-00 00:00:00", "1970-01-01 00:00:00", "9999-12-31 23:59:59",
            "2038-01-19 03:14:07", "None", "NaT", "infinity", "-", "Online", "", None]  # fmt: skip
    rows, rejected = read({"start": [DAY + "09:00"] * len(ends), "end": ends})
    assert rejected == {}
    assert spans(rows) == [(at(DAY + "09:00"), None, None)] * len(ends)
    rows, rejected = read({"start": ends, "end": [DAY + "09:00"] * len(ends)})
    assert rows == []
    assert rejected == {"start is a placeholder, not a time": 9, "no start": 2}


def test_the_hour_that_happens_twice() -> None:
    day = "2024-11-03"
    written = [
        (f"{day}T08:30:00Z", f"{day}T08:45:00Z"),
        (f"{day}T09:30:00Z", f"{day}T09:45:00Z"),
        (f"{day} 01:50", f"{day} 01:10"),
        (f"{day} 01:50 PST", f"{day} 01:55"),
        (f"{day} 02:10", f"{day} 01:50"),
    ]
    starts, ends = (list(column) for column in zip(*written, strict=True))
    rows, rejected = read({"start": starts, "end": ends})
    assert [(row["start"], row["end"]) for row in rows] == [
        (at(f"{day}T{start}+00:00"), at(f"{day}T{end}+00:00"))
        for start, end in (
            *(("08:30", "08:45"), ("09:30", "09:45")),
            *(("08:50", "09:10"), ("09:50", "09:55")),
        )
    ]
    assert rejected == {END_BEFORE_START: 1}


# --- starts, ends and durations -------------------------------------------------------------
def test_an_end_by_its_duration() -> None:
    start = [DAY + "09:00"] * 5
    rows, rejected = read({"start": start, "duration": ["1800", "00:30:00", "", "x", "-1"]})
    half = (at(DAY + "09:00"), at(DAY + "09:30"), None)
    assert spans(rows) == [half, half, (at(DAY + "09:00"), None, None)]
    assert rejected == {"duration is not a duration": 2}
    rows, _ = read({"start": start[:1], "duration": [30]}, duration_unit="min")
    assert spans(rows) == [half]


def test_a_start_by_its_duration() -> None:
    rows, rejected = read(
        {"end": [DAY + "09:30", None, DAY + "09:30"], "duration": [1800, 60, None]}
    )
    assert spans(rows) == [(at(DAY + "09:00"), at(DAY + "09:30"), None)]
    assert rejected == {"no end": 1, "no duration": 1}


def test_signs_of_life() -> None:
    rows, rejected = read(
        {
            "start": [DAY + "09:00"] * 5,
            "end": [None, None, None, DAY + "09:30", None],
            "updated": [DAY + "09:20", "", DAY + "08:00", DAY + "09:25", "x"],
            "duration": ["600", "600", "", "1800", ""],
        }
    )
    nine = at(DAY + "09:00")
    assert spans(rows) == [
        (nine, None, at(DAY + "09:20")),
        (nine, None, at(DAY + "09:10")),
        (nine, None, nine),
        (nine, at(DAY + "09:30"), at(DAY + "09:25")),
    ]
    assert rejected == {"updated is not a time": 1}
    rows, _ = read({"start": [DAY + "09:00"], "end": [""], "duration": ["0"]})
    assert spans(rows) == [(nine, None, None)]
    # In the hour that happens twice, too.
    rows, _ = read({"start": ["2024-11-03 01:50"], "updated": ["2024-11-03 01:10"]})
    assert spans(rows) == [(at("2024-11-03T08:50+00:00"), None, at("2024-11-03T09:10+00:00"))]


def test_lone_instants_are_observations() -> None:
    seen = [DAY + "09:00", "x"]
    table = pa.table({"device": [DEVICE] * 2, "seen": seen, "space": ["12"] * 2})
    rows, checks = normalised(table, meaning())
    assert checks.counts() == {"seen is not a time": 1}
    assert are_observations(rows)
    assert spans(rows.to_pylist()) == [(at(DAY + "09:00"), None, None)]
    sessions, _ = normalised(table.rename_columns(["device", "start", "space"]), meaning())
    assert not are_observations(sessions)
    assert are_observations(pa.concat_tables([rows, rows.slice(0, 0)]))


def test_reasons_name_the_columns_of_the_source() -> None:
    names = {"start": "acctstarttime", "end": "acctstoptime", "session_id": "id"}
    rows, rejected = read(
        {
            "start": [None, "x", DAY + "09:00 CEST", "2001-01-01", *[DAY + "09:00"] * 4],
            "end": [None] * 4 + ["x", DAY + "08:00", "2025-03-07 09:00", DAY + "09:30"],
            "session_id": ["a"] * 7 + ["b\0"],
        },
        names=names,
    )
    assert rows == []
    assert rejected == {
        "no acctstarttime": 1,
        "acctstarttime is not a time": 1,
        "acctstarttime has a zone that is not one of America/Los_Angeles": 1,
        "acctstarttime is outside the plausible range 2010-01-01 to 2026-12-01": 1,
        "acctstoptime is not a time": 1,
        END_BEFORE_START: 1,
        "longer than 2678400 s": 1,
        "id has a NUL character": 1,
    }
    _, rejected = read({"start": ["2026-11-30 23:00"], "duration": [7200]})
    assert rejected == {"the session is outside the plausible range 2010-01-01 to 2026-12-01": 1}


# --- places ---------------------------------------------------------------------------------
def test_places() -> None:
    start = [DAY + "09:00"] * 3
    spaces = {"device": [DEVICE] * 3, "start": start, "space": ["12", " ", None]}
    rows, checks = normalised(pa.table(spaces), meaning())
    assert (rows["space"].to_pylist(), checks.counts()) == (["12"], {NO_SPACE: 2})
    rows, checks = normalised(pa.table(spaces | {"access_point": ["", "ap", ""]}), meaning())
    assert rows["access_point"].to_pylist() == [None, "ap"]
    assert checks.counts() == {NO_PLACE: 1}
    assert read({"start": start, "access_point": [None, "", "ap"]})[1] == {NO_ACCESS_POINT: 2}


def test_a_network_of_its_own_column_comes_first() -> None:
    rows, _ = read(
        {
            "start": [DAY + "09:00"] * 2,
            "access_point": ["02-11-22-33-44-01:eduroam"] * 2,
            "ssid": ["staff", None],
        }
    )
    assert [row["ssid"] for row in rows] == ["staff", "eduroam"]


def test_typed_columns() -> None:
    moment = dt.datetime(2025, 1, 7, 9, tzinfo=ZONE)
    rows, rejected = read(
        {
            "device": pa.array([DEVICE, None]).dictionary_encode(),
            "access_point": pa.array([7, 8]),
            "start": pa.array([moment, moment], pa.timestamp("ns", "UTC")),
            "end": pa.array([int(moment.timestamp()) + 60, None]),
            "user": pa.array([12345, None]),
            "session_id": pa.array([1.0, None]),
        }
    )
    nine = at(DAY + "09:00")
    assert spans(rows) == [(nine, nine + 60 * 10**6, None)]
    assert (rows[0]["access_point"], rows[0]["session_id"]) == ("7", "1")
    assert rows[0]["person"] is not None
    assert rejected == {NO_DEVICE: 1}


# --- what is refused ------------------------------------------------------------------------
def test_dates_whose_order_is_open_are_refused_once() -> None:
    columns = {"start": [DAY + "09:00", "01/07/2025 09:00"], "end": [None, "13/07/2025 09:00"]}
    with pytest.raises(BadInput, match=r"Column begin .*'01/07/2025 09:00'.*\n.*--day-first"):
        read(columns, names={"start": "begin"})
    rows, _ = read(columns, order="day first")
    assert rows[1]["start"] == at("2025-07-01 09:00")


@pytest.mark.parametrize(
    "roles",
    [("device", "space"), ("device", "start"), ("start", "space"), ("device", "space", "end"),
     ("device", "space", "seen", "end"), ("device", "space", "seen", "start"),
     ("device", "space", "start", "other")],
)  # fmt: skip
def test_columns_that_make_no_sense(roles: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="neither sessions nor observations"):
        normalised(pa.table({role: ["x"] for role in roles}), meaning())


def test_columns_of_types_that_cannot_be_read() -> None:
    with pytest.raises(BadInput, match="Column mac is of type bool"):
        read({"device": [True], "start": [DAY]}, names={"device": "mac"})
    with pytest.raises(BadInput, match="Column user is of type list"):
        read({"start": [DAY], "user": [["kim"]]})


def test_the_key_is_not_shown() -> None:
    assert "kkkk" not in repr(meaning())


# --- any log --------------------------------------------------------------------------------
Session = tuple[int, int, int, int, int]
sessions = st.lists(
    st.tuples(
        st.integers(0, 5),  # device
        st.integers(0, 2),  # access point
        st.integers(0, 3),  # person; 0: nobody
        st.integers(1_736_000_000, 1_736_400_000),
        st.integers(-1, 7200),  # seconds; -1: open
    ),
    max_size=20,
)


@settings(deadline=None)
@given(sessions, st.randoms(use_true_random=False), st.integers(0, 20))
def test_random_spellings_come_back(log: list[Session], chance: random.Random, cut: int) -> None:
    """Whatever way each value is written, and in whatever batches the rows come."""
    written = pa.Table.from_pylist([_written(session, chance) for session in log], _TEXTS)
    rules = meaning(users=UserNames(own_realms=("example.edu",)))
    rows, checks = normalised(written, rules)
    assert checks.good.all()
    parts = [normalised(written.slice(*part), rules)[0] for part in ((0, cut), (cut,))]
    assert pa.concat_tables(parts).equals(rows)
    found = [
        (row["device"], row["access_point"], row["start"], row["end"]) for row in rows.to_pylist()
    ]
    assert found == [
        (
            f"00:1a:2b:3c:4d:{device:02x}",
            f"02:11:22:33:44:{place:02x}",
            start * 10**6,
            None if length < 0 else (start + length) * 10**6,
        )
        for device, place, _, start, length in log
    ]
    people = rows["person"].to_pylist()
    for (_, _, one, _, _), hash_ in zip(log, people, strict=True):
        assert (hash_ is None) == (one == 0)
        assert [h == hash_ for h in people] == [other == one for _, _, other, _, _ in log]


_TEXTS = pa.schema(
    [(name, pa.string()) for name in ("device", "access_point", "user", "start", "end")]
)


def _written(session: Session, chance: random.Random) -> dict[str, str | None]:
    device, place, person, start, length = session
    users = (
        ["", "anonymous@example.edu", "@example.edu", "host/pc", None]
        if person == 0
        else [f"u{person}", f"U{person}@Example.edu", f"u{person}@EXAMPLE.EDU "]
    )
    never = ["", None, "-", "0000-00-00 00:00:00", "still online", "(active)", "\N{EM DASH}", "0"]
    return {
        "device": chance.choice(_spellings(f"001a2b3c4d{device:02x}")),
        "access_point": chance.choice(_spellings(f"0211223344{place:02x}"))
        + chance.choice(["", ":eduroam", ":a:b"]),
        "user": chance.choice(users),
        "start": _written_time(start, chance),
        "end": chance.choice(never) if length < 0 else _written_time(start + length, chance),
    }


def _spellings(digits: str) -> list[str]:
    octets = [digits[i : i + 2] for i in range(0, 12, 2)]
    words = [digits[i : i + 4] for i in range(0, 12, 4)]
    return [digits, digits.upper(), ":".join(octets), "-".join(octets).upper(), ".".join(words)]


def _written_time(second: int, chance: random.Random) -> str:
    local = dt.datetime.fromtimestamp(second, ZONE)
    forms = ["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%d %H:%M:%S", "%d-%b-%Y %H:%M:%S", "%Y%m%dT%H%M%S",
             "%b %d, %Y %I:%M:%S %p", "%a %b %d %H:%M:%S %Z %Y"]  # fmt: skip
    numbers = [str(second * factor) for factor in (1, 1000, 10**6, 10**9)]
    return chance.choice([*(local.strftime(form) for form in forms), *numbers])


def test_lengths() -> None:
    cases = [
        ("2025-01-06 10:00", "2025-01-06 09:59", False),  # before it starts
        ("2025-01-06 10:00", "2025-01-06 10:00", True),
        ("2025-01-06 10:00", None, True),
        ("2025-01-06 10:00", "2025-02-06 10:00:01", False),  # 31 days and a second
        ("2025-11-02 01:50", "2025-11-02 01:10", True),  # clocks went back in between
        ("2025-11-02 02:10", "2025-11-02 01:50", False),  # the second 01:50 is before 02:10
        ("2025-11-03 01:50", "2025-11-03 01:10", False),  # an ordinary day
    ]
    start, end, good = zip(*cases, strict=True)
    rows = len(cases)
    columns = {"device": [DEVICE] * rows, "access_point": ["ap1"] * rows}
    _, checks = normalised(pa.table({**columns, "start": start, "end": end}), meaning())
    assert checks.good.tolist() == list(good)
