"""Runs that die between replacing a file and recording it: none of their counts ever seem fresh.

A run is killed before every single lasting step (a file that appears, a transaction that is
committed), at every level; then the source is restored, and everything is recomputed.
"""

from __future__ import annotations

import datetime as dt
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from tests.occupancy import campus
from tests.occupancy.campus import Seen, change, compute_all, compute_level, look_again, stale
from tippers_dagster.campus.spaces.tracking import track
from tippers_dagster.errors import TippersError
from tippers_dagster.occupancy import files, work
from tippers_dagster.occupancy.chunk_tables import DEVICE_DAYS, MET, PLACE_DAYS
from tippers_dagster.occupancy.reading import read_occupancy
from tippers_dagster.occupancy.records import Overtaken, void
from tippers_dagster.occupancy.state import ASSETS, DAYS, DERIVED, SESSIONS, SOURCE
from tippers_dagster.occupancy.tracking import untrack_space
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.lake.folder import FolderBackend
from tippers_dagster.platform.lake.keys import chunk_file
from tippers_dagster.platform.locks.locks import advisory_locks
from tippers_dagster.platform.locks.tables import held_lock
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.platform.warehouse.fence import LocksLost
from tippers_dagster.settings import Settings

TREE = {"campus": None, "b1": "campus", "b2": "campus", "r1": "b1", "r2": "b1", "r3": "b2"}
START, MIDDLE, END = dt.date(2025, 1, 6), dt.date(2025, 1, 13), dt.date(2025, 1, 20)
NINE = dt.datetime(2025, 1, 7, 9)
HOUR = dt.timedelta(hours=1)

PUBLISHED, COUNTED = 900, 1200
"""Bin widths: one published in the lake, and one counted from presence when read."""


def seen(mac: str, space: str, days: int = 0) -> Seen:
    start = NINE + dt.timedelta(days)
    return Seen(mac, space, start, start + HOUR)


BASE = [seen("m1", "r1"), seen("m2", "r2"), seen("m2", "r3", 7), seen("m3", "b1", 7)]
GHOSTS = [seen(f"ghost{i}", "r1", i % 2 * 7) for i in range(100)]


@pytest.fixture
def settings(stack: Settings) -> Settings:
    """A campus over two weeks, all computed."""
    campus.fill(stack, TREE, BASE)
    track(stack, space="campus", start=START, end=END)
    compute_all(stack)
    return stack


def peaks(settings: Settings) -> dict[tuple[str, int], tuple[int, int]]:
    """The most devices in a bin of each week, by space and width."""
    found = {}
    for space in TREE:
        for width in (PUBLISHED, COUNTED):
            weeks = [
                read_occupancy(space, *week, width, settings=settings)["number_connections"]
                for week in ((START, MIDDLE), (MIDDLE, END))
            ]
            found[space, width] = tuple(int(np.max(counts)) for counts in weeks)
    return found


ABOVE = {
    SESSIONS: (),
    SOURCE: (SESSIONS,),
    DERIVED: (SESSIONS, SOURCE),
    DAYS: (SESSIONS,),
}
RIGHT = {"campus": (2, 2), "b1": (2, 1), "b2": (0, 1), "r1": (1, 0), "r2": (1, 0), "r3": (0, 1)}


def devices_of(settings: Settings, prefix: str) -> list[int]:
    """The number of devices in a table of each week."""
    lake = open_lake(settings)
    return [
        len(lake.read_table(chunk_file(prefix, str(week)))["device"].unique())
        for week in (START, MIDDLE)
    ]


def is_right(settings: Settings) -> bool:
    widths = (PUBLISHED, COUNTED)
    if any(devices_of(settings, prefix) != [2, 2] for prefix in (PLACE_DAYS, DEVICE_DAYS, MET)):
        return False
    return peaks(settings) == {(s, w): n for s, n in RIGHT.items() for w in widths}


class Killed(BaseException):
    """The process died. No exception handler of the product catches it."""


