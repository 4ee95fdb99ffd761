"""Why a run failed."""

from __future__ import annotations

import dagster as dg

from tippers_dagster.automation.failures import failure_reason
from tippers_dagster.settings import Settings


@dg.asset
def works() -> None:
    pass


@dg.asset
def breaks() -> None:
    try:
        raise ValueError("at postgresql://ada:hunter2@db/x")
    except ValueError as error:
        raise RuntimeError("outer") from error


def test_the_first_cause_of_a_failure_is_named_without_secrets(settings: Settings) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        done = dg.materialize([works, breaks], instance=instance, raise_on_error=False)
        reason = failure_reason(settings, instance, done.run_id)
        assert reason.startswith("breaks: ")
        assert "postgresql://ada:***@db/x" in reason
        good = dg.materialize([works], instance=instance)
        assert failure_reason(settings, instance, good.run_id) == ""
