"""Which chunks are checked again, and what is reported."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator
from dataclasses import replace

import dagster as dg
import pytest

from tests.occupancy import campus
from tests.occupancy.campus import Seen, change, compute_all, stale
from tests.stack.waiting import until
from tippers_dagster.campus.source.changes import noting_sql
from tippers_dagster.campus.spaces.tracking import track
from tippers_dagster.occupancy import observing
from tippers_dagster.occupancy.definitions import occupancy_definitions
from tippers_dagster.occupancy.observing import Position
from tippers_dagster.occupancy.source_checks import due, observe
from tippers_dagster.occupancy.state import SESSIONS
from tippers_dagster.platform.dagster.environment import dagster_instance
from tippers_dagster.settings import Settings, get_settings

MONDAY = dt.date(2025, 1, 6)
CHUNKS = [(MONDAY + dt.timedelta(weeks=n)).isoformat() for n in range(10)]
NOW = dt.datetime(2025, 12, 1, tzinfo=dt.UTC)


@pytest.fixture
def settings(stack: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("TIPPERS_OBSERVE_RECENT_CHUNKS", "2")
    monkeypatch.setenv("TIPPERS_OBSERVE_OLDER_CHUNKS", "3")
    get_settings.cache_clear()
    settings = get_settings()
    campus.fill(settings, {"hall": None, "r1": "hall"}, [seen("m1", 0), seen("m2", 9)])
    return settings


def seen(mac: str, n: int) -> Seen:
    start = dt.datetime.combine(MONDAY, dt.time(9)) + dt.timedelta(weeks=n)
    return Seen(mac, "r1", start, start + dt.timedelta(hours=1))


def all_computed(settings: Settings) -> None:
    track(settings, space="hall", start=MONDAY, end=MONDAY + dt.timedelta(weeks=10))
    compute_all(settings)


def test_uncomputed_chunks_are_not_checked(settings: Settings) -> None:
    assert due(settings, CHUNKS, NOW) == []


def test_the_newest_always_and_the_others_in_turn(settings: Settings) -> None:
    all_computed(settings)
    looked: list[list[str]] = []
    for _ in range(3):
        looked.append(due(settings, CHUNKS, NOW))
        observe(settings, looked[-1])
    assert all(set(CHUNKS[-2:]) <= set(chunks) and len(chunks) == 5 for chunks in looked)
    assert {chunk for chunks in looked for chunk in chunks} == set(CHUNKS)


def test_future_chunks_are_not_checked(settings: Settings) -> None:
    all_computed(settings)
    early = dt.datetime(2025, 1, 22, tzinfo=dt.UTC)
    assert set(due(settings, CHUNKS, early)) == set(CHUNKS[:3])


def test_chunks_tracked_again_come_first(settings: Settings) -> None:
    all_computed(settings)
    change(
        settings,
        "DELETE FROM tippers.source_chunk WHERE chunk IN (%s, %s)",
        CHUNKS[1],
        CHUNKS[4],
    )
    assert {CHUNKS[1], CHUNKS[4]} <= set(due(settings, CHUNKS, NOW))


def test_checking_computes_only_fingerprints(settings: Settings) -> None:
    all_computed(settings)
    campus.add_sessions(settings, [seen("late", 4)])
    found = observe(settings, [CHUNKS[4], CHUNKS[9]])
    assert (found[CHUNKS[4]].rows, found[CHUNKS[9]].rows) == (1, 1)
    assert stale(settings) == {SESSIONS: {("", CHUNKS[4])}}


def test_the_sensor_reports_only_changes(settings: Settings) -> None:
    with dagster_instance(settings) as instance:
        repository = occupancy_definitions(get_settings()).get_repository_def()
        sensor = repository.get_sensor_def("session_source_observer")

        def tick() -> tuple[str | None, list[str | None]]:
            context = dg.build_sensor_context(instance=instance, repository_def=repository)
            data = sensor.evaluate_tick(context)
            return data.skip_message, [event.partition for event in data.asset_events]

        assert tick() == ("Nothing is tracked.", [])
        all_computed(settings)
        for _ in range(3):
            message, events = tick()
            assert message == "Chunks checked: 5; changed: 0."
            assert events == []
        campus.add_sessions(settings, [seen("late", 9)])
        message, events = tick()
        assert events == [CHUNKS[9]]
        assert tick()[1] == []
    assert stale(settings) == {SESSIONS: {("", CHUNKS[9])}}


class Observer:
    """Ticks of the sensor, each of which goes on where the last one was."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self.repository = occupancy_definitions(get_settings()).get_repository_def()
        self.sensor = self.repository.get_sensor_def("session_source_observer")
        self.cursor: str | None = None

    def tick(self) -> tuple[str | None, list[str | None]]:
        context = dg.build_sensor_context(
            instance=self.instance, repository_def=self.repository, cursor=self.cursor
        )
        data = self.sensor.evaluate_tick(context)
        self.cursor = data.cursor
        return data.skip_message, [event.partition for event in data.asset_events]

    def quiet(self) -> None:
        """Tick until nothing is left to check."""
        until(lambda: self.tick()[0] == NOTHING, 20)


NOTHING = "Chunks checked: 0; changed: 0."


@pytest.fixture
def observer(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Observer]:
    monkeypatch.setattr(observing, "MAX_SHARE", 1000.0)
    all_computed(settings)
    with dagster_instance(settings) as instance:
        found = Observer(instance)
        found.quiet()
        yield found


def test_rows_that_have_not_changed_are_not_read(
    observer: Observer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert observer.tick() == (NOTHING, [])
    a_minute_ago = Position(polled_at=time.time() - 61)
    last = observing._position(observer.cursor)
    observer.cursor = observing._POSITION.dump_json(
        replace(last, polled_at=a_minute_ago.polled_at)
    ).decode()
    assert observer.tick()[0] == "Chunks checked: 5; changed: 0.", "in turn, once a minute"
    assert observer.tick() == (NOTHING, [])


def test_changes_of_recent_chunks_are_seen_at_once(settings: Settings, observer: Observer) -> None:
    campus.add_sessions(settings, [seen("late", 9)])
    until(lambda: observer.tick()[1] == [CHUNKS[9]], 20)


def test_changes_of_any_chunk_are_seen_at_once_where_the_source_notes_them(
    settings: Settings, observer: Observer
) -> None:
    with campus.source(settings) as cursor:
        for statement in noting_sql(settings):
            cursor.execute(statement)
    observer.quiet()
    campus.add_sessions(settings, [seen("late", 2)])
    message, events = observer.tick()
    assert (message, events) == ("Chunks checked: 1; changed: 1.", [CHUNKS[2]])
    observer.quiet()


def test_checking_takes_a_share_of_the_time(
    settings: Settings, observer: Observer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observing, "MAX_SHARE", 1e-6)
    campus.add_sessions(settings, [seen("late", 9)])
    until(lambda: observer.tick()[1] == [CHUNKS[9]], 20)
    assert observer.tick() == ("The last check took long.", [])
