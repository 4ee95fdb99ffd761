"""Warehouse table of the domain."""

import sqlalchemy as sa

from tippers_dagster.warehouse.metadata import metadata

dataset = sa.Table(
    "dataset",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("space_id", sa.Text, nullable=False),
    sa.Column("start_date", sa.Date, nullable=False),
    sa.Column("end_date", sa.Date, nullable=False, comment="excluded"),
    sa.Column("interval_seconds", sa.Integer, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("description", sa.Text, nullable=False, server_default=""),
    sa.Column(
        "created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
    ),
    sa.CheckConstraint("start_date < end_date", name="not_empty"),
    comment="one row per named selection of occupancy: a space, a range of dates, a bin width",
)
