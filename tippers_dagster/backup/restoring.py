"""Restores a backup into an empty home or deployment.

Everything is checked first. Then files are written, and last, in one transaction, the warehouse,
which has the records of all of them. An interrupted restore of the same backup can be repeated;
once that transaction is committed, a repetition only finishes, and replaces nothing.
"""

from __future__ import annotations

import json
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from logging import getLogger
from pathlib import Path
from typing import Any

import psycopg2
import sqlalchemy as sa

from tippers_dagster import __version__
from tippers_dagster.automation.nodes import Table
from tippers_dagster.automation.tables import asset_state
from tippers_dagster.automation.tokens import record_restored, source_tokens
from tippers_dagster.backup.copying import check_copied, copy_back
from tippers_dagster.backup.dump import Place
from tippers_dagster.backup.folder import Backup
from tippers_dagster.backup.keys import Keys, check_keys, read_keys, restore_keys
from tippers_dagster.backup.load import load
from tippers_dagster.backup.manifest import (
    BackupError,
    DatabaseCopy,
    Manifest,
    TableCopy,
    Void,
)
from tippers_dagster.backup.parts import (
    LIVE,
    MEANING,
    OTHER,
    artifacts_lake,
    artifacts_root,
    lake_uri,
    mlflow_database,
    shaped_schemas,
)
from tippers_dagster.backup.records import void_records
from tippers_dagster.connections.secrets import undecryptable
from tippers_dagster.occupancy.state import SESSIONS
from tippers_dagster.occupancy.tables import lake_layout, partition_figures, replacing, sealed_chunk
from tippers_dagster.platform.dagster.addresses import stack_owner
from tippers_dagster.platform.dagster.environment import dagster_instance
from tippers_dagster.platform.home import UNFINISHED, private_home
from tippers_dagster.platform.keys import replace_secret
from tippers_dagster.platform.lake import Lake, open_lake
from tippers_dagster.platform.lake.keys import sessions_key
from tippers_dagster.platform.postgres.databases import databases
from tippers_dagster.platform.postgres.keepalives import KEEPALIVES
from tippers_dagster.platform.warehouse.engine import sqlalchemy_url, warehouse_engine
from tippers_dagster.platform.warehouse.metadata import SCHEMA
from tippers_dagster.platform.warehouse.migrate import newest_revision, upgrade_to
from tippers_dagster.settings import Settings
from tippers_dagster.sql.names import STAGING
from tippers_dagster.sql.roles import ensure_roles

HEARTBEAT_SECONDS = 120

COUNTERS_SECONDS = 30.0

_ANY_ROW = """
    SELECT n.nspname::text, c.relname::text FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
"""
_IGNORED = {
    "warehouse": {"alembic_version", "held_lock", "source_token"},
    # What a new storage begins with, and what a daemon that was started once leaves.
    "dagster": {"alembic_version", "secondary_indexes", "instance_info", "daemon_heartbeats"},
    "mlflow": {"alembic_version", "experiments", "experiment_tags", "workspaces"},
}

Report = Callable[[str], None]


@dataclass(frozen=True)
class Restored:
    """A finished restore.

    ``void``: what is computed again. ``settings``: those of the deployment that was backed up that
    differ here, by variable. ``notes``: what else should be known.
    """

    manifest: Manifest
    rows: dict[str, int]
    void: Void
    settings: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def restore(
    settings: Settings,
    folder: Path,
    passphrase: bytes | None = None,
    report: Report = lambda _: None,
) -> Restored:
    """Restore a backup.

    Raises
    ------
    BackupError
        When the backup is damaged or of a newer version, when this deployment is not empty or
        running, or has settings or keys with which the backup means something else. Then nothing
        was changed.
    """
    backup = Backup(folder)
    manifest = backup.manifest()
    _check_versions(manifest)
    different = _check_settings(settings, manifest)
    keys = read_keys(backup, manifest, passphrase)
    check_keys(settings, manifest, keys)
    report("Checking the backup.")
    backup.check(manifest)
    _check_idle(settings)
    lakes = _lakes(settings, manifest)
    notes = _notes(settings, manifest)
    mark = _mark_of(settings, manifest)
    filled = mark is not None and _is_filled(settings, mark)
    if filled:
        report("Everything was restored before the interruption; finishing.")
        notes.append("What reads tables may be computed again.")
    else:
        _check_room(settings, manifest)
        _check_empty(settings, lakes, again=mark is not None)
        _make_stores(settings, manifest)
        _fill(settings, backup, manifest, keys, lakes, report)
    warehouse_engine(settings)
    ensure_roles(settings)
    if not filled:
        # Later, they might be taken for those of rows that changed since.
        _record_tokens(settings, manifest.warehouse)
    report("Checking what was restored.")
    for lake, files in lakes.values():
        check_copied(lake, files)
    void = _without_files(settings, manifest)
    if _views(manifest):
        report("Making the views of definitions.")
        notes += _make_views(settings, manifest)
    if lost := undecryptable(settings):
        notes.append(
            f"No key decrypts the passwords of these connections; set them again: {', '.join(lost)}"
        )
    (settings.home_path / UNFINISHED).unlink(missing_ok=True)
    rows = {name: sum(t.rows for t in copy.tables) for name, copy in manifest.databases.items()}
    return Restored(manifest, rows, void, different, notes)


