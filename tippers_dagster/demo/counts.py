"""Checks the lake's counts: compares two sets of counts in both directions.

Counts are tables with one row per space and occupied bin: space_id, interval_seconds, begin (UTC
seconds) and number.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tippers_dagster.campus.source.load import read_source
from tippers_dagster.campus.source.schema import SESSIONS, TRUTH_OCCUPANCY, source_tables
from tippers_dagster.campus.spaces.tree import SpaceTree, load_tree
from tippers_dagster.errors import TippersError
from tippers_dagster.occupancy.files import read_every_count, seconds
from tippers_dagster.occupancy.repack import occupancy_lake
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

MAX_EXAMPLES = 5


class WrongCounts(TippersError):
    """The lake's counts differ from the expected ones."""


def lake_counts(
    settings: Settings, spaces: Iterable[str], chunks: Iterable[str], widths: Iterable[int]
) -> pa.Table:
    """The lake's counts of these spaces and chunks, in these bin widths.

    Raises
    ------
    LakeFileMissing
        Names a missing partition.
    """
    spaces, lake = list(spaces), occupancy_lake(settings)
    tree = load_tree(settings)
    wanted, parts = pa.array(list(widths), pa.int32()), [_SCHEMA.empty_table()]
    for chunk in chunks:
        rows = read_every_count(lake, tree, chunk, spaces, "Materialise it.")
        columns = [
            pa.array(spaces, pa.string()).take(pa.array(rows.owner)),
            rows.table["interval_seconds"],
            seconds(rows.table["interval_begin_time"]),
            rows.table["number_connections"],
        ]
        part = pa.table(columns, schema=_SCHEMA)
        parts.append(part.filter(pc.is_in(part["interval_seconds"], value_set=wanted)))
    return pa.concat_tables(parts)


def true_counts(settings: Settings) -> pa.Table:
    """The true number of distinct devices on a simulated campus."""
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
    """Distinct devices, counted with the simulator's simple method, independently of the engine.

    Parameters
    ----------
    settings, tree
        The deployment's settings and space tree. The sessions must not contain rows that ingest
        would reject, except for unknown devices and spaces.
    first, days
        The local days.
    widths
        Bin widths in seconds, at most an hour, the narrowest first.
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
    valid = (space >= 0) & (start < stop)
    entity, space = (codes.astype(np.int64) for codes in (device.to_numpy(), space))
    counter.add(Intervals(entity[valid], space[valid], start[valid], stop[valid]))
    return pa.concat_tables(
        pa.table(
            [ids.take(t["space"]), t["interval_seconds"], t["begin"], t["count"]], schema=_SCHEMA
        )
        for t in counter.tables()
    )


def _sessions(settings: Settings, first: dt.date, last: dt.date) -> pa.Table:
    """Sessions that may touch the local days: mac_address, space_id, local seconds, and whether
    the start has a fraction of a second (0 or 1), as the end of an open session then has, too.
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
    """Check that both sides have the same bins with the same numbers; returns how many bins.

    Raises
    ------
    WrongCounts
        Names the first few bins that differ.
    """
    both = found.join(
        expected, KEYS, join_type="full outer", left_suffix="_found", right_suffix="_expected"
    )
    differs = pc.not_equal(
        pc.fill_null(both["number_found"], 0), pc.fill_null(both["number_expected"], 0)
    )
    different = both.filter(differs).sort_by([(k, "ascending") for k in KEYS])
    if different.num_rows:
        examples = "\n".join(
            f"  {tree.names[tree.index[row['space_id']]] if row['space_id'] in tree else '?'} "
            f"({row['space_id']}), {dt.datetime.fromtimestamp(row['begin'], dt.UTC):%Y-%m-%d %H:%M}"
            f" UTC, {row['interval_seconds']} s: counted {row['number_found'] or 0}, "
            f"{against} {row['number_expected'] or 0}"
            for row in different.slice(0, MAX_EXAMPLES).to_pylist()
        )
        raise WrongCounts(
            f"{different.num_rows:,} of {both.num_rows:,} counts differ from the {against}:\n"
            f"{examples}",
            "Either rows were changed by hand, or this is a bug in tippers. Repeat the demo with a "
            "new TIPPERS_HOME to find out.",
        )
    return both.num_rows
