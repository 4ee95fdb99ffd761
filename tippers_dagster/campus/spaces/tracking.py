"""Tracking: the spaces and time chunks whose occupancy is kept up to date."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from tippers_dagster.campus.local_time import chunk_keys
from tippers_dagster.campus.spaces.tables import grid as grid_table
from tippers_dagster.campus.spaces.tables import tracking
from tippers_dagster.campus.spaces.tree import SpaceTree, load_tree
from tippers_dagster.errors import BadInput, SettingsError
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

MAX_RANGE_DAYS = 20 * 366
"""A longer range is taken for a typing error."""


LOG_ONLY = ""
"""In place of the root space of a range that is tracked without one: the log of these dates is kept
up to date for rules.
"""


@dataclass(frozen=True)
class Tracked:
    """One tracked range of a root space, or of ``LOG_ONLY``: local dates [start, end)."""

    space: str
    start: dt.date
    end: dt.date


@dataclass(frozen=True, eq=False)
class Grid:
    """The tracked grid: every tracked space in every tracked chunk.

    Attributes
    ----------
    tree
        The space tree.
    tracked
        bool per space of the tree.
    chunks
        Keys, in order of time.
    """

    tree: SpaceTree
    tracked: np.ndarray
    chunks: list[str]

    @property
    def leaves(self) -> list[str]:
        """Tracked spaces without children, in the order of the tree."""
        return self._ids(self.tracked & self.tree.is_leaf)

    @property
    def parents(self) -> list[str]:
        """Tracked spaces with children, in the order of the tree."""
        return self._ids(self.tracked & ~self.tree.is_leaf)

    def _ids(self, mask: np.ndarray) -> list[str]:
        return [self.tree.ids[i] for i in np.flatnonzero(mask)]


def track(settings: Settings, *, space: str | None, start: dt.date, end: dt.date) -> Grid:
    """Track a space and everything below it over the local dates [start, end).

    Without a space only the log of these dates is kept up to date, which is enough for rules; but
    spaces that are tracked in any range are counted in all tracked chunks.

    Tracking something twice changes nothing. Returns the whole tracked grid; the automation adds
    its partitions and computes what is missing.

    Raises
    ------
    BadInput
        When the space is unknown, or the range is empty or absurdly long.
    """
    if not start < end:
        raise BadInput(
            f"The range {start} to {end} contains no day.",
            "The end is excluded: choose a later one.",
        )
    if (end - start).days > MAX_RANGE_DAYS:
        raise BadInput(f"The range {start} to {end} is over 20 years long.", "Is a year mistyped?")
    tree = load_tree(settings)
    if space is not None:
        tree.position(space)
    engine = warehouse_engine(settings)
    with engine.begin() as connection:
        _pin_grid(connection, settings)
        connection.execute(
            insert(tracking)
            .values(space_id=_root(space), start_date=start, end_date=end)
            .on_conflict_do_nothing()
        )
    return wanted_grid(settings, tree)


def _root(space: str | None) -> str:
    return LOG_ONLY if space is None else space


def untrack(
    settings: Settings,
    *,
    space: str | None,
    start: dt.date | None = None,
    end: dt.date | None = None,
) -> Grid:
    """Stop tracking a root space, or what is tracked without one, completely or over [start, end).

    Spaces that another tracked root covers stay tracked. The lake is not changed.

    Raises
    ------
    BadInput
        When the space is not tracked in this range; the message lists the tracked roots.
    """
    low, high = start or dt.date.min, end or dt.date.max
    with warehouse_engine(settings).begin() as connection:
        overlapping = sa.and_(
            tracking.c.space_id == _root(space),
            tracking.c.start_date < high,
            tracking.c.end_date > low,
        )
        rows = connection.execute(sa.delete(tracking).where(overlapping).returning(tracking)).all()
        if not rows:
            roots = sorted({t.space or "the log only" for t in list_tracked(settings)})
            what = "The log" if space is None else f"Space {space!r}"
            raise BadInput(
                f"{what} is not a tracked root, or not in this range.",
                f"Tracked roots: {', '.join(roots) or 'nothing'}.",
            )
        rest = [
            {"space_id": _root(space), "start_date": a, "end_date": b}
            for row in rows
            for a, b in ((row.start_date, low), (high, row.end_date))
            if a < b
        ]
        if rest:
            connection.execute(insert(tracking).on_conflict_do_nothing(), rest)
    return wanted_grid(settings, load_tree(settings))


def untrack_exact_range(settings: Settings, tracked: Tracked) -> None:
    """Stop tracking exactly this range of this root; other ranges and roots stay tracked.

    Raises
    ------
    BadInput
        When it is not, or no longer, tracked.
    """
    query = sa.delete(tracking).where(
        tracking.c.space_id == tracked.space,
        tracking.c.start_date == tracked.start,
        tracking.c.end_date == tracked.end,
    )
    with warehouse_engine(settings).begin() as connection:
        if not connection.execute(query).rowcount:
            raise BadInput(
                f"Space {tracked.space!r} is not tracked from {tracked.start} to {tracked.end}.",
                "Somebody else may have changed it.",
            )


def list_tracked(settings: Settings) -> list[Tracked]:
    """All tracked roots and ranges."""
    query = sa.select(tracking.c.space_id, tracking.c.start_date, tracking.c.end_date)
    with warehouse_engine(settings).connect() as connection:
        rows = connection.execute(query.order_by(*query.selected_columns)).all()
    return [Tracked(*row) for row in rows]


def wanted_grid(settings: Settings, tree: SpaceTree) -> Grid:
    """The grid of all tracked roots and ranges.

    Tracked roots that are no longer in the tree are skipped.

    Raises
    ------
    SettingsError
        When the chunk length or time zone was changed after the warehouse was filled.
    """
    with warehouse_engine(settings).begin() as connection:
        rows = connection.execute(sa.select(tracking)).all()
        if rows:
            _pin_grid(connection, settings)
    mask = np.zeros(len(tree), dtype=bool)
    chunks: set[str] = set()
    for row in rows:
        if row.space_id in tree:
            i = tree.index[row.space_id]
            mask[i : i + int(tree.size[i])] = True
        if row.space_id in tree or row.space_id == LOG_ONLY:
            chunks.update(chunk_keys(row.start_date, row.end_date, settings.chunk))
    return Grid(tree, mask, sorted(chunks))


def _pin_grid(connection: sa.Connection, settings: Settings) -> None:
    """Record the grid's settings at first use, and refuse others later."""
    connection.execute(
        insert(grid_table)
        .values(chunk=settings.chunk, timezone=settings.timezone)
        .on_conflict_do_nothing()
    )
    row = connection.execute(sa.select(grid_table)).one()
    if (row.chunk, row.timezone) != (settings.chunk, settings.timezone):
        raise SettingsError(
            f"This warehouse was filled with TIPPERS_CHUNK={row.chunk} and "
            f"TIPPERS_TIMEZONE={row.timezone}; the settings say {settings.chunk} and "
            f"{settings.timezone}.",
            "Restore these settings, or use another TIPPERS_HOME or warehouse: keys of different "
            "chunks must not mix.",
        )
