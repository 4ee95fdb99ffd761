"""A home of an earlier version, with one file per space and chunk, is copied once."""

from __future__ import annotations

import datetime as dt
import logging

import pyarrow as pa
import pytest
import sqlalchemy as sa

from tests.occupancy import campus, lake
from tests.occupancy.campus import Seen, compute_all, stale
from tests.people.by_label.test_reading import LABELS, MACS, say
from tippers_dagster.campus.spaces.tracking import track
from tippers_dagster.occupancy import files, repack
from tippers_dagster.occupancy.files import DERIVED_COUNTS, SOURCE_COUNTS
from tippers_dagster.occupancy.reading import read_occupancy
from tippers_dagster.occupancy.repack import occupancy_lake
from tippers_dagster.people.by_label.reading import read_labelled_occupancy
from tippers_dagster.people.by_label.repack import labelled_lake
from tippers_dagster.people.by_label.work import bring_up_to_date
from tippers_dagster.platform.lake import Lake, open_lake
from tippers_dagster.platform.lake.folder import FolderBackend
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

PARENTS = {"campus": None, "hall": "campus", "r/1": "hall", "r2": "hall", "..": "campus"}
FIRST = dt.date(2025, 1, 6)
END = FIRST + dt.timedelta(14)
BY = "device.device_type"
LOG = logging.getLogger("test")


@pytest.fixture
def settings(stack: Settings) -> Settings:
    """Two weeks, computed, of which the first is sealed: only counts are left."""
    monday = dt.datetime.combine(FIRST, dt.time(9))
    rows = [
        Seen(MACS[i % len(MACS)], space, monday + dt.timedelta(hours=13 * i), None)
        for i, space in enumerate([*PARENTS, "r2", "r/1", "hall"] * 3)
    ]
    campus.fill(stack, PARENTS, rows)
    track(stack, space="campus", start=FIRST, end=END)
    compute_all(stack)
    say(stack, {MACS[0]: LABELS[0], MACS[1]: LABELS[1]}, "device__device_type")
    bring_up_to_date(stack, "types", BY, "run", LOG)
    return stack


def seen(settings: Settings, width: int = 900) -> dict[str, list[object]]:
    """Everything that is read, of the week that is not sealed or of both if it is published."""
    found: dict[str, list[object]] = {}
    start = FIRST if width == 900 else FIRST + dt.timedelta(7)
    for space in PARENTS:
        counts = read_occupancy(space, start, END, width, settings=settings)
        labels = read_labelled_occupancy(space, start, END, width, BY, settings=settings)
        found[space] = [*counts["number_connections"].to_pylist(), labels.to_pylist()]
    return found


def turn_back(settings: Settings, *, sealed: str | None = None) -> int:
    """Make the home as an earlier version would have left it; returns the number of files."""
    the_lake = open_lake(settings)
    number = lake.make_old(the_lake)
    with warehouse_engine(settings).begin() as connection:
        connection.execute(sa.text("DELETE FROM tippers.lake_layout"))
        if sealed:
            row = {"chunk": sealed, "now": dt.datetime.now(dt.UTC)}
            insert = (
                "INSERT INTO tippers.sealed_chunk (chunk, fingerprint, rows, sealed_at, deleted_at)"
                " VALUES (:chunk, 0, 0, :now, :now)"
            )
            connection.execute(sa.text(insert), row)
            for key in the_lake.list("presence/"):
                if sealed in key:
                    the_lake.delete(key)
            the_lake.delete(f"sessions/chunk={sealed}.parquet")
    restart()
    return number


def restart() -> None:
    """As a new process does: nothing is known of the lake."""
    occupancy_lake.cache_clear()
    labelled_lake.cache_clear()


def old_keys(settings: Settings) -> list[str]:
    return [key for key in open_lake(settings).list() if "space=" in key]


