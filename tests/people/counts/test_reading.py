"""People in a space, with and without a calibration."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tests.occupancy.campus import change, compute_all, look_again
from tests.people.counts.campus import (
    DAYS,
    MISSED,
    MONDAY,
    ROOMS,
    count_heads,
    label,
    people_of,
    phones_and_people,
)
from tippers_dagster.catalog.kinds import PeopleCount
from tippers_dagster.errors import BadInput
from tippers_dagster.labelling.labels import NotLabelled
from tippers_dagster.occupancy.reading import missing_chunks, read_occupancy
from tippers_dagster.people.counts.head_counts import read_head_counts as head_counts_read
from tippers_dagster.people.counts.reading import (
    NotCounted,
    PeopleCounter,
    read_fit_data,
    read_people,
)
from tippers_dagster.people.counts.work import calibrate_people, write_calibrated
from tippers_dagster.settings import Settings

PHONES = PeopleCount(by="device.device_type", labels=("PHONE",), ratio="constant")
NOON = dt.datetime.combine(MONDAY, dt.time(12))


def made(settings: Settings, body: PeopleCount = PHONES, name: str = "phones") -> None:
    write_calibrated(settings, name, "1", "run", calibrate_people(settings, body))


def at_noon(settings: Settings, space: str, day: int, name: str = "phones") -> dict[str, object]:
    noon = NOON + dt.timedelta(day)
    rows = read_people(space, noon, noon + dt.timedelta(hours=1), 3600, name, settings=settings)
    return rows.to_pylist()[0]


def test_without_head_counts_phones_are_people(campus: Settings) -> None:
    made(campus)
    for day in range(0, DAYS, 5):
        for room in ROOMS:
            phones, people = phones_and_people(room, day)
            row = at_noon(campus, room, day)
            assert row["number_connections"] == phones + people // 2
            assert row["devices_counted"] == row["people"] == phones
            assert row["people_low"] <= phones <= row["people_high"]
            assert row["people_low"] < row["people_high"]


def test_certain_labels_give_an_interval_of_zero_width(campus: Settings) -> None:
    label(campus, phone=1.0)
    made(campus)
    row = at_noon(campus, "hall", 3)
    assert row["people_low"] == row["people"] == row["people_high"]
    assert row["people"] == sum(phones_and_people(room, 3)[0] for room in ROOMS)


def test_counts_of_all_devices_have_no_interval(campus: Settings) -> None:
    made(campus, PeopleCount(), "all")
    row = at_noon(campus, "hall", 3, "all")
    assert row["people"] == row["number_connections"] == row["devices_counted"]
    assert row["people_low"] is row["people_high"] is None


def test_a_calibration_recovers_the_people(campus: Settings, tmp_path: Path) -> None:
    count_heads(campus, tmp_path / "heads.csv")
    made(campus)
    phones, people = (
        sum(phones_and_people(room, day)[i] for room in ROOMS for day in range(DAYS))
        for i in (0, 1)
    )
    row = at_noon(campus, "r1", 6)
    assert row["people"] == pytest.approx(row["devices_counted"] * people / phones, rel=0.06)
    inside = 0
    for day in range(DAYS):
        for room in ROOMS:
            row = at_noon(campus, room, day)
            inside += row["people_low"] <= people_of(day, room) <= row["people_high"]
    assert inside >= 0.85 * DAYS * len(ROOMS)
    night = read_people("r1", MONDAY, NOON.replace(hour=4), 3600, "phones", settings=campus)
    assert set(night["people"].to_pylist()) == {0.0}


def know_some(settings: Settings) -> None:
    """Of people with an even number, the persons of all sessions are known."""
    change(
        settings,
        "UPDATE source.user_ap_trajectory SET person = number + 1000 FROM (SELECT DISTINCT "
        "mac_address AS mac, ('x' || right(mac_address, 2))::bit(8)::int AS number "
        "FROM source.user_ap_trajectory) AS numbers WHERE mac = mac_address AND number % 2 = 0",
    )
    look_again(settings)
    compute_all(settings)


def known_and_others(room: str, day: int) -> tuple[int, int]:
    """People of a room at noon whose persons are known, and phones of all others."""
    people = np.arange(people_of(day, room)) + ROOMS.index(room) * 100
    phones = people[(people - ROOMS.index(room) * 100) % MISSED > 0]
    return int((phones % 2 == 0).sum()), int((phones % 2 == 1).sum())


@pytest.mark.parametrize("width", [3600, 7200])
def test_known_people_are_counted_and_only_the_others_estimated(
    campus: Settings, tmp_path: Path, width: int
) -> None:
    know_some(campus)
    made(campus)
    count_heads(campus, tmp_path / "heads.csv")
    made(campus, name="fitted")
    made(campus, PeopleCount(ratio="constant"), "all")
    for room in (*ROOMS, "hall"):
        rooms = ROOMS if room == "hall" else (room,)
        known, phones = (sum(known_and_others(r, 6)[i] for r in rooms) for i in (0, 1))
        noon = NOON + dt.timedelta(6)
        for name in ("phones", "fitted", "all"):
            asked = (room, noon, noon + dt.timedelta(hours=2), width, name)
            row = read_people(*asked, settings=campus).to_pylist()[0]
            assert row["people_known"] == known
            if name != "all":
                assert row["devices_counted"] == phones
            assert row["people_low"] is None or row["people_low"] <= row["people"]
        fitted = read_people(*asked[:-1], "fitted", settings=campus)["people"][0].as_py()
        everyone = sum(people_of(6, r) for r in rooms)
        assert fitted == pytest.approx(everyone, rel=0.2)
    data = read_fit_data(campus, "fitted")
    assert pc.sum(data["people_known"]).as_py() > 0
    assert set(data["people"].to_pylist()) == {
        float(n) for n in head_counts_read(campus)["people"].to_pylist()
    }


def test_uncomputed_bins_are_null(campus: Settings) -> None:
    made(campus)
    until = MONDAY + dt.timedelta(DAYS)
    table = read_people(
        "r1", until - dt.timedelta(1), until + dt.timedelta(1), 3600, "phones", settings=campus
    )
    assert missing_chunks(table) == [until.isoformat()]
    for name in table.column_names[1:]:
        assert table[name].is_null().to_pylist() == [False] * 24 + [True] * 24
    whole = read_occupancy("r1", until - dt.timedelta(1), until, 3600, settings=campus)
    assert table["number_connections"][:24].equals(whole["number_connections"])
    assert table.schema.field("interval_begin_time").type == pa.timestamp("s", campus.timezone)


def test_unknown_names_and_labels_are_refused(campus: Settings) -> None:
    with pytest.raises(NotCounted, match="no materialised people count 'phones'"):
        at_noon(campus, "r1", 0)
    with pytest.raises(NotLabelled, match=r"device\.other has no labels"):
        made(campus, PeopleCount(by="device.other", labels=("PHONE",)))
    with pytest.raises(BadInput, match="does not give the label TABLET"):
        made(campus, PeopleCount(by="device.device_type", labels=("TABLET",)))


def test_many_spaces_are_counted_as_each_alone(campus: Settings) -> None:
    spaces = ["r1", "hall", *ROOMS]
    asked = (MONDAY, MONDAY + dt.timedelta(14), 900)
    for body in (PeopleCount(), PHONES):
        counter = PeopleCounter(campus, body, None)
        together = list(counter.read_many(spaces, *asked))
        assert any(found.people.any() for found in together)
        for space, found in zip(spaces, together, strict=True):
            alone = counter.read(space, *asked)
            for name in ("people", "low", "high"):
                np.testing.assert_array_equal(getattr(found, name), getattr(alone, name))
