"""Devices per label in every space of a chunk: checked against occupancy, and written as tables."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tippers_dagster.campus.spaces.tree import SpaceTree
from tippers_dagster.errors import TippersError
from tippers_dagster.occupancy import files
from tippers_dagster.occupancy.files import Rows
from tippers_dagster.occupancy.subtrees import Edges, Grids
from tippers_dagster.people.by_label.devices import DeviceLabels
from tippers_dagster.platform.fingerprint import mix, of_text
from tippers_dagster.platform.lake import Lake


class PartsDiffer(TippersError):
    """The labels of a bin do not add up to its occupancy; nothing is published."""


@dataclass(frozen=True)
class Checked:
    """Numbers of bins (of all spaces and widths) and devices checked against occupancy."""

    bins: int
    devices: int


def labels_fingerprint(labels: DeviceLabels) -> int:
    """A fingerprint of each device's label."""
    rows = mix(labels.groups.devices, labels.groups.group.astype(np.int64))
    return (int(rows.sum(dtype=np.uint64)) + of_text(*labels.names)) % 2**64


# --- totals -------------------------------------------------------------------------------------
def read_totals(lake: Lake, tree: SpaceTree, chunk: str, spaces: list[str], edges: Edges) -> Grids:
    """The published occupancy of spaces in a chunk: per width, int32 [spaces, bins].

    Raises
    ------
    LakeFileMissing
        When a space has none.
    """
    hint = "Materialize its occupancy again."
    rows = files.read_every_count(lake, tree, chunk, spaces, hint)
    return dense(rows, ["number_connections"], edges, of="occupancy")["number_connections"]


def dense(rows: Rows, columns: list[str], edges: Edges, *, of: str) -> dict[str, Grids]:
    """Sparse counts of several spaces as arrays: per column and width, int32 [spaces, bins].

    Raises
    ------
    TippersError
        When a row does not begin at the start of a bin.
    """
    made = {
        column: {w: np.zeros((len(rows.spaces), len(e) - 1), np.int32) for w, e in edges.items()}
        for column in columns
    }
    if not rows.spaces:
        return made
    space, widths = rows.owner, rows.table["interval_seconds"].to_numpy()
    begins = files.seconds(rows.table["interval_begin_time"])
    for width, edge in edges.items():
        mine = np.flatnonzero(widths == width)
        at = np.searchsorted(edge[:-1], begins[mine])
        if (edge[np.minimum(at, len(edge) - 1)] != begins[mine]).any():
            raise TippersError(
                f"The bins of {width} s in files of {of} do not match those of this deployment.",
                "They were written with another TIPPERS_TIMEZONE: set that again, or delete them.",
            )
        for column in columns:
            made[column][width][space[mine], at] = rows.table[column].to_numpy()[mine]
    return made


def check_parts(
    chunk: str, spaces: list[str], parts: Grids, wholes: Grids, edges: Edges
) -> Checked:
    """Check that the labels of every space and bin add up to its occupancy.

    Raises
    ------
    PartsDiffer
        Naming the space, the bin and the numbers.
    """
    bins = devices = 0
    for width, grid in parts.items():
        total, occupancy = grid.sum(axis=1), wholes[width]
        if (total != occupancy).any():
            row, column = np.argwhere(total != occupancy)[0]
            begin = np.datetime64(int(edges[width][column]), "s")
            raise PartsDiffer(
                f"{spaces[row]} in {chunk}: the labels of the bin of {width} s from {begin}Z add "
                f"up to {total[row, column]} devices, but its occupancy is "
                f"{occupancy[row, column]}."
            )
        bins += occupancy.size
        devices += int(occupancy.sum())
    return Checked(bins, devices)


# --- tables -------------------------------------------------------------------------------------
def sparse(
    spaces: list[str],
    prints: np.ndarray,
    labels: DeviceLabels,
    labels_print: int,
    parts: Grids,
    edges: Edges,
) -> Rows:
    """The non-empty bins of each space, sorted by (width, bin), stamped with what they were counted
    from.

    Parameters
    ----------
    prints
        uint64 per space: the fingerprint of its presence.
    parts
        Per width, int32 [spaces, labels, bins].
    """
    pieces = []
    for width in sorted(parts):
        row, column = np.nonzero(parts[width].any(axis=1))
        pieces.append((row, np.full(row.size, width, np.int32), edges[width][column]))
    cells = [
        parts[width].transpose(0, 2, 1)[row, np.searchsorted(edges[width], begin)]
        for width, (row, _, begin) in zip(sorted(parts), pieces, strict=True)
    ]
    space = np.concatenate([row for row, _, _ in pieces])
    order = np.argsort(space, kind="stable")
    counts = np.concatenate(cells)[order]
    begins = np.concatenate([begin for _, _, begin in pieces])[order]
    table = pa.table(
        {
            "interval_seconds": np.concatenate([width for _, width, _ in pieces])[order],
            "interval_begin_time": files.times(begins),
            **{name: counts[:, i] for i, name in enumerate(labels.names)},
        }
    )
    bounds = np.append(0, np.cumsum(np.bincount(space, minlength=len(spaces))))
    return Rows(spaces, bounds, table, stamps(prints, labels_print))


def stamps(prints: np.ndarray, labels_print: int) -> np.ndarray:
    """What counts were made from, uint64 [spaces, 2]: the fingerprints of each space's presence and
    of the labels.
    """
    return np.column_stack([prints, np.full(len(prints), labels_print, np.uint64)])
