"""Reads occupancy from the lake, without a running Dagster.

Counts of published widths are read as stored; other widths are counted from presence on demand.
"""

from __future__ import annotations

import datetime as dt
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tippers_dagster.campus.local_time import (
    MICRO,
    PUBLISHED_WIDTHS,
    Int64,
    LocalClock,
    check_width,
    chunk_index,
    chunk_keys,
)
from tippers_dagster.campus.spaces.tree import SpaceTree, load_tree
from tippers_dagster.errors import BadInput, LakeError, MissingPartitions, TippersError
from tippers_dagster.occupancy import files, staleness, sweep
from tippers_dagster.occupancy.files import PRESENCE, Rows
from tippers_dagster.occupancy.persons import (
    CONNECTIONS,
    OTHERS,
    PEOPLE,
    devices_only,
    known_parts,
    of_rows,
    people_only,
    with_people,
)
from tippers_dagster.occupancy.repack import occupancy_lake
from tippers_dagster.occupancy.tables import sealed_chunk, session_space
from tippers_dagster.platform.lake import Lake
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings, get_settings

if TYPE_CHECKING:
    import pandas as pd

When = str | dt.date | dt.datetime
Counts = NDArray[np.int32]
OnMissing = Literal["raise", "report"]
Count = Literal["devices", "people"]
"""What is counted: devices; or people where they are known, and the devices of all others."""

COLUMNS: Mapping[Count, tuple[str, ...]] = {
    "devices": (CONNECTIONS,),
    "people": (PEOPLE, OTHERS),
}
"""The columns of counts."""

MISSING_METADATA = b"tippers.missing_chunks"
"""Metadata of the result's schema: a JSON list of the chunks that are not computed."""

STALE_METADATA = b"tippers.stale_chunks"
"""The same for chunks whose counts are out of date because the source has changed."""

CHUNKS_AT_ONCE = 8
"""Chunks whose presence is read at once."""

CELLS_AT_ONCE = 1 << 24
"""Counts of several spaces that are in memory at once: groups times bins."""

MAX_BINS = 50_000_000
"""A range with more bins is taken for a typing error."""


class StaleOccupancy(UserWarning):
    """The counts that were read are out of date."""


class OnlyCountsKept(TippersError):
    """Counts that are not published were requested for a chunk whose presence is deleted."""


_MAX_NAMED = 20
_EPOCH = dt.datetime(1970, 1, 1)


