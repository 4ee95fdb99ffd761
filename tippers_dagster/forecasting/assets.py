"""Two assets per forecaster: its backtest with the champions, and its forecasts.

The backtest is repeated when the definition or the calendar changes, and once a week, with another
week of history. The forecasts are recomputed when the champions or the occupancy changes.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import dagster as dg

from tippers_dagster.automation.computation import Computation, DefinitionAsset, definition_assets
from tippers_dagster.automation.nodes import Node, digest
from tippers_dagster.calendar.store import calendar_node
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Forecaster, Kind
from tippers_dagster.catalog.model import Definition
from tippers_dagster.forecasting import describe, reading
from tippers_dagster.forecasting.describe import BACKTEST_CHECKS, FORECAST_CHECKS
from tippers_dagster.forecasting.names import FORECAST_SUFFIX, forecast_key, forecasts_prefix
from tippers_dagster.forecasting.reading import backtest_scores
from tippers_dagster.forecasting.series import load_history
from tippers_dagster.forecasting.store import write_backtest, write_forecasts
from tippers_dagster.forecasting.tokens import history_source, occupancy_source
from tippers_dagster.forecasting.work import (
    VERSION,
    champion_bundle,
    delete_other_work,
    forecast_all,
    forecast_rows,
    run_backtest,
)
from tippers_dagster.occupancy.state import DERIVED, SOURCE
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.settings import Settings


# --- nodes --------------------------------------------------------------------------------------
def forecast_nodes(settings: Settings, catalog: Catalog) -> list[Node]:
    """The nodes of all forecasters, with what each depends on; broken definitions have none."""
    found = catalog.of_kind(Kind.FORECASTER)
    if not found:
        return []
    return [calendar_node(), *(node for definition in found for node in _nodes(definition))]


def _nodes(definition: Definition) -> list[Node]:

    name, body = definition.ref.name, definition.body
    assert isinstance(body, Forecaster)
    history, occupancy = history_source(name, body), occupancy_source(name, body)
    # Forecasters are older than counts of people: their text stays.
    text = body.model_dump_json(exclude={"counts"} if body.counts == "devices" else None)
    above = (calendar_node().key, history.key)
    champions = definition.ref.asset_path
    return [
        history,
        occupancy,
        Node(champions, digest("backtest", str(VERSION), text), above),
        Node(
            forecast_path(name),
            digest("forecast", str(VERSION), text),
            (champions, occupancy.key),
        ),
    ]


def forecast_path(name: str) -> tuple[str, str]:
    """Key of a forecaster's forecast asset."""
    return Kind.FORECASTER.value, f"{name}{FORECAST_SUFFIX}"


# --- assets -------------------------------------------------------------------------------------
def forecast_assets(
    settings: Settings, catalog: Catalog, nodes: Sequence[Node]
) -> list[dg.AssetsDefinition]:
    """Two assets per valid definition."""
    here = (settings, catalog, Kind.FORECASTER, nodes)
    return [
        *definition_assets(*here, _backtest_asset),
        *definition_assets(*here, _forecast_asset, lambda ref: forecast_path(ref.name)),
    ]


_KINDS = {"python", "mlflow", "postgres"}
_OCCUPANCY = ((SOURCE,), (DERIVED,))
"""Shown as inputs instead of the tables that are watched for changes."""


def _backtest_asset(definition: Definition) -> DefinitionAsset:

    return DefinitionAsset(
        grain="One row per space and model: its errors in the backtest; and the champion of each "
        "space.",
        kinds=_KINDS,
        checks=BACKTEST_CHECKS,
        compute=partial(_backtest, definition),
        experiment=f"forecaster.{definition.ref.name}",
        lineage=(calendar_node().key, *_OCCUPANCY),
    )


def _forecast_asset(definition: Definition) -> DefinitionAsset:

    return DefinitionAsset(
        grain="One row per space and future bin: how many devices are expected.",
        kinds=_KINDS,
        checks=FORECAST_CHECKS,
        compute=partial(_forecast, definition),
        experiment=f"forecaster.{definition.ref.name}{FORECAST_SUFFIX}",
        lineage=(definition.ref.asset_path, *_OCCUPANCY),
    )


# --- the backtest -------------------------------------------------------------------------------
def _backtest(definition: Definition, work: Computation) -> None:
    """Read the history, backtest and train all models, write scores, register the champions."""
    settings, name, body = work.settings, definition.ref.name, definition.body
    assert isinstance(body, Forecaster)
    work.record.look_again(work.path)
    version = work.version
    outcome = run_backtest(settings, name, body, version, work.replacing)
    details = describe.training_details(outcome, body, work.log.run_id)
    write_backtest(settings, name, version, work.run_id, outcome, details)
    scores = backtest_scores(settings, name, version=version)
    _log_backtest(definition, outcome, scores, work)
    delete_other_work(settings, name, outcome.work)
    place = open_lake(settings).uri(f"{forecasts_prefix(name)}backtest")
    metadata = describe.backtest_metadata(outcome, place, work.log.url)
    work.succeeded(len(outcome.history.panel.spaces), details, metadata)
    work.report(*describe.backtest_checks(work.asset, outcome, scores))


def _log_backtest(definition: Definition, outcome: Any, scores: Any, work: Computation) -> None:
    """Log one run with a child run per model, and register the champions as one model."""
    settings, name, body = work.settings, definition.ref.name, definition.body
    assert isinstance(body, Forecaster)
    work.log_result(
        describe.mlflow_params(outcome, body),
        describe.champion_metrics(scores),
        describe.mlflow_files(outcome, scores),
    )
    for model in outcome.metrics:
        with work.log.child(model):
            work.log_result({"model": model}, describe.model_metrics(outcome, model))
    champions = {score.space: score.model for score in scores if score.champion}
    bundle = champion_bundle(settings, name, body, outcome.history, outcome.work, champions)

    def register(mlflow: Any) -> None:
        from tippers_dagster.forecasting.registered import register

        number = register(settings, f"forecaster.{name}", work.version, bundle)
        mlflow.set_tag("registered_version", number)

    work.log.log_more(register)


# --- the forecasts ------------------------------------------------------------------------------
def _forecast(definition: Definition, work: Computation) -> None:
    """Read the champions and the history, forecast, write."""
    settings, name, body = work.settings, definition.ref.name, definition.body
    assert isinstance(body, Forecaster)
    work.record.look_again(work.path)
    version = work.version
    training = reading.last_training(settings, name)
    winners = reading.champions(settings, name, version=training.version)
    champions = {c.space: c.model for c in winners}
    history = load_history(settings, body)
    bundle = champion_bundle(settings, name, body, history, training.work, champions)
    outcome = forecast_all(settings, bundle, history)
    rows = forecast_rows(settings, outcome)
    work.replacing()
    write_forecasts(settings, name, version, rows)
    spaces = len(outcome.panel.spaces)
    work.log_result(
        {"origin": str(outcome.panel.origin), "backtest": training.version},
        {"spaces": float(spaces), "seconds": work.seconds},
    )
    place = open_lake(settings).uri(forecast_key(name))
    details = {"origin": str(outcome.panel.origin), "spaces": spaces}
    work.succeeded(rows.num_rows, details, describe.forecast_metadata(outcome, rows, place))
    work.report(*describe.forecast_checks(work.asset, outcome, rows, champions))
