"""Occupancy that may leave the deployment: small counts are hidden, and cannot be derived from
differences.

If ``TIPPERS_SMALLEST_COUNT`` is below 2, nothing is hidden, and tables equal those of ``reading``.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from tippers_dagster.campus.local_time import PUBLISHED_WIDTHS, LocalClock, chunk_bounds
from tippers_dagster.campus.spaces.tree import SpaceTree, load_tree
from tippers_dagster.occupancy.reading import (
    ALL_DEVICES,
    COLUMNS,
    Count,
    DeviceGroups,
    OnlyCountsKept,
    OnMissing,
    When,
    chunks_in_range,
    read_counts,
    read_occupancy,
)
from tippers_dagster.occupancy.repack import occupancy_lake
from tippers_dagster.occupancy.state import DERIVED, SOURCE
from tippers_dagster.occupancy.subtrees import count_groups, read_presence
from tippers_dagster.occupancy.suppression import Mask, hide_counts, hide_people
from tippers_dagster.occupancy.tables import partition_figures, sealed_chunk
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings, get_settings

SUPPRESSED = "suppressed"
"""The column that distinguishes hidden counts from uncomputed ones; both are null."""

COUNT = "number_connections"


def read_shared_occupancy(
    space: str,
    start: When,
    end: When,
    interval_seconds: int,
    *,
    dense: bool = True,
    settings: Settings | None = None,
    on_missing: OnMissing = "raise",
    count: Count = "devices",
) -> pa.Table:
    """As ``read_occupancy``, with small counts hidden.

    Returns
    -------
    pa.Table
        As ``read_occupancy``; if counts may be hidden, also ``suppressed`` (bool): the count is
        null because it is small, or would reveal a small one. What is hidden does not depend on
        the request (:mod:`tippers_dagster.occupancy.suppression`).

    Raises
    ------
    BadInput, MissingPartitions, LakeError, OnlyCountsKept
        As ``read_occupancy``.
    """
    settings = settings or get_settings()
    table = read_occupancy(
        space,
        start,
        end,
        interval_seconds,
        dense=dense,
        settings=settings,
        on_missing=on_missing,
        count=count,
    )
    if settings.smallest_count < 2:
        return table
    tree = load_tree(settings)
    at = tree.position(space)
    rows: dict[str, dict[str, np.ndarray]] = {name: {} for name in COLUMNS[count]}
    masks = {}
    for chunk in chunks_in_range(start, end, interval_seconds, settings):
        counts = tree_counts(settings, tree, chunk, interval_seconds, count)
        if count == "devices":
            mask = hide_counts(tree, counts[0], settings.smallest_count)
        else:
            (devices,) = tree_counts(settings, tree, chunk, interval_seconds)
            mask = hide_people(tree, devices, counts, settings.smallest_count)
        masks[chunk] = mask[at]
        for name, column in zip(rows, counts, strict=True):
            rows[name][chunk] = column[at]
    hidden = at_begins(settings, table, interval_seconds, masks)
    # The numbers that the masks were made for, in case newer ones have been published since.
    for name, of_chunks in rows.items():
        numbers = at_begins(settings, table, interval_seconds, of_chunks)
        table = with_counts(table, name, numbers, hidden)
    return table.append_column(SUPPRESSED, pa.array(hidden))


def with_counts(table: pa.Table, column: str, counts: np.ndarray, hidden: Mask) -> pa.Table:
    """Replace a column's known numbers with these, and hidden ones with null."""
    unknown = table[column].combine_chunks().is_null().to_numpy(zero_copy_only=False)
    at = table.schema.get_field_index(column)
    values = pa.array(counts.astype(np.int32), mask=unknown | hidden)
    return table.set_column(at, table.schema.field(at), values)


