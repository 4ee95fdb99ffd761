"""Warehouse tables of the domain."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from tippers_dagster.platform.warehouse.metadata import metadata

forecast_training = sa.Table(
    "forecast_training",
    metadata,
    sa.Column("forecaster", sa.Text, primary_key=True),
    sa.Column("version", sa.Text, primary_key=True, comment="of the asset"),
    sa.Column("run_id", sa.Text, nullable=False, comment="of the Dagster run"),
    sa.Column("trained_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("first_day", sa.Date, nullable=False, comment="of the history"),
    sa.Column("last_day", sa.Date, nullable=False, comment="of the history, excluded"),
    sa.Column("work", sa.Text, nullable=False, comment="folder of the trained models in the lake"),
    sa.Column("details", JSONB, nullable=False, server_default="{}"),
    comment="one row per backtest of a forecaster that is kept: what it was made of",
)

forecast_work_file = sa.Table(
    "forecast_work_file",
    metadata,
    sa.Column("forecaster", sa.Text, primary_key=True),
    sa.Column("work", sa.Text, primary_key=True, comment="folder of trained models"),
    sa.Column("file", sa.Text, primary_key=True, comment="its name in the folder"),
    sa.Column("sha256", sa.Text, nullable=False, comment="of its content"),
    comment="one row per file of trained models of a forecaster: what it must hold",
)

forecast_score = sa.Table(
    "forecast_score",
    metadata,
    sa.Column("forecaster", sa.Text, primary_key=True),
    sa.Column("version", sa.Text, primary_key=True),
    sa.Column("space", sa.Text, primary_key=True),
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("bins", sa.Integer, nullable=False, comment="compared with what came"),
    sa.Column("occupied", sa.Integer, nullable=False, comment="of these, with somebody there"),
    sa.Column("mae", sa.Double, comment="mean absolute error, devices"),
    sa.Column("rmse", sa.Double, comment="root mean squared error, devices"),
    sa.Column("mae_occupied", sa.Double, comment="mean absolute error where somebody was there"),
    sa.Column("pinball", sa.Double, comment="mean over the five quantiles"),
    sa.Column("coverage_80", sa.Double, comment="share of bins within the 80 % interval"),
    sa.Column("coverage_95", sa.Double, comment="share of bins within the 95 % interval"),
    sa.Column("score", sa.Double, comment="beside the seasonal naive forecast: 1 is as good"),
    sa.Column("eligible", sa.Boolean, nullable=False, comment="may be champion"),
    comment="one row per forecaster, backtest, space and model: how well it would have forecast",
)

forecast_champion = sa.Table(
    "forecast_champion",
    metadata,
    sa.Column("forecaster", sa.Text, primary_key=True),
    sa.Column("version", sa.Text, primary_key=True),
    sa.Column("space", sa.Text, primary_key=True),
    sa.Column("model", sa.Text, nullable=False),
    comment="one row per forecaster, backtest and space: the model that won",
)

forecast = sa.Table(
    "forecast",
    metadata,
    sa.Column("forecaster", sa.Text, primary_key=True),
    sa.Column("space", sa.Text, primary_key=True),
    sa.Column("interval_begin_time", sa.DateTime(timezone=True), primary_key=True),
    sa.Column("q025", sa.REAL, nullable=False),
    sa.Column("q10", sa.REAL, nullable=False),
    sa.Column("q50", sa.REAL, nullable=False, comment="the forecast"),
    sa.Column("q90", sa.REAL, nullable=False),
    sa.Column("q975", sa.REAL, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("origin", sa.DateTime(timezone=True), nullable=False, comment="history ends here"),
    sa.Column("version", sa.Text, nullable=False, comment="of the asset of the forecasts"),
    comment="one row per forecaster, space and bin to come: how many devices are expected",
)
