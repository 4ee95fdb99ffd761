"""Exports: small counts are hidden, independently of the request."""

from __future__ import annotations

import datetime as dt
import random
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

from tests.occupancy.campus import Seen, change, compute_all, fill, look_again
from tippers_dagster.campus.spaces.tracking import track
from tippers_dagster.campus.spaces.tree import load_tree
from tippers_dagster.cli import export as export_command
from tippers_dagster.occupancy.reading import read_counts, read_occupancy
from tippers_dagster.occupancy.sharing import SUPPRESSED, read_shared_occupancy
from tippers_dagster.occupancy.suppression import hide_counts, hide_people
from tippers_dagster.settings import Settings, get_settings

MONDAY = dt.datetime(2025, 1, 6)
WEEK = (MONDAY.date(), MONDAY.date() + dt.timedelta(7))
PARENTS = {
    "campus": None,
    "hall": "campus",
    "r1": "hall",
    "r2": "hall",
    "r3": "hall",
    "plaza": "campus",
}


@pytest.fixture
def campus(stack: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A week in which counts below 4 are hidden."""
    rng = random.Random(2)
    rows = []
    for _ in range(900):
        start = MONDAY + dt.timedelta(minutes=rng.randrange(7 * 1440 - 300))
        mac = f"02:00:00:00:00:{rng.randrange(80):02x}"
        space = rng.choice(("hall", "r1", "r1", "r1", "r2", "r3", "plaza", "plaza"))
        rows.append(
            Seen(mac, space, start, start + dt.timedelta(minutes=rng.choice((10, 90, 300))))
        )
    fill(stack, PARENTS, rows)
    track(stack, space="campus", start=WEEK[0], end=WEEK[1])
    compute_all(stack)
    monkeypatch.setenv("TIPPERS_SMALLEST_COUNT", "4")
    get_settings.cache_clear()
    return get_settings()


@pytest.mark.parametrize("width", [3600, 5400])
def test_every_space_is_hidden_as_in_the_whole_tree(campus: Settings, width: int) -> None:
    tree = load_tree(campus)
    exact = read_counts(list(tree.ids), *WEEK, width, settings=campus)
    mask = hide_counts(tree, exact.counts, 4)
    assert 0 < mask.mean() < 1
    assert (mask & (exact.counts >= 4)).any()  # some only as cover
    for i, space in enumerate(tree.ids):
        table = read_shared_occupancy(space, *WEEK, width, settings=campus)
        assert table[SUPPRESSED].to_pylist() == mask[i].tolist()
        shown = [None if h else c for h, c in zip(mask[i], exact.counts[i].tolist(), strict=True)]
        assert table["number_connections"].to_pylist() == shown


@pytest.mark.parametrize("width", [3600, 5400])
def test_people_are_hidden_as_in_the_whole_tree(campus: Settings, width: int) -> None:
    change(
        campus,
        "UPDATE source.user_ap_trajectory SET person = ('x' || right(mac_address, 2))::bit(8)::int "
        "WHERE right(mac_address, 2) < '30'",
    )
    look_again(campus)
    compute_all(campus)
    tree = load_tree(campus)
    devices = read_counts(list(tree.ids), *WEEK, width, settings=campus)
    exact = read_counts(list(tree.ids), *WEEK, width, settings=campus, count="people")
    parts = np.stack([exact.counts, exact.others])
    mask = hide_people(tree, devices.counts, parts, 4)
    assert 0 < mask.mean() < 1
    small = ((parts > 0) & (parts < 4)).any(axis=0)
    assert mask[small].all()
    assert mask[hide_counts(tree, devices.counts, 4)].all()
    for i, space in enumerate(tree.ids):
        table = read_shared_occupancy(space, *WEEK, width, settings=campus, count="people")
        assert table[SUPPRESSED].to_pylist() == mask[i].tolist()
        for name, column in zip(("number_people", "number_other_devices"), parts, strict=True):
            numbers = zip(mask[i], column[i].tolist(), strict=True)
            assert table[name].to_pylist() == [None if h else n for h, n in numbers]


@pytest.mark.parametrize("width", [3600, 5400])
def test_where_nobody_is_known_all_devices_are_others(campus: Settings, width: int) -> None:
    for space in ("hall", "r2"):
        devices = read_shared_occupancy(space, *WEEK, width, settings=campus)
        people = read_shared_occupancy(space, *WEEK, width, settings=campus, count="people")
        columns = (people[name].to_pylist() for name in people.column_names[1:])
        shown = list(zip(*columns, strict=True))
        for number, (known, others, hidden) in zip(
            devices["number_connections"].to_pylist(), shown, strict=True
        ):
            assert (known, others) == ((None, None) if hidden else (0, number))


def test_a_part_hides_what_the_whole_does(campus: Settings) -> None:
    whole = read_shared_occupancy("r2", *WEEK, 3600, settings=campus)
    day = read_shared_occupancy("r2", "2025-01-08T03:00", "2025-01-09", 3600, settings=campus)
    assert day.equals(whole.slice(51, 21))
    sparse = read_shared_occupancy("r2", *WEEK, 3600, dense=False, settings=campus)
    somebody = np.array(read_occupancy("r2", *WEEK, 3600, settings=campus)["number_connections"])
    assert sparse.equals(whole.filter(somebody > 0))


def test_nothing_is_hidden_unless_it_is_set(
    campus: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIPPERS_SMALLEST_COUNT", "0")
    get_settings.cache_clear()
    settings = get_settings()
    exact = read_occupancy("r2", *WEEK, 3600, settings=settings)
    assert read_shared_occupancy("r2", *WEEK, 3600, settings=settings).equals(exact)


def test_uncomputed_bins_are_not_marked_as_hidden(campus: Settings) -> None:
    later = WEEK[1] + dt.timedelta(1)
    table = read_shared_occupancy(
        "r2", WEEK[1] - dt.timedelta(1), later, 86400, settings=campus, on_missing="report"
    )
    assert table["number_connections"].to_pylist()[1] is None
    assert table[SUPPRESSED].to_pylist()[1] is False


def test_exported_files_mark_hidden_counts(campus: Settings, tmp_path: Path) -> None:
    app = typer.Typer()
    app.callback()(lambda: None)
    export_command.register(app)
    for kind in ("csv", "parquet"):
        out = tmp_path / f"x.{kind}"
        span = ("--start", "2025-01-06", "--end", "2025-01-13", "--interval", "3600")
        done = CliRunner().invoke(app, ["export", "--space", "r2", *span, "--out", str(out)])
        assert done.exception is None, done.exception
        assert "Suppressed rows: " in done.output
        assert "counts below 4" in done.output
    table = pq.read_table(tmp_path / "x.parquet")
    assert table.column_names[2:] == ["number_connections", SUPPRESSED]
    expected = read_shared_occupancy("r2", *WEEK, 3600, settings=campus)
    assert table["number_connections"].to_pylist() == expected["number_connections"].to_pylist()
    lines = (tmp_path / "x.csv").read_text().splitlines()
    assert lines[0] == "space_id,interval_begin_time,number_connections,suppressed"
    hidden = [line for line in lines if line.endswith(",,true")]
    assert len(hidden) == sum(expected[SUPPRESSED].to_pylist())