# --- checks -------------------------------------------------------------------------------------
def _check_versions(manifest: Manifest) -> None:
    revision = manifest.warehouse.revision
    if not (revision.isdigit() and len(revision) == 4):
        raise BackupError(f"The backup's warehouse has the unknown revision {revision}.")
    if revision > newest_revision():
        raise BackupError(
            f"The backup is of tippers {manifest.version} with the warehouse's revision "
            f"{revision}; this is tippers {__version__} with {newest_revision()}.",
            "Restore it with that version or a newer one.",
        )


def _check_settings(settings: Settings, manifest: Manifest) -> dict[str, Any]:
    """The settings that differ without changing any result.

    Raises
    ------
    BackupError
        When others differ.
    """
    now = settings.model_dump(mode="json", include={*MEANING, *OTHER})
    differing = {
        name: manifest.settings[name]
        for name in (*MEANING, *OTHER)
        if name in manifest.settings and manifest.settings[name] != now[name]
    }
    wrong = [name for name in MEANING if name in differing]
    if wrong:
        lines = ", ".join(f"TIPPERS_{name.upper()}={_written(differing[name])}" for name in wrong)
        raise BackupError(
            "Settings that the results in the backup depend on are different here.",
            f"Set as it was backed up: {lines}",
        )
    return {f"TIPPERS_{name.upper()}": differing[name] for name in OTHER if name in differing}


def _written(value: Any) -> str:
    return "(unset)" if value is None else value if isinstance(value, str) else json.dumps(value)


def _check_room(settings: Settings, manifest: Manifest) -> None:
    private_home(settings.home_path)
    text = sum(t.text_bytes for c in manifest.databases.values() for t in c.tables)
    embedded = settings.database_url is None or settings.dagster_url is None
    needed = 3 * text * embedded
    if settings.lake_url is None:
        needed += sum(copy.bytes for copy in manifest.lake)
    free = shutil.disk_usage(settings.home_path).free
    if free < needed:
        raise BackupError(
            f"The disk of {settings.home_path} has {free >> 20:,} MB free; restoring needs about "
            f"{needed >> 20:,} MB.",
            "Free some space, or set TIPPERS_HOME to a folder on a larger disk.",
        )


def _check_idle(settings: Settings) -> None:
    if stack_owner(settings) is not None:
        raise BackupError(f"The stack of {settings.home_path} is running.", "Stop it first.")
    with _transaction(databases(settings).dagster) as cursor:
        cursor.execute("SELECT to_regclass('public.daemon_heartbeats') IS NOT NULL")
        if cursor.fetchone() != (True,):
            return
        cursor.execute(
            "SELECT count(*) FROM daemon_heartbeats WHERE timestamp > "
            f"(now() AT TIME ZONE 'UTC') - interval '{HEARTBEAT_SECONDS} seconds'"
        )
        if cursor.fetchone() != (0,):
            raise BackupError(
                "A Dagster daemon of this deployment is running, or was a moment ago.",
                "Stop the deployment's services, and repeat this in two minutes.",
            )


