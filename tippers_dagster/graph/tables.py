"""The warehouse table of canvas positions."""

import sqlalchemy as sa

from tippers_dagster.platform.warehouse.metadata import metadata

canvas_position = sa.Table(
    "canvas_position",
    metadata,
    sa.Column("concept", sa.Text, primary_key=True, comment="whose picture it is"),
    sa.Column("node", sa.Text, primary_key=True, comment="its asset, parts joined by slashes"),
    sa.Column("x", sa.Double, nullable=False, comment="pixels at zoom 1, to the right"),
    sa.Column("y", sa.Double, nullable=False, comment="pixels at zoom 1, downwards"),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    comment="one row per node that somebody moved in the picture of a concept",
)
