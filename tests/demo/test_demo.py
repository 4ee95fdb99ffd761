"""The demo on a tiny campus, started from the command line, in a separate database."""

from __future__ import annotations

import datetime as dt
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg2
import pyarrow as pa
import pytest

from tests.conftest import SessionServer, enter, environment_of
from tests.graph.small import rule
from tests.occupancy.lake import lose_counts
from tippers_dagster.automation.computation import UNEXPECTED
from tippers_dagster.campus.source.load import read_source
from tippers_dagster.campus.spaces.tree import load_tree
from tippers_dagster.catalog.store import delete, save
from tippers_dagster.cli import main
from tippers_dagster.demo.counts import WrongCounts, check_equal, lake_counts, recount, true_counts
from tippers_dagster.demo.data import extent, prepare_smartspec
from tippers_dagster.demo.run import too_little_data
from tippers_dagster.graph.launch import Outcome
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.postgres.databases import databases
from tippers_dagster.settings import Settings
from tippers_dagster.simulation import CampusOptions, simulate_campus, write_campus

pytestmark = pytest.mark.slow

TINY = ["--buildings", "1", "--people", "60", "--weeks", "1"]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit status of ``tippers`` with these arguments."""
    monkeypatch.setattr(sys, "argv", ["tippers", *arguments])
    monkeypatch.setenv("COLUMNS", "200")
    try:
        main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


@dataclass(frozen=True)
class Demonstrated:
    """A demo that ran on an empty home in a separate process."""

    folder: Path
    warehouse: str
    dagster: str
    shown: str


@pytest.fixture(scope="module")
def demonstrated(
    session_server: SessionServer,
    warehouse_template: str,
    dagster_template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Demonstrated]:
    folder = tmp_path_factory.mktemp("demonstrated")
    warehouse = session_server.create(warehouse_template)
    dagster = session_server.create(dagster_template)
    ours = ("TIPPERS_", "DAGSTER_", "AWS_", "PG")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    environment |= {**environment_of(folder, warehouse, dagster), "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-m", "tippers_dagster.cli", "demo", *TINY],
        env=environment,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    yield Demonstrated(folder, warehouse, dagster, done.stdout)
    session_server.drop(warehouse)
    session_server.drop(dagster)


@pytest.fixture
def demo_home(
    demonstrated: Demonstrated,
    session_server: SessionServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Settings]:
    """A copy of the demo's results: databases, home and lake."""
    copies = [
        session_server.create(template=session_server.name_of(url))
        for url in (demonstrated.warehouse, demonstrated.dagster)
    ]
    for name in ("home", "lake"):
        shutil.copytree(demonstrated.folder / name, tmp_path / name, symlinks=True)
    yield enter(monkeypatch, environment_of(tmp_path, *copies))
    for url in copies:
        session_server.drop(url)


@pytest.fixture
def demo_itself(
    demonstrated: Demonstrated, session_server: SessionServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Settings]:
    """The demo's results themselves: with copied tables, all assets that read them are stale."""
    databases = (demonstrated.warehouse, demonstrated.dagster)
    yield enter(monkeypatch, environment_of(demonstrated.folder, *databases))
    for url in databases:
        session_server.disconnect(url)


def execute(settings: Settings, sql: str) -> None:
    with psycopg2.connect(databases(settings).warehouse) as connection:
        connection.cursor().execute(sql)


def corrupt_one_count(settings: Settings) -> None:
    execute(
        settings,
        "UPDATE source.truth_occupancy SET number_connections = number_connections + 1 WHERE ctid "
        "= (SELECT ctid FROM source.truth_occupancy WHERE space_id = '1' ORDER BY "
        "interval_begin_time LIMIT 1)",
    )