def _mark_of(settings: Settings, manifest: Manifest) -> str | None:
    """The mark of an interrupted attempt to restore this backup."""
    path = settings.home_path / UNFINISHED
    mark = path.read_text().strip() if path.exists() else ""
    return mark if mark.split(" ")[0] == manifest.id else None


def _is_filled(settings: Settings, mark: str) -> bool:
    """Whether the warehouse was committed in the attempt with this mark."""
    with _transaction(databases(settings).warehouse) as cursor:
        cursor.execute(
            "SELECT pg_catalog.obj_description(to_regnamespace(%s), 'pg_namespace')", (SCHEMA,)
        )
        return bool(cursor.fetchone() == (mark,))


def _check_empty(settings: Settings, lakes: dict[str, tuple[Lake, Any]], *, again: bool) -> None:
    """Check that there is nothing; after an interruption, at least nothing in the warehouse."""
    for name, url in _urls(settings).items():
        if again and name != "warehouse":
            continue
        with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
            cursor.execute(_ANY_ROW)
            for place in cursor.fetchall():
                if place[1] not in _IGNORED[name] and _has_rows(cursor, place):
                    raise _not_empty(f"the {name} database has rows in {'.'.join(place)}")
    for lake, _ in lakes.values():
        if not again and lake.list():
            raise _not_empty(f"there are files in {lake.uri()}")


def _has_rows(cursor: Any, place: Place) -> bool:
    from psycopg2 import sql

    cursor.execute(sql.SQL("SELECT EXISTS (SELECT FROM {})").format(sql.Identifier(*place)))
    return bool(cursor.fetchone()[0])


def _not_empty(why: str) -> BackupError:
    return BackupError(
        f"This deployment is not empty: {why}.",
        "Restore into a new home (TIPPERS_HOME), new databases and an empty lake.",
    )


def _notes(settings: Settings, manifest: Manifest) -> list[str]:
    notes = []
    if manifest.mlflow is None:
        notes.append("The backup has no MLflow store.")
    elif mlflow_database(settings) is None:
        notes.append(
            "MLflow's store was not restored: set TIPPERS_MLFLOW_DATABASE_URL, or leave "
            "TIPPERS_MLFLOW_URL unset."
        )
    return notes


def _urls(settings: Settings) -> dict[str, str]:
    places, mlflow = databases(settings), mlflow_database(settings)
    urls = {"warehouse": places.warehouse, "dagster": places.dagster}
    return urls if mlflow is None else urls | {"mlflow": mlflow}


def _lakes(settings: Settings, manifest: Manifest) -> dict[str, tuple[Lake, list[Any]]]:
    """Where files go, by their folder in the backup.

    An MLflow server's artifacts may become part of the lake, and the other way round.
    """
    lake, other = open_lake(settings), artifacts_lake(settings)
    found: dict[str, tuple[Lake, list[Any]]] = {"lake": (lake, manifest.lake)}
    if manifest.artifacts is not None and other is not None:
        found["artifacts"] = (other, manifest.artifacts)
    elif (manifest.artifacts is None) != (other is None) and manifest.mlflow is not None:
        raise BackupError(
            "The backup is of a deployment "
            + ("without" if manifest.artifacts is None else "with")
            + " an MLflow server of its own, and this one is not.",
            "Set or unset TIPPERS_MLFLOW_URL, TIPPERS_MLFLOW_DATABASE_URL and "
            "TIPPERS_MLFLOW_ARTIFACTS_URL as they were.",
        )
    return found


# --- filling ------------------------------------------------------------------------------------
def _make_stores(settings: Settings, manifest: Manifest) -> None:
    """Create Dagster's and MLflow's tables, and check that they are those of the backup."""
    with dagster_instance(settings):
        pass
    urls = _urls(settings)
    if manifest.mlflow is not None and "mlflow" in urls:
        from mlflow import MlflowClient

        getLogger("mlflow.store.db.utils").setLevel("WARNING")  # it lists its migrations
        MlflowClient(sqlalchemy_url(urls["mlflow"])).search_experiments(max_results=1)
    for name in ("dagster", "mlflow"):
        copy = manifest.databases.get(name)
        if copy is None or name not in urls:
            continue
        with closing(psycopg2.connect(urls[name])) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT version_num FROM public.alembic_version")
            found = cursor.fetchone()
        if found is None or found[0] != copy.revision:
            raise BackupError(
                f"The backup's {name} database was made by another version of that program.",
                f"Restore it with tippers {manifest.version}, then upgrade.",
            )


