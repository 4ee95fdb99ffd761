"""The engine equals a plain recount."""

from __future__ import annotations

import datetime as dt
import itertools
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.occupancy import oracle
from tippers_dagster.campus.local_time import LocalClock, chunk_bounds, chunk_keys
from tippers_dagster.occupancy import sweep

EPOCH = dt.datetime(1970, 1, 1)
MICROSECOND = dt.timedelta(microseconds=1)
OPEN_SECONDS = 7200
# Zones, and a local time close to a clock change.
MOMENTS = [
    ("America/Los_Angeles", dt.datetime(2025, 3, 9, 2)),
    ("America/Los_Angeles", dt.datetime(2025, 11, 2, 1)),
    ("Europe/Berlin", dt.datetime(2024, 3, 31, 2)),
    ("Europe/Berlin", dt.datetime(2024, 10, 27, 2)),
    ("Australia/Lord_Howe", dt.datetime(2025, 4, 6, 2)),
    ("Australia/Lord_Howe", dt.datetime(2025, 10, 5, 2)),
    ("America/Havana", dt.datetime(2025, 3, 9, 0)),
    ("America/Havana", dt.datetime(2025, 11, 2, 0)),
    ("America/Sao_Paulo", dt.datetime(2018, 2, 17, 23)),
    ("Asia/Kolkata", dt.datetime(2025, 6, 1, 0)),
    ("Pacific/Apia", dt.datetime(2011, 12, 30, 0)),
]
WIDTHS = (60, 420, 900, 3600, 5400, 7200, 28800, 86400)

LocalSession = tuple[int, int, dt.datetime, dt.datetime | None]
Tree = dict[int, int | None]


# --- generated inputs ------------------------------------------------------------------------
@st.composite
def trees(draw: st.DrawFn) -> Tree:
    """A forest of any depth; every space, leaf or not, may have sessions."""
    n = draw(st.integers(1, 7))
    return {
        space: draw(st.none() | st.integers(0, space - 1)) if space else None for space in range(n)
    }


@st.composite
def local_sessions(draw: st.DrawFn, n_spaces: int, about: dt.datetime) -> list[LocalSession]:
    """Sessions around an instant: overlapping, touching, duplicate, zero-length and open ones."""
    offsets = st.timedeltas(dt.timedelta(hours=-30), dt.timedelta(hours=30)) | st.integers(
        -100, 100
    ).map(lambda step: dt.timedelta(minutes=15 * step))
    lengths = (
        st.timedeltas(dt.timedelta(), dt.timedelta(hours=4))
        | st.sampled_from([dt.timedelta(), dt.timedelta(minutes=15), dt.timedelta(hours=40)])
        | st.none()
    )
    rows: list[LocalSession] = []
    for _ in range(draw(st.integers(0, 14))):
        start = about + draw(offsets)
        if rows and rows[-1][3] is not None and draw(st.booleans()):
            start = rows[-1][3]
        length = draw(lengths)
        end = None if length is None else start + length
        rows.append((draw(st.integers(0, n_spaces - 1)), draw(st.integers(0, 3)), start, end))
    return rows + draw(st.lists(st.sampled_from(rows), max_size=3)) if rows else rows


@st.composite
def whole_seconds(draw: st.DrawFn) -> list[tuple[int, int, int, int]]:
    """(space, device, start, end) within a small range, densely overlapping."""
    rows = draw(
        st.lists(
            st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 60), st.integers(1, 15)),
            max_size=25,
        )
    )
    return [(space, device, start, start + length) for space, device, start, length in rows]


def to_presence(rows: list[tuple[int, int, int, int]], origin: int = 0) -> sweep.Presence:
    table = np.array(rows, np.int64).reshape(-1, 4)
    device = HASHES[table[:, 1]]
    return sweep.merge(table[:, 0], device, table[:, 2] + origin, table[:, 3] + origin)


HASHES = np.array([2**64 - 1, 0, 2**63, 17], np.uint64)


# --- end to end: local times to counts of every space, chunk by chunk ---------------------------
@settings(deadline=None, max_examples=150)
@given(
    st.data(),
    trees(),
    st.sampled_from(MOMENTS),
    st.sampled_from(WIDTHS),
    st.sampled_from(["day", "week", "month"]),
)
def test_occupancy_equals_a_plain_recount(
    data: st.DataObject, tree: Tree, moment: tuple[str, dt.datetime], width: int, size: str
) -> None:
    name, about = moment
    clock, zone = LocalClock(name), ZoneInfo(name)
    rows = data.draw(local_sessions(len(tree), about))
    first = about.date() - dt.timedelta(days=1)
    keys = chunk_keys(first, first + dt.timedelta(days=3), size)

    counted = [chunk_counts(rows, tree, clock, key, size, width) for key in keys]

    exact = [
        (space, device, *bounds)
        for space, device, start, end in rows
        if (bounds := oracle.session(start, end, zone, OPEN_SECONDS)) is not None
    ]
    for key, grid in zip(keys, counted, strict=True):
        bins = oracle.edges(*near_bounds(key, size, first), width, zone)
        edges = clock.bin_edges(*chunk_bounds(key, size), width) if grid.shape[1] else []
        inside = np.isin(edges[:-1], bins[:-1])
        for space in tree:
            expected = oracle.occupancy(exact, oracle.descendants(space, tree), bins)
            assert grid[space, inside].tolist() == expected, (key, space)


