"""Which partitions a change of the source, the tree or the settings makes stale."""

from __future__ import annotations

import datetime as dt

import pyarrow as pa
import pytest
from pydantic import SecretStr

from tests.occupancy import campus
from tests.occupancy.campus import Seen, change, compute_all, compute_level, look_again, stale
from tippers_dagster.campus.spaces.tracking import track
from tippers_dagster.errors import MissingPartitions, SettingsError
from tippers_dagster.occupancy.reading import read_occupancy
from tippers_dagster.occupancy.records import forget_attempts, record_attempts
from tippers_dagster.occupancy.state import DAYS, DERIVED, SESSIONS, SOURCE
from tippers_dagster.occupancy.tracking import track_space, untrack_space
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

TREE = {
    "campus": None,
    "b1": "campus",
    "b2": "campus",
    "r1": "b1",
    "r2": "b1",
    "r3": "b2",
    "annex": None,
    "r4": "annex",
}
W1, W2, W3 = "2025-01-06", "2025-01-13", "2025-01-20"
START, END = dt.date(2025, 1, 6), dt.date(2025, 1, 27)


def at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


ROWS = [
    Seen("m1", "r1", at("2025-01-07T09:00"), at("2025-01-07T10:00")),
    Seen("m2", "r1", at("2025-01-14T09:00"), at("2025-01-14T10:00")),
    Seen("m2", "r2", at("2025-01-14T09:30"), at("2025-01-14T11:00")),
    Seen("m3", "r3", at("2025-01-15T09:00"), at("2025-01-15T10:00")),
    Seen("m4", "r4", at("2025-01-15T09:00"), at("2025-01-15T10:00")),
    Seen("m5", "new", at("2025-01-16T09:00"), at("2025-01-16T10:00")),
]


@pytest.fixture
def settings(stack: Settings) -> Settings:
    """Two roots tracked over three weeks, all computed."""
    campus.fill(stack, TREE, ROWS)
    for root in ("campus", "annex"):
        track(stack, space=root, start=START, end=END)
    assert compute_all(stack) == {SESSIONS: 3, SOURCE: 4 * 3, DERIVED: 4 * 3, DAYS: 3}
    assert stale(stack) == {}
    return stack


def cascade(settings: Settings) -> list[set[tuple[str, str]]]:
    """The partitions that become stale, level by level, as each level is computed."""
    found = []
    for asset in (SESSIONS, SOURCE, DERIVED):
        now = stale(settings)
        found.append(now.pop(asset, set()))
        assert asset == SESSIONS or SESSIONS not in now
        assert compute_level(settings, asset).computed == len(found[-1])
    assert stale(settings) == ({DAYS: found[0]} if found[0] else {})
    compute_level(settings, DAYS)
    assert stale(settings) == {}
    return found


def peak(settings: Settings, space: str, width: int = 900) -> int:
    counts = read_occupancy(space, START, END, width, settings=settings)["number_connections"]
    return int(pa.compute.max(counts).as_py())


def test_nothing_changed(settings: Settings) -> None:
    look_again(settings)
    assert stale(settings) == {}
    change(settings, "UPDATE source.user_ap_trajectory SET sensor_id = 'another'")
    look_again(settings)
    nothing: set[tuple[str, str]] = set()
    changed = [{("", W1), ("", W2)}, nothing, nothing]
    assert cascade(settings) == changed, "the name of an access point affects no count"


def test_late_session(settings: Settings) -> None:
    campus.add_sessions(
        settings, [Seen("m9", "r1", at("2025-01-14T09:10"), at("2025-01-14T09:20"))]
    )
    assert stale(settings) == {}, "the source has not been checked"
    look_again(settings)
    assert cascade(settings) == [{("", W2)}, {("r1", W2)}, {("b1", W2), ("campus", W2)}]
    assert peak(settings, "b1") == 2


def test_late_session_in_an_empty_chunk(settings: Settings) -> None:
    campus.add_sessions(
        settings, [Seen("m9", "r4", at("2025-01-26T23:10"), at("2025-01-26T23:20"))]
    )
    look_again(settings)
    assert cascade(settings) == [{("", W3)}, {("r4", W3)}, {("annex", W3)}]


