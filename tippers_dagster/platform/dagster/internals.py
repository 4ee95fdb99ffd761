"""Dagster's internals: every name that this project uses and Dagster does not promise to keep.

All were tried with the version that is pinned, and tests fail where one changes. Nothing else
imports a module of Dagster whose name begins with an underscore; the linter checks it.
"""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg2

if TYPE_CHECKING:
    from multiprocessing.context import BaseContext

    import sqlalchemy as sa
    from dagster import (
        AssetExecutionContext,
        AssetMaterialization,
        DagsterInstance,
        SensorEvaluationContext,
    )
    from dagster._core.definitions.sensor_definition import (
        SensorExecutionData as SensorExecutionData,
    )
    from dagster._core.events import DagsterEventBatchMetadata
    from dagster._core.execution.context.system import (
        PlanOrchestrationContext as PlanOrchestrationContext,
    )
    from dagster._core.execution.plan.plan import ExecutionPlan as ExecutionPlan
    from dagster._core.execution.retries import RetryMode as RetryMode
    from dagster._core.run_coordinator.queued_run_coordinator import (
        RunQueueConfig as RunQueueConfig,
    )
    from dagster._serdes import ConfigurableClassData as ConfigurableClassData
    from dagster_postgres import DagsterPostgresStorage
    from starlette.types import ASGIApp

ASSET_JOB = "__ASSET_JOB"
"""The job of runs that name only assets."""

REPOSITORY = "__repository__"
"""The repository of a code location that has no name of its own."""

DAEMON_MODULE = "dagster._daemon"
"""What ``dagster-daemon`` runs: as a module, it needs no script of the environment."""

LAUNCHED_TAG = ".dagster/grpc_info"
"""The tag of runs that a code server executes; runs in other processes lack it."""

SERVER_MODULE = "dagster._grpc.server"
"""What a code server has imported when it loads the definitions."""

PROCESS_MODULES = (SERVER_MODULE, "dagster._cli", "dagster._core.execution.api")
"""What the processes of a code server import of Dagster, besides ``dagster``."""

CONNECT_SECONDS = 5

_STATEMENT_TIMEOUT_MS, _POOL_RECYCLE_SECONDS, _MAX_CONNECTIONS = 15_000, 3600, 20
_POLL_MS = 2000
"""The defaults of ``dagster-webserver``."""


# --- sensors ------------------------------------------------------------------------------------
def tick_result(**fields: Any) -> SensorExecutionData:
    """The result of ``evaluate_tick``, the method that our sensors override.

    A public way to regroup the run requests of an automation sensor would let both go.
    """
    from dagster._core.definitions.sensor_definition import SensorExecutionData

    return SensorExecutionData(**fields)


def skipped_tick(context: SensorEvaluationContext, message: str) -> SensorExecutionData:
    """The result of a tick that requests nothing and keeps its cursor."""
    return tick_result(skip_message=message, cursor=context.cursor)


def is_asset_job(job_name: str) -> bool:
    """Whether a run of this job covers all assets when it selects none."""
    from dagster._core.definitions.assets.job.asset_job import is_reserved_asset_job_name

    return is_reserved_asset_job_name(job_name)


# --- cron ---------------------------------------------------------------------------------------
# A time that is skipped when the clocks go forward comes at the end of the gap, one that occurs
# twice when they go back comes once.
def valid_cron(expression: str) -> bool:
    """Whether this is a cron schedule of five fields, and its time has come and will come again."""
    from dagster._utils.schedules import is_valid_cron_string

    if not is_valid_cron_string(expression):
        return False
    now = dt.datetime.now(dt.UTC)
    try:
        last_cron_time(expression, now, "UTC")
        next_cron_time(expression, now, "UTC")
    except ValueError:  # no such day within croniter's horizon, such as 31 April
        return False
    return True


def last_cron_time(expression: str, now: dt.datetime, timezone: str) -> dt.datetime:
    """The last time of a valid cron schedule up to and including ``now``."""
    from dagster._utils.schedules import get_latest_completed_cron_tick

    return get_latest_completed_cron_tick(expression, now, timezone)


