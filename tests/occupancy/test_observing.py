"""Which chunks are checked again, and what is reported."""

from __future__ import annotations

import datetime as dt

import dagster as dg
import pytest

from tests.occupancy import campus
from tests.occupancy.campus import Seen, change, compute_all, stale
from tippers_dagster.campus.spaces.tracking import track
from tippers_dagster.occupancy.definitions import occupancy_definitions
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
