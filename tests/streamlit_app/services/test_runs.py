"""Runs as a page shows them, on Dagster's own storage."""

from collections.abc import Callable

import dagster as dg
import pytest

from streamlit_app.services import runs
from streamlit_app.services.app import App
from tippers_dagster.access.model import NotAllowed, Role
from tippers_dagster.errors import BadInput, TippersError


@dg.asset(key=["device", "good"])
def good(context: dg.AssetExecutionContext) -> None:
    context.log.info("reading postgresql://ada:hunter2@db/x")


@dg.asset(key=["device", "bad"])
def bad() -> None:
    raise dg.Failure("It cannot be: password=hunter2")


def run(app: App, *assets: dg.AssetsDefinition, tags: dict[str, str] | None = None) -> str:
    defs = dg.Definitions(assets=assets, executor=dg.in_process_executor)
    job = defs.resolve_implicit_global_asset_job_def()
    keys = [asset.key for asset in assets]
    done = job.execute_in_process(
        instance=app.instance, asset_selection=keys, tags=tags, raise_on_error=False
    )
    return done.run_id


def test_runs_are_found_by_state_and_text(empty_app: App) -> None:
    worked = run(empty_app, good, tags={"tippers/by": "ada"})
    failed = run(empty_app, bad, tags={"dagster/sensor_name": "definitions_automation"})
    assert [r.run_id for r in runs.find(empty_app).runs] == [failed, worked]
    assert [r.run_id for r in runs.find(empty_app, states=["failed"]).runs] == [failed]
    assert [r.run_id for r in runs.find(empty_app, text="DEVICE/GOOD").runs] == [worked]
    assert [r.by for r in runs.find(empty_app).runs] == ["automation", "ada"]
    assert runs.find(empty_app, text="nothing is so called").runs == []
    counted = runs.counts(empty_app)
    assert (counted["succeeded"], counted["failed"], counted["running"]) == (1, 1, 0)


@pytest.mark.parametrize("text", ["", "device"])
def test_pages_continue_without_gaps(empty_app: App, text: str) -> None:
    made = [run(empty_app, good) for _ in range(5)]
    seen: list[str] = []
    cursor = None
    while True:
        page = runs.find(empty_app, text=text, cursor=cursor, limit=2)
        seen += [r.run_id for r in page.runs]
        cursor = page.cursor
        if cursor is None:
            break
    assert seen == made[::-1]


def test_a_run_shows_its_steps_and_failure_without_secrets(empty_app: App) -> None:
    found = runs.details(empty_app, run(empty_app, good, bad))
    assert found.run.state == "failed"
    assert {s.name: s.state for s in found.steps} == {
        "device__good": "success",
        "device__bad": "failure",
    }
    assert all(s.seconds is not None for s in found.steps)
    assert "It cannot be" in found.reason
    said = "\n".join(line.message for line in found.log)
    assert "reading postgresql://ada:***@db/x" in said
    assert "hunter2" not in said + found.reason
    assert any(line.level == "ERROR" for line in found.log)
    with pytest.raises(BadInput, match="no run"):
        runs.details(empty_app, "nobody")


def test_viewers_and_stopped_deployments_cannot_change_runs(
    empty_app: App, as_role: Callable[[App, Role], App]
) -> None:
    done = run(empty_app, bad)
    viewer = as_role(empty_app, Role.VIEWER)
    for act in (runs.cancel, runs.repeat):
        with pytest.raises(NotAllowed, match="analyst"):
            act(viewer, done)
        with pytest.raises(TippersError, match="The deployment is not running"):
            act(empty_app, done)
