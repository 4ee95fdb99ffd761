"""Published occupancy by label: equals a plain recount, is incremental, checked and readable."""

from __future__ import annotations

import datetime as dt
import logging
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import sqlalchemy as sa

from tests.kills import POINTS, leaves_nothing_fresh
from tests.labelling.small import _BASE as BASE
from tests.labelling.small import FUNCTIONS, QUIET, definition, model
from tests.occupancy.campus import Seen, add_sessions, compute_all, look_again
from tests.occupancy.lake import counts_of, put_counts, table_of
from tests.people.by_label.test_reading import (
    LABELS,
    MACS,
    MONDAY,
    PARENTS,
    campus,
    recount,
    rows,
    say,
)
from tippers_dagster.automation.nodes import Node
from tippers_dagster.automation.state import load_states
from tippers_dagster.campus.local_time import PUBLISHED_WIDTHS
from tippers_dagster.campus.spaces.tracking import track, untrack
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Kind, LabelledOccupancy
from tippers_dagster.catalog.model import Definition, Ref
from tippers_dagster.catalog.window import Read, Window
from tippers_dagster.labelling.kept_windows import keep_window
from tippers_dagster.labelling.labels import LabelTable
from tippers_dagster.occupancy import files
from tippers_dagster.occupancy.reading import read_occupancy
from tippers_dagster.occupancy.records import void
from tippers_dagster.occupancy.state import SOURCE
from tippers_dagster.people.by_label import reading, work
from tippers_dagster.people.by_label.assets import labelled_assets, labelled_nodes
from tippers_dagster.people.by_label.reading import TOTAL, UNLABELLED, read_labelled_occupancy
from tippers_dagster.people.by_label.work import CHUNKS_AT_ONCE, bring_up_to_date
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.platform.warehouse.fence import LocksLost
from tippers_dagster.settings import Settings

__all__ = ["campus", "rows"]

WEEK = "2025-01-06"
KEY = ("labelled_occupancy", "types")
BY = "device.kind_of"
TYPES = files.labelled_counts("types")


@dataclass
class World:
    """A labelled occupancy of a campus, with a handmade label model."""

    settings: Settings
    instance: dg.DagsterInstance
    content: str = "1"

    @property
    def catalog(self) -> Catalog:
        split = Definition(
            Ref("", "types", Kind.LABELLED_OCCUPANCY),
            LabelledOccupancy(by=BY),
            "Printers and such.",
            "ada@campus.edu",
        )
        return Catalog([*BASE, *FUNCTIONS, model(FUNCTIONS), split])

    @property
    def nodes(self) -> list[Node]:
        labels = Node(("device", "kind_of"), self.content)
        return [labels, *labelled_nodes(self.settings, self.catalog)]

    def run(self, **config: object) -> dg.ExecuteInProcessResult:
        chosen = {"ops": {"labelled_occupancy__types": {"config": config}}} if config else {}
        return dg.materialize(
            labelled_assets(self.settings, self.catalog, self.nodes),
            instance=self.instance,
            raise_on_error=False,
            run_config={**QUIET, **chosen},
        )

    def label(self, labels: Mapping[str, str | None], version: str = "1") -> None:
        say(self.settings, labels, "device__kind_of", version)

    def read(self, space: str, first: dt.date, width: int) -> list[dict[str, object]]:
        return read_labelled_occupancy(
            space, first, first + dt.timedelta(1), width, BY, settings=self.settings
        ).to_pylist()


@pytest.fixture
def world(campus: Settings) -> Iterator[World]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield World(campus, instance)


