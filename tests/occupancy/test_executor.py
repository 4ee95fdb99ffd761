"""Runs hold their lock before Dagster starts their first step."""

from __future__ import annotations

import dagster as dg

from tippers_dagster.occupancy.definitions import occupancy_definitions
from tippers_dagster.occupancy.executor import in_process_executor
from tippers_dagster.platform.dagster.environment import dagster_instance
from tippers_dagster.platform.locks.locks import run_processes
from tippers_dagster.settings import Settings, get_settings


@dg.io_manager
def slow_to_prepare(context: dg.InitResourceContext) -> dg.IOManager:
    """Stands in for Dagster before a step: records whether the run counts as alive."""
    assert context.run is not None
    run_id = context.run.run_id
    assert run_processes(get_settings(), [run_id]).alive == {run_id}
    return dg.InMemoryIOManager()


@dg.op
def work() -> None: ...


@dg.job(executor_def=in_process_executor, resource_defs={"io_manager": slow_to_prepare})
def prepared() -> None:
    work()


def test_a_run_holds_its_lock_before_its_first_step(stack: Settings) -> None:
    with dagster_instance(stack) as instance:
        result = dg.execute_job(dg.reconstructable(prepared), instance, raise_on_error=True)
        assert result.success


def test_all_runs_of_the_code_location_do(stack: Settings) -> None:
    repository = occupancy_definitions(stack).get_repository_def()
    assert repository.get_job("__ASSET_JOB").executor_def is in_process_executor
