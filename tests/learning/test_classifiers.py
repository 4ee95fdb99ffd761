"""Classifiers as assets: results, metadata, failures, continuation."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pytest

from tests.kills import POINTS, leaves_nothing_fresh
from tests.labelling.small import LABELS, keys, truth
from tests.learning.trained import (
    MODELS,
    REF,
    Learned,
    N,
    habits,
    learned,
    logged,
    rooms,
    sure,
)
from tests.platform.cluster import losing_a_worker, two_workers
from tippers_dagster.automation.state import load_states
from tippers_dagster.errors import BadInput, TippersError
from tippers_dagster.labelling.gold import give
from tippers_dagster.learning import train, work
from tippers_dagster.learning.errors import NotTrained
from tippers_dagster.learning.export import export_classifier
from tippers_dagster.learning.held_out import read_held_out
from tippers_dagster.learning.models import load_model
from tippers_dagster.learning.results import last_result, read_held_out_predictions, read_results
from tippers_dagster.learning.training_set import held_out
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.mlflow.model_files import ModelRefused, digest_of, model_files

__all__ = ["learned", "logged"]

NAME = "device/guess"


def checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    found = result.get_asset_check_evaluations()
    return {str(e.check_name).removeprefix("guess__"): e.passed for e in found}


def metadata(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    (event,) = [e for e in result.all_events if e.is_step_materialization]
    return {name: value.value for name, value in event.materialization.metadata.items()}


def error(world: Learned) -> str:
    """Why the classifier could not be trained."""
    assert not world.run().success
    return load_states(world.settings)[NAME].error or ""


# --- results ------------------------------------------------------------------------------------
def test_it_ranks_its_models_and_records_what_pages_show(learned: Learned) -> None:
    for at in (1, 2, 5, 9, 13, 17):
        give(learned.settings, "device", keys(N)[at].as_py(), LABELS[truth(N)[at]], by="ada")
    result = learned.run()
    assert result.success
    failed = [name for name, passed in checks(result).items() if not passed]
    assert failed == ["logged_to_mlflow"]  # no server is configured
    found = last_result(learned.settings, REF)
    state = load_states(learned.settings)[NAME]
    assert (found.version, found.run_id) == (state.version, result.run_id)
    assert {m.model for m in found.models} == set(MODELS)
    assert [m.rank for m in found.models] == [1, 2]
    values = [m.cross_validated["macro_f1"] for m in found.models]
    assert values == sorted(values, reverse=True)
    assert found.best == found.models[0].model == state.details["best"]
    assert found.models[0].held_out["accuracy"] > 0.8
    assert found.registered is None
    details = found.details
    assert details["label_model"] == "device.kind_of"
    assert details["comparison"]["held_out"]["label_model"]["accuracy"] == 1
    assert details["comparison"]["gold"]["best"]["entities"] == found.gold
    assert details["counts"]["trained"].keys() == set(LABELS)
    assert sum(details["counts"]["trained"].values()) == found.trained
    assert {i["column"] for i in details["importances"]} == {"hours", "weekend", "room", "places"}

    held = read_held_out(learned.settings, learned.catalog, REF)
    out = held_out(work.read_inputs(learned.settings, learned.catalog, REF).rows.keys, 123, 0.25)
    assert len(held.keys) == out.sum()
    expected = np.where(np.arange(N) % 4 == 0, -1, truth(N))  # it is not confident about the others
    assert held.label.tolist() == expected[out].tolist()
    judged = read_held_out_predictions(learned.settings, learned.catalog, REF)
    assert judged.keys.equals(held.keys)
    right = judged.models[found.best] == truth(N)[out]
    assert right.mean() > 0.8
    assert judged.label_model.tolist() == np.where(np.arange(N) % 40, truth(N), -1)[out].tolist()

    told = metadata(result)
    assert told["best"] == found.best
    assert f"| 1 | {found.best} |" in told["ranking"]
    assert "| gold | label model |" in told["comparison"]
    assert "| 0.7 |" in told["threshold_steps"]
    assert told["plot_held_out"].startswith("![held_out](data:image/png;base64,")
    assert open_lake(learned.settings).list("classifiers/device__guess/parts/") == []
    files = open_lake(learned.settings).list("classifiers/")
    assert not any(b"aa:bb:cc" in open_lake(learned.settings).read_bytes(f) for f in files)


def test_the_held_out_set_stays_when_labels_and_entities_change(learned: Learned) -> None:
    assert learned.run().success
    before = read_held_out(learned.settings, learned.catalog, REF)
    learned.put_labels(truth(N).astype(np.int8), sure(truth(N), 0.95))
    learned.define(threshold=0.8, imbalance_cap=1.5)
    assert learned.run().success
    after = read_held_out(learned.settings, learned.catalog, REF)
    assert after.keys.equals(before.keys)
    assert (after.label >= 0).all()
    newest, oldest = read_results(learned.settings, REF)
    assert newest.at > oldest.at
    assert newest.version != oldest.version
    assert newest.trained > oldest.trained


def test_the_threshold_is_lowered_and_this_is_reported(learned: Learned) -> None:
    label = truth(N).astype(np.int8)
    most = np.where(label == 2, 0.62, 0.9)[:, None]
    learned.put_labels(label, sure(label, most))
    result = learned.run()
    assert result.success
    assert not checks(result)["threshold_as_set"]
    steps = last_result(learned.settings, REF).details["steps"]
    assert [s["threshold"] for s in steps] == pytest.approx([0.7, 0.65, 0.6])
    assert [s["counts"]["PHONE"] for s in steps] == [0, 0, 80]
    log = [e.user_message for e in learned.instance.all_logs(result.run_id)]
    assert "Confident at a threshold of 0.65: 80 STATIC, 80 LAPTOP, 0 PHONE." in log


def test_uneven_confidence_is_reported(learned: Learned) -> None:
    label = np.arange(N) % 3
    most = np.where((label == 0) & (np.arange(N) >= 60), 0.5, 0.9)[:, None]
    learned.put_labels(label.astype(np.int8), sure(label, most))
    result = learned.run()
    assert result.success
    assert not checks(result)["confident_are_like_all"]


# --- failures -----------------------------------------------------------------------------------
def test_unusable_labels_and_features(learned: Learned) -> None:
    label = truth(N).astype(np.int8)
    learned.put_labels(np.where(label == 1, np.int8(-1), label), sure(label))
    assert "there are 80 STATIC, 0 LAPTOP, 80 PHONE" in error(learned)
    learned.put_labels(np.zeros(N, np.int8), sure(np.zeros(N, int)))
    assert "All labelled entities (240) have the label STATIC" in error(learned)
    learned.put_labels(label, sure(label))
    learned.put_feature("rooms", {"empty": pa.nulls(N, pa.string())})
    assert "empty: null for every" in error(learned)
    learned.put_feature("rooms", {"code": pa.array(truth(N) + 4)})
    assert "device.rooms: the column code reveals the label" in error(learned)
    learned.put_feature("rooms", {"hours": pa.array(np.ones(N))})
    assert "device.habits and device.rooms both have a column hours" in error(learned)
    learned.put_feature("rooms", rooms())
    learned.put("indexes", "devices", pa.table({"mac_address": keys(N).slice(0, 0)}))
    assert "the index device.devices is empty" in error(learned)
    with pytest.raises(NotTrained, match=r"device.guess has not been trained yet"):
        last_result(learned.settings, REF)


def breaks(monkeypatch: pytest.MonkeyPatch, *models: str) -> None:
    """Make these models raise when they are trained."""
    really = train.make_model

    def make(name: str, *args: Any, **more: Any) -> Any:
        if name in models:
            raise ValueError("nobody foresaw it")
        return really(name, *args, **more)

    monkeypatch.setattr(train, "make_model", make)


def test_a_failing_model_does_not_affect_others(
    learned: Learned, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks(monkeypatch, "naive_bayes")
    result = learned.run()
    assert result.success
    assert not checks(result)["whole_bank"]
    first, last = last_result(learned.settings, REF).models
    assert (first.model, first.status) == ("decision_tree", "trained")
    assert (last.model, last.status, last.rank) == ("naive_bayes", "failed", 2)
    assert last.error == "ValueError: nobody foresaw it"
    assert set(last.held_out.values()) == {None}
    assert "failed: ValueError: nobody foresaw it" in metadata(result)["ranking"]


def test_it_is_an_error_if_all_models_fail(
    learned: Learned, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks(monkeypatch, *MODELS)
    told = error(learned)
    assert told.startswith("No model could be trained.")
    assert told.count("ValueError: nobody foresaw it") == 2


def test_lightgbm_without_openmp_is_left_out_and_reported(
    learned: Learned, monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = "OSError: libgomp.so.1: cannot open shared object file"
    monkeypatch.setattr(work, "left_out", lambda models: {"lightgbm": reason})
    learned.define(models=("lightgbm", "naive_bayes"))
    result = learned.run()
    assert result.success
    assert not checks(result)["whole_bank"]
    assert metadata(result)["left_out"] == {"lightgbm": reason}
    last = last_result(learned.settings, REF).models[-1]
    assert (last.model, last.status, last.error) == ("lightgbm", "left out", reason)
    log = [e.user_message for e in learned.instance.all_logs(result.run_id)]
    assert f"lightgbm is skipped: {reason}" in log
    learned.define(models=("lightgbm",))
    assert reason in error(learned)


# --- continuation -------------------------------------------------------------------------------
def test_a_killed_training_continues_where_it_stopped(
    learned: Learned, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[str] = []
    really = work.train_model

    def counted(task: Any) -> Any:
        if len(trained) == 1:
            raise TippersError("killed")
        trained.append(task.model)
        return really(task)

    monkeypatch.setattr(work, "train_model", counted)
    assert not learned.run().success
    monkeypatch.setattr(work, "train_model", lambda t: trained.append(t.model) or really(t))
    assert learned.run().success
    assert sorted(trained) == sorted(MODELS)
    resumed = last_result(learned.settings, REF)
    assert learned.run().success  # trained completely again, as nothing of the first is left
    assert len(trained) == 4
    again = last_result(learned.settings, REF)
    assert again.models[0].cross_validated == resumed.models[0].cross_validated
    assert again.version == resumed.version


def test_a_killed_run_records_nothing_as_trained(
    learned: Learned, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert learned.run().success
    for point in POINTS:
        leaves_nothing_fresh(
            monkeypatch,
            learned.settings,
            "device/guess",
            learned.run,
            point,
            "classifiers/device__guess/heldout",
        )


def test_models_of_other_data_are_not_reused(
    learned: Learned, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks(monkeypatch, MODELS[1])
    monkeypatch.setattr(work, "fit", lambda task: (_ for _ in ()).throw(TippersError("killed")))
    assert not learned.run().success
    assert len(open_lake(learned.settings).list("classifiers/device__guess/parts/")) == 1
    learned.put_feature("habits", habits(seed=9))
    assert not learned.run().success
    kept = open_lake(learned.settings).list("classifiers/device__guess/parts/")
    assert len({k.split("/")[-2] for k in kept}) == 2


def test_parallel_processes_give_the_same_results(
    learned: Learned, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert learned.run().success
    alone = last_result(learned.settings, REF)
    learned.settings = learned.settings.model_copy(update={"threads": 2})
    assert learned.run().success
    beside = last_result(learned.settings, REF)
    assert beside.run_id != alone.run_id
    assert [m.cross_validated for m in beside.models] == [m.cross_validated for m in alone.models]
    assert [m.held_out for m in beside.models] == [m.held_out for m in alone.models]


def test_a_cluster_trains_the_same_and_survives_a_dead_worker(learned: Learned) -> None:
    learned.define(models=("random_forest", "lightgbm", *MODELS))
    assert learned.run().success
    alone = last_result(learned.settings, REF)
    with two_workers() as scheduler, losing_a_worker(scheduler):
        learned.settings = learned.settings.model_copy(update={"dask_url": scheduler})
        assert learned.run().success
    there = last_result(learned.settings, REF)
    assert there.run_id != alone.run_id
    assert [m.model for m in there.models] == [m.model for m in alone.models]
    assert [m.cross_validated for m in there.models] == [m.cross_validated for m in alone.models]
    assert [m.held_out for m in there.models] == [m.held_out for m in alone.models]


# --- MLflow -------------------------------------------------------------------------------------
def client(world: Learned) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(world.settings.mlflow_url)


def runs(world: Learned) -> list[Any]:
    found = client(world)
    experiment = found.get_experiment_by_name("device.guess")
    return found.search_runs([experiment.experiment_id])


def test_every_model_is_a_run_and_the_best_is_registered_once(
    logged: Learned, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks(monkeypatch, "naive_bayes")
    logged.define(models=(*MODELS, "nearest_neighbours"))
    result = logged.run()
    assert result.success
    assert checks(result)["logged_to_mlflow"]
    found = {r.info.run_name: r for r in runs(logged)}
    state = load_states(logged.settings)[NAME]
    parent = next(r for r in found.values() if "mlflow.parentRunId" not in r.data.tags)
    below = {n: r for n, r in found.items() if r is not parent}
    assert {r.data.tags["mlflow.parentRunId"] for r in below.values()} == {parent.info.run_id}
    assert {r.data.tags["dagster_run"] for r in below.values()} == {
        parent.data.tags["dagster_run_id"]
    }
    status = {name: run.info.status for name, run in below.items()}
    assert status == {
        "naive_bayes": "FAILED",
        "decision_tree": "FINISHED",
        "nearest_neighbours": "FINISHED",
    }
    notes = {r.data.tags["mlflow.note.content"] for r in found.values()}
    assert len(notes) == 1
    assert f"/runs/{result.run_id})" in notes.pop()
    assert below["naive_bayes"].data.tags["error"] == "ValueError: nobody foresaw it"
    params = below["decision_tree"].data.params
    assert (params["folds"], params["min_samples_leaf"], params["numbers"]) == ("5", "5", "imputed")
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["version"] == state.version
    best = last_result(logged.settings, REF)
    assert parent.data.params["best"] == best.best
    value = best.models[0].held_out["macro_f1"]
    assert parent.data.metrics["held_out_macro_f1"] == pytest.approx(value)
    assert below[best.best].data.metrics["held_out_macro_f1"] == pytest.approx(value)
    files = {f.path for f in client(logged).list_artifacts(parent.info.run_id)}
    assert files >= {"confusion.csv", "importances.csv", "threshold_steps.json", "plots"}

    (version,) = client(logged).search_model_versions("name = 'device.guess'")
    assert version.tags["asset_version"] == state.version
    assert version.tags["dagster_run_id"] == result.run_id
    assert float(version.tags["promotion_value"]) == pytest.approx(value)
    assert version.run_id == parent.info.run_id
    model = client(logged).get_registered_model("device.guess")
    assert model.aliases == {"challenger": version.version}
    assert best.registered == int(version.version)

    # Materialised again: nothing is registered twice for this version of the asset.
    assert logged.run().success
    assert len(client(logged).search_model_versions("name = 'device.guess'")) == 1
    assert last_result(logged.settings, REF).registered == int(version.version)
    logged.define(seed=5)
    assert logged.run().success
    newest = client(logged).get_registered_model("device.guess").aliases["challenger"]
    assert int(newest) == int(version.version) + 1


SERVED = """
import sys, mlflow, pandas as pd
served = mlflow.pyfunc.load_model(sys.argv[1])
pd.DataFrame(served.predict(pd.read_parquet(sys.argv[2]))).to_csv(sys.argv[3], index=False)
"""


def test_the_registered_model_is_exported_and_gives_probabilities(
    logged: Learned, tmp_path: Path
) -> None:
    import mlflow
    import pandas as pd

    assert logged.run().success
    model = load_model(logged.settings, "device.guess", 1)
    frame = work.read_inputs(logged.settings, logged.catalog, REF).rows.frame()
    given = model.probabilities(frame)
    assert model.classes == tuple(sorted(LABELS))
    assert (
        np.array(model.classes)[given.argmax(axis=1)] == np.array(LABELS)[truth(N)]
    ).mean() > 0.8
    types = {"hours": "double", "weekend": "double", "room": "string", "places": "double"}
    assert dict(model.types) == types

    to, rows, answer = (tmp_path / name for name in ("exported", "rows.parquet", "answer.csv"))
    export_classifier(logged.settings, "device.guess", 1, to)
    frame.to_parquet(rows)
    env = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    command = [sys.executable, "-c", SERVED, str(to), str(rows), str(answer)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert np.allclose(pd.read_csv(answer), given)
    signature = mlflow.models.get_model_info(str(to)).signature
    assert {c.name: c.type.name for c in signature.inputs.inputs} == types
    about = json.loads((to / "export.json").read_text())
    (recorded,) = model_files(logged.settings, "device.guess")
    assert about["sha256"] == digest_of((to / "model.skops").read_bytes()) == recorded.sha256
    assert f"mlflow models serve -m {to}" in (to / "README.md").read_text()
    assert to.stat().st_mode & 0o077 == 0

    before = sorted(tmp_path.iterdir())
    with pytest.raises(BadInput, match="already exists"):
        export_classifier(logged.settings, "device.guess", 1, to)
    with pytest.raises(ModelRefused, match=r"Version 7 of device\.guess"):
        export_classifier(logged.settings, "device.guess", 7, tmp_path / "other")
    with pytest.raises(BadInput, match="cannot be written"):
        export_classifier(logged.settings, "device.guess", 1, rows / "below")
    assert sorted(tmp_path.iterdir()) == before, "whole or not at all"


def test_a_registered_version_that_was_changed_is_registered_again(logged: Learned) -> None:
    assert logged.run().success
    (version,) = client(logged).search_model_versions("name = 'device.guess'")
    place = client(logged).get_model_version_download_uri("device.guess", version.version)
    (Path(place.removeprefix("file://")) / "model.skops").write_bytes(b"another")
    with pytest.raises(ModelRefused, match="was changed after"):
        load_model(logged.settings, "device.guess", 1)
    assert logged.run().success
    assert last_result(logged.settings, REF).registered == 2
    assert load_model(logged.settings, "device.guess", 2).classes == tuple(sorted(LABELS))


def test_a_missing_alias_after_a_kill_is_set_later(
    logged: Learned, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    def killed(*_: Any) -> None:
        raise TippersError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "set_registered_model_alias", killed)
        assert not logged.run().success
    (version,) = client(logged).search_model_versions("name = 'device.guess'")
    assert client(logged).get_registered_model("device.guess").aliases == {}
    assert logged.run().success
    assert len(client(logged).search_model_versions("name = 'device.guess'")) == 1
    aliases = client(logged).get_registered_model("device.guess").aliases
    assert aliases == {"challenger": version.version}


def test_a_failed_training_is_marked_failed_in_mlflow(logged: Learned) -> None:
    logged.put_labels(np.zeros(N, np.int8), sure(np.zeros(N, int)))
    assert not logged.run().success
    (run,) = runs(logged)
    assert run.info.status == "FAILED"
    assert "a classifier needs two labels" in run.data.tags["error"]


# --- versions -----------------------------------------------------------------------------------
def test_versions_follow_what_models_are_trained_from(learned: Learned) -> None:
    def content() -> str:
        return next(n.content for n in learned.nodes if n.key == REF.asset_path)

    (node,) = [n for n in learned.nodes if n.key == REF.asset_path]
    assert set(node.deps) == {
        ("device", name) for name in ("devices", "kind_of", "habits", "rooms")
    }
    before = content()
    learned.define(promotion_margin=0.1)
    assert content() == before  # it affects the champion, not the training
    learned.define(threshold=0.6)
    assert content() != before


def test_loading_needs_no_model_library() -> None:
    code = (
        "import sys, tippers_dagster.learning.assets, tippers_dagster.learning.describe; "
        "bad = {'sklearn', 'lightgbm', 'mlflow', 'matplotlib'} & set(sys.modules); "
        "sys.exit(', '.join(bad) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
