import datetime as dt
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
import typer
from typer.testing import CliRunner

from tippers_dagster.campus.source.creation import create_source_schema
from tippers_dagster.campus.spaces.tracking import list_tracked, untrack, wanted_grid
from tippers_dagster.campus.spaces.tree import load_tree
from tippers_dagster.catalog import files
from tippers_dagster.catalog.kinds import Kind
from tippers_dagster.catalog.model import Ref
from tippers_dagster.catalog.store import history, list_definitions
from tippers_dagster.cli import datasets as datasets_command
from tippers_dagster.cli import definitions as definitions_command
from tippers_dagster.errors import BadInput
from tippers_dagster.graph.save import import_folder
from tippers_dagster.occupancy import datasets as store
from tippers_dagster.occupancy.dataset_progress import Progress, progress
from tippers_dagster.occupancy.state import DERIVED, SESSIONS, SOURCE, load_state
from tippers_dagster.occupancy.tables import partition_figures, source_chunk
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

START, END = dt.date(2025, 1, 6), dt.date(2025, 1, 20)


@pytest.fixture
def campus(stack: Settings) -> Settings:
    spaces = [("campus", None), ("building", "campus"), ("r1", "building"), ("r2", "building")]
    create_source_schema(stack)
    with warehouse_engine(stack).begin() as connection:
        connection.execute(
            sa.text("INSERT INTO source.space (space_id, parent_space_id) VALUES (:id, :parent)"),
            [{"id": space, "parent": parent} for space, parent in spaces],
        )
    return stack


def make(settings: Settings, name: str = "first_floor", **changes: object) -> store.Dataset:
    options = {
        "space": "building",
        "start": START,
        "end": END,
        "interval_seconds": 900,
        "owner": "ada",
        "description": "for the timetable",
    }
    return store.create(settings, name, **(options | changes))  # type: ignore[arg-type]


def test_create_list_get_delete(campus: Settings) -> None:
    made = make(campus)
    other = make(campus, "b2", space="r1", interval_seconds=60, description="", owner="")
    assert (made.space, made.start, made.end, made.interval_seconds) == (
        "building",
        START,
        END,
        900,
    )
    assert (made.owner, made.description) == ("ada", "for the timetable")
    assert made.created_at.tzinfo is not None
    assert store.list_datasets(campus) == [other, made]
    assert store.get(campus, "first_floor") == made
    assert store.delete(campus, "b2") == other
    assert store.list_datasets(campus) == [made]


def test_creating_tracks_and_deleting_does_not_untrack(campus: Settings) -> None:
    make(campus)
    grid = wanted_grid(campus, load_tree(campus))
    assert grid.leaves == ["r1", "r2"]
    assert grid.parents == ["building"]
    assert grid.chunks == ["2025-01-06", "2025-01-13"]
    store.delete(campus, "first_floor")
    assert [t.space for t in list_tracked(campus)] == ["building"]


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "First"},
        {"name": "a-b"},
        {"name": "1a"},
        {"name": ""},
        {"name": "a__b"},
        {"name": "a_"},
        {"name": "a" * 64},
        {"name": "a\n"},
        {"space": "bilding"},
        {"end": START},
        {"interval_seconds": 61},
        {"start": dt.date(1900, 1, 1)},
    ],
)
def test_an_invalid_dataset_leaves_nothing(campus: Settings, changes: dict[str, object]) -> None:
    with pytest.raises(BadInput):
        make(campus, **changes)  # type: ignore[arg-type]
    assert store.list_datasets(campus) == []
    assert list_tracked(campus) == []


def test_a_name_is_taken_once(campus: Settings) -> None:
    made = make(campus)
    with pytest.raises(BadInput, match="already"):
        make(campus, space="campus")
    assert store.list_datasets(campus) == [made]
    assert [t.space for t in list_tracked(campus)] == ["building"]


@pytest.mark.parametrize("use", [store.get, store.delete])
def test_an_unknown_name_is_refused_with_similar_names(campus: Settings, use) -> None:
    make(campus)
    with pytest.raises(BadInput, match="first_floor"):
        use(campus, "first_flor")


def test_progress(campus: Settings) -> None:
    made = make(campus)
    found = progress(campus, made)
    assert found.tracked
    assert found.levels == [
        Progress(asset, n, 0)
        for asset, n in zip((SESSIONS, SOURCE, DERIVED), (2, 4, 2), strict=True)
    ]

    _compute_sessions(campus, "2025-01-06")
    assert progress(campus, made).levels[0] == Progress("sessions", 2, 1)

    untrack(campus, space="building")
    assert not progress(campus, made).tracked


def _compute_sessions(settings: Settings, chunk: str) -> None:
    """Record a chunk's sessions as a run does."""
    now = dt.datetime.now(dt.UTC)
    with warehouse_engine(settings).begin() as connection:
        connection.execute(
            sa.insert(source_chunk).values(chunk=chunk, fingerprint=1, rows=0, observed_at=now)
        )
    level = load_state(settings, wanted_grid(settings, load_tree(settings))).sessions
    wanted = level.wanted[0, level.chunks.index(chunk)]
    with warehouse_engine(settings).begin() as connection:
        connection.execute(
            sa.insert(partition_figures).values(
                asset="sessions",
                space="",
                chunk=chunk,
                input_fingerprint=int(np.uint64(wanted).astype(np.int64)),
                output_fingerprint=1,
                rows=0,
                rejected=0,
                devices=0,
                run_id="r",
                computed_at=now,
            )
        )


def test_datasets_are_definitions_and_may_come_from_files(campus: Settings, tmp_path: Path) -> None:
    made, folder = make(campus), tmp_path / "mine"
    files.export(folder, list_definitions(campus, kind=Kind.DATASET))
    store.delete(campus, made.name)
    untrack(campus, space="building")
    place = folder / "datasets" / "first_floor.yml"
    good = place.read_text()
    place.write_text(good.replace("building", "bilding"))
    with pytest.raises(BadInput, match="bilding"):
        import_folder(campus, folder, by="bob")
    place.write_text(good)
    definitions_command.import_(folder, by="bob")
    back = store.get(campus, "first_floor")
    assert (back.space, back.start, back.owner) == ("building", START, "ada")
    assert [t.space for t in list_tracked(campus)] == ["building"]
    assert [v.action for v in history(campus, Ref("", made.name, Kind.DATASET))] == [
        "create",
        "delete",
        "create",
    ]


def run(*words: str) -> str:
    app = typer.Typer()
    datasets_command.register(app)
    app.callback()(lambda: None)
    done = CliRunner().invoke(app, ["dataset", *words], env={"COLUMNS": "200"})
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output


def test_commands(campus: Settings) -> None:
    assert "no datasets" in run("list")
    span = ("--start", "2025-01-06", "--end", "2025-01-20", "--interval", "900")
    run("create", "first_floor", "--space", "building", *span, "--owner", "ada")
    assert "first_floor" in run("list")
    shown = run("show", "first_floor")
    assert "0 of 4 partitions" in shown
    assert "2025-01-20 (excluded)" in shown
    assert "no longer tracked" not in shown
    assert "stays in the lake and tracked" in run("delete", "first_floor")
    with pytest.raises(BadInput):
        run("show", "first_floor")