def test_a_campus_is_simulated_computed_and_equal_to_the_truth(
    demonstrated: Demonstrated, demo_home: Settings
) -> None:
    shown = demonstrated.shown
    count = "SELECT count(*) AS n FROM source.truth_occupancy"
    bins = read_source(demo_home, count)["n"][0].as_py()
    spaces = read_source(demo_home, "SELECT count(*) AS n FROM source.space")["n"][0].as_py()
    assert f"all {bins:,} counts of all {spaces:,} spaces are equal" in shown
    assert "a simple recount of the sessions: devices, people and other devices in all " in shown
    assert re.search(r"Campus: [\d.]+ people; [\d.]+ known by user name, and [\d.]+ other", shown)
    assert "Campus's busiest hour: " in shown
    assert "Hall" in shown
    assert "devices" in shown
    assert "people," in shown
    assert "http://127.0.0.1:3000" in shown
    assert "make up      starts the app: http://127.0.0.1:8501" in shown
    for stage in ("start the database", "simulate the campus", "track", "indexes to forecasts"):
        assert shown.index(f"\n{stage} ...\n") < shown.index("Next steps")


def test_levels_are_evaluated_or_have_a_reason(demonstrated: Demonstrated) -> None:
    shown = demonstrated.shown
    assert "device_type" in shown
    for level in ("people.visitor_or_resident", "resident.role", "student.degree"):
        evaluated = level.split(".")[1] in shown.split("Labelling functions")[0]
        assert evaluated or f"Too little data for {level}: " in shown


