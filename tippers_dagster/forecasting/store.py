"""Stores backtests, champions and forecasts in the warehouse."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from tippers_dagster.forecasting.names import forecast_key
from tippers_dagster.forecasting.tables import (
    forecast,
    forecast_champion,
    forecast_score,
    forecast_training,
)
from tippers_dagster.forecasting.work import Backtest
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.warehouse.engine import copy_rows, warehouse_engine
from tippers_dagster.settings import Settings

KEPT = 10
"""Number of backtests kept per forecaster."""


def write_backtest(
    settings: Settings,
    name: str,
    version: str,
    run_id: str,
    backtest: Backtest,
    details: Mapping[str, Any],
) -> None:
    """Store a backtest, replacing one of the same version, and delete the oldest ones."""
    panel = backtest.history.panel
    training = {
        "run_id": run_id,
        "trained_at": dt.datetime.now(dt.UTC),
        "first_day": panel.first,
        "last_day": panel.origin,
        "work": backtest.work,
        "details": dict(details),
    }
    with warehouse_engine(settings).begin() as connection:
        for table in (forecast_score, forecast_champion):
            _forget(connection, table, name, [version])
        connection.execute(
            insert(forecast_training)
            .values(forecaster=name, version=version, **training)
            .on_conflict_do_update(index_elements=["forecaster", "version"], set_=training)
        )
        copy_rows(connection, str(forecast_score), score_rows(name, version, backtest))
        copy_rows(connection, str(forecast_champion), champion_rows(name, version, backtest))
        _forget_old(connection, name)


def write_forecasts(settings: Settings, name: str, version: str, rows: pa.Table) -> None:
    """Replace all earlier forecasts with these, in the lake and in the warehouse."""
    rows = rows.append_column("version", pa.array([version] * rows.num_rows, pa.string()))
    open_lake(settings).write_table(forecast_key(name), rows)
    rows = rows.append_column("forecaster", pa.array([name] * rows.num_rows, pa.string()))
    with warehouse_engine(settings).begin() as connection:
        connection.execute(sa.delete(forecast).where(forecast.c.forecaster == name))
        copy_rows(connection, str(forecast), rows)


def score_rows(name: str, version: str, backtest: Backtest) -> pa.Table:
    """One row per space and model."""
    ranking, spaces = backtest.ranking, backtest.history.panel.spaces
    n, models = len(spaces), len(ranking.models)
    kept = [f.name for f in fields(next(iter(backtest.metrics.values())))]
    columns = {
        column: np.concatenate([getattr(m, column) for m in backtest.metrics.values()])
        for column in kept
    }
    columns["score"] = ranking.score.reshape(-1)
    return pa.table(
        {
            "forecaster": pa.array([name] * (n * models), pa.string()),
            "version": pa.array([version] * (n * models), pa.string()),
            "space": pa.array(list(spaces) * models, pa.string()),
            "model": pa.array(np.repeat(ranking.models, n)),
            **{c: pa.array(v, from_pandas=True) for c, v in columns.items()},
            "eligible": pa.array(ranking.eligible.reshape(-1)),
        }
    )


def champion_rows(name: str, version: str, backtest: Backtest) -> pa.Table:
    """One row per space that has a champion."""
    ranking, spaces = backtest.ranking, backtest.history.panel.spaces
    won = [
        (space, ranking.models[at])
        for space, at in zip(spaces, ranking.champion, strict=True)
        if at >= 0
    ]
    return pa.table(
        {
            "forecaster": pa.array([name] * len(won), pa.string()),
            "version": pa.array([version] * len(won), pa.string()),
            "space": pa.array([space for space, _ in won], pa.string()),
            "model": pa.array([model for _, model in won], pa.string()),
        }
    )


def _forget(connection: sa.Connection, table: sa.Table, name: str, versions: list[str]) -> None:
    mine = (table.c.forecaster == name, table.c.version.in_(versions))
    connection.execute(sa.delete(table).where(*mine))


def _forget_old(connection: sa.Connection, name: str) -> None:
    c = forecast_training.c
    query = sa.select(c.version).where(c.forecaster == name).order_by(c.trained_at.desc())
    old = list(connection.scalars(query))[KEPT:]
    for table in (forecast_score, forecast_champion, forecast_training):
        if old:
            _forget(connection, table, name, old)
