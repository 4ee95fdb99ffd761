"""Two assets per forecaster: its backtest with the champions, and its forecasts.

The backtest is repeated when the definition or the calendar changes, and once a week, with another
week of history. The forecasts are recomputed when the champions or the occupancy changes.
"""

import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import dagster as dg

from tippers_dagster.academic.calendar import calendar_node
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Forecaster, Kind
from tippers_dagster.catalog.model import Definition
from tippers_dagster.forecasts.names import FORECAST_SUFFIX
from tippers_dagster.forecasts.tokens import SOURCE_FOLDER, history_source, occupancy_source
from tippers_dagster.occupancy.state import DERIVED, SOURCE
from tippers_dagster.refresh.nodes import Node, digest
from tippers_dagster.refresh.specs import assets_of_kind, definition_spec, one_asset, recording
from tippers_dagster.refresh.state import Recorder
from tippers_dagster.settings import Settings

BACKTEST_GRAIN = (
    "One row per space and model: its errors in the backtest; and the champion of each space."
)
FORECAST_GRAIN = "One row per space and future bin: how many devices are expected."


# --- nodes --------------------------------------------------------------------------------------
def forecast_nodes(settings: Settings, catalog: Catalog) -> list[Node]:
    """The nodes of all forecasters, with what each depends on; broken definitions have none."""
    found = catalog.of_kind(Kind.FORECASTER)
    if not found:
        return []
    return [calendar_node(), *(node for definition in found for node in _nodes(definition))]


def _nodes(definition: Definition) -> list[Node]:
    from tippers_dagster.forecasts.work import VERSION

    name, body = definition.ref.name, definition.body
    assert isinstance(body, Forecaster)
    history, occupancy = history_source(name, body), occupancy_source(name, body)
    text = body.model_dump_json()
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
    backtests, forecasts = (
        assets_of_kind(
            catalog,
            Kind.FORECASTER,
            nodes,
            partial(make, settings, catalog),
        )
        for make in (_backtest_asset, _forecast_asset)
    )
    return [*backtests, *forecasts]


def _spec(
    catalog: Catalog,
    nodes: dict[tuple[str, ...], Node],
    definition: Definition,
    path: tuple[str, ...],
    grain: str,
) -> dg.AssetSpec:
    """The asset's spec, which depends on the occupancy assets instead of the tables watched for
    changes.
    """
    outcome = definition_spec(
        catalog, nodes[path], definition, grain, kinds={"python", "mlflow", "postgres"}
    )
    read = [dep for dep in nodes[path].deps if dep[0] != SOURCE_FOLDER]
    return outcome.replace_attributes(deps=[dg.AssetKey(d) for d in (*read, (SOURCE,), (DERIVED,))])


def _backtest_asset(
    settings: Settings,
    catalog: Catalog,
    nodes: dict[tuple[str, ...], Node],
    definition: Definition,
) -> dg.AssetsDefinition:
    from tippers_dagster.forecasts.describe import BACKTEST_CHECKS

    path = definition.ref.asset_path
    return one_asset(
        _spec(catalog, nodes, definition, path, BACKTEST_GRAIN),
        BACKTEST_CHECKS,
        lambda context: _backtest(context, settings, nodes, definition),
    )


def _forecast_asset(
    settings: Settings,
    catalog: Catalog,
    nodes: dict[tuple[str, ...], Node],
    definition: Definition,
) -> dg.AssetsDefinition:
    from tippers_dagster.forecasts.describe import FORECAST_CHECKS

    path = forecast_path(definition.ref.name)
    return one_asset(
        _spec(catalog, nodes, definition, path, FORECAST_GRAIN),
        FORECAST_CHECKS,
        lambda context: _forecast(context, settings, nodes, definition),
    )


# --- the backtest -------------------------------------------------------------------------------
def _backtest(
    context: dg.AssetExecutionContext,
    settings: Settings,
    nodes: dict[tuple[str, ...], Node],
    definition: Definition,
) -> Iterator[Any]:
    """Backtest, train, store, log, register and record; a failure is recorded, FAILED in MLflow."""
    from tippers_dagster.experiments.runs import mlflow_run
    from tippers_dagster.forecasts.describe import backtest_checks

    name, path = definition.ref.name, definition.ref.asset_path
    with (
        recording(settings, context, list(nodes.values()), path) as record,
        mlflow_run(settings, context, f"forecaster.{name}") as log,
    ):
        outcome, scores, result = _tested(settings, definition, record, context.run.run_id, log)
    if log.problem is not None:
        context.log.error("The backtest is stored, but not completely logged: %s", log.problem)
    yield result
    yield from backtest_checks(dg.AssetKey(path), outcome, scores, log.problem)


