"""What is recorded of the log in the lake, by time chunk: what labelling reads, and depends on.

A chunk's fingerprint follows from its rows alone. A chunk that was extracted again with the same
rows keeps it, so that nothing that reads the log is computed again.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from tippers_dagster.automation.nodes import Node, Table
from tippers_dagster.campus.spaces.tables import grid, tracking
from tippers_dagster.errors import EnvironmentFault
from tippers_dagster.occupancy.state import COUNTS, SESSIONS
from tippers_dagster.occupancy.tables import partition_figures, replacing, sealed_chunk
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings


class LogOutdated(EnvironmentFault):
    """Sessions of the previous version are still to be extracted again."""


def recorded_chunks(settings: Settings, assets: Sequence[str]) -> dict[str, str]:
    """The recorded chunks of assets, in order, with their fingerprints.

    Raises
    ------
    LogOutdated
        Sessions were extracted by a version whose files labelling cannot read.
    """
    with warehouse_engine(settings).connect() as connection:
        found = {row.chunk: row.fingerprint for row in connection.execute(sa.text(_query(assets)))}
    outdated = [chunk for chunk, fingerprint in found.items() if fingerprint is None]
    if outdated:
        raise LogOutdated(
            f"The sessions of {len(outdated)} chunks were extracted by a previous version, "
            f"first those of {outdated[0]}.",
            "Automation extracts them again. `tippers occupancy status` shows how far it is.",
        )
    return found


def void_chunks(settings: Settings, assets: Sequence[str]) -> set[str]:
    """The chunks of which a run is replacing files of these assets."""
    query = sa.select(replacing.c.chunk).where(replacing.c.asset.in_(assets))
    with warehouse_engine(settings).connect() as connection:
        return set(connection.scalars(query))


def log_node(asset: str) -> Node:
    """An asset as a source of definitions; its token changes with the rows of any chunk."""
    token = (
        "SELECT md5(string_agg(concat_ws(' ', chunk, fingerprint), ',' ORDER BY chunk)) "
        f"FROM ({_query((asset,))}) AS chunks"
    )
    return Node(
        (asset,),
        source=Table(str(partition_figures.schema), partition_figures.name, token),
    )


def _query(assets: Sequence[str]) -> str:
    """Chunks with one fingerprint each; null for sessions without one of their log.

    The log is that of tracked dates, of which not only the counts are kept. Counts are all counts.
    """
    names = ", ".join(f"'{asset}'" for asset in assets)
    counts = ", ".join(f"'{asset}'" for asset in COUNTS)
    in_log = (
        f"chunk NOT IN (SELECT chunk FROM {sealed_chunk}) AND EXISTS "
        f"(SELECT FROM {tracking}, {grid} WHERE end_date > figures.chunk::date "
        "AND start_date < figures.chunk::date + ('1 ' || grid.chunk)::interval)"
    )
    return (
        "SELECT chunk, CASE WHEN count(*) = count(print) THEN md5(string_agg("
        "concat_ws(' ', asset, space, print), ',' ORDER BY asset, space)) END AS fingerprint "
        f"FROM (SELECT *, CASE WHEN asset = '{SESSIONS}' THEN log_fingerprint "
        f"ELSE output_fingerprint END AS print FROM {partition_figures}) AS figures "
        f"WHERE asset IN ({names}) AND (asset IN ({counts}) OR ({in_log})) "
        "GROUP BY chunk ORDER BY chunk"
    )
