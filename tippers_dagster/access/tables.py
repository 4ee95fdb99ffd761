"""The warehouse table of users' roles."""

import sqlalchemy as sa

from tippers_dagster.platform.warehouse.metadata import metadata

person_role = sa.Table(
    "person_role",
    metadata,
    sa.Column(
        "email",
        sa.Text,
        primary_key=True,
        comment="address that the role was assigned to, lower case",
    ),
    sa.Column("role", sa.Text, nullable=False, comment="viewer, analyst or admin"),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("issuer", sa.Text, comment="issuer of the login; null: not logged in yet"),
    sa.Column("subject", sa.Text, comment="id of the user at the issuer"),
    sa.Column("bound_at", sa.DateTime(timezone=True), comment="first login"),
    sa.UniqueConstraint("issuer", "subject"),
    sa.CheckConstraint("(issuer IS NULL) = (subject IS NULL)", name="bound"),
    comment="one row per user with a role",
)
