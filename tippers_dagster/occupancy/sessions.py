"""Turns the source's rows into the log of each time chunk: cleaned, normalised, pseudonymised.

A chunk's file has every session that overlaps it, whole. A session starts in one chunk; in the
later ones that it overlaps it is marked as carried, so that each reader finds what it needs in one
file: occupancy clips all sessions to the chunk, labelling reads those that are not carried.

A session may be in the source several times: a closed row completes the open one of an earlier
export, and exports overlap. One row per session remains: a closed one before an open one, then the
one that ends last. What the others keep under further names is kept with it. A closed row therefore
changes all chunks that its open row would reach, even if it ends before them.

A chunk's file depends on the source's rows alone, not on which other chunks are tracked. So the
log, read for some chunks, has the sessions that start in them. One that starts before the first of
them is carried in all of its files: it belongs to a date that is not tracked, as does everything
else on that date. Counting it in the first file instead would count it twice once the chunk before
is tracked, and would make that file stale each time an older chunk is tracked or deleted.

One pass over the source serves many chunks. Batches are split by chunk into spill files on the
local disk, so memory use is bounded by one batch and by the buffer in which a chunk, or a range of
its devices, is sorted.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tippers_dagster.campus.addresses import ADDRESSES
from tippers_dagster.campus.devices import DEVICE_REASONS
from tippers_dagster.campus.forgotten import Forgotten
from tippers_dagster.campus.identities import DeviceIds
from tippers_dagster.campus.local_time import MICRO, LocalClock, chunk_bounds, whole_seconds
from tippers_dagster.campus.log.kept import KeptTexts
from tippers_dagster.campus.source.observed import Observed, Span
from tippers_dagster.campus.source.read import SourceSnapshot, source_snapshot
from tippers_dagster.campus.source.schema import KEPT, REASON, ROW, TEXT
from tippers_dagster.campus.spaces.tree import SpaceTree
from tippers_dagster.occupancy.sweep import split
from tippers_dagster.platform.fingerprint import mix, of_column, of_text, of_texts, sums_by_group
from tippers_dagster.platform.keys import device_key
from tippers_dagster.platform.lake import Lake
from tippers_dagster.platform.lake.keys import sessions_key
from tippers_dagster.platform.scratch import scratch_folder
from tippers_dagster.settings import Settings

if TYPE_CHECKING:
    from tippers_dagster.campus.source.mapped import MappedSnapshot

VERSION = 3
"""Raise it when the same source rows would give other sessions: all chunks become stale."""

UNKNOWN_SPACE = "unknown space"
END_BEFORE_START = "end before start"
IMPLAUSIBLE_TIME = "time outside the plausible range"
TOO_LONG = "longer than the longest plausible session"
FORGOTTEN = "forgotten device or person"
REASONS = (
    *DEVICE_REASONS,
    *(UNKNOWN_SPACE, END_BEFORE_START, IMPLAUSIBLE_TIME, TOO_LONG, FORGOTTEN),
)

UNDATED = ""
"""The chunk of rejected rows of which no start is known."""

CHUNKS_PER_PASS = 256
"""Each chunk of a pass keeps a spill file open."""

BYTES_PER_ROW = 200
"""Memory to sort one session, working copies included."""
COPIES_OF_KEPT = 4
"""Of what is kept of sessions, while these are sorted."""
MAX_TEXT_BYTES = 1 << 30
"""Of a column of text in memory."""

SCHEMA = pa.schema(
    {
        "device": pa.uint64(),
        "space": pa.dictionary(pa.int32(), pa.string()),
        "sensor": pa.dictionary(pa.int32(), pa.string()),
        "start": pa.int64(),
        "end": pa.int64(),
        "start_time": pa.timestamp("us"),
        "end_time": pa.timestamp("us"),
        "is_open": pa.bool_(),
        "carried": pa.bool_(),
        "person": pa.uint64(),
    }
)
"""A chunk's file, sorted by device, start, end and space. ``person``: null where none is known;
files that were written before there were persons do not have the column."""

WITH_KEPT = SCHEMA.append(pa.field(KEPT, TEXT))
"""The same if anything is kept of the chunk's sessions (``campus.log.kept``); null where nothing
is."""

_SPILLED = pa.schema(
    {
        "device": pa.uint64(),
        "space": pa.int32(),
        "sensor": pa.int32(),
        "start": pa.int64(),
        "end": pa.int64(),
        "start_time": pa.int64(),
        "end_time": pa.int64(),
        "is_open": pa.uint8(),
        "session": pa.uint64(),
        "person": pa.uint64(),
        KEPT: TEXT,
    }
)
"""Rows before they are sorted. ``session``: hash of the log's own id of a session; 0 if it has
none, as ``person`` is."""
_NUMBERS = _SPILLED.remove(_SPILLED.get_field_index(KEPT))
_REJECTED = pa.schema(
    {
        "chunk": pa.string(),
        "reason": pa.string(),
        "mac_address": pa.string(),
        "space_id": pa.string(),
        "start_time": pa.timestamp("us"),
        "end_time": pa.timestamp("us"),
        ROW: pa.string(),
    }
)


def read_sessions(lake: Lake, chunk: str, columns: Sequence[str]) -> pa.Table:
    """Columns of a chunk's sessions.

    Raises
    ------
    LakeError
        The file is missing or cannot be read.
    """
    optional = {name: WITH_KEPT.field(name).type for name in ("person", KEPT)}
    return lake.read_table(sessions_key(chunk), list(columns), optional=optional)


def settings_fingerprint(settings: Settings) -> int:
    """Fingerprint of the settings that sessions depend on besides the source's rows; reveals no
    secret.
    """
    key = hashlib.sha256(device_key(settings)).hexdigest()
    in_place: tuple[str, ...] = ()
    if settings.log_source is not None:
        from tippers_dagster.campus.source.log_source import content

        in_place = (content(settings),)
    return of_text(
        VERSION,
        settings.timezone,
        settings.chunk,
        settings.open_session_seconds,
        settings.longest_session_seconds,
        settings.earliest_time,
        settings.latest_time,
        key,
        *in_place,
    )


@dataclass(frozen=True)
class ChunkSessions:
    """The result of extracting one chunk's sessions.

    ``by_space`` has one row per space that the chunk's rows name, with columns space, rows,
    fingerprint (uint64) and known. Those fingerprints, and ``fingerprint`` of all of them, are of
    what counting reads: device, person, and start and end within the chunk. ``log_fingerprint`` is
    of the rows that start in the chunk, with everything that labelling reads. ``repeated``: rows in
    whose place there is another one of the same session. ``rejects`` is the path of an Arrow file,
    or None.
    """

    chunk: str
    observed: Observed
    rows: int
    repeated: int
    devices: int
    rejected: int
    fingerprint: int
    log_fingerprint: int
    by_space: pa.Table
    rejects: Path | None


@dataclass(frozen=True)
class PassSessions:
    """The result of one pass over the source.

    ``undated`` is the path of an Arrow file with the rejected rows of which no start is known, None
    without any; ``undated_rows`` their number. ``addresses`` is one with the devices that it met
    (``ADDRESSES``), some perhaps repeated; None if it met none.
    """

    chunks: list[ChunkSessions]
    undated: Path | None
    undated_rows: int
    addresses: Path | None


def extract(
    settings: Settings,
    lake: Lake,
    tree: SpaceTree,
    chunks: list[str],
    advance: Callable[[int], None] = lambda _: None,
) -> Iterator[PassSessions]:
    """Write ``sessions/chunk=K.parquet`` for each chunk; yields the result of each pass.

    A chunk's fingerprint is read in the same snapshot as its rows. ``advance`` is called with the
    number of chunks just finished.

    Raises
    ------
    SourceError, LakeError
        The source could not be read, or the lake not written; no partial file is left.
    """
    scratch = settings.home_path / "tmp" / "sessions"
    for run in consecutive(sorted(chunks), settings):
        with scratch_folder(scratch) as folder:
            job = _Pass(settings, tree, run, folder)
            with source_snapshot(settings) as source:
                job.read(source)
                observed = source.observe(job.span, run)
            sensors, places = job.sensors.ordered()
            finish = partial(
                _finish, settings, lake, _Texts.of(tree.ids), _Texts.of(sensors), places
            )
            pieces = [(c, job.files[c], observed[c], job.rejects[c]) for c in run]
            with ThreadPoolExecutor(settings.threads) as pool:
                done = []
                for result in pool.map(finish, *zip(*pieces, strict=True)):
                    done.append(result)
                    advance(1)
            undated, addresses = (
                spill.path if spill.rows else None for spill in (job.undated, job.addresses)
            )
            yield PassSessions(done, undated, job.undated.rows, addresses)


@dataclass
class _Spill:
    """Rows on the local disk, in no particular order."""

    path: Path
    schema: pa.Schema
    rows: int = 0
    kept_bytes: int = 0
    _writer: pa.RecordBatchFileWriter | None = field(default=None, repr=False)

    def write(self, batch: pa.RecordBatch) -> None:
        if not batch.num_rows:
            return
        if self._writer is None:
            self._writer = pa.ipc.new_file(self.path, self.schema)
        self._writer.write_batch(batch)
        self.rows += batch.num_rows

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def batches(self) -> Iterator[pa.RecordBatch]:
        if self.rows:
            with pa.memory_map(str(self.path)) as file:
                reader = pa.ipc.open_file(file)
                for i in range(reader.num_record_batches):
                    yield reader.get_batch(i)


class _Codes:
    """Codes of texts, in the order in which they are first met."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}

    def __call__(self, texts: pa.Array) -> np.ndarray:
        """int32 per row; -1 for null."""
        encoded = texts.dictionary_encode()
        values = encoded.dictionary.to_pylist()
        codes = [self._codes.setdefault(value, len(self._codes)) for value in values]
        rows = encoded.indices.fill_null(len(values)).to_numpy()
        return np.array([*codes, -1], np.int32)[rows]

    def ordered(self) -> tuple[list[str], np.ndarray]:
        """The texts, sorted, and the place of each code among them; -1 stays.

        So rows do not depend on the order in which the source was read.
        """
        texts = sorted(self._codes)
        places = np.full(len(texts) + 1, -1, np.int32)
        places[[self._codes[text] for text in texts]] = np.arange(len(texts))
        return texts, places


