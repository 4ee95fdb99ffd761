"""Backtests and forecasts on a Dask cluster equal those of this process."""

from __future__ import annotations

from typing import Any

from tests.forecasting.small import BODY, World
from tests.platform.cluster import losing_a_worker, two_workers
from tippers_dagster.forecasting import reading
from tippers_dagster.forecasting.names import forecast_key
from tippers_dagster.platform.lake import open_lake

MODELS = ("lightgbm", "mstl")


def made(world: World) -> tuple[Any, Any, Any]:
    """Results of materialising everything: scores, models tried and forecasts."""
    result = world.run()
    assert result.success
    backtest = result.asset_materializations_for_node("forecaster__hall")[0]
    assert backtest.metadata["tasks_done_by_an_earlier_run"].value == 0
    scores = [
        (s.space, s.model, s.champion, s.mae, s.pinball)
        for s in reading.backtest_scores(world.settings, "hall")
    ]
    tried = reading.read_backtest(world.settings, "hall", "r2")
    expected = open_lake(world.settings).read_table(forecast_key("hall"))
    return scores, tried, expected


def test_a_cluster_forecasts_as_this_process_and_survives_a_dead_worker(world: World) -> None:
    world.body = BODY.model_copy(update={"models": MODELS})
    scores, tried, expected = made(world)
    open_lake(world.settings).delete_prefix("forecasts/")
    with two_workers() as scheduler:
        world.settings = world.settings.model_copy(update={"dask_url": scheduler})
        with losing_a_worker(scheduler):
            there = made(world)
    assert {model for _, model, *_ in scores} >= set(MODELS)
    assert there[0] == scores
    assert there[1].equals(tried)
    assert there[2].equals(expected)