def read_occupancy(
    space: str,
    start: When,
    end: When,
    interval_seconds: int,
    *,
    dense: bool = True,
    as_pandas: bool = False,
    settings: Settings | None = None,
    on_missing: OnMissing = "raise",
    count: Count = "devices",
) -> pa.Table | pd.DataFrame:
    """Distinct devices, or people, in a space, per bin.

    Parameters
    ----------
    space
        A space's id; a parent counts the devices in its whole subtree, each once.
    start, end
        The bins that *begin* in the half-open range [start, end). A date means its midnight; a
        time without an offset is local to the deployment, one with an offset is an instant.
        Strings are ISO 8601.
    interval_seconds
        Width of a bin: a multiple of 60 from 60 to 86400.
    dense
        All bins, including those with zero devices; otherwise only non-empty bins.
    as_pandas
        Return a DataFrame instead of an Arrow table, with missing and stale chunks in ``attrs``.
    settings
        Defaults to the settings of the process.
    on_missing
        ``"raise"``, or ``"report"``: the schema's metadata (``MISSING_METADATA``) list the chunks
        that are not computed, and their bins are null if ``dense``, otherwise absent.
    count
        ``"people"``: the distinct persons, where they are known; and apart from these the devices
        none of whose sessions that overlap the bin has a person.

    Returns
    -------
    pa.Table
        ``interval_begin_time`` (timestamp[s] in the deployment's zone), in order;
        ``number_connections`` (int32), or ``number_people`` and ``number_other_devices``. Chunks
        whose counts are known to be out of date are listed in the schema's metadata
        (``STALE_METADATA``) and in a ``StaleOccupancy`` warning; the source itself is not checked.

    Raises
    ------
    BadInput
        An unknown or deleted space (with similar ids); an invalid time, range or width.
    MissingPartitions
        Naming the chunks that are not computed.
    LakeError
        A file cannot be read, or was written for another time zone or chunk length.
    """
    _check_count(count)
    settings = settings or get_settings()
    bins = _bins(start, end, interval_seconds, settings)
    lake = occupancy_lake(settings)
    if interval_seconds in PUBLISHED_WIDTHS:
        by_space, (missing,) = _published(lake, settings, [space], bins, count)
        counts = by_space[0]
    else:
        ((counts, missing),) = _counted(lake, settings, [space], bins, _HOW[count])
    if missing and on_missing == "raise":
        raise _missing_partitions(space, missing, bins)
    stale = staleness.stale_chunks(settings, space, [c for c in bins.chunks if c not in missing])
    if stale:
        warnings.warn(
            f"Occupancy of space {space!r} is out of date in {_named(stale)}: the source has "
            "changed. Run `tippers occupancy materialize` to update it.",
            StaleOccupancy,
            stacklevel=2,
        )
    table = _result(bins, COLUMNS[count], counts, missing, dense, settings.timezone)
    table = table.replace_schema_metadata(
        {**(table.schema.metadata or {}), STALE_METADATA: json.dumps(stale)}
    )
    if not as_pandas:
        return table
    frame = table.to_pandas()
    frame.attrs |= {"missing_chunks": missing, "stale_chunks": stale}
    return frame


@dataclass(frozen=True, eq=False)
class SpaceCounts:
    """Distinct devices, or people, of several spaces over the same bins.

    Attributes
    ----------
    spaces
        Ids, in the order requested.
    edges
        UTC seconds, n + 1 for n bins.
    counts
        int32 [spaces, bins]; meaningless where not ``computed``.
    others
        The same of the devices of people who are not known; zeros if all devices are counted.
    computed
        bool [spaces, bins].
    missing
        Per space, the chunks that are not computed.
    """

    spaces: list[str]
    edges: Int64
    counts: Counts
    others: Counts
    computed: NDArray[np.bool_]
    missing: list[list[str]]


def read_counts(
    spaces: list[str],
    start: When,
    end: When,
    interval_seconds: int,
    *,
    settings: Settings | None = None,
    count: Count = "devices",
) -> SpaceCounts:
    """Distinct devices, or people, in several spaces, per bin; uncomputed bins are marked, never
    zero.

    As ``read_occupancy``, but all files of a published width are read at once.

    Raises
    ------
    BadInput
        An unknown or deleted space (with similar ids); an invalid range or width.
    LakeError
        A file cannot be read, or was written for another time zone or chunk length.
    """
    _check_count(count)
    settings = settings or get_settings()
    bins = _bins(start, end, interval_seconds, settings)
    lake = occupancy_lake(settings)
    if interval_seconds in PUBLISHED_WIDTHS:
        counts, missing = _published(lake, settings, spaces, bins, count)
    else:
        counts, missing = np.zeros((len(spaces), len(COLUMNS[count]), len(bins)), np.int32), []
        for i, (found, chunks) in enumerate(_counted(lake, settings, spaces, bins, _HOW[count])):
            counts[i] = found
            missing.append(chunks)
    of_devices = count == "devices"
    others = np.zeros_like(counts[:, 0]) if of_devices else counts[:, 1]
    computed = np.array([~_absent(bins, chunks) for chunks in missing], bool)
    return SpaceCounts(
        spaces, bins.edges, counts[:, 0], others, computed.reshape(others.shape), missing
    )


