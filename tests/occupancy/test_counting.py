"""Counts that contradict each other are not published; parents without their neighbours."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest

from tests.campus.spaces.test_tree import tree_of
from tests.occupancy import campus
from tests.occupancy.campus import Seen, compute_all
from tests.occupancy.lake import counts_of, lose_counts, lose_presence, presence_of
from tippers_dagster.campus.local_time import PUBLISHED_WIDTHS, LocalClock
from tippers_dagster.campus.spaces.tracking import track
from tippers_dagster.campus.spaces.tree import load_tree
from tippers_dagster.errors import LakeFileMissing
from tippers_dagster.occupancy.counting import (
    BETWEEN_CHILDREN,
    WIDER_BINS,
    WITHIN_DEVICES,
    Counter,
    InconsistentCounts,
    check_grids,
    check_parents,
)
from tippers_dagster.occupancy.persons import Counted
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.settings import Settings

WEEK = "2025-01-06"
EDGES = {900: np.arange(0, 7201, 900), 3600: np.arange(0, 7201, 3600)}


def counted(grid: np.ndarray) -> Counted:
    """Of devices whose people are not known."""
    return Counted(grid, np.zeros_like(grid), grid)


def grids(narrow: list[int], wide: list[int]) -> dict[int, Counted]:
    return {
        900: counted(np.array([narrow], np.int32)),
        3600: counted(np.array([wide], np.int32)),
    }


def check(narrow: list[int], wide: list[int], devices: int = 5) -> None:
    check_grids(WEEK, ["r1"], grids(narrow, wide), EDGES, np.array([devices]))


def test_correct_counts_pass() -> None:
    check([1, 2, 3, 0, 0, 0, 0, 5], [4, 5])
    check([0] * 8, [0, 0], devices=0)


def test_more_devices_than_in_the_chunk() -> None:
    with pytest.raises(
        InconsistentCounts, match="r1 in 2025-01-06: 6 devices in a bin of 900 s"
    ) as e:
        check([1, 6, 0, 0, 0, 0, 0, 0], [6, 0])
    assert e.value.check == WITHIN_DEVICES


def test_wider_bin_with_fewer() -> None:
    with pytest.raises(
        InconsistentCounts, match="3 devices in a bin of 900 s, 2 in the bin of 3600"
    ) as e:
        check([1, 2, 3, 0, 0, 0, 0, 0], [2, 0])
    assert e.value.check == WIDER_BINS


def test_a_bin_across_the_end_of_a_wider_one_is_no_bound() -> None:
    edges = {5400: np.arange(0, 10801, 5400), 7200: np.array([0, 7200, 10800])}
    counts = {
        5400: counted(np.array([[1, 4]], np.int32)),
        7200: counted(np.array([[3, 3]], np.int32)),
    }
    check_grids(WEEK, ["r1"], counts, edges, np.array([5]))


TREE = tree_of({"hall": None, "f1": "hall", "r1": "f1", "r2": "f1", "other": None})


def parents(**counts: int) -> tuple[Counted, Counted]:
    """Grids of one bin, above and below depth 1; keys as ids, ``f1_own`` for its own sessions."""
    below = np.zeros((len(TREE), 1), np.int32)
    above = below.copy()
    for space, n in counts.items():
        grid = below if space in ("r1", "r2") or space.endswith("_own") else above
        grid[TREE.index[space.removesuffix("_own")]] = n
    return counted(above), counted(below)


@pytest.mark.parametrize("total", [4, 5, 9, 10])
def test_parents_between_the_fullest_child_and_their_sum(total: int) -> None:
    above, below = parents(r1=4, r2=3, f1_own=3, f1=total)
    check_parents(WEEK, TREE, 1, np.ones(len(TREE), bool), above, below)


@pytest.mark.parametrize("total", [0, 3, 11])
def test_parents_out_of_bounds(total: int) -> None:
    above, below = parents(r1=4, r2=3, f1_own=3, f1=total)
    with pytest.raises(InconsistentCounts, match=f"f1 in {WEEK}: {total} devices.*4 and 10") as e:
        check_parents(WEEK, TREE, 1, np.ones(len(TREE), bool), above, below)
    assert e.value.check == BETWEEN_CHILDREN


def test_uncounted_spaces_are_not_checked() -> None:
    above, below = parents(r1=4, f1=0)
    check_parents(WEEK, TREE, 1, np.zeros(len(TREE), bool), above, below)


@pytest.fixture
def settings(stack: Settings) -> Settings:
    """Three levels, with sessions at each."""
    rng = np.random.default_rng(7)
    spaces = {"campus": None, "b0": "campus", "b1": "campus", "r0": "b0", "r1": "b0", "r2": "b1"}
    rows = []
    for _ in range(120):
        start = dt.datetime(2025, 1, 6) + dt.timedelta(minutes=int(rng.integers(0, 10_080)))
        end = start + dt.timedelta(minutes=int(rng.integers(0, 300)))
        rows.append(Seen(f"m{rng.integers(0, 9)}", str(rng.choice(list(spaces))), start, end))
    campus.fill(stack, spaces, rows)
    track(stack, space="campus", start=dt.date(2025, 1, 6), end=dt.date(2025, 1, 13))
    compute_all(stack)
    return stack


def counter(settings: Settings) -> Counter:
    lake = open_lake(settings)
    return Counter(settings, lake, load_tree(settings), LocalClock(settings.timezone))


@pytest.mark.parametrize("asked", [["campus"], ["b0"], ["b1"], ["b0", "campus"], ["b1", "b0"]])
def test_counting_some_parents_equals_counting_all(settings: Settings, asked: list[str]) -> None:
    lake = open_lake(settings)
    sources = list(load_tree(settings).ids)
    before = {space: counts_of(lake, space, WEEK) for space in asked}
    for space in asked:
        lose_counts(lake, space, WEEK)
    figures = counter(settings).count_derived(WEEK, asked, sources)
    assert sorted(figures.spaces) == sorted(asked)
    for space in asked:
        assert counts_of(lake, space, WEEK) == before[space] is not None


@pytest.mark.parametrize("asked", [["r1"], ["r2", "r0"], ["b0"], ["r0", "b0", "campus"]])
def test_counting_some_sources_equals_counting_all(settings: Settings, asked: list[str]) -> None:
    lake = open_lake(settings)

    def found() -> list[tuple[pa.Table | None, pa.Table | None]]:
        spaces = load_tree(settings).ids
        return [(presence_of(lake, s, WEEK), counts_of(lake, s, WEEK)) for s in spaces]

    before = found()
    figures = counter(settings).count_sources(WEEK, asked)
    assert figures.spaces == asked
    assert found() == before


def test_figures_match_the_files(settings: Settings) -> None:
    lake = open_lake(settings)
    with campus.source(settings) as cursor:
        cursor.execute(
            "SELECT space, rows, devices, peak, extract(epoch FROM peak_time)::bigint "
            "FROM tippers.partition_figures WHERE asset = 'source_occupancy'"
        )
        figures = cursor.fetchall()
    assert len(figures) == 6
    for space, rows, devices, peak, peak_time in figures:
        presence = presence_of(lake, space, WEEK)
        assert rows == presence.num_rows
        assert devices == len(set(presence["device"].to_pylist()))
        if space.startswith("r"):  # counts of the others cover their subtrees
            counts = counts_of(lake, space, WEEK)
            narrow = counts.filter(pa.compute.equal(counts["interval_seconds"], 900))
            numbers = narrow["number_connections"].to_pylist()
            assert peak == max(numbers)
            first = narrow["interval_begin_time"][numbers.index(peak)].as_py()
            assert peak_time == first.timestamp()


def test_published_counts_are_sparse_sorted_and_of_all_widths(settings: Settings) -> None:
    table = counts_of(open_lake(settings), "campus", WEEK)
    assert set(table["interval_seconds"].to_pylist()) == set(PUBLISHED_WIDTHS)
    assert min(table["number_connections"].to_pylist()) >= 1
    order = list(
        zip(
            table["interval_seconds"].to_pylist(),
            table["interval_begin_time"].to_pylist(),
            strict=True,
        )
    )
    assert order == sorted(set(order))


def test_lost_presence_is_named(settings: Settings) -> None:
    lose_presence(open_lake(settings), "r1", WEEK)
    with pytest.raises(LakeFileMissing, match=r"r1.*is missing"):
        counter(settings).count_derived(WEEK, ["campus"], list(load_tree(settings).ids))