def near_bounds(key: str, size: str, first: dt.date) -> tuple[dt.date, dt.date]:
    """The part of a chunk that is recounted plainly, as a month would take too long."""
    begin, end = chunk_bounds(key, size)
    return max(begin, first), min(end, first + dt.timedelta(days=3))


def chunk_counts(
    rows: list[LocalSession], tree: Tree, clock: LocalClock, key: str, size: str, width: int
) -> np.ndarray:
    """Counts [space, bin] of one chunk, every space with its subtree, as the assets count."""
    edges = (
        clock.bin_edges(*chunk_bounds(key, size), width) if not_skipped(clock, key, size) else []
    )
    if not len(edges):
        return np.zeros((len(tree), 0), np.int32)
    space, device, start, end = utc_columns(rows, clock)
    (inside,) = sweep.split(start, end, np.array([edges[0], edges[-1]]))
    presence = sweep.merge(
        space[inside],
        device[inside],
        np.maximum(start[inside], edges[0]),
        np.minimum(end[inside], edges[-1]),
    )
    grid = np.zeros((len(tree), len(edges) - 1), np.int32)
    depths = {space: len(ancestry(space, tree)) - 1 for space in tree}
    for depth in set(depths.values()):
        at_depth = np.array(
            [(line[depth] if len(line := ancestry(space, tree)) > depth else -1) for space in tree]
        )
        counts = sweep.count(sweep.union(presence, at_depth), len(tree), edges)
        chosen = [space for space in tree if depths[space] == depth]
        grid[chosen] = counts[chosen]
    return grid


def not_skipped(clock: LocalClock, key: str, size: str) -> bool:
    begin, end = clock.chunk_seconds(key, size)
    return begin < end


def ancestry(space: int, tree: Tree) -> list[int]:
    parent = tree[space]
    return [space] if parent is None else [*ancestry(parent, tree), space]


