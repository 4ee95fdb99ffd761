"""The partitions of the occupancy assets; keeps their keys equal to the tracked grid."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass

import dagster as dg
import sqlalchemy as sa

from tippers_dagster.campus.spaces.tracking import Grid, wanted_grid
from tippers_dagster.campus.spaces.tree import load_tree
from tippers_dagster.occupancy.state import ASSETS, COUNTS, DERIVED, SOURCE, source_spaces
from tippers_dagster.occupancy.tables import source_chunk
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

# The mappings and observable sources are still marked beta; Dagster is pinned exactly.
warnings.filterwarnings("ignore", category=dg.BetaWarning)

SPACE, CHUNK = "space", "time_chunk"
"""The two dimensions. A key is ``space|time_chunk``, as Dagster sorts dimensions by name."""

_SYNC_LOCK = 0x7469_7070_6572_7302

chunk_partitions = dg.DynamicPartitionsDefinition(name="time_chunk")
source_space_partitions = dg.DynamicPartitionsDefinition(name="source_space")
derived_space_partitions = dg.DynamicPartitionsDefinition(name="derived_space")
source_partitions = dg.MultiPartitionsDefinition(
    {SPACE: source_space_partitions, CHUNK: chunk_partitions}
)
derived_partitions = dg.MultiPartitionsDefinition(
    {SPACE: derived_space_partitions, CHUNK: chunk_partitions}
)

# Built-in mappings only: the daemon and the web server drop custom ones, and backfills then fail.
sessions_to_source = dg.MultiToSingleDimensionPartitionMapping(partition_dimension_name=CHUNK)
source_to_derived = dg.MultiPartitionMapping(
    {
        CHUNK: dg.DimensionPartitionMapping(CHUNK, dg.IdentityPartitionMapping()),
        SPACE: dg.DimensionPartitionMapping(SPACE, dg.AllPartitionMapping()),
    }
)


def partition_key(asset: str, space: str, chunk: str) -> str:
    """Dagster's key of a partition."""
    return f"{space}|{chunk}" if asset in COUNTS else chunk


def split_key(asset: str, key: str) -> tuple[str, str]:
    """Space ('' for assets per chunk) and chunk of a partition key."""
    if asset not in COUNTS:
        return "", key
    space, chunk = key.split("|")
    return space, chunk


@dataclass(frozen=True, eq=False)
class Partitions:
    """The tracked grid, and its partitions in Dagster.

    Attributes
    ----------
    grid
        The tracked spaces and chunks.
    sources
        The spaces that have, or could have, their own sessions.
    keys
        Per asset, the keys of its spaces and of its chunks in order of creation, which Dagster's
        ranges follow.
    """

    grid: Grid
    sources: list[str]
    keys: dict[str, tuple[list[str], list[str]]]


def sync_partitions(settings: Settings, instance: dg.DagsterInstance) -> Partitions:
    """Add and delete dynamic partitions so that they match the tracked grid.

    A space with children gets source partitions once sessions of the space itself have been seen.
    Observations of chunks that are no longer tracked are deleted, so that they are checked again if
    they return.
    """
    tree = load_tree(settings)
    with warehouse_engine(settings).begin() as connection:
        # One at a time: a process that read the tracked ranges before another changed them would
        # delete the partitions that the other has just added.
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:k)"), {"k": _SYNC_LOCK})
        grid = wanted_grid(settings, tree)
        sources = source_spaces(settings, grid)
        _set_keys(instance, source_space_partitions, sources)
        _set_keys(instance, derived_space_partitions, grid.parents)
        removed = _set_keys(instance, chunk_partitions, grid.chunks)
        if removed:
            connection.execute(sa.delete(source_chunk).where(source_chunk.c.chunk.in_(removed)))
        return Partitions(grid, sources, dagster_keys(instance))


def dagster_keys(instance: dg.DagsterInstance) -> dict[str, tuple[list[str], list[str]]]:
    """The current keys of every asset's spaces and chunks; see :class:`Partitions`."""
    chunks = list(instance.get_dynamic_partitions(chunk_partitions.name or ""))
    spaces = {
        asset: list(instance.get_dynamic_partitions(definition.name or ""))
        for asset, definition in (
            (SOURCE, source_space_partitions),
            (DERIVED, derived_space_partitions),
        )
    }
    return {asset: (spaces.get(asset, [""]), chunks) for asset in ASSETS}


def _set_keys(
    instance: dg.DagsterInstance, definition: dg.DynamicPartitionsDefinition, wanted: Iterable[str]
) -> list[str]:
    name = definition.name or ""
    wanted = list(wanted)
    present = set(instance.get_dynamic_partitions(name))
    if missing := [key for key in wanted if key not in present]:
        instance.add_dynamic_partitions(name, missing)
    removed = sorted(present.difference(wanted))
    for key in removed:
        instance.delete_dynamic_partition(name, key)
    return removed