def _tested(
    settings: Settings, definition: Definition, record: Recorder, run_id: str, log: Any
) -> tuple[Any, Any, dg.MaterializeResult[None]]:
    from tippers_dagster.forecasts import describe
    from tippers_dagster.forecasts.names import forecasts_prefix
    from tippers_dagster.forecasts.reading import backtest_scores
    from tippers_dagster.forecasts.store import write_backtest
    from tippers_dagster.forecasts.work import forget_other_work, run_backtest
    from tippers_dagster.lake import open_lake

    name, body, started = definition.ref.name, definition.body, time.monotonic()
    assert isinstance(body, Forecaster)
    path = definition.ref.asset_path
    record.look_again(path)
    version = record.version(path)
    outcome = run_backtest(settings, name, body, version, lambda: record.replacing(path))
    details = describe.training_details(outcome, body, log.run_id)
    write_backtest(settings, name, version, run_id, outcome, details)
    scores = backtest_scores(settings, name, version=version)
    _log_backtest(settings, definition, outcome, scores, version, log)
    forget_other_work(settings, name, outcome.work)
    result: dg.MaterializeResult[None] = dg.MaterializeResult(
        asset_key=dg.AssetKey(path),
        metadata=describe.backtest_metadata(
            outcome, open_lake(settings).uri(f"{forecasts_prefix(name)}backtest"), log.url
        ),
        data_version=dg.DataVersion(version),
    )
    record.succeeded(path, len(outcome.history.panel.spaces), time.monotonic() - started, details)
    return outcome, scores, result


def _log_backtest(
    settings: Settings,
    definition: Definition,
    outcome: Any,
    scores: Any,
    version: str,
    log: Any,
) -> None:
    """Log one run with a child run per model, and register the champions as one model."""
    from tippers_dagster.forecasts import describe
    from tippers_dagster.forecasts.work import champion_bundle

    name, body = definition.ref.name, definition.body
    assert isinstance(body, Forecaster)
    tags = {"version": version, "dagster_asset": definition.ref.asset_name}
    log.log(
        params=describe.mlflow_params(outcome, body),
        metrics=describe.champion_metrics(scores),
        tags=tags,
        files=describe.mlflow_files(outcome, scores),
    )
    for model in outcome.metrics:
        with log.child(model):
            metrics = describe.model_metrics(outcome, model)
            log.log(params={"model": model}, metrics=metrics, tags=tags, files={})
    champions = {score.space: score.model for score in scores if score.champion}
    bundle = champion_bundle(settings, name, body, outcome.history, outcome.work, champions)

    def register(mlflow: Any) -> None:
        from tippers_dagster.forecasts.registered import register

        number = register(settings, f"forecaster.{name}", version, bundle)
        mlflow.set_tag("registered_version", number)

    log.log_more(register)


# --- the forecasts ------------------------------------------------------------------------------
def _forecast(
    context: dg.AssetExecutionContext,
    settings: Settings,
    nodes: dict[tuple[str, ...], Node],
    definition: Definition,
) -> Iterator[Any]:
    """Forecast with the champions, write, log and record; a failure is FAILED in MLflow, too."""
    from tippers_dagster.experiments.runs import mlflow_run
    from tippers_dagster.forecasts.describe import forecast_checks

    path = forecast_path(definition.ref.name)
    with (
        recording(settings, context, list(nodes.values()), path) as record,
        mlflow_run(settings, context, f"forecaster.{path[1]}") as log,
    ):
        outcome, rows, champions, result = _forecast_now(settings, definition, record, log)
    if log.problem is not None:
        context.log.error("The forecasts are stored, but not logged: %s", log.problem)
    yield result
    yield from forecast_checks(dg.AssetKey(path), outcome, rows, champions, log.problem)


def _forecast_now(
    settings: Settings, definition: Definition, record: Recorder, log: Any
) -> tuple[Any, Any, dict[str, str], dg.MaterializeResult[None]]:
    from tippers_dagster.forecasts import describe, reading, work
    from tippers_dagster.forecasts.names import forecast_key
    from tippers_dagster.forecasts.series import load_history
    from tippers_dagster.forecasts.store import write_forecasts
    from tippers_dagster.lake import open_lake

    name, body, started = definition.ref.name, definition.body, time.monotonic()
    assert isinstance(body, Forecaster)
    path = forecast_path(name)
    record.look_again(path)
    version = record.version(path)
    training = reading.last_training(settings, name)
    winners = reading.champions(settings, name, version=training.version)
    champions = {c.space: c.model for c in winners}
    history = load_history(settings, body)
    bundle = work.champion_bundle(settings, name, body, history, training.work, champions)
    outcome = work.forecast_all(settings, bundle, history)
    rows = work.forecast_rows(settings, outcome)
    record.replacing(path)
    write_forecasts(settings, name, version, rows)
    seconds = time.monotonic() - started
    log.log(
        params={"origin": str(outcome.panel.origin), "backtest": training.version},
        metrics={"spaces": float(len(outcome.panel.spaces)), "seconds": seconds},
        tags={"version": version, "dagster_asset": "/".join(path)},
        files={},
    )
    place = open_lake(settings).uri(forecast_key(name))
    result: dg.MaterializeResult[None] = dg.MaterializeResult(
        asset_key=dg.AssetKey(path),
        metadata=describe.forecast_metadata(outcome, rows, place),
        data_version=dg.DataVersion(version),
    )
    details = {"origin": str(outcome.panel.origin), "spaces": len(outcome.panel.spaces)}
    record.succeeded(path, rows.num_rows, seconds, details)
    return outcome, rows, champions, result
