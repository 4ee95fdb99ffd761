"""Whether the lake's counts are right: two sets of counts, compared in both directions.

Counts are tables with one row per space and bin that somebody was in: space_id,
interval_seconds, begin (UTC seconds) and number.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tippers_dagster.campus.source.load import read_source
from tippers_dagster.campus.source.schema import SESSIONS, TRUTH_OCCUPANCY, source_tables
from tippers_dagster.campus.spaces.tree import SpaceTree
from tippers_dagster.errors import LakeFileMissing, TippersError
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.lake.keys import occupancy_key
from tippers_dagster.settings import Settings
from tippers_dagster.simulation.calendar import Bins, Calendar
from tippers_dagster.simulation.truth import Counter, Intervals

KEYS = ["space_id", "interval_seconds", "begin"]
_SCHEMA = pa.schema(
    {
        "space_id": pa.string(),
        "interval_seconds": pa.int32(),
        "begin": pa.int64(),
        "number": pa.int32(),
    }
)

NAMED_AT_MOST = 5


class WrongCounts(TippersError):
    """The lake's counts are not those that were expected."""


def lake_counts(
    settings: Settings, spaces: Iterable[str], chunks: Iterable[str], widths: Iterable[int]
) -> pa.Table:
    """What the lake holds of these spaces, chunks and published widths.

    Raises
    ------
    LakeFileMissing
        Naming a partition that is not there.
    """
    spaces, lake = list(spaces), open_lake(settings)
    wanted, parts = pa.array(list(widths), pa.int32()), [_SCHEMA.empty_table()]
    for chunk in chunks:
        tables = lake.read_tables([occupancy_key(space, chunk) for space in spaces])
        present = [table for table in tables if table is not None]
        if len(present) < len(tables):
            key = occupancy_key(spaces[tables.index(None)], chunk)
            raise LakeFileMissing(f"{lake.uri(key)} is not there.", "Materialize it.")
        owner = np.repeat(np.arange(len(spaces)), [table.num_rows for table in present])
        whole = pa.concat_tables(present)
        begin = whole["interval_begin_time"].cast(pa.timestamp("s", tz="UTC")).cast(pa.int64())
        columns = [
            pa.array(spaces, pa.string()).take(pa.array(owner)),
            whole["interval_seconds"],
            begin,
            whole["number_connections"],
        ]
        part = pa.table(columns, schema=_SCHEMA)
        parts.append(part.filter(pc.is_in(part["interval_seconds"], value_set=wanted)))
    return pa.concat_tables(parts)


def true_counts(settings: Settings) -> pa.Table:
    """Distinct devices of a simulated campus, as its truth tells."""
    table = source_tables(settings)[TRUTH_OCCUPANCY]
    return read_source(
        settings,
        f"SELECT {table.column('space_id')} AS space_id, "
        f"{table.column('interval_seconds')} AS interval_seconds, "
        f"extract(epoch FROM {table.column('interval_begin_time')})::bigint AS begin, "
        f"{table.column('number_connections')} AS number FROM {table.sql}",
    ).cast(_SCHEMA)


def recount(
    settings: Settings, tree: SpaceTree, first: dt.date, days: int, widths: tuple[int, ...]
) -> pa.Table:
    """Distinct devices by the simulator's plain method, which shares nothing with the engine.

    Parameters
    ----------
    settings, tree
        Whose sessions are counted, and their spaces. What ingest rejects must not be among the
        sessions, but for unknown devices and spaces.
    first, days
        The local days.
    widths
        Seconds, at most an hour, the narrowest first.
    """
    calendar = Calendar.of(settings.timezone, first, days)
    begin, end = int(calendar.midnights[0]), int(calendar.midnights[-1])
    bins = tuple(Bins.of(calendar, width) for width in widths)
    counter = Counter(tree.parent.astype(np.int64), bins, begin, end)
    sessions = _sessions(settings, first, first + dt.timedelta(days=days))
    device = sessions["mac_address"].combine_chunks().dictionary_encode().indices
    ids = pa.array(tree.ids, pa.string())
    space = pc.fill_null(pc.index_in(sessions["space_id"], value_set=ids), -1).to_numpy()
    start = calendar.instants(sessions["start_wall"].to_numpy())
    stop = np.where(
        np.asarray(pc.is_null(sessions["end_wall"])),
        start + sessions["fraction"].to_numpy() + settings.open_session_seconds,
        calendar.instants(pc.fill_null(sessions["end_wall"], 0).to_numpy()),
    )
    stop = np.minimum(np.maximum(stop, start + 1), end)
    start = np.maximum(start, begin)
    here = (space >= 0) & (start < stop)
    entity, space = (codes.astype(np.int64) for codes in (device.to_numpy(), space))
    counter.add(Intervals(entity[here], space[here], start[here], stop[here]))
    return pa.concat_tables(
        pa.table(
            [ids.take(t["space"]), t["interval_seconds"], t["begin"], t["count"]], schema=_SCHEMA
        )
        for t in counter.tables()
    )


def _sessions(settings: Settings, first: dt.date, last: dt.date) -> pa.Table:
    """Sessions that may be present in the local days: mac_address, space_id, wall seconds, and
    whether the start lies within a second (0 or 1): then the end of an open session does, too.
    """
    table = source_tables(settings)[SESSIONS]
    mac, space = table.column("mac_address"), table.column("space_id")
    start, end = table.column("start_time"), table.column("end_time")
    until = f"coalesce({end}, {start} + interval '{settings.open_session_seconds} s')"
    return read_source(
        settings,
        f"SELECT {mac}::text AS mac_address, {space}::text AS space_id, "
        f"floor(extract(epoch FROM {start}))::bigint AS start_wall, "
        f"(date_trunc('second', {start}) < {start})::int::bigint AS fraction, "
        f"ceil(extract(epoch FROM {end}))::bigint AS end_wall FROM {table.sql} "
        f"WHERE {start} < timestamp '{last}' AND {until} >= timestamp '{first}' "
        f"AND {mac}::text <> '' AND ({end} IS NULL OR {end} >= {start})",
    )


def check_equal(found: pa.Table, expected: pa.Table, tree: SpaceTree, against: str) -> int:
    """Every bin of either side is on the other with the same number; returns how many there are.

    Raises
    ------
    WrongCounts
        Naming the first few bins that differ.
    """
    both = found.join(
        expected, KEYS, join_type="full outer", left_suffix="_found", right_suffix="_expected"
    )
    counted = pc.fill_null(both["number_found"], 0)
    right = pc.fill_null(both["number_expected"], 0)
    wrong = both.filter(pc.not_equal(counted, right)).sort_by([(k, "ascending") for k in KEYS])
    if wrong.num_rows:
        examples = "\n".join(
            f"  {tree.names[tree.index[row['space_id']]] if row['space_id'] in tree else '?'} "
            f"({row['space_id']}), {dt.datetime.fromtimestamp(row['begin'], dt.UTC):%Y-%m-%d %H:%M}"
            f" UTC, {row['interval_seconds']} s: counted {row['number_found'] or 0}, "
            f"{against} {row['number_expected'] or 0}"
            for row in wrong.slice(0, NAMED_AT_MOST).to_pylist()
        )
        raise WrongCounts(
            f"{wrong.num_rows:,} of {both.num_rows:,} counts differ from the {against}:\n"
            f"{examples}",
            "This is a fault of the product, or rows were changed by hand: a new TIPPERS_HOME "
            "tells which.",
        )
    return both.num_rows