@contextmanager
def killed(settings: Settings, before: int) -> Iterator[list[str]]:
    """Die before the given number of lasting steps; yields the steps that were done."""
    done: list[str] = []
    publish = FolderBackend._publish

    def step(what: str) -> None:
        if len(done) >= before:
            raise Killed  # and in every thread: nothing of a dead process continues
        done.append(what)

    def published(self: FolderBackend, temporary: str, key: str) -> None:
        step(key)
        publish(self, temporary, key)

    def committed(connection: sa.Connection) -> None:
        step("commit")

    engine = warehouse_engine(settings)
    sa.event.listen(engine, "commit", committed)
    FolderBackend._publish = published  # type: ignore[method-assign]
    try:
        yield done
    finally:
        FolderBackend._publish = publish  # type: ignore[method-assign]
        sa.event.remove(engine, "commit", committed)


def die_in(settings: Settings, asset: str, before: int) -> list[str] | None:
    """Compute an asset's stale partitions and die; None if it finished."""
    with killed(settings, before) as done:
        try:
            compute_level(settings, asset)
        except Killed:
            return done
    return None


@pytest.mark.parametrize("asset", ASSETS)
def test_killed_before_every_step(settings: Settings, asset: str) -> None:
    above = ABOVE[asset]
    for before in range(100):
        campus.add_sessions(settings, GHOSTS)
        look_again(settings)
        for upstream in above:
            compute_level(settings, upstream)
        died = die_in(settings, asset, before)
        change(settings, "DELETE FROM source.user_ap_trajectory WHERE mac_address LIKE 'ghost%'")
        look_again(settings)
        compute_all(settings)
        assert stale(settings) == {}
        assert is_right(settings), f"{asset} died after {died}"
        for downstream in (SOURCE, DERIVED, DAYS):  # from the existing files
            compute_level(settings, downstream, stale_only=False)
        assert is_right(settings), f"{asset} died after {died}"
        if died is None:
            break
    assert died is None
    assert before > 4, "killed before the void, every file and the record"


def test_three_kills_in_a_row(settings: Settings) -> None:
    """Each run continues from where the one before died."""
    for round_, before in enumerate((3, 5, 4)):
        campus.add_sessions(settings, [seen(f"ghost{round_}{i}", "r1") for i in range(50)])
        look_again(settings)
        for asset in ASSETS:
            died = die_in(settings, asset, before)
            if died is not None:
                break
    change(settings, "DELETE FROM source.user_ap_trajectory WHERE mac_address LIKE 'ghost%'")
    look_again(settings)
    compute_all(settings)
    assert stale(settings) == {}
    assert is_right(settings)


_DIES_AT_THE_RECORD = """
import os
from tests.occupancy.campus import compute_level
from tippers_dagster.occupancy import work
from tippers_dagster.settings import get_settings

work.{record} = lambda *a, **k: os._exit(9)
compute_level(get_settings(), "{asset}")
"""


@pytest.mark.parametrize("asset", ASSETS)
def test_a_process_that_dies_while_recording(settings: Settings, asset: str) -> None:
    campus.add_sessions(settings, GHOSTS)
    look_again(settings)
    for upstream in ABOVE[asset]:
        compute_level(settings, upstream)
    record = "record_sessions" if asset == SESSIONS else "record_figures"
    code = _DIES_AT_THE_RECORD.format(record=record, asset=asset)
    process = subprocess.run([sys.executable, "-c", code], env=dict(os.environ), check=False)
    assert process.returncode == 9
    change(settings, "DELETE FROM source.user_ap_trajectory WHERE mac_address LIKE 'ghost%'")
    look_again(settings)
    assert asset in stale(settings)
    computed = compute_all(settings)
    assert computed[asset] > 0
    assert stale(settings) == {}
    assert is_right(settings)


