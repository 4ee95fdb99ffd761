"""Warehouse tables of definitions."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from tippers_dagster.platform.warehouse.metadata import metadata

definition = sa.Table(
    "definition",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("concept", sa.Text, nullable=False, server_default="", comment="empty: no concept"),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column(
        "namespace", sa.Text, nullable=False, comment="the concept; without one: the kind and a dot"
    ),
    sa.Column("description", sa.Text, nullable=False, server_default=""),
    sa.Column("owner", sa.Text, nullable=False, server_default=""),
    sa.Column("status", sa.Text, nullable=False, server_default="active"),
    sa.Column("version", sa.Integer, nullable=False, comment="increases with every change"),
    sa.Column("body", JSONB, nullable=False, comment="see catalog/kinds.py"),
    sa.Column(
        "reads",
        JSONB,
        nullable=False,
        server_default="[]",
        comment="concept.name of each definition that its SQL reads",
    ),
    sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("updated_by", sa.Text, nullable=False),
    sa.UniqueConstraint("namespace", "name"),
    sa.CheckConstraint("status IN ('active', 'retired')", name="status"),
    comment="one row per definition, in its current version",
)

definition_version = sa.Table(
    "definition_version",
    metadata,
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("concept", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("action", sa.Text, nullable=False, comment="create, change, retire, delete ..."),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("body", JSONB, nullable=False),
    sa.Column("reads", JSONB, nullable=False, server_default="[]"),
    sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("changed_by", sa.Text, nullable=False),
    comment="one row per version of a definition, including deleted definitions",
)
