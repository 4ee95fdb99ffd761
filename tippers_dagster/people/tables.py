"""Warehouse tables of the domain."""

import sqlalchemy as sa

from tippers_dagster.warehouse.metadata import metadata

person_role = sa.Table(
    "person_role",
    metadata,
    sa.Column("email", sa.Text, primary_key=True, comment="lower case, as the login says it"),
    sa.Column("role", sa.Text, nullable=False, comment="viewer, analyst or admin"),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    comment="one row per person who was given a role",
)