@pytest.fixture
def from_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make reading fail where it would count from presence."""

    def refuse(*_: object) -> None:
        raise AssertionError("counted on demand")

    monkeypatch.setattr(reading, "newer_labels", refuse)


def random_labels(rng: random.Random) -> dict[str, str | None]:
    known = rng.sample(MACS, rng.randrange(1, len(MACS) + 1))
    return {mac: rng.choice((*LABELS, None)) for mac in known}


def checks(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {e.check_name: e for e in result.get_asset_check_evaluations()}


def metadata(result: dg.ExecuteInProcessResult) -> dict[str, object]:
    found = result.asset_materializations_for_node("labelled_occupancy__types")[0].metadata
    return {name: value.value for name, value in found.items()}


def test_published_counts_equal_a_plain_recount(
    world: World, rows: list[Seen], from_files: None
) -> None:
    rng = random.Random(11)
    for turn in range(5):
        labels = random_labels(rng)
        world.label(labels, version=str(turn))
        assert world.run().success
        for _ in range(12):
            space, width = rng.choice(list(PARENTS)), rng.choice(PUBLISHED_WIDTHS)
            first = MONDAY.date() + dt.timedelta(rng.randrange(7))
            found = world.read(space, first, width)
            for row in found:
                begin = row.pop("interval_begin_time").replace(tzinfo=None)  # type: ignore[attr-defined]
                assert row == recount(rows, labels, space, begin, width), (space, begin, width)
            whole = read_occupancy(
                space, first, first + dt.timedelta(1), width, settings=world.settings
            )
            assert [r[TOTAL] for r in found] == whole["number_connections"].to_pylist()


def test_files_have_a_column_per_label_and_only_non_empty_bins(world: World) -> None:
    world.label({MACS[0]: "PHONE"})
    result = world.run()
    assert result.success
    lake = open_lake(world.settings)
    assert lake.list("labelled/") == [f"labelled/types/chunk={WEEK}.parquet"]
    assert published(world) == PARENTS.keys()
    for space in PARENTS:
        table = table_of(lake, TYPES, space, WEEK)
        assert table.column_names == [
            "interval_seconds",
            "interval_begin_time",
            *LABELS,
            UNLABELLED,
        ]
        whole = counts_of(lake, space, WEEK)
        assert table.select([0, 1]).equals(whole.select([0, 1]))
    evaluations = checks(result)
    assert all(e.passed for e in evaluations.values()) is False  # only one device has a label
    parts = evaluations["types__parts_add_up"]
    assert parts.passed
    bins = sum(7 * 86400 // width for width in PUBLISHED_WIDTHS)
    assert parts.metadata["bins_checked"].value == bins * len(PARENTS)
    assert metadata(result)["chunks_counted"] == 1
    spec = labelled_assets(world.settings, world.catalog, world.nodes)[0].get_asset_spec(
        dg.AssetKey(KEY)
    )
    assert {dep.asset_key.to_user_string() for dep in spec.deps} == {
        "device/kind_of",
        "source_occupancy",
        "derived_occupancy",
    }


def test_only_changed_chunks_are_counted(world: World, from_files: None) -> None:
    settings = world.settings
    track(
        settings,
        space="campus",
        start=MONDAY.date() + dt.timedelta(7),
        end=MONDAY.date() + dt.timedelta(14),
    )
    compute_all(settings)
    world.label(dict.fromkeys(MACS, "PHONE"))
    assert metadata(world.run())["chunks_counted"] == 2
    assert metadata(world.run())["chunks_counted"] == 0

    late = MONDAY + dt.timedelta(days=8, hours=10)
    add_sessions(settings, [Seen(MACS[3], "r2", late, late + dt.timedelta(hours=2))])
    look_again(settings)
    compute_all(settings)
    told = metadata(world.run())
    assert (told["chunks_counted"], told["chunks_up_to_date_already"]) == (1, 1)
    assert world.read("hall", late.date(), 86400)[0]["PHONE"] == 1

    world.label(dict.fromkeys(MACS, "PHONE"), version="2")  # the same labels
    assert metadata(world.run())["chunks_counted"] == 0
    assert world.read("hall", late.date(), 86400)[0]["PHONE"] == 1
    world.label(dict.fromkeys(MACS, "LAPTOP"), version="3")
    assert metadata(world.run())["chunks_counted"] == 2
    assert world.read("hall", late.date(), 86400)[0]["LAPTOP"] == 1
    assert metadata(world.run(again=True))["chunks_counted"] == 2


def test_each_chunk_has_the_labels_of_its_latest_window(world: World) -> None:
    settings, day = world.settings, MONDAY.date()
    track(settings, space="campus", start=day, end=day + dt.timedelta(21))
    late = [MONDAY + dt.timedelta(days=7 * week, hours=10) for week in (1, 2)]
    add_sessions(settings, [Seen(MACS[3], "r2", t, t + dt.timedelta(hours=2)) for t in late])
    look_again(settings)
    compute_all(settings)
    versions = iter("abcdef")

    def label(label: str, first: int, weeks: int) -> None:
        """The labels of a window: all devices have one."""
        version = next(versions)
        world.label(dict.fromkeys(MACS, label), version)
        table = LabelTable("device", "kind_of", "mac_address", "text", LABELS, ())
        kept = {
            "mac_address": MACS,
            "label": [label] * len(MACS),
            "outcome": ["label"] * len(MACS),
            "confidence": [1.0] * len(MACS),
            "version": [version] * len(MACS),
            "run_id": ["run"] * len(MACS),
        }
        start = day + dt.timedelta(7 * first)
        read = Read(Window(weeks=weeks), start, start + dt.timedelta(7 * weeks))
        keep_window(settings, table, pa.table(kept), read)

    label("PHONE", 0, 2)
    assert metadata(world.run())["chunks_counted"] == 3
    label("LAPTOP", 1, 2)
    assert labels_of_weeks(world) == ["PHONE", "LAPTOP", "LAPTOP"], "counted on demand"
    assert metadata(world.run())["chunks_counted"] == 2
    assert labels_of_weeks(world) == ["PHONE", "LAPTOP", "LAPTOP"]
    label("PRINTER", 2, 2)
    told = metadata(world.run())
    assert (told["chunks_counted"], told["chunks_up_to_date_already"]) == (1, 2)
    assert labels_of_weeks(world) == ["PHONE", "LAPTOP", "PRINTER"]
    # A past window is computed after all.
    label("LAPTOP", 0, 1)
    assert metadata(world.run())["chunks_counted"] == 0, "a later window contains the week, too"


def labels_of_weeks(world: World) -> list[str]:
    """The label that all devices of each of three weeks have, on its Monday."""
    found = []
    for week in range(3):
        day = MONDAY.date() + dt.timedelta(7 * week)
        row = world.read("campus", day, 86400)[0]
        names = [name for name in (*LABELS, UNLABELLED) if row[name]]
        assert [row[name] for name in names] == [row[TOTAL]]
        found += names
    return found


def test_out_of_date_chunks_are_counted_on_demand(world: World) -> None:
    settings = world.settings
    world.label({MACS[0]: "PHONE"})
    assert world.run().success
    day = MONDAY.date()
    world.label(dict.fromkeys(MACS, "PRINTER"), version="2")
    for row in world.read("campus", day, 3600):
        assert row["PRINTER"] == row[TOTAL]
    world.label({MACS[0]: "PHONE"})
    noon = MONDAY + dt.timedelta(hours=12)
    add_sessions(settings, [Seen("02:00:00:00:01:01", "r1", noon, noon + dt.timedelta(minutes=5))])
    look_again(settings)
    compute_all(settings)  # presence has changed: published counts are out of date
    whole = read_occupancy("r1", day, day + dt.timedelta(1), 900, settings=settings)
    found = world.read("r1", day, 900)
    assert [row[TOTAL] for row in found] == whole["number_connections"].to_pylist()


def test_parts_that_do_not_add_up_are_not_published(world: World) -> None:
    settings, lake = world.settings, open_lake(world.settings)
    world.label({MACS[0]: "PHONE"})
    right = counts_of(lake, "r1", WEEK)
    counts = pc.add(right["number_connections"], 1)
    more = right.set_column(2, "number_connections", counts.cast(pa.int32()))
    put_counts(lake, "r1", WEEK, more)
    result = world.run()
    assert not result.success
    parts = checks(result)["types__parts_add_up"]
    assert not parts.passed
    assert "r1 in 2025-01-06" in str(parts.metadata["example"].value)
    assert lake.list("labelled/") == []
    state = load_states(settings)["/".join(KEY)]
    assert state.version is None
    assert "Failed chunks: 1 of 1" in str(state.error)
    put_counts(lake, "r1", WEEK, right)
    assert world.run().success


def test_files_of_untracked_spaces_are_removed(world: World) -> None:
    settings = world.settings
    world.label({MACS[0]: "PHONE"})
    assert world.run().success
    first = MONDAY.date()
    track(settings, space="hall", start=first, end=first + dt.timedelta(7))
    untrack(settings, space="campus")
    assert metadata(world.run())["files_removed"] == 0
    assert published(world) == {"hall", "r1", "r2"}
    untrack(settings, space="hall")
    assert metadata(world.run())["files_removed"] == 1
    with warehouse_engine(settings).connect() as connection:
        left = connection.scalar(sa.text("SELECT count(*) FROM tippers.labelled_chunk"))
    assert left == 0


def test_without_labels_it_fails_with_the_reason(world: World) -> None:
    assert not world.run().success
    assert "has no labels yet" in str(load_states(world.settings)["/".join(KEY)].error)


def test_only_devices_can_be_split(world: World) -> None:
    rooms = definition(Kind.LABELLED_OCCUPANCY, "x", LabelledOccupancy(by="device.few_rooms"))
    catalog = Catalog([*BASE, *FUNCTIONS, rooms])
    assert "a label model or a classifier is needed" in next(iter(catalog.problems.values()))
    assert labelled_nodes(world.settings, catalog) == []


def test_many_chunks_are_counted_in_batches(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert CHUNKS_AT_ONCE > 1
    monkeypatch.setattr("tippers_dagster.people.by_label.work.CHUNKS_AT_ONCE", 1)
    settings = world.settings
    later = MONDAY.date() + dt.timedelta(7)
    track(settings, space="campus", start=later, end=later + dt.timedelta(21))
    compute_all(settings)
    world.label({MACS[0]: "PHONE"})
    outcome = bring_up_to_date(settings, "types", BY, "run", logging.getLogger())
    assert [done.chunk for done in outcome.done] == [WEEK, "2025-01-13", "2025-01-20", "2025-01-27"]


def test_a_run_that_dies_leaves_its_chunks_stale(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if the labels change back: files counted with others would otherwise stay for good."""
    world.label(dict.fromkeys(MACS, "PHONE"))
    assert world.run().success
    for point in POINTS:
        world.label(dict.fromkeys(MACS, "LAPTOP"), version="2")
        leaves_nothing_fresh(
            monkeypatch, world.settings, "/".join(KEY), world.run, point, "labelled/"
        )
        world.label(dict.fromkeys(MACS, "PHONE"))
        assert metadata(world.run())["chunks_counted"] == 1
        monday = world.read("campus", MONDAY.date(), 86400)[0]
        assert monday["PHONE"] == monday[TOTAL]


