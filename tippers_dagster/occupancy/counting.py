"""Computes presence and counts of spaces from a chunk's sessions, and counts of the spaces above
them from presence. Reads the lake, calls the sweep and writes the lake, without Dagster.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tippers_dagster.campus.local_time import PUBLISHED_WIDTHS, LocalClock, chunk_bounds
from tippers_dagster.campus.spaces.tree import SpaceTree
from tippers_dagster.errors import TippersError
from tippers_dagster.occupancy import files, persons, sweep
from tippers_dagster.occupancy.files import DERIVED_COUNTS, PRESENCE, SOURCE_COUNTS, Rows
from tippers_dagster.occupancy.persons import Counted, Occupants
from tippers_dagster.occupancy.sessions import read_sessions
from tippers_dagster.platform.lake import Lake
from tippers_dagster.settings import Settings

PEAK_WIDTH = PUBLISHED_WIDTHS[0]
"""Peaks are measured in the narrowest published bins."""


class InconsistentCounts(TippersError):
    """Counts that contradict each other and are not published; ``check`` is the failed check."""

    def __init__(self, check: str, message: str) -> None:
        super().__init__(message)
        self.check = check


WITHIN_DEVICES = "within_devices"
WIDER_BINS = "wider_bins_hold_narrower"
BETWEEN_CHILDREN = "between_children"


@dataclass(frozen=True)
class Figures:
    """Figures of a chunk's partitions: arrays of equal length, one row per space.

    ``peak_time`` is in UTC seconds, and meaningless where ``peak`` is 0.
    """

    spaces: list[str]
    rows: np.ndarray
    devices: np.ndarray
    peak: np.ndarray
    peak_time: np.ndarray
    output: np.ndarray


@dataclass(frozen=True)
class Counter:
    """Counts chunks; holds what counting needs besides the chunk."""

    settings: Settings
    lake: Lake
    tree: SpaceTree
    clock: LocalClock

    def edges(self, chunk: str) -> dict[int, np.ndarray]:
        """Bin edges of the published widths over a chunk."""
        first, last = chunk_bounds(chunk, self.settings.chunk)
        return {width: self.clock.bin_edges(first, last, width) for width in PUBLISHED_WIDTHS}

    def count_sources(self, chunk: str, spaces: list[str]) -> Figures:
        """Write the presence of the spaces, and the counts of those without children.

        :meth:`count_derived` writes the counts of a space with children, as they cover its whole
        subtree.
        """
        table = read_sessions(self.lake, chunk, ["device", "space", "start", "end", "person"])
        table = table.set_column(4, "person", pc.fill_null(table["person"], 0))
        code = _codes(table["space"], spaces)
        mine = code >= 0
        device, start, end, person = (
            table[name].to_numpy()[mine] for name in ("device", "start", "end", "person")
        )
        begin, over = self.clock.chunk_seconds(chunk, self.settings.chunk)
        start, end = np.maximum(start, begin), np.minimum(end, over)
        occupants = persons.of_sessions(code[mine], device, person, start, end)
        edges = self.edges(chunk)
        grids = occupants.count_many(len(spaces), edges)
        chunk_devices = _distinct_sorted(table["device"].to_numpy())
        check_grids(chunk, spaces, grids, edges, np.full(len(spaces), chunk_devices))
        counts = _sparse(spaces, grids, edges)
        presence = Rows(spaces, *occupants.rows(len(spaces)))
        leaves = np.flatnonzero(self.tree.is_leaf[[self.tree.index[s] for s in spaces]])
        files.replace(self.lake, PRESENCE, chunk, presence)
        if leaves.size:
            self._replace_counts(chunk, counts.at(leaves), SOURCE_COUNTS, DERIVED_COUNTS)
        return _figures(presence, grids, edges)

    def count_derived(self, chunk: str, parents: list[str], sources: list[str]) -> Figures:
        """Write the counts of spaces with children, from the presence of their subtrees.

        ``sources`` are the spaces that have presence; those in the subtrees are read. All levels
        are counted in one pass, deepest first: each starts from the merged intervals below it.
        """
        tree, n = self.tree, len(self.tree)
        at = np.array([tree.index[parent] for parent in parents], np.int64)
        below = np.zeros(n, bool)
        for i in at:
            below[i : i + tree.size[i]] = True
        needed = [space for space in sources if below[tree.index[space]]]
        occupants = self._occupants(chunk, needed)
        edges = self.edges(chunk)
        narrow = occupants.count_many(n, {PEAK_WIDTH: edges[PEAK_WIDTH]})[PEAK_WIDTH]
        parts: list[Figures] = []
        for depth in range(
            int(tree.depth[below].max(initial=0)) - 1, int(tree.depth[at].min()) - 1, -1
        ):
            lifted = np.where(tree.depth > depth, tree.ancestors_at(depth), np.arange(n))
            occupants = occupants.raised(lifted)
            grids = occupants.count_many(n, edges)
            check_parents(chunk, tree, depth, below, grids[PEAK_WIDTH], narrow)
            narrow = grids[PEAK_WIDTH]
            mine = at[tree.depth[at] == depth]
            if mine.size:
                parts.append(self._publish(chunk, mine, occupants, grids, edges))
        return _concat(parts)

    def _occupants(self, chunk: str, spaces: list[str]) -> Occupants:
        """The recorded presence of spaces, with their positions in the tree as codes."""
        hint = "Materialize this partition of source_occupancy again."
        rows = files.read_every(self.lake, PRESENCE, chunk, spaces, hint)
        position = np.array([self.tree.index[space] for space in spaces], np.int64)
        return persons.of_rows(position[rows.owner], rows.table)

    def _publish(
        self,
        chunk: str,
        at: np.ndarray,
        occupants: Occupants,
        grids: dict[int, Counted],
        edges: dict[int, np.ndarray],
    ) -> Figures:
        spaces = [self.tree.ids[i] for i in at]
        mine = {width: grid.at(at) for width, grid in grids.items()}
        every = Rows(list(self.tree.ids), *occupants.rows(len(self.tree)))
        figures = _figures(every, mine, edges, at)
        check_grids(chunk, spaces, mine, edges, figures.devices)
        counts = _sparse(spaces, mine, edges)
        self._replace_counts(chunk, counts, DERIVED_COUNTS, SOURCE_COUNTS)
        return figures

    def _replace_counts(
        self, chunk: str, counts: Rows, dataset: files.Dataset, other: files.Dataset
    ) -> None:
        """Publish counts, and withdraw those that the spaces had before they gained or lost
        children. This happens before they are recorded, so recorded counts are in one file only.
        """
        files.replace(self.lake, dataset, chunk, counts)
        files.remove(self.lake, other, chunk, counts.spaces)


# --- checks: counts that fail one are not published ----------------------------------------------
def check_grids(
    chunk: str,
    spaces: list[str],
    grids: dict[int, Counted],
    edges: dict[int, np.ndarray],
    devices: np.ndarray,
) -> None:
    """No count above ``devices`` (per space), and no wider bin below a narrower one inside it.

    Other devices may be fewer in a wider bin, as the person of one may be known in a part of it.

    Raises
    ------
    InconsistentCounts
        Naming the space, the chunk and the numbers.
    """
    for what in _kinds(*grids.values()):
        of_width = {width: getattr(grids[width], what) for width in sorted(grids)}
        if what != "people":  # one device may be used by several
            _check_within(chunk, spaces, of_width, devices)
        if what != "others":
            _check_wider(chunk, spaces, of_width, edges, what)


def _kinds(*counted: Counted) -> tuple[str, ...]:
    """The kinds of counts to check."""
    known = any(one.has_people for one in counted)
    return ("devices", "people", "others") if known else ("devices",)


def _check_within(
    chunk: str, spaces: list[str], grids: dict[int, np.ndarray], devices: np.ndarray
) -> None:
    for width, grid in grids.items():
        wrong = (grid > devices[:, None]) | (grid < 0)
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            raise InconsistentCounts(
                WITHIN_DEVICES,
                f"{spaces[row]} in {chunk}: {grid[row, column]} devices in a bin of {width} s, "
                f"but the chunk has only {devices[row]}.",
            )


def _check_wider(
    chunk: str,
    spaces: list[str],
    grids: dict[int, np.ndarray],
    edges: dict[int, np.ndarray],
    what: str,
) -> None:
    for narrow, width in pairwise(grids):
        grid = grids[width]
        inside = np.searchsorted(edges[width], edges[narrow][:-1], side="right") - 1
        within = edges[narrow][1:] <= edges[width][inside + 1]  # across a bin's end: no bound
        short = (grids[narrow] > grid[:, inside]) & within
        if short.any():
            row, column = np.argwhere(short)[0]
            raise InconsistentCounts(
                WIDER_BINS,
                f"{spaces[row]} in {chunk}: {grids[narrow][row, column]} {what} in a bin of "
                f"{narrow} s, {grid[row, inside[column]]} in the bin of {width} s around it.",
            )


def check_parents(
    chunk: str,
    tree: SpaceTree,
    depth: int,
    within: np.ndarray,
    above: Counted,
    below: Counted,
) -> None:
    """A parent at ``depth`` has at least its fullest child's count and at most their sum.

    ``below`` and ``above`` are counts by position in the tree, before and after the children were
    merged; a space's own sessions count as one more child. ``within`` masks the spaces counted.
    Other devices may be fewer than in a child, as their persons may be known in another one.

    Raises
    ------
    InconsistentCounts
        Naming the space, the chunk and the numbers.
    """
    children = np.flatnonzero((tree.depth == depth + 1) & within)
    parents = np.flatnonzero((tree.depth == depth) & within & ~tree.is_leaf)
    for what in _kinds(above, below):
        total = getattr(below, what).copy()
        largest = np.zeros_like(total) if what == "others" else total.copy()
        np.add.at(total, tree.parent[children], getattr(below, what)[children])
        if what != "others":
            np.maximum.at(largest, tree.parent[children], getattr(below, what)[children])
        found, low, high = getattr(above, what)[parents], largest[parents], total[parents]
        wrong = (found < low) | (found > high)
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            raise InconsistentCounts(
                BETWEEN_CHILDREN,
                f"{tree.ids[parents[row]]} in {chunk}: {found[row, column]} {what}, but its "
                f"children have at most {low[row, column]} and {high[row, column]} together.",
            )


# --- tables ------------------------------------------------------------------------------------
def _codes(values: pa.ChunkedArray, spaces: list[str]) -> np.ndarray:
    """Index of each row's space in ``spaces``, or -1."""
    known = pa.array(spaces, pa.string())
    encoded = values.combine_chunks().dictionary_encode()
    if not len(encoded):
        return np.empty(0, np.int32)
    table = pc.fill_null(pc.index_in(encoded.dictionary, value_set=known), -1).to_numpy()
    return table[encoded.indices.to_numpy()]


