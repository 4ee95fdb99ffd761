"""Exports hide what occupancy by the same labels hides."""

from __future__ import annotations

import datetime as dt

import pytest

from tests.people.counts.campus import MONDAY, PARENTS, ROOMS
from tippers_dagster.catalog.kinds import PeopleCount
from tippers_dagster.occupancy.sharing import SUPPRESSED, read_shared_occupancy
from tippers_dagster.people.counts.reading import read_people
from tippers_dagster.people.counts.sharing import read_shared_people
from tippers_dagster.people.counts.work import calibrate_people, write_calibrated
from tippers_dagster.settings import Settings, get_settings

SMALLEST = 5
BODIES = {
    "phones": PeopleCount(by="device.device_type", labels=("PHONE",)),
    "all": PeopleCount(),
}
UNTIL = MONDAY + dt.timedelta(7)


@pytest.fixture
def careful(campus: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, body in BODIES.items():
        write_calibrated(campus, name, "1", "run", calibrate_people(campus, body))
    monkeypatch.setenv("TIPPERS_SMALLEST_COUNT", str(SMALLEST))
    get_settings.cache_clear()
    return get_settings()


def test_small_counts_are_hidden_in_all_columns(careful: Settings) -> None:
    hidden = 0
    for name in BODIES:
        for space in PARENTS:
            asked = (space, MONDAY, UNTIL, 3600, name)
            shared = read_shared_people(*asked, settings=careful).to_pylist()
            for row, told in zip(
                read_people(*asked, settings=careful).to_pylist(), shared, strict=True
            ):
                suppressed = told.pop(SUPPRESSED)
                numbers = {k: v for k, v in told.items() if k != "interval_begin_time"}
                if suppressed:
                    assert set(numbers.values()) == {None}
                else:
                    assert told == row
                parts = (row["devices_counted"], row["number_connections"])
                rest = parts[1] - parts[0]
                if any(0 < part < SMALLEST for part in (*parts, rest if name == "phones" else 0)):
                    assert suppressed, (name, space, row)
                hidden += suppressed
    assert hidden


def test_bins_that_occupancy_hides_are_hidden(careful: Settings) -> None:
    for space in PARENTS:
        occupancy = read_shared_occupancy(space, MONDAY, UNTIL, 3600, settings=careful)
        for name in BODIES:
            people = read_shared_people(space, MONDAY, UNTIL, 3600, name, settings=careful)
            pairs = zip(
                occupancy[SUPPRESSED].to_pylist(), people[SUPPRESSED].to_pylist(), strict=True
            )
            assert all(hidden for whole, hidden in pairs if whole)


def test_without_a_smallest_count_nothing_is_hidden(campus: Settings) -> None:
    write_calibrated(campus, "all", "1", "run", calibrate_people(campus, BODIES["all"]))
    asked = (ROOMS[0], MONDAY, UNTIL, 3600, "all")
    shared = read_shared_people(*asked, settings=campus)
    assert shared.equals(read_people(*asked, settings=campus))
