"""Presence and counts in the lake: one Parquet file per chunk of each dataset.

This is the only module that knows their keys and what is in them. A file holds the rows of many
spaces, sorted by space, in row groups of whole spaces, so that the rows of one space are in one row
group. Its metadata list the spaces that it has computed, with or without rows, and where their rows
are: nothing else is read of a large file when one space is wanted.

A file appears whole or not at all. Replacing some spaces copies the rows of the others, so writers
of the same file exclude each other: each holds the lock of ``source_occupancy`` for the chunk
(``occupancy.runs``). That includes writers of derived counts, as they read the presence.
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tippers_dagster.campus.spaces.tree import SpaceTree
from tippers_dagster.errors import LakeError, LakeFileDamaged, LakeFileMissing
from tippers_dagster.occupancy.persons import plain_counts, plain_presence
from tippers_dagster.platform.lake import Lake
from tippers_dagster.platform.lake.keys import chunk_file, chunk_of, encode

_log = logging.getLogger(__name__)

Int64 = NDArray[np.int64]

SPACE = "space"

_SPACES = b"tippers.spaces"  # JSON: ids, sorted
_BOUNDS = b"tippers.bounds"  # int64 [spaces + 1]: the rows of each
_GROUPS = b"tippers.groups"  # int64 [row groups + 1]: the rows of each
_STAMPS = b"tippers.stamps"  # uint64 [spaces, stamps per space]

_ROWS_PER_ROOT = 6
"""Rows of a row group, per square root of the rows of the file.

To read one space, one row group is decoded, which costs 6 ns per row. The footer is parsed when the
file is read for the first time, which costs 2 us per row group. With twice as many rows, the first
time takes a quarter less, and all later ones a sixth more. Measured with
``python -m benchmarks.reading``.
"""


@dataclass(frozen=True)
class Dataset:
    """Files of one kind, one per chunk."""

    folder: str
    plain: Callable[[pa.Table], pa.Table] = lambda rows: rows
    """Brings rows into the form of files, whatever they were put together from."""

    def key(self, chunk: str) -> str:
        """The key of a chunk's file."""
        return chunk_file(f"{self.folder}/", chunk)


PRESENCE = Dataset("presence", plain_presence)
"""Merged intervals per device of each space that has its own sessions: device, start, end; and per
person, if any are known (``occupancy.persons``)."""

SOURCE_COUNTS = Dataset("occupancy/source", plain_counts)
"""Counts of spaces without children: interval_seconds, interval_begin_time, number_connections; and
of people, if any are known: number_people, number_other_devices."""

DERIVED_COUNTS = Dataset("occupancy/derived", plain_counts)
"""The same of spaces with children."""