def _fill(
    settings: Settings,
    backup: Backup,
    manifest: Manifest,
    keys: Keys | None,
    lakes: dict[str, tuple[Lake, list[Any]]],
    report: Report,
) -> None:
    """Everything or, unless this process is killed, nothing: rows that do not fit are found before
    the first file is written.
    """
    urls = _urls(settings)
    mark = f"{manifest.id} {uuid.uuid4().hex}"
    with ExitStack() as stack:
        # Committed in the opposite order: the warehouse last.
        report("Restoring the warehouse.")
        connection = stack.enter_context(_warehouse_transaction(settings))
        _fill_warehouse(connection, settings, backup, manifest)
        for name in ("dagster", "mlflow"):
            if name in urls and name in manifest.databases:
                report(f"Restoring the {name} database.")
                cursor = stack.enter_context(_transaction(urls[name]))
                load(cursor, backup, name, manifest.databases[name], shaped=(), empty=LIVE[name])
                _ADAPTED[name](cursor, settings, manifest)
        # Committed with the rows: tells a repetition that they are there.
        connection.execute(sa.text(f"COMMENT ON SCHEMA {SCHEMA} IS '{mark}'"))
        replace_secret(settings.home_path / UNFINISHED, mark)
        if keys is not None:
            restore_keys(settings, keys)
        for name, (lake, files) in lakes.items():
            report(f"Restoring {lake.uri()}.")
            copy_back(lake, backup, name, files)


@contextmanager
def _transaction(url: str) -> Iterator[Any]:
    with (
        closing(psycopg2.connect(url)) as connection,
        connection,
        connection.cursor() as cursor,
    ):
        yield cursor


def _end_runs(cursor: Any, settings: Settings, manifest: Manifest) -> None:
    """End what had not ended: nothing that a backup says is to be run, is run."""
    cursor.execute(
        "UPDATE runs SET status = 'CANCELED', end_time = extract(epoch FROM now()) "
        "WHERE status NOT IN ('SUCCESS', 'FAILURE', 'CANCELED')"
    )
    cursor.execute(
        "DELETE FROM bulk_actions WHERE status NOT LIKE 'COMPLETED%' "
        "AND status NOT IN ('FAILED', 'CANCELED')"
    )


_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("logged_models", "artifact_location"),
)


def _move_artifacts(cursor: Any, settings: Settings, manifest: Manifest) -> None:
    """Let MLflow find the artifacts where they are now, and none outside of it.

    A place that leads elsewhere would let MLflow's pages show any file that its server can read.
    """
    old, new = manifest.artifacts_root, artifacts_root(settings)
    for table, column in _PLACES:
        cursor.execute(
            f"UPDATE {table} SET {column} = CASE "
            f"WHEN {column} ~ '^(models|runs):/[A-Za-z0-9_./ -]*$' "
            f"AND {column} !~ '(^|/)[.][.](/|$)' THEN {column} "
            f"WHEN starts_with({column}, %(old)s) "
            f"AND substr({column}, length(%(old)s) + 1) ~ '^/[A-Za-z0-9_./ -]*$' "
            f"AND {column} !~ '(^|/)[.][.](/|$)' "
            f"THEN %(new)s || substr({column}, length(%(old)s) + 1) "
            f"ELSE %(new)s || '/not-in-backup' END WHERE {column} IS NOT NULL",
            {"old": old, "new": new},
        )


_ADAPTED: dict[str, Callable[[Any, Settings, Manifest], None]] = {
    "dagster": _end_runs,
    "mlflow": _move_artifacts,
}


@contextmanager
def _warehouse_transaction(settings: Settings) -> Iterator[sa.Connection]:
    """A transaction on a warehouse whose tables are not migrated yet."""
    engine = sa.create_engine(
        sqlalchemy_url(databases(settings).warehouse),
        poolclass=sa.NullPool,
        hide_parameters=True,
        connect_args={"options": f"-c timezone=UTC -c search_path={SCHEMA}", **KEEPALIVES},
    )
    with engine.begin() as connection:
        yield connection


