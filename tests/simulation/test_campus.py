"""The content of a simulated campus, and the consistency of its truth."""

import datetime as dt
from collections import defaultdict
from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tippers_dagster.campus.source.schema import (
    FACULTY_DATA,
    REGION_TO_COVERAGE,
    SESSIONS,
    SPACE_METADATA,
    SPACES,
    TRUTH_DEVICE,
    TRUTH_HEADCOUNT,
    TRUTH_OCCUPANCY,
    TRUTH_PERSON,
)
from tippers_dagster.errors import BadInput
from tippers_dagster.simulation import Campus, CampusOptions, simulate_campus
from tippers_dagster.simulation.days import on_calendar, true_stays

OPTIONS = CampusOptions(people=400, buildings=2, days=35, start=dt.date(2025, 2, 17), seed=3)


def _rows(campus: Campus) -> dict[str, pa.Table]:
    parts: dict[str, list[pa.Table]] = defaultdict(list)
    for batch in campus.batches():
        parts[batch.kind].append(batch.rows)
    return {kind: pa.concat_tables(tables) for kind, tables in parts.items()}


@pytest.fixture(scope="module")
def campus() -> Campus:
    return simulate_campus(OPTIONS)


@pytest.fixture(scope="module")
def rows(campus: Campus) -> dict[str, pa.Table]:
    return _rows(campus)


@pytest.fixture(scope="module")
def sessions(campus: Campus, rows: dict[str, pa.Table]) -> pd.DataFrame:
    """Usable sessions with their device, person and room."""
    frame = rows[SESSIONS].to_pandas()
    frame = frame[frame.mac_address.fillna("").ne("")]
    frame = frame[frame.end_time.isna() | (frame.end_time >= frame.start_time)]
    spaces = campus.tables[SPACES].to_pandas()
    frame = frame[frame.space_id.isin(spaces.space_id)]
    devices = campus.tables[TRUTH_DEVICE].to_pandas()
    people = campus.tables[TRUTH_PERSON].to_pandas()
    kinds = campus.tables[SPACE_METADATA].to_pandas().rename(columns={"roomid": "space_id"})
    frame = frame.merge(devices).merge(people, how="left").merge(kinds, how="left")
    frame["hours"] = (frame.end_time - frame.start_time).dt.total_seconds() / 3600
    frame["day"] = frame.start_time.dt.normalize()
    return frame


def test_the_same_options_give_the_same_rows(campus: Campus, rows: dict[str, pa.Table]) -> None:
    again = simulate_campus(OPTIONS)
    assert all(again.tables[kind].equals(table) for kind, table in campus.tables.items())
    again_rows = _rows(again)
    assert all(again_rows[kind].equals(table) for kind, table in rows.items())


def test_another_seed_gives_another_campus() -> None:
    small = [CampusOptions(people=40, buildings=1, days=7, seed=seed) for seed in (1, 2)]
    one, other = (_rows(simulate_campus(options))[SESSIONS] for options in small)
    assert not one.equals(other)


def test_the_spaces_are_one_tree_of_different_depths(campus: Campus) -> None:
    spaces = {row["space_id"]: row for row in campus.tables[SPACES].to_pylist()}

    def depth(space_id: str) -> int:
        parent = spaces[space_id]["parent_space_id"]
        return 0 if parent is None else 1 + depth(parent)

    depths = [depth(space_id) for space_id in spaces]
    assert depths.count(0) == 1
    parents = {row["parent_space_id"] for row in spaces.values()}
    leaves = {depth(space_id) for space_id in spaces if space_id not in parents}
    assert leaves == {1, 3, 4}
    buildings = [row for row in spaces.values() if row["space_name"].endswith("Hall")]
    assert len(buildings) == OPTIONS.buildings


def test_room_types_faculty_offices_and_coverage(campus: Campus) -> None:
    kinds = campus.tables[SPACE_METADATA].to_pandas()
    assert set(kinds.type) >= {
        "office", "conference room", "meeting room", "student lab", "classroom", "elevator",
        "rest room", "kitchen", "janitor", "telecom",
    }  # fmt: skip
    offices = set(kinds.building_room[kinds.type == "office"])
    faculty = campus.tables[FACULTY_DATA].to_pandas()
    assert set(faculty.office) < offices
    assert len(faculty) == campus.tables[TRUTH_PERSON]["person_type"].to_pylist().count("FACULTY")
    coverage = campus.tables[REGION_TO_COVERAGE].to_pandas()
    assert coverage.intersection_percentage.between(0, 100, inclusive="right").all()
    assert coverage.groupby("sensor").intersection_percentage.sum().le(100.1).all()
    assert coverage.groupby("sensor").size().median() >= 4


