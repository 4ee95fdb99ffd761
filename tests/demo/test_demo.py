"""The demonstration on a tiny campus, by the command line, in a database of the test's own."""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path

import psycopg2
import pyarrow as pa
import pytest

from tippers_dagster.cli import main
from tippers_dagster.demo.counts import WrongCounts, check_equal, lake_counts, recount, true_counts
from tippers_dagster.demo.data import extent
from tippers_dagster.lake import open_lake
from tippers_dagster.lake.keys import occupancy_key
from tippers_dagster.local.databases import databases
from tippers_dagster.settings import Settings
from tippers_dagster.simulate import CampusOptions, simulate_campus, write_campus
from tippers_dagster.source.load import read_source
from tippers_dagster.spaces.tree import load_tree

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


def test_a_campus_is_made_materialized_and_equal_to_the_truth(
    stack: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "demo", *TINY) == 0
    shown = capsys.readouterr().out
    bins = read_source(stack, "SELECT count(*) AS n FROM source.truth_occupancy")["n"][0].as_py()
    spaces = read_source(stack, "SELECT count(*) AS n FROM source.space")["n"][0].as_py()
    assert f"all {bins:,} counts of all {spaces:,} spaces are equal" in shown
    assert "Campus's busiest hour: " in shown
    assert "Hall" in shown
    assert "devices" in shown
    assert "people," in shown
    assert "http://127.0.0.1:3000" in shown
    assert "make up" in shown


def test_again_it_finds_its_campus_and_computes_only_what_is_stale(
    stack: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "demo", *TINY) == 0
    before = read_source(stack, "SELECT count(*) AS n FROM source.user_ap_trajectory").to_pylist()
    capsys.readouterr()
    assert run(monkeypatch, "demo", *TINY) == 0
    shown = capsys.readouterr().out
    assert "was there already" in shown
    assert shown.count("up to date already") == 3
    after = read_source(stack, "SELECT count(*) AS n FROM source.user_ap_trajectory").to_pylist()
    assert after == before


def test_a_wrong_count_is_found(
    stack: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "demo", *TINY) == 0
    corrupt_one_count(stack)
    capsys.readouterr()
    assert run(monkeypatch, "demo", *TINY) == 1
    captured = capsys.readouterr()
    assert "1 of " in captured.err
    assert "counts differ from the truth" in captured.err
    assert "Campus (1), 20" in captured.err
    assert "are equal" not in captured.out


@pytest.mark.parametrize("change", ["DELETE FROM", "INSERT INTO"])
def test_a_count_that_only_one_side_has_is_found(
    stack: Settings, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    assert run(monkeypatch, "demo", *TINY) == 0
    if change == "DELETE FROM":
        execute(
            stack,
            "DELETE FROM source.truth_occupancy WHERE interval_begin_time = "
            "(SELECT min(interval_begin_time) FROM source.truth_occupancy)",
        )
    else:
        execute(
            stack,
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
    stack: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert run(monkeypatch, "demo", *TINY) == 0
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


def test_a_folder_that_is_no_scenario_changes_nothing(
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
    assert "plain recount of the ingested sessions: all " in capsys.readouterr().out
    assert run(monkeypatch, "demo", "--smartspec", folder) == 0
    assert "was there already" in capsys.readouterr().out
    assert run(monkeypatch, "demo", *TINY) == 1


def test_the_recount_agrees_with_the_truth(stack: Settings) -> None:
    write_campus(stack, simulate_campus(CampusOptions(people=60, buildings=1, days=4)))
    tree, span = load_tree(stack), extent(stack)
    assert (span.first, span.last) == (dt.date(2025, 1, 20), dt.date(2025, 1, 24))
    found = recount(stack, tree, span.first, span.days, (3600,))
    assert check_equal(found, true_counts(stack), tree, "truth") == found.num_rows > 0
    # A single day of it, with sessions that reach into it from the day before.
    day = recount(stack, tree, dt.date(2025, 1, 22), 1, (3600,))
    begin = int(dt.datetime(2025, 1, 22, 8, tzinfo=dt.UTC).timestamp())
    inside = pa.compute.and_(
        pa.compute.greater_equal(found["begin"], begin),
        pa.compute.less(found["begin"], begin + 86400),
    )
    assert check_equal(day, found.filter(inside), tree, "whole") == day.num_rows > 0


def test_a_partition_that_is_gone_is_named(
    stack: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "demo", *TINY) == 0
    open_lake(stack).delete(occupancy_key("1", "2025-01-20"))
    capsys.readouterr()
    assert run(monkeypatch, "demo", *TINY) == 1
    assert "space=1/chunk=2025-01-20" in capsys.readouterr().err


def test_differences_name_the_space_and_the_hour(stack: Settings) -> None:
    write_campus(stack, simulate_campus(CampusOptions(people=20, buildings=1, days=1)))
    truth = true_counts(stack)
    with pytest.raises(WrongCounts, match=rf"{truth.num_rows:,} of {truth.num_rows:,} counts"):
        check_equal(lake_counts(stack, [], [], [3600]), truth, load_tree(stack), "truth")