def test_late_session_across_a_border_of_chunks(settings: Settings) -> None:
    campus.add_sessions(
        settings, [Seen("m9", "r3", at("2025-01-12T23:00"), at("2025-01-13T01:00"))]
    )
    look_again(settings)
    assert cascade(settings) == [
        {("", W1), ("", W2)},
        {("r3", W1), ("r3", W2)},
        {(space, chunk) for space in ("b2", "campus") for chunk in (W1, W2)},
    ]


def test_late_open_session_across_a_border_of_chunks(settings: Settings) -> None:
    campus.add_sessions(settings, [Seen("m9", "r3", at("2025-01-12T23:00"), None)])
    look_again(settings)
    assert {("", W1), ("", W2)} == stale(settings)[SESSIONS]


def test_late_open_session_on_a_day_of_23_hours(stack: Settings) -> None:
    """Half an hour before the boundary by wall-clock arithmetic, half an hour after it really."""
    by_day = stack.model_copy(update={"chunk": "day", "open_session_seconds": 22 * 3600})
    campus.fill(by_day, TREE)
    track(by_day, space="campus", start=dt.date(2025, 3, 9), end=dt.date(2025, 3, 11))
    compute_all(by_day)
    campus.add_sessions(by_day, [Seen("m", "r1", at("2025-03-09T01:30"), None)])
    look_again(by_day)
    assert stale(by_day)[SESSIONS] == {("", "2025-03-09"), ("", "2025-03-10")}
    compute_all(by_day)
    edge = dt.datetime(2025, 3, 10)
    table = read_occupancy("r1", edge, edge + dt.timedelta(hours=1), 900, settings=by_day)
    assert table["number_connections"].to_pylist() == [1, 1, 0, 0]


def test_late_row_that_is_already_in_the_log(settings: Settings) -> None:
    """A repeated row changes the source, but no session."""
    campus.add_sessions(settings, [ROWS[1]])
    look_again(settings)
    assert cascade(settings) == [{("", W2)}, set(), set()]


def test_changed_row(settings: Settings) -> None:
    changed = change(
        settings,
        "UPDATE source.user_ap_trajectory SET end_time = end_time + interval '1 hour' "
        "WHERE space_id = 'r3'",
    )
    assert changed == 1
    look_again(settings)
    assert cascade(settings) == [{("", W2)}, {("r3", W2)}, {("b2", W2), ("campus", W2)}]


def test_row_moved_to_another_space(settings: Settings) -> None:
    change(settings, "UPDATE source.user_ap_trajectory SET space_id = 'r3' WHERE space_id = 'r2'")
    look_again(settings)
    assert cascade(settings) == [
        {("", W2)},
        {("r2", W2), ("r3", W2)},
        {("b1", W2), ("b2", W2), ("campus", W2)},
    ]
    assert peak(settings, "r2") == 0


def test_deleted_row(settings: Settings) -> None:
    assert change(settings, "DELETE FROM source.user_ap_trajectory WHERE mac_address = 'm4'") == 1
    look_again(settings)
    assert cascade(settings) == [{("", W2)}, {("r4", W2)}, {("annex", W2)}]
    assert peak(settings, "annex") == 0


def test_new_space_takes_its_rejected_sessions(settings: Settings) -> None:
    rejected = "SELECT FROM tippers.session_reject WHERE reason = 'unknown space'"
    assert change(settings, rejected) == 1
    campus.add_spaces(settings, {"new": "b2", "empty": "b2"})
    sessions, source, derived = cascade(settings)
    assert sessions == {("", W2)}
    assert source == {(space, chunk) for space in ("new", "empty") for chunk in (W1, W2, W3)}
    # Parents now contain other spaces: all their chunks are merged again.
    assert derived == {(space, chunk) for space in ("b2", "campus") for chunk in (W1, W2, W3)}
    assert peak(settings, "new") == 1
    assert change(settings, rejected) == 0


def test_removed_space(settings: Settings) -> None:
    change(settings, "DELETE FROM source.space WHERE space_id = 'r2'")
    sessions, source, derived = cascade(settings)
    assert sessions == {("", W2)}
    assert source == set()
    assert derived == {(space, chunk) for space in ("b1", "campus") for chunk in (W1, W2, W3)}
    assert change(settings, "SELECT FROM tippers.session_reject WHERE space_id = 'r2'") == 1
    assert peak(settings, "b1") == 1


