"""Runs that nobody executes any more."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from contextlib import closing
from typing import TYPE_CHECKING

import psycopg2

from tippers_dagster.local.databases import databases
from tippers_dagster.local.environment import use_dagster_environment
from tippers_dagster.settings import Settings

if TYPE_CHECKING:
    from dagster import DagsterInstance, ExecuteInProcessResult

GRACE_SECONDS = 60
"""A run that has started holds its lock well before this."""

HERE_TAG = "tippers/here"
"""Tag of a run in a process of ours: Dagster keeps no selection of assets with it."""

_LAUNCHED = ".dagster/grpc_info"
"""Dagster's tag of runs that a code server executes; those of other processes lack it."""

_QUERY = """
    SELECT run_id FROM runs WHERE status IN ('STARTING', 'STARTED', 'CANCELING')
    AND EXISTS (SELECT FROM run_tags t WHERE t.run_id = runs.run_id AND t.key = %s)
"""


def fail_orphaned_runs(settings: Settings, reason: str) -> list[str]:
    """Mark as failed the runs of a code server that is gone; returns their ids.

    A code server reports when a run of its own dies, but nobody reports its own end: such a run
    would count as going, and keep its partitions from being computed, until its deadline. To be
    called when no code server of this deployment is alive.
    """
    try:
        url = databases(settings).dagster
        with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
            cursor.execute(_QUERY, (_LAUNCHED,))
            orphans = [row[0] for row in cursor.fetchall()]
    except psycopg2.errors.UndefinedTable:
        return []  # Dagster has never run here
    if orphans:
        _report(settings, orphans, reason)
    return orphans


def fail_dead_runs_of(
    settings: Settings, instance: DagsterInstance, assets: Collection[str]
) -> list[str]:
    """Mark as failed the started runs of some of these assets whose process is gone; their ids.

    So are all runs that a command of ours computed by itself.

    The code server notices the death of a run that it launched; nobody does when both died, or
    for a run in a process of its own. Every run of these assets holds its lock.
    """
    from dagster import DagsterRunStatus, RunsFilter

    from tippers_dagster.warehouse.locks import live_runs

    started = instance.get_run_records(
        RunsFilter(
            statuses=[DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING],
            updated_before=dt.datetime.now(dt.UTC) - dt.timedelta(seconds=GRACE_SECONDS),
        )
    )
    mine = {
        record.dagster_run.run_id: record.dagster_run
        for record in started
        if HERE_TAG in record.dagster_run.tags
        or any(k.to_user_string() in assets for k in record.dagster_run.asset_selection or ())
    }
    if not mine:
        return []
    dead = sorted(mine.keys() - live_runs(settings, mine))
    for run_id in dead:
        instance.report_run_failed(
            mine[run_id], "The process of this run is gone; what it lacks is redone."
        )
    return dead


def failure_reason(result: ExecuteInProcessResult) -> str:
    """Why a run in this process failed, in the words of its first failed step."""
    for event in result.all_events:
        if event.is_step_failure:
            failure = event.step_failure_data
            if failure.user_failure_data and failure.user_failure_data.description:
                return failure.user_failure_data.description
            if failure.error:
                cause = failure.error.cause or failure.error
                return cause.message.strip()
    return "see its log"


def _report(settings: Settings, orphans: list[str], reason: str) -> None:
    from dagster import DagsterInstance

    use_dagster_environment(settings)
    with DagsterInstance.get() as instance:
        for run_id in orphans:
            run = instance.get_run_by_id(run_id)
            if run is not None and not run.is_finished:
                instance.report_run_failed(run, message=reason)
