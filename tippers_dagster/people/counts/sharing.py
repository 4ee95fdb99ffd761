"""People counts that may leave the deployment: small counts are hidden, and cannot be derived from
differences.

An exported people count is derived from the people who are known, from the devices with certain
labels and from all devices. So a bin is hidden where occupancy by the same labels is, or the number
of people and other devices: together they reveal no more than these.
"""

from __future__ import annotations

import pyarrow as pa

from tippers_dagster.campus.spaces.tree import SpaceTree, load_tree
from tippers_dagster.occupancy.reading import When, chunks_in_range
from tippers_dagster.occupancy.sharing import SUPPRESSED, at_begins, tree_counts
from tippers_dagster.occupancy.suppression import Mask, hide_counts, hide_labels, hide_people
from tippers_dagster.people.by_label.sharing import tree_parts
from tippers_dagster.people.counts.reading import read_people, read_people_count
from tippers_dagster.settings import Settings, get_settings


def read_shared_people(
    space: str,
    start: When,
    end: When,
    interval_seconds: int,
    people_count: str,
    *,
    settings: Settings | None = None,
) -> pa.Table:
    """As ``read_people``, with small counts hidden.

    Returns
    -------
    pa.Table
        As ``read_people``; if counts may be hidden, also ``suppressed`` (bool): all numbers of the
        bin are null because one is small, or would reveal a small one elsewhere.

    Raises
    ------
    NotCounted, NotLabelled, BadInput, OnlyCountsKept
        As ``read_people``.
    """
    settings = settings or get_settings()
    table = read_people(space, start, end, interval_seconds, people_count, settings=settings)
    if settings.smallest_count < 2:
        return table
    by = read_people_count(settings, people_count).body.by
    tree = load_tree(settings)
    masks = {
        chunk: _hidden(settings, tree, chunk, interval_seconds, by)[tree.position(space)]
        for chunk in chunks_in_range(start, end, interval_seconds, settings)
    }
    hidden = at_begins(settings, table, interval_seconds, masks)
    for at, name in enumerate(table.column_names[1:], 1):
        column = table[name].combine_chunks()
        unknown = column.is_null().to_numpy(zero_copy_only=False) | hidden
        values = column.fill_null(0).to_numpy(zero_copy_only=False)
        replaced = pa.array(values, column.type, mask=unknown)
        table = table.set_column(at, table.schema.field(at), replaced)
    return table.append_column(SUPPRESSED, pa.array(hidden))


def _hidden(settings: Settings, tree: SpaceTree, chunk: str, width: int, by: str | None) -> Mask:
    """Which spaces and bins of a chunk are hidden: bool [spaces, bins]."""
    k = settings.smallest_count
    (devices,) = tree_counts(settings, tree, chunk, width)
    people = tree_counts(settings, tree, chunk, width, "people")
    known = people[0].any()
    hidden = hide_people(tree, devices, people, k) if known else hide_counts(tree, devices, k)
    if by is None:
        return hidden
    return hidden | hide_labels(tree, tree_parts(settings, tree, chunk, width, by), k)
