"""Brings labelled occupancies of an upgraded home to one file per chunk."""

from __future__ import annotations

from functools import lru_cache, partial

import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from tippers_dagster.occupancy import files
from tippers_dagster.occupancy.files import Rows
from tippers_dagster.occupancy.repack import (
    OldFiles,
    occupancy_lake,
    read_old,
    repack,
)
from tippers_dagster.people.by_label.counting import stamps
from tippers_dagster.people.by_label.tables import labelled_chunk
from tippers_dagster.platform.lake import Lake
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

_PRESENCE = b"tippers.presence"
_LABELS = b"tippers.labels"
"""Metadata of old files: the fingerprints of what they were counted from."""


@lru_cache(maxsize=8)
def labelled_lake(settings: Settings) -> Lake:
    """The lake, with occupancy and counts by label in files per chunk; see ``occupancy_lake``."""
    repack(settings, "labelled", ["labelled/"], partial(_copy, settings))
    return occupancy_lake(settings)


def _copy(settings: Settings, lake: Lake, folder: str, old: OldFiles) -> None:
    """Copy the counts that were made with the labels recorded for their chunk. Others, which may
    have other labels as columns, are never read.
    """
    name = folder.removeprefix("labelled/")
    c = labelled_chunk.c
    query = sa.select(c.chunk, c.labels_fingerprint).where(c.definition == name)
    with warehouse_engine(settings).connect() as connection:
        recorded = {row.chunk: row.labels_fingerprint % 2**64 for row in connection.execute(query)}
    for chunk in old.keys() & recorded.keys():
        keys, labels = old[chunk], recorded[chunk]
        tables = dict(zip(keys, read_old(lake, keys.values()), strict=True))
        made = {space: _made_from(table) for space, table in tables.items()}
        presence = {s: found[0] for s, found in made.items() if found and found[1] == labels}
        if presence:
            kept = list(presence)
            prints = np.array(list(presence.values()), np.uint64)
            rows = Rows.of_tables(kept, [tables[space] for space in kept], stamps(prints, labels))
            files.write(lake, files.labelled_counts(name), chunk, rows)


def _made_from(table: pa.Table) -> tuple[int, int] | None:
    found = table.schema.metadata or {}
    if _PRESENCE not in found or _LABELS not in found:
        return None
    return int(found[_PRESENCE], 16), int(found[_LABELS], 16)
