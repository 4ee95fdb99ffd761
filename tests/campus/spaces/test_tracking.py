"""Which spaces and chunks are tracked."""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.occupancy import campus
from tippers_dagster.campus.space_ids import why_unusable
from tippers_dagster.campus.spaces.tracking import (
    Tracked,
    list_tracked,
    track,
    untrack,
    wanted_grid,
)
from tippers_dagster.campus.spaces.tree import load_tree
from tippers_dagster.errors import BadInput, SettingsError, SourceError
from tippers_dagster.platform.lake.keys import encode
from tippers_dagster.settings import Settings

TREE = {"campus": None, "b1": "campus", "r1": "b1", "r2": "b1", "annex": None}
DAY = dt.date.fromisoformat


@pytest.fixture
def settings(stack: Settings) -> Settings:
    campus.fill(stack, TREE)
    return stack


def test_nothing_is_tracked_at_first(settings: Settings) -> None:
    grid = wanted_grid(settings, load_tree(settings))
    assert list_tracked(settings) == []
    assert (grid.leaves, grid.parents, grid.chunks) == ([], [], [])


def test_a_root_covers_its_subtree_and_every_chunk_in_its_range(settings: Settings) -> None:
    grid = track(settings, space="b1", start=DAY("2025-01-08"), end=DAY("2025-01-14"))
    assert grid.leaves == ["r1", "r2"]
    assert grid.parents == ["b1"]
    assert grid.chunks == ["2025-01-06", "2025-01-13"]
    again = track(settings, space="b1", start=DAY("2025-01-08"), end=DAY("2025-01-14"))
    assert again.chunks == grid.chunks
    assert list_tracked(settings) == [Tracked("b1", DAY("2025-01-08"), DAY("2025-01-14"))]


def test_the_end_is_excluded(settings: Settings) -> None:
    grid = track(settings, space="r1", start=DAY("2025-01-06"), end=DAY("2025-01-13"))
    assert grid.chunks == ["2025-01-06"]


def test_several_roots_add_up_to_a_grid(settings: Settings) -> None:
    """Every tracked space in every tracked chunk: Dagster's keys are a product."""
    track(settings, space="r1", start=DAY("2025-01-06"), end=DAY("2025-01-13"))
    grid = track(settings, space="annex", start=DAY("2025-01-20"), end=DAY("2025-01-27"))
    assert set(grid.leaves) == {"r1", "annex"}
    assert grid.chunks == ["2025-01-06", "2025-01-20"]


def test_the_log_of_dates_without_a_space(settings: Settings) -> None:
    grid = track(settings, space=None, start=DAY("2025-01-06"), end=DAY("2025-01-20"))
    assert (grid.leaves, grid.parents) == ([], [])
    assert grid.chunks == ["2025-01-06", "2025-01-13"]
    assert list_tracked(settings) == [Tracked("", DAY("2025-01-06"), DAY("2025-01-20"))]
    grid = track(settings, space="r1", start=DAY("2025-01-20"), end=DAY("2025-01-27"))
    assert grid.leaves == ["r1"]
    assert len(grid.chunks) == 3
    assert untrack(settings, space=None, end=DAY("2025-01-13")).chunks[0] == "2025-01-13"
    assert untrack(settings, space=None).chunks == ["2025-01-20"]
    with pytest.raises(BadInput, match="The log is not a tracked root"):
        untrack(settings, space=None)


@pytest.mark.parametrize(
    ("start", "end", "left"),
    [
        (None, None, []),
        ("2025-01-20", None, [("2025-01-06", "2025-01-20")]),
        (None, "2025-01-20", [("2025-01-20", "2025-02-03")]),
        ("2025-01-13", "2025-01-20", [("2025-01-06", "2025-01-13"), ("2025-01-20", "2025-02-03")]),
    ],
)
def test_untracking_part_of_a_range(
    settings: Settings, start: str | None, end: str | None, left: list[tuple[str, str]]
) -> None:
    track(settings, space="r1", start=DAY("2025-01-06"), end=DAY("2025-02-03"))
    bounds = [None if d is None else DAY(d) for d in (start, end)]
    untrack(settings, space="r1", start=bounds[0], end=bounds[1])
    assert list_tracked(settings) == [Tracked("r1", DAY(a), DAY(b)) for a, b in left]


def test_untracking_leaves_what_another_root_covers(settings: Settings) -> None:
    track(settings, space="campus", start=DAY("2025-01-06"), end=DAY("2025-01-13"))
    track(settings, space="r1", start=DAY("2025-01-06"), end=DAY("2025-01-13"))
    grid = untrack(settings, space="campus")
    assert grid.leaves == ["r1"]
    assert grid.chunks == ["2025-01-06"]