def test_rows_observed_during_a_run_are_not_hidden_by_its_record(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    campus.add_sessions(settings, [seen("m7", "r1")])
    look_again(settings)
    record = work.record_sessions

    def meanwhile(*arguments: Any) -> None:
        campus.add_sessions(settings, [seen("m8", "r2")])
        look_again(settings)
        record(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(work, "record_sessions", meanwhile)
        compute_level(settings, SESSIONS)
    assert SESSIONS in stale(settings)
    assert compute_all(settings)[SESSIONS] == 1
    assert stale(settings) == {}
    assert peaks(settings)["r2", PUBLISHED] == (2, 0)


# --- reading void partitions ----------------------------------------------------------------------
def test_void_counts_are_shown_and_stale(settings: Settings) -> None:
    """Files are complete, and were right once: they are shown until there are newer ones."""
    void(warehouse_engine(settings), SOURCE, ["r1"], ["2025-01-06"], "run")
    assert stale(settings) == {SOURCE: {("r1", "2025-01-06")}}
    assert is_right(settings)


def test_nothing_is_counted_from_void_partitions(settings: Settings) -> None:
    void(warehouse_engine(settings), SOURCE, ["r1"], ["2025-01-06"], "run")
    with pytest.raises(TippersError, match=r"missing or incomplete for: .*b1 in 2025-01-06"):
        compute_level(settings, DERIVED, stale_only=False)
    campus.add_sessions(settings, [seen("m9", "r2")])
    look_again(settings)
    compute_level(settings, SESSIONS)
    void(warehouse_engine(settings), SOURCE, ["r3"], ["2025-01-06"], "run")
    compute_level(settings, SOURCE)
    void(warehouse_engine(settings), SOURCE, ["r3"], ["2025-01-06"], "run")
    assert compute_level(settings, DERIVED).computed == 1, (
        "b1, but not the campus, which is above r3"
    )
    compute_all(settings)
    assert stale(settings) == {}


def test_untracked_partitions_leave_no_trace(settings: Settings) -> None:
    void(warehouse_engine(settings), SOURCE, ["r1"], ["2025-01-06"], "run")
    untrack_space(settings, space="campus", purge=True)
    with warehouse_engine(settings).connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM tippers.replacing")) == 0


# --- two runs at once, as after lost locks --------------------------------------------------------
def everything_is_void(settings: Settings) -> bool:
    """Whether nothing counts as fresh: both runs copied the rows of all other spaces, perhaps from
    before the other one replaced them.
    """
    found = stale(settings)
    return (len(found[SOURCE]), len(found[DERIVED])) == (2 * 4, 2 * 3)


@contextmanager
def while_reading(monkeypatch: pytest.MonkeyPatch, what: object) -> Iterator[None]:
    """Let something happen once, after files are read and before their counts are recorded."""
    read, before = files.read_every, [what]

    def reading(*arguments: Any) -> object:
        found = read(*arguments)
        if before:
            before.pop()()  # type: ignore[operator]
        return found

    with monkeypatch.context() as patch:
        patch.setattr(files, "read_every", reading)
        yield


def test_counts_from_replaced_files_are_not_recorded(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if the replaced files are restored: they were different when they were read."""
    campus.add_sessions(settings, [seen("m9", "r2")])
    look_again(settings)
    compute_level(settings, SESSIONS)
    compute_level(settings, SOURCE)

    def again() -> None:
        compute_level(settings, SOURCE, stale_only=False)

    with (
        while_reading(monkeypatch, again),
        pytest.raises(Overtaken, match="source_occupancy was recomputed while"),
    ):
        compute_level(settings, DERIVED)
    assert set(stale(settings)) == {DERIVED, DAYS}
    compute_all(settings)
    assert stale(settings) == {}


def test_the_same_partitions_by_two_runs(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first overwrites what the second recorded: neither counts as fresh."""
    campus.add_sessions(settings, GHOSTS)
    look_again(settings)
    compute_level(settings, SESSIONS)
    compute_level(settings, SOURCE)

    def another() -> None:
        assert compute_level(settings, DERIVED).computed == 4

    with (
        while_reading(monkeypatch, another),
        pytest.raises(Overtaken, match="Another run is computing the same"),
    ):
        compute_level(settings, DERIVED)
    assert everything_is_void(settings)
    compute_all(settings)
    assert stale(settings) == {}


@pytest.mark.parametrize("at_once", [True, False])
def test_the_same_partitions_by_two_runs_after_locks_were_lost(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    """A run that lost its locks must not record, but still voids the partitions it overwrote."""
    campus.add_sessions(settings, GHOSTS)
    look_again(settings)
    compute_level(settings, SESSIONS)
    compute_level(settings, SOURCE)

    def another() -> None:
        with warehouse_engine(settings).begin() as connection:
            connection.execute(sa.delete(held_lock))  # as a process that takes them over does
        if at_once:
            assert compute_level(settings, DERIVED).computed == 4

    with (
        advisory_locks(settings, ["chunk derived_occupancy"], logging.getLogger()),
        while_reading(monkeypatch, another),
        pytest.raises(Overtaken if at_once else LocksLost, match="Another run"),
    ):
        compute_level(settings, DERIVED)
    assert everything_is_void(settings)
    compute_all(settings)
    assert stale(settings) == {}
