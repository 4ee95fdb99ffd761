"""Warehouse tables of the domain."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from tippers_dagster.platform.warehouse.metadata import metadata

forecast_training = sa.Table(
    "forecast_training",
    metadata,
    sa.Column("forecaster", sa.Text, primary_key=True),
    sa.Column("version", sa.Text, primary_key=True, comment="version of the asset"),
    sa.Column("run_id", sa.Text, nullable=False, comment="Dagster run"),
    sa.Column("trained_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("first_day", sa.Date, nullable=False, comment="first day of the history"),
    sa.Column("last_day", sa.Date, nullable=False, comment="end of the history, exclusive"),
    sa.Column("work", sa.Text, nullable=False, comment="folder of the trained models in the lake"),
    sa.Column("details", JSONB, nullable=False, server_default="{}"),
    comment="one row per stored backtest of a forecaster: its inputs",
)

forecast_work_file = sa.Table(
    "forecast_work_file",
    metadata,
    sa.Column("forecaster", sa.Text, primary_key=True),
    sa.Column("work", sa.Text, primary_key=True, comment="folder of the trained models"),
    sa.Column("file", sa.Text, primary_key=True, comment="name of the file in the folder"),
    sa.Column("sha256", sa.Text, nullable=False, comment="hash of the content"),
    comment="one row per file of a forecaster's trained models, with its digest",
)

forecast_score = sa.Table(
    "forecast_score",
    metadata,
    sa.Column("forecaster", sa.Text, primary_key=True),
    sa.Column("version", sa.Text, primary_key=True),
    sa.Column("space", sa.Text, primary_key=True),
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column(
        "bins", sa.Integer, nullable=False, comment="number of bins compared with the actual counts"
    ),
    sa.Column(
        "occupied", sa.Integer, nullable=False, comment="number of bins with at least one device"
    ),
    sa.Column("mae", sa.Double, comment="mean absolute error, devices"),
    sa.Column("rmse", sa.Double, comment="root mean squared error, devices"),
    sa.Column("mae_occupied", sa.Double, comment="mean absolute error over occupied bins"),
    sa.Column("pinball", sa.Double, comment="mean pinball loss over the five quantiles"),
    sa.Column("coverage_80", sa.Double, comment="share of bins within the 80 % interval"),
    sa.Column("coverage_95", sa.Double, comment="share of bins within the 95 % interval"),
    sa.Column(
        "score", sa.Double, comment="pinball loss relative to the seasonal naive forecast; 1: equal"
    ),
    sa.Column("eligible", sa.Boolean, nullable=False, comment="may become champion"),
    comment="one row per forecaster, backtest, space and model: errors of the backtest",
)

forecast_champion = sa.Table(
    "forecast_champion",
    metadata,
    sa.Column("forecaster", sa.Text, primary_key=True),
    sa.Column("version", sa.Text, primary_key=True),
    sa.Column("space", sa.Text, primary_key=True),
    sa.Column("model", sa.Text, nullable=False),
    comment="one row per forecaster, backtest and space: the champion",
)

forecast = sa.Table(
    "forecast",
    metadata,
    sa.Column("forecaster", sa.Text, primary_key=True),
    sa.Column("space", sa.Text, primary_key=True),
    sa.Column("interval_begin_time", sa.DateTime(timezone=True), primary_key=True),
    sa.Column("q025", sa.REAL, nullable=False),
    sa.Column("q10", sa.REAL, nullable=False),
    sa.Column("q50", sa.REAL, nullable=False, comment="median: the forecast"),
    sa.Column("q90", sa.REAL, nullable=False),
    sa.Column("q975", sa.REAL, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("origin", sa.DateTime(timezone=True), nullable=False, comment="end of the history"),
    sa.Column("version", sa.Text, nullable=False, comment="version of the forecast asset"),
    comment="one row per forecaster, space and future bin: the forecast number of devices",
)
