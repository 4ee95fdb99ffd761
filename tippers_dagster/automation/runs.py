"""Runs of definition assets: their locks, and the assets of unfinished runs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from logging import Logger
from typing import TYPE_CHECKING

from tippers_dagster.automation.state import void
from tippers_dagster.platform.dagster.internals import is_asset_job
from tippers_dagster.platform.locks.locks import advisory_locks, hold_run_lock
from tippers_dagster.platform.warehouse import fence
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

if TYPE_CHECKING:
    from dagster import DagsterInstance, DagsterRun

STALE_ONLY_TAG = "tippers/stale_only"
"""Tag of runs that compute what is out of date, and nothing else.

They skip partitions that are fresh when the run starts, and assets whose inputs were computed
again with the same content. Runs without it compute whatever they select.
"""


@contextmanager
def asset_locks(
    settings: Settings, run_id: str, keys: Iterable[Iterable[str]], log: Logger
) -> Iterator[None]:
    """Hold the run's lock until the process ends, and those of its assets within the block.

    Two runs never compute the same asset at the same time: the second one waits. Create the
    recorder and record all results within the block; otherwise an asset's rows and its record could
    come from different runs. If a run loses its locks, its assets' records are voided, as it may
    have overwritten rows that another run recorded.
    """
    names = ["/".join(key) for key in keys]
    hold_run_lock(settings, run_id)
    with advisory_locks(settings, [f"asset {name}" for name in names], log):
        try:
            yield
        except fence.LocksLost:
            with fence.unfenced(), warehouse_engine(settings).begin() as connection:
                void(connection, names, run_id)
            raise


def being_computed(
    instance: DagsterInstance, names: Collection[str], *, queued: bool = True
) -> dict[str, str]:
    """Assets (``Node.name``) of unfinished runs, with the id of their run.

    ``queued``: include runs that have not started.
    """
    from dagster import DagsterRunStatus, RunsFilter

    waiting = [DagsterRunStatus.NOT_STARTED, DagsterRunStatus.QUEUED]
    running = [DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]
    statuses = [*waiting, *running] if queued else running
    records = instance.get_run_records(RunsFilter(statuses=statuses))
    covered: dict[str, str] = {}
    for record in records:
        run = record.dagster_run
        covered.update(dict.fromkeys(_covered(run, names), run.run_id))
    return covered


def _covered(run: DagsterRun, names: Collection[str]) -> set[str]:
    if run.asset_selection is None:
        return set(names) if is_asset_job(run.job_name) else set()
    return {"/".join(key.path) for key in run.asset_selection}.intersection(names)
