"""Warehouse tables of the domain: tracked ranges, and the settings of the grid."""

import sqlalchemy as sa

from tippers_dagster.platform.warehouse.metadata import metadata

tracking = sa.Table(
    "tracking",
    metadata,
    sa.Column(
        "space_id",
        sa.Text,
        primary_key=True,
        comment="root space, whose subtree is tracked; empty: the log only",
    ),
    sa.Column("start_date", sa.Date, primary_key=True),
    sa.Column("end_date", sa.Date, primary_key=True, comment="exclusive"),
    sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now()),
    sa.CheckConstraint("start_date < end_date", name="not_empty"),
    comment="one row per tracked root space, or the log only, and range of dates",
)

grid = sa.Table(
    "grid",
    metadata,
    sa.Column("one_row", sa.Boolean, primary_key=True, server_default=sa.text("true")),
    sa.Column("chunk", sa.Text, nullable=False),
    sa.Column("timezone", sa.Text, nullable=False),
    sa.CheckConstraint("one_row", name="one_row"),
    comment="the chunk length and time zone of this warehouse",
)
