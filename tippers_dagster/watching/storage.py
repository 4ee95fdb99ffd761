"""Reads sizes, locks and connections."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from contextlib import closing

import psycopg2
import sqlalchemy as sa

from tippers_dagster.platform.dagster.internals import CONNECT_SECONDS
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.locks.keeper import WAITING
from tippers_dagster.platform.postgres.databases import databases
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings
from tippers_dagster.watching.figures import Database, Disk, Folder, Storage

MLFLOW = "mlflow"
"""MLflow's database, where it is on the warehouse's server."""

_LOCKS = """
    WITH ours AS (
        SELECT l.*, locktype = 'advisory' AND objsubid = 1 AND granted AS held,
            locktype = 'advisory' AND objsubid = 2 AND classid = :key AS waits
        FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE a.datname = current_database()
    )
    SELECT count(*) FILTER (WHERE held), count(*) FILTER (WHERE waits),
        extract(epoch FROM clock_timestamp())::float8 - min(objid::bigint) FILTER (WHERE waits),
        count(*) FILTER (WHERE NOT granted),
        extract(epoch FROM clock_timestamp() - min(waitstart))::float8
    FROM ours
"""
_ACTIVITY = """
    SELECT count(*) FILTER (WHERE datid IS NOT NULL),
        current_setting('max_connections')::int,
        extract(epoch FROM clock_timestamp() - min(xact_start)
            FILTER (WHERE datname = current_database() AND pid <> pg_backend_pid()))::float8
    FROM pg_stat_activity
"""
_SCHEMAS = """
    SELECT n.nspname, sum(pg_total_relation_size(c.oid))::bigint AS size
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'm') AND n.nspname !~ '^(pg_|information_schema$)' GROUP BY 1
"""
_SIZE = "SELECT pg_database_size(current_database())"
_ON_THIS_SERVER = """
    SELECT pg_database_size(oid) FROM pg_database
    WHERE datname = :name AND has_database_privilege(oid, 'CONNECT')
"""


def read_database(settings: Settings) -> Database:
    """Locks and connections of the warehouse."""
    with warehouse_engine(settings).connect() as connection:
        locks = connection.execute(sa.text(_LOCKS), {"key": WAITING}).one()
        connections, most, longest = connection.execute(sa.text(_ACTIVITY)).one()
    held, waiting, longest_wait, blocked, longest_blocked = locks
    return Database(
        held=held,
        waiting=waiting,
        longest_wait=max(0.0, longest_wait or 0.0),
        blocked=blocked,
        longest_blocked=max(0.0, longest_blocked or 0.0),
        connections=connections,
        max_connections=most,
        longest_transaction=max(0.0, longest or 0.0),
    )


def read_disk(settings: Settings) -> Disk:
    """The disk of the home."""
    usage = shutil.disk_usage(settings.home_path)
    return Disk(usage.free, usage.total)


def read_storage(settings: Settings) -> Storage:
    """Sizes of databases and schemas."""
    urls = databases(settings)
    with warehouse_engine(settings).connect() as connection:
        sizes = {"warehouse": connection.scalar(sa.text(_SIZE))}
        mlflow = connection.scalar(sa.text(_ON_THIS_SERVER), {"name": MLFLOW})
        schemas = {row.nspname: row.size for row in connection.execute(sa.text(_SCHEMAS))}
    with (
        closing(psycopg2.connect(urls.dagster, connect_timeout=CONNECT_SECONDS)) as dagster,
        dagster.cursor() as cursor,
    ):
        cursor.execute(_SIZE)
        sizes["dagster"] = (cursor.fetchone() or (0,))[0]
    if mlflow is not None:
        sizes["mlflow"] = mlflow
    return Storage({name: int(size or 0) for name, size in sizes.items()}, schemas)


def read_lake(settings: Settings, stopped: Callable[[], bool]) -> Mapping[str, Folder]:
    """Files and bytes by folder; lists all files, which in S3 takes a second per ten thousand.

    ``stopped``: asked after each file; if it is true, the rest is left out.
    """
    files: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for key, size in open_lake(settings).sizes():
        folder = key.split("/", 1)[0] if "/" in key else "."
        files[folder] = files.get(folder, 0) + 1
        sizes[folder] = sizes.get(folder, 0) + size
        if stopped():
            break
    return {folder: Folder(files[folder], sizes[folder]) for folder in sorted(files)}
