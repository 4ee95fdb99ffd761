"""Devices per label in every space of a chunk: checked against occupancy, and written as tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tippers_dagster.errors import TippersError
from tippers_dagster.occupancy.subtrees import Edges, Grids
from tippers_dagster.people.by_label.devices import DeviceLabels
from tippers_dagster.platform.fingerprint import mix, of_text
from tippers_dagster.platform.lake import Lake
from tippers_dagster.platform.lake.keys import occupancy_key

PRINT_METADATA = b"tippers.presence"
"""File metadata: the fingerprint of the presence that it was counted from."""

LABELS_METADATA = b"tippers.labels"
"""File metadata: the fingerprint of the labels that it was counted with."""


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
def read_totals(lake: Lake, chunk: str, spaces: list[str], edges: Edges) -> Grids:
    """The published occupancy of spaces in a chunk: per width, int32 [spaces, bins].

    Raises
    ------
    LakeFileMissing
        When the file of a space is missing.
    """
    keys = [occupancy_key(space, chunk) for space in spaces]
    tables = lake.read_every(keys, "Materialize its occupancy again.")
    return dense(tables, ["number_connections"], edges, of="occupancy")["number_connections"]


def dense(tables: list[pa.Table], columns: list[str], edges: Edges, *, of: str) -> dict[str, Grids]:
    """Sparse tables of several spaces as arrays: per column and width, int32 [spaces, bins].

    Raises
    ------
    TippersError
        When a row does not begin at the start of a bin.
    """
    made = {
        column: {w: np.zeros((len(tables), len(e) - 1), np.int32) for w, e in edges.items()}
        for column in columns
    }
    if not tables:
        return made
    plain = ["interval_seconds", "interval_begin_time", *columns]
    merged = pa.concat_tables([table.select(plain).replace_schema_metadata() for table in tables])
    space = np.repeat(np.arange(len(tables)), [table.num_rows for table in tables])
    widths = merged["interval_seconds"].to_numpy()
    begins = (
        merged["interval_begin_time"].cast(pa.timestamp("s", "UTC")).cast(pa.int64()).to_numpy()
    )
    for width, edge in edges.items():
        rows = np.flatnonzero(widths == width)
        at = np.searchsorted(edge[:-1], begins[rows])
        if (edge[np.minimum(at, len(edge) - 1)] != begins[rows]).any():
            raise TippersError(
                f"The bins of {width} s in files of {of} do not match those of this deployment.",
                "They were written with another TIPPERS_TIMEZONE: set that again, or delete them.",
            )
        for column in columns:
            made[column][width][space[rows], at] = merged[column].to_numpy()[rows]
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
def sparse_tables(
    spaces: list[str],
    prints: np.ndarray,
    labels: DeviceLabels,
    labels_print: int,
    parts: Grids,
    edges: Edges,
) -> Iterator[tuple[str, pa.Table]]:
    """One table per space with its non-empty bins, sorted by (width, bin).

    Parameters
    ----------
    prints
        uint64 per space: the fingerprint of its presence, stored in the table's metadata.
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
    begins = pa.array(np.concatenate([begin for _, _, begin in pieces])[order])
    table = pa.table(
        {
            "interval_seconds": np.concatenate([width for _, width, _ in pieces])[order],
            "interval_begin_time": begins.cast(pa.timestamp("s", tz="UTC")),
            **{name: counts[:, i] for i, name in enumerate(labels.names)},
        }
    )
    bounds = np.append(0, np.cumsum(np.bincount(space, minlength=len(spaces))))
    for i, name in enumerate(spaces):
        rows = table.slice(bounds[i], bounds[i + 1] - bounds[i])
        metadata = {
            PRINT_METADATA: f"{int(prints[i]):016x}",
            LABELS_METADATA: f"{labels_print:016x}",
        }
        yield name, rows.replace_schema_metadata(metadata)


def made_from(table: pa.Table) -> tuple[int, int] | None:
    """Fingerprints of the presence and labels that a file was counted from, from its metadata."""
    found = table.schema.metadata or {}
    if PRINT_METADATA not in found or LABELS_METADATA not in found:
        return None
    return int(found[PRINT_METADATA], 16), int(found[LABELS_METADATA], 16)
