"""The automation sensor, evaluated and its runs executed in this process."""

from __future__ import annotations

import datetime as dt
import errno
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.definitions.sensor_definition import SensorExecutionData

from tests.occupancy import campus
from tests.occupancy.campus import Seen, change, look_again, stale
from tippers_dagster.automation.orphaned_runs import failure_reason
from tippers_dagster.occupancy import assets, automation, snapshot
from tippers_dagster.occupancy.counting import Counter as Counter_
from tippers_dagster.occupancy.definitions import occupancy_definitions
from tippers_dagster.occupancy.partitions import split_key
from tippers_dagster.occupancy.records import forget_attempts
from tippers_dagster.occupancy.reporting import mark_lost
from tippers_dagster.occupancy.runs import ONWARD_TAG, RANGE_END_TAG, RANGE_START_TAG
from tippers_dagster.occupancy.state import DAYS, DERIVED, SESSIONS, SOURCE
from tippers_dagster.occupancy.status import occupancy_status
from tippers_dagster.occupancy.tracking import track_space, untrack_space
from tippers_dagster.platform.dagster.environment import dagster_instance
from tippers_dagster.platform.dagster.run_queue import LIVE_TAGS
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.lake.folder import FolderBackend
from tippers_dagster.platform.lake.keys import sessions_key
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings, get_settings

pytestmark = pytest.mark.slow

W1 = dt.date(2025, 1, 6)
TREE: dict[str, str | None] = {"campus": None} | {
    name: parent
    for b in range(2)
    for name, parent in [(f"b{b}", "campus"), *((f"b{b}r{i}", f"b{b}") for i in range(6))]
}


def week(n: int) -> dt.date:
    return W1 + dt.timedelta(weeks=n)


def seen(mac: str, space: str, n: int, hour: int = 9) -> Seen:
    start = dt.datetime.combine(week(n), dt.time(hour))
    return Seen(mac, space, start, start + dt.timedelta(minutes=30))


