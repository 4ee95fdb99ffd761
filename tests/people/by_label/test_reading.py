"""Occupancy by label equals a plain recount for random labels, bins and spaces."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Mapping

import pytest
import sqlalchemy as sa

from tests.occupancy.campus import Seen, compute_all, fill
from tippers_dagster.campus.spaces.tracking import track
from tippers_dagster.errors import BadInput
from tippers_dagster.labelling.labels import NotLabelled
from tippers_dagster.occupancy.reading import missing_chunks, read_occupancy
from tippers_dagster.people.by_label.reading import (
    TOTAL,
    UNLABELLED,
    device_labels,
    label_models_of_devices,
    read_labelled_occupancy,
)
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

MONDAY = dt.datetime(2025, 1, 6)
PARENTS = {"campus": None, "hall": "campus", "r1": "hall", "r2": "hall", "plaza": "campus"}
MACS = [f"02:00:00:00:00:{n:02x}" for n in range(24)]
LABELS = ("LAPTOP", "PHONE", "PRINTER")


@pytest.fixture
def rows() -> list[Seen]:
    rng = random.Random(5)
    found = []
    for _ in range(400):
        start = MONDAY + dt.timedelta(minutes=rng.randrange(7 * 1440 - 400))
        end = start + dt.timedelta(minutes=rng.choice((1, 10, 45, 400)))
        found.append(Seen(rng.choice(MACS), rng.choice(("hall", "r1", "r2", "plaza")), start, end))
    return found


@pytest.fixture
def campus(stack: Settings, rows: list[Seen]) -> Settings:
    """A week of sessions, all computed; no device is labelled."""
    fill(stack, PARENTS, rows)
    track(stack, space="campus", start=MONDAY.date(), end=MONDAY.date() + dt.timedelta(7))
    compute_all(stack)
    return stack


def say(
    settings: Settings,
    labels: Mapping[str, str | None],
    name: str = "device__type",
    version: str = "1",
) -> None:
    """Write labels as a label model does."""
    with warehouse_engine(settings).begin() as connection:
        connection.execute(sa.text("CREATE SCHEMA IF NOT EXISTS labels"))
        connection.execute(sa.text(f"DROP TABLE IF EXISTS labels.{name}"))
        connection.execute(
            sa.text(
                f"CREATE TABLE labels.{name} (mac_address text, label text, outcome text, "
                "p_laptop float8, p_phone float8, p_printer float8, version text)"
            )
        )
        if labels:
            connection.execute(
                sa.text(
                    f"INSERT INTO labels.{name} (mac_address, label, version) "
                    "VALUES (:mac, :label, :version)"
                ),
                [{"mac": m, "label": label, "version": version} for m, label in labels.items()],
            )


def within(space: str) -> set[str]:
    """The space and everything below it."""
    return {space} | {s for child, p in PARENTS.items() if p == space for s in within(child)}


def recount(
    rows: list[Seen], labels: Mapping[str, str | None], space: str, begin: dt.datetime, width: int
) -> dict[str, int]:
    """Distinct devices per label in one bin, counted plainly."""
    end = begin + dt.timedelta(seconds=width)
    there = {
        r.mac for r in rows if r.space in within(space) and r.start < end and begin < (r.end or end)
    }
    parts = dict.fromkeys((*LABELS, UNLABELLED), 0)
    for mac in there:
        parts[labels.get(mac or "") or UNLABELLED] += 1
    return {**parts, TOTAL: len(there)}


def test_it_equals_a_plain_recount(campus: Settings, rows: list[Seen]) -> None:
    rng = random.Random(7)
    for _ in range(40):
        known = rng.sample(MACS, rng.randrange(len(MACS) + 1))
        labels = {mac: rng.choice((*LABELS, None)) for mac in known}
        say(campus, labels)
        space = rng.choice(list(PARENTS))
        width = rng.choice((60, 300, 900, 3600, 5400, 86400))
        first = MONDAY.date() + dt.timedelta(rng.randrange(7))
        last = first + dt.timedelta(1)
        table = read_labelled_occupancy(space, first, last, width, "device.type", settings=campus)
        assert table.column_names == ["interval_begin_time", *LABELS, UNLABELLED, TOTAL]
        for row in table.to_pylist():
            begin = row.pop("interval_begin_time").replace(tzinfo=None)
            assert row == recount(rows, labels, space, begin, width), (space, begin, width)
        whole = read_occupancy(space, first, last, width, settings=campus)
        assert table[TOTAL].to_pylist() == whole["number_connections"].to_pylist()


def test_uncomputed_bins_are_null(campus: Settings) -> None:
    say(campus, {MACS[0]: "PHONE"})
    after = MONDAY.date() + dt.timedelta(7)
    table = read_labelled_occupancy(
        "r1", after - dt.timedelta(1), after + dt.timedelta(1), 3600, "device.type", settings=campus
    )
    for name in (*LABELS, UNLABELLED, TOTAL):
        values = table[name].to_pylist()
        assert None not in values[:24]
        assert values[24:] == [None] * 24
    assert missing_chunks(table) == ["2025-01-13"]


def test_only_label_models_of_devices_can_split(campus: Settings) -> None:
    with pytest.raises(NotLabelled, match=r"device\.type has no labels yet"):
        device_labels(campus, "device.type")
    say(campus, {})
    with warehouse_engine(campus).begin() as connection:
        connection.execute(sa.text("CREATE TABLE labels.room__use (space_id text, label text)"))
    assert label_models_of_devices(campus) == ["device.type"]
    with pytest.raises(BadInput, match="its key is space_id"):
        device_labels(campus, "room.use")
    assert device_labels(campus, "device.type").names == (*LABELS, UNLABELLED)


@pytest.mark.parametrize("written", ["", "device", 'a"; DROP TABLE x; --.b', "device.type.x"])
def test_hostile_names_are_not_label_models(campus: Settings, written: str) -> None:
    say(campus, {})
    with pytest.raises(NotLabelled):
        device_labels(campus, written)
