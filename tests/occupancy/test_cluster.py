"""Counting on a Dask cluster gives the same files as counting in this process."""

from __future__ import annotations

import datetime as dt
import random

import pytest
import sqlalchemy as sa

from tests.occupancy.campus import Seen, compute_all, fill, forget_all
from tests.platform.cluster import losing_a_worker, two_workers
from tippers_dagster.campus.spaces.tracking import track
from tippers_dagster.occupancy.tables import partition_figures
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings, get_settings

MONDAY = dt.datetime(2025, 1, 6)
PARENTS = {"campus": None, "hall": "campus", "r1": "hall", "r2": "hall", "plaza": "campus"}


def sessions() -> list[Seen]:
    rng = random.Random(3)
    found = []
    for _ in range(300):
        start = MONDAY + dt.timedelta(minutes=rng.randrange(21 * 1440 - 400))
        end = start + dt.timedelta(minutes=rng.choice((1, 20, 90, 400)))
        mac = f"02:00:00:00:00:{rng.randrange(20):02x}"
        found.append(Seen(mac, rng.choice(("hall", "r1", "r2", "plaza")), start, end))
    return found


Rows = list[dict[str, object]]


def computed(settings: Settings) -> tuple[dict[str, Rows], list[tuple[object, ...]]]:
    """Compute everything from scratch; returns the rows of all files, and what is recorded of them.

    Not the files' bytes: where pages end depends on how the tables that were written were divided.
    """
    forget_all(settings)
    for folder in ("sessions/", "presence/", "occupancy/"):
        open_lake(settings).delete_prefix(folder)
    track(settings, space="campus", start=MONDAY.date(), end=MONDAY.date() + dt.timedelta(21))
    assert compute_all(settings)["derived_occupancy"] == 2 * 21
    lake = open_lake(settings)
    keys = [*lake.list("presence/"), *lake.list("occupancy/")]
    return {key: lake.read_table(key).to_pylist() for key in keys}, recorded(settings)


def recorded(settings: Settings) -> list[tuple[object, ...]]:
    """Fingerprints and figures of all partitions."""
    own = {"run_id", "computed_at"}
    columns = [column for column in partition_figures.c if column.name not in own]
    with warehouse_engine(settings).connect() as connection:
        found = connection.execute(sa.select(*columns).order_by(*partition_figures.primary_key))
        return [tuple(row) for row in found]


def test_a_cluster_gives_the_same_counts_and_survives_a_dead_worker(
    stack: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIPPERS_CHUNK", "day")
    get_settings.cache_clear()
    fill(get_settings(), PARENTS, sessions())
    here = computed(get_settings())
    with two_workers() as scheduler:
        monkeypatch.setenv("TIPPERS_DASK_URL", scheduler)
        get_settings.cache_clear()
        with losing_a_worker(scheduler):
            there = computed(get_settings())
    assert here[0]
    assert there == here
