"""Warehouse tables for ingests, their changes, and rejected rows."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from tippers_dagster.platform.warehouse.metadata import metadata

ingested_file = sa.Table(
    "ingested_file",
    metadata,
    sa.Column("ingest_id", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("sha256", sa.Text, comment="hash of the file's content", index=True),
    sa.Column("kind", sa.Text, nullable=False, comment="sessions, spaces, observations ..."),
    sa.Column("name", sa.Text, nullable=False, comment="path of the file"),
    sa.Column("size", sa.BigInteger, comment="size of the file in bytes"),
    sa.Column("options", JSONB, comment="null: not recorded, by an earlier version"),
    sa.Column("rows", sa.BigInteger, nullable=False, comment="rows read"),
    sa.Column("loaded", sa.BigInteger, nullable=False, comment="rows written to the source table"),
    sa.Column("rejected", sa.BigInteger, nullable=False, comment="rows in the table reject"),
    sa.Column(
        "left_out",
        sa.BigInteger,
        nullable=False,
        server_default=sa.text("0"),
        comment="rows that do not count, by the mapping",
    ),
    sa.Column(
        "traced",
        sa.Boolean,
        nullable=False,
        server_default=sa.text("false"),
        comment="rows in the source tables have the number of this ingest",
    ),
    sa.Column("first_start", sa.DateTime, comment="earliest start of its sessions"),
    sa.Column("last_start", sa.DateTime, comment="latest start of its sessions"),
    sa.Column(
        "ingested_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
    ),
    sa.Column("redone_at", sa.DateTime(timezone=True)),
    sa.Column("undone_at", sa.DateTime(timezone=True)),
    comment="One row per ingest of a file, and per removal of spaces.",
)

ingest_layer = sa.Table(
    "ingest_layer",
    metadata,
    sa.Column("kind", sa.Text, primary_key=True, comment="kind of table: spaces ..."),
    sa.Column("key", sa.Text, primary_key=True, comment="space_id, roomid ..."),
    sa.Column(
        "ingest_id",
        sa.BigInteger,
        primary_key=True,
        comment="0: rows from before the first recorded ingest",
    ),
    sa.Column("rows", JSONB, nullable=False, comment="rows with the key; empty: removed"),
    comment="One row per key that an ingest wrote; the source table has the newest rows of a key.",
)

reject = sa.Table(
    "reject",
    metadata,
    sa.Column("reject_id", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("ingest_id", sa.BigInteger, comment="ingested_file.ingest_id", index=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column(
        "row_number",
        sa.BigInteger,
        comment="row of the file, from 1, not counting a CSV header",
    ),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("row", JSONB, comment="the row as text; long values are cut"),
    sa.Column(
        "rejected_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
    ),
    comment="One row per rejected row of a file, with the reason.",
)