class Automation:
    """Ticks and runs of one deployment."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance) -> None:
        self.settings = settings
        self.instance = instance
        self.repository = occupancy_definitions(get_settings()).get_repository_def()
        self.sensor = self.repository.get_sensor_def("occupancy_automation")
        self.cursor: str | None = None

    def tick(self) -> SensorExecutionData:
        context = dg.build_sensor_context(
            instance=self.instance, repository_def=self.repository, cursor=self.cursor
        )
        data = self.sensor.evaluate_tick(context)
        self.cursor = data.cursor
        return data

    def requests(self) -> list[dg.RunRequest]:
        """The requested runs."""
        return list(self.tick().run_requests or [])

    def run(self, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
        (key,) = request.asset_selection
        assets = [a for a in self.repository.assets_defs_by_key.values() if a.key == key]
        return dg.materialize(
            assets,
            instance=self.instance,
            tags=dict(request.tags),
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            raise_on_error=False,
        )

    def until_quiet(self, ticks: int = 10) -> list[dict[str, int]]:
        """Execute all requested runs; returns the numbers of materializations of each, by asset."""
        ran = []
        for _ in range(ticks):
            requests = self.requests()
            if not requests:
                return ran
            for request in requests:
                result = self.run(request)
                assert result.success, failure_reason(result)
                ran.append(materialized(self, result))
        raise AssertionError(f"never quiet: {ran}")


def materialized(auto: Automation, result: dg.ExecuteInProcessResult) -> dict[str, int]:
    """How many partitions of each asset a run has reported as materialized."""
    kind = dg.DagsterEventType.ASSET_MATERIALIZATION
    events = auto.instance.all_logs(result.run_id, of_type=kind)
    return dict(Counter(e.get_dagster_event().asset_key.to_user_string() for e in events))


def asset_of(request: dg.RunRequest) -> str:
    (key,) = request.asset_selection
    return key.to_user_string()


def cells(request: dg.RunRequest, instance: dg.DagsterInstance) -> set[tuple[str, str]]:
    """What a request's range covers, in the order of Dagster's keys."""
    asset = asset_of(request)
    first = split_key(asset, request.tags[RANGE_START_TAG])
    last = split_key(asset, request.tags[RANGE_END_TAG])
    dimension = {SOURCE: "source_space", DERIVED: "derived_space"}.get(asset)
    spaces = list(instance.get_dynamic_partitions(dimension)) if dimension else [""]
    chunks = list(instance.get_dynamic_partitions("time_chunk"))
    rows = spaces[spaces.index(first[0]) : spaces.index(last[0]) + 1]
    columns = chunks[chunks.index(first[1]) : chunks.index(last[1]) + 1]
    return {(space, chunk) for space in rows for chunk in columns}


@pytest.fixture
def deployment(
    stack: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Automation]]:
    """Creates the automation of the stack with the given settings."""
    monkeypatch.setattr(automation, "_idle", automation._Idle())
    with dagster_instance(stack) as instance:

        def make(**changes: object) -> Automation:
            for name, value in changes.items():
                monkeypatch.setenv(f"TIPPERS_{name.upper()}", str(value))
            get_settings.cache_clear()
            return Automation(get_settings(), instance)

        yield make


def small(automation: Automation, weeks: int = 3) -> None:
    rows = [seen(f"m{i}", f"b{i % 2}r{i % 6}", i % weeks) for i in range(20)]
    campus.fill(automation.settings, TREE, rows)
    track_space(automation.settings, space="campus", start=W1, end=week(weeks))


def test_nothing_tracked(deployment: Callable[..., Automation]) -> None:
    data = deployment().tick()
    assert data.skip_message == "Nothing is tracked."
    assert not data.run_requests


def test_everything_is_one_run(deployment: Callable[..., Automation]) -> None:
    """60 spaces under 8 parents in 6 chunks."""
    auto = deployment()
    tree: dict[str, str | None] = {"campus": None}
    tree |= {f"f{f}": "campus" for f in range(7)}
    tree |= {f"r{r}": f"f{r % 7}" for r in range(60)}
    rows = [seen(f"m{i % 50}", f"r{i % 60}", i % 6, i % 24) for i in range(400)]
    campus.fill(auto.settings, tree, rows)
    track_space(auto.settings, space="campus", start=W1, end=week(6))

    (request,) = auto.requests()
    assert asset_of(request) == SESSIONS
    assert cells(request, auto.instance) == {("", week(n).isoformat()) for n in range(6)}
    assert int(request.tags["dagster/max_runtime"]) == auto.settings.deadline_floor_seconds
    assert auto.requests() == [], "already requested: the next retry is not due"
    result = auto.run(request)
    assert result.success, failure_reason(result)
    assert materialized(auto, result) == {SESSIONS: 6, SOURCE: 360, DERIVED: 48, DAYS: 6}
    assert {name for name, passed in checks(result).items() if passed} == {
        "sessions__rejected_share",
        "source_occupancy__within_devices",
        "source_occupancy__wider_bins_hold_narrower",
        "derived_occupancy__within_devices",
        "derived_occupancy__wider_bins_hold_narrower",
        "derived_occupancy__between_children",
    }
    assert auto.until_quiet() == []
    assert stale(auto.settings) == {}
    records = computed(auto.settings)
    assert len(records) == 6 + 360 + 48 + 6
    for key, count in [(SESSIONS, 6), (SOURCE, 360), (DERIVED, 48), (DAYS, 6)]:
        found = auto.instance.get_materialized_partitions(dg.AssetKey(key))
        assert len(found) == count
    assert auto.tick().skip_message in (automation.UP_TO_DATE, "Nothing changed.")
    assert [level.numbers for level in occupancy_status(auto.settings)] == [
        (6, 6, 0, 0, 0),
        (360, 360, 0, 0, 0),
        (48, 48, 0, 0, 0),
        (6, 6, 0, 0, 0),
    ]


def checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    """The results of a run's checks, also of those that it reported of other assets."""
    return {
        event.asset_check_evaluation_data.check_name: event.asset_check_evaluation_data.passed
        for event in result.all_events
        if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION
    }


def computed(settings: Settings) -> dict[tuple[str, str, str], str]:
    """The run that computed each partition."""
    with campus.source(settings) as cursor:
        cursor.execute("SELECT asset, space, chunk, run_id FROM tippers.partition_figures")
        return {(a, s, c): run for a, s, c, run in cursor.fetchall()}


