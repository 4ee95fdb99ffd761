"""The assets of backtests and forecasts: what they write, report and register, and resuming."""

from __future__ import annotations

import datetime as dt
import io
import pickle
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
import sqlalchemy as sa

from tests.forecasting.small import BACKTEST, BODY, FORECAST, MONDAY, WEEKS, World, people_of, seen
from tests.kills import POINTS, leaves_nothing_fresh
from tests.occupancy.campus import add_sessions, change, compute_all, look_again
from tippers_dagster.automation.state import load_states
from tippers_dagster.automation.tokens import source_tokens
from tippers_dagster.calendar.store import calendar_node
from tippers_dagster.campus.spaces.tracking import track
from tippers_dagster.errors import BadInput
from tippers_dagster.forecasting import assets, reading, work
from tippers_dagster.forecasting.names import ALWAYS, forecast_key, work_prefix
from tippers_dagster.forecasting.reading import NotForecast
from tippers_dagster.forecasting.registered import export_forecaster
from tippers_dagster.forecasting.series import load_history
from tippers_dagster.forecasting.tables import forecast_work_file
from tippers_dagster.forecasting.tokens import history_source
from tippers_dagster.occupancy import records
from tippers_dagster.occupancy.records import Overtaken, void
from tippers_dagster.occupancy.state import DERIVED, SOURCE
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.mlflow.model_files import ModelRefused, model_files
from tippers_dagster.platform.warehouse.engine import warehouse_engine

ORIGIN = MONDAY + dt.timedelta(weeks=WEEKS)
SPACES = ["hall", "r1", "r2", "r3"]


class Killed(BaseException):
    """Ends a process; no code may catch it."""


def checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {e.check_name: e.passed for e in result.get_asset_check_evaluations()}


def test_a_forecaster_is_backtested_and_forecasts(world: World) -> None:
    result = world.run()
    assert result.success
    failed = {name for name, passed in checks(result).items() if not passed}
    assert failed == {"hall__logged_to_mlflow", "hall__forecast__logged_to_mlflow"}
    scores = reading.backtest_scores(world.settings, "hall")
    assert {(s.space, s.model) for s in scores} == {
        (space, model) for space in SPACES for model in (*ALWAYS, "lightgbm")
    }
    naive = {s.space: s for s in scores if s.model == "seasonal_naive"}
    for space, won in {s.space: s for s in scores if s.champion}.items():
        assert won.pinball <= naive[space].pinball
        assert won.bins == 3 * 7 * 24
        assert won.model != "zero"
    assert naive["r1"].mae == 0  # the weeks are all alike

    made = reading.read_forecast(world.settings, "hall", "r2")
    assert made.rows.num_rows == 7 * 24
    begins = made.rows["interval_begin_time"].to_pylist()
    assert begins[0].isoformat() == f"{ORIGIN}T00:00:00-08:00"
    assert made.origin == begins[0]
    noon = [i for i, begin in enumerate(begins) if begin.hour == 12]
    expected = [people_of(day, "r2") for day in range(7)]
    assert made.rows["q50"].to_numpy()[noon] == pytest.approx(expected, abs=1.5)
    nobody = reading.read_forecast(world.settings, "hall", "r3")
    assert nobody.rows["q975"].to_numpy().max() == 0
    assert reading.forecast_spaces(world.settings, "hall") == SPACES
    lake = open_lake(world.settings).read_table(forecast_key("hall"))
    assert lake.num_rows == 4 * 7 * 24
    states = load_states(world.settings)
    assert set(lake["version"].to_pylist()) == {states[FORECAST].version}
    assert states[BACKTEST].details["windows"] == 3

    table = reading.read_backtest(world.settings, "hall", "r1")
    assert table.num_rows == 4 * 3 * 7 * 24
    assert set(table["origin"].to_pylist()) == {ORIGIN - dt.timedelta(days=d) for d in (7, 14, 21)}
    came = table["number_connections"].to_numpy()
    hours = np.array([t.hour for t in table["interval_begin_time"].to_pylist()])
    assert (came[hours < 9] == 1).all()  # the printer
    with pytest.raises(NotForecast, match="campus"):
        reading.read_forecast(world.settings, "hall", "campus")
    change(world.settings, "DELETE FROM source.space WHERE space_id = 'r1'")
    for read in (reading.read_forecast, reading.read_backtest):
        with pytest.raises(BadInput, match="There is no space 'r1'"):
            read(world.settings, "hall", "r1")


