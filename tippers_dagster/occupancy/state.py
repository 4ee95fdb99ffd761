"""Which partitions are fresh, stale, waiting or failed, derived from tables alone.

A partition is stale while the fingerprint of its inputs differs from the one recorded when it
was computed. That is a level, not an event: no failed run or skipped tick can lose it. The inputs
are:

* sessions: the source's fingerprint of the chunk, and the settings that sessions depend on;
* source_occupancy: the content of the space's sessions in the chunk, so that a late session
  makes one space stale instead of the whole campus; and whether the space has children, in which
  case derived_occupancy publishes its counts;
* derived_occupancy: the presence of every space of the subtree;
* days_and_encounters: the chunk's sessions, and the constants of `encounters`.

The record of a partition is void from before its files are replaced until their new content is
recorded. A run that dies in between leaves it void, and void partitions are stale.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tippers_dagster.automation.retries import doubling_wait, retry_wait
from tippers_dagster.campus.local_time import PUBLISHED_WIDTHS
from tippers_dagster.campus.spaces.tracking import Grid
from tippers_dagster.occupancy import encounters
from tippers_dagster.occupancy.sessions import settings_fingerprint
from tippers_dagster.platform.fingerprint import mix, of_text, of_texts
from tippers_dagster.platform.warehouse.engine import read_arrow
from tippers_dagster.settings import Settings

SESSIONS = "sessions"
SOURCE = "source_occupancy"
DERIVED = "derived_occupancy"
DAYS = "days_and_encounters"
ASSETS = (SESSIONS, SOURCE, DERIVED, DAYS)

COUNTS = (SOURCE, DERIVED)
"""Assets with a partition per space and chunk; the others have one per chunk."""

READS = {SESSIONS: SESSIONS, SOURCE: SESSIONS, DERIVED: SOURCE, DAYS: SESSIONS}
"""Which asset's files are read to compute an asset; sessions are read from the campus's source."""

VERSION = 1
"""Raise it when the same sessions would give other presence or counts: all partitions become stale.
"""

DAYS_VERSION = 1
"""The same for days and encounters."""


@dataclass(eq=False)
class Level:
    """One asset's partitions as arrays [spaces, chunks]; those per chunk have one row.

    Attributes
    ----------
    asset, spaces, chunks
        The asset, and the ids of the rows and columns.
    wanted
        uint64 fingerprint of the current inputs.
    knowable
        bool: the inputs exist, so ``wanted`` is meaningful.
    ready
        bool: the inputs are themselves fresh.
    readable
        bool: the files of the inputs match their records, so they may be read.
    recorded, computed
        uint64 fingerprint of the inputs of the last computation, and whether there was one.
    output, recorded_at
        uint64 fingerprint of its result, and when that was recorded (Unix microseconds).
    void
        bool: the files have been replaced since, without a record; their content is unknown.
    tries, requested_at
        How often automation has requested it for the current inputs, and when last (Unix seconds).
    held_until
        No attempt before this time, as the environment failed (Unix seconds); 0 if it did not.
    sealed
        bool per chunk: only its counts are kept, and it is never computed again.
    now
        When all of this was read (Unix seconds): the reference time for decisions.
    """

    asset: str
    spaces: list[str]
    chunks: list[str]
    wanted: np.ndarray
    knowable: np.ndarray
    ready: np.ndarray
    readable: np.ndarray
    recorded: np.ndarray
    computed: np.ndarray
    output: np.ndarray
    recorded_at: np.ndarray
    void: np.ndarray
    tries: np.ndarray
    requested_at: np.ndarray
    held_until: np.ndarray
    sealed: np.ndarray
    now: float

    @cached_property
    def fresh(self) -> np.ndarray:
        """bool: computed from the current inputs, or in a sealed chunk."""
        known = self.computed & ~self.void
        current = known & ((self.recorded == self.wanted) | ~self.knowable)
        return current | self.sealed

    @property
    def computable(self) -> np.ndarray:
        """bool: the inputs are there and may be read, even if they are themselves out of date."""
        return self.readable & (self.knowable if self.asset != SESSIONS else True)

    @property
    def stale(self) -> np.ndarray:
        """bool: never computed, computed from other inputs, or void; never in a sealed chunk."""
        return ~self.fresh

    def failed_for_good(self, settings: Settings) -> np.ndarray:
        """bool: still stale after the maximum number of attempts."""
        return self.stale & (self.tries >= settings.max_tries) & ~self.waiting(settings)

    def waiting(self, settings: Settings) -> np.ndarray:
        """bool: the next retry is not due yet, as the last was recent or the environment failed."""
        return self._requested_within(doubling_wait(settings, self.tries)) | self._held()

    def held_back(self, settings: Settings) -> np.ndarray:
        """bool: the next retry is not due yet, whether a regular one or a later occasional one."""
        return self._requested_within(retry_wait(settings, self.tries)) | self._held()

    def _held(self) -> np.ndarray:
        return self.now < self.held_until

    def _requested_within(self, seconds: np.ndarray) -> np.ndarray:
        return (self.tries > 0) & (self.now < self.requested_at + seconds)


@dataclass(eq=False)
class State:
    """The levels of a grid at one moment.

    Attributes
    ----------
    log
        uint64 per chunk: a fingerprint of the sessions that start in it, and of how days and
        encounters are computed. All that rules read of them follows from it.
    sealed
        The chunks of which only counts are kept, also those that are not tracked.
    """

    grid: Grid
    sessions: Level
    source: Level
    derived: Level
    days: Level
    log: np.ndarray
    sealed: frozenset[str] = frozenset()

    def level(self, asset: str) -> Level:
        """The level of an asset."""
        return next(level for level in self.levels if level.asset == asset)

    def read_by(self, level: Level, chosen: np.ndarray) -> tuple[Level, np.ndarray]:
        """The partitions whose files are read to compute chosen partitions of a level.

        Returns
        -------
        (upstream level, bool [spaces, chunks] of that level)
        """
        if READS[level.asset] == SESSIONS:
            return self.sessions, np.asarray(chosen.any(axis=0, keepdims=True))
        tree = self.grid.tree
        above = np.zeros((len(tree) + 1, chosen.shape[1]), np.int64)
        at = np.array([tree.index[space] for space in level.spaces], np.int64)
        np.add.at(above, at, chosen)
        np.add.at(above, at + tree.size[at], -chosen.astype(np.int64))
        sources = [tree.index[space] for space in self.source.spaces]
        return self.source, np.cumsum(above, axis=0)[sources] > 0

    @property
    def counting(self) -> tuple[Level, Level, Level]:
        """The levels that counts come from, upstream first."""
        return self.sessions, self.source, self.derived

    @property
    def levels(self) -> tuple[Level, Level, Level, Level]:
        """All levels, in the order of ``ASSETS``: upstream first."""
        return self.sessions, self.source, self.derived, self.days


def source_spaces(settings: Settings, grid: Grid) -> list[str]:
    """The tracked spaces that have, or could have, their own sessions: leaves, and parents for
    which sessions were found.
    """
    table = read_arrow(settings, "SELECT DISTINCT space FROM tippers.session_space WHERE known")
    found = set(table["space"].to_pylist())
    return [*grid.leaves, *(space for space in grid.parents if space in found)]


def load_state(settings: Settings, grid: Grid, sources: list[str] | None = None) -> State:
    """Read the tables and derive all levels; takes milliseconds per ten thousand partitions."""
    sources = source_spaces(settings, grid) if sources is None else sources
    reader = _Reader(settings, grid, sources)
    sessions = reader.sessions()
    source = reader.source(sessions)
    derived = reader.derived(source)
    log = reader.log()
    days = reader.days(sessions, log)
    return State(grid, sessions, source, derived, days, log, reader.sealed)


def session_input(observed: int, settings_print: int) -> int:
    """The fingerprint of the inputs of a chunk's sessions."""
    return int(mix(np.array([observed], np.uint64), settings_print)[0])