@dataclass(frozen=True, eq=False)
class DeviceGroups:
    """A partition of all devices: each is in one group, unlisted ones in the last group.

    Attributes
    ----------
    devices
        Device ids of the lake (uint64), sorted and unique.
    group
        The group of each device: 0 to ``named - 1``, or ``named`` for the last.
    named
        Number of groups besides the last.
    """

    devices: NDArray[np.uint64]
    group: NDArray[np.int32]
    named: int

    @property
    def rows(self) -> int:
        """Number of groups."""
        return self.named + 1

    def in_chunk(self, chunk: str) -> DeviceGroups:
        """The same in every chunk."""
        return self

    def of(self, device: NDArray[np.uint64]) -> NDArray[np.int32]:
        """The group of each device."""
        found = np.full(len(device), self.named, np.int32)
        if self.devices.size:
            at = np.minimum(np.searchsorted(self.devices, device), self.devices.size - 1)
            known = self.devices[at] == device
            found[known] = self.group[at[known]]
        return found


@dataclass(frozen=True, eq=False)
class GroupCounts:
    """Distinct devices of a space per group and bin.

    Attributes
    ----------
    edges
        n + 1 for n bins, UTC seconds.
    counts
        int32 [groups, bins]; 0 where not computed.
    computed
        bool [bins]: the bin's chunk is computed.
    missing
        The chunks that are not computed.
    """

    edges: Int64
    counts: Counts
    computed: NDArray[np.bool_]
    missing: list[str]


class GroupsByChunk(Protocol):
    """Partitions of all devices that may differ between chunks, into the same number of groups."""

    @property
    def rows(self) -> int:
        """Number of groups."""

    def in_chunk(self, chunk: str) -> DeviceGroups:
        """The partition that applies in a chunk."""


def read_groups(
    spaces: Sequence[str],
    start: When,
    end: When,
    interval_seconds: int,
    groups: GroupsByChunk,
    *,
    settings: Settings | None = None,
    published: Published | None = None,
) -> Iterator[GroupCounts]:
    """Distinct devices in each of several spaces, per bin and group of devices.

    Exact, as counted from presence, which is read for many spaces at once. The groups of a bin add
    up to the result of ``read_occupancy``.

    Parameters
    ----------
    published
        Counts of chunks that need not be counted again.

    Raises
    ------
    BadInput
        An unknown space; an invalid time, range or width.
    OnlyCountsKept
        A chunk that is not published and whose presence is deleted.
    """
    settings = settings or get_settings()
    bins = _bins(start, end, interval_seconds, settings)
    lake = occupancy_lake(settings)
    how = _ByGroup(groups)
    for counts, missing in _counted(lake, settings, spaces, bins, how, published):
        yield GroupCounts(bins.edges, counts, ~_absent(bins, missing), missing)


@dataclass(frozen=True, eq=False)
class PeopleCounts:
    """Distinct people of a space where they are known, and the devices of all others by group.

    Attributes
    ----------
    edges
        n + 1 for n bins, UTC seconds.
    people
        int32 [bins]; 0 where not computed, like all counts.
    devices
        int32 [bins], all distinct devices.
    others
        int32 [groups, bins]: devices none of whose sessions that overlap the bin has a person.
    computed
        bool [bins]: the bin's chunk is computed.
    missing
        The chunks that are not computed.
    """

    edges: Int64
    people: Counts
    devices: Counts
    others: Counts
    computed: NDArray[np.bool_]
    missing: list[str]


def read_people_counts(
    spaces: Sequence[str],
    start: When,
    end: When,
    interval_seconds: int,
    groups: GroupsByChunk,
    *,
    settings: Settings | None = None,
) -> Iterator[PeopleCounts]:
    """People in each of several spaces per bin, and the devices of others by group; exact.

    Raises
    ------
    BadInput
        An unknown space; an invalid time, range or width.
    OnlyCountsKept
        A chunk whose presence is deleted.
    """
    settings = settings or get_settings()
    bins = _bins(start, end, interval_seconds, settings)
    lake = occupancy_lake(settings)
    for counts, missing in _counted(lake, settings, spaces, bins, _PeopleByGroup(groups)):
        people, devices, others = counts[0], counts[1], counts[2:]
        yield PeopleCounts(bins.edges, people, devices, others, ~_absent(bins, missing), missing)