def test_forecasts_follow_occupancy_and_backtests_follow_weeks(world: World) -> None:
    settings = world.settings
    assert world.stale() == {BACKTEST, FORECAST}
    assert world.run().success
    assert world.stale() == set()
    add_sessions(settings, [replace(seen(34)[0], mac="02:00:00:00:77:77")])
    look_again(settings)
    compute_all(settings)
    assert world.stale() == {FORECAST}
    assert world.run(FORECAST).success
    assert world.stale() == set()

    add_sessions(settings, [row for day in range(35, 42) for row in seen(day)])
    track(settings, space="campus", start=MONDAY, end=ORIGIN + dt.timedelta(weeks=1))
    look_again(settings)
    compute_all(settings)
    assert world.stale() == {BACKTEST, FORECAST}
    assert world.run().success
    found = reading.read_forecast(settings, "hall", "r1")
    assert found.rows["interval_begin_time"][0].as_py().date() == ORIGIN + dt.timedelta(weeks=1)
    changes = reading.changes_since_last(settings, "hall")
    assert changes.before is not None
    assert changes.before.last_day == ORIGIN
    assert set(changes.score_deltas) == {*ALWAYS, "lightgbm"}


def test_a_backtest_depends_only_on_the_calendar_and_its_spaces(world: World) -> None:
    by_name = {node.name: node for node in world.nodes}
    assert calendar_node().key in by_name[BACKTEST].deps
    assert BACKTEST in {"/".join(dep) for dep in by_name[FORECAST].deps}
    elsewhere = BODY.model_copy(update={"spaces": ("r1",)})
    one, other = (history_source("hall", body) for body in (BODY, elsewhere))
    tokens = source_tokens(world.settings, {"all": one.source, "r1": other.source})
    assert tokens == {
        "all": f"{MONDAY} {ORIGIN - dt.timedelta(weeks=1)} 20",
        "r1": f"{MONDAY} {ORIGIN - dt.timedelta(weeks=1)} 5",
    }


def test_a_killed_backtest_resumes_and_registers_once(
    logged: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    done: list[str] = []

    def dying(task: Any) -> Any:
        if len(done) == 2:
            raise Killed
        done.append(task.model)
        return try_model(task)

    try_model = work.try_model
    monkeypatch.setattr(work, "try_model", dying)
    assert not logged.run(BACKTEST).success
    monkeypatch.setattr(work, "try_model", try_model)

    def dies_late(*_: object) -> None:
        raise Killed

    tidy = assets.delete_other_work
    monkeypatch.setattr(assets, "delete_other_work", dies_late)
    assert not logged.run(BACKTEST).success
    monkeypatch.setattr(assets, "delete_other_work", tidy)
    result = logged.run()
    assert result.success
    assert all(checks(result).values())
    materialized = result.asset_materializations_for_node("forecaster__hall")[0]
    assert materialized.metadata["tasks_done_by_an_earlier_run"].value == 4
    client = MlflowClient(logged.settings.mlflow_url)
    versions = client.search_model_versions("name = 'forecaster.hall'")
    assert [str(v.version) for v in versions] == ["1"]
    experiment = client.get_experiment_by_name("forecaster.hall")
    runs = client.search_runs([experiment.experiment_id])
    parents = [r for r in runs if "mlflow.parentRunId" not in r.data.tags]
    assert [r.info.status for r in parents] == ["FINISHED", "FAILED", "FAILED"]
    children = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == parents[0].info.run_id]
    assert {r.data.params["model"] for r in children} == {*ALWAYS, "lightgbm"}
    assert parents[0].data.params["windows"] == "3"
    assert parents[0].data.metrics["spaces_with_a_champion"] == 4


def test_an_exported_model_forecasts_as_the_asset_does(logged: World, tmp_path: Path) -> None:
    import mlflow
    import pandas as pd

    assert logged.run().success
    name, to = "forecaster.hall", tmp_path / "exported"
    (recorded,) = model_files(logged.settings, name)
    export_forecaster(logged.settings, name, recorded.version, to)
    files = {str(path.relative_to(to)) for path in to.rglob("*") if path.is_file()}
    assert not [file for file in files if file.endswith((".py", ".pkl"))]
    model = mlflow.pyfunc.load_model(str(to))
    found = model.predict(pd.DataFrame({"space": ["r2", "unknown"]}))
    there = reading.read_forecast(logged.settings, "hall", "r2")
    assert set(found["space"]) == {"r2"}
    np.testing.assert_allclose(found["q90"], there.rows["q90"].to_numpy(), rtol=1e-6)

    # Models of earlier versions name the module's former place.
    described = (to / "MLmodel").read_text()
    assert "loader_module: tippers_dagster.forecasting.registered" in described
    former = described.replace("dagster.forecasting.", "dagster.forecasts.")
    (to / "MLmodel").write_text(former)
    again = mlflow.pyfunc.load_model(str(to)).predict(pd.DataFrame({"space": ["r2"]}))
    pd.testing.assert_frame_equal(again, found)

    client = mlflow.MlflowClient(logged.settings.mlflow_url)
    place = client.get_model_version_download_uri(name, "1").removeprefix("file://")
    (Path(place) / "data" / "champions.npz").write_bytes(pickle.dumps("evil"))
    with pytest.raises(ModelRefused, match=r"Version 1 of forecaster\.hall is not loaded"):
        export_forecaster(logged.settings, name, 1, tmp_path / "other")
    assert logged.run(BACKTEST).success
    assert [f.version for f in model_files(logged.settings, name)] == [2, 1], "registered again"


