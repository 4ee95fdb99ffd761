"""Warehouse tables of the domain."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from tippers_dagster.platform.warehouse.metadata import metadata

head_count = sa.Table(
    "head_count",
    metadata,
    sa.Column("space_id", sa.Text, primary_key=True),
    sa.Column("time", sa.DateTime(timezone=True), primary_key=True, comment="or the bin's begin"),
    sa.Column(
        "interval_seconds",
        sa.Integer,
        primary_key=True,
        autoincrement=False,
        comment="width of the bin in which people were counted; 0: at that moment",
    ),
    sa.Column("people", sa.Integer, nullable=False),
    sa.Column("counted_by", sa.Text, nullable=False),
    sa.Column("imported_at", sa.DateTime(timezone=True), nullable=False),
    comment="one row per space and time at which people were counted by other means",
)

people_calibration = sa.Table(
    "people_calibration",
    metadata,
    sa.Column("name", sa.Text, primary_key=True, comment="of the people count"),
    sa.Column("version", sa.Text, nullable=False, comment="of its asset"),
    sa.Column("run_id", sa.Text, nullable=False, comment="of the Dagster run"),
    sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("body", JSONB, nullable=False, comment="the definition's, as it was"),
    sa.Column("reason", sa.Text, comment="why it is not calibrated; null: it is"),
    sa.Column("calibration", JSONB, comment="ratio and interval; null: not calibrated"),
    sa.Column("evaluation", JSONB, comment="errors and coverage on the days held out"),
    comment="one row per people count that was materialised: how devices become people",
)
