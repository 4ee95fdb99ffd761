"""One MLflow run per materialisation, successful or not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from tests.labelling.small import FUNCTIONS, World
from tippers_dagster.automation.abandoned_mlflow_runs import MlflowSettler
from tippers_dagster.automation.mlflow_runs import RUN_NOTE
from tippers_dagster.automation.orphaned_runs import fail_dead_runs_of_assets
from tippers_dagster.automation.state import load_states
from tippers_dagster.automation.unreported import report_recorded_materializations
from tippers_dagster.labelling.label_model import Fitted
from tippers_dagster.labelling.labels import read_labels, read_parameters
from tippers_dagster.platform.dagster.addresses import dagster_home, mlflow_home
from tippers_dagster.platform.dagster.environment import dagster_instance
from tippers_dagster.settings import get_settings

LOGGED = "kind_of__logged_to_mlflow"


def client(world: World) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(world.settings.mlflow_url)


def runs(world: World) -> list[Any]:
    """Runs, newest first."""
    found = client(world)
    experiment = found.get_experiment_by_name("device.kind_of")
    return [] if experiment is None else found.search_runs([experiment.experiment_id])


def logged_check(result: dg.ExecuteInProcessResult) -> dg.AssetCheckEvaluation:
    return next(e for e in result.get_asset_check_evaluations() if e.check_name == LOGGED)


def test_a_materialisation_is_one_run_with_all_inputs(logged: World, tmp_path: Path) -> None:
    first, second = logged.run(), logged.run("kind_of")
    assert first.success
    assert logged_check(first).passed
    found = runs(logged)
    assert [r.info.status for r in found] == ["FINISHED", "FINISHED"]
    assert [r.data.tags["dagster_run_id"] for r in found] == [second.run_id, first.run_id]
    run = found[1]
    dagster = dagster_home(logged.settings)
    assert run.data.tags[RUN_NOTE].split("  \n")[:2] == [
        f"Dagster run [{first.run_id[:8]}]({dagster}/runs/{first.run_id})",
        f"Asset [device/kind_of]({dagster}/assets/device/kind_of)",
    ]
    assert mlflow_home(logged.settings) == f"http://127.0.0.1:{logged.settings.mlflow_port}", (
        "the store is a database, which no browser opens"
    )
    assert run.data.params["epochs"] == "60"
    assert run.data.params["labels"] == "STATIC,LAPTOP,PHONE"
    assert 0 < run.data.metrics["coverage"] < 1
    assert run.data.metrics["share_label"] > 0.9
    assert "weight.short" in run.data.metrics
    assert "gold_accuracy" not in run.data.metrics
    state = load_states(logged.settings)["device/kind_of"]
    assert state.details["mlflow_run"] == found[0].info.run_id
    assert run.data.tags["version"] == state.version

    folder = Path(client(logged).download_artifacts(run.info.run_id, "", str(tmp_path)))
    table = (folder / "labelling_functions.csv").read_text()
    assert table.startswith("name,j,Polarity,Coverage,Overlaps,Conflicts,Learned Weight")
    assert (folder / "plots" / "labels.png").read_bytes().startswith(b"\x89PNG")
    fitted = Fitted.from_json(json.loads((folder / "model" / "label_model.json").read_text()))
    kept = read_parameters(logged.settings, "device", "kind_of")
    assert (fitted.conditional == kept.conditional).all()
    written = [path.name for path in folder.rglob("*") if path.is_file()]
    assert not [name for name in written if name.endswith((".pkl", ".pt", ".py"))]
    assert run.info.artifact_uri.startswith(f"file://{logged.settings.lake_url}/mlflow/device.")


def test_a_failure_is_marked_failed_in_mlflow(logged: World) -> None:
    assert logged.run(*(f.ref.name for f in FUNCTIONS)).success
    logged.execute("DELETE FROM indexes.device__devices")
    result = logged.run("kind_of")
    assert not result.success
    (run,) = runs(logged)
    assert run.info.status == "FAILED"
    assert "nothing to label" in run.data.tags["error"]
    assert run.info.end_time is not None
    import mlflow

    assert mlflow.active_run() is None


def test_an_unexpected_error_is_marked_failed_in_mlflow(
    logged: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tippers_dagster.labelling import describe

    def breaks(*_: object) -> None:
        raise ZeroDivisionError("nobody foresaw it")

    monkeypatch.setattr(describe, "label_plots", breaks)
    assert not logged.run().success
    assert [r.info.status for r in runs(logged)] == ["FAILED"]
    error = load_states(logged.settings)["device/kind_of"].error
    assert error == "Unexpected ZeroDivisionError: nobody foresaw it"


KILLED = """
import os, sys
import dagster as dg
from tests.labelling.small import World
from tippers_dagster.automation.mlflow_runs import MlflowLog
from tippers_dagster.labelling.assets import labelling_assets
from tippers_dagster.platform.dagster.environment import dagster_instance
from tippers_dagster.automation.orphaned_runs import materialize_in_process
from tippers_dagster.automation.state import Recorder
from tippers_dagster.settings import get_settings

