"""Counts all spaces of a chunk at once, from presence, by group of devices."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tippers_dagster.campus.spaces.tree import SpaceTree
from tippers_dagster.occupancy import files, sweep
from tippers_dagster.occupancy.persons import KNOWN, devices_only, whose_rows
from tippers_dagster.occupancy.reading import DeviceGroups
from tippers_dagster.occupancy.sweep import Presence
from tippers_dagster.platform.lake import Lake

Edges = Mapping[int, np.ndarray]
Grids = dict[int, np.ndarray]


def read_presence(
    lake: Lake, tree: SpaceTree, chunk: str, sources: list[str], groups: DeviceGroups
) -> Presence:
    """The presence of spaces in a chunk, with codes ``position in the tree * groups.rows + group``.

    Raises
    ------
    LakeFileMissing
        When the presence of a space is missing.
    """
    if not sources:
        empty = np.empty(0, np.int64)
        return sweep.merge(empty, empty.astype(np.uint64), empty, empty)
    hint = "Materialize this partition of source_occupancy again."
    rows = files.read_every(lake, files.PRESENCE, chunk, sources, hint)
    space = np.array([tree.index[s] for s in sources], np.int64)[rows.owner]
    whose = whose_rows(rows.table)
    if whose is not None:
        space = space[whose <= KNOWN]
    device, start, end = (column.to_numpy() for column in devices_only(rows.table).columns)
    return sweep.merge(space * groups.rows + groups.of(device), device, start, end)


def count_groups(
    presence: Presence, tree: SpaceTree, groups: int, chosen: np.ndarray, edges: Edges
) -> Grids:
    """Distinct devices per space, group and bin; a space counts each device of its subtree once.

    The sweep runs on a code per space and group instead of per space. A device is in one group, so
    each group's count is exact, and the groups of a bin add up to its total.

    Parameters
    ----------
    presence
        Presence of each space itself, with codes ``position in the tree * groups + group``.
    chosen
        Positions of the spaces to count.
    edges
        Per width, the edges of the bins in UTC seconds.

    Returns
    -------
    dict
        Per width, int32 [chosen, groups, bins].
    """
    n = len(tree)
    found = {
        width: np.zeros((len(chosen), groups, len(e) - 1), np.int32) for width, e in edges.items()
    }
    depth, leaf = tree.depth[chosen], tree.is_leaf[chosen]
    rows = np.flatnonzero(leaf)
    _enter(found, rows, chosen[rows], presence, n, groups, edges)
    if leaf.all():
        return found
    # Deepest first: each level starts from the merged intervals of the one below it.
    for level in range(int(tree.depth.max()) - 1, int(depth[~leaf].min()) - 1, -1):
        lifted = np.where(tree.depth > level, tree.ancestors_at(level), np.arange(n))
        code = lifted[:, None] * groups + np.arange(groups)
        presence = sweep.union(presence, np.where(lifted[:, None] < 0, -1, code).ravel())
        rows = np.flatnonzero(~leaf & (depth == level))
        _enter(found, rows, chosen[rows], presence, n, groups, edges)
    return found


def _enter(
    found: Grids,
    rows: np.ndarray,
    spaces: np.ndarray,
    presence: Presence,
    n: int,
    groups: int,
    edges: Edges,
) -> None:
    """Count the spaces at some positions, and enter the counts in the given rows of ``found``."""
    if not rows.size:
        return
    place = np.full((n, groups), -1, np.int64)
    place[spaces] = np.arange(rows.size * groups).reshape(rows.size, groups)
    mine = sweep.union(presence, place.ravel())
    for width, grid in sweep.count_many(mine, rows.size * groups, edges).items():
        found[width][rows] = grid.reshape(rows.size, groups, -1)