def utc_columns(rows: list[LocalSession], clock: LocalClock) -> tuple[np.ndarray, ...]:
    def micros(times: list[dt.datetime]) -> np.ndarray:
        return np.array([(time - EPOCH) // MICROSECOND for time in times], np.int64)

    start, end = clock.session_bounds(
        micros([row[2] for row in rows]), micros([row[3] or row[2] for row in rows])
    )
    is_open = np.array([row[3] is None for row in rows], bool)
    opened = clock.to_utc(micros([row[2] for row in rows])) + OPEN_SECONDS * 1_000_000
    end = np.where(is_open, -(-opened // 1_000_000), end)
    usable = end > start
    space = np.array([row[0] for row in rows], np.int32)
    device = HASHES[np.array([row[1] for row in rows], np.int64)]
    return space[usable], device[usable], start[usable], end[usable]


# --- the parts ---------------------------------------------------------------------------------
@settings(deadline=None, max_examples=200)
@given(whole_seconds(), st.integers(-1000, 2_000_000_000))
def test_merge_is_the_union_of_the_seconds(
    rows: list[tuple[int, int, int, int]], origin: int
) -> None:
    presence = to_presence(rows, origin)
    found = list(zip(presence.space, presence.device, presence.start, presence.end, strict=True))
    assert found == sorted(found)
    for one, two in itertools.pairwise(found):
        assert one[:2] < two[:2] or one[3] < two[2]
    expected = {
        (space, int(HASHES[device]), second + origin)
        for space, device, start, end in rows
        for second in range(start, end)
    }
    assert {
        (int(space), int(device), second)
        for space, device, start, end in found
        for second in range(start, end)
    } == expected
    assert presence.space.dtype == np.int32
    assert presence.device.dtype == np.uint64
    assert presence.start.dtype == presence.end.dtype == np.int64


@given(whole_seconds())
def test_merge_does_not_depend_on_order_and_is_idempotent(
    rows: list[tuple[int, int, int, int]],
) -> None:
    presence = to_presence(rows)
    by_device = to_presence(sorted(rows, key=lambda row: (HASHES[row[1]], row[2])))
    again = sweep.merge(presence.space, presence.device, presence.start, presence.end)
    for other in (by_device, to_presence(rows[::-1]), again):
        for column in ("space", "device", "start", "end"):
            assert (getattr(other, column) == getattr(presence, column)).all()


@given(whole_seconds(), st.lists(st.integers(-1, 5), min_size=4, max_size=4))
def test_union_is_the_merge_of_moved_sessions(
    rows: list[tuple[int, int, int, int]], group: list[int]
) -> None:
    found = sweep.union(to_presence(rows), np.array(group))
    expected = to_presence([(group[row[0]], *row[1:]) for row in rows if group[row[0]] >= 0])
    for column in ("space", "device", "start", "end"):
        assert getattr(found, column).tolist() == getattr(expected, column).tolist()


@settings(deadline=None, max_examples=300)
@given(whole_seconds(), st.lists(st.integers(-10, 90), min_size=1, max_size=12, unique=True))
def test_count_with_any_edges(rows: list[tuple[int, int, int, int]], cuts: list[int]) -> None:
    edges = sorted(cuts)
    grid = sweep.count(to_presence(rows), 5, np.array(edges))
    assert grid.dtype == np.int32
    assert grid.tolist() == [oracle.occupancy(rows, {space}, edges) for space in range(5)]


@pytest.mark.parametrize("table_cells", [0, 1000])
@pytest.mark.parametrize("edges", [[0, 60, 120], [0, 60, 180]])
@pytest.mark.parametrize("beyond", [-1, 0, 1, 60, 1000])
def test_presence_that_ends_around_the_last_edge(
    table_cells: int, edges: list[int], beyond: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "_TABLE_CELLS", table_cells)
    rows = [(0, 0, 70, edges[-1] + beyond), (1, 0, 0, 60)]
    grid = sweep.count(to_presence(rows), 2, np.array(edges))
    assert grid.tolist() == [[0, 1], [1, 0]]


@settings(deadline=None)
@given(whole_seconds(), st.lists(st.sampled_from([1, 2, 3, 4, 5, 6, 12]), unique=True))
def test_count_many_equals_count(rows: list[tuple[int, int, int, int]], widths: list[int]) -> None:
    presence = to_presence(rows)
    # Not all end where the finer one ends; 5 does not nest in 4.
    edges = {width: np.arange(0, 61 + width, width) for width in widths}
    grids = sweep.count_many(presence, 4, edges)
    assert list(grids) == sorted(widths)
    for width, grid in grids.items():
        assert (grid == sweep.count(presence, 4, edges[width])).all()


@given(whole_seconds(), st.lists(st.integers(-5, 90), min_size=2, max_size=8, unique=True))
def test_split_gives_every_chunk_its_rows(
    rows: list[tuple[int, int, int, int]], cuts: list[int]
) -> None:
    boundaries = sorted(cuts)
    table = np.array(rows, np.int64).reshape(-1, 4)
    found = sweep.split(table[:, 2], table[:, 3], np.array(boundaries))
    expected = [
        [i for i, row in enumerate(rows) if row[2] < end and row[3] > begin]
        for begin, end in itertools.pairwise(boundaries)
    ]
    assert [sorted(chunk.tolist()) for chunk in found] == expected


def test_nonzero_is_the_sparse_form() -> None:
    edges = np.array([100, 160, 220])
    space, begin, counts = sweep.nonzero(np.array([[0, 2], [0, 0], [5, 1]], np.int32), edges)
    assert space.tolist() == [0, 2, 2]
    assert begin.tolist() == [160, 100, 160]
    assert counts.tolist() == [2, 5, 1]


def test_many_spaces_and_bins_beyond_one_block() -> None:
    rng = np.random.default_rng(5)
    n, n_spaces, n_bins = 20_000, 300, 2_000
    space, device = rng.integers(0, n_spaces, n), rng.integers(0, 50, n)
    start = rng.integers(0, n_bins * 60, n)
    end = start + rng.integers(1, 3000, n)
    edges = np.arange(0, n_bins * 60 + 1, 60)
    grid = sweep.count(sweep.merge(space, device, start, end), n_spaces, edges)

    end = np.minimum(end, edges[-1])
    lengths = (end - 1) // 60 - start // 60 + 1
    row = np.repeat(np.arange(n), lengths)
    bins = start[row] // 60 + np.arange(row.size) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    pairs = np.unique(np.stack([space[row], bins, device[row]]), axis=1)
    expected = np.zeros((n_spaces, n_bins), np.int32)
    np.add.at(expected, (pairs[0], pairs[1]), 1)
    assert (grid == expected).all()


def test_empty_input_gives_empty_output() -> None:
    none = np.empty(0, np.int64)
    presence = sweep.merge(none, none.astype(np.uint64), none, none)
    assert len(presence) == 0
    assert presence.device.dtype == np.uint64
    assert not sweep.count(sweep.union(presence, np.array([0])), 3, np.array([0, 60, 100])).any()
    assert sweep.count(presence, 3, np.array([0])).shape == (3, 0)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((0, 1, 5, 5), "end after"),
        ((-1, 1, 5, 6), "from 0"),
        ((2**31, 1, 0, 2**33), "do not fit"),
    ],
)
def test_rows_that_cannot_be_swept(row: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sweep.merge(*(np.array([value], np.int64) for value in row))


def test_space_beyond_the_grid() -> None:
    with pytest.raises(ValueError, match="beyond"):
        sweep.count(to_presence([(3, 0, 0, 10)]), 3, np.array([0, 60]))
