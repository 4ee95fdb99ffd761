"""The content of a simulated campus, and the consistency of its truth."""

import datetime as dt
from collections import defaultdict
from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tippers_dagster.campus.log.people import UserNames, persons
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
from tippers_dagster.simulation.identities import ANONYMOUS, USER_NAMES, name_of
from tippers_dagster.simulation.people import LAPTOP, NOBODY, PERSON_TYPES, PHONE, STATIC

KEY = bytes(range(32))
SESSION = ["mac_address", "sensor_id", "space_id", "start_time"]
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
    """Usable sessions, each once, with their device, person and room."""
    frame = rows[SESSIONS].to_pandas()
    # A closed row stands for the open one of the same session.
    frame = frame.sort_values("end_time", ascending=False, kind="stable")
    frame = _usable(campus, frame).drop_duplicates(SESSION).sort_values("start_time")
    devices = campus.tables[TRUTH_DEVICE].to_pandas()
    people = campus.tables[TRUTH_PERSON].to_pandas()
    kinds = campus.tables[SPACE_METADATA].to_pandas().rename(columns={"roomid": "space_id"})
    frame = frame.merge(devices).merge(people, how="left").merge(kinds, how="left")
    frame["hours"] = (frame.end_time - frame.start_time).dt.total_seconds() / 3600
    frame["day"] = frame.start_time.dt.normalize()
    return frame


def _usable(campus: Campus, rows: pd.DataFrame) -> pd.DataFrame:
    rows = rows[rows.mac_address.fillna("").ne("")]
    rows = rows[rows.end_time.isna() | (rows.end_time >= rows.start_time)]
    return rows[rows.space_id.isin(campus.tables[SPACES]["space_id"].to_pylist())]


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
    people, devices = campus.people, campus.devices
    assert set(np.array(PERSON_TYPES)[people.type]) == set(PERSON_TYPES)
    assert ((devices.person == NOBODY) == (devices.type == STATIC)).all()
    phones, laptops = (
        np.bincount(devices.person[devices.type == kind], minlength=people.count)
        for kind in (PHONE, LAPTOP)
    )
    assert set(phones) == {1, 2}
    assert set(laptops) == {0, 1}
    assert 0.6 < laptops.mean() < 0.95


def test_the_truth_has_a_row_per_address(campus: Campus) -> None:
    truth = campus.tables[TRUTH_DEVICE].to_pandas()
    people = campus.tables[TRUTH_PERSON].to_pandas()
    assert truth.mac_address.is_unique
    assert truth.mac_address.str.fullmatch(r"([0-9a-f]{2}:){5}[0-9a-f]{2}").all()
    assert truth.person_id.isna().eq(truth.device_type == "STATIC").all()
    assert set(truth.person_id.dropna()) == set(people.person_id)
    randomised = truth.mac_address.str[1].isin(list("26ae")).groupby(truth.device_type).mean()
    assert randomised.STATIC == 0
    assert 0.02 < randomised.LAPTOP < 0.2
    assert 0.8 < randomised.PHONE < 0.98


