"""What runs record in the warehouse: figures per partition, attempts and durations.

The lake's files and their records cannot disagree: partitions are void from before their first file
is replaced until the new result is recorded.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from tippers_dagster.campus.addresses import record_addresses
from tippers_dagster.campus.source.observed import Observed
from tippers_dagster.campus.spaces.tracking import wanted_grid
from tippers_dagster.campus.spaces.tree import load_tree
from tippers_dagster.errors import TippersError
from tippers_dagster.occupancy.counting import Figures
from tippers_dagster.occupancy.sessions import UNDATED, PassSessions
from tippers_dagster.occupancy.state import (
    COUNTS,
    DERIVED,
    SESSIONS,
    SOURCE,
    Level,
    source_spaces,
)
from tippers_dagster.occupancy.tables import (
    attempt,
    partition_figures,
    replacing,
    run_duration,
    sealed_chunk,
    session_reject,
    session_space,
    source_chunk,
    unreported,
)
from tippers_dagster.platform.warehouse import fence
from tippers_dagster.platform.warehouse.engine import copy_rows, upsert, warehouse_engine
from tippers_dagster.platform.warehouse.fence import LocksLost
from tippers_dagster.settings import Settings

STEADY_SECONDS = 120.0
"""How long a consistent read waits for runs that are replacing the counts."""

Read = TypeVar("Read")


class Overtaken(TippersError):
    """Another run has replaced files of the same partitions, or of their inputs.

    Nothing is recorded: the partitions are void, and will be computed again.
    """


def void(engine: sa.Engine, asset: str, spaces: list[str], chunks: list[str], run_id: str) -> None:
    """Invalidate the records of partitions whose files this run is about to replace.

    Parameters
    ----------
    spaces, chunks
        Space and chunk of each partition.
    """
    n = len(spaces)
    rows = pa.table(
        {
            "asset": [asset] * n,
            "space": pa.array(spaces, pa.string()),
            "chunk": pa.array(chunks, pa.string()),
            "run_id": [run_id] * n,
            "since": [dt.datetime.now(dt.UTC)] * n,
        }
    )
    with engine.begin() as connection:
        upsert(connection, replacing, rows)


@contextmanager
def replacing_files(
    engine: sa.Engine, asset: str, spaces: list[str], chunks: list[str], run_id: str
) -> Iterator[None]:
    """Wraps work that replaces the files of partitions and records them; see ``void``.

    A run that was overtaken by another may have overwritten files that the other run recorded. The
    content of the files is then unknown, so everything in them becomes void: also partitions that
    the other run recorded, and those whose rows this run only copied, perhaps from before the other
    run replaced them. This works without locks, as such a run has lost them.
    """
    void(engine, asset, spaces, chunks, run_id)
    try:
        yield
    except (Overtaken, LocksLost):
        with fence.unfenced():
            _void_files(engine, asset, spaces, chunks, run_id)
        raise


def _void_files(
    engine: sa.Engine, asset: str, spaces: list[str], chunks: list[str], run_id: str
) -> None:
    """Invalidate everything in the files of partitions, and take it from runs that replace it.

    Counts are withdrawn from the other level's file when a space changes level, so both levels of a
    chunk become void.
    """
    files = COUNTS if asset in COUNTS else (asset,)
    known = sa.union(
        *(
            sa.select(table.c.asset, table.c.space, table.c.chunk).where(
                table.c.asset.in_(files), table.c.chunk.in_(sorted(set(chunks)))
            )
            for table in (partition_figures, replacing)
        )
    )
    with engine.connect() as connection:
        rows = [tuple(row) for row in connection.execute(known)]
    rows += [(asset, space, chunk) for space, chunk in zip(spaces, chunks, strict=True)]
    for one in files:
        mine = sorted({(space, chunk) for of, space, chunk in rows if of == one})
        void(engine, one, [space for space, _ in mine], [chunk for _, chunk in mine], run_id)


def unchanged(connection: sa.Connection, level: Level, read: np.ndarray) -> np.ndarray:
    """bool per chunk: the records of a level's partitions have neither changed nor been void since
    the level was loaded, so files read in between matched their records.

    Parameters
    ----------
    read
        bool [spaces, chunks] of the level: the partitions to consider.
    """
    figures = partition_figures.c
    chunks = [level.chunks[j] for j in np.flatnonzero(read.any(axis=0))]
    micros = sa.cast(sa.func.extract("epoch", figures.computed_at) * 1_000_000, sa.BigInteger)
    current = sa.select(figures.space, figures.chunk, micros).where(
        figures.asset == level.asset,
        figures.chunk.in_(chunks),
        ~sa.exists().where(
            replacing.c.asset == figures.asset,
            replacing.c.space == figures.space,
            replacing.c.chunk == figures.chunk,
        ),
    )
    at = {space: i for i, space in enumerate(level.spaces)}
    of = {chunk: j for j, chunk in enumerate(level.chunks)}
    recorded_at = np.zeros(level.recorded_at.shape, np.int64)
    for space, chunk, when in connection.execute(current):
        if space in at:
            recorded_at[at[space], of[chunk]] = when
    unchanged_since = (recorded_at == level.recorded_at) & level.computed & ~level.void
    found: np.ndarray = (unchanged_since | ~read).all(axis=0)
    return found


def read_consistently(settings: Settings, chunks: list[str], read: Callable[[], Read]) -> Read:
    """Read counts or presence of chunks while no run is replacing them, so that they match the
    records.

    Waits for runs that are replacing them, and reads again if one starts in between.

    Raises
    ------
    Overtaken
        If that keeps happening, or if a run that died has left files unrecorded.
    """
    until = time.monotonic() + STEADY_SECONDS
    while time.monotonic() < until:
        before = _records_token(settings, chunks)
        if before is not None:
            found = read()
            if _records_token(settings, chunks) == before:
                return found
        time.sleep(1)
    raise Overtaken(
        "Counts of these days are constantly being replaced.",
        "`tippers occupancy status` shows what is computed and what is out of date.",
    )


def _records_token(settings: Settings, chunks: list[str]) -> tuple[object, ...] | None:
    """A value that changes with every record of the chunks; None while files are being replaced."""
    figures = partition_figures.c
    mine = (figures.asset.in_(COUNTS), figures.chunk.in_(chunks))
    sealed = sa.exists().where(sealed_chunk.c.chunk == replacing.c.chunk)
    in_progress = sa.select(replacing.c.asset, replacing.c.space, replacing.c.chunk).where(
        replacing.c.asset.in_(COUNTS), replacing.c.chunk.in_(chunks), ~sealed
    )
    # All times, not only the latest: the clocks of two hosts differ.
    times = sa.func.sum(sa.func.extract("epoch", figures.computed_at))
    recorded = sa.select(sa.func.count(), times).where(*mine)
    with warehouse_engine(settings).connect() as connection:
        replaced = [(row.asset, row.space, row.chunk) for row in connection.execute(in_progress)]
        found = tuple(connection.execute(recorded).one())
    return None if _any_wanted(settings, replaced) else found


def _any_wanted(settings: Settings, partitions: list[tuple[str, str, str]]) -> bool:
    """Whether any of the partitions (asset, space, chunk) belongs to the grid.

    A run that died may have left others that have been untracked since: they stay void for good.
    """
    if not partitions:
        return False
    grid = wanted_grid(settings, load_tree(settings))
    spaces = {SOURCE: set(source_spaces(settings, grid)), DERIVED: set(grid.parents)}
    chunks = set(grid.chunks)
    return any(space in spaces[asset] and chunk in chunks for asset, space, chunk in partitions)


def record_sessions(
    engine: sa.Engine,
    extracted: PassSessions,
    inputs: dict[str, int],
    run_id: str,
    since: dt.datetime,
) -> None:
    """Record one pass in one transaction: its chunks' figures, contents by space and rejects, and
    the addresses of its devices.

    ``since``: as for ``record_observed``.
    """
    done = extracted.chunks
    chunks = [d.chunk for d in done]
    now = dt.datetime.now(dt.UTC)
    figures = _figure_table(
        SESSIONS,
        [""] * len(done),
        chunks,
        np.array([inputs[d.chunk] for d in done], np.uint64),
        np.array([d.fingerprint for d in done], np.uint64),
        run_id,
        now,
        rows=[d.rows for d in done],
        devices=[d.devices for d in done],
        rejected=[d.rejected for d in done],
        log_fingerprint=_signed(np.array([d.log_fingerprint for d in done], np.uint64)),
    )
    contents = pa.concat_tables(
        d.by_space.append_column("chunk", pa.array([d.chunk] * d.by_space.num_rows, pa.string()))
        for d in done
    )
    at = contents.schema.get_field_index("fingerprint")
    contents = contents.set_column(at, "fingerprint", _signed(contents["fingerprint"].to_numpy()))
    with _recording(engine, figures) as connection:
        for table in (session_space, session_reject):
            connection.execute(sa.delete(table).where(table.c.chunk.in_([*chunks, UNDATED])))
        copy_rows(connection, str(session_space), contents)
        for rejects in (*(d.rejects for d in done), extracted.undated):
            if rejects is not None:
                with pa.memory_map(str(rejects)) as file:
                    reader = pa.ipc.open_file(file)
                    batches = (reader.get_batch(i) for i in range(reader.num_record_batches))
                    rows = pa.RecordBatchReader.from_batches(reader.schema, batches)
                    copy_rows(connection, str(session_reject), rows)
        if extracted.addresses is not None:
            record_addresses(connection, extracted.addresses)
        record_observed(connection, {d.chunk: d.observed for d in done}, since)


def record_figures(
    engine: sa.Engine,
    asset: str,
    chunks: list[str],
    figures: list[Figures],
    inputs: list[np.ndarray],
    run_id: str,
) -> None:
    """Record the figures of several chunks: one ``Figures`` and one uint64 array of inputs each.

    Raises
    ------
    Overtaken
        When another run has begun to replace files of these partitions since ``void``.
    """
    whole = _figure_table(
        asset,
        [space for f in figures for space in f.spaces],
        [chunk for chunk, f in zip(chunks, figures, strict=True) for _ in f.spaces],
        np.concatenate(inputs),
        np.concatenate([f.output for f in figures]),
        run_id,
        dt.datetime.now(dt.UTC),
        rows=np.concatenate([f.rows for f in figures]),
        devices=np.concatenate([f.devices for f in figures]),
        peak=np.concatenate([f.peak for f in figures]),
        peak_time=np.concatenate([f.peak_time for f in figures]),
    )
    with _recording(engine, whole):
        pass


def forget_figures(engine: sa.Engine, asset: str, spaces: list[str], chunks: list[str]) -> None:
    """Delete the records of an asset's spaces in the chunks, which then count as not computed."""
    figures = partition_figures.c
    query = sa.delete(partition_figures).where(
        figures.asset == asset, figures.space.in_(spaces), figures.chunk.in_(chunks)
    )
    with engine.begin() as connection:
        connection.execute(query)


