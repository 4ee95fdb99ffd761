"""The work of a labelled occupancy's asset: finds, counts and records the chunks that changed.

A chunk is recounted when its labels or the presence of its spaces differ from those that it was
counted from. Fingerprints show this, without reading anything else.
"""

from __future__ import annotations

import datetime as dt
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from logging import Logger

import numpy as np
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from tippers_dagster.campus.local_time import PUBLISHED_WIDTHS, LocalClock, chunk_bounds
from tippers_dagster.campus.spaces.tracking import Grid, wanted_grid
from tippers_dagster.campus.spaces.tree import SpaceTree, load_tree
from tippers_dagster.errors import TippersError
from tippers_dagster.occupancy import files
from tippers_dagster.occupancy.files import Rows
from tippers_dagster.occupancy.records import Overtaken, unchanged
from tippers_dagster.occupancy.state import DERIVED, SOURCE, State, load_state
from tippers_dagster.occupancy.subtrees import count_groups, read_presence
from tippers_dagster.people.by_label.counting import (
    Checked,
    PartsDiffer,
    check_parts,
    labels_fingerprint,
    read_totals,
    sparse,
)
from tippers_dagster.people.by_label.devices import DeviceLabels, LabelsByChunk
from tippers_dagster.people.by_label.repack import labelled_lake
from tippers_dagster.people.by_label.tables import labelled_chunk
from tippers_dagster.platform.fingerprint import mix, of_text, of_texts
from tippers_dagster.platform.lake import Lake, open_lake
from tippers_dagster.platform.locks.locks import advisory_locks
from tippers_dagster.platform.tasks import for_workers, threads_or_cluster
from tippers_dagster.platform.warehouse import fence
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

VERSION = 1
"""Raise it when the same labels and presence would give other counts: all chunks are recounted."""

CHUNKS_AT_ONCE = 16
"""Number of chunks counted and recorded under one lock, so that no run changes their presence."""

MAX_NAMED = 3


@dataclass(frozen=True, eq=False)
class ChunkInput:
    """The inputs of one chunk's counts.

    Attributes
    ----------
    spaces, prints
        Spaces with up-to-date occupancy, and the fingerprint of each one's presence (uint64).
    sources
        The spaces whose presence is read for them.
    fingerprint
        Fingerprint of all these inputs and the labels.
    """

    chunk: str
    spaces: list[str]
    prints: np.ndarray
    sources: list[str]
    fingerprint: int


@dataclass(frozen=True)
class ChunkDone:
    """The result of one chunk; ``devices`` is the sum of devices over bins, per label."""

    chunk: str
    spaces: int
    rows: int
    checked: Checked
    devices: tuple[int, ...]


