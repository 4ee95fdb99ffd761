"""Removes a space and everything below it from the source; reports what that affects."""

from __future__ import annotations

import json
from dataclasses import dataclass

import sqlalchemy as sa

from tippers_dagster.campus.intake.ingest import remove_spaces
from tippers_dagster.campus.source.load import read_source
from tippers_dagster.campus.source.read import read_spaces
from tippers_dagster.campus.source.schema import SESSIONS, require_own_source, source_tables
from tippers_dagster.campus.spaces.tables import tracking
from tippers_dagster.campus.spaces.tracking import Tracked, list_tracked
from tippers_dagster.campus.spaces.tree import load_tree
from tippers_dagster.errors import BadInput
from tippers_dagster.occupancy.partitions import sync_partitions
from tippers_dagster.occupancy.state import COUNTS
from tippers_dagster.occupancy.tables import partition_figures
from tippers_dagster.occupancy.tracking import purge_untracked
from tippers_dagster.platform.dagster.environment import dagster_instance
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings


@dataclass(frozen=True)
class RemovalEffects:
    """What removing a space affects.

    ``spaces`` are the space and everything below it; ``tracked`` the ranges rooted at one of them,
    which end; ``partitions`` the number of computed partitions; ``sessions`` the number of rows of
    the source whose space will no longer exist.
    """

    spaces: list[str]
    tracked: list[Tracked]
    partitions: int
    sessions: int


def removal_effects(settings: Settings, space: str) -> RemovalEffects:
    """What removing a space would affect.

    Raises
    ------
    BadInput
        When there is no such space.
    SourceError
        When the source is the deployment's own database, where its spaces must be removed.
    """
    require_own_source(settings)
    spaces = _subtree(settings, space)
    inside = set(spaces)
    figures = partition_figures.c
    computed = sa.select(sa.func.count()).where(
        figures.space.in_(spaces), figures.asset.in_(COUNTS)
    )
    table = source_tables(settings)[SESSIONS]
    naming = read_source(
        settings,
        f"SELECT count(*) FROM {table.sql} WHERE {table.column('space_id')} IN "
        "(SELECT jsonb_array_elements_text($1::text::jsonb))",
        (json.dumps(spaces),),
    )
    with warehouse_engine(settings).connect() as connection:
        partitions = connection.scalar(computed) or 0
    return RemovalEffects(
        spaces,
        [t for t in list_tracked(settings) if t.space in inside],
        partitions,
        int(naming.column(0)[0].as_py()),
    )


def remove_space(settings: Settings, space: str, *, purge: bool = False) -> int:
    """Remove a space and everything below it; returns the number of this change in the journal.

    Their tracked ranges end, their partitions are deleted from Dagster, and counts that include
    their sessions become stale. ``purge`` also deletes untracked partitions from the lake.

    Raises
    ------
    BadInput
        When there is no such space.
    SourceError
        When the source is the deployment's own database.
    """
    require_own_source(settings)
    spaces = _subtree(settings, space)
    number = remove_spaces(settings, space, spaces)
    with warehouse_engine(settings).begin() as connection:
        connection.execute(sa.delete(tracking).where(tracking.c.space_id.in_(spaces)))
    with dagster_instance(settings) as instance:
        grid = sync_partitions(settings, instance).grid
    if purge:
        purge_untracked(settings, grid)
    return number


def _subtree(settings: Settings, space: str) -> list[str]:
    """A space of the source and everything below it, even if its id is unusable."""
    table = read_spaces(settings)
    ids, parents = (table[name].to_pylist() for name in ("space_id", "parent_space_id"))
    if space not in ids:
        load_tree(settings).position(space)  # its error suggests similar ids
    children: dict[str, list[str]] = {}
    for space_id, parent in zip(ids, parents, strict=True):
        children.setdefault(parent, []).append(space_id)
    found: list[str] = []
    waiting = [space]
    while waiting:
        found.append(waiting.pop())
        waiting += children.get(found[-1], [])
    if len(found) == len(ids):
        raise BadInput(
            f"Removing {space!r} and everything below it would leave no spaces.",
            "Load other spaces first: `tippers ingest spaces FILE`.",
        )
    return found
