"""Brings the lake of an upgraded home to one file per chunk.

Earlier versions kept presence and counts in one small file per space and chunk. They are copied
once, before anything is read or written. Nothing is recomputed: of chunks whose presence has been
deleted, the counts could not be.
"""

from __future__ import annotations

import datetime as dt
import logging
import re
from collections.abc import Callable, Iterable
from functools import lru_cache, partial

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from tippers_dagster.campus.spaces.tree import load_tree
from tippers_dagster.occupancy import files
from tippers_dagster.occupancy.files import DERIVED_COUNTS, PRESENCE, SOURCE_COUNTS, Dataset, Rows
from tippers_dagster.occupancy.tables import lake_layout
from tippers_dagster.platform.lake import Lake, open_lake
from tippers_dagster.platform.lake.keys import decode
from tippers_dagster.platform.locks.locks import advisory_locks
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

OldFiles = dict[str, dict[str, str]]
"""Keys of a folder's files of the earlier layout, by chunk and space."""

_OLD = re.compile(r"(.+)/space=([^/]+)/chunk=([^/]+)\.parquet")
"""A key of the earlier layout."""

_log = logging.getLogger(__name__)


@lru_cache(maxsize=8)
def occupancy_lake(settings: Settings) -> Lake:
    """The lake, with presence and counts in files per chunk: the first call in an upgraded home
    copies them, while other processes wait.

    Workers of a cluster open the lake themselves: the process that sends them work has called this.
    """
    repack(settings, "occupancy", ["presence/", "occupancy/"], partial(_copy, settings))
    return open_lake(settings)


def repack(
    settings: Settings, part: str, prefixes: list[str], copy: Callable[[Lake, str, OldFiles], None]
) -> None:
    """Copy the files of the earlier layout below prefixes, then delete them, once per lake.

    Nothing is deleted before all copies are written, synced and recorded. An interrupted call is
    started again by the next one, until they are; after that only the deletion is continued.

    Parameters
    ----------
    part
        What is recorded as done.
    copy
        Gets a folder, and the keys ``space=S/chunk=K.parquet`` in it. Copies them, overwriting what
        an interrupted call has written.
    """
    lake = open_lake(settings)
    if _progress(settings, lake, part)[1]:
        return
    with advisory_locks(settings, [f"lake layout {part}"], _log):
        copied, finished = _progress(settings, lake, part)
        if finished:
            return
        keys = [key for prefix in prefixes for key in lake.list(prefix) if _OLD.fullmatch(key)]
        if keys and not copied:
            _log.warning("Copying %s files of the lake to one per time chunk.", f"{len(keys):,}")
            for folder, old in _by_folder(keys).items():
                copy(lake, folder, old)
            lake.sync()
            _record(settings, lake, part, finished=False)
        for space in sorted({key.rpartition("/")[0] for key in keys}):
            lake.delete_prefix(f"{space}/")
        _record(settings, lake, part, finished=True)


def _by_folder(keys: Iterable[str]) -> dict[str, OldFiles]:
    found: dict[str, OldFiles] = {}
    for key in keys:
        match = _OLD.fullmatch(key)
        assert match is not None, key  # as listed by it
        folder, space, chunk = map(decode, match.groups())
        found.setdefault(folder, {}).setdefault(chunk, {})[space] = key
    return found


def read_old(lake: Lake, keys: Iterable[str]) -> list[pa.Table]:
    """The tables of old files, all of which exist."""
    return [table for table in lake.read_tables(list(keys)) if table is not None]


def _copy(settings: Settings, lake: Lake, folder: str, old: OldFiles) -> None:
    """Copy presence or counts; the counts of each space to where they are looked for first."""
    tree = load_tree(settings)

    def dataset(space: str) -> Dataset:
        if folder == PRESENCE.folder:
            return PRESENCE
        return SOURCE_COUNTS if space in tree.leaves else DERIVED_COUNTS

    for chunk, keys in old.items():
        tables = dict(zip(keys, read_old(lake, keys.values()), strict=True))
        for one in {dataset(space) for space in keys}:
            spaces = [space for space in keys if dataset(space) == one]
            files.write(lake, one, chunk, Rows.of_tables(spaces, [tables[s] for s in spaces]))


def _progress(settings: Settings, lake: Lake, part: str) -> tuple[bool, bool]:
    """Whether the old files have all been copied, and all been deleted."""
    c = lake_layout.c
    query = sa.select(c.finished_at).where(c.lake == lake.uri(), c.part == part)
    with warehouse_engine(settings).connect() as connection:
        row = connection.execute(query).one_or_none()
    return row is not None, row is not None and row.finished_at is not None


def _record(settings: Settings, lake: Lake, part: str, *, finished: bool) -> None:
    now = dt.datetime.now(dt.UTC)
    row = {"lake": lake.uri(), "part": part, "copied_at": now}
    changes = {"finished_at": now if finished else None}
    query = insert(lake_layout).values(row | changes)
    with warehouse_engine(settings).begin() as connection:
        connection.execute(
            query.on_conflict_do_update(index_elements=["lake", "part"], set_=changes)
        )