def test_some_phones_change_their_address(campus: Campus, sessions: pd.DataFrame) -> None:
    """Every two weeks, or daily; each address is used within one period."""
    identities, devices = campus.identities, campus.devices
    addresses = pd.DataFrame(
        {
            "mac_address": identities.addresses.to_pylist(),
            "device": np.repeat(np.arange(len(devices.type)), np.diff(identities.first)),
        }
    )
    addresses["period"] = identities.period[addresses.device]
    assert addresses[addresses.period == 0].device.is_unique
    changing = addresses[addresses.period > 0]
    assert (devices.type[changing.device] == PHONE).all()
    assert (identities.period > 0).sum() < 0.05 * OPTIONS.people
    used = sessions.merge(changing).groupby(["period", "device", "mac_address"]).day
    spans = ((used.max() - used.min()).dt.days + 1).groupby("period").max()
    assert spans[1] == 1
    assert 8 < spans[14] <= 14
    for period in (1, 14):
        per_device = used.first().loc[period].groupby("device").size()
        assert per_device.max() > min(3, OPTIONS.days // period)


def test_user_names(campus: Campus, sessions: pd.DataFrame) -> None:
    """Devices of people who log in show their names, spelled in several ways, or nobody's."""
    names = dict(
        zip(campus.people.ids, name_of(pa.array(campus.people.ids)).to_pylist(), strict=True)
    )
    expected = persons(pa.array(sessions.person_id.map(names)), UserNames(), KEY).to_pandas()
    found = persons(pa.array(sessions.user_name.astype(str)), USER_NAMES, KEY).to_pandas()
    known = found.notna()
    assert (found[known] == expected[known]).all()
    assert found[sessions.person_id.isna().to_numpy()].isna().all()
    names_of_one = sessions[known.to_numpy()].groupby("person_id").user_name
    assert 1.2 < names_of_one.nunique().mean() < 3
    # Who logs in does so with all devices, some sessions of which show the outer identity.
    by_person = known.groupby(sessions.person_id.to_numpy()).mean()
    assert 0.65 < (by_person > 0).mean() < 0.85
    by_device = known.groupby(sessions.mac_address.to_numpy()).mean()
    assert 0.02 < ((by_device > 0) & (by_device < 1)).mean() < 0.25
    anonymous = sessions.user_name == ANONYMOUS
    assert set(sessions.person_id[anonymous]) <= set(by_person.index)
    machines = sessions.user_name[sessions.person_id.isna()].astype(str)
    assert {"host/pc-", "PC-", ""} == set(machines.str.extract("^([a-zA-Z/]+-)?")[0].fillna(""))


@pytest.mark.parametrize("logins", [0.0, 1.0])
def test_nobody_or_everybody_logs_in(logins: float) -> None:
    campus = simulate_campus(CampusOptions(people=40, buildings=1, days=1, logins=logins))
    carried = campus.devices.person != NOBODY
    names = np.array(campus.identities.user_names)[campus.identities.users[:-1]]
    assert ((names[carried] != "") == bool(logins)).all()


def test_unusable_repeated_and_odd_rows_have_their_share(
    campus: Campus, rows: dict[str, pa.Table], sessions: pd.DataFrame
) -> None:
    total = rows[SESSIONS].num_rows
    batches = list(campus.batches())
    unusable = sum(sum(batch.unusable.values()) for batch in batches)
    repeated = sum(batch.repeated for batch in batches)
    assert unusable + repeated == total - len(sessions)
    assert 0.001 < unusable / total < 0.003
    assert 0.004 < repeated / total < 0.008
    assert 0.001 < sessions.end_time.isna().mean() < 0.004
    assert 0.002 < (sessions.hours == 0).mean() < 0.01


def test_repeated_rows_are_open_first_or_equal(campus: Campus, rows: dict[str, pa.Table]) -> None:
    logged = _usable(campus, rows[SESSIONS].to_pandas())
    rows_of = logged[logged.duplicated(SESSION, keep=False)].groupby(SESSION, sort=False)
    first, last = rows_of.nth(0).reset_index(drop=True), rows_of.nth(-1).reset_index(drop=True)
    assert rows_of.size().max() == 2
    assert (first.user_name == last.user_name).all()
    was_open = first.end_time.isna() & last.end_time.notna()
    equal = (first.end_time == last.end_time) | (first.end_time.isna() & last.end_time.isna())
    assert (was_open | equal).all()
    assert was_open.sum() > equal.sum() > 0


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
    "wrong",
    [{"people": 3}, {"buildings": 0}, {"days": 0}, {"seed": -1}, {"people": 20}, {"logins": 1.5}],
)
def test_sizes_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(BadInput, match=f"--{next(iter(wrong))}"):
        CampusOptions(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("days", [1, 5, 8])
def test_the_smallest_campus_works(days: int) -> None:
    options = CampusOptions(people=20, buildings=1, days=days, start=dt.date(2025, 1, 25))
    assert _rows(simulate_campus(options))[SESSIONS].num_rows > 0
