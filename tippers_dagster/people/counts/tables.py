"""Warehouse tables of the domain."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from tippers_dagster.platform.warehouse.metadata import metadata

head_count = sa.Table(
    "head_count",
    metadata,
    sa.Column("space_id", sa.Text, primary_key=True),
    sa.Column(
        "time", sa.DateTime(timezone=True), primary_key=True, comment="time, or start of the bin"
    ),
    sa.Column(
        "interval_seconds",
        sa.Integer,
        primary_key=True,
        autoincrement=False,
        comment="width of the bin in which people were counted; 0: one moment",
    ),
    sa.Column("people", sa.Integer, nullable=False),
    sa.Column("counted_by", sa.Text, nullable=False),
    sa.Column("imported_at", sa.DateTime(timezone=True), nullable=False),
    comment="one row per space and time of a head count",
)

people_calibration = sa.Table(
    "people_calibration",
    metadata,
    sa.Column("name", sa.Text, primary_key=True, comment="name of the people count"),
    sa.Column("version", sa.Text, nullable=False, comment="version of its asset"),
    sa.Column("run_id", sa.Text, nullable=False, comment="Dagster run"),
    sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("body", JSONB, nullable=False, comment="body of the definition at that time"),
    sa.Column("reason", sa.Text, comment="why it is not calibrated; null: it is calibrated"),
    sa.Column("calibration", JSONB, comment="ratio and interval; null: not calibrated"),
    sa.Column("evaluation", JSONB, comment="errors and coverage on held-out days"),
    comment="one row per materialised people count: how devices become people",
)