def test_a_second_demo_reuses_the_campus_and_computes_nothing(
    demo_itself: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    count = "SELECT count(*) AS n FROM source.user_ap_trajectory"
    before = read_source(demo_itself, count).to_pylist()
    assert run(monkeypatch, "demo", *TINY) == 0
    shown = capsys.readouterr().out
    assert "already there" in shown
    assert len(re.findall(r"(sessions|occupancy) .* already up to date", shown)) == 3
    # Models for which this campus is too small are attempted again, and fail again.
    assert re.search(r"indexes to forecasts .* (0 assets|already up to date)", shown)
    assert read_source(demo_itself, count).to_pylist() == before


def test_a_definition_that_fails_fails_the_demo(
    demo_itself: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing = rule("wrong", "SELECT mac_address, 1 / (seconds - seconds) AS x FROM int_sessions")
    save(demo_itself, nothing, by="ada")
    assert run(monkeypatch, "demo", *TINY) == 1
    assert "could not be computed" in capsys.readouterr().err
    delete(demo_itself, nothing.ref, by="ada")


def test_unexpected_errors_are_not_blamed_on_the_data(stack: Settings) -> None:
    outcomes = [
        Outcome("device/devices", "computed"),
        Outcome("device/always_on", "failed", why="Line 1: There is no column x."),
        Outcome("device/device_type", "failed", why="Nothing votes."),
        Outcome("device/phone", "skipped", why="It reads ...", above="device/device_type"),
        Outcome("device/kind", "failed", why=f"{UNEXPECTED}ValueError: nobody knows"),
        Outcome("device/kind__champion", "skipped", why="It reads ...", above="device/kind"),
        Outcome("resident/position", "skipped", why="server closed the connection"),
    ]
    assert too_little_data(stack, outcomes).keys() == {"device/device_type", "device/phone"}


def test_a_wrong_count_is_found(
    demo_home: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    corrupt_one_count(demo_home)
    assert run(monkeypatch, "demo", *TINY) == 1
    captured = capsys.readouterr()
    assert "1 of " in captured.err
    assert "counts differ from the truth" in captured.err
    assert "Campus (1), 20" in captured.err
    assert "are equal" not in captured.out


@pytest.mark.parametrize("change", ["DELETE FROM", "INSERT INTO"])
def test_a_count_that_only_one_side_has_is_found(
    demo_home: Settings, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    if change == "DELETE FROM":
        execute(
            demo_home,
            "DELETE FROM source.truth_occupancy WHERE interval_begin_time = "
            "(SELECT min(interval_begin_time) FROM source.truth_occupancy)",
        )
    else:
        execute(
            demo_home,
            "INSERT INTO source.truth_occupancy SELECT space_id, interval_seconds, "
            "'2025-01-01 00:00Z', 7 FROM source.truth_occupancy LIMIT 1",
        )
    assert run(monkeypatch, "demo", *TINY) == 1


def test_other_data_is_left_alone(
    stack: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = CampusOptions(people=40, buildings=1, days=7, seed=9)
    write_campus(stack, simulate_campus(other))
    count = "SELECT count(*) AS n FROM source.user_ap_trajectory"
    before = read_source(stack, count).to_pylist()
    assert run(monkeypatch, "demo", *TINY) == 1
    assert "TIPPERS_HOME" in capsys.readouterr().err
    assert read_source(stack, count).to_pylist() == before


def test_sessions_added_to_the_campus_are_other_data(
    demo_home: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "more.csv"
    file.write_text(
        "mac_address,sensor_id,start_time,end_time,space_id\n"
        "aa:bb:cc:dd:ee:ff,ap,2025-01-21 10:00:00,2025-01-21 11:00:00,1\n"
    )
    assert run(monkeypatch, "ingest", "sessions", str(file)) == 0
    assert run(monkeypatch, "demo", *TINY) == 1


def test_sizes_do_not_go_with_a_scenario(
    stack: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert run(monkeypatch, "demo", "--smartspec", str(tmp_path), "--people", "50") == 1


def test_a_folder_without_a_scenario_changes_nothing(
    stack: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert run(monkeypatch, "demo", "--smartspec", str(tmp_path)) == 1
    assert read_source(stack, "SELECT FROM source.space").num_rows == 0


def test_a_smartspec_scenario_equals_the_recount_and_can_be_repeated(
    stack: Settings,
    shared_data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = str(shared_data / "smartspec")
    assert run(monkeypatch, "demo", "--smartspec", folder) == 0
    shown = capsys.readouterr().out
    assert "Compared with a simple recount of the sessions: devices, people and other" in shown
    assert "Compared with the simulated truth" not in shown
    assert not prepare_smartspec(stack, Path(folder), lambda *_: None), "it is there already"
    assert run(monkeypatch, "demo", *TINY) == 1


def test_the_recount_agrees_with_the_truth(stack: Settings) -> None:
    write_campus(stack, simulate_campus(CampusOptions(people=60, buildings=1, days=4)))
    tree, span = load_tree(stack), extent(stack)
    assert (span.first, span.last) == (dt.date(2025, 1, 20), dt.date(2025, 1, 24))
    found = recount(stack, tree, span.first, span.days, (3600,))
    assert check_equal(found, true_counts(stack), tree, "truth") == found.num_rows > 0
    # A single day, with sessions that started the day before.
    day = recount(stack, tree, dt.date(2025, 1, 22), 1, (3600,))
    begin = int(dt.datetime(2025, 1, 22, 8, tzinfo=dt.UTC).timestamp())
    inside = pa.compute.and_(
        pa.compute.greater_equal(found["begin"], begin),
        pa.compute.less(found["begin"], begin + 86400),
    )
    assert check_equal(day, found.filter(inside), tree, "whole") == day.num_rows > 0


def test_a_missing_partition_is_named(
    demo_home: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lose_counts(open_lake(demo_home), "1", "2025-01-20")
    assert run(monkeypatch, "demo", *TINY) == 1
    error = capsys.readouterr().err
    assert "1 is missing in" in error
    assert "chunk=2025-01-20" in error


def test_differences_name_the_space_and_the_hour(stack: Settings) -> None:
    write_campus(stack, simulate_campus(CampusOptions(people=20, buildings=1, days=1)))
    truth = true_counts(stack)
    with pytest.raises(WrongCounts, match=rf"{truth.num_rows:,} of {truth.num_rows:,} counts"):
        check_equal(lake_counts(stack, [], [], [3600]), truth, load_tree(stack), "truth")
