"""The true counts: distinct people, or devices, per space and bin.

A plain method, deliberately independent of the product's engine: every interval is expanded to the
bins that it touches, the (space, bin, entity) triples are made unique, counted, and passed to the
parent space, from the deepest spaces up to the campus.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tippers_dagster.simulation.calendar import Bins, Ints


@dataclass(frozen=True)
class Intervals:
    """Presence [start, end) in Unix seconds, end > start, of entities numbered from 0."""

    entity: Ints
    space: Ints
    start: Ints
    end: Ints

    @classmethod
    def none(cls) -> Intervals:
        """No intervals."""
        return cls(*(np.empty(0, np.int64) for _ in range(4)))

    def then(self, other: Intervals) -> Intervals:
        """The intervals of both."""
        return Intervals(
            np.concatenate([self.entity, other.entity]),
            np.concatenate([self.space, other.space]),
            np.concatenate([self.start, other.start]),
            np.concatenate([self.end, other.end]),
        )


class Counter:
    """Counts distinct entities of one period, per block of entities.

    Parameters
    ----------
    parent
        The parent of each space, -1 for none.
    bins
        Bins per width. Every bin of the first width lies within one bin of each other width.
    begin, end
        The period in Unix seconds; bins of the widest width begin at both.
    """

    def __init__(self, parent: Ints, bins: tuple[Bins, ...], begin: int, end: int) -> None:
        self.parent, self.bins, self.begin, self.end = parent, bins, begin, end
        self.depth = _depths(parent)
        self.first = [int(b.index(np.array([begin]))[0]) for b in bins]
        last = [int(b.index(np.array([end - 1]))[0]) for b in bins]
        self.size = [high - low + 1 for low, high in zip(self.first, last, strict=True)]
        self.grids = [np.zeros(len(parent) * size, np.int64) for size in self.size]

    def add(self, intervals: Intervals) -> Intervals:
        """Count the intervals of one block; returns those beyond the period, for the next one.

        A block has all intervals of its entities.
        """
        finest = self.bins[0]
        now = intervals.start < self.end
        space, entity = intervals.space[now], intervals.entity[now]
        low = finest.index(intervals.start[now]) - self.first[0]
        high = finest.index(np.minimum(intervals.end[now], self.end) - 1) - self.first[0]
        count = high - low + 1
        step = np.arange(count.sum()) - np.repeat(count.cumsum() - count, count)
        self._count(
            np.repeat(space, count),
            np.repeat(low, count) + step,
            np.repeat(entity, count),
        )
        later = intervals.end > self.end
        return Intervals(
            intervals.entity[later],
            intervals.space[later],
            np.maximum(intervals.start[later], self.end),
            intervals.end[later],
        )

    def tables(self) -> list[pa.Table]:
        """Counts per width: space (position), interval_seconds, Unix seconds, count."""
        return [
            _sparse(grid, size, first, bins)
            for grid, size, first, bins in zip(
                self.grids, self.size, self.first, self.bins, strict=True
            )
        ]

    def _count(self, space: Ints, bin_: Ints, entity: Ints) -> None:
        entities = int(entity.max(initial=0)) + 1
        for level, (bins, size) in enumerate(zip(self.bins, self.size, strict=True)):
            if level:
                begins = self.bins[0].begins(np.arange(self.size[0]) + self.first[0])
                bin_ = (bins.index(begins) - self.first[level])[bin_]
            grid = self.grids[level]
            keys = _unique((space * size + bin_) * entities + entity)
            if not level:
                space, bin_, entity = _decoded(keys, size, entities)
            self._count_levels(keys, size, entities, grid)

    def _count_levels(self, keys: Ints, size: int, entities: int, grid: Ints) -> None:
        """Count unique triples at their own depth, then add them to their parents', upwards."""
        span = size * entities
        depth = self.depth[keys // span]
        rising = np.empty(0, np.int64)
        for level in range(int(self.depth.max()), -1, -1):
            here = keys[depth == level]
            rising = _unique(np.concatenate([here, rising])) if len(rising) else here
            cells, counts = _runs(rising // entities)
            grid[cells] += counts
            space = rising // span
            rising = rising + (self.parent[space] - space) * span if level else rising


def _unique(keys: Ints) -> Ints:
    keys = np.sort(keys)
    unique: Ints = keys[np.diff(keys, prepend=-1) != 0]
    return unique


def _runs(ordered: Ints) -> tuple[Ints, Ints]:
    """Distinct values of a sorted array, and their frequencies."""
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    return ordered[starts], np.diff(starts, append=len(ordered))


def _decoded(keys: Ints, size: int, entities: int) -> tuple[Ints, Ints, Ints]:
    cell, entity = np.divmod(keys, entities)
    space, bin_ = np.divmod(cell, size)
    return space, bin_, entity


def _depths(parent: Ints) -> Ints:
    depth = np.zeros(len(parent), np.int64)
    above = parent.copy()
    while (above >= 0).any():
        depth += above >= 0
        above = np.where(above >= 0, parent[above], -1)
    return depth


def _sparse(grid: Ints, size: int, first: int, bins: Bins) -> pa.Table:
    filled = np.flatnonzero(grid)
    space, bin_ = np.divmod(filled, size)
    return pa.table(
        {
            "space": space,
            "interval_seconds": np.full(len(filled), bins.width, np.int32),
            "begin": bins.begins(bin_ + first),
            "count": grid[filled].astype(np.int32),
        }
    )