@dataclass(frozen=True, eq=False)
class Published:
    """Counts by group that are stored in the lake.

    Attributes
    ----------
    columns
        Column names of the groups, in order.
    tables
        Per space and chunk: ``interval_seconds``, ``interval_begin_time`` and those columns;
        non-empty bins only.
    """

    columns: Sequence[str]
    tables: Mapping[tuple[str, str], pa.Table]


def chunks_in_range(start: When, end: When, interval_seconds: int, settings: Settings) -> list[str]:
    """The chunks that contain bins of a range, in order; raises as ``read_occupancy`` does."""
    return _bins(start, end, interval_seconds, settings).chunks


def _check_count(count: str) -> None:
    if count not in COLUMNS:
        raise BadInput(f"{count!r} cannot be counted.", "Count devices or people.")


def missing_chunks(occupancy: pa.Table) -> list[str]:
    """The uncomputed chunks that ``read_occupancy(..., on_missing="report")`` reported."""
    found: list[str] = json.loads((occupancy.schema.metadata or {}).get(MISSING_METADATA, b"[]"))
    return found


# --- which bins --------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class _Bins:
    """The requested bins, and the chunks that contain them."""

    width: int
    edges: Int64  # n + 1 for n bins, UTC seconds
    chunks: list[str]  # in order; each contains at least one of the bins
    chunk_of: Int64  # per bin, index into chunks

    def __len__(self) -> int:
        return len(self.chunk_of)

    @cached_property
    def begins(self) -> Int64:
        return self.edges[:-1]

    def of_chunk(self, index: int) -> slice:
        """The bins of one chunk, which are contiguous."""
        low, high = np.searchsorted(self.chunk_of, [index, index + 1])
        return slice(int(low), int(high))


def _bins(start: When, end: When, width: int, settings: Settings) -> _Bins:
    check_width(width)
    clock = _clock(settings.timezone)
    first, last = _instant(start, clock), _instant(end, clock)
    if last <= first:
        raise BadInput(f"The range {start} to {end} is empty.", "The end is excluded.")
    if (last - first) // width > MAX_BINS:
        raise BadInput(
            f"The range {start} to {end} has over {MAX_BINS:,} bins of {width} s.",
            "Choose a shorter range; is a year mistyped?",
        )
    first_day, last_day = _local_date(first, clock), _local_date(last - 1, clock)
    next_day = last_day + dt.timedelta(days=1)
    edges = clock.bin_edges(first_day, next_day, width)
    low, high = np.searchsorted(edges[:-1], [first, last])
    edges = edges[low : high + 1]
    chunks = chunk_keys(first_day, next_day, settings.chunk)
    chunk_of = chunk_index(edges[:-1], clock.chunk_boundaries(chunks, settings.chunk))
    used, chunk_of = np.unique(chunk_of, return_inverse=True)
    return _Bins(width, edges, [chunks[i] for i in used], chunk_of)


@lru_cache(maxsize=4)
def _clock(timezone: str) -> LocalClock:
    return LocalClock(timezone)