def next_cron_time(expression: str, now: dt.datetime, timezone: str) -> dt.datetime:
    """The first time of a valid cron schedule after ``now``."""
    from dagster._utils.schedules import get_next_cron_tick

    return get_next_cron_tick(expression, now + dt.timedelta(microseconds=1), timezone)


# --- runs ---------------------------------------------------------------------------------------
def start_runs_with(context: BaseContext) -> None:
    """Let code servers of this process start runs by this context of ``multiprocessing``.

    Each has one of its own, which starts new interpreters, before it loads the definitions.
    """
    from dagster._grpc.server import DagsterApiServer

    DagsterApiServer._mp_ctx = property(lambda server: context, lambda server, own: None)  # type: ignore[assignment]


def start_servers_with(
    start: Callable[..., Any | None],
) -> None:
    """Let a code server of this process start the process with the definitions like this.

    Parameters
    ----------
    start
        Takes a command, its folder and its environment; returns what is used as a
        ``subprocess.Popen``, or None to start the command as usual.
    """
    from dagster._grpc import server

    usual = server.open_ipc_subprocess

    def started(command: Sequence[str], **options: Any) -> Any:
        process = start(command, **options)
        return usual(command, **options) if process is None else process

    server.open_ipc_subprocess = started  # type: ignore[assignment]


# --- events -------------------------------------------------------------------------------------
def log_materializations(
    context: AssetExecutionContext, materializations: Sequence[AssetMaterialization]
) -> None:
    """Log materializations of any partitions of one asset in a step, in batches.

    ``context.log_event`` stores them one by one, which takes 16 ms each. An output gives one for
    each partition of the run's range, whether it was computed or not.
    """
    from dagster._core.events import DagsterEvent

    step = context.op_execution_context._step_execution_context
    context.op_execution_context._events += [
        DagsterEvent.asset_materialization(step, materialization, batch)
        for materialization, batch in _batched(materializations)
    ]


def report_materializations(
    instance: DagsterInstance, materializations: Sequence[AssetMaterialization]
) -> None:
    """``report_runless_asset_event`` for many partitions of one asset, in batches."""
    from dagster._core.events import DagsterEvent, DagsterEventType, StepMaterializationData
    from dagster._core.instance.utils import RUNLESS_JOB_NAME, RUNLESS_RUN_ID

    for materialization, batch in _batched(materializations):
        event = DagsterEvent(
            event_type_value=DagsterEventType.ASSET_MATERIALIZATION.value,
            event_specific_data=StepMaterializationData(materialization),
            job_name=RUNLESS_JOB_NAME,
        )
        instance.report_dagster_event(event, run_id=RUNLESS_RUN_ID, batch_metadata=batch)


def _batched(
    materializations: Sequence[AssetMaterialization],
) -> Iterator[tuple[AssetMaterialization, DagsterEventBatchMetadata]]:
    from dagster._core.events import DagsterEventBatchMetadata, generate_event_batch_id

    # Of each batch, Dagster takes the last event for the asset's latest one.
    assert len({materialization.asset_key for materialization in materializations}) <= 1
    batch, last = generate_event_batch_id(), len(materializations) - 1
    for i, materialization in enumerate(materializations):
        yield materialization, DagsterEventBatchMetadata(batch, i == last)


def without_input_versions(assets: Collection[str]) -> None:
    """Let steps of these assets begin without asking for the data versions of their inputs.

    Dagster records these with a step's outputs, and ours have none. To find them it lists, for each
    partition of a run, the partitions that it reads: minutes where each reads all spaces of a
    chunk (docs/dagster_faults.md).
    """
    from dagster._core.execution.context.data_version_cache import DataVersionCache

    usual = _original(DataVersionCache.fetch_external_input_asset_version_info)

    @wraps(usual)
    def fetch(self: DataVersionCache) -> None:
        keys = {key.to_user_string() for key in self._context.get_output_asset_keys()}
        if keys and keys.issubset(assets):
            self.is_external_input_asset_version_info_loaded = True
        else:
            usual(self)

    DataVersionCache.fetch_external_input_asset_version_info = fetch  # type: ignore[method-assign]


