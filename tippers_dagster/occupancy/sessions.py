"""Turns the source's rows into the sessions of each time chunk: cleaned, clipped, pseudonymised.

One pass over the source serves many chunks. Batches are split by chunk into spill files on the
local disk, so memory use is bounded by one batch and by the buffer in which a chunk, or a range of
its devices, is sorted.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tippers_dagster.campus.identities import DeviceIds
from tippers_dagster.campus.local_time import MICRO, LocalClock, chunk_bounds
from tippers_dagster.campus.source.read import Observed, SourceSnapshot, Span, source_snapshot
from tippers_dagster.campus.spaces.tree import SpaceTree
from tippers_dagster.occupancy.sweep import split
from tippers_dagster.platform.fingerprint import mix, of_text, of_texts, sums_by_group
from tippers_dagster.platform.keys import device_key
from tippers_dagster.platform.lake import Lake
from tippers_dagster.platform.lake.keys import sessions_key
from tippers_dagster.platform.scratch import scratch_folder
from tippers_dagster.settings import Settings

VERSION = 1
"""Raise it when the same source rows would give other sessions: all chunks become stale."""

NO_DEVICE = "no device"
UNKNOWN_SPACE = "unknown space"
END_BEFORE_START = "end before start"
IMPLAUSIBLE_TIME = "time outside the plausible range"
TOO_LONG = "longer than the longest plausible session"
REASONS = (NO_DEVICE, UNKNOWN_SPACE, END_BEFORE_START, IMPLAUSIBLE_TIME, TOO_LONG)

CHUNKS_PER_PASS = 256
"""Each chunk of a pass keeps a spill file open."""

BYTES_PER_ROW = 100
"""Memory to sort one session, working copies included."""

_SPILLED = pa.schema(
    {"device": pa.uint64(), "space": pa.int32(), "start": pa.int64(), "end": pa.int64()}
)
_REJECTED = pa.schema(
    {
        "chunk": pa.string(),
        "reason": pa.string(),
        "mac_address": pa.string(),
        "space_id": pa.string(),
        "start_time": pa.timestamp("us"),
        "end_time": pa.timestamp("us"),
    }
)


def settings_fingerprint(settings: Settings) -> int:
    """Fingerprint of the settings that sessions depend on besides the source's rows; reveals no
    secret.
    """
    key = hashlib.sha256(device_key(settings)).hexdigest()
    return of_text(
        VERSION,
        settings.timezone,
        settings.chunk,
        settings.open_session_seconds,
        settings.longest_session_seconds,
        settings.earliest_time,
        settings.latest_time,
        key,
    )


@dataclass(frozen=True)
class ChunkSessions:
    """The result of extracting one chunk's sessions.

    ``by_space`` has one row per space that the chunk's rows name, with columns space, rows,
    fingerprint (uint64) and known. ``rejects`` is the path of an Arrow file, or None.
    """

    chunk: str
    observed: Observed
    rows: int
    devices: int
    rejected: int
    fingerprint: int
    by_space: pa.Table
    rejects: Path | None


def extract(
    settings: Settings,
    lake: Lake,
    tree: SpaceTree,
    chunks: list[str],
    advance: Callable[[int], None] = lambda _: None,
) -> Iterator[list[ChunkSessions]]:
    """Write ``sessions/chunk=K.parquet`` for each chunk; yields one list per pass over the source.

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
                observed = source.observe(job.span, run)
                job.read(source)
            finish = partial(_finish, settings, lake, tree)
            pieces = [(job.files[c], observed[c], job.rejects[c]) for c in run]
            with ThreadPoolExecutor(settings.threads) as pool:
                done = []
                for result in pool.map(finish, *zip(*pieces, strict=True)):
                    done.append(result)
                    advance(1)
            yield done


