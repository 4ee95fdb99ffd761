"""A real scenario from its files to exports, against a plain recount of its sessions."""

from __future__ import annotations

import csv
import datetime as dt
from collections import Counter
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from typer.testing import CliRunner

from tippers_dagster.campus.source.load import read_source
from tippers_dagster.campus.spaces.tree import SpaceTree, load_tree
from tippers_dagster.cli import build_app
from tippers_dagster.settings import Settings

FIRST, UNTIL = dt.date(2020, 1, 6), dt.date(2020, 1, 13)
WIDTHS = (60, 900, 3600, 86400)


def tippers(*arguments: str) -> None:
    done = CliRunner().invoke(build_app(), arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output


def recount(settings: Settings, tree: SpaceTree, width: int) -> Counter[tuple[str, str]]:
    """Devices per (space, local start of the bin). The week has no clock change."""
    zone = ZoneInfo(settings.timezone)
    midnight = dt.datetime.combine(FIRST, dt.time())
    table = read_source(
        settings,
        "SELECT mac_address, space_id, start_time, end_time FROM source.user_ap_trajectory",
    )
    present: set[tuple[str, int, str]] = set()
    for mac, space, start, end in zip(*(c.to_pylist() for c in table.columns), strict=True):
        first = (start - midnight).total_seconds() // width
        last = (max(end - dt.timedelta(microseconds=1), start) - midnight).total_seconds() // width
        above = tree.index[space]
        while above >= 0:
            present.update((tree.ids[above], int(b), mac) for b in range(int(first), int(last) + 1))
            above = int(tree.parent[above])
    counts = Counter((space, bin_) for space, bin_, _ in present)
    begin = [
        (midnight + dt.timedelta(seconds=width * b)).replace(tzinfo=zone).isoformat()
        for b in range(7 * 86400 // width)
    ]
    return Counter({(space, begin[b]): n for (space, b), n in counts.items() if b < len(begin)})


@pytest.mark.slow
def test_a_week_equals_a_plain_recount_for_every_space_and_width(
    stack: Settings, shared_data: Path, tmp_path: Path
) -> None:
    tippers("ingest", "smartspec", str(shared_data / "smartspec"))
    tree = load_tree(stack)
    for root in tree.roots:
        tippers("track", "--space", root, "--start", str(FIRST), "--end", str(UNTIL))
    tippers("occupancy", "materialize")
    for width in WIDTHS:
        expected = recount(stack, tree, width)
        assert expected
        for space in tree.ids:
            out = tmp_path / "out.csv"
            asked = ["--start", str(FIRST), "--end", str(UNTIL), "--interval", str(width)]
            tippers("occupancy", "export", "--space", space, *asked, "--sparse", "--out", str(out))
            with out.open() as file:
                found = {
                    (row["space_id"], row["interval_begin_time"]): int(row["number_connections"])
                    for row in csv.DictReader(file)
                }
            assert found == {key: n for key, n in expected.items() if key[0] == space}
