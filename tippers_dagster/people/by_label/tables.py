"""Warehouse tables of the domain."""

import sqlalchemy as sa

from tippers_dagster.platform.warehouse.metadata import metadata

labelled_chunk = sa.Table(
    "labelled_chunk",
    metadata,
    sa.Column("definition", sa.Text, primary_key=True),
    sa.Column("chunk", sa.Text, primary_key=True),
    sa.Column("labels_of", sa.Text, nullable=False, comment="label model or classifier"),
    sa.Column("labels_version", sa.Text, nullable=False, comment="of its table, when counted"),
    sa.Column("labels_fingerprint", sa.BigInteger, nullable=False, comment="of who has which"),
    sa.Column("input_fingerprint", sa.BigInteger, nullable=False, comment="labels and presence"),
    sa.Column("spaces", sa.Integer, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False, comment="bins with somebody in them"),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("computed_at", sa.DateTime(timezone=True), nullable=False),
    comment="one row per labelled occupancy and time chunk: what it was counted from",
)
