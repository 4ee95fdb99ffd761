"""The spaces directly inside a space: ranked over a window, and placed as a floor for one day."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa

from streamlit_app.services.occupancy.computed import Log
from streamlit_app.services.occupancy.local_time import from_seconds, midnight
from streamlit_app.services.occupancy.series import Figures, Series, series
from streamlit_app.services.occupancy.treemap import squarify
from streamlit_app.services.occupancy.window import Window
from tippers_dagster.campus.spaces.facts import Facts
from tippers_dagster.campus.spaces.tree import SpaceTree
from tippers_dagster.occupancy.reading import Count
from tippers_dagster.occupancy.tables import partition_figures
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

MAX_CHILDREN = 400
"""Most children that are ranked or placed: those with the highest recorded peaks."""


def top_children(settings: Settings, tree: SpaceTree, space: str) -> list[str]:
    """The children of a space; if there are very many, those with the highest recorded peaks."""
    children = tree.children(space)
    if len(children) <= MAX_CHILDREN:
        return children
    figures = partition_figures.c
    query = (
        sa.select(figures.space)
        .where(figures.space.in_(children))
        .group_by(figures.space)
        .order_by(sa.func.max(figures.peak).desc().nulls_last())
        .limit(MAX_CHILDREN)
    )
    with warehouse_engine(settings).connect() as connection:
        return list(connection.scalars(query))


# --- ranking -------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Rank:
    """One child of a space, with its main numbers in a window."""

    space: str
    name: str
    children: int
    type: str
    capacity: float | None
    figures: Figures


def ranking(
    settings: Settings,
    tree: SpaceTree,
    known: Mapping[str, Facts],
    space: str,
    window: Window,
    log: Log | None = None,
    count: Count = "devices",
) -> list[Rank]:
    """The children of a space, counted per hour, busiest first."""
    children = top_children(settings, tree, space)
    found = series(settings, children, window, 3600, log, count)
    ranks = [_rank(tree, known.get(s.space, Facts()), s) for s in found]
    return sorted(ranks, key=_busyness, reverse=True)


def _busyness(one: Rank) -> tuple[float, float]:
    peak = one.figures.peak
    return -1 if peak is None else peak, one.figures.mean or 0


def _rank(tree: SpaceTree, known: Facts, one: Series) -> Rank:
    at = tree.index[one.space]
    return Rank(
        space=one.space,
        name=tree.names[at],
        children=int(tree.size[at]) - 1,
        type=known.type,
        capacity=known.capacity,
        figures=one.figures,
    )


# --- a floor -------------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class Floor:
    """The spaces of a floor over one day.

    Attributes
    ----------
    spaces, names
        In tree order.
    times
        Local times at which the bins begin.
    counts, computed
        [spaces, bins].
    places
        x, y, width, height of each space in a unit square, from the top left; width and height are
        0 for a space at a point.
    by_coordinates
        True: the places come from the source. False: tiles of a treemap, sized by the day's peak.
    """

    spaces: list[str]
    names: list[str]
    times: list[dt.datetime]
    counts: np.ndarray
    computed: np.ndarray
    places: np.ndarray
    by_coordinates: bool


def floor(
    settings: Settings,
    tree: SpaceTree,
    known: Mapping[str, Facts],
    space: str,
    day: dt.date,
    width: int = 900,
    log: Log | None = None,
) -> Floor:
    """The children of a space over a day; for a space without children, its parent's."""
    above = space if not tree.is_leaf[tree.position(space)] else _parent(tree, space)
    spaces = top_children(settings, tree, above) if above else [space]
    window = Window(midnight(day), midnight(day + dt.timedelta(1)))
    found = series(settings, spaces, window, width, log)
    counts = np.stack([s.counts for s in found])
    computed = np.stack([s.computed for s in found])
    at = [known.get(s, Facts()).at for s in spaces]
    by_coordinates = len(spaces) > 1 and all(place is not None for place in at)
    peaks = np.where(computed, counts, 0).max(axis=1)
    return Floor(
        spaces=spaces,
        names=[tree.names[tree.index[s]] for s in spaces],
        times=[from_seconds(t) for t in found[0].local[:-1]],
        counts=counts,
        computed=computed,
        places=_scaled(at) if by_coordinates else squarify(np.maximum(peaks, 0.04 * peaks.max())),
        by_coordinates=by_coordinates,
    )


def _parent(tree: SpaceTree, space: str) -> str | None:
    at = int(tree.parent[tree.position(space)])
    return tree.ids[at] if at >= 0 else None


def _scaled(at: Sequence[tuple[float, float] | None]) -> np.ndarray:
    """Points in the unit square, with y turned to point down; width and height are 0."""
    points = np.array([p for p in at if p is not None], np.float64)
    span = max(float(np.ptp(points, axis=0).max()), 1e-9)
    scaled = (points - points.min(axis=0)) / span
    scaled[:, 1] = np.ptp(points[:, 1]) / span - scaled[:, 1]
    return np.column_stack([scaled, np.zeros_like(scaled)])
