"""Occupancy by label that may leave the deployment: small counts are hidden, and cannot be derived
from differences.

If ``TIPPERS_SMALLEST_COUNT`` is below 2, nothing is hidden, and tables equal those of ``reading``.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tippers_dagster.campus.local_time import PUBLISHED_WIDTHS, LocalClock, chunk_bounds
from tippers_dagster.campus.spaces.tree import SpaceTree, load_tree
from tippers_dagster.errors import MissingPartitions
from tippers_dagster.occupancy.files import Rows
from tippers_dagster.occupancy.reading import OnMissing, When, chunks_in_range, missing_chunks
from tippers_dagster.occupancy.sharing import (
    SUPPRESSED,
    at_begins,
    count_tree,
    spaces_computed,
    with_counts,
)
from tippers_dagster.occupancy.suppression import hide_counts, hide_labels
from tippers_dagster.people.by_label.counting import dense as dense_grids
from tippers_dagster.people.by_label.devices import LabelsByChunk
from tippers_dagster.people.by_label.reading import TOTAL, published_files, read_labelled_occupancy
from tippers_dagster.settings import Settings, get_settings


def read_shared_labelled_occupancy(
    space: str,
    start: When,
    end: When,
    interval_seconds: int,
    by: str,
    *,
    dense: bool = True,
    settings: Settings | None = None,
    on_missing: OnMissing = "raise",
) -> pa.Table:
    """As ``read_labelled_occupancy``, with small counts hidden.

    Parameters
    ----------
    dense, on_missing
        As for ``read_occupancy``.

    Returns
    -------
    pa.Table
        As ``read_labelled_occupancy``; if counts may be hidden, also ``suppressed`` (bool): all
        labels of the bin are null, and so is their sum where ``read_shared_occupancy`` hides it.
        What is hidden does not depend on the request.

    Raises
    ------
    MissingPartitions
        Naming the chunks that are not computed, unless ``on_missing`` is ``"report"``.
    NotLabelled, BadInput, OnlyCountsKept
        As ``read_labelled_occupancy``.
    """
    settings = settings or get_settings()
    table = read_labelled_occupancy(space, start, end, interval_seconds, by, settings=settings)
    missing = missing_chunks(table)
    if missing and on_missing == "raise":
        raise MissingPartitions(
            f"Occupancy of space {space!r} is not computed for {', '.join(missing)}.", missing
        )
    if settings.smallest_count >= 2:
        table = _hidden(settings, table, space, start, end, interval_seconds, by)
    if dense:
        return table
    empty = pc.fill_null(pc.equal(table[TOTAL], 0), False)
    unknown = pc.is_null(table[TOTAL])
    if SUPPRESSED in table.column_names:
        unknown = pc.and_(unknown, pc.invert(table[SUPPRESSED]))
    return table.filter(pc.invert(pc.or_(empty, unknown)))


def _hidden(
    settings: Settings,
    table: pa.Table,
    space: str,
    start: When,
    end: When,
    width: int,
    by: str,
) -> pa.Table:
    tree, k = load_tree(settings), settings.smallest_count
    at = tree.position(space)
    parts, rows, total_masks = {}, {}, {}
    for chunk in chunks_in_range(start, end, width, settings):
        found = tree_parts(settings, tree, chunk, width, by)
        parts[chunk] = found[:, at].T
        rows[chunk] = hide_labels(tree, found, k)[at]
        total_masks[chunk] = hide_counts(tree, found.sum(axis=0), k)[at]
    hidden = at_begins(settings, table, width, rows)
    counts = at_begins(settings, table, width, parts).reshape(table.num_rows, -1)
    # The numbers that the masks were made for, in case newer ones have been published since.
    for i, name in enumerate(table.column_names[1:-1]):
        table = with_counts(table, name, counts[:, i], hidden)
    total_hidden = at_begins(settings, table, width, total_masks)
    table = with_counts(table, TOTAL, counts.sum(axis=1), total_hidden)
    return table.append_column(SUPPRESSED, pa.array(hidden))


def tree_parts(settings: Settings, tree: SpaceTree, chunk: str, width: int, by: str) -> np.ndarray:
    """Counts by label of all spaces in all bins of a chunk: int32 [labels, spaces, bins].

    Raises
    ------
    OnlyCountsKept
        If they are not published for all spaces, and the presence is deleted.
    """
    first, last = chunk_bounds(chunk, settings.chunk)
    edges = {width: LocalClock(settings.timezone).bin_edges(first, last, width)}
    labels = LabelsByChunk(settings, by)
    names = labels.names
    if width in PUBLISHED_WIDTHS:
        spaces = spaces_computed(settings, tree, chunk)
        files = published_files(settings, by, labels, spaces, [chunk])
        if len(files) == len(spaces):
            rows = Rows.of_tables(spaces, [files[space, chunk] for space in spaces])
            found = dense_grids(rows, list(names), edges, of="labels")
            parts = np.zeros((len(names), len(tree), len(edges[width]) - 1), np.int32)
            at = [tree.index[space] for space in spaces]
            for i, name in enumerate(names):
                parts[i, at] = found[name][width]
            return parts
    counted = count_tree(settings, tree, chunk, edges, labels.in_chunk(chunk))
    return counted[width].transpose(1, 0, 2)