def tree_counts(
    settings: Settings, tree: SpaceTree, chunk: str, width: int, count: Count = "devices"
) -> np.ndarray:
    """Counts of all spaces in all bins of a chunk, 0 where unknown.

    int32 [columns, spaces, bins], with the columns of what is counted (``COLUMNS``).

    Raises
    ------
    OnlyCountsKept
        If the width is not published and the chunk's presence is deleted.
    """
    computed = spaces_computed(settings, tree, chunk)
    first, last = chunk_bounds(chunk, settings.chunk)
    edges = LocalClock(settings.timezone).bin_edges(first, last, width)
    counts = np.zeros((len(COLUMNS[count]), len(tree), len(edges) - 1), np.int32)
    if width in PUBLISHED_WIDTHS or count == "people":
        found = read_counts(computed, first, last, width, settings=settings, count=count)
        at = [tree.index[space] for space in computed]
        for of_column, values in zip(counts, (found.counts, found.others), strict=False):
            of_column[at] = np.where(found.computed, values, 0)
        return counts
    return count_tree(settings, tree, chunk, {width: edges}, ALL_DEVICES)[width].swapaxes(0, 1)


def count_tree(
    settings: Settings,
    tree: SpaceTree,
    chunk: str,
    edges: dict[int, np.ndarray],
    groups: DeviceGroups,
) -> dict[int, np.ndarray]:
    """Counts of all spaces in a chunk by group of devices, from presence: int32 [spaces, groups,
    bins].

    Raises
    ------
    OnlyCountsKept
        If the presence is deleted.
    """
    if is_sealed(settings, chunk):
        raise OnlyCountsKept(
            f"Devices in {chunk} can no longer be counted: its presence has been deleted "
            "(TIPPERS_PRESENCE_DAYS), and only published counts are kept.",
            f"Choose bins of {', '.join(map(str, PUBLISHED_WIDTHS))} s.",
        )
    sources = spaces_computed(settings, tree, chunk, SOURCE)
    presence = read_presence(occupancy_lake(settings), tree, chunk, sources, groups)
    return count_groups(presence, tree, groups.rows, np.arange(len(tree)), edges)


def at_begins(
    settings: Settings, table: pa.Table, width: int, of_chunks: dict[str, np.ndarray]
) -> np.ndarray:
    """The values of a table's rows, picked from the values of all bins of its chunks."""
    clock = LocalClock(settings.timezone)
    spans = {chunk: chunk_bounds(chunk, settings.chunk) for chunk in of_chunks}
    begins = [clock.bin_edges(*span, width)[:-1] for span in spans.values()]
    rows = table["interval_begin_time"].cast(pa.timestamp("s", "UTC")).cast(pa.int64()).to_numpy()
    if not rows.size:
        return np.zeros(0, bool)
    at = np.searchsorted(np.concatenate(begins), rows)
    found: np.ndarray = np.concatenate(list(of_chunks.values()))[at]
    return found


def spaces_computed(
    settings: Settings, tree: SpaceTree, chunk: str, asset: str | None = None
) -> list[str]:
    """The spaces with computed partitions in a chunk, in the order of the tree."""
    c = partition_figures.c
    assets = (SOURCE, DERIVED) if asset is None else (asset,)
    query = sa.select(c.space).distinct().where(c.chunk == chunk, c.asset.in_(assets))
    with warehouse_engine(settings).connect() as connection:
        found = set(connection.scalars(query))
    return [space for space in tree.ids if space in found]


def is_sealed(settings: Settings, chunk: str) -> bool:
    """Whether only the counts of a chunk are kept."""
    query = sa.select(sa.literal(1)).where(sealed_chunk.c.chunk == chunk)
    with warehouse_engine(settings).connect() as connection:
        return connection.scalar(query) is not None


def hidden_rows(table: pa.Table) -> int:
    """Number of suppressed rows of a shared table."""
    if SUPPRESSED not in table.column_names:
        return 0
    return int(pc.sum(table[SUPPRESSED]).as_py() or 0)