def test_late_sessions_recompute_only_their_partitions(
    deployment: Callable[..., Automation],
) -> None:
    auto = deployment()
    small(auto)
    auto.until_quiet()
    before = computed(auto.settings)
    campus.add_sessions(auto.settings, [seen("late", "b1r3", 1)])
    look_again(auto.settings)
    assert auto.until_quiet() == [{SESSIONS: 1, SOURCE: 1, DERIVED: 2, DAYS: 1}]
    after = computed(auto.settings)
    chunk = week(1).isoformat()
    assert {key for key in after if after[key] != before.get(key)} == {
        (SESSIONS, "", chunk),
        (DAYS, "", chunk),
        (SOURCE, "b1r3", chunk),
        (DERIVED, "b1", chunk),
        (DERIVED, "campus", chunk),
    }


def test_scattered_late_sessions_take_one_run_and_report_what_they_computed(
    deployment: Callable[..., Automation],
) -> None:
    auto = deployment()
    small(auto)
    auto.until_quiet()
    before = computed(auto.settings)
    late = [seen("late", f"b{b}r{r}", 1) for b, r in [(0, 0), (0, 3), (1, 1), (1, 4), (1, 5)]]
    campus.add_sessions(auto.settings, late)
    look_again(auto.settings)
    assert auto.until_quiet() == [{SESSIONS: 1, SOURCE: 5, DERIVED: 3, DAYS: 1}]
    changed = {key for key, run in computed(auto.settings).items() if run != before.get(key)}
    assert {space for asset, space, _ in changed if asset == SOURCE} == {r.space for r in late}


def test_partitions_of_an_active_run_are_not_requested_again(
    deployment: Callable[..., Automation],
) -> None:
    auto = deployment(retry_delay_seconds=0)
    small(auto)
    (request,) = auto.requests()
    run = queued(auto, request)
    assert auto.requests() == []
    status = occupancy_status(auto.settings)
    assert status[0].numbers == (3, 0, 3, 0, 0)
    # More is tracked now: only that is requested.
    track_space(auto.settings, space="campus", start=week(3), end=week(5))
    (more,) = auto.requests()
    assert cells(more, auto.instance) == {("", week(n).isoformat()) for n in (3, 4)}
    auto.instance.report_run_failed(run)
    again = [cells(request, auto.instance) for request in auto.requests()]
    assert again == [{("", week(n).isoformat())} for n in (4, 3, 2, 1, 0)], "one by one"


def queued(auto: Automation, request: dg.RunRequest) -> dg.DagsterRun:
    """A run that the daemon has created from a request but not executed."""
    job = auto.repository.get_implicit_asset_job_names()[0]
    return auto.instance.create_run_for_job(
        auto.repository.get_job(job),
        tags=dict(request.tags),
        status=dg.DagsterRunStatus.STARTED,
        asset_selection=frozenset(request.asset_selection),
    )


def test_failures_are_retried_then_held_back(deployment: Callable[..., Automation]) -> None:
    auto = deployment(retry_delay_seconds=0, max_tries=3)
    small(auto)
    auto.until_quiet()
    lake = open_lake(auto.settings)
    broken = week(1).isoformat()
    good = lake.read_bytes(sessions_key(broken))
    lake.write_bytes(sessions_key(broken), b"no Parquet file")
    change(auto.settings, "DELETE FROM tippers.partition_figures WHERE asset <> 'sessions'")

    (request,) = auto.requests()
    assert not auto.run(request).success, "one chunk is bad"
    # The other chunks were computed up to their parents.
    assert {chunk for _, chunk in stale(auto.settings)[SOURCE]} == {broken}
    assert {chunk for _, chunk in stale(auto.settings)[DERIVED]} == {broken}

    tries = 1
    for _ in range(8):
        for request in auto.requests():
            tries += 1
            assert {chunk for _, chunk in cells(request, auto.instance)} == {broken}
            assert not auto.run(request).success
    assert tries == 3
    status = {level.asset: level for level in occupancy_status(auto.settings)}
    assert status[SOURCE].failed == 12
    assert status[SOURCE].failed_examples[0].endswith(f"|{broken}")
    assert status[SOURCE].stale == 0
    assert status[DERIVED].failed == 0

    lake.write_bytes(sessions_key(broken), good)
    assert auto.requests() == [], "held back for an hour, or until a person retries it"
    assert forget_attempts(warehouse_engine(auto.settings)) > 0
    assert auto.until_quiet() == [{SOURCE: 12, DERIVED: 3, DAYS: 1}]
    assert stale(auto.settings) == {}