def test_changed_model_files_are_refused_and_retrained(world: World) -> None:
    settings = world.settings
    assert world.run().success
    before = reading.read_forecast(settings, "hall", "r1").rows
    lake, folder = open_lake(settings), work_prefix("hall")
    files = [key for key in lake.list(folder) if key.endswith(".npz")]
    assert len(files) == 4
    for key in files:
        objects = io.BytesIO()
        np.savez(objects, state=np.array([{"evil": 1}], object))
        lake.write_bytes(key, objects.getvalue())
    assert not world.run(FORECAST).success
    error = str(load_states(settings)[FORECAST].error)
    assert "was changed after it was written" in error
    assert "tippers pipeline materialize forecaster.hall --no-stale-only" in error
    with warehouse_engine(settings).begin() as connection:  # as after an update
        connection.execute(sa.delete(forecast_work_file))
    assert not world.run(FORECAST).success
    assert "trained by an earlier version" in str(load_states(settings)[FORECAST].error)
    assert reading.read_forecast(settings, "hall", "r1").rows == before, "unchanged"
    assert world.run().success
    assert reading.read_forecast(settings, "hall", "r1").rows == before, "retrained"


def test_too_short_a_history_fails_with_the_reason(logged: World) -> None:
    from mlflow import MlflowClient

    logged.body = BODY.model_copy(update={"horizon_days": 28})
    result = logged.run(BACKTEST)
    assert not result.success
    state = load_states(logged.settings)[BACKTEST]
    assert "a backtest of 28 days needs 42" in str(state.error)
    client = MlflowClient(logged.settings.mlflow_url)
    experiment = client.get_experiment_by_name("forecaster.hall")
    assert [r.info.status for r in client.search_runs([experiment.experiment_id])] == ["FAILED"]
    result = logged.run(FORECAST)
    assert not result.success
    assert "has no backtest yet" in str(load_states(logged.settings)[FORECAST].error)


def test_a_failing_model_is_reported_and_the_others_continue(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tippers_dagster.forecasting.models import boosting

    def broken(*_: object) -> None:
        raise ValueError("too wild")

    monkeypatch.setattr(boosting, "train", broken)
    result = world.run()
    assert result.success
    assert not checks(result)["hall__every_model_could_be_tried"]
    assert checks(result)["hall__every_space_has_a_champion"]
    details = reading.last_training(world.settings, "hall").details
    assert details["failed"] == {"lightgbm": "ValueError: too wild"}


def test_spaces_that_cannot_be_forecast_are_refused(world: World) -> None:
    world.body = BODY.model_copy(update={"spaces": ("r1", "nowhere")})
    assert not world.run(BACKTEST).success
    assert "no space 'nowhere'" in str(load_states(world.settings)[BACKTEST].error)


def test_a_forecaster_without_spaces_forecasts_roots_and_their_children(
    world: World,
) -> None:
    world.body = BODY.model_copy(update={"spaces": ()})
    assert world.run().success
    assert reading.forecast_spaces(world.settings, "hall") == ["campus", "hall"]


def test_a_run_that_dies_leaves_the_forecasts_stale(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert world.run().success
    for name, folder in ((BACKTEST, "forecasts/hall/backtest/"), (FORECAST, "forecasts/hall/data")):
        for point in POINTS:
            again = partial(world.run, name)
            leaves_nothing_fresh(monkeypatch, world.settings, name, again, point, folder)
            assert name in world.stale()


def test_nothing_is_forecast_from_counts_that_are_being_replaced(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for the run that is replacing them, but not forever for one that died."""
    monkeypatch.setattr(records, "STEADY_SECONDS", 1.5)
    engine, chunk = warehouse_engine(world.settings), str(MONDAY)
    void(engine, SOURCE, ["r1"], [chunk], "going")
    with pytest.raises(Overtaken, match="are constantly being replaced"):
        load_history(world.settings, BODY)
    compute_all(world.settings)
    assert load_history(world.settings, BODY).panel.days == 7 * WEEKS
    reads = iter([lambda: void(engine, SOURCE, ["r1"], [chunk], "now"), lambda: None])
    with pytest.raises(Overtaken):
        records.read_consistently(world.settings, [chunk], lambda: next(reads)())


def test_void_untracked_partitions_hold_nothing_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run died on a space that is no longer in the tree, so nothing will recompute it."""
    monkeypatch.setattr(records, "STEADY_SECONDS", 1.5)
    engine, chunk = warehouse_engine(world.settings), str(MONDAY)
    void(engine, SOURCE, ["gone"], [chunk], "died")
    void(engine, DERIVED, ["r1"], [chunk], "died while r1 had children")
    assert load_history(world.settings, BODY).panel.days == 7 * WEEKS