def record_observed(
    connection: sa.Connection, observed: dict[str, Observed], since: dt.datetime
) -> None:
    """Record observations of the source's chunks.

    Parameters
    ----------
    since
        When reading the source began. Later observations are kept: a long run must not hide rows
        that were loaded and observed while it was running.
    """
    newer = sa.select(source_chunk.c.chunk).where(
        source_chunk.c.chunk.in_(list(observed)), source_chunk.c.observed_at > since
    )
    kept = set(connection.scalars(newer.with_for_update()))
    chunks = [chunk for chunk in observed if chunk not in kept]
    if chunks:
        prints = np.array([observed[chunk].fingerprint for chunk in chunks], np.uint64)
        rows = pa.table(
            {
                "chunk": pa.array(chunks, pa.string()),
                "fingerprint": _signed(prints),
                "rows": [observed[chunk].rows for chunk in chunks],
                "observed_at": [since] * len(chunks),
            }
        )
        upsert(connection, source_chunk, rows)


def record_attempts(
    engine: sa.Engine, level: Level, mask: np.ndarray, requested_at: dt.datetime
) -> None:
    """Count one more attempt at the level's partitions in the mask, for their current inputs."""
    if not mask.any():
        return
    rows, columns = np.nonzero(mask)
    table = pa.table(
        {
            "asset": [level.asset] * rows.size,
            "space": pa.array(level.spaces, pa.string()).take(pa.array(rows)),
            "chunk": pa.array(level.chunks, pa.string()).take(pa.array(columns)),
            "wanted": _signed(level.wanted[mask]),
            "tries": level.tries[mask] + 1,
            "requested_at": [requested_at] * rows.size,
            "held_until": pa.nulls(rows.size, pa.timestamp("us", "UTC")),
        }
    )
    with engine.begin() as connection:
        upsert(connection, attempt, table)


