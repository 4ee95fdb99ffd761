"""Warehouse tables of the domain."""

import sqlalchemy as sa

from tippers_dagster.platform.warehouse.metadata import metadata

labelled_chunk = sa.Table(
    "labelled_chunk",
    metadata,
    sa.Column("definition", sa.Text, primary_key=True),
    sa.Column("chunk", sa.Text, primary_key=True),
    sa.Column("labels_of", sa.Text, nullable=False, comment="label model or classifier"),
    sa.Column("labels_version", sa.Text, nullable=False, comment="version of the labels"),
    sa.Column(
        "labels_fingerprint",
        sa.BigInteger,
        nullable=False,
        comment="fingerprint of the entities' labels",
    ),
    sa.Column(
        "input_fingerprint",
        sa.BigInteger,
        nullable=False,
        comment="fingerprint of labels and presence",
    ),
    sa.Column("spaces", sa.Integer, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False, comment="number of occupied bins"),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("computed_at", sa.DateTime(timezone=True), nullable=False),
    comment="one row per labelled occupancy and time chunk: what it was computed from",
)