def test_a_full_disk_is_not_an_attempt_and_waits_longer(
    deployment: Callable[..., Automation], monkeypatch: pytest.MonkeyPatch
) -> None:
    auto = deployment(retry_delay_seconds=0, max_tries=2, environment_retry_seconds=3600)
    small(auto)

    def full(self: FolderBackend, temporary: str, key: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", temporary)

    def later() -> None:
        with warehouse_engine(auto.settings).begin() as connection:
            connection.execute(sa.text("UPDATE tippers.attempt SET held_until = now()"))

    def fails() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(FolderBackend, "_publish", full)
            (request,) = auto.requests()
            assert "lake is full" in failure_reason(auto.run(request))
        assert auto.requests() == [], "not before an hour has passed"
        later()

    for _ in range(4):
        fails()
    status = {level.asset: level for level in occupancy_status(auto.settings)}
    assert (status[SESSIONS].failed, status[SESSIONS].stale) == (0, 3), "not failed"
    assert auto.until_quiet() == [{SESSIONS: 3, SOURCE: 36, DERIVED: 9, DAYS: 3}]
    assert stale(auto.settings) == {}


def test_a_failed_chunk_does_not_fail_its_neighbours_for_dagster(
    deployment: Callable[..., Automation], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that fails reports what it has computed."""
    auto = deployment(retry_delay_seconds=1000)
    small(auto)
    broken = week(1).isoformat()
    count = Counter_.count_sources

    def fails(self: Counter_, chunk: str, spaces: list[str]) -> object:
        if chunk == broken:
            raise ValueError("broken")
        return count(self, chunk, spaces)

    monkeypatch.setattr(Counter_, "count_sources", fails)
    (request,) = auto.requests()
    result = auto.run(request)
    assert not result.success
    assert materialized(auto, result) == {SESSIONS: 3, SOURCE: 24, DERIVED: 6, DAYS: 3}
    assert auto.until_quiet() == []
    found = auto.instance.get_materialized_partitions(dg.AssetKey(SOURCE))
    assert len(found) == 2 * 12
    assert not any(broken in key for key in found)


def test_back_off(deployment: Callable[..., Automation]) -> None:
    auto = deployment(retry_delay_seconds=20)
    small(auto)
    tries = 0
    age = "UPDATE tippers.attempt SET requested_at = now() - interval '%s s'"
    for seconds, asked in [(0, True), (15, False), (25, True), (35, False), (45, True)]:
        change(auto.settings, age % seconds)
        requests = auto.requests()
        assert bool(requests) == asked, seconds
        tries += bool(requests)
    assert tries == auto.settings.max_tries == 3
    for seconds, asked in [(3500, False), (3700, True), (0, False)]:  # then occasionally
        change(auto.settings, age % seconds)
        assert bool(auto.requests()) == asked, seconds


def test_a_retry_that_falls_due_during_a_tick_is_made_on_the_next(
    deployment: Callable[..., Automation], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tick reads the clock once; otherwise it might request nothing and rest for a minute."""
    auto = deployment(retry_delay_seconds=4)
    small(auto)
    assert auto.requests()
    change(auto.settings, "UPDATE tippers.attempt SET requested_at = now()")
    pack = automation.pack_requests

    def slowly(*given: object) -> list[dg.RunRequest]:
        time.sleep(4.5)
        return pack(*given)

    with monkeypatch.context() as patch:
        patch.setattr(automation, "pack_requests", slowly)
        assert auto.requests() == [], "it was not due at the time of the tick"
    assert auto.requests(), "otherwise only a minute later"


def test_without_later_retries_it_stays_failed(deployment: Callable[..., Automation]) -> None:
    auto = deployment(retry_delay_seconds=0, max_tries=1, retry_later_seconds=0)
    small(auto)
    assert auto.requests()
    change(auto.settings, "UPDATE tippers.attempt SET requested_at = now() - interval '1 year'")
    assert auto.requests() == []


def test_changed_inputs_reset_the_attempts(deployment: Callable[..., Automation]) -> None:
    auto = deployment(retry_delay_seconds=1000)
    small(auto)
    auto.until_quiet()
    campus.add_sessions(auto.settings, [seen("late", "b1r3", 1)])
    look_again(auto.settings)
    assert len(auto.requests()) == 1  # never executed
    assert auto.requests() == []
    campus.add_sessions(auto.settings, [seen("later", "b1r3", 1)])
    look_again(auto.settings)
    assert auto.until_quiet() == [{SESSIONS: 1, SOURCE: 1, DERIVED: 2, DAYS: 1}]


def test_a_killed_run_is_repeated(deployment: Callable[..., Automation]) -> None:
    """Files exist without a record, as after a kill between the two."""
    auto = deployment(retry_delay_seconds=0)
    small(auto)
    auto.until_quiet()
    change(
        auto.settings,
        "DELETE FROM tippers.partition_figures WHERE asset <> 'sessions' AND chunk = %s",
        week(2).isoformat(),
    )
    assert auto.until_quiet() == [{SOURCE: 12, DERIVED: 3, DAYS: 1}]


def test_what_a_killed_run_recorded_is_reported(
    deployment: Callable[..., Automation], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is computed for it."""
    auto = deployment()
    small(auto)
    with monkeypatch.context() as patch:
        patch.setattr(assets, "report_computed", lambda *given: None)
        (request,) = auto.requests()
        assert materialized(auto, auto.run(request)) == {}
    assert stale(auto.settings) == {}
    assert auto.until_quiet() == []
    for asset, count in [(SESSIONS, 3), (SOURCE, 36), (DERIVED, 9), (DAYS, 3)]:
        assert len(auto.instance.get_materialized_partitions(dg.AssetKey(asset))) == count
    last = auto.instance.get_latest_materialization_event(dg.AssetKey(DERIVED))
    assert {"presence_intervals", "devices", "peak", "run"} <= set(
        last.asset_materialization.metadata
    )
    reported = auto.instance.fetch_materializations(dg.AssetKey(DERIVED), limit=1000).records
    auto.tick()
    again = auto.instance.fetch_materializations(dg.AssetKey(DERIVED), limit=1000).records
    assert len(again) == len(reported) == 9


def test_materializations_wiped_in_dagster_are_reported_again(
    deployment: Callable[..., Automation],
) -> None:
    auto = deployment()
    small(auto)
    auto.until_quiet()
    before = computed(auto.settings)
    auto.instance.wipe_assets([dg.AssetKey(DERIVED)])
    automation._idle._until = 0.0  # a full evaluation happens once a minute
    assert auto.until_quiet() == []
    assert len(auto.instance.get_materialized_partitions(dg.AssetKey(DERIVED))) == 9
    assert computed(auto.settings) == before, "nothing was computed for it"


def test_materializations_of_a_run_that_somebody_deleted_are_reported_again(
    deployment: Callable[..., Automation],
) -> None:
    auto = deployment()
    small(auto)
    auto.until_quiet()
    (run,) = auto.instance.get_runs()
    auto.instance.delete_run(run.run_id)
    assert not auto.instance.get_materialized_partitions(dg.AssetKey(SOURCE))
    assert mark_lost(auto.settings, auto.instance) == 3 + 36 + 9 + 3
    automation._idle._until = 0.0
    assert auto.until_quiet() == []
    assert len(auto.instance.get_materialized_partitions(dg.AssetKey(SOURCE))) == 36
    assert mark_lost(auto.settings, auto.instance) == 0


def test_a_run_that_a_person_starts_again_is_not_automation_s() -> None:
    """It has the tags of the first."""
    tags = {ONWARD_TAG: "1.5"}
    assert assets._requested_at(dg.DagsterRun("job", tags=tags)) == 1.5
    again = dg.DagsterRun("job", tags=tags, parent_run_id="p", root_run_id="p")
    assert assets._requested_at(again) is None


def test_new_spaces_and_chunks_and_untracking(deployment: Callable[..., Automation]) -> None:
    auto = deployment()
    small(auto)
    auto.until_quiet()
    track_space(auto.settings, space="campus", start=week(-1), end=week(0))
    assert auto.until_quiet() == [{SESSIONS: 1, SOURCE: 12, DERIVED: 3, DAYS: 1}]
    assert auto.instance.get_dynamic_partitions("time_chunk")[-1] == week(-1).isoformat()
    campus.add_spaces(auto.settings, {"b2": "campus", "b2r0": "b2"})
    automation._idle._until = 0.0
    (ran,) = auto.until_quiet()
    assert ran.keys() == {SOURCE, DERIVED}
    untrack_space(auto.settings, space="campus", start=week(1))
    assert auto.until_quiet() == []
    assert sorted(auto.instance.get_dynamic_partitions("time_chunk")) == [
        week(-1).isoformat(),
        week(0).isoformat(),
    ]
    track_space(auto.settings, space="b1", start=week(1), end=week(3))
    assert auto.until_quiet() == []


def test_partitions_added_by_another_process_during_a_tick(
    deployment: Callable[..., Automation], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`tippers track` just between a tick's reading of the grid and of Dagster's keys."""
    auto = deployment()
    small(auto)
    original = snapshot.load_state

    def slow(*arguments: object, **options: object) -> object:
        found = original(*arguments, **options)
        monkeypatch.setattr(snapshot, "load_state", original)
        campus.add_spaces(auto.settings, {"annex": None, "a1": "annex"})
        track_space(auto.settings, space="annex", start=week(-2), end=week(0))
        return found

    monkeypatch.setattr(snapshot, "load_state", slow)
    assert auto.tick().skip_message == "The tracked partitions changed during this tick."
    assert auto.until_quiet()[0][SESSIONS] == 5
    assert stale(auto.settings) == {}


def test_large_requests_are_cut(deployment: Callable[..., Automation]) -> None:
    auto = deployment(max_partitions_per_run=2 * (1 + 12 + 3 + 1))
    small(auto)
    requests = auto.requests()
    assert [cells(request, auto.instance) for request in requests] == [
        {("", week(2).isoformat())},
        {("", week(0).isoformat()), ("", week(1).isoformat())},
    ], "the newest first"


def test_runs_per_tick_are_bounded(deployment: Callable[..., Automation]) -> None:
    auto = deployment(max_partitions_per_run=1)
    small(auto, weeks=20)
    first = auto.requests()
    assert len(first) == automation.RUNS_PER_TICK
    second = auto.requests()
    assert len(second) == 8, "only the partitions not yet requested"
    for request in [*first, *second]:
        assert auto.run(request).success
    assert stale(auto.settings) == {}


def test_of_many_stale_partitions_one_of_each_chunk_is_named(
    deployment: Callable[..., Automation], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dagster makes a request of each that is: minutes for a hundred thousand."""
    auto = deployment(retry_delay_seconds=0)
    small(auto)
    auto.until_quiet()
    monkeypatch.setattr(snapshot, "MAX_NAMED", 5)
    again = "DELETE FROM tippers.partition_figures WHERE asset = 'source_occupancy'"
    change(auto.settings, again)
    (request,) = auto.requests()
    assert len({space for space, _ in cells(request, auto.instance)}) == 1
    assert materialized(auto, auto.run(request)) == {SOURCE: 36}
    assert auto.until_quiet() == []
    # A chunk that has failed is on its own, whichever of its partitions is named.
    change(auto.settings, again)
    assert len(auto.requests()) == 1
    assert [len(cells(request, auto.instance)) for request in auto.requests()] == [1, 1, 1]


def test_live_chunks_have_a_run_of_their_own(
    deployment: Callable[..., Automation], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much else is to be computed, and they are the first."""
    auto = deployment()
    small(auto)
    monkeypatch.setattr(automation, "_live_chunks", lambda settings: {week(1).isoformat()})
    live, new, old = auto.requests()
    chunks = [cells(request, auto.instance) for request in (live, new, old)]
    assert chunks == [{("", week(n).isoformat())} for n in (1, 2, 0)]
    assert LIVE_TAGS.items() <= live.tags.items()
    assert not LIVE_TAGS.keys() & (new.tags.keys() | old.tags.keys())


def test_new_sessions_do_not_keep_counts_from_being_computed(
    deployment: Callable[..., Automation], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under a log that never stops, sessions are out of date again before they are counted."""
    auto = deployment()
    small(auto)
    compute = assets.compute_due

    def meanwhile(settings: Settings, asset: str, *given: object) -> object:
        if asset == SOURCE:
            campus.add_sessions(settings, [seen("late", "b1r3", 1)])
            look_again(settings)
        return compute(settings, asset, *given)

    monkeypatch.setattr(assets, "compute_due", meanwhile)
    (request,) = auto.requests()
    assert materialized(auto, auto.run(request)) == {SESSIONS: 3, SOURCE: 36, DERIVED: 9, DAYS: 3}
    assert stale(auto.settings).keys() == {SESSIONS}


def test_deadlines_come_from_history(deployment: Callable[..., Automation]) -> None:
    auto = deployment(deadline_floor_seconds=1, deadline_factor=4)
    small(auto)
    auto.until_quiet()
    change(auto.settings, "UPDATE tippers.run_duration SET seconds = 50, partitions = 2")
    track_space(auto.settings, space="campus", start=week(3), end=week(7))
    (request,) = auto.requests()
    # Each of four levels took at most 50 s for 2 partitions; four chunks of 1, 12, 3 and 1 now.
    assert request.tags["dagster/max_runtime"] == str((1 + 12 + 3 + 1) * 4 * 50 // 2 * 4)


def test_an_idle_tick_does_not_evaluate(
    deployment: Callable[..., Automation], monkeypatch: pytest.MonkeyPatch
) -> None:
    auto = deployment()
    small(auto)
    auto.until_quiet()
    auto.tick()
    assert auto.tick().skip_message == "Nothing changed."
    look_again(auto.settings)
    assert auto.tick().skip_message == "Nothing changed.", "observed again, unchanged"


def test_a_lost_lake_folder_is_an_error_not_a_zero(deployment: Callable[..., Automation]) -> None:
    auto = deployment()
    small(auto)
    auto.until_quiet()
    shutil.rmtree(Path(auto.settings.lake_url or "") / "presence")
    campus.add_sessions(auto.settings, [seen("late", "b1r3", 1)])
    look_again(auto.settings)
    (request,) = auto.requests()
    result = auto.run(request)
    assert not result.success
    assert materialized(auto, result) == {SESSIONS: 1, SOURCE: 1, DAYS: 1}
    failure = next(e for e in result.all_events if e.is_step_failure).step_failure_data
    assert "is missing" in str(failure.user_failure_data.description)


# --- private parts of Dagster that the code relies on --------------------------------------------
def test_pin_the_sensor_that_is_subclassed() -> None:
    """``evaluate_tick`` takes the context, and returns the fields that are passed on."""
    assert dg.__version__ == "1.13.27"
    assert dg.AutomationConditionSensorDefinition.evaluate_tick is dg.SensorDefinition.evaluate_tick
    assert {
        "run_requests",
        "skip_message",
        "cursor",
        "log_key",
        "automation_condition_evaluations",
    } <= set(SensorExecutionData.__annotations__)


def test_pin_that_evaluations_reach_dagsters_pages(
    deployment: Callable[..., Automation],
) -> None:
    auto = deployment()
    small(auto)
    data = auto.tick()
    assert {e.key.to_user_string() for e in data.automation_condition_evaluations} >= {SESSIONS}
    assert data.cursor
    assert "dagster/sensor_name" in data.run_requests[0].tags


def test_pin_that_a_range_is_in_the_order_of_creation(
    deployment: Callable[..., Automation],
) -> None:
    auto = deployment()
    small(auto)
    track_space(auto.settings, space="campus", start=week(-2), end=week(0))
    (request,) = auto.requests()
    assert auto.run(request).success
    keys = auto.instance.get_materialized_partitions(dg.AssetKey(SESSIONS))
    assert {split_key(SESSIONS, key) for key in keys} == cells(request, auto.instance)