def take_back_attempts(
    engine: sa.Engine,
    asset: str,
    chunks: Collection[str],
    requested_at: dt.datetime,
    until: dt.datetime,
) -> None:
    """Take back the attempts that one run made at an asset's partitions in these chunks, as the
    environment failed; the next is made no earlier than ``until``.

    Parameters
    ----------
    requested_at
        When the run was requested: earlier attempts are those of other runs.
    """
    query = (
        sa.update(attempt)
        .where(
            attempt.c.asset == asset,
            attempt.c.chunk.in_(list(chunks)),
            attempt.c.requested_at >= requested_at,
        )
        .values(tries=sa.func.greatest(attempt.c.tries - 1, 0), held_until=until)
    )
    with engine.begin() as connection:
        connection.execute(query)


def forget_attempts(engine: sa.Engine, asset: str | None = None) -> int:
    """Reset the attempts of all partitions that are still stale; automation then tries again."""
    query = sa.delete(attempt)
    if asset is not None:
        query = query.where(attempt.c.asset == asset)
    with engine.begin() as connection:
        return connection.execute(query).rowcount


def record_duration(
    engine: sa.Engine, run_id: str, asset: str, partitions: int, seconds: float
) -> None:
    """Record a run's duration, from which deadlines are derived."""
    row = insert(run_duration).values(
        run_id=run_id, asset=asset, partitions=partitions, seconds=seconds
    )
    with engine.begin() as connection:
        connection.execute(
            row.on_conflict_do_update(
                index_elements=["run_id", "asset"],
                set_={"partitions": partitions, "seconds": seconds, "finished_at": sa.func.now()},
            )
        )


