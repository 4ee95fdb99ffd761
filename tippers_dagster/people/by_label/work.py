"""What an asset of this domain does: which chunks changed, counting them, recording them.

A chunk is counted again when its labels or the presence of its spaces are others than those it was
counted from; both are told by fingerprints, and nothing else is read for it.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from logging import Logger

import numpy as np
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from tippers_dagster.campus.local_time import PUBLISHED_WIDTHS, LocalClock, chunk_bounds
from tippers_dagster.campus.spaces.tracking import wanted_grid
from tippers_dagster.campus.spaces.tree import SpaceTree, load_tree
from tippers_dagster.errors import TippersError
from tippers_dagster.occupancy.records import Overtaken, unchanged
from tippers_dagster.occupancy.state import DERIVED, SOURCE, State, load_state
from tippers_dagster.occupancy.subtrees import count_groups, read_presence
from tippers_dagster.people.by_label.counting import (
    Checked,
    PartsDiffer,
    check_parts,
    labels_fingerprint,
    read_wholes,
    sparse_tables,
)
from tippers_dagster.people.by_label.devices import DeviceLabels, device_labels
from tippers_dagster.people.by_label.tables import labelled_chunk
from tippers_dagster.platform.fingerprint import mix, of_text, of_texts
from tippers_dagster.platform.lake import Lake, open_lake
from tippers_dagster.platform.lake.keys import decode, labelled_key, labelled_prefix
from tippers_dagster.platform.locks.locks import held_together
from tippers_dagster.platform.tasks import for_workers, threads_or_cluster
from tippers_dagster.platform.warehouse import fence
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

VERSION = 1
"""Raise it when the same labels and presence would give other counts: all is counted anew."""

CHUNKS_AT_ONCE = 16
"""Counted under one lock, while no run changes their presence; then they are recorded."""

NAMED_AT_MOST = 3


@dataclass(frozen=True, eq=False)
class ChunkInput:
    """What the counts of one chunk are made of.

    Attributes
    ----------
    spaces, prints
        Whose occupancy is up to date, and the fingerprint of the presence of each (uint64).
    sources
        The spaces whose recorded presence is read for them.
    fingerprint
        Of all of it, and of the labels.
    """

    chunk: str
    spaces: list[str]
    prints: np.ndarray
    sources: list[str]
    fingerprint: int


@dataclass(frozen=True)
class ChunkDone:
    """What one chunk came to; ``devices``: devices times bins, by label."""

    chunk: str
    spaces: int
    rows: int
    checked: Checked
    devices: tuple[int, ...]


@dataclass
class Outcome:
    """What a run did.

    ``fresh`` counts chunks that were up to date; ``removed`` files of spaces that are no longer
    tracked; ``rows`` all that is published then; ``failed`` has an exception per failed chunk.
    """

    labels: DeviceLabels
    fresh: int = 0
    rows: int = 0
    done: list[ChunkDone] = field(default_factory=list)
    failed: dict[str, Exception] = field(default_factory=dict)
    removed: int = 0
    seconds: float = 0.0

    @property
    def wrong(self) -> dict[str, str]:
        """By chunk: why its parts do not add up."""
        return {c: str(e) for c, e in self.failed.items() if isinstance(e, PartsDiffer)}

    def raise_failures(self) -> None:
        """Raise TippersError when a chunk failed."""
        if not self.failed:
            return
        named = [f"{c}: {e}" for c, e in sorted(self.failed.items())[:NAMED_AT_MOST]]
        raise TippersError(
            f"{len(self.failed)} of {len(self.failed) + len(self.done)} chunks failed; the others "
            "are recorded. " + " ".join(named)
        )


def bring_up_to_date(
    settings: Settings,
    name: str,
    by: str,
    run_id: str,
    log: Logger,
    *,
    again: bool = False,
    before_writing: Callable[[], None] = lambda: None,
) -> Outcome:
    """Count every chunk that changed, and remove what is no longer tracked.

    Parameters
    ----------
    name, by
        Of the labelled occupancy, and of the label model or classifier.
    again
        Also what is up to date: for when files of the lake were lost or damaged.
    before_writing
        Called before the first file is replaced or removed.

    Raises
    ------
    NotLabelled, BadInput
        No labels, or not of devices.
    """
    began = time.monotonic()
    labels = device_labels(settings, by)
    labels_print = labels_fingerprint(labels)
    outcome = Outcome(labels)
    recorded = {} if again else _recorded(settings, name)
    inputs = chunk_inputs(settings, _state(settings), labels_print)
    changed = [i.chunk for i in inputs if recorded.get(i.chunk) != i.fingerprint]
    outcome.fresh = len(inputs) - len(changed)
    _confirm(settings, name, by, labels, labels_print)
    before_writing()
    for low in range(0, len(changed), CHUNKS_AT_ONCE):
        chunks = set(changed[low : low + CHUNKS_AT_ONCE])
        locks = [f"chunk {asset} {chunk}" for asset in (SOURCE, DERIVED) for chunk in chunks]
        with held_together(settings, locks, log):
            state = _state(settings)
            now = chunk_inputs(settings, state, labels_print, chunks)
            with _voiding(settings, name, chunks):
                tree = state.grid.tree
                done = list(_count(settings, name, labels, labels_print, tree, now, outcome))
                done = _not_overtaken(settings, state, now, done, outcome)
                _record(settings, name, by, labels, labels_print, now, done, run_id)
        outcome.done += done
    outcome.removed = _remove_untracked(settings, name)
    outcome.rows = _rows(settings, name)
    outcome.seconds = time.monotonic() - began
    return outcome


def chunk_inputs(
    settings: Settings, state: State, labels_print: int, only: Collection[str] | None = None
) -> list[ChunkInput]:
    """What every tracked chunk of which something is computed would be counted from now.

    ``only``: just these chunks.
    """
    tree, source, derived = state.grid.tree, state.source, state.derived
    at = np.array([tree.index[s] for s in source.spaces], np.int64)
    up = np.array([tree.index[s] for s in derived.spaces], np.int64)
    leaf = tree.is_leaf[at] if at.size else np.zeros(0, bool)
    names = of_texts(tree.ids)
    base = of_text(VERSION, settings.timezone, PUBLISHED_WIDTHS, labels_print)
    found = []
    for j, chunk in enumerate(state.grid.chunks):
        if chunk in state.sealed or (only is not None and chunk not in only):
            continue
        own = leaf & source.fresh[:, j]
        above = derived.fresh[:, j] & derived.readable[:, j]
        position = np.concatenate([at[own], up[above]])
        if not position.size:
            continue
        prints = np.concatenate([source.output[own, j], derived.output[above, j]])
        below = np.zeros(len(tree) + 1, np.int64)
        np.add.at(below, position, 1)
        np.add.at(below, position + tree.size[position], -1)
        needed = source.computed[:, j] & (np.cumsum(below)[at] > 0)
        total = int(mix(names[position], prints).sum(dtype=np.uint64))
        found.append(
            ChunkInput(
                chunk,
                [tree.ids[i] for i in position],
                prints,
                [source.spaces[i] for i in np.flatnonzero(needed)],
                of_text(base, total, position.size),
            )
        )
    return found


# --- counting -----------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class _ChunkTask:
    """One chunk, for a thread of this process or a worker of a cluster. No MAC address in it."""

    settings: Settings
    name: str
    tree: SpaceTree
    inputs: ChunkInput
    labels: DeviceLabels
    labels_print: int


def _count(
    settings: Settings,
    name: str,
    labels: DeviceLabels,
    labels_print: int,
    tree: SpaceTree,
    inputs: list[ChunkInput],
    outcome: Outcome,
) -> Iterator[ChunkDone]:
    plain = for_workers(settings)
    tasks = [_ChunkTask(plain, name, tree, one, labels, labels_print) for one in inputs]
    with threads_or_cluster(settings) as pool:
        futures = [pool.submit(count_chunk, task) for task in tasks]
        for task, future in zip(tasks, futures, strict=True):
            try:
                yield future.result()
            except TippersError as error:
                outcome.failed[task.inputs.chunk] = error


def count_chunk(task: _ChunkTask) -> ChunkDone:
    """Count all spaces of a chunk in one pass, compare with occupancy, and only then write.

    Raises
    ------
    PartsDiffer
        When the parts of a bin do not add up; nothing is written.
    """
    settings, tree, inputs, labels = task.settings, task.tree, task.inputs, task.labels
    lake = open_lake(settings)
    first, last = chunk_bounds(inputs.chunk, settings.chunk)
    clock = LocalClock(settings.timezone)
    edges = {width: clock.bin_edges(first, last, width) for width in PUBLISHED_WIDTHS}
    at = np.array([tree.index[space] for space in inputs.spaces], np.int64)
    presence = read_presence(lake, tree, inputs.chunk, inputs.sources, labels.groups)
    parts = count_groups(presence, tree, labels.groups.rows, at, edges)
    wholes = read_wholes(lake, inputs.chunk, inputs.spaces, edges)
    checked = check_parts(inputs.chunk, inputs.spaces, parts, wholes, edges)
    tables = dict(
        sparse_tables(inputs.spaces, inputs.prints, labels, task.labels_print, parts, edges)
    )
    lake.write_tables((labelled_key(task.name, s, inputs.chunk), t) for s, t in tables.items())
    lake.sync()
    narrow = parts[PUBLISHED_WIDTHS[0]].sum(axis=(0, 2), dtype=np.int64)
    return ChunkDone(
        inputs.chunk,
        len(inputs.spaces),
        sum(table.num_rows for table in tables.values()),
        checked,
        tuple(narrow.tolist()),
    )


# --- the record ---------------------------------------------------------------------------------
def _state(settings: Settings) -> State:
    return load_state(settings, wanted_grid(settings, load_tree(settings)))


def _recorded(settings: Settings, name: str) -> dict[str, int]:
    """Fingerprints of what the chunks were counted from."""
    query = sa.select(labelled_chunk.c.chunk, labelled_chunk.c.input_fingerprint)
    with warehouse_engine(settings).connect() as connection:
        rows = connection.execute(query.where(labelled_chunk.c.definition == name)).all()
    return {row.chunk: row.input_fingerprint % 2**64 for row in rows}


def _rows(settings: Settings, name: str) -> int:
    query = sa.select(sa.func.coalesce(sa.func.sum(labelled_chunk.c.rows), 0))
    with warehouse_engine(settings).connect() as connection:
        return int(connection.scalar(query.where(labelled_chunk.c.definition == name)) or 0)


def _confirm(
    settings: Settings, name: str, by: str, labels: DeviceLabels, labels_print: int
) -> None:
    """What was counted with the very same labels is as good under their new version."""
    query = (
        sa.update(labelled_chunk)
        .where(
            labelled_chunk.c.definition == name,
            labelled_chunk.c.labels_fingerprint == _signed(labels_print),
        )
        .values(labels_of=by, labels_version=labels.version or "")
    )
    with warehouse_engine(settings).begin() as connection:
        connection.execute(query)


@contextmanager
def _voiding(settings: Settings, name: str, chunks: Collection[str]) -> Iterator[None]:
    """Around the work that replaces files of chunks and records them.

    A run that lost its locks may have overwritten files that another run recorded: they are void
    then, whoever recorded them. This needs no locks: they are what such a run has lost.
    """
    _void(settings, name, chunks)
    try:
        yield
    except fence.LocksLost:
        with fence.lifted():
            _void(settings, name, chunks)
        raise


def _void(settings: Settings, name: str, chunks: Collection[str]) -> None:
    """Invalidate the records of chunks, as their files are about to be replaced."""
    query = sa.delete(labelled_chunk).where(
        labelled_chunk.c.definition == name, labelled_chunk.c.chunk.in_(chunks)
    )
    with warehouse_engine(settings).begin() as connection:
        connection.execute(query)


def _not_overtaken(
    settings: Settings,
    state: State,
    inputs: Iterable[ChunkInput],
    done: list[ChunkDone],
    outcome: Outcome,
) -> list[ChunkDone]:
    """Those whose presence and counts were what is recorded of them all the while."""
    masks = {level.asset: np.zeros(level.stale.shape, bool) for level in state.levels}
    for one in inputs:
        column = state.grid.chunks.index(one.chunk)
        masks[SOURCE][:, column] = np.isin(state.source.spaces, one.sources)
        masks[DERIVED][:, column] = np.isin(state.derived.spaces, one.spaces)
    with warehouse_engine(settings).connect() as connection:
        same = np.logical_and.reduce(
            [unchanged(connection, level, masks[level.asset]) for level in state.levels[1:]]
        )
    kept = [d for d in done if same[state.grid.chunks.index(d.chunk)]]
    for lost in {d.chunk for d in done} - {d.chunk for d in kept}:
        outcome.failed[lost] = Overtaken("Occupancy was recomputed while it was counted.")
    return kept


def _record(
    settings: Settings,
    name: str,
    by: str,
    labels: DeviceLabels,
    labels_print: int,
    inputs: Iterable[ChunkInput],
    done: list[ChunkDone],
    run_id: str,
) -> None:
    prints = {i.chunk: i.fingerprint for i in inputs}
    rows = [
        {
            "definition": name,
            "chunk": d.chunk,
            "labels_of": by,
            "labels_version": labels.version or "",
            "labels_fingerprint": _signed(labels_print),
            "input_fingerprint": _signed(prints[d.chunk]),
            "spaces": d.spaces,
            "rows": d.rows,
            "run_id": run_id,
            "computed_at": dt.datetime.now(dt.UTC),
        }
        for d in done
    ]
    if not rows:
        return
    insertion = insert(labelled_chunk).values(rows)
    changes = {c.name: c for c in insertion.excluded if c.name not in ("definition", "chunk")}
    with warehouse_engine(settings).begin() as connection:
        connection.execute(
            insertion.on_conflict_do_update(index_elements=["definition", "chunk"], set_=changes)
        )


def _remove_untracked(settings: Settings, name: str) -> int:
    """Remove files and records of spaces and chunks that are not tracked; returns how many files.

    Those of a sealed chunk stay: they could not be made again.
    """
    state = _state(settings)
    spaces = {*state.grid.leaves, *state.grid.parents}
    chunks = {*state.grid.chunks, *state.sealed}
    gone = sa.delete(labelled_chunk).where(
        labelled_chunk.c.definition == name, labelled_chunk.c.chunk.not_in(chunks)
    )
    with warehouse_engine(settings).begin() as connection:
        connection.execute(gone)
    lake, removed = open_lake(settings), 0
    for key, space, chunk in labelled_files(lake, name):
        if chunk not in chunks or (space not in spaces and chunk not in state.sealed):
            lake.delete(key)
            removed += 1
    return removed


def labelled_files(lake: Lake, name: str) -> Iterator[tuple[str, str, str]]:
    """Key, space and chunk of every file of a labelled occupancy."""
    for key in lake.list(labelled_prefix(name)):
        space, chunk = key.removesuffix(".parquet").split("/")[-2:]
        yield key, decode(space.removeprefix("space=")), decode(chunk.removeprefix("chunk="))


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value