def _instant(when: When, clock: LocalClock) -> int:
    """UTC seconds, rounded up: bins begin on whole seconds, so the same bins are selected."""
    if isinstance(when, str):
        when = _parsed(when)
    if not isinstance(when, dt.datetime):
        return clock.day_start(when)
    if when.tzinfo is not None:
        micros = (when - _EPOCH.replace(tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)
    else:
        local = (when - _EPOCH) // dt.timedelta(microseconds=1)
        micros = int(clock.to_utc(np.array([local]), fold=when.fold)[0])
    return -(-micros // MICRO)


def _parsed(text: str) -> dt.date:
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        pass
    try:
        return dt.datetime.fromisoformat(text)
    except ValueError:
        raise BadInput(
            f"{text!r} is not a time.",
            "Examples: 2025-01-06, 2025-01-06T09:00, 2025-01-06T09:00-08:00.",
        ) from None


def _local_date(utc: int, clock: LocalClock) -> dt.date:
    local = int(clock.to_local(np.array([utc * MICRO]))[0]) // MICRO
    return (_EPOCH + dt.timedelta(seconds=local)).date()


# --- counts of the bins ------------------------------------------------------------------------
def _published(
    lake: Lake, settings: Settings, spaces: list[str], bins: _Bins, count: Count
) -> tuple[Counts, list[list[str]]]:
    """Counts of a published width, as stored in the lake.

    int32 [spaces, columns, bins], and the missing chunks of each; BadInput for unknown spaces, even
    if the lake has their counts.
    """
    tree = load_tree(settings)
    for space in spaces:
        tree.position(space)
    row = {space: i for i, space in enumerate(dict.fromkeys(spaces))}
    found = files.read_counts(lake, tree, {chunk: list(row) for chunk in bins.chunks})
    there = {chunk: set(rows.spaces) for chunk, rows in found.items()}
    missing = [[c for c in bins.chunks if space not in there.get(c, ())] for space in spaces]
    counts = np.zeros((len(row), len(COLUMNS[count]), len(bins)), np.int32)
    if found:
        rows = Rows.joined(list(found.values()))
        row_of = np.array([row[space] for space in rows.spaces], np.int64)[rows.owner]
        table = rows.table if count == "devices" else with_people(rows.table)
        for i, column in enumerate(COLUMNS[count]):
            _enter_counts(counts[:, i], row_of, bins, table, column)
    return counts[[row[space] for space in spaces]], missing


def _enter_counts(
    counts: Counts,
    row: Int64 | int,
    bins: _Bins,
    table: pa.Table,
    column: str,
) -> None:
    """Enter counts in their bins, in the given row or rows."""
    begins = files.seconds(table["interval_begin_time"])
    wanted = table["interval_seconds"].to_numpy() == bins.width
    wanted &= (begins >= bins.edges[0]) & (begins < bins.edges[-1])
    begins = begins[wanted]
    at = np.searchsorted(bins.begins, begins, side="right") - 1
    wrong = bins.begins[at] != begins
    if wrong.any():
        raise LakeError(
            f"In the lake, a bin of {bins.width} s begins at "
            f"{np.datetime64(int(begins[wrong][0]), 's')}Z, where none begins in this deployment.",
            "It was written with another TIPPERS_TIMEZONE: set that again, or compute the "
            "occupancy again.",
        )
    row = row[wanted] if isinstance(row, np.ndarray) else row
    counts[row, at] = table[column].to_numpy()[wanted]


class _How(Protocol):
    """What is counted from presence, in a number of rows."""

    @property
    def rows(self) -> int: ...

    def count(self, chunk: str, presence: pa.Table, edges: Int64) -> Counts:
        """int32 [rows, bins], over the presence of several spaces together."""


@dataclass(frozen=True)
class _ByGroup:
    """Devices by group."""

    groups: GroupsByChunk

    @property
    def rows(self) -> int:
        return self.groups.rows

    def count(self, chunk: str, presence: pa.Table, edges: Int64) -> Counts:
        device, start, end = (column.to_numpy() for column in devices_only(presence).columns)
        # Groups take the place of spaces: a device is in one group while it is in any space.
        merged = sweep.merge(self.groups.in_chunk(chunk).of(device), device, start, end)
        return sweep.count(merged, self.rows, edges)


@dataclass(frozen=True)
class _PeopleByGroup:
    """People, all devices, and by group the devices of people who are not known."""

    groups: GroupsByChunk

    @property
    def rows(self) -> int:
        return 2 + self.groups.rows

    def count(self, chunk: str, presence: pa.Table, edges: Int64) -> Counts:
        by_group = _ByGroup(self.groups)
        every = by_group.count(chunk, presence, edges)
        known = by_group.count(chunk, known_parts(presence), edges)
        people = _ByGroup(ALL_DEVICES).count(chunk, people_only(presence), edges)
        devices = every.sum(axis=0, dtype=np.int32)
        return np.concatenate([people, devices[None], every - known])


class _People:
    """People, and the devices of those who are not known."""

    rows = len(COLUMNS["people"])

    def count(self, chunk: str, presence: pa.Table, edges: Int64) -> Counts:
        together = np.zeros(presence.num_rows, np.int8)
        counted = of_rows(together, presence).count_many(1, {0: edges})[0]
        return np.concatenate([counted.people, counted.others])


ALL_DEVICES = DeviceGroups(np.empty(0, np.uint64), np.empty(0, np.int32), 0)
"""All devices in one group."""

_HOW: Mapping[Count, _How] = {"devices": _ByGroup(ALL_DEVICES), "people": _People()}


def _counted(
    lake: Lake,
    settings: Settings,
    spaces: Sequence[str],
    bins: _Bins,
    how: _How,
    published: Published | None = None,
) -> Iterator[tuple[Counts, list[str]]]:
    """Counts of any width of each space, from the presence of the space and everything below it."""
    tree = load_tree(settings)
    below = {space: tree.subtree(space) for space in spaces}
    for some in _pieces(spaces, max(1, CELLS_AT_ONCE // (how.rows * len(bins)))):
        counting = _Counting(
            lake, settings, tree, {space: below[space] for space in some}, bins, how, published
        )
        counted = counting.counted()
        yield from (counted[space] for space in some)


class _Counting:
    """Counts some spaces, from presence that is read for all of them.

    Parameters
    ----------
    below
        Per space, what its subtree consists of.
    """

    def __init__(
        self,
        lake: Lake,
        settings: Settings,
        tree: SpaceTree,
        below: Mapping[str, list[str]],
        bins: _Bins,
        how: _How,
        published: Published | None,
    ) -> None:
        self._lake, self._settings, self._tree = lake, settings, tree
        self._below, self._bins, self._how = below, bins, how
        self._columns = published.columns if published else ()
        self._stored = published.tables if published else {}
        self._counts = {space: np.zeros((how.rows, len(bins)), np.int32) for space in below}
        self._missing: dict[str, list[str]] = {space: [] for space in below}

    def counted(self) -> dict[str, tuple[Counts, list[str]]]:
        """The counts of each space, and its missing chunks."""
        for index, (chunk, rows) in enumerate(self._presence()):
            at = {space: i for i, space in enumerate(rows.spaces)} if rows else {}
            for space, below in self._below.items():
                if (space, chunk) in self._stored:
                    self._enter(space, self._stored[space, chunk])
                elif self._lacks(chunk, [name for name in below if name not in at]):
                    self._missing[space].append(chunk)
                elif rows:
                    self._count(space, chunk, index, rows, [at[n] for n in below if n in at])
        _refuse_sealed(self._settings, self._missing, self._bins.width)
        return {space: (self._counts[space], self._missing[space]) for space in self._below}

    def _presence(self) -> Iterator[tuple[str, Rows | None]]:
        """The presence in each chunk, in order; a few are read at once, so memory is bounded."""
        for chunks in _pieces(self._bins.chunks, CHUNKS_AT_ONCE):
            wanted = {chunk: some for chunk in chunks if (some := self._wanted(chunk))}
            found = files.read(self._lake, PRESENCE, wanted)
            yield from ((chunk, found.get(chunk)) for chunk in chunks)

    def _wanted(self, chunk: str) -> list[str]:
        """The spaces whose presence is needed in a chunk."""
        counted = (
            below for space, below in self._below.items() if (space, chunk) not in self._stored
        )
        return list(dict.fromkeys(name for below in counted for name in below))

    def _enter(self, space: str, table: pa.Table) -> None:
        for row, column in enumerate(self._columns):
            _enter_counts(self._counts[space], row, self._bins, table, column)

    def _count(self, space: str, chunk: str, index: int, rows: Rows, at: list[int]) -> None:
        here = self._bins.of_chunk(index)
        mine = rows if len(at) == len(rows.spaces) else rows.at(np.array(at, np.intp))
        edges = self._bins.edges[here.start : here.stop + 1]
        self._counts[space][:, here] = self._how.count(chunk, mine.table, edges)

    def _lacks(self, chunk: str, absent: Sequence[str]) -> bool:
        """Whether any of these spaces, of which there is no presence, should have some.

        A leaf always should; a space with children only if sessions name the space itself.
        """
        leaves = self._tree.leaves
        return any(name in leaves for name in absent) or any(
            (chunk, name) in self._named for name in absent
        )

    @cached_property
    def _named(self) -> set[tuple[str, str]]:
        """The chunks in which sessions name a space with children itself, as (chunk, space)."""
        import sqlalchemy as sa

        above = set().union(*self._below.values()) - self._tree.leaves
        c = session_space.c
        query = sa.select(c.chunk, c.space).where(
            c.chunk.in_(self._bins.chunks), c.space.in_(above), c.rows > 0
        )
        with warehouse_engine(self._settings).connect() as connection:
            return {(row.chunk, row.space) for row in connection.execute(query)}


def _pieces(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (items[first : first + size] for first in range(0, len(items), size))


def _refuse_sealed(settings: Settings, missing: Mapping[str, list[str]], width: int) -> None:
    """Raise OnlyCountsKept if the presence of a missing chunk of a space is deleted for good."""
    chunks = set().union(*missing.values())
    if not chunks:
        return
    import sqlalchemy as sa

    query = sa.select(sealed_chunk.c.chunk).where(sealed_chunk.c.chunk.in_(chunks))
    with warehouse_engine(settings).connect() as connection:
        sealed = sorted(connection.scalars(query))
    if sealed:
        raise OnlyCountsKept(
            f"Bins of {width} s can no longer be counted for {_named(sealed)}: its presence has "
            "been deleted (TIPPERS_PRESENCE_DAYS), and only published counts are kept.",
            f"Choose bins of {', '.join(map(str, PUBLISHED_WIDTHS))} s; for counts by label, a "
            "labelled occupancy published before the deletion.",
        )


# --- the result --------------------------------------------------------------------------------
def _result(
    bins: _Bins,
    columns: Sequence[str],
    counts: Counts,
    missing: list[str],
    dense: bool,
    timezone: str,
) -> pa.Table:
    """``counts``: int32 [columns, bins]."""
    absent = _absent(bins, missing)
    kept = slice(None) if dense else (counts > 0).any(axis=0) & ~absent
    metadata = {MISSING_METADATA: json.dumps(missing)}
    schema = pa.schema(
        [
            pa.field("interval_begin_time", pa.timestamp("s", timezone), nullable=False),
            *(pa.field(name, pa.int32()) for name in columns),
        ],
        metadata=metadata,
    )
    return pa.table(
        [
            pa.array(bins.begins[kept]).cast(schema.field(0).type),
            *(pa.array(row[kept], mask=absent[kept]) for row in counts),
        ],
        schema=schema,
    )


def _absent(bins: _Bins, missing: list[str]) -> NDArray[np.bool_]:
    """bool [bins]: the bin lies in a chunk that is not computed."""
    return np.isin(bins.chunk_of, [bins.chunks.index(chunk) for chunk in missing])


def _named(chunks: list[str]) -> str:
    named = ", ".join(chunks[:_MAX_NAMED])
    more = len(chunks) - _MAX_NAMED
    return named + (f" and {more} more" if more > 0 else "")


def _missing_partitions(space: str, missing: list[str], bins: _Bins) -> MissingPartitions:
    return MissingPartitions(
        f"Occupancy of space {space!r} is not computed for {len(missing)} of "
        f"{len(bins.chunks)} chunks: {_named(missing)}.",
        missing,
        f"`tippers track --space {space} --start DATE --end DATE` requests it; "
        "`tippers occupancy status` shows the progress.",
    )