def test_sessions_are_where_their_access_point_covers(
    campus: Campus, sessions: pd.DataFrame
) -> None:
    coverage = campus.tables[REGION_TO_COVERAGE].to_pandas()
    covered = set(zip(coverage.sensor, coverage.region_id, strict=True))
    seen = set(zip(sessions.sensor_id, sessions.space_id, strict=True))
    assert seen <= covered


def test_devices_of_people(campus: Campus) -> None:
    devices = campus.tables[TRUTH_DEVICE].to_pandas()
    people = campus.tables[TRUTH_PERSON].to_pandas()
    assert devices.mac_address.is_unique
    assert devices.mac_address.str.fullmatch(r"([0-9a-f]{2}:){5}[0-9a-f]{2}").all()
    assert set(people.person_type) == {"UNDERGRAD", "GRAD", "FACULTY", "STAFF", "VISITOR"}
    assert devices.person_id.isna().eq(devices.device_type == "STATIC").all()
    carried = devices.dropna()
    assert set(carried.person_id) == set(people.person_id)
    per_person = carried.groupby(["person_id", "device_type"]).size().unstack(fill_value=0)
    assert per_person.PHONE.between(1, 2).all()
    assert per_person.LAPTOP.between(0, 1).all()
    assert 0.6 < per_person.LAPTOP.mean() < 0.95
    second_digit = devices.mac_address.str[1]
    assert second_digit.isin(list("26ae")).eq(devices.device_type == "PHONE").all()


def test_unusable_and_odd_rows_have_their_share(
    campus: Campus, rows: dict[str, pa.Table], sessions: pd.DataFrame
) -> None:
    total = rows[SESSIONS].num_rows
    reported = sum(sum(batch.unusable.values()) for batch in campus.batches())
    assert reported == total - len(sessions)
    assert 0.001 < reported / total < 0.003
    assert 0.001 < sessions.end_time.isna().mean() < 0.004
    assert 0.002 < (sessions.hours == 0).mean() < 0.01


def test_local_times_exist_and_lie_within_the_days(sessions: pd.DataFrame) -> None:
    first = pd.Timestamp(OPTIONS.start)
    last = first + pd.Timedelta(days=OPTIONS.days)
    gap = pd.Timestamp("2025-03-09 02:00"), pd.Timestamp("2025-03-09 03:00")
    for times in (sessions.start_time, sessions.end_time.dropna()):
        assert times.between(first, last).all()
        assert not ((times >= gap[0]) & (times < gap[1])).any()
        assert (times.dt.microsecond == 0).all()
    night = sessions[sessions.start_time.between("2025-03-09", "2025-03-09 03:59")]
    assert len(night) > 0, "some device is on during the night of the clock change"


def test_nobody_is_in_two_places(campus: Campus) -> None:
    off = np.array([[d, d >= 5] for d in range(7)])
    rng = np.random.default_rng(0)
    stays = true_stays(campus.people, campus.places, range(400), 0, off, rng)
    stays = on_calendar(stays, campus.calendar)
    order = np.lexsort((stays.start, stays.person))
    same = np.diff(stays.person[order]) == 0
    assert (stays.start[order][1:] >= stays.end[order][:-1])[same].all()
    assert (stays.end > stays.start).all()
    assert (stays.space >= 0).all()


@pytest.mark.parametrize(
    ("kind", "column"), [(TRUTH_HEADCOUNT, "people"), (TRUTH_OCCUPANCY, "number_connections")]
)
def test_a_parent_has_at_least_its_fullest_child_and_at_most_all(
    campus: Campus, rows: dict[str, pa.Table], kind: str, column: str
) -> None:
    parents = campus.tables[SPACES].to_pandas().set_index("space_id").parent_space_id
    counts = rows[kind].to_pandas()
    assert counts[column].min() >= 1
    key = ["space_id", "interval_seconds", "interval_begin_time"]
    assert not counts.duplicated(key).any()
    children = counts.assign(space_id=counts.space_id.map(parents)).dropna()
    children = children.groupby(key)[column].agg(["max", "sum"])
    both = counts.set_index(key).join(children, how="right")
    assert (both[column] >= both["max"]).all()
    leaf_parents = ~both.index.get_level_values("space_id").isin(_with_own(campus, rows))
    assert (both[column] <= both["sum"])[leaf_parents].all()


def _with_own(campus: Campus, rows: dict[str, pa.Table]) -> set[str]:
    """Spaces with both children and sessions, which may exceed the children's sum."""
    parents = set(campus.tables[SPACES]["parent_space_id"].to_pylist())
    return parents & set(rows[SESSIONS]["space_id"].to_pylist())