def expected_seconds(engine: sa.Engine, asset: str, partitions: int) -> float | None:
    """Duration of a run of this size, judged by the slowest of the last 50; None without any."""
    recent = (
        sa.select(run_duration.c.seconds, run_duration.c.partitions)
        .where(run_duration.c.asset == asset)
        .order_by(run_duration.c.finished_at.desc())
        .limit(50)
        .subquery()
    )
    # Every run has fixed costs (start, connections): the time of a smaller run is scaled up as a
    # whole, that of a larger one is never scaled down.
    scale = sa.func.greatest(1.0, float(partitions) / recent.c.partitions)
    with engine.connect() as connection:
        return connection.scalar(sa.select(sa.func.max(recent.c.seconds * scale)))


@contextmanager
def _recording(engine: sa.Engine, figures: pa.Table) -> Iterator[sa.Connection]:
    """A transaction that ends by recording the figures of partitions that are void until then."""
    asset, run_id = figures["asset"][0].as_py(), figures["run_id"][0].as_py()
    spaces, chunks = figures["space"].to_pylist(), figures["chunk"].to_pylist()
    with engine.begin() as connection:
        yield connection
        _clear_void(connection, asset, spaces, chunks, run_id)
        _record(connection, figures)
        row = insert(unreported).values(run_id=run_id, asset=asset)
        connection.execute(row.on_conflict_do_nothing())


def _clear_void(
    connection: sa.Connection, asset: str, spaces: list[str], chunks: list[str], run_id: str
) -> None:
    """Make partitions valid again; Overtaken if another run is replacing some of them."""
    mine = sa.text(
        "DELETE FROM tippers.replacing r USING "
        "unnest(CAST(:spaces AS text[]), CAST(:chunks AS text[])) AS p (space, chunk) "
        "WHERE r.asset = :asset AND r.space = p.space AND r.chunk = p.chunk AND r.run_id = :run_id"
    )
    values = {"asset": asset, "spaces": spaces, "chunks": chunks, "run_id": run_id}
    if connection.execute(mine, values).rowcount != len(spaces):
        raise Overtaken(
            f"Another run is computing the same partitions of {asset}; nothing was recorded.",
            "They will be recomputed. If this happens often, look for runs that lost their locks.",
        )


def _record(connection: sa.Connection, figures: pa.Table) -> None:
    """Record figures, and delete the attempts that have succeeded."""
    upsert(connection, partition_figures, figures)
    connection.execute(
        sa.delete(attempt).where(
            sa.tuple_(attempt.c.asset, attempt.c.space, attempt.c.chunk).in_(
                sa.select(
                    partition_figures.c.asset, partition_figures.c.space, partition_figures.c.chunk
                ).where(partition_figures.c.input_fingerprint == attempt.c.wanted)
            )
        )
    )


def _figure_table(
    asset: str,
    spaces: list[str],
    chunks: list[str],
    inputs: np.ndarray,
    outputs: np.ndarray,
    run_id: str,
    now: dt.datetime,
    **figures: object,
) -> pa.Table:
    n = len(spaces)
    columns: dict[str, object] = {"rejected": np.zeros(n, np.int64), **figures}
    if "peak_time" in columns:
        times = pa.array(columns["peak_time"]).cast(pa.timestamp("s", tz="UTC"))
        never = pa.array(np.asarray(columns["peak"]) == 0)
        columns["peak_time"] = pa.compute.if_else(never, None, times)
    return pa.table(
        {
            "asset": [asset] * n,
            "space": pa.array(spaces, pa.string()),
            "chunk": pa.array(chunks, pa.string()),
            "input_fingerprint": _signed(inputs),
            "output_fingerprint": _signed(outputs),
            **columns,
            "run_id": [run_id] * n,
            "computed_at": [now] * n,
        }
    )


def _signed(values: np.ndarray) -> pa.Array:
    return pa.array(np.ascontiguousarray(values, np.uint64).view(np.int64))
