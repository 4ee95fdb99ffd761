"""Estimates how long partitions will take, from past runs."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa

from tippers_dagster.occupancy.tables import run_duration

RECENT_RUNS = 20


def expected_by_history(engine: sa.Engine, partitions: Mapping[str, int]) -> dict[str, float]:
    """Seconds that computing these numbers of partitions of each asset will probably take.

    Estimated from the asset's recent runs: their time per partition, but at least their shortest
    duration. Assets without past runs are left out.
    """
    newest = (
        sa.func.row_number()
        .over(partition_by=run_duration.c.asset, order_by=run_duration.c.finished_at.desc())
        .label("newest")
    )
    runs = sa.select(run_duration, newest).subquery()
    query = (
        sa.select(
            runs.c.asset,
            sa.func.sum(runs.c.seconds) / sa.func.sum(runs.c.partitions),
            sa.func.min(runs.c.seconds),
        )
        .where(runs.c.newest <= RECENT_RUNS, runs.c.partitions > 0)
        .group_by(runs.c.asset)
    )
    with engine.connect() as connection:
        rates = {row[0]: (float(row[1]), float(row[2])) for row in connection.execute(query)}
    return {
        asset: max(n * rates[asset][0], rates[asset][1]) if n else 0.0
        for asset, n in partitions.items()
        if asset in rates
    }
