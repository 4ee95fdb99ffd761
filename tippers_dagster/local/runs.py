"""Runs that nobody executes any more."""

from __future__ import annotations

from contextlib import closing

import psycopg2

from tippers_dagster.local.databases import databases
from tippers_dagster.local.environment import use_dagster_environment
from tippers_dagster.settings import Settings

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


def _report(settings: Settings, orphans: list[str], reason: str) -> None:
    from dagster import DagsterInstance

    use_dagster_environment(settings)
    with DagsterInstance.get() as instance:
        for run_id in orphans:
            run = instance.get_run_by_id(run_id)
            if run is not None and not run.is_finished:
                instance.report_run_failed(run, message=reason)
