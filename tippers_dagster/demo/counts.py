"""Checks the lake's counts: compares two sets of counts in both directions.

Counts are tables with one row per space and occupied bin: space_id, interval_seconds, begin (UTC
seconds), and some of the columns of ``COUNTS``.
"""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tippers_dagster.campus.local_time import MICRO
from tippers_dagster.campus.source.load import read_source
from tippers_dagster.campus.source.schema import (
    PERSON,
    SESSIONS,
    TEXT,
    TRUTH_OCCUPANCY,
    source_tables,
)
from tippers_dagster.campus.spaces.tree import SpaceTree, load_tree
from tippers_dagster.errors import TippersError
from tippers_dagster.occupancy.files import read_every_count, seconds
from tippers_dagster.occupancy.persons import CONNECTIONS, OTHERS, PEOPLE, with_people
from tippers_dagster.occupancy.repack import occupancy_lake
from tippers_dagster.settings import Settings
from tippers_dagster.simulation.calendar import Bins, Calendar, Ints
from tippers_dagster.simulation.truth import Counter, Intervals

KEYS = ["space_id", "interval_seconds", "begin"]
COUNTS = (CONNECTIONS, PEOPLE, OTHERS)
_KEYS_SCHEMA = pa.schema(list(zip(KEYS, (pa.string(), pa.int32(), pa.int64()), strict=True)))
_SCHEMA = pa.schema([*_KEYS_SCHEMA, *(pa.field(name, pa.int32()) for name in COUNTS)])

MAX_EXAMPLES = 5
_FOUND, _EXPECTED = "_found", "_expected"
_WHAT = dict(zip(COUNTS, ("devices", "people", "other devices"), strict=True))


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
        counts = with_people(rows.table)
        columns = [
            pa.array(spaces, pa.string()).take(pa.array(rows.owner)),
            counts["interval_seconds"],
            seconds(counts["interval_begin_time"]),
            *(counts[name] for name in COUNTS),
        ]
        part = pa.table(columns, schema=_SCHEMA)
        parts.append(part.filter(pc.is_in(part["interval_seconds"], value_set=wanted)))
    return pa.concat_tables(parts)


def true_counts(settings: Settings) -> pa.Table:
    """The true number of distinct devices on a simulated campus."""
    table = source_tables(settings)[TRUTH_OCCUPANCY]
    rows = read_source(
        settings,
        f"SELECT {table.column('space_id')} AS space_id, "
        f"{table.column('interval_seconds')} AS interval_seconds, "
        f"extract(epoch FROM {table.column('interval_begin_time')})::bigint AS begin, "
        f"{table.column('number_connections')} AS {CONNECTIONS} FROM {table.sql}",
    )
    return rows.cast(_KEYS_SCHEMA.append(_SCHEMA.field(CONNECTIONS)))


