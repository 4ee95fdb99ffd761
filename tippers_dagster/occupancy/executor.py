"""How Dagster executes runs of this code location."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster import Executor

from tippers_dagster.platform.dagster.run_workers import name_run
from tippers_dagster.platform.locks.locks import hold_run_lock
from tippers_dagster.settings import get_settings

if TYPE_CHECKING:
    from tippers_dagster.platform.dagster.internals import (
        ExecutionPlan,
        PlanOrchestrationContext,
        RetryMode,
    )


class _Announced(Executor):
    """Takes the run's lock before anything else.

    Minutes may pass between the start of a run and its first step.
    """

    def __init__(self, inner: Executor) -> None:
        self._inner = inner

    @property
    def retries(self) -> "RetryMode":
        return self._inner.retries

    def execute(
        self, plan_context: "PlanOrchestrationContext", execution_plan: "ExecutionPlan"
    ) -> Iterator[dg.DagsterEvent]:
        name_run(plan_context.run_id)
        hold_run_lock(get_settings(), plan_context.run_id)
        yield from self._inner.execute(plan_context, execution_plan)


# Dagster also accepts its own kind of schema here, which its type hints omit.
_SCHEMA: Any = dg.in_process_executor.config_schema


@dg.executor(name="in_process", config_schema=_SCHEMA)
def in_process_executor(context: dg.InitExecutorContext) -> Executor:
    """Runs all steps in the run's own process, which holds its lock from the start.

    A run is one vectorised pass; a separate process for its only step would cost 2 s.
    """
    create = dg.in_process_executor.executor_creation_fn
    assert create is not None
    return _Announced(create(context))