def test_chunks_of_a_run_that_lost_its_locks_are_recounted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.label(dict.fromkeys(MACS, "PHONE"))
    record = work._record

    def lost(*arguments: Any) -> None:
        record(*arguments)  # as if another run had recorded it
        raise LocksLost("Another run took over.")

    with monkeypatch.context() as patched:
        patched.setattr(work, "_record", lost)
        assert not world.run().success
    assert metadata(world.run())["chunks_counted"] == 1


def test_nothing_is_counted_from_void_presence(world: World) -> None:
    world.label(dict.fromkeys(MACS, "PHONE"))
    void(warehouse_engine(world.settings), SOURCE, ["r1"], [WEEK], "dead")
    assert metadata(world.run())["chunks_counted"] == 1
    assert published(world) == PARENTS.keys() - {"r1", *above("r1")}
    compute_all(world.settings)
    assert metadata(world.run())["chunks_counted"] == 1
    assert published(world) == PARENTS.keys()


def test_counts_of_void_presence_are_kept_if_the_labels_are_the_same(world: World) -> None:
    world.label(dict.fromkeys(MACS, "PHONE"))
    assert world.run().success
    lake, void_now = open_lake(world.settings), {"r1", *above("r1")}
    before = {space: table_of(lake, TYPES, space, WEEK) for space in PARENTS}
    void(warehouse_engine(world.settings), SOURCE, ["r1"], [WEEK], "dead")
    assert metadata(world.run())["chunks_counted"] == 1
    assert {space: table_of(lake, TYPES, space, WEEK) for space in PARENTS} == before
    world.label(dict.fromkeys(MACS, "LAPTOP"), version="2")
    assert metadata(world.run())["chunks_counted"] == 1
    assert published(world) == PARENTS.keys() - void_now


def published(world: World) -> set[str]:
    return set(files.computed_spaces(open_lake(world.settings), TYPES, WEEK))


def above(space: str) -> set[str]:
    parent = PARENTS[space]
    return set() if parent is None else {parent, *above(parent)}
