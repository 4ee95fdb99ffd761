"""The warehouse table of canvas positions."""

import sqlalchemy as sa

from tippers_dagster.platform.warehouse.metadata import metadata

canvas_position = sa.Table(
    "canvas_position",
    metadata,
    sa.Column("concept", sa.Text, primary_key=True, comment="concept of the canvas"),
    sa.Column("node", sa.Text, primary_key=True, comment="asset key, parts joined by slashes"),
    sa.Column("x", sa.Double, nullable=False, comment="pixels to the right, at zoom 1"),
    sa.Column("y", sa.Double, nullable=False, comment="pixels downwards, at zoom 1"),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    comment="one row per node that a user moved on the canvas of a concept",
)
