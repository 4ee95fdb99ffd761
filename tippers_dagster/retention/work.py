"""Which chunks are old enough to give up their presence, whether they may, and doing it.

A chunk is *sealed* in one transaction; from then on nothing computes it or asks for it. Then its
files are deleted. What is killed in between goes on from there the next time.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from logging import Logger
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from tippers_dagster.campus.local_time import chunk_bounds
from tippers_dagster.campus.source.read import Observed, source_snapshot
from tippers_dagster.campus.spaces.tracking import wanted_grid
from tippers_dagster.campus.spaces.tree import load_tree
from tippers_dagster.catalog.kinds import Kind, LabelledOccupancy
from tippers_dagster.catalog.store import load_catalog
from tippers_dagster.labelling.labels import NotLabelled
from tippers_dagster.occupancy.sessions import consecutive
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
from tippers_dagster.people.by_label.counting import labels_fingerprint
from tippers_dagster.people.by_label.devices import device_labels
from tippers_dagster.people.by_label.tables import labelled_chunk
from tippers_dagster.people.by_label.work import chunk_inputs
from tippers_dagster.platform.lake import Lake, open_lake
from tippers_dagster.platform.lake.keys import decode
from tippers_dagster.platform.locks.locks import held_together
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

LOOKED_AT_ONCE = 8
"""Sealed chunks whose late sessions are looked for each time, in turn: each is an index range scan
of the source."""


@dataclass(frozen=True)
class Sealed:
    """A chunk of which only counts are kept.

    ``finished``: nothing is left to delete. ``late_rows``: how many rows more the source has had
    since, when last looked at; None: never looked at.
    """

    chunk: str
    sealed_at: dt.datetime
    finished: bool
    late_rows: int | None
    looked_at: dt.datetime | None


@dataclass(frozen=True)
class Standing:
    """How it stands with retention.

    Attributes
    ----------
    until
        Chunks that ended by this local date are due; None: nothing ever is.
    due
        Chunks that may be given up now.
    held
        Chunks that are old enough and may not, and why.
    sealed
        Chunks given up before.
    """

    until: dt.date | None
    due: list[str]
    held: dict[str, str]
    sealed: list[Sealed]


@dataclass
class Outcome:
    """What was done: chunks sealed, of which files were deleted, that are held back and why."""

    sealed: list[str] = field(default_factory=list)
    files: int = 0
    blanked: int = 0
    held: dict[str, str] = field(default_factory=dict)
    late: dict[str, int] = field(default_factory=dict)


# --- how it stands ------------------------------------------------------------------------------
def standing(settings: Settings, today: dt.date | None = None) -> Standing:
    """What would be given up, what is held back, and what was given up. Changes nothing."""
    until = last_day(settings, today)
    sealed = _sealed(settings)
    if until is None:
        return Standing(None, [], {}, sealed)
    files = _old_files(settings, until)
    done = {s.chunk for s in sealed if s.finished}
    state, wanted = _state(settings), _labelled(settings)
    due: list[str] = []
    held: dict[str, str] = {}
    for chunk in sorted(set(files) - done):
        why = _held(settings, state, wanted, chunk)
        if why is None:
            due.append(chunk)
        else:
            held[chunk] = why
    return Standing(until, due, held, sealed)


def last_day(settings: Settings, today: dt.date | None = None) -> dt.date | None:
    """The local date by which a chunk must have ended to be old enough; None: none ever is."""
    if settings.presence_days is None:
        return None
    today = today or dt.datetime.now(ZoneInfo(settings.timezone)).date()
    return today - dt.timedelta(days=settings.presence_days)


def _state(settings: Settings) -> State:
    return load_state(settings, wanted_grid(settings, load_tree(settings)))


def _sealed(settings: Settings) -> list[Sealed]:
    c = sealed_chunk.c
    query = sa.select(
        c.chunk, c.sealed_at, c.deleted_at.is_not(None), c.late_rows, c.looked_at
    ).order_by(c.chunk)
    with warehouse_engine(settings).connect() as connection:
        return [Sealed(*row) for row in connection.execute(query)]


def _old_files(settings: Settings, until: dt.date) -> dict[str, list[str]]:
    """Keys of sessions and presence in the lake, of chunks that ended by a date."""
    lake: Lake = open_lake(settings)
    found: dict[str, list[str]] = {}
    for key in [*lake.list("sessions/"), *lake.list("presence/")]:
        chunk = decode(key.rsplit("/", 1)[-1].removeprefix("chunk=").removesuffix(".parquet"))
        if chunk_bounds(chunk, settings.chunk)[1] <= until:
            found.setdefault(chunk, []).append(key)
    return found


def _labelled(settings: Settings) -> dict[str, int | str]:
    """By labelled occupancy in use: the fingerprint of its labels, or why there is none."""
    catalog = load_catalog(settings)
    found: dict[str, int | str] = {}
    for definition in catalog.of_kind(Kind.LABELLED_OCCUPANCY):
        assert isinstance(definition.body, LabelledOccupancy)
        by = str(catalog.resolve(definition.body.by, definition.ref.concept).ref)
        try:
            found[definition.ref.name] = labels_fingerprint(device_labels(settings, by))
        except NotLabelled as error:
            found[definition.ref.name] = error.message
    return found


def _held(
    settings: Settings, state: State, labelled: Mapping[str, int | str], chunk: str
) -> str | None:
    """Why a chunk may not be given up; None: it may. What is not tracked, nobody waits for."""
    if chunk in state.sealed or chunk not in state.grid.chunks:
        return None
    column = state.grid.chunks.index(chunk)
    for level in state.levels:
        if stale := int(level.stale[:, column].sum()):
            return f"{stale:,} partitions of {level.asset} are not up to date."
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


# --- giving up ----------------------------------------------------------------------------------
def give_up(settings: Settings, log: Logger, today: dt.date | None = None) -> Outcome:
    """Seal what is old enough and computed, delete its sessions and presence, look for late rows.

    Nothing is done while ``TIPPERS_PRESENCE_DAYS`` is not set. Doing it again changes nothing; two
    at once wait for each other.
    """
    outcome = Outcome()
    until = last_day(settings, today)
    if until is None:
        return outcome
    with held_together(settings, ["presence retention"], log):
        files = _old_files(settings, until)
        labelled = _labelled(settings)
        unfinished = {s.chunk for s in _sealed(settings) if not s.finished}
        for chunk in sorted({*files, *unfinished}):
            _one(settings, log, labelled, chunk, files.get(chunk, []), outcome)
        outcome.blanked += _blank_rejects(settings, until, outcome.held)
        outcome.late = _look_for_late(settings)
    return outcome


def _one(
    settings: Settings,
    log: Logger,
    labelled: Mapping[str, int | str],
    chunk: str,
    files: list[str],
    outcome: Outcome,
) -> None:
    """Give up one chunk, if it may be, while no run computes anything of it."""
    with held_together(settings, [f"chunk {asset} {chunk}" for asset in ASSETS], log):
        state = _state(settings)
        if chunk not in state.sealed and chunk in state.grid.chunks:
            observed = observe(settings, [chunk])[chunk]  # late rows make it stale, and hold it
            state = _state(settings)
            if why := _held(settings, state, labelled, chunk):
                outcome.held[chunk] = why
                return
            _seal(settings, chunk, observed)
            outcome.sealed.append(chunk)
        elif chunk not in state.sealed:
            _forget(settings, chunk)
        lake = open_lake(settings)
        for key in files:
            lake.delete(key)
        outcome.files += len(files)
        _finish(settings, chunk)


def _seal(settings: Settings, chunk: str, observed: Observed) -> None:
    """From here on nothing of the chunk is computed or asked for."""
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
    """What is not tracked any more is not sealed: tracked again, it is computed again."""
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
    """Blank the MAC addresses of rows that could not be used, of chunks given up; how many."""
    c = session_reject.c
    named = sa.select(c.chunk).distinct().where(c.mac_address.is_not(None))
    with warehouse_engine(settings).begin() as connection:
        old = [
            chunk
            for chunk in connection.scalars(named)
            if chunk not in held and chunk_bounds(chunk, settings.chunk)[1] <= until
        ]
        blank = sa.update(session_reject).where(c.chunk.in_(old), c.mac_address.is_not(None))
        return connection.execute(blank.values(mac_address=None)).rowcount


def _look_for_late(settings: Settings) -> dict[str, int]:
    """Look at the sealed chunks that were not looked at for longest; all that had late rows."""
    c = sealed_chunk.c
    longest_ago = (
        sa.select(c.chunk, c.fingerprint, c.rows)
        .order_by(c.looked_at.nulls_first(), c.chunk)
        .limit(LOOKED_AT_ONCE)
    )
    engine = warehouse_engine(settings)
    with engine.connect() as connection:
        rows = {row.chunk: row for row in connection.execute(longest_ago)}
    now = dt.datetime.now(dt.UTC)
    for chunks in consecutive(sorted(rows), settings):
        span = chunk_bounds(chunks[0], settings.chunk)[0], chunk_bounds(chunks[-1], settings.chunk)
        with source_snapshot(settings) as source:
            seen = source.observe((span[0], span[1][1]), chunks)
        with engine.begin() as connection:
            for chunk, found in seen.items():
                same = found.fingerprint == rows[chunk].fingerprint % 2**64
                more = found.rows - rows[chunk].rows
                # As many that are others: some changed. Fewer: the source keeps them no longer.
                late = 0 if same else max(more, int(more == 0))
                values = {"late_rows": late, "looked_at": now}
                connection.execute(sa.update(sealed_chunk).where(c.chunk == chunk).values(**values))
    return {s.chunk: s.late_rows for s in _sealed(settings) if s.late_rows}


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value