def _original(function: Callable[..., Any]) -> Callable[..., Any]:
    """What a function of Dagster was before it was wrapped here."""
    return getattr(function, "__wrapped__", function)


# --- storage ------------------------------------------------------------------------------------
def share_engine(storage: DagsterPostgresStorage, engine: sa.Engine) -> None:
    """Let all parts of a storage use one engine; they have no option for it."""
    parts: tuple[Any, ...] = (
        storage.run_storage,
        storage.event_log_storage,
        storage.schedule_storage,
    )
    for part in parts:
        part._engine = engine


def ask_once(storage: DagsterPostgresStorage) -> None:
    """Let a storage ask only until the answer is yes whether it has a table, column or index.

    Earlier versions of Dagster lacked some of them. A tick of a sensor asks ten times.
    """
    asked: dict[Any, tuple[str, ...]] = {
        storage.run_storage: ("has_built_index", "has_run_stats_index_cols"),
        storage.event_log_storage: ("has_table",),
        storage.schedule_storage: (
            "has_built_index",
            "has_instigators_table",
            "_has_instigators_table",
        ),
    }
    for part, names in asked.items():
        for name in names:
            setattr(part, name, _until_true(getattr(part, name)))


def _until_true(asks: Callable[..., bool]) -> Callable[..., bool]:
    """The same question, whose answers of yes are kept; a connection is not part of it."""
    known: set[str | None] = set()

    def ask(*given: Any) -> bool:
        of = next((value for value in given if isinstance(value, str)), None)
        if of not in known and asks(*given):
            known.add(of)
        return of in known

    return ask


def launched_runs(url: str) -> list[str]:
    """Ids of the unfinished runs that a code server executes, from the table of Dagster's storage.

    Dagster need not be imported for it, which takes a second. Empty when Dagster has never run.
    """
    query = """
        SELECT run_id FROM runs WHERE status IN ('STARTING', 'STARTED', 'CANCELING')
        AND EXISTS (SELECT FROM run_tags t WHERE t.run_id = runs.run_id AND t.key = %s)
    """
    return [run_id for (run_id,) in _rows(url, query, (LAUNCHED_TAG,))]


def heartbeat_ages(url: str, since: float = 0.0) -> dict[str, float]:
    """Seconds since the last heartbeat of each daemon thread, from the table of Dagster's storage.

    Parameters
    ----------
    since
        Unix seconds; earlier heartbeats are ignored.

    Raises
    ------
    psycopg2.OperationalError
        When the storage is unavailable.
    """
    query = """
        SELECT daemon_type, extract(epoch FROM now() AT TIME ZONE 'UTC' - timestamp)::float8
        FROM daemon_heartbeats WHERE timestamp >= to_timestamp(%s) AT TIME ZONE 'UTC'
    """
    return dict(_rows(url, query, (since,)))


def _rows(url: str, query: str, parameters: tuple[object, ...]) -> list[tuple[Any, ...]]:
    connection = psycopg2.connect(url, connect_timeout=CONNECT_SECONDS)
    with closing(connection), connection.cursor() as cursor:
        try:
            cursor.execute(query, parameters)
        except psycopg2.errors.UndefinedTable:
            return []
        return list(cursor.fetchall())


def run_command(*arguments: str) -> None:
    """Be the command ``dagster``; does not return."""
    from dagster._cli import main

    sys.argv = ["dagster", *arguments]
    main()


# --- the web server -----------------------------------------------------------------------------
@contextmanager
def web_application(instance: DagsterInstance, workspace: Path) -> Iterator[ASGIApp]:
    """The application that ``dagster-webserver`` serves, to be put behind our own checks."""
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import WorkspaceFileTarget
    from dagster._utils.log import configure_loggers
    from dagster_webserver.app import create_app_from_workspace_process_context
    from dagster_webserver.version import __version__

    configure_loggers()
    instance.optimize_for_webserver(_STATEMENT_TIMEOUT_MS, _POOL_RECYCLE_SECONDS, _MAX_CONNECTIONS)
    target = WorkspaceFileTarget([str(workspace)])
    with WorkspaceProcessContext(instance, target, version=__version__) as context:
        yield create_app_from_workspace_process_context(context, live_data_poll_rate=_POLL_MS)
