"""The warehouse's tables about ingested files and the rows that could not be used."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from tippers_dagster.warehouse.metadata import metadata

ingested_file = sa.Table(
    "ingested_file",
    metadata,
    sa.Column("sha256", sa.Text, primary_key=True, comment="of the file's bytes"),
    sa.Column("kind", sa.Text, primary_key=True, comment="sessions, spaces, observations ..."),
    sa.Column("name", sa.Text, nullable=False, comment="the path it was read from"),
    sa.Column("rows", sa.BigInteger, nullable=False, comment="rows read"),
    sa.Column("loaded", sa.BigInteger, nullable=False, comment="rows written to the source table"),
    sa.Column("rejected", sa.BigInteger, nullable=False, comment="rows in reject"),
    sa.Column(
        "ingested_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
    ),
    comment="One row per file (by content) and kind that was ingested.",
)

reject = sa.Table(
    "reject",
    metadata,
    sa.Column("reject_id", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("file_sha256", sa.Text, comment="ingested_file.sha256", index=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column(
        "row_number",
        sa.BigInteger,
        comment="row of the file, from 1, the header of a CSV not counted",
    ),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("row", JSONB, comment="the row as text, long values cut"),
    sa.Column(
        "rejected_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
    ),
    comment="One row per input row that could not be used, with the reason.",
)
