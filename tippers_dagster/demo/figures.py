"""Figures of a campus for the demo: its busiest hour, and its buildings."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from tippers_dagster.campus.source.load import read_source
from tippers_dagster.campus.source.schema import TRUTH_HEADCOUNT, source_tables
from tippers_dagster.campus.spaces.tree import SpaceTree
from tippers_dagster.demo.data import Extent
from tippers_dagster.occupancy.reading import read_occupancy
from tippers_dagster.settings import Settings

HOUR = 3600


@dataclass(frozen=True)
class HeadCount:
    """True numbers of people in a space: the peak hour's, and the mean over all hours."""

    peak: int
    mean: float


@dataclass(frozen=True)
class SpaceFigures:
    """Distinct devices per hour in a space: the peak and its local time, and the mean.

    ``spaces`` counts the spaces below it; ``people`` is None if the true numbers are unknown.
    """

    name: str
    spaces: int
    peak: int
    peak_time: dt.datetime
    mean: float
    people: HeadCount | None


def campus_figures(
    settings: Settings, tree: SpaceTree, span: Extent
) -> tuple[SpaceFigures, list[SpaceFigures]]:
    """The figures of the busiest root, and of its buildings (children that have children)."""
    roots = [_figures(settings, tree, root, span) for root in tree.roots]
    at = max(range(len(roots)), key=lambda i: roots[i].peak)
    buildings = [
        _figures(settings, tree, child, span)
        for child in tree.children(tree.roots[at])
        if not tree.is_leaf[tree.position(child)]
    ]
    return roots[at], buildings


def _figures(settings: Settings, tree: SpaceTree, space: str, span: Extent) -> SpaceFigures:
    hours = read_occupancy(space, span.first, span.last, HOUR, settings=settings)
    counts = hours["number_connections"].to_numpy()
    top = int(np.argmax(counts))
    position = tree.position(space)
    return SpaceFigures(
        name=tree.names[position],
        spaces=int(tree.size[position]) - 1,
        peak=int(counts[top]),
        peak_time=hours["interval_begin_time"][top].as_py(),
        mean=float(counts.mean()),
        people=_head_count(settings, space, hours["interval_begin_time"], len(counts)),
    )


def _head_count(settings: Settings, space: str, begins: object, hours: int) -> HeadCount | None:
    table = source_tables(settings)[TRUTH_HEADCOUNT]
    begin, people = table.column("interval_begin_time"), table.column("people")
    bounds = pc.min_max(begins).as_py()
    row = read_source(
        settings,
        f"SELECT max({people})::bigint AS peak, sum({people})::float8 AS total FROM {table.sql} "
        f"WHERE {table.column('space_id')} = $1 AND {table.column('interval_seconds')} = {HOUR} "
        f"AND {begin} BETWEEN $2 AND $3",
        (space, bounds["min"].astimezone(dt.UTC), bounds["max"].astimezone(dt.UTC)),
    ).to_pylist()[0]
    return None if row["peak"] is None else HeadCount(row["peak"], row["total"] / hours)