def test_untracking_an_untracked_space(settings: Settings) -> None:
    track(settings, space="campus", start=DAY("2025-01-06"), end=DAY("2025-01-13"))
    with pytest.raises(BadInput, match="'r1' is not a tracked root") as caught:
        untrack(settings, space="r1")
    assert "campus" in (caught.value.hint or "")
    with pytest.raises(BadInput):
        untrack(settings, space="campus", start=DAY("2025-01-13"))
    assert len(list_tracked(settings)) == 1


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        ("2025-01-06", "2025-01-06", "contains no day"),
        ("2025-01-06", "2025-01-01", "contains no day"),
        ("2025-01-06", "2205-01-06", "over 20 years"),
    ],
)
def test_impossible_ranges(settings: Settings, start: str, end: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        track(settings, space="r1", start=DAY(start), end=DAY(end))
    assert list_tracked(settings) == []


def test_an_unknown_space_changes_nothing(settings: Settings) -> None:
    with pytest.raises(BadInput, match="no space 'r9'"):
        track(settings, space="r9", start=DAY("2025-01-06"), end=DAY("2025-01-13"))
    assert list_tracked(settings) == []


@pytest.mark.parametrize("space", ["a|b", "a,b", "a'b", 'a"b', "a...b", "a\nb", " a", "a ", "\x07"])
def test_ids_that_cannot_be_partition_keys_are_left_out(settings: Settings, space: str) -> None:
    assert why_unusable(space) is not None
    before = load_tree(settings).ids
    campus.add_spaces(settings, {space: "b1", "below": space})
    tree = load_tree(settings)
    assert tree.ids == before
    assert {out.space for out in tree.left_out} == {space, "below"}
    with pytest.raises(BadInput, match="is left out"):
        track(settings, space=space, start=DAY("2025-01-06"), end=DAY("2025-01-13"))
    grid = track(settings, space="campus", start=DAY("2025-01-06"), end=DAY("2025-01-13"))
    assert space not in {*grid.leaves, *grid.parents}


@pytest.mark.parametrize("space", ["101", "ICS 105", "a/b", "ä", "a-b_c.d", "a:b;c", "#1 (old)"])
def test_valid_ids(space: str) -> None:
    assert why_unusable(space) is None


def test_ids_are_limited_to_the_length_of_lake_keys(tmp_path: Path) -> None:
    longest = "é" * 41 + "abc"
    (tmp_path / f"space={encode(longest)}").mkdir()
    assert why_unusable(longest) is None
    assert (
        why_unusable(longest + "d") == "space_id is longer than 249 bytes when encoded for the lake"
    )


def test_a_missing_root_is_skipped(settings: Settings) -> None:
    track(settings, space="annex", start=DAY("2025-01-06"), end=DAY("2025-01-13"))
    track(settings, space="r1", start=DAY("2025-01-13"), end=DAY("2025-01-20"))
    campus.change(settings, "DELETE FROM source.space WHERE space_id = 'annex'")
    grid = wanted_grid(settings, load_tree(settings))
    assert grid.leaves == ["r1"]
    assert grid.chunks == ["2025-01-13"]


def test_a_broken_tree_is_named(settings: Settings) -> None:
    campus.change(settings, "UPDATE source.space SET parent_space_id = 'r1' WHERE space_id = 'b1'")
    with pytest.raises(SourceError, match=r"own ancestors.*b1.*r1"):
        track(settings, space="campus", start=DAY("2025-01-06"), end=DAY("2025-01-13"))


def test_another_chunk_length_is_refused_before_anything_changes(settings: Settings) -> None:
    track(settings, space="r1", start=DAY("2025-01-06"), end=DAY("2025-01-13"))
    monthly = settings.model_copy(update={"chunk": "month"})
    with pytest.raises(SettingsError, match="TIPPERS_CHUNK=week"):
        track(monthly, space="annex", start=DAY("2025-01-06"), end=DAY("2025-01-13"))
    assert len(list_tracked(settings)) == 1


def test_many_may_track_at_once(settings: Settings) -> None:
    def add(week: int) -> None:
        start = DAY("2025-01-06") + dt.timedelta(weeks=week % 5)
        track(settings, space="campus", start=start, end=start + dt.timedelta(weeks=1))

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(add, range(12)))
    assert len(wanted_grid(settings, load_tree(settings)).chunks) == 5