def test_moved_room(settings: Settings) -> None:
    change(settings, "UPDATE source.space SET parent_space_id = 'b2' WHERE space_id = 'r2'")
    both = {(space, chunk) for space in ("b1", "b2") for chunk in (W1, W2, W3)}
    assert cascade(settings) == [set(), set(), both], "the campus has the same rooms as before"


def test_moved_building(settings: Settings) -> None:
    change(settings, "UPDATE source.space SET parent_space_id = 'annex' WHERE space_id = 'b2'")
    roots = {(space, chunk) for space in ("campus", "annex") for chunk in (W1, W2, W3)}
    assert cascade(settings) == [set(), set(), roots]
    assert peak(settings, "annex") == 2


def test_renamed_space_is_no_change(settings: Settings) -> None:
    change(settings, "UPDATE source.space SET space_name = 'Room', building_room = 'B 1'")
    assert stale(settings) == {}


def test_sessions_of_a_space_with_children(settings: Settings) -> None:
    campus.add_sessions(
        settings, [Seen("m9", "b1", at("2025-01-14T09:10"), at("2025-01-14T09:20"))]
    )
    look_again(settings)
    sessions, source, derived = cascade(settings)
    assert sessions == {("", W2)}
    assert source == {("b1", chunk) for chunk in (W1, W2, W3)}, "it has partitions from now on"
    assert derived >= {("b1", W2), ("campus", W2)}
    assert peak(settings, "b1") == 2
    assert peak(settings, "b1", 60) == 2


def test_leaf_that_becomes_a_parent_and_a_leaf_again(settings: Settings) -> None:
    """Which asset publishes a space's counts changes with the tree, and so do the counts."""
    leaf_again = [
        ("DELETE FROM source.space WHERE space_id = 'new'", 1),
        ("INSERT INTO source.space VALUES ('new', 'New', 'r3')", 2),
    ]
    campus.add_sessions(
        settings, [Seen("m9", "new", at("2025-01-15T09:30"), at("2025-01-15T09:40"))]
    )
    look_again(settings)
    compute_all(settings)
    assert peak(settings, "r3") == 1
    for sql, expected in [leaf_again[1], *leaf_again * 2]:
        change(settings, sql)
        compute_all(settings)
        assert stale(settings) == {}
        assert peak(settings, "r3") == expected, sql
        assert peak(settings, "r3", 60) == expected, sql


def test_parent_without_sessions_becomes_a_leaf_and_a_parent_again(settings: Settings) -> None:
    away = "UPDATE source.space SET parent_space_id = 'annex' WHERE space_id = 'r3'"
    back = "UPDATE source.space SET parent_space_id = 'b2' WHERE space_id = 'r3'"
    for sql, expected in [(away, 0), (back, 1)] * 2:
        change(settings, sql)
        compute_all(settings)
        assert stale(settings) == {}
        assert peak(settings, "b2") == expected, sql


def test_settings_that_the_sessions_depend_on(settings: Settings) -> None:
    longer = settings.model_copy(update={"open_session_seconds": 3600})
    assert stale(longer) == {SESSIONS: {("", W1), ("", W2), ("", W3)}}
    assert [len(cells) for cells in cascade(longer)] == [3, 0, 0], "no session is open"

    other_key = longer.model_copy(update={"device_key": SecretStr("ab" * 32)})
    sessions, source, derived = cascade(other_key)
    assert len(sessions) == 3
    assert source == {("r1", W1), ("r1", W2), ("r2", W2), ("r3", W2), ("r4", W2)}
    assert derived == {(p, W2) for p in ("b1", "b2", "campus", "annex")} | {
        ("b1", W1),
        ("campus", W1),
    }


def test_settings_that_do_not_affect_the_counts(settings: Settings) -> None:
    other = settings.model_copy(update={"threads": 1, "memory_budget_mb": 64, "max_tries": 9})
    assert stale(other) == {}


@pytest.mark.parametrize("changed", [{"chunk": "day"}, {"timezone": "Europe/Berlin"}])
def test_another_grid_is_refused(settings: Settings, changed: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="filled with TIPPERS_CHUNK=week"):
        stale(settings.model_copy(update=changed))


