"""Occupancy by label as it may leave the deployment."""

from __future__ import annotations

import datetime as dt
import random
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from tests.people.by_label.test_assets import BY, World, metadata, world
from tests.people.by_label.test_reading import LABELS, MACS, MONDAY, campus, rows
from tippers_dagster.campus.spaces.tree import load_tree
from tippers_dagster.cli import export as export_command
from tippers_dagster.errors import MissingPartitions
from tippers_dagster.occupancy.sharing import SUPPRESSED, read_shared_occupancy
from tippers_dagster.occupancy.suppression import hide_labels
from tippers_dagster.people.by_label.reading import TOTAL, UNLABELLED, read_labelled_occupancy
from tippers_dagster.people.by_label.sharing import read_shared_labelled_occupancy
from tippers_dagster.settings import Settings, get_settings

__all__ = ["campus", "rows", "world"]

DAY = (MONDAY.date() + dt.timedelta(2), MONDAY.date() + dt.timedelta(4))


@pytest.fixture
def small(world: World, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Counts below 2 are hidden; half of the devices are labelled."""
    rng = random.Random(1)
    world.label({mac: rng.choice(LABELS[:2]) for mac in MACS})
    monkeypatch.setenv("TIPPERS_SMALLEST_COUNT", "2")
    get_settings.cache_clear()
    world.settings = get_settings()
    return world.settings


@pytest.mark.parametrize("width", [14400, 86400, 40000 - 40000 % 60])
@pytest.mark.parametrize("published", [False, True])
def test_spaces_are_hidden_with_all_their_labels(
    world: World, small: Settings, width: int, published: bool
) -> None:
    if published:
        assert metadata(world.run())["chunks_counted"] == 1
    tree = load_tree(small)
    exact = [read_labelled_occupancy(s, *DAY, width, BY, settings=small) for s in tree.ids]
    names = (*LABELS, UNLABELLED)
    parts = np.array([[table[name].to_numpy() for table in exact] for name in names])
    mask = hide_labels(tree, parts, 2)
    assert 0 < mask.mean() < 1
    for i, space in enumerate(tree.ids):
        table = read_shared_labelled_occupancy(space, *DAY, width, BY, settings=small)
        assert table[SUPPRESSED].to_pylist() == mask[i].tolist()
        for name in names:
            shown = [
                None if h else c
                for h, c in zip(mask[i].tolist(), exact[i][name].to_pylist(), strict=True)
            ]
            assert table[name].to_pylist() == shown
        whole = read_shared_occupancy(space, *DAY, width, settings=small)
        assert table[TOTAL].to_pylist() == whole["number_connections"].to_pylist()


def test_sparse_leaves_out_empty_bins_only(world: World, small: Settings) -> None:
    whole = read_shared_labelled_occupancy("r1", *DAY, 3600, BY, settings=small)
    sparse = read_shared_labelled_occupancy("r1", *DAY, 3600, BY, settings=small, dense=False)
    kept = [row for row in whole.to_pylist() if row[TOTAL] != 0]
    assert sparse.to_pylist() == kept
    assert any(row[SUPPRESSED] for row in kept)


def test_uncomputed_chunks_are_named(small: Settings) -> None:
    later = (MONDAY.date() + dt.timedelta(7), MONDAY.date() + dt.timedelta(8))
    with pytest.raises(MissingPartitions, match="2025-01-13"):
        read_shared_labelled_occupancy("r1", *later, 86400, BY, settings=small)


def test_the_command_writes_a_column_for_each_label(
    world: World, small: Settings, tmp_path: Path
) -> None:
    app = typer.Typer()
    app.callback()(lambda: None)
    export_command.register(app)
    out = tmp_path / "x.csv"
    span = ("--start", DAY[0].isoformat(), "--end", DAY[1].isoformat(), "--interval", "86400")
    done = CliRunner().invoke(
        app, ["export", "--space", "r1", *span, "--by", BY, "--out", str(out)]
    )
    assert done.exception is None, done.exception
    lines = out.read_text().splitlines()
    columns = "space_id,interval_begin_time,LAPTOP,PHONE,PRINTER,unlabelled,number_connections"
    assert lines[0] == f"{columns},suppressed"
    assert len(lines) == 3