def recount(
    settings: Settings, tree: SpaceTree, first: dt.date, days: int, widths: tuple[int, ...]
) -> pa.Table:
    """Devices, people and other devices, counted with the simulator's simple method, independently
    of the engine.

    Other devices are all devices without those that have, in the space and bin, a session with a
    person.

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
    sessions = _sessions(settings, first, first + dt.timedelta(days=days))
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
    device, person = (_codes(sessions[name]) for name in ("mac_address", "person"))
    valid = (space >= 0) & (start < stop)
    known = valid & (person >= 0)

    def counted(entity: Ints, some: NDArray[np.bool_]) -> pa.Table:
        counter = Counter(tree.parent.astype(np.int64), bins, begin, end)
        counter.add(Intervals(*(c[some].astype(np.int64) for c in (entity, space, start, stop))))
        return pa.concat_tables(counter.tables())

    devices, of_known, people = (
        counted(entity, some)
        for entity, some in ((device, valid), (device, known), (person, known))
    )
    return _joined(devices, of_known, people, ids)


def _joined(devices: pa.Table, of_known: pa.Table, people: pa.Table, ids: pa.Array) -> pa.Table:
    """One table of three; the bins of the first include those of the others."""
    keys = ["space", "interval_seconds", "begin"]
    rows = devices.rename_columns([*keys, CONNECTIONS])
    for table, name in ((of_known, "known"), (people, PEOPLE)):
        rows = rows.join(table.rename_columns([*keys, name]), keys)
    known, found = (pc.fill_null(rows[name], 0) for name in ("known", PEOPLE))
    return pa.table(
        [
            ids.take(rows["space"]),
            *(rows[name] for name in (*KEYS[1:], CONNECTIONS)),
            found,
            pc.subtract(rows[CONNECTIONS], known),
        ],
        schema=_SCHEMA,
    )


def _codes(values: pa.ChunkedArray) -> Ints:
    """A number per distinct value; -1 for null."""
    codes = values.combine_chunks().dictionary_encode().indices
    return pc.fill_null(codes, -1).to_numpy().astype(np.int64)


def _sessions(settings: Settings, first: dt.date, last: dt.date) -> pa.Table:
    """Sessions that may touch the local days, each once: mac_address, space_id, person, local
    seconds, and whether the start has a fraction of a second (0 or 1), as the end of an open
    session then has, too.
    """
    rows = _session_rows(settings, first, last)
    session = ["mac_address", "sensor_id", "space_id", "start_time"]
    once = rows.group_by(session).aggregate([("end_time", "max"), ("person", "max")])
    start, end = (once[name].cast(pa.int64()) for name in ("start_time", "end_time_max"))
    whole, fraction = np.divmod(start.to_numpy(), MICRO)
    return pa.table(
        {
            "mac_address": once["mac_address"],
            "space_id": once["space_id"],
            "person": once["person_max"],
            "start_wall": whole,
            "fraction": (fraction > 0).astype(np.int64),
            "end_wall": pc.divide(pc.add(end, MICRO - 1), MICRO),
        }
    )


def _session_rows(settings: Settings, first: dt.date, last: dt.date) -> pa.Table:
    """Rows of the session table, with every row of a session of which an open one may touch the
    local days.
    """
    table = source_tables(settings)[SESSIONS]
    mac, start, end = (table.column(n) for n in ("mac_address", "start_time", "end_time"))
    begin = dt.datetime.combine(first, dt.time())
    # On the wall clock, a change of the clocks included.
    open_limit = settings.open_session_seconds + 3600
    longest = max(settings.longest_session_seconds, open_limit)
    since, reaching = (begin - dt.timedelta(seconds=s) for s in (longest, open_limit))
    columns = ", ".join(
        f"{table.column(name)}{'::text' if kind == TEXT else ''} AS {name}"
        for name, kind in table.types.items()
    )
    return read_source(
        settings,
        f"SELECT {columns}, {PERSON} FROM {table.sql} "
        f"WHERE {start} < timestamp '{last}' AND {start} >= timestamp '{since}' "
        f"AND ({start} >= timestamp '{reaching}' OR {end} >= timestamp '{begin}') "
        f"AND {mac}::text <> '' AND ({end} IS NULL OR {end} >= {start})",
    )


def check_equal(found: pa.Table, expected: pa.Table, tree: SpaceTree, against: str) -> int:
    """Check that both sides have the same bins with the same numbers; returns how many bins.

    Raises
    ------
    WrongCounts
        Names the first few bins that differ.
    """
    counted = expected.column_names[len(KEYS) :]
    both = found.select([*KEYS, *counted]).join(
        expected, KEYS, join_type="full outer", left_suffix=_FOUND, right_suffix=_EXPECTED
    )
    differ = [
        pc.not_equal(*(pc.fill_null(both[name + side], 0) for side in (_FOUND, _EXPECTED)))
        for name in counted
    ]
    different = both.filter(functools.reduce(pc.or_, differ))
    if different.num_rows:
        rows = different.sort_by([(key, "ascending") for key in KEYS]).slice(0, MAX_EXAMPLES)
        examples = "\n".join(_example(row, counted, tree, against) for row in rows.to_pylist())
        raise WrongCounts(
            f"{different.num_rows:,} of {both.num_rows:,} counts differ from the {against}:\n"
            f"{examples}",
            "Either rows were changed by hand, or this is a bug in tippers. Repeat the demo with a "
            "new TIPPERS_HOME to find out.",
        )
    return both.num_rows


def _example(row: dict[str, Any], counted: list[str], tree: SpaceTree, against: str) -> str:
    found, expected = (
        ", ".join(f"{row[name + side] or 0} {_WHAT[name]}" for name in counted)
        for side in (_FOUND, _EXPECTED)
    )
    space, begin = row["space_id"], dt.datetime.fromtimestamp(row["begin"], dt.UTC)
    return (
        f"  {tree.names[tree.index[space]] if space in tree else '?'} ({space}), "
        f"{begin:%Y-%m-%d %H:%M} UTC, {row['interval_seconds']} s: counted {found}; "
        f"{against}: {expected}"
    )