def _sparse(spaces: list[str], grids: dict[int, Counted], edges: dict[int, np.ndarray]) -> Rows:
    """All non-zero cells, sorted by (space, width, bin)."""
    cells = [(width, *sweep.nonzero(grids[width].devices, edges[width])) for width in sorted(grids)]
    space = np.concatenate([c[1] for c in cells])
    order = np.argsort(space, kind="stable")
    widths = np.concatenate([np.full(len(c[1]), c[0], np.int32) for c in cells])
    begins = np.concatenate([c[2] for c in cells])
    columns = {
        "interval_seconds": widths[order],
        "interval_begin_time": files.times(begins[order]),
        persons.CONNECTIONS: np.concatenate([c[3] for c in cells])[order].astype(np.int32),
    }
    if any(grid.has_people and grid.people.any() for grid in grids.values()):
        for name, what in ((persons.PEOPLE, "people"), (persons.OTHERS, "others")):
            found = [
                getattr(grids[width], what)[grids[width].devices > 0] for width in sorted(grids)
            ]
            columns[name] = np.concatenate(found)[order]
    bounds = np.append(0, np.cumsum(np.bincount(space, minlength=len(spaces))))
    return Rows(spaces, bounds, pa.table(columns))


def _figures(
    presence: Rows,
    grids: dict[int, Counted],
    edges: dict[int, np.ndarray],
    at: np.ndarray | None = None,
) -> Figures:
    """Figures of spaces, or of some of them; ``grids`` have these only."""
    table, bounds = presence.table, presence.bounds
    at = np.arange(len(presence.spaces)) if at is None else at
    device, whose = table["device"].to_numpy(), persons.whose_rows(table)
    is_device = np.ones(len(device), bool) if whose is None else whose <= persons.KNOWN
    new = np.append(True, device[1:] != device[:-1])[: len(device)]
    new[bounds[:-1][bounds[:-1] < len(new)]] = True
    rows, distinct = (_sums(values.astype(np.int64)) for values in (is_device, new & is_device))
    prints = _sums(persons.prints(table))
    lows, highs = bounds[at], bounds[at + 1]
    peaks = grids[PEAK_WIDTH].devices
    fullest = peaks.argmax(axis=1)
    return Figures(
        spaces=[presence.spaces[i] for i in at],
        rows=rows[highs] - rows[lows],
        devices=distinct[highs] - distinct[lows],
        peak=peaks[np.arange(len(at)), fullest],
        peak_time=edges[PEAK_WIDTH][fullest],
        output=prints[highs] - prints[lows],
    )


def _sums(values: np.ndarray) -> np.ndarray:
    """Running sums, beginning with 0."""
    sums = np.zeros(len(values) + 1, values.dtype)
    np.cumsum(values, out=sums[1:])
    return sums


def _concat(parts: list[Figures]) -> Figures:
    return Figures(
        spaces=[space for part in parts for space in part.spaces],
        **{
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in ("rows", "devices", "peak", "peak_time", "output")
        },
    )


def _distinct_sorted(values: np.ndarray) -> int:
    return int(np.count_nonzero(values[1:] != values[:-1])) + 1 if len(values) else 0
