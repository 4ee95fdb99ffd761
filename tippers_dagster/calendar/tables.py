"""Warehouse tables of the domain."""

import sqlalchemy as sa

from tippers_dagster.platform.warehouse.metadata import metadata

academic_period = sa.Table(
    "academic_period",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("start_date", sa.Date, nullable=False, comment="the first local day"),
    sa.Column("end_date", sa.Date, nullable=False, comment="exclusive"),
    sa.Column(
        "space_id",
        sa.Text,
        nullable=False,
        server_default="",
        comment="where an event takes place; empty: the whole campus",
    ),
    sa.Column("version", sa.Integer, nullable=False, comment="increases with every change"),
    sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("updated_by", sa.Text, nullable=False),
    # Checked at the end of a transaction: two periods may change places.
    sa.UniqueConstraint(
        *("kind", "name", "start_date", "space_id"), deferrable=True, initially="DEFERRED"
    ),
    sa.CheckConstraint("start_date < end_date", name="not_empty"),
    sa.CheckConstraint("kind IN ('quarter', 'break', 'finals', 'holiday', 'event')", name="kind"),
    comment="one row per period of the academic calendar",
)
