"""Runs whose process has ended, and runs within a command's process."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from tippers_dagster.platform.dagster.environment import use_dagster_environment
from tippers_dagster.platform.dagster.internals import launched_runs
from tippers_dagster.platform.postgres.databases import databases
from tippers_dagster.settings import Settings

if TYPE_CHECKING:
    from dagster import (
        AssetKey,
        AssetsDefinition,
        AssetSpec,
        DagsterInstance,
        ExecuteInProcessResult,
        SourceAsset,
    )

GRACE_SECONDS = 60
"""Time for a started run to take its lock."""

IN_PROCESS_TAG = "tippers/here"
"""Tag of runs within a command's process."""

_HERE_JOB = "command_line"


def fail_orphaned_runs(settings: Settings, reason: str) -> list[str]:
    """Mark the runs of a code server that was killed as failed; returns their ids.

    A code server reports the death of its runs, but nothing reports its own: its runs would count
    as running, and block their partitions, until their deadline. Call this while no code server of
    this deployment is alive.
    """
    orphans = launched_runs(databases(settings).dagster)
    if orphans:
        _report(settings, orphans, reason)
    return orphans


def fail_dead_runs_of_assets(
    settings: Settings, instance: DagsterInstance, assets: Collection[str]
) -> list[str]:
    """Mark started runs of these assets as failed if their process has ended; returns their ids.

    Runs within a command's process are always included. The code server notices the death of a run
    that it launched, unless both died. Every run of these assets holds its lock from the start.
    """
    from dagster import DagsterRunStatus, RunsFilter

    from tippers_dagster.platform.locks.locks import run_processes

    running = [DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]
    started = {
        record.dagster_run.run_id: record
        for record in instance.get_run_records(RunsFilter(statuses=running))
        if IN_PROCESS_TAG in record.dagster_run.tags
        or any(k.to_user_string() in assets for k in record.dagster_run.asset_selection or ())
    }
    if not started:
        return []
    processes = run_processes(settings, started)
    grace_start = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=GRACE_SECONDS)
    without_lock = {
        run_id
        for run_id, record in started.items()
        if run_id not in processes.alive and record.update_timestamp <= grace_start
    }
    dead = []
    for run_id in sorted(processes.gone | without_lock):
        run = instance.get_run_by_id(run_id)
        # A run that has just ended recorded its status before its process ended.
        if run is not None and run.status in running:
            instance.report_run_failed(
                run, "The process of this run has ended; unfinished work will be done again."
            )
            dead.append(run_id)
    return dead


def materialize_in_process(
    settings: Settings,
    instance: DagsterInstance,
    assets: Sequence[AssetsDefinition | AssetSpec | SourceAsset],
    chosen: Sequence[AssetKey],
    tags: Mapping[str, str],
) -> ExecuteInProcessResult:
    """Materialise assets in this process, holding the run's lock from the start.

    Parameters
    ----------
    assets
        The chosen assets and those that they read.
    chosen
        The assets to materialise; automation leaves them alone meanwhile.
    tags
        Tags of the run.
    """
    import dagster as dg

    from tippers_dagster.platform.locks.locks import hold_run_lock

    job = dg.define_asset_job(_HERE_JOB, selection=dg.AssetSelection.assets(*chosen))
    run_id = str(uuid.uuid4())
    hold_run_lock(settings, run_id)
    return (
        dg.Definitions(assets=assets, jobs=[job])
        .resolve_job_def(_HERE_JOB)
        .execute_in_process(
            run_id=run_id,
            instance=instance,
            asset_selection=list(chosen),
            tags={IN_PROCESS_TAG: "true", **tags},
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            raise_on_error=False,
        )
    )


def failure_reason(result: ExecuteInProcessResult) -> str:
    """Why a run in this process failed: the message of its first failed step."""
    for event in result.all_events:
        if event.is_step_failure:
            failure = event.step_failure_data
            if failure.user_failure_data and failure.user_failure_data.description:
                return failure.user_failure_data.description
            if failure.error:
                cause = failure.error.cause or failure.error
                return cause.message.strip()
    return "see the run's log"


def _report(settings: Settings, orphans: list[str], reason: str) -> None:
    from dagster import DagsterInstance

    use_dagster_environment(settings)
    with DagsterInstance.get() as instance:
        for run_id in orphans:
            run = instance.get_run_by_id(run_id)
            if run is not None and not run.is_finished:
                instance.report_run_failed(run, message=reason)
