"""Warehouse tables for the state of definition assets."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from tippers_dagster.platform.warehouse.metadata import metadata

asset_state = sa.Table(
    "asset_state",
    metadata,
    sa.Column("asset", sa.Text, primary_key=True, comment="asset key, parts joined by slashes"),
    sa.Column("version", sa.Text, comment="version of the last computation; null: never computed"),
    sa.Column("materialized_at", sa.DateTime(timezone=True)),
    sa.Column("run_id", sa.Text),
    sa.Column("seconds", sa.Double),
    sa.Column("rows", sa.BigInteger),
    sa.Column("details", JSONB, nullable=False, server_default="{}"),
    sa.Column("failed_version", sa.Text, comment="version that could not be computed"),
    sa.Column("tries", sa.Integer, nullable=False, server_default="0"),
    sa.Column("failed_at", sa.DateTime(timezone=True)),
    sa.Column("error", sa.Text),
    sa.Column(
        "retry_at",
        sa.DateTime(timezone=True),
        comment="after a failure of the environment: no attempt before",
    ),
    comment="one row per definition asset: its version, or why it failed",
)

source_token = sa.Table(
    "source_token",
    metadata,
    sa.Column("asset", sa.Text, primary_key=True),
    sa.Column("token", sa.Text, nullable=False, comment="differs whenever the rows may differ"),
    sa.Column("observed_at", sa.DateTime(timezone=True), nullable=False),
    comment="one row per source table that definitions read: the token of its last check",
)

restored_token = sa.Table(
    "restored_token",
    metadata,
    sa.Column("token", sa.Text, primary_key=True, comment="of a table that was restored"),
    sa.Column(
        "stands_for", sa.Text, nullable=False, comment="token of the same rows before the backup"
    ),
    comment="one row per table restored from a backup: the database counts its rows as new ones",
)