@dataclass
class _Spill:
    """The rows of one chunk on the local disk, in no particular order."""

    chunk: str
    path: Path
    schema: pa.Schema
    rows: int = 0
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
        self.files = {c: _Spill(c, folder / f"{c}.arrow", _SPILLED) for c in chunks}
        self.rejects = {c: _Spill(c, folder / f"{c}.rejects", _REJECTED) for c in chunks}
        self._spaces = pa.array(tree.ids, pa.string())
        self._ids = DeviceIds(device_key(settings))
        self._plausible = [
            (time - dt.datetime(1970, 1, 1)) // dt.timedelta(microseconds=1)
            for time in settings.plausible_range()
        ]

    def read(self, source: SourceSnapshot) -> None:
        """Split all rows of the span into the spill files."""
        for batch in source.sessions(self.span):
            self._split_by_chunk(batch)
        for spill in (*self.files.values(), *self.rejects.values()):
            spill.close()

    def _split_by_chunk(self, batch: pa.RecordBatch) -> None:
        start_us = _local_us(batch["start_time"])
        open_ended = np.asarray(pc.is_null(batch["end_time"]))
        end_us = np.where(open_ended, start_us, _local_us(batch["end_time"]))
        start, end = self.clock.session_bounds(start_us, end_us)
        # Rounded up, as all ends are, if the start is not a whole second.
        duration = self.settings.open_session_seconds + (start_us % MICRO > 0)
        end = np.where(open_ended, start + duration, end)
        space = _codes(batch["space_id"], self._spaces)
        named = pc.not_equal(pc.utf8_trim_whitespace(batch["mac_address"]), "")
        no_device = ~np.asarray(pc.fill_null(named, False))
        low, high = self._plausible
        reason = np.select(
            [
                no_device,
                space < 0,
                end <= start,
                (start_us < low) | (start_us >= high) | (end_us >= high),
                end_us - start_us > self.settings.longest_session_seconds * MICRO,
            ],
            np.arange(len(REASONS)),
            default=-1,
        )
        good = np.flatnonzero(reason < 0)
        device = self._ids(batch["mac_address"].take(pa.array(good)))
        self._spill(device, space[good].astype(np.int32), start[good], end[good])
        if good.size < batch.num_rows:
            self._reject(batch, np.flatnonzero(reason >= 0), reason, start)

    def _spill(
        self, device: np.ndarray, space: np.ndarray, start: np.ndarray, end: np.ndarray
    ) -> None:
        for i, piece in enumerate(split(start, end, self.boundaries)):
            clipped = (
                device[piece],
                space[piece],
                np.maximum(start[piece], self.boundaries[i]),
                np.minimum(end[piece], self.boundaries[i + 1]),
            )
            columns = [pa.array(values) for values in clipped]
            self.files[self.chunks[i]].write(pa.record_batch(columns, schema=_SPILLED))

    def _reject(
        self, batch: pa.RecordBatch, rows: np.ndarray, reason: np.ndarray, start: np.ndarray
    ) -> None:
        """Keep rejected rows with the chunk in which they start."""
        chunk = np.searchsorted(self.boundaries, start[rows], side="right") - 1
        inside = (chunk >= 0) & (chunk < len(self.chunks))
        for i in np.unique(chunk[inside]):
            taken = rows[chunk == i]
            key = self.chunks[i]
            raw = batch.take(pa.array(taken))
            columns = {
                "chunk": pa.array([key] * len(taken)),
                "reason": pa.array(REASONS).take(pa.array(reason[taken])),
                **{name: raw[name] for name in _REJECTED.names[2:]},
            }
            self.rejects[key].write(pa.record_batch(columns, schema=_REJECTED))


def _finish(
    settings: Settings,
    lake: Lake,
    tree: SpaceTree,
    spill: _Spill,
    observed: Observed,
    rejects: _Spill,
) -> ChunkSessions:
    """Sort a chunk by (device, start), write it, and summarise its content by space."""
    ids = pa.array(tree.ids, pa.string())
    rows_by_space = np.zeros(len(tree), np.int64)
    prints = np.zeros(len(tree), np.uint64)
    devices = 0
    schema = pa.schema(
        {
            "device": pa.uint64(),
            "space": pa.dictionary(pa.int32(), pa.string()),
            "start": pa.int64(),
            "end": pa.int64(),
        }
    )
    with lake.open_writer(sessions_key(spill.chunk), schema) as writer:
        for device, space, start, end in _sorted_parts(settings, spill):
            devices += int(np.count_nonzero(device[1:] != device[:-1])) + 1
            rows_by_space += np.bincount(space, minlength=len(tree))
            prints += sums_by_group(space, mix(device, start, end), len(tree))
            names = pa.DictionaryArray.from_arrays(pa.array(space), ids)
            writer.write(pa.table([device, names, start, end], schema=schema))
    used = np.flatnonzero(rows_by_space)
    unknown = _unknown_spaces(rejects)
    by_space = pa.table(
        {
            "space": pa.concat_arrays([ids.take(pa.array(used)), unknown["space"]]),
            "rows": np.concatenate([rows_by_space[used], unknown["rows"].to_numpy()]),
            "fingerprint": np.concatenate([prints[used], np.zeros(unknown.num_rows, np.uint64)]),
            "known": np.arange(used.size + unknown.num_rows) < used.size,
        }
    )
    return ChunkSessions(
        chunk=spill.chunk,
        observed=observed,
        rows=spill.rows,
        devices=devices,
        rejected=rejects.rows,
        fingerprint=int(mix(prints, of_texts(tree.ids)).sum(dtype=np.uint64)),
        by_space=by_space,
        rejects=rejects.path if rejects.rows else None,
    )


def _sorted_parts(settings: Settings, spill: _Spill) -> Iterator[tuple[np.ndarray, ...]]:
    """The chunk's columns sorted by (device, start), in parts that fit the memory budget."""
    if not spill.rows:
        return
    budget = settings.memory_budget_mb * 1_000_000 // settings.threads
    parts = 1 << max(0, (spill.rows * BYTES_PER_ROW // budget).bit_length())
    shift = np.uint64(64 - (parts.bit_length() - 1))
    for part in range(parts):
        columns: list[list[np.ndarray]] = [[] for _ in _SPILLED]
        for batch in spill.batches():
            arrays = [column.to_numpy() for column in batch.columns]
            mine = slice(None) if parts == 1 else arrays[0] >> shift == part
            for column, values in zip(columns, arrays, strict=True):
                column.append(values[mine])
        device, space, start, end = (np.concatenate(column) for column in columns)
        if device.size:
            order = np.lexsort((end, space, start, device))
            yield device[order], space[order], start[order], end[order]


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


def _local_us(times: pa.Array) -> np.ndarray:
    """Naive local microseconds; 0 for nulls, which the caller masks."""
    return pc.fill_null(times.cast(pa.timestamp("us")).cast(pa.int64()), 0).to_numpy()
