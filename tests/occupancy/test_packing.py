"""Covering wanted partitions with few rectangles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tippers_dagster.occupancy.packing import Rectangle, pack, ranges

shapes = st.tuples(st.integers(1, 12), st.integers(1, 12))
grids = shapes.flatmap(
    lambda shape: st.tuples(arrays(bool, shape), arrays(bool, shape)).map(
        lambda masks: (masks[0], masks[0] | masks[1])  # wanted cells are allowed
    )
)


def covered(rectangles: list[Rectangle], shape: tuple[int, int]) -> np.ndarray:
    """How often each cell is covered."""
    times = np.zeros(shape, int)
    for rectangle in rectangles:
        assert rectangle.top < rectangle.bottom
        assert rectangle.left < rectangle.right
        times[rectangle.cells] += 1
        assert times[rectangle.cells].size == rectangle.size
    return times


@given(grid=grids, few=st.integers(0, 5), largest=st.integers(1, 150))
@settings(deadline=None)
def test_rectangles_cover_all_wanted_cells_and_are_disjoint_allowed_and_small(
    grid: tuple[np.ndarray, np.ndarray], few: int, largest: int
) -> None:
    wanted, allowed = grid
    rectangles = pack(wanted, allowed, few=few, largest=largest)
    times = covered(rectangles, wanted.shape)
    assert (times[wanted] == 1).all()
    assert (times[~allowed] == 0).all()
    assert times.max(initial=0) <= 1
    assert all(rectangle.size <= largest for rectangle in rectangles)


lines = st.lists(
    st.tuples(st.sampled_from([None, None, "a", "b"]), st.integers(0, 9), st.booleans())
)


@given(line=lines, largest=st.integers(1, 30))
def test_ranges_cover_each_chunk_once_and_join_only_what_is_alike(
    line: list[tuple[str | None, int, bool]], largest: int
) -> None:
    kinds, sizes, passable = ([one[i] for one in line] for i in range(3))
    found = ranges(kinds, sizes, passable, largest=largest)
    covered = [i for first, end in found for i in range(first, end)]
    assert len(covered) == len(set(covered))
    assert {i for i, kind in enumerate(kinds) if kind} <= set(covered)
    for first, end in found:
        inside = range(first, end)
        wanted = [i for i in inside if kinds[i]]
        assert {kinds[i] for i in wanted} == {kinds[first]} == {kinds[end - 1]}
        assert all(passable[i] for i in inside if i not in wanted)
        assert len(wanted) == 1 or sum(sizes[i] for i in wanted) <= largest


def test_ranges_are_as_few_as_their_size_allows() -> None:
    assert ranges(["a"] * 104, [2000] * 104, [True] * 104, largest=50_000) == [
        (0, 25),
        (25, 50),
        (50, 75),
        (75, 100),
        (100, 104),
    ]
    scattered = ["a", None, None, "a", None]
    assert ranges(scattered, [1] * 5, [True] * 5, largest=9) == [(0, 4)]


@given(grid=grids)
@settings(deadline=None)
def test_few_rectangles_are_exact(grid: tuple[np.ndarray, np.ndarray]) -> None:
    """Fresh partitions are included only if that saves runs."""
    wanted, allowed = grid
    rectangles = pack(wanted, allowed)
    if len(rectangles) <= 3:
        exact = pack(wanted, wanted)
        if len(exact) <= 3:
            assert (covered(rectangles, wanted.shape) == wanted).all()


def test_a_whole_grid_is_one_run() -> None:
    everything = np.ones((539, 52), bool)
    assert pack(everything, everything) == [Rectangle(0, 539, 0, 52)]


def test_new_spaces_and_new_chunks_are_two_runs() -> None:
    wanted = np.zeros((100, 20), bool)
    wanted[90:] = True
    wanted[:, 18:] = True
    assert len(pack(wanted, np.ones_like(wanted))) == 2


def test_scattered_spaces_of_a_chunk_are_one_run() -> None:
    wanted = np.zeros((100, 20), bool)
    wanted[3:97:7, 19] = True
    assert pack(wanted, np.ones_like(wanted)) == [Rectangle(3, 95, 19, 20)]


def test_running_partitions_are_not_included() -> None:
    wanted = np.zeros((100, 2), bool)
    wanted[::2, 1] = True
    allowed = np.ones_like(wanted)
    allowed[31, 1] = False
    assert len(pack(wanted, allowed)) == 50


@pytest.mark.parametrize("largest", [1, 7, 10, 99, 100])
def test_large_rectangles_are_cut(largest: int) -> None:
    everything = np.ones((10, 10), bool)
    rectangles = pack(everything, everything, largest=largest)
    assert (covered(rectangles, (10, 10)) == 1).all()
    assert max(rectangle.size for rectangle in rectangles) <= largest