@dataclass
class Outcome:
    """The result of a run.

    ``fresh`` counts chunks that were up to date, ``removed`` deleted files of untracked spaces,
    ``rows`` all published rows; ``failed`` has the exception of each failed chunk.
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
        """Per chunk, why its labels do not add up."""
        return {c: str(e) for c, e in self.failed.items() if isinstance(e, PartsDiffer)}

    def raise_failures(self) -> None:
        """Raise TippersError if a chunk failed."""
        if not self.failed:
            return
        named = [f"{c}: {e}" for c, e in sorted(self.failed.items())[:MAX_NAMED]]
        raise TippersError(
            f"Failed chunks: {len(self.failed)} of {len(self.failed) + len(self.done)}; the others "
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
    """Count every chunk that changed, and delete files that are no longer tracked.

    Parameters
    ----------
    name, by
        Names of the labelled occupancy, and of the label model or classifier.
    again
        Also recount chunks that are up to date, in case files of the lake were lost or damaged.
    before_writing
        Called before the first file is replaced or deleted.

    Raises
    ------
    NotLabelled, BadInput
        If there are no labels, or none of devices.
    """
    began = time.monotonic()
    labels = LabelsByChunk(settings, by)
    prints = LabelPrints(labels)
    outcome = Outcome(labels.current)
    recorded = _recorded(settings, name)
    inputs = chunk_inputs(settings, _state(settings), prints)
    changed = [i.chunk for i in inputs if again or recorded.get(i.chunk) != i.fingerprint]
    outcome.fresh = len(inputs) - len(changed)
    _confirm_unchanged_labels(settings, name, by, recorded, labels, prints)
    before_writing()
    labelled_lake(settings)
    for low in range(0, len(changed), CHUNKS_AT_ONCE):
        chunks = set(changed[low : low + CHUNKS_AT_ONCE])
        locks = [f"chunk {asset} {chunk}" for asset in (SOURCE, DERIVED) for chunk in chunks]
        with advisory_locks(settings, locks, log):
            state = _state(settings)
            now = chunk_inputs(settings, state, prints, chunks)
            with _voiding(settings, name, chunks):
                grid = state.grid
                done = list(_count(settings, name, labels, prints, grid, now, outcome))
                done = _not_overtaken(settings, state, now, done, outcome)
                _record(settings, name, by, labels, prints, now, done, run_id)
        outcome.done += done
    outcome.removed = _remove_untracked(settings, name)
    outcome.rows = _rows(settings, name)
    outcome.seconds = time.monotonic() - began
    return outcome


class LabelPrints:
    """The fingerprint of the labels that count in each chunk."""

    def __init__(self, labels: LabelsByChunk) -> None:
        self._labels = labels
        self._found: dict[str | None, int] = {}

    def __call__(self, chunk: str) -> int:
        """That of a chunk."""
        version = self._labels.version(chunk)
        if version not in self._found:
            self._found[version] = labels_fingerprint(self._labels.of(chunk))
        return self._found[version]


def chunk_inputs(
    settings: Settings,
    state: State,
    prints: Callable[[str], int],
    only: Collection[str] | None = None,
) -> list[ChunkInput]:
    """The current inputs of tracked chunks with computed occupancy, or of those in ``only``.

    Parameters
    ----------
    prints
        The fingerprint of the labels that count in a chunk.
    """
    tree, source, derived = state.grid.tree, state.source, state.derived
    at = np.array([tree.index[s] for s in source.spaces], np.int64)
    up = np.array([tree.index[s] for s in derived.spaces], np.int64)
    leaf = tree.is_leaf[at] if at.size else np.zeros(0, bool)
    names = of_texts(tree.ids)
    found = []
    for j, chunk in enumerate(state.grid.chunks):
        if chunk in state.sealed or (only is not None and chunk not in only):
            continue
        own = leaf & source.fresh[:, j]
        above = derived.fresh[:, j] & derived.readable[:, j]
        position = np.concatenate([at[own], up[above]])
        if not position.size:
            continue
        presence = np.concatenate([source.output[own, j], derived.output[above, j]])
        below = np.zeros(len(tree) + 1, np.int64)
        np.add.at(below, position, 1)
        np.add.at(below, position + tree.size[position], -1)
        needed = source.computed[:, j] & (np.cumsum(below)[at] > 0)
        total = int(mix(names[position], presence).sum(dtype=np.uint64))
        base = of_text(VERSION, settings.timezone, PUBLISHED_WIDTHS, prints(chunk))
        found.append(
            ChunkInput(
                chunk,
                [tree.ids[i] for i in position],
                presence,
                [source.spaces[i] for i in np.flatnonzero(needed)],
                of_text(base, total, position.size),
            )
        )
    return found


# --- counting -----------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class _ChunkTask:
    """One chunk, for a thread of this process or a worker of a cluster; has no MAC addresses."""

    settings: Settings
    name: str
    tree: SpaceTree
    tracked: list[str]
    inputs: ChunkInput
    labels: DeviceLabels
    labels_print: int


def _count(
    settings: Settings,
    name: str,
    labels: LabelsByChunk,
    prints: LabelPrints,
    grid: Grid,
    inputs: list[ChunkInput],
    outcome: Outcome,
) -> Iterator[ChunkDone]:
    plain, tracked = for_workers(settings), [*grid.leaves, *grid.parents]
    tasks = [
        _ChunkTask(
            plain,
            name,
            grid.tree,
            tracked,
            i,
            labels=labels.of(i.chunk),
            labels_print=prints(i.chunk),
        )
        for i in inputs
    ]
    with threads_or_cluster(settings) as pool:
        futures = [pool.submit(count_chunk, task) for task in tasks]
        for task, future in zip(tasks, futures, strict=True):
            try:
                yield future.result()
            except TippersError as error:
                outcome.failed[task.inputs.chunk] = error


def count_chunk(task: _ChunkTask) -> ChunkDone:
    """Count all spaces of a chunk in one pass, check the counts against occupancy, then write them.

    Raises
    ------
    PartsDiffer
        When the labels of a bin do not add up; nothing is written.
    """
    settings, tree, inputs, labels = task.settings, task.tree, task.inputs, task.labels
    lake = open_lake(settings)
    first, last = chunk_bounds(inputs.chunk, settings.chunk)
    clock = LocalClock(settings.timezone)
    edges = {width: clock.bin_edges(first, last, width) for width in PUBLISHED_WIDTHS}
    at = np.array([tree.index[space] for space in inputs.spaces], np.int64)
    presence = read_presence(lake, tree, inputs.chunk, inputs.sources, labels.groups)
    parts = count_groups(presence, tree, labels.groups.rows, at, edges)
    wholes = read_totals(lake, tree, inputs.chunk, inputs.spaces, edges)
    checked = check_parts(inputs.chunk, inputs.spaces, parts, wholes, edges)
    counts = sparse(inputs.spaces, inputs.prints, labels, task.labels_print, parts, edges)
    files.write(
        lake,
        files.labelled_counts(task.name),
        inputs.chunk,
        Rows.joined([*_kept(lake, task), counts]),
    )
    lake.sync()
    narrow = parts[PUBLISHED_WIDTHS[0]].sum(axis=(0, 2), dtype=np.int64)
    return ChunkDone(
        inputs.chunk,
        len(inputs.spaces),
        counts.table.num_rows,
        checked,
        tuple(narrow.tolist()),
    )


def _kept(lake: Lake, task: _ChunkTask) -> list[Rows]:
    """Counts, by the same labels, of tracked spaces whose occupancy is not up to date: they are
    right again if it turns out that nothing has changed. Others no longer mean anything.
    """
    spaces = set(task.tracked).difference(task.inputs.spaces)
    chunk, dataset = task.inputs.chunk, files.labelled_counts(task.name)
    found = files.read(lake, dataset, {chunk: sorted(spaces)}).get(chunk) if spaces else None
    if found is None or found.stamps is None:
        return []
    same = np.flatnonzero(found.stamps[:, 1] == np.uint64(task.labels_print))
    return [found.at(same)] if same.size else []


# --- the record ---------------------------------------------------------------------------------
def _state(settings: Settings) -> State:
    return load_state(settings, wanted_grid(settings, load_tree(settings)))


def _recorded(settings: Settings, name: str) -> dict[str, int]:
    """The recorded input fingerprints of the chunks."""
    query = sa.select(labelled_chunk.c.chunk, labelled_chunk.c.input_fingerprint)
    with warehouse_engine(settings).connect() as connection:
        rows = connection.execute(query.where(labelled_chunk.c.definition == name)).all()
    return {row.chunk: row.input_fingerprint % 2**64 for row in rows}


def _rows(settings: Settings, name: str) -> int:
    query = sa.select(sa.func.coalesce(sa.func.sum(labelled_chunk.c.rows), 0))
    with warehouse_engine(settings).connect() as connection:
        return int(connection.scalar(query.where(labelled_chunk.c.definition == name)) or 0)


def _confirm_unchanged_labels(
    settings: Settings,
    name: str,
    by: str,
    recorded: Iterable[str],
    labels: LabelsByChunk,
    prints: LabelPrints,
) -> None:
    """Record the new version of the labels for chunks that were counted with the same labels."""
    same: dict[tuple[str, int], list[str]] = defaultdict(list)
    for chunk in recorded:
        same[labels.version(chunk) or "", _signed(prints(chunk))].append(chunk)
    with warehouse_engine(settings).begin() as connection:
        for (version, labels_print), chunks in same.items():
            query = (
                sa.update(labelled_chunk)
                .where(
                    labelled_chunk.c.definition == name,
                    labelled_chunk.c.chunk.in_(chunks),
                    labelled_chunk.c.labels_fingerprint == labels_print,
                )
                .values(labels_of=by, labels_version=version)
            )
            connection.execute(query)


@contextmanager
def _voiding(settings: Settings, name: str, chunks: Collection[str]) -> Iterator[None]:
    """Wraps work that replaces the files of chunks and records them.

    A run that lost its locks may have overwritten files that another run recorded, so their records
    are voided. This works without locks, as such a run has lost them.
    """
    _void(settings, name, chunks)
    try:
        yield
    except fence.LocksLost:
        with fence.unfenced():
            _void(settings, name, chunks)
        raise


def _void(settings: Settings, name: str, chunks: Collection[str]) -> None:
    """Invalidate the records of chunks whose files are about to be replaced."""
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
    """The chunks whose presence and counts matched their records the whole time."""
    levels = (state.source, state.derived)
    masks = {level.asset: np.zeros(level.stale.shape, bool) for level in levels}
    for one in inputs:
        column = state.grid.chunks.index(one.chunk)
        masks[SOURCE][:, column] = np.isin(state.source.spaces, one.sources)
        masks[DERIVED][:, column] = np.isin(state.derived.spaces, one.spaces)
    with warehouse_engine(settings).connect() as connection:
        same = np.logical_and.reduce(
            [unchanged(connection, level, masks[level.asset]) for level in levels]
        )
    kept = [d for d in done if same[state.grid.chunks.index(d.chunk)]]
    for lost in {d.chunk for d in done} - {d.chunk for d in kept}:
        outcome.failed[lost] = Overtaken("Occupancy was recomputed while labels were counted.")
    return kept


def _record(
    settings: Settings,
    name: str,
    by: str,
    labels: LabelsByChunk,
    prints: LabelPrints,
    inputs: Iterable[ChunkInput],
    done: list[ChunkDone],
    run_id: str,
) -> None:
    made_from = {i.chunk: i.fingerprint for i in inputs}
    rows = [
        {
            "definition": name,
            "chunk": d.chunk,
            "labels_of": by,
            "labels_version": labels.version(d.chunk) or "",
            "labels_fingerprint": _signed(prints(d.chunk)),
            "input_fingerprint": _signed(made_from[d.chunk]),
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
    """Delete files and records of untracked chunks; returns the number of files.

    Those of sealed chunks stay, as they cannot be recomputed. Untracked spaces of other chunks are
    left out when these are counted again, which happens as their inputs have changed.
    """
    state = _state(settings)
    chunks = {*state.grid.chunks, *state.sealed}
    delete_untracked = sa.delete(labelled_chunk).where(
        labelled_chunk.c.definition == name, labelled_chunk.c.chunk.not_in(chunks)
    )
    with warehouse_engine(settings).begin() as connection:
        connection.execute(delete_untracked)
    lake, dataset = labelled_lake(settings), files.labelled_counts(name)
    untracked = [chunk for chunk in files.chunks(lake, dataset) if chunk not in chunks]
    for chunk in untracked:
        files.remove_chunk(lake, dataset, chunk)
    return len(untracked)


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value