def _days_fingerprint() -> int:
    """A fingerprint of everything but the sessions that days and encounters depend on."""
    return of_text(DAYS_VERSION, *encounters.LISTED, encounters.MEETINGS_PER_SESSION)


class _Reader:
    def __init__(self, settings: Settings, grid: Grid, sources: list[str]) -> None:
        self.settings, self.grid, self.sources = settings, grid, sources
        self.now = dt.datetime.now(dt.UTC).timestamp()
        self.counted = of_text(VERSION, settings.timezone, PUBLISHED_WIDTHS)
        self.figures = read_arrow(
            settings,
            "SELECT asset, space, chunk, input_fingerprint, output_fingerprint, computed_at, "
            "coalesce(log_fingerprint, 0) AS log_fingerprint, "
            "r.run_id IS NOT NULL AS void "
            "FROM tippers.partition_figures LEFT JOIN tippers.replacing r "
            "USING (asset, space, chunk)",
        )
        self.attempts = read_arrow(
            settings,
            "SELECT asset, space, chunk, wanted, tries, "
            "extract(epoch FROM requested_at)::float8 AS requested_at, "
            "coalesce(extract(epoch FROM held_until), 0)::float8 AS held_until "
            "FROM tippers.attempt",
        )
        self.contents = read_arrow(
            settings, "SELECT chunk, space, fingerprint, known FROM tippers.session_space"
        )
        self.sealed = frozenset(
            read_arrow(settings, "SELECT chunk FROM tippers.sealed_chunk")["chunk"].to_pylist()
        )

    def sessions(self) -> Level:
        chunks = self.grid.chunks
        observed = read_arrow(self.settings, "SELECT chunk, fingerprint FROM tippers.source_chunk")
        at = _positions(observed["chunk"], chunks)
        wanted = np.zeros((1, len(chunks)), np.uint64)
        knowable = np.zeros_like(wanted, dtype=bool)
        base = settings_fingerprint(self.settings)
        wanted[0, at[at >= 0]] = mix(_unsigned(observed["fingerprint"])[at >= 0], base)
        knowable[0, at[at >= 0]] = True
        wanted += self._changed_spaces()
        always = np.ones_like(knowable)
        return self._level(SESSIONS, [""], wanted, knowable, always, always)

    def source(self, sessions: Level) -> Level:
        chunks = self.grid.chunks
        wanted = np.zeros((len(self.sources), len(chunks)), np.uint64)
        row, column = self._place(self.contents, self.sources)
        inside = (row >= 0) & (column >= 0) & self.contents["known"].to_numpy()
        wanted[row[inside], column[inside]] = _unsigned(self.contents["fingerprint"])[inside]
        shape = wanted.shape
        tree = self.grid.tree
        publishes = tree.is_leaf[[tree.index[space] for space in self.sources]]
        return self._level(
            SOURCE,
            self.sources,
            mix(wanted, publishes[:, None], self.counted),
            np.broadcast_to(sessions.computed, shape),
            np.broadcast_to(sessions.fresh, shape),
            np.broadcast_to(~sessions.void, shape),
        )

    def derived(self, source: Level) -> Level:
        tree, parents = self.grid.tree, self.grid.parents
        at = np.array([tree.index[s] for s in source.spaces], np.int64)
        shape = (len(tree), len(source.chunks))
        prints = np.zeros(shape, np.uint64)
        prints[at] = mix(of_texts(source.spaces)[:, None], source.output)
        up = np.array([tree.index[p] for p in parents], np.int64)

        def nowhere_below(mask: np.ndarray) -> np.ndarray:
            """Parents without any marked source in their subtree."""
            marked = np.zeros(shape, np.uint64)
            marked[at] = mask
            return tree.subtree_sums(marked)[up] == 0

        return self._level(
            DERIVED,
            parents,
            mix(tree.subtree_sums(prints)[up], self.counted),
            nowhere_below(~source.computed),
            nowhere_below(~(source.fresh & source.ready)),
            nowhere_below(source.void),
        )

    def log(self) -> np.ndarray:
        figures = self.figures.filter(pc.equal(self.figures["asset"], SESSIONS))
        found = np.zeros((1, len(self.grid.chunks)), np.uint64)
        at = self._cells(figures, [""])
        found[at.cells] = _unsigned(figures["log_fingerprint"])[at.kept]
        return mix(found[0], _days_fingerprint())

    def days(self, sessions: Level, log: np.ndarray) -> Level:
        # Carried sessions count too: what the sessions were computed from is part of it.
        return self._level(
            DAYS,
            sessions.spaces,
            mix(sessions.recorded, sessions.output, log),
            sessions.computed,
            sessions.fresh,
            ~sessions.void,
        )

    def _changed_spaces(self) -> np.ndarray:
        """Per chunk, a fingerprint of the spaces added to or removed from the tree since the
        chunk's sessions were extracted; 0 if none were.
        """
        known_now = np.asarray(
            pc.is_in(self.contents["space"], value_set=pa.array(self.grid.tree.ids, pa.string()))
        )
        changed = self.contents.filter(pa.array(known_now != self.contents["known"].to_numpy()))
        total = np.zeros((1, len(self.grid.chunks)), np.uint64)
        at = _positions(changed["chunk"], self.grid.chunks)
        np.add.at(total[0], at[at >= 0], of_texts(changed["space"].to_pylist())[at >= 0])
        return total

    def _level(
        self,
        asset: str,
        spaces: list[str],
        wanted: np.ndarray,
        knowable: np.ndarray,
        ready: np.ndarray,
        readable: np.ndarray,
    ) -> Level:
        shape = (len(spaces), len(self.grid.chunks))
        recorded, output = np.zeros(shape, np.uint64), np.zeros(shape, np.uint64)
        recorded_at = np.zeros(shape, np.int64)
        computed, void = np.zeros(shape, bool), np.zeros(shape, bool)
        figures = self.figures.filter(pc.equal(self.figures["asset"], asset))
        at = self._cells(figures, spaces)
        recorded[at.cells] = _unsigned(figures["input_fingerprint"])[at.kept]
        output[at.cells] = _unsigned(figures["output_fingerprint"])[at.kept]
        computed[at.cells] = True
        recorded_at[at.cells] = _micros(figures["computed_at"])[at.kept]
        void[at.cells] = figures["void"].to_numpy()[at.kept]
        tries = np.zeros(shape, np.int64)
        requested_at, held_until = np.zeros(shape), np.zeros(shape)
        attempts = self.attempts.filter(pc.equal(self.attempts["asset"], asset))
        at = self._cells(attempts, spaces)
        same = _unsigned(attempts["wanted"])[at.kept] == wanted[at.cells]
        tries[at.cells] = np.where(same, attempts["tries"].to_numpy()[at.kept], 0)
        requested_at[at.cells] = attempts["requested_at"].to_numpy()[at.kept]
        # The environment fails whatever the inputs are.
        held_until[at.cells] = attempts["held_until"].to_numpy()[at.kept]
        return Level(
            asset,
            spaces,
            self.grid.chunks,
            wanted.reshape(shape),
            knowable.reshape(shape),
            ready.reshape(shape),
            readable.reshape(shape),
            recorded,
            computed,
            output,
            recorded_at,
            void,
            tries,
            requested_at,
            held_until,
            np.array([chunk in self.sealed for chunk in self.grid.chunks], bool),
            self.now,
        )

    def _place(self, table: pa.Table, spaces: list[str]) -> tuple[np.ndarray, np.ndarray]:
        return _positions(table["space"], spaces), _positions(table["chunk"], self.grid.chunks)

    def _cells(self, table: pa.Table, spaces: list[str]) -> _Cells:
        row, column = self._place(table, spaces)
        kept = np.flatnonzero((row >= 0) & (column >= 0))
        return _Cells(kept, (row[kept], column[kept]))


@dataclass(frozen=True)
class _Cells:
    kept: np.ndarray
    cells: tuple[np.ndarray, np.ndarray]


def _positions(values: pa.ChunkedArray, among: list[str]) -> np.ndarray:
    found = pc.index_in(values, value_set=pa.array(among, pa.string()))
    return pc.fill_null(found, -1).to_numpy()


def _micros(times: pa.ChunkedArray) -> np.ndarray:
    return times.cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy()


def _unsigned(values: pa.ChunkedArray) -> np.ndarray:
    """PostgreSQL bigints as the unsigned fingerprints that they store."""
    return values.to_numpy().astype(np.int64).view(np.uint64)
