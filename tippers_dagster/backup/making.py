"""Makes a backup while the deployment runs.

The lake is copied first. Then the warehouse's snapshot is taken, what changed in the lake meanwhile
is copied again, which takes moments, and the records are read once more: files whose records are
the same in both belong to the snapshot. Anything else is void in the backup.
"""

from __future__ import annotations

import datetime as dt
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa

from tippers_dagster import __version__
from tippers_dagster.automation.nodes import Table
from tippers_dagster.automation.tokens import source_tokens
from tippers_dagster.backup.copying import LakeCopy
from tippers_dagster.backup.dump import Selection, Snapshot, dump, snapshot
from tippers_dagster.backup.folder import create, new_folder
from tippers_dagster.backup.keys import Keys, key_print, keys_of, with_older, write_keys
from tippers_dagster.backup.manifest import MANIFEST, DatabaseCopy, Manifest, TableCopy, Void
from tippers_dagster.backup.parts import (
    MEANING,
    OTHER,
    artifacts_lake,
    artifacts_root,
    lake_uri,
    mlflow_database,
    selections,
)
from tippers_dagster.backup.records import Records, changed, is_nothing, read_records
from tippers_dagster.occupancy.repack import occupancy_lake
from tippers_dagster.platform.dagster.environment import dagster_instance
from tippers_dagster.platform.home import private_home
from tippers_dagster.platform.locks.locks import advisory_locks
from tippers_dagster.platform.postgres.databases import databases
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings
from tippers_dagster.sql.roles import ensure_roles

MAX_ATTEMPTS = 5
"""At a moment in which nothing is recorded; after the last one, the rest is void."""

PAUSE_SECONDS = 2.0

COUNTERS_SECONDS = 11.0
"""After this time PostgreSQL's counters cover every commit: idle sessions report every ten."""

_log = getLogger("tippers")

KeysIncluded = Literal["none", "readable", "encrypted"]
Report = Callable[[str], None]


@dataclass(frozen=True)
class Made:
    """A finished backup: its manifest, and its size in bytes."""

    manifest: Manifest
    bytes: int


def make_backup(
    settings: Settings,
    target: Path,
    keys: KeysIncluded,
    passphrase: bytes | None = None,
    report: Report = lambda _: None,
) -> Made:
    """Write a backup to a new folder.

    Parameters
    ----------
    keys
        Whether they are included; ``encrypted`` needs the passphrase.

    Raises
    ------
    BackupError
        When the folder exists, or lacks space.
    """
    private_home(settings.home_path)  # files are private from here on
    ensure_roles(settings)
    lake = occupancy_lake(settings)
    with dagster_instance(settings):
        pass  # its tables exist
    needed = _database_bytes(settings) // 3 + sum(
        size for _, size in lake.backend.contents("").values()
    )
    with new_folder(target.absolute(), needed) as folder:
        artifacts = artifacts_lake(settings)
        copies = [LakeCopy(lake, folder, "lake")]
        if artifacts is not None:
            copies.append(LakeCopy(artifacts, folder, "artifacts"))
        report("Copying the lake.")
        for copy in copies:
            copy.refresh()
        with _consistent(settings, copies, report) as (snapshots, void, known):
            dumped = {}
            for name, found in snapshots.items():
                report(f"Copying the {name} database.")
                dumped[name] = dump(found, folder, name)
            taken_at = snapshots["warehouse"].taken_at
        if keys != "none":
            write_keys(folder, known, passphrase)
        manifest = Manifest(
            id=uuid.uuid4().hex,
            version=__version__,
            made_at=dt.datetime.now(dt.UTC),
            settings=_settings(settings),
            key_print=key_print(settings),
            keys=keys,
            warehouse=_with_tokens(settings, dumped["warehouse"], taken_at),
            dagster=dumped["dagster"],
            mlflow=dumped.get("mlflow"),
            lake_uri=lake_uri(settings),
            artifacts_root=artifacts_root(settings),
            lake=copies[0].files(),
            artifacts=copies[1].files() if artifacts is not None else None,
            void=void,
        )
        text = manifest.model_dump_json(indent=1).encode()
        with create(folder, MANIFEST) as file:
            file.write(text)
        size = len(text) + sum(size for size, _ in manifest.files.values())
    return Made(manifest, size)


def _urls(settings: Settings) -> dict[str, tuple[str, Selection]]:
    """The databases that are copied. The warehouse first: what others have of later is harmless."""
    chosen, places = selections(settings), databases(settings)
    urls = {
        "warehouse": places.warehouse,
        "mlflow": mlflow_database(settings),
        "dagster": places.dagster,
    }
    return {name: (url, chosen[name]) for name, url in urls.items() if url is not None}


@contextmanager
def _consistent(
    settings: Settings, copies: list[LakeCopy], report: Report
) -> Iterator[tuple[dict[str, Snapshot], Void, Keys]]:
    """Snapshots of the databases to which the copies of the lake belong, what is void, and the keys
    of the snapshot's passwords.
    """
    for attempt in range(MAX_ATTEMPTS):
        keys = keys_of(settings)
        with ExitStack() as stack:
            # Retention deletes files whose records stay.
            with advisory_locks(settings, ["presence retention"], _log):
                snapshots = {
                    name: stack.enter_context(snapshot(url, selection))
                    for name, (url, selection) in _urls(settings).items()
                }
                # Keys may be rotated at any time, but only those around the snapshot matter.
                keys = with_older(keys_of(settings), keys)
                before = read_records(snapshots["warehouse"])
                for copy in copies:
                    copy.refresh()
                void = changed(before, _records_now(settings))
            if is_nothing(void) or attempt == MAX_ATTEMPTS - 1:
                yield snapshots, void, keys
                return
        report("Files are being replaced; trying again.")
        time.sleep(PAUSE_SECONDS)


def _records_now(settings: Settings) -> Records:
    url, selection = _urls(settings)["warehouse"]
    chosen = Selection(lambda _: False, lambda _: False, selection.revision)
    with snapshot(url, chosen) as found:
        return read_records(found)


def _with_tokens(settings: Settings, copy: DatabaseCopy, taken_at: float) -> DatabaseCopy:
    """The copy with what tables' rows were known as.

    A change that the counters show late would be taken for part of the snapshot, if they were read
    too early; a change since only has the effect that what reads the table is computed again.
    """
    time.sleep(max(0.0, taken_at + COUNTERS_SECONDS - time.monotonic()))
    names = {str(number): Table(*table.place) for number, table in enumerate(copy.tables)}
    tokens = source_tokens(settings, names)
    tables: list[TableCopy] = [
        table.model_copy(update={"token": tokens[str(number)]})
        for number, table in enumerate(copy.tables)
    ]
    return copy.model_copy(update={"tables": tables})


def _settings(settings: Settings) -> dict[str, Any]:
    return settings.model_dump(mode="json", include={*MEANING, *OTHER})


def _database_bytes(settings: Settings) -> int:
    with warehouse_engine(settings).connect() as connection:
        size = connection.scalar(sa.text("SELECT pg_database_size(current_database())"))
    return int(size or 0)