def _fill_warehouse(
    connection: sa.Connection, settings: Settings, backup: Backup, manifest: Manifest
) -> None:
    connection.execute(sa.text(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE"))
    connection.execute(sa.text(f"CREATE SCHEMA {SCHEMA}"))
    upgrade_to(connection, manifest.warehouse.revision)
    raw: Any = connection.connection.driver_connection
    with raw.cursor() as cursor:
        load(
            cursor,
            backup,
            "warehouse",
            manifest.warehouse,
            shaped=shaped_schemas(settings),
            empty=LIVE["warehouse"],
        )
    upgrade_to(connection)
    void_records(connection, manifest.void)
    void_records(connection, Void(assets=_views(manifest)))
    here = lake_uri(settings)
    connection.execute(sa.delete(lake_layout).where(lake_layout.c.lake == here))
    moved = sa.update(lake_layout).where(lake_layout.c.lake == manifest.lake_uri)
    connection.execute(moved.values(lake=here))


def _views(manifest: Manifest) -> list[str]:
    """The assets whose tables were views, or are left out for another reason."""
    found = []
    for place in manifest.warehouse.left_out:
        schema, _, name = place.partition(".")
        found.append(f"{STAGING}/{name}" if schema == STAGING else name.replace("__", "/", 1))
    return found


def _make_views(settings: Settings, manifest: Manifest) -> list[str]:
    """Make the views again, before anything that reads them; returns what should be known.

    They get the versions that they had: what reads them is up to date, and stays so.
    """
    from tippers_dagster.graph.launch import materialize_definitions

    with warehouse_engine(settings).connect() as connection:
        query = sa.select(asset_state.c.asset).where(asset_state.c.asset.in_(_views(manifest)))
        assets = connection.scalars(query).all()
    if not assets:
        return []
    selection = " or ".join(f'key:"{name}"' for name in sorted(assets))
    with dagster_instance(settings) as instance:
        outcomes = materialize_definitions(settings, instance, selection)
    failed = [outcome.name for outcome in outcomes if outcome.state != "computed"]
    return [f"Views that could not be made again: {', '.join(failed)}."] if failed else []


def _record_tokens(settings: Settings, copy: DatabaseCopy) -> None:
    """Record what the restored tables' rows were known as."""
    _wait_for_counters(settings, copy.tables)
    names = {str(number): Table(*table.place) for number, table in enumerate(copy.tables)}
    now = source_tokens(settings, names)
    then = {
        now[str(number)]: table.token
        for number, table in enumerate(copy.tables)
        if table.token is not None and now[str(number)] != table.token
    }
    with warehouse_engine(settings).begin() as connection:
        record_restored(connection, then)


def _wait_for_counters(settings: Settings, tables: list[TableCopy]) -> None:
    """Wait until PostgreSQL has counted the rows."""
    query = sa.text(
        "SELECT n_tup_ins FROM pg_stat_all_tables WHERE schemaname = :schema AND relname = :name"
    )
    until = time.monotonic() + COUNTERS_SECONDS
    skipped = set(LIVE["warehouse"])
    for table in tables:
        while table.place not in skipped and time.monotonic() < until:
            with warehouse_engine(settings).connect() as connection:
                values = {"schema": table.place[0], "name": table.place[1]}
                if (connection.scalar(query, values) or 0) >= table.rows:
                    break
            time.sleep(0.1)


def _without_files(settings: Settings, manifest: Manifest) -> Void:
    """Void the chunks of which sessions are recorded but not in the lake; all that is void."""
    present = {copy.key for copy in manifest.lake}
    figures = partition_figures.c
    query = sa.select(figures.chunk).where(
        figures.asset == SESSIONS,
        figures.chunk.not_in(sa.select(sealed_chunk.c.chunk)),
        figures.chunk.not_in(sa.select(replacing.c.chunk).where(replacing.c.asset == SESSIONS)),
    )
    with warehouse_engine(settings).begin() as connection:
        lost = [c for c in connection.scalars(query) if sessions_key(c) not in present]
        more = Void(partitions=[(SESSIONS, chunk) for chunk in sorted(lost)])
        void_records(connection, more)
    return Void(
        partitions=[*manifest.void.partitions, *more.partitions],
        labelled=manifest.void.labelled,
        assets=manifest.void.assets,
    )