def test_a_wider_bin_has_at_least_the_fullest_narrower_one(rows: dict[str, pa.Table]) -> None:
    counts = rows[TRUTH_HEADCOUNT].to_pandas()
    counts["hour"] = counts.interval_begin_time.dt.floor("h")
    quarter = counts[counts.interval_seconds == 900].groupby(["space_id", "hour"]).people.max()
    hour = counts[counts.interval_seconds == 3600].set_index(["space_id", "hour"]).people
    hour = hour.sort_index()
    assert hour.index.equals(quarter.index)
    assert (hour >= quarter).all()


def test_weekdays_are_busy_weekends_and_holidays_are_not(
    campus: Campus, rows: dict[str, pa.Table]
) -> None:
    root = campus.tables[SPACES]["space_id"][0].as_py()
    counts = rows[TRUTH_HEADCOUNT].to_pandas().query("interval_seconds == 900")
    counts = counts[counts.space_id == root]
    local = counts.interval_begin_time.dt.tz_convert(OPTIONS.timezone)
    peak = counts.groupby(local.dt.date).people.max()
    weekend = np.array([date.weekday() >= 5 for date in peak.index])
    holiday = peak.index == dt.date(2025, 2, 17)
    working = peak[~weekend & ~holiday]
    assert peak[weekend].max() < 0.3 * working.min()
    assert peak[holiday].max() < 0.3 * working.min()
    assert 0.4 * OPTIONS.people < working.max() < OPTIONS.people


def test_the_device_rules_separate_device_types(sessions: pd.DataFrame) -> None:
    by_device = sessions.groupby(["device_type", "mac_address"])
    hours = by_device.hours.mean().groupby("device_type").mean()
    assert hours.STATIC > 2 * hours.LAPTOP > 4 * hours.PHONE
    points = by_device.sensor_id.nunique().groupby("device_type").mean()
    assert points.STATIC == 1
    assert points.PHONE > points.LAPTOP > 1
    work_rooms = sessions.type.isin(["office", "conference room", "meeting room", "student lab"])
    share = work_rooms.groupby(sessions.device_type).mean()
    assert share.LAPTOP > share.PHONE + 0.1
    daily = sessions.groupby(["device_type", "mac_address", "day"]).hours.mean()
    short = (daily <= 1).groupby("device_type").mean()
    assert short.PHONE > 0.8 > 0.5 > short.LAPTOP


def test_the_person_rules_separate_person_types(campus: Campus, sessions: pd.DataFrame) -> None:
    people = sessions.dropna(subset=["person_type"])
    days = people.groupby(["person_type", "mac_address"]).day.nunique().groupby("person_type")
    assert days.median().VISITOR <= 3
    assert days.median().drop("VISITOR").min() >= 10
    kind = people.person_type
    faculty_office = people.building_room.isin(campus.tables[FACULTY_DATA]["office"].to_pylist())
    assert faculty_office.groupby(kind).mean().idxmax() == "FACULTY"
    in_lab = (people.type == "student lab").groupby(kind).mean()
    assert in_lab[["GRAD", "UNDERGRAD"]].min() > 3 * in_lab[["FACULTY", "STAFF"]].max()
    last = people.groupby(["person_type", "mac_address", "day"]).end_time.max().dropna()
    late = last.dt.hour * 60 + last.dt.minute >= 20 * 60 + 30
    assert late.groupby("person_type").mean().idxmax() == "UNDERGRAD"
    hour = people.start_time.dt.hour.between(9, 16) & (people.end_time.dt.hour < 17)
    assert hour.groupby(kind).mean().drop("VISITOR").idxmax() == "STAFF"


def test_blocks_of_people_share_no_device() -> None:
    campus = simulate_campus(CampusOptions(people=4100, buildings=2, days=1))
    blocks = [campus.devices.of_people(block) for block in campus.people.blocks()]
    assert len(blocks) == 3
    assert blocks[0].start == 0
    assert all(left.stop == right.start for left, right in pairwise(blocks))
    assert blocks[-1].stop == campus.devices.fixed().start
    assert campus.devices.fixed().stop == len(campus.devices.person)


@pytest.mark.parametrize(
    "wrong", [{"people": 3}, {"buildings": 0}, {"days": 0}, {"seed": -1}, {"people": 20}]
)
def test_sizes_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(BadInput, match=f"--{next(iter(wrong))}"):
        CampusOptions(**wrong)


@pytest.mark.parametrize("days", [1, 5, 8])
def test_the_smallest_campus_works(days: int) -> None:
    options = CampusOptions(people=20, buildings=1, days=days, start=dt.date(2025, 1, 25))
    assert _rows(simulate_campus(options))[SESSIONS].num_rows > 0
