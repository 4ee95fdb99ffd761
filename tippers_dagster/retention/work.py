"""Finds chunks that are due for deletion, checks that they may be deleted, and deletes them.

A chunk is *sealed* in one transaction; from then on it is neither computed nor requested. Then its
files are deleted. If this is interrupted, the next run continues.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from logging import Logger
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from tippers_dagster.campus.addresses import forget_addresses
from tippers_dagster.campus.local_time import chunk_bounds
from tippers_dagster.campus.source.observed import Observed
from tippers_dagster.campus.source.read import source_snapshot
from tippers_dagster.campus.spaces.tracking import wanted_grid
from tippers_dagster.campus.spaces.tree import load_tree
from tippers_dagster.catalog.kinds import Kind, LabelledOccupancy
from tippers_dagster.catalog.store import load_catalog
from tippers_dagster.labelling.labels import NotLabelled
from tippers_dagster.occupancy.chunk_tables import PREFIXES
from tippers_dagster.occupancy.files import PRESENCE
from tippers_dagster.occupancy.repack import occupancy_lake
from tippers_dagster.occupancy.sessions import UNDATED, consecutive
from tippers_dagster.occupancy.source_checks import observe
from tippers_dagster.occupancy.state import ASSETS, State, load_state
from tippers_dagster.occupancy.tables import (
    attempt,
    partition_figures,
    replacing,
    sealed_chunk,
    session_reject,
    session_space,
    source_chunk,
)
from tippers_dagster.people.by_label.devices import LabelsByChunk
from tippers_dagster.people.by_label.tables import labelled_chunk
from tippers_dagster.people.by_label.work import LabelPrints, chunk_inputs
from tippers_dagster.platform.lake import Lake
from tippers_dagster.platform.lake.keys import SESSIONS_PREFIX, chunk_of
from tippers_dagster.platform.locks.locks import advisory_locks
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings
from tippers_dagster.sql.log_schema import forget_log

_DELETED = (SESSIONS_PREFIX, f"{PRESENCE.folder}/", *PREFIXES)

CHECKED_AT_ONCE = 8
"""Sealed chunks checked for late sessions each time, in turn: each check is an index range scan of
the source."""


@dataclass(frozen=True)
class Sealed:
    """A chunk of which only counts are kept.

    ``finished``: nothing is left to delete. ``late_rows``: number of rows that the source has in
    addition, when last checked; None if never checked. ``before_normalising``: a device whose
    address was spelled in several ways counted as several.
    """

    chunk: str
    sealed_at: dt.datetime
    finished: bool
    late_rows: int | None
    looked_at: dt.datetime | None
    before_normalising: bool


@dataclass(frozen=True)
class RetentionStatus:
    """The status of retention.

    Attributes
    ----------
    until
        Chunks that ended by this local date are due; None: retention is not set.
    due
        Chunks whose presence can be deleted now.
    held
        Chunks that are old enough but held back, and why.
    sealed
        Chunks that are already sealed.
    """

    until: dt.date | None
    due: list[str]
    held: dict[str, str]
    sealed: list[Sealed]


@dataclass
class Outcome:
    """Chunks sealed, numbers of files deleted and of rejected rows whose MAC address was, of
    devices whose address was forgotten, chunks held back and why, and numbers of late rows by
    chunk.
    """

    sealed: list[str] = field(default_factory=list)
    files: int = 0
    blanked: int = 0
    forgotten: int = 0
    held: dict[str, str] = field(default_factory=dict)
    late: dict[str, int] = field(default_factory=dict)


# --- status -------------------------------------------------------------------------------------
def retention_status(settings: Settings, today: dt.date | None = None) -> RetentionStatus:
    """Chunks that are due, held back and sealed. Changes nothing."""
    until = last_day(settings, today)
    sealed = _sealed(settings)
    if until is None:
        return RetentionStatus(None, [], {}, sealed)
    files = _old_files(settings, until)
    done = {s.chunk for s in sealed if s.finished}
    state, wanted = _state(settings), _labelled(settings)
    due: list[str] = []
    held: dict[str, str] = {}
    for chunk in sorted(set(files) - done):
        why = _why_held(settings, state, wanted, chunk)
        if why is None:
            due.append(chunk)
        else:
            held[chunk] = why
    return RetentionStatus(until, due, held, sealed)


def last_day(settings: Settings, today: dt.date | None = None) -> dt.date | None:
    """The local date by which a chunk must have ended to be due; None if retention is not set."""
    if settings.presence_days is None:
        return None
    today = today or dt.datetime.now(ZoneInfo(settings.timezone)).date()
    return today - dt.timedelta(days=settings.presence_days)


def _state(settings: Settings) -> State:
    return load_state(settings, wanted_grid(settings, load_tree(settings)))


def _sealed(settings: Settings) -> list[Sealed]:
    c = sealed_chunk.c
    query = sa.select(
        c.chunk,
        c.sealed_at,
        c.deleted_at.is_not(None),
        c.late_rows,
        c.looked_at,
        c.before_normalising,
    ).order_by(c.chunk)
    with warehouse_engine(settings).connect() as connection:
        return [Sealed(*row) for row in connection.execute(query)]


def _old_files(settings: Settings, until: dt.date) -> dict[str, list[str]]:
    """Keys of everything about devices in the lake, for chunks that ended by a date."""
    lake: Lake = occupancy_lake(settings)
    found: dict[str, list[str]] = {}
    for key in [k for prefix in _DELETED for k in lake.list(prefix)]:
        chunk = chunk_of(key)
        if chunk_bounds(chunk, settings.chunk)[1] <= until:
            found.setdefault(chunk, []).append(key)
    return found


def _labelled(settings: Settings) -> dict[str, LabelPrints | str]:
    """Per labelled occupancy, the fingerprints of its labels, or why there are none."""
    catalog = load_catalog(settings)
    found: dict[str, LabelPrints | str] = {}
    for definition in catalog.of_kind(Kind.LABELLED_OCCUPANCY):
        assert isinstance(definition.body, LabelledOccupancy)
        by = str(catalog.resolve(definition.body.by, definition.ref.concept).ref)
        try:
            found[definition.ref.name] = LabelPrints(LabelsByChunk(settings, by))
        except NotLabelled as error:
            found[definition.ref.name] = error.message
    return found


def _why_held(
    settings: Settings, state: State, labelled: Mapping[str, LabelPrints | str], chunk: str
) -> str | None:
    """Why the presence of a chunk may not be deleted yet; None if it may, or is not tracked."""
    if chunk in state.sealed or chunk not in state.grid.chunks:
        return None
    column = state.grid.chunks.index(chunk)
    for level in state.counting:
        if stale := int(level.stale[:, column].sum()):
            return f"Partitions of {level.asset} that are not up to date: {stale:,}."
    for name, labels in labelled.items():
        if isinstance(labels, str):
            return f"labelled_occupancy.{name} is not counted: {labels}"
        inputs = chunk_inputs(settings, state, labels, [chunk])
        if inputs and _recorded(settings, name, chunk) != inputs[0].fingerprint:
            return f"labelled_occupancy.{name} is not up to date."
    return None


def _recorded(settings: Settings, name: str, chunk: str) -> int | None:
    query = sa.select(labelled_chunk.c.input_fingerprint).where(
        labelled_chunk.c.definition == name, labelled_chunk.c.chunk == chunk
    )
    with warehouse_engine(settings).connect() as connection:
        found = connection.scalar(query)
    return None if found is None else found % 2**64


# --- deletion -----------------------------------------------------------------------------------
def delete_due(settings: Settings, log: Logger, today: dt.date | None = None) -> Outcome:
    """Seal due chunks, delete their sessions and presence, and check for late rows.

    Does nothing if ``TIPPERS_PRESENCE_DAYS`` is not set. It is idempotent, and concurrent calls
    wait for each other.
    """
    outcome = Outcome()
    until = last_day(settings, today)
    if until is None:
        return outcome
    with advisory_locks(settings, ["presence retention"], log):
        files = _old_files(settings, until)
        labelled = _labelled(settings)
        unfinished = {s.chunk for s in _sealed(settings) if not s.finished}
        for chunk in sorted({*files, *unfinished}):
            _process_chunk(settings, log, labelled, chunk, files.get(chunk, []), outcome)
        outcome.blanked += _blank_rejects(settings, until, outcome.held)
        outcome.forgotten = forget_addresses(settings)
        forget_log(settings)
        outcome.late = _check_for_late(settings)
    return outcome


def _process_chunk(
    settings: Settings,
    log: Logger,
    labelled: Mapping[str, LabelPrints | str],
    chunk: str,
    files: list[str],
    outcome: Outcome,
) -> None:
    """Seal and delete one chunk, if it is not held back, while no run computes it."""
    with advisory_locks(settings, [f"chunk {asset} {chunk}" for asset in ASSETS], log):
        state = _state(settings)
        if chunk not in state.sealed and chunk in state.grid.chunks:
            observed = observe(settings, [chunk])[chunk]  # late rows make it stale and hold it back
            state = _state(settings)
            if why := _why_held(settings, state, labelled, chunk):
                outcome.held[chunk] = why
                return
            _seal(settings, chunk, observed)
            outcome.sealed.append(chunk)
        elif chunk not in state.sealed:
            _forget(settings, chunk)
        lake = occupancy_lake(settings)
        for key in files:
            lake.delete(key)
        outcome.files += len(files)
        _finish(settings, chunk)


def _seal(settings: Settings, chunk: str, observed: Observed) -> None:
    """Mark a chunk as sealed: from now on it is neither computed nor requested."""
    row = {
        "chunk": chunk,
        "fingerprint": _signed(observed.fingerprint),
        "rows": observed.rows,
        "sealed_at": dt.datetime.now(dt.UTC),
    }
    with warehouse_engine(settings).begin() as connection:
        connection.execute(insert(sealed_chunk).values(row).on_conflict_do_nothing())
        connection.execute(sa.delete(attempt).where(attempt.c.chunk == chunk))


def _forget(settings: Settings, chunk: str) -> None:
    """Delete the records of an untracked chunk instead of sealing it: tracked again, it is
    recomputed.
    """
    with warehouse_engine(settings).begin() as connection:
        for table in (partition_figures, replacing, attempt, session_space, source_chunk):
            connection.execute(sa.delete(table).where(table.c.chunk == chunk))


def _finish(settings: Settings, chunk: str) -> None:
    query = (
        sa.update(sealed_chunk)
        .where(sealed_chunk.c.chunk == chunk, sealed_chunk.c.deleted_at.is_(None))
        .values(deleted_at=dt.datetime.now(dt.UTC))
    )
    with warehouse_engine(settings).begin() as connection:
        connection.execute(query)


def _blank_rejects(settings: Settings, until: dt.date, held: Mapping[str, str]) -> int:
    """Remove what rejected rows in old chunks say of devices; returns their number.

    Rows of which no start is known may be old, too.
    """
    c = session_reject.c
    is_named = sa.or_(c.mac_address.is_not(None), c.row.is_not(None))
    with_addresses = sa.select(c.chunk).distinct().where(is_named)
    with warehouse_engine(settings).begin() as connection:
        old = [
            chunk
            for chunk in connection.scalars(with_addresses)
            if chunk == UNDATED
            or (chunk not in held and chunk_bounds(chunk, settings.chunk)[1] <= until)
        ]
        blank = sa.update(session_reject).where(c.chunk.in_(old), is_named)
        return connection.execute(blank.values(mac_address=None, row=None)).rowcount


def _check_for_late(settings: Settings) -> dict[str, int]:
    """Check the sealed chunks not checked for the longest time; returns all with late rows."""
    c = sealed_chunk.c
    longest_ago = (
        sa.select(c.chunk, c.fingerprint, c.rows, c.before_normalising)
        .order_by(c.looked_at.nulls_first(), c.chunk)
        .limit(CHECKED_AT_ONCE)
    )
    engine = warehouse_engine(settings)
    with engine.connect() as connection:
        rows = {row.chunk: row for row in connection.execute(longest_ago)}
    now = dt.datetime.now(dt.UTC)
    before_normalising = {chunk: row.before_normalising for chunk, row in rows.items()}
    for chunks, before in _observed_alike(settings, before_normalising):
        span = chunk_bounds(chunks[0], settings.chunk)[0], chunk_bounds(chunks[-1], settings.chunk)
        with source_snapshot(settings) as source:
            seen = source.observe((span[0], span[1][1]), chunks, as_before=before)
        with engine.begin() as connection:
            for chunk, found in seen.items():
                same = found.fingerprint == rows[chunk].fingerprint % 2**64
                more = found.rows - rows[chunk].rows
                # Equally many but different: some changed. Fewer: the source deleted old rows.
                late = 0 if same else max(more, int(more == 0))
                values = {"late_rows": late, "looked_at": now}
                connection.execute(sa.update(sealed_chunk).where(c.chunk == chunk).values(**values))
    return {s.chunk: s.late_rows for s in _sealed(settings) if s.late_rows}


def _observed_alike(
    settings: Settings, before_normalising: Mapping[str, bool]
) -> Iterator[tuple[list[str], bool]]:
    """Runs of adjacent chunks, and whether their fingerprints are of before normalising."""
    for before in (True, False):
        chunks = sorted(c for c, sealed in before_normalising.items() if sealed == before)
        yield from ((run, before) for run in consecutive(chunks, settings))


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value