def test_everything_is_read_as_before(settings: Settings) -> None:
    before, on_demand = seen(settings), seen(settings, 1200)
    new = open_lake(settings).list()
    assert turn_back(settings, sealed="2025-01-06") == 3 * 5 * 2
    assert seen(settings) == before
    assert seen(settings, 1200) == on_demand
    assert old_keys(settings) == []
    assert set(new) - set(open_lake(settings).list()) == {
        f"{kind}/chunk=2025-01-06.parquet" for kind in ("presence", "sessions")
    }
    assert stale(settings) == {}
    assert compute_all(settings) == {
        "sessions": 0,
        "source_occupancy": 0,
        "derived_occupancy": 0,
        "days_and_encounters": 0,
    }


class Killed(BaseException):
    """The process died."""


@pytest.fixture
def dying(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Die before the given number of lasting steps: files that appear, folders that go."""
    left = [10**6]

    def step() -> None:
        if not left[0]:
            raise Killed
        left[0] -= 1

    for name in ("_publish", "delete_prefix"):
        real = getattr(FolderBackend, name)

        def counted(self: FolderBackend, *arguments: object, real: object = real) -> None:
            step()
            real(self, *arguments)  # type: ignore[operator]

        monkeypatch.setattr(FolderBackend, name, counted)
    real_record = repack._record

    def recorded(*arguments: object, **keywords: object) -> None:
        step()
        real_record(*arguments, **keywords)  # type: ignore[arg-type]
        step()

    monkeypatch.setattr(repack, "_record", recorded)
    return left


def test_killed_before_every_step(settings: Settings, dying: list[int]) -> None:
    turn_back(settings, sealed="2025-01-06")
    labelled_lake(settings)
    before = content(settings)
    for steps in range(200):
        turn_back(settings)
        dying[0] = steps
        died = False
        try:
            labelled_lake(settings)
        except Killed:
            died = True
        dying[0] = 10**6
        restart()
        labelled_lake(settings)
        assert content(settings) == before, steps
        if not died:
            break
    assert 20 < steps < 199


def content(settings: Settings) -> dict[str, pa.Table]:
    here = open_lake(settings)
    keys = here.list()
    return dict(zip(keys, here.read_tables(keys), strict=True))


def test_it_is_done_once_and_recorded(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    turn_back(settings)
    labelled_lake(settings)
    restart()

    def refuse(*_: object) -> None:
        raise AssertionError("listed the lake again")

    monkeypatch.setattr(Lake, "list", refuse)
    labelled_lake(settings)
    with warehouse_engine(settings).connect() as connection:
        rows = connection.execute(
            sa.text("SELECT lake, part, finished_at IS NOT NULL FROM tippers.lake_layout")
        )
        here = open_lake(settings).uri()
        assert sorted(map(tuple, rows)) == [(here, "labelled", True), (here, "occupancy", True)]


def test_counts_by_other_labels_are_dropped(settings: Settings) -> None:
    """They were left over: nothing reads them, and they may have other columns."""
    turn_back(settings)
    the_lake, key = open_lake(settings), "labelled/types/space=r2/chunk=2025-01-13.parquet"
    table = the_lake.read_table(key)
    other = table.rename_columns([f"x{name}" for name in table.column_names])
    metadata = {**table.schema.metadata, b"tippers.labels": b"00"}
    the_lake.write_table(key, other.replace_schema_metadata(metadata))
    before = files.labelled_counts("types")
    labelled_lake(settings)
    assert files.computed_spaces(the_lake, before, "2025-01-13") == sorted(PARENTS.keys() - {"r2"})
    assert files.computed_spaces(the_lake, before, "2025-01-06") == sorted(PARENTS)


def test_counts_go_where_they_are_looked_for_first(settings: Settings) -> None:
    turn_back(settings)
    the_lake = occupancy_lake(settings)
    leaves = [
        files.computed_spaces(the_lake, SOURCE_COUNTS, c) for c in ("2025-01-06", "2025-01-13")
    ]
    parents = [
        files.computed_spaces(the_lake, DERIVED_COUNTS, c) for c in ("2025-01-06", "2025-01-13")
    ]
    assert leaves == [["..", "r/1", "r2"]] * 2
    assert parents == [["campus", "hall"]] * 2