dies_at = {"before it is recorded": (Recorder, "succeeded"), "after": (MlflowLog, "_end")}
setattr(*dies_at[sys.argv[1]], lambda *_, **__: os._exit(9))
settings = get_settings()
with dagster_instance(settings) as instance:
    world = World(settings, instance)
    assets = labelling_assets(settings, world.catalog, world.nodes)
    materialize_in_process(settings, instance, assets, [dg.AssetKey(["device", "kind_of"])], {})
"""


def test_dagster_mlflow_and_the_warehouse_agree_after_a_process_was_killed(logged: World) -> None:
    settings, name = logged.settings, "device/kind_of"
    key, agreed = dg.AssetKey(name.split("/")), set[tuple[str, str]]()
    with dagster_instance(settings) as instance:

        def killed(when: str) -> list[str]:
            died = subprocess.run([sys.executable, "-c", KILLED, when], check=False)
            assert died.returncode == 9
            assert runs(logged)[0].info.status == "RUNNING"
            (dead,) = fail_dead_runs_of_assets(settings, instance, {name})
            assert runs(logged)[0].data.tags["dagster_run_id"] == dead
            reported = report_recorded_materializations(settings, instance, logged.nodes, agreed)
            MlflowSettler()(settings, instance)
            return reported

        assert World(settings, instance).run(*(f.ref.name for f in FUNCTIONS)).success
        report_recorded_materializations(settings, instance, logged.nodes, agreed)
        assert killed("before it is recorded") == []
        assert [r.info.status for r in runs(logged)] == ["FAILED"]
        assert load_states(settings).get(name) is None
        assert instance.get_latest_materialization_event(key) is None

        assert killed("after") == [name]
        assert [r.info.status for r in runs(logged)] == ["FINISHED", "FAILED"]
        state, event = load_states(settings)[name], instance.get_latest_materialization_event(key)
        assert event is not None
        assert event.asset_materialization.tags["dagster/data_version"] == state.version
        assert state.details["mlflow_run"] == runs(logged)[0].info.run_id
        assert report_recorded_materializations(settings, instance, logged.nodes, agreed) == []


def test_a_run_without_a_process_is_ended_even_if_dagster_thinks_it_runs(
    logged: World,
) -> None:
    assert logged.run().success
    found = client(logged)
    experiment = found.get_experiment_by_name("device.kind_of").experiment_id
    gone = logged.instance.create_run_for_job(
        dg.JobDefinition(name="gone", graph_def=dg.GraphDefinition(name="gone"))
    )
    left = found.create_run(experiment, tags={"dagster_run_id": gone.run_id})
    assert logged.run("kind_of").success
    assert found.get_run(left.info.run_id).info.status == "FAILED"


def test_runs_left_by_a_killed_process_are_ended(logged: World) -> None:
    assert logged.run().success
    found = client(logged)
    experiment = found.get_experiment_by_name("device.kind_of").experiment_id
    left = found.create_run(experiment, tags={"dagster_run_id": "of no run"})
    child = found.create_run(experiment, tags={"dagster_run": "of no run"})
    assert logged.run("kind_of").success
    assert found.get_run(child.info.run_id).info.status == "FAILED"
    found.delete_run(child.info.run_id)
    assert found.get_run(left.info.run_id).info.status == "FAILED"
    assert sorted(r.info.status for r in runs(logged)) == ["FAILED", "FINISHED", "FINISHED"]


def test_other_peoples_runs_continue(logged: World) -> None:
    assert logged.run().success
    found = client(logged)
    experiment = found.get_experiment_by_name("device.kind_of").experiment_id
    theirs = found.create_run(experiment)
    assert logged.run("kind_of").success
    assert found.get_run(theirs.info.run_id).info.status == "RUNNING"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://ada:hunter2@127.0.0.1:9", "127.0.0.1"),
        ("postgresql+psycopg2://ada:hunter2@127.0.0.1:9/mlflow", "127.0.0.1"),
        (None, "TIPPERS_MLFLOW_URL"),
    ],
)
def test_labels_are_made_and_the_missing_log_is_reported(
    world: World, monkeypatch: pytest.MonkeyPatch, url: str | None, reason: str
) -> None:
    if url is not None:
        monkeypatch.setenv("TIPPERS_MLFLOW_URL", url)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        get_settings.cache_clear()
        world.settings = get_settings()
    result = world.run()
    assert result.success
    check = logged_check(result)
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.ERROR
    told = str(check.metadata["reason"].value)
    assert reason in told
    assert "hunter2" not in told
    assert read_labels(world.settings, "device", "kind_of").num_rows == 120
    state = load_states(world.settings)["device/kind_of"]
    assert state.version is not None
    assert state.details["mlflow_run"] is None