def labelled_counts(name: str) -> Dataset:
    """Counts by label: interval_seconds, interval_begin_time, a column per label."""
    return Dataset(f"labelled/{encode(name)}")


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of some spaces in one chunk, grouped by space.

    Attributes
    ----------
    spaces
        Ids; also those without rows.
    bounds
        int64 [n + 1]: the rows of each.
    table
        The rows, without the space.
    stamps
        uint64 [n, any]: what is kept about each besides its rows.
    """

    spaces: list[str]
    bounds: Int64
    table: pa.Table
    stamps: NDArray[np.uint64] | None = None

    @classmethod
    def of_tables(
        cls,
        spaces: list[str],
        tables: Sequence[pa.Table],
        stamps: NDArray[np.uint64] | None = None,
    ) -> Rows:
        """The rows of one table per space."""
        plain = _concat([table.replace_schema_metadata() for table in tables])
        bounds = np.append(0, np.cumsum([table.num_rows for table in tables]))
        return cls(spaces, bounds, plain, stamps)

    @property
    def owner(self) -> Int64:
        """Per row, the position of its space."""
        return np.repeat(np.arange(len(self.spaces)), np.diff(self.bounds))

    def of(self, position: int) -> pa.Table:
        """The rows of one space."""
        low, high = self.bounds[position : position + 2]
        return self.table.slice(low, high - low)

    def at(self, positions: NDArray[np.intp]) -> Rows:
        """Some of the spaces, in this order."""
        bounds = _bounds(np.diff(self.bounds)[positions])
        return Rows(
            [self.spaces[i] for i in positions],
            bounds,
            _gather(self.table, self.bounds[:-1][positions], bounds),
            None if self.stamps is None else self.stamps[positions],
        )

    @staticmethod
    def joined(parts: Sequence[Rows]) -> Rows:
        """The spaces of several parts, one after another."""
        if len(parts) == 1:
            return parts[0]
        stamps = [part.stamps for part in parts if part.stamps is not None]
        return Rows(
            [space for part in parts for space in part.spaces],
            _bounds(np.concatenate([np.diff(part.bounds) for part in parts])),
            _concat([part.table for part in parts]),
            np.concatenate(stamps) if len(stamps) == len(parts) else None,
        )


# --- writing ------------------------------------------------------------------------------------
def write(lake: Lake, dataset: Dataset, chunk: str, rows: Rows) -> None:
    """Write a chunk's file, with these spaces only."""
    order = np.array(sorted(range(len(rows.spaces)), key=rows.spaces.__getitem__), np.intp)
    rows = rows.at(order)
    rows = Rows(rows.spaces, rows.bounds, dataset.plain(rows.table), rows.stamps)
    # A group begins with the first space that begins in another stretch of this many rows.
    size = max(1, int(_ROWS_PER_ROOT * int(rows.bounds[-1]) ** 0.5))
    edges = np.flatnonzero(np.diff(rows.bounds[:-1] // size, prepend=-1))
    edges = np.append(edges, len(rows.spaces))
    groups, distinct = np.unique(rows.bounds[edges], return_index=True)
    pieces = [_with_space(rows, low, high) for low, high in pairwise(edges[distinct].tolist())]
    schema = pa.schema([pa.field(SPACE, _SPACE_TYPE), *rows.table.schema])
    metadata = {
        _SPACES: json.dumps(rows.spaces),
        _BOUNDS: _packed(rows.bounds),
        _GROUPS: _packed(groups),
    }
    if rows.stamps is not None:
        metadata[_STAMPS] = _packed(rows.stamps)
    lake.write_groups(dataset.key(chunk), schema, pieces, metadata)


def replace(lake: Lake, dataset: Dataset, chunk: str, rows: Rows) -> None:
    """Replace the rows of some spaces of a chunk; those of all others are copied.

    Of a damaged file nothing can be copied: reading another space then says that it is missing.
    """
    try:
        others = read_others(lake, dataset, chunk, rows.spaces)
    except LakeFileDamaged as error:
        _log.warning("%s Its other spaces have to be materialised again, too.", error)
        others = None
    write(lake, dataset, chunk, rows if others is None else Rows.joined([others, rows]))


def remove(lake: Lake, dataset: Dataset, chunk: str, spaces: Iterable[str]) -> int:
    """Remove spaces from a chunk, and the file if none is left; returns how many it had."""
    gone = set(spaces)
    try:
        before = computed_spaces(lake, dataset, chunk)
    except LakeFileDamaged:
        return 0  # it has nothing that could be kept or removed
    number = len(gone.intersection(before))
    if number == len(before):
        lake.delete(dataset.key(chunk))
    elif number:
        others = read_others(lake, dataset, chunk, gone)
        assert others is not None
        write(lake, dataset, chunk, others)
    return number


def remove_chunk(lake: Lake, dataset: Dataset, chunk: str) -> None:
    """Delete a chunk's file, if there is one."""
    lake.delete(dataset.key(chunk))


# --- reading ------------------------------------------------------------------------------------
def read(lake: Lake, dataset: Dataset, wanted: Mapping[str, Collection[str]]) -> dict[str, Rows]:
    """The rows of spaces, by chunk.

    Spaces that a file has not computed are left out, as are chunks without a file.

    Parameters
    ----------
    wanted
        The spaces of each chunk.
    """

    def one(chunk: str) -> Rows | None:
        return _read(lake, dataset.key(chunk), wanted[chunk])

    found = lake.in_threads(one, list(wanted))
    return {c: rows for c, rows in zip(wanted, found, strict=True) if rows is not None}


def read_every(lake: Lake, dataset: Dataset, chunk: str, spaces: Sequence[str], hint: str) -> Rows:
    """The rows of spaces in a chunk, in this order; none may be missing.

    Raises
    ------
    LakeFileMissing
        Names the first missing space; ``hint`` says what to do.
    """
    found = read(lake, dataset, {chunk: spaces}).get(chunk)
    return _every(lake, [dataset], chunk, spaces, found, hint)


def read_counts(
    lake: Lake, tree: SpaceTree, wanted: Mapping[str, Collection[str]]
) -> dict[str, Rows]:
    """The published counts of spaces, by chunk; otherwise as ``read``.

    Counts are in one of two files: a space without children has them in that of the source, others
    in the derived one. A space that has gained or lost children since it was counted has them in
    the other one, until it is counted again; and in a chunk of which only counts are kept, for
    good. So a space is looked for in the file where it belongs, and then in the other one. It is in
    both only while its counts are being replaced, and then those where it belongs are the new ones.
    """
    found: dict[str, list[Rows]] = {}
    for datasets in ((SOURCE_COUNTS, DERIVED_COUNTS), (DERIVED_COUNTS, SOURCE_COUNTS)):
        left = {
            chunk: [s for s in spaces if (s in tree.leaves) == (datasets[0] is SOURCE_COUNTS)]
            for chunk, spaces in wanted.items()
        }
        for dataset in datasets:
            parts = read(lake, dataset, {chunk: s for chunk, s in left.items() if s})
            for chunk, rows in parts.items():
                found.setdefault(chunk, []).append(rows)
                there = set(rows.spaces)
                left[chunk] = [s for s in left[chunk] if s not in there]
    return {chunk: Rows.joined(found[chunk]) for chunk in wanted if chunk in found}


def read_every_count(
    lake: Lake, tree: SpaceTree, chunk: str, spaces: Sequence[str], hint: str
) -> Rows:
    """The published counts of spaces in a chunk, in this order; raises as ``read_every`` does."""
    found = read_counts(lake, tree, {chunk: spaces}).get(chunk)
    return _every(lake, [SOURCE_COUNTS, DERIVED_COUNTS], chunk, spaces, found, hint)


def read_others(lake: Lake, dataset: Dataset, chunk: str, spaces: Collection[str]) -> Rows | None:
    """The rows of all other spaces of a chunk; None if there are no others."""
    others = sorted(set(computed_spaces(lake, dataset, chunk)).difference(spaces))
    return _read(lake, dataset.key(chunk), others) if others else None


def computed_spaces(lake: Lake, dataset: Dataset, chunk: str) -> list[str]:
    """The spaces that a chunk's file has computed, sorted."""
    key = dataset.key(chunk)
    try:
        return list(_index(lake, key, lake.read_metadata(key)).position)
    except LakeFileMissing:
        return []


def chunks(lake: Lake, dataset: Dataset) -> list[str]:
    """The chunks of which there is a file."""
    prefix = f"{dataset.folder}/"
    return [c for key in lake.list(prefix) if chunk_file(prefix, c := chunk_of(key)) == key]


def _every(
    lake: Lake,
    datasets: list[Dataset],
    chunk: str,
    spaces: Sequence[str],
    found: Rows | None,
    hint: str,
) -> Rows:
    at = {space: i for i, space in enumerate(found.spaces)} if found else {}
    for space in spaces:
        if space not in at:
            places = " and ".join(lake.uri(dataset.key(chunk)) for dataset in datasets)
            raise LakeFileMissing(f"{space} is missing in {places}.", hint)
    if found is None:
        return Rows([], np.zeros(1, np.int64), pa.table({}))
    return found.at(np.array([at[space] for space in spaces], np.intp))


@dataclass(eq=False)
class _Index:
    """What a file's metadata say."""

    position: Mapping[str, int]
    bounds: Int64
    groups: Int64
    stamps: NDArray[np.uint64] | None

    def groups_of(self, at: NDArray[np.intp]) -> NDArray[np.intp]:
        """The row groups in which spaces have rows, in order."""
        begins, ends = self.bounds[at], self.bounds[at + 1]
        group = self.groups.searchsorted(begins[begins < ends], side="right") - 1
        return group if group.size < 2 else np.unique(group)

    def begins_in(self, groups: NDArray[np.intp], at: NDArray[np.intp]) -> Int64:
        """Where the rows of spaces begin if these row groups are put one after another."""
        begins = self.bounds[at]
        if not groups.size:
            return begins
        firsts = self.groups[groups]
        if groups.size == 1:
            return begins - firsts
        skipped = firsts - _bounds(self.groups[groups + 1] - firsts)[:-1]
        group = firsts.searchsorted(begins, side="right") - 1
        return begins - skipped[np.maximum(group, 0)]


def _read(lake: Lake, key: str, spaces: Collection[str]) -> Rows | None:
    """Spaces of a file; None if there is no file."""
    index: _Index | None = None
    at = groups = np.empty(0, np.intp)

    def choose(metadata: dict[bytes, bytes]) -> list[int]:
        nonlocal index, at, groups
        index = _index(lake, key, metadata)
        known = index.position
        at = np.array([known[space] for space in spaces if space in known], np.intp)
        groups = index.groups_of(at)
        return groups.tolist()

    try:
        table = lake.read_groups(key, choose, without=[SPACE])
    except LakeFileMissing:
        return None
    assert index is not None
    bounds = _bounds(index.bounds[at + 1] - index.bounds[at])
    return Rows(
        [space for space in spaces if space in index.position],
        bounds,
        _gather(table, index.begins_in(groups, at), bounds),
        None if index.stamps is None else index.stamps[at],
    )


def _index(lake: Lake, key: str, metadata: dict[bytes, bytes]) -> _Index:
    try:
        packed = metadata[_SPACES], metadata[_BOUNDS], metadata[_GROUPS]
    except KeyError as error:
        raise LakeError(
            f"{lake.uri(key)} does not say which spaces it has: {error.args[0].decode()} is "
            "missing.",
            "It was written by another program: delete it and materialise it again.",
        ) from None
    return _parsed(*packed, metadata.get(_STAMPS))


@lru_cache(maxsize=256)
def _parsed(spaces: bytes, bounds: bytes, groups: bytes, stamps: bytes | None) -> _Index:
    position = _positions(spaces)
    return _Index(
        position,
        _unpacked(bounds, np.int64),
        _unpacked(groups, np.int64),
        None if stamps is None else _unpacked(stamps, np.uint64).reshape(len(position), -1),
    )


@lru_cache(maxsize=32)
def _positions(spaces: bytes) -> dict[str, int]:
    """The files of a year mostly list the same spaces."""
    return {space: i for i, space in enumerate(json.loads(spaces))}


# --- tables -------------------------------------------------------------------------------------
def times(seconds: Int64) -> pa.Array:
    """Instants in UTC seconds, as files have them: Parquet has no seconds."""
    return (
        pa.array(seconds, pa.int64()).cast(pa.timestamp("s", "UTC")).cast(pa.timestamp("ms", "UTC"))
    )


def seconds(times: pa.ChunkedArray) -> Int64:
    """The reverse of ``times``."""
    found: Int64 = times.cast(pa.timestamp("s", "UTC")).cast(pa.int64()).to_numpy()
    return found


_SPACE_TYPE = pa.dictionary(pa.int32(), pa.string())


def _with_space(rows: Rows, low: int, high: int) -> pa.Table:
    """The rows of consecutive spaces, with their ids; one row group."""
    bounds = rows.bounds[low : high + 1]
    codes = np.repeat(np.arange(high - low, dtype=np.int32), np.diff(bounds))
    spaces = pa.DictionaryArray.from_arrays(
        pa.array(codes), pa.array(rows.spaces[low:high], pa.string())
    )
    table = rows.table.slice(bounds[0], bounds[-1] - bounds[0])
    return table.add_column(0, pa.field(SPACE, _SPACE_TYPE), spaces)


def _concat(tables: Sequence[pa.Table]) -> pa.Table:
    """Tables in one; columns of people are null where a table does not have them."""
    return pa.concat_tables(tables, promote_options="default")


def _gather(table: pa.Table, begins: Int64, bounds: Int64) -> pa.Table:
    """Stretches of a table's rows, put between these bounds; a slice if they are neighbours."""
    total = int(bounds[-1])
    if not total:
        return table.slice(0, 0)
    if len(begins) == 1:
        return table.slice(int(begins[0]), total)
    lengths = np.diff(bounds)
    shifts = begins - bounds[:-1]
    used = shifts[lengths > 0]
    if (used == used[0]).all():
        return table.slice(int(used[0]), total)
    rows = np.repeat(shifts, lengths) + np.arange(total)
    return table.take(pa.array(rows))


def _bounds(lengths: Int64) -> Int64:
    """Where each stretch begins, and the last ends, if they are put one after another."""
    bounds = np.zeros(len(lengths) + 1, np.int64)
    lengths.cumsum(out=bounds[1:])
    return bounds


def _packed(values: NDArray[np.int64] | NDArray[np.uint64]) -> bytes:
    return base64.b64encode(values.astype(values.dtype.newbyteorder("<")).tobytes())


def _unpacked(text: bytes, kind: type) -> NDArray:
    return np.frombuffer(base64.b64decode(text), np.dtype(kind).newbyteorder("<"))
