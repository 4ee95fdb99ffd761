"""The region of each access point and space, as the model ``int_regions`` chooses it.

Pure functions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from tippers_dagster.occupancy.arrays import grouped

COVERAGE = pa.schema(
    {
        "sensor": pa.string(),
        "region_id": pa.string(),
        "space_name": pa.string(),
        "intersection_percentage": pa.float64(),
    }
)
"""One row per access point and region that it covers."""


def regions_seen(place_days: Sequence[Callable[[], pa.Table]], coverage: pa.Table) -> pa.Table:
    """The region of each access point and space with sessions.

    It is the space itself where its access point covers it, else what the access point covers
    most; of equal ones the first by id.

    Parameters
    ----------
    place_days
        Read those of each chunk, see `days.place_days`.
    coverage
        See `COVERAGE`.

    Returns
    -------
    Columns sensor, space and space_name, the region's. No row where the access point covers
    nothing.
    """
    seen = pa.concat_tables([_SEEN.empty_table(), *(_seen(read()) for read in place_days)])
    found = seen.group_by(_SEEN.names).aggregate([]).join(coverage, "sensor", join_type="inner")
    # As in SQL, where a region without an id comes first.
    itself = pc.fill_null(pc.equal(found["region_id"], found["space"]).cast(pa.int8()), 2)
    order = [
        *((name, "ascending") for name in _SEEN.names),
        ("itself", "descending"),
        ("intersection_percentage", "descending"),
        ("region_id", "ascending"),
    ]
    ordered = found.append_column("itself", itself).sort_by(order)
    pairs = ordered.group_by(_SEEN.names, use_threads=False)
    first = pairs.aggregate([("space_name", "first", pc.ScalarAggregateOptions(skip_nulls=False))])
    return first.rename_columns([*_SEEN.names, "space_name"])


_SEEN = pa.schema({"sensor": pa.string(), "space": pa.string()})


def _seen(place_days: pa.Table) -> pa.Table:
    """The access points and spaces of a chunk, each pair once."""
    pairs = place_days.select(_SEEN.names).filter(pc.is_valid(place_days["sensor"]))
    pairs = pairs.unify_dictionaries().combine_chunks()
    codes = [pairs[name].combine_chunks().indices.to_numpy() for name in _SEEN.names]
    order, first, _ = grouped(codes)
    return pairs.take(order[first]).cast(_SEEN)