@dataclass(frozen=True)
class _Texts:
    """The texts of codes, and their fingerprints."""

    texts: pa.Array
    prints: np.ndarray

    @classmethod
    def of(cls, texts: Sequence[str]) -> _Texts:
        """Of texts by code."""
        return cls(pa.array(texts, pa.string()), of_texts(texts))


class _Pass:
    """One pass over the source for consecutive chunks."""

    def __init__(self, settings: Settings, tree: SpaceTree, chunks: list[str], folder: Path):
        self.settings, self.chunks = settings, chunks
        self.clock = LocalClock(settings.timezone)
        self.boundaries = self.clock.chunk_boundaries(chunks, settings.chunk)
        self.span: Span = (
            chunk_bounds(chunks[0], settings.chunk)[0],
            chunk_bounds(chunks[-1], settings.chunk)[1],
        )
        self.files = {c: _Spill(folder / f"{c}.arrow", _SPILLED) for c in chunks}
        self.rejects = {c: _Spill(folder / f"{c}.rejects", _REJECTED) for c in chunks}
        self.undated = _Spill(folder / "undated", _REJECTED)
        self.addresses = _Spill(folder / "addresses", ADDRESSES)
        self.sensors = _Codes()
        self._spaces = pa.array(tree.ids, pa.string())
        self._forgotten = Forgotten.read(settings)
        self._ids = DeviceIds(device_key(settings), self._note_addresses)
        self._plausible = [
            (time - dt.datetime(1970, 1, 1)) // dt.timedelta(microseconds=1)
            for time in settings.plausible_range()
        ]

    def read(self, source: SourceSnapshot | MappedSnapshot) -> None:
        """Split all rows of the span into the spill files."""
        for batch in source.sessions(self.span):
            self._split_by_chunk(batch)
        others = (self.undated, self.addresses)
        for spill in (*self.files.values(), *self.rejects.values(), *others):
            spill.close()

    def _split_by_chunk(self, batch: pa.RecordBatch) -> None:
        start_us = _microseconds(batch["start_time"])
        open_ended = np.asarray(pc.is_null(batch["end_time"]))
        start_utc, end_utc = self._instants(batch, start_us, open_ended)
        start, end = whole_seconds(start_utc, end_utc)
        end_us = _microseconds(batch["end_time"]).copy()
        end_us[open_ended] = self.clock.to_local(end_utc[open_ended])
        space = _codes(batch["space_id"], self._spaces)
        device, no_device = self._ids.read(batch["mac_address"])
        person = pc.fill_null(batch["person"], 0).to_numpy().view(np.uint64)
        low, high = self._plausible
        ends_late = ~open_ended & (end_us >= high)
        said = batch[REASON] if REASON in batch.schema.names else pa.nulls(batch.num_rows, TEXT)
        reason = np.select(
            [
                self._forgotten.rows(device, person),
                np.asarray(said.is_valid()),
                no_device >= 0,
                space < 0,
                end <= start,
                (start_us < low) | (start_us >= high) | ends_late,
                end_us - start_us > self.settings.longest_session_seconds * MICRO,
            ],
            [
                REASONS.index(FORGOTTEN),
                len(REASONS),
                no_device,
                *range(len(DEVICE_REASONS), REASONS.index(FORGOTTEN)),
            ],
            default=-1,
        )
        good = np.flatnonzero(reason < 0)
        sensor = np.full(batch.num_rows, -1, np.int32)
        named = batch["sensor_id"]
        # Access points of rejected rows are in no file.
        kept = named if good.size == batch.num_rows else named.take(pa.array(good))
        sensor[good] = self.sensors(kept)
        session = of_column(batch["session_id"])
        times = start, end, start_us, end_us
        numbers = device, space, sensor, *times, open_ended, session, person
        self._spill(good, *numbers, kept=batch[KEPT])
        if good.size < batch.num_rows:
            self._reject(batch, np.flatnonzero(reason >= 0), reason, said, start)

    def _instants(
        self, batch: pa.RecordBatch, start_us: np.ndarray, open_ended: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """UTC microseconds in which sessions start and end.

        They end with their last sign of life, or at their limit, where no end is given.
        """
        local_end = np.where(open_ended, start_us, _microseconds(batch["end_time"]))
        start, end = self.clock.session_instants(start_us, local_end)
        start = _given(batch["started_at"], start)
        end = _given(batch["ended_at"], end)
        limit = start + self.settings.open_session_seconds * MICRO
        last = np.maximum(start, _given(batch["last_seen"], limit))
        return start, np.where(open_ended, last, end)

    def _spill(self, good: np.ndarray, *columns: np.ndarray, kept: pa.Array) -> None:
        """Write good rows to each chunk that they, or open rows that they complete, overlap;
        columns as in ``_SPILLED``.
        """
        _, _, _, start, end, *_ = columns
        reach = np.maximum(end, start + self.settings.open_session_seconds + 1)
        for i, piece in enumerate(split(start[good], reach[good], self.boundaries)):
            rows = good[piece]
            arrays = [
                pa.array(values[rows].astype(field.type.to_pandas_dtype(), copy=False))
                for values, field in zip(columns, _NUMBERS, strict=True)
            ]
            spill, texts = self.files[self.chunks[i]], kept.take(pa.array(rows))
            spill.kept_bytes += pc.sum(pc.binary_length(texts)).as_py() or 0
            spill.write(pa.record_batch([*arrays, texts], schema=_SPILLED))

    def _note_addresses(self, devices: np.ndarray, ids: pa.Array) -> None:
        kept = pa.array(~self._forgotten.devices(devices))
        batch = pa.record_batch([pa.array(devices.view(np.int64)), ids], schema=ADDRESSES)
        self.addresses.write(batch.filter(kept))

    def _reject(
        self,
        batch: pa.RecordBatch,
        rows: np.ndarray,
        reason: np.ndarray,
        said: pa.Array,
        start: np.ndarray,
    ) -> None:
        """Keep rejected rows with the chunk in which they start.

        ``said``: reasons that the source gives.
        """
        ours = pa.array(reason[rows], mask=reason[rows] == len(REASONS))
        reasons = pc.coalesce(pa.array(REASONS).take(ours), said.take(pa.array(rows)))
        chunk = np.searchsorted(self.boundaries, start[rows], side="right") - 1
        dated = np.asarray(batch["start_time"].is_valid())[rows]
        batch = _without_forgotten(batch, reason == REASONS.index(FORGOTTEN))
        inside = dated & (chunk >= 0) & (chunk < len(self.chunks))
        for i in np.unique(chunk[inside]):
            mine = np.flatnonzero(inside & (chunk == i))
            spill = self.rejects[self.chunks[i]]
            spill.write(_rejected(self.chunks[i], batch, rows[mine], reasons.take(pa.array(mine))))
        if not dated.all():
            mine = np.flatnonzero(~dated)
            self.undated.write(_rejected(UNDATED, batch, rows[mine], reasons.take(pa.array(mine))))


def _without_forgotten(batch: pa.RecordBatch, rows: np.ndarray) -> pa.RecordBatch:
    """The batch without what these rows say."""
    if not rows.any():
        return batch
    mask = pa.array(rows)
    blank = {
        name: pc.if_else(mask, pa.scalar(None, batch[name].type), batch[name])
        for name in _REJECTED.names[2:]
        if name in batch.schema.names
    }
    columns = [blank.get(name, batch[name]) for name in batch.schema.names]
    return pa.record_batch(columns, names=batch.schema.names)


def _rejected(
    chunk: str, batch: pa.RecordBatch, rows: np.ndarray, reasons: pa.Array
) -> pa.RecordBatch:
    raw = batch.take(pa.array(rows))
    columns = {
        "chunk": pa.array([chunk] * len(rows)),
        "reason": reasons,
        **{name: raw[name] for name in _REJECTED.names[2:] if name in raw.schema.names},
    }
    columns.setdefault(ROW, pa.nulls(len(rows), pa.string()))
    return pa.record_batch(columns, schema=_REJECTED)


def _finish(
    settings: Settings,
    lake: Lake,
    spaces: _Texts,
    sensors: _Texts,
    sensor_places: np.ndarray,
    chunk: str,
    spill: _Spill,
    observed: Observed,
    rejects: _Spill,
) -> ChunkSessions:
    """Sort a chunk, write it, and summarise its content."""
    content = _Content(spaces.prints, sensors.prints)
    bounds = LocalClock(settings.timezone).chunk_seconds(chunk, settings.chunk)
    schema = WITH_KEPT if spill.kept_bytes else SCHEMA
    with lake.open_writer(sessions_key(chunk), schema) as writer:
        for rows, texts in _sorted_parts(settings, spill, sensor_places):
            stays = _one_per_session(rows, texts)
            content.repeated += int(np.count_nonzero(~stays & (rows["start"] >= bounds[0])))
            stays &= rows["end"] > bounds[0]
            if stays.any():
                rows = {name: column[stays] for name, column in rows.items()}
                kept = texts.take(rows[KEPT])
                content.add(rows, of_column(kept), bounds)
                table = _as_table(rows, spaces.texts, sensors.texts, bounds[0])
                writer.write(table if schema is SCHEMA else table.append_column(KEPT, kept))
    used = np.flatnonzero(content.rows)
    unknown = _unknown_spaces(rejects)
    by_space = pa.table(
        {
            "space": pa.concat_arrays([spaces.texts.take(pa.array(used)), unknown["space"]]),
            "rows": np.concatenate([content.rows[used], unknown["rows"].to_numpy()]),
            "fingerprint": np.append(content.prints[used], np.zeros(unknown.num_rows, np.uint64)),
            "known": np.arange(used.size + unknown.num_rows) < used.size,
        }
    )
    return ChunkSessions(
        chunk=chunk,
        observed=observed,
        rows=int(content.rows.sum()),
        repeated=content.repeated,
        devices=content.devices,
        rejected=rejects.rows,
        fingerprint=int(mix(content.prints, spaces.prints).sum(dtype=np.uint64)),
        log_fingerprint=content.log,
        by_space=by_space,
        rejects=rejects.path if rejects.rows else None,
    )


_Rows = dict[str, np.ndarray]
"""Sorted rows of a chunk: the columns of ``_SPILLED``, with codes of what is kept."""


class _Content:
    """What a chunk contains: rows and fingerprints by space, devices, and a fingerprint of its
    log. Sums, so no fingerprint depends on the order of the rows.
    """

    def __init__(self, space_prints: np.ndarray, sensor_prints: np.ndarray) -> None:
        self.rows = np.zeros(len(space_prints), np.int64)
        self.prints = np.zeros(len(space_prints), np.uint64)
        self.log = 0
        self.repeated = 0
        self.devices = 0
        self._space_prints = space_prints
        # A missing access point has the code -1.
        self._sensor_prints = np.append(sensor_prints, np.uint64(0))

    def add(self, rows: _Rows, kept: np.ndarray, bounds: tuple[int, int]) -> None:
        """Add rows of devices of which no other part has rows; ``kept``: fingerprints, or 0."""
        device, space, n_spaces = rows["device"], rows["space"], len(self.rows)
        self.devices += int(np.count_nonzero(device[1:] != device[:-1])) + 1
        self.rows += np.bincount(space, minlength=n_spaces)
        person = rows["person"]
        start, end = np.maximum(rows["start"], bounds[0]), np.minimum(rows["end"], bounds[1])
        self.prints += sums_by_group(space, _also(mix(device, start, end), person), n_spaces)
        mine = rows["start"] >= bounds[0]
        sensors = self._sensor_prints[rows["sensor"][mine]]
        times = (rows[name][mine] for name in ("start_time", "end_time", "is_open"))
        prints = mix(device[mine], self._space_prints[space[mine]], sensors, *times)
        prints = _also(_also(prints, person[mine]), kept[mine])
        self.log = (self.log + int(prints.sum(dtype=np.uint64))) % 2**64


def _also(prints: np.ndarray, more: np.ndarray) -> np.ndarray:
    """The fingerprints of rows, and of their persons, or what is kept of them, where that is known.

    Rows without have the same ones as before there was such a column.
    """
    return np.where(more > 0, mix(prints, more), prints) if more.any() else prints


def _as_table(rows: _Rows, spaces: pa.Array, sensors: pa.Array, begin: int) -> pa.Table:
    """Sorted rows with the columns of ``SCHEMA``; ``begin``: the first second of the chunk."""
    sensor, person = rows["sensor"], rows["person"]
    columns = {
        **{name: rows[name] for name in SCHEMA.names if name in rows},
        "space": pa.DictionaryArray.from_arrays(pa.array(rows["space"]), spaces),
        "sensor": pa.DictionaryArray.from_arrays(pa.array(sensor, mask=sensor < 0), sensors),
        "is_open": rows["is_open"].view(np.bool_),
        "carried": rows["start"] < begin,
        "person": pa.array(person, mask=person == 0),
    }
    for name in ("start_time", "end_time"):
        columns[name] = rows[name].view("datetime64[us]")
    return pa.table(columns, schema=SCHEMA)


def _sorted_parts(
    settings: Settings, spill: _Spill, sensor_places: np.ndarray
) -> Iterator[tuple[_Rows, KeptTexts]]:
    """The chunk's rows in order, in parts that fit the memory budget, with what is kept of them."""
    if not spill.rows:
        return
    budget = settings.memory_budget_mb * 1_000_000 // settings.threads
    needed = spill.rows * BYTES_PER_ROW + spill.kept_bytes * COPIES_OF_KEPT
    parts = 1 << max(needed // budget, spill.kept_bytes // MAX_TEXT_BYTES).bit_length()
    shift = np.uint64(64 - (parts.bit_length() - 1))
    for part in range(parts):
        columns: list[list[np.ndarray]] = [[] for _ in _NUMBERS]
        kept: list[pa.Array] = []
        for batch in spill.batches():
            arrays = [batch[name].to_numpy() for name in _NUMBERS.names]
            mine = slice(None) if parts == 1 else arrays[0] >> shift == part
            for column, values in zip(columns, arrays, strict=True):
                column.append(values[mine])
            kept.append(batch[KEPT] if parts == 1 else batch[KEPT].filter(pa.array(mine)))
        rows = {
            name: np.concatenate(column)
            for name, column in zip(_NUMBERS.names, columns, strict=True)
        }
        if rows["device"].size:
            rows["sensor"] = sensor_places[rows["sensor"]]
            texts, rows[KEPT] = KeptTexts.encoded(pa.chunked_array(kept, TEXT))
            order = _order(rows)
            yield {name: column[order] for name, column in rows.items()}, texts


def _order(rows: _Rows) -> np.ndarray:
    """The order by device, start, end and space; what is left in common comes in a fixed order too.

    Rows are sorted by one integer that holds the device's rank and the start, and by all columns
    only where these are equal: several times as fast as sorting by all columns.
    """
    device, start = rows["device"], rows["start"]
    by_device = np.argsort(device)
    ordered = device[by_device]
    rank = np.empty(len(device), np.int64)
    rank[by_device] = np.cumsum(np.append(False, ordered[1:] != ordered[:-1]))
    first = start.min()
    key = rank << int(start.max() - first).bit_length()
    key |= start - first
    order = np.argsort(key)
    key = key[order]
    same = np.append(key[1:] == key[:-1], False)
    tied = np.flatnonzero(same | np.append(False, same[:-1]))
    names = (
        *(KEPT, "person", "session", "is_open"),
        *("end_time", "start_time", "sensor", "space", "end"),
    )
    among = order[tied]
    order[tied] = among[np.lexsort((*(rows[name][among] for name in names), key[tied]))]
    return order


def _one_per_session(rows: _Rows, texts: KeptTexts) -> np.ndarray:
    """bool per row: it stands for its session.

    Rows of a device are of one session if they have the same id, or the same start and place. Its
    person is that of any of them. What others keep under further names is kept with it.

    ``rows`` are sorted by device and start; ``texts``: what is kept of them.
    """
    device, start = rows["device"], rows["start"]
    same = np.append((device[1:] == device[:-1]) & (start[1:] == start[:-1]), False)
    tied = np.flatnonzero(same | np.append(False, same[:-1]))
    stays = np.ones(len(device), bool)
    _keep_best(rows, texts, tied, ("device", "start", "start_time", "sensor", "space"), stays)
    if rows["session"].any():
        named = np.flatnonzero(stays & (rows["session"] > 0))
        ordered = np.sort(mix(device[named], rows["session"][named]))
        if (ordered[1:] == ordered[:-1]).any():
            _keep_best(rows, texts, named, ("device", "session"), stays)
    return stays


def _keep_best(
    rows: _Rows, texts: KeptTexts, among: np.ndarray, session: Sequence[str], stays: np.ndarray
) -> None:
    """Mark all rows but the best of each session as not kept."""
    keys = [rows[name][among] for name in session]
    best = np.lexsort((-rows["end_time"][among], rows["is_open"][among], *reversed(keys)))
    repeats = np.logical_and.reduce([key[best][1:] == key[best][:-1] for key in keys])
    ordered = among[best]
    stays[ordered[1:][repeats]] = False
    person = rows["person"]
    if repeats.any() and person[among].any():
        first = np.flatnonzero(np.append(True, ~repeats))
        anyone, mine = np.maximum.reduceat(person[ordered], first), person[ordered[first]]
        person[ordered[first]] = np.where(mine > 0, mine, anyone)
    if repeats.any() and (rows[KEPT][among] >= 0).any():
        _complete_kept(rows[KEPT], texts, ordered, repeats)


def _complete_kept(
    kept: np.ndarray, texts: KeptTexts, ordered: np.ndarray, repeats: np.ndarray
) -> None:
    """Give the best row of each session what the others keep under further names.

    Parameters
    ----------
    kept
        Codes of rows.
    ordered
        Rows, those of a session from the best to the last.
    repeats
        Whether each of these, but the first, is of the session of the one before.
    """
    at = np.arange(len(ordered))
    best = np.maximum.accumulate(np.where(np.append(False, repeats), 0, at))
    later = np.flatnonzero(np.append(False, repeats) & (kept[ordered] >= 0))
    later = later[texts.lacking(kept[ordered[best[later]]], kept[ordered[later]])]
    while later.size:
        # The next row of each session.
        new = np.append(True, best[later][1:] != best[later][:-1])
        mine, others = ordered[best[later[new]]], ordered[later[new]]
        kept[mine] = texts.completed(kept[mine], kept[others])
        later = later[~new]


def _unknown_spaces(rejects: _Spill) -> pa.RecordBatch:
    """Unknown spaces that rejected rows name, with their numbers of rows."""
    names = [
        batch["space_id"].filter(pc.equal(batch["reason"], UNKNOWN_SPACE))
        for batch in rejects.batches()
    ]
    counts = pa.chunked_array(names, pa.string()).drop_null().value_counts()
    return pa.record_batch(
        {"space": counts.field("values"), "rows": counts.field("counts")},
    )


def consecutive(chunks: list[str], settings: Settings) -> Iterator[list[str]]:
    """Runs of adjacent chunks."""
    run: list[str] = []
    for chunk in chunks:
        follows = run and chunk_bounds(run[-1], settings.chunk)[1].isoformat() == chunk
        if run and (not follows or len(run) == CHUNKS_PER_PASS):
            yield run
            run = []
        run.append(chunk)
    if run:
        yield run


def _codes(values: pa.Array, known: pa.Array) -> np.ndarray:
    """Position of each value among the known ones; -1 for unknown values and nulls."""
    return pc.fill_null(pc.index_in(values, value_set=known), -1).to_numpy()


def _microseconds(times: pa.Array) -> np.ndarray:
    """int64, local or UTC as they are; 0 for nulls, which the caller masks."""
    return pc.fill_null(
        times.cast(pa.timestamp("us", times.type.tz)).cast(pa.int64()), 0
    ).to_numpy()


def _given(times: pa.Array, others: np.ndarray) -> np.ndarray:
    """The times, and the others where they are null."""
    if times.null_count == len(times):
        return others
    return np.where(np.asarray(pc.is_null(times)), others, _microseconds(times))
