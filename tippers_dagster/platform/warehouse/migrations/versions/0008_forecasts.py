"""Tables for the academic calendar and forecasts."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    _create_academic_period()
    _create_forecast_training()
    _create_forecast_score()
    _create_forecast_champion()
    _create_forecast()


def _create_academic_period() -> None:
    op.create_table(
        "academic_period",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("start_date", sa.Date(), nullable=False, comment="the first local day"),
        sa.Column("end_date", sa.Date(), nullable=False, comment="excluded"),
        sa.Column(
            "space_id",
            sa.Text(),
            server_default="",
            nullable=False,
            comment="where an event takes place; empty: on the whole campus",
        ),
        sa.Column(
            "version", sa.Integer(), nullable=False, comment="grows by one with every change"
        ),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_by", sa.Text(), nullable=False),
        sa.CheckConstraint("start_date < end_date", name=op.f("ck_academic_period_not_empty")),
        sa.CheckConstraint(
            "kind IN ('quarter', 'break', 'finals', 'holiday', 'event')",
            name=op.f("ck_academic_period_kind"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_academic_period")),
        sa.UniqueConstraint(
            *("kind", "name", "start_date", "space_id"),
            name=op.f("uq_academic_period_kind"),
            deferrable=True,
            initially="DEFERRED",
        ),
        schema="tippers",
        comment="one row per period of the academic calendar",
    )


def _create_forecast_training() -> None:
    op.create_table(
        "forecast_training",
        sa.Column("forecaster", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False, comment="of the asset"),
        sa.Column("run_id", sa.Text(), nullable=False, comment="of the Dagster run"),
        sa.Column("trained_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("first_day", sa.Date(), nullable=False, comment="of the history"),
        sa.Column("last_day", sa.Date(), nullable=False, comment="of the history, excluded"),
        sa.Column(
            "work", sa.Text(), nullable=False, comment="folder of the trained models in the lake"
        ),
        sa.Column("details", postgresql.JSONB(), server_default="{}", nullable=False),
        sa.PrimaryKeyConstraint("forecaster", "version", name=op.f("pk_forecast_training")),
        schema="tippers",
        comment="one row per backtest of a forecaster that is kept: what it was made of",
    )


def _create_forecast_score() -> None:
    comments = {
        "mae": "mean absolute error, devices",
        "rmse": "root mean squared error, devices",
        "mae_occupied": "mean absolute error where somebody was there",
        "pinball": "mean over the five quantiles",
        "coverage_80": "share of bins within the 80 % interval",
        "coverage_95": "share of bins within the 95 % interval",
        "score": "beside the seasonal naive forecast: 1 is as good",
    }
    op.create_table(
        "forecast_score",
        sa.Column("forecaster", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("space", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("bins", sa.Integer(), nullable=False, comment="compared with what came"),
        sa.Column(
            "occupied", sa.Integer(), nullable=False, comment="of these, with somebody there"
        ),
        *(sa.Column(name, sa.Double(), comment=comment) for name, comment in comments.items()),
        sa.Column("eligible", sa.Boolean(), nullable=False, comment="may be champion"),
        sa.PrimaryKeyConstraint(
            "forecaster", "version", "space", "model", name=op.f("pk_forecast_score")
        ),
        schema="tippers",
        comment="one row per forecaster, backtest, space and model: how well it would have "
        "forecast",
    )


def _create_forecast_champion() -> None:
    op.create_table(
        "forecast_champion",
        sa.Column("forecaster", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("space", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint(
            "forecaster", "version", "space", name=op.f("pk_forecast_champion")
        ),
        schema="tippers",
        comment="one row per forecaster, backtest and space: the model that won",
    )


def _create_forecast() -> None:
    op.create_table(
        "forecast",
        sa.Column("forecaster", sa.Text(), nullable=False),
        sa.Column("space", sa.Text(), nullable=False),
        sa.Column("interval_begin_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("q025", sa.REAL(), nullable=False),
        sa.Column("q10", sa.REAL(), nullable=False),
        sa.Column("q50", sa.REAL(), nullable=False, comment="the forecast"),
        sa.Column("q90", sa.REAL(), nullable=False),
        sa.Column("q975", sa.REAL(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column(
            "origin", sa.DateTime(timezone=True), nullable=False, comment="history ends here"
        ),
        sa.Column("version", sa.Text(), nullable=False, comment="of the asset of the forecasts"),
        sa.PrimaryKeyConstraint(
            "forecaster", "space", "interval_begin_time", name=op.f("pk_forecast")
        ),
        schema="tippers",
        comment="one row per forecaster, space and bin to come: how many devices are expected",
    )
