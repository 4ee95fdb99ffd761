"""Which records of the warehouse changed while files were copied: those are void in the backup.

Whoever replaces files voids their records first, and records them again after. So the files of a
record that is the same, and valid, before and after they were copied are the recorded ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from tippers_dagster.automation.state import void as void_assets
from tippers_dagster.automation.tables import asset_state
from tippers_dagster.backup.dump import Snapshot
from tippers_dagster.backup.manifest import Void
from tippers_dagster.occupancy.state import COUNTS
from tippers_dagster.occupancy.tables import partition_figures, replacing, sealed_chunk
from tippers_dagster.people.by_label.tables import labelled_chunk

_PARTITIONS = f"""
    SELECT asset, chunk, sum(figures), sum(at), sum(replaced), sum(since)
    FROM (
        SELECT asset, chunk, 1 AS figures, extract(epoch FROM computed_at) AS at,
               0 AS replaced, 0 AS since FROM {partition_figures}
        UNION ALL
        SELECT asset, chunk, 0, 0, 1, extract(epoch FROM since) FROM {replacing}
    ) parts GROUP BY 1, 2
"""
"""All times, not only the latest: the clocks of two hosts differ."""
_LABELLED = f"SELECT definition, chunk, computed_at::text FROM {labelled_chunk}"
_ASSETS = f"SELECT asset, version, materialized_at::text FROM {asset_state}"

RUN = "backup"
"""What stands for the run that replaced files, in records that a restore voids."""


@dataclass(frozen=True)
class Records:
    """What is recorded of files, by what it is recorded of."""

    partitions: Mapping[tuple[str, str], tuple[Any, ...]]
    labelled: Mapping[tuple[str, str], Any]
    assets: Mapping[str, tuple[Any, ...]]


def read_records(found: Snapshot) -> Records:
    """The records of a snapshot of the warehouse."""
    return Records(
        {(asset, chunk): tuple(rest) for asset, chunk, *rest in found.rows(_PARTITIONS)},
        {(name, chunk): at for name, chunk, at in found.rows(_LABELLED)},
        {asset: tuple(rest) for asset, *rest in found.rows(_ASSETS)},
    )


def changed(before: Records, after: Records) -> Void:
    """What was recorded, voided or removed in between."""
    partitions = {
        key for key, value in before.partitions.items() if after.partitions.get(key) != value
    }
    # A space that changes level is withdrawn from the file of the other one.
    chunks = {chunk for asset, chunk in partitions if asset in COUNTS}
    partitions |= {
        (asset, chunk) for asset, chunk in before.partitions if asset in COUNTS and chunk in chunks
    }
    return Void(
        partitions=sorted(partitions),
        labelled=sorted(k for k, at in before.labelled.items() if after.labelled.get(k) != at),
        assets=sorted(k for k, version in before.assets.items() if after.assets.get(k) != version),
    )


def is_nothing(void: Void) -> bool:
    """Whether nothing is void."""
    return not (void.partitions or void.labelled or void.assets)


def void_records(connection: sa.Connection, void: Void) -> None:
    """Void records of a restored warehouse, so that they are computed again."""
    figures = partition_figures.c
    sealed = sa.select(sealed_chunk.c.chunk)
    for asset, chunk in void.partitions:
        query = sa.select(
            figures.asset, figures.space, figures.chunk, sa.literal(RUN), sa.func.now()
        ).where(figures.asset == asset, figures.chunk == chunk, figures.chunk.not_in(sealed))
        names = ["asset", "space", "chunk", "run_id", "since"]
        insertion = sa.dialects.postgresql.insert(replacing).from_select(names, query)
        connection.execute(insertion.on_conflict_do_nothing())
    for name, chunk in void.labelled:
        c = labelled_chunk.c
        connection.execute(
            sa.delete(labelled_chunk).where(
                c.definition == name, c.chunk == chunk, c.chunk.not_in(sealed)
            )
        )
    void_assets(connection, void.assets, RUN)
