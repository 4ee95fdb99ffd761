"""What a run computes: which of its partitions, in which order, and when they are recorded.

Chunks are independent, so a bad one does not affect the others: all that succeed are recorded,
then the run fails with the reasons.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, as_completed
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import numpy as np
import sqlalchemy as sa

from tippers_dagster.campus.local_time import LocalClock
from tippers_dagster.campus.spaces.tracking import wanted_grid
from tippers_dagster.campus.spaces.tree import SpaceTree, load_tree
from tippers_dagster.errors import TippersError
from tippers_dagster.occupancy.chunk_tables import write_chunk
from tippers_dagster.occupancy.counting import Counter, Figures
from tippers_dagster.occupancy.records import (
    Overtaken,
    forget_figures,
    record_attempts,
    record_figures,
    record_sessions,
    replacing_files,
    unchanged,
)
from tippers_dagster.occupancy.repack import occupancy_lake
from tippers_dagster.occupancy.sessions import ChunkSessions, extract, settings_fingerprint
from tippers_dagster.occupancy.state import (
    DAYS,
    DERIVED,
    READS,
    SESSIONS,
    SOURCE,
    Level,
    State,
    load_state,
    session_input,
)
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.tasks import for_workers, threads_or_cluster
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

RECORD_SECONDS = 10.0
"""Finished chunks are recorded this often, so that a killed run loses little."""

MAX_NAMED = 5

SAME_REQUEST_SECONDS = 1e-3
"""Times of requests that differ by less are the same: one of them was a text."""

PROGRESS: ContextVar[Callable[[int], None]] = ContextVar("progress", default=lambda _: None)
"""Called with the number of partitions just finished; the command line sets it."""


@dataclass
class Outcome:
    """The result of a run.

    ``undated`` counts rejected rows of which no start is known; ``figures`` are per chunk;
    ``computed`` and ``skipped`` count partitions; ``failed`` has the exception of each failed
    chunk.
    """

    asset: str
    chunks: list[str]
    skipped: int = 0
    sessions: list[ChunkSessions] = field(default_factory=list)
    undated: int = 0
    figures: dict[str, Figures] = field(default_factory=dict)
    failed: dict[str, BaseException] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def computed(self) -> int:
        """Number of partitions computed."""
        return len(self.sessions) + sum(len(f.spaces) for f in self.figures.values())


def compute(
    settings: Settings,
    asset: str,
    partitions: list[tuple[str, str]],
    run_id: str,
    *,
    stale_only: bool,
) -> Outcome:
    """Compute partitions (space, chunk) of an asset and record them.

    Parameters
    ----------
    stale_only
        Skip partitions that are fresh, no longer tracked, or computed from inputs that another run
        has begun to replace.

    Raises
    ------
    TippersError
        When a partition is not tracked, or its inputs are missing.
    """
    began = time.monotonic()
    state = load_state(settings, wanted_grid(settings, load_tree(settings)))
    level = state.level(asset)
    mask = _mask(level, partitions, skip_unknown=stale_only)
    if not stale_only:
        _refuse_sealed(level, mask)
    chosen = mask & level.stale & (level.readable | ~level.knowable) if stale_only else mask
    outcome = Outcome(asset, sorted({chunk for _, chunk in partitions}))
    outcome.skipped = len(partitions) - int(chosen.sum())
    PROGRESS.get()(outcome.skipped)
    _compute(settings, state, chosen, run_id, outcome)
    outcome.seconds = time.monotonic() - began
    return outcome


def compute_due(
    settings: Settings, asset: str, chunks: list[str], run_id: str, requested_at: float
) -> Outcome:
    """Compute an asset's partitions in these chunks that automation would request now.

    They are read from what is there, even if that is itself out of date: under a log that never
    stops something always is, and counts are as old as one run all the same.

    Parameters
    ----------
    requested_at
        When automation requested the run (Unix seconds). What it did not yet know of counts as an
        attempt now.
    """
    began = time.monotonic()
    state = load_state(settings, wanted_grid(settings, load_tree(settings)))
    level = state.level(asset)
    requested = np.abs(level.requested_at - requested_at) < SAME_REQUEST_SECONDS
    requested &= level.tries > 0  # of the inputs as they are now
    chosen = level.stale & level.computable & np.isin(level.chunks, chunks)
    chosen &= requested | ~level.held_back(settings)
    outcome = Outcome(asset, chunks)
    if chosen.any():
        now = dt.datetime.now(dt.UTC)
        record_attempts(warehouse_engine(settings), level, chosen & ~requested, now)
        _compute(settings, state, chosen, run_id, outcome)
    outcome.seconds = time.monotonic() - began
    return outcome


def _compute(
    settings: Settings, state: State, chosen: np.ndarray, run_id: str, outcome: Outcome
) -> None:
    level = state.level(outcome.asset)
    if level is state.sessions:
        _compute_sessions(settings, state, chosen, run_id, outcome)
    else:
        _require_inputs(level, chosen)
        _compute_chunks(settings, state, level, chosen, run_id, outcome)


def _compute_sessions(
    settings: Settings, state: State, chosen: np.ndarray, run_id: str, outcome: Outcome
) -> None:
    level, lake = state.sessions, open_lake(settings)
    chunks = [level.chunks[i] for i in np.flatnonzero(chosen[0])]
    base, engine = settings_fingerprint(settings), warehouse_engine(settings)
    since = dt.datetime.now(dt.UTC)
    with replacing_files(engine, SESSIONS, [""] * len(chunks), chunks, run_id):
        for done in extract(settings, lake, state.grid.tree, chunks, PROGRESS.get()):
            lake.sync()
            inputs = {d.chunk: session_input(d.observed.fingerprint, base) for d in done.chunks}
            record_sessions(engine, done, inputs, run_id, since)
            outcome.sessions += done.chunks
            outcome.undated = done.undated_rows


def _compute_chunks(
    settings: Settings,
    state: State,
    level: Level,
    chosen: np.ndarray,
    run_id: str,
    outcome: Outcome,
) -> None:
    lake, engine = occupancy_lake(settings), warehouse_engine(settings)
    upstream, read = state.read_by(level, chosen)

    def task(column: int) -> _ChunkTask:
        spaces = [level.spaces[i] for i in np.flatnonzero(chosen[:, column])]
        return _ChunkTask(
            for_workers(settings),
            level.asset,
            level.chunks[column],
            spaces,
            state.source.spaces,
            state.grid.tree,
            int(state.log[column]),
        )

    def record(finished: dict[int, Figures]) -> None:
        if finished:
            lake.sync()
            record_figures(
                engine,
                level.asset,
                [level.chunks[column] for column in finished],
                list(finished.values()),
                [_inputs(level, column, f.spaces) for column, f in finished.items()],
                run_id,
            )

    if level.asset != DAYS:
        _take_over(settings, state, level, chosen)
    rows, columns = np.nonzero(chosen)
    spaces, chunks = [level.spaces[i] for i in rows], [level.chunks[j] for j in columns]
    with (
        replacing_files(engine, level.asset, spaces, chunks, run_id),
        threads_or_cluster(settings) as pool,
        _cancelled_at_the_end(
            {pool.submit(_compute_chunk, task(j)): j for j in np.unique(columns).tolist()}
        ) as futures,
    ):
        for batch in _batches(futures):
            finished = _finished(level, {future: futures[future] for future in batch}, outcome)
            for column in _overtaken(engine, upstream, read, finished):
                del finished[column]
                outcome.failed[level.chunks[column]] = Overtaken(
                    f"{upstream.asset} was recomputed while {level.asset} was being computed from "
                    "it.",
                    "Nothing was recorded; it will be computed again.",
                )
            record(finished)
            outcome.figures |= {level.chunks[c]: f for c, f in finished.items()}


def _finished(level: Level, batch: dict[Future, int], outcome: Outcome) -> dict[int, Figures]:
    """Results of chunks by column; errors are added to the outcome."""
    finished = {}
    for future, column in batch.items():
        error = future.exception()
        if error is None:
            finished[column] = future.result()
            PROGRESS.get()(len(finished[column].spaces))
        else:
            outcome.failed[level.chunks[column]] = error
    return finished


@dataclass(frozen=True, eq=False)
class _ChunkTask:
    """The partitions of one chunk, for a thread of this process or a worker of a cluster."""

    settings: Settings
    asset: str
    chunk: str
    spaces: list[str]
    sources: list[str]
    tree: SpaceTree
    log: int


def _compute_chunk(task: _ChunkTask) -> Figures:
    lake = open_lake(task.settings)
    counter = Counter(task.settings, lake, task.tree, LocalClock(task.settings.timezone))
    if task.asset == DAYS:
        figures = write_chunk(task.settings, lake, task.chunk, task.log)
    elif task.asset == SOURCE:
        figures = counter.count_sources(task.chunk, task.spaces)
    else:
        figures = counter.count_derived(task.chunk, task.spaces, task.sources)
    if task.settings.dask_url is not None:
        lake.sync()  # the recording process cannot do that for another machine
    return figures


def _take_over(settings: Settings, state: State, level: Level, chosen: np.ndarray) -> None:
    """Delete the other asset's records of counts that are about to be replaced.

    source_occupancy publishes the counts of spaces without children, derived_occupancy those of
    the others, and each withdraws what the other has published of them. A space that gains children
    and loses them again must be recounted.
    """
    spaces = [level.spaces[i] for i in np.flatnonzero(chosen.any(axis=1))]
    chunks = [level.chunks[i] for i in np.flatnonzero(chosen.any(axis=0))]
    tree = state.grid.tree
    if level.asset == SOURCE:
        other, theirs = DERIVED, [s for s in spaces if tree.is_leaf[tree.index[s]]]
    else:
        have_presence = set(state.source.spaces)
        other, theirs = SOURCE, [s for s in spaces if s not in have_presence]
    if theirs:
        forget_figures(warehouse_engine(settings), other, theirs, chunks)


@contextmanager
def _cancelled_at_the_end(futures: dict[Future, int]) -> Iterator[dict[Future, int]]:
    """Cancel remaining tasks after an error; the pool would otherwise finish all queued ones."""
    try:
        yield futures
    finally:
        for future in futures:
            future.cancel()


def _overtaken(
    engine: sa.Engine, upstream: Level, read: np.ndarray, finished: Iterable[int]
) -> list[int]:
    """Columns of chunks counted from files whose record changed or was void in the meantime."""
    columns = list(finished)
    mine = np.zeros_like(read)
    mine[:, columns] = read[:, columns]
    with engine.connect() as connection:
        same = unchanged(connection, upstream, mine)
    return [column for column in columns if not same[column]]


def _batches(futures: dict[Future, int]) -> Iterator[list[Future]]:
    """Futures as they finish, in batches of ``RECORD_SECONDS``."""
    batch: list[Future] = []
    since = time.monotonic()
    for future in as_completed(futures):
        batch.append(future)
        if time.monotonic() - since > RECORD_SECONDS:
            yield batch
            batch, since = [], time.monotonic()
    if batch:
        yield batch


def _inputs(level: Level, column: int, spaces: list[str]) -> np.ndarray:
    at = {space: i for i, space in enumerate(level.spaces)}
    return level.wanted[[at[space] for space in spaces], column]


def _mask(level: Level, partitions: list[tuple[str, str]], *, skip_unknown: bool) -> np.ndarray:
    row = {space: i for i, space in enumerate(level.spaces)}
    column = {chunk: i for i, chunk in enumerate(level.chunks)}
    unknown = [(s, c) for s, c in partitions if s not in row or c not in column]
    if unknown and skip_unknown:  # untracked since the run was requested
        partitions = sorted(set(partitions).difference(unknown))
    elif unknown:
        raise TippersError(
            f"Not tracked, or no longer tracked: {_names(unknown)}.",
            "Track the space and the dates with `tippers track`.",
        )
    mask = np.zeros((len(row), len(column)), bool)
    mask[[row[s] for s, _ in partitions], [column[c] for _, c in partitions]] = True
    return mask


def _refuse_sealed(level: Level, mask: np.ndarray) -> None:
    sealed = mask & level.sealed
    if sealed.any():
        rows, columns = np.nonzero(sealed)
        cells = [(level.spaces[i], level.chunks[j]) for i, j in zip(rows, columns, strict=True)]
        raise TippersError(
            f"Sealed partitions cannot be recomputed: {_names(cells)}.",
            "Only the counts of these chunks are kept (TIPPERS_PRESENCE_DAYS).",
        )


def _require_inputs(level: Level, chosen: np.ndarray) -> None:
    missing = chosen & ~(level.knowable & level.readable)
    if missing.any():
        rows, columns = np.nonzero(missing)
        cells = [(level.spaces[i], level.chunks[j]) for i, j in zip(rows, columns, strict=True)]
        upstream = READS[level.asset]
        raise TippersError(
            f"{upstream} is missing or incomplete for: {_names(cells)}.",
            f"Materialize {upstream} for these chunks first.",
        )


def _names(cells: list[tuple[str, str]]) -> str:
    named = ", ".join(
        f"{space} in {chunk}" if space else chunk for space, chunk in cells[:MAX_NAMED]
    )
    more = len(cells) - MAX_NAMED
    return named + (f" and {more} more" if more > 0 else "")


@contextmanager
def progress(advance: Callable[[int], None]) -> Iterator[None]:
    """Report finished partitions to ``advance`` within the block."""
    token = PROGRESS.set(advance)
    try:
        yield
    finally:
        PROGRESS.reset(token)