def test_untracked_and_tracked_again(settings: Settings) -> None:
    untrack_space(settings, space="campus", start=dt.date(2025, 1, 13))
    assert {chunk for cells in [campus.state(settings)] for chunk in cells.sessions.chunks} == {
        W1,
        W2,
        W3,
    }, "the annex is still tracked"
    untrack_space(settings, space="annex")
    untracked = campus.state(settings)
    assert untracked.sessions.chunks == [W1]

    for root in ("campus", "annex"):
        track_space(settings, space=root, start=START, end=END)
    assert stale(settings) == {}, "files in the lake are found"
    look_again(settings)
    assert stale(settings) == {}


def test_rows_added_while_untracked_are_noticed(settings: Settings) -> None:
    for root in ("campus", "annex"):
        untrack_space(settings, space=root)
    campus.add_sessions(
        settings, [Seen("m9", "r1", at("2025-01-14T09:10"), at("2025-01-14T09:20"))]
    )
    for root in ("campus", "annex"):
        track_space(settings, space=root, start=START, end=END)
    look_again(settings)
    assert cascade(settings) == [{("", W2)}, {("r1", W2)}, {("b1", W2), ("campus", W2)}]


def test_purge(settings: Settings) -> None:
    lake = open_lake(settings)
    before = lake.list()
    _, purged = untrack_space(settings, space="annex", purge=True)
    assert purged == 3 + 3
    assert set(before) - set(lake.list()) == {
        key for key in before if "space=annex/" in key or "space=r4/" in key
    }
    with pytest.raises(MissingPartitions):
        read_occupancy("annex", START, END, 900, settings=settings)

    _, purged = untrack_space(settings, space="campus", start=dt.date(2025, 1, 13), purge=True)
    assert purged == 2 * (1 + 3 + 3 + 1)
    assert {key.split("chunk=")[1] for key in lake.list()} == {f"{W1}.parquet"}
    assert stale(settings) == {}
    assert peak_of_first_week(settings) == 1

    untrack_space(settings, space="campus", purge=True)
    assert lake.list() == []
    for root in ("campus", "annex"):
        track_space(settings, space=root, start=START, end=END)
    assert compute_all(settings) == {SESSIONS: 3, SOURCE: 12, DERIVED: 12, DAYS: 3}


def peak_of_first_week(settings: Settings) -> int:
    table = read_occupancy("campus", START, dt.date(2025, 1, 13), 900, settings=settings)
    return int(pa.compute.max(table["number_connections"]).as_py())


def test_attempts_count_per_state_of_the_inputs(settings: Settings) -> None:
    engine = warehouse_engine(settings)
    late = Seen("m9", "r1", at("2025-01-14T09:10"), at("2025-01-14T09:20"))
    campus.add_sessions(settings, [late])
    look_again(settings)
    for tries in range(3):
        level = campus.state(settings).sessions
        assert level.tries.tolist() == [[0, tries, 0]]
        assert not level.failed_for_good(settings).any()
        record_attempts(engine, level, level.stale, dt.datetime.now(dt.UTC))
    level = campus.state(settings).sessions
    assert level.waiting(settings).tolist() == [[False, True, False]]
    at_once = settings.model_copy(update={"retry_delay_seconds": 0.0})
    assert level.failed_for_good(at_once).tolist() == [[False, True, False]]

    # Other inputs are a new state, whose attempts start from zero.
    campus.add_sessions(settings, [late])
    look_again(settings)
    level = campus.state(settings).sessions
    assert level.tries.tolist() == [[0, 0, 0]]
    record_attempts(engine, level, level.stale, dt.datetime.now(dt.UTC))
    compute_all(settings)
    assert forget_attempts(engine) == 0, "successful attempts are deleted"


def test_waiting_doubles(settings: Settings) -> None:
    level = campus.state(settings).sessions
    now = dt.datetime.now(dt.UTC).timestamp()
    level.tries[:] = [[1, 2, 3]]
    level.requested_at[:] = now - 45
    assert level.waiting(settings).tolist() == [[False, False, True]]
    level.requested_at[:] = now - 30
    assert level.waiting(settings).tolist() == [[False, True, True]]
